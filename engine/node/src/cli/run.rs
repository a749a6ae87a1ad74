//! `wattbook run`: the node.

use super::verify::fault_json;
use crate::audit::Finding;
use crate::config::{Backend, Clock, Config};
use crate::topology::{Node, NodeError};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wattbook_ledger::Recovery;

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
    /// Who reads and writes the sockets, in place of the configured backend.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Take time from Step messages, in place of the configured clock; demo chains only.
    #[arg(long)]
    lockstep: bool,
    /// Print where it listens and what recovery found as one line of JSON.
    #[arg(long)]
    json: bool,
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
    if let Some(backend) = args.backend {
        config.ingest.backend = backend;
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
        Err(error) => {
            if args.json {
                println!("{}", refusal(&error));
            }
            return super::fail(&error);
        }
    };
    if let Some(farewell) = node.farewell() {
        super::bus::on_error(farewell);
    }
    tracing::info!(height = node.height, "{}", node.recovery);
    if let Some(endpoint) = &node.endpoint {
        tracing::info!(addr = %endpoint.addr, "metrics");
    }
    // The line that scripts wait for.
    if args.json {
        println!(
            "{}",
            json!({ "ok": true, "listening": node.addr.to_string(), "recovery": recovery(&node.recovery) })
        );
    } else {
        println!("listening {}", node.addr);
    }
    match node.join() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

/// Why a node does not start; damage with its place.
fn refusal(error: &NodeError) -> Value {
    let fault = match error {
        NodeError::Ledger(wattbook_ledger::Error::Damaged(fault)) | NodeError::Damaged(fault) => {
            Some(fault_json(&Finding::from(fault.clone())))
        }
        _ => None,
    };
    json!({ "ok": false, "fault": fault, "message": error.to_string() })
}

/// What recovery found and did.
fn recovery(found: &Recovery) -> Value {
    json!({
        "clean": found.is_clean(),
        "height": found.height,
        "bytes": found.length,
        "read_from_block": found.from,
        "blocks_kept": found.blocks_kept,
        "bytes_zeroed": found.zeroed_size,
        "segments_removed": found.segments_removed,
        "bytes_restored": found.restored_size,
        "entry_bytes_torn": found.entry_torn_size,
        "torn": found.torn.clone().map(|fault| fault_json(&Finding::from(fault))),
        "message": found.to_string(),
    })
}
