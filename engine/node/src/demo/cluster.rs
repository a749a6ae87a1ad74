//! The demonstration on a committee: the same day on four delegates and a standby, five processes on one machine.
//!
//! At noon the delegate that leads is killed. Another takes over, the lost one is flagged, loses its seat at the end of the
//! epoch, and the standby sits in it; the dead one comes back, follows, and stands again. In the end all five ledgers say
//! the same.
//!
//! # Invariants
//! * Everybody trades at the standby's node, which is not killed: every order reaches whoever leads through it.
//! * What is told of votes, flags and seats comes from that node's ledger, executed here once more.

use super::participant::{Account, TalkError};
use super::{DemoError, Driver, NodeProcess, PERIODS, registration};
use crate::audit;
use crate::chain::{self, CommitteeSpec, FIRST_SERIAL, Member, REGULATOR, Secrets, Spec};
use crate::execute::{Executor, decode_record};
use crate::keys;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wattbook_agreement::ballot::BallotKey;
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::keys::{BlsSecret, KeyRole, SigningKey};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::{Attachment, CandidateKeys, Grade, encode_candidacy, encode_emission, encode_vote};
use wattbook_ledger::{Anchor, BlockHeader, GENESIS_FILE, Reader};
use wattbook_types::delegate::{DelegateEvent, EmissionStatement, Vote};
use wattbook_types::{ChainId, Event, Hash, Param, ParticipantId, Roles, TimeNs, sha256};

/// Seats.
const DELEGATES: usize = 4;
/// The node that stands by; all clients speak with it.
const STANDBY: usize = DELEGATES;
const NODES: usize = DELEGATES + 1;
/// Steps of a period, about: blocks are a few more.
const STEPS_PER_PERIOD: usize = 17;
/// Epochs of the day, about.
const EPOCHS: usize = 8;
/// Blocks before an epoch's end in which nobody votes: a vote names the next epoch.
const MARGIN: u64 = 6;
/// Longest wait for a node that should be doing something.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what another process is doing.
const LOOK: Duration = Duration::from_millis(1);

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the five nodes.
    pub out: PathBuf,
    /// Seed of every secret and every factor.
    pub seed: u64,
    /// Delivery periods, from the first.
    pub periods: usize,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Participants, authorities and delegates included.
    pub accounts: usize,
    /// Steps of time.
    pub steps: u64,
    /// Wall time of the trading, ms.
    pub wall_ms: u64,
    /// From the kill to the next block of another leader, ms.
    pub takeover_ms: u64,
    /// Rank of the delegate that was killed.
    pub killed: usize,
    /// The height all nodes were compared at.
    pub height: u64,
    /// State root and digest of that block, by node.
    pub roots: Vec<(Hash, Hash)>,
    /// Signatures that were checked again in each ledger.
    pub signatures: Vec<u64>,
    /// Whether the standby has come to a seat, and the dead one to a candidacy.
    pub is_complete: bool,
}

impl Outcome {
    /// Whether every node came to the same.
    pub fn is_equal(&self) -> bool {
        self.roots.iter().all(|root| *root == self.roots[0])
    }
}

/// The ledger of the standby's node, executed block by block as they come.
struct Follower {
    reader: Reader,
    anchor: Anchor,
    executor: Executor,
    newest: BlockHeader,
}

impl Follower {
    fn new(dir: &Path, secrets: &Secrets) -> Result<Self, DemoError> {
        let options = wattbook_ledger::Options {
            segment_size: super::SEGMENT_SIZE,
        };
        let key = wattbook_feed::keys::log_key(&secrets.seed);
        let store = wattbook_ledger::Store::open(dir, &key, options)
            .map_err(chain::InitError::from)?
            .0;
        let anchor = store.anchor();
        drop(store);
        let genesis = dir.join(GENESIS_FILE);
        let bytes = std::fs::read(&genesis).map_err(|source| DemoError::Io {
            action: "read",
            path: genesis,
            source,
        })?;
        let (executor, _) = Executor::start(&bytes).map_err(chain::InitError::from)?;
        Ok(Self {
            reader: Reader::open(dir).map_err(chain::InitError::from)?,
            newest: *anchor.header(),
            anchor,
            executor,
        })
    }

    /// Takes in what is new; the delegates' events of it.
    fn advance(&mut self) -> Result<Vec<(u64, DelegateEvent)>, DemoError> {
        let failed = |error: wattbook_ledger::Error| DemoError::Init(error.into());
        self.reader.refresh().map_err(failed)?;
        let mut heard = Vec::new();
        let (mut anchor, chain) = (self.anchor.clone(), self.executor.chain());
        for block in self.reader.blocks_from(&self.anchor) {
            let block = block.map_err(|fault| failed(fault.into()))?;
            let header = block.header;
            let mut last = header.first_seq.saturating_sub(1);
            let mut take = |event: &Event| {
                if let Event::Delegates(event) = event {
                    heard.push((header.height, *event));
                }
            };
            for record in &block.records {
                let command = decode_record(chain, record.kind, record.version, record.payload);
                let command = command.map_err(|_| DemoError::Unlike(header.height))?;
                let events = self.executor.apply(record.seq, &command);
                let events = events.map_err(|_| DemoError::Unlike(header.height))?;
                events.iter().for_each(|event| take(&event.event));
                last = record.seq;
            }
            let ended = self.executor.end_block_of(&header, last);
            let ended = ended.map_err(|_| DemoError::Unlike(header.height))?;
            ended.events.iter().for_each(|event| take(&event.event));
            if ended.state_root != header.state_root {
                return Err(DemoError::Unlike(header.height));
            }
            anchor.advance(&header, block.digest, block.end);
            self.newest = header;
        }
        self.anchor = anchor;
        Ok(heard)
    }

    fn epoch(&self) -> u64 {
        self.executor
            .market()
            .committee()
            .map_or(0, |committee| committee.epoch())
    }

    /// The delegate of a block's producer.
    fn producer(&self, header: &BlockHeader) -> Option<ParticipantId> {
        let committee = self.executor.market().committee()?;
        let rank = usize::try_from(header.producer).ok()?;
        (committee.epoch() == header.epoch).then(|| committee.seats().get(rank).map(|seat| seat.participant))?
    }
}

/// The five nodes and whoever stands for election.
struct Cluster<'a> {
    members: Vec<Member>,
    nodes: Vec<Option<NodeProcess>>,
    chain: ChainId,
    seed: [u8; 32],
    follower: Follower,
    say: &'a mut dyn FnMut(String),
    epoch_blocks: u64,
    /// When it is noon, when the dead one comes back, when it stands again.
    plan: [usize; 3],
    has_voted: bool,
    killed: Option<usize>,
    takeover_ms: u64,
    is_evicted: bool,
    is_back: bool,
    stands_again: bool,
    standby_sits: bool,
}

/// The account of a node.
const fn candidate(node: usize) -> ParticipantId {
    ParticipantId::new(FIRST_SERIAL + node as u64)
}

const fn node_of(candidate: ParticipantId) -> usize {
    (candidate.get() - FIRST_SERIAL) as usize
}

fn name(node: usize) -> String {
    format!("node{node}")
}

/// A base port whose fifteen are free now.
fn free_port() -> u16 {
    let free = |port: &u16| {
        (0..NODES as u16).all(|at| {
            [0, 100, 200]
                .iter()
                .all(|above| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port + above + at))).is_ok())
        })
    };
    (7_500..30_000).step_by(10).find(free).unwrap_or(7_500)
}

/// Runs the day; `say` is told what happens.
///
/// # Errors
/// [`DemoError`].
pub fn run(options: &Options, say: &mut dyn FnMut(String)) -> Result<Outcome, DemoError> {
    clear_old(&options.out)?;
    let seed = sha256(&[b"wattbook demo", &options.seed.to_le_bytes()]).0;
    let secrets = Secrets::of_demo(seed);
    let periods = options.periods.min(PERIODS);
    let epoch_blocks = (periods * STEPS_PER_PERIOD / EPOCHS).max(2 * STEPS_PER_PERIOD) as i64;
    let spec = Spec {
        network: "wattbook demo".into(),
        eic: "10YDE-DEMO-----W".into(),
        area: super::AREA,
        demo: true,
        time: super::delivery_start(0).plus_secs(-1_800),
        params: vec![
            (Param::CounterpartyShare, 0),
            (Param::EpochBlocks, epoch_blocks),
            // Who falls silent once loses its seat, and may stand again an epoch later.
            (Param::SilentTerms, 1),
            (Param::ExclusionEpochs, 1),
        ],
        segment_size: super::SEGMENT_SIZE,
    };
    let committee = CommitteeSpec {
        delegates: DELEGATES,
        observers: 1,
        port: free_port(),
    };
    let (chain, members) = chain::create_committee(&options.out, &spec, &secrets, committee)?;
    let ballot = sha256(&[&seed, b"standby"]).0;
    let ballot = BallotKey::generate(&ballot).map_err(|_| chain::InitError::Committee)?;
    keys::write(&members[STANDBY].dir, keys::BALLOT_KEY, &ballot.to_bytes()).map_err(chain::InitError::from)?;
    for member in &members {
        quicken(&member.dir)?;
    }
    let follower = Follower::new(&members[STANDBY].dir, &secrets)?;
    let started = Instant::now();
    // All at once: a leader is missed from the first moment on.
    let nodes: Result<Vec<_>, _> = std::thread::scope(|scope| {
        let started: Vec<_> = members.iter().map(|member| scope.spawn(|| start(member))).collect();
        let join = |node: std::thread::ScopedJoinHandle<'_, _>| {
            let node: Result<NodeProcess, DemoError> =
                node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            node.map(Some)
        };
        started.into_iter().map(join).collect()
    });
    let addr = members[STANDBY].listen;
    let mut cluster = Cluster {
        nodes: nodes?,
        members,
        chain,
        seed,
        follower,
        say,
        epoch_blocks: epoch_blocks as u64,
        plan: [periods / 2, periods * 5 / 8, periods * 6 / 8],
        has_voted: false,
        killed: None,
        takeover_ms: 0,
        is_evicted: false,
        is_back: false,
        stands_again: false,
        standby_sits: false,
    };
    (cluster.say)(format!(
        "five processes: {} ... {}, clients at {addr}",
        name(0),
        name(STANDBY)
    ));
    let mut driver = Driver {
        addr,
        chain,
        seed,
        first_site: FIRST_SERIAL + NODES as u64,
        grade: Grade::Final,
        now: spec.time,
        steps: 0,
        desks: None,
        secrets,
    };
    // Held like everybody's registration, until the first Step.
    let admitted = cluster.register(&driver.secrets.registrar());
    let mut failed = None;
    let driven = admitted.and_then(|()| {
        driver.day(periods, &mut |period, now| {
            cluster.watch(period, now).map_err(|error| match error {
                DemoError::Talk { source, .. } => source,
                other => {
                    failed = Some(other);
                    TalkError::Client(wattbook_feed::client::ClientError::Disconnected)
                }
            })
        })
    });
    let (time_s, durable) = (driver.now.get() / 1_000_000_000, driver.durable());
    let accounts = driven.map_err(|source| {
        failed.take().unwrap_or(DemoError::Talk {
            time_s,
            durable,
            source,
        })
    })?;
    let wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    cluster.tell_news()?;
    let steps = driver.steps;
    drop(driver);
    cluster.end(accounts + NODES, steps, wall_ms)
}

/// Starts a member's node where its configuration says; its log goes into its directory.
fn start(member: &Member) -> Result<NodeProcess, DemoError> {
    NodeProcess::start(&member.dir, None, Some(&member.dir.join("node.log")))
}

/// Writes down that a Step waits for nothing but the others, and that a leader is missed soon.
fn quicken(dir: &Path) -> Result<(), DemoError> {
    let path = dir.join(crate::config::CONFIG_FILE);
    let io = |action, source| DemoError::Io {
        action,
        path: path.clone(),
        source,
    };
    let text = std::fs::read_to_string(&path).map_err(|source| io("read", source))?;
    let timing = "[replicate]\nblock_ms = 250\nleader_timeout_ms = 1000\nborder_pause_ms = 50\n";
    let text = text.replace("[replicate]\n", timing);
    std::fs::write(&path, text).map_err(|source| io("write", source))
}

/// Removes an earlier demonstration; anything else stays.
fn clear_old(out: &Path) -> Result<(), DemoError> {
    if !out.exists() {
        return Ok(());
    }
    for node in 0..NODES {
        super::clear_old(&out.join(name(node)))?;
    }
    let keys = out.join(keys::KEYS_DIR);
    if keys.exists() {
        std::fs::remove_dir_all(&keys).map_err(|source| DemoError::Io {
            action: "remove",
            path: keys,
            source,
        })?;
    }
    Ok(())
}

impl Cluster<'_> {
    fn addr(&self) -> SocketAddr {
        self.members[STANDBY].listen
    }

    /// The standby's account.
    fn register(&self, registrar: &SigningKey) -> Result<(), TalkError> {
        let id = candidate(STANDBY);
        let secret = BlsSecret::derive(&self.seed, KeyRole::Participant, id.get());
        let record = registration(self.chain, id, Roles::DELEGATE, &secret, Vec::new(), registrar);
        let mut client = Client::connect(self.addr(), StreamKind::Private, 1)?;
        client.expect_chain(self.chain)?;
        client.send_register(&record)?;
        loop {
            match client.next(PATIENCE)? {
                Some((_, Outbound::Held(_))) => return Ok(()),
                Some((_, Outbound::RejectedMessage(refused))) => {
                    let reject = wattbook_types::Reject::from_code(refused.code);
                    let reject = reject.unwrap_or(wattbook_types::Reject::UnknownMessage);
                    return Err(TalkError::Refused {
                        who: name(STANDBY),
                        reject,
                    });
                }
                Some(_) => {}
                None => return Err(TalkError::Silent { who: name(STANDBY) }),
            }
        }
    }

    /// A period begins.
    fn watch(&mut self, period: usize, now: TimeNs) -> Result<(), DemoError> {
        self.tell_news()?;
        let talk = |source| DemoError::Talk {
            time_s: now.get() / 1_000_000_000,
            durable: 0,
            source,
        };
        let [noon, back, again] = self.plan;
        if !self.has_voted && self.has_time() {
            self.vote(now).map_err(talk)?;
        }
        if self.has_voted && self.killed.is_none() && period >= noon {
            self.kill_leader(period)?;
        }
        let Some(dead) = self.killed else { return Ok(()) };
        if self.is_evicted && !self.is_back && period >= back {
            self.nodes[dead] = Some(start(&self.members[dead])?);
            self.is_back = true;
            (self.say)(format!("{} is back and follows without a seat", name(dead)));
        }
        if self.is_back && !self.stands_again && period >= again && self.has_time() {
            let epoch = self.follower.epoch() + 1;
            let keys = self.keys_of(dead)?;
            self.stand(dead, epoch, &keys, now).map_err(talk)?;
            self.stands_again = true;
        }
        Ok(())
    }

    /// Whether what is sent now lies well within the epoch.
    fn has_time(&self) -> bool {
        let place = self.follower.newest.height % self.epoch_blocks;
        place >= 1 && place + MARGIN < self.epoch_blocks
    }

    /// What a node stands with, from its own directory.
    fn keys_of(&self, node: usize) -> Result<CandidateKeys, DemoError> {
        keys::candidate_keys(&self.members[node].dir).map_err(|error| DemoError::Init(error.into()))
    }

    fn stand(&mut self, node: usize, epoch: u64, keys: &CandidateKeys, now: TimeNs) -> Result<(), TalkError> {
        let leaf = encode_candidacy(0, self.chain, epoch, Some(keys));
        let attached = Attachment { index: 0, keys: *keys };
        let mut account = self.account(candidate(node), &name(node))?;
        account.send_with(vec![leaf], Some(attached), now)?;
        account.settle()
    }

    /// A session of an account; it ends when it is dropped.
    fn account(&self, id: ParticipantId, name: &str) -> Result<Account, TalkError> {
        Account::log_on(self.addr(), self.chain, &self.seed, Grade::Final, id, name)
    }

    /// The regulator states what everybody emits, the standby stands, and each candidate votes for itself.
    fn vote(&mut self, now: TimeNs) -> Result<(), TalkError> {
        let mut regulator = self.account(REGULATOR, "regulator")?;
        // A quarter hour that is over; the higher the node's number the more it emits.
        let period = u32::try_from(now.get() / 900_000_000_000).unwrap_or(u32::MAX) - 1;
        let statements = (0u32..).zip(0..NODES).map(|(index, node)| {
            let statement = EmissionStatement {
                participant: candidate(node),
                period,
                grams: 1_000 + 10 * node as u64,
            };
            encode_emission(index, &statement)
        });
        regulator.send(statements.collect(), now)?;
        regulator.settle()?;
        let epoch = self.follower.epoch() + 1;
        let keys = self
            .keys_of(STANDBY)
            .map_err(|_| TalkError::Silent { who: name(STANDBY) })?;
        self.stand(STANDBY, epoch, &keys, now)?;
        for node in 0..NODES {
            let vote = Vote {
                epoch,
                candidate: Some(candidate(node)),
            };
            let mut account = self.account(candidate(node), &name(node))?;
            // Held behind its candidacy.
            account.next_nonce += u64::from(node == STANDBY);
            account.send(vec![encode_vote(0, &vote)], now)?;
            account.settle()?;
        }
        self.has_voted = true;
        (self.say)(format!(
            "epoch {}: {} stands for election, everybody votes",
            epoch - 1,
            name(STANDBY)
        ));
        Ok(())
    }

    fn kill_leader(&mut self, period: usize) -> Result<(), DemoError> {
        let newest = self.follower.newest;
        let Some(leader) = self.follower.producer(&newest).map(node_of) else {
            return Ok(());
        };
        let Some(node) = self.nodes[leader].take() else {
            return Ok(());
        };
        node.kill();
        let killed = Instant::now();
        (self.say)(format!(
            "{:02}:{:02}, block {}: {} leads, and is killed",
            period / 4,
            period % 4 * 15,
            newest.height,
            name(leader)
        ));
        self.killed = Some(leader);
        loop {
            self.tell_news()?;
            let newest = self.follower.newest;
            match self.follower.producer(&newest).map(node_of) {
                Some(next) if next != leader => {
                    self.takeover_ms = u64::try_from(killed.elapsed().as_millis()).unwrap_or(u64::MAX);
                    (self.say)(format!(
                        "block {}: {} leads, {} ms later",
                        newest.height,
                        name(next),
                        self.takeover_ms
                    ));
                    return Ok(());
                }
                _ if killed.elapsed() > PATIENCE => {
                    let who = "whoever leads next".to_owned();
                    return Err(DemoError::Talk {
                        time_s: newest.time.get() / 1_000_000_000,
                        durable: newest.height,
                        source: TalkError::Silent { who },
                    });
                }
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    /// Tells what the ledger says of delegates since the last time.
    fn tell_news(&mut self) -> Result<(), DemoError> {
        let mut seats: Vec<String> = Vec::new();
        for (height, event) in self.follower.advance()? {
            let line = match event {
                DelegateEvent::Flagged { participant, status } => {
                    format!("block {height}: {} is flagged {status:?}", name(node_of(participant)))
                }
                DelegateEvent::Excluded {
                    participant,
                    exclusion,
                    until,
                } => {
                    self.is_evicted |= self.killed == Some(node_of(participant));
                    let node = name(node_of(participant));
                    format!("block {height}: {node} is {exclusion:?}, out until epoch {until}")
                }
                DelegateEvent::Candidacy { participant, stands } => {
                    let stands = if stands { "stands" } else { "stands no longer" };
                    format!("block {height}: {} {stands} for election", name(node_of(participant)))
                }
                DelegateEvent::Seated { participant, .. } => {
                    self.standby_sits |= node_of(participant) == STANDBY;
                    seats.push(name(node_of(participant)));
                    continue;
                }
                DelegateEvent::Elected { epoch, kept, .. } => {
                    let mut line = format!("block {height}: epoch {epoch} is led by {}", seats.join(", "));
                    if kept {
                        let _ = write!(line, ", as before");
                    }
                    seats.clear();
                    line
                }
                _ => continue,
            };
            (self.say)(line);
        }
        Ok(())
    }

    /// Waits until every node has what the standby's has, stops them, and compares.
    fn end(mut self, accounts: usize, steps: u64, wall_ms: u64) -> Result<Outcome, DemoError> {
        let goal = self.follower.newest.height;
        let (since, mut behind) = (Instant::now(), (0..NODES).collect::<Vec<_>>());
        behind.retain(|node| self.nodes[*node].is_some());
        while !behind.is_empty() && since.elapsed() < PATIENCE {
            behind.retain(|node| {
                let reader = Reader::open(&self.members[*node].dir);
                let committed = reader.ok().and_then(|reader| reader.committed());
                committed.is_none_or(|commit| commit.height < goal)
            });
            std::thread::sleep(LOOK);
        }
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            node.stop();
        }
        let (mut roots, mut signatures) = (Vec::new(), Vec::new());
        for member in &self.members {
            let reader = Reader::open(&member.dir).map_err(chain::InitError::from)?;
            let block = reader
                .blocks()
                .filter_map(Result::ok)
                .find(|block| block.header.height == goal);
            roots.push(block.map_or_else(Default::default, |block| (block.header.state_root, block.digest)));
            let verified = audit::verify(&member.dir, Some(self.chain), |_| ())?;
            signatures.push(verified.signatures);
        }
        Ok(Outcome {
            accounts,
            steps,
            wall_ms,
            takeover_ms: self.takeover_ms,
            killed: self.killed.unwrap_or_default(),
            height: goal,
            roots,
            signatures,
            is_complete: self.standby_sits && self.stands_again && self.is_back,
        })
    }
}
