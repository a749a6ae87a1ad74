//! Vocabulary of the market, shared by every room and depending on none of them.
//!
//! # Contents
//! * [`units`]: price, energy, money, time and reputation, each its own integer type.
//! * [`ids`]: participants, contracts, orders.
//! * [`mod@digest`]: SHA-256 digests and the domain-separated digest `D(name, body)` of PROTOCOL 3.
//! * [`tree`]: the RFC 9162 Merkle tree, written once, here.
//! * [`params`]: every parameter that can change a verdict of the core, with its default.
//! * [`command`], [`event`]: the two doors of the market core.
//! * [`reject`]: every numbered answer to a participant.
//! * [`committee`], [`schedule`], [`delegate`]: who certifies blocks, who leads when, what is said of delegates.
//!
//! # Invariants
//! * No float, no clock, no I/O, no `HashMap`.
//! * Money and energy never share an integer type.

pub mod command;
pub mod committee;
pub mod delegate;
pub mod digest;
pub mod event;
pub mod ids;
pub mod params;
pub mod reject;
pub mod schedule;
pub mod tree;
pub mod units;

pub use command::{
    Command, Envelope, Item, Meter, MeterKind, Quote, Registration, Reveal, SelfTrade, Side, TimeInForce,
};
pub use delegate::{DelegateEvent, Turn};
pub use digest::{ChainId, Hash, digest, sha256};
pub use event::{CloseReason, Deal, Event, Phase, Sequenced};
pub use ids::{ContractId, OrderId, ParticipantId, Roles};
pub use params::{DealPriceRule, Param, Params, RangeMode};
pub use reject::Reject;
pub use units::{DealPrice, Energy, MicroPrice, Money, Ppm, Price, TimeNs};
