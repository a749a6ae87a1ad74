//! `wattbook run`: the node.

use crate::config::{Clock, Config};
use crate::topology::Node;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Runs a node until it is told to stop (SIGINT, SIGTERM).
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the node.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Configuration file; default: wattbook.toml in the directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, in place of the configured one; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Take time from Step messages, in place of the configured clock; demo chains only.
    #[arg(long)]
    lockstep: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let mut config = match Config::load(args.config.as_deref(), &args.dir) {
        Ok(config) => config,
        Err(error) => return super::fail(&error),
    };
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if args.lockstep {
        config.clock = Clock::Lockstep;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            return super::fail(&error);
        }
    }
    let mut node = match Node::start(&args.dir, &config, stop) {
        Ok(node) => node,
        Err(error) => return super::fail(&error),
    };
    if let Some(farewell) = node.farewell() {
        super::bus::on_error(farewell);
    }
    tracing::info!(height = node.height, "{}", node.recovery);
    if let Some(endpoint) = &node.endpoint {
        tracing::info!(addr = %endpoint.addr, "metrics");
    }
    // The line that scripts wait for.
    println!("listening {}", node.addr);
    match node.join() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}
