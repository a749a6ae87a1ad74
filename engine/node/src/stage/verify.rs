//! Verify: gathers a batch until it is full, its time is up or company is not worth waiting for (`pace`), checks trees
//! and signatures, passes everything on in ticket order with a verdict each.
//!
//! Batches that a device works on overlap: while it computes one, the next is gathered and handed to it, and while it
//! computes that one, the CPU pairs the first. Nothing else waits for a batch to come: where the CPU checks, where time
//! is up without another message, and at a Step, every batch under way is finished at once.

mod meters;
mod pace;
mod sessions;
#[cfg(test)]
mod tests;

use self::meters::Meters;
use self::pace::Pace;
use self::sessions::{Lane, Screened, Sessions, Signed};
use super::envelopes::Envelopes;
use super::{Checked, Job, Outcome, Request, SessionId};
use crate::config;
use crate::metrics::Metrics;
use crate::ring::{Gone, Receiver, Sender};
use ed25519_dalek::VerifyingKey;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use wattbook_shaders::gpu::{Choice, Device, KERNELS};
use wattbook_shaders::{Pending, Policy, PublicKey, Route, Verifier};
use wattbook_types::{ChainId, ParticipantId};

/// Registered keys, decompressed. Matching adds to them as registrations are applied; this stage reads them once per
/// batch, so the lock is never contended on the data path.
pub type Keys = Arc<RwLock<BTreeMap<ParticipantId, PublicKey>>>;

/// Most leaves of an envelope that is held until its session ends.
// BOUND: with the sessions, of what deposits cost: 64 leaves are 3,192 bytes as recorded.
pub const ON_DISCONNECT_LEAVES_MAX: usize = 64;

/// Batches under way at once: one that a device computes, one that the CPU pairs.
const IN_FLIGHT: usize = 2;
/// Keys of the batch by which logs and metrics show what a path costs.
const SHOWN_KEYS: usize = 16;

/// The stage.
#[derive(Debug)]
pub struct Verify {
    jobs: Receiver<Job>,
    checked: Sender<Checked>,
    chain: ChainId,
    keys: Keys,
    verifier: Verifier,
    /// Checks the envelopes of suspect sessions one by one, so that their faults cost nobody a batch.
    suspects: Verifier,
    settings: config::Verify,
    /// Where envelopes go that have been judged.
    envelopes: Envelopes,
    /// Where a device's compiled kernels are kept.
    cache: Option<PathBuf>,
    sessions: Sessions,
    meters: Meters,
    pace: Pace,
}

/// A batch under way.
struct Batch {
    /// Whose messages, in ticket order, and where each finds its outcome.
    places: Vec<(SessionId, Place)>,
    shared: Pending<Signed>,
    suspect: Pending<Signed>,
    /// Whether somebody waits for what it says before sending more.
    is_cut: bool,
}

/// Where a message finds its outcome.
enum Place {
    /// Here.
    Done(Outcome),
    /// In the next verdict of its lane.
    Shared,
    Suspect,
}

impl Verify {
    /// Wires the stage.
    #[allow(clippy::too_many_arguments, reason = "what topology has to give, once")]
    pub fn new(
        jobs: Receiver<Job>,
        checked: Sender<Checked>,
        chain: ChainId,
        registrar: VerifyingKey,
        keys: Keys,
        settings: config::Verify,
        cache: Option<PathBuf>,
        metrics: &Metrics,
    ) -> Self {
        let policy = match settings.policy {
            config::VerifyPolicy::Auto => Policy::Auto,
            config::VerifyPolicy::OneByOne => Policy::OneByOne,
            config::VerifyPolicy::Batch => Policy::Batch,
            config::VerifyPolicy::Gpu => Policy::Gpu,
        };
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        Self {
            jobs,
            checked,
            chain,
            keys,
            verifier: Verifier::with_threads(policy, threads),
            suspects: Verifier::new(Policy::OneByOne),
            sessions: Sessions::new(chain, registrar, settings.bad_signatures_max, settings.bad_logons_max),
            settings,
            envelopes: Envelopes::new(1),
            cache,
            meters: Meters::new(metrics),
            pace: Pace::default(),
        }
    }

    /// Gives the envelopes that it has judged to this pool.
    pub fn with_envelopes(mut self, envelopes: Envelopes) -> Self {
        self.envelopes = envelopes;
        self
    }

    /// Runs until ingest is gone.
    pub fn run(mut self) {
        self.prepare();
        // What was gathered before a ring's end was gone is still handed on.
        let _ = self.batches();
        tracing::debug!(stats = ?self.verifier.stats(), suspects = ?self.suspects.stats(), "verify ends");
    }

    fn batches(&mut self) -> Result<(), Gone> {
        let mut under_way = VecDeque::new();
        loop {
            let (jobs, is_over) = match self.gather(under_way.is_empty()) {
                Ok(jobs) => (jobs, false),
                Err(Gone) => (Vec::new(), true),
            };
            let mut keep = 0;
            if !jobs.is_empty() {
                let batch = self.begin(jobs);
                if batch.shared.is_on_device() && !batch.is_cut {
                    keep = IN_FLIGHT - 1;
                }
                under_way.push_back(batch);
            }
            while under_way.len() > keep
                && let Some(batch) = under_way.pop_front()
            {
                self.finish(batch)?;
            }
            if is_over {
                return Err(Gone);
            }
        }
    }

    /// Opens the device that the policy asks for and measures what the paths cost.
    fn prepare(&mut self) {
        let policy = self.verifier.policy();
        if matches!(policy, Policy::Auto | Policy::Gpu) {
            let choice = Choice {
                software: policy == Policy::Gpu,
                cache: self.cache.take(),
                ..Choice::default()
            };
            match Device::open(&choice) {
                Ok(device) => self.take_device(device),
                Err(error) if policy == Policy::Gpu => tracing::warn!(%error, "verify goes on on the CPU"),
                Err(error) => tracing::debug!(%error, "verify has no device"),
            }
        }
        if policy == Policy::Auto {
            self.verifier.calibrate();
        }
        let (rates, len) = (*self.verifier.rates(), self.settings.batch_len_max);
        let cost = |route, len: usize| Some(rates.expect_ns(route, len, SHOWN_KEYS)? / len as u64);
        let [one_by_one, batch, gpu] = [Route::OneByOne, Route::Batch, Route::Gpu].map(|route| cost(route, len));
        // A short batch has rates of its own.
        let short = rates.short.and_then(|_| cost(Route::Batch, SHOWN_KEYS));
        self.meters.show_costs([one_by_one, batch, gpu, short]);
        let path = self.verifier.route_of(len, SHOWN_KEYS).name();
        let (instructions, lane) = (Verifier::instructions(), self.lane_len());
        tracing::info!(?policy, path, batch = len, instructions, lane, %rates, "verify is ready");
    }

    fn take_device(&mut self, device: Device) {
        let name = device.name();
        let progress = |ready, of, kernel, elapsed: Duration| {
            let ms = elapsed.as_millis();
            tracing::debug!(kernel, ready, of, ms, "verify builds its kernels");
        };
        match device.warm_up(KERNELS, progress) {
            Ok(warm) => {
                let ms = warm.elapsed.as_millis();
                tracing::info!(
                    device = name,
                    kernels = warm.kernels,
                    cached = warm.cached,
                    ms,
                    "verify has a device"
                );
            }
            // Kernels that could not be kept are built again at the next start; a device that is gone is found out next.
            Err(error) => tracing::warn!(device = name, %error, "verify has a device"),
        }
        let keys_max = if device.is_software() {
            0
        } else {
            self.settings.device_keys_max
        };
        self.verifier = core::mem::take(&mut self.verifier).with_device_keys(Arc::new(device), keys_max);
    }

    /// Envelopes of suspect sessions that a batch takes: the share of a full batch's time that is theirs, where what paths
    /// cost was measured.
    fn lane_len(&self) -> usize {
        let (rates, most) = (self.verifier.rates(), self.settings.suspect_len_max);
        let full = rates.expect_ns(
            self.verifier.route_of(self.settings.batch_len_max, SHOWN_KEYS),
            self.settings.batch_len_max,
            SHOWN_KEYS,
        );
        match (full, rates.expect_ns(Route::OneByOne, 1, 1)) {
            (Some(full), Some(alone)) => {
                let share = full / 100 * u64::from(self.settings.suspect_share_pct) / alone.max(1);
                usize::try_from(share).unwrap_or(usize::MAX).clamp(1, most)
            }
            _ => most,
        }
    }

    /// Messages until a batch is full, its time is up or none is worth waiting for; the first is waited for while nothing
    /// else is to be done.
    fn gather(&mut self, is_idle: bool) -> Result<Vec<Job>, Gone> {
        let mut jobs = Vec::new();
        if is_idle {
            jobs.push(self.jobs.recv()?);
        }
        // While a batch is under way, there is time to wait for the next.
        let gain = self.gain().filter(|_| is_idle);
        let deadline = Instant::now() + Duration::from_micros(self.settings.batch_deadline_us);
        // A Step cuts the batch without waiting; nothing before it is waited for either.
        while jobs.len() < self.settings.batch_len_max && !jobs.last().is_some_and(cuts) {
            let until = gain.map_or(deadline, |gain| {
                deadline.min(Instant::now() + self.pace.patience(jobs.len(), gain))
            });
            match self.jobs.recv_deadline(until) {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) => break,
                Err(Gone) if jobs.is_empty() => return Err(Gone),
                // What was gathered is still handed on.
                Err(Gone) => break,
            }
        }
        if !jobs.is_empty() {
            self.pace.see(Instant::now(), jobs.len());
        }
        Ok(jobs)
    }

    /// What one check of two signatures spares against two checks of one; `None` where nobody knows.
    fn gain(&self) -> Option<Duration> {
        if self.verifier.policy() == Policy::OneByOne {
            return Some(Duration::ZERO);
        }
        let expect = |len| {
            self.verifier
                .rates()
                .expect_ns(self.verifier.route_of(len, len), len, len)
        };
        let (one, two) = (expect(1)?, expect(2)?);
        Some(Duration::from_nanos(one.saturating_mul(2).saturating_sub(two)))
    }

    fn begin(&mut self, jobs: Vec<Job>) -> Batch {
        let is_cut = jobs.last().is_some_and(cuts);
        let mut left = self.lane_len();
        let (mut shared, mut suspect) = (Vec::new(), Vec::new());
        let mut places = Vec::with_capacity(jobs.len());
        {
            // Matching takes this lock to write when it registers an account: never wait for its ring while holding it.
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            for Job { session, request } in jobs {
                let place = match self.sessions.screen(session, request, &keys) {
                    Screened::Done(outcome) => Place::Done(outcome),
                    Screened::Envelope(signed) => match self.sessions.admit(signed, &mut left) {
                        Lane::Closed(outcome) => Place::Done(outcome),
                        Lane::Shared(signed) => {
                            shared.push(signed);
                            Place::Shared
                        }
                        Lane::Suspect(signed) => {
                            suspect.push(signed);
                            Place::Suspect
                        }
                    },
                };
                places.push((session, place));
            }
        }
        let lost = self.verifier.stats().devices_lost;
        let batch = Batch {
            places,
            shared: self.verifier.begin(self.chain, shared),
            suspect: self.suspects.begin(self.chain, suspect),
            is_cut,
        };
        self.warn_if_lost(lost);
        batch
    }

    fn finish(&mut self, batch: Batch) -> Result<(), Gone> {
        let lost = self.verifier.stats().devices_lost;
        // A device works on the others' meanwhile.
        let (suspect, of_suspect) = self.suspects.finish(batch.suspect);
        let (shared, of_shared) = self.verifier.finish(batch.shared);
        self.warn_if_lost(lost);
        let mut suspect = suspect.into_iter().zip(of_suspect);
        let mut shared = shared.into_iter().zip(of_shared);
        let mut outcomes = Vec::with_capacity(batch.places.len());
        for (session, place) in batch.places {
            let judged = match place {
                Place::Done(outcome) => Ok(outcome),
                Place::Shared => Err(shared.next()),
                Place::Suspect => Err(suspect.next()),
            };
            let outcome = match judged {
                Ok(outcome) => outcome,
                Err(Some((signed, verdict))) => {
                    let outcome = self.sessions.judge(&signed, verdict);
                    self.envelopes.give_back(signed.into_envelope());
                    outcome
                }
                Err(None) => unreachable!("a lane has a verdict for each of its places"),
            };
            outcomes.push(Checked { session, outcome });
        }
        self.meters.take(self.verifier.stats(), self.suspects.stats());
        self.meters.see(&outcomes, self.sessions.suspects());
        outcomes.into_iter().try_for_each(|checked| self.checked.send(checked))
    }

    fn warn_if_lost(&self, before: u64) {
        if self.verifier.stats().devices_lost > before {
            tracing::warn!("verify lost its device and goes on on the CPU");
        }
    }
}

/// Whether somebody waits for what comes of this message before sending more.
const fn cuts(job: &Job) -> bool {
    matches!(job.request, Request::Step(_) | Request::Stop)
}
