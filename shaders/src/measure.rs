//! Batches to measure with, and what they are measured against: blst one by one, blst grouped by hand, blst's own batch
//! call on all its threads, and the bare SHA-256 compression function.
//!
//! Inputs follow from their sizes alone, so two machines check the same bytes.

use crate::key::SIGNATURE_DST;
use crate::{Candidate, PublicKey, Route, Verdict, Verifier, curve, verify_one};
use blst::min_sig::{PublicKey as BlstKey, SecretKey, Signature};
use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine, blst_scalar};
use rayon::prelude::*;
use sha2::block_api::compress256;
use std::time::{Duration, Instant};
use wattbook_feed::signed::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
use wattbook_types::{ChainId, Hash, sha256, tree};

/// Signed envelopes.
#[derive(Debug)]
pub struct Inputs {
    keys: Vec<PublicKey>,
    headers: Vec<EnvelopeHeader>,
    signatures: Vec<[u8; SIGNATURE_SIZE]>,
    /// Every envelope has the same.
    leaves: Vec<u8>,
}

impl Inputs {
    /// `envelopes` envelopes of `leaves` leaves by `keys` signers in turn, signed on all cores; `None` if there are no
    /// keys or leaves.
    pub fn new(envelopes: usize, keys: usize, leaves: u32) -> Option<Self> {
        let secrets: Vec<SecretKey> = (0..keys as u64)
            .into_par_iter()
            .map(|i| SecretKey::key_gen(&sha256(&[b"measure", &i.to_le_bytes()]).0, &[]).ok())
            .collect::<Option<_>>()?;
        let public = secrets
            .par_iter()
            .map(|secret| PublicKey::new(&secret.sk_to_pk().to_bytes()).ok())
            .collect::<Option<Vec<_>>>()?;
        if secrets.is_empty() || leaves == 0 {
            return None;
        }
        let leaf = |i: u32| {
            let mut leaf = [0; LEAF_SIZE];
            leaf[..4].copy_from_slice(&i.to_le_bytes());
            leaf
        };
        let leaves: Vec<[u8; LEAF_SIZE]> = (0..leaves).map(leaf).collect();
        let root = tree::root(&leaves).0;
        let headers: Vec<EnvelopeHeader> = (0..envelopes)
            .map(|i| EnvelopeHeader {
                version: ENVELOPE_VERSION,
                reserved0: 0,
                count: leaves.len() as u32,
                participant: (i % keys) as u64,
                key_version: 1,
                reserved1: 0,
                nonce: i as u64,
                not_after_ns: 1,
                root,
            })
            .collect();
        let signatures = headers
            .par_iter()
            .enumerate()
            .map(|(i, header)| {
                let digest = header.digest(Self::chain());
                secrets[i % keys].sign(&digest.0, SIGNATURE_DST, &[]).to_bytes()
            })
            .collect();
        Some(Self {
            keys: public,
            headers,
            signatures,
            leaves: leaves.concat(),
        })
    }

    /// The chain that the envelopes are of.
    pub fn chain() -> ChainId {
        ChainId(sha256(&[b"measure"]))
    }

    /// The envelopes as a verifier takes them.
    pub fn candidates(&self) -> Vec<Candidate<'_>> {
        let candidate = |(i, (header, signature))| Candidate {
            header,
            signature,
            leaves: &self.leaves,
            key: &self.keys[i % self.keys.len()],
            source: (i % self.keys.len()) as u64,
        };
        self.headers
            .iter()
            .zip(&self.signatures)
            .enumerate()
            .map(candidate)
            .collect()
    }

    /// How long `verifier` takes, if it finds every envelope valid and took `route` throughout.
    pub fn ours(&self, verifier: &mut Verifier, route: Route) -> Option<Duration> {
        let candidates = self.candidates();
        let before = verifier.stats().routed[route as usize];
        let start = Instant::now();
        let verdicts = verifier.verify(Self::chain(), &candidates);
        let elapsed = start.elapsed();
        let routed = verifier.stats().routed[route as usize] - before;
        let is_good = verdicts.iter().all(|verdict| *verdict == Verdict::Valid) && routed == candidates.len() as u64;
        is_good.then_some(elapsed)
    }

    /// How long `verifier` takes for a batch of which one signature in `every` is another's, and how many it refused:
    /// what a sender of bad signatures costs.
    pub fn attacked(&self, verifier: &mut Verifier, every: usize) -> (Duration, usize) {
        let mut candidates = self.candidates();
        let signatures = &self.signatures;
        let wrong = |i: usize| &signatures[(i + 1) % signatures.len()];
        (0..candidates.len())
            .step_by(every.max(1))
            .for_each(|i| candidates[i].signature = wrong(i));
        let start = Instant::now();
        let verdicts = verifier.verify(Self::chain(), &candidates);
        let elapsed = start.elapsed();
        (
            elapsed,
            verdicts.iter().filter(|verdict| **verdict != Verdict::Valid).count(),
        )
    }

    fn digests(&self) -> Vec<Hash> {
        self.headers.iter().map(|header| header.digest(Self::chain())).collect()
    }

    /// blst one by one, on this thread, for the first `len`.
    pub fn blst_one(&self, len: usize) -> Option<Duration> {
        let digests = self.digests();
        let start = Instant::now();
        let holds = digests
            .iter()
            .zip(&self.signatures)
            .zip(self.keys.iter().cycle())
            .take(len)
            .all(|((digest, signature), key)| verify_one(key, digest, signature).is_ok());
        holds.then(|| start.elapsed())
    }

    /// blst grouped by hand, on this thread: each signature decompressed, tested and hashed by blst, a sum per key, a
    /// Miller loop per key.
    pub fn blst_grouped(&self) -> Option<Duration> {
        let digests = self.digests();
        let start = Instant::now();
        let mut signatures = Vec::with_capacity(digests.len());
        for bytes in &self.signatures {
            let point: blst_p1_affine = Signature::sig_validate(bytes, true).ok()?.into();
            signatures.push(point);
        }
        let hashes: Vec<_> = digests.iter().map(|d| curve::hash_to_g1(&d.0, SIGNATURE_DST)).collect();
        let hashes = curve::to_affine(&hashes);
        let scalar = |i: usize| {
            let mut scalar = [0; curve::SCALAR_SIZE];
            scalar[..16].copy_from_slice(&sha256(&[&(i as u64).to_le_bytes()]).0[..16]);
            scalar
        };
        let scalars: Vec<_> = (0..digests.len()).map(scalar).collect();
        let mut pairing = Pairing::new(true, SIGNATURE_DST);
        let total = curve::negate(curve::msm(&signatures, &scalars));
        pairing.raw_aggregate(&curve::g2_generator(), &curve::to_affine(&[total])[0]);
        for (k, key) in self.keys.iter().enumerate() {
            let of_key =
                |all: &[blst_p1_affine]| -> Vec<_> { all.iter().skip(k).step_by(self.keys.len()).copied().collect() };
            let own: Vec<_> = scalars.iter().skip(k).step_by(self.keys.len()).copied().collect();
            if !own.is_empty() {
                let sum = curve::msm(&of_key(&hashes), &own);
                pairing.raw_aggregate(key.point(), &curve::to_affine(&[sum])[0]);
            }
        }
        pairing.commit();
        pairing.finalverify(None).then(|| start.elapsed())
    }

    /// blst's `verify_multiple_aggregate_signatures`, on all threads it takes.
    pub fn blst_batch(&self) -> Option<Duration> {
        let digests = self.digests();
        let keys: Vec<BlstKey> = self
            .keys
            .iter()
            .map(|key| BlstKey::from(*key.point() as blst_p2_affine))
            .collect();
        let scalar = |i: u64| {
            let mut scalar = blst_scalar::default();
            scalar.b[..16].copy_from_slice(&sha256(&[&i.to_le_bytes()]).0[..16]);
            scalar
        };
        let start = Instant::now();
        let signatures: Vec<Signature> = self
            .signatures
            .iter()
            .map(|bytes| Signature::uncompress(bytes).ok())
            .collect::<Option<_>>()?;
        let scalars: Vec<blst_scalar> = (0..digests.len() as u64).map(scalar).collect();
        let messages: Vec<&[u8]> = digests.iter().map(|digest| digest.0.as_slice()).collect();
        let signatures: Vec<&Signature> = signatures.iter().collect();
        let keys: Vec<&BlstKey> = keys.iter().cycle().take(digests.len()).collect();
        let found = Signature::verify_multiple_aggregate_signatures(
            &messages,
            SIGNATURE_DST,
            &keys,
            false,
            &signatures,
            true,
            &scalars,
            128,
        );
        (found == BLST_ERROR::BLST_SUCCESS).then(|| start.elapsed())
    }
}

/// How long `blocks` runs of SHA-256's compression function take, each waiting for the one before.
pub fn sha256_blocks(blocks: usize) -> Duration {
    let mut state = [1; 8];
    let run = [[7; 64]; 64];
    let start = Instant::now();
    for _ in 0..blocks / run.len() {
        compress256(&mut state, &run);
    }
    core::hint::black_box(state);
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    #[test]
    fn everybody_agrees_that_the_inputs_are_good() {
        let inputs = Inputs::new(9, 2, 3).unwrap();
        assert!(inputs.ours(&mut Verifier::new(Policy::Batch), Route::Batch).is_some());
        assert!(
            inputs
                .ours(&mut Verifier::new(Policy::Batch), Route::OneByOne)
                .is_none()
        );
        assert!(inputs.blst_one(9).is_some() && inputs.blst_grouped().is_some() && inputs.blst_batch().is_some());
        assert_eq!(inputs.attacked(&mut Verifier::new(Policy::Batch), 4).1, 3);
        assert!(Inputs::new(9, 0, 3).is_none() && Inputs::new(9, 2, 0).is_none());
        let mut wrong = inputs;
        wrong.signatures.swap(0, 1);
        assert!(wrong.ours(&mut Verifier::new(Policy::Batch), Route::Batch).is_none());
        assert!(wrong.blst_one(9).is_none() && wrong.blst_grouped().is_none() && wrong.blst_batch().is_none());
    }
}
