//! The flows every engine is given: the same operations, decided by a reference book, from a seed.
//!
//! # Contract
//! * 55 % passive, 35 % cancels, 10 % aggressive (jumps: 67, 23, 10), after a prefill that is not timed. The middle walks
//!   by a tick, passive orders lie an exponential distance from it, a cancel takes any live order, an aggressive one is
//!   priced at the other side's best or up to four ticks through it and rests what it cannot take.
//! * A flow is known by the hash of its trades, [`Totals::hash`]; an engine that trades otherwise is wrong.
//! * Owners come from a stream of their own, so that the trades do not depend on them.

#![expect(clippy::float_arithmetic, reason = "chances and distances of a generator, not state")]

use std::collections::{BTreeMap, VecDeque};

/// Participants the orders are drawn for.
pub(crate) const OWNERS: u16 = 5_000;
/// Operations between two far-apart middles of [`Prices::Jumps`].
const JUMP_EVERY: usize = 1_000;
/// Distance of those middles from 50,000, ticks.
const JUMP: i32 = 1_000_000_000;
/// Where the middle starts, and how far it may walk, ticks.
const MID: (i32, i32, i32) = (42_000, 50_000, 58_000);
/// Mean and limit of a passive order's distance from the middle, ticks.
const DISTANCE: (f64, i32) = (60.0, 500);
/// The middle moves by a tick once in this many operations.
const WALK: u32 = 16;
/// Chance of an aggressive order.
const AGGRESSIVE: f64 = 0.10;
/// How strongly the chance of a cancel answers to the number of live orders.
const GAIN: f64 = 0.05;

/// xoshiro256++ (Blackman, Vigna), seeded by SplitMix64.
pub(crate) struct Rng([u64; 4]);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut split = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        Self([split(), split(), split(), split()])
    }

    fn any(&mut self) -> u64 {
        let s = &mut self.0;
        let drawn = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        drawn
    }

    /// A number below `bound`, by multiplication of the upper 32 bits.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.any() >> 32) * u64::from(bound)) >> 32) as u32
    }

    fn coin(&mut self) -> bool {
        self.any() >> 63 == 1
    }

    /// 53 bits of a number in [0, 1), `offset` units above their floor.
    fn unit(&mut self, offset: f64) -> f64 {
        ((self.any() >> 11) as f64 + offset) / (1u64 << 53) as f64
    }

    /// Floor of an exponential distance, drawn again until it is below the limit.
    fn distance(&mut self) -> i32 {
        let (mean, limit) = DISTANCE;
        loop {
            let distance = (-self.unit(0.5).ln() * mean) as i32;
            if distance < limit {
                return distance;
            }
        }
    }
}

/// Bid or ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Side {
    Buy = 0,
    Sell = 1,
}

impl Side {
    const fn of(sell: bool) -> Self {
        if sell { Self::Sell } else { Self::Buy }
    }
}

/// What an operation is; statistics are by class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Class {
    /// An order priced off the middle; a few cross all the same.
    Passive = 0,
    /// A cancel of a live order.
    Cancel = 1,
    /// An order priced to trade.
    Aggressive = 2,
}

impl Class {
    /// Every class, by index.
    pub(crate) const ALL: [Self; 3] = [Self::Passive, Self::Cancel, Self::Aggressive];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Cancel => "cancel",
            Self::Aggressive => "aggressive",
        }
    }
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Op {
    /// Dense: the n-th order has n; a cancel names its order.
    pub(crate) id: u32,
    /// Of an order; 0 in a cancel.
    pub(crate) qty: u32,
    /// Limit, ticks; 0 in a cancel.
    pub(crate) price: i32,
    /// Who owns the order, below [`OWNERS`].
    pub(crate) owner: u16,
    /// Side of the order.
    pub(crate) side: Side,
    pub(crate) class: Class,
}

const _: () = assert!(size_of::<Op>() == 16);

/// What an engine has traded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Totals {
    pub(crate) trades: u64,
    pub(crate) volume: u64,
    /// FNV-1a over maker, taker, price and quantity of every trade, word by word.
    pub(crate) hash: u64,
}

impl Totals {
    pub(crate) const fn new() -> Self {
        Self {
            trades: 0,
            volume: 0,
            hash: 0xCBF2_9CE4_8422_2325,
        }
    }

    pub(crate) fn trade(&mut self, maker: u32, taker: u32, price: i32, qty: u32) {
        self.trades += 1;
        self.volume += u64::from(qty);
        for word in [maker, taker, price.cast_unsigned(), qty] {
            self.hash = (self.hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

/// Where the prices of a flow lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prices {
    /// Tick by tick around 50,000.
    Dense,
    /// The same trades with 130,000 ticks for one: over most of `i32`.
    Wide,
    /// Blocks of 1,000 operations around two middles 2,000,000,000 ticks apart.
    Jumps,
}

/// What a flow is generated from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Orders before the clock starts.
    pub(crate) prefill: usize,
    /// Operations under the clock.
    pub(crate) timed: usize,
    /// Live orders the flow tends to.
    pub(crate) target: f64,
    /// Chance of a cancel with as many.
    pub(crate) cancel: f64,
    pub(crate) prices: Prices,
    pub(crate) seed: u64,
}

/// About 30,000 live orders.
pub(crate) const STANDARD: Shape = Shape {
    name: "standard",
    prefill: 30_000,
    timed: 2_000_000,
    target: 30_000.0,
    cancel: 0.35,
    prices: Prices::Dense,
    seed: 42,
};
/// Over half a million live orders: past every cache but the last.
pub(crate) const DEEP: Shape = Shape {
    name: "deep",
    prefill: 1_000_000,
    target: 1_000_000.0,
    ..STANDARD
};
/// [`STANDARD`] over most of `i32`.
pub(crate) const WIDE: Shape = Shape {
    name: "wide",
    prices: Prices::Wide,
    ..STANDARD
};
/// Two far-apart middles in turn. Half of the passive orders meet the other middle's, so fewer are cancelled.
pub(crate) const JUMPS: Shape = Shape {
    name: "jumps",
    cancel: 0.23,
    prices: Prices::Jumps,
    ..STANDARD
};

/// The obvious book: sorted levels of queues; cancelled orders leave their queue when they are met.
#[derive(Default)]
pub(crate) struct Reference {
    levels: [BTreeMap<i32, Queue>; 2],
    orders: Vec<Resting>,
    /// Ids, in the order that cancels draw from.
    live: Vec<u32>,
}

#[derive(Default)]
struct Queue {
    ids: VecDeque<u32>,
    live: u32,
}

#[derive(Clone, Copy)]
struct Resting {
    leaves: u32,
    price: i32,
    side: Side,
    /// Place in [`Reference::live`].
    place: Option<u32>,
}

impl Reference {
    /// The best price of a side.
    fn best(&self, side: Side) -> Option<i32> {
        let level = match side {
            Side::Buy => self.levels[0].last_key_value(),
            Side::Sell => self.levels[1].first_key_value(),
        };
        level.map(|(price, _)| *price)
    }

    /// Takes an order out of the live ones.
    fn bury(&mut self, id: u32) {
        let place = self.orders[id as usize].place.take().expect("the order is live");
        self.live.swap_remove(place as usize);
        if let Some(moved) = self.live.get(place as usize) {
            self.orders[*moved as usize].place = Some(place);
        }
    }

    fn add(&mut self, op: &Op, totals: &mut Totals) {
        let opposite = if op.side == Side::Buy { Side::Sell } else { Side::Buy };
        let mut leaves = op.qty;
        while leaves > 0 {
            let crossed = |best: &i32| match op.side {
                Side::Buy => *best <= op.price,
                Side::Sell => *best >= op.price,
            };
            let Some(price) = self.best(opposite).filter(crossed) else {
                break;
            };
            let mut queue = self.levels[opposite as usize]
                .remove(&price)
                .expect("the best level exists");
            while leaves > 0 && queue.live > 0 {
                let maker = queue.ids[0];
                let resting = &mut self.orders[maker as usize];
                if resting.place.is_none() {
                    queue.ids.pop_front();
                    continue;
                }
                let qty = leaves.min(resting.leaves);
                resting.leaves -= qty;
                leaves -= qty;
                totals.trade(maker, op.id, price, qty);
                if resting.leaves == 0 {
                    queue.ids.pop_front();
                    queue.live -= 1;
                    self.bury(maker);
                }
            }
            if queue.live > 0 {
                self.levels[opposite as usize].insert(price, queue);
            }
        }
        assert_eq!(self.orders.len(), op.id as usize, "ids are dense");
        let place = (leaves > 0).then_some(self.live.len() as u32);
        self.orders.push(Resting {
            leaves,
            price: op.price,
            side: op.side,
            place,
        });
        if leaves > 0 {
            self.live.push(op.id);
            let queue = self.levels[op.side as usize].entry(op.price).or_default();
            queue.ids.push_back(op.id);
            queue.live += 1;
        }
    }

    fn cancel(&mut self, id: u32) {
        let Resting { price, side, .. } = self.orders[id as usize];
        self.bury(id);
        let levels = &mut self.levels[side as usize];
        let queue = levels.get_mut(&price).expect("a live order has a level");
        queue.live -= 1;
        if queue.live == 0 {
            levels.remove(&price);
        }
    }

    pub(crate) fn apply(&mut self, op: &Op, totals: &mut Totals) {
        match op.class {
            Class::Cancel => self.cancel(op.id),
            Class::Passive | Class::Aggressive => self.add(op, totals),
        }
    }
}

/// A generated flow.
pub(crate) struct Flow {
    pub(crate) shape: Shape,
    /// Prefill first.
    pub(crate) ops: Vec<Op>,
    /// Orders there are, all in all.
    pub(crate) orders: u32,
    /// Of prefill and timed operations together.
    pub(crate) totals: Totals,
    /// Orders that still rest at the end.
    pub(crate) resting: Vec<u32>,
}

impl Flow {
    pub(crate) fn generate(shape: Shape) -> Self {
        let (low, mut mid, high) = MID;
        let mut rng = Rng::new(shape.seed);
        let mut book = Reference::default();
        let mut totals = Totals::new();
        let mut owners = Rng::new(shape.seed ^ 0x0077_6E65_7273);
        let mut owned: Vec<u16> = Vec::new();
        let mut ops = Vec::with_capacity(shape.prefill + shape.timed);
        for i in 0..shape.prefill + shape.timed {
            if rng.below(2 * WALK) < 2 {
                mid = (mid + if rng.coin() { -1 } else { 1 }).clamp(low, high);
            }
            let class = if i < shape.prefill {
                Class::Passive
            } else {
                let excess = (book.live.len() as f64 - shape.target) / shape.target;
                let cancel = shape.cancel + (excess * GAIN).clamp(-0.10, 0.10);
                let drawn = rng.unit(0.0);
                if drawn < AGGRESSIVE {
                    Class::Aggressive
                } else if drawn < AGGRESSIVE + cancel && !book.live.is_empty() {
                    Class::Cancel
                } else {
                    Class::Passive
                }
            };
            let side = Side::of(rng.coin());
            let qty = 1 + rng.below(1_000);
            let op = if class == Class::Cancel {
                let id = book.live[rng.below(book.live.len() as u32) as usize];
                let side = book.orders[id as usize].side;
                Op {
                    id,
                    qty: 0,
                    price: 0,
                    owner: owned[id as usize],
                    side,
                    class,
                }
            } else {
                let through = rng.below(5) as i32;
                let distance = 1 + rng.distance();
                let middle = shape.middle(mid, i);
                let best = match side {
                    Side::Buy => book.best(Side::Sell).map(|price| price + through),
                    Side::Sell => book.best(Side::Buy).map(|price| price - through),
                };
                let (price, class) = match (class, best, side) {
                    (Class::Aggressive, Some(price), _) => (price, class),
                    (_, _, Side::Buy) => (middle - distance, Class::Passive),
                    (_, _, Side::Sell) => (middle + distance, Class::Passive),
                };
                let owner = owners.below(OWNERS.into()) as u16;
                owned.push(owner);
                Op {
                    id: book.orders.len() as u32,
                    qty,
                    price,
                    owner,
                    side,
                    class,
                }
            };
            book.apply(&op, &mut totals);
            ops.push(op);
        }
        let mut flow = Self {
            shape,
            orders: book.orders.len() as u32,
            ops,
            totals,
            resting: book.live,
        };
        if shape.prices == Prices::Wide {
            for op in flow.ops.iter_mut().filter(|op| op.class != Class::Cancel) {
                op.price = (op.price - MID.1) * 130_000;
            }
            flow.totals = flow.totals_of(flow.ops.len());
        }
        flow
    }

    /// Operations under the clock.
    pub(crate) fn timed(&self) -> &[Op] {
        &self.ops[self.shape.prefill..]
    }

    /// What the reference book trades in the first `len` operations.
    pub(crate) fn totals_of(&self, len: usize) -> Totals {
        let mut book = Reference::default();
        let mut totals = Totals::new();
        for op in &self.ops[..len] {
            book.apply(op, &mut totals);
        }
        totals
    }
}

impl Shape {
    /// Where passive orders of operation `i` are centred.
    const fn middle(&self, mid: i32, i: usize) -> i32 {
        match self.prices {
            Prices::Dense | Prices::Wide => mid,
            Prices::Jumps if (i / JUMP_EVERY).is_multiple_of(2) => mid - JUMP,
            Prices::Jumps => mid + JUMP,
        }
    }
}

/// Reputation percentile of every owner, ppm: each rank once, shuffled.
pub(crate) fn percentiles(seed: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed ^ 0x0070_6374);
    let mut ranks: Vec<u32> = (0..u32::from(OWNERS))
        .map(|rank| rank * (1_000_000 / u32::from(OWNERS)))
        .collect();
    for last in (1..u32::from(OWNERS)).rev() {
        ranks.swap(last as usize, rng.below(last + 1) as usize);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_is_the_flow_the_figures_to_beat_were_measured_on() {
        let flow = Flow::generate(STANDARD);
        assert_eq!(flow.totals.hash, 0xECFA_CBFB_EC9A_7BEE);
        assert_eq!(flow.totals_of(flow.ops.len()), flow.totals);
    }

    #[test]
    fn deep_is_the_flow_the_figures_to_beat_were_measured_on() {
        assert_eq!(Flow::generate(DEEP).totals.hash, 0xAD47_78F4_BC9B_7A31);
    }

    #[test]
    fn wide_trades_as_standard_does() {
        let (wide, standard) = (Flow::generate(WIDE), Flow::generate(STANDARD));
        assert_eq!(
            (wide.totals.trades, wide.totals.volume),
            (standard.totals.trades, standard.totals.volume)
        );
        assert_ne!(wide.totals.hash, standard.totals.hash);
    }

    #[test]
    fn jumps_keeps_both_middles_alive() {
        let flow = Flow::generate(JUMPS);
        assert_eq!(flow.totals.hash, 0x31FA_CD1E_4A70_2EFC);
        let orders = flow.ops.iter().filter(|op| op.class != Class::Cancel);
        let prices: Vec<i32> = orders.map(|op| op.price).collect();
        let low = flow.resting.iter().filter(|id| prices[**id as usize] < 0).count();
        let high = flow.resting.len() - low;
        assert!(low > 10_000 && high > 10_000, "{low} low, {high} high");
    }

    #[test]
    fn every_rank_is_given_once() {
        let mut ranks = percentiles(1);
        assert!(!ranks.is_sorted());
        ranks.sort_unstable();
        assert!(ranks.windows(2).all(|pair| pair[1] == pair[0] + 200));
    }
}
