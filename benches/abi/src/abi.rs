//! What crosses the boundary: the structs of the benchmark's header, in its layout.
//!
//! # Format
//! Native byte order, naturally aligned. Sides: 0 buy, 1 sell. Messages: 0 new, 1 cancel, 2 modify.

use core::ffi::c_void;
use core::mem::offset_of;

/// `new_order_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct NewOrder {
    /// Client's name of it.
    pub order_id: u64,
    /// Its place in the stream of messages.
    pub sequence_number: u64,
    /// Limit, ticks.
    pub price_ticks: i64,
    /// How much.
    pub quantity: u32,
    /// Buy or sell.
    pub side: u8,
    /// 1: what is not taken at once is cancelled.
    pub ioc: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// `cancel_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Cancel {
    /// The order.
    pub order_id: u64,
    /// Its place in the stream of messages.
    pub sequence_number: u64,
}

/// `modify_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Modify {
    /// The order.
    pub order_id: u64,
    /// Its place in the stream of messages.
    pub sequence_number: u64,
    /// Limit from now on, ticks.
    pub new_price_ticks: i64,
    /// How much from now on.
    pub new_quantity: u32,
    /// Side of the order.
    pub side: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// The part of a [`Tagged`] message that its `kind` selects.
#[derive(Clone, Copy)]
#[repr(C)]
pub union Body {
    /// `kind` 0.
    pub new_order: NewOrder,
    /// `kind` 1.
    pub cancel: Cancel,
    /// `kind` 2.
    pub modify: Modify,
}

/// `me_msg_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Tagged {
    /// Which message.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// The message.
    pub body: Body,
}

/// `me_report_type_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ReportKind {
    /// A new order was taken.
    OrderAck = 0,
    /// A fill at the maker's price.
    Trade = 1,
    /// A cancel was done, or an immediate order's remainder is gone.
    CancelAck = 2,
    /// A modify was done.
    ModifyAck = 3,
    /// A cancel of an order that does not rest.
    CancelReject = 4,
    /// A modify of an order that does not rest.
    ModifyReject = 5,
}

/// `me_report_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Report {
    /// A [`ReportKind`].
    pub kind: u8,
    /// Side of the message's order.
    pub side: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// Of the message it answers.
    pub sequence_number: u64,
    /// The message's order.
    pub order_id: u64,
    /// Ticks; of a trade, the maker's.
    pub price_ticks: i64,
    /// How much.
    pub quantity: u32,
    /// Zero.
    pub reserved2: u32,
    /// Of a trade: the resting order.
    pub maker_order_id: u64,
    /// Of a trade: the incoming order.
    pub taker_order_id: u64,
    /// Zero.
    pub reserved3: u64,
}

/// `me_transport_t`: a queue as functions over a handle.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Transport {
    /// A queue with room for so many reports, or null.
    pub create: Option<unsafe extern "C" fn(capacity: u32) -> *mut c_void>,
    /// Producer: 1 if the report was taken, 0 if the queue is full.
    pub push: Option<unsafe extern "C" fn(handle: *mut c_void, report: *const Report) -> i32>,
    /// Consumer: how many reports were written to `out`, at most `max`.
    pub drain: Option<unsafe extern "C" fn(handle: *mut c_void, out: *mut Report, max: u32) -> u32>,
    /// Producer: makes everything pushed visible.
    pub flush: Option<unsafe extern "C" fn(handle: *mut c_void)>,
    /// Ends the queue.
    pub destroy: Option<unsafe extern "C" fn(handle: *mut c_void)>,
}

const _: () = {
    assert!(size_of::<NewOrder>() == 32 && align_of::<NewOrder>() == 8);
    assert!(offset_of!(NewOrder, sequence_number) == 8);
    assert!(offset_of!(NewOrder, price_ticks) == 16);
    assert!(offset_of!(NewOrder, quantity) == 24);
    assert!(offset_of!(NewOrder, side) == 28 && offset_of!(NewOrder, ioc) == 29);
    assert!(size_of::<Cancel>() == 16 && offset_of!(Cancel, sequence_number) == 8);
    assert!(size_of::<Modify>() == 32);
    assert!(offset_of!(Modify, sequence_number) == 8);
    assert!(offset_of!(Modify, new_price_ticks) == 16);
    assert!(offset_of!(Modify, new_quantity) == 24 && offset_of!(Modify, side) == 28);
    assert!(size_of::<Tagged>() == 40 && offset_of!(Tagged, body) == 8);
    assert!(size_of::<Report>() == 64 && align_of::<Report>() == 8);
    assert!(offset_of!(Report, side) == 1);
    assert!(offset_of!(Report, sequence_number) == 8 && offset_of!(Report, order_id) == 16);
    assert!(offset_of!(Report, price_ticks) == 24 && offset_of!(Report, quantity) == 32);
    assert!(offset_of!(Report, maker_order_id) == 40 && offset_of!(Report, taker_order_id) == 48);
    assert!(size_of::<Transport>() == 5 * size_of::<usize>());
    assert!(offset_of!(Transport, drain) == 2 * size_of::<usize>());
};
