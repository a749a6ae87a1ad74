//! Segments moved off: what is left starts, proves and says what is missing; with the archive everything is there.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::convert::Infallible;
use std::path::Path;

use support::{SMALL, append, build, copy, files, key, payloads};
use wattbook_ledger::{
    Anchor, Error, FaultKind, HeaderIndex, INDEX_DIR, Reader, RetainError, Retained, Scrub, Snapshot, Store, check,
    check_in, repair, retain,
};

const BLOCKS: u64 = 60;
const SNAPSHOT: u64 = 45;

/// A ledger with one snapshot.
fn with_snapshot(dir: &Path) -> u64 {
    let mut store = build(dir, 0);
    let (mut anchor, mut at) = (store.anchor(), 0);
    for height in 1..=BLOCKS {
        let block = append(&mut store, &payloads(height));
        store.commit().unwrap();
        let claim = anchor.advance(&block.header, block.digest, block.length);
        if height == SNAPSHOT {
            Snapshot::write(dir, &key(), store.chain(), &claim, &[vec![b"state".as_slice()]]).unwrap();
            at = block.length;
        }
    }
    at
}

fn anchor_of(dir: &Path) -> Anchor {
    let chain = Reader::open(dir).unwrap().chain();
    let (_, path) = Snapshot::list(dir).unwrap().remove(0);
    let snapshot = Snapshot::read(&path, chain, &key().verifying_key()).unwrap();
    snapshot.anchor(dir, chain).unwrap()
}

fn fault(error: Error) -> wattbook_ledger::Fault {
    match error {
        Error::Damaged(fault) => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_left_starts_proves_and_says_what_is_missing() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = folder.path().join("ledger");
    let public = key().verifying_key();
    let at = with_snapshot(&dir);
    let whole = folder.path().join("whole");
    copy(&dir, &whole);
    let (checkpoint, records) = {
        let reader = Reader::open(&dir).unwrap();
        let mut index = HeaderIndex::open(&reader).unwrap();
        let checkpoint = index.checkpoint(&reader, BLOCKS + 1, "log".to_owned()).unwrap();
        (
            checkpoint,
            reader.blocks().map(|block| block.unwrap().records.len()).sum::<usize>(),
        )
    };

    // Readers that look while segments move: one whose index is whole, one whose index is being made.
    let mut looked = Reader::open(&dir).unwrap();
    let whole_index = HeaderIndex::open(&Reader::open(&dir).unwrap()).unwrap();

    // Too few kept: as far as the snapshot allows, and it is said.
    let moved = retain(&dir, archive.path(), 1, &public).unwrap();
    let first = (at - 1) / 4096;
    assert_eq!(
        (moved.segments, moved.first, moved.bound),
        (first, first, Some(SNAPSHOT)),
        "{moved}"
    );
    assert!(moved.to_string().contains("the snapshot of block 45 needs"), "{moved}");
    assert!(!dir.join("00000000.seg").exists() && archive.path().join("00000000.seg").exists());
    assert_eq!(whole_index.header(&looked, 0).unwrap().0.height, 0);
    drop(whole_index);
    std::fs::remove_dir_all(dir.join(INDEX_DIR)).unwrap();
    let mut young = HeaderIndex::begin(&looked);
    assert_eq!(
        fault(young.extend_by(&looked, 1).unwrap_err()).kind,
        FaultKind::MovedOff
    );
    assert!(!looked.refresh().unwrap());
    while young.extend_by(&looked, 1_000).unwrap() {}
    assert_eq!(young.size(), BLOCKS + 1);
    drop(young);
    let again = retain(&dir, archive.path(), 1, &public).unwrap();
    assert_eq!((again.segments, again.first, again.blocks), (0, first, moved.blocks));

    // It starts from the snapshot, not from genesis, and goes on.
    let refused = fault(Store::open(&dir, &key(), SMALL).unwrap_err());
    assert_eq!(refused.kind, FaultKind::MovedOff);
    let place = Retained::read(&dir).unwrap().place(0).unwrap();
    assert_eq!(refused.file, place);
    assert_eq!(place, archive.path().canonicalize().unwrap().join("00000000.seg"));
    let anchor = anchor_of(&dir);
    let (mut store, recovery) = Store::open_from(&dir, &key(), SMALL, Some(&anchor)).unwrap();
    assert!(recovery.is_clean(), "{recovery}");
    append(&mut store, &payloads(BLOCKS + 1));
    store.commit().unwrap();
    drop(store);

    // Headers and the tree are whole, made anew without the segments.
    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(dir.join(INDEX_DIR)).unwrap();
        }
        let reader = Reader::open(&dir).unwrap();
        let mut index = HeaderIndex::open(&reader).unwrap();
        assert_eq!(
            index.checkpoint(&reader, BLOCKS + 1, "log".to_owned()).unwrap(),
            checkpoint
        );
        assert!(!index.consistency(&reader, 5, BLOCKS + 1).unwrap().is_empty());
        let last = reader.blocks_from(&anchor).next().unwrap().unwrap().records[0].seq;
        assert!(index.block_with(&reader, last).is_ok());
        let missing = fault(index.block_with(&reader, 1).unwrap_err());
        assert_eq!((missing.kind, missing.file), (FaultKind::MovedOff, place.clone()));
        let missing = fault(reader.blocks().next().unwrap().unwrap_err().into());
        assert_eq!((missing.kind, missing.file), (FaultKind::MovedOff, place.clone()));
        let with = Reader::open_in(&dir, Some(archive.path())).unwrap();
        assert!(index.block_with(&with, 1).is_ok());
        assert_eq!(
            with.blocks()
                .take(61)
                .map(|block| block.unwrap().records.len())
                .sum::<usize>(),
            records
        );
    }
    let nothing = |_: &wattbook_ledger::Block<'_>| Ok::<(), Infallible>(());
    assert_eq!(check(&dir, &public).unwrap_err().kind, FaultKind::MovedOff);
    assert_eq!(
        check_in(&dir, Some(archive.path()), &public, nothing)
            .unwrap()
            .tip
            .height,
        BLOCKS + 1
    );
    let mut scrub = Scrub::new(&dir, public).unwrap();
    while scrub.step().unwrap().is_some() {}
    assert_eq!(scrub.height(), Some(BLOCKS + 1));

    // A kept header that was changed is found by whoever reads it.
    let headers = dir.join("headers.log");
    let sound = std::fs::read(&headers).unwrap();
    let mut bytes = sound.clone();
    bytes[352 * 3 + 100] ^= 1;
    std::fs::write(&headers, bytes).unwrap();
    let mut scrub = Scrub::new(&dir, public).unwrap();
    let found = loop {
        match scrub.step() {
            Ok(step) => assert!(step.is_some()),
            Err(error) => break fault(error),
        }
    };
    assert_eq!((found.kind, found.height), (FaultKind::Header, Some(3)));
    std::fs::write(&headers, sound).unwrap();

    // Repair leaves alone what was moved off, and mends what is here from a whole copy.
    let path = dir.join(format!("{:08}.seg", first + 1));
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[1_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let chain = Reader::open(&dir).unwrap().chain();
    let repaired = repair(&dir, &whole, chain, &public).unwrap();
    assert_eq!((repaired.blocks.len(), repaired.files.len()), (1, 1), "{repaired}");
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn nothing_is_moved_that_would_be_lost() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, public) = (folder.path().join("ledger"), key().verifying_key());
    // Without a snapshot.
    drop(build(&dir, 30));
    let refused = retain(&dir, archive.path(), 1, &public).unwrap_err();
    assert!(matches!(refused, RetainError::NoSnapshot), "{refused}");
    std::fs::remove_dir_all(&dir).unwrap();
    with_snapshot(&dir);
    let names = files(&dir);
    // While a node runs.
    let (store, _) = Store::open(&dir, &key(), SMALL).unwrap();
    assert!(matches!(
        retain(&dir, archive.path(), 1, &public),
        Err(RetainError::Ledger(Error::Locked { .. }))
    ));
    drop(store);
    // Over another file of the archive.
    std::fs::write(archive.path().join("00000001.seg"), b"somebody else's").unwrap();
    let refused = retain(&dir, archive.path(), 1, &public).unwrap_err();
    assert!(matches!(refused, RetainError::Other { .. }), "{refused}");
    std::fs::remove_file(archive.path().join("00000001.seg")).unwrap();
    // From a damaged segment.
    let path = dir.join("00000001.seg");
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[500] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(
        retain(&dir, archive.path(), 1, &public),
        Err(RetainError::Ledger(Error::Damaged(_)))
    ));
    std::fs::write(&path, good).unwrap();
    assert_eq!(files(&dir), names);
    check(&dir, &public).unwrap();
    // Interrupted after `retained` was written: the rest goes the next time.
    let first = std::fs::read(dir.join("00000000.seg")).unwrap();
    let moved = retain(&dir, archive.path(), 1_000, &public).unwrap();
    assert_eq!(moved.segments, 0);
    let moved = retain(&dir, archive.path(), 4, &public).unwrap();
    assert!(moved.segments > 0 && moved.bound.is_none(), "{moved}");
    std::fs::write(dir.join("00000000.seg"), first).unwrap();
    let (store, _) = Store::open_from(&dir, &key(), SMALL, Some(&anchor_of(&dir))).unwrap();
    drop(store);
    retain(&dir, archive.path(), 4, &public).unwrap();
    assert!(!dir.join("00000000.seg").exists());
    // What says so is damaged.
    let retained = dir.join("retained");
    let text = std::fs::read_to_string(&retained).unwrap();
    for bad in [
        text.replace('1', "2"),
        text.trim_end().to_owned(),
        text.replace(".", "\n"),
        String::new(),
    ] {
        std::fs::write(&retained, bad).unwrap();
        assert!(Reader::open(&dir).is_err());
        assert!(Retained::read(&dir).is_err());
    }
}
