//! `wattbook light`: checks a bundle with nothing but the genesis, or the digest of a block that is trusted.

use super::verify::{emit, rows};
use crate::light::{Bundle, LightClient, LightError, Pinned};
use crate::present;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use wattbook_types::Hash;

/// Checks a record of a chain with delegates, offline: follows the committees from genesis to the record's certificate.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The chain's genesis: `genesis.bin` of any of its nodes.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Begin at the committee of this file, as `--save` wrote it, instead of genesis'.
    #[arg(long, value_name = "FILE", requires = "pin")]
    checkpoint: Option<PathBuf>,
    /// Digest of the block that the checkpoint is of: what is trusted. Keep to one younger than `evidence_epochs`.
    #[arg(long, value_name = "HASH", requires = "checkpoint", value_parser = parse_pin)]
    pin: Option<Hash>,
    /// Write where the committees were followed to, to begin there another time, and say its digest.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The bundle, as `wattbook prove --light` printed it.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_pin(text: &str) -> Result<Hash, String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "a digest is 64 hex digits")?;
    Ok(Hash(hash))
}

/// Where the client begins.
fn begin(args: &Args, genesis: &[u8]) -> Result<LightClient, String> {
    let begun = match (&args.checkpoint, args.pin) {
        (Some(path), Some(pin)) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Pinned::parse(&text).and_then(|pinned| LightClient::begin_at(genesis, &pinned, pin))
        }
        _ => LightClient::new(genesis),
    };
    begun.map_err(|error| error.to_string())
}

/// Writes where a client is: the digest to pin.
fn save(path: &Path, client: &LightClient) -> Result<Hash, String> {
    let pinned = client.pinned();
    let pinned = pinned.ok_or("no epoch has ended before the record's certificate: begin at genesis")?;
    std::fs::write(path, pinned.to_json()).map_err(|error| format!("{}: {error}", path.display()))?;
    pinned.digest().map_err(|error: LightError| error.to_string())
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let checked = read(&args.genesis).and_then(|genesis| {
        let bundle = String::from_utf8(read(&args.bundle)?).map_err(|error| error.to_string())?;
        let bundle = Bundle::parse(&bundle).map_err(|error| error.to_string())?;
        let started = Instant::now();
        let mut client = begin(args, &genesis)?;
        let first = client.epoch();
        let proven = bundle.check_from(&mut client).map_err(|error| error.to_string())?;
        let took = started.elapsed();
        let saved = args.save.as_deref().map(|path| save(path, &client)).transpose()?;
        Ok((bundle, proven, took, first, saved))
    });
    let (bundle, proven, took, first, saved) = match checked {
        Ok(checked) => checked,
        Err(message) => {
            if args.json {
                emit(&format!("{}\n", json!({ "ok": false, "message": message })));
            }
            return super::fail(&message);
        }
    };
    let record = &bundle.record;
    let name = present::record_name(record.kind);
    let (signers, seats) = proven.signers;
    if args.json {
        let mut found = json!({
            "ok": true, "chain": bundle.chain.0.to_string(), "epochs": proven.epoch - first, "epoch": proven.epoch,
            "height": proven.header.height, "block": proven.digest.to_string(), "time_ns": proven.header.time.get(),
            "certified": proven.certified, "signers": signers, "seats": seats, "seq": record.seq, "kind": name,
            "check_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
        if let Some(pin) = saved {
            found["pin"] = pin.to_string().into();
        }
        found["record"] = present::record(record.kind, &record.payload).into();
        return emit(&format!("{found}\n"));
    }
    let mut said = vec![
        ("chain", bundle.chain.0.to_string()),
        (
            "record",
            format!("{} {name}, {} bytes", record.seq, record.payload.len()),
        ),
        ("block", format!("{} {}", proven.header.height, proven.digest)),
        ("time", present::iso8601(proven.header.time)),
        (
            "certificate",
            format!(
                "of block {}, by {signers} of {seats} delegates of epoch {}",
                proven.certified, proven.epoch
            ),
        ),
        (
            "committees",
            format!(
                "{} borders followed from {}, in {} us",
                proven.epoch - first,
                args.pin
                    .map_or_else(|| "genesis".to_owned(), |_| format!("the block pinned, epoch {first}")),
                took.as_micros()
            ),
        ),
    ];
    if let Some(pin) = saved {
        said.push(("pin", pin.to_string()));
    }
    emit(&rows(&said))
}
