//! Bad input to a real node over TCP: each has its own numbered answer, the session lives on where it may, and what others
//! send within the same Step is executed and recorded.
//!
//! The ledger holds exactly the messages that were taken: byte for byte, no refused one among them.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod wire;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;
use wattbook_feed::keys::check_key;
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::leaf::{CALL, KEY, REDEEM, TRANSFER, VOTE};
use wattbook_feed::signed::leaf::{CONFIRM, DISPUTE, EMISSION};
use wattbook_feed::signed::{
    Attachment, CandidateKeys, EnvelopeHeader, Grade, LeafBytes, RegisterRecord, RevealRecord, SealedEnvelope,
    encode_cancel, encode_candidacy, encode_configure, encode_market_order, encode_quote, encode_rate, encode_seal,
    meters_root, record_kind, seal_commitment,
};
use wattbook_feed::soupbin;
use wattbook_node::chain::{GRID_COMPANY, REGULATOR};
use wattbook_node::config::Backend;
use wattbook_node::topology::Node;
use wattbook_types::command::{Cancel, Configure, MarketAction, MarketOrder, Rate, Seal};
use wattbook_types::{
    ContractId, Energy, Hash, Param, ParticipantId, Price, Quote, Reject, Roles, SelfTrade, Side, TimeInForce, TimeNs,
};
use wire::{Desk, Town, Wire, admitted, key, lockstep, registration, reject, transcript};

const BUYER: ParticipantId = ParticipantId::new(4);
const SELLER: ParticipantId = ParticipantId::new(5);
const MALLORY: ParticipantId = ParticipantId::new(6);
/// Nobody.
const STRANGER: ParticipantId = ParticipantId::new(999);

const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);
const TRADER: Roles = Roles::BUYER.union(Roles::SELLER);
/// Price of the one deal, and so the floor of the next period.
const DEAL_TICKS: i32 = 28_000;
const LEAVES_MAX: i64 = 64;

/// `seconds` after delivery start.
fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

/// Bounds low and high enough that every check of a quote can be the first to fail.
fn params() -> Vec<(Param, i64)> {
    vec![
        (Param::Rounds, 1),
        (Param::Range, 0),
        (Param::Floor, 2),
        (Param::PriceBound, 2_000_000_000),
        (Param::EnergyMin, 100),
        (Param::EnergyMax, 1_000_000_000),
        (Param::LeavesMax, LEAVES_MAX),
        (Param::ItemsPerBlock, 2 * LEAVES_MAX - 1),
    ]
}

fn quote(side: Side, ticks: i32, wh: u64) -> Quote {
    Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force: TimeInForce::Gate,
        price: Price::new(ticks),
        charge_cap: -1,
        energy: Energy::new(wh),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}

fn leaf(quote: &Quote) -> LeafBytes {
    encode_quote(0, quote).unwrap()
}

/// Mallory's bid with something changed.
fn bid(change: impl FnOnce(&mut Quote)) -> LeafBytes {
    let mut quote = quote(Side::Buy, 15_000, 1_000);
    change(&mut quote);
    leaf(&quote)
}

/// A leaf of a kind whose other bytes are zero, but for these.
fn raw(kind: u8, bytes: &[(usize, u8)]) -> LeafBytes {
    let mut leaf = [0; 48];
    leaf[0] = kind;
    for (at, byte) in bytes {
        leaf[*at] = *byte;
    }
    leaf
}

fn patched(mut leaf: LeafBytes, at: usize, byte: u8) -> LeafBytes {
    leaf[at] = byte;
    leaf
}

/// A cancel of an order that cannot be; any other unseen nonce would be burned.
fn any_cancel() -> LeafBytes {
    encode_cancel(
        0,
        &Cancel {
            contract: None,
            target_nonce: u64::MAX,
            target_index: 0,
        },
    )
}

/// Every record of a ledger but Ticks, and that the ledger's bytes hold together.
fn records(dir: &Path) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let log_key = wattbook_feed::keys::log_key(&wire::SEED).verifying_key();
    let visit = |block: &wattbook_ledger::Block<'_>| {
        for record in block.records.iter().filter(|record| record.kind != record_kind::TICK) {
            assert!(
                found.insert(record.payload.to_vec()),
                "a record stands twice in the ledger"
            );
        }
        Ok::<(), Infallible>(())
    };
    wattbook_ledger::check_with(dir, &log_key, visit).unwrap();
    found
}

/// Registers and logs on the three traders.
fn populate(town: &mut Town) -> Desk {
    let mut door = Desk::open(town.node.addr, 1);
    for who in [BUYER, SELLER, MALLORY] {
        let record = registration(town.chain, who, TRADER);
        town.register(&mut door, &record);
    }
    town.witnessed_step();
    for who in [BUYER, SELLER, MALLORY, GRID_COMPANY] {
        town.log_on(who);
    }
    door
}

#[test]
fn every_bad_input_has_its_own_answer_and_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut town = Town::start(dir.path(), at(-1_800), params(), &lockstep());
    let mut door = populate(&mut town);

    bad_registrations(&mut town, &mut door);
    bad_logons(&mut town);
    bad_steps(&mut town, &mut door);
    bad_messages(&mut town, &mut door);
    bad_envelopes(&mut town);
    sealed_round(&mut town);
    book(&mut town);
    gate(&mut town);
    suspension(&mut town);

    // The ledger holds what was taken and nothing else; started again, the node tells the same.
    let (desks, recorded) = town.stop();
    assert!(
        records(dir.path()) == recorded,
        "the ledger holds other messages than those taken"
    );
    let node = Node::start(dir.path(), &lockstep(), Default::default()).unwrap();
    assert!(
        node.recovery.from.is_some(),
        "it came back from genesis, not from a snapshot"
    );
    for (who, desk) in desks.iter().filter(|(who, _)| **who != MALLORY) {
        let mut again = Desk::open(node.addr, 1);
        again.client.logon(*who, &key(*who), Grade::Matched).unwrap();
        let told = transcript(&mut again, 1, desk.told.len() as u64);
        assert!(told == desk.told, "{who} is told something else after a restart");
    }
    node.stop();
    node.join().unwrap();
}

/// Beside each bad registration a good one is executed.
fn bad_registrations(town: &mut Town, door: &mut Desk) {
    let chain = town.chain;
    let mut serial = 100;
    let mut fresh = || {
        serial += 1;
        registration(chain, ParticipantId::new(serial), TRADER)
    };
    let secret = |record: &RegisterRecord| key(ParticipantId::new(record.register.admit_serial));

    let mut cases: Vec<(&str, RegisterRecord, Reject)> = Vec::new();
    let mut record = fresh();
    record.admit[7] ^= 1;
    cases.push(("an admission's flipped bit", record, Reject::BadAdmission));
    let mut record = fresh();
    record.register.group = [1; 32];
    record.possession = secret(&record).prove_possession(&record.register.digest(chain));
    cases.push(("an admission of other fields", record, Reject::BadAdmission));

    // Infinity; then every x coordinate of 0 to 15: those on the curve lie outside the subgroup.
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    let mut keys = vec![infinity, [0xff; 96]];
    keys.extend((0..16).map(|x| {
        let mut point = [0; 96];
        (point[0], point[95]) = (0x80, x);
        point
    }));
    for point in keys {
        assert_eq!(check_key(&point), Err(Reject::BadKey));
        let mut record = fresh();
        let owner = secret(&record);
        record.register.public_key = point;
        cases.push(("a bad key", admitted(chain, record, &owner), Reject::BadKey));
    }

    let record = fresh();
    let other = admitted(chain, record, &key(BUYER));
    cases.push(("another key's proof of possession", other, Reject::BadProofOfPossession));
    let mut record = fresh();
    record.possession = [0; 48];
    cases.push(("no proof of possession", record, Reject::BadProofOfPossession));
    let mut record = fresh();
    record.meters[0].export_cap_wh += 1;
    cases.push(("another meter than the root's", record, Reject::BadMeters));
    let mut record = fresh();
    record.meters[0].kind = 9;
    record.register.meters_root = meters_root(&record.meters).0;
    let owner = secret(&record);
    cases.push(("a meter of no kind", admitted(chain, record, &owner), Reject::BadMeters));
    for (case, record, expected) in cases {
        door.client.send_register(&record).unwrap();
        let refused = door.refusal(case);
        assert_eq!(reject(refused.code), expected, "{case}");
        assert_eq!(refused.participant, record.register.admit_serial, "{case}");
    }

    // What only the market knows is answered at the Step.
    let mut cases: Vec<(&str, RegisterRecord, Reject)> = Vec::new();
    let mut record = fresh();
    record.register.admit_serial = BUYER.get();
    let owner = key(ParticipantId::new(900));
    record.register.public_key = owner.public_key();
    cases.push((
        "a serial taken",
        admitted(chain, record, &owner),
        Reject::AlreadyRegistered,
    ));
    let mut record = fresh();
    record.register.public_key = key(BUYER).public_key();
    cases.push(("a key taken", admitted(chain, record, &key(BUYER)), Reject::KeyTaken));
    let mut record = fresh();
    record.meters[0].meter = BUYER.get();
    record.register.meters_root = meters_root(&record.meters).0;
    let owner = secret(&record);
    cases.push(("a meter taken", admitted(chain, record, &owner), Reject::MeterTaken));
    let mut record = fresh();
    record.meters.push(record.meters[0]);
    record.register.meters_root = meters_root(&record.meters).0;
    let owner = secret(&record);
    cases.push(("a meter twice", admitted(chain, record, &owner), Reject::BadMeters));
    let mut record = fresh();
    record.register.not_after_ns = at(-3_600).get();
    let owner = secret(&record);
    cases.push((
        "an admission expired",
        admitted(chain, record, &owner),
        Reject::AdmissionExpired,
    ));
    for (flags, roles) in [(1, TRADER.bits()), (0, 0x80)] {
        let mut record = fresh();
        (record.register.flags, record.register.roles) = (flags, roles);
        let owner = secret(&record);
        cases.push((
            "unknown flags or roles",
            admitted(chain, record, &owner),
            Reject::BadRoles,
        ));
    }
    let mut record = fresh();
    record.register.admit_serial = 0;
    let owner = key(ParticipantId::new(901));
    record.register.public_key = owner.public_key();
    cases.push(("serial 0", admitted(chain, record, &owner), Reject::BadRoles));
    for (case, record, expected) in cases {
        door.client.send_register(&record).unwrap();
        door.answer().expect(case);
        let good = fresh();
        town.register(door, &good);
        town.witnessed_step();
        let refused = door.refusal(case);
        assert_eq!(reject(refused.code), expected, "{case}");
        assert_eq!(refused.participant, record.register.admit_serial, "{case}");
    }
}

fn bad_logons(town: &mut Town) {
    let mut desk = Desk::open(town.node.addr, 1);
    desk.client.logon(STRANGER, &key(STRANGER), Grade::Matched).unwrap();
    assert_eq!(reject(desk.refusal("a stranger").code), Reject::UnknownParticipant);
    desk.client.logon(BUYER, &key(MALLORY), Grade::Matched).unwrap();
    let refused = desk.refusal("another's key");
    assert_eq!(
        (reject(refused.code), refused.participant),
        (Reject::LogonRefused, BUYER.get())
    );
    // The session is no participant's, and may still become one's.
    let envelope = town.envelope(BUYER, vec![any_cancel()]);
    desk.client.send_envelope(&envelope).unwrap();
    assert_eq!(reject(desk.refusal("an envelope").code), Reject::NotLoggedOn);
    desk.client.logon(MALLORY, &key(MALLORY), Grade::Durable).unwrap();
    desk.answer().unwrap();
    // A sequence number that the stream has not reached.
    let mut ahead = Desk::open(town.node.addr, 1_000);
    ahead.client.logon(MALLORY, &key(MALLORY), Grade::Matched).unwrap();
    assert_eq!(reject(ahead.refusal("a number to come").code), Reject::LogonRefused);
    town.witnessed_step();
}

fn bad_steps(town: &mut Town, door: &mut Desk) {
    let (now, later) = (town.now, town.now.plus_secs(1));
    door.client.send_step(later).unwrap();
    assert_eq!(reject(door.refusal("a Step before Logon").code), Reject::StepRefused);
    for who in [MALLORY, GRID_COMPANY] {
        town.desk(who).client.send_step(later).unwrap();
        assert_eq!(
            reject(town.desk(who).refusal("a Step of somebody else").code),
            Reject::StepRefused
        );
    }
    for time in [now, now.plus_secs(-1), TimeNs::ZERO, TimeNs::new(u64::MAX)] {
        town.desk(REGULATOR).client.send_step(time).unwrap();
        let refused = town.desk(REGULATOR).refusal("a Step backwards or too far");
        assert_eq!(reject(refused.code), Reject::StepRefused, "{time:?}");
    }
    town.witnessed_step();
}

/// Messages that are none, or not this session's.
fn bad_messages(town: &mut Town, door: &mut Desk) {
    let envelope = town.envelope(MALLORY, vec![any_cancel()]);
    let mut good = Vec::new();
    wattbook_feed::sbe::encode_envelope(&envelope, &mut good);
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    let cut = |len: usize| good[..len].to_vec();
    let later = u8::try_from(wattbook_feed::sbe::SCHEMA_VERSION + 1).unwrap();
    let long = [&good[..], &[0]].concat();
    let cases: Vec<(&str, Vec<u8>, Reject)> = vec![
        ("an unknown template", with(2, 99), Reject::UnknownMessage),
        ("an outbound template", with(2, 20), Reject::UnknownMessage),
        ("another schema", with(4, 2), Reject::UnknownMessage),
        ("an earlier version", with(6, 1), Reject::UnknownMessage),
        ("a later version", with(6, later), Reject::UnknownMessage),
        ("no version", with(6, 0), Reject::UnknownMessage),
        ("nothing", Vec::new(), Reject::ShortFrame),
        ("half a header", cut(5), Reject::ShortFrame),
        ("half a block", cut(60), Reject::ShortFrame),
        ("no group", cut(128), Reject::ShortFrame),
        ("half a leaf", cut(good.len() - 1), Reject::ShortFrame),
        ("a byte too many", long, Reject::MalformedMessage),
        ("another block length", with(0, 119), Reject::MalformedMessage),
        ("another entry length", with(128, 47), Reject::MalformedMessage),
        ("another envelope version", with(8, 2), Reject::MalformedMessage),
        ("a reserved byte", with(10, 1), Reject::MalformedMessage),
        ("another count", with(12, 2), Reject::MalformedMessage),
    ];
    for (case, message, expected) in cases {
        town.desk(MALLORY).client.send_raw(&message).unwrap();
        assert_eq!(reject(town.desk(MALLORY).refusal(case).code), expected, "{case}");
    }
    let reveal = RevealRecord {
        participant: MALLORY,
        contract: CONTRACT,
        round: 1,
        salt: Hash([1; 32]),
        leaves: Vec::new(),
    };
    door.client.send_envelope(&envelope).unwrap();
    assert_eq!(
        reject(door.refusal("an envelope before Logon").code),
        Reject::NotLoggedOn
    );
    door.client.send_reveal(&reveal).unwrap();
    let refused = door.refusal("a reveal before Logon");
    assert_eq!(
        (reject(refused.code), refused.contract),
        (Reject::NotLoggedOn, CONTRACT.get())
    );
    // After all of that the very same envelope is good.
    let nonce = town.post(MALLORY, vec![any_cancel()]);
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::UnknownOrder)]);
}

/// Envelopes refused whole: at once by the verify stage, at the Step by the market.
fn bad_envelopes(town: &mut Town) {
    let chain = town.chain;
    let secret = key(MALLORY);
    let header = |town: &mut Town, change: &dyn Fn(&mut EnvelopeHeader)| {
        let leaves = vec![any_cancel()];
        let mut header = EnvelopeHeader::new(MALLORY, 1, town.desk(MALLORY).nonce, town.now.plus_secs(60), &leaves);
        change(&mut header);
        SealedEnvelope {
            attached: None,
            signature: secret.sign(&header.digest(chain)),
            header,
            leaves,
        }
    };

    let mut cases: Vec<(&str, SealedEnvelope, Reject)> = Vec::new();
    let mut envelope = town.envelope(MALLORY, vec![any_cancel()]);
    envelope.signature = key(BUYER).sign(&envelope.digest(chain));
    cases.push(("another's signature", envelope, Reject::BadSignature));
    let mut envelope = town.envelope(MALLORY, vec![any_cancel()]);
    envelope.signature = [0; 48];
    cases.push(("no signature", envelope, Reject::BadSignature));
    let mut envelope = town.envelope(MALLORY, vec![any_cancel()]);
    envelope.header.nonce += 1;
    cases.push(("a header changed after signing", envelope, Reject::BadSignature));
    cases.push(("another root", header(town, &|h| h.root[0] ^= 1), Reject::BadRoot));
    let mut envelope = town.envelope(MALLORY, vec![any_cancel()]);
    envelope.leaves[0][40] = 1;
    cases.push(("another leaf than the root's", envelope, Reject::BadRoot));
    let empty = town.envelope(MALLORY, Vec::new());
    cases.push(("no leaf", empty, Reject::BadCount));
    let not_mine = Reject::NotThisParticipant;
    cases.push((
        "another's envelope, its own signature",
        header(town, &|h| h.participant = BUYER.get()),
        not_mine,
    ));
    let others = town.envelope(BUYER, vec![any_cancel()]);
    cases.push(("another's envelope, forwarded", others, not_mine));
    // A session speaks for one participant; so nobody's envelope is first of all not this one's.
    cases.push((
        "nobody's envelope",
        header(town, &|h| h.participant = STRANGER.get()),
        not_mine,
    ));
    for (case, envelope, expected) in cases {
        town.desk(MALLORY).client.send_envelope(&envelope).unwrap();
        let refused = town.desk(MALLORY).refusal(case);
        assert_eq!(reject(refused.code), expected, "{case}");
        let about = (envelope.header.participant, envelope.header.nonce);
        assert_eq!((refused.participant, refused.nonce), about, "{case}");
    }

    // A nonce used at a known record.
    let used = town.post(MALLORY, vec![any_cancel()]);
    town.witnessed_step();
    let used_at = town.desk(MALLORY).heard.iter().find_map(|message| match message {
        Outbound::Rejected(answer) if answer.nonce == used => Some(answer.seq),
        _ => None,
    });
    let (now, ttl) = (town.now, Param::TtlS.default_value());
    let many = vec![any_cancel(); LEAVES_MAX as usize + 1];
    let too_many = town.envelope(MALLORY, many);
    let cases: Vec<(&str, SealedEnvelope, Reject)> = vec![
        ("too many leaves", too_many, Reject::BadCount),
        (
            "another key version",
            header(town, &|h| h.key_version = 2),
            Reject::WrongKeyVersion,
        ),
        (
            "expired",
            header(town, &|h| h.not_after_ns = now.get() - 1),
            Reject::Expired,
        ),
        (
            "valid too long",
            header(town, &|h| h.not_after_ns = now.plus_secs(ttl + 60).get()),
            Reject::TtlTooLong,
        ),
        (
            "valid for ever",
            header(town, &|h| h.not_after_ns = u64::MAX),
            Reject::TtlTooLong,
        ),
        ("nonce 0", header(town, &|h| h.nonce = 0), Reject::NonceOutOfWindow),
        (
            "a nonce beyond the window",
            header(town, &|h| h.nonce = used + 1_025),
            Reject::NonceOutOfWindow,
        ),
        (
            "the greatest nonce",
            header(town, &|h| h.nonce = u64::MAX),
            Reject::NonceOutOfWindow,
        ),
        ("a nonce used", header(town, &|h| h.nonce = used), Reject::Duplicate),
    ];
    for (case, envelope, expected) in cases {
        town.desk(MALLORY).client.send_envelope(&envelope).unwrap();
        town.desk(MALLORY).answer().expect(case);
        town.witnessed_step();
        let refused = town.desk(MALLORY).refused_at_step();
        let codes: Vec<Reject> = refused.iter().map(|refused| reject(refused.code)).collect();
        assert_eq!(codes, [expected], "{case}");
        assert_eq!(
            (refused[0].participant, refused[0].nonce),
            (MALLORY.get(), envelope.header.nonce),
            "{case}"
        );
        let original = if expected == Reject::Duplicate {
            used_at
        } else {
            Some(0)
        };
        assert_eq!(Some(refused[0].original_seq), original, "{case}");
    }

    // The same nonce twice within one Step: the first to come is executed.
    let nonce = town.post(MALLORY, vec![any_cancel()]);
    let again = header(town, &|h| h.nonce = nonce);
    town.desk(MALLORY).client.send_envelope(&again).unwrap();
    town.desk(MALLORY).answer().unwrap();
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::UnknownOrder)]);
    let refused = town.desk(MALLORY).refused_at_step();
    assert_eq!((refused.len(), reject(refused[0].code)), (1, Reject::Duplicate));

    // As many items as a block takes from one account.
    let cancels: Vec<LeafBytes> = (0..LEAVES_MAX as u32)
        .map(|i| {
            encode_cancel(
                i,
                &Cancel {
                    contract: None,
                    target_nonce: u64::MAX,
                    target_index: 0,
                },
            )
        })
        .collect();
    let nonce = town.post(MALLORY, cancels.clone());
    let beyond = town.envelope(MALLORY, cancels);
    town.desk(MALLORY).client.send_envelope(&beyond).unwrap();
    town.desk(MALLORY).answer().unwrap();
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(nonce).len(), LEAVES_MAX as usize);
    let refused = town.desk(MALLORY).refused_at_step();
    assert_eq!((refused.len(), reject(refused[0].code)), (1, Reject::Quota));
    // A block later there is room again, and the nonce is unburned.
    let nonce = town.post(MALLORY, vec![any_cancel()]);
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::UnknownOrder)]);
}

/// What somebody seals and how it is opened.
fn sealed(town: &Town, who: ParticipantId, ticks: i32) -> (Seal, RevealRecord) {
    let salt = Hash([who.get() as u8; 32]);
    let leaves = vec![leaf(&Quote {
        round: 1,
        ..quote(Side::Buy, ticks, 1_000)
    })];
    let commitment = seal_commitment(town.chain, who, CONTRACT, 1, &salt, &leaves);
    let seal = Seal {
        contract: CONTRACT,
        round: 1,
        bond_class: 0,
        commitment,
    };
    (
        seal,
        RevealRecord {
            participant: who,
            contract: CONTRACT,
            round: 1,
            salt,
            leaves,
        },
    )
}

/// Sends a reveal that the market refuses, beside whatever else waits for the Step to `time`.
fn bad_reveal(town: &mut Town, reveal: &RevealRecord, time: TimeNs, expected: Reject) {
    town.desk(MALLORY).client.send_reveal(reveal).unwrap();
    town.desk(MALLORY).answer().unwrap();
    town.witnessed_step_to(time);
    let refused = town.desk(MALLORY).refused_at_step();
    assert_eq!((refused.len(), reject(refused[0].code)), (1, expected));
    assert_eq!(
        (refused[0].participant, refused[0].contract),
        (reveal.participant.get(), reveal.contract.get())
    );
}

fn revealed(town: &mut Town, who: ParticipantId) -> bool {
    town.desk(who)
        .heard
        .iter()
        .any(|message| matches!(message, Outbound::RevealAccepted(_)))
}

fn sealed_round(town: &mut Town) {
    let (mine, opened) = sealed(town, MALLORY, 15_000);
    let (theirs, their_reveal) = sealed(town, BUYER, 15_000);

    // Before the gate opens the contract is unknown.
    let nonce = town.post(MALLORY, vec![encode_seal(0, &mine)]);
    let early = town.post(MALLORY, vec![bid(|_| {})]);
    town.witnessed_step_to(at(-1_200));
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::UnknownContract)]);
    assert_eq!(town.desk(MALLORY).verdicts(early), [Some(Reject::UnknownContract)]);

    // SEAL: the good seal of an envelope stands whatever its neighbours are.
    let leaves = vec![
        encode_seal(0, &Seal { round: 2, ..mine }),
        encode_seal(1, &Seal { bond_class: 31, ..mine }),
        encode_seal(2, &mine),
        encode_seal(3, &mine),
        encode_quote(4, &quote(Side::Buy, 15_000, 1_000)).unwrap(),
    ];
    let nonce = town.post(MALLORY, leaves);
    let good = town.post(BUYER, vec![encode_seal(0, &theirs)]);
    bad_reveal(town, &opened, at(-1_190), Reject::RevealEarly);
    let expected = [
        Some(Reject::WrongRound),
        Some(Reject::BondClassOutOfRange),
        None,
        Some(Reject::AlreadySealed),
        Some(Reject::NotInPhase),
    ];
    assert_eq!(town.desk(MALLORY).verdicts(nonce), expected);
    assert_eq!(town.desk(BUYER).verdicts(good), [None]);
    town.witnessed_step_to(at(-1_110));

    // REVEAL.
    let mut malformed = opened.clone();
    malformed.leaves[0][4] = 1;
    town.desk(MALLORY).client.send_reveal(&malformed).unwrap();
    assert_eq!(
        reject(town.desk(MALLORY).refusal("another index").code),
        Reject::MalformedMessage
    );
    let nonce = town.post(MALLORY, vec![encode_seal(0, &mine)]);
    town.reveal(BUYER, &their_reveal);
    bad_reveal(
        town,
        &RevealRecord {
            salt: Hash([9; 32]),
            ..opened.clone()
        },
        at(-1_109),
        Reject::RevealMismatch,
    );
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::NotInPhase)]);
    assert!(revealed(town, BUYER));
    let mut dearer = opened.clone();
    dearer.leaves[0] = leaf(&Quote {
        round: 1,
        ..quote(Side::Buy, 20_000, 1_000)
    });
    bad_reveal(town, &dearer, at(-1_108), Reject::RevealMismatch);
    let strangers = RevealRecord {
        participant: STRANGER,
        ..opened.clone()
    };
    bad_reveal(town, &strangers, at(-1_107), Reject::UnknownParticipant);
    let sealless = RevealRecord {
        participant: SELLER,
        ..opened.clone()
    };
    bad_reveal(town, &sealless, at(-1_106), Reject::NoSeal);
    for round in [0, 2] {
        let mut other = RevealRecord {
            round,
            ..opened.clone()
        };
        other.leaves = vec![leaf(&Quote {
            round: round as u16,
            ..quote(Side::Buy, 15_000, 1_000)
        })];
        let time = town.now.plus_secs(1);
        bad_reveal(town, &other, time, Reject::WrongRound);
    }
    let elsewhere = CONTRACT.offset(7);
    let mut other = RevealRecord {
        contract: elsewhere,
        ..opened.clone()
    };
    other.leaves = vec![leaf(&Quote {
        contract: elsewhere,
        round: 1,
        ..quote(Side::Buy, 15_000, 1_000)
    })];
    bad_reveal(town, &other, at(-1_090), Reject::UnknownContract);
    // After all of that the right one is taken, once.
    town.reveal(MALLORY, &opened);
    town.witnessed_step_to(at(-1_080));
    assert!(revealed(town, MALLORY));
    bad_reveal(town, &opened, at(-1_070), Reject::AlreadyRevealed);

    town.witnessed_step_to(at(-1_050));
    bad_reveal(town, &opened, at(-1_040), Reject::RevealLate);
    let nonce = town.post(MALLORY, vec![bid(|_| {})]);
    town.witnessed_step_to(at(-1_030));
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::NotInPhase)]);
    town.witnessed_step_to(at(-990));
}

/// Bad items of the book: Mallory's, in envelopes that hold.
fn bad_items() -> Vec<(&'static str, LeafBytes, Reject)> {
    let good = bid(|_| {});
    let elsewhere = ContractId::new(CONTRACT.period(), ContractId::PRODUCT_QUARTER_HOUR, 2);
    let other_product = ContractId::new(CONTRACT.period(), 2, 1);
    let mut cases = vec![
        ("no side", patched(good, 1, 0), Reject::MalformedItem),
        ("both sides", patched(good, 1, 3), Reject::MalformedItem),
        (
            "an unknown time in force",
            patched(good, 1, 1 | 5 << 2),
            Reject::MalformedItem,
        ),
        ("another index", patched(good, 4, 1), Reject::MalformedItem),
        ("a reserved byte", patched(any_cancel(), 47, 1), Reject::MalformedItem),
        ("a transfer of nothing", raw(TRANSFER, &[]), Reject::MalformedItem),
        (
            "post-only at the market",
            patched(good, 1, 1 | 3 << 2 | 1 << 5),
            Reject::MalformedItem,
        ),
        ("a transfer", raw(TRANSFER, &[(16, 1)]), Reject::NotEnabled),
        ("an unknown action", raw(15, &[(8, 9)]), Reject::UnknownAction),
        ("another area", bid(|q| q.contract = elsewhere), Reject::UnknownContract),
        (
            "another product",
            bid(|q| q.contract = other_product),
            Reject::UnknownContract,
        ),
        (
            "a contract to come",
            bid(|q| q.contract = CONTRACT.offset(1)),
            Reject::UnknownContract,
        ),
        ("a round in the book", bid(|q| q.round = 1), Reject::WrongRound),
        (
            "a price too high",
            bid(|q| q.price = Price::new(2_000_000_001)),
            Reject::PriceOutOfBounds,
        ),
        (
            "the least price",
            bid(|q| q.price = Price::new(i32::MIN)),
            Reject::PriceOutOfBounds,
        ),
        ("no energy", bid(|q| q.energy = Energy::ZERO), Reject::EnergyZero),
        (
            "too little energy",
            bid(|q| q.energy = Energy::new(99)),
            Reject::EnergyOutOfBounds,
        ),
        (
            "too much energy",
            bid(|q| q.energy = Energy::new(1_000_000_001)),
            Reject::EnergyOutOfBounds,
        ),
        (
            "a cap below -1",
            bid(|q| q.charge_cap = -2),
            Reject::ChargeCapOutOfBounds,
        ),
        (
            "a fill above the energy",
            bid(|q| q.min_fill = Energy::new(1_001)),
            Reject::MinFillOutOfBounds,
        ),
        (
            "the greatest notional",
            bid(|q| (q.price, q.energy) = (Price::new(2_000_000_000), Energy::new(1_000_000_000))),
            Reject::NotionalTooLarge,
        ),
        (
            "a price that does not concede",
            bid(|q| q.price = Price::new(14_999)),
            Reject::ConcessionViolated,
        ),
        (
            "more than it has",
            bid(|q| (q.price, q.energy) = (Price::new(1_000_000), Energy::new(1_000_000_000))),
            Reject::NoBalance,
        ),
        (
            "validity past",
            bid(|q| (q.time_in_force, q.valid_until_s) = (TimeInForce::Until, 1_000)),
            Reject::ValidUntilPast,
        ),
        (
            "post-only across the book",
            bid(|q| (q.time_in_force, q.price) = (TimeInForce::PostOnly, Price::new(DEAL_TICKS))),
            Reject::WouldCross,
        ),
        (
            "more than it may export",
            leaf(&quote(Side::Sell, 30_000, 1_000_001)),
            Reject::CapacityExceeded,
        ),
        ("an order nobody has", any_cancel(), Reject::UnknownOrder),
        (
            "a parameter of somebody's",
            encode_configure(
                0,
                &Configure {
                    param: Param::Retail as u32,
                    value: 1,
                },
            ),
            Reject::RoleMissing,
        ),
        (
            "a halt of somebody's",
            encode_market_order(
                0,
                &MarketOrder {
                    action: MarketAction::Halt,
                    contract: None,
                    participant: MALLORY,
                    reason: 0,
                },
            ),
            Reject::RoleMissing,
        ),
        (
            "a deal nobody made",
            encode_rate(
                0,
                &Rate {
                    deal_id: Hash([1; 32]),
                    good: false,
                },
            ),
            Reject::UnknownDeal,
        ),
        ("a vote for the epoch under way", raw(VOTE, &[]), Reject::WrongEpoch),
        (
            "a vote for nobody who stands",
            raw(VOTE, &[(8, 1), (16, 4)]),
            Reject::UnknownCandidate,
        ),
        ("an emission by its owner", raw(EMISSION, &[]), Reject::RoleMissing),
    ];
    cases.push((
        "a withdrawal by nobody who may stand",
        raw(KEY, &[]),
        Reject::RoleMissing,
    ));
    cases.push(("a next key of the account", raw(KEY, &[(16, 4)]), Reject::NotEnabled));
    for kind in [CONFIRM, REDEEM, CALL, DISPUTE] {
        cases.push((
            "a leaf whose feature does not exist",
            raw(kind, &[]),
            Reject::NotEnabled,
        ));
    }
    for kind in [0, 18, 255] {
        cases.push(("a leaf of no kind", raw(kind, &[]), Reject::UnknownItem));
    }
    cases
}

fn book(town: &mut Town) {
    // Mallory's own bid, conceding from the sealed one, sets the mark; an ask rests.
    let mark = town.post(MALLORY, vec![bid(|_| {})]);
    let ask = leaf(&quote(Side::Sell, DEAL_TICKS, 1_000));
    let rests = town.post(SELLER, vec![ask]);
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(mark), [None]);
    assert_eq!(town.desk(SELLER).verdicts(rests), [None]);

    for (case, item, expected) in bad_items() {
        let bad = town.post(MALLORY, vec![item]);
        let good = town.post(SELLER, vec![leaf(&quote(Side::Sell, DEAL_TICKS, 100))]);
        town.witnessed_step();
        assert_eq!(town.desk(MALLORY).verdicts(bad), [Some(expected)], "{case}");
        assert_eq!(town.desk(SELLER).verdicts(good), [None], "{case}");
    }
    // Keys that are none, and keys that nothing names.
    let keys: CandidateKeys = bytemuck::Zeroable::zeroed();
    let stands = encode_candidacy(0, town.chain, 1, Some(&keys));
    for (leaf, digest) in [(stands, "its own"), (raw(KEY, &[(16, 4)]), "another")] {
        let mut envelope = town.envelope(MALLORY, vec![leaf]);
        envelope.attached = Some(Box::new(Attachment { index: 0, keys }));
        let nonce = town.post_as_it_is(MALLORY, &envelope);
        town.witnessed_step();
        let verdicts = town.desk(MALLORY).verdicts(nonce);
        assert_eq!(verdicts, [Some(Reject::BadCandidacy)], "keys under {digest} digest");
    }
    // The regulator may err as well.
    let leaves = vec![
        encode_configure(0, &Configure { param: 999, value: 1 }),
        encode_configure(
            1,
            &Configure {
                param: Param::Range as u32,
                value: 5,
            },
        ),
        encode_configure(
            2,
            &Configure {
                param: Param::SealS as u32,
                value: 86_400,
            },
        ),
        encode_market_order(
            3,
            &MarketOrder {
                action: MarketAction::Suspend,
                contract: None,
                participant: STRANGER,
                reason: 0,
            },
        ),
    ];
    let nonce = town.post(REGULATOR, leaves);
    // The deal that fixes the next period's floor.
    let take = town.post(BUYER, vec![leaf(&quote(Side::Buy, DEAL_TICKS, 1_000))]);
    town.witnessed_step();
    let expected = [
        Reject::UnknownParam,
        Reject::ParamOutOfBounds,
        Reject::ParamOutOfBounds,
        Reject::UnknownParticipant,
    ]
    .map(Some);
    assert_eq!(town.desk(REGULATOR).verdicts(nonce), expected);
    assert_eq!(town.desk(BUYER).verdicts(take), [None]);
    let dealt =
        |message: &Outbound| matches!(message, Outbound::Executed(deal) if deal.price == 2 * i64::from(DEAL_TICKS));
    assert!(town.desk(BUYER).heard.iter().any(dealt) && town.desk(SELLER).heard.iter().any(dealt));
}

/// Gate closure, and the floor of the period after.
fn gate(town: &mut Town) {
    town.witnessed_step_to(at(-300));
    let (seal, _) = sealed(town, MALLORY, 15_000);
    let late = town.post(MALLORY, vec![bid(|_| {}), encode_seal(1, &seal)]);
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(late), [Some(Reject::GateClosed); 2]);

    town.witnessed_step_to(at(-300 + 210));
    let next = CONTRACT.offset(1);
    let of_next = |index, ticks| {
        encode_quote(
            index,
            &Quote {
                contract: next,
                ..quote(Side::Buy, ticks, 1_000)
            },
        )
        .unwrap()
    };
    let leaves = vec![
        of_next(0, DEAL_TICKS - 1),
        of_next(1, DEAL_TICKS),
        of_next(2, DEAL_TICKS + 1),
    ];
    let nonce = town.post(MALLORY, leaves);
    let ask = Quote {
        contract: next,
        ..quote(Side::Sell, DEAL_TICKS + 1, 100)
    };
    let good = town.post(SELLER, vec![leaf(&ask)]);
    town.witnessed_step();
    let expected = [Some(Reject::BidBelowFloor), Some(Reject::BidBelowFloor), None];
    assert_eq!(town.desk(MALLORY).verdicts(nonce), expected);
    assert_eq!(town.desk(SELLER).verdicts(good), [None]);
}

/// Who is suspended is told so, whole envelope by whole envelope, until reinstated.
fn suspension(town: &mut Town) {
    let order = |action| {
        encode_market_order(
            0,
            &MarketOrder {
                action,
                contract: None,
                participant: MALLORY,
                reason: 7,
            },
        )
    };
    town.post(REGULATOR, vec![order(MarketAction::Suspend)]);
    town.witnessed_step();
    let envelope = town.envelope(MALLORY, vec![any_cancel()]);
    town.desk(MALLORY).client.send_envelope(&envelope).unwrap();
    town.desk(MALLORY).answer().unwrap();
    town.witnessed_step();
    let refused = town.desk(MALLORY).refused_at_step();
    assert_eq!((refused.len(), reject(refused[0].code)), (1, Reject::Suspended));
    town.post(REGULATOR, vec![order(MarketAction::Reinstate)]);
    let halt = MarketOrder {
        action: MarketAction::Halt,
        contract: None,
        participant: ParticipantId::new(0),
        reason: 7,
    };
    town.post(REGULATOR, vec![encode_market_order(0, &halt)]);
    town.witnessed_step();
    let nonce = town.post(
        MALLORY,
        vec![bid(|q| {
            (q.contract, q.price) = (CONTRACT.offset(1), Price::new(DEAL_TICKS + 1))
        })],
    );
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::Halted)]);
}

#[test]
fn invalid_signatures_suspend_the_session_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = lockstep();
    config.verify.bad_signatures_max = 3;
    let mut town = Town::start(dir.path(), at(-1_800), params(), &config);
    populate(&mut town);

    let good = town.envelope(MALLORY, vec![any_cancel()]);
    let mut bad = good.clone();
    bad.signature = key(BUYER).sign(&bad.digest(town.chain));
    let mut desk = town.leave(MALLORY);
    // The last bad one closes the session; what follows it is not executed, however valid.
    for envelope in [&bad, &bad, &bad, &good] {
        // The connection may be closed by then.
        let _ = desk.client.send_envelope(envelope);
    }
    let refused: Vec<Reject> = (0..3).map(|_| reject(desk.refusal("a bad signature").code)).collect();
    assert_eq!(
        refused,
        [Reject::BadSignature, Reject::BadSignature, Reject::SessionSuspended]
    );
    while let Ok(message) = desk.client.next(wire::WAIT) {
        let (_, message) = message.expect("the session ends");
        assert!(
            matches!(message, Outbound::RejectedMessage(refused) if reject(refused.code) == Reject::SessionSuspended)
        );
    }
    town.witnessed_step();

    // The participant may come back, and its nonce is unburned.
    town.log_on(MALLORY);
    let nonce = town.post(MALLORY, vec![any_cancel()]);
    town.witnessed_step();
    assert_eq!(town.desk(MALLORY).verdicts(nonce), [Some(Reject::UnknownOrder)]);
    let (_, recorded) = town.stop();
    assert!(records(dir.path()) == recorded);
}

#[test]
fn bytes_that_are_no_packets_close_their_session_and_no_other_mio() {
    no_packets(Backend::Mio);
}

#[test]
fn bytes_that_are_no_packets_close_their_session_and_no_other_io_uring() {
    no_packets(Backend::IoUring);
}

fn no_packets(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = lockstep();
    config.ingest.backend = backend;
    let mut town = Town::start(dir.path(), at(-1_800), params(), &config);
    let oversize = u16::try_from(config.ingest.packet_size_max + 1).unwrap().to_be_bytes();
    let (mut server_packet, mut login_twice) = (Vec::new(), Vec::new());
    soupbin::put_sequenced(b"only a node says this", &mut server_packet);
    soupbin::put_debug("for people", &mut login_twice);
    login_twice.extend_from_slice(b"\x00\x03L??");
    let cases: Vec<(&str, Vec<u8>, Reject)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Reject::Garbage),
        ("an empty packet", vec![0, 0], Reject::Garbage),
        ("an unknown type", vec![0, 1, b'?'], Reject::Garbage),
        ("a server's packet", server_packet, Reject::Garbage),
        ("a short login", login_twice, Reject::Garbage),
        ("a heartbeat with a payload", vec![0, 2, b'R', 0], Reject::Garbage),
        (
            "a packet too long",
            [&oversize[..], b"U"].concat(),
            Reject::OversizeFrame,
        ),
        ("the longest packet", vec![0xff, 0xff, b'U'], Reject::OversizeFrame),
    ];
    for (case, bytes, expected) in cases {
        for logged_in in [false, true] {
            let mut wire = Wire::open(town.node.addr);
            if logged_in {
                wire.log_in(soupbin::SESSION_PRIVATE);
                assert!(wire.read_until(|heard| !heard.messages.is_empty()).0.logged_in);
            }
            // HTTP's first two bytes name a packet too long only where packets are shorter than that.
            let expected = if case == "HTTP" && config.ingest.packet_size_max < 0x4745 {
                Reject::OversizeFrame
            } else {
                expected
            };
            wire.send(&bytes);
            assert_eq!(
                wire.read_to_end().rejects(),
                [expected],
                "{case}, logged in: {logged_in}"
            );
        }
        town.witnessed_step();
    }
    // A message before the login is no garbage, only too early; the session goes on.
    let mut wire = Wire::open(town.node.addr);
    let mut early = Vec::new();
    soupbin::put_unsequenced(b"too early", &mut early);
    wire.send(&early);
    let (heard, closed) = wire.read_until(|heard| !heard.messages.is_empty());
    assert_eq!((heard.rejects(), closed), (vec![Reject::NotLoggedOn], false));
    wire.log_in(soupbin::SESSION_PRIVATE);
    assert!(wire.read_until(|heard| !heard.messages.is_empty()).0.logged_in);
    // Half a packet and a disconnect harm nobody.
    wire.send(&[0, 60, b'U', 1, 2, 3]);
    drop(wire);
    town.witnessed_step();
    let (_, recorded) = town.stop();
    assert!(records(dir.path()) == recorded);
}

#[test]
fn what_waits_for_a_step_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = lockstep();
    config.seal.held_max = 4;
    let mut town = Town::start(dir.path(), at(-1_800), params(), &config);
    let mut door = Desk::open(town.node.addr, 1);
    let record = registration(town.chain, MALLORY, TRADER);
    town.register(&mut door, &record);
    town.witnessed_step();
    town.log_on(MALLORY);
    for _ in 0..2 {
        for _ in 0..3 {
            town.post(MALLORY, vec![any_cancel()]);
        }
        // The fourth is the regulator's, without whom no step is witnessed; then there is no room.
        let (param, value) = (Param::VolatilityAlarm as u32, 7);
        town.post(REGULATOR, vec![encode_configure(0, &Configure { param, value })]);
        let more = town.envelope(MALLORY, vec![any_cancel()]);
        for _ in 0..3 {
            town.desk(MALLORY).client.send_envelope(&more).unwrap();
            let refused = town.desk(MALLORY).refusal("a fifth message");
            assert_eq!(
                (reject(refused.code), refused.nonce),
                (Reject::HeldTooMany, more.header.nonce)
            );
        }
        let time = town.now.plus_secs(1);
        town.step_to(time);
    }
    // What was refused is as good as never sent.
    town.post(MALLORY, vec![any_cancel()]);
    town.witnessed_step();
    let (_, recorded) = town.stop();
    assert!(records(dir.path()) == recorded);
}

#[test]
fn sessions_beyond_the_configured_are_refused_until_one_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = lockstep();
    config.ingest.sessions_max = 2;
    let mut town = Town::start(dir.path(), at(-1_800), params(), &config);
    town.log_on(GRID_COMPANY);
    for _ in 0..3 {
        let mut wire = Wire::open(town.node.addr);
        assert_eq!(wire.read_to_end().rejects(), [Reject::TooManySessions]);
    }
    town.witnessed_step();
    town.leave(GRID_COMPANY).client.logout().unwrap();
    // The node learns of the logout in its own time: ask until there is room.
    let deadline = Instant::now() + wire::WAIT;
    loop {
        assert!(Instant::now() < deadline, "a session that left still counts");
        let mut wire = Wire::open(town.node.addr);
        wire.log_in(soupbin::SESSION_PRIVATE);
        let (heard, closed) = wire.read_until(|heard| heard.logged_in);
        if !closed && heard.logged_in {
            break;
        }
        assert!(heard.rejects().iter().all(|reject| *reject == Reject::TooManySessions));
    }
    town.witnessed_step();
    let (_, recorded) = town.stop();
    assert!(records(dir.path()) == recorded);
}
