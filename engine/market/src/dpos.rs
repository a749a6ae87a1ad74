//! Delegated proof of stake: who stands, who votes with what stake, who sits, who has failed (MARKET 8, PROTOCOL 7).
//!
//! # Contract
//! Votes, candidacies and emissions are items of envelopes, evidence a command; all of it takes effect at the tally of
//! the epoch's last block (`turn`), except that a conviction is recorded at once. Nothing here reads a signature:
//! proofs of possession and ballots have been checked before.
//!
//! # Invariants
//! * A chain on which none of it has happened has no page of it: its roots are those of a node that runs alone.
//! * The tally (`tally`) is a function of the state at the epoch's last block, whatever the order it came about in.
//! * A committee never changes within its epoch.

mod conduct;
pub(crate) mod page;
pub(crate) mod tally;
mod turn;

pub use turn::{BadTurn, BlockEnd};

use crate::accounts::{AccountIndex, Party};
use crate::market::{Genesis, Market, Refusal};
use crate::page::Marks;
use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::committee::{Committee, SEATS_MIN, Seat, Status};
use wattbook_types::delegate::{Candidacy, DelegateKeys, EmissionStatement, Evidence, Exclusion, Offence, Vote};
use wattbook_types::ids::PERIOD_S;
use wattbook_types::units::NS_PER_S;
use wattbook_types::{DelegateEvent, Event, Param, Params, ParticipantId, Reject, Roles};

/// "For ever" as an epoch.
pub(crate) const NEVER: u64 = u64::MAX;

/// What an account says and counts for in elections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Elector {
    /// Period and grams of its last stated emission.
    pub emission: Option<(u32, u64)>,
    /// Whom it votes for.
    pub vote: Option<ParticipantId>,
}

impl Elector {
    /// Its stake: `stake_scale` div the grams stated, at least one; none while nothing is stated.
    pub fn stake(&self, params: &Params) -> u64 {
        let scale = params.get(Param::StakeScale) as u64;
        self.emission.map_or(0, |(_, grams)| scale / grams.max(1))
    }
}

/// A delegate that stands, has stood or sits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Candidate {
    /// The keys it stands with; `None`: it does not stand.
    pub keys: Option<DelegateKeys>,
    /// Terms lost that still count.
    pub lost: u32,
    /// Terms lost since it last packed a block, that still count.
    pub silent: u32,
    /// Invalid blocks that still count.
    pub invalid: u32,
    /// First epoch it may sit in.
    pub out_until: u64,
    /// Its stake is forfeited.
    pub forfeited: bool,
}

impl Candidate {
    /// Its flag, outside an election.
    pub const fn status(&self, params: &Params) -> Status {
        if self.failure(params).is_some() {
            Status::Abnormal
        } else if self.lost as i64 >= params.get(Param::SuspectTerms) {
            Status::Suspect
        } else {
            Status::Normal
        }
    }

    /// For what it loses its seat at the epoch's end.
    pub(crate) const fn failure(&self, params: &Params) -> Option<Exclusion> {
        if self.forfeited {
            Some(Exclusion::Tombstoned)
        } else if self.silent as i64 >= params.get(Param::SilentTerms)
            || self.invalid as i64 >= params.get(Param::InvalidBlocks)
        {
            Some(Exclusion::Evicted)
        } else if self.lost as i64 >= params.get(Param::SuspendTerms) {
            Some(Exclusion::Suspended)
        } else {
            None
        }
    }
}

/// The committee under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sitting {
    /// Who sits.
    pub committee: Committee,
    /// View of the epoch's last block so far; 0 before its first.
    pub view: u64,
    /// Terms lost in this epoch, by rank.
    pub missed: Vec<u32>,
    /// Blocks packed in this epoch, by rank.
    pub packed: Vec<u64>,
    /// Who sits next, in this order.
    pub standbys: Vec<ParticipantId>,
}

impl Sitting {
    fn new(committee: Committee, standbys: Vec<ParticipantId>) -> Self {
        let seats = committee.seats().len();
        Self {
            committee,
            view: 0,
            missed: vec![0; seats],
            packed: vec![0; seats],
            standbys,
        }
    }
}

/// Who had a seat, and the keys it had it with.
pub(crate) type Sat = (ParticipantId, DelegateKeys);

/// An offence on record: epoch, view, rank, what.
pub(crate) type Recorded = (u64, u64, u32, Offence);

/// Everything the state knows of delegates.
#[derive(Clone, Debug, Default)]
pub struct Dpos {
    /// By account, up to the last one that has anything.
    pub(crate) electors: Vec<Elector>,
    /// Pages of electors that changed.
    pub(crate) changed: Marks,
    pub(crate) candidates: BTreeMap<ParticipantId, Candidate>,
    pub(crate) sitting: Option<Sitting>,
    /// Committees that still answer for their ballots and receipts, by epoch: who sat, and with which keys.
    pub(crate) past: BTreeMap<u64, Vec<Sat>>,
    pub(crate) offences: BTreeSet<Recorded>,
    /// Whether candidates, seats, past committees or offences changed since the last root.
    pub(crate) seats_changed: bool,
}

impl Dpos {
    /// What an account says in elections.
    pub fn elector(&self, at: AccountIndex) -> Elector {
        self.electors.get(at.slot()).copied().unwrap_or_default()
    }

    /// A delegate that stands, has stood or sits.
    pub fn candidate(&self, id: ParticipantId) -> Option<&Candidate> {
        self.candidates.get(&id)
    }

    /// The committee under way; `None` on a node that runs alone.
    pub const fn sitting(&self) -> Option<&Sitting> {
        self.sitting.as_ref()
    }

    /// The epoch under way.
    pub fn epoch(&self) -> u64 {
        self.sitting.as_ref().map_or(0, |sitting| sitting.committee.epoch())
    }

    fn elector_mut(&mut self, at: AccountIndex) -> &mut Elector {
        let slot = at.slot();
        if slot >= self.electors.len() {
            let from = self.electors.len();
            self.electors.resize(slot + 1, Elector::default());
            self.changed.mark_rows(from, slot);
        }
        self.changed.mark_row(slot);
        &mut self.electors[slot]
    }

    fn candidate_mut(&mut self, id: ParticipantId) -> &mut Candidate {
        self.seats_changed = true;
        self.candidates.entry(id).or_default()
    }

    fn is_forfeited(&self, id: ParticipantId) -> bool {
        self.candidates.get(&id).is_some_and(|candidate| candidate.forfeited)
    }

    /// Whether somebody but `id` stands or sits with one of these keys.
    fn has_keys_of_others(&self, id: ParticipantId, keys: &DelegateKeys) -> bool {
        let same = |peer: &[u8; 32], ballot: &[u8; 96]| *peer == keys.peer_key || *ballot == keys.ballot_key;
        let stand = |(other, candidate): (&ParticipantId, &Candidate)| {
            *other != id && (candidate.keys).is_some_and(|held| same(&held.peer_key, &held.ballot_key))
        };
        let sit = |seat: &Seat| seat.participant != id && same(&seat.peer_key, &seat.ballot_key);
        let seats = self.sitting.iter().flat_map(|sitting| sitting.committee.seats());
        self.candidates.iter().any(stand) || seats.into_iter().any(sit)
    }

    /// Whether somebody stands or sits with this ballot key.
    pub(crate) fn has_ballot_key(&self, key: &[u8; 96]) -> bool {
        let seats = self.sitting.iter().flat_map(|sitting| sitting.committee.seats());
        let mut stand = self.candidates.values().filter_map(|candidate| candidate.keys);
        stand.any(|keys| keys.ballot_key == *key) || seats.into_iter().any(|seat| seat.ballot_key == *key)
    }
}

impl Market {
    /// The market at genesis with committee 0, in rank order.
    ///
    /// # Errors
    /// As [`Market::new`]; `BadCount` with fewer than four seats or too many, `UnknownParticipant`, `RoleMissing` or
    /// `KeyTaken` for a seat that cannot be, `BadRoles` where a group or an account sits twice.
    pub fn with_committee(genesis: Genesis, seats: &[(ParticipantId, DelegateKeys)]) -> Result<Self, Reject> {
        let mut market = Self::new(genesis)?;
        if seats.len() < SEATS_MIN {
            return Err(Reject::BadCount);
        }
        let mut dpos = Dpos::default();
        let mut places = Vec::new();
        for (id, keys) in seats {
            let accounts = &market.state.accounts;
            let at = accounts.index(*id).ok_or(Reject::UnknownParticipant)?;
            if !accounts.at(at).roles.contains(Roles::DELEGATE) {
                return Err(Reject::RoleMissing);
            }
            if places.iter().any(|other| accounts.same_group(*other, at)) {
                return Err(Reject::BadRoles);
            }
            if market.state.keys.contains(&keys.ballot_key) || dpos.has_keys_of_others(*id, keys) {
                return Err(Reject::KeyTaken);
            }
            places.push(at);
            dpos.candidate_mut(*id).keys = Some(*keys);
        }
        let seats = seats.iter().map(|(id, keys)| Seat {
            participant: *id,
            peer_key: keys.peer_key,
            ballot_key: keys.ballot_key,
            emission: 0,
            stake: 0,
        });
        let committee = Committee::new(0, seats.collect()).ok_or(Reject::BadCount)?;
        dpos.sitting = Some(Sitting::new(committee, Vec::new()));
        market.state.dpos = Some(Box::new(dpos));
        Ok(market)
    }

    fn dpos_mut(&mut self) -> &mut Dpos {
        self.state.dpos.get_or_insert_default()
    }

    fn is_forfeited(&self, id: ParticipantId) -> bool {
        self.state.dpos.as_ref().is_some_and(|dpos| dpos.is_forfeited(id))
    }

    pub(crate) fn vote(&mut self, who: Party, vote: &Vote) -> Result<(), Reject> {
        let dpos = self.state.dpos.as_deref();
        if dpos.map_or(0, Dpos::epoch).checked_add(1) != Some(vote.epoch) {
            return Err(Reject::WrongEpoch);
        }
        let stands = |id| {
            dpos.and_then(|dpos| dpos.candidate(id))
                .is_some_and(|candidate| candidate.keys.is_some())
        };
        if vote.candidate.is_some_and(|id| !stands(id)) {
            return Err(Reject::UnknownCandidate);
        }
        if self.is_forfeited(who.id) {
            return Err(Reject::StakeForfeited);
        }
        let before = dpos.map_or_else(Elector::default, |dpos| dpos.elector(who.at));
        if before.vote != vote.candidate {
            self.dpos_mut().elector_mut(who.at).vote = vote.candidate;
        }
        self.tell(DelegateEvent::Voted {
            participant: who.id,
            vote: *vote,
        });
        Ok(())
    }

    pub(crate) fn state_emission(&mut self, who: Party, statement: &EmissionStatement) -> Result<(), Reject> {
        self.require(who, Roles::REGULATOR)?;
        let of = (self.state.accounts)
            .index(statement.participant)
            .ok_or(Reject::UnknownParticipant)?;
        let dpos = self.state.dpos.as_deref();
        let last = dpos.and_then(|dpos| dpos.elector(of).emission);
        let has_begun = u64::from(statement.period) <= self.state.time.get() / (PERIOD_S * NS_PER_S);
        if !has_begun || last.is_some_and(|(period, _)| statement.period < period) {
            return Err(Reject::StaleEmission);
        }
        self.dpos_mut().elector_mut(of).emission = Some((statement.period, statement.grams));
        self.tell(DelegateEvent::EmissionStated(*statement));
        Ok(())
    }

    pub(crate) fn stand(&mut self, who: Party, candidacy: &Candidacy) -> Result<(), Reject> {
        self.require(who, Roles::DELEGATE)?;
        let dpos = self.state.dpos.as_deref();
        if dpos.map_or(0, Dpos::epoch).checked_add(1) != Some(candidacy.epoch) {
            return Err(Reject::WrongEpoch);
        }
        if let Some(keys) = &candidacy.keys {
            let taken = self.state.keys.contains(&keys.ballot_key);
            if taken || dpos.is_some_and(|dpos| dpos.has_keys_of_others(who.id, keys)) {
                return Err(Reject::KeyTaken);
            }
        } else {
            let standing = dpos.and_then(|dpos| dpos.candidate(who.id));
            if standing.is_none_or(|candidate| candidate.keys.is_none()) {
                return Err(Reject::UnknownCandidate);
            }
        }
        if self.is_forfeited(who.id) {
            return Err(Reject::StakeForfeited);
        }
        self.dpos_mut().candidate_mut(who.id).keys = candidacy.keys;
        self.tell(DelegateEvent::Candidacy {
            participant: who.id,
            stands: candidacy.keys.is_some(),
        });
        Ok(())
    }

    /// Records a delegate's offence; what follows from it follows at the epoch's end, but a forfeited stake is gone now.
    pub(crate) fn convict(&mut self, evidence: &Evidence) -> Result<(), Refusal> {
        if evidence.chain != self.state.chain {
            return Err(Reject::OtherChain.into());
        }
        let kept = self.state.params.get(Param::EvidenceEpochs) as u64;
        let Some(dpos) = self.state.dpos.as_deref_mut().filter(|dpos| dpos.sitting.is_some()) else {
            return Err(Reject::NotSeated.into());
        };
        let age = dpos.epoch().checked_sub(evidence.epoch);
        if age.is_none_or(|age| age > kept) {
            return Err(Reject::EvidenceOutOfTime.into());
        }
        if dpos.sat(evidence.epoch, evidence.rank).map(|(who, _)| who) != Some(evidence.offender) {
            return Err(Reject::NotSeated.into());
        }
        let recorded = (evidence.epoch, evidence.view, evidence.rank, evidence.offence);
        let offender = evidence.offender;
        if dpos.offences.contains(&recorded) || dpos.is_forfeited(offender) {
            return Err(Reject::AlreadyJudged.into());
        }
        dpos.offences.insert(recorded);
        let params = &self.state.params;
        let candidate = dpos.candidate_mut(offender);
        let before = candidate.status(params);
        match evidence.offence {
            Offence::Equivocation => (candidate.forfeited, candidate.keys, candidate.out_until) = (true, None, NEVER),
            Offence::InvalidBlock => candidate.invalid = candidate.invalid.saturating_add(1),
        }
        let after = candidate.status(params);
        self.tell(DelegateEvent::Convicted {
            participant: offender,
            offence: evidence.offence,
            epoch: evidence.epoch,
            view: evidence.view,
        });
        if evidence.offence == Offence::Equivocation {
            self.tell(DelegateEvent::Excluded {
                participant: offender,
                exclusion: Exclusion::Tombstoned,
                until: NEVER,
            });
        }
        self.tell_flag(offender, before, after);
        Ok(())
    }

    fn tell(&mut self, event: DelegateEvent) {
        self.out.push(Event::Delegates(event));
    }

    fn tell_flag(&mut self, participant: ParticipantId, before: Status, after: Status) {
        if before != after {
            self.tell(DelegateEvent::Flagged {
                participant,
                status: after,
            });
        }
    }
}

/// The keys of a seat.
pub(crate) const fn keys_of(seat: &Seat) -> DelegateKeys {
    DelegateKeys {
        peer_key: seat.peer_key,
        ballot_key: seat.ballot_key,
    }
}

impl Dpos {
    /// Who had a rank in the committee of an epoch that still answers for it, and with which keys.
    fn sat(&self, epoch: u64, rank: u32) -> Option<Sat> {
        let rank = rank as usize;
        match &self.sitting {
            Some(sitting) if sitting.committee.epoch() == epoch => {
                let seat = sitting.committee.seats().get(rank)?;
                Some((seat.participant, keys_of(seat)))
            }
            _ => self.past.get(&epoch)?.get(rank).copied(),
        }
    }
}
