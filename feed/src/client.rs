//! A blocking client: one TCP connection, in the clear or under TLS 1.3, and one SoupBinTCP session.
//!
//! # Recovery
//! [`Client::next_seq`] is the number of the next sequenced message; a new connection with it resumes without a gap or
//! a repetition. What was sent and not answered is sent again: nonces make it idempotent. Among delegates a session of
//! grade `matched` may be told [`Outbound::Revoked`] and ended: it resumes as after any drop, before what was given up.
//!
//! # Invariants
//! * Heartbeats are sent whenever [`Client::next`] or [`Client::next_raw`] waits; a caller that neither sends nor calls
//!   them for long loses its session.

use crate::connection::Connection;
use crate::keys::BlsSecret;
use crate::sbe::{self, DecodeError, LogonMessage, Outbound, session};
use crate::signed::{Grade, RegisterRecord, RevealRecord, SealedEnvelope, logon_digest};
use crate::soupbin::{self, Decoder, LoginAccepted, LoginRefusal, LoginRequest, PACKET_MAX, Packet, Peer};
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use wattbook_types::{ChainId, Hash, ParticipantId, Reject, TimeNs};

/// Silence after which a client sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which a server counts as gone.
const SERVER_SILENCE: Duration = Duration::from_secs(15);
/// Longest wait for a message: keeps instants representable.
const WAIT_MAX: Duration = Duration::from_secs(86_400 * 365);
/// How long a server may take over login and challenge.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Which session to log in to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamKind {
    /// A participant's answers and execution reports.
    Private,
    /// The public feed.
    Public,
    /// A snapshot of the books, then the public feed from there on; the number asked for does not count.
    Book,
}

impl StreamKind {
    /// Name of the SoupBinTCP session.
    pub const fn session(self) -> &'static str {
        match self {
            Self::Private => soupbin::SESSION_PRIVATE,
            Self::Public => soupbin::SESSION_PUBLIC,
            Self::Book => soupbin::SESSION_BOOK,
        }
    }
}

/// What went wrong with a session. All but [`Self::Decode`] end it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection without ending the session.
    #[error("the server closed the connection")]
    Disconnected,
    /// The server ended the session.
    #[error("the server ended the session")]
    EndOfSession,
    /// The server has been silent for 15 seconds.
    #[error("the server sends no heartbeats")]
    Silent,
    /// The server did not answer the login or send its challenge.
    #[error("the server did not answer the login within 10 s")]
    LoginTimeout,
    /// The server refused the login.
    #[error("the server refused the login: {0:?}")]
    LoginRefused(LoginRefusal),
    /// The server takes no session now.
    #[error("the server takes no session: {0}")]
    Refused(Reject),
    /// The bytes are no SoupBinTCP packets.
    #[error("the server's packets are malformed: {0}")]
    Protocol(Reject),
    /// Another packet or message was due.
    #[error("the server sent {0} where something else was due")]
    Unexpected(&'static str),
    /// A message is malformed; the next one can be read.
    #[error("message: {0}")]
    Decode(#[from] DecodeError),
    /// The server serves another chain.
    #[error("the server serves chain {0}, not the one expected")]
    WrongChain(Hash),
    /// A message to send exceeds a packet.
    #[error("a message of {0} bytes exceeds a packet")]
    TooLarge(usize),
    /// A logon needs the challenge of a private session.
    #[error("a public session has no challenge to log on with")]
    NoChallenge,
}

/// What a private session begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Greeting {
    challenge: [u8; 32],
    chain: ChainId,
    demo: bool,
}

/// A message with its sequence number; `None` for an unsequenced one.
pub type Numbered<T> = (Option<u64>, T);

/// A session with a node.
#[derive(Debug)]
pub struct Client {
    stream: Connection,
    decoder: Decoder,
    next_seq: u64,
    greeting: Option<Greeting>,
    last_sent: Instant,
    last_heard: Instant,
    out: Vec<u8>,
}

/// A packet that the session's user sees, copied from the decoder.
enum Heard {
    Accepted(LoginAccepted),
    Refused(LoginRefusal),
    Message(Numbered<Vec<u8>>),
    End,
}

impl Client {
    /// Connects, logs in, and on a private session takes the challenge. `next_seq` is the first sequenced message
    /// wanted: 1 from the beginning, 0 whatever comes next.
    pub fn connect(addr: impl ToSocketAddrs, kind: StreamKind, next_seq: u64) -> Result<Self, ClientError> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        Self::log_in(Connection::Clear(socket), kind, next_seq)
    }

    /// As [`Self::connect`], under TLS 1.3 with a node at `host:port` whose certificate is trusted and carries this name;
    /// without one, that of the host.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        addr: &str,
        trust: &crate::tls::Trust,
        name: Option<&str>,
        kind: StreamKind,
        next_seq: u64,
    ) -> Result<Self, ClientError> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        let name = name.unwrap_or_else(|| crate::tls::host_of(addr));
        let connection = trust.greet(socket, name, Instant::now() + LOGIN_TIMEOUT)?;
        Self::log_in(connection, kind, next_seq)
    }

    fn log_in(stream: Connection, kind: StreamKind, next_seq: u64) -> Result<Self, ClientError> {
        let now = Instant::now();
        let mut client = Self {
            stream,
            decoder: Decoder::new(Peer::Server, PACKET_MAX),
            next_seq,
            greeting: None,
            last_sent: now,
            last_heard: now,
            out: Vec::new(),
        };
        let login = LoginRequest {
            username: String::new(),
            password: String::new(),
            session: kind.session().to_owned(),
            sequence: next_seq,
        };
        soupbin::put_login_request(&login, &mut client.out);
        client.flush()?;
        let deadline = now + LOGIN_TIMEOUT;
        match client.hear(deadline)?.ok_or(ClientError::LoginTimeout)? {
            Heard::Accepted(accepted) => client.next_seq = accepted.sequence,
            Heard::Refused(refusal) => return Err(ClientError::LoginRefused(refusal)),
            Heard::Message((_, message)) => return Err(refusal_of(&message)),
            Heard::End => return Err(ClientError::EndOfSession),
        }
        if kind == StreamKind::Private {
            client.greeting = Some(client.await_challenge(deadline)?);
        }
        Ok(client)
    }

    fn await_challenge(&mut self, deadline: Instant) -> Result<Greeting, ClientError> {
        let Some(Heard::Message((None, message))) = self.hear(deadline)? else {
            return Err(ClientError::Unexpected("no challenge"));
        };
        match sbe::decode_outbound(&message)? {
            Outbound::Challenge(session::Challenge {
                challenge,
                chain_id,
                demo,
                ..
            }) => Ok(Greeting {
                challenge,
                chain: ChainId(Hash(chain_id)),
                demo: demo != 0,
            }),
            other => Err(ClientError::Unexpected(other.name())),
        }
    }

    /// The chain that the node says it serves; `None` on a public session.
    pub fn chain(&self) -> Option<ChainId> {
        self.greeting.map(|greeting| greeting.chain)
    }

    /// Whether the node serves a demonstration; `None` on a public session.
    pub fn is_demo(&self) -> Option<bool> {
        self.greeting.map(|greeting| greeting.demo)
    }

    /// Number of the next sequenced message: where a new connection resumes.
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Fails unless the node serves this chain; do so before anything is signed.
    pub fn expect_chain(&self, chain: ChainId) -> Result<(), ClientError> {
        match self.chain() {
            Some(served) if served == chain => Ok(()),
            Some(served) => Err(ClientError::WrongChain(served.0)),
            None => Err(ClientError::NoChallenge),
        }
    }

    /// Sends a logon; the answer is [`Outbound::LoggedOn`] or [`Outbound::RejectedMessage`].
    pub fn logon(&mut self, participant: ParticipantId, secret: &BlsSecret, grade: Grade) -> Result<(), ClientError> {
        let Greeting { challenge, chain, .. } = self.greeting.ok_or(ClientError::NoChallenge)?;
        let grade = grade as u8;
        let signature = secret.sign(&logon_digest(chain, &challenge, participant, grade));
        let logon = LogonMessage {
            participant: participant.get(),
            grade,
            reserved: [0; 7],
            signature,
        };
        self.send(|out| sbe::encode_logon(&logon, out))
    }

    /// Sends a registration.
    pub fn send_register(&mut self, record: &RegisterRecord) -> Result<(), ClientError> {
        self.send(|out| sbe::encode_register(record, out))
    }

    /// Sends an envelope.
    pub fn send_envelope(&mut self, envelope: &SealedEnvelope) -> Result<(), ClientError> {
        self.send(|out| sbe::encode_envelope(envelope, out))
    }

    /// Deposits signed cancels that the node sequences when this session ends, in place of those deposited before; `None`
    /// withdraws them. The answer is [`Outbound::Held`] or [`Outbound::RejectedMessage`].
    pub fn send_on_disconnect(&mut self, cancels: Option<&SealedEnvelope>) -> Result<(), ClientError> {
        self.send(|out| sbe::encode_on_disconnect(cancels, out))
    }

    /// Sends a reveal.
    pub fn send_reveal(&mut self, reveal: &RevealRecord) -> Result<(), ClientError> {
        self.send(|out| sbe::encode_reveal(reveal, out))
    }

    /// Sends a Step.
    pub fn send_step(&mut self, time: TimeNs) -> Result<(), ClientError> {
        self.send(|out| sbe::encode_step(time, out))
    }

    /// Sends any bytes as one message.
    pub fn send_raw(&mut self, message: &[u8]) -> Result<(), ClientError> {
        self.send(|out| out.extend_from_slice(message))
    }

    fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), ClientError> {
        let mut message = Vec::new();
        encode(&mut message);
        if message.len() >= PACKET_MAX {
            return Err(ClientError::TooLarge(message.len()));
        }
        soupbin::put_unsequenced(&message, &mut self.out);
        self.flush()
    }

    /// The next message, waiting at most `timeout`; `None` when that is over.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Numbered<Outbound>>, ClientError> {
        match self.next_raw(timeout)? {
            Some((seq, message)) => Ok(Some((seq, sbe::decode_outbound(&message)?))),
            None => Ok(None),
        }
    }

    /// The next message as it came, for recording.
    pub fn next_raw(&mut self, timeout: Duration) -> Result<Option<Numbered<Vec<u8>>>, ClientError> {
        match self.hear(Instant::now() + timeout.min(WAIT_MAX))? {
            None => Ok(None),
            Some(Heard::Message(message)) => Ok(Some(message)),
            Some(Heard::End) => Err(ClientError::EndOfSession),
            Some(Heard::Accepted(_) | Heard::Refused(_)) => Err(ClientError::Unexpected("a second login answer")),
        }
    }

    /// Says goodbye and closes the connection.
    pub fn logout(mut self) -> Result<(), ClientError> {
        soupbin::put_logout(&mut self.out);
        self.flush()?;
        // The node may have closed the connection by now.
        let _ = self.stream.say_goodbye();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        self.last_sent = Instant::now();
        Ok(written?)
    }

    /// The next packet that is no heartbeat or debug text, until `deadline`.
    fn hear(&mut self, deadline: Instant) -> Result<Option<Heard>, ClientError> {
        let mut has_looked = false;
        loop {
            if let Some(heard) = self.take()? {
                return Ok(Some(heard));
            }
            let now = Instant::now();
            // Heartbeats keep nobody waiting longer than asked for.
            if has_looked && now >= deadline {
                return Ok(None);
            }
            if now >= self.last_sent + HEARTBEAT {
                soupbin::put_client_heartbeat(&mut self.out);
                self.flush()?;
            }
            has_looked = true;
            // One look at the socket even when the deadline has passed, so that a zero timeout polls.
            let wait = deadline.min(self.last_sent + HEARTBEAT).saturating_duration_since(now);
            self.stream.set_read_timeout(wait.max(Duration::from_millis(1)))?;
            match self.stream.read(self.decoder.spare()) {
                Ok(0) => return Err(ClientError::Disconnected),
                Ok(len) => {
                    self.decoder.filled(len);
                    self.last_heard = Instant::now();
                }
                Err(error) => match error.kind() {
                    // Only a look that finds nothing makes a silence: what came while nobody looked lies in the socket.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if self.is_silent(now) => {
                        return Err(ClientError::Silent);
                    }
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.duration_since(self.last_heard) >= SERVER_SILENCE
    }

    /// The next packet already received.
    fn take(&mut self) -> Result<Option<Heard>, ClientError> {
        loop {
            let heard = match self.decoder.next_packet().map_err(ClientError::Protocol)? {
                None => return Ok(None),
                Some(Packet::ServerHeartbeat | Packet::Debug(_)) => continue,
                Some(Packet::Sequenced(message)) => {
                    let seq = self.next_seq;
                    let next = seq.checked_add(1);
                    self.next_seq = next.ok_or(ClientError::Unexpected("a message beyond the last number"))?;
                    Heard::Message((Some(seq), message.to_vec()))
                }
                Some(Packet::Unsequenced(message)) => {
                    if let Ok(Outbound::Revoked(revoked)) = sbe::decode_outbound(message) {
                        self.next_seq = revoked.next;
                    }
                    Heard::Message((None, message.to_vec()))
                }
                Some(Packet::LoginAccepted(accepted)) => Heard::Accepted(accepted),
                Some(Packet::LoginRejected(refusal)) => Heard::Refused(refusal),
                Some(Packet::EndOfSession) => Heard::End,
                // The decoder refuses what only clients send.
                Some(Packet::LoginRequest(_) | Packet::ClientHeartbeat | Packet::Logout) => {
                    return Err(ClientError::Unexpected("a client's packet"));
                }
            };
            return Ok(Some(heard));
        }
    }
}

/// The error of a message that came in place of a login's answer.
fn refusal_of(message: &[u8]) -> ClientError {
    match sbe::decode_outbound(message) {
        Ok(Outbound::RejectedMessage(refused)) => match Reject::from_code(refused.code) {
            Some(reject) => ClientError::Refused(reject),
            None => ClientError::Unexpected("a refusal of unknown number"),
        },
        Ok(other) => ClientError::Unexpected(other.name()),
        Err(error) => ClientError::Decode(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A client whose server has been silent for long, as far as it has looked; and the server's end.
    fn unread() -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut decoder, mut packets) = (Decoder::new(Peer::Client, PACKET_MAX), Vec::new());
            while decoder.next_packet().unwrap().is_none() {
                let len = stream.read(decoder.spare()).unwrap();
                decoder.filled(len);
            }
            let (session, sequence) = (soupbin::SESSION_PUBLIC.to_owned(), 1);
            soupbin::put_login_accepted(&LoginAccepted { session, sequence }, &mut packets);
            stream.write_all(&packets).unwrap();
            stream
        });
        let mut client = Client::connect(addr, StreamKind::Public, 1).unwrap();
        client.last_heard = Instant::now().checked_sub(2 * SERVER_SILENCE).unwrap();
        (client, server.join().unwrap())
    }

    #[test]
    fn what_came_while_nobody_looked_is_no_silence() {
        let (mut client, mut server) = unread();
        let mut packets = Vec::new();
        soupbin::put_sequenced(b"one", &mut packets);
        server.write_all(&packets).unwrap();
        assert_eq!(
            client.next_raw(Duration::ZERO).unwrap(),
            Some((Some(1), b"one".to_vec()))
        );
        // The look has made the server one that was heard.
        assert_eq!(client.next_raw(Duration::ZERO).unwrap(), None);
    }

    #[test]
    fn a_look_that_finds_nothing_is() {
        let (mut client, _server) = unread();
        assert!(matches!(client.next_raw(Duration::ZERO), Err(ClientError::Silent)));
    }

    #[test]
    fn heartbeats_keep_nobody_waiting() {
        let (mut client, mut server) = unread();
        client.last_heard = Instant::now();
        let beats = std::thread::spawn(move || {
            let mut packets = Vec::new();
            (0..1_000).for_each(|_| soupbin::put_server_heartbeat(&mut packets));
            while server.write_all(&packets).is_ok() {}
        });
        assert_eq!(client.next_raw(Duration::from_millis(50)).unwrap(), None);
        drop(client);
        beats.join().unwrap();
    }

    #[test]
    fn an_end_of_session_is_no_drop() {
        let (mut client, mut server) = unread();
        let mut packets = Vec::new();
        soupbin::put_sequenced(b"last", &mut packets);
        soupbin::put_end_of_session(&mut packets);
        server.write_all(&packets).unwrap();
        drop(server);
        assert_eq!(
            client.next_raw(Duration::ZERO).unwrap(),
            Some((Some(1), b"last".to_vec()))
        );
        assert!(matches!(client.next_raw(WAIT_MAX), Err(ClientError::EndOfSession)));
        assert_eq!(client.next_seq(), 2);
    }
}
