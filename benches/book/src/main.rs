//! `make bench-book`: the book beside the least a book can cost and beside other people's books, and what stands on it.
//!
//! # Map
//! `flow` the operations · `base` the ceiling · `rivals` other people's books (feature `rivals`) · `ours` our rows ·
//! `market` the whole core · `round` sealed rounds · `measure` interleaved runs, latencies · `report` the table, the record.

mod base;
mod flow;
mod market;
mod measure;
mod ours;
mod report;
#[cfg(feature = "rivals")]
mod rivals;
mod round;

use clap::Parser;
use flow::{DEEP, Flow, JUMPS, STANDARD, Shape, WIDE};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the book against the least a book can cost and against other people's, interleaved in one run.
#[derive(Parser, Clone, Debug)]
#[command(name = "bench-book", version)]
struct Args {
    /// Timed runs of every row; the median counts.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Only what begins with this: a flow (standard, deep, wide, jumps), core or round.
    #[arg(long, default_value = "", value_name = "PREFIX")]
    only: String,
    /// Seed of flows, owners and ranks; 42 is the flow whose trades are known by hash.
    #[arg(long, default_value_t = STANDARD.seed)]
    seed: u64,
    /// Folder whose book.jsonl the figures are appended to.
    #[arg(long, value_name = "DIR", default_value = "perf/results")]
    results: PathBuf,
    /// Print the tables only; append nothing.
    #[arg(long)]
    no_record: bool,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("--runs {0}: a median needs at least 5")]
    Runs(usize),
    #[error("{}: {source}; run from the root of the checkout, give --results DIR, or --no-record", path.display())]
    Record { path: PathBuf, source: std::io::Error },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-book: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    if args.runs < 5 {
        return Err(Error::Runs(args.runs));
    }
    let wanted = |name: &str| name.starts_with(&args.only);
    let warnings = report::warnings();
    let percentiles = flow::percentiles(args.seed);
    let clock = quanta::Clock::new();
    let mut figures = Vec::new();
    let mut all = Vec::new();
    let mut alone = Vec::new();
    let mut notes = Vec::new();
    let mut reading_ns = None;
    for shape in [STANDARD, DEEP, WIDE, JUMPS] {
        let standard = shape.name == STANDARD.name;
        if !(wanted(shape.name) || standard && wanted("core")) {
            continue;
        }
        let flow = Flow::generate(Shape {
            seed: args.seed,
            ..shape
        });
        let (timed, before, left) = (flow.timed().len(), shape.prefill, flow.resting.len());
        eprintln!(
            "== {}: {timed} operations after {before}, {left} orders left at the end",
            shape.name
        );
        if wanted(shape.name) {
            reading_ns.get_or_insert_with(|| measure::reading_ns(&clock, &flow.ops[0]));
            let mut contenders = ours::contenders(&flow, &percentiles);
            all.extend(measure::interleaved(&mut contenders, args.runs, &clock));
        }
        if standard && wanted("standard") {
            alone.extend(ours::figures(&flow, &percentiles));
        }
        if standard && wanted("core") {
            eprintln!("== core: the market itself");
            alone.extend(market::figures(&flow, args.runs));
        }
    }
    if wanted("round") {
        eprintln!("== round: sealed rounds");
        let (rounds, left_out) = round::figures(&percentiles, args.runs);
        alone.extend(rounds);
        notes.extend(left_out);
    }
    notes.extend(report::wrong(&all));
    if let Some(reading_ns) = reading_ns {
        println!("{}", report::table(&all, reading_ns));
        figures.extend(report::figures(&all, reading_ns));
    }
    print!("{}", report::list(&alone));
    for note in &notes {
        println!("note: {note}");
    }
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    figures.extend(alone);
    if args.no_record {
        Ok(())
    } else {
        report::record(&args.results, &figures)
    }
}
