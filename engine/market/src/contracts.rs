//! The contracts between gate opening and close: a handful, in order of their ids.

use crate::contract::Contract;
use core::ops::Index;
use wattbook_types::ContractId;

/// The contracts, by id.
#[derive(Clone, Debug, Default)]
pub struct Contracts {
    /// Ascending; one that is being worked on is out of its slot.
    slots: Vec<(ContractId, Option<Box<Contract>>)>,
}

impl Contracts {
    fn slot(&self, id: ContractId) -> Option<usize> {
        self.slots.iter().position(|(known, _)| *known == id)
    }

    /// A contract.
    pub fn get(&self, id: &ContractId) -> Option<&Contract> {
        self.slots[self.slot(*id)?].1.as_deref()
    }

    /// A contract, to change.
    pub(crate) fn get_mut(&mut self, id: ContractId) -> Option<&mut Contract> {
        let slot = self.slot(id)?;
        self.slots[slot].1.as_deref_mut()
    }

    /// Whether it lives.
    pub fn contains_key(&self, id: &ContractId) -> bool {
        self.get(id).is_some()
    }

    /// Number of contracts.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every contract with its id.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&ContractId, &Contract)> {
        let present = |(id, contract)| Some((id, Option::as_deref(contract)?));
        self.slots
            .iter()
            .map(|(id, contract)| (id, contract))
            .filter_map(present)
    }

    /// Every contract, to change.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Contract> {
        self.slots
            .iter_mut()
            .filter_map(|(_, contract)| contract.as_deref_mut())
    }

    /// Ids, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &ContractId> {
        self.iter().map(|(id, _)| id)
    }

    /// Every contract, by ascending id.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Contract> {
        self.iter().map(|(_, contract)| contract)
    }

    /// Adds a contract whose gate opens.
    pub(crate) fn open(&mut self, contract: Box<Contract>) {
        let at = self.slots.partition_point(|(id, _)| *id < contract.id);
        debug_assert!(self.slots.get(at).is_none_or(|(id, _)| *id != contract.id));
        self.slots.insert(at, (contract.id, Some(contract)));
    }

    /// Takes a contract out for good.
    pub(crate) fn remove(&mut self, id: ContractId) -> Option<Box<Contract>> {
        let slot = self.slot(id)?;
        self.slots.remove(slot).1
    }

    /// Takes a contract out of its slot to work on it; [`Self::put_back`] follows.
    pub(crate) fn take(&mut self, id: ContractId) -> Option<(usize, Box<Contract>)> {
        let slot = self.slot(id)?;
        let contract = self.slots[slot].1.take()?;
        Some((slot, contract))
    }

    /// Puts a contract back; nothing was opened or removed meanwhile.
    pub(crate) fn put_back(&mut self, slot: usize, contract: Box<Contract>) {
        debug_assert!(self.slots[slot].0 == contract.id);
        self.slots[slot].1 = Some(contract);
    }
}

impl Index<&ContractId> for Contracts {
    type Output = Contract;

    fn index(&self, id: &ContractId) -> &Contract {
        self.get(id).expect("the contract lives")
    }
}
