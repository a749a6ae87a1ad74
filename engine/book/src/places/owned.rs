//! An owner's orders of a side, best first: a few in one cache line, many in a pairing heap.

use super::Places;
use crate::ladder::{Ladder, NONE};
use crate::slab::{Order, Slab};

/// Orders of one owner and side that stand in its line.
const FEW: usize = 7;
/// A heap that has shrunk to this many orders goes back into the line.
const FEW_AGAIN: u32 = 3;

/// An order in its owner's line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Few {
    pub(super) key: u32,
    pub(super) handle: u32,
}

/// An owner's orders of a side.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Owned {
    pub(super) len: u32,
    /// Root of the heap of all of them, or [`NONE`] while they are few.
    pub(super) heap: u32,
    /// The first `len`, best first, while there is no heap.
    pub(super) few: [Few; FEW],
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
    pub(super) const fn best(&self) -> u32 {
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
pub(super) struct Kin {
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

impl<const COUNTED: bool> Places<COUNTED> {
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
    pub(super) fn of_heap(&self, root: u32, slab: &Slab) -> Vec<u32> {
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
}

/// Makes room up to `at`, a sixteenth at a time: a doubled table would hold twice the memory its rows need.
#[cold]
pub(super) fn widen<T: Clone>(table: &mut Vec<T>, at: usize, vacant: T) {
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
