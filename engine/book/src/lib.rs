//! The hot order book of one contract: price-time priority under matchable ranges (MARKET 2.2, 3.3 to 3.6).
//!
//! # Contract
//! * [`Book::submit`] takes an order through its whole life up to resting: limit, market-to-limit, immediate-or-cancel,
//!   fill-or-kill, post-only, least execution, iceberg, four ways with one's own group. [`Book::cancel`] ends it.
//! * Within a price, orders queue by time. An order amended where it stands keeps its place.
//! * An incoming order chooses. Places and counts are taken once, its own place as if inserted, and hold through its
//!   sweep. Resting orders out of range are passed over; a crossed book is legal then.
//! * Everything said is a 32-byte [`Record`], in the order in which it happened.
//!
//! # Invariants
//! * Orders are dense [`Handle`]s, owners dense [`Owner`]s: nothing hashes an id or locks, and a sweep allocates nothing once
//!   warm. One writer.
//! * Any price of the signed 32-bit range costs the same within a factor; memory follows the number of resting orders.
//! * The same calls give the same records, handles and stamps.
//! * Every change of what a book shows is on the tape: a [`View`] made of records alone equals it after every command.
//!
//! # Map
//! `book` order life, `sweep` matching, `terms` questions and answers and `restore` a book built again below it · `ladder` levels · `slab` orders · `places`
//! ranges, `owned` an owner's orders and `tree` a level's owners below it · `record` what is said · `relay` records to any number of readers · `publish` the book at its writing end · `view` the book at a reading end.

mod book;
mod ladder;
mod places;
mod publish;
mod record;
mod relay;
mod slab;
mod view;

pub use book::{Amended, Book, Incoming, Outcome, PlainBook, Probe, RangedBook, Rest, Rules, Stood};
pub use places::{Standing, matchable_range};
pub use publish::Publisher;
pub use record::{Kind, Party, Reason, Record, Ring, Silent, Tape, Told};
pub use relay::{Lapped, Reader, Writer, relay};
pub use slab::{Handle, Order, Owner};
pub use view::{Follower, Resting, View};
