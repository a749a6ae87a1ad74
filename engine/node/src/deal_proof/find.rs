//! Finding a deal: the ledger is executed until the grid company has signed it, then read again for the records of both
//! sides.
//!
//! # Contract
//! Memory: the market's state and one block, however long the ledger is.

use super::{DealError, DealProof};
use crate::execute::{Executor, decode_record};
use crate::notary;
use crate::selection::{header_of, participant_of};
use std::collections::BTreeMap;
use wattbook_feed::signed::{DealEntry, RevealRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{HeaderIndex, Reader};
use wattbook_types::ids::REVEALED_INDEX;
use wattbook_types::tree::{inclusion_proof, leaf_hash};
use wattbook_types::{Deal, Event, Hash, Sequenced};

/// A deal, where it was made and where it was signed.
struct Made {
    deal: Deal,
    height: u64,
    /// Ids of the deals of its contract in its block.
    batch: Vec<Hash>,
    place: usize,
    grid: u64,
}

impl DealProof {
    /// Proves the deal with this id, under a checkpoint that covers the grid company's signature.
    ///
    /// # Errors
    /// [`DealError`].
    pub fn find(reader: &Reader, index: &mut HeaderIndex, id: Hash) -> Result<Self, DealError> {
        let made = made(reader, id)?;
        let (grid_height, sender) = {
            let block = index.block_with(reader, made.grid)?;
            let at = (made.grid - block.header.first_seq) as usize;
            (
                block.header.height,
                header_of(&block.records[at]).map_or(0, |header| header.participant),
            )
        };
        let wanted = wanted(reader, index, &made, (sender, grid_height))?;
        let note = notary::covering(reader, index, grid_height)?;
        let mut records = BTreeMap::new();
        for (role, seq) in wanted {
            records.insert(role, index.prove(reader, seq, &note)?);
        }
        let leaves: Vec<Hash> = made.batch.iter().map(|id| leaf_hash(&id.0)).collect();
        Ok(Self {
            deal: DealEntry::new(&made.deal),
            height: made.height,
            count: made.batch.len() as u64,
            place: made.place as u64,
            path: inclusion_proof(&leaves, made.place).unwrap_or_default(),
            genesis: reader.genesis().to_vec(),
            records,
        })
    }
}

/// The records that prove a deal, by role, among those up to the block in which the grid company, `sender`, signed it.
fn wanted(
    reader: &Reader,
    index: &mut HeaderIndex,
    made: &Made,
    (sender, last): (u64, u64),
) -> Result<BTreeMap<&'static str, u64>, DealError> {
    let chain = reader.chain();
    let mut wanted = BTreeMap::from([("grid", made.grid)]);
    let sides = [
        ("buyer", "buyer_reveal", "buyer_register", made.deal.buyer),
        ("seller", "seller_reveal", "seller_register", made.deal.seller),
    ];
    for block in reader.blocks() {
        let block = block.map_err(wattbook_ledger::Error::Damaged)?;
        for record in &block.records {
            let Some(whose) = participant_of(record) else { continue };
            if whose == sender && record.kind == record_kind::REGISTER {
                wanted.insert("grid_register", record.seq);
            }
            for (role, reveal, register, order) in sides {
                if order.participant.get() != whose {
                    continue;
                }
                match record.kind {
                    record_kind::REGISTER => drop(wanted.insert(register, record.seq)),
                    record_kind::ENVELOPE if header_of(record).is_some_and(|header| header.nonce == order.nonce) => {
                        wanted.insert(role, record.seq);
                    }
                    record_kind::REVEAL if order.index & REVEALED_INDEX != 0 => {
                        let commitment = RevealRecord::decode(record.payload).map(|reveal| reveal.commitment(chain));
                        let sealed = wanted
                            .get(role)
                            .is_some_and(|seq| seals(reader, index, *seq, commitment.ok()));
                        if sealed {
                            wanted.insert(reveal, record.seq);
                        }
                    }
                    _ => {}
                }
            }
        }
        if block.header.height >= last {
            break;
        }
    }
    Ok(wanted)
}

/// Whether the envelope of record `seq` seals a commitment.
fn seals(reader: &Reader, index: &mut HeaderIndex, seq: u64, commitment: Option<Hash>) -> bool {
    let Some(commitment) = commitment else { return false };
    index.block_with(reader, seq).is_ok_and(|block| {
        let payload = block.records[(seq - block.header.first_seq) as usize].payload;
        SealedEnvelope::decode(payload).is_ok_and(|envelope| super::terms::seals(&envelope, commitment))
    })
}

/// Executes the ledger until the deal is signed.
fn made(reader: &Reader, id: Hash) -> Result<Made, DealError> {
    let (mut executor, _) = Executor::start(reader.genesis())?;
    let chain = reader.chain();
    let mut found: Option<Made> = None;
    for block in reader.blocks() {
        let block = block.map_err(wattbook_ledger::Error::Damaged)?;
        let height = block.header.height;
        if height == 0 {
            continue;
        }
        let mut events: Vec<Sequenced> = Vec::new();
        for record in &block.records {
            let seq = record.seq;
            let refused = || DealError::Refused { seq, height };
            let command = decode_record(chain, record.kind, record.version, record.payload);
            let command = command.map_err(|_| refused())?;
            events.extend(executor.apply(seq, &command).map_err(|_| refused())?);
        }
        let last = block.header.first_seq + block.header.record_count - 1;
        let refused = |_| DealError::Refused { seq: last, height };
        events.extend(executor.end_block_of(&block.header, last).map_err(refused)?.events);
        if found.is_none() {
            found = deal_in(&events, id, height);
        }
        let Some(made) = &mut found else { continue };
        let signed = events.iter().find(|sequenced| {
            matches!(sequenced.event, Event::Contracted { contract, height, .. }
                if (contract, height) == (made.deal.contract, made.height))
        });
        if let Some(signed) = signed {
            made.grid = signed.seq;
            return found.ok_or(DealError::Unknown(id));
        }
    }
    Err(found.map_or(DealError::Unknown(id), |_| DealError::NotSigned(id)))
}

/// The deal among the events of its block, with the deals that are signed together with it.
fn deal_in(events: &[Sequenced], id: Hash, height: u64) -> Option<Made> {
    let deals = events.iter().filter_map(|sequenced| match &sequenced.event {
        Event::Executed { deal, deal_id, .. } => Some((*deal, *deal_id)),
        _ => None,
    });
    let deals: Vec<(Deal, Hash)> = deals.collect();
    let (deal, _) = *deals.iter().find(|(_, found)| *found == id)?;
    let of_contract = deals.iter().filter(|(other, _)| other.contract == deal.contract);
    let batch: Vec<Hash> = of_contract.map(|(_, id)| *id).collect();
    let place = batch.iter().position(|found| *found == id)?;
    Some(Made {
        deal,
        height,
        batch,
        place,
        grid: 0,
    })
}
