//! One contract's book: order life from acceptance to departure.

mod restore;
mod sweep;
mod terms;

use crate::ladder::{EMPTY, Ladder, NONE, key_of, price_of};
use crate::places::{Places, Standing};
use crate::record::{Kind, Party, Reason, Record, Tape};
use crate::slab::{Handle, Order, Owner, Row, Slab};
pub use restore::Stood;
use sweep::{Scratch, Swept};
pub use terms::{Amended, Incoming, Outcome, Probe, Rest, Rules};
use wattbook_types::{RangeMode, Side, TimeInForce};

/// A book whose owners have places, so that ranges hold and an owner's orders are found.
pub type RangedBook = Book<true>;
/// A book without owners' places: ranges are off, the orders of one owner are found by looking at all.
pub type PlainBook = Book<false>;

/// The resting orders of one contract.
#[derive(Clone, Debug)]
pub struct Book<const RANGED: bool> {
    rules: Rules,
    slab: Slab,
    ladders: [Ladder<RANGED>; 2],
    places: Places<RANGED>,
    stamp: u64,
    scratch: Scratch,
}

impl<const RANGED: bool> Book<RANGED> {
    /// An empty book.
    ///
    /// # Panics
    /// With ranges on in a plain book.
    pub fn new(rules: Rules) -> Self {
        assert!(RANGED || rules.range == RangeMode::Off, "a plain book has no places");
        Self {
            rules,
            slab: Slab::new(),
            ladders: [Ladder::new(), Ladder::new()],
            places: Places::new(),
            stamp: 0,
            scratch: Scratch::default(),
        }
    }

    /// Room for as many resting orders without growing.
    pub fn reserve(&mut self, orders: usize) {
        self.slab.reserve(orders);
    }

    /// The rules.
    pub const fn rules(&self) -> Rules {
        self.rules
    }

    /// Sets what a book knows of an owner, before its first order.
    pub fn set_standing(&mut self, owner: Owner, standing: Standing) {
        debug_assert!(
            [Side::Buy, Side::Sell]
                .iter()
                .all(|&side| self.places.best_of(side, owner).is_none())
        );
        self.places.set_standing(owner, standing);
    }

    /// What it knows of an owner.
    pub fn standing(&self, owner: Owner) -> Standing {
        self.places.standing(owner)
    }

    /// Number of resting orders.
    pub const fn len(&self) -> usize {
        self.slab.len() as usize
    }

    /// Whether nothing rests.
    pub const fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// A resting order.
    #[inline]
    pub fn get(&self, handle: Handle) -> Option<&Order> {
        self.slab.get(handle.0)
    }

    /// Least execution of a resting order; zero: none.
    pub fn min_fill(&self, handle: Handle) -> u32 {
        self.slab.min_fill(handle.0)
    }

    /// What a resting order shows at a time; zero: all.
    pub fn display(&self, handle: Handle) -> u32 {
        self.slab.display(handle.0)
    }

    /// Best price of a side.
    #[inline]
    pub fn best(&self, side: Side) -> Option<i32> {
        let best = self.ladders[side.index()].best();
        (best != EMPTY).then(|| price_of(side, best as u32))
    }

    /// Stamp of the next order to rest.
    pub const fn next_stamp(&self) -> u64 {
        self.stamp
    }

    /// Rows of the slab, free ones included; handles are below.
    pub fn rows(&self) -> usize {
        self.slab.rows()
    }

    /// The free row the next order takes, or of a free row the one after it; `None` at the end of the list.
    pub fn next_free(&self, of: Option<Handle>) -> Option<Handle> {
        let next = self.slab.next_free(of.map(Handle::get));
        (next != NONE).then_some(Handle(next))
    }

    /// Bytes held for orders, levels and places, used or not.
    pub fn bytes(&self) -> usize {
        let scratch = &self.scratch;
        let lists = scratch.departed.capacity() + scratch.moved.capacity() + scratch.emptied.capacity();
        self.slab.bytes()
            + self.ladders.iter().map(Ladder::bytes).sum::<usize>()
            + self.places.bytes()
            + lists * size_of::<u32>()
    }

    /// A side's orders, best first.
    pub fn side(&self, side: Side) -> impl Iterator<Item = (Handle, &Order)> {
        let ladder = &self.ladders[side.index()];
        let mut level = ladder.first_from(0);
        let mut handle = NONE;
        core::iter::from_fn(move || {
            if handle == NONE {
                if level == EMPTY {
                    return None;
                }
                handle = ladder.peek(level as u32).map_or(NONE, |ends| ends.head);
                level = ladder.first_from(level + 1);
            }
            let order = self.slab.order(handle);
            let this = Handle(handle);
            handle = order.next;
            Some((this, order))
        })
    }

    /// A side's levels, best first: price, energy shown, orders.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = (i32, u64, u32)> {
        let ladder = &self.ladders[side.index()];
        let mut level = ladder.first_from(0);
        core::iter::from_fn(move || {
            if level == EMPTY {
                return None;
            }
            let price = price_of(side, level as u32);
            level = ladder.first_from(level + 1);
            let (energy, orders) = self.level(side, price);
            Some((price, energy, orders))
        })
    }

    /// Energy shown and number of orders at a price.
    pub fn level(&self, side: Side, price: i32) -> (u64, u32) {
        let ends = self.ladders[side.index()].peek(key_of(side, price));
        let (mut energy, mut orders) = (0, 0);
        let mut handle = ends.map_or(NONE, |ends| ends.head);
        while handle != NONE {
            let order = self.slab.order(handle);
            energy += u64::from(order.leaves);
            orders += 1;
            handle = order.next;
        }
        (energy, orders)
    }

    /// Takes an incoming order: matches it, rests what is to rest, and says so on the tape.
    ///
    /// # Panics
    /// If its energy is zero.
    #[inline]
    pub fn submit<T: Tape>(&mut self, incoming: &Incoming, tape: &mut T) -> Outcome {
        assert!(incoming.energy != 0, "an empty order cannot come in");
        let Incoming {
            owner,
            side,
            price,
            energy,
            ..
        } = *incoming;
        if incoming.is_plain() && !self.meets(side, price) {
            self.submit_passive(owner, side, price, energy, tape)
        } else {
            self.submit_any(incoming, tape)
        }
    }

    /// [`Self::submit`] of [`Incoming::limit`], an order without options.
    ///
    /// # Panics
    /// If its energy is zero.
    #[inline]
    pub fn submit_limit<T: Tape>(
        &mut self,
        owner: Owner,
        side: Side,
        price: i32,
        energy: u32,
        tape: &mut T,
    ) -> Outcome {
        assert!(energy != 0, "an empty order cannot come in");
        if self.meets(side, price) {
            self.submit_any(&Incoming::limit(owner, side, price, energy), tape)
        } else {
            self.submit_passive(owner, side, price, energy, tape)
        }
    }

    /// Whether an opposite order closes with a price.
    #[inline]
    fn meets(&self, side: Side, price: i32) -> bool {
        let best = self.ladders[side.opposite().index()].best();
        self.limit_key(side, price)
            .is_some_and(|limit| best <= u64::from(limit))
    }

    /// Rests a plain order that meets nobody: most orders of most days.
    #[inline(always)]
    fn submit_passive<T: Tape>(&mut self, owner: Owner, side: Side, price: i32, energy: u32, tape: &mut T) -> Outcome {
        let handle = self.slab.claim();
        let subject = Party {
            handle: Handle(handle),
            owner,
            leaves: energy,
        };
        let (kind, nobody) = (Kind::Accepted, Party::NOBODY);
        tape.put(Record::new(kind, Reason::None, side, subject, nobody, price, energy));
        let row = Row {
            side,
            key: key_of(side, price),
            leaves: energy,
            hidden: 0,
            owner,
            min_fill: 0,
            display: 0,
            covered: true,
        };
        self.stand(handle, &row);
        let nobody_there = self.ladders[side.opposite().index()].best() == EMPTY;
        Outcome {
            taken: true,
            rests: Some(Handle(handle)),
            left: energy,
            rest: if nobody_there {
                Rest::NoCounterparty
            } else {
                Rest::PriceNotMet
            },
            limit: price,
        }
    }

    fn submit_any<T: Tape>(&mut self, incoming: &Incoming, tape: &mut T) -> Outcome {
        if incoming.time_in_force == TimeInForce::PostOnly && self.probe(incoming).filled != 0 {
            tape.put(of_incoming(
                Kind::Refused,
                Reason::None,
                incoming,
                NONE,
                incoming.price,
                0,
            ));
            return Outcome {
                taken: false,
                rests: None,
                left: incoming.energy,
                rest: Rest::None,
                limit: incoming.price,
            };
        }
        let handle = self.slab.claim();
        let outcome = self.enter(incoming, handle, tape);
        if outcome.rests.is_none() {
            self.slab.disclaim(handle);
        }
        outcome
    }

    /// Takes an order that has a row to rest in.
    #[inline]
    fn enter<T: Tape>(&mut self, incoming: &Incoming, handle: u32, tape: &mut T) -> Outcome {
        let (side, energy) = (incoming.side, incoming.energy);
        let say = |kind, reason, price, left| of_incoming(kind, reason, incoming, handle, price, left);
        tape.put(say(Kind::Accepted, Reason::None, incoming.price, energy));
        let gone = |left, rest, limit| Outcome {
            taken: true,
            rests: None,
            left,
            rest,
            limit,
        };
        if incoming.time_in_force == TimeInForce::Fok {
            let Probe { filled, rest } = self.probe(incoming);
            if filled < energy {
                tape.put(say(Kind::Closed, Reason::FillOrKill, incoming.price, energy));
                return gone(energy, rest, incoming.price);
            }
        }
        let Swept {
            left,
            rest,
            limit,
            fresh,
        } = match self.obstacle(incoming) {
            Some(rest) => Swept {
                left: energy,
                rest,
                limit: incoming.price,
                fresh: true,
            },
            None => self.sweep(incoming, handle, tape),
        };
        if left == 0 {
            return gone(left, rest, limit);
        }
        let reason = match (incoming.time_in_force, rest) {
            (_, Rest::SelfTrade) => Reason::SelfTrade,
            _ if incoming.market_to_limit && fresh => Reason::NoMarket,
            (TimeInForce::Ioc | TimeInForce::Fok, _) => Reason::ImmediateOrCancel,
            _ => Reason::None,
        };
        if reason != Reason::None {
            tape.put(say(Kind::Closed, reason, limit, left));
            return gone(left, rest, limit);
        }
        let shown = self.stand_incoming(incoming, handle, key_of(side, limit), left);
        if shown != left || limit != incoming.price {
            tape.put(say(Kind::Shown, Reason::None, limit, shown));
        }
        Outcome {
            rests: Some(Handle(handle)),
            ..gone(left, rest, limit)
        }
    }

    /// Rests what is left of an incoming order and returns what it shows.
    #[inline]
    fn stand_incoming(&mut self, incoming: &Incoming, handle: u32, key: u32, left: u32) -> u32 {
        let display = if incoming.display < incoming.energy {
            incoming.display
        } else {
            0
        };
        let shown = if display == 0 { left } else { left.min(display) };
        self.stand(
            handle,
            &Row {
                side: incoming.side,
                key,
                leaves: shown,
                hidden: left - shown,
                owner: incoming.owner,
                min_fill: incoming.min_fill,
                display,
                covered: incoming.covered,
            },
        );
        shown
    }

    /// Takes a resting order out by its owner's wish and says so; `None` if nothing stands there.
    #[inline]
    pub fn cancel<T: Tape>(&mut self, handle: Handle, tape: &mut T) -> Option<Order> {
        self.remove(handle, Reason::Cancelled, tape)
    }

    /// Takes a resting order out for a reason and says so; `None` if nothing stands there.
    #[inline]
    pub fn remove<T: Tape>(&mut self, handle: Handle, reason: Reason, tape: &mut T) -> Option<Order> {
        let order = self.leave(handle)?;
        let record = of_resting(Kind::Closed, reason, handle.0, &order, order.leaves, order.leaves);
        tape.put(record);
        Some(order)
    }

    #[inline]
    fn leave(&mut self, handle: Handle) -> Option<Order> {
        let order = *self.slab.get(handle.0)?;
        let ladder = &mut self.ladders[order.side().index()];
        let emptied = unlink(&mut self.slab, ladder, handle.0, &order);
        self.forget(handle.0);
        if emptied {
            let ladder = &mut self.ladders[order.side().index()];
            let at = ladder.at(order.key);
            ladder.close(order.key, at);
        }
        self.slab.free(handle.0);
        Some(order)
    }

    /// Rests an order behind the others of its price, without matching, and says so.
    ///
    /// # Panics
    /// If its energy is zero.
    pub fn rest<T: Tape>(&mut self, incoming: &Incoming, tape: &mut T) -> Handle {
        assert!(incoming.energy != 0, "an empty order cannot rest");
        let handle = self.slab.claim();
        let key = key_of(incoming.side, incoming.price);
        let shown = self.stand_incoming(incoming, handle, key, incoming.energy);
        let order = self.slab.order(handle);
        tape.put(of_resting(Kind::Shown, Reason::None, handle, order, shown, shown));
        Handle(handle)
    }

    /// Sets what a resting order shows and hides and its terms, and says what it shows; it keeps its place.
    ///
    /// # Panics
    /// If nothing stands there, or nothing would be shown.
    pub fn amend<T: Tape>(&mut self, handle: Handle, terms: &Amended, tape: &mut T) {
        let before = *self.slab.get(handle.0).expect("INVARIANT: an amended order rests");
        assert!(terms.leaves != 0, "INVARIANT: a resting order shows something");
        let order = self.slab.order_mut(handle.0);
        (order.leaves, order.hidden) = (terms.leaves, terms.hidden);
        self.slab
            .set_terms(handle.0, terms.min_fill, terms.display, terms.covered);
        let less = before.leaves.saturating_sub(terms.leaves);
        tape.put(of_resting(
            Kind::Reduced,
            Reason::None,
            handle.0,
            &before,
            less,
            terms.leaves,
        ));
    }

    /// Takes energy from a resting order outside a sweep, what it shows first; a used-up slice is followed by the next at
    /// the end of the queue, and says so. Returns the order as it stands afterwards; filled whole, it has left the book.
    ///
    /// # Panics
    /// If nothing stands there, or less than `energy`.
    pub fn take<T: Tape>(&mut self, handle: Handle, energy: u32, tape: &mut T) -> Order {
        let mut order = *self.slab.get(handle.0).expect("INVARIANT: a matched order rests");
        assert!(
            u64::from(energy) <= order.open(),
            "INVARIANT: no more is taken than rests"
        );
        if energy < order.leaves {
            order.leaves -= energy;
            self.slab.order_mut(handle.0).leaves = order.leaves;
            tape.put(of_resting(
                Kind::Reduced,
                Reason::Taken,
                handle.0,
                &order,
                energy,
                order.leaves,
            ));
            return order;
        }
        let hidden = order.hidden - (energy - order.leaves);
        if hidden == 0 {
            self.leave(handle);
            (order.leaves, order.hidden) = (0, 0);
            tape.put(of_resting(Kind::Closed, Reason::Taken, handle.0, &order, energy, 0));
            return order;
        }
        tape.put(of_resting(Kind::Reduced, Reason::Taken, handle.0, &order, energy, 0));
        let row = Row {
            side: order.side(),
            key: order.key,
            leaves: hidden.min(self.slab.display(handle.0)),
            hidden: hidden - hidden.min(self.slab.display(handle.0)),
            owner: order.owner(),
            min_fill: self.slab.min_fill(handle.0),
            display: self.slab.display(handle.0),
            covered: order.is_covered(),
        };
        // The row freed last is the row taken next: the handle stays.
        self.leave(handle);
        let again = self.slab.claim();
        debug_assert_eq!(again, handle.0);
        self.stand(again, &row);
        order = *self.slab.order(again);
        tape.put(of_resting(
            Kind::Shown,
            Reason::None,
            again,
            &order,
            order.leaves,
            order.leaves,
        ));
        order
    }

    // ---- told, not asked ----------------------------------------------------------------------------------------

    /// Stands an order behind the others of its price at the row it is said to have, which is free.
    #[inline]
    pub(crate) fn place(&mut self, handle: Handle, owner: Owner, side: Side, price: i32, leaves: u32) {
        self.slab.reach(handle.0);
        let row = Row {
            side,
            key: key_of(side, price),
            leaves,
            hidden: 0,
            owner,
            min_fill: 0,
            display: 0,
            covered: true,
        };
        self.stand(handle.0, &row);
    }

    /// Sets what an order shows where it stands; at zero it is gone.
    #[inline]
    pub(crate) fn set_leaves(&mut self, handle: Handle, leaves: u32) {
        if leaves == 0 {
            self.leave(handle);
        } else if self.get(handle).is_some() {
            self.slab.order_mut(handle.0).leaves = leaves;
        }
    }

    /// Orders of an owner: bids, then asks, each best first.
    pub fn owned_by(&self, owner: Owner) -> Vec<Handle> {
        let of_side = |side: Side| -> Vec<Handle> {
            if RANGED {
                self.places
                    .owned(side, owner, &self.slab)
                    .into_iter()
                    .map(Handle)
                    .collect()
            } else {
                let all = self.side(side).filter(|(_, order)| order.owner() == owner);
                all.map(|(handle, _)| handle).collect()
            }
        };
        let mut orders = of_side(Side::Buy);
        orders.extend(of_side(Side::Sell));
        orders
    }

    /// Owners with an order on a side.
    pub fn owners(&self, side: Side) -> u32 {
        self.places.owners(side)
    }

    // ---- matching -----------------------------------------------------------------------------------------------

    /// Greatest key of the other side that closes with `price`; `None` if none does.
    #[inline]
    fn limit_key(&self, side: Side, price: i32) -> Option<u32> {
        let limit = match side {
            Side::Buy => i64::from(price) - self.rules.spread_min,
            Side::Sell => i64::from(price) + self.rules.spread_min,
        };
        let bound = limit.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        let none = match side {
            Side::Buy => limit < bound,
            Side::Sell => limit > bound,
        };
        (!none).then(|| key_of(side.opposite(), bound as i32))
    }

    /// Puts a row into its queue and gives it its place.
    #[inline(always)]
    fn stand(&mut self, handle: u32, row: &Row) {
        let ladder = &mut self.ladders[row.side.index()];
        let before = ladder.append(row.key, handle);
        self.slab.fill(handle, row, self.stamp, before);
        self.stamp += 1;
        if RANGED {
            self.places.insert(handle, ladder, &self.slab);
        }
    }

    /// Takes an order's place away; its level still stands.
    #[inline]
    fn forget(&mut self, handle: u32) {
        if RANGED {
            let side = self.slab.order(handle).side();
            let ladder = &mut self.ladders[side.index()];
            self.places.remove(handle, ladder, &self.slab);
        }
    }
}

/// A record about an incoming order of which `left` is left.
#[inline]
fn of_incoming(kind: Kind, reason: Reason, incoming: &Incoming, handle: u32, price: i32, left: u32) -> Record {
    let subject = Party {
        handle: Handle(handle),
        owner: incoming.owner,
        leaves: left,
    };
    let energy = match kind {
        Kind::Closed | Kind::Shown => left,
        _ => incoming.energy,
    };
    Record::new(kind, reason, incoming.side, subject, Party::NOBODY, price, energy)
}

/// A record about a resting order.
#[inline]
fn of_resting(kind: Kind, reason: Reason, handle: u32, order: &Order, energy: u32, leaves: u32) -> Record {
    let subject = Party {
        handle: Handle(handle),
        owner: order.owner(),
        leaves,
    };
    Record::new(
        kind,
        reason,
        order.side(),
        subject,
        Party::NOBODY,
        order.price(),
        energy,
    )
}

/// Takes an order out of its queue; `true` if the queue is empty then. Its level still stands.
#[inline]
fn unlink<const RANGED: bool>(slab: &mut Slab, ladder: &mut Ladder<RANGED>, handle: u32, order: &Order) -> bool {
    let (prev, next) = (order.prev, order.next);
    if prev != NONE && next != NONE {
        slab.order_mut(prev).next = next;
        slab.order_mut(next).prev = prev;
        return false;
    }
    let at = ladder.at(order.key);
    let ends = ladder.ends_mut(at);
    debug_assert!(prev != NONE || ends.head == handle);
    debug_assert!(next != NONE || ends.tail == handle);
    if prev == NONE {
        ends.head = next;
    } else {
        slab.order_mut(prev).next = NONE;
    }
    if next == NONE {
        ends.tail = prev;
    } else {
        slab.order_mut(next).prev = NONE;
    }
    prev == NONE && next == NONE
}

impl<const RANGED: bool> Book<RANGED> {
    /// Asserts what must hold between commands; for tests.
    #[doc(hidden)]
    pub fn check(&self) {
        let mut seen = 0;
        for side in [Side::Buy, Side::Sell] {
            let mut last: Option<(u32, u64)> = None;
            for (handle, order) in self.side(side) {
                assert!(
                    order.is_live() && order.side() == side && order.leaves != 0,
                    "{handle:?}"
                );
                assert!(
                    last.is_none_or(|last| last < (order.key, order.stamp)),
                    "price-time order"
                );
                last = Some((order.key, order.stamp));
                seen += 1;
            }
        }
        assert_eq!(seen, self.len());
        let Scratch {
            departed,
            moved,
            emptied,
        } = &self.scratch;
        assert!(departed.is_empty() && moved.is_empty() && emptied.is_empty());
    }
}
