//! The files of a ledger directory: names, listing, lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use wattbook_types::{ChainId, sha256};

use crate::error::{Error, Fault, FaultKind};
use crate::retention::Retained;

/// File that holds the genesis bytes.
pub const GENESIS_FILE: &str = "genesis.bin";
/// File of signed commit entries.
pub const COMMITS_FILE: &str = "commits.log";
/// File of certificates; a chain without delegates has none.
pub const CERTIFICATES_FILE: &str = "certificates.log";
/// File whose lock keeps a second writer out.
pub const LOCK_FILE: &str = "lock";
const SEGMENT_SUFFIX: &str = ".seg";

/// Path of segment `index`.
pub(crate) fn segment_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:08}{SEGMENT_SUFFIX}"))
}

/// Reads the genesis bytes and their chain id.
pub(crate) fn read_genesis(dir: &Path) -> Result<(Vec<u8>, ChainId), Fault> {
    let path = dir.join(GENESIS_FILE);
    let bytes = std::fs::read(&path).map_err(|source| Fault::unreadable(path, &source))?;
    let chain = ChainId(sha256(&[&bytes]));
    Ok((bytes, chain))
}

/// Number of segments, those that were moved off included; refuses names that no segment has, and gaps.
pub(crate) fn count_segments(dir: &Path) -> Result<u64, Fault> {
    let unreadable = |source: std::io::Error| Fault::unreadable(dir, &source);
    let mut indices = Vec::new();
    for item in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = item.map_err(unreadable)?.path();
        if path.extension().is_none_or(|found| found != &SEGMENT_SUFFIX[1..]) {
            continue;
        }
        let index = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse::<u64>().ok());
        match index {
            Some(index) if segment_path(dir, index) == path => indices.push(index),
            _ => return Err(Fault::new(FaultKind::StraySegment, path, 0)),
        }
    }
    indices.sort_unstable();
    let first = Retained::read(dir)?.first();
    // A move that was interrupted leaves some of what it moved.
    indices.retain(|index| *index >= first);
    for (expected, found) in (first..).zip(&indices) {
        if expected != *found {
            return Err(Fault::new(FaultKind::Missing, segment_path(dir, expected), 0));
        }
    }
    Ok(first + indices.len() as u64)
}

/// Takes the exclusive lock of a directory, creating its file.
pub(crate) fn lock_exclusive(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open the lock", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
    }
}

/// Shares the lock of a directory with other offline readers; `None` in a copy without a lock file.
pub(crate) fn lock_shared(dir: &Path) -> Result<Option<File>, Fault> {
    let path = dir.join(LOCK_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Fault::unreadable(path, &source)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Fault::new(FaultKind::Locked, path, 0)),
        Err(TryLockError::Error(source)) => Err(Fault::unreadable(path, &source)),
    }
}

/// Whether a writer holds the directory. The lock is given back at once, so that no writer finds it taken for long.
pub(crate) fn has_writer(dir: &Path) -> Result<bool, Fault> {
    match lock_shared(dir) {
        Ok(_) => Ok(false),
        Err(fault) if fault.kind == FaultKind::Locked => Ok(true),
        Err(fault) => Err(fault),
    }
}

/// Makes the directory's entries durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(Error::io("sync the directory", dir))
}
