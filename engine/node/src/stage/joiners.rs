//! The books for sessions that join late, read from the market between two records.
//!
//! # Invariants
//! * However many sessions ask, the books are read at most once in a while that grows with them.

use super::{ShownBooks, ShownOrder};
use std::time::{Duration, Instant};
use wattbook_market::Market;
use wattbook_types::Side;

/// Least time from one reading of the books for sessions that join to the next.
const INTERVAL: Duration = Duration::from_millis(50);
/// What each order adds to it: tens of times what reading it takes.
const INTERVAL_PER_ORDER: Duration = Duration::from_micros(2);

/// When the books may be read again.
#[derive(Debug, Default)]
pub(super) struct Joiners {
    due: Option<Instant>,
}

impl Joiners {
    /// The books in the block under way, after record `seq`, unless the last ones are young enough for whoever joins now.
    pub(super) fn books(&mut self, market: &Market, height: u64, seq: u64) -> Option<Box<ShownBooks>> {
        let now = Instant::now();
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        let mut orders = Vec::new();
        for (id, contract) in market.state().contracts.iter() {
            for side in [Side::Buy, Side::Sell] {
                orders.extend(contract.book.side(side).map(|order| ShownOrder {
                    contract: *id,
                    id: order.id,
                    side,
                    price: order.price,
                    shown: order.shown,
                }));
            }
        }
        let count = u32::try_from(orders.len()).unwrap_or(u32::MAX);
        self.due = Some(now + INTERVAL + INTERVAL_PER_ORDER.saturating_mul(count));
        Some(Box::new(ShownBooks { height, seq, orders }))
    }
}
