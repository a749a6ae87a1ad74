//! What a simulated delegate runs on top of agreement: a chain of counters, executed and checked, on a disk that forgets
//! what was not synced when its node crashes.
//!
//! # Format
//! ```text
//! parent 32, state root 32, height u64, epoch u64, view u64, time_ns u64, producer u64, seats u32, missed u32 each, payload
//! ```
//! Little-endian; digest = SHA-256 of all of it; state root = SHA-256 of the parent's and the payload.

use super::commands::{self, Docket};
use crate::{
    ballot::{BallotKey, BallotKeys, Namespace},
    block::{Candidate, Format, Head},
    evidence::Evidence,
    proof::{array_at, u64_at},
    seam::{Answer, Application, Final, LostTerm, Mendable, Role, Seating, Slot, Store},
};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use wattbook_types::{
    Hash, ParticipantId, TimeNs,
    committee::{Committee, SEATS_MAX, Seat},
    sha256,
};

/// Bytes before `missed`.
const HEADER: usize = 108;
/// Longest payload.
const PAYLOAD_MAX: usize = 1 << 10;
/// Longest block.
pub(crate) const BLOCK_SIZE_MAX: usize = HEADER + 4 * SEATS_MAX + PAYLOAD_MAX;

/// Locks what no panicking thread leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the simulated blocks are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters;

impl Format for Counters {
    fn head(&self, bytes: &[u8]) -> Option<Head> {
        if bytes.len() < HEADER {
            return None;
        }
        let seats = u32::from_le_bytes(array_at(bytes, 104)) as usize;
        if seats > SEATS_MAX || bytes.len() < HEADER + 4 * seats || bytes.len() > HEADER + 4 * seats + PAYLOAD_MAX {
            return None;
        }
        let missed = (0..seats).map(|rank| u32::from_le_bytes(array_at(bytes, HEADER + 4 * rank)));
        Some(Head {
            digest: sha256(&[bytes]),
            parent: Hash(array_at(bytes, 0)),
            height: u64_at(bytes, 64),
            epoch: u64_at(bytes, 72),
            view: u64_at(bytes, 80),
            time: TimeNs::new(u64_at(bytes, 88)),
            producer: Some(ParticipantId::new(u64_at(bytes, 96))),
            missed: Some(missed.collect()),
        })
    }
}

/// The terms lost that a block counts.
pub(crate) fn missed(head: &Head) -> &[u32] {
    head.missed.as_deref().unwrap_or_default()
}

/// The state root that a block claims.
fn claimed(block: &Candidate) -> Hash {
    Hash(array_at(block.bytes(), 32))
}

/// What a block says beside its head.
pub(crate) fn payload(block: &Candidate) -> &[u8] {
    &block.bytes()[HEADER + 4 * missed(block.head()).len()..]
}

/// The state root after a block on `state`.
fn executed(state: Hash, block: &Candidate) -> Hash {
    sha256(&[&state.0, payload(block)])
}

/// A block for `slot`, on a parent whose state root is `state`.
fn build(slot: &Slot, state: Hash, time: TimeNs, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_SIZE_MAX);
    bytes.extend_from_slice(&slot.parent.0);
    bytes.extend_from_slice(&sha256(&[&state.0, payload]).0);
    for number in [slot.height, slot.epoch, slot.view, time.get(), slot.leader.get()] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    // BOUND: at most SEATS_MAX seats.
    bytes.extend_from_slice(&(slot.missed.len() as u32).to_le_bytes());
    for missed in &slot.missed {
        bytes.extend_from_slice(&missed.to_le_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Height 0.
pub(crate) fn genesis() -> Candidate {
    let slot = Slot {
        height: 0,
        epoch: 0,
        view: 0,
        term: 0,
        leader: ParticipantId::new(0),
        parent: Hash::ZERO,
        missed: Vec::new(),
        is_border: false,
    };
    let bytes = build(&slot, Hash::ZERO, TimeNs::ZERO, &[]);
    Candidate::read(&Counters, bytes, BLOCK_SIZE_MAX).expect("genesis is a block")
}

/// Who stands for election; the place is the rank by emission.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    pub(crate) seats: Vec<Seat>,
    pub(crate) ballots: Vec<BallotKey>,
    /// Seats of the committee; the candidates after them stand by.
    pub(crate) seated: usize,
}

impl Candidates {
    /// Everybody by emission, those of `absent` after the others.
    pub(crate) fn committee(&self, epoch: u64, absent: &[ParticipantId]) -> Committee {
        let mut seats = self.seats.clone();
        seats.sort_by_key(|seat| (absent.contains(&seat.participant), seat.emission));
        seats.truncate(self.seated);
        Committee::new(epoch, seats).expect("candidates have accounts and keys of their own")
    }
}

/// What a crash leaves of a node: blocks, and the state of what was delivered.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) blocks: Vec<Candidate>,
    pub(crate) durable: usize,
    /// Heights whose bytes were flipped on the disk.
    pub(crate) damaged: Vec<u64>,
    /// State root after each delivered block, from genesis on.
    pub(crate) states: Vec<Hash>,
    /// Who sat out each epoch.
    pub(crate) absent: BTreeMap<u64, Vec<ParticipantId>>,
    /// Height of the delivered block that has each command.
    pub(crate) commands: BTreeMap<u64, u64>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            durable: 0,
            damaged: Vec::new(),
            states: vec![claimed(&genesis())],
            absent: BTreeMap::new(),
            commands: BTreeMap::new(),
        }
    }
}

impl Disk {
    /// The last height that was delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// What was not synced is gone.
    pub(crate) fn crash(&mut self) {
        self.blocks.truncate(self.durable);
    }
}

/// The disk as agreement's store.
pub(crate) struct SimulatedStore(pub(crate) Arc<Mutex<Disk>>);

impl SimulatedStore {
    fn held(disk: &Disk, height: u64) -> Option<&Candidate> {
        let place = usize::try_from(height.checked_sub(1)?).ok()?;
        disk.blocks.get(place).filter(|_| !disk.damaged.contains(&height))
    }
}

impl Mendable for SimulatedStore {
    fn by_height(&self, height: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(Self::held(&lock(&self.0), height).map(|block| block.bytes().to_vec()))
    }

    fn damaged(&self) -> Vec<u64> {
        lock(&self.0).damaged.clone()
    }

    fn mend(&mut self, block: &Candidate) -> io::Result<bool> {
        let mut disk = lock(&self.0);
        let height = block.head().height;
        // What its child names as parent was certified with it.
        let child = Self::held(&disk, height + 1);
        if child.is_none_or(|child| child.head().parent != block.head().digest) {
            return Ok(false);
        }
        disk.blocks[height as usize - 1] = block.clone();
        disk.damaged.retain(|damaged| *damaged != height);
        Ok(true)
    }
}

impl Store for SimulatedStore {
    fn tip(&self) -> u64 {
        lock(&self.0).blocks.len() as u64
    }

    fn append(&mut self, block: &Candidate) -> io::Result<()> {
        let mut disk = lock(&self.0);
        assert_eq!(
            block.head().height,
            disk.blocks.len() as u64 + 1,
            "blocks are appended in order"
        );
        disk.blocks.push(block.clone());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = lock(&self.0);
        disk.durable = disk.blocks.len();
        Ok(())
    }

    fn by_digest(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
        let disk = lock(&self.0);
        let place = disk.blocks.iter().position(|block| block.head().digest == *digest);
        let held = place.and_then(|place| Self::held(&disk, place as u64 + 1));
        Ok(held.map(|block| block.bytes().to_vec()))
    }
}

/// What all nodes of a run say, checked as they say it.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// The chain, as whoever delivered a height first had it.
    pub(crate) chain: Vec<Candidate>,
    /// What was broken.
    pub(crate) faults: Vec<String>,
    /// Terms told lost, by (epoch, term).
    pub(crate) lost: BTreeMap<(u64, u64), ParticipantId>,
    pub(crate) accused: Vec<(Evidence, ParticipantId)>,
    /// Roles taken, in the order of time: node, epoch, role.
    pub(crate) roles: Vec<(usize, u64, Role)>,
    pub(crate) proofs: u64,
    /// Blocks verified on a parent that was not delivered yet.
    pub(crate) ahead: u64,
}

/// The application of one delegate.
pub(crate) struct Counter {
    pub(crate) node: usize,
    pub(crate) candidates: Arc<Candidates>,
    pub(crate) namespace: Namespace,
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) witness: Arc<Mutex<Witness>>,
    pub(crate) now: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// A standby takes the seat of whoever lost a term.
    pub(crate) evicts: bool,
    /// What it does wrong where it leads.
    pub(crate) fault: Option<Fault>,
    /// What clients handed to it.
    pub(crate) docket: Docket,
    /// Tells every other node something.
    pub(crate) tell: Box<dyn FnMut(Vec<u8>) + Send>,
}

/// What is wrong with the blocks that a delegate proposes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Another state root than follows.
    Root,
    /// A time that stands still.
    Time,
    /// No command is in them.
    Omission,
}

impl Counter {
    /// The state root after the last block of `chain`; `None` where a block of it claims another.
    fn state_of(&self, chain: &[Candidate]) -> Option<Hash> {
        let disk = lock(&self.disk);
        let first = chain.first()?;
        // What was delivered meanwhile is not executed again.
        let known = (first.head().height as usize).clamp(1, disk.states.len());
        let mut state = disk.states[known - 1];
        for block in chain.iter().filter(|block| block.head().height as usize >= known) {
            state = executed(state, block);
            if state != claimed(block) {
                return None;
            }
        }
        Some(state)
    }
}

impl Application for Counter {
    fn seating(&mut self, epoch: u64) -> Option<Seating> {
        let disk = lock(&self.disk);
        let absent = match epoch {
            0 => &[][..],
            _ => disk.absent.get(&epoch)?,
        };
        let committee = self.candidates.committee(epoch, absent);
        Some(Seating {
            committee,
            ballot: Some(self.candidates.ballots[self.node].clone()),
        })
    }

    fn seated(&mut self, epoch: u64, role: Role) {
        lock(&self.witness).roles.push((self.node, epoch, role));
    }

    fn propose(&mut self, slot: Slot, chain: Vec<Candidate>, answer: Answer<Option<Vec<u8>>>) {
        let parent = chain.last().expect("a chain has the parent");
        let earliest = parent.head().time.get() + 1;
        let time = TimeNs::new(match self.fault {
            Some(Fault::Time) => earliest,
            _ => (self.now)().max(earliest),
        });
        let mut payload = sha256(&[&slot.height.to_le_bytes(), &slot.view.to_le_bytes()])
            .0
            .to_vec();
        if self.fault != Some(Fault::Omission) {
            let waiting = self.docket.waiting(&chain, &lock(&self.disk));
            payload.extend(waiting.iter().flat_map(|command| command.to_le_bytes()));
        }
        let state = self.state_of(&chain).map(|state| match self.fault {
            Some(Fault::Root) => sha256(&[&state.0]),
            _ => state,
        });
        answer.give(state.map(|state| build(&slot, state, time, &payload)));
    }

    fn verify(&mut self, slot: Slot, chain: Vec<Candidate>, block: Candidate, answer: Answer<bool>) {
        let delivered = lock(&self.disk).states.len() as u64;
        lock(&self.witness).ahead += u64::from(slot.height > delivered);
        let is_fair = self.docket.is_fair(&chain, &block, &lock(&self.disk));
        let state = self.state_of(&chain).filter(|_| is_fair);
        answer.give(state.is_some_and(|state| executed(state, &block) == claimed(&block)));
    }

    fn deliver(&mut self, Final { block, proof }: Final, done: Answer<()>) {
        let mut witness = lock(&self.witness);
        let mut disk = lock(&self.disk);
        let head = block.head().clone();
        let place = head.height as usize;
        if place > disk.states.len() {
            witness.faults.push(format!(
                "node {} was given {place} after {}",
                self.node,
                disk.states.len() - 1
            ));
        } else if place == disk.states.len() {
            let state = executed(disk.states[place - 1], &block);
            if state != claimed(&block) {
                witness.faults.push(format!("final block {place} claims another state"));
            }
            disk.states.push(state);
            let commands = commands::of(&block).unwrap_or_default();
            disk.commands
                .extend(commands.into_iter().map(|command| (command, head.height)));
        }
        match witness.chain.get(place - 1) {
            Some(first) if first.head().digest != head.digest => {
                witness.faults.push(format!("two blocks are final at {place}"));
            }
            Some(_) => {}
            None if place == witness.chain.len() + 1 => {
                if let Some(proof) = proof {
                    let absent = disk.absent.get(&head.epoch).map_or(&[][..], |absent| absent);
                    let committee = self.candidates.committee(head.epoch, absent);
                    let checked =
                        BallotKeys::of(&committee).and_then(|keys| proof.verify(&keys, &self.namespace, head.digest));
                    if let Err(reason) = checked {
                        witness.faults.push(format!("certificate of {place}: {reason}"));
                    }
                    witness.proofs += 1;
                }
                witness.chain.push(block.clone());
            }
            None => witness
                .faults
                .push(format!("height {place} came before the one below it")),
        }
        // Without evictions the sum of an epoch still shows in its last block.
        let absent = disk.absent.get(&head.epoch).cloned().unwrap_or_default();
        let committee = self.candidates.committee(head.epoch, &absent);
        let lost = committee
            .seats()
            .iter()
            .zip(missed(&head))
            .filter(|(_, missed)| **missed > 0);
        let lost = lost.map(|(seat, _)| seat.participant).filter(|_| self.evicts).collect();
        disk.absent.insert(head.epoch + 1, lost);
        if self.fault != Some(Fault::Omission) {
            let overdue = self.docket.overdue(self.node, &disk);
            overdue.into_iter().for_each(&mut self.tell);
        }
        drop((disk, witness));
        done.give(());
    }

    fn lost(&mut self, term: LostTerm) {
        lock(&self.witness).lost.insert((term.epoch, term.term), term.leader);
    }

    fn accuse(&mut self, evidence: Evidence) {
        let disk = lock(&self.disk);
        let absent = disk.absent.get(&evidence.round.epoch).map_or(&[][..], |absent| absent);
        let committee = self.candidates.committee(evidence.round.epoch, absent);
        let mut witness = lock(&self.witness);
        // From the bytes, as a third party would.
        let checked = BallotKeys::of(&committee)
            .and_then(|keys| Evidence::decode(&evidence.encode())?.verify(&keys, &self.namespace));
        if let Err(reason) = checked {
            witness.faults.push(format!("evidence: {reason}"));
        }
        witness
            .accused
            .push((evidence, committee.seats()[usize::from(evidence.rank)].participant));
    }

    fn heard(&mut self, from: [u8; 32], bytes: Vec<u8>) {
        if let Some(from) = self.candidates.seats.iter().position(|seat| seat.peer_key == from) {
            self.docket.heard(from, &bytes, &lock(&self.disk));
        }
    }
}
