//! A damaged ledger is mended from a copy by what the log key has signed, or left as it is.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use support::{GENESIS, SMALL, append, build, copy, files, key, payloads};
use wattbook_ledger::{RepairError, Repaired, Store, check, recorded_chain, repair};
use wattbook_types::{ChainId, sha256};

fn mend(dir: &Path, from: &Path) -> Result<Repaired, RepairError> {
    repair(dir, from, ChainId(sha256(&[GENESIS])), &key().verifying_key())
}

/// The bytes of every file of a ledger.
fn all(dir: &Path) -> Vec<Vec<u8>> {
    let files = files(dir).into_iter().filter(|path| path.is_file());
    files.map(|path| std::fs::read(path).unwrap()).collect()
}

/// Damages a ledger somewhere below its committed end.
fn damage(dir: &Path, dice: &mut ChaCha8Rng, committed: u64) {
    let mut below = |n: u64| dice.next_u64() % n;
    let segment = below(committed.div_ceil(4096));
    let path = dir.join(format!("{segment:08}.seg"));
    let len = std::fs::metadata(&path).map_or(0, |file| file.len());
    let end = (committed - segment * 4096).min(len);
    if end == 0 {
        return;
    }
    match below(8) {
        0 => std::fs::remove_file(path).unwrap(),
        1 => {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(path, &bytes[..below(end) as usize]).unwrap();
        }
        2 => {
            let mut bytes = std::fs::read(&path).unwrap();
            let from = below(end);
            bytes[from as usize..(from + 1 + below(end - from)) as usize].fill(0);
            std::fs::write(path, bytes).unwrap();
        }
        3 => {
            let path = dir.join("commits.log");
            let mut bytes = std::fs::read(&path).unwrap();
            let at = below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << below(8);
            std::fs::write(path, bytes).unwrap();
        }
        4 => std::fs::write(dir.join("genesis.bin"), b"something else").unwrap(),
        _ => {
            let mut bytes = std::fs::read(&path).unwrap();
            for _ in 0..=below(3) {
                bytes[below(end) as usize] ^= 1 << below(8);
            }
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn any_damage_is_mended_from_a_good_copy_to_the_same_bytes() {
    let (good, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let committed = build(good.path(), 20).committed().length;
    let before = all(good.path());
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    let mut blocks = 0;
    for _ in 0..150 {
        copy(good.path(), work.path());
        for _ in 0..1 + dice.next_u64() % 3 {
            damage(work.path(), &mut dice, committed);
        }
        let repaired = mend(work.path(), good.path()).unwrap();
        check(work.path(), &key().verifying_key()).unwrap();
        assert!(all(work.path()) == before, "{repaired}");
        blocks += repaired.blocks.len();
        let again = mend(work.path(), good.path()).unwrap();
        assert!(again.files.is_empty() && again.blocks.is_empty(), "{again}");
    }
    assert!(blocks > 100, "{blocks}");
}

#[test]
fn a_copy_that_is_itself_damaged_gives_what_is_good_in_it() {
    let (good, here, there) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    drop(build(good.path(), 20));
    let flip = |dir: &Path, at: usize| {
        let path = dir.join("00000000.seg");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    copy(good.path(), here.path());
    copy(good.path(), there.path());
    flip(here.path(), 1_000);
    flip(there.path(), 3_000);
    let repaired = mend(here.path(), there.path()).unwrap();
    assert_eq!((repaired.blocks.len(), repaired.files.len()), (1, 1), "{repaired}");
    assert!(
        repaired.to_string().contains("the frame checksum is wrong"),
        "{repaired}"
    );
    assert!(all(here.path()) == all(good.path()));
    // The same block on both sides: nothing is changed, and both places are named.
    copy(good.path(), here.path());
    flip(here.path(), 3_001);
    let before = all(here.path());
    let refused = mend(here.path(), there.path()).unwrap_err();
    assert!(matches!(refused, RepairError::Nowhere { .. }), "{refused}");
    assert!(refused.to_string().contains("damaged on both sides"), "{refused}");
    assert!(all(here.path()) == before);
}

#[test]
fn nothing_is_taken_that_the_log_key_has_not_signed() {
    let (here, other, work) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    drop(build(here.path(), 6));
    // The same key and chain, another seventh block: here it was lost with its entry, or never was.
    let mut store = build(other.path(), 6);
    append(&mut store, &payloads(9));
    store.commit().unwrap();
    drop(store);
    let repaired = mend(here.path(), other.path()).unwrap();
    assert_eq!((repaired.height, repaired.entries), (7, 1));
    check(here.path(), &key().verifying_key()).unwrap();
    // Two signed blocks of one height.
    let mut store = build(work.path(), 6);
    append(&mut store, &payloads(8));
    store.commit().unwrap();
    drop(store);
    let before = all(work.path());
    let refused = mend(work.path(), other.path()).unwrap_err();
    assert!(matches!(refused, RepairError::SignedTwice { height: 7 }), "{refused}");
    assert!(all(work.path()) == before);
    // Another key's ledger is no copy: its entries are nobody's, and its blocks are not taken without one.
    let foreign = tempfile::tempdir().unwrap();
    copy(other.path(), foreign.path());
    let path = foreign.path().join("commits.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.chunks_exact_mut(112).for_each(|entry| entry[60] ^= 1);
    std::fs::write(path, bytes).unwrap();
    let bare = tempfile::tempdir().unwrap();
    std::fs::write(bare.path().join("genesis.bin"), GENESIS).unwrap();
    assert!(matches!(mend(bare.path(), foreign.path()), Err(RepairError::NoEntry)));
    // From a good one everything comes back.
    assert_eq!(mend(bare.path(), other.path()).unwrap().height, 7);
    assert_eq!(recorded_chain(bare.path()), Some(ChainId(sha256(&[GENESIS]))));
    assert_eq!(Store::open(bare.path(), &key(), SMALL).unwrap().0.committed().height, 7);
}

/// Changes entries of a commit file.
fn spoil(dir: &Path, heights: &[usize]) {
    let path = dir.join("commits.log");
    let mut bytes = std::fs::read(&path).unwrap();
    heights.iter().for_each(|height| bytes[112 * height + 70] ^= 1);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn an_entry_that_neither_side_has_hides_none_behind_it() {
    let (good, here, there) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let mut store = build(good.path(), 30);
    let lengths: Vec<u64> = (0..2).map(|_| append(&mut store, &payloads(4)).length).collect();
    store.commit().unwrap();
    drop(store);
    let whole = all(good.path());
    // Neither has the entries of 20, 21 and 28; the block behind them is damaged here.
    copy(good.path(), here.path());
    copy(good.path(), there.path());
    spoil(here.path(), &[20, 21, 28, 30]);
    spoil(there.path(), &[20, 21, 28, 9]);
    let path = here.path().join(format!("{:08}.seg", (lengths[0] + 40) / 4096));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[((lengths[0] + 40) % 4096) as usize] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let repaired = mend(here.path(), there.path()).unwrap();
    assert_eq!(
        (repaired.height, repaired.entries, repaired.entries_unsigned),
        (32, 1, 3),
        "{repaired}"
    );
    assert_eq!(
        repaired.blocks.iter().map(|(height, _)| *height).collect::<Vec<_>>(),
        [32]
    );
    assert!(
        repaired.to_string().contains("sign 3 commit entries again"),
        "{repaired}"
    );
    let (store, recovery) = Store::open(here.path(), &key(), SMALL).unwrap();
    assert_eq!(store.committed().height, 32, "{recovery}");
    drop(store);
    let damaged = here.path().join("damaged");
    std::fs::remove_dir_all(damaged).unwrap();
    assert!(all(here.path()) == whole, "{recovery}");

    // Farther back than a crash reaches, or the first of all: refused, and nothing is changed.
    let mut store = build(good.path().join("long").as_path(), 0);
    (0..1_100).for_each(|_| _ = append(&mut store, &[vec![1; 16]]));
    store.commit().unwrap();
    drop(store);
    for bad in [0, 1, 76] {
        copy(&good.path().join("long"), here.path());
        copy(&good.path().join("long"), there.path());
        spoil(here.path(), &[bad]);
        spoil(there.path(), &[bad]);
        let before = all(here.path());
        let refused = mend(here.path(), there.path()).unwrap_err();
        assert!(
            matches!(refused, RepairError::EntryGap { height, count: 1_101 } if height == bad as u64),
            "{refused}"
        );
        assert!(all(here.path()) == before);
        assert!(Store::open(here.path(), &key(), SMALL).is_err());
    }
    copy(&good.path().join("long"), here.path());
    copy(&good.path().join("long"), there.path());
    spoil(here.path(), &[77]);
    spoil(there.path(), &[77]);
    assert_eq!(mend(here.path(), there.path()).unwrap().entries_unsigned, 1);
    assert_eq!(
        Store::open(here.path(), &key(), SMALL).unwrap().0.committed().height,
        1_100
    );
}
