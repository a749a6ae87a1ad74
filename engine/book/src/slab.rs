//! Where orders stand: one 32-byte row each, addressed by a dense handle, reused last-freed first.

use crate::ladder::NONE;
use wattbook_types::Side;

/// Dense name of an order while it stands; reused afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Handle(pub(crate) u32);

impl Handle {
    /// The index of its row.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The handle of a row.
    #[inline]
    pub const fn new(row: u32) -> Self {
        Self(row)
    }
}

/// Dense index of a participant, below 2^24.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Owner(pub(crate) u32);

impl Owner {
    /// Owners are numbered below this.
    pub const END: u32 = 1 << 24;

    /// # Panics
    /// At [`Self::END`] and beyond.
    #[inline]
    pub const fn new(index: u32) -> Self {
        assert!(index < Self::END, "owners are numbered below 2^24");
        Self(index)
    }

    /// The index.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Set in `tags`: an ask.
const SELL: u32 = 1 << 24;
/// The charge exceeds the buyer's cap: no incoming order takes it.
const UNCOVERED: u32 = 1 << 25;
/// It has a least execution.
const MIN_FILL: u32 = 1 << 26;
/// It shows less than it has.
const ICEBERG: u32 = 1 << 27;
/// It stands.
const LIVE: u32 = 1 << 28;

/// A resting order.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct Order {
    /// Behind it in its queue; of a free row, the next free one.
    pub(crate) next: u32,
    /// Before it.
    pub(crate) prev: u32,
    pub(crate) key: u32,
    /// Shown.
    pub(crate) leaves: u32,
    pub(crate) hidden: u32,
    /// Owner in the low 24 bits, flags above.
    tags: u32,
    pub(crate) stamp: u64,
}

const _: () = assert!(size_of::<Order>() == 32);

/// What few orders have.
#[derive(Clone, Copy, Debug, Default)]
struct Terms {
    min_fill: u32,
    display: u32,
}

/// How an order is to stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) side: Side,
    pub(crate) key: u32,
    pub(crate) leaves: u32,
    pub(crate) hidden: u32,
    pub(crate) owner: Owner,
    pub(crate) min_fill: u32,
    pub(crate) display: u32,
    pub(crate) covered: bool,
}

impl Order {
    const FREE: Self = Self {
        next: NONE,
        prev: NONE,
        key: 0,
        leaves: 0,
        hidden: 0,
        tags: 0,
        stamp: 0,
    };

    /// Who has it.
    #[inline]
    pub const fn owner(&self) -> Owner {
        Owner(self.tags & (Owner::END - 1))
    }

    /// Bid or ask.
    #[inline]
    pub const fn side(&self) -> Side {
        if self.tags & SELL == 0 { Side::Buy } else { Side::Sell }
    }

    /// Its limit, ticks.
    #[inline]
    pub const fn price(&self) -> i32 {
        crate::ladder::price_of(self.side(), self.key)
    }

    /// Energy shown, Wh.
    #[inline]
    pub const fn leaves(&self) -> u32 {
        self.leaves
    }

    /// Energy behind what is shown, Wh.
    #[inline]
    pub const fn hidden(&self) -> u32 {
        self.hidden
    }

    /// Open energy, Wh.
    #[inline]
    pub const fn open(&self) -> u64 {
        self.leaves as u64 + self.hidden as u64
    }

    /// When it took its place, in the book's own count.
    #[inline]
    pub const fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Whether the charge is covered, so that it can be taken.
    #[inline]
    pub const fn is_covered(&self) -> bool {
        self.tags & UNCOVERED == 0
    }

    #[inline]
    pub(crate) const fn has_min_fill(&self) -> bool {
        self.tags & MIN_FILL != 0
    }

    #[inline]
    pub(crate) const fn is_live(&self) -> bool {
        self.tags & LIVE != 0
    }

    /// Nothing stands between it and an execution but price, range and group.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.tags & (UNCOVERED | MIN_FILL) == 0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Slab {
    orders: Vec<Order>,
    /// By row, as far as one of them has any.
    terms: Vec<Terms>,
    free: u32,
    live: u32,
}

impl Slab {
    pub(crate) const fn new() -> Self {
        Self {
            orders: Vec::new(),
            terms: Vec::new(),
            free: NONE,
            live: 0,
        }
    }

    /// Room for `orders` without growing.
    pub(crate) fn reserve(&mut self, orders: usize) {
        let more = orders.saturating_sub(self.orders.len());
        self.orders.reserve_exact(more);
    }

    /// Takes a row off the free list, to be filled or given back.
    #[inline]
    pub(crate) fn claim(&mut self) -> u32 {
        if self.free == NONE {
            self.grow();
        }
        let handle = self.free;
        self.free = self.orders[handle as usize].next;
        handle
    }

    /// Gives back a row that was claimed and not filled.
    #[inline]
    pub(crate) fn disclaim(&mut self, handle: u32) {
        self.orders[handle as usize].next = self.free;
        self.free = handle;
    }

    #[cold]
    fn grow(&mut self) {
        let row = self.orders.len();
        assert!(row < NONE as usize, "rows are numbered in 32 bits");
        if row == self.orders.capacity() {
            // A sixteenth at a time: a doubled slab would hold twice the memory its orders need.
            self.orders.reserve_exact((row / 16).max(1_024));
        }
        self.orders.push(Order::FREE);
        self.free = row as u32;
    }

    /// Has a row of this number, for one who is told where orders stand.
    pub(crate) fn reach(&mut self, handle: u32) {
        while self.orders.len() <= handle as usize {
            self.grow();
        }
    }

    /// Makes an empty slab one of so many rows, of which these are free, to be taken in this order.
    pub(crate) fn lay_out(&mut self, rows: usize, free: &[Handle]) {
        debug_assert!(self.orders.is_empty());
        self.orders.resize(rows, Order::FREE);
        self.free = NONE;
        for handle in free.iter().rev() {
            self.disclaim(handle.0);
        }
    }

    /// Writes a row that was claimed, behind the order `prev`.
    #[inline(always)]
    pub(crate) fn fill(&mut self, handle: u32, row: &Row, stamp: u64, prev: u32) {
        let order = &mut self.orders[handle as usize];
        debug_assert!(!order.is_live());
        let side = (row.side as u32 - Side::Buy as u32) * SELL;
        let uncovered = u32::from(!row.covered) * UNCOVERED;
        *order = Order {
            next: NONE,
            prev,
            key: row.key,
            leaves: row.leaves,
            hidden: row.hidden,
            tags: row.owner.0 | LIVE | side | uncovered,
            stamp,
        };
        self.live += 1;
        if prev != NONE {
            self.orders[prev as usize].next = handle;
        }
        if row.min_fill | row.display != 0 {
            self.set_terms(handle, row.min_fill, row.display, row.covered);
        }
    }

    #[inline]
    pub(crate) fn free(&mut self, handle: u32) {
        let order = &mut self.orders[handle as usize];
        debug_assert!(order.is_live());
        order.tags = 0;
        order.next = self.free;
        self.free = handle;
        self.live -= 1;
    }

    #[inline]
    pub(crate) fn order(&self, handle: u32) -> &Order {
        &self.orders[handle as usize]
    }

    #[inline]
    pub(crate) fn order_mut(&mut self, handle: u32) -> &mut Order {
        &mut self.orders[handle as usize]
    }

    /// A standing order.
    #[inline]
    pub(crate) fn get(&self, handle: u32) -> Option<&Order> {
        self.orders.get(handle as usize).filter(|order| order.is_live())
    }

    /// Least execution; zero: none.
    #[inline]
    pub(crate) fn min_fill(&self, handle: u32) -> u32 {
        if self.orders[handle as usize].has_min_fill() {
            self.terms[handle as usize].min_fill
        } else {
            0
        }
    }

    /// Energy shown at a time; zero: all.
    #[inline]
    pub(crate) fn display(&self, handle: u32) -> u32 {
        if self.orders[handle as usize].tags & ICEBERG != 0 {
            self.terms[handle as usize].display
        } else {
            0
        }
    }

    pub(crate) fn set_terms(&mut self, handle: u32, min_fill: u32, display: u32, covered: bool) {
        let order = &mut self.orders[handle as usize];
        order.tags &= !(MIN_FILL | UNCOVERED | ICEBERG);
        if min_fill != 0 {
            order.tags |= MIN_FILL;
        }
        if display != 0 {
            order.tags |= ICEBERG;
        }
        if !covered {
            order.tags |= UNCOVERED;
        }
        if min_fill | display != 0 {
            if self.terms.len() <= handle as usize {
                self.terms.resize(handle as usize + 1, Terms::default());
            }
            self.terms[handle as usize] = Terms { min_fill, display };
        }
    }

    /// Rows, free ones included.
    pub(crate) fn rows(&self) -> usize {
        self.orders.len()
    }

    /// The first free row, and of a free row the next: with the live rows this is the slab's whole state.
    pub(crate) fn next_free(&self, of: Option<u32>) -> u32 {
        of.map_or(self.free, |row| self.orders[row as usize].next)
    }

    pub(crate) const fn len(&self) -> u32 {
        self.live
    }

    pub(crate) fn bytes(&self) -> usize {
        self.orders.capacity() * size_of::<Order>() + self.terms.capacity() * size_of::<Terms>()
    }
}
