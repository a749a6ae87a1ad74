//! Verify: gathers a batch until it is full or its time is up, checks trees and signatures, passes everything on in
//! ticket order with a verdict each.

use super::{About, Checked, Job, Outcome, Request, SessionId, VerifiedCommand};
use crate::config;
use crate::ring::{Gone, Receiver, Sender};
use ed25519_dalek::VerifyingKey;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use wattbook_feed::sbe::session::HeldKind;
use wattbook_feed::signed::{SealedEnvelope, record_kind};
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
    settings: config::Verify,
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Session {
    participant: Option<ParticipantId>,
    bad_signatures: u32,
}

impl Verify {
    /// Wires the stage.
    pub fn new(
        jobs: Receiver<Job>,
        checked: Sender<Checked>,
        chain: ChainId,
        registrar: VerifyingKey,
        keys: Keys,
        settings: config::Verify,
    ) -> Self {
        let policy = match settings.policy {
            config::VerifyPolicy::Auto => Policy::Auto,
            config::VerifyPolicy::OneByOne => Policy::OneByOne,
            config::VerifyPolicy::Batch => Policy::Batch,
        };
        let verifier = Verifier::new(policy);
        Self {
            jobs,
            checked,
            chain,
            registrar,
            keys,
            verifier,
            settings,
            sessions: BTreeMap::new(),
        }
    }

    /// Runs until ingest is gone.
    pub fn run(mut self) {
        while self.batch().is_ok() {}
        tracing::debug!(stats = ?self.verifier.stats(), "verify ends");
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
        let screened: Vec<(SessionId, Screened)> = jobs
            .into_iter()
            .map(|job| (job.session, self.screen(job.session, job.request, &keys)))
            .collect();
        let candidates: Vec<Candidate<'_>> = screened
            .iter()
            .filter_map(|(session, screened)| match screened {
                Screened::Envelope(envelope, key, _) => Some(Candidate {
                    header: &envelope.header,
                    signature: &envelope.signature,
                    leaves: envelope.leaves.as_flattened(),
                    key,
                    source: *session,
                }),
                Screened::Done(_) => None,
            })
            .collect();
        let mut verdicts = self.verifier.verify(self.chain, &candidates).into_iter();
        let judge = |(session, screened)| {
            let outcome = match screened {
                Screened::Done(outcome) => outcome,
                Screened::Envelope(envelope, _, due) => {
                    let verdict = verdicts.next().unwrap_or(Verdict::BadCount);
                    self.judge(session, &envelope, due, verdict)
                }
            };
            Checked { session, outcome }
        };
        let judged: Vec<Checked> = screened.into_iter().map(judge).collect();
        // Matching takes this lock to write when it registers an account: never wait for its ring while holding it.
        drop(keys);
        judged.into_iter().try_for_each(|checked| self.checked.send(checked))
    }

    /// Everything but the signatures of envelopes.
    fn screen<'k>(
        &mut self,
        session: SessionId,
        request: Request,
        keys: &'k BTreeMap<ParticipantId, PublicKey>,
    ) -> Screened<'k> {
        let state = self.sessions.entry(session).or_default();
        let suspended = state.bad_signatures >= self.settings.bad_signatures_max;
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
                    None => refused(about, Reject::UnknownParticipant),
                    Some(key) if verify_one(key, &digest, &signature).is_err() => refused(about, Reject::LogonRefused),
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
                let registration = record
                    .verify(self.chain, &self.registrar)
                    .and_then(|()| record.to_registration());
                match registration {
                    Ok(registration) => Outcome::Command(Box::new(VerifiedCommand {
                        command: Command::Register(registration),
                        kind: record_kind::REGISTER,
                        payload: record.to_payload(),
                        held: HeldKind::Register,
                        about,
                    })),
                    Err(reject) => refused(about, reject),
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

const fn suspension(about: About) -> Outcome {
    Outcome::Refused {
        about,
        reject: Reject::SessionSuspended,
        close: true,
    }
}
