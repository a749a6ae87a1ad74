//! RFC 9162 roots over leaves of 32 or 48 bytes: one compression of SHA-256 per leaf, two per node above.
//!
//! # Invariants
//! The root is [`wattbook_types::tree::root`]'s. A tree is computed level by level, a node without a right sibling
//! standing on the next level too; parts that are whole subtrees may be computed apart.

use super::pool::Pool;
#[cfg(target_arch = "x86_64")]
use super::sha::Sha;
use sha2::block_api::compress256;
use std::sync::LazyLock;
use wattbook_types::{Hash, tree};

/// Leaves of a part of a large tree, a power of two: its nodes pass through the fastest cache.
const PART_LEN: usize = 1 << 9;

/// A node, or the digest of a leaf.
type Node = [u8; 32];

/// How nodes are hashed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By the processor's own instructions.
    #[cfg(target_arch = "x86_64")]
    Sha(Sha),
    /// One block after the other, as the hash's crate does it.
    Plain,
}

/// The fastest way there is.
static WAY: LazyLock<Way> = LazyLock::new(|| ways()[0]);

/// Every way this processor has, the fastest first; the last runs everywhere.
fn ways() -> Vec<Way> {
    #[cfg(target_arch = "x86_64")]
    let fast = Sha::detect().map(Way::Sha);
    #[cfg(not(target_arch = "x86_64"))]
    let fast = None;
    fast.into_iter().chain([Way::Plain]).collect()
}

impl Way {
    fn leaves<const LEN: usize>(self, leaves: &[[u8; LEN]], out: &mut [Node]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sha(sha) => sha.leaves(leaves, out),
            Self::Plain => {
                for (leaf, out) in leaves.iter().zip(out) {
                    let mut block = [0; 64];
                    block[1..=LEN].copy_from_slice(leaf);
                    block[LEN + 1] = 0x80;
                    block[62..].copy_from_slice(&(8 * (LEN as u16 + 1)).to_be_bytes());
                    *out = plain(&[block]);
                }
            }
        }
    }

    fn level(self, nodes: &mut [Node]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sha(sha) => sha.level(nodes),
            Self::Plain => {
                for at in 0..nodes.len() / 2 {
                    let mut blocks = [[0; 64]; 2];
                    let bytes = blocks.as_flattened_mut();
                    bytes[0] = 0x01;
                    bytes[1..65].copy_from_slice(nodes[2 * at..2 * at + 2].as_flattened());
                    bytes[65] = 0x80;
                    bytes[126..].copy_from_slice(&(8u16 * 65).to_be_bytes());
                    nodes[at] = plain(&blocks);
                }
            }
        }
    }

    /// The root over the nodes of a level, at least one.
    fn reduce(self, nodes: &mut [Node]) -> Node {
        let mut len = nodes.len();
        while len > 1 {
            self.level(&mut nodes[..len]);
            if len % 2 == 1 {
                nodes[len / 2] = nodes[len - 1];
            }
            len = len.div_ceil(2);
        }
        nodes[0]
    }
}

/// SHA-256 of padded blocks.
fn plain(blocks: &[[u8; 64]]) -> Node {
    /// FIPS 180-4 5.3.3.
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let mut state = START;
    compress256(&mut state, blocks);
    let mut out = [0; 32];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    out
}

/// The root over `leaves`, of 32 or 48 bytes each.
pub(crate) fn root<const LEN: usize>(leaves: &[[u8; LEN]], pool: &Pool) -> Hash {
    root_by(*WAY, leaves, pool)
}

fn root_by<const LEN: usize>(way: Way, leaves: &[[u8; LEN]], pool: &Pool) -> Hash {
    if leaves.is_empty() {
        return tree::empty_root();
    }
    let mut parts = pool.map(leaves.len().div_ceil(PART_LEN), |at| {
        let part = &leaves[at * PART_LEN..leaves.len().min((at + 1) * PART_LEN)];
        let mut nodes = vec![[0; 32]; part.len()];
        way.leaves(part, &mut nodes);
        way.reduce(&mut nodes)
    });
    Hash(way.reduce(&mut parts))
}

/// So many compressions over blocks that stand ready, as fast as this processor has a way: in two chains by its own
/// instructions, else in one.
pub(crate) fn bare(blocks: usize) {
    match *WAY {
        #[cfg(target_arch = "x86_64")]
        Way::Sha(sha) => {
            core::hint::black_box(sha.bare(blocks));
        }
        Way::Plain => {
            let mut state = [1; 8];
            for run in [[[7; 64]; 64]].iter().cycle().take(blocks.div_ceil(64)) {
                compress256(&mut state, run);
            }
            core::hint::black_box(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots_are_right<const LEN: usize>(sizes: impl Iterator<Item = usize>) {
        let leaves: Vec<[u8; LEN]> = (0..2 * PART_LEN as u32 + 5)
            .map(|i| core::array::from_fn(|at| (i >> (at % 4 * 8)) as u8 ^ (at as u8).wrapping_mul(31)))
            .collect();
        for size in sizes {
            let expected = tree::root(&leaves[..size]);
            for way in ways() {
                for threads in [1, 2] {
                    let root = root_by(way, &leaves[..size], &Pool::new(threads));
                    assert_eq!(
                        root, expected,
                        "{size} leaves of {LEN} bytes, {threads} threads, {way:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn roots_of_every_shape() {
        let sizes = (0..=70).chain([PART_LEN - 1, PART_LEN, PART_LEN + 1, 2 * PART_LEN + 5]);
        roots_are_right::<48>(sizes.clone());
        roots_are_right::<32>(sizes);
    }

    /// The chains of the bare rate are the compression function, so that what trees are held against is it, too.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_bare_chains_are_sha_256() {
        let block: [u8; 64] = [4u32, 3, 2, 1]
            .map(u32::to_be_bytes)
            .concat()
            .repeat(4)
            .try_into()
            .unwrap();
        let expected = plain(&[block; 3]);
        let found = Sha::detect();
        assert_eq!(found.map(|sha| sha.bare(6)), found.map(|_| [expected; 2]));
    }
}
