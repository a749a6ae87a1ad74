//! Senders who try to pass off what blst refuses, or to take others down with them.
#![allow(clippy::unwrap_used)]

mod signers;

use blst::min_sig::Signature;
use signers::{
    Envelope, Signer, add, chain, negate, of_cofactor_order, of_order_eleven, of_order_three, times, verify,
    verify_every_way,
};
use wattbook_shaders::{Candidate, Policy, Rates, SignatureError, Verdict, Verifier};

const MISMATCH: Verdict = Verdict::BadSignature(SignatureError::Mismatch);
const NOT_IN_GROUP: Verdict = Verdict::BadSignature(SignatureError::NotInGroup);

/// Valid envelopes: `each` of every signer, sessions by signer.
fn valid(signers: &[Signer], each: u64) -> Vec<Envelope> {
    let of = |signer: &Signer| {
        (0..each)
            .map(|n| signer.envelope(n, n as u32 % 4 + 1, signer.participant))
            .collect()
    };
    signers
        .iter()
        .flat_map(|signer| -> Vec<Envelope> { of(signer) })
        .collect()
}

fn signature(envelope: &Envelope) -> Signature {
    Signature::from_bytes(&envelope.signature).unwrap()
}

/// Every verdict is `Valid` but those listed.
fn assert_only(verdicts: &[Verdict], faults: &[(usize, Verdict)]) {
    for (i, verdict) in verdicts.iter().enumerate() {
        let expected = faults
            .iter()
            .find(|(at, _)| *at == i)
            .map_or(Verdict::Valid, |(_, fault)| *fault);
        assert_eq!(*verdict, expected, "envelope {i}");
    }
}

#[test]
fn empty_single_and_pair() {
    assert_eq!(verify_every_way(&[]), []);
    let signers = [Signer::new(1), Signer::new(2)];
    let mut envelopes = valid(&signers, 1);
    assert_eq!(verify_every_way(&envelopes[..1]), [Verdict::Valid]);
    assert_eq!(verify_every_way(&envelopes), [Verdict::Valid; 2]);
    envelopes[0].signature = envelopes[1].signature;
    assert_eq!(verify_every_way(&envelopes[..1]), [MISMATCH]);
    assert_eq!(verify_every_way(&envelopes), [MISMATCH, Verdict::Valid]);
}

#[test]
fn wrong_counts_and_roots() {
    let mut envelopes = valid(&[Signer::new(1)], 8);
    envelopes[0].header.count = 0;
    envelopes[1].header.count = u32::MAX;
    envelopes[2].leaves.pop();
    envelopes[3].leaves.clear();
    envelopes[4].leaves[0] ^= 1;
    envelopes[5].header.root[31] ^= 1;
    // Count goes before root, root before signature.
    envelopes[6].leaves.push(0);
    envelopes[6].leaves[0] ^= 1;
    envelopes[6].signature = [0; 48];
    envelopes[7].leaves[47] ^= 1;
    envelopes[7].signature = [0; 48];
    use Verdict::{BadCount, BadRoot};
    let expected = [
        BadCount, BadCount, BadCount, BadCount, BadRoot, BadRoot, BadCount, BadRoot,
    ];
    assert_eq!(verify_every_way(&envelopes), expected);
}

#[test]
fn encodings_that_are_no_point_of_the_subgroup() {
    let signer = Signer::new(1);
    let mut envelopes = valid(&[signer], 24);
    let mut faults = Vec::new();
    let mut fault = |at: usize, error, edit: &dyn Fn(&mut [u8; 48])| {
        edit(&mut envelopes[at].signature);
        faults.push((at, Verdict::BadSignature(error)));
    };
    fault(0, SignatureError::BadEncoding, &|s| s[0] &= 0x7f);
    fault(2, SignatureError::BadEncoding, &|s| s[0] |= 0x40);
    fault(4, SignatureError::BadEncoding, &|s| *s = [0; 48]);
    fault(6, SignatureError::BadEncoding, &|s| *s = [0xff; 48]);
    fault(8, SignatureError::Infinity, &|s| {
        *s = [0; 48];
        s[0] = 0xc0;
    });
    fault(10, SignatureError::BadEncoding, &|s| {
        *s = [0; 48];
        s[0] = 0xe0;
    });
    fault(12, SignatureError::NotOnCurve, &|s| {
        *s = [0; 48];
        (s[0], s[47]) = (0x80, 1);
    });
    fault(14, SignatureError::NotInGroup, &|s| {
        *s = [0; 48];
        s[0] = 0x80;
    });
    fault(16, SignatureError::Mismatch, &|s| s[0] ^= 0x20);
    assert_only(&verify_every_way(&envelopes), &faults);
    // Nothing but bad encodings: no equation is left to check.
    envelopes.iter_mut().for_each(|envelope| envelope.signature = [0; 48]);
    assert!(
        verify_every_way(&envelopes)
            .iter()
            .all(|v| *v == Verdict::BadSignature(SignatureError::BadEncoding))
    );
}

#[test]
fn components_the_pairing_cannot_see() {
    let mut torsion = vec![of_order_three()];
    torsion.extend((0..2).map(of_cofactor_order));
    torsion.extend((0..2).map(of_order_eleven));
    let signers = [Signer::new(1), Signer::new(2)];
    for (i, t) in torsion.iter().enumerate() {
        assert!(!t.subgroup_check(), "torsion {i}");
        assert!(!signers::is_seen_by_pairing(t), "torsion {i}");
        for other in [1, 5] {
            // S + T and S' - T: of one key, then of two; their sum is that of the good signatures.
            let mut envelopes = valid(&signers, 4);
            let (first, second) = (signature(&envelopes[0]), signature(&envelopes[other]));
            envelopes[0].signature = add(&first, t).to_bytes();
            envelopes[other].signature = add(&second, &negate(t)).to_bytes();
            assert_only(
                &verify_every_way(&envelopes),
                &[(0, NOT_IN_GROUP), (other, NOT_IN_GROUP)],
            );
        }
        let mut envelopes = valid(&signers, 4);
        for envelope in &mut envelopes {
            envelope.signature = add(&signature(envelope), t).to_bytes();
        }
        assert!(
            verify_every_way(&envelopes)
                .iter()
                .all(|verdict| *verdict == NOT_IN_GROUP),
            "torsion {i}"
        );
        // The torsion itself, and of the subgroup only what cancels.
        let mut envelopes = valid(&signers, 2);
        envelopes[1].signature = t.to_bytes();
        assert_only(&verify_every_way(&envelopes), &[(1, NOT_IN_GROUP)]);
    }
}

#[test]
fn points_have_the_orders_they_are_named_for() {
    let of_both = [
        (of_order_three(), "03"),
        (of_order_eleven(0), "0b"),
        (of_order_eleven(1), "0b"),
    ];
    for (point, order) in of_both {
        assert!(times(&point, order).is_none() && times(&point, "01").is_some());
    }
}

/// Long enough for the combinations to do what subgroup tests of each signature do in a short batch.
const LONG: u64 = 50;

#[test]
fn one_signature_off_the_subgroup_in_each_of_two_hundred_batches() {
    let signers = [Signer::new(1), Signer::new(2)];
    let envelopes = valid(&signers, LONG);
    let torsion = [of_order_three(), of_order_eleven(0), of_cofactor_order(0)];
    let mut verifier = Verifier::with_threads(Policy::Batch, 2);
    for round in 0..200 {
        let (at, t) = (round * 37 % envelopes.len(), &torsion[[0, 0, 1, 2][round % 4]]);
        let mut faulty = envelopes[at].clone();
        faulty.signature = add(&signature(&faulty), t).to_bytes();
        let mut candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
        candidates[at] = faulty.candidate();
        assert_only(&verifier.verify(chain(), &candidates), &[(at, NOT_IN_GROUP)]);
    }
    assert_eq!(verifier.stats().batches, 200);
}

#[test]
fn long_batches_with_faults_that_cancel() {
    let signers = [Signer::new(1), Signer::new(2)];
    let envelopes = valid(&signers, LONG);
    let (here, there) = (3, envelopes.len() - 2);
    let shifted = |by: &Signature| {
        let mut envelopes = envelopes.clone();
        envelopes[here].signature = add(&signature(&envelopes[here]), by).to_bytes();
        envelopes[there].signature = add(&signature(&envelopes[there]), &negate(by)).to_bytes();
        envelopes
    };
    let of_order_33 = add(&of_order_three(), &of_order_eleven(1));
    for t in [of_order_three(), of_order_eleven(0), of_order_33] {
        assert_only(
            &verify(Policy::Batch, &shifted(&t)),
            &[(here, NOT_IN_GROUP), (there, NOT_IN_GROUP)],
        );
    }
    let in_group = signature(&envelopes[7]);
    assert_only(
        &verify(Policy::Batch, &shifted(&in_group)),
        &[(here, MISMATCH), (there, MISMATCH)],
    );
    // Swapped, and one envelope as often as there are buckets.
    let mut swapped = envelopes.clone();
    (swapped[here].signature, swapped[there].signature) = (swapped[there].signature, swapped[here].signature);
    assert_only(&verify(Policy::Batch, &swapped), &[(here, MISMATCH), (there, MISMATCH)]);
    let mut same = vec![envelopes[0].clone(); 300];
    assert_only(&verify(Policy::Batch, &same), &[]);
    same[150].signature = negate(&signature(&same[150])).to_bytes();
    same[151].signature = same[150].signature;
    assert_only(&verify(Policy::Batch, &same), &[(150, MISMATCH), (151, MISMATCH)]);
}

/// Faults that cancel, by kind: components of three orders, a shift in the subgroup, two signatures changed over, and
/// one component by itself.
const CANCELLING: usize = 6;

/// `len` envelopes of two signers with a fault of a kind at two places, and the verdict that these deserve.
fn cancelling(good: &[Envelope], kind: usize, [here, there]: [usize; 2]) -> (Vec<Envelope>, Vec<(usize, Verdict)>) {
    let mut envelopes = good.to_vec();
    let by = match kind {
        0 | 5 => of_order_three(),
        1 => of_order_eleven(0),
        2 => of_cofactor_order(1),
        _ => signature(&good[good.len() / 3]),
    };
    if kind == 4 {
        (envelopes[here].signature, envelopes[there].signature) = (good[there].signature, good[here].signature);
        return (envelopes, vec![(here, MISMATCH), (there, MISMATCH)]);
    }
    envelopes[here].signature = add(&signature(&good[here]), &by).to_bytes();
    if kind == 5 {
        return (envelopes, vec![(here, NOT_IN_GROUP)]);
    }
    envelopes[there].signature = add(&signature(&good[there]), &negate(&by)).to_bytes();
    let verdict = if kind == 3 { MISMATCH } else { NOT_IN_GROUP };
    (envelopes, vec![(here, verdict), (there, verdict)])
}

/// Batches around the length from which combinations do what tests of each signature do below it, by one thread, which
/// tests first, and by two, which test at the end. The first item of such a batch has no random coefficient.
#[test]
fn faults_that_cancel_at_every_length_around_the_short_ones() {
    let signers = [Signer::new(1), Signer::new(2)];
    let most = Rates::SHORT_MAX;
    assert_eq!(most, 90);
    let all = valid(&signers, most as u64 / 2 + 2);
    let mut verifiers = [1, 2].map(|threads| Verifier::with_threads(Policy::Batch, threads));
    for len in 65..=most + 3 {
        // Both signers, and no more of one than of the other.
        let half = all.len() / 2;
        let good = [&all[..len / 2], &all[half..half + len.div_ceil(2)]].concat();
        assert_eq!(good.len(), len);
        let places = [[0, 1], [0, len - 1], [len / 2 - 1, len / 2], [len - 2, len - 1]];
        let is_edge = len + 1 >= most && len <= most + 2;
        let kinds = if is_edge {
            0..CANCELLING
        } else {
            len % CANCELLING..len % CANCELLING + 1
        };
        for verifier in &mut verifiers {
            let mut verify = |envelopes: &[Envelope]| {
                let candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
                verifier.verify(chain(), &candidates)
            };
            assert_only(&verify(&good), &[]);
            for kind in kinds.clone() {
                let (envelopes, faults) = cancelling(&good, kind, places[(len + kind) % 4]);
                assert_only(&verify(&envelopes), &faults);
            }
        }
        if len == most || len == most + 1 {
            for kind in [0, 3] {
                let (envelopes, faults) = cancelling(&good, kind, places[1]);
                assert_only(&verify(Policy::Gpu, &envelopes), &faults);
            }
        }
    }
}

/// Every place of a component in a batch of few, one of them the first, where one thread finds it before any pairing.
#[test]
fn one_thread_finds_components_in_few_signatures() {
    let envelopes = valid(&[Signer::new(1), Signer::new(2)], 3);
    for (at, t) in [of_order_three(), of_order_eleven(1), of_cofactor_order(2)]
        .iter()
        .cycle()
        .take(6)
        .enumerate()
    {
        let mut envelopes = envelopes.clone();
        envelopes[at].signature = add(&signature(&envelopes[at]), t).to_bytes();
        let candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
        let mut verifier = Verifier::with_threads(Policy::Batch, 1);
        assert_only(&verifier.verify(chain(), &candidates), &[(at, NOT_IN_GROUP)]);
        assert_eq!(verifier.stats().routed, [0, 6, 0]);
    }
}

#[test]
fn faults_that_cancel_in_the_subgroup() {
    let signers = [Signer::new(1), Signer::new(2)];
    for other in [1, 5] {
        // S + D and S' - D with D in G1.
        let mut envelopes = valid(&signers, 4);
        let shift = signature(&envelopes[2]);
        envelopes[0].signature = add(&signature(&envelopes[0]), &shift).to_bytes();
        envelopes[other].signature = add(&signature(&envelopes[other]), &negate(&shift)).to_bytes();
        assert_only(&verify_every_way(&envelopes), &[(0, MISMATCH), (other, MISMATCH)]);
        // Swapped signatures: of one key, then of two.
        let mut envelopes = valid(&signers, 4);
        let (first, second) = (envelopes[0].signature, envelopes[other].signature);
        (envelopes[0].signature, envelopes[other].signature) = (second, first);
        assert_only(&verify_every_way(&envelopes), &[(0, MISMATCH), (other, MISMATCH)]);
    }
}

#[test]
fn repeated_envelopes_messages_and_signatures() {
    let signers = [Signer::new(1), Signer::new(2)];
    // One envelope many times, over one session and over many.
    let one = signers[0].envelope(7, 2, 0);
    for n in [3usize, 31, 32, 40] {
        let mut envelopes = vec![one.clone(); n];
        assert!(verify_every_way(&envelopes).iter().all(|v| *v == Verdict::Valid));
        envelopes
            .iter_mut()
            .enumerate()
            .for_each(|(i, envelope)| envelope.source = i as u64);
        assert!(verify_every_way(&envelopes).iter().all(|v| *v == Verdict::Valid));
        envelopes[n / 2].signature = signers[1].sign(&one.header);
        assert_only(&verify_every_way(&envelopes), &[(n / 2, MISMATCH)]);
    }
    // One message under two keys, and one signature over two messages.
    let mut envelopes = valid(&signers, 3);
    envelopes[3].header = envelopes[0].header;
    envelopes[3].leaves = envelopes[0].leaves.clone();
    envelopes[3].signature = signers[1].sign(&envelopes[3].header);
    envelopes[2].signature = envelopes[1].signature;
    assert_only(&verify_every_way(&envelopes), &[(2, MISMATCH)]);
    // S and -S over one message.
    let mut pair = vec![one.clone(), one.clone(), one.clone(), one];
    pair[1].signature = negate(&signature(&pair[0])).to_bytes();
    pair[3].signature = pair[1].signature;
    assert_only(&verify_every_way(&pair), &[(1, MISMATCH), (3, MISMATCH)]);
}

#[test]
fn everything_is_bad() {
    let signers = [Signer::new(1), Signer::new(2), Signer::new(3)];
    let mut envelopes = valid(&signers, 5);
    let moved: Vec<[u8; 48]> = envelopes.iter().map(|envelope| envelope.signature).collect();
    for (i, envelope) in envelopes.iter_mut().enumerate() {
        envelope.signature = moved[(i + 1) % moved.len()];
    }
    assert!(verify_every_way(&envelopes).iter().all(|verdict| *verdict == MISMATCH));
}

#[test]
fn one_sender_of_faults_costs_the_others_one_split() {
    let signers: Vec<Signer> = (0..2).map(Signer::new).collect();
    let mut envelopes = valid(&signers, 16);
    // Sessions interleave in the batch.
    envelopes.sort_by_key(|envelope| envelope.header.nonce);
    let candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
    let mut verifier = Verifier::new(Policy::Auto);
    verifier.verify(chain(), &candidates);
    let clean = *verifier.stats();
    assert_eq!(
        (
            clean.envelopes,
            clean.signatures_checked,
            clean.batches,
            clean.bisections
        ),
        (32, 32, 1, 0)
    );
    assert_eq!(clean.leaves_hashed, 2 * (1 + 2 + 3 + 4) * 4);
    assert_eq!(clean.pairings, 3, "two keys and g2");

    // Every envelope of session 1 is bad: after one split session 0 is through with one equation.
    for envelope in envelopes.iter_mut().filter(|envelope| envelope.source == 1) {
        envelope.signature = negate(&signature(envelope)).to_bytes();
    }
    let candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
    let mut verifier = Verifier::new(Policy::Batch);
    let verdicts = verifier.verify(chain(), &candidates);
    for (envelope, verdict) in envelopes.iter().zip(verdicts) {
        assert_eq!(verdict, if envelope.source == 1 { MISMATCH } else { Verdict::Valid });
    }
    let stats = verifier.stats();
    // Whole 3; session 0 once 2; of the 16 of session 1 the parts 8, 4, 4, 8, 4, 4 at 2 each; 16 alone at 2 each.
    // The right-hand siblings of parts that failed are unknown and tried, the left-hand ones are tried first.
    assert_eq!(stats.bisections, 8);
    assert_eq!(stats.pairings, 3 + 2 + 6 * 2 + 16 * 2);
    assert_eq!(verify(Policy::OneByOne, &envelopes), verify(Policy::Auto, &envelopes));
}
