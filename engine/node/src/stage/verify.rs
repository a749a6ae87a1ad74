//! Verify: gathers a batch until it is full or its time is up, checks trees and signatures, passes everything on in
//! ticket order with a verdict each.

use super::envelopes::Envelopes;
use super::{About, Checked, Job, Outcome, Request, SessionId, VerifiedCommand};
use crate::config;
use crate::ring::{Gone, Receiver, Sender};
use ed25519_dalek::VerifyingKey;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use wattbook_feed::sbe::session::HeldKind;
use wattbook_feed::signed::{SealedEnvelope, record_kind};
use wattbook_shaders::gpu::{Choice, Device};
use wattbook_shaders::{Candidate, Policy, PublicKey, Verdict, Verifier, verify_one};
use wattbook_types::{ChainId, Command, Item, ParticipantId, Reject};

/// Registered keys, decompressed. Matching adds to them as registrations are applied; this stage reads them once per
/// batch, so the lock is never contended on the data path.
pub type Keys = Arc<RwLock<BTreeMap<ParticipantId, PublicKey>>>;

/// Most leaves of an envelope that is held until its session ends.
// BOUND: with the sessions, of what deposits cost: 64 leaves are 3,192 bytes as recorded.
pub const ON_DISCONNECT_LEAVES_MAX: usize = 64;

/// The stage.
#[derive(Debug)]
pub struct Verify {
    jobs: Receiver<Job>,
    checked: Sender<Checked>,
    chain: ChainId,
    registrar: VerifyingKey,
    keys: Keys,
    verifier: Verifier,
    /// Checks the envelopes of suspect sessions one by one, so that their faults cost nobody a batch.
    suspects: Verifier,
    settings: config::Verify,
    /// Where envelopes go that have been judged.
    envelopes: Envelopes,
    /// Where a device's compiled kernels are kept.
    cache: Option<PathBuf>,
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Session {
    participant: Option<ParticipantId>,
    bad_signatures: u32,
    bad_logons: u32,
    /// Valid envelopes until its word is taken again.
    suspect: u32,
    /// Whether the lane of suspects had no room for it.
    is_cut_off: bool,
}

impl Session {
    /// A refused logon or registration; the session ends with the last that it may have.
    fn refuse_logon(&mut self, about: About, reject: Reject, bad_logons_max: u32) -> Outcome {
        self.bad_logons += 1;
        if self.bad_logons >= bad_logons_max {
            exhausted(about)
        } else {
            refused(about, reject)
        }
    }
}

/// Valid envelopes that a session whose signature failed must send before its next ones go with everybody's.
const SUSPECT_LEN: u32 = 256;

impl Verify {
    /// Wires the stage.
    pub fn new(
        jobs: Receiver<Job>,
        checked: Sender<Checked>,
        chain: ChainId,
        registrar: VerifyingKey,
        keys: Keys,
        settings: config::Verify,
        cache: Option<PathBuf>,
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
        let verifier = Verifier::with_threads(policy, threads);
        Self {
            jobs,
            checked,
            chain,
            registrar,
            keys,
            verifier,
            suspects: Verifier::new(Policy::OneByOne),
            settings,
            envelopes: Envelopes::new(1),
            cache,
            sessions: BTreeMap::new(),
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
        while self.batch().is_ok() {}
        tracing::debug!(stats = ?self.verifier.stats(), suspects = ?self.suspects.stats(), "verify ends");
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
                Ok(device) => {
                    tracing::info!(device = device.name(), "verify has a device");
                    let keys_max = if device.is_software() {
                        0
                    } else {
                        self.settings.device_keys_max
                    };
                    self.verifier = core::mem::take(&mut self.verifier).with_device_keys(Arc::new(device), keys_max);
                }
                Err(error) if policy == Policy::Gpu => tracing::warn!(%error, "verify goes on on the CPU"),
                Err(error) => tracing::debug!(%error, "verify has no device"),
            }
        }
        if policy == Policy::Auto {
            tracing::info!(rates = %self.verifier.calibrate(), "verify measured its paths");
        }
    }

    fn batch(&mut self) -> Result<(), Gone> {
        let first = self.jobs.recv()?;
        let deadline = Instant::now() + Duration::from_micros(self.settings.batch_deadline_us);
        let mut jobs = vec![first];
        // A Step cuts the batch without waiting; nothing before it is waited for either.
        while jobs.len() < self.settings.batch_len_max
            && !matches!(
                jobs.last(),
                Some(Job {
                    request: Request::Step(_) | Request::Stop,
                    ..
                })
            )
        {
            match self.jobs.recv_deadline(deadline) {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) => break,
                // What was gathered is still handed on.
                Err(Gone) => break,
            }
        }
        let keys = Arc::clone(&self.keys);
        let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut lane = self.settings.suspect_len_max;
        let mut screened: Vec<(SessionId, Screened)> = Vec::with_capacity(jobs.len());
        for job in jobs {
            let outcome = self.screen(job.session, job.request, &keys);
            screened.push((job.session, self.admit(job.session, outcome, &mut lane)));
        }
        let (mut trusted, mut suspect) = (Vec::new(), Vec::new());
        for (session, screened) in &screened {
            if let Screened::Envelope(envelope, key, _) = screened {
                let candidate = Candidate {
                    header: &envelope.header,
                    signature: &envelope.signature,
                    leaves: envelope.leaves.as_flattened(),
                    key,
                    source: *session,
                };
                match self.is_suspect(*session) {
                    true => suspect.push(candidate),
                    false => trusted.push(candidate),
                }
            }
        }
        let lost = self.verifier.stats().devices_lost;
        let mut trusted = self.verifier.verify(self.chain, &trusted).into_iter();
        let mut suspect = self.suspects.verify(self.chain, &suspect).into_iter();
        if self.verifier.stats().devices_lost > lost {
            tracing::warn!("verify lost its device and goes on on the CPU");
        }
        // Judging makes and clears suspects, so who was one is noted first.
        let lanes: Vec<bool> = screened.iter().map(|(session, _)| self.is_suspect(*session)).collect();
        let mut lanes = lanes.into_iter();
        let judge = |(session, screened)| {
            let is_suspect = lanes.next().unwrap_or(true);
            let outcome = match screened {
                Screened::Done(outcome) => outcome,
                Screened::Envelope(envelope, _, due) => {
                    let verdict = if is_suspect { suspect.next() } else { trusted.next() };
                    let verdict = verdict.unwrap_or(Verdict::BadCount);
                    let outcome = self.judge(session, &envelope, due, verdict);
                    self.envelopes.give_back(envelope);
                    outcome
                }
            };
            Checked { session, outcome }
        };
        let judged: Vec<Checked> = screened.into_iter().map(judge).collect();
        // Matching takes this lock to write when it registers an account: never wait for its ring while holding it.
        drop(keys);
        judged.into_iter().try_for_each(|checked| self.checked.send(checked))
    }

    fn is_suspect(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|state| state.suspect > 0)
    }

    /// An envelope of a suspect session takes a place in the lane of suspects; where none is left its session is cut off.
    fn admit<'k>(&mut self, session: SessionId, screened: Screened<'k>, lane: &mut usize) -> Screened<'k> {
        let Some(state) = self.sessions.get_mut(&session).filter(|state| state.suspect > 0) else {
            return screened;
        };
        match (screened, lane.checked_sub(1)) {
            (Screened::Envelope(envelope, ..), None) => {
                state.is_cut_off = true;
                Screened::Done(suspension(About::envelope(&envelope)))
            }
            (screened @ Screened::Envelope(..), Some(left)) => {
                *lane = left;
                screened
            }
            (screened @ Screened::Done(_), _) => screened,
        }
    }

    /// Everything but the signatures of envelopes.
    fn screen<'k>(
        &mut self,
        session: SessionId,
        request: Request,
        keys: &'k BTreeMap<ParticipantId, PublicKey>,
    ) -> Screened<'k> {
        let state = self.sessions.entry(session).or_default();
        let suspended = state.is_cut_off || state.bad_signatures >= self.settings.bad_signatures_max;
        let outcome = match request {
            Request::Subscribe { from } => Outcome::Subscribe { from },
            Request::Logon {
                participant,
                grade,
                from,
                digest,
                signature,
            } => {
                let about = About {
                    participant: participant.get(),
                    ..About::default()
                };
                match keys.get(&participant) {
                    _ if state.bad_logons >= self.settings.bad_logons_max => exhausted(about),
                    None => state.refuse_logon(about, Reject::UnknownParticipant, self.settings.bad_logons_max),
                    Some(key) if verify_one(key, &digest, &signature).is_err() => {
                        state.refuse_logon(about, Reject::LogonRefused, self.settings.bad_logons_max)
                    }
                    Some(_) => {
                        state.participant = Some(participant);
                        Outcome::LoggedOn {
                            participant,
                            grade,
                            from,
                        }
                    }
                }
            }
            Request::Register(record) => {
                let about = About {
                    participant: record.register.admit_serial,
                    ..About::default()
                };
                let is_exhausted = state.bad_logons >= self.settings.bad_logons_max;
                let registration = match is_exhausted {
                    true => Err(Reject::LogonsExhausted),
                    false => record
                        .verify(self.chain, &self.registrar)
                        .and_then(|()| record.to_registration()),
                };
                match registration {
                    Ok(registration) => Outcome::Command(Box::new(VerifiedCommand {
                        command: Command::Register(registration),
                        kind: record_kind::REGISTER,
                        payload: record.to_payload(),
                        held: HeldKind::Register,
                        about,
                    })),
                    Err(_) if is_exhausted => exhausted(about),
                    Err(reject) => state.refuse_logon(about, reject, self.settings.bad_logons_max),
                }
            }
            Request::Envelope(envelope) | Request::OnDisconnect(Some(envelope)) if suspended => {
                suspension(About::envelope(&envelope))
            }
            Request::Envelope(envelope) => return screen_envelope(state.participant, envelope, Due::Now, keys),
            Request::OnDisconnect(Some(envelope)) if envelope.leaves.len() > ON_DISCONNECT_LEAVES_MAX => {
                refused(About::envelope(&envelope), Reject::BadCount)
            }
            Request::OnDisconnect(Some(envelope)) => {
                return screen_envelope(state.participant, envelope, Due::OnDisconnect, keys);
            }
            Request::OnDisconnect(None) => match state.participant {
                None => refused(About::default(), Reject::NotLoggedOn),
                Some(participant) => Outcome::OnDisconnect {
                    participant,
                    cancels: None,
                },
            },
            Request::Reveal(record) => {
                let about = About {
                    participant: record.participant.get(),
                    nonce: 0,
                    contract: record.contract.get(),
                };
                match (state.participant, record.to_command(self.chain)) {
                    (None, _) => refused(about, Reject::NotLoggedOn),
                    (Some(_), Err(reject)) => refused(about, reject),
                    (Some(_), Ok(reveal)) => Outcome::Command(Box::new(VerifiedCommand {
                        command: Command::Reveal(reveal),
                        kind: record_kind::REVEAL,
                        payload: record.to_payload(),
                        held: HeldKind::Reveal,
                        about,
                    })),
                }
            }
            Request::Step(time) => Outcome::Step {
                participant: state.participant,
                time,
            },
            Request::Refused(about, reject) => refused(about, reject),
            Request::Closed => {
                self.sessions.remove(&session);
                Outcome::Closed
            }
            Request::Stop => Outcome::Stop,
        };
        Screened::Done(outcome)
    }

    /// The outcome of an envelope, in ticket order: what follows the signature that suspends its session goes with it.
    fn judge(&mut self, session: SessionId, envelope: &SealedEnvelope, due: Due, verdict: Verdict) -> Outcome {
        let about = About::envelope(envelope);
        let bad_signatures_max = self.settings.bad_signatures_max;
        // A session that has closed since is gone.
        let mut session = self.sessions.get_mut(&session);
        if session
            .as_ref()
            .is_some_and(|state| state.bad_signatures >= bad_signatures_max)
        {
            return suspension(about);
        }
        match verdict {
            Verdict::Valid => {
                if let Some(state) = &mut session {
                    state.suspect = state.suspect.saturating_sub(1);
                }
                let command = envelope.to_command();
                let only_cancels = command.items.iter().all(|item| matches!(item, Item::Cancel(_)));
                let participant = command.participant;
                let verified = |held| {
                    Box::new(VerifiedCommand {
                        command: Command::Envelope(command),
                        kind: record_kind::ENVELOPE,
                        payload: envelope.to_payload(),
                        held,
                        about,
                    })
                };
                match due {
                    Due::Now => Outcome::Command(verified(HeldKind::Envelope)),
                    Due::OnDisconnect if !only_cancels => refused(about, Reject::MalformedItem),
                    Due::OnDisconnect => Outcome::OnDisconnect {
                        participant,
                        cancels: Some(verified(HeldKind::OnDisconnect)),
                    },
                }
            }
            Verdict::BadCount => refused(about, Reject::BadCount),
            Verdict::BadRoot => refused(about, Reject::BadRoot),
            Verdict::BadSignature(_) => match &mut session {
                Some(state) => {
                    state.bad_signatures += 1;
                    state.suspect = SUSPECT_LEN;
                    let close = state.bad_signatures >= bad_signatures_max;
                    if close {
                        suspension(about)
                    } else {
                        refused(about, Reject::BadSignature)
                    }
                }
                None => refused(about, Reject::BadSignature),
            },
        }
    }
}

enum Screened<'k> {
    Envelope(Box<SealedEnvelope>, &'k PublicKey, Due),
    Done(Outcome),
}

/// When an envelope is to be sequenced.
#[derive(Clone, Copy, Debug)]
enum Due {
    Now,
    OnDisconnect,
}

/// An envelope of the session's participant goes on to its signature.
fn screen_envelope(
    participant: Option<ParticipantId>,
    envelope: Box<SealedEnvelope>,
    due: Due,
    keys: &BTreeMap<ParticipantId, PublicKey>,
) -> Screened<'_> {
    let sender = ParticipantId::new(envelope.header.participant);
    let reject = match participant {
        None => Reject::NotLoggedOn,
        Some(participant) if participant != sender => Reject::NotThisParticipant,
        Some(_) => match keys.get(&sender) {
            None => Reject::UnknownParticipant,
            Some(key) => return Screened::Envelope(envelope, key, due),
        },
    };
    Screened::Done(refused(About::envelope(&envelope), reject))
}

const fn refused(about: About, reject: Reject) -> Outcome {
    Outcome::Refused {
        about,
        reject,
        close: false,
    }
}

const fn exhausted(about: About) -> Outcome {
    Outcome::Refused {
        about,
        reject: Reject::LogonsExhausted,
        close: true,
    }
}

const fn suspension(about: About) -> Outcome {
    Outcome::Refused {
        about,
        reject: Reject::SessionSuspended,
        close: true,
    }
}
