//! Price levels of one side, best first, over the whole signed 32-bit range.
//!
//! # Format
//! A price becomes a *key* whose ascending order is best first on either side. Keys lead through a trie of 64-way nodes:
//! four inner tiers of 6 bits and one of 2 above leaves of 64 levels. A leaf or node exists while something rests under
//! it. The path to the last key is remembered: a book that trades around one price finds a level in two loads, and a far
//! price is looked for from the first node that both share.
//!
//! # Invariants
//! * A bit is set iff something rests under it, and only then is there a child, or a first and last order; an emptied leaf
//!   or node goes back to its free list.
//! * `best` is the least key with a level, or [`EMPTY`].
//! * With `COUNTED`, a level counts the owners whose best order stands there; the tiers above sum them up once asked.

use wattbook_types::Side;

/// No order, no leaf, no node.
pub(crate) const NONE: u32 = u32::MAX;
/// `best` of a side without orders: above every key.
pub(crate) const EMPTY: u64 = u64::MAX;

/// Fan-out of a node.
const FAN: usize = 64;
/// Inner tiers, from the leaves' parents to the root.
const TIERS: usize = 5;
/// No path is remembered: above every tag.
const NO_TAG: u32 = u32::MAX;

/// The key of a price: ascending is best first.
#[inline]
pub(crate) const fn key_of(side: Side, price: i32) -> u32 {
    let ascending = price as u32 ^ 0x8000_0000;
    match side {
        Side::Buy => !ascending,
        Side::Sell => ascending,
    }
}

/// The price of a key.
#[inline]
pub(crate) const fn price_of(side: Side, key: u32) -> i32 {
    let ascending = match side {
        Side::Buy => !key,
        Side::Sell => key,
    };
    (ascending ^ 0x8000_0000) as i32
}

/// Slot of `key` in a node of `tier`; tier 0 is the leaves' parents.
#[inline]
const fn slot(key: u32, tier: usize) -> usize {
    (key >> (6 + 6 * tier)) as usize & (FAN - 1)
}

/// First and last order of a level's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

#[derive(Clone, Debug)]
struct Leaf {
    bits: u64,
    ends: [Ends; FAN],
}

#[derive(Clone, Debug)]
struct Inner {
    bits: u64,
    children: [u32; FAN],
}

/// What a level knows of the owners on it.
#[derive(Clone, Copy, Debug)]
struct Census {
    /// Owners whose best order stands there.
    owners: u32,
    /// Root of the tree of those owners, or [`NONE`].
    tree: u32,
    /// Changes that tree may still see before anybody asks it.
    lease: u32,
}

/// A leaf's change that the tiers above do not know yet.
#[derive(Clone, Copy, Debug)]
struct Unsummed {
    /// Wraps: owners come and go.
    owners: u32,
    /// A key of the leaf.
    key: u32,
    listed: bool,
}

/// Where a level is: leaf and index within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct At {
    leaf: u32,
    index: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Ladder<const COUNTED: bool> {
    leaves: Vec<Leaf>,
    inners: Vec<Inner>,
    census: Vec<[Census; FAN]>,
    /// Owners under each child of an inner node, but for the leaves in `unsummed`.
    sums: Vec<[u32; FAN]>,
    changes: Vec<Unsummed>,
    /// Leaves whose changes the sums do not know.
    unsummed: Vec<u32>,
    free_leaves: Vec<u32>,
    free_inners: Vec<u32>,
    /// Inner nodes on the way to `around`, from tier `reached` up; the last is the root.
    path: [u32; TIERS],
    around: u32,
    reached: usize,
    /// `around >> 12` of a path that reaches the leaves' parent, else [`NO_TAG`].
    tag: u32,
    best: u64,
}

impl<const COUNTED: bool> Ladder<COUNTED> {
    pub(crate) fn new() -> Self {
        let mut ladder = Self {
            leaves: Vec::new(),
            inners: Vec::new(),
            census: Vec::new(),
            sums: Vec::new(),
            changes: Vec::new(),
            unsummed: Vec::new(),
            free_leaves: Vec::new(),
            free_inners: Vec::new(),
            path: [NONE; TIERS],
            around: 0,
            reached: TIERS - 1,
            tag: NO_TAG,
            best: EMPTY,
        };
        ladder.path[TIERS - 1] = ladder.new_inner();
        ladder
    }

    /// The best key, or [`EMPTY`].
    #[inline]
    pub(crate) const fn best(&self) -> u64 {
        self.best
    }

    const fn root(&self) -> u32 {
        self.path[TIERS - 1]
    }

    fn new_inner(&mut self) -> u32 {
        if let Some(node) = self.free_inners.pop() {
            return node;
        }
        self.inners.push(Inner {
            bits: 0,
            children: [NONE; FAN],
        });
        if COUNTED {
            self.sums.push([0; FAN]);
        }
        (self.inners.len() - 1) as u32
    }

    fn new_leaf(&mut self) -> u32 {
        if let Some(leaf) = self.free_leaves.pop() {
            return leaf;
        }
        let vacant = Ends { head: NONE, tail: NONE };
        self.leaves.push(Leaf {
            bits: 0,
            ends: [vacant; FAN],
        });
        if COUNTED {
            let nobody = Census {
                owners: 0,
                tree: NONE,
                lease: 0,
            };
            self.census.push([nobody; FAN]);
            self.changes.push(Unsummed {
                owners: 0,
                key: 0,
                listed: false,
            });
        }
        (self.leaves.len() - 1) as u32
    }

    /// Makes `path` lead to the leaves around `key`; `false` if nothing rests there.
    #[inline]
    fn walk_to(&mut self, key: u32) -> bool {
        self.tag == key >> 12 || self.descend(key)
    }

    /// Takes the path to `key` as far as nodes stand; `false` if that is not to the leaves' parent.
    fn descend(&mut self, key: u32) -> bool {
        let mut tier = self.shared_tier(key);
        self.around = key;
        while tier > 0 {
            let inner = &self.inners[self.path[tier] as usize];
            let slot = slot(key, tier);
            if inner.bits >> slot & 1 == 0 {
                break;
            }
            tier -= 1;
            self.path[tier] = inner.children[slot];
        }
        self.reached = tier;
        self.tag = if tier == 0 { key >> 12 } else { NO_TAG };
        tier == 0
    }

    /// The lowest tier of the remembered path that leads to `key` as well.
    #[inline]
    fn shared_tier(&self, key: u32) -> usize {
        // Below the leaves' parent's 12 bits nothing tells paths apart.
        let differing = (key ^ self.around) >> 12;
        let tier = (u32::BITS - differing.leading_zeros()).div_ceil(6) as usize;
        tier.max(self.reached)
    }

    /// Adds the nodes that are missing on the path to `key`, which has been taken as far as nodes stand.
    #[cold]
    fn build(&mut self, key: u32) {
        debug_assert!(self.around == key);
        for tier in (1..=self.reached).rev() {
            let child = self.new_inner();
            let (node, slot) = (self.path[tier] as usize, slot(key, tier));
            let inner = &mut self.inners[node];
            inner.bits |= 1 << slot;
            inner.children[slot] = child;
            self.path[tier - 1] = child;
        }
        self.reached = 0;
        self.tag = key >> 12;
    }

    /// The level of a key where something rests.
    #[inline]
    pub(crate) fn find(&mut self, key: u32) -> Option<At> {
        if !self.walk_to(key) {
            return None;
        }
        let parent = &self.inners[self.path[0] as usize];
        let slot = slot(key, 0);
        if parent.bits >> slot & 1 == 0 {
            return None;
        }
        let (leaf, index) = (parent.children[slot], key % FAN as u32);
        (self.leaves[leaf as usize].bits >> index & 1 != 0).then_some(At { leaf, index })
    }

    /// The level of a key where something rests.
    ///
    /// # Panics
    /// If nothing does.
    #[inline]
    pub(crate) fn at(&mut self, key: u32) -> At {
        let found = self.walk_to(key);
        debug_assert!(found, "INVARIANT: an order's level stands");
        let leaf = self.inners[self.path[0] as usize].children[slot(key, 0)];
        let index = key % FAN as u32;
        debug_assert!(self.leaves[leaf as usize].bits >> index & 1 != 0);
        At { leaf, index }
    }

    /// The level of a key without the use of the remembered path.
    pub(crate) fn peek(&self, key: u32) -> Option<Ends> {
        let mut node = self.root();
        for tier in (0..TIERS).rev() {
            let inner = &self.inners[node as usize];
            let slot = slot(key, tier);
            if inner.bits >> slot & 1 == 0 {
                return None;
            }
            node = inner.children[slot];
        }
        let leaf = &self.leaves[node as usize];
        let index = key as usize % FAN;
        (leaf.bits >> index & 1 != 0).then_some(leaf.ends[index])
    }

    /// Appends `order` to the queue of `key` and returns the order before it, or [`NONE`] if the level is new.
    #[inline(always)]
    pub(crate) fn append(&mut self, key: u32, order: u32) -> u32 {
        if !self.walk_to(key) {
            self.build(key);
        }
        let (node, slot) = (self.path[0] as usize, slot(key, 0));
        let mut leaf = self.inners[node].children[slot];
        if leaf == NONE {
            leaf = self.new_leaf();
            let inner = &mut self.inners[node];
            inner.bits |= 1 << slot;
            inner.children[slot] = leaf;
        }
        let index = key as usize % FAN;
        let page = &mut self.leaves[leaf as usize];
        let before = core::mem::replace(&mut page.ends[index].tail, order);
        if before == NONE {
            page.ends[index].head = order;
            page.bits |= 1 << index;
            self.best = self.best.min(u64::from(key));
            if COUNTED {
                self.census[leaf as usize][index].tree = NONE;
            }
        }
        before
    }

    #[inline]
    pub(crate) fn ends(&self, at: At) -> Ends {
        self.leaves[at.leaf as usize].ends[at.index as usize]
    }

    #[inline]
    pub(crate) fn ends_mut(&mut self, at: At) -> &mut Ends {
        &mut self.leaves[at.leaf as usize].ends[at.index as usize]
    }

    /// Takes out a level whose queue has emptied.
    pub(crate) fn close(&mut self, key: u32, at: At) {
        if self.best == u64::from(key) {
            self.best = self.next_after(key);
        }
        let leaf = &mut self.leaves[at.leaf as usize];
        leaf.bits &= !(1 << at.index);
        if leaf.bits == 0 {
            if COUNTED {
                self.sum_leaf(at.leaf);
            }
            self.free_leaves.push(at.leaf);
            self.prune(key);
        }
    }

    /// Takes the freed leaf of `key` out of its parent, and every node that empties with it.
    #[cold]
    fn prune(&mut self, key: u32) {
        let found = self.walk_to(key);
        debug_assert!(found);
        for tier in 0..TIERS {
            let node = self.path[tier];
            let inner = &mut self.inners[node as usize];
            inner.bits &= !(1 << slot(key, tier));
            inner.children[slot(key, tier)] = NONE;
            if inner.bits != 0 || tier == TIERS - 1 {
                break;
            }
            self.free_inners.push(node);
            self.reached = tier + 1;
            self.tag = NO_TAG;
        }
    }

    /// The least key above `key` with a level, or [`EMPTY`]; `key` itself has one.
    #[inline]
    pub(crate) fn next_after(&mut self, key: u32) -> u64 {
        let found = self.walk_to(key);
        debug_assert!(found);
        let parent = &self.inners[self.path[0] as usize];
        let slot = slot(key, 0);
        let leaf = &self.leaves[parent.children[slot] as usize];
        // Shifting twice keeps the amount below 64.
        let above = leaf.bits >> (key % FAN as u32) >> 1;
        if above != 0 {
            return u64::from(key + 1 + above.trailing_zeros());
        }
        let above = parent.bits >> slot >> 1;
        if above != 0 {
            let slot = slot + 1 + above.trailing_zeros() as usize;
            let leaf = &self.leaves[parent.children[slot] as usize];
            return u64::from(key & !0xfff | (slot as u32) << 6 | leaf.bits.trailing_zeros());
        }
        self.next_far(key)
    }

    /// [`Self::next_after`] beyond the remembered node.
    #[cold]
    fn next_far(&self, key: u32) -> u64 {
        for tier in 1..TIERS {
            let inner = &self.inners[self.path[tier] as usize];
            let from = slot(key, tier);
            let above = inner.bits >> from >> 1;
            if above != 0 {
                let slot = from + 1 + above.trailing_zeros() as usize;
                let span = 6 + 6 * tier;
                let high = u64::from(key) >> span >> 6 << 6 | slot as u64;
                return high << span | self.first_under(inner.children[slot], tier - 1);
            }
        }
        EMPTY
    }

    /// Low bits of the first key under a node of `tier`.
    fn first_under(&self, mut node: u32, mut tier: usize) -> u64 {
        let mut low = 0;
        loop {
            let inner = &self.inners[node as usize];
            let slot = inner.bits.trailing_zeros();
            low |= u64::from(slot) << (6 + 6 * tier);
            node = inner.children[slot as usize];
            if tier == 0 {
                return low | u64::from(self.leaves[node as usize].bits.trailing_zeros());
            }
            tier -= 1;
        }
    }

    /// The least key at or above `key` with a level, or [`EMPTY`], without the use of the remembered path.
    pub(crate) fn first_from(&self, key: u64) -> u64 {
        let Ok(key) = u32::try_from(key) else {
            return EMPTY;
        };
        // The node that `key` leads to on each tier, as far as it exists.
        let mut nodes = [NONE; TIERS];
        nodes[TIERS - 1] = self.root();
        let mut lowest = TIERS - 1;
        while lowest > 0 {
            let inner = &self.inners[nodes[lowest] as usize];
            let slot = slot(key, lowest);
            if inner.bits >> slot & 1 == 0 {
                break;
            }
            nodes[lowest - 1] = inner.children[slot];
            lowest -= 1;
        }
        if lowest == 0 {
            let parent = &self.inners[nodes[0] as usize];
            let slot = slot(key, 0);
            if parent.bits >> slot & 1 != 0 {
                let above = self.leaves[parent.children[slot] as usize].bits >> (key % FAN as u32);
                if above != 0 {
                    return u64::from(key + above.trailing_zeros());
                }
            }
        }
        for (tier, node) in nodes.iter().enumerate().skip(lowest) {
            let inner = &self.inners[*node as usize];
            let from = slot(key, tier);
            let above = inner.bits >> from >> 1;
            if above != 0 {
                let slot = from + 1 + above.trailing_zeros() as usize;
                let span = 6 + 6 * tier;
                let high = u64::from(key) >> span >> 6 << 6 | slot as u64;
                let child = inner.children[slot];
                return if tier == 0 {
                    high << span | u64::from(self.leaves[child as usize].bits.trailing_zeros())
                } else {
                    high << span | self.first_under(child, tier - 1)
                };
            }
        }
        EMPTY
    }

    /// Bytes held, used or not.
    pub(crate) fn bytes(&self) -> usize {
        self.leaves.capacity() * size_of::<Leaf>()
            + self.inners.capacity() * size_of::<Inner>()
            + self.census.capacity() * size_of::<[Census; FAN]>()
            + self.sums.capacity() * size_of::<[u32; FAN]>()
            + self.changes.capacity() * size_of::<Unsummed>()
            + (self.free_leaves.capacity() + self.free_inners.capacity() + self.unsummed.capacity()) * size_of::<u32>()
    }
}

impl<const COUNTED: bool> Ladder<COUNTED> {
    /// One owner's best order comes to stand on the level of `key`, or leaves it.
    #[inline]
    pub(crate) fn count_owner(&mut self, key: u32, at: At, comes: bool) {
        let change = if comes { 1 } else { u32::MAX };
        let owners = &mut self.census[at.leaf as usize][at.index as usize].owners;
        *owners = owners.wrapping_add(change);
        let unsummed = &mut self.changes[at.leaf as usize];
        unsummed.owners = unsummed.owners.wrapping_add(change);
        unsummed.key = key;
        if !unsummed.listed {
            unsummed.listed = true;
            self.unsummed.push(at.leaf);
        }
    }

    /// Tells the tiers above what has changed in a leaf.
    #[cold]
    fn sum_leaf(&mut self, leaf: u32) {
        let unsummed = &mut self.changes[leaf as usize];
        let (key, change) = (unsummed.key, core::mem::take(&mut unsummed.owners));
        if change == 0 {
            return;
        }
        let mut node = self.root();
        for tier in (0..TIERS).rev() {
            let slot = slot(key, tier);
            let sum = &mut self.sums[node as usize][slot];
            *sum = sum.wrapping_add(change);
            node = self.inners[node as usize].children[slot];
        }
    }

    /// Owners whose best order stands on a level.
    #[inline]
    pub(crate) fn owners_at(&self, at: At) -> u32 {
        self.census[at.leaf as usize][at.index as usize].owners
    }

    /// Root of the level's tree of owners, or [`NONE`].
    #[inline]
    pub(crate) fn tree_at(&self, at: At) -> u32 {
        self.census[at.leaf as usize][at.index as usize].tree
    }

    #[inline]
    pub(crate) fn tree_at_mut(&mut self, at: At) -> &mut u32 {
        &mut self.census[at.leaf as usize][at.index as usize].tree
    }

    /// Changes that the level's tree may still see before anybody asks it.
    #[inline]
    pub(crate) fn lease_mut(&mut self, at: At) -> &mut u32 {
        &mut self.census[at.leaf as usize][at.index as usize].lease
    }

    /// Owners whose best order stands at a better key.
    // BOUND: each leaf that changed since the last call is summed once, which its changes pay for.
    pub(crate) fn owners_before(&mut self, key: u32) -> u32 {
        while let Some(leaf) = self.unsummed.pop() {
            self.changes[leaf as usize].listed = false;
            self.sum_leaf(leaf);
        }
        let mut count = 0;
        let mut node = self.root();
        for tier in (0..TIERS).rev() {
            let inner = &self.inners[node as usize];
            let slot = slot(key, tier);
            count += sum_below(inner.bits, &self.sums[node as usize], slot);
            if inner.bits >> slot & 1 == 0 {
                return count;
            }
            node = inner.children[slot];
        }
        let census = &self.census[node as usize][..key as usize % FAN];
        count + census.iter().map(|level| level.owners).sum::<u32>()
    }
}

/// Sum of the counts of the set bits below `slot`.
fn sum_below(bits: u64, counts: &[u32; FAN], slot: usize) -> u32 {
    let mut below = bits & ((1 << slot) - 1);
    if below.count_ones() > 8 {
        return counts[..slot].iter().sum();
    }
    let mut sum = 0;
    while below != 0 {
        sum += counts[below.trailing_zeros() as usize];
        below &= below - 1;
    }
    sum
}
