//! The stages of the data path, one file each, and what they hand to one another.
//!
//! `ingest -> verify -> matching -> seal -> sync -> publish -> ingest's sockets`; among delegates `replica` stands where
//! matching, seal and sync do. [`crate::topology`] wires them.

pub mod envelopes;
pub mod fanout;
pub mod ingest;
mod joiners;
pub mod matching;
pub mod publish;
pub mod replica;
pub mod seal;
pub mod sync;
pub mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use wattbook_feed::sbe::session::{EventEnd, HaltReason, HeldKind};
use wattbook_feed::sbe::{encode_outbound, encode_public, is_public};
use wattbook_feed::signed::{Alias, Grade, RegisterRecord, RevealRecord, SealedEnvelope};
use wattbook_types::{
    Command, ContractId, Energy, Event, Hash, OrderId, ParticipantId, Price, Reject, Sequenced, Side, TimeNs,
};

/// A connection, numbered as accepted.
pub type SessionId = u64;

/// From ingest to verify, in ticket order.
#[derive(Debug)]
pub struct Job {
    /// The session it came over.
    pub session: SessionId,
    /// What it asks for.
    pub request: Request,
}

/// A request as decoded.
#[derive(Debug)]
pub enum Request {
    /// A public session wants the feed from a sequence number on (0: from now).
    Subscribe {
        /// First message wanted.
        from: u64,
    },
    /// A public session wants the books as they stand, and the feed from there on.
    Join,
    /// A private session logs on.
    Logon {
        /// Who.
        participant: ParticipantId,
        /// Grade of its acknowledgements.
        grade: Grade,
        /// First message wanted.
        from: u64,
        /// What must be signed.
        digest: Hash,
        /// The signature.
        signature: [u8; 48],
    },
    /// A registration.
    Register(Box<RegisterRecord>),
    /// An envelope.
    Envelope(Box<SealedEnvelope>),
    /// A reveal.
    Reveal(Box<RevealRecord>),
    /// An envelope for the end of the session; `None` withdraws the last one.
    OnDisconnect(Option<Box<SealedEnvelope>>),
    /// Time moves on (lockstep).
    Step(TimeNs),
    /// A message that is none: answered in order with the others.
    Refused(About, Reject),
    /// The session is gone.
    Closed,
    /// The node stops: finish the block, tell everyone.
    Stop,
}

/// What a refusal is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// Sender, as far as known.
    pub participant: u64,
    /// Nonce of an envelope.
    pub nonce: u64,
    /// Contract of a reveal.
    pub contract: u64,
}

impl About {
    /// An envelope.
    pub fn envelope(envelope: &SealedEnvelope) -> Self {
        Self {
            participant: envelope.header.participant,
            nonce: envelope.header.nonce,
            contract: 0,
        }
    }

    /// A reveal.
    pub fn reveal(participant: ParticipantId, contract: ContractId) -> Self {
        Self {
            participant: participant.get(),
            nonce: 0,
            contract: contract.get(),
        }
    }
}

/// From verify to matching, in ticket order.
#[derive(Debug)]
pub struct Checked {
    /// The session it came over.
    pub session: SessionId,
    /// What was found.
    pub outcome: Outcome,
}

/// A request as verified.
#[derive(Debug)]
pub enum Outcome {
    /// See [`Request::Subscribe`].
    Subscribe {
        /// First message wanted.
        from: u64,
    },
    /// See [`Request::Join`].
    Join,
    /// A logon that holds.
    LoggedOn {
        /// Who.
        participant: ParticipantId,
        /// Grade of its acknowledgements.
        grade: Grade,
        /// First message wanted.
        from: u64,
    },
    /// A command whose signatures hold.
    Command(Box<VerifiedCommand>),
    /// Cancels whose signature holds, for the end of the session; `None` withdraws the last ones.
    OnDisconnect {
        /// Who deposits or withdraws.
        participant: ParticipantId,
        /// The cancels.
        cancels: Option<Box<VerifiedCommand>>,
    },
    /// Time moves on, asked for by this participant.
    Step {
        /// Who asks, if logged on.
        participant: Option<ParticipantId>,
        /// To when.
        time: TimeNs,
    },
    /// A refusal; `close`: the session ends with it.
    Refused {
        /// What it is about.
        about: About,
        /// Why.
        reject: Reject,
        /// Whether the session is closed.
        close: bool,
    },
    /// The session is gone.
    Closed,
    /// The node stops.
    Stop,
    /// What agreement among delegates asks or tells; from no session.
    Agreement(Box<replica::Call>),
}

/// Sessions from this number on are links of other nodes, whose envelopes are anybody's.
pub const LINKS_FROM: SessionId = 1 << 63;

/// A command and the bytes it is recorded by.
#[derive(Debug)]
pub struct VerifiedCommand {
    /// What is applied.
    pub command: Command,
    /// Kind of its record.
    pub kind: u16,
    /// Payload of its record.
    pub payload: Vec<u8>,
    /// How it is answered when held.
    pub held: HeldKind,
    /// What a refusal is about.
    pub about: About,
}

/// A record of a block under way.
#[derive(Debug)]
pub struct OwnedRecord {
    /// Kind.
    pub kind: u16,
    /// Sequence number.
    pub seq: u64,
    /// Payload.
    pub payload: Vec<u8>,
}

/// From matching to seal: a block whose state is known.
#[derive(Debug)]
pub struct Draft {
    /// Its height.
    pub height: u64,
    /// Time of its last Tick.
    pub time: TimeNs,
    /// Its records.
    pub records: Vec<OwnedRecord>,
    /// Its events.
    pub events: Vec<Arc<Announced>>,
    /// State root after it.
    pub state_root: Hash,
    /// Digest of the parameters in force.
    pub params_hash: Hash,
}

/// Events on their way to those who show and those who seal them, with their public form, which whoever needs it first
/// encodes for both.
#[derive(Debug)]
pub struct Announced {
    events: Vec<Sequenced>,
    public: OnceLock<PublicForm>,
}

/// Messages one behind the other: of events, and behind the last of a record that changes the books its EventEnd.
#[derive(Clone, Default, Debug)]
pub struct PublicForm {
    /// Where each message ends, and whether it is an event's.
    ends: Vec<(usize, bool)>,
    bytes: Vec<u8>,
}

impl Announced {
    /// Events in their order.
    pub const fn new(events: Vec<Sequenced>) -> Self {
        Self {
            events,
            public: OnceLock::new(),
        }
    }

    /// The events.
    pub fn events(&self) -> &[Sequenced] {
        &self.events
    }

    /// The messages of those that are public; the pseudonyms are those of the first call.
    pub fn public(&self, alias: &Alias) -> &PublicForm {
        self.public.get_or_init(|| {
            let mut form = PublicForm::default();
            for of_record in self.events.chunk_by(|one, next| one.seq == next.seq) {
                form.put_record(of_record, alias);
            }
            form
        })
    }

    /// The events, each with its public form if it has one.
    pub fn with_public<'a>(
        &'a self,
        alias: &Alias,
    ) -> impl Iterator<Item = (&'a Sequenced, Option<&'a [u8]>)> + use<'a> {
        let mut messages = self.public(alias).events();
        self.events.iter().map(move |event| {
            let message = is_public(&event.event).then(|| messages.next()).flatten();
            (event, message)
        })
    }
}

impl PublicForm {
    fn put_record(&mut self, events: &[Sequenced], alias: &Alias) {
        let last = events.iter().rposition(|event| tells_of_books(&event.event));
        let mut changes = 0;
        for (at, event) in events.iter().enumerate() {
            if encode_public(event, alias, &mut self.bytes) {
                self.ends.push((self.bytes.len(), true));
            }
            changes += u64::from(tells_of_books(&event.event));
            if last == Some(at) {
                let seq = event.seq;
                encode_outbound(&EventEnd { seq, changes }, &mut self.bytes);
                self.ends.push((self.bytes.len(), false));
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let starts = core::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        let messages = starts.zip(&self.ends);
        messages.map(|(start, (end, of_event))| (&self.bytes[start..*end], *of_event))
    }

    /// What the public stream says.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(message, _)| message)
    }

    /// The events alone: the leaves of the event root.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter_map(|(message, of_event)| of_event.then_some(message))
    }
}

/// Whether the public form of an event tells a change of a book.
const fn tells_of_books(event: &Event) -> bool {
    matches!(
        event,
        Event::Opened { .. } | Event::Reduced { .. } | Event::Closed { .. } | Event::Executed { .. }
    )
}

/// An order as the books show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShownOrder {
    /// Contract.
    pub contract: ContractId,
    /// Its name, and its owner's.
    pub id: OrderId,
    /// Side.
    pub side: Side,
    /// Limit.
    pub price: Price,
    /// Open quantity as far as shown.
    pub shown: Energy,
}

/// What the books of all contracts show between two records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownBooks {
    /// The block under way then.
    pub height: u64,
    /// The last record before.
    pub seq: u64,
    /// Contracts ascending, bids before asks, each in price-time order.
    pub orders: Vec<ShownOrder>,
}

/// Into publish, from matching and seal.
#[derive(Debug)]
pub enum Publication {
    /// Events of a block that may be given up: `matched`, among delegates. Its `Events` follow when it is final.
    Matched {
        /// The block.
        height: u64,
        /// The events.
        events: Arc<Announced>,
    },
    /// The blocks from here on that were `Matched` are given up.
    Revoked {
        /// The first of them.
        height: u64,
        /// Its first record.
        seq: u64,
    },
    /// Events of a block under way: alone `matched`, among delegates `final`.
    Events {
        /// The block.
        height: u64,
        /// The events.
        events: Arc<Announced>,
    },
    /// A block is on this machine's disk: `durable`.
    Durable {
        /// The block's header.
        header: Box<wattbook_ledger::BlockHeader>,
        /// Its digest.
        digest: Hash,
        /// Length of the log after it, bytes.
        length: u64,
        /// Its last record.
        seq: u64,
        /// What it has reached: among delegates it is `final` too.
        grade: Grade,
    },
    /// The state after a block that is not durable yet, to be written down.
    Image(Box<wattbook_market::Image>),
    /// A public session subscribes.
    Subscribe {
        /// The session.
        session: SessionId,
        /// First message wanted.
        from: u64,
    },
    /// A public session wants the books, and the feed from there on.
    Join {
        /// The session.
        session: SessionId,
        /// The books as of the events so far; `None`: the last ones are young enough.
        books: Option<Box<ShownBooks>>,
    },
    /// A participant logged on.
    Open {
        /// The session.
        session: SessionId,
        /// Who.
        participant: ParticipantId,
        /// Least nonce surely unused.
        next_nonce: u64,
        /// Grade.
        grade: Grade,
        /// First message wanted.
        from: u64,
    },
    /// A verified command is held: until the next Step, or until its session ends.
    Held {
        /// The session.
        session: SessionId,
        /// What about.
        about: About,
        /// What.
        kind: HeldKind,
    },
    /// A message was refused.
    Refused {
        /// The session.
        session: SessionId,
        /// What about.
        about: About,
        /// Why.
        reject: Reject,
        /// With a duplicate, the record that used the nonce.
        original_seq: u64,
        /// Whether the session is closed.
        close: bool,
    },
    /// A Step has been carried out.
    Stepped {
        /// Time now.
        time: TimeNs,
        /// Last block.
        height: u64,
        /// Last record.
        seq: u64,
    },
    /// The session has taken most of what was handed over for it: there is room for another page.
    Drained(SessionId),
    /// The session is gone.
    Closed(SessionId),
    /// The disk is full: every session is told and stays. Every block before is durable, so the next one that is says that
    /// it goes on.
    Pause {
        /// Last record that is durable.
        seq: u64,
    },
    /// Nothing follows, whoever could still send: the sockets' stage says its last words and ends.
    Farewell,
    /// Nothing more is taken; every session ends.
    Halt {
        /// Why.
        reason: HaltReason,
        /// Last record.
        seq: u64,
    },
}

/// From publish to the sockets.
#[derive(Debug)]
pub enum ToSocket {
    /// Framed packets.
    Packets(SessionId, Vec<u8>),
    /// Framed packets, after which publish waits for [`Publication::Drained`].
    Page(SessionId, Vec<u8>),
    /// The session ends with this refusal.
    Refused(SessionId, Reject),
    /// Framed packets, then the session ends.
    Last(SessionId, Vec<u8>),
    /// A session has shown that it is a participant's.
    LoggedOn(SessionId, ParticipantId),
    /// Every session has been told; the sockets' stage may end.
    Finished,
}

/// What [`DurableHeight::wait_past`] has waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// The newest durable block.
    To(u64),
    /// The time has come.
    Due,
    /// No block will become durable any more.
    Never,
}

/// The newest durable block, for those who must wait for it.
#[derive(Debug, Default)]
pub struct DurableHeight {
    height: AtomicU64,
    seq: AtomicU64,
    failed: AtomicBool,
    gate: Mutex<()>,
    moved: Condvar,
}

impl DurableHeight {
    /// Publishes a height and the last record up to it.
    pub fn set(&self, height: u64, seq: u64) {
        let _guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.seq.store(seq, Ordering::Release);
        self.height.store(height, Ordering::Release);
        self.moved.notify_all();
    }

    /// The last durable block.
    pub fn height(&self) -> u64 {
        self.height.load(Ordering::Acquire)
    }

    /// The last durable record.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Wakes everyone: no height will come any more.
    pub fn fail(&self) {
        let _guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.failed.store(true, Ordering::Release);
        self.moved.notify_all();
    }

    /// Whether no height will come any more.
    pub fn is_over(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until a block behind `height` is durable, or until `due`.
    pub fn wait_past(&self, height: u64, due: Option<Instant>) -> Moved {
        let mut guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let newest = self.height.load(Ordering::Acquire);
            if newest > height {
                return Moved::To(newest);
            }
            if self.failed.load(Ordering::Acquire) {
                return Moved::Never;
            }
            guard = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                None => self.moved.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Moved::Due,
                Some(left) => {
                    let waited = self.moved.wait_timeout(guard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits until `height` is durable; `false` if it never will be.
    pub fn wait(&self, height: u64) -> bool {
        let mut guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while self.height.load(Ordering::Acquire) < height {
            if self.failed.load(Ordering::Acquire) {
                return false;
            }
            guard = self.moved.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}
