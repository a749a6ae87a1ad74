//! `wattbook tail`: the public feed of a node, a recording of it, or the records of a ledger.
//!
//! # Contract
//! * With --line the feed is followed over MoldUDP64, and what the lines lose is asked for at --requests, then at ADDR: what is
//!   printed, recorded and said at the end is the same.
//! * One line a message or record on stdout, with its number; rendering in [`crate::present`].
//! * A ledger's records can be asked for by participant and contract, a feed's messages cannot: it holds no participants.
//! * A feed is followed until the node ends the session (exit code 0) or the connection is lost (exit code 1, with the
//!   number to resume at). A ledger is read to its newest committed block, beside a live node if there is one.
//! * With --record every message is in the file before its line is printed, those of a later schema too, and a recording that
//!   exists goes on where it ends. --replay prints a recording as the feed was printed.

use super::connect::TlsArgs;
use crate::present;
use crate::selection::{Selection, parse_contract, parse_participant};
use serde_json::json;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use wattbook_feed::client::{ClientError, StreamKind};
use wattbook_feed::recording::{Recorder, Recording, RecordingError};
use wattbook_feed::soupbin::LoginRefusal;
use wattbook_feed::subscriber::{Sources, SubscribeError, Subscriber};
use wattbook_feed::tls::TlsError;
use wattbook_ledger::{Fault, HeaderIndex, Reader, Records};
use wattbook_types::{ContractId, ParticipantId};

/// Follows the public feed of a node, replays a recording of it, or prints the records of a ledger.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Address of a node, as host:port, or directory of a ledger.
    #[arg(value_name = "ADDR|DIR", required_unless_present_any = ["replay", "line"])]
    target: Option<String>,
    /// Follow the feed over UDP: where the node sends a line of it, as its `[fanout]` names it; once for each line.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "replay")]
    line: Vec<SocketAddr>,
    /// With --line: a re-request server, asked for what the lines lose; more than one are asked in turn.
    #[arg(long, value_name = "IP:PORT", requires = "line")]
    requests: Vec<SocketAddr>,
    /// First number wanted: of the feed's messages (default: what comes next) or of the ledger's records (default: 1).
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Only records of this participant; of a ledger.
    #[arg(long, value_name = "ID", value_parser = parse_participant)]
    participant: Option<ParticipantId>,
    /// Only records about this contract, by its id or as `area/product/period`; of a ledger.
    #[arg(long, value_name = "ID", value_parser = parse_contract)]
    contract: Option<ContractId>,
    /// End after this many lines.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// With a directory: folder of the segments that `wattbook retain` moved off.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Record the feed in this file; one that exists goes on where it ends.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print what this file recorded, instead of a node's feed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "record"])]
    replay: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
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
    #[error("{0}: is no address of a session port: {1}")]
    SessionPort(String, io::Error),
    #[error("cannot follow the lines: {0}")]
    Bind(SubscribeError),
    #[error("{source}; resume with --from {next}")]
    LineLost { source: SubscribeError, next: u64 },
    #[error(transparent)]
    Trust(#[from] TlsError),
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    #[error("the ledger is damaged: {0}")]
    Damaged(#[from] Fault),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("{path} goes on with message {next}, not {from}; leave out --from, or record in another file")]
    RecordedTo { path: String, next: u64, from: u64 },
    #[error("{0} is a ledger, which is a recording itself; --record is for a node's feed")]
    RecordLedger(String),
    #[error("--participant and --contract choose among the records of a ledger; {0} is none")]
    Selected(String),
    #[error("stdout: cannot be written: {0}")]
    Write(io::Error),
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let mut lines = Lines { left: args.count };
    let selected = args.participant.is_some() || args.contract.is_some();
    let tailed = match (&args.replay, args.target.as_deref()) {
        (Some(file), _) if selected => Err(TailError::Selected(file.display().to_string())),
        (Some(file), _) => replay(file, args, &mut lines),
        (None, addr) if !args.line.is_empty() && !selected => datagrams(addr, args, &mut lines),
        (None, Some(dir)) if Path::new(dir).is_dir() => ledger(dir, args, &mut lines),
        (None, addr) if selected => Err(TailError::Selected(addr.unwrap_or_default().to_owned())),
        (None, addr) => feed(addr.unwrap_or_default(), args, &mut lines),
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

/// The recording that goes on, if there is one, and the first number wanted; 0: whatever comes next.
fn begin(args: &Args) -> Result<(Option<Recorder>, u64), TailError> {
    let recorder = match &args.record {
        Some(path) if path.exists() => Recorder::resume(path)?,
        _ => return Ok((None, args.from.unwrap_or(0))),
    };
    let next = recorder.next_seq();
    if let Some(from) = args.from.filter(|from| *from != next) {
        let path = args.record.as_deref().unwrap_or(Path::new("")).display().to_string();
        return Err(TailError::RecordedTo { path, next, from });
    }
    Ok((Some(recorder), next))
}

/// The feed over UDP; what the lines and the re-request servers do not give comes from the session port at `addr`.
fn datagrams(addr: Option<&str>, args: &Args, lines: &mut Lines) -> Result<(), TailError> {
    let (mut recorder, from) = begin(args)?;
    let session = match addr {
        Some(addr) => {
            let unknown = |error| TailError::SessionPort(addr.to_owned(), error);
            let mut found = addr.to_socket_addrs().map_err(unknown)?;
            found.next()
        }
        None => None,
    };
    let sources = Sources {
        lines: args.line.clone(),
        requests: args.requests.clone(),
        session,
    };
    let subscriber = Subscriber::bind(sources, from).map_err(TailError::Bind)?;
    let mut subscriber = match args.tls.trust()? {
        Some(trust) => subscriber.over_tls(trust, args.tls.name(addr.unwrap_or_default())),
        None => subscriber,
    };
    while !lines.done() {
        let (seq, bytes) = match subscriber.next(Duration::from_secs(60)) {
            Ok(Some(numbered)) => numbered,
            Ok(None) => continue,
            Err(SubscribeError::EndOfSession(next)) => {
                tracing::info!(next, "the node ended the session");
                return recorder.map_or(Ok(()), |recorder| Ok(recorder.end()?));
            }
            Err(source) => {
                let next = subscriber.next_seq();
                return Err(TailError::LineLost { source, next });
            }
        };
        if let (None, Some(path)) = (&recorder, &args.record) {
            // Now the number of the first message is known.
            recorder = Some(Recorder::create(path, StreamKind::Public.session(), seq)?);
        }
        if let Some(recorder) = &mut recorder {
            recorder.append(Some(seq), &bytes)?;
        }
        show(Some(seq), &bytes, args.json, lines)?;
    }
    Ok(())
}

fn feed(addr: &str, args: &Args, lines: &mut Lines) -> Result<(), TailError> {
    let addr = addr.to_owned();
    let (mut recorder, from) = begin(args)?;
    let mut client = match args.tls.connect(&addr, StreamKind::Public, from) {
        Ok(client) => client,
        Err(ClientError::LoginRefused(LoginRefusal::SessionNotAvailable)) => {
            return Err(TailError::NotAtHand { addr, from });
        }
        Err(source) => return Err(TailError::Connect { addr, source }),
    };
    if let (None, Some(path)) = (&recorder, &args.record) {
        // Now the number of what comes next is known.
        recorder = Some(Recorder::create(path, StreamKind::Public.session(), client.next_seq())?);
    }
    while !lines.done() {
        let (seq, bytes) = match client.next_raw(Duration::from_secs(60)) {
            Ok(Some(numbered)) => numbered,
            Ok(None) => continue,
            Err(ClientError::EndOfSession) => {
                tracing::info!(next = client.next_seq(), "the node ended the session");
                return recorder.map_or(Ok(()), |recorder| Ok(recorder.end()?));
            }
            Err(source) => {
                return Err(TailError::Lost {
                    addr,
                    source,
                    next: client.next_seq(),
                });
            }
        };
        if let Some(recorder) = &mut recorder {
            recorder.append(seq, &bytes)?;
        }
        show(seq, &bytes, args.json, lines)?;
    }
    Ok(())
}

/// A message as a line.
fn show(seq: Option<u64>, bytes: &[u8], json: bool, lines: &mut Lines) -> Result<(), TailError> {
    match present::message(bytes) {
        Ok(message) if json => lines.put(&message.to_json(seq)),
        Ok(message) => lines.put(&message.to_text(seq)),
        Err(error) => {
            // A message of a later schema; the next one may be known.
            tracing::warn!(seq, %error, "a message is not shown");
            Ok(())
        }
    }
}

fn replay(file: &Path, args: &Args, lines: &mut Lines) -> Result<(), TailError> {
    let from = args.from.unwrap_or(0);
    let mut recording = Recording::open(file)?;
    while !lines.done() {
        // An unsequenced message stands before the number that comes next.
        let due = recording.next_seq();
        let Some((seq, bytes)) = recording.next()? else {
            return Ok(());
        };
        if due >= from {
            show(seq, &bytes, args.json, lines)?;
        }
    }
    Ok(())
}

fn ledger(dir: &str, args: &Args, lines: &mut Lines) -> Result<(), TailError> {
    if args.record.is_some() {
        return Err(TailError::RecordLedger(dir.to_owned()));
    }
    let selection = Selection {
        from: args.from,
        participant: args.participant,
        contract: args.contract,
    };
    let reader = Reader::open_in(Path::new(dir), args.archive.as_deref())?;
    super::say_left_over(&reader);
    let records = match args.from {
        // Whoever wants everything waits for no index.
        None | Some(0..=1) => Records::new(reader.blocks(), 0),
        Some(from) => HeaderIndex::open(&reader)?.records(&reader, from)?,
    };
    for record in records {
        let (header, record) = record?;
        if lines.done() {
            return Ok(());
        }
        if !selection.has(&record) {
            continue;
        }
        let (seq, kind, name) = (record.seq, record.kind, present::record_name(record.kind));
        let (height, fields) = (header.height, present::record(kind, record.payload));
        if args.json {
            lines.put(&json!({ "seq": seq, "height": height, "kind": kind, "name": name, "fields": fields }))?;
        } else {
            let mut line = format!("{seq} {name} height={height}");
            present::put_fields(&mut line, "", &fields);
            lines.put(&line)?;
        }
    }
    Ok(())
}
