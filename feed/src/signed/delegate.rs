//! What delegates sign or count (PROTOCOL 3, 7): receipts, inclusion, committees, the ballot's namespace.

use super::genesis::GenesisDelegate;
use wattbook_types::digest::domain_tag;
use wattbook_types::{ChainId, Hash, TimeNs, digest, sha256};

/// `run' = SHA-256(run || D("envelope", H) or the reveal's digest)`: what a leader's receipts chain.
pub fn receipt_run(run: &Hash, item: &Hash) -> Hash {
    sha256(&[&run.0, &item.0])
}

/// `D("receipt", epoch u64, term u64, seq u64, run 32)`: what a leader signs before it matches.
pub fn receipt_digest(chain: ChainId, epoch: u64, term: u64, seq: u64, run: &Hash) -> Hash {
    let numbers = [epoch, term, seq].map(u64::to_le_bytes);
    digest(chain, "receipt", &[numbers.as_flattened(), &run.0])
}

/// `D("seen", epoch u64, time_ns u64, digest 32)`: what a peer signs of an item it has seen.
pub fn seen_digest(chain: ChainId, epoch: u64, time: TimeNs, item: &Hash) -> Hash {
    let numbers = [epoch, time.get()].map(u64::to_le_bytes);
    digest(chain, "seen", &[numbers.as_flattened(), &item.0])
}

/// `D("committee", epoch u64, n x (participant u64, ed25519 32, bls 96))`, members in rank order.
pub fn committee_digest(chain: ChainId, epoch: u64, members: &[GenesisDelegate]) -> Hash {
    let mut body = epoch.to_le_bytes().to_vec();
    for member in members {
        body.extend_from_slice(&member.participant.get().to_le_bytes());
        body.extend_from_slice(&member.ed25519);
        body.extend_from_slice(&member.bls);
    }
    digest(chain, "committee", &[&body])
}

/// The namespace of ballots: `"wattbook/1/ballot"` zero-padded to 32, then the chain id.
pub fn ballot_namespace(chain: ChainId) -> [u8; 64] {
    let mut namespace = [0; 64];
    namespace[..32].copy_from_slice(&domain_tag("ballot"));
    namespace[32..].copy_from_slice(&chain.0.0);
    namespace
}
