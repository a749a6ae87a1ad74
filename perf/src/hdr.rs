//! Latencies as other tools read them: HdrHistogram interval logs (V2, deflated) and percentile tables (`.hgrm`).

use crate::Error;
use crate::load::{Latencies, Measured};
use crate::receive::{INTERVAL, Interval};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Divides the greatest value in a log's own column: ns to ms.
const MAX_DIVISOR: f64 = 1e6;
/// Steps of a percentile table between one halving of the distance to 100 % and the next.
const STEPS: u32 = 5;

/// A latency of an interval, by name.
type Pick = (&'static str, fn(&Interval) -> &Latencies);

/// Latencies that are written.
const LATENCIES: [Pick; 4] = [
    ("accepted", |interval| &interval.accepted),
    ("matched", |interval| &interval.matched),
    ("durable", |interval| &interval.durable),
    ("added", |interval| &interval.added),
];

/// Writes `NAME.hlog`, with the intervals of every latency under its tag, and `NAME-LATENCY.hgrm`.
pub(crate) fn write(dir: &Path, name: &str, measured: &Measured) -> Result<(), Error> {
    let name = name.replace('/', "-");
    let save = |path: std::path::PathBuf, bytes: &[u8]| {
        std::fs::write(&path, bytes).map_err(|source| Error::Record { path, source })
    };
    std::fs::create_dir_all(dir).map_err(|source| Error::Record {
        path: dir.to_owned(),
        source,
    })?;
    let log = log(measured).map_err(Error::io("histogram log"))?;
    save(dir.join(format!("{name}.hlog")), &log)?;
    for (latency, pick) in LATENCIES {
        let table = percentiles(pick(&measured.taken.whole));
        save(dir.join(format!("{name}-{latency}.hgrm")), table.as_bytes())?;
    }
    Ok(())
}

/// The interval log, values in ns.
fn log(measured: &Measured) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("latencies in ns; the greatest of an interval in ms")
        .with_start_time(measured.started)
        .with_base_time(measured.started)
        .with_max_value_divisor(MAX_DIVISOR);
    let mut writer = builder.begin_log_with(&mut bytes, &mut serializer)?;
    for (second, interval) in (0u64..).zip(&measured.taken.intervals) {
        for (name, pick) in LATENCIES {
            let (start, length) = (Duration::from_nanos(second * INTERVAL), Duration::from_nanos(INTERVAL));
            writer
                .write_histogram(pick(interval), start, length, Tag::new(name))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
    }
    Ok(bytes)
}

/// The percentile table in the format of the reference implementation, values in us.
#[expect(clippy::float_arithmetic, reason = "a measurement's presentation, not state")]
fn percentiles(latencies: &Latencies) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for step in latencies.iter_quantiles(STEPS) {
        let (value, quantile) = (step.value_iterated_to() as f64 / 1e3, step.quantile_iterated_to());
        let count = latencies.count_between(0, step.value_iterated_to());
        // Writing to a string cannot fail.
        let _ = write!(text, "{value:>12.3} {quantile:>2.12} {count:>10}");
        let _ = match quantile < 1.0 {
            true => writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile)),
            false => writeln!(text),
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]",
        latencies.mean() / 1e3,
        latencies.stdev() / 1e3
    );
    let _ = writeln!(
        text,
        "#[Max     = {:>12.3}, Total count    = {:>12}]",
        latencies.max() as f64 / 1e3,
        latencies.len()
    );
    let _ = writeln!(
        text,
        "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
        latencies.buckets(),
        // Three significant digits.
        2_048
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::latencies;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn measured() -> Measured {
        Measured {
            scheduled: 3,
            late: latencies(),
            taken: crate::receive::sample(&[(0, 1_000_000), (1, 2_000_000), (1, 9_000_000)]),
            used: crate::cpu::Used::new(),
            busy_before: 0,
            started: std::time::SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_log_reads_back() {
        let bytes = log(&measured()).unwrap();
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let Ok(LogEntry::Interval(interval)) = entry {
                let encoded = base64_decode(interval.encoded_histogram());
                let histogram: Latencies = Deserializer::new().deserialize(&mut encoded.as_slice()).unwrap();
                let tag = interval.tag().unwrap().as_str().to_owned();
                read.push((
                    tag,
                    interval.start_timestamp().as_secs(),
                    histogram.len(),
                    histogram.max(),
                ));
            }
        }
        let matched: Vec<_> = read.iter().filter(|(tag, ..)| tag == "matched").collect();
        assert_eq!(matched.len(), 2);
        assert_eq!((matched[0].1, matched[0].2), (0, 1));
        assert_eq!((matched[1].1, matched[1].2), (1, 2));
        assert!(matched[1].3.abs_diff(9_000_000) < 10_000, "{matched:?}");
    }

    fn base64_decode(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
        for c in text.bytes().filter(|c| *c != b'=') {
            let digit = ALPHABET.iter().position(|a| *a == c).unwrap() as u32;
            (bits, held) = ((bits << 6 | digit) & 0xffff, held + 6);
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
            }
        }
        bytes
    }

    #[test]
    fn a_percentile_table_ends_with_everything() {
        let table = percentiles(&measured().taken.whole.matched);
        let last = table.lines().rfind(|line| !line.starts_with('#')).unwrap();
        assert!(
            last.contains("1.000000000000") && last.trim_end().ends_with('3'),
            "{table}"
        );
        assert!(table.contains("Total count    =            3"), "{table}");
    }
}
