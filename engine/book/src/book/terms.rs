//! What a book is asked, and what it answers.

use crate::slab::{Handle, Owner};
use wattbook_types::{RangeMode, SelfTrade, Side, TimeInForce};

/// What holds for every order of a book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Who may trade with whom; other than `Off` only in a [`RangedBook`](crate::RangedBook).
    pub range: RangeMode,
    /// Least bid - ask, ticks.
    pub spread_min: i64,
}

/// An order that comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// Whose.
    pub owner: Owner,
    /// Bid or ask.
    pub side: Side,
    /// Limit, ticks; of a market-to-limit order, the worst price it takes.
    pub price: i32,
    /// Energy, Wh; not zero.
    pub energy: u32,
    /// Least energy of an execution, Wh; a remainder below it is exempt.
    pub min_fill: u32,
    /// Energy shown at a time once it rests, Wh; zero: all.
    pub display: u32,
    /// Its life.
    pub time_in_force: TimeInForce,
    /// Takes the first price it gets as its limit.
    pub market_to_limit: bool,
    /// What happens when it meets its own group.
    pub self_trade: SelfTrade,
    /// Whether a buyer's cap covers the charge; otherwise it can only rest.
    pub covered: bool,
}

impl Incoming {
    /// A plain order that rests until the gate.
    pub const fn limit(owner: Owner, side: Side, price: i32, energy: u32) -> Self {
        Self {
            owner,
            side,
            price,
            energy,
            min_fill: 0,
            display: 0,
            time_in_force: TimeInForce::Gate,
            market_to_limit: false,
            self_trade: SelfTrade::CancelNewest,
            covered: true,
        }
    }

    /// Rests until it is told not to, and nothing but price and range stands between it and an execution.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self.time_in_force, TimeInForce::Gate | TimeInForce::Until)
            && self.min_fill | self.display == 0
            && self.covered
            && !self.market_to_limit
    }
}

/// What a resting order is to show, hide and ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Amended {
    /// Shown, Wh; not zero.
    pub leaves: u32,
    /// Hidden, Wh.
    pub hidden: u32,
    /// Least energy of an execution, Wh.
    pub min_fill: u32,
    /// Energy shown at a time, Wh; zero: all.
    pub display: u32,
    /// Whether a buyer's cap covers the charge.
    pub covered: bool,
}

/// Why a sweep left energy over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing is left.
    None,
    /// No opposite order.
    NoCounterparty,
    /// The network charge exceeds the buyer's cap.
    ChargeCap,
    /// No opposite order at a price that closes.
    PriceNotMet,
    /// Eligible energy is left, none of it in range.
    OutOfRange,
    /// All eligible energy has been taken.
    Exhausted,
    /// The next order to take belongs to the same group.
    SelfTrade,
}

/// What became of an incoming order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `false`: a post-only order that would trade; nothing changed.
    pub taken: bool,
    /// Where it rests.
    pub rests: Option<Handle>,
    /// Energy neither dealt nor dropped.
    pub left: u32,
    /// Why that much is left.
    pub rest: Rest,
    /// Its limit now: other than its price only for a market-to-limit order that traded.
    pub limit: i32,
}

/// What a sweep would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Energy it would deal.
    pub filled: u32,
    /// Why the rest would be left.
    pub rest: Rest,
}
