//! `wattbook light`: checks a bundle with nothing but the genesis.

use super::verify::{emit, rows};
use crate::light::Bundle;
use crate::present;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Checks a record of a chain with delegates, offline: follows the committees from genesis to the record's certificate.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The chain's genesis: `genesis.bin` of any of its nodes.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The bundle, as `wattbook prove --light` printed it.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let checked = read(&args.genesis).and_then(|genesis| {
        let bundle = String::from_utf8(read(&args.bundle)?).map_err(|error| error.to_string())?;
        let bundle = Bundle::parse(&bundle).map_err(|error| error.to_string())?;
        let started = Instant::now();
        let proven = bundle.check(&genesis).map_err(|error| error.to_string())?;
        Ok((bundle, proven, started.elapsed()))
    });
    let (bundle, proven, took) = match checked {
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
            "ok": true, "chain": bundle.chain.0.to_string(), "epochs": bundle.borders.len(), "epoch": proven.epoch,
            "height": proven.header.height, "block": proven.digest.to_string(), "time_ns": proven.header.time.get(),
            "certified": proven.certified, "signers": signers, "seats": seats, "seq": record.seq, "kind": name,
            "check_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
        found["record"] = present::record(record.kind, &record.payload).into();
        return emit(&format!("{found}\n"));
    }
    emit(&rows(&[
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
                "{} borders followed from genesis, in {} us",
                bundle.borders.len(),
                took.as_micros()
            ),
        ),
    ]))
}
