//! The topology, in one place: which stage runs on which thread, and the rings between them.
//!
//! | ring | from | to | carries |
//! |---|---|---|---|
//! | jobs | ingest | verify | decoded requests, in ticket order |
//! | checked | verify | matching | verdicts, in ticket order |
//! | blocks | matching | seal | blocks whose state is known |
//! | groups | seal | sync | blocks that stand in the log (a queue of the ledger's) |
//! | publications | matching, seal, sync | publish | events, answers, watermarks |
//! | sockets | publish | ingest | framed packets |
//! | fanout | publish | fanout | public messages, where they are sent over UDP |
//! | drafts | publish | snapshots | state and streams to be written down; dropped when it is full |

use crate::config::{self, Clock, Config, Replicate};
use crate::execute::ahead::{Ahead, DecodedRecord, Signatures, Stopped, read_ahead};
use crate::execute::{Executor, StartError};
use crate::keys::{self, KeyFileError};
use crate::mending::{self, Opened};
use crate::metrics::{Endpoint, Metrics};
use crate::notary::{self, Office};
use crate::restart::{self, Damages, Keeper, ScrubbedHeight, Scrubbing};
use crate::ring::{Gone, Sender, ring};
use crate::stage::envelopes::Envelopes;
use crate::stage::fanout::Fanout;
use crate::stage::ingest::tls::{self, TlsError};
use crate::stage::ingest::{Bell, ChainFacts, Ingest};
use crate::stage::matching::{Matching, Wiring};
use crate::stage::publish::{Publish, sees_deals};
use crate::stage::replica::{self, Identity, Replica};
use crate::stage::seal::Seal;
use crate::stage::sync::Sync;
use crate::stage::verify::{Keys, Verify};
use crate::stage::{DurableHeight, Publication};
use ed25519_dalek::VerifyingKey;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use thiserror::Error;
use wattbook_agreement::ballot::BallotKey;
use wattbook_agreement::seam::Peer;
use wattbook_feed::sbe::session::HaltReason;
use wattbook_feed::signed::Alias;
use wattbook_ledger::{Anchor, Error, Fault, GENESIS_FILE, GroupPolicy, NO_WATCH, Options, Reader, Recovery, Watch};
use wattbook_market::BadTurn;
use wattbook_shaders::PublicKey;
use wattbook_types::{ParticipantId, Reject};

/// Compiled kernels of the verify stage's device, inside a node's directory.
const PIPELINES_DIR: &str = "pipelines";

/// Votes and certificates of agreement, inside a node's directory.
const AGREEMENT_DIR: &str = "agreement";

/// Why a node does not start, or stopped.
#[derive(Debug, Error)]
pub enum NodeError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    /// Damage met while replaying.
    #[error("the ledger is damaged: {0}")]
    Damaged(#[from] Fault),
    /// Genesis.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A record of the ledger is refused by the market.
    #[error("record {seq} of block {height} does not replay: {reject}")]
    Replay {
        /// The block.
        height: u64,
        /// The record.
        seq: u64,
        /// Why.
        reject: Reject,
    },
    /// Re-execution gives another root than the block says.
    #[error("block {height} does not replay to the state root it names; run `wattbook verify` on the directory")]
    StateRoot {
        /// The block.
        height: u64,
    },
    /// A header names a delegate whose turn it was not.
    #[error("block {height} does not replay: {why}; run `wattbook verify` on the directory")]
    Turn {
        /// The block.
        height: u64,
        /// What is wrong with it.
        why: BadTurn,
    },
    /// The port.
    #[error("cannot listen on {addr}: {source}; is another node running there? choose another with --listen")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// Certificate or key of the session port.
    #[error("sessions cannot be secured: {0}; see `ingest.tls`")]
    Tls(#[from] TlsError),
    /// The metrics' port.
    #[error("cannot serve metrics on {addr}: {source}; choose another `metrics.listen`")]
    ListenMetrics {
        /// The address.
        addr: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The sockets of the public stream over UDP.
    #[error("cannot send the public stream over UDP: {0}; see `fanout`")]
    Fanout(#[source] io::Error),
    /// A demo chain off loopback, or a lockstep clock on a real one.
    #[error("{0}")]
    Refused(&'static str),
    /// The system refuses a thread, a poll or a signal handler.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
    /// A stage ended in a panic.
    #[error("the {0} stage failed; the ledger up to its last durable block is safe, a restart recovers it")]
    Stage(&'static str),
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What recovery found.
    pub recovery: Recovery,
    /// Height of the ledger at start.
    pub height: u64,
    /// How far the ledger has been read since.
    pub scrubbed: ScrubbedHeight,
    /// What its stages count.
    pub metrics: Metrics,
    /// Where they are read, if anywhere.
    pub endpoint: Option<Endpoint>,
    /// Where messages of the public stream are asked for again, if anywhere.
    pub requests: Option<SocketAddr>,
    farewell: Option<Farewell>,
    stop: Arc<AtomicBool>,
    threads: Vec<(&'static str, JoinHandle<Result<(), NodeError>>)>,
}

/// How long the last words of a node may take.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Tells the sessions of a node that cannot be joined any more, for one of its threads stands still for ever.
#[derive(Debug)]
pub struct Farewell {
    /// Gone with the stage that could still announce a block.
    publish: Weak<Sender<Publication>>,
    durable: Arc<DurableHeight>,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Farewell {
    /// Says that the ledger failed; returns when the sockets' stage has ended, or after a while. The process must end then.
    pub fn say(self) {
        let Some(publish) = self.publish.upgrade() else { return };
        let (reason, seq) = (HaltReason::LedgerFailed, self.durable.seq());
        // On its own thread: the ring may be full and stay so.
        let said = thread::Builder::new().name("farewell".into()).spawn(move || {
            let _ = publish.send(Publication::Halt { reason, seq });
            let _ = publish.send(Publication::Farewell);
        });
        if said.is_ok() {
            let _ = self.ended.recv_timeout(FAREWELL_MAX);
        }
    }
}

impl Node {
    /// Opens the ledger in `dir` from its newest snapshot that holds, replays what follows, binds the port, starts the stages.
    ///
    /// # Errors
    /// [`NodeError`]; nothing runs then.
    pub fn start(dir: &Path, config: &Config, stop: Arc<AtomicBool>) -> Result<Self, NodeError> {
        Self::start_watched(dir, config, stop, NO_WATCH)
    }

    /// Starts as [`Self::start`] does, with a watch between the ledger and the disk; tests do.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_watched(dir: &Path, config: &Config, stop: Arc<AtomicBool>, watch: Watch) -> Result<Self, NodeError> {
        let log_key = keys::log_key(dir)?;
        let alias_key = keys::read_named(dir, keys::ALIAS_KEY)?;
        let options = Options {
            segment_size: config.seal.segment_size,
        };
        let genesis = std::fs::read(dir.join(GENESIS_FILE)).unwrap_or_default();
        let public = log_key.verifying_key();
        let mut damages = Damages::default();
        let open = match config.replicate.listen {
            Some(_) => mending::open_seated,
            None => mending::open,
        };
        let opened = match (open(dir, &genesis, &log_key, options), config.replicate.listen) {
            (Err(Error::Damaged(fault)), Some(listen)) => {
                let identity = identity(dir, listen, &config.replicate)?;
                damages = mending::from_peers(dir, &genesis, &public, &identity, &config.replicate, fault, &stop)?;
                open(dir, &genesis, &log_key, options)?
            }
            (opened, _) => opened?,
        };
        let Opened {
            restored,
            mut store,
            recovery,
        } = opened;
        let anchor = restored.as_ref().map(|restored| restored.anchor.clone());
        let (mut executor, streams) = match restored {
            Some(restored) => (restored.executor, Some(restored.streams)),
            None => (Executor::start(store.genesis())?.0, None),
        };
        let chain = executor.chain();
        // A key takes as long to unpack as hundreds of records to replay, and nothing before the stages needs it.
        let packed: Vec<_> = (executor.market().state().accounts.iter())
            .map(|(id, account)| (id, account.profile().public_key))
            .collect();
        let known_keys = thread::Builder::new()
            .name("keys".into())
            .spawn(move || unpack(packed))?;
        let genesis = executor.genesis().clone();
        let demo = genesis.is_demo();
        if demo && !config.listen.ip().is_loopback() {
            return Err(NodeError::Refused(
                "a demo chain runs on loopback only; set `listen` to 127.0.0.1",
            ));
        }
        if !demo && config.clock == Clock::Lockstep {
            return Err(NodeError::Refused(
                "clock = \"lockstep\" is for demo chains only; set `clock` to \"live\"",
            ));
        }
        let registrar = VerifyingKey::from_bytes(&genesis.registrar)
            .map_err(|_| NodeError::Refused("genesis names a registrar key that is no Ed25519 key"))?;
        let alias = Alias::new(alias_key, chain);
        if Alias::commitment(&alias_key) != genesis.alias_commitment {
            return Err(NodeError::Refused(
                "keys/alias.key is not the key that genesis commits to",
            ));
        }

        // Bind before replaying: a second node on the port should fail at once.
        let listener = TcpListener::bind(config.listen).map_err(|source| NodeError::Listen {
            addr: config.listen,
            source,
        })?;
        let addr = listener.local_addr()?;
        // More than a burst of everybody coming back, which the system cuts to its own limit.
        rustix::net::listen(&listener, 4_096).map_err(io::Error::from)?;
        let bell = Bell::new()?;
        let tls = config.ingest.tls.as_ref().map(tls::server).transpose()?;

        let metrics = Metrics::default();
        let endpoint = match config.metrics.listen {
            None => None,
            Some(addr) => Some(
                Endpoint::start(metrics.clone(), addr).map_err(|source| NodeError::ListenMetrics { addr, source })?,
            ),
        };

        let wait = config.wait;
        let (jobs_in, jobs) = ring(config.ingest.ring_len, wait);
        let (checked_in, checked) = ring(config.verify.ring_len, wait);
        let (blocks_in, blocks) = ring(config.seal.ring_len, wait);
        let (publications_in, publications) = ring(config.publish.ring_len, wait);
        let (sockets_in, sockets) = ring(config.publish.ring_len, wait);

        let readers = executor.market().state().accounts.iter();
        let readers = readers
            .filter(|(_, account)| sees_deals(account.roles))
            .map(|(id, _)| id)
            .collect();
        let wake = {
            let bell = Arc::clone(&bell);
            Box::new(move || bell.ring())
        };
        let mut publish = Publish::new(publications, sockets_in, wake, alias.clone(), &config.publish, readers);
        publish.hand_over(config.ingest.page_size(), config.ingest.session_buffer_max);
        if let Some(streams) = streams {
            publish.restore(streams);
        }
        replay(dir, &mut executor, &mut publish, anchor.as_ref())?;
        let (keeper, drafts) = Keeper::new(store.anchor());
        publish.keep(keeper, config.publish.snapshot_history_len);
        let fanout = match config.fanout.is_on() {
            false => None,
            true => {
                let ends = ring(config.publish.ring_len, wait);
                let history_len = config.publish.history_len;
                let fanout = Fanout::new(config.fanout.clone(), history_len, publish.kept(), ends, &metrics);
                let (fanout, outlet) = fanout.map_err(NodeError::Fanout)?;
                publish.fan_out(outlet);
                Some(fanout)
            }
        };
        let requests = fanout.as_ref().and_then(Fanout::requests_addr);
        let scrubbed = ScrubbedHeight::default();
        let scrubbing = Scrubbing {
            dir: dir.to_owned(),
            key: log_key.verifying_key(),
            until: anchor.as_ref().map_or(0, Anchor::height),
            read: store.tip().height,
            rate: config.seal.scrub_mib_s << 20,
            damages: config.replicate.listen.map(|_| damages.clone()),
        };
        if anchor.is_none() {
            // Opening has read everything.
            scrubbed.set(store.tip().height);
        }

        if config.replicate.listen.is_some() == genesis.delegates.is_empty() {
            return Err(NodeError::Refused(
                "a chain with delegates needs `replicate.listen`, and no other chain takes it",
            ));
        }
        let keys: Keys = Arc::new(RwLock::new(keys_of(&executor, known_keys)));
        let durable = Arc::new(DurableHeight::default());
        durable.set(store.tip().height, store.next_seq() - 1);
        let (next_seq, next_height) = (store.next_seq(), store.next_height());
        let height = store.tip().height;
        let facts = ChainFacts { chain, demo };
        let envelopes = Envelopes::new(config.ingest.ring_len);
        let (jobs_again, checked_again) = (jobs_in.clone(), checked_in.clone());
        let last_sender = Arc::new(publications_in.clone());
        let ingest = Ingest {
            listener,
            jobs: jobs_in,
            outbound: sockets,
            drained: Arc::downgrade(&last_sender),
            bell,
            settings: config.ingest.clone(),
            tls,
            facts,
            envelopes: envelopes.clone(),
            stop: Arc::clone(&stop),
            metrics: metrics.clone(),
        };
        let verify = Verify::new(
            jobs,
            checked_in,
            chain,
            registrar,
            Arc::clone(&keys),
            config.verify.clone(),
            Some(dir.join(PIPELINES_DIR)),
            &metrics,
        )
        .with_envelopes(envelopes);
        store.watch(watch);
        store.start_ahead()?;
        let (told, ended) = std::sync::mpsc::channel();
        let farewell = Farewell {
            publish: Arc::downgrade(&last_sender),
            durable: Arc::clone(&durable),
            ended,
        };
        let attended = Arc::clone(&durable);
        let market = match config.replicate.listen {
            None => {
                // A ring ends with the last of its sending ends.
                drop((jobs_again, checked_again));
                let wiring = Wiring {
                    checked,
                    blocks: blocks_in,
                    publish: publications_in.clone(),
                    keys,
                    durable: Arc::clone(&durable),
                };
                let (clock, seal) = (config.clock, config.seal.clone());
                let matching = Matching::new(wiring, executor, clock, seal, next_seq, next_height);
                let committer = store.split(GroupPolicy {
                    size_max: config.seal.group_size_max,
                    blocks_max: config.seal.group_blocks_max,
                    linger: Duration::from_micros(config.seal.group_linger_us),
                    io_uring: config.seal.io_uring,
                })?;
                if let Some(why) = committer.io_uring_refused() {
                    tracing::warn!(%why, "no io_uring for the ledger's syncs; they go by msync");
                }
                let sync = Sync::new(committer, last_sender, Arc::clone(&durable), Arc::clone(&stop));
                let over = Arc::clone(&durable);
                let seal = Seal::new(blocks, publications_in, durable, store, alias, Arc::clone(&stop));
                vec![
                    spawn("matching", move || {
                        matching.run();
                        Ok(())
                    })?,
                    // Before seal, which only repeats that it failed.
                    spawn("sync", move || {
                        let run = sync.run().map_err(NodeError::Ledger);
                        over.fail();
                        run
                    })?,
                    spawn("seal", move || seal.run().map_err(NodeError::Ledger))?,
                ]
            }
            Some(listen) => {
                drop((blocks_in, blocks, publications_in));
                let wiring = replica::Wiring {
                    checked,
                    calls: checked_again,
                    jobs: jobs_again,
                    publish: last_sender,
                    keys,
                    durable,
                    stop: Arc::clone(&stop),
                    scrubbed: scrubbed.clone(),
                    damages,
                };
                let set = replica::Set {
                    replicate: config.replicate.clone(),
                    is_lockstep: config.clock == Clock::Lockstep,
                    seal: config.seal.clone(),
                    alias,
                    registrar,
                };
                let identity = identity(dir, listen, &config.replicate)?;
                let replica = Replica::start(wiring, set, identity, executor, store, &metrics)?;
                vec![spawn("replica", move || {
                    replica.run().map_err(|Gone| NodeError::Stage("replica"))
                })?]
            }
        };

        let (folder, kept) = (dir.to_owned(), config.seal.snapshots_kept);
        let (snapshot_key, retention) = (log_key.clone(), config.retention.clone());
        let mut threads = vec![
            spawn("ingest", move || {
                let ended = ingest.run().map_err(NodeError::System);
                // Nobody listens unless the node ends by a farewell.
                let _ = told.send(());
                ended
            })?,
            spawn("verify", move || {
                verify.run();
                Ok(())
            })?,
        ];
        threads.extend(market);
        threads.push(spawn("publish", move || {
            publish.run();
            Ok(())
        })?);
        threads.push(spawn("snapshots", move || {
            restart::write(&folder, &snapshot_key, chain, &drafts, kept, &retention);
            Ok(())
        })?);
        if let Some(fanout) = fanout {
            threads.push(spawn("fanout", move || fanout.run().map_err(NodeError::Fanout))?);
        }
        let office = Office {
            dir: dir.to_owned(),
            every: Duration::from_millis(config.seal.checkpoint_ms),
            tiles: config.tiles.dir.clone(),
            height,
            rate: config.seal.scrub_mib_s << 20,
        };
        threads.push(spawn("notary", move || {
            notary::attend(&office, &attended);
            Ok(())
        })?);
        // A delegate has to read what it answers for.
        if anchor.is_some() && (scrubbing.rate != 0 || config.replicate.listen.is_some()) {
            let (scrubbed, stop) = (scrubbed.clone(), Arc::clone(&stop));
            threads.push(spawn("scrub", move || {
                restart::scrub(&scrubbing, &scrubbed, &stop);
                Ok(())
            })?);
        }
        Ok(Self {
            addr,
            recovery,
            height,
            scrubbed,
            metrics,
            endpoint,
            requests,
            farewell: Some(farewell),
            stop,
            threads,
        })
    }

    /// What tells this node's sessions if one of its threads cannot go on; there is one.
    pub const fn farewell(&mut self) -> Option<Farewell> {
        self.farewell.take()
    }

    /// Asks the node to stop: it seals what is sequenced and tells its sessions.
    pub fn stop(&self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Waits until every stage has ended.
    ///
    /// # Errors
    /// What ended the first stage that did not end well.
    pub fn join(self) -> Result<(), NodeError> {
        let mut first = Ok(());
        for (name, thread) in self.threads {
            let ended = thread.join().unwrap_or(Err(NodeError::Stage(name)));
            // A half of the ledger that only repeats that the other failed says less than the other.
            if matches!(first, Ok(()) | Err(NodeError::Ledger(Error::Poisoned))) && (first.is_ok() || ended.is_err()) {
                first = ended;
            }
        }
        first
    }
}

type Stage = (&'static str, JoinHandle<Result<(), NodeError>>);

fn spawn(name: &'static str, run: impl FnOnce() -> Result<(), NodeError> + Send + 'static) -> Result<Stage, NodeError> {
    Ok((name, thread::Builder::new().name(name.into()).spawn(run)?))
}

/// Rebuilds market and streams from the ledger, from an anchor on if there is one; the roots of every block are held against its header.
fn replay(
    dir: &Path,
    executor: &mut Executor,
    publish: &mut Publish,
    anchor: Option<&Anchor>,
) -> Result<(), NodeError> {
    let reader = Reader::open(dir)?;
    let read = |ahead: &mut Ahead| {
        let blocks = match anchor {
            Some(anchor) => reader.blocks_from(anchor),
            None => reader.blocks(),
        };
        for block in blocks {
            if ahead.push(&block?) == Err(Stopped) {
                break;
            }
        }
        Ok::<(), Fault>(())
    };
    let (executed, outcome) = read_ahead(executor.chain(), Signatures::Drop, read, |block| {
        let height = block.header.height;
        if height == 0 {
            return Ok(());
        }
        let mut events = Vec::new();
        for DecodedRecord { seq, command, .. } in &block.records {
            let seq = *seq;
            let refused = |reject| NodeError::Replay { height, seq, reject };
            let command = command.as_ref().map_err(|reject| refused(*reject))?;
            let applied = executor.apply(seq, command);
            events.extend(applied.map_err(|refusal| refused(refusal.reject))?);
        }
        let last = block.records.last().map_or(0, |record| record.seq);
        let ended = executor.end_block_of(&block.header, last);
        let ended = ended.map_err(|why| NodeError::Turn { height, why })?;
        events.extend(ended.events);
        if ended.state_root != block.header.state_root {
            return Err(NodeError::StateRoot { height });
        }
        publish.replay(&block.header, block.digest, &events);
        Ok(())
    });
    executed?;
    Ok(outcome?)
}

/// Who a node is among others.
fn identity(dir: &Path, listen: SocketAddr, replicate: &Replicate) -> Result<Identity, NodeError> {
    let ballot = keys::ballot_key(dir)?;
    let ballot = ballot.map(|secret| BallotKey::from_bytes(&secret));
    let peer = |peer: &config::Peer| Peer {
        key: peer.key,
        address: peer.address,
    };
    Ok(Identity {
        peer: keys::read_named(dir, keys::PEER_KEY)?,
        ballot: ballot
            .transpose()
            .map_err(|_| NodeError::Refused("keys/ballot.key is no key"))?,
        listen,
        folder: dir.join(AGREEMENT_DIR),
        peers: replicate.peers.iter().map(peer).collect(),
    })
}

type UnpackedKeys = BTreeMap<ParticipantId, PublicKey>;

fn unpack(packed: impl IntoIterator<Item = (ParticipantId, [u8; 96])>) -> UnpackedKeys {
    let keys = packed.into_iter();
    keys.filter_map(|(id, bytes)| Some((id, PublicKey::new(&bytes).ok()?)))
        .collect()
}

/// The keys of every account: those unpacked meanwhile, and those that came or changed with what was replayed.
fn keys_of(executor: &Executor, known: JoinHandle<UnpackedKeys>) -> UnpackedKeys {
    let mut keys = known.join().unwrap_or_default();
    let accounts = executor.market().state().accounts.iter();
    let all = accounts.map(|(id, account)| (id, account.profile().public_key));
    let missing: Vec<_> = all
        .filter(|(id, bytes)| keys.get(id).is_none_or(|key| key.as_bytes() != bytes))
        .collect();
    keys.extend(unpack(missing));
    keys
}
