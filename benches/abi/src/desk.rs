//! Messages into the book, its records into reports.

use crate::abi::{Cancel, Modify, NewOrder, ReportKind};
use crate::queue::{About, Writer, fits};
use std::collections::HashMap;
use wattbook_book::{Handle, Incoming, Kind, Owner, PlainBook, Record, Rules, Tape};
use wattbook_types::{RangeMode, Side, TimeInForce};

/// Client ids below this are looked up in a table, others in a map.
const FLAT_END: u64 = 1 << 24;
/// Nowhere: no number, no handle.
const NONE: u32 = u32::MAX;

/// Different order ids there is room for without growing.
const ORDERS: usize = 1 << 20;
/// Translated messages there is room for without growing.
const MESSAGES: usize = 1 << 21;

/// Room for `len` items in memory that has been written once, so that the system has handed it out.
fn touched<T: Clone>(item: T, len: usize) -> Vec<T> {
    let mut room = vec![item; len];
    room.clear();
    room
}

/// What a message asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    New,
    NewIoc,
    Cancel,
    Modify,
}

/// A message in the book's terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    sequence_number: u64,
    order_id: u64,
    /// Dense number of the client's order id.
    number: u32,
    price: i32,
    quantity: u32,
    ask: Ask,
    side: Side,
}

/// Dense numbers for client ids, in the order in which they are first seen.
#[derive(Debug)]
struct Numbers {
    flat: Vec<u32>,
    far: HashMap<u64, u32>,
    len: u32,
}

impl Numbers {
    /// # Panics
    /// When owners run out.
    fn of(&mut self, order_id: u64) -> u32 {
        let entry = if order_id < FLAT_END {
            let at = order_id as usize;
            if self.flat.len() <= at {
                let more = (at + 1).next_power_of_two();
                self.flat.resize(more, NONE);
            }
            &mut self.flat[at]
        } else {
            self.far.entry(order_id).or_insert(NONE)
        };
        if *entry == NONE {
            assert!(self.len < Owner::END, "BOUND: at most 2^24 different order ids");
            *entry = self.len;
            self.len += 1;
        }
        *entry
    }
}

/// The book and everything that leads to and from it.
#[derive(Debug)]
pub(crate) struct Desk {
    numbers: Numbers,
    /// Messages translated before they are delivered, in order of delivery.
    prebuilt: Vec<Message>,
    delivered: usize,
    matcher: Matcher,
}

/// What the measured calls touch.
#[derive(Debug)]
struct Matcher {
    book: PlainBook,
    /// By number: where the order rested last. The row's owner tells whether it still does.
    handles: Vec<u32>,
    /// By number: the client's id.
    order_ids: Vec<u64>,
    writer: Writer,
}

impl Desk {
    pub(crate) fn new(writer: Writer) -> Self {
        let nothing = Message {
            sequence_number: 0,
            order_id: 0,
            number: NONE,
            price: 0,
            quantity: 0,
            ask: Ask::Cancel,
            side: Side::Buy,
        };
        Self {
            numbers: Numbers {
                flat: vec![NONE; ORDERS],
                far: HashMap::new(),
                len: 0,
            },
            prebuilt: touched(nothing, MESSAGES),
            delivered: 0,
            matcher: Matcher {
                book: PlainBook::new(Rules {
                    range: RangeMode::Off,
                    spread_min: 0,
                }),
                handles: touched(NONE, ORDERS),
                order_ids: touched(u64::MAX, ORDERS),
                writer,
            },
        }
    }

    /// Keeps a translated message for its delivery.
    pub(crate) fn prebuild(&mut self, message: Message) {
        self.prebuilt.push(message);
    }

    /// Messages translated and not yet delivered.
    pub(crate) fn waiting(&self) -> usize {
        self.prebuilt.len() - self.delivered
    }

    /// Delivers the next `count` translated messages.
    #[inline]
    pub(crate) fn deliver_prebuilt(&mut self, count: usize) {
        let end = self.delivered + count;
        for message in &self.prebuilt[self.delivered..end] {
            self.matcher.take(message);
        }
        self.delivered = end;
    }

    /// Delivers a message that was not translated before.
    pub(crate) fn deliver(&mut self, message: Message) {
        self.matcher.take(&message);
    }

    pub(crate) fn translate_new(&mut self, order: &NewOrder) -> Message {
        let ask = if order.ioc == 0 { Ask::New } else { Ask::NewIoc };
        self.translate(
            ask,
            order.order_id,
            order.sequence_number,
            order.price_ticks,
            order.quantity,
            order.side,
        )
    }

    pub(crate) fn translate_cancel(&mut self, cancel: &Cancel) -> Message {
        self.translate(Ask::Cancel, cancel.order_id, cancel.sequence_number, 0, 0, 0)
    }

    pub(crate) fn translate_modify(&mut self, modify: &Modify) -> Message {
        let (price, quantity) = (modify.new_price_ticks, modify.new_quantity);
        self.translate(
            Ask::Modify,
            modify.order_id,
            modify.sequence_number,
            price,
            quantity,
            modify.side,
        )
    }

    /// # Panics
    /// If a figure is beyond what the book holds; the ABI has no report that says so.
    fn translate(
        &mut self,
        ask: Ask,
        order_id: u64,
        sequence_number: u64,
        price: i64,
        quantity: u32,
        side: u8,
    ) -> Message {
        assert!(fits(sequence_number), "BOUND: sequence numbers are below 2^60");
        let number = self.numbers.of(order_id);
        let matcher = &mut self.matcher;
        if matcher.handles.len() <= number as usize {
            matcher.handles.push(NONE);
            matcher.order_ids.push(order_id);
        }
        Message {
            sequence_number,
            order_id,
            number,
            price: i32::try_from(price).expect("BOUND: prices are signed 32-bit ticks"),
            quantity,
            ask,
            side: side_of(side),
        }
    }

    /// Makes every report visible.
    pub(crate) fn flush(&self) {
        self.matcher.writer.publish();
    }

    pub(crate) fn best(&self, side: Side) -> Option<i32> {
        self.matcher.book.best(side)
    }

    /// Quantity resting at a price.
    pub(crate) fn depth_at(&self, side: Side, price: i64) -> u64 {
        i32::try_from(price).map_or(0, |price| self.matcher.book.level(side, price).0)
    }
}

/// The side a byte of the ABI stands for.
pub(crate) const fn side_of(side: u8) -> Side {
    if side == 0 { Side::Buy } else { Side::Sell }
}

impl Matcher {
    #[inline]
    fn take(&mut self, message: &Message) {
        match message.ask {
            Ask::New => self.submit::<false>(message, message.side, TimeInForce::Gate),
            Ask::NewIoc => self.submit::<false>(message, message.side, TimeInForce::Ioc),
            Ask::Cancel => self.cancel(message),
            Ask::Modify => self.modify(message),
        }
    }

    /// Where the order of a message rests.
    #[inline]
    fn resting(&self, message: &Message) -> Option<Handle> {
        let handle = Handle::new(self.handles[message.number as usize]);
        let order = self.book.get(handle)?;
        (order.owner() == Owner::new(message.number)).then_some(handle)
    }

    #[inline]
    fn submit<const MODIFY: bool>(&mut self, message: &Message, side: Side, time_in_force: TimeInForce) {
        let mut reports = Reports::<MODIFY> {
            about: message.about(side),
            order_ids: &self.order_ids,
            writer: &mut self.writer,
        };
        if message.quantity == 0 {
            // The book takes no empty order: it is acknowledged, and that is all there is of it.
            reports.acknowledge(message.price, 0);
            return;
        }
        let mut incoming = Incoming::limit(Owner::new(message.number), side, message.price, message.quantity);
        incoming.time_in_force = time_in_force;
        if let Some(handle) = self.book.submit(&incoming, &mut reports).rests {
            self.handles[message.number as usize] = handle.get();
        }
    }

    #[inline]
    fn cancel(&mut self, message: &Message) {
        let Some(handle) = self.resting(message) else {
            let about = message.about(message.side);
            self.writer.put(ReportKind::CancelReject, &about, 0, 0, 0);
            return;
        };
        if let Some(order) = self.book.remove(handle) {
            let about = message.about(order.side());
            self.writer
                .put(ReportKind::CancelAck, &about, 0, order.price(), order.leaves());
        }
    }

    #[inline]
    fn modify(&mut self, message: &Message) {
        let removed = self.resting(message).and_then(|handle| self.book.remove(handle));
        match removed {
            Some(order) => self.submit::<true>(message, order.side(), TimeInForce::Gate),
            None => {
                let about = message.about(message.side);
                self.writer.put(ReportKind::ModifyReject, &about, 0, 0, 0);
            }
        }
    }
}

impl Message {
    #[inline]
    const fn about(&self, side: Side) -> About {
        About {
            sequence_number: self.sequence_number,
            order_id: self.order_id,
            side: side.index() as u8,
        }
    }
}

/// Records of one message's order as reports; `MODIFY`: its acceptance answers a modify.
struct Reports<'a, const MODIFY: bool> {
    about: About,
    order_ids: &'a [u64],
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
                let maker = self.order_ids[record.subject().owner.get() as usize];
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
