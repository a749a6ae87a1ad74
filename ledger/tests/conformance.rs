//! The bytes of a generated ledger, pinned: changing one of these hashes changes the format, and is a reviewed act.
#![allow(clippy::unwrap_used)]

mod support;

use support::{SMALL, append, build, copy, files, key, payloads};
use wattbook_ledger::{Store, check};
use wattbook_types::sha256;

#[test]
fn generated_ledger_is_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let store = build(dir.path(), 12);
    let found: Vec<String> = files(dir.path())
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            format!("{name} {}", sha256(&[&std::fs::read(path).unwrap()]))
        })
        .collect();
    let expected: Vec<&str> = include_str!("golden/conformance.txt").lines().collect();
    assert_eq!(found, expected);
    drop(store);
}

/// The ledger that the first version wrote; every later version opens it, reads it and goes on with it.
#[test]
fn the_first_versions_ledger_is_read() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ledger-1");
    let (work, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy(&golden, work.path());
    let checked = check(work.path(), &key().verifying_key()).unwrap();
    assert_eq!((checked.tip.height, checked.segment_count), (12, 3));
    let (mut store, recovery) = Store::open(work.path(), &key(), SMALL).unwrap();
    assert!(recovery.is_clean(), "{recovery}");
    append(&mut store, &payloads(13));
    store.commit().unwrap();
    drop(store);
    drop(build(fresh.path(), 13));
    for (old, new) in files(work.path()).iter().zip(files(fresh.path())) {
        assert_eq!(
            std::fs::read(old).unwrap(),
            std::fs::read(new).unwrap(),
            "{}",
            old.display()
        );
    }
}
