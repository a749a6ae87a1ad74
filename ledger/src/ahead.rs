//! The helper thread that keeps the writer from waiting: the next segment, made before it is needed, and pages of the
//! current one, made writable a little before they are written.
//!
//! # Contract
//! * The next segment is a file named [`SPARE_FILE`]: allocated, written with zeros so that a later sync of it moves
//!   bytes and no metadata, and durable. It becomes part of the log by its new name only.
//! * Its zeros are written a step a pause of the writer, and in step with a writer that does not pause, so that they are there
//!   when three quarters of the segment before it are full and never stand in a burst before a commit.
//! * Nothing here changes a byte of the log. Without the helper the log is the same, only later.
//! * What the helper cannot do the writer tries itself, and so meets the error where it can be answered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use memmap2::{Advice, MmapRaw};
use wattbook_types::ChainId;

use crate::disk::Watch;
use crate::error::Error;
use crate::segment::{Blank, Segment};

/// Name of the segment that is prepared.
pub(crate) const SPARE_FILE: &str = "spare.segment";
/// How far ahead of the writer pages are made writable, bytes.
const TOUCH_SIZE: u64 = 4 << 20;
/// How far the writer goes before it tells where it stands, bytes.
pub(crate) const TELL_SIZE: u64 = 64 << 10;
/// How much the helper does before it looks where the writer stands, bytes.
const STEP_SIZE: u64 = 256 << 10;
/// How long a pause of the writer lasts before the helper uses it for a step.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the writer stands and what it waits for.
#[derive(Debug, Default)]
struct Job {
    /// The segment that is written, and the writer's place in it.
    tail: Option<(Arc<MmapRaw>, u64)>,
    /// Offset in it up to which pages are being made writable, and up to which they are.
    touched: u64,
    ready: u64,
    /// Index of the segment that is wanted next.
    wanted: Option<u64>,
    /// The writer waits for it.
    urgent: bool,
    /// What became of it.
    made: Option<(u64, Result<Segment, Error>)>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    job: Mutex<Job>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Job)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait<'a>(&self, job: MutexGuard<'a, Job>) -> MutexGuard<'a, Job> {
        self.changed.wait(job).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, as long as a pause lasts at most; whether it was one.
    fn pause<'a>(&self, job: MutexGuard<'a, Job>) -> (MutexGuard<'a, Job>, bool) {
        let (job, waited) = (self.changed)
            .wait_timeout(job, PAUSE)
            .unwrap_or_else(PoisonError::into_inner);
        (job, waited.timed_out())
    }
}

/// The helper.
#[derive(Debug)]
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the helper of the ledger in `dir`.
    pub(crate) fn start(dir: &Path, segment_size: u64, chain: ChainId, watch: Watch) -> io::Result<Self> {
        let (shared, path) = (Arc::new(Shared::default()), dir.join(SPARE_FILE));
        let maker = Maker {
            path: path.clone(),
            segment_size,
            chain,
            watch,
            making: None,
        };
        let theirs = Arc::clone(&shared);
        let thread = (std::thread::Builder::new().name("ahead".into())).spawn(move || maker.run(&theirs))?;
        Ok(Self {
            shared,
            path,
            thread: Some(thread),
        })
    }

    /// Asks for the segment with this index.
    pub(crate) fn prepare(&self, index: u64) {
        self.shared.change(|job| (job.wanted, job.made) = (Some(index), None));
    }

    /// Says where the writer stands, so that what it needs next is there.
    pub(crate) fn follow(&self, map: Arc<MmapRaw>, at: u64) {
        self.shared.change(|job| {
            let same = (job.tail.as_ref()).is_some_and(|(before, _)| Arc::ptr_eq(before, &map));
            if !same {
                (job.touched, job.ready) = (at, at);
            }
            job.touched = job.touched.max(at);
            job.tail = Some((map, at));
        });
    }

    /// Offset up to which pages of a segment are writable.
    pub(crate) fn ready(&self, map: &Arc<MmapRaw>) -> u64 {
        let job = self.shared.lock();
        let same = (job.tail.as_ref()).is_some_and(|(now, _)| Arc::ptr_eq(now, map));
        if same { job.ready } else { 0 }
    }

    /// The prepared segment with this index under its new name, waiting for it if it is being made; `None` if it was
    /// not asked for or could not be made.
    pub(crate) fn take(&self, index: u64, path: &Path) -> Option<Segment> {
        let mut job = self.shared.lock();
        job.urgent = true;
        self.shared.changed.notify_all();
        while job.wanted == Some(index) && !job.closed {
            job = self.shared.wait(job);
        }
        job.urgent = false;
        let (_, made) = job.made.take_if(|(made, _)| *made == index)?;
        drop(job);
        let mut segment = made.ok()?;
        segment.rename(path).ok()?;
        Some(segment)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.change(|job| job.closed = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Not part of the ledger; the next store would remove it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the helper's thread keeps to itself.
struct Maker {
    path: PathBuf,
    segment_size: u64,
    chain: ChainId,
    watch: Watch,
    making: Option<(u64, Blank)>,
}

impl Maker {
    fn run(mut self, shared: &Shared) {
        // However it ends, nobody waits for it any more.
        let _closes = Closes(shared);
        let (mut job, mut paused) = (shared.lock(), false);
        while !job.closed {
            let size = self.segment_size;
            if let Some((map, at)) = &job.tail
                && job.touched < (at + TOUCH_SIZE).min(size)
            {
                let (map, from) = (Arc::clone(map), job.touched);
                let len = STEP_SIZE.min((at + TOUCH_SIZE).min(size) - from);
                job.touched = from + len;
                drop(job);
                // Advice only: a kernel that does not know it faults the pages in when they are written.
                let _ = map.advise_range(Advice::PopulateWrite, from as usize, len as usize);
                job = shared.lock();
                if (job.tail.as_ref()).is_some_and(|(now, _)| Arc::ptr_eq(now, &map)) {
                    job.ready = from + len;
                }
                continue;
            }
            let stands = job.tail.as_ref().map_or(0, |(_, at)| *at);
            // Complete at three quarters of the segment before.
            let due = if job.urgent || paused {
                size
            } else {
                (stands + stands / 3).min(size)
            };
            let Some(index) = job.wanted else {
                job = shared.wait(job);
                continue;
            };
            let behind = (self.making.as_ref()).is_none_or(|(made, blank)| *made != index || blank.filled() < due);
            if !behind && due < size {
                (job, paused) = shared.pause(job);
                continue;
            }
            paused = false;
            drop(job);
            let made = self.make(index, due);
            job = shared.lock();
            if let Some(made) = made {
                job.made = Some((index, made));
                if job.wanted == Some(index) {
                    job.wanted = None;
                }
                shared.changed.notify_all();
            }
        }
    }

    /// One step of a segment, at most to `due`; what became of it once it is done.
    fn make(&mut self, index: u64, due: u64) -> Option<Result<Segment, Error>> {
        let (made, mut blank) = match self.making.take() {
            Some((made, blank)) if made == index => (made, blank),
            other => {
                drop(other);
                match self.create(index) {
                    Ok(blank) => (index, blank),
                    Err(error) => return Some(Err(error)),
                }
            }
        };
        if let Err(error) = blank.fill(due.min(blank.filled() + STEP_SIZE)) {
            return Some(Err(error));
        }
        if blank.filled() == self.segment_size {
            return Some(blank.finish());
        }
        self.making = Some((made, blank));
        None
    }

    /// The file, in place of any that is there.
    fn create(&self, index: u64) -> Result<Blank, Error> {
        match std::fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &self.path)(source)),
            _ => Blank::create(&self.path, index, self.segment_size, self.chain, self.watch),
        }
    }
}

struct Closes<'a>(&'a Shared);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.change(|job| job.closed = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::NO_WATCH;
    use wattbook_types::Hash;

    #[test]
    fn a_segment_is_taken_for_its_own_index_only() {
        let (dir, size, chain) = (tempfile::tempdir().unwrap(), 1 << 20, ChainId(Hash([5; 32])));
        let path = |index: u64| dir.path().join(format!("{index}"));
        let ahead = Ahead::start(dir.path(), size, chain, NO_WATCH).unwrap();
        assert!(ahead.take(1, &path(1)).is_none(), "nobody asked for it");
        ahead.prepare(1);
        assert!(ahead.take(2, &path(2)).is_none());
        let taken = ahead.take(1, &path(1)).unwrap();
        assert!(ahead.take(1, &path(1)).is_none(), "it is there once");
        // Another is made in step with the writer, and at once when the writer waits for it.
        ahead.prepare(2);
        ahead.follow(taken.map(), size / 2);
        let next = ahead.take(2, &path(2)).unwrap();
        ahead.follow(next.map(), 0);
        drop(ahead);
        for index in [1, 2] {
            let segment = Segment::open(&path(index), index, size, chain, false).unwrap();
            assert!(segment.bytes(64, size as usize - 64).iter().all(|byte| *byte == 0));
        }
        assert!(!dir.path().join(SPARE_FILE).exists());
    }
}
