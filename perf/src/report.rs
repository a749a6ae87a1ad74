//! The table of a load, the warnings, and one JSON line a figure.

use crate::Error;
use crate::load::{Latencies, Measured};
use crate::site::Site;
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
pub(crate) const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];
/// A generator this late at its 99th percentile spoils the schedule, ns.
const LATE_MAX: u64 = 1_000_000;
/// A disk that synchronises faster than this at the median does not wait for its medium, ns.
const SYNC_MIN: u64 = 20_000;

/// One figure of a benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Name of the benchmark.
    pub(crate) bench: String,
    /// What was measured.
    pub(crate) metric: String,
    /// How much.
    pub(crate) value: u64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// As a share of what.
    pub(crate) ratio: Option<(f64, &'static str)>,
    /// How often.
    pub(crate) samples: u64,
}

/// What is shown on stdout.
pub(crate) fn table(measured: &Measured) -> String {
    let mut text = "\nlatency, us".to_owned();
    for (name, _) in PERCENTILES {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name:>12}");
    }
    let _ = writeln!(text, "{:>12}{:>12}", "max", "samples");
    let whole = &measured.taken.whole;
    let rows = [
        ("accepted", &whole.accepted),
        ("matched", &whole.matched),
        ("durable", &whole.durable),
        ("sent late", &measured.late),
    ];
    for (name, latencies) in rows {
        let _ = write!(text, "{name:<11}");
        for (_, quantile) in PERCENTILES {
            let _ = write!(text, "{:>12}", micros(latencies.value_at_quantile(quantile)));
        }
        let _ = writeln!(text, "{:>12}{:>12}", micros(latencies.max()), latencies.len());
    }
    let _ = writeln!(
        text,
        "\nanswered   {} of {} envelopes, {}/s\nitems      {}, {}/s; {} accepted",
        measured.answered(),
        measured.scheduled,
        measured.per_second(measured.answered()),
        measured.items(),
        measured.per_second(measured.items()),
        measured.taken.accepted_items,
    );
    for (what, counts) in [
        ("rejected", &measured.taken.rejected),
        ("refused", &measured.taken.refused),
    ] {
        for (code, count) in counts {
            let name = Reject::from_code(*code).map_or("", Reject::name);
            let _ = writeln!(text, "{what:<10} {count} {name} ({code})");
        }
    }
    text
}

/// Microseconds with one decimal.
pub(crate) fn micros(nanos: u64) -> String {
    format!("{}.{}", nanos / 1_000, nanos / 100 % 10)
}

/// Where the figures of a run would lie; `rate` is what was offered in open loop.
pub(crate) fn warnings(rate: Option<u32>, site: &Site, measured: &Measured) -> Vec<String> {
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push("debug build: run `cargo build --release -p wattbook-node -p wattbook-perf`".to_owned());
    }
    let late = measured.late.value_at_quantile(0.99);
    if late > LATE_MAX {
        warnings.push(format!(
            "the generator was late: p99 {} us behind its schedule, which the latencies include; lower the rate or give it a core",
            micros(late)
        ));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    if measured.busy_before * 2 > cores * 100 && rate.is_none() {
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
    if std::env::var_os("LD_PRELOAD").is_some_and(|preload| preload.to_string_lossy().contains("eatmydata")) {
        warnings.push("libeatmydata is preloaded: no synchronisation reaches the disk".to_owned());
    }
    let refused: u64 = measured.taken.refused.values().sum();
    let answered = measured.answered() + refused;
    if answered < measured.scheduled {
        warnings.push(format!(
            "{} envelopes were never answered",
            measured.scheduled - answered
        ));
    }
    if let Some(rate) = rate
        && measured.per_second(measured.answered()) * 20 < u64::from(rate) * 19
    {
        warnings.push("the node answers fewer than it is sent: latencies grow with the length of the run".to_owned());
    }
    // A cancel that comes after the fill of its order is part of the flow.
    let rejected = measured.taken.rejected.iter();
    let strange: u64 = rejected
        .filter(|(code, _)| **code != Reject::UnknownOrder.code())
        .map(|(_, n)| n)
        .sum();
    if strange + refused > 0 {
        warnings.push(format!(
            "{strange} items and {refused} envelopes were refused; the table names the codes"
        ));
    }
    warnings.extend(
        measured
            .taken
            .lost
            .iter()
            .map(|lost| format!("a session was lost: {lost}")),
    );
    warnings
}

/// Whether the disk under `latencies` of bare synchronisation waits for its medium.
pub(crate) fn warning_of_disk(bare: &Latencies) -> Option<String> {
    let median = bare.value_at_quantile(0.5);
    (median < SYNC_MIN).then(|| {
        format!(
            "a bare fdatasync takes {} us: this disk does not wait for its medium, so durable costs nothing",
            micros(median)
        )
    })
}

/// Percentiles of latencies, as figures.
pub(crate) fn figures_of(bench: &str, name: &str, latencies: &Latencies) -> Vec<Figure> {
    let at = |(percentile, quantile): (&str, f64)| (percentile.to_owned(), latencies.value_at_quantile(quantile));
    let mut values: Vec<_> = PERCENTILES.map(at).into();
    values.push(("max".to_owned(), latencies.max()));
    let figure = |(percentile, value): (String, u64)| Figure {
        bench: bench.to_owned(),
        metric: if name.is_empty() {
            percentile
        } else {
            format!("{name}_{percentile}")
        },
        value,
        unit: "ns",
        ratio: None,
        samples: latencies.len(),
    };
    values.into_iter().map(figure).collect()
}

/// The figures of one open-loop load.
pub(crate) fn figures_of_load(bench: &str, measured: &Measured) -> Vec<Figure> {
    let whole = &measured.taken.whole;
    let mut figures = Vec::new();
    for (name, latencies) in [
        ("accepted", &whole.accepted),
        ("matched", &whole.matched),
        ("durable", &whole.durable),
    ] {
        figures.extend(figures_of(bench, name, latencies));
    }
    let (answered, items) = (measured.answered(), measured.items());
    let mut rate = |metric: &str, count: u64, ratio| {
        figures.push(Figure {
            bench: bench.to_owned(),
            metric: metric.to_owned(),
            value: measured.per_second(count),
            unit: "1/s",
            ratio,
            samples: count,
        });
    };
    rate(
        "envelopes",
        answered,
        Some((share(answered, measured.scheduled), "offered")),
    );
    rate("items", items, None);
    figures
}

/// `part / whole`.
#[expect(clippy::float_arithmetic, reason = "a ratio of a measurement, not state")]
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64 * 1e4).round() / 1e4
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

/// Appends one line a figure.
pub(crate) fn append(path: &Path, figures: &[Figure]) -> Result<(), Error> {
    let (commit, machine, when) = (commit(), machine(), now());
    let mut lines = String::new();
    for figure in figures {
        let line = json!({
            "bench": figure.bench, "metric": figure.metric, "value": figure.value, "unit": figure.unit,
            "ratio": figure.ratio.map(|(ratio, _)| ratio), "ratio_to": figure.ratio.map(|(_, to)| to),
            "samples": figure.samples, "commit": commit, "machine": machine, "when": when,
        });
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{line}");
    }
    let fail = |source| Error::Record {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    file.write_all(lines.as_bytes()).map_err(fail)
}

/// The time, as ISO 8601.
pub(crate) fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    iso8601(TimeNs::from_secs(now.as_secs()))
}

/// Commit of the checkout, with `+` if something in it has changed.
pub(crate) fn commit() -> String {
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
pub(crate) fn machine() -> String {
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
