//! `wattbook checkpoint` and `wattbook tiles`: what outsiders audit the log by.
//!
//! # Contract
//! * A checkpoint is signed where the log key is, and kept with the cosignatures it gathers; elsewhere the newest kept one
//!   is shown.
//! * A witness's line is kept only if it holds under the key given.
//! * Tiles are a static folder; run again, it is extended to the newest checkpoint.

use super::prove::parse_key;
use super::verify::{emit, rows};
use crate::notary::{self, NotaryError};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wattbook_ledger::{HeaderIndex, Note, NoteKey, Reader, SignatureLine, checkpoints, export_tiles};

/// Shows the newest checkpoint, signing it first where the log key is.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the ledger.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print the log's public key instead, as `name+id+base64`.
    #[arg(long)]
    key: bool,
    /// Print the consistency path from the checkpoint of this size to the newest one as well.
    #[arg(long, value_name = "SIZE")]
    since: Option<u64>,
    /// A witness's signature line, to be checked and kept.
    #[arg(long, value_name = "LINE", requires = "witness")]
    cosign: Option<String>,
    /// The witness's key, as `name+id+base64`.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    witness: Option<NoteKey>,
    /// Size of the checkpoint that was cosigned (default: the newest kept).
    #[arg(long, value_name = "SIZE", requires = "cosign")]
    size: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Writes the log of block headers as tlog-tiles, or what a folder of them lacks.
#[derive(clap::Args, Debug)]
pub struct TilesArgs {
    /// Directory of the ledger.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The folder to be served.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

type Failed = Box<dyn std::error::Error>;

/// Runs `checkpoint`.
pub fn run(args: &Args) -> ExitCode {
    match show(args) {
        Ok(text) => emit(&text),
        Err(error) => super::fail(&error),
    }
}

fn show(args: &Args) -> Result<String, Failed> {
    let reader = Reader::open(&args.dir)?;
    super::say_left_over(&reader);
    if args.key {
        return Ok(format!("{}\n", notary::log_key(reader.genesis())?));
    }
    if let (Some(line), Some(witness)) = (&args.cosign, &args.witness) {
        let newest = || Ok::<_, Failed>(checkpoints::newest(&args.dir)?.map_or(0, |note| note.checkpoint().size));
        let size = args.size.map_or_else(newest, Ok)?;
        let note = checkpoints::cosign(&args.dir, size, SignatureLine::parse(line)?, witness)?;
        return Ok(if args.json {
            to_json(&note, &[])
        } else {
            note.to_string()
        });
    }
    let mut index = HeaderIndex::open(&reader)?;
    let note = newest(&reader, &mut index)?;
    let path = match args.since {
        Some(since) => index.consistency(&reader, since, note.checkpoint().size)?,
        None => Vec::new(),
    };
    if args.json {
        return Ok(to_json(&note, &path));
    }
    let path: String = path.iter().map(|hash| format!("{hash}\n")).collect();
    Ok(format!("{note}{}{path}", if path.is_empty() { "" } else { "\n" }))
}

/// A fresh checkpoint, or the newest kept one.
fn newest(reader: &Reader, index: &mut HeaderIndex) -> Result<Note, NotaryError> {
    match notary::publish(reader, index, 0)? {
        Some(note) => Ok(note),
        None => notary::covering(reader, index, 0),
    }
}

fn to_json(note: &Note, path: &[wattbook_types::Hash]) -> String {
    let checkpoint = note.checkpoint();
    let out = json!({
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.to_string(),
        "signatures": note.signatures().iter().map(SignatureLine::name).collect::<Vec<_>>(),
        "note": note.to_string(),
        "consistency": path.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    format!("{out}\n")
}

/// Runs `tiles`.
pub fn tiles(args: &TilesArgs) -> ExitCode {
    let export = || -> Result<String, Failed> {
        let reader = Reader::open(&args.dir)?;
        super::say_left_over(&reader);
        let mut index = HeaderIndex::open(&reader)?;
        let note = newest(&reader, &mut index)?;
        let done = export_tiles(&mut index, &reader, &note, &args.out)?;
        Ok(if args.json {
            format!("{}\n", json!({ "from": done.from, "to": done.to, "files": done.files }))
        } else {
            rows(&[
                ("headers", format!("{} (before: {})", done.to, done.from)),
                ("files written", done.files.to_string()),
                ("folder", args.out.display().to_string()),
            ])
        })
    };
    match export() {
        Ok(text) => emit(&text),
        Err(error) => super::fail(&error),
    }
}
