//! What a leader may do with its turn: its own group's quotes, the order of what it takes, what it leaves out.

use super::super::pool::{Origin, Pool};
use super::super::{Set, fill};
use super::*;
use crate::config;
use crate::evidence::receipts::{Contradiction, Half};
use crate::stage::{About, VerifiedCommand};
use wattbook_feed::keys::{registrar_key, sign_ed25519};
use wattbook_feed::sbe::session::HeldKind;
use wattbook_feed::signed::{LeafBytes, SealedEnvelope, encode_cancel, encode_quote, receipt_digest};
use wattbook_types::command::{Cancel, Quote, SelfTrade, Side, TimeInForce};
use wattbook_types::{ContractId, Energy, Price};

pub(super) fn set(alias: &Alias) -> Set {
    Set {
        replicate: config::Replicate::default(),
        is_lockstep: false,
        seal: config::Seal::default(),
        alias: alias.clone(),
        registrar: registrar_key(&SEED).verifying_key(),
    }
}

pub(super) fn cancel() -> LeafBytes {
    let all = Cancel {
        contract: None,
        target_nonce: 0,
        target_index: u32::MAX,
    };
    encode_cancel(0, &all)
}

fn quote() -> LeafBytes {
    let quote = Quote {
        contract: ContractId::new(2_000_000, ContractId::PRODUCT_QUARTER_HOUR, 1),
        client_order_id: 0,
        round: 0,
        side: Side::Buy,
        time_in_force: TimeInForce::Gate,
        price: Price::new(1_000),
        charge_cap: -1,
        energy: Energy::new(1_000),
        min_fill: Energy::new(0),
        valid_until_s: 0,
        display: Energy::new(0),
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    };
    encode_quote(0, &quote).unwrap()
}

/// An envelope of the delegate of this rank.
pub(super) fn envelope(chain: ChainId, rank: u64, nonce: u64, leaf: LeafBytes) -> VerifiedCommand {
    let who = ParticipantId::new(chain::FIRST_SERIAL + rank);
    let key = chain::participant_key(&SEED, who);
    let until = START.plus_secs(60);
    let sealed = SealedEnvelope::sign(chain, &key, who, 1, nonce, until, vec![leaf]);
    let payload = sealed.to_payload();
    VerifiedCommand {
        command: Command::Envelope(SealedEnvelope::decode_command(chain, &payload).unwrap()),
        kind: record_kind::ENVELOPE,
        payload,
        held: HeldKind::Envelope,
        about: About::default(),
    }
}

#[test]
fn what_the_leaders_group_quotes_openly_waits_for_another_leader() {
    let (start, alias, chain) = genesis();
    let set = set(&alias);
    let mut pool = Pool::new(10, 1 << 20);
    for (rank, leaf) in [(0, quote()), (1, quote()), (0, cancel())] {
        let nonce = u64::from(leaf == cancel()) + 1;
        pool.put(Box::new(envelope(chain, rank, nonce, leaf)), Origin::Own)
            .unwrap();
    }
    let digests: Vec<Hash> = pool.iter().map(|waiting| waiting.digest).collect();
    let packed = |rank: u64, after: i64| {
        let (mut line, mut open) = (start.clone(), Open::default());
        let turn = turn(1, rank * 1_000_000 + 1, rank);
        line.tick_to(&mut open, START.plus_secs(after)).unwrap();
        let (refused, is_whole) = fill(&set, &mut line, &mut open, turn.producer, pool.iter());
        assert!(is_whole);
        let (executed, bytes) = line.seal(open, &turn, rank as u32, &alias).unwrap();
        let (header, records) = form::parts(&bytes).unwrap();
        start.clone().execute(&header, &records, &alias).unwrap();
        (executed.commands, refused)
    };
    assert_eq!(packed(0, 1), (vec![digests[1], digests[2]], Vec::new()));
    assert_eq!(packed(1, 1), (vec![digests[0], digests[2]], Vec::new()));
    assert_eq!(packed(2, 1), (digests.clone(), Vec::new()));
    // What nobody can pack any more is refused by whoever leads.
    let (none, refused) = packed(0, 61);
    let refused: Vec<_> = refused
        .iter()
        .map(|(digest, refusal)| (*digest, refusal.reject))
        .collect();
    assert_eq!(none, []);
    assert_eq!(
        refused,
        digests
            .iter()
            .map(|digest| (*digest, Reject::Expired))
            .collect::<Vec<_>>()
    );
    // A leader that packs its own is refused by whoever executes its block, and seals none itself.
    let mut line = start.clone();
    let mut open = Open::default();
    line.tick_to(&mut open, START.plus_secs(1)).unwrap();
    let own = envelope(chain, 0, 1, quote());
    line.apply(&mut open, &own.command, own.kind, &own.payload).unwrap();
    let (mut sealed, again) = (line.clone(), open.clone());
    let quoter = ParticipantId::new(chain::FIRST_SERIAL);
    assert_eq!(
        line.seal(open, &turn(1, 1, 0), 0, &alias).unwrap_err(),
        BadTurn::OwnGroup { quoter }
    );
    let (mut header, bytes) = {
        let (executed, bytes) = sealed.seal(again, &turn(1, 1_000_001, 1), 1, &alias).unwrap();
        (executed.header, bytes)
    };
    let (_, records) = form::parts(&bytes).unwrap();
    (header.view, header.producer) = (1, 0);
    assert_eq!(
        start.clone().execute(&header, &records, &alias).unwrap_err(),
        Misfit::Turn(BadTurn::OwnGroup { quoter })
    );
}

/// A block of the commands at these places of `packed`, by rank `rank` in height 1, executed where `owed` is owed.
fn judged(
    start: &Line,
    alias: &Alias,
    rank: u64,
    packed: &[&VerifiedCommand],
    owed: &[&Command],
) -> Result<(), Misfit> {
    let (mut line, mut open) = (start.clone(), Open::default());
    line.tick_to(&mut open, START.plus_secs(1)).unwrap();
    for command in packed {
        line.apply(&mut open, &command.command, command.kind, &command.payload)
            .unwrap();
    }
    let turn = turn(1, rank * 1_000_000 + 1, rank);
    let (_, bytes) = line.seal(open, &turn, rank as u32, alias).unwrap();
    let (header, records) = form::parts(&bytes).unwrap();
    start.clone().execute_owing(&header, &records, owed, alias).map(drop)
}

#[test]
fn a_block_may_leave_out_only_what_the_market_refuses_or_the_leader_may_not_pack() {
    let (start, alias, chain) = genesis();
    let [one, other, again] = [(1, 1), (2, 1), (1, 1)].map(|(rank, nonce)| envelope(chain, rank, nonce, cancel()));
    let own = envelope(chain, 0, 1, quote());
    assert_eq!(judged(&start, &alias, 0, &[&other], &[]), Ok(()));
    assert_eq!(
        judged(&start, &alias, 0, &[&other], &[&one.command]),
        Err(Misfit::Omission)
    );
    assert_eq!(
        judged(&start, &alias, 0, &[&one], &[&one.command, &other.command]),
        Err(Misfit::Omission)
    );
    assert_eq!(judged(&start, &alias, 0, &[&other, &one], &[&one.command]), Ok(()));
    // In the block under another record's name: its nonce is used.
    assert_eq!(judged(&start, &alias, 0, &[&again], &[&one.command]), Ok(()));
    // The leader's own open quotes it may not pack; another leader must.
    assert_eq!(judged(&start, &alias, 0, &[], &[&own.command]), Ok(()));
    assert_eq!(judged(&start, &alias, 1, &[], &[&own.command]), Err(Misfit::Omission));
    // Evidence and Ticks are owed to nobody.
    let tick = Command::Tick(START.plus_secs(9));
    assert_eq!(judged(&start, &alias, 0, &[], &[&tick]), Ok(()));
    // Nothing that is in the log already, or that expired.
    let mut late = envelope(chain, 3, 1, cancel());
    if let Command::Envelope(envelope) = &mut late.command {
        envelope.not_after = START;
    }
    assert_eq!(judged(&start, &alias, 0, &[], &[&late.command]), Ok(()));
}

/// Two receipts for two orders, in the name of the delegate of rank `rank` by the key of the links of `signer`.
fn two_orders(dir: &Path, chain: ChainId, rank: u8, signer: u8) -> Contradiction {
    let dir = dir.with_file_name(format!("node{signer}"));
    let key = ed25519_dalek::SigningKey::from_bytes(&keys::read_named(&dir, keys::PEER_KEY).unwrap());
    let half = |byte: u8| {
        let run = Hash([byte; 32]);
        let signature = sign_ed25519(&key, &receipt_digest(chain, 0, 1, 7, &run));
        Half { run, signature }
    };
    Contradiction {
        rank,
        epoch: 0,
        term: 1,
        seq: 7,
        halves: [half(1), half(2)],
        names: Vec::new(),
    }
}

#[test]
fn two_orders_are_recorded_and_whoever_reads_the_ledger_checks_them() {
    for (signer, holds) in [(2, true), (3, false)] {
        let (_folder, dir) = town();
        let (start, alias, chain) = line_of(&dir);
        let mut line = start.clone();
        let found = two_orders(&dir, chain, 2, signer);
        let record = EvidenceRecord::of(Proof::Receipts(found), line.executor().market()).unwrap();
        let payload = record.to_payload();
        assert_eq!(EvidenceRecord::decode(&payload).as_ref(), Ok(&record));
        assert_eq!(record.check(start.executor().market()).is_ok(), holds);
        let mut open = Open::default();
        line.tick_to(&mut open, START.plus_secs(1)).unwrap();
        line.apply(&mut open, &record.to_command(chain), record_kind::EVIDENCE, &payload)
            .unwrap();
        let (_, bytes) = line.seal(open, &turn(1, 1, 0), 0, &alias).unwrap();
        let delegates = line.executor().market().state().dpos.as_ref().unwrap();
        assert!(delegates.candidate(record.offender).unwrap().forfeited);
        assert_eq!(
            line.apply_alone(&record, chain).unwrap_err().reject,
            Reject::AlreadyJudged
        );
        let form = Form(chain);
        let block = Candidate::read(&form, bytes, usize::MAX).unwrap();
        let mut blocks = FinalBlocks::new(open_store(&dir), form, Lengths::default(), Damages::default()).unwrap();
        blocks.append(&block).unwrap();
        blocks.sync().unwrap();
        drop(blocks);
        match audit::verify(&dir, Some(chain), |_| ()) {
            Ok(verified) => assert!(holds && verified.end.totals.evidence == 1),
            Err(finding) => assert_eq!((holds, finding.kind), (false, ChainFault::Evidence.into())),
        }
    }
}
