//! Where every block stands, and the tree of their headers: made from the log, never believed over it.
//!
//! # Format
//! Folder `index` of a ledger directory. `blocks.idx`: magic 8 `wattidx1`, chain id 32, zero 8, then one row a block:
//! first sequence number u64, log offset of the first frame u64, log length after the block u64. `nodes.idx`: the hashes
//! of the RFC 9162 tree over the headers, 32 bytes each, a node right after its right child.
//!
//! # Invariants
//! * Whoever holds the lock of `blocks.idx` writes it; others read, and keep in memory what is missing.
//! * A row leads to a block that is then checked as the log's own and held against its commit entry; a node is used under
//!   a root that a header or a checkpoint states. What does not fit is thrown away and made again from the log, once; then it is damage of the log.
//! * Nothing here is durable by promise: a lost tail is made again.

mod column;
mod extend;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use wattbook_types::tree::{
    Frontier, consistency_path, empty_root, inclusion_path, leaf_hash, node_hash, verify_consistency,
};
use wattbook_types::{ChainId, Hash};

use crate::block::{BlockHeader, FIRST_SEQ, HEADER_SIZE, RawBlockHeader, block_digest};
use crate::error::{Error, Fault, FaultKind};
use crate::frame::{KIND_BLOCK, frame_size};
use crate::log::LOG_START;
use crate::note::{Checkpoint, NoteError};
use crate::read::{Blocks, Reader, Records};
use crate::scan::{Block, Head, has_no_delegates};
use column::{Column, ROW_SIZE, Row, WINDOW, node_count, node_place};

/// Folder of the index in a ledger directory.
pub const INDEX_DIR: &str = "index";
const BLOCKS_FILE: &str = "blocks.idx";
const NODES_FILE: &str = "nodes.idx";
const MAGIC: [u8; 8] = *b"wattidx1";
const BLOCKS_HEADER_SIZE: u64 = 48;
/// Bytes gathered before a column is written.
const FLUSH_SIZE: usize = 1 << 20;

/// The index of one ledger.
#[derive(Debug)]
pub struct HeaderIndex {
    chain: ChainId,
    rows: Column<ROW_SIZE>,
    nodes: Column<32>,
    /// Whether the files may be written.
    writer: bool,
}

impl HeaderIndex {
    /// Opens the index of a ledger and brings it up to the reader's newest committed block.
    ///
    /// # Errors
    /// [`Error::Damaged`] for the log, [`Error::Io`].
    pub fn open(reader: &Reader) -> Result<Self, Error> {
        let mut index = Self::begin(reader);
        index.extend(reader)?;
        Ok(index)
    }

    /// Opens the index of a ledger as it stands; [`Self::extend`] brings it up to the reader's newest committed block.
    pub fn begin(reader: &Reader) -> Self {
        let mut index = Self::load(reader.dir(), reader.chain());
        // Beside a live writer it may hold blocks that came after the reader looked.
        if let Some(newest) = reader.committed() {
            index.truncate(index.size().min(newest.height + 1));
        }
        index
    }

    /// Whether what is added is written to the files: whoever came first holds their lock.
    pub const fn is_writer(&self) -> bool {
        self.writer
    }

    /// Length of the log after the last block it holds, bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn length(&self) -> Result<u64, Error> {
        match self.size().checked_sub(1) {
            None => Ok(LOG_START),
            Some(tip) => Ok(self.row(tip)?.end),
        }
    }

    /// What is on disk, if it can be used; otherwise an index in memory.
    fn load(dir: &Path, chain: ChainId) -> Self {
        let folder = dir.join(INDEX_DIR);
        let (rows_path, nodes_path) = (folder.join(BLOCKS_FILE), folder.join(NODES_FILE));
        let open = |path: &Path, write: bool| {
            OpenOptions::new()
                .read(true)
                .write(write)
                .create(write)
                .truncate(false)
                .open(path)
                .ok()
        };
        let writable = std::fs::create_dir_all(&folder)
            .ok()
            .and_then(|()| open(&rows_path, true))
            .filter(|file| file.try_lock().is_ok());
        let mut head = [0; BLOCKS_HEADER_SIZE as usize];
        head[..8].copy_from_slice(&MAGIC);
        head[8..40].copy_from_slice(&chain.0.0);
        let is_ours = |file: &File| {
            let mut found = head;
            found.fill(0);
            file.read_exact_at(&mut found, 0).is_ok() && found == head
        };
        let (rows, nodes, writer) = match writable {
            Some(rows) => {
                let nodes = open(&nodes_path, true);
                if !is_ours(&rows) {
                    // Another chain's, or new: nothing in it is of use.
                    let fresh = rows.set_len(0).and_then(|()| rows.write_all_at(&head, 0));
                    match fresh {
                        Ok(()) => (Some(rows), nodes, true),
                        Err(_) => (None, None, false),
                    }
                } else {
                    (Some(rows), nodes, true)
                }
            }
            None => match open(&rows_path, false).filter(is_ours) {
                Some(rows) => (Some(rows), open(&nodes_path, false), false),
                None => (None, None, false),
            },
        };
        let both = rows.is_some() && nodes.is_some();
        let mut index = Self {
            chain,
            rows: Column::open(rows_path, rows.filter(|_| both), BLOCKS_HEADER_SIZE),
            nodes: Column::open(nodes_path, nodes.filter(|_| both), 0),
            writer: writer && both,
        };
        // BOUND: n leaves have between n and 2 n nodes.
        let mut size = index.rows.len().min(index.nodes.len());
        while node_count(size) > index.nodes.len() {
            size = (size - 1).min((index.nodes.len() + 64) / 2);
        }
        index.truncate(size);
        index
    }

    fn truncate(&mut self, size: u64) {
        self.rows.truncate(size);
        self.nodes.truncate(node_count(size));
    }

    /// Number of blocks it holds.
    pub const fn size(&self) -> u64 {
        self.rows.len()
    }

    fn row(&self, height: u64) -> Result<Row, Error> {
        self.rows.get(height).map(Row::from_bytes)
    }

    pub(crate) fn node(&self, level: u32, n: u64) -> Result<Hash, Error> {
        self.nodes.get(node_place(level, n)).map(Hash)
    }

    /// Says which nodes will be read: those that `ask` reads.
    fn want_nodes<T>(
        &self,
        ask: impl FnOnce(&mut dyn FnMut(u32, u64) -> Result<Hash, Infallible>) -> Result<T, Infallible>,
    ) {
        let _ = ask(&mut |level, n| {
            self.nodes.want(node_place(level, n));
            Ok(Hash::ZERO)
        });
    }

    /// Says that a header will be read, and what stands beside it in the commit file.
    fn want_header(&self, reader: &Reader, height: u64) -> Result<(), Error> {
        if height >= reader.headers_only() && height < self.size() {
            let end = self.row(height)?.end;
            let at = end.saturating_sub(frame_size(HEADER_SIZE as u64)).max(LOG_START);
            reader.want(at, end);
            reader.want_entry(height);
        }
        Ok(())
    }

    /// Says that a block will be read and checked, and the nodes and headers that this takes.
    fn want_block(&self, reader: &Reader, height: u64) -> Result<(), Error> {
        self.want_nodes(|node| Frontier::at(height, node));
        if let Some(before) = height.checked_sub(1) {
            self.want_header(reader, before)?;
        }
        if height >= reader.headers_only() && height < self.size() {
            let row = self.row(height)?;
            reader.want(row.offset, row.end);
            reader.want_entry(height);
        }
        Ok(())
    }

    /// Says what a proof of a header under a checkpoint will read.
    pub(crate) fn want_inclusion(&self, reader: &Reader, height: u64, size: u64) -> Result<(), Error> {
        self.want_nodes(|node| inclusion_path(height, size, node));
        self.want_header(reader, size)
    }

    /// Root over the first `size` headers, as the log states it: the header after them, or the last one and its leaf.
    pub(crate) fn stated_root(&self, reader: &Reader, size: u64) -> Result<Hash, Error> {
        self.covers(size)?;
        if size < self.size() {
            return Ok(self.header(reader, size)?.0.log_root);
        }
        let Some(tip) = size.checked_sub(1) else {
            return Ok(empty_root());
        };
        let (header, raw) = self.header(reader, tip)?;
        let mut headers = Frontier::at(tip, |level, n| self.node(level, n))?;
        if headers.root() != header.log_root {
            return Err(Error::Damaged(reader.fault(
                FaultKind::LogRoot,
                self.row(tip)?.offset,
                tip,
            )));
        }
        headers.push(leaf_hash(&raw));
        Ok(headers.root())
    }

    fn covers(&self, size: u64) -> Result<(), Error> {
        if size <= self.size() {
            return Ok(());
        }
        Err(Error::NoBlock {
            height: size - 1,
            size: self.size(),
        })
    }

    /// What a checkpoint of the first `size` headers says.
    ///
    /// # Errors
    /// [`Error::NoBlock`] beyond the ledger, [`Error::Damaged`], [`Error::Io`].
    pub fn checkpoint(&mut self, reader: &Reader, size: u64, origin: String) -> Result<Checkpoint, Error> {
        let root = self.sound(reader, |index| index.stated_root(reader, size))?;
        Ok(Checkpoint { origin, size, root })
    }

    /// Whether a checkpoint is of this log; `path` is where it came from.
    pub(crate) fn owns(&self, reader: &Reader, checkpoint: &Checkpoint, path: &Path) -> Result<(), Error> {
        let (size, found) = (checkpoint.size, checkpoint.root);
        let kept = self.stated_root(reader, size)?;
        if kept == found {
            return Ok(());
        }
        let source = NoteError::Split { size, kept, found };
        Err(Error::Note {
            path: path.to_owned(),
            source,
        })
    }

    /// Holds the nodes that headers `from..size` completed against the log.
    pub(crate) fn nodes_hold(&self, reader: &Reader, from: u64, size: u64) -> Result<(), Error> {
        for height in from..size {
            let (_, raw) = self.header(reader, height)?;
            let mut node = leaf_hash(&raw);
            for level in 0..=height.trailing_ones() {
                if self.node(level, height >> level)? != node {
                    let offset = self.row(height)?.offset;
                    return Err(Error::Damaged(reader.fault(FaultKind::LogRoot, offset, height)));
                }
                if level < height.trailing_ones() {
                    node = node_hash(&self.node(level, (height >> level) - 1)?, &node);
                }
            }
        }
        Ok(())
    }

    /// Inclusion path of header `height` in the tree of the first `size`; whoever uses it checks it.
    pub(crate) fn inclusion(&self, height: u64, size: u64) -> Result<Vec<Hash>, Error> {
        self.covers(size)?;
        inclusion_path(height, size, |level, n| self.node(level, n))?.ok_or(Error::NoBlock { height, size })
    }

    /// Consistency path from the tree of the first `first` headers to that of the first `second`.
    ///
    /// # Errors
    /// [`Error::NoBlock`], [`Error::Damaged`], [`Error::Io`].
    pub fn consistency(&mut self, reader: &Reader, first: u64, second: u64) -> Result<Vec<Hash>, Error> {
        self.sound(reader, |index| {
            let (old, new) = (index.stated_root(reader, first)?, index.stated_root(reader, second)?);
            let path = consistency_path(first, second, |level, n| index.node(level, n))?;
            let path = path.ok_or(Error::NoBlock {
                height: first.saturating_sub(1),
                size: second,
            })?;
            if verify_consistency(first, &old, second, &new, &path) {
                Ok(path)
            } else {
                Err(Error::Damaged(reader.fault(FaultKind::LogRoot, LOG_START, first)))
            }
        })
    }

    /// Header of a block, as the log has it and the log key has committed it.
    ///
    /// # Errors
    /// [`Error::NoBlock`], [`Error::Damaged`], [`Error::Io`].
    pub fn header<'a>(&self, reader: &'a Reader, height: u64) -> Result<(BlockHeader, Cow<'a, [u8]>), Error> {
        self.covers(height.saturating_add(1))?;
        let kept = || -> Result<(BlockHeader, Cow<'a, [u8]>), Error> {
            let (raw, _) = reader.kept_header(height)?;
            let header = header_of(reader, &raw, LOG_START, height)?;
            Ok((header, raw.into()))
        };
        if height < reader.headers_only() {
            return kept();
        }
        let end = self.row(height)?.end;
        let at = end.saturating_sub(frame_size(HEADER_SIZE as u64)).max(LOG_START);
        let fault = |kind| Error::Damaged(reader.fault(kind, at, height));
        let frame = match reader.frame_at(at, height) {
            // Moved off since the reader looked.
            Err(moved) if moved.kind == FaultKind::MovedOff => return kept(),
            read => read?.ok_or_else(|| fault(FaultKind::Truncated))?,
        };
        let header = header_of(reader, frame.payload, at, height)?;
        if frame.kind != KIND_BLOCK || frame.end != end || header.height != height {
            return Err(fault(FaultKind::Height));
        }
        reader.agrees(height, &block_digest(self.chain, frame.payload), end)?;
        Ok((header, frame.payload.into()))
    }

    /// The blocks from `height` on, each checked in full before it is given.
    ///
    /// # Errors
    /// [`Error::NoBlock`], [`Error::Damaged`], [`Error::Io`].
    pub fn blocks<'a>(&self, reader: &'a Reader, height: u64) -> Result<Blocks<'a>, Error> {
        let Some(before) = height.checked_sub(1) else {
            return Ok(reader.blocks());
        };
        let (header, raw) = self.header(reader, before)?;
        let head = Head {
            chain: self.chain,
            length: self.row(before)?.end,
            height_next: height,
            seq_next: header.next_seq().unwrap_or(u64::MAX),
            time_min: header.time,
            parent: block_digest(self.chain, &raw),
            headers: Frontier::at(height, |level, n| self.node(level, n))?,
            is_alone: has_no_delegates(self.chain, &header),
        };
        Ok(reader.blocks_after(head))
    }

    /// The records from number `from` on; none if the ledger ends before it.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn records<'a>(&mut self, reader: &'a Reader, from: u64) -> Result<Records<'a>, Error> {
        Ok(Records::new(self.blocks_with(reader, from)?, from))
    }

    /// The blocks from the one that holds record `seq` on; from the last one if the ledger ends before it.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn blocks_with<'a>(&mut self, reader: &'a Reader, seq: u64) -> Result<Blocks<'a>, Error> {
        let seq = seq.max(FIRST_SEQ);
        self.sound(reader, |index| index.blocks(reader, index.height_of(seq)?))
    }

    /// Height of the block that should hold record `seq`.
    ///
    /// Blocks of a busy market hold about as many records each, so their place is guessed from the numbers around it; every
    /// second step halves what is left, whatever the blocks hold.
    pub(crate) fn height_of(&self, seq: u64) -> Result<u64, Error> {
        let first_seqs = |at: u64, len: u64| -> Result<Vec<u64>, Error> {
            let rows = self.rows.window(at, len)?;
            Ok(rows.into_iter().map(|row| Row::from_bytes(row).first_seq).collect())
        };
        let (mut low, mut high) = (0, self.size());
        let mut bounds = match high.checked_sub(1) {
            Some(tip) => (self.row(0)?.first_seq, self.row(tip)?.first_seq),
            None => (0, 0),
        };
        let mut guess = true;
        // Rows before `low` begin at `seq` or before, rows from `high` on after it.
        while high - low > WINDOW {
            let len = high - low;
            let (from, to) = bounds;
            let part = match to.checked_sub(from) {
                Some(span @ 1..) if guess => {
                    u64::try_from(u128::from(seq.saturating_sub(from)) * u128::from(len) / u128::from(span))
                        .map_or(len, |part| part.min(len))
                }
                _ => len / 2,
            };
            guess = !guess;
            let start = (low + part).saturating_sub(WINDOW / 2).clamp(low, high - WINDOW);
            let window = first_seqs(start, WINDOW)?;
            match window.partition_point(|first| *first <= seq) as u64 {
                0 => (high, bounds.1) = (start, window[0]),
                WINDOW => (low, bounds.0) = (start + WINDOW, window[window.len() - 1]),
                before => (low, high) = (start + before, start + before),
            }
        }
        low += first_seqs(low, high - low)?.partition_point(|first| *first <= seq) as u64;
        low.checked_sub(1).ok_or(Error::NoRecord { seq, last: 0 })
    }

    /// The block that holds record `seq`.
    ///
    /// # Errors
    /// [`Error::NoRecord`], [`Error::Damaged`], [`Error::Io`].
    pub fn block_with<'a>(&mut self, reader: &'a Reader, seq: u64) -> Result<Block<'a>, Error> {
        self.sound(reader, |index| index.find(reader, seq))
    }

    pub(crate) fn find<'a>(&self, reader: &'a Reader, seq: u64) -> Result<Block<'a>, Error> {
        let height = self.height_of(seq)?;
        self.want_block(reader, height)?;
        let block = self.block(reader, height)?;
        let next = block.header.first_seq + block.header.record_count;
        if (block.header.first_seq..next).contains(&seq) {
            return Ok(block);
        }
        if height + 1 < self.size() {
            return Err(Error::Damaged(reader.fault(FaultKind::Sequence, block.offset, height)));
        }
        Err(Error::NoRecord { seq, last: next - 1 })
    }

    fn block<'a>(&self, reader: &'a Reader, height: u64) -> Result<Block<'a>, Error> {
        let block = self.blocks(reader, height)?.next().transpose()?;
        let size = self.size();
        let block = block.ok_or(Error::NoBlock { height, size })?;
        reader.agrees(height, &block.digest, block.end)?;
        Ok(block)
    }

    /// Asks; where the answer is damage, asks again with an index made anew from the log.
    pub(crate) fn sound<T>(&mut self, reader: &Reader, ask: impl Fn(&Self) -> Result<T, Error>) -> Result<T, Error> {
        match ask(self) {
            // No index brings back what was moved off.
            Err(Error::Damaged(fault)) if fault.kind == FaultKind::MovedOff => Err(fault.into()),
            Err(Error::Damaged(_) | Error::Io { .. }) => {
                self.truncate(0);
                self.extend(reader)?;
                ask(self)
            }
            answer => answer,
        }
    }
}

fn header_of(reader: &Reader, payload: &[u8], at: u64, height: u64) -> Result<BlockHeader, Fault> {
    let fault = |kind| reader.fault(kind, at, height);
    let raw = RawBlockHeader::read(payload).ok_or_else(|| fault(FaultKind::HeaderVersion))?;
    BlockHeader::from_raw(&raw).map_err(fault)
}

#[cfg(test)]
mod tests;
