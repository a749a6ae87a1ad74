//! Envelopes in, verdicts out.

mod resident;

use crate::batch::{self, Item};
use crate::calibration;
use crate::cpu::Path;
use crate::gpu::pairing::Pairings;
use crate::gpu::tree::LeafKind;
use crate::gpu::verify::{Begun, Engine};
use crate::gpu::{self, Device};
use crate::key::{PublicKey, SIGNATURE_DST};
use crate::numbering::Numbering;
use crate::policy::{Policy, Rates, Route};
use crate::{SignatureError, Stats};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use wattbook_feed::signed::{EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
use wattbook_types::{ChainId, Hash};

pub use resident::Placed;

/// Keys whose lines a device keeps unless told otherwise: 2.8 GB.
pub const DEVICE_KEYS_MAX: usize = 1 << 17;
/// Headers that a thread hashes at a time.
const RUN_MAX: usize = 1 << 10;
/// Fewest headers that a thread is woken for.
const RUN_MIN: usize = 1 << 7;
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

impl Verdict {
    /// Names of the refusals in logs and metrics.
    pub const REFUSALS: [&'static str; 7] = [
        "bad_count",
        "bad_root",
        "bad_encoding",
        "not_on_curve",
        "infinity",
        "not_in_group",
        "mismatch",
    ];

    /// Which of [`Self::REFUSALS`] this is.
    pub const fn refusal(self) -> Option<usize> {
        match self {
            Self::Valid => None,
            Self::BadCount => Some(0),
            Self::BadRoot => Some(1),
            Self::BadSignature(SignatureError::BadEncoding) => Some(2),
            Self::BadSignature(SignatureError::NotOnCurve) => Some(3),
            Self::BadSignature(SignatureError::Infinity) => Some(4),
            Self::BadSignature(SignatureError::NotInGroup) => Some(5),
            Self::BadSignature(SignatureError::Mismatch) => Some(6),
        }
    }
}

/// What comes in a batch: something that holds an envelope.
pub trait Submitted: Sync {
    /// The envelope; the same whenever asked.
    fn candidate(&self) -> Candidate<'_>;
}

impl Submitted for Candidate<'_> {
    fn candidate(&self) -> Candidate<'_> {
        *self
    }
}

/// A batch between [`Verifier::begin`] and [`Verifier::finish`].
#[derive(Debug)]
#[must_use = "a batch has its verdicts when it is finished"]
pub struct Pending<E> {
    batch: Vec<E>,
    digests: Vec<Hash>,
    /// What is wrong with each envelope's count or root; the others' signatures are under way.
    faults: Vec<Option<Verdict>>,
    work: Work,
    /// Different keys among them.
    keys: usize,
    start: Instant,
}

/// How signatures are checked.
#[derive(Debug)]
enum Work {
    /// When the batch is finished.
    Later(Route),
    /// On a device, which has begun.
    Device { gpu: Gpu, begun: Box<Begun> },
    /// On a device that was lost before it began.
    Lost,
}

impl<E> Pending<E> {
    /// Whether a device works on the batch meanwhile: then it is worth beginning another one before finishing this.
    pub const fn is_on_device(&self) -> bool {
        matches!(self.work, Work::Device { .. })
    }

    /// Envelopes in it.
    pub const fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

/// The signatures of the envelopes without faults, in order.
fn items<'a, E: Submitted>(batch: &'a [E], digests: &'a [Hash], faults: &[Option<Verdict>]) -> Vec<Item<'a>> {
    batch
        .iter()
        .zip(digests)
        .zip(faults)
        .filter(|(_, fault)| fault.is_none())
        .map(|((envelope, digest), _)| {
            let candidate = envelope.candidate();
            Item {
                key: candidate.key,
                message: &digest.0,
                signature: candidate.signature,
                source: candidate.source,
            }
        })
        .collect()
}

/// A device with what it keeps from batch to batch; clones share it.
#[derive(Clone, Debug)]
struct Gpu {
    engine: Arc<Engine>,
    pairings: Option<Arc<Mutex<Pairings>>>,
}

/// A batch verifier: a policy and the rates behind it, threads, perhaps a device, lines of keys seen lately and counters;
/// no state of it bears on a verdict.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    policy: Policy,
    rates: Rates,
    path: Path,
    gpu: Option<Gpu>,
    threads: usize,
    /// Batches on the device.
    on_device: usize,
    /// When the last batch was finished.
    last: Option<Instant>,
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
        let pairings = (keys_max > 0).then(|| Arc::new(Mutex::new(Pairings::new(&device, keys_max))));
        self.gpu = Engine::new(device, SIGNATURE_DST).map(|engine| Gpu {
            engine: Arc::new(engine),
            pairings,
        });
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
            let sizes = calibration::sizes(route);
            let cost = calibration::measure(|items, stats| self.check_by(route, items, stats), sizes);
            match route {
                Route::OneByOne => rates.one_by_one = cost,
                Route::Batch => rates.batch = cost,
                Route::Gpu => rates.gpu = cost,
            }
        }
        let check = |items: &[Item<'_>], stats: &mut Stats| self.check_by(Route::Batch, items, stats);
        rates.short = calibration::measure(check, calibration::SHORT);
        self.rates = rates;
        &self.rates
    }

    /// What every path is known to cost.
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The device, while there is one.
    pub fn device(&self) -> Option<&Device> {
        self.gpu.as_ref().map(|gpu| gpu.engine.device())
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
        let pending = self.begin(chain, batch.to_vec());
        self.finish(pending).1
    }

    /// Starts a batch: trees are compared, and where signatures go to a device it begins with them. Batches of one verifier
    /// are finished by it, best in the order in which they began; with two of them begun, one is uploaded and computed
    /// while the CPU pairs the other.
    pub fn begin<E: Submitted>(&mut self, chain: ChainId, batch: Vec<E>) -> Pending<E> {
        let start = Instant::now();
        self.stats.envelopes += batch.len() as u64;
        // Hashing a leaf costs a thousandth of checking a signature, so trees go first.
        let faults = self.faults_of_trees(&batch);
        let pool = self.path.pool();
        let digests = pool.map_runs(batch.len(), (RUN_MIN, RUN_MAX), |run| {
            let digest = |envelope: &E| envelope.candidate().header.digest(chain);
            batch[run].iter().map(digest).collect::<Vec<Hash>>()
        });
        let digests = digests.concat();
        let items = items(&batch, &digests, &faults);
        let numbering = Numbering::new(pool, &items);
        let keys = numbering.keys.len();
        let work = match (self.route_of(items.len(), keys), &self.gpu) {
            (Route::Gpu, Some(gpu)) if !items.is_empty() => {
                let gpu = gpu.clone();
                let mut pairings = gpu.pairings.as_deref().map(lock);
                if let (Some(pairings), Some(cost)) = (&mut pairings, self.rates.gpu) {
                    pairings.weigh(cost.signature_ns, self.threads);
                }
                let begun = Begun::new(&gpu.engine, &items, numbering, pool, pairings.as_deref_mut());
                drop(pairings);
                match begun {
                    Ok(begun) => {
                        self.stats.overlapped += u64::from(self.on_device > 0);
                        self.on_device += 1;
                        Work::Device {
                            gpu,
                            begun: Box::new(begun),
                        }
                    }
                    Err(_) => {
                        self.lose_device();
                        Work::Lost
                    }
                }
            }
            (Route::Gpu, _) => Work::Later(Route::Batch),
            (route, _) => Work::Later(route),
        };
        Pending {
            batch,
            digests,
            faults,
            work,
            keys,
            start,
        }
    }

    /// The batch and a verdict on each of its envelopes, in order: what blst gives for each by itself.
    pub fn finish<E: Submitted>(&mut self, pending: Pending<E>) -> (Vec<E>, Vec<Verdict>) {
        let Pending {
            batch,
            digests,
            faults,
            work,
            keys,
            start,
        } = pending;
        let items = items(&batch, &digests, &faults);
        self.on_device -= usize::from(matches!(work, Work::Device { .. }));
        let checked = self.check(&items, keys, work, start);
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
        let verdicts: Vec<Verdict> = faults.into_iter().map(verdict).collect();
        verdicts.iter().for_each(|verdict| self.stats.count(*verdict));
        (batch, verdicts)
    }

    /// The path that `len` signatures of `keys` keys would take now.
    pub fn route_of(&self, len: usize, keys: usize) -> Route {
        match self.policy {
            Policy::Auto => self.rates.cheapest(len, keys),
            Policy::OneByOne => Route::OneByOne,
            Policy::Gpu if self.gpu.is_some() => Route::Gpu,
            Policy::Batch | Policy::Gpu => Route::Batch,
        }
    }

    /// blst's verdict on every item.
    fn check(&mut self, items: &[Item<'_>], keys: usize, work: Work, start: Instant) -> Checked {
        let len = items.len() as u64;
        // Nothing is begun before the last batch is finished but on a device, whose time with a batch starts then.
        let start = self.last.map_or(start, |last| start.max(last));
        let mut stats = self.stats;
        let (wanted, verdicts) = match work {
            Work::Later(route) => (route, Some(self.check_on_cpu(route, items, &mut stats))),
            Work::Device { gpu, begun } => (Route::Gpu, self.finish_on_device(&gpu, *begun, items, &mut stats)),
            Work::Lost => (Route::Gpu, None),
        };
        let verdicts = match verdicts {
            Some(verdicts) => {
                stats.take_route(wanted, len);
                // A batch with faults says nothing of the next.
                if self.policy == Policy::Auto && stats.bisections == self.stats.bisections {
                    self.rates.learn(wanted, items.len(), keys, start.elapsed());
                }
                verdicts
            }
            None => {
                // The device is gone and so is what it counted; the batch is whole.
                self.lose_device();
                stats = self.stats;
                stats.take_route(Route::Batch, len);
                self.check_on_cpu(Route::Batch, items, &mut stats)
            }
        };
        self.stats = stats;
        self.last = Some(Instant::now());
        verdicts
    }

    fn check_on_cpu(&mut self, route: Route, items: &[Item<'_>], stats: &mut Stats) -> Checked {
        let policy = match route {
            Route::OneByOne => Policy::OneByOne,
            Route::Batch | Route::Gpu => Policy::Batch,
        };
        batch::check_items(items, SIGNATURE_DST, policy, &mut self.path, stats)
    }

    fn finish_on_device(&mut self, gpu: &Gpu, begun: Begun, items: &[Item<'_>], stats: &mut Stats) -> Option<Checked> {
        let pairings = gpu.pairings.as_deref().map(lock);
        begun
            .finish(
                &gpu.engine,
                items,
                SIGNATURE_DST,
                &mut self.path,
                pairings.as_deref(),
                stats,
            )
            .ok()
    }

    /// blst's verdict on every item by one path; `None` if that path is not there, or not any more.
    fn check_by(&mut self, route: Route, items: &[Item<'_>], stats: &mut Stats) -> Option<Checked> {
        if route != Route::Gpu {
            return Some(self.check_on_cpu(route, items, stats));
        }
        let gpu = self.gpu.clone()?;
        let pool = self.path.pool();
        let numbering = Numbering::new(pool, items);
        let mut pairings = gpu.pairings.as_deref().map(lock);
        let begun = Begun::new(&gpu.engine, items, numbering, pool, pairings.as_deref_mut()).ok()?;
        drop(pairings);
        self.finish_on_device(&gpu, begun, items, stats)
    }

    /// What is wrong with each envelope's leaves, if anything.
    fn faults_of_trees<E: Submitted>(&mut self, batch: &[E]) -> Vec<Option<Verdict>> {
        let batch: Vec<Candidate<'_>> = batch.iter().map(Submitted::candidate).collect();
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
            .roots_by_device(&batch, &counted, &sizes, leaves)
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
        let device = self.device()?;
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
        self.stats.devices_lost += u64::from(self.gpu.take().is_some());
        self.rates.gpu = None;
    }
}

type Checked = Vec<Result<(), SignatureError>>;

/// Keys on a device; a thread that panicked over them has changed nothing that bears on a verdict.
fn lock(pairings: &Mutex<Pairings>) -> MutexGuard<'_, Pairings> {
    pairings.lock().unwrap_or_else(PoisonError::into_inner)
}
