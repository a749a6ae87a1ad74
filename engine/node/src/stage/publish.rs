//! Publish: turns events into messages, keeps each stream's recent history, releases by watermark.
//!
//! # Invariants
//! * A stream's sequenced messages follow from the ledger alone, so a restarted node numbers them the same.
//! * A session that joins gets the books between two records, and the public stream from exactly there on.
//! * What a session is sent of its stream is handed over page by page as its socket takes it; one that falls so far behind
//!   that what it lacks has left the history is refused as a slow consumer.
//! * A session of grade `durable` or `final` gets a message only once its block is on disk; alone, durable is final.
//! * Among delegates streams hold what is final. A session of grade `matched` is shown what is executed here before that, and
//!   where that is given up the session ends with the number from which it is told again.

use super::fanout::Outlet;
use super::{About, Announced, Publication, SessionId, ShownBooks, ToSocket};
use crate::config;
use crate::restart::Keeper;
use crate::ring::{Gone, Receiver, Sender};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wattbook_feed::sbe::session::{
    BlockSealed, HaltReason, Halted, Held, HeldKind, LoggedOn, RejectedMessage, Revoked, Stepped, Watermark,
};
use wattbook_feed::sbe::{Message, encode_outbound};
use wattbook_feed::signed::{Alias, Grade};
use wattbook_feed::soupbin::{self, LoginAccepted, LoginRefusal};
use wattbook_types::{Hash, ParticipantId, Reject, Roles, Sequenced};

/// Most publications between two rounds of sending.
const FLUSH_LEN: usize = 256;

mod books;
mod private;
mod stream;
mod streams;
mod subscription;
mod tail;
#[cfg(test)]
mod tests;

use books::PlacedBooks;
use stream::{Change, Pool, Stream};
pub use streams::Streams;
use subscription::{StreamKey, Subscription};
use tail::Tail;

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
    /// What belongs to blocks whose parent is not sealed yet: its BlockSealed comes before, as in a replay.
    early: VecDeque<(u64, Early)>,
    /// The last books whose place in the public stream is known.
    books: Option<Arc<PlacedBooks>>,
    /// Sessions that wait for the place of books that are known.
    joining: Vec<SessionId>,
    private: BTreeMap<ParticipantId, Stream>,
    /// What stands behind the private streams' ends.
    tail: Tail,
    sessions: BTreeMap<SessionId, Subscription>,
    /// Accounts that see every deal as it will be signed: grid companies and regulators.
    readers: BTreeSet<ParticipantId>,
    memory: Memory,
    message: Vec<u8>,
    /// Follows durable blocks for the snapshots, with the messages of a stream that one holds.
    keeper: Option<(Keeper, usize)>,
    fanout: Option<Outlet>,
    /// Bytes handed over to a session until its socket has room again, and as the last ones when the node stops.
    page: usize,
    last_page: usize,
    is_ending: bool,
}

/// A part of the public stream whose place in it is not known yet.
#[derive(Debug)]
enum Early {
    Events(Arc<Announced>),
    Books(Box<ShownBooks>),
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

/// The memory that full pages of all streams, and those that wait to be filled again, take together.
#[derive(Debug)]
struct Memory {
    used: usize,
    most: usize,
    pool: Pool,
    /// Full pages by the order in which they were filled; some are gone already.
    order: VecDeque<(StreamKey, u64)>,
}

impl Memory {
    fn new(mib: usize) -> Self {
        Self {
            used: 0,
            most: mib.saturating_mul(1 << 20),
            pool: Pool::default(),
            order: VecDeque::new(),
        }
    }

    fn count(&mut self, key: StreamKey, change: Change) {
        if let Some((first, len)) = change.filled {
            self.order.push_back((key, first));
            self.used += len;
        }
        self.freed(change.freed);
    }

    fn freed(&mut self, len: usize) {
        self.used = self.used.saturating_sub(len);
    }

    /// Pages that wait to be filled again take what the full ones leave.
    fn keep_pool(&mut self) {
        self.pool.shrink_to(self.most.saturating_sub(self.used));
    }

    /// The oldest page, if there is too much.
    fn next_to_go(&mut self) -> Option<(StreamKey, u64)> {
        (self.used > self.most).then(|| self.order.pop_front()).flatten()
    }
}

impl Publish {
    /// Wires the stage.
    pub fn new(
        input: Receiver<Publication>,
        sockets: Sender<ToSocket>,
        wake: Wake,
        alias: Alias,
        settings: &config::Publish,
        readers: BTreeSet<ParticipantId>,
    ) -> Self {
        Self {
            input,
            sockets: Sockets { ring: sockets, wake },
            alias,
            history_len: settings.history_len,
            durable: 0,
            public: Stream::default(),
            early: VecDeque::new(),
            books: None,
            joining: Vec::new(),
            private: BTreeMap::new(),
            tail: Tail::default(),
            sessions: BTreeMap::new(),
            readers,
            memory: Memory::new(settings.history_mib),
            message: Vec::new(),
            keeper: None,
            fanout: None,
            page: usize::MAX,
            last_page: usize::MAX,
            is_ending: false,
        }
    }

    /// Hands over a session's stream in pages of so many bytes, the last one when the node stops.
    pub fn hand_over(&mut self, page: usize, last_page: usize) {
        (self.page, self.last_page) = (page, last_page);
    }

    /// Takes up the streams of a snapshot, before anything else.
    pub fn restore(&mut self, streams: Streams) {
        self.durable = streams.height;
        self.public = streams.public;
        self.private = streams.private;
        let private = self
            .private
            .iter()
            .map(|(who, stream)| (StreamKey::Private(*who), stream));
        for (key, stream) in core::iter::once((StreamKey::Public, &self.public)).chain(private) {
            for page in stream.full() {
                let filled = Some(page);
                self.memory.count(key, Change { filled, freed: 0 });
            }
        }
        self.keep_to_memory();
    }

    /// Makes snapshots with a keeper that stands at the last block taken in; each holds so many messages of a stream.
    pub fn keep(&mut self, keeper: Keeper, history_len: usize) {
        self.keeper = Some((keeper, history_len));
    }

    /// The public messages kept, with the number of the first: what an outlet's far end begins with.
    pub fn kept(&self) -> (u64, VecDeque<Arc<[u8]>>) {
        let messages = self.public.messages().map(|(_, message)| message.into());
        (self.public.first(), messages.collect())
    }

    /// Fans out every public message from now on.
    pub fn fan_out(&mut self, outlet: Outlet) {
        self.fanout = Some(outlet);
    }

    /// Takes in a block of the ledger before any session is there.
    pub fn replay(&mut self, header: &wattbook_ledger::BlockHeader, digest: Hash, events: &[Sequenced]) {
        self.take_events(header.height, &Arc::new(Announced::new(events.to_vec())));
        self.take_block(header, digest);
    }

    /// What a snapshot of a block holds of the streams: at most `keep` messages of each.
    pub fn streams(&self, height: u64, keep: usize) -> Streams {
        Streams::of(height, &self.public, &self.private, keep)
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
            Publication::Matched { height, events } => {
                self.tail.push(height, events, &self.alias, &self.readers);
                Ok(())
            }
            Publication::Revoked { height, seq } => self.revoke(height, seq),
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
                grade,
            } => {
                self.take_block(&header, digest);
                self.begin_joining()?;
                if let Some((keeper, history_len)) = &mut self.keeper {
                    let streams = || Streams::of(header.height, &self.public, &self.private, *history_len);
                    keeper.take_block(&header, digest, length, streams);
                }
                self.flush()?;
                let watermark = Watermark {
                    grade: grade as u8,
                    reserved: [0; 7],
                    height: header.height,
                    seq,
                };
                self.tell_private(&watermark)
            }
            Publication::Subscribe { session, from } => self.subscribe(session, from),
            Publication::Join { session, books } => self.join(session, books),
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
            Publication::Drained(session) => {
                if let Some(subscription) = self.sessions.get_mut(&session) {
                    (subscription.ahead, subscription.is_full) = (0, false);
                }
                Ok(())
            }
            Publication::Closed(session) => {
                self.sessions.remove(&session);
                self.joining.retain(|joining| *joining != session);
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
                (self.page, self.is_ending) = (self.last_page, true);
                self.flush()?;
                if let Some(mut outlet) = self.fanout.take() {
                    let _ = outlet.end();
                }
                let halted = framed(&Halted {
                    reason: reason as u8,
                    reserved: [0; 7],
                    seq,
                });
                let joining = core::mem::take(&mut self.joining);
                let open = core::mem::take(&mut self.sessions).into_keys();
                for session in open.chain(joining) {
                    let mut packets = halted.clone();
                    soupbin::put_end_of_session(&mut packets);
                    self.sockets.send(ToSocket::Last(session, packets))?;
                }
                Ok(())
            }
        }
    }

    fn take_events(&mut self, height: u64, announced: &Arc<Announced>) {
        if height <= self.durable + 1 {
            self.take_public(height, announced);
        } else {
            self.early.push_back((height, Early::Events(Arc::clone(announced))));
        }
        self.take_private(height, announced);
        self.tail.settle(height);
    }

    /// What was shown from this block on is given up: whoever has seen some of it ends, and begins again before it.
    fn revoke(&mut self, height: u64, seq: u64) -> Result<(), Gone> {
        self.tail.revoke(height);
        let mut ended = Vec::new();
        for (session, subscription) in &self.sessions {
            let StreamKey::Private(participant) = subscription.stream else {
                continue;
            };
            let Some(stream) = self.private.get(&participant) else {
                continue;
            };
            let next = subscription.end(stream, self.durable, self.tail.of(participant));
            if subscription.grade == Grade::Matched && subscription.next > next {
                ended.push((*session, next));
            }
        }
        for (session, next) in ended {
            self.sessions.remove(&session);
            let mut packets = framed(&Revoked { height, seq, next });
            soupbin::put_end_of_session(&mut packets);
            self.sockets.send(ToSocket::Last(session, packets))?;
        }
        Ok(())
    }

    fn take_public(&mut self, height: u64, announced: &Announced) {
        for message in announced.public(&self.alias).messages() {
            self.put_public(height, message);
        }
        self.keep_to_memory();
    }

    fn put_public(&mut self, height: u64, message: &[u8]) {
        if let Some(outlet) = &mut self.fanout {
            outlet.push(height, message);
        }
        let change = self
            .public
            .push(height, message, self.history_len, &mut self.memory.pool);
        self.memory.count(StreamKey::Public, change);
    }

    fn take_private(&mut self, height: u64, announced: &Announced) {
        for (event, public) in announced.with_public(&self.alias) {
            self.readers.extend(private::new_reader(&event.event));
            let (streams, memory, keep) = (&mut self.private, &mut self.memory, self.history_len);
            private::messages(
                (event, public),
                height,
                &self.alias,
                &self.readers,
                &mut self.message,
                |who, message| {
                    let change = streams
                        .entry(who)
                        .or_default()
                        .push(height, message, keep, &mut memory.pool);
                    memory.count(StreamKey::Private(who), change);
                },
            );
            self.keep_to_memory();
        }
    }

    /// Lets go of the oldest pages of all streams while there are too many.
    fn keep_to_memory(&mut self) {
        while let Some((key, first)) = self.memory.next_to_go() {
            let stream = match key {
                StreamKey::Public => Some(&mut self.public),
                StreamKey::Private(who) => self.private.get_mut(&who),
            };
            let freed = stream.map_or(0, |stream| stream.forget(first, &mut self.memory.pool));
            self.memory.freed(freed);
        }
        self.memory.keep_pool();
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
        let mut message = core::mem::take(&mut self.message);
        message.clear();
        encode_outbound(&sealed, &mut message);
        self.put_public(header.height, &message);
        self.message = message;
        self.durable = header.height;
        while let Some((height, early)) = self.early.pop_front_if(|(height, _)| *height <= header.height + 1) {
            match early {
                Early::Events(announced) => self.take_public(height, &announced),
                Early::Books(books) => self.place(&books),
            }
        }
    }

    /// A session that joins: with these books, or with the last ones.
    fn join(&mut self, session: SessionId, books: Option<Box<ShownBooks>>) -> Result<(), Gone> {
        self.joining.push(session);
        match books {
            Some(books) if books.height <= self.durable + 1 => self.place(&books),
            Some(books) => self.early.push_back((books.height, Early::Books(books))),
            None => {}
        }
        self.begin_joining()
    }

    /// The stream has come to where these books stand.
    fn place(&mut self, books: &ShownBooks) {
        let placed = PlacedBooks::new(self.public.end(), books, &self.alias);
        self.books = Some(Arc::new(placed));
    }

    /// Begins the sessions that join, unless their books have no place yet.
    fn begin_joining(&mut self) -> Result<(), Gone> {
        let waits = |(_, early): &(u64, Early)| matches!(early, Early::Books(_));
        let Some(books) = &self.books else { return Ok(()) };
        if self.joining.is_empty() || self.early.iter().any(waits) {
            return Ok(());
        }
        for session in core::mem::take(&mut self.joining) {
            if books.next < self.public.first() {
                // The next who asks, or this one again, gets newer ones.
                let mut packets = Vec::new();
                soupbin::put_login_rejected(LoginRefusal::SessionNotAvailable, &mut packets);
                self.sockets.send(ToSocket::Last(session, packets))?;
                continue;
            }
            let mut subscription = Subscription::new(StreamKey::Public, Grade::Matched, books.next);
            subscription.books = Some((Arc::clone(books), 0));
            self.sessions.insert(session, subscription);
        }
        Ok(())
    }

    fn subscribe(&mut self, session: SessionId, from: u64) -> Result<(), Gone> {
        let (first, end) = (self.public.first(), self.public.end());
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
        let subscription = Subscription::new(StreamKey::Public, Grade::Matched, next);
        self.sessions.insert(session, subscription);
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
        if grade == Grade::Matched {
            self.tail.show(&self.alias, &self.readers);
        }
        let stream = self.private.entry(participant).or_default();
        let from = if from == 0 { stream.end() } else { from };
        let subscription = Subscription::new(StreamKey::Private(participant), grade, from);
        let end = stream
            .end()
            .max(subscription.end(stream, self.durable, self.tail.of(participant)));
        if from < stream.first() || from > end {
            let about = About {
                participant: participant.get(),
                ..About::default()
            };
            let packets = framed(&rejected(about, Reject::LogonRefused, 0));
            return self.sockets.send(ToSocket::Last(session, packets));
        }
        self.sessions.insert(session, subscription);
        self.sockets.send(ToSocket::LoggedOn(session, participant))?;
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
        for (session, subscription) in &mut self.sessions {
            let StreamKey::Private(participant) = subscription.stream else {
                continue;
            };
            match self.private.get(&participant).filter(|_| subscription.is_behind) {
                // What it says of the stream holds for what has not been handed over too.
                Some(stream) => subscription.keep(subscription.until(stream, self.durable), M::TEMPLATE, &packets),
                None => self.sockets.send(ToSocket::Packets(*session, packets.clone()))?,
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
            let (stream, tail) = match subscription.stream {
                StreamKey::Public => (&self.public, tail::NONE),
                StreamKey::Private(participant) => match self.private.get(&participant) {
                    Some(stream) => (stream, self.tail.of(participant)),
                    None => continue,
                },
            };
            if subscription.next < stream.first() {
                behind.push(*session);
                continue;
            }
            let room = self.page.saturating_sub(subscription.ahead);
            if room == 0 || (subscription.is_full && !self.is_ending) {
                subscription.is_behind |= subscription.next < subscription.end(stream, self.durable, tail);
                continue;
            }
            let mut packets = Vec::new();
            subscription.hand_over(stream, tail, self.durable, room, &mut packets);
            subscription.ahead += packets.len();
            if subscription.is_behind || subscription.ahead >= self.page {
                subscription.is_full = true;
                self.sockets.send(ToSocket::Page(*session, packets))?;
            } else if !packets.is_empty() {
                self.sockets.send(ToSocket::Packets(*session, packets))?;
            }
        }
        for session in behind {
            self.sessions.remove(&session);
            self.sockets.send(ToSocket::Refused(session, Reject::SlowConsumer))?;
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

/// A message in an unsequenced packet.
pub fn framed<M: Message>(message: &M) -> Vec<u8> {
    let (mut bytes, mut packet) = (Vec::with_capacity(160), Vec::with_capacity(160));
    put_framed(message, &mut bytes, &mut packet);
    packet
}

/// Appends a message in an unsequenced packet; `bytes` is where it is encoded.
fn put_framed<M: Message>(message: &M, bytes: &mut Vec<u8>, packets: &mut Vec<u8>) {
    bytes.clear();
    encode_outbound(message, bytes);
    soupbin::put_unsequenced(bytes, packets);
}
