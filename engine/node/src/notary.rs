//! Who this log is, and its checkpoints: the ledger's notes under the names that genesis gives.

use crate::keys::{self, KeyFileError};
use ed25519_dalek::VerifyingKey;
use thiserror::Error;
use wattbook_feed::signed::{Genesis, GenesisError};
use wattbook_ledger::{HeaderIndex, Note, NoteKey, Reader, checkpoints, origin};

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
    match checkpoints::newest(reader.dir())? {
        Some(note) if note.checkpoint().size > height => Ok(note),
        _ => publish(reader, index)?.ok_or(NotaryError::NoCheckpoint { height }),
    }
}
