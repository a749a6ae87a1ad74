//! The continuous book against one written to be obviously right, on 10,000 seeded streams of orders by few participants:
//! execution by execution, with places, reasons and what rests; and the invariants of a book on the same streams.
//!
//! The model keeps a flat list and computes everything anew from MARKET 3.4, 3.5 and 2.5 at every order, in `i128`. It
//! shares no code with `wattbook_market::book` but its types. A failing stream is shrunk before it is printed.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::Dice;
use wattbook_market::book::{Arrival, Book, Order, Rest, Standing, SweepRules};
use wattbook_types::{Energy, OrderId, ParticipantId, Ppm, Price, RangeMode, Side, TimeInForce, TimeNs};

const STREAMS: u64 = 10_000;

/// The rules of a stream.
#[derive(Clone, Debug)]
struct Setting {
    range: RangeMode,
    spread_min: i64,
    charge: i64,
    standing: BTreeMap<ParticipantId, Standing>,
    /// Group by participant; 0: none.
    groups: BTreeMap<ParticipantId, u8>,
}

impl Setting {
    fn standing(&self, who: ParticipantId) -> (i128, i128) {
        match self.standing.get(&who) {
            Some(s) => (s.reputation.get().into(), s.percentile.get().into()),
            // A newcomer after gate opening: the prior's reputation, ranked behind everyone.
            None => (500_000, 1_000_000),
        }
    }

    fn affiliated(&self, a: ParticipantId, b: ParticipantId) -> bool {
        let group = |who| self.groups.get(&who).copied().unwrap_or(0);
        a == b || (group(a) != 0 && group(a) == group(b))
    }

    /// Nothing but price and time decides.
    fn is_plain(&self) -> bool {
        self.range == RangeMode::Off && self.spread_min == 0 && self.charge == 0
    }
}

/// One operation of a stream.
#[derive(Clone, Copy, Debug)]
enum Op {
    New(Order),
    /// Replaces the n-th oldest resting order.
    Replace(usize, Order),
    /// Cancels the n-th oldest resting order.
    Cancel(usize),
}

/// What an operation did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Outcome {
    /// (resting order, its price, energy).
    executions: Vec<(OrderId, i32, u64)>,
    /// Why something is left over, if something is.
    rest: Option<Rest>,
    /// The name that rests afterwards.
    rests: Option<OrderId>,
    refused: bool,
}

/// What the two books are driven by: everything beyond a sweep that an order's life asks for.
trait Trades {
    fn run(&mut self, op: Op) -> Outcome;
    /// Resting orders of a side in queue order.
    fn queue(&self, side: Side) -> Vec<Order>;
    /// (participant, pos, range) of a side in place order.
    fn places(&self, side: Side) -> Vec<(ParticipantId, u32, u32)>;
}

// The obvious book.

struct Model {
    setting: Setting,
    resting: Vec<Order>,
}

/// Lower is better.
fn badness(order: &Order) -> i128 {
    match order.side {
        Side::Buy => -i128::from(order.price.get()),
        Side::Sell => i128::from(order.price.get()),
    }
}

/// Eq 5.
fn eq5(opposite: i128, percentile: i128) -> i128 {
    1.max(opposite.min((opposite * (1_000_000 - percentile) + 500_000).div_euclid(1_000_000)))
}

impl Model {
    fn of_side(&self, side: Side) -> Vec<Order> {
        let mut list: Vec<Order> = self.resting.iter().filter(|o| o.side == side).copied().collect();
        list.sort_by_key(|o| (badness(o), o.arrival));
        list
    }

    /// Participants by their best live quote: price, then R, then arrival.
    fn line(&self, orders: &[Order]) -> Vec<ParticipantId> {
        let who: BTreeSet<ParticipantId> = orders.iter().map(|o| o.id.participant).collect();
        let mut line: Vec<ParticipantId> = who.into_iter().collect();
        line.sort_by_key(|&who| {
            let mine = orders.iter().filter(|o| o.id.participant == who);
            let best = mine.map(|o| (badness(o), o.arrival)).min();
            best.map(|(price, arrival)| (price, -self.setting.standing(who).0, arrival))
        });
        line
    }

    fn sweep(&self, incoming: &Order) -> (Vec<(OrderId, i32, u64)>, Option<Rest>) {
        let s = &self.setting;
        let me = incoming.id.participant;
        let theirs = self.of_side(incoming.side.opposite());
        let mut ours = self.of_side(incoming.side);
        ours.push(*incoming);
        let (my_line, their_line) = (self.line(&ours), self.line(&theirs));
        let pos = |line: &[ParticipantId], who| line.iter().position(|x| *x == who).map(|i| i as i128 + 1).unwrap();
        let my_pos = pos(&my_line, me);
        let my_range = eq5(their_line.len() as i128, s.standing(me).1);
        let may = |other: ParticipantId| {
            let own = pos(&their_line, other) <= my_range;
            let counterparty = my_pos <= eq5(my_line.len() as i128, s.standing(other).1);
            match s.range {
                RangeMode::Off => true,
                RangeMode::Own => own,
                RangeMode::Counterparty => counterparty,
                RangeMode::Mutual => own && counterparty,
                RangeMode::Either => own || counterparty,
            }
        };
        let closes = |other: &Order| -badness(incoming) - badness(other) >= i128::from(s.spread_min);
        let pays = |o: &Order| o.side == Side::Sell || i64::from(o.charge_cap) >= s.charge;

        let mut left = incoming.leaves.get();
        let mut executions = Vec::new();
        if theirs.is_empty() {
            return (executions, Some(Rest::NoCounterparty));
        }
        if !pays(incoming) {
            return (executions, Some(Rest::ChargeCap));
        }
        if !theirs.iter().any(closes) {
            return (executions, Some(Rest::PriceNotMet));
        }
        let mut out_of_range = false;
        for other in theirs.iter().filter(|o| closes(o) && pays(o)) {
            if left == 0 {
                break;
            }
            if !may(other.id.participant) {
                out_of_range = true;
                continue;
            }
            let energy = left.min(other.leaves.get());
            // Per execution; a remainder below the minimum is exempt from it.
            let least = |o: &Order, left: u64| if left < o.min_fill.get() { 0 } else { o.min_fill.get() };
            if energy < least(incoming, left) || energy < least(other, other.leaves.get()) {
                continue;
            }
            if s.affiliated(me, other.id.participant) {
                return (executions, Some(Rest::SelfTrade));
            }
            executions.push((other.id, other.price.get(), energy));
            left -= energy;
        }
        let rest = match (left, out_of_range) {
            (0, _) => None,
            (_, true) => Some(Rest::OutOfRange),
            (_, false) => Some(Rest::Exhausted),
        };
        (executions, rest)
    }

    fn enter(&mut self, order: Order) -> Outcome {
        let (executions, rest) = self.sweep(&order);
        let filled: u64 = executions.iter().map(|e| e.2).sum();
        if order.time_in_force == TimeInForce::PostOnly && !executions.is_empty() {
            return Outcome {
                refused: true,
                ..Outcome::default()
            };
        }
        if order.time_in_force == TimeInForce::Fok && filled < order.leaves.get() {
            return Outcome {
                rest,
                ..Outcome::default()
            };
        }
        for (id, _, energy) in &executions {
            let resting = self.resting.iter_mut().find(|o| o.id == *id).unwrap();
            resting.leaves = Energy::new(resting.leaves.get() - energy);
        }
        self.resting.retain(|o| o.leaves.get() > 0);
        let leaves = Energy::new(order.leaves.get() - filled);
        let stays = leaves.get() > 0 && order.time_in_force != TimeInForce::Ioc && rest != Some(Rest::SelfTrade);
        if stays {
            self.resting.push(Order { leaves, ..order });
        }
        Outcome {
            executions,
            rest,
            rests: stays.then_some(order.id),
            refused: false,
        }
    }

    /// The n-th oldest resting order.
    fn nth(&self, n: usize) -> Option<Order> {
        let mut all = self.resting.clone();
        all.sort_by_key(|o| o.arrival);
        (!all.is_empty()).then(|| all[n % all.len()])
    }
}

impl Trades for Model {
    fn run(&mut self, op: Op) -> Outcome {
        match op {
            Op::New(order) => self.enter(order),
            Op::Cancel(n) => {
                if let Some(old) = self.nth(n) {
                    self.resting.retain(|o| o.id != old.id);
                }
                Outcome::default()
            }
            Op::Replace(n, terms) => {
                let Some(old) = self.nth(n) else {
                    return Outcome::default();
                };
                let new = replacing(&old, &terms);
                if new.price == old.price && new.leaves <= old.leaves {
                    for order in self.resting.iter_mut().filter(|o| o.id == old.id) {
                        *order = Order {
                            arrival: old.arrival,
                            ..new
                        };
                    }
                    return Outcome {
                        rests: Some(new.id),
                        ..Outcome::default()
                    };
                }
                let before = self.resting.clone();
                self.resting.retain(|o| o.id != old.id);
                let outcome = self.enter(new);
                if outcome.refused {
                    self.resting = before;
                }
                outcome
            }
        }
    }

    fn queue(&self, side: Side) -> Vec<Order> {
        self.of_side(side)
    }

    fn places(&self, side: Side) -> Vec<(ParticipantId, u32, u32)> {
        let opposite = self.line(&self.of_side(side.opposite())).len() as i128;
        let line = self.line(&self.of_side(side)).into_iter().enumerate();
        line.map(|(i, who)| (who, i as u32 + 1, eq5(opposite, self.setting.standing(who).1) as u32))
            .collect()
    }
}

/// A replace: its own name, terms and arrival; owner, side, life and what the owner calls it stay.
fn replacing(old: &Order, terms: &Order) -> Order {
    Order {
        id: OrderId {
            participant: old.id.participant,
            ..terms.id
        },
        side: old.side,
        time_in_force: old.time_in_force,
        valid_until: old.valid_until,
        client_order_id: old.client_order_id,
        ..*terms
    }
}

// The book under test, driven as the market drives it.

struct Fast {
    setting: Setting,
    book: Book,
}

impl Fast {
    fn with<R>(&mut self, f: impl FnOnce(&mut Book, &SweepRules<'_>) -> R) -> R {
        let setting = &self.setting;
        let rules = SweepRules {
            range: setting.range,
            spread_min: setting.spread_min,
            charge: setting.charge,
            standing: &setting.standing,
            affiliated: &|a, b| setting.affiliated(a, b),
        };
        f(&mut self.book, &rules)
    }

    fn enter(&mut self, order: Order) -> Outcome {
        let plan = self.with(|book, rules| book.plan(&order, rules));
        assert_eq!(
            plan.filled.get(),
            plan.executions.iter().map(|e| e.energy.get()).sum::<u64>()
        );
        let rest = (plan.rest != Rest::None).then_some(plan.rest);
        assert_eq!(
            rest.is_none(),
            plan.filled == order.leaves,
            "a reason for exactly what is left"
        );
        if order.time_in_force == TimeInForce::PostOnly && !plan.executions.is_empty() {
            return Outcome {
                refused: true,
                ..Outcome::default()
            };
        }
        if order.time_in_force == TimeInForce::Fok && plan.filled < order.leaves {
            return Outcome {
                rest,
                ..Outcome::default()
            };
        }
        let mut executions = Vec::new();
        for e in &plan.executions {
            let before = self.book.get(&e.resting).unwrap().leaves.get();
            let after = self.with(|book, rules| book.fill(&e.resting, e.energy, rules));
            assert_eq!(before - e.energy.get(), after.leaves.get());
            assert_eq!(self.book.get(&e.resting).is_none(), after.leaves.is_zero());
            executions.push((e.resting, e.price.get(), e.energy.get()));
        }
        let leaves = order.leaves.saturating_sub(plan.filled);
        let stays = !leaves.is_zero() && order.time_in_force != TimeInForce::Ioc && plan.rest != Rest::SelfTrade;
        if stays {
            self.with(|book, rules| book.insert(Order { leaves, ..order }, rules));
        }
        Outcome {
            executions,
            rest,
            rests: stays.then_some(order.id),
            refused: false,
        }
    }

    fn nth(&self, n: usize) -> Option<Order> {
        let mut all: Vec<Order> = self
            .book
            .side(Side::Buy)
            .chain(self.book.side(Side::Sell))
            .copied()
            .collect();
        all.sort_by_key(|o| o.arrival);
        (!all.is_empty()).then(|| all[n % all.len()])
    }
}

impl Trades for Fast {
    fn run(&mut self, op: Op) -> Outcome {
        match op {
            Op::New(order) => self.enter(order),
            Op::Cancel(n) => {
                if let Some(old) = self.nth(n) {
                    let removed = self.with(|book, rules| book.remove(&old.id, rules));
                    assert_eq!(removed, Some(old));
                    assert_eq!(self.with(|book, rules| book.remove(&old.id, rules)), None);
                }
                Outcome::default()
            }
            Op::Replace(n, terms) => {
                let Some(old) = self.nth(n) else {
                    return Outcome::default();
                };
                let new = replacing(&old, &terms);
                if new.price == old.price && new.leaves <= old.leaves {
                    let reduced = self
                        .book
                        .reduce(&old.id, new.id, new.leaves, new.charge_cap, new.min_fill);
                    assert_eq!(reduced.map(|o| (o.id, o.arrival)), Some((new.id, old.arrival)));
                    return Outcome {
                        rests: Some(new.id),
                        ..Outcome::default()
                    };
                }
                self.with(|book, rules| book.remove(&old.id, rules));
                let outcome = self.enter(new);
                if outcome.refused {
                    self.with(|book, rules| book.insert(old, rules));
                }
                outcome
            }
        }
    }

    fn queue(&self, side: Side) -> Vec<Order> {
        self.book.side(side).copied().collect()
    }

    fn places(&self, side: Side) -> Vec<(ParticipantId, u32, u32)> {
        let setting = &self.setting;
        let rules = SweepRules {
            range: setting.range,
            spread_min: setting.spread_min,
            charge: setting.charge,
            standing: &setting.standing,
            affiliated: &|a, b| setting.affiliated(a, b),
        };
        let mut places: Vec<_> = self
            .book
            .places(side, &rules)
            .into_iter()
            .map(|(who, place)| (who, place.pos, place.range))
            .collect();
        places.sort_by_key(|place| place.1);
        assert_eq!(places.len(), self.book.owners(side) as usize);
        places
    }
}

// Streams.

const EDGE_PRICES: [i32; 10] = [i32::MIN, -999_900, -250, -1, 0, 0, 1, 250, 999_900, i32::MAX];
const EDGE_ENERGIES: [u64; 8] = [1, 1, 2, 99, 100, 101, 4_000_000_000, 6_842_600_000];

#[derive(Clone, Debug)]
struct Stream {
    setting: Setting,
    ops: Vec<Op>,
}

impl Stream {
    fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let people = 2 + dice.below(7);
        let coarse = dice.once_in(2);
        let charge = if dice.once_in(2) { 0 } else { 250 };
        let spread_min = if dice.once_in(4) { 2 * charge } else { 0 };
        let mut setting = Setting {
            range: RangeMode::ALL[(seed % 5) as usize],
            spread_min,
            charge,
            standing: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        let grouped = dice.once_in(3);
        for serial in 1..=people {
            let who = ParticipantId::new(serial);
            // Somebody may have come after gate opening.
            if !dice.once_in(8) {
                let reputation = if coarse {
                    dice.pick(&[0, 500_000, 900_000])
                } else {
                    dice.below(1_000_001) as u32
                };
                let percentile = Ppm::new((1_000_000 * dice.below(people) / people) as u32);
                setting.standing.insert(
                    who,
                    Standing {
                        reputation: Ppm::new(reputation),
                        percentile,
                    },
                );
            }
            if grouped {
                setting.groups.insert(who, dice.below(3) as u8);
            }
        }
        let tight = dice.once_in(2);
        let ops = (0..40 + dice.below(61))
            .map(|i| Self::op(&mut dice, i, people, tight))
            .collect();
        Self { setting, ops }
    }

    fn op(dice: &mut Dice, i: u64, people: u64, tight: bool) -> Op {
        let price = match dice.below(4) {
            0 => dice.pick(&EDGE_PRICES),
            _ if tight => 9_998 + dice.below(5) as i32,
            _ => 9_000 + 100 * dice.below(20) as i32,
        };
        let energy = match dice.below(3) {
            0 => dice.pick(&EDGE_ENERGIES),
            1 => 10 * (1 + dice.below(5)),
            _ => 1 + dice.below(1_000),
        };
        let min_fill = if dice.once_in(4) { 1 + dice.below(energy) } else { 0 };
        let tifs = [
            TimeInForce::Gate,
            TimeInForce::Ioc,
            TimeInForce::Fok,
            TimeInForce::PostOnly,
            TimeInForce::Until,
        ];
        let time_in_force = if dice.once_in(2) {
            TimeInForce::Gate
        } else {
            dice.pick(&tifs)
        };
        let order = Order {
            id: OrderId {
                participant: ParticipantId::new(1 + dice.below(people)),
                nonce: i + 1,
                index: 0,
            },
            side: if dice.once_in(2) { Side::Buy } else { Side::Sell },
            price: Price::new(price),
            charge_cap: dice.pick(&[0, 249, 250, 300, 300, 300]),
            leaves: Energy::new(energy),
            min_fill: Energy::new(min_fill),
            time_in_force,
            valid_until: TimeNs::ZERO,
            client_order_id: i,
            arrival: Arrival {
                seq: i / 3,
                rank: (i % 3) as u32,
            },
        };
        match dice.below(10) {
            0 => Op::Cancel(dice.below(64) as usize),
            1 | 2 => Op::Replace(dice.below(64) as usize, order),
            _ => Op::New(order),
        }
    }

    /// Runs both books side by side.
    fn run(&self, counts: &mut Counts) -> Result<(), String> {
        let mut model = Model {
            setting: self.setting.clone(),
            resting: Vec::new(),
        };
        let mut fast = Fast {
            setting: self.setting.clone(),
            book: Book::default(),
        };
        // No cap and no minimum fill ever entered: what is left of a sweep never crosses.
        let mut plain = self.setting.is_plain();
        for (i, op) in self.ops.iter().enumerate() {
            let queues = [Side::Buy, Side::Sell].map(|side| model.queue(side));
            let (want, got) = (model.run(*op), fast.run(*op));
            if want != got {
                return Err(format!(
                    "operation {i} {op:?}: the model did {want:?}, the book {got:?}"
                ));
            }
            for side in [Side::Buy, Side::Sell] {
                if model.queue(side) != fast.queue(side) {
                    return Err(format!("operation {i} {op:?}: the {side:?} queues differ"));
                }
                let (want, got) = (model.places(side), fast.places(side));
                if want != got {
                    return Err(format!(
                        "operation {i} {op:?}: places of {side:?}: {want:?}, in the book {got:?}"
                    ));
                }
            }
            counts.add(&got);
            if let Op::New(order) | Op::Replace(_, order) = op {
                plain &= order.min_fill.is_zero();
            }
            if let Op::New(order) = op {
                self.check_sweep(order, &got, &queues, &fast)
                    .map_err(|what| format!("operation {i} {op:?}: {what}"))?;
            }
            let best = [Side::Buy, Side::Sell].map(|side| fast.queue(side).first().map(|o| o.price));
            if let (true, [Some(bid), Some(ask)]) = (plain, best)
                && bid >= ask
            {
                return Err(format!(
                    "operation {i} {op:?}: a plain book is crossed, {bid} over {ask}"
                ));
            }
        }
        Ok(())
    }

    /// The invariants of one sweep, without the model.
    fn check_sweep(&self, order: &Order, got: &Outcome, queues: &[Vec<Order>; 2], fast: &Fast) -> Result<(), String> {
        let other = &queues[order.side.opposite().index()];
        let filled: u64 = got.executions.iter().map(|e| e.2).sum();
        if filled > order.leaves.get() {
            return Err("more energy than asked for".into());
        }
        let volume = |queue: &[Order]| queue.iter().map(|o| u128::from(o.leaves.get())).sum::<u128>();
        let mine = u128::from(if got.rests.is_some() {
            order.leaves.get() - filled
        } else {
            0
        });
        let after = [order.side, order.side.opposite()].map(|side| volume(&fast.queue(side)));
        let before = [order.side, order.side.opposite()].map(|side| volume(&queues[side.index()]));
        if after != [before[0] + mine, before[1] - u128::from(filled)] {
            return Err("energy came or went".into());
        }
        // Price-time: executions walk down the queue, and whoever stands before the last one and may trade is empty.
        let at: Vec<usize> = got
            .executions
            .iter()
            .map(|e| other.iter().position(|o| o.id == e.0).unwrap())
            .collect();
        if !at.windows(2).all(|w| w[0] < w[1]) {
            return Err("executions jump the queue".into());
        }
        for (n, e) in got.executions.iter().enumerate() {
            let resting = &other[at[n]];
            let last = n + 1 == got.executions.len();
            if !last && e.2 != resting.leaves.get() {
                return Err("an order was left for a worse one".into());
            }
            let spread = -badness(order) - badness(resting);
            if spread < i128::from(self.setting.spread_min) {
                return Err("a deal beyond a limit".into());
            }
            if self.setting.affiliated(order.id.participant, resting.id.participant) {
                return Err("a deal within a group".into());
            }
            let enough = |o: &Order, left: u64| left < o.min_fill.get() || e.2 >= o.min_fill.get();
            let done: u64 = got.executions[..n].iter().map(|e| e.2).sum();
            if !enough(resting, resting.leaves.get()) || !enough(order, order.leaves.get() - done) {
                return Err("an execution below a minimum".into());
            }
            let buyer = if order.side == Side::Buy { order } else { resting };
            if i64::from(buyer.charge_cap) < self.setting.charge {
                return Err("a charge above its cap".into());
            }
        }
        Ok(())
    }

    /// The shortest stream found by leaving operations out that still fails.
    fn shrunk(&self) -> (Self, String) {
        let mut best = self.clone();
        let mut why = best.run(&mut Counts::default()).expect_err("it failed before");
        let mut chunk = best.ops.len().div_ceil(2);
        while chunk > 0 {
            let mut from = 0;
            while from < best.ops.len() {
                let mut shorter = best.clone();
                shorter.ops.drain(from..(from + chunk).min(best.ops.len()));
                match shorter.run(&mut Counts::default()) {
                    Err(what) => (best, why) = (shorter, what),
                    Ok(()) => from += chunk,
                }
            }
            chunk /= 2;
        }
        (best, why)
    }
}

/// How often each thing happened, so that the streams are known to reach it.
#[derive(Default, Debug)]
struct Counts {
    executions: u64,
    sweeps: u64,
    refused: u64,
    rests: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        self.executions += outcome.executions.len() as u64;
        self.sweeps += u64::from(outcome.executions.len() > 1);
        self.refused += u64::from(outcome.refused);
        if let Some(rest) = outcome.rest {
            *self.rests.entry(format!("{rest:?}")).or_default() += 1;
        }
    }
}

#[test]
fn the_fast_book_is_the_obvious_book() {
    let mut counts = Counts::default();
    for seed in 0..STREAMS {
        let stream = Stream::random(seed);
        if stream.run(&mut counts).is_err() {
            let (stream, why) = stream.shrunk();
            panic!("seed {seed}: {why}\n{stream:?}");
        }
    }
    let reached = counts.executions > 50_000 && counts.sweeps > 5_000 && counts.refused > 1_000;
    assert!(
        reached && counts.rests.len() == 6,
        "the streams miss something: {counts:?}"
    );
    assert!(
        counts.rests.values().all(|n| *n > 1_000),
        "the streams miss something: {counts:?}"
    );
}

fn order(nonce: u64, who: u64, side: Side, price: i32, wh: u64) -> Order {
    Order {
        id: OrderId {
            participant: ParticipantId::new(who),
            nonce,
            index: 0,
        },
        side,
        price: Price::new(price),
        charge_cap: 0,
        leaves: Energy::new(wh),
        min_fill: Energy::ZERO,
        time_in_force: TimeInForce::Gate,
        valid_until: TimeNs::ZERO,
        client_order_id: 0,
        arrival: Arrival { seq: nonce, rank: 0 },
    }
}

fn setting(range: RangeMode, standing: &[(u64, u32, u32)]) -> Setting {
    let of = |&(who, r, p): &(u64, u32, u32)| {
        let standing = Standing {
            reputation: Ppm::new(r),
            percentile: Ppm::new(p),
        };
        (ParticipantId::new(who), standing)
    };
    Setting {
        range,
        spread_min: 0,
        charge: 0,
        standing: standing.iter().map(of).collect(),
        groups: BTreeMap::new(),
    }
}

fn both(setting: Setting, ops: Vec<Op>) -> Fast {
    let stream = Stream { setting, ops };
    stream.run(&mut Counts::default()).unwrap();
    let mut fast = Fast {
        setting: stream.setting,
        book: Book::default(),
    };
    for op in &stream.ops {
        fast.run(*op);
    }
    fast
}

/// Reputation outranks time where prices tie, and an owner's earlier order of the same price stands for it.
#[test]
fn places_tie_by_reputation_then_arrival() {
    let setting = setting(RangeMode::Own, &[(1, 500_000, 0), (2, 900_000, 0), (3, 500_000, 0)]);
    let bids = [(1, 3, 100), (2, 1, 100), (3, 2, 100), (4, 3, 100), (5, 1, 101)];
    let ops = bids.map(|(nonce, who, price)| Op::New(order(nonce, who, Side::Buy, price, 5)));
    let fast = both(setting, ops.to_vec());
    let line: Vec<u64> = fast.places(Side::Buy).iter().map(|p| p.0.get()).collect();
    assert_eq!(line, [1, 2, 3]);
}

/// The range of the incoming order is held through its sweep, though the sweep empties the places it counted.
#[test]
fn places_are_taken_once_per_incoming_order() {
    let setting = setting(RangeMode::Own, &[(1, 0, 0), (2, 0, 0), (3, 0, 0), (9, 0, 500_000)]);
    let mut ops: Vec<Op> = (1..=3)
        .map(|n| Op::New(order(n, n, Side::Sell, 100 + n as i32, 10)))
        .collect();
    ops.push(Op::New(order(4, 9, Side::Buy, 200, 100)));
    let fast = both(setting, ops);
    // N = 3 and the middle percentile: range 2. The third ask stays, and the book is crossed.
    assert_eq!(
        fast.queue(Side::Sell).iter().map(|o| o.id.nonce).collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(fast.queue(Side::Buy)[0].leaves, Energy::new(80));
}

/// An affiliated order that a minimum fill passes over would not trade, so it cancels nobody.
#[test]
fn only_an_order_next_to_fill_is_a_self_trade() {
    let mut setting = setting(RangeMode::Off, &[]);
    setting.groups = [1, 2].map(|who| (ParticipantId::new(who), 1)).into();
    let wide = Order {
        min_fill: Energy::new(50),
        ..order(1, 1, Side::Sell, 90, 100)
    };
    let ops = vec![
        Op::New(wide),
        Op::New(order(2, 3, Side::Sell, 95, 10)),
        Op::New(order(3, 2, Side::Buy, 100, 20)),
    ];
    let fast = both(setting, ops);
    assert_eq!(fast.queue(Side::Buy)[0].leaves, Energy::new(10));
}
