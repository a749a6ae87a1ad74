//! A tool from the Python registry audits tiles, checkpoints and proofs, and refuses a flipped byte.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod python;
mod support;

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use wattbook_ledger::{HeaderIndex, Note, NoteKey, Reader, export_tiles, origin};

use support::{append, build, key, payloads};

#[test]
fn tlog_scales_verifies_what_we_publish_and_refuses_a_flipped_byte() {
    let python = match python::with(&["tlog-scales==0.0.3"]) {
        Ok(python) => python,
        Err(why) => {
            python::skip("tlog-scales does not audit the tiles", &why);
            return;
        }
    };
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = build(dir.path(), 5);
    for _ in 0..300 {
        let height = store.next_height();
        append(&mut store, &payloads(height));
    }
    store.commit().unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let name = origin("10YTEST", reader.chain());
    let vkey = NoteKey::log(name.clone(), key().verifying_key()).to_string();
    let old = index.checkpoint(&reader, 77, name.clone()).unwrap();
    let tiles = out.path().join("tiles");
    for size in [100, 306] {
        let note = Note::sign(index.checkpoint(&reader, size, name.clone()).unwrap(), &key());
        export_tiles(&mut index, &reader, &note, &tiles).unwrap();
    }
    let note = Note::sign(index.checkpoint(&reader, 306, name).unwrap(), &key());
    let proof = out.path().join("record.tlog-proof");
    std::fs::write(&proof, index.prove(&reader, 123, &note).unwrap().to_string()).unwrap();
    let audit = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/audit.py");
        let run = Command::new(&python)
            .arg(script)
            .args([&tiles, Path::new(&vkey), &proof])
            .args([old.size.to_string(), old.root.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        run.status
            .success()
            .then_some(said)
            .ok_or_else(|| String::from_utf8_lossy(&run.stderr).into_owned())
    };
    assert_eq!(audit().unwrap().trim(), "306 headers, record 123");
    for path in [
        proof.clone(),
        tiles.join("checkpoint"),
        tiles.join("tile/0/000"),
        tiles.join("tile/0/001.p/50"),
        tiles.join("tile/entries/000"),
        tiles.join("tile/entries/001.p/50"),
    ] {
        let sound = std::fs::read(&path).unwrap();
        let mut flipped = sound.clone();
        flipped[sound.len() / 2] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let refused = audit();
        assert!(refused.is_err(), "{}: {refused:?}", path.display());
        std::fs::write(&path, &sound).unwrap();
    }
    audit().unwrap();
}
