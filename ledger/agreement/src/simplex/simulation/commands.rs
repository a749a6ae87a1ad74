//! Commands that clients hand to every node of a run, and what binds its leaders to them: what f + 1 delegates have long waited
//! for, a block may not leave out (PROTOCOL 7).
//!
//! # Format
//! A block's payload is 32 bytes and the numbers of its commands, u64 little-endian each. What a delegate tells the others of
//! a command that it has waited for (`seen`) is the number, 8 bytes.
//!
//! # What is checked
//! * No command is in the chain twice, and none that nobody handed out.
//! * A command is in the chain [`GRACE`] blocks after it was handed out.

use super::ledger::{Disk, payload};
use crate::{block::Candidate, proof::u64_at};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Bytes of a payload before its commands.
const HEAD: usize = 32;
/// Bytes of a command.
const SIZE: usize = 8;
/// Blocks for which a delegate waits for a command before it tells the others.
const SEEN_AFTER: u64 = 2;
/// Blocks after f + 1 delegates said so, from which on a voter refuses what is without the command.
const OMISSION_BLOCKS: u64 = 4;
/// Blocks within which a command is in the chain, whoever leads.
const GRACE: u64 = 20;

/// The commands of a block, in its order; `None` where there is half a one.
pub(super) fn of(block: &Candidate) -> Option<Vec<u64>> {
    let commands = payload(block).get(HEAD..).unwrap_or_default();
    let whole = commands.len().is_multiple_of(SIZE);
    whole.then(|| commands.chunks_exact(SIZE).map(|bytes| u64_at(bytes, 0)).collect())
}

/// What is wrong with the commands of a chain, given the heights at which they were handed out.
pub(super) fn faults(handed: &[u64], chain: &[Candidate]) -> Vec<String> {
    let mut found: BTreeMap<u64, u64> = (0..).zip(handed.iter().map(|_| 0)).collect();
    let mut faults = Vec::new();
    for block in chain {
        let height = block.head().height;
        for command in of(block).unwrap_or_default() {
            match found.insert(command, height) {
                Some(0) => {}
                Some(first) => faults.push(format!("command {command} is in block {first} and in block {height}")),
                None => faults.push(format!("nobody handed out command {command} of block {height}")),
            }
        }
    }
    for (command, since) in (0..).zip(handed) {
        if found.get(&command) == Some(&0) && since + GRACE <= chain.len() as u64 {
            faults.push(format!("command {command}, handed out at {since}, is in no block"));
        }
    }
    faults
}

/// What one node knows of the commands that are not in the chain yet; a crash loses it.
pub(super) struct Docket {
    /// Heights at which the commands, by number, are handed to every node.
    handed: Arc<Vec<u64>>,
    /// Most delegates that may lie.
    faulty_max: usize,
    /// Ranks that said of a command that they have waited for it.
    seen: BTreeMap<u64, BTreeSet<usize>>,
    /// Height delivered here when more than may lie had said so.
    certified: BTreeMap<u64, u64>,
}

impl Docket {
    pub(super) fn new(handed: Arc<Vec<u64>>, seats: usize) -> Self {
        Self {
            handed,
            faulty_max: (seats - 1) / 3,
            seen: BTreeMap::new(),
            certified: BTreeMap::new(),
        }
    }

    /// What a block on `chain` should have.
    pub(super) fn waiting(&self, chain: &[Candidate], disk: &Disk) -> Vec<u64> {
        let delivered = disk.delivered();
        let before: BTreeSet<u64> = chain.iter().filter_map(of).flatten().collect();
        let has = |command: u64, since: u64| since <= delivered || self.certified.contains_key(&command);
        let known = (0..)
            .zip(self.handed.iter())
            .filter(|(command, since)| has(*command, **since));
        known
            .map(|(command, _)| command)
            .filter(|command| !before.contains(command) && !disk.commands.contains_key(command))
            .collect()
    }

    /// Whether a block on `chain` has what it must, and nothing twice.
    pub(super) fn is_fair(&self, chain: &[Candidate], block: &Candidate, disk: &Disk) -> bool {
        let Some(commands) = of(block) else { return false };
        let height = block.head().height;
        // What was delivered meanwhile says nothing of what this block may have.
        let settled = |command: &u64| disk.commands.get(command).is_some_and(|at| *at < height);
        let mut before: BTreeSet<u64> = chain.iter().filter_map(of).flatten().collect();
        let are_new = commands
            .iter()
            .all(|command| !settled(command) && before.insert(*command));
        let delivered = disk.delivered();
        let due = |(_, since): &(&u64, &u64)| *since + OMISSION_BLOCKS <= delivered;
        let mut due = self.certified.iter().filter(due);
        are_new && due.all(|(command, _)| before.contains(command) || disk.commands.contains_key(command))
    }

    /// What this node, of rank `me`, tells the others now that a block was delivered.
    pub(super) fn overdue(&mut self, me: usize, disk: &Disk) -> Vec<Vec<u8>> {
        let delivered = disk.delivered();
        let waited =
            |(command, since): &(u64, &u64)| **since + SEEN_AFTER <= delivered && !disk.commands.contains_key(command);
        let handed = self.handed.clone();
        let overdue: Vec<u64> = (0..)
            .zip(handed.iter())
            .filter(waited)
            .map(|(command, _)| command)
            .collect();
        overdue
            .into_iter()
            .map(|command| {
                self.note(me, command, delivered);
                command.to_le_bytes().to_vec()
            })
            .collect()
    }

    /// What the node of rank `from` told; noise is passed over.
    pub(super) fn heard(&mut self, from: usize, bytes: &[u8], disk: &Disk) {
        if bytes.len() == SIZE {
            self.note(from, u64_at(bytes, 0), disk.delivered());
        }
    }

    fn note(&mut self, from: usize, command: u64, delivered: u64) {
        // BOUND: as many entries as commands were handed out.
        if command >= self.handed.len() as u64 {
            return;
        }
        let said = self.seen.entry(command).or_default();
        said.insert(from);
        if said.len() > self.faulty_max {
            self.certified.entry(command).or_insert(delivered);
        }
    }
}
