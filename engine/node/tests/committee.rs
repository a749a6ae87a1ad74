//! Four delegates and an observer in one process, over real sockets and disks: orders taken anywhere, a leader lost, a node that comes back.
//!
//! Nothing here sleeps: every wait is for a message or for a block.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{Grade, SealedEnvelope, encode_configure, record_kind};
use wattbook_ledger::{BlockHeader, Reader};
use wattbook_node::chain::{self, CommitteeSpec, Member, REGULATOR, Secrets, Spec};
use wattbook_node::config::Config;
use wattbook_node::topology::Node;
use wattbook_types::command::Configure;
use wattbook_types::{ChainId, Hash, Param, TimeNs};

const SEATS: usize = 4;
const OBSERVERS: usize = 1;
/// Delegates, then observers.
const NODES: usize = SEATS + OBSERVERS;
const SEED: [u8; 32] = [21; 32];
/// Longest wait: only a broken committee takes so long.
const WAIT: Duration = Duration::from_secs(120);
const EPOCH_BLOCKS: i64 = 40;

fn now() -> TimeNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    TimeNs::new(u64::try_from(since.as_nanos()).unwrap())
}

/// A committee's directories and settings.
struct Town {
    _folder: TempDir,
    dirs: Vec<PathBuf>,
    configs: Vec<Config>,
    nodes: BTreeMap<usize, Node>,
    chain: ChainId,
    nonce: u64,
}

impl Town {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec {
            network: "committee".to_owned(),
            eic: String::new(),
            area: 1,
            demo: true,
            time: now(),
            params: vec![(Param::EpochBlocks, EPOCH_BLOCKS)],
            segment_size: 1 << 20,
        };
        let committee = CommitteeSpec {
            delegates: SEATS,
            observers: OBSERVERS,
            port: 7300,
        };
        let made = chain::create_committee(folder.path(), &spec, &Secrets::of_demo(SEED), committee);
        let (chain, members) = made.unwrap();
        // Ports that were free a moment ago instead of those of the files.
        let listeners: Vec<_> = members
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        drop(listeners);
        let config = |member: &Member, address: &SocketAddr| {
            let mut config = Config::load(None, &member.dir).unwrap();
            assert_eq!(
                (config.listen, config.replicate.listen),
                (member.listen, Some(member.peer.address))
            );
            assert!(config.replicate.peers.contains(&member.peer));
            config.listen = "127.0.0.1:0".parse().unwrap();
            config.metrics.listen = None;
            config.replicate.listen = Some(*address);
            for (peer, address) in config.replicate.peers.iter_mut().zip(&addresses) {
                peer.address = *address;
            }
            config.replicate.block_ms = 50;
            config.replicate.leader_timeout_ms = 2_000;
            config.ingest.idle_timeout_ms = 600_000;
            config.verify.threads = 1;
            config.seal.snapshot_records = 30;
            config
        };
        let configs = members
            .iter()
            .zip(&addresses)
            .map(|(member, address)| config(member, address))
            .collect();
        let dirs = members.into_iter().map(|member| member.dir).collect();
        Self {
            _folder: folder,
            dirs,
            configs,
            nodes: BTreeMap::new(),
            chain,
            nonce: 1,
        }
    }

    fn start(&mut self, rank: usize) {
        let node = Node::start(&self.dirs[rank], &self.configs[rank], Arc::default()).unwrap();
        assert!(self.nodes.insert(rank, node).is_none());
    }

    fn stop(&mut self, rank: usize) {
        let node = self.nodes.remove(&rank).unwrap();
        node.stop();
        node.join().unwrap();
    }

    /// The delegate whose block is the newest in the ledger of a node.
    fn leader(&self, of: usize) -> usize {
        headers(&self.dirs[of]).last().unwrap().producer as usize
    }

    fn log_on(&self, rank: usize) -> Client {
        log_on(self.nodes[&rank].addr, self.chain, Grade::Final, 1)
    }

    /// The regulator's next envelope.
    fn envelope(&mut self, value: i64) -> SealedEnvelope {
        self.nonce += 1;
        envelope(self.chain, self.nonce - 1, value)
    }
}

/// The regulator's session, from this message of its stream on.
fn log_on(addr: SocketAddr, chain: ChainId, grade: Grade, next: u64) -> Client {
    let mut client = Client::connect(addr, StreamKind::Private, next).unwrap();
    client.expect_chain(chain).unwrap();
    let key = chain::participant_key(&SEED, REGULATOR);
    client.logon(REGULATOR, &key, grade).unwrap();
    client
}

/// An envelope of the regulator.
fn envelope(chain: ChainId, nonce: u64, value: i64) -> SealedEnvelope {
    let configure = Configure {
        param: Param::VolatilityAlarm as u32,
        value,
    };
    let key = chain::participant_key(&SEED, REGULATOR);
    let leaves = vec![encode_configure(0, &configure)];
    SealedEnvelope::sign(chain, &key, REGULATOR, 1, nonce, now().plus_secs(300), leaves)
}

/// Waits for what `found` takes.
fn until<T>(client: &mut Client, found: impl Fn(&Outbound) -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (_, bytes) = client.next_raw(left).unwrap().expect("an answer");
        if let Some(found) = found(&decode_outbound(&bytes).unwrap()) {
            return found;
        }
    }
}

/// The record of the envelope with this nonce, when it is final.
fn accepted(client: &mut Client, nonce: u64) -> u64 {
    until(client, |message| match message {
        Outbound::Accepted(answer) if answer.nonce == nonce => Some(answer.seq),
        Outbound::RejectedMessage(refused) if refused.nonce == nonce => panic!("{refused:?}"),
        _ => None,
    })
}

fn headers(dir: &Path) -> Vec<BlockHeader> {
    let reader = Reader::open(dir).unwrap();
    reader.blocks().map(|block| block.unwrap().header).collect()
}

#[test]
fn orders_are_taken_anywhere_and_survive_the_leader() {
    let mut town = Town::make();
    (0..NODES).for_each(|rank| town.start(rank));
    let mut clients: Vec<Client> = (0..NODES).map(|rank| town.log_on(rank)).collect();
    // Whoever it is handed to, the leader records it, and every node tells it.
    let mut seqs = Vec::new();
    for (rank, value) in (0..NODES).zip(1..) {
        let envelope = town.envelope(value);
        clients[rank].send_envelope(&envelope).unwrap();
        let seq: Vec<u64> = clients
            .iter_mut()
            .map(|client| accepted(client, envelope.header.nonce))
            .collect();
        assert_eq!(seq, [seq[0]; NODES]);
        seqs.push(seq[0]);
    }
    assert!(seqs.is_sorted());
    // What is final already is refused by whoever leads, with the record that has it.
    town.nonce -= 1;
    let again = town.envelope(5);
    clients[1].send_envelope(&again).unwrap();
    let original = until(&mut clients[1], |message| match message {
        Outbound::RejectedMessage(refused) if refused.nonce == again.header.nonce => Some(refused.original_seq),
        _ => None,
    });
    assert_eq!(original, seqs[NODES - 1]);

    // The leader is gone; the next one takes over.
    let leader = town.leader(NODES - 1);
    let [one, other] = [1, 2].map(|next| (leader + next) % SEATS);
    town.stop(leader);
    let envelope = town.envelope(6);
    clients[one].send_envelope(&envelope).unwrap();
    let seq = accepted(&mut clients[other], envelope.header.nonce);
    assert!(seq > seqs[NODES - 1]);

    // It comes back, catches up and takes part.
    town.start(leader);
    clients[leader] = town.log_on(leader);
    assert_eq!(accepted(&mut clients[leader], envelope.header.nonce), seq);
    let envelope = town.envelope(7);
    clients[leader].send_envelope(&envelope).unwrap();
    let seq: Vec<u64> = clients
        .iter_mut()
        .map(|client| accepted(client, envelope.header.nonce))
        .collect();
    assert_eq!(seq, [seq[0]; NODES]);

    // The next epoch begins under the same committee.
    let border = EPOCH_BLOCKS as u64 + 1;
    until(&mut clients[SEATS], |message| match message {
        Outbound::Watermark(mark) if mark.height > border => Some(()),
        _ => None,
    });
    (0..NODES).for_each(|rank| town.stop(rank));
    let chains: Vec<Vec<BlockHeader>> = town.dirs.iter().map(|dir| headers(dir)).collect();
    let shortest = chains.iter().map(Vec::len).min().unwrap();
    let mut producers: Vec<u32> = chains[0].iter().skip(1).map(|header| header.producer).collect();
    producers.dedup();
    assert!(producers.len() > 1, "nobody took over");
    for chain in &chains {
        assert_eq!(chain[..shortest], chains[0][..shortest]);
        let blocks = usize::try_from(EPOCH_BLOCKS).unwrap();
        for header in &chain[1..] {
            let is_border = header.height % blocks as u64 == 0;
            assert_eq!(
                header.next_committee != Hash::ZERO,
                is_border,
                "block {}",
                header.height
            );
        }
    }
    for dir in &town.dirs {
        let verified = wattbook_node::audit::verify(dir, Some(town.chain), |_| ()).unwrap();
        assert!(verified.end.totals.envelopes >= 5, "{:?}", verified.end.totals);
    }
}

/// Sends one envelope after the other, each when the one before is matched, until that is taken back: the nonces that were
/// matched, those that were taken back, and the number from which the stream goes on.
fn until_revoked(mut client: Client, chain: ChainId) -> (u64, Vec<u64>, u64) {
    let (mut nonce, mut matched) = (1, BTreeMap::new());
    client.send_envelope(&envelope(chain, nonce, 1)).unwrap();
    let revoked = loop {
        match client.next(WAIT).unwrap().expect("an answer") {
            (Some(number), Outbound::Accepted(answer)) if answer.nonce == nonce => {
                matched.insert(number, nonce);
                nonce += 1;
                // Into the next block, whoever leads it.
                client.send_envelope(&envelope(chain, nonce, 1)).unwrap();
            }
            (None, Outbound::Revoked(revoked)) => break revoked,
            (_, Outbound::RejectedMessage(refused)) => panic!("{refused:?}"),
            _ => {}
        }
    };
    assert!(matches!(client.next(WAIT), Err(ClientError::EndOfSession)));
    assert_eq!(client.next_seq(), revoked.next);
    let taken_back = matched.split_off(&revoked.next);
    (nonce, taken_back.into_values().collect(), revoked.next)
}

#[test]
fn what_was_matched_and_never_certified_is_taken_back_and_comes_again() {
    let mut town = Town::make();
    (0..SEATS).for_each(|rank| town.start(rank));
    let mut client = town.log_on(0);
    let grade = until(&mut client, |message| match message {
        Outbound::Watermark(mark) => Some(mark.grade),
        _ => None,
    });
    assert_eq!(grade, Grade::Final as u8);
    let leader = town.leader(0);
    let (addr, chain) = (town.nodes[&leader].addr, town.chain);
    let matched = log_on(addr, chain, Grade::Matched, 1);
    let mut fixed = log_on(addr, chain, Grade::Final, 1);
    let trader = std::thread::spawn(move || until_revoked(matched, chain));
    accepted(&mut fixed, 3);
    // Two of four certify nothing: the leader's next block is matched there, and stays alone.
    let gone = [1, 2].map(|next| (leader + next) % SEATS);
    gone.iter().for_each(|rank| town.stop(*rank));
    // It is given up, and another block takes its place.
    gone.iter().for_each(|rank| town.start(*rank));
    let (last, taken_back, next) = trader.join().unwrap();
    assert!(!taken_back.is_empty());
    // Nothing of it is lost, and nothing comes twice; who asked for what is final never heard of it.
    let mut again = log_on(addr, chain, Grade::Final, next);
    for client in [&mut again, &mut fixed] {
        for nonce in &taken_back {
            accepted(client, *nonce);
        }
        accepted(client, last);
    }
    drop(client);
    (0..SEATS).for_each(|rank| town.stop(rank));
    let mut recorded = Vec::new();
    for block in Reader::open(&town.dirs[leader]).unwrap().blocks() {
        for record in block
            .unwrap()
            .records
            .iter()
            .filter(|r| r.kind == record_kind::ENVELOPE)
        {
            recorded.push(SealedEnvelope::decode(record.payload).unwrap().header.nonce);
        }
    }
    recorded.sort_unstable();
    assert!(recorded.into_iter().eq(1..=last));
}
