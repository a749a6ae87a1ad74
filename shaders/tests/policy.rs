//! The device as a path of the verifier: the same verdicts, a device that is lost, rates and what follows from them.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod signers;

use signers::{Envelope, Signer, chain, device, of_order_three, verify};
use std::collections::VecDeque;
use std::sync::Arc;
use wattbook_shaders::gpu::{Choice, Device};
use wattbook_shaders::{Candidate, Cost, Policy, Rates, Route, SignatureError, Verdict, Verifier};

/// A device of one's own, to lose.
fn own_device() -> Arc<Device> {
    Arc::new(Device::open(&Choice::default()).unwrap())
}

/// Envelopes of several signers and sizes with every kind of fault.
fn mixed() -> Vec<Envelope> {
    let signers: Vec<Signer> = (1..=3).map(Signer::new).collect();
    let mut envelopes: Vec<Envelope> = (0..24)
        .map(|i| signers[i % 3].envelope(i as u64, 1 + (i * i % 7) as u32, i as u64 % 3))
        .collect();
    envelopes[3].signature = envelopes[4].signature;
    envelopes[7].signature[0] ^= 0x80;
    envelopes[11].leaves[5] ^= 1;
    envelopes[12].leaves.truncate(1);
    envelopes[17].signature = of_order_three().to_bytes();
    envelopes[20].header.nonce += 1;
    envelopes
}

fn verdicts(verifier: &mut Verifier, envelopes: &[Envelope]) -> Vec<Verdict> {
    let candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
    verifier.verify(chain(), &candidates)
}

#[test]
fn the_device_gives_the_verdicts_of_blst() {
    let mut verifier = Verifier::new(Policy::Gpu).with_device(device());
    let envelopes = mixed();
    let expected = verify(Policy::OneByOne, &envelopes);
    assert!(expected.contains(&Verdict::BadSignature(SignatureError::NotInGroup)));
    assert_eq!(verdicts(&mut verifier, &envelopes), expected);
    let good: Vec<Envelope> = (0..5).map(|i| Signer::new(9).envelope(i, 3, 1)).collect();
    assert_eq!(verdicts(&mut verifier, &good), [Verdict::Valid; 5]);
    assert_eq!(verdicts(&mut verifier, &[]), []);
    let stats = verifier.stats();
    assert_eq!((stats.devices_lost, stats.routed), (0, [0, 0, 22 + 5]));
    assert_eq!(stats.signatures_checked, 22 + 5);
}

/// A device that goes with any submission of a batch: its trees, its signatures, the points after the equation failed.
#[test]
fn a_device_lost_in_the_middle_drops_and_reorders_nothing() {
    let envelopes = mixed();
    let expected = verify(Policy::OneByOne, &envelopes);
    let mut lost = 0;
    for submission in 0..4 {
        let device = own_device();
        let mut verifier = Verifier::new(Policy::Gpu).with_device(Arc::clone(&device));
        device.lose_at(submission);
        assert_eq!(verdicts(&mut verifier, &envelopes), expected, "submission {submission}");
        lost += verifier.stats().devices_lost;
        assert_eq!(verifier.device().is_none(), verifier.stats().devices_lost == 1);
        // And so does every batch after it.
        assert_eq!(verdicts(&mut verifier, &envelopes), expected);
        assert_eq!(
            (verifier.stats().signatures_checked, verifier.stats().envelopes),
            (2 * 22, 2 * 24)
        );
    }
    assert!(lost >= 3, "the batch took fewer than three submissions: {lost}");
}

/// Two batches at a time, as a pipeline has them: each gets its own verdicts, on the device and when it goes under both.
#[test]
fn batches_overlap_and_are_whole_when_the_device_goes() {
    let batches: Vec<Vec<Envelope>> = (0..4).map(|i| mixed().split_off(6 * i)).collect();
    let expected: Vec<Vec<Verdict>> = batches.iter().map(|batch| verify(Policy::OneByOne, batch)).collect();
    // Two submissions begin a batch, its trees and its signatures; one more finishes it, for here all have faults.
    for submission in (0..12).step_by(3).map(Some).chain([None]) {
        let device = own_device();
        let mut verifier = Verifier::new(Policy::Gpu).with_device(Arc::clone(&device));
        if let Some(submission) = submission {
            device.lose_at(submission);
        }
        let (mut under_way, mut found) = (VecDeque::new(), Vec::new());
        for batch in &batches {
            let candidates: Vec<Candidate<'_>> = batch.iter().map(Envelope::candidate).collect();
            under_way.push_back(verifier.begin(chain(), candidates));
            if under_way.len() == 2 {
                found.push(verifier.finish(under_way.pop_front().unwrap()).1);
            }
        }
        found.extend(under_way.into_iter().map(|pending| verifier.finish(pending).1));
        assert_eq!(found, expected, "{submission:?}");
        let (stats, refused) = (verifier.stats(), expected.concat());
        let envelopes: usize = batches.iter().map(Vec::len).sum();
        assert_eq!(stats.envelopes, envelopes as u64);
        assert_eq!(stats.batches_routed.iter().sum::<u64>(), 4, "each batch once");
        for (kind, count) in stats.refused.into_iter().enumerate() {
            let of_kind = refused.iter().filter(|verdict| verdict.refusal() == Some(kind));
            assert_eq!(of_kind.count() as u64, count, "{}", Verdict::REFUSALS[kind]);
        }
        match submission {
            Some(_) => assert_eq!(stats.devices_lost, 1),
            None => assert_eq!(
                (stats.overlapped, stats.batches_routed, stats.devices_lost),
                (3, [0, 0, 4], 0)
            ),
        }
    }
}

/// The same envelopes, signed by keys that come and go, over more batches than one: what a device keeps from batch to
/// batch bears on no verdict.
#[test]
fn what_a_device_keeps_bears_on_no_verdict() {
    let mut verifier = Verifier::new(Policy::Gpu).with_device_keys(device(), 4);
    let signers: Vec<Signer> = (1..=6).map(Signer::new).collect();
    for round in 0..4 {
        let len = [9, 30, 2, 17][round];
        let mut envelopes: Vec<Envelope> = (0..len)
            .map(|i| signers[(i + round) % (2 + round)].envelope(i as u64, 1 + i as u32 % 3, i as u64 % 2))
            .collect();
        envelopes[round / 2].signature = envelopes[len - 1].signature;
        assert_eq!(
            verdicts(&mut verifier, &envelopes),
            verify(Policy::OneByOne, &envelopes),
            "round {round}"
        );
    }
    assert_eq!(verifier.stats().devices_lost, 0);
}

/// Signatures that lie on the device are judged as those that come from the host, until the device goes; envelopes whose
/// trees are not what they say never get there.
#[test]
fn placed_batches_have_the_same_verdicts() {
    let device = own_device();
    let mut verifier = Verifier::new(Policy::Gpu).with_device(Arc::clone(&device));
    let envelopes = mixed();
    let candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
    assert!(
        verifier.place(chain(), candidates.clone()).is_none(),
        "two have faults in their trees"
    );
    let sound: Vec<Envelope> = (0..24)
        .filter(|i| ![11, 12].contains(i))
        .map(|i| envelopes[i].clone())
        .collect();
    let expected = verify(Policy::OneByOne, &sound);
    let placed = verifier
        .place(chain(), sound.iter().map(Envelope::candidate).collect())
        .unwrap();
    for round in 1..=2 {
        assert_eq!(verifier.verify_placed(&placed).as_ref(), Some(&expected));
        let stats = verifier.stats();
        assert_eq!((stats.envelopes, stats.routed), (22 * round, [0, 0, 22 * round]));
    }
    device.lose_at(0);
    assert_eq!(verifier.verify_placed(&placed), None);
    assert_eq!((verifier.stats().devices_lost, verifier.device().is_none()), (1, true));
    assert!(
        verifier
            .place(chain(), sound.iter().map(Envelope::candidate).collect())
            .is_none()
    );
}

#[test]
fn without_a_device_the_cpu_does_it() {
    let mut verifier = Verifier::new(Policy::Gpu);
    let envelopes = mixed();
    assert_eq!(
        verdicts(&mut verifier, &envelopes),
        verify(Policy::OneByOne, &envelopes)
    );
    assert_eq!(
        (verifier.stats().devices_lost, verifier.stats().routed),
        (0, [0, 22, 0])
    );
}

#[test]
fn rates_choose_the_path() {
    let cost = |signature_ns| {
        Some(Cost {
            signature_ns,
            ..Cost::default()
        })
    };
    let envelopes = mixed();
    let expected = verify(Policy::OneByOne, &envelopes);
    let device = device();
    let all = [Route::OneByOne, Route::Batch, Route::Gpu];
    for route in all {
        let [alone, batch, gpu] = all.map(|other| cost(if other == route { 1 } else { 1 << 50 }));
        let mut verifier = Verifier::new(Policy::Auto)
            .with_device(Arc::clone(&device))
            .with_rates(Rates::new(alone, batch, gpu));
        assert_eq!(verdicts(&mut verifier, &envelopes), expected, "{route:?}");
        assert_eq!(verifier.stats().routed[route as usize], 22);
        // Of two both are sound, or their signatures would not be looked at.
        let two: Vec<Envelope> = (1..=2).map(|seed| Signer::new(seed).envelope(1, 1, 0)).collect();
        assert_eq!(verdicts(&mut verifier, &two), [Verdict::Valid; 2]);
        assert_eq!(verifier.stats().routed[route as usize], 24, "two go by the rates, too");
    }
}

#[test]
fn calibration_finds_what_is_there() {
    let mut verifier = Verifier::new(Policy::Auto);
    let rates = *verifier.calibrate();
    assert!(rates.one_by_one.is_some() && rates.batch.is_some() && rates.short.is_some() && rates.gpu.is_none());
    for route in [Route::OneByOne, Route::Batch] {
        assert!(
            [1, 64, 4_096].map(|len| rates.expect_ns(route, len, 1) > Some(0)) == [true; 3],
            "{route:?}"
        );
    }
    assert_eq!(
        verifier.stats().signatures_checked,
        0,
        "what calibration checks counts nowhere"
    );
    assert!(rates.to_string().contains("us/signature"));
    let envelopes = mixed();
    assert_eq!(
        verdicts(&mut verifier, &envelopes),
        verify(Policy::OneByOne, &envelopes)
    );
}
