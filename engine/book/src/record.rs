//! What a book says: one 32-byte record per acknowledgement, deal and departure.
//!
//! # Format
//! Eight little-endian 32-bit words. `subject` is the order the record is about; in a deal it is the resting order and
//! `other` the incoming one.
//!
//! | word | content |
//! |---|---|
//! | 0 | kind << 24, owner of the subject |
//! | 1 | side << 31, reason << 24, owner of the other |
//! | 2, 3 | handle of the subject, of the other |
//! | 4 | price, ticks |
//! | 5 | energy, Wh |
//! | 6, 7 | shown leaves of the subject, of the other, afterwards |
//!
//! Two kinds are not a book's: [`Publisher`](crate::Publisher) writes them for readers that join late. `Stands` has the
//! order's stamp in words 3 and 7, low and high; `Told` has [`Told`] in words 2 to 6.

use crate::ladder::NONE;
use crate::slab::{Handle, Order, Owner};
use wattbook_types::Side;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// An incoming order was taken: what deals and closings leave of it rests. `energy`: all it asks for.
    Accepted = 1,
    /// A deal at the resting order's price.
    Deal = 2,
    /// An order is gone; `leaves` was its open quantity.
    Closed = 3,
    /// A resting order shows `leaves` at the end of its queue: the next slice of an iceberg, an order whose price or
    /// slice was set only when it came to rest, or one that rests without having come in.
    Shown = 4,
    /// A resting order shows `leaves` where it stands.
    Reduced = 5,
    /// `energy` of the incoming order is gone without a deal.
    Dropped = 6,
    /// A post-only order that would trade was not taken.
    Refused = 7,
    /// An order stands so: nothing happened.
    Stands = 8,
    /// A part of the orders that stand has been told: nothing happened.
    Told = 9,
}

/// Why an order is gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Reason {
    /// No reason: it is not gone.
    None = 0,
    /// By its owner.
    Cancelled = 1,
    /// What an immediate order could not take.
    ImmediateOrCancel = 2,
    /// Not all of it could be taken.
    FillOrKill = 3,
    /// It met an order of its own group.
    SelfTrade = 4,
    /// A market-to-limit order that found nothing to take.
    NoMarket = 5,
    /// Its energy was taken outside a sweep.
    Taken = 6,
    /// Its time was over, or its market's.
    Expired = 7,
}

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(32))]
pub struct Record {
    words: [u32; 8],
}

const _: () = assert!(size_of::<Record>() == 32);

/// One order of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party {
    /// Its handle; of an incoming order, the one it has if it comes to rest.
    pub handle: Handle,
    /// Its owner.
    pub owner: Owner,
    /// What it shows afterwards.
    pub leaves: u32,
}

impl Party {
    /// No order.
    pub const NOBODY: Self = Self {
        handle: Handle(NONE),
        owner: Owner(0),
        leaves: 0,
    };
}

/// How far a walk over all orders has come. A reader that has every record from `began` on knows every order once
/// `left` is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Number of the walk's first record in the ring.
    pub began: u64,
    /// Records of the book put so far.
    pub said: u64,
    /// Rows not yet walked.
    pub left: u32,
}

impl Record {
    /// All zero: no record.
    pub const ZERO: Self = Self { words: [0; 8] };

    #[inline]
    pub(crate) const fn new(
        kind: Kind,
        reason: Reason,
        side: Side,
        subject: Party,
        other: Party,
        price: i32,
        energy: u32,
    ) -> Self {
        let side = (side as u32 - 1) << 31;
        Self {
            words: [
                (kind as u32) << 24 | subject.owner.0,
                side | (reason as u32) << 24 | other.owner.0,
                subject.handle.0,
                other.handle.0,
                price as u32,
                energy,
                subject.leaves,
                other.leaves,
            ],
        }
    }

    pub(crate) const fn stands(handle: Handle, order: &Order) -> Self {
        let leaves = order.leaves();
        let subject = Party {
            handle,
            owner: order.owner(),
            leaves,
        };
        let stamp = Party {
            handle: Handle(order.stamp() as u32),
            owner: Owner(0),
            leaves: (order.stamp() >> 32) as u32,
        };
        let (side, price) = (order.side(), order.price());
        Self::new(Kind::Stands, Reason::None, side, subject, stamp, price, leaves)
    }

    pub(crate) const fn of_walk(told: Told) -> Self {
        let Told { began, said, left } = told;
        let (began_high, said_high) = ((began >> 32) as u32, (said >> 32) as u32);
        Self {
            words: [
                (Kind::Told as u32) << 24,
                0,
                began as u32,
                began_high,
                said as u32,
                said_high,
                left,
                0,
            ],
        }
    }

    /// The words.
    #[inline]
    pub const fn words(&self) -> [u32; 8] {
        self.words
    }

    /// A record of these words, as they are.
    #[inline]
    pub const fn from_words(words: [u32; 8]) -> Self {
        Self { words }
    }

    /// What happened; `None` for words no book wrote.
    #[inline]
    pub const fn kind(&self) -> Option<Kind> {
        match self.words[0] >> 24 {
            1 => Some(Kind::Accepted),
            2 => Some(Kind::Deal),
            3 => Some(Kind::Closed),
            4 => Some(Kind::Shown),
            5 => Some(Kind::Reduced),
            6 => Some(Kind::Dropped),
            7 => Some(Kind::Refused),
            8 => Some(Kind::Stands),
            9 => Some(Kind::Told),
            _ => None,
        }
    }

    /// Why the subject is gone.
    #[inline]
    pub const fn reason(&self) -> Reason {
        match self.words[1] >> 24 & 0x7f {
            1 => Reason::Cancelled,
            2 => Reason::ImmediateOrCancel,
            3 => Reason::FillOrKill,
            4 => Reason::SelfTrade,
            5 => Reason::NoMarket,
            6 => Reason::Taken,
            7 => Reason::Expired,
            _ => Reason::None,
        }
    }

    /// Side of the subject.
    #[inline]
    pub const fn side(&self) -> Side {
        if self.words[1] >> 31 == 0 {
            Side::Buy
        } else {
            Side::Sell
        }
    }

    /// The order it is about.
    #[inline]
    pub const fn subject(&self) -> Party {
        Party {
            handle: Handle(self.words[2]),
            owner: Owner(self.words[0] & (Owner::END - 1)),
            leaves: self.words[6],
        }
    }

    /// The incoming order of a deal.
    #[inline]
    pub const fn other(&self) -> Party {
        Party {
            handle: Handle(self.words[3]),
            owner: Owner(self.words[1] & (Owner::END - 1)),
            leaves: self.words[7],
        }
    }

    /// Price, ticks.
    #[inline]
    pub const fn price(&self) -> i32 {
        self.words[4] as i32
    }

    /// Energy, Wh.
    #[inline]
    pub const fn energy(&self) -> u32 {
        self.words[5]
    }

    /// When an order that stands took its place, in the book's own count.
    #[inline]
    pub const fn stamp(&self) -> u64 {
        (self.words[7] as u64) << 32 | self.words[3] as u64
    }

    /// How far a walk has come, of a record that says so.
    #[inline]
    pub const fn told(&self) -> Told {
        let words = self.words;
        Told {
            began: (words[3] as u64) << 32 | words[2] as u64,
            said: (words[5] as u64) << 32 | words[4] as u64,
            left: words[6],
        }
    }
}

/// Where records go.
pub trait Tape {
    /// Takes the next record.
    fn put(&mut self, record: Record);
}

impl Tape for Vec<Record> {
    #[inline]
    fn put(&mut self, record: Record) {
        self.push(record);
    }
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Tape for Silent {
    #[inline]
    fn put(&mut self, _: Record) {}
}

/// The last records in a ring of a power of two.
#[derive(Clone, Debug)]
pub struct Ring {
    records: Box<[Record]>,
    len: u64,
}

impl Ring {
    /// A ring of `2^log2` records.
    pub fn new(log2: u32) -> Self {
        Self {
            records: vec![Record::ZERO; 1 << log2].into_boxed_slice(),
            len: 0,
        }
    }

    /// Records put so far.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been put.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The records from number `from` on that are still there.
    pub fn since(&self, from: u64) -> impl Iterator<Item = &Record> {
        let size = self.records.len() as u64;
        let from = from.max(self.len.saturating_sub(size));
        (from..self.len).map(move |at| &self.records[(at & (size - 1)) as usize])
    }
}

impl Tape for Ring {
    #[inline]
    fn put(&mut self, record: Record) {
        let mask = self.records.len() - 1;
        self.records[self.len as usize & mask] = record;
        self.len += 1;
    }
}
