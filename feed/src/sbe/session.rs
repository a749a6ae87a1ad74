//! Outbound messages of the session itself, and of the regulator's and grid company's sessions.

use crate::layout::types::*;
use crate::signed::DealEntry;

wire! {
    /// First message of a private session: what a logon signs.
    struct Challenge[72] {
        /// Fresh random bytes.
        challenge @ 0: [u8; 32], HASH;
        /// The chain this node serves.
        chain_id @ 32: [u8; 32], HASH;
        /// Whether its genesis is a demonstration.
        demo @ 64: u8, BOOL;
        /// Zero.
        reserved @ 65: [u8; 7], ZERO7;
    }

    /// The logon holds.
    struct LoggedOn[24] {
        /// The account.
        participant @ 0: u64, U64;
        /// Least nonce that is surely unused: the window's base + 1 or above.
        next_nonce @ 8: u64, U64;
        /// Grade of the acknowledgements.
        grade @ 16: u8, GRADE;
        /// Zero.
        reserved @ 17: [u8; 7], ZERO7;
    }

    /// Verified and held: until the next Step (lockstep), or until the session ends.
    struct Held[24] {
        /// Sender.
        participant @ 0: u64, U64;
        /// Nonce of the envelope; 0 for a registration, a reveal or a withdrawal.
        nonce @ 8: u64, U64;
        /// What is held.
        kind @ 16: u8, HELD;
        /// Zero.
        reserved @ 17: [u8; 7], ZERO7;
    }

    /// A message was refused as a whole and is not recorded.
    struct RejectedMessage[40] {
        /// Sender, as far as known.
        participant @ 0: u64, U64;
        /// Nonce of the envelope; 0 for any other message.
        nonce @ 8: u64, U64;
        /// Contract of the reveal; 0 for any other message.
        contract @ 16: u64, U64;
        /// Why.
        code @ 24: u16, REJECT;
        /// Zero.
        reserved @ 26: [u8; 6], ZERO6;
        /// For Duplicate, the sequence number the nonce was used at; else 0.
        original_seq @ 32: u64, U64;
    }

    /// Everything up to here has reached a grade.
    struct Watermark[24] {
        /// The grade.
        grade @ 0: u8, GRADE;
        /// Zero.
        reserved @ 1: [u8; 7], ZERO7;
        /// Last block.
        height @ 8: u64, U64;
        /// Last record.
        seq @ 16: u64, U64;
    }

    /// A block was sealed.
    struct BlockSealed[104] {
        /// Its height.
        height @ 0: u64, U64;
        /// Its time, ns since the epoch.
        time_ns @ 8: u64, U64;
        /// Records in it.
        record_count @ 16: u64, U64;
        /// Public events in it.
        event_count @ 24: u64, U64;
        /// Sequence number of its first record.
        first_seq @ 32: u64, U64;
        /// D("block", header).
        block_digest @ 40: [u8; 32], HASH;
        /// Root of the state after it.
        state_root @ 72: [u8; 32], HASH;
    }

    /// A Step has been carried out; every answer it caused has been sent before.
    struct Stepped[24] {
        /// Time now, ns since the epoch.
        time_ns @ 0: u64, U64;
        /// Last block.
        height @ 8: u64, U64;
        /// Last record.
        seq @ 16: u64, U64;
    }

    /// A deal with real accounts, for whoever recomputes what the grid company signs.
    struct DealRecord[144] {
        /// Sequence number of the record that made it.
        seq @ 0: u64, U64;
        /// Block in which it was made.
        height @ 8: u64, U64;
        /// The record that is hashed.
        record @ 16: DealEntry, DEAL_ENTRY;
        /// D("deal", record).
        deal_id @ 112: [u8; 32], HASH;
    }

    /// The node takes nothing more.
    struct Halted[16] {
        /// Why.
        reason @ 0: u8, HALT;
        /// Zero.
        reserved @ 1: [u8; 7], ZERO7;
        /// Last record.
        seq @ 8: u64, U64;
    }

    /// The last change that a record makes to the books has been told: what they show is whole.
    struct EventEnd[16] {
        /// Sequence number of the record.
        seq @ 0: u64, U64;
        /// Messages of this record that tell a change: Opened, Reduced, Closed, Executed.
        changes @ 8: u64, U64;
    }

    /// What was told of blocks that are not final is given up, and the session ends: whoever logs on again begins before it.
    struct Revoked[24] {
        /// First block that is given up.
        height @ 0: u64, U64;
        /// Its first record.
        seq @ 8: u64, U64;
        /// Number of the message that comes next when the session is resumed.
        next @ 16: u64, U64;
    }

    /// An order of a snapshot; contracts come ascending, bids before asks, each in price-time order.
    struct SnapshotOrder[48] {
        /// Contract.
        contract @ 0: u64, U64;
        /// The order's public name.
        reference @ 8: u64, U64;
        /// Pseudonym of its owner within the contract.
        participant @ 16: u64, U64;
        /// Limit, ticks.
        price @ 24: i64, I64;
        /// Open quantity as far as shown, Wh.
        leaves_wh @ 32: u64, U64;
        /// Side.
        side @ 40: u8, SIDE;
        /// Zero.
        reserved @ 41: [u8; 7], ZERO7;
    }

    /// The end of a snapshot of the books.
    struct SnapshotEnd[32] {
        /// Number of the public message that comes next.
        next @ 0: u64, U64;
        /// Block under way when the books stood like this.
        height @ 8: u64, U64;
        /// Last record before.
        seq @ 16: u64, U64;
        /// Orders told.
        orders @ 24: u64, U64;
    }
}

/// [`DealEntry`] as a field.
pub const DEAL_ENTRY: crate::layout::Type = crate::layout::Type::composite::<DealEntry>();

/// Why the node takes nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum HaltReason {
    /// The day is over: everything that was to come has come.
    EndOfDay = 1,
    /// The operator stops the node.
    Stopping = 2,
    /// The ledger cannot be written.
    LedgerFailed = 3,
    /// The disk is full; the node resumes when there is room.
    DiskFull = 4,
}

/// What is held, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum HeldKind {
    /// A registration, until the next Step.
    Register = 1,
    /// An envelope, until the next Step.
    Envelope = 2,
    /// A reveal, until the next Step.
    Reveal = 3,
    /// Cancels, until the session ends; with nonce 0 none any more.
    OnDisconnect = 4,
}
