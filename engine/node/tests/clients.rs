//! The clients against a running node: under TLS, through drops of the connection, with what only a participant sends.
//!
//! Nothing here sleeps: every wait is for a message.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../../feed/tests/foreign/environment.rs"]
mod environment;
mod wire;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::sign_ed25519;
use wattbook_feed::moldudp::HEADER_SIZE;
use wattbook_feed::signed::Grade;
use wattbook_feed::tls::Trust;
use wattbook_node::chain::{self, REGULATOR, Secrets, Spec};
use wattbook_node::config::{Clock, Config, Tls};
use wattbook_node::present;
use wattbook_node::topology::Node;
use wattbook_types::{ContractId, Hash, Param, ParticipantId, TimeNs};
use wire::{SEED, Town, WAIT, key, lockstep};

const WHO: ParticipantId = ParticipantId::new(4);
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

/// `seconds` after delivery start.
fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

/// A certificate for this name and its key, signed by an authority; the authority's certificate comes back.
fn certificate(dir: &Path, name: &str) -> (PathBuf, Tls) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("the authority of {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let (mut params, key) = (
        CertificateParams::new(vec![name.to_owned()]).unwrap(),
        KeyPair::generate().unwrap(),
    );
    params.use_authority_key_identifier_extension = true;
    let signed = params.signed_by(&key, &issuer).unwrap();
    let [ca, certificate, key_file] = ["ca", "certificate", "key"].map(|file| dir.join(format!("{name}-{file}.pem")));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(&certificate, signed.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let tls = Tls {
        certificate,
        key: key_file,
    };
    (ca, tls)
}

/// A node on the live clock whose sessions are TLS.
fn start(dir: &Path, tls: Tls) -> Node {
    start_with(dir, tls, |_| {})
}

fn start_with(dir: &Path, tls: Tls, configure: impl FnOnce(&mut Config)) -> Node {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let spec = Spec {
        network: "clients".to_owned(),
        eic: String::new(),
        area: 1,
        demo: true,
        time: TimeNs::from_secs(now),
        params: Vec::new(),
        segment_size: 1 << 20,
    };
    chain::create(dir, &spec, &Secrets::of_demo(SEED)).unwrap();
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        clock: Clock::Live,
        ..Config::default()
    };
    config.ingest.tls = Some(tls);
    configure(&mut config);
    Node::start(dir, &config, Arc::default()).unwrap()
}

fn wattbook(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(arguments)
        .output()
        .unwrap()
}

fn lines(out: &Output) -> Vec<Value> {
    let lines = out.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn complaint(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn every_client_speaks_tls_with_a_node_it_trusts_and_with_no_other() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ca, tls) = certificate(files.path(), "node.test");
    let (other_ca, _) = certificate(files.path(), "other.test");
    let node = start(dir.path(), tls);
    let addr = node.addr.to_string();
    let (ca_file, other_ca) = (ca.to_str().unwrap(), other_ca.to_str().unwrap());

    // The library: reads, and resumes where it was.
    let trust = Trust::from_file(&ca).unwrap();
    let connect = |from| Client::connect_tls(&addr, &trust, Some("node.test"), StreamKind::Public, from);
    let read = |client: &mut Client| {
        let (seq, bytes) = client.next_raw(WAIT).unwrap().expect("a message");
        present::message(&bytes).unwrap().to_json(seq)
    };
    let mut client = connect(1).unwrap();
    let mut told: Vec<Value> = (0..3).map(|_| read(&mut client)).collect();
    let next = client.next_seq();
    client.logout().unwrap();
    let mut client = connect(next).unwrap();
    told.extend((0..2).map(|_| read(&mut client)));
    let numbers: Vec<u64> = told.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);

    // Another name, another authority, no TLS: nothing is said to such a node.
    for refused in [
        Client::connect_tls(&addr, &trust, None, StreamKind::Public, 1),
        Client::connect_tls(&addr, &trust, Some("other.test"), StreamKind::Public, 1),
        Client::connect_tls(
            &addr,
            &Trust::from_file(Path::new(other_ca)).unwrap(),
            Some("node.test"),
            StreamKind::Public,
            1,
        ),
    ] {
        let error = refused.unwrap_err();
        assert!(
            matches!(&error, ClientError::Io(source) if source.to_string().contains("certificate")),
            "{error}"
        );
    }
    assert!(Client::connect(&addr, StreamKind::Public, 1).is_err());

    // The command line.
    let seed = files.path().join("seed.key");
    std::fs::write(&seed, hex::encode(SEED)).unwrap();
    std::fs::set_permissions(&seed, PermissionsExt::from_mode(0o600)).unwrap();
    let seed = seed.to_str().unwrap();
    let trusting = ["--tls-ca", ca_file, "--tls-name", "node.test"];
    let tail = ["tail", &addr, "--json", "--from", "1", "--count", "5"];
    let out = wattbook(&[&tail[..], &trusting].concat());
    assert_eq!((lines(&out), complaint(&out)), (told.clone(), String::new()));
    let out = wattbook(&[&tail[..], &["--tls-ca", other_ca, "--tls-name", "node.test"]].concat());
    assert_eq!(out.status.code(), Some(1));
    assert!(complaint(&out).contains("certificate"), "{}", complaint(&out));
    let send = |trusting: &[&str]| {
        let sender = ["send", &addr, "--json", "--key", seed, "--participant", "1"];
        wattbook(&[&sender[..], trusting, &["cancel", "--target-nonce", "9"]].concat())
    };
    let out = send(&trusting);
    assert_eq!(out.status.code(), Some(0), "{}", complaint(&out));
    assert_eq!(lines(&out)[0]["name"], "Accepted");
    assert_eq!(send(&trusting[..2]).status.code(), Some(2));

    // The client in Python.
    if let Some(python) = environment::python(env!("CARGO_TARGET_TMPDIR")) {
        let client = |more: &[&str]| {
            let mut process = Command::new(&python);
            process.args(["-m", "wattbook"]).args(more).output().unwrap()
        };
        let tail = [&tail[..], &["--attempts", "1"]].concat();
        let out = client(&[&tail[..], &trusting].concat());
        assert_eq!((lines(&out), complaint(&out)), (told, String::new()));
        let out = client(&[&tail[..], &["--tls-ca", other_ca, "--tls-name", "node.test"]].concat());
        assert_eq!(out.status.code(), Some(1));
        assert!(complaint(&out).contains("certificate"), "{}", complaint(&out));
        let out = client(&[&tail[..], &trusting[..2]].concat());
        assert!(complaint(&out).contains("IP address mismatch"), "{}", complaint(&out));
        let sender = [
            "cancel",
            &addr,
            "--json",
            "--key",
            seed,
            "--participant",
            "1",
            "--target-nonce",
            "12",
        ];
        let out = client(&[&sender[..], &trusting].concat());
        assert_eq!(out.status.code(), Some(0), "{}", complaint(&out));
        assert_eq!(lines(&out)[0]["name"], "Accepted");
    }
    drop(client);
    node.stop();
    node.join().unwrap();
}

/// Carries a line's packets to an address, but only every `one_in`-th of those with messages until it is calm.
fn lossy(line: UdpSocket, to: SocketAddr, one_in: usize, calm: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let (mut packet, mut count) = (vec![0; 65_536], 0);
        while let Ok(len) = line.recv(&mut packet) {
            count += usize::from(len > HEADER_SIZE);
            if len <= HEADER_SIZE || count % one_in == 0 || calm.load(Ordering::SeqCst) {
                let _ = line.send_to(&packet[..len], to);
            }
        }
    });
}

/// An address of UDP that nobody listens at.
fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Messages that a late reader finds.
const HISTORY: usize = 80;

#[test]
fn streams_go_on_exactly_over_lines_that_lose_and_tls_that_drops() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ca, tls) = certificate(files.path(), "node.test");
    let network = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let sent: Vec<SocketAddr> = network.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let node = start_with(dir.path(), tls, |config| {
        (config.fanout.a, config.fanout.b) = (vec![sent[0], sent[2]], vec![sent[1]]);
        config.fanout.requests = Some("127.0.0.1:0".parse().unwrap());
        config.fanout.heartbeat_ms = 100;
        config.fanout.end_ms = 5_000;
        // A Tick and its block ten times a second, handed over in small pieces.
        config.seal.idle_tick_ms = 100;
        config.ingest.session_buffer_max = 4 << 10;
    });
    let (addr, requests) = (node.addr.to_string(), node.requests.unwrap().to_string());
    let trust = Trust::from_file(&ca).unwrap();
    let connect = |addr: &str, from| Client::connect_tls(addr, &trust, Some("node.test"), StreamKind::Public, from);
    let mut whole = connect(&addr, 1).unwrap();
    let mut expected = Vec::new();
    let mut read = |until: usize| {
        while expected.len() < until {
            match whole.next_raw(WAIT) {
                Ok(Some((Some(seq), bytes))) => {
                    expected.push(present::message(&bytes).unwrap().to_json(Some(seq)));
                    assert_eq!(seq, expected.len() as u64);
                }
                Ok(Some((None, _))) => {}
                Err(ClientError::EndOfSession) => break,
                other => panic!("{other:?}"),
            }
        }
        expected.clone()
    };
    let history = read(HISTORY);

    // The client library through drops.
    let (relayed, drops) = counting_relay(node.addr, &[5_000, 4_000, 6_000]);
    let (mut told, mut next) = (Vec::new(), 1);
    while told.len() < HISTORY {
        let Ok(mut client) = connect(&relayed.to_string(), next) else {
            continue;
        };
        while let Ok(Some((Some(seq), bytes))) = client.next_raw(WAIT) {
            assert_eq!(seq, told.len() as u64 + 1);
            told.push(present::message(&bytes).unwrap().to_json(Some(seq)));
            if told.len() == HISTORY {
                break;
            }
        }
        next = client.next_seq();
    }
    assert_eq!(told, history);
    assert!(drops.load(Ordering::SeqCst) > 0);

    // `wattbook tail` through drops: it says where to go on.
    let trusting = ["--tls-ca", ca.to_str().unwrap(), "--tls-name", "node.test"];
    let (relayed, drops) = counting_relay(node.addr, &[5_000, 4_000, 6_000]);
    let mut told = Vec::new();
    while told.len() < HISTORY {
        let (from, left) = ((told.len() + 1).to_string(), (HISTORY - told.len()).to_string());
        let tail = [
            "tail",
            &relayed.to_string(),
            "--json",
            "--from",
            &from,
            "--count",
            &left,
        ];
        let out = wattbook(&[&tail[..], &trusting].concat());
        told.extend(lines(&out));
        if told.len() < HISTORY {
            assert_eq!(out.status.code(), Some(1));
            let resume = format!("resume with --from {}", told.len() + 1);
            assert!(complaint(&out).contains(&resume), "{}", complaint(&out));
        }
    }
    assert_eq!(told, history);
    assert!(drops.load(Ordering::SeqCst) > 0);

    // `wattbook tail` over lines that lose: two with a re-request server, and one with the session port alone, which drops.
    let (relayed, drops) = counting_relay(node.addr, &[600, 5_000, 4_000]);
    let relayed = relayed.to_string();
    let at = [free(), free(), free()];
    let named = at.map(|at| at.to_string());
    let recorded = [0, 1].map(|n| files.path().join(format!("{n}.soup")));
    let tails = [
        vec!["--line", &named[0], "--line", &named[1], "--requests", &requests],
        [&[&relayed, "--line", &named[2]], &trusting[..]].concat(),
    ];
    let calm = Arc::new(AtomicBool::new(false));
    for ((line, at), one_in) in network.into_iter().zip(at).zip([3, 5, 4]) {
        lossy(line, at, one_in, Arc::clone(&calm));
    }
    let mut partners: Vec<Partner> = (tails.iter().zip(&recorded))
        .map(|(tail, file)| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_wattbook"));
            command
                .args(["tail", "--json", "--from", "1", "--record"])
                .arg(file)
                .args(tail);
            Partner::start(&mut command)
        })
        .collect();
    let mut hear = |len: usize| -> Vec<Vec<Value>> {
        let heard = partners.iter_mut().map(|tail| (0..len).map(|_| tail.hear()).collect());
        heard.collect()
    };
    let mut begun = hear(HISTORY + 20);
    // What is lost when the node has gone, a session port cannot give again.
    calm.store(true, Ordering::SeqCst);
    for (told, more) in begun.iter_mut().zip(hear(20)) {
        told.extend(more);
    }
    node.stop();
    let expected = read(usize::MAX);
    for ((mut told, mut tail), file) in begun.into_iter().zip(partners).zip(recorded) {
        told.extend(
            (&mut tail.says)
                .lines()
                .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()),
        );
        assert!(tail.child.wait().unwrap().success());
        assert!(told == expected, "{} messages of {}", told.len(), expected.len());
        let out = wattbook(&["tail", "--replay", file.to_str().unwrap(), "--json"]);
        assert!(lines(&out) == expected, "{}", complaint(&out));
    }
    assert!(drops.load(Ordering::SeqCst) > 0);
    node.join().unwrap();
}

/// Registers, seals, reveals; then reads its own stream through whatever stands at the second address.
const PARTICIPANT: &str = r"
import json, sys
from wattbook import *
address, relay, participant, seed, contract = sys.argv[1], sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4]), int(sys.argv[5])
key = SigningKey.from_seed(seed, participant)

def say(what):
    print(json.dumps(what), flush=True)
    return sys.stdin.readline().strip()

def wait(session, kind):
    while True:
        received = session.receive(60.0)
        assert received is not None, kind
        assert not isinstance(received.message, RejectedMessage), received
        if isinstance(received.message, kind):
            return received.message

with Session.private(address, 1) as session:
    registration = Registration(participant, Role.BUYER | Role.SELLER, 2**64 - 1, [Meter(participant, 1_000_000, 1_000_000)])
    admit = say({'admit': registration.admit_digest(session.chain_id, key.public_key()).hex()})
    session.send_register(key, registration, bytes.fromhex(admit))
    wait(session, Held)
    say('registered')
    session.logon(participant, key, Grade.MATCHED)
    salt = reveal_salt(client_secret(seed, participant), session.chain_id, contract, 1)
    opened = Reveal(participant, contract, salt, [Quote(contract, Side.BUY, 15_000, 1_000, round=1)])
    not_after = int(say('logged on'))
    nonce = session.send_quotes([opened.seal(session.chain_id)], not_after_ns=not_after)
    wait(session, Held)
    say('sealed')
    accepted = wait(session, Accepted)
    assert accepted.nonce == nonce
    say('accepted')
    session.send_reveal(opened)
    wait(session, Held)
    say('revealed')
    wait(session, RevealAccepted)
    session.send_on_disconnect([Cancel()], not_after_ns=not_after)
    assert wait(session, Held).kind == HeldKind.ON_DISCONNECT
    session.send_on_disconnect([])
    assert wait(session, Held).nonce == 0
count = int(say('done'))
for seq, message in follow(relay, 1, pause_s=0.0, logon=lambda session: session.logon(participant, key, Grade.MATCHED)):
    if seq is not None:
        print(json.dumps(to_json(message, seq)), flush=True)
        if seq == count:
            break
";

/// A conversation with a process, a line in turn.
struct Partner {
    child: Child,
    says: BufReader<ChildStdout>,
    hears: ChildStdin,
}

impl Partner {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self {
            says: BufReader::new(child.stdout.take().unwrap()),
            hears: child.stdin.take().unwrap(),
            child,
        }
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the client has ended after {line:?}"))
    }

    fn answer(&mut self, line: &str) {
        writeln!(self.hears, "{line}").unwrap();
    }

    fn expect(&mut self, said: &str) {
        assert_eq!(self.hear(), said);
    }
}

/// Stands before a node and cuts each connection after so many bytes of the node's.
fn relay(node: SocketAddr, cuts: &'static [usize]) -> SocketAddr {
    counting_relay(node, cuts).0
}

/// With the number of connections that it has cut; behind the last cut it cuts none.
fn counting_relay(node: SocketAddr, cuts: &'static [usize]) -> (SocketAddr, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for cut in cuts.iter().chain(std::iter::repeat(&usize::MAX)) {
            let (mut client, _) = listener.accept().unwrap();
            let Ok(server) = TcpStream::connect(node) else { return };
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            let _ = std::io::copy(&mut (&server).take(*cut as u64), &mut client);
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (addr, done)
}

#[test]
fn a_participant_in_python_registers_seals_reveals_and_misses_nothing_through_drops() {
    let Some(python) = environment::python(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let params = vec![(Param::Rounds, 1)];
    let mut town = Town::start(dir.path(), at(-1_300), params, &lockstep());
    // Within the challenge, within the logon's answer, within messages, and then not at all.
    let relayed = relay(town.node.addr, &[70, 130, 190, 300, usize::MAX]);
    let mut partner = Partner::start(Command::new(python).args([
        "-c",
        PARTICIPANT,
        &town.node.addr.to_string(),
        &relayed.to_string(),
        &WHO.get().to_string(),
        &hex::encode(SEED),
        &CONTRACT.get().to_string(),
    ]));
    let said = partner.hear();
    let mut digest = Hash([0; 32]);
    hex::decode_to_slice(said["admit"].as_str().unwrap(), &mut digest.0).unwrap();
    partner.answer(&hex::encode(sign_ed25519(&wire::registrar(), &digest)));
    partner.expect("registered");
    town.witnessed_step_to(at(-1_200));
    partner.answer("");
    partner.expect("logged on");
    partner.answer(&at(-600).get().to_string());
    partner.expect("sealed");
    town.witnessed_step_to(at(-1_190));
    partner.answer("");
    partner.expect("accepted");
    town.witnessed_step_to(at(-1_110));
    partner.answer("");
    partner.expect("revealed");
    town.witnessed_step_to(at(-1_100));
    partner.answer("");
    partner.expect("done");
    town.witnessed_step_to(at(-1_050));
    town.witnessed_step_to(at(-1_020));
    town.witnessed_step_to(at(-990));

    // What the library has of the same stream.
    let mut client = Client::connect(town.node.addr, StreamKind::Private, 1).unwrap();
    client.logon(WHO, &key(WHO), Grade::Matched).unwrap();
    let mut own = Vec::new();
    while own.last().is_none_or(|line: &Value| line["name"] != "Opened") {
        let (seq, bytes) = client.next_raw(WAIT).unwrap().expect("a message");
        if seq.is_some() {
            own.push(present::message(&bytes).unwrap().to_json(seq));
        }
    }
    let names: Vec<&str> = own.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert!(
        ["Accepted", "Sealed", "RevealAccepted", "BondReleased"]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );
    partner.answer(&own.len().to_string());
    let mut read = String::new();
    partner.says.read_to_string(&mut read).unwrap();
    let read: Vec<Value> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, own);
    assert!(partner.child.wait().unwrap().success());
    assert!(town.desk(REGULATOR).told.len() > 1);
    town.stop();
}
