//! Which records somebody asks for: from a number on, of a participant, about a contract.
//!
//! # Contract
//! * A record is a participant's if it registers, signs or reveals for it; it is about a contract if one of its items, or
//!   what it reveals, names the contract. A record that does not decode is nobody's.
//! * [`by_participant`] and [`by_contract`] file records by the same rules.

use crate::evidence::EvidenceRecord;
use wattbook_feed::signed::leaf::{
    CANCEL, CancelLeaf, ORDER, OrderLeaf, QUOTE, QuoteLeaf, REPLACE, ReplaceLeaf, SEAL, SealLeaf,
};
use wattbook_feed::signed::{EnvelopeHeader, LeafBytes, RegisterRecord, RevealRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{KeyIndex, RecordRef};
use wattbook_types::{ContractId, ParticipantId};

/// What is asked for; everything, unless something is said.
#[derive(clap::Args, Clone, Copy, Default, Debug)]
pub struct Selection {
    /// First record wanted.
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// Only records of this participant.
    #[arg(long, value_name = "ID", value_parser = parse_participant)]
    pub participant: Option<ParticipantId>,
    /// Only records about this contract: its id, or `area/product/period`.
    #[arg(long, value_name = "ID", value_parser = parse_contract)]
    pub contract: Option<ContractId>,
}

/// A participant's id as it is printed.
pub fn parse_participant(text: &str) -> Result<ParticipantId, String> {
    text.parse()
        .map(ParticipantId::new)
        .map_err(|_| "a participant's id is a number".to_owned())
}

/// A contract's id as it is printed: its number, or `area/product/period`.
pub fn parse_contract(text: &str) -> Result<ContractId, String> {
    let wrong = || "a contract's id is a number, or area/product/period".to_owned();
    if let Ok(raw) = text.parse() {
        return Ok(ContractId::from_raw(raw));
    }
    let mut parts = text.split('/');
    let mut next = || parts.next().ok_or_else(wrong);
    let area = next()?.parse().map_err(|_| wrong())?;
    let product = next()?.parse().map_err(|_| wrong())?;
    let period = next()?.parse().map_err(|_| wrong())?;
    if parts.next().is_some() {
        return Err(wrong());
    }
    Ok(ContractId::new(period, product, area))
}

impl Selection {
    /// First record wanted.
    pub fn first(&self) -> u64 {
        self.from.unwrap_or(0)
    }

    /// Whether a record is asked for.
    pub fn has(&self, record: &RecordRef<'_>) -> bool {
        let is_theirs = |who: ParticipantId| participant_of(record) == Some(who.get());
        let is_about = |contract: ContractId| {
            let mut found = false;
            each_contract(record, |named| found |= named == contract);
            found
        };
        record.seq >= self.first() && self.participant.is_none_or(is_theirs) && self.contract.is_none_or(is_about)
    }
}

/// The header of a record that is an envelope.
pub fn header_of(record: &RecordRef<'_>) -> Option<EnvelopeHeader> {
    let bytes = record.payload.get(..size_of::<EnvelopeHeader>())?;
    (record.kind == record_kind::ENVELOPE).then(|| bytemuck::pod_read_unaligned(bytes))
}

/// Who sent a record, or whom it registers.
pub fn participant_of(record: &RecordRef<'_>) -> Option<u64> {
    match record.kind {
        record_kind::ENVELOPE => header_of(record).map(|header| header.participant),
        record_kind::REVEAL => {
            let reveal = RevealRecord::decode(record.payload).ok()?;
            Some(reveal.participant.get())
        }
        record_kind::REGISTER => {
            let register = RegisterRecord::decode(record.payload).ok()?;
            Some(register.register.admit_serial)
        }
        record_kind::EVIDENCE => Some(EvidenceRecord::decode(record.payload).ok()?.offender.get()),
        _ => None,
    }
}

/// Gives every contract that a record names, as often as it names it.
fn each_contract(record: &RecordRef<'_>, mut give: impl FnMut(ContractId)) {
    match record.kind {
        record_kind::ENVELOPE => {
            if let Ok(envelope) = SealedEnvelope::decode(record.payload) {
                envelope.leaves.iter().filter_map(contract_of).for_each(give);
            }
        }
        record_kind::REVEAL => {
            if let Ok(reveal) = RevealRecord::decode(record.payload) {
                give(reveal.contract);
            }
        }
        _ => {}
    }
}

/// The contract a leaf names, if it names one. Nothing says that there is such a contract.
pub fn contract_of(leaf: &LeafBytes) -> Option<ContractId> {
    let raw = match leaf[0] {
        QUOTE => bytemuck::pod_read_unaligned::<QuoteLeaf>(leaf).contract,
        CANCEL => bytemuck::pod_read_unaligned::<CancelLeaf>(leaf).contract,
        REPLACE => bytemuck::pod_read_unaligned::<ReplaceLeaf>(leaf).contract,
        SEAL => bytemuck::pod_read_unaligned::<SealLeaf>(leaf).contract,
        ORDER => bytemuck::pod_read_unaligned::<OrderLeaf>(leaf).contract,
        _ => 0,
    };
    (raw != 0).then(|| ContractId::from_raw(raw))
}

/// An empty index of records by whose they are.
pub const fn by_participant() -> KeyIndex<u64> {
    KeyIndex::new(|record, keys| keys.extend(participant_of(record)))
}

/// An empty index of records by the contracts that they name.
pub const fn by_contract() -> KeyIndex<ContractId> {
    KeyIndex::new(|record, keys| each_contract(record, |contract| keys.push(contract)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_printed() {
        let contract = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 7);
        assert_eq!(parse_contract(&contract.to_string()), Ok(contract));
        assert_eq!(parse_contract(&contract.get().to_string()), Ok(contract));
        for wrong in ["", "1/1", "1/1/1/1", "-1", "a/b/c", "70000/1/1"] {
            assert!(parse_contract(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_participant("12"), Ok(ParticipantId::new(12)));
        assert!(parse_participant("x").is_err());
    }
}
