//! Blocks are put back one by one where they stood, by the digests of signed entries alone.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use support::{GENESIS, SMALL, build, copy, files, key};
use wattbook_ledger::{Block, DAMAGED_DIR, Error, Mender, Reader, Record, Store, check};
use wattbook_types::{ChainId, sha256};

fn open(dir: &Path) -> Mender {
    Mender::open(dir, ChainId(sha256(&[GENESIS])), &key().verifying_key()).unwrap()
}

/// The bytes of every file of a ledger.
fn all(dir: &Path) -> Vec<Vec<u8>> {
    let files = files(dir).into_iter().filter(|path| path.is_file());
    files.map(|path| std::fs::read(path).unwrap()).collect()
}

fn records<'a>(block: &'a Block<'_>) -> Vec<Record<'a>> {
    let records = block.records.iter().map(|record| Record {
        kind: record.kind,
        version: record.version,
        seq: record.seq,
        payload: record.payload,
    });
    records.collect()
}

/// Damages segments, below the end of what is committed.
fn damage(dir: &Path, dice: &mut ChaCha8Rng, committed: u64) {
    let mut below = |n: u64| dice.next_u64() % n;
    let segment = below(committed.div_ceil(4096));
    let path = dir.join(format!("{segment:08}.seg"));
    let mut bytes = std::fs::read(&path).unwrap_or_default();
    let end = (committed - segment * 4096).min(bytes.len() as u64);
    if end == 0 {
        return;
    }
    match below(6) {
        // One stays, to say how large they are.
        0 if segment > 0 => return std::fs::remove_file(path).unwrap(),
        1 => bytes.truncate(64 + below(4032) as usize),
        2 => {
            let from = 64 + below(4032);
            bytes[from as usize..].fill(0);
        }
        3 if segment > 0 => bytes[below(64) as usize] ^= 1,
        _ => {
            let at = 64 + below(end.max(65) - 64);
            if let Some(byte) = bytes.get_mut(at as usize) {
                *byte ^= 1 << below(8);
            }
        }
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn any_damage_to_blocks_is_mended_block_by_block_to_the_same_bytes() {
    let (good, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let committed = build(good.path(), 20).committed().length;
    let before = all(good.path());
    let reader = Reader::open(good.path()).unwrap();
    let blocks: Vec<Block<'_>> = reader.blocks().map(Result::unwrap).collect();
    let mut dice = ChaCha8Rng::seed_from_u64(7);
    let mut mended = 0;
    for round in 0..60 {
        copy(good.path(), work.path());
        let _ = std::fs::remove_dir_all(work.path().join(DAMAGED_DIR));
        for _ in 0..1 + dice.next_u64() % 3 {
            damage(work.path(), &mut dice, committed);
        }
        let mender = open(work.path());
        let damaged = mender.damaged().unwrap();
        for (height, fault) in damaged.iter().rev() {
            assert!(mender.can_mend(fault), "{fault}");
            // Another block is not taken for it, nor one that says it is.
            let (it, other) = (
                &blocks[*height as usize],
                &blocks[(*height as usize + 1) % blocks.len()],
            );
            if it.header.record_root != other.header.record_root {
                assert!(!mender.mend(&it.header, &records(other)).unwrap());
                assert!(!mender.mend(&other.header, &records(it)).unwrap());
            }
            let mut forged = it.header;
            forged.event_count += 1;
            assert!(!mender.mend(&forged, &records(it)).unwrap());
            assert!(mender.mend(&it.header, &records(it)).unwrap());
            let (header, put_back) = mender.block(*height).unwrap();
            assert_eq!((header, put_back.len()), (it.header, it.records.len()));
            let kept = work.path().join(DAMAGED_DIR).join(format!("{height:020}.block"));
            let start = height.checked_sub(1).map_or(64, |before| blocks[before as usize].end);
            assert_eq!(std::fs::metadata(kept).unwrap().len(), it.end - start);
            mended += 1;
        }
        assert!(mender.damaged().unwrap().is_empty());
        drop(mender);
        let found = check(work.path(), &key().verifying_key());
        // What was damaged behind the last block is recovery's.
        let (store, recovery) = Store::open(work.path(), &key(), SMALL).unwrap();
        assert_eq!(store.committed().length, committed);
        drop(store);
        assert!(found.is_ok() || !recovery.is_clean(), "round {round}: {recovery}");
        assert!(all(work.path()) == before, "round {round}: {recovery}");
    }
    assert!(mended > 40, "{mended}");
}

#[test]
fn an_entry_that_is_not_signed_names_no_block() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(dir.path(), 20));
    let blocks = {
        let reader = Reader::open(dir.path()).unwrap();
        let block = reader.blocks().nth(9).unwrap().unwrap();
        (
            block.header,
            records(&block).iter().map(|r| r.payload.to_vec()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(blocks.0.height, 9);
    let path = dir.path().join("commits.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[112 * 9 + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = all(dir.path());
    let mender = open(dir.path());
    let fault = mender.damaged().unwrap_err();
    assert!(!mender.can_mend(&fault), "{fault}");
    assert_eq!(fault.file, path);
    assert!(matches!(mender.mend(&blocks.0, &[]), Err(Error::Damaged(_))));
    // Beside a writer nobody mends, unless the writer does.
    let again = Mender::open(dir.path(), ChainId(sha256(&[GENESIS])), &key().verifying_key());
    assert!(matches!(again, Err(Error::Locked { .. })), "{again:?}");
    drop(mender);
    assert!(all(dir.path()) == before);
}
