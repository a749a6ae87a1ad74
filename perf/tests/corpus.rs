//! Replays the small inputs of perf/corpus against the fuzz targets of `wattbook-soak`. A file is named for its target.

#[allow(dead_code, reason = "the soak's other parts have their own program")]
#[path = "../src/soak/mod.rs"]
mod soak;

use soak::dice::Dice;
use soak::mutate::shrink;
use soak::panics::caught;
use soak::simulation::judge;
use soak::storm::{Step, blow, genesis};
use soak::targets::{CLEAR, targets};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wattbook_market::Market;
use wattbook_types::Event;

#[test]
fn the_corpus_still_holds() {
    let all = targets(None).unwrap();
    let mut replayed: BTreeMap<&str, u32> = all.iter().map(|target| (target.name, 0)).collect();
    let mut skipped = 0;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (name, _) = stem.rsplit_once('-').unwrap();
        if name == CLEAR {
            skipped += 1;
            continue;
        }
        let target = all.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("{} names no target", path.display()));
        let input = std::fs::read(&path).unwrap();
        if let Err(what) = target.run(&input) {
            panic!("{}: {what}", path.display());
        }
        *replayed.get_mut(target.name).unwrap() += 1;
    }
    eprintln!("replayed {replayed:?}, skipped {skipped} of {CLEAR}, which needs the program");
    assert!(
        replayed.values().all(|count| *count > 0),
        "a target has no corpus: {replayed:?}"
    );
}

/// What our own encoders make is taken, and nothing valid breaks a property.
#[test]
fn seeds_hold() {
    for target in targets(None).unwrap() {
        let mut dice = Dice::new(1);
        for (n, seed) in (target.seeds)(&mut dice).iter().enumerate() {
            assert!(seed.len() <= target.size_max, "{} {n} is too long", target.name);
            if let Err(what) = target.run(seed) {
                panic!("{} {n}: {what}", target.name);
            }
        }
    }
}

#[test]
fn a_panic_is_caught_with_its_place_and_shrunk_to_its_cause() {
    let fails = |bytes: &[u8]| caught(|| assert!(!bytes.contains(&7), "seven")).is_err();
    let said = caught(|| panic!("on purpose")).unwrap_err();
    assert!(said.contains("on purpose") && said.contains("corpus.rs"), "{said}");
    assert_eq!(shrink((0..200).collect(), fails), [7]);
}

/// What a storm says, by the first word of its debug form.
fn word(text: impl std::fmt::Debug) -> String {
    let text = format!("{text:?}");
    text.split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn storms_reach_the_whole_market_and_replay() {
    let (mut events, mut rejects) = (BTreeSet::new(), BTreeSet::new());
    let mut rounds = 0;
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let wild = dice.once_in(4);
        let (start, mut steps) = (genesis(&mut dice, wild), Vec::new());
        blow(&start, dice, 1_500, &mut steps);
        if seed < 4 {
            assert_eq!(judge(&start, &steps), Ok(()), "seed {seed}");
        }
        let (mut market, mut seq, mut height) = (Market::new(start).unwrap(), 0, 0);
        for step in &steps {
            let new = match step {
                Step::Command(command) => market.apply(seq + 1, command).inspect(|_| seq += 1),
                Step::EndBlock => {
                    height += 1;
                    Ok(market.end_block(height))
                }
            };
            match new {
                Ok(new) => new.iter().for_each(|event| {
                    events.insert(word(event));
                    rounds += u32::from(matches!(event, Event::Executed { aggressor: None, .. }));
                    if let Event::Rejected { reject, .. } | Event::QuoteVoided { reject, .. } = event {
                        rejects.insert(word(reject));
                    }
                }),
                Err(refusal) => {
                    rejects.insert(word(refusal.reject));
                }
            }
        }
    }
    eprintln!(
        "{} events, {} answers: {events:?} {rejects:?}",
        events.len(),
        rejects.len()
    );
    assert!(rounds > 10, "{rounds} deals in rounds");
    assert!(events.len() >= 35, "the storms miss events: {events:?}");
    assert!(rejects.len() >= 45, "the storms miss answers: {rejects:?}");
}
