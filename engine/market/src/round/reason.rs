//! Why an order of a round is left over (DETAILS 8).

use super::{Leftover, Pairing, price_key};
use wattbook_types::{CloseReason, DealPriceRule, Energy, Price, RangeMode, Side};

/// Sort key of the best price of some orders of one side, and of the best outside its group.
#[derive(Clone, Copy, Default)]
struct Best {
    key: Option<u32>,
    group: u32,
    other: Option<u32>,
}

impl Best {
    fn add(&mut self, key: u32, group: u32) {
        let better = |old: Option<u32>| old.is_none_or(|old| key < old);
        if better(self.key) {
            if self.group != group {
                self.other = self.key;
            }
            (self.key, self.group) = (Some(key), group);
        } else if self.group != group && better(self.other) {
            self.other = Some(key);
        }
    }

    fn outside(&self, group: u32) -> Option<u32> {
        if self.group == group { self.other } else { self.key }
    }
}

/// Every unfilled remainder with the first reason that holds. `allowed` is what orders could trade when the round began,
/// `left` what they still could when it was over.
pub(super) fn explain(
    pairing: &Pairing<'_>,
    allowed: &[Energy],
    left: &[Energy],
    call: Option<Price>,
) -> Vec<Leftover> {
    let orders = pairing.orders;
    let mut best = [None::<u32>; 2];
    let mut alive = [Best::default(); 2];
    let mut minimums = false;
    for (order, left) in orders.iter().zip(left) {
        let (side, key) = (order.side.index(), price_key(order.side, order.price));
        best[side] = Some(best[side].map_or(key, |old| old.min(key)));
        if !left.is_zero() {
            alive[side].add(key, pairing.group(order.owner));
        }
        minimums |= !order.min_fill.is_zero();
    }
    let uniform = pairing.rules.deal_price == DealPriceRule::Uniform;
    let mut unmatched = Vec::new();
    let mut wanted: [Vec<u64>; 2] = Default::default();
    for (i, order) in orders.iter().enumerate() {
        let energy = order.energy.saturating_sub(allowed[i].saturating_sub(left[i]));
        if energy.is_zero() {
            continue;
        }
        let opposite = order.side.opposite().index();
        let worst = pairing.worst_closing(order.side, order.price);
        let closes = |key: Option<u32>| key.is_some_and(|key| worst.is_some_and(|worst| key <= worst));
        let price_met = if uniform {
            call.is_some_and(|price| order.side.concedes(order.price, price))
        } else {
            closes(best[opposite])
        };
        let reason = if best[opposite].is_none() {
            CloseReason::NoCounterparty
        } else if !order.charge_covered {
            CloseReason::ChargeCap
        } else if !price_met {
            CloseReason::PriceNotMet
        } else if pairing.rules.range == RangeMode::Off || !closes(alive[opposite].outside(pairing.group(order.owner)))
        {
            CloseReason::Exhausted
        } else if minimums || left[i].is_zero() {
            let pos = pairing.pos(order.owner, order.side);
            wanted[order.side.index()].push(u64::from(pos) << 32 | unmatched.len() as u64);
            CloseReason::Exhausted
        } else {
            // Both could still trade, and nothing but range kept them from it.
            CloseReason::OutOfRange
        };
        unmatched.push(Leftover {
            order: i,
            energy,
            reason,
        });
    }
    for side in [Side::Buy, Side::Sell] {
        let wanted = core::mem::take(&mut wanted[side.index()]);
        mark_out_of_range(pairing, left, side, wanted, &mut unmatched);
    }
    unmatched
}

/// Sets the reason of those leftovers of a side that nobody in range would still trade with; `wanted` are the leftovers to
/// look at, by place and index.
fn mark_out_of_range(
    pairing: &Pairing<'_>,
    left: &[Energy],
    side: Side,
    mut wanted: Vec<u64>,
    unmatched: &mut [Leftover],
) {
    if wanted.is_empty() {
        return;
    }
    let orders = pairing.orders;
    let other = side.opposite();
    let mut alive: Vec<u64> = (0u64..)
        .zip(orders)
        .filter(|&(i, order)| order.side == other && !left[i as usize].is_zero())
        .map(|(i, order)| u64::from(price_key(other, order.price)) << 32 | i)
        .collect();
    alive.sort_unstable();
    let owners: Vec<u32> = alive.iter().map(|&key| orders[key as u32 as usize].owner).collect();
    let mut ladder = pairing.ladder(other, &owners, Vec::new());
    wanted.sort_unstable();
    for key in wanted {
        let leftover = &mut unmatched[key as u32 as usize];
        let order = &orders[leftover.order];
        ladder.retire((key >> 32) as u32);
        let best = ladder.first(ladder.front(), ladder.len(), &pairing.reach(order.owner, side));
        let closes = match (best, pairing.worst_closing(side, order.price)) {
            (Some(rung), Some(worst)) => (alive[rung] >> 32) as u32 <= worst,
            _ => false,
        };
        if !closes {
            leftover.reason = CloseReason::OutOfRange;
        }
    }
}
