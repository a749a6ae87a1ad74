//! Fan-out: the public stream as MoldUDP64 to lists of addresses, and its re-request server.
//!
//! # Invariants
//! * Names and numbers are those of the session port's public stream: a packet's message `n` is that stream's message `n`.
//! * Nothing here waits for a receiver: a datagram that the system does not take is counted and lost, and asked for again.
//! * What a request brings is bounded: by packets to a request, by packets a second to an address and in total, and by
//!   what is kept. What it does not bring, the session port does.
//! * The end of the session is said over and over for a while, in which requests are still answered.

mod requests;

use crate::config;
use crate::metrics::{Counter, Metrics};
use crate::ring::{Gone, Receiver, Sender};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use requests::{Allowance, Verdict};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wattbook_feed::moldudp::{Request, Session, Writer};
use wattbook_feed::subscriber::public_session;

const WAKER: Token = Token(0);
const REQUESTS: Token = Token(1);
/// Batches taken between two looks at the requests.
const TURN: usize = 64;
/// Between two packets that say that the session has ended.
const END_INTERVAL: Duration = Duration::from_millis(100);

/// From publish.
#[derive(Debug)]
pub enum ToFanout {
    /// The next messages of the stream.
    Messages(Vec<Arc<[u8]>>),
    /// There are no more.
    End,
}

/// Publish's end: what is released is handed on with each flush.
pub struct Outlet {
    ring: Sender<ToFanout>,
    waker: Waker,
    durable_only: bool,
    waiting: VecDeque<(u64, Arc<[u8]>)>,
}

impl Outlet {
    /// Takes a message of a block.
    pub fn push(&mut self, height: u64, message: &[u8]) {
        self.waiting.push_back((height, message.into()));
    }

    /// Hands on what is released now that blocks up to `durable` are.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn flush(&mut self, durable: u64) -> Result<(), Gone> {
        let end = match self.durable_only {
            true => self.waiting.partition_point(|(height, _)| *height <= durable),
            false => self.waiting.len(),
        };
        if end == 0 {
            return Ok(());
        }
        let messages = self.waiting.drain(..end).map(|(_, message)| message).collect();
        self.send(ToFanout::Messages(messages))
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn end(&mut self) -> Result<(), Gone> {
        self.send(ToFanout::End)
    }

    fn send(&self, item: ToFanout) -> Result<(), Gone> {
        self.ring.send(item)?;
        // A failed wake only delays it until its next heartbeat.
        let _ = self.waker.wake();
        Ok(())
    }
}

/// Where one line is sent.
struct Line {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    to: Vec<SocketAddr>,
}

impl Line {
    fn new(to: &[SocketAddr], from: Option<IpAddr>, ttl: u32) -> io::Result<Self> {
        let bind = |v6: bool| -> io::Result<Option<UdpSocket>> {
            if !to.iter().any(|addr| addr.is_ipv6() == v6) {
                return Ok(None);
            }
            let any = match v6 {
                true => IpAddr::from([0u16; 8]),
                false => IpAddr::from([0u8; 4]),
            };
            let addr = from.filter(|from| from.is_ipv6() == v6).unwrap_or(any);
            let socket = UdpSocket::bind((addr, 0).into())?;
            if !v6 {
                socket.set_multicast_ttl_v4(ttl)?;
            }
            Ok(Some(socket))
        };
        Ok(Self {
            v4: bind(false)?,
            v6: bind(true)?,
            to: to.to_vec(),
        })
    }

    fn send(&self, packet: &[u8], counters: &Counters) {
        for addr in &self.to {
            let socket = if addr.is_ipv6() { &self.v6 } else { &self.v4 };
            let sent = socket.as_ref().is_some_and(|socket| send(socket, packet, *addr));
            counters.count(sent);
        }
    }
}

/// Whether the system took a datagram. An error may be an earlier one's, told late; then once more.
fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) -> bool {
    let once = || match socket.send_to(packet, to) {
        Ok(_) => Some(true),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => None,
        Err(_) => Some(false),
    };
    once().or_else(once).unwrap_or(false)
}

struct Counters {
    packets: Counter,
    lost: Counter,
    messages: Counter,
    requests: Vec<Counter>,
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        Self {
            packets: metrics.counter("wattbook_fanout_packets", "Datagrams sent, over all addresses"),
            lost: metrics.counter("wattbook_fanout_lost", "Datagrams that the system did not take"),
            messages: metrics.counter("wattbook_fanout_messages", "Messages of the public stream fanned out"),
            requests: metrics.counters(
                "wattbook_fanout_requests",
                "Re-requests, by what became of them",
                "outcome",
                &Verdict::NAMES,
            ),
        }
    }

    fn count(&self, sent: bool) {
        if sent { &self.packets } else { &self.lost }.inc();
    }
}

/// The messages that can be asked for again.
struct Kept {
    first: u64,
    messages: VecDeque<Arc<[u8]>>,
    most: usize,
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    fn push(&mut self, message: Arc<[u8]>) {
        self.messages.push_back(message);
        if self.messages.len() > self.most {
            self.messages.pop_front();
            self.first += 1;
        }
    }

    /// Messages from a number on.
    fn from(&self, number: u64) -> impl Iterator<Item = &Arc<[u8]>> {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        self.messages.iter().skip(at.unwrap_or(usize::MAX))
    }
}

/// The stage.
pub struct Fanout {
    poll: Poll,
    input: Receiver<ToFanout>,
    settings: config::Fanout,
    lines: [Line; 2],
    requests: Option<UdpSocket>,
    session: Session,
    writer: Writer,
    answer: Writer,
    kept: Kept,
    allowance: Allowance,
    counters: Counters,
    said: Instant,
    /// Since when the stream has ended.
    ended: Option<Instant>,
}

impl Fanout {
    /// Binds its sockets, for a stream whose messages so far are these from number `first` on; and publish's end of it.
    ///
    /// # Errors
    /// The system's answer.
    pub fn new(
        settings: config::Fanout,
        history_len: usize,
        (first, messages): (u64, VecDeque<Arc<[u8]>>),
        (ring, input): (Sender<ToFanout>, Receiver<ToFanout>),
        metrics: &Metrics,
    ) -> io::Result<(Self, Outlet)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let line = |to: &[SocketAddr], from| Line::new(to, from, settings.multicast_ttl);
        let lines = [line(&settings.a, settings.a_from)?, line(&settings.b, settings.b_from)?];
        let mut requests = settings.requests.map(UdpSocket::bind).transpose()?;
        if let Some(socket) = &mut requests {
            poll.registry().register(socket, REQUESTS, Interest::READABLE)?;
        }
        let outlet = Outlet {
            ring,
            waker,
            durable_only: settings.durable_only,
            waiting: VecDeque::new(),
        };
        let session = public_session();
        let this = Self {
            poll,
            input,
            lines,
            requests,
            session,
            writer: Writer::new(session, settings.packet_size_max),
            answer: Writer::new(session, settings.packet_size_max),
            kept: Kept {
                first,
                messages,
                most: history_len,
            },
            allowance: Allowance::new(&settings),
            counters: Counters::new(metrics),
            settings,
            said: Instant::now(),
            ended: None,
        };
        Ok((this, outlet))
    }

    /// Where it takes requests.
    pub fn requests_addr(&self) -> Option<SocketAddr> {
        self.requests.as_ref()?.local_addr().ok()
    }

    /// Runs until publish is gone and the end has been said.
    ///
    /// # Errors
    /// The system refuses to wait for the sockets.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        let mut more = false;
        self.heartbeat();
        loop {
            let wait = if more { Duration::ZERO } else { self.wait() };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            more = self.answer_requests();
            for _ in 0..TURN {
                match self.input.try_recv() {
                    Ok(Some(ToFanout::Messages(messages))) => self.fan_out(messages),
                    Ok(None) => break,
                    Ok(Some(ToFanout::End)) | Err(Gone) => {
                        if self.ended.is_none() {
                            self.ended = Some(Instant::now());
                            self.end();
                        }
                        break;
                    }
                }
            }
            more |= self.ended.is_none() && !self.input.is_empty();
            let now = Instant::now();
            match self.ended {
                Some(since) if now.duration_since(since) >= Duration::from_millis(self.settings.end_ms) => {
                    return Ok(());
                }
                Some(_) if now.duration_since(self.said) >= END_INTERVAL => self.end(),
                None if now.duration_since(self.said) >= Duration::from_millis(self.settings.heartbeat_ms) => {
                    self.heartbeat();
                }
                _ => {}
            }
        }
    }

    /// Until something has to be said.
    fn wait(&self) -> Duration {
        let silence = self.said.elapsed();
        match self.ended {
            Some(since) => END_INTERVAL
                .saturating_sub(silence)
                .min(Duration::from_millis(self.settings.end_ms).saturating_sub(since.elapsed())),
            None => Duration::from_millis(self.settings.heartbeat_ms).saturating_sub(silence),
        }
    }

    fn heartbeat(&mut self) {
        self.writer.begin(self.kept.end());
        self.send();
    }

    fn end(&mut self) {
        let packet = self.writer.end_of_session(self.kept.end());
        for line in &self.lines {
            line.send(packet, &self.counters);
        }
        self.said = Instant::now();
    }

    fn fan_out(&mut self, messages: Vec<Arc<[u8]>>) {
        self.counters.messages.inc_by(messages.len() as u64);
        self.writer.begin(self.kept.end());
        for message in messages {
            if !self.writer.push(&message) {
                self.send();
                self.writer.begin(self.kept.end());
                let fits = self.writer.push(&message);
                assert!(fits, "INVARIANT: a packet has room for any message");
            }
            self.kept.push(message);
        }
        self.send();
    }

    fn send(&mut self) {
        let packet = self.writer.packet();
        for line in &self.lines {
            line.send(packet, &self.counters);
        }
        self.said = Instant::now();
    }

    /// A turn of requests; whether there may be more.
    fn answer_requests(&mut self) -> bool {
        let Some(socket) = &self.requests else { return false };
        // One byte more than a request has, to tell what is longer.
        let mut datagram = [0; wattbook_feed::moldudp::HEADER_SIZE + 1];
        for _ in 0..TURN {
            let (len, from) = match socket.recv_from(&mut datagram) {
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // The peer of an earlier answer is gone, or a signal came.
                Err(_) => continue,
            };
            let request = Request::decode(&datagram[..len]).ok();
            let request = request.filter(|request| request.session == self.session && request.count > 0);
            let (first, end) = (self.kept.first, self.kept.end());
            let verdict = match request {
                None => Verdict::Malformed,
                Some(request) if request.sequence < first => Verdict::TooOld,
                Some(request) if request.sequence >= end => Verdict::TooNew,
                Some(request) => {
                    let now = Instant::now();
                    let mut left = usize::from(request.count);
                    let mut next = request.sequence;
                    let mut verdict = Verdict::Limited;
                    for _ in 0..self.settings.answer_packets_max {
                        if left == 0 || next == end || !self.allowance.take(from.ip(), now) {
                            break;
                        }
                        self.answer.begin(next);
                        for message in self.kept.from(next).take(left) {
                            if !self.answer.push(message) {
                                break;
                            }
                        }
                        let count = self.answer.count();
                        self.counters.count(send(socket, self.answer.packet(), from));
                        (next, left) = (next + u64::from(count), left - usize::from(count));
                        verdict = Verdict::Answered;
                    }
                    verdict
                }
            };
            self.counters.requests[verdict as usize].inc();
        }
        true
    }
}
