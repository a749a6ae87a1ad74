//! The logon digest and the grade of acknowledgement.

use wattbook_types::{ChainId, Hash, ParticipantId, digest};

/// How much an answer promises (PROTOCOL 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Grade {
    /// Executed on this node, revocable.
    Matched = 1,
    /// On this node's disk.
    Durable = 2,
    /// Certified by the committee.
    Final = 3,
}

impl Grade {
    /// The grade of a wire value.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Matched),
            2 => Some(Self::Durable),
            3 => Some(Self::Final),
            _ => None,
        }
    }
}

/// `D("logon", challenge 32 || participant u64 || grade u8 || zero 7)`.
pub fn logon_digest(chain: ChainId, challenge: &[u8; 32], participant: ParticipantId, grade: u8) -> Hash {
    digest(
        chain,
        "logon",
        &[
            challenge,
            &participant.get().to_le_bytes(),
            &[grade, 0, 0, 0, 0, 0, 0, 0],
        ],
    )
}
