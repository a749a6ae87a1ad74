//! A book at a reading end, made of records alone.
//!
//! # Contract
//! * A [`View`] shows what the book shows after the command whose records it applied last: levels (L2) and orders in queue
//!   order (L3). Hidden energy, least executions and charges are not in it.
//! * [`View::new`] follows an empty book from its first record. [`View::joining`] starts anywhere between two commands and
//!   is complete, exact ever after, when a walk over all orders that began later has ended ([`crate::Publisher`]).
//! * A [`Follower`] is a view with its reader: it joins, follows, and joins again when it has been lapped.
//!
//! # Joining
//! Orders told by a walk took their places before the view joined, or a record since then would have told of them. So
//! they queue by their stamps and before all orders that came since, which queue by the order of their records.

use crate::book::{PlainBook, Rules};
use crate::ladder::key_of;
use crate::record::{Kind, Party, Record};
use crate::relay::{Lapped, Reader};
use crate::slab::{Handle, Owner};
use wattbook_types::{RangeMode, Side};

/// Rank of the first order that comes after a view has joined; stamps are below.
const LIVE: u64 = 1 << 63;
/// Records copied at a time.
const BATCH: usize = 128;

/// An order as a view knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resting {
    /// Its handle.
    pub handle: Handle,
    /// Whose.
    pub owner: Owner,
    /// Its limit, ticks.
    pub price: i32,
    /// Energy shown, Wh.
    pub leaves: u32,
}

/// What a book shows.
#[derive(Clone, Debug)]
pub struct View {
    book: PlainBook,
    /// The order that came in last, until it is plain whether it rests; it may have more than it is to show.
    incoming: Option<Incoming>,
    seq: u64,
    gathering: Option<Gathering>,
}

#[derive(Clone, Copy, Debug)]
struct Incoming {
    party: Party,
    side: Side,
    price: i32,
}

/// What a view knows until it knows all.
#[derive(Clone, Debug)]
struct Gathering {
    /// Number of the first record applied.
    since: u64,
    /// By handle.
    rows: Vec<Option<Gathered>>,
    rank: u64,
}

#[derive(Clone, Copy, Debug)]
struct Gathered {
    owner: Owner,
    side: Side,
    price: i32,
    leaves: u32,
    /// Smaller is earlier in its queue.
    rank: u64,
}

impl Gathering {
    fn put(&mut self, subject: Party, side: Side, price: i32, rank: u64) {
        let at = subject.handle.get() as usize;
        if self.rows.len() <= at {
            self.rows.resize(at + 1, None);
        }
        self.rows[at] = Some(Gathered {
            owner: subject.owner,
            side,
            price,
            leaves: subject.leaves,
            rank,
        });
    }

    /// Of an order not yet told, nothing is known and nothing changes.
    fn set_leaves(&mut self, party: Party) {
        let Some(row) = self.rows.get_mut(party.handle.get() as usize) else {
            return;
        };
        match row {
            Some(order) if party.leaves != 0 => order.leaves = party.leaves,
            _ => *row = None,
        }
    }

    fn apply(&mut self, kind: Kind, record: &Record) {
        let subject = record.subject();
        match kind {
            Kind::Accepted | Kind::Shown => {
                self.put(subject, record.side(), record.price(), self.rank);
                self.rank += 1;
            }
            Kind::Deal => {
                self.set_leaves(subject);
                self.set_leaves(record.other());
            }
            Kind::Reduced | Kind::Dropped => self.set_leaves(subject),
            Kind::Closed => self.set_leaves(Party { leaves: 0, ..subject }),
            Kind::Stands => {
                let known = self.rows.get(subject.handle.get() as usize);
                if !known.is_some_and(Option::is_some) {
                    self.put(subject, record.side(), record.price(), record.stamp());
                }
            }
            Kind::Refused | Kind::Told => {}
        }
    }

    /// All that stands, in queue order.
    fn book(&self) -> PlainBook {
        let numbered = (0u32..).zip(&self.rows);
        let mut orders: Vec<(u32, Gathered)> = numbered.filter_map(|(row, order)| Some((row, (*order)?))).collect();
        orders.sort_unstable_by_key(|(_, order)| (key_of(order.side, order.price), order.rank));
        let mut book = empty();
        for (row, order) in orders {
            book.place(Handle(row), order.owner, order.side, order.price, order.leaves);
        }
        book
    }
}

/// The book of a view takes no orders, so its rules do not matter.
fn empty() -> PlainBook {
    PlainBook::new(Rules {
        range: RangeMode::Off,
        spread_min: 0,
    })
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// The view of an empty book that has said nothing.
    pub fn new() -> Self {
        Self {
            book: empty(),
            incoming: None,
            seq: 0,
            gathering: None,
        }
    }

    /// A view that knows nothing and is given the records of a ring from number `since` on.
    pub fn joining(since: u64) -> Self {
        Self {
            book: empty(),
            incoming: None,
            seq: 0,
            gathering: Some(Gathering {
                since,
                rows: Vec::new(),
                rank: LIVE,
            }),
        }
    }

    /// Whether it shows all that stands; before, it shows nothing.
    pub const fn is_complete(&self) -> bool {
        self.gathering.is_none()
    }

    /// How many records the book had said: the number of the last one, counted from one, walks left out.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Levels of a side, best first, at most `count`: price, energy shown, orders.
    pub fn depth(&self, side: Side, count: usize) -> impl Iterator<Item = (i32, u64, u32)> {
        self.book.levels(side).take(count)
    }

    /// Orders of a side in price-time order.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = Resting> {
        self.book.side(side).map(|(handle, order)| Resting {
            handle,
            owner: order.owner(),
            price: order.price(),
            leaves: order.leaves(),
        })
    }

    /// Number of orders that stand.
    pub const fn len(&self) -> usize {
        self.book.len()
    }

    /// Whether none does.
    pub const fn is_empty(&self) -> bool {
        self.book.is_empty()
    }

    /// Applies the next records, those of whole commands.
    ///
    /// # Panics
    /// On words that nobody wrote.
    pub fn apply(&mut self, records: &[Record]) {
        for record in records {
            let kind = record.kind().expect("INVARIANT: a ring holds what was put");
            if self.gathering.is_some() {
                self.gather(kind, record);
            } else {
                self.follow(kind, record);
            }
        }
        self.settle();
    }

    #[inline]
    fn follow(&mut self, kind: Kind, record: &Record) {
        let subject = record.subject();
        match kind {
            Kind::Accepted => {
                self.settle();
                self.incoming = Some(Incoming {
                    party: subject,
                    side: record.side(),
                    price: record.price(),
                });
            }
            Kind::Shown => {
                self.set_leaves(subject.handle, 0);
                self.settle();
                self.place(subject, record.side(), record.price());
            }
            Kind::Deal => {
                let other = record.other();
                self.book.set_leaves(subject.handle, subject.leaves);
                self.set_leaves(other.handle, other.leaves);
            }
            Kind::Reduced | Kind::Dropped => self.set_leaves(subject.handle, subject.leaves),
            Kind::Closed => self.set_leaves(subject.handle, 0),
            Kind::Refused => {}
            Kind::Stands | Kind::Told => return,
        }
        self.seq += 1;
    }

    #[inline]
    fn set_leaves(&mut self, handle: Handle, leaves: u32) {
        match &mut self.incoming {
            Some(incoming) if incoming.party.handle == handle => {
                incoming.party.leaves = leaves;
                if leaves == 0 {
                    self.incoming = None;
                }
            }
            _ => self.book.set_leaves(handle, leaves),
        }
    }

    /// Rests what came in last and is still there: the next command has begun, or there is none.
    #[inline]
    fn settle(&mut self) {
        if let Some(Incoming { party, side, price }) = self.incoming.take() {
            self.place(party, side, price);
        }
    }

    #[inline]
    fn place(&mut self, party: Party, side: Side, price: i32) {
        self.book.place(party.handle, party.owner, side, price, party.leaves);
    }

    #[cold]
    fn gather(&mut self, kind: Kind, record: &Record) {
        let Some(gathering) = &mut self.gathering else {
            return;
        };
        gathering.apply(kind, record);
        if kind == Kind::Told {
            let told = record.told();
            if told.left == 0 && told.began >= gathering.since {
                self.book = gathering.book();
                self.seq = told.said;
                self.gathering = None;
            }
        }
    }
}

/// A view that keeps itself up to date.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    view: View,
    joins: u64,
}

impl Follower {
    pub(crate) fn new(reader: Reader) -> Self {
        let mut this = Self {
            view: View::joining(reader.at()),
            reader,
            joins: 0,
        };
        this.join();
        this
    }

    /// How often it has begun to join: one more than it has been lapped.
    pub const fn joins(&self) -> u64 {
        self.joins
    }

    /// Brings the view up to the last command published; `None` while it joins.
    pub fn follow(&mut self) -> Option<&View> {
        let end = self.reader.published();
        if self.read(end).is_err() {
            self.join();
        }
        self.view.is_complete().then_some(&self.view)
    }

    fn read(&mut self, end: u64) -> Result<(), Lapped> {
        let mut batch = [Record::ZERO; BATCH];
        while self.reader.at() < end {
            let count = self.reader.read(end, &mut batch)?;
            self.view.apply(&batch[..count]);
            let told = |record: &Record| record.kind() == Some(Kind::Told);
            if !self.view.is_complete() && batch[..count].iter().any(told) {
                self.reader.ask();
            }
        }
        Ok(())
    }

    fn join(&mut self) {
        self.joins += 1;
        self.reader.skip();
        self.view = View::joining(self.reader.at());
        self.reader.ask();
    }
}
