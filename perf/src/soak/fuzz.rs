//! Part 1: mutated messages against every decoder that faces strangers, mutated streams of operations against the book.
//!
//! # Contract
//! The targets take turns of equal time. An input whose answer is of a class not seen before joins the pool that the
//! next inputs are mutated from. Every broken property and every panic is shrunk and reported once.

use super::dice::Dice;
use super::mutate::{mutate, shrink};
use super::panics::caught;
use super::targets::{Class, Target, targets};
use super::{Finding, Findings};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// A target's turn.
const TURN: Duration = Duration::from_millis(100);
/// Most tries to shrink an input.
const SHRINK_TRIES: u32 = 4_000;
/// Most inputs kept for a target.
const POOL_LEN_MAX: usize = 512;

/// A target under fire.
struct Front {
    target: Target,
    dice: Dice,
    pool: Vec<Vec<u8>>,
    /// Inputs before this one are seeds.
    seeds: usize,
    classes: BTreeSet<Class>,
    executions: u64,
}

impl Front {
    fn new(target: Target, seed: u64, findings: &mut Findings) -> Self {
        let name = target
            .name
            .bytes()
            .fold(0u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
        let mut dice = Dice::new(seed ^ name);
        let pool = (target.seeds)(&mut dice);
        let mut front = Self {
            target,
            dice,
            seeds: pool.len(),
            pool,
            classes: BTreeSet::new(),
            executions: 0,
        };
        for at in 0..front.seeds {
            let input = front.pool[at].clone();
            front.fire(&input, findings);
        }
        front
    }

    /// Whether the input was answered as never before.
    fn fire(&mut self, input: &[u8], findings: &mut Findings) -> bool {
        self.executions += 1;
        match attempt(&self.target, input) {
            Ok(class) => self.classes.insert(class),
            Err(what) => {
                let part = format!("fuzz-{}", self.target.name);
                if findings.is_new(&part, &what) {
                    let mut tries = 0;
                    let small = shrink(input.to_vec(), |bytes| {
                        tries += 1;
                        tries < SHRINK_TRIES && attempt(&self.target, bytes).is_err()
                    });
                    let what = attempt(&self.target, &small).err().unwrap_or(what);
                    findings.add(Finding {
                        part,
                        what,
                        reproducer: small,
                        text: false,
                    });
                }
                false
            }
        }
    }

    fn turn(&mut self, until: Instant, findings: &mut Findings) {
        while Instant::now() < until {
            let input = mutate(&self.pool, self.target.size_max, &mut self.dice);
            if self.fire(&input, findings) && self.pool.len() < POOL_LEN_MAX {
                self.pool.push(input);
            }
        }
    }
}

fn attempt(target: &Target, input: &[u8]) -> Result<Class, String> {
    caught(|| target.run(input)).unwrap_or_else(|panic| Err(format!("panic: {panic}")))
}

/// Fires until `until`; executions by target. With `keep`, writes the inputs worth keeping there.
///
/// # Errors
/// Temporary files or the corpus cannot be written.
pub(crate) fn run(
    seed: u64,
    until: Instant,
    program: &Path,
    keep: Option<&Path>,
    findings: &mut Findings,
) -> std::io::Result<BTreeMap<String, u64>> {
    let all = targets(Some(program))?;
    let mut fronts: Vec<Front> = all
        .into_iter()
        .map(|target| Front::new(target, seed, findings))
        .collect();
    while Instant::now() < until {
        for front in &mut fronts {
            front.turn(until.min(Instant::now() + TURN), findings);
        }
    }
    if let Some(dir) = keep {
        std::fs::create_dir_all(dir)?;
        for front in &fronts {
            // The shortest seed, and the shortest inputs that were answered in a way of their own.
            let (seeds, found) = front.pool.split_at(front.seeds);
            let mut found: Vec<&Vec<u8>> = found.iter().collect();
            found.sort_by_key(|input| input.len());
            let kept = seeds
                .iter()
                .min_by_key(|input| input.len())
                .into_iter()
                .chain(found.into_iter().take(4));
            for (n, input) in kept.enumerate() {
                std::fs::write(dir.join(format!("{}-{n}.bin", front.target.name)), input)?;
            }
        }
    }
    Ok(fronts
        .into_iter()
        .map(|front| (front.target.name.to_owned(), front.executions))
        .collect())
}
