//! Part 4: storms of commands against the market core.
//!
//! # Contract
//! One storm: the core asserts its own invariants after every command; after every block the root kept by marks is the
//! root from scratch; a refused command changes nothing; the same commands give the same events and roots again. A storm
//! that fails is cut down to the fewest commands found that still fail.

use super::dice::Dice;
use super::panics::caught;
use super::storm::{Step, blow, genesis};
use super::{Finding, Findings};
use std::fmt::Write;
use std::time::{Duration, Instant};
use wattbook_market::{Genesis, Market};
use wattbook_types::{Event, Hash};

/// Longest time spent on cutting one failed storm down.
const SHRINK: Duration = Duration::from_secs(20);

/// What was simulated.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Simulated {
    pub(crate) seeds: u64,
    pub(crate) commands: u64,
    pub(crate) blocks: u64,
}

/// Storms until `until`.
pub(crate) fn run(seed: u64, until: Instant, findings: &mut Findings) -> Simulated {
    let mut done = Simulated::default();
    let mut number = 0;
    while Instant::now() < until {
        let storm_seed = seed.wrapping_add(number);
        number += 1;
        let mut dice = Dice::new(storm_seed);
        let wild = dice.once_in(4);
        let start = genesis(&mut dice, wild);
        let len = 300 + dice.index(3_000);
        let mut steps = Vec::new();
        let blown = caught(|| blow(&start, dice, len, &mut steps)).map_err(|panic| format!("panic: {panic}"));
        let commands = steps.iter().filter(|step| matches!(step, Step::Command(_))).count() as u64;
        done.seeds += 1;
        done.commands += commands;
        done.blocks += steps.len() as u64 - commands;
        if let Err(what) = blown.and_then(|()| judge(&start, &steps)) {
            let part = if wild { "simulation-wild" } else { "simulation" };
            if findings.is_new(part, &what) {
                let small = cut_down(&start, steps, until);
                let what = judge(&start, &small).err().unwrap_or(what);
                let mut text = format!("storm {storm_seed}, genesis {start:?}\n");
                for step in &small {
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{step:?}");
                }
                findings.add(Finding {
                    part: part.into(),
                    what,
                    reproducer: text.into_bytes(),
                    text: true,
                });
            }
        }
    }
    done
}

/// Does the steps twice.
///
/// # Errors
/// What does not hold.
pub(crate) fn judge(genesis: &Genesis, steps: &[Step]) -> Result<(), String> {
    let first = play(genesis, steps, true)?;
    let second = play(genesis, steps, false)?;
    if first.1 != second.1 {
        return Err("the same commands give other roots".into());
    }
    match first.0.iter().zip(&second.0).position(|(a, b)| a != b) {
        Some(at) => Err(format!(
            "the same commands give other events: {:?}, {:?}",
            first.0[at], second.0[at]
        )),
        None if first.0.len() != second.0.len() => Err("the same commands give more or fewer events".into()),
        None => Ok(()),
    }
}

fn play(genesis: &Genesis, steps: &[Step], strict: bool) -> Result<(Vec<Event>, Vec<Hash>), String> {
    caught(|| played(genesis, steps, strict)).unwrap_or_else(|panic| Err(format!("panic: {panic}")))
}

fn played(genesis: &Genesis, steps: &[Step], strict: bool) -> Result<(Vec<Event>, Vec<Hash>), String> {
    let mut market = Market::new(genesis.clone()).map_err(|reject| format!("genesis cannot stand: {reject:?}"))?;
    let (mut seq, mut height, mut events, mut roots) = (0, 0, Vec::new(), Vec::new());
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Command(command) => {
                // From scratch is dear; one in eight meets every kind of refusal soon enough.
                let before = (strict && n % 8 == 0).then(|| market.state().root_from_scratch());
                match market.apply(seq + 1, command) {
                    Ok(new) => {
                        seq += 1;
                        events.extend(new);
                    }
                    Err(refusal) => {
                        if before.is_some_and(|root| root != market.state().root_from_scratch()) {
                            return Err(format!("a refused command changed the state: {refusal:?}"));
                        }
                    }
                }
            }
            Step::EndBlock => {
                height += 1;
                events.extend(market.end_block(height));
                let root = market.root();
                if strict && root != market.state().root_from_scratch() {
                    return Err(format!("a page was changed without a mark before height {height}"));
                }
                roots.push(root);
            }
        }
    }
    Ok((events, roots))
}

/// The fewest steps found that still fail; at once, if the steps alone do not.
fn cut_down(genesis: &Genesis, mut steps: Vec<Step>, until: Instant) -> Vec<Step> {
    let until = until.min(Instant::now() + SHRINK);
    if judge(genesis, &steps).is_ok() {
        return steps;
    }
    let mut piece = steps.len().next_power_of_two() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < steps.len() {
            if Instant::now() >= until {
                return steps;
            }
            let mut fewer = steps.clone();
            fewer.drain(at..(at + piece).min(steps.len()));
            if judge(genesis, &fewer).is_err() {
                steps = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    steps
}
