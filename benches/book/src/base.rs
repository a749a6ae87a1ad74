//! The ceiling: what this machine takes for the least that a book must do.
//!
//! # Contract
//! * Limit, immediate-or-cancel and cancel, by price and time. Ids are dense and index the orders themselves; every id is
//!   used once; a cancel names an order that rests. Nothing is checked, owned, priced or refused.
//! * Prices lie within 2^14 ticks of 50,000; a flat array of levels with a three-level bitmap a side finds the best one.
//! * With `EVENTS` every acknowledgement and every trade is a 32-byte [`Event`] in the caller's [`Ring`].

use crate::flow::{Class, Flow, Op, Side, Totals};
use crate::measure::{Contender, Run, timed};
use std::cell::RefCell;
use std::rc::Rc;

/// Levels, a power of two: a masked level is in bounds.
const LEVELS: usize = 1 << 15;
/// Price of the lowest level, ticks.
const LOWEST: i32 = 50_000 - LEVELS as i32 / 2;
/// No order, no level.
const NONE: u32 = u32::MAX;
/// Events in flight; with their 128 KiB the ring stays in L2.
const RING_LEN: usize = 4_096;

/// An acknowledgement or a trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(crate) struct Event {
    pub(crate) kind: u32,
    /// The order acknowledged, or the taker.
    pub(crate) id: u32,
    /// The maker of a trade.
    pub(crate) maker: u32,
    /// Level of the order or the trade.
    pub(crate) level: u32,
    pub(crate) qty: u32,
    /// What the order, or the maker of a trade, has left.
    pub(crate) leaves: u32,
    pub(crate) seq_num: u64,
}

const _: () = assert!(size_of::<Event>() == 32);

impl Event {
    pub(crate) const OPENED: u32 = 1;
    pub(crate) const CANCELLED: u32 = 2;
    pub(crate) const TRADED: u32 = 3;
    /// Filled whole, or nothing of it may rest.
    pub(crate) const DONE: u32 = 4;

    /// Counts a trade as the reference does.
    #[cfg(test)]
    fn count(&self, totals: &mut Totals) {
        if self.kind == Self::TRADED {
            totals.trade(self.maker, self.id, LOWEST + self.level as i32, self.qty);
        }
    }
}

/// The caller's buffer, written round and round.
pub(crate) struct Ring {
    events: Box<[Event; RING_LEN]>,
    seq_num: u64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            events: Box::new([Event::default(); RING_LEN]),
            seq_num: 0,
        }
    }

    #[inline(always)]
    fn push(&mut self, event: Event) {
        let seq_num = self.seq_num;
        self.events[seq_num as usize % RING_LEN] = Event { seq_num, ..event };
        self.seq_num = seq_num.wrapping_add(1);
    }

    /// The events from number `first` on, none of which may have been overwritten.
    #[cfg(test)]
    fn since(&self, first: u64) -> impl Iterator<Item = &Event> {
        assert!(self.seq_num - first <= RING_LEN as u64);
        (first..self.seq_num).map(|seq_num| &self.events[seq_num as usize % RING_LEN])
    }
}

/// A resting order. 16 bytes: four a cache line.
#[derive(Clone, Copy)]
struct Resting {
    leaves: u32,
    /// Its level, with its side in the lowest bit.
    level_side: u32,
    previous: u32,
    next: u32,
}

/// First and last order of a price.
#[derive(Clone, Copy)]
struct Level {
    head: u32,
    tail: u32,
}

const EMPTY: Level = Level { head: NONE, tail: NONE };

/// Levels in use on one side, best first: a bid's key is its level counted from above.
#[derive(Clone)]
struct Bitmap {
    words: [u64; LEVELS / 64],
    groups: [u64; LEVELS / 64 / 64],
    top: u64,
}

impl Bitmap {
    const fn new() -> Self {
        Self {
            words: [0; LEVELS / 64],
            groups: [0; LEVELS / 64 / 64],
            top: 0,
        }
    }

    #[inline(always)]
    fn set(&mut self, key: u32) {
        let (word, group) = (key as usize / 64 % self.words.len(), key as usize / 4_096);
        let group = group % self.groups.len();
        self.words[word] |= 1 << (key % 64);
        self.groups[group] |= 1 << (word % 64);
        self.top |= 1 << group;
    }

    #[inline(always)]
    fn clear(&mut self, key: u32) {
        let (word, group) = (key as usize / 64 % self.words.len(), key as usize / 4_096);
        let group = group % self.groups.len();
        self.words[word] &= !(1 << (key % 64));
        if self.words[word] == 0 {
            self.groups[group] &= !(1 << (word % 64));
            if self.groups[group] == 0 {
                self.top &= !(1 << group);
            }
        }
    }

    /// The best key in use.
    #[inline(always)]
    fn first(&self) -> u32 {
        if self.top == 0 {
            return NONE;
        }
        let group = self.top.trailing_zeros() as usize % self.groups.len();
        let word = (group * 64 + self.groups[group].trailing_zeros() as usize) % self.words.len();
        word as u32 * 64 + self.words[word].trailing_zeros()
    }
}

/// The book.
pub(crate) struct Base<const EVENTS: bool> {
    orders: Vec<Resting>,
    levels: Box<[Level; LEVELS]>,
    used: Box<[Bitmap; 2]>,
    /// Best key a side; [`NONE`] where there is none.
    best: [u32; 2],
    /// Trades and volume, counted as every engine here counts them.
    trades: u64,
    volume: u64,
}

/// What turns a level into a side's key and back: bids count from above.
const FLIP: [u32; 2] = [LEVELS as u32 - 1, 0];

impl<const EVENTS: bool> Base<EVENTS> {
    /// An empty book for `orders` ids.
    pub(crate) fn new(orders: u32) -> Self {
        let resting = Resting {
            leaves: 0,
            level_side: 0,
            previous: NONE,
            next: NONE,
        };
        Self {
            // A power of two, so that a masked id is in bounds.
            orders: vec![resting; (orders as usize).next_power_of_two()],
            levels: vec![EMPTY; LEVELS].try_into().unwrap_or_else(|_| unreachable!()),
            used: Box::new([Bitmap::new(), Bitmap::new()]),
            best: [NONE; 2],
            trades: 0,
            volume: 0,
        }
    }

    /// Empties the book; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.levels.fill(EMPTY);
        *self.used = [Bitmap::new(), Bitmap::new()];
        self.best = [NONE; 2];
        (self.trades, self.volume) = (0, 0);
    }

    fn totals(&self) -> Totals {
        Totals {
            trades: self.trades,
            volume: self.volume,
            ..Totals::new()
        }
    }

    #[inline(always)]
    fn at(&mut self, id: u32) -> &mut Resting {
        let mask = self.orders.len() - 1;
        &mut self.orders[id as usize & mask]
    }

    #[inline(always)]
    fn level(&mut self, level: u32) -> &mut Level {
        &mut self.levels[level as usize % LEVELS]
    }

    /// An order; what it cannot take rests where `rests` is set.
    #[inline(always)]
    pub(crate) fn add(&mut self, id: u32, side: Side, price: i32, qty: u32, rests: bool, ring: &mut Ring) {
        let level = price.wrapping_sub(LOWEST).cast_unsigned();
        let (own, other) = (side as usize, side as usize ^ 1);
        let limit = level ^ FLIP[other];
        let mut leaves = qty;
        // NONE is above every limit.
        while self.best[other] <= limit && leaves > 0 {
            leaves = self.sweep(id, other, leaves, ring);
        }
        if leaves > 0 && rests {
            if EVENTS {
                ring.push(Event {
                    kind: Event::OPENED,
                    id,
                    level,
                    qty,
                    leaves,
                    ..Event::default()
                });
            }
            self.rest(id, own, level, leaves);
        } else if EVENTS {
            ring.push(Event {
                kind: Event::DONE,
                id,
                level,
                qty,
                leaves,
                ..Event::default()
            });
        }
    }

    /// Trades with the best level of a side; what the taker has left.
    #[inline(always)]
    fn sweep(&mut self, taker: u32, side: usize, mut leaves: u32, ring: &mut Ring) -> u32 {
        let key = self.best[side];
        let level = key ^ FLIP[side];
        let mut maker = self.level(level).head;
        loop {
            let resting = self.at(maker);
            let qty = leaves.min(resting.leaves);
            let (after, next) = (resting.leaves.wrapping_sub(qty), resting.next);
            resting.leaves = after;
            leaves = leaves.wrapping_sub(qty);
            self.trades = self.trades.wrapping_add(1);
            self.volume = self.volume.wrapping_add(u64::from(qty));
            if EVENTS {
                ring.push(Event {
                    kind: Event::TRADED,
                    id: taker,
                    maker,
                    level,
                    qty,
                    leaves: after,
                    ..Event::default()
                });
            }
            if after > 0 {
                self.level(level).head = maker;
                break;
            }
            maker = next;
            if next == NONE {
                *self.level(level) = EMPTY;
                self.vacate(side, key);
                break;
            }
            self.at(next).previous = NONE;
            if leaves == 0 {
                self.level(level).head = next;
                break;
            }
        }
        leaves
    }

    #[inline(always)]
    fn rest(&mut self, id: u32, side: usize, level: u32, leaves: u32) {
        let queue = self.level(level);
        let previous = queue.tail;
        queue.tail = id;
        if previous == NONE {
            queue.head = id;
            let key = level ^ FLIP[side];
            self.used[side].set(key);
            self.best[side] = self.best[side].min(key);
        } else {
            self.at(previous).next = id;
        }
        *self.at(id) = Resting {
            leaves,
            level_side: level << 1 | side as u32,
            previous,
            next: NONE,
        };
    }

    /// Marks a level as empty.
    #[inline(always)]
    fn vacate(&mut self, side: usize, key: u32) {
        self.used[side].clear(key);
        if self.best[side] == key {
            self.best[side] = self.used[side].first();
        }
    }

    /// Takes a resting order out.
    #[inline(always)]
    pub(crate) fn cancel(&mut self, id: u32, ring: &mut Ring) {
        let Resting {
            leaves,
            level_side,
            previous,
            next,
        } = *self.at(id);
        let (level, side) = (level_side >> 1, level_side as usize & 1);
        if previous == NONE {
            self.level(level).head = next;
        } else {
            self.at(previous).next = next;
        }
        if next == NONE {
            self.level(level).tail = previous;
            if previous == NONE {
                self.vacate(side, level ^ FLIP[side]);
            }
        } else {
            self.at(next).previous = previous;
        }
        if EVENTS {
            ring.push(Event {
                kind: Event::CANCELLED,
                id,
                level,
                leaves,
                ..Event::default()
            });
        }
    }

    #[inline(always)]
    pub(crate) fn apply(&mut self, op: &Op, ring: &mut Ring) {
        match op.class {
            Class::Cancel => self.cancel(op.id, ring),
            Class::Passive | Class::Aggressive => self.add(op.id, op.side, op.price, op.qty, true, ring),
        }
    }
}

/// The base on a flow whose prices it covers.
pub(crate) fn contender<const EVENTS: bool>(flow: &Flow) -> Contender<'_> {
    let (prefill, under) = flow.ops.split_at(flow.shape.prefill);
    // Both passes work on the same memory, touched before the first clock.
    let room = Rc::new(RefCell::new((Base::<EVENTS>::new(flow.orders), Ring::new())));
    let again = Rc::clone(&room);
    let refill = move |(book, ring): &mut (Base<EVENTS>, Ring)| {
        book.clear();
        prefill.iter().for_each(|op| book.apply(op, ring));
    };
    Contender {
        row: match (flow.shape.name, EVENTS) {
            ("deep", true) => "base/deep/events",
            ("deep", false) => "base/deep/silent",
            (_, true) => "base/standard/events",
            (_, false) => "base/standard/silent",
        },
        len: under.len(),
        expected: flow.totals,
        run: Box::new(move || {
            let room = &mut *room.borrow_mut();
            refill(room);
            let (book, ring) = room;
            let elapsed = timed(|| under.iter().for_each(|op| book.apply(op, ring)));
            Run {
                elapsed,
                totals: book.totals(),
            }
        }),
        latencies: Box::new(move |latencies| {
            let room = &mut *again.borrow_mut();
            refill(room);
            let (book, ring) = room;
            latencies.of(under, |op| book.apply(op, ring));
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{DEEP, STANDARD, Shape};

    fn trades_of(shape: Shape) -> (Totals, Totals) {
        let flow = Flow::generate(shape);
        let (mut book, mut ring) = (Base::<true>::new(flow.orders), Ring::new());
        let mut totals = Totals::new();
        for op in &flow.ops {
            let first = ring.seq_num;
            book.apply(op, &mut ring);
            ring.since(first).for_each(|event| event.count(&mut totals));
        }
        assert_eq!((book.trades, book.volume), (totals.trades, totals.volume));
        (totals, flow.totals)
    }

    #[test]
    fn base_trades_as_the_reference_does() {
        for shape in [STANDARD, DEEP] {
            let (totals, expected) = trades_of(shape);
            assert_eq!(totals, expected, "{}", shape.name);
        }
    }

    #[test]
    fn what_may_not_rest_is_gone() {
        let (mut book, mut ring) = (Base::<true>::new(4), Ring::new());
        book.add(0, Side::Sell, 50_010, 5, true, &mut ring);
        book.add(1, Side::Buy, 50_010, 8, false, &mut ring);
        book.add(2, Side::Sell, 50_000, 1, true, &mut ring);
        let kinds: Vec<u32> = ring.since(0).map(|event| event.kind).collect();
        assert_eq!(kinds, [Event::OPENED, Event::TRADED, Event::DONE, Event::OPENED]);
        assert_eq!(book.volume, 5);
    }
}
