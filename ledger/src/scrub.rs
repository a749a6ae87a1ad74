//! The scrubber: reads a ledger again from genesis, block by block, beside its writer.
//!
//! # Contract
//! * [`Scrub::step`] checks one block as [`check`](crate::check()) would: every byte up to its end, its records, its place in the
//!   chain, its signed commit entry. It writes nothing and holds no lock.
//! * Of a block whose segment was moved off, its kept header is checked against its entry and its place in the chain.
//! * [`Scrub::height`] is a watermark: every block up to it has been read and holds. Whoever opened a ledger from a
//!   snapshot knows the blocks below only from there on, and answers for none above it.
//! * How fast it goes is the caller's: [`Scrubbed::size`] says how many bytes a step has read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use wattbook_types::Hash;

use crate::commits::{COMMIT_SIZE, RawCommit};
use crate::error::{Error, Fault, FaultKind};
use crate::files::COMMITS_FILE;
use crate::log::{End, LOG_START};
use crate::read::Reader;
use crate::retention::Retained;
use crate::scan::Head;

/// A reading of a ledger, from genesis on.
#[derive(Debug)]
pub struct Scrub {
    reader: Reader,
    commits: File,
    path: PathBuf,
    key: VerifyingKey,
    head: Head,
    /// Blocks before this one have been moved off.
    kept_from: u64,
}

/// A block that was read and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Its height.
    pub height: u64,
    /// Its digest.
    pub digest: Hash,
    /// Bytes read.
    pub size: u64,
}

impl Scrub {
    /// Begins at genesis.
    ///
    /// # Errors
    /// [`Error::Damaged`] where not even that can be opened.
    pub fn new(dir: &Path, log_key: VerifyingKey) -> Result<Self, Error> {
        let reader = Reader::open(dir)?;
        let path = dir.join(COMMITS_FILE);
        let commits = File::open(&path).map_err(Error::io("open", &path))?;
        let head = Head::new(reader.chain());
        Ok(Self {
            kept_from: reader.headers_only(),
            reader,
            commits,
            path,
            key: log_key,
            head,
        })
    }

    /// The last block that was read and holds.
    pub fn height(&self) -> Option<u64> {
        self.head.height_next.checked_sub(1)
    }

    /// Reads the next block; `None` at the newest committed one.
    ///
    /// # Errors
    /// The damage; asked again, it is the same.
    pub fn step(&mut self) -> Result<Option<Scrubbed>, Error> {
        let (height, before) = (self.head.height_next, self.head.length);
        let is_there = |reader: &Reader| reader.committed().is_some_and(|commit| commit.height >= height);
        if !is_there(&self.reader) {
            self.reader.refresh()?;
            if !is_there(&self.reader) {
                return Ok(None);
            }
        }
        let fault = |kind| Fault::new(kind, &self.path, height * COMMIT_SIZE).at_height(height);
        let mut bytes = [0; COMMIT_SIZE as usize];
        self.commits
            .read_exact_at(&mut bytes, height * COMMIT_SIZE)
            .map_err(|_| fault(FaultKind::Unreadable))?;
        let entry: RawCommit = bytemuck::pod_read_unaligned(&bytes);
        let commit = entry
            .check(height, before.max(LOG_START), self.reader.chain(), &self.key)
            .map_err(fault)?;
        let log = self.reader.log();
        let mut head = self.head.clone();
        if height < self.kept_from {
            // Its records are elsewhere; its header is what was signed and follows.
            let (raw, _) = self.reader.kept_header(height)?;
            head.skip(&raw, &commit).map_err(fault)?;
            self.head = head;
            return Ok(Some(Scrubbed {
                height,
                digest: commit.digest,
                size: raw.len() as u64 + COMMIT_SIZE,
            }));
        }
        let block = match head.next(log, End::Published(commit.length)) {
            // Moved off since this began.
            Err(moved) if moved.kind == FaultKind::MovedOff => {
                self.kept_from = Retained::read(self.reader.dir())?.blocks();
                return if height < self.kept_from {
                    self.step()
                } else {
                    Err(moved.into())
                };
            }
            read => read?.ok_or_else(|| log.fault(FaultKind::Truncated, before, height))?,
        };
        if (block.end, block.digest) != (commit.length, commit.digest) {
            return Err(fault(FaultKind::CommitMismatch).into());
        }
        let digest = block.digest;
        self.head = head;
        Ok(Some(Scrubbed {
            height,
            digest,
            size: commit.length - before + COMMIT_SIZE,
        }))
    }
}
