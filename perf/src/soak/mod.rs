//! The soak: six parts that share the time given, one line in a log, findings as files.
//!
//! # Parts
//! `fuzz` hostile bytes to every decoder that faces strangers, and to the book · `kills` nodes killed under load and in the
//! middle of a day · `flips` damaged ledgers · `simulation` storms of commands to the market core · `lives` a client that
//! dies again and again ·
//! `committees` delegates that crash, lose their disks and lie, on simulated time.
//!
//! # Contract
//! Everything random comes from the printed seed, except when a process is killed relative to what it is doing. The run
//! ends by itself within its minutes, leaves no process and no temporary file, appends one line to the log, and exits
//! with 1 if it found anything.

mod audit;
mod book;
pub(crate) mod committees;
mod days;
pub(crate) mod dice;
mod envelopes;
mod feeds;
mod flips;
#[path = "../flow.rs"]
mod flow;
pub(crate) mod fuzz;
mod ground;
pub(crate) mod kills;
mod lines;
pub(crate) mod lives;
pub(crate) mod mutate;
pub(crate) mod panics;
mod process;
mod record;
#[path = "../registration.rs"]
mod registration;
mod seeds;
pub(crate) mod simulation;
pub(crate) mod storm;
pub(crate) mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_types::ContractId;

/// Folder of the findings, beside the log.
const FINDINGS_DIR: &str = "findings";
/// Most findings written in one run; more than that is one fault in many shapes.
const FINDINGS_MAX: usize = 40;

/// Hours of hostile bytes, kills, flips and storms.
#[derive(clap::Parser, Debug)]
#[command(name = "wattbook-soak")]
pub(crate) struct Args {
    /// How long to run, minutes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Seed of everything random; default: the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// File that gets one JSON line a run; findings go into `findings` beside it.
    #[arg(long, default_value = "perf/results/soak.jsonl", value_name = "FILE")]
    log: PathBuf,
    /// Give all the time to one part.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// The program under test; default: `wattbook` beside this program.
    #[arg(long, value_name = "PATH")]
    wattbook: Option<PathBuf>,
    /// Write the shortest fuzz inputs of every kind of answer into this directory.
    #[arg(long, value_name = "DIR")]
    write_corpus: Option<PathBuf>,
    /// Be a client of the node at this address for one life.
    #[arg(long, hide = true, requires_all = ["life_contract", "life_notes"])]
    life: Option<SocketAddr>,
    /// The contract that it quotes in.
    #[arg(long, hide = true)]
    life_contract: Option<u64>,
    /// Where its notes are.
    #[arg(long, hide = true)]
    life_notes: Option<PathBuf>,
}

/// A part of the soak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    /// Mutated messages to every decoder.
    Fuzz,
    /// Killed nodes.
    Kills,
    /// Damaged ledgers.
    Flips,
    /// Storms of commands.
    Simulation,
    /// A client that dies.
    Lives,
    /// Delegates on simulated time.
    Committees,
}

impl Part {
    const ALL: [Self; 6] = [
        Self::Fuzz,
        Self::Kills,
        Self::Flips,
        Self::Simulation,
        Self::Lives,
        Self::Committees,
    ];
}

/// What a run did.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    /// Minutes asked for.
    pub(crate) minutes: u64,
    /// Executions by target.
    pub(crate) fuzz: BTreeMap<String, u64>,
    /// Nodes killed and recovered.
    pub(crate) kills: u64,
    /// Damaged ledgers judged.
    pub(crate) flips: u64,
    /// Storms.
    pub(crate) simulation: simulation::Simulated,
    /// Lives of clients.
    pub(crate) lives: u64,
    /// Committees simulated.
    pub(crate) committees: committees::Agreed,
    /// Findings.
    pub(crate) findings: u64,
}

/// Something that does not hold.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Where.
    pub(crate) part: String,
    /// What.
    pub(crate) what: String,
    /// The smallest input known to show it, or how to get there.
    pub(crate) reproducer: Vec<u8>,
    /// Whether the reproducer is text.
    pub(crate) text: bool,
}

/// The findings of a run, each kind once.
#[derive(Debug)]
pub(crate) struct Findings {
    dir: PathBuf,
    seed: u64,
    seen: BTreeSet<String>,
    count: u64,
}

/// A finding's kind: numbers and paths differ from case to case, words do not.
fn kind(part: &str, what: &str) -> String {
    let words: Vec<&str> = what
        .split_whitespace()
        .filter(|word| !word.contains(['/', '.']))
        .collect();
    let words: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .take(120)
        .collect();
    format!("{part}: {words}")
}

impl Findings {
    fn new(dir: PathBuf, seed: u64) -> Self {
        Self {
            dir,
            seed,
            seen: BTreeSet::new(),
            count: 0,
        }
    }

    /// Whether nothing of this kind was found yet.
    pub(crate) fn is_new(&self, part: &str, what: &str) -> bool {
        self.seen.len() < FINDINGS_MAX && !self.seen.contains(&kind(part, what))
    }

    /// Prints a finding and writes its reproducer.
    pub(crate) fn add(&mut self, finding: Finding) {
        let Finding {
            part,
            what,
            reproducer,
            text,
        } = finding;
        self.seen.insert(kind(&part, &what));
        self.count += 1;
        let suffix = if text { "txt" } else { "bin" };
        let path = self.dir.join(format!("{part}-{}-{}.{suffix}", self.seed, self.count));
        eprintln!("FINDING {part} (seed {}): {what}", self.seed);
        match fs::create_dir_all(&self.dir).and_then(|()| fs::write(&path, &reproducer)) {
            Ok(()) => eprintln!("        reproducer of {} bytes: {}", reproducer.len(), path.display()),
            Err(error) => eprintln!(
                "        the reproducer cannot be written to {}: {error}",
                path.display()
            ),
        }
    }

    /// Keeps the files of `from` with the finding just added.
    pub(crate) fn keep_files(&self, part: &str, from: &Path) {
        let to = self.dir.join(format!("{part}-{}-{}", self.seed, self.count));
        match copy_files(from, &to) {
            Ok(()) => eprintln!("        files kept: {}", to.display()),
            Err(error) => eprintln!("        the files cannot be kept in {}: {error}", to.display()),
        }
    }

    /// Adds a finding of a kind not seen yet.
    pub(crate) fn add_new(&mut self, finding: Finding) {
        if self.is_new(&finding.part, &finding.what) {
            self.add(finding);
        }
    }
}

/// Copies a directory without its folders.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Runs the soak.
pub(crate) fn run(args: &Args) -> ExitCode {
    if let (Some(addr), Some(contract), Some(notes)) = (args.life, args.life_contract, &args.life_notes) {
        return lives::live_here(addr, ContractId::from_raw(contract), notes);
    }
    match soak(args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("wattbook-soak: {problem}");
            ExitCode::from(2)
        }
    }
}

/// # Errors
/// Why the soak cannot run; what it finds is no error.
fn soak(args: &Args) -> Result<u64, String> {
    let started = Instant::now();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or(clock.as_secs());
    let program = program(args.wattbook.as_deref())?;
    let log = |error: io::Error| format!("{}: {error}", args.log.display());
    // Others may commit while the soak runs.
    let commit = record::commit();
    let before = record::totals(&args.log).map_err(log)?;
    if cfg!(not(debug_assertions)) {
        eprintln!("note: built without debug assertions; a development build finds more");
    }
    eprintln!("seed {seed}, {} minutes, program {}", args.minutes, program.display());

    let findings_dir = args.log.parent().unwrap_or(Path::new(".")).join(FINDINGS_DIR);
    let mut findings = Findings::new(findings_dir, seed);
    let mut counts = Counts {
        minutes: args.minutes,
        ..Counts::default()
    };
    let parts: Vec<Part> = Part::ALL
        .into_iter()
        .filter(|part| args.only.is_none_or(|only| only == *part))
        .collect();
    // What is left for the last process to end and the log to be written.
    let end = started + Duration::from_secs(60 * args.minutes) - Duration::from_secs(1);
    for (n, part) in (0u32..).zip(&parts) {
        let left = end.saturating_duration_since(Instant::now());
        let until = Instant::now() + left / (parts.len() as u32 - n);
        eprintln!(
            "{part:?}: {} s",
            until.saturating_duration_since(Instant::now()).as_secs()
        );
        match part {
            Part::Fuzz => {
                let keep = args.write_corpus.as_deref();
                counts.fuzz =
                    fuzz::run(seed, until, &program, keep, &mut findings).map_err(|error| error.to_string())?;
            }
            Part::Kills => {
                // Most under load, and some in the middle of a day.
                let left = until.saturating_duration_since(Instant::now());
                counts.kills = kills::run(seed, until - left / 4, &program, &mut findings)
                    + days::run(seed, until, &program, &mut findings);
            }
            Part::Flips => counts.flips = flips::run(seed, until, &program, &mut findings)?,
            Part::Simulation => counts.simulation = simulation::run(seed, until, &mut findings),
            Part::Lives => counts.lives = lives::run(seed, until, &program, &mut findings),
            Part::Committees => counts.committees = committees::run(seed, until, &mut findings),
        }
        eprintln!(
            "{part:?}: {}, findings so far {}",
            progress(*part, &counts),
            findings.count
        );
    }
    counts.findings = findings.count;
    let line = record::line(&commit, seed, &counts, &before);
    record::append(&args.log, &line).map_err(log)?;
    table(&line);
    Ok(findings.count)
}

fn progress(part: Part, counts: &Counts) -> String {
    match part {
        Part::Fuzz => format!("{} executions", counts.fuzz.values().sum::<u64>()),
        Part::Kills => format!("{} kills", counts.kills),
        Part::Flips => format!("{} damaged ledgers", counts.flips),
        Part::Simulation => {
            let simulation::Simulated {
                seeds,
                commands,
                blocks,
            } = counts.simulation;
            format!("{seeds} storms, {commands} commands, {blocks} blocks")
        }
        Part::Lives => format!("{} lives", counts.lives),
        Part::Committees => {
            let committees::Agreed {
                seeds,
                blocks,
                crashes,
                seconds,
                ..
            } = counts.committees;
            format!("{seeds} seeds, {blocks} blocks, {crashes} crashes, {seconds} s of simulated time")
        }
    }
}

/// # Errors
/// Where no program is, and how to get one.
fn program(given: Option<&Path>) -> Result<PathBuf, String> {
    let beside = || std::env::current_exe().ok().map(|path| path.with_file_name("wattbook"));
    let path = given
        .map(Path::to_owned)
        .or_else(beside)
        .unwrap_or_else(|| "wattbook".into());
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => Err(format!(
            "there is no program {}; build it with `cargo build -p wattbook-node`, or name one with --wattbook",
            path.display()
        )),
    }
}

/// Prints this run's counts beside the totals.
fn table(line: &serde_json::Value) {
    println!("{:<28} {:>14} {:>16}", "", "this run", "all runs");
    let row = |name: &str, path: &str| {
        let number = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_u64).unwrap_or(0);
        println!(
            "{name:<28} {:>14} {:>16}",
            number(line.pointer(path)),
            number(line["totals"].pointer(path))
        );
    };
    row("minutes", "/minutes");
    let targets = line["totals"]["fuzz"]
        .as_object()
        .into_iter()
        .flat_map(|targets| targets.keys());
    for target in targets {
        row(&format!("fuzz {target}"), &format!("/fuzz/{target}"));
    }
    row("kills", "/kills");
    row("flips", "/flips");
    row("simulation seeds", "/simulation/seeds");
    row("simulation commands", "/simulation/commands");
    row("simulation blocks", "/simulation/blocks");
    row("lives", "/lives");
    for name in ["seeds", "blocks", "crashes", "liars", "certificates", "seconds"] {
        row(&format!("committees {name}"), &format!("/committees/{name}"));
    }
    row("findings", "/findings");
}
