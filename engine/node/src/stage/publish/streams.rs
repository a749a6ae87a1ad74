//! The streams after a block, for a snapshot.
//!
//! # Format
//! ```text
//! height u64 | stream | n u64 | (participant u64 | stream) x n | books      stream = first u64 | n u64 | message x n
//! message = height u64 | len u32 | bytes [len]                             books = n u64 | (len u32 | bytes [len]) x n
//! ```
//! The books are the messages of their snapshot, its end the last.
//! Little-endian; the public stream stands first, the private ones by ascending participant.

use super::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wattbook_feed::book::Books;
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_types::ParticipantId;

/// What every session may ask for again, as of one block.
#[derive(Clone, Debug)]
pub struct Streams {
    pub(super) height: u64,
    pub(super) public: Stream,
    pub(super) private: BTreeMap<ParticipantId, Stream>,
    pub(super) books: Books,
}

impl Stream {
    /// Its messages up to a block, at most the last `keep`.
    fn until(&self, height: u64, keep: usize) -> Self {
        // Messages stand in the order of their blocks.
        let end = self.items.partition_point(|(of, _)| *of <= height);
        let from = end.saturating_sub(keep);
        Self {
            first: self.first + from as u64,
            items: self.items.range(from..end).cloned().collect(),
        }
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first.to_le_bytes());
        bytes.extend((self.items.len() as u64).to_le_bytes());
        for (height, message) in &self.items {
            bytes.extend(height.to_le_bytes());
            // BOUND: a message is at most 1,400 bytes.
            bytes.extend((message.len() as u32).to_le_bytes());
            bytes.extend_from_slice(message);
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (first, len) = (number(bytes)?, number(bytes)?);
        let mut items = VecDeque::new();
        for _ in 0..len {
            let height = number(bytes)?;
            let size = u32::from_le_bytes(*take(bytes, 4)?.first_chunk()?);
            items.push_back((height, Arc::from(take(bytes, size as usize)?)));
        }
        first.checked_add(len)?;
        (first > 0).then_some(Self { first, items })
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (field, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(field)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes, 8)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

impl Streams {
    /// What the streams hold up to a block, at most `keep` messages of each, and the books after it.
    pub(super) fn of(
        height: u64,
        public: &Stream,
        private: &BTreeMap<ParticipantId, Stream>,
        books: &Books,
        keep: usize,
    ) -> Self {
        let private = private.iter().map(|(who, stream)| (*who, stream.until(height, keep)));
        Self {
            height,
            public: public.until(height, keep),
            private: private.collect(),
            books: books.clone(),
        }
    }

    /// Their encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.height.to_le_bytes().to_vec();
        self.public.put(&mut bytes);
        bytes.extend((self.private.len() as u64).to_le_bytes());
        for (who, stream) in &self.private {
            bytes.extend(who.get().to_le_bytes());
            stream.put(&mut bytes);
        }
        let end = self.books.snapshot_end(self.public.end(), self.height);
        bytes.extend((end.orders + 1).to_le_bytes());
        let orders = self.books.snapshot().map(Outbound::SnapshotOrder);
        let mut message = Vec::new();
        for told in orders.chain([Outbound::SnapshotEnd(end)]) {
            message.clear();
            told.encode(&mut message);
            // BOUND: a message is at most 1,400 bytes.
            bytes.extend((message.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&message);
        }
        bytes
    }

    /// The streams of an encoding; `None` if it is none.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let (height, public) = (number(bytes)?, Stream::read(bytes)?);
        let mut private = BTreeMap::new();
        for _ in 0..number(bytes)? {
            let who = ParticipantId::new(number(bytes)?);
            private.insert(who, Stream::read(bytes)?);
        }
        let mut books = Books::new();
        let mut whole = false;
        for _ in 0..number(bytes)? {
            let size = u32::from_le_bytes(*take(bytes, 4)?.first_chunk()?);
            let message = decode_outbound(take(bytes, size as usize)?).ok()?;
            whole = books.take(&message).ok()?;
        }
        (bytes.is_empty() && whole).then_some(Self {
            height,
            public,
            private,
            books,
        })
    }
}
