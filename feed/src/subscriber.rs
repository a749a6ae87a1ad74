//! A blocking subscriber of the public stream over MoldUDP64: two lines, a re-request server, and SoupBinTCP behind them.
//!
//! # Contract
//! * [`Subscriber::next`] gives every message from the first one wanted, in order, each once, as the session port would.
//! * A gap is closed by the other line, else by a re-request server, else by resuming over SoupBinTCP
//!   ([`crate::arbiter`] says when); without either it is an error that names the first message missing.
//! * A session that drops while it resumes is opened again behind the last message that came, until it gives nothing
//!   [`RESUMES_MAX`] times in a row.
//!
//! # Time
//! [`Subscriber::next`] ends by its timeout, whatever comes meanwhile that is not the next message: only connecting to the
//! session port and logging in there may take longer, 10 s for each of login and TLS. A timeout of zero takes what is
//! there. Between two calls nothing is received, and what a socket has no room for is lost, and asked for again.

use crate::arbiter::{Arbiter, Ask, Tally};
use crate::client::{Client, ClientError, StreamKind};
use crate::moldudp::{self, Session};
use crate::soupbin;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Silence of every line after which the sender counts as gone.
const SENDER_SILENCE: Duration = Duration::from_secs(15);
/// Wait for one message while the stream is resumed over SoupBinTCP.
const RESUME_WAIT: Duration = Duration::from_secs(10);
/// Sessions in a row that may end before they give a message.
pub const RESUMES_MAX: u32 = 3;
/// Messages held beyond a gap, at most.
const HELD_MAX: usize = 65_536;
/// Longest datagram.
const DATAGRAM_MAX: usize = 65_507;
/// Datagrams taken from one line before the other's turn.
const TURN: usize = 64;

/// Name of the public stream, in MoldUDP64 as in SoupBinTCP.
pub fn public_session() -> Session {
    moldudp::session(soupbin::SESSION_PUBLIC).expect("INVARIANT: a short name")
}

/// Why a subscriber cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// A socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// No line has said anything for 15 seconds.
    #[error("the sender is silent")]
    Silent,
    /// The session ended, and every message of it has been given.
    #[error("the session ended before message {0}")]
    EndOfSession(u64),
    /// Messages are lost and there is nowhere to get them.
    #[error("message {0} is lost, and no server gives it again")]
    Lost(u64),
    /// The session port does not give them either.
    #[error("message {seq} is lost, and the session port does not give it again: {source}")]
    Resume {
        /// The first one missing.
        seq: u64,
        /// What the session said.
        source: ClientError,
    },
}

/// Where a stream comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Addresses that the lines are sent to; a multicast group is joined on any interface.
    pub lines: Vec<SocketAddr>,
    /// Re-request servers, asked in turn.
    pub requests: Vec<SocketAddr>,
    /// The session port, for what is too old for them.
    pub session: Option<SocketAddr>,
}

/// A subscription to the public stream.
#[derive(Debug)]
pub struct Subscriber {
    poll: Poll,
    events: Events,
    lines: Vec<UdpSocket>,
    /// Asks; answers come back to it.
    asking: UdpSocket,
    sources: Sources,
    turn: usize,
    arbiter: Arbiter,
    /// The session that a gap is closed from.
    resuming: Option<Client>,
    /// Sessions in a row that ended before they gave a message.
    in_vain: u32,
    #[cfg(feature = "tls")]
    trust: Option<(crate::tls::Trust, Option<String>)>,
    heard: Instant,
    datagram: Vec<u8>,
}

impl Subscriber {
    /// Binds the lines and waits for message `next` first; 0: for whatever comes next.
    ///
    /// # Errors
    /// [`SubscribeError::Io`].
    pub fn bind(sources: Sources, next: u64) -> Result<Self, SubscribeError> {
        let poll = Poll::new()?;
        let lines = sources.lines.iter().map(|addr| line(*addr));
        let mut lines = lines.collect::<io::Result<Vec<UdpSocket>>>()?;
        let any: IpAddr = match sources.requests.first() {
            Some(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let mut asking = UdpSocket::bind((any, 0).into())?;
        for (at, socket) in lines.iter_mut().chain([&mut asking]).enumerate() {
            poll.registry().register(socket, Token(at), Interest::READABLE)?;
        }
        let arbiter = Arbiter::new(public_session(), next, HELD_MAX);
        let arbiter = match sources.requests.is_empty() {
            true => arbiter.without_requests(),
            false => arbiter,
        };
        Ok(Self {
            poll,
            events: Events::with_capacity(8),
            lines,
            asking,
            sources,
            turn: 0,
            arbiter,
            resuming: None,
            in_vain: 0,
            #[cfg(feature = "tls")]
            trust: None,
            heard: Instant::now(),
            datagram: vec![0; DATAGRAM_MAX],
        })
    }

    /// Resumes over TLS 1.3, with a node whose certificate is trusted and carries this name; without one, that of the
    /// session port's address.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn over_tls(mut self, trust: crate::tls::Trust, name: Option<String>) -> Self {
        self.trust = Some((trust, name));
        self
    }

    /// Where the lines listen, in the order of their sources.
    ///
    /// # Errors
    /// The system's answer.
    pub fn addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.lines.iter().map(UdpSocket::local_addr).collect()
    }

    /// Number of the message that comes next.
    pub const fn next_seq(&self) -> u64 {
        self.arbiter.next_seq()
    }

    /// What happened so far.
    pub const fn tally(&self) -> &Tally {
        self.arbiter.tally()
    }

    /// The next message with its number, waiting at most `timeout`; `None` when that is over.
    ///
    /// # Errors
    /// [`SubscribeError`]; all end the subscription, and another may begin at [`Subscriber::next_seq`].
    pub fn next(&mut self, timeout: Duration) -> Result<Option<(u64, Vec<u8>)>, SubscribeError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let received = self.receive()?;
            if received {
                self.heard = Instant::now();
            }
            if let Some(message) = self.arbiter.pop() {
                return Ok(Some(message));
            }
            if self.arbiter.is_over() {
                return Err(SubscribeError::EndOfSession(self.next_seq()));
            }
            let now = Instant::now();
            let is_late = deadline.is_some_and(|deadline| now >= deadline);
            let ask = match self.resuming {
                Some(_) => Ask::Nothing,
                None => self.arbiter.ask(now),
            };
            let due = match ask {
                Ask::Nothing => None,
                Ask::Wait(due) => Some(due),
                Ask::Again(requests, due) => {
                    self.turn = (self.turn + 1) % self.sources.requests.len().max(1);
                    let server = self.sources.requests.get(self.turn);
                    for (request, server) in requests.iter().zip(server.into_iter().cycle()) {
                        // A request that is not sent is one that is not answered.
                        let _ = self.asking.send_to(&request.encode(), *server);
                    }
                    Some(due)
                }
                Ask::Resume(seq) => {
                    match self.connect(seq) {
                        Ok(client) => self.resuming = Some(client),
                        Err(source) => self.in_vain(seq, source)?,
                    }
                    None
                }
            };
            if let Some(client) = self.resuming.take() {
                self.resume(client, deadline)?;
                if let Some(message) = self.arbiter.pop() {
                    return Ok(Some(message));
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(None);
                }
                continue;
            }
            let silent = self.heard + SENDER_SILENCE;
            if now >= silent {
                return Err(SubscribeError::Silent);
            }
            if is_late {
                return Ok(None);
            }
            if received {
                continue;
            }
            let until = [due, deadline].into_iter().flatten().fold(silent, Instant::min);
            match self
                .poll
                .poll(&mut self.events, Some(until.saturating_duration_since(now)))
            {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
        }
    }

    /// Takes what the sockets have, a turn of each; whether any had something.
    fn receive(&mut self) -> io::Result<bool> {
        let mut any = false;
        for socket in self.lines.iter().chain([&self.asking]) {
            for _ in 0..TURN {
                match socket.recv_from(&mut self.datagram) {
                    Ok((len, _)) => {
                        // What is no packet has been counted.
                        let _ = self.arbiter.take(&self.datagram[..len]);
                        any = true;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // A server that is not there is told of by the next call.
                    Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(any)
    }

    /// A session of the session port, from a message on.
    fn connect(&self, seq: u64) -> Result<Client, ClientError> {
        let Some(addr) = self.sources.session else {
            return Err(ClientError::Disconnected);
        };
        #[cfg(feature = "tls")]
        if let Some((trust, name)) = &self.trust {
            return Client::connect_tls(&addr.to_string(), trust, name.as_deref(), StreamKind::Public, seq);
        }
        Client::connect(addr, StreamKind::Public, seq)
    }

    /// A session ended before it gave a message: whether that is to be borne.
    fn in_vain(&mut self, seq: u64, source: ClientError) -> Result<(), SubscribeError> {
        if self.sources.session.is_none() {
            return Err(SubscribeError::Lost(seq));
        }
        self.in_vain += 1;
        let dropped = match &source {
            // No certificate becomes another by being asked for again.
            ClientError::Io(error) => error.kind() != ErrorKind::InvalidData,
            ClientError::Disconnected => true,
            _ => false,
        };
        if dropped && self.in_vain < RESUMES_MAX {
            return Ok(());
        }
        Err(SubscribeError::Resume { seq, source })
    }

    /// Takes what a session gives of the messages up to the end known of, as many as fit, until a deadline; the session
    /// stays for the next call if more is to come of it.
    fn resume(&mut self, mut client: Client, deadline: Option<Instant>) -> Result<(), SubscribeError> {
        let (seq, first) = (self.next_seq(), client.next_seq());
        let until = self.arbiter.end().min(seq.saturating_add(HELD_MAX as u64));
        while client.next_seq() < until {
            let wait = deadline.map_or(RESUME_WAIT, |deadline| {
                deadline.saturating_duration_since(Instant::now()).min(RESUME_WAIT)
            });
            let source = match client.next_raw(wait) {
                Ok(Some((Some(number), message))) => {
                    self.arbiter.put(number, &message);
                    continue;
                }
                Ok(Some((None, _))) => continue,
                Ok(None) if wait < RESUME_WAIT => {
                    self.resuming = Some(client);
                    return Ok(());
                }
                Ok(None) => ClientError::Silent,
                Err(source) => source,
            };
            // What has come comes out before the next session is asked for.
            if client.next_seq() > first {
                self.in_vain = 0;
                if matches!(source, ClientError::Io(_) | ClientError::Disconnected) {
                    return Ok(());
                }
            }
            return self.in_vain(seq, source);
        }
        self.in_vain = 0;
        // Everything has come; that the node may not hear it changes nothing.
        let _ = client.logout();
        Ok(())
    }
}

fn line(addr: SocketAddr) -> io::Result<UdpSocket> {
    if !addr.ip().is_multicast() {
        return UdpSocket::bind(addr);
    }
    match addr.ip() {
        IpAddr::V4(group) => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, addr.port()).into())?;
            socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
            Ok(socket)
        }
        IpAddr::V6(group) => {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, addr.port()).into())?;
            socket.join_multicast_v6(&group, 0)?;
            Ok(socket)
        }
    }
}
