//! The fast book against the obvious one, on random streams with every option, ranges on and off.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod model;
mod stream;

use model::{Model, Said};
use proptest::prelude::*;
use std::collections::BTreeMap;
use stream::{Draw, OWNERS, Op, op, standing};
use wattbook_book::{Amended, Book, Handle, Incoming, Kind, Owner, Party, Reason, Record, Rules, Standing};
use wattbook_types::{RangeMode, Side, TimeInForce};

struct Pair<const RANGED: bool> {
    book: Book<RANGED>,
    model: Model,
    handles: BTreeMap<u32, Handle>,
    next: u32,
}

impl<const RANGED: bool> Pair<RANGED> {
    fn new(rules: Rules, standing: &[Standing]) -> Self {
        let mut book = Book::new(rules);
        for (i, standing) in standing.iter().enumerate() {
            book.set_standing(Owner::new(i as u32), *standing);
        }
        Self {
            book,
            model: Model::new(rules, standing.to_vec()),
            handles: BTreeMap::new(),
            next: 0,
        }
    }

    /// Records by the test's own ids; `incoming` is the id of the order that came in.
    fn named(&self, records: &[Record], incoming: Option<(u32, Handle)>) -> Vec<Said> {
        let id = |handle: Handle| {
            let resting = self.handles.iter().find(|(_, h)| **h == handle).map(|(id, _)| *id);
            resting.or(incoming.filter(|(_, h)| *h == handle).map(|(id, _)| id))
        };
        let said = |record: &Record| Said {
            kind: record.kind().unwrap(),
            reason: record.reason(),
            id: id(record.subject().handle).unwrap(),
            other: Some(record.other())
                .filter(|p| *p != Party::NOBODY)
                .and_then(|p| id(p.handle)),
            price: record.price(),
            energy: record.energy(),
            leaves: record.subject().leaves,
            other_leaves: record.other().leaves,
        };
        records.iter().map(said).collect()
    }

    fn run(&mut self, op: &Op) {
        let alive: Vec<u32> = self.model.orders.iter().map(|o| o.id).collect();
        let pick = |at: usize| (!alive.is_empty()).then(|| alive[at % alive.len()]);
        match op {
            Op::Submit(order) => {
                let id = self.next;
                self.next += 1;
                let mut records = Vec::new();
                let outcome = self.book.submit(order, &mut records);
                let handle = records[0].subject().handle;
                let said = self.named(&records, Some((id, handle)));
                let (expected, left, rest) = self.model.submit(id, order);
                assert_eq!(said, expected, "{order:?}");
                assert_eq!((outcome.left, outcome.rest), (left, rest), "{order:?}");
                if let Some(rests) = outcome.rests {
                    assert_eq!(rests, handle);
                    self.handles.insert(id, handle);
                }
            }
            Op::Cancel(at) => {
                let Some(id) = pick(*at) else { return };
                let mut records = Vec::new();
                self.book.cancel(self.handles[&id], &mut records);
                let said = self.named(&records, None);
                assert_eq!(said, self.model.cancel(id));
            }
            Op::Take(at, energy) => {
                let Some(id) = pick(*at) else { return };
                let order = self.book.get(self.handles[&id]).unwrap();
                let energy = u64::from(*energy).min(order.open()) as u32;
                let mut records = Vec::new();
                self.book.take(self.handles[&id], energy, &mut records);
                let said = self.named(&records, None);
                assert_eq!(said, self.model.take(id, energy));
            }
            Op::Amend(at, energy) => {
                let Some(id) = pick(*at) else { return };
                let order = self.model.orders.iter_mut().find(|o| o.id == id).unwrap();
                let before = order.shown;
                order.shown = order.shown.min(*energy);
                order.min_fill = 0;
                let terms = Amended {
                    leaves: order.shown,
                    hidden: order.hidden,
                    min_fill: 0,
                    display: order.display,
                    covered: order.covered,
                };
                let expected = order.speak(Kind::Reduced, Reason::None, before - order.shown);
                let mut records = Vec::new();
                self.book.amend(self.handles[&id], &terms, &mut records);
                assert_eq!(self.named(&records, None), [expected]);
            }
            Op::ProbeWithout(at, order) => {
                let Some(id) = pick(*at) else { return };
                let order = Incoming {
                    time_in_force: TimeInForce::PostOnly,
                    market_to_limit: false,
                    ..*order
                };
                let probe = self.book.probe_without(self.handles[&id], &order);
                let mut without = self.model.clone();
                without.orders.retain(|o| o.id != id);
                let (said, _, _) = without.submit(u32::MAX, &order);
                assert_eq!(probe.filled != 0, said[0].kind == Kind::Refused, "{order:?}");
            }
            Op::Rest(order) => {
                let id = self.next;
                self.next += 1;
                let mut records = Vec::new();
                let handle = self.book.rest(order, &mut records);
                self.handles.insert(id, handle);
                self.model.rest(id, order, order.price, order.energy);
                let rests = self.model.orders.last().unwrap();
                let expected = rests.speak(Kind::Shown, Reason::None, rests.shown);
                assert_eq!(self.named(&records, None), [expected]);
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        self.book.check();
        let alive: Vec<u32> = self.model.orders.iter().map(|o| o.id).collect();
        self.handles.retain(|id, _| alive.contains(id));
        let mut total = 0;
        for side in [Side::Buy, Side::Sell] {
            let expected: Vec<_> = (self.model.queue(side).iter())
                .map(|o| (self.handles[&o.id], o.owner, o.price, o.shown, o.hidden))
                .collect();
            let found: Vec<_> = (self.book.side(side))
                .map(|(h, o)| (h, o.owner().get(), o.price(), o.leaves(), o.hidden()))
                .collect();
            assert_eq!(found, expected);
            assert_eq!(self.book.best(side), expected.first().map(|o| o.2));
            total += found.len();
            if RANGED {
                assert_eq!(self.book.owners(side) as usize, self.model.placed(side, None).len());
            }
        }
        assert_eq!(self.book.len(), total);
        for owner in 0..OWNERS {
            let sides = [Side::Buy, Side::Sell].map(|side| {
                let mut queue = self.model.queue(side);
                queue.retain(|o| o.owner == owner);
                queue.into_iter().map(|o| self.handles[&o.id]).collect::<Vec<_>>()
            });
            assert_eq!(self.book.owned_by(Owner::new(owner)), sides.concat());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn ranged(
        mode in 0usize..5,
        spread in 0i64..3,
        standing in standing(),
        ops in proptest::collection::vec(op(4), 1..120),
    ) {
        let rules = Rules { range: RangeMode::ALL[mode], spread_min: spread };
        let mut pair = Pair::<true>::new(rules, &standing);
        ops.iter().for_each(|op| pair.run(op));
    }

    #[test]
    fn plain(standing in standing(), ops in proptest::collection::vec(op(4), 1..120)) {
        let rules = Rules { range: RangeMode::Off, spread_min: 0 };
        let mut pair = Pair::<false>::new(rules, &standing);
        ops.iter().for_each(|op| pair.run(op));
    }

    /// Prices far apart: every tier of the ladder, its first and its last key.
    #[test]
    fn far_prices(mode in 0usize..5, standing in standing(), ops in proptest::collection::vec(op(3), 1..100)) {
        let rules = Rules { range: RangeMode::ALL[mode], spread_min: 0 };
        let mut pair = Pair::<true>::new(rules, &standing);
        let far = [i32::MIN, -1_000_000, -64, 0, 63, 1_000_000, i32::MAX];
        for op in &ops {
            let mut op = op.clone();
            if let Op::Submit(order) | Op::Rest(order) = &mut op {
                order.price = far[(order.price + 3) as usize];
            }
            pair.run(&op);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Few prices and long queues: levels keep a tree of their owners and drop it again.
    #[test]
    fn crowded_levels(mode in 1usize..5, standing in standing(), seed in any::<u64>()) {
        let rules = Rules { range: RangeMode::ALL[mode], spread_min: 0 };
        let mut pair = Pair::<true>::new(rules, &standing);
        let mut numbers = Draw::new(seed);
        let mut draw = |end: u64| numbers.below(end);
        for turn in 0..500u64 {
            let mut order = Incoming::limit(Owner::new(draw(OWNERS.into()) as u32), Side::Buy, draw(2) as i32, 3);
            let crossing = turn > 250 && draw(6) == 0;
            if draw(2) == 0 {
                order.side = Side::Sell;
                order.price = if crossing { draw(2) as i32 } else { 2 + draw(2) as i32 };
            } else if crossing {
                order.price = 2 + draw(2) as i32;
            }
            order.energy = 1 + draw(9) as u32;
            pair.run(&Op::Submit(order));
            if draw(3) == 0 {
                pair.run(&Op::Cancel(draw(1 << 20) as usize));
            }
        }
        for _ in 0..400 {
            pair.run(&Op::Cancel(draw(1 << 20) as usize));
        }
    }
}
