//! Records by whatever the application files them under: participants, contracts.
//!
//! # Invariants
//! * The ledger knows no key; the application reads them out of a record.
//! * Made from the log alone. A record is given only after its frame was read again and still has the key.

use std::collections::BTreeMap;

use crate::error::{Fault, FaultKind};
use crate::frame::RecordRef;
use crate::index::HeaderIndex;
use crate::read::Reader;
use crate::scan::Block;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    seq: u64,
    height: u64,
    /// Log offset of its frame.
    offset: u64,
}

/// An index of records by one kind of key.
pub struct KeyIndex<K> {
    keys_of: fn(&RecordRef<'_>, &mut Vec<K>),
    places: BTreeMap<K, Vec<Place>>,
    scratch: Vec<K>,
    /// Height of the first block not filed yet.
    height_next: u64,
}

impl<K> std::fmt::Debug for KeyIndex<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyIndex").field("keys", &self.places.len()).finish()
    }
}

impl<K: Ord + Copy> KeyIndex<K> {
    /// An empty index; `keys_of` puts the keys of a record, in any order, into the list.
    pub const fn new(keys_of: fn(&RecordRef<'_>, &mut Vec<K>)) -> Self {
        Self {
            keys_of,
            places: BTreeMap::new(),
            scratch: Vec::new(),
            height_next: 0,
        }
    }

    /// Files the records of a block, which must come after the blocks filed before.
    pub fn add(&mut self, block: &Block<'_>) {
        for record in &block.records {
            self.scratch.clear();
            (self.keys_of)(record, &mut self.scratch);
            self.scratch.sort_unstable();
            self.scratch.dedup();
            let place = Place {
                seq: record.seq,
                height: block.header.height,
                offset: record.offset,
            };
            for key in &self.scratch {
                self.places.entry(*key).or_default().push(place);
            }
        }
        self.height_next = block.header.height + 1;
    }

    /// Files the committed blocks that were not filed yet; true if there were any.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::Io`](crate::Error::Io).
    pub fn extend(&mut self, reader: &Reader, index: &HeaderIndex) -> Result<bool, crate::Error> {
        let before = self.height_next;
        if before < index.size() {
            for block in index.blocks(reader, before)? {
                self.add(&block?);
            }
        }
        Ok(self.height_next > before)
    }

    /// The keys, ascending, and how many records each has.
    pub fn keys(&self) -> impl Iterator<Item = (K, usize)> {
        self.places.iter().map(|(key, places)| (*key, places.len()))
    }

    /// The records under a key, in sequence, with the heights of their blocks.
    pub fn records<'a>(&self, reader: &'a Reader, key: K) -> impl Iterator<Item = Result<(u64, RecordRef<'a>), Fault>> {
        let places = self.places.get(&key).map_or(&[][..], Vec::as_slice);
        places.iter().map(move |place| {
            let Place { seq, height, offset } = *place;
            let wrong = || reader.fault(FaultKind::Sequence, offset, height);
            let frame = reader.frame_at(offset, height)?.ok_or_else(wrong)?;
            let record = RecordRef {
                kind: frame.kind,
                version: frame.version,
                seq: frame.seq,
                payload: frame.payload,
                leaf: frame.leaf,
                offset: frame.offset,
            };
            let mut keys = Vec::new();
            (self.keys_of)(&record, &mut keys);
            if record.seq == seq && keys.contains(&key) {
                Ok((height, record))
            } else {
                Err(wrong())
            }
        })
    }
}
