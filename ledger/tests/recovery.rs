//! What a crash leaves is named to readers and recovered by the writer, however long the commit file is.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use support::{SMALL, append, build, copy, create, files, key, payloads};
use tempfile::TempDir;
use wattbook_ledger::{COMMIT_SIZE, COMMITS_FILE, ENTRIES_UNSYNCED_MAX, Error, FaultKind, Reader, Store, check};

fn cut(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn damaged(dir: &Path) -> wattbook_ledger::Fault {
    match Store::open(dir, &key(), SMALL) {
        Err(Error::Damaged(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_crash_left_is_named_until_it_is_recovered() {
    let (dir, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = build(dir.path(), 12);
    let length = store.committed().length;
    assert_eq!(Reader::open(dir.path()).unwrap().left_over(), Ok(None));
    // Beside the writer it is what comes next.
    append(&mut store, &payloads(13));
    let entries = File::options().write(true).open(dir.path().join(COMMITS_FILE)).unwrap();
    entries.write_all_at(&[13], 13 * COMMIT_SIZE).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.left_over(), Ok(None));
    drop(store);
    let found = reader.left_over().unwrap().unwrap();
    assert_eq!(
        (found.kind, found.file, found.offset, found.height),
        (
            FaultKind::FileSize,
            dir.path().join(COMMITS_FILE),
            13 * COMMIT_SIZE,
            Some(13)
        )
    );
    assert_eq!(reader.blocks().count(), 13);
    assert!(check(dir.path(), &key().verifying_key()).is_err());

    // Without the byte of the entry, the block that has none; without the block, a segment that nothing stands in.
    copy(dir.path(), work.path());
    cut(&work.path().join(COMMITS_FILE), 13 * COMMIT_SIZE);
    let reader = Reader::open(work.path()).unwrap();
    let found = reader.left_over().unwrap().unwrap();
    let (file, offset) = reader.locate(length);
    assert_eq!(
        (found.kind, &found.file, found.height),
        (FaultKind::Beyond, &file, Some(13))
    );
    assert!((offset..offset + 4).contains(&found.offset), "{found}");
    let (store, recovery) = Store::open(work.path(), &key(), SMALL).unwrap();
    assert_eq!((recovery.blocks_kept, store.committed().height), (1, 13));
    drop(store);
    let reader = Reader::open(work.path()).unwrap();
    assert_eq!(reader.left_over(), Ok(None));
    assert_eq!(reader.blocks().count(), 14);
    let segments = files(work.path())
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .count();
    let stray = work.path().join(format!("{segments:08}.seg"));
    std::fs::write(&stray, []).unwrap();
    let found = reader.left_over().unwrap().unwrap();
    assert_eq!((found.kind, found.file), (FaultKind::StraySegment, stray));

    // The writer mends the first as well.
    let (store, recovery) = Store::open(dir.path(), &key(), SMALL).unwrap();
    assert_eq!((recovery.entry_torn_size, store.committed().height), (1, 13));
    drop(store);
    assert_eq!(Reader::open(dir.path()).unwrap().left_over(), Ok(None));
    check(dir.path(), &key().verifying_key()).unwrap();
}

/// A commit file of several pieces of 64 KiB: every place in it is judged as in a short one.
#[test]
fn a_long_commit_file_is_recovered_in_pieces() {
    const BLOCKS: u64 = 1_300;
    let (dir, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = create(dir.path());
    for height in 1..=BLOCKS {
        append(&mut store, &[vec![height as u8; 9]]);
    }
    store.commit().unwrap();
    let tip = store.committed();
    drop(store);
    let whole = std::fs::read(dir.path().join(COMMITS_FILE)).unwrap();
    assert!(whole.len() > 2 * (64 << 10));
    check(dir.path(), &key().verifying_key()).unwrap();
    let (store, recovery) = Store::open(dir.path(), &key(), SMALL).unwrap();
    assert!(recovery.is_clean() && store.committed() == tip, "{recovery}");
    drop(store);
    copy(dir.path(), work.path());
    let path = work.path().join(COMMITS_FILE);
    let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    // In the middle of a piece, and in the entries that two pieces share.
    for height in [1, 585, 586, 1_000, 1_170, 1_171] {
        let mut bytes = whole.clone();
        bytes[(height * COMMIT_SIZE) as usize + 50] ^= 1;
        write(&bytes);
        let fault = damaged(work.path());
        assert_eq!((fault.kind, fault.height), (FaultKind::CommitSignature, Some(height)));
        // Where a crash could have torn the entry, recovery names the byte that none has written.
        let byte = if height + ENTRIES_UNSYNCED_MAX > BLOCKS { 50 } else { 0 };
        assert_eq!((&fault.file, fault.offset), (&path, height * COMMIT_SIZE + byte));
        let found = check(work.path(), &key().verifying_key()).unwrap_err();
        assert_eq!(
            (found.kind, found.file, found.offset),
            (fault.kind, fault.file, height * COMMIT_SIZE)
        );
    }
    // Cut: what its blocks prove is written again, in pieces as well.
    for len in [BLOCKS * COMMIT_SIZE + 7, 1_170 * COMMIT_SIZE + 30, 585 * COMMIT_SIZE] {
        write(&whole[..len as usize]);
        let (store, recovery) = Store::open(work.path(), &key(), SMALL).unwrap();
        assert_eq!(store.committed(), tip, "{recovery}");
        drop(store);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
    // Entries behind the last block are no crash's.
    write(&[&whole[..], &whole[..COMMIT_SIZE as usize]].concat());
    assert_eq!(damaged(work.path()).height, Some(BLOCKS + 1));
}
