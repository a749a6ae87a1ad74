//! Pseudonyms of the public feed: stable within a contract, unlinkable across contracts (DETAILS 2).

use core::cell::Cell;
use core::fmt;
use wattbook_types::digest::Prefix;
use wattbook_types::{ChainId, ContractId, Hash, OrderId, ParticipantId, digest};

/// The key that makes pseudonyms. Who holds it can name every participant of the public feed.
#[derive(Clone)]
pub struct Alias {
    chain: ChainId,
    /// Everything of a digest before the key is one block, hashed once; what follows is hashed for every event.
    participants: Prefix,
    orders: Prefix,
    /// Contract and participant of the last pseudonym, and it: the events of an envelope name the same one again and again.
    last: Cell<Option<(u64, u64, u64)>>,
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
    pub fn new(key: [u8; 32], chain: ChainId) -> Self {
        let prefix = |name| {
            let mut prefix = Prefix::of_digest(chain, name);
            prefix.update(&key);
            prefix
        };
        Self {
            chain,
            participants: prefix("alias"),
            orders: prefix("alias-order"),
            last: Cell::new(None),
        }
    }

    /// What genesis commits to: `D("alias", alias_key)` with chain id 0.
    pub fn commitment(key: &[u8; 32]) -> Hash {
        digest(ChainId::default(), "alias", &[key])
    }

    /// First 8 bytes of `D("alias", alias_key || contract || participant)`; contract 0 outside contracts.
    pub fn pseudonym(&self, contract: Option<ContractId>, participant: ParticipantId) -> u64 {
        let (contract, participant) = (contract.map_or(0, ContractId::get), participant.get());
        if let Some((.., pseudonym)) = self
            .last
            .get()
            .filter(|last| (last.0, last.1) == (contract, participant))
        {
            return pseudonym;
        }
        let mut rest = [0; 16];
        rest[..8].copy_from_slice(&contract.to_le_bytes());
        rest[8..].copy_from_slice(&participant.to_le_bytes());
        let pseudonym = self.participants.finish_with(&rest).prefix_u64();
        self.last.set(Some((contract, participant, pseudonym)));
        pseudonym
    }

    /// First 8 bytes of `D("alias-order", alias_key || contract || participant || nonce || index u32)`: a name that
    /// hides the nonce, which would link a participant's pseudonyms across contracts.
    pub fn order_reference(&self, contract: ContractId, order: OrderId) -> u64 {
        let mut rest = [0; 28];
        rest[..8].copy_from_slice(&contract.get().to_le_bytes());
        rest[8..16].copy_from_slice(&order.participant.get().to_le_bytes());
        rest[16..24].copy_from_slice(&order.nonce.to_le_bytes());
        rest[24..].copy_from_slice(&order.index.to_le_bytes());
        self.orders.finish_with(&rest).prefix_u64()
    }
}
