//! Readers of a running node beside the Rust client: the Python client, recordings, tshark over real session bytes.
//!
//! Nothing here sleeps: every wait is for a message.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../../feed/tests/foreign/environment.rs"]
mod environment;
#[path = "../../../feed/tests/foreign/pcap.rs"]
mod pcap;
mod wire;

use pcap::Capture;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::sbe::{Outbound, decode_outbound, inbound, outbound};
use wattbook_feed::signed::Grade;
use wattbook_feed::soupbin::{Decoder, PACKET_MAX, Packet, Peer};
use wattbook_node::chain::{self, Secrets, Spec};
use wattbook_node::config::{Clock, Config};
use wattbook_node::present;
use wattbook_node::topology::Node;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{ChainId, Param, ParticipantId, Phase, Reject, Roles, TimeNs};
use wire::{SEED, WAIT, key, registration};

const BUYER: ParticipantId = ParticipantId::new(4);
const SELLER: ParticipantId = ParticipantId::new(5);

/// A node on the live clock whose first contract trades within seconds, for minutes; its period.
fn start(dir: &Path) -> (Node, ChainId, u64) {
    let genesis_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let gate_s = genesis_s + 1;
    let period = (gate_s + 600).div_ceil(PERIOD_S);
    let params = vec![
        (Param::GateOpenS, i64::try_from(period * PERIOD_S - gate_s).unwrap()),
        (Param::GateCloseS, 0),
        (Param::Rounds, 1),
        (Param::SealS, 1),
        (Param::RevealS, 2),
        (Param::MatchS, 3),
        (Param::ContractS, 4),
        (Param::RoundS, 5),
    ];
    let spec = Spec {
        network: "readers".to_owned(),
        eic: String::new(),
        area: 1,
        demo: true,
        time: TimeNs::from_secs(genesis_s),
        params,
        segment_size: 1 << 20,
    };
    let chain = chain::create(dir, &spec, &Secrets::of_demo(SEED)).unwrap();
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        clock: Clock::Live,
        ..Config::default()
    };
    // A test on a busy machine may leave a session silent for long.
    config.ingest.idle_timeout_ms = 600_000;
    (Node::start(dir, &config, Arc::default()).unwrap(), chain, period)
}

/// Sequenced messages from 1 on, as JSON, up to the first that `last` takes.
fn view(client: &mut Client, last: impl Fn(&Outbound) -> bool) -> Vec<Value> {
    let mut lines = Vec::new();
    loop {
        let (seq, bytes) = client.next_raw(WAIT).unwrap().expect("a message");
        if seq.is_none() {
            continue;
        }
        lines.push(present::message(&bytes).unwrap().to_json(seq));
        if last(&decode_outbound(&bytes).unwrap()) {
            return lines;
        }
    }
}

fn lines(out: &Output) -> Vec<Value> {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    objects(out)
}

fn objects(out: &Output) -> Vec<Value> {
    let lines = out.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["name"].as_str().unwrap()).collect()
}

fn wattbook(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_recording_of_the_feed_is_the_feed() {
    let dir = tempfile::tempdir().unwrap();
    let (node, ..) = start(dir.path());
    let addr = node.addr.to_string();
    let mut public = Client::connect(node.addr, StreamKind::Public, 1).unwrap();
    let told = view(
        &mut public,
        |message| matches!(message, Outbound::PhaseChanged(event) if event.phase == Phase::Matched as u8),
    );
    assert!(told.len() > 5);
    let file = dir.path().join("feed.soup");
    let file = file.to_str().unwrap();
    let tail = |more: &[&str]| wattbook(&[&["tail", &addr, "--json", "--record", file], more].concat());
    assert_eq!(lines(&tail(&["--from", "1", "--count", "3"])), told[..3]);
    // It goes on where it ended, also where it was cut off within a packet.
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() - 5]).unwrap();
    let torn = wattbook(&["tail", "--replay", file, "--json"]);
    assert_eq!((objects(&torn), torn.status.code()), (told[..2].to_vec(), Some(1)));
    assert!(String::from_utf8_lossy(&torn.stderr).contains("ends within the packet"));
    let other = tail(&["--from", "9", "--count", "1"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("goes on with message 3, not 9"));
    let rest = (told.len() - 2).to_string();
    assert_eq!(lines(&tail(&["--count", &rest])), told[2..]);
    assert_eq!(lines(&wattbook(&["tail", "--replay", file, "--json"])), told);
    let part = wattbook(&["tail", "--replay", file, "--json", "--from", "3", "--count", "2"]);
    assert_eq!(lines(&part), told[2..4]);
    // A feed that ends leaves a recording that ends.
    let last = told.len() + 1;
    let mut recorder = Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(["tail", &addr, "--json", "--record", file])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It follows the feed once it has said a line of it.
    let mut said = BufReader::new(recorder.stdout.take().unwrap());
    let mut text = String::new();
    said.read_line(&mut text).unwrap();
    node.stop();
    said.read_to_string(&mut text).unwrap();
    assert!(recorder.wait().unwrap().success());
    node.join().unwrap();
    let more: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(more[0]["seq"], last);
    let mut recording = wattbook_feed::recording::Recording::open(Path::new(file)).unwrap();
    while recording.next().unwrap().is_some() {}
    assert!(recording.is_ended());
    assert_eq!(
        lines(&wattbook(&["tail", "--replay", file, "--json"])),
        [told, more].concat()
    );
}

/// What went over a connection, in order: whether the server sent it, and its bytes.
type Wire = Vec<(bool, Vec<u8>)>;

/// Stands between a client and the node and notes what passes. Each connection is cut after so many bytes of the node's.
fn relay(node: SocketAddr, cuts: &'static [usize]) -> (SocketAddr, JoinHandle<Vec<Wire>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let relay = move || cuts.iter().map(|cut| pass(&listener, node, *cut)).collect();
    (addr, std::thread::spawn(relay))
}

fn pass(listener: &TcpListener, node: SocketAddr, cut: usize) -> Wire {
    let (client, _) = listener.accept().unwrap();
    let server = TcpStream::connect(node).unwrap();
    let noted = Mutex::new(Wire::new());
    let copy = |from_server: bool, mut left: usize| {
        let (mut from, mut to) = if from_server {
            (&server, &client)
        } else {
            (&client, &server)
        };
        let mut buffer = [0; 1_400];
        while left > 0 {
            let room = left.min(buffer.len());
            let len = from.read(&mut buffer[..room]).unwrap_or(0);
            if len == 0 {
                break;
            }
            noted.lock().unwrap().push((from_server, buffer[..len].to_vec()));
            if to.write_all(&buffer[..len]).is_err() {
                break;
            }
            left -= len;
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(false, usize::MAX));
        copy(true, cut);
    });
    noted.into_inner().unwrap()
}

/// Names of the messages that went over a connection.
fn messages_of(wire: &Wire) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (from_server, peer) in [(false, Peer::Client), (true, Peer::Server)] {
        let bytes: Vec<u8> = wire
            .iter()
            .filter(|part| part.0 == from_server)
            .flat_map(|part| part.1.clone())
            .collect();
        let mut decoder = Decoder::new(peer, PACKET_MAX);
        let mut rest = bytes.as_slice();
        loop {
            while let Some(packet) = decoder.next_packet().unwrap() {
                if let Packet::Sequenced(message) | Packet::Unsequenced(message) = packet {
                    let template = u16::from_le_bytes([message[2], message[3]]);
                    let mut specs = inbound::MESSAGES.iter().chain(outbound::MESSAGES);
                    names.push(specs.find(|spec| spec.id == template).unwrap().name);
                }
            }
            if rest.is_empty() {
                break;
            }
            let len = rest.read(decoder.spare()).unwrap();
            decoder.filled(len);
        }
    }
    names
}

/// What tshark shows of a connection under these filter names; `None` where there is no tshark.
fn in_tshark(wire: &Wire, names: &[&str]) -> Option<Vec<Vec<String>>> {
    if !Command::new("tshark")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success())
    {
        writeln!(
            std::io::stderr(),
            "\nSKIPPED: tshark is not installed (apt-get install tshark)"
        )
        .expect("stderr");
        return None;
    }
    let mut capture = Capture::new();
    for (from_server, bytes) in wire {
        capture.tcp(*from_server, bytes);
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("session.pcap");
    std::fs::write(&path, capture.file()).unwrap();
    let lua = concat!(
        "lua_script:",
        env!("CARGO_MANIFEST_DIR"),
        "/../../feed/wireshark/wattbook.lua"
    );
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-d",
        "tcp.port==7411,soupbintcp",
        "-X",
        lua,
        "-T",
        "fields",
        "-E",
        "separator=;",
        "-r",
    ]);
    command.arg(&path);
    for name in names {
        command.args(["-e", name]);
    }
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut shown = vec![Vec::new(); names.len()];
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        for (column, cell) in line.split(';').enumerate() {
            shown[column].extend(cell.split(',').filter(|value| !value.is_empty()).map(str::to_owned));
        }
    }
    Some(shown)
}

/// Logs on, again for as long as the registration is under way.
fn log_on(addr: SocketAddr, who: ParticipantId) -> Client {
    let mut client = Client::connect(addr, StreamKind::Private, 1).unwrap();
    loop {
        client.logon(who, &key(who), Grade::Durable).unwrap();
        loop {
            match client.next(WAIT).unwrap().expect("an answer").1 {
                Outbound::LoggedOn(_) => return client,
                Outbound::RejectedMessage(refused) => {
                    assert_eq!(Reject::from_code(refused.code), Some(Reject::UnknownParticipant));
                    break;
                }
                _ => {}
            }
        }
    }
}

/// Reads a participant's stream from its beginning, so many messages of it.
const PRIVATE: &str = r"
import json, sys
from wattbook import Session, SigningKey, to_json
address, participant, seed, count = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4])
with Session.private(address, 1) as session:
    session.logon(participant, SigningKey.from_seed(seed, participant))
    for seq, message in session:
        if seq is not None:
            print(json.dumps(to_json(message, seq)))
            if seq == count:
                break
    session.logout()
";

#[test]
fn the_python_client_trades_and_sees_what_the_rust_client_sees() {
    let Some(python) = environment::python(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (node, chain, period) = start(dir.path());
    let mut door = Client::connect(node.addr, StreamKind::Private, 1).unwrap();
    for who in [BUYER, SELLER] {
        door.send_register(&registration(chain, who, Roles::BUYER.union(Roles::SELLER)))
            .unwrap();
        log_on(node.addr, who).logout().unwrap();
    }
    let mut public = Client::connect(node.addr, StreamKind::Public, 1).unwrap();
    let mut told = view(
        &mut public,
        |message| matches!(message, Outbound::PhaseChanged(event) if event.phase == Phase::Continuous as u8),
    );
    let seed = dir.path().join("seed.key");
    std::fs::write(&seed, hex::encode(SEED)).unwrap();
    std::fs::set_permissions(&seed, PermissionsExt::from_mode(0o600)).unwrap();
    let (relayed, passed) = relay(node.addr, &[usize::MAX, 701, usize::MAX]);

    let (period, chain) = (period.to_string(), chain.0.to_string());
    let client = |command: &str, addr: SocketAddr, more: &[&str]| {
        let mut process = Command::new(&python);
        process
            .args(["-m", "wattbook", command, &addr.to_string(), "--json"])
            .args(more);
        process.output().unwrap()
    };
    let quote = |addr: SocketAddr, who: ParticipantId, side: &str, price: &str| {
        let (key, who) = (seed.to_str().unwrap(), who.get().to_string());
        let order = [
            "--side", side, "--price", price, "--energy", "0.001", "--period", &period,
        ];
        let sender = ["--key", key, "--participant", &who, "--chain", &chain];
        client("quote", addr, &[&sender[..], &order[..]].concat())
    };
    let ask = quote(relayed, SELLER, "sell", "200.00");
    assert_eq!(names(&lines(&ask)), ["Accepted", "Opened"]);
    let bid = lines(&quote(node.addr, BUYER, "buy", "200"));
    assert!(names(&bid).starts_with(&["Accepted"]));
    let deal = bid.iter().find(|line| line["name"] == "Executed").unwrap();
    assert_eq!(
        (&deal["fields"]["price"], &deal["fields"]["energy_wh"]),
        (&40_000.into(), &1_000.into())
    );

    // A refusal reads the same through both command lines.
    let refused = quote(node.addr, BUYER, "buy", "9999999");
    assert_eq!(refused.status.code(), Some(1));
    let (addr, key_file) = (node.addr.to_string(), seed.to_str().unwrap());
    let ours = wattbook(&[
        "send",
        &addr,
        "--json",
        "--key",
        key_file,
        "--participant",
        "4",
        "quote",
        "--contract",
        &period,
        "--side",
        "buy",
        "--price",
        "9999999",
        "--energy",
        "0.001",
    ]);
    assert_eq!(ours.status.code(), Some(1));
    let verdict = |out: &Output| {
        let lines = objects(out);
        (lines[0]["name"].clone(), lines[0]["fields"]["code_name"].clone())
    };
    assert_eq!(verdict(&refused), verdict(&ours));
    assert_eq!(verdict(&ours).1, Reject::PriceOutOfBounds.name());

    // The public feed, through a connection that breaks within a packet.
    // A session that nobody read for so long counts as silent.
    let mut public = Client::connect(node.addr, StreamKind::Public, public.next_seq()).unwrap();
    told.extend(view(&mut public, |message| matches!(message, Outbound::Executed(_))));
    let count = told.len().to_string();
    assert_eq!(
        lines(&client("tail", relayed, &["--from", "1", "--count", &count])),
        told
    );

    // A participant's own stream.
    let mut seller = Client::connect(node.addr, StreamKind::Private, 1).unwrap();
    seller.logon(SELLER, &key(SELLER), Grade::Durable).unwrap();
    let own = view(&mut seller, |message| matches!(message, Outbound::Executed(_)));
    let (count, seed) = (own.len().to_string(), hex::encode(SEED));
    let read = Command::new(&python)
        .args(["-c", PRIVATE, &addr, "5", &seed, &count])
        .output()
        .unwrap();
    assert_eq!(lines(&read), own);
    drop(seller);
    node.stop();
    node.join().unwrap();

    // The real bytes of the seller's session in tshark.
    let wires = passed.join().unwrap();
    let mut sent = messages_of(&wires[0]);
    assert!(
        sent.starts_with(&["Logon", "Envelope", "Challenge", "LoggedOn"]),
        "{sent:?}"
    );
    let fields = ["wattbook.message", "wattbook.leaf.quote.price", "wattbook.opened.price"];
    if let Some(shown) = in_tshark(&wires[0], &fields) {
        let [mut shown, asked, opened] = <[Vec<String>; 3]>::try_from(shown).unwrap();
        shown.sort_unstable();
        sent.sort_unstable();
        assert_eq!(shown, sent);
        assert_eq!((asked, opened), (vec!["20000".to_owned()], vec!["20000".to_owned()]));
    }
}
