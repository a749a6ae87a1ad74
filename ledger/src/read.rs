//! Reading a ledger, beside a live writer or offline: by block, and by sequence number.
//!
//! # Contract
//! * A block is given once its bytes, its records and its place in the chain were checked; the newest committed block is
//!   held against its commit entry, and with it every block before.
//! * Nothing is copied: records are the mapping's bytes, for as long as the reader lives.
//! * What is given is committed. A live writer never changes it.
//! * Where no writer is live, what stands behind the newest committed block is for [`Reader::left_over`] to name: readers
//!   show the ledger before it, [`check`](crate::check()) refuses it, and opening the ledger for writing recovers it.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use wattbook_types::{ChainId, Hash};

use crate::anchor::Anchor;
use crate::block::BlockHeader;
use crate::commits::{COMMIT_SIZE, Commit, RawCommit};
use crate::error::{Error, Fault, FaultKind};
use crate::files::{COMMITS_FILE, count_segments, has_writer, lock_shared, read_genesis, segment_path};
use crate::frame::RecordRef;
use crate::log::{End, Frame, LOG_START, Log, recorded_segment_size};
use crate::retention::{self, Retained};
use crate::scan::{Block, Head};

/// A ledger open for reading. Signatures are not checked here; [`check`](crate::check()) does that.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    genesis: Vec<u8>,
    chain: ChainId,
    log: Log,
    commits: File,
    committed: Option<Commit>,
    end: End,
    /// Blocks that begin in segments moved off and not at hand.
    headers_only: u64,
    /// Held, never read: keeps writers out while everything is being read.
    _lock: Option<File>,
}

fn open_commits(dir: &Path) -> Result<File, Fault> {
    let path = dir.join(COMMITS_FILE);
    File::open(&path).map_err(|source| Fault::unreadable(&path, &source))
}

/// The newest complete entry of the commit file; an incomplete one is being written.
fn newest_entry(dir: &Path, file: &File) -> Result<Option<Commit>, Fault> {
    let path = dir.join(COMMITS_FILE);
    let unreadable = |source: std::io::Error| Fault::unreadable(&path, &source);
    let Some(height) = (file.metadata().map_err(unreadable)?.len() / COMMIT_SIZE).checked_sub(1) else {
        return Ok(None);
    };
    let mut bytes = [0; COMMIT_SIZE as usize];
    file.read_exact_at(&mut bytes, height * COMMIT_SIZE)
        .map_err(unreadable)?;
    let commit = bytemuck::pod_read_unaligned::<RawCommit>(&bytes).commit();
    if commit.height == height && commit.length > LOG_START {
        Ok(Some(commit))
    } else {
        Err(Fault::new(FaultKind::CommitEntry, path, height * COMMIT_SIZE).at_height(height))
    }
}

impl Reader {
    /// Opens what is committed; needs no lock and works beside a live writer.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_in(dir, None)
    }

    /// Opens as [`Self::open`] does; segments that were moved off are read from an archive, if one is named.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn open_in(dir: &Path, archive: Option<&Path>) -> Result<Self, Error> {
        let (genesis, chain) = read_genesis(dir)?;
        let mut log = Log::new(dir, chain, recorded_segment_size(dir, chain)?);
        log.archive(archive);
        let mut reader = Self {
            dir: dir.to_owned(),
            genesis,
            chain,
            log,
            commits: open_commits(dir)?,
            committed: None,
            end: End::Published(LOG_START),
            headers_only: 0,
            _lock: None,
        };
        reader.refresh()?;
        Ok(reader)
    }

    /// Opens everything that is there, committed or not; refused while a writer is live.
    ///
    /// # Errors
    /// [`Error::Damaged`], of kind [`FaultKind::Locked`] while a writer is live.
    pub fn open_whole(dir: &Path) -> Result<Self, Error> {
        let lock = lock_shared(dir)?;
        let (genesis, chain) = read_genesis(dir)?;
        let mut log = Log::new(dir, chain, recorded_segment_size(dir, chain)?);
        log.map(count_segments(dir)?, false)?;
        let commits = open_commits(dir)?;
        let committed = newest_entry(dir, &commits)?;
        Ok(Self {
            dir: dir.to_owned(),
            genesis,
            chain,
            log,
            commits,
            committed,
            end: End::Open,
            headers_only: 0,
            _lock: lock,
        })
    }

    /// Looks for blocks committed, and segments moved off, since; a reader of everything stays as it is. True if there are
    /// new blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn refresh(&mut self) -> Result<bool, Error> {
        if self.end == End::Open {
            return Ok(false);
        }
        let newest = newest_entry(&self.dir, &self.commits)?
            .ok_or_else(|| Fault::new(FaultKind::Unfinished, self.dir.join(COMMITS_FILE), 0))?;
        let newer = self.committed.is_none_or(|known| known.height < newest.height);
        if !self.log.has_archive() {
            self.headers_only = Retained::read(&self.dir)?.blocks();
        }
        if newer {
            self.log.promise(self.log.segments_of(newest.length))?;
            self.committed = Some(newest);
            self.end = End::Published(newest.length);
        }
        Ok(newer)
    }

    /// The entries of the blocks from `height` on, up to the newest committed one; signatures are not checked.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn commits_from(&self, height: u64) -> Result<Vec<Commit>, Error> {
        let Some(newest) = self.committed else {
            return Ok(Vec::new());
        };
        let mut commits = Vec::new();
        let mut bytes = [0; COMMIT_SIZE as usize];
        for height in height..=newest.height {
            let read = self.commits.read_exact_at(&mut bytes, height * COMMIT_SIZE);
            read.map_err(|source| Fault::unreadable(self.dir.join(COMMITS_FILE), &source))?;
            commits.push(bytemuck::pod_read_unaligned::<RawCommit>(&bytes).commit());
        }
        Ok(commits)
    }

    /// What stands behind the newest committed block although no writer is live: part of an entry, or bytes of blocks
    /// without one, as a crash leaves them or a file that was cut. `None` where nothing does, and beside a live writer.
    ///
    /// # Errors
    /// What is wrong with the files otherwise.
    pub fn left_over(&self) -> Result<Option<Fault>, Fault> {
        let Some(newest) = self.committed else { return Ok(None) };
        let found = self.behind(&newest)?;
        if found.is_none() || has_writer(&self.dir)? {
            return Ok(None);
        }
        // A writer that ended meanwhile has left what is there now.
        match newest_entry(&self.dir, &self.commits)? {
            Some(now) if now != newest => Ok(None),
            _ => self.behind(&newest),
        }
    }

    fn behind(&self, newest: &Commit) -> Result<Option<Fault>, Fault> {
        let (path, height) = (self.dir.join(COMMITS_FILE), newest.height + 1);
        let size = (self.commits.metadata())
            .map_err(|source| Fault::unreadable(&path, &source))?
            .len();
        if size > height * COMMIT_SIZE {
            let cut = Fault::new(FaultKind::FileSize, path, height * COMMIT_SIZE);
            return Ok(Some(cut.at_height(height)));
        }
        if let Some(at) = self.log.nonzero_after(newest.length)? {
            return Ok(Some(self.log.fault(FaultKind::Beyond, at, height)));
        }
        let needed = self.log.segments_of(newest.length);
        let is_more = count_segments(&self.dir)? > needed;
        Ok(is_more.then(|| Fault::new(FaultKind::StraySegment, segment_path(&self.dir, needed), 0)))
    }

    /// The chain.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The genesis bytes.
    pub fn genesis(&self) -> &[u8] {
        &self.genesis
    }

    /// The newest committed block.
    pub const fn committed(&self) -> Option<Commit> {
        self.committed
    }

    /// Size of a segment, bytes.
    pub const fn segment_size(&self) -> u64 {
        self.log.segment_size()
    }

    /// The segment file of a log offset, and the offset in it.
    pub fn locate(&self, offset: u64) -> (PathBuf, u64) {
        self.log.locate(offset)
    }

    /// The blocks from genesis on, each checked before it is given; ends after the first fault.
    pub const fn blocks(&self) -> Blocks<'_> {
        Blocks {
            reader: self,
            head: Head::new(self.chain),
            done: false,
        }
    }

    /// The blocks that follow `head`.
    pub(crate) const fn blocks_after(&self, head: Head) -> Blocks<'_> {
        Blocks {
            reader: self,
            head,
            done: false,
        }
    }

    /// Holds a block, which ends at log offset `end`, against its commit entry; a block without one is not committed yet.
    pub(crate) fn agrees(&self, height: u64, digest: &Hash, end: u64) -> Result<(), Fault> {
        let Some(newest) = self.committed.filter(|newest| height <= newest.height) else {
            return Ok(());
        };
        let (path, at) = (self.dir.join(COMMITS_FILE), height * COMMIT_SIZE);
        let commit = if height == newest.height {
            newest
        } else {
            let mut bytes = [0; COMMIT_SIZE as usize];
            (self.commits.read_exact_at(&mut bytes, at)).map_err(|source| Fault::unreadable(&path, &source))?;
            bytemuck::pod_read_unaligned::<RawCommit>(&bytes).commit()
        };
        if (commit.height, commit.digest, commit.length) == (height, *digest, end) {
            Ok(())
        } else {
            Err(Fault::new(FaultKind::CommitMismatch, path, at).at_height(height))
        }
    }

    /// Says that bytes of the log will be read, so that reads of several places run side by side; advice only.
    pub(crate) fn want(&self, from: u64, end: u64) {
        self.log.want(from, end);
    }

    /// Says that a block's commit entry will be read.
    pub(crate) fn want_entry(&self, height: u64) {
        let _ = fadvise(
            &self.commits,
            height * COMMIT_SIZE,
            NonZeroU64::new(COMMIT_SIZE),
            Advice::WillNeed,
        );
    }

    /// The frame that follows a log of length `from`.
    pub(crate) fn frame_at(&self, from: u64, height: u64) -> Result<Option<Frame<'_>>, Fault> {
        self.log.frame_at(from, self.end, height)
    }

    /// Number of blocks that begin in segments moved off and not at hand; their headers are here.
    pub(crate) const fn headers_only(&self) -> u64 {
        self.headers_only
    }

    /// Kept header and log length of such a block.
    pub(crate) fn kept_header(&self, height: u64) -> Result<(Vec<u8>, u64), Fault> {
        let (raw, commit) = retention::header(&self.dir, self.chain, height)?;
        Ok((raw, commit.length))
    }

    /// A fault at a log offset.
    pub(crate) fn fault(&self, kind: FaultKind, at: u64, height: u64) -> Fault {
        self.log.fault(kind, at, height)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Reader {
    /// The log behind it.
    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }

    /// The blocks that follow an anchor of this ledger.
    pub fn blocks_from(&self, anchor: &Anchor) -> Blocks<'_> {
        Blocks {
            reader: self,
            head: anchor.head.clone(),
            done: false,
        }
    }
}

/// Iterator over a ledger's records, from a sequence number on; the bytes are those of the mapping.
#[derive(Debug)]
pub struct Records<'a> {
    blocks: Blocks<'a>,
    block: std::vec::IntoIter<RecordRef<'a>>,
    header: Option<BlockHeader>,
    from: u64,
}

impl<'a> Records<'a> {
    /// The records of these blocks whose number is `from` or greater.
    pub fn new(blocks: Blocks<'a>, from: u64) -> Self {
        Self {
            blocks,
            block: Vec::new().into_iter(),
            header: None,
            from,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(BlockHeader, RecordRef<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (Some(header), Some(record)) = (self.header, self.block.find(|record| record.seq >= self.from)) {
                return Some(Ok((header, record)));
            }
            match self.blocks.next()? {
                Ok(block) => (self.header, self.block) = (Some(block.header), block.records.into_iter()),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

/// Iterator over a ledger's blocks.
#[derive(Debug)]
pub struct Blocks<'a> {
    reader: &'a Reader,
    head: Head,
    done: bool,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let reader = self.reader;
        let item = self.head.next(&reader.log, reader.end).and_then(|block| {
            let Some(block) = block else { return Ok(None) };
            // Every header leads to the newest entry, which so stands for all before it.
            if reader
                .committed
                .is_some_and(|commit| commit.height == block.header.height)
            {
                reader.agrees(block.header.height, &block.digest, block.end)?;
            }
            Ok(Some(block))
        });
        self.done = !matches!(item, Ok(Some(_)));
        item.transpose()
    }
}
