//! Real disks that fail under a node: one that is full and is mended, one whose pages are gone.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod stand;

use stand::{Stand, config, found, last_seq};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use wattbook_feed::sbe::session::HaltReason;
use wattbook_ledger::{COMMIT_SIZE, COMMITS_FILE};
use wattbook_node::topology::Node;

/// Runs inside a mount namespace where `SMALL_DISK` is a file system of one megabyte.
#[test]
fn inside_a_small_disk() {
    let Some(disk) = std::env::var_os("SMALL_DISK") else {
        return;
    };
    let (dir, filler) = (Path::new(&disk).join("node"), Path::new(&disk).join("filler"));
    found(&dir, 16 << 10);
    let node = Node::start(&dir, &config(), Arc::default()).unwrap();
    let mut stand = Stand::log_on(node.addr, 0);
    let mut seq = stand.step().unwrap();
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
    drop(file);

    for round in 0..2 {
        let (durable, halted) = stand.step_until_halted(seq);
        assert_eq!(halted.reason, HaltReason::DiskFull as u8);
        // It names the last record that is durable, and nothing after that is answered.
        assert_eq!(halted.seq, durable);
        // Mended: the block that waited goes in, and its answer says that the node goes on.
        let room = std::fs::metadata(&filler).unwrap().len() / 2;
        File::options()
            .write(true)
            .open(&filler)
            .unwrap()
            .set_len(room)
            .unwrap();
        seq = stand.answer().unwrap();
        assert!(seq > durable, "round {round}");
    }
    node.stop();
    stand.end();
    node.join().unwrap();
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(last_seq(&dir), seq);
    let node = Node::start(&dir, &config(), Arc::default()).unwrap();
    let mut stand = Stand::log_on(node.addr, 5_000);
    assert!(stand.step().unwrap() > seq);
    node.stop();
    stand.end();
    node.join().unwrap();
    println!("small disk: paused and went on twice, {seq} records");
}

#[test]
fn a_small_disk_fills_and_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=1m none \"$SMALL_DISK\" && exec \"$0\" --exact inside_a_small_disk --nocapture";
    let attempt = |flags: &str| {
        Command::new("unshare")
            .args([flags, "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("SMALL_DISK", dir.path())
            .output()
    };
    // Root mounts by itself; others need a user namespace of their own.
    for flags in ["-m", "-Urm"] {
        let Ok(output) = attempt(flags) else { continue };
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("running 1 test") {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.contains("paused and went on twice"),
                "{said}{errors}"
            );
            return;
        }
    }
    println!("SKIPPED: a full disk: neither root nor a user namespace may mount a small file system here");
}

/// A node of its own, and where it listens.
fn run(dir: &Path) -> (Child, std::net::SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(["run", "--lockstep", "--listen", "127.0.0.1:0"])
        .arg(dir)
        .env("WATTBOOK_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addr = line.trim().strip_prefix("listening ").unwrap().parse().unwrap();
    (child, addr)
}

fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    (child.wait().unwrap().code(), errors)
}

#[test]
fn a_page_that_is_gone_ends_the_node_with_a_word() {
    let dir = tempfile::tempdir().unwrap();
    found(dir.path(), 1 << 20);
    std::fs::write(
        dir.path().join("wattbook.toml"),
        "[verify]\npolicy = \"one-by-one\"\n[seal]\nsnapshot_records = 0\n",
    )
    .unwrap();
    let (child, addr) = run(dir.path());
    let mut stand = Stand::log_on(addr, 0);
    let mut seq = 0;
    for _ in 0..5 {
        seq = stand.step().unwrap();
    }
    // Every page behind the log's last goes, as from a disk that lost them.
    let entries = std::fs::read(dir.path().join(COMMITS_FILE)).unwrap();
    let last = &entries[entries.len() - COMMIT_SIZE as usize..];
    let length = u64::from_le_bytes(last[8..16].try_into().unwrap());
    let segment = File::options()
        .write(true)
        .open(dir.path().join("00000000.seg"))
        .unwrap();
    segment.set_len(length.next_multiple_of(4096)).unwrap();

    let (durable, halted) = stand.step_until_halted(seq);
    assert_eq!(halted.reason, HaltReason::LedgerFailed as u8);
    assert_eq!(halted.seq, durable);
    stand.end();
    let (code, errors) = ended(child);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("SIGBUS") && errors.contains("00000000.seg at byte"),
        "{errors}"
    );

    let (mut child, addr) = run(dir.path());
    let mut stand = Stand::log_on(addr, 5_000);
    assert!(stand.step().unwrap() > durable);
    drop(stand);
    child.kill().unwrap();
    let (_, errors) = ended(child);
    assert!(errors.contains("of a segment cut short"), "{errors}");
    assert!(last_seq(dir.path()) > durable);
}
