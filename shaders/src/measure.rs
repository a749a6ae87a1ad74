//! Batches to measure with, and what they are measured against on as many threads: blst one by one, blst grouped by hand,
//! blst's own batch call, and the bare SHA-256 compression function.
//!
//! Inputs follow from their sizes alone, so two machines check the same bytes.

use crate::cpu::pool::Pool;
use crate::key::SIGNATURE_DST;
use crate::{Candidate, Placed, PublicKey, Route, Verdict, Verifier, curve, verify_one};
use blst::min_sig::{PublicKey as BlstKey, SecretKey, Signature};
use blst::{BLST_ERROR, Pairing, blst_p1, blst_p1_affine, blst_p2_affine, blst_scalar};
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

    /// The envelopes on the device of `verifier`, if there is one; [`Self::resident`] says how long they take from there.
    pub fn placed(&self, verifier: &mut Verifier) -> Option<Placed<Candidate<'_>>> {
        verifier.place(Self::chain(), self.candidates())
    }

    /// [`Self::ours`] from the moment on when trees and headers are hashed, and signatures and digests lie on the device.
    pub fn resident(verifier: &mut Verifier, placed: &Placed<Candidate<'_>>) -> Option<Duration> {
        let start = Instant::now();
        let verdicts = verifier.verify_placed(placed)?;
        let elapsed = start.elapsed();
        verdicts
            .iter()
            .all(|verdict| *verdict == Verdict::Valid)
            .then_some(elapsed)
    }

    /// How long `verifier` takes for a batch of which one signature in `every` is bad in this way, and how many it
    /// refused: what a sender of bad signatures costs.
    pub fn attacked(&self, verifier: &mut Verifier, every: usize, fault: Fault) -> (Duration, usize) {
        let mut candidates = self.candidates();
        let signatures = &self.signatures;
        let outside = outside();
        for i in (0..candidates.len()).step_by(every.max(1)) {
            candidates[i].signature = match fault {
                Fault::Mismatch => &signatures[(i + 1) % signatures.len()],
                Fault::Outside => &outside,
            };
        }
        let start = Instant::now();
        let verdicts = verifier.verify(Self::chain(), &candidates);
        let elapsed = start.elapsed();
        (
            elapsed,
            verdicts.iter().filter(|verdict| **verdict != Verdict::Valid).count(),
        )
    }

    /// blst on the same signatures and on so many threads.
    pub fn rivals(&self, threads: usize) -> Rivals<'_> {
        Rivals {
            inputs: self,
            digests: self.headers.iter().map(|header| header.digest(Self::chain())).collect(),
            pool: Pool::new(threads),
        }
    }
}

/// What is wrong with a bad signature; what is no point at all is found before any sum, and costs next to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is another message's.
    Mismatch,
    /// It is a point outside the subgroup.
    Outside,
}

/// The point of the curve with the least x other than zero; of these hardly any is in the subgroup, and this one is not.
fn outside() -> [u8; SIGNATURE_SIZE] {
    let encoding = |x: u8| {
        let mut bytes = [0; SIGNATURE_SIZE];
        (bytes[0], bytes[SIGNATURE_SIZE - 1]) = (0x80, x);
        bytes
    };
    let is_point = |bytes: &[u8; SIGNATURE_SIZE]| Signature::uncompress(bytes).is_ok();
    (1..=u8::MAX)
        .map(encoding)
        .find(is_point)
        .unwrap_or([0; SIGNATURE_SIZE])
}

/// Most signatures, or keys, that a thread of a rival takes at once.
const RUN_MAX: usize = 64;

/// blst's ways to check the signatures of some inputs, all on the same threads. Digests stand ready, as they do not for
/// ours.
#[derive(Debug)]
pub struct Rivals<'a> {
    inputs: &'a Inputs,
    digests: Vec<Hash>,
    pool: Pool,
}

/// A coefficient of 128 bits.
fn scalar(index: usize) -> [u8; 16] {
    let hash = sha256(&[&(index as u64).to_le_bytes()]).0;
    core::array::from_fn(|at| hash[at])
}

impl Rivals<'_> {
    fn key(&self, index: usize) -> &PublicKey {
        &self.inputs.keys[index % self.inputs.keys.len()]
    }

    /// One by one, the first `len` of them.
    pub fn one(&self, len: usize) -> Option<Duration> {
        let len = len.min(self.digests.len());
        let start = Instant::now();
        let holds = self.pool.map(len, |i| {
            verify_one(self.key(i), &self.digests[i], &self.inputs.signatures[i]).is_ok()
        });
        holds.into_iter().all(|holds| holds).then(|| start.elapsed())
    }

    /// Grouped by hand: each signature decompressed, tested and hashed by blst, a sum per key, a Miller loop per key.
    pub fn grouped(&self) -> Option<Duration> {
        let (len, keys) = (self.digests.len(), self.inputs.keys.len());
        let start = Instant::now();
        let prepared = self.pool.map_runs(len, (1, RUN_MAX), |run| {
            let points = |i: usize| -> Option<(blst_p1_affine, blst_p1)> {
                let signature = Signature::sig_validate(&self.inputs.signatures[i], true).ok()?;
                Some((signature.into(), curve::hash_to_g1(&self.digests[i].0, SIGNATURE_DST)))
            };
            run.map(points).collect::<Option<Vec<_>>>()
        });
        let prepared: Option<Vec<_>> = prepared.into_iter().collect();
        let (signatures, hashes): (Vec<_>, Vec<_>) = prepared?.into_iter().flatten().unzip();
        let hashes = curve::to_affine(&hashes);
        let scalars: Vec<[u8; curve::SCALAR_SIZE]> = (0..len)
            .map(|i| {
                let mut bytes = [0; curve::SCALAR_SIZE];
                bytes[..16].copy_from_slice(&scalar(i));
                bytes
            })
            .collect();
        let share = len.div_ceil(self.pool.threads());
        let sums = self.pool.map_runs(len, (1, share), |run| {
            curve::msm(&signatures[run.clone()], &scalars[run])
        });
        let total = sums.into_iter().reduce(|a, b| curve::add(&a, &b))?;
        let parts = self.pool.map_runs(keys, (1, RUN_MAX), |run| {
            let mut pairing = Pairing::new(true, SIGNATURE_DST);
            for k in run {
                let own: Vec<usize> = (k..len).step_by(keys).collect();
                if !own.is_empty() {
                    let points: Vec<_> = own.iter().map(|i| hashes[*i]).collect();
                    let factors: Vec<_> = own.iter().map(|i| scalars[*i]).collect();
                    let sum = curve::to_affine(&[curve::msm(&points, &factors)])[0];
                    pairing.raw_aggregate(self.inputs.keys[k].point(), &sum);
                }
            }
            pairing.commit();
            pairing
        });
        let mut pairing = Pairing::new(true, SIGNATURE_DST);
        pairing.raw_aggregate(&curve::g2_generator(), &curve::to_affine(&[curve::negate(total)])[0]);
        pairing.commit();
        parts.iter().for_each(|part| {
            pairing.merge(part);
        });
        pairing.finalverify(None).then(|| start.elapsed())
    }

    /// blst's own batch: its `verify_multiple_aggregate_signatures` where it has all the threads it takes, which are all
    /// of the machine, else what that call does on each thread.
    pub fn batch(&self) -> Option<Duration> {
        let len = self.digests.len();
        let all = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        let start = Instant::now();
        let decompressed = self.pool.map_runs(len, (1, RUN_MAX), |run| {
            let signature = |bytes: &[u8; SIGNATURE_SIZE]| Signature::uncompress(bytes).ok();
            self.inputs.signatures[run]
                .iter()
                .map(signature)
                .collect::<Option<Vec<_>>>()
        });
        let signatures: Option<Vec<_>> = decompressed.into_iter().collect();
        let signatures = signatures?.concat();
        let holds = if self.pool.threads() == all && all > 1 {
            self.batch_call(&signatures)
        } else {
            self.batch_parts(&signatures)
        };
        holds.then(|| start.elapsed())
    }

    fn batch_call(&self, signatures: &[Signature]) -> bool {
        let (len, keys) = (signatures.len(), self.inputs.keys.len());
        let keys: Vec<BlstKey> = (0..keys)
            .map(|k| BlstKey::from(*self.key(k).point() as blst_p2_affine))
            .collect();
        let keys: Vec<&BlstKey> = keys.iter().cycle().take(len).collect();
        let scalars: Vec<blst_scalar> = (0..len)
            .map(|i| {
                let mut out = blst_scalar::default();
                out.b[..16].copy_from_slice(&scalar(i));
                out
            })
            .collect();
        let messages: Vec<&[u8]> = self.digests.iter().map(|digest| digest.0.as_slice()).collect();
        let signatures: Vec<&Signature> = signatures.iter().collect();
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
        found == BLST_ERROR::BLST_SUCCESS
    }

    fn batch_parts(&self, signatures: &[Signature]) -> bool {
        let share = signatures.len().div_ceil(self.pool.threads());
        let parts = self.pool.map_runs(signatures.len(), (1, share), |run| {
            let mut pairing = Pairing::new(true, SIGNATURE_DST);
            for i in run {
                let (key, point) = (self.key(i).point(), blst_p1_affine::from(signatures[i]));
                let message = &self.digests[i].0;
                let added = pairing.mul_n_aggregate(key, false, &point, true, &scalar(i), 128, message, &[]);
                if added != BLST_ERROR::BLST_SUCCESS {
                    return None;
                }
            }
            pairing.commit();
            Some(pairing)
        });
        let Some(mut parts) = parts.into_iter().collect::<Option<Vec<_>>>() else {
            return false;
        };
        parts.pop().is_some_and(|mut pairing| {
            parts.iter().for_each(|part| {
                pairing.merge(part);
            });
            pairing.finalverify(None)
        })
    }
}

/// One tree, by the path of the CPU.
#[derive(Debug)]
pub struct Tree {
    leaves: Vec<[u8; SHORT_LEAF_SIZE]>,
    pool: Pool,
}

/// Bytes of a leaf of a tree that is measured, a digest.
pub const SHORT_LEAF_SIZE: usize = 32;

impl Tree {
    /// A tree of so many leaves, on so many threads.
    pub fn new(leaves: u32, threads: usize) -> Self {
        let leaf = |i: u32| {
            let mut leaf = [0; SHORT_LEAF_SIZE];
            leaf.as_chunks_mut::<4>()
                .0
                .iter_mut()
                .for_each(|word| *word = i.to_le_bytes());
            leaf
        };
        Self {
            leaves: (0..leaves).map(leaf).collect(),
            pool: Pool::new(threads),
        }
    }

    /// The leaves, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        self.leaves.as_flattened()
    }

    /// Its root as the core computes it, leaf by leaf.
    pub fn expected(&self) -> Hash {
        tree::root(&self.leaves)
    }

    /// Its root, and how long that took.
    pub fn ours(&self) -> (Hash, Duration) {
        let start = Instant::now();
        let root = crate::cpu::tree::root(&self.leaves, &self.pool);
        (root, start.elapsed())
    }

    /// Compressions of SHA-256 in it: one per leaf, two per node.
    pub fn blocks(&self) -> usize {
        3 * self.leaves.len().max(1) - 2
    }

    /// How long as many compressions, but at least so many, take over a block that stands ready, on the same threads and
    /// as fast as the processor has a way; and how many were made.
    pub fn bare(&self, blocks_min: usize) -> (usize, Duration) {
        let threads = self.pool.threads();
        let share = self.blocks().max(blocks_min).div_ceil(2 * threads) * 2;
        let start = Instant::now();
        self.pool.map(threads, |_| crate::cpu::tree::bare(share));
        (share * threads, start.elapsed())
    }
}

/// How long `blocks` runs of SHA-256's compression function take, each waiting for the one before.
pub fn sha256_chain(blocks: usize) -> Duration {
    let mut state = [1; 8];
    let run = [[7; 64]; 64];
    let start = Instant::now();
    for _ in 0..blocks.div_ceil(run.len()) {
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
        let all = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        let found = |inputs: &Inputs, threads: usize| {
            let rivals = inputs.rivals(threads);
            [rivals.one(9), rivals.grouped(), rivals.batch()].map(|found| found.is_some())
        };
        for threads in [1, 2, 3, all] {
            assert_eq!(found(&inputs, threads), [true; 3], "{threads} threads");
        }
        for fault in [Fault::Mismatch, Fault::Outside] {
            assert_eq!(inputs.attacked(&mut Verifier::new(Policy::Batch), 4, fault).1, 3);
        }
        let outside = Signature::uncompress(&outside()).unwrap();
        assert!(!outside.subgroup_check());
        assert!(Inputs::new(9, 0, 3).is_none() && Inputs::new(9, 2, 0).is_none());
        let mut wrong = inputs;
        wrong.signatures.swap(0, 1);
        assert!(wrong.ours(&mut Verifier::new(Policy::Batch), Route::Batch).is_none());
        for threads in [1, 2, 3, all] {
            assert_eq!(found(&wrong, threads), [false; 3], "{threads} threads");
        }
    }

    #[test]
    fn trees_and_their_bare_rate_are_of_one_size() {
        for leaves in [1, 2, 7, 1_000] {
            let tree = Tree::new(leaves, 2);
            assert_eq!(tree.ours().0, tree.expected());
            assert_eq!(tree.bytes().len(), leaves as usize * SHORT_LEAF_SIZE);
            assert!(tree.bare(0).0 >= tree.blocks() && tree.bare(10_000).0 >= 10_000);
        }
        assert_eq!(Tree::new(4, 1).blocks(), 4 + 2 * 3);
    }
}
