//! A handful of runs; the soak makes more of them.

use super::{Actor, Harm, Outcome, Partition, Plan, participant, simulate};
use crate::{
    seam::Role,
    simplex::{
        journal::{self, Place},
        seats::Seats,
    },
};
use commonware_runtime::{Runner as _, buffer::paged::CacheRef};
use commonware_utils::{NZU16, NZUsize};
use core::time::Duration;

/// Runs a plan that must end well.
fn good(plan: &Plan) -> Outcome {
    let outcome = simulate(plan);
    assert_eq!(outcome.faults, Vec::<String>::new(), "{plan:?}");
    assert!(
        outcome.reached,
        "stalled at {:?} after {:?}: {plan:?}",
        outcome.heights, outcome.simulated
    );
    assert!(outcome.chain.len() as u64 >= plan.blocks);
    assert!(outcome.proofs > 0);
    outcome
}

/// Heights of the blocks of an epoch, as places in an outcome.
fn epoch(plan: &Plan, epoch: u64, outcome: &Outcome) -> core::ops::Range<usize> {
    let first = (epoch * plan.epoch_blocks) as usize;
    first..(first + plan.epoch_blocks as usize).min(outcome.chain.len())
}

#[test]
fn four_delegates_agree_under_one_leader() {
    let outcome = good(&Plan::new(1, 45));
    assert!(
        outcome.producers.iter().all(|producer| *producer == participant(0)),
        "{:?}",
        outcome.producers
    );
    assert!(outcome.missed.iter().all(|missed| *missed == [0; 4]));
    assert_eq!((outcome.lost, outcome.convicted), (vec![], vec![]));
    assert!(
        outcome.proofs >= 45,
        "{} of {} blocks came with a certificate",
        outcome.proofs,
        outcome.chain.len()
    );
}

#[test]
fn the_next_takes_over_and_the_leader_is_back_after_the_border() {
    let mut plan = Plan::new(2, 50);
    plan.actors = vec![(
        0,
        Actor::Crashing {
            at: 5,
            back: Some(10),
            harm: Harm::None,
        },
    )];
    let outcome = good(&plan);
    let first = epoch(&plan, 0, &outcome);
    let taken = outcome
        .producers
        .iter()
        .position(|producer| *producer == participant(1))
        .unwrap_or_default();
    assert!((5..10).contains(&taken), "taken over at {taken}");
    for place in first {
        let (producer, missed) = if place < taken { (0, 0) } else { (1, 1) };
        assert_eq!(outcome.producers[place], participant(producer), "block {}", place + 1);
        assert_eq!(outcome.missed[place], [missed, 0, 0, 0], "block {}", place + 1);
    }
    for place in epoch(&plan, 1, &outcome) {
        assert_eq!(
            (outcome.producers[place], &outcome.missed[place][..]),
            (participant(0), &[0; 4][..])
        );
    }
    assert!(outcome.lost.contains(&(0, 1, participant(0))), "{:?}", outcome.lost);
    assert_eq!(outcome.crashes, 1);
}

#[test]
fn crashes_loss_and_delay_split_no_chain() {
    for seed in [3, 4, 5] {
        let mut plan = Plan::new(seed, 60);
        plan.loss = 2 * (seed - 2);
        plan.delay = Duration::from_millis(20);
        plan.jitter = Duration::from_millis(15);
        plan.crash_every = Some(Duration::from_secs(4));
        let outcome = good(&plan);
        assert!(outcome.crashes > 0);
        assert!(outcome.convicted.is_empty(), "nobody lied");
    }
}

#[test]
fn a_seed_names_a_run() {
    let mut plan = Plan::new(6, 25);
    plan.loss = 3;
    plan.crash_every = Some(Duration::from_secs(2));
    let (once, again) = (good(&plan), good(&plan));
    assert_eq!(once, again);
    plan.seed = 7;
    assert_ne!(good(&plan).digest, once.digest);
}

#[test]
fn an_equivocator_is_convicted_and_nobody_else() {
    let mut plan = Plan::new(8, 15);
    plan.actors = vec![(3, Actor::Equivocator)];
    let outcome = good(&plan);
    assert_eq!(outcome.convicted, [participant(3)]);
}

#[test]
fn a_standby_takes_the_seat_of_whoever_fell_silent() {
    let mut plan = Plan::new(9, 35);
    plan.epoch_blocks = 10;
    plan.standbys = 1;
    plan.evicts = true;
    plan.actors = vec![(
        0,
        Actor::Crashing {
            at: 5,
            back: Some(13),
            harm: Harm::None,
        },
    )];
    let outcome = good(&plan);
    let takes = |node, epoch, role| outcome.roles.contains(&(node, epoch, role));
    assert!(
        takes(4, 0, Role::Observer) && takes(4, 1, Role::Delegate { rank: 3 }),
        "{:?}",
        outcome.roles
    );
    assert!(
        takes(1, 1, Role::Delegate { rank: 0 }) && takes(0, 1, Role::Observer),
        "{:?}",
        outcome.roles
    );
    assert!(
        takes(0, 2, Role::Delegate { rank: 0 }) && takes(4, 2, Role::Observer),
        "{:?}",
        outcome.roles
    );
    for place in epoch(&plan, 1, &outcome) {
        assert_eq!(outcome.producers[place], participant(1), "block {}", place + 1);
    }
    for place in epoch(&plan, 2, &outcome) {
        assert_eq!(outcome.producers[place], participant(0), "block {}", place + 1);
    }
}

#[test]
fn a_delegate_without_its_votes_is_barred_until_the_border() {
    for harm in [Harm::Votes, Harm::VoteBit] {
        let mut plan = Plan::new(10, 30);
        plan.actors = vec![(
            2,
            Actor::Crashing {
                at: 5,
                back: Some(8),
                harm,
            },
        )];
        let outcome = good(&plan);
        let roles: Vec<_> = outcome
            .roles
            .iter()
            .filter(|(node, ..)| *node == 2)
            .map(|role| (role.1, role.2))
            .collect();
        let expected = [
            (0, Role::Delegate { rank: 2 }),
            (0, Role::Barred),
            (1, Role::Delegate { rank: 2 }),
        ];
        assert_eq!(roles, expected, "{harm:?}");
    }
}

#[test]
fn whole_votes_are_taken_up_again() {
    let mut plan = Plan::new(11, 15);
    plan.actors = vec![(
        2,
        Actor::Crashing {
            at: 5,
            back: Some(8),
            harm: Harm::None,
        },
    )];
    let outcome = good(&plan);
    let roles: Vec<_> = outcome
        .roles
        .iter()
        .filter(|(node, ..)| *node == 2)
        .map(|role| (role.1, role.2))
        .collect();
    assert_eq!(roles, [(0, Role::Delegate { rank: 2 }); 2]);
}

#[test]
fn a_damaged_block_comes_back_from_peers() {
    let mut plan = Plan::new(12, 30);
    plan.actors = vec![(
        1,
        Actor::Crashing {
            at: 12,
            back: Some(15),
            harm: Harm::Block(4),
        },
    )];
    let outcome = good(&plan);
    assert_eq!(outcome.damaged, 0);
}

#[test]
fn a_delegate_that_says_nothing_costs_its_term_and_no_block() {
    let mut plan = Plan::new(13, 45);
    plan.actors = vec![(0, Actor::Silent)];
    let outcome = good(&plan);
    assert!(
        outcome.producers.iter().all(|producer| *producer == participant(1)),
        "{:?}",
        outcome.producers
    );
    assert!(outcome.lost.contains(&(0, 1, participant(0))), "{:?}", outcome.lost);
    assert!(outcome.convicted.is_empty());
}

#[test]
fn a_block_with_another_state_root_is_refused_and_costs_the_term() {
    let mut plan = Plan::new(14, 45);
    plan.actors = vec![(0, Actor::WrongRoot)];
    let outcome = good(&plan);
    assert!(
        outcome.producers.iter().all(|producer| *producer == participant(1)),
        "{:?}",
        outcome.producers
    );
    assert!(
        outcome.missed.iter().all(|missed| *missed == [1, 0, 0, 0]),
        "{:?}",
        outcome.missed
    );
}

#[test]
fn a_leader_whose_time_stands_still_is_refused_once_it_is_two_seconds_old() {
    let mut plan = Plan::new(15, 45);
    plan.epoch_blocks = 45;
    plan.actors = vec![(0, Actor::Stale)];
    let outcome = good(&plan);
    let last = outcome
        .producers
        .iter()
        .rposition(|producer| *producer == participant(0));
    let taken = outcome
        .producers
        .iter()
        .position(|producer| *producer == participant(1));
    assert!(last < taken && taken.is_some(), "{:?}", outcome.producers);
}

#[test]
fn a_leader_that_leaves_commands_out_loses_its_terms_and_they_get_in() {
    let mut plan = Plan::new(19, 60);
    plan.actors = vec![(0, Actor::Censor)];
    // Two of the first epoch, one on the border, one of the last epoch.
    plan.commands = vec![3, 12, 20, 44];
    let outcome = good(&plan);
    for (command, (since, height)) in plan.commands.iter().zip(&outcome.commands).enumerate() {
        let height = height.unwrap_or_default();
        assert!(height > *since, "command {command}: {:?}", outcome.commands);
        assert_eq!(
            outcome.producers[height as usize - 1],
            participant(1),
            "command {command}"
        );
    }
    for (epoch_of, censored) in [(0, true), (1, true), (2, true)] {
        let missed = &outcome.missed[epoch(&plan, epoch_of, &outcome)];
        assert_eq!(missed.last().is_some_and(|missed| missed[0] == 1), censored);
        assert!(missed.iter().all(|missed| missed[1..] == [0; 3]), "{missed:?}");
    }
    assert_eq!(
        outcome.producers[0],
        participant(0),
        "it leads until it has to pack something"
    );
    assert!(outcome.convicted.is_empty());

    // Without it every command is in the chain at once, and nobody loses a term.
    plan.actors = Vec::new();
    let outcome = good(&plan);
    let delays = plan.commands.iter().zip(&outcome.commands);
    assert!(
        delays
            .clone()
            .all(|(since, height)| height.is_some_and(|height| height <= since + 3)),
        "{delays:?}"
    );
    assert!(outcome.missed.iter().all(|missed| *missed == [0; 4]));
}

#[test]
fn commands_get_in_past_a_censor_and_a_flooder() {
    let mut plan = Plan::new(20, 45);
    // One leads and leaves out, one makes noise on the channel of words and repeats what is said there.
    plan.seats = 7;
    plan.actors = vec![(0, Actor::Censor), (3, Actor::Flooder)];
    plan.commands = vec![5];
    let outcome = good(&plan);
    assert!(outcome.commands[0].is_some(), "{:?}", outcome.lost);
    assert!(outcome.convicted.is_empty());
}

#[test]
fn a_flooder_stops_nobody() {
    let mut plan = Plan::new(17, 25);
    plan.actors = vec![(2, Actor::Flooder)];
    let outcome = good(&plan);
    assert!(
        outcome.producers.iter().all(|producer| *producer == participant(0)),
        "{:?}",
        outcome.producers
    );
    assert!(outcome.convicted.is_empty(), "whoever repeats a message frames nobody");
}

#[test]
fn a_partition_stops_the_minority_only_and_heals() {
    let mut plan = Plan::new(17, 60);
    plan.partitions = vec![
        Partition {
            from: Duration::from_millis(500),
            until: Duration::from_secs(2),
            apart: vec![0],
        },
        // No side has a quorum: nothing is final until it heals.
        Partition {
            from: Duration::from_secs(3),
            until: Duration::from_secs(7),
            apart: vec![1, 2],
        },
    ];
    let outcome = good(&plan);
    assert!(outcome.producers.contains(&participant(1)), "{:?}", outcome.producers);
    assert!(outcome.simulated > Duration::from_secs(7), "{:?}", outcome.simulated);
    assert!(outcome.convicted.is_empty());
}

#[test]
fn clocks_within_the_bounds_cost_nothing_and_a_leader_s_beyond_them_its_term() {
    let mut plan = Plan::new(18, 45);
    plan.clock_errors_ms = vec![(0, -200), (1, 250), (2, -250), (3, 200)];
    let outcome = good(&plan);
    assert!(
        outcome.producers.iter().all(|producer| *producer == participant(0)),
        "{:?}",
        outcome.producers
    );
    assert!(
        outcome.missed.iter().all(|missed| *missed == [0; 4]),
        "{:?}",
        outcome.missed
    );

    plan.clock_errors_ms = vec![(0, 60_000)];
    let outcome = good(&plan);
    assert!(!outcome.producers.contains(&participant(0)), "{:?}", outcome.producers);
    assert!(outcome.lost.contains(&(1, 1, participant(0))), "{:?}", outcome.lost);

    // A voter whose clock is wrong votes for nothing, and follows all the same.
    plan.clock_errors_ms = vec![(3, 60_000)];
    let outcome = good(&plan);
    assert!(
        outcome.producers.iter().all(|producer| *producer == participant(0)),
        "{:?}",
        outcome.producers
    );
}

#[test]
fn a_crash_before_the_first_vote_of_an_epoch_bars_nobody() {
    let runner = commonware_runtime::deterministic::Runner::seeded(1);
    let stayed = runner.start(|context| async move {
        let candidates = super::candidates(&Plan::new(1, 1));
        let seating = crate::seam::Seating {
            committee: candidates.committee(3, &[]),
            ballot: Some(candidates.ballots[0].clone()),
        };
        let namespace = crate::ballot::Namespace::of(wattbook_types::ChainId(wattbook_types::Hash::ZERO));
        let seats = Seats::new(seating, &namespace, true).unwrap();
        let place = Place {
            prefix: "node0".to_owned(),
            page_cache: CacheRef::new(NZU16!(4084), NZUsize!(16)),
            buffer: NZUsize!(1 << 16),
        };
        let mut stayed = Vec::new();
        for _ in 0..3 {
            stayed.push(place.may_vote(&context, 3, &seats).await);
        }
        // Who marked the epoch and has no journal lost it; what comes back of it later changes nothing.
        journal::remove(&context, &place.partition(3)).await;
        for _ in 0..2 {
            stayed.push(place.may_vote(&context, 3, &seats).await);
        }
        stayed.push(place.may_vote(&context, 4, &seats).await);
        stayed
    });
    assert_eq!(stayed, [true, true, true, false, false, true]);
}
