//! Delegated proof of stake, obviously: lists searched from the front, views walked one by one, seats filled by looking
//! for the best that is left. It shares no code with the core but the vocabulary.

use wattbook_types::committee::Status;
use wattbook_types::delegate::{DelegateKeys, Evidence, Offence, Turn, Vote};
use wattbook_types::{ChainId, Hash, Param, Params, ParticipantId, Reject, TimeNs, digest};

/// An account as elections see it.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: ParticipantId,
    pub(crate) is_delegate: bool,
    pub(crate) group: Hash,
    pub(crate) not_after: TimeNs,
    pub(crate) suspended: bool,
    pub(crate) emission: Option<(u32, u64)>,
    pub(crate) vote: Option<ParticipantId>,
    pub(crate) keys: Option<DelegateKeys>,
    pub(crate) forfeited: bool,
    pub(crate) lost: u32,
    pub(crate) silent: u32,
    pub(crate) invalid: u32,
    pub(crate) out_until: u64,
    /// Nano-points minted for its work.
    pub(crate) earned: i128,
}

/// A seat: who, keys, emission, stake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chair {
    pub(crate) id: ParticipantId,
    pub(crate) keys: DelegateKeys,
    pub(crate) emission: u64,
    pub(crate) stake: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) chain: ChainId,
    pub(crate) params: Params,
    pub(crate) genesis_time: TimeNs,
    pub(crate) time: TimeNs,
    pub(crate) people: Vec<Person>,
    pub(crate) epoch: u64,
    pub(crate) height: u64,
    pub(crate) chairs: Vec<Chair>,
    pub(crate) standbys: Vec<ParticipantId>,
    /// Views with a block in this epoch, with who packed it.
    pub(crate) blocks: Vec<(u64, usize)>,
    /// Ranks of the terms lost in this epoch, one entry per term.
    pub(crate) lost_terms: Vec<usize>,
    /// Every committee there was, by epoch.
    pub(crate) sat: Vec<Vec<ParticipantId>>,
    pub(crate) judged: Vec<(u64, u64, u32, Offence)>,
    /// Mints for work: when in mint epochs, packing or not, how much.
    pub(crate) mints: Vec<(u64, bool, i128)>,
    pub(crate) kept: u64,
}

impl Model {
    fn number(&self, param: Param) -> u64 {
        self.params.get(param) as u64
    }

    pub(crate) fn person(&self, id: ParticipantId) -> Option<&Person> {
        self.people.iter().find(|person| person.id == id)
    }

    fn person_mut(&mut self, id: ParticipantId) -> &mut Person {
        self.people.iter_mut().find(|person| person.id == id).unwrap()
    }

    pub(crate) fn status(&self, id: ParticipantId) -> Status {
        let Some(p) = self.person(id) else {
            return Status::Normal;
        };
        let abnormal = p.forfeited
            || u64::from(p.lost) >= self.number(Param::SuspendTerms)
            || u64::from(p.silent) >= self.number(Param::SilentTerms)
            || u64::from(p.invalid) >= self.number(Param::InvalidBlocks);
        match (abnormal, u64::from(p.lost) >= self.number(Param::SuspectTerms)) {
            (true, _) => Status::Abnormal,
            (false, true) => Status::Suspect,
            (false, false) => Status::Normal,
        }
    }

    pub(crate) fn stake(&self, person: &Person) -> u64 {
        match person.emission {
            None => 0,
            Some((_, 0)) => self.number(Param::StakeScale),
            Some((_, grams)) => self.number(Param::StakeScale) / grams,
        }
    }

    pub(crate) fn emission(&mut self, of: ParticipantId, period: u32, grams: u64) -> Result<(), Reject> {
        if self.person(of).is_none() {
            return Err(Reject::UnknownParticipant);
        }
        let now = self.time.get() / 900_000_000_000;
        let person = self.person_mut(of);
        if u64::from(period) > now || person.emission.is_some_and(|(last, _)| last > period) {
            return Err(Reject::StaleEmission);
        }
        person.emission = Some((period, grams));
        Ok(())
    }

    pub(crate) fn vote(&mut self, who: ParticipantId, vote: &Vote) -> Result<(), Reject> {
        if vote.epoch != self.epoch + 1 {
            return Err(Reject::WrongEpoch);
        }
        if let Some(candidate) = vote.candidate
            && self.person(candidate).is_none_or(|person| person.keys.is_none())
        {
            return Err(Reject::UnknownCandidate);
        }
        if self.person(who).unwrap().forfeited {
            return Err(Reject::StakeForfeited);
        }
        self.person_mut(who).vote = vote.candidate;
        Ok(())
    }

    /// `taken`: a ballot key is some account's key.
    pub(crate) fn stand(
        &mut self,
        who: ParticipantId,
        keys: Option<DelegateKeys>,
        taken: impl Fn(&[u8; 96]) -> bool,
    ) -> Result<(), Reject> {
        if !self.person(who).unwrap().is_delegate {
            return Err(Reject::RoleMissing);
        }
        if let Some(keys) = keys {
            let mut held: Vec<(ParticipantId, DelegateKeys)> = Vec::new();
            held.extend(self.people.iter().filter_map(|person| Some((person.id, person.keys?))));
            held.extend(self.chairs.iter().map(|chair| (chair.id, chair.keys)));
            let of_another = held.iter().any(|(id, other)| {
                *id != who && (other.peer_key == keys.peer_key || other.ballot_key == keys.ballot_key)
            });
            if of_another || taken(&keys.ballot_key) {
                return Err(Reject::KeyTaken);
            }
        } else if self.person(who).unwrap().keys.is_none() {
            return Err(Reject::UnknownCandidate);
        }
        if self.person(who).unwrap().forfeited {
            return Err(Reject::StakeForfeited);
        }
        self.person_mut(who).keys = keys;
        Ok(())
    }

    pub(crate) fn evidence(&mut self, evidence: &Evidence) -> Result<(), Reject> {
        if evidence.chain != self.chain {
            return Err(Reject::OtherChain);
        }
        if evidence.epoch > self.epoch || self.epoch - evidence.epoch > self.number(Param::EvidenceEpochs) {
            return Err(Reject::EvidenceOutOfTime);
        }
        let committee = &self.sat[evidence.epoch as usize];
        if committee.get(evidence.rank as usize) != Some(&evidence.offender) {
            return Err(Reject::NotSeated);
        }
        let entry = (evidence.epoch, evidence.view, evidence.rank, evidence.offence);
        if self.judged.contains(&entry) || self.person(evidence.offender).unwrap().forfeited {
            return Err(Reject::AlreadyJudged);
        }
        self.judged.push(entry);
        let person = self.person_mut(evidence.offender);
        match evidence.offence {
            Offence::Equivocation => (person.forfeited, person.keys) = (true, None),
            Offence::InvalidBlock => person.invalid += 1,
        }
        Ok(())
    }

    /// Who leads a view.
    pub(crate) fn leader(&self, view: u64) -> usize {
        let mut rank = 0;
        for other in 2..=view {
            if (other - 1).is_multiple_of(self.number(Param::TermViews)) {
                rank = (rank + 1) % self.chairs.len();
            }
        }
        rank
    }

    pub(crate) fn last_view(&self) -> u64 {
        self.blocks.last().map_or(0, |(view, _)| *view)
    }

    pub(crate) fn missed(&self) -> Vec<u32> {
        let count = |rank| self.lost_terms.iter().filter(|lost| **lost == rank).count() as u32;
        (0..self.chairs.len()).map(count).collect()
    }

    fn mint(&mut self, id: ParticipantId, packing: bool, wanted: i128) {
        let length = i128::from(self.params.get(Param::EpochCycles)) * 900_000_000_000;
        let mint_epoch = (i128::from(self.time.get() - self.genesis_time.get()) / length) as u64;
        let so_far: i128 = (self.mints.iter())
            .filter(|(epoch, kind, _)| (*epoch, *kind) == (mint_epoch, packing))
            .map(|(.., amount)| amount)
            .sum();
        let cap = if packing {
            Param::PackingMintCap
        } else {
            Param::VerifyingMintCap
        };
        let amount = wanted.min((i128::from(self.params.get(cap)) - so_far).max(0));
        self.mints.push((mint_epoch, packing, amount));
        self.person_mut(id).earned += amount;
    }

    /// A block's end: its `dpos_hash`, and the next committee at an epoch's last block.
    pub(crate) fn turn(&mut self, turn: &Turn, carries: bool) -> (Hash, Hash) {
        let length = self.number(Param::TermViews);
        // Every view from the last block's on: where one ends its term and has no block, that term is lost, but not the
        // term of the last block if it had been served out, nor the term of this block.
        let last = self.last_view();
        for view in last + 1..turn.view {
            if view.is_multiple_of(length) {
                let rank = self.leader(view);
                self.lost_terms.push(rank);
                let id = self.chairs[rank].id;
                let person = self.person_mut(id);
                (person.lost, person.silent) = (person.lost + 1, person.silent + 1);
            }
        }
        let leader = self.leader(turn.view);
        let producer = self.chairs[leader].id;
        self.person_mut(producer).silent = 0;
        self.blocks.push((turn.view, leader));
        self.height = turn.height;
        if carries {
            self.mint(producer, true, self.params.get(Param::PackingMint).into());
        }
        let mut body = self.epoch.to_le_bytes().to_vec();
        body.extend((self.chairs.len() as u64).to_le_bytes());
        for (chair, missed) in self.chairs.iter().zip(self.missed()) {
            body.extend(chair.id.get().to_le_bytes());
            body.extend(missed.to_le_bytes());
            body.extend((self.status(chair.id) as u32).to_le_bytes());
        }
        let dpos_hash = digest(self.chain, "dpos", &[&body]);
        if !turn.height.is_multiple_of(self.number(Param::EpochBlocks)) {
            return (dpos_hash, Hash::ZERO);
        }
        self.judge();
        self.elect();
        let mut body = self.epoch.to_le_bytes().to_vec();
        for chair in &self.chairs {
            body.extend(chair.id.get().to_le_bytes());
            body.extend(chair.keys.peer_key);
            body.extend(chair.keys.ballot_key);
        }
        (dpos_hash, digest(self.chain, "committee", &[&body]))
    }

    fn judge(&mut self) {
        let until = self.epoch + 1 + self.number(Param::ExclusionEpochs);
        for (rank, missed) in self.missed().into_iter().enumerate() {
            let id = self.chairs[rank].id;
            let person = self.person(id).unwrap();
            let evicted = u64::from(person.silent) >= self.number(Param::SilentTerms)
                || u64::from(person.invalid) >= self.number(Param::InvalidBlocks);
            if person.forfeited {
                continue;
            }
            if self.status(id) == Status::Abnormal {
                let person = self.person_mut(id);
                (person.lost, person.silent, person.invalid, person.out_until) = (0, 0, 0, until);
                if evicted {
                    person.keys = None;
                }
            } else if missed == 0 {
                let person = self.person_mut(id);
                person.lost = person.lost.max(1) - 1;
                person.silent = person.silent.max(1) - 1;
                let others = self.blocks.iter().filter(|(_, packer)| *packer != rank).count();
                self.mint(
                    id,
                    false,
                    others as i128 * i128::from(self.params.get(Param::VerifyingMint)),
                );
            }
        }
    }

    fn admitted(&self, person: &Person) -> bool {
        !person.suspended && self.time <= person.not_after
    }

    fn one(a: &Person, b: &Person) -> bool {
        a.id == b.id || (a.group != Hash::ZERO && a.group == b.group)
    }

    /// Votes of a candidate among `runners`.
    pub(crate) fn votes(&self, candidate: ParticipantId, runners: &[ParticipantId]) -> u128 {
        let counts = |person: &&Person| {
            self.admitted(person) && !person.forfeited && person.vote.is_some_and(|id| runners.contains(&id))
        };
        let voters: Vec<&Person> = self.people.iter().filter(counts).collect();
        let sum = |of: Vec<&&Person>| of.iter().map(|person| u128::from(self.stake(person))).sum::<u128>();
        let cap = sum(voters.iter().collect()) * u128::from(self.number(Param::StakeShare)) / 1_000_000;
        let of_voter = |voter: &Person| {
            let stake = u128::from(self.stake(voter));
            let group = sum(voters.iter().filter(|other| Self::one(voter, other)).collect());
            if group > cap { stake * cap / group } else { stake }
        };
        let for_it = voters.iter().filter(|voter| voter.vote == Some(candidate));
        for_it.map(|voter| of_voter(voter)).sum()
    }

    /// Takes the best of `from` one by one, none of a group that has been taken.
    fn best(&self, mut from: Vec<Chair>, runners: &[ParticipantId], seats: usize, taken: &mut Vec<Chair>) {
        while taken.len() < seats {
            let fits = |chair: &Chair| {
                let person = self.person(chair.id).unwrap();
                !taken
                    .iter()
                    .any(|other| Self::one(person, self.person(other.id).unwrap()))
            };
            from.retain(fits);
            let score = |chair: &Chair| {
                let votes = self.votes(chair.id, runners);
                (
                    u128::MAX - votes,
                    chair.emission,
                    u64::MAX - chair.stake,
                    chair.keys.peer_key,
                )
            };
            let Some(best) = from.iter().min_by_key(|chair| score(chair)) else {
                return;
            };
            taken.push(*best);
        }
    }

    fn elect(&mut self) {
        self.epoch += 1;
        let runs = |person: &&Person| person.keys.is_some() && person.emission.is_some() && self.admitted(person);
        let chair = |person: &Person| Chair {
            id: person.id,
            keys: person.keys.unwrap(),
            emission: person.emission.unwrap().1,
            stake: self.stake(person),
        };
        let all: Vec<&Person> = self.people.iter().filter(runs).collect();
        let ready = |person: &&&Person| person.out_until <= self.epoch;
        let fit: Vec<Chair> = all.iter().filter(ready).map(|person| chair(person)).collect();
        let rest: Vec<Chair> = all.iter().filter(|p| !ready(p)).map(|person| chair(person)).collect();
        let ids = |chairs: &[Chair]| chairs.iter().map(|chair| chair.id).collect::<Vec<_>>();
        let seats = self.params.get(Param::Seats) as usize;

        let (mut taken, mut next) = (Vec::new(), Vec::new());
        let fit_ids = ids(&fit);
        self.best(fit.clone(), &fit_ids, seats, &mut taken);
        if taken.len() >= 4 {
            let mut with_standbys = taken.clone();
            self.best(fit, &fit_ids, 2 * seats, &mut with_standbys);
            next = ids(&with_standbys[taken.len()..]);
        } else {
            taken.clear();
            let every = [ids(&fit), ids(&rest)].concat();
            self.best(fit.clone(), &every, 4, &mut taken);
            self.best(rest.clone(), &every, 4, &mut taken);
            if taken.len() >= 4 {
                let mut with_standbys = taken.clone();
                self.best(fit, &every, 8, &mut with_standbys);
                self.best(rest, &every, 8, &mut with_standbys);
                next = ids(&with_standbys[taken.len()..]);
            }
        }
        if taken.len() >= 4 {
            taken.sort_by_key(|chair| (chair.emission, u64::MAX - chair.stake, chair.keys.peer_key));
            self.chairs = taken;
        } else {
            self.kept += 1;
        }
        self.standbys = next;
        self.sat.push(self.chairs.iter().map(|chair| chair.id).collect());
        (self.blocks, self.lost_terms) = (Vec::new(), Vec::new());
    }
}
