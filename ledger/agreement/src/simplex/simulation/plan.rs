//! What a run is made of, and what it comes to.

use crate::seam::Role;
use core::time::Duration;
use wattbook_types::Hash;

/// What a delegate is made to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// Runs the product's code.
    Honest,
    /// Crashes when anybody delivers height `at`, and comes back when anybody delivers `back`, or never.
    Crashing {
        /// Height of the crash.
        at: u64,
        /// Height of the return.
        back: Option<u64>,
        /// What happens to its disk meanwhile.
        harm: Harm,
    },
    /// Votes for two blocks, and gives up what it finalizes, in the first epoch.
    Equivocator,
    /// Is there and says nothing.
    Silent,
    /// Where it leads, its blocks claim another state root than follows.
    WrongRoot,
    /// Where it leads, the time of its blocks stands still.
    Stale,
    /// Where it leads, no command of a client is in its blocks; it says of none that it has seen it.
    Censor,
    /// Sends noise and what it hears, on every channel, to everybody.
    Flooder,
}

impl Actor {
    /// Whether it runs the product's code, and so gets where everybody gets.
    pub(super) const fn follows(self) -> bool {
        !matches!(self, Self::Equivocator | Self::Silent | Self::Flooder)
    }
}

/// A network in two parts for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// When it begins, after the start.
    pub from: Duration,
    /// When it is healed.
    pub until: Duration,
    /// The candidates on one side, by rank.
    pub apart: Vec<usize>,
}

/// What happens to the disk of a node that is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Nothing beyond what was not synced.
    None,
    /// The block of this height no longer checks.
    Block(u64),
    /// Its votes of the epoch it crashed in are gone.
    Votes,
    /// A bit of its last vote of the epoch it crashed in is flipped.
    VoteBit,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything random follows from it.
    pub seed: u64,
    /// Seats of the committee.
    pub seats: usize,
    /// Candidates beyond the seats; they observe until a seat is free.
    pub standbys: usize,
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// The run ends when every node that is up has delivered this height.
    pub blocks: u64,
    /// Messages lost, in percent.
    pub loss: u64,
    /// Mean delay of a link.
    pub delay: Duration,
    /// Its standard deviation.
    pub jitter: Duration,
    /// Crashes one random node this often, for half as long.
    pub crash_every: Option<Duration>,
    /// What candidates do, by rank; the others are honest.
    pub actors: Vec<(usize, Actor)>,
    /// When the network is in two parts.
    pub partitions: Vec<Partition>,
    /// What clocks are wrong by, by rank, ms; behind where negative.
    pub clock_errors_ms: Vec<(usize, i64)>,
    /// Heights from whose delivery on a node has the client's command of this number.
    pub commands: Vec<u64>,
    /// Whoever loses a term makes way for a standby in the next epoch.
    pub evicts: bool,
    /// Simulated time after which the run has stalled.
    pub patience: Duration,
}

impl Plan {
    /// Four honest delegates on a good network.
    pub fn new(seed: u64, blocks: u64) -> Self {
        Self {
            seed,
            seats: 4,
            standbys: 0,
            epoch_blocks: 20,
            blocks,
            loss: 0,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(3),
            crash_every: None,
            actors: Vec::new(),
            partitions: Vec::new(),
            clock_errors_ms: Vec::new(),
            commands: Vec::new(),
            evicts: false,
            patience: Duration::from_secs(120),
        }
    }

    pub(super) fn actor(&self, node: usize) -> Actor {
        self.actors
            .iter()
            .find(|(rank, _)| *rank == node)
            .map_or(Actor::Honest, |(_, actor)| *actor)
    }

    pub(super) fn clock_error_ns(&self, node: usize) -> i64 {
        let error = self.clock_errors_ms.iter().find(|(rank, _)| *rank == node);
        error.map_or(0, |(_, ms)| ms * 1_000_000)
    }

    /// Whether two candidates hear each other at a time after the start.
    pub(super) fn joined(&self, one: usize, other: usize, since: Duration) -> bool {
        let mut now = self
            .partitions
            .iter()
            .filter(|cut| (cut.from..cut.until).contains(&since));
        now.all(|cut| cut.apart.contains(&one) == cut.apart.contains(&other))
    }
}

/// What a run came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// Invariants that were broken; empty in a good run.
    pub faults: Vec<String>,
    /// Whether every node that was up got to the height in time.
    pub reached: bool,
    /// Height each node delivered, by rank.
    pub heights: Vec<u64>,
    /// Digest of each final block, from height 1 on.
    pub chain: Vec<Hash>,
    /// Who produced each.
    pub producers: Vec<u64>,
    /// Terms lost in its epoch up to each, by rank.
    pub missed: Vec<Vec<u32>>,
    /// Terms told lost: epoch, term, leader.
    pub lost: Vec<(u64, u64, u64)>,
    /// Delegates convicted by evidence.
    pub convicted: Vec<u64>,
    /// Roles taken: rank of the candidate, epoch, role.
    pub roles: Vec<(usize, u64, Role)>,
    /// Height of the block that has each command.
    pub commands: Vec<Option<u64>>,
    /// Certificates checked.
    pub proofs: u64,
    /// Blocks verified on a parent that was not final yet.
    pub ahead: u64,
    /// Nodes crashed.
    pub crashes: u64,
    /// Heights that do not check at the end, over all disks.
    pub damaged: usize,
    /// Simulated time.
    pub simulated: Duration,
    /// Digest of every step of the run.
    pub digest: String,
}
