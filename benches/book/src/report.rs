//! The table, the warnings, and one JSON line per figure and rival.

#![expect(clippy::float_arithmetic, reason = "figures of a measurement, not state")]

use crate::Error;
use crate::flow::Class;
use crate::measure::{Measured, PERCENTILES, READINGS, quantile};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a row may be set against.
pub(crate) const RIVALS: [&str; 3] = ["base", "orderbook-rs", "matchcore"];

/// One figure.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    /// Name of the row.
    pub(crate) bench: String,
    pub(crate) metric: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// How many times as good as a rival of the same run, and which.
    pub(crate) ratio: Option<(f64, &'static str)>,
    /// Measurements behind it.
    pub(crate) samples: usize,
}

/// The figure of `of` in each rival's row: `base/standard/events` for `book/standard/events`, `matchcore/standard` for any
/// row of the standard flow. A row is not set against itself, a rival only against the base.
pub(crate) fn rivals_of<'a>(of: &Measured, all: &'a [Measured]) -> Vec<(&'static str, &'a Measured)> {
    let (room, case) = of.row.split_once('/').unwrap_or((of.row, ""));
    let flow = case.split('/').next().unwrap_or(case);
    let silent = case.ends_with("silent");
    let base = format!("base/{flow}/{}", if silent { "silent" } else { "events" });
    let row_of = |rival: &str| match rival {
        "base" => base.clone(),
        _ => format!("{rival}/{flow}"),
    };
    RIVALS
        .into_iter()
        .filter(|rival| *rival != room && room != "base" && (room == "book" || *rival == "base"))
        .filter_map(|rival| {
            let row = row_of(rival);
            let measured = all.iter().find(|measured| measured.row == row)?;
            Some((rival, measured))
        })
        .collect()
}

/// The figures of the rows of flows.
pub(crate) fn figures(all: &[Measured], reading_ns: u64) -> Vec<Figure> {
    let mut figures = Vec::new();
    for measured in all {
        let figure = |metric: &str, value: f64, unit, ratio, samples| Figure {
            bench: measured.row.to_owned(),
            metric: metric.to_owned(),
            value,
            unit,
            ratio,
            samples,
        };
        let rivals = rivals_of(measured, all);
        let ratios = rivals
            .iter()
            .map(|(to, rival)| Some((rival.median_ns() / measured.median_ns(), *to)));
        let alone = rivals.is_empty().then_some(None);
        for ratio in ratios.chain(alone) {
            let per_second = (1e9 / measured.median_ns()).round();
            figures.push(figure("operations", per_second, "1/s", ratio, measured.op_ns.len()));
        }
        for class in Class::ALL {
            let samples = &measured.latency_ns[class as usize];
            for (name, percentile) in PERCENTILES {
                let Some(value) = quantile(samples, percentile) else {
                    continue;
                };
                let of_rival = |(to, rival): &(&'static str, &Measured)| {
                    let theirs = quantile(&rival.latency_ns[class as usize], percentile)?;
                    Some(Some((theirs as f64 / value.max(1) as f64, *to)))
                };
                for ratio in rivals.iter().filter_map(of_rival).chain(alone) {
                    let metric = format!("{}_latency_{name}", class.name());
                    figures.push(figure(&metric, value as f64, "ns", ratio, samples.len()));
                }
            }
        }
    }
    if !all.is_empty() {
        figures.push(Figure {
            bench: "timer".to_owned(),
            metric: "latency_p50".to_owned(),
            value: reading_ns as f64,
            unit: "ns",
            ratio: None,
            samples: READINGS,
        });
    }
    figures
}

/// Rows of flows, as shown on stdout.
pub(crate) fn table(all: &[Measured], reading_ns: u64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{:<28}{:>10}{:>10}{:>9}{:>18}",
        "row", "of ops", "M ops/s", "ns/op", "min..max"
    );
    for rival in RIVALS {
        let _ = write!(text, "{:>16}", format!("x {rival}"));
    }
    text.push('\n');
    for measured in all {
        let range = format!("{:.1}..{:.1}", measured.least_ns(), measured.greatest_ns());
        let median = measured.median_ns();
        let _ = write!(
            text,
            "{:<28}{:>10}{:>10.3}{median:>9.1}{range:>18}",
            measured.row,
            measured.len,
            1e3 / median
        );
        let rivals = rivals_of(measured, all);
        for rival in RIVALS {
            let against = rivals.iter().find(|(name, _)| *name == rival);
            let ratio = against.map_or("-".to_owned(), |(_, theirs)| {
                format!("{:.3}", theirs.median_ns() / median)
            });
            let _ = write!(text, "{ratio:>16}");
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nlatency, ns, {reading_ns} ns of the timer's own in each\n{:<28}{:>26}{:>26}{:>26}",
        "p50 / p99 / p99.9", "passive", "cancel", "aggressive"
    );
    for measured in all {
        let _ = write!(text, "{:<28}", measured.row);
        for class in Class::ALL {
            let samples = &measured.latency_ns[class as usize];
            let values = PERCENTILES.map(|(_, percentile)| quantile(samples, percentile));
            let values = values.map(|value| value.map_or("-".to_owned(), |value| value.to_string()));
            let _ = write!(text, "{:>26}", values.join(" / "));
        }
        text.push('\n');
    }
    text
}

/// Rows that do not trade as a right book does.
pub(crate) fn wrong(all: &[Measured]) -> Vec<String> {
    all.iter()
        .filter(|measured| !measured.is_right())
        .map(|measured| {
            let (totals, expected) = (measured.totals, measured.expected);
            let cause = match measured.row.split('/').next() {
                Some("matchcore") => "; as published it ignores the limit of a crossing order",
                _ => "",
            };
            format!(
                "{} trades wrongly: {} trades, volume {}; right are {} and {}{cause}",
                measured.row, totals.trades, totals.volume, expected.trades, expected.volume
            )
        })
        .collect()
}

/// Figures that stand alone, as shown on stdout.
pub(crate) fn list(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let Figure {
            bench,
            metric,
            value,
            unit,
            samples,
            ..
        } = figure;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{bench:<46}{metric:<24}{value:>16.1} {unit:<4} of {samples}");
    }
    text
}

/// Where the figures would lie.
pub(crate) fn warnings() -> Vec<String> {
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push("debug assertions are on: run `make bench-book`, which builds with --release".to_owned());
    }
    if !cfg!(feature = "rivals") {
        warnings.push("built without the rivals: run `make bench-book`, or add --features rivals".to_owned());
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy: f64 = load
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_default();
    if busy > 0.5 {
        warnings.push(format!("the machine was busy before the run: load average {busy:.2}"));
    }
    warnings
}

/// Appends one line per figure to `dir/book.jsonl`.
pub(crate) fn record(dir: &Path, figures: &[Figure]) -> Result<(), Error> {
    let path = dir.join("book.jsonl");
    let (commit, machine, when) = (commit(), machine(), utc());
    let mut lines = String::new();
    for figure in figures {
        let line = json!({
            "bench": figure.bench, "metric": figure.metric, "value": figure.value, "unit": figure.unit,
            "ratio": figure.ratio.map(|(ratio, _)| ratio), "ratio_to": figure.ratio.map(|(_, to)| to),
            "samples": figure.samples, "commit": commit, "machine": machine, "when": when,
        });
        let _ = writeln!(lines, "{line}");
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(|source| Error::Record { path, source })
}

/// Commit of the checkout, with `-dirty` if something in it has changed.
fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--exclude=*", "--dirty", "--abbrev=7"])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Processor and cores.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1))
        .collect();
    let model = models.first().unwrap_or(&"unknown processor");
    format!("{model}, {} cores", models.len().max(1))
}

/// Now, as in `2016-06-14T00:00:00Z` (RFC 3339).
fn utc() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    // Days to date, with years that begin in March (H. Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}
