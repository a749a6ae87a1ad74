//! Figures: a line each on stdout, and one JSON object each in `ledger.jsonl`.

use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// One figure.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) bench: &'static str,
    pub(crate) metric: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// To what measured in the same run.
    pub(crate) ratio: Option<(f64, &'static str)>,
    pub(crate) samples: u64,
}

/// Says where the figures would lie.
pub(crate) fn warn() {
    if cfg!(debug_assertions) {
        eprintln!("bench-ledger: debug assertions are on: run `make bench-ledger`, which builds with --release");
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy: f64 = load
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_default();
    if busy > 0.5 {
        eprintln!("bench-ledger: the machine was busy before the run: load average {busy:.2}");
    }
}

/// Prints the figures and appends them to `dir/ledger.jsonl`.
pub(crate) fn record(dir: &Path, figures: &[Figure]) -> std::io::Result<()> {
    let (commit, machine, when) = (commit(), machine(), utc());
    std::fs::create_dir_all(dir)?;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("ledger.jsonl"))?;
    for figure in figures {
        let Figure {
            bench,
            metric,
            value,
            unit,
            ..
        } = figure;
        let ratio = figure
            .ratio
            .map_or_else(String::new, |(ratio, to)| format!("   {ratio:.2} of {to}"));
        println!("{bench:<20}{metric:<44}{value:>16.3} {unit:<10}{ratio}");
        let line = json!({
            "bench": bench, "metric": metric, "value": value, "unit": unit,
            "ratio": figure.ratio.map(|(ratio, _)| ratio), "ratio_to": figure.ratio.map(|(_, to)| to),
            "samples": figure.samples, "commit": commit, "machine": machine, "when": when,
        });
        writeln!(file, "{line}")?;
    }
    Ok(())
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
