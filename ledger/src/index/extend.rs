//! How the index follows the log: block by block, headers and framing checked, until it has what the reader has.

use wattbook_types::Hash;
use wattbook_types::tree::{Frontier, leaf_hash, node_hash, root_at};

use super::column::{ROW_SIZE, Row};
use super::{FLUSH_SIZE, HeaderIndex, header_of};
use crate::block::{FIRST_SEQ, HEADER_SIZE, block_digest};
use crate::error::{Error, Fault, FaultKind};
use crate::frame::KIND_BLOCK;
use crate::log::LOG_START;
use crate::read::Reader;

impl HeaderIndex {
    /// Adds the blocks that the reader has and this lacks; true if there were any.
    ///
    /// # Errors
    /// [`Error::Damaged`] for the log, [`Error::Io`].
    pub fn extend(&mut self, reader: &Reader) -> Result<bool, Error> {
        self.extend_by(reader, u64::MAX)
    }

    /// Adds blocks until that reads so many bytes of the log or of kept headers, one at least; true if there were any.
    ///
    /// # Errors
    /// As [`Self::extend`].
    pub fn extend_by(&mut self, reader: &Reader, size_max: u64) -> Result<bool, Error> {
        if self.tip_holds(reader).is_err() {
            self.truncate(0);
        }
        let before = self.size();
        let headers_max = (size_max / HEADER_SIZE as u64).max(1);
        for height in before..reader.headers_only().min(before.saturating_add(headers_max)) {
            let (raw, end) = reader.kept_header(height)?;
            let header = header_of(reader, &raw, LOG_START, height)?;
            let offset = match height.checked_sub(1) {
                None => LOG_START,
                Some(last) => self.row(last)?.end,
            };
            let first_seq = header.first_seq;
            self.push(Row { first_seq, offset, end }, leaf_hash(&raw))?;
        }
        if self.size() < reader.headers_only() {
            self.flush();
            return Ok(true);
        }
        let mut next = self.after(reader)?;
        let start = next.length;
        while (next.length == start || next.length - start < size_max)
            && let Some((row, header)) = next.block(reader)?
        {
            self.push(row, leaf_hash(header))?;
        }
        self.flush();
        Ok(self.size() > before)
    }

    /// Whether the last row is the log's block of that height, and the nodes make the root that its header states.
    fn tip_holds(&self, reader: &Reader) -> Result<(), Error> {
        let Some(tip) = self.size().checked_sub(1) else {
            return Ok(());
        };
        // Said before: a page that is read because it is touched brings as much beside it as the system reads ahead, megabytes maybe.
        self.want_nodes(|node| root_at(tip, node));
        self.want_header(reader, tip)?;
        let (header, raw) = self.header(reader, tip)?;
        let row = self.row(tip)?;
        if root_at(tip, |level, n| self.node(level, n))? == header.log_root
            && self.node(0, tip)? == leaf_hash(&raw)
            && row.first_seq == header.first_seq
        {
            Ok(())
        } else {
            Err(Error::Damaged(reader.fault(FaultKind::LogRoot, row.offset, tip)))
        }
    }

    fn after(&self, reader: &Reader) -> Result<Walk, Error> {
        let height = self.size();
        let (length, seq) = match height.checked_sub(1) {
            None => (LOG_START, FIRST_SEQ),
            Some(tip) => (
                self.row(tip)?.end,
                self.header(reader, tip)?.0.next_seq().unwrap_or(u64::MAX),
            ),
        };
        let headers = Frontier::at(height, |level, n| self.node(level, n))?;
        Ok(Walk { length, seq, headers })
    }

    fn push(&mut self, row: Row, leaf: Hash) -> Result<(), Error> {
        let height = self.size();
        let mut node = leaf;
        self.nodes.tail.push(node.0);
        for level in 0..height.trailing_ones() {
            node = node_hash(&self.node(level, (height >> level) - 1)?, &node);
            self.nodes.tail.push(node.0);
        }
        self.rows.tail.push(row.to_bytes());
        if self.rows.tail.len() * ROW_SIZE >= FLUSH_SIZE {
            self.flush();
        }
        Ok(())
    }

    /// Writes what is new, nodes first; without the right or the room to write, it stays in memory.
    fn flush(&mut self) {
        self.writer = self.writer && self.nodes.flush().and_then(|()| self.rows.flush()).is_ok();
    }
}

/// Block by block along the log, headers and framing checked, records left to whoever reads them.
struct Walk {
    length: u64,
    seq: u64,
    headers: Frontier,
}

impl Walk {
    fn block<'a>(&mut self, reader: &'a Reader) -> Result<Option<(Row, &'a [u8])>, Fault> {
        let (height, mut at, mut offset) = (self.headers.size(), self.length, None);
        loop {
            let Some(frame) = reader.frame_at(at, height)? else {
                return match offset {
                    None => Ok(None),
                    Some(_) => Err(reader.fault(FaultKind::Truncated, at, height)),
                };
            };
            at = frame.end;
            let offset = *offset.get_or_insert(frame.offset);
            if frame.kind != KIND_BLOCK {
                continue;
            }
            let header = header_of(reader, frame.payload, frame.offset, height)?;
            let fault = |kind| reader.fault(kind, frame.offset, height);
            let rules = [
                (FaultKind::Chain, header.chain == reader.chain()),
                (FaultKind::Height, header.height == height),
                (
                    FaultKind::Sequence,
                    header.first_seq == self.seq && header.next_seq().is_some(),
                ),
                (FaultKind::LogRoot, header.log_root == self.headers.root()),
            ];
            if let Some((kind, _)) = rules.iter().find(|(_, holds)| !holds) {
                return Err(fault(*kind));
            }
            reader.agrees(height, &block_digest(reader.chain(), frame.payload), at)?;
            let row = Row {
                first_seq: header.first_seq,
                offset,
                end: at,
            };
            self.seq = header.first_seq + header.record_count;
            self.length = at;
            self.headers.push(leaf_hash(frame.payload));
            return Ok(Some((row, frame.payload)));
        }
    }
}
