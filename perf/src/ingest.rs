//! `ingest/64` and `ingest/1`: the ingest stage by itself, over loopback: framing, decoding, admission, the ring.
//!
//! # Method
//! The stage runs on a thread of this process as it does in a node, limits on; one thread sends on every session in turn
//! without ever blocking, one takes what the stage hands on. A figure is quotes for a second of processor time of the
//! stage's thread, which is what one core takes, and beside it what came through in a second of the clock, which is less
//! where the three threads share fewer cores. Backends run in turn, several times; the best of each counts.
//!
//! Two shapes of traffic: `flood`, few sessions that always have more to send, so that a read finds many messages; and
//! `spread`, many sessions that send one envelope at a time, so that a read finds one.

use crate::report::{Figure, append, share};
use crate::{Error, cpu, nanos};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};
use wattbook_feed::keys::{BlsSecret, KeyRole};
use wattbook_feed::sbe::encode_envelope;
use wattbook_feed::signed::SealedEnvelope;
use wattbook_feed::soupbin::{self, Decoder, LoginRequest, PACKET_MAX, Packet, Peer};
use wattbook_node::config::{self, Backend, Wait};
use wattbook_node::metrics::Metrics;
use wattbook_node::ring::{Receiver, ring};
use wattbook_node::stage::envelopes::Envelopes;
use wattbook_node::stage::ingest::{Bell, ChainFacts, Ingest};
use wattbook_node::stage::{Job, Request};
use wattbook_types::{ChainId, Hash, ParticipantId, TimeNs};

/// Sizes of envelope measured.
const SIZES: [u32; 2] = [64, 1];
/// Bytes that a session of the flood has ready.
const BLOCK: usize = 64 << 10;
/// Before a measurement.
const WARM_UP: Duration = Duration::from_millis(300);

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Length of one measurement, ms.
    #[arg(long, default_value_t = 1_500)]
    millis: u32,
    /// Measurements of each backend.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Sessions of the flood.
    #[arg(long, default_value_t = 64)]
    flood: u32,
    /// Sessions that send one envelope at a time.
    #[arg(long, default_value_t = 1_024)]
    spread: u32,
    /// Only this backend.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Only envelopes of so many leaves.
    #[arg(long)]
    leaves: Option<u32>,
    /// File that the figures are appended to, one JSON line each.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    sessions: u32,
    /// Envelopes written at a time.
    at_once: usize,
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    /// Quotes for a second of the stage's processor time.
    per_core: u64,
    /// Quotes in a second of the clock.
    per_second: u64,
}

/// Runs the bench.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    for (name, value) in [
        ("millis", args.millis),
        ("rounds", args.rounds),
        ("flood", args.flood),
        ("spread", args.spread),
    ] {
        if value == 0 {
            return Err(Error::Zero(name));
        }
    }
    let backends = match args.backend {
        Some(backend) => vec![backend],
        None => vec![Backend::Mio, Backend::IoUring],
    };
    let mut figures = Vec::new();
    for leaves in SIZES {
        if args.leaves.is_some_and(|only| only != leaves) {
            continue;
        }
        let packet = packet(leaves);
        let shapes = [
            Shape {
                name: "flood",
                sessions: args.flood,
                at_once: BLOCK.div_ceil(packet.len()),
            },
            Shape {
                name: "spread",
                sessions: args.spread,
                at_once: 1,
            },
        ];
        for shape in shapes {
            let mut best = vec![Rate::default(); backends.len()];
            for _ in 0..args.rounds {
                for (backend, best) in backends.iter().zip(&mut best) {
                    let rate = measure(*backend, shape, &packet, leaves, args)?;
                    best.per_core = best.per_core.max(rate.per_core);
                    best.per_second = best.per_second.max(rate.per_second);
                }
            }
            let mio = best[0];
            for (backend, rate) in backends.iter().zip(&best) {
                let is_rival = *backend == Backend::IoUring && backends.len() > 1;
                let name = match backend {
                    Backend::Mio => "mio",
                    _ => "io_uring",
                };
                for (what, value, rival) in [
                    ("core", rate.per_core, mio.per_core),
                    ("wall", rate.per_second, mio.per_second),
                ] {
                    figures.push(Figure {
                        bench: format!("ingest/{leaves}"),
                        metric: format!("{}/{name}/{what}", shape.name),
                        value,
                        unit: "quotes/s",
                        ratio: is_rival.then(|| (share(value, rival), "mio")),
                        samples: args.rounds.into(),
                    });
                }
            }
        }
    }
    for figure in &figures {
        let ratio = figure.ratio.map(|(ratio, to)| format!("{ratio:>8.3} of {to}"));
        println!(
            "{:<10} {:<22} {:>12} {}{}",
            figure.bench,
            figure.metric,
            figure.value,
            figure.unit,
            ratio.unwrap_or_default()
        );
    }
    args.out.as_deref().map_or(Ok(()), |path| append(path, &figures))
}

/// An envelope as it travels; ingest looks at everything but the signature's truth.
fn packet(leaves: u32) -> Vec<u8> {
    let secret = BlsSecret::derive(&[1; 32], KeyRole::Participant, 1);
    let leaves = vec![[0; 48]; leaves as usize];
    let (chain, who) = (ChainId(Hash::ZERO), ParticipantId::new(1));
    let envelope = SealedEnvelope::sign(chain, &secret, who, 1, 1, TimeNs::new(1), leaves);
    let (mut message, mut packet) = (Vec::new(), Vec::new());
    encode_envelope(&envelope, &mut message);
    soupbin::put_unsequenced(&message, &mut packet);
    packet
}

fn measure(backend: Backend, shape: Shape, packet: &[u8], leaves: u32, args: &Args) -> Result<Rate, Error> {
    let mut settings = config::Ingest {
        backend,
        sessions_max: shape.sessions as usize,
        ..config::Ingest::default()
    };
    // Limits are counted, and never reached.
    settings.limits.sessions_per_address_max = shape.sessions as usize;
    settings.limits.messages_per_s = 1_000_000_000;
    settings.limits.bytes_per_s = 1 << 33;
    settings.limits.total_messages_per_s = 1_000_000_000;
    settings.limits.total_bytes_per_s = 1 << 33;
    let io = Error::io("sockets of the ingest stage");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io)?;
    let addr = listener
        .local_addr()
        .map_err(Error::io("sockets of the ingest stage"))?;
    let (jobs_in, jobs) = ring(settings.ring_len, Wait::Yield);
    let (sockets, outbound) = ring(16, Wait::Park);
    let (envelopes, stop) = (Envelopes::new(settings.ring_len), Arc::new(AtomicBool::new(false)));
    let stage = Ingest {
        listener,
        jobs: jobs_in,
        outbound,
        drained: Weak::new(),
        bell: Bell::new().map_err(Error::io("event of the ingest stage"))?,
        settings,
        tls: None,
        facts: ChainFacts {
            chain: ChainId(Hash::ZERO),
            demo: true,
        },
        envelopes: envelopes.clone(),
        stop: Arc::clone(&stop),
        metrics: Metrics::default(),
    };
    let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
    let failed = Error::io("thread");
    let ingest = spawn("ingest").spawn(move || stage.run()).map_err(failed)?;
    let taken = Arc::new(AtomicU64::new(0));
    let drain = {
        let taken = Arc::clone(&taken);
        spawn("drain").spawn(move || drain(&jobs, &envelopes, &taken))
    };
    let drain = drain.map_err(Error::io("thread"))?;
    let ended = Arc::new(AtomicBool::new(false));
    let generator = {
        let (ended, block) = (Arc::clone(&ended), packet.repeat(shape.at_once));
        spawn("generate").spawn(move || generate(addr, shape, &block, &ended))
    };
    let generator = generator.map_err(Error::io("thread"))?;
    // Until everybody has logged in and something flows.
    while taken.load(Ordering::Relaxed) == 0 && !generator.is_finished() {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(WARM_UP);
    let pid = std::process::id();
    let (start, before, first) = (Instant::now(), cpu::threads(pid), taken.load(Ordering::Relaxed));
    thread::sleep(Duration::from_millis(args.millis.into()));
    let (elapsed, after, last) = (start.elapsed(), cpu::threads(pid), taken.load(Ordering::Relaxed));
    ended.store(true, Ordering::Relaxed);
    let sent = generator.join().map_err(|_| Error::Receiver)?;
    stop.store(true, Ordering::Relaxed);
    drain.join().map_err(|_| Error::Receiver)?;
    drop(sockets);
    let over = ingest.join().map_err(|_| Error::Receiver)?;
    over.map_err(Error::io("ingest stage"))?;
    sent.map_err(Error::io("generator"))?;
    let quotes = (last - first) * u64::from(leaves);
    let used = cpu::between(&before, &after).get("ingest").copied().unwrap_or(0);
    let per = |ns: u64| u64::try_from(u128::from(quotes) * 1_000_000_000 / u128::from(ns.max(1))).unwrap_or(u64::MAX);
    Ok(Rate {
        per_core: per(used),
        per_second: per(nanos(elapsed)),
    })
}

/// Takes what the stage hands on, as verify does.
fn drain(jobs: &Receiver<Job>, envelopes: &Envelopes, taken: &AtomicU64) {
    while let Ok(job) = jobs.recv() {
        match job.request {
            Request::Envelope(envelope) => {
                taken.fetch_add(1, Ordering::Relaxed);
                envelopes.give_back(envelope);
            }
            Request::Stop => return,
            _ => {}
        }
    }
}

struct Sender {
    stream: TcpStream,
    /// Of the block, what has been written.
    at: usize,
}

/// Logs every session in, then writes blocks on each in turn until the end.
fn generate(addr: SocketAddr, shape: Shape, block: &[u8], ended: &AtomicBool) -> std::io::Result<()> {
    let mut login = Vec::new();
    let request = LoginRequest {
        username: String::new(),
        password: String::new(),
        session: soupbin::SESSION_PRIVATE.to_owned(),
        sequence: 1,
    };
    soupbin::put_login_request(&request, &mut login);
    let mut senders = Vec::new();
    for _ in 0..shape.sessions {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.write_all(&login)?;
        let mut decoder = Decoder::new(Peer::Server, PACKET_MAX);
        while !matches!(decoder.next_packet(), Ok(Some(Packet::LoginAccepted(_)))) {
            match stream.read(decoder.spare())? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                len => decoder.filled(len),
            }
        }
        stream.set_nonblocking(true)?;
        senders.push(Sender { stream, at: 0 });
    }
    while !ended.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for sender in &mut senders {
            match sender.stream.write(&block[sender.at..]) {
                Ok(len) => {
                    sender.at = (sender.at + len) % block.len();
                    is_idle = false;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if is_idle {
            thread::yield_now();
        }
    }
    Ok(())
}
