//! `sessions/10k`: thousands of idle sessions beside one that trades at full rate.
//!
//! # Method
//! A node as a process of its own; this process holds the idle sessions, which are logged in and send a heartbeat a second,
//! and the trading client, which keeps a window of envelopes unanswered. It runs once without the crowd and once with it.
//! Memory is what the node holds itself, and beside it its resident set with mapped files, of which the ledger's are most; a heartbeat is kept when the node's silence to a session never exceeds three of them.

use crate::load::{Load, Pace, run as run_load};
use crate::report::{Figure, append, share, warnings};
use crate::site::{Needs, Site};
use crate::{Error, Place, nanos};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use wattbook_feed::soupbin::{self, LoginRequest};

/// Silence after which either side sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Envelopes of the trading session that are unanswered at most: with their deals and 16 leaves each, what they are answered fits into the
/// history of a stream (`publish.history_len`), so that a client that the crowd holds up is not cut off.
const OUTSTANDING: u64 = 1_024;
/// Connections that are on their way at once.
const AT_ONCE: usize = 256;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Idle sessions.
    #[arg(long, default_value_t = 10_000)]
    sessions: u32,
    /// Envelopes that the trading session sends in each run.
    #[arg(long, default_value_t = 20_000)]
    envelopes: u32,
    /// Leaves of each.
    #[arg(long, default_value_t = 16)]
    leaves: u32,
    #[command(flatten)]
    place: Place,
    /// File that the figures are appended to, one JSON line each.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the idle sessions saw.
#[derive(Debug, Default)]
struct Seen {
    logged_in: AtomicU64,
    lost: AtomicU64,
    /// Times that a session heard nothing for more than three heartbeats.
    late: AtomicU64,
    /// Longest silence of the node to any, ms.
    silence_ms: AtomicU64,
}

/// Runs the bench.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    for (name, value) in [
        ("sessions", args.sessions),
        ("envelopes", args.envelopes),
        ("leaves", args.leaves),
    ] {
        if value == 0 {
            return Err(Error::Zero(name));
        }
    }
    let needs = Needs {
        clients: 1,
        idle: args.sessions,
        open_s: 1_200,
        seed: 1,
    };
    let mut site = Site::open(&args.place, needs)?;
    let load = Load {
        pace: Pace::Window {
            outstanding: OUTSTANDING,
            envelopes: args.envelopes as usize,
        },
        leaves: args.leaves,
    };
    let alone = run_load(&load, &mut site)?;
    let bare = Memory::of(&site);
    let (seen, ended) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let crowd = {
        let (seen, ended, addr, sessions) = (Arc::clone(&seen), Arc::clone(&ended), site.addr, args.sessions);
        thread::spawn(move || crowd(addr, sessions, &seen, &ended))
    };
    while seen.logged_in.load(Ordering::Relaxed) < u64::from(args.sessions) && !crowd.is_finished() {
        thread::sleep(Duration::from_millis(20));
    }
    eprintln!("{} sessions stand", seen.logged_in.load(Ordering::Relaxed));
    // Idle for a while, so that everybody's heartbeats are under way.
    thread::sleep(3 * HEARTBEAT);
    let idle = Memory::of(&site);
    let beside = run_load(&load, &mut site)?;
    let trading = Memory::of(&site);
    ended.store(true, Ordering::Relaxed);
    let crowd = crowd.join().map_err(|_| Error::Receiver)?;
    crowd.map_err(Error::io("idle sessions"))?;
    let rate = |measured: &crate::load::Measured| measured.per_second(measured.items());
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let sessions = u64::from(args.sessions);
    let figure = |metric: &str, value, unit, ratio| Figure {
        bench: "sessions/10k".to_owned(),
        metric: metric.to_owned(),
        value,
        unit,
        ratio,
        samples: sessions,
    };
    let limited = |metric: &str, kib| figure(metric, kib, "KiB", Some((share(kib, 200_000_000 / 1_024), "200 MB")));
    for (measured, when) in [(&alone, "alone"), (&beside, "beside the crowd")] {
        for warning in warnings(None, &site, measured) {
            eprintln!("warning: {when}: {warning}");
        }
    }
    let figures = [
        figure("sessions", count(&seen.logged_in) - count(&seen.lost), "1", None),
        limited("memory_idle", idle.own),
        limited("memory_trading", trading.own),
        figure("memory_without", bare.own, "KiB", None),
        figure("resident_idle", idle.resident, "KiB", None),
        figure("resident_trading", trading.resident, "KiB", None),
        figure("resident_without", bare.resident, "KiB", None),
        figure("heartbeats_late", count(&seen.late), "1", None),
        figure("silence_max", count(&seen.silence_ms), "ms", None),
        figure(
            "quotes",
            rate(&beside),
            "1/s",
            Some((share(rate(&beside), rate(&alone)), "without the crowd")),
        ),
    ];
    for figure in &figures {
        let ratio = figure.ratio.map(|(ratio, to)| format!("{ratio:>8.3} of {to}"));
        println!(
            "{:<14} {:<18} {:>10} {}{}",
            figure.bench,
            figure.metric,
            figure.value,
            figure.unit,
            ratio.unwrap_or_default()
        );
    }
    drop(site);
    args.out.as_deref().map_or(Ok(()), |path| append(path, &figures))
}

/// Memory of the node, KiB; 0 for one that is not ours.
#[derive(Clone, Copy)]
struct Memory {
    /// What it holds itself: the kernel can take none of it back.
    own: u64,
    /// With the pages of mapped files, the ledger's and the program's, that are in memory just now.
    resident: u64,
}

impl Memory {
    fn of(site: &Site) -> Self {
        let status = site
            .pid()
            .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")));
        let status = status.and_then(Result::ok).unwrap_or_default();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok())
                .unwrap_or(0)
        };
        Self {
            own: kib("RssAnon:") + kib("RssShmem:"),
            resident: kib("VmRSS:"),
        }
    }
}

struct Idle {
    stream: TcpStream,
    heard: Instant,
    has_asked: bool,
    is_logged_in: bool,
    is_over: bool,
}

/// Holds the sessions until the end.
fn crowd(addr: SocketAddr, sessions: u32, seen: &Seen, ended: &AtomicBool) -> std::io::Result<()> {
    let mut login = Vec::new();
    let request = LoginRequest {
        username: String::new(),
        password: String::new(),
        session: soupbin::SESSION_PRIVATE.to_owned(),
        sequence: 1,
    };
    soupbin::put_login_request(&request, &mut login);
    let mut heartbeat = Vec::new();
    soupbin::put_client_heartbeat(&mut heartbeat);
    let mut poll = Poll::new()?;
    let (mut events, mut buffer) = (Events::with_capacity(4_096), vec![0; 64 << 10]);
    let mut all: Vec<Idle> = Vec::with_capacity(sessions as usize);
    // Heartbeats go out a slice of the sessions at a time.
    let (mut next, mut begun) = (0, Instant::now());
    while !ended.load(Ordering::Relaxed) {
        let under_way = all.len() - seen.logged_in.load(Ordering::Relaxed) as usize;
        if under_way < AT_ONCE / 2 {
            for _ in 0..AT_ONCE.min(sessions as usize - all.len()) {
                let mut stream = TcpStream::connect(addr)?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(all.len()), interest)?;
                all.push(Idle {
                    stream,
                    heard: Instant::now(),
                    has_asked: false,
                    is_logged_in: false,
                    is_over: false,
                });
            }
        }
        poll.poll(&mut events, Some(Duration::from_millis(10)))?;
        let now = Instant::now();
        for event in &events {
            let idle = &mut all[event.token().0];
            if event.is_writable() && !idle.has_asked && !idle.is_over {
                idle.has_asked = true;
                idle.is_over = idle.stream.write(&login).is_err();
            }
            while event.is_readable() && !idle.is_over {
                match idle.stream.read(&mut buffer) {
                    Ok(0) => idle.is_over = true,
                    Ok(_) => {
                        if idle.is_logged_in {
                            let silence = now.duration_since(idle.heard);
                            seen.late.fetch_add((silence > 3 * HEARTBEAT).into(), Ordering::Relaxed);
                            seen.silence_ms.fetch_max(nanos(silence) / 1_000_000, Ordering::Relaxed);
                        } else {
                            idle.is_logged_in = true;
                            seen.logged_in.fetch_add(1, Ordering::Relaxed);
                        }
                        idle.heard = now;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => idle.is_over = true,
                }
                if idle.is_over {
                    seen.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        // As many as are due since the round began.
        let due = nanos(now.duration_since(begun)) * all.len() as u64 / nanos(HEARTBEAT);
        while (next as u64) < due && next < all.len() {
            let idle = &mut all[next];
            if idle.is_logged_in && !idle.is_over {
                // One that cannot be sent is sent with the next round.
                let _ = idle.stream.write(&heartbeat);
            }
            next += 1;
        }
        if next >= all.len() && now.duration_since(begun) >= HEARTBEAT {
            (next, begun) = (0, now);
        }
    }
    Ok(())
}
