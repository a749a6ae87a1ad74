//! A disk that refuses: no room, and failed syncs.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::cell::Cell;
use std::io;

use support::{SMALL, append, build, create, files, key, payloads, roots};
use wattbook_ledger::{
    BlockDraft, COMMIT_SIZE, COMMITS_FILE, DiskCall, ENTRIES_UNSYNCED_MAX, Error, GroupPolicy, Options, Record, Store,
    check,
};
use wattbook_types::{Hash, TimeNs};

thread_local! {
    /// Entries in the commit file at its last sync.
    static DURABLE_ENTRIES: Cell<u64> = const { Cell::new(0) };
    /// Calls until the one that fails, counted down; negative: none does.
    static UNTIL: Cell<i64> = const { Cell::new(-1) };
    static FULL: Cell<bool> = const { Cell::new(false) };
}

fn failing(call: DiskCall<'_>) -> io::Result<()> {
    if matches!(call, DiskCall::Allocate { .. }) {
        return Ok(());
    }
    let left = UNTIL.get();
    UNTIL.set(left - 1);
    if left == 0 {
        return Err(io::Error::from_raw_os_error(5));
    }
    Ok(())
}

fn full(call: DiskCall<'_>) -> io::Result<()> {
    match call {
        DiskCall::Allocate { .. } if FULL.get() => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

fn draft<'a>(store: &Store, records: &'a [Record<'a>]) -> BlockDraft<'a> {
    BlockDraft {
        time_ns: TimeNs::new(1_000 + store.next_height() / 2),
        records,
        event_count: 0,
        event_root: Hash::ZERO,
        state_root: Hash::ZERO,
        params_hash: Hash::ZERO,
        dpos_hash: Hash::ZERO,
        lead: None,
    }
}

#[test]
fn a_failed_sync_is_never_repeated() {
    for (split, io_uring) in [(false, false), (true, false), (true, true)] {
        let policy = GroupPolicy {
            io_uring,
            ..GroupPolicy::default()
        };
        let mut failed = 0;
        for fails_at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let mut store = create(dir.path());
            store.watch(failing);
            UNTIL.set(fails_at);
            let mut acknowledged = 0;
            let mut committer = split.then(|| store.split(policy).unwrap());
            let broken = loop {
                if store.next_height() > 4 {
                    break None;
                }
                let payload = [7; 1500];
                let record = Record {
                    kind: 1,
                    version: 1,
                    seq: store.next_seq(),
                    payload: &payload,
                };
                let (first, rest) = ([record], []);
                let block = draft(
                    &store,
                    if store.next_height().is_multiple_of(2) {
                        &first
                    } else {
                        &rest
                    },
                );
                let done = store.append_block(&block).and_then(|block| match &mut committer {
                    None => store.commit().map(|_| block),
                    Some(committer) => committer.commit().map(|_| block),
                });
                match done {
                    Ok(block) => acknowledged = block.header.height,
                    Err(error) => break Some(error),
                }
            };
            UNTIL.set(-1);
            let Some(error) = broken else { break };
            failed += 1;
            assert!(
                matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(5)),
                "{error}"
            );
            // Whatever failed, a segment's creation or a sync of bytes or names, both halves are dead.
            let block = draft(&store, &[]);
            assert!(matches!(store.append_block(&block), Err(Error::Poisoned)), "{error}");
            assert!(matches!(store.commit(), Err(Error::Poisoned)), "{error}");
            if let Some(committer) = &mut committer {
                assert!(matches!(committer.commit(), Err(Error::Poisoned)), "{error}");
            }
            drop((store, committer));
            let (store, recovery) = Store::open(dir.path(), &key(), SMALL).unwrap();
            assert!(
                recovery.height >= acknowledged,
                "{recovery}: {acknowledged} acknowledged"
            );
            drop(store);
            assert!(check(dir.path(), &key().verifying_key()).is_ok());
        }
        assert!(failed >= 4, "{failed}");
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    let (whole, paused) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(whole.path(), 20));
    let mut store = create(paused.path());
    store.watch(full);
    let mut refused = 0;
    for height in 1..=20 {
        let payloads = payloads(height);
        let records: Vec<Record<'_>> = (store.next_seq()..)
            .zip(&payloads)
            .map(|(seq, payload)| Record {
                kind: 1,
                version: 1,
                seq,
                payload,
            })
            .collect();
        FULL.set(true);
        let before = (*store.tip(), store.next_seq());
        let block = draft(&store, &records);
        let refusal = store.append_block(&block);
        FULL.set(false);
        match refusal {
            Err(error @ Error::Full { .. }) => {
                refused += 1;
                assert!(error.to_string().contains("make room"), "{error}");
                assert_eq!((*store.tip(), store.next_seq()), before);
                append(&mut store, &payloads);
            }
            other => {
                // There was room: this block differs from the other ledger's, so it is taken back by starting over.
                other.unwrap();
                drop(store);
                std::fs::remove_dir_all(paused.path()).unwrap();
                store = create(paused.path());
                for height in 1..=height {
                    append(&mut store, &support::payloads(height));
                }
                store.watch(full);
            }
        }
        store.commit().unwrap();
    }
    drop(store);
    assert!(refused > 1, "{refused}");
    for (a, b) in files(whole.path()).iter().zip(files(paused.path())) {
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap(), "{}", a.display());
    }
}

/// Notes how many entries each sync of the commit file makes durable; no sync may find more than may be torn.
fn counting(call: DiskCall<'_>) -> io::Result<()> {
    if let DiskCall::SyncFile { path } = call
        && path.ends_with(COMMITS_FILE)
    {
        let entries = std::fs::metadata(path)?.len() / COMMIT_SIZE;
        assert!(
            entries - DURABLE_ENTRIES.get() <= ENTRIES_UNSYNCED_MAX,
            "{entries} entries"
        );
        DURABLE_ENTRIES.set(entries);
    }
    Ok(())
}

#[test]
fn entries_are_never_far_behind_their_blocks() {
    const BLOCKS: u64 = ENTRIES_UNSYNCED_MAX + 300;
    let options = Options { segment_size: 1 << 20 };
    // Many at once by a store alone, many at once and one by one by a committer.
    for (split, at_once) in [(false, true), (true, true), (true, false)] {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let mut store = Store::create(dir.path(), b"many", &key(), options, roots()).unwrap();
        store.watch(counting);
        DURABLE_ENTRIES.set(1);
        let policy = GroupPolicy {
            blocks_max: BLOCKS as usize,
            ..GroupPolicy::default()
        };
        let mut committer = split.then(|| store.split(policy).unwrap());
        let mut groups = Vec::new();
        for height in 1..=BLOCKS {
            let block = draft(&store, &[]);
            store.append_block(&block).unwrap();
            if let Some(committer) = committer.as_mut().filter(|_| !at_once) {
                assert_eq!(committer.commit().unwrap().unwrap().len(), 1);
                assert!(
                    height + 1 - DURABLE_ENTRIES.get() <= ENTRIES_UNSYNCED_MAX,
                    "block {height}"
                );
            }
        }
        match committer {
            None => assert_eq!(store.commit().unwrap().height, BLOCKS),
            Some(mut committer) => {
                drop(store);
                while let Some(group) = committer.commit().unwrap() {
                    groups.push(group.len() as u64);
                }
                assert!(groups.iter().all(|len| *len <= ENTRIES_UNSYNCED_MAX), "{groups:?}");
                assert_eq!(groups.iter().sum::<u64>(), if at_once { BLOCKS } else { 0 });
            }
        }
        assert_eq!(DURABLE_ENTRIES.get(), BLOCKS + 1);
    }
}
