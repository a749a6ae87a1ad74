//! Images: taken while trading goes on, they come back as the market they are of, and nothing they hold makes it panic.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

#[path = "support/storm.rs"]
mod storm;

use storm::Storm;
use support::{Dice, Done};
use wattbook_market::{Image, Market};
use wattbook_types::{Event, Hash};

/// Does a part of a journal; the events, the refusals of commands done before, and the root after every block.
fn go_on(market: &mut Market, journal: &[Done]) -> (Vec<Event>, Vec<Hash>) {
    let (mut events, mut roots) = (Vec::new(), Vec::new());
    for done in journal {
        match done {
            Done::Command(seq, command) => {
                events.extend(market.apply(*seq, command).unwrap());
                // The same again is refused, with the record that it is a copy of.
                assert!(market.apply(seq + 1_000_000, command).is_err());
            }
            Done::EndBlock(height) => {
                events.extend(market.end_block(*height));
                roots.push(market.root());
            }
            Done::Turn(_) => unreachable!("a storm's node runs alone"),
        }
    }
    (events, roots)
}

/// The image asked for after `from` entries of a journal, where it is of, and the root there.
fn image_of(market: &mut Market, journal: &[Done], from: usize, part_size: usize) -> Option<(Image, usize, Hash)> {
    for (at, done) in journal.iter().enumerate() {
        if at == from {
            market.begin_image(part_size);
        }
        match done {
            Done::Command(seq, command) => _ = market.apply(*seq, command).unwrap(),
            Done::EndBlock(height) => {
                market.end_block(*height);
                let root = market.root();
                if let Some(image) = market.take_image() {
                    assert_eq!(image.height(), *height);
                    return Some((image, at + 1, root));
                }
            }
            Done::Turn(_) => unreachable!("a storm's node runs alone"),
        }
    }
    None
}

#[test]
fn a_restored_market_goes_on_as_the_one_it_was() {
    let (mut restored, mut blocks) = (0, 0);
    for seed in 0..40 {
        let mut storm = Storm::new(seed);
        storm.run();
        let (genesis, journal) = (&storm.rig.genesis, &storm.rig.journal);
        let mut dice = Dice::new(seed);
        // Whole at once, over a few blocks, over as many as there are pages.
        for part_size in [1 << 20, 4_000, 1] {
            let from = dice.below(journal.len() as u64 / 2) as usize;
            let mut market = Market::new(genesis.clone()).unwrap();
            let Some((image, at, root)) = image_of(&mut market, journal, from, part_size) else {
                continue;
            };
            let mut again = Market::restore(&image.to_bytes()).unwrap();
            assert_eq!(again.state().root_from_scratch(), root, "seed {seed}");
            assert_eq!(again.root(), root, "seed {seed}");
            assert!(again.state().is_conserved());
            again.begin_image(1);
            assert_eq!(
                go_on(&mut again, &journal[at..]),
                go_on(&mut market, &journal[at..]),
                "seed {seed}"
            );
            restored += 1;
            blocks += journal[from..at]
                .iter()
                .filter(|done| matches!(done, Done::EndBlock(_)))
                .count();
        }
    }
    assert!(restored > 80 && blocks > 4 * restored, "{restored} {blocks}");
}

#[test]
fn a_changed_image_is_refused_or_gives_another_root_or_changes_nothing_that_was_said() {
    let mut storm = Storm::new(3);
    storm.run();
    let (genesis, journal) = (&storm.rig.genesis, &storm.rig.journal);
    let mut market = Market::new(genesis.clone()).unwrap();
    let (image, _, root) = image_of(&mut market, journal, journal.len() / 2, 1 << 20).unwrap();
    let bytes = image.to_bytes();
    let mut dice = Dice::new(9);
    let (mut refused, mut other) = (0, 0);
    for _ in 0..4_000 {
        let mut changed = bytes.clone();
        match dice.below(8) {
            0 => changed.truncate(dice.below(bytes.len() as u64) as usize),
            1 => changed.push(0),
            _ => {
                let at = dice.below(bytes.len() as u64) as usize;
                changed[at] ^= 1 << dice.below(8);
            }
        }
        let Ok(mut market) = Market::restore(&changed) else {
            refused += 1;
            continue;
        };
        if market.root() == root {
            // What no root binds: records of used nonces, quotes of reveals.
            market.end_block(u64::MAX);
        } else {
            other += 1;
        }
    }
    assert!(refused > 500 && other > 500, "{refused} {other}");
}
