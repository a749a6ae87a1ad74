//! The deterministic market core: `(state, command) -> (state, events)`.
//!
//! # Contract
//! [`Market::apply`] is the only door: a command either changes the state and yields events, or is refused and changes
//! nothing. [`Market::end_block`] closes a block, [`Market::end_block_by`] one of a committee. The same commands give the same events and the same root, on every
//! machine.
//!
//! # Invariants
//! * No I/O, clock, thread, float, randomness, iterated hash index or unsafe code.
//! * Time enters only as [`Command::Tick`](wattbook_types::Command::Tick); phases change only there.
//! * After every command, money in accounts = minted - burned; energy sold = energy bought.
//! * Only seals and reveals are deferred: they take effect at the Tick that closes their phase.
//!
//! # Map
//! `market` the door · `admin` registration, parameters, orders of the regulator · `trade` quotes, cancels, deals ·
//! `cycle` the timetable · `sealed` seals, reveals, rounds · `settle` meters, settlement, ratings · `round` one sealed round,
//! `snapshot` one about to be matched ·
//! `book` the continuous book · `reputation` Eq 4 · `cep` the equilibrium price · `account`, `accounts`, `nonce` who
//! takes part · `dpos` stake, votes, seats, failures · `contract`, `contracts` what is traded · `state`, `page` the root · `image` every page at one block, `restore` the state from one · `lookup` places by key · `names` orders by name.

pub mod account;
pub mod accounts;
mod admin;
pub mod book;
pub mod cep;
pub mod contract;
pub mod contracts;
mod cycle;
pub mod dpos;
pub mod image;
mod lookup;
mod market;
mod names;
pub mod nonce;
mod page;
pub mod reputation;
mod restore;
pub mod round;
mod sealed;
mod settle;
pub mod snapshot;
pub mod state;
mod trade;

pub use cycle::TICK_MAX_NS;
pub use dpos::{BadTurn, BlockEnd};
pub use image::Image;
pub use market::{Genesis, Market, Refusal};
pub use restore::Unfit;
pub use state::State;
