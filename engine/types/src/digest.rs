//! SHA-256 digests and the domain-separated digest of PROTOCOL 3.

use core::fmt;
use sha2::{Digest, Sha256};

/// A SHA-256 digest, in digest order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All zero: "no value".
    pub const ZERO: Self = Self([0; 32]);

    /// The first eight bytes as a little-endian integer.
    pub const fn prefix_u64(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// SHA-256 of the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut state = Sha256::new();
    for part in parts {
        state.update(part);
    }
    Hash(state.finalize().into())
}

/// SHA-256 of the genesis bytes; zero inside genesis itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct ChainId(pub Hash);

/// Prefix of every domain tag.
const TAG_PREFIX: &[u8] = b"wattbook/1/";

/// The 32-byte zero-padded domain tag of `name`.
///
/// # Panics
/// If the tag is longer than 32 bytes; names are constants of this project.
pub fn domain_tag(name: &str) -> [u8; 32] {
    let mut tag = [0u8; 32];
    let end = TAG_PREFIX.len() + name.len();
    assert!(end <= tag.len(), "domain tag too long: {name}");
    tag[..TAG_PREFIX.len()].copy_from_slice(TAG_PREFIX);
    tag[TAG_PREFIX.len()..end].copy_from_slice(name.as_bytes());
    tag
}

/// `D(name, body) = SHA-256("wattbook/1/" + name, zero-padded to 32 || chain_id || body)` (PROTOCOL 3).
pub fn digest(chain: ChainId, name: &str, body: &[&[u8]]) -> Hash {
    let mut state = Sha256::new();
    state.update(domain_tag(name));
    state.update(chain.0.0);
    for part in body {
        state.update(part);
    }
    Hash(state.finalize().into())
}

/// A SHA-256 state that can be forked after a shared prefix.
#[derive(Clone, Debug, Default)]
pub struct Prefix(Sha256);

impl Prefix {
    /// The prefix of every [`digest`] of `name`: its tag and the chain, one block.
    pub fn of_digest(chain: ChainId, name: &str) -> Self {
        let mut prefix = Self::default();
        prefix.update(&domain_tag(name));
        prefix.update(&chain.0.0);
        prefix
    }

    /// Appends to the prefix.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// SHA-256 of the prefix followed by `rest`; the prefix stays usable.
    pub fn finish_with(&self, rest: &[u8]) -> Hash {
        let mut state = self.0.clone();
        state.update(rest);
        Hash(state.finalize().into())
    }
}
