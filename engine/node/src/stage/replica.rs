//! Replica: match, settle, seal and keep as one of several nodes that agree on every block.
//!
//! Stands where matching, seal and sync do when a node runs alone. Commands wait in a pool that every node has; whoever leads
//! proposes a block of them, the others execute it and vote, and what is final is executed here once more, appended to the
//! ledger by agreement, and published. Two lines are kept: the *settled* one, after the last final block, and the *head*,
//! which runs ahead of it over blocks that may still be given up. Where agreement turns to other blocks than the head's,
//! the head begins again at the settled line: nothing is undone, for nothing was changed.
//!
//! # Invariants
//! * Only final blocks are published. What the head says is shown to whoever asked for `matched`, and taken back where
//!   another block takes its place; nothing else that a session is told of a record ever is.
//! * A block is voted for only if every record of it decodes, is signed, is taken by the market, and everything its header
//!   says follows. Signatures that verify has checked on their way through the pool are not checked again.
//! * The block that opens REVEAL is proposed when the block before it is final.
//! * A command is recorded once, whoever proposes it: its nonce is used then.

mod accuse;
mod envoy;
mod form;
mod inclusion;
mod line;
mod meters;
mod orders;
mod owed;
mod pool;
mod receipts;
mod shown;
mod signatures;
mod step;
mod store;
#[cfg(test)]
mod tests;
mod words;

pub use self::envoy::Call;
pub(crate) use self::form::Form;
pub(crate) use self::store::DamagedBlocks;
pub use self::words::again as words_again;

use self::envoy::{Committees, Envoy, learn};
use self::inclusion::Claims;
use self::line::{Executed, Line, Misfit, Open, producer};
use self::meters::Meters;
use self::orders::{Lead, Unreceipted};
use self::owed::{Contested, is_full};
use self::pool::{Origin, Pool, Waiting, digest_of};
use self::receipts::{Order, Promise};
use self::shown::Shown;
use self::step::{Part, Step};
use self::store::{FinalBlocks, Lengths};
use self::words::{Word, words};
use super::joiners::Joiners;
use super::matching::now;
use super::verify::Keys;
use super::{
    About, Checked, DurableHeight, Job, LINKS_FROM, Outcome, Publication, Request, SessionId, VerifiedCommand,
};
use crate::config;
use crate::execute::Executor;
use crate::metrics::Metrics;
use crate::restart::{Damages, ScrubbedHeight};
use crate::ring::{Gone, Receiver, Sender};
use ed25519_dalek::{SigningKey, VerifyingKey};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use wattbook_agreement::ballot::BallotKey;
use wattbook_agreement::block::Candidate as Block;
use wattbook_agreement::seam::{Agreement, Answer, Final, Genesis, Peer, Role, Settings, Slot, Time};
use wattbook_agreement::simplex;
use wattbook_feed::sbe::session::{HaltReason, HeldKind};
use wattbook_feed::signed::{Alias, Grade, RegisterRecord, RevealRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{Certificates, Reader, Store};
use wattbook_market::Refusal;
use wattbook_shaders::Verifier;
use wattbook_types::schedule::Schedule;
use wattbook_types::{Command, Hash, ParticipantId, Reject, TimeNs, Turn};

/// Most bytes of commands that are told in one message.
const WORDS_SIZE_MAX: usize = 64 << 10;
/// Most time until a command is told to the others.
const WORDS_DELAY: Duration = Duration::from_millis(2);
/// How long a command of a session here may wait before the others are told of it again.
const TOLD_AGAIN: Duration = Duration::from_secs(2);
/// How long a command of another node's session waits without a block that has it.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Beside agreement's votes: the last term in which this node may have signed receipts.
const PROMISE_FILE: &str = "receipts";
/// Bytes of a block beyond its payloads, per record and in all, at least.
const RECORD_OVERHEAD: usize = 16;
const BLOCK_OVERHEAD: usize = 1 << 10;

/// Who this node is among the others.
#[derive(Debug)]
pub struct Identity {
    /// Secret of the key of its links.
    pub peer: [u8; 32],
    /// Its ballot key, if it may stand.
    pub ballot: Option<BallotKey>,
    /// Where it listens for the others.
    pub listen: SocketAddr,
    /// Where agreement keeps its votes.
    pub folder: PathBuf,
    /// The nodes that may connect.
    pub peers: Vec<Peer>,
}

impl Identity {
    pub(crate) fn keys(&self) -> simplex::Keys {
        simplex::Keys {
            peer: self.peer,
            listen: self.listen,
            folder: self.folder.clone(),
        }
    }
}

/// What the stage is wired to.
#[derive(Debug)]
pub struct Wiring {
    /// From verify, and from agreement.
    pub checked: Receiver<Checked>,
    /// The other end of it, for agreement.
    pub calls: Sender<Checked>,
    /// To verify: what other nodes hand on.
    pub jobs: Sender<Job>,
    /// To publish; the last end of the ring.
    pub publish: Arc<Sender<Publication>>,
    /// Keys that verify reads.
    pub keys: Keys,
    /// Moved here.
    pub durable: Arc<DurableHeight>,
    /// Ends the node; raised if the stage fails.
    pub stop: Arc<AtomicBool>,
    /// How far the ledger has been read: nothing is voted on before it was read as far as it went at the start.
    pub scrubbed: ScrubbedHeight,
    /// What of it is damaged.
    pub damages: Damages,
}

/// What is set.
#[derive(Clone, Debug)]
pub struct Set {
    /// Of agreement.
    pub replicate: config::Replicate,
    /// Whether time is simulated.
    pub is_lockstep: bool,
    /// Of blocks.
    pub seal: config::Seal,
    /// Pseudonyms.
    pub alias: Alias,
    /// Who admits participants.
    pub registrar: VerifyingKey,
}

/// The stage.
pub struct Replica {
    wiring: Wiring,
    set: Set,
    settled: Line,
    head: Line,
    /// Blocks of the head above the settled line.
    ahead: VecDeque<Executed>,
    /// Blocks above the settled line that sessions were shown: without a gap, each on the one before it.
    shown: VecDeque<Shown>,
    /// Whether the head is good for nothing.
    is_broken: bool,
    pool: Pool,
    /// Cancels that wait for the end of their sessions.
    deposits: BTreeMap<SessionId, Box<VerifiedCommand>>,
    joiners: Joiners,
    /// A proposal that waits until its parent is final.
    parked: Option<Parked>,
    /// Simulated time on its way on.
    step: Option<Step>,
    verifier: Verifier,
    committees: Committees,
    lengths: Lengths,
    certificates: Certificates,
    links: Vec<[u8; 32]>,
    /// Nodes that handed on evidence that does not hold.
    slanderers: HashSet<[u8; 32]>,
    /// Nodes that said of commands that they were seen, and it was not signed.
    forgers: HashSet<[u8; 32]>,
    claims: Claims,
    /// What leaders refused and the market here takes.
    contested: BTreeMap<Hash, Contested>,
    /// The key of this node's links.
    peer: SigningKey,
    /// The term that this node leads, if it does.
    lead: Option<Lead>,
    promise: Promise,
    /// What leaders have told of their order, by epoch and term.
    orders: BTreeMap<(u64, u64), Order>,
    unreceipted: Unreceipted,
    /// The term behind the last one that was given up, and its epoch.
    lost: (u64, u64),
    agreement: simplex::Node,
    /// Who led the last view that was seen here: whose refusals are taken.
    leader: Option<[u8; 32]>,
    /// What is to be told to the others.
    words: Vec<u8>,
    words_due: Option<Instant>,
    untold_due: Instant,
    snapshot_seq: u64,
    /// Height at the start.
    opened: u64,
    meters: Meters,
}

/// A block that is due, and cannot be made yet.
struct Parked {
    slot: Slot,
    chain: Vec<Block>,
    answer: Answer<Option<Vec<u8>>>,
    /// When it is made without a Step, on simulated time.
    due: Instant,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica({} + {})", self.settled.height(), self.ahead.len())
    }
}

impl Replica {
    /// Starts agreement on a ledger whose market stands at its tip.
    ///
    /// # Errors
    /// The ledger's, or no threads.
    pub fn start(
        wiring: Wiring,
        set: Set,
        identity: Identity,
        executor: Executor,
        store: Store,
        metrics: &Metrics,
    ) -> Result<Self, wattbook_ledger::Error> {
        let chain = executor.chain();
        let reader = Reader::open(store.dir())?;
        let Some(genesis) = reader.blocks().next() else {
            return Err(wattbook_ledger::Error::Poisoned);
        };
        let form = Form(chain);
        let block = genesis?.raw.to_vec();
        let block = Block::read(&form, block, usize::MAX).map_err(failed)?;
        let genesis = Genesis {
            format: Arc::new(form),
            block,
        };
        let settled = Line::new(executor, store.anchor());
        let (committees, lengths) = (Committees::default(), Lengths::default());
        learn(&committees, settled.executor().market().committee());
        let schedule: Schedule = settled.executor().market().state().params.schedule();
        let replicate = &set.replicate;
        let settings = Settings {
            chain,
            schedule,
            block_size_max: replicate.block_size_max,
            leader_timeout: Duration::from_millis(replicate.leader_timeout_ms),
            time: match set.is_lockstep {
                true => Time::Simulated,
                false => Time::Real,
            },
            pace: Duration::from_millis(replicate.block_ms),
            border_pause: Duration::from_millis(replicate.border_pause_ms),
        };
        let peer = SigningKey::from_bytes(&identity.peer);
        std::fs::create_dir_all(&identity.folder).map_err(failed)?;
        let promise = Promise::open(identity.folder.join(PROMISE_FILE)).map_err(failed)?;
        let keys = identity.keys();
        let envoy = Envoy {
            calls: wiring.calls.clone(),
            committees: Arc::clone(&committees),
            ballot: identity.ballot,
        };
        let links = identity.peers.iter().map(|peer| peer.key).collect();
        let (snapshot_seq, opened) = (settled.next_seq(), settled.height());
        let mut certificates = Certificates::open(store.dir(), settled.height())?;
        let blocks = FinalBlocks::new(store, form, Arc::clone(&lengths), wiring.damages.clone())?;
        let agreement = simplex::start(settings, keys, &identity.peers, genesis, blocks, envoy).map_err(failed)?;
        // What a crash took off the end agreement has.
        for height in certificates.last() + 1..=settled.height() {
            if let Some(proof) = agreement.proof(height) {
                certificates.append(height, &proof.encode())?;
            }
        }
        let claims = Claims::new(chain, set.replicate.claims_max);
        Ok(Self {
            pool: Pool::new(set.seal.held_max, set.seal.held_size_max),
            wiring,
            set,
            head: settled.clone(),
            settled,
            ahead: VecDeque::new(),
            shown: VecDeque::new(),
            is_broken: false,
            deposits: BTreeMap::new(),
            joiners: Joiners::default(),
            parked: None,
            step: None,
            verifier: Verifier::default(),
            committees,
            lengths,
            certificates,
            links,
            slanderers: HashSet::new(),
            forgers: HashSet::new(),
            claims,
            contested: BTreeMap::new(),
            peer,
            lead: None,
            promise,
            orders: BTreeMap::new(),
            unreceipted: Unreceipted::default(),
            lost: (0, 0),
            agreement,
            leader: None,
            words: Vec::new(),
            words_due: None,
            untold_due: Instant::now() + TOLD_AGAIN,
            snapshot_seq,
            opened,
            meters: Meters::new(metrics),
        })
    }

    /// Runs until a stop comes.
    ///
    /// # Errors
    /// [`Gone`] where another stage ended first, or what is final does not stand here.
    pub fn run(mut self) -> Result<(), Gone> {
        let stopped = self.serve();
        let reason = match stopped {
            Ok(()) => HaltReason::Stopping,
            Err(Gone) => HaltReason::LedgerFailed,
        };
        let seq = self.settled.next_seq() - 1;
        let _ = self.wiring.publish.send(Publication::Halt { reason, seq });
        self.wiring.durable.fail();
        self.wiring.stop.store(true, Ordering::Relaxed);
        // Agreement's calls end with this end of the ring; nobody waits for room in it then.
        let Self {
            wiring, mut agreement, ..
        } = self;
        drop(wiring);
        agreement.stop();
        stopped
    }

    fn serve(&mut self) -> Result<(), Gone> {
        loop {
            let mut due = self.words_due.map_or(self.untold_due, |due| due.min(self.untold_due));
            if let Some(parked) = self.parked.as_ref().filter(|_| self.set.is_lockstep) {
                due = due.min(parked.due);
            }
            match self.wiring.checked.recv_deadline(due)? {
                Some(Checked {
                    outcome: Outcome::Stop, ..
                }) => return Ok(()),
                Some(Checked { session, outcome }) => self.take(session, outcome)?,
                None => {}
            }
            if self.set.is_lockstep {
                self.propose_parked()?;
            }
            let now = Instant::now();
            if now >= self.untold_due {
                self.untold_due = now + TOLD_AGAIN;
                // A leader keeps what it has taken: it has told in which place.
                if self.lead.is_none() {
                    self.pool.forget(FORGOTTEN);
                }
                for command in self.pool.untold(TOLD_AGAIN) {
                    let (kind, payload) = (command.kind, &*command.payload);
                    Word::Command { kind, payload }.put(&mut self.words);
                    if self.words.len() >= WORDS_SIZE_MAX {
                        self.agreement.tell(None, core::mem::take(&mut self.words));
                    }
                }
                self.tell();
                self.tell_step();
            } else if self.words_due.is_some_and(|due| now >= due) {
                self.tell();
            }
            self.meters.waiting.set(self.pool.len() as i64);
            self.meters.ahead.set(self.ahead.len() as i64);
            let (damaged, mended) = self.wiring.damages.counts();
            self.meters.damaged.set(damaged as i64);
            self.meters
                .mended
                .inc_by(mended.saturating_sub(self.meters.mended.get()));
            self.meters.claimed.set(self.claims.len() as i64);
        }
    }

    /// Tells the others what has gathered.
    fn tell(&mut self) {
        self.put_receipts();
        self.send_words();
    }

    fn send_words(&mut self) {
        self.words_due = None;
        if !self.words.is_empty() {
            self.agreement.tell(None, core::mem::take(&mut self.words));
        }
    }

    fn say(&mut self, word: &Word<'_>) {
        word.put(&mut self.words);
        if self.words.len() >= WORDS_SIZE_MAX {
            self.tell();
        } else {
            self.words_due.get_or_insert_with(|| Instant::now() + WORDS_DELAY);
        }
    }

    fn take(&mut self, session: SessionId, outcome: Outcome) -> Result<(), Gone> {
        let market = self.settled.executor().market();
        let publication = match outcome {
            Outcome::Agreement(call) => return self.answer(*call),
            Outcome::Command(command) => return self.wait(session, command),
            // A stop is the loop's.
            Outcome::Stop => return Ok(()),
            Outcome::Subscribe { from } => Publication::Subscribe { session, from },
            Outcome::Join => {
                let (height, seq) = (self.settled.height() + 1, self.settled.next_seq() - 1);
                let books = self.joiners.books(market, height, seq);
                Publication::Join { session, books }
            }
            Outcome::LoggedOn {
                participant,
                grade,
                from,
            } => {
                let account = market.state().accounts.get(participant);
                Publication::Open {
                    session,
                    participant,
                    next_nonce: account.map_or(0, |account| account.nonces.highest()) + 1,
                    grade,
                    from,
                }
            }
            // Nobody here waits for what another node handed on.
            Outcome::Refused { .. } if session >= LINKS_FROM => return Ok(()),
            Outcome::Refused { about, reject, close } => refusal(session, about, reject, 0, close),
            Outcome::Step { participant, time } => return self.take_step(session, participant, time),
            Outcome::OnDisconnect { participant, cancels } => {
                let about = cancels.as_ref().map_or(
                    About {
                        participant: participant.get(),
                        ..About::default()
                    },
                    |cancels| cancels.about,
                );
                match cancels {
                    Some(cancels) => self.deposits.insert(session, cancels),
                    None => self.deposits.remove(&session),
                };
                let kind = HeldKind::OnDisconnect;
                Publication::Held { session, about, kind }
            }
            Outcome::Closed => {
                if let Some(cancels) = self.deposits.remove(&session) {
                    self.wait(session, cancels)?;
                }
                Publication::Closed(session)
            }
        };
        self.wiring.publish.send(publication)
    }

    /// Takes a command into the pool, and tells the others if it is from here.
    fn wait(&mut self, session: SessionId, command: Box<VerifiedCommand>) -> Result<(), Gone> {
        let (about, kind) = (command.about, command.held);
        let origin = if session >= LINKS_FROM {
            Origin::Peer
        } else {
            let (kind, payload) = (command.kind, &*command.payload);
            self.say(&Word::Command { kind, payload });
            Origin::Session(session)
        };
        let name = self.name_to_take(&command);
        let put = self.pool.put(command, origin);
        if let (Ok(true), Some(name)) = (&put, name) {
            self.take_in(name);
        }
        match put {
            Err(reject) if origin != Origin::Peer => {
                let refused = refusal(session, about, reject, 0, false);
                self.wiring.publish.send(refused)
            }
            Ok(_) if self.set.is_lockstep && origin != Origin::Peer => {
                self.wiring.publish.send(Publication::Held { session, about, kind })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn answer(&mut self, call: Call) -> Result<(), Gone> {
        match call {
            Call::Seated { epoch, role } => {
                tracing::info!(epoch, ?role, "an epoch begins");
                if let Some(before) = epoch.checked_sub(1) {
                    self.lead_no_more(before, u64::MAX);
                }
                self.meters.epoch.set(epoch as i64);
                let is_delegate = matches!(role, Role::Delegate { .. });
                self.meters.is_delegate.set(i64::from(is_delegate));
                Ok(())
            }
            Call::Propose { slot, chain, answer } => self.propose(slot, chain, answer, self.patience()),
            Call::Verify {
                slot,
                chain,
                block,
                answer,
            } => {
                self.verify(&slot, &chain, &block, answer);
                Ok(())
            }
            Call::Deliver { block, done } => {
                self.deliver(&block)?;
                done.give(());
                self.end_step()?;
                self.propose_parked()
            }
            Call::Lost(term) => {
                let (epoch, view, leader) = (term.epoch, term.view, term.leader.get());
                tracing::warn!(epoch, term = term.term, view, leader, "a term was given up");
                self.meters.lost_terms.inc();
                // The next term's block may have been asked for before this is told.
                let is_lost = |parked: &mut Parked| (parked.slot.epoch, parked.slot.term) <= (epoch, term.term);
                drop(self.parked.take_if(is_lost));
                self.tell_certified_again();
                self.lead_no_more(epoch, term.term);
                self.lost = self.lost.max((epoch, term.term.saturating_add(1)));
                Ok(())
            }
            Call::Accuse(evidence) => {
                self.accuse(evidence);
                Ok(())
            }
            Call::Heard { from, bytes } => self.hear(from, &bytes),
            Call::Over => {
                tracing::error!("agreement has ended; what it says above is why");
                Err(Gone)
            }
        }
    }

    /// Puts the head on the last of `chain`; `false` where it cannot stand there.
    fn stand_on(&mut self, chain: &[Block]) -> bool {
        let Some(parent) = chain.last() else { return false };
        if !self.is_broken && self.head.digest() == parent.head().digest {
            return true;
        }
        let follows = |line: &Line| {
            let at = line.digest();
            chain.iter().position(|block| block.head().parent == at)
        };
        let first = match follows(&self.head).filter(|_| !self.is_broken) {
            Some(first) => first,
            None => {
                self.meters.rollbacks.inc_by(u64::from(!self.ahead.is_empty()));
                self.head = self.settled.clone();
                self.ahead.clear();
                self.is_broken = false;
                if self.head.digest() == parent.head().digest {
                    return true;
                }
                match follows(&self.head) {
                    Some(first) => first,
                    None => return false,
                }
            }
        };
        for block in &chain[first..] {
            if let Err(why) = self.execute_ahead(block, false) {
                let height = block.head().height;
                tracing::error!(height, %why, "a block that others vote for does not stand here");
                return false;
            }
            self.show();
        }
        true
    }

    /// Executes a block on the head; where it `is_judged`, it may leave out nothing that is owed.
    fn execute_ahead(&mut self, block: &Block, is_judged: bool) -> Result<(), Misfit> {
        // Good again when everything has followed.
        self.is_broken = true;
        let (header, records) = form::parts(block.bytes()).ok_or(Misfit::Bytes)?;
        self.check_signatures(&records)?;
        let told_by = self.settled.height().checked_sub(self.set.replicate.omission_blocks);
        let owed: Vec<&Command> = match told_by.filter(|_| is_judged && !is_full(&self.set, &records)) {
            Some(height) => (self.claims.told_by(height))
                .filter_map(|digest| Some(&self.pool.get(digest)?.command.command))
                .collect(),
            None => Vec::new(),
        };
        let executed = self.head.execute_owing(&header, &records, &owed, &self.set.alias)?;
        if is_judged {
            self.check_order(&executed)?;
        }
        self.ahead.push_back(executed);
        self.is_broken = false;
        Ok(())
    }

    /// Whether every block that the ledger had at the start has been read and holds: nothing is voted on before.
    fn may_vote(&self) -> bool {
        self.wiring.scrubbed.get() >= self.opened && self.wiring.damages.counts().0 == 0
    }

    /// Makes the block that waits, if it can be made now.
    fn propose_parked(&mut self) -> Result<(), Gone> {
        match self.parked.take() {
            Some(Parked {
                slot,
                chain,
                answer,
                due,
            }) => self.propose(slot, chain, answer, due),
            None => Ok(()),
        }
    }

    fn propose(
        &mut self,
        slot: Slot,
        chain: Vec<Block>,
        answer: Answer<Option<Vec<u8>>>,
        due: Instant,
    ) -> Result<(), Gone> {
        self.leader = None;
        if !self.may_vote() || !self.stand_on(&chain) {
            answer.give(None);
            return Ok(());
        }
        if !self.lead(&slot)? {
            answer.give(None);
            return Ok(());
        }
        let market = self.head.executor().market();
        let time = match self.set.is_lockstep {
            true => self.part(due).map(|part| part.whole),
            false => Some(now().max(TimeNs::new(market.state().time.get() + 1))),
        };
        let Some(time) = time.filter(|time| !market.opens_reveal(*time) || self.settled.digest() == slot.parent) else {
            self.parked = Some(Parked {
                slot,
                chain,
                answer,
                due,
            });
            return Ok(());
        };
        let rank = market.committee().and_then(|committee| committee.rank_of(slot.leader));
        let mut open = Open::default();
        let (ticked, refused) = match self.set.is_lockstep {
            true => self.fill_to_step(&mut open, slot.leader, due),
            false => self.fill(&mut open, slot.leader, time),
        };
        if let Err(refusal) = ticked {
            tracing::error!(time = time.get(), reject = %refusal.reject, "a Tick was refused");
            answer.give(None);
            return Ok(());
        }
        let Slot {
            height,
            epoch,
            view,
            leader,
            ..
        } = slot;
        let turn = Turn {
            height,
            epoch,
            view,
            producer: leader,
        };
        let rank = rank.and_then(|rank| u32::try_from(rank).ok()).unwrap_or(u32::MAX);
        match self.head.seal(open, &turn, rank, &self.set.alias) {
            Ok((executed, bytes)) => {
                self.is_broken = false;
                self.ahead.push_back(executed);
                self.meters.proposed.inc();
                answer.give(Some(bytes));
                self.show();
            }
            Err(why) => {
                tracing::error!(height, view, %why, "no block can be made in this turn");
                answer.give(None);
            }
        }
        for (digest, refusal) in refused {
            let (reject, original_seq) = (refusal.reject, refusal.original_seq);
            self.say(&Word::Refusal {
                digest,
                reject,
                original_seq,
            });
            self.refuse(&digest, reject, original_seq)?;
        }
        Ok(())
    }

    /// Begins a block with its Tick; then comes what waits, as much as fits. The head is good again when it is sealed.
    fn fill(&mut self, open: &mut Open, leader: ParticipantId, time: TimeNs) -> Filled {
        self.is_broken = true;
        let ticked = self.head.tick_to(open, time);
        if ticked.is_err() {
            return (ticked, Vec::new());
        }
        let proposed = self.proposed();
        let waiting = self.pool.iter().filter(|waiting| !proposed.contains(&waiting.digest));
        let (refused, _) = fill(&self.set, &mut self.head, open, leader, waiting);
        (ticked, refused)
    }

    /// Begins a block with what comes before a Step, as much as fits; then comes its Tick. The head is good again when it is sealed.
    fn fill_to_step(&mut self, open: &mut Open, leader: ParticipantId, due: Instant) -> Filled {
        // What is there was asked for a moment ago; if it were not, nothing would be in the block but a Tick.
        let Some(Part { commands, whole, short }) = self.part(due) else {
            return (Ok(()), Vec::new());
        };
        // The part borrows the pool, and the head moves on.
        let commands: Vec<Hash> = commands.iter().map(|waiting| waiting.digest).collect();
        self.is_broken = true;
        let waiting = commands.iter().filter_map(|digest| self.pool.get(digest));
        let (refused, is_whole) = fill(&self.set, &mut self.head, open, leader, waiting);
        let ticked = self.head.tick_to(open, if is_whole { whole } else { short });
        (ticked, refused)
    }

    /// The commands of the blocks ahead.
    fn proposed(&self) -> HashSet<Hash> {
        self.ahead
            .iter()
            .flat_map(|block| block.commands.iter().copied())
            .collect()
    }

    fn verify(&mut self, slot: &Slot, chain: &[Block], block: &Block, answer: Answer<bool>) {
        // What its parent cannot be had for cannot be judged, and is not answered; nor is a node whose own blocks may be damaged a
        // witness to any.
        if !self.may_vote() || !self.stand_on(chain) {
            return;
        }
        let committee = self.head.executor().market().committee();
        let seat = committee.and_then(|committee| {
            let rank = committee.rank_of(slot.leader)?;
            committee.seats().get(rank)
        });
        self.leader = seat.map(|seat| seat.peer_key);
        let since = Instant::now();
        let executed = self.execute_ahead(block, true);
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.meters.executed_us.inc_by(took);
        match executed {
            Ok(()) => {
                self.meters.verified.inc();
                answer.give(true);
                self.show();
            }
            Err(why) => {
                tracing::warn!(height = slot.height, view = slot.view, leader = slot.leader.get(), %why, "refused a block");
                self.meters.refused.inc();
                answer.give(false);
                if let Misfit::Order { of, places } = why {
                    self.tell_order(of, places);
                }
            }
        }
    }

    /// Takes a final block: into the state, to publish, out of the pool.
    fn deliver(&mut self, Final { block, proof }: &Final) -> Result<(), Gone> {
        let height = block.head().height;
        if height <= self.settled.height() {
            return Ok(());
        }
        let every = self.set.seal.snapshot_records;
        if every != 0 && self.settled.next_seq() - self.snapshot_seq >= every {
            self.settled.begin_image();
            self.snapshot_seq = self.settled.next_seq();
        }
        let parts = form::parts(block.bytes());
        let had_no_room = parts.as_ref().is_some_and(|(_, records)| is_full(&self.set, records));
        let leader = parts
            .as_ref()
            .and_then(|(header, _)| producer(self.settled.executor().market(), header));
        let executed = parts
            .ok_or(Misfit::Bytes)
            .and_then(|(header, records)| self.settled.execute(&header, &records, &self.set.alias));
        let Executed {
            header,
            digest,
            events,
            commands,
            names,
        } = executed.map_err(|why| {
            tracing::error!(height, %why, "a final block does not stand here: this node is not as the others are");
            Gone
        })?;
        if let Some(proof) = proof
            && let Err(error) = self.certificates.append(height, &proof.encode())
        {
            tracing::error!(height, %error, "a certificate cannot be kept");
            return Err(Gone);
        }
        match self.shown.front() {
            Some(shown) if shown.digest == digest => drop(self.shown.pop_front()),
            _ => self.revoke(height),
        }
        self.wiring.publish.send(Publication::Events { height, events })?;
        if let Some(image) = self.settled.take_image() {
            self.wiring.publish.send(Publication::Image(Box::new(image)))?;
        }
        for command in &commands {
            self.pool.take(command);
        }
        self.pack_order(&header, &names);
        self.forget_before_step(&commands);
        self.settle_contested()?;
        self.learn_keys(block);
        match self.ahead.front() {
            Some(front) if front.digest == digest => drop(self.ahead.pop_front()),
            // Whoever votes again takes the head up from here.
            _ => self.is_broken = true,
        }
        learn(&self.committees, self.settled.executor().market().committee());
        self.say_seen(leader, had_no_room);
        let length = {
            let mut lengths = self.lengths.lock().unwrap_or_else(PoisonError::into_inner);
            let length = lengths.remove(&height);
            *lengths = lengths.split_off(&height);
            length.unwrap_or_default()
        };
        let seq = self.settled.next_seq() - 1;
        self.wiring.publish.send(Publication::Durable {
            header: Box::new(header),
            digest,
            length,
            seq,
            grade: Grade::Final,
        })?;
        self.wiring.durable.set(height, seq);
        self.meters.height.set(height as i64);
        if let Some(last) = self.meters.last.replace(Instant::now()) {
            self.meters.interval_ms.set(last.elapsed().as_millis() as i64);
        }
        let since = now().get().saturating_sub(header.time.get()) / 1_000;
        self.meters.finality_us.set(i64::try_from(since).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Another node speaks: its commands go to verify, a leader's refusals to the sessions here.
    fn hear(&mut self, from: [u8; 32], bytes: &[u8]) -> Result<(), Gone> {
        let Some(link) = self.links.iter().position(|link| *link == from) else {
            return Ok(());
        };
        let session = LINKS_FROM + link as u64;
        for word in words(bytes) {
            match word {
                Word::Command { kind, payload } => {
                    if self.pool.has(&digest_of(kind, payload)) {
                        continue;
                    }
                    if kind == record_kind::EVIDENCE {
                        self.hear_evidence(from, payload);
                        continue;
                    }
                    let request = match kind {
                        record_kind::REGISTER => {
                            RegisterRecord::decode(payload).map(|r| Request::Register(Box::new(r)))
                        }
                        record_kind::ENVELOPE => {
                            SealedEnvelope::decode(payload).map(|e| Request::Envelope(Box::new(e)))
                        }
                        record_kind::REVEAL => RevealRecord::decode(payload).map(|r| Request::Reveal(Box::new(r))),
                        _ => continue,
                    };
                    if let Ok(request) = request {
                        // Never waited for: verify may be waiting for this stage. Whoever it is from tells it again.
                        self.wiring.jobs.try_send(Job { session, request })?;
                    }
                }
                Word::Refusal {
                    digest,
                    reject,
                    original_seq,
                } if self.leader == Some(from) => self.hear_refusal(&digest, reject, original_seq)?,
                Word::Refusal { .. } => {}
                Word::Step { time, commands } => self.hear_step(time, &commands),
                Word::Seen(seen) => self.hear_seen(from, &seen),
                Word::Certified(certificate) => self.hear_certificate(from, certificate),
                Word::Receipt(receipt) => self.hear_receipt(from, receipt),
            }
        }
        Ok(())
    }

    /// A command will not be recorded: whoever sent it is told.
    fn refuse(&mut self, digest: &Hash, reject: Reject, original_seq: u64) -> Result<(), Gone> {
        self.forget_before_step(core::slice::from_ref(digest));
        let waiting = self.pool.take(digest);
        if let Some(waiting) = &waiting {
            self.forget_place(&waiting.command);
        }
        match waiting {
            Some(waiting) => match waiting.origin {
                Origin::Session(session) => {
                    let about = waiting.command.about;
                    let refused = refusal(session, about, reject, original_seq, false);
                    self.wiring.publish.send(refused)
                }
                Origin::Peer | Origin::Own => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// Whether the block's Ticks were taken, and the commands that were not.
type Filled = (Result<(), Refusal>, Vec<(Hash, Refusal)>);

/// Applies what waits to a block of `leader` under way, as much as fits; what was refused, and whether all of it was taken up.
/// What the leader's own group quotes openly waits for another leader.
fn fill<'a>(
    set: &Set,
    head: &mut Line,
    open: &mut Open,
    leader: ParticipantId,
    waiting: impl Iterator<Item = &'a Waiting>,
) -> (Vec<(Hash, Refusal)>, bool) {
    let (mut refused, mut is_whole) = (Vec::new(), true);
    let size_max = set.replicate.block_size_max.saturating_sub(BLOCK_OVERHEAD);
    #[cfg(test)]
    let waiting = tests::scenes::reordered(head.executor().chain(), leader, waiting);
    for waiting in waiting {
        let command = &waiting.command;
        let size = open.size + command.payload.len() + (open.records.len() + 1) * RECORD_OVERHEAD;
        if open.records.len() >= set.seal.block_records_max {
            return (refused, false);
        }
        if size > size_max {
            // What is larger than a quarter of a block waits until it is the oldest, and nothing waits for it.
            if !set.is_lockstep && command.payload.len() > set.replicate.block_size_max / 4 {
                is_whole = false;
                continue;
            }
            return (refused, false);
        }
        let market = head.executor().market();
        #[cfg(test)]
        if tests::scenes::is_left_out(head.executor().chain(), leader, command) {
            continue;
        }
        if !market.may_pack(leader, &command.command) && market.admits(&command.command).is_ok() {
            continue;
        }
        if let Err(refusal) = head.apply(open, &command.command, command.kind, &command.payload) {
            refused.push((waiting.digest, refusal));
        }
    }
    (refused, is_whole)
}

const fn refusal(session: SessionId, about: About, reject: Reject, original_seq: u64, close: bool) -> Publication {
    Publication::Refused {
        session,
        about,
        reject,
        original_seq,
        close,
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> wattbook_ledger::Error {
    wattbook_ledger::Error::Io {
        action: "start agreement over",
        path: PathBuf::new(),
        source: io::Error::other(error),
    }
}
