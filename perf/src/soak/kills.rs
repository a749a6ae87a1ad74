//! Part 2: nodes killed under load, again and again on one ledger.
//!
//! # Contract
//! One kill: `wattbook run` on the ledger that the kill before left, clients that log on with the grade durable, send
//! again what was not answered and go on, SIGKILL at a random moment, or while the node still starts. The node then
//! recovers, stops when asked, and leaves a ledger in which
//! * every block that had a commit entry when the node died is still there, and every block that an audit has seen;
//! * every envelope that a client was told is durable stands under the number it was told, and none stands there twice;
//! * `wattbook verify` finds nothing, and an execution from genesis that knows no snapshot has the root of every block,
//!   the last one computed from scratch.
//!
//! In the end old segments are moved off, and what is left must start, prove and say what is missing.

mod clients;
mod retain;

use super::dice::Dice;
use super::ground::{Ground, PATIENCE};
use super::{Finding, Findings, audit};
use clients::{Load, Trader};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use wattbook_ledger::{Commit, Reader};
use wattbook_node::chain::FIRST_SERIAL;
use wattbook_types::{Hash, ParticipantId};

/// The part's name in findings.
const PART: &str = "kills";
/// Kills of one ledger before the next one is made.
const KILLS_PER_LEDGER: u64 = 40;
/// Clients of a ledger.
const CLIENTS: u64 = 3;
/// Latest kill after the first answer.
const WINDOW: Duration = Duration::from_millis(400);
/// Latest kill of a node that starts.
const START: Duration = Duration::from_millis(150);

/// Kills until `until`; how many nodes were killed and recovered.
pub(crate) fn run(seed: u64, until: Instant, program: &Path, findings: &mut Findings) -> u64 {
    let (mut kills, mut dice) = (0, Dice::new(seed ^ 0x6b69_6c6c));
    while Instant::now() < until {
        let mut victim = match Victim::new(dice.any(), program) {
            Ok(victim) => victim,
            Err(why) => {
                eprintln!("kills: {why}");
                break;
            }
        };
        let (mut last, mut from_snapshot) = (None, 0);
        for _ in 0..KILLS_PER_LEDGER {
            if Instant::now() >= until {
                break;
            }
            match victim.kill() {
                Ok(killed) => {
                    kills += 1;
                    from_snapshot += u64::from(killed.from_snapshot);
                    last = Some(killed);
                }
                Err(what) => {
                    if findings.is_new(PART, &what) {
                        findings.add(Finding {
                            part: PART.into(),
                            what,
                            reproducer: format!("SIGKILL number {} of a node under load\n", victim.kills).into_bytes(),
                            text: true,
                        });
                        // When a process is killed cannot be repeated; what it left can be looked at.
                        findings.keep_files(PART, &victim.ground.ledger);
                    }
                    break;
                }
            }
        }
        if let Some(Killed { height, promised, .. }) = last {
            if let Err(what) = victim.retain() {
                findings.add_new(Finding {
                    part: PART.into(),
                    what,
                    reproducer: b"`wattbook retain` after kills\n".to_vec(),
                    text: true,
                });
            }
            eprintln!(
                "kills: {} of one ledger, {height} blocks, {promised} envelopes promised, {from_snapshot} restarts from \
                 a snapshot",
                victim.kills
            );
        }
    }
    kills
}

/// What a kill met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed {
    /// Height of the ledger after recovery.
    pub(crate) height: u64,
    /// Envelopes promised so far, by all clients.
    pub(crate) promised: u64,
    /// Whether the recovering node began at a snapshot.
    pub(crate) from_snapshot: bool,
}

/// A ledger, its clients, and what must be true of it.
pub(crate) struct Victim {
    program: PathBuf,
    dice: Dice,
    ground: Ground,
    traders: Vec<Trader>,
    /// Digests of the blocks that an audit has seen.
    known: BTreeMap<u64, Hash>,
    kills: u64,
}

impl Victim {
    /// A fresh chain whose book is open, with its clients.
    ///
    /// # Errors
    /// The chain cannot be made; no finding.
    pub(crate) fn new(seed: u64, program: &Path) -> Result<Self, String> {
        let ground = Ground::new("kills")?;
        let ids = (FIRST_SERIAL..FIRST_SERIAL + CLIENTS).map(ParticipantId::new);
        Ok(Self {
            program: program.to_owned(),
            dice: Dice::new(seed),
            traders: ids
                .map(|id| Trader::new(seed, id, ground.contract, &ground.secrets.registrar()))
                .collect(),
            known: BTreeMap::new(),
            kills: 0,
            ground,
        })
    }

    /// Kills a node under load, lets another recover, and audits what is there.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn kill(&mut self) -> Result<Killed, String> {
        self.kills += 1;
        let mut node = self.ground.start(&self.program)?;
        if self.dice.once_in(5) {
            thread::sleep(self.moment(START));
        } else {
            let addr = node.addr()?;
            let load = Load::start(addr, self.ground.chain, &mut self.traders);
            if !load.is_answered(Instant::now() + PATIENCE) {
                node.process.kill();
                let ends = load.end(&mut self.traders);
                return Err(format!("no client is answered ({ends}): {}", node.said()));
            }
            thread::sleep(self.moment(WINDOW));
            node.process.kill();
            let ends = load.end(&mut self.traders);
            if !ends.is_empty() {
                return Err(format!("a client before the kill: {ends}"));
            }
        }
        node.process.kill();
        drop(node);
        // Nothing writes any more.
        let left = newest(&self.ground.ledger)?;

        let mut node = self.ground.start(&self.program)?;
        node.addr()?;
        node.process.terminate();
        let status = node.process.wait(Instant::now() + PATIENCE);
        let status = status.ok_or("the node does not stop when asked")?;
        let said = node.said();
        if !status.success() {
            return Err(format!("the recovered node ends with {status}: {said}"));
        }
        self.ground.verify(&self.program)?;
        let audited = audit::execute(&self.ground.ledger)?;
        self.known.extend(left.map(|left| (left.height, left.digest)));
        for (height, digest) in &self.known {
            if audited.blocks.get(height) != Some(digest) {
                return Err(format!("block {height} was durable and is gone or another"));
            }
        }
        for trader in &self.traders {
            trader.check(&audited)?;
        }
        let height = audited.height();
        self.known = audited.blocks;
        Ok(Killed {
            height,
            promised: self.traders.iter().map(Trader::promised).sum(),
            from_snapshot: said.contains("read from block"),
        })
    }

    fn moment(&mut self, latest: Duration) -> Duration {
        // BOUND: less than a second.
        Duration::from_micros(self.dice.below(latest.as_micros() as u64))
    }
}

/// The newest commit entry that a dead node left; `None` where that one is torn.
fn newest(ledger: &Path) -> Result<Option<Commit>, String> {
    match Reader::open(ledger) {
        Ok(reader) => Ok(reader.committed()),
        Err(wattbook_ledger::Error::Damaged(fault)) if fault.kind == wattbook_ledger::FaultKind::CommitEntry => {
            Ok(None)
        }
        Err(error) => Err(format!("the ledger that a dead node left cannot be read: {error}")),
    }
}
