//! Verified commands that no final block has yet, in the order they came: what a delegate proposes when it leads.
//!
//! # Invariants
//! * A command stays until a final block has it or a leader refused it, so what a revoked block had is proposed again.
//! * Bounded in number and bytes; what is too much is refused as such.

use crate::stage::{SessionId, VerifiedCommand};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use wattbook_types::{Hash, Reject, sha256};

/// Where a command came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A session of this node, which is told what becomes of it.
    Session(SessionId),
    /// Another node, which tells its own sessions.
    Peer,
    /// This node itself, which waits for no answer.
    Own,
}

/// A command that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) command: Box<VerifiedCommand>,
    pub(crate) origin: Origin,
    pub(crate) digest: Hash,
    /// When it came.
    pub(crate) since: Instant,
    told: Instant,
}

/// The commands that wait.
#[derive(Debug)]
pub(crate) struct Pool {
    waiting: BTreeMap<u64, Waiting>,
    places: HashMap<Hash, u64>,
    next: u64,
    size: usize,
    len_max: usize,
    size_max: usize,
}

/// What names a command: its record's kind and payload.
pub(crate) fn digest_of(kind: u16, payload: &[u8]) -> Hash {
    sha256(&[&kind.to_le_bytes(), payload])
}

impl Pool {
    pub(crate) fn new(len_max: usize, size_max: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            size: 0,
            len_max,
            size_max,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The command of this digest.
    pub(crate) fn get(&self, digest: &Hash) -> Option<&Waiting> {
        self.waiting.get(self.places.get(digest)?)
    }

    pub(crate) fn has(&self, digest: &Hash) -> bool {
        self.places.contains_key(digest)
    }

    /// Takes a command in; `false` where it waits already, and its session is told from now on.
    ///
    /// # Errors
    /// [`Reject::HeldTooMany`].
    pub(crate) fn put(&mut self, command: Box<VerifiedCommand>, origin: Origin) -> Result<bool, Reject> {
        let digest = digest_of(command.kind, &command.payload);
        if let Some(known) = self.places.get(&digest).and_then(|at| self.waiting.get_mut(at)) {
            if origin != Origin::Peer {
                known.origin = origin;
            }
            return Ok(false);
        }
        let size = self.size.saturating_add(command.payload.len());
        if self.waiting.len() >= self.len_max || size > self.size_max {
            return Err(Reject::HeldTooMany);
        }
        self.size = size;
        self.places.insert(digest, self.next);
        let told = Instant::now();
        self.waiting.insert(
            self.next,
            Waiting {
                command,
                origin,
                digest,
                since: told,
                told,
            },
        );
        self.next += 1;
        Ok(true)
    }

    /// A command that waits no more.
    pub(crate) fn take(&mut self, digest: &Hash) -> Option<Waiting> {
        let waiting = self.waiting.remove(&self.places.remove(digest)?)?;
        self.size -= waiting.command.payload.len();
        Some(waiting)
    }

    /// Lets go of what other nodes handed on so long ago: they tell it again if it still waits there.
    pub(crate) fn forget(&mut self, age: Duration) {
        let now = Instant::now();
        let old = self
            .waiting
            .values()
            .filter(|waiting| waiting.origin == Origin::Peer && now.saturating_duration_since(waiting.told) >= age);
        let digests: Vec<Hash> = old.map(|waiting| waiting.digest).collect();
        for digest in digests {
            self.take(&digest);
        }
    }

    /// All of them, in the order they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// Those of this node's sessions that nobody was told of for so long; they count as told now.
    pub(crate) fn untold(&mut self, age: Duration) -> impl Iterator<Item = &VerifiedCommand> {
        let now = Instant::now();
        self.waiting.values_mut().filter_map(move |waiting| {
            let is_due = waiting.origin != Origin::Peer && now.saturating_duration_since(waiting.told) >= age;
            is_due.then(|| {
                waiting.told = now;
                &*waiting.command
            })
        })
    }
}
