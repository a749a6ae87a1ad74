//! Proof that a delegate broke the one rule of voting, checked with a BLS library alone.
//!
//! # Format
//! ```text
//! V[200], little-endian
//!   0   2  version   1
//!   2   1  kind      1 two blocks notarized, 2 two blocks finalized, 3 a view given up and finalized
//!   3   1  rank      of the delegate in its epoch's committee
//!   4   4  zero
//!   8   8  epoch
//!  16   8  view
//!  24  88  first     parent_view 8, digest 32, signature 48; kind 3: the nullify vote, parent_view and digest zero
//! 112  88  second    likewise
//! ```
//!
//! # Invariants
//! * Kinds 1 and 2: first < second by (parent_view, digest), so one offence has one encoding but for its order in time.
//! * An honest delegate votes once in a view, signs only what its journal holds durably, and rejoins as an observer when
//!   that journal was damaged; no two of its signatures make evidence. A test tries to frame one.
//! * Whether evidence is still admitted (its epoch's age, once) is the state's matter.

use crate::{
    ballot::{BallotKeys, KEY_SIZE, Namespace, Proposal, Round, SIGNATURE_SIZE, Vote},
    error::Error,
    proof::{array_at, u64_at},
};
use wattbook_types::Hash;

/// Bytes of encoded evidence.
pub const EVIDENCE_SIZE: usize = 200;
/// The one version there is.
const VERSION: u16 = 1;
/// Where the two votes stand.
const VOTES: [usize; 2] = [24, 112];

/// The rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Offence {
    /// Two blocks notarized in one view.
    TwoNotarized = 1,
    /// Two blocks finalized in one view.
    TwoFinalized = 2,
    /// A view given up, and a block finalized in it.
    NullifiedAndFinalized = 3,
}

/// A proposal and the delegate's signature over a vote on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signed {
    /// What was voted on; zero in a vote that gives a view up.
    pub proposal: Proposal,
    /// The vote's signature.
    pub signature: [u8; SIGNATURE_SIZE],
}

/// Two votes of one delegate in one view that contradict each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Evidence {
    /// Which rule they break.
    pub offence: Offence,
    /// The delegate's rank in the committee of the epoch.
    pub rank: u8,
    /// Where it voted.
    pub round: Round,
    /// The two votes.
    pub votes: [Signed; 2],
}

/// What stands for the proposal of a vote that has none.
pub(crate) const NO_PROPOSAL: Proposal = Proposal {
    parent_view: 0,
    digest: Hash::ZERO,
};

impl Evidence {
    /// The 200 bytes of the evidence.
    pub fn encode(&self) -> [u8; EVIDENCE_SIZE] {
        let mut bytes = [0; EVIDENCE_SIZE];
        bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
        bytes[2] = self.offence as u8;
        bytes[3] = self.rank;
        bytes[8..16].copy_from_slice(&self.round.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.round.view.to_le_bytes());
        for (at, vote) in VOTES.into_iter().zip(&self.votes) {
            bytes[at..at + 8].copy_from_slice(&vote.proposal.parent_view.to_le_bytes());
            bytes[at + 8..at + 40].copy_from_slice(&vote.proposal.digest.0);
            bytes[at + 40..at + 88].copy_from_slice(&vote.signature);
        }
        bytes
    }

    /// Reads evidence; nothing is believed yet.
    ///
    /// # Errors
    /// Another length, version or kind than there is, reserved bytes in use, or votes that do not conflict.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bytes: &[u8; EVIDENCE_SIZE] = bytes.try_into().map_err(|_| Error::Length {
            got: bytes.len(),
            expected: EVIDENCE_SIZE,
        })?;
        let version = u16::from_le_bytes([bytes[0], bytes[1]]);
        if version != VERSION {
            return Err(Error::Version { got: version });
        }
        let offence = match bytes[2] {
            1 => Offence::TwoNotarized,
            2 => Offence::TwoFinalized,
            3 => Offence::NullifiedAndFinalized,
            got => return Err(Error::Kind { got }),
        };
        if bytes[4..8] != [0; 4] {
            return Err(Error::Reserved);
        }
        let evidence = Self {
            offence,
            rank: bytes[3],
            round: Round {
                epoch: u64_at(bytes, 8),
                view: u64_at(bytes, 16),
            },
            votes: VOTES.map(|at| Signed {
                proposal: Proposal {
                    parent_view: u64_at(bytes, at),
                    digest: Hash(array_at(bytes, at + 8)),
                },
                signature: array_at(bytes, at + 40),
            }),
        };
        evidence.conflict()?;
        Ok(evidence)
    }

    /// Whether the votes contradict each other and stand in their order.
    fn conflict(&self) -> Result<(), Error> {
        let [first, second] = self.votes.map(|vote| vote.proposal);
        let conflicts = match self.offence {
            Offence::TwoNotarized | Offence::TwoFinalized => first < second,
            Offence::NullifiedAndFinalized => first == NO_PROPOSAL,
        };
        if conflicts { Ok(()) } else { Err(Error::NoConflict) }
    }

    /// Checks that the delegate of this rank cast both votes, under the keys of the epoch's committee.
    ///
    /// # Errors
    /// What is wrong with it: no conflict, no such seat, a signature that is not that seat's.
    pub fn verify(&self, keys: &BallotKeys, namespace: &Namespace) -> Result<(), Error> {
        self.conflict()?;
        for (vote, signed) in self.cast().iter().zip(&self.votes) {
            keys.check_vote(self.rank.into(), namespace, self.round, vote, &signed.signature)?;
        }
        Ok(())
    }

    /// As [`Self::verify`], under the key that the seat had, whoever kept it.
    ///
    /// # Errors
    /// No conflict, a key that is none, a signature that is not the key's.
    pub fn verify_by(&self, key: &[u8; KEY_SIZE], namespace: &Namespace) -> Result<(), Error> {
        self.conflict()?;
        let key = BallotKeys::of_one(self.round.epoch, key)?;
        for (vote, signed) in self.cast().iter().zip(&self.votes) {
            key.check_vote(0, namespace, self.round, vote, &signed.signature)?;
        }
        Ok(())
    }

    /// The two votes, as they were cast.
    const fn cast(&self) -> [Vote; 2] {
        let [first, second] = &self.votes;
        match self.offence {
            Offence::TwoNotarized => [Vote::Notarize(first.proposal), Vote::Notarize(second.proposal)],
            Offence::TwoFinalized => [Vote::Finalize(first.proposal), Vote::Finalize(second.proposal)],
            Offence::NullifiedAndFinalized => [Vote::Nullify, Vote::Finalize(second.proposal)],
        }
    }
}
