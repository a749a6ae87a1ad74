//! Delegated proof of stake against an obvious model of it: random votes, candidacies, emissions, evidence, suspensions and
//! turns, good and bad, over many epochs. Whatever the model says of seats, flags, pay and refusals, the core says; what
//! comes back from a replay or from pages goes on the same.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

#[path = "model/dpos.rs"]
mod model;

use model::{Chair, Model, Person};
use std::collections::BTreeMap;
use support::{Dice, Done, REGULATOR, Rig, TRADER, account, id, order_of, replay_on, verdicts};
use wattbook_market::{BadTurn, Market};
use wattbook_types::command::MarketAction;
use wattbook_types::delegate::{Candidacy, DelegateKeys, EmissionStatement, Evidence, Offence, Turn, Vote};
use wattbook_types::{
    ChainId, Command, DelegateEvent, Event, Hash, Item, Param, ParticipantId, Registration, Reject, TimeNs, sha256,
};

const DELEGATE: u32 = 64;

/// Keys nobody else has, by number.
fn keys(number: u64) -> DelegateKeys {
    let hash = sha256(&[&number.to_le_bytes()]).0;
    let mut ballot_key = [1; 96];
    ballot_key[64..].copy_from_slice(&hash);
    DelegateKeys {
        peer_key: hash,
        ballot_key,
    }
}

struct Storm {
    rig: Rig,
    model: Model,
    dice: Dice,
    account_keys: Vec<[u8; 96]>,
    next_keys: u64,
    carries: bool,
    told: BTreeMap<&'static str, u64>,
    refused: BTreeMap<Reject, u64>,
    bad_turns: u64,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let set = [
            (Param::Seats, 4 + dice.below(4) as i64),
            (Param::EpochBlocks, 1 + dice.below(8) as i64),
            (Param::TermViews, 1 + dice.below(6) as i64),
            (Param::StakeScale, dice.pick(&[1_000_000, 1_000, 1_000_000_000_000])),
            (Param::StakeShare, dice.pick(&[200_000, 200_000, 1_000_000, 50_000, 1])),
            (Param::SuspectTerms, 1 + dice.below(2) as i64),
            (Param::SuspendTerms, 2 + dice.below(4) as i64),
            (Param::SilentTerms, 1 + dice.below(4) as i64),
            (Param::InvalidBlocks, 1 + dice.below(2) as i64),
            (Param::ExclusionEpochs, dice.below(4) as i64),
            (Param::EvidenceEpochs, 1 + dice.below(4) as i64),
            (Param::EpochCycles, 1 + dice.below(3) as i64),
            (Param::PackingMintCap, dice.pick(&[1_000_000_000_000, 2_500_000, 0])),
            (Param::VerifyingMintCap, dice.pick(&[1_000_000_000_000, 1_234_567])),
        ];
        let rig = Rig::new(&set, 0);
        let time = rig.genesis.time;
        let group = |dice: &mut Dice| match dice.below(3) {
            0 => Hash([1 + dice.below(4) as u8; 32]),
            _ => Hash::ZERO,
        };
        let registration = |dice: &mut Dice, serial: u64, roles: u32| Registration {
            group: group(dice),
            not_after: match dice.below(6) {
                0 => time.plus_secs(dice.below(20_000) as i64),
                _ => TimeNs::new(u64::MAX),
            },
            ..account(serial, roles, 1_000)
        };
        let (delegates, voters) = (5 + dice.below(9), 1 + dice.below(8));
        let mut accounts: Vec<Registration> = (20..20 + delegates)
            .map(|serial| registration(&mut dice, serial, DELEGATE))
            .collect();
        let voters = (100..100 + voters).map(|serial| registration(&mut dice, serial, TRADER));
        accounts.extend(voters.collect::<Vec<_>>());
        // Committee 0: four or five whose groups differ.
        let mut seats: Vec<(ParticipantId, DelegateKeys)> = Vec::new();
        let sit = 4 + dice.below(2) as usize;
        for (n, account) in (0..).zip(&mut accounts[..sit]) {
            account.group = Hash([100 + n; 32]);
            seats.push((account.participant, keys(n.into())));
        }
        let rig = rig.with_committee(accounts, seats);
        let person = |registration: &Registration| Person {
            id: registration.participant,
            is_delegate: registration.roles.bits() & DELEGATE != 0,
            group: registration.group,
            not_after: registration.not_after,
            suspended: false,
            emission: None,
            vote: None,
            keys: (rig.seats.iter().find(|(id, _)| *id == registration.participant)).map(|(_, keys)| *keys),
            forfeited: false,
            lost: 0,
            silent: 0,
            invalid: 0,
            out_until: 0,
            earned: 0,
        };
        let chair = |(id, keys): &(ParticipantId, DelegateKeys)| Chair {
            id: *id,
            keys: *keys,
            emission: 0,
            stake: 0,
        };
        let model = Model {
            chain: rig.genesis.chain,
            params: rig.genesis.params.clone(),
            genesis_time: time,
            time,
            people: rig.genesis.accounts.iter().map(person).collect(),
            epoch: 0,
            height: 0,
            chairs: rig.seats.iter().map(chair).collect(),
            standbys: Vec::new(),
            blocks: Vec::new(),
            lost_terms: Vec::new(),
            sat: vec![rig.seats.iter().map(|(id, _)| *id).collect()],
            judged: Vec::new(),
            mints: Vec::new(),
            kept: 0,
        };
        let account_keys = rig.genesis.accounts.iter().map(|a| a.public_key).collect();
        Self {
            rig,
            model,
            dice,
            account_keys,
            next_keys: 1_000,
            carries: false,
            told: BTreeMap::new(),
            refused: BTreeMap::new(),
            bad_turns: 0,
        }
    }

    fn somebody(&mut self) -> ParticipantId {
        let from = 3 + self.dice.below(self.model.people.len() as u64 - 3) as usize;
        self.model.people[from].id
    }

    /// Sends an item whose verdict the model gives; whoever is shut out is refused whole.
    fn send(&mut self, who: ParticipantId, item: Item, expected: Result<(), Reject>) {
        let (_, events) = self.rig.send(who.get(), vec![item.clone()]);
        assert_eq!(verdicts(&events), [expected], "{who} sent {item:?}");
        if let Err(reject) = expected {
            *self.refused.entry(reject).or_default() += 1;
        }
        self.carries = true;
    }

    fn is_shut_out(&self, who: ParticipantId) -> bool {
        let person = self.model.person(who).unwrap();
        person.suspended || self.model.time > person.not_after
    }

    fn emission(&mut self) {
        let participant = if self.dice.once_in(15) {
            id(999)
        } else {
            self.somebody()
        };
        let now = (self.model.time.get() / 900_000_000_000) as u32;
        let statement = EmissionStatement {
            participant,
            period: (now + 1).saturating_sub(self.dice.below(3) as u32),
            grams: self.dice.pick(&[0, 1, 5, 7, 100, 100, 250, 999, 1_000_000, u64::MAX]),
        };
        let expected = self.model.emission(participant, statement.period, statement.grams);
        self.send(id(REGULATOR), Item::Emission(statement), expected);
    }

    fn vote(&mut self) {
        let (who, candidate) = (self.somebody(), self.somebody());
        if self.is_shut_out(who) {
            return;
        }
        let vote = Vote {
            epoch: self.model.epoch + 1 - u64::from(self.dice.once_in(15)),
            candidate: (!self.dice.once_in(8)).then_some(candidate),
        };
        let expected = self.model.vote(who, &vote);
        self.send(who, Item::Vote(vote), expected);
    }

    fn stand(&mut self) {
        let who = self.somebody();
        if self.is_shut_out(who) {
            return;
        }
        let mut own = keys(self.next_keys);
        self.next_keys += 1;
        let other = self.somebody();
        match self.dice.below(12) {
            0 => own.ballot_key = self.account_keys[1],
            1 => own = self.model.person(other).unwrap().keys.unwrap_or(own),
            2 => own.peer_key = self.model.chairs[0].keys.peer_key,
            _ => {}
        }
        let keys = (!self.dice.once_in(5)).then_some(own);
        let account_keys = &self.account_keys;
        let epoch = self.model.epoch + 1 - u64::from(self.dice.once_in(15));
        let expected = match epoch == self.model.epoch + 1 || !self.model.person(who).unwrap().is_delegate {
            true => self.model.stand(who, keys, |key| account_keys.contains(key)),
            false => Err(Reject::WrongEpoch),
        };
        self.send(who, Item::Candidacy(Candidacy { epoch, keys }), expected);
    }

    fn evidence(&mut self) {
        let epoch = (self.model.epoch + 1).saturating_sub(self.dice.below(8));
        let rank = self.dice.below(8) as u32;
        let sat = self.model.sat.get(epoch as usize);
        let seated = sat.and_then(|sat| sat.get(rank as usize)).copied();
        let evidence = Evidence {
            chain: if self.dice.once_in(20) {
                ChainId::default()
            } else {
                self.model.chain
            },
            epoch,
            view: self.dice.below(3),
            rank,
            offender: seated.filter(|_| !self.dice.once_in(10)).unwrap_or(id(20)),
            offence: if self.dice.once_in(5) {
                Offence::Equivocation
            } else {
                Offence::InvalidBlock
            },
        };
        let expected = self.model.evidence(&evidence);
        match expected {
            Ok(()) => {
                self.rig.apply(Command::Evidence(evidence)).unwrap();
                self.carries = true;
            }
            Err(reject) => {
                self.rig.refuse_command(Command::Evidence(evidence), reject);
                *self.refused.entry(reject).or_default() += 1;
            }
        }
    }

    fn suspend(&mut self) {
        let who = self.somebody();
        let suspend = self.dice.once_in(3);
        let action = if suspend {
            MarketAction::Suspend
        } else {
            MarketAction::Reinstate
        };
        self.model.people.iter_mut().find(|p| p.id == who).unwrap().suspended = suspend;
        self.send(id(REGULATOR), order_of(action, None, who.get()), Ok(()));
    }

    fn tick(&mut self) {
        let time = self.model.time.plus_secs(1 + self.dice.below(400) as i64);
        self.rig.apply(Command::Tick(time)).unwrap();
        self.model.time = time;
    }

    fn turn(&mut self) {
        let length = self.model.params.get(Param::TermViews) as u64;
        let jump = match self.dice.below(6) {
            0 => self.dice.below(length * 3),
            1 if self.dice.once_in(3) => self.dice.below(length * 12),
            _ => 0,
        };
        let view = self.model.last_view() + 1 + jump;
        let turn = Turn {
            height: self.model.height + 1,
            epoch: self.model.epoch,
            view,
            producer: self.model.chairs[self.model.leader(view)].id,
        };
        if self.dice.once_in(4) {
            self.bad_turn(turn);
        }
        let carries = core::mem::take(&mut self.carries);
        let (dpos_hash, next_committee) = self.model.turn(&turn, carries);
        let ended = self.rig.end_turn(&turn).unwrap();
        assert_eq!(ended.dpos_hash, dpos_hash, "{turn:?}");
        assert_eq!(ended.next_committee, next_committee, "{turn:?}");
        self.compare();
    }

    fn bad_turn(&mut self, turn: Turn) {
        let (other, expected) = match self.dice.below(5) {
            0 => (
                Turn {
                    height: turn.height + 1,
                    ..turn
                },
                BadTurn::Height {
                    got: turn.height + 1,
                    expected: turn.height,
                },
            ),
            1 => (
                Turn {
                    epoch: turn.epoch + 1,
                    ..turn
                },
                BadTurn::Epoch {
                    got: turn.epoch + 1,
                    expected: turn.epoch,
                },
            ),
            2 => {
                let last = self.model.last_view();
                (Turn { view: last, ..turn }, BadTurn::View { got: last, last })
            }
            3 => (
                Turn {
                    producer: id(100),
                    ..turn
                },
                BadTurn::Producer {
                    got: id(100),
                    expected: turn.producer,
                },
            ),
            _ => (
                Turn {
                    producer: id(0),
                    ..turn
                },
                BadTurn::Producer {
                    got: id(0),
                    expected: turn.producer,
                },
            ),
        };
        assert_eq!(self.rig.end_turn(&other).unwrap_err(), expected);
        self.bad_turns += 1;
    }

    fn compare(&self) {
        let state = self.rig.market.state();
        let dpos = state.dpos.as_deref().unwrap();
        let sitting = dpos.sitting().unwrap();
        let chairs: Vec<Chair> = (sitting.committee.seats().iter())
            .map(|seat| Chair {
                id: seat.participant,
                keys: DelegateKeys {
                    peer_key: seat.peer_key,
                    ballot_key: seat.ballot_key,
                },
                emission: seat.emission,
                stake: seat.stake,
            })
            .collect();
        assert_eq!(chairs, self.model.chairs, "height {}", self.model.height);
        assert_eq!(sitting.standbys, self.model.standbys, "height {}", self.model.height);
        assert_eq!(sitting.missed, self.model.missed());
        assert_eq!((dpos.epoch(), sitting.view), (self.model.epoch, self.model.last_view()));
        for person in &self.model.people[3..] {
            let candidate = dpos.candidate(person.id).copied().unwrap_or_default();
            assert_eq!(
                (candidate.keys, candidate.lost, candidate.silent, candidate.invalid),
                (person.keys, person.lost, person.silent, person.invalid),
                "{}",
                person.id
            );
            assert_eq!(candidate.forfeited, person.forfeited);
            if !person.forfeited {
                assert_eq!(candidate.out_until, person.out_until);
            }
            let at = state.accounts.index(person.id).unwrap();
            assert_eq!(
                (dpos.elector(at).vote, dpos.elector(at).emission),
                (person.vote, person.emission)
            );
            assert_eq!(
                i128::from(self.rig.free(person.id.get())),
                person.earned,
                "{}",
                person.id
            );
        }
        let minted = |packing| -> i128 {
            let of_kind = self.model.mints.iter().filter(|(_, kind, _)| *kind == packing);
            of_kind.map(|(.., amount)| amount).sum()
        };
        assert_eq!(state.supply.minted[3..], [minted(true), minted(false)]);
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            match self.dice.below(20) {
                0..=4 => self.emission(),
                5..=8 => self.vote(),
                9 | 10 => self.stand(),
                11 if self.dice.once_in(2) => self.evidence(),
                12 if self.dice.once_in(2) => self.suspend(),
                13 => self.tick(),
                _ => self.turn(),
            }
        }
        self.turn();
        for event in &self.rig.events {
            if let Event::Delegates(event) = event {
                *self.told.entry(name(event)).or_default() += 1;
            }
        }
    }
}

fn name(event: &DelegateEvent) -> &'static str {
    match event {
        DelegateEvent::EmissionStated(_) => "emission",
        DelegateEvent::Candidacy { stands: true, .. } => "stands",
        DelegateEvent::Candidacy { .. } => "withdraws",
        DelegateEvent::Voted { .. } => "voted",
        DelegateEvent::Flagged { .. } => "flagged",
        DelegateEvent::Convicted { .. } => "convicted",
        DelegateEvent::Excluded { exclusion, .. } => match exclusion {
            wattbook_types::delegate::Exclusion::Suspended => "suspended",
            wattbook_types::delegate::Exclusion::Evicted => "evicted",
            wattbook_types::delegate::Exclusion::Tombstoned => "tombstoned",
        },
        DelegateEvent::Seated { .. } => "seated",
        DelegateEvent::Elected { kept: true, .. } => "kept",
        DelegateEvent::Elected { .. } => "elected",
        DelegateEvent::WorkMinted { packing: true, .. } => "packing",
        DelegateEvent::WorkMinted { .. } => "verifying",
    }
}

#[test]
fn the_core_is_the_model() {
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    let mut refused: BTreeMap<Reject, u64> = BTreeMap::new();
    let (mut bad_turns, mut epochs) = (0, 0);
    for seed in 0..120 {
        let mut storm = Storm::new(seed);
        storm.run(250);
        for (name, n) in &storm.told {
            *told.entry(name).or_default() += n;
        }
        for (reject, n) in &storm.refused {
            *refused.entry(*reject).or_default() += n;
        }
        bad_turns += storm.bad_turns;
        epochs += storm.model.epoch;
        let (events, roots) = replay_on(storm.rig.start(), &storm.rig.journal);
        assert_eq!(events, storm.rig.events, "seed {seed}");
        assert_eq!(roots.last(), Some(&storm.rig.root()), "seed {seed}");
    }
    assert!(
        told.len() == 14 && told.values().all(|n| *n > 20),
        "the storms miss something: {told:?}"
    );
    let expected = [
        Reject::UnknownParticipant,
        Reject::KeyTaken,
        Reject::RoleMissing,
        Reject::WrongEpoch,
        Reject::UnknownCandidate,
        Reject::StakeForfeited,
        Reject::StaleEmission,
        Reject::OtherChain,
        Reject::EvidenceOutOfTime,
        Reject::NotSeated,
        Reject::AlreadyJudged,
    ];
    assert!(
        expected.iter().all(|reject| refused.contains_key(reject)),
        "{refused:?}"
    );
    assert!(bad_turns > 500 && epochs > 2_000, "{bad_turns} {epochs}");
}

/// What is restored from pages goes on as what was replayed, whenever the pages were taken.
#[test]
fn a_restored_market_goes_on_as_the_one_it_was() {
    let mut restored = 0;
    for seed in 500..530 {
        let mut storm = Storm::new(seed);
        storm.run(150);
        let journal = &storm.rig.journal;
        for part_size in [1 << 20, 500, 1] {
            let mut market = storm.rig.start();
            let from = storm.dice.below(journal.len() as u64 / 2) as usize;
            for (at, done) in journal.iter().enumerate() {
                if at == from {
                    market.begin_image(part_size);
                }
                match done {
                    Done::Command(seq, command) => _ = market.apply(*seq, command).unwrap(),
                    Done::EndBlock(_) => unreachable!("a committee sits"),
                    Done::Turn(turn) => {
                        market.end_block_by(turn).unwrap();
                        let root = market.root();
                        let Some(image) = market.take_image() else { continue };
                        let mut again = Market::restore(&image.to_bytes()).unwrap();
                        assert_eq!(again.state().root_from_scratch(), root, "seed {seed}");
                        assert_eq!(again.root(), root, "seed {seed}");
                        assert_eq!(
                            replay_on(again, &journal[at + 1..]),
                            replay_on(market.clone(), &journal[at + 1..]),
                            "seed {seed}"
                        );
                        restored += 1;
                        break;
                    }
                }
            }
        }
    }
    assert!(restored > 60, "{restored}");
}

#[test]
fn no_changed_image_makes_a_market_panic() {
    let mut storm = Storm::new(77);
    storm.run(200);
    let mut market = storm.rig.market;
    market.begin_image(1 << 20);
    let height = market.state().height + 1;
    let mut turn = Turn {
        height,
        epoch: storm.model.epoch,
        view: storm.model.last_view() + 1,
        producer: storm.model.chairs[storm.model.leader(storm.model.last_view() + 1)].id,
    };
    market.end_block_by(&turn).unwrap();
    let root = market.root();
    let bytes = market.take_image().unwrap().to_bytes();
    let mut dice = Dice::new(5);
    let (mut refused, mut other) = (0, 0);
    for _ in 0..4_000 {
        let mut changed = bytes.clone();
        // The pages of delegates stand behind those of accounts.
        let from = bytes.len() as u64 / 2;
        let at = (from + dice.below(from)) as usize;
        changed[at] ^= 1 << dice.below(8);
        let Ok(mut market) = Market::restore(&changed) else {
            refused += 1;
            continue;
        };
        if market.root() != root {
            other += 1;
        }
        turn.height = market.state().height.saturating_add(1);
        let _ = market.end_block_by(&Turn { view: u64::MAX, ..turn });
    }
    assert!(refused > 500 && other > 500, "{refused} {other}");
}

/// Items of different accounts within a block may come in any order: seats and root are the same.
#[test]
fn the_order_within_a_block_elects_nobody() {
    for seed in 900..920 {
        let mut storm = Storm::new(seed);
        storm.rig.market = storm.rig.start();
        let mut rigs = [storm.rig.clone(), storm.rig.clone()];
        let people: Vec<u64> = storm.model.people[3..].iter().map(|p| p.id.get()).collect();
        let delegates: Vec<u64> = people.iter().copied().filter(|serial| *serial < 100).collect();
        let period = (storm.model.time.get() / 900_000_000_000) as u32;
        let picks: Vec<(u64, u64)> = (people.iter())
            .map(|_| (storm.dice.below(delegates.len() as u64), 1 + storm.dice.below(50)))
            .collect();
        for (rig, backwards) in rigs.iter_mut().zip([false, true]) {
            let order = |list: &[u64]| -> Vec<u64> {
                let mut list = list.to_vec();
                if backwards {
                    list.reverse();
                }
                list
            };
            for serial in order(&people) {
                let n = people.iter().position(|other| *other == serial).unwrap();
                let statement = EmissionStatement {
                    participant: id(serial),
                    period,
                    grams: picks[n].1,
                };
                rig.ok(REGULATOR, Item::Emission(statement));
            }
            for serial in order(&delegates) {
                let own = keys(5_000 + serial);
                rig.ok(
                    serial,
                    Item::Candidacy(Candidacy {
                        epoch: 1,
                        keys: Some(own),
                    }),
                );
            }
            for serial in order(&people) {
                let n = people.iter().position(|other| *other == serial).unwrap();
                let vote = Vote {
                    epoch: 1,
                    candidate: Some(id(delegates[picks[n].0 as usize])),
                };
                rig.ok(serial, Item::Vote(vote));
            }
            let blocks = rig.genesis.params.get(Param::EpochBlocks) as u64;
            for height in 1..=blocks {
                let turn = Turn {
                    height,
                    epoch: 0,
                    view: height,
                    producer: storm.model.chairs[storm.model.leader(height)].id,
                };
                rig.end_turn(&turn).unwrap();
            }
        }
        let [a, b] = rigs;
        assert_eq!(a.root(), b.root(), "seed {seed}");
        let seats = |rig: &Rig| rig.market.state().dpos.as_deref().unwrap().sitting().cloned();
        assert_eq!(seats(&a), seats(&b));
        assert_eq!(seats(&a).unwrap().committee.epoch(), 1);
    }
}
