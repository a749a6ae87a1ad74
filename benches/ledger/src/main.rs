//! What a ledger costs its node, and those who read it: replay, export, coming back from a snapshot, proofs.
//!
//! One module a figure; each prints its rows and appends one JSON line per figure to `ledger.jsonl`. Two ledgers are
//! written, a small one and a big one, when the first figure needs them.

#![allow(clippy::float_arithmetic, reason = "figures are rates and ratios")]

mod day;
mod export;
mod proof;
mod replay;
mod report;
mod restart;

use clap::Parser;
use report::Figure;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures the ledger.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Folder of the ledgers; default: the system's temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Size of the big ledger, which is restarted and proved from, MiB.
    #[arg(long, default_value_t = 5 * 1024, value_name = "MIB")]
    restart_mib: u64,
    /// Records of the small ledger, which is replayed and exported.
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

type Run = fn(&Args, &Path) -> Result<Vec<Figure>, Box<dyn std::error::Error>>;

/// Which ledger a figure is of.
#[derive(Clone, Copy)]
enum Of {
    Small,
    Big,
}

fn main() -> ExitCode {
    let args = Args::parse();
    report::warn();
    match measure(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-ledger: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let (small, big) = (tempfile::tempdir_in(&parent)?, tempfile::tempdir_in(&parent)?);
    // A restart comes before the proofs: it writes the big ledger with its snapshot.
    let all: [(&str, Run, Of); 4] = [
        ("ledger/replay", replay::run, Of::Small),
        ("ledger/export", export::run, Of::Small),
        ("ledger/restart", restart::run, Of::Big),
        ("ledger/proof", proof::run, Of::Big),
    ];
    for (name, run, of) in all {
        if !name.contains(&args.only) {
            continue;
        }
        let dir = match of {
            Of::Small => small.path(),
            Of::Big => big.path(),
        };
        let figures = run(args, dir).map_err(|error| format!("{name}: {error}"))?;
        report::record(&args.results, &figures)?;
    }
    Ok(())
}
