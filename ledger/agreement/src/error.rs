//! What can be wrong with bytes that claim to prove something.

use thiserror::Error;

/// Why a proof, evidence, a key or a block was not accepted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Not as many bytes as the format has.
    #[error("{got} bytes where {expected} are due")]
    Length {
        /// Bytes given.
        got: usize,
        /// Bytes of the format.
        expected: usize,
    },
    /// A version of the format that is not known here.
    #[error("version {got} is not known")]
    Version {
        /// The version given.
        got: u16,
    },
    /// A kind of evidence that is not known here.
    #[error("kind {got} of evidence is not known")]
    Kind {
        /// The kind given.
        got: u8,
    },
    /// A reserved byte that is not zero.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// A committee of another size, or of one that cannot be.
    #[error("{got} seats where {expected} are due")]
    Seats {
        /// Seats given.
        got: usize,
        /// Seats of the committee, or the most there can be.
        expected: usize,
    },
    /// A seat that the committee does not have.
    #[error("the committee has no seat of rank {rank}")]
    Seat {
        /// Rank given.
        rank: usize,
    },
    /// Fewer signers than certify.
    #[error("{got} signers where {quorum} certify")]
    NoQuorum {
        /// Signers given.
        got: usize,
        /// Signers that certify.
        quorum: usize,
    },
    /// A proof of another block.
    #[error("proves another block")]
    OtherBlock,
    /// A proof from another epoch.
    #[error("is of epoch {got}, not {expected}")]
    OtherEpoch {
        /// Epoch given.
        got: u64,
        /// Epoch asked for.
        expected: u64,
    },
    /// A ballot key that is no point of the subgroup.
    #[error("the ballot key of rank {rank} is not a valid point")]
    Key {
        /// Rank of the seat; 0 where a key stands alone.
        rank: usize,
    },
    /// A secret that is no key.
    #[error("not a valid secret key")]
    Secret,
    /// A signature that does not hold.
    #[error("the signature does not hold")]
    Signature,
    /// Two ballots that do not contradict each other, or not in their order.
    #[error("the two ballots do not conflict, or stand in the wrong order")]
    NoConflict,
    /// A block that is longer than this chain's blocks.
    #[error("block of {got} bytes, at most {max}")]
    TooLong {
        /// Bytes given.
        got: usize,
        /// The most a block has.
        max: usize,
    },
    /// Bytes that the application does not read as a block.
    #[error("not a well-formed block")]
    Malformed,
}
