//! The certificate that a block is final, checked with a BLS library alone.
//!
//! # Format
//! ```text
//! F[120], little-endian
//!   0   2  version      1
//!   2   2  seats        n, 1 to 64
//!   4   4  zero
//!   8   8  epoch
//!  16   8  view         in which the block became final; later than the block's own where it was proposed again at a border
//!  24   8  parent_view  0 on the block that ends the epoch before
//!  32  32  digest       of the block
//!  64   8  signers      bit r = the seat of rank r signed; bits n and above are zero
//!  72  48  signature    aggregate of the signers' signatures over the finalize vote (see `ballot`), compressed G1
//! ```
//!
//! # Invariants
//! * Every byte is either signed, checked, or decides whose keys are added: no two encodings prove the same thing with
//!   the same signers, and a flipped bit anywhere fails.
//! * A certificate holds a quorum and no more. A seat that is absent from `signers` was not needed; it is no
//!   evidence that the delegate was down. A skipped term is.

use crate::{
    ballot::{BallotKeys, Namespace, Proposal, Round, SIGNATURE_SIZE, Vote, aggregate},
    error::Error,
};
use wattbook_types::{Hash, committee::SEATS_MAX};

/// Bytes of an encoded proof.
pub const PROOF_SIZE: usize = 120;
/// The one version there is.
const VERSION: u16 = 1;

/// Proof that a committee made a block final.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinalityProof {
    /// Seats of the committee.
    pub seats: u16,
    /// Where the block became final.
    pub round: Round,
    /// The block, on its parent's view.
    pub proposal: Proposal,
    /// Who signed: bit r is the seat of rank r.
    pub signers: u64,
    /// Their aggregate signature.
    pub signature: [u8; SIGNATURE_SIZE],
}

impl FinalityProof {
    /// The proof that the seats of the first ranks have signed the finalize vote; `None` where these are no signatures.
    pub fn of_votes(seats: u16, round: Round, proposal: Proposal, votes: &[[u8; SIGNATURE_SIZE]]) -> Option<Self> {
        let count = u32::try_from(votes.len())
            .ok()
            .filter(|count| *count <= SEATS_MAX as u32)?;
        Some(Self {
            seats,
            round,
            proposal,
            signers: u64::MAX.checked_shr(64 - count)?,
            signature: aggregate(votes)?,
        })
    }

    /// The 120 bytes of the proof.
    pub fn encode(&self) -> [u8; PROOF_SIZE] {
        let mut bytes = [0; PROOF_SIZE];
        bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.seats.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.round.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.round.view.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.proposal.parent_view.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.proposal.digest.0);
        bytes[64..72].copy_from_slice(&self.signers.to_le_bytes());
        bytes[72..].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads a proof; nothing is believed yet.
    ///
    /// # Errors
    /// Another length, version or size of committee than there can be, or reserved bytes in use.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bytes: &[u8; PROOF_SIZE] = bytes.try_into().map_err(|_| Error::Length {
            got: bytes.len(),
            expected: PROOF_SIZE,
        })?;
        let version = u16::from_le_bytes([bytes[0], bytes[1]]);
        if version != VERSION {
            return Err(Error::Version { got: version });
        }
        let seats = u16::from_le_bytes([bytes[2], bytes[3]]);
        if seats == 0 || usize::from(seats) > SEATS_MAX {
            return Err(Error::Seats {
                got: seats.into(),
                expected: SEATS_MAX,
            });
        }
        if bytes[4..8] != [0; 4] {
            return Err(Error::Reserved);
        }
        let proof = Self {
            seats,
            round: Round {
                epoch: u64_at(bytes, 8),
                view: u64_at(bytes, 16),
            },
            proposal: Proposal {
                parent_view: u64_at(bytes, 24),
                digest: Hash(array_at(bytes, 32)),
            },
            signers: u64_at(bytes, 64),
            signature: array_at(bytes, 72),
        };
        Ok(proof)
    }

    /// Checks that this proof makes the block `digest` final, under the keys of its epoch's committee.
    ///
    /// # Errors
    /// What is wrong with it: another block, epoch or committee, too few signers, a signature that does not hold.
    pub fn verify(&self, keys: &BallotKeys, namespace: &Namespace, digest: Hash) -> Result<(), Error> {
        if self.proposal.digest != digest {
            return Err(Error::OtherBlock);
        }
        if usize::from(self.seats) != keys.seats() {
            return Err(Error::Seats {
                got: self.seats.into(),
                expected: keys.seats(),
            });
        }
        keys.check_quorum(
            self.signers,
            namespace,
            self.round,
            &Vote::Finalize(self.proposal),
            &self.signature,
        )
    }
}

/// The `N` bytes at `at`.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The little-endian number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
