//! The table, the warnings, and one JSON line per figure.

use crate::load::{Latencies, Measured};
use crate::site::Site;
use crate::{Args, Error};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use wattbook_node::present::iso8601;
use wattbook_types::{Reject, TimeNs};

/// Percentiles shown and recorded.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// A generator this late at its 99th percentile spoils the schedule, ns.
const LATE_MAX: u64 = 1_000_000;

/// What is shown on stdout.
pub(crate) fn table(args: &Args, measured: &Measured) -> String {
    let mut text = format!(
        "{} clients, {} envelopes/s ({:?}), {} leaves each, {} s\n\nlatency, us",
        args.clients, args.rate, args.arrivals, args.leaves, args.seconds
    );
    for (name, _) in PERCENTILES {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name:>12}");
    }
    let _ = writeln!(text, "{:>12}{:>12}", "max", "samples");
    let rows = [
        ("matched", &measured.matched),
        ("durable", &measured.durable),
        ("sent late", &measured.late),
    ];
    for (name, latencies) in rows {
        let _ = write!(text, "{name:<11}");
        for (_, quantile) in PERCENTILES {
            let _ = write!(text, "{:>12}", micros(latencies.value_at_quantile(quantile)));
        }
        let _ = writeln!(text, "{:>12}{:>12}", micros(latencies.max()), latencies.len());
    }
    let items: u64 = measured.accepted + measured.rejected.values().sum::<u64>();
    let _ = writeln!(
        text,
        "\nanswered   {} of {} envelopes, {}/s\nitems      {items}, {}/s; {} accepted",
        measured.answered(),
        measured.scheduled,
        measured.per_second(measured.answered()),
        measured.per_second(items),
        measured.accepted,
    );
    for (what, counts) in [("rejected", &measured.rejected), ("refused", &measured.refused)] {
        for (code, count) in counts {
            let name = Reject::from_code(*code).map_or("", Reject::name);
            let _ = writeln!(text, "{what:<10} {count} {name} ({code})");
        }
    }
    text
}

/// Microseconds with one decimal.
fn micros(nanos: u64) -> String {
    format!("{}.{}", nanos / 1_000, nanos / 100 % 10)
}

/// Where the figures would lie.
pub(crate) fn warnings(args: &Args, site: &Site, measured: &Measured) -> Vec<String> {
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push("debug build: run `cargo build --release -p wattbook-node -p wattbook-perf`".to_owned());
    }
    let late = measured.late.value_at_quantile(0.99);
    if late > LATE_MAX {
        warnings.push(format!(
            "the generator was late: p99 {} us behind its schedule, which the latencies include; lower --rate or give it a core",
            micros(late)
        ));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    if measured.busy_before * 2 > cores * 100 {
        let (whole, part) = (measured.busy_before / 100, measured.busy_before % 100);
        warnings.push(format!(
            "the machine was busy before the run: load average {whole}.{part:02} on {cores} cores"
        ));
    }
    if !site.addr.ip().is_loopback() {
        warnings.push(format!(
            "the node at {} is not on this machine: the network is part of every latency",
            site.addr
        ));
    }
    if let Some(filesystem) = site.dir.as_deref().and_then(memory_filesystem) {
        warnings.push(format!(
            "the ledger lies on {filesystem}, so durable costs nothing; give --dir on a disk"
        ));
    }
    let answered = measured.answered() + measured.refused.values().sum::<u64>();
    if answered < measured.scheduled {
        warnings.push(format!(
            "{} envelopes were never answered",
            measured.scheduled - answered
        ));
    }
    if measured.per_second(measured.answered()) * 20 < u64::from(args.rate) * 19 {
        warnings.push("the node answers fewer than it is sent: latencies grow with the length of the run".to_owned());
    }
    // A cancel that comes after the fill of its order is part of the flow.
    let strange: u64 = measured
        .rejected
        .iter()
        .filter(|(code, _)| **code != Reject::UnknownOrder.code())
        .map(|(_, n)| n)
        .sum();
    let refused: u64 = measured.refused.values().sum();
    if strange + refused > 0 {
        warnings.push(format!(
            "{strange} items and {refused} envelopes were refused; the table names the codes"
        ));
    }
    warnings.extend(measured.lost.iter().map(|lost| format!("a session was lost: {lost}")));
    warnings
}

/// The file system of `dir` if it lives in memory.
fn memory_filesystem(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let (_, kind) = mounts
        .filter(|(point, _)| dir.starts_with(point))
        .max_by_key(|(point, _)| point.len())?;
    matches!(kind, "tmpfs" | "ramfs").then(|| kind.to_owned())
}

/// Appends one line per figure.
pub(crate) fn record(args: &Args, measured: &Measured) -> Result<(), Error> {
    let path = args.results.join(format!("{}.jsonl", args.bench));
    let (commit, machine) = (commit(), machine());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let when = iso8601(TimeNs::from_secs(now.as_secs()));
    let mut lines = String::new();
    let mut put = |metric: &str, value: u64, unit: &str, ratio_to: Option<(&str, f64)>, samples: u64| {
        let line = json!({
            "bench": args.bench, "metric": metric, "value": value, "unit": unit,
            "ratio": ratio_to.map(|(_, ratio)| ratio), "ratio_to": ratio_to.map(|(to, _)| to),
            "samples": samples, "commit": commit, "machine": machine, "when": when,
        });
        let _ = writeln!(lines, "{line}");
    };
    for (name, latencies) in [("matched", &measured.matched), ("durable", &measured.durable)] {
        for (percentile, value) in figures(latencies) {
            put(
                &format!("{name}_latency_{percentile}"),
                value,
                "ns",
                None,
                latencies.len(),
            );
        }
    }
    let (answered, scheduled) = (measured.answered(), measured.scheduled);
    let items = measured.accepted + measured.rejected.values().sum::<u64>();
    put(
        "envelopes_answered",
        measured.per_second(answered),
        "1/s",
        Some(("offered", share(answered, scheduled))),
        answered,
    );
    put("items_answered", measured.per_second(items), "1/s", None, items);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|source| Error::Record {
            path: path.clone(),
            source,
        })?;
    file.write_all(lines.as_bytes())
        .map_err(|source| Error::Record { path, source })
}

#[expect(clippy::float_arithmetic, reason = "a ratio of a measurement, not state")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn figures(latencies: &Latencies) -> Vec<(&'static str, u64)> {
    let mut figures: Vec<_> = PERCENTILES
        .map(|(name, quantile)| (name, latencies.value_at_quantile(quantile)))
        .into();
    figures.push(("max", latencies.max()));
    figures
}

/// Commit of the checkout, with `+` if something in it has changed.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(args)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(hash) => {
            let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
            if changed { hash + "+" } else { hash }
        }
        None => "unknown".to_owned(),
    }
}

/// Processor, cores, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {cores} cores, Linux {}",
        model.unwrap_or("unknown processor"),
        kernel.trim()
    )
}
