//! Pseudonyms of the public feed: stable within a contract, unlinkable across contracts (DETAILS 2).

use core::fmt;
use wattbook_types::{ChainId, ContractId, Hash, OrderId, ParticipantId, digest};

/// The key that makes pseudonyms. Who holds it can name every participant of the public feed.
#[derive(Clone)]
pub struct Alias {
    key: [u8; 32],
    chain: ChainId,
}

impl fmt::Debug for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alias")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

impl Alias {
    /// The pseudonyms of this key on this chain.
    pub const fn new(key: [u8; 32], chain: ChainId) -> Self {
        Self { key, chain }
    }

    /// What genesis commits to: `D("alias", alias_key)` with chain id 0.
    pub fn commitment(key: &[u8; 32]) -> Hash {
        digest(ChainId::default(), "alias", &[key])
    }

    /// First 8 bytes of `D("alias", alias_key || contract || participant)`; contract 0 outside contracts.
    pub fn pseudonym(&self, contract: Option<ContractId>, participant: ParticipantId) -> u64 {
        let contract = contract.map_or(0, ContractId::get).to_le_bytes();
        digest(
            self.chain,
            "alias",
            &[&self.key, &contract, &participant.get().to_le_bytes()],
        )
        .prefix_u64()
    }

    /// First 8 bytes of `D("alias-order", alias_key || contract || participant || nonce || index u32)`: a name that
    /// hides the nonce, which would link a participant's pseudonyms across contracts.
    pub fn order_reference(&self, contract: ContractId, order: OrderId) -> u64 {
        let body = [
            &self.key[..],
            &contract.get().to_le_bytes(),
            &order.participant.get().to_le_bytes(),
            &order.nonce.to_le_bytes(),
            &order.index.to_le_bytes(),
        ];
        digest(self.chain, "alias-order", &body).prefix_u64()
    }
}
