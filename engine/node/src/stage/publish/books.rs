//! The books of all contracts as a session that joins is told them.

use super::super::ShownBooks;
use super::put_framed;
use wattbook_feed::sbe::HEADER_SIZE;
use wattbook_feed::sbe::session::{SnapshotEnd, SnapshotOrder};
use wattbook_feed::signed::Alias;
use wattbook_feed::soupbin::{self, LoginAccepted};

/// The books as of a place in the public stream.
#[derive(Debug)]
pub(super) struct PlacedBooks {
    /// The public message behind them.
    pub(super) next: u64,
    accepted: Vec<u8>,
    /// Packets of one size, an order each.
    orders: Vec<u8>,
    end: Vec<u8>,
}

/// Size of a packet that tells an order.
const ORDER_SIZE: usize = 3 + HEADER_SIZE + size_of::<SnapshotOrder>();

impl PlacedBooks {
    /// Books before the public message `next`.
    pub(super) fn new(next: u64, books: &ShownBooks, alias: &Alias) -> Self {
        let mut bytes = Vec::new();
        let (mut accepted, mut orders, mut end) = (Vec::new(), Vec::new(), Vec::new());
        soupbin::put_login_accepted(
            &LoginAccepted {
                session: soupbin::SESSION_BOOK.into(),
                sequence: next,
            },
            &mut accepted,
        );
        orders.reserve_exact(books.orders.len() * ORDER_SIZE);
        for order in &books.orders {
            let told = SnapshotOrder {
                contract: order.contract.get(),
                reference: alias.order_reference(order.contract, order.id),
                participant: alias.pseudonym(Some(order.contract), order.id.participant),
                price: order.price.get().into(),
                leaves_wh: order.shown.get(),
                side: order.side as u8,
                reserved: [0; 7],
            };
            put_framed(&told, &mut bytes, &mut orders);
        }
        let told = SnapshotEnd {
            next,
            height: books.height,
            seq: books.seq,
            orders: books.orders.len() as u64,
        };
        put_framed(&told, &mut bytes, &mut end);
        Self {
            next,
            accepted,
            orders,
            end,
        }
    }

    /// Appends the packets of orders from `told` on, as many as take `room` bytes, and at least one; `true` once all are told.
    pub(super) fn copy(&self, told: &mut usize, room: usize, packets: &mut Vec<u8>) -> bool {
        if *told == 0 {
            packets.extend_from_slice(&self.accepted);
        }
        let most = (room / ORDER_SIZE).max(1) * ORDER_SIZE;
        let end = told.saturating_add(most).min(self.orders.len());
        packets.extend_from_slice(&self.orders[*told..end]);
        *told = end;
        let is_done = end == self.orders.len();
        if is_done {
            packets.extend_from_slice(&self.end);
        }
        is_done
    }
}
