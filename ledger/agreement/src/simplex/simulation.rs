//! A whole committee on the deterministic runtime: the delegates' own code, a simulated network, disks that forget, clocks
//! that only the seed moves. The same plan gives the same run, to the byte.
//!
//! # What is checked as it runs
//! * Agreement: no two nodes deliver different blocks at a height, across crashes and epochs.
//! * Order: every node delivers every height, without a gap, at least once.
//! * Validity: the state root of every final block follows from its parent's.
//! * Certificates and evidence hold for a checker that has the bytes and a BLS library only.

mod ledger;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod tests;
mod traitor;

use super::{
    PeerKey,
    application::now_ns,
    door::Door,
    epochs::{self, CHANNELS, Network, Parts},
    seats::{Committees, Seats},
    wire::Shape,
};
use crate::{
    ballot::{BallotKey, Namespace},
    seam::{Genesis, Role, Seating, Settings, Status, Time},
};
use commonware_cryptography::{Signer as _, ed25519};
use commonware_p2p::{
    Manager as _,
    simulated::{self, Link, Oracle},
};
use commonware_runtime::{Clock, Handle, Quota, Runner as _, Spawner, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, Probability, ordered::Set};
use core::{num::NonZeroU32, time::Duration};
use ledger::{
    BLOCK_SIZE_MAX, Candidates, Counter, Counters, Disk, Fault, SimulatedStore, Witness, genesis, lock, missed,
};
use rand_core::Rng as _;
use std::sync::{Arc, Mutex};
use wattbook_types::{ChainId, Hash, ParticipantId, committee::Seat, schedule::Schedule, sha256};

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
    /// Sends noise and what it hears, on every channel, to everybody.
    Flooder,
}

impl Actor {
    /// Whether it runs the product's code, and so gets where everybody gets.
    const fn follows(self) -> bool {
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
            evicts: false,
            patience: Duration::from_secs(120),
        }
    }

    fn actor(&self, node: usize) -> Actor {
        self.actors
            .iter()
            .find(|(rank, _)| *rank == node)
            .map_or(Actor::Honest, |(_, actor)| *actor)
    }

    fn clock_error_ns(&self, node: usize) -> i64 {
        let error = self.clock_errors_ms.iter().find(|(rank, _)| *rank == node);
        error.map_or(0, |(_, ms)| ms * 1_000_000)
    }

    /// Whether two candidates hear each other at a time after the start.
    fn joined(&self, one: usize, other: usize, since: Duration) -> bool {
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

/// The account of the candidate of this rank.
pub fn participant(rank: usize) -> u64 {
    rank as u64 + 11
}

fn peer(rank: usize) -> ed25519::PrivateKey {
    ed25519::PrivateKey::from_seed(rank as u64)
}

fn ballot(rank: usize) -> BallotKey {
    BallotKey::generate(&sha256(&[b"ballot", &(rank as u64).to_le_bytes()]).0).expect("32 bytes make a key")
}

fn candidates(plan: &Plan) -> Candidates {
    let all = plan.seats + plan.standbys;
    let seat = |rank: usize| {
        let mut peer_key = [0; 32];
        peer_key.copy_from_slice(peer(rank).public_key().as_ref());
        Seat {
            participant: ParticipantId::new(participant(rank)),
            peer_key,
            ballot_key: ballot(rank).public(),
            emission: rank as u64,
            stake: 0,
        }
    };
    Candidates {
        seats: (0..all).map(seat).collect(),
        ballots: (0..all).map(ballot).collect(),
        seated: plan.seats,
    }
}

/// One node's place in a run; its disk outlives it.
struct Place {
    disk: Arc<Mutex<Disk>>,
    running: Option<Handle<()>>,
    starts: u64,
    /// When a random crash ends.
    until: Option<u64>,
    /// Whether its actor's crash is over.
    was_down: bool,
}

/// Everything the nodes of a run share.
struct Run {
    plan: Plan,
    settings: Arc<Settings>,
    candidates: Arc<Candidates>,
    witness: Arc<Mutex<Witness>>,
    oracle: Oracle<PeerKey, deterministic::Context>,
}

impl Run {
    async fn start(&self, context: &deterministic::Context, node: usize, place: &mut Place) {
        let me = peer(node).public_key();
        let control = self.oracle.control(me.clone());
        let mut channels = Vec::new();
        for (number, rate) in CHANNELS {
            let quota = Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN));
            channels.push(
                control
                    .register(number, quota)
                    .await
                    .expect("a channel of the simulated network"),
            );
        }
        let context = context
            .child("node")
            .with_attribute("rank", node)
            .with_attribute("start", place.starts + 1);
        place.starts += 1;
        let actor = self.plan.actor(node);
        match actor {
            Actor::Flooder => {
                place.running = Some(context.spawn(move |context| traitor::flood(context, channels)));
                return;
            }
            Actor::Silent => {
                // Its channels stay open; nobody reads or writes them.
                place.running = Some(context.spawn(move |_| async move {
                    let _channels = channels;
                    core::future::pending().await
                }));
                return;
            }
            _ => {}
        }
        let mut channels = channels.into_iter();
        let mut next = || channels.next().expect("a channel for each use");
        let network = Network {
            votes: next(),
            certificates: next(),
            resolver: next(),
            backfill: next(),
            blocks: next(),
            repair: next(),
        };
        let namespace = Namespace::of(self.settings.chain);
        if actor == Actor::Equivocator {
            let committee = self.candidates.committee(0, &[]);
            let seating = Seating {
                committee,
                ballot: Some(self.candidates.ballots[node].clone()),
            };
            let seats = Arc::new(Seats::new(seating, &namespace, true).expect("the candidates' keys are valid"));
            place.running = Some(context.spawn(move |context| traitor::run(context, seats, network.votes)));
            return;
        }
        let (clock, clock_error_ns) = (context.child("clock"), self.plan.clock_error_ns(node));
        let application = Counter {
            node,
            candidates: self.candidates.clone(),
            namespace,
            disk: place.disk.clone(),
            witness: self.witness.clone(),
            now: Arc::new(move || now_ns(&clock).saturating_add_signed(clock_error_ns)),
            evicts: self.plan.evicts,
            fault: match actor {
                Actor::WrongRoot => Some(Fault::Root),
                Actor::Stale => Some(Fault::Time),
                _ => None,
            },
        };
        let parts = Parts {
            me,
            prefix: prefix(node),
            settings: self.settings.clone(),
            genesis: Genesis {
                format: Arc::new(Counters),
                block: genesis(),
            },
            door: Door::inline(application),
            store: Arc::new(Mutex::new(SimulatedStore(place.disk.clone()))),
            committees: Committees::default(),
            status: Arc::new(Mutex::new(Status {
                epoch: 0,
                role: Role::Observer,
                delivered: 0,
            })),
            mailbox: Arc::default(),
            clock_error_ns,
        };
        let peers = self.oracle.manager();
        place.running = Some(context.spawn(move |context| epochs::run(context, parts, control, peers, network)));
    }

    /// Ends a node as a power cut would, and harms its disk.
    async fn crash(&self, context: &deterministic::Context, node: usize, place: &mut Place, harm: Harm) {
        let Some(running) = place.running.take() else { return };
        running.abort();
        // The tasks of the node end before its disk is looked at.
        let _ = running.await;
        let mut epoch = 0;
        {
            let mut disk = lock(&place.disk);
            disk.crash();
            if let Harm::Block(height) = harm {
                disk.damaged.push(height);
            }
            epoch += self.settings.schedule.epoch_of(disk.states.len() as u64);
        }
        let votes = super::journal::partition(&prefix(node), epoch);
        match harm {
            Harm::Votes => super::journal::remove(context, &votes).await,
            Harm::VoteBit => super::journal::flip(context, &votes).await,
            Harm::None | Harm::Block(_) => {}
        }
    }
}

/// Begins the names of a node's files.
fn prefix(node: usize) -> String {
    format!("node{node}")
}

/// Runs a plan.
///
/// # Panics
/// If a node panics: a run that does is a failed test.
pub fn simulate(plan: &Plan) -> Outcome {
    let config = deterministic::Config::new().with_seed(plan.seed);
    let plan = plan.clone();
    deterministic::Runner::new(config).start(|context| drive(context, plan))
}

async fn drive(mut context: deterministic::Context, plan: Plan) -> Outcome {
    let settings = Settings {
        chain: ChainId(sha256(&[b"simulated chain"])),
        schedule: Schedule {
            epoch_blocks: plan.epoch_blocks,
            term_views: NonZeroU32::new(1_000_000).unwrap_or(NonZeroU32::MIN),
        },
        block_size_max: BLOCK_SIZE_MAX,
        leader_timeout: Duration::from_millis(400),
        time: Time::Real,
        pace: Duration::from_millis(100),
        border_pause: Duration::from_millis(100),
    };
    let shape = Shape {
        format: Arc::new(Counters),
        size_max: BLOCK_SIZE_MAX,
    };
    let all = plan.seats + plan.standbys;
    let config = simulated::Config {
        max_size: epochs::message_size_max(&shape, all as u32),
        max_peers_per_set: NZUsize!(64),
        disconnect_on_block: true,
        tracked_peer_sets: NZUsize!(4),
    };
    let (network, oracle) = simulated::Network::new(context.child("network"), config);
    network.start();
    let keys: Vec<PeerKey> = (0..all).map(|rank| peer(rank).public_key()).collect();
    oracle.manager().track(0, Set::from_iter_dedup(keys.iter().cloned()));
    let link = Link {
        latency: plan.delay,
        jitter: plan.jitter,
        success_rate: Probability::new(100 - plan.loss.min(100), 100).expect("a share of a hundred"),
    };
    for one in &keys {
        for other in keys.iter().filter(|other| *other != one) {
            oracle
                .add_link(one.clone(), other.clone(), link.clone())
                .await
                .expect("a link of the simulated network");
        }
    }
    let run = Run {
        candidates: Arc::new(candidates(&plan)),
        settings: Arc::new(settings),
        witness: Arc::default(),
        oracle,
        plan,
    };
    let plan = &run.plan;
    let mut places: Vec<Place> = (0..all)
        .map(|_| Place {
            disk: Arc::default(),
            running: None,
            starts: 0,
            until: None,
            was_down: false,
        })
        .collect();
    for (node, place) in places.iter_mut().enumerate() {
        run.start(&context, node, place).await;
    }
    let began = now_ns(&context);
    let mut next_crash = plan.crash_every.map(|every| began + every.as_nanos() as u64);
    let (mut crashes, mut reached, mut looked) = (0, false, Duration::ZERO);
    while !reached && now_ns(&context) - began < plan.patience.as_nanos() as u64 {
        context.sleep(Duration::from_millis(50)).await;
        let now = now_ns(&context);
        let height = lock(&run.witness).chain.len() as u64;
        let since = Duration::from_nanos(now - began);
        for (one, other) in (0..all).flat_map(|one| (0..all).map(move |other| (one, other))) {
            if one == other || plan.joined(one, other, since) == plan.joined(one, other, looked) {
                continue;
            }
            let (from, to) = (keys[one].clone(), keys[other].clone());
            let changed = match plan.joined(one, other, since) {
                true => run.oracle.add_link(from, to, link.clone()).await,
                false => run.oracle.remove_link(from, to).await,
            };
            changed.expect("a link of the simulated network");
        }
        looked = since;
        for (node, place) in places.iter_mut().enumerate() {
            if let Actor::Crashing { at, back, harm } = plan.actor(node) {
                if !place.was_down && place.running.is_some() && height >= at {
                    run.crash(&context, node, place, harm).await;
                    (place.was_down, crashes) = (true, crashes + 1);
                }
                if place.was_down && place.running.is_none() && back.is_some_and(|back| height >= back) {
                    run.start(&context, node, place).await;
                }
            }
            if place.until.is_some_and(|until| now >= until) {
                place.until = None;
                run.start(&context, node, place).await;
            }
        }
        if let (Some(every), Some(due)) = (plan.crash_every, next_crash)
            && now >= due
        {
            next_crash = Some(now + every.as_nanos() as u64);
            let node = context.next_u64() as usize % all;
            let place = &mut places[node];
            if place.running.is_some() && plan.actor(node) == Actor::Honest {
                run.crash(&context, node, place, Harm::None).await;
                place.until = Some(now + every.as_nanos() as u64 / 2);
                crashes += 1;
            }
        }
        let arrived = |(node, place): (usize, &Place)| {
            let down = place.running.is_none() && place.until.is_none();
            let done = lock(&place.disk).states.len() as u64 > plan.blocks && lock(&place.disk).damaged.is_empty();
            done || down || !plan.actor(node).follows()
        };
        reached = places.iter().enumerate().all(arrived);
    }
    let witness = lock(&run.witness);
    let heads = || witness.chain.iter().map(|block| block.head());
    let mut convicted: Vec<u64> = witness.accused.iter().map(|(_, offender)| offender.get()).collect();
    convicted.sort_unstable();
    convicted.dedup();
    Outcome {
        faults: witness.faults.clone(),
        reached,
        heights: places
            .iter()
            .map(|place| (lock(&place.disk).states.len() as u64).saturating_sub(1))
            .collect(),
        chain: heads().map(|head| head.digest).collect(),
        producers: heads()
            .filter_map(|head| head.producer)
            .map(ParticipantId::get)
            .collect(),
        missed: heads().map(|head| missed(head).to_vec()).collect(),
        lost: witness
            .lost
            .iter()
            .map(|((epoch, term), leader)| (*epoch, *term, leader.get()))
            .collect(),
        convicted,
        roles: witness.roles.clone(),
        proofs: witness.proofs,
        ahead: witness.ahead,
        crashes,
        damaged: places.iter().map(|place| lock(&place.disk).damaged.len()).sum(),
        simulated: Duration::from_nanos(now_ns(&context) - began),
        digest: context.auditor().state(),
    }
}
