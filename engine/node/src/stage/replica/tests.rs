//! Blocks between nodes: what is sealed on one line stands on another, and nothing else does.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use super::form::{self, Form};
use super::line::{Line, Misfit, Open};
use crate::chain::{self, CommitteeSpec, Secrets, Spec};
use crate::execute::Executor;
use wattbook_agreement::block::Format;
use wattbook_feed::signed::{Alias, record_kind, tick_payload};
use wattbook_ledger::{BlockHeader, GENESIS_FILE, HEADER_SIZE, Reader, Record};
use wattbook_types::{ChainId, Command, Param, ParticipantId, TimeNs, Turn};

const SEED: [u8; 32] = [3; 32];
const START: TimeNs = TimeNs::from_secs(1_800_000_000);

/// What a header says otherwise.
type Change = fn(&mut BlockHeader);

/// A committee's line at genesis, and its pseudonyms.
fn genesis() -> (Line, Alias, ChainId) {
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
    let (chain, members) = chain::create_committee(folder.path(), &spec, &Secrets::of_demo(SEED), committee).unwrap();
    let dir = &members[0].dir;
    let (executor, _) = Executor::start(&std::fs::read(dir.join(GENESIS_FILE)).unwrap()).unwrap();
    let state = executor.market().state();
    let seats = executor.market().committee().unwrap().seats().len();
    assert_eq!((seats, state.params.get(Param::Seats)), (5, 5));
    let anchor = wattbook_ledger::Store::open(
        dir,
        &wattbook_feed::keys::log_key(&SEED),
        wattbook_ledger::Options { segment_size: 1 << 20 },
    )
    .unwrap()
    .0
    .anchor();
    assert_eq!(Reader::open(dir).unwrap().committed().unwrap().digest, anchor.digest());
    let alias = Alias::new(wattbook_feed::keys::alias_key(&SEED), chain);
    (Line::new(executor, anchor), alias, chain)
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
