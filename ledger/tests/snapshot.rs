//! A ledger opened from a snapshot is the one opened from genesis; what lies below is the scrubber's.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::Path;

use support::{SMALL, append, build, copy, key, payloads};
use wattbook_ledger::{Anchor, Error, FaultKind, Reader, Scrub, Snapshot, Store, check};

/// A ledger of `blocks` blocks with a snapshot of each but genesis; the heights and where the log stood.
fn with_snapshots(dir: &Path, blocks: u64) -> Vec<u64> {
    let mut store = build(dir, 0);
    let mut anchor = store.anchor();
    let mut lengths = vec![anchor.length()];
    for height in 1..=blocks {
        let block = append(&mut store, &payloads(height));
        store.commit().unwrap();
        let claim = anchor.advance(&block.header, block.digest, block.length);
        lengths.push(block.length);
        let state = [height as u8; 100];
        Snapshot::write(dir, &key(), store.chain(), &claim, &[vec![&state[..]]]).unwrap();
    }
    lengths
}

fn anchor_of(dir: &Path, height: u64) -> Anchor {
    let chain = Reader::open(dir).unwrap().chain();
    let (_, path) = Snapshot::list(dir)
        .unwrap()
        .into_iter()
        .find(|(h, _)| *h == height)
        .unwrap();
    let snapshot = Snapshot::read(&path, chain, &key().verifying_key()).unwrap();
    assert_eq!(snapshot.section(0), Some([height as u8; 100].as_slice()));
    snapshot.anchor(dir, chain).unwrap()
}

#[test]
fn opened_from_any_snapshot_it_is_the_same_ledger() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    with_snapshots(dir.path(), 30);
    let digests: Vec<_> = Reader::open(dir.path())
        .unwrap()
        .blocks()
        .map(|b| b.unwrap().digest)
        .collect();
    for height in 1..=30 {
        let anchor = anchor_of(dir.path(), height);
        let reader = Reader::open(dir.path()).unwrap();
        let tail: Vec<_> = reader.blocks_from(&anchor).map(|b| b.unwrap().digest).collect();
        assert_eq!(tail, digests[height as usize + 1..]);
        copy(dir.path(), work.path());
        let (mut store, recovery) = Store::open_from(work.path(), &key(), SMALL, Some(&anchor)).unwrap();
        assert!(recovery.is_clean() && recovery.from == Some(height), "{recovery}");
        assert_eq!((store.next_height(), store.tip_digest()), (31, digests[30]));
        append(&mut store, &payloads(31));
        store.commit().unwrap();
        drop(store);
        assert_eq!(check(work.path(), &key().verifying_key()).unwrap().tip.height, 31);
    }
}

#[test]
fn a_torn_tail_is_recovered_from_a_snapshot_as_from_genesis() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lengths = with_snapshots(dir.path(), 12);
    let anchor = anchor_of(dir.path(), 7);
    // The last block without its entry, cut at every eighth byte.
    let commits = std::fs::read(dir.path().join("commits.log")).unwrap();
    for at in (lengths[11]..lengths[12]).step_by(8) {
        let mut found = None;
        for from in [None, Some(&anchor)] {
            copy(dir.path(), work.path());
            std::fs::write(work.path().join("commits.log"), &commits[..commits.len() - 112]).unwrap();
            let path = work.path().join(format!("{:08}.seg", at / 4096));
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[(at % 4096) as usize..].fill(0);
            std::fs::write(&path, bytes).unwrap();
            if lengths[12] / 4096 > at / 4096 {
                std::fs::remove_file(work.path().join(format!("{:08}.seg", lengths[12] / 4096))).unwrap();
            }
            let (store, recovery) = Store::open_from(work.path(), &key(), SMALL, from).unwrap();
            let height = store.committed().height;
            // Bytes that are zero anyway can be cut off.
            assert!(height == 11 || at + 48 > lengths[12], "{recovery}");
            assert_eq!(*found.get_or_insert(height), height);
            drop(store);
            check(work.path(), &key().verifying_key()).unwrap();
        }
    }
}

#[test]
fn what_no_longer_fits_is_refused() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lengths = with_snapshots(dir.path(), 12);
    let anchor = anchor_of(dir.path(), 7);
    let chain = Reader::open(dir.path()).unwrap().chain();
    let (_, path) = Snapshot::list(dir.path()).unwrap()[5].clone();
    let snapshot = Snapshot::read(&path, chain, &key().verifying_key()).unwrap();
    assert_eq!(snapshot.height(), 7);
    // Each byte of the block's header: the snapshot is not of this log.
    for at in lengths[7] - 376..lengths[7] {
        copy(dir.path(), work.path());
        let path = work.path().join(format!("{:08}.seg", at / 4096));
        let byte = std::fs::read(&path).unwrap()[(at % 4096) as usize];
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[byte ^ 1], at % 4096).unwrap();
        snapshot.anchor(work.path(), chain).unwrap_err();
    }
    // Each byte of its commit entry: nobody has signed the block.
    for at in 7 * 112..8 * 112 {
        copy(dir.path(), work.path());
        let path = work.path().join("commits.log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
        let refused = Store::open_from(work.path(), &key(), SMALL, Some(&anchor)).unwrap_err();
        assert!(matches!(refused, Error::Damaged(_)), "{refused}");
    }
    // A ledger that ends before the snapshot.
    copy(dir.path(), work.path());
    let commits = std::fs::read(work.path().join("commits.log")).unwrap();
    std::fs::write(work.path().join("commits.log"), &commits[..7 * 112]).unwrap();
    assert!(Store::open_from(work.path(), &key(), SMALL, Some(&anchor)).is_err());
}

#[test]
fn the_scrubber_finds_what_opening_passed_over() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lengths = with_snapshots(dir.path(), 12);
    let mut scrub = Scrub::new(dir.path(), key().verifying_key()).unwrap();
    let mut size = 0;
    while let Some(step) = scrub.step().unwrap() {
        assert_eq!(scrub.height(), Some(step.height));
        size += step.size;
    }
    assert_eq!((scrub.height(), size), (Some(12), lengths[12] - 64 + 13 * 112));
    for (at, height) in [(lengths[2] + 9, 3u64), (lengths[0] - 9, 0), (lengths[11] + 30, 12)] {
        copy(dir.path(), work.path());
        let path = work.path().join(format!("{:08}.seg", at / 4096));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(at % 4096) as usize] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let mut scrub = Scrub::new(work.path(), key().verifying_key()).unwrap();
        let found = loop {
            match scrub.step() {
                Ok(step) => assert!(step.is_some(), "the scrubber missed a byte of block {height}"),
                Err(Error::Damaged(fault)) => break fault,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!((found.height, scrub.height()), (Some(height), height.checked_sub(1)));
        assert_eq!(found.kind, FaultKind::FrameChecksum);
    }
    // It goes on beside a writer.
    let (mut store, _) = Store::open(dir.path(), &key(), SMALL).unwrap();
    append(&mut store, &payloads(13));
    store.commit().unwrap();
    assert_eq!(scrub.step().unwrap().map(|step| step.height), Some(13));
    assert_eq!(scrub.step().unwrap(), None);
}
