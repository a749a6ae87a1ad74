//! The sweep of an incoming order over the other side, and the same without doing it.
//!
//! # Invariants
//! * A sweep unlinks orders from their queues at once and leaves rows, places and levels as they are until it is over: it
//!   sees one set of places, and a level that it emptied is still there to go on from.

use super::{Book, Incoming, Probe, Rest, of_resting, unlink};
use crate::ladder::{At, EMPTY, Ends, NONE, key_of, price_of};
use crate::places::{Chooser, Reach};
use crate::record::{Kind, Party, Reason, Record, Tape};
use crate::slab::{Handle, Order};
use wattbook_types::{RangeMode, SelfTrade, Side, TimeInForce};

/// What a sweep leaves to be done once it is over; empty between commands.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// Orders unlinked from their queues.
    pub(super) departed: Vec<u32>,
    /// Icebergs moved to the end of theirs.
    pub(super) moved: Vec<u32>,
    /// Levels emptied.
    pub(super) emptied: Vec<u32>,
}

/// A sweep under way.
struct Sweep {
    left: u32,
    limit: u32,
    /// Nothing has been executed yet.
    fresh: bool,
    passed_over: bool,
    stop: bool,
}

impl Sweep {
    const fn rest(&self) -> Rest {
        if self.left == 0 {
            Rest::None
        } else if self.stop {
            Rest::SelfTrade
        } else if self.passed_over {
            Rest::OutOfRange
        } else {
            Rest::Exhausted
        }
    }
}

/// What a sweep did.
pub(super) struct Swept {
    pub(super) left: u32,
    pub(super) rest: Rest,
    pub(super) limit: i32,
    pub(super) fresh: bool,
}

impl<const RANGED: bool> Book<RANGED> {
    /// What keeps an incoming order from sweeping at all.
    #[inline]
    pub(super) fn obstacle(&self, incoming: &Incoming) -> Option<Rest> {
        let best = self.ladders[incoming.side.opposite().index()].best();
        if best == EMPTY {
            return Some(Rest::NoCounterparty);
        }
        if !incoming.covered {
            return Some(Rest::ChargeCap);
        }
        match self.limit_key(incoming.side, incoming.price) {
            Some(limit) if best <= u64::from(limit) => None,
            _ => Some(Rest::PriceNotMet),
        }
    }

    pub(super) fn sweep<T: Tape>(&mut self, incoming: &Incoming, handle: u32, tape: &mut T) -> Swept {
        let (side, opposite) = (incoming.side, incoming.side.opposite());
        let mut reach = self.reach(incoming);
        let mut sweep = Sweep {
            left: incoming.energy,
            // The obstacle was that there is none.
            limit: self.limit_key(side, incoming.price).unwrap_or(0),
            fresh: true,
            passed_over: false,
            stop: false,
        };
        let mut key = self.ladders[opposite.index()].best();
        while key <= u64::from(sweep.limit) {
            self.sweep_level(incoming, handle, key as u32, &mut reach, &mut sweep, tape);
            if sweep.left == 0 || sweep.stop {
                break;
            }
            key = self.ladders[opposite.index()].next_after(key as u32);
        }
        let limit = if incoming.market_to_limit && !sweep.fresh {
            price_of(opposite, sweep.limit)
        } else {
            incoming.price
        };
        self.finish_sweep(opposite);
        Swept {
            left: sweep.left,
            rest: sweep.rest(),
            limit,
            fresh: sweep.fresh,
        }
    }

    #[inline]
    fn reach(&mut self, incoming: &Incoming) -> Reach {
        if !RANGED || self.rules.range == RangeMode::Off {
            return Reach::All;
        }
        let chooser = Chooser {
            side: incoming.side,
            key: key_of(incoming.side, incoming.price),
            owner: incoming.owner,
            stamp: self.stamp,
        };
        let own = &mut self.ladders[incoming.side.index()];
        self.places.reach(self.rules.range, chooser, own, &self.slab)
    }

    #[inline]
    fn meet_level(&mut self, reach: &mut Reach, side: Side, key: u32) -> bool {
        if !RANGED || matches!(reach, Reach::All) {
            return true;
        }
        let ladder = &mut self.ladders[side.index()];
        let at = ladder.at(key);
        self.places.meet_level(reach, side, key, at, ladder, &self.slab)
    }

    /// Deals with the front of a level while nothing but energy decides, and returns the order at which that ends.
    #[inline]
    fn take_front<T: Tape>(
        &mut self,
        incoming: &Incoming,
        taker: u32,
        key: u32,
        at: At,
        sweep: &mut Sweep,
        tape: &mut T,
    ) -> u32 {
        let opposite = incoming.side.opposite();
        let price = price_of(opposite, key);
        let head = self.ladders[opposite.index()].ends(at).head;
        let mut handle = head;
        while handle != NONE && sweep.left != 0 {
            let order = self.slab.order_mut(handle);
            let owner = order.owner();
            if !order.is_plain() || order.hidden != 0 || self.places.same_group(incoming.owner, owner) {
                break;
            }
            let energy = sweep.left.min(order.leaves);
            sweep.left -= energy;
            order.leaves -= energy;
            let (leaves, next) = (order.leaves, order.next);
            let met = Party {
                handle: Handle(handle),
                owner,
                leaves,
            };
            let mine = Party {
                handle: Handle(taker),
                owner: incoming.owner,
                leaves: sweep.left,
            };
            tape.put(Record::new(
                Kind::Deal,
                Reason::None,
                opposite,
                met,
                mine,
                price,
                energy,
            ));
            if leaves != 0 {
                break;
            }
            self.scratch.departed.push(handle);
            handle = next;
        }
        if handle != head {
            sweep.fresh = false;
            let ends = self.ladders[opposite.index()].ends_mut(at);
            ends.head = handle;
            if handle == NONE {
                ends.tail = NONE;
                self.scratch.emptied.push(key);
            } else {
                self.slab.order_mut(handle).prev = NONE;
            }
        }
        handle
    }

    #[inline]
    fn sweep_level<T: Tape>(
        &mut self,
        incoming: &Incoming,
        taker: u32,
        key: u32,
        reach: &mut Reach,
        sweep: &mut Sweep,
        tape: &mut T,
    ) {
        let opposite = incoming.side.opposite();
        let everybody = self.meet_level(reach, opposite, key);
        let price = price_of(opposite, key);
        let at = self.ladders[opposite.index()].at(key);
        let mut handle = if everybody && incoming.min_fill == 0 && !incoming.market_to_limit {
            self.take_front(incoming, taker, key, at, sweep, tape)
        } else {
            self.ladders[opposite.index()].ends(at).head
        };
        while handle != NONE && sweep.left != 0 {
            let order = *self.slab.order(handle);
            let mut next = order.next;
            if !order.is_covered() {
                handle = next;
                continue;
            }
            if !everybody && !self.places.allows(reach, &order, &self.slab) {
                sweep.passed_over = true;
                handle = next;
                continue;
            }
            let energy = sweep.left.min(order.leaves);
            if !(order.is_plain() && incoming.min_fill == 0) {
                let enough = |min_fill: u32, left: u32| left < min_fill || energy >= min_fill;
                if !enough(incoming.min_fill, sweep.left) || !enough(self.slab.min_fill(handle), order.leaves) {
                    handle = next;
                    continue;
                }
            }
            let mut deals = true;
            if self.places.same_group(incoming.owner, order.owner()) {
                match incoming.self_trade {
                    SelfTrade::CancelNewest => {
                        sweep.stop = true;
                        break;
                    }
                    SelfTrade::CancelOldest | SelfTrade::CancelBoth => {
                        self.depart(opposite, key, handle, &order);
                        tape.put(of_resting(
                            Kind::Closed,
                            Reason::SelfTrade,
                            handle,
                            &order,
                            order.leaves,
                            0,
                        ));
                        if incoming.self_trade == SelfTrade::CancelBoth {
                            sweep.stop = true;
                            break;
                        }
                        handle = next;
                        continue;
                    }
                    SelfTrade::Decrement => deals = false,
                }
            }
            if deals && sweep.fresh {
                sweep.fresh = false;
                if incoming.market_to_limit {
                    sweep.limit = key;
                }
            }
            sweep.left -= energy;
            let leaves = order.leaves - energy;
            let met = Party {
                handle: Handle(handle),
                owner: order.owner(),
                leaves,
            };
            let mine = Party {
                handle: Handle(taker),
                owner: incoming.owner,
                leaves: sweep.left,
            };
            tape.put(if deals {
                Record::new(Kind::Deal, Reason::None, opposite, met, mine, price, energy)
            } else {
                let side = incoming.side;
                Record::new(Kind::Dropped, Reason::SelfTrade, side, mine, met, price, energy)
            });
            if leaves != 0 {
                self.slab.order_mut(handle).leaves = leaves;
                if !deals {
                    tape.put(of_resting(
                        Kind::Reduced,
                        Reason::SelfTrade,
                        handle,
                        &order,
                        energy,
                        leaves,
                    ));
                }
            } else if order.hidden == 0 {
                self.depart(opposite, key, handle, &order);
                if !deals {
                    tape.put(of_resting(Kind::Closed, Reason::SelfTrade, handle, &order, energy, 0));
                }
            } else {
                if !deals {
                    tape.put(of_resting(Kind::Reduced, Reason::SelfTrade, handle, &order, energy, 0));
                }
                let shown = order.hidden.min(self.slab.display(handle));
                self.show_next(opposite, key, handle, &order, shown);
                tape.put(of_resting(Kind::Shown, Reason::None, handle, &order, shown, shown));
                // The last of its queue comes round to itself.
                if next == NONE {
                    next = handle;
                }
            }
            handle = next;
        }
    }

    /// Unlinks an order within a sweep; its row and its place stay until the sweep is over.
    #[inline]
    fn depart(&mut self, side: Side, key: u32, handle: u32, order: &Order) {
        if unlink(&mut self.slab, &mut self.ladders[side.index()], handle, order) {
            self.scratch.emptied.push(key);
        }
        // A slice of it may have moved before: nothing shown tells that it is gone.
        self.slab.order_mut(handle).leaves = 0;
        self.scratch.departed.push(handle);
    }

    /// Moves an iceberg's next slice to the end of its queue within a sweep; its place changes when the sweep is over.
    fn show_next(&mut self, side: Side, key: u32, handle: u32, order: &Order, shown: u32) {
        let ladder = &mut self.ladders[side.index()];
        if order.next != NONE {
            unlink(&mut self.slab, ladder, handle, order);
            let at = ladder.at(key);
            let ends = ladder.ends_mut(at);
            let before = core::mem::replace(&mut ends.tail, handle);
            self.slab.order_mut(before).next = handle;
            let row = self.slab.order_mut(handle);
            (row.prev, row.next) = (before, NONE);
        }
        let row = self.slab.order_mut(handle);
        row.leaves = shown;
        row.hidden -= shown;
        self.scratch.moved.push(handle);
    }

    /// Brings places, levels and rows up to what the sweep has done.
    #[inline]
    fn finish_sweep(&mut self, side: Side) {
        if !self.scratch.moved.is_empty() {
            self.finish_moves(side);
        }
        while let Some(handle) = self.scratch.departed.pop() {
            self.forget(handle);
            self.slab.free(handle);
        }
        while let Some(key) = self.scratch.emptied.pop() {
            let ladder = &mut self.ladders[side.index()];
            let at = ladder.at(key);
            ladder.close(key, at);
        }
    }

    /// Gives icebergs that moved their new stamps, in the order in which they moved; the last move decides.
    #[cold]
    fn finish_moves(&mut self, side: Side) {
        let mut moved = core::mem::take(&mut self.scratch.moved);
        for handle in moved.drain(..) {
            if self.slab.order(handle).leaves == 0 {
                continue;
            }
            let stamp = self.stamp;
            self.stamp += 1;
            if RANGED {
                // Its place is left under the old stamp and taken again under the new one.
                let ladder = &mut self.ladders[side.index()];
                self.places.remove(handle, ladder, &self.slab);
                let order = self.slab.order_mut(handle);
                order.stamp = stamp;
                self.places.insert(handle, ladder, &self.slab);
            } else {
                self.slab.order_mut(handle).stamp = stamp;
            }
        }
        self.scratch.moved = moved;
    }

    /// What a sweep of `incoming` would do now; nothing changes.
    pub fn probe(&mut self, incoming: &Incoming) -> Probe {
        if let Some(rest) = self.obstacle(incoming) {
            return Probe { filled: 0, rest };
        }
        let opposite = incoming.side.opposite();
        let mut reach = self.reach(incoming);
        let mut sweep = Sweep {
            left: incoming.energy,
            limit: self.limit_key(incoming.side, incoming.price).unwrap_or(0),
            fresh: true,
            passed_over: false,
            stop: false,
        };
        let mut filled = 0;
        let post_only = incoming.time_in_force == TimeInForce::PostOnly;
        let mut key = self.ladders[opposite.index()].best();
        while key <= u64::from(sweep.limit) && sweep.left != 0 && !sweep.stop {
            filled += self.probe_level(incoming, key as u32, &mut reach, &mut sweep);
            if post_only && !sweep.fresh {
                break;
            }
            key = self.ladders[opposite.index()].next_after(key as u32);
        }
        Probe {
            filled,
            rest: sweep.rest(),
        }
    }

    /// What a sweep of `incoming` would do now if the order at `gone` were not there; nothing changes.
    ///
    /// # Panics
    /// If nothing stands there.
    pub fn probe_without(&mut self, gone: Handle, incoming: &Incoming) -> Probe {
        let order = *self
            .slab
            .get(gone.0)
            .expect("INVARIANT: the order to be replaced rests");
        let side = order.side().index();
        let emptied = unlink(&mut self.slab, &mut self.ladders[side], gone.0, &order);
        self.forget(gone.0);
        if emptied {
            let at = self.ladders[side].at(order.key);
            self.ladders[side].close(order.key, at);
        }
        let probe = self.probe(incoming);
        // Back between its neighbours, under its old stamp: nobody came in meanwhile.
        let ladder = &mut self.ladders[side];
        if emptied {
            ladder.append(order.key, gone.0);
        } else {
            let at = ladder.at(order.key);
            let ends = ladder.ends_mut(at);
            match order.prev {
                NONE => ends.head = gone.0,
                prev => self.slab.order_mut(prev).next = gone.0,
            }
            match order.next {
                NONE => ends.tail = gone.0,
                next => self.slab.order_mut(next).prev = gone.0,
            }
        }
        if RANGED {
            self.places.insert(gone.0, &mut self.ladders[side], &self.slab);
        }
        probe
    }

    /// What it would deal at one level.
    fn probe_level(&mut self, incoming: &Incoming, key: u32, reach: &mut Reach, sweep: &mut Sweep) -> u32 {
        let mut filled = 0;
        let opposite = incoming.side.opposite();
        let everybody = self.meet_level(reach, opposite, key);
        let ends: Ends = {
            let ladder = &mut self.ladders[opposite.index()];
            let at = ladder.at(key);
            ladder.ends(at)
        };
        // Icebergs come round again behind the queue: handle, shown, hidden.
        let mut round: Vec<(u32, u32, u32)> = Vec::new();
        let (mut handle, mut turn) = (ends.head, 0);
        while sweep.left != 0 {
            let (this, shown, hidden) = if handle != NONE {
                let order = self.slab.order(handle);
                let this = handle;
                handle = order.next;
                (this, order.leaves, order.hidden)
            } else if turn < round.len() {
                turn += 1;
                round[turn - 1]
            } else {
                break;
            };
            let order = self.slab.order(this);
            if !order.is_covered() {
                continue;
            }
            if !everybody && !self.places.allows(reach, order, &self.slab) {
                sweep.passed_over = true;
                continue;
            }
            let energy = sweep.left.min(shown);
            let enough = |min_fill: u32, left: u32| left < min_fill || energy >= min_fill;
            if !enough(incoming.min_fill, sweep.left) || !enough(self.slab.min_fill(this), shown) {
                continue;
            }
            if self.places.same_group(incoming.owner, order.owner()) {
                match (incoming.self_trade, incoming.time_in_force) {
                    (SelfTrade::CancelOldest, _) => continue,
                    // A post-only order loses energy to its own group before it meets somebody else.
                    (SelfTrade::Decrement, TimeInForce::PostOnly) => {}
                    _ => {
                        sweep.stop = true;
                        break;
                    }
                }
            } else {
                filled += energy;
                if sweep.fresh {
                    sweep.fresh = false;
                    if incoming.market_to_limit {
                        sweep.limit = key;
                    }
                }
            }
            sweep.left -= energy;
            if energy == shown && hidden != 0 {
                let next = hidden.min(self.slab.display(this));
                round.push((this, next, hidden - next));
            }
        }
        filled
    }
}
