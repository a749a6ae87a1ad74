//! Any changed byte is found; damage is refused where it stands, without a panic.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use support::{SMALL, build, copy, files, key};
use wattbook_ledger::{Block, COMMIT_SIZE, Error, FaultKind, Reader, Store, check};

fn kind_of(dir: &Path) -> FaultKind {
    check(dir, &key().verifying_key())
        .expect_err("damage must be found")
        .kind
}

/// Sets one byte in place, without changing the file's size.
fn poke(path: &Path, at: u64, byte: u8) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(&[byte], at)
        .unwrap();
}

/// Threads that damage a ledger, each its own copy.
const WORKERS: usize = 4;

/// Runs `damage` on a copy of a ledger a worker; the sum of what they say.
fn share_out(dir: &Path, damage: impl Fn(&Path, usize) -> u64 + Sync) -> u64 {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let damage = &damage;
                scope.spawn(move || {
                    let work = tempfile::tempdir().unwrap();
                    copy(dir, work.path());
                    damage(work.path(), worker)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}

#[test]
fn every_flipped_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(dir.path(), 9));
    let checked = check(dir.path(), &key().verifying_key()).unwrap();
    assert!(checked.segment_count >= 2);
    let flips = share_out(dir.path(), |dir, worker| {
        let mut flips = 0;
        for path in files(dir) {
            let bytes = std::fs::read(&path).unwrap();
            for (at, byte) in (0u64..).zip(bytes).skip(worker).step_by(WORKERS) {
                poke(&path, at, byte ^ (1 << (at % 8)));
                let fault = check(dir, &key().verifying_key()).expect_err("a flip must be found");
                // An entry names its block, so the fault may lie in the other file; it is never silent.
                assert!(fault.file.parent() == Some(dir), "{fault}");
                let zeroed = byte != 0 && {
                    poke(&path, at, 0);
                    check(dir, &key().verifying_key()).is_ok()
                };
                assert!(!zeroed, "zeroing {} at {at} must be found", path.display());
                poke(&path, at, byte);
                flips += 1;
            }
        }
        assert_eq!(check(dir, &key().verifying_key()), Ok(checked));
        flips
    });
    assert!(flips > 9_000);
}

#[test]
fn opening_a_flipped_ledger_never_loses_a_committed_block() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(dir.path(), 9));
    let length = check(dir.path(), &key().verifying_key()).unwrap().length;
    let (mut refused, mut repaired) = (0, 0);
    for path in files(dir.path()) {
        let name = path.file_name().unwrap();
        for (at, byte) in (0u64..).zip(std::fs::read(&path).unwrap()).step_by(7) {
            copy(dir.path(), work.path());
            poke(&work.path().join(name), at, byte ^ 0x10);
            match Store::open(work.path(), &key(), SMALL) {
                Ok((store, recovery)) => {
                    assert_eq!(store.committed().height, 9);
                    assert!(!recovery.is_clean());
                    assert!(name == "00000001.seg" && 4096 + at >= length || name == "commits.log");
                    drop(store);
                    assert!(check(work.path(), &key().verifying_key()).is_ok());
                    repaired += 1;
                }
                Err(Error::Damaged(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            // A reader beside it finds the fault or reads blocks below it; it does not panic.
            if let Ok(reader) = Reader::open(work.path()) {
                assert!(reader.blocks().count() <= 10);
            }
        }
    }
    assert!(refused > 800 && repaired > 0, "{refused} {repaired}");
}

#[test]
fn the_last_record_cannot_be_flipped_into_a_shorter_log() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(dir.path(), 4));
    let reader = Reader::open(dir.path()).unwrap();
    let last: Block<'_> = reader.blocks().filter_map(Result::ok).last().unwrap();
    let record = last.records.last().unwrap();
    let (path, offset) = reader.locate(record.offset + 24);
    let byte = record.payload[0];
    poke(&path, offset, !byte);
    let fault = check(dir.path(), &key().verifying_key()).unwrap_err();
    assert_eq!((fault.kind, fault.height), (FaultKind::FrameChecksum, Some(4)));
    assert_eq!((fault.file, fault.offset), (path, offset - 24));
}

#[test]
fn a_record_changed_under_a_right_checksum_is_found_by_its_root() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(dir.path(), 4));
    let reader = Reader::open(dir.path()).unwrap();
    let block = reader.blocks().filter_map(Result::ok).last().unwrap();
    let record = block.records[1];
    let (path, offset) = reader.locate(record.offset);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = offset as usize;
    bytes[at + 24] ^= 1;
    let crc = crc32c::crc32c(&bytes[at + 4..at + 24 + record.payload.len()]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let fault = check(dir.path(), &key().verifying_key()).unwrap_err();
    assert_eq!((fault.kind, fault.height), (FaultKind::RecordRoot, Some(4)));
}

#[test]
fn swapped_blocks_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = support::create(dir.path());
    for byte in 1..=3 {
        support::append(&mut store, &[vec![byte; 40]]);
        store.commit().unwrap();
    }
    drop(store);
    let spans: Vec<(usize, usize)> = {
        let reader = Reader::open(dir.path()).unwrap();
        reader
            .blocks()
            .map(|block| block.unwrap())
            .map(|block| (block.offset as usize, block.end as usize))
            .collect()
    };
    let path = dir.path().join("00000000.seg");
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[spans[1].0..spans[1].1].copy_from_slice(&whole[spans[2].0..spans[2].1]);
    bytes[spans[2].0..spans[2].1].copy_from_slice(&whole[spans[1].0..spans[1].1]);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(kind_of(dir.path()), FaultKind::Sequence);
    assert!(matches!(Store::open(dir.path(), &key(), SMALL), Err(Error::Damaged(_))));
    std::fs::write(&path, &whole).unwrap();
    // Commit entries in another order are found too.
    let commits = dir.path().join("commits.log");
    let mut entries = std::fs::read(&commits).unwrap();
    let size = COMMIT_SIZE as usize;
    entries[size..3 * size].rotate_left(size);
    std::fs::write(&commits, &entries).unwrap();
    assert_eq!(kind_of(dir.path()), FaultKind::CommitEntry);
    assert!(matches!(Store::open(dir.path(), &key(), SMALL), Err(Error::Damaged(_))));
}

#[test]
fn a_log_below_its_commits_is_damage() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(dir.path(), 9));
    let reader = Reader::open(dir.path()).unwrap();
    let starts: Vec<u64> = reader.blocks().map(|block| block.unwrap().offset).collect();
    for start in &starts[1..] {
        copy(dir.path(), work.path());
        let (path, offset) = reader.locate(*start);
        let path = work.path().join(path.file_name().unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[offset as usize..].fill(0);
        std::fs::write(&path, bytes).unwrap();
        if *start < 4096 {
            std::fs::remove_file(work.path().join("00000001.seg")).unwrap();
        }
        assert!(matches!(
            Store::open(work.path(), &key(), SMALL),
            Err(Error::Damaged(_))
        ));
        kind_of(work.path());
    }
    // Without the entries of the lost blocks it is a shorter ledger that never promised more.
    copy(dir.path(), work.path());
    let commits = std::fs::read(work.path().join("commits.log")).unwrap();
    std::fs::write(
        work.path().join("commits.log"),
        &commits[..commits.len() - COMMIT_SIZE as usize],
    )
    .unwrap();
    assert_eq!(kind_of(work.path()), FaultKind::Beyond);
}

#[test]
fn files_that_do_not_belong_are_found() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(dir.path(), 9));
    let last = std::fs::read(dir.path().join("00000001.seg")).unwrap();
    let cases: [(&str, &[u8], FaultKind); 6] = [
        ("00000002.seg", &last, FaultKind::SegmentHeader),
        ("00000003.seg", &last, FaultKind::Missing),
        ("2.seg", &last, FaultKind::StraySegment),
        ("x.seg", b"", FaultKind::StraySegment),
        ("00000001.seg", &last[..4095], FaultKind::FileSize),
        ("commits.log", b"", FaultKind::Unfinished),
    ];
    for (name, bytes, kind) in cases {
        copy(dir.path(), work.path());
        std::fs::write(work.path().join(name), bytes).unwrap();
        assert_eq!(kind_of(work.path()), kind, "{name}");
    }
    for name in ["genesis.bin", "commits.log", "00000000.seg", "00000001.seg"] {
        copy(dir.path(), work.path());
        std::fs::remove_file(work.path().join(name)).unwrap();
        // Of a lost last segment the commit file tells only that the log was longer.
        let kind = if name == "00000001.seg" {
            FaultKind::Truncated
        } else {
            FaultKind::Missing
        };
        assert_eq!(kind_of(work.path()), kind, "{name}");
        copy(dir.path(), work.path());
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        std::fs::write(work.path().join(name), [&bytes[..], &[0]].concat()).unwrap();
        kind_of(work.path());
    }
}

#[test]
fn a_fault_names_file_offset_block_and_kind() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(dir.path(), 2));
    poke(&dir.path().join("00000000.seg"), 64 + 376 + 3, 0xff);
    let text = check(dir.path(), &key().verifying_key()).unwrap_err().to_string();
    assert!(
        text.ends_with("00000000.seg, offset 440, block 1: the frame checksum is wrong (fault 14)"),
        "{text}"
    );
}

/// Ten thousand changes of one byte each, anywhere: all are found, and whoever opens the ledger all the same gets a prefix
/// of what was committed.
#[test]
fn ten_thousand_changed_bytes() {
    const CHANGES: u64 = 10_000;
    let dir = tempfile::tempdir().unwrap();
    drop(build(dir.path(), 6));
    let whole: Vec<_> = Reader::open(dir.path())
        .unwrap()
        .blocks()
        .map(|block| block.unwrap().digest)
        .collect();
    let changes = share_out(dir.path(), |dir, worker| {
        let files: Vec<_> = files(dir)
            .into_iter()
            .map(|path| (std::fs::read(&path).unwrap(), path))
            .collect();
        let all: usize = files.iter().map(|(bytes, _)| bytes.len()).sum();
        let mut dice = ChaCha8Rng::seed_from_u64(CHANGES + worker as u64);
        for change in 0..CHANGES / WORKERS as u64 {
            let mut at = dice.next_u64() as usize % all;
            let (bytes, path) = files
                .iter()
                .find(|(bytes, _)| match at.checked_sub(bytes.len()) {
                    Some(rest) => {
                        at = rest;
                        false
                    }
                    None => true,
                })
                .unwrap();
            let byte = bytes[at] ^ (1 + (dice.next_u64() % 255) as u8);
            poke(path, at as u64, byte);
            let fault = check(dir, &key().verifying_key()).expect_err("a changed byte is found");
            assert!(fault.file.starts_with(dir), "change {change}: {fault}");
            if change % 8 == 0
                && let Ok(reader) = Reader::open(dir)
            {
                let found: Vec<_> = reader
                    .blocks()
                    .map_while(Result::ok)
                    .map(|block| block.digest)
                    .collect();
                assert!(whole.starts_with(&found), "change {change} gives another block");
            }
            poke(path, at as u64, bytes[at]);
        }
        check(dir, &key().verifying_key()).unwrap();
        CHANGES / WORKERS as u64
    });
    assert_eq!(changes, CHANGES);
}

/// Every file cut at every length, also to nothing.
#[test]
fn every_truncation_is_found() {
    let (dir, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(dir.path(), 9));
    let end = Reader::open(dir.path()).unwrap().committed().unwrap();
    copy(dir.path(), work.path());
    for (path, original) in files(work.path()).iter().zip(files(dir.path())) {
        let bytes = std::fs::read(original).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(path, &bytes[..len]).unwrap();
            kind_of(work.path());
            if let Ok(reader) = Reader::open(work.path()) {
                assert!(reader.blocks().count() <= end.height as usize + 1);
            }
        }
        std::fs::write(path, &bytes).unwrap();
    }
    check(work.path(), &key().verifying_key()).unwrap();
}

/// Segments of another time, records that stand twice, pages that are zero.
#[test]
fn replayed_doubled_and_zeroed_is_found() {
    let (old, dir, work) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let mut store = build(dir.path(), 14);
    copy(dir.path(), old.path());
    for height in 15..=30 {
        support::append(&mut store, &support::payloads(height));
        store.commit().unwrap();
    }
    let length = store.committed().length;
    drop(store);
    // The segment as it stood before, and another one in its place.
    let segments = length.div_ceil(4096);
    for index in 0..segments {
        let name = |index: u64| format!("{index:08}.seg");
        let now = std::fs::read(dir.path().join(name(index))).unwrap();
        let others = (0..segments).map(|other| dir.path().join(name(other)));
        for other in others.chain([old.path().join(name(index))]) {
            let Ok(bytes) = std::fs::read(&other) else { continue };
            if bytes == now {
                continue;
            }
            copy(dir.path(), work.path());
            std::fs::write(work.path().join(name(index)), bytes).unwrap();
            kind_of(work.path());
            assert!(matches!(
                Store::open(work.path(), &key(), SMALL),
                Err(Error::Damaged(_))
            ));
        }
    }
    // Each frame over the one after it, each 512 bytes of content zero.
    let reader = Reader::open(dir.path()).unwrap();
    let blocks: Vec<Block<'_>> = reader.blocks().map(Result::unwrap).collect();
    let frames: Vec<(u64, u64)> = blocks
        .iter()
        .flat_map(|block| block.records.iter())
        .map(|record| (record.offset, record.leaf.len() as u64 + 8))
        .collect();
    for ((from, size), (to, _)) in frames.iter().zip(&frames[1..]) {
        copy(dir.path(), work.path());
        let (source, offset) = reader.locate(*from);
        let bytes = std::fs::read(source).unwrap()[offset as usize..][..*size as usize].to_vec();
        let (target, offset) = reader.locate(*to);
        let path = work.path().join(target.file_name().unwrap());
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&bytes[..bytes.len().min(4096 - offset as usize)], offset)
            .unwrap();
        kind_of(work.path());
        assert!(matches!(
            Store::open(work.path(), &key(), SMALL),
            Err(Error::Damaged(_))
        ));
    }
    for at in (0..length).step_by(512) {
        copy(dir.path(), work.path());
        let (path, offset) = reader.locate(at);
        let path = work.path().join(path.file_name().unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let page = &mut bytes[offset as usize..offset as usize + 512];
        if page.iter().all(|byte| *byte == 0) {
            continue;
        }
        page.fill(0);
        std::fs::write(path, bytes).unwrap();
        kind_of(work.path());
        assert!(matches!(
            Store::open(work.path(), &key(), SMALL),
            Err(Error::Damaged(_))
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn garbage_never_panics(
        file in 0usize..4,
        at in 0usize..4096,
        garbage in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 1..400),
        reseal in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        drop(build(dir.path(), 9));
        let path = &files(dir.path())[file];
        let before = std::fs::read(path).unwrap();
        let mut bytes = before.clone();
        let at = at.min(bytes.len() - 1);
        let end = (at + garbage.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&garbage[..end - at]);
        if reseal && at + 24 <= bytes.len() {
            // A frame of the fuzzer's own with a right checksum.
            let len = u32::from_le_bytes([bytes[at + 12], bytes[at + 13], 0, 0]) as usize % 300;
            if at + 24 + len <= bytes.len() {
                bytes[at + 12..at + 16].copy_from_slice(&(len as u32).to_le_bytes());
                let crc = crc32c::crc32c(&bytes[at + 4..at + 24 + len]);
                bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            }
        }
        std::fs::write(path, &bytes).unwrap();
        let found = check(dir.path(), &key().verifying_key());
        prop_assert_eq!(found.is_ok(), bytes == before);
        if let Ok(reader) = Reader::open(dir.path()) {
            prop_assert!(reader.blocks().count() <= 11);
        }
        if let Ok((store, _)) = Store::open(dir.path(), &key(), SMALL) {
            prop_assert!(store.committed().height >= 8);
        }
    }
}
