//! Key files on disk, through the command line: owner-only, in hex or locked with a passphrase.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use wattbook_node::keys::{ALIAS_KEY, KEYS_DIR, LOG_KEY, REGISTRAR_KEY};

fn wattbook(passphrase: Option<&Path>, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattbook"));
    command.args(args).env_remove("WATTBOOK_PASSPHRASE_FILE");
    if let Some(path) = passphrase {
        command.arg("--passphrase-file").arg(path);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn passphrase(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Starts the node, waits for its first line, stops it; what it said if it failed.
fn starts(passphrase: Option<&Path>, node: &str) -> Result<(), String> {
    let mut command = wattbook(passphrase, &["run", node, "--json", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Held to the end: the node prints on its way out, too.
    let (mut out, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    out.read_line(&mut line).unwrap();
    // One that did not start has said why and is gone, or waits to be.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM);
    let output = child.wait_with_output().unwrap();
    drop(out);
    if output.status.success() {
        Ok(())
    } else {
        Err(said(&output))
    }
}

#[test]
fn a_node_with_locked_keys_starts_with_its_passphrase_only() {
    let dir = tempfile::tempdir().unwrap();
    let right = passphrase(dir.path(), "right", "a grid of one's own\n", 0o600);
    let wrong = passphrase(dir.path(), "wrong", "a grid of ones own\n", 0o600);
    let node = dir.path().join("node");
    let node = node.to_str().unwrap();
    assert!(
        wattbook(Some(&right), &["init", node])
            .output()
            .unwrap()
            .status
            .success()
    );

    let keys = Path::new(node).join(KEYS_DIR);
    for item in fs::read_dir(&keys).unwrap() {
        let path = item.unwrap().path();
        let (text, mode) = (
            fs::read_to_string(&path).unwrap(),
            fs::metadata(&path).unwrap().permissions().mode(),
        );
        assert!(
            text.starts_with("wattbook-locked-key 1 argon2id "),
            "{}",
            path.display()
        );
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    for name in [LOG_KEY, ALIAS_KEY, REGISTRAR_KEY] {
        assert!(keys.join(name).exists(), "{name}");
    }

    let error = starts(None, node).unwrap_err();
    assert!(
        error.contains(LOG_KEY) && error.contains("--passphrase-file"),
        "{error}"
    );
    let error = starts(Some(&wrong), node).unwrap_err();
    assert!(
        error.contains("the passphrase is wrong, or the file was changed"),
        "{error}"
    );
    starts(Some(&right), node).unwrap();
}

#[test]
fn keys_are_locked_and_unlocked_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let phrase = passphrase(dir.path(), "phrase", "one", 0o600);
    let node = dir.path().join("node");
    let node = node.to_str().unwrap();
    assert!(wattbook(None, &["init", node]).output().unwrap().status.success());
    let key = Path::new(node).join(KEYS_DIR).join(LOG_KEY);
    let (path, before) = (key.to_str().unwrap(), fs::read_to_string(&key).unwrap());

    let refused = wattbook(None, &["keys", "lock", path]).output().unwrap();
    assert!(!refused.status.success() && said(&refused).contains("--passphrase-file"));
    assert_eq!(fs::read_to_string(&key).unwrap(), before);

    assert!(
        wattbook(Some(&phrase), &["keys", "lock", path])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert!(fs::read_to_string(&key).unwrap().starts_with("wattbook-locked-key 1 "));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    starts(Some(&phrase), node).unwrap();

    assert!(
        wattbook(Some(&phrase), &["keys", "unlock", path])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(fs::read_to_string(&key).unwrap(), before);
    starts(None, node).unwrap();
}

#[test]
fn a_passphrase_file_that_others_may_read_or_that_is_empty_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    for (name, text, mode, what) in [
        ("open", "phrase\n", 0o644, "chmod 600"),
        ("empty", "\n", 0o600, "no passphrase"),
    ] {
        let path = passphrase(dir.path(), name, text, mode);
        let refused = wattbook(Some(&path), &["init", node.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(
            !refused.status.success() && said(&refused).contains(what),
            "{}",
            said(&refused)
        );
        assert!(!node.exists());
    }
    let missing = dir.path().join("missing");
    let refused = wattbook(Some(&missing), &["init", node.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(
        !refused.status.success() && said(&refused).contains("missing"),
        "{}",
        said(&refused)
    );
}
