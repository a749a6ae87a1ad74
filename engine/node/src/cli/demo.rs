//! `wattbook demo`: one real day.

use crate::audit;
use crate::demo::{self, Options, cluster, report, world::PERIODS};
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
    /// Directory of the ledger, or of the nodes; an earlier demonstration there is replaced [default: target/demo/ledger,
    /// or target/demo/cluster].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run it on four delegates and a standby, five processes, and kill the delegate that leads at noon.
    #[arg(long)]
    cluster: bool,
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
    eprintln!(
        "SimBench 1-LV-rural1--1-sw, 2016-06-14: 14 loads, 8 PV plants, 4 batteries, {} periods of 15 minutes.",
        args.periods
    );
    if args.cluster {
        return run_cluster(args);
    }
    let dir = args.dir.clone().unwrap_or_else(|| "target/demo/ledger".into());
    let options = Options {
        ledger: dir.clone(),
        seed: args.seed,
        periods: args.periods,
    };
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
    let report = match report::read(&dir) {
        Ok(report) => report,
        Err(error) => return super::fail(&error),
    };
    // What the node verified as it came is verified once more, from the ledger's bytes alone.
    let verified = match audit::verify(&dir, None, |_| {}) {
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
            object.insert("ledger".into(), json!(dir.display().to_string()));
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
        println!("where          {}", dir.display());
        println!();
        let program = std::env::args().next().unwrap_or_else(|| "wattbook".into());
        println!("Try next:");
        println!("  {program} verify {}", dir.display());
        println!("  {program} inspect {}", dir.display());
        println!("  {program} replay {} --json", dir.display());
        println!("  {program} clear --orders docs/examples/table2.csv --ranks docs/examples/table2-ranks.csv");
    }
    if report.conserved {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The day on a committee.
fn run_cluster(args: &Args) -> ExitCode {
    eprintln!("Four delegates and a standby, five processes on loopback; time is simulated, in lockstep.");
    let out = args.dir.clone().unwrap_or_else(|| "target/demo/cluster".into());
    let options = cluster::Options {
        out: out.clone(),
        seed: args.seed,
        periods: args.periods,
    };
    let outcome = cluster::run(&options, &mut |line| eprintln!("{line}"));
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return super::fail(&error),
    };
    if args.json {
        let roots = outcome
            .roots
            .iter()
            .map(|(root, block)| json!({"state_root": root.to_string(), "block": block.to_string()}));
        let json = json!({
            "accounts": outcome.accounts, "steps": outcome.steps, "wall_ms": outcome.wall_ms, "killed": outcome.killed,
            "takeover_ms": outcome.takeover_ms, "height": outcome.height, "nodes": roots.collect::<Vec<_>>(),
            "signatures": outcome.signatures, "equal": outcome.is_equal(), "complete": outcome.is_complete,
        });
        println!("{json}");
    } else {
        for (node, ((root, _), signatures)) in outcome.roots.iter().zip(&outcome.signatures).enumerate() {
            println!(
                "node{node}          state root {root} at block {}, {signatures} signatures verified",
                outcome.height
            );
        }
        println!("equal          {}", if outcome.is_equal() { "all five" } else { "NO" });
        println!(
            "takeover       {} ms from the kill to the next leader's block",
            outcome.takeover_ms
        );
        println!(
            "time           {}.{:01} s for {} steps of {} accounts",
            outcome.wall_ms / 1_000,
            outcome.wall_ms % 1_000 / 100,
            outcome.steps,
            outcome.accounts
        );
        println!("where          {}", out.display());
    }
    if outcome.is_equal() && (outcome.is_complete || args.periods < PERIODS) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
