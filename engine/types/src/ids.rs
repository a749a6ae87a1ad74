//! Names of participants, contracts and orders.

use crate::units::TimeNs;
use core::fmt;

/// A registered account: its admission serial, never zero, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct ParticipantId(u64);

impl ParticipantId {
    /// Wraps a serial.
    pub const fn new(serial: u64) -> Self {
        Self(serial)
    }

    /// The serial.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Seconds in a delivery period (a quarter hour).
pub const PERIOD_S: u64 = 900;

/// Energy in one delivery area in one delivery period: `period u32 | product u16 | area u16` (PROTOCOL 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct ContractId(u64);

impl ContractId {
    /// The one product traded so far: 15-minute energy.
    pub const PRODUCT_QUARTER_HOUR: u16 = 1;

    /// Names the contract of a quarter hour since 1970, a product and an area.
    pub const fn new(period: u32, product: u16, area: u16) -> Self {
        Self(period as u64 | (product as u64) << 32 | (area as u64) << 48)
    }

    /// Wraps the wire form.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The wire form.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Quarter hours since 1970.
    pub const fn period(self) -> u32 {
        self.0 as u32
    }

    /// The product traded.
    pub const fn product(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// The delivery area.
    pub const fn area(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// When delivery starts.
    pub const fn delivery_start(self) -> TimeNs {
        TimeNs::from_secs(self.period() as u64 * PERIOD_S)
    }

    /// The same product and area, `periods` later (negative: earlier).
    pub const fn offset(self, periods: i32) -> Self {
        Self::new(self.period().wrapping_add_signed(periods), self.product(), self.area())
    }
}

impl fmt::Display for ContractId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.area(), self.product(), self.period())
    }
}

/// Set in the index of an order that came from a reveal (DETAILS 3).
pub const REVEALED_INDEX: u32 = 0x8000_0000;

/// An order: its owner, the envelope's nonce and its leaf's index (DETAILS 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderId {
    /// Owner of the order.
    pub participant: ParticipantId,
    /// Nonce of the envelope that carried it; for a reveal, of its seal's envelope.
    pub nonce: u64,
    /// Index of its leaf; for a reveal, with [`REVEALED_INDEX`] set.
    pub index: u32,
}

/// Roles of an account (DETAILS 2), a bit set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Roles(u32);

impl Roles {
    /// May bid.
    pub const BUYER: Self = Self(1);
    /// May ask.
    pub const SELLER: Self = Self(1 << 1);
    /// Acts for others.
    pub const AGGREGATOR: Self = Self(1 << 2);
    /// Countersigns deals, is the balancing party.
    pub const GRID: Self = Self(1 << 3);
    /// Signs meter readings.
    pub const METER: Self = Self(1 << 4);
    /// Configures, halts, suspends.
    pub const REGULATOR: Self = Self(1 << 5);
    /// Stands for the committee.
    pub const DELEGATE: Self = Self(1 << 6);
    /// Every role bit that has a meaning.
    pub const ALL_BITS: u32 = 0x7f;

    /// Wraps the wire form.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The wire form.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every role of `other` is held.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of roles.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the account trades and so counts as active (DETAILS 2).
    pub const fn trades(self) -> bool {
        self.0 & 3 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contract_fields_stand_in_byte_order() {
        let contract = ContractId::new(1_980_000, 1, 7);
        assert_eq!(contract.get(), 1_970_329_133_921_888);
        assert_eq!(
            (contract.period(), contract.product(), contract.area()),
            (1_980_000, 1, 7)
        );
        assert_eq!(
            ContractId::new(1_628_736, 1, 1).delivery_start(),
            TimeNs::from_secs(1_465_862_400)
        );
    }
}
