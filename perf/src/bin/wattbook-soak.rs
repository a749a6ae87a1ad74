//! `wattbook-soak`: hours of hostile bytes, kills, flips and storms, counted line by line.

#[path = "../soak/mod.rs"]
mod soak;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    soak::run(&soak::Args::parse())
}
