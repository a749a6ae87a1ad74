//! The calls that reach the disk, and the one place where a test stands between them and the ledger.
//!
//! # Invariants
//! * Every allocation and every sync of a store, its committer and its helper asks the [`Watch`] first; none is on the
//!   path of an append that fits.
//! * A call that failed is never made again as if it had worked; only an allocation that found no room is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::MmapRaw;

use crate::error::Error;

/// What is about to be asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskCall<'a> {
    /// Room for a file.
    Allocate {
        /// The file.
        path: &'a Path,
        /// Its size then, bytes.
        size: u64,
    },
    /// Bytes of a mapped file become durable.
    SyncRange {
        /// The file.
        path: &'a Path,
        /// Offset in the file, bytes.
        at: u64,
        /// How many, bytes.
        len: u64,
    },
    /// A whole file becomes durable.
    SyncFile {
        /// The file.
        path: &'a Path,
    },
    /// The names of a directory become durable.
    SyncDir {
        /// The directory.
        path: &'a Path,
    },
}

/// Asked before every call; an error takes the call's place. [`NO_WATCH`] but in tests.
pub type Watch = fn(DiskCall<'_>) -> io::Result<()>;

/// Lets every call through.
pub const NO_WATCH: Watch = |_| Ok(());

/// Bytes of one mapped file that are to become durable.
#[derive(Clone, Debug)]
pub(crate) struct SyncRange {
    pub(crate) path: PathBuf,
    pub(crate) map: Arc<MmapRaw>,
    pub(crate) at: u64,
    pub(crate) len: u64,
}

impl SyncRange {
    /// Takes the range that follows in the same file in; `false` if `next` is elsewhere.
    pub(crate) fn join(&mut self, next: &Self) -> bool {
        let follows = Arc::ptr_eq(&self.map, &next.map) && self.at + self.len == next.at;
        if follows {
            self.len += next.len;
        }
        follows
    }

    /// Makes the range durable.
    pub(crate) fn sync(&self, watch: Watch) -> Result<(), Error> {
        let (path, at, len) = (self.path.as_path(), self.at, self.len);
        watch(DiskCall::SyncRange { path, at, len })
            .and_then(|()| self.map.flush_range(at as usize, len as usize))
            .map_err(Error::io("sync the segment", path))
    }
}

/// Makes a file's bytes durable.
pub(crate) fn sync_file(path: &Path, file: &File, watch: Watch) -> Result<(), Error> {
    watch(DiskCall::SyncFile { path })
        .and_then(|()| file.sync_data())
        .map_err(Error::io("sync", path))
}

/// Makes a directory's entries durable.
pub(crate) fn sync_dir(path: &Path, watch: Watch) -> Result<(), Error> {
    watch(DiskCall::SyncDir { path }).map_err(Error::io("sync the directory", path))?;
    crate::files::sync_dir(path)
}
