//! `ledger/export`: a ledger as Parquet, from the opened ledger to the whole file.

use crate::Args;
use crate::day;
use crate::report::Figure;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;
use wattbook_ledger::Reader;
use wattbook_node::export::{Format, What, export};
use wattbook_node::selection::Selection;
use wattbook_types::TimeNs;

const ROUNDS: u64 = 3;

pub(crate) fn run(args: &Args, dir: &Path) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    day::ensure(dir, args, args.replay_records)?;
    let file = dir.join("export.parquet");
    let always = (TimeNs::ZERO, TimeNs::new(u64::MAX));
    let mut figures = Vec::new();
    for (what, name) in [
        (What::Records, "parquet, records with payloads"),
        (What::Items, "parquet, items of envelopes"),
        (What::Trades, "parquet, trades: ledger executed"),
    ] {
        let mut best = f64::INFINITY;
        let mut records = 0;
        for _ in 0..ROUNDS {
            let since = Instant::now();
            let reader = Reader::open(dir)?;
            let out = BufWriter::new(File::create(&file)?);
            let _ = export(&reader, what, Format::Parquet, always, Selection::default(), out)?;
            best = best.min(since.elapsed().as_secs_f64());
            records = day::last_seq(&reader)?;
        }
        figures.push(Figure {
            bench: "ledger/export",
            metric: name.to_owned(),
            // Records read, whatever rows they make.
            value: records as f64 / best,
            unit: "records/s",
            ratio: None,
            samples: ROUNDS,
        });
    }
    std::fs::remove_file(&file)?;
    Ok(figures)
}
