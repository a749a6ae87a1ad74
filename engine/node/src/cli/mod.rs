//! The command line: one module per command. Data goes to stdout, messages to stderr.

pub mod clear;
pub mod init;
pub mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A matching engine for peer-to-peer electricity markets.
#[derive(Parser, Debug)]
#[command(name = "wattbook", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a chain: keys, genesis, an empty ledger.
    Init(init::Args),
    /// Run a node.
    Run(run::Args),
    /// Clear one sealed round from a CSV file.
    Clear(clear::Args),
}

/// Runs a command.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Clear(args) => clear::run(&args),
    }
}

/// Says what went wrong on stderr.
pub(crate) fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("wattbook: {error}");
    ExitCode::FAILURE
}
