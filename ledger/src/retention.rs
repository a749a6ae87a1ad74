//! Retention: sealed segments moved off to an archive; headers, signed entries and the tree of headers stay.
//!
//! # Format
//! * `headers.log`: the header of block h at byte 352 h, for every block that begins in a segment moved off. The signed
//!   entry of h in `commits.log` names its digest.
//! * `retained`, lines of text: `wattbook/retained/1`, the first segment that is kept, the number of blocks in
//!   `headers.log`, then a line a move: first segment, the one after the last, folder.
//!
//! # Invariants
//! * A segment is removed here only after the archive holds the same bytes, and `headers.log` and `retained` say so,
//!   durably. Interrupted anywhere, it can be begun again.
//! * What is moved is whole, lies before the block of every snapshot that is kept, and follows from signed entries.
//! * A header is believed only where its digest is the one that its signed entry names.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use thiserror::Error;
use wattbook_types::ChainId;

use crate::block::{HEADER_SIZE, RawBlockHeader, block_digest};
use crate::commits::{COMMIT_SIZE, Commit, Entries, RawCommit};
use crate::error::{Error, Fault, FaultKind};
use crate::files::{COMMITS_FILE, count_segments, lock_exclusive, read_genesis, segment_path, sync_dir};
use crate::log::{End, Log, recorded_segment_size};
use crate::scan::Head;
use crate::snapshot::Snapshot;

/// File that says which segments have been moved off, and where to.
pub const RETAINED_FILE: &str = "retained";
/// Headers of the blocks that begin in them.
pub const HEADERS_FILE: &str = "headers.log";
const TITLE: &str = "wattbook/retained/1";

/// Segments that went to one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Move {
    from: u64,
    to: u64,
    folder: PathBuf,
}

/// What a ledger directory has moved off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    first: u64,
    blocks: u64,
    moves: Vec<Move>,
}

impl Retained {
    /// What the directory says; nothing has been moved where it says nothing.
    ///
    /// # Errors
    /// [`FaultKind::Retained`] where it says something else.
    pub fn read(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join(RETAINED_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| Fault::new(FaultKind::Retained, path, 0)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(Fault::new(FaultKind::Retained, path, 0))
            }
            Err(error) => Err(Fault::unreadable(path, &error)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        (lines.next()? == TITLE).then_some(())?;
        let (first, blocks) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
        let mut moves: Vec<Move> = Vec::new();
        for line in lines {
            let (from, rest) = line.split_once(' ')?;
            let (to, folder) = rest.split_once(' ')?;
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from == moves.last().map_or(0, |last| last.to) && from < to).then_some(())?;
            let folder = folder.into();
            moves.push(Move { from, to, folder });
        }
        let said = Self { first, blocks, moves };
        let follows = said.moves.last()?.to == first && blocks > 0;
        (follows && said.text() == text).then_some(said)
    }

    fn text(&self) -> String {
        let mut text = format!("{TITLE}\n{}\n{}\n", self.first, self.blocks);
        for Move { from, to, folder } in &self.moves {
            text += &format!("{from} {to} {}\n", folder.display());
        }
        text
    }

    /// The first segment that is kept.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Blocks that begin in a segment moved off.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Where a segment that was moved off lies, as far as is known.
    pub fn place(&self, index: u64) -> Option<PathBuf> {
        let moved = self
            .moves
            .iter()
            .find(|moved| (moved.from..moved.to).contains(&index))?;
        Some(segment_path(&moved.folder, index))
    }

    /// That a segment which is needed is not here.
    pub(crate) fn fault(&self, index: u64) -> Option<Fault> {
        Some(Fault::new(FaultKind::MovedOff, self.place(index)?, 0))
    }
}

/// The header of a block that begins in a segment moved off, and its entry; the entry's signature is not checked.
pub(crate) fn header(dir: &Path, chain: ChainId, height: u64) -> Result<(Vec<u8>, Commit), Fault> {
    let commits = dir.join(COMMITS_FILE);
    let entry: RawCommit = bytemuck::pod_read_unaligned(&read(&commits, height, COMMIT_SIZE as usize)?);
    let commit = entry.commit();
    if commit.height != height {
        return Err(Fault::new(FaultKind::CommitEntry, commits, height * COMMIT_SIZE).at_height(height));
    }
    Ok((kept(dir, chain, &commit)?, commit))
}

/// The kept header that an entry names.
pub(crate) fn kept(dir: &Path, chain: ChainId, commit: &Commit) -> Result<Vec<u8>, Fault> {
    let path = dir.join(HEADERS_FILE);
    let raw = read(&path, commit.height, HEADER_SIZE)?;
    if block_digest(chain, &raw) != commit.digest {
        let at = commit.height * HEADER_SIZE as u64;
        return Err(Fault::new(FaultKind::Header, path, at).at_height(commit.height));
    }
    Ok(raw)
}

/// An item of a file of items.
fn read(path: &Path, height: u64, size: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; size];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, height * size as u64))
        .map_err(|error| Fault::unreadable(path, &error).at_height(height))?;
    Ok(bytes)
}

impl Head {
    /// Moves behind a block of which only header and entry are here.
    pub(crate) fn skip(&mut self, raw: &[u8], commit: &Commit) -> Result<(), FaultKind> {
        let header = RawBlockHeader::read(raw).ok_or(FaultKind::HeaderVersion)?;
        let header = crate::block::BlockHeader::from_raw(&header)?;
        let rules = [
            (FaultKind::Chain, header.chain == self.chain),
            (
                FaultKind::Height,
                header.height == self.height_next && commit.height == self.height_next,
            ),
            (FaultKind::Parent, header.parent == self.parent),
            (
                FaultKind::Sequence,
                header.first_seq == self.seq_next && header.next_seq().is_some(),
            ),
            (FaultKind::LogRoot, header.log_root == self.headers.root()),
            (FaultKind::Time, header.time >= self.time_min),
            (
                FaultKind::CommitMismatch,
                block_digest(self.chain, raw) == commit.digest,
            ),
            (FaultKind::CommitEntry, commit.length > self.length),
        ];
        if let Some((kind, _)) = rules.iter().find(|(_, holds)| !holds) {
            return Err(*kind);
        }
        self.advance(&header, raw, commit.digest, commit.length);
        Ok(())
    }
}

/// What was moved off; its `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Segments moved now.
    pub segments: u64,
    /// Their bytes.
    pub size: u64,
    /// The first segment that is kept.
    pub first: u64,
    /// Blocks of which only headers are kept.
    pub blocks: u64,
    /// Why no more was moved, where fewer segments are kept than were asked for.
    pub bound: Option<u64>,
    /// Where they went.
    pub folder: PathBuf,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.segments == 0 {
            write!(f, "nothing was moved")?;
        } else {
            write!(
                f,
                "moved {} segments, {} bytes, to {}",
                self.segments,
                self.size,
                self.folder.display()
            )?;
        }
        write!(
            f,
            "; segments from {:08}.seg on are here, and the headers of the {} blocks before",
            self.first, self.blocks
        )?;
        match self.bound {
            Some(height) => write!(
                f,
                "; more were asked for, but the snapshot of block {height} needs what follows it"
            ),
            None => Ok(()),
        }
    }
}

/// Why segments cannot be moved off.
#[derive(Debug, Error)]
pub enum RetainError {
    /// The directory or the archive.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// Nothing could start from what would be left.
    #[error(
        "there is no sound snapshot to start from without the first segment; run the node until it has written one"
    )]
    NoSnapshot,
    /// The archive cannot be named in a line of text.
    #[error("{} cannot be written down as the archive: its name must be UTF-8 without line breaks", .folder.display())]
    Folder {
        /// The archive.
        folder: PathBuf,
    },
    /// The archive holds other bytes under a segment's name.
    #[error("{} is there already and is not the segment that was to be moved", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
}

impl From<Fault> for RetainError {
    fn from(fault: Fault) -> Self {
        Self::Ledger(fault.into())
    }
}

/// Moves all but the newest `keep` segments of the ledger in `dir` to `archive`, as far as every snapshot allows. Nobody
/// may have the ledger open for writing.
///
/// # Errors
/// [`RetainError`]; what was not moved stays.
pub fn retain(dir: &Path, archive: &Path, keep: u64, key: &VerifyingKey) -> Result<Moved, RetainError> {
    let _lock = lock_exclusive(dir)?;
    retain_beside(dir, archive, keep, key)
}

/// Moves segments as [`retain`] does, for the process that has the ledger open.
///
/// # Errors
/// As [`retain`].
pub fn retain_beside(dir: &Path, archive: &Path, keep: u64, key: &VerifyingKey) -> Result<Moved, RetainError> {
    std::fs::create_dir_all(archive).map_err(Error::io("create the directory", archive))?;
    let folder = archive.canonicalize().map_err(Error::io("find", archive))?;
    let is_line = folder.to_str().is_some_and(|name| !name.contains('\n'));
    if !is_line {
        return Err(RetainError::Folder { folder });
    }
    let (_, chain) = read_genesis(dir)?;
    let size = recorded_segment_size(dir, chain)?;
    let (before, count) = (Retained::read(dir)?, count_segments(dir)?);
    // Every snapshot that holds must still find what follows it, its own header included.
    let anchors = Snapshot::list(dir)?.into_iter().filter_map(|(_, path)| {
        let snapshot = Snapshot::read(&path, chain, key).ok()?;
        snapshot.anchor(dir, chain).ok()
    });
    let oldest = anchors.min_by_key(|anchor| anchor.length());
    let oldest = oldest.ok_or(RetainError::NoSnapshot)?;
    // BOUND: a log that has a block is longer than nothing.
    let reach = (oldest.length() - 1) / size;
    let asked = count.saturating_sub(keep.max(1));
    let first = asked.min(reach).max(before.first);
    let bound = (asked > first).then_some(oldest.height());

    let (blocks, raw) = headers(dir, chain, size, &before, first, key)?;
    let mut moved = 0;
    for index in before.first..first {
        moved += copy(&segment_path(dir, index), &segment_path(&folder, index))?;
    }
    let mut after = before.clone();
    if first > before.first {
        sync_dir(&folder)?;
        put_headers(dir, before.blocks, &raw)?;
        after = Retained {
            first,
            blocks,
            moves: before.moves.clone(),
        };
        match after.moves.last_mut().filter(|last| last.folder == folder) {
            Some(last) => last.to = first,
            None => after.moves.push(Move {
                from: before.first,
                to: first,
                folder: folder.clone(),
            }),
        }
        put(dir, &after)?;
    }
    // Also what an interrupted move left.
    for index in 0..first {
        let path = segment_path(dir, index);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove the moved segment", &path)(error).into());
            }
            _ => {}
        }
    }
    sync_dir(dir)?;
    Ok(Moved {
        segments: first - before.first,
        size: moved,
        first,
        blocks: after.blocks,
        bound,
        folder,
    })
}

/// The number of blocks that begin before segment `first`, and the headers of those that have not been kept yet; each
/// block is checked as it stands, against its signed entry.
fn headers(
    dir: &Path,
    chain: ChainId,
    size: u64,
    before: &Retained,
    first: u64,
    key: &VerifyingKey,
) -> Result<(u64, Vec<u8>), RetainError> {
    let path = dir.join(COMMITS_FILE);
    let unreadable = |error| Fault::unreadable(&path, &error);
    let mut entries = Entries::open(&path, 0).map_err(unreadable)?;
    let mut log = Log::new(dir, chain, size);
    log.promise(count_segments(dir)?)?;
    let (mut head, mut raw) = (Head::new(chain), Vec::new());
    while head.length < first * size {
        // What follows the last whole entry is not committed.
        let Ok(entry) = bytemuck::try_pod_read_unaligned::<RawCommit>(entries.next().map_err(unreadable)?) else {
            break;
        };
        let (height, at) = (head.height_next, head.length);
        let fault = |kind| Fault::new(kind, &path, height * COMMIT_SIZE).at_height(height);
        let commit = entry.check(height, at, chain, key).map_err(fault)?;
        if height < before.blocks {
            let bytes = kept(dir, chain, &commit)?;
            head.skip(&bytes, &commit).map_err(fault)?;
            continue;
        }
        let block = head
            .next(&log, End::Published(commit.length))?
            .ok_or_else(|| log.fault(FaultKind::Truncated, at, height))?;
        if (block.end, block.digest) != (commit.length, commit.digest) {
            return Err(fault(FaultKind::CommitMismatch).into());
        }
        raw.extend_from_slice(block.raw);
    }
    Ok((head.height_next, raw))
}

/// Copies a segment durably, unless the archive has it already; its size, bytes.
fn copy(from: &Path, to: &Path) -> Result<u64, RetainError> {
    if to.exists() {
        return if same(from, to)? {
            Ok(std::fs::metadata(to).map_err(Error::io("look at", to))?.len())
        } else {
            Err(RetainError::Other { path: to.to_owned() })
        };
    }
    let draft = to.with_extension("moving");
    let copied = std::fs::copy(from, &draft).and_then(|size| {
        File::open(&draft)?.sync_all()?;
        Ok(size)
    });
    let size = copied.map_err(Error::io("copy the segment to", &draft))?;
    if !same(from, &draft)? {
        return Err(RetainError::Other { path: draft });
    }
    std::fs::rename(&draft, to).map_err(Error::io("name the segment", to))?;
    Ok(size)
}

/// Whether two files hold the same bytes.
fn same(one: &Path, other: &Path) -> Result<bool, Error> {
    let open = |path: &Path| File::open(path).map_err(Error::io("open", path));
    let (mut first, mut second) = (open(one)?, open(other)?);
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let len = |file: &File, path: &Path| {
        file.metadata()
            .map(|meta| meta.len())
            .map_err(Error::io("look at", path))
    };
    let mut left = len(&first, one)?;
    if left != len(&second, other)? {
        return Ok(false);
    }
    while left > 0 {
        // BOUND: a mebibyte.
        let step = left.min(a.len() as u64) as usize;
        first.read_exact(&mut a[..step]).map_err(Error::io("read", one))?;
        second.read_exact(&mut b[..step]).map_err(Error::io("read", other))?;
        if a[..step] != b[..step] {
            return Ok(false);
        }
        left -= step as u64;
    }
    Ok(true)
}

fn put_headers(dir: &Path, before: u64, raw: &[u8]) -> Result<(), Error> {
    let path = dir.join(HEADERS_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    file.and_then(|file| {
        file.write_all_at(raw, before * HEADER_SIZE as u64)?;
        file.sync_all()
    })
    .map_err(Error::io("write", &path))
}

fn put(dir: &Path, said: &Retained) -> Result<(), Error> {
    let path = dir.join(RETAINED_FILE);
    let draft = path.with_extension("draft");
    std::fs::write(&draft, said.text())
        .and_then(|()| File::open(&draft)?.sync_all())
        .and_then(|()| std::fs::rename(&draft, &path))
        .map_err(Error::io("write", &path))?;
    sync_dir(dir)
}
