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

mod owned;
mod tree;

use crate::ladder::{At, Ladder, NONE};
use crate::slab::{Order, Owner, Slab};
use owned::{Kin, Owned, widen};
use tree::Node;
use wattbook_types::units::PPM_ONE;
use wattbook_types::{Ppm, RangeMode, Side};

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

    fn tie(&self, order: &Order) -> Tie {
        // Descending reputation.
        let behind = u32::MAX - self.standing(order.owner()).reputation.get();
        (behind, order.stamp)
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
