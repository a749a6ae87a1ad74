//! The continuous book of one contract, by the names the market knows: orders by id, owners by account.
//!
//! # Contract
//! * Matching is [`wattbook_book`]'s; what that book does not need to know of an order stands beside it, by handle.
//! * An order that left the hot book keeps its row here until `Book::forget`: the records of a sweep are read after it.
//!
//! # Invariants
//! * `Book::changed` marks the page of every row that changed, the free ones with it.

use crate::accounts::{AccountIndex, Accounts};
use crate::names::Names;
use crate::page::Marks;
use crate::restore::{BookRow, free_list, names_differ};
use crate::trade::spread_min;
use wattbook_book::{Amended, Handle, Incoming, Outcome, Owner, RangedBook, Reason, Record, Rules, Silent, Stood};
use wattbook_types::units::PPM_ONE;
use wattbook_types::{Energy, OrderId, Param, Params, Ppm, Price, SelfTrade, Side, TimeInForce, TimeNs};

/// Reputation of a participant in a contract, fixed at gate opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// R of Eq 4.
    pub reputation: Ppm,
    /// Percentile; 0 is best.
    pub percentile: Ppm,
}

impl Standing {
    /// Of a participant that was not active at gate opening: a newcomer, ranked behind everyone.
    pub const UNRANKED: Self = Self {
        reputation: Ppm::new(500_000),
        percentile: Ppm::new(PPM_ONE),
    };
}

/// An order, incoming or resting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// Bid or ask.
    pub side: Side,
    /// Limit.
    pub price: Price,
    /// Greatest charge the buyer bears, ticks, defaults resolved.
    pub charge_cap: i32,
    /// Open quantity, shown and hidden.
    pub leaves: Energy,
    /// Shown part of it.
    pub shown: Energy,
    /// Energy shown at a time; zero: all.
    pub display: Energy,
    /// Least energy of an execution; a remainder below it is exempt.
    pub min_fill: Energy,
    /// Its life.
    pub time_in_force: TimeInForce,
    /// What happens when it comes in and meets its own group.
    pub self_trade: SelfTrade,
    /// Last instant of validity, with [`TimeInForce::Until`].
    pub valid_until: TimeNs,
    /// The participant's own name for it.
    pub client_order_id: u64,
    /// Place in time among the book's orders.
    pub stamp: u64,
}

impl Order {
    /// Hidden part of the open quantity.
    pub fn hidden(&self) -> Energy {
        self.leaves.minus(self.shown)
    }
}

/// What the hot book does not know of an order.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Row {
    pub(crate) id: OrderId,
    pub(crate) client_order_id: u64,
    pub(crate) valid_until: TimeNs,
    pub(crate) charge_cap: i32,
    /// Open quantity, Wh, as far as the records of a sweep have been read.
    pub(crate) open: u32,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) self_trade: SelfTrade,
}

/// The resting orders of one contract.
#[derive(Clone, Debug)]
pub struct Book {
    hot: RangedBook,
    rows: Vec<Row>,
    names: Names,
    /// `P_T`, ticks: a bid whose cap is lower is never taken.
    charge: i64,
    affiliation: bool,
    /// Accounts whose standing the hot book has been told.
    known: usize,
    pub(crate) changed: Marks,
}

/// Energy as the hot book counts it.
fn wh(energy: Energy) -> u32 {
    // BOUND: the parameter `energy_max` is at most 2^32 - 1.
    u32::try_from(energy.get()).expect("INVARIANT: orders stay below 2^32 Wh")
}

const fn energy(wh: u32) -> Energy {
    Energy::new(wh as u64)
}

const fn owner(at: AccountIndex) -> Owner {
    Owner::new(at.get())
}

impl Book {
    /// An empty book under a contract's parameters.
    pub(crate) fn new(params: &Params) -> Self {
        Self {
            hot: RangedBook::new(Rules {
                range: params.range(),
                spread_min: spread_min(params),
            }),
            rows: Vec::new(),
            names: Names::new(),
            charge: params.charge_ticks(),
            affiliation: params.on(Param::Affiliation),
            known: 0,
            changed: Marks::default(),
        }
    }

    /// Tells the hot book of accounts up to `at`: their standing, as far as they were there at gate opening, and group.
    pub(crate) fn know(&mut self, at: AccountIndex, standing: &[Standing], group: impl Fn(AccountIndex) -> u32) {
        for next in (self.known as u32..=at.get()).map(AccountIndex::new) {
            let found = standing.get(next.slot()).copied();
            let Standing { reputation, percentile } = found.unwrap_or(Standing::UNRANKED);
            let group = match group(next) {
                group if self.affiliation && group != 0 => group,
                _ => wattbook_book::Standing::ALONE,
            };
            let standing = wattbook_book::Standing {
                reputation,
                percentile,
                group,
            };
            self.hot.set_standing(owner(next), standing);
        }
        self.known = self.known.max(at.slot() + 1);
    }

    /// Whether the hot book has been told of an account.
    #[inline]
    pub(crate) fn knows(&self, at: AccountIndex) -> bool {
        at.slot() < self.known
    }

    /// Number of resting orders.
    pub fn len(&self) -> usize {
        self.hot.len()
    }

    /// Whether nothing rests.
    pub fn is_empty(&self) -> bool {
        self.hot.is_empty()
    }

    /// Where an order rests.
    #[inline]
    pub(crate) fn find(&self, id: &OrderId) -> Option<Handle> {
        self.names.find(id, |handle| self.row(handle).id == *id)
    }

    /// Reads what finding a name will need.
    #[inline]
    pub(crate) fn glance(&self, id: &OrderId) {
        if let Some(handle) = self.names.glance(id) {
            core::hint::black_box(self.row(handle).open);
            core::hint::black_box(self.hot.get(handle).is_some());
        }
    }

    /// A resting order.
    pub fn get(&self, id: &OrderId) -> Option<Order> {
        self.find(id).map(|handle| self.order(handle))
    }

    /// A resting order by its handle.
    ///
    /// # Panics
    /// If nothing rests there.
    pub(crate) fn order(&self, handle: Handle) -> Order {
        let hot = self
            .hot
            .get(handle)
            .expect("INVARIANT: a handle in use names a resting order");
        let row = self.row(handle);
        Order {
            id: row.id,
            side: hot.side(),
            price: Price::new(hot.price()),
            charge_cap: row.charge_cap,
            leaves: Energy::new(hot.open()),
            shown: energy(hot.leaves()),
            display: energy(self.hot.display(handle)),
            min_fill: energy(self.hot.min_fill(handle)),
            time_in_force: row.time_in_force,
            self_trade: row.self_trade,
            valid_until: row.valid_until,
            client_order_id: row.client_order_id,
            stamp: hot.stamp(),
        }
    }

    /// What stands beside the hot book's order.
    #[inline]
    pub(crate) fn row(&self, handle: Handle) -> &Row {
        &self.rows[handle.get() as usize]
    }

    #[inline]
    pub(crate) fn row_mut(&mut self, handle: Handle) -> &mut Row {
        &mut self.rows[handle.get() as usize]
    }

    /// A side's orders, best first.
    pub fn side(&self, side: Side) -> impl Iterator<Item = Order> + '_ {
        self.handles(side).map(|(handle, _)| self.order(handle))
    }

    /// A side's handles and owners, best first.
    pub(crate) fn handles(&self, side: Side) -> impl Iterator<Item = (Handle, AccountIndex)> + '_ {
        let orders = self.hot.side(side);
        orders.map(|(handle, order)| (handle, AccountIndex::new(order.owner().get())))
    }

    /// A participant's orders: bids, then asks, each best first.
    pub(crate) fn owned_by(&self, at: AccountIndex) -> Vec<Handle> {
        self.hot.owned_by(owner(at))
    }

    fn incoming(&self, at: AccountIndex, order: &Order, market_to_limit: bool) -> Incoming {
        Incoming {
            owner: owner(at),
            side: order.side,
            price: order.price.get(),
            energy: wh(order.leaves),
            min_fill: wh(order.min_fill),
            display: wh(order.display),
            time_in_force: order.time_in_force,
            market_to_limit,
            self_trade: order.self_trade,
            covered: self.is_covered(order.side, order.charge_cap),
        }
    }

    fn is_covered(&self, side: Side, charge_cap: i32) -> bool {
        side == Side::Sell || i64::from(charge_cap) >= self.charge
    }

    /// Takes an incoming order; the records are to be read before the book is used again.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        at: AccountIndex,
        order: &Order,
        market_to_limit: bool,
        records: &mut Vec<Record>,
    ) -> Outcome {
        let incoming = self.incoming(at, order, market_to_limit);
        self.hot.submit(&incoming, records)
    }

    /// Whether a post-only order would trade; `gone` is a resting order that it replaces.
    pub(crate) fn would_cross(&mut self, at: AccountIndex, order: &Order, gone: Option<Handle>) -> bool {
        let incoming = self.incoming(at, order, false);
        let probe = match gone {
            Some(gone) => self.hot.probe_without(gone, &incoming),
            None => self.hot.probe(&incoming),
        };
        probe.filled != 0
    }

    /// Rests an order behind the others of its price, without matching.
    pub(crate) fn rest(&mut self, at: AccountIndex, order: &Order) -> Handle {
        let incoming = self.incoming(at, order, false);
        let handle = self.hot.rest(&incoming, &mut Silent);
        self.name(handle, order);
        handle
    }

    /// Names an order that has come to rest.
    pub(crate) fn name(&mut self, handle: Handle, order: &Order) {
        let row = Row {
            id: order.id,
            client_order_id: order.client_order_id,
            valid_until: order.valid_until,
            charge_cap: order.charge_cap,
            open: wh(order.leaves),
            time_in_force: order.time_in_force,
            self_trade: order.self_trade,
        };
        let at = handle.get() as usize;
        if self.rows.len() <= at {
            self.rows.resize(at + 1, row);
        }
        self.rows[at] = row;
        debug_assert!(self.find(&order.id).is_none(), "order names are used once");
        self.names.insert(&order.id, handle);
        self.mark(handle);
    }

    /// Marks the page of a row.
    #[inline]
    pub(crate) fn mark(&mut self, handle: Handle) {
        self.changed.mark_row(handle.get() as usize);
    }

    /// Forgets the name of an order that is gone.
    pub(crate) fn forget(&mut self, handle: Handle) {
        let id = self.row(handle).id;
        self.names.remove(&id, handle);
        self.mark(handle);
    }

    /// Takes an order out and returns it as it stood.
    pub(crate) fn remove(&mut self, handle: Handle) -> Order {
        let order = self.order(handle);
        self.hot.remove(handle, Reason::Cancelled, &mut Silent);
        self.forget(handle);
        order
    }

    /// Takes energy from an order outside a sweep and returns what it shows and hides afterwards; filled whole, it is gone.
    pub(crate) fn take(&mut self, handle: Handle, amount: Energy) -> (Energy, Energy) {
        let after = self.hot.take(handle, wh(amount), &mut Silent);
        self.row_mut(handle).open -= wh(amount);
        if after.open() == 0 {
            self.forget(handle);
        } else {
            self.mark(handle);
        }
        (energy(after.leaves()), energy(after.hidden()))
    }

    /// Changes an order where it stands, under a new name.
    pub(crate) fn amend(&mut self, handle: Handle, new: &Order) {
        let covered = self.is_covered(new.side, new.charge_cap);
        let amended = Amended {
            leaves: wh(new.shown),
            hidden: wh(new.hidden()),
            min_fill: wh(new.min_fill),
            display: wh(new.display),
            covered,
        };
        self.hot.amend(handle, &amended, &mut Silent);
        self.forget(handle);
        self.name(handle, new);
    }

    /// Fills an empty book with the rows it had, from the first free one on, and the next stamp; `false`, and the book is
    /// of no use, if no book had them.
    #[must_use]
    pub(crate) fn restore(
        &mut self,
        rows: Vec<BookRow>,
        free: Option<u32>,
        next_stamp: u64,
        standing: &[Standing],
        accounts: &Accounts,
    ) -> bool {
        let Some(free) = free_list(&rows, free) else {
            return false;
        };
        let mut stood = Vec::with_capacity(rows.len() - free.len());
        for (handle, row) in (0..).map(Handle::new).zip(&rows) {
            let Ok(order) = row else { continue };
            let Some(at) = accounts.index(order.id.participant) else {
                return false;
            };
            if !self.knows(at) {
                self.know(at, standing, |at| accounts.at(at).group);
            }
            stood.push(Stood {
                handle,
                owner: owner(at),
                side: order.side,
                price: order.price.get(),
                leaves: wh(order.shown),
                hidden: wh(order.hidden()),
                min_fill: wh(order.min_fill),
                display: wh(order.display),
                covered: self.is_covered(order.side, order.charge_cap),
                stamp: order.stamp,
            });
        }
        let free: Vec<Handle> = free.into_iter().map(Handle::new).collect();
        if !names_differ(&rows) || !self.hot.restore(stood, &free, next_stamp) {
            return false;
        }
        for (handle, row) in (0..).map(Handle::new).zip(&rows) {
            match row {
                Ok(order) => self.name(handle, order),
                Err(_) => self.mark(handle),
            }
        }
        true
    }

    /// Rows, free ones included.
    pub(crate) fn rows(&self) -> usize {
        self.hot.rows()
    }

    /// The order of a row, or if it is free the free row after it.
    pub(crate) fn row_state(&self, row: usize) -> Result<Order, Option<Handle>> {
        let handle = Handle::new(row as u32);
        match self.hot.get(handle) {
            Some(_) => Ok(self.order(handle)),
            None => Err(self.hot.next_free(Some(handle))),
        }
    }

    /// The first free row and the next stamp.
    pub(crate) fn cursor(&self) -> (Option<Handle>, u64) {
        (self.hot.next_free(None), self.hot.next_stamp())
    }
}
