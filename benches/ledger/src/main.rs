//! What a ledger costs its node: replaying it, and coming back from a snapshot.
//!
//! One module a figure; each prints its rows and appends one JSON line per figure to `ledger.jsonl`.

#![allow(clippy::float_arithmetic, reason = "figures are rates and ratios")]

mod day;
mod replay;
mod report;
mod restart;

use clap::Parser;
use report::Figure;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the ledger.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Folder of the ledgers; default: the system's temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Size of the ledger that is restarted, MiB.
    #[arg(long, default_value_t = 5 * 1024, value_name = "MIB")]
    restart_mib: u64,
    /// Records of the ledger that is replayed.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    replay_records: u64,
    /// Accounts that send in turn.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    accounts: u64,
    /// Only figures whose names contain this.
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Folder whose ledger.jsonl the figures are appended to.
    #[arg(long, default_value = "perf/results", value_name = "DIR")]
    results: PathBuf,
}

type Run = fn(&Args) -> Result<Vec<Figure>, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args = Args::parse();
    report::warn();
    let all: [(&str, Run); 2] = [("ledger/replay", replay::run), ("ledger/restart", restart::run)];
    for (name, run) in all {
        if !name.contains(&args.only) {
            continue;
        }
        let recorded = run(&args).and_then(|figures| Ok(report::record(&args.results, &figures)?));
        if let Err(error) = recorded {
            eprintln!("bench-ledger: {name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
