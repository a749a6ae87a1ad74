//! Time per signature of the grouped batch, of one by one and of blst's own batch, on one thread.
//!
//! `cargo run --release -p wattbook-shaders --example verify_cost [envelopes] [keys]`

use blst::min_sig::{PublicKey as BlstKey, SecretKey, Signature};
use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine};
use std::time::Instant;
use wattbook_feed::signed::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE};
use wattbook_shaders::{Candidate, Policy, PublicKey, SIGNATURE_DST, Verdict, Verifier};
use wattbook_types::{ChainId, sha256, tree};

/// Repetitions; the fastest counts, since other programs share the machine.
const ROUNDS: usize = 5;

fn fastest(name: &str, signatures: usize, mut run: impl FnMut() -> bool) {
    let mut best_ns = u128::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        assert!(run(), "{name} refused a valid batch");
        best_ns = best_ns.min(start.elapsed().as_nanos());
    }
    let per_signature_ns = best_ns / signatures as u128;
    let (us, tenths) = (per_signature_ns / 1_000, per_signature_ns % 1_000 / 100);
    println!("{name:24} {us:>6}.{tenths} us/signature");
}

fn main() {
    if cfg!(debug_assertions) {
        println!("warning: debug build, the figures are not those of a release");
    }
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut argument = |default| arguments.next().and_then(Result::ok).unwrap_or(default).max(1);
    let (envelopes, keys) = (argument(4_096), argument(16));
    println!("{envelopes} envelopes of one leaf, {keys} keys, fastest of {ROUNDS}");

    let chain = ChainId(sha256(&[b"verify_cost"]));
    let secrets: Vec<SecretKey> = (0..keys as u64)
        .map(|i| SecretKey::key_gen(&sha256(&[&i.to_le_bytes()]).0, &[]).expect("32 bytes of key material"))
        .collect();
    let blst_keys: Vec<BlstKey> = secrets.iter().map(SecretKey::sk_to_pk).collect();
    let public: Vec<PublicKey> = blst_keys
        .iter()
        .map(|key| PublicKey::new(&key.to_bytes()).expect("a key of blst"))
        .collect();
    let leaf = [1u8; LEAF_SIZE];
    let root = tree::root(&[leaf]).0;
    let signed: Vec<(EnvelopeHeader, [u8; 48])> = (0..envelopes)
        .map(|i| {
            let header = EnvelopeHeader {
                version: ENVELOPE_VERSION,
                reserved0: 0,
                count: 1,
                participant: (i % keys) as u64,
                key_version: 1,
                reserved1: 0,
                nonce: i as u64,
                not_after_ns: 1,
                root,
            };
            (
                header,
                secrets[i % keys]
                    .sign(&header.digest(chain).0, SIGNATURE_DST, &[])
                    .to_bytes(),
            )
        })
        .collect();
    let candidates: Vec<Candidate<'_>> = signed
        .iter()
        .enumerate()
        .map(|(i, (header, signature))| Candidate {
            header,
            signature,
            leaves: &leaf,
            key: &public[i % keys],
            source: (i % keys) as u64,
        })
        .collect();

    let verify = |policy| {
        let batch = &candidates;
        move || {
            Verifier::new(policy)
                .verify(chain, batch)
                .iter()
                .all(|verdict| *verdict == Verdict::Valid)
        }
    };
    fastest("grouped batch", envelopes, verify(Policy::Batch));
    let sources: Vec<Candidate<'_>> = candidates.iter().take(envelopes.min(256)).copied().collect();
    fastest("one by one", sources.len(), || {
        Verifier::new(Policy::OneByOne)
            .verify(chain, &sources)
            .iter()
            .all(|verdict| *verdict == Verdict::Valid)
    });
    fastest("blst mul_n_aggregate", envelopes, || {
        let mut pairing = Pairing::new(true, SIGNATURE_DST);
        for (i, (header, signature)) in signed.iter().enumerate() {
            let scalar = sha256(&[&(i as u64).to_le_bytes()]).0;
            let Ok(signature) = Signature::uncompress(signature) else {
                return false;
            };
            let (key, point): (blst_p2_affine, blst_p1_affine) = (blst_keys[i % keys].into(), signature.into());
            let message = header.digest(chain).0;
            let added = pairing.mul_n_aggregate(&key, false, &point, true, &scalar, 128, &message, &[]);
            if added != BLST_ERROR::BLST_SUCCESS {
                return false;
            }
        }
        pairing.commit();
        pairing.finalverify(None)
    });
}
