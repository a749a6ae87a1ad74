//! A private session up to its logon; from there on its two directions run on different threads.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use wattbook_feed::keys::BlsSecret;
use wattbook_feed::sbe::{self, LogonMessage, Outbound};
use wattbook_feed::signed::{Grade, logon_digest};
use wattbook_feed::soupbin::{self, Decoder, LoginRequest, PACKET_MAX, Packet, Peer};
use wattbook_types::{ChainId, Hash, ParticipantId, Reject};

/// How long a server may take over a logon.
const LOGON_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the node closed the connection")]
    Closed,
    #[error("the node's packets are malformed: {0}")]
    Packets(Reject),
    #[error("the node's message is malformed: {0}")]
    Message(#[from] sbe::DecodeError),
    #[error("the node refused: {0}")]
    Refused(Reject),
    #[error("the node did not answer the logon")]
    Silent,
}

/// A session that is logged on: its socket, and what was read of it already.
#[derive(Debug)]
pub(crate) struct LoggedOn {
    pub(crate) stream: TcpStream,
    pub(crate) decoder: Decoder,
}

impl LoggedOn {
    /// The next message; `None` when none came for the stream's read timeout.
    fn next(&mut self) -> Result<Option<Outbound>, SessionError> {
        loop {
            if let Some(message) = next_message(&mut self.decoder)? {
                return Ok(Some(message));
            }
            match self.stream.read(self.decoder.spare()) {
                Ok(0) => return Err(SessionError::Closed),
                Ok(len) => self.decoder.filled(len),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The next message of what was read.
pub(crate) fn next_message(decoder: &mut Decoder) -> Result<Option<Outbound>, SessionError> {
    loop {
        match decoder.next_packet().map_err(SessionError::Packets)? {
            Some(Packet::Sequenced(message) | Packet::Unsequenced(message)) => {
                return Ok(Some(sbe::decode_outbound(message)?));
            }
            Some(Packet::EndOfSession | Packet::LoginRejected(_)) => return Err(SessionError::Closed),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

/// Logs a participant on with grade `matched`, from what comes next.
pub(crate) fn log_on(
    addr: SocketAddr,
    chain: ChainId,
    who: ParticipantId,
    secret: &BlsSecret,
) -> Result<LoggedOn, SessionError> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut session = LoggedOn {
        stream,
        decoder: Decoder::new(Peer::Server, PACKET_MAX),
    };
    let login = LoginRequest {
        username: String::new(),
        password: String::new(),
        session: soupbin::SESSION_PRIVATE.to_owned(),
        sequence: 0,
    };
    let mut packet = Vec::new();
    soupbin::put_login_request(&login, &mut packet);
    session.stream.write_all(&packet)?;
    let deadline = Instant::now() + LOGON_TIMEOUT;
    while Instant::now() < deadline {
        match session.next()? {
            Some(Outbound::Challenge(challenge)) => {
                if ChainId(Hash(challenge.chain_id)) != chain {
                    return Err(SessionError::Refused(Reject::LogonRefused));
                }
                let grade = Grade::Matched as u8;
                let signature = secret.sign(&logon_digest(chain, &challenge.challenge, who, grade));
                let logon = LogonMessage {
                    participant: who.get(),
                    grade,
                    reserved: [0; 7],
                    signature,
                };
                session
                    .stream
                    .write_all(&framed(|message| sbe::encode_logon(&logon, message)))?;
            }
            Some(Outbound::LoggedOn(_)) => return Ok(session),
            Some(Outbound::RejectedMessage(refused)) => {
                return Err(SessionError::Refused(
                    Reject::from_code(refused.code).unwrap_or(Reject::LogonRefused),
                ));
            }
            Some(_) | None => {}
        }
    }
    Err(SessionError::Silent)
}

/// A message in an unsequenced packet.
pub(crate) fn framed(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (mut message, mut packet) = (Vec::new(), Vec::new());
    encode(&mut message);
    soupbin::put_unsequenced(&message, &mut packet);
    packet
}
