//! The book, deals and what becomes of them, the regulator's events, and time.

use super::{ORDER_VIEW, OrderView, PARTY, Party};
use crate::layout::types::*;

wire! {
    /// An order rests in the book, or shows its next slice.
    struct Opened[72] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// The order.
        order @ 8: OrderView, ORDER_VIEW;
        /// Contract.
        contract @ 40: u64, U64;
        /// Limit, ticks.
        price @ 48: i64, I64;
        /// Open quantity, Wh; in public as far as shown.
        leaves_wh @ 56: u64, U64;
        /// Side.
        side @ 64: u8, SIDE;
        /// Zero.
        reserved @ 65: [u8; 7], ZERO7;
    }

    /// An order was reduced in place.
    struct Reduced[104] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// The order, by its new name.
        order @ 8: OrderView, ORDER_VIEW;
        /// Its old name.
        was @ 40: OrderView, ORDER_VIEW;
        /// Contract.
        contract @ 72: u64, U64;
        /// Limit, ticks.
        price @ 80: i64, I64;
        /// Open quantity, Wh; in public as far as shown.
        leaves_wh @ 88: u64, U64;
        /// Side.
        side @ 96: u8, SIDE;
        /// Zero.
        reserved @ 97: [u8; 7], ZERO7;
    }

    /// An order is no longer open.
    struct Closed[72] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// The order.
        order @ 8: OrderView, ORDER_VIEW;
        /// Contract.
        contract @ 40: u64, U64;
        /// Limit, ticks.
        price @ 48: i64, I64;
        /// Quantity never filled, Wh; in public as far as shown.
        leaves_wh @ 56: u64, U64;
        /// Side.
        side @ 64: u8, SIDE;
        /// Why.
        reason @ 65: u8, CLOSE_REASON;
        /// Whether it stood in the book.
        resting @ 66: u8, BOOL;
        /// Zero.
        reserved @ 67: [u8; 5], ZERO5;
    }

    /// Energy that found no deal: of a round, where it rests on, or of an order that goes with it.
    struct Unmatched[64] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// The order.
        order @ 8: OrderView, ORDER_VIEW;
        /// Contract.
        contract @ 40: u64, U64;
        /// Unfilled quantity, Wh, as far as shown.
        leaves_wh @ 48: u64, U64;
        /// Side.
        side @ 56: u8, SIDE;
        /// Why.
        reason @ 57: u8, CLOSE_REASON;
        /// Zero.
        reserved @ 58: [u8; 6], ZERO6;
    }

    /// A deal was made.
    struct Executed[192] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Number of the deal within its contract, from 0.
        ordinal @ 16: u64, U64;
        /// The bid.
        buyer @ 24: OrderView, ORDER_VIEW;
        /// The ask.
        seller @ 56: OrderView, ORDER_VIEW;
        /// Price of the energy, half ticks.
        price @ 88: i64, I64;
        /// Energy dealt, Wh.
        energy_wh @ 96: u64, U64;
        /// The bid's limit, ticks.
        bid @ 104: i64, I64;
        /// The ask's limit, ticks.
        ask @ 112: i64, I64;
        /// Open quantity of the bid afterwards, Wh; in public as far as shown.
        buyer_leaves_wh @ 120: u64, U64;
        /// Open quantity of the ask afterwards, Wh; in public as far as shown.
        seller_leaves_wh @ 128: u64, U64;
        /// Digest of the deal record for a party; zero in public, where it could be searched for accounts.
        deal_id @ 136: [u8; 32], HASH;
        /// C1, ticks.
        c1 @ 168: i32, I32;
        /// C2, ticks.
        c2 @ 172: i32, I32;
        /// C3, ticks.
        c3 @ 176: i32, I32;
        /// Congestion fee, ticks.
        congestion @ 180: i32, I32;
        /// Side that took.
        aggressor @ 184: u8, AGGRESSOR;
        /// Zero.
        reserved @ 185: [u8; 7], ZERO7;
    }

    /// The deals of a contract in a block are to be countersigned.
    struct DealsSealed[64] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// The block.
        height @ 16: u64, U64;
        /// How many.
        count @ 24: u64, U64;
        /// What the grid company signs, for ledger readers; zero in public.
        deals_digest @ 32: [u8; 32], HASH;
    }

    /// The grid company has countersigned: the deals are contracts.
    struct Contracted[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Block of the deals.
        height @ 16: u64, U64;
        /// First ordinal.
        first @ 24: u64, U64;
        /// How many.
        count @ 32: u64, U64;
    }

    /// A deal is void: not countersigned in time.
    struct DealVoided[56] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// The deal.
        ordinal @ 16: u64, U64;
        /// Buyer.
        buyer @ 24: Party, PARTY;
        /// Seller.
        seller @ 40: Party, PARTY;
    }

    /// Private: a meter reading was recorded.
    struct Metered[56] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Owner of the meter.
        participant @ 8: Party, PARTY;
        /// The metering point.
        meter @ 24: u64, U64;
        /// Contract.
        contract @ 32: u64, U64;
        /// Withdrawal, Wh.
        import_wh @ 40: u64, U64;
        /// Injection, Wh.
        export_wh @ 48: u64, U64;
    }

    /// A meter was frozen by conflicting readings.
    struct MeterFrozen[32] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Owner of the meter.
        participant @ 8: Party, PARTY;
        /// The metering point for its owner; 0 in public.
        meter @ 24: u64, U64;
    }

    /// A contract was settled by meter.
    struct Settled[104] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// The deal.
        ordinal @ 16: u64, U64;
        /// Buyer.
        buyer @ 24: Party, PARTY;
        /// Seller.
        seller @ 40: Party, PARTY;
        /// Energy dealt, Wh.
        contracted_wh @ 56: u64, U64;
        /// Energy settled, Wh.
        settled_wh @ 64: u64, U64;
        /// Paid by the buyer for energy, nano-points; received, if negative.
        energy_paid @ 72: i64, I64;
        /// Paid to the grid company, nano-points.
        charge_paid @ 80: i64, I64;
        /// Penalty paid by the buyer, nano-points.
        buyer_penalty @ 88: i64, I64;
        /// Penalty paid by the seller, nano-points.
        seller_penalty @ 96: i64, I64;
    }

    /// Metered energy outside any deal, traded with the grid company.
    struct Balanced[64] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Who.
        participant @ 16: Party, PARTY;
        /// Energy, Wh.
        energy_wh @ 32: u64, U64;
        /// Paid by the participant, nano-points; received, if negative.
        paid @ 40: i64, I64;
        /// What the payer's free balance did not cover, nano-points.
        unpaid @ 48: i64, I64;
        /// Sell: surplus export. Buy: import beyond deals.
        side @ 56: u8, SIDE;
        /// Zero.
        reserved @ 57: [u8; 7], ZERO7;
    }

    /// Points were minted for settled clean energy.
    struct CleanMinted[48] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Seller.
        participant @ 16: Party, PARTY;
        /// Energy, Wh.
        energy_wh @ 32: u64, U64;
        /// Points, nano-points.
        minted @ 40: i64, I64;
    }

    /// A deal was rated by a party.
    struct DealRated[48] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// The deal.
        ordinal @ 16: u64, U64;
        /// Who is rated.
        participant @ 24: Party, PARTY;
        /// Whether it was good.
        good @ 40: u8, BOOL;
        /// Zero.
        reserved @ 41: [u8; 7], ZERO7;
    }

    /// A participant's reputation after a closed cycle.
    struct Rated[56] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Who.
        participant @ 16: Party, PARTY;
        /// R of Eq 4 now, ppm.
        reputation @ 32: u32, U32;
        /// Cycles with an order in the window.
        entered @ 36: u32, U32;
        /// Cycles with a fill.
        traded @ 40: u32, U32;
        /// Cycles rated good.
        good @ 44: u32, U32;
        /// Declined cycles in the window.
        declined @ 48: u32, U32;
        /// Zero.
        reserved @ 52: [u8; 4], ZERO4;
    }

    /// A parameter will change at the next gate opening.
    struct Configured[24] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// To what.
        value @ 8: i64, I64;
        /// Id of the parameter.
        param @ 16: u32, U32;
        /// Zero.
        reserved @ 20: [u8; 4], ZERO4;
    }

    /// The parameters changed.
    struct ParamsInForce[40] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Their digest.
        params_hash @ 8: [u8; 32], HASH;
    }

    /// Trading was halted in a contract or the area.
    struct MarketHalted[24] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract; 0 the area.
        contract @ 8: u64, U64;
        /// The regulator's code.
        reason @ 16: u32, U32;
        /// Zero.
        reserved @ 20: [u8; 4], ZERO4;
    }

    /// Trading was resumed.
    struct MarketResumed[16] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Contract; 0 the area.
        contract @ 8: u64, U64;
    }

    /// A participant was suspended or reinstated.
    struct Suspension[32] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// Who.
        participant @ 8: Party, PARTY;
        /// The regulator's code.
        reason @ 24: u32, U32;
        /// Whether it is suspended now.
        suspended @ 28: u8, BOOL;
        /// Zero.
        reserved @ 29: [u8; 3], ZERO3;
    }

    /// Time moved on.
    struct Ticked[16] {
        /// Sequence number of the record that caused it.
        seq @ 0: u64, U64;
        /// The time, ns since the epoch.
        time_ns @ 8: u64, U64;
    }
}
