//! A Python environment with other people's readers and our client.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Its Python, made under `scratch` if it can be.
pub(crate) fn python(scratch: &str) -> Option<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/readers");
    // A crate deeper in the tree has the script higher up.
    let script = if std::path::Path::new(script).exists() {
        script
    } else {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/readers")
    };
    let made = Command::new("bash")
        .args([script, &format!("{scratch}/readers")])
        .output()
        .ok()?;
    if made.status.success() {
        return Some(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()));
    }
    let why = String::from_utf8_lossy(&made.stderr);
    let why = why.lines().last().unwrap_or("no reason given");
    // Past the capture of a passing test's output.
    writeln!(
        std::io::stderr(),
        "\nSKIPPED: Python and packages from PyPI are not to be had: {why}"
    )
    .ok()?;
    None
}
