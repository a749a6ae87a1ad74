//! Outbound messages of events: one template per event of the market core.
//!
//! One layout serves every reader: a [`Party`] or [`OrderView`] either names an account (`named` 1: an execution report
//! for its owner, or a ledger reader's copy) or shows a pseudonym (`named` 0, nonce and index zero).

mod deal;
mod round;

pub use deal::*;
pub use round::*;

use crate::layout::Type;
use crate::layout::types::*;

/// [`Party`] as a field.
pub const PARTY: Type = Type::composite::<Party>();
/// [`OrderView`] as a field.
pub const ORDER_VIEW: Type = Type::composite::<OrderView>();

wire! {
    /// A participant, named or under its pseudonym.
    struct Party[16] {
        /// Account id if named, else the pseudonym within the contract.
        id @ 0: u64, U64;
        /// Whether the id is an account's.
        named @ 8: u8, BOOL;
        /// Zero.
        reserved @ 9: [u8; 7], ZERO7;
    }

    /// An order, named or by reference.
    struct OrderView[32] {
        /// Owner: account id if named, else the pseudonym within the contract.
        participant @ 0: u64, U64;
        /// Nonce of its envelope if named, else 0.
        nonce @ 8: u64, U64;
        /// Index of its leaf if named, else 0.
        index @ 16: u32, U32;
        /// Whether the owner is named.
        named @ 20: u8, BOOL;
        /// Zero.
        reserved @ 21: [u8; 3], ZERO3;
        /// The order's public name, the same for every reader.
        reference @ 24: u64, U64;
    }
}
