//! The owners of one level, told apart: by its queue while that is short, by a treap with sizes while it is long.

use super::{Places, Tie};
use crate::ladder::{At, Ladder, NONE};
use crate::slab::{Owner, Slab};

/// A level with this many orders is asked through a tree of its owners, grown when it is asked first.
const TREE_FROM: u32 = 64;
/// Root of a tree without owners.
const VACANT: u32 = NONE - 1;

/// Node of a level's tree, by owner: a treap with sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    left: u32,
    right: u32,
    size: u32,
}

const SINGLE: Node = Node {
    left: NONE,
    right: NONE,
    size: 1,
};

impl<const COUNTED: bool> Places<COUNTED> {
    /// Grows the tree of a long level that has none, and counts as asking it.
    fn ask_tree(&mut self, side: usize, at: At, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        match ladder.tree_at(at) {
            NONE => {
                let mut handle = ladder.ends(at).head;
                for _ in 1..TREE_FROM {
                    if handle == NONE {
                        return;
                    }
                    handle = slab.order(handle).next;
                }
                if handle != NONE {
                    self.grow_tree(side, at, ladder, slab);
                }
            }
            VACANT => *ladder.lease_mut(at) = TREE_FROM,
            root => *ladder.lease_mut(at) = TREE_FROM + self.size(side, root),
        }
    }

    #[cold]
    fn grow_tree(&mut self, side: usize, at: At, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        *ladder.lease_mut(at) = TREE_FROM;
        *ladder.tree_at_mut(at) = VACANT;
        let mut handle = ladder.ends(at).head;
        while handle != NONE {
            let order = slab.order(handle);
            let owner = order.owner();
            let owned = &self.sides[side].owned;
            if owned.get(owner.0 as usize).is_some_and(|owned| owned.best() == handle) {
                self.join_tree(side, owner, at, ladder, slab);
            }
            *ladder.lease_mut(at) += 1;
            handle = order.next;
        }
    }

    fn tie_of(&self, side: usize, owner: u32, slab: &Slab) -> Tie {
        self.tie(slab.order(self.sides[side].owned[owner as usize].best()))
    }

    #[cold]
    pub(super) fn join_tree(&mut self, side: usize, owner: Owner, at: At, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        let root = ladder.tree_at(at);
        let root = if root == VACANT { NONE } else { root };
        let nodes = &mut self.sides[side].nodes;
        if nodes.len() <= owner.0 as usize {
            nodes.resize(owner.0 as usize + 1, SINGLE);
        }
        nodes[owner.0 as usize] = SINGLE;
        let tie = self.tie_of(side, owner.0, slab);
        let (left, right) = self.split(side, root, tie, slab);
        let left = self.join(side, left, owner.0);
        *ladder.tree_at_mut(at) = self.join(side, left, right);
    }

    #[cold]
    pub(super) fn leave_tree(&mut self, side: usize, owner: Owner, at: At, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        let root = ladder.tree_at(at);
        let tie = self.tie_of(side, owner.0, slab);
        let (left, rest) = self.split(side, root, tie, slab);
        let (this, right) = self.split(side, rest, (tie.0, tie.1 + 1), slab);
        debug_assert_eq!(this, owner.0);
        let root = self.join(side, left, right);
        *ladder.tree_at_mut(at) = if root == NONE { VACANT } else { root };
    }

    fn size(&self, side: usize, node: u32) -> u32 {
        if node == NONE {
            0
        } else {
            self.sides[side].nodes[node as usize].size
        }
    }

    fn update(&mut self, side: usize, node: u32) {
        let Node { left, right, .. } = self.sides[side].nodes[node as usize];
        let size = 1 + self.size(side, left) + self.size(side, right);
        self.sides[side].nodes[node as usize].size = size;
    }

    /// Splits into what stands before `tie` and the rest.
    // BOUND: depth is that of a treap, O(log n) for owners whose scattered numbers nobody chose.
    fn split(&mut self, side: usize, node: u32, tie: Tie, slab: &Slab) -> (u32, u32) {
        if node == NONE {
            return (NONE, NONE);
        }
        if self.tie_of(side, node, slab) < tie {
            let right = self.sides[side].nodes[node as usize].right;
            let (middle, rest) = self.split(side, right, tie, slab);
            self.sides[side].nodes[node as usize].right = middle;
            self.update(side, node);
            (node, rest)
        } else {
            let left = self.sides[side].nodes[node as usize].left;
            let (rest, middle) = self.split(side, left, tie, slab);
            self.sides[side].nodes[node as usize].left = middle;
            self.update(side, node);
            (rest, node)
        }
    }

    fn join(&mut self, side: usize, left: u32, right: u32) -> u32 {
        if left == NONE {
            return right;
        }
        if right == NONE {
            return left;
        }
        if scatter(left) < scatter(right) {
            let middle = self.sides[side].nodes[left as usize].right;
            self.sides[side].nodes[left as usize].right = self.join(side, middle, right);
            self.update(side, left);
            left
        } else {
            let middle = self.sides[side].nodes[right as usize].left;
            self.sides[side].nodes[right as usize].left = self.join(side, left, middle);
            self.update(side, right);
            right
        }
    }

    /// Owners of a level that stand before `tie`.
    pub(super) fn owners_before(
        &mut self,
        side: usize,
        at: At,
        tie: Tie,
        ladder: &mut Ladder<COUNTED>,
        slab: &Slab,
    ) -> u32 {
        self.ask_tree(side, at, ladder, slab);
        let root = ladder.tree_at(at);
        if root == NONE {
            let ties = self.ties_of_queue(side, at, ladder, slab);
            return ties.filter(|other| *other < tie).count() as u32;
        }
        let (mut node, mut count) = (if root == VACANT { NONE } else { root }, 0);
        while node != NONE {
            let Node { left, right, .. } = self.sides[side].nodes[node as usize];
            if self.tie_of(side, node, slab) < tie {
                count += 1 + self.size(side, left);
                node = right;
            } else {
                node = left;
            }
        }
        count
    }

    /// Ties of the owners whose best order stands in a level's queue, in queue order.
    fn ties_of_queue<'a>(
        &'a self,
        side: usize,
        at: At,
        ladder: &Ladder<COUNTED>,
        slab: &'a Slab,
    ) -> impl Iterator<Item = Tie> + 'a {
        let mut handle = ladder.ends(at).head;
        core::iter::from_fn(move || {
            while handle != NONE {
                let (this, order) = (handle, slab.order(handle));
                handle = order.next;
                if self.sides[side].owned[order.owner().0 as usize].best() == this {
                    return Some(self.tie(order));
                }
            }
            None
        })
    }

    /// The tie of the owner at place `rank` (from 1) of a level.
    pub(super) fn tie_at(&mut self, side: usize, at: At, rank: u32, ladder: &mut Ladder<COUNTED>, slab: &Slab) -> Tie {
        self.ask_tree(side, at, ladder, slab);
        let root = ladder.tree_at(at);
        if root == NONE {
            // BOUND: fewer than `TREE_FROM` orders.
            let mut ties = [(u32::MAX, u64::MAX); TREE_FROM as usize];
            let mut len = 0;
            for tie in self.ties_of_queue(side, at, ladder, slab) {
                ties[len] = tie;
                len += 1;
            }
            ties[..len].sort_unstable();
            return ties[rank as usize - 1];
        }
        let (mut node, mut rank) = (root, rank);
        loop {
            let Node { left, right, .. } = self.sides[side].nodes[node as usize];
            let before = self.size(side, left);
            if rank <= before {
                node = left;
            } else if rank == before + 1 {
                return self.tie_of(side, node, slab);
            } else {
                rank -= before + 1;
                node = right;
            }
        }
    }
}

/// Scatters owner numbers: heap order of the trees of owners.
const fn scatter(owner: u32) -> u32 {
    let x = (owner ^ owner >> 16).wrapping_mul(0x7feb_352d);
    let x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}
