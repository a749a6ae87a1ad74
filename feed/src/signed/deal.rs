//! Deals as bytes: the record of 96 bytes, its id, and the digest that the grid company signs.

use crate::layout::types::*;
use wattbook_types::tree::{leaf_hash, root_of_hashes};
use wattbook_types::{ChainId, ContractId, Deal, Hash, digest};

wire! {
    /// The deal record whose digest is the deal's id.
    struct DealEntry[96] {
        /// Contract traded.
        contract @ 0: u64, U64;
        /// Number of the deal within its contract, from 0.
        ordinal @ 8: u64, U64;
        /// The buyer's account.
        buyer @ 16: u64, U64;
        /// Nonce of the bid's envelope.
        buyer_nonce @ 24: u64, U64;
        /// Index of the bid.
        buyer_index @ 32: u32, U32;
        /// Zero.
        reserved0 @ 36: u32, ZERO4;
        /// The seller's account.
        seller @ 40: u64, U64;
        /// Nonce of the ask's envelope.
        seller_nonce @ 48: u64, U64;
        /// Index of the ask.
        seller_index @ 56: u32, U32;
        /// Zero.
        reserved1 @ 60: u32, ZERO4;
        /// Price of the energy, half ticks.
        price @ 64: i64, I64;
        /// Energy, Wh.
        energy_wh @ 72: u64, U64;
        /// Network charge C1, ticks.
        c1 @ 80: i32, I32;
        /// Network charge C2, ticks.
        c2 @ 84: i32, I32;
        /// Network charge C3, ticks.
        c3 @ 88: i32, I32;
        /// Congestion fee, ticks.
        congestion @ 92: i32, I32;
    }
}

impl DealEntry {
    /// The record of a deal.
    pub fn new(deal: &Deal) -> Self {
        bytemuck::cast(deal.to_bytes())
    }

    /// `D("deal", record)`.
    pub fn id(&self, chain: ChainId) -> Hash {
        digest(chain, "deal", &[bytemuck::bytes_of(self)])
    }
}

/// `D("deal", record)` of a deal.
pub fn deal_id(chain: ChainId, deal: &Deal) -> Hash {
    DealEntry::new(deal).id(chain)
}

/// `D("deals", height u64, contract u64, count u64, root over deal ids)`: ids in ordinal order.
pub fn deals_digest(chain: ChainId, height: u64, contract: ContractId, ids: &[Hash]) -> Hash {
    let root = root_of_hashes(ids.iter().map(|id| leaf_hash(&id.0)));
    let (height, contract, count) = (
        height.to_le_bytes(),
        contract.get().to_le_bytes(),
        (ids.len() as u64).to_le_bytes(),
    );
    digest(chain, "deals", &[&height, &contract, &count, &root.0])
}
