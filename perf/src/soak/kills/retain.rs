//! What is left of a ledger whose old segments were moved off.

use super::Victim;
use crate::soak::ground::{Node, PATIENCE};
use std::path::Path;
use std::time::Instant;

impl Victim {
    /// Moves all segments off that the snapshots allow: a node starts from what is left, what is missing is named, and
    /// with the archive nothing is. How many segments went.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn retain(&self) -> Result<u64, String> {
        let archive = self.ground.ledger.with_extension("archive");
        let to = archive.to_str().ok_or("the archive has no name")?;
        let said = self.succeeds("retain", &["--keep", "1", "--to", to, "--json"])?;
        let said: serde_json::Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let segments = said["segments"].as_u64().unwrap_or_default();
        if segments == 0 {
            return Ok(0);
        }
        let mut node: Node = self.ground.start(&self.program)?;
        node.addr()?;
        node.process.terminate();
        let status = node.process.wait(Instant::now() + PATIENCE);
        if !status.is_some_and(|status| status.success()) || !node.said().contains("read from block") {
            return Err(format!(
                "a node does not come back from the snapshot alone: {}",
                node.said()
            ));
        }
        for (name, args) in [
            ("prove", ["--record", "1"].as_slice()),
            ("replay", &[]),
            ("verify", &[]),
            ("inspect", &[]),
        ] {
            let missing = self.ask(name, args)?;
            let named = Path::new(to).join("00000000.seg").display().to_string();
            if missing.0 || !missing.1.contains(&named) || !missing.1.contains("--archive") {
                return Err(format!("`{name}` does not say that {named} is missing: {}", missing.1));
            }
            let with = [args, &["--archive", to]].concat();
            self.succeeds(name, &with)?;
        }
        Ok(segments)
    }

    /// Whether a command ends well, and what it says.
    fn ask(&self, name: &str, args: &[&str]) -> Result<(bool, String), String> {
        let done = self
            .ground
            .command(&self.program, name)
            .args(args)
            .output()
            .map_err(|error| error.to_string())?;
        let said = [done.stdout, done.stderr].concat();
        Ok((done.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    fn succeeds(&self, name: &str, args: &[&str]) -> Result<String, String> {
        match self.ask(name, args)? {
            (true, said) => Ok(said),
            (false, said) => Err(format!("`{name} {}` fails: {said}", args.join(" "))),
        }
    }
}
