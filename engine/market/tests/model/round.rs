//! A sealed round written to be obviously right: `shared/reference/round.py` with what the core adds, which is several orders
//! of one owner, groups, minimum fill, network charge, least spread and reasons. Every rule is a loop over everything, in
//! `i128`, and nothing is shared with `wattbook_market::round` but its input types.

use std::collections::BTreeMap;
use wattbook_market::round::{Owner, RoundOrder, Rules};
use wattbook_types::{CloseReason, DealPriceRule, MicroPrice, RangeMode, Side};

/// Place and range by (owner, side).
pub(crate) type Places = BTreeMap<(u32, Side), (i128, i128)>;

/// What came of a round: deals as (bid, ask, half ticks, Wh), leftovers as (order, Wh, reason).
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) deals: Vec<(usize, usize, i128, i128)>,
    pub(crate) price: Option<i128>,
    pub(crate) uniform_volume: i128,
    pub(crate) unmatched: Vec<(usize, i128, CloseReason)>,
}

fn price(order: &RoundOrder) -> i128 {
    order.price.get().into()
}

fn energy(order: &RoundOrder) -> i128 {
    order.energy.get().into()
}

/// Lower is better.
fn badness(order: &RoundOrder) -> i128 {
    match order.side {
        Side::Buy => -price(order),
        Side::Sell => price(order),
    }
}

/// Eq 5.
fn range(opposite: i128, ppm: i128) -> i128 {
    1.max(opposite.min((opposite * (1_000_000 - ppm) + 500_000).div_euclid(1_000_000)))
}

/// MARKET 3.3 and 3.4.
pub(crate) fn places(owners: &[Owner], orders: &[RoundOrder]) -> Places {
    let queue = |side: Side| {
        let mut queue: Vec<u32> = (0..owners.len() as u32)
            .filter(|&owner| orders.iter().any(|o| o.side == side && o.owner == owner))
            .collect();
        queue.sort_by_key(|&owner| {
            let live = orders.iter().filter(|o| o.side == side && o.owner == owner);
            (live.map(badness).min(), owners[owner as usize].priority)
        });
        queue
    };
    let mut places = Places::new();
    for side in [Side::Buy, Side::Sell] {
        let opposite = queue(side.opposite()).len() as i128;
        for (i, owner) in queue(side).into_iter().enumerate() {
            let ppm = owners[owner as usize].percentile.get().into();
            places.insert((owner, side), (i as i128 + 1, range(opposite, ppm)));
        }
    }
    places
}

/// Demand and supply at a price.
fn curves_at(orders: &[RoundOrder], at: i128) -> (i128, i128) {
    let open = orders.iter().filter(|o| o.charge_covered);
    let demand = open
        .clone()
        .filter(|o| o.side == Side::Buy && price(o) >= at)
        .map(energy)
        .sum();
    let supply = open
        .filter(|o| o.side == Side::Sell && price(o) <= at)
        .map(energy)
        .sum();
    (demand, supply)
}

/// MARKET 4.1: every limit is a candidate; greatest volume, least imbalance, nearest the reference, lowest.
pub(crate) fn uniform_price(orders: &[RoundOrder], reference: Option<MicroPrice>) -> Option<(i128, i128)> {
    let candidates = orders.iter().filter(|o| o.charge_covered).map(price);
    candidates
        .filter_map(|p| {
            let (demand, supply) = curves_at(orders, p);
            let volume = demand.min(supply);
            let distance = reference.map_or(0, |r| (p * 10_000 - i128::from(r.get())).abs());
            (volume > 0).then_some((-volume, (demand - supply).abs(), distance, p))
        })
        .min()
        .map(|(volume, _, _, p)| (p, -volume))
}

/// Energy an order may trade at the uniform price.
fn fills_at(orders: &[RoundOrder], at: i128, volume: i128) -> Vec<i128> {
    let mut fills = vec![0; orders.len()];
    for side in [Side::Buy, Side::Sell] {
        let better = |o: &RoundOrder| {
            if side == Side::Buy {
                price(o) > at
            } else {
                price(o) < at
            }
        };
        let mine: Vec<usize> = (0..orders.len())
            .filter(|&i| orders[i].side == side && orders[i].charge_covered)
            .collect();
        for &i in mine.iter().filter(|&&i| better(&orders[i])) {
            fills[i] = energy(&orders[i]);
        }
        let mut equal: Vec<usize> = mine.into_iter().filter(|&i| price(&orders[i]) == at).collect();
        equal.sort_by_key(|&i| orders[i].spare_rank);
        let total: i128 = equal.iter().map(|&i| energy(&orders[i])).sum();
        let left = (volume
            - fills
                .iter()
                .zip(orders)
                .filter(|(_, o)| o.side == side)
                .map(|(f, _)| f)
                .sum::<i128>())
        .clamp(0, total);
        for &i in &equal {
            fills[i] = left * energy(&orders[i]) / total;
        }
        let mut spare = left - equal.iter().map(|&i| fills[i]).sum::<i128>();
        for &i in &equal {
            if spare > 0 && fills[i] < energy(&orders[i]) {
                fills[i] += 1;
                spare -= 1;
            }
        }
    }
    fills
}

/// Which pairs may trade, quantities aside.
pub(crate) struct Pairs<'a> {
    pub(crate) owners: &'a [Owner],
    pub(crate) orders: &'a [RoundOrder],
    pub(crate) places: &'a Places,
    pub(crate) rules: Rules,
}

impl Pairs<'_> {
    /// MARKET 2.5 and 4.2.
    pub(crate) fn closes(&self, buy: usize, sell: usize) -> bool {
        price(&self.orders[buy]) - price(&self.orders[sell]) >= i128::from(self.rules.spread_min)
    }

    /// The pair closes and the two do not count as one.
    pub(crate) fn eligible(&self, buy: usize, sell: usize) -> bool {
        let group = |i: usize| self.owners[self.orders[i].owner as usize].group;
        self.closes(buy, sell) && group(buy) != group(sell)
    }

    /// MARKET 3.5, the buyer as chooser.
    pub(crate) fn in_range(&self, buy: usize, sell: usize) -> bool {
        let (buyer_pos, buyer_range) = self.places[&(self.orders[buy].owner, Side::Buy)];
        let (seller_pos, seller_range) = self.places[&(self.orders[sell].owner, Side::Sell)];
        match self.rules.range {
            RangeMode::Off => true,
            RangeMode::Own => seller_pos <= buyer_range,
            RangeMode::Counterparty => buyer_pos <= seller_range,
            RangeMode::Mutual => seller_pos <= buyer_range && buyer_pos <= seller_range,
            RangeMode::Either => seller_pos <= buyer_range || buyer_pos <= seller_range,
        }
    }
}

/// MARKET 3.6 and 4.1, DETAILS 8. Orders whose price and energy no deal may touch have nothing left from the start.
pub(crate) fn clear(pairs: &Pairs<'_>) -> Outcome {
    let (orders, rules) = (pairs.orders, pairs.rules);
    let uniform = rules.deal_price == DealPriceRule::Uniform;
    let call = if uniform {
        uniform_price(orders, rules.reference)
    } else {
        None
    };
    let mut left: Vec<i128> = match (uniform, call) {
        (true, Some((at, volume))) => fills_at(orders, at, volume),
        (true, None) => vec![0; orders.len()],
        (false, _) => orders
            .iter()
            .map(|o| if o.charge_covered { energy(o) } else { 0 })
            .collect(),
    };

    let mut buys: Vec<usize> = (0..orders.len()).filter(|&i| orders[i].side == Side::Buy).collect();
    buys.sort_by_key(|&i| {
        (
            pairs.places[&(orders[i].owner, Side::Buy)].0,
            badness(&orders[i]),
            orders[i].index,
        )
    });
    let mut sells: Vec<usize> = (0..orders.len()).filter(|&i| orders[i].side == Side::Sell).collect();
    sells.sort_by_key(|&i| {
        (
            badness(&orders[i]),
            pairs.owners[orders[i].owner as usize].priority,
            orders[i].index,
        )
    });
    let mut deals = Vec::new();
    for &buy in &buys {
        for &sell in &sells {
            let q = left[buy].min(left[sell]);
            let too_small = |i: usize| {
                let least = orders[i].min_fill.get().into();
                left[i] >= least && q < least
            };
            if q == 0 || !pairs.eligible(buy, sell) || !pairs.in_range(buy, sell) || too_small(buy) || too_small(sell) {
                continue;
            }
            left[buy] -= q;
            left[sell] -= q;
            let half_ticks = match rules.deal_price {
                DealPriceRule::Midpoint => price(&orders[buy]) + price(&orders[sell]),
                DealPriceRule::PayAsBid => 2 * price(&orders[buy]),
                DealPriceRule::PayAsAsk => 2 * price(&orders[sell]),
                DealPriceRule::Uniform => 2 * call.map_or(0, |(at, _)| at),
            };
            deals.push((buy, sell, half_ticks, q));
        }
    }

    let mut unmatched = Vec::new();
    for (i, order) in orders.iter().enumerate() {
        let filled: i128 = deals.iter().filter(|d| d.0 == i || d.1 == i).map(|d| d.3).sum();
        if filled < energy(order) {
            unmatched.push((i, energy(order) - filled, reason(pairs, call.map(|c| c.0), &left, i)));
        }
    }
    Outcome {
        deals,
        price: call.map(|c| c.0),
        uniform_volume: call.map_or(0, |c| c.1),
        unmatched,
    }
}

/// The first reason that holds (DETAILS 8); `left` is what orders may still trade when the round is over.
fn reason(pairs: &Pairs<'_>, call: Option<i128>, left: &[i128], i: usize) -> CloseReason {
    let (orders, order) = (pairs.orders, &pairs.orders[i]);
    let uniform = pairs.rules.deal_price == DealPriceRule::Uniform;
    let as_pair = |other: usize| {
        if order.side == Side::Buy {
            (i, other)
        } else {
            (other, i)
        }
    };
    let opposite: Vec<(usize, usize)> = (0..orders.len())
        .filter(|&other| orders[other].side != order.side)
        .map(as_pair)
        .collect();
    let other = |&(buy, sell): &(usize, usize)| if order.side == Side::Buy { sell } else { buy };
    let price_met = match call {
        Some(at) if order.side == Side::Buy => price(order) >= at,
        Some(at) => price(order) <= at,
        None => !uniform && opposite.iter().any(|&(buy, sell)| pairs.closes(buy, sell)),
    };
    let live: Vec<&(usize, usize)> = opposite
        .iter()
        .filter(|pair| left[other(pair)] > 0 && pairs.eligible(pair.0, pair.1))
        .collect();
    if opposite.is_empty() {
        CloseReason::NoCounterparty
    } else if !order.charge_covered {
        CloseReason::ChargeCap
    } else if !price_met {
        CloseReason::PriceNotMet
    } else if !live.is_empty() && !live.iter().any(|&&(buy, sell)| pairs.in_range(buy, sell)) {
        CloseReason::OutOfRange
    } else {
        CloseReason::Exhausted
    }
}

/// Greatest welfare of any pairing, as the area between the curves: at every tick the smaller of the energy wanted above it
/// and the energy offered at or below it.
pub(crate) fn welfare_max(orders: &[RoundOrder]) -> i128 {
    let mut limits: Vec<i128> = orders.iter().map(price).collect();
    limits.sort_unstable();
    limits.dedup();
    let sum = |side: Side, open: &dyn Fn(i128) -> bool| -> i128 {
        orders
            .iter()
            .filter(|o| o.side == side && open(price(o)))
            .map(energy)
            .sum()
    };
    limits
        .windows(2)
        .map(|step| {
            let (wanted, offered) = (sum(Side::Buy, &|p| p >= step[1]), sum(Side::Sell, &|p| p <= step[0]));
            (step[1] - step[0]) * wanted.min(offered)
        })
        .sum()
}
