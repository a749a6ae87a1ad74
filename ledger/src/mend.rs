//! Mending: single blocks of a ledger put back as they were, from whoever has them.
//!
//! # Contract
//! * Each commit entry says where its block lies and which digest it has: a block is checked, and taken, by its entry alone.
//!   An entry that the log key has not signed says nothing; `repair` takes entries from a copy.
//! * A block is taken only if its header has the digest that the entry names and its records have that header's root, and
//!   if it fills the place it lies in to the byte. Checksums decide nothing.
//! * Only bytes of that block are written, and headers of segment files that are not as they must be. What stood there goes
//!   to the folder `damaged`. An interruption leaves the block damaged, to be mended again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use wattbook_types::ChainId;
use wattbook_types::tree::{Frontier, leaf_hash};

use crate::block::{BlockHeader, RawBlockHeader, block_digest};
use crate::commits::{COMMIT_SIZE, Commit, RawCommit};
use crate::error::{Error, Fault, FaultKind};
use crate::files::{COMMITS_FILE, lock_exclusive, segment_path, sync_dir};
use crate::frame::{CRC_START, FRAME_ALIGN, KIND_BLOCK, RawFrameHeader, Record, RecordRef, frame_size};
use crate::log::{End, LOG_START, Log};
use crate::repair::{DAMAGED_DIR, segment_headers};
use crate::retention::Retained;
use crate::scan::BLOCK_FRAME_VERSION;
use crate::segment::{RawSegmentHeader, SEGMENT_HEADER_SIZE};

/// The blocks of a ledger, each by its commit entry.
#[derive(Debug)]
pub struct Mender {
    dir: PathBuf,
    chain: ChainId,
    key: VerifyingKey,
    log: Log,
    commits: File,
    /// Entries up to the newest whole one.
    entries: u64,
    /// Held, never read; a mender beside a store has none, and the store holds it.
    _lock: Option<File>,
}

impl Mender {
    /// Opens a ledger that nobody has open, damaged as it may be, for the chain and log key that the caller trusts.
    ///
    /// # Errors
    /// [`Error::Locked`]; [`Error::Damaged`] where no segment says how large segments are, or no entries are there.
    pub fn open(dir: &Path, chain: ChainId, key: &VerifyingKey) -> Result<Self, Error> {
        let lock = lock_exclusive(dir)?;
        let headers = segment_headers(dir).filter(|header| header.chain_id == chain.0.0);
        let size = headers.map(|header| header.segment_size).next();
        let size = size.ok_or_else(|| Fault::new(FaultKind::SegmentHeader, segment_path(dir, 0), 0))?;
        let mut mender = Self::beside(dir, chain, *key, size)?;
        mender._lock = Some(lock);
        Ok(mender)
    }

    /// Opens beside the store that holds the lock.
    pub(crate) fn beside(dir: &Path, chain: ChainId, key: VerifyingKey, segment_size: u64) -> Result<Self, Error> {
        let path = dir.join(COMMITS_FILE);
        let commits = File::open(&path).map_err(|source| Fault::unreadable(&path, &source))?;
        let size = commits.metadata().map_err(Error::io("look at", &path))?.len();
        let mut mender = Self {
            dir: dir.to_owned(),
            chain,
            key,
            log: Log::new(dir, chain, segment_size),
            commits,
            entries: size / COMMIT_SIZE,
            _lock: None,
        };
        // The last ones may be a crash's.
        while mender.entries > 0 && mender.entry(mender.entries - 1).is_err() {
            mender.entries -= 1;
        }
        if let Some(last) = mender.entries.checked_sub(1) {
            let length = mender.entry(last)?.length;
            mender.log.promise_any(mender.log.segments_of(length));
        }
        Ok(mender)
    }

    /// The entry of a block, as the log key has signed it.
    fn entry(&self, height: u64) -> Result<Commit, Fault> {
        let fault = |kind| Fault::new(kind, self.dir.join(COMMITS_FILE), height * COMMIT_SIZE).at_height(height);
        let mut bytes = [0; COMMIT_SIZE as usize];
        (self.commits.read_exact_at(&mut bytes, height * COMMIT_SIZE)).map_err(|_| fault(FaultKind::Unreadable))?;
        let entry: RawCommit = bytemuck::pod_read_unaligned(&bytes);
        entry.check(height, 0, self.chain, &self.key).map_err(fault)
    }

    /// Length of the log before a block, and its entry.
    fn place(&self, height: u64) -> Result<(u64, Commit), Fault> {
        let before = match height.checked_sub(1) {
            Some(before) => self.entry(before)?.length,
            None => LOG_START,
        };
        let commit = self.entry(height)?;
        if commit.length <= before {
            let at = height * COMMIT_SIZE;
            return Err(Fault::new(FaultKind::CommitEntry, self.dir.join(COMMITS_FILE), at).at_height(height));
        }
        Ok((before, commit))
    }

    /// A block that holds, by its header and records.
    ///
    /// # Errors
    /// What is wrong with it, or with its entry: [`Self::can_mend`] tells them apart.
    pub fn block(&self, height: u64) -> Result<(BlockHeader, Vec<RecordRef<'_>>), Fault> {
        let (before, commit) = self.place(height)?;
        self.block_at(before, &commit)
    }

    /// Whether a fault is of a block's bytes, which peers have, and not of what names them.
    pub fn can_mend(&self, fault: &Fault) -> bool {
        fault.file.file_name().is_none_or(|name| name != COMMITS_FILE) && fault.kind != FaultKind::MovedOff
    }

    fn block_at(&self, before: u64, commit: &Commit) -> Result<(BlockHeader, Vec<RecordRef<'_>>), Fault> {
        let height = commit.height;
        let (mut at, mut records, mut tree) = (before, Vec::new(), Frontier::new());
        loop {
            let frame = self.log.frame_at(at, End::Published(commit.length), height)?;
            let frame = frame.ok_or_else(|| self.log.fault(FaultKind::Truncated, at, height))?;
            let fault = |kind| self.log.fault(kind, frame.offset, height);
            at = frame.end;
            if frame.kind != KIND_BLOCK {
                tree.push(leaf_hash(frame.leaf));
                records.push(RecordRef {
                    kind: frame.kind,
                    version: frame.version,
                    seq: frame.seq,
                    payload: frame.payload,
                    leaf: frame.leaf,
                    offset: frame.offset,
                });
                continue;
            }
            // The digest covers all that a header says, the record root all that its records say.
            let is_it = block_digest(self.chain, frame.payload) == commit.digest
                && (at, frame.seq, frame.version) == (commit.length, height, BLOCK_FRAME_VERSION);
            let raw = RawBlockHeader::read(frame.payload).filter(|_| is_it);
            let header = BlockHeader::from_raw(&raw.ok_or_else(|| fault(FaultKind::CommitMismatch))?).map_err(fault)?;
            if (header.record_root, header.record_count) != (tree.root(), tree.size()) {
                return Err(fault(FaultKind::RecordRoot));
            }
            return Ok((header, records));
        }
    }

    /// Every block that does not hold, and what is wrong with it; those moved off are not looked at.
    ///
    /// # Errors
    /// An entry that the log key has not signed, with entries behind it: no block says what it was.
    pub fn damaged(&self) -> Result<Vec<(u64, Fault)>, Fault> {
        let mut damaged = Vec::new();
        let kept = Retained::read(&self.dir)?.blocks();
        let mut before = match kept.checked_sub(1) {
            Some(before) if kept < self.entries => self.entry(before)?.length,
            _ => LOG_START,
        };
        for height in kept..self.entries {
            let commit = self.entry(height)?;
            if let Err(fault) = self.block_at(before, &commit) {
                damaged.push((height, fault));
            }
            before = commit.length;
        }
        Ok(damaged)
    }

    /// Puts a block back where its entry says; `false` where it is not the one that the entry names. Durable on return.
    ///
    /// # Errors
    /// The entry's fault; [`Error::Io`].
    pub fn mend(&self, header: &BlockHeader, records: &[Record<'_>]) -> Result<bool, Error> {
        let (before, commit) = self.place(header.height)?;
        let mut tree = Frontier::new();
        records.iter().for_each(|record| tree.push(leaf_hash(&record.leaf())));
        let is_it =
            header.digest() == commit.digest && (header.record_root, header.record_count) == (tree.root(), tree.size());
        // No block of that digest can have another length.
        let image = self.image(before, header, records).filter(|_| is_it);
        let Some(image) = image.filter(|image| before + image.len() as u64 == commit.length) else {
            return Ok(false);
        };
        self.keep(header.height, before, image.len())?;
        let size = self.log.segment_size();
        let (mut at, mut rest) = (before, image.as_slice());
        while !rest.is_empty() {
            // BOUND: no more than what is left, which is in memory.
            let (piece, after) = rest.split_at(rest.len().min((size - at % size) as usize));
            self.write(at, piece)?;
            at += piece.len() as u64;
            rest = after;
        }
        Ok(true)
    }

    /// The bytes of the log from `before` to the end of a block; `None` for payloads that no log takes.
    fn image(&self, before: u64, header: &BlockHeader, records: &[Record<'_>]) -> Option<Vec<u8>> {
        let raw = header.to_raw();
        let last = Record {
            kind: KIND_BLOCK,
            version: BLOCK_FRAME_VERSION,
            seq: header.height,
            payload: raw.as_bytes(),
        };
        let (mut image, mut length) = (Vec::new(), before);
        for record in records.iter().chain([&last]) {
            let size = frame_size(record.payload.len() as u64);
            if record.payload.len() as u64 > self.log.payload_max() {
                return None;
            }
            let at = self.log.place(length, size);
            if at > length {
                let border = at - SEGMENT_HEADER_SIZE;
                image.resize((border - before) as usize, 0);
                let (index, size) = (border / self.log.segment_size(), self.log.segment_size());
                image.extend_from_slice(&RawSegmentHeader::of(index, size, self.chain));
            }
            let mut head = RawFrameHeader::new(record.kind, record.version, record.seq, record.payload)?;
            let crc = crc32c::crc32c(&bytemuck::bytes_of(&head)[CRC_START..]);
            head.crc32c = crc32c::crc32c_append(crc, record.payload);
            image.extend_from_slice(bytemuck::bytes_of(&head));
            image.extend_from_slice(record.payload);
            image.resize(image.len().next_multiple_of(FRAME_ALIGN as usize), 0);
            length = at + size;
        }
        Some(image)
    }

    /// Copies what stands where a block will be written, as far as it can be read, to the folder of damaged bytes.
    fn keep(&self, height: u64, before: u64, len: usize) -> Result<(), Error> {
        let (folder, size) = (self.dir.join(DAMAGED_DIR), self.log.segment_size());
        let (mut bytes, end) = (Vec::with_capacity(len), before + len as u64);
        let mut at = before;
        while at < end {
            let mut piece = vec![0; (size - at % size).min(end - at) as usize];
            if let Ok(file) = File::open(segment_path(&self.dir, at / size)) {
                // What cannot be read is kept as zeros.
                let _ = file.read_exact_at(&mut piece, at % size);
            }
            at += piece.len() as u64;
            bytes.append(&mut piece);
        }
        let path = folder.join(format!("{height:020}.block"));
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(Error::io("keep damaged bytes in", &path))
    }

    /// Writes bytes of one segment, whose file is made as it must be first.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let size = self.log.segment_size();
        let (index, offset) = (at / size, at % size);
        let path = segment_path(&self.dir, index);
        let is_there = path.exists();
        let is_whole = RawSegmentHeader::expect(&path, index, size, self.chain).is_ok();
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(|file| {
                let found = file.metadata()?.len();
                if found > size {
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                if found < size {
                    file.set_len(size)?;
                }
                if !is_whole {
                    file.write_all_at(&RawSegmentHeader::of(index, size, self.chain), 0)?;
                }
                file.write_all_at(bytes, offset)?;
                file.sync_all()
            })
            .map_err(Error::io("mend", &path))?;
        if is_there { Ok(()) } else { sync_dir(&self.dir) }
    }
}
