//! Match and settle: the single writer. Gives sequence numbers, applies commands, ends blocks.
//!
//! # Invariants
//! * Only commands the market accepts get a number and a record.
//! * The Tick that opens REVEAL is withheld until the block with the last seals is durable.
//! * An image of the state goes out before its block does, so it is there when that block is durable.
//! * What waits for a Step is bounded, in messages and bytes; what is too much is refused as such.
//! * However many sessions ask for the books, they are read at most once in a while that grows with them.
//! * Cancels deposited for the end of a session are sequenced when it ends, once, and never when the node stops.

use super::joiners::Joiners;
use super::verify::Keys;
use super::{
    About, Announced, Checked, Draft, DurableHeight, Outcome, OwnedRecord, Publication, SessionId, VerifiedCommand,
};
use crate::config::{self, Clock};
use crate::execute::Executor;
use crate::ring::{Gone, Receiver, Sender};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::sbe::session::{HaltReason, HeldKind};
use wattbook_feed::signed::{record_kind, tick_payload};
use wattbook_market::TICK_MAX_NS;
use wattbook_shaders::PublicKey;
use wattbook_types::{Command, ParticipantId, Reject, Roles, Sequenced, TimeNs};

/// Interval of Ticks while there is something to do (DETAILS 1).
const TICK_INTERVAL: Duration = Duration::from_millis(100);
/// The stage.
#[derive(Debug)]
pub struct Matching {
    checked: Receiver<Checked>,
    blocks: Sender<Draft>,
    publish: Sender<Publication>,
    executor: Executor,
    keys: Keys,
    durable: Arc<DurableHeight>,
    clock: Clock,
    settings: config::Seal,
    next_seq: u64,
    next_height: u64,
    /// Number of the first record after the last snapshot asked for.
    snapshot_seq: u64,
    block: Block,
    /// Verified messages that wait for the next Step, and the sessions they came over.
    held: Vec<(SessionId, Box<VerifiedCommand>)>,
    /// Bytes of their payloads.
    held_size: usize,
    deposits: Deposits,
    joiners: Joiners,
}

/// Cancels that wait for the end of their sessions, one deposit a session.
// BOUND: sessions_max deposits of ON_DISCONNECT_LEAVES_MAX leaves.
#[derive(Debug, Default)]
struct Deposits {
    waiting: BTreeMap<SessionId, Box<VerifiedCommand>>,
    /// Bytes of their payloads.
    size: usize,
    /// Deposits sequenced, and refused by the market, since the node started.
    used: u64,
    refused: u64,
}

impl Deposits {
    fn put(&mut self, session: SessionId, cancels: Option<Box<VerifiedCommand>>) {
        self.take(session);
        if let Some(cancels) = cancels {
            self.size += cancels.payload.len();
            self.waiting.insert(session, cancels);
        }
        tracing::debug!(
            session,
            waiting = self.waiting.len(),
            size = self.size,
            "cancels on disconnect"
        );
    }

    fn take(&mut self, session: SessionId) -> Option<Box<VerifiedCommand>> {
        let cancels = self.waiting.remove(&session)?;
        self.size -= cancels.payload.len();
        Some(cancels)
    }

    /// Counts and logs what the market said of a deposit; its session is gone and hears nothing.
    fn count(&mut self, session: SessionId, about: About, refusal: Option<Reject>) {
        match refusal {
            None => self.used += 1,
            Some(_) => self.refused += 1,
        }
        let About { participant, nonce, .. } = about;
        let (used, refused) = (self.used, self.refused);
        match refusal {
            None => tracing::info!(
                session,
                participant,
                nonce,
                used,
                refused,
                "cancels on disconnect: sequenced"
            ),
            Some(reject) => {
                tracing::warn!(session, participant, nonce, %reject, used, refused, "cancels on disconnect: refused");
            }
        }
    }
}

/// How often a block that waits for the one before looks after it.
const LOOK: Duration = Duration::from_micros(500);

/// The block under way.
#[derive(Debug, Default)]
struct Block {
    records: Vec<OwnedRecord>,
    events: Vec<Arc<Announced>>,
    since: Option<Instant>,
}

impl Block {
    /// Whether it has more than Ticks.
    fn has_commands(&self) -> bool {
        self.records.iter().any(|record| record.kind != record_kind::TICK)
    }
}

/// What the stage is wired to.
#[derive(Debug)]
pub struct Wiring {
    /// From verify.
    pub checked: Receiver<Checked>,
    /// To seal.
    pub blocks: Sender<Draft>,
    /// To publish.
    pub publish: Sender<Publication>,
    /// Keys that verify reads.
    pub keys: Keys,
    /// Moved by seal.
    pub durable: Arc<DurableHeight>,
}

impl Matching {
    /// Wires the stage to a market that stands at the ledger's tip.
    pub fn new(
        wiring: Wiring,
        executor: Executor,
        clock: Clock,
        settings: config::Seal,
        next_seq: u64,
        next_height: u64,
    ) -> Self {
        let Wiring {
            checked,
            blocks,
            publish,
            keys,
            durable,
        } = wiring;
        let (block, held, deposits) = (Block::default(), Vec::new(), Deposits::default());
        Self {
            checked,
            blocks,
            publish,
            executor,
            keys,
            durable,
            clock,
            settings,
            next_seq,
            next_height,
            snapshot_seq: next_seq,
            block,
            held,
            held_size: 0,
            deposits,
            joiners: Joiners::default(),
        }
    }

    /// Runs until verify is gone or a stop comes.
    pub fn run(mut self) {
        let end = match self.clock {
            Clock::Lockstep => self.run_lockstep(),
            Clock::Live => self.run_live(),
        };
        if end == Ok(()) {
            // A stop: what is sequenced is sealed; what is held was never promised.
            let closed = self.close_block().is_ok() && self.durable.wait(self.next_height - 1);
            let reason = if closed {
                HaltReason::Stopping
            } else {
                HaltReason::LedgerFailed
            };
            let _ = self.publish.send(Publication::Halt {
                reason,
                seq: self.next_seq - 1,
            });
        }
    }

    fn run_lockstep(&mut self) -> Result<(), Gone> {
        loop {
            let Checked { session, outcome } = self.checked.recv()?;
            match outcome {
                Outcome::Command(command) => {
                    let (about, kind) = (command.about, command.held);
                    let answer = match self.hold(session, command) {
                        Ok(()) => Publication::Held { session, about, kind },
                        Err(reject) => Publication::Refused {
                            session,
                            about,
                            reject,
                            original_seq: 0,
                            close: false,
                        },
                    };
                    self.publish.send(answer)?;
                }
                Outcome::Closed => {
                    // Held like any message; nobody is left to be told.
                    if let Some(cancels) = self.deposits.take(session) {
                        let about = cancels.about;
                        if let Err(reject) = self.hold(session, cancels) {
                            self.deposits.count(session, about, Some(reject));
                        }
                    }
                    self.relay(session, Outcome::Closed)?;
                }
                Outcome::Step { participant, time } => {
                    if self.may_step(participant, time) {
                        self.step(time)?;
                    } else {
                        self.refuse_step(session)?;
                    }
                }
                Outcome::Stop => return Ok(()),
                other => self.relay(session, other)?,
            }
        }
    }

    /// Keeps a message for the next Step.
    fn hold(&mut self, session: SessionId, command: Box<VerifiedCommand>) -> Result<(), Reject> {
        let size = self.held_size.saturating_add(command.payload.len());
        if self.held.len() >= self.settings.held_max || size > self.settings.held_size_max {
            return Err(Reject::HeldTooMany);
        }
        self.held_size = size;
        self.held.push((session, command));
        Ok(())
    }

    /// Only a regulator of a demo chain moves time, and only forward, as far as the market takes a Tick.
    fn may_step(&self, participant: Option<ParticipantId>, time: TimeNs) -> bool {
        let market = self.executor.market();
        let account = participant.and_then(|id| market.state().accounts.get(id));
        account.is_some_and(|a| a.roles.contains(Roles::REGULATOR)) && market.takes_tick(time)
    }

    fn refuse_step(&self, session: SessionId) -> Result<(), Gone> {
        let (about, reject) = (Default::default(), Reject::StepRefused);
        self.publish.send(Publication::Refused {
            session,
            about,
            reject,
            original_seq: 0,
            close: false,
        })
    }

    /// Sequences what is held, then moves time on; the block ends with that Tick (DETAILS 1).
    fn step(&mut self, time: TimeNs) -> Result<(), Gone> {
        self.held_size = 0;
        let mut held = core::mem::take(&mut self.held);
        held.sort_by_key(|(_, command)| order_in_step(&command.command));
        for (session, command) in held {
            self.sequence(session, *command)?;
        }
        self.tick(time)?;
        self.close_block()?;
        let height = self.next_height - 1;
        if !self.durable.wait(height) {
            return Err(Gone);
        }
        self.publish.send(Publication::Stepped {
            time,
            height,
            seq: self.next_seq - 1,
        })
    }

    fn run_live(&mut self) -> Result<(), Gone> {
        let idle_tick = Duration::from_millis(self.settings.idle_tick_ms).max(TICK_INTERVAL);
        // The first Tick comes with the first thing to do.
        let mut last_tick: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let next_tick = match last_tick {
                None => now,
                Some(last) if !self.block.has_commands() => {
                    (now + self.until_due()).max(last + TICK_INTERVAL).min(last + idle_tick)
                }
                Some(last) => last + TICK_INTERVAL,
            };
            let until = self.block_end().map_or(next_tick, |end| next_tick.min(end));
            let received = self.checked.recv_deadline(until)?;
            // A command's time is the last Tick's, so a Tick as old as its interval is renewed before the command.
            let stale = last_tick.is_none_or(|last| last.elapsed() >= TICK_INTERVAL);
            let command = match &received {
                Some(Checked { session, outcome }) => match outcome {
                    Outcome::Command(_) => true,
                    Outcome::Closed => self.deposits.waiting.contains_key(session),
                    _ => false,
                },
                None => false,
            };
            if stale && (command || Instant::now() >= next_tick) {
                self.live_tick()?;
                last_tick = Some(Instant::now());
            }
            if let Some(Checked { session, outcome }) = received {
                match outcome {
                    Outcome::Command(command) => self.sequence(session, *command)?,
                    Outcome::Closed => {
                        if let Some(cancels) = self.deposits.take(session) {
                            self.sequence(session, *cancels)?;
                        }
                        self.relay(session, Outcome::Closed)?;
                    }
                    Outcome::Step { .. } => self.refuse_step(session)?,
                    Outcome::Stop => return Ok(()),
                    other => self.relay(session, other)?,
                }
            }
            let full = self.block.records.len() >= self.settings.block_records_max;
            if full || self.block_end().is_some_and(|end| Instant::now() >= end) {
                self.close_block()?;
            }
        }
    }

    /// When the block under way ends, if there is one: soon after the one before is on disk, so that records wait for the
    /// disk and not for a clock; at the latest when its time is up. A Tick alone is in no hurry.
    fn block_end(&self) -> Option<Instant> {
        let since = self.block.since?;
        let latest = since + Duration::from_millis(self.settings.block_ms);
        if !self.block.has_commands() {
            return Some(latest);
        }
        let earliest = since + Duration::from_micros(self.settings.block_min_us);
        let end = if self.durable.height() + 1 >= self.next_height {
            earliest
        } else {
            earliest.max(Instant::now() + LOOK)
        };
        Some(end.min(latest))
    }

    /// Time until the next border of the timetable.
    fn until_due(&self) -> Duration {
        let due = self.executor.market().next_due_time().get();
        Duration::from_nanos(due.saturating_sub(now().get())).min(Duration::from_secs(3_600))
    }

    fn live_tick(&mut self) -> Result<(), Gone> {
        // After a long rest time catches up in steps the market takes.
        let farthest = self.executor.market().state().time.get().saturating_add(TICK_MAX_NS);
        let time = now().min(TimeNs::new(farthest));
        if time <= self.executor.market().state().time {
            return Ok(());
        }
        if self.executor.market().opens_reveal(time) {
            self.close_block()?;
            if !self.durable.wait(self.next_height - 1) {
                return Err(Gone);
            }
        }
        self.tick(time)
    }

    /// What needs no sequence number.
    fn relay(&mut self, session: SessionId, outcome: Outcome) -> Result<(), Gone> {
        let publication = match outcome {
            Outcome::Subscribe { from } => Publication::Subscribe { session, from },
            Outcome::Join => {
                let market = self.executor.market();
                let books = self.joiners.books(market, self.next_height, self.next_seq - 1);
                Publication::Join { session, books }
            }
            Outcome::LoggedOn {
                participant,
                grade,
                from,
            } => {
                let account = self.executor.market().state().accounts.get(participant);
                Publication::Open {
                    session,
                    participant,
                    next_nonce: account.map_or(0, |account| account.nonces.highest()) + 1,
                    grade,
                    from,
                }
            }
            Outcome::Refused { about, reject, close } => Publication::Refused {
                session,
                about,
                reject,
                original_seq: 0,
                close,
            },
            Outcome::OnDisconnect { participant, cancels } => {
                let participant = participant.get();
                let about = cancels.as_ref().map_or(
                    About {
                        participant,
                        ..About::default()
                    },
                    |cancels| cancels.about,
                );
                self.deposits.put(session, cancels);
                let kind = HeldKind::OnDisconnect;
                Publication::Held { session, about, kind }
            }
            Outcome::Closed => Publication::Closed(session),
            // Agreement's calls come to a replica only.
            Outcome::Command(_) | Outcome::Step { .. } | Outcome::Stop | Outcome::Agreement(_) => return Ok(()),
        };
        self.publish.send(publication)
    }

    /// Applies a command; if it stands, it is recorded.
    fn sequence(&mut self, session: SessionId, verified: VerifiedCommand) -> Result<(), Gone> {
        let deposit = verified.held == HeldKind::OnDisconnect;
        let applied = self.executor.apply(self.next_seq, &verified.command);
        if deposit {
            let refusal = applied.as_ref().err().map(|refusal| refusal.reject);
            self.deposits.count(session, verified.about, refusal);
        }
        match applied {
            Ok(events) => {
                if let Command::Register(registration) = &verified.command {
                    // The verify stage proved this key; decompressing it again cannot fail.
                    if let Ok(key) = PublicKey::new(&registration.public_key) {
                        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                        keys.insert(registration.participant, key);
                    }
                }
                self.record(verified.kind, verified.payload, events)
            }
            Err(_) if deposit => Ok(()),
            Err(refusal) => self.publish.send(Publication::Refused {
                session,
                about: verified.about,
                reject: refusal.reject,
                original_seq: refusal.original_seq,
                close: false,
            }),
        }
    }

    fn tick(&mut self, time: TimeNs) -> Result<(), Gone> {
        match self.executor.apply(self.next_seq, &Command::Tick(time)) {
            Ok(events) => self.record(record_kind::TICK, tick_payload(time).to_vec(), events),
            Err(refusal) => {
                tracing::error!(time = time.get(), reject = %refusal.reject, "a Tick was refused");
                Ok(())
            }
        }
    }

    fn record(&mut self, kind: u16, payload: Vec<u8>, events: Vec<Sequenced>) -> Result<(), Gone> {
        self.block.records.push(OwnedRecord {
            kind,
            seq: self.next_seq,
            payload,
        });
        self.block.since.get_or_insert_with(Instant::now);
        self.next_seq += 1;
        self.announce(events)
    }

    fn announce(&mut self, events: Vec<Sequenced>) -> Result<(), Gone> {
        if events.is_empty() {
            return Ok(());
        }
        let events = Arc::new(Announced::new(events));
        self.block.events.push(Arc::clone(&events));
        self.publish.send(Publication::Events {
            height: self.next_height,
            events,
        })
    }

    /// Ends the block under way, if it has a record, and hands it to seal.
    fn close_block(&mut self) -> Result<(), Gone> {
        if self.block.records.is_empty() {
            return Ok(());
        }
        let height = self.next_height;
        let every = self.settings.snapshot_records;
        if every != 0 && self.next_seq - self.snapshot_seq >= every {
            self.executor.begin_image();
            self.snapshot_seq = self.next_seq;
        }
        let ended = self.executor.end_block(height, self.next_seq - 1);
        self.announce(ended.events)?;
        if let Some(image) = self.executor.take_image() {
            self.publish.send(Publication::Image(Box::new(image)))?;
        }
        let block = core::mem::take(&mut self.block);
        self.next_height += 1;
        self.blocks.send(Draft {
            height,
            time: self.executor.market().state().time,
            records: block.records,
            events: block.events,
            state_root: ended.state_root,
            params_hash: ended.params_hash,
        })
    }
}

/// Order within a Step: registrations by serial, envelopes by (participant, nonce), reveals, then evidence.
pub(super) fn order_in_step(command: &Command) -> (u8, u64, u64) {
    match command {
        Command::Register(r) => (0, r.participant.get(), 0),
        Command::Envelope(e) => (1, e.participant.get(), e.nonce),
        Command::Reveal(r) => (2, r.participant.get(), r.contract.get()),
        Command::Tick(time) => (3, time.get(), 0),
        Command::Evidence(evidence) => (4, evidence.epoch, evidence.view),
    }
}

/// The system's clock.
pub(super) fn now() -> TimeNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeNs::new(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
