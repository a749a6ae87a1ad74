//! One stream out of several lines of MoldUDP64, without I/O: the first copy of each message, in order, and what to ask
//! for when none has come.
//!
//! # Invariants
//! * Messages come out in the order of their numbers, each once, whatever the lines lose, repeat or reorder.
//! * At most [`Arbiter::new`]'s bound of messages is held; what lies beyond is asked for when there is room.
//! * A packet of another session or a malformed one changes nothing but a count.
//!
//! # Recovery
//! A gap is asked for when it has stood for [`REORDER`], again and again with growing patience, and when [`REQUESTS_MAX`]
//! requests in a row have brought nothing the stream is to be resumed elsewhere ([`Ask::Resume`]).

use crate::moldudp::{Content, MoldError, Packet, Request, Session};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long the other line, or a late packet, may close a gap before it is asked for.
pub const REORDER: Duration = Duration::from_millis(2);
/// Wait for the answer to the first request; it doubles with each, up to [`PATIENCE_MAX`].
pub const PATIENCE: Duration = Duration::from_millis(20);
/// Longest wait for the answer to a request.
pub const PATIENCE_MAX: Duration = Duration::from_millis(160);
/// Requests in a row without an answer after which the stream is resumed elsewhere.
pub const REQUESTS_MAX: u32 = 6;
/// Most gaps asked for at once.
const GAPS_MAX: usize = 16;

/// What happened to the packets so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Packets of the session.
    pub packets: u64,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Messages that lay beyond what is held.
    pub beyond: u64,
    /// Packets of other sessions, and datagrams that are no packet.
    pub foreign: u64,
    /// Requests to send messages again.
    pub requests: u64,
    /// Resumptions elsewhere.
    pub resumes: u64,
}

/// What is to be done about a gap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Nothing is missing.
    Nothing,
    /// Something is; look again at this time.
    Wait(Instant),
    /// These ranges are to be asked for, first number and how many; look again at this time.
    Again(Vec<Request>, Instant),
    /// Asking does not help: the stream is to be resumed from this number.
    Resume(u64),
}

/// A gap that has been seen.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Where it begins.
    from: u64,
    due: Instant,
    asked: u32,
}

/// The lines' arbiter.
#[derive(Clone, Debug)]
pub struct Arbiter {
    session: Session,
    /// Number of the next message to come out; 0 until the first packet has said it.
    next: u64,
    /// Messages from `next` on, as far as they have come.
    held: VecDeque<Option<Vec<u8>>>,
    held_max: usize,
    /// One more than the greatest number that the lines have spoken of.
    end: u64,
    ended: bool,
    gap: Option<Gap>,
    /// Requests in a row without an answer after which the stream is resumed.
    requests_max: u32,
    tally: Tally,
}

impl Arbiter {
    /// An arbiter of this session from a number on (0: from the first packet on) that holds at most so many messages.
    pub fn new(session: Session, next: u64, held_max: usize) -> Self {
        Self {
            session,
            next,
            held: VecDeque::new(),
            held_max: held_max.max(1),
            end: next,
            ended: false,
            gap: None,
            requests_max: REQUESTS_MAX,
            tally: Tally::default(),
        }
    }

    /// The same where nobody can be asked: what a line has lost is resumed elsewhere.
    pub const fn without_requests(mut self) -> Self {
        self.requests_max = 0;
        self
    }

    /// Number of the message that comes out next.
    pub const fn next_seq(&self) -> u64 {
        self.next
    }

    /// One more than the last number known of.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// What happened so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether the session has ended and every message has come out.
    pub const fn is_over(&self) -> bool {
        self.ended && self.next >= self.end
    }

    /// Takes a datagram of any line, or an answer to a request; whether it was a packet of the session.
    ///
    /// # Errors
    /// [`MoldError`], and nothing changes but a count.
    pub fn take(&mut self, datagram: &[u8]) -> Result<bool, MoldError> {
        let packet = Packet::decode(datagram).inspect_err(|_| self.tally.foreign += 1)?;
        if packet.session != self.session {
            self.tally.foreign += 1;
            return Ok(false);
        }
        self.tally.packets += 1;
        if self.next == 0 {
            (self.next, self.end) = (packet.sequence, packet.sequence);
        }
        match packet.content {
            Content::Messages(messages) => {
                for (number, message) in messages {
                    self.put(number, message);
                }
            }
            Content::Heartbeat => {}
            Content::EndOfSession => self.ended = true,
        }
        self.end = self.end.max(packet.next_sequence());
        Ok(true)
    }

    /// Takes one message, from wherever it came.
    pub fn put(&mut self, number: u64, message: &[u8]) {
        self.end = self.end.max(number.saturating_add(1));
        let Some(at) = number.checked_sub(self.next) else {
            self.tally.duplicates += 1;
            return;
        };
        let Some(at) = usize::try_from(at).ok().filter(|at| *at < self.held_max) else {
            self.tally.beyond += 1;
            return;
        };
        if self.held.len() <= at {
            self.held.resize(at + 1, None);
        }
        match &mut self.held[at] {
            Some(_) => self.tally.duplicates += 1,
            free => *free = Some(message.to_vec()),
        }
    }

    /// The next message, if it has come.
    pub fn pop(&mut self) -> Option<(u64, Vec<u8>)> {
        let message = self.held.front_mut()?.take()?;
        self.held.pop_front();
        let number = self.next;
        self.next += 1;
        Some((number, message))
    }

    /// Ranges that are missing, each as first number and how many, at most so many; the last one reaches to the end known of.
    fn missing(&self, most: usize) -> Vec<Request> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut missing = |number: u64, count: u64| match ranges.last_mut() {
            Some((first, len)) if *first + *len == number => *len += count,
            _ => ranges.push((number, count)),
        };
        // What is held ends first: no number comes after the last one.
        for (message, number) in self.held.iter().zip(self.next..) {
            if message.is_none() {
                missing(number, 1);
            }
        }
        let beyond = self.next + self.held.len() as u64;
        if beyond < self.end {
            missing(beyond, self.end - beyond);
        }
        ranges.truncate(most);
        let request = |(sequence, count): (u64, u64)| Request {
            session: self.session,
            sequence,
            // BOUND: what is left of a longer gap is asked for when this much has come.
            count: count.min(crate::moldudp::COUNT_MAX.into()) as u16,
        };
        ranges.into_iter().map(request).collect()
    }

    /// What to do at this time, once nothing comes out.
    pub fn ask(&mut self, now: Instant) -> Ask {
        let closed = self.held.front().is_some_and(Option::is_some);
        if self.next >= self.end || closed {
            self.gap = None;
            return Ask::Nothing;
        }
        let fresh = Gap {
            from: self.next,
            due: now + REORDER,
            asked: 0,
        };
        let gap = match self.gap {
            Some(gap) if gap.from == self.next => gap,
            // An answer has come and there is more to ask for: the line has lost it already.
            Some(gap) if gap.asked > 0 => Gap { due: now, ..fresh },
            _ => fresh,
        };
        self.gap = Some(gap);
        if now < gap.due {
            return Ask::Wait(gap.due);
        }
        if gap.asked == self.requests_max {
            self.gap = None;
            self.tally.resumes += 1;
            return Ask::Resume(self.next);
        }
        let patience = PATIENCE.saturating_mul(1 << gap.asked).min(PATIENCE_MAX);
        let due = now + patience;
        self.gap = Some(Gap {
            due,
            asked: gap.asked + 1,
            ..gap
        });
        let requests = self.missing(GAPS_MAX);
        self.tally.requests += requests.len() as u64;
        Ask::Again(requests, due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moldudp::Writer;
    use proptest::prelude::*;

    const NAME: Session = *b"PUBLIC    ";

    fn packet(first: u64, messages: &[u64]) -> Vec<u8> {
        let mut writer = Writer::new(NAME, 1_452);
        writer.begin(first);
        for message in messages {
            assert!(writer.push(&message.to_le_bytes()));
        }
        writer.packet().to_vec()
    }

    fn run(first: u64, count: u64) -> Vec<u8> {
        packet(first, &(first..first + count).collect::<Vec<_>>())
    }

    fn out(arbiter: &mut Arbiter) -> Vec<u64> {
        let pop = || {
            let (number, message) = arbiter.pop()?;
            assert_eq!(message, number.to_le_bytes());
            Some(number)
        };
        std::iter::from_fn(pop).collect()
    }

    const fn request(sequence: u64, count: u16) -> Request {
        Request {
            session: NAME,
            sequence,
            count,
        }
    }

    #[test]
    fn the_first_copy_counts_and_the_other_line_closes_gaps() {
        let mut arbiter = Arbiter::new(NAME, 1, 100);
        assert_eq!(arbiter.take(&run(1, 3)), Ok(true));
        assert_eq!(arbiter.take(&run(7, 2)), Ok(true));
        assert_eq!(arbiter.take(&run(1, 3)), Ok(true));
        assert_eq!(out(&mut arbiter), [1, 2, 3]);
        assert_eq!(arbiter.take(&run(4, 4)), Ok(true));
        assert_eq!(out(&mut arbiter), [4, 5, 6, 7, 8]);
        let other = Writer::new(*b"OTHER     ", 100).packet().to_vec();
        assert_eq!(arbiter.take(&other), Ok(false));
        assert_eq!(arbiter.take(b"nothing"), Err(MoldError::Short(7)));
        let tally = arbiter.tally();
        assert_eq!((tally.packets, tally.duplicates, tally.foreign), (4, 4, 2));
    }

    #[test]
    fn a_gap_is_asked_for_in_time_and_given_up_in_the_end() {
        let mut arbiter = Arbiter::new(NAME, 1, 100);
        let mut now = Instant::now();
        assert_eq!(arbiter.ask(now), Ask::Nothing);
        arbiter.take(&run(3, 2)).unwrap();
        arbiter.take(&run(9, 1)).unwrap();
        // A heartbeat tells of messages that never came.
        arbiter.take(&packet(12, &[])).unwrap();
        assert_eq!(arbiter.ask(now), Ask::Wait(now + REORDER));
        now += REORDER;
        let missing = vec![request(1, 2), request(5, 4), request(10, 2)];
        assert_eq!(arbiter.ask(now), Ask::Again(missing, now + PATIENCE));
        assert_eq!(arbiter.ask(now), Ask::Wait(now + PATIENCE));
        arbiter.take(&run(1, 2)).unwrap();
        assert_eq!(out(&mut arbiter), [1, 2, 3, 4]);
        // What came is progress: the rest is asked for at once.
        let missing = vec![request(5, 4), request(10, 2)];
        assert_eq!(arbiter.ask(now), Ask::Again(missing.clone(), now + PATIENCE));
        for asked in 1..REQUESTS_MAX {
            let Ask::Wait(due) = arbiter.ask(now) else {
                panic!("early")
            };
            now = due;
            let patience = (PATIENCE * (1 << asked)).min(PATIENCE_MAX);
            assert_eq!(arbiter.ask(now), Ask::Again(missing.clone(), now + patience));
        }
        assert_eq!(arbiter.ask(now + PATIENCE_MAX), Ask::Resume(5));
        for number in 5..12u64 {
            arbiter.put(number, &number.to_le_bytes());
        }
        assert_eq!(out(&mut arbiter), [5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(arbiter.ask(now), Ask::Nothing);
    }

    #[test]
    fn it_ends_when_the_last_message_has_come_and_joins_where_it_is_told() {
        let mut arbiter = Arbiter::new(NAME, 0, 100);
        arbiter.take(&run(40, 1)).unwrap();
        arbiter.take(Writer::new(NAME, 100).end_of_session(42)).unwrap();
        assert_eq!(out(&mut arbiter), [40]);
        assert!(!arbiter.is_over());
        arbiter.take(&run(41, 1)).unwrap();
        assert_eq!(out(&mut arbiter), [41]);
        assert!(arbiter.is_over());
    }

    #[test]
    fn the_last_numbers_are_numbers() {
        let mut arbiter = Arbiter::new(NAME, u64::MAX - 3, 100);
        arbiter.take(&run(u64::MAX - 1, 1)).unwrap();
        let now = Instant::now();
        assert_eq!(arbiter.ask(now), Ask::Wait(now + REORDER));
        let missing = vec![request(u64::MAX - 3, 2)];
        assert_eq!(
            arbiter.ask(now + REORDER),
            Ask::Again(missing, now + REORDER + PATIENCE)
        );
        arbiter.take(&run(u64::MAX - 3, 2)).unwrap();
        assert_eq!(out(&mut arbiter), [u64::MAX - 3, u64::MAX - 2, u64::MAX - 1]);
        assert_eq!(arbiter.ask(now), Ask::Nothing);
    }

    proptest! {
        #[test]
        fn whatever_the_lines_do_the_stream_comes_out(
            deliveries in prop::collection::vec((1..200u64, 1..12u64, any::<bool>()), 0..200),
            held_max in 1..64usize,
        ) {
            let mut arbiter = Arbiter::new(NAME, 1, held_max);
            let (mut got, mut now) = (Vec::new(), Instant::now());
            for (first, count, lost) in deliveries {
                if !lost {
                    arbiter.take(&run(first, count)).unwrap();
                    got.extend(out(&mut arbiter));
                }
                prop_assert!(arbiter.held.len() <= held_max);
            }
            // A server that answers every request, one packet each.
            arbiter.take(&packet(212, &[])).unwrap();
            for _ in 0..10_000 {
                match arbiter.ask(now) {
                    Ask::Nothing => break,
                    Ask::Wait(due) => now = due,
                    Ask::Resume(_) => panic!("requests were answered"),
                    Ask::Again(requests, _) => for request in requests {
                        arbiter.take(&run(request.sequence, u64::from(request.count).min(20))).unwrap();
                        got.extend(out(&mut arbiter));
                    },
                }
            }
            prop_assert_eq!(got, (1..212).collect::<Vec<u64>>());
        }
    }
}
