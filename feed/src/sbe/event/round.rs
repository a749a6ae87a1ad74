//! Accounts, answers, and the sealed rounds.

use super::{ORDER_VIEW, OrderView, PARTY, Party};
use crate::layout::types::*;

wire! {
    /// An account was opened.
    struct Registered[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// The account.
        participant @ 8: Party, PARTY;
        /// Points minted for it, nano-points.
        minted @ 24: i64, I64;
        /// Its role bits.
        roles @ 32: u32, U32;
        /// Zero.
        reserved @ 36: [u8; 4], ZERO4;
    }

    /// Private: an item was accepted.
    struct Accepted[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Sender.
        participant @ 8: Party, PARTY;
        /// Envelope.
        nonce @ 24: u64, U64;
        /// Item.
        index @ 32: u32, U32;
        /// Zero.
        reserved @ 36: [u8; 4], ZERO4;
    }

    /// Private: an item was refused.
    struct Rejected[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Sender.
        participant @ 8: Party, PARTY;
        /// Envelope.
        nonce @ 24: u64, U64;
        /// Item.
        index @ 32: u32, U32;
        /// Why.
        code @ 36: u16, REJECT;
        /// Zero.
        reserved @ 38: [u8; 2], ZERO2;
    }

    /// Private: a reveal was accepted; it takes effect when REVEAL closes.
    struct RevealAccepted[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Sender.
        participant @ 8: Party, PARTY;
        /// Contract.
        contract @ 24: u64, U64;
        /// Round, from 1.
        round @ 32: u16, U16;
        /// Zero.
        reserved @ 34: [u8; 6], ZERO6;
    }

    /// A seal took effect and its bond is locked.
    struct Sealed[48] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Sender.
        participant @ 8: Party, PARTY;
        /// Contract.
        contract @ 24: u64, U64;
        /// The bond, nano-points.
        bond @ 32: i64, I64;
        /// Round, from 1.
        round @ 40: u16, U16;
        /// Zero.
        reserved @ 42: [u8; 6], ZERO6;
    }

    /// Private: a seal came to nothing when SEAL closed.
    struct SealVoided[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Sender.
        participant @ 8: Party, PARTY;
        /// Contract.
        contract @ 24: u64, U64;
        /// Round, from 1.
        round @ 32: u16, U16;
        /// Why.
        code @ 34: u16, REJECT;
        /// Zero.
        reserved @ 36: [u8; 4], ZERO4;
    }

    /// Private: a bond is free again.
    struct BondReleased[48] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Sender of the seal.
        participant @ 8: Party, PARTY;
        /// Contract.
        contract @ 24: u64, U64;
        /// The bond, nano-points.
        bond @ 32: i64, I64;
        /// Round, from 1.
        round @ 40: u16, U16;
        /// Zero.
        reserved @ 42: [u8; 6], ZERO6;
    }

    /// A bond was burned.
    struct BondBurned[48] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Sender of the seal.
        participant @ 8: Party, PARTY;
        /// Contract.
        contract @ 24: u64, U64;
        /// The bond, nano-points.
        bond @ 32: i64, I64;
        /// Round, from 1.
        round @ 40: u16, U16;
        /// Why.
        code @ 42: u16, REJECT;
        /// Zero.
        reserved @ 44: [u8; 4], ZERO4;
    }

    /// Private: a revealed quote is void.
    struct QuoteVoided[56] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// The order it would have been.
        order @ 8: OrderView, ORDER_VIEW;
        /// Contract.
        contract @ 40: u64, U64;
        /// Why.
        code @ 48: u16, REJECT;
        /// Zero.
        reserved @ 50: [u8; 6], ZERO6;
    }

    /// A cycle entered a phase.
    struct PhaseChanged[32] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Time of the border, ns since the epoch.
        time_ns @ 16: u64, U64;
        /// Round, from 1.
        round @ 24: u16, U16;
        /// The phase.
        phase @ 26: u8, PHASE;
        /// Zero.
        reserved @ 27: [u8; 5], ZERO5;
    }

    /// Reputation and place of a participant, fixed at gate opening.
    struct Ranked[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Who.
        participant @ 16: Party, PARTY;
        /// R of Eq 4, ppm.
        reputation @ 32: u32, U32;
        /// Percentile, ppm; 0 is best.
        percentile @ 36: u32, U32;
    }

    /// Place in the queue and matchable range of a participant, fixed at RANK.
    struct Range[48] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Who.
        participant @ 16: Party, PARTY;
        /// Place, from 1.
        pos @ 32: u32, U32;
        /// Matchable range.
        range @ 36: u32, U32;
        /// Round, from 1.
        round @ 40: u16, U16;
        /// Side.
        side @ 42: u8, SIDE;
        /// Zero.
        reserved @ 43: [u8; 5], ZERO5;
    }

    /// The network charges of a contract.
    struct Charges[32] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// C1, ticks.
        c1 @ 16: i32, I32;
        /// C2, ticks.
        c2 @ 20: i32, I32;
        /// C3, ticks.
        c3 @ 24: i32, I32;
        /// Congestion fee, ticks.
        congestion @ 28: i32, I32;
    }

    /// The competitive equilibrium price.
    struct Cep[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Weighted by recency, micro-points/MWh.
        cep @ 16: i64, I64;
        /// Weighted by volume, micro-points/MWh.
        volume_weighted @ 24: i64, I64;
        /// Deals that entered it.
        deals @ 32: u32, U32;
        /// Zero.
        reserved @ 36: [u8; 4], ZERO4;
    }

    /// The CEP moved by more than the regulator's alarm.
    struct VolatilityAlarm[32] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Before, micro-points/MWh.
        previous @ 16: i64, I64;
        /// Now, micro-points/MWh.
        cep @ 24: i64, I64;
    }

    /// The price of a uniform round.
    struct UniformPrice[48] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// The price, ticks.
        price @ 16: i64, I64;
        /// Energy that clears at it, Wh.
        volume_wh @ 24: u64, U64;
        /// Energy of it lost to ranges, groups or caps, Wh.
        lost_wh @ 32: u64, U64;
        /// Round, from 1.
        round @ 40: u16, U16;
        /// Zero.
        reserved @ 42: [u8; 6], ZERO6;
    }
}
