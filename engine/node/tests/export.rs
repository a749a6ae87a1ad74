//! A day's trades open in other people's tools, and the three formats say the same.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

#[path = "../../../ledger/tests/python/mod.rs"]
mod python;
mod support;

use std::path::Path;
use std::process::Command;

use support::Town;
use tempfile::TempDir;
use wattbook_ledger::{HeaderIndex, Reader};
use wattbook_node::export::{Format, What, export};
use wattbook_node::selection::{self, Selection};
use wattbook_types::{Event, TimeNs};

const ALWAYS: (TimeNs, TimeNs) = (TimeNs::ZERO, TimeNs::new(u64::MAX));

fn bytes(reader: &Reader, what: What, format: Format, times: (TimeNs, TimeNs)) -> (u64, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let count = export(
        reader,
        what,
        format,
        times,
        Selection::default(),
        file.reopen().unwrap(),
    )
    .unwrap();
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
            python::skip("pyarrow does not read the export", &why);
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

/// Lines or rows that the commands give for a selection.
fn count(dir: &Path, command: &[&str], selected: &[String]) -> usize {
    let run = Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .arg(command[0])
        .arg(dir)
        .args(&command[1..])
        .args(selected)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().lines().count()
}

#[test]
fn records_are_chosen_by_number_participant_and_contract() {
    let dir = TempDir::new().unwrap();
    let mut town = Town::found(dir.path(), &[]);
    town.run_cycle();
    let reader = Reader::open(dir.path()).unwrap();
    let index = HeaderIndex::open(&reader).unwrap();
    let (mut whose, mut about) = (selection::by_participant(), selection::by_contract());
    whose.extend(&reader, &index).unwrap();
    about.extend(&reader, &index).unwrap();
    let records: Vec<_> = (reader.blocks().map(Result::unwrap).flat_map(|block| block.records)).collect();
    let chosen = |selection: &Selection| records.iter().filter(|record| selection.has(record)).count();
    let mut selections = vec![Selection::default()];
    for from in [2, town.record_count / 2, town.record_count] {
        selections.push(Selection {
            from: Some(from),
            ..Selection::default()
        });
    }
    for (who, filed) in whose.keys() {
        let participant = Some(selection::parse_participant(&who.to_string()).unwrap());
        selections.push(Selection {
            participant,
            ..Selection::default()
        });
        assert_eq!(chosen(selections.last().unwrap()), filed);
    }
    for (contract, filed) in about.keys() {
        selections.push(Selection {
            contract: Some(contract),
            ..Selection::default()
        });
        assert_eq!(chosen(selections.last().unwrap()), filed);
    }
    assert!(whose.keys().count() > 3 && about.keys().count() > 0 && selections.len() > 8);
    let (who, contract) = (whose.keys().last().unwrap().0, about.keys().next().unwrap().0);
    let participant = Some(selection::parse_participant(&who.to_string()).unwrap());
    selections.push(Selection {
        from: Some(3),
        participant,
        contract: Some(contract),
    });
    for selection in selections {
        let mut words = Vec::new();
        let mut say = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("--{name}={value}")));
        say("from", selection.from.map(|from| from.to_string()));
        say("participant", selection.participant.map(|who| who.to_string()));
        say("contract", selection.contract.map(|contract| contract.to_string()));
        let expected = chosen(&selection);
        assert_eq!(count(dir.path(), &["tail"], &words), expected, "{words:?}");
        let table = ["export", "--what=records", "--format=jsonl"];
        assert_eq!(count(dir.path(), &table, &words), expected, "{words:?}");
    }
    // A trade is both sides' and its contract's.
    let side = |at: &str| {
        let run = Command::new(env!("CARGO_BIN_EXE_wattbook"))
            .args(["export", at, "--format=jsonl"])
            .output()
            .unwrap();
        let text = String::from_utf8(run.stdout).unwrap();
        let rows = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.map(|row| (row["buyer"].as_u64().unwrap(), row["seller"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let sides = side(dir.path().to_str().unwrap());
    assert!(!sides.is_empty());
    for (who, _) in whose.keys() {
        let theirs = sides
            .iter()
            .filter(|(buyer, seller)| [*buyer, *seller].contains(&who))
            .count();
        let words = [format!("--participant={who}")];
        assert_eq!(count(dir.path(), &["export", "--format=jsonl"], &words), theirs);
    }
}
