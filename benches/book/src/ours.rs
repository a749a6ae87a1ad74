//! Our rows: what stands beside the base and the rivals.
//!
//! # Rows
//! `book/standard/events`, `book/standard/silent`, `book/standard/range-off` (owners have places that nobody asks for),
//! `book/standard/range-either`, `book/standard/range-own`, `book/deep/events`, `book/deep/range-either`, `book/wide/events`,
//! `book/jumps/events` on flows; `book/memory` alone. `core/commands` is in
//! [`market`](crate::market), `round/200k` and `round/2m` in [`round`](crate::round).

#![expect(clippy::float_arithmetic, reason = "figures of a measurement, not state")]

use crate::base;
use crate::flow::{Flow, Prices};
use crate::measure::Contender;
use crate::report::Figure;
#[cfg(feature = "rivals")]
use crate::rivals;
use wattbook_types::RangeMode;

/// Everything that runs on a flow, the base first.
pub(crate) fn contenders<'a>(flow: &'a Flow, percentiles: &'a [u32]) -> Vec<Contender<'a>> {
    let mut contenders = Vec::new();
    if flow.shape.prices == Prices::Dense {
        contenders.push(base::contender::<true>(flow));
        contenders.push(base::contender::<false>(flow));
    }
    contenders.extend(match flow.shape.name {
        "standard" => vec![
            book::events("book/standard/events", flow),
            book::silent("book/standard/silent", flow),
            book::ranged("book/standard/range-off", flow, RangeMode::Off, percentiles),
            book::ranged("book/standard/range-either", flow, RangeMode::Either, percentiles),
            book::ranged("book/standard/range-own", flow, RangeMode::Own, percentiles),
        ],
        "deep" => vec![
            book::events("book/deep/events", flow),
            book::ranged("book/deep/range-either", flow, RangeMode::Either, percentiles),
        ],
        "wide" => vec![book::events("book/wide/events", flow)],
        _ => vec![book::events("book/jumps/events", flow)],
    });
    #[cfg(feature = "rivals")]
    contenders.extend(rivals::contenders(flow));
    contenders
}

/// Figures of the book that are no speed.
pub(crate) fn figures(flow: &Flow, percentiles: &[u32]) -> Vec<Figure> {
    book::memory(flow, percentiles)
}

/// The book of `wattbook-book`.
///
/// Handles are assigned before the clock, as ingest assigns them before the book: a cancel names a row, not an id. They
/// come from running the flow once, since the same operations give the same handles.
mod book {
    use super::{Contender, Figure, Flow};
    use crate::flow::{self, Class, Op, Totals};
    use crate::measure::{Latencies, Run, timed};
    use std::cell::RefCell;
    use std::hint::black_box;
    use std::rc::Rc;
    use wattbook_book::{Book, Handle, Incoming, Kind, Outcome, Owner, Record, Ring, Rules, Silent, Standing, Tape};
    use wattbook_types::{Ppm, RangeMode, Side};

    /// Records of the caller's ring, as many as the base has.
    const RING_LOG2: u32 = 12;
    /// Operations after which the book's memory must not have grown.
    const MEMORY_OPS: usize = 100_000_000;

    const OFF: Rules = Rules {
        range: RangeMode::Off,
        spread_min: 0,
    };

    /// A book that is filled anew for every run, in memory touched before the clock.
    struct Room<const RANGED: bool, T> {
        rules: Rules,
        percentiles: Vec<u32>,
        orders_max: usize,
        book: Book<RANGED>,
        tape: T,
    }

    /// Counts deals.
    struct Count(Totals);

    impl Tape for Count {
        fn put(&mut self, record: Record) {
            if record.kind() == Some(Kind::Deal) {
                self.0.trades += 1;
                self.0.volume += u64::from(record.energy());
            }
        }
    }

    #[inline(always)]
    fn submit<const RANGED: bool, T: Tape>(book: &mut Book<RANGED>, op: &Op, tape: &mut T) -> Outcome {
        // Without ranges nobody meets itself: every order has an owner of its own.
        let owner = Owner::new(if RANGED { u32::from(op.owner) } else { op.id });
        let side = match op.side {
            flow::Side::Buy => Side::Buy,
            flow::Side::Sell => Side::Sell,
        };
        book.submit_limit(owner, side, op.price, op.qty, tape)
    }

    #[inline(always)]
    fn apply<const RANGED: bool, T: Tape>(book: &mut Book<RANGED>, op: &Op, tape: &mut T) {
        match op.class {
            Class::Cancel => black_box(book.cancel(Handle::new(op.id), tape).is_some()),
            Class::Passive | Class::Aggressive => black_box(submit(book, op, tape).taken),
        };
    }

    impl<const RANGED: bool, T: Tape> Room<RANGED, T> {
        fn new(rules: Rules, percentiles: &[u32], orders_max: usize, tape: T) -> Self {
            Self {
                rules,
                percentiles: percentiles.to_vec(),
                orders_max,
                book: Book::new(rules),
                tape,
            }
        }

        /// An empty book with room for the orders of the flow, every row of it touched.
        fn clear(&mut self) {
            let mut book = Book::new(self.rules);
            book.reserve(self.orders_max);
            for (owner, percentile) in (0..).zip(&self.percentiles) {
                let standing = Standing {
                    percentile: Ppm::new(*percentile),
                    ..Standing::UNRANKED
                };
                book.set_standing(Owner::new(owner), standing);
            }
            let order = Incoming::limit(Owner::new(0), Side::Buy, i32::MIN, 1);
            let rows: Vec<Handle> = (0..self.orders_max).map(|_| book.rest(&order, &mut Silent)).collect();
            for row in rows.into_iter().rev() {
                book.cancel(row, &mut Silent);
            }
            self.book = book;
        }
    }

    /// The operations with handles for ids in the cancels, the totals they come to, and the most orders there are at once.
    fn with_handles<const RANGED: bool>(flow: &Flow, rules: Rules, percentiles: &[u32]) -> (Vec<Op>, Totals, usize) {
        // Handles depend on the rows there are: fill as a run does, first to learn how many it takes.
        let mut orders_max = 0;
        loop {
            let mut room = Room::<RANGED, Count>::new(rules, percentiles, orders_max, Count(Totals::new()));
            room.clear();
            let mut handles = vec![None; flow.orders as usize];
            let mut ops = Vec::with_capacity(flow.ops.len());
            let mut most = 0;
            for op in &flow.ops {
                let mut op = *op;
                if op.class == Class::Cancel {
                    // An order that met its own owner is gone already: its cancel finds nothing.
                    let handle: Option<Handle> = handles[op.id as usize].take();
                    op.id = handle.map_or(u32::MAX, Handle::get);
                    room.book.cancel(Handle::new(op.id), &mut room.tape);
                } else {
                    let outcome = submit(&mut room.book, &op, &mut room.tape);
                    handles[op.id as usize] = outcome.rests;
                    most = most.max(room.book.len());
                }
                ops.push(op);
            }
            if most <= orders_max {
                return (ops, room.tape.0, orders_max);
            }
            orders_max = most;
        }
    }

    fn contender<'a, const RANGED: bool, T: Tape + 'a>(
        row: &'static str,
        flow: &'a Flow,
        rules: Rules,
        percentiles: &[u32],
        tape: T,
    ) -> Contender<'a> {
        let (ops, totals, orders_max) = with_handles::<RANGED>(flow, rules, percentiles);
        let ops = Rc::new(ops);
        let prefill = flow.shape.prefill;
        let room = Room::<RANGED, T>::new(rules, percentiles, orders_max, tape);
        let room = Rc::new(RefCell::new(room));
        let (again, ops_again) = (Rc::clone(&room), Rc::clone(&ops));
        let refill = move |room: &mut Room<RANGED, T>, ops: &[Op]| {
            room.clear();
            ops[..prefill]
                .iter()
                .for_each(|op| apply(&mut room.book, op, &mut room.tape));
        };
        Contender {
            row,
            len: flow.timed().len(),
            // Owners that meet themselves change what a flow trades: ranged rows are held against their own first run.
            expected: if RANGED { totals } else { flow.totals },
            run: Box::new(move || {
                let room = &mut *room.borrow_mut();
                refill(room, &ops);
                let Room { book, tape, .. } = room;
                let elapsed = timed(|| ops[prefill..].iter().for_each(|op| apply(book, op, tape)));
                Run { elapsed, totals }
            }),
            latencies: Box::new(move |latencies: &mut Latencies| {
                let room = &mut *again.borrow_mut();
                refill(room, &ops_again);
                let Room { book, tape, .. } = room;
                latencies.of(&ops_again[prefill..], |op| apply(book, op, tape));
            }),
        }
    }

    /// Ranges off: a record per acknowledgement and deal into a ring of the caller.
    pub(super) fn events<'a>(row: &'static str, flow: &'a Flow) -> Contender<'a> {
        contender::<false, _>(row, flow, OFF, &[], Ring::new(RING_LOG2))
    }

    /// The same without records.
    pub(super) fn silent<'a>(row: &'static str, flow: &'a Flow) -> Contender<'a> {
        contender::<false, _>(row, flow, OFF, &[], Silent)
    }

    /// With the owners' ranges by their percentiles.
    pub(super) fn ranged<'a>(
        row: &'static str,
        flow: &'a Flow,
        range: RangeMode,
        percentiles: &[u32],
    ) -> Contender<'a> {
        let rules = Rules { range, ..OFF };
        contender::<true, _>(row, flow, rules, percentiles, Ring::new(RING_LOG2))
    }

    /// `book/memory`: bytes a resting order by the book's own account, places included, and how much they grow in 10^8
    /// operations: the standard flow again and again, [`Flow::resting`] cancelled in between.
    pub(super) fn memory(flow: &Flow, percentiles: &[u32]) -> Vec<Figure> {
        let rules = Rules {
            range: RangeMode::Either,
            ..OFF
        };
        let mut room = Room::<true, Silent>::new(rules, percentiles, 0, Silent);
        room.clear();
        let book = &mut room.book;
        let mut handles: Vec<Option<Handle>> = vec![None; flow.orders as usize];
        let (mut most, mut first) = ((0, 0), 0);
        let turns = MEMORY_OPS.div_ceil(flow.ops.len());
        for turn in 0..turns {
            for op in &flow.ops {
                if op.class == Class::Cancel {
                    if let Some(handle) = handles[op.id as usize].take() {
                        book.cancel(handle, &mut Silent);
                    }
                } else {
                    handles[op.id as usize] = submit(book, op, &mut Silent).rests;
                    if turn == 0 && book.len() > most.0 {
                        most = (book.len(), book.bytes());
                    }
                }
            }
            if turn == 0 {
                first = book.bytes();
            }
            let rest: Vec<Handle> = [Side::Buy, Side::Sell]
                .iter()
                .flat_map(|&side| book.side(side).map(|(handle, _)| handle).collect::<Vec<_>>())
                .collect();
            for handle in rest {
                book.cancel(handle, &mut Silent);
            }
        }
        let figure = |metric: &str, value: f64, unit, samples| Figure {
            bench: "book/memory".to_owned(),
            metric: metric.to_owned(),
            value,
            unit,
            ratio: None,
            samples,
        };
        vec![
            figure("bytes_per_order", most.1 as f64 / most.0 as f64, "B", most.0),
            figure(
                "growth_after_1e8",
                book.bytes() as f64 - first as f64,
                "B",
                turns * flow.ops.len(),
            ),
        ]
    }
}
