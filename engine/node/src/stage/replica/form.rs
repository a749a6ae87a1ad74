//! A block as delegates send it to one another.
//!
//! # Format
//! ```text
//! B[352] | record leaf, record leaf, ...      leaf = kind u16 | version u16 | len u32 | seq u64 | payload [len]
//! ```
//! The block's digest is that of B, which names the root over the leaves: it covers every byte.

use wattbook_agreement::block::{Format, Head};
use wattbook_ledger::{BlockHeader, HEADER_SIZE, KIND_BLOCK, KIND_NONE, RawBlockHeader, Record};
use wattbook_types::ChainId;
use wattbook_types::tree::{Frontier, leaf_hash};

/// Bytes of a leaf before its payload.
const LEAF_HEAD: usize = 16;

/// How the blocks of a chain are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form(pub(crate) ChainId);

impl Format for Form {
    fn head(&self, bytes: &[u8]) -> Option<Head> {
        let (header, mut rest) = header_of(bytes)?;
        if header.chain != self.0 || header.flags != 0 {
            return None;
        }
        header.next_seq()?;
        let mut tree = Frontier::new();
        while !rest.is_empty() {
            let (record, after) = record_of(rest)?;
            let in_place = record.seq.checked_sub(header.first_seq) == Some(tree.size());
            if !in_place || [KIND_NONE, KIND_BLOCK].contains(&record.kind) {
                return None;
            }
            tree.push(leaf_hash(&rest[..rest.len() - after.len()]));
            rest = after;
        }
        if tree.size() != header.record_count || tree.root() != header.record_root {
            return None;
        }
        Some(Head {
            digest: header.digest(),
            parent: header.parent,
            height: header.height,
            epoch: header.epoch,
            view: header.view,
            time: header.time,
            producer: None,
            missed: None,
        })
    }
}

/// The bytes of a block.
pub(crate) fn encode(header: &BlockHeader, records: &[Record<'_>]) -> Vec<u8> {
    let size = records.iter().map(|record| LEAF_HEAD + record.payload.len());
    let mut bytes = Vec::with_capacity(HEADER_SIZE + size.sum::<usize>());
    bytes.extend_from_slice(header.to_raw().as_bytes());
    records.iter().for_each(|record| record.put_leaf(&mut bytes));
    bytes
}

/// Header and records of a block that [`Form`] has read.
pub(crate) fn parts(bytes: &[u8]) -> Option<(BlockHeader, Vec<Record<'_>>)> {
    let (header, mut rest) = header_of(bytes)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (record, after) = record_of(rest)?;
        records.push(record);
        rest = after;
    }
    Some((header, records))
}

fn header_of(bytes: &[u8]) -> Option<(BlockHeader, &[u8])> {
    let (raw, rest) = bytes.split_at_checked(HEADER_SIZE)?;
    let header = BlockHeader::from_raw(&RawBlockHeader::read(raw)?).ok()?;
    Some((header, rest))
}

fn record_of(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<LEAF_HEAD>()?;
    let [k0, k1, v0, v1, l0, l1, l2, l3, seq @ ..] = *head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let (payload, rest) = rest.split_at_checked(len)?;
    let record = Record {
        kind: u16::from_le_bytes([k0, k1]),
        version: u16::from_le_bytes([v0, v1]),
        seq: u64::from_le_bytes(seq),
        payload,
    };
    Some((record, rest))
}
