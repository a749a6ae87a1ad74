//! The node's figures: `node/idle`, `node/64` and `node/1`, `latency/*` over rates and at a peak hour.
//!
//! # Method
//! A fresh node a size of envelope. Its capacity is found with a window of unanswered envelopes; beside it stands what the
//! verifier does by itself with as many keys, on all cores, before and after. Processor time is the kernel's account of the
//! node's threads over that run. Then open loops at shares of the capacity, and one shaped like a peak hour. Bare
//! synchronisation is measured on the same disk before and after, of as many bytes as a block has at half the capacity.

use crate::arrivals::{Arrivals, Recorded, schedule};
use crate::load::{Latencies, Load, Measured, Pace, run as run_load};
use crate::report::{Figure, append, figures_of, share, warning_of_disk, warnings};
use crate::site::{Needs, Site};
use crate::{Error, Place, cpu, hdr, html, limits, report};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Sizes of envelope measured.
const SIZES: [u32; 2] = [64, 1];
/// Shares of the capacity offered in open loop, percent; the latency rows are those of [`HALF`].
const SHARES: [u32; 6] = [10, 25, 50, 70, 80, 90];
const HALF: u32 = 50;
/// Unanswered envelopes of all clients together, in a window: two full batches wait while two are on their way.
const OUTSTANDING: u64 = 4 * 4_096;
/// How long an idle node is watched.
const IDLE: Duration = Duration::from_secs(5);
/// Longest time a record waits for its block by default, ms: how much a synchronisation moves.
const BLOCK_MS: u64 = 100;
/// Bytes of a record beside its leaves, and of a leaf.
const RECORD: u64 = 200;
const LEAF: u64 = 64;
/// Most bytes of a bare synchronisation.
const SYNC_MAX: u64 = 1 << 20;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Clients, each with a session and a key of its own.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// Length of each open loop, s.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Length of the run that finds the capacity, in seconds of the verifier's rate.
    #[arg(long, default_value_t = 3)]
    capacity_seconds: u32,
    /// Recorded events that shape the peak hour: a CSV with a column t_ms, gzip or not.
    #[arg(long, value_name = "FILE")]
    flow: Option<PathBuf>,
    /// Seed of arrivals and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: Place,
    /// File that the figures are appended to, one JSON line each.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder for the report and the latencies as HdrHistogram logs and percentile tables.
    #[arg(long, value_name = "DIR", default_value = "target/bench-feed")]
    report: PathBuf,
}

/// One open loop of the report.
pub(crate) struct Run {
    pub(crate) leaves: u32,
    pub(crate) arrivals: Arrivals,
    /// Share of the capacity, percent.
    pub(crate) percent: u32,
    /// Envelopes a second offered.
    pub(crate) rate: u32,
    pub(crate) measured: Measured,
}

/// The capacity with one size of envelope.
pub(crate) struct Capacity {
    pub(crate) leaves: u32,
    /// Envelopes a second that the verifier does by itself.
    pub(crate) verifier: u64,
    pub(crate) measured: Measured,
}

impl Capacity {
    /// Envelopes a second.
    pub(crate) fn rate(&self) -> u64 {
        self.measured.per_second(self.measured.answered())
    }

    /// Processor time a quote by thread, ns.
    pub(crate) fn stages(&self) -> Vec<(String, u64)> {
        let quotes = self.measured.items().max(1);
        let used = self.measured.used.iter();
        used.map(|(name, time)| (name.clone(), time / quotes)).collect()
    }

    /// Processor time a quote of everything but verification, ns.
    pub(crate) fn but_verification(&self) -> u64 {
        let used = self.measured.used.iter();
        let time: u64 = used
            .filter(|(name, _)| !cpu::is_verification(name))
            .map(|(_, time)| time)
            .sum();
        time / self.measured.items().max(1)
    }
}

/// Everything that the report shows.
pub(crate) struct Report {
    pub(crate) clients: u32,
    pub(crate) seconds: u32,
    pub(crate) capacities: Vec<Capacity>,
    pub(crate) runs: Vec<Run>,
    pub(crate) bare: Latencies,
    pub(crate) bare_len: u64,
    /// Processor time of an idle node, parts per million of a core.
    pub(crate) idle_ppm: Option<u64>,
    pub(crate) recorded_flow: bool,
    pub(crate) warnings: BTreeSet<String>,
}

/// Runs the bench.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    for (name, value) in [
        ("clients", args.clients),
        ("seconds", args.seconds),
        ("capacity-seconds", args.capacity_seconds),
    ] {
        if value == 0 {
            return Err(Error::Zero(name));
        }
    }
    let recorded = args.flow.as_deref().map(Recorded::read).transpose()?;
    let mut report = Report {
        clients: args.clients,
        seconds: args.seconds,
        capacities: Vec::new(),
        runs: Vec::new(),
        bare: crate::load::latencies(),
        bare_len: 0,
        idle_ppm: None,
        recorded_flow: recorded.is_some(),
        warnings: BTreeSet::new(),
    };
    for leaves in SIZES {
        measure(args, leaves, &recorded.clone().unwrap_or_default(), &mut report)?;
    }
    report.warnings.extend(warning_of_disk(&report.bare));
    let figures = figures(&report);
    for figure in &figures {
        let ratio = figure.ratio.map(|(ratio, to)| format!("{ratio:>10.3} of {to}"));
        println!(
            "{:<18} {:<28} {:>14} {:<9}{}",
            figure.bench,
            figure.metric,
            figure.value,
            figure.unit,
            ratio.unwrap_or_default()
        );
    }
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    for run in &report.runs {
        hdr::write(&args.report, &name_of(run), &run.measured)?;
    }
    let page = args.report.join("report.html");
    std::fs::write(&page, html::page(&report, &figures)).map_err(|source| Error::Record {
        path: page.clone(),
        source,
    })?;
    println!("\nreport: {}", page.display());
    args.out.as_deref().map_or(Ok(()), |path| append(path, &figures))
}

/// Name of a run in files.
fn name_of(run: &Run) -> String {
    format!("{}-{}-{}", run.leaves, run.arrivals.name(), run.percent)
}

fn measure(args: &Args, leaves: u32, recorded: &Recorded, report: &mut Report) -> Result<(), Error> {
    eprintln!("== envelopes of {leaves}: the verifier by itself");
    let before = limits::verifier(args.clients, leaves)?;
    // BOUND: the verifier's rate on one machine.
    let most = u32::try_from(before)
        .unwrap_or(u32::MAX)
        .saturating_mul(args.capacity_seconds);
    let needs = Needs {
        clients: args.clients,
        idle: 0,
        open_s: 1_200 + 10 * u64::from(args.seconds),
        seed: args.seed,
    };
    let mut site = Site::open(&args.place, needs)?;
    site.await_book()?;
    if report.idle_ppm.is_none() {
        report.idle_ppm = idle(&site);
    }
    eprintln!("== envelopes of {leaves}: the node's capacity");
    let load = Load {
        pace: Pace::Window {
            outstanding: OUTSTANDING.div_ceil(args.clients.into()),
            envelopes: most as usize,
        },
        leaves,
    };
    let measured = run_load(&load, &mut site)?;
    report.warnings.extend(warnings(None, &site, &measured));
    let verifier = u64::midpoint(before, limits::verifier(args.clients, leaves)?);
    let capacity = Capacity {
        leaves,
        verifier,
        measured,
    };
    let rate = u32::try_from(capacity.rate()).unwrap_or(u32::MAX);
    report.capacities.push(capacity);
    if rate < 10 {
        return Err(Error::NoCapacity);
    }
    let half = u64::from(rate) * u64::from(HALF) / 100;
    let bare_len = (half * BLOCK_MS * (RECORD + LEAF * u64::from(leaves)) / 1_000).clamp(4_096, SYNC_MAX);
    let bare = |report: &mut Report, site: &Site| -> Result<(), Error> {
        if let Some(dir) = site.dir.as_deref().filter(|_| leaves == SIZES[0]) {
            let taken = limits::fdatasync(dir, usize::try_from(bare_len).unwrap_or(1 << 20))?;
            report
                .bare
                .add(&taken)
                .expect("INVARIANT: every histogram has the same bounds");
            report.bare_len = bare_len;
        }
        Ok(())
    };
    bare(report, &site)?;
    let poisson = SHARES.map(|percent| (Arrivals::Poisson, percent));
    let loads = poisson.into_iter().chain([(Arrivals::Peak, HALF)]);
    for (arrivals, percent) in loads {
        let rate = (u64::from(rate) * u64::from(percent) / 100).max(1);
        // BOUND: less than the capacity.
        let rate = rate as u32;
        eprintln!("== envelopes of {leaves}: {rate}/s, {} ({percent} %)", arrivals.name());
        let instants = schedule(arrivals, rate, args.seconds, args.seed, recorded);
        let pace = Pace::Open(instants);
        let measured = run_load(&Load { pace, leaves }, &mut site)?;
        let prefix = format!("{leaves} leaves at {percent} % ({}): ", arrivals.name());
        let found = warnings(Some(rate), &site, &measured);
        report
            .warnings
            .extend(found.into_iter().map(|warning| prefix.clone() + &warning));
        report.runs.push(Run {
            leaves,
            arrivals,
            percent,
            rate,
            measured,
        });
    }
    bare(report, &site)
}

/// Processor time of a node that nobody talks to, parts per million of a core.
fn idle(site: &Site) -> Option<u64> {
    let pid = site.pid()?;
    eprintln!("== the node idle");
    let before = cpu::threads(pid);
    thread::sleep(IDLE);
    let used: u64 = cpu::between(&before, &cpu::threads(pid)).values().sum();
    Some(used * 1_000_000 / crate::nanos(IDLE))
}

/// The rows of the table.
fn figures(report: &Report) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(ppm) = report.idle_ppm {
        figures.push(Figure {
            bench: "node/idle".to_owned(),
            metric: "cpu".to_owned(),
            value: ppm,
            unit: "ppm",
            ratio: Some((share(ppm, 1_000_000), "one core")),
            samples: 1,
        });
    }
    for capacity in &report.capacities {
        let (bench, rate) = (format!("node/{}", capacity.leaves), capacity.rate());
        let mut figure = |metric: &str, value, unit, ratio| {
            figures.push(Figure {
                bench: bench.clone(),
                metric: metric.to_owned(),
                value,
                unit,
                ratio,
                samples: capacity.measured.answered(),
            });
        };
        figure(
            "envelopes",
            rate,
            "1/s",
            Some((share(rate, capacity.verifier), "verifier")),
        );
        figure(
            "quotes",
            capacity.measured.per_second(capacity.measured.items()),
            "1/s",
            None,
        );
        figure("verifier", capacity.verifier, "1/s", None);
        if !capacity.measured.used.is_empty() {
            figure("cpu_but_verification", capacity.but_verification(), "ns/quote", None);
            for (stage, time) in capacity.stages() {
                figure(&format!("cpu/{stage}"), time, "ns/quote", None);
            }
        }
    }
    let fdatasync = report.bare.value_at_quantile(0.99);
    for run in report.runs.iter().filter(|run| run.percent == HALF) {
        let suffix = match run.arrivals {
            Arrivals::Peak => format!("/{}/peak", run.leaves),
            _ if run.leaves == SIZES[0] => String::new(),
            _ => format!("/{}", run.leaves),
        };
        let whole = &run.measured.taken.whole;
        figures.extend(figures_of(&format!("latency/accepted{suffix}"), "", &whole.accepted));
        figures.extend(figures_of(&format!("latency/matched{suffix}"), "", &whole.matched));
        let durable = format!("latency/durable{suffix}");
        figures.extend(figures_of(&durable, "", &whole.durable));
        for mut figure in figures_of(&durable, "added", &whole.added) {
            if figure.metric == "added_p99" && !report.bare.is_empty() {
                figure.ratio = Some((share(figure.value, fdatasync), "fdatasync_p99"));
            }
            figures.push(figure);
        }
    }
    if !report.bare.is_empty() {
        figures.extend(figures_of("latency/fdatasync", "", &report.bare));
    }
    figures
}

impl Report {
    /// Where it was made.
    pub(crate) fn made(&self) -> (String, String, String) {
        (report::commit(), report::machine(), report::now())
    }
}
