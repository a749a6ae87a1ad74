//! The log: one JSON line a run, with its counts and the totals of all runs so far.

use super::Counts;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is counted, in the order of the log.
const COUNTS: [&str; 8] = [
    "minutes",
    "fuzz",
    "kills",
    "flips",
    "simulation",
    "lives",
    "committees",
    "findings",
];

/// Totals of the newest line; empty without a log.
///
/// # Errors
/// The log cannot be read, or its last line is no line of ours.
pub(crate) fn totals(log: &Path) -> io::Result<Map<String, Value>> {
    let text = match fs::read_to_string(log) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(error),
    };
    let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) else {
        return Ok(Map::new());
    };
    let parsed: Value = serde_json::from_str(line)?;
    match parsed.get("totals").and_then(Value::as_object) {
        Some(totals) => Ok(totals.clone()),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the last line has no `totals`",
        )),
    }
}

/// Sum of two counts: numbers, or objects of counts.
fn sum(before: Option<&Value>, now: &Value) -> Value {
    match now {
        Value::Object(now) => {
            let mut all = before.and_then(Value::as_object).cloned().unwrap_or_default();
            for (key, value) in now {
                let value = sum(all.get(key), value);
                all.insert(key.clone(), value);
            }
            Value::Object(all)
        }
        _ => json!(before.and_then(Value::as_u64).unwrap_or(0) + now.as_u64().unwrap_or(0)),
    }
}

/// The line of a run that began at `commit`.
pub(crate) fn line(commit: &str, seed: u64, counts: &Counts, before: &Map<String, Value>) -> Value {
    let (simulated, agreed) = (&counts.simulation, &counts.committees);
    let mut line = json!({
        "when": utc(),
        "commit": commit,
        "seed": seed,
        "minutes": counts.minutes,
        "fuzz": counts.fuzz,
        "kills": counts.kills,
        "flips": counts.flips,
        "simulation": {
            "seeds": simulated.seeds, "commands": simulated.commands, "blocks": simulated.blocks,
        },
        "lives": counts.lives,
        "committees": {
            "seeds": agreed.seeds, "blocks": agreed.blocks, "crashes": agreed.crashes, "liars": agreed.liars,
            "certificates": agreed.certificates, "seconds": agreed.seconds,
        },
        "findings": counts.findings,
    });
    let totals: Map<String, Value> = COUNTS
        .iter()
        .map(|key| ((*key).to_owned(), sum(before.get(*key), &line[*key])))
        .collect();
    line["totals"] = Value::Object(totals);
    line
}

/// Appends a line.
///
/// # Errors
/// The log cannot be written.
pub(crate) fn append(log: &Path, line: &Value) -> io::Result<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = fs::OpenOptions::new().append(true).create(true).open(log)?;
    writeln!(file, "{line}")
}

/// The commit of the checkout, `+` behind it with changes.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args(args)
            .output()
            .ok()
            .filter(|done| done.status.success())?;
        String::from_utf8(done.stdout).ok()
    };
    let Some(head) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".into();
    };
    let clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    format!("{}{}", head.trim(), if clean { "" } else { "+" })
}

/// Now, as in `2016-06-14T00:00:00Z`.
fn utc() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, second) = (now / 86_400, now % 86_400);
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
