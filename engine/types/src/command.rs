//! Commands: what enters the market core, already verified (PROTOCOL 1.1).

use crate::delegate::{Candidacy, EmissionStatement, Evidence, Vote};
use crate::digest::Hash;
use crate::ids::{ContractId, ParticipantId, Roles};
use crate::reject::Reject;
use crate::units::{Energy, Price, TimeNs};

/// One record of the log, as the core sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// An admitted, proven registration.
    Register(Registration),
    /// A verified envelope.
    Envelope(Envelope),
    /// A reveal; unsigned, valid by its commitment.
    Reveal(Reveal),
    /// Time moves on.
    Tick(TimeNs),
    /// Proof of a delegate's offence, its signatures checked.
    Evidence(Evidence),
}

/// A registration whose admission, proof of possession and meters root have been checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Roles of the account.
    pub roles: Roles,
    /// Reserved, zero.
    pub flags: u32,
    /// The account's id.
    pub participant: ParticipantId,
    /// When the admission expires.
    pub not_after: TimeNs,
    /// BLS public key, compressed G2.
    pub public_key: [u8; 96],
    /// Hash of the TLS client key; zero on loopback.
    pub session_spki: Hash,
    /// Affiliation group; zero: none.
    pub group: Hash,
    /// RFC 9162 root over the meters.
    pub meters_root: Hash,
    /// Metering points, in order.
    pub meters: Vec<Meter>,
}

/// What a metering point measures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum MeterKind {
    /// Consumption.
    Load = 1,
    /// Clean generation.
    CleanGeneration = 2,
    /// A battery.
    Storage = 3,
    /// The connection to the upstream grid.
    Grid = 4,
}

impl MeterKind {
    /// The kind of a wire value.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Load),
            2 => Some(Self::CleanGeneration),
            3 => Some(Self::Storage),
            4 => Some(Self::Grid),
            _ => None,
        }
    }
}

/// A metering point of an account.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Meter {
    /// Its number, unique for ever.
    pub meter: u64,
    /// Greatest import per 15 minutes.
    pub import_cap: Energy,
    /// Greatest export per 15 minutes.
    pub export_cap: Energy,
    /// What it measures.
    pub kind: MeterKind,
}

/// A verified envelope: its header and its items by index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who signed.
    pub participant: ParticipantId,
    /// Version of the key that signed.
    pub key_version: u32,
    /// Unique within the participant's window.
    pub nonce: u64,
    /// Last instant of validity.
    pub not_after: TimeNs,
    /// The items, in leaf order.
    pub items: Vec<Item>,
}

/// One leaf of an envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// 1: a new order.
    Quote(Quote),
    /// 2: cancels one order, an envelope's orders, or all.
    Cancel(Cancel),
    /// 3: changes an order.
    Replace(Replace),
    /// 4: commits to quotes of a round.
    Seal(Seal),
    /// 6: rates a deal's counterparty.
    Rate(Rate),
    /// 10: the grid company countersigns the deals of a contract in a block.
    Grid(GridSignature),
    /// 12: a meter reading.
    Meter(Reading),
    /// 14: sets a parameter at the next gate opening.
    Configure(Configure),
    /// 15: halts, resumes, suspends, reinstates.
    Order(MarketOrder),
    /// 9: votes for a delegate.
    Vote(Vote),
    /// 16: states an emission.
    Emission(EmissionStatement),
    /// A delegate stands for election, with keys whose proof of possession has been checked.
    Candidacy(Candidacy),
    /// A leaf that decodes to a refusal: malformed, unknown, or not enabled yet.
    Refused(Reject),
}

/// Side of a quote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Side {
    /// A bid.
    Buy = 1,
    /// An ask.
    Sell = 2,
}

impl Side {
    /// The other side.
    #[inline]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// 0 for bids, 1 for asks.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// Whether `price` is at or better than `mark` for the counterparty: bids up, asks down.
    #[inline]
    pub const fn concedes(self, price: Price, mark: Price) -> bool {
        match self {
            Self::Buy => price.get() >= mark.get(),
            Self::Sell => price.get() <= mark.get(),
        }
    }
}

/// How long an order lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum TimeInForce {
    /// Until gate closure.
    Gate = 0,
    /// Immediate or cancel.
    Ioc = 1,
    /// Fill or kill.
    Fok = 2,
    /// Rests or is refused.
    PostOnly = 3,
    /// Until `valid_until_s`.
    Until = 4,
}

impl TimeInForce {
    /// The value of a wire form.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Gate),
            1 => Some(Self::Ioc),
            2 => Some(Self::Fok),
            3 => Some(Self::PostOnly),
            4 => Some(Self::Until),
            _ => None,
        }
    }
}

/// A new order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Quote {
    /// Contract to trade.
    pub contract: ContractId,
    /// The participant's own name for it; not interpreted.
    pub client_order_id: u64,
    /// Round of a sealed quote; 0 outside rounds. Rounds count from 1 on the wire.
    pub round: u16,
    /// Bid or ask.
    pub side: Side,
    /// Its life.
    pub time_in_force: TimeInForce,
    /// Limit price.
    pub price: Price,
    /// Cap on the network charge, ticks; -1: the parameter. A seller's is ignored.
    pub charge_cap: i32,
    /// Energy asked or offered.
    pub energy: Energy,
    /// Least energy per execution.
    pub min_fill: Energy,
    /// Last instant of validity, s since the epoch; counts with [`TimeInForce::Until`] only.
    pub valid_until_s: u32,
    /// Energy shown at a time; zero: all of it.
    pub display: Energy,
    /// Takes the best price there is, no worse than its own, and rests at that price.
    pub market_to_limit: bool,
    /// What happens when it meets an order of its own group in the book.
    pub self_trade: SelfTrade,
}

/// What happens when an incoming order would trade with one of its own group (MARKET 2.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum SelfTrade {
    /// The rest of the incoming order is cancelled.
    #[default]
    CancelNewest = 0,
    /// The resting order is cancelled and the sweep goes on.
    CancelOldest = 1,
    /// Both are cancelled.
    CancelBoth = 2,
    /// Both lose the smaller open quantity; what reaches zero is cancelled.
    Decrement = 3,
}

impl SelfTrade {
    /// Every mode, by wire value.
    pub const ALL: [Self; 4] = [
        Self::CancelNewest,
        Self::CancelOldest,
        Self::CancelBoth,
        Self::Decrement,
    ];
}

/// Target index of a cancel that means every order of the envelope.
pub const ALL_INDEXES: u32 = u32::MAX;

/// Cancels orders of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cancel {
    /// Contract, or `None` for all.
    pub contract: Option<ContractId>,
    /// Nonce of the target's envelope; 0: all orders.
    pub target_nonce: u64,
    /// Index of the target; [`ALL_INDEXES`]: all of the envelope.
    pub target_index: u32,
}

/// Changes price and open quantity of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Replace {
    /// Contract of the target.
    pub contract: ContractId,
    /// Nonce of the target.
    pub target_nonce: u64,
    /// Index of the target.
    pub target_index: u32,
    /// New limit.
    pub price: Price,
    /// New cap on the charge.
    pub charge_cap: i32,
    /// New open quantity.
    pub energy: Energy,
    /// New least execution.
    pub min_fill: Energy,
    /// New energy shown at a time; zero: all of it.
    pub display: Energy,
}

/// Commits to the quotes of a round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seal {
    /// Contract.
    pub contract: ContractId,
    /// Round, from 1.
    pub round: u16,
    /// Bond = unit x 2^class.
    pub bond_class: u8,
    /// `D("seal", ...)`.
    pub commitment: Hash,
}

/// Rates the counterparty of a deal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    /// The deal.
    pub deal_id: Hash,
    /// Whether it was good.
    pub good: bool,
}

/// The grid company's signature over the deals of one contract in one block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GridSignature {
    /// Block in which the deals were made.
    pub height: u64,
    /// `D("deals", height, contract, count, root)`.
    pub deals_digest: Hash,
}

/// A meter reading of one period.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reading {
    /// The metering point.
    pub meter: u64,
    /// Quarter hours since 1970.
    pub period: u32,
    /// A higher one replaces a lower one.
    pub revision: u32,
    /// Withdrawal.
    pub import: Energy,
    /// Injection.
    pub export: Energy,
}

/// Sets a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Configure {
    /// Id of the parameter.
    pub param: u32,
    /// New value.
    pub value: i64,
}

/// What a regulator orders.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum MarketAction {
    /// Stops trading.
    Halt = 1,
    /// Starts it again.
    Resume = 2,
    /// Shuts a participant out.
    Suspend = 3,
    /// Lets it in again.
    Reinstate = 4,
}

/// A regulator's order to the market.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MarketOrder {
    /// What.
    pub action: MarketAction,
    /// Contract of a halt or resume; `None`: the area.
    pub contract: Option<ContractId>,
    /// Participant of a suspension.
    pub participant: ParticipantId,
    /// Free code of the regulator.
    pub reason: u32,
}

/// An opened commitment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reveal {
    /// Who sealed.
    pub participant: ParticipantId,
    /// Contract.
    pub contract: ContractId,
    /// Round, from 1.
    pub round: u32,
    /// The salt of the commitment.
    pub salt: Hash,
    /// `D("seal", ...)` computed from this reveal's own bytes.
    pub commitment: Hash,
    /// The sealed quotes by index, or why a leaf is void.
    pub quotes: Vec<Result<Quote, Reject>>,
}
