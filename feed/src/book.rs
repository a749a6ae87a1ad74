//! The books of all contracts as the public stream tells them: levels (L2) and orders in queue order (L3).
//!
//! # Contract
//! * [`Books::take`] takes the public stream from its first message on, or what a BOOK session says: a snapshot, then the
//!   stream from the number that it names.
//! * What is shown is always a book between two records: changes wait for the EventEnd of their record, and the orders of a
//!   snapshot for its SnapshotEnd.
//! * Energy that an order hides is not in it.

use crate::sbe::Outbound;
use crate::sbe::event::OrderView;
use crate::sbe::session::SnapshotOrder;
use std::collections::BTreeMap;
use wattbook_types::Side;

/// Why messages are no public stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BookError {
    /// A record's changes did not all come.
    #[error("record {seq} changed the books {due} times, of which {came} came")]
    Changes {
        /// The record.
        seq: u64,
        /// How many it says.
        due: u64,
        /// How many came.
        came: u64,
    },
    /// The orders of a snapshot did not all come.
    #[error("a snapshot of {due} orders brought {came}")]
    Orders {
        /// How many it says.
        due: u64,
        /// How many came.
        came: u64,
    },
}

/// An order as anybody may know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicOrder {
    /// Its public name.
    pub reference: u64,
    /// Its owner's pseudonym within the contract.
    pub participant: u64,
    /// Limit, ticks.
    pub price: i64,
    /// Energy shown, Wh.
    pub leaves_wh: u64,
}

/// A price with what stands there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// Limit, ticks.
    pub price: i64,
    /// Energy shown, Wh.
    pub energy_wh: u64,
    /// Orders.
    pub orders: u64,
}

/// Where an order stands: the better price and the earlier arrival first.
type Place = (i64, u64);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Book {
    bids: BTreeMap<Place, PublicOrder>,
    asks: BTreeMap<Place, PublicOrder>,
    places: BTreeMap<u64, (bool, Place)>,
}

impl Book {
    const fn half(&mut self, bid: bool) -> &mut BTreeMap<Place, PublicOrder> {
        if bid { &mut self.bids } else { &mut self.asks }
    }

    fn put(&mut self, bid: bool, order: PublicOrder, arrival: u64) {
        self.remove(order.reference);
        let better = if bid { order.price.wrapping_neg() } else { order.price };
        let place = (better, arrival);
        self.places.insert(order.reference, (bid, place));
        self.half(bid).insert(place, order);
    }

    fn remove(&mut self, reference: u64) -> Option<(bool, Place, PublicOrder)> {
        let (bid, place) = self.places.remove(&reference)?;
        let order = self.half(bid).remove(&place)?;
        Some((bid, place, order))
    }

    /// Of an order that does not rest, nothing is known and nothing changes.
    fn set_leaves(&mut self, reference: u64, leaves_wh: u64) {
        if leaves_wh == 0 {
            self.remove(reference);
        } else if let Some((bid, place)) = self.places.get(&reference).copied()
            && let Some(order) = self.half(bid).get_mut(&place)
        {
            order.leaves_wh = leaves_wh;
        }
    }

    /// Gives an order another name and quantity where it stands.
    fn rename(&mut self, was: u64, order: &OrderView, leaves_wh: u64) {
        if let Some((bid, place, old)) = self.remove(was) {
            let order = PublicOrder {
                reference: order.reference,
                participant: order.participant,
                leaves_wh,
                ..old
            };
            self.places.insert(order.reference, (bid, place));
            self.half(bid).insert(place, order);
        }
    }
}

/// The books.
#[derive(Clone, Debug, Default)]
pub struct Books {
    books: BTreeMap<u64, Book>,
    arrivals: u64,
    /// What is not shown yet.
    waiting: Vec<Outbound>,
    seq: u64,
}

/// They show the same.
impl PartialEq for Books {
    fn eq(&self, other: &Self) -> bool {
        let shown = |books: &Self| -> Vec<SnapshotOrder> { books.snapshot().collect() };
        shown(self) == shown(other)
    }
}

const fn is_bid(side: u8) -> bool {
    side == Side::Buy as u8
}

impl Books {
    /// Empty books, before the first message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last record whose changes are shown.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Takes the next message; whether what is shown may have changed.
    ///
    /// # Errors
    /// [`BookError`]: messages are missing, and the books are to be joined anew.
    pub fn take(&mut self, message: &Outbound) -> Result<bool, BookError> {
        match message {
            Outbound::Opened(_)
            | Outbound::Reduced(_)
            | Outbound::Closed(_)
            | Outbound::Executed(_)
            | Outbound::SnapshotOrder(_) => {
                self.waiting.push(*message);
                Ok(false)
            }
            Outbound::EventEnd(end) => {
                let (seq, due, came) = (end.seq, end.changes, self.waiting.len() as u64);
                if due != came {
                    return Err(BookError::Changes { seq, due, came });
                }
                self.show(seq);
                Ok(true)
            }
            Outbound::SnapshotEnd(end) => {
                let (due, came) = (end.orders, self.waiting.len() as u64);
                if due != came {
                    return Err(BookError::Orders { due, came });
                }
                self.books.clear();
                self.show(end.seq);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn show(&mut self, seq: u64) {
        self.seq = seq;
        let mut waiting = core::mem::take(&mut self.waiting);
        for message in waiting.drain(..) {
            self.apply(&message);
        }
        self.waiting = waiting;
    }

    fn apply(&mut self, message: &Outbound) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let contract = match message {
            Outbound::Opened(m) => {
                let order = PublicOrder {
                    reference: m.order.reference,
                    participant: m.order.participant,
                    price: m.price,
                    leaves_wh: m.leaves_wh,
                };
                self.book(m.contract).put(is_bid(m.side), order, arrival);
                m.contract
            }
            Outbound::SnapshotOrder(m) => {
                let order = PublicOrder {
                    reference: m.reference,
                    participant: m.participant,
                    price: m.price,
                    leaves_wh: m.leaves_wh,
                };
                self.book(m.contract).put(is_bid(m.side), order, arrival);
                m.contract
            }
            Outbound::Reduced(m) => {
                self.book(m.contract).rename(m.was.reference, &m.order, m.leaves_wh);
                m.contract
            }
            Outbound::Closed(m) => {
                self.book(m.contract).remove(m.order.reference);
                m.contract
            }
            Outbound::Executed(m) => {
                let book = self.book(m.contract);
                book.set_leaves(m.buyer.reference, m.buyer_leaves_wh);
                book.set_leaves(m.seller.reference, m.seller_leaves_wh);
                m.contract
            }
            _ => return,
        };
        if self.books.get(&contract).is_some_and(|book| book.places.is_empty()) {
            self.books.remove(&contract);
        }
    }

    fn book(&mut self, contract: u64) -> &mut Book {
        self.books.entry(contract).or_default()
    }

    /// Contracts in whose books anything stands.
    pub fn contracts(&self) -> impl Iterator<Item = u64> {
        self.books.keys().copied()
    }

    /// Orders of a side in price-time order.
    pub fn orders(&self, contract: u64, side: Side) -> impl Iterator<Item = &PublicOrder> {
        let book = self.books.get(&contract);
        let half = book.map(|book| if side == Side::Buy { &book.bids } else { &book.asks });
        half.into_iter().flat_map(BTreeMap::values)
    }

    /// Levels of a side, best first.
    pub fn depth(&self, contract: u64, side: Side) -> impl Iterator<Item = Level> {
        let mut orders = self.orders(contract, side).peekable();
        std::iter::from_fn(move || {
            let first = orders.next()?;
            let mut level = Level {
                price: first.price,
                energy_wh: first.leaves_wh,
                orders: 1,
            };
            while let Some(order) = orders.next_if(|order| order.price == level.price) {
                level.energy_wh = level.energy_wh.saturating_add(order.leaves_wh);
                level.orders += 1;
            }
            Some(level)
        })
    }

    /// What is shown, as the messages that tell it: contracts ascending, bids before asks, each in price-time order.
    pub fn snapshot(&self) -> impl Iterator<Item = SnapshotOrder> {
        let halves = self.books.iter().flat_map(|(contract, book)| {
            [(Side::Buy, &book.bids), (Side::Sell, &book.asks)].map(|(side, half)| (*contract, side, half))
        });
        halves.flat_map(|(contract, side, half)| {
            half.values().map(move |order| SnapshotOrder {
                contract,
                reference: order.reference,
                participant: order.participant,
                price: order.price,
                leaves_wh: order.leaves_wh,
                side: side as u8,
                reserved: [0; 7],
            })
        })
    }

    /// Number of orders shown.
    pub fn len(&self) -> usize {
        self.books.values().map(|book| book.places.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.books.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbe::event::{Closed, Executed, Opened, Reduced};
    use crate::sbe::session::{EventEnd, SnapshotEnd};
    use bytemuck::Zeroable;

    fn named(reference: u64) -> OrderView {
        OrderView {
            reference,
            participant: reference + 100,
            ..OrderView::zeroed()
        }
    }

    fn opened(reference: u64, side: Side, price: i64, leaves_wh: u64) -> Outbound {
        Outbound::Opened(Opened {
            order: named(reference),
            contract: 7,
            price,
            leaves_wh,
            side: side as u8,
            ..Opened::zeroed()
        })
    }

    fn take(books: &mut Books, seq: u64, changes: &[Outbound]) {
        let before = books.clone();
        for change in changes {
            assert_eq!(books.take(change), Ok(false));
            assert!(*books == before, "half of a record is shown");
        }
        let changes = changes.len() as u64;
        assert_eq!(books.take(&Outbound::EventEnd(EventEnd { seq, changes })), Ok(true));
    }

    fn queue(books: &Books, side: Side) -> Vec<(u64, i64, u64)> {
        let of = |order: &PublicOrder| (order.reference, order.price, order.leaves_wh);
        books.orders(7, side).map(of).collect()
    }

    #[test]
    fn orders_keep_their_places_and_half_a_record_is_never_shown() {
        let mut books = Books::new();
        take(
            &mut books,
            1,
            &[opened(1, Side::Sell, 50, 10), opened(2, Side::Sell, 50, 20)],
        );
        take(
            &mut books,
            2,
            &[
                opened(3, Side::Sell, 40, 5),
                opened(4, Side::Buy, 30, 9),
                opened(5, Side::Buy, 31, 9),
            ],
        );
        let reduced = Reduced {
            order: named(6),
            was: named(1),
            contract: 7,
            leaves_wh: 8,
            ..Reduced::zeroed()
        };
        let executed = Executed {
            contract: 7,
            buyer: named(9),
            seller: named(3),
            buyer_leaves_wh: 4,
            seller_leaves_wh: 2,
            ..Executed::zeroed()
        };
        let closed = Closed {
            order: named(4),
            contract: 7,
            ..Closed::zeroed()
        };
        take(
            &mut books,
            3,
            &[
                Outbound::Reduced(reduced),
                Outbound::Executed(executed),
                Outbound::Closed(closed),
            ],
        );
        assert_eq!(queue(&books, Side::Sell), [(3, 40, 2), (6, 50, 8), (2, 50, 20)]);
        assert_eq!(queue(&books, Side::Buy), [(5, 31, 9)]);
        let levels: Vec<Level> = books.depth(7, Side::Sell).collect();
        let level = |price, energy_wh, orders| Level {
            price,
            energy_wh,
            orders,
        };
        assert_eq!(levels, [level(40, 2, 1), level(50, 28, 2)]);
        // A new tranche queues at the end; an order that is used up is gone.
        let last = Executed {
            seller_leaves_wh: 0,
            ..executed
        };
        take(&mut books, 4, &[Outbound::Executed(last), opened(6, Side::Sell, 50, 3)]);
        assert_eq!(queue(&books, Side::Sell), [(2, 50, 20), (6, 50, 3)]);
        // A late joiner shows nothing before the end of the snapshot, and then the same.
        let mut late = Books::new();
        for order in books.snapshot() {
            assert_eq!(late.take(&Outbound::SnapshotOrder(order)), Ok(false));
            assert_eq!(late.contracts().count(), 0);
        }
        let end = SnapshotEnd {
            next: 12,
            height: 3,
            seq: 4,
            orders: books.len() as u64,
        };
        assert_eq!(end.orders, 3);
        assert_eq!(late.take(&Outbound::SnapshotEnd(end)), Ok(true));
        assert!(late == books && late.seq() == 4);
        assert_eq!(
            late.take(&Outbound::EventEnd(EventEnd { seq: 5, changes: 1 })),
            Err(BookError::Changes {
                seq: 5,
                due: 1,
                came: 0
            })
        );
        let short = SnapshotEnd { orders: 4, ..end };
        assert_eq!(
            Books::new().take(&Outbound::SnapshotEnd(short)),
            Err(BookError::Orders { due: 4, came: 0 })
        );
    }
}
