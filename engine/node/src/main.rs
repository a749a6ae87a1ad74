//! `wattbook`: see [`wattbook_node::cli`].

use clap::Parser;
use std::process::ExitCode;
use wattbook_node::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}
