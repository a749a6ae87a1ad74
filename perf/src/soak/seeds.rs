//! Valid inputs of every target, made by the encoders of the crates themselves.

use super::dice::Dice;
use wattbook_feed::keys::{BlsSecret, KeyRole, alias_key, log_key, registrar_key, sign_ed25519};
use wattbook_feed::layout::{Field, Kind};
use wattbook_feed::sbe::inbound::LogonMessage;
use wattbook_feed::sbe::{
    SCHEMA_VERSION, encode_envelope, encode_logon, encode_on_disconnect, encode_register, encode_reveal, encode_step,
    outbound,
};
use wattbook_feed::signed::genesis::{FLAG_DEMO, padded};
use wattbook_feed::signed::{
    Alias, Attachment, CandidateKeys, Genesis, GenesisAccount, GenesisDelegate, LeafBytes, MeterEntry, Register,
    RegisterRecord, RevealRecord, SealedEnvelope, encode_candidacy, encode_item, leaf, meters_root, record_kind,
    tick_payload,
};
use wattbook_feed::soupbin::{self, LoginAccepted, LoginRefusal, LoginRequest};
use wattbook_types::command::{
    ALL_INDEXES, Cancel, Configure, GridSignature, MarketAction, MarketOrder, Rate, Reading, Replace, Seal,
};
use wattbook_types::{
    ChainId, ContractId, Energy, Hash, Item, Meter, MeterKind, Param, ParticipantId, Price, Quote, Roles, SelfTrade,
    Side, TimeInForce, TimeNs,
};

/// What the signatures of [`signatures`] are over.
pub(crate) const DIGEST: Hash = Hash([5; 32]);

const SEED: [u8; 32] = [42; 32];
const CHAIN: ChainId = ChainId(Hash([7; 32]));
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

fn secret(serial: u64) -> BlsSecret {
    BlsSecret::derive(&SEED, KeyRole::Participant, serial)
}

/// With a choice of pieces before every packet and before the whole stream.
fn streams(packets: Vec<Vec<u8>>, dice: &mut Dice) -> Vec<Vec<u8>> {
    let whole = packets.concat();
    packets
        .into_iter()
        .chain([whole])
        .map(|mut stream| {
            stream.insert(0, dice.any() as u8);
            stream
        })
        .collect()
}

pub(crate) fn soupbin_client(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut packets = vec![Vec::new(); 5];
    for (session, sequence) in [(soupbin::SESSION_PRIVATE, 1), (soupbin::SESSION_PUBLIC, u64::MAX)] {
        let request = LoginRequest {
            username: "meter".into(),
            password: String::new(),
            session: session.into(),
            sequence,
        };
        soupbin::put_login_request(&request, &mut packets[0]);
    }
    soupbin::put_client_heartbeat(&mut packets[1]);
    soupbin::put_unsequenced(&dice.bytes(40), &mut packets[2]);
    soupbin::put_debug("a text", &mut packets[3]);
    soupbin::put_logout(&mut packets[4]);
    streams(packets, dice)
}

pub(crate) fn soupbin_server(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut packets = vec![Vec::new(); 6];
    let accepted = LoginAccepted {
        session: soupbin::SESSION_PUBLIC.into(),
        sequence: 17,
    };
    soupbin::put_login_accepted(&accepted, &mut packets[0]);
    soupbin::put_login_rejected(LoginRefusal::NotAuthorized, &mut packets[1]);
    soupbin::put_sequenced(&dice.bytes(100), &mut packets[2]);
    soupbin::put_server_heartbeat(&mut packets[3]);
    soupbin::put_end_of_session(&mut packets[4]);
    soupbin::put_unsequenced(&[], &mut packets[5]);
    streams(packets, dice)
}

fn quote(round: u16) -> Quote {
    Quote {
        contract: CONTRACT,
        client_order_id: 9,
        round,
        side: Side::Buy,
        time_in_force: TimeInForce::Until,
        price: Price::new(-12_310),
        charge_cap: -1,
        energy: Energy::new(1_500),
        min_fill: Energy::new(100),
        valid_until_s: 1_465_861_000,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}

/// One leaf of every kind; kinds that are not enabled are decoded all the same.
fn leaf_of_each_kind() -> Vec<LeafBytes> {
    let items = [
        Item::Quote(quote(0)),
        Item::Cancel(Cancel {
            contract: Some(CONTRACT),
            target_nonce: 3,
            target_index: ALL_INDEXES,
        }),
        Item::Replace(Replace {
            contract: CONTRACT,
            target_nonce: 3,
            target_index: 0,
            price: Price::new(9_900),
            charge_cap: 300,
            energy: Energy::new(1_000),
            min_fill: Energy::ZERO,
            display: Energy::ZERO,
        }),
        Item::Seal(Seal {
            contract: CONTRACT,
            round: 1,
            bond_class: 4,
            commitment: DIGEST,
        }),
        Item::Rate(Rate {
            deal_id: DIGEST,
            good: true,
        }),
        Item::Grid(GridSignature {
            height: 12,
            deals_digest: DIGEST,
        }),
        Item::Meter(Reading {
            meter: 1_004,
            period: CONTRACT.period(),
            revision: 1,
            import: Energy::new(250),
            export: Energy::ZERO,
        }),
        Item::Configure(Configure {
            param: Param::Range as u32,
            value: 4,
        }),
        Item::Order(MarketOrder {
            action: MarketAction::Suspend,
            contract: None,
            participant: ParticipantId::new(4),
            reason: 7,
        }),
    ];
    let enabled = (0..)
        .zip(&items)
        .filter_map(|(index, item)| encode_item(index, item).ok());
    let mut leaves: Vec<LeafBytes> = enabled.collect();
    let later = [
        leaf::CONFIRM,
        leaf::TRANSFER,
        leaf::REDEEM,
        leaf::VOTE,
        leaf::KEY,
        leaf::CALL,
        leaf::EMISSION,
    ];
    for kind in later.into_iter().chain([leaf::DISPUTE]) {
        let mut bytes = [0; 48];
        bytes[0] = kind;
        bytes[4..8].copy_from_slice(&(leaves.len() as u32).to_le_bytes());
        bytes[16] = 1;
        leaves.push(bytes);
    }
    leaves
}

pub(crate) fn leaves(_: &mut Dice) -> Vec<Vec<u8>> {
    (0u32..)
        .zip(leaf_of_each_kind())
        .map(|(position, leaf)| [&position.to_le_bytes()[..], &leaf].concat())
        .collect()
}

fn registrations() -> Vec<RegisterRecord> {
    let meter = |number, kind| {
        MeterEntry::new(&Meter {
            meter: number,
            import_cap: Energy::new(5_000),
            export_cap: Energy::new(u64::MAX),
            kind,
        })
    };
    let all = [
        vec![],
        vec![meter(1, MeterKind::Load)],
        vec![
            meter(2, MeterKind::CleanGeneration),
            meter(3, MeterKind::Storage),
            meter(4, MeterKind::Grid),
        ],
    ];
    let registrar = registrar_key(&SEED);
    let record = |(serial, meters): (u64, Vec<MeterEntry>)| {
        let register = register(serial, 3, meters_root(&meters));
        RegisterRecord {
            register,
            admit: sign_ed25519(&registrar, &register.admit_digest(CHAIN)),
            possession: secret(serial).prove_possession(&register.digest(CHAIN)),
            meters,
        }
    };
    (4..).zip(all).map(record).collect()
}

fn register(serial: u64, roles: u32, meters_root: Hash) -> Register {
    Register {
        roles,
        flags: 0,
        admit_serial: serial,
        not_after_ns: u64::MAX,
        public_key: secret(serial).public_key(),
        session_spki: [0; 32],
        group: [0; 32],
        meters_root: meters_root.0,
    }
}

pub(crate) fn register_records(_: &mut Dice) -> Vec<Vec<u8>> {
    registrations().iter().map(RegisterRecord::to_payload).collect()
}

fn envelopes() -> Vec<SealedEnvelope> {
    let all = leaf_of_each_kind();
    let sign = |nonce, leaves: Vec<LeafBytes>| {
        let not_after = TimeNs::from_secs(1_465_862_400);
        SealedEnvelope::sign(CHAIN, &secret(4), ParticipantId::new(4), 1, nonce, not_after, leaves)
    };
    let keys = candidate();
    let mut stands = sign(3, vec![all[0], encode_candidacy(1, CHAIN, 7, Some(&keys))]);
    stands.attached = Some(Box::new(Attachment { index: 1, keys }));
    vec![
        sign(1, all[..1].to_vec()),
        sign(2, all.clone()),
        sign(u64::MAX, Vec::new()),
        stands,
        sign(4, vec![encode_candidacy(0, CHAIN, 7, None)]),
    ]
}

/// Keys that are proven to be held.
fn candidate() -> CandidateKeys {
    let ballot = BlsSecret::derive(&SEED, KeyRole::Ballot, 4);
    CandidateKeys {
        peer_key: registrar_key(&SEED).verifying_key().to_bytes(),
        ballot_key: ballot.public_key(),
        possession: ballot.prove_ballot_key(),
    }
}

pub(crate) fn sealed_envelopes(_: &mut Dice) -> Vec<Vec<u8>> {
    envelopes().iter().map(SealedEnvelope::to_payload).collect()
}

fn reveals() -> Vec<RevealRecord> {
    let leaf = |index| encode_item(index, &Item::Quote(quote(1))).ok();
    let of = |count| RevealRecord {
        participant: ParticipantId::new(4),
        contract: CONTRACT,
        round: 1,
        salt: DIGEST,
        leaves: (0..count).filter_map(leaf).collect(),
    };
    vec![of(0), of(1), of(4)]
}

pub(crate) fn reveal_records(_: &mut Dice) -> Vec<Vec<u8>> {
    reveals().iter().map(RevealRecord::to_payload).collect()
}

/// One of each word that nodes of a committee tell each other, and some of them in a row.
pub(crate) fn words(dice: &mut Dice) -> Vec<Vec<u8>> {
    let head = |word: u8, n: u16| [&[word, 0][..], &n.to_le_bytes(), &[0; 4]].concat();
    let tick = ticks(dice).remove(0);
    let command = [&[1, 0, 4, 0][..], &(tick.len() as u32).to_le_bytes(), &tick].concat();
    let refusal = [&[2, 0, 1, 0, 0, 0, 0, 0][..], &[7; 32], &[9; 8]].concat();
    let step = [&[3, 0, 0, 0, 2, 0, 0, 0][..], &[1; 8], &[5; 64]].concat();
    let seen = [&head(4, 2)[..], &[1; 80], &[6; 64]].concat();
    let entry = |path: u8| {
        [
            &[0, 0, 1, 0, 3, 0, path, 0][..],
            &[2; 72],
            &vec![8; 32 * usize::from(path)],
        ]
        .concat()
    };
    let certified = [&head(5, 2)[..], &[3; 40], &entry(2), &entry(0)].concat();
    let receipt = [&head(6, 2)[..], &[1; 24], &[4; 96], &[6; 64]].concat();
    let each = vec![command, refusal, step, seen, certified, receipt];
    let mut all = each.clone();
    all.push(each.concat());
    all
}

pub(crate) fn ticks(_: &mut Dice) -> Vec<Vec<u8>> {
    [0, 1_465_862_400_000_000_000, u64::MAX]
        .map(|time| tick_payload(TimeNs::new(time)).to_vec())
        .to_vec()
}

/// Two ballots and two receipts that contradict each other.
fn evidence() -> Vec<Vec<u8>> {
    let vote = |byte: u8| [&u64::from(byte).to_le_bytes()[..], &[byte; 80]].concat();
    let ballots = [&[9; 8][..], &[1, 0, 1, 1, 0, 0, 0, 0], &[3; 16], &vote(1), &vote(2)].concat();
    let receipts = [
        &[9; 8][..],
        &[2, 0, 4, 1, 1, 0, 0, 0],
        &[3; 24],
        &[1; 96],
        &[2; 96],
        &[3; 32],
    ]
    .concat();
    vec![ballots, receipts]
}

pub(crate) fn records(dice: &mut Dice) -> Vec<Vec<u8>> {
    let kinds = [
        (record_kind::REGISTER, register_records(dice)),
        (record_kind::ENVELOPE, sealed_envelopes(dice)),
        (record_kind::REVEAL, reveal_records(dice)),
        (record_kind::TICK, ticks(dice)),
        (record_kind::EVIDENCE, evidence()),
    ];
    let mut all = Vec::new();
    for (kind, payloads) in kinds {
        for payload in payloads {
            all.push([&kind.to_le_bytes()[..], &record_kind::VERSION.to_le_bytes(), &payload].concat());
        }
    }
    all
}

pub(crate) fn inbound(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut keep = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        encode(&mut out);
        all.push(out);
    };
    let logon = LogonMessage {
        participant: 4,
        grade: 2,
        reserved: [0; 7],
        signature: dice.array(),
    };
    keep(&|out| encode_logon(&logon, out));
    keep(&|out| encode_step(TimeNs::from_secs(1_465_862_400), out));
    for record in registrations() {
        keep(&|out| encode_register(&record, out));
    }
    for envelope in envelopes() {
        keep(&|out| encode_envelope(&envelope, out));
        keep(&|out| encode_on_disconnect(Some(&envelope), out));
    }
    keep(&|out| encode_on_disconnect(None, out));
    for reveal in reveals() {
        keep(&|out| encode_reveal(&reveal, out));
    }
    all
}

/// One message of every template, its fields any that their types admit.
pub(crate) fn outbound(dice: &mut Dice) -> Vec<Vec<u8>> {
    let message = |spec: &wattbook_feed::layout::MessageSpec, dice: &mut Dice| {
        let mut out = Vec::new();
        for field in [spec.block_length as u16, spec.id, 1, SCHEMA_VERSION] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let mut block = vec![0; spec.block_length];
        fill(spec.fields, &mut block, dice);
        out.extend(block);
        out
    };
    outbound::MESSAGES.iter().map(|spec| message(spec, dice)).collect()
}

fn fill(fields: &[Field], block: &mut [u8], dice: &mut Dice) {
    for field in fields {
        let bytes = &mut block[field.offset..field.offset + field.ty.size];
        match field.ty.kind {
            Kind::Zero => {}
            Kind::Enum(_, values) => {
                let value = values[dice.index(values.len())].value.to_le_bytes();
                let size = bytes.len();
                bytes.copy_from_slice(&value[..size]);
            }
            Kind::Composite(fields) => fill(fields, bytes, dice),
            Kind::Int(_) | Kind::Bytes | Kind::Hash => bytes.copy_from_slice(&dice.bytes(bytes.len())),
        }
    }
}

/// Genesis with the demo's accounts and parameters anywhere within their bounds.
pub(crate) fn genesis(dice: &mut Dice) -> Vec<Vec<u8>> {
    let roles = [
        Roles::REGULATOR,
        Roles::BUYER.union(Roles::SELLER).union(Roles::GRID),
        Roles::METER,
    ];
    let account = |(serial, roles): (u64, &Roles)| {
        let register = register(serial, roles.bits(), meters_root(&[]));
        let digest = register.digest(ChainId::default());
        GenesisAccount {
            register,
            possession: secret(serial).prove_possession(&digest),
        }
    };
    let accounts: Vec<GenesisAccount> = (1..).zip(&roles).map(account).collect();
    let mut all = Vec::new();
    for n in 0..24 {
        let mut params = Vec::new();
        for param in Param::ALL {
            if n > 0 && dice.once_in(8) {
                params.push((*param, within_bounds(*param, dice)));
            }
        }
        let delegate = GenesisDelegate {
            participant: ParticipantId::new(4),
            ed25519: [1; 32],
            bls: [2; 96],
        };
        let genesis = Genesis {
            network: padded("soak").unwrap_or_default(),
            eic: padded("10YDE-DEMO-----W").unwrap_or_default(),
            area: 1,
            flags: FLAG_DEMO,
            time: TimeNs::from_secs(1_465_860_600),
            registrar: registrar_key(&SEED).verifying_key().to_bytes(),
            log_key: log_key(&SEED).verifying_key().to_bytes(),
            alias_commitment: Alias::commitment(&alias_key(&SEED)),
            accounts: if n == 1 { Vec::new() } else { accounts.clone() },
            params,
            delegates: if n % 3 == 2 { vec![delegate] } else { Vec::new() },
        };
        all.push(genesis.encode());
    }
    all
}

/// A value that a parameter may have.
pub(crate) fn within_bounds(param: Param, dice: &mut Dice) -> i64 {
    let (min, max) = param.bounds();
    let between = min.saturating_add((dice.any() % max.abs_diff(min).max(1)) as i64);
    dice.pick(&[min, max, param.default_value(), between])
}

pub(crate) fn signatures(_: &mut Dice) -> Vec<Vec<u8>> {
    let registrar = registrar_key(&SEED);
    let of = |serial| {
        let (key, secret) = (registrar.verifying_key().to_bytes(), secret(serial));
        let parts = [&secret.public_key()[..], &secret.prove_possession(&DIGEST), &key];
        [&parts.concat()[..], &sign_ed25519(&registrar, &DIGEST)].concat()
    };
    vec![of(1), of(2)]
}

pub(crate) fn config(_: &mut Dice) -> Vec<Vec<u8>> {
    let all = [
        "listen = \"127.0.0.1:7411\"\nclock = \"lockstep\"\nwait = \"park\"\n",
        "[ingest]\nsessions_max = 10\npacket_size_max = 60000\nlogin_timeout_ms = 1\nring_len = 64\n",
        "[verify]\npolicy = \"one-by-one\"\nbatch_len_max = 4096\nbatch_deadline_us = 2000\n",
        "[seal]\nblock_records_max = 16384\nblock_ms = 100\nsegment_size = 1048576\n[publish]\nhistory_len = 65536\n",
        "listen = \"[::1]:0\"\n[ingest]\nring_len = 0\n",
    ];
    all.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub(crate) fn clear(_: &mut Dice) -> Vec<Vec<u8>> {
    let orders = "id,side,price,quantity\nb1,B,120.5,10\nb2,B,110,4.25\ns1,S,-5,3\ns2,S,100.01,8.000001\n";
    let ranks = "id,percentile\nb1,0\nb2,0.5\ns1,1\ns2,0.333333\n";
    let both = format!("{orders}\u{1e}{ranks}");
    let other = "\u{feff}price,id,quantity,side\r\n1,\"a,b\",1,S\r\n\r\n2,c,1,B\r\n";
    [orders, &both, other].map(|text| text.as_bytes().to_vec()).to_vec()
}
