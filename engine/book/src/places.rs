//! Places: every owner's best order on a side, how many owners stand before it, and who is in range (MARKET 3.3 to 3.5).
//!
//! # Contract
//! * An owner's few orders of a side stand best first in one cache line; many form a pairing heap by (price, time), where
//!   adding is O(1) and taking out O(log k) amortised for k orders.
//! * Place order is price, then reputation, then time of the best order. Levels count the owners whose best stands there
//!   and the ladder's tiers sum them, so a place is a walk down the tiers. Owners of one level are told apart by walking its
//!   queue while it is short, and by a tree of owners while it is long: grown when a sweep asks, dropped when it has
//!   changed as often as the level has orders and nobody has asked again.
//! * [`Places::reach`] is taken before a sweep. The sweep may unlink orders from their queues meanwhile; places change only
//!   when [`Places::remove`] is called for them afterwards, so one sweep sees one set of places.

use crate::ladder::{At, Ladder, NONE};
use crate::slab::{Order, Owner, Slab};
use wattbook_types::units::PPM_ONE;
use wattbook_types::{Ppm, RangeMode, Side};

/// A level with this many orders is asked through a tree of its owners, grown when it is asked first.
const TREE_FROM: u32 = 64;
/// Root of a tree without owners.
const VACANT: u32 = NONE - 1;

/// Eq 5: `clamp((N (1e6 - p) + 5e5) div 1e6, 1, N)`, with at least 1 (MARKET 3.3).
pub const fn matchable_range(opposite: u32, percentile: Ppm) -> u32 {
    let share = PPM_ONE.saturating_sub(percentile.get()) as u64;
    let range = (opposite as u64 * share + 500_000) / PPM_ONE as u64;
    let capped = if range > opposite as u64 {
        opposite as u64
    } else {
        range
    };
    if capped < 1 { 1 } else { capped as u32 }
}

/// What a book knows of an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// R of Eq 4, fixed at gate opening.
    pub reputation: Ppm,
    /// Percentile; 0 is best.
    pub percentile: Ppm,
    /// Owners of one group never trade with each other; [`Standing::ALONE`]: in none.
    pub group: u32,
}

impl Standing {
    /// In no group.
    pub const ALONE: u32 = u32::MAX;
    /// Of a participant that was not active at gate opening: a newcomer, ranked behind everyone, in no group.
    pub const UNRANKED: Self = Self {
        reputation: Ppm::new(500_000),
        percentile: Ppm::new(PPM_ONE),
        group: Self::ALONE,
    };
}

/// Orders of one owner and side that stand in its line.
const FEW: usize = 7;
/// A heap that has shrunk to this many orders goes back into the line.
const FEW_AGAIN: u32 = 3;

/// An order in its owner's line.
#[derive(Clone, Copy, Debug)]
struct Few {
    key: u32,
    handle: u32,
}

/// An owner's orders of a side.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Owned {
    len: u32,
    /// Root of the heap of all of them, or [`NONE`] while they are few.
    heap: u32,
    /// The first `len`, best first, while there is no heap.
    few: [Few; FEW],
}

const _: () = assert!(size_of::<Owned>() == 64);

impl Owned {
    const NOTHING: Self = Self {
        len: 0,
        heap: NONE,
        few: [Few { key: 0, handle: NONE }; FEW],
    };

    /// The best order, or [`NONE`].
    #[inline]
    const fn best(&self) -> u32 {
        if self.heap != NONE {
            self.heap
        } else if self.len != 0 {
            self.few[0].handle
        } else {
            NONE
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Kin {
    child: u32,
    /// Next child of the same parent.
    next: u32,
    /// The child before it, or the parent of a first child.
    prev: u32,
}

const ORPHAN: Kin = Kin {
    child: NONE,
    next: NONE,
    prev: NONE,
};

/// Node of a level's tree, by owner: a treap with sizes.
#[derive(Clone, Copy, Debug)]
struct Node {
    left: u32,
    right: u32,
    size: u32,
}

const SINGLE: Node = Node {
    left: NONE,
    right: NONE,
    size: 1,
};

/// Place among the owners of one level: ascending is first.
type Tie = (u32, u64);

/// The last place in range: key of its level, then its tie.
type Cut = (u32, Tie);

#[derive(Clone, Debug, Default)]
struct SidePlaces {
    owned: Vec<Owned>,
    nodes: Vec<Node>,
    /// Owners with an order.
    owners: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Places<const COUNTED: bool> {
    sides: [SidePlaces; 2],
    /// By handle, as far as one of them has been in a heap.
    kin: Vec<Kin>,
    standing: Vec<Standing>,
}

/// An incoming order, as far as its place goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chooser {
    pub(crate) side: Side,
    pub(crate) key: u32,
    pub(crate) owner: Owner,
    /// The stamp it would have.
    pub(crate) stamp: u64,
}

/// Who is in range of one incoming order.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// Everybody.
    All,
    /// By place.
    Places {
        mode: RangeMode,
        /// Owners in range on the levels not yet met.
        own_left: u32,
        /// Where the own condition ends, once the sweep has met that level.
        cut: Option<Cut>,
        /// Greatest percentile of a counterparty in whose range the incoming order is.
        percentile_max: u32,
    },
}

impl<const COUNTED: bool> Places<COUNTED> {
    pub(crate) fn new() -> Self {
        Self {
            sides: Default::default(),
            kin: Vec::new(),
            standing: Vec::new(),
        }
    }

    /// Owners with an order on a side.
    pub(crate) const fn owners(&self, side: Side) -> u32 {
        self.sides[side.index()].owners
    }

    #[inline]
    pub(crate) fn standing(&self, owner: Owner) -> Standing {
        self.standing
            .get(owner.0 as usize)
            .copied()
            .unwrap_or(Standing::UNRANKED)
    }

    pub(crate) fn set_standing(&mut self, owner: Owner, standing: Standing) {
        let at = owner.0 as usize;
        if self.standing.len() <= at {
            widen(&mut self.standing, at, Standing::UNRANKED);
        }
        self.standing[at] = standing;
    }

    /// An owner's best order.
    #[inline]
    pub(crate) fn best_of(&self, side: Side, owner: Owner) -> Option<u32> {
        let best = self.sides[side.index()].owned.get(owner.0 as usize)?.best();
        (best != NONE).then_some(best)
    }

    /// Reads an owner's line.
    #[inline]
    pub(crate) fn glance(&self, side: Side, owner: Owner) -> u32 {
        let owned = self.sides[side.index()].owned.get(owner.0 as usize);
        owned.map_or(0, |owned| owned.len)
    }

    fn tie(&self, order: &Order) -> Tie {
        // Descending reputation.
        let behind = u32::MAX - self.standing(order.owner()).reputation.get();
        (behind, order.stamp)
    }

    /// Counts an order that has been appended to its queue.
    #[inline]
    pub(crate) fn insert(&mut self, handle: u32, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        let order = slab.order(handle);
        let (side, owner) = (order.side().index(), order.owner());
        let all = &mut self.sides[side].owned;
        if all.len() <= owner.0 as usize {
            // Every owner that has been introduced, at once.
            let known = self.standing.len().max(owner.0 as usize + 1);
            all.reserve_exact(known - all.len());
            all.resize(known, Owned::NOTHING);
        }
        let owned = &mut all[owner.0 as usize];
        if owned.heap != NONE || owned.len as usize == FEW {
            return self.insert_in_heap(handle, ladder, slab);
        }
        // Behind what is better, and behind what is as good and was there before.
        let len = owned.len as usize;
        let mut at = len;
        while at != 0 && stands_behind(&owned.few[at - 1], order, slab) {
            at -= 1;
        }
        let old = (len != 0).then_some(owned.few[0].key);
        let from = match old {
            Some(key) if at == 0 => Some((key, self.leave_level(side, owner, key, ladder, slab))),
            _ => None,
        };
        let owned = &mut self.sides[side].owned[owner.0 as usize];
        for behind in (at..len).rev() {
            owned.few[behind + 1] = owned.few[behind];
        }
        owned.few[at] = Few { key: order.key, handle };
        owned.len += 1;
        if at == 0 {
            self.reach_level(side, owner, from, Some(order.key), ladder, slab);
        }
    }

    /// [`Self::insert`] of an owner that has many.
    #[cold]
    fn insert_in_heap(&mut self, handle: u32, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        let order = slab.order(handle);
        let (side, owner) = (order.side().index(), order.owner());
        let mut owned = self.sides[side].owned[owner.0 as usize];
        let before_it = owned.best();
        if owned.heap == NONE {
            let mut heap = owned.few[0].handle;
            self.single(heap);
            for few in &owned.few[1..] {
                self.single(few.handle);
                heap = self.meld(heap, few.handle, slab);
            }
            owned.heap = heap;
        }
        self.single(handle);
        let old = slab.order(before_it).key;
        let from = before(order, slab.order(before_it)).then(|| self.leave_level(side, owner, old, ladder, slab));
        owned.heap = self.meld(owned.heap, handle, slab);
        owned.len += 1;
        self.sides[side].owned[owner.0 as usize] = owned;
        if let Some(from) = from {
            self.reach_level(side, owner, Some((old, from)), Some(order.key), ladder, slab);
        }
    }

    /// Forgets an order that has been unlinked from its queue; its row and its level still stand.
    #[inline]
    pub(crate) fn remove(&mut self, handle: u32, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        let order = slab.order(handle);
        let (side, owner) = (order.side().index(), order.owner());
        let owned = &self.sides[side].owned[owner.0 as usize];
        if owned.heap != NONE {
            self.remove_from_heap(handle, ladder, slab);
        } else {
            let len = owned.len as usize;
            let found = owned.few[..len].iter().position(|few| few.handle == handle);
            let at = found.expect("INVARIANT: an owner's line names its orders");
            let from = (at == 0).then(|| self.leave_level(side, owner, order.key, ladder, slab));
            let owned = &mut self.sides[side].owned[owner.0 as usize];
            for ahead in at + 1..len {
                owned.few[ahead - 1] = owned.few[ahead];
            }
            owned.len -= 1;
            if let Some(from) = from {
                let new = (len > 1).then_some(owned.few[0].key);
                self.reach_level(side, owner, Some((order.key, from)), new, ladder, slab);
            }
        }
    }

    /// [`Self::remove`] of an owner that has many.
    #[cold]
    fn remove_from_heap(&mut self, handle: u32, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
        let order = slab.order(handle);
        let (side, owner) = (order.side().index(), order.owner());
        let mut owned = self.sides[side].owned[owner.0 as usize];
        let leads = owned.heap == handle;
        let from = leads.then(|| self.leave_level(side, owner, order.key, ladder, slab));
        let Kin { child, next, prev } = self.kin[handle as usize];
        let orphans = self.merge(child, slab);
        if leads {
            owned.heap = orphans;
        } else {
            if self.kin[prev as usize].child == handle {
                self.kin[prev as usize].child = next;
            } else {
                self.kin[prev as usize].next = next;
            }
            if next != NONE {
                self.kin[next as usize].prev = prev;
            }
            if orphans != NONE {
                self.adopt(owned.heap, orphans);
            }
        }
        owned.len -= 1;
        let new = slab.order(owned.heap).key;
        if owned.len == FEW_AGAIN {
            let orders = self.of_heap(owned.heap, slab);
            for (few, &handle) in owned.few.iter_mut().zip(&orders) {
                *few = Few {
                    key: slab.order(handle).key,
                    handle,
                };
            }
            owned.heap = NONE;
        }
        self.sides[side].owned[owner.0 as usize] = owned;
        if let Some(from) = from {
            self.reach_level(side, owner, Some((order.key, from)), Some(new), ladder, slab);
        }
    }

    /// Makes an order a heap of its own.
    fn single(&mut self, handle: u32) {
        if self.kin.len() <= handle as usize {
            if self.kin.capacity() <= handle as usize {
                self.kin
                    .reserve_exact(handle as usize + 1 + handle as usize / 8 - self.kin.len());
            }
            self.kin.resize(handle as usize + 1, ORPHAN);
        }
        self.kin[handle as usize] = ORPHAN;
    }

    /// The orders of a heap, best first.
    fn of_heap(&self, root: u32, slab: &Slab) -> Vec<u32> {
        let mut found = Vec::new();
        let mut open = vec![root];
        while let Some(handle) = open.pop() {
            found.push(handle);
            let mut child = self.kin[handle as usize].child;
            while child != NONE {
                open.push(child);
                child = self.kin[child as usize].next;
            }
        }
        found.sort_unstable_by_key(|&handle| {
            let order = slab.order(handle);
            (order.key, order.stamp)
        });
        found
    }

    /// Makes `child` the first child of `parent`.
    fn adopt(&mut self, parent: u32, child: u32) {
        let first = core::mem::replace(&mut self.kin[parent as usize].child, child);
        let kin = &mut self.kin[child as usize];
        kin.next = first;
        kin.prev = parent;
        if first != NONE {
            self.kin[first as usize].prev = child;
        }
    }

    /// One heap of two.
    fn meld(&mut self, a: u32, b: u32, slab: &Slab) -> u32 {
        let (parent, child) = if before(slab.order(a), slab.order(b)) {
            (a, b)
        } else {
            (b, a)
        };
        self.adopt(parent, child);
        parent
    }

    /// One heap of a list of siblings: in pairs forward, then all backward.
    fn merge(&mut self, first: u32, slab: &Slab) -> u32 {
        let (mut at, mut pairs) = (first, NONE);
        while at != NONE {
            let second = self.kin[at as usize].next;
            let (pair, rest) = if second == NONE {
                (at, NONE)
            } else {
                let rest = self.kin[second as usize].next;
                (self.meld(at, second, slab), rest)
            };
            self.kin[pair as usize].next = pairs;
            pairs = pair;
            at = rest;
        }
        let mut heap = NONE;
        while pairs != NONE {
            let next = self.kin[pairs as usize].next;
            heap = if heap == NONE {
                pairs
            } else {
                self.meld(heap, pairs, slab)
            };
            pairs = next;
        }
        if heap != NONE {
            let kin = &mut self.kin[heap as usize];
            (kin.next, kin.prev) = (NONE, NONE);
        }
        heap
    }

    /// An owner's best order is about to be another: takes the owner out of the tree of the level of `key`, if it has one.
    #[inline]
    fn leave_level(&mut self, side: usize, owner: Owner, key: u32, ladder: &mut Ladder<COUNTED>, slab: &Slab) -> At {
        let at = ladder.at(key);
        if ladder.tree_at(at) != NONE {
            self.leave_tree(side, owner, at, ladder, slab);
            let lease = ladder.lease_mut(at);
            *lease -= 1;
            if *lease == 0 {
                *ladder.tree_at_mut(at) = NONE;
            }
        }
        at
    }

    /// An owner's best order is another one: counts it on its level, and in its level's tree.
    #[inline]
    fn reach_level(
        &mut self,
        side: usize,
        owner: Owner,
        from: Option<(u32, At)>,
        to: Option<u32>,
        ladder: &mut Ladder<COUNTED>,
        slab: &Slab,
    ) {
        let to = to.map(|key| (key, ladder.at(key)));
        if from != to {
            match from {
                Some((key, at)) => ladder.count_owner(key, at, false),
                None => self.sides[side].owners += 1,
            }
            match to {
                Some((key, at)) => ladder.count_owner(key, at, true),
                None => self.sides[side].owners -= 1,
            }
        }
        if let Some((_, at)) = to
            && ladder.tree_at(at) != NONE
        {
            self.join_tree(side, owner, at, ladder, slab);
        }
    }

    // ---- owners of one level ------------------------------------------------------------------------------------

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
    fn join_tree(&mut self, side: usize, owner: Owner, at: At, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
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
    fn leave_tree(&mut self, side: usize, owner: Owner, at: At, ladder: &mut Ladder<COUNTED>, slab: &Slab) {
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
    fn owners_before(&mut self, side: usize, at: At, tie: Tie, ladder: &mut Ladder<COUNTED>, slab: &Slab) -> u32 {
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
    fn tie_at(&mut self, side: usize, at: At, rank: u32, ladder: &mut Ladder<COUNTED>, slab: &Slab) -> Tie {
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

    // ---- one incoming order -------------------------------------------------------------------------------------

    /// Place of an incoming order on its own side, as if inserted: its owner's best quote decides.
    pub(crate) fn place(&mut self, chooser: Chooser, ladder: &mut Ladder<COUNTED>, slab: &Slab) -> u32 {
        let Chooser {
            side,
            key,
            owner,
            stamp,
        } = chooser;
        let behind = u32::MAX - self.standing(owner).reputation.get();
        let mut mine: Cut = (key, (behind, stamp));
        if let Some(best) = self.best_of(side, owner) {
            let order = slab.order(best);
            mine = mine.min((order.key, self.tie(order)));
        }
        let (key, tie) = mine;
        if u64::from(key) < ladder.best() {
            return 1;
        }
        let mut ahead = ladder.owners_before(key);
        if let Some(at) = ladder.find(key) {
            ahead += self.owners_before(side.index(), at, tie, ladder, slab);
        }
        ahead + 1
    }

    /// Who is in range of an incoming order; `own` is the ladder of its own side.
    #[inline]
    pub(crate) fn reach(&mut self, mode: RangeMode, chooser: Chooser, own: &mut Ladder<COUNTED>, slab: &Slab) -> Reach {
        let Chooser { side, key, owner, .. } = chooser;
        let first = u64::from(key) < own.best();
        match mode {
            RangeMode::Off => return Reach::All,
            // The first in place is in everybody's range, which is at least 1.
            RangeMode::Either | RangeMode::Counterparty if first => return Reach::All,
            _ => {}
        }
        let opposite = self.owners(side.opposite());
        let own_left = matchable_range(opposite, self.standing(owner).percentile);
        let percentile_max = if first || mode == RangeMode::Own {
            u32::MAX
        } else {
            let mut count = self.owners(side);
            if self.best_of(side, owner).is_none() {
                count += 1;
            }
            percentile_in_reach(count, self.place(chooser, own, slab))
        };
        Reach::Places {
            mode,
            own_left,
            cut: None,
            percentile_max,
        }
    }

    /// Tells the reach that the sweep has come to a level; `true` if everybody who has an order there is in range.
    #[inline]
    pub(crate) fn meet_level(
        &mut self,
        reach: &mut Reach,
        side: Side,
        key: u32,
        at: At,
        ladder: &mut Ladder<COUNTED>,
        slab: &Slab,
    ) -> bool {
        let Reach::Places {
            mode, own_left, cut, ..
        } = reach
        else {
            return true;
        };
        if matches!(mode, RangeMode::Counterparty) {
            return false;
        }
        if cut.is_none() {
            let owners = ladder.owners_at(at);
            if owners <= *own_left {
                *own_left -= owners;
            } else if *own_left == 0 {
                *cut = Some((key, (0, 0)));
            } else {
                *cut = Some((key, self.tie_at(side.index(), at, *own_left, ladder, slab)));
            }
        }
        cut.is_none() && matches!(mode, RangeMode::Own | RangeMode::Either)
    }

    /// Whether an incoming order may trade with a resting one of a level that was met.
    #[inline]
    pub(crate) fn allows(&self, reach: &Reach, resting: &Order, slab: &Slab) -> bool {
        let Reach::Places {
            mode,
            cut,
            percentile_max,
            ..
        } = reach
        else {
            return true;
        };
        let own = || {
            cut.is_none_or(|cut| {
                let side = resting.side().index();
                let best = slab.order(self.sides[side].owned[resting.owner().0 as usize].best());
                best.key < cut.0 || best.key == cut.0 && self.tie(best) <= cut.1
            })
        };
        let counterparty = || self.standing(resting.owner()).percentile.get() <= *percentile_max;
        match mode {
            RangeMode::Off => true,
            RangeMode::Own => own(),
            RangeMode::Counterparty => counterparty(),
            RangeMode::Mutual => counterparty() && own(),
            RangeMode::Either => counterparty() || own(),
        }
    }

    #[inline]
    pub(crate) fn same_group(&self, a: Owner, b: Owner) -> bool {
        if a == b {
            return true;
        }
        let group = self.standing(a).group;
        group != Standing::ALONE && group == self.standing(b).group
    }

    /// Every order of an owner on a side, best first.
    pub(crate) fn owned(&self, side: Side, owner: Owner, slab: &Slab) -> Vec<u32> {
        let Some(owned) = self.sides[side.index()].owned.get(owner.0 as usize) else {
            return Vec::new();
        };
        if owned.heap != NONE {
            self.of_heap(owned.heap, slab)
        } else {
            owned.few[..owned.len as usize].iter().map(|few| few.handle).collect()
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let side =
            |side: &SidePlaces| side.owned.capacity() * size_of::<Owned>() + side.nodes.capacity() * size_of::<Node>();
        self.sides.iter().map(side).sum::<usize>()
            + self.kin.capacity() * size_of::<Kin>()
            + self.standing.capacity() * size_of::<Standing>()
    }
}

/// Makes room up to `at`, a sixteenth at a time: a doubled table would hold twice the memory its rows need.
#[cold]
fn widen<T: Clone>(table: &mut Vec<T>, at: usize, vacant: T) {
    if table.capacity() <= at {
        table.reserve_exact(at + 1 + at / 16 - table.len());
    }
    table.resize(at + 1, vacant);
}

/// Whether an order of an owner's line stands behind another of that owner.
#[inline]
fn stands_behind(few: &Few, order: &Order, slab: &Slab) -> bool {
    few.key > order.key || few.key == order.key && slab.order(few.handle).stamp > order.stamp
}

/// Whether an order stands before another of its owner.
#[inline]
fn before(a: &Order, b: &Order) -> bool {
    (a.key, a.stamp) < (b.key, b.stamp)
}

/// Scatters owner numbers: heap order of the trees of owners.
const fn scatter(owner: u32) -> u32 {
    let x = (owner ^ owner >> 16).wrapping_mul(0x7feb_352d);
    let x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// Greatest percentile whose matchable range among `count` owners reaches `place`.
const fn percentile_in_reach(count: u32, place: u32) -> u32 {
    if place <= 1 {
        return u32::MAX;
    }
    // range >= place  <=>  count (1e6 - p) + 5e5 >= place 1e6; the clamp at `count` never cuts a place.
    let short = place as u64 * PPM_ONE as u64 - 500_000;
    let share = short.div_ceil(count as u64);
    match (PPM_ONE as u64).checked_sub(share) {
        Some(percentile) => percentile as u32,
        // Only percentiles below zero would do.
        None => 0,
    }
}
