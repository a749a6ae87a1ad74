//! `wattbook retain`: sealed segments moved off to an archive.

use super::verify::emit;
use ed25519_dalek::VerifyingKey;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wattbook_feed::signed::Genesis;
use wattbook_ledger::{GENESIS_FILE, Moved, retain};

/// Moves old segments of a ledger to an archive; headers, proofs of what is kept and restarts from a snapshot stay.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the ledger; no node may be running on it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Newest segments that stay; more do where a snapshot needs them.
    #[arg(long, value_name = "SEGMENTS", value_parser = clap::value_parser!(u64).range(1..))]
    keep: u64,
    /// Folder to move the others to.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    match moved(args) {
        Ok(moved) if args.json => emit(&format!("{}\n", to_json(&moved))),
        Ok(moved) => emit(&format!("{moved}\n")),
        Err(why) => {
            if args.json {
                emit(&format!("{}\n", json!({ "ok": false, "message": why })));
            }
            super::fail(&why)
        }
    }
}

fn moved(args: &Args) -> Result<Moved, String> {
    let path = args.dir.join(GENESIS_FILE);
    let genesis = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let genesis = Genesis::decode(&genesis).map_err(|error| format!("{}: {error}", path.display()))?;
    let key = VerifyingKey::from_bytes(&genesis.log_key)
        .map_err(|_| "genesis names a log key that is no Ed25519 key".to_owned())?;
    retain(&args.dir, &args.to, args.keep, &key).map_err(|error| error.to_string())
}

fn to_json(moved: &Moved) -> serde_json::Value {
    json!({
        "ok": true,
        "segments": moved.segments,
        "bytes": moved.size,
        "first_segment": moved.first,
        "blocks": moved.blocks,
        "bound_by_snapshot": moved.bound,
        "folder": moved.folder.display().to_string(),
        "message": moved.to_string(),
    })
}
