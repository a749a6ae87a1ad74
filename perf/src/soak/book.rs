//! The hot book under a stream of operations spelt by bytes: after each it says what the obvious book says and stands as that
//! one stands.
//!
//! The obvious book is that of `engine/book/tests`, included here by its path: there is one, and both tests hold it up.
//!
//! # Format
//! | bytes | content |
//! |---|---|
//! | 0 | who may trade with whom, modulo 5; where that is everybody, the plain book plays as well |
//! | 1 | least spread, ticks, modulo 3 |
//! | 2..10 | an owner each: reputation, 2 bits; percentile, 4 bits; group, 2 bits |
//! | from 10 | operations of 8 bytes each; what is left over counts for nothing |
//!
//! An operation:
//!
//! | byte | content |
//! |---|---|
//! | 0 | what, 4 bits; owner, 3 bits |
//! | 1 | side, 1 bit; life, 3 bits modulo 5; market-to-limit, 1 bit; self-trade, 2 bits; charge not covered, 1 bit |
//! | 2 | price, signed; of other operations the resting order, by age |
//! | 3 | 3 low bits set: the price is a far one; 2 high bits set: the energy is a great one |
//! | 4, 5 | energy, little-endian |
//! | 6 | minimum fill |
//! | 7 | energy shown at a time; raised to a hundredth of the energy, which the market asks for |

use super::dice::Dice;
use super::targets::{Class, same};
use std::collections::BTreeMap;
use wattbook_book::{Amended, Book, Handle, Incoming, Kind, Owner, Party, Record, Rules, Silent, Standing};
use wattbook_types::{Ppm, RangeMode, SelfTrade, Side, TimeInForce};

#[allow(clippy::unwrap_used, reason = "a model that has nothing to unwrap is a finding")]
#[path = "../../../engine/book/tests/model/mod.rs"]
mod model;

use model::{Model, Said};

const OWNERS: usize = 8;
const HEAD_SIZE: usize = 2 + OWNERS;
const OP_SIZE: usize = 8;
/// Longest input: some 120 operations.
pub(crate) const SIZE_MAX: usize = 1_024;
/// Slices of an iceberg at most: the obvious book is slow.
const SLICES_MAX: u32 = 100;

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const LIVES: [TimeInForce; 5] = [
    TimeInForce::Gate,
    TimeInForce::Ioc,
    TimeInForce::Fok,
    TimeInForce::PostOnly,
    TimeInForce::Until,
];
const SELF_TRADES: [SelfTrade; 4] = [
    SelfTrade::CancelNewest,
    SelfTrade::CancelOldest,
    SelfTrade::CancelBoth,
    SelfTrade::Decrement,
];

/// An operation as it is spelt.
type Op = [u8; OP_SIZE];

fn energy_of(op: Op) -> u32 {
    let low = u32::from(u16::from_le_bytes([op[4], op[5]])).max(1);
    if op[3] >> 6 == 3 { low << 16 | 0xffff } else { low }
}

fn display_of(op: Op, energy: u32) -> u32 {
    match op[7] {
        0 => 0,
        display => u32::from(display).max(energy.div_ceil(SLICES_MAX)),
    }
}

fn incoming(op: Op) -> Incoming {
    let flags = op[1];
    let side = SIDES[usize::from(flags & 1)];
    let time_in_force = LIVES[usize::from(flags >> 1 & 7) % LIVES.len()];
    let place = i32::from(op[2] as i8);
    let energy = energy_of(op);
    let display = display_of(op, energy);
    Incoming {
        owner: Owner::new(u32::from(op[0] >> 4 & 7)),
        side,
        price: match (op[3] & 7, place) {
            (7, 127) => i32::MAX,
            (7, _) => place << 24,
            _ => place % 8,
        },
        energy,
        min_fill: u32::from(op[6])
            .min(energy)
            .min(if display == 0 { energy } else { display }),
        display,
        time_in_force,
        market_to_limit: flags >> 4 & 1 == 1 && time_in_force != TimeInForce::PostOnly,
        self_trade: SELF_TRADES[usize::from(flags >> 5 & 3)],
        covered: side == Side::Sell || flags >> 7 == 0,
    }
}

/// Both books.
struct Pair<const RANGED: bool> {
    book: Book<RANGED>,
    model: Model,
    /// Where the obvious book's orders rest in the hot one.
    handles: BTreeMap<u32, Handle>,
    next_id: u32,
    /// Kinds, reasons and rests seen so far, a bit each.
    class: Class,
}

impl<const RANGED: bool> Pair<RANGED> {
    fn new(rules: Rules, standing: &[Standing]) -> Self {
        let mut book = Book::new(rules);
        for (owner, standing) in (0..).zip(standing) {
            book.set_standing(Owner::new(owner), *standing);
        }
        Self {
            book,
            model: Model::new(rules, standing.to_vec()),
            handles: BTreeMap::new(),
            next_id: 0,
            class: 0,
        }
    }

    /// The resting order that an operation means.
    fn meant(&self, op: Op) -> Option<(u32, Handle)> {
        let orders = &self.model.orders;
        let order = orders.get(usize::from(op[2]) % orders.len().max(1))?;
        Some((order.id, self.handles[&order.id]))
    }

    fn next_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Records by the obvious book's ids; `new` is the order that came in.
    fn named(&mut self, records: &[Record], new: Option<(u32, Handle)>) -> Result<Vec<Said>, String> {
        let mut all = Vec::with_capacity(records.len());
        for record in records {
            let id = |party: Party| {
                let resting = self.handles.iter().find(|(_, handle)| **handle == party.handle);
                let new = new.filter(|(_, handle)| *handle == party.handle);
                resting.map(|(id, _)| *id).or(new.map(|(id, _)| id))
            };
            let (subject, other) = (record.subject(), record.other());
            let said = Said {
                kind: record.kind().ok_or("a record of no kind")?,
                reason: record.reason(),
                id: id(subject).ok_or_else(|| format!("a record about nobody: {record:?}"))?,
                other: Some(other).filter(|other| *other != Party::NOBODY).and_then(id),
                price: record.price(),
                energy: record.energy(),
                leaves: subject.leaves,
                other_leaves: other.leaves,
            };
            self.class |= 1 << said.kind as u8 | 1 << (8 + said.reason as u8);
            all.push(said);
        }
        Ok(all)
    }

    fn play(&mut self, op: Op) -> Result<(), String> {
        match op[0] & 0xf {
            0..=8 => return self.submit(&incoming(op)),
            9 => {
                let order = incoming(op);
                let id = self.next_id();
                let handle = self.book.rest(&order, &mut Silent);
                self.handles.insert(id, handle);
                self.model.rest(id, &order, order.price, order.energy);
                return Ok(());
            }
            _ => {}
        }
        let Some((id, handle)) = self.meant(op) else {
            return Ok(());
        };
        let order = *self.book.get(handle).ok_or("a resting order is gone")?;
        // BOUND: what is open was once an energy, 32 bits.
        let open = order.open() as u32;
        match op[0] & 0xf {
            10 | 11 => {
                let mut records = Vec::new();
                let gone = self.book.cancel(handle, &mut records);
                same(
                    "the order cancelled",
                    &gone.map(|order| order.open()),
                    &Some(order.open()),
                )?;
                let said = self.named(&records, None)?;
                same("a cancel", &said, &self.model.cancel(id))
            }
            12 => {
                let energy = energy_of(op).min(open);
                let after = self.book.take(handle, energy, &mut Silent);
                self.model.take(id, energy);
                same("what a round leaves", &after.open(), &u64::from(open - energy))
            }
            13 | 14 => {
                self.amend(id, handle, op, open);
                Ok(())
            }
            _ => {
                let probe = Incoming {
                    time_in_force: TimeInForce::PostOnly,
                    market_to_limit: false,
                    ..incoming(op)
                };
                let crosses = self.book.probe_without(handle, &probe).filled != 0;
                let mut without = self.model.clone();
                without.orders.retain(|order| order.id != id);
                let (said, _, _) = without.submit(u32::MAX, &probe);
                let refused = said.iter().any(|said| said.kind == Kind::Refused);
                same("a probe without an order", &crosses, &refused)
            }
        }
    }

    fn submit(&mut self, order: &Incoming) -> Result<(), String> {
        let id = self.next_id();
        let mut records = Vec::new();
        let outcome = self.book.submit(order, &mut records);
        let taken = records.first().filter(|record| record.kind() == Some(Kind::Accepted));
        let new = taken.or(records.first()).map(|record| (id, record.subject().handle));
        let said = self.named(&records, new)?;
        let (expected, left, rest) = self.model.submit(id, order);
        same("a sweep", &said, &expected)?;
        same("what is left", &(outcome.left, outcome.rest), &(left, rest))?;
        same("whether it is taken", &outcome.taken, &taken.is_some())?;
        if let Some(handle) = outcome.rests {
            same("where it rests", &Some((id, handle)), &new)?;
            self.handles.insert(id, handle);
        }
        self.class |= 1 << (16 + rest as u8);
        Ok(())
    }

    /// Reduces an order where it stands, as a replace does.
    fn amend(&mut self, id: u32, handle: Handle, op: Op, open: u32) {
        let energy = energy_of(op).min(open);
        let display = display_of(op, energy);
        let covered = op[1] >> 7 == 0;
        let orders = &mut self.model.orders;
        let Some(order) = orders.iter_mut().find(|order| order.id == id) else {
            return;
        };
        let most = if display == 0 { energy } else { display };
        order.shown = order.shown.min(energy).min(most);
        order.hidden = energy - order.shown;
        // Who shows everything must not show more than before.
        order.display = if order.hidden == 0 { display } else { most };
        order.min_fill = u32::from(op[6]).min(most);
        order.covered = covered || order.side == Side::Sell;
        let order = *order;
        let terms = Amended {
            leaves: order.shown,
            hidden: order.hidden,
            min_fill: order.min_fill,
            display: order.display,
            covered: order.covered,
        };
        self.book.amend(handle, &terms, &mut Silent);
    }

    /// Both stand alike.
    fn compare(&mut self) -> Result<(), String> {
        self.book.check();
        let Self { model, handles, .. } = self;
        handles.retain(|id, _| model.orders.iter().any(|order| order.id == *id));
        same("the number of orders", &self.book.len(), &self.model.orders.len())?;
        let mut owned: Vec<Vec<Handle>> = vec![Vec::new(); OWNERS];
        for side in SIDES {
            let queue = self.model.queue(side);
            let mut expected = Vec::with_capacity(queue.len());
            for order in &queue {
                let handle = self.handles[&order.id];
                expected.push((handle, order.owner, order.price, order.shown, u64::from(order.hidden)));
                owned[order.owner as usize].push(handle);
            }
            let resting = self.book.side(side);
            let found: Vec<_> = resting
                .map(|(handle, o)| (handle, o.owner().get(), o.price(), o.leaves(), u64::from(o.hidden())))
                .collect();
            same("a side", &found, &expected)?;
            let best = queue.first().map(|order| order.price);
            same("the best price", &self.book.best(side), &best)?;
            if RANGED {
                let owners = self.model.placed(side, None).len();
                same("the number of owners", &(self.book.owners(side) as usize), &owners)?;
            }
        }
        for (owner, expected) in (0..).zip(&owned) {
            same("an owner's orders", &self.book.owned_by(Owner::new(owner)), expected)?;
        }
        Ok(())
    }
}

fn play<const RANGED: bool>(rules: Rules, standing: &[Standing], ops: &[Op]) -> Result<Class, String> {
    let mut pair = Pair::<RANGED>::new(rules, standing);
    for (n, op) in ops.iter().enumerate() {
        let done = pair.play(*op).and_then(|()| pair.compare());
        done.map_err(|what| format!("operation {n}: {what}"))?;
    }
    Ok(pair.class)
}

/// Plays a stream on the books.
pub(super) fn run(input: &[u8]) -> Result<Class, String> {
    let Some((head, ops)) = input.split_first_chunk::<HEAD_SIZE>() else {
        return Ok(0);
    };
    let [range, spread, owners @ ..] = head;
    let rules = Rules {
        range: RangeMode::ALL[usize::from(*range) % RangeMode::ALL.len()],
        spread_min: i64::from(spread % 3),
    };
    let standing = owners.map(|byte| Standing {
        reputation: Ppm::new(u32::from(byte & 3) * 250_000),
        percentile: Ppm::new(u32::from(byte >> 2 & 0xf).min(10) * 100_000),
        group: match byte >> 6 {
            0 | 3 => Standing::ALONE,
            group => group.into(),
        },
    });
    let (ops, _) = ops.as_chunks::<OP_SIZE>();
    let class = play::<true>(rules, &standing, ops)?;
    if rules.range == RangeMode::Off {
        same("the plain book's class", &play::<false>(rules, &standing, ops)?, &class)?;
    }
    Ok(class | 1 << (24 + rules.range as u32))
}

/// A stream in every range mode, and one about a single price.
pub(super) fn seeds(dice: &mut Dice) -> Vec<Vec<u8>> {
    let modes = RangeMode::ALL.len();
    (0..modes + 1)
        .map(|n| {
            let head: [u8; OWNERS] = dice.array();
            let mut bytes = vec![(n % modes) as u8, dice.below(3) as u8];
            bytes.extend(head);
            for _ in 0..4 + dice.index(100) {
                let mut op: Op = dice.array();
                op[3] = dice.pick(&[0, 0, 0, 0, 0, 7, 0xc0]);
                op[5] = 0;
                op[4] %= 40;
                op[6] = dice.pick(&[0, 0, 0, 5]);
                op[7] = dice.pick(&[0, 0, 1, 3, 9]);
                if n == modes {
                    (op[2], op[3]) = (0, 0);
                }
                if dice.once_in(2) {
                    // A plain order that rests.
                    op[1] &= 0x61;
                }
                bytes.extend(op);
            }
            bytes
        })
        .collect()
}
