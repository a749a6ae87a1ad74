//! One sealed round (MARKET 3 and 4.1): places, ranges, pairs, prices and the reason for everything left over.
//!
//! # Contract
//! * [`rank`] fixes place and range of every owner from the orders that stand at RANK; [`clear`] matches the orders that
//!   stand at MATCH under those places. In between only cancels happen, so the orders of MATCH are a subset.
//! * Buyers choose by place, each buyer's bids best first; each takes the lowest ask among its matchable sellers.
//! * Nothing here knows accounts, money or time: owners are dense indexes, ties come ranked.

use wattbook_types::units::PPM_ONE;
use wattbook_types::{CloseReason, DealPrice, DealPriceRule, Energy, MicroPrice, Ppm, Price, RangeMode, Side};

/// A participant of the round.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Unique rank that breaks ties of price; 0 first.
    pub priority: u32,
    /// Reputation percentile; 0 is best.
    pub percentile: Ppm,
    /// Owners of one group never trade with each other.
    pub group: u32,
}

/// An order of the round.
#[derive(Clone, Copy, Debug)]
pub struct RoundOrder {
    /// Index of its owner.
    pub owner: u32,
    /// Bid or ask.
    pub side: Side,
    /// Limit.
    pub price: Price,
    /// Open quantity; not zero.
    pub energy: Energy,
    /// Least energy of an execution; a remainder below it is exempt.
    pub min_fill: Energy,
    /// Breaks ties among one owner's orders of one price.
    pub index: u32,
    /// Order in which spare Wh of a uniform price are handed out; unique, 0 first.
    pub spare_rank: u32,
    /// Whether the buyer's cap covers the network charge; a seller's is true.
    pub charge_covered: bool,
}

/// What a round is cleared by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Who may trade with whom.
    pub range: RangeMode,
    /// How a deal is priced.
    pub deal_price: DealPriceRule,
    /// Reference price of the uniform rule.
    pub reference: Option<MicroPrice>,
    /// Least bid - ask, ticks: 0, or `2 P_T` with all-in bids.
    pub spread_min: i64,
}

/// Place and range of one owner on one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Place in the queue, from 1.
    pub pos: u32,
    /// Matchable range, from 1 to the number of owners on the other side (at least 1).
    pub range: u32,
}

/// A deal of the round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundDeal {
    /// Index of the bid.
    pub buy: usize,
    /// Index of the ask.
    pub sell: usize,
    /// Its price.
    pub price: DealPrice,
    /// Its energy.
    pub energy: Energy,
}

/// What is left of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leftover {
    /// Index of the order.
    pub order: usize,
    /// Unfilled energy.
    pub energy: Energy,
    /// Why.
    pub reason: CloseReason,
}

/// What came of a round.
#[derive(Clone, Debug, Default)]
pub struct Cleared {
    /// Deals, in the order made.
    pub deals: Vec<RoundDeal>,
    /// The uniform price, where that rule runs and finds one.
    pub price: Option<Price>,
    /// Energy that clears at the uniform price before ranges.
    pub uniform_volume: Energy,
    /// Every unfilled remainder, in order of the orders.
    pub unmatched: Vec<Leftover>,
}

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

/// Sort key of a price on a side: ascending is best first.
#[inline]
const fn best_first(side: Side, price: Price) -> i64 {
    match side {
        Side::Buy => -(price.get() as i64),
        Side::Sell => price.get() as i64,
    }
}

/// Places and ranges by owner and side; `None` where an owner has no order on a side.
pub fn rank(owners: &[Owner], orders: &[RoundOrder]) -> Vec<[Option<Place>; 2]> {
    let mut best: [Vec<Option<i64>>; 2] = [vec![None; owners.len()], vec![None; owners.len()]];
    for order in orders {
        let slot = &mut best[order.side.index()][order.owner as usize];
        let key = best_first(order.side, order.price);
        *slot = Some(slot.map_or(key, |old| old.min(key)));
    }
    let mut places = vec![[None; 2]; owners.len()];
    let counts = best.each_ref().map(|side| side.iter().flatten().count() as u32);
    for side in [Side::Buy, Side::Sell] {
        let mut queue: Vec<(i64, u32, usize)> = best[side.index()]
            .iter()
            .enumerate()
            .filter_map(|(owner, key)| key.map(|key| (key, owners[owner].priority, owner)))
            .collect();
        queue.sort_unstable();
        for (i, (_, _, owner)) in queue.into_iter().enumerate() {
            let range = matchable_range(counts[side.opposite().index()], owners[owner].percentile);
            places[owner][side.index()] = Some(Place {
                pos: i as u32 + 1,
                range,
            });
        }
    }
    places
}

/// The uniform price and the volume that clears at it (MARKET 4.1); `None` where nothing does.
pub fn uniform_price(orders: &[RoundOrder], reference: Option<MicroPrice>) -> Option<(Price, Energy)> {
    let mut steps: Vec<(i32, u128, u128)> = orders
        .iter()
        .filter(|o| o.charge_covered)
        .map(|o| match o.side {
            Side::Buy => (o.price.get(), u128::from(o.energy.get()), 0),
            Side::Sell => (o.price.get(), 0, u128::from(o.energy.get())),
        })
        .collect();
    steps.sort_unstable_by_key(|step| step.0);
    let mut demand: u128 = steps.iter().map(|step| step.1).sum();
    let mut supply = 0u128;
    // Greatest volume, then least imbalance, then nearest the reference, then lowest price.
    type Merit = (core::cmp::Reverse<u128>, u128, u64, i32);
    let mut best: Option<(Merit, u128)> = None;
    for level in steps.chunk_by(|a, b| a.0 == b.0) {
        let price = level[0].0;
        supply += level.iter().map(|step| step.2).sum::<u128>();
        let volume = demand.min(supply);
        let distance = reference.map_or(0, |r| (i64::from(price) * 10_000).abs_diff(r.get()));
        let key = (core::cmp::Reverse(volume), demand.abs_diff(supply), distance, price);
        if volume > 0 && best.is_none_or(|(old, _)| key < old) {
            best = Some((key, volume));
        }
        demand -= level.iter().map(|step| step.1).sum::<u128>();
    }
    best.map(|((_, _, _, price), volume)| {
        (
            Price::new(price),
            Energy::new(u64::try_from(volume).unwrap_or(u64::MAX)),
        )
    })
}

/// Energy each order may trade at the uniform price: better ones whole, equal ones pro rata, spare Wh one each.
fn allowed_at(orders: &[RoundOrder], price: Price, volume: Energy) -> Vec<Energy> {
    let mut allowed = vec![Energy::ZERO; orders.len()];
    for side in [Side::Buy, Side::Sell] {
        let mut left = u128::from(volume.get());
        let mut equal: Vec<usize> = Vec::new();
        for (i, order) in orders.iter().enumerate() {
            if order.side != side || !order.charge_covered {
                continue;
            }
            if order.price == price {
                equal.push(i);
            } else if side.concedes(order.price, price) {
                allowed[i] = order.energy;
                left = left.saturating_sub(u128::from(order.energy.get()));
            }
        }
        equal.sort_unstable_by_key(|&i| orders[i].spare_rank);
        let total: u128 = equal.iter().map(|&i| u128::from(orders[i].energy.get())).sum();
        left = left.min(total);
        let mut spare = left;
        for &i in &equal {
            // BOUND: left <= total, so the share is at most the order's own energy.
            let share = (left * u128::from(orders[i].energy.get()))
                .checked_div(total)
                .unwrap_or(0);
            allowed[i] = Energy::new(share as u64);
            spare -= share;
        }
        for &i in &equal {
            if spare > 0 && allowed[i] < orders[i].energy {
                allowed[i] = Energy::new(allowed[i].get() + 1);
                spare -= 1;
            }
        }
    }
    allowed
}

/// The pair conditions of a round, without quantities.
struct Pairing<'a> {
    owners: &'a [Owner],
    orders: &'a [RoundOrder],
    places: &'a [[Option<Place>; 2]],
    rules: Rules,
}

impl Pairing<'_> {
    fn closes(&self, buy: usize, sell: usize) -> bool {
        i64::from(self.orders[buy].price.get()) - i64::from(self.orders[sell].price.get()) >= self.rules.spread_min
    }

    fn same_group(&self, buy: usize, sell: usize) -> bool {
        let group = |i: usize| self.owners[self.orders[i].owner as usize].group;
        group(buy) == group(sell)
    }

    /// The buyer chooses.
    fn in_range(&self, buy: usize, sell: usize) -> bool {
        if self.rules.range == RangeMode::Off {
            return true;
        }
        let place = |i: usize| self.places[self.orders[i].owner as usize][self.orders[i].side.index()];
        match (place(buy), place(sell)) {
            (Some(c), Some(o)) => self.rules.range.allows(o.pos <= c.range, c.pos <= o.range),
            _ => false,
        }
    }
}

/// Matches a round.
pub fn clear(owners: &[Owner], orders: &[RoundOrder], places: &[[Option<Place>; 2]], rules: Rules) -> Cleared {
    let pairing = Pairing {
        owners,
        orders,
        places,
        rules,
    };
    let mut cleared = Cleared::default();
    let uniform = rules.deal_price == DealPriceRule::Uniform;
    let mut left: Vec<Energy> = orders
        .iter()
        .map(|o| if o.charge_covered { o.energy } else { Energy::ZERO })
        .collect();
    if uniform {
        match uniform_price(orders, rules.reference) {
            Some((price, volume)) => {
                left = allowed_at(orders, price, volume);
                cleared.price = Some(price);
                cleared.uniform_volume = volume;
            }
            None => left.fill(Energy::ZERO),
        }
    }
    let mut filled = vec![0u64; orders.len()];
    let key = |i: &usize| {
        (
            orders[*i].price,
            owners[orders[*i].owner as usize].priority,
            orders[*i].index,
        )
    };
    let mut asks: Vec<usize> = (0..orders.len()).filter(|&i| orders[i].side == Side::Sell).collect();
    asks.sort_unstable_by_key(key);
    let mut bids: Vec<usize> = (0..orders.len()).filter(|&i| orders[i].side == Side::Buy).collect();
    bids.sort_unstable_by_key(|&i| {
        let order = &orders[i];
        let pos = places[order.owner as usize][Side::Buy.index()].map_or(u32::MAX, |place| place.pos);
        (pos, best_first(Side::Buy, order.price), order.index)
    });

    // Asks with energy left, as a singly linked list over `asks`: exhausted ones are unlinked when met.
    let end = asks.len();
    let mut next: Vec<usize> = (1..=end).collect();
    let mut head = 0;
    for &buy in &bids {
        let (mut previous, mut at) = (None, head);
        while at < end && !left[buy].is_zero() {
            let sell = asks[at];
            if !pairing.closes(buy, sell) {
                break;
            }
            let after = next[at];
            if left[sell].is_zero() {
                match previous {
                    None => head = after,
                    Some(p) => next[p] = after,
                }
                at = after;
                continue;
            }
            let energy = left[buy].min(left[sell]);
            let enough = |i: usize| left[i] < orders[i].min_fill || energy >= orders[i].min_fill;
            if !pairing.same_group(buy, sell) && pairing.in_range(buy, sell) && enough(buy) && enough(sell) {
                let (bid, ask) = (orders[buy].price, orders[sell].price);
                let price = match (rules.deal_price, cleared.price) {
                    (DealPriceRule::Midpoint, _) => DealPrice::midpoint(bid, ask),
                    (DealPriceRule::PayAsBid, _) => bid.to_deal_price(),
                    (DealPriceRule::PayAsAsk, _) => ask.to_deal_price(),
                    (DealPriceRule::Uniform, price) => price.unwrap_or(ask).to_deal_price(),
                };
                cleared.deals.push(RoundDeal {
                    buy,
                    sell,
                    price,
                    energy,
                });
                for i in [buy, sell] {
                    left[i] = left[i].saturating_sub(energy);
                    filled[i] += energy.get();
                }
            }
            previous = Some(at);
            at = after;
        }
    }
    explain(&pairing, &left, &filled, &mut cleared, uniform);
    cleared
}

/// Gives every unfilled remainder the first reason that holds (DETAILS 8).
fn explain(pairing: &Pairing<'_>, left: &[Energy], filled: &[u64], cleared: &mut Cleared, uniform: bool) {
    let orders = pairing.orders;
    let side_of = |side: Side| (0..orders.len()).filter(move |&i| orders[i].side == side);
    let alive = [Side::Buy, Side::Sell].map(|side| side_of(side).filter(|&i| !left[i].is_zero()).collect::<Vec<_>>());
    let best = [Side::Buy, Side::Sell].map(|side| side_of(side).min_by_key(|&i| best_first(side, orders[i].price)));
    for (i, order) in orders.iter().enumerate() {
        let rest = order.energy.saturating_sub(Energy::new(filled[i]));
        if rest.is_zero() {
            continue;
        }
        let opposite = order.side.opposite().index();
        let pair = |other: usize| {
            if order.side == Side::Buy {
                (i, other)
            } else {
                (other, i)
            }
        };
        let closes = |other: usize| {
            let (buy, sell) = pair(other);
            pairing.closes(buy, sell)
        };
        let price_met = match (uniform, cleared.price) {
            (true, Some(price)) => order.side.concedes(order.price, price),
            (true, None) => false,
            (false, _) => best[opposite].is_some_and(closes),
        };
        let mut eligible = alive[opposite].iter().copied().filter(|&other| {
            let (buy, sell) = pair(other);
            pairing.closes(buy, sell) && !pairing.same_group(buy, sell)
        });
        let reason = if best[opposite].is_none() {
            CloseReason::NoCounterparty
        } else if !order.charge_covered {
            CloseReason::ChargeCap
        } else if !price_met {
            CloseReason::PriceNotMet
        } else {
            match eligible.next() {
                None => CloseReason::Exhausted,
                Some(first) => {
                    let in_range = core::iter::once(first).chain(eligible).any(|other| {
                        let (buy, sell) = pair(other);
                        pairing.in_range(buy, sell)
                    });
                    if in_range {
                        CloseReason::Exhausted
                    } else {
                        CloseReason::OutOfRange
                    }
                }
            }
        };
        cleared.unmatched.push(Leftover {
            order: i,
            energy: rest,
            reason,
        });
    }
}

/// Greatest welfare any pairing can reach with ranges off, in tick-Wh: best bids against best asks.
pub fn welfare_max(orders: &[RoundOrder]) -> i128 {
    let sorted = |side: Side| {
        let mut list: Vec<(i64, u64)> = orders
            .iter()
            .filter(|o| o.side == side)
            .map(|o| (best_first(side, o.price), o.energy.get()))
            .collect();
        list.sort_unstable();
        list
    };
    let (bids, asks) = (sorted(Side::Buy), sorted(Side::Sell));
    let (mut welfare, mut b, mut s) = (0i128, 0, 0);
    let (mut bid_left, mut ask_left) = (bids.first().map_or(0, |x| x.1), asks.first().map_or(0, |x| x.1));
    while b < bids.len() && s < asks.len() {
        let spread = -bids[b].0 - asks[s].0;
        if spread <= 0 {
            break;
        }
        let energy = bid_left.min(ask_left);
        welfare += i128::from(spread) * i128::from(energy);
        bid_left -= energy;
        ask_left -= energy;
        if bid_left == 0 {
            b += 1;
            bid_left = bids.get(b).map_or(0, |x| x.1);
        }
        if ask_left == 0 {
            s += 1;
            ask_left = asks.get(s).map_or(0, |x| x.1);
        }
    }
    welfare
}

/// Welfare of the deals of a round, in tick-Wh.
pub fn welfare(orders: &[RoundOrder], deals: &[RoundDeal]) -> i128 {
    deals
        .iter()
        .map(|d| {
            let spread = i128::from(orders[d.buy].price.get()) - i128::from(orders[d.sell].price.get());
            spread * i128::from(d.energy.get())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_clamped() {
        assert_eq!(matchable_range(3, Ppm::new(0)), 3);
        assert_eq!(matchable_range(3, Ppm::new(600_000)), 1);
        assert_eq!(matchable_range(3, Ppm::new(300_000)), 2);
        assert_eq!(matchable_range(3, Ppm::new(1_000_000)), 1);
        assert_eq!(matchable_range(0, Ppm::new(0)), 1);
    }
}
