//! The figures of the write path: what an append costs, and what a commit takes beside a bare sync of the same size.
//!
//! Prints a table and appends one JSON line a figure to the file named by `--out`. The ledger lies in `target`, or where
//! `TMPDIR` says. An append is frame, checksum and copy; the record tree is its own row, for the seal stage hashes it
//! when the block ends.
#![allow(missing_docs, reason = "a bench has no public items")]
#![allow(
    clippy::float_arithmetic,
    clippy::unwrap_used,
    reason = "figures are ratios, and a bench fails where it stands"
)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use wattbook_ledger::{BlockDraft, GenesisRoots, GroupPolicy, Options, Record, Store};
use wattbook_types::{Hash, TimeNs};

/// Records of one append run; with 64 to 128 bytes each they stay within one segment.
const RECORDS: usize = 1_500_000;
const SEGMENT: u64 = 256 << 20;
const APPEND_RUNS: usize = 5;
/// A commit's block, half of what the bare sync moves: an arrival shares its group with one other.
const BLOCK: usize = 8 << 10;
const COMMITS: usize = 200;
const COMMIT_RUNS: usize = 5;

struct Figure {
    bench: &'static str,
    metric: &'static str,
    value: f64,
    unit: &'static str,
    ratio: Option<(f64, &'static str)>,
    samples: usize,
}

fn folder() -> tempfile::TempDir {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    let parent = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from(target), PathBuf::from);
    std::fs::create_dir_all(&parent).unwrap();
    tempfile::tempdir_in(parent).unwrap()
}

fn store(dir: &tempfile::TempDir) -> Store {
    let (zero, options) = (Hash::ZERO, Options { segment_size: SEGMENT });
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
    }
}

/// Nanoseconds of appending, and of the record tree.
fn append(warm: bool) -> (f64, f64) {
    let dir = folder();
    let mut store = store(&dir);
    if warm {
        store.start_ahead().unwrap();
    }
    let payloads: Vec<u8> = (0..1u32 << 16)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let started = Instant::now();
    for i in 0..RECORDS {
        let (from, len) = ((i * 61) & 0x7fff, 64 + (i * 29) % 65);
        let record = Record {
            kind: 1,
            version: 1,
            seq: 1 + i as u64,
            payload: &payloads[from..from + len],
        };
        store.append_record(&record).unwrap();
    }
    let appended = started.elapsed();
    let started = Instant::now();
    store.append_block(&draft(&[])).unwrap();
    (appended.as_nanos() as f64, started.elapsed().as_nanos() as f64)
}

/// Latencies of a bare sync, us: a file whose blocks are written already, so that a sync moves no metadata.
fn bare(file: &File, at: &mut u64) -> Vec<f64> {
    let bytes = vec![7; 2 * BLOCK];
    (0..COMMITS)
        .map(|_| {
            file.write_all_at(&bytes, *at).unwrap();
            *at += bytes.len() as u64;
            let started = Instant::now();
            file.sync_data().unwrap();
            started.elapsed().as_nanos() as f64 / 1e3
        })
        .collect()
}

/// Latencies from a block's arrival, fixed in advance, until it is durable, us.
fn committed(interval: Duration) -> Vec<f64> {
    let dir = folder();
    let mut store = store(&dir);
    store.start_ahead().unwrap();
    let mut committer = store.split(GroupPolicy::default()).unwrap();
    let times = std::thread::spawn(move || {
        let mut done = Vec::new();
        while let Some(group) = committer.commit().unwrap() {
            let now = Instant::now();
            done.extend(group.iter().map(|_| now));
        }
        done
    });
    let payload = vec![7; BLOCK];
    let begun = Instant::now() + Duration::from_millis(5);
    let mut due = Vec::new();
    for i in 0..COMMITS as u32 {
        let arrival = begun + interval * i;
        while Instant::now() < arrival {
            std::thread::yield_now();
        }
        due.push(arrival);
        let record = Record {
            kind: 1,
            version: 1,
            seq: store.next_seq(),
            payload: &payload,
        };
        store.append_block(&draft(&[record])).unwrap();
    }
    drop(store);
    let done = times.join().unwrap();
    due.iter()
        .zip(done)
        .map(|(due, done)| (done - *due).as_nanos() as f64 / 1e3)
        .collect()
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
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
    let mut figures = Vec::new();
    for (bench, warm) in [("ledger/append/cold", false), ("ledger/append/warm", true)] {
        let mut runs: Vec<(f64, f64)> = (0..APPEND_RUNS).map(|_| append(warm)).collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (appended, rooted) = runs[APPEND_RUNS / 2];
        let rate = |ns: f64| RECORDS as f64 * 1e9 / ns;
        let figure = |metric, value| Figure {
            bench,
            metric,
            value,
            unit: "1/s",
            ratio: None,
            samples: APPEND_RUNS,
        };
        figures.push(figure("records", rate(appended)));
        figures.push(figure("records_with_record_root", rate(appended + rooted)));
    }
    let dir = folder();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(dir.path().join("bare"))
        .unwrap();
    let size = COMMITS * COMMIT_RUNS * 2 * BLOCK + 2 * COMMITS * BLOCK;
    file.write_all_at(&vec![0; size], 0).unwrap();
    file.sync_all().unwrap();
    let (mut at, mut base, mut ours) = (0, Vec::new(), Vec::new());
    let mut first = bare(&file, &mut at);
    first.sort_by(f64::total_cmp);
    let interval = Duration::from_nanos((percentile(&first, 50) * 500.0) as u64);
    for _ in 0..COMMIT_RUNS {
        base.extend(bare(&file, &mut at));
        ours.extend(committed(interval));
    }
    base.sort_by(f64::total_cmp);
    ours.sort_by(f64::total_cmp);
    for (metric, base_metric, percent) in [
        ("latency_p50", "fdatasync_p50", 50),
        ("latency_p99", "fdatasync_p99", 99),
    ] {
        let (value, bare) = (percentile(&ours, percent), percentile(&base, percent));
        let figure = |metric, value, ratio, samples| Figure {
            bench: "ledger/commit",
            metric,
            value,
            unit: "us",
            ratio,
            samples,
        };
        figures.push(figure(base_metric, bare, None, base.len()));
        figures.push(figure(metric, value, Some((value / bare, base_metric)), ours.len()));
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
