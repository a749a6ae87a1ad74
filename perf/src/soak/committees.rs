//! Part 6: committees of delegates on the deterministic runtime, through crashes, loss, delay, failing disks and liars.
//!
//! # Contract
//! One run: four or seven delegates agree on 60 blocks and more over three epochs while nodes crash at random, and some of
//! them lose votes, find blocks damaged, vote for two blocks at once, say nothing, flood the others, leave clients' commands
//! out of their blocks, or propose blocks with another state root or a time that stands still; the network is cut in two and healed, clocks are wrong. What the
//! simulation checks as it goes holds
//! (agreement, order, validity, certificates, evidence, no command twice and none left out for long); everybody who is up gets there once faults stop mattering; whoever
//! lied is convicted or was never heard, and nobody else is; nothing stays damaged. One run in eight is made twice, to
//! the byte.

use super::dice::Dice;
use super::panics::caught;
use super::{Finding, Findings};
use std::time::{Duration, Instant};
use wattbook_agreement::simplex::simulation::{Actor, Harm, Outcome, Partition, Plan, participant, simulate};

/// What was simulated.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Agreed {
    pub(crate) seeds: u64,
    pub(crate) blocks: u64,
    pub(crate) crashes: u64,
    pub(crate) liars: u64,
    pub(crate) certificates: u64,
    pub(crate) seconds: u64,
}

/// Runs until `until`; the one under way then is finished.
pub(crate) fn run(seed: u64, until: Instant, findings: &mut Findings) -> Agreed {
    let mut done = Agreed::default();
    let mut number = 0;
    while Instant::now() < until {
        let plan_seed = seed.wrapping_add(number);
        number += 1;
        let mut dice = Dice::new(plan_seed);
        let plan = plan(plan_seed, &mut dice);
        let twice = dice.once_in(8);
        let outcome = caught(|| simulate(&plan)).map_err(|panic| format!("panic: {panic}"));
        let judged = outcome.and_then(|outcome| {
            done.seeds += 1;
            done.blocks += outcome.chain.len() as u64;
            done.crashes += outcome.crashes;
            done.certificates += outcome.proofs;
            done.seconds += outcome.simulated.as_secs();
            done.liars += liars(&plan).len() as u64;
            judge(&plan, &outcome)?;
            if twice && simulate(&plan) != outcome {
                return Err("the same plan gave another run".into());
            }
            Ok(())
        });
        if let Err(what) = judged {
            findings.add_new(Finding {
                part: "committees".into(),
                what,
                reproducer: format!("{plan:#?}\n").into_bytes(),
                text: true,
            });
        }
    }
    done
}

/// A run with as many faults at once as a committee is said to stand, and random crashes beyond them.
fn plan(seed: u64, dice: &mut Dice) -> Plan {
    let mut plan = Plan::new(seed, 60);
    plan.seats = if dice.once_in(4) { 7 } else { 4 };
    plan.loss = dice.index(9) as u64;
    plan.delay = Duration::from_millis(2 + dice.index(40) as u64);
    plan.jitter = plan.delay.mul_f64(0.5);
    plan.patience = Duration::from_secs(1_800);
    let crashes = Duration::from_millis(1_000 + dice.index(5_000) as u64);
    let at = 1 + dice.index(30) as u64;
    let harm = match dice.index(4) {
        0 => Harm::None,
        1 => Harm::Block(1 + dice.index(at as usize) as u64),
        2 => Harm::Votes,
        _ => Harm::VoteBit,
    };
    let actor = match dice.index(10) {
        0 => Some(Actor::Equivocator),
        1 => Some(Actor::Silent),
        2 => Some(Actor::WrongRoot),
        3 => Some(Actor::Stale),
        4 => Some(Actor::Flooder),
        5 => Some(Actor::Censor),
        6 | 7 => Some(Actor::Crashing {
            at,
            back: Some(at + 1 + dice.index(20) as u64),
            harm,
        }),
        _ => None,
    };
    let rank = dice.index(plan.seats);
    // Beside one that will not vote, four seats stand no other fault for ever.
    let absent = actor.is_some_and(|actor| !matches!(actor, Actor::Crashing { .. }));
    plan.crash_every = Some(crashes).filter(|_| !absent && !dice.once_in(3));
    plan.actors = actor.map(|actor| (rank, actor)).into_iter().collect();
    plan.commands = (0..dice.index(4)).map(|_| 1 + dice.index(35) as u64).collect();
    let mut from = Duration::ZERO;
    for _ in 0..dice.index(4) {
        from += Duration::from_millis(500 + dice.index(4_000) as u64);
        let until = from + Duration::from_millis(500 + dice.index(6_000) as u64);
        let apart = (0..plan.seats).filter(|_| dice.once_in(2)).collect();
        plan.partitions.push(Partition { from, until, apart });
        from = until;
    }
    if dice.once_in(2) {
        // Two such clocks differ by less than a block may be ahead, so they cost nobody a vote.
        plan.clock_errors_ms = (0..plan.seats)
            .map(|rank| (rank, dice.index(400) as i64 - 200))
            .collect();
    }
    plan
}

fn liars(plan: &Plan) -> Vec<u64> {
    let liars = plan.actors.iter().filter(|(_, actor)| *actor == Actor::Equivocator);
    liars.map(|(rank, _)| participant(*rank)).collect()
}

/// # Errors
/// What does not hold.
fn judge(plan: &Plan, outcome: &Outcome) -> Result<(), String> {
    if let Some(fault) = outcome.faults.first() {
        return Err(fault.clone());
    }
    if !outcome.reached {
        return Err(format!(
            "stalled at {:?} after {:?}",
            outcome.heights, outcome.simulated
        ));
    }
    let liars = liars(plan);
    if let Some(framed) = outcome.convicted.iter().find(|convicted| !liars.contains(convicted)) {
        return Err(format!("{framed} was convicted and had not lied"));
    }
    if outcome.damaged > 0 {
        return Err(format!("{} blocks are still damaged", outcome.damaged));
    }
    Ok(())
}
