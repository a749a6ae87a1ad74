//! One side of a round, best first, and the first rung on it that an order of the other side may trade with.
//!
//! # Contract
//! * [`Ladder::first`] is exact. It costs O(log n) where no order of the round has a minimum fill.
//! * BOUND: with minimum fills the tree above the rungs knows only what is necessary for a pair, so a search may also look
//!   into blocks that hold none: O(log n) for each, and at worst all of them. That takes bids and asks that both set minimum
//!   fills, of sizes that seldom fit; a side without them is skipped in O(log n) as far as energy goes.
//! * A closed rung never opens again, and [`Ladder::front`] never moves back.

use core::ops::Range;

/// Rungs under one leaf of the tree.
const BLOCK: usize = 32;

/// A bar that nobody passes.
pub(super) const SHUT: u32 = u32::MAX;

/// Who stands on a rung, to those who come: passing one of its bars is enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Least limits that pass.
    pub(super) bars: [u32; 2],
    /// Affiliation group.
    pub(super) group: u32,
}

impl Seat {
    fn is_shut(&self) -> bool {
        self.bars == [SHUT; 2]
    }
}

/// The energies an order can trade in one execution, both ends included; two orders can trade where theirs overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Band {
    least: u64,
    most: u64,
}

impl Band {
    /// Overlaps every other.
    pub(super) const ANY: Self = Self {
        least: 0,
        most: u64::MAX,
    };

    /// Of an order with `left` Wh; a remainder below the minimum fill is exempt.
    pub(super) const fn new(left: u64, min_fill: u64) -> Self {
        Self {
            least: if left < min_fill { 0 } else { min_fill },
            most: left,
        }
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.least <= other.most && other.least <= self.most
    }
}

/// Who comes to a ladder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Its limits, each held against the bar of that number; below [`SHUT`].
    pub(super) limits: [u32; 2],
    /// Affiliation group.
    pub(super) group: u32,
    /// What it can trade; not looked at on a ladder without bands.
    pub(super) band: Band,
}

impl Reach {
    fn passes(&self, seat: &Seat) -> bool {
        (seat.bars[0] <= self.limits[0] || seat.bars[1] <= self.limits[1]) && seat.group != self.group
    }
}

/// The lowest bar of some rungs and the lowest among the groups other than its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lowest {
    bar: u32,
    group: u32,
    other: u32,
}

impl Lowest {
    const NONE: Self = Self {
        bar: SHUT,
        group: 0,
        other: SHUT,
    };

    /// The lowest bar outside `group`.
    fn outside(&self, group: u32) -> u32 {
        if self.group == group { self.other } else { self.bar }
    }

    /// Whether it may change without one rung of that bar and group.
    fn rests_on(&self, bar: u32, group: u32) -> bool {
        bar < SHUT && bar <= if self.group == group { self.bar } else { self.other }
    }

    fn with(self, bar: u32, group: u32) -> Self {
        self.merge(Self {
            bar,
            group,
            other: SHUT,
        })
    }

    fn merge(self, right: Self) -> Self {
        let (low, high) = if right.bar < self.bar {
            (right, self)
        } else {
            (self, right)
        };
        let rival = if low.group == high.group { high.other } else { high.bar };
        Self {
            other: low.other.min(rival),
            ..low
        }
    }
}

/// What the bands of some rungs have in common with any band that overlaps one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hull {
    /// Greatest energy left where no least energy is asked for; `None` where there is no such rung.
    free: Option<u64>,
    /// Hull of the others; `least > most` where there are none.
    bound: Band,
}

impl Hull {
    const NONE: Self = Self {
        free: None,
        bound: Band {
            least: u64::MAX,
            most: 0,
        },
    };

    fn of(band: Band) -> Self {
        if band.least == 0 {
            Self {
                free: Some(band.most),
                ..Self::NONE
            }
        } else {
            Self {
                free: None,
                bound: band,
            }
        }
    }

    fn merge(self, right: Self) -> Self {
        Self {
            free: self.free.max(right.free),
            bound: Band {
                least: self.bound.least.min(right.bound.least),
                most: self.bound.most.max(right.bound.most),
            },
        }
    }

    fn may_overlap(&self, band: &Band) -> bool {
        self.free.is_some_and(|most| band.least <= most) || self.bound.overlaps(band)
    }
}

/// One side, best first.
pub(super) struct Ladder {
    seats: Vec<Seat>,
    /// Empty where no order of the round has a minimum fill.
    bands: Vec<Band>,
    /// Complete binary tree over the blocks, root at 1.
    /// INVARIANT: a node is the merge of its open rungs unless it covers the block of `front` or one before it; no search
    /// looks at those.
    nodes: Vec<[Lowest; 2]>,
    /// The same for the bands; empty with them.
    hulls: Vec<Hull>,
    /// Leaves of the tree.
    width: usize,
    front: usize,
    /// Range and rung in one key, ascending, of the rungs still to retire from `retired` on.
    retiring: Vec<u64>,
    retired: usize,
}

impl Ladder {
    /// `bands` is empty, or has one band for each seat.
    pub(super) fn new(seats: Vec<Seat>, bands: Vec<Band>) -> Self {
        assert!(bands.is_empty() || bands.len() == seats.len());
        let blocks = seats.len().div_ceil(BLOCK);
        let width = blocks.next_power_of_two();
        let hulls = if bands.is_empty() { 0 } else { 2 * width };
        let mut ladder = Self {
            nodes: vec![[Lowest::NONE; 2]; 2 * width],
            hulls: vec![Hull::NONE; hulls],
            seats,
            bands,
            width,
            front: 0,
            retiring: Vec::new(),
            retired: 0,
        };
        for block in 0..blocks {
            ladder.nodes[width + block] = ladder.lowest_of(block);
            if hulls > 0 {
                ladder.hulls[width + block] = ladder.hull_of(block);
            }
        }
        for node in (1..width).rev() {
            ladder.nodes[node] = ladder.lowest_below(node);
            if hulls > 0 {
                ladder.hulls[node] = ladder.hull_below(node);
            }
        }
        ladder.skip_shut();
        ladder
    }

    /// Gives every rung a range for [`Ladder::retire`] to go by.
    pub(super) fn set_ranges(&mut self, ranges: impl Iterator<Item = u32>) {
        self.retiring = (0u64..)
            .zip(ranges)
            .map(|(rung, range)| u64::from(range) << 32 | rung)
            .collect();
        self.retiring.sort_unstable();
        self.retired = 0;
    }

    /// Closes every rung whose range ends before `pos`; who comes after stands no further in front.
    pub(super) fn retire(&mut self, pos: u32) {
        while let Some(&key) = self.retiring.get(self.retired) {
            if (key >> 32) as u32 >= pos {
                return;
            }
            self.close(key as u32 as usize);
            self.retired += 1;
        }
    }

    /// Number of rungs.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Every rung before this one is closed.
    pub(super) fn front(&self) -> usize {
        self.front
    }

    /// The first open rung in `from..end` that `reach` may trade with; `from` is not before the front.
    pub(super) fn first(&self, from: usize, end: usize, reach: &Reach) -> Option<usize> {
        debug_assert!(self.front <= from && end <= self.len() && reach.limits.iter().all(|&limit| limit < SHUT));
        let mut from = from;
        while from < end {
            let block = from / BLOCK;
            let rungs = from..((block + 1) * BLOCK).min(end);
            if let Some(found) = self.first_of(rungs, reach) {
                return Some(found);
            }
            from = self.next_block(block + 1, reach)? * BLOCK;
        }
        None
    }

    fn first_of(&self, rungs: Range<usize>, reach: &Reach) -> Option<usize> {
        let first = rungs.start;
        let mut passing = self.seats[rungs].iter().enumerate();
        if self.bands.is_empty() {
            return passing.find(|(_, seat)| reach.passes(seat)).map(|(i, _)| first + i);
        }
        passing
            .map(|(i, seat)| (first + i, seat))
            .find(|&(rung, seat)| reach.passes(seat) && self.bands[rung].overlaps(&reach.band))
            .map(|(rung, _)| rung)
    }

    /// The first block from `block` on that may hold a rung for `reach`; without bands, that does.
    fn next_block(&self, block: usize, reach: &Reach) -> Option<usize> {
        if block >= self.width {
            return None;
        }
        let mut node = self.width + block;
        loop {
            if self.may_hold(node, reach) {
                if node >= self.width {
                    return Some(node - self.width);
                }
                node *= 2;
                continue;
            }
            // Up from right children, then to the right sibling; from the last path, past the root.
            while node % 2 == 1 {
                node /= 2;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
    }

    fn may_hold(&self, node: usize, reach: &Reach) -> bool {
        let [a, b] = &self.nodes[node];
        (a.outside(reach.group) <= reach.limits[0] || b.outside(reach.group) <= reach.limits[1])
            && self.hulls.get(node).is_none_or(|hull| hull.may_overlap(&reach.band))
    }

    /// Closes a rung for good.
    pub(super) fn close(&mut self, rung: usize) {
        let seat = self.seats[rung];
        if seat.is_shut() {
            return;
        }
        self.seats[rung].bars = [SHUT; 2];
        let block = rung / BLOCK;
        if block > self.front / BLOCK {
            let leaf = &self.nodes[self.width + block];
            if (0..2).any(|i| leaf[i].rests_on(seat.bars[i], seat.group)) {
                self.raise(block);
            }
            if !self.bands.is_empty() {
                self.rehull(block);
            }
        }
        self.skip_shut();
    }

    /// Sets what an open rung can trade, on a ladder with bands.
    pub(super) fn set_band(&mut self, rung: usize, band: Band) {
        self.bands[rung] = band;
        let block = rung / BLOCK;
        if block > self.front / BLOCK {
            self.rehull(block);
        }
    }

    fn skip_shut(&mut self) {
        while self.seats.get(self.front).is_some_and(Seat::is_shut) {
            self.front += 1;
        }
    }

    fn raise(&mut self, block: usize) {
        let mut node = self.width + block;
        let mut lowest = self.lowest_of(block);
        while lowest != self.nodes[node] {
            self.nodes[node] = lowest;
            node /= 2;
            if node == 0 {
                return;
            }
            lowest = self.lowest_below(node);
        }
    }

    fn rehull(&mut self, block: usize) {
        let mut node = self.width + block;
        let mut hull = self.hull_of(block);
        while hull != self.hulls[node] {
            self.hulls[node] = hull;
            node /= 2;
            if node == 0 {
                return;
            }
            hull = self.hull_below(node);
        }
    }

    fn rungs_of(&self, block: usize) -> Range<usize> {
        block * BLOCK..((block + 1) * BLOCK).min(self.len())
    }

    fn lowest_of(&self, block: usize) -> [Lowest; 2] {
        self.seats[self.rungs_of(block)]
            .iter()
            .fold([Lowest::NONE; 2], |[a, b], seat| {
                [a.with(seat.bars[0], seat.group), b.with(seat.bars[1], seat.group)]
            })
    }

    fn lowest_below(&self, node: usize) -> [Lowest; 2] {
        let ([a, b], [c, d]) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
        [a.merge(c), b.merge(d)]
    }

    fn hull_of(&self, block: usize) -> Hull {
        self.rungs_of(block)
            .filter(|&rung| !self.seats[rung].is_shut())
            .fold(Hull::NONE, |hull, rung| hull.merge(Hull::of(self.bands[rung])))
    }

    fn hull_below(&self, node: usize) -> Hull {
        self.hulls[2 * node].merge(self.hulls[2 * node + 1])
    }
}
