//! Four delegates in one process, over real sockets and disks: orders taken anywhere, a leader lost, a node that comes back.
//!
//! Nothing here sleeps: every wait is for a message or for a block.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use wattbook_agreement::ballot::BallotKey;
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::keys::{BlsSecret, SigningKey, alias_key, log_key, registrar_key};
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::genesis::padded;
use wattbook_feed::signed::{
    Alias, Genesis, GenesisAccount, GenesisDelegate, Grade, Register, SealedEnvelope, encode_configure, meters_root,
};
use wattbook_ledger::{BlockHeader, Options, Reader, Store};
use wattbook_node::chain::{self, REGULATOR};
use wattbook_node::config::{Config, Peer, Replicate};
use wattbook_node::execute::Executor;
use wattbook_node::keys;
use wattbook_node::topology::Node;
use wattbook_types::command::Configure;
use wattbook_types::{ChainId, Hash, Param, ParticipantId, Roles, TimeNs, sha256};

const SEATS: usize = 4;
const SEED: [u8; 32] = [21; 32];
/// Longest wait: only a broken committee takes so long.
const WAIT: Duration = Duration::from_secs(120);
const EPOCH_BLOCKS: i64 = 40;

fn now() -> TimeNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    TimeNs::new(u64::try_from(since.as_nanos()).unwrap())
}

fn delegate(rank: usize) -> ParticipantId {
    ParticipantId::new(rank as u64 + 2)
}

fn secret(what: &str, rank: usize) -> [u8; 32] {
    sha256(&[&SEED, what.as_bytes(), &[rank as u8]]).0
}

fn account(id: ParticipantId, roles: Roles) -> GenesisAccount {
    let key: BlsSecret = chain::participant_key(&SEED, id);
    let register = Register {
        roles: roles.bits(),
        flags: 0,
        admit_serial: id.get(),
        not_after_ns: u64::MAX,
        public_key: key.public_key(),
        session_spki: [0; 32],
        group: [0; 32],
        meters_root: meters_root(&[]).0,
    };
    GenesisAccount {
        register,
        possession: key.prove_possession(&register.digest(ChainId::default())),
    }
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
        let delegates = (0..SEATS).map(|rank| GenesisDelegate {
            participant: delegate(rank),
            ed25519: SigningKey::from_bytes(&secret("peer", rank)).verifying_key().to_bytes(),
            bls: BallotKey::generate(&secret("ballot", rank)).unwrap().public(),
        });
        let genesis = Genesis {
            network: padded("committee").unwrap(),
            eic: padded("").unwrap(),
            area: 1,
            flags: 0,
            time: now(),
            registrar: registrar_key(&SEED).verifying_key().to_bytes(),
            log_key: log_key(&SEED).verifying_key().to_bytes(),
            alias_commitment: Alias::commitment(&alias_key(&SEED)),
            accounts: core::iter::once(account(REGULATOR, Roles::REGULATOR))
                .chain((0..SEATS).map(|rank| account(delegate(rank), Roles::DELEGATE)))
                .collect(),
            params: vec![(Param::EpochBlocks, EPOCH_BLOCKS)],
            delegates: delegates.collect(),
        };
        let bytes = genesis.encode();
        let (executor, roots) = Executor::start(&bytes).unwrap();
        let listeners: Vec<_> = (0..SEATS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        drop(listeners);
        let peers: Vec<Peer> = (genesis.delegates.iter().zip(&addresses))
            .map(|(delegate, address)| Peer {
                key: delegate.ed25519,
                address: *address,
            })
            .collect();
        let (mut dirs, mut configs) = (Vec::new(), Vec::new());
        for (rank, address) in addresses.iter().enumerate() {
            let dir = folder.path().join(format!("node{rank}"));
            let options = Options { segment_size: 1 << 20 };
            drop(Store::create(&dir, &bytes, &log_key(&SEED), options, roots).unwrap());
            keys::write(&dir, keys::LOG_KEY, log_key(&SEED).as_bytes()).unwrap();
            keys::write(&dir, keys::ALIAS_KEY, &alias_key(&SEED)).unwrap();
            keys::write(&dir, keys::PEER_KEY, &secret("peer", rank)).unwrap();
            let ballot = BallotKey::generate(&secret("ballot", rank)).unwrap();
            keys::write(&dir, keys::BALLOT_KEY, &ballot.to_bytes()).unwrap();
            let mut config = Config {
                listen: "127.0.0.1:0".parse().unwrap(),
                replicate: Some(Replicate {
                    listen: *address,
                    peers: peers.clone(),
                    block_ms: 50,
                    leader_timeout_ms: 2_000,
                    border_pause_ms: 100,
                    block_size_max: 1 << 20,
                }),
                ..Config::default()
            };
            config.ingest.idle_timeout_ms = 600_000;
            config.verify.threads = 1;
            configs.push(config);
            dirs.push(dir);
        }
        Self {
            _folder: folder,
            dirs,
            configs,
            nodes: BTreeMap::new(),
            chain: executor.chain(),
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

    /// The delegate whose block is the newest in the ledger of the last.
    fn leader(&self) -> usize {
        headers(&self.dirs[SEATS - 1]).last().unwrap().producer as usize
    }

    fn log_on(&self, rank: usize) -> Client {
        let mut client = Client::connect(&self.nodes[&rank].addr.to_string(), StreamKind::Private, 1).unwrap();
        client.expect_chain(self.chain).unwrap();
        let key = chain::participant_key(&SEED, REGULATOR);
        client.logon(REGULATOR, &key, Grade::Final).unwrap();
        client
    }

    /// The regulator's next envelope.
    fn envelope(&mut self, value: i64) -> SealedEnvelope {
        let configure = Configure {
            param: Param::VolatilityAlarm as u32,
            value,
        };
        let nonce = self.nonce;
        self.nonce += 1;
        let key = chain::participant_key(&SEED, REGULATOR);
        let leaves = vec![encode_configure(0, &configure)];
        SealedEnvelope::sign(self.chain, &key, REGULATOR, 1, nonce, now().plus_secs(300), leaves)
    }
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
    (0..SEATS).for_each(|rank| town.start(rank));
    let mut clients: Vec<Client> = (0..SEATS).map(|rank| town.log_on(rank)).collect();
    // Whoever it is handed to, the leader records it, and every node tells it.
    let mut seqs = Vec::new();
    for (rank, value) in (0..SEATS).zip(1..) {
        let envelope = town.envelope(value);
        clients[rank].send_envelope(&envelope).unwrap();
        let seq: Vec<u64> = clients
            .iter_mut()
            .map(|client| accepted(client, envelope.header.nonce))
            .collect();
        assert_eq!(seq, [seq[0]; SEATS]);
        seqs.push(seq[0]);
    }
    assert!(seqs.is_sorted());
    // What is final already is refused by whoever leads, with the record that has it.
    town.nonce -= 1;
    let again = town.envelope(4);
    clients[1].send_envelope(&again).unwrap();
    let original = until(&mut clients[1], |message| match message {
        Outbound::RejectedMessage(refused) if refused.nonce == again.header.nonce => Some(refused.original_seq),
        _ => None,
    });
    assert_eq!(original, seqs[3]);

    // The leader is gone; the next one takes over.
    let leader = town.leader();
    let [one, other] = [1, 2].map(|next| (leader + next) % SEATS);
    town.stop(leader);
    let envelope = town.envelope(5);
    clients[one].send_envelope(&envelope).unwrap();
    let seq = accepted(&mut clients[other], envelope.header.nonce);
    assert!(seq > seqs[3]);

    // It comes back, catches up and takes part.
    town.start(leader);
    clients[leader] = town.log_on(leader);
    assert_eq!(accepted(&mut clients[leader], envelope.header.nonce), seq);
    let envelope = town.envelope(6);
    clients[leader].send_envelope(&envelope).unwrap();
    let seq: Vec<u64> = clients
        .iter_mut()
        .map(|client| accepted(client, envelope.header.nonce))
        .collect();
    assert_eq!(seq, [seq[0]; SEATS]);

    (0..SEATS).for_each(|rank| town.stop(rank));
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
