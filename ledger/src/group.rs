//! Group commit: one sync for every block that was appended while the last sync ran.
//!
//! # Contract
//! * A block is durable when the bytes of its frames, and the name of the segment they lie in, are. Its commit entry,
//!   which the writer signs meanwhile, is written after that and never before; the entry itself becomes durable with the
//!   next idle moment. No more than [`ENTRIES_UNSYNCED_MAX`] durable blocks lack a durable entry: the next group waits.
//!   Recovery writes again what a crash took of those.
//! * A group ends at [`GroupPolicy::size_max`] bytes; with [`GroupPolicy::linger`] it waits that long for company, but
//!   only where the group before had some.
//! * While the committer syncs, the writer appends; it waits where [`GroupPolicy::blocks_max`] blocks are not durable.
//! * After a failed sync both answer [`Error::Poisoned`]: what reached the disk is unknown.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::commits::{COMMIT_SIZE, Commit, RawCommit};
use crate::disk::{SyncRange, Watch, sync_dir, sync_file};
use crate::error::Error;
use crate::files::COMMITS_FILE;
use crate::store::Appended;
use crate::uring::UringSync;

/// Most durable blocks whose commit entries are not.
pub const ENTRIES_UNSYNCED_MAX: u64 = 1024;
/// How long the committer is idle before it makes entries durable.
const IDLE: Duration = Duration::from_millis(20);

/// When a group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    /// Bytes after which a group takes no further block.
    pub size_max: u64,
    /// Most blocks that are appended and not durable.
    pub blocks_max: usize,
    /// How long a group waits for further blocks, if the one before had several.
    pub linger: Duration,
    /// Syncs by io_uring where the kernel grants it, by msync where not; see [`Committer::io_uring_refused`].
    pub io_uring: bool,
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self {
            size_max: 8 << 20,
            blocks_max: 64,
            linger: Duration::ZERO,
            io_uring: false,
        }
    }
}

/// A block that stands in the log and is not durable.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) block: Appended,
    pub(crate) ranges: Vec<SyncRange>,
    /// Whether its segment's name is not durable either.
    pub(crate) renamed: bool,
}

/// What makes blocks durable, and the commit file that says so.
#[derive(Debug)]
pub(crate) struct Commits {
    pub(crate) dir: PathBuf,
    pub(crate) file: File,
    /// The newest durable block.
    pub(crate) committed: Commit,
    /// Height up to which entries are written.
    pub(crate) written_entries: u64,
    /// Height up to which entries are durable.
    pub(crate) durable_entries: u64,
    pub(crate) watch: Watch,
    /// What syncs in place of msync.
    pub(crate) uring: Option<UringSync>,
    /// Held, never read: the exclusive lock ends with the last half of a store.
    pub(crate) _lock: Arc<File>,
}

impl Commits {
    /// Makes consecutive blocks durable by one sync a segment.
    pub(crate) fn sync<'a>(&mut self, group: impl Iterator<Item = &'a Pending> + Clone) -> Result<(), Error> {
        let mut ranges: Vec<SyncRange> = Vec::new();
        for next in group.clone().flat_map(|pending| &pending.ranges) {
            if !ranges.last_mut().is_some_and(|last| last.join(next)) {
                ranges.push(next.clone());
            }
        }
        if group.clone().any(|pending| pending.renamed) {
            sync_dir(&self.dir, self.watch)?;
        }
        match &mut self.uring {
            Some(uring) => uring.sync(&ranges, self.watch)?,
            None => ranges.iter().try_for_each(|range| range.sync(self.watch))?,
        }
        if let Some(last) = group.last() {
            self.committed = last.block.commit();
        }
        Ok(())
    }

    /// Writes the next entries, all of durable blocks.
    pub(crate) fn write(&mut self, entries: &[RawCommit]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let follows = first.height == self.written_entries + 1 || first.height == 0;
        assert!(
            follows && last.height <= self.committed.height,
            "entries are written in order, after their blocks"
        );
        self.file
            .write_all_at(bytemuck::cast_slice(entries), first.height * COMMIT_SIZE)
            .map_err(Error::io("write", self.dir.join(COMMITS_FILE)))?;
        self.written_entries = last.height;
        Ok(())
    }

    /// Makes every written entry durable.
    pub(crate) fn sync_entries(&mut self) -> Result<(), Error> {
        if self.durable_entries < self.written_entries || self.written_entries == 0 {
            sync_file(&self.dir.join(COMMITS_FILE), &self.file, self.watch)?;
            self.durable_entries = self.written_entries;
        }
        Ok(())
    }

    /// Whether a durable block has no written entry.
    const fn unsigned(&self) -> bool {
        self.written_entries < self.committed.height
    }

    /// How many more blocks may become durable before entries must.
    const fn room(&self) -> u64 {
        ENTRIES_UNSYNCED_MAX.saturating_sub(self.committed.height - self.durable_entries)
    }
}

/// What writer and committer share.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Pending>,
    /// Entries of blocks that were handed over, durable or not, and are not written.
    signed: VecDeque<RawCommit>,
    /// Blocks that are being synced.
    in_flight: usize,
    blocks_max: usize,
    committed: Commit,
    closed: bool,
    poisoned: bool,
}

impl State {
    /// Takes the signed entries of durable blocks.
    fn take_signed(&mut self) -> Vec<RawCommit> {
        let durable = (self.signed.iter()).take_while(|entry| entry.height <= self.committed.height);
        let count = durable.count();
        self.signed.drain(..count).collect()
    }
}

impl Queue {
    pub(crate) fn new(committed: Commit, blocks_max: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            signed: VecDeque::new(),
            in_flight: 0,
            blocks_max: blocks_max.max(1),
            committed,
            closed: false,
            poisoned: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The newest durable block.
    pub(crate) fn committed(&self) -> Commit {
        self.lock().committed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a block.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        let mut state = self.lock();
        while !state.poisoned && state.waiting.len() + state.in_flight >= state.blocks_max {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Hands a block over.
    pub(crate) fn push(&self, pending: Pending) {
        self.lock().waiting.push_back(pending);
        self.changed.notify_all();
    }

    /// Hands over the entry of a block that was handed over.
    pub(crate) fn sign(&self, entry: RawCommit) {
        let mut state = self.lock();
        state.signed.push_back(entry);
        // The committer needs it only if it waits for something, or will find it there.
        let late = entry.height <= state.committed.height;
        drop(state);
        if late {
            self.changed.notify_all();
        }
    }

    /// No block will come any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Neither half does anything any more.
    pub(crate) fn fail(&self) {
        self.lock().poisoned = true;
        self.changed.notify_all();
    }
}

/// The half of a store that makes blocks durable; see [`Store::split`](crate::Store::split).
#[derive(Debug)]
pub struct Committer {
    commits: Commits,
    queue: Arc<Queue>,
    policy: GroupPolicy,
    /// Whether the group before had company.
    busy: bool,
    /// Why syncs do not go by io_uring, though they should.
    refused: Option<io::Error>,
}

impl Committer {
    pub(crate) fn new(mut commits: Commits, policy: GroupPolicy) -> (Self, Arc<Queue>) {
        let mut refused = None;
        if policy.io_uring {
            commits.uring = UringSync::new().map_err(|why| refused = Some(why)).ok();
        }
        let queue = Arc::new(Queue::new(commits.committed, policy.blocks_max));
        let committer = Self {
            commits,
            queue: Arc::clone(&queue),
            policy,
            busy: false,
            refused,
        };
        (committer, queue)
    }

    /// The newest durable block.
    pub const fn committed(&self) -> Commit {
        self.commits.committed
    }

    /// Why the kernel grants no io_uring, if it was asked for: syncs go by msync then.
    pub const fn io_uring_refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// Waits for blocks, makes a group of them durable and gives it; `None` once the writer is gone and everything,
    /// entries included, is durable.
    ///
    /// # Errors
    /// [`Error::Io`], after which both halves answer only [`Error::Poisoned`].
    pub fn commit(&mut self) -> Result<Option<Vec<Appended>>, Error> {
        let group = match self.group() {
            Ok(Some(group)) => group,
            Ok(None) => return self.finish().map(|()| None),
            Err(error) => return self.fail(error),
        };
        if let Err(error) = self.commits.sync(group.iter()) {
            return self.fail(error);
        }
        let entries = {
            let mut state = self.queue.lock();
            (state.in_flight, state.committed) = (0, self.commits.committed);
            state.take_signed()
        };
        self.queue.changed.notify_all();
        match self.commits.write(&entries) {
            Ok(()) => Ok(Some(group.into_iter().map(|pending| pending.block).collect())),
            Err(error) => self.fail(error),
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.settle().or_else(|error| self.fail(error))
    }

    /// Makes the entries of durable blocks durable, as far as the writer has signed them.
    fn settle(&mut self) -> Result<(), Error> {
        let entries = self.queue.lock().take_signed();
        self.commits.write(&entries)?;
        self.commits.sync_entries()
    }

    fn fail<T>(&self, error: Error) -> Result<T, Error> {
        self.queue.fail();
        Err(error)
    }

    /// The next group, out of the queue; makes entries durable while there is none, and before there are too many.
    fn group(&mut self) -> Result<Option<Vec<Pending>>, Error> {
        let queue = Arc::clone(&self.queue);
        let mut state = queue.lock();
        loop {
            if state.poisoned {
                return Err(Error::Poisoned);
            }
            let behind = self.commits.durable_entries < self.commits.committed.height;
            if self.commits.room() == 0 {
                // The writer signs each block right after handing it over.
                while !state.poisoned && !state.closed && state.signed.is_empty() && self.commits.unsigned() {
                    state = queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                let closed = state.closed;
                drop(state);
                self.settle()?;
                if closed && self.commits.room() == 0 {
                    // The writer died between a block and its entry.
                    return Err(Error::Poisoned);
                }
                state = queue.lock();
            } else if !state.waiting.is_empty() {
                break;
            } else if state.closed {
                return Ok(None);
            } else if behind {
                let (woken, idle) = (queue.changed)
                    .wait_timeout(state, IDLE)
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if idle.timed_out() && state.waiting.is_empty() {
                    drop(state);
                    self.settle()?;
                    state = queue.lock();
                }
            } else {
                state = queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if self.busy && !self.policy.linger.is_zero() {
            let until = Instant::now() + self.policy.linger;
            while !state.closed && self.take_len(&state.waiting) == state.waiting.len() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() || state.waiting.len() >= self.policy.blocks_max {
                    break;
                }
                state = (queue.changed.wait_timeout(state, left))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        let room = usize::try_from(self.commits.room()).unwrap_or(usize::MAX);
        let len = self.take_len(&state.waiting).min(room);
        let group: Vec<Pending> = state.waiting.drain(..len).collect();
        state.in_flight = group.len();
        self.busy = group.len() > 1 || !state.waiting.is_empty();
        Ok(Some(group))
    }

    /// How many of the waiting blocks fit in a group; one always does.
    fn take_len(&self, waiting: &VecDeque<Pending>) -> usize {
        let mut size = 0;
        let fits = waiting.iter().take_while(|pending| {
            let before = size;
            size += pending.ranges.iter().map(|range| range.len).sum::<u64>();
            before == 0 || size <= self.policy.size_max
        });
        fits.count()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // A writer without a committer must not wait for ever; a clean end has closed the queue before.
        self.queue.fail();
    }
}
