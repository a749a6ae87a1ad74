//! `wattbook demo`: one real day.

use crate::audit;
use crate::demo::{self, Options, report, world::PERIODS};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs one real day: every load, plant and battery of a real grid trades as a client of its own.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Seed of every key and every price factor: the same seed gives the same ledger root.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Delivery periods of 15 minutes, from midnight.
    #[arg(long, default_value_t = PERIODS, value_parser = parse_periods)]
    periods: usize,
    /// Directory of the ledger; an earlier demonstration there is replaced.
    #[arg(long, default_value = "target/demo/ledger", value_name = "DIR")]
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_periods(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(periods) if (1..=PERIODS).contains(&periods) => Ok(periods),
        _ => Err(format!("the day has 1 to {PERIODS} periods")),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let options = Options {
        ledger: args.dir.clone(),
        seed: args.seed,
        periods: args.periods,
    };
    eprintln!(
        "SimBench 1-LV-rural1--1-sw, 2016-06-14: 14 loads, 8 PV plants, 4 batteries, {} periods of 15 minutes.",
        args.periods
    );
    eprintln!("One node on loopback, one connection and one BLS key for each; time is simulated, in lockstep.");
    let bar = ProgressBar::new(args.periods as u64);
    let terminal = std::io::stderr().is_terminal();
    if terminal {
        let style = ProgressStyle::with_template("{bar:40} {pos:>2}/{len} periods  {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    } else {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let driven = demo::run(&options, |period| {
        bar.set_position(period as u64);
        bar.set_message(format!("delivery {:02}:{:02}", period / 4, period % 4 * 15));
        if !terminal && period % 24 == 0 {
            eprintln!("period {period} of {}", args.periods);
        }
    });
    bar.finish_and_clear();
    let driven = match driven {
        Ok(driven) => driven,
        Err(error) => return super::fail(&error),
    };
    let report = match report::read(&args.dir) {
        Ok(report) => report,
        Err(error) => return super::fail(&error),
    };
    // What the node verified as it came is verified once more, from the ledger's bytes alone.
    let verified = match audit::verify(&args.dir, None, |_| {}) {
        Ok(verified) => verified,
        Err(finding) => return super::fail(&finding),
    };
    let (quotes, signatures) = (report.counts[3], verified.signatures);
    if args.json {
        let mut out = report.to_json();
        if let Some(object) = out.as_object_mut() {
            object.insert("accounts".into(), json!(driven.accounts));
            object.insert("steps".into(), json!(driven.steps));
            object.insert("signatures".into(), json!(signatures));
            object.insert("wall_ms".into(), json!(driven.wall_ms));
            object.insert("ledger".into(), json!(args.dir.display().to_string()));
        }
        println!("{out}");
    } else {
        print!("{}", report.to_text());
        println!(
            "verified       {quotes} quotes and {signatures} signatures of {} accounts",
            driven.accounts
        );
        println!(
            "time           {}.{:01} s for {} steps",
            driven.wall_ms / 1_000,
            driven.wall_ms % 1_000 / 100,
            driven.steps
        );
        println!("where          {}", args.dir.display());
        println!();
        let program = std::env::args().next().unwrap_or_else(|| "wattbook".into());
        println!("Try next:");
        println!("  {program} verify {}", args.dir.display());
        println!("  {program} inspect {}", args.dir.display());
        println!("  {program} replay {} --json", args.dir.display());
        println!("  {program} clear --orders docs/examples/table2.csv --ranks docs/examples/table2-ranks.csv");
    }
    if report.conserved {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
