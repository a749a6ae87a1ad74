//! RFC 9162 roots over leaves of 48 bytes: one compression of SHA-256 per leaf, two per node above.
//!
//! # Invariants
//! The root is [`wattbook_types::tree::root`]'s. A tree is computed level by level, a node without a right sibling
//! standing on the next level too; parts that are whole subtrees may be computed apart.

use super::pool::Pool;
use sha2::block_api::compress256;
use wattbook_feed::signed::LEAF_SIZE;
use wattbook_types::{Hash, tree};

/// Leaves of a part of a large tree, a power of two.
const PART_LEN: usize = 1 << 12;

/// A chaining value of SHA-256.
type State = [u32; 8];

/// FIPS 180-4 5.3.3.
const START: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The root over `leaves`.
pub(crate) fn root(leaves: &[[u8; LEAF_SIZE]], pool: &Pool) -> Hash {
    if leaves.is_empty() {
        return tree::empty_root();
    }
    let parts = pool.map(leaves.len().div_ceil(PART_LEN), |at| {
        let part = &leaves[at * PART_LEN..leaves.len().min((at + 1) * PART_LEN)];
        reduce(part.iter().map(leaf).collect())
    });
    let mut out = [0; 32];
    out.as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(reduce(parts))
        .for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    Hash(out)
}

/// `SHA-256(0x00 || leaf)`.
#[inline]
fn leaf(leaf: &[u8; LEAF_SIZE]) -> State {
    let mut block = [0; 64];
    block[1..=LEAF_SIZE].copy_from_slice(leaf);
    block[LEAF_SIZE + 1] = 0x80;
    block[62..].copy_from_slice(&(8 * (LEAF_SIZE as u16 + 1)).to_be_bytes());
    let mut state = START;
    compress256(&mut state, &[block]);
    state
}

/// `SHA-256(0x01 || left || right)`.
#[inline]
fn node(left: &State, right: &State) -> State {
    let mut blocks = [[0; 64]; 2];
    let bytes = blocks.as_flattened_mut();
    bytes[0] = 0x01;
    for (at, word) in left.iter().chain(right).enumerate() {
        bytes[1 + 4 * at..5 + 4 * at].copy_from_slice(&word.to_be_bytes());
    }
    bytes[65] = 0x80;
    bytes[126..].copy_from_slice(&(8u16 * 65).to_be_bytes());
    let mut state = START;
    compress256(&mut state, &blocks);
    state
}

/// The root over the nodes of a level, at least one.
fn reduce(mut nodes: Vec<State>) -> State {
    let mut len = nodes.len();
    while len > 1 {
        for at in 0..len / 2 {
            nodes[at] = node(&nodes[2 * at], &nodes[2 * at + 1]);
        }
        if len % 2 == 1 {
            nodes[len / 2] = nodes[len - 1];
        }
        len = len.div_ceil(2);
    }
    nodes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_every_shape() {
        let leaves: Vec<[u8; LEAF_SIZE]> = (0..2 * PART_LEN as u32 + 5)
            .map(|i| core::array::from_fn(|at| (i >> (at % 4 * 8)) as u8 ^ at as u8))
            .collect();
        let sizes = (0..=70).chain([PART_LEN - 1, PART_LEN, PART_LEN + 1, leaves.len()]);
        for size in sizes {
            for threads in [1, 2] {
                let root = root(&leaves[..size], &Pool::new(threads));
                assert_eq!(root, tree::root(&leaves[..size]), "{size} leaves, {threads} threads");
            }
        }
    }
}
