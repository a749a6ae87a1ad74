//! The envelope: `H[72]`, one signature over it, and `count` leaves of 48 bytes under `root`.

use bytemuck::{Pod, Zeroable};
use core::mem::{offset_of, size_of};
use wattbook_types::{ChainId, Hash, digest};

/// Version of the envelope layout.
pub const ENVELOPE_VERSION: u16 = 1;
/// Size of a leaf: with its RFC 9162 prefix it is one SHA-256 block.
pub const LEAF_SIZE: usize = 48;
/// Size of a compressed G1 signature.
pub const SIGNATURE_SIZE: usize = 48;

/// `H[72]`: what one signature admits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct EnvelopeHeader {
    /// [`ENVELOPE_VERSION`].
    pub version: u16,
    /// Zero.
    pub reserved0: u16,
    /// Number of leaves.
    pub count: u32,
    /// Who signs.
    pub participant: u64,
    /// Version of the signing key.
    pub key_version: u32,
    /// Zero.
    pub reserved1: u32,
    /// Unique within the participant's window.
    pub nonce: u64,
    /// Last instant of validity, ns since the epoch.
    pub not_after_ns: u64,
    /// RFC 9162 root over the leaves.
    pub root: [u8; 32],
}

const _: () = {
    assert!(size_of::<EnvelopeHeader>() == 72);
    assert!(offset_of!(EnvelopeHeader, count) == 4);
    assert!(offset_of!(EnvelopeHeader, participant) == 8);
    assert!(offset_of!(EnvelopeHeader, key_version) == 16);
    assert!(offset_of!(EnvelopeHeader, nonce) == 24);
    assert!(offset_of!(EnvelopeHeader, not_after_ns) == 32);
    assert!(offset_of!(EnvelopeHeader, root) == 40);
};

impl EnvelopeHeader {
    /// `D("envelope", H)`: what is signed.
    pub fn digest(&self, chain: ChainId) -> Hash {
        digest(chain, "envelope", &[bytemuck::bytes_of(self)])
    }
}
