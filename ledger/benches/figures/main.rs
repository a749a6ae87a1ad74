//! The figures of the write path: what an append costs, what a commit takes beside a bare sync of the same size, and how
//! much of the disk's own rate a stream of blocks reaches.
//!
//! Prints a table and appends one JSON line a figure to the file named by `--out`; `append` or `commit` runs that half
//! only. The ledger lies in `target`, or where `TMPDIR` says.
#![allow(missing_docs, reason = "a bench has no public items")]
#![allow(
    clippy::float_arithmetic,
    clippy::unwrap_used,
    reason = "figures are ratios, and a bench fails where it stands"
)]

mod append;
mod commit;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use ed25519_dalek::SigningKey;
use wattbook_ledger::{BlockDraft, GenesisRoots, Options, Record, Store};
use wattbook_types::{Hash, TimeNs};

struct Figure {
    bench: &'static str,
    metric: &'static str,
    value: f64,
    unit: &'static str,
    ratio: Option<(f64, &'static str)>,
    samples: usize,
}

impl Figure {
    const fn new(bench: &'static str, metric: &'static str, value: f64, unit: &'static str, samples: usize) -> Self {
        Self {
            bench,
            metric,
            value,
            unit,
            ratio: None,
            samples,
        }
    }
}

fn folder() -> tempfile::TempDir {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    let parent = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from(target), PathBuf::from);
    std::fs::create_dir_all(&parent).unwrap();
    tempfile::tempdir_in(parent).unwrap()
}

fn store(dir: &tempfile::TempDir, segment_size: u64) -> Store {
    let (zero, options) = (Hash::ZERO, Options { segment_size });
    let roots = GenesisRoots {
        time_ns: TimeNs::new(1),
        state_root: zero,
        event_root: zero,
        params_hash: zero,
        dpos_hash: zero,
    };
    Store::create(
        dir.path(),
        b"a bench",
        &SigningKey::from_bytes(&[1; 32]),
        options,
        roots,
    )
    .unwrap()
}

fn draft<'a>(records: &'a [Record<'a>]) -> BlockDraft<'a> {
    BlockDraft {
        time_ns: TimeNs::new(1),
        records,
        event_count: 0,
        event_root: Hash::ZERO,
        state_root: Hash::ZERO,
        params_hash: Hash::ZERO,
        dpos_hash: Hash::ZERO,
        lead: None,
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(
        |_| "unknown".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let out = args
        .iter()
        .position(|arg| arg == "--out")
        .and_then(|at| args.get(at + 1));
    let only = |half: &str| args.iter().any(|arg| arg == half);
    let mut figures = Vec::new();
    if !only("commit") {
        append::figures(&mut figures);
    }
    if !only("append") {
        commit::figures(&mut figures);
    }
    let (commit, when) = (
        said("git", &["describe", "--always", "--exclude=*", "--dirty", "--abbrev=7"]),
        said("date", &["-u", "+%FT%TZ"]),
    );
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = format!("{}, {cores} cores", model.unwrap_or("unknown processor"));
    let mut file = out.map(|path| OpenOptions::new().create(true).append(true).open(path).unwrap());
    for figure in &figures {
        let Figure {
            bench,
            metric,
            value,
            unit,
            ratio,
            samples,
        } = figure;
        let (ratio, ratio_to) = ratio.unzip();
        let ratio = ratio.map(|ratio: f64| (ratio * 1000.0).round() / 1000.0);
        println!(
            "{bench:20} {metric:26} {value:14.1} {unit:4} {}",
            ratio.map_or(String::new(), |r| format!("{r}x"))
        );
        let line = serde_json::json!({
            "bench": bench, "metric": metric, "value": (value * 10.0).round() / 10.0, "unit": unit, "ratio": ratio,
            "ratio_to": ratio_to, "samples": samples, "commit": commit, "machine": machine, "when": when,
        });
        if let Some(file) = &mut file {
            writeln!(file, "{line}").unwrap();
        }
    }
}
