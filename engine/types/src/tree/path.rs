//! Proofs over a tree whose nodes are kept somewhere: roots of any size, inclusion, consistency.
//!
//! # Invariants
//! * Node `n` of level `l` is the root over the leaves `n 2^l .. (n + 1) 2^l`; only complete nodes are asked for, and at
//!   most one for each level and side of the path.
//! * A path is what RFC 9162 2.1.3 and 2.1.4 define, from the leaf up.

use super::{empty_root, node_hash};
use crate::digest::Hash;

/// Root over the leaves `start..end`; `start` is a multiple of the smallest power of two that holds them.
fn range<E>(start: u64, end: u64, node: &mut impl FnMut(u32, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let size = end - start;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return node(level, start >> level);
    }
    let middle = start + split(size);
    Ok(node_hash(&range(start, middle, node)?, &range(middle, end, node)?))
}

/// Largest power of two smaller than `size`; `size >= 2`.
const fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Root of the tree's first `size` leaves.
///
/// # Errors
/// What `node` says.
pub fn root_at<E>(size: u64, mut node: impl FnMut(u32, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    if size == 0 {
        Ok(empty_root())
    } else {
        range(0, size, &mut node)
    }
}

/// Inclusion path of leaf `index` in the tree of the first `size` leaves; `None` beyond it.
///
/// # Errors
/// What `node` says.
pub fn inclusion_path<E>(
    index: u64,
    size: u64,
    mut node: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let (mut path, mut start, mut end) = (Vec::new(), 0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(middle, end, &mut node)?);
            end = middle;
        } else {
            path.push(range(start, middle, &mut node)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// Consistency path from the tree of the first `first` leaves to that of the first `second`; `None` unless
/// `first <= second`. Empty where there is nothing to prove: from the empty tree, or to the same one.
///
/// # Errors
/// What `node` says.
pub fn consistency_path<E>(
    first: u64,
    second: u64,
    mut node: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if first > second {
        return Ok(None);
    }
    if first == 0 || first == second {
        return Ok(Some(Vec::new()));
    }
    let (mut path, mut start, mut end, mut known) = (Vec::new(), 0, second, true);
    while end != first {
        let middle = start + split(end - start);
        if first <= middle {
            path.push(range(middle, end, &mut node)?);
            end = middle;
        } else {
            path.push(range(start, middle, &mut node)?);
            (start, known) = (middle, false);
        }
    }
    if !known {
        path.push(range(start, end, &mut node)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// Checks a consistency path (RFC 9162 2.1.4.2) between two roots.
pub fn verify_consistency(first: u64, first_root: &Hash, second: u64, second_root: &Hash, path: &[Hash]) -> bool {
    if first == 0 {
        return path.is_empty() && *first_root == empty_root();
    }
    if first >= second {
        return first == second && path.is_empty() && first_root == second_root;
    }
    let mut path = path.iter();
    let start = if first.is_power_of_two() {
        first_root
    } else {
        let Some(start) = path.next() else { return false };
        start
    };
    let (mut old, mut new) = (*start, *start);
    let shift = (first - 1).trailing_ones();
    let (mut at, mut last) = ((first - 1) >> shift, (second - 1) >> shift);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == *first_root && new == *second_root
}

#[cfg(test)]
mod tests {
    use super::super::{Frontier, inclusion_proof, leaf_hash, root_of_hashes, verify_inclusion};
    use super::*;
    use core::convert::Infallible;

    const SIZE_MAX: u64 = 70;

    fn leaves() -> Vec<Hash> {
        (0..SIZE_MAX).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    fn ok<T>(result: Result<T, Infallible>) -> T {
        match result {
            Ok(value) => value,
        }
    }

    /// Nodes by their definition; asking for an incomplete one panics.
    fn node(leaves: &[Hash], size: u64) -> impl FnMut(u32, u64) -> Result<Hash, Infallible> {
        move |level, n| {
            let (start, end) = (n << level, (n + 1) << level);
            assert!(end <= size, "the node is complete");
            Ok(root_of_hashes(leaves[start as usize..end as usize].iter().copied()))
        }
    }

    #[test]
    fn paths_are_those_of_the_definition() {
        let leaves = leaves();
        for size in 0..=SIZE_MAX {
            let part = &leaves[..size as usize];
            let root = root_of_hashes(part.iter().copied());
            assert_eq!(ok(root_at(size, node(&leaves, size))), root);
            let mut frontier = ok(Frontier::at(size, node(&leaves, size)));
            assert_eq!((frontier.size(), frontier.root()), (size, root));
            frontier.push(leaf_hash(b"next"));
            let next = part.iter().copied().chain([leaf_hash(b"next")]);
            assert_eq!(frontier.root(), root_of_hashes(next));
            for index in 0..size {
                let path = ok(inclusion_path(index, size, node(&leaves, size)));
                assert_eq!(path, inclusion_proof(part, index as usize));
                assert!(verify_inclusion(
                    part[index as usize],
                    index,
                    size,
                    &path.unwrap(),
                    &root
                ));
            }
            assert_eq!(ok(inclusion_path(size, size, node(&leaves, size))), None);
        }
    }

    #[test]
    fn every_pair_of_sizes_is_consistent_and_nothing_else_is() {
        let leaves = leaves();
        let root = |size: u64| root_of_hashes(leaves[..size as usize].iter().copied());
        for second in 0..=SIZE_MAX {
            for first in 0..=second {
                let path = ok(consistency_path(first, second, node(&leaves, second))).unwrap();
                let (a, b) = (root(first), root(second));
                assert!(verify_consistency(first, &a, second, &b, &path), "{first} to {second}");
                let other = Hash([9; 32]);
                assert!(!verify_consistency(first, &other, second, &b, &path));
                assert!(first == 0 || !verify_consistency(first, &a, second, &other, &path));
                let longer = [path.as_slice(), &[other]].concat();
                assert!(!verify_consistency(first, &a, second, &b, &longer));
                for at in 0..path.len() {
                    let mut changed = path.clone();
                    changed[at].0[at % 32] ^= 1;
                    assert!(!verify_consistency(first, &a, second, &b, &changed));
                    changed.remove(at);
                    assert!(!verify_consistency(first, &a, second, &b, &changed));
                }
            }
            assert_eq!(ok(consistency_path(second + 1, second, node(&leaves, second))), None);
        }
    }
}
