//! A committee as the engine wants it: participants in the order of their keys, leaders in the order of rank.

use super::{Digest, PeerKey, Scheme, wire::hash};
use crate::{
    ballot::{BallotKeys, Namespace, Proposal, Round, SIGNATURE_SIZE},
    error::Error,
    evidence::{Evidence, NO_PROPOSAL, Offence, Signed},
    proof::FinalityProof,
    seam::{Role, Seating},
};
use commonware_codec::{Copying, DecodeExt, Encode, ReadExt};
use commonware_consensus::{
    simplex::{
        elector::{Config, Elector, Scheduled, Terms},
        types::{Activity, Attributable, Finalization, Finalize, Notarize, Nullify},
    },
    types::{Epoch, Participant, TermLength, ViewDelta},
};
use commonware_cryptography::{
    bls12381::primitives::{
        group::Private,
        variant::{MinSig, Variant},
    },
    certificate::{Provider, Scoped},
};
use commonware_utils::{
    TryCollect,
    ordered::{BiMap, Set},
};
use core::time::Duration;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use wattbook_types::{committee::Committee, schedule::Schedule};

/// One epoch's committee.
pub(super) struct Seats {
    pub(super) committee: Committee,
    pub(super) keys: BallotKeys,
    pub(super) role: Role,
    pub(super) scheme: Arc<Scheme>,
    /// Peer keys, in rank order.
    pub(super) peers: Vec<PeerKey>,
    /// The rank of each of the engine's participants.
    ranks: Vec<usize>,
}

impl Seats {
    /// Seats a committee; without `may_vote` this node only watches.
    pub(super) fn new(seating: Seating, namespace: &Namespace, may_vote: bool) -> Result<Self, Error> {
        let Seating { committee, ballot } = seating;
        let keys = BallotKeys::of(&committee)?;
        let seats = committee.seats();
        let peer = |rank: usize| -> Result<PeerKey, Error> {
            PeerKey::decode(Copying(&seats[rank].peer_key[..])).map_err(|_| Error::Key { rank })
        };
        let peers = (0..seats.len()).map(peer).collect::<Result<Vec<_>, _>>()?;
        let public = |rank: usize| -> Result<<MinSig as Variant>::Public, Error> {
            <MinSig as Variant>::Public::decode(Copying(&seats[rank].ballot_key[..])).map_err(|_| Error::Key { rank })
        };
        let publics = (0..seats.len()).map(public).collect::<Result<Vec<_>, _>>()?;
        let participants: BiMap<PeerKey, <MinSig as Variant>::Public> = peers
            .iter()
            .cloned()
            .zip(publics)
            .try_collect()
            .map_err(|_| Error::Seats {
                got: seats.len(),
                expected: seats.len() - 1,
            })?;
        let rank_of = |key: &PeerKey| peers.iter().position(|peer| peer == key).unwrap_or_default();
        let ranks = participants.keys().iter().map(rank_of).collect();
        let rank = ballot.as_ref().and_then(|key| {
            let public = key.public();
            seats.iter().position(|seat| seat.ballot_key == public)
        });
        let role = match rank {
            Some(rank) if may_vote => Role::Delegate { rank },
            Some(_) => Role::Barred,
            None => Role::Observer,
        };
        let scheme = match (role, ballot) {
            (Role::Delegate { .. }, Some(key)) => {
                let secret = Private::decode(Copying(&key.to_bytes()[..])).map_err(|_| Error::Secret)?;
                Scheme::signer(namespace.as_bytes(), participants, secret).ok_or(Error::Secret)?
            }
            _ => Scheme::verifier(namespace.as_bytes(), participants),
        };
        Ok(Self {
            committee,
            keys,
            role,
            scheme: Arc::new(scheme),
            peers,
            ranks,
        })
    }

    /// A certificate of this committee, as ours.
    pub(super) fn proof(&self, certificate: &Finalization<Scheme, Digest>) -> Option<FinalityProof> {
        let signers = certificate
            .certificate
            .signers
            .iter()
            .map(|signer| self.ranks.get(usize::from(signer)).copied())
            .try_fold(0, |signers, rank| rank.map(|rank| signers | 1 << rank))?;
        Some(FinalityProof {
            seats: u16::try_from(self.ranks.len()).ok()?,
            round: Round {
                epoch: certificate.proposal.round.epoch().get(),
                view: certificate.proposal.round.view().get(),
            },
            proposal: proposal(&certificate.proposal),
            signers,
            signature: signature(&certificate.certificate.signature)?,
        })
    }

    /// An offence that the engine noticed, as evidence that holds on its own; the engine reports what it did not check.
    pub(super) fn evidence(
        &self,
        activity: &Activity<Scheme, Digest>,
        namespace: &Namespace,
    ) -> Option<(u64, Evidence)> {
        let (offence, signer, round, mut votes) = match activity {
            Activity::ConflictingNotarize(both) => {
                let bytes = both.encode();
                let mut bytes = Copying(&bytes[..]);
                let votes = [0; 2].map(|_| Notarize::<Scheme, Digest>::read(&mut bytes).ok());
                let [Some(one), Some(two)] = votes else { return None };
                let votes = [&one, &two].map(|vote| signed(proposal(&vote.proposal), &vote.attestation.signature));
                (Offence::TwoNotarized, both.signer(), one.proposal.round, votes)
            }
            Activity::ConflictingFinalize(both) => {
                let bytes = both.encode();
                let mut bytes = Copying(&bytes[..]);
                let votes = [0; 2].map(|_| Finalize::<Scheme, Digest>::read(&mut bytes).ok());
                let [Some(one), Some(two)] = votes else { return None };
                let votes = [&one, &two].map(|vote| signed(proposal(&vote.proposal), &vote.attestation.signature));
                (Offence::TwoFinalized, both.signer(), one.proposal.round, votes)
            }
            Activity::NullifyFinalize(both) => {
                let bytes = both.encode();
                let mut bytes = Copying(&bytes[..]);
                let given_up = Nullify::<Scheme>::read(&mut bytes).ok()?;
                let finalized = Finalize::<Scheme, Digest>::read(&mut bytes).ok()?;
                let votes = [
                    signed(NO_PROPOSAL, &given_up.attestation.signature),
                    signed(proposal(&finalized.proposal), &finalized.attestation.signature),
                ];
                (Offence::NullifiedAndFinalized, both.signer(), given_up.round, votes)
            }
            _ => return None,
        };
        if offence != Offence::NullifiedAndFinalized {
            votes.sort();
        }
        let [Some(first), Some(second)] = votes else {
            return None;
        };
        let rank = *self.ranks.get(usize::from(signer))?;
        let evidence = Evidence {
            offence,
            rank: u8::try_from(rank).ok()?,
            round: Round {
                epoch: round.epoch().get(),
                view: round.view().get(),
            },
            votes: [first, second],
        };
        evidence.verify(&self.keys, namespace).ok()?;
        Some((evidence.round.epoch, evidence))
    }

    /// Who leads: the committee in rank order, a term each.
    pub(super) fn leaders(&self, schedule: &Schedule, stall: Duration) -> Leaders {
        let terms = Terms::stable(TermLength::new(schedule.term_views), stall, ViewDelta::zero());
        Leaders {
            schedule: *schedule,
            by_rank: self.peers.clone(),
            terms,
        }
    }
}

/// A proposal, as ours.
fn proposal(proposal: &commonware_consensus::simplex::types::Proposal<Digest>) -> Proposal {
    Proposal {
        parent_view: proposal.parent.get(),
        digest: hash(&proposal.payload),
    }
}

/// A vote, as ours.
fn signed(proposal: Proposal, bytes: &impl Encode) -> Option<Signed> {
    Some(Signed {
        proposal,
        signature: signature(bytes)?,
    })
}

/// The 48 bytes of a signature.
fn signature(signature: &impl Encode) -> Option<[u8; SIGNATURE_SIZE]> {
    signature.encode()[..].try_into().ok()
}

/// The leader rule, before the engine gives its participants their order.
#[derive(Clone)]
pub(super) struct Leaders {
    schedule: Schedule,
    by_rank: Vec<PeerKey>,
    terms: Terms,
}

impl Config<Scheme> for Leaders {
    type Elector = LeastCarbon;

    fn build(self, participants: &Set<PeerKey>) -> LeastCarbon {
        let place = |key: &PeerKey| participants.position(key).map(Participant::from_usize);
        // The participants are the committee's own peers, so each has its place.
        let by_rank: Vec<_> = self.by_rank.iter().filter_map(place).collect();
        assert_eq!(by_rank.len(), participants.len(), "every seat is a participant");
        LeastCarbon {
            schedule: self.schedule,
            by_rank,
            terms: self.terms,
        }
    }
}

/// The leader rule: the least-carbon delegate first, the next takes over.
#[derive(Clone)]
pub(super) struct LeastCarbon {
    schedule: Schedule,
    by_rank: Vec<Participant>,
    terms: Terms,
}

impl Elector<Scheme> for LeastCarbon {
    type Mode = Scheduled;

    fn terms(&self) -> Terms {
        self.terms
    }

    fn elect(&self, round: commonware_consensus::types::Round, (): ()) -> Participant {
        self.by_rank[self.schedule.leader_of(round.view().get(), self.by_rank.len())]
    }
}

/// The committees known so far, by epoch.
#[derive(Clone, Default)]
pub(super) struct Committees(Arc<Mutex<BTreeMap<u64, Arc<Seats>>>>);

impl Committees {
    fn map(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Seats>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, epoch: u64, seats: Arc<Seats>) {
        self.map().insert(epoch, seats);
    }

    /// Peers of the newest committee.
    pub(super) fn latest(&self) -> Vec<PeerKey> {
        self.map()
            .last_key_value()
            .map(|(_, seats)| seats.peers.clone())
            .unwrap_or_default()
    }

    pub(super) fn get(&self, epoch: u64) -> Option<Arc<Seats>> {
        self.map().get(&epoch).cloned()
    }
}

impl Provider for Committees {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        self.get(epoch.get()).map(|seats| Scoped::scheme(seats.scheme.clone()))
    }
}
