//! Delegated proof of stake, case by case: what a delegate loses for what, who takes its seat, how it comes back, what work
//! earns, and that a node alone knows nothing of it. `dpos_model.rs` holds the whole against a model.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use support::{POINT, REGULATOR, Rig, TRADER, account, ask, at, bid, id, order_of, time};
use wattbook_market::BlockEnd;
use wattbook_types::command::MarketAction;
use wattbook_types::committee::Status;
use wattbook_types::delegate::{Candidacy, DelegateKeys, EmissionStatement, Evidence, Exclusion, Offence, Turn, Vote};
use wattbook_types::{
    Command, DelegateEvent, Event, Hash, Item, Param, ParticipantId, Registration, TimeNs, committee,
};

/// Blocks in an epoch and views in a term.
const EPOCH: u64 = 4;
const TERM: u64 = 100;

fn delegate_keys(serial: u64) -> DelegateKeys {
    DelegateKeys {
        peer_key: [serial as u8; 32],
        ballot_key: [serial as u8; 96],
    }
}

fn stands(serial: u64, epoch: u64) -> Item {
    let keys = Some(delegate_keys(serial));
    Item::Candidacy(Candidacy { epoch, keys })
}

/// Delegates 21 to 27 with emissions of 21 to 27 grams, all standing; 21 to 24 sit.
struct Town {
    rig: Rig,
}

impl Town {
    fn new(set: &[(Param, i64)]) -> Self {
        Self::of(set, |_| ())
    }

    fn of(set: &[(Param, i64)], change: impl Fn(&mut Registration)) -> Self {
        let lengths = [(Param::EpochBlocks, EPOCH as i64), (Param::TermViews, TERM as i64)];
        let set: Vec<(Param, i64)> = lengths.into_iter().chain(set.iter().copied()).collect();
        let mut accounts: Vec<Registration> = (21..28).map(|serial| account(serial, 64, 0)).collect();
        accounts.extend((41..51).map(|serial| account(serial, TRADER, 10)));
        accounts.iter_mut().for_each(change);
        let seats = (21..25).map(|serial| (id(serial), delegate_keys(serial)));
        let mut rig = Rig::new(&set, 0).with_committee(accounts, seats.collect());
        for serial in 21..28 {
            if serial > 24 {
                rig.ok(serial, stands(serial, 1));
            }
            emits(&mut rig, serial, serial);
        }
        Self { rig }
    }

    /// Ends a block `views` after the last one, or at the epoch's first views.
    fn block(&mut self, views: u64) -> BlockEnd {
        let dpos = self.rig.market.state().dpos.as_deref().unwrap();
        let sitting = dpos.sitting().unwrap();
        let view = sitting.view + views;
        let seats = sitting.committee.seats();
        let turn = Turn {
            height: self.rig.height + 1,
            epoch: dpos.epoch(),
            view,
            producer: seats[((view - 1) / TERM) as usize % seats.len()].participant,
        };
        self.rig.end_turn(&turn).unwrap()
    }

    /// Ends blocks until the epoch is over; its first leader loses its first `lost` terms.
    fn epoch(&mut self, lost: u64) -> Vec<Event> {
        let from = self.rig.events.len();
        self.block(1 + lost * TERM);
        while !self.rig.height.is_multiple_of(EPOCH) {
            self.block(1);
        }
        self.rig.events[from..].to_vec()
    }

    fn seats(&self) -> Vec<u64> {
        let sitting = self.rig.market.state().dpos.as_deref().unwrap().sitting().unwrap();
        (sitting.committee.seats().iter())
            .map(|seat| seat.participant.get())
            .collect()
    }

    fn standbys(&self) -> Vec<u64> {
        let sitting = self.rig.market.state().dpos.as_deref().unwrap().sitting().unwrap();
        sitting.standbys.iter().map(|standby| standby.get()).collect()
    }

    fn next_epoch(&self) -> u64 {
        self.rig.market.state().dpos.as_deref().unwrap().epoch() + 1
    }

    fn status(&self, serial: u64) -> Status {
        let state = self.rig.market.state();
        let dpos = state.dpos.as_deref().unwrap();
        dpos.candidate(id(serial)).unwrap().status(&state.params)
    }

    fn votes(&mut self, serial: u64, candidate: u64) {
        let epoch = self.rig.market.state().dpos.as_deref().unwrap().epoch() + 1;
        let candidate = Some(id(candidate));
        self.rig.ok(serial, Item::Vote(Vote { epoch, candidate }));
    }

    fn convict(&mut self, rank: u32, serial: u64, offence: Offence) {
        let evidence = Evidence {
            chain: self.rig.genesis.chain,
            epoch: self.rig.market.state().dpos.as_deref().unwrap().epoch(),
            view: 1,
            rank,
            offender: id(serial),
            offence,
        };
        self.rig.apply(Command::Evidence(evidence)).unwrap();
    }
}

fn emits(rig: &mut Rig, serial: u64, grams: u64) {
    let period = (rig.market.state().time.get() / 900_000_000_000) as u32;
    let statement = EmissionStatement {
        participant: id(serial),
        period,
        grams,
    };
    rig.ok(REGULATOR, Item::Emission(statement));
}

fn excluded(events: &[Event]) -> Vec<(u64, Exclusion, u64)> {
    let exclusion = |event: &Event| match event {
        Event::Delegates(DelegateEvent::Excluded {
            participant,
            exclusion,
            until,
        }) => Some((participant.get(), *exclusion, *until)),
        _ => None,
    };
    events.iter().filter_map(exclusion).collect()
}

#[test]
fn without_votes_the_least_carbon_sit_and_lead() {
    let mut town = Town::new(&[]);
    assert_eq!(town.seats(), [21, 22, 23, 24]);
    town.epoch(0);
    assert_eq!(
        (town.seats(), town.standbys()),
        (vec![21, 22, 23, 24], vec![25, 26, 27])
    );
    emits(&mut town.rig, 26, 1);
    town.epoch(0);
    assert_eq!(
        (town.seats(), town.standbys()),
        (vec![26, 21, 22, 23], vec![24, 25, 27])
    );
}

/// The leader dies: it costs a term an epoch, is suspect, and loses its seat for its silence; the standby sits. It comes
/// back, stands again, waits its time, and leads again.
#[test]
fn a_silent_leader_is_evicted_and_comes_back() {
    let mut town = Town::new(&[(Param::SilentTerms, 2), (Param::SuspendTerms, 9)]);
    town.epoch(1);
    assert_eq!((town.status(21), town.seats()), (Status::Suspect, vec![21, 22, 23, 24]));
    let events = town.epoch(1);
    assert_eq!(excluded(&events), [(21, Exclusion::Evicted, 4)]);
    assert_eq!((town.seats(), town.standbys()), (vec![22, 23, 24, 25], vec![26, 27]));
    let next = town.next_epoch();
    town.rig.ok(21, stands(21, next));
    town.epoch(0);
    assert_eq!(town.seats(), [22, 23, 24, 25], "epoch 3: it sits out");
    town.epoch(0);
    assert_eq!(town.seats(), [21, 22, 23, 24], "epoch 4");
    assert_eq!(town.status(21), Status::Normal);
}

/// A leader that loses terms but packs blocks between them is suspended, and sits again by itself. A clean epoch takes one
/// lost term off.
#[test]
fn a_flaky_leader_is_suspended_for_a_while() {
    let mut town = Town::new(&[(Param::ExclusionEpochs, 1)]);
    // It packs a block, and stops within its term.
    let flaky = |town: &mut Town| {
        let from = town.rig.events.len();
        for views in [1, TERM, 1, 1] {
            town.block(views);
        }
        excluded(&town.rig.events[from..])
    };
    for _ in 0..3 {
        assert_eq!(flaky(&mut town), []);
        assert_eq!(town.status(21), Status::Suspect);
        assert_eq!(excluded(&town.epoch(0)), []);
        assert_eq!(town.status(21), Status::Normal);
    }
    assert_eq!([flaky(&mut town), flaky(&mut town)], [[], []]);
    assert_eq!(flaky(&mut town), [(21, Exclusion::Suspended, 10)]);
    assert_eq!(town.seats(), [22, 23, 24, 25]);
    town.epoch(0);
    assert_eq!(town.seats(), [21, 22, 23, 24], "epoch 10");
}

/// Terms that everybody loses, as in a partition, add up only where no clean epoch lies between.
#[test]
fn a_clean_epoch_takes_a_lost_term_off() {
    let mut town = Town::new(&[]);
    for _ in 0..5 {
        assert_eq!(excluded(&town.epoch(4)), []);
        assert_eq!(excluded(&town.epoch(0)), []);
    }
    assert_eq!(town.seats(), [21, 22, 23, 24]);
}

#[test]
fn who_equivocates_is_out_for_ever_and_its_vote_with_it() {
    let mut town = Town::new(&[]);
    for (voter, candidate) in [(21, 27), (22, 26)] {
        town.votes(voter, candidate);
    }
    town.convict(0, 21, Offence::Equivocation);
    assert_eq!(town.status(21), Status::Abnormal);
    assert_eq!(town.seats()[0], 21, "its seat is its own until the epoch's end");
    town.epoch(0);
    let seats = town.seats();
    assert!(
        !seats.contains(&21) && seats.contains(&26) && !seats.contains(&27),
        "{seats:?}"
    );
    for _ in 0..5 {
        town.epoch(0);
        assert!(!town.seats().contains(&21));
    }
}

#[test]
fn who_leads_with_an_invalid_block_is_evicted() {
    let mut town = Town::new(&[]);
    town.convict(1, 22, Offence::InvalidBlock);
    let events = town.epoch(0);
    assert_eq!(excluded(&events), [(22, Exclusion::Evicted, 3)]);
    assert_eq!(town.seats(), [21, 23, 24, 25]);
}

/// Fewer than four can sit: first those who sit out come back, and where that is not enough everybody stays.
#[test]
fn a_committee_never_falls_below_four() {
    let mut town = Town::new(&[(Param::SuspendTerms, 1), (Param::ExclusionEpochs, 9)]);
    for serial in 25..28 {
        town.rig.ok(serial, Item::Candidacy(Candidacy { epoch: 1, keys: None }));
    }
    let events = town.epoch(1);
    assert_eq!(excluded(&events), [(21, Exclusion::Suspended, 10)]);
    assert_eq!(town.seats(), [21, 22, 23, 24], "it sits out, but nobody else stands");
    town.convict(3, 24, Offence::Equivocation);
    let events = town.epoch(0);
    let kept = |event: &Event| matches!(event, Event::Delegates(DelegateEvent::Elected { kept: true, .. }));
    assert!(events.iter().any(kept));
    assert_eq!(
        town.seats(),
        [21, 22, 23, 24],
        "a committee that cannot be filled stays"
    );
    let next = town.next_epoch();
    town.rig.ok(25, stands(25, next));
    town.epoch(0);
    assert_eq!(town.seats(), [21, 22, 23, 25]);
}

#[test]
fn a_group_has_one_seat_and_a_fifth_of_the_stake() {
    // 21, 22 and 27 belong together; so do the voters 41 to 44.
    let town = |share: i64| {
        let mut town = Town::of(&[(Param::StakeShare, share)], |account| {
            account.group = match account.participant.get() {
                21 | 22 | 27 => Hash([1; 32]),
                41..=44 => Hash([2; 32]),
                _ => Hash::ZERO,
            };
            if account.participant == id(22) {
                account.group = Hash::ZERO;
            }
        });
        // One gram each: equal stake. Four of a group for 27, two others for 21, one each for 25 and 26.
        for (voter, candidate) in [
            (41, 27),
            (42, 27),
            (43, 27),
            (44, 27),
            (45, 21),
            (46, 21),
            (47, 25),
            (48, 26),
        ] {
            emits(&mut town.rig, voter, 1);
            town.votes(voter, candidate);
        }
        town.epoch(0);
        town.seats()
    };
    // Uncapped 27 has 4 votes of 8 and takes the group's seat from 21; capped to a fifth (1.6) it has fewer than 21.
    assert_eq!(town(1_000_000), [22, 25, 26, 27]);
    assert_eq!(town(200_000), [21, 22, 25, 26]);
}

#[test]
fn votes_change_are_taken_back_and_expire_with_their_admission() {
    let late = time(-1_300 + 50);
    let mut town = Town::of(&[], |account| {
        if account.participant == id(43) {
            account.not_after = late;
        }
    });
    for (voter, candidate) in [(41, 27), (42, 27), (43, 26)] {
        emits(&mut town.rig, voter, 1);
        town.votes(voter, candidate);
    }
    town.epoch(0);
    assert_eq!(town.seats(), [21, 22, 26, 27]);
    // A vote counts until it is changed.
    town.epoch(0);
    assert_eq!(town.seats(), [21, 22, 26, 27]);
    town.votes(41, 25);
    town.votes(41, 24);
    town.rig.ok(
        42,
        Item::Vote(Vote {
            epoch: 3,
            candidate: None,
        }),
    );
    town.rig.tick(-1_300 + 51);
    town.epoch(0);
    assert_eq!(town.seats(), [21, 22, 23, 24]);
    // A candidate that the regulator shuts out is no candidate.
    town.rig.ok(REGULATOR, order_of(MarketAction::Suspend, None, 21));
    town.epoch(0);
    assert_eq!(town.seats(), [22, 23, 24, 25]);
    assert!(late < TimeNs::new(u64::MAX));
}

#[test]
fn blocks_are_paid_and_ticks_are_not() {
    let (pack, verify) = (1_000_000, 100_000);
    let mut town = Town::new(&[(Param::SuspendTerms, 9)]);
    // The first block carries the candidacies and emissions.
    town.block(1);
    assert_eq!(town.rig.free(21), pack);
    town.rig.tick(-1_299);
    town.block(1);
    town.block(1);
    assert_eq!(town.rig.free(21), pack, "a block of Ticks, and an empty one");
    emits(&mut town.rig, 21, 21);
    // 21 loses its term; 22 packs the fourth block, and the epoch ends.
    town.block(TERM);
    assert_eq!(town.rig.free(21), pack, "no pay for verifying: it lost a term");
    assert_eq!(town.rig.free(22), pack + 3 * verify);
    assert_eq!(
        [town.rig.free(23), town.rig.free(24), town.rig.free(25)],
        [4 * verify, 4 * verify, 0]
    );
    let supply = &town.rig.market.state().supply;
    assert_eq!(supply.minted[3..], [2 * i128::from(pack), 11 * i128::from(verify)]);

    let mut capped = Town::new(&[(Param::PackingMintCap, 0), (Param::VerifyingMintCap, 5 * verify)]);
    capped.epoch(0);
    let free = [21, 22, 23, 24].map(|serial| capped.rig.free(serial));
    assert_eq!(free, [0, 4 * verify, verify, 0], "by rank, as far as the cap goes");
    assert!(pack < POINT);
}

/// What the headers of a committee's blocks carry: the digests of its state, and at an epoch's last block the next one's.
#[test]
fn headers_bind_flags_and_the_next_committee() {
    let mut town = Town::new(&[]);
    let chain = town.rig.genesis.chain;
    let standing = |serial, missed, status| committee::Standing {
        participant: id(serial),
        missed,
        status,
    };
    let ended = town.block(TERM + 1);
    let flagged = [
        standing(21, 1, Status::Suspect),
        standing(22, 0, Status::Normal),
        standing(23, 0, Status::Normal),
        standing(24, 0, Status::Normal),
    ];
    assert_eq!(ended.dpos_hash, committee::dpos_hash(chain, 0, &flagged));
    assert_eq!(ended.next_committee, Hash::ZERO);
    town.block(1);
    town.block(1);
    let border = town.block(1);
    assert_eq!(border.dpos_hash, committee::dpos_hash(chain, 0, &flagged));
    let sitting = town.rig.market.state().dpos.as_deref().unwrap().sitting().unwrap();
    assert_eq!(border.next_committee, sitting.committee.hash(chain));
    assert_eq!((sitting.committee.epoch(), sitting.view), (1, 0));
    assert_eq!(sitting.committee.quorum(), 3);
}

/// Roots and digests of a node alone from before there were delegates: it keeps them.
#[test]
fn a_node_alone_keeps_its_roots() {
    let mut rig = Rig::new(&[], 4);
    let mut roots = vec![rig.root()];
    rig.run_to(0, at::CONTRACT, true);
    for (serial, quote) in [
        (11, bid(0, 20_000, 1_000)),
        (12, ask(0, 19_000, 600)),
        (13, ask(0, 18_000, 900)),
    ] {
        rig.ok(serial, Item::Quote(quote));
    }
    rig.sign_block();
    roots.push(rig.root());
    rig.run_to(0, at::CLOSE, true);
    roots.extend([rig.root(), rig.market.state().params.digest(rig.genesis.chain)]);
    let roots: Vec<String> = roots.iter().map(Hash::to_string).collect();
    assert_eq!(
        roots,
        [
            "65f3ec16aa24e9ce226ac33bae3846dbd37eb8869bf2e31f8938135e66248be9",
            "22285a03bef805b6beabcfaaec35bf8590d18f04d21222133f9a055fbc0bf5bf",
            "85a46506a182c6bf35e7ab10b46ca5d79e273e4b28fe46463030fd62d533f7d5",
            "80862f3e94412a4c1db006ab476e77e11e4c87594a82f9d561d27b4a16350906",
        ]
    );
}

/// A node alone has no page of delegates until the first vote, candidacy or emission, and its blocks end as ever.
#[test]
fn alone_nothing_of_it_exists() {
    let mut rig = Rig::new(&[], 2);
    let mut by_turn = rig.clone();
    rig.run_to(0, 0, true);
    assert!(rig.market.state().dpos.is_none());
    by_turn.tick(-1_299);
    let mut plain = by_turn.clone();
    plain.end_block();
    let ended = by_turn.end_turn(&Turn::alone(1)).unwrap();
    assert_eq!(plain.root(), by_turn.root());
    assert_eq!(ended.dpos_hash, committee::dpos_hash_alone(rig.genesis.chain));
    assert_eq!(ended.next_committee, Hash::ZERO);
    for turn in [
        Turn {
            epoch: 1,
            ..Turn::alone(2)
        },
        Turn {
            view: 3,
            ..Turn::alone(2)
        },
        Turn {
            producer: ParticipantId::new(11),
            ..Turn::alone(2)
        },
    ] {
        by_turn.end_turn(&turn).unwrap_err();
    }
    let before = plain.root();
    let with_params = plain.market.state().params.digest(plain.genesis.chain);
    emits(&mut plain, 11, 5);
    assert!(plain.market.state().dpos.is_some());
    assert_ne!(plain.root(), before);
    assert_eq!(plain.market.state().params.digest(plain.genesis.chain), with_params);
}

#[test]
fn a_leader_and_its_group_quote_openly_in_nobodys_turn_but_anothers() {
    // 41 is of the group of 21, which leads; 42 of that of 22.
    let mut town = Town::of(&[], |account| {
        account.group = match account.participant.get() {
            21 | 41 => Hash([1; 32]),
            22 | 42 => Hash([2; 32]),
            _ => Hash::ZERO,
        };
    });
    town.block(1);
    let of = |view: u64, producer: u64| Turn {
        height: 2,
        epoch: 0,
        view,
        producer: id(producer),
    };
    let open = [
        Item::Quote(bid(0, 1_000, 1_000)),
        support::replace(0, 1, 0, 1_000, 1_000),
    ];
    for (serial, item) in [(41, open[0].clone()), (41, open[1].clone()), (21, open[0].clone())] {
        let mut other = Town { rig: town.rig.clone() };
        let envelope = other.rig.envelope(serial, vec![support::cancel_all(None), item]);
        let market = &other.rig.market;
        assert!(!market.may_pack(id(21), &Command::Envelope(envelope.clone())));
        assert!(market.may_pack(id(22), &Command::Envelope(envelope.clone())));
        assert_eq!(market.admits(&Command::Envelope(envelope.clone())), Ok(()));
        other.rig.apply(Command::Envelope(envelope.clone())).unwrap();
        assert_eq!(
            other
                .rig
                .market
                .admits(&Command::Envelope(envelope))
                .unwrap_err()
                .reject,
            wattbook_types::Reject::Duplicate
        );
        let bad = wattbook_market::BadTurn::OwnGroup { quoter: id(serial) };
        assert_eq!(other.rig.end_turn(&of(2, 21)).unwrap_err(), bad);
        other.rig.end_turn(&of(TERM + 1, 22)).unwrap();
        // The next block has quotes of nobody.
        other
            .rig
            .end_turn(&Turn {
                height: 3,
                ..of(2 * TERM + 1, 23)
            })
            .unwrap();
    }
    // Others quote, and the leader's group cancels and seals.
    let reveal = support::reveal(41, 0, 1, 7, &[bid(0, 1_000, 1_000)]);
    let sealed = town
        .rig
        .envelope(41, vec![support::cancel_all(None), support::seal(&reveal, 0)]);
    for command in [town.rig.envelope(42, open.to_vec()), sealed] {
        let command = Command::Envelope(command);
        assert!(town.rig.market.may_pack(id(21), &command));
        town.rig.apply(command).unwrap();
    }
    town.rig.end_turn(&of(2, 21)).unwrap();
}
