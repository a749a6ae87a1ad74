//! Envelopes in, verdicts out.

use crate::batch::{self, ALONE_MAX, Item};
use crate::calibration;
use crate::cpu::Path;
use crate::gpu::pairing::Pairings;
use crate::gpu::tree::LeafKind;
use crate::gpu::{self, Device};
use crate::key::{PUBLIC_KEY_SIZE, PublicKey, SIGNATURE_DST};
use crate::policy::{Policy, Rates, Route};
use crate::{SignatureError, Stats};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use wattbook_feed::signed::{EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
use wattbook_types::{ChainId, Hash};

/// Keys whose lines a device keeps unless told otherwise: 2.8 GB.
pub const DEVICE_KEYS_MAX: usize = 1 << 17;
/// Leaves of a batch from which hashing them on a device is worth the way there.
const LEAVES_FOR_DEVICE: usize = 1 << 15;

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

/// A batch verifier: a policy and the rates behind it, threads, perhaps a device, lines of keys seen lately and counters;
/// no state of it bears on a verdict.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    policy: Policy,
    rates: Rates,
    path: Path,
    device: Option<Arc<Device>>,
    /// Clones share the keys on the device.
    pairings: Option<Arc<Mutex<Pairings>>>,
    threads: usize,
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
            threads,
            ..Self::default()
        }
    }

    /// The same verifier with a device, which keeps the lines of [`DEVICE_KEYS_MAX`] keys for pairings unless it is the
    /// CPU in disguise.
    #[must_use]
    pub fn with_device(self, device: Arc<Device>) -> Self {
        let keys_max = if device.is_software() { 0 } else { DEVICE_KEYS_MAX };
        self.with_device_keys(device, keys_max)
    }

    /// The same verifier with a device that keeps the lines of at most `keys_max` keys, 21.2 kB each, and pairs them where
    /// the CPU's pairings would be the bottleneck; with zero the CPU always pairs.
    #[must_use]
    pub fn with_device_keys(mut self, device: Arc<Device>, keys_max: usize) -> Self {
        self.pairings = (keys_max > 0).then(|| Arc::new(Mutex::new(Pairings::new(&device, keys_max))));
        self.device = Some(device);
        self
    }

    /// The same verifier with rates known from elsewhere.
    #[must_use]
    pub const fn with_rates(mut self, rates: Rates) -> Self {
        self.rates = rates;
        self
    }

    /// Measures what every path costs here; a tenth of a second, and whatever a device needs to get warm.
    pub fn calibrate(&mut self) -> &Rates {
        let mut rates = Rates::default();
        for route in [Route::OneByOne, Route::Batch, Route::Gpu] {
            let cost = calibration::measure(|items, stats| self.check_by(route, items, stats), route);
            match route {
                Route::OneByOne => rates.one_by_one = cost,
                Route::Batch => rates.batch = cost,
                Route::Gpu => rates.gpu = cost,
            }
        }
        self.rates = rates;
        &self.rates
    }

    /// What every path is known to cost.
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The device, while there is one.
    pub fn device(&self) -> Option<&Device> {
        self.device.as_deref()
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
        let trees = self.faults_of_trees(batch);
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
        let checked = self.check(&items);
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

    /// blst's verdict on every item, by the path of the policy.
    fn check(&mut self, items: &[Item<'_>]) -> Vec<Result<(), SignatureError>> {
        let mut keys: Vec<&[u8; PUBLIC_KEY_SIZE]> = items.iter().map(|item| item.key.as_bytes()).collect();
        keys.sort_unstable();
        keys.dedup();
        let (len, keys) = (items.len(), keys.len());
        let wanted = match self.policy {
            Policy::Auto if len <= ALONE_MAX => Route::OneByOne,
            Policy::Auto => self.rates.cheapest(len, keys),
            Policy::OneByOne => Route::OneByOne,
            Policy::Batch => Route::Batch,
            Policy::Gpu => Route::Gpu,
        };
        let mut stats = self.stats;
        let (start, bisections) = (Instant::now(), stats.bisections);
        let verdicts = match self.check_by(wanted, items, &mut stats) {
            Some(verdicts) => {
                stats.routed[wanted as usize] += len as u64;
                // A batch with faults says nothing of the next.
                if self.policy == Policy::Auto && stats.bisections == bisections {
                    self.rates.learn(wanted, len, keys, start.elapsed());
                }
                verdicts
            }
            None => {
                // The device is gone and so is what it counted; the batch is whole.
                self.lose_device();
                stats = self.stats;
                stats.routed[Route::Batch as usize] += len as u64;
                batch::check_items(items, SIGNATURE_DST, Policy::Batch, &mut self.path, &mut stats)
            }
        };
        self.stats = stats;
        verdicts
    }

    /// blst's verdict on every item by one path; `None` if that path is not there, or not any more.
    fn check_by(
        &mut self,
        route: Route,
        items: &[Item<'_>],
        stats: &mut Stats,
    ) -> Option<Vec<Result<(), SignatureError>>> {
        let policy = match route {
            Route::OneByOne => Policy::OneByOne,
            Route::Batch => Policy::Batch,
            Route::Gpu => {
                let device = self.device.as_deref()?;
                let mut pairings =
                    (self.pairings.as_deref()).map(|all| all.lock().unwrap_or_else(PoisonError::into_inner));
                if let (Some(pairings), Some(cost)) = (&mut pairings, self.rates.gpu) {
                    pairings.weigh(cost.signature_ns, self.threads);
                }
                let pairings = pairings.as_deref_mut();
                return gpu::verify::check_items(device, items, SIGNATURE_DST, &mut self.path, pairings, stats).ok();
            }
        };
        Some(batch::check_items(items, SIGNATURE_DST, policy, &mut self.path, stats))
    }

    /// What is wrong with each envelope's leaves, if anything.
    fn faults_of_trees(&mut self, batch: &[Candidate<'_>]) -> Vec<Option<Verdict>> {
        let mut faults: Vec<Option<Verdict>> = batch
            .iter()
            .map(|candidate| {
                let (leaves, rest) = candidate.leaves.as_chunks::<LEAF_SIZE>();
                let is_counted = rest.is_empty() && leaves.len() as u64 == u64::from(candidate.header.count);
                (leaves.is_empty() || !is_counted).then_some(Verdict::BadCount)
            })
            .collect();
        let counted: Vec<usize> = (0..batch.len()).filter(|i| faults[*i].is_none()).collect();
        let sizes: Vec<u32> = counted.iter().map(|i| batch[*i].header.count).collect();
        let leaves: usize = sizes.iter().map(|size| *size as usize).sum();
        self.stats.leaves_hashed += leaves as u64;
        let roots = self
            .roots_by_device(batch, &counted, &sizes, leaves)
            .unwrap_or_else(|| {
                let trees: Vec<_> = counted
                    .iter()
                    .map(|i| batch[*i].leaves.as_chunks::<LEAF_SIZE>().0)
                    .collect();
                self.path.roots(&trees)
            });
        for (index, root) in counted.into_iter().zip(roots) {
            if root.0 != batch[index].header.root {
                faults[index] = Some(Verdict::BadRoot);
            }
        }
        faults
    }

    /// The roots over the leaves of `counted`, if a device is there for them.
    fn roots_by_device(
        &mut self,
        batch: &[Candidate<'_>],
        counted: &[usize],
        sizes: &[u32],
        leaves: usize,
    ) -> Option<Vec<Hash>> {
        let device = self.device.as_deref()?;
        let is_wanted = match self.policy {
            Policy::Gpu => leaves > 0,
            Policy::Auto => leaves >= LEAVES_FOR_DEVICE && !device.is_software(),
            Policy::OneByOne | Policy::Batch => false,
        };
        if !is_wanted {
            return None;
        }
        let mut bytes = Vec::with_capacity(leaves * LEAF_SIZE);
        counted.iter().for_each(|i| bytes.extend_from_slice(batch[*i].leaves));
        let roots = gpu::tree::roots(device, &bytes, LeafKind::Long, sizes).ok();
        if roots.is_none() {
            self.lose_device();
        }
        roots
    }

    fn lose_device(&mut self) {
        self.stats.devices_lost += u64::from(self.device.take().is_some());
        self.rates.gpu = None;
        self.pairings = None;
    }
}
