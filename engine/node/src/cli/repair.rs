//! `wattbook repair`: damaged blocks of a ledger taken from a copy.

use super::verify::{emit, parse_chain};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wattbook_feed::signed::Genesis;
use wattbook_ledger::{Repaired, genesis_of, recorded_chain, repair};
use wattbook_types::ChainId;

/// Mends a damaged ledger from a copy of it: what the log key has signed is taken, and nothing else.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the damaged ledger; no node may be running on it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Directory of the copy: a backup, or another node's ledger of the same chain.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The chain id; without it, the one that the damaged ledger names.
    #[arg(long, value_name = "HASH", value_parser = parse_chain)]
    genesis: Option<ChainId>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    match mend(args) {
        Ok(repaired) if args.json => emit(&format!("{}\n", to_json(&repaired))),
        Ok(repaired) => emit(&format!("{repaired}\n")),
        Err(why) => {
            if args.json {
                emit(&format!("{}\n", json!({ "ok": false, "message": why })));
            }
            super::fail(&why)
        }
    }
}

fn mend(args: &Args) -> Result<Repaired, String> {
    let (dir, from) = (args.dir.as_path(), args.from.as_path());
    let chain = args.genesis.or_else(|| recorded_chain(dir)).ok_or_else(|| {
        let dir = dir.display();
        format!("{dir} does not say which chain it is of; give its id with --genesis")
    })?;
    let genesis = genesis_of(chain, &[dir, from])
        .ok_or_else(|| format!("neither directory holds the genesis bytes of chain {}", chain.0))?;
    let genesis = Genesis::decode(&genesis).map_err(|error| format!("genesis.bin is not a genesis: {error}"))?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&genesis.log_key)
        .map_err(|_| "genesis names a log key that is no Ed25519 key".to_owned())?;
    repair(dir, from, chain, &key).map_err(|error| error.to_string())
}

fn to_json(repaired: &Repaired) -> serde_json::Value {
    let blocks = repaired.blocks.iter().map(|(height, fault)| {
        json!({
            "block": height,
            "file": fault.file.display().to_string(),
            "offset": fault.offset,
            "code": fault.kind.code(),
            "message": fault.kind.to_string(),
        })
    });
    json!({
        "ok": true,
        "height": repaired.height,
        "blocks": blocks.collect::<Vec<_>>(),
        "entries": repaired.entries,
        "files": repaired.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "message": repaired.to_string(),
    })
}
