//! The node's [`Store`] as the engine's store of final blocks.
//!
//! The engine files blocks in any order while it catches up; a ledger is written in one. Blocks ahead of the tip stay in
//! memory until the gap below them closes: the engine finds them missing after a crash and fetches them again.

use super::{
    Digest,
    wire::{Carried, Shape, hash},
};
use crate::{block::Candidate, seam::Store};
use commonware_consensus::{Heightable, marshal::store::Blocks, types::Height};
use commonware_storage::archive::Identifier;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A store that the engine and its repair share.
pub(super) struct Shared<S>(Arc<Mutex<S>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Shared<S> {
    pub(super) fn new(store: Arc<Mutex<S>>) -> Self {
        Self(store)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Final blocks in order, and those that came ahead of their turn.
pub(super) struct Archive<S> {
    pub(super) store: Shared<S>,
    pub(super) shape: Shape,
    pub(super) genesis: Candidate,
    pub(super) ahead: BTreeMap<u64, Candidate>,
}

impl<S: Store> Archive<S> {
    fn tip(&self) -> u64 {
        self.store.lock().tip()
    }

    /// The heights from 0 to the tip, then those ahead of it, as ranges.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = vec![(0, self.tip())];
        for &height in self.ahead.keys() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == height => *last = height,
                _ => ranges.push((height, height)),
            }
        }
        ranges
    }
}

impl<S: Store> Blocks for Archive<S> {
    type Block = Arc<Carried>;
    type Error = io::Error;

    async fn put(mut self, _: Digest, block: &Arc<Carried>) -> io::Result<Self> {
        let height = block.height().get();
        {
            let mut store = self.store.lock();
            if height <= store.tip() || self.ahead.contains_key(&height) {
                drop(store);
                return Ok(self);
            }
            if height == store.tip() + 1 {
                store.append(&block.0)?;
                while let Some(next) = self.ahead.remove(&(store.tip() + 1)) {
                    store.append(&next)?;
                }
                drop(store);
                return Ok(self);
            }
        }
        self.ahead.insert(height, block.0.clone());
        Ok(self)
    }

    async fn sync(self) -> io::Result<Self> {
        self.store.lock().sync()?;
        Ok(self)
    }

    async fn get(&self, id: Identifier<'_, Digest>) -> io::Result<Option<Arc<Carried>>> {
        let bytes = match id {
            Identifier::Index(0) => return Ok(Some(Arc::new(Carried(self.genesis.clone())))),
            Identifier::Index(height) => {
                if let Some(block) = self.ahead.get(&height) {
                    return Ok(Some(Arc::new(Carried(block.clone()))));
                }
                self.store.lock().by_height(height)?
            }
            Identifier::Key(key) => {
                let key = hash(key);
                if self.genesis.head().digest == key {
                    return Ok(Some(Arc::new(Carried(self.genesis.clone()))));
                }
                if let Some(block) = self.ahead.values().find(|block| block.head().digest == key) {
                    return Ok(Some(Arc::new(Carried(block.clone()))));
                }
                self.store.lock().by_digest(&key)?
            }
        };
        // Damaged bytes are as good as absent: repair brings them back.
        Ok(bytes
            .and_then(|bytes| self.shape.read(bytes).ok())
            .map(|block| Arc::new(Carried(block))))
    }

    async fn prune(self, _: Height) -> io::Result<Self> {
        Ok(self)
    }

    fn missing_items(&self, start: Height, max: usize) -> Vec<Height> {
        let mut missing = Vec::new();
        let mut next = start.get();
        for (first, last) in self.ranges() {
            let gap = next..first.max(next);
            missing.extend(gap.take(max - missing.len()).map(Height::new));
            if missing.len() == max {
                break;
            }
            next = next.max(last + 1);
        }
        missing
    }

    fn next_gap(&self, value: Height) -> (Option<Height>, Option<Height>) {
        let ranges = self.ranges();
        let value = value.get();
        let end = ranges
            .iter()
            .find(|(first, last)| (*first..=*last).contains(&value))
            .map(|(_, last)| Height::new(*last));
        let next = ranges
            .iter()
            .find(|(first, _)| *first > value)
            .map(|(first, _)| Height::new(*first));
        (end, next)
    }

    fn last_index(&self) -> Option<Height> {
        self.ranges().last().map(|(_, last)| Height::new(*last))
    }
}
