//! The exported functions, driven as the benchmark drives them, on small scripts whose reports are expected in full.
#![allow(unsafe_code, reason = "the functions under test take raw pointers")]

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};
use wattbook_adapter::abi::{Body, Cancel, Modify, NewOrder, Report, ReportKind, Tagged, Transport};
use wattbook_adapter::*;

const BUY: u8 = 0;
const SELL: u8 = 1;

/// The process has one engine: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// How messages reach the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Delivery {
    One,
    Batch,
}

const DELIVERIES: [Delivery; 2] = [Delivery::One, Delivery::Batch];

/// An engine between `engine_init` and `engine_shutdown`.
struct Session {
    transport: Transport,
    queue: *mut c_void,
    _turn: MutexGuard<'static, ()>,
}

impl Session {
    fn open() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let address = engine_get_transport();
        // SAFETY: the transport is a static of the library.
        let transport = unsafe { *address };
        // SAFETY: `create` is called as the header says, and its handle goes to the engine of this turn.
        let queue = unsafe {
            let queue = transport.create.expect("a queue is created")(1 << 10);
            engine_init(7, address, queue);
            queue
        };
        Self {
            transport,
            queue,
            _turn: turn,
        }
    }

    fn deliver(&self, messages: &[Tagged], delivery: Delivery) {
        // SAFETY: each pointer is to the live part of a message that outlives the call.
        unsafe {
            if delivery == Delivery::Batch {
                let (first, second) = messages.split_at(messages.len() / 2);
                engine_on_batch(first.as_ptr(), first.len() as u32);
                engine_on_batch(second.as_ptr(), second.len() as u32);
                return;
            }
            for message in messages {
                match message.kind {
                    NEW => engine_on_new_order(&raw const message.body.new_order),
                    CANCEL => engine_on_cancel(&raw const message.body.cancel),
                    _ => engine_on_modify(&raw const message.body.modify),
                }
            }
        }
    }

    fn reports(&self) -> Vec<Report> {
        engine_flush();
        let drain = self.transport.drain.expect("a queue is drained");
        let mut found = Vec::new();
        let mut some = [Report::default(); 3];
        loop {
            // SAFETY: `some` holds as many reports as are asked for, and only this thread drains.
            let len = unsafe { drain(self.queue, some.as_mut_ptr(), some.len() as u32) };
            if len == 0 {
                return found;
            }
            found.extend_from_slice(&some[..len as usize]);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        engine_shutdown();
        // SAFETY: the engine is gone and nobody else has the handle.
        unsafe { self.transport.destroy.expect("a queue is destroyed")(self.queue) };
    }
}

/// Messages numbered in order.
#[derive(Default)]
struct Script(Vec<Tagged>);

impl Script {
    fn push(mut self, kind: u8, body: impl FnOnce(u64) -> Body) -> Self {
        let body = body(self.0.len() as u64);
        self.0.push(Tagged {
            kind,
            reserved: [0; 7],
            body,
        });
        self
    }

    fn order(self, order_id: u64, side: u8, quantity: u32, price_ticks: i64, ioc: u8) -> Self {
        self.push(NEW, |sequence_number| Body {
            new_order: NewOrder {
                order_id,
                sequence_number,
                price_ticks,
                quantity,
                side,
                ioc,
                reserved: [0; 2],
            },
        })
    }

    fn new_order(self, order_id: u64, side: u8, quantity: u32, price_ticks: i64) -> Self {
        self.order(order_id, side, quantity, price_ticks, 0)
    }

    fn ioc(self, order_id: u64, side: u8, quantity: u32, price_ticks: i64) -> Self {
        self.order(order_id, side, quantity, price_ticks, 1)
    }

    fn cancel(self, order_id: u64) -> Self {
        self.push(CANCEL, |sequence_number| Body {
            cancel: Cancel {
                order_id,
                sequence_number,
            },
        })
    }

    fn modify(self, order_id: u64, side: u8, new_quantity: u32, new_price_ticks: i64) -> Self {
        self.push(MODIFY, |sequence_number| Body {
            modify: Modify {
                order_id,
                sequence_number,
                new_price_ticks,
                new_quantity,
                side,
                reserved: [0; 3],
            },
        })
    }

    /// Delivers it in every way, each to an empty book, and compares the reports.
    fn gives(&self, expected: &[Report]) {
        for delivery in DELIVERIES {
            let session = Session::open();
            session.deliver(&self.0, delivery);
            assert_eq!(session.reports(), expected, "{delivery:?}");
        }
    }
}

/// A report about an order.
fn said(kind: ReportKind, sequence_number: u64, side: u8, order_id: u64, price_ticks: i64, quantity: u32) -> Report {
    Report {
        kind: kind as u8,
        side,
        sequence_number,
        order_id,
        price_ticks,
        quantity,
        ..Report::default()
    }
}

fn ack(sequence_number: u64, side: u8, order_id: u64, price_ticks: i64, quantity: u32) -> Report {
    said(
        ReportKind::OrderAck,
        sequence_number,
        side,
        order_id,
        price_ticks,
        quantity,
    )
}

fn modified(sequence_number: u64, side: u8, order_id: u64, price_ticks: i64, quantity: u32) -> Report {
    said(
        ReportKind::ModifyAck,
        sequence_number,
        side,
        order_id,
        price_ticks,
        quantity,
    )
}

fn cancelled(sequence_number: u64, side: u8, order_id: u64, price_ticks: i64, quantity: u32) -> Report {
    said(
        ReportKind::CancelAck,
        sequence_number,
        side,
        order_id,
        price_ticks,
        quantity,
    )
}

fn trade(sequence_number: u64, side: u8, maker: u64, taker: u64, price_ticks: i64, quantity: u32) -> Report {
    Report {
        maker_order_id: maker,
        taker_order_id: taker,
        ..said(ReportKind::Trade, sequence_number, side, taker, price_ticks, quantity)
    }
}

#[test]
fn orders_trade_at_the_makers_price_by_price_then_time() {
    Script::default()
        .new_order(1, SELL, 10, 102)
        .new_order(2, SELL, 10, 101)
        .new_order(3, SELL, 5, 101)
        .new_order(4, BUY, 22, 103)
        .gives(&[
            ack(0, SELL, 1, 102, 10),
            ack(1, SELL, 2, 101, 10),
            ack(2, SELL, 3, 101, 5),
            ack(3, BUY, 4, 103, 22),
            trade(3, BUY, 2, 4, 101, 10),
            trade(3, BUY, 3, 4, 101, 5),
            trade(3, BUY, 1, 4, 102, 7),
        ]);
}

#[test]
fn an_immediate_remainder_is_cancelled_and_does_not_rest() {
    Script::default()
        .new_order(1, BUY, 10, -5)
        .ioc(2, SELL, 15, -5)
        .ioc(3, BUY, 1, 1_000)
        .gives(&[
            ack(0, BUY, 1, -5, 10),
            ack(1, SELL, 2, -5, 15),
            trade(1, SELL, 1, 2, -5, 10),
            cancelled(1, SELL, 2, -5, 5),
            ack(2, BUY, 3, 1_000, 1),
            cancelled(2, BUY, 3, 1_000, 1),
        ]);
}

#[test]
fn a_modify_loses_its_place_even_at_the_same_price() {
    Script::default()
        .new_order(1, BUY, 10, 100)
        .new_order(2, BUY, 10, 100)
        .modify(1, BUY, 10, 100)
        .new_order(3, SELL, 15, 100)
        .gives(&[
            ack(0, BUY, 1, 100, 10),
            ack(1, BUY, 2, 100, 10),
            modified(2, BUY, 1, 100, 10),
            ack(3, SELL, 3, 100, 15),
            trade(3, SELL, 2, 3, 100, 10),
            trade(3, SELL, 1, 3, 100, 5),
        ]);
}

#[test]
fn a_modify_that_crosses_trades_and_its_remainder_rests() {
    Script::default()
        .new_order(1, SELL, 4, 100)
        .new_order(2, BUY, 10, 99)
        .modify(2, BUY, 11, 101)
        .cancel(2)
        .gives(&[
            ack(0, SELL, 1, 100, 4),
            ack(1, BUY, 2, 99, 10),
            modified(2, BUY, 2, 101, 11),
            trade(2, BUY, 1, 2, 100, 4),
            cancelled(3, BUY, 2, 101, 7),
        ]);
}

#[test]
fn what_does_not_rest_is_neither_cancelled_nor_modified() {
    let reject = |kind, sequence_number, side, order_id| said(kind, sequence_number, side, order_id, 0, 0);
    Script::default()
        .cancel(9)
        .modify(9, SELL, 1, 1)
        .new_order(1, BUY, 1, 1)
        .cancel(1)
        .cancel(1)
        .new_order(2, SELL, 1, 1)
        .ioc(3, BUY, 1, 1)
        // The row of order 2 is free: the next order takes it, and the name of order 2 does not reach it.
        .new_order(4, SELL, 1, 1)
        .modify(2, SELL, 2, 1)
        .cancel(2)
        .gives(&[
            reject(ReportKind::CancelReject, 0, BUY, 9),
            reject(ReportKind::ModifyReject, 1, SELL, 9),
            ack(2, BUY, 1, 1, 1),
            cancelled(3, BUY, 1, 1, 1),
            reject(ReportKind::CancelReject, 4, BUY, 1),
            ack(5, SELL, 2, 1, 1),
            ack(6, BUY, 3, 1, 1),
            trade(6, BUY, 2, 3, 1, 1),
            ack(7, SELL, 4, 1, 1),
            reject(ReportKind::ModifyReject, 8, SELL, 2),
            reject(ReportKind::CancelReject, 9, BUY, 2),
        ]);
}

#[test]
fn the_id_of_an_order_that_is_gone_names_a_new_one() {
    let far = u64::MAX - 1;
    Script::default()
        .new_order(far, BUY, 3, 10)
        .cancel(far)
        .new_order(far, SELL, 3, 20)
        .new_order(1, BUY, 3, 20)
        .new_order(far, BUY, 2, 5)
        .cancel(far)
        .gives(&[
            ack(0, BUY, far, 10, 3),
            cancelled(1, BUY, far, 10, 3),
            ack(2, SELL, far, 20, 3),
            ack(3, BUY, 1, 20, 3),
            trade(3, BUY, far, 1, 20, 3),
            ack(4, BUY, far, 5, 2),
            cancelled(5, BUY, far, 5, 2),
        ]);
}

#[test]
fn an_order_for_nothing_is_acknowledged_and_gone() {
    Script::default()
        .new_order(1, SELL, 0, 10)
        .new_order(2, BUY, 1, 10)
        .modify(2, BUY, 0, 10)
        .cancel(2)
        .gives(&[
            ack(0, SELL, 1, 10, 0),
            ack(1, BUY, 2, 10, 1),
            modified(2, BUY, 2, 10, 0),
            said(ReportKind::CancelReject, 3, BUY, 2, 0, 0),
        ]);
}

#[test]
fn queries_see_every_message_delivered() {
    let session = Session::open();
    let empty = (i64::MIN, i64::MAX);
    let best = || (engine_query_best_bid(), engine_query_best_ask());
    assert_eq!(best(), empty);
    let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let script = Script::default()
        .new_order(1, BUY, 10, low)
        .new_order(2, SELL, 7, high)
        .new_order(3, SELL, 8, high);
    session.deliver(&script.0, Delivery::One);
    assert_eq!(best(), (low, high));
    assert_eq!(engine_query_depth_at(low, BUY), 10);
    assert_eq!(engine_query_depth_at(high, SELL), 15);
    assert_eq!(engine_query_depth_at(high, BUY), 0);
    assert_eq!(engine_query_depth_at(high + 1, SELL), 0);
    session.deliver(&Script::default().cancel(1).cancel(2).cancel(3).0, Delivery::Batch);
    assert_eq!(best(), empty);
}
