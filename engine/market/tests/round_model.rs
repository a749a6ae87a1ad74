//! The fast round against the obvious one on 10,000 seeded rounds, each in the five range modes and the four price rules, and
//! the invariants of a round on the same; larger rounds under one pair of rules each; and rounds too large for anything
//! quadratic, whose outcome is known. A failure prints the round or its seed, which is all that is needed to run it again.

#[path = "model/round.rs"]
mod model;

use model::{Outcome, Pairs, Places};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use wattbook_market::round::{self, Cleared, Owner, Place, RoundOrder, Rules};
use wattbook_types::{CloseReason, DealPriceRule, Energy, MicroPrice, Ppm, Price, RangeMode, Side};

const ROUNDS: u64 = 10_000;
/// Rounds of hundreds of orders, and of thousands.
const WIDE_ROUNDS: u64 = 400;
const DEEP_ROUNDS: u64 = 20;

/// Limits that sit at an end of something.
const EDGE_PRICES: [i32; 8] = [i32::MIN, i32::MIN + 1, -1, 0, 0, 1, i32::MAX - 1, i32::MAX];
/// Energies that do, in Wh: 6,842.6 MWh is a step of a real day-ahead curve.
const EDGE_ENERGIES: [u64; 6] = [1, 1, 2, 3, 6_842_600_000, u64::MAX / 64];

/// A random round.
#[derive(Debug)]
struct Round {
    owners: Vec<Owner>,
    /// What stands at RANK.
    ranked: Vec<RoundOrder>,
    /// What stands at MATCH: some may have been cancelled.
    orders: Vec<RoundOrder>,
    reference: Option<MicroPrice>,
    spread_min: i64,
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    /// Once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut list: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            list.swap(i, self.below(i as u64 + 1) as usize);
        }
        list
    }
}

impl Round {
    fn random(seed: u64) -> Self {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let most = if dice.once_in(10) { 30 } else { 9 };
        let owner_count = 1 + dice.below(most) as usize;
        Self::of(&mut dice, owner_count, None)
    }

    /// Of so many owners and orders; of any fitting number of orders without one.
    fn of(dice: &mut Dice, owner_count: usize, order_count: Option<usize>) -> Self {
        let large = order_count.is_some();
        let (grouped, coarse_ranks) = (dice.once_in(3), dice.once_in(3));
        let priorities = dice.permutation(owner_count);
        let owners = (0..owner_count)
            .map(|i| {
                let ppm = if coarse_ranks {
                    dice.pick(&[0, 500_000, 999_999, 1_000_000])
                } else {
                    dice.below(1_000_001)
                };
                let group = match grouped {
                    false => i as u32,
                    // One group of nearly everybody.
                    true if large && !dice.once_in(20) => 0,
                    _ => dice.below(3) as u32,
                };
                Owner {
                    priority: priorities[i],
                    percentile: Ppm::new(ppm as u32),
                    group,
                }
            })
            .collect();

        // One quote per owner on one side, or any number on both.
        let single = !large && dice.once_in(3);
        let order_count = order_count.unwrap_or_else(|| {
            if single {
                owner_count
            } else {
                dice.below(2 * owner_count as u64 + 2) as usize
            }
        });
        let spare = dice.permutation(order_count);
        let (price_style, energy_style) = (dice.below(5), dice.below(5));
        let (min_fills, uncovered) = (dice.once_in(3), dice.once_in(4));
        let mut next_index = vec![0; owner_count];
        let ranked: Vec<RoundOrder> = (0..order_count)
            .map(|i| {
                let owner = if single {
                    i
                } else {
                    dice.below(owner_count as u64) as usize
                };
                let side = if dice.once_in(2) { Side::Buy } else { Side::Sell };
                let price = match price_style {
                    0 => dice.pick(&EDGE_PRICES),
                    1 => 9_700 + dice.below(3) as i32,
                    2 => dice.below(400) as i32 - 200,
                    3 if dice.once_in(3) => dice.pick(&EDGE_PRICES),
                    _ => 8_000 + dice.below(4_000) as i32,
                };
                let energy = match energy_style {
                    // BOUND: the sum of a round's energies is a u64.
                    0 if large => dice.pick(&EDGE_ENERGIES[..5]),
                    0 => dice.pick(&EDGE_ENERGIES),
                    1 => 1_000_000,
                    2 => 1 + dice.below(4),
                    3 => 100_000 * (1 + dice.below(68_426)),
                    _ => 1 + dice.below(5_000_000),
                };
                let min_fill = match dice.below(4) {
                    _ if !min_fills => 0,
                    0 => 0,
                    1 => energy,
                    _ => dice.below(energy) + 1,
                };
                let index = next_index[owner];
                next_index[owner] += 1;
                RoundOrder {
                    owner: owner as u32,
                    side,
                    price: Price::new(price),
                    energy: Energy::new(energy),
                    min_fill: Energy::new(min_fill),
                    index,
                    spare_rank: spare[i],
                    charge_covered: !(uncovered && side == Side::Buy && dice.once_in(3)),
                }
            })
            .collect();
        let orders = if dice.once_in(4) {
            ranked.iter().copied().filter(|_| !dice.once_in(4)).collect()
        } else {
            ranked.clone()
        };
        let reference = match dice.below(6) {
            0 => Some(dice.pick(&[i64::MIN, i64::MAX, 0, 1, -1])),
            1 => Some(97_000_000 + dice.below(30_000) as i64),
            2 => Some((80_000_000 + dice.below(40_000_000)) as i64),
            _ => None,
        };
        let spread_min = if dice.once_in(5) {
            dice.pick(&[1, 500, 1 << 31, (1 << 32) - 1, 1 << 32])
        } else {
            0
        };
        Self {
            owners,
            ranked,
            orders,
            reference: reference.map(MicroPrice::new),
            spread_min,
        }
    }
}

fn outcome(cleared: &Cleared) -> Outcome {
    Outcome {
        deals: cleared
            .deals
            .iter()
            .map(|d| (d.buy, d.sell, d.price.get().into(), d.energy.get().into()))
            .collect(),
        price: cleared.price.map(|p| p.get().into()),
        uniform_volume: cleared.uniform_volume.get().into(),
        unmatched: cleared
            .unmatched
            .iter()
            .map(|l| (l.order, l.energy.get().into(), l.reason))
            .collect(),
    }
}

fn places_of(found: &[[Option<Place>; 2]]) -> Places {
    let mut places = Places::new();
    for (owner, sides) in found.iter().enumerate() {
        for side in [Side::Buy, Side::Sell] {
            if let Some(place) = sides[side.index()] {
                places.insert((owner as u32, side), (place.pos.into(), place.range.into()));
            }
        }
    }
    places
}

/// What holds of a cleared round whatever made it, from the round and its outcome alone.
fn check_invariants(pairs: &Pairs<'_>, got: &Outcome) {
    let (orders, rules) = (pairs.orders, pairs.rules);
    let uniform = rules.deal_price == DealPriceRule::Uniform;
    let price = |i: usize| i128::from(orders[i].price.get());

    // Deals: the right sides, a price both accept, a pair that may trade, no more energy than there is.
    let mut filled = vec![0i128; orders.len()];
    for &(buy, sell, half_ticks, energy) in &got.deals {
        assert_eq!((orders[buy].side, orders[sell].side), (Side::Buy, Side::Sell));
        assert!(
            energy > 0 && price(buy) >= price(sell) && 2 * price(sell) <= half_ticks && half_ticks <= 2 * price(buy)
        );
        assert!(pairs.eligible(buy, sell) && pairs.in_range(buy, sell));
        assert!(orders[buy].charge_covered && orders[sell].charge_covered);
        assert!(!uniform || Some(half_ticks) == got.price.map(|p| 2 * p));
        filled[buy] += energy;
        filled[sell] += energy;
    }
    assert!(uniform || (got.price.is_none() && got.uniform_volume == 0));
    assert!(filled.iter().sum::<i128>() / 2 <= got.uniform_volume || !uniform);

    // Energy: filled and unmatched make up every order, and what is unmatched is listed once, in order.
    assert!(got.unmatched.windows(2).all(|w| w[0].0 < w[1].0));
    let mut rest = vec![0i128; orders.len()];
    for &(i, energy, _) in &got.unmatched {
        assert!(energy > 0);
        rest[i] = energy;
    }
    for (i, order) in orders.iter().enumerate() {
        assert_eq!(filled[i] + rest[i], i128::from(order.energy.get()), "order {i}");
    }

    // Reasons, and that nothing is left that could trade; a uniform price and minimum fills leave such pairs by design.
    let simple = !uniform && orders.iter().all(|o| o.min_fill.is_zero());
    for &(i, _, reason) in &got.unmatched {
        let order = &orders[i];
        let opposite: Vec<(usize, usize, usize)> = (0..orders.len())
            .filter(|&other| orders[other].side != order.side)
            .map(|other| {
                if order.side == Side::Buy {
                    (i, other, other)
                } else {
                    (other, i, other)
                }
            })
            .collect();
        assert_eq!(reason == CloseReason::NoCounterparty, opposite.is_empty(), "order {i}");
        if reason == CloseReason::NoCounterparty {
            continue;
        }
        assert_eq!(reason == CloseReason::ChargeCap, !order.charge_covered, "order {i}");
        if reason == CloseReason::ChargeCap {
            continue;
        }
        if uniform {
            let met = got.price.is_some_and(|p| {
                if order.side == Side::Buy {
                    price(i) >= p
                } else {
                    price(i) <= p
                }
            });
            assert_eq!(reason == CloseReason::PriceNotMet, !met, "order {i}");
            continue;
        }
        let met = opposite.iter().any(|&(buy, sell, _)| pairs.closes(buy, sell));
        assert_eq!(reason == CloseReason::PriceNotMet, !met, "order {i}");
        if simple && met {
            let mut live = opposite
                .iter()
                .filter(|&&(buy, sell, other)| {
                    rest[other] > 0 && orders[other].charge_covered && pairs.eligible(buy, sell)
                })
                .peekable();
            let expected = if live.peek().is_some() {
                CloseReason::OutOfRange
            } else {
                CloseReason::Exhausted
            };
            assert_eq!(reason, expected, "order {i}");
            assert!(
                !live.any(|&(buy, sell, _)| pairs.in_range(buy, sell)),
                "order {i} could still trade"
            );
        }
    }
}

/// Welfare, against the area between the curves.
fn check_welfare(pairs: &Pairs<'_>, cleared: &Cleared) {
    let orders = pairs.orders;
    let welfare = round::welfare(orders, &cleared.deals);
    let gain = |d: &round::RoundDeal| {
        let spread = i128::from(orders[d.buy].price.get()) - i128::from(orders[d.sell].price.get());
        spread * i128::from(d.energy.get())
    };
    assert_eq!(welfare, cleared.deals.iter().map(gain).sum::<i128>());
    let greatest = round::welfare_max(orders);
    assert_eq!(greatest, model::welfare_max(orders));
    assert!(0 <= welfare && welfare <= greatest);
    let owners: std::collections::BTreeSet<u32> = orders.iter().map(|o| o.owner).collect();
    let groups: std::collections::BTreeSet<u32> = pairs.owners.iter().map(|o| o.group).collect();
    let free = pairs.rules.range == RangeMode::Off
        && pairs.rules.spread_min == 0
        && groups.len() == pairs.owners.len()
        && owners.len() == orders.len()
        && orders.iter().all(|o| o.min_fill.is_zero() && o.charge_covered);
    assert!(
        !free || welfare == greatest,
        "with nothing in the way the best pairs trade"
    );
}

#[test]
fn the_fast_round_is_the_obvious_round() {
    let mut reasons: BTreeMap<CloseReason, u64> = BTreeMap::new();
    let (mut deals, mut calls, mut free) = (0u64, 0u64, 0u64);
    for seed in 0..ROUNDS {
        let round = Round::random(seed);
        let found = round::rank(&round.owners, &round.ranked);
        let places = model::places(&round.owners, &round.ranked);
        assert_eq!(places_of(&found), places, "seed {seed}: {round:#?}");
        for range in RangeMode::ALL {
            for deal_price in DealPriceRule::ALL {
                let rules = Rules {
                    range,
                    deal_price,
                    reference: round.reference,
                    spread_min: round.spread_min,
                };
                let (owners, orders) = (&round.owners[..], &round.orders[..]);
                let pairs = Pairs {
                    owners,
                    orders,
                    places: &places,
                    rules,
                };
                let cleared = round::clear(owners, orders, &found, rules);
                let (got, expected) = (outcome(&cleared), model::clear(&pairs));
                assert_eq!(got, expected, "seed {seed}, {range:?}, {deal_price:?}: {round:#?}");
                let checked = std::panic::catch_unwind(|| {
                    check_invariants(&pairs, &got);
                    check_welfare(&pairs, &cleared);
                });
                assert!(
                    checked.is_ok(),
                    "seed {seed}, {range:?}, {deal_price:?}: {got:#?} of {round:#?}"
                );
                deals += got.deals.len() as u64;
                calls += u64::from(got.price.is_some());
                free += u64::from(got.unmatched.is_empty() && !got.deals.is_empty());
                for (_, _, reason) in got.unmatched {
                    *reasons.entry(reason).or_default() += 1;
                }
            }
        }
    }
    // The rounds are not vacuous: every answer is given often.
    let expected = [
        CloseReason::NoCounterparty,
        CloseReason::PriceNotMet,
        CloseReason::OutOfRange,
        CloseReason::Exhausted,
        CloseReason::ChargeCap,
    ];
    assert_eq!(reasons.keys().copied().collect::<Vec<_>>(), expected);
    assert!(reasons.values().all(|&count| count > 5_000), "{reasons:?}");
    assert!(
        deals > 200_000 && calls > 20_000 && free > 500,
        "{deals} deals, {calls} calls, {free} without a rest"
    );
}

/// Holds the fast round against the obvious one under the range mode and the price rule of that number.
fn compare(seed: u64, round: &Round, rules: u64) -> Outcome {
    let rules = Rules {
        range: RangeMode::ALL[(rules % 5) as usize],
        deal_price: DealPriceRule::ALL[(rules / 5 % 4) as usize],
        reference: round.reference,
        spread_min: round.spread_min,
    };
    let found = round::rank(&round.owners, &round.ranked);
    let places = model::places(&round.owners, &round.ranked);
    assert_eq!(places_of(&found), places, "seed {seed}");
    let (owners, orders) = (&round.owners[..], &round.orders[..]);
    let pairs = Pairs {
        owners,
        orders,
        places: &places,
        rules,
    };
    let got = outcome(&round::clear(owners, orders, &found, rules));
    assert!(got == model::clear(&pairs), "seed {seed}, {rules:?}");
    check_invariants(&pairs, &got);
    got
}

#[test]
fn larger_rounds_are_the_obvious_round() {
    let (mut deals, mut out_of_range) = (0, 0);
    for seed in 0..WIDE_ROUNDS {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(1 << 32 | seed));
        let order_count = 100 + dice.below(300);
        let owner_count = 2 + dice.below(order_count);
        let round = Round::of(&mut dice, owner_count as usize, Some(order_count as usize));
        let got = compare(seed, &round, seed);
        deals += got.deals.len();
        out_of_range += got
            .unmatched
            .iter()
            .filter(|left| left.2 == CloseReason::OutOfRange)
            .count();
    }
    assert!(
        deals > 10_000 && out_of_range > 10_000,
        "{deals} deals, {out_of_range} out of range"
    );
}

#[test]
fn deep_rounds_are_the_obvious_round() {
    for seed in 0..DEEP_ROUNDS {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(2 << 32 | seed));
        let owner_count = 20 + dice.below(300);
        let round = Round::of(&mut dice, owner_count as usize, Some(2_500));
        compare(seed, &round, seed);
    }
}

/// Owners with ties in order of index, none with a range beyond one place.
fn humble_owners(groups: impl Iterator<Item = u32>) -> Vec<Owner> {
    let owner = |(priority, group)| Owner {
        priority,
        percentile: Ppm::new(1_000_000),
        group,
    };
    (0u32..).zip(groups).map(owner).collect()
}

/// An order that is its owner's `index`th and the `i`th of all.
fn plain(i: usize, owner: u32, index: u32, (side, price, energy): (Side, i32, u64)) -> RoundOrder {
    RoundOrder {
        owner,
        side,
        price: Price::new(price),
        energy: Energy::new(energy),
        min_fill: Energy::ZERO,
        index,
        spare_rank: i as u32,
        charge_covered: true,
    }
}

fn clear_at_midpoint(owners: &[Owner], orders: &[RoundOrder], range: RangeMode) -> Outcome {
    let rules = Rules {
        range,
        deal_price: DealPriceRule::Midpoint,
        reference: None,
        spread_min: 0,
    };
    outcome(&round::clear(owners, orders, &round::rank(owners, orders), rules))
}

/// 200 bids at 200 and 200 asks at 100 of each of 500 owners, none of whom may trade with another, and two outsiders.
#[test]
fn a_group_among_itself_trades_with_outsiders_only() {
    let (seller, buyer) = (500, 501);
    let owners = humble_owners((0..502).map(|owner: u32| owner.saturating_sub(499)));
    let mut orders = Vec::new();
    for owner in 0..500 {
        for index in 0..200 {
            orders.push(plain(orders.len(), owner, 2 * index, (Side::Buy, 200, 1)));
            orders.push(plain(orders.len(), owner, 2 * index + 1, (Side::Sell, 100, 1)));
        }
    }
    let dear_ask = orders.len();
    orders.push(plain(dear_ask, seller, 0, (Side::Sell, 150, 20)));
    let low_bid = orders.len();
    orders.push(plain(low_bid, buyer, 0, (Side::Buy, 120, 10)));
    let got = clear_at_midpoint(&owners, &orders, RangeMode::Off);
    let sold = (0..20).map(|i| (2 * i, dear_ask, 350, 1));
    let bought = (0..10).map(|i| (low_bid, 2 * i + 1, 220, 1));
    assert_eq!(got.deals, sold.chain(bought).collect::<Vec<_>>());
    assert_eq!(got.unmatched.len(), 200_000 - 30);
    assert!(got.unmatched.iter().all(|left| left.2 == CloseReason::Exhausted));
}

/// 5,000 buyers and 5,000 sellers with 20 quotes each, all prices met, nobody's range beyond the first place.
#[test]
fn ranges_of_one_place_leave_the_rest_out_of_range() {
    let owners = humble_owners(0..10_000);
    let mut orders = Vec::new();
    for owner in 0..10_000 {
        let (side, price) = if owner < 5_000 {
            (Side::Buy, 1_000_000 - owner as i32)
        } else {
            (Side::Sell, owner as i32)
        };
        for index in 0..20 {
            orders.push(plain(orders.len(), owner, index, (side, price, 1)));
        }
    }
    let first = (0..20).map(|i| (i, 100_000 + i, 1_005_000, 1)).collect::<Vec<_>>();
    for range in RangeMode::ALL {
        let got = clear_at_midpoint(&owners, &orders, range);
        if range == RangeMode::Off {
            assert!(got.deals.len() == 100_000 && got.unmatched.is_empty());
            continue;
        }
        assert_eq!(got.deals, first, "{range:?}");
        assert_eq!(got.unmatched.len(), 200_000 - 40, "{range:?}");
        assert!(
            got.unmatched.iter().all(|left| left.2 == CloseReason::OutOfRange),
            "{range:?}"
        );
    }
}

/// 50,000 bids of 1 Wh, as many cheap asks of which nobody may take less than 10 Wh, as many dear ones without that.
#[test]
fn refused_fills_do_not_stand_in_the_way() {
    let owners = humble_owners(0..150);
    let terms = [(Side::Buy, 300, 1), (Side::Sell, 100, 10), (Side::Sell, 200, 1)];
    let mut orders = Vec::new();
    for (kind, term) in terms.into_iter().enumerate() {
        for i in 0..50_000 {
            let owner = (50 * kind + i / 1_000) as u32;
            let order = plain(orders.len(), owner, (i % 1_000) as u32, term);
            orders.push(RoundOrder {
                min_fill: Energy::new(if kind == 1 { 10 } else { 0 }),
                ..order
            });
        }
    }
    let got = clear_at_midpoint(&owners, &orders, RangeMode::Off);
    let expected: Vec<_> = (0..50_000).map(|i| (i, 100_000 + i, 500, 1)).collect();
    assert_eq!(got.deals, expected);
    assert!(got.unmatched.len() == 50_000 && got.unmatched.iter().all(|left| left.2 == CloseReason::Exhausted));
}

#[test]
fn the_ends_of_the_price_type() {
    let ends = [
        (Side::Buy, i32::MAX),
        (Side::Buy, i32::MIN),
        (Side::Sell, i32::MIN),
        (Side::Sell, i32::MAX),
    ];
    let owner = |i: u32| Owner {
        priority: i,
        percentile: Ppm::ZERO,
        group: i,
    };
    let owners: Vec<Owner> = (0..4).map(owner).collect();
    let orders: Vec<RoundOrder> = (0..4)
        .map(|i| RoundOrder {
            owner: i as u32,
            side: ends[i].0,
            price: Price::new(ends[i].1),
            energy: Energy::new(u64::MAX / 2),
            min_fill: Energy::ZERO,
            index: 0,
            spare_rank: i as u32,
            charge_covered: true,
        })
        .collect();
    let places = round::rank(&owners, &orders);
    let pos = |i: usize, side: Side| places[i][side.index()].map(|place| place.pos);
    assert_eq!(
        [
            pos(0, Side::Buy),
            pos(1, Side::Buy),
            pos(2, Side::Sell),
            pos(3, Side::Sell)
        ],
        [Some(1), Some(2), Some(1), Some(2)]
    );
    // The dearest bid takes the cheapest ask; the cheapest bid would close with it too, the dearest ask with the dearest bid.
    for (deal_price, half_ticks) in [
        (DealPriceRule::Midpoint, -1),
        (DealPriceRule::PayAsBid, 2 * i64::from(i32::MAX)),
        (DealPriceRule::PayAsAsk, 2 * i64::from(i32::MIN)),
        // At either end one side is twice the other; the lowest price wins.
        (DealPriceRule::Uniform, 2 * i64::from(i32::MIN)),
    ] {
        let rules = Rules {
            range: RangeMode::Off,
            deal_price,
            reference: None,
            spread_min: 0,
        };
        let cleared = round::clear(&owners, &orders, &places, rules);
        let deals: Vec<_> = cleared
            .deals
            .iter()
            .map(|d| (d.buy, d.sell, d.price.get(), d.energy.get()))
            .collect();
        assert_eq!(deals, [(0, 2, half_ticks, u64::MAX / 2)], "{deal_price:?}");
        let spread = i128::from(u32::MAX) * i128::from(u64::MAX / 2);
        assert_eq!(
            (round::welfare(&orders, &cleared.deals), round::welfare_max(&orders)),
            (spread, spread)
        );
    }
}
