//! A real disk that fills: a file system of one megabyte in a mount namespace of its own. Alone in its program, for a
//! child that is being started holds every lock of its parent for a moment.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{key, roots};
use wattbook_ledger::{BlockDraft, Error, Options, Record, Store, check};
use wattbook_types::{Hash, TimeNs};

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
