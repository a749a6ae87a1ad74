//! A day's trades open in other people's tools, and the three formats say the same.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

#[path = "../../../ledger/tests/python/mod.rs"]
mod python;
mod support;

use std::path::Path;
use std::process::Command;

use support::Town;
use tempfile::TempDir;
use wattbook_ledger::Reader;
use wattbook_node::export::{Format, What, export};
use wattbook_types::{Event, TimeNs};

const ALWAYS: (TimeNs, TimeNs) = (TimeNs::ZERO, TimeNs::new(u64::MAX));

fn bytes(reader: &Reader, what: What, format: Format, times: (TimeNs, TimeNs)) -> (u64, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let count = export(reader, what, format, times, file.reopen().unwrap()).unwrap();
    (count, std::fs::read(file.path()).unwrap())
}

#[test]
fn tables_say_what_happened() {
    let dir = TempDir::new().unwrap();
    let mut town = Town::found(dir.path(), &[]);
    town.run_cycle();
    let deals = town.seen.iter().filter_map(|event| match event {
        Event::Executed { deal, .. } => Some(deal),
        _ => None,
    });
    let deals: Vec<_> = deals.copied().collect();
    let (wh, price) = deals.iter().fold((0, 0), |(wh, price), deal| {
        (wh + deal.energy.get(), price + deal.price.get())
    });
    let reader = Reader::open(dir.path()).unwrap();
    let (count, csv) = bytes(&reader, What::Trades, Format::Csv, ALWAYS);
    assert_eq!(count as usize, deals.len());
    let mut table = csv::Reader::from_reader(csv.as_slice());
    let at = table
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "energy_wh")
        .unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|row| row[at].parse::<u64>().unwrap()).sum::<u64>(), wh);

    // A part of the day is a part of the rows.
    let (records, _) = bytes(&reader, What::Records, Format::Jsonl, ALWAYS);
    let middle = reader.blocks().nth(6).unwrap().unwrap().header.time;
    let (before, _) = bytes(&reader, What::Records, Format::Jsonl, (TimeNs::ZERO, middle));
    let (after, _) = bytes(&reader, What::Records, Format::Jsonl, (middle, ALWAYS.1));
    assert!(before > 0 && after > 0 && before + after == records);
    assert_eq!(records, town.record_count);

    let python = match python::with(&["pyarrow==26.0.1"]) {
        Ok(python) => python,
        Err(why) => {
            println!("SKIPPED: pyarrow does not read the export: {why}");
            return;
        }
    };
    let out = TempDir::new().unwrap();
    for (what, name) in [
        (What::Trades, "trades"),
        (What::Items, "items"),
        (What::Records, "records"),
    ] {
        for (format, ending) in [
            (Format::Csv, "csv"),
            (Format::Jsonl, "jsonl"),
            (Format::Parquet, "parquet"),
        ] {
            let path = out.path().join(format!("{name}.{ending}"));
            std::fs::write(path, bytes(&reader, what, format, ALWAYS).1).unwrap();
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/table.py");
    let run = Command::new(python).arg(script).arg(out.path()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let said = String::from_utf8(run.stdout).unwrap();
    assert_eq!(said.trim(), format!("{} {wh} {price}", deals.len()));
}
