//! Blocks between nodes: what is sealed on one line stands on another, and nothing else does.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod fairness;
pub(super) mod scenes;

use super::form::{self, Form};
use super::line::{Line, Misfit, Open};
use super::store::{FinalBlocks, Lengths};
use crate::audit::{self, ChainFault};
use crate::chain::{self, CommitteeSpec, Secrets, Spec};
use crate::evidence::{EvidenceRecord, Proof};
use crate::execute::Executor;
use crate::keys;
use crate::restart::Damages;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wattbook_agreement::ballot::{BallotKey, Namespace, Proposal, Round, Vote};
use wattbook_agreement::block::{Candidate, Format};
use wattbook_agreement::evidence::{Evidence, Offence, Signed};
use wattbook_agreement::seam::Store as _;
use wattbook_feed::signed::{Alias, record_kind, tick_payload};
use wattbook_ledger::{BlockHeader, GENESIS_FILE, HEADER_SIZE, Options, Reader, Record, Store};
use wattbook_market::{BadTurn, Refusal};
use wattbook_types::{ChainId, Command, Hash, Param, ParticipantId, Reject, TimeNs, Turn};

const SEED: [u8; 32] = [3; 32];
const START: TimeNs = TimeNs::from_secs(1_800_000_000);

/// What a header says otherwise.
type Change = fn(&mut BlockHeader);

/// A delegate's directory.
fn town() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let spec = Spec {
        network: "replica".to_owned(),
        eic: String::new(),
        area: 1,
        demo: true,
        time: START,
        params: Vec::new(),
        segment_size: 1 << 20,
    };
    let committee = CommitteeSpec {
        delegates: 5,
        observers: 0,
        port: 7300,
    };
    let (_, members) = chain::create_committee(folder.path(), &spec, &Secrets::of_demo(SEED), committee).unwrap();
    (folder, members[0].dir.clone())
}

fn open_store(dir: &Path) -> Store {
    let options = Options { segment_size: 1 << 20 };
    let key = wattbook_feed::keys::log_key(&SEED);
    Store::open(dir, &key, options).unwrap().0
}

/// The committee's line at genesis, and its pseudonyms.
fn line_of(dir: &Path) -> (Line, Alias, ChainId) {
    let (executor, _) = Executor::start(&std::fs::read(dir.join(GENESIS_FILE)).unwrap()).unwrap();
    let state = executor.market().state();
    let seats = executor.market().committee().unwrap().seats().len();
    assert_eq!((seats, state.params.get(Param::Seats)), (5, 5));
    let anchor = open_store(dir).anchor();
    assert_eq!(Reader::open(dir).unwrap().committed().unwrap().digest, anchor.digest());
    let chain = executor.chain();
    let alias = Alias::new(wattbook_feed::keys::alias_key(&SEED), chain);
    (Line::new(executor, anchor), alias, chain)
}

fn genesis() -> (Line, Alias, ChainId) {
    line_of(&town().1)
}

/// The turn of rank `rank` in `view`.
fn turn(height: u64, view: u64, rank: u64) -> Turn {
    Turn {
        height,
        epoch: 0,
        view,
        producer: ParticipantId::new(chain::FIRST_SERIAL + rank),
    }
}

/// A block of Ticks on a line, which moves behind it.
fn sealed(line: &mut Line, alias: &Alias, seconds: u64, turn: &Turn, rank: u32) -> (BlockHeader, Vec<u8>) {
    let mut open = Open::default();
    line.tick_to(&mut open, START.plus_secs(i64::try_from(seconds).unwrap()))
        .unwrap();
    let (executed, bytes) = line.seal(open, turn, rank, alias).unwrap();
    (executed.header, bytes)
}

#[test]
fn what_is_sealed_here_stands_there_and_nothing_else_does() {
    let (start, alias, chain) = genesis();
    let (mut here, mut there) = (start.clone(), start.clone());
    for height in 1..6 {
        let (header, bytes) = sealed(&mut here, &alias, height, &turn(height, height, 0), 0);
        let head = Form(chain).head(&bytes).unwrap();
        assert_eq!((head.digest, head.height, head.view), (here.digest(), height, height));
        let (read, records) = form::parts(&bytes).unwrap();
        assert_eq!(read, header);
        there.execute(&read, &records, &alias).unwrap();
        assert_eq!((there.digest(), there.next_seq()), (here.digest(), here.next_seq()));
    }
    // Every other header of the same records.
    let (header, bytes) = sealed(&mut here, &alias, 6, &turn(6, 6, 0), 0);
    let (_, records) = form::parts(&bytes).unwrap();
    let wrong: [(&str, Change); 8] = [
        ("state root", |header| header.state_root.0[0] ^= 1),
        ("event root", |header| header.event_root.0[0] ^= 1),
        ("log root", |header| header.log_root.0[0] ^= 1),
        ("delegates' digest", |header| header.dpos_hash.0[0] ^= 1),
        ("parameter digest", |header| header.params_hash.0[0] ^= 1),
        ("next committee", |header| header.next_committee.0[0] ^= 1),
        ("parent", |header| header.parent.0[0] ^= 1),
        ("record root", |header| header.record_root.0[0] ^= 1),
    ];
    for (what, change) in wrong {
        let mut other = header;
        change(&mut other);
        let refused = there.clone().execute(&other, &records, &alias).unwrap_err();
        assert_eq!(refused, Misfit::Header(what));
    }
    let turns: [Change; 4] = [
        |header| header.producer = 1,
        |header| header.producer = 99,
        |header| header.epoch = 1,
        |header| header.view = 5,
    ];
    for change in turns {
        let mut other = header;
        change(&mut other);
        let refused = there.clone().execute(&other, &records, &alias).unwrap_err();
        assert!(matches!(refused, Misfit::Turn(_)), "{refused}");
    }
    let mut other = header;
    other.time = other.time.plus_secs(1);
    assert_eq!(
        there.clone().execute(&other, &records, &alias).unwrap_err(),
        Misfit::Ticks
    );
    let unknown = Record { kind: 77, ..records[0] };
    let refused = there.clone().execute(&header, &[unknown], &alias).unwrap_err();
    assert!(
        matches!(refused, Misfit::Record { seq, .. } if seq == header.first_seq),
        "{refused}"
    );
    there.execute(&header, &records, &alias).unwrap();
}

#[test]
fn a_line_that_was_given_up_leaves_no_trace() {
    let (settled, alias, _) = genesis();
    let mut given_up = settled.clone();
    sealed(&mut given_up, &alias, 1, &turn(1, 1, 0), 0);
    sealed(&mut given_up, &alias, 2, &turn(2, 2, 0), 0);
    // The second delegate leads the next term, and never heard of those blocks.
    let (mut one, mut other) = (settled.clone(), settled);
    let term = 1_000_001;
    let (header, bytes) = sealed(&mut one, &alias, 3, &turn(1, term, 1), 1);
    let (_, records) = form::parts(&bytes).unwrap();
    assert!(matches!(
        given_up.execute(&header, &records, &alias).unwrap_err(),
        Misfit::Turn(_) | Misfit::Header(_)
    ));
    other.execute(&header, &records, &alias).unwrap();
    assert_eq!(one.digest(), other.digest());
}

#[test]
fn bytes_of_blocks_are_all_or_nothing() {
    let (mut line, alias, chain) = genesis();
    let (header, bytes) = sealed(&mut line, &alias, 1, &turn(1, 1, 0), 0);
    let form = Form(chain);
    let digest = form.head(&bytes).unwrap().digest;
    for len in 0..bytes.len() {
        assert!(form.head(&bytes[..len]).is_none(), "cut at {len}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        match form.head(&flipped) {
            None => {}
            Some(head) => assert!(at < HEADER_SIZE && head.digest != digest, "byte {at} is not covered"),
        }
    }
    let tick = TimeNs::new(header.time.get() + 1);
    let more = Record {
        kind: record_kind::TICK,
        version: record_kind::VERSION,
        seq: header.first_seq + 1,
        payload: &tick_payload(tick),
    };
    let (_, mut records) = form::parts(&bytes).unwrap();
    records.push(more);
    assert!(
        form.head(&form::encode(&header, &records)).is_none(),
        "a record too many"
    );
    let mut open = Open::default();
    let refused = line.apply(
        &mut open,
        &Command::Tick(header.time),
        record_kind::TICK,
        &tick_payload(header.time),
    );
    assert!(refused.is_err(), "time does not stand still");
}

/// A block on `line` with evidence against rank `rank` of epoch 0, whose second vote the ballot key of `signer` signs.
fn accusing(dir: &Path, line: &mut Line, alias: &Alias, rank: u8, signer: u8) -> (EvidenceRecord, Vec<u8>) {
    let chain = line.executor().chain();
    let namespace = Namespace::of(chain);
    let round = Round { epoch: 0, view: 3 };
    let voted = |rank: u8, byte: u8| {
        let proposal = Proposal {
            parent_view: 2,
            digest: Hash([byte; 32]),
        };
        let dir = dir.with_file_name(format!("node{rank}"));
        let key = BallotKey::from_bytes(&keys::ballot_key(&dir).unwrap().unwrap()).unwrap();
        Signed {
            proposal,
            signature: key.sign(&namespace, round, &Vote::Notarize(proposal)),
        }
    };
    let evidence = Evidence {
        offence: Offence::TwoNotarized,
        rank,
        round,
        votes: [voted(rank, 1), voted(signer, 2)],
    };
    let record = EvidenceRecord::of(Proof::Ballots(evidence), line.executor().market()).unwrap();
    let payload = record.to_payload();
    assert_eq!(EvidenceRecord::decode(&payload).as_ref(), Ok(&record));
    let mut open = Open::default();
    line.tick_to(&mut open, START.plus_secs(1)).unwrap();
    line.apply(&mut open, &record.to_command(chain), record_kind::EVIDENCE, &payload)
        .unwrap();
    let (_, bytes) = line.seal(open, &turn(1, 1, 0), 0, alias).unwrap();
    (record, bytes)
}

#[test]
fn evidence_is_recorded_and_whoever_reads_the_ledger_checks_it() {
    for (signer, holds) in [(2, true), (3, false)] {
        let (_folder, dir) = town();
        let (start, alias, chain) = line_of(&dir);
        let mut line = start.clone();
        let (record, bytes) = accusing(&dir, &mut line, &alias, 2, signer);
        assert_eq!(record.check(start.executor().market()).is_ok(), holds);
        let offender = line.executor().market().state().dpos.as_ref().unwrap();
        assert!(offender.candidate(record.offender).unwrap().forfeited);
        // Nobody is convicted twice.
        let mut open = Open::default();
        line.tick_to(&mut open, START.plus_secs(2)).unwrap();
        let again = line.apply(
            &mut open,
            &record.to_command(chain),
            record_kind::EVIDENCE,
            &record.to_payload(),
        );
        assert_eq!(again.unwrap_err().reject, Reject::AlreadyJudged);
        let form = Form(chain);
        let block = Candidate::read(&form, bytes, usize::MAX).unwrap();
        let store = open_store(&dir);
        let mut blocks = FinalBlocks::new(store, form, Lengths::default(), Damages::default()).unwrap();
        blocks.append(&block).unwrap();
        blocks.sync().unwrap();
        drop(blocks);
        match audit::verify(&dir, Some(chain), |_| ()) {
            Ok(verified) => assert!(holds && verified.end.totals.evidence == 1),
            Err(finding) => assert_eq!((holds, finding.kind), (false, ChainFault::Evidence.into())),
        }
    }
}

#[test]
fn payloads_of_evidence_are_all_or_nothing() {
    let (_folder, dir) = town();
    let (mut line, alias, chain) = line_of(&dir);
    let (record, _) = accusing(&dir, &mut line.clone(), &alias, 1, 1);
    let payload = record.to_payload();
    for len in 0..payload.len() {
        assert_eq!(EvidenceRecord::decode(&payload[..len]), Err(Reject::ShortFrame));
    }
    assert!(EvidenceRecord::decode(&[&payload[..], &[0]].concat()).is_err());
    let market = line.executor().market();
    for bit in 0..payload.len() * 8 {
        let mut flipped = payload.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(other) = EvidenceRecord::decode(&flipped) else {
            continue;
        };
        // It fails by itself, or the market refuses it.
        let stands = other.check(market).is_ok() && line.clone().apply_alone(&other, chain).is_ok();
        assert!(!stands, "bit {bit}");
    }
    assert!(line.apply_alone(&record, chain).is_ok());
}

impl Line {
    fn apply_alone(&mut self, record: &EvidenceRecord, chain: ChainId) -> Result<(), Refusal> {
        let kind = record_kind::EVIDENCE;
        self.apply(
            &mut Open::default(),
            &record.to_command(chain),
            kind,
            &record.to_payload(),
        )
    }
}
