//! Keys of a node on disk: one hex file each, readable by their owner only.

use ed25519_dalek::SigningKey;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use wattbook_agreement::ballot::BallotKey;
use wattbook_feed::signed::CandidateKeys;

/// Folder of the keys inside a node's directory.
pub const KEYS_DIR: &str = "keys";
/// Signs commits of the ledger.
pub const LOG_KEY: &str = "log.key";
/// Makes pseudonyms.
pub const ALIAS_KEY: &str = "alias.key";
/// Admits participants; kept offline in production.
pub const REGISTRAR_KEY: &str = "registrar.key";

/// Secret of the key of a node's links to others.
pub const PEER_KEY: &str = "peer.key";
/// Secret of a delegate's ballots.
pub const BALLOT_KEY: &str = "ballot.key";

/// Why a key cannot be had.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("cannot {action} the key {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is not 32 bytes in hex.
    #[error("{} does not hold 32 bytes in hex", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("{} may be read by others (mode {mode:03o}); run `chmod 600` on it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Writes a secret that must not exist yet, mode 0600.
///
/// # Errors
/// [`KeyFileError::Io`].
pub fn write(dir: &Path, name: &str, secret: &[u8; 32]) -> Result<(), KeyFileError> {
    let folder = dir.join(KEYS_DIR);
    let path = folder.join(name);
    let write = || -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        writeln!(file, "{}", hex::encode(secret))?;
        file.sync_all()
    };
    write().map_err(|source| KeyFileError::Io {
        action: "write",
        path: path.clone(),
        source,
    })
}

/// Reads a secret.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<[u8; 32], KeyFileError> {
    let io = |source| KeyFileError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let mut secret = [0; 32];
    hex::decode_to_slice(text.trim(), &mut secret).map_err(|_| KeyFileError::Format { path: path.to_owned() })?;
    Ok(secret)
}

/// Reads a secret of a node's directory.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_named(dir: &Path, name: &str) -> Result<[u8; 32], KeyFileError> {
    read(&dir.join(KEYS_DIR).join(name))
}

/// The key that signs commits.
///
/// # Errors
/// [`KeyFileError`].
pub fn log_key(dir: &Path) -> Result<SigningKey, KeyFileError> {
    read_named(dir, LOG_KEY).map(|secret| SigningKey::from_bytes(&secret))
}

/// The secret of a delegate's ballots; an observer has none.
///
/// # Errors
/// [`KeyFileError`].
pub fn ballot_key(dir: &Path) -> Result<Option<[u8; 32]>, KeyFileError> {
    match read_named(dir, BALLOT_KEY) {
        Ok(secret) => Ok(Some(secret)),
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the node of a directory stands for election with.
///
/// # Errors
/// [`KeyFileError`].
pub fn candidate_keys(dir: &Path) -> Result<CandidateKeys, KeyFileError> {
    let peer = SigningKey::from_bytes(&read_named(dir, PEER_KEY)?);
    let path = dir.join(KEYS_DIR).join(BALLOT_KEY);
    let ballot = BallotKey::from_bytes(&read(&path)?).map_err(|_| KeyFileError::Format { path })?;
    Ok(CandidateKeys {
        peer_key: peer.verifying_key().to_bytes(),
        ballot_key: ballot.public(),
        possession: ballot.prove_possession(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_feed::keys::{BlsSecret, holds_ballot_key};

    #[test]
    fn agreement_and_the_feed_prove_a_ballot_key_alike() {
        for secret in 1..4 {
            let bytes: [u8; 32] = std::array::from_fn(|at| if at == 31 { secret } else { 7 });
            let (ballot, bls) = (
                BallotKey::from_bytes(&bytes).unwrap(),
                BlsSecret::from_bytes(&bytes).unwrap(),
            );
            assert_eq!(ballot.public(), bls.public_key());
            assert_eq!(ballot.prove_possession(), bls.prove_ballot_key());
            assert!(holds_ballot_key(&ballot.public(), &ballot.prove_possession()));
        }
    }

    #[test]
    fn a_ballot_key_beyond_the_groups_order_is_none() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), PEER_KEY, &[3; 32]).unwrap();
        write(dir.path(), BALLOT_KEY, &[255; 32]).unwrap();
        let error = candidate_keys(dir.path()).unwrap_err();
        assert!(matches!(error, KeyFileError::Format { .. }), "{error}");
    }
}
