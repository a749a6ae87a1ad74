//! Ingest: owns the sockets. Frames, decodes, applies admission, gives every message its place in ticket order; writes
//! what publish hands back.
//!
//! # Invariants
//! * This thread never waits for another stage: when the ring to verify is full it stops reading, and so pushes back to
//!   the peers' sockets, while it goes on writing.
//! * A session's unsent bytes are bounded; one that falls behind is cut off with a reason.

use super::publish::{FROM_BOOKS, framed, rejected};
use super::{About, Job, Request, SessionId, ToSocket};
use crate::config;
use crate::ring::{Gone, Receiver, Sender};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wattbook_feed::sbe::session::Challenge;
use wattbook_feed::sbe::{Inbound, decode_inbound};
use wattbook_feed::signed::{Grade, logon_digest};
use wattbook_feed::soupbin::{self, Decoder, LoginAccepted, LoginRefusal, Packet, Peer};
use wattbook_types::{ChainId, ParticipantId, Reject, TimeNs};

const LISTENER: Token = Token(usize::MAX);
/// Token of the waker that publish rings.
pub const WAKER: Token = Token(usize::MAX - 1);
/// Longest sleep: heartbeats, timeouts and the stop flag are looked at this often.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// Bytes read from one socket before the next gets its turn.
const READ_TURN: usize = 256 << 10;

/// What the stage knows of the chain.
#[derive(Clone, Copy, Debug)]
pub struct ChainFacts {
    /// The chain.
    pub chain: ChainId,
    /// Whether its genesis is a demonstration.
    pub demo: bool,
}

/// The stage.
#[derive(Debug)]
pub struct Ingest {
    poll: Poll,
    listener: TcpListener,
    jobs: Sender<Job>,
    /// A job the ring had no slot for; nothing is read while there is one.
    waiting: Option<Job>,
    /// Session closures wait here for a slot, behind everything else.
    gone: Vec<SessionId>,
    outbound: Receiver<ToSocket>,
    settings: config::Ingest,
    facts: ChainFacts,
    sessions: BTreeMap<SessionId, Session>,
    next_session: SessionId,
    /// Sockets that may have more to read.
    readable: BTreeSet<SessionId>,
    stop: Arc<AtomicBool>,
    stop_sent: bool,
}

#[derive(Debug)]
struct Session {
    stream: TcpStream,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    state: State,
    opened: Instant,
    heard: Instant,
    said: Instant,
    /// Close once everything is written.
    closing: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Waits for the SoupBinTCP login.
    Login,
    /// A private session; this challenge must be signed.
    Private { challenge: [u8; 32], from: u64 },
    /// The public feed.
    Public,
}

/// What became of a session's turn.
enum Turn {
    /// Everything there was has been read.
    Drained,
    /// More may be there, or the ring is full.
    More,
    /// The session is over.
    Over,
}

impl Ingest {
    /// Wires the stage to a bound listener.
    ///
    /// # Errors
    /// The system's answer to registering the listener.
    pub fn new(
        poll: Poll,
        mut listener: TcpListener,
        jobs: Sender<Job>,
        outbound: Receiver<ToSocket>,
        settings: config::Ingest,
        facts: ChainFacts,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            jobs,
            waiting: None,
            gone: Vec::new(),
            outbound,
            settings,
            facts,
            sessions: BTreeMap::new(),
            next_session: 1,
            readable: BTreeSet::new(),
            stop,
            stop_sent: false,
        })
    }

    /// Runs until publish has finished.
    ///
    /// # Errors
    /// The system's answer to polling; single sockets only close their session.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        loop {
            let busy = self.waiting.is_some() || !self.gone.is_empty();
            let sleep = match (busy, self.readable.is_empty()) {
                (true, _) => Duration::from_millis(1),
                (false, false) => Duration::ZERO,
                (false, true) => SLEEP_MAX,
            };
            if let Err(error) = self.poll.poll(&mut events, Some(sleep))
                && error.kind() != ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => {}
                    Token(id) => {
                        let id = id as SessionId;
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            self.readable.insert(id);
                        }
                        if event.is_writable() {
                            self.write(id);
                        }
                    }
                }
            }
            if self.stop.load(Ordering::Relaxed) && !self.stop_sent && self.waiting.is_none() {
                self.stop_sent = true;
                self.waiting = Some(Job {
                    session: 0,
                    request: Request::Stop,
                });
            }
            if self.hand_on().is_err() || self.read_all().is_err() {
                // Verify is gone: the node is ending, publish still says so.
                self.readable.clear();
                self.waiting = None;
                self.gone.clear();
            }
            if self.take_outbound() {
                return Ok(());
            }
            self.keep_time();
        }
    }

    /// Hands on what had to wait. `Ok(true)`: the ring has room again.
    fn hand_on(&mut self) -> Result<bool, Gone> {
        if let Some(job) = self.waiting.take() {
            self.waiting = self.jobs.try_send(job)?;
        }
        while self.waiting.is_none() {
            let Some(session) = self.gone.pop() else { break };
            self.waiting = self.jobs.try_send(Job {
                session,
                request: Request::Closed,
            })?;
        }
        Ok(self.waiting.is_none())
    }

    fn accept(&mut self) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    return;
                }
            };
            if self.sessions.len() >= self.settings.sessions_max || self.stop_sent {
                let reject = if self.stop_sent {
                    Reject::NotAccepting
                } else {
                    Reject::TooManySessions
                };
                let _ = stream.write(&framed(&rejected(About::default(), reject, 0)));
                continue;
            }
            let id = self.next_session;
            self.next_session += 1;
            let _ = stream.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut stream, Token(id as usize), interest) {
                tracing::warn!(%error, "a session could not be registered");
                continue;
            }
            let now = Instant::now();
            let decoder = Decoder::new(Peer::Client, self.settings.packet_size_max);
            let (out, sent, state, closing) = (Vec::new(), 0, State::Login, false);
            let session = Session {
                stream,
                decoder,
                out,
                sent,
                state,
                opened: now,
                heard: now,
                said: now,
                closing,
            };
            self.sessions.insert(id, session);
            self.readable.insert(id);
        }
    }

    fn read_all(&mut self) -> Result<(), Gone> {
        let turn: Vec<SessionId> = self.readable.iter().copied().collect();
        for id in turn {
            if !self.hand_on()? {
                return Ok(());
            }
            match self.read(id)? {
                Turn::Drained => {
                    self.readable.remove(&id);
                }
                Turn::More => {}
                Turn::Over => self.close(id),
            }
        }
        Ok(())
    }

    /// One session's turn: what the decoder holds, then what the socket has.
    fn read(&mut self, id: SessionId) -> Result<Turn, Gone> {
        let mut budget = READ_TURN;
        loop {
            loop {
                let Some(session) = self.sessions.get_mut(&id) else {
                    return Ok(Turn::Drained);
                };
                if session.closing {
                    return Ok(Turn::Drained);
                }
                let packet = match session.decoder.next_packet() {
                    Ok(Some(packet)) => packet,
                    Ok(None) => break,
                    Err(reject) => {
                        session.say_last(&framed(&rejected(About::default(), reject, 0)));
                        self.write(id);
                        return Ok(Turn::Drained);
                    }
                };
                session.heard = Instant::now();
                let request = match packet {
                    Packet::ClientHeartbeat | Packet::Debug(_) => continue,
                    Packet::Logout => return Ok(Turn::Over),
                    Packet::LoginRequest(login) => {
                        let session_name = login.session.trim().to_owned();
                        let from = login.sequence;
                        match self.log_in(id, &session_name, from) {
                            Some(request) => request,
                            None => continue,
                        }
                    }
                    Packet::Unsequenced(message) => match (session.state, decode_inbound(message)) {
                        (State::Private { challenge, from }, decoded) => {
                            request_of(decoded, self.facts.chain, &challenge, from)
                        }
                        (State::Public | State::Login, _) => Request::Refused(About::default(), Reject::NotLoggedOn),
                    },
                    // The decoder lets no server packet through.
                    _ => Request::Refused(About::default(), Reject::UnknownMessage),
                };
                self.waiting = self.jobs.try_send(Job { session: id, request })?;
                if self.waiting.is_some() {
                    return Ok(Turn::More);
                }
            }
            if budget == 0 {
                return Ok(Turn::More);
            }
            let Some(session) = self.sessions.get_mut(&id) else {
                return Ok(Turn::Drained);
            };
            match session.stream.read(session.decoder.spare()) {
                Ok(0) => return Ok(Turn::Over),
                Ok(read) => {
                    session.decoder.filled(read);
                    budget = budget.saturating_sub(read);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Drained),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(Turn::Over),
            }
        }
    }

    /// Answers a SoupBinTCP login; a public one becomes a request to publish.
    fn log_in(&mut self, id: SessionId, name: &str, from: u64) -> Option<Request> {
        let session = self.sessions.get_mut(&id)?;
        let mut packets = Vec::new();
        match (session.state, name) {
            (State::Login, soupbin::SESSION_PRIVATE | "") => {
                let mut challenge = [0; 32];
                if getrandom::fill(&mut challenge).is_err() {
                    soupbin::put_login_rejected(LoginRefusal::SessionNotAvailable, &mut packets);
                    session.say_last(&packets);
                } else {
                    session.state = State::Private { challenge, from };
                    let accepted = LoginAccepted {
                        session: soupbin::SESSION_PRIVATE.into(),
                        sequence: from,
                    };
                    soupbin::put_login_accepted(&accepted, &mut packets);
                    packets.extend(framed(&Challenge {
                        challenge,
                        chain_id: self.facts.chain.0.0,
                        demo: self.facts.demo.into(),
                        reserved: [0; 7],
                    }));
                    session.say(&packets);
                }
            }
            (State::Login, soupbin::SESSION_PUBLIC) => {
                session.state = State::Public;
                return Some(Request::Subscribe { from });
            }
            (State::Login, soupbin::SESSION_BOOK) => {
                session.state = State::Public;
                return Some(Request::Subscribe { from: FROM_BOOKS });
            }
            _ => {
                soupbin::put_login_rejected(LoginRefusal::SessionNotAvailable, &mut packets);
                session.say_last(&packets);
            }
        }
        self.write(id);
        None
    }

    /// Takes what publish hands back. `true`: it has finished.
    fn take_outbound(&mut self) -> bool {
        let mut touched = BTreeSet::new();
        let finished = loop {
            match self.outbound.try_recv() {
                Ok(Some(ToSocket::Packets(id, packets))) => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.say(&packets);
                        touched.insert(id);
                    }
                }
                Ok(Some(ToSocket::Last(id, packets))) => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.say_last(&packets);
                        touched.insert(id);
                    }
                }
                Ok(Some(ToSocket::Finished)) | Err(Gone) => break true,
                Ok(None) => break false,
            }
        };
        for id in touched {
            self.write(id);
        }
        if finished {
            // Publish has told those it knows; the rest were not logged on yet.
            for session in self
                .sessions
                .values_mut()
                .filter(|session| !matches!(session.state, State::Login))
            {
                let mut end = Vec::new();
                soupbin::put_end_of_session(&mut end);
                session.say_last(&end);
            }
            self.linger();
        }
        finished
    }

    /// The last bytes of every session, as far as its peer takes them within a second.
    fn linger(&mut self) {
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until && self.sessions.values().any(|session| session.sent < session.out.len()) {
            let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
            for id in ids {
                self.write(id);
            }
            std::thread::yield_now();
        }
    }

    fn write(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let over = loop {
            if session.sent == session.out.len() {
                session.out.clear();
                session.sent = 0;
                break session.closing;
            }
            match session.stream.write(&session.out[session.sent..]) {
                Ok(0) => break true,
                Ok(written) => session.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let unsent = session.out.len() - session.sent;
                    if unsent > self.settings.session_buffer_max {
                        tracing::warn!(session = id, unsent, "a slow session is cut off");
                        break true;
                    }
                    if session.sent > 1 << 20 {
                        session.out.drain(..session.sent);
                        session.sent = 0;
                    }
                    break false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        if over {
            self.close(id);
        }
    }

    fn close(&mut self, id: SessionId) {
        if let Some(mut session) = self.sessions.remove(&id) {
            let _ = self.poll.registry().deregister(&mut session.stream);
            let _ = session.stream.shutdown(std::net::Shutdown::Write);
            self.readable.remove(&id);
            self.gone.push(id);
        }
    }

    /// Heartbeats and timeouts.
    fn keep_time(&mut self) {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let (mut over, mut silent) = (Vec::new(), Vec::new());
        for (id, session) in &self.sessions {
            let late = matches!(session.state, State::Login)
                && now.duration_since(session.opened) > ms(self.settings.login_timeout_ms);
            if late || now.duration_since(session.heard) > ms(self.settings.idle_timeout_ms) {
                over.push(*id);
            } else if now.duration_since(session.said) > ms(self.settings.heartbeat_ms) {
                silent.push(*id);
            }
        }
        for id in over {
            self.close(id);
        }
        for id in silent {
            if let Some(session) = self.sessions.get_mut(&id)
                && !matches!(session.state, State::Login)
            {
                let mut heartbeat = Vec::new();
                soupbin::put_server_heartbeat(&mut heartbeat);
                session.say(&heartbeat);
                self.write(id);
            }
        }
    }
}

impl Session {
    fn say(&mut self, packets: &[u8]) {
        if !self.closing {
            self.out.extend_from_slice(packets);
            self.said = Instant::now();
        }
    }

    fn say_last(&mut self, packets: &[u8]) {
        self.say(packets);
        self.closing = true;
    }
}

/// The request of a decoded message on a private session.
fn request_of(decoded: Result<Inbound<'_>, Reject>, chain: ChainId, challenge: &[u8; 32], from: u64) -> Request {
    match decoded {
        Ok(Inbound::Logon(logon)) => {
            let participant = ParticipantId::new(logon.participant);
            match Grade::from_raw(logon.grade) {
                Some(grade) => {
                    let digest = logon_digest(chain, challenge, participant, logon.grade);
                    Request::Logon {
                        participant,
                        grade,
                        from,
                        digest,
                        signature: logon.signature,
                    }
                }
                None => Request::Refused(
                    About {
                        participant: logon.participant,
                        ..About::default()
                    },
                    Reject::LogonRefused,
                ),
            }
        }
        Ok(Inbound::Register(record)) => Request::Register(record),
        Ok(Inbound::Envelope(envelope)) => Request::Envelope(Box::new(envelope.to_sealed())),
        Ok(Inbound::Reveal(reveal)) => Request::Reveal(Box::new(reveal.to_record())),
        Ok(Inbound::OnDisconnect(cancels)) => {
            Request::OnDisconnect(cancels.map(|envelope| Box::new(envelope.to_sealed())))
        }
        Ok(Inbound::Step(step)) => Request::Step(TimeNs::new(step.time_ns)),
        Err(reject) => Request::Refused(About::default(), reject),
    }
}
