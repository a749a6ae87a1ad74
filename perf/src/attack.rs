//! `latency/attack/*`: an honest session beside strangers who mean harm.
//!
//! # Method
//! One client sends in open loop, on the same schedule each time: alone, then beside each attack, then alone again. An attack
//! is a process of its own, which comes from another address than the client where the node is on loopback, as strangers do;
//! it stands before the load begins and goes on until after it. It is paced, so that what is measured is what the node lets
//! it do and not how well two processes share a core. Ratios are to what the client sees alone, in both runs together.

use crate::arrivals::{Arrivals, Recorded, schedule};
use crate::load::{Latencies, Load, Pace, run as run_load};
use crate::report::{Figure, append, figures_of, share, warnings};
use crate::session::framed;
use crate::site::{Needs, Site};
use crate::{Error, Place};
use clap::ValueEnum;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use wattbook_feed::sbe::{LogonMessage, encode_logon};
use wattbook_feed::soupbin::{self, LoginRequest};
use wattbook_node::chain::participant_key;
use wattbook_types::{Hash, ParticipantId};

/// Where attacks come from on loopback.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Connections of a kind that holds them.
const HELD: usize = 200;
/// Connections a second of a kind that opens them again and again, and messages a second of a flood.
const CONNECTIONS_PER_S: u32 = 500;
const MESSAGES_PER_S: u32 = 50_000;
/// Messages of a flood that are sent at once.
const BURST: u32 = 500;
/// Longest wait for what the node answers to an attack.
const ANSWER: Duration = Duration::from_millis(50);
/// Percentiles that are rows.
const ROWS: [&str; 3] = ["p50", "p99", "p99.9"];

/// What a stranger does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Attack {
    /// Connections that say random bytes.
    Garbage,
    /// Packets that claim, and bring, more than a node takes.
    Oversize,
    /// Logins that come a byte in a while.
    SlowLoris,
    /// Connections that say nothing.
    HalfOpen,
    /// A session that sends messages as fast as it may, and faster.
    Flood,
    /// Logons of the honest client's account with a signature of another key, each over a connection of its own: each costs
    /// the node two pairings.
    LoginStorm,
}

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Envelopes a second of the honest client.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Length of each load, s.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Leaves an envelope.
    #[arg(long, default_value_t = 16)]
    leaves: u32,
    /// Seed of arrivals and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: Place,
    /// File that the figures are appended to, one JSON line each.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Be the attack, on the node at --on, until killed.
    #[arg(long, hide = true, requires_all = ["on", "account"])]
    be: Option<Attack>,
    /// The node attacked.
    #[arg(long, hide = true)]
    on: Option<SocketAddr>,
    /// The honest client's account.
    #[arg(long, hide = true)]
    account: Option<u64>,
}

/// An attack under way.
struct Attacker(Child);

impl Attacker {
    /// Starts it and waits until it stands.
    fn start(attack: Attack, addr: SocketAddr, account: ParticipantId) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::io("this program"))?;
        let name = attack.to_possible_value().expect("INVARIANT: no attack is skipped");
        let mut command = Command::new(program);
        command.args(["attack", "--be", name.get_name(), "--on", &addr.to_string()]);
        command.args(["--account", &account.get().to_string()]);
        let child = command.stdout(Stdio::piped()).spawn();
        let mut attacker = Self(child.map_err(Error::io("an attack"))?);
        let mut line = String::new();
        let said = attacker.0.stdout.take().map(BufReader::new);
        let read = said.map_or(Ok(0), |mut said| said.read_line(&mut line));
        match read.map_err(Error::io("an attack"))? {
            0 => Err(Error::Stalled("an attack did not begin; what it said stands above")),
            _ => Ok(attacker),
        }
    }

    /// Whether it went on until now.
    fn stands(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the bench, or the attack.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    if let (Some(attack), Some(addr), Some(account)) = (args.be, args.on, args.account) {
        return attack
            .go_on(addr, ParticipantId::new(account))
            .map_err(Error::io("an attack"));
    }
    for (name, value) in [("rate", args.rate), ("seconds", args.seconds), ("leaves", args.leaves)] {
        if value == 0 {
            return Err(Error::Zero(name));
        }
    }
    let needs = Needs {
        clients: 1,
        // BOUND: a few hundred.
        idle: HELD as u32,
        open_s: 1_200 + 10 * u64::from(args.seconds),
        seed: args.seed,
    };
    let mut site = Site::open(&args.place, needs)?;
    let account = site.accounts.first().ok_or(Error::NoCapacity)?.id;
    site.await_book()?;
    let mut found = BTreeSet::new();
    let mut measure = |site: &mut Site, name: &str| -> Result<Latencies, Error> {
        eprintln!("== {name}: {}/s for {} s", args.rate, args.seconds);
        let instants = schedule(
            Arrivals::Poisson,
            args.rate,
            args.seconds,
            args.seed,
            &Recorded::default(),
        );
        let load = Load {
            pace: Pace::Open(instants),
            leaves: args.leaves,
        };
        let measured = run_load(&load, site)?;
        let said = warnings(Some(args.rate), site, &measured);
        found.extend(said.into_iter().map(|warning| format!("{name}: {warning}")));
        Ok(measured.taken.whole.matched)
    };
    let mut alone = measure(&mut site, "alone")?;
    let mut beside = Vec::new();
    for attack in Attack::value_variants() {
        let name = attack.to_possible_value().expect("INVARIANT: no attack is skipped");
        let mut attacker = Attacker::start(*attack, site.addr, account)?;
        let taken = measure(&mut site, name.get_name())?;
        if !attacker.stands() {
            return Err(Error::Stalled("an attack ended by itself; what it said stands above"));
        }
        beside.push((name.get_name().to_owned(), taken));
    }
    let again = measure(&mut site, "alone again")?;
    alone
        .add(&again)
        .expect("INVARIANT: every histogram has the same bounds");
    let rows = |name: &str, taken: &Latencies| -> Vec<Figure> {
        let all = figures_of(&format!("latency/attack/{name}"), "", taken);
        all.into_iter()
            .filter(|figure| ROWS.contains(&figure.metric.as_str()))
            .collect()
    };
    let base = rows("alone", &alone);
    let mut figures = base.clone();
    for (name, taken) in &beside {
        for (mut figure, base) in rows(name, taken).into_iter().zip(&base) {
            figure.ratio = Some((share(figure.value, base.value), "alone"));
            figures.push(figure);
        }
    }
    for figure in &figures {
        let ratio = figure.ratio.map(|(ratio, to)| format!("{ratio:>8.3} of {to}"));
        println!(
            "{:<28} {:<6} {:>12} {}{}",
            figure.bench,
            figure.metric,
            figure.value,
            figure.unit,
            ratio.unwrap_or_default()
        );
    }
    for warning in &found {
        eprintln!("warning: {warning}");
    }
    drop(site);
    args.out.as_deref().map_or(Ok(()), |path| append(path, &figures))
}

/// A connection of a stranger.
fn knock(addr: SocketAddr) -> io::Result<TcpStream> {
    let family = if addr.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    if addr.is_ipv4() && addr.ip().is_loopback() {
        bind(&socket, &SocketAddr::from((STRANGER, 0)))?;
    }
    connect(&socket, &addr)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

/// Reads what the node answers, until it closes the connection or has answered for a while.
fn hear_out(stream: &mut TcpStream) {
    let (mut bytes, until) = ([0; 4_096], Instant::now() + ANSWER);
    while Instant::now() < until && matches!(stream.read(&mut bytes), Ok(len) if len > 0) {}
}

fn login() -> Vec<u8> {
    let request = LoginRequest {
        username: String::new(),
        password: String::new(),
        session: soupbin::SESSION_PRIVATE.to_owned(),
        sequence: 1,
    };
    let mut bytes = Vec::new();
    soupbin::put_login_request(&request, &mut bytes);
    bytes
}

/// So many a second, and no burst to make up for what was late.
struct Beat {
    gap: Duration,
    next: Instant,
}

impl Beat {
    fn per_second(rate: u32) -> Self {
        Self {
            gap: Duration::from_secs(1) / rate.max(1),
            next: Instant::now(),
        }
    }

    fn wait(&mut self) {
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next = Instant::now().max(self.next) + self.gap;
    }
}

impl Attack {
    /// Attacks for ever; says so once it stands.
    fn go_on(self, addr: SocketAddr, account: ParticipantId) -> io::Result<()> {
        // A node that nobody reaches is not attacked.
        drop(knock(addr)?);
        match self {
            Self::Garbage | Self::Oversize | Self::LoginStorm => self.knock_again_and_again(addr, account),
            Self::SlowLoris | Self::HalfOpen => self.hold(addr),
            Self::Flood => flood(addr),
        }
    }

    fn knock_again_and_again(self, addr: SocketAddr, account: ParticipantId) -> io::Result<()> {
        let (mut rng, mut beat) = (ChaCha8Rng::seed_from_u64(1), Beat::per_second(CONNECTIONS_PER_S));
        let mut noise = vec![0; 4_096];
        // A point of the curve like any other: it is refused by the pairing alone.
        let logon = LogonMessage {
            participant: account.get(),
            grade: 1,
            reserved: [0; 7],
            signature: participant_key(&[9; 32], account).sign(&Hash([9; 32])),
        };
        let forged = framed(|message| encode_logon(&logon, message));
        let oversize = [login(), vec![0xff; 3], vec![0; 96 << 10]].concat();
        say_so()?;
        loop {
            beat.wait();
            // The node may refuse a connection, or close it within: both are its good right.
            let Ok(mut stream) = knock(addr) else { continue };
            match self {
                Self::Garbage => {
                    rng.fill_bytes(&mut noise);
                    let _ = stream.write_all(&noise);
                }
                Self::Oversize => {
                    let _ = stream.write_all(&oversize);
                }
                _ => {
                    let _ = stream.write_all(&login());
                    let mut bytes = [0; 256];
                    let _ = stream.read(&mut bytes);
                    let _ = stream.write_all(&forged);
                    let _ = stream.read(&mut bytes);
                    continue;
                }
            }
            hear_out(&mut stream);
        }
    }

    /// Holds connections, and opens them again where the node ends them.
    fn hold(self, addr: SocketAddr) -> io::Result<()> {
        let login = login();
        let mut held: Vec<Option<(TcpStream, usize)>> = Vec::new();
        held.resize_with(HELD, || None);
        let (mut beat, mut is_said) = (Beat::per_second(CONNECTIONS_PER_S), false);
        loop {
            for place in &mut held {
                beat.wait();
                let Some((stream, said)) = place else {
                    *place = knock(addr).ok().map(|stream| (stream, 0));
                    if let Some((stream, _)) = place {
                        stream.set_nonblocking(true)?;
                    }
                    continue;
                };
                let mut bytes = [0; 256];
                let is_over = match stream.read(&mut bytes) {
                    Ok(len) => len == 0,
                    Err(error) => error.kind() != ErrorKind::WouldBlock,
                };
                let is_slow = self == Self::SlowLoris && *said + 1 < login.len();
                if is_over || (is_slow && stream.write(&login[*said..=*said]).is_err()) {
                    *place = None;
                } else {
                    *said += usize::from(is_slow);
                }
            }
            if !is_said {
                say_so()?;
                is_said = true;
            }
        }
    }
}

/// A session that sends and sends; what the node answers it takes, so that it is not cut off for that.
fn flood(addr: SocketAddr) -> io::Result<()> {
    let mut packets = Vec::new();
    for _ in 0..BURST {
        soupbin::put_unsequenced(b"?", &mut packets);
    }
    let (mut beat, mut is_said) = (Beat::per_second(MESSAGES_PER_S / BURST), false);
    let mut answers = vec![0; 64 << 10];
    loop {
        beat.wait();
        let Ok(mut stream) = knock(addr) else { continue };
        if stream.write_all(&login()).is_err() {
            continue;
        }
        if !is_said {
            say_so()?;
            is_said = true;
        }
        stream.set_nonblocking(true)?;
        let (mut sent, mut is_over) = (0, false);
        while !is_over {
            beat.wait();
            // What a socket does not take goes first next time.
            while sent < packets.len() && !is_over {
                match stream.write(&packets[sent..]) {
                    Ok(len) => sent += len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => is_over = true,
                }
            }
            sent %= packets.len();
            loop {
                match stream.read(&mut answers) {
                    Ok(0) => is_over = true,
                    Ok(_) => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => is_over = true,
                }
                break;
            }
        }
    }
}

/// The attack stands.
fn say_so() -> io::Result<()> {
    writeln!(io::stdout(), "attacking")
}
