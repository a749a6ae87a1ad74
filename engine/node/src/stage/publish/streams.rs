//! The streams after a block, for a snapshot.
//!
//! # Format
//! ```text
//! height u64 | stream | n u64 | (participant u64 | stream) x n      stream = first u64 | n u64 | message x n
//! message = height u64 | len u32 | bytes [len]
//! ```
//! Little-endian; the public stream stands first, the private ones by ascending participant.

use super::stream::{Pool, Stream};
use std::collections::BTreeMap;
use wattbook_types::ParticipantId;

/// What every session may ask for again, as of one block.
#[derive(Clone, Debug)]
pub struct Streams {
    pub(super) height: u64,
    pub(super) public: Stream,
    pub(super) private: BTreeMap<ParticipantId, Stream>,
}

impl Stream {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first().to_le_bytes());
        bytes.extend((self.end() - self.first()).to_le_bytes());
        for (height, message) in self.messages() {
            bytes.extend(height.to_le_bytes());
            // BOUND: a message is at most 1,400 bytes.
            bytes.extend((message.len() as u32).to_le_bytes());
            bytes.extend_from_slice(message);
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (first, len) = (number(bytes)?, number(bytes)?);
        first.checked_add(len)?;
        if first == 0 {
            return None;
        }
        let (mut stream, mut pool, mut last) = (Self::starting_at(first), Pool::default(), 0);
        for _ in 0..len {
            let height = number(bytes)?;
            let size = u32::from_le_bytes(*take(bytes, 4)?.first_chunk()?) as usize;
            if height < last || size >= usize::from(u16::MAX) {
                return None;
            }
            last = height;
            stream.push(height, take(bytes, size)?, usize::MAX, &mut pool);
        }
        Some(stream)
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
    /// What the streams hold up to a block, at most `keep` messages of each.
    pub(super) fn of(height: u64, public: &Stream, private: &BTreeMap<ParticipantId, Stream>, keep: usize) -> Self {
        let private = private.iter().map(|(who, stream)| (*who, stream.until(height, keep)));
        Self {
            height,
            public: public.until(height, keep),
            private: private.collect(),
        }
    }

    /// The block they are of.
    pub const fn height(&self) -> u64 {
        self.height
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
        bytes.is_empty().then_some(Self {
            height,
            public,
            private,
        })
    }
}
