//! Storms of random commands, nonsense included, over several contracts, groups and parameters: nothing panics, money and
//! energy are conserved (the core asserts it after every command), every page that changed is marked, what is refused
//! changes nothing, and the same seed gives the same events and roots.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

#[path = "support/storm.rs"]
mod storm;

use std::collections::BTreeMap;
use storm::Storm;
use support::{Done, replay};
use wattbook_types::{Event, Hash, Reject};

const STORMS: u64 = 60;

#[test]
fn storms() {
    let mut refused: BTreeMap<Reject, u64> = BTreeMap::new();
    let (mut deals, mut settled, mut burned, mut contracted, mut voided) = (0, 0, 0, 0, 0);
    for seed in 0..STORMS {
        let mut storm = Storm::new(seed);
        storm.run();
        for (reject, n) in &storm.refused {
            *refused.entry(*reject).or_default() += n;
        }
        for event in &storm.rig.events {
            match event {
                Event::Executed { .. } => deals += 1,
                Event::Settled { .. } => settled += 1,
                Event::BondBurned { .. } => burned += 1,
                Event::Contracted { .. } => contracted += 1,
                Event::DealVoided { .. } => voided += 1,
                _ => {}
            }
        }
        // The same again, from the commands and from the seed.
        let (events, roots) = replay(&storm.rig.genesis, &storm.rig.journal);
        assert_eq!(events, storm.rig.events, "seed {seed}");
        assert_eq!(roots.last(), Some(&storm.rig.root()), "seed {seed}");
        if seed % 10 == 0 {
            let mut again = Storm::new(seed);
            again.run();
            assert_eq!(again.rig.events, storm.rig.events, "seed {seed}");
            assert_eq!(again.rig.root(), storm.rig.root(), "seed {seed}");
        }
    }
    let reached = [deals, settled, burned, contracted, voided];
    assert!(
        reached.iter().all(|n| *n > 50),
        "the storms miss something: {reached:?} {refused:?}"
    );
    assert!(refused.len() > 45, "the storms reach few answers: {refused:?}");
}

/// A root asked for after every command, in the middle of blocks, is right there and changes nothing later.
#[test]
fn a_root_asked_for_early_changes_nothing() {
    for seed in 1_000..1_010 {
        let mut storm = Storm::new(seed);
        storm.run();
        let journal: Vec<Done> = storm.rig.journal.clone();
        let (events, roots) = replay(&storm.rig.genesis, &journal);
        assert_eq!(events, storm.rig.events);
        let mut market = wattbook_market::Market::new(storm.rig.genesis.clone()).unwrap();
        let mut last = Hash::ZERO;
        for done in &journal {
            match done {
                Done::Command(seq, command) => {
                    market.apply(*seq, command).unwrap();
                }
                Done::EndBlock(height) => {
                    market.end_block(*height);
                }
                Done::Turn(_) => unreachable!("a storm's node runs alone"),
            }
            last = market.root();
            if seed == 1_000 {
                assert_eq!(last, market.state().root_from_scratch());
            }
        }
        assert_eq!(roots.last(), Some(&last));
    }
}
