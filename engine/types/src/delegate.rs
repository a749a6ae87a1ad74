//! What delegates and their voters say to the core, and what the core says of them (MARKET 8, PROTOCOL 7).

use crate::committee::Status;
use crate::digest::{ChainId, Hash};
use crate::ids::ParticipantId;
use crate::units::Money;

/// Leaf 9: a vote for a delegate. It counts from the named epoch's tally on until it is changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vote {
    /// The epoch whose committee it is cast for: the next one.
    pub epoch: u64,
    /// Whom it is cast for; `None` takes the vote back.
    pub candidate: Option<ParticipantId>,
}

/// Leaf 16: the regulator states what a participant emitted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EmissionStatement {
    /// Whose.
    pub participant: ParticipantId,
    /// Quarter hours since 1970.
    pub period: u32,
    /// Grams of CO2.
    pub grams: u64,
}

/// The keys a delegate sits with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DelegateKeys {
    /// Ed25519 key of its links.
    pub peer_key: [u8; 32],
    /// BLS key of its ballots, whose proof of possession has been checked.
    pub ballot_key: [u8; 96],
}

/// A delegate stands for election with these keys, from the next tally on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Candidacy {
    /// The next epoch: whoever was long under way stands for nothing.
    pub epoch: u64,
    /// Its keys; `None`: it stands no longer.
    pub keys: Option<DelegateKeys>,
}

/// What a delegate can be convicted of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Offence {
    /// Two ballots that contradict each other, or two receipts.
    Equivocation = 1,
    /// It led with a block that does not execute to what it says.
    InvalidBlock = 2,
}

impl Offence {
    /// The offence of a wire value.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Equivocation),
            2 => Some(Self::InvalidBlock),
            _ => None,
        }
    }
}

/// Evidence whose signatures have been checked under the keys of the named epoch's committee.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The chain that the ballots were cast on.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: u64,
    /// The view; of receipts, the term.
    pub view: u64,
    /// Rank of the offender in that epoch's committee.
    pub rank: u32,
    /// The offender.
    pub offender: ParticipantId,
    /// What it did.
    pub offence: Offence,
}

/// What a block's header says of who made it when. A node alone: producer 0, epoch 0, view = height.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Turn {
    /// The block's height.
    pub height: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its view within the epoch, from 1.
    pub view: u64,
    /// The delegate that packed it; 0 alone.
    pub producer: ParticipantId,
}

impl Turn {
    /// The turn of a node that runs alone.
    pub const fn alone(height: u64) -> Self {
        Self {
            height,
            epoch: 0,
            view: height,
            producer: ParticipantId::new(0),
        }
    }
}

/// Why a delegate lost its seat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Exclusion {
    /// It lost several terms; it stands again by itself.
    Suspended = 1,
    /// It was silent, or led with invalid blocks; it must declare its candidacy again.
    Evicted = 2,
    /// It equivocated: its stake is forfeited, for ever.
    Tombstoned = 3,
}

/// What happened to delegates. None of it has a public form yet; records and state carry all of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DelegateEvent {
    /// A participant's emission was stated.
    EmissionStated(EmissionStatement),
    /// A delegate stands for election, or no longer does.
    Candidacy {
        /// Who.
        participant: ParticipantId,
        /// Whether it stands now.
        stands: bool,
    },
    /// A participant's vote changed.
    Voted {
        /// Who votes.
        participant: ParticipantId,
        /// The vote.
        vote: Vote,
    },
    /// A delegate's flag changed.
    Flagged {
        /// Who.
        participant: ParticipantId,
        /// Its flag now.
        status: Status,
    },
    /// An offence was recorded.
    Convicted {
        /// Who.
        participant: ParticipantId,
        /// What it did.
        offence: Offence,
        /// In which epoch.
        epoch: u64,
        /// In which view.
        view: u64,
    },
    /// A delegate may not sit.
    Excluded {
        /// Who.
        participant: ParticipantId,
        /// Why.
        exclusion: Exclusion,
        /// The first epoch it may sit in again; `u64::MAX`: never.
        until: u64,
    },
    /// A seat of the next epoch's committee, in rank order.
    Seated {
        /// The epoch.
        epoch: u64,
        /// The seat's rank, from 0.
        rank: u32,
        /// Who sits.
        participant: ParticipantId,
        /// Its audited emission, grams.
        emission: u64,
        /// Its own stake.
        stake: u64,
        /// Stake that voted for it, after the cap on groups.
        votes: u128,
    },
    /// The committee of the next epoch.
    Elected {
        /// The epoch.
        epoch: u64,
        /// The committee's digest.
        committee: Hash,
        /// Its seats.
        seats: u32,
        /// Whether too few could be seated, so that the committee before stays.
        kept: bool,
    },
    /// A delegate was paid for packing a block, or at an epoch's end for the blocks it verified.
    WorkMinted {
        /// Who.
        participant: ParticipantId,
        /// Whether for packing; else for verifying.
        packing: bool,
        /// Points.
        minted: Money,
    },
}
