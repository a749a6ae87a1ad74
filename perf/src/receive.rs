//! What the clients see: one thread reads every session and takes the time of every answer.
//!
//! # Invariants
//! * A latency begins at the instant that the schedule names, not at the one of sending.
//! * An instant is taken once a read, before its messages are decoded.

use crate::load::{Latencies, latencies};
use crate::nanos;
use crate::session::{LoggedOn, SessionError, next_message};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::soupbin::Decoder;

/// Events taken from the queue at once.
const EVENTS: usize = 1_024;
/// Wait for events before the ends of the run are looked at again.
const TURN: Duration = Duration::from_millis(100);
/// Length of an interval of the log, ns.
pub(crate) const INTERVAL: u64 = 1_000_000_000;

/// Latencies of one interval of the run.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// From the scheduled instant to the first verdict of an envelope.
    pub(crate) accepted: Latencies,
    /// To the last.
    pub(crate) matched: Latencies,
    /// To the watermark that covers its record.
    pub(crate) durable: Latencies,
    /// From the last verdict to that watermark.
    pub(crate) added: Latencies,
}

impl Interval {
    fn new() -> Self {
        Self {
            accepted: latencies(),
            matched: latencies(),
            durable: latencies(),
            added: latencies(),
        }
    }

    /// Adds another interval to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        let same = "INVARIANT: every histogram has the same bounds";
        self.accepted.add(&other.accepted).expect(same);
        self.matched.add(&other.matched).expect(same);
        self.durable.add(&other.durable).expect(same);
        self.added.add(&other.added).expect(same);
    }
}

/// What was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Of the whole run.
    pub(crate) whole: Interval,
    /// By the second in which the answer came.
    pub(crate) intervals: Vec<Interval>,
    /// Envelopes with a last verdict.
    pub(crate) verdicts: u64,
    /// Items accepted.
    pub(crate) accepted_items: u64,
    /// Items refused, by code.
    pub(crate) rejected: BTreeMap<u16, u64>,
    /// Envelopes refused whole, by code.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// From the start to the last verdict, ns.
    pub(crate) elapsed_ns: u64,
    /// Sessions that ended early, and why.
    pub(crate) lost: Vec<String>,
}

impl Taken {
    fn new() -> Self {
        Self {
            whole: Interval::new(),
            intervals: Vec::new(),
            verdicts: 0,
            accepted_items: 0,
            rejected: BTreeMap::new(),
            refused: BTreeMap::new(),
            elapsed_ns: 0,
            lost: Vec::new(),
        }
    }

    fn at(&mut self, now: u64) -> &mut Interval {
        // BOUND: the seconds of a run.
        let second = (now / INTERVAL) as usize;
        if self.intervals.len() <= second {
            self.intervals.resize_with(second + 1, Interval::new);
        }
        &mut self.intervals[second]
    }
}

struct Session {
    stream: TcpStream,
    decoder: Decoder,
    first_nonce: u64,
    /// Envelopes sent or to be sent.
    count: u64,
    /// Scheduled instants; empty for a window.
    due: Vec<u64>,
    last_index: u32,
    /// Envelopes with a first verdict, with a last one, and refused whole.
    begun: u64,
    ended: u64,
    refused: u64,
    /// Answered and not durable yet: record, scheduled instant, instant of the last verdict.
    pending: VecDeque<(u64, Option<u64>, u64)>,
    open: bool,
}

impl Session {
    fn is_complete(&self) -> bool {
        !self.open || self.pending.is_empty() && self.ended + self.refused >= self.count
    }

    fn due_of(&self, nonce: u64) -> Option<u64> {
        let at = usize::try_from(nonce.checked_sub(self.first_nonce)?).ok()?;
        self.due.get(at).copied()
    }

    fn take(&mut self, message: &Outbound, now: u64, taken: &mut Taken) {
        match message {
            Outbound::Accepted(answer) => {
                taken.accepted_items += 1;
                self.verdict(now, answer.seq, answer.nonce, answer.index, taken);
            }
            Outbound::Rejected(answer) => {
                *taken.rejected.entry(answer.code).or_default() += 1;
                self.verdict(now, answer.seq, answer.nonce, answer.index, taken);
            }
            Outbound::RejectedMessage(refused) => {
                self.refused += 1;
                *taken.refused.entry(refused.code).or_default() += 1;
            }
            Outbound::Watermark(mark) => {
                while let Some((_, due, verdict)) = self.pending.pop_front_if(|(seq, ..)| *seq <= mark.seq) {
                    let interval = taken.at(now);
                    if let Some(due) = due {
                        interval.durable.saturating_record(now.saturating_sub(due));
                    }
                    interval.added.saturating_record(now.saturating_sub(verdict));
                }
            }
            _ => {}
        }
    }

    fn verdict(&mut self, now: u64, seq: u64, nonce: u64, index: u32, taken: &mut Taken) {
        let Some(place) = nonce.checked_sub(self.first_nonce) else {
            return;
        };
        let due = self.due_of(nonce);
        if place >= self.begun {
            self.begun = place + 1;
            if let Some(due) = due {
                taken.at(now).accepted.saturating_record(now.saturating_sub(due));
            }
        }
        if index == self.last_index && place >= self.ended {
            self.ended = place + 1;
            taken.verdicts += 1;
            taken.elapsed_ns = now;
            if let Some(due) = due {
                taken.at(now).matched.saturating_record(now.saturating_sub(due));
            }
            self.pending.push_back((seq, due, now));
        }
    }
}

/// The receiving ends of every session.
pub(crate) struct Receiver {
    poll: Poll,
    sessions: Vec<Session>,
}

impl Receiver {
    /// None yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            sessions: Vec::new(),
        })
    }

    /// Adds a session whose envelopes have the nonces from `first_nonce` on. Its socket no longer blocks, in neither
    /// direction.
    pub(crate) fn add(
        &mut self,
        session: LoggedOn,
        first_nonce: u64,
        count: u64,
        due: Vec<u64>,
        last_index: u32,
    ) -> io::Result<()> {
        session.stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(session.stream);
        let token = Token(self.sessions.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
        self.sessions.push(Session {
            stream,
            decoder: session.decoder,
            first_nonce,
            count,
            due,
            last_index,
            begun: 0,
            ended: 0,
            refused: 0,
            pending: VecDeque::new(),
            open: true,
        });
        Ok(())
    }

    /// Reads until every envelope is answered and durable, or for `drain` after the last was sent.
    pub(crate) fn run(
        mut self,
        start: Instant,
        answered: &[AtomicU64],
        sender: &Thread,
        sent: &AtomicBool,
        drain: Duration,
    ) -> Taken {
        let mut taken = Taken::new();
        let mut events = Events::with_capacity(EVENTS);
        let mut all_sent: Option<Instant> = None;
        let mut looked = Instant::now();
        loop {
            if let Err(error) = self.poll.poll(&mut events, Some(TURN))
                && error.kind() != ErrorKind::Interrupted
            {
                taken.lost.push(format!("all: {error}"));
                break;
            }
            for event in &events {
                let Token(client) = event.token();
                let Some(session) = self.sessions.get_mut(client) else {
                    continue;
                };
                if let Err(error) = read(session, start, &mut taken) {
                    if !session.is_complete() {
                        taken.lost.push(format!("client {client}: {error}"));
                    }
                    session.open = false;
                    // An error only means that it is gone already.
                    let _ = self.poll.registry().deregister(&mut session.stream);
                }
                answered[client].store(session.ended + session.refused, Ordering::Release);
            }
            sender.unpark();
            // Looking through all sessions is for once in a while.
            if looked.elapsed() < TURN {
                continue;
            }
            looked = Instant::now();
            if sent.load(Ordering::Acquire) {
                let since = *all_sent.get_or_insert_with(Instant::now);
                if since.elapsed() > drain {
                    break;
                }
            }
            if self.sessions.iter().all(Session::is_complete) {
                break;
            }
        }
        for interval in &taken.intervals {
            taken.whole.add(interval);
        }
        taken
    }
}

/// Reads all there is.
fn read(session: &mut Session, start: Instant, taken: &mut Taken) -> Result<(), SessionError> {
    loop {
        match session.stream.read(session.decoder.spare()) {
            Ok(0) => return Err(SessionError::Closed),
            Ok(len) => session.decoder.filled(len),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        let now = nanos(Instant::now().saturating_duration_since(start));
        while let Some(message) = next_message(&mut session.decoder)? {
            session.take(&message, now, taken);
        }
    }
}

/// What would have been taken of envelopes with these seconds of answer and latencies, ns.
#[cfg(test)]
pub(crate) fn sample(matched: &[(u64, u64)]) -> Taken {
    let mut taken = Taken::new();
    for (second, latency) in matched {
        taken.at(second * INTERVAL).matched.saturating_record(*latency);
        taken.verdicts += 1;
    }
    for interval in &taken.intervals {
        taken.whole.add(interval);
    }
    taken
}
