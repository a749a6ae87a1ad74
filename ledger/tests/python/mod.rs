//! A Python environment with packages of the registry, kept under the build folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of an environment that has these packages, or why there is none.
pub(crate) fn with(packages: &[&str]) -> Result<PathBuf, String> {
    let kept: String = packages.join("-").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{kept}"));
    let (python, ready) = (root.join("bin/python"), root.join("ready"));
    if ready.exists() {
        return Ok(python);
    }
    // What an interrupted run left is no environment.
    let _ = std::fs::remove_dir_all(&root);
    run(Command::new("python3").args(["-m", "venv"]).arg(&root))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]);
    run(pip.args(packages))?;
    std::fs::write(&ready, []).map_err(|error| error.to_string())?;
    Ok(python)
}

/// Says what is not tested and why, where the test harness does not swallow it: `make test` counts it.
pub(crate) fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said
                .lines()
                .rfind(|line| !line.trim().is_empty())
                .unwrap_or("no reason given");
            Err(format!("{}: {last}", command.get_program().to_string_lossy()))
        }
        Err(error) => Err(format!("{}: {error}", command.get_program().to_string_lossy())),
    }
}
