//! What a subscriber holds under fire: the arbiter of lines that lose, repeat, reorder and make noise, and the books of whoever
//! joins late.

use super::dice::Dice;
use super::seeds;
use super::targets::{Class, refused, same};
use std::time::{Duration, Instant};
use wattbook_feed::arbiter::{Arbiter, Ask};
use wattbook_feed::book::Books;
use wattbook_feed::moldudp::{self, Packet, Request, Session, Writer};
use wattbook_feed::sbe::session::{EventEnd, SnapshotEnd};
use wattbook_feed::sbe::{Outbound, decode_outbound, encode_outbound};
use wattbook_feed::soupbin;
use wattbook_types::Side;

/// Most rounds of asking after the end of a stream: an answer brings at least one message.
const ROUNDS_MAX: u32 = 500;

/// A stream, the lines that carry it, and its subscriber.
struct Lines {
    name: Session,
    /// Messages of the stream, and of one packet.
    count: u64,
    of_packet: u64,
    arbiter: Arbiter,
    now: Instant,
    /// The next message to come out; `None` until a packet says it.
    next: Option<u64>,
}

/// A message of the stream.
fn message(number: u64) -> Vec<u8> {
    let bytes = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    // BOUND: less than nine.
    bytes[..(number % 9) as usize].to_vec()
}

impl Lines {
    fn new(shape: [u8; 3]) -> Self {
        let name = moldudp::session(soupbin::SESSION_PUBLIC).unwrap_or_default();
        let held_max = [2, 8, 64, 1_024][usize::from(shape[1] % 4)];
        let first = u64::from(shape[1] & 0x80 == 0);
        let arbiter = Arbiter::new(name, first, held_max);
        let arbiter = match shape[2] & 0x80 {
            0 => arbiter,
            _ => arbiter.without_requests(),
        };
        Self {
            name,
            count: 1 + u64::from(shape[0] % 64),
            of_packet: 1 + u64::from(shape[2] % 5),
            arbiter,
            now: Instant::now(),
            next: Some(first).filter(|first| *first > 0),
        }
    }

    fn packets(&self) -> u64 {
        self.count.div_ceil(self.of_packet)
    }

    /// The packet of the messages from `first` on, `len` of them as far as there are.
    fn packet(&self, first: u64, len: u64) -> Vec<u8> {
        let mut writer = Writer::new(self.name, 1_452);
        writer.begin(first);
        for number in (first..first.saturating_add(len)).take_while(|number| *number <= self.count) {
            if !writer.push(&message(number)) {
                break;
            }
        }
        writer.packet().to_vec()
    }

    fn hear(&mut self, datagram: &[u8]) -> Result<(), String> {
        let first = Packet::decode(datagram).map_err(|error| error.to_string())?.sequence;
        self.next.get_or_insert(first);
        same("a packet of the session taken", &self.arbiter.take(datagram), &Ok(true))
    }

    /// What is no packet of the session changes nothing but a count.
    fn noise(&mut self, datagram: &[u8]) -> Result<(), String> {
        if Packet::decode(datagram).is_ok_and(|packet| packet.session == self.name) {
            return Ok(());
        }
        let state = |arbiter: &Arbiter| (arbiter.next_seq(), arbiter.end(), arbiter.is_over());
        let (before, foreign) = (state(&self.arbiter), self.arbiter.tally().foreign);
        if self.arbiter.take(datagram) == Ok(true) {
            return Err("noise is taken for the session".into());
        }
        same("the arbiter after noise", &state(&self.arbiter), &before)?;
        same("foreign packets", &self.arbiter.tally().foreign, &(foreign + 1))
    }

    /// Everything that comes out is what is due.
    fn drain(&mut self) -> Result<(), String> {
        while let Some((number, came)) = self.arbiter.pop() {
            let due = self.next.ok_or("a message before any packet")?;
            same("the number", &number, &due)?;
            same("the message", &came, &message(number))?;
            self.next = Some(due + 1);
        }
        Ok(())
    }

    /// Asks as a subscriber would, and answers if that is not lost.
    fn ask(&mut self, answered: bool) -> Result<(), String> {
        match self.arbiter.ask(self.now) {
            Ask::Nothing => {}
            Ask::Wait(due) if due > self.now => {}
            Ask::Wait(_) => return Err("asked to wait for what has been".into()),
            Ask::Again(requests, due) => {
                if due <= self.now || requests.is_empty() {
                    return Err(format!("asked for {requests:?}, again at once"));
                }
                for Request {
                    session,
                    sequence,
                    count,
                } in requests
                {
                    same("the session asked for", &session, &self.name)?;
                    if count == 0 || sequence < self.arbiter.next_seq() || sequence > self.count {
                        return Err(format!("asked for {count} messages from {sequence}"));
                    }
                    if answered {
                        let packet = self.packet(sequence, count.into());
                        self.hear(&packet)?;
                    }
                }
            }
            Ask::Resume(from) => {
                same("where to resume", &Some(from), &self.next)?;
                for number in (from..=self.count).filter(|_| answered) {
                    self.arbiter.put(number, &message(number));
                }
            }
        }
        Ok(())
    }

    /// The stream ends and nothing is lost any more: all of it comes out.
    fn end(&mut self) -> Result<(), String> {
        let mut writer = Writer::new(self.name, 1_452);
        let end = writer.end_of_session(self.count + 1).to_vec();
        for _ in 0..ROUNDS_MAX {
            self.hear(&end)?;
            self.drain()?;
            if self.arbiter.is_over() {
                return same("the number after the last", &self.next, &Some(self.count + 1));
            }
            self.now += Duration::from_millis(200);
            self.ask(true)?;
        }
        Err(format!("stuck before message {:?} of {}", self.next, self.count))
    }
}

/// Three bytes shape the stream and its subscriber, the others say what becomes of its packets on either line.
pub(super) fn arbiter(input: &[u8]) -> Result<Class, String> {
    let Some((shape, script)) = input.split_first_chunk() else {
        return Ok(0);
    };
    let mut lines = Lines::new(*shape);
    let mut sent = [0; 2];
    let mut script = script.iter().copied();
    while let Some(step) = script.next() {
        let line = usize::from(step >> 1 & 1);
        match step & 7 {
            kind @ 0..=3 if sent[line] < lines.packets() => {
                // The one after is lost, or comes.
                if kind & 1 == 0 {
                    let packet = lines.packet(1 + sent[line] * lines.of_packet, lines.of_packet);
                    lines.hear(&packet)?;
                }
                sent[line] += 1;
            }
            4 => {
                let at = u64::from(script.next().unwrap_or(0)) % lines.packets();
                let packet = lines.packet(1 + at * lines.of_packet, lines.of_packet);
                lines.hear(&packet)?;
            }
            5 => {
                let len = usize::from(script.next().unwrap_or(0) & 63);
                let datagram: Vec<u8> = script.by_ref().take(len).collect();
                lines.noise(&datagram)?;
            }
            6 => {
                let furthest = sent[0].max(sent[1]) * lines.of_packet;
                let heartbeat = lines.packet(furthest.min(lines.count) + 1, 0);
                lines.hear(&heartbeat)?;
            }
            7 => {
                lines.now += Duration::from_millis(script.next().unwrap_or(0).into());
                if lines.arbiter.next_seq() > 0 {
                    lines.ask(step & 0x80 == 0)?;
                }
            }
            _ => {}
        }
        if step & 0x40 == 0 {
            lines.drain()?;
        }
    }
    lines.end()?;
    let tally = *lines.arbiter.tally();
    let seen = [
        tally.duplicates,
        tally.beyond,
        tally.foreign,
        tally.requests,
        tally.resumes,
    ];
    // BOUND: three at most.
    Ok(seen.iter().fold(1, |class, count| class << 2 | (*count).min(3) as u32))
}

pub(super) fn scripts(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut all = vec![
        // Both lines well; one that loses beside one that does not; one alone that loses, answered and not; noise.
        [&[40, 2, 2][..], &[0, 2].repeat(14)].concat(),
        [&[40, 2, 2][..], &[1, 2, 0, 2].repeat(7)].concat(),
        [&[63, 1, 0][..], &[0, 0x41, 6, 7, 5].repeat(20)].concat(),
        [&[30, 3, 0x81][..], &[1, 0, 0x87, 9, 7, 90].repeat(8)].concat(),
        [&[9, 0x80, 3][..], &[5, 3, 1, 2, 3, 4, 7, 0x44, 2, 0]].concat(),
    ];
    all.push([&[50, 1, 1][..], &dice.bytes(60)].concat());
    all
}

/// Books as a BOOK session tells them.
fn told(books: &Books) -> Result<Books, String> {
    let (mut again, mut bytes, mut orders) = (Books::new(), Vec::new(), 0);
    let mut take = |bytes: &[u8]| -> Result<(), String> {
        let message = decode_outbound(bytes).map_err(|error| format!("a snapshot's message: {error}"))?;
        again
            .take(&message)
            .map(|_| ())
            .map_err(|error| format!("a snapshot: {error}"))
    };
    for order in books.snapshot() {
        bytes.clear();
        encode_outbound(&order, &mut bytes);
        take(&bytes)?;
        orders += 1;
    }
    let end = SnapshotEnd {
        next: 1,
        height: 1,
        seq: books.seq(),
        orders,
    };
    bytes.clear();
    encode_outbound(&end, &mut bytes);
    take(&bytes)?;
    Ok(again)
}

/// Messages, each behind its length u8: whatever they say, the books told anew are the same, and levels hold what orders do.
pub(super) fn books(mut input: &[u8]) -> Result<Class, String> {
    let (mut books, mut class, mut count) = (Books::new(), 1, 0);
    while let Some((len, rest)) = input.split_first() {
        let (bytes, rest) = rest.split_at(rest.len().min((*len).into()));
        input = rest;
        let message = match decode_outbound(bytes) {
            Ok(message) => message,
            Err(error) => return Ok(class ^ refused(&error)),
        };
        match books.take(&message) {
            Ok(false) => {}
            Err(error) => return Ok(class ^ refused(&error)),
            Ok(true) => {
                let again = told(&books)?;
                if again != books || again.seq() != books.seq() {
                    return Err(format!("{books:?} told again are {again:?}"));
                }
                same("the orders shown", &books.snapshot().count(), &books.len())?;
                let mut orders = 0;
                for contract in books.contracts() {
                    for side in [Side::Buy, Side::Sell] {
                        orders += books.depth(contract, side).map(|level| level.orders).sum::<u64>();
                    }
                }
                same("the orders of all levels", &orders, &(books.len() as u64))?;
                // BOUND: three at most.
                class = class.rotate_left(3) ^ (books.len().min(3) as u32) << 8 ^ u32::from(message.template());
            }
        }
        count += 1;
    }
    Ok(class ^ count)
}

pub(super) fn book_streams(dice: &mut Dice) -> Vec<Vec<u8>> {
    let put = |bytes: &[u8], stream: &mut Vec<u8>| {
        // BOUND: no message of the books is longer.
        stream.push(bytes.len() as u8);
        stream.extend_from_slice(bytes);
    };
    let changes = |message: &Outbound| {
        matches!(
            message,
            Outbound::Opened(_) | Outbound::Reduced(_) | Outbound::Closed(_) | Outbound::Executed(_)
        )
    };
    let (mut increments, mut snapshot) = (Vec::new(), Vec::new());
    let mut orders = 0;
    for bytes in seeds::outbound(dice) {
        let Ok(message) = decode_outbound(&bytes) else { continue };
        if changes(&message) {
            put(&bytes, &mut increments);
            let (mut end, seq) = (Vec::new(), dice.any());
            encode_outbound(&EventEnd { seq, changes: 1 }, &mut end);
            put(&end, &mut increments);
        } else if matches!(message, Outbound::SnapshotOrder(_)) {
            put(&bytes, &mut snapshot);
            orders += 1;
        }
    }
    let mut end = Vec::new();
    let told = SnapshotEnd {
        next: 7,
        height: 2,
        seq: 6,
        orders,
    };
    encode_outbound(&told, &mut end);
    put(&end, &mut snapshot);
    let both = [&snapshot[..], &increments].concat();
    [increments, snapshot, both]
        .into_iter()
        .filter(|stream| stream.len() <= 2_048)
        .collect()
}
