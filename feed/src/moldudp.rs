//! MoldUDP64 framing, without I/O: bytes of a datagram in, messages out.
//!
//! # Format
//! `session[10], sequence u64 big-endian, count u16 big-endian`, then `count` blocks of `length u16 big-endian, message`.
//! The sequence number is that of the first message. Count 0 is a heartbeat and 0xffff the end of the session, both with
//! the number of the next message and nothing behind. A request has the same 20 bytes: the first number wanted, how many.
//!
//! # Invariants
//! * A packet that decodes is filled exactly by its blocks, and its numbers do not overflow.
//! * An encoded packet is never longer than its writer's bound.

/// Size of a packet's header, and of a request.
pub const HEADER_SIZE: usize = 20;
/// Size of a block's length.
pub const LENGTH_SIZE: usize = 2;
/// Greatest packet that is written, header included: it travels in one Ethernet frame over IPv6.
pub const PACKET_MAX: usize = 1_452;
/// Most messages that a packet can name.
pub const COUNT_MAX: u16 = 0xfffe;

/// Count of a heartbeat.
const HEARTBEAT: u16 = 0;
/// Count of the end of a session.
const END_OF_SESSION: u16 = 0xffff;

/// Name of a session, padded with spaces on the right.
pub type Session = [u8; 10];

/// A session's name on the wire; `None` for more than 10 bytes or for what is no printable ASCII.
pub fn session(name: &str) -> Option<Session> {
    let mut session = [b' '; 10];
    let plain = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    session
        .get_mut(..name.len())
        .filter(|_| plain)?
        .copy_from_slice(name.as_bytes());
    Some(session)
}

/// Why a datagram is no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoldError {
    /// It ends before its header or its last block does.
    #[error("a datagram of {0} bytes ends before its messages do")]
    Short(usize),
    /// Bytes follow its last block.
    #[error("{0} bytes follow the messages of a datagram")]
    Trailing(usize),
    /// Its messages have numbers beyond 2^64.
    #[error("{count} messages from number {sequence} have no numbers")]
    Overflow {
        /// Number of the first.
        sequence: u64,
        /// How many.
        count: u16,
    },
}

/// A packet of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// Which session.
    pub session: Session,
    /// Number of the first message, or of the next one where the packet has none.
    pub sequence: u64,
    /// What it carries.
    pub content: Content<'a>,
}

/// What a packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// At least one message.
    Messages(Blocks<'a>),
    /// None: the sender lives.
    Heartbeat,
    /// None, and none will come.
    EndOfSession,
}

impl<'a> Packet<'a> {
    /// The packet of a datagram.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, MoldError> {
        let Header {
            session,
            sequence,
            count,
        } = header(datagram)?;
        let body = datagram.get(HEADER_SIZE..).unwrap_or_default();
        let content = match count {
            HEARTBEAT | END_OF_SESSION if !body.is_empty() => return Err(MoldError::Trailing(body.len())),
            HEARTBEAT => Content::Heartbeat,
            END_OF_SESSION => Content::EndOfSession,
            _ => {
                let blocks = Blocks {
                    sequence,
                    left: count,
                    bytes: body,
                };
                let mut rest = body;
                for _ in 0..count {
                    (_, rest) = block(rest).ok_or(MoldError::Short(datagram.len()))?;
                }
                if !rest.is_empty() {
                    return Err(MoldError::Trailing(rest.len()));
                }
                Content::Messages(blocks)
            }
        };
        Ok(Self {
            session,
            sequence,
            content,
        })
    }

    /// Number of the message after this packet.
    pub fn next_sequence(&self) -> u64 {
        match &self.content {
            Content::Messages(blocks) => self.sequence + u64::from(blocks.left),
            Content::Heartbeat | Content::EndOfSession => self.sequence,
        }
    }
}

struct Header {
    session: Session,
    sequence: u64,
    count: u16,
}

fn header(datagram: &[u8]) -> Result<Header, MoldError> {
    let short = MoldError::Short(datagram.len());
    let (session, rest) = datagram.split_first_chunk().ok_or(short)?;
    let (sequence, rest) = rest.split_first_chunk().ok_or(short)?;
    let (count, _) = rest.split_first_chunk().ok_or(short)?;
    let (sequence, count) = (u64::from_be_bytes(*sequence), u16::from_be_bytes(*count));
    // Where no message is carried, the next one has to have a number all the same.
    let ahead = if count == END_OF_SESSION { 0 } else { count };
    if sequence.checked_add(ahead.into()).is_none() {
        return Err(MoldError::Overflow { sequence, count });
    }
    Ok(Header {
        session: *session,
        sequence,
        count,
    })
}

/// The first message of these blocks, and the blocks after it.
fn block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// The messages of a packet with their numbers, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks<'a> {
    sequence: u64,
    left: u16,
    bytes: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (message, rest) = block(self.bytes)?;
        let sequence = self.sequence;
        (self.sequence, self.left, self.bytes) = (sequence + 1, self.left - 1, rest);
        Some((sequence, message))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for Blocks<'_> {}

/// Writes packets of one session, each into the same buffer.
#[derive(Clone, Debug)]
pub struct Writer {
    session: Session,
    size_max: usize,
    count: u16,
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer of packets of at most `size_max` bytes, at least the header's and at most 65,507.
    ///
    /// # Panics
    /// On another bound.
    pub fn new(session: Session, size_max: usize) -> Self {
        assert!(
            (HEADER_SIZE..=65_507).contains(&size_max),
            "no datagram has {size_max} bytes"
        );
        let mut writer = Self {
            session,
            size_max,
            count: 0,
            bytes: Vec::with_capacity(size_max),
        };
        writer.begin(0);
        writer
    }

    /// Begins a packet whose first message has this number, in place of the last one.
    pub fn begin(&mut self, sequence: u64) {
        self.count = 0;
        self.bytes.clear();
        put_header(&self.session, sequence, HEARTBEAT, &mut self.bytes);
    }

    /// Appends a message; `false`, and no change, where it does not fit.
    #[must_use]
    pub fn push(&mut self, message: &[u8]) -> bool {
        let (Ok(length), true) = (u16::try_from(message.len()), self.count < COUNT_MAX) else {
            return false;
        };
        if self.bytes.len() + LENGTH_SIZE + message.len() > self.size_max {
            return false;
        }
        self.count += 1;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(message);
        true
    }

    /// Number of messages so far.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The packet so far; without a message it is a heartbeat.
    pub fn packet(&mut self) -> &[u8] {
        self.bytes[HEADER_SIZE - 2..HEADER_SIZE].copy_from_slice(&self.count.to_be_bytes());
        &self.bytes
    }

    /// The end of the session, before which the message of this number would have come.
    pub fn end_of_session(&mut self, sequence: u64) -> &[u8] {
        self.count = 0;
        self.bytes.clear();
        put_header(&self.session, sequence, END_OF_SESSION, &mut self.bytes);
        &self.bytes
    }
}

fn put_header(session: &Session, sequence: u64, count: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(session);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
}

/// A request to send messages again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which session.
    pub session: Session,
    /// First number wanted.
    pub sequence: u64,
    /// How many.
    pub count: u16,
}

impl Request {
    /// The request of a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, MoldError> {
        let Header {
            session,
            sequence,
            count,
        } = header(datagram)?;
        match datagram.len() - HEADER_SIZE {
            0 => Ok(Self {
                session,
                sequence,
                count,
            }),
            more => Err(MoldError::Trailing(more)),
        }
    }

    /// Its datagram.
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut datagram = [0; HEADER_SIZE];
        datagram[..10].copy_from_slice(&self.session);
        datagram[10..18].copy_from_slice(&self.sequence.to_be_bytes());
        datagram[18..].copy_from_slice(&self.count.to_be_bytes());
        datagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: Session = *b"PUBLIC    ";

    fn messages(packet: &Packet<'_>) -> Vec<(u64, Vec<u8>)> {
        match packet.content {
            Content::Messages(blocks) => blocks.map(|(seq, message)| (seq, message.to_vec())).collect(),
            Content::Heartbeat | Content::EndOfSession => Vec::new(),
        }
    }

    #[test]
    fn the_bytes_are_the_specifications() {
        assert_eq!(session("PUBLIC"), Some(NAME));
        assert_eq!((session("PUBLIC FEED"), session("caf\u{e9}")), (None, None));
        let mut writer = Writer::new(NAME, 64);
        writer.begin(0x0102_0304_0506_0708);
        assert!(writer.push(b"abc") && writer.push(b""));
        let bytes = b"PUBLIC    \x01\x02\x03\x04\x05\x06\x07\x08\0\x02\0\x03abc\0\0";
        assert_eq!(writer.packet(), bytes);
        let packet = Packet::decode(bytes).unwrap();
        assert_eq!((packet.session, packet.next_sequence()), (NAME, 0x0102_0304_0506_070a));
        assert_eq!(
            messages(&packet),
            [(packet.sequence, b"abc".to_vec()), (packet.sequence + 1, Vec::new())]
        );
    }

    #[test]
    fn a_packet_without_messages_is_a_heartbeat_and_the_end_is_told_apart() {
        let mut writer = Writer::new(NAME, HEADER_SIZE);
        writer.begin(u64::MAX);
        assert!(!writer.push(b""));
        let heartbeat = Packet {
            session: NAME,
            sequence: u64::MAX,
            content: Content::Heartbeat,
        };
        assert_eq!(Packet::decode(writer.packet()), Ok(heartbeat));
        let end = Packet {
            content: Content::EndOfSession,
            ..heartbeat
        };
        assert_eq!(Packet::decode(writer.end_of_session(u64::MAX)), Ok(end));
        for count in [0, 0xff] {
            let mut more = writer.end_of_session(1).to_vec();
            more[18..20].fill(count);
            more.push(0);
            assert_eq!(Packet::decode(&more), Err(MoldError::Trailing(1)));
        }
    }

    #[test]
    fn what_ends_early_or_late_or_has_no_numbers_is_refused() {
        let mut writer = Writer::new(NAME, 100);
        writer.begin(7);
        assert!(writer.push(b"abc") && writer.push(b"de"));
        let bytes = writer.packet().to_vec();
        for len in 0..bytes.len() {
            assert_eq!(Packet::decode(&bytes[..len]), Err(MoldError::Short(len)));
        }
        assert_eq!(
            Packet::decode(&[bytes.as_slice(), &[0; 3]].concat()),
            Err(MoldError::Trailing(3))
        );
        writer.begin(u64::MAX - 1);
        assert!(writer.push(b"a") && writer.push(b"b"));
        let overflow = MoldError::Overflow {
            sequence: u64::MAX - 1,
            count: 2,
        };
        assert_eq!(Packet::decode(writer.packet()), Err(overflow));
    }

    #[test]
    fn requests_come_back() {
        let request = Request {
            session: NAME,
            sequence: 1 << 40,
            count: 300,
        };
        assert_eq!(Request::decode(&request.encode()), Ok(request));
        assert_eq!(Request::decode(&request.encode()[..19]), Err(MoldError::Short(19)));
        assert_eq!(Request::decode(&[0; 21]), Err(MoldError::Trailing(1)));
    }

    proptest! {
        #[test]
        fn packets_come_back_and_keep_their_bound(
            sequence in 0..u64::MAX / 2,
            size_max in HEADER_SIZE..2_000usize,
            all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        ) {
            let mut writer = Writer::new(NAME, size_max);
            let (mut next, mut back) = (sequence, Vec::new());
            writer.begin(next);
            for message in &all {
                if !writer.push(message) {
                    prop_assert!(writer.packet().len() <= size_max);
                    let sent = writer.packet().to_vec();
                    let packet = Packet::decode(&sent).unwrap();
                    next = packet.next_sequence();
                    back.extend(messages(&packet));
                    writer.begin(next);
                    if !writer.push(message) {
                        prop_assert!(HEADER_SIZE + LENGTH_SIZE + message.len() > size_max);
                        return Ok(());
                    }
                }
            }
            back.extend(messages(&Packet::decode(writer.packet()).unwrap()));
            prop_assert_eq!(back, (sequence..).zip(all).collect::<Vec<_>>());
        }

        #[test]
        fn any_datagram_is_refused_or_has_one_encoding(
            mut bytes in prop::collection::vec(any::<u8>(), 0..120),
            count in 0..4u16,
            lengths in prop::collection::vec(0..30u16, 0..3),
        ) {
            // Near enough to a packet that some decode.
            if bytes.len() >= HEADER_SIZE {
                bytes[18..20].copy_from_slice(&count.to_be_bytes());
                let mut at = HEADER_SIZE;
                for length in lengths {
                    if let Some(field) = bytes.get_mut(at..at + 2) {
                        field.copy_from_slice(&length.to_be_bytes());
                        at += 2 + usize::from(length);
                    }
                }
            }
            let _ = Request::decode(&bytes);
            if let Ok(packet) = Packet::decode(&bytes) {
                let mut writer = Writer::new(packet.session, 65_507);
                writer.begin(packet.sequence);
                if let Content::Messages(blocks) = packet.content {
                    prop_assert_eq!(blocks.len(), blocks.count());
                    for (_, message) in blocks {
                        prop_assert!(writer.push(message));
                    }
                }
                prop_assert_eq!(writer.packet(), bytes.as_slice());
            }
        }
    }
}
