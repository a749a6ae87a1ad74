//! `wattbook-perf`: what a participant gets from a running node, over the real feed.
//!
//! # Method
//! * Open loop: the instants of sending are fixed before the run ([`arrivals`]). Latency is taken from the *scheduled*
//!   instant to the answer at the client, so a generator or node that falls behind is charged for it (no coordinated
//!   omission). Only the capacity of a node is found otherwise, with a window of unanswered envelopes a client; it gives
//!   no latencies.
//! * Envelopes are signed ahead of time, each client with its own key. A client sends over one session of grade
//!   `matched`: the first verdict of an envelope is its accepted latency, the last the matched one, the watermark that
//!   covers its record the durable one.
//! * One thread sends for all clients, one receives for all.
//! * Orders are the flow of the book's own benchmark: 55 % passive, 35 % cancels, 10 % aggressive.
//!
//! # The chain
//! Without `--addr` a node of its own runs, as a process, on a fresh chain in a temporary directory. Quotes are taken only
//! after a contract's first CONTRACT, so its timetable is cut short: the first gate opens once the clients are registered,
//! one round runs (SEAL 1 s, REVEAL 2 s, MATCH 3 s, CONTRACT 4 s), and the book stays open until delivery, which
//! lies behind the end of the run. Concession and floor are off, the registration mint is raised so that nobody runs out
//! of points, and deals may wait a day for the grid company, which this load does not run. All else is default.

mod arrivals;
mod attack;
mod consensus;
mod cpu;
mod crowd;
mod feed;
mod flow;
mod hdr;
mod html;
mod ingest;
mod limits;
mod load;
mod receive;
mod registration;
mod report;
mod session;
mod site;

use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use wattbook_types::units::parse_decimal;

/// Measures what a participant gets from a node: latency by percentile and throughput.
#[derive(Parser, Debug)]
#[command(name = "wattbook-perf", version)]
enum Command {
    /// One open-loop load: its latencies and rates.
    Load(LoadArgs),
    /// The node's figures: capacity and cost by stage, latencies over rates and at a peak hour; a report of them.
    Feed(feed::Args),
    /// The ingest stage by itself, on both backends of the sockets.
    Ingest(ingest::Args),
    /// Delegates: how fast blocks become final, a leader is replaced, a late node catches up.
    Consensus(consensus::Args),
    /// Thousands of idle sessions beside one that trades.
    Crowd(crowd::Args),
    /// An honest session beside attacks of every kind.
    Attack(attack::Args),
}

/// Where the node is.
#[derive(clap::Args, Clone, Debug)]
struct Place {
    /// Program of the node; default: `wattbook` beside this one.
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Where the fresh chain is made; its disk is what durable latency measures. Default: the system's temporary folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A node that runs already, in place of a fresh one.
    #[arg(long, value_name = "ADDR", requires_all = ["registrar_key", "contract", "first_serial"])]
    addr: Option<SocketAddr>,
    /// Its registrar's key file.
    #[arg(long, value_name = "FILE")]
    registrar_key: Option<PathBuf>,
    /// Quarter hours since 1970 of a contract whose book is open there.
    #[arg(long, value_name = "PERIOD")]
    contract: Option<u32>,
    /// Delivery area of that contract.
    #[arg(long, default_value_t = 1)]
    area: u16,
    /// First of as many unused account and meter numbers there as there are clients.
    #[arg(long, value_name = "N")]
    first_serial: Option<u64>,
}

#[derive(clap::Args, Clone, Debug)]
struct LoadArgs {
    /// Clients, each with a session and a key of its own.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Envelopes a second, of all clients together.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Length of the load, s.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Leaves an envelope.
    #[arg(long, default_value_t = 16)]
    leaves: u32,
    /// How envelopes arrive.
    #[arg(long, value_enum, default_value_t = arrivals::Arrivals::Poisson)]
    arrivals: arrivals::Arrivals,
    /// Recorded events that shape a peak: a CSV with a column t_ms, gzip or not.
    #[arg(long, value_name = "FILE")]
    flow: Option<PathBuf>,
    /// Seed of arrivals and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: Place,
    /// Name of the benchmark in the results.
    #[arg(long, default_value = "load")]
    bench: String,
    /// File that the figures are appended to, one JSON line each.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder for the latencies as HdrHistogram logs and percentile tables.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("--{0} must be at least 1")]
    Zero(&'static str),
    #[error("--leaves {0}: an envelope carries at most {max}", max = flow::LEAVES_MAX)]
    Leaves(u32),
    #[error("{}: cannot be run: {source}; build it with `cargo build --release -p wattbook-node`, or give --node", path.display())]
    Node { path: PathBuf, source: std::io::Error },
    #[error("the node did not start; what it said stands above")]
    NodeSilent,
    #[error(transparent)]
    Chain(#[from] wattbook_node::chain::InitError),
    #[error(transparent)]
    Key(#[from] wattbook_node::keys::KeyFileError),
    #[error("session: {0}")]
    Client(#[from] wattbook_feed::client::ClientError),
    #[error("session: {0}")]
    Session(#[from] session::SessionError),
    #[error("leaf: {0}")]
    Leaf(#[from] wattbook_feed::signed::EncodeError),
    #[error("the book of contract {0} did not open in time")]
    BookClosed(wattbook_types::ContractId),
    #[error("the receiving thread panicked")]
    Receiver,
    #[error("the verifier refuses envelopes made to be verified")]
    Inputs,
    #[error("the ledger of a node: {0}")]
    Ledger(#[from] wattbook_ledger::Error),
    #[error("what a light client was given does not hold: {0}")]
    Light(#[from] wattbook_node::light::LightError),
    #[error("{0}")]
    Stalled(&'static str),
    #[error("the node answered nothing under full load")]
    NoCapacity,
    #[error("{}, line {line}: no event with a time t_ms", path.display())]
    Flow { path: PathBuf, line: usize },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Record { path: PathBuf, source: std::io::Error },
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Load(args) => one(&args),
        Command::Feed(args) => feed::run(&args),
        Command::Ingest(args) => ingest::run(&args),
        Command::Consensus(args) => consensus::run(&args),
        Command::Crowd(args) => crowd::run(&args),
        Command::Attack(args) => attack::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wattbook-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One load.
fn one(args: &LoadArgs) -> Result<(), Error> {
    for (name, value) in [
        ("clients", args.clients),
        ("rate", args.rate),
        ("seconds", args.seconds),
        ("leaves", args.leaves),
    ] {
        if value == 0 {
            return Err(Error::Zero(name));
        }
    }
    if args.leaves > flow::LEAVES_MAX {
        return Err(Error::Leaves(args.leaves));
    }
    let recorded = args
        .flow
        .as_deref()
        .map(arrivals::Recorded::read)
        .transpose()?
        .unwrap_or_default();
    let needs = site::Needs {
        clients: args.clients,
        idle: 0,
        open_s: args.seconds.into(),
        seed: args.seed,
    };
    let mut site = site::Site::open(&args.place, needs)?;
    let instants = arrivals::schedule(args.arrivals, args.rate, args.seconds, args.seed, &recorded);
    let load = load::Load {
        pace: load::Pace::Open(instants),
        leaves: args.leaves,
    };
    let measured = load::run(&load, &mut site)?;
    let warnings = report::warnings(Some(args.rate), &site, &measured);
    drop(site);
    println!(
        "{} clients, {} envelopes/s ({}), {} leaves each, {} s",
        args.clients,
        args.rate,
        args.arrivals.name(),
        args.leaves,
        args.seconds
    );
    print!("{}", report::table(&measured));
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    if let Some(dir) = &args.logs {
        hdr::write(dir, &args.bench, &measured)?;
    }
    args.out.as_deref().map_or(Ok(()), |path| {
        report::append(path, &report::figures_of_load(&args.bench, &measured))
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Load average over the last minute, hundredths; 0 where the system does not say.
fn load_average() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let word = text.split(' ').next().unwrap_or_default();
    parse_decimal(word, 2)
        .ok()
        .and_then(|load| u64::try_from(load).ok())
        .unwrap_or(0)
}
