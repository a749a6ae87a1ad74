//! The bytes of a generated ledger, pinned: changing one of these hashes changes the format, and is a reviewed act.
#![allow(clippy::unwrap_used)]

mod support;

use support::{build, files};
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
