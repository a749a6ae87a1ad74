//! What a store does with a directory it finds: keep the longest valid prefix, undo what a crash provably tore, refuse
//! the rest.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ed25519_dalek::SigningKey;
use wattbook_types::ChainId;

use crate::anchor::Anchor;
use crate::block::BlockHeader;
use crate::commits::{COMMIT_SIZE, Commit, Entries, RawCommit};
use crate::error::{Error, Fault, FaultKind};
use crate::files::{COMMITS_FILE, count_segments, read_genesis, segment_path, sync_dir};
use crate::group::ENTRIES_UNSYNCED_MAX;
use crate::log::{End, LOG_START, Log, recorded_segment_size};
use crate::retention::Retained;
use crate::scan::Head;
use crate::segment::RawSegmentHeader;

/// What recovery found and did; its `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Height of the last block.
    pub height: u64,
    /// Length of the log, bytes.
    pub length: u64,
    /// Height up to which blocks were taken as they stood: those of the snapshot it was opened from; read since.
    pub from: Option<u64>,
    /// Complete blocks beyond the newest commit entry, kept and given their entries.
    pub blocks_kept: u64,
    /// Why the bytes beyond the last block are no block, if there were any.
    pub torn: Option<Fault>,
    /// Bytes, from the first to the last that was not zero, zeroed in the last segment.
    pub zeroed_size: u64,
    /// Segment files removed, none of them holding a block.
    pub segments_removed: u64,
    /// Zero bytes given back to a last segment that was cut short.
    pub restored_size: u64,
    /// Bytes of torn commit entries, written again.
    pub entry_torn_size: u64,
}

impl Recovery {
    /// Whether the directory was as a clean shutdown leaves it.
    pub const fn is_clean(&self) -> bool {
        self.blocks_kept == 0
            && self.zeroed_size == 0
            && self.segments_removed == 0
            && self.restored_size == 0
            && self.entry_torn_size == 0
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opened at block {}, {} bytes", self.height, self.length)?;
        if let Some(from) = self.from {
            write!(f, ", read from block {from} on")?;
        }
        if self.is_clean() {
            return write!(f, "; nothing to repair");
        }
        if self.blocks_kept > 0 {
            write!(
                f,
                "; kept {} complete blocks that had no commit entry",
                self.blocks_kept
            )?;
        }
        if self.zeroed_size > 0 {
            write!(f, "; zeroed {} torn bytes", self.zeroed_size)?;
        }
        if self.segments_removed > 0 {
            write!(f, "; removed {} segment files without a block", self.segments_removed)?;
        }
        if self.restored_size > 0 {
            write!(f, "; restored {} bytes of a segment cut short", self.restored_size)?;
        }
        if self.entry_torn_size > 0 {
            write!(f, "; wrote {} bytes of torn commit entries again", self.entry_torn_size)?;
        }
        match &self.torn {
            Some(fault) => write!(f, " (first torn byte: {fault})"),
            None => Ok(()),
        }
    }
}

/// Everything a store needs to go on.
pub(crate) struct Recovered {
    pub(crate) genesis: Vec<u8>,
    pub(crate) log: Log,
    pub(crate) head: Head,
    pub(crate) tip: BlockHeader,
    pub(crate) commits: File,
    pub(crate) committed: Commit,
    pub(crate) recovery: Recovery,
}

/// Where the valid entries of the commit file end, and the bytes after them: entries that were not durable yet, torn in
/// any way.
struct Ending {
    last: Commit,
    torn: Vec<u8>,
}

/// The bytes of a file from an offset on; none of one that holds more than `max`.
fn read_from(path: &Path, at: u64, max: u64) -> std::io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len().saturating_sub(at);
    if size > max {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(Some(bytes))
}

fn read_entries(dir: &Path, chain: ChainId, key: &SigningKey, from: u64) -> Result<Ending, Fault> {
    let path = dir.join(COMMITS_FILE);
    let unreadable = |source| Fault::unreadable(&path, &source);
    let mut entries = Entries::open(&path, from).map_err(unreadable)?;
    let public = key.verifying_key();
    let (mut last, mut wrong): (Option<Commit>, _) = (None, FaultKind::Unfinished);
    let mut next = from;
    while let Ok(entry) = bytemuck::try_pod_read_unaligned::<RawCommit>(entries.next().map_err(unreadable)?) {
        let before = last.map_or(LOG_START, |commit| commit.length);
        match entry.check(next, before, chain, &public) {
            Ok(commit) => last = Some(commit),
            Err(kind) => {
                wrong = kind;
                break;
            }
        }
        next += 1;
    }
    let at = next * COMMIT_SIZE;
    // No more entries are ever not durable: whatever is damaged before them was not torn.
    let torn = read_from(&path, at, ENTRIES_UNSYNCED_MAX * COMMIT_SIZE).map_err(unreadable)?;
    match (last, torn) {
        (Some(last), Some(torn)) => Ok(Ending { last, torn }),
        _ => Err(Fault::new(wrong, path, at).at_height(next)),
    }
}

/// Number of segments to scan up to, beginning with `first`, and the bytes the last of them lacks. What holds committed
/// bytes must be whole; what lies beyond may be anything.
fn usable_segments(
    dir: &Path,
    chain: ChainId,
    size: u64,
    (first, on_disk): (u64, u64),
    length: u64,
) -> Result<(u64, u64), Fault> {
    for index in first..on_disk.max(length.div_ceil(size)) {
        let path = segment_path(dir, index);
        let needed = length.saturating_sub(index * size).min(size);
        let found = std::fs::metadata(&path)
            .map_err(|source| Fault::unreadable(&path, &source))?
            .len();
        let header = RawSegmentHeader::expect(&path, index, size, chain);
        if needed == 0 && (header.is_err() || found != size) {
            return Ok((index, 0));
        }
        if found > size || found < needed {
            return Err(Fault::new(FaultKind::FileSize, path, found.min(size)));
        }
        header?;
        if found < size {
            let holds_end = length <= (index + 1) * size;
            return if holds_end {
                Ok((index + 1, size - found))
            } else {
                Err(Fault::new(FaultKind::FileSize, path, found))
            };
        }
    }
    Ok((on_disk, 0))
}

/// Refuses torn bytes that the writer could not have left: each is zero or what the entry of its block says.
fn prove_torn(dir: &Path, entries: &Ending, kept: &[Commit], chain: ChainId, key: &SigningKey) -> Result<(), Fault> {
    let height = entries.last.height + 1;
    let fault = |kind, byte: usize| {
        let place = height * COMMIT_SIZE + byte as u64;
        Fault::new(kind, dir.join(COMMITS_FILE), place).at_height(place / COMMIT_SIZE)
    };
    let expected: Vec<RawCommit> = (kept.iter())
        .take(entries.torn.len().div_ceil(COMMIT_SIZE as usize))
        .map(|commit| RawCommit::sign(commit, chain, key))
        .collect();
    let expected: &[u8] = bytemuck::cast_slice(&expected);
    // INVARIANT: any byte of an entry proves that its block was durable before.
    if entries.torn.len() > expected.len() {
        return Err(fault(FaultKind::CommitMismatch, expected.len()));
    }
    let stray = (entries.torn.iter().zip(expected)).position(|(found, byte)| *found != 0 && found != byte);
    stray.map_or(Ok(()), |byte| Err(fault(FaultKind::CommitSignature, byte)))
}

/// Reads the directory from an anchor on, or from genesis, proves what is torn, and only then repairs it. The caller
/// holds the lock.
pub(crate) fn recover(dir: &Path, key: &SigningKey, anchor: Option<&Anchor>) -> Result<Recovered, Error> {
    let (genesis, chain) = read_genesis(dir)?;
    let size = recorded_segment_size(dir, chain)?;
    let from = anchor.map_or(0, Anchor::height);
    let needed_from = anchor.map_or(0, |anchor| (anchor.length() - 1) / size);
    let retained = Retained::read(dir)?;
    if needed_from < retained.first()
        && let Some(fault) = retained.fault(needed_from)
    {
        return Err(fault.into());
    }
    let entries = read_entries(dir, chain, key, from)?;
    let committed = entries.last;
    let on_disk = count_segments(dir)?;
    let first = anchor.map_or(0, |anchor| anchor.length() / size);
    let (usable, restored_size) = usable_segments(dir, chain, size, (first, on_disk), committed.length)?;
    let mut log = Log::new(dir, chain, size);
    log.promise(first.min(usable))?;
    if restored_size > 0 {
        // Nothing is changed before everything else is proved.
        log.map(usable - 1, true)?;
        log.map_short()?;
    } else {
        log.map(usable, true)?;
    }

    let mismatch = |height: u64| {
        Fault::new(FaultKind::CommitMismatch, dir.join(COMMITS_FILE), height * COMMIT_SIZE).at_height(height)
    };
    let mut head = anchor.map_or_else(|| Head::new(chain), |anchor| anchor.head.clone());
    let mut tip = anchor.map(|anchor| anchor.tip);
    let path = dir.join(COMMITS_FILE);
    let unreadable = |source| Fault::unreadable(&path, &source);
    let mut valid = Entries::open(&path, from).map_err(unreadable)?;
    for _ in from..=committed.height {
        // Its signature was checked above, and nobody else writes: the lock is held.
        let Ok(entry) = bytemuck::try_pod_read_unaligned::<RawCommit>(valid.next().map_err(unreadable)?) else {
            return Err(mismatch(head.height_next).into());
        };
        let commit = entry.commit();
        if tip.is_some_and(|tip| tip.height == commit.height) {
            // The block of the anchor: its bytes have been read, and the log key stands behind them here.
            if (head.parent, head.length) != (commit.digest, commit.length) {
                return Err(mismatch(commit.height).into());
            }
            continue;
        }
        let (at, height) = (head.length, head.height_next);
        let block = head
            .next(&log, End::Published(commit.length))?
            .ok_or_else(|| log.fault(FaultKind::Truncated, at, height))?;
        if (block.digest, block.end) != (commit.digest, commit.length) {
            return Err(mismatch(height).into());
        }
        tip = Some(block.header);
    }
    let mut kept = Vec::new();
    let torn = loop {
        match head.next(&log, End::Open) {
            Ok(Some(block)) => {
                kept.push(Commit {
                    height: block.header.height,
                    length: block.end,
                    digest: block.digest,
                });
                tip = Some(block.header);
            }
            Ok(None) => break None,
            Err(fault) => break Some(fault),
        }
    };
    prove_torn(dir, &entries, &kept, chain, key)?;
    let tip = tip.ok_or_else(|| Fault::new(FaultKind::Unfinished, dir.join(COMMITS_FILE), 0))?;

    if restored_size > 0 {
        log.restore_last()?;
    }
    let needed = log.segments_of(head.length);
    let zeroed_size = zeroed(&log, head.length);
    if zeroed_size > 0 {
        log.zero_rest(head.length)?;
    }
    log.remove_beyond(needed, on_disk)?;
    log.sync(committed.length, head.length)?;
    let commits = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    let rewritten: Vec<RawCommit> = kept.iter().map(|commit| RawCommit::sign(commit, chain, key)).collect();
    // The writer before may have been killed before its last entries, and the name of its last segment, were durable.
    // No more of them at a time than may be torn; at least one sync, for those that were there.
    for at in (0..rewritten.len().max(1)).step_by(ENTRIES_UNSYNCED_MAX as usize) {
        let entries = &rewritten[at..rewritten.len().min(at + ENTRIES_UNSYNCED_MAX as usize)];
        let place = (committed.height + 1 + at as u64) * COMMIT_SIZE;
        commits
            .write_all_at(bytemuck::cast_slice(entries), place)
            .and_then(|()| commits.sync_data())
            .map_err(Error::io("write", &path))?;
    }
    sync_dir(dir)?;
    let recovery = Recovery {
        height: tip.height,
        length: head.length,
        from: anchor.map(Anchor::height),
        blocks_kept: kept.len() as u64,
        torn,
        zeroed_size,
        segments_removed: on_disk - needed,
        restored_size,
        entry_torn_size: entries.torn.len() as u64,
    };
    let committed = kept.last().copied().unwrap_or(committed);
    Ok(Recovered {
        genesis,
        log,
        head,
        tip,
        commits,
        committed,
        recovery,
    })
}

/// Bytes between the first and the last that is not zero, from a log offset to the end of its segment.
fn zeroed(log: &Log, at: u64) -> u64 {
    let left = log.left(at);
    if left == 0 {
        return 0;
    }
    // Most of it is zero: whole pages are looked at before their bytes.
    let Some(first) = log.first_nonzero(at, left) else {
        return 0;
    };
    let bytes = log.bytes(first, at + left - first);
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1)
}
