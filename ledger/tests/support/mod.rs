//! Small ledgers for the tests.
#![allow(dead_code)]

use std::path::Path;

use ed25519_dalek::SigningKey;
use wattbook_ledger::{Appended, BlockDraft, GenesisRoots, Options, Record, Store};
use wattbook_types::{Hash, TimeNs};

/// Small segments, so that a few blocks cross them.
pub(crate) const SMALL: Options = Options { segment_size: 4096 };
pub(crate) const GENESIS: &[u8] = b"wattbook test genesis";
pub(crate) const GENESIS_TIME: u64 = 1_000;

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[42; 32])
}

pub(crate) fn roots() -> GenesisRoots {
    GenesisRoots {
        time_ns: TimeNs::new(GENESIS_TIME),
        state_root: Hash([1; 32]),
        event_root: Hash([2; 32]),
        params_hash: Hash([3; 32]),
        dpos_hash: Hash([4; 32]),
    }
}

pub(crate) fn create(dir: &Path) -> Store {
    Store::create(dir, GENESIS, &key(), SMALL, roots()).unwrap()
}

/// Appends a block with these payloads, kinds 1, 2, 3, 4 in turn.
pub(crate) fn append(store: &mut Store, payloads: &[Vec<u8>]) -> Appended {
    let first = store.next_seq();
    let records: Vec<Record<'_>> = (0u64..)
        .zip(payloads)
        .map(|(i, payload)| Record {
            kind: 1 + (i % 4) as u16,
            version: 1,
            seq: first + i,
            payload,
        })
        .collect();
    let height = store.next_height();
    let draft = BlockDraft {
        time_ns: TimeNs::new(GENESIS_TIME + height / 2),
        records: &records,
        event_count: height,
        event_root: Hash([height as u8; 32]),
        state_root: Hash([!height as u8; 32]),
        params_hash: Hash([3; 32]),
        dpos_hash: Hash([4; 32]),
        lead: None,
    };
    store.append_block(&draft).unwrap()
}

/// Payloads of block `height`: lengths of every residue, empty ones, no byte pattern that hides a flip.
pub(crate) fn payloads(height: u64) -> Vec<Vec<u8>> {
    let count = [3, 0, 5, 1, 7, 2][height as usize % 6];
    (0..count)
        .map(|i| {
            let len = (height * 37 + i * 53) % 200;
            (0..len).map(|b| (b * 7 + height * 11 + i) as u8).collect()
        })
        .collect()
}

/// A ledger of `blocks` committed blocks after genesis.
pub(crate) fn build(dir: &Path, blocks: u64) -> Store {
    let mut store = create(dir);
    for height in 1..=blocks {
        append(&mut store, &payloads(height));
        store.commit().unwrap();
    }
    store
}

/// Copies a ledger, without its lock file.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "lock" {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// The files that make a ledger, in name order.
pub(crate) fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "lock")
        .collect();
    files.sort();
    files
}
