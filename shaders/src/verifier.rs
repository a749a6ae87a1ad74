//! Envelopes in, verdicts out.

use crate::batch::{self, Item};
use crate::cpu::Path;
use crate::key::{PublicKey, SIGNATURE_DST};
use crate::{SignatureError, Stats};
use wattbook_feed::signed::{EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
use wattbook_types::{ChainId, Hash, tree};

/// An envelope to verify, with the key its participant registered.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// `H[72]`.
    pub header: &'a EnvelopeHeader,
    /// Compressed G1 point.
    pub signature: &'a [u8; SIGNATURE_SIZE],
    /// The leaves, [`LEAF_SIZE`] bytes each, one behind the other.
    pub leaves: &'a [u8],
    /// The participant's key.
    pub key: &'a PublicKey,
    /// The session it came over: a failed batch is split between sessions first.
    pub source: u64,
}

/// What an envelope is found to be; the first that holds in this order of checks: count, root, signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The leaves are those of the header, and the header is signed by the key.
    Valid,
    /// `count` is zero or not the number of leaves that came.
    BadCount,
    /// The leaves do not hash to the header's root.
    BadRoot,
    /// The signature does not hold.
    BadSignature(SignatureError),
}

/// Which path signatures take. Verdicts do not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Policy {
    /// One by one up to two signatures, in a batch from three.
    #[default]
    Auto,
    /// Always one by one.
    OneByOne,
    /// Always in a batch, be it of one.
    Batch,
}

/// A batch verifier: a policy, threads, lines of keys seen lately and counters; no state of it bears on a verdict.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    policy: Policy,
    path: Path,
    stats: Stats,
}

impl Verifier {
    /// A verifier with its counters at zero.
    pub fn new(policy: Policy) -> Self {
        Self::with_threads(policy, 1)
    }

    /// A verifier that computes on `threads` threads of its own; with one, on the calling thread.
    pub fn with_threads(policy: Policy, threads: usize) -> Self {
        Self {
            policy,
            path: Path::new(threads),
            stats: Stats::default(),
        }
    }

    /// The instructions that batches are computed with, for a log: the fastest this processor has that passed its test.
    pub fn instructions() -> &'static str {
        crate::cpu::instructions()
    }

    /// Which path signatures take.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Work done so far.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// One verdict per candidate, in order: what blst gives for each by itself.
    pub fn verify(&mut self, chain: ChainId, batch: &[Candidate<'_>]) -> Vec<Verdict> {
        self.stats.envelopes += batch.len() as u64;
        // Hashing a leaf costs a thousandth of checking a signature, so trees go first.
        let trees: Vec<Option<Verdict>> = batch.iter().map(|candidate| self.fault_of_tree(candidate)).collect();
        let digests: Vec<Hash> = batch.iter().map(|candidate| candidate.header.digest(chain)).collect();
        let items: Vec<Item<'_>> = batch
            .iter()
            .zip(&digests)
            .zip(&trees)
            .filter(|(_, fault)| fault.is_none())
            .map(|((candidate, digest), _)| Item {
                key: candidate.key,
                message: &digest.0,
                signature: candidate.signature,
                source: candidate.source,
            })
            .collect();
        let checked = batch::check_items(&items, SIGNATURE_DST, self.policy, &mut self.path, &mut self.stats);
        assert_eq!(checked.len(), items.len(), "one verdict per signature");
        let mut signatures = checked.into_iter();
        let verdict = |fault: Option<Verdict>| match fault {
            Some(fault) => fault,
            None => match signatures.next() {
                Some(Ok(())) => Verdict::Valid,
                Some(Err(error)) => Verdict::BadSignature(error),
                None => Verdict::BadSignature(SignatureError::Mismatch),
            },
        };
        trees.into_iter().map(verdict).collect()
    }

    /// What is wrong with an envelope's leaves, if anything.
    fn fault_of_tree(&mut self, candidate: &Candidate<'_>) -> Option<Verdict> {
        let (leaves, rest) = candidate.leaves.as_chunks::<LEAF_SIZE>();
        if leaves.is_empty() || !rest.is_empty() || leaves.len() as u64 != u64::from(candidate.header.count) {
            return Some(Verdict::BadCount);
        }
        self.stats.leaves_hashed += leaves.len() as u64;
        (tree::root(leaves).0 != candidate.header.root).then_some(Verdict::BadRoot)
    }
}
