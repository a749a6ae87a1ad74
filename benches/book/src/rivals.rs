//! Other people's books from the registry, driven through their public interface.
//!
//! # Contract
//! * The operations are ours, in the rival's own types; what can be converted ahead of the clock is. Ids go in as the rival
//!   takes them, sequential where it offers a choice; fills are read from what it returns.
//! * `orderbook-rs` 0.15.3 gives an order's fills in the result of the call. Its clock is a stub, its trade ids are from a
//!   fixed name space, no listener is installed.
//! * `matchcore` 0.4.0 names an order by the sequence number of its command. As published it sweeps a crossing limit order
//!   through every level, whatever its limit (`submit_crossable_order` passes no limit on), so it trades too much and then
//!   refuses cancels of orders it has filled.

use crate::flow::{Class, Flow, Op, Side, Totals};
use crate::measure::{Contender, Run, timed};
use matchcore::{
    CancelCmd, Command, CommandKind, CommandMeta, CommandOutcome, CommandReport, LimitOrder, NewOrder, OrderFlags,
    OrderKind, Price, Quantity, QuantityPolicy, SequenceNumber, SubmitCmd, Timestamp,
};
use orderbook_rs::{Id, OrderBook, StubClock};
use std::hint::black_box;
use std::sync::Arc;

/// Rows of `orderbook-rs`, by flow.
const ORDERBOOK_RS: [&str; 4] = [
    "orderbook-rs/standard",
    "orderbook-rs/deep",
    "orderbook-rs/wide",
    "orderbook-rs/jumps",
];
/// Rows of `matchcore`, by flow.
const MATCHCORE: [&str; 4] = [
    "matchcore/standard",
    "matchcore/deep",
    "matchcore/wide",
    "matchcore/jumps",
];
/// Timed operations that `orderbook-rs` gets, from the front of the flow: the whole would take minutes.
pub(crate) const ORDERBOOK_RS_LEN: usize = 200_000;
/// Added to prices, which are unsigned there; a price of 0 is refused.
const LIFT: i64 = 1 << 31;

fn lifted(price: i32) -> u64 {
    (i64::from(price) + LIFT).unsigned_abs()
}

fn row(rows: [&'static str; 4], flow: &Flow) -> &'static str {
    let of_flow = |row: &&str| row.ends_with(flow.shape.name);
    rows.into_iter().find(of_flow).expect("every flow has a row")
}

/// The rivals on a flow.
pub(crate) fn contenders(flow: &Flow) -> Vec<Contender<'_>> {
    vec![matchcore(flow), orderbook_rs(flow)]
}

fn orderbook_rs(flow: &Flow) -> Contender<'_> {
    let prefill = flow.shape.prefill;
    let len = ORDERBOOK_RS_LEN.min(flow.timed().len());
    let (before, under) = flow.ops[..prefill + len].split_at(prefill);
    let filled = move || {
        let book = OrderBook::with_clock("W", Arc::new(StubClock::starting_at(1)));
        let mut totals = Totals::new();
        for op in before {
            apply_orderbook_rs(&book, op, &mut totals);
        }
        (book, totals)
    };
    Contender {
        row: row(ORDERBOOK_RS, flow),
        len,
        expected: flow.totals_of(prefill + len),
        run: Box::new(move || {
            let (book, mut totals) = filled();
            let elapsed = timed(|| {
                for op in under {
                    apply_orderbook_rs(&book, op, &mut totals);
                }
            });
            Run { elapsed, totals }
        }),
        latencies: Box::new(move |latencies| {
            let (book, mut totals) = filled();
            latencies.of(under, |op| apply_orderbook_rs(&book, op, &mut totals));
        }),
    }
}

#[inline(always)]
fn apply_orderbook_rs(book: &OrderBook<()>, op: &Op, totals: &mut Totals) {
    let id = Id::sequential(op.id.into());
    if op.class == Class::Cancel {
        let _ = black_box(book.cancel_order(id));
        return;
    }
    let side = match op.side {
        Side::Buy => orderbook_rs::Side::Buy,
        Side::Sell => orderbook_rs::Side::Sell,
    };
    let (price, qty) = (u128::from(lifted(op.price)), u64::from(op.qty));
    let added = book.add_limit_order_with_result(id, price, qty, side, orderbook_rs::TimeInForce::Gtc, None);
    if let Ok((_, Some(result))) = black_box(&added) {
        for trade in result.match_result.trades().as_vec() {
            totals.trades += 1;
            totals.volume += trade.quantity().as_u64();
        }
    }
}

fn matchcore(flow: &Flow) -> Contender<'_> {
    // An order is known by the number of its command.
    let mut command_of: Vec<u32> = Vec::with_capacity(flow.orders as usize);
    let mut ops = flow.ops.clone();
    for (number, op) in (0..).zip(&mut ops) {
        match op.class {
            Class::Cancel => op.id = command_of[op.id as usize],
            Class::Passive | Class::Aggressive => {
                command_of.push(number);
                op.id = number;
            }
        }
    }
    let ops: Arc<[Op]> = ops.into();
    let prefill = flow.shape.prefill;
    let filled = |ops: &[Op]| {
        let mut book = Matchcore {
            book: matchcore::OrderBook::new("W"),
            number: 0,
            totals: Totals::new(),
        };
        ops.iter().for_each(|op| book.apply(op));
        book
    };
    let again = Arc::clone(&ops);
    Contender {
        row: row(MATCHCORE, flow),
        len: flow.timed().len(),
        expected: flow.totals,
        run: Box::new(move || {
            let mut book = filled(&ops[..prefill]);
            let elapsed = timed(|| ops[prefill..].iter().for_each(|op| book.apply(op)));
            Run {
                elapsed,
                totals: book.totals,
            }
        }),
        latencies: Box::new(move |latencies| {
            let mut book = filled(&again[..prefill]);
            latencies.of(&again[prefill..], |op| book.apply(op));
        }),
    }
}

struct Matchcore {
    book: matchcore::OrderBook,
    /// Number of the next command.
    number: u64,
    totals: Totals,
}

impl Matchcore {
    #[inline(always)]
    fn apply(&mut self, op: &Op) {
        let kind = match op.class {
            Class::Cancel => CommandKind::Cancel(CancelCmd {
                order_id: matchcore::OrderId(op.id.into()),
                order_kind: OrderKind::Limit,
            }),
            Class::Passive | Class::Aggressive => {
                let side = match op.side {
                    Side::Buy => matchcore::Side::Buy,
                    Side::Sell => matchcore::Side::Sell,
                };
                CommandKind::Submit(SubmitCmd {
                    order: NewOrder::Limit(LimitOrder::new(
                        Price(lifted(op.price)),
                        QuantityPolicy::Standard {
                            quantity: Quantity(op.qty.into()),
                        },
                        OrderFlags::new(side, false, matchcore::TimeInForce::Gtc),
                    )),
                })
            }
        };
        let meta = CommandMeta {
            sequence_number: SequenceNumber(self.number),
            timestamp: Timestamp(self.number),
        };
        self.number += 1;
        let outcome = black_box(self.book.execute(&Command { meta, kind }));
        if let CommandOutcome::Applied(CommandReport::Submit(effects)) = &outcome
            && let Some(result) = effects.target_order().match_result()
        {
            self.totals.trades += result.trades().len() as u64;
            self.totals.volume += result.executed_quantity().0;
        }
    }
}
