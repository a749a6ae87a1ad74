//! Four delegates, each a process in a network namespace of its own: a trade over links that lose packets, with one delegate
//! cut off, with two, and after they are joined again.
//!
//! The test runs itself inside namespaces of network, mounts and processes: the kernel ends every node and takes every link away
//! when the first process in there ends, however it does. Nothing leaves the machine. Where no namespaces are to be had it says so.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::keys::sign_ed25519;
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::{
    Grade, MeterEntry, Register, RegisterRecord, SealedEnvelope, encode_quote, meters_root, record_kind,
};
use wattbook_ledger::{BlockHeader, Reader};
use wattbook_node::chain::{self, CommitteeSpec, FIRST_SERIAL, Member, Secrets, Spec};
use wattbook_node::config::CONFIG_FILE;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{
    ChainId, ContractId, Energy, Hash, Param, ParticipantId, Phase, Price, Quote, Roles, SelfTrade, Side, TimeInForce,
    TimeNs,
};

#[path = "namespaces/links.rs"]
mod links;
use links::{address, cut, done, join, lay_links, lose, spare};

const SEATS: usize = 4;
const BUYER: ParticipantId = ParticipantId::new(FIRST_SERIAL + SEATS as u64);
const SELLER: ParticipantId = ParticipantId::new(FIRST_SERIAL + SEATS as u64 + 1);
const SEED: [u8; 32] = [37; 32];
/// Set where the test runs inside its namespaces: the folder for the nodes.
const INSIDE: &str = "NAMESPACES_FOLDER";
/// Longest wait: only a broken committee takes so long.
const WAIT: Duration = Duration::from_secs(120);
/// How long nothing may be answered with too few delegates: some of a leader's timeouts.
const SILENCE: Duration = Duration::from_secs(3);
/// Deals over links that lose packets.
const LOSSY_DEALS: usize = 4;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A node's process; killed when dropped.
struct Running(Child);

impl Running {
    fn start(rank: usize, dir: &Path) -> Self {
        let mut child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &format!("node{rank}"),
                env!("CARGO_BIN_EXE_wattbook"),
                "run",
            ])
            .arg(dir)
            .env("WATTBOOK_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("listening "), "node {rank} did not start: {line}");
        Self(child)
    }

    /// Stops it as an operator does.
    fn stop(mut self) {
        done("kill", &format!("-TERM {}", self.0.id()));
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An envelope: whose, and its nonce.
type Sent = (ParticipantId, u64);

/// The committee, and what it said it has.
struct Town {
    dirs: Vec<PathBuf>,
    listen: Vec<SocketAddr>,
    chain: ChainId,
    contract: ContractId,
    secrets: Secrets,
    /// Records of accepted envelopes.
    accepted: BTreeMap<Sent, u64>,
}

impl Town {
    /// A chain whose book opens some seconds after genesis and stays open for minutes.
    fn make(folder: &Path) -> Self {
        let genesis_s = now_s();
        let gate_s = genesis_s + 4;
        let period = (gate_s + 900).div_ceil(PERIOD_S);
        let gate_open = i64::try_from(period * PERIOD_S - gate_s).unwrap();
        let params = vec![
            (Param::GateOpenS, gate_open),
            (Param::GateCloseS, 0),
            (Param::Rounds, 1),
            (Param::SealS, 1),
            (Param::RevealS, 2),
            (Param::MatchS, 3),
            (Param::ContractS, 4),
            (Param::RoundS, 5),
            (Param::CountersignS, 86_400),
        ];
        let spec = Spec {
            network: "namespaces".to_owned(),
            eic: String::new(),
            area: 1,
            demo: false,
            time: TimeNs::from_secs(genesis_s),
            params,
            segment_size: 1 << 20,
        };
        let secrets = Secrets {
            seed: [1; 32],
            accounts: [[2; 32]; 3],
        };
        let committee = CommitteeSpec {
            delegates: SEATS,
            observers: 0,
            port: 7300,
        };
        let (chain, members) = chain::create_committee(folder, &spec, &secrets, committee).unwrap();
        let mut listen = Vec::new();
        for member in &members {
            let path = member.dir.join(CONFIG_FILE);
            let timing = "[replicate]\nblock_ms = 100\nleader_timeout_ms = 1000\n";
            let mut text = std::fs::read_to_string(&path).unwrap().replace("[replicate]\n", timing);
            for (
                rank,
                Member {
                    listen, peer, metrics, ..
                },
            ) in members.iter().enumerate()
            {
                for old in [*listen, peer.address, *metrics] {
                    let new = SocketAddr::from((address(rank), old.port()));
                    text = text.replace(&old.to_string(), &new.to_string());
                }
            }
            text += "\n[verify]\npolicy = \"one-by-one\"\nthreads = 1\n[ingest]\nidle_timeout_ms = 600000\n";
            std::fs::write(&path, text).unwrap();
            listen.push(SocketAddr::from((address(listen.len()), member.listen.port())));
        }
        Self {
            dirs: members.into_iter().map(|member| member.dir).collect(),
            listen,
            chain,
            contract: ContractId::new(u32::try_from(period).unwrap(), ContractId::PRODUCT_QUARTER_HOUR, 1),
            secrets,
            accepted: BTreeMap::new(),
        }
    }

    fn registration(&self, who: ParticipantId) -> RegisterRecord {
        let meters = vec![MeterEntry {
            meter: who.get(),
            import_cap_wh: 1_000_000,
            export_cap_wh: 1_000_000,
            kind: 2,
            reserved: 0,
        }];
        let key = chain::participant_key(&SEED, who);
        let register = Register {
            roles: Roles::BUYER.union(Roles::SELLER).bits(),
            flags: 0,
            admit_serial: who.get(),
            not_after_ns: u64::MAX,
            public_key: key.public_key(),
            session_spki: [0; 32],
            group: [0; 32],
            meters_root: meters_root(&meters).0,
        };
        RegisterRecord {
            register,
            admit: sign_ed25519(&self.secrets.registrar(), &register.admit_digest(self.chain)),
            possession: key.prove_possession(&register.digest(self.chain)),
            meters,
        }
    }

    /// A session of final grade with a node, its whole stream.
    fn log_on(&self, who: ParticipantId, rank: usize) -> Client {
        let mut client = Client::connect(self.listen[rank], StreamKind::Private, 1).unwrap();
        client.expect_chain(self.chain).unwrap();
        let key = chain::participant_key(&SEED, who);
        client.logon(who, &key, Grade::Final).unwrap();
        until(&mut client, |message| match message {
            Outbound::LoggedOn(_) => Some(()),
            Outbound::RejectedMessage(refused) => panic!("{refused:?}"),
            _ => None,
        });
        client
    }

    /// Waits until a node tells everybody what is looked for.
    fn hear(&self, rank: usize, found: impl FnMut(&Outbound) -> Option<()>) {
        let mut public = Client::connect(self.listen[rank], StreamKind::Public, 1).unwrap();
        until(&mut public, found);
    }

    /// Both accounts' sessions, with these nodes.
    fn traders(&self, [buyer, seller]: [usize; 2]) -> [Client; 2] {
        [self.log_on(BUYER, buyer), self.log_on(SELLER, seller)]
    }

    /// Sends a quote of 100 Wh at the price that both sides have; its nonce.
    fn send(&self, client: &mut Client, who: ParticipantId) -> u64 {
        let nonce = 1 + self.accepted.range((who, 0)..=(who, u64::MAX)).count() as u64;
        let quote = Quote {
            contract: self.contract,
            client_order_id: nonce,
            round: 0,
            side: if who == BUYER { Side::Buy } else { Side::Sell },
            time_in_force: TimeInForce::Gate,
            price: Price::new(20_000),
            charge_cap: -1,
            energy: Energy::new(100),
            min_fill: Energy::ZERO,
            valid_until_s: 0,
            display: Energy::ZERO,
            market_to_limit: false,
            self_trade: SelfTrade::CancelNewest,
        };
        let leaves = vec![encode_quote(0, &quote).unwrap()];
        let not_after = TimeNs::from_secs(now_s() + 600);
        let key = chain::participant_key(&SEED, who);
        let envelope = SealedEnvelope::sign(self.chain, &key, who, 1, nonce, not_after, leaves);
        client.send_envelope(&envelope).unwrap();
        nonce
    }

    /// Waits until an envelope is in a final block.
    fn accept(&mut self, client: &mut Client, who: ParticipantId, nonce: u64) -> u64 {
        let seq = until(client, |message| accepted(message, nonce));
        assert!(self.accepted.insert((who, nonce), seq).is_none());
        seq
    }

    /// The bid that takes the ask that rests.
    fn take(&mut self, buyer: &mut Client) {
        let nonce = self.send(buyer, BUYER);
        let seq = self.accept(buyer, BUYER, nonce);
        let deal = until(buyer, |message| match message {
            Outbound::Executed(deal) if deal.seq == seq => Some(*deal),
            _ => None,
        });
        assert_eq!((deal.price, deal.energy_wh), (40_000, 100));
    }

    /// An ask that rests, and a bid that takes it.
    fn deal(&mut self, [buyer, seller]: &mut [Client; 2]) {
        let nonce = self.send(seller, SELLER);
        self.accept(seller, SELLER, nonce);
        self.take(buyer);
    }

    /// Every header of a node's ledger, and the records that each envelope has there.
    fn ledger(&self, rank: usize) -> (Vec<BlockHeader>, BTreeMap<Sent, Vec<u64>>) {
        let (mut headers, mut envelopes) = (Vec::new(), BTreeMap::<_, Vec<u64>>::new());
        for block in Reader::open(&self.dirs[rank]).unwrap().blocks() {
            let block = block.unwrap();
            for record in block.records.iter().filter(|r| r.kind == record_kind::ENVELOPE) {
                let header = SealedEnvelope::decode(record.payload).unwrap().header;
                let of = (ParticipantId::new(header.participant), header.nonce);
                envelopes.entry(of).or_default().push(record.seq);
            }
            headers.push(block.header);
        }
        (headers, envelopes)
    }
}

/// The record of an envelope, if the message says that it was accepted.
fn accepted(message: &Outbound, nonce: u64) -> Option<u64> {
    match message {
        Outbound::Accepted(answer) if answer.nonce == nonce => Some(answer.seq),
        Outbound::Rejected(answer) if answer.nonce == nonce => panic!("{answer:?}"),
        Outbound::RejectedMessage(refused) => panic!("{refused:?}"),
        _ => None,
    }
}

/// Waits for what `found` takes.
fn until<T>(client: &mut Client, mut found: impl FnMut(&Outbound) -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (_, message) = client.next(left).unwrap().expect("an answer");
        if let Some(found) = found(&message) {
            return found;
        }
    }
}

/// What the test below runs in its namespaces; elsewhere nothing.
#[test]
fn inside_the_namespaces() {
    let Some(folder) = std::env::var_os(INSIDE) else { return };
    // Ends, and the kernel everything with it, when the test outside is gone.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(70);
    });
    lay_links();
    let mut town = Town::make(Path::new(&folder));
    let mut nodes: Vec<Running> = Vec::new();
    for (rank, dir) in town.dirs.iter().enumerate() {
        nodes.push(Running::start(rank, dir));
    }
    let mut registrar = Client::connect(town.listen[0], StreamKind::Private, 1).unwrap();
    for who in [BUYER, SELLER] {
        registrar.send_register(&town.registration(who)).unwrap();
    }
    for rank in [1, 3] {
        let mut registered = 0;
        town.hear(rank, |message| {
            registered += usize::from(matches!(message, Outbound::Registered(_)));
            (registered == 2).then_some(())
        });
    }
    let mut traders = town.traders([1, 3]);
    town.hear(2, |message| match message {
        Outbound::PhaseChanged(event) => (event.phase == Phase::Continuous as u8).then_some(()),
        _ => None,
    });
    town.deal(&mut traders);

    // Every link loses packets.
    if (0..SEATS).all(lose) {
        (0..LOSSY_DEALS).for_each(|_| town.deal(&mut traders));
        let dropped: Vec<u64> = (0..SEATS).map(spare).collect();
        assert!(dropped.iter().sum::<u64>() > 0, "{dropped:?}");
        println!("packets dropped: {dropped:?}");
    } else {
        println!("SKIPPED: links that lose packets: the kernel has neither netem nor htb with filters of bpf");
    }

    // The leader is cut off; three go on.
    let leader = town.ledger(0).0.last().unwrap().producer as usize;
    let [second, third, fourth] = [1, 2, 3].map(|next| (leader + next) % SEATS);
    cut(leader);
    let mut traders = town.traders([third, fourth]);
    town.deal(&mut traders);

    // Two are cut off, each alone: of what comes now nothing is final.
    cut(second);
    let [mut buyer, mut seller] = traders;
    let nonce = town.send(&mut seller, SELLER);
    let silent_until = Instant::now() + SILENCE;
    while let Some((_, message)) = seller
        .next(silent_until.saturating_duration_since(Instant::now()))
        .unwrap()
    {
        assert_eq!(accepted(&message, nonce), None, "two of four certified");
    }
    // With one more it is, and whoever comes back takes orders.
    join(leader);
    town.accept(&mut seller, SELLER, nonce);
    join(second);
    town.take(&mut buyer);
    town.deal(&mut town.traders([leader, second]));
    let last = *town.accepted.values().max().unwrap();
    for rank in 0..SEATS {
        town.hear(rank, |message| match message {
            Outbound::BlockSealed(block) if block.first_seq + block.record_count > last => Some(()),
            _ => None,
        });
    }
    nodes.into_iter().for_each(Running::stop);

    // One chain, with everything that was accepted, once, and where it was said to be.
    let ledgers: Vec<_> = (0..SEATS).map(|rank| town.ledger(rank)).collect();
    let shortest = ledgers.iter().map(|(headers, _)| headers.len()).min().unwrap();
    let said: BTreeMap<_, _> = town.accepted.iter().map(|(of, seq)| (*of, vec![*seq])).collect();
    let mut producers: Vec<u32> = ledgers[0].0[1..].iter().map(|header| header.producer).collect();
    producers.dedup();
    assert!(producers.len() > 1, "nobody took over from the leader that was cut off");
    for (dir, (headers, envelopes)) in town.dirs.iter().zip(&ledgers) {
        assert_eq!(headers[..shortest], ledgers[0].0[..shortest]);
        assert_ne!(headers[shortest - 1].state_root, Hash::ZERO);
        assert_eq!(*envelopes, said);
        wattbook_node::audit::verify(dir, Some(town.chain), |_| ()).unwrap();
    }
    println!("namespaces: {} blocks at all four, {} envelopes", shortest, said.len());
}

#[test]
fn delegates_in_network_namespaces_lose_packets_and_each_other() {
    let folder = tempfile::tempdir().unwrap();
    // `ip netns` keeps its names in a folder that nobody outside sees.
    let script = "mount -t tmpfs none /var/run && ip netns add probe && ip netns exec probe true && ip netns del probe \
                  && ip link add probe type bridge && ip link del probe \
                  && ip link add probe type veth peer name probed && ip link del probe \
                  && exec \"$0\" --exact inside_the_namespaces --nocapture";
    let mut why = String::new();
    // Root makes namespaces by itself; others need a user namespace of their own.
    for user in ["", "-Ur"] {
        let child = Command::new("unshare")
            .args(["-n", "-m", "-p", "--fork", "--kill-child", "--mount-proc"])
            .args([user].iter().filter(|user| !user.is_empty()))
            .args(["sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                why = format!("unshare: {error}");
                continue;
            }
        };
        // Open for as long as this process lives.
        let lives = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(lives);
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        if said.contains("running 1 test") {
            assert!(
                output.status.success() && said.contains("blocks at all four"),
                "{said}{errors}"
            );
            said.lines()
                .filter(|line| {
                    ["SKIPPED", "packets", "namespaces:"]
                        .iter()
                        .any(|what| line.contains(what))
                })
                .for_each(|line| println!("{line}"));
            return;
        }
        why = errors.trim().replace('\n', "; ");
    }
    println!("SKIPPED: delegates in network namespaces: none may be made here: {why}");
}
