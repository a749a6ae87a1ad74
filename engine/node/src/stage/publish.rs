//! Publish: turns events into messages, keeps each stream's recent history, releases by watermark.
//!
//! # Invariants
//! * A stream's sequenced messages follow from the ledger alone, so a restarted node numbers them the same.
//! * The change that a record makes to the books last is followed by its EventEnd.
//! * The books of a snapshot are those after a durable block, and the stream goes on behind that block's BlockSealed.
//! * A session of grade `durable` or `final` gets a message only once its block is on disk; alone, durable is final.

use super::fanout::Outlet;
use super::{About, Publication, SessionId, ToSocket};
use crate::restart::Keeper;
use crate::ring::{Gone, Receiver, Sender};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wattbook_feed::book::Books;
use wattbook_feed::sbe::session::{
    BlockSealed, DealRecord, EventEnd, HaltReason, Halted, Held, HeldKind, LoggedOn, RejectedMessage, Stepped,
    Watermark,
};
use wattbook_feed::sbe::{
    Message, decode_outbound, encode_outbound, encode_private, encode_public, encode_reader, parties,
};
use wattbook_feed::signed::{Alias, DealEntry, Grade};
use wattbook_feed::soupbin::{self, LoginAccepted, LoginRefusal};
use wattbook_types::{Event, Hash, ParticipantId, Reject, Roles, Sequenced};

/// Most publications between two rounds of sending.
const FLUSH_LEN: usize = 256;
/// First message wanted by who wants a snapshot of the books before it: no stream has one of this number.
pub const FROM_BOOKS: u64 = u64::MAX;

mod streams;

pub use streams::Streams;

/// Wakes the sockets' stage after something was handed to it.
pub type Wake = Box<dyn Fn() + Send>;

/// The stage.
pub struct Publish {
    input: Receiver<Publication>,
    sockets: Sockets,
    alias: Alias,
    history_len: usize,
    durable: u64,
    public: Stream,
    /// Public messages of blocks whose parent is not sealed yet: its BlockSealed comes before them, as in a replay.
    early: VecDeque<(u64, Arc<[u8]>)>,
    private: BTreeMap<ParticipantId, Stream>,
    sessions: BTreeMap<SessionId, Subscription>,
    /// Accounts that see every deal as it will be signed: grid companies and regulators.
    readers: BTreeSet<ParticipantId>,
    /// Follows durable blocks for the snapshots, with the messages of a stream that one holds.
    keeper: Option<(Keeper, usize)>,
    fanout: Option<Outlet>,
    /// The books after the last durable block.
    books: Books,
    /// Public messages that tell of the books and are not in `books`, and their blocks.
    changes: VecDeque<(u64, Arc<[u8]>)>,
    /// Number of the public message behind the last durable block.
    books_next: u64,
}

/// The ring back to the sockets.
struct Sockets {
    ring: Sender<ToSocket>,
    wake: Wake,
}

impl Sockets {
    fn send(&self, item: ToSocket) -> Result<(), Gone> {
        match self.ring.try_send(item)? {
            None => Ok(()),
            Some(item) => {
                // Full: the sockets' stage may be asleep.
                (self.wake)();
                self.ring.send(item)
            }
        }
    }
}

/// Which stream a session follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum StreamKey {
    Public,
    Private(ParticipantId),
}

#[derive(Debug)]
struct Subscription {
    stream: StreamKey,
    grade: Grade,
    next: u64,
}

/// The recent messages of a stream; numbers count from 1.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) first: u64,
    pub(super) items: VecDeque<(u64, Arc<[u8]>)>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            first: 1,
            items: VecDeque::new(),
        }
    }
}

impl Stream {
    fn push(&mut self, height: u64, message: impl Into<Arc<[u8]>>, keep: usize) {
        self.items.push_back((height, message.into()));
        if self.items.len() > keep {
            self.items.pop_front();
            self.first += 1;
        }
    }

    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    fn get(&self, number: u64) -> Option<&(u64, Arc<[u8]>)> {
        self.items.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

impl Publish {
    /// Wires the stage.
    pub fn new(
        input: Receiver<Publication>,
        sockets: Sender<ToSocket>,
        wake: Wake,
        alias: Alias,
        history_len: usize,
        readers: BTreeSet<ParticipantId>,
    ) -> Self {
        Self {
            input,
            sockets: Sockets { ring: sockets, wake },
            alias,
            history_len,
            durable: 0,
            public: Stream::default(),
            early: VecDeque::new(),
            private: BTreeMap::new(),
            sessions: BTreeMap::new(),
            readers,
            keeper: None,
            fanout: None,
            books: Books::new(),
            changes: VecDeque::new(),
            books_next: 1,
        }
    }

    /// Takes up the streams of a snapshot, before anything else.
    pub fn restore(&mut self, streams: Streams) {
        self.durable = streams.height;
        self.public = streams.public;
        self.private = streams.private;
        self.books = streams.books;
        self.books_next = self.public.end();
    }

    /// Makes snapshots with a keeper that stands at the last block taken in; each holds so many messages of a stream.
    pub fn keep(&mut self, keeper: Keeper, history_len: usize) {
        self.keeper = Some((keeper, history_len));
    }

    /// The public messages kept, with the number of the first: what an outlet's far end begins with.
    pub fn kept(&self) -> (u64, VecDeque<Arc<[u8]>>) {
        let messages = self.public.items.iter().map(|(_, message)| Arc::clone(message));
        (self.public.first, messages.collect())
    }

    /// Fans out every public message from now on.
    pub fn fan_out(&mut self, outlet: Outlet) {
        self.fanout = Some(outlet);
    }

    /// Takes in a block of the ledger before any session is there.
    pub fn replay(&mut self, header: &wattbook_ledger::BlockHeader, digest: Hash, events: &[Sequenced]) {
        self.take_events(header.height, events);
        self.take_block(header, digest);
    }

    /// What a snapshot of a block holds of the streams: at most `keep` messages of each.
    pub fn streams(&self, height: u64, keep: usize) -> Streams {
        Streams::of(height, &self.public, &self.private, &self.books, keep)
    }

    /// Runs until matching and seal are gone.
    pub fn run(mut self) {
        while let Ok(publication) = self.input.recv() {
            let mut next = Some(publication);
            let mut taken = 0;
            while let Some(publication) = next {
                if self.take(publication).is_err() {
                    return;
                }
                taken += 1;
                // A ring that never runs empty must not keep the sessions waiting.
                next = if taken < FLUSH_LEN {
                    self.input.try_recv().unwrap_or(None)
                } else {
                    None
                };
            }
            if self.flush().is_err() {
                return;
            }
            (self.sockets.wake)();
        }
        let _ = self.sockets.send(ToSocket::Finished);
        (self.sockets.wake)();
    }

    fn take(&mut self, publication: Publication) -> Result<(), Gone> {
        match publication {
            Publication::Events { height, events } => {
                self.take_events(height, &events);
                Ok(())
            }
            Publication::Image(image) => {
                if let Some((keeper, _)) = &mut self.keeper {
                    keeper.take_image(*image);
                }
                Ok(())
            }
            Publication::Durable {
                header,
                digest,
                length,
                seq,
            } => {
                self.take_block(&header, digest);
                if let Some((keeper, history_len)) = &mut self.keeper {
                    let streams = || Streams::of(header.height, &self.public, &self.private, &self.books, *history_len);
                    keeper.take_block(&header, digest, length, streams);
                }
                self.flush()?;
                let watermark = Watermark {
                    grade: Grade::Durable as u8,
                    reserved: [0; 7],
                    height: header.height,
                    seq,
                };
                self.tell_private(&watermark)
            }
            Publication::Subscribe { session, from } => self.subscribe(session, from),
            Publication::Open {
                session,
                participant,
                next_nonce,
                grade,
                from,
            } => self.open(session, participant, next_nonce, grade, from),
            Publication::Held { session, about, kind } => self.held(session, about, kind),
            Publication::Refused {
                session,
                about,
                reject,
                original_seq,
                close,
            } => {
                let packets = framed(&rejected(about, reject, original_seq));
                self.sockets.send(if close {
                    ToSocket::Last(session, packets)
                } else {
                    ToSocket::Packets(session, packets)
                })
            }
            Publication::Stepped { time, height, seq } => {
                self.flush()?;
                self.tell_private(&Stepped {
                    time_ns: time.get(),
                    height,
                    seq,
                })
            }
            Publication::Closed(session) => {
                self.sessions.remove(&session);
                Ok(())
            }
            Publication::Pause { seq } => {
                self.flush()?;
                let halted = framed(&Halted {
                    reason: HaltReason::DiskFull as u8,
                    reserved: [0; 7],
                    seq,
                });
                for session in self.sessions.keys() {
                    self.sockets.send(ToSocket::Packets(*session, halted.clone()))?;
                }
                Ok(())
            }
            Publication::Farewell => {
                self.sockets.send(ToSocket::Finished)?;
                (self.sockets.wake)();
                Err(Gone)
            }
            Publication::Halt { reason, seq } => {
                self.flush()?;
                if let Some(mut outlet) = self.fanout.take() {
                    let _ = outlet.end();
                }
                let halted = framed(&Halted {
                    reason: reason as u8,
                    reserved: [0; 7],
                    seq,
                });
                for (session, _) in core::mem::take(&mut self.sessions) {
                    let mut packets = halted.clone();
                    soupbin::put_end_of_session(&mut packets);
                    self.sockets.send(ToSocket::Last(session, packets))?;
                }
                Ok(())
            }
        }
    }

    /// Takes what one record or all records of a block caused.
    fn take_events(&mut self, height: u64, events: &[Sequenced]) {
        for of_record in events.chunk_by(|one, next| one.seq == next.seq) {
            let mut left = of_record.iter().filter(|event| tells_of_books(&event.event)).count();
            let changes = left as u64;
            for event in of_record {
                self.take_event(height, event);
                if tells_of_books(&event.event) {
                    left -= 1;
                    if left == 0 {
                        let mut message = Vec::with_capacity(32);
                        encode_outbound(
                            &EventEnd {
                                seq: event.seq,
                                changes,
                            },
                            &mut message,
                        );
                        self.tell_public(height, &message, true);
                    }
                }
            }
        }
    }

    fn take_event(&mut self, height: u64, event: &Sequenced) {
        if let Event::Registered { participant, roles, .. } = &event.event
            && sees_deals(*roles)
        {
            self.readers.insert(*participant);
        }
        let mut message = Vec::with_capacity(256);
        if encode_public(event, &self.alias, &mut message) {
            self.tell_public(height, &message, tells_of_books(&event.event));
        }
        let recipients: BTreeSet<ParticipantId> = parties(&event.event).into_iter().flatten().collect();
        for recipient in &recipients {
            message.clear();
            if encode_private(event, *recipient, &self.alias, &mut message) {
                self.private
                    .entry(*recipient)
                    .or_default()
                    .push(height, message.as_slice(), self.history_len);
            }
        }
        // Whoever signs or audits deals sees them with real accounts, and the digest they add up to.
        message.clear();
        match &event.event {
            Event::Executed { deal, deal_id, .. } => {
                let record = DealEntry::new(deal);
                encode_outbound(
                    &DealRecord {
                        seq: event.seq,
                        height,
                        record,
                        deal_id: deal_id.0,
                    },
                    &mut message,
                );
            }
            Event::DealsSealed { .. } => {
                encode_reader(event, &self.alias, &mut message);
            }
            _ => return,
        }
        for reader in &self.readers {
            self.private
                .entry(*reader)
                .or_default()
                .push(height, message.as_slice(), self.history_len);
        }
    }

    /// Puts a message into the public stream, or keeps it until its block's parent is sealed.
    fn tell_public(&mut self, height: u64, message: &[u8], of_books: bool) {
        let message: Arc<[u8]> = message.into();
        if of_books {
            self.changes.push_back((height, Arc::clone(&message)));
        }
        if height <= self.durable + 1 {
            self.put_public(height, message);
        } else {
            self.early.push_back((height, message));
        }
    }

    fn put_public(&mut self, height: u64, message: Arc<[u8]>) {
        if let Some(outlet) = &mut self.fanout {
            outlet.push(height, Arc::clone(&message));
        }
        self.public.push(height, message, self.history_len);
    }

    fn take_block(&mut self, header: &wattbook_ledger::BlockHeader, digest: Hash) {
        let sealed = BlockSealed {
            height: header.height,
            time_ns: header.time.get(),
            record_count: header.record_count,
            event_count: header.event_count,
            first_seq: header.first_seq,
            block_digest: digest.0,
            state_root: header.state_root.0,
        };
        let mut message = Vec::with_capacity(128);
        encode_outbound(&sealed, &mut message);
        self.put_public(header.height, message.into());
        self.durable = header.height;
        self.books_next = self.public.end();
        while let Some((_, message)) = self.changes.pop_front_if(|(height, _)| *height <= header.height) {
            let message = decode_outbound(&message).expect("INVARIANT: it has been encoded here");
            self.books
                .take(&message)
                .expect("INVARIANT: a record's changes stand together");
        }
        while let Some((height, message)) = self.early.pop_front_if(|(height, _)| *height <= header.height + 1) {
            self.put_public(height, message);
        }
    }

    /// Begins a session with the books after the last durable block.
    fn join(&mut self, session: SessionId) -> Result<(), Gone> {
        let next = self.books_next;
        let mut packets = Vec::new();
        if next < self.public.first {
            soupbin::put_login_rejected(LoginRefusal::SessionNotAvailable, &mut packets);
            return self.sockets.send(ToSocket::Last(session, packets));
        }
        soupbin::put_login_accepted(
            &LoginAccepted {
                session: soupbin::SESSION_BOOK.into(),
                sequence: next,
            },
            &mut packets,
        );
        for order in self.books.snapshot() {
            put_framed(&order, &mut packets);
        }
        put_framed(&self.books.snapshot_end(next, self.durable), &mut packets);
        let (stream, grade) = (StreamKey::Public, Grade::Matched);
        self.sessions.insert(session, Subscription { stream, grade, next });
        self.sockets.send(ToSocket::Packets(session, packets))
    }

    fn subscribe(&mut self, session: SessionId, from: u64) -> Result<(), Gone> {
        if from == FROM_BOOKS {
            return self.join(session);
        }
        let (first, end) = (self.public.first, self.public.end());
        let next = if from == 0 { end } else { from };
        let mut packets = Vec::new();
        if next < first || next > end {
            soupbin::put_login_rejected(LoginRefusal::SessionNotAvailable, &mut packets);
            return self.sockets.send(ToSocket::Last(session, packets));
        }
        soupbin::put_login_accepted(
            &LoginAccepted {
                session: soupbin::SESSION_PUBLIC.into(),
                sequence: next,
            },
            &mut packets,
        );
        let grade = Grade::Matched;
        self.sessions.insert(
            session,
            Subscription {
                stream: StreamKey::Public,
                grade,
                next,
            },
        );
        self.sockets.send(ToSocket::Packets(session, packets))
    }

    fn open(
        &mut self,
        session: SessionId,
        participant: ParticipantId,
        next_nonce: u64,
        grade: Grade,
        from: u64,
    ) -> Result<(), Gone> {
        let stream = self.private.entry(participant).or_default();
        let from = if from == 0 { stream.end() } else { from };
        if from < stream.first || from > stream.end() {
            let about = About {
                participant: participant.get(),
                ..About::default()
            };
            let packets = framed(&rejected(about, Reject::LogonRefused, 0));
            return self.sockets.send(ToSocket::Last(session, packets));
        }
        let stream = StreamKey::Private(participant);
        self.sessions.insert(
            session,
            Subscription {
                stream,
                grade,
                next: from,
            },
        );
        let logged_on = LoggedOn {
            participant: participant.get(),
            next_nonce,
            grade: grade as u8,
            reserved: [0; 7],
        };
        self.sockets.send(ToSocket::Packets(session, framed(&logged_on)))
    }

    fn held(&mut self, session: SessionId, about: About, kind: HeldKind) -> Result<(), Gone> {
        let held = Held {
            participant: about.participant,
            nonce: about.nonce,
            kind: kind as u8,
            reserved: [0; 7],
        };
        self.sockets.send(ToSocket::Packets(session, framed(&held)))
    }

    fn tell_private<M: Message>(&mut self, message: &M) -> Result<(), Gone> {
        let packets = framed(message);
        for (session, subscription) in &self.sessions {
            if subscription.stream != StreamKey::Public {
                self.sockets.send(ToSocket::Packets(*session, packets.clone()))?;
            }
        }
        Ok(())
    }

    /// Sends every session what its stream and its grade release.
    fn flush(&mut self) -> Result<(), Gone> {
        if let Some(outlet) = &mut self.fanout
            && outlet.flush(self.durable).is_err()
        {
            // Its thread has failed, and says so when the node is joined; sessions go on.
            self.fanout = None;
        }
        let mut behind = Vec::new();
        for (session, subscription) in &mut self.sessions {
            let stream = match subscription.stream {
                StreamKey::Public => &self.public,
                StreamKey::Private(participant) => match self.private.get(&participant) {
                    Some(stream) => stream,
                    None => continue,
                },
            };
            if subscription.next < stream.first {
                behind.push(*session);
                continue;
            }
            let mut packets = Vec::new();
            while let Some((height, message)) = stream.get(subscription.next) {
                if subscription.grade != Grade::Matched && *height > self.durable {
                    break;
                }
                soupbin::put_sequenced(message, &mut packets);
                subscription.next += 1;
            }
            if !packets.is_empty() {
                self.sockets.send(ToSocket::Packets(*session, packets))?;
            }
        }
        for session in behind {
            // What it has not seen has left the history.
            let packets = framed(&rejected(About::default(), Reject::SlowConsumer, 0));
            self.sessions.remove(&session);
            self.sockets.send(ToSocket::Last(session, packets))?;
        }
        Ok(())
    }
}

/// Whether an account sees every deal with real accounts.
pub const fn sees_deals(roles: Roles) -> bool {
    roles.contains(Roles::GRID) || roles.contains(Roles::REGULATOR)
}

/// The refusal of a message.
pub fn rejected(about: About, reject: Reject, original_seq: u64) -> RejectedMessage {
    RejectedMessage {
        participant: about.participant,
        nonce: about.nonce,
        contract: about.contract,
        code: reject.code(),
        reserved: [0; 6],
        original_seq,
    }
}

/// Whether the public form of an event tells a change of a book.
const fn tells_of_books(event: &Event) -> bool {
    matches!(
        event,
        Event::Opened { .. } | Event::Reduced { .. } | Event::Closed { .. } | Event::Executed { .. }
    )
}

/// A message in an unsequenced packet.
pub fn framed<M: Message>(message: &M) -> Vec<u8> {
    let mut packet = Vec::with_capacity(160);
    put_framed(message, &mut packet);
    packet
}

fn put_framed<M: Message>(message: &M, packets: &mut Vec<u8>) {
    let mut bytes = Vec::with_capacity(160);
    encode_outbound(message, &mut bytes);
    soupbin::put_unsequenced(&bytes, packets);
}
