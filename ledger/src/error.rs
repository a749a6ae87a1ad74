//! The two ways a ledger says no: [`Fault`], evidence about stored bytes, and [`Error`], the world or the caller.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What is wrong with stored bytes, numbered for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[repr(u8)]
#[non_exhaustive]
pub enum FaultKind {
    /// A file of the ledger is not there.
    #[error("the file is missing")]
    Missing = 1,
    /// The operating system refused to give the bytes.
    #[error("the file cannot be read")]
    Unreadable = 2,
    /// A writer holds the ledger, so its bytes are moving.
    #[error("the ledger is open for writing; stop the node, or read it live")]
    Locked = 3,
    /// No commit entry: creation was interrupted, or the commit file was lost.
    #[error("no commit entry: creation was interrupted or the commit file was emptied; restore the directory")]
    Unfinished = 4,
    /// A file's size is not the one recorded in the ledger.
    #[error("the file size is wrong")]
    FileSize = 5,
    /// A segment's own header is damaged.
    #[error("the segment header is damaged")]
    SegmentHeader = 6,
    /// A segment file stands where the ledger has none.
    #[error("a segment file stands where the ledger has none")]
    StraySegment = 7,
    /// The genesis bytes are not those the chain was started with.
    #[error("the genesis bytes are not those of this ledger's chain id")]
    Genesis = 8,
    /// A commit entry's height or length is out of order.
    #[error("the commit entry is out of order")]
    CommitEntry = 9,
    /// A commit entry's signature is not the log key's.
    #[error("the commit entry is damaged, or signed by another log key")]
    CommitSignature = 10,
    /// A commit entry and the block it names differ.
    #[error("the commit entry does not match its block")]
    CommitMismatch = 11,
    /// The log ends before the newest commit entry says.
    #[error("the log is shorter than its newest commit entry")]
    Truncated = 12,
    /// A frame runs out of its segment or of the published bytes.
    #[error("the frame length is impossible here")]
    FrameLength = 13,
    /// A frame's CRC-32C is not that of its bytes.
    #[error("the frame checksum is wrong")]
    FrameChecksum = 14,
    /// A byte that must be zero is not.
    #[error("a padding byte is not zero")]
    Padding = 15,
    /// A segment was left although the next frame fitted.
    #[error("a segment ends early")]
    Layout = 16,
    /// A kind that no record may have.
    #[error("the record kind is reserved")]
    RecordKind = 17,
    /// A record's sequence number does not follow.
    #[error("the sequence number does not follow")]
    Sequence = 18,
    /// A block header of an unknown version or size.
    #[error("the block header version is unknown")]
    HeaderVersion = 19,
    /// A header field that a node without a committee must leave at its fixed value.
    #[error("the block header names a committee, but this chain has none")]
    HeaderAlone = 20,
    /// A block's height does not follow.
    #[error("the block height does not follow")]
    Height = 21,
    /// A block of another chain.
    #[error("the block belongs to another chain")]
    Chain = 22,
    /// A block's parent digest is not that of the block before.
    #[error("the parent digest is wrong")]
    Parent = 23,
    /// A block's record count is not the number of its records.
    #[error("the record count is wrong")]
    RecordCount = 24,
    /// A block's record root is not that of its records.
    #[error("the record root is wrong")]
    RecordRoot = 25,
    /// A block's log root is not that of the headers before it.
    #[error("the log root is wrong")]
    LogRoot = 26,
    /// A block is older than its parent.
    #[error("the block time goes backwards")]
    Time = 27,
    /// Bytes stand beyond the published end.
    #[error("bytes stand beyond the last committed block; open the ledger once to recover it")]
    Beyond = 28,
    /// A snapshot that is damaged, of another chain, or not of the block it names.
    #[error("the snapshot is damaged, or not of this chain")]
    Snapshot = 40,
    /// A segment that retention moved off is needed.
    #[error("this segment has been moved off; `--archive DIR` names the folder that holds it")]
    MovedOff = 41,
    /// What says which segments were moved off is damaged.
    #[error("the record of the segments moved off is damaged")]
    Retained = 42,
    /// A kept header is not the one that the signed entry names.
    #[error("the kept block header is not the one that its commit entry names")]
    Header = 43,
}

impl FaultKind {
    /// The number of this kind.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Damage: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The file it was found in.
    pub file: PathBuf,
    /// Byte offset in that file.
    pub offset: u64,
    /// Height of the block being read, if one was.
    pub height: Option<u64>,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, file: impl Into<PathBuf>, offset: u64) -> Self {
        Self {
            kind,
            file: file.into(),
            offset,
            height: None,
        }
    }

    pub(crate) fn at_height(self, height: u64) -> Self {
        Self {
            height: Some(height),
            ..self
        }
    }

    pub(crate) fn unreadable(file: impl Into<PathBuf>, source: &io::Error) -> Self {
        let kind = if source.kind() == io::ErrorKind::NotFound {
            FaultKind::Missing
        } else {
            FaultKind::Unreadable
        };
        Self::new(kind, file, 0)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, offset {}", self.file.display(), self.offset)?;
        if let Some(height) = self.height {
            write!(f, ", block {height}")?;
        }
        write!(f, ": {} (fault {})", self.kind, self.kind.code())
    }
}

impl std::error::Error for Fault {}

/// What can stop a [`Store`](crate::Store) or a [`Reader`](crate::Reader).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk is full or a quota is used up. Nothing was changed: the same call can be made again.
    #[error("the disk is full or over its quota: cannot {action} {}: {source}; make room and the ledger goes on", path.display())]
    Full {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process or handle holds the directory.
    #[error("the ledger is already open elsewhere ({} is locked); stop that process first", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory already holds a ledger.
    #[error("{} already exists: a ledger is created only in an empty directory", path.display())]
    Exists {
        /// The file that was found.
        path: PathBuf,
    },
    /// Stored bytes are damaged; nothing was changed.
    #[error("the ledger is damaged and was left as it is: {0}")]
    Damaged(#[from] Fault),
    /// A segment size outside the bounds or not a multiple of the page.
    #[error("segment size {size} is not a multiple of 4096 between 4096 and 2^30 bytes")]
    SegmentSize {
        /// The size asked for, bytes.
        size: u64,
    },
    /// A record that does not fit in one segment.
    #[error("record {seq} has {size} payload bytes; this ledger's segments hold at most {size_max}")]
    RecordSize {
        /// The record's sequence number.
        seq: u64,
        /// Its payload, bytes.
        size: usize,
        /// The largest payload, bytes.
        size_max: usize,
    },
    /// A record of a reserved kind.
    #[error("record {seq} has kind {kind}, which is reserved")]
    RecordKind {
        /// The record's sequence number.
        seq: u64,
        /// Its kind.
        kind: u16,
    },
    /// A record whose sequence number does not follow.
    #[error("record has sequence number {found}, the next one is {expected}")]
    Sequence {
        /// The next sequence number.
        expected: u64,
        /// The one given.
        found: u64,
    },
    /// A block older than its parent.
    #[error("block time {found} ns is before its parent's {parent} ns")]
    Time {
        /// The parent's time, nanoseconds since 1970.
        parent: u64,
        /// The time given.
        found: u64,
    },
    /// A checkpoint on disk, or a line for it, is not what it must be.
    #[error("{}: {source}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: crate::note::NoteError,
    },
    /// The ledger has no such record.
    #[error("there is no record {seq}: the newest committed one is {last}")]
    NoRecord {
        /// The sequence number asked for.
        seq: u64,
        /// The last one there is.
        last: u64,
    },
    /// The ledger has no such block, or the checkpoint does not cover it.
    #[error("there is no block {height} below {size}")]
    NoBlock {
        /// The height asked for.
        height: u64,
        /// Number of blocks at hand.
        size: u64,
    },
    /// No checkpoint of this size is kept.
    #[error("no checkpoint of size {size} is kept; `checkpoint` makes one of the newest size")]
    NoCheckpoint {
        /// The size asked for.
        size: u64,
    },
    /// A sync or write failed before; what reached the disk is unknown.
    #[error("an earlier write or sync failed, so the state of the disk is unknown; restart to recover")]
    Poisoned,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// As [`Self::io`], for calls that ask for room and have changed nothing where there is none.
    pub(crate) fn room(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }
}
