//! The Merkle tree of RFC 9162 section 2.1 over SHA-256.

use crate::digest::{Hash, sha256};

mod path;

pub use path::{consistency_path, inclusion_path, root_at, verify_consistency};

/// `SHA-256(0x00 || leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// `SHA-256(0x00 || parts)`: the leaf hash of a leaf held in pieces.
pub fn leaf_hash_parts(parts: &[&[u8]]) -> Hash {
    let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 1);
    all.push(&[0]);
    all.extend_from_slice(parts);
    sha256(&all)
}

/// `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left.0, &right.0])
}

/// Root of the empty tree: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// Root over leaf contents.
pub fn root<T: AsRef<[u8]>>(leaves: &[T]) -> Hash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(leaf_hash(leaf.as_ref()));
    }
    frontier.root()
}

/// Root over leaf hashes.
pub fn root_of_hashes(hashes: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::new();
    for hash in hashes {
        frontier.push(hash);
    }
    frontier.root()
}

/// The right edge of a growing tree: the roots of its complete subtrees, largest first.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    pub const fn new() -> Self {
        Self {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// The tree of the first `size` leaves of one whose nodes are kept (see [`root_at`]).
    ///
    /// # Errors
    /// What `node` says.
    pub fn at<E>(size: u64, mut node: impl FnMut(u32, u64) -> Result<Hash, E>) -> Result<Self, E> {
        let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
        let peaks = levels
            .map(|level| node(level, (size >> level) - 1))
            .collect::<Result<_, E>>()?;
        Ok(Self { size, peaks })
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, largest first: with the size, the whole frontier.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The frontier with these peaks; `None` if a tree of this size has another number of them.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() as u32 == size.count_ones()).then_some(Self { size, peaks })
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // INVARIANT: one peak per set bit of `size`; appending carries like an increment.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root over every leaf so far.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// A tree that keeps its nodes, so that a root costs only the paths of the leaves that changed.
#[derive(Clone, Debug, Default)]
pub struct CachedTree {
    /// Leaf hashes, then the nodes above them, level by level; a node without a right sibling stands on the next level too.
    levels: Vec<Vec<Hash>>,
    /// Leaves that changed since the last root.
    stale: Vec<usize>,
}

impl CachedTree {
    /// The empty tree.
    pub const fn new() -> Self {
        Self {
            levels: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// Number of leaves.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Whether it has no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        self.stale.push(self.len());
        self.levels[0].push(leaf);
    }

    /// Replaces a leaf by its hash.
    ///
    /// # Panics
    /// Beyond the tree.
    pub fn set(&mut self, index: usize, leaf: Hash) {
        self.levels[0][index] = leaf;
        self.stale.push(index);
    }

    /// Cuts the tree down to its first `len` leaves.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        self.levels[0].truncate(len);
        self.stale.retain(|index| *index < len);
        // The path of the last leaf is the new right edge.
        self.stale.extend(len.checked_sub(1));
    }

    /// The root over every leaf.
    pub fn root(&mut self) -> Hash {
        self.stale.sort_unstable();
        let mut level = 0;
        while self.levels.get(level).is_some_and(|nodes| nodes.len() > 1) {
            if self.levels.len() == level + 1 {
                self.levels.push(Vec::new());
            }
            let (below, above) = self.levels.split_at_mut(level + 1);
            let (below, above) = (&below[level], &mut above[0]);
            above.resize(below.len().div_ceil(2), Hash::ZERO);
            // INVARIANT: a node that was not there before has a changed leaf below it.
            self.stale.iter_mut().for_each(|index| *index /= 2);
            self.stale.dedup();
            for &index in &self.stale {
                let left = &below[2 * index];
                above[index] = below.get(2 * index + 1).map_or(*left, |right| node_hash(left, right));
            }
            level += 1;
        }
        self.stale.clear();
        self.levels.truncate(level + 1);
        let top = self.levels.get(level).and_then(|nodes| nodes.first());
        top.copied().unwrap_or_else(empty_root)
    }
}

/// Largest power of two smaller than `n`; `n >= 2`.
const fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// Root over a slice of leaf hashes, by the recursive definition.
fn subtree(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(split(hashes.len()));
            node_hash(&subtree(left), &subtree(right))
        }
    }
}

/// Inclusion proof of leaf `index` (RFC 9162 2.1.3.1), from the leaf up; `None` beyond the tree.
pub fn inclusion_proof(hashes: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= hashes.len() {
        return None;
    }
    let (mut proof, mut range, mut at) = (Vec::new(), hashes, index);
    while range.len() > 1 {
        let (left, right) = range.split_at(split(range.len()));
        if at < left.len() {
            proof.push(subtree(right));
            range = left;
        } else {
            proof.push(subtree(left));
            at -= left.len();
            range = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Checks an inclusion proof (RFC 9162 2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    root_by_inclusion(leaf, index, size, proof) == Some(*root)
}

/// The root of the tree of `size` leaves in which `proof` includes the leaf (RFC 9162 2.1.3.2); `None` where it has not the
/// length of a proof of that leaf.
pub fn root_by_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut node) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            node = node_hash(sibling, &node);
            if at & 1 == 0 {
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            }
        } else {
            node = node_hash(&node, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cached_tree_equals_the_plain_root(steps in prop::collection::vec((0u8..4, any::<u16>(), 0usize..40), 1..60)) {
            let (mut tree, mut leaves) = (CachedTree::new(), Vec::new());
            for (step, (what, number, many)) in steps.into_iter().enumerate() {
                let leaf = |i: usize| leaf_hash(&[step as u8, i as u8]);
                match what {
                    0 | 1 => {
                        leaves.extend((0..many).map(leaf));
                        (0..many).for_each(|i| tree.push(leaf(i)));
                    }
                    2 => {
                        for i in 0..many.min(leaves.len()) {
                            let at = (usize::from(number) + 7 * i) % leaves.len();
                            leaves[at] = leaf(i);
                            tree.set(at, leaf(i));
                        }
                    }
                    _ => {
                        let len = usize::from(number) % (leaves.len() + 2);
                        leaves.truncate(len);
                        tree.truncate(len);
                    }
                }
                prop_assert_eq!(tree.len(), leaves.len());
                // Several changes may fall between two roots.
                if number % 3 > 0 {
                    prop_assert_eq!(tree.root(), root_of_hashes(leaves.iter().copied()));
                }
            }
            prop_assert_eq!(tree.root(), root_of_hashes(leaves));
        }

        #[test]
        fn frontier_equals_definition_and_every_leaf_proves(n in 0usize..70) {
            let hashes: Vec<Hash> = (0..n as u64).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let whole = root_of_hashes(hashes.iter().copied());
            prop_assert_eq!(whole, subtree(&hashes));
            let mut frontier = Frontier::new();
            hashes.iter().for_each(|hash| frontier.push(*hash));
            let again = Frontier::from_peaks(n as u64, frontier.peaks().to_vec()).unwrap();
            prop_assert_eq!(again.root(), whole);
            prop_assert!(Frontier::from_peaks(n as u64, [frontier.peaks(), &[whole]].concat()).is_none());
            for (i, leaf) in hashes.iter().enumerate() {
                let proof = inclusion_proof(&hashes, i).unwrap();
                prop_assert!(verify_inclusion(*leaf, i as u64, n as u64, &proof, &whole));
                prop_assert!(!verify_inclusion(*leaf, i as u64 + 1, n as u64, &proof, &whole) || n == 1);
                let mut longer = proof.clone();
                longer.push(*leaf);
                prop_assert!(!verify_inclusion(*leaf, i as u64, n as u64, &longer, &whole));
            }
            prop_assert!(inclusion_proof(&hashes, n).is_none());
        }
    }
}
