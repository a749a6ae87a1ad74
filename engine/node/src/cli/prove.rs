//! `wattbook prove` and `wattbook verify-proof`: a record or a deal, provable to anybody.
//!
//! # Contract
//! * `prove` prints a proof; a record's is a C2SP tlog-proof, a deal's is JSON around several of them.
//! * `verify-proof` needs nothing but the proof and the log's public key. Without the key it says `self-consistent only`:
//!   the paths hold, whose log it is remains open.

use super::verify::{emit, rows};
use crate::deal_proof::{DealError, DealProof};
use crate::light::Bundle;
use crate::notary::{self, NotaryError};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wattbook_feed::layout::Layout;
use wattbook_ledger::{HeaderIndex, NoteKey, Proven, Reader, RecordProof};
use wattbook_types::Hash;

/// Proves a record or a deal of a ledger, beside a running node or offline.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the ledger.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder of the segments that `wattbook retain` moved off.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Sequence number of a record.
    #[arg(long, value_name = "SEQ", required_unless_present = "deal", conflicts_with = "deal")]
    record: Option<u64>,
    /// Id of a deal: both envelopes, the grid company's signature, and their paths.
    #[arg(long, value_name = "ID", value_parser = parse_hash)]
    deal: Option<Hash>,
    /// Prove a record of a chain with delegates by their certificates, for `wattbook light`.
    #[arg(long, requires = "record")]
    light: bool,
    /// Leave out what a client that begins in this epoch does not need (`wattbook light --checkpoint`).
    #[arg(long, value_name = "EPOCH", requires = "light")]
    since: Option<u64>,
}

/// Checks a proof with nothing but the log's public key.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    /// The proof, as `wattbook prove` printed it.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The log's key, as `wattbook checkpoint --key` prints it: `name+id+base64`.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    key: Option<NoteKey>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_hash(text: &str) -> Result<Hash, String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "a deal id is 64 hex digits")?;
    Ok(Hash(hash))
}

pub(super) fn parse_key(text: &str) -> Result<NoteKey, String> {
    NoteKey::parse(text).map_err(|error| error.to_string())
}

/// Runs `prove`.
pub fn run(args: &Args) -> ExitCode {
    match prove(args) {
        Ok(proof) => emit(&proof),
        Err(error) => super::fail(&error),
    }
}

fn prove(args: &Args) -> Result<String, Box<dyn std::error::Error>> {
    if args.light {
        let mut bundle = Bundle::of_record(&args.dir, args.archive.as_deref(), args.record.unwrap_or_default())?;
        bundle.keep_since(args.since.unwrap_or_default());
        return Ok(bundle.to_json());
    }
    let mut reader = Reader::open_in(&args.dir, args.archive.as_deref())?;
    super::say_left_over(&reader);
    let mut index = HeaderIndex::open(&reader)?;
    let mut proof = proved(args, &reader, &mut index);
    let lacks_checkpoint = matches!(proof, Err(DealError::Notary(NotaryError::NoCheckpoint { .. })));
    // A node that runs beside this may have signed one of blocks that came after the reader looked.
    if lacks_checkpoint && reader.refresh()? {
        index.extend(&reader)?;
        proof = proved(args, &reader, &mut index);
    }
    Ok(proof?)
}

fn proved(args: &Args, reader: &Reader, index: &mut HeaderIndex) -> Result<String, DealError> {
    if let Some(id) = args.deal {
        return Ok(DealProof::find(reader, index, id)?.to_json());
    }
    let seq = args.record.unwrap_or_default();
    let height = index.block_with(reader, seq)?.header.height;
    let note = notary::covering(reader, index, height)?;
    Ok(index.prove(reader, seq, &note)?.to_string())
}

/// Runs `verify-proof`.
pub fn verify(args: &VerifyArgs) -> ExitCode {
    match verified(&args.proof, args.key.as_ref()) {
        Ok(found) if args.json => emit(&format!("{}\n", found.json)),
        Ok(found) => emit(&rows(&found.rows)),
        Err(error) => {
            if args.json {
                emit(&format!("{}\n", json!({ "ok": false, "message": error.to_string() })));
            }
            super::fail(&error)
        }
    }
}

struct Found {
    rows: Vec<(&'static str, String)>,
    json: serde_json::Value,
}

fn verified(path: &Path, key: Option<&NoteKey>) -> Result<Found, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let trust = if key.is_some() {
        "anchored"
    } else {
        "self-consistent only"
    };
    let mut found = if text.starts_with('{') {
        let proof = DealProof::parse(&text)?;
        deal(&proof, key)?
    } else {
        let proof = RecordProof::parse(&text)?;
        record(&key.map_or_else(|| proof.check(), |key| proof.verify(key))?)
    };
    found.rows.insert(0, ("verdict", format!("the proof holds, {trust}")));
    found.json["trust"] = trust.into();
    Ok(found)
}

fn record(proven: &Proven<'_>) -> Found {
    let (header, checkpoint) = (&proven.header, proven.checkpoint);
    let (name, fields) = (
        crate::present::record_name(proven.kind),
        crate::present::record(proven.kind, proven.payload),
    );
    let mut line = name.to_owned();
    crate::present::put_fields(&mut line, "", &fields);
    Found {
        rows: vec![
            ("log", checkpoint.origin.clone()),
            (
                "checkpoint",
                format!("size {}, root {}", checkpoint.size, checkpoint.root),
            ),
            ("block", format!("{} at {} ns", header.height, header.time.get())),
            ("record", format!("{} {line}", proven.seq)),
        ],
        json: json!({
            "ok": true,
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "height": header.height,
            "time_ns": header.time.get(),
            "seq": proven.seq,
            "kind": proven.kind,
            "name": name,
            "fields": fields,
        }),
    }
}

fn deal(proof: &DealProof, key: Option<&NoteKey>) -> Result<Found, Box<dyn std::error::Error>> {
    let shown = proof.verify(key)?;
    let (deal, checkpoint) = (&shown.deal, &shown.checkpoint);
    let fields = crate::present::fields(wattbook_feed::signed::DealEntry::FIELDS, bytemuck::bytes_of(deal));
    let mut line = String::new();
    crate::present::put_fields(&mut line, "", &fields);
    Ok(Found {
        rows: vec![
            ("log", checkpoint.origin.clone()),
            (
                "checkpoint",
                format!("size {}, root {}", checkpoint.size, checkpoint.root),
            ),
            ("deal", shown.id.to_string()),
            ("terms", line.trim().to_owned()),
            ("made in block", shown.height.to_string()),
            (
                "signed by",
                format!(
                    "buyer in record {}, seller in record {}, grid company in record {}",
                    shown.buyer, shown.seller, shown.grid
                ),
            ),
        ],
        json: json!({
            "ok": true,
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "deal_id": shown.id.to_string(),
            "deal": fields,
            "height": shown.height,
            "buyer_record": shown.buyer,
            "seller_record": shown.seller,
            "grid_record": shown.grid,
        }),
    })
}
