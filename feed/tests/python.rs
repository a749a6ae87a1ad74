//! The Python client as its users have it: installed with pip, checked by mypy, its own tests run.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "foreign/environment.rs"]
mod environment;

use std::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

fn passes(arguments: &[&str]) {
    let Some(python) = environment::python(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let out = Command::new(python)
        .args(arguments)
        .current_dir(FOLDER)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{said}\n{complained}");
}

#[test]
fn mypy_finds_every_type() {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/mypy");
    passes(&["-m", "mypy", "--strict", "--cache-dir", cache]);
}

#[test]
fn its_own_tests_pass() {
    passes(&["-m", "unittest", "discover", "--start-directory", "tests"]);
}
