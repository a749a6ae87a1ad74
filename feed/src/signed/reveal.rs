//! Seals and reveals: the commitment, and record 3 that opens it.

use super::codec::quote;
use super::envelope::LEAF_SIZE;
use super::leaf::{Leaf, LeafBytes};
use super::length_reject;
use wattbook_types::{ChainId, ContractId, Hash, ParticipantId, Reject, Reveal, digest, tree};

/// `D("seal", participant u64, contract u64, round u32, count u32, salt 32, root 32)`.
pub fn seal_commitment(
    chain: ChainId,
    participant: ParticipantId,
    contract: ContractId,
    round: u32,
    salt: &Hash,
    leaves: &[LeafBytes],
) -> Hash {
    let body = [
        &participant.get().to_le_bytes()[..],
        &contract.get().to_le_bytes(),
        &round.to_le_bytes(),
        // BOUND: a frame holds far fewer than 2^32 leaves.
        &(leaves.len() as u32).to_le_bytes(),
        &salt.0,
        &tree::root(leaves).0,
    ];
    digest(chain, "seal", &body)
}

/// Record 3: participant u64, contract u64, round u32, count u32, salt 32, quote leaves. Unsigned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevealRecord {
    /// Who sealed.
    pub participant: ParticipantId,
    /// Contract.
    pub contract: ContractId,
    /// Round, from 1.
    pub round: u32,
    /// Salt of the commitment.
    pub salt: Hash,
    /// Quote leaves, in order.
    pub leaves: Vec<LeafBytes>,
}

/// Size of a record before its leaves.
const FIXED: usize = 56;

impl RevealRecord {
    /// The payload of the log's record.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + LEAF_SIZE * self.leaves.len());
        out.extend_from_slice(&self.participant.get().to_le_bytes());
        out.extend_from_slice(&self.contract.get().to_le_bytes());
        out.extend_from_slice(&self.round.to_le_bytes());
        out.extend_from_slice(&(self.leaves.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.salt.0);
        out.extend_from_slice(self.leaves.as_flattened());
        out
    }

    /// The reveal of a payload: as many leaves as it says, nothing after them.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let (fixed, leaves) = payload.split_at_checked(FIXED).ok_or(Reject::ShortFrame)?;
        let word = |at: usize| bytemuck::pod_read_unaligned::<u64>(&fixed[at..at + 8]);
        let half = |at: usize| bytemuck::pod_read_unaligned::<u32>(&fixed[at..at + 4]);
        let want = LEAF_SIZE.checked_mul(half(20) as usize).ok_or(Reject::ShortFrame)?;
        if leaves.len() != want {
            return Err(length_reject(leaves.len(), want));
        }
        Ok(Self {
            participant: ParticipantId::new(word(0)),
            contract: ContractId::from_raw(word(8)),
            round: half(16),
            salt: Hash(bytemuck::pod_read_unaligned(&fixed[24..])),
            leaves: leaves.as_chunks::<LEAF_SIZE>().0.to_vec(),
        })
    }

    /// The commitment that these bytes open.
    pub fn commitment(&self, chain: ChainId) -> Hash {
        seal_commitment(
            chain,
            self.participant,
            self.contract,
            self.round,
            &self.salt,
            &self.leaves,
        )
    }

    /// `D("reveal", payload)`: what a receipt's run takes in.
    pub fn digest(&self, chain: ChainId) -> Hash {
        digest(chain, "reveal", &[&self.to_payload()])
    }

    /// The reveal for the market core. A leaf that is no quote, or names another index, contract or round, makes the
    /// whole malformed; a quote that cannot be taken is void by itself.
    pub fn to_command(&self, chain: ChainId) -> Result<Reveal, Reject> {
        let quote_at = |(position, bytes): (u32, &LeafBytes)| match Leaf::read(bytes, position) {
            Ok(Leaf::Quote(leaf)) if leaf.contract == self.contract.get() && u32::from(leaf.round) == self.round => {
                Ok(quote(&leaf))
            }
            _ => Err(Reject::MalformedMessage),
        };
        Ok(Reveal {
            participant: self.participant,
            contract: self.contract,
            round: self.round,
            salt: self.salt,
            commitment: self.commitment(chain),
            quotes: (0..).zip(&self.leaves).map(quote_at).collect::<Result<_, _>>()?,
        })
    }
}
