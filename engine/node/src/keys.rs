//! Keys of a node on disk: one file each, readable by their owner only, in hex or locked with a passphrase.

pub mod locked;

use ed25519_dalek::SigningKey;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use thiserror::Error;
use wattbook_agreement::ballot::BallotKey;
use wattbook_feed::signed::CandidateKeys;

use self::locked::{Cost, LockedError, Passphrase};

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
    /// The file is locked and no passphrase was given.
    #[error("{} is locked with a passphrase; name the file that has it with --passphrase-file", path.display())]
    NoPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The file is locked and does not open, or cannot be locked.
    #[error("{}: {source}", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LockedError,
    },
    /// The file of the passphrase is empty, or a passphrase was given before.
    #[error("{} holds no passphrase that can be used", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no randomness.
    #[error("no randomness for {}: {source}", path.display())]
    Random {
        /// The file it was for.
        path: PathBuf,
        /// The system's answer.
        source: getrandom::Error,
    },
}

/// The passphrase of this process's key files.
static PASSPHRASE: OnceLock<Passphrase> = OnceLock::new();

/// Takes the passphrase from a file that only its owner may read: from now on keys are written locked with it, and locked
/// ones are opened with it. Keys in hex are read as before.
///
/// # Errors
/// [`KeyFileError`]; also if there is one already.
pub fn use_passphrase(path: &Path) -> Result<(), KeyFileError> {
    let passphrase = Passphrase::new(read_owned(path)?.into_bytes());
    if passphrase.is_empty() || PASSPHRASE.set(passphrase).is_err() {
        return Err(KeyFileError::Passphrase { path: path.to_owned() });
    }
    Ok(())
}

/// A secret as its file holds it.
fn text_of(secret: &[u8; 32], path: &Path, passphrase: Option<&Passphrase>) -> Result<String, KeyFileError> {
    let Some(passphrase) = passphrase else {
        return Ok(hex::encode(secret));
    };
    let (mut salt, mut nonce) = ([0; 16], [0; 24]);
    (getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut nonce))).map_err(|source| KeyFileError::Random {
        path: path.to_owned(),
        source,
    })?;
    locked::lock(secret, passphrase, Cost::default(), &salt, &nonce).map_err(|source| KeyFileError::Locked {
        path: path.to_owned(),
        source,
    })
}

/// Writes a secret anew, locked or in hex: a file beside it takes its name once it is durable.
///
/// # Errors
/// [`KeyFileError`]; [`KeyFileError::NoPassphrase`] to lock without one.
pub fn rewrite(path: &Path, lock: bool) -> Result<(), KeyFileError> {
    let passphrase = match (lock, PASSPHRASE.get()) {
        (true, None) => return Err(KeyFileError::NoPassphrase { path: path.to_owned() }),
        (true, some) => some,
        (false, _) => None,
    };
    let text = text_of(&read(path)?, path, passphrase)?;
    let beside = path.with_extension("key.new");
    put(&beside, &text)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| fs::File::open(path.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()))
        .map_err(|source| KeyFileError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
}

/// Writes a file that must not exist yet, mode 0600.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// The text of a file that only its owner may read.
fn read_owned(path: &Path) -> Result<String, KeyFileError> {
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
    fs::read_to_string(path).map_err(io)
}

/// Writes a secret that must not exist yet, mode 0600, locked if this process has a passphrase.
///
/// # Errors
/// [`KeyFileError`].
pub fn write(dir: &Path, name: &str, secret: &[u8; 32]) -> Result<(), KeyFileError> {
    let folder = dir.join(KEYS_DIR);
    let path = folder.join(name);
    let text = text_of(secret, &path, PASSPHRASE.get())?;
    fs::create_dir_all(&folder)
        .and_then(|()| put(&path, &text))
        .map_err(|source| KeyFileError::Io {
            action: "write",
            path,
            source,
        })
}

/// Reads a secret, opening it if it is locked.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<[u8; 32], KeyFileError> {
    let text = read_owned(path)?;
    let text = text.trim();
    if locked::is_locked(text) {
        let Some(passphrase) = PASSPHRASE.get() else {
            return Err(KeyFileError::NoPassphrase { path: path.to_owned() });
        };
        return locked::unlock(text, passphrase).map_err(|source| KeyFileError::Locked {
            path: path.to_owned(),
            source,
        });
    }
    let mut secret = [0; 32];
    hex::decode_to_slice(text, &mut secret).map_err(|_| KeyFileError::Format { path: path.to_owned() })?;
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
