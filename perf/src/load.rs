//! The run: sign ahead, send on schedule or within a window, hand the answers to the receiver.

use crate::cpu::{self, Used};
use crate::flow::Orders;
use crate::receive::{Receiver, Taken};
use crate::session::{SessionError, framed, log_on};
use crate::site::{Account, Site};
use crate::{Error, load_average, nanos};
use hdrhistogram::Histogram;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::sbe::encode_envelope;
use wattbook_feed::signed::{EncodeError, SealedEnvelope};
use wattbook_feed::soupbin;
use wattbook_types::{ChainId, TimeNs};

/// Validity of the envelopes: signed well before they are sent.
const TTL_S: u64 = 80_000;
/// From the last logon to the first envelope.
const LEAD: Duration = Duration::from_millis(200);
/// Longest wait for answers after the last envelope.
const DRAIN: Duration = Duration::from_secs(20);
/// Silence after which a client sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Sessions that log on at the same time.
const LOGONS: usize = 16;
/// Greatest latency told apart, ns.
const LATENCY_MAX: u64 = 120_000_000_000;

/// Latencies in ns, to three digits.
pub(crate) type Latencies = Histogram<u64>;

/// A histogram of latencies.
pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("these bounds hold three digits")
}

/// One load.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// When envelopes are sent.
    pub(crate) pace: Pace,
    /// Leaves an envelope.
    pub(crate) leaves: u32,
}

/// When envelopes are sent.
#[derive(Clone, Debug)]
pub(crate) enum Pace {
    /// At these instants after the start, ns, whatever the node does.
    Open(Vec<u64>),
    /// As fast as they are answered, with so many of a client unanswered at most.
    Window {
        /// Of one client.
        outstanding: u64,
        /// Of all clients.
        envelopes: usize,
    },
}

impl Load {
    fn envelopes(&self) -> usize {
        match &self.pace {
            Pace::Open(instants) => instants.len(),
            Pace::Window { envelopes, .. } => *envelopes,
        }
    }
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Envelopes of the load.
    pub(crate) scheduled: u64,
    /// From the scheduled instant to the end of the write; empty for a window.
    pub(crate) late: Latencies,
    /// What the clients saw.
    pub(crate) taken: Taken,
    /// Processor time of the node by thread, from the first envelope to the last answer; empty for a node elsewhere.
    pub(crate) used: Used,
    /// Load of the machine over the minute before the run, hundredths of a core.
    pub(crate) busy_before: u64,
    /// Wall time of the start.
    pub(crate) started: SystemTime,
}

impl Measured {
    /// Envelopes with a verdict.
    pub(crate) const fn answered(&self) -> u64 {
        self.taken.verdicts
    }

    /// Items with a verdict.
    pub(crate) fn items(&self) -> u64 {
        self.taken.accepted_items + self.taken.rejected.values().sum::<u64>()
    }

    /// `count` per second of the run, rounded down.
    pub(crate) fn per_second(&self, count: u64) -> u64 {
        let rate = u128::from(count) * 1_000_000_000 / u128::from(self.taken.elapsed_ns.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// One client's part of the load.
struct Part {
    /// Scheduled instants, ns after the start; empty for a window.
    due: Vec<u64>,
    packets: Vec<Vec<u8>>,
}

/// Runs the load; the accounts' nonces move on.
pub(crate) fn run(load: &Load, site: &mut Site) -> Result<Measured, Error> {
    let busy_before = load_average();
    let clients = site.accounts.len();
    eprintln!(
        "signing {} envelopes of {} leaves for {clients} clients",
        load.envelopes(),
        load.leaves,
    );
    let first: Vec<u64> = site.accounts.iter().map(|account| account.nonce).collect();
    let parts = sign(load, site.chain, &mut site.accounts)?;
    site.await_book()?;
    let sessions = log_on_all(site)?;
    let mut outbox = Outbox::default();
    let mut receiver = Receiver::new().map_err(Error::io("event queue"))?;
    let mut packets = Vec::with_capacity(clients);
    let answered: Arc<Vec<AtomicU64>> = Arc::new((0..clients).map(|_| AtomicU64::new(0)).collect());
    for (client, (session, part)) in sessions.into_iter().zip(parts).enumerate() {
        let sending = session.stream.try_clone().map_err(Error::io("socket"))?;
        outbox.add(sending);
        let count = part.packets.len() as u64;
        receiver
            .add(session, first[client], count, part.due, load.leaves - 1)
            .map_err(Error::io("socket"))?;
        packets.push(part.packets.into_iter());
    }
    let pid = site.pid();
    let before = pid.map(cpu::threads).unwrap_or_default();
    let (start, started) = (Instant::now() + LEAD, SystemTime::now() + LEAD);
    let (sender, sent) = (thread::current(), Arc::new(AtomicBool::new(false)));
    let receiving = {
        let (answered, sent) = (Arc::clone(&answered), Arc::clone(&sent));
        thread::Builder::new()
            .name("receive".to_owned())
            .spawn(move || receiver.run(start, &answered, &sender, &sent, DRAIN))
            .map_err(Error::io("thread"))?
    };
    let mut late = latencies();
    match &load.pace {
        Pace::Open(instants) => {
            for (i, due) in instants.iter().enumerate() {
                let due = start + Duration::from_nanos(*due);
                outbox.wait_until(due);
                let client = i % clients;
                if let Some(packet) = packets[client].next() {
                    outbox.send(client, packet);
                }
                late.saturating_record(nanos(Instant::now().saturating_duration_since(due)));
            }
        }
        Pace::Window { outstanding, .. } => {
            outbox.wait_until(start);
            let mut counts = vec![0; clients];
            let mut left = clients;
            while left > 0 && !receiving.is_finished() {
                left = 0;
                let mut idle = true;
                for (client, packets) in packets.iter_mut().enumerate() {
                    while counts[client] < answered[client].load(Ordering::Acquire) + outstanding {
                        let Some(packet) = packets.next() else { break };
                        outbox.send(client, packet);
                        counts[client] += 1;
                        idle = false;
                    }
                    left += usize::from(packets.len() > 0);
                }
                outbox.flush();
                if idle {
                    thread::park_timeout(Duration::from_millis(1));
                }
            }
        }
    }
    while !outbox.is_flushed() && !receiving.is_finished() {
        outbox.flush();
        thread::park_timeout(Duration::from_millis(1));
    }
    sent.store(true, Ordering::Release);
    while !receiving.is_finished() {
        outbox.keep_alive();
        thread::park_timeout(HEARTBEAT / 4);
    }
    let mut taken = receiving.join().map_err(|_| Error::Receiver)?;
    taken.lost.append(&mut outbox.lost);
    let after = pid.map(cpu::threads).unwrap_or_default();
    Ok(Measured {
        scheduled: load.envelopes() as u64,
        late,
        taken,
        used: cpu::between(&before, &after),
        busy_before,
        started,
    })
}

fn log_on_all(site: &Site) -> Result<Vec<crate::session::LoggedOn>, Error> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut sessions = Vec::new();
        loop {
            let client = next.fetch_add(1, Ordering::Relaxed);
            let Some(account) = site.accounts.get(client) else {
                return Ok(sessions);
            };
            sessions.push((client, log_on(site.addr, site.chain, account.id, &account.secret)?));
        }
    };
    let parts = thread::scope(|scope| {
        let threads: Vec<_> = (0..LOGONS.min(site.accounts.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("a logon does not panic"));
        joined.collect::<Result<Vec<_>, SessionError>>()
    })?;
    let mut sessions: Vec<_> = parts.into_iter().flatten().collect();
    sessions.sort_by_key(|(client, _)| *client);
    Ok(sessions.into_iter().map(|(_, session)| session).collect())
}

/// The sending ends. A socket that takes no more does not hold up the others.
#[derive(Default)]
struct Outbox {
    sessions: Vec<Sending>,
    lost: Vec<String>,
}

struct Sending {
    stream: std::net::TcpStream,
    /// What the socket did not take.
    waiting: Vec<u8>,
    last: Instant,
    open: bool,
}

impl Outbox {
    fn add(&mut self, stream: std::net::TcpStream) {
        self.sessions.push(Sending {
            stream,
            waiting: Vec::new(),
            last: Instant::now(),
            open: true,
        });
    }

    fn send(&mut self, client: usize, packet: Vec<u8>) {
        let session = &mut self.sessions[client];
        if session.waiting.is_empty() {
            session.waiting = packet;
        } else {
            session.waiting.extend_from_slice(&packet);
        }
        self.flush_one(client);
    }

    fn flush_one(&mut self, client: usize) {
        let session = &mut self.sessions[client];
        if !session.open || session.waiting.is_empty() {
            return;
        }
        let mut written = 0;
        while written < session.waiting.len() {
            match session.stream.write(&session.waiting[written..]) {
                Ok(len) => written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.lost.push(format!("client {client}: {error}"));
                    session.open = false;
                    session.waiting.clear();
                    return;
                }
            }
        }
        session.waiting.drain(..written);
        session.last = Instant::now();
    }

    fn flush(&mut self) {
        (0..self.sessions.len()).for_each(|client| self.flush_one(client));
    }

    fn is_flushed(&self) -> bool {
        self.sessions.iter().all(|session| session.waiting.is_empty())
    }

    /// Sends the heartbeats of silent clients.
    fn keep_alive(&mut self) {
        let now = Instant::now();
        for client in 0..self.sessions.len() {
            if now.saturating_duration_since(self.sessions[client].last) >= HEARTBEAT {
                let mut heartbeat = Vec::new();
                soupbin::put_client_heartbeat(&mut heartbeat);
                self.send(client, heartbeat);
            }
        }
    }

    /// Sleeps until `due`, in steps; meanwhile heartbeats go out and sockets that were full are tried again.
    fn wait_until(&mut self, due: Instant) {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Looking through all sessions takes time, which only a long wait has.
            if left >= Duration::from_millis(5) {
                self.keep_alive();
                self.flush();
            }
            thread::sleep(due.saturating_duration_since(Instant::now()).min(HEARTBEAT / 4));
        }
    }
}

/// Signs every client's envelopes, on all cores.
fn sign(load: &Load, chain: ChainId, accounts: &mut [Account]) -> Result<Vec<Part>, Error> {
    let clients = accounts.len();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut parts: Vec<(usize, Part)> = thread::scope(|scope| {
        let threads: Vec<_> = accounts
            .chunks_mut(clients.div_ceil(cores))
            .enumerate()
            .map(|(chunk, accounts)| {
                let first = chunk * clients.div_ceil(cores);
                scope.spawn(move || {
                    let parts = (first..).zip(accounts);
                    parts
                        .map(|(client, account)| Ok((client, sign_part(load, chain, account, client, clients)?)))
                        .collect::<Result<Vec<_>, EncodeError>>()
                })
            })
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("signing does not panic"));
        joined.collect::<Result<Vec<_>, EncodeError>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    parts.sort_by_key(|(client, _)| *client);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

fn sign_part(
    load: &Load,
    chain: ChainId,
    account: &mut Account,
    client: usize,
    clients: usize,
) -> Result<Part, EncodeError> {
    let due: Vec<u64> = match &load.pace {
        Pace::Open(instants) => instants.iter().skip(client).step_by(clients).copied().collect(),
        Pace::Window { .. } => Vec::new(),
    };
    let len = (client..load.envelopes()).step_by(clients).len();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let not_after = TimeNs::from_secs(now + TTL_S);
    let orders: &mut Orders = &mut account.orders;
    let mut packets = Vec::with_capacity(len);
    for nonce in (account.nonce..).take(len) {
        let leaves = orders.leaves(nonce, load.leaves)?;
        let envelope = SealedEnvelope::sign(chain, &account.secret, account.id, 1, nonce, not_after, leaves);
        packets.push(framed(|message| encode_envelope(&envelope, message)));
    }
    account.nonce += len as u64;
    Ok(Part { due, packets })
}
