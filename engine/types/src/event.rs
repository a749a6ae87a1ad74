//! Events: what leaves the market core. They name accounts; the public feed shows per-cycle pseudonyms (MARKET 7.4).

use crate::command::Side;
use crate::delegate::DelegateEvent;
use crate::digest::Hash;
use crate::ids::{ContractId, OrderId, ParticipantId, Roles};
use crate::params::Param;
use crate::reject::Reject;
use crate::units::{DealPrice, Energy, MicroPrice, Money, Ppm, Price, TimeNs};

/// An event with the sequence number of the record that caused it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequenced {
    /// Sequence number of the record; events of a block's end carry the last record's.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

/// Phase of a cycle (MARKET 2). RANK, RANGE, FORECAST and BROADCAST happen on the Tick that enters `Ranked`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Seals are taken.
    Seal = 1,
    /// Reveals are taken.
    Reveal = 2,
    /// Places and ranges are fixed; the book takes only cancels.
    Ranked = 3,
    /// The round has been matched; the book takes only cancels.
    Matched = 4,
    /// The book trades.
    Continuous = 5,
    /// The gate has closed.
    GateClosed = 6,
    /// Energy flows.
    Delivering = 7,
    /// Readings are taken.
    Metering = 8,
    /// Deals are settled, ratings are taken.
    Settled = 9,
    /// The cycle is over.
    Closed = 10,
}

/// Why an order left the book, or a quantity was not matched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum CloseReason {
    /// Filled whole.
    Filled = 1,
    /// Cancelled by its owner.
    Cancelled = 2,
    /// Replaced by its owner.
    Replaced = 3,
    /// Replaced by a reveal of its owner.
    Revealed = 4,
    /// Immediate-or-cancel: the remainder is gone.
    ImmediateOrCancel = 5,
    /// Fill-or-kill: not all of it could be filled in range.
    FillOrKill = 6,
    /// The next order to fill belongs to the same group.
    SelfTrade = 7,
    /// `valid_until_s` has passed.
    Expired = 8,
    /// The gate has closed.
    GateClosed = 9,
    /// Its owner was suspended.
    Suspended = 10,
    /// No opposite order.
    NoCounterparty = 11,
    /// No opposite order at a price that closes.
    PriceNotMet = 12,
    /// Eligible opposite energy is left, none of it in range.
    OutOfRange = 13,
    /// Every eligible opposite order has been used up.
    Exhausted = 14,
    /// The network charge exceeds the buyer's cap.
    ChargeCap = 15,
    /// A market-to-limit order found nothing to execute against.
    NoMarket = 16,
}

impl CloseReason {
    /// Its name, as `clear` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filled => "Filled",
            Self::Cancelled => "Cancelled",
            Self::Replaced => "Replaced",
            Self::Revealed => "Revealed",
            Self::ImmediateOrCancel => "ImmediateOrCancel",
            Self::FillOrKill => "FillOrKill",
            Self::SelfTrade => "SelfTrade",
            Self::Expired => "Expired",
            Self::GateClosed => "GateClosed",
            Self::Suspended => "Suspended",
            Self::NoCounterparty => "NoCounterparty",
            Self::PriceNotMet => "PriceNotMet",
            Self::OutOfRange => "OutOfRange",
            Self::Exhausted => "Exhausted",
            Self::ChargeCap => "ChargeCap",
            Self::NoMarket => "NoMarket",
        }
    }
}

/// A deal: the fixed-size record of DETAILS 5, in parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Deal {
    /// Contract traded.
    pub contract: ContractId,
    /// Number of the deal within its contract, from 0.
    pub ordinal: u64,
    /// The bid.
    pub buyer: OrderId,
    /// The ask.
    pub seller: OrderId,
    /// Price of the energy.
    pub price: DealPrice,
    /// Energy dealt.
    pub energy: Energy,
    /// C1, C2, C3 and the congestion fee, ticks.
    pub charges: [i32; 4],
}

impl Deal {
    /// `P_T`, ticks.
    pub const fn charge_ticks(&self) -> i64 {
        self.charges[0] as i64 + self.charges[1] as i64 + self.charges[2] as i64 + self.charges[3] as i64
    }

    /// The 96 bytes whose digest is the deal's id.
    pub fn to_bytes(&self) -> [u8; 96] {
        let mut bytes = [0u8; 96];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&self.contract.get().to_le_bytes());
        put(&self.ordinal.to_le_bytes());
        for order in [self.buyer, self.seller] {
            put(&order.participant.get().to_le_bytes());
            put(&order.nonce.to_le_bytes());
            put(&order.index.to_le_bytes());
            put(&[0; 4]);
        }
        put(&self.price.get().to_le_bytes());
        put(&self.energy.get().to_le_bytes());
        for charge in self.charges {
            put(&charge.to_le_bytes());
        }
        debug_assert_eq!(at, bytes.len());
        bytes
    }
}

/// What happened. Variants marked *private* go to their participant only; all others are public, under pseudonyms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An account was opened; `minted` is locked until its first settled energy.
    Registered {
        /// The account.
        participant: ParticipantId,
        /// Its roles.
        roles: Roles,
        /// Points minted for it.
        minted: Money,
    },
    /// *Private.* An item was accepted.
    Accepted {
        /// Sender.
        participant: ParticipantId,
        /// Envelope.
        nonce: u64,
        /// Item.
        index: u32,
    },
    /// *Private.* An item was refused.
    Rejected {
        /// Sender.
        participant: ParticipantId,
        /// Envelope.
        nonce: u64,
        /// Item.
        index: u32,
        /// Why.
        reject: Reject,
    },
    /// *Private.* A reveal was accepted; it takes effect when REVEAL closes.
    RevealAccepted {
        /// Sender.
        participant: ParticipantId,
        /// Contract.
        contract: ContractId,
        /// Round, from 1.
        round: u16,
    },
    /// A seal took effect and its bond is locked.
    Sealed {
        /// Sender.
        participant: ParticipantId,
        /// Contract.
        contract: ContractId,
        /// Round, from 1.
        round: u16,
        /// The bond.
        bond: Money,
    },
    /// *Private.* A seal came to nothing when SEAL closed.
    SealVoided {
        /// Sender.
        participant: ParticipantId,
        /// Contract.
        contract: ContractId,
        /// Round, from 1.
        round: u16,
        /// Why.
        reject: Reject,
    },
    /// *Private.* A bond is free again.
    BondReleased {
        /// Sender of the seal.
        participant: ParticipantId,
        /// Contract.
        contract: ContractId,
        /// Round, from 1.
        round: u16,
        /// The bond.
        bond: Money,
    },
    /// A bond was burned.
    BondBurned {
        /// Sender of the seal.
        participant: ParticipantId,
        /// Contract.
        contract: ContractId,
        /// Round, from 1.
        round: u16,
        /// The bond.
        bond: Money,
        /// Why.
        reject: Reject,
    },
    /// *Private.* A revealed quote is void.
    QuoteVoided {
        /// The quote, by the order it would have been.
        order: OrderId,
        /// Contract.
        contract: ContractId,
        /// Why.
        reject: Reject,
    },
    /// A cycle entered a phase.
    PhaseChanged {
        /// Contract.
        contract: ContractId,
        /// Phase.
        phase: Phase,
        /// Round, from 1.
        round: u16,
        /// Time of the border.
        time: TimeNs,
    },
    /// Reputation and place of a participant, fixed at gate opening.
    Ranked {
        /// Contract.
        contract: ContractId,
        /// Who.
        participant: ParticipantId,
        /// R of Eq 4.
        reputation: Ppm,
        /// Percentile; 0 is best.
        percentile: Ppm,
    },
    /// Place in the queue and matchable range of a participant, fixed at RANK.
    Range {
        /// Contract.
        contract: ContractId,
        /// Round, from 1.
        round: u16,
        /// Who.
        participant: ParticipantId,
        /// On which side.
        side: Side,
        /// Place, from 1.
        pos: u32,
        /// Matchable range.
        range: u32,
    },
    /// The network charges of a contract, ticks.
    Charges {
        /// Contract.
        contract: ContractId,
        /// C1, C2, C3 and the congestion fee.
        charges: [i32; 4],
    },
    /// The competitive equilibrium price (MARKET 4.3).
    Cep {
        /// Contract.
        contract: ContractId,
        /// Weighted by recency.
        cep: MicroPrice,
        /// Weighted by volume.
        volume_weighted: MicroPrice,
        /// Deals that entered it.
        deals: u32,
    },
    /// The CEP moved by more than the regulator's alarm.
    VolatilityAlarm {
        /// Contract.
        contract: ContractId,
        /// Before.
        previous: MicroPrice,
        /// Now.
        cep: MicroPrice,
    },
    /// The price of a uniform round.
    UniformPrice {
        /// Contract.
        contract: ContractId,
        /// Round, from 1.
        round: u16,
        /// The price.
        price: Price,
        /// Energy that clears at it.
        volume: Energy,
        /// Energy of it lost to ranges, groups or caps.
        lost: Energy,
    },
    /// An order rests in the book, or shows its next slice.
    Opened {
        /// The order.
        order: OrderId,
        /// Contract.
        contract: ContractId,
        /// Side.
        side: Side,
        /// Limit.
        price: Price,
        /// Open quantity shown.
        leaves: Energy,
        /// Open quantity not shown; its owner alone is told.
        hidden: Energy,
    },
    /// An order was reduced in place.
    Reduced {
        /// The order, by its new name.
        order: OrderId,
        /// Its old name.
        was: OrderId,
        /// Contract.
        contract: ContractId,
        /// Side.
        side: Side,
        /// Limit.
        price: Price,
        /// Open quantity shown.
        leaves: Energy,
        /// Open quantity not shown; its owner alone is told.
        hidden: Energy,
    },
    /// An order is no longer open. `resting`: it stood in the book.
    Closed {
        /// The order.
        order: OrderId,
        /// Contract.
        contract: ContractId,
        /// Side.
        side: Side,
        /// Limit.
        price: Price,
        /// Quantity never filled, as far as shown.
        leaves: Energy,
        /// Quantity never filled and not shown; its owner alone is told.
        hidden: Energy,
        /// Why.
        reason: CloseReason,
        /// Whether it stood in the book.
        resting: bool,
    },
    /// Energy that found no deal: of a round, where it rests on, or of an order that goes with it.
    Unmatched {
        /// The order.
        order: OrderId,
        /// Contract.
        contract: ContractId,
        /// Side.
        side: Side,
        /// Unfilled quantity, as far as shown.
        leaves: Energy,
        /// Why.
        reason: CloseReason,
    },
    /// A deal was made.
    Executed {
        /// The deal.
        deal: Deal,
        /// Its id.
        deal_id: Hash,
        /// The bid's limit.
        bid: Price,
        /// The ask's limit.
        ask: Price,
        /// Open quantity of the bid afterwards, as far as shown.
        buyer_leaves: Energy,
        /// Open quantity of the ask afterwards, as far as shown.
        seller_leaves: Energy,
        /// Open quantity of the bid that is not shown; its owner alone is told.
        buyer_hidden: Energy,
        /// Open quantity of the ask that is not shown; its owner alone is told.
        seller_hidden: Energy,
        /// Side that took; `None` in a round.
        aggressor: Option<Side>,
    },
    /// The deals of a contract in a block, to be countersigned.
    DealsSealed {
        /// Contract.
        contract: ContractId,
        /// The block.
        height: u64,
        /// How many.
        count: u64,
        /// What the grid company signs.
        deals_digest: Hash,
    },
    /// The grid company has countersigned: the deals are contracts.
    Contracted {
        /// Contract.
        contract: ContractId,
        /// Block of the deals.
        height: u64,
        /// First ordinal.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A deal is void: not countersigned in time. Everything held for it is released.
    DealVoided {
        /// Contract.
        contract: ContractId,
        /// The deal.
        ordinal: u64,
        /// Buyer.
        buyer: ParticipantId,
        /// Seller.
        seller: ParticipantId,
    },
    /// *Private.* A meter reading was recorded.
    Metered {
        /// Owner of the meter.
        participant: ParticipantId,
        /// The metering point.
        meter: u64,
        /// Contract of the period.
        contract: ContractId,
        /// Withdrawal.
        import: Energy,
        /// Injection.
        export: Energy,
    },
    /// A meter was frozen by conflicting readings.
    MeterFrozen {
        /// Owner of the meter.
        participant: ParticipantId,
        /// The metering point.
        meter: u64,
    },
    /// A contract was settled by meter.
    Settled {
        /// Contract.
        contract: ContractId,
        /// The deal.
        ordinal: u64,
        /// Buyer.
        buyer: ParticipantId,
        /// Seller.
        seller: ParticipantId,
        /// Energy dealt.
        contracted: Energy,
        /// Energy settled.
        settled: Energy,
        /// Paid by the buyer for energy (received, if negative).
        energy_paid: Money,
        /// Paid to the grid company.
        charge_paid: Money,
        /// Penalty paid by the buyer.
        buyer_penalty: Money,
        /// Penalty paid by the seller.
        seller_penalty: Money,
    },
    /// Metered energy outside any deal, traded with the grid company.
    Balanced {
        /// Contract.
        contract: ContractId,
        /// Who.
        participant: ParticipantId,
        /// Sell: surplus export. Buy: import beyond deals.
        side: Side,
        /// Energy.
        energy: Energy,
        /// Paid by the participant (received, if negative).
        paid: Money,
        /// What the payer's free balance did not cover.
        unpaid: Money,
    },
    /// Points were minted for settled clean energy.
    CleanMinted {
        /// Contract.
        contract: ContractId,
        /// Seller.
        participant: ParticipantId,
        /// Energy.
        energy: Energy,
        /// Points.
        minted: Money,
    },
    /// A deal was rated by a party.
    DealRated {
        /// Contract.
        contract: ContractId,
        /// The deal.
        ordinal: u64,
        /// Who is rated.
        participant: ParticipantId,
        /// Whether it was good.
        good: bool,
    },
    /// A participant's reputation after a closed cycle.
    Rated {
        /// Contract.
        contract: ContractId,
        /// Who.
        participant: ParticipantId,
        /// R of Eq 4 now.
        reputation: Ppm,
        /// Orders entered, filled and rated good in the window.
        entered: u32,
        /// Filled.
        traded: u32,
        /// Good.
        good: u32,
        /// Declined cycles in the window.
        declined: u32,
    },
    /// A parameter will change at the next gate opening.
    Configured {
        /// Which.
        param: Param,
        /// To what.
        value: i64,
    },
    /// The parameters changed.
    ParamsInForce {
        /// Their digest.
        params_hash: Hash,
    },
    /// Trading was halted in a contract or the area.
    MarketHalted {
        /// Contract; `None`: the area.
        contract: Option<ContractId>,
        /// The regulator's code.
        reason: u32,
    },
    /// Trading was resumed.
    MarketResumed {
        /// Contract; `None`: the area.
        contract: Option<ContractId>,
    },
    /// A participant was suspended or reinstated.
    Suspension {
        /// Who.
        participant: ParticipantId,
        /// Whether it is suspended now.
        suspended: bool,
        /// The regulator's code.
        reason: u32,
    },
    /// Time moved on.
    Ticked {
        /// The time.
        time: TimeNs,
    },
    /// Something happened to delegates; it has no public form.
    Delegates(DelegateEvent),
}

impl Event {
    /// The one participant a private event goes to; `None` for public events.
    pub fn private_to(&self) -> Option<ParticipantId> {
        match self {
            Self::Accepted { participant, .. }
            | Self::Rejected { participant, .. }
            | Self::RevealAccepted { participant, .. }
            | Self::SealVoided { participant, .. }
            | Self::BondReleased { participant, .. }
            | Self::Metered { participant, .. } => Some(*participant),
            Self::QuoteVoided { order, .. } => Some(order.participant),
            _ => None,
        }
    }

    /// The contract it belongs to, which salts the pseudonyms of its public form.
    pub fn contract(&self) -> Option<ContractId> {
        match self {
            Self::RevealAccepted { contract, .. }
            | Self::Sealed { contract, .. }
            | Self::SealVoided { contract, .. }
            | Self::BondReleased { contract, .. }
            | Self::BondBurned { contract, .. }
            | Self::QuoteVoided { contract, .. }
            | Self::PhaseChanged { contract, .. }
            | Self::Ranked { contract, .. }
            | Self::Range { contract, .. }
            | Self::Charges { contract, .. }
            | Self::Cep { contract, .. }
            | Self::VolatilityAlarm { contract, .. }
            | Self::UniformPrice { contract, .. }
            | Self::Opened { contract, .. }
            | Self::Reduced { contract, .. }
            | Self::Closed { contract, .. }
            | Self::Unmatched { contract, .. }
            | Self::DealsSealed { contract, .. }
            | Self::Contracted { contract, .. }
            | Self::DealVoided { contract, .. }
            | Self::Metered { contract, .. }
            | Self::Settled { contract, .. }
            | Self::Balanced { contract, .. }
            | Self::CleanMinted { contract, .. }
            | Self::DealRated { contract, .. }
            | Self::Rated { contract, .. } => Some(*contract),
            Self::Executed { deal, .. } => Some(deal.contract),
            Self::MarketHalted { contract, .. } | Self::MarketResumed { contract } => *contract,
            Self::Registered { .. }
            | Self::Accepted { .. }
            | Self::Rejected { .. }
            | Self::MeterFrozen { .. }
            | Self::Configured { .. }
            | Self::ParamsInForce { .. }
            | Self::Suspension { .. }
            | Self::Ticked { .. }
            | Self::Delegates(_) => None,
        }
    }
}
