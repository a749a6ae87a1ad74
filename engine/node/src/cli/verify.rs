//! `wattbook verify`: a ledger re-read from its bytes alone.

use crate::audit::{self, EventRoots, Finding, Verified};
use crate::restart::{self, CheckedSnapshot};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wattbook_ledger::{COMMIT_SIZE, COMMITS_FILE};
use wattbook_types::{ChainId, Hash};

/// Re-reads a ledger from its bytes: checksums, chain, signatures, and every root by re-execution.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the ledger; no node may be running on it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder of the segments that `wattbook retain` moved off.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// The chain id that the ledger must have; without it the ledger is only found to agree with itself.
    #[arg(long, value_name = "HASH", value_parser = parse_chain)]
    genesis: Option<ChainId>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A chain id in hex.
pub(super) fn parse_chain(text: &str) -> Result<ChainId, String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "a chain id is 64 hex digits, as `wattbook init` printed it")?;
    Ok(ChainId(Hash(hash)))
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let bar = progress_bar(&args.dir);
    let archive = args.archive.as_deref();
    let verdict = audit::verify_in(&args.dir, archive, args.genesis, |height| bar.set_position(height + 1));
    bar.finish_and_clear();
    let verified = match verdict {
        Ok(verified) => verified,
        Err(finding) => return refuse(&finding, args.json),
    };
    let snapshots = restart::check_snapshots(&args.dir);
    let printed = emit(&if args.json {
        format!("{}\n", to_json(&verified, &snapshots))
    } else {
        to_text(&verified, &snapshots)
    });
    match snapshots
        .iter()
        .find_map(|(_, path, why)| Some((path, why.as_ref().err()?)))
    {
        Some((path, why)) => super::fail(&format!(
            "the ledger holds, but {} does not and can be removed: {why}",
            path.display()
        )),
        None => printed,
    }
}

/// A bar over the blocks of a ledger; indicatif hides it where stderr is no terminal.
pub(super) fn progress_bar(dir: &Path) -> ProgressBar {
    let blocks = std::fs::metadata(dir.join(COMMITS_FILE)).map_or(0, |file| file.len() / COMMIT_SIZE);
    let bar = ProgressBar::new(blocks);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} block {pos} of {len}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Says what is wrong with a ledger.
pub(super) fn refuse(finding: &Finding, json: bool) -> ExitCode {
    if json {
        emit(&format!("{}\n", json!({ "ok": false, "fault": fault_json(finding) })));
    }
    super::fail(finding)
}

/// Prints to stdout; a reader that has seen enough (`| head`) is no failure.
pub(super) fn emit(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => super::fail(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// Names and values in two columns.
pub(super) fn rows(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

/// A finding as `--json` prints it.
pub(super) fn fault_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.name(),
        "code": finding.kind.code(),
        "file": finding.file.display().to_string(),
        "offset": finding.offset,
        "block": finding.height,
        "record": finding.seq,
        "message": finding.message(),
    })
}

fn to_json(verified: &Verified, snapshots: &[CheckedSnapshot]) -> Value {
    let (end, totals) = (&verified.end, &verified.end.totals);
    let event_roots = if verified.event_roots == EventRoots::Checked {
        "checked"
    } else {
        "not checked"
    };
    json!({
        "ok": true,
        "trust": verified.trust.to_string(),
        "chain_id": end.chain.0.to_string(),
        "height": end.height,
        "records": totals.records,
        "registrations": totals.registrations,
        "envelopes": totals.envelopes,
        "leaves": totals.leaves,
        "reveals": totals.reveals,
        "ticks": totals.ticks,
        "evidence": totals.evidence,
        "signatures": verified.signatures,
        "tip_digest": verified.tip_digest.to_string(),
        "state_root": end.state_root.to_string(),
        "ledger_root": end.ledger_root.to_string(),
        "event_roots": event_roots,
        "bytes": verified.length,
        "segments": verified.segments,
        "snapshots": snapshots.iter().map(|(height, path, held)| json!({
            "height": height,
            "file": path.display().to_string(),
            "ok": held.is_ok(),
            "message": held.as_ref().err(),
        })).collect::<Vec<_>>(),
    })
}

fn to_text(verified: &Verified, snapshots: &[CheckedSnapshot]) -> String {
    let (end, t) = (&verified.end, &verified.end.totals);
    let table = [
        ("verdict", format!("everything holds, {}", verified.trust)),
        ("chain id", end.chain.0.to_string()),
        ("height", end.height.to_string()),
        (
            "records",
            format!(
                "{} ({} registrations, {} envelopes with {} leaves, {} reveals, {} ticks)",
                t.records, t.registrations, t.envelopes, t.leaves, t.reveals, t.ticks
            ),
        ),
        ("signatures", format!("{} verified", verified.signatures)),
        ("state root", end.state_root.to_string()),
        ("ledger root", end.ledger_root.to_string()),
        (
            "checked",
            "bytes, chain, commits, signatures, records, state roots, parameters, time, event counts".to_owned(),
        ),
        ("event roots", verified.event_roots.to_string()),
        (
            "snapshots",
            match (
                snapshots.iter().filter(|(_, _, held)| held.is_ok()).count(),
                snapshots.len(),
            ) {
                (_, 0) => "none".to_owned(),
                (held, all) => format!("{held} of {all} hold: state and root are their block's"),
            },
        ),
    ];
    rows(&table)
}
