//! A disk that refuses: no room, and failed syncs.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::process::Command;

use support::{SMALL, append, build, create, files, key, payloads, roots};
use wattbook_ledger::{BlockDraft, DiskCall, Error, GroupPolicy, Options, Record, Store, check};
use wattbook_types::{Hash, TimeNs};

thread_local! {
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
    }
}

#[test]
fn a_failed_sync_is_never_repeated() {
    for split in [false, true] {
        let mut failed = 0;
        for fails_at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let mut store = create(dir.path());
            store.watch(failing);
            UNTIL.set(fails_at);
            let mut acknowledged = 0;
            let mut committer = split.then(|| store.split(GroupPolicy::default()).unwrap());
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
            // A segment that could not be created leaves the store as it was; a failed sync leaves it for dead.
            let block = draft(&store, &[]);
            let again = store.append_block(&block).and_then(|_| store.commit());
            if error.to_string().contains("cannot sync") && !error.to_string().contains("directory") {
                assert!(matches!(again, Err(Error::Poisoned)), "{error}");
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

/// Runs inside a mount namespace where `SMALL_DISK` is a file system of one megabyte.
#[test]
fn inside_a_small_disk() {
    let Some(disk) = std::env::var_os("SMALL_DISK") else {
        return;
    };
    let dir = Path::new(&disk).join("ledger");
    let options = Options {
        segment_size: 128 << 10,
    };
    let mut store = Store::create(&dir, b"small", &key(), options, roots()).unwrap();
    store.start_ahead().unwrap();
    let filler = Path::new(&disk).join("filler");
    std::fs::write(&filler, vec![1; 256 << 10]).unwrap();
    let payload = vec![3; 40_000];
    let mut pauses = 0;
    for height in 1.. {
        let record = Record {
            kind: 1,
            version: 1,
            seq: store.next_seq(),
            payload: &payload,
        };
        let records = [record];
        let block = draft(&store, &records);
        match store.append_block(&block) {
            Ok(_) => assert_eq!(store.commit().unwrap().height, height),
            Err(Error::Full { .. }) if pauses == 0 => {
                pauses = 1;
                assert_eq!((store.committed().height, store.next_height()), (height - 1, height));
                std::fs::remove_file(&filler).unwrap();
                // Mended: the very same block goes in.
                store.append_block(&block).unwrap();
                store.commit().unwrap();
            }
            Err(Error::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let height = store.committed().height;
    drop(store);
    let (store, recovery) = Store::open(&dir, &key(), options).unwrap();
    assert_eq!(recovery.height, height);
    drop(store);
    assert_eq!(check(&dir, &key().verifying_key()).unwrap().tip.height, height);
    println!("small disk: paused and went on, {height} blocks");
}

#[test]
fn a_small_disk_fills_and_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=1m none \"$SMALL_DISK\" && exec \"$0\" --exact inside_a_small_disk --nocapture";
    let attempt = |flags: &str| {
        Command::new("unshare")
            .args([flags, "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("SMALL_DISK", dir.path())
            .output()
    };
    // Root mounts by itself; others need a user namespace of their own.
    for flags in ["-m", "-Urm"] {
        let Ok(output) = attempt(flags) else { continue };
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("running 1 test") {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.contains("paused and went on"),
                "{said}{errors}"
            );
            return;
        }
    }
    println!("SKIPPED: a full disk: neither root nor a user namespace may mount a small file system here");
}
