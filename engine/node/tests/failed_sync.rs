//! A sync that fails, wherever it does: sessions are told, the node ends with the disk's error, a restart recovers, nothing
//! that was acknowledged is missing. And a full disk, told only when everything before is durable.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod stand;

use stand::{Stand, config, found, last_seq};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use wattbook_feed::sbe::session::HaltReason;
use wattbook_feed::signed::Alias;
use wattbook_ledger::{COMMITS_FILE, DiskCall, Error, GroupPolicy, Options, Store};
use wattbook_node::config::Wait;
use wattbook_node::keys;
use wattbook_node::ring::ring;
use wattbook_node::stage::seal::Seal;
use wattbook_node::stage::sync::Sync;
use wattbook_node::stage::{Draft, DurableHeight, OwnedRecord, Publication};
use wattbook_node::topology::{Node, NodeError};
use wattbook_types::{Hash, TimeNs};

/// Which call fails.
static FAILS: AtomicU8 = AtomicU8::new(NOTHING);
const NOTHING: u8 = 0;
const RANGE: u8 = 1;
const SEGMENT: u8 = 2;
const NAMES: u8 = 3;
const ENTRIES: u8 = 4;

fn failing(call: DiskCall<'_>) -> io::Result<()> {
    let kind = match call {
        DiskCall::SyncRange { .. } => RANGE,
        DiskCall::SyncFile { path } if path.ends_with(COMMITS_FILE) => ENTRIES,
        DiskCall::SyncFile { .. } => SEGMENT,
        DiskCall::SyncDir { .. } => NAMES,
        DiskCall::Allocate { .. } => return Ok(()),
    };
    if kind == FAILS.load(Ordering::SeqCst) {
        return Err(io::Error::from_raw_os_error(5));
    }
    Ok(())
}

#[test]
fn a_failed_sync_ends_the_node_and_a_restart_recovers() {
    for (fails, io_uring) in [
        (RANGE, false),
        (RANGE, true),
        (SEGMENT, false),
        (NAMES, false),
        (ENTRIES, false),
    ] {
        let mut config = config();
        config.seal.io_uring = io_uring;
        let dir = tempfile::tempdir().unwrap();
        found(dir.path(), 16 << 10);
        let node = Node::start_watched(dir.path(), &config, Arc::default(), failing).unwrap();
        let mut stand = Stand::log_on(node.addr, 0);
        let mut seq = 0;
        for _ in 0..3 {
            seq = stand.step().unwrap();
        }
        FAILS.store(fails, Ordering::SeqCst);
        let halted = if fails == ENTRIES {
            // The entries of what is durable follow as soon as the node is idle.
            stand.answer().unwrap_err()
        } else {
            let (durable, halted) = stand.step_until_halted(seq);
            seq = durable;
            halted
        };
        assert_eq!(halted.reason, HaltReason::LedgerFailed as u8);
        assert_eq!(halted.seq, seq);
        stand.end();
        let error = node.join().unwrap_err();
        assert!(
            matches!(&error, NodeError::Ledger(Error::Io { source, .. }) if source.raw_os_error() == Some(5)),
            "{fails}: {error}"
        );

        FAILS.store(NOTHING, Ordering::SeqCst);
        let node = Node::start(dir.path(), &config, Arc::default()).unwrap();
        let mut stand = Stand::log_on(node.addr, 5_000);
        let next = stand.step().unwrap();
        assert!(next > seq, "{next} after {seq}");
        node.stop();
        stand.end();
        node.join().unwrap();
        assert!(last_seq(dir.path()) >= next);
    }
}

/// Whether syncs may go on, and whether there was no room.
static GATE: (Mutex<(bool, bool)>, Condvar) = (Mutex::new((false, false)), Condvar::new());
static FULL: AtomicBool = AtomicBool::new(true);

fn gated(call: DiskCall<'_>) -> io::Result<()> {
    let mut state = GATE.0.lock().unwrap();
    match call {
        DiskCall::Allocate { path, .. } if !path.ends_with(COMMITS_FILE) && FULL.load(Ordering::SeqCst) => {
            state.1 = true;
            GATE.1.notify_all();
            Err(io::ErrorKind::StorageFull.into())
        }
        DiskCall::SyncRange { .. } => {
            drop(GATE.1.wait_while(state, |(open, _)| !*open).unwrap());
            Ok(())
        }
        _ => Ok(()),
    }
}

#[test]
fn a_full_disk_is_told_when_everything_before_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let chain = found(dir.path(), 4096);
    let key = keys::log_key(dir.path()).unwrap();
    let (mut store, _) = Store::open(dir.path(), &key, Options { segment_size: 4096 }).unwrap();
    store.watch(gated);
    let committer = store.split(GroupPolicy::default()).unwrap();
    let (blocks_in, blocks) = ring(4, Wait::Park);
    let (publish, publications) = ring(16, Wait::Park);
    let durable = Arc::new(DurableHeight::default());
    let alias = Alias::new(keys::read_named(dir.path(), keys::ALIAS_KEY).unwrap(), chain);
    let sync = Sync::new(
        committer,
        Arc::new(publish.clone()),
        Arc::clone(&durable),
        Arc::default(),
    );
    let seal = Seal::new(blocks, publish, durable, store, alias, Arc::default());
    let (sync, seal) = (std::thread::spawn(|| sync.run()), std::thread::spawn(|| seal.run()));
    let draft = |height: u64, size: usize| Draft {
        height,
        time: TimeNs::from_secs(1_000_000_000 + height),
        records: vec![OwnedRecord {
            kind: 4,
            seq: height,
            payload: vec![0; size],
        }],
        events: Vec::new(),
        state_root: Hash::ZERO,
        params_hash: Hash::ZERO,
    };
    // Two small blocks are being synced when the third finds no room; the first finds room for its entry.
    blocks_in.send(draft(1, 8)).unwrap();
    blocks_in.send(draft(2, 8)).unwrap();
    blocks_in.send(draft(3, 3_900)).unwrap();
    {
        let state = GATE.0.lock().unwrap();
        let mut state = GATE.1.wait_while(state, |(_, full)| !*full).unwrap();
        state.0 = true;
        GATE.1.notify_all();
    }
    let mut told = Vec::new();
    loop {
        match publications.recv().unwrap() {
            Publication::Durable { seq, .. } => told.push(seq),
            Publication::Pause { seq } => {
                assert_eq!(
                    (told.last(), seq),
                    (Some(&2), 2),
                    "the pause came before what it follows"
                );
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    FULL.store(false, Ordering::SeqCst);
    match publications.recv().unwrap() {
        Publication::Durable { seq, .. } => assert_eq!(seq, 3),
        other => panic!("{other:?}"),
    }
    drop(blocks_in);
    seal.join().unwrap().unwrap();
    sync.join().unwrap().unwrap();
}
