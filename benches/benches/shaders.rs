//! A batch of envelopes verified in groups by key, against blst one by one.

#![allow(missing_docs, reason = "a bench has no public items")]

use blst::BLST_ERROR;
use blst::min_sig::{PublicKey as BlstKey, Signature};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wattbook_benches::{criterion, row};
use wattbook_feed::keys::{BlsSecret, KeyRole};
use wattbook_feed::signed::{LEAF_SIZE, SealedEnvelope};
use wattbook_shaders::{Candidate, Policy, PublicKey, SIGNATURE_DST, Verdict, Verifier};
use wattbook_types::{ChainId, ParticipantId, TimeNs};

/// Envelopes of a batch, and keys that sign them.
const BATCH: usize = 1_024;
const KEYS: usize = 16;

fn shaders(c: &mut Criterion) {
    let chain = ChainId::default();
    let secrets: Vec<BlsSecret> = (0..KEYS as u64)
        .map(|serial| BlsSecret::derive(&[1; 32], KeyRole::Participant, serial))
        .collect();
    let keys: Vec<[u8; 96]> = secrets.iter().map(BlsSecret::public_key).collect();
    let public: Vec<PublicKey> = keys
        .iter()
        .map(|key| PublicKey::new(key).expect("a key of blst"))
        .collect();
    let sign = |i: usize| {
        let (who, nonce) = (ParticipantId::new(1 + (i % KEYS) as u64), 1 + i as u64);
        SealedEnvelope::sign(
            chain,
            &secrets[i % KEYS],
            who,
            1,
            nonce,
            TimeNs::new(1),
            vec![[1; LEAF_SIZE]],
        )
    };
    let envelopes: Vec<SealedEnvelope> = (0..BATCH).map(sign).collect();
    let candidates: Vec<Candidate<'_>> = envelopes
        .iter()
        .enumerate()
        .map(|(i, envelope)| Candidate {
            header: &envelope.header,
            signature: &envelope.signature,
            leaves: envelope.leaves.as_flattened(),
            key: &public[i % KEYS],
            source: (i % KEYS) as u64,
        })
        .collect();
    let mut group = c.benchmark_group("shaders");
    group
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(BATCH as u64));
    for (name, policy) in [("batch", Policy::Batch), ("one-by-one", Policy::OneByOne)] {
        let mut verifier = Verifier::new(policy);
        group.bench_function(row("verify", &format!("{name} n={BATCH} k={KEYS}")), |b| {
            b.iter(|| {
                let verdicts = verifier.verify(chain, black_box(&candidates));
                assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Valid));
            });
        });
    }
    let keys: Vec<BlstKey> = keys
        .iter()
        .map(|key| BlstKey::key_validate(key).expect("a key of blst"))
        .collect();
    group.bench_function(row("verify", &format!("base n={BATCH} k={KEYS}")), |b| {
        b.iter(|| {
            for (i, envelope) in envelopes.iter().enumerate() {
                let signature =
                    Signature::sig_validate(black_box(&envelope.signature), true).expect("a signature of blst");
                let digest = envelope.digest(chain);
                let found = signature.verify(false, &digest.0, SIGNATURE_DST, &[], &keys[i % KEYS], false);
                assert_eq!(found, BLST_ERROR::BLST_SUCCESS);
            }
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion().sample_size(10); targets = shaders }
criterion_main!(benches);
