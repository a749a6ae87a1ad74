//! Random commands with every option, shrinkable by proptest or drawn from a seed.

use proptest::prelude::*;
use wattbook_book::{Incoming, Owner, Standing};
use wattbook_types::{Ppm, SelfTrade, Side, TimeInForce};

/// A command.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// An order comes in.
    Submit(Incoming),
    /// Cancels a resting order, by its position among those alive.
    Cancel(usize),
    /// Takes a share of a resting order, as a round does.
    Take(usize, u32),
    /// Reduces a resting order where it stands.
    Amend(usize, u32),
    /// Rests an order without matching.
    Rest(Incoming),
    /// Asks what an order would do if a resting one were gone.
    ProbeWithout(usize, Incoming),
}

pub(crate) const OWNERS: u32 = 9;

fn incoming(prices: i32) -> impl Strategy<Value = Incoming> {
    let lives = prop_oneof![
        6 => Just(TimeInForce::Gate),
        2 => Just(TimeInForce::Ioc),
        2 => Just(TimeInForce::Fok),
        1 => Just(TimeInForce::PostOnly),
        1 => Just(TimeInForce::Until),
    ];
    let shown = prop_oneof![3 => Just(0u32), 1 => 1u32..12];
    let min_fill = prop_oneof![4 => Just(0u32), 1 => 1u32..15];
    let selves = prop_oneof![
        Just(SelfTrade::CancelNewest),
        Just(SelfTrade::CancelOldest),
        Just(SelfTrade::CancelBoth),
        Just(SelfTrade::Decrement)
    ];
    let numbers = (0..OWNERS, any::<bool>(), -prices..=prices, 1u32..40);
    (numbers, lives, shown, min_fill, selves, 0u32..12, 0u32..15).prop_map(
        |((owner, buy, price, energy), time_in_force, display, min_fill, self_trade, to_limit, cover)| Incoming {
            owner: Owner::new(owner),
            side: if buy { Side::Buy } else { Side::Sell },
            price,
            energy,
            min_fill: min_fill.min(energy).min(if display == 0 { u32::MAX } else { display }),
            display,
            time_in_force,
            market_to_limit: to_limit == 0 && time_in_force != TimeInForce::PostOnly,
            self_trade,
            covered: !buy || cover != 0,
        },
    )
}

pub(crate) fn op(prices: i32) -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => incoming(prices).prop_map(Op::Submit),
        3 => any::<usize>().prop_map(Op::Cancel),
        1 => (any::<usize>(), 1u32..40).prop_map(|(at, energy)| Op::Take(at, energy)),
        1 => (any::<usize>(), 1u32..40).prop_map(|(at, energy)| Op::Amend(at, energy)),
        1 => incoming(prices).prop_map(Op::Rest),
        1 => (any::<usize>(), incoming(prices)).prop_map(|(at, order)| Op::ProbeWithout(at, order)),
    ]
}

pub(crate) fn standing() -> impl Strategy<Value = Vec<Standing>> {
    let one = (0u32..4, 0u32..=10, 0u32..8).prop_map(|(reputation, percentile, group)| Standing {
        reputation: Ppm::new(reputation * 250_000),
        percentile: Ppm::new(percentile * 100_000),
        group: if group < 2 { group } else { Standing::ALONE },
    });
    proptest::collection::vec(one, OWNERS as usize)
}

/// Numbers from a seed (xorshift).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
