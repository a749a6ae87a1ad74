//! The run: sign ahead, send on schedule, take the answers' times.

use crate::flow::{Orders, schedule};
use crate::session::{Receiver, SessionError, framed, log_on};
use crate::site::{Account, Site};
use crate::{Args, Error};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::sbe::{Outbound, encode_envelope};
use wattbook_feed::signed::{EncodeError, SealedEnvelope};
use wattbook_feed::soupbin;
use wattbook_types::TimeNs;
use wattbook_types::units::parse_decimal;

/// Validity of the envelopes: signed well before they are sent.
const TTL_S: u64 = 80_000;
/// From the last logon to the first envelope.
const LEAD: Duration = Duration::from_millis(200);
/// Longest wait for answers after the last envelope.
const DRAIN: Duration = Duration::from_secs(10);
/// Silence after which a client sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Greatest latency told apart, ns.
const LATENCY_MAX: u64 = 120_000_000_000;

/// Latencies in ns, to three digits.
pub(crate) type Latencies = Histogram<u64>;

/// A histogram of latencies.
pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("these bounds hold three digits")
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Envelopes of the schedule.
    pub(crate) scheduled: u64,
    /// From the scheduled instant to the last verdict of an envelope.
    pub(crate) matched: Latencies,
    /// From the scheduled instant to the watermark that covers its record.
    pub(crate) durable: Latencies,
    /// From the scheduled instant to the end of the write.
    pub(crate) late: Latencies,
    /// Items accepted.
    pub(crate) accepted: u64,
    /// Items refused, by code.
    pub(crate) rejected: BTreeMap<u16, u64>,
    /// Envelopes refused whole, by code.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// From the start to the last verdict, ns.
    pub(crate) elapsed_ns: u64,
    /// Load of the machine over the minute before the run, hundredths of a core.
    pub(crate) busy_before: u64,
    /// Sessions that ended early, and why.
    pub(crate) lost: Vec<String>,
}

impl Measured {
    /// Envelopes with a verdict.
    pub(crate) fn answered(&self) -> u64 {
        self.matched.len()
    }

    /// `count` per second of the run, rounded down.
    pub(crate) fn per_second(&self, count: u64) -> u64 {
        let rate = u128::from(count) * 1_000_000_000 / u128::from(self.elapsed_ns.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// One client's part of the load.
struct Part {
    /// Scheduled instants by nonce - 1, ns after the start.
    due: Vec<u64>,
    /// Packets by nonce - 1.
    packets: Vec<Vec<u8>>,
}

/// Runs the load.
pub(crate) fn run(args: &Args, site: &Site) -> Result<Measured, Error> {
    let busy_before = load_average();
    let instants = schedule(args.arrivals, args.rate, args.seconds, args.seed);
    eprintln!(
        "signing {} envelopes of {} leaves for {} clients",
        instants.len(),
        args.leaves,
        args.clients
    );
    let parts = sign(args, site, &instants)?;
    site.await_book()?;
    let mut ends = Vec::new();
    for account in &site.accounts {
        ends.push(log_on(site.addr, site.chain, account.id, &account.secret)?);
    }
    let start = Instant::now() + LEAD;
    let give_up = start + Duration::from_secs(args.seconds.into()) + DRAIN;
    let mut streams = Vec::new();
    let mut receivers = Vec::new();
    let mut packets = Vec::new();
    for ((stream, receiver), part) in ends.into_iter().zip(parts) {
        streams.push(stream);
        packets.push(part.packets.into_iter());
        let (due, last_index) = (part.due, args.leaves - 1);
        receivers.push(thread::spawn(move || {
            Answers::new(due, last_index, start).take_all(receiver, give_up)
        }));
    }
    eprintln!("sending {} envelopes/s for {} s", args.rate, args.seconds);
    let mut late = latencies();
    let mut lost = Vec::new();
    let mut last_sent = vec![Instant::now(); streams.len()];
    for (i, due) in instants.iter().enumerate() {
        let due = start + Duration::from_nanos(*due);
        keep_alive(&mut streams, &mut last_sent, due);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            thread::sleep(wait);
        }
        let client = i % streams.len();
        if let Some(packet) = packets[client].next()
            && let Err(error) = streams[client].write_all(&packet)
        {
            lost.push(format!("client {client}: {error}"));
        }
        let now = Instant::now();
        last_sent[client] = now;
        late.saturating_record(nanos(now.saturating_duration_since(due)));
    }
    let mut measured = Measured {
        scheduled: instants.len() as u64,
        matched: latencies(),
        durable: latencies(),
        late,
        accepted: 0,
        rejected: BTreeMap::new(),
        refused: BTreeMap::new(),
        elapsed_ns: 0,
        busy_before,
        lost,
    };
    for (client, receiver) in receivers.into_iter().enumerate() {
        match receiver.join() {
            Ok(answers) => answers.add_to(&mut measured, client),
            Err(_) => measured.lost.push(format!("client {client}: its receiver panicked")),
        }
    }
    Ok(measured)
}

/// Waits for `due` in steps, so that silent clients send their heartbeats.
fn keep_alive(streams: &mut [TcpStream], last_sent: &mut [Instant], due: Instant) {
    loop {
        let now = Instant::now();
        for (stream, last) in streams.iter_mut().zip(last_sent.iter_mut()) {
            if now.saturating_duration_since(*last) >= HEARTBEAT {
                let mut heartbeat = Vec::new();
                soupbin::put_client_heartbeat(&mut heartbeat);
                // A session that is over shows itself at its next envelope.
                let _ = stream.write_all(&heartbeat);
                *last = now;
            }
        }
        if due.saturating_duration_since(now) < HEARTBEAT {
            return;
        }
        thread::sleep(HEARTBEAT / 4);
    }
}

/// Load average over the last minute, hundredths; 0 where the system does not say.
fn load_average() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let word = text.split(' ').next().unwrap_or_default();
    parse_decimal(word, 2)
        .ok()
        .and_then(|load| u64::try_from(load).ok())
        .unwrap_or(0)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Signs every client's envelopes, on all cores.
fn sign(args: &Args, site: &Site, instants: &[u64]) -> Result<Vec<Part>, Error> {
    let clients = site.accounts.len();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = Arc::new(AtomicUsize::new(0));
    let signed: Vec<Result<Vec<(usize, Part)>, EncodeError>> = thread::scope(|scope| {
        let work = || {
            let mut parts = Vec::new();
            loop {
                let client = next.fetch_add(1, Ordering::Relaxed);
                let Some(account) = site.accounts.get(client) else {
                    return Ok(parts);
                };
                let due: Vec<u64> = instants.iter().skip(client).step_by(clients).copied().collect();
                parts.push((client, sign_part(args, site, account, client, due)?));
            }
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("signing does not panic"))
            .collect()
    });
    let mut parts: Vec<(usize, Part)> = signed
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    parts.sort_by_key(|(client, _)| *client);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

fn sign_part(args: &Args, site: &Site, account: &Account, client: usize, due: Vec<u64>) -> Result<Part, EncodeError> {
    let mut orders = Orders::new(args.seed, client as u64, site.contract);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let not_after = TimeNs::from_secs(now + TTL_S);
    let mut packets = Vec::with_capacity(due.len());
    // A fresh account's first nonce is 1.
    for nonce in (1..).take(due.len()) {
        let leaves = orders.leaves(nonce, args.leaves)?;
        let envelope = SealedEnvelope::sign(site.chain, &account.secret, account.id, 1, nonce, not_after, leaves);
        packets.push(framed(|message| encode_envelope(&envelope, message)));
    }
    Ok(Part { due, packets })
}

/// One client's answers.
struct Answers {
    due: Vec<u64>,
    last_index: u32,
    start: Instant,
    matched: Latencies,
    durable: Latencies,
    accepted: u64,
    rejected: BTreeMap<u16, u64>,
    refused: BTreeMap<u16, u64>,
    elapsed_ns: u64,
    /// Answered and not durable yet: record and scheduled instant.
    pending: VecDeque<(u64, u64)>,
    lost: Option<SessionError>,
}

impl Answers {
    fn new(due: Vec<u64>, last_index: u32, start: Instant) -> Self {
        Self {
            due,
            last_index,
            start,
            matched: latencies(),
            durable: latencies(),
            accepted: 0,
            rejected: BTreeMap::new(),
            refused: BTreeMap::new(),
            elapsed_ns: 0,
            pending: VecDeque::new(),
            lost: None,
        }
    }

    fn take_all(mut self, mut receiver: Receiver, give_up: Instant) -> Self {
        while !self.complete() && Instant::now() < give_up {
            match receiver.next() {
                Ok(Some(message)) => self.take(&message),
                Ok(None) => {}
                Err(error) => {
                    self.lost = Some(error);
                    break;
                }
            }
        }
        self
    }

    fn complete(&self) -> bool {
        let refused: u64 = self.refused.values().sum();
        self.pending.is_empty() && self.matched.len() + refused >= self.due.len() as u64
    }

    fn take(&mut self, message: &Outbound) {
        let now = nanos(Instant::now().saturating_duration_since(self.start));
        match message {
            Outbound::Accepted(answer) => {
                self.accepted += 1;
                self.verdict(now, answer.seq, answer.nonce, answer.index);
            }
            Outbound::Rejected(answer) => {
                *self.rejected.entry(answer.code).or_default() += 1;
                self.verdict(now, answer.seq, answer.nonce, answer.index);
            }
            Outbound::RejectedMessage(refused) => *self.refused.entry(refused.code).or_default() += 1,
            Outbound::Watermark(mark) => {
                while let Some((_, due)) = self.pending.pop_front_if(|(seq, _)| *seq <= mark.seq) {
                    self.durable.saturating_record(now.saturating_sub(due));
                }
            }
            _ => {}
        }
    }

    fn verdict(&mut self, now: u64, seq: u64, nonce: u64, index: u32) {
        let due = nonce
            .checked_sub(1)
            .and_then(|i| self.due.get(usize::try_from(i).ok()?))
            .copied();
        if index == self.last_index
            && let Some(due) = due
        {
            self.matched.saturating_record(now.saturating_sub(due));
            self.pending.push_back((seq, due));
            self.elapsed_ns = now;
        }
    }

    fn add_to(self, measured: &mut Measured, client: usize) {
        let same = "INVARIANT: every histogram has the same bounds";
        measured.matched.add(&self.matched).expect(same);
        measured.durable.add(&self.durable).expect(same);
        measured.accepted += self.accepted;
        for (code, count) in self.rejected {
            *measured.rejected.entry(code).or_default() += count;
        }
        for (code, count) in self.refused {
            *measured.refused.entry(code).or_default() += count;
        }
        measured.elapsed_ns = measured.elapsed_ns.max(self.elapsed_ns);
        if let Some(error) = self.lost {
            measured.lost.push(format!("client {client}: {error}"));
        }
    }
}
