//! The node's own retention: after a snapshot segments move off while it runs; it starts again without them, and with the
//! archive everything is proved and verified.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod stand;

use stand::{Stand, config, found};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use wattbook_ledger::{HEADERS_FILE, INDEX_DIR, Retained};
use wattbook_node::config::Config;
use wattbook_node::topology::Node;

const SEGMENT_SIZE: u64 = 4_096;

fn settings(archive: &Path) -> Config {
    let mut config = config();
    config.seal.snapshot_records = 20;
    config.seal.snapshots_kept = 1;
    config.seal.checkpoint_ms = 1;
    config.retention.segments_kept = 2;
    config.retention.archive = Some(archive.to_owned());
    config.tiles.dir = Some(archive.join("tiles"));
    config
}

/// Runs a command: whether it succeeds, what it prints, and what it says on stderr.
fn wattbook(args: &[&str]) -> (bool, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.success(), text(run.stdout), text(run.stderr))
}

fn said(args: &[&str]) -> String {
    let (ok, out, error) = wattbook(args);
    assert!(ok, "{args:?}: {error}");
    out
}

/// Blocks until the first segments kept are others than these, each durable before the next; the last record.
fn step_until_moved(stand: &mut Stand, dir: &Path, from: u64) -> u64 {
    for _ in 0..10_000 {
        let seq = stand.step().unwrap();
        if Retained::read(dir).unwrap().first() > from {
            return seq;
        }
    }
    panic!("nothing was moved off");
}

#[test]
fn segments_move_off_while_the_node_runs_and_nothing_is_lost() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, archive) = (folder.path().join("node"), store.path().join("archive"));
    found(&dir, SEGMENT_SIZE);
    let mut last = 0;
    // The second start is from what the first has left.
    for round in 0..2 {
        let before = Retained::read(&dir).unwrap().first();
        let node = Node::start(&dir, &settings(&archive), Arc::default()).unwrap();
        assert_eq!(node.recovery.from.is_some(), round > 0, "from a snapshot");
        let mut stand = Stand::log_on(node.addr, 5_000 * round);
        let seq = step_until_moved(&mut stand, &dir, before);
        assert!(seq > last, "round {round}");
        last = seq;
        node.stop();
        stand.end();
        node.join().unwrap();
    }
    let retained = Retained::read(&dir).unwrap();
    assert!(retained.first() > 0 && retained.blocks() > 0);
    for index in 0..retained.first() {
        let name = format!("{index:08}.seg");
        assert!(!dir.join(&name).exists() && archive.join(&name).exists(), "{name}");
    }
    assert!(dir.join(HEADERS_FILE).exists());

    // With the archive everything is there, also where the index has to be made anew.
    let (at, from) = (dir.to_str().unwrap(), archive.to_str().unwrap());
    let key = said(&["checkpoint", at, "--key"]);
    let proof = store.path().join("record.tlog-proof");
    for round in 0..2 {
        for record in [1, last / 2, last] {
            let text = said(&["prove", at, "--archive", from, "--record", &record.to_string()]);
            std::fs::write(&proof, text).unwrap();
            let shown = said(&["verify-proof", proof.to_str().unwrap(), "--key", key.trim()]);
            assert!(shown.contains("anchored"), "round {round}, record {record}: {shown}");
        }
        std::fs::remove_dir_all(dir.join(INDEX_DIR)).unwrap();
    }
    let verified: serde_json::Value =
        serde_json::from_str(&said(&["verify", at, "--archive", from, "--json"])).unwrap();
    assert_eq!((&verified["ok"], &verified["records"]), (&true.into(), &last.into()));
    let all = said(&["tail", at, "--archive", from, "--json"]);
    assert_eq!(all.lines().count() as u64, last);
    let inspected = said(&["inspect", at, "--archive", from, "--json"]);
    assert!(inspected.contains("\"left_over\":null"), "{inspected}");
    // The tiles need headers only.
    let tiles = store.path().join("tiles");
    said(&["tiles", at, "--out", tiles.to_str().unwrap()]);
    let checkpoint: serde_json::Value = serde_json::from_str(&said(&["checkpoint", at, "--json"])).unwrap();
    let size = checkpoint["size"].as_u64().unwrap();
    assert!((10..256).contains(&size), "one partial tile: {size}");
    let served = |folder: &Path| std::fs::read(folder.join(format!("tile/entries/000.p/{size}"))).unwrap();
    assert_eq!(served(&tiles), served(&archive.join("tiles")));

    // Without it what is here still proves, and what is not says where it lies.
    said(&["prove", at, "--record", &last.to_string()]);
    let place = archive.canonicalize().unwrap().join("00000000.seg");
    for args in [vec!["prove", at, "--record", "1"], vec!["verify", at], vec!["tail", at]] {
        let (ok, _, error) = wattbook(&args);
        assert!(!ok && error.contains(place.to_str().unwrap()), "{args:?}: {error}");
        assert!(error.contains("--archive"), "{args:?}: {error}");
    }
}
