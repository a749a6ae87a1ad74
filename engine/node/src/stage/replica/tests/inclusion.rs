//! Inclusion by itself: what certifies, what does not, and how much of it is kept.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use super::*;
use wattbook_types::ParticipantId;
use wattbook_types::committee::Seat;

const CHAIN: ChainId = ChainId(Hash([9; 32]));

fn key(rank: u8) -> SigningKey {
    SigningKey::from_bytes(&[rank + 1; 32])
}

fn committee(epoch: u64) -> Committee {
    let seat = |rank: u8| Seat {
        participant: ParticipantId::new(u64::from(rank) + 20),
        peer_key: key(rank).verifying_key().to_bytes(),
        ballot_key: [rank; 96],
        emission: 0,
        stake: 0,
    };
    Committee::new(epoch, (0..7).map(seat).collect()).unwrap()
}

fn digests(n: u16) -> Vec<Hash> {
    (0..n).map(|at| wattbook_types::sha256(&[&at.to_le_bytes()])).collect()
}

fn seen(chain: ChainId, rank: u8, epoch: u64, n: u16) -> Seen {
    Seen::sign(chain, &key(rank), epoch, TimeNs::new(5), digests(n))
}

fn claims() -> Claims {
    let mut claims = Claims::new(CHAIN, 100);
    claims.begin(3);
    claims
}

#[test]
fn more_than_f_words_certify_and_no_fewer() {
    let (committee, mut claims) = (committee(3), claims());
    assert_eq!(words_needed(committee.seats().len()), 3);
    // Of seven, the third word certifies; a word said twice is one.
    for rank in [4, 4, 1, 1] {
        let n = u16::from(rank) * 3;
        claims
            .hear(&committee, rank.into(), &seen(CHAIN, rank, 3, n), |_| true)
            .unwrap();
        assert_eq!(claims.untold(7, 10), []);
    }
    claims.hear(&committee, 6, &seen(CHAIN, 6, 3, 2), |_| true).unwrap();
    let certified = claims.untold(7, 10);
    let names: Vec<Hash> = certified.iter().map(|certificate| certificate.digest).collect();
    let mut expected = digests(2);
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(claims.untold(7, 11), [], "told once");
    assert_eq!((claims.told_by(9).count(), claims.told_by(10).count()), (0, 2));
    claims.tell_again();
    assert_eq!(claims.told_by(100).count(), 0);
    assert_eq!(claims.untold(7, 12).len(), 2);
    assert_eq!((claims.told_by(11).count(), claims.told_by(12).count()), (0, 2));
    // Whoever is told has it from the certificate alone, and not of what does not wait there.
    for certificate in certified {
        assert!(certificate.holds(CHAIN, &committee));
        let mut bytes = Vec::new();
        certificate.put(&mut bytes);
        let n = certificate.entries.len() as u16;
        assert_eq!(Certificate::read(&bytes, n), Some((certificate.clone(), &[][..])));
        for len in 0..bytes.len() {
            assert_eq!(Certificate::read(&bytes[..len], n), None, "cut at {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = Certificate::read(&flipped, n);
            // The size of a tree whose path is the same proves the same.
            let stands = read.filter(|(read, _)| read.holds(CHAIN, &committee));
            assert!(
                stands.is_none_or(|(read, _)| read.digest == certificate.digest),
                "bit {bit}"
            );
        }
        let mut there = self::claims();
        there.hear_certificate(&committee, certificate).unwrap();
        assert_eq!(there.untold(7, 1).len(), 1);
    }
    claims.keep(|digest| *digest == digests(1)[0]);
    assert_eq!(claims.len(), 1);
    claims.begin(4);
    assert_eq!(claims.len(), 0);
}

#[test]
fn what_others_could_say_in_a_delegates_name_counts_for_nothing() {
    let committee = committee(3);
    let other_chain = ChainId(Hash([8; 32]));
    let forged = [
        (2, seen(CHAIN, 1, 3, 4)),
        (1, seen(other_chain, 1, 3, 4)),
        (
            1,
            Seen {
                time: TimeNs::new(6),
                ..seen(CHAIN, 1, 3, 4)
            },
        ),
        (
            1,
            Seen {
                digests: digests(5),
                ..seen(CHAIN, 1, 3, 4)
            },
        ),
        (
            1,
            Seen {
                epoch: 3,
                ..seen(CHAIN, 1, 2, 4)
            },
        ),
        (7, seen(CHAIN, 7, 3, 4)),
    ];
    for (rank, seen) in forged {
        let mut claims = claims();
        assert_eq!(claims.hear(&committee, rank, &seen, |_| true), Err(NotSigned));
        assert_eq!(claims.len(), 0);
    }
    // Another epoch's, and what does not wait, is nobody's fault.
    let mut claims = claims();
    claims.hear(&committee, 1, &seen(CHAIN, 1, 2, 4), |_| true).unwrap();
    claims.hear(&committee, 1, &seen(CHAIN, 1, 3, 4), |_| false).unwrap();
    assert_eq!(claims.len(), 0);
    // f words, a word in three names, a word of another chain among them, one on another command.
    let digest = digests(1)[0];
    let entry = |rank: u8, of: u8| seen(CHAIN, of, 3, 4).entry(rank.into(), 0).unwrap();
    let foreign = seen(other_chain, 2, 3, 4).entry(2, 0).unwrap();
    let beside = Entry {
        rank: 2,
        ..seen(CHAIN, 2, 3, 4).entry(2, 1).unwrap()
    };
    let wrong = [
        vec![entry(0, 0), entry(1, 1)],
        vec![entry(0, 0), entry(1, 0), entry(2, 0)],
        vec![entry(0, 0), entry(0, 0), entry(0, 0)],
        vec![entry(1, 1), entry(0, 0), entry(2, 2)],
        vec![entry(0, 0), entry(1, 1), foreign],
        vec![entry(0, 0), entry(1, 1), beside],
        vec![entry(0, 0), entry(1, 1), entry(9, 1)],
    ];
    for entries in wrong {
        let certificate = Certificate {
            epoch: 3,
            digest,
            entries,
        };
        assert_eq!(claims.hear_certificate(&committee, certificate), Err(NotSigned));
    }
    let entries = vec![entry(0, 0), entry(1, 1), entry(2, 2)];
    let certificate = Certificate {
        epoch: 3,
        digest,
        entries,
    };
    assert!(certificate.holds(CHAIN, &committee));
    assert!(!certificate.holds(CHAIN, &self::committee(4)), "nor in another epoch");
    assert!(!certificate.holds(other_chain, &committee));
}

#[test]
fn claims_are_bounded() {
    let committee = committee(3);
    let mut claims = Claims::new(CHAIN, 5);
    claims.begin(3);
    claims.hear(&committee, 0, &seen(CHAIN, 0, 3, 20), |_| true).unwrap();
    assert_eq!(claims.len(), 5);
    claims.hear(&committee, 1, &seen(CHAIN, 1, 3, 20), |_| true).unwrap();
    assert_eq!(claims.len(), 5);
    assert!(Seen::read(&[0; 1 << 20], 0).is_none());
    assert!(Seen::read(&[0; 1 << 20], SEEN_LEN_MAX as u16 + 1).is_none());
}
