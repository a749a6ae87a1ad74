//! Record 5: evidence that a delegate broke the one rule of voting.
//!
//! # Format
//! ```text
//! offender u64 | V[200]        V as in wattbook_agreement::evidence, little-endian
//! ```
//!
//! # Invariants
//! * It says nothing that its signatures do not: chain, epoch, view and rank are signed, the offender is whoever the state
//!   says sat there, and its key is the one that the state keeps of that committee.

use wattbook_agreement::ballot::Namespace;
use wattbook_agreement::evidence::{EVIDENCE_SIZE, Evidence};
use wattbook_market::Market;
use wattbook_types::delegate::{self, Offence};
use wattbook_types::{ChainId, Command, ParticipantId, Reject};

/// Bytes of the record's payload.
pub const RECORD_SIZE: usize = 8 + EVIDENCE_SIZE;

/// Evidence and whom it convicts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EvidenceRecord {
    /// Whose votes they are.
    pub offender: ParticipantId,
    /// The votes.
    pub evidence: Evidence,
}

impl EvidenceRecord {
    /// The record of evidence against whoever sat there; `None` where that committee answers for nothing any more.
    pub fn of(evidence: Evidence, market: &Market) -> Option<Self> {
        let (offender, _) = market.seat_of(evidence.round.epoch, evidence.rank.into())?;
        Some(Self { offender, evidence })
    }

    /// Reads a payload; nothing is believed yet.
    ///
    /// # Errors
    /// `ShortFrame` or `MalformedMessage`.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let (offender, evidence) = payload.split_first_chunk::<8>().ok_or(Reject::ShortFrame)?;
        if payload.len() < RECORD_SIZE {
            return Err(Reject::ShortFrame);
        }
        Ok(Self {
            offender: ParticipantId::new(u64::from_le_bytes(*offender)),
            evidence: Evidence::decode(evidence).map_err(|_| Reject::MalformedMessage)?,
        })
    }

    /// The payload.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(RECORD_SIZE);
        payload.extend_from_slice(&self.offender.get().to_le_bytes());
        payload.extend_from_slice(&self.evidence.encode());
        payload
    }

    /// What it commands the market of this chain, once [`Self::check`] has passed.
    pub fn to_command(&self, chain: ChainId) -> Command {
        let Evidence { rank, round, .. } = self.evidence;
        Command::Evidence(delegate::Evidence {
            chain,
            epoch: round.epoch,
            view: round.view,
            rank: rank.into(),
            offender: self.offender,
            offence: Offence::Equivocation,
        })
    }

    /// Checks both signatures under the key that the seat had. A seat that nobody had is the market's to refuse.
    ///
    /// # Errors
    /// `BadSignature`.
    pub fn check(&self, market: &Market) -> Result<(), Reject> {
        let Evidence { rank, round, .. } = self.evidence;
        match market.seat_of(round.epoch, rank.into()) {
            Some((offender, key)) if offender == self.offender => {
                let namespace = Namespace::of(market.state().chain);
                let checked = self.evidence.verify_by(key, &namespace);
                checked.map_err(|_| Reject::BadSignature)
            }
            _ => Ok(()),
        }
    }
}
