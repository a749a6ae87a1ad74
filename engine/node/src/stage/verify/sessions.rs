//! What verify knows of the sessions: whose each is, and how far its word is taken.
//!
//! # Invariants
//! * A session is bound to its participant by a signature, and every envelope it sends is that participant's.
//! * Bad signatures are counted in ticket order. With the one that spends its budget a session is cut off: whatever it
//!   still sends, and what it had sent and nobody judged yet, is answered `SessionSuspended`.
//! * A session whose signature failed is suspect until it has sent as many valid envelopes as [`SUSPECT_LEN`] says; what
//!   it sends meanwhile goes by the lane of suspects, with room for so many a batch. Where there is no room the session is
//!   cut off.

use super::ON_DISCONNECT_LEAVES_MAX;
use crate::stage::{About, LINKS_FROM, Outcome, Request, SessionId, VerifiedCommand};
use ed25519_dalek::VerifyingKey;
use std::collections::BTreeMap;
use wattbook_feed::sbe::session::HeldKind;
use wattbook_feed::signed::{SealedEnvelope, record_kind};
use wattbook_shaders::{Candidate, PublicKey, Submitted, Verdict, verify_one};
use wattbook_types::{ChainId, Command, Item, ParticipantId, Reject};

/// Valid envelopes that a session whose signature failed must send before its next ones go with everybody's.
const SUSPECT_LEN: u32 = 256;

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

/// Every session that sent something and has not ended.
#[derive(Debug)]
pub(super) struct Sessions {
    states: BTreeMap<SessionId, Session>,
    chain: ChainId,
    registrar: VerifyingKey,
    bad_signatures_max: u32,
    bad_logons_max: u32,
}

/// A message before signatures of envelopes are checked.
#[allow(clippy::large_enum_variant, reason = "one at a time, moved on at once")]
pub(super) enum Screened {
    Envelope(Signed),
    Done(Outcome),
}

/// An envelope on its way to a verdict.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) session: SessionId,
    envelope: Box<SealedEnvelope>,
    key: PublicKey,
    due: Due,
}

impl Signed {
    /// The envelope, which is no longer needed here.
    pub(super) fn into_envelope(self) -> Box<SealedEnvelope> {
        self.envelope
    }
}

impl Submitted for Signed {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            header: &self.envelope.header,
            signature: &self.envelope.signature,
            leaves: self.envelope.leaves.as_flattened(),
            key: &self.key,
            source: self.session,
        }
    }
}

/// Which way an envelope goes.
pub(super) enum Lane {
    /// With everybody's.
    Shared(Signed),
    /// With those of suspects.
    Suspect(Signed),
    /// Nowhere.
    Closed(Outcome),
}

impl Sessions {
    /// No sessions yet.
    pub(super) const fn new(
        chain: ChainId,
        registrar: VerifyingKey,
        bad_signatures_max: u32,
        bad_logons_max: u32,
    ) -> Self {
        Self {
            states: BTreeMap::new(),
            chain,
            registrar,
            bad_signatures_max,
            bad_logons_max,
        }
    }

    /// Suspect sessions.
    pub(super) fn suspects(&self) -> usize {
        self.states.values().filter(|state| state.suspect > 0).count()
    }

    /// An envelope of a suspect session takes one of the places `left` in the lane of suspects.
    pub(super) fn admit(&mut self, signed: Signed, left: &mut usize) -> Lane {
        let state = self.states.get_mut(&signed.session);
        let Some(state) = state.filter(|state| state.suspect > 0) else {
            return Lane::Shared(signed);
        };
        match left.checked_sub(1) {
            None => {
                state.is_cut_off = true;
                Lane::Closed(suspension(About::envelope(&signed.envelope)))
            }
            Some(fewer) => {
                *left = fewer;
                Lane::Suspect(signed)
            }
        }
    }

    /// Everything but the signatures of envelopes.
    pub(super) fn screen(
        &mut self,
        session: SessionId,
        request: Request,
        keys: &BTreeMap<ParticipantId, PublicKey>,
    ) -> Screened {
        let state = self.states.entry(session).or_default();
        // Another node answers for its own sessions; what it hands on is checked like anybody's.
        if let (LINKS_FROM.., Request::Envelope(envelope)) = (session, &request) {
            state.participant = Some(ParticipantId::new(envelope.header.participant));
        }
        if let (LINKS_FROM.., Request::Reveal(record)) = (session, &request) {
            state.participant = Some(record.participant);
        }
        let suspended = state.is_cut_off || state.bad_signatures >= self.bad_signatures_max;
        let outcome = match request {
            Request::Subscribe { from } => Outcome::Subscribe { from },
            Request::Join => Outcome::Join,
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
                    _ if state.bad_logons >= self.bad_logons_max => exhausted(about),
                    None => state.refuse_logon(about, Reject::UnknownParticipant, self.bad_logons_max),
                    Some(key) if verify_one(key, &digest, &signature).is_err() => {
                        state.refuse_logon(about, Reject::LogonRefused, self.bad_logons_max)
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
                let is_exhausted = state.bad_logons >= self.bad_logons_max;
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
                    Err(reject) => state.refuse_logon(about, reject, self.bad_logons_max),
                }
            }
            Request::Envelope(envelope) | Request::OnDisconnect(Some(envelope)) if suspended => {
                suspension(About::envelope(&envelope))
            }
            Request::Envelope(envelope) => {
                return screen_envelope(session, state.participant, envelope, Due::Now, keys);
            }
            Request::OnDisconnect(Some(envelope)) if envelope.leaves.len() > ON_DISCONNECT_LEAVES_MAX => {
                refused(About::envelope(&envelope), Reject::BadCount)
            }
            Request::OnDisconnect(Some(envelope)) => {
                return screen_envelope(session, state.participant, envelope, Due::OnDisconnect, keys);
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
                self.states.remove(&session);
                Outcome::Closed
            }
            Request::Stop => Outcome::Stop,
        };
        Screened::Done(outcome)
    }

    /// The outcome of an envelope, in ticket order: what follows the signature that suspends its session goes with it.
    pub(super) fn judge(&mut self, signed: &Signed, verdict: Verdict) -> Outcome {
        let (envelope, due) = (&signed.envelope, signed.due);
        let about = About::envelope(envelope);
        let bad_signatures_max = self.bad_signatures_max;
        // A session that has closed since is gone.
        let mut session = self.states.get_mut(&signed.session);
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
                let command = envelope.to_command(self.chain);
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

/// When an envelope is to be sequenced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Now,
    OnDisconnect,
}

/// An envelope of the session's participant goes on to its signature.
fn screen_envelope(
    session: SessionId,
    participant: Option<ParticipantId>,
    envelope: Box<SealedEnvelope>,
    due: Due,
    keys: &BTreeMap<ParticipantId, PublicKey>,
) -> Screened {
    let sender = ParticipantId::new(envelope.header.participant);
    let reject = match participant {
        None => Reject::NotLoggedOn,
        Some(participant) if participant != sender => Reject::NotThisParticipant,
        Some(_) => match keys.get(&sender) {
            None => Reject::UnknownParticipant,
            Some(key) => {
                return Screened::Envelope(Signed {
                    session,
                    envelope,
                    key: *key,
                    due,
                });
            }
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
