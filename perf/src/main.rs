//! `wattbook-perf`: what a participant gets from a running node, under open-loop load over the real feed.
//!
//! # Method
//! * The instants of sending are fixed before the run, at a constant rate or as a Poisson process of a seed. Latency is
//!   taken from the *scheduled* instant to the answer at the client, so a generator or node that falls behind is charged
//!   for it (no coordinated omission).
//! * Envelopes are signed ahead of time, each client with its own key. A client sends over one session of grade
//!   `matched`: its last verdict of an envelope is the matched latency, the watermark that covers the envelope's record
//!   the durable one.
//! * One thread sends for all clients, one thread a client receives.
//! * Orders are the flow of the book's own benchmark: 55 % passive, 35 % cancels, 10 % aggressive.
//!
//! # The chain
//! Without `--addr` a node of its own runs, as a process, on a fresh chain in a temporary directory. Quotes are taken only
//! after a contract's first CONTRACT, so its timetable is cut short: the first gate opens `open_after` seconds after
//! genesis, one round runs (SEAL 1 s, REVEAL 2 s, MATCH 3 s, CONTRACT 4 s), and the book stays open until delivery, which
//! lies behind the end of the run. Concession and floor are off, the registration mint is raised so that nobody runs out
//! of points, and deals may wait a day for the grid company, which this load does not run. All else is default.

mod flow;
mod load;
mod report;
mod session;
mod site;

use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what a participant gets from a node: latency by percentile and throughput, under open-loop load.
#[derive(Parser, Clone, Debug)]
#[command(name = "wattbook-perf", version)]
struct Args {
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
    #[arg(long, value_enum, default_value_t = flow::Arrivals::Poisson)]
    arrivals: flow::Arrivals,
    /// Seed of arrivals and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
    /// Name of the benchmark in the results.
    #[arg(long, default_value = "node")]
    bench: String,
    /// Folder whose NAME.jsonl the figures are appended to.
    #[arg(long, value_name = "DIR", default_value = "perf/results")]
    results: PathBuf,
    /// Print the table only; append nothing.
    #[arg(long)]
    no_record: bool,
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
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("{}: {source}; run from the root of the checkout, give --results DIR, or --no-record", path.display())]
    Record { path: PathBuf, source: std::io::Error },
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wattbook-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
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
    let site = site::Site::open(args)?;
    let measured = load::run(args, &site)?;
    let warnings = report::warnings(args, &site, &measured);
    drop(site);
    print!("{}", report::table(args, &measured));
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    if args.no_record {
        Ok(())
    } else {
        report::record(args, &measured)
    }
}
