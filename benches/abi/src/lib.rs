//! The hot book behind the C ABI of the public benchmark flash1-dev/matching-engine-benchmark.
//!
//! # Contract
//! * Messages are matched on the thread that delivers them; reports leave through a queue of our own.
//! * Nothing is prepared before a message is delivered, and messages are taken one by one, also in a batch.
//! * A modify is a cancel and a new order under the same id. Every order is its own owner, so none meets itself.
//! * What the book cannot hold ends the process with a word: prices beyond 32 bits, sequence numbers beyond 60, more
//!   than 2^23 different order ids from 2^23 on.
//!
//! # Map
//! `abi` structs of the header · `desk` messages and reports · `queue` the way to the draining thread · here the symbols.
#![allow(
    unsafe_code,
    reason = "the ABI hands over raw pointers; what they point to is its header's word"
)]

pub mod abi;
mod desk;
mod queue;

use abi::{Cancel, Modify, NewOrder, Report, Tagged, Transport};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use desk::{Desk, side_of};
use queue::{Queue, Writer};
use std::sync::Arc;
use wattbook_types::Side;

/// Tag of a new order in a [`Tagged`] message.
pub const NEW: u8 = 0;
/// Tag of a cancel.
pub const CANCEL: u8 = 1;
/// Tag of a modify.
pub const MODIFY: u8 = 2;

/// The one engine of the process; none before `engine_init` and after `engine_shutdown`.
struct Seat(UnsafeCell<Option<Desk>>);

// SAFETY: the header has one thread, which delivers the messages, make every `engine_*` call; the draining thread calls
// only the transport's `drain`, which does not come here.
unsafe impl Sync for Seat {}

static SEAT: Seat = Seat(UnsafeCell::new(None));

/// The engine.
///
/// # Panics
/// Before `engine_init`.
#[inline]
fn desk() -> &'static mut Desk {
    // SAFETY: only the delivering thread is here (see `Seat`), and no exported function keeps the reference or calls
    // another while it has one.
    let seat = unsafe { &mut *SEAT.0.get() };
    seat.as_mut().expect("engine_init comes first")
}

/// Sets up an empty book that reports into `report_sink`.
///
/// # Safety
/// `report_sink` was created by the transport of [`engine_get_transport`] and has no other producer.
///
/// # Panics
/// If `transport` is another one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_init(_seed: u64, transport: *const Transport, report_sink: *mut c_void) {
    assert!(
        core::ptr::eq(transport, &raw const TRANSPORT),
        "reports leave through the transport of engine_get_transport"
    );
    let queue = report_sink.cast_const().cast::<Queue>();
    // SAFETY: the header passes the handle that our `create` returned back here, before it destroys it.
    let queue = unsafe {
        Arc::increment_strong_count(queue);
        Arc::from_raw(queue)
    };
    // SAFETY: only the delivering thread is here (see `Seat`).
    unsafe { *SEAT.0.get() = Some(Desk::new(Writer::new(queue))) };
}

/// Drops the book.
#[unsafe(no_mangle)]
pub extern "C" fn engine_shutdown() {
    // SAFETY: only the delivering thread is here (see `Seat`).
    unsafe { *SEAT.0.get() = None };
}

/// Takes a new order.
///
/// # Safety
/// `order` points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_new_order(order: *const NewOrder) {
    // SAFETY: the header has `order` point to one for the length of the call.
    desk().on_new_order(unsafe { &*order });
}

/// Takes a cancel.
///
/// # Safety
/// `cancel` points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_cancel(cancel: *const Cancel) {
    // SAFETY: the header has `cancel` point to one for the length of the call.
    desk().on_cancel(unsafe { &*cancel });
}

/// Takes a modify.
///
/// # Safety
/// `modify` points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_modify(modify: *const Modify) {
    // SAFETY: the header has `modify` point to one for the length of the call.
    desk().on_modify(unsafe { &*modify });
}

/// Takes a run of messages, each as if it came alone.
///
/// # Safety
/// `msgs` points to `n` of them.
///
/// # Panics
/// Of an unknown type, or what the book cannot hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_on_batch(msgs: *const Tagged, n: u32) {
    let desk = desk();
    for at in 0..n as usize {
        // SAFETY: the header has `msgs` point to `n` messages for the length of the call, and `kind` name the live part.
        unsafe {
            let Tagged { kind, body, .. } = &*msgs.add(at);
            match *kind {
                NEW => desk.on_new_order(&body.new_order),
                CANCEL => desk.on_cancel(&body.cancel),
                MODIFY => desk.on_modify(&body.modify),
                kind => panic!("message type {kind}"),
            }
        }
    }
}

/// Makes every report visible: all messages delivered have been matched already.
#[unsafe(no_mangle)]
pub extern "C" fn engine_flush() {
    desk().flush();
}

/// Best bid, ticks; `INT64_MIN` without bids.
#[unsafe(no_mangle)]
pub extern "C" fn engine_query_best_bid() -> i64 {
    desk().best(Side::Buy).map_or(i64::MIN, i64::from)
}

/// Best ask, ticks; `INT64_MAX` without asks.
#[unsafe(no_mangle)]
pub extern "C" fn engine_query_best_ask() -> i64 {
    desk().best(Side::Sell).map_or(i64::MAX, i64::from)
}

/// Quantity resting at a price of a side.
#[unsafe(no_mangle)]
pub extern "C" fn engine_query_depth_at(price_ticks: i64, side: u8) -> u64 {
    desk().depth_at(side_of(side), price_ticks)
}

/// Our queue; reports are written to it by the engine, so that `push` is left out.
static TRANSPORT: Transport = Transport {
    create: Some(create),
    push: None,
    drain: Some(drain),
    flush: Some(flush),
    destroy: Some(destroy),
};

/// The transport over which reports leave.
#[unsafe(no_mangle)]
pub extern "C" fn engine_get_transport() -> *const Transport {
    &raw const TRANSPORT
}

extern "C" fn create(capacity: u32) -> *mut c_void {
    Arc::into_raw(Arc::new(Queue::new(capacity))).cast_mut().cast()
}

unsafe extern "C" fn drain(handle: *mut c_void, out: *mut Report, max: u32) -> u32 {
    // SAFETY: the header has `handle` come from our `create` and not yet be destroyed, and only one thread drain.
    let queue = unsafe { &*handle.cast_const().cast::<Queue>() };
    let mut at = out;
    queue.drain(max, |report| {
        // SAFETY: the header has `out` hold `max` reports, and no more are drained.
        unsafe {
            at.write(report);
            at = at.add(1);
        }
    })
}

/// Nothing is buffered once `engine_flush` is done, and it is done before.
extern "C" fn flush(_handle: *mut c_void) {}

unsafe extern "C" fn destroy(handle: *mut c_void) {
    // SAFETY: the header has `handle` come from our `create`, and be used no more.
    drop(unsafe { Arc::from_raw(handle.cast_const().cast::<Queue>()) });
}
