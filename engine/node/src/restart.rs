//! Restarts: what a node writes down of itself, and how it comes back from it.
//!
//! # Contract
//! * A snapshot holds two sections: the image of the state, and the streams that sessions follow. It is written by a thread
//!   of its own; while one is being written the next waits and others are dropped; trading never waits.
//! * [`snapshots`] gives the snapshots that are whole and signed with the log key, whose block stands in the log, and whose
//!   state has the root that this block names, newest first. Every other is passed over, and said to be.
//! * A node that came back from a snapshot answers as one that replayed everything, but that its streams begin where the
//!   snapshot's do: as many messages back as `publish.snapshot_history_len` says.

use crate::config::Retention;
use crate::execute::Executor;
use crate::pace::Pace;
use crate::stage::publish::Streams;
use ed25519_dalek::{SigningKey, VerifyingKey};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use wattbook_ledger::{
    Anchor, COMMITS_FILE, Claim, Error, Fault, FaultKind, GENESIS_FILE, SNAPSHOTS_DIR, Scrub, Snapshot, retain_beside,
};
use wattbook_market::Image;
use wattbook_types::ChainId;

/// Sections of a snapshot.
const STATE: usize = 0;
const STREAMS: usize = 1;
/// How long the scrubber waits for a block from peers before it looks whether the node stops.
const MENDING: Duration = Duration::from_millis(100);

/// A node as it stood after a block.
#[derive(Debug)]
pub struct Restored {
    /// The market.
    pub executor: Executor,
    /// What sessions follow.
    pub streams: Streams,
    /// The block.
    pub anchor: Anchor,
}

/// The snapshots of the ledger in `dir` that hold, newest first, each read when it is asked for.
pub fn snapshots(dir: &Path, genesis: &[u8], key: &VerifyingKey) -> impl Iterator<Item = Restored> {
    let list = Snapshot::list(dir).unwrap_or_else(|error| {
        tracing::warn!(%error, "no snapshot can be looked for");
        Vec::new()
    });
    list.into_iter().filter_map(move |(height, path)| {
        restore(dir, &path, genesis, key)
            .map_err(|why| tracing::warn!(height, path = %path.display(), %why, "a snapshot is passed over"))
            .ok()
    })
}

/// Height and file of a snapshot, and why it does not hold, if so.
pub type CheckedSnapshot = (u64, PathBuf, Result<(), String>);

/// Holds every snapshot of the ledger in `dir` against the block it names.
pub fn check_snapshots(dir: &Path) -> Vec<CheckedSnapshot> {
    let check = |path: &Path| {
        let genesis = std::fs::read(dir.join(GENESIS_FILE)).map_err(|error| error.to_string())?;
        let key = wattbook_feed::signed::Genesis::decode(&genesis).map_err(|error| error.to_string())?;
        let key = VerifyingKey::from_bytes(&key.log_key).map_err(|error| error.to_string())?;
        restore(dir, path, &genesis, &key).map(drop)
    };
    match Snapshot::list(dir) {
        Ok(list) => list
            .into_iter()
            .map(|(height, path)| {
                let held = check(&path);
                (height, path, held)
            })
            .collect(),
        Err(error) => vec![(0, dir.join(SNAPSHOTS_DIR), Err(error.to_string()))],
    }
}

/// The node of the snapshot at `path`.
///
/// # Errors
/// Why it is not to be used, in a sentence.
pub fn restore(dir: &Path, path: &Path, genesis: &[u8], key: &VerifyingKey) -> Result<Restored, String> {
    let chain = wattbook_feed::signed::genesis::chain_id(genesis);
    let snapshot = Snapshot::read(path, chain, key).map_err(|fault| fault.to_string())?;
    let anchor = snapshot.anchor(dir, chain).map_err(|fault| fault.to_string())?;
    let state = snapshot.section(STATE).unwrap_or_default();
    let header = anchor.header();
    let (executor, streams) = thread::scope(|scope| {
        let streams = scope.spawn(|| snapshot.section(STREAMS).and_then(Streams::decode));
        let executor = Executor::restore(genesis, state).map_err(|error| error.to_string());
        let executor = executor.map(|mut executor| (executor.root(), executor));
        (executor, streams.join().unwrap_or_default())
    });
    let (root, executor) = executor?;
    if root != header.state_root || executor.params_hash() != header.params_hash {
        return Err("its state has another root than its block names".to_owned());
    }
    let streams = streams.ok_or("its streams cannot be read")?;
    if streams.height() != header.height || executor.market().state().height != header.height {
        return Err("its sections are of different blocks".to_owned());
    }
    Ok(Restored {
        executor,
        streams,
        anchor,
    })
}

/// What is to be written.
#[derive(Debug)]
pub struct Draft {
    claim: Claim,
    image: Image,
    streams: Streams,
}

/// Follows the durable blocks and hands on what is to be written.
#[derive(Debug)]
pub struct Keeper {
    anchor: Anchor,
    image: Option<Image>,
    drafts: SyncSender<Draft>,
}

impl Keeper {
    /// Follows from a block on; drafts go to the writer.
    pub fn new(anchor: Anchor) -> (Self, Receiver<Draft>) {
        let (drafts, receiver) = sync_channel(1);
        let image = None;
        (Self { anchor, image, drafts }, receiver)
    }

    /// Takes the image of a block that is not durable yet.
    pub fn take_image(&mut self, image: Image) {
        self.image = Some(image);
    }

    /// A block is durable; if its image waits, it goes to the writer with the streams as they are after it.
    pub fn take_block(
        &mut self,
        header: &wattbook_ledger::BlockHeader,
        digest: wattbook_types::Hash,
        length: u64,
        streams: impl FnOnce() -> Streams,
    ) {
        let claim = self.anchor.advance(header, digest, length);
        if let Some(image) = self.image.take_if(|image| image.height() <= header.height)
            && image.height() == header.height
        {
            let streams = streams();
            let sent = self.drafts.try_send(Draft { claim, image, streams });
            if let Err(TrySendError::Full(_)) = sent {
                tracing::warn!(
                    height = header.height,
                    "a snapshot is dropped: two before it are still being written"
                );
            }
        }
    }
}

/// Writes snapshots until nobody makes any more, keeps the newest `keep`, and after each moves off what the policy says.
pub fn write(
    dir: &Path,
    key: &SigningKey,
    chain: ChainId,
    drafts: &Receiver<Draft>,
    keep: usize,
    retention: &Retention,
) {
    while let Ok(Draft { claim, image, streams }) = drafts.recv() {
        let (height, since) = (claim.height, Instant::now());
        let streams = streams.encode();
        let sections = [image.parts().collect(), vec![streams.as_slice()]];
        let written = Snapshot::write(dir, key, chain, &claim, &sections).and_then(|size| {
            let pruned = Snapshot::prune(dir, keep)?;
            Ok((size, pruned))
        });
        match written {
            Ok((size, pruned)) => {
                let ms = since.elapsed().as_millis() as u64;
                tracing::info!(height, size, ms, pruned, "snapshot written");
                move_off(dir, &key.verifying_key(), retention);
            }
            // Nothing is lost with a snapshot: the log has it all.
            Err(error) => tracing::error!(height, %error, "a snapshot cannot be written"),
        }
    }
}

/// Moves segments off as the configuration says.
fn move_off(dir: &Path, key: &VerifyingKey, retention: &Retention) {
    let Some(archive) = retention.archive.as_deref().filter(|_| retention.segments_kept > 0) else {
        return;
    };
    match retain_beside(dir, archive, retention.segments_kept, key) {
        Ok(moved) if moved.segments == 0 => {}
        Ok(moved) => tracing::info!(segments = moved.segments, size = moved.size, "{moved}"),
        // Nothing is lost: the segments stay, and the next snapshot tries again.
        Err(error) => tracing::error!(%error, "segments cannot be moved off"),
    }
}

/// How far the ledger has been read since the node started: what a delegate may vote on.
#[derive(Clone, Debug, Default)]
pub struct ScrubbedHeight(Arc<AtomicU64>);

impl ScrubbedHeight {
    /// Every block up to this one has been read and holds.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, height: u64) {
        self.0.store(height, Ordering::Release);
    }
}

/// Blocks of the ledger that are known to be damaged and are to come from peers, and how many have come.
#[derive(Clone, Debug, Default)]
pub struct Damages(Arc<(Mutex<Known>, Condvar)>);

#[derive(Debug, Default)]
struct Known {
    damaged: BTreeSet<u64>,
    mended: u64,
}

impl Damages {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block is damaged.
    pub(crate) fn report(&self, height: u64) {
        self.known().damaged.insert(height);
    }

    /// A block is whole again.
    pub(crate) fn mended(&self, height: u64) {
        let mut known = self.known();
        known.mended += u64::from(known.damaged.remove(&height));
        self.0.1.notify_all();
    }

    /// Heights of damaged blocks, ascending.
    pub(crate) fn list(&self) -> Vec<u64> {
        self.known().damaged.iter().copied().collect()
    }

    /// Blocks that are damaged, and those that were mended.
    pub fn counts(&self) -> (u64, u64) {
        let known = self.known();
        (known.damaged.len() as u64, known.mended)
    }

    /// Waits until a block is mended, or a moment.
    fn wait(&self, height: u64) {
        let known = self.known();
        if known.damaged.contains(&height) {
            let _ = self.0.1.wait_timeout(known, MENDING);
        }
    }
}

/// The scrubber's settings.
#[derive(Clone, Debug)]
pub struct Scrubbing {
    /// The ledger.
    pub dir: PathBuf,
    /// The log key.
    pub key: VerifyingKey,
    /// The last block that opening took as it stood.
    pub until: u64,
    /// The last block that opening has read.
    pub read: u64,
    /// Bytes read a second, at most; 0: without a limit.
    pub rate: u64,
    /// Where damaged blocks are reported, if peers have them.
    pub damages: Option<Damages>,
}

/// Whether a fault is of a block's bytes, not of its entry or of what was moved off.
fn is_of_block(fault: &Fault) -> bool {
    let is_entry = fault.file.file_name().is_some_and(|name| name == COMMITS_FILE);
    !is_entry && fault.kind != FaultKind::MovedOff
}

/// Reads what opening passed over, at the rate given, until all has been read, damage is found, or the node stops.
pub fn scrub(settings: &Scrubbing, scrubbed: &ScrubbedHeight, stop: &AtomicBool) {
    let mut scrub = match Scrub::new(&settings.dir, settings.key) {
        Ok(scrub) => scrub,
        Err(error) => return tracing::error!(%error, "the scrubber cannot read the ledger"),
    };
    let mut pace = Pace::new(settings.rate);
    while !stop.load(Ordering::Relaxed) {
        match scrub.step() {
            Ok(Some(block)) if block.height < settings.until => {
                scrubbed.set(block.height);
                pace.took(block.size);
            }
            Ok(None) => {
                return tracing::error!(
                    until = settings.until,
                    scrubbed = scrubbed.get(),
                    "the commit file ends before the block that the node started from; `wattbook repair --from COPY` \
                     mends it while the node is stopped"
                );
            }
            Ok(Some(_)) => {
                scrubbed.set(settings.read);
                let (size, ms) = (pace.size(), pace.elapsed().as_millis() as u64);
                return tracing::info!(height = settings.read, size, ms, "every block has been read and holds");
            }
            Err(Error::Damaged(fault)) if settings.damages.is_some() && is_of_block(&fault) => {
                // What was read holds, so this is the next one.
                let height = scrub.height().map_or(0, |height| height + 1);
                tracing::error!(height, %fault, "an old block is damaged; peers are asked for it");
                if let Some(damages) = &settings.damages {
                    damages.report(height);
                    while damages.list().contains(&height) && !stop.load(Ordering::Relaxed) {
                        damages.wait(height);
                    }
                }
            }
            Err(error) => {
                return tracing::error!(
                    %error,
                    scrubbed = scrubbed.get(),
                    "an old block is damaged; `wattbook repair --from COPY` mends it while the node is stopped"
                );
            }
        }
        pace.wait(|| stop.load(Ordering::Relaxed));
    }
}
