//! Our bytes held against the engine's own.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use super::{Digest, PeerKey, Scheme, seats::Seats, wire::digest};
use crate::{
    ballot::{BallotKey, BallotKeys, Namespace, Proposal, Round, Vote, check_possession},
    error::Error,
    evidence::{Evidence, Offence},
    proof::FinalityProof,
    seam::Seating,
};
use commonware_codec::Encode;
use commonware_consensus::{
    simplex::types::{
        Activity, ConflictingFinalize, ConflictingNotarize, Finalization, Finalize, Notarize, Nullify, NullifyFinalize,
        Proposal as EngineProposal,
    },
    types::{Epoch, Round as EngineRound, View},
};
use commonware_cryptography::{Signer as _, ed25519};
use commonware_parallel::Sequential;
use commonware_utils::{iter::NonEmpty, sys_rng};
use wattbook_types::{
    ChainId, Hash, ParticipantId,
    committee::{Committee, Seat},
};

const SEATS: usize = 7;
const EPOCH: u64 = 5;
const VIEW: u64 = 1_000_003;

fn namespace() -> Namespace {
    Namespace::of(ChainId(Hash([9; 32])))
}

fn ballot(rank: usize) -> BallotKey {
    BallotKey::generate(&[rank as u8 + 1; 32]).unwrap()
}

fn committee() -> Committee {
    let seat = |rank: usize| Seat {
        participant: ParticipantId::new(100 + rank as u64),
        peer_key: ed25519::PrivateKey::from_seed(rank as u64)
            .public_key()
            .as_ref()
            .try_into()
            .unwrap(),
        ballot_key: ballot(rank).public(),
        emission: rank as u64,
        stake: 0,
    };
    Committee::new(EPOCH, (0..SEATS).map(seat).collect()).unwrap()
}

fn seats() -> Vec<Seats> {
    let seated = |rank| {
        let seating = Seating {
            committee: committee(),
            ballot: Some(ballot(rank)),
        };
        Seats::new(seating, &namespace(), true).unwrap()
    };
    (0..SEATS).map(seated).collect()
}

fn engine_proposal(payload: u8) -> EngineProposal<Digest> {
    let round = EngineRound::new(Epoch::new(EPOCH), View::new(VIEW));
    EngineProposal::new(round, View::new(300), digest(Hash([payload; 32])))
}

fn proposal(payload: u8) -> Proposal {
    Proposal {
        parent_view: 300,
        digest: Hash([payload; 32]),
    }
}

const ROUND: Round = Round {
    epoch: EPOCH,
    view: VIEW,
};

fn certificate(seats: &[Seats], ranks: &[usize]) -> Finalization<Scheme, Digest> {
    let votes: Vec<_> = ranks
        .iter()
        .map(|rank| Finalize::sign(seats[*rank].scheme.as_ref(), engine_proposal(7)).unwrap())
        .collect();
    let mut votes = votes.into_iter();
    let votes = NonEmpty::new(votes.next().unwrap(), votes);
    Finalization::from_owned_finalizes(seats[0].scheme.as_ref(), votes, &Sequential).unwrap()
}

#[test]
fn keys_stand_in_another_order_than_ranks() {
    let seats = seats();
    let sorted = seats[0].peers.is_sorted_by(|a: &PeerKey, b: &PeerKey| a < b);
    assert!(!sorted, "else the tests below would not notice a confusion of the two");
}

#[test]
fn our_votes_are_the_engine_s_votes() {
    let (seats, namespace) = (seats(), namespace());
    for (rank, seats) in seats.iter().enumerate() {
        let scheme = seats.scheme.as_ref();
        let theirs = [
            Notarize::sign(scheme, engine_proposal(7))
                .unwrap()
                .attestation
                .signature
                .encode(),
            Nullify::sign::<Digest>(scheme, engine_proposal(7).round)
                .unwrap()
                .attestation
                .signature
                .encode(),
            Finalize::sign(scheme, engine_proposal(7))
                .unwrap()
                .attestation
                .signature
                .encode(),
        ];
        let ours = [Vote::Notarize(proposal(7)), Vote::Nullify, Vote::Finalize(proposal(7))];
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert_eq!(theirs[..], ballot(rank).sign(&namespace, ROUND, ours));
        }
    }
}

#[test]
fn a_certificate_holds_here_as_it_does_there() {
    let (seats, namespace) = (seats(), namespace());
    let keys = BallotKeys::of(&committee()).unwrap();
    assert_eq!((keys.seats(), keys.quorum()), (7, 5));
    for ranks in [
        &[0, 1, 2, 3, 4][..],
        &[2, 3, 4, 5, 6],
        &[0, 1, 2, 4, 5, 6],
        &[0, 1, 2, 3, 4, 5, 6],
    ] {
        let theirs = certificate(&seats, ranks);
        assert!(theirs.verify(&mut sys_rng(), seats[0].scheme.as_ref(), &Sequential));
        let ours = seats[3].proof(&theirs).unwrap();
        assert_eq!(ours.signers, ranks.iter().map(|rank| 1 << rank).sum::<u64>());
        ours.verify(&keys, &namespace, Hash([7; 32])).unwrap();
        assert_eq!(FinalityProof::decode(&ours.encode()), Ok(ours));
    }
    let mut other = certificate(&seats, &[0, 1, 2, 3, 4]);
    other.proposal.payload = digest(Hash([8; 32]));
    assert!(!other.verify(&mut sys_rng(), seats[0].scheme.as_ref(), &Sequential));
    let ours = seats[3].proof(&other).unwrap();
    assert_eq!(ours.verify(&keys, &namespace, Hash([8; 32])), Err(Error::Signature));
}

#[test]
fn a_certificate_fails_with_any_bit_flipped() {
    let (seats, namespace) = (seats(), namespace());
    let keys = BallotKeys::of(&committee()).unwrap();
    let bytes = seats[0].proof(&certificate(&seats, &[0, 2, 3, 5, 6])).unwrap().encode();
    let check =
        |bytes: &[u8]| FinalityProof::decode(bytes).and_then(|proof| proof.verify(&keys, &namespace, Hash([7; 32])));
    check(&bytes).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&flipped).is_err(), "byte {}, bit {}", bit / 8, bit % 8);
    }
    for len in [0, 1, bytes.len() - 1] {
        assert!(check(&bytes[..len]).is_err());
    }
    assert!(check(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_certificate_is_of_one_chain_epoch_and_committee() {
    let (seats, namespace) = (seats(), namespace());
    let keys = BallotKeys::of(&committee()).unwrap();
    let proof = seats[0].proof(&certificate(&seats, &[0, 1, 2, 3, 4])).unwrap();
    let digest = Hash([7; 32]);
    let other_chain = Namespace::of(ChainId(Hash([10; 32])));
    assert_eq!(proof.verify(&keys, &other_chain, digest), Err(Error::Signature));
    let next = BallotKeys::of(&Committee::new(EPOCH + 1, committee().seats().to_vec()).unwrap()).unwrap();
    assert_eq!(
        proof.verify(&next, &namespace, digest),
        Err(Error::OtherEpoch {
            got: EPOCH,
            expected: EPOCH + 1
        })
    );
    assert_eq!(proof.verify(&keys, &namespace, Hash([8; 32])), Err(Error::OtherBlock));
    let mut swapped = committee().seats().to_vec();
    swapped.swap(4, 5);
    let swapped = BallotKeys::of(&Committee::new(EPOCH, swapped).unwrap()).unwrap();
    assert_eq!(proof.verify(&swapped, &namespace, digest), Err(Error::Signature));
    let fewer = BallotKeys::of(&Committee::new(EPOCH, committee().seats()[..6].to_vec()).unwrap()).unwrap();
    assert_eq!(
        proof.verify(&fewer, &namespace, digest),
        Err(Error::Seats { got: 7, expected: 6 })
    );
}

#[test]
fn too_few_signers_certify_nothing() {
    let (namespace, keys) = (namespace(), BallotKeys::of(&committee()).unwrap());
    let vote = Vote::Finalize(proposal(7));
    let signature = ballot(0).sign(&namespace, ROUND, &vote);
    keys.check_vote(0, &namespace, ROUND, &vote, &signature).unwrap();
    assert_eq!(
        keys.check_quorum(1, &namespace, ROUND, &vote, &signature),
        Err(Error::NoQuorum { got: 1, quorum: 5 })
    );
    // The empty sum: no signer, no signature.
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    for signers in [0, 0x7f] {
        assert!(keys.check_quorum(signers, &namespace, ROUND, &vote, &infinity).is_err());
    }
}

#[test]
fn offences_become_evidence_that_stands_alone() {
    let (seats, namespace) = (seats(), namespace());
    let keys = BallotKeys::of(&committee()).unwrap();
    let scheme = seats[4].scheme.as_ref();
    let notarize = |payload| Notarize::sign(scheme, engine_proposal(payload)).unwrap();
    let finalize = |payload| Finalize::sign(scheme, engine_proposal(payload)).unwrap();
    let nullify = Nullify::sign::<Digest>(scheme, engine_proposal(7).round).unwrap();
    let offences = [
        (
            Activity::ConflictingNotarize(ConflictingNotarize::new(notarize(9), notarize(7))),
            Offence::TwoNotarized,
        ),
        (
            Activity::ConflictingFinalize(ConflictingFinalize::new(finalize(7), finalize(9))),
            Offence::TwoFinalized,
        ),
        (
            Activity::NullifyFinalize(NullifyFinalize::new(nullify, finalize(7))),
            Offence::NullifiedAndFinalized,
        ),
    ];
    for (activity, offence) in offences {
        let (epoch, evidence) = seats[1].evidence(&activity, &namespace).unwrap();
        assert_eq!((epoch, evidence.offence, evidence.rank), (EPOCH, offence, 4));
        let bytes = evidence.encode();
        let check = |bytes: &[u8]| Evidence::decode(bytes).and_then(|evidence| evidence.verify(&keys, &namespace));
        check(&bytes).unwrap();
        // One bit a byte, and every bit of what is not a signature.
        for bit in (0..bytes.len() * 8).filter(|bit| bit / 8 < 64 || bit % 8 == bit / 8 % 8) {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                check(&flipped).is_err(),
                "{offence:?}, byte {}, bit {}",
                bit / 8,
                bit % 8
            );
        }
    }
}

#[test]
fn an_honest_delegate_cannot_be_framed() {
    let (seats, namespace) = (seats(), namespace());
    let keys = BallotKeys::of(&committee()).unwrap();
    // All that an honest delegate ever signs: one block a view, and a view given up only if it did not finalize there.
    let later = Round {
        epoch: EPOCH,
        view: VIEW + 1,
    };
    let key = ballot(2);
    let honest = [
        (ROUND, Vote::Notarize(proposal(7))),
        (ROUND, Vote::Finalize(proposal(7))),
        (later, Vote::Notarize(proposal(8))),
        (later, Vote::Nullify),
    ]
    .map(|(round, vote)| (round, vote, key.sign(&namespace, round, &vote)));
    let traitor = ballot(3);
    let mut tried = 0;
    for offence in [
        Offence::TwoNotarized,
        Offence::TwoFinalized,
        Offence::NullifiedAndFinalized,
    ] {
        for (_, first, one) in &honest {
            for (_, second, two) in &honest {
                for round in [ROUND, later] {
                    for forged in [None, Some(traitor.sign(&namespace, round, second))] {
                        let signed = |vote: &Vote, signature| crate::evidence::Signed {
                            proposal: match vote {
                                Vote::Notarize(proposal) | Vote::Finalize(proposal) => *proposal,
                                Vote::Nullify => crate::evidence::NO_PROPOSAL,
                            },
                            signature,
                        };
                        let votes = [signed(first, *one), signed(second, forged.unwrap_or(*two))];
                        let evidence = Evidence {
                            offence,
                            rank: 2,
                            round,
                            votes,
                        };
                        assert!(evidence.verify(&keys, &namespace).is_err(), "{evidence:?}");
                        tried += 1;
                    }
                }
            }
        }
    }
    assert_eq!(tried, 3 * 4 * 4 * 2 * 2);
    // What the engine reports without having checked it does not pass either.
    let scheme = seats[2].scheme.as_ref();
    let mut other = Notarize::sign(seats[3].scheme.as_ref(), engine_proposal(9)).unwrap();
    let own = Notarize::sign(scheme, engine_proposal(7)).unwrap();
    other.attestation.signer = own.attestation.signer;
    let activity = Activity::ConflictingNotarize(ConflictingNotarize::new(own, other));
    assert_eq!(seats[0].evidence(&activity, &namespace), None);
}

#[test]
fn possession_is_proved_and_borrowed_proofs_are_not() {
    let (one, two) = (ballot(0), ballot(1));
    check_possession(&one.public(), &one.prove_possession()).unwrap();
    assert_eq!(
        check_possession(&one.public(), &two.prove_possession()),
        Err(Error::Signature)
    );
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    assert!(check_possession(&infinity, &one.prove_possession()).is_err());
    // A vote is no proof of possession, whatever it is over.
    let vote = one.sign(&namespace(), ROUND, &Vote::Nullify);
    assert_eq!(check_possession(&one.public(), &vote), Err(Error::Signature));
    assert_eq!(BallotKey::from_bytes(&one.to_bytes()).unwrap().public(), one.public());
    assert!(BallotKey::from_bytes(&[0; 32]).is_err() && BallotKey::generate(&[1; 31]).is_err());
}
