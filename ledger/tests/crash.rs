//! What a crash leaves: every cut of the last block is recovered, nothing below the newest commit entry is ever lost.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use support::{SMALL, append, build, copy, key, payloads};
use wattbook_ledger::{COMMIT_SIZE, Error, FaultKind, Recovery, Store, check};

/// Overwrites a log range with zeros in the segment files (4096 bytes each); segment headers too.
fn zero_log(dir: &Path, from: u64, to: u64) {
    for at in from..to {
        let path = dir.join(format!("{:08}.seg", at / 4096));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(at % 4096) as usize] = 0;
        std::fs::write(path, bytes).unwrap();
    }
}

/// Recovers a copy and checks that it is a whole ledger again.
fn recovered(dir: &Path) -> Recovery {
    let (store, recovery) = Store::open(dir, &key(), SMALL).unwrap();
    assert_eq!(store.tip().height, recovery.height);
    drop(store);
    let checked = check(dir, &key().verifying_key()).unwrap();
    assert_eq!((checked.tip.height, checked.length), (recovery.height, recovery.length));
    let (_, again) = Store::open(dir, &key(), SMALL).unwrap();
    assert!(again.is_clean(), "{again}");
    recovery
}

/// Builds a ledger whose last block ended but was not committed; gives the log's lengths before and after it.
fn uncommitted(dir: &Path, blocks: u64) -> (u64, u64) {
    let mut store = build(dir, blocks);
    let before = store.committed().length;
    let after = append(&mut store, &payloads(blocks + 1)).length;
    (before, after)
}

#[test]
fn a_complete_block_without_entry_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (_, after) = uncommitted(dir.path(), 7);
    assert!(matches!(check(dir.path(), &key().verifying_key()), Err(fault) if fault.kind == FaultKind::Beyond));
    let recovery = recovered(dir.path());
    assert_eq!((recovery.height, recovery.blocks_kept, recovery.length), (8, 1, after));
    assert!(recovery.to_string().contains("kept 1 complete blocks"), "{recovery}");
}

#[test]
fn every_cut_of_an_uncommitted_block() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (before, after) = uncommitted(dir.path(), 7);
    assert_eq!(
        before / 4096,
        after / 4096,
        "the cut test wants a block within one segment"
    );
    let last = dir.path().join(format!("{:08}.seg", after / 4096));
    let whole = std::fs::read(&last).unwrap();
    let (mut kept, mut dropped) = (0, 0);
    for cut in before..=after {
        let at = (cut % 4096) as usize;
        for shorten in [false, true] {
            // Giving a file its size back costs two syncs of a real disk.
            if shorten && cut % 8 != 0 {
                continue;
            }
            copy(dir.path(), work.path());
            let mut torn = whole[..at].to_vec();
            if !shorten {
                torn.resize(4096, 0);
            }
            std::fs::write(work.path().join(last.file_name().unwrap()), &torn).unwrap();
            let recovery = recovered(work.path());
            assert_eq!(recovery.restored_size > 0, shorten);
            let complete = whole[at..].iter().all(|byte| *byte == 0);
            assert_eq!(recovery.height, if complete { 8 } else { 7 });
            if complete { kept += 1 } else { dropped += 1 }
        }
    }
    assert!(kept > 0 && dropped > 500, "{kept} {dropped}");
}

#[test]
fn every_cut_of_a_committed_block_is_damage() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = build(dir.path(), 6);
    let before = store.committed().length;
    drop(store);
    let mut store = Store::open(dir.path(), &key(), SMALL).unwrap().0;
    append(&mut store, &payloads(7));
    let after = store.commit().unwrap().length;
    drop(store);
    assert_eq!(before / 4096, after / 4096);
    let last = dir.path().join(format!("{:08}.seg", after / 4096));
    let whole = std::fs::read(&last).unwrap();
    for cut in before..after {
        let at = (cut % 4096) as usize;
        for shorten in [false, true] {
            copy(dir.path(), work.path());
            let mut torn = whole[..at].to_vec();
            if !shorten {
                torn.resize(4096, 0);
                if torn == whole {
                    continue;
                }
            }
            let path = work.path().join(last.file_name().unwrap());
            std::fs::write(&path, &torn).unwrap();
            let Err(Error::Damaged(fault)) = Store::open(work.path(), &key(), SMALL) else {
                panic!("cut at {cut} must be refused");
            };
            assert_eq!(fault.file, path);
            assert_eq!(std::fs::read(&path).unwrap(), torn, "refused means untouched");
            if !shorten {
                assert_eq!(fault.height, Some(7));
            }
        }
    }
}

#[test]
fn every_cut_of_the_last_commit_entry() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(dir.path(), 5));
    let bytes = std::fs::read(dir.path().join("commits.log")).unwrap();
    let start = bytes.len() - COMMIT_SIZE as usize;
    for cut in start..bytes.len() {
        for zeroed in [false, true] {
            copy(dir.path(), work.path());
            let mut torn = bytes[..cut].to_vec();
            if zeroed {
                torn.resize(bytes.len(), 0);
            }
            std::fs::write(work.path().join("commits.log"), &torn).unwrap();
            let recovery = recovered(work.path());
            assert_eq!(recovery.height, 5);
            if torn != bytes {
                assert_eq!(recovery.blocks_kept, 1);
            }
            assert_eq!(std::fs::read(work.path().join("commits.log")).unwrap(), bytes);
        }
    }
    // A torn entry proves that its block was durable: without the block it is damage.
    copy(dir.path(), work.path());
    let length = u64::from_le_bytes(bytes[start + 8..start + 16].try_into().unwrap());
    zero_log(work.path(), length - 376, length - 352);
    std::fs::write(work.path().join("commits.log"), &bytes[..start + 1]).unwrap();
    let refused = Store::open(work.path(), &key(), SMALL).unwrap_err();
    assert!(matches!(refused, Error::Damaged(fault) if fault.kind == FaultKind::CommitMismatch));
    // So is a byte that is neither zero nor the entry's.
    copy(dir.path(), work.path());
    let mut stray = bytes.clone();
    stray[start + 60] ^= 1;
    std::fs::write(work.path().join("commits.log"), &stray).unwrap();
    let refused = Store::open(work.path(), &key(), SMALL).unwrap_err();
    assert!(matches!(refused, Error::Damaged(fault) if fault.kind == FaultKind::CommitSignature));
}

#[test]
fn a_block_across_segments_torn_anywhere() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = build(dir.path(), 3);
    let before = store.committed().length;
    let after = append(&mut store, &[vec![7; 2000], vec![8; 2000], vec![9; 3000], vec![]]).length;
    drop(store);
    let (first, last) = (before / 4096, after / 4096);
    assert!(last >= first + 2);
    // The header's last field is zero, so a cut inside it loses nothing.
    for cut in (before..after - 32).step_by(61) {
        copy(dir.path(), work.path());
        // The file system may keep any of the later segments' states: zero length, no header, gone.
        for index in cut / 4096 + 1..=last {
            let path = work.path().join(format!("{index:08}.seg"));
            match (cut / 61 + index) % 3 {
                0 => std::fs::write(&path, b"").unwrap(),
                1 => std::fs::write(&path, [0; 4096]).unwrap(),
                _ => (index..=last).for_each(|index| {
                    let _ = std::fs::remove_file(work.path().join(format!("{index:08}.seg")));
                }),
            }
            if !path.exists() {
                break;
            }
        }
        let path = work.path().join(format!("{:08}.seg", cut / 4096));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(cut % 4096) as usize..].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let recovery = recovered(work.path());
        assert_eq!((recovery.height, recovery.length), (3, before));
    }
    // Middle pages lost, later ones kept: still torn, still beyond the newest entry.
    copy(dir.path(), work.path());
    zero_log(work.path(), 4096 + 64 + 100, 4096 + 64 + 140);
    let recovery = recovered(work.path());
    assert_eq!((recovery.height, recovery.blocks_kept), (3, 0));
    assert!(recovery.torn.is_some() && recovery.segments_removed >= 2, "{recovery}");
    assert!(
        recovery.to_string().contains("segment files without a block"),
        "{recovery}"
    );
}

#[test]
fn an_unused_segment_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = build(dir.path(), 1);
    append(&mut store, &[vec![5; 3500]]);
    drop(store);
    zero_log(dir.path(), 64 + 376, 4096);
    // The commit file holds block 1 still, so its loss is damage.
    assert!(matches!(Store::open(dir.path(), &key(), SMALL), Err(Error::Damaged(_))));
    // A lost first segment, commit file or genesis file is damage too.
    for name in ["00000000.seg", "commits.log", "genesis.bin"] {
        let work = tempfile::tempdir().unwrap();
        copy(dir.path(), work.path());
        std::fs::remove_file(work.path().join(name)).unwrap();
        let refused = Store::open(work.path(), &key(), SMALL).unwrap_err();
        assert!(
            matches!(&refused, Error::Damaged(fault) if fault.kind == FaultKind::Missing),
            "{refused}"
        );
    }
}
