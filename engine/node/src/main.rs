//! `wattbook`: see [`wattbook_node::cli`].

use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use wattbook_node::cli::{Cli, run};

fn main() -> ExitCode {
    // WATTBOOK_LOG=debug shows more, agreement's engine too; messages never mix with data on stdout.
    let filter = EnvFilter::try_from_env("WATTBOOK_LOG").unwrap_or_else(|_| EnvFilter::new("info,commonware=warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
    run(Cli::parse())
}
