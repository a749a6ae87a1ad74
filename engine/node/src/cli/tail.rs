//! `wattbook tail`: the public feed of a node, or the records of a ledger.
//!
//! # Contract
//! * One line a message or record on stdout, with its number; rendering in [`crate::present`].
//! * A feed is followed until the node ends the session (exit code 0) or the connection is lost (exit code 1, with the
//!   number to resume at). A ledger is read to its newest committed block, beside a live node if there is one.

use crate::present;
use serde_json::json;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::soupbin::LoginRefusal;
use wattbook_ledger::{Fault, Reader};

/// Follows the public feed of a node, or prints the records of a ledger.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Address of a node, as host:port, or directory of a ledger.
    #[arg(value_name = "ADDR|DIR")]
    target: String,
    /// First number wanted: of the feed's messages (default: what comes next) or of the ledger's records (default: 1).
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// End after this many lines.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Why tailing ended before its time.
#[derive(Debug, thiserror::Error)]
enum TailError {
    #[error("{addr}: {source}; is a node running there?")]
    Connect { addr: String, source: ClientError },
    #[error(
        "{addr}: the node has no message {from} at hand: its history begins later, or has not come that far; \
         leave out --from, or read the ledger with `wattbook tail DIR`"
    )]
    NotAtHand { addr: String, from: u64 },
    #[error("{addr}: {source}; resume with --from {next}")]
    Lost {
        addr: String,
        source: ClientError,
        next: u64,
    },
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    #[error("the ledger is damaged: {0}")]
    Damaged(#[from] Fault),
    #[error("stdout: cannot be written: {0}")]
    Write(io::Error),
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let mut lines = Lines { left: args.count };
    let dir = Path::new(&args.target);
    let tailed = if dir.is_dir() {
        ledger(dir, args, &mut lines)
    } else {
        feed(args, &mut lines)
    };
    match tailed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

/// Lines still to be printed.
struct Lines {
    left: Option<u64>,
}

impl Lines {
    fn done(&self) -> bool {
        self.left == Some(0)
    }

    /// Prints a line at once, for whoever reads along.
    fn put(&mut self, line: &dyn fmt::Display) -> Result<(), TailError> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            // A reader that has seen enough (`| head`) is no failure.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.left = Some(0),
            Err(error) => return Err(TailError::Write(error)),
            Ok(()) => self.left = self.left.map(|left| left.saturating_sub(1)),
        }
        Ok(())
    }
}

fn feed(args: &Args, lines: &mut Lines) -> Result<(), TailError> {
    let addr = args.target.clone();
    let from = args.from.unwrap_or(0);
    let mut client = match Client::connect(&addr, StreamKind::Public, from) {
        Ok(client) => client,
        Err(ClientError::LoginRefused(LoginRefusal::SessionNotAvailable)) => {
            return Err(TailError::NotAtHand { addr, from });
        }
        Err(source) => return Err(TailError::Connect { addr, source }),
    };
    while !lines.done() {
        let (seq, bytes) = match client.next_raw(Duration::from_secs(60)) {
            Ok(Some(numbered)) => numbered,
            Ok(None) => continue,
            Err(ClientError::EndOfSession) => {
                tracing::info!(next = client.next_seq(), "the node ended the session");
                return Ok(());
            }
            Err(source) => {
                return Err(TailError::Lost {
                    addr,
                    source,
                    next: client.next_seq(),
                });
            }
        };
        match present::message(&bytes) {
            Ok(message) if args.json => lines.put(&message.to_json(seq))?,
            Ok(message) => lines.put(&message.to_text(seq))?,
            // A message of a later schema; the next one may be known.
            Err(error) => tracing::warn!(seq, %error, "a message is not shown"),
        }
    }
    Ok(())
}

fn ledger(dir: &Path, args: &Args, lines: &mut Lines) -> Result<(), TailError> {
    let from = args.from.unwrap_or(1);
    let reader = Reader::open(dir)?;
    for block in reader.blocks() {
        let block = block?;
        let height = block.header.height;
        for record in block.records.iter().filter(|record| record.seq >= from) {
            if lines.done() {
                return Ok(());
            }
            let (seq, kind, name) = (record.seq, record.kind, present::record_name(record.kind));
            let fields = present::record(kind, record.payload);
            if args.json {
                lines.put(&json!({ "seq": seq, "height": height, "kind": kind, "name": name, "fields": fields }))?;
            } else {
                let mut line = format!("{seq} {name} height={height}");
                present::put_fields(&mut line, "", &fields);
                lines.put(&line)?;
            }
        }
    }
    Ok(())
}
