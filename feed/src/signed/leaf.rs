//! The leaves `L[48]` of kinds 1-17: kind, flags, round, index, and a body of 40 bytes.
//!
//! # Invariants
//! * [`Leaf::read`] accepts exactly the bytes that [`Leaf::bytes`] gives back.

use super::envelope::LEAF_SIZE;
use crate::layout::Layout;
use crate::layout::types::*;
use wattbook_types::Reject;

/// The 48 bytes of a leaf.
pub type LeafBytes = [u8; LEAF_SIZE];

wire! {
    /// Any leaf, before its body is read.
    struct AnyLeaf[48] {
        /// Kind of the leaf, 1-17.
        kind @ 0: u8, U8;
        /// Flags of the kind.
        flags @ 1: u8, U8;
        /// Round, from 1; 0 outside rounds.
        round @ 2: u16, U16;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Body of the kind.
        body @ 8: [u8; 40], BODY40;
    }

    /// 1: a new order.
    struct QuoteLeaf[48] {
        /// 1.
        kind @ 0: u8, U8;
        /// Bits 0-1 side, 2-4 time in force, 5 market-to-limit, 6-7 self-trade.
        flags @ 1: u8, U8;
        /// Round of a sealed quote, from 1; 0 outside rounds.
        round @ 2: u16, U16;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Contract to trade.
        contract @ 8: u64, U64;
        /// The participant's own name for the order.
        client_order_id @ 16: u64, U64;
        /// Limit price, ticks.
        price @ 24: i32, I32;
        /// Cap on the network charge, ticks; -1 the parameter.
        charge_cap @ 28: i32, I32;
        /// Energy, Wh.
        energy_wh @ 32: u32, U32;
        /// Least energy of an execution, Wh.
        min_fill @ 36: u32, U32;
        /// Energy shown, Wh; 0 all.
        display @ 40: u32, U32;
        /// Last instant of validity, s since the epoch.
        valid_until_s @ 44: u32, U32;
    }

    /// 2: cancels one order, an envelope's orders, or all.
    struct CancelLeaf[48] {
        /// 2.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Contract; 0 all.
        contract @ 8: u64, U64;
        /// Nonce of the target's envelope; 0 all orders.
        target_nonce @ 16: u64, U64;
        /// Index of the target; 0xffffffff all of the envelope.
        target_index @ 24: u32, U32;
        /// Zero.
        reserved @ 28: [u8; 20], ZERO20;
    }

    /// 3: changes price and open quantity of an order.
    struct ReplaceLeaf[48] {
        /// 3.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Contract of the target.
        contract @ 8: u64, U64;
        /// Nonce of the target.
        target_nonce @ 16: u64, U64;
        /// Index of the target.
        target_index @ 24: u32, U32;
        /// New limit, ticks.
        price @ 28: i32, I32;
        /// New cap on the charge, ticks; -1 the parameter.
        charge_cap @ 32: i32, I32;
        /// New open quantity, Wh.
        energy_wh @ 36: u32, U32;
        /// New least execution, Wh.
        min_fill @ 40: u32, U32;
        /// Energy shown, Wh; 0 all.
        display @ 44: u32, U32;
    }

    /// 4: commits to the quotes of a round.
    struct SealLeaf[48] {
        /// 4.
        kind @ 0: u8, U8;
        /// Bond = unit x 2^class.
        bond_class @ 1: u8, U8;
        /// Round, from 1.
        round @ 2: u16, U16;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Contract.
        contract @ 8: u64, U64;
        /// D("seal", ...) of the reveal to come.
        commitment @ 16: [u8; 32], HASH;
    }

    /// 5: confirms or declines a deal.
    struct ConfirmLeaf[48] {
        /// 5.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// The deal.
        deal_id @ 8: [u8; 32], HASH;
        /// Whether it is accepted.
        accept @ 40: u8, BOOL;
        /// Zero.
        reserved @ 41: [u8; 7], ZERO7;
    }

    /// 6: rates a deal's counterparty.
    struct RateLeaf[48] {
        /// 6.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// The deal.
        deal_id @ 8: [u8; 32], HASH;
        /// Whether it was good.
        good @ 40: u8, BOOL;
        /// Zero.
        reserved @ 41: [u8; 7], ZERO7;
    }

    /// 7: pays points to another account.
    struct TransferLeaf[48] {
        /// 7.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Account paid.
        to @ 8: u64, U64;
        /// Nano-points, more than 0.
        amount @ 16: i64, I64;
        /// Free bytes of the sender.
        memo @ 24: [u8; 24], MEMO24;
    }

    /// 8: pays a bill of the grid company with points.
    struct RedeemLeaf[48] {
        /// 8.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Nano-points.
        amount @ 8: i64, I64;
        /// Salted reference of the bill.
        bill_ref @ 16: [u8; 32], HASH;
    }

    /// 9: votes for a delegate.
    struct VoteLeaf[48] {
        /// 9.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Epoch voted for.
        epoch @ 8: u64, U64;
        /// Account voted for.
        candidate @ 16: u64, U64;
        /// Zero.
        reserved @ 24: [u8; 24], ZERO24;
    }

    /// 10: the grid company countersigns the deals of one contract in one block.
    struct GridLeaf[48] {
        /// 10.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Block in which the deals were made.
        height @ 8: u64, U64;
        /// D("deals", ...).
        deals_digest @ 16: [u8; 32], HASH;
    }

    /// 11: announces the next key of the account.
    struct KeyLeaf[48] {
        /// 11.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// First epoch of the new key.
        effective_epoch @ 8: u64, U64;
        /// D("key", new key).
        key_digest @ 16: [u8; 32], HASH;
    }

    /// 12: a meter reading of one period.
    struct MeterLeaf[48] {
        /// 12.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// The metering point.
        meter @ 8: u64, U64;
        /// Quarter hours since 1970.
        period @ 16: u32, U32;
        /// A higher one replaces a lower one.
        revision @ 20: u32, U32;
        /// Withdrawal, Wh.
        import_wh @ 24: u32, U32;
        /// Injection, Wh.
        export_wh @ 28: u32, U32;
        /// Zero.
        reserved @ 32: [u8; 16], ZERO16;
    }

    /// 13: calls or deploys a program.
    struct CallLeaf[48] {
        /// 13.
        kind @ 0: u8, U8;
        /// 1: deploy.
        deploy @ 1: u8, BOOL;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Greatest number of steps.
        fuel @ 8: u64, U64;
        /// D("call", code and argument bytes).
        call_digest @ 16: [u8; 32], HASH;
    }

    /// 14: sets a parameter at the next gate opening.
    struct ConfigureLeaf[48] {
        /// 14.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Id of the parameter.
        param @ 8: u32, U32;
        /// Zero.
        reserved0 @ 12: u32, ZERO4;
        /// New value.
        value @ 16: i64, I64;
        /// Zero.
        reserved1 @ 24: [u8; 24], ZERO24;
    }

    /// 15: halts, resumes, suspends, reinstates.
    struct OrderLeaf[48] {
        /// 15.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// 1 halt, 2 resume, 3 suspend, 4 reinstate.
        action @ 8: u8, U8;
        /// Zero.
        reserved0 @ 9: [u8; 7], ZERO7;
        /// Contract of a halt or resume; 0 the area.
        contract @ 16: u64, U64;
        /// Participant of a suspension or reinstatement.
        participant @ 24: u64, U64;
        /// Free code of the regulator.
        reason @ 32: u32, U32;
        /// Zero.
        reserved1 @ 36: [u8; 12], ZERO12;
    }

    /// 16: an emission statement of a participant's period.
    struct EmissionLeaf[48] {
        /// 16.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// Whose.
        participant @ 8: u64, U64;
        /// Quarter hours since 1970.
        period @ 16: u32, U32;
        /// Zero.
        reserved0 @ 20: u32, ZERO4;
        /// Grams of CO2.
        grams @ 24: u64, U64;
        /// Zero.
        reserved1 @ 32: [u8; 16], ZERO16;
    }

    /// 17: disputes a deal.
    struct DisputeLeaf[48] {
        /// 17.
        kind @ 0: u8, U8;
        /// Zero.
        flags @ 1: u8, ZERO1;
        /// Zero.
        round @ 2: u16, ZERO2;
        /// Position in the envelope.
        index @ 4: u32, U32;
        /// The deal.
        deal_id @ 8: [u8; 32], HASH;
        /// Zero.
        reserved @ 40: [u8; 8], ZERO8;
    }
}

macro_rules! leaves {
    ($($kind:literal $name:ident $layout:ident $constant:ident;)*) => {
        $(
            #[doc = concat!("Kind of a [`", stringify!($layout), "`].")]
            pub const $constant: u8 = $kind;
        )*

        /// A leaf by its kind.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Leaf {
            $(#[doc = concat!("Kind ", $kind, ".")] $name($layout),)*
        }

        /// Every kind with its layout.
        pub const LAYOUTS: &[(u8, &str, &[crate::layout::Field])] =
            &[$(($kind, $layout::NAME, $layout::FIELDS),)*];

        impl Leaf {
            /// The leaf at `position` of its envelope: [`Reject::MalformedItem`] for another index or a wrong byte,
            /// [`Reject::UnknownItem`] for an unknown kind.
            pub fn read(bytes: &LeafBytes, position: u32) -> Result<Self, Reject> {
                let any: AnyLeaf = bytemuck::pod_read_unaligned(bytes);
                if any.index != position {
                    return Err(Reject::MalformedItem);
                }
                match any.kind {
                    $($kind => $layout::read(bytes).map(Self::$name).ok_or(Reject::MalformedItem),)*
                    _ => Err(Reject::UnknownItem),
                }
            }

            /// Its 48 bytes.
            pub fn bytes(&self) -> LeafBytes {
                match self {
                    $(Self::$name(leaf) => bytemuck::cast(*leaf),)*
                }
            }
        }
    };
}

leaves! {
    1 Quote QuoteLeaf QUOTE;
    2 Cancel CancelLeaf CANCEL;
    3 Replace ReplaceLeaf REPLACE;
    4 Seal SealLeaf SEAL;
    5 Confirm ConfirmLeaf CONFIRM;
    6 Rate RateLeaf RATE;
    7 Transfer TransferLeaf TRANSFER;
    8 Redeem RedeemLeaf REDEEM;
    9 Vote VoteLeaf VOTE;
    10 Grid GridLeaf GRID;
    11 Key KeyLeaf KEY;
    12 Meter MeterLeaf METER;
    13 Call CallLeaf CALL;
    14 Configure ConfigureLeaf CONFIGURE;
    15 Order OrderLeaf ORDER;
    16 Emission EmissionLeaf EMISSION;
    17 Dispute DisputeLeaf DISPUTE;
}
