//! SoupBinTCP 3.0 framing, without I/O: bytes in, packets out.
//!
//! # Format
//! `length u16 big-endian, type u8, payload`; the length counts type and payload. Texts are padded with spaces:
//! user name and password on the right, session and sequence number on the left.
//!
//! # Invariants
//! * A decoder holds at most two packets of the greatest size; the caller keeps what it does not take.
//! * An oversize packet is refused by its length alone, a type that the peer may not send by its third byte.
//! * After an error the decoder gives that error for ever: the stream has no next packet.

use wattbook_types::Reject;

/// Greatest packet the length field can name, type included.
pub const PACKET_MAX: usize = u16::MAX as usize;
/// Session that carries a participant's answers.
pub const SESSION_PRIVATE: &str = "PRIVATE";
/// Session that carries the public feed.
pub const SESSION_PUBLIC: &str = "PUBLIC";
/// Session of the books: a snapshot in unsequenced messages, then the public stream from there on.
pub const SESSION_BOOK: &str = "BOOK";
/// Size of a login request's payload.
const LOGIN_REQUEST: usize = 6 + 10 + 10 + 20;
/// Size of a login acceptance's payload.
const LOGIN_ACCEPTED: usize = 10 + 20;

/// Type bytes of the packets.
mod kind {
    pub(super) const DEBUG: u8 = b'+';
    pub(super) const LOGIN_ACCEPTED: u8 = b'A';
    pub(super) const LOGIN_REJECTED: u8 = b'J';
    pub(super) const SEQUENCED: u8 = b'S';
    pub(super) const UNSEQUENCED: u8 = b'U';
    pub(super) const SERVER_HEARTBEAT: u8 = b'H';
    pub(super) const END_OF_SESSION: u8 = b'Z';
    pub(super) const LOGIN_REQUEST: u8 = b'L';
    pub(super) const CLIENT_HEARTBEAT: u8 = b'R';
    pub(super) const LOGOUT: u8 = b'O';
}

/// Who sent the bytes that a decoder reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A client: the decoder stands in a server.
    Client,
    /// A server: the decoder stands in a client.
    Server,
}

/// Why a login was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginRefusal {
    /// `A`: not authorised.
    NotAuthorized,
    /// `S`: no such session.
    SessionNotAvailable,
}

/// A login request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoginRequest {
    /// User name, at most 6 characters; not interpreted.
    pub username: String,
    /// Password, at most 10 characters; not interpreted.
    pub password: String,
    /// Session wanted, at most 10 characters.
    pub session: String,
    /// First sequence number wanted; 0: whatever comes next.
    pub sequence: u64,
}

/// A login acceptance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoginAccepted {
    /// The session.
    pub session: String,
    /// Number of the next sequenced packet.
    pub sequence: u64,
}

/// One packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// `+`: text for people.
    Debug(&'a [u8]),
    /// `A`.
    LoginAccepted(LoginAccepted),
    /// `J`.
    LoginRejected(LoginRefusal),
    /// `S`: a message that counts.
    Sequenced(&'a [u8]),
    /// `U`: a message that does not.
    Unsequenced(&'a [u8]),
    /// `H`.
    ServerHeartbeat,
    /// `Z`.
    EndOfSession,
    /// `L`.
    LoginRequest(LoginRequest),
    /// `R`.
    ClientHeartbeat,
    /// `O`.
    Logout,
}

const fn may_send(peer: Peer, packet: u8) -> bool {
    match packet {
        kind::DEBUG | kind::UNSEQUENCED => true,
        kind::LOGIN_REQUEST | kind::CLIENT_HEARTBEAT | kind::LOGOUT => matches!(peer, Peer::Client),
        kind::LOGIN_ACCEPTED
        | kind::LOGIN_REJECTED
        | kind::SEQUENCED
        | kind::SERVER_HEARTBEAT
        | kind::END_OF_SESSION => matches!(peer, Peer::Server),
        _ => false,
    }
}

/// A printable text between its padding.
fn text(field: &[u8]) -> Result<String, Reject> {
    let text = core::str::from_utf8(field).map_err(|_| Reject::Garbage)?;
    if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        Ok(text.trim_matches(' ').to_owned())
    } else {
        Err(Reject::Garbage)
    }
}

fn number(field: &[u8]) -> Result<u64, Reject> {
    let text = text(field)?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| Reject::Garbage)
    } else {
        Err(Reject::Garbage)
    }
}

fn parse(packet: u8, payload: &[u8]) -> Result<Packet<'_>, Reject> {
    let bare = |parsed| {
        if payload.is_empty() {
            Ok(parsed)
        } else {
            Err(Reject::Garbage)
        }
    };
    match packet {
        kind::DEBUG => Ok(Packet::Debug(payload)),
        kind::SEQUENCED => Ok(Packet::Sequenced(payload)),
        kind::UNSEQUENCED => Ok(Packet::Unsequenced(payload)),
        kind::SERVER_HEARTBEAT => bare(Packet::ServerHeartbeat),
        kind::END_OF_SESSION => bare(Packet::EndOfSession),
        kind::CLIENT_HEARTBEAT => bare(Packet::ClientHeartbeat),
        kind::LOGOUT => bare(Packet::Logout),
        kind::LOGIN_REJECTED => match payload {
            b"A" => Ok(Packet::LoginRejected(LoginRefusal::NotAuthorized)),
            b"S" => Ok(Packet::LoginRejected(LoginRefusal::SessionNotAvailable)),
            _ => Err(Reject::Garbage),
        },
        kind::LOGIN_ACCEPTED if payload.len() == LOGIN_ACCEPTED => Ok(Packet::LoginAccepted(LoginAccepted {
            session: text(&payload[..10])?,
            sequence: number(&payload[10..])?,
        })),
        kind::LOGIN_REQUEST if payload.len() == LOGIN_REQUEST => Ok(Packet::LoginRequest(LoginRequest {
            username: text(&payload[..6])?,
            password: text(&payload[6..16])?,
            session: text(&payload[16..26])?,
            sequence: number(&payload[26..])?,
        })),
        _ => Err(Reject::Garbage),
    }
}

/// Size of the packet that begins with these bytes, its length field included; `None` until its type has come.
///
/// # Errors
/// [`Reject::OversizeFrame`] beyond `packet_max` bytes after the length field, [`Reject::Garbage`] for no packet at all or
/// one that `peer` may not send.
pub fn packet_size(peer: Peer, packet_max: usize, bytes: &[u8]) -> Result<Option<usize>, Reject> {
    let [high, low, rest @ ..] = bytes else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > packet_max {
        return Err(Reject::OversizeFrame);
    }
    if length == 0 {
        return Err(Reject::Garbage);
    }
    let Some(packet) = rest.first() else { return Ok(None) };
    if !may_send(peer, *packet) {
        return Err(Reject::Garbage);
    }
    Ok(Some(2 + length))
}

/// The packet that these bytes are, from its length field to its end, as [`packet_size`] measured them.
///
/// # Errors
/// [`Reject::Garbage`].
pub fn packet(bytes: &[u8]) -> Result<Packet<'_>, Reject> {
    match bytes {
        [_, _, kind, payload @ ..] => parse(*kind, payload),
        _ => Err(Reject::Garbage),
    }
}

/// Cuts a stream of bytes into packets.
#[derive(Debug)]
pub struct Decoder {
    peer: Peer,
    packet_max: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    failed: Option<Reject>,
}

impl Decoder {
    /// A decoder of what `peer` sends, in packets of at most `packet_max` bytes after the length field.
    pub fn new(peer: Peer, packet_max: usize) -> Self {
        let packet_max = packet_max.clamp(1, PACKET_MAX);
        Self {
            peer,
            packet_max,
            buffer: vec![0; 2 * (packet_max + 2)],
            start: 0,
            end: 0,
            failed: None,
        }
    }

    /// Where to read the next bytes to; report how many with [`Self::filled`]. Never empty while [`Self::next_packet`]
    /// has given `None`.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// `len` bytes have been read into [`Self::spare`].
    ///
    /// # Panics
    /// If that is more than there was room for.
    pub fn filled(&mut self, len: usize) {
        assert!(len <= self.buffer.len() - self.end, "more bytes than room");
        self.end += len;
    }

    /// Takes bytes, as many as there is room for; gives how many.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare();
        let len = spare.len().min(bytes.len());
        spare[..len].copy_from_slice(&bytes[..len]);
        self.filled(len);
        len
    }

    /// The next packet; `None` until more bytes come. [`Reject::OversizeFrame`] and [`Reject::Garbage`] are final.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, Reject> {
        if let Some(reject) = self.failed {
            return Err(reject);
        }
        match packet_size(self.peer, self.packet_max, &self.buffer[self.start..self.end]) {
            Ok(Some(size)) if size <= self.end - self.start => {
                let start = self.start;
                self.start += size;
                let parsed = packet(&self.buffer[start..self.start]);
                if let Err(reject) = parsed {
                    self.failed = Some(reject);
                }
                parsed.map(Some)
            }
            Ok(_) => Ok(None),
            Err(reject) => {
                self.failed = Some(reject);
                Err(reject)
            }
        }
    }
}

/// # Panics
/// If the payload exceeds 65,534 bytes.
fn put(packet: u8, payload: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(payload.len() + 1).expect("a packet holds at most 65,534 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.push(packet);
    out.extend_from_slice(payload);
}

/// Appends a debug text.
///
/// # Panics
/// Beyond 65,534 bytes, as every packet with a payload.
pub fn put_debug(text: &str, out: &mut Vec<u8>) {
    put(kind::DEBUG, text.as_bytes(), out);
}

/// Appends a sequenced message.
///
/// # Panics
/// Beyond 65,534 bytes.
pub fn put_sequenced(message: &[u8], out: &mut Vec<u8>) {
    put(kind::SEQUENCED, message, out);
}

/// Appends an unsequenced message.
///
/// # Panics
/// Beyond 65,534 bytes.
pub fn put_unsequenced(message: &[u8], out: &mut Vec<u8>) {
    put(kind::UNSEQUENCED, message, out);
}

/// Appends a server's heartbeat.
pub fn put_server_heartbeat(out: &mut Vec<u8>) {
    put(kind::SERVER_HEARTBEAT, &[], out);
}

/// Appends a client's heartbeat.
pub fn put_client_heartbeat(out: &mut Vec<u8>) {
    put(kind::CLIENT_HEARTBEAT, &[], out);
}

/// Appends the end of a session.
pub fn put_end_of_session(out: &mut Vec<u8>) {
    put(kind::END_OF_SESSION, &[], out);
}

/// Appends a logout.
pub fn put_logout(out: &mut Vec<u8>) {
    put(kind::LOGOUT, &[], out);
}

/// Appends a refusal of a login.
pub fn put_login_rejected(refusal: LoginRefusal, out: &mut Vec<u8>) {
    let code = match refusal {
        LoginRefusal::NotAuthorized => b"A",
        LoginRefusal::SessionNotAvailable => b"S",
    };
    put(kind::LOGIN_REJECTED, code, out);
}

/// Appends an acceptance of a login; a session's name is cut to 10 characters.
pub fn put_login_accepted(accepted: &LoginAccepted, out: &mut Vec<u8>) {
    let LoginAccepted { session, sequence } = accepted;
    put(
        kind::LOGIN_ACCEPTED,
        format!("{session:>10.10}{sequence:>20}").as_bytes(),
        out,
    );
}

/// Appends a login request; texts are cut to their fields.
pub fn put_login_request(request: &LoginRequest, out: &mut Vec<u8>) {
    let LoginRequest {
        username,
        password,
        session,
        sequence,
    } = request;
    let payload = format!("{username:<6.6}{password:<10.10}{session:>10.10}{sequence:>20}");
    put(kind::LOGIN_REQUEST, payload.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn login() -> LoginRequest {
        LoginRequest {
            username: "meter".into(),
            password: String::new(),
            session: "PRIVATE".into(),
            sequence: 17,
        }
    }

    fn client_stream() -> Vec<u8> {
        let mut out = Vec::new();
        put_login_request(&login(), &mut out);
        put_client_heartbeat(&mut out);
        put_unsequenced(b"hello", &mut out);
        put_debug("text", &mut out);
        put_logout(&mut out);
        out
    }

    /// Feeds `bytes` in pieces and prints every packet, then the error.
    fn packets(peer: Peer, packet_max: usize, mut bytes: &[u8], piece: usize) -> Vec<String> {
        let (mut decoder, mut seen) = (Decoder::new(peer, packet_max), Vec::new());
        loop {
            match decoder.next_packet() {
                Ok(Some(packet)) => seen.push(format!("{packet:?}")),
                Ok(None) if bytes.is_empty() => return seen,
                Ok(None) => {
                    let taken = decoder.push(&bytes[..piece.min(bytes.len())]);
                    assert!(taken > 0, "the decoder asks for more and takes nothing");
                    bytes = &bytes[taken..];
                }
                Err(reject) => {
                    assert_eq!(decoder.next_packet(), Err(reject), "errors are final");
                    seen.push(format!("{reject:?}"));
                    return seen;
                }
            }
        }
    }

    #[test]
    fn packets_come_back_in_pieces_of_any_size() {
        let stream = client_stream();
        let whole = packets(Peer::Client, 64, &stream, usize::MAX);
        assert_eq!(whole.len(), 5);
        assert_eq!(whole[0], format!("{:?}", Packet::LoginRequest(login())));
        for piece in 1..stream.len() {
            assert_eq!(packets(Peer::Client, 64, &stream, piece), whole);
        }
    }

    #[test]
    fn server_packets_come_back() {
        let mut out = Vec::new();
        let accepted = LoginAccepted {
            session: "PUBLIC".into(),
            sequence: u64::MAX,
        };
        put_login_accepted(&accepted, &mut out);
        assert_eq!(out[3..], *b"    PUBLIC18446744073709551615");
        put_login_rejected(LoginRefusal::SessionNotAvailable, &mut out);
        put_sequenced(b"one", &mut out);
        put_server_heartbeat(&mut out);
        put_end_of_session(&mut out);
        let expected = [
            Packet::LoginAccepted(accepted),
            Packet::LoginRejected(LoginRefusal::SessionNotAvailable),
            Packet::Sequenced(b"one"),
            Packet::ServerHeartbeat,
            Packet::EndOfSession,
        ];
        assert_eq!(
            packets(Peer::Server, 64, &out, 7),
            expected.map(|packet| format!("{packet:?}"))
        );
    }

    #[test]
    fn wrong_packets_are_refused() {
        for (bytes, reject) in [
            (&[0, 0][..], "Garbage"),
            (&[0, 65], "OversizeFrame"),
            (&[0xff, 0xff], "OversizeFrame"),
            (&[0, 1, b'?'], "Garbage"),
            (&[0, 9, b'S'], "Garbage"),
            (&[0, 2, b'R', 0], "Garbage"),
            (&[0, 2, b'L', 0], "Garbage"),
            (b"\0\x2fLuser  password      PRIVATE                  -1", "Garbage"),
            (b"\0\x2fLuser  password      PRIVATE                    ", "Garbage"),
            (b"\0\x2fLuser  password      PRIVATE99999999999999999999", "Garbage"),
            (b"\0\x2fLuse\x01  password      PRIVATE                   1", "Garbage"),
        ] {
            assert_eq!(packets(Peer::Client, 64, bytes, usize::MAX), [reject], "{bytes:?}");
        }
    }

    #[test]
    fn the_greatest_packet_fits() {
        let mut out = Vec::new();
        put_unsequenced(&vec![7; PACKET_MAX - 1], &mut out);
        for piece in [1_000, usize::MAX] {
            assert_eq!(packets(Peer::Client, PACKET_MAX, &out, piece).len(), 1);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            packets(Peer::Client, 64, &bytes, piece);
            packets(Peer::Server, 64, &bytes, piece);
        }

        #[test]
        fn a_mutated_stream_never_panics(at in any::<prop::sample::Index>(), to in any::<u8>(), piece in 1usize..50) {
            let mut bytes = client_stream();
            let at = at.index(bytes.len());
            bytes[at] = to;
            packets(Peer::Client, 64, &bytes, piece);
        }
    }
}
