//! The strict check behind `wattbook verify`: every byte of every file accounted for.
//!
//! # Invariants
//! * Changing any single byte of any segment, of the commit file or of the genesis bytes gives a [`Fault`].
//! * Nothing is written, nothing panics, whatever the bytes are.

use std::convert::Infallible;
use std::path::Path;

use ed25519_dalek::VerifyingKey;
use thiserror::Error;
use wattbook_types::{ChainId, Hash};

use crate::block::BlockHeader;
use crate::commits::{COMMIT_SIZE, Entries, RawCommit};
use crate::error::{Fault, FaultKind};
use crate::files::{COMMITS_FILE, count_segments, lock_shared, read_genesis, segment_path};
use crate::log::{End, LOG_START, Log, recorded_segment_size};
use crate::scan::{Block, Head};

/// What a whole ledger amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The chain.
    pub chain: ChainId,
    /// Header of the last block.
    pub tip: BlockHeader,
    /// Digest of the last block.
    pub tip_digest: Hash,
    /// Number of records.
    pub record_count: u64,
    /// Length of the log, bytes.
    pub length: u64,
    /// Number of segment files.
    pub segment_count: u64,
}

/// Why a check with a visitor stopped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckError<E> {
    /// The bytes are wrong.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The visitor refused a block.
    #[error("{0}")]
    Visit(E),
}

/// Checks the ledger in `dir` against the log's public key.
///
/// # Errors
/// The first [`Fault`] in reading order; [`FaultKind::Locked`] while a writer is live.
pub fn check(dir: &Path, log_key: &VerifyingKey) -> Result<Checked, Fault> {
    check_with(dir, log_key, |_| Ok::<(), Infallible>(())).map_err(|stopped| match stopped {
        CheckError::Fault(fault) => fault,
        CheckError::Visit(never) => match never {},
    })
}

/// Checks as [`check`] does, and gives each block to `visit` once everything up to its end is checked.
///
/// # Errors
/// [`CheckError::Fault`], or [`CheckError::Visit`] with what `visit` said.
pub fn check_with<E>(
    dir: &Path,
    log_key: &VerifyingKey,
    visit: impl FnMut(&Block<'_>) -> Result<(), E>,
) -> Result<Checked, CheckError<E>> {
    check_in(dir, None, log_key, visit)
}

/// Checks as [`check_with`] does, with segments that were moved off read from an archive.
///
/// # Errors
/// As [`check_with`]; [`FaultKind::MovedOff`] without the archive.
pub fn check_in<E>(
    dir: &Path,
    archive: Option<&Path>,
    log_key: &VerifyingKey,
    mut visit: impl FnMut(&Block<'_>) -> Result<(), E>,
) -> Result<Checked, CheckError<E>> {
    let _lock = lock_shared(dir)?;
    let (_, chain) = read_genesis(dir)?;
    let commits_path = dir.join(COMMITS_FILE);
    let unreadable = |source| Fault::unreadable(&commits_path, &source);
    let mut entries = Entries::open(&commits_path, 0).map_err(unreadable)?;
    let segment_count = count_segments(dir)?;
    let mut log = Log::new(dir, chain, recorded_segment_size(dir, chain)?);
    log.archive(archive);
    log.map(segment_count, false)?;

    let mut head = Head::new(chain);
    let mut tip = None;
    loop {
        let (height, before) = (head.height_next, head.length);
        let fault = |kind| Fault::new(kind, &commits_path, height * COMMIT_SIZE).at_height(height);
        let bytes = entries.next().map_err(unreadable)?;
        if bytes.is_empty() {
            break;
        }
        let entry: RawCommit = bytemuck::try_pod_read_unaligned(bytes).map_err(|_| fault(FaultKind::FileSize))?;
        let commit = entry.check(height, before, chain, log_key).map_err(fault)?;
        let block = head
            .next(&log, End::Published(commit.length))?
            .ok_or_else(|| log.fault(FaultKind::Truncated, before, height))?;
        if (block.end, block.digest) != (commit.length, commit.digest) {
            return Err(fault(FaultKind::CommitMismatch).into());
        }
        visit(&block).map_err(CheckError::Visit)?;
        tip = Some(block.header);
    }
    let tip = tip.ok_or_else(|| Fault::new(FaultKind::Unfinished, &commits_path, 0))?;

    let length = head.length;
    if let Some(at) = log.first_nonzero(length, log.left(length)) {
        let (file, offset) = log.locate(at);
        return Err(Fault::new(FaultKind::Beyond, file, offset).into());
    }
    let needed = log.segments_of(length);
    if needed != segment_count {
        return Err(Fault::new(FaultKind::StraySegment, segment_path(dir, needed), 0).into());
    }
    assert!(
        length > LOG_START && head.height_next == tip.height + 1,
        "a checked log has a last block"
    );
    Ok(Checked {
        chain,
        tip,
        tip_digest: head.parent,
        record_count: head.seq_next - crate::block::FIRST_SEQ,
        length,
        segment_count,
    })
}
