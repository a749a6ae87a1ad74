//! One writer's records to any number of readers, none of which it waits for or knows.
//!
//! # Contract
//! * [`Writer::put`](Tape::put) writes into a ring; [`Writer::commit`] makes everything put so far visible at once.
//! * A [`Reader`] copies records in order, each once. One that falls behind by nearly the ring loses records and is told
//!   so ([`Lapped`]); what it copied is then not to be used.
//! * A reader can [`ask`](Reader::ask); the writer sees that somebody did ([`Writer::asked`]), not who or how often.
//!
//! # Orderings
//! Record `n` lies in slot `n mod size` as four relaxed words; nothing is locked, and torn records are found, not prevented.
//! * *Nothing is read too early.* `published` is stored with release after the words and loaded with acquire before them.
//! * *Nothing overwritten passes.* Before it writes record `n`, the writer has stored `claimed > n` and then passed a
//!   release fence. A reader that saw a word of record `n` passes an acquire fence and loads `claimed` afterwards: the
//!   fences pair through that word, so it finds `claimed > n` and throws away all it took from slots of records up to
//!   `n - size`. Claims are made for [`CLAIM_MAX`] records at a time, which is why nearly the ring is all a reader has.
//! * *An ask reaches back.* It is added with release and loaded with acquire, so that whatever the asker had seen published
//!   was put before the writer saw the ask.
//!
//! `tests/loom_relay.rs` fails without any one of the orderings of the first two; the third rules out a load that takes
//! effect after a later store, which loom does not produce.

use crate::record::{Record, Tape};
use sync::{Arc, AtomicU64, Ordering, fence};

#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}
#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::Arc;
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

/// Records claimed at a time, at most; never more than a quarter of the ring.
const CLAIM_MAX: u64 = 64;

/// A pair of cache lines of its own: what one side writes often is not beside what the other reads.
#[derive(Debug)]
#[repr(align(128))]
struct Alone(AtomicU64);

impl Alone {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

/// Two 32-bit words of a record in each.
#[derive(Debug)]
#[repr(align(32))]
struct Slot([AtomicU64; 4]);

#[derive(Debug)]
struct Shared {
    slots: Box<[Slot]>,
    /// Records that readers may read.
    published: Alone,
    /// Records that are written or may be under writing.
    claimed: Alone,
    asked: Alone,
}

impl Shared {
    #[inline]
    fn slot(&self, number: u64) -> &[AtomicU64; 4] {
        &self.slots[number as usize & (self.slots.len() - 1)].0
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    len: u64,
    claimed: u64,
}

/// A reading end.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    at: u64,
}

/// The reader has fallen behind: records it had not read are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lapped;

/// The writing end of a ring of `2^log2` records.
pub fn relay(log2: u32) -> Writer {
    let slot = |_| Slot(core::array::from_fn(|_| AtomicU64::new(0)));
    Writer {
        shared: Arc::new(Shared {
            slots: (0..1u64 << log2).map(slot).collect(),
            published: Alone::new(),
            claimed: Alone::new(),
            asked: Alone::new(),
        }),
        len: 0,
        claimed: 0,
    }
}

impl Writer {
    /// Makes all records put so far visible.
    #[inline]
    pub fn commit(&mut self) {
        self.shared.published.0.store(self.len, Ordering::Release);
    }

    /// Records put so far.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been put.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How often readers have asked.
    #[inline]
    pub fn asked(&self) -> u64 {
        self.shared.asked.0.load(Ordering::Acquire)
    }

    /// A reader of the records committed from now on.
    pub fn reader(&self) -> Reader {
        let mut reader = Reader {
            shared: Arc::clone(&self.shared),
            at: 0,
        };
        reader.skip();
        reader
    }

    #[cold]
    fn claim(&mut self) {
        self.claimed += (self.shared.slots.len() as u64 / 4).clamp(1, CLAIM_MAX);
        self.shared.claimed.0.store(self.claimed, Ordering::Relaxed);
        fence(Ordering::Release);
    }
}

impl Tape for Writer {
    #[inline]
    fn put(&mut self, record: Record) {
        if self.len == self.claimed {
            self.claim();
        }
        let words = record.words();
        for (i, word) in self.shared.slot(self.len).iter().enumerate() {
            let wide = u64::from(words[2 * i + 1]) << 32 | u64::from(words[2 * i]);
            word.store(wide, Ordering::Relaxed);
        }
        self.len += 1;
    }
}

impl Reader {
    /// Number of the next record to read.
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// Records published so far: the end of a command.
    #[inline]
    pub fn published(&self) -> u64 {
        self.shared.published.0.load(Ordering::Acquire)
    }

    /// Goes to the end of what is published.
    pub fn skip(&mut self) {
        self.at = self.published();
    }

    /// Asks the writer for what it and its readers have agreed on.
    pub fn ask(&self) {
        self.shared.asked.0.fetch_add(1, Ordering::Release);
    }

    /// Copies records up to number `end`, which has been seen [`published`](Self::published), as far as `to` has room;
    /// how many.
    ///
    /// # Errors
    /// [`Lapped`]: `to` holds nothing of use, and the reader stands where it stood.
    #[inline]
    pub fn read(&mut self, end: u64, to: &mut [Record]) -> Result<usize, Lapped> {
        let count = (end.saturating_sub(self.at)).min(to.len() as u64) as usize;
        for (number, record) in (self.at..).zip(&mut to[..count]) {
            let mut words = [0; 8];
            for (i, word) in self.shared.slot(number).iter().enumerate() {
                let wide = word.load(Ordering::Relaxed);
                (words[2 * i], words[2 * i + 1]) = (wide as u32, (wide >> 32) as u32);
            }
            *record = Record::from_words(words);
        }
        fence(Ordering::Acquire);
        let claimed = self.shared.claimed.0.load(Ordering::Relaxed);
        // A reader that has nothing to copy has lost nothing.
        if count != 0 && claimed > self.at + self.shared.slots.len() as u64 {
            return Err(Lapped);
        }
        self.at += count as u64;
        Ok(count)
    }
}
