//! Whether this node may vote in an epoch: only with every vote it cast there before.
//!
//! The engine keeps its votes in a journal, synced before each is sent, and truncates it at the first byte that does not
//! check, with a warning, then signs on. A delegate that forgot a vote may cast another: that is how an honest one would
//! break the rule. So the journal is read here first, exactly as the engine will.
//!
//! # Format
//! Two kinds of empty, durable files in the partition `PREFIX-marks`: `votes-EPOCH` before the first vote of an epoch,
//! `barred-EPOCH` when the votes were found damaged or gone. The journal begins with an empty, durable file of its own, for view
//! 0, in which nobody votes: it is there from before the mark on, until the engine prunes it behind files with votes.
//!
//! # Invariants
//! * A journal that a read shortens is damaged, be it only a torn end: votes in it were perhaps sent.
//! * A journal that is gone where `votes-EPOCH` stands was lost.
//! * Barred once is barred for the epoch, across restarts. A disk that lost journal and marks is beyond this: so are the
//!   ballot keys that lay on it.

use super::{Digest, Scheme, seats::Seats};
use commonware_consensus::simplex::types::Artifact;
use commonware_cryptography::certificate::Verifier as _;
use commonware_runtime::{Blob as _, Error, Metrics, ReadOptions, Storage, buffer::paged::CacheRef};
use commonware_storage::journal::segmented::variable::{Config, Journal};
use core::num::NonZeroUsize;
use std::collections::BTreeMap;
use tracing::error;

/// Where and how the engine keeps its votes.
pub(super) struct Place {
    pub(super) prefix: String,
    pub(super) page_cache: CacheRef,
    pub(super) buffer: NonZeroUsize,
}

/// The name of the journal's file of view 0.
const BEGINNING: [u8; 8] = [0; 8];

/// The engine's partition of an epoch.
pub(super) fn partition(prefix: &str, epoch: u64) -> String {
    format!("{prefix}-votes-{epoch}")
}

/// Removes a partition of votes.
pub(super) async fn remove<E: Storage>(context: &E, partition: &str) {
    // What was never written cannot be removed.
    let _ = context.remove(partition, None).await;
}

/// Flips a bit in the last file of a partition of votes, as a failing disk would, once the tasks that had it open are over.
#[cfg(any(test, feature = "simulation"))]
pub(super) async fn flip<E: Storage + commonware_runtime::Clock>(context: &E, partition: &str) {
    let mut names = context.scan(partition).await.unwrap_or_default();
    names.sort();
    for name in names.iter().rev() {
        let mut opened = context.open(partition, name).await;
        for _ in 0..100 {
            if !matches!(opened, Err(Error::BlobAlreadyOpen(..))) {
                break;
            }
            context.sleep(core::time::Duration::from_millis(1)).await;
            opened = context.open(partition, name).await;
        }
        let (file, size) = opened.expect("a file of votes opens");
        if size > 0 {
            // A file's pages are padded: only its beginning is a vote for certain.
            let at = size.min(16) - 1;
            let byte = file
                .read_at(at, 1, ReadOptions::default())
                .await
                .expect("a byte of a vote")
                .coalesce();
            let flipped = byte.as_ref()[0] ^ 1;
            file.write_at(at, vec![flipped], commonware_runtime::WriteOptions::default())
                .await
                .expect("the disk takes a byte");
            file.sync().await.expect("the disk keeps it");
            return;
        }
    }
}

impl Place {
    /// The engine's partition of an epoch.
    pub(super) fn partition(&self, epoch: u64) -> String {
        partition(&self.prefix, epoch)
    }

    fn marks(&self) -> String {
        format!("{}-marks", self.prefix)
    }

    /// Whether this node has every vote it cast in `epoch`; marks what it finds.
    ///
    /// # Panics
    /// If the storage fails.
    pub(super) async fn may_vote<E>(&self, context: &E, epoch: u64, seats: &Seats) -> bool
    where
        E: Storage + Metrics,
    {
        let marks = context.scan(&self.marks()).await.unwrap_or_default();
        let (votes, barred) = (format!("votes-{epoch}"), format!("barred-{epoch}"));
        let marked = |name: &str| marks.iter().any(|mark| mark == name.as_bytes());
        if marked(&barred) {
            return false;
        }
        let before = self.sizes(context, epoch).await;
        let whole = match &before {
            // A file without a beginning.
            None => false,
            // Marked, and then no vote; or the votes are gone, if the journal's beginning is too.
            Some(sizes) if sizes.values().all(|size| *size == 0) => {
                !marked(&votes) || sizes.keys().eq([BEGINNING.as_slice()])
            }
            Some(_) => self.read(context, epoch, seats).await && self.sizes(context, epoch).await == before,
        };
        if whole && !marked(&votes) {
            make(context, &self.partition(epoch), &BEGINNING).await;
        }
        make(context, &self.marks(), if whole { &votes } else { &barred }.as_bytes()).await;
        if !whole {
            error!(
                epoch,
                "votes of this epoch are damaged or lost: not voting before the next"
            );
            self.forget(context, epoch).await;
        }
        whole
    }

    /// Removes the votes of an epoch that is over, or cannot be trusted.
    pub(super) async fn forget<E: Storage>(&self, context: &E, epoch: u64) {
        remove(context, &self.partition(epoch)).await;
    }

    /// The sizes of the journal's files; `None` where the beginning of one is damaged.
    async fn sizes<E: Storage>(&self, context: &E, epoch: u64) -> Option<BTreeMap<Vec<u8>, u64>> {
        let partition = self.partition(epoch);
        let mut sizes = BTreeMap::new();
        for name in context.scan(&partition).await.unwrap_or_default() {
            match context.open(&partition, &name).await {
                Ok((_, size)) => sizes.insert(name, size),
                Err(Error::BlobCorrupt(..) | Error::BlobLayoutMismatch { .. } | Error::BlobVersionMismatch { .. }) => {
                    return None;
                }
                Err(error) => panic!("a file of votes cannot be opened: {error}"),
            };
        }
        Some(sizes)
    }

    /// Reads the journal to its end; false where an entry does not check.
    async fn read<E>(&self, context: &E, epoch: u64, seats: &Seats) -> bool
    where
        E: Storage + Metrics,
    {
        let config = Config {
            partition: self.partition(epoch),
            compression: None,
            codec_config: seats.scheme.certificate_codec_config(),
            page_cache: self.page_cache.clone(),
            write_buffer: self.buffer,
        };
        let Ok(journal) = Journal::<_, Artifact<Scheme, Digest>>::init(context.child("votes"), config).await else {
            return false;
        };
        let Ok(mut entries) = journal.replay(0, 0, self.buffer, ReadOptions::DONT_CACHE).await else {
            return false;
        };
        while let Some(entry) = entries.next().await {
            if entry.is_err() {
                return false;
            }
        }
        entries.finish().is_ok()
    }
}

/// Makes an empty file, if it is not there.
///
/// # Panics
/// If the storage fails.
async fn make<E: Storage>(context: &E, partition: &str, name: &[u8]) {
    let (file, _) = context.open(partition, name).await.expect("a file can be made");
    file.sync().await.expect("a file is durable");
}
