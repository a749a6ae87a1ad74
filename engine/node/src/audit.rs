//! Audits of a ledger: `verify` trusts nothing but the genesis bytes, `replay` rebuilds the state.
//!
//! # Contract
//! [`verify`] reads the files alone and holds every claim in them against what it works out itself:
//! * bytes: checksums, frames, padding, chain, record roots, log roots, commit entries ([`wattbook_ledger::check_in`]);
//! * signatures: commits by the log key, registrations by the registrar with proof of possession and meters, envelopes
//!   by their participants, genesis accounts by theirs; reveals carry none and stand by their commitment;
//! * execution: every record is accepted by the market, every state root, parameter digest, delegates' digest, event
//!   count and event root follows; block 0 says what genesis says;
//! * time: Ticks ascend, none is past its block's time, and a block's time is that of the last Tick.
//!
//! # Order
//! The finding given is the first in the log. Bytes of a block are judged before its records, a record's signature before
//! its execution, records before the header that closes them. Signatures are checked in batches across blocks; what a
//! batch finds goes before anything found behind it. Blocks are read and decoded ahead of their execution
//! ([`crate::execute::ahead`]); what reading finds is said after everything before it was executed.
//!
//! # Absences
//! Nothing is written. Nothing panics, whatever the bytes are. Without an anchor the log says only that it agrees with
//! itself: its genesis, and so every key, could have been made by anybody.

mod finding;

pub use finding::{ChainFault, Detail, Finding, FindingKind};

use crate::execute::ahead::{self, Ahead, DecodedBlock, DecodedRecord, Signed, Stopped, read_ahead};
use crate::execute::{Ended, EventTree, Executor, StartError};
use crate::keys::{self, KeyFileError};
use ed25519_dalek::VerifyingKey;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use thiserror::Error;
use wattbook_feed::signed::{Alias, SealedEnvelope};
use wattbook_ledger::{
    CheckError, Fault, FaultKind, GENESIS_FILE, GenesisRoots, HEADER_SIZE, Reader, Retained, check_in, frame_size,
};
use wattbook_shaders::{Candidate, PublicKey, Verdict, Verifier};
use wattbook_types::tree::Frontier;
use wattbook_types::{ChainId, Command, Hash, ParticipantId, Reject, TimeNs, sha256};

/// Envelopes checked at once.
const BATCH_LEN: usize = 4_096;
/// Leaves held for a batch at most, 48 bytes each.
const BATCH_LEAVES: usize = 1 << 20;
/// Fewer envelopes than this are not worth another thread.
const BATCH_LEN_PER_THREAD: usize = 32;

/// How far a verdict reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// The chain is the one that was asked for.
    Anchored,
    /// The ledger agrees with itself; whose chain it is remains open.
    SelfConsistent,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anchored => "anchored",
            Self::SelfConsistent => "self-consistent only",
        })
    }
}

/// Whether the roots over public events were checked; they need the key that makes pseudonyms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventRoots {
    /// All of them.
    Checked,
    /// The directory holds no alias key.
    NoKey,
    /// It holds one that cannot be read.
    Unreadable,
    /// It holds one that genesis does not commit to.
    OtherKey,
}

impl fmt::Display for EventRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checked => "checked",
            Self::NoKey => "not checked: no alias key",
            Self::Unreadable => "not checked: keys/alias.key cannot be read",
            Self::OtherKey => "not checked: keys/alias.key is not the one that genesis commits to",
        })
    }
}

/// What was counted on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Records.
    pub records: u64,
    /// Registrations.
    pub registrations: u64,
    /// Envelopes.
    pub envelopes: u64,
    /// Leaves of envelopes.
    pub leaves: u64,
    /// Reveals.
    pub reveals: u64,
    /// Ticks.
    pub ticks: u64,
    /// Evidence against delegates.
    pub evidence: u64,
}

/// Where execution of a ledger ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// The chain.
    pub chain: ChainId,
    /// Height of the last block.
    pub height: u64,
    /// Time of the last block.
    pub time: TimeNs,
    /// What was executed.
    pub totals: Totals,
    /// Root of the state.
    pub state_root: Hash,
    /// RFC 9162 root over every block header from height 0 on.
    pub ledger_root: Hash,
}

/// A ledger in which everything holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Where it ends.
    pub end: Replayed,
    /// Digest of the last block.
    pub tip_digest: Hash,
    /// How far the verdict reaches.
    pub trust: Trust,
    /// Signatures of envelopes, commits, admissions and possessions.
    pub signatures: u64,
    /// Whether event roots were checked.
    pub event_roots: EventRoots,
    /// Length of the log, bytes.
    pub length: u64,
    /// Number of segment files.
    pub segments: u64,
}

/// Why a ledger cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It is wrong.
    #[error(transparent)]
    Finding(#[from] Finding),
    /// It cannot be opened.
    #[error(transparent)]
    Ledger(wattbook_ledger::Error),
}

impl From<wattbook_ledger::Error> for ReplayError {
    fn from(error: wattbook_ledger::Error) -> Self {
        match error {
            wattbook_ledger::Error::Damaged(fault) => Self::Finding(fault.into()),
            other => Self::Ledger(other),
        }
    }
}

/// Verifies the ledger in `dir`, against the chain id `anchor` if one is given; `progress` hears of every block.
///
/// # Errors
/// The first [`Finding`] in the log; [`FaultKind::Locked`] while a node runs on the directory.
pub fn verify(dir: &Path, anchor: Option<ChainId>, progress: impl FnMut(u64)) -> Result<Verified, Finding> {
    verify_in(dir, None, anchor, progress)
}

/// Verifies as [`verify`] does, with segments that were moved off read from an archive.
///
/// # Errors
/// As [`verify`]; [`FaultKind::MovedOff`] without the archive.
pub fn verify_in(
    dir: &Path,
    archive: Option<&Path>,
    anchor: Option<ChainId>,
    mut progress: impl FnMut(u64),
) -> Result<Verified, Finding> {
    let genesis_path = dir.join(GENESIS_FILE);
    let genesis = std::fs::read(&genesis_path).map_err(|error| Finding::unreadable(&genesis_path, &error))?;
    if anchor.is_some_and(|anchor| anchor != ChainId(sha256(&[&genesis]))) {
        return Err(Finding::new(ChainFault::Anchor, genesis_path, 0));
    }
    let mut run = Run::start(dir, &genesis)?;
    let genesis = run.executor.genesis();
    let key = |bytes: &[u8; 32], fault| {
        VerifyingKey::from_bytes(bytes).map_err(|_| genesis_finding(dir, Finding::new(fault, &genesis_path, 0)))
    };
    let log_key = key(&genesis.log_key, ChainFault::LogKey)?;
    let registrar = key(&genesis.registrar, ChainFault::RegistrarKey)?;
    let (alias, event_roots) = alias_of(dir, &run.executor);
    let possessions = genesis.accounts.len() as u64;
    run.events = Some(Events {
        alias,
        roots: event_roots == EventRoots::Checked,
    });
    run.signatures = Some(Signatures::new(run.executor.chain(), registrar));

    let read = |ahead: &mut Ahead| check_in(dir, archive, &log_key, |block| ahead.push(block));
    let (executed, outcome) = read_ahead(run.executor.chain(), ahead::Signatures::Keep, read, |block| {
        run.block(block)?;
        progress(block.header.height);
        Ok::<(), Finding>(())
    });
    // Whatever stopped execution or reading lies behind every signature still to be checked.
    run.flush()?;
    executed?;
    let checked = match outcome {
        Ok(checked) => checked,
        Err(CheckError::Fault(fault)) => return Err(fault.into()),
        Err(CheckError::Visit(Stopped)) => unreachable!("reading stops where execution did, which is said before"),
    };
    let totals = run.totals;
    Ok(Verified {
        end: run.end(),
        tip_digest: checked.tip_digest,
        trust: if anchor.is_some() {
            Trust::Anchored
        } else {
            Trust::SelfConsistent
        },
        signatures: possessions
            + 2 * (totals.registrations + totals.evidence)
            + totals.envelopes
            + checked.tip.height
            + 1,
        event_roots,
        length: checked.length,
        segments: checked.segment_count,
    })
}

/// Executes what is committed in `dir`, beside a live node or offline; `progress` hears of every block. Signatures and
/// event roots are not checked.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(dir: &Path, progress: impl FnMut(u64)) -> Result<Replayed, ReplayError> {
    replay_in(dir, None, progress)
}

/// Executes as [`replay`] does, with segments that were moved off read from an archive.
///
/// # Errors
/// [`ReplayError`].
pub fn replay_in(dir: &Path, archive: Option<&Path>, mut progress: impl FnMut(u64)) -> Result<Replayed, ReplayError> {
    let reader = Reader::open_in(dir, archive)?;
    let mut run = Run::start(dir, reader.genesis())?;
    let read = |ahead: &mut Ahead| {
        for block in reader.blocks() {
            if ahead.push(&block?) == Err(Stopped) {
                break;
            }
        }
        Ok::<(), Fault>(())
    };
    let (executed, outcome) = read_ahead(run.executor.chain(), ahead::Signatures::Drop, read, |block| {
        run.block(block)?;
        progress(block.header.height);
        Ok::<(), Finding>(())
    });
    executed?;
    outcome.map_err(Finding::from)?;
    Ok(run.end())
}

/// What is wrong with a genesis: where the segments name another chain, that comes first.
fn genesis_finding(dir: &Path, own: Finding) -> Finding {
    match Reader::open(dir) {
        Err(wattbook_ledger::Error::Damaged(fault)) if fault.kind == FaultKind::Genesis => fault.into(),
        _ => own,
    }
}

/// The pseudonyms with which events are encoded, and whether roots over them can be checked. How many events are public
/// does not depend on the key, so any key will do to count them.
fn alias_of(dir: &Path, executor: &Executor) -> (Alias, EventRoots) {
    let (key, roots) = match keys::read_named(dir, keys::ALIAS_KEY) {
        Ok(key) if Alias::commitment(&key) == executor.genesis().alias_commitment => (key, EventRoots::Checked),
        Ok(_) => ([0; 32], EventRoots::OtherKey),
        Err(KeyFileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            ([0; 32], EventRoots::NoKey)
        }
        Err(_) => ([0; 32], EventRoots::Unreadable),
    };
    (Alias::new(key, executor.chain()), roots)
}

/// Maps the log to its files (docs/ledger-format.md).
#[derive(Debug)]
struct Places {
    dir: PathBuf,
    segment_size: u64,
}

impl Places {
    fn new(dir: &Path) -> Self {
        // The ledger holds the size against every header before it gives a block; until then nothing is located.
        let first = Retained::read(dir).map_or(0, |retained| retained.first());
        let size = std::fs::metadata(dir.join(format!("{first:08}.seg"))).map_or(1, |file| file.len().max(1));
        Self {
            dir: dir.to_owned(),
            segment_size: size,
        }
    }

    /// A fault of the frame at a log offset.
    fn finding(&self, kind: impl Into<FindingKind>, offset: u64, height: u64) -> Finding {
        let file = self.dir.join(format!("{:08}.seg", offset / self.segment_size));
        Finding::new(kind, file, offset % self.segment_size).at_height(height)
    }
}

/// Events of the blocks, where they are checked.
#[derive(Debug)]
struct Events {
    alias: Alias,
    /// Whether the key is the right one.
    roots: bool,
}

/// The execution of a ledger, block by block.
#[derive(Debug)]
struct Run {
    places: Places,
    executor: Executor,
    genesis: GenesisRoots,
    /// Time of the last Tick; genesis time before the first.
    ticked: TimeNs,
    height: u64,
    state_root: Hash,
    headers: Frontier,
    totals: Totals,
    events: Option<Events>,
    signatures: Option<Signatures>,
}

impl Run {
    fn start(dir: &Path, genesis: &[u8]) -> Result<Self, Finding> {
        let (executor, roots) = Executor::start(genesis).map_err(|error| {
            let (fault, detail) = match error {
                StartError::Genesis(error) => (ChainFault::Genesis, Detail::Genesis(error)),
                StartError::Market(reject) => (ChainFault::GenesisMarket, Detail::Reject(reject)),
                StartError::Image(_) | StartError::OtherChain => unreachable!("genesis is no image"),
            };
            genesis_finding(dir, Finding::new(fault, dir.join(GENESIS_FILE), 0).because(detail))
        })?;
        Ok(Self {
            places: Places::new(dir),
            executor,
            genesis: roots,
            ticked: roots.time_ns,
            height: 0,
            state_root: roots.state_root,
            headers: Frontier::new(),
            totals: Totals::default(),
            events: None,
            signatures: None,
        })
    }

    /// Executes a block whose bytes hold, and judges what its header says.
    fn block(&mut self, block: &mut DecodedBlock) -> Result<(), Finding> {
        let header = block.header;
        // BOUND: a block ends with the frame of its header.
        let header_at = block.end - frame_size(HEADER_SIZE as u64);
        if header.chain != self.executor.chain() {
            return Err(self.places.finding(FaultKind::Chain, header_at, header.height));
        }
        let mut tree = EventTree::new();
        let ended = if header.height == 0 {
            let GenesisRoots {
                state_root,
                params_hash,
                dpos_hash,
                ..
            } = self.genesis;
            Ended {
                events: Vec::new(),
                state_root,
                params_hash,
                dpos_hash,
                next_committee: Hash::ZERO,
            }
        } else {
            self.records(block, &mut tree, header_at)?
        };
        let (count, root) = match &self.events {
            None => (header.event_count, header.event_root),
            // No key is needed for the root over no events.
            Some(events) if events.roots || tree.count() == 0 => (tree.count(), tree.root()),
            Some(_) => (tree.count(), header.event_root),
        };
        let rules = [
            (ChainFault::BlockTime, header.time == self.ticked),
            (ChainFault::StateRoot, header.state_root == ended.state_root),
            (ChainFault::ParamsHash, header.params_hash == ended.params_hash),
            (ChainFault::DposHash, header.dpos_hash == ended.dpos_hash),
            (ChainFault::NextCommittee, header.next_committee == ended.next_committee),
            (ChainFault::EventCount, header.event_count == count),
            (ChainFault::EventRoot, header.event_root == root),
        ];
        if let Some((fault, _)) = rules.into_iter().find(|(_, holds)| !holds) {
            return Err(self.places.finding(fault, header_at, header.height));
        }
        self.height = header.height;
        self.state_root = ended.state_root;
        self.headers.push(block.leaf);
        Ok(())
    }

    /// Executes the records of a block and its end.
    fn records(&mut self, block: &mut DecodedBlock, tree: &mut EventTree, header_at: u64) -> Result<Ended, Finding> {
        let header = &block.header;
        for record in &mut block.records {
            self.record(record, header.height, header.time, tree)?;
        }
        let last = header.first_seq.saturating_add(header.record_count).saturating_sub(1);
        let ended = self.executor.end_block_of(header, last);
        let ended = ended.map_err(|why| {
            let finding = self.places.finding(ChainFault::Turn, header_at, header.height);
            finding.because(Detail::Turn(why))
        })?;
        if let Some(events) = &self.events {
            ended.events.iter().for_each(|event| tree.push(event, &events.alias));
        }
        Ok(ended)
    }

    fn record(
        &mut self,
        record: &mut DecodedRecord,
        height: u64,
        block_time: TimeNs,
        tree: &mut EventTree,
    ) -> Result<(), Finding> {
        let (seq, offset, places) = (record.seq, record.offset, &self.places);
        let finding = |fault: ChainFault| places.finding(fault, offset, height).in_record(seq);
        let refused = |fault: ChainFault, reject: Reject| finding(fault).because(Detail::Reject(reject));
        if let (Some(signatures), Some(signed)) = (&mut self.signatures, record.signed.take()) {
            signatures
                .take(signed, (seq, offset), height, &self.executor)
                .map_err(|(fault, reject)| refused(fault, reject))?;
            if signatures.is_full() {
                signatures.flush(places)?;
            }
        }
        let command = (record.command.as_ref()).map_err(|reject| refused(ChainFault::Record, *reject))?;
        match command {
            Command::Tick(time) if *time <= self.ticked => return Err(finding(ChainFault::TickOrder)),
            Command::Tick(time) if *time > block_time => return Err(finding(ChainFault::TickBeyond)),
            Command::Tick(time) => {
                self.ticked = *time;
                self.totals.ticks += 1;
            }
            Command::Register(_) => self.totals.registrations += 1,
            Command::Envelope(envelope) => {
                self.totals.envelopes += 1;
                self.totals.leaves += envelope.items.len() as u64;
            }
            Command::Reveal(_) => self.totals.reveals += 1,
            Command::Evidence(_) => self.totals.evidence += 1,
        }
        let events =
            (self.executor.apply(seq, command)).map_err(|refusal| refused(ChainFault::Refused, refusal.reject))?;
        if let Some(checked) = &self.events {
            events.iter().for_each(|event| tree.push(event, &checked.alias));
        }
        self.totals.records += 1;
        Ok(())
    }

    /// Checks the signatures still to be checked.
    fn flush(&mut self) -> Result<(), Finding> {
        match &mut self.signatures {
            Some(signatures) => signatures.flush(&self.places),
            None => Ok(()),
        }
    }

    fn end(&self) -> Replayed {
        Replayed {
            chain: self.executor.chain(),
            height: self.height,
            time: self.ticked,
            totals: self.totals,
            state_root: self.state_root,
            ledger_root: self.headers.root(),
        }
    }
}

/// An envelope that waits for its batch.
#[derive(Debug)]
struct Pending {
    envelope: SealedEnvelope,
    key: PublicKey,
    seq: u64,
    offset: u64,
    height: u64,
}

/// The signatures of a ledger: registrations at once, envelopes in batches across blocks.
#[derive(Debug)]
struct Signatures {
    chain: ChainId,
    registrar: VerifyingKey,
    /// Keys decompressed so far.
    keys: BTreeMap<ParticipantId, PublicKey>,
    pending: Vec<Pending>,
    pending_leaves: usize,
}

impl Signatures {
    const fn new(chain: ChainId, registrar: VerifyingKey) -> Self {
        Self {
            chain,
            registrar,
            keys: BTreeMap::new(),
            pending: Vec::new(),
            pending_leaves: 0,
        }
    }

    /// Takes in what the record at (number, log offset) has signed, before it is applied.
    fn take(
        &mut self,
        signed: Signed,
        (seq, offset): (u64, u64),
        height: u64,
        executor: &Executor,
    ) -> Result<(), (ChainFault, Reject)> {
        match signed {
            Signed::Register(register) => register.verify(self.chain, &self.registrar).map_err(|reject| {
                let fault = match reject {
                    Reject::BadAdmission => ChainFault::Admission,
                    Reject::BadMeters => ChainFault::Meters,
                    _ => ChainFault::Possession,
                };
                (fault, reject)
            }),
            Signed::Envelope(envelope) => {
                // An unknown sender has no key to check; the market refuses the record.
                if let Some(key) = self.key(ParticipantId::new(envelope.header.participant), executor) {
                    self.pending_leaves += envelope.leaves.len();
                    self.pending.push(Pending {
                        envelope,
                        key,
                        seq,
                        offset,
                        height,
                    });
                }
                Ok(())
            }
            Signed::Evidence(evidence) => {
                let checked = evidence.check(executor.market());
                checked.map_err(|reject| (ChainFault::Evidence, reject))
            }
        }
    }

    /// The key of an account as it stands.
    fn key(&mut self, who: ParticipantId, executor: &Executor) -> Option<PublicKey> {
        let bytes = &executor.market().state().accounts.get(who)?.profile().public_key;
        match self.keys.get(&who) {
            Some(key) if key.as_bytes() == bytes => Some(*key),
            _ => {
                let key = PublicKey::new(bytes).ok()?;
                self.keys.insert(who, key);
                Some(key)
            }
        }
    }

    const fn is_full(&self) -> bool {
        self.pending.len() >= BATCH_LEN || self.pending_leaves >= BATCH_LEAVES
    }

    /// Checks what is pending; the first in the log that does not hold.
    fn flush(&mut self, places: &Places) -> Result<(), Finding> {
        let mut pending = core::mem::take(&mut self.pending);
        self.pending_leaves = 0;
        // Envelopes of one key share a Miller loop, so they go to one thread.
        pending.sort_by_key(|item| (item.envelope.header.participant, item.seq));
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let part_len = pending.len().div_ceil(threads).max(BATCH_LEN_PER_THREAD);
        let chain = self.chain;
        let verdicts: Vec<Verdict> = thread::scope(|scope| {
            let parts = pending
                .chunks(part_len)
                .map(|part| scope.spawn(move || verdicts(chain, part)));
            let parts: Vec<_> = parts.collect();
            let join = |part: thread::ScopedJoinHandle<'_, Vec<Verdict>>| {
                part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            parts.into_iter().flat_map(join).collect()
        });
        assert_eq!(verdicts.len(), pending.len(), "one verdict per envelope");
        let bad = pending.iter().zip(verdicts).filter_map(|(item, verdict)| {
            let (fault, detail) = match verdict {
                Verdict::Valid => return None,
                Verdict::BadCount => (ChainFault::LeafCount, None),
                Verdict::BadRoot => (ChainFault::LeafRoot, None),
                Verdict::BadSignature(error) => (ChainFault::Signature, Some(Detail::Signature(error))),
            };
            Some((item, fault, detail))
        });
        match bad.min_by_key(|(item, _, _)| item.seq) {
            None => Ok(()),
            Some((item, fault, detail)) => {
                let finding = places.finding(fault, item.offset, item.height).in_record(item.seq);
                Err(Finding { detail, ..finding })
            }
        }
    }
}

/// The verdict on every envelope of a part.
fn verdicts(chain: ChainId, part: &[Pending]) -> Vec<Verdict> {
    let candidates: Vec<Candidate<'_>> = part
        .iter()
        .map(|item| Candidate {
            header: &item.envelope.header,
            signature: &item.envelope.signature,
            leaves: item.envelope.leaves.as_flattened(),
            key: &item.key,
            source: item.envelope.header.participant,
        })
        .collect();
    Verifier::default().verify(chain, &candidates)
}
