//! A round as it stands before MATCH, for readers who clear it again under other rules.

use crate::contract::Border;
use crate::market::Market;
use crate::round::{self, Cleared, Owner, Place, RoundOrder, Rules};
use crate::sealed::Field;
use wattbook_types::{ContractId, OrderId, ParticipantId, Ppm, RangeMode, TimeNs};

/// A round about to be matched.
#[derive(Clone, Debug)]
pub struct RoundSnapshot {
    /// Contract.
    pub contract: ContractId,
    /// Round, from 1.
    pub round: u16,
    /// Participants, by owner index.
    pub participants: Vec<ParticipantId>,
    /// Owners.
    pub owners: Vec<Owner>,
    /// Orders.
    pub orders: Vec<RoundOrder>,
    /// Names of the orders.
    pub ids: Vec<OrderId>,
    /// Places and ranges fixed at RANK.
    pub places: Vec<[Option<Place>; 2]>,
    /// The rules in force.
    pub rules: Rules,
}

impl RoundSnapshot {
    /// Clears it under another range mode.
    pub fn clear_under(&self, range: RangeMode) -> Cleared {
        round::clear(&self.owners, &self.orders, &self.places, Rules { range, ..self.rules })
    }

    /// Percentile of an order's owner.
    pub fn percentile(&self, order: usize) -> Ppm {
        self.owners[self.orders[order].owner as usize].percentile
    }
}

impl Market {
    /// The rounds that a Tick at `time` would match.
    pub fn rounds_due(&self, time: TimeNs) -> Vec<RoundSnapshot> {
        let state = self.state();
        let due = state.contracts.values().filter(|contract| {
            let matches = contract
                .next_border()
                .is_some_and(|(at, border)| border == Border::Match && at <= time);
            matches && !state.halted && !contract.halted
        });
        due.map(|contract| Field::new(contract, &state.accounts).into_snapshot(contract))
            .collect()
    }
}
