//! Block header B\[352\] (PROTOCOL 3), raw and checked.
//!
//! # Format
//! [`RawBlockHeader`] is the bytes; [`BlockHeader`] is what they mean.
//!
//! # Invariants
//! * `BlockHeader::from_raw(raw)?.to_raw() == raw`.
//! * The digest is over the raw bytes only.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};
use wattbook_types::{ChainId, Hash, TimeNs, digest};

use crate::error::FaultKind;

const _: () = assert!(cfg!(target_endian = "little"), "the stored bytes are little-endian");

/// Version of the block header.
pub const HEADER_VERSION: u16 = 1;
/// Size of B, bytes.
pub const HEADER_SIZE: usize = 352;
/// First sequence number of a chain.
pub const FIRST_SEQ: u64 = 1;

/// B\[352\], the unchecked bytes of a block header; little-endian integers, hashes in digest order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RawBlockHeader {
    /// 1.
    pub version: u16,
    /// Zero for a node alone.
    pub flags: u16,
    /// Rank of the producing delegate; zero for a node alone.
    pub producer: u32,
    /// Number of blocks before this one.
    pub height: u64,
    /// Committee epoch; zero for a node alone.
    pub epoch: u64,
    /// Consensus view; the height for a node alone.
    pub view: u64,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Number of records.
    pub record_count: u64,
    /// Number of public events.
    pub event_count: u64,
    /// Sequence number of the first record, or of the next one if there is none.
    pub first_seq: u64,
    /// SHA-256 of the genesis bytes.
    pub chain_id: [u8; 32],
    /// Digest of the block before; zero at height 0.
    pub parent: [u8; 32],
    /// RFC 9162 root over the records.
    pub record_root: [u8; 32],
    /// RFC 9162 root over the public events.
    pub event_root: [u8; 32],
    /// State root after the block.
    pub state_root: [u8; 32],
    /// RFC 9162 root over the headers 0..height-1.
    pub log_root: [u8; 32],
    /// Digest of the parameters in force.
    pub params_hash: [u8; 32],
    /// Digest of the delegates' state.
    pub dpos_hash: [u8; 32],
    /// Digest of the next committee; zero off the border and for a node alone.
    pub next_committee: [u8; 32],
}

const _: () = {
    assert!(size_of::<RawBlockHeader>() == HEADER_SIZE);
    assert!(offset_of!(RawBlockHeader, version) == 0);
    assert!(offset_of!(RawBlockHeader, flags) == 2);
    assert!(offset_of!(RawBlockHeader, producer) == 4);
    assert!(offset_of!(RawBlockHeader, height) == 8);
    assert!(offset_of!(RawBlockHeader, epoch) == 16);
    assert!(offset_of!(RawBlockHeader, view) == 24);
    assert!(offset_of!(RawBlockHeader, time_ns) == 32);
    assert!(offset_of!(RawBlockHeader, record_count) == 40);
    assert!(offset_of!(RawBlockHeader, event_count) == 48);
    assert!(offset_of!(RawBlockHeader, first_seq) == 56);
    assert!(offset_of!(RawBlockHeader, chain_id) == 64);
    assert!(offset_of!(RawBlockHeader, parent) == 96);
    assert!(offset_of!(RawBlockHeader, record_root) == 128);
    assert!(offset_of!(RawBlockHeader, event_root) == 160);
    assert!(offset_of!(RawBlockHeader, state_root) == 192);
    assert!(offset_of!(RawBlockHeader, log_root) == 224);
    assert!(offset_of!(RawBlockHeader, params_hash) == 256);
    assert!(offset_of!(RawBlockHeader, dpos_hash) == 288);
    assert!(offset_of!(RawBlockHeader, next_committee) == 320);
};

impl RawBlockHeader {
    /// Copies a header out of exactly [`HEADER_SIZE`] bytes; `None` for any other length.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytemuck::try_pod_read_unaligned(bytes).ok()
    }

    /// The bytes B.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    /// `block_digest = D("block", B)` (PROTOCOL 3).
    pub fn digest(&self, chain: ChainId) -> Hash {
        block_digest(chain, self.as_bytes())
    }
}

/// `D("block", B)` of the bytes B.
pub(crate) fn block_digest(chain: ChainId, bytes: &[u8]) -> Hash {
    digest(chain, "block", &[bytes])
}

/// A block header of a known version, with typed fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Zero for a node alone.
    pub flags: u16,
    /// Rank of the producing delegate; zero for a node alone.
    pub producer: u32,
    /// Number of blocks before this one.
    pub height: u64,
    /// Committee epoch; zero for a node alone.
    pub epoch: u64,
    /// Consensus view; the height for a node alone.
    pub view: u64,
    /// Time of the block's last Tick.
    pub time: TimeNs,
    /// Number of records.
    pub record_count: u64,
    /// Number of public events.
    pub event_count: u64,
    /// Sequence number of the first record, or of the next one if there is none.
    pub first_seq: u64,
    /// The chain.
    pub chain: ChainId,
    /// Digest of the block before; zero at height 0.
    pub parent: Hash,
    /// RFC 9162 root over the records.
    pub record_root: Hash,
    /// RFC 9162 root over the public events.
    pub event_root: Hash,
    /// State root after the block.
    pub state_root: Hash,
    /// RFC 9162 root over the headers 0..height-1.
    pub log_root: Hash,
    /// Digest of the parameters in force.
    pub params_hash: Hash,
    /// Digest of the delegates' state.
    pub dpos_hash: Hash,
    /// Digest of the next committee; zero off the border and for a node alone.
    pub next_committee: Hash,
}

impl BlockHeader {
    /// Reads a raw header; [`FaultKind::HeaderVersion`] for a version other than 1.
    pub const fn from_raw(raw: &RawBlockHeader) -> Result<Self, FaultKind> {
        if raw.version != HEADER_VERSION {
            return Err(FaultKind::HeaderVersion);
        }
        Ok(Self {
            flags: raw.flags,
            producer: raw.producer,
            height: raw.height,
            epoch: raw.epoch,
            view: raw.view,
            time: TimeNs::new(raw.time_ns),
            record_count: raw.record_count,
            event_count: raw.event_count,
            first_seq: raw.first_seq,
            chain: ChainId(Hash(raw.chain_id)),
            parent: Hash(raw.parent),
            record_root: Hash(raw.record_root),
            event_root: Hash(raw.event_root),
            state_root: Hash(raw.state_root),
            log_root: Hash(raw.log_root),
            params_hash: Hash(raw.params_hash),
            dpos_hash: Hash(raw.dpos_hash),
            next_committee: Hash(raw.next_committee),
        })
    }

    /// The raw header of these fields.
    pub const fn to_raw(&self) -> RawBlockHeader {
        RawBlockHeader {
            version: HEADER_VERSION,
            flags: self.flags,
            producer: self.producer,
            height: self.height,
            epoch: self.epoch,
            view: self.view,
            time_ns: self.time.get(),
            record_count: self.record_count,
            event_count: self.event_count,
            first_seq: self.first_seq,
            chain_id: self.chain.0.0,
            parent: self.parent.0,
            record_root: self.record_root.0,
            event_root: self.event_root.0,
            state_root: self.state_root.0,
            log_root: self.log_root.0,
            params_hash: self.params_hash.0,
            dpos_hash: self.dpos_hash.0,
            next_committee: self.next_committee.0,
        }
    }

    /// `block_digest = D("block", B)` under this header's own chain.
    pub fn digest(&self) -> Hash {
        self.to_raw().digest(self.chain)
    }

    /// Sequence number of the first record after this block; `None` beyond 2^64.
    pub const fn next_seq(&self) -> Option<u64> {
        self.first_seq.checked_add(self.record_count)
    }

    /// Whether this is a legal header of a chain without a committee (DETAILS 2): producer, epoch, flags and
    /// next committee zero, view = height.
    pub fn is_alone(&self) -> bool {
        self.flags == 0
            && self.producer == 0
            && self.epoch == 0
            && self.view == self.height
            && self.next_committee == Hash::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Vec<(ChainId, Vec<u8>, String)> {
        let sets: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../tests/golden/block.json")).expect("golden file");
        let field = |set: &serde_json::Value, name: &str| set[name].as_str().expect("a string").to_owned();
        sets.iter()
            .map(|set| {
                let mut chain = [0; 32];
                hex::decode_to_slice(field(set, "chain_id"), &mut chain).unwrap();
                (
                    ChainId(Hash(chain)),
                    hex::decode(field(set, "block")).unwrap(),
                    field(set, "block_digest"),
                )
            })
            .collect()
    }

    #[test]
    fn golden_digest_and_fields() {
        let sets = golden();
        assert_eq!(sets.len(), 6);
        for (chain, bytes, expected) in sets {
            let raw = RawBlockHeader::read(&bytes).unwrap();
            assert_eq!(raw.as_bytes(), bytes);
            assert_eq!(raw.digest(chain).to_string(), expected);
            let header = BlockHeader::from_raw(&raw).unwrap();
            assert_eq!(header.chain, chain);
            assert_eq!(header.to_raw(), raw);
            assert_eq!(header.digest().to_string(), expected);
            assert_eq!(
                (header.producer, header.height, header.epoch, header.view),
                (2, 77, 3, 91)
            );
            assert_eq!(
                (header.record_count, header.event_count, header.first_seq),
                (10, 20, 500)
            );
            assert_eq!(header.next_seq(), Some(510));
            assert!(!header.is_alone());
        }
    }

    #[test]
    fn every_flipped_bit_changes_the_digest() {
        let (chain, bytes, expected) = golden().remove(0);
        for bit in 0..HEADER_SIZE * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(
                RawBlockHeader::read(&flipped).unwrap().digest(chain).to_string(),
                expected
            );
        }
    }

    #[test]
    fn other_versions_and_sizes_are_refused() {
        let (_, bytes, _) = golden().remove(0);
        let mut raw = RawBlockHeader::read(&bytes).unwrap();
        raw.version = 2;
        assert_eq!(BlockHeader::from_raw(&raw), Err(FaultKind::HeaderVersion));
        assert!(RawBlockHeader::read(&bytes[1..]).is_none());
    }
}
