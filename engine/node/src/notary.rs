//! Who this log is, and its checkpoints: the ledger's notes under the names that genesis gives.
//!
//! # Contract
//! * A running node keeps the index of its ledger as blocks become durable, and signs a checkpoint of them no more often
//!   than `seal.checkpoint_ms` says, and one when it stops ([`attend`]). Trading never waits for either, and nothing is lost
//!   with them: the index is made from the log again, checkpoints by whoever holds the log key.
//! * Where `tiles.dir` names a folder, every checkpoint's tiles are in it once it was signed, ready to be served as files.
//! * What stood in the log before the node started is read no faster than the scrubber reads (`seal.scrub_mib_s`), for the
//!   index and for the tiles.
//! * A checkpoint that was kept is given out only if it holds under the log's key.

use crate::keys::{self, KeyFileError};
use crate::pace::Pace;
use crate::stage::{DurableHeight, Moved};
use ed25519_dalek::VerifyingKey;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;
use wattbook_feed::signed::{Genesis, GenesisError};
use wattbook_ledger::{
    Certified, FaultKind, HeaderIndex, Note, NoteKey, Reader, checkpoints, export_tiles_paced, newest_certificate,
    origin,
};

/// Bytes of the log that are read for the index at once.
const EXTENT_SIZE: u64 = 4 << 20;

/// Why there is no checkpoint.
#[derive(Debug, Error)]
pub enum NotaryError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    /// The genesis bytes.
    #[error("genesis.bin is not a genesis: {0}")]
    Genesis(#[from] GenesisError),
    /// The log key that genesis names is no key.
    #[error("genesis.bin names a log key that is no Ed25519 key")]
    LogKey,
    /// The log key's file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The file holds another key.
    #[error("keys/log.key is not the log key that genesis names")]
    OtherKey,
    /// No log key here, and no checkpoint was kept that covers what is asked.
    #[error("no kept checkpoint covers block {height} and there is no log key here to sign one")]
    NoCheckpoint {
        /// The block.
        height: u64,
    },
}

/// The key under which a chain's checkpoints are signed, and its name.
///
/// # Errors
/// [`NotaryError::Genesis`], [`NotaryError::LogKey`].
pub fn log_key(genesis: &[u8]) -> Result<NoteKey, NotaryError> {
    let decoded = Genesis::decode(genesis)?;
    let key = VerifyingKey::from_bytes(&decoded.log_key).map_err(|_| NotaryError::LogKey)?;
    let eic = String::from_utf8_lossy(&decoded.eic);
    let name = origin(eic.trim_end_matches('\0'), decoded.chain_id());
    Ok(NoteKey::log(name, key))
}

/// Signs and keeps a checkpoint of the newest committed block; `None` without a log key in the directory.
///
/// Among delegates it is of the newest block whose certificate is here, without that block: its header says the root, and
/// stands in the note with the certificate. Where `covers` would not be covered then, it is of the newest block and has none.
///
/// # Errors
/// [`NotaryError`].
pub fn publish(reader: &Reader, index: &mut HeaderIndex, covers: u64) -> Result<Option<Note>, NotaryError> {
    let key = log_key(reader.genesis())?;
    let secret = match keys::log_key(reader.dir()) {
        Ok(secret) => secret,
        Err(KeyFileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if NoteKey::log(key.name().to_owned(), secret.verifying_key()) != key {
        return Err(NotaryError::OtherKey);
    }
    let certified = newest_certificate(reader.dir(), index.size().saturating_sub(1))?;
    let certified = certified.filter(|(height, _)| *height > covers);
    let size = certified.map_or(index.size(), |(height, _)| height);
    let checkpoint = index.checkpoint(reader, size, key.name().to_owned())?;
    let mut note = Note::sign(checkpoint, &secret);
    if let Some((height, certificate)) = certified
        && let Some(block) = index.blocks(reader, height)?.next()
    {
        let block = block.map_err(wattbook_ledger::Error::from)?;
        let header = block.raw.try_into();
        let certified = header.map(|header| Certified { header, certificate });
        // A certificate of another block is as good as none.
        if !certified.is_ok_and(|certified| note.add_certified(&certified).is_ok()) {
            tracing::warn!(height, "the certificate beside the ledger is not this block's");
        }
    }
    Ok(Some(checkpoints::keep(reader.dir(), &note)?))
}

/// A checkpoint that covers block `height` and nothing beyond the index: the newest such one kept, or a fresh one.
///
/// # Errors
/// [`NotaryError`].
pub fn covering(reader: &Reader, index: &mut HeaderIndex, height: u64) -> Result<Note, NotaryError> {
    let key = log_key(reader.genesis())?;
    // A node that runs beside this may have signed one of blocks that came after the reader looked.
    match checkpoints::newest_up_to(reader.dir(), index.size())? {
        Some(note) if note.checkpoint().size > height && note.verify(&key).is_ok() => Ok(note),
        _ => publish(reader, index, height)?.ok_or(NotaryError::NoCheckpoint { height }),
    }
}

/// What the notary of a running node does, and how fast.
#[derive(Clone, Debug)]
pub struct Office {
    /// The ledger.
    pub dir: PathBuf,
    /// Least time from one checkpoint to the next; zero: none are signed.
    pub every: Duration,
    /// Folder of the tiles, if they are kept.
    pub tiles: Option<PathBuf>,
    /// The last block when the node started.
    pub height: u64,
    /// Bytes of the blocks up to that one that are read a second, at most; zero: no limit.
    pub rate: u64,
}

/// Keeps the index of a running node's ledger, signs its checkpoints and writes their tiles, until no block will come any
/// more.
pub fn attend(office: &Office, durable: &DurableHeight) {
    if let Err(error) = follow(office, durable) {
        tracing::error!(%error, "the node goes on without an index of its ledger and without fresh checkpoints");
    }
}

fn follow(office: &Office, durable: &DurableHeight) -> Result<(), NotaryError> {
    let (dir, every) = (office.dir.as_path(), office.every);
    let mut reader = Reader::open(dir)?;
    let mut index = HeaderIndex::begin(&reader);
    let mut height = 0;
    let (mut signed_at, mut unsigned): (Option<Instant>, bool) = (None, false);
    loop {
        let due = signed_at.map_or_else(Instant::now, |at| at + every);
        let moved = durable.wait_past(height, (unsigned && !every.is_zero()).then_some(due));
        if let Moved::To(newest) = moved {
            height = newest;
            if !catch_up(office, &mut reader, &mut index, durable)? {
                // A stop waits for no index that has to be made anew; the next start goes on with it.
                return Ok(());
            }
            unsigned = true;
        }
        let stopping = moved == Moved::Never;
        if unsigned && !every.is_zero() && (stopping || Instant::now() >= due) {
            signed_at = Some(Instant::now());
            unsigned = false;
            match publish(&reader, &mut index, 0) {
                Ok(note) => {
                    if let (Some(folder), Some(note)) = (&office.tiles, note) {
                        write_tiles(office, &reader, &mut index, &note, folder, durable);
                    }
                }
                // The disk may be full; the next one covers this one's blocks.
                Err(error) => tracing::warn!(%error, "a checkpoint cannot be kept"),
            }
            if !index.is_writer() {
                // A command may have held its files when the node started, or the disk was full.
                index = HeaderIndex::begin(&reader);
                index.extend(&reader)?;
            }
        }
        if stopping {
            return Ok(());
        }
    }
}

/// Brings the index up to the newest committed block; false if the node stops while it is far behind.
fn catch_up(
    office: &Office,
    reader: &mut Reader,
    index: &mut HeaderIndex,
    durable: &DurableHeight,
) -> Result<bool, wattbook_ledger::Error> {
    let mut pace = Pace::new(office.rate);
    loop {
        let before = index.length()?;
        reader.refresh()?;
        let more = match index.extend_by(reader, EXTENT_SIZE) {
            // Moved off between the two; now its headers are known to stand elsewhere.
            Err(wattbook_ledger::Error::Damaged(fault)) if fault.kind == FaultKind::MovedOff => {
                reader.refresh()?;
                index.extend_by(reader, EXTENT_SIZE)?
            }
            extended => extended?,
        };
        if !more {
            return Ok(true);
        }
        let end = index.length()?;
        let left = reader.committed().map_or(0, |newest| newest.length.saturating_sub(end));
        if durable.is_over() && left > EXTENT_SIZE {
            return Ok(false);
        }
        if index.size() <= office.height {
            pace.took(end.saturating_sub(before));
            pace.wait(|| durable.is_over());
        }
    }
}

/// Writes what the folder of tiles lacks. Whoever serves it goes on with what was there where this fails.
fn write_tiles(
    office: &Office,
    reader: &Reader,
    index: &mut HeaderIndex,
    note: &Note,
    folder: &Path,
    durable: &DurableHeight,
) {
    let (mut pace, mut size) = (Pace::new(office.rate), 0);
    let written = export_tiles_paced(index, reader, note, folder, |step| {
        size += step;
        pace.took(step);
        // What a stop would have to wait for is left to the next start.
        if durable.is_over() && size > EXTENT_SIZE {
            return ControlFlow::Break(());
        }
        pace.wait(|| durable.is_over());
        ControlFlow::Continue(())
    });
    match written {
        Ok(Some(done)) => tracing::debug!(from = done.from, to = done.to, files = done.files, "tiles written"),
        Ok(None) => tracing::info!("the node stops before all tiles are written; the next start goes on"),
        Err(error) => tracing::error!(%error, folder = %folder.display(), "tiles cannot be written"),
    }
}
