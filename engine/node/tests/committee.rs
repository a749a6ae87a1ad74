//! Four delegates and an observer in one process, over real sockets and disks: orders taken anywhere, a leader lost, a node that comes back,
//! an observer that is elected.
//!
//! Nothing here sleeps: every wait is for a message or for a block.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::{registrar_key, sign_ed25519};
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{
    Grade, Register, RegisterRecord, SealedEnvelope, encode_configure, meters_root, record_kind,
};
use wattbook_ledger::{BlockHeader, GENESIS_FILE, Reader};
use wattbook_node::chain::{self, CommitteeSpec, FIRST_SERIAL, Member, REGULATOR, Secrets, Spec};
use wattbook_node::config::Config;
use wattbook_node::execute::{Executor, decode_record};
use wattbook_node::topology::Node;
use wattbook_types::command::Configure;
use wattbook_types::delegate::DelegateEvent;
use wattbook_types::{ChainId, Event, Hash, Param, ParticipantId, Roles, TimeNs};

#[path = "committee/mending.rs"]
mod mending;

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

/// An address to listen on, of a port that the system gives nobody who connects: a node that was stopped finds its own free.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 100).unwrap() * 100;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A committee's directories and settings.
struct Town {
    folder: TempDir,
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
        let addresses: Vec<SocketAddr> = members.iter().map(|_| free_address()).collect();
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
            folder,
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
    let all_of_it = |client: &mut Client| {
        taken_back.iter().chain([&last]).for_each(|nonce| {
            accepted(client, *nonce);
        });
    };
    all_of_it(&mut fixed);
    // What came before it is final by now: a session of that grade begins no later than there.
    all_of_it(&mut log_on(addr, chain, Grade::Final, next));
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

/// `wattbook send` by an account to a node, until it is accepted; what names the next epoch is said again where that began meanwhile.
fn send(town: &Town, rank: usize, who: ParticipantId, item: impl Fn(u64) -> Vec<String>) {
    let key = town.folder.path().join("account.key");
    if !key.exists() {
        std::fs::write(&key, hex::encode(SEED)).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let deadline = Instant::now() + WAIT;
    loop {
        let epoch = headers(&town.dirs[rank]).last().unwrap().epoch;
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattbook"));
        command
            .arg("send")
            .arg(town.nodes[&rank].addr.to_string())
            .args(["--json", "--grade", "final", "--timeout", "120", "--key"])
            .arg(&key);
        command.args(["--participant", &who.to_string(), "--chain", &town.chain.0.to_string()]);
        let out = command.args(item(epoch + 1)).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        if out.status.success() {
            assert!(said.contains("Accepted"), "{said}");
            return;
        }
        let again = out.status.code() == Some(1) && said.contains("WrongEpoch");
        assert!(again && Instant::now() < deadline, "{said}");
    }
}

/// An account that may stand, as its registrar admits it.
fn delegate(chain: ChainId, who: ParticipantId) -> RegisterRecord {
    let key = chain::participant_key(&SEED, who);
    let register = Register {
        roles: Roles::DELEGATE.bits(),
        flags: 0,
        admit_serial: who.get(),
        not_after_ns: u64::MAX,
        public_key: key.public_key(),
        session_spki: [0; 32],
        group: [0; 32],
        meters_root: meters_root(&[]).0,
    };
    let admit = register.admit_digest(chain);
    RegisterRecord {
        register,
        admit: sign_ed25519(&registrar_key(&SEED), &admit),
        possession: key.prove_possession(&register.digest(chain)),
        meters: Vec::new(),
    }
}

/// Whom the ledger of a node seats, by epoch and rank.
fn seated(dir: &Path) -> BTreeMap<(u64, u32), ParticipantId> {
    let genesis = std::fs::read(dir.join(GENESIS_FILE)).unwrap();
    let (mut executor, _) = Executor::start(&genesis).unwrap();
    let chain = executor.chain();
    let mut seats = BTreeMap::new();
    let mut take = |event: &Event| {
        if let Event::Delegates(DelegateEvent::Seated {
            epoch,
            rank,
            participant,
            ..
        }) = event
        {
            seats.insert((*epoch, *rank), *participant);
        }
    };
    for block in Reader::open(dir).unwrap().blocks().skip(1) {
        let block = block.unwrap();
        let mut last = block.header.first_seq.saturating_sub(1);
        for record in &block.records {
            let command = decode_record(chain, record.kind, record.version, record.payload).unwrap();
            let events = executor.apply(record.seq, &command).unwrap();
            events.iter().for_each(|event| take(&event.event));
            last = record.seq;
        }
        let ended = executor.end_block_of(&block.header, last).unwrap();
        ended.events.iter().for_each(|event| take(&event.event));
        assert_eq!(ended.state_root, block.header.state_root);
    }
    seats
}

#[test]
fn an_observer_stands_for_election_over_the_wire_and_leads() {
    const OBSERVER: usize = SEATS;
    let mut town = Town::make();
    let candidate = |node: usize| ParticipantId::new(FIRST_SERIAL + node as u64);
    (0..NODES).for_each(|rank| town.start(rank));
    let registered = delegate(town.chain, candidate(OBSERVER));
    // What comes next is public: the registration alone.
    let mut public = Client::connect(town.nodes[&OBSERVER].addr, StreamKind::Public, 0).unwrap();
    let mut newcomer = Client::connect(town.nodes[&OBSERVER].addr, StreamKind::Private, 1).unwrap();
    newcomer.expect_chain(town.chain).unwrap();
    newcomer.send_register(&registered).unwrap();
    until(&mut public, |message| match message {
        Outbound::Registered(_) => Some(()),
        _ => None,
    });
    drop((newcomer, public));

    // The observer emits least, the last delegate most.
    let period = now().get() / 900_000_000_000 - 1;
    for (node, grams) in (0..NODES).zip([1_010, 1_020, 1_030, 1_040, 1_000]) {
        let of = candidate(node).to_string();
        let (period, grams) = (period.to_string(), u64::to_string(&grams));
        send(&town, 0, REGULATOR, |_| {
            ["emission", "--of", &of, "--period", &period, "--grams", &grams]
                .map(str::to_owned)
                .into()
        });
    }
    // It stands with the keys of its directory, a new one of them, which its node reads when it starts.
    let node = town.dirs[OBSERVER].to_str().unwrap().to_owned();
    send(&town, OBSERVER, candidate(OBSERVER), |epoch| {
        let mut line = ["stand", "--epoch", &epoch.to_string(), "--node", &node]
            .map(str::to_owned)
            .to_vec();
        if !Path::new(&node).join("keys/ballot.key").exists() {
            line.push("--new-ballot-key".to_owned());
        }
        line
    });
    town.stop(OBSERVER);
    town.start(OBSERVER);
    for node in 0..NODES {
        let whom = candidate(node).to_string();
        send(&town, node, candidate(node), |epoch| {
            ["vote", "--epoch", &epoch.to_string(), "--candidate", &whom]
                .map(str::to_owned)
                .into()
        });
    }

    // The next committee has it at its head: whoever emits least leads first.
    let mut client = town.log_on(0);
    let blocks = u64::try_from(EPOCH_BLOCKS).unwrap();
    let border = (headers(&town.dirs[0]).last().unwrap().epoch + 1) * blocks;
    until(&mut client, |message| match message {
        Outbound::Watermark(mark) if mark.height > border + 1 => Some(()),
        _ => None,
    });
    // Its node takes an order, and the chain goes on.
    let mut elected = town.log_on(OBSERVER);
    town.nonce = 1 + NODES as u64;
    let envelope = town.envelope(3);
    elected.send_envelope(&envelope).unwrap();
    accepted(&mut elected, envelope.header.nonce);
    until(&mut client, |message| match message {
        Outbound::Watermark(mark) if mark.height > border + blocks / 2 => Some(()),
        _ => None,
    });
    (0..NODES).for_each(|rank| town.stop(rank));

    let seats = seated(&town.dirs[0]);
    let led: Vec<u64> = headers(&town.dirs[0])
        .iter()
        .filter(|header| seats.get(&(header.epoch, header.producer)) == Some(&candidate(OBSERVER)))
        .map(|header| header.height)
        .collect();
    assert!(!led.is_empty(), "the elected observer packed no block: {seats:?}");
    let epoch = seats.iter().find(|(_, who)| **who == candidate(OBSERVER)).unwrap().0.0;
    let committee: Vec<ParticipantId> = seats.range((epoch, 0)..(epoch + 1, 0)).map(|(_, who)| *who).collect();
    assert_eq!(committee, [OBSERVER, 0, 1, 2].map(candidate));
    for dir in &town.dirs {
        wattbook_node::audit::verify(dir, Some(town.chain), |_| ()).unwrap();
    }
}
