//! A whole committee on the deterministic runtime: the delegates' own code, a simulated network, disks that forget, clocks
//! that only the seed moves. The same plan gives the same run, to the byte.
//!
//! # What is checked as it runs
//! * Agreement: no two nodes deliver different blocks at a height, across crashes and epochs.
//! * Order: every node delivers every height, without a gap, at least once.
//! * Validity: the state root of every final block follows from its parent's.
//! * Commands: none is in the chain twice, none is left out for long, whoever leads.
//! * Certificates and evidence hold for a checker that has the bytes and a BLS library only.

mod commands;
mod ledger;
mod plan;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod tests;
mod traitor;

pub use self::plan::{Actor, Harm, Outcome, Partition, Plan};

use super::{
    PeerKey,
    application::now_ns,
    door::{Door, Request},
    epochs::{self, CHANNELS, Network, Parts},
    node::WORDS,
    seats::{Committees, Seats},
    wire::Shape,
};
use crate::{
    ballot::{BallotKey, Namespace},
    block::Candidate,
    seam::{Genesis, Role, Seating, Settings, Status, Time},
};
use commands::Docket;
use commonware_cryptography::{Signer as _, ed25519};
use commonware_p2p::{
    Manager as _, Receiver as _, Recipients, Sender as _,
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
use wattbook_types::{ChainId, ParticipantId, committee::Seat, schedule::Schedule, sha256};

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
    commands: Arc<Vec<u64>>,
    witness: Arc<Mutex<Witness>>,
    oracle: Oracle<PeerKey, deterministic::Context>,
}

impl Run {
    async fn start(&self, context: &deterministic::Context, node: usize, place: &mut Place) {
        let me = peer(node).public_key();
        let control = self.oracle.control(me.clone());
        let mut channels = Vec::new();
        for (number, rate) in CHANNELS.into_iter().chain([WORDS]) {
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
        let (mut tell, mut words) = next();
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
                Actor::Censor => Some(Fault::Omission),
                _ => None,
            },
            docket: Docket::new(self.commands.clone(), self.plan.seats),
            tell: Box::new(move |bytes| {
                tell.send(Recipients::All, bytes, false);
            }),
        };
        let door = Door::inline(application);
        let parts = Parts {
            me,
            prefix: prefix(node),
            settings: self.settings.clone(),
            genesis: Genesis {
                format: Arc::new(Counters),
                block: genesis(),
            },
            door: door.clone(),
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
        place.running = Some(context.spawn(move |context| async move {
            context.child("words").spawn(move |_| async move {
                while let Ok((peer, bytes)) = words.recv().await {
                    let mut from = [0; 32];
                    from.copy_from_slice(peer.as_ref());
                    let bytes = bytes.into();
                    door.tell(Request::Heard { from, bytes });
                }
            });
            epochs::run(context, parts, control, peers, network).await;
        }));
    }

    /// Ends a node as a power cut would, and harms its disk.
    async fn crash(&self, context: &deterministic::Context, node: usize, place: &mut Place, harm: Harm) {
        let Some(running) = place.running.take() else { return };
        running.abort();
        // The tasks of the node end before its disk is looked at.
        let _ = running.await;
        // Aborted tasks end when they are next looked at.
        context.sleep(Duration::from_millis(1)).await;
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
        commands: Arc::new(plan.commands.clone()),
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
    let mut faults = witness.faults.clone();
    faults.extend(commands::faults(&plan.commands, &witness.chain));
    let having = |command: u64| {
        let has = |block: &&Candidate| commands::of(block).is_some_and(|all| all.contains(&command));
        witness.chain.iter().find(has).map(|block| block.head().height)
    };
    Outcome {
        faults,
        commands: (0..plan.commands.len() as u64).map(having).collect(),
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
