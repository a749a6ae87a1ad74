//! One sealed round (MARKET 3 and 4.1): places, ranges, pairs, prices and the reason for everything left over.
//!
//! # Contract
//! * [`rank`] fixes place and range of every owner from the orders that stand at RANK; [`clear`] matches the orders that
//!   stand at MATCH under those places. In between only cancels happen, so the orders of MATCH are a subset.
//! * Buyers choose by place, each buyer's bids best first; each takes the lowest ask among its matchable sellers.
//! * Nothing here knows accounts, money or time: owners are dense indexes, ties come ranked.
//! * BOUND: O(n log n) for n orders and owners; minimum fills can cost more (`round/ladder.rs`).

mod call;
mod ladder;
mod reason;

pub use call::uniform_price;

use ladder::{Band, Ladder, Reach, SHUT, Seat};
pub use wattbook_book::matchable_range;
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

/// Sort key of a price on a side: ascending is best first.
#[inline]
const fn price_key(side: Side, price: Price) -> u32 {
    let ascending = price.get() as u32 ^ 1 << 31;
    match side {
        Side::Buy => !ascending,
        Side::Sell => ascending,
    }
}

/// The price of a sort key.
#[inline]
const fn price_of(side: Side, key: u32) -> Price {
    let ascending = match side {
        Side::Buy => !key,
        Side::Sell => key,
    };
    Price::new((ascending ^ 1 << 31) as i32)
}

/// Four words as one sort key, the first the most significant.
#[inline]
const fn pack(words: [u32; 4]) -> u128 {
    let [a, b, c, d] = words;
    (a as u128) << 96 | (b as u128) << 64 | (c as u128) << 32 | d as u128
}

/// The words of a sort key.
#[inline]
const fn unpack(key: u128) -> [u32; 4] {
    [(key >> 96) as u32, (key >> 64) as u32, (key >> 32) as u32, key as u32]
}

/// Places and ranges by owner and side; `None` where an owner has no order on a side.
pub fn rank(owners: &[Owner], orders: &[RoundOrder]) -> Vec<[Option<Place>; 2]> {
    let mut best: Vec<[Option<u32>; 2]> = vec![[None; 2]; owners.len()];
    for order in orders {
        let slot = &mut best[order.owner as usize][order.side.index()];
        let key = price_key(order.side, order.price);
        *slot = Some(slot.map_or(key, |old| old.min(key)));
    }
    let queues = [Side::Buy, Side::Sell].map(|side| {
        let mut queue: Vec<u128> = (0u32..)
            .zip(&best)
            .filter_map(|(owner, keys)| {
                let key = keys[side.index()]?;
                Some(pack([key, owners[owner as usize].priority, 0, owner]))
            })
            .collect();
        queue.sort_unstable();
        queue
    });
    let mut places = vec![[None; 2]; owners.len()];
    for side in [Side::Buy, Side::Sell] {
        let opposite = queues[side.opposite().index()].len() as u32;
        for (pos, &key) in (1..).zip(&queues[side.index()]) {
            let owner = unpack(key)[3] as usize;
            let range = matchable_range(opposite, owners[owner].percentile);
            places[owner][side.index()] = Some(Place { pos, range });
        }
    }
    places
}

/// Indexes in ascending order of their keys, and the rank of each.
fn ranked(keys: impl Iterator<Item = u32>) -> (Vec<u32>, Vec<u32>) {
    let mut sorted: Vec<u64> = (0u64..).zip(keys).map(|(i, key)| u64::from(key) << 32 | i).collect();
    sorted.sort_unstable();
    let order: Vec<u32> = sorted.into_iter().map(|key| key as u32).collect();
    let mut ranks = vec![0; order.len()];
    for (rank, &i) in (0..).zip(&order) {
        ranks[i as usize] = rank;
    }
    (order, ranks)
}

/// The pair conditions of a round, without quantities.
struct Pairing<'a> {
    owners: &'a [Owner],
    orders: &'a [RoundOrder],
    places: &'a [[Option<Place>; 2]],
    rules: Rules,
}

impl Pairing<'_> {
    fn group(&self, owner: u32) -> u32 {
        self.owners[owner as usize].group
    }

    fn place(&self, owner: u32, side: Side) -> Option<Place> {
        self.places[owner as usize][side.index()]
    }

    /// Place in the queue; behind all others without one.
    fn pos(&self, owner: u32, side: Side) -> u32 {
        self.place(owner, side).map_or(u32::MAX, |place| place.pos)
    }

    /// Sort key of the worst price on the other side that closes with a price; `None` where none does.
    fn worst_closing(&self, side: Side, price: Price) -> Option<u32> {
        let (price, spread) = (i64::from(price.get()), self.rules.spread_min);
        let (worst, unreached) = match side {
            Side::Buy => (price.saturating_sub(spread), i32::MIN),
            Side::Sell => (price.saturating_add(spread), i32::MAX),
        };
        match i32::try_from(worst) {
            Ok(worst) => Some(price_key(side.opposite(), Price::new(worst))),
            Err(_) if (worst < 0) == (unreached < 0) => None,
            Err(_) => Some(u32::MAX),
        }
    }

    /// What the limits of [`Pairing::reach`] are held against: the owner's place, and the complement of its range.
    /// With `mutual` the range is no bar: rungs retire when places have passed it.
    fn seat(&self, owner: u32, side: Side) -> Seat {
        let range = self.rules.range;
        let bars = match self.place(owner, side) {
            _ if range == RangeMode::Off => [0, SHUT],
            None => [SHUT; 2],
            Some(place) => {
                // The buyer chooses: a seller's place is held against the chooser's range, its range is the counterparty's.
                let (own, counterparty) = (range.allows(true, false), range.allows(false, true));
                let (by_place, by_range) = match side {
                    Side::Sell => (own, counterparty),
                    Side::Buy => (counterparty, own),
                };
                let bar = |counts: bool, bar: u32| if counts { bar } else { SHUT };
                [
                    bar(by_place || range == RangeMode::Mutual, place.pos),
                    bar(by_range, !place.range),
                ]
            }
        };
        Seat {
            bars,
            group: self.group(owner),
        }
    }

    /// An owner of one side as it comes to the ladder of the other.
    fn reach(&self, owner: u32, side: Side) -> Reach {
        Reach {
            limits: self
                .place(owner, side)
                .map_or([0; 2], |place| [place.range, !place.pos]),
            group: self.group(owner),
            band: Band::ANY,
        }
    }

    /// A ladder of orders of one side by their owners, best first.
    fn ladder(&self, side: Side, owners: &[u32], bands: Vec<Band>) -> Ladder {
        let seats: Vec<Seat> = (0..self.owners.len() as u32)
            .map(|owner| self.seat(owner, side))
            .collect();
        let mut ladder = Ladder::new(owners.iter().map(|&owner| seats[owner as usize]).collect(), bands);
        if self.rules.range == RangeMode::Mutual {
            let range = |&owner: &u32| self.place(owner, side).map_or(0, |place| place.range);
            ladder.set_ranges(owners.iter().map(range));
        }
        ladder
    }
}

/// Matches a round.
pub fn clear(owners: &[Owner], orders: &[RoundOrder], places: &[[Option<Place>; 2]], rules: Rules) -> Cleared {
    assert!(
        u32::try_from(orders.len()).is_ok(),
        "BOUND: orders are numbered in 32 bits"
    );
    let pairing = Pairing {
        owners,
        orders,
        places,
        rules,
    };
    let (call, allowed) = if rules.deal_price == DealPriceRule::Uniform {
        let call = uniform_price(orders, rules.reference);
        let allowed = match call {
            Some((price, volume)) => call::allowed_at(orders, price, volume),
            None => vec![Energy::ZERO; orders.len()],
        };
        (call, allowed)
    } else {
        let open = |o: &RoundOrder| if o.charge_covered { o.energy } else { Energy::ZERO };
        (None, orders.iter().map(open).collect())
    };
    let price = call.map(|(price, _)| price);
    let mut left = allowed.clone();
    let deals = choose(&pairing, price, &mut left);
    Cleared {
        deals,
        price,
        uniform_volume: call.map_or(Energy::ZERO, |(_, volume)| volume),
        unmatched: reason::explain(&pairing, &allowed, &left, price),
    }
}

/// The deals of a round, in the order made; takes what they trade from `left`.
fn choose(pairing: &Pairing<'_>, call: Option<Price>, left: &mut [Energy]) -> Vec<RoundDeal> {
    let (owners, orders) = (pairing.owners, pairing.orders);
    let (buyers, buyer_rank) = ranked((0..owners.len() as u32).map(|owner| pairing.pos(owner, Side::Buy)));
    let (sellers, seller_rank) = ranked(owners.iter().map(|owner| owner.priority));
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    for ((i, order), left) in (0u32..).zip(orders).zip(&*left) {
        let (owner, key) = (order.owner as usize, price_key(order.side, order.price));
        match order.side {
            _ if left.is_zero() => {}
            Side::Buy => bids.push(pack([buyer_rank[owner], key, order.index, i])),
            Side::Sell => asks.push(pack([key, seller_rank[owner], order.index, i])),
        }
    }
    bids.sort_unstable();
    asks.sort_unstable();

    let minimums = orders.iter().any(|order| !order.min_fill.is_zero());
    let band = |i: u32, open: Energy| Band::new(open.get(), orders[i as usize].min_fill.get());
    // Per rung: its order, the sort key of its price, what is left of it.
    let (mut rungs, mut keys, mut open): (Vec<u32>, Vec<u32>, Vec<Energy>) = Default::default();
    let mut rung_owners = Vec::with_capacity(asks.len());
    for ask in asks {
        let [key, rank, _, i] = unpack(ask);
        rung_owners.push(sellers[rank as usize]);
        rungs.push(i);
        keys.push(key);
        open.push(left[i as usize]);
    }
    let bands = if minimums {
        rungs.iter().zip(&open).map(|(&i, &open)| band(i, open)).collect()
    } else {
        Vec::new()
    };
    let mut ladder = pairing.ladder(Side::Sell, &rung_owners, bands);

    let mut deals = Vec::new();
    let mut chooser: Option<(u32, Reach)> = None;
    let mut from = 0;
    for bid in bids {
        let [rank, key, _, buy] = unpack(bid);
        let mut reach = match chooser {
            Some((last, reach)) if last == rank => reach,
            _ => {
                let buyer = buyers[rank as usize];
                ladder.retire(pairing.pos(buyer, Side::Buy));
                let reach = pairing.reach(buyer, Side::Buy);
                chooser = Some((rank, reach));
                from = 0;
                reach
            }
        };
        let limit = price_of(Side::Buy, key);
        let Some(worst) = pairing.worst_closing(Side::Buy, limit) else {
            continue;
        };
        let mut end = ladder.len();
        if minimums {
            end = keys.partition_point(|&key| key <= worst);
            // Without minimum fills, what its owner could not have for one bid it cannot have for the next.
            from = 0;
        }
        let mut wanted = left[buy as usize];
        while !wanted.is_zero() {
            if minimums {
                reach.band = band(buy, wanted);
            }
            from = from.max(ladder.front());
            let found = ladder.first(from, end, &reach);
            from = found.unwrap_or(end);
            let Some(rung) = found.filter(|&rung| keys[rung] <= worst) else {
                break;
            };
            let ask = price_of(Side::Sell, keys[rung]);
            let energy = wanted.min(open[rung]);
            deals.push(RoundDeal {
                buy: buy as usize,
                sell: rungs[rung] as usize,
                price: match pairing.rules.deal_price {
                    DealPriceRule::Midpoint => DealPrice::midpoint(limit, ask),
                    DealPriceRule::PayAsBid => limit.to_deal_price(),
                    DealPriceRule::PayAsAsk => ask.to_deal_price(),
                    DealPriceRule::Uniform => call.unwrap_or(ask).to_deal_price(),
                },
                energy,
            });
            wanted = wanted.saturating_sub(energy);
            open[rung] = open[rung].saturating_sub(energy);
            if open[rung].is_zero() {
                ladder.close(rung);
            } else if minimums {
                ladder.set_band(rung, band(rungs[rung], open[rung]));
            }
        }
        left[buy as usize] = wanted;
    }
    for (i, open) in rungs.into_iter().zip(open) {
        left[i as usize] = open;
    }
    deals
}

/// Greatest welfare any pairing can reach with ranges off, in tick-Wh: best bids against best asks.
pub fn welfare_max(orders: &[RoundOrder]) -> i128 {
    let sorted = |side: Side| {
        let mut list: Vec<(u32, u64)> = orders
            .iter()
            .filter(|o| o.side == side)
            .map(|o| (price_key(side, o.price), o.energy.get()))
            .collect();
        list.sort_unstable();
        list
    };
    let (bids, asks) = (sorted(Side::Buy), sorted(Side::Sell));
    let (mut welfare, mut b, mut s) = (0i128, 0, 0);
    let (mut bid_left, mut ask_left) = (bids.first().map_or(0, |x| x.1), asks.first().map_or(0, |x| x.1));
    while b < bids.len() && s < asks.len() {
        let price = |side: Side, key: u32| i64::from(price_of(side, key).get());
        let spread = price(Side::Buy, bids[b].0) - price(Side::Sell, asks[s].0);
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
