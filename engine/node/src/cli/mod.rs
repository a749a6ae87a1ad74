//! The command line: one module per command. Data goes to stdout, messages to stderr.

pub mod clear;

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
    /// Clear one sealed round from a CSV file.
    Clear(clear::Args),
}

/// Runs a command.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Clear(args) => clear::run(&args),
    }
}
