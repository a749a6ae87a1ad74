//! Who this log is, and its checkpoints: the ledger's notes under the names that genesis gives.
//!
//! # Contract
//! * A running node keeps the index of its ledger as blocks become durable, and signs a checkpoint of them no more often
//!   than `seal.checkpoint_ms` says, and one when it stops ([`attend`]). Trading never waits for either, and nothing is lost
//!   with them: the index is made from the log again, checkpoints by whoever holds the log key.
//! * A checkpoint that was kept is given out only if it holds under the log's key.

use crate::keys::{self, KeyFileError};
use crate::stage::{DurableHeight, Moved};
use ed25519_dalek::VerifyingKey;
use std::path::Path;
use std::time::{Duration, Instant};
use thiserror::Error;
use wattbook_feed::signed::{Genesis, GenesisError};
use wattbook_ledger::{HeaderIndex, Note, NoteKey, Reader, checkpoints, origin};

/// Blocks added to the index at once.
const EXTENT_LEN: u64 = 1_024;

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
/// # Errors
/// [`NotaryError`].
pub fn publish(reader: &Reader, index: &mut HeaderIndex) -> Result<Option<Note>, NotaryError> {
    let key = log_key(reader.genesis())?;
    let secret = match keys::log_key(reader.dir()) {
        Ok(secret) => secret,
        Err(KeyFileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if NoteKey::log(key.name().to_owned(), secret.verifying_key()) != key {
        return Err(NotaryError::OtherKey);
    }
    let checkpoint = index.checkpoint(reader, index.size(), key.name().to_owned())?;
    Ok(Some(checkpoints::keep(reader.dir(), &Note::sign(checkpoint, &secret))?))
}

/// A checkpoint that covers block `height`: the newest one kept, or a fresh one.
///
/// # Errors
/// [`NotaryError`].
pub fn covering(reader: &Reader, index: &mut HeaderIndex, height: u64) -> Result<Note, NotaryError> {
    let key = log_key(reader.genesis())?;
    match checkpoints::newest(reader.dir())? {
        Some(note) if note.checkpoint().size > height && note.verify(&key).is_ok() => Ok(note),
        _ => publish(reader, index)?.ok_or(NotaryError::NoCheckpoint { height }),
    }
}

/// Keeps the index of a running node's ledger and signs its checkpoints, until no block will come any more.
pub fn attend(dir: &Path, durable: &DurableHeight, every: Duration) {
    if let Err(error) = follow(dir, durable, every) {
        tracing::error!(%error, "the node goes on without an index of its ledger and without fresh checkpoints");
    }
}

fn follow(dir: &Path, durable: &DurableHeight, every: Duration) -> Result<(), NotaryError> {
    let mut reader = Reader::open(dir)?;
    let mut index = HeaderIndex::begin(&reader);
    let mut height = 0;
    let (mut signed_at, mut unsigned): (Option<Instant>, bool) = (None, false);
    loop {
        let due = signed_at.map_or_else(Instant::now, |at| at + every);
        let moved = durable.wait_past(height, (unsigned && !every.is_zero()).then_some(due));
        if let Moved::To(newest) = moved {
            height = newest;
            reader.refresh()?;
            while index.extend_by(&reader, EXTENT_LEN)? {
                if durable.is_over()
                    && reader
                        .committed()
                        .is_some_and(|tip| tip.height > index.size() + EXTENT_LEN)
                {
                    // A stop waits for no index that has to be made anew; the next start goes on with it.
                    return Ok(());
                }
            }
            unsigned = true;
        }
        let stopping = moved == Moved::Never;
        if unsigned && !every.is_zero() && (stopping || Instant::now() >= due) {
            signed_at = Some(Instant::now());
            unsigned = false;
            match publish(&reader, &mut index) {
                Ok(_) => {}
                // The disk may be full; the next one covers this one's blocks.
                Err(error) => tracing::warn!(%error, "a checkpoint cannot be kept"),
            }
        }
        if stopping {
            return Ok(());
        }
    }
}
