//! Messages into the book, its records into reports.

use crate::abi::{Cancel, Modify, NewOrder, ReportKind};
use crate::queue::{About, Writer, fits};
use std::collections::HashMap;
use wattbook_book::{Handle, Incoming, Kind, Owner, PlainBook, Record, Rules, Silent, Tape};
use wattbook_types::{RangeMode, Side, TimeInForce};

/// Client ids below this are numbers already, as their flows give them out; others get numbers from here on.
const FLAT_END: u64 = 1 << 23;
/// Numbers there is room for without growing.
const ORDERS: usize = 1 << 20;
/// No handle.
const NONE: u32 = u32::MAX;

/// A message, as far as its reports and its order go.
#[derive(Clone, Copy, Debug)]
struct Message {
    sequence_number: u64,
    order_id: u64,
    /// Dense number of the order id.
    number: u32,
    side: Side,
}

/// Dense numbers for client ids, and back.
#[derive(Debug, Default)]
struct Numbers {
    far: HashMap<u64, u32>,
    far_ids: Vec<u64>,
}

impl Numbers {
    #[inline]
    fn of(&mut self, order_id: u64) -> u32 {
        if order_id < FLAT_END {
            order_id as u32
        } else {
            self.of_far(order_id)
        }
    }

    /// # Panics
    /// When owners run out.
    #[cold]
    fn of_far(&mut self, order_id: u64) -> u32 {
        let next = FLAT_END as u32 + self.far_ids.len() as u32;
        *self.far.entry(order_id).or_insert_with(|| {
            assert!(next < Owner::END, "BOUND: at most 2^23 order ids from 2^23 on");
            self.far_ids.push(order_id);
            next
        })
    }

    #[inline]
    fn order_id(&self, number: u32) -> u64 {
        if u64::from(number) < FLAT_END {
            u64::from(number)
        } else {
            self.far_ids[number as usize - FLAT_END as usize]
        }
    }
}

/// The book and everything that leads to and from it.
#[derive(Debug)]
pub(crate) struct Desk {
    book: PlainBook,
    numbers: Numbers,
    /// By number: where the order rested last. The row's owner tells whether it still does.
    handles: Vec<u32>,
    writer: Writer,
}

impl Desk {
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            book: PlainBook::new(Rules {
                range: RangeMode::Off,
                spread_min: 0,
            }),
            numbers: Numbers::default(),
            handles: vec![NONE; ORDERS],
            writer,
        }
    }

    #[inline]
    pub(crate) fn on_new_order(&mut self, order: &NewOrder) {
        let NewOrder {
            order_id,
            sequence_number,
            ..
        } = *order;
        let (price, quantity, side) = (ticks(order.price_ticks), order.quantity, side_of(order.side));
        let message = self.message(order_id, sequence_number, side);
        let life = if order.ioc == 0 {
            TimeInForce::Gate
        } else {
            TimeInForce::Ioc
        };
        self.submit::<false>(&message, price, quantity, life);
    }

    #[inline]
    pub(crate) fn on_cancel(&mut self, cancel: &Cancel) {
        let mut message = self.message(cancel.order_id, cancel.sequence_number, Side::Buy);
        let removed = self
            .resting(message.number)
            .and_then(|handle| self.book.cancel(handle, &mut Silent));
        let (kind, price, quantity) = match removed {
            Some(order) => {
                message.side = order.side();
                (ReportKind::CancelAck, order.price(), order.leaves())
            }
            None => (ReportKind::CancelReject, 0, 0),
        };
        self.writer.put(kind, &message.about(), 0, price, quantity);
    }

    #[inline]
    pub(crate) fn on_modify(&mut self, modify: &Modify) {
        let (price, quantity) = (ticks(modify.new_price_ticks), modify.new_quantity);
        let mut message = self.message(modify.order_id, modify.sequence_number, side_of(modify.side));
        match self
            .resting(message.number)
            .and_then(|handle| self.book.cancel(handle, &mut Silent))
        {
            Some(order) => {
                message.side = order.side();
                self.submit::<true>(&message, price, quantity, TimeInForce::Gate);
            }
            None => self.writer.put(ReportKind::ModifyReject, &message.about(), 0, 0, 0),
        }
    }

    #[inline]
    fn message(&mut self, order_id: u64, sequence_number: u64, side: Side) -> Message {
        assert!(fits(sequence_number), "BOUND: sequence numbers are below 2^60");
        Message {
            sequence_number,
            order_id,
            number: self.numbers.of(order_id),
            side,
        }
    }

    /// Where the order of a number rests.
    #[inline]
    fn resting(&self, number: u32) -> Option<Handle> {
        let handle = Handle::new(*self.handles.get(number as usize)?);
        let order = self.book.get(handle)?;
        (order.owner() == Owner::new(number)).then_some(handle)
    }

    #[inline]
    fn submit<const MODIFY: bool>(&mut self, message: &Message, price: i32, quantity: u32, life: TimeInForce) {
        let mut reports = Reports::<MODIFY> {
            about: message.about(),
            numbers: &self.numbers,
            writer: &mut self.writer,
        };
        if quantity == 0 {
            // The book takes no empty order: it is acknowledged, and that is all there is of it.
            reports.acknowledge(price, 0);
            return;
        }
        let mut incoming = Incoming::limit(Owner::new(message.number), message.side, price, quantity);
        incoming.time_in_force = life;
        if let Some(handle) = self.book.submit(&incoming, &mut reports).rests {
            let at = message.number as usize;
            if self.handles.len() <= at {
                self.handles.resize(at + 1, NONE);
            }
            self.handles[at] = handle.get();
        }
    }

    /// Makes every report visible.
    pub(crate) fn flush(&self) {
        self.writer.publish();
    }

    pub(crate) fn best(&self, side: Side) -> Option<i32> {
        self.book.best(side)
    }

    /// Quantity resting at a price.
    pub(crate) fn depth_at(&self, side: Side, price: i64) -> u64 {
        i32::try_from(price).map_or(0, |price| self.book.level(side, price).0)
    }
}

/// The side a byte of the ABI stands for.
pub(crate) const fn side_of(side: u8) -> Side {
    if side == 0 { Side::Buy } else { Side::Sell }
}

/// # Panics
/// If the book does not hold the price; the ABI has no report that says so.
#[inline]
fn ticks(price: i64) -> i32 {
    i32::try_from(price).expect("BOUND: prices are signed 32-bit ticks")
}

impl Message {
    #[inline]
    const fn about(&self) -> About {
        About {
            sequence_number: self.sequence_number,
            order_id: self.order_id,
            side: self.side.index() as u8,
        }
    }
}

/// Records of one message's order as reports; `MODIFY`: its acceptance answers a modify.
struct Reports<'a, const MODIFY: bool> {
    about: About,
    numbers: &'a Numbers,
    writer: &'a mut Writer,
}

impl<const MODIFY: bool> Reports<'_, MODIFY> {
    #[inline]
    fn acknowledge(&mut self, price: i32, quantity: u32) {
        let kind = if MODIFY {
            ReportKind::ModifyAck
        } else {
            ReportKind::OrderAck
        };
        self.writer.put(kind, &self.about, 0, price, quantity);
    }
}

impl<const MODIFY: bool> Tape for Reports<'_, MODIFY> {
    // Where a record is made its kind is known: inlined, nothing of the record is built.
    #[inline(always)]
    fn put(&mut self, record: Record) {
        match record.kind() {
            Some(Kind::Accepted) => self.acknowledge(record.price(), record.energy()),
            Some(Kind::Deal) => {
                let maker = self.numbers.order_id(record.subject().owner.get());
                let (price, quantity) = (record.price(), record.energy());
                self.writer.put(ReportKind::Trade, &self.about, maker, price, quantity);
            }
            Some(Kind::Closed) => {
                let (price, quantity) = (record.price(), record.energy());
                self.writer.put(ReportKind::CancelAck, &self.about, 0, price, quantity);
            }
            kind => unreachable!("INVARIANT: plain orders are not {kind:?}"),
        }
    }
}
