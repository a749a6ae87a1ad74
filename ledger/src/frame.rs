//! One frame of the log: checksum, log leaf, zero padding.
//!
//! # Format
//! ```text
//! crc32c u32 | zero u32 | kind u16 | version u16 | len u32 | seq u64 | payload [len] | zero to a multiple of 8
//!                         `---------------- log leaf (PROTOCOL 3) -------------------'
//! ```
//! The checksum is CRC-32C over everything after it up to the end of the payload. A record's leaf stands in one piece,
//! so it is hashed where it lies. A block is its record frames followed by one frame of kind [`KIND_BLOCK`] whose
//! payload is B\[352\] and whose sequence number is the height.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};
use wattbook_types::{Hash, tree};

/// Frames start at multiples of this, bytes.
pub const FRAME_ALIGN: u64 = 8;
/// Kind of the frame that closes a block; no record may have it.
pub const KIND_BLOCK: u16 = u16::MAX;
/// Kind of nothing: zero bytes are padding.
pub const KIND_NONE: u16 = 0;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RawFrameHeader {
    pub(crate) crc32c: u32,
    pub(crate) zero: u32,
    pub(crate) kind: u16,
    pub(crate) version: u16,
    pub(crate) len: u32,
    pub(crate) seq: u64,
}

/// Size of a frame's fixed part, bytes.
pub const FRAME_HEADER_SIZE: u64 = size_of::<RawFrameHeader>() as u64;
/// Where the log leaf starts in a frame, bytes.
pub(crate) const LEAF_OFFSET: usize = offset_of!(RawFrameHeader, kind);
/// Where the checksum's range starts in a frame, bytes.
pub(crate) const CRC_START: usize = offset_of!(RawFrameHeader, zero);

const _: () = {
    assert!(size_of::<RawFrameHeader>() == 24);
    assert!(CRC_START == 4);
    assert!(LEAF_OFFSET == 8);
    assert!(offset_of!(RawFrameHeader, version) == 10);
    assert!(offset_of!(RawFrameHeader, len) == 12);
    assert!(offset_of!(RawFrameHeader, seq) == 16);
};

impl RawFrameHeader {
    /// The fixed part of a frame without its checksum; `None` for a payload beyond 2^32 bytes.
    pub(crate) fn new(kind: u16, version: u16, seq: u64, payload: &[u8]) -> Option<Self> {
        Some(Self {
            crc32c: 0,
            zero: 0,
            kind,
            version,
            len: u32::try_from(payload.len()).ok()?,
            seq,
        })
    }

    /// The fixed part of the log leaf.
    #[inline]
    pub(crate) fn leaf_head(&self) -> [u64; 2] {
        let [_, kind_version_len, seq]: [u64; 3] = bytemuck::cast(*self);
        [kind_version_len, seq]
    }
}

/// CRC-32C of the field `zero`, the four bytes before the leaf.
pub(crate) const CRC_OF_ZERO: u32 = 0x4867_4bc7;

/// Size of a frame with `payload` bytes, padding included.
pub const fn frame_size(payload: u64) -> u64 {
    (FRAME_HEADER_SIZE + payload).next_multiple_of(FRAME_ALIGN)
}

/// One record to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the payload is; neither [`KIND_NONE`] nor [`KIND_BLOCK`].
    pub kind: u16,
    /// Version of the payload's format.
    pub version: u16,
    /// Sequence number.
    pub seq: u64,
    /// The bytes, as they were verified.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// The record's log leaf: kind u16, version u16, len u32, seq u64, payload.
    pub fn leaf(&self) -> Vec<u8> {
        let mut leaf = Vec::with_capacity(FRAME_HEADER_SIZE as usize + self.payload.len());
        self.put_leaf(&mut leaf);
        leaf
    }

    /// Appends the record's log leaf.
    ///
    /// # Panics
    /// For a payload beyond 2^32 bytes, which no log takes.
    pub fn put_leaf(&self, out: &mut Vec<u8>) {
        let head = RawFrameHeader::new(self.kind, self.version, self.seq, self.payload);
        let head = head.expect("a payload of a log's record");
        out.extend_from_slice(bytemuck::bytes_of(&head.leaf_head()));
        out.extend_from_slice(self.payload);
    }
}

/// One record as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// What the payload is.
    pub kind: u16,
    /// Version of the payload's format.
    pub version: u16,
    /// Sequence number.
    pub seq: u64,
    /// The bytes.
    pub payload: &'a [u8],
    /// The record's log leaf: kind u16, version u16, len u32, seq u64, payload.
    pub leaf: &'a [u8],
    /// Offset of the frame in the log, bytes.
    pub offset: u64,
}

/// Leaf hash of a record (PROTOCOL 3, RFC 9162 2.1.1).
pub fn record_leaf_hash(record: &Record<'_>) -> Hash {
    // BOUND: a payload never exceeds a segment, 2^30 bytes.
    let len = record.payload.len() as u32;
    tree::leaf_hash_parts(&[
        &record.kind.to_le_bytes(),
        &record.version.to_le_bytes(),
        &len.to_le_bytes(),
        &record.seq.to_le_bytes(),
        record.payload,
    ])
}

/// `record_root` of a block with these records.
pub fn record_root(records: &[Record<'_>]) -> Hash {
    tree::root_of_hashes(records.iter().map(record_leaf_hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_aligned() {
        assert_eq!(frame_size(0), 24);
        assert_eq!(frame_size(1), 32);
        assert_eq!(frame_size(8), 32);
        assert_eq!(frame_size(352), 376);
    }

    #[test]
    fn leaf_is_the_protocols() {
        let record = Record {
            kind: 2,
            version: 1,
            seq: 7,
            payload: b"abc",
        };
        let leaf = [2, 0, 1, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c'];
        assert_eq!(record_leaf_hash(&record), tree::leaf_hash(&leaf));
        let head = RawFrameHeader::new(2, 1, 7, b"abc").unwrap();
        assert_eq!(&bytemuck::bytes_of(&head)[LEAF_OFFSET..], &leaf[..16]);
        assert_eq!(record_root(&[]), tree::empty_root());
    }

    #[test]
    fn checksum_is_crc32c_after_itself() {
        let head = RawFrameHeader::new(1, 1, 1, b"xyz").unwrap();
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.extend_from_slice(b"xyz");
        let leaf = bytemuck::bytes_of(&head.leaf_head()).to_vec();
        assert_eq!(leaf, bytes[LEAF_OFFSET..FRAME_HEADER_SIZE as usize]);
        assert_eq!(
            crc32c::crc32c_append(CRC_OF_ZERO, &bytes[LEAF_OFFSET..]),
            crc32c::crc32c(&bytes[CRC_START..])
        );
        assert_eq!(CRC_OF_ZERO, crc32c::crc32c(&[0; LEAF_OFFSET - CRC_START]));
        // The check value of CRC-32C (RFC 3720 B.4: 32 bytes of zero).
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
