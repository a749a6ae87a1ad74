//! Record 5: evidence that a delegate broke the one rule of voting, or told of two orders of one term.
//!
//! # Format
//! ```text
//! offender u64 | V[200]        V as in wattbook_agreement::evidence, little-endian: two ballots
//! offender u64 | W             W as in receipts: two receipts
//! ```
//! V and W begin with their version, 1 and 2.
//!
//! # Invariants
//! * It says nothing that its signatures do not: chain, epoch, view or term are signed, the offender is whoever the state
//!   says sat there, and its key is the one that the state keeps of that committee.

pub mod receipts;

use self::receipts::Contradiction;
use wattbook_agreement::ballot::Namespace;
use wattbook_agreement::evidence::{EVIDENCE_SIZE, Evidence};
use wattbook_market::Market;
use wattbook_types::delegate::{self, Offence};
use wattbook_types::{ChainId, Command, ParticipantId, Reject};

/// What shows an offence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Two votes that contradict each other.
    Ballots(Evidence),
    /// Two receipts that do.
    Receipts(Contradiction),
}

impl Proof {
    /// The epoch and the rank of the offender in its committee.
    pub fn seat(&self) -> (u64, u32) {
        match self {
            Self::Ballots(evidence) => (evidence.round.epoch, evidence.rank.into()),
            Self::Receipts(found) => (found.epoch, found.rank.into()),
        }
    }
}

/// Evidence and whom it convicts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvidenceRecord {
    /// Who signed.
    pub offender: ParticipantId,
    /// What shows it.
    pub proof: Proof,
}

impl EvidenceRecord {
    /// The record of evidence against whoever sat there; `None` where that committee answers for nothing any more.
    pub fn of(proof: Proof, market: &Market) -> Option<Self> {
        let (epoch, rank) = proof.seat();
        let (offender, _) = market.seat_of(epoch, rank)?;
        Some(Self { offender, proof })
    }

    /// Reads a payload; nothing is believed yet.
    ///
    /// # Errors
    /// `ShortFrame` or `MalformedMessage`.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let (offender, proof) = payload.split_first_chunk::<8>().ok_or(Reject::ShortFrame)?;
        let proof = if Contradiction::is_named_by(proof) {
            Proof::Receipts(Contradiction::decode(proof)?)
        } else if proof.len() < EVIDENCE_SIZE {
            return Err(Reject::ShortFrame);
        } else {
            Proof::Ballots(Evidence::decode(proof).map_err(|_| Reject::MalformedMessage)?)
        };
        Ok(Self {
            offender: ParticipantId::new(u64::from_le_bytes(*offender)),
            proof,
        })
    }

    /// The payload.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut payload = self.offender.get().to_le_bytes().to_vec();
        match &self.proof {
            Proof::Ballots(evidence) => payload.extend_from_slice(&evidence.encode()),
            Proof::Receipts(found) => payload.extend_from_slice(&found.encode()),
        }
        payload
    }

    /// What it commands the market of this chain, once [`Self::check`] has passed.
    pub fn to_command(&self, chain: ChainId) -> Command {
        let (epoch, rank) = self.proof.seat();
        Command::Evidence(delegate::Evidence {
            chain,
            epoch,
            view: match &self.proof {
                Proof::Ballots(evidence) => evidence.round.view,
                Proof::Receipts(found) => found.term,
            },
            rank,
            offender: self.offender,
            offence: Offence::Equivocation,
        })
    }

    /// Checks both signatures under the key that the seat had. A seat that nobody had is the market's to refuse.
    ///
    /// # Errors
    /// `BadSignature`.
    pub fn check(&self, market: &Market) -> Result<(), Reject> {
        let (epoch, rank) = self.proof.seat();
        let Some((_, keys)) = market.seat_of(epoch, rank).filter(|(who, _)| *who == self.offender) else {
            return Ok(());
        };
        let chain = market.state().chain;
        let holds = match &self.proof {
            Proof::Ballots(evidence) => evidence.verify_by(&keys.ballot_key, &Namespace::of(chain)).is_ok(),
            Proof::Receipts(found) => found.is_of(chain, &keys.peer_key),
        };
        if holds { Ok(()) } else { Err(Reject::BadSignature) }
    }
}
