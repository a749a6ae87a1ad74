//! Repair: damaged bytes of a ledger replaced by a copy's, block by block.
//!
//! # Contract
//! * A block of the copy is taken only where it is the block that a commit entry signed by the log key names: its header
//!   has that digest, its records have that header's root, and the padding is what it must be. Checksums decide nothing.
//! * Entries are taken from either side, wherever the signature holds; two signed entries of one height that differ are
//!   refused, for somebody signed twice. Where neither side has a block's entry but one behind it, the block is the one
//!   that the later entry's block names as its ancestor; its entry is left zero, as a crash may leave it, and opening the
//!   ledger signs it again. That holds for the last [`ENTRIES_UNSYNCED_MAX`] entries; farther back it is refused.
//! * What is good here stays: only blocks that do not hold are replaced. Beyond the newest committed block nothing is
//!   touched; opening the ledger recovers that.
//! * Files are written beside the damaged ones and renamed only once everything is there; the damaged ones go to the
//!   folder `damaged`. A repair that is interrupted can be begun again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytemuck::Zeroable;
use ed25519_dalek::VerifyingKey;
use thiserror::Error;
use wattbook_types::{ChainId, Hash};

use crate::commits::{COMMIT_SIZE, Commit, RawCommit};
use crate::error::{Error, Fault};
use crate::files::{COMMITS_FILE, GENESIS_FILE, lock_exclusive, read_genesis, segment_path, sync_dir};
use crate::group::ENTRIES_UNSYNCED_MAX;
use crate::log::{End, LOG_START, Log};
use crate::retention::{self, Retained};
use crate::scan::Head;
use crate::segment::RawSegmentHeader;

/// Folder to which damaged files go.
pub const DAMAGED_DIR: &str = "damaged";

/// What a repair did; its `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Height of the newest committed block.
    pub height: u64,
    /// Blocks taken from the copy, and what was wrong with each here.
    pub blocks: Vec<(u64, Fault)>,
    /// Commit entries taken from the copy.
    pub entries: u64,
    /// Commit entries that neither side has, left zero: opening the ledger signs them again.
    pub entries_unsigned: u64,
    /// Files replaced; the damaged ones are in [`DAMAGED_DIR`].
    pub files: Vec<PathBuf>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.blocks.first(), self.files.len()) {
            (None, 0) => write!(f, "every block up to {} holds; nothing was changed", self.height),
            (None, n) => write!(
                f,
                "every block up to {} holds; {} commit entries taken from the copy, {n} files replaced",
                self.height, self.entries
            ),
            (Some((first, fault)), n) => write!(
                f,
                "took {} blocks from the copy, the first of them block {first} ({fault}), and {} commit entries; {n} \
                 files replaced, the damaged ones are in `{DAMAGED_DIR}`; every block up to {} holds",
                self.blocks.len(),
                self.entries,
                self.height
            ),
        }?;
        if self.entries_unsigned > 0 {
            write!(
                f,
                "; opening the ledger will sign {} commit entries again",
                self.entries_unsigned
            )?;
        }
        Ok(())
    }
}

/// Why a ledger cannot be repaired; nothing has been changed.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The directory, or the copy.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// Neither side has the genesis bytes of the chain.
    #[error("neither side holds the genesis bytes of chain {}", chain.0)]
    Genesis {
        /// The chain.
        chain: ChainId,
    },
    /// No signed entry of block 0 on either side.
    #[error("neither side has a commit entry signed by the log key")]
    NoEntry,
    /// A block of which neither side has a signed entry, although the log goes on behind it.
    #[error(
        "neither side has a signed commit entry of block {height}, of {count} in all: a crash leaves at most the last \
         {ENTRIES_UNSYNCED_MAX} unsigned, so a copy with that entry is needed"
    )]
    EntryGap {
        /// The block.
        height: u64,
        /// Entries in the longer of both files.
        count: u64,
    },
    /// The log key has signed two blocks of one height.
    #[error(
        "the log key has signed two blocks of height {height}; which one is the chain's is not for a repair to say"
    )]
    SignedTwice {
        /// The height.
        height: u64,
    },
    /// A block that neither side has.
    #[error("block {height} is damaged on both sides: here {here}; in the copy {there}")]
    Nowhere {
        /// The block.
        height: u64,
        /// What is wrong with it here.
        here: Box<Fault>,
        /// What is wrong with it in the copy.
        there: Box<Fault>,
    },
}

impl From<Fault> for RepairError {
    fn from(fault: Fault) -> Self {
        Self::Ledger(fault.into())
    }
}

/// The entries of both sides by height up to the newest that is signed, and how many of them are the copy's.
struct Entries {
    raw: Vec<RawCommit>,
    /// `None` where neither side has one.
    commits: Vec<Option<Commit>>,
    last: Commit,
    taken: u64,
}

impl Entries {
    /// The first signed entry from a height on.
    fn next_signed(&self, height: u64) -> &Commit {
        let later = self.commits.get(height as usize..).unwrap_or_default();
        later.iter().flatten().next().unwrap_or(&self.last)
    }

    fn unsigned(&self) -> u64 {
        self.commits.iter().filter(|commit| commit.is_none()).count() as u64
    }
}

fn entries_of(dir: &Path) -> Vec<RawCommit> {
    let bytes = std::fs::read(dir.join(COMMITS_FILE)).unwrap_or_default();
    let chunks = bytes.chunks_exact(COMMIT_SIZE as usize);
    chunks.map(bytemuck::pod_read_unaligned).collect()
}

fn entries(dir: &Path, from: &Path, chain: ChainId, key: &VerifyingKey) -> Result<Entries, RepairError> {
    let (here, there) = (entries_of(dir), entries_of(from));
    let count = here.len().max(there.len()) as u64;
    let (mut raws, mut commits, mut last) = (Vec::new(), Vec::new(), None);
    let (mut taken, mut unsigned) = (0, None);
    for height in 0..count {
        let before = last.map_or(LOG_START, |commit: Commit| commit.length);
        let valid = |side: &[RawCommit]| {
            let entry = *side.get(height as usize)?;
            Some((entry, entry.check(height, before, chain, key).ok()?))
        };
        let (ours, theirs) = (valid(&here), valid(&there));
        if let (Some((_, ours)), Some((_, theirs))) = (&ours, &theirs)
            && ours != theirs
        {
            return Err(RepairError::SignedTwice { height });
        }
        taken += u64::from(ours.is_none() && theirs.is_some());
        match ours.or(theirs) {
            Some((raw, commit)) => {
                raws.push(raw);
                commits.push(Some(commit));
                last = Some(commit);
            }
            None => {
                unsigned.get_or_insert(height);
                raws.push(RawCommit::zeroed());
                commits.push(None);
            }
        }
    }
    let last = last.ok_or(RepairError::NoEntry)?;
    // Block 0 has its entry before anybody can read the ledger.
    let gap = |height: &u64| *height == 0 || count - height > ENTRIES_UNSYNCED_MAX;
    if let Some(height) = unsigned.filter(gap) {
        return Err(RepairError::EntryGap { height, count });
    }
    let signed = last.height as usize + 1;
    raws.truncate(signed);
    commits.truncate(signed);
    Ok(Entries {
        raw: raws,
        commits,
        last,
        taken,
    })
}

/// The readable headers of the segments in a directory, up to the first file that is missing.
pub(crate) fn segment_headers(dir: &Path) -> impl Iterator<Item = RawSegmentHeader> {
    let first = Retained::read(dir).map_or(0, |retained| retained.first());
    let paths = (first..).map(move |index| segment_path(dir, index));
    paths
        .take_while(|path| path.exists())
        .filter_map(|path| RawSegmentHeader::read(&path).ok())
}

/// The chain that the segments in `dir` say they belong to, or else its genesis bytes: whoever knows better says so.
pub fn recorded_chain(dir: &Path) -> Option<ChainId> {
    let recorded = segment_headers(dir).map(|header| ChainId(Hash(header.chain_id))).next();
    recorded.or_else(|| Some(read_genesis(dir).ok()?.1))
}

/// The genesis bytes of a chain, from whichever directory has them.
pub fn genesis_of(chain: ChainId, dirs: &[&Path]) -> Option<Vec<u8>> {
    let found = dirs.iter().filter_map(|dir| read_genesis(dir).ok());
    found.filter(|(_, of)| *of == chain).map(|(bytes, _)| bytes).next()
}

/// Repairs the ledger in `dir` from the copy in `from`, for the chain and log key that the caller trusts.
///
/// # Errors
/// [`RepairError`], with nothing changed.
pub fn repair(dir: &Path, from: &Path, chain: ChainId, key: &VerifyingKey) -> Result<Repaired, RepairError> {
    let _lock = lock_exclusive(dir)?;
    let genesis = genesis_of(chain, &[dir, from]).ok_or(RepairError::Genesis { chain })?;
    let entries = entries(dir, from, chain, key)?;
    let last = entries.last;
    // Either side tells how large segments are; the blocks tell whether that is true.
    let headers = segment_headers(dir).chain(segment_headers(from));
    let size = headers
        .filter(|header| header.chain_id == chain.0.0)
        .map(|header| header.segment_size)
        .next()
        .ok_or(RepairError::NoEntry)?;
    let needed = last.length.div_ceil(size);
    let log_of = |dir: &Path| {
        let mut log = Log::new(dir, chain, size);
        log.promise_any(needed);
        log
    };
    let (own, copy) = (log_of(dir), log_of(from));

    let mut head = Head::new(chain);
    let mut blocks = Vec::new();
    // Bytes of each segment that are the copy's.
    let mut taken: BTreeMap<u64, Vec<Range<u64>>> = BTreeMap::new();
    let retained = Retained::read(dir)?;
    for height in 0..retained.blocks().min(last.height + 1) {
        // What was moved off stays where it is.
        let commit = entries.commits.get(height as usize).copied().flatten();
        let fault = |kind| Fault::new(kind, dir.join(COMMITS_FILE), height * COMMIT_SIZE).at_height(height);
        let commit = commit.ok_or_else(|| fault(crate::FaultKind::CommitSignature))?;
        let raw = retention::kept(dir, chain, &commit)?;
        head.skip(&raw, &commit).map_err(fault)?;
    }
    while head.length < last.length {
        let signed = entries.next_signed(head.height_next);
        let (next, replaced) = run(&head, &own, &copy, signed)?;
        for (height, bytes, fault) in replaced {
            blocks.push((height, fault));
            for index in bytes.start / size..bytes.end.div_ceil(size) {
                let (start, end) = (index * size, (index + 1) * size);
                let range = bytes.start.max(start) - start..bytes.end.min(end) - start;
                taken.entry(index).or_default().push(range);
            }
        }
        head = next;
    }
    let mut files = Vec::new();
    for index in retained.first()..needed {
        let path = segment_path(dir, index);
        let whole = RawSegmentHeader::expect(&path, index, size, chain).is_ok()
            && std::fs::metadata(&path).is_ok_and(|file| file.len() == size);
        if whole && !taken.contains_key(&index) {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        if !whole {
            // What stands in it beyond the blocks that hold is nobody's.
            bytes.resize(size as usize, 0);
            bytes[..LOG_START as usize].copy_from_slice(&RawSegmentHeader::of(index, size, chain));
        }
        for range in taken.remove(&index).into_iter().flatten() {
            let len = range.end - range.start;
            let source = copy.bytes(index * size + range.start, len);
            bytes[range.start as usize..range.end as usize].copy_from_slice(source);
        }
        draft(&path, &bytes)?;
        files.push(path);
    }
    let commits_path = dir.join(COMMITS_FILE);
    let all: &[u8] = bytemuck::cast_slice(&entries.raw);
    let standing = std::fs::read(&commits_path).unwrap_or_default();
    // What is unsigned behind them is recovery's.
    if !standing.starts_with(all) {
        let rest = standing.get(all.len()..).unwrap_or_default();
        draft(&commits_path, &[all, rest].concat())?;
        files.push(commits_path);
    }
    if genesis_of(chain, &[dir]).is_none() {
        let path = dir.join(GENESIS_FILE);
        draft(&path, &genesis)?;
        files.push(path);
    }
    replace(dir, &files)?;
    Ok(Repaired {
        height: last.height,
        blocks,
        entries: entries.taken,
        entries_unsigned: entries.unsigned(),
        files,
    })
}

/// A block taken from the copy: its height, its bytes in the log, and what was wrong here.
type Taken = (u64, Range<u64>, Fault);

/// The head behind the blocks up to a signed one, each from here where it holds, else from the copy.
fn run(head: &Head, own: &Log, copy: &Log, signed: &Commit) -> Result<(Head, Vec<Taken>), RepairError> {
    // Blocks without an entry of their own are right if the signed one follows from them: whatever stands here comes
    // first, and if that leads elsewhere, the copy alone.
    let mixed = walk(head, Some(own), copy, signed);
    match mixed {
        Err(_) if head.height_next < signed.height => walk(head, None, copy, signed).or(mixed),
        mixed => mixed,
    }
}

fn walk(head: &Head, own: Option<&Log>, copy: &Log, signed: &Commit) -> Result<(Head, Vec<Taken>), RepairError> {
    let (mut head, mut taken) = (head.clone(), Vec::new());
    while head.height_next <= signed.height {
        let (height, before) = (head.height_next, head.length);
        let here = match own.map(|own| follow(&head, own, signed)) {
            Some(Ok(next)) => {
                head = next;
                continue;
            }
            Some(Err(fault)) => fault,
            None => copy.fault(crate::FaultKind::CommitMismatch, before, height),
        };
        head = follow(&head, copy, signed).map_err(|there| RepairError::Nowhere {
            height,
            here: Box::new(here.clone()),
            there: Box::new(there),
        })?;
        taken.push((height, before..head.length, here));
    }
    Ok((head, taken))
}

/// The head behind the next block of a log, which is that of a signed entry or lies before it.
fn follow(head: &Head, log: &Log, commit: &Commit) -> Result<Head, Fault> {
    let mut head = head.clone();
    let (at, height) = (head.length, head.height_next);
    let block = head
        .next(log, End::Published(commit.length))?
        .ok_or_else(|| log.fault(crate::FaultKind::Truncated, at, height))?;
    if height == commit.height && (block.end, block.digest) != (commit.length, commit.digest) {
        return Err(log.fault(crate::FaultKind::CommitMismatch, at, height));
    }
    Ok(head)
}

/// Writes what is to replace a file, beside it.
fn draft(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let draft = path.with_extension("repaired");
    File::create(&draft)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(Error::io("write", &draft))
}

/// Puts the drafts in their place; what stood there goes to [`DAMAGED_DIR`].
fn replace(dir: &Path, files: &[PathBuf]) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    let damaged = dir.join(DAMAGED_DIR);
    std::fs::create_dir_all(&damaged).map_err(Error::io("create the directory", &damaged))?;
    for path in files {
        if let Some(name) = path.file_name().filter(|_| path.exists()) {
            let kept = damaged.join(name);
            std::fs::copy(path, &kept).map_err(Error::io("keep the damaged file", &kept))?;
        }
        std::fs::rename(path.with_extension("repaired"), path).map_err(Error::io("replace", path))?;
    }
    sync_dir(&damaged)?;
    sync_dir(dir)
}
