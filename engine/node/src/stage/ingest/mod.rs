//! Ingest: owns the sockets. Frames, decodes, applies admission and limits, gives every message its place in ticket order;
//! writes what publish hands back.
//!
//! # Map
//! `session` what one session says and asks, without I/O · `transport` what a backend of the sockets does, `ready` (mio) and
//! `uring` (io_uring) the two there are · `tls` between them · `wheel` timers · `seats` things by session.
//!
//! # Invariants
//! * This thread never waits for another stage: when the ring to verify is full it stops reading, and so pushes back to
//!   the peers' sockets, while it goes on writing.
//! * A message is decoded where the socket's bytes were read, and costs no allocation; what is refused here reaches no other
//!   stage.
//! * A session's unsent bytes are bounded; one that falls behind is cut off with a reason.
//! * Sessions in which nothing happens cost nothing but their heartbeats.

mod ready;
mod seats;
pub mod session;
pub mod tls;
mod transport;
mod uring;
mod wheel;

pub use transport::Bell;

use super::envelopes::Envelopes;
use super::publish::{framed, rejected};
use super::{About, Job, Publication, Request, SessionId, ToSocket};
use crate::config;
use crate::limits::{Limits, Meter, Source};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::ring::{Gone, Receiver, Sender};
use rustls::ServerConfig;
use seats::Seats;
use session::{Rules, Session, Step};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tls::Channel;
use transport::{Chunk, Happened, SPARE_CONNECTIONS, Transport};
use wattbook_feed::soupbin;
use wattbook_types::{ChainId, Reject};
use wheel::Wheel;

/// Longest sleep: the stop flag is looked at this often.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// Sleep while the ring to verify is full.
const FULL_SLEEP: Duration = Duration::from_millis(1);
/// Bytes taken in before what publish hands back gets its turn.
const TURN_SIZE: usize = 1 << 20;
/// Time that the peers have to take the last bytes when the node stops.
const LINGER: Duration = Duration::from_secs(1);

/// What the stage knows of the chain.
#[derive(Clone, Copy, Debug)]
pub struct ChainFacts {
    /// The chain.
    pub chain: ChainId,
    /// Whether its genesis is a demonstration.
    pub demo: bool,
}

/// The stage, before it runs.
#[derive(Debug)]
pub struct Ingest {
    /// The bound session port.
    pub listener: TcpListener,
    /// To verify.
    pub jobs: Sender<Job>,
    /// From publish.
    pub outbound: Receiver<ToSocket>,
    /// To publish, for what waits until a socket has room; gone with those whom publish waits for.
    pub drained: Weak<Sender<Publication>>,
    /// Rung by publish after it has handed something over.
    pub bell: Arc<Bell>,
    /// Its part of the configuration.
    pub settings: config::Ingest,
    /// What sessions are shown where they come over TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// The chain.
    pub facts: ChainFacts,
    /// Envelopes that verify gives back.
    pub envelopes: Envelopes,
    /// Set when the node is to stop.
    pub stop: Arc<AtomicBool>,
    /// Where it counts.
    pub metrics: Metrics,
}

/// What the stage counts.
#[derive(Debug)]
struct Counts {
    sessions: Gauge,
    opened: Counter,
    packets: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    full: Counter,
    refused: Vec<(Reject, Counter)>,
}

/// Refusals that this stage gives itself.
const OWN_REJECTS: [Reject; 11] = [
    Reject::Garbage,
    Reject::OversizeFrame,
    Reject::TooManySessions,
    Reject::NotAccepting,
    Reject::TooManyFromAddress,
    Reject::TooManyOfParticipant,
    Reject::MessageRate,
    Reject::ByteRate,
    Reject::NodeRate,
    Reject::TimedOut,
    Reject::SlowConsumer,
];

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let names = OWN_REJECTS.map(Reject::name);
        let help = "Refusals of sessions and messages by the ingest stage, by reject";
        let refused = metrics.counters("wattbook_ingest_refused", help, "reject", &names);
        Self {
            sessions: metrics.gauge("wattbook_ingest_sessions", "Sessions now"),
            opened: metrics.counter("wattbook_ingest_opened", "Sessions opened"),
            packets: metrics.counter("wattbook_ingest_packets", "Packets taken in"),
            bytes_in: metrics.counter("wattbook_ingest_in_bytes", "Bytes read from sessions"),
            bytes_out: metrics.counter("wattbook_ingest_out_bytes", "Bytes queued to sessions"),
            full: metrics.counter("wattbook_ingest_full", "Times the ring to the verify stage was full"),
            refused: OWN_REJECTS.into_iter().zip(refused).collect(),
        }
    }

    fn refuse(&self, reject: Reject) {
        if let Some((_, counter)) = self.refused.iter().find(|(own, _)| *own == reject) {
            counter.inc();
        }
    }
}

/// A session and its connection.
#[derive(Debug)]
struct Seat {
    session: Session,
    channel: Option<Box<Channel>>,
    address: IpAddr,
    source: Source,
    opened_ns: u64,
    heard_ns: u64,
    said_ns: u64,
}

/// What is due at a time.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// A session's heartbeat or timeout.
    Session(SessionId),
    /// The end of a connection that has no session any more.
    Linger(SessionId),
}

/// What became of bytes that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    /// All are taken.
    Drained,
    /// The ring is full.
    Blocked,
    /// The session ends after its answers.
    Last,
    /// The session is over.
    Over,
}

/// The stage at work.
#[derive(Debug)]
struct Stage {
    transport: Box<dyn Transport>,
    jobs: Sender<Job>,
    /// A job the ring had no slot for; nothing is read while there is one.
    waiting: Option<Job>,
    /// Bytes that wait behind that job.
    pending: Option<(SessionId, Chunk)>,
    /// Session closures wait here for a slot, behind everything else.
    gone: VecDeque<SessionId>,
    outbound: Receiver<ToSocket>,
    drained: Weak<Sender<Publication>>,
    /// Sessions that publish waits for.
    awaited: Vec<SessionId>,
    /// Whether one of them has had a page in this turn, which may be sent already when the next one begins.
    is_paged: bool,
    /// Whether publish could not be told.
    is_told_late: bool,
    bell: Arc<Bell>,
    settings: config::Ingest,
    tls: Option<Arc<ServerConfig>>,
    rules: Rules,
    limits: Limits,
    seats: Seats<Seat>,
    wheel: Wheel<Due>,
    due: Vec<Due>,
    /// Sessions to which something was said in this turn.
    told: Vec<SessionId>,
    answers: Vec<u8>,
    sealed: Vec<u8>,
    start: Instant,
    now_ns: u64,
    stop: Arc<AtomicBool>,
    stop_sent: bool,
    counts: Counts,
}

/// A challenge for a logon.
fn challenge() -> Option<[u8; 32]> {
    let mut challenge = [0; 32];
    getrandom::fill(&mut challenge).is_ok().then_some(challenge)
}

impl Ingest {
    /// Runs until publish has finished.
    ///
    /// # Errors
    /// The system's answer to opening the backend or waiting for it; single sockets only close their session.
    pub fn run(self) -> io::Result<()> {
        let connections_max = self.settings.sessions_max.saturating_add(SPARE_CONNECTIONS);
        let transport = transport::open(
            self.settings.backend,
            self.listener,
            Arc::clone(&self.bell),
            connections_max,
        )?;
        tracing::info!(backend = transport.name(), tls = self.tls.is_some(), "sessions");
        let stage = Stage {
            transport,
            jobs: self.jobs,
            waiting: None,
            pending: None,
            gone: VecDeque::new(),
            outbound: self.outbound,
            drained: self.drained,
            awaited: Vec::new(),
            is_paged: false,
            is_told_late: false,
            bell: self.bell,
            tls: self.tls,
            rules: Rules {
                chain: self.facts.chain,
                demo: self.facts.demo,
                packet_size_max: self.settings.packet_size_max,
                envelopes: self.envelopes,
                challenge,
            },
            limits: Limits::new(self.settings.limits.clone(), self.settings.sessions_max),
            settings: self.settings,
            seats: Seats::default(),
            wheel: Wheel::new(0),
            due: Vec::new(),
            told: Vec::new(),
            answers: Vec::new(),
            sealed: Vec::new(),
            start: Instant::now(),
            now_ns: 0,
            stop: self.stop,
            stop_sent: false,
            counts: Counts::new(&self.metrics),
        };
        stage.run()
    }
}

impl Stage {
    fn run(mut self) -> io::Result<()> {
        loop {
            let mut sleep = self.sleep();
            if !sleep.is_zero() {
                self.bell.fall_asleep();
                if !self.outbound.is_empty() {
                    sleep = Duration::ZERO;
                }
            }
            self.transport.turn(sleep)?;
            self.bell.wake_up();
            self.now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.cut_off_slow();
            self.tell_drained();
            if self.stop.load(Ordering::Relaxed) && !self.stop_sent && self.waiting.is_none() {
                self.stop_sent = true;
                self.waiting = Some(Job {
                    session: 0,
                    request: Request::Stop,
                });
            }
            if self.take_in().is_err() {
                // Verify is gone: the node is ending, publish still says so.
                self.waiting = None;
                if let Some((_, chunk)) = self.pending.take() {
                    self.transport.give_back(chunk);
                }
                self.gone.clear();
            }
            if self.take_outbound() {
                return self.finish();
            }
            self.keep_time();
        }
    }

    fn sleep(&self) -> Duration {
        if self.waiting.is_some() || !self.gone.is_empty() || self.is_told_late {
            FULL_SLEEP
        } else if self.is_paged || self.pending.is_some() || self.transport.has_more() {
            Duration::ZERO
        } else {
            let due = self
                .wheel
                .next_ns()
                .map_or(u64::MAX, |at| at.saturating_sub(self.now_ns));
            SLEEP_MAX.min(Duration::from_nanos(due))
        }
    }

    /// Hands on what had to wait. `Ok(true)`: the ring has room again.
    fn hand_on(&mut self) -> Result<bool, Gone> {
        if let Some(job) = self.waiting.take() {
            self.waiting = self.jobs.try_send(job)?;
        }
        while self.waiting.is_none() {
            let Some(session) = self.gone.pop_front() else { break };
            self.waiting = self.jobs.try_send(Job {
                session,
                request: Request::Closed,
            })?;
        }
        Ok(self.waiting.is_none())
    }

    /// Takes in what happened to the connections, as far as the ring has room.
    fn take_in(&mut self) -> Result<(), Gone> {
        let mut left = TURN_SIZE;
        while self.hand_on()? && left > 0 {
            let (id, chunk) = match self.pending.take() {
                Some(pending) => pending,
                None => match self.transport.next() {
                    None => break,
                    Some(Happened::Opened(id, address)) => {
                        self.open(id, address);
                        continue;
                    }
                    Some(Happened::Closed(id)) => {
                        self.leave(id);
                        continue;
                    }
                    Some(Happened::Received(id, chunk)) => {
                        let size = chunk.end - chunk.start;
                        self.counts.bytes_in.inc_by(size as u64);
                        left = left.saturating_sub(size);
                        (id, chunk)
                    }
                },
            };
            self.take_bytes(id, chunk)?;
        }
        Ok(())
    }

    fn open(&mut self, id: SessionId, address: IpAddr) {
        let admitted = match self.stop_sent {
            true => Err(Reject::NotAccepting),
            false => self.limits.open(address, self.now_ns),
        };
        let channel = match (&self.tls, admitted) {
            (None, Ok(())) => None,
            (Some(tls), Ok(())) => match Channel::new(tls) {
                Ok(channel) => Some(channel),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be secured");
                    self.limits.close(address, self.now_ns);
                    self.transport.close(id);
                    return;
                }
            },
            (tls, Err(reject)) => {
                self.counts.refuse(reject);
                if tls.is_none() {
                    self.transport.send(id, &framed(&rejected(About::default(), reject, 0)));
                }
                self.linger(id);
                return;
            }
        };
        let now = self.now_ns;
        let seat = Seat {
            session: Session::default(),
            channel,
            address,
            source: Source::Address(address),
            opened_ns: now,
            heard_ns: now,
            said_ns: now,
        };
        self.wheel.put(seat.due_ns(&self.settings, now), Due::Session(id));
        self.seats.put(id, seat);
        self.counts.opened.inc();
        self.counts.sessions.inc();
    }

    /// A session is over: those who know it are told behind what it has said.
    fn leave(&mut self, id: SessionId) {
        if let Some(seat) = self.seats.remove(id) {
            self.limits.close(seat.address, self.now_ns);
            if let Source::Participant(participant) = seat.source {
                self.limits.unbind(participant);
            }
            self.counts.sessions.dec();
            self.gone.push_back(id);
        }
    }

    fn close(&mut self, id: SessionId) {
        self.transport.close(id);
        self.leave(id);
    }

    /// A session's bytes: its packets go on in order until the ring is full.
    fn take_bytes(&mut self, id: SessionId, mut chunk: Chunk) -> Result<(), Gone> {
        let Some(seat) = self.seats.get_mut(id) else {
            self.transport.give_back(chunk);
            return Ok(());
        };
        let mut input = self.transport.bytes(&chunk);
        let mut pump = Pump {
            id,
            rules: &self.rules,
            meter: self.limits.meter(seat.source, self.now_ns),
            jobs: &self.jobs,
            waiting: &mut self.waiting,
            counts: &self.counts,
            answers: &mut self.answers,
            packets: 0,
        };
        let mut wire = Vec::new();
        let flow = match &mut seat.channel {
            None => pump.take(&mut seat.session, &mut input)?,
            Some(channel) => loop {
                let mut plain = channel.plain();
                let before = plain.len();
                let flow = pump.take(&mut seat.session, &mut plain)?;
                let taken = before - plain.len();
                channel.taken(taken);
                if flow != Flow::Drained {
                    break flow;
                }
                if channel.take(&mut input, &mut wire).is_err() {
                    break Flow::Last;
                }
                if channel.plain().is_empty() {
                    break Flow::Drained;
                }
            },
        };
        let packets = pump.packets;
        chunk.start = chunk.end - input.len();
        if packets > 0 {
            seat.heard_ns = self.now_ns;
            self.counts.packets.inc_by(packets);
        }
        if !wire.is_empty() {
            self.transport.send(id, &wire);
        }
        match flow {
            Flow::Blocked => {
                self.counts.full.inc();
                self.pending = Some((id, chunk));
            }
            Flow::Drained | Flow::Last | Flow::Over => self.transport.give_back(chunk),
        }
        if !self.answers.is_empty() {
            let answers = std::mem::take(&mut self.answers);
            self.say(id, &answers);
            self.answers = answers;
            self.answers.clear();
        }
        match flow {
            Flow::Last => self.end(id),
            Flow::Over => self.close(id),
            Flow::Drained | Flow::Blocked => {}
        }
        Ok(())
    }

    /// Queues packets to a session.
    fn say(&mut self, id: SessionId, packets: &[u8]) {
        let Some(seat) = self.seats.get_mut(id) else {
            return;
        };
        seat.said_ns = self.now_ns;
        self.counts.bytes_out.inc_by(packets.len() as u64);
        match &mut seat.channel {
            None => self.transport.send(id, packets),
            Some(channel) => {
                self.sealed.clear();
                channel.say(packets, &mut self.sealed);
                self.transport.send(id, &self.sealed);
            }
        }
        self.told.push(id);
    }

    /// Ends a session; its connection stays until the peer has taken what was said, or takes too long.
    fn end(&mut self, id: SessionId) {
        if let Some(seat) = self.seats.get_mut(id) {
            if let Some(channel) = &mut seat.channel {
                self.sealed.clear();
                channel.say_goodbye(&mut self.sealed);
                self.transport.send(id, &self.sealed);
            }
            self.linger(id);
            self.leave(id);
        }
    }

    /// A connection without a session ends once its peer has taken what was said, or its time is up.
    fn linger(&mut self, id: SessionId) {
        self.transport.close_when_sent(id);
        self.wheel
            .put(self.now_ns + ms(self.settings.login_timeout_ms), Due::Linger(id));
    }

    /// Says why, then ends the session.
    fn end_with(&mut self, id: SessionId, reject: Reject) {
        self.counts.refuse(reject);
        self.say(id, &framed(&rejected(About::default(), reject, 0)));
        self.end(id);
    }

    /// Ends sessions that did not take what this turn sent.
    fn cut_off_slow(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        for id in told.drain(..) {
            let unsent = self.transport.unsent(id);
            if unsent > self.settings.session_buffer_max && self.seats.get(id).is_some() {
                tracing::warn!(session = id, unsent, "a slow session is cut off");
                self.end_with(id, Reject::SlowConsumer);
            }
        }
        told.append(&mut self.told);
        told.clear();
        self.told = told;
    }

    /// Tells publish of the sessions that have room for another page.
    fn tell_drained(&mut self) {
        (self.is_paged, self.is_told_late) = (false, false);
        if self.awaited.is_empty() {
            return;
        }
        let low = self.settings.page_size() / 2;
        let publish = self.drained.upgrade();
        let (transport, seats, is_told_late) = (&self.transport, &self.seats, &mut self.is_told_late);
        self.awaited.retain(|id| {
            if seats.get(*id).is_none() {
                return false;
            }
            if transport.unsent(*id) > low {
                return true;
            }
            match publish
                .as_ref()
                .map(|publish| publish.try_send(Publication::Drained(*id)))
            {
                Some(Ok(Some(_))) => {
                    *is_told_late = true;
                    true
                }
                Some(Ok(None) | Err(Gone)) | None => false,
            }
        });
    }

    /// Takes what publish hands back. `true`: it has finished.
    fn take_outbound(&mut self) -> bool {
        loop {
            match self.outbound.try_recv() {
                Ok(Some(ToSocket::Packets(id, packets))) => self.say(id, &packets),
                Ok(Some(ToSocket::Page(id, packets))) => {
                    self.say(id, &packets);
                    self.awaited.push(id);
                    self.is_paged = true;
                }
                Ok(Some(ToSocket::Refused(id, reject))) => {
                    if self.seats.get(id).is_some() {
                        self.end_with(id, reject);
                    }
                }
                Ok(Some(ToSocket::Last(id, packets))) => {
                    self.say(id, &packets);
                    self.end(id);
                }
                Ok(Some(ToSocket::LoggedOn(id, participant))) => {
                    let now = self.now_ns;
                    let Some(seat) = self.seats.get_mut(id) else {
                        continue;
                    };
                    if seat.source == Source::Participant(participant) {
                        continue;
                    }
                    if let Source::Participant(before) = seat.source {
                        self.limits.unbind(before);
                    }
                    seat.source = Source::Address(seat.address);
                    match self.limits.bind(participant, now) {
                        Ok(()) => seat.source = Source::Participant(participant),
                        Err(reject) => self.end_with(id, reject),
                    }
                }
                Ok(Some(ToSocket::Finished)) | Err(Gone) => return true,
                Ok(None) => return false,
            }
        }
    }

    /// The last bytes of every session, as far as its peer takes them in time.
    fn finish(&mut self) -> io::Result<()> {
        // Publish has told those it knows; the rest were not logged on yet.
        let logged_in = self.seats.iter().filter(|(_, seat)| seat.session.is_logged_in());
        let ids: Vec<SessionId> = logged_in.map(|(id, _)| id).collect();
        let mut end = Vec::new();
        soupbin::put_end_of_session(&mut end);
        for id in &ids {
            self.say(*id, &end);
            self.end(*id);
        }
        let until = Instant::now() + LINGER;
        // Those whose session ended before have last bytes too.
        while Instant::now() < until && !self.transport.is_sent() {
            self.transport.turn(Duration::from_millis(10))?;
            // What still comes goes nowhere, but a connection closed with something unread loses what was said.
            while let Some(happened) = self.transport.next() {
                if let Happened::Received(_, chunk) = happened {
                    self.transport.give_back(chunk);
                }
            }
        }
        Ok(())
    }

    /// Heartbeats and timeouts.
    fn keep_time(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take(self.now_ns, &mut due);
        for due in due.drain(..) {
            match due {
                // Nothing where it is gone.
                Due::Linger(id) => self.transport.close(id),
                Due::Session(id) => {
                    self.keep_time_of(id);
                    if let Some(seat) = self.seats.get(id) {
                        let at = seat.due_ns(&self.settings, self.now_ns).max(self.now_ns + 1);
                        self.wheel.put(at, Due::Session(id));
                    }
                }
            }
        }
        self.due = due;
    }

    fn keep_time_of(&mut self, id: SessionId) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let (now, is_logged_in) = (self.now_ns, seat.session.is_logged_in());
        seat.session.rest();
        if let Some(channel) = &mut seat.channel {
            channel.rest();
        }
        if (!is_logged_in && now >= seat.opened_ns + ms(self.settings.login_timeout_ms))
            || now >= seat.heard_ns + ms(self.settings.idle_timeout_ms)
        {
            self.end_with(id, Reject::TimedOut);
        } else if is_logged_in && now >= seat.said_ns + ms(self.settings.heartbeat_ms) {
            let mut heartbeat = Vec::new();
            soupbin::put_server_heartbeat(&mut heartbeat);
            self.say(id, &heartbeat);
        }
    }
}

/// Milliseconds as ns, bounded so that sums of two stay in range.
const fn ms(ms: u64) -> u64 {
    let ns = ms.saturating_mul(1_000_000);
    if ns > u64::MAX / 4 { u64::MAX / 4 } else { ns }
}

impl Seat {
    /// When somebody must look at it.
    fn due_ns(&self, settings: &config::Ingest, now_ns: u64) -> u64 {
        let login = ms(settings.login_timeout_ms);
        let idle = self.heard_ns + ms(settings.idle_timeout_ms);
        match self.session.is_logged_in() {
            true => idle.min(self.said_ns + ms(settings.heartbeat_ms)),
            // Logging in starts the heartbeats, which must not wait for a login's timeout.
            false => idle.min(self.opened_ns + login).min(now_ns + ms(settings.heartbeat_ms)),
        }
    }
}

/// Takes a session's packets on.
struct Pump<'a> {
    id: SessionId,
    rules: &'a Rules,
    meter: Meter<'a>,
    jobs: &'a Sender<Job>,
    waiting: &'a mut Option<Job>,
    counts: &'a Counts,
    answers: &'a mut Vec<u8>,
    packets: u64,
}

impl Pump<'_> {
    fn take(&mut self, session: &mut Session, input: &mut &[u8]) -> Result<Flow, Gone> {
        loop {
            let (size, request) = match session.next(input, self.rules, self.answers) {
                Step::Starved => return Ok(Flow::Drained),
                Step::Last => return Ok(Flow::Last),
                Step::Over => return Ok(Flow::Over),
                Step::Packet(size, request) => (size, request),
            };
            self.packets += 1;
            let mut admitted = self.meter.take(size);
            let Some(request) = request else { continue };
            if admitted.is_ok() && matches!(request, Request::Logon { .. } | Request::Register(_)) {
                admitted = self.meter.take_logon();
            }
            if let Err(reject) = admitted {
                self.refuse(request, reject);
                continue;
            }
            *self.waiting = self.jobs.try_send(Job {
                session: self.id,
                request,
            })?;
            if self.waiting.is_some() {
                return Ok(Flow::Blocked);
            }
        }
    }

    fn refuse(&mut self, request: Request, reject: Reject) {
        self.counts.refuse(reject);
        let about = match request {
            Request::Envelope(envelope) | Request::OnDisconnect(Some(envelope)) => {
                let about = About::envelope(&envelope);
                self.rules.envelopes.give_back(envelope);
                about
            }
            Request::Reveal(reveal) => About::reveal(reveal.participant, reveal.contract),
            Request::Logon { participant, .. } => About {
                participant: participant.get(),
                ..About::default()
            },
            Request::Register(record) => About {
                participant: record.register.admit_serial,
                ..About::default()
            },
            Request::Refused(about, _) => about,
            _ => About::default(),
        };
        self.answers.extend(framed(&rejected(about, reject, 0)));
    }
}
