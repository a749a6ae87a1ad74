//! A book built again from what it was: rows, free list, stamps.
//!
//! # Contract
//! A restored book answers every later call as the one it was taken from: same records, handles and stamps.

use super::Book;
use crate::ladder::{NONE, key_of};
use crate::slab::{Handle, Owner, Row};
use wattbook_types::Side;

/// A resting order as it stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stood {
    /// Its row.
    pub handle: Handle,
    /// Whose.
    pub owner: Owner,
    /// Bid or ask.
    pub side: Side,
    /// Limit, ticks.
    pub price: i32,
    /// Shown, Wh; not zero.
    pub leaves: u32,
    /// Hidden, Wh.
    pub hidden: u32,
    /// Least energy of an execution, Wh.
    pub min_fill: u32,
    /// Energy shown at a time, Wh; zero: all.
    pub display: u32,
    /// Whether the charge is covered.
    pub covered: bool,
    /// When it took its place.
    pub stamp: u64,
}

impl<const RANGED: bool> Book<RANGED> {
    /// Fills an empty book, whose owners' standing has been set, with the orders that stood, the free rows in the order
    /// in which they are taken, and the stamp of the next order. `false`, and the book is of no use, unless every row
    /// below the number of both together is named once, stamps differ and lie below the next, and each order shows something.
    #[must_use]
    pub fn restore(&mut self, mut stood: Vec<Stood>, free: &[Handle], next_stamp: u64) -> bool {
        let rows = stood.len() + free.len();
        let mut named = vec![false; rows];
        let handles = stood.iter().map(|order| order.handle).chain(free.iter().copied());
        let once = |handle: Handle| {
            let slot = named.get_mut(handle.get() as usize);
            slot.is_some_and(|named| !core::mem::replace(named, true))
        };
        if self.rows() != 0 || rows >= NONE as usize || !handles.into_iter().all(once) {
            return false;
        }
        stood.sort_unstable_by_key(|order| order.stamp);
        let ascend = stood.windows(2).all(|pair| pair[0].stamp < pair[1].stamp);
        let last = stood.last().is_none_or(|order| order.stamp < next_stamp);
        if !ascend || !last || stood.iter().any(|order| order.leaves == 0) {
            return false;
        }
        self.slab.lay_out(rows, free);
        for order in &stood {
            let row = Row {
                side: order.side,
                key: key_of(order.side, order.price),
                leaves: order.leaves,
                hidden: order.hidden,
                owner: order.owner,
                min_fill: order.min_fill,
                display: order.display,
                covered: order.covered,
            };
            self.stamp = order.stamp;
            self.stand(order.handle.get(), &row);
        }
        self.stamp = next_stamp;
        true
    }
}
