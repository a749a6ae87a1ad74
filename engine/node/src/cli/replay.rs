//! `wattbook replay`: the state rebuilt from a ledger.

use super::verify::{emit, progress_bar, refuse, rows};
use crate::audit::{self, ReplayError};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wattbook_ledger::Reader;

/// Rebuilds the state from a ledger, beside a running node or offline; every state root must come out again.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the ledger.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder of the segments that `wattbook retain` moved off.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let bar = progress_bar(&args.dir);
    let replayed = audit::replay_in(&args.dir, args.archive.as_deref(), |height| {
        bar.set_position(height + 1)
    });
    bar.finish_and_clear();
    let end = match replayed {
        Ok(end) => end,
        Err(ReplayError::Finding(finding)) => return refuse(&finding, args.json),
        Err(error @ ReplayError::Ledger(_)) => return super::fail(&error),
    };
    if let Ok(reader) = Reader::open_in(&args.dir, args.archive.as_deref()) {
        super::say_left_over(&reader);
    }
    if args.json {
        let out = json!({
            "height": end.height,
            "records": end.totals.records,
            "state_root": end.state_root.to_string(),
            "ledger_root": end.ledger_root.to_string(),
        });
        emit(&format!("{out}\n"))
    } else {
        let table = [
            ("height", end.height.to_string()),
            ("records", end.totals.records.to_string()),
            ("state root", end.state_root.to_string()),
            ("ledger root", end.ledger_root.to_string()),
        ];
        emit(&rows(&table))
    }
}
