//! A book's writing end: what it says goes to readers, and those that join late are told what stands.
//!
//! # Contract
//! * A [`Publisher`] is the [`Tape`] of one book. After a command, or several, [`Publisher::commit`] makes their records
//!   visible together: no reader ever sees half a command.
//! * A reader that knows nothing asks. The writer then walks the rows of the book and says of each order how it stands,
//!   between the records of commands that go on meanwhile. After every [`PORTION`] rows it says how far it is and goes on
//!   only if somebody asks again, so that it does not run away from who asked.
//! * The walk takes one row for [`PACE`] records of the book, however many ask and however often, so that readers that
//!   join, or are lapped for ever, cost a busy writer a fixed small share. A commit of nothing new is an idle writer's:
//!   it takes [`STEP`] rows. A writer with nothing to do commits, or those that join wait.
//!
//! A record of an order that stands is true at its place in the ring. What happens to the order later is behind it; what
//! happened before it is in it. So a reader that has every record since before a walk began knows every order at its end.

use crate::book::Book;
use crate::record::{Record, Tape, Told};
use crate::relay::{Writer, relay};
use crate::slab::Handle;
use crate::view::Follower;

/// Records of the book for each row walked.
const PACE: u64 = 8;
/// Rows walked at a commit of nothing new.
const STEP: u32 = 16;
/// Rows walked for one ask.
const PORTION: u32 = 512;

/// The tape of a book that any number of readers follow.
#[derive(Debug)]
pub struct Publisher {
    writer: Writer,
    /// Records of the book.
    said: u64,
    /// Of these, how many when last committed.
    committed: u64,
    /// Of these, how many have paid for rows walked.
    spent: u64,
    /// Asks seen when the last portion began.
    served: u64,
    /// Number of the walk's first record.
    began: u64,
    /// Row the walk has come to.
    row: u32,
    /// Rows of the portion still to walk.
    due: u32,
}

impl Publisher {
    /// A publisher whose readers may fall `2^log2` records behind.
    pub fn new(log2: u32) -> Self {
        Self {
            writer: relay(log2),
            said: 0,
            committed: 0,
            spent: 0,
            served: 0,
            began: 0,
            row: 0,
            due: 0,
        }
    }

    /// A reader; it may be sent to any thread.
    pub fn follower(&self) -> Follower {
        Follower::new(self.writer.reader())
    }

    /// Records of the book so far.
    pub const fn said(&self) -> u64 {
        self.said
    }

    /// Makes all that the book has said visible, and walks on if a reader asks.
    #[inline]
    pub fn commit<const RANGED: bool>(&mut self, book: &Book<RANGED>) {
        if self.due != 0 || self.writer.asked() != self.served {
            self.walk(book);
        }
        self.committed = self.said;
        self.writer.commit();
    }

    #[cold]
    fn walk<const RANGED: bool>(&mut self, book: &Book<RANGED>) {
        if self.due == 0 {
            self.served = self.writer.asked();
            self.due = PORTION;
            self.spent = self.spent.max(self.committed);
        }
        let affordable = if self.said == self.committed {
            STEP
        } else {
            ((self.said - self.spent) / PACE) as u32
        };
        if affordable == 0 {
            return;
        }
        if self.row == 0 {
            self.began = self.writer.len();
        }
        // A row that comes after the walk began is told by the order that takes it.
        let rows = book.rows() as u32;
        let step = affordable.min(self.due).min(rows - self.row);
        self.spent = self.said.min(self.spent + u64::from(step) * PACE);
        for row in self.row..self.row + step {
            if let Some(order) = book.get(Handle(row)) {
                self.writer.put(Record::stands(Handle(row), order));
            }
        }
        self.row += step;
        self.due -= step;
        let left = rows - self.row;
        if self.due == 0 || left == 0 {
            self.writer.put(Record::of_walk(Told {
                began: self.began,
                said: self.said,
                left,
            }));
            self.due = 0;
        }
        if left == 0 {
            self.row = 0;
        }
    }
}

impl Tape for Publisher {
    #[inline]
    fn put(&mut self, record: Record) {
        self.said += 1;
        self.writer.put(record);
    }
}
