//! Committees: who certifies the blocks of an epoch, in rank order, and the digests that name them.
//!
//! # Contract
//! * [`quorum`] is the one function that says how many votes are enough: `n - floor((n - 1) / 3)`.
//! * Rank is by audited emission, least first; ties by stake, most first; then by peer key. See [`Seat::before`].
//! * The committee's digest covers participants and keys in rank order and nothing else (PROTOCOL 3); emission and stake
//!   are what the rank was made from, and stand in the state.
//!
//! # Format
//! ```text
//! next_committee = D("committee", epoch u64, n x (participant u64, ed25519 32, bls 96))
//! dpos_hash      = D("dpos", epoch u64, n u32, zero u32, n x (participant u64, missed u32, status u8, zero 3))
//!                  D("dpos", empty) for a node that runs alone
//! ```

use crate::digest::{ChainId, Hash, digest};
use crate::ids::ParticipantId;
use core::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

/// Fewest seats that stand one fault.
pub const SEATS_MIN: usize = 4;
/// Most seats: signers of a certificate are a 64-bit mask.
pub const SEATS_MAX: usize = 64;

/// Votes that make a certificate among `seats` delegates.
pub const fn quorum(seats: usize) -> usize {
    seats - seats.saturating_sub(1) / 3
}

/// A delegate's seat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seat {
    /// The delegate's account.
    pub participant: ParticipantId,
    /// Ed25519 key of its links.
    pub peer_key: [u8; 32],
    /// BLS key of its ballots, min-sig, compressed G2.
    pub ballot_key: [u8; 96],
    /// Its audited emission, grams of CO2.
    pub emission: u64,
    /// Its own stake.
    pub stake: u64,
}

impl Seat {
    /// Which of two seats leads before the other.
    pub fn before(&self, other: &Self) -> Ordering {
        let rank = |seat: &Self| (seat.emission, Reverse(seat.stake), seat.peer_key);
        rank(self).cmp(&rank(other))
    }
}

/// The delegates of an epoch, in rank order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committee {
    epoch: u64,
    seats: Vec<Seat>,
}

impl Committee {
    /// A committee of these seats, in the order given; `None` with no seat or more than [`SEATS_MAX`], or where an account
    /// or a key sits twice.
    pub fn new(epoch: u64, seats: Vec<Seat>) -> Option<Self> {
        let accounts: BTreeSet<_> = seats.iter().map(|seat| seat.participant).collect();
        let peers: BTreeSet<_> = seats.iter().map(|seat| seat.peer_key).collect();
        let ballots: BTreeSet<_> = seats.iter().map(|seat| seat.ballot_key).collect();
        let each_once = [accounts.len(), peers.len(), ballots.len()] == [seats.len(); 3];
        (each_once && (1..=SEATS_MAX).contains(&seats.len())).then_some(Self { epoch, seats })
    }

    /// A committee of these seats, ranked; `None` as [`Self::new`].
    pub fn ranked(epoch: u64, mut seats: Vec<Seat>) -> Option<Self> {
        seats.sort_by(Seat::before);
        Self::new(epoch, seats)
    }

    /// The epoch it certifies.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The seats, by rank.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Votes that make a certificate.
    pub fn quorum(&self) -> usize {
        quorum(self.seats.len())
    }

    /// Rank of a delegate.
    pub fn rank_of(&self, participant: ParticipantId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.participant == participant)
    }

    /// `next_committee` of the border block before it.
    pub fn hash(&self, chain: ChainId) -> Hash {
        let mut body = self.epoch.to_le_bytes().to_vec();
        for seat in &self.seats {
            body.extend_from_slice(&seat.participant.get().to_le_bytes());
            body.extend_from_slice(&seat.peer_key);
            body.extend_from_slice(&seat.ballot_key);
        }
        digest(chain, "committee", &[&body])
    }
}

/// What is thought of a delegate (MARKET 8.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Status {
    /// Nothing is held against it.
    #[default]
    Normal = 0,
    /// It has lost terms.
    Suspect = 1,
    /// It loses its seat at the epoch's end, or has lost it.
    Abnormal = 2,
}

/// How a delegate stands at a block, as the block's header binds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Standing {
    /// The delegate.
    pub participant: ParticipantId,
    /// Terms it has lost in this epoch.
    pub missed: u32,
    /// Its flag.
    pub status: Status,
}

/// `dpos_hash` of a block: the delegates of its epoch by rank, as they stand at its end.
pub fn dpos_hash(chain: ChainId, epoch: u64, delegates: &[Standing]) -> Hash {
    let mut body = epoch.to_le_bytes().to_vec();
    // BOUND: at most SEATS_MAX delegates.
    body.extend_from_slice(&(delegates.len() as u32).to_le_bytes());
    body.extend_from_slice(&[0; 4]);
    for delegate in delegates {
        body.extend_from_slice(&delegate.participant.get().to_le_bytes());
        body.extend_from_slice(&delegate.missed.to_le_bytes());
        body.extend_from_slice(&[delegate.status as u8, 0, 0, 0]);
    }
    digest(chain, "dpos", &[&body])
}

/// `dpos_hash` of a node that runs alone.
pub fn dpos_hash_alone(chain: ChainId) -> Hash {
    digest(chain, "dpos", &[])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

    use super::*;
    use crate::digest::sha256;
    use proptest::prelude::*;

    fn seat(participant: u64, emission: u64, stake: u64) -> Seat {
        Seat {
            participant: ParticipantId::new(participant),
            peer_key: sha256(&[&participant.to_le_bytes()]).0,
            ballot_key: [participant as u8; 96],
            emission,
            stake,
        }
    }

    #[test]
    fn quorums_of_the_papers() {
        let quorums = [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5), (10, 7), (21, 15), (64, 43)];
        for (seats, votes) in quorums {
            assert_eq!(quorum(seats), votes, "{seats}");
        }
        assert_eq!(quorum(0), 0);
    }

    #[test]
    fn an_account_or_key_sits_once() {
        let twice = |change: fn(&mut Seat, &Seat)| {
            let mut seats = vec![seat(1, 0, 0), seat(2, 0, 0)];
            let first = seats[0];
            change(&mut seats[1], &first);
            Committee::new(0, seats)
        };
        assert!(twice(|_, _| ()).is_some());
        assert_eq!(twice(|seat, first| seat.participant = first.participant), None);
        assert_eq!(twice(|seat, first| seat.peer_key = first.peer_key), None);
        assert_eq!(twice(|seat, first| seat.ballot_key = first.ballot_key), None);
        assert_eq!(Committee::new(0, Vec::new()), None);
        assert!(Committee::new(0, (1..=64).map(|n| seat(n, 0, 0)).collect()).is_some());
        assert_eq!(Committee::new(0, (1..=65).map(|n| seat(n, 0, 0)).collect()), None);
    }

    /// The bytes written by hand, so that a change of the format is seen.
    #[test]
    fn digests_cover_what_the_format_says() {
        let chain = ChainId(sha256(&[b"chain"]));
        let committee = Committee::new(3, vec![seat(9, 5, 1), seat(7, 6, 1)]).unwrap();
        let mut body = vec![3, 0, 0, 0, 0, 0, 0, 0];
        for participant in [9u8, 7] {
            body.extend([participant, 0, 0, 0, 0, 0, 0, 0]);
            body.extend(sha256(&[&u64::from(participant).to_le_bytes()]).0);
            body.extend([participant; 96]);
        }
        assert_eq!(committee.hash(chain), digest(chain, "committee", &[&body]));
        assert_eq!(committee.rank_of(ParticipantId::new(7)), Some(1));
        assert_eq!(committee.rank_of(ParticipantId::new(8)), None);

        let standing = Standing {
            participant: ParticipantId::new(9),
            missed: 258,
            status: Status::Abnormal,
        };
        let body = [
            3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 2, 0, 0, 0,
        ];
        assert_eq!(dpos_hash(chain, 3, &[standing]), digest(chain, "dpos", &[&body]));
        assert_ne!(dpos_hash(chain, 0, &[]), dpos_hash_alone(chain));
    }

    proptest! {
        /// Two quorums share an honest delegate, and a quorum stands with every fault silent.
        #[test]
        fn a_quorum_is_safe_and_live(seats in 1usize..=SEATS_MAX) {
            let faults = (seats - 1) / 3;
            prop_assert!(2 * quorum(seats) - seats > faults);
            prop_assert!(quorum(seats) <= seats - faults);
        }

        /// The rank does not depend on the order in which seats are found.
        #[test]
        fn ranks_are_of_the_seats(
            emissions in proptest::collection::vec((0u64..4, 0u64..3), 1..20),
            turn in 0usize..20,
        ) {
            let mut seats: Vec<Seat> = (1..).zip(emissions).map(|(n, (e, s))| seat(n, e, s)).collect();
            let ranked = Committee::ranked(1, seats.clone()).unwrap();
            let len = seats.len();
            seats.rotate_left(turn % len);
            seats.reverse();
            prop_assert_eq!(&ranked, &Committee::ranked(1, seats).unwrap());
            for pair in ranked.seats().windows(2) {
                prop_assert!((pair[0].emission, Reverse(pair[0].stake)) <= (pair[1].emission, Reverse(pair[1].stake)));
            }
        }
    }
}
