//! Four delegates in one process, over real sockets and disks, one of which leads as it should not.
//!
//! Nothing here sleeps: every wait is for a message or for a block.

use super::super::pool::Waiting;
use super::fairness::cancel;
use super::*;
use crate::config::Config;
use crate::stage::VerifiedCommand;
use crate::topology::Node;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::keys::BlsSecret;
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{Grade, SealedEnvelope};

const NODES: usize = 4;
/// Longest wait: only a broken committee takes so long.
const WAIT: Duration = Duration::from_secs(120);

/// Who leads how it should not: on this chain, this delegate, in this way.
static TRAITORS: Mutex<Vec<(ChainId, ParticipantId, Treason)>> = Mutex::new(Vec::new());

/// How a leader of a scene leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Treason {
    /// It records nothing of this participant.
    Censors(ParticipantId),
    /// Its blocks hold what came in the reverse order.
    Reorders,
    /// It tells one node another order than the others.
    TwoOrders,
}

fn commits(chain: ChainId, leader: ParticipantId, treason: Treason) -> bool {
    let traitors = TRAITORS.lock().unwrap_or_else(PoisonError::into_inner);
    traitors.contains(&(chain, leader, treason))
}

/// Whether a leader of a scene leaves this command out.
pub(in crate::stage::replica) fn is_left_out(chain: ChainId, leader: ParticipantId, command: &VerifiedCommand) -> bool {
    let Command::Envelope(envelope) = &command.command else {
        return false;
    };
    commits(chain, leader, Treason::Censors(envelope.participant))
}

/// What waits, as a leader of a scene packs it.
pub(in crate::stage::replica) fn reordered<'a>(
    chain: ChainId,
    leader: ParticipantId,
    waiting: impl Iterator<Item = &'a Waiting>,
) -> Vec<&'a Waiting> {
    let mut waiting: Vec<_> = waiting.collect();
    if commits(chain, leader, Treason::Reorders) {
        waiting.reverse();
    }
    waiting
}

/// Whether a leader of a scene tells two orders.
pub(in crate::stage::replica) fn tells_two_orders(chain: ChainId, leader: ParticipantId) -> bool {
    commits(chain, leader, Treason::TwoOrders)
}

fn clock() -> TimeNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    TimeNs::new(u64::try_from(since.as_nanos()).unwrap())
}

fn accepted(client: &mut Client, nonce: u64) -> u64 {
    let deadline = Instant::now() + WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (_, bytes) = client.next_raw(left).unwrap().expect("an answer");
        match decode_outbound(&bytes).unwrap() {
            Outbound::Accepted(answer) if answer.nonce == nonce => return answer.seq,
            Outbound::RejectedMessage(refused) => panic!("{refused:?}"),
            _ => {}
        }
    }
}

/// A committee that runs.
struct Scene {
    _folder: TempDir,
    dirs: Vec<PathBuf>,
    nodes: Vec<Node>,
    chain: ChainId,
}

impl Scene {
    fn play(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec {
            network: name.to_owned(),
            eic: String::new(),
            area: 1,
            demo: true,
            time: clock(),
            params: Vec::new(),
            segment_size: 1 << 20,
        };
        let committee = CommitteeSpec {
            delegates: NODES,
            observers: 0,
            port: 7300,
        };
        let made = chain::create_committee(folder.path(), &spec, &Secrets::of_demo(SEED), committee);
        let (chain, members) = made.unwrap();
        let listeners: Vec<_> = members
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        drop(listeners);
        let start = |rank: usize| {
            let mut config = Config::load(None, &members[rank].dir).unwrap();
            config.listen = "127.0.0.1:0".parse().unwrap();
            config.metrics.listen = None;
            config.replicate.listen = Some(addresses[rank]);
            for (peer, address) in config.replicate.peers.iter_mut().zip(&addresses) {
                peer.address = *address;
            }
            config.replicate.block_ms = 50;
            config.replicate.leader_timeout_ms = 2_000;
            config.replicate.seen_after_ms = 500;
            config.ingest.idle_timeout_ms = 600_000;
            config.verify.threads = 1;
            Node::start(&members[rank].dir, &config, Arc::default()).unwrap()
        };
        Self {
            nodes: (0..NODES).map(start).collect(),
            dirs: members.iter().map(|member| member.dir.clone()).collect(),
            _folder: folder,
            chain,
        }
    }

    /// From now on the delegate of this rank leads so.
    fn turn_bad(&self, rank: u64, treason: Treason) {
        let traitor = (self.chain, ParticipantId::new(chain::FIRST_SERIAL + rank), treason);
        TRAITORS.lock().unwrap().push(traitor);
    }

    /// Sends an envelope of the delegate of this rank to that node, and waits for its final record.
    fn sent(&self, rank: u64, to: usize, nonce: u64) -> u64 {
        self.burst(rank, to, nonce..nonce + 1)
    }

    fn log_on(&self, rank: u64, to: usize) -> (Client, ParticipantId, BlsSecret) {
        let who = ParticipantId::new(chain::FIRST_SERIAL + rank);
        let key = chain::participant_key(&SEED, who);
        let mut client = Client::connect(self.nodes[to].addr, StreamKind::Private, 0).unwrap();
        client.expect_chain(self.chain).unwrap();
        client.logon(who, &key, Grade::Final).unwrap();
        (client, who, key)
    }

    /// Sends envelopes of the delegate of this rank to that node all at once, and waits for their final records.
    fn burst(&self, rank: u64, to: usize, nonces: core::ops::Range<u64>) -> u64 {
        let (mut client, who, key) = self.log_on(rank, to);
        let until = clock().plus_secs(300);
        for nonce in nonces.clone() {
            let envelope = SealedEnvelope::sign(self.chain, &key, who, 1, nonce, until, vec![cancel()]);
            client.send_envelope(&envelope).unwrap();
        }
        nonces.map(|nonce| accepted(&mut client, nonce)).max().unwrap()
    }

    /// The header of the block that has a record, as a node's ledger has it.
    fn block_of(&self, at: usize, seq: u64) -> BlockHeader {
        let reader = Reader::open(&self.dirs[at]).unwrap();
        let headers = reader.blocks().map(|block| block.unwrap().header);
        headers
            .filter(|header| (header.first_seq..header.first_seq + header.record_count).contains(&seq))
            .last()
            .unwrap()
    }

    fn end(self) {
        self.nodes.iter().for_each(Node::stop);
        for node in self.nodes {
            node.join().unwrap();
        }
        for dir in &self.dirs {
            audit::verify(dir, Some(self.chain), |_| ()).unwrap();
        }
    }
}

#[test]
fn a_leader_that_censors_loses_its_term_and_the_next_records_what_it_left_out() {
    let scene = Scene::play("censor");
    let before = scene.block_of(3, scene.sent(1, 3, 1));
    // Whoever leads from now on records nothing of one of the others.
    let leader = u64::from(before.producer);
    let victim = (leader + 2) % NODES as u64;
    let at = ((leader + 1) % NODES as u64) as usize;
    scene.turn_bad(
        leader,
        Treason::Censors(ParticipantId::new(chain::FIRST_SERIAL + victim)),
    );
    let seq = scene.sent(victim, at, 7);
    let block = scene.block_of(at, seq);
    assert!(
        u64::from(block.producer) != leader && block.view > before.view,
        "{block:?}"
    );
    assert!(
        block.height > before.height + 10,
        "the censor had the time to hear of it: {block:?}"
    );
    // The next leader goes on.
    let seq = scene.sent(victim, 3, 8);
    assert_ne!(u64::from(scene.block_of(3, seq).producer), leader);
    scene.end();
}

/// Bursts of one delegate's envelopes at a node that neither leads nor is its own, until `is_over` of the last one's record.
fn until(scene: &Scene, leader: u64, is_over: impl Fn(usize, u64) -> bool) {
    let (sender, at) = ((leader + 2) % NODES as u64, ((leader + 1) % NODES as u64) as usize);
    let deadline = Instant::now() + WAIT;
    for burst in 1.. {
        let seq = scene.burst(sender, at, burst * 20..burst * 20 + 20);
        if is_over(at, seq) {
            return;
        }
        assert!(Instant::now() < deadline, "nobody minds");
    }
}

#[test]
fn a_leader_that_reorders_loses_its_term() {
    let scene = Scene::play("reorder");
    // In the order of receipts nobody loses anything.
    let before = scene.block_of(3, scene.burst(1, 3, 1..20));
    let leader = u64::from(before.producer);
    scene.turn_bad(leader, Treason::Reorders);
    until(&scene, leader, |at, seq| {
        u64::from(scene.block_of(at, seq).producer) != leader
    });
    scene.end();
}

#[test]
fn a_leader_that_tells_two_orders_is_convicted() {
    let scene = Scene::play("two orders");
    let before = scene.block_of(3, scene.sent(1, 3, 1));
    let leader = u64::from(before.producer);
    scene.turn_bad(leader, Treason::TwoOrders);
    let convicted = |dir: &PathBuf| {
        let reader = Reader::open(dir).unwrap();
        let mut found = Vec::new();
        for block in reader.blocks() {
            let block = block.unwrap();
            for record in block
                .records
                .iter()
                .filter(|record| record.kind == record_kind::EVIDENCE)
            {
                found.push(EvidenceRecord::decode(record.payload).unwrap());
            }
        }
        found
    };
    until(&scene, leader, |at, _| !convicted(&scene.dirs[at]).is_empty());
    let at = ((leader + 1) % NODES as u64) as usize;
    for record in convicted(&scene.dirs[at]) {
        assert_eq!(record.offender, ParticipantId::new(chain::FIRST_SERIAL + leader));
        assert!(matches!(record.proof, Proof::Receipts(_)));
    }
    scene.end();
}
