//! The command line: one module per command. Data goes to stdout, messages to stderr.

pub mod bench;
mod bus;
pub mod checkpoint;
pub mod clear;
mod connect;
pub mod demo;
pub mod export;
pub mod init;
pub mod inspect;
pub mod keys;
pub mod light;
pub mod prove;
pub mod repair;
pub mod replay;
pub mod retain;
pub mod run;
pub mod send;
pub mod status;
pub mod tail;
pub mod verify;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use wattbook_ledger::Reader;

/// A matching engine for peer-to-peer electricity markets.
#[derive(Parser, Debug)]
#[command(name = "wattbook", version, about)]
pub struct Cli {
    /// File of the passphrase that opens locked keys, and that new keys are locked with; else WATTBOOK_PASSPHRASE_FILE.
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run one real day of a real grid.
    Demo(demo::Args),
    /// Make a chain: keys, genesis, an empty ledger.
    Init(init::Args),
    /// Lock key files with a passphrase, or write them in hex again.
    Keys(keys::Args),
    /// Run a node.
    Run(run::Args),
    /// Sign one quote or cancel, send it, print its answers.
    Send(send::Args),
    /// Follow, record or replay a node's public feed, or print a ledger's records.
    Tail(tail::Args),
    /// Show what a running node counts.
    Status(status::Args),
    /// Clear one sealed round from a CSV file.
    Clear(clear::Args),
    /// Re-read a ledger from its bytes and check everything it says.
    Verify(verify::Args),
    /// Mend a damaged ledger from a copy of it.
    Repair(repair::Args),
    /// Move old segments of a ledger to an archive.
    Retain(retain::Args),
    /// Check a record of a chain with delegates, offline, from its genesis.
    Light(light::Args),
    /// Rebuild the state from a ledger.
    Replay(replay::Args),
    /// Show what a ledger holds.
    Inspect(inspect::Args),
    /// Measure the batch verifier.
    Bench(bench::Args),
    /// Prove a record or a deal to anybody.
    Prove(prove::Args),
    /// Check a proof with nothing but the log's public key.
    VerifyProof(prove::VerifyArgs),
    /// Show, sign, cosign checkpoints.
    Checkpoint(checkpoint::Args),
    /// Write trades, items or records as CSV, JSON lines or Parquet.
    Export(export::Args),
    /// Write the log of block headers as static tlog-tiles.
    Tiles(checkpoint::TilesArgs),
}

/// Runs a command.
pub fn run(cli: Cli) -> ExitCode {
    if let Err(error) = bus::watch() {
        return fail(&error);
    }
    let passphrase = (cli.passphrase_file).or_else(|| std::env::var_os("WATTBOOK_PASSPHRASE_FILE").map(PathBuf::from));
    if let Some(path) = passphrase
        && let Err(error) = crate::keys::use_passphrase(&path)
    {
        return fail(&error);
    }
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Light(args) => light::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Clear(args) => clear::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Retain(args) => retain::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::VerifyProof(args) => prove::verify(&args),
        Command::Checkpoint(args) => checkpoint::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Tiles(args) => checkpoint::tiles(&args),
    }
}

/// Says on stderr what stands behind the blocks that a reader shows although no node is running.
pub(crate) fn say_left_over(reader: &Reader) {
    match reader.left_over() {
        Ok(None) => {}
        Ok(Some(fault)) => {
            let height = reader.committed().map_or(0, |newest| newest.height);
            eprintln!(
                "wattbook: the ledger is shown up to block {height}, but more stands behind it, as a crash leaves it or a \
                 file that was cut: {fault}; `wattbook verify` refuses it, `wattbook run` recovers what a crash tore"
            );
        }
        Err(fault) => eprintln!("wattbook: what stands behind the blocks shown cannot be told: {fault}"),
    }
}

/// Says what went wrong on stderr.
pub(crate) fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("wattbook: {error}");
    ExitCode::FAILURE
}
