//! The public stream over UDP through networks that lose, repeat and reorder: every subscriber ends with the stream of the
//! session port, also across a restart of the node.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod wire;

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use wattbook_feed::arbiter::Tally;
use wattbook_feed::book::Books;
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::moldudp::{HEADER_SIZE, Packet, Request};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::Alias;
use wattbook_feed::subscriber::{Sources, SubscribeError, Subscriber, public_session};
use wattbook_ledger::{GENESIS_FILE, Reader};
use wattbook_node::config::Config;
use wattbook_node::execute::{Executor, decode_record};
use wattbook_node::keys;
use wattbook_node::topology::Node;
use wattbook_types::{Side, TimeNs};
use wire::trading::{CONTRACT, Dice, open, trade};
use wire::{WAIT, lockstep};

/// How a network treats packets.
#[derive(Clone, Copy, Default)]
struct Weather {
    /// Packets of a thousand that are lost.
    lost: u64,
    /// Packets lost in a row with each.
    burst: u64,
    /// Packets of a thousand that come twice.
    twice: u64,
    /// Packets of a thousand that come after up to eight later ones.
    late: u64,
}

/// A network between the node and one socket.
struct Network {
    socket: UdpSocket,
    weather: Weather,
    dice: Dice,
}

impl Network {
    fn new(weather: Weather, seed: u64) -> Self {
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            weather,
            dice: Dice(seed),
        }
    }

    fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Carries what comes to an address, for as long as the process lives.
    fn carry(self, to: SocketAddr) {
        self.carry_with(move |socket, packet| {
            let _ = socket.send_to(packet, to);
        });
    }

    fn carry_with(mut self, deliver: impl Fn(&UdpSocket, &[u8]) + Send + 'static) {
        std::thread::spawn(move || {
            let (mut losing, mut late, mut count) = (0, VecDeque::<(u64, Vec<u8>)>::new(), 0);
            let mut packet = vec![0; 65_536];
            while let Ok(len) = self.socket.recv(&mut packet) {
                let packet = &packet[..len];
                // One that carries messages is lost for certain.
                count += u64::from(len > HEADER_SIZE);
                let lost = self.weather.lost > 0
                    && ((count == 10 && len > HEADER_SIZE) || self.dice.below(1_000) < self.weather.lost);
                for waiting in &mut late {
                    waiting.0 -= 1;
                }
                if losing > 0 {
                    losing -= 1;
                } else if lost {
                    losing = self.weather.burst;
                } else if self.dice.below(1_000) < self.weather.late {
                    late.push_back((1 + self.dice.below(8), packet.to_vec()));
                } else {
                    deliver(&self.socket, packet);
                    if self.dice.below(1_000) < self.weather.twice {
                        deliver(&self.socket, packet);
                    }
                }
                late.retain(|(left, packet)| {
                    if *left == 0 {
                        deliver(&self.socket, packet);
                    }
                    *left > 0
                });
            }
        });
    }
}

/// Requests and answers through a network in each direction; where requests go to.
fn asking(server: SocketAddr, weather: Weather, seed: u64) -> SocketAddr {
    let (there, back) = (Network::new(weather, seed), Network::new(weather, !seed));
    let front = there.addr();
    let (asks, answers) = (there.socket.try_clone().unwrap(), back.socket.try_clone().unwrap());
    let asker = Arc::new(Mutex::new(None::<SocketAddr>));
    // Whoever asked last is answered: one subscriber stands behind each of these.
    let told = Arc::clone(&asker);
    let entrance = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = entrance.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 64];
        while let Ok((len, from)) = entrance.recv_from(&mut packet) {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
            let _ = entrance.send_to(&packet[..len], front);
        }
    });
    drop(asks);
    there.carry_with(move |_, packet| {
        let _ = answers.send_to(packet, server);
    });
    back.carry_with(move |socket, packet| {
        if let Some(to) = *asker.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = socket.send_to(packet, to);
        }
    });
    addr
}

/// Follows a stream from its first message to its end, or up to a number; says when it has come so far.
fn follow(
    mut subscriber: Subscriber,
    mut last: u64,
    reached: mpsc::Sender<u64>,
    to_end: bool,
) -> JoinHandle<(Vec<Vec<u8>>, Tally)> {
    std::thread::spawn(move || {
        let mut messages = Vec::new();
        loop {
            match subscriber.next(WAIT) {
                Ok(Some((number, message))) => {
                    messages.push(message);
                    assert_eq!(number, messages.len() as u64, "a message is missing or repeated");
                    if number == last {
                        last = u64::MAX;
                        reached.send(number).unwrap();
                        if !to_end {
                            break;
                        }
                    }
                }
                Err(SubscribeError::EndOfSession(next)) => {
                    assert_eq!(next, messages.len() as u64 + 1);
                    break;
                }
                other => panic!("{other:?} after {} messages", messages.len()),
            }
        }
        (messages, *subscriber.tally())
    })
}

/// The session port's public stream up to a number.
fn session_stream(node: &Node, last: u64) -> Vec<Vec<u8>> {
    let mut client = Client::connect(node.addr, StreamKind::Public, 1).unwrap();
    let mut messages = Vec::new();
    while (messages.len() as u64) < last {
        let (number, message) = client.next_raw(WAIT).unwrap().expect("a message");
        assert_eq!(number, Some(messages.len() as u64 + 1));
        messages.push(message);
    }
    messages
}

fn fanning(a: &[SocketAddr], b: &[SocketAddr]) -> Config {
    let mut config = lockstep();
    config.fanout.a = a.to_vec();
    config.fanout.b = b.to_vec();
    config.fanout.requests = Some("127.0.0.1:0".parse().unwrap());
    config.fanout.heartbeat_ms = 200;
    config.fanout.end_ms = 5_000;
    config
}

#[test]
fn every_subscriber_ends_with_the_exact_stream() {
    let calm = Weather::default();
    let light = Weather {
        lost: 10,
        twice: 10,
        late: 20,
        ..calm
    };
    let heavy = Weather {
        lost: 50,
        twice: 50,
        late: 50,
        ..calm
    };
    let bursts = Weather {
        lost: 10,
        burst: 40,
        ..calm
    };
    let awful = Weather {
        lost: 200,
        burst: 3,
        twice: 100,
        late: 100,
    };
    // The weather of each line and of the requests; without requests the session port is asked.
    let cases: [(&[Weather], Option<Weather>); 7] = [
        (&[calm], Some(calm)),
        (&[light], Some(light)),
        (&[heavy], Some(heavy)),
        (&[bursts], Some(calm)),
        (&[awful, awful], Some(heavy)),
        (&[light, bursts], None),
        (&[heavy], None),
    ];
    let (mut lines, mut seed) = ([Vec::new(), Vec::new()], 0);
    let mut networks: Vec<Vec<Network>> = Vec::new();
    for (weathers, _) in cases {
        let mut own = Vec::new();
        for (line, weather) in lines.iter_mut().zip(weathers) {
            seed += 1;
            let network = Network::new(*weather, seed);
            line.push(network.addr());
            own.push(network);
        }
        networks.push(own);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut town = open(dir.path(), &fanning(&lines[0], &lines[1]));
    let server = town.node.requests.unwrap();
    let mut public = Client::connect(town.node.addr, StreamKind::Public, 1).unwrap();
    let mut subscribers = Vec::new();
    for ((own, (_, requests)), seed) in networks.into_iter().zip(cases).zip(1_000..) {
        let sources = Sources {
            lines: vec!["127.0.0.1:0".parse().unwrap(); own.len()],
            requests: requests
                .map(|weather| asking(server, weather, seed))
                .into_iter()
                .collect(),
            session: Some(town.node.addr),
        };
        let subscriber = Subscriber::bind(sources, 1).unwrap();
        for (network, addr) in own.into_iter().zip(subscriber.addrs().unwrap()) {
            network.carry(addr);
        }
        subscribers.push((subscriber, requests.is_some()));
    }
    // What has been said so far is fetched with the rest: they begin with the first message.
    let (reached, reaching) = mpsc::channel();
    trade(&mut town, &mut Dice(7), 1);
    let mut dice = Dice(8);
    let mut last = 0;
    // The last step's block is the last message.
    let mut see = |until: TimeNs| loop {
        let (number, message) = public.next_raw(WAIT).unwrap().expect("a message");
        last = number.unwrap();
        if let Outbound::BlockSealed(block) = wattbook_feed::sbe::decode_outbound(&message).unwrap()
            && block.time_ns >= until.get()
        {
            return last;
        }
    };
    trade(&mut town, &mut dice, 40);
    let last = see(town.now);
    let count = subscribers.len();
    let followers: Vec<_> = subscribers
        .into_iter()
        .map(|(subscriber, to_end)| follow(subscriber, last, reached.clone(), to_end))
        .collect();
    for _ in 0..count {
        assert_eq!(reaching.recv_timeout(WAIT).expect("a subscriber that catches up"), last);
    }
    let expected = session_stream(&town.node, last);
    town.stop();
    for (case, follower) in followers.into_iter().enumerate() {
        let (messages, tally) = follower.join().expect("a subscriber that ends well");
        let common = messages.len().min(expected.len());
        assert!(
            messages[..common] == expected[..common] && common as u64 == last,
            "case {case}"
        );
        match cases[case].1 {
            // What its socket had no room for is lost too, and had again.
            Some(_) if case == 0 => assert_eq!(tally.resumes, 0, "case {case}: {tally:?}"),
            Some(_) => assert!(tally.requests > 0, "nothing was lost in case {case}: {tally:?}"),
            None => assert!(
                tally.resumes > 0 || cases[case].0.len() > 1,
                "nothing was resumed in case {case}: {tally:?}"
            ),
        }
        assert!(
            cases[case].0.len() == 1 || tally.duplicates > 0,
            "one line in case {case}: {tally:?}"
        );
    }
}

#[test]
fn a_restarted_node_goes_on_with_the_stream_and_answers_for_all_of_it() {
    let network = Network::new(Weather::default(), 1);
    let mut config = fanning(&[network.addr()], &[]);
    config.fanout.end_ms = 0;
    let dir = tempfile::tempdir().unwrap();
    let mut town = open(dir.path(), &config);
    trade(&mut town, &mut Dice(9), 3);
    town.stop();
    let node = Node::start(dir.path(), &config, Arc::default()).unwrap();
    let sources = Sources {
        lines: vec!["127.0.0.1:0".parse().unwrap()],
        requests: vec![node.requests.unwrap()],
        session: None,
    };
    let mut subscriber = Subscriber::bind(sources, 1).unwrap();
    network.carry(subscriber.addrs().unwrap()[0]);
    let mut messages = Vec::new();
    // The first life's packets, its end among them, waited in the network: the stream goes on behind it.
    let height = node.height;
    loop {
        let (number, message) = match subscriber.next(WAIT) {
            Ok(got) => got.expect("a message"),
            Err(SubscribeError::EndOfSession(next)) => {
                assert_eq!(next, messages.len() as u64 + 1);
                break;
            }
            Err(error) => panic!("{error}"),
        };
        messages.push(message);
        assert_eq!(number, messages.len() as u64);
    }
    // A second one is told of the stream by the heartbeats alone.
    assert!(session_stream(&node, messages.len() as u64) == messages);
    let requests = node.requests.unwrap();
    let asked = ask(requests, 2, 5);
    let packet = Packet::decode(&asked).unwrap();
    assert_eq!((packet.sequence, packet.next_sequence()), (2, 7));
    assert!(height > 3);
    // What cannot be answered is not, and counted: the port's answer to the last request is the next that comes.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(requests).unwrap();
    let request = |sequence, count| {
        Request {
            session: public_session(),
            sequence,
            count,
        }
        .encode()
    };
    for bytes in [
        b"nothing".as_slice(),
        &[0; 300],
        &request(0, 3),
        &request(1 << 40, 3),
        &request(1, 0),
        &Request {
            session: *b"OTHER     ",
            sequence: 1,
            count: 1,
        }
        .encode(),
        &request(3, 1),
    ] {
        socket.send(bytes).unwrap();
    }
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let mut datagram = [0; 2_000];
    let len = socket.recv(&mut datagram).unwrap();
    assert_eq!(Packet::decode(&datagram[..len]).unwrap().sequence, 3);
    let metrics = node.metrics.render();
    for line in [
        "wattbook_fanout_requests_total{outcome=\"malformed\"} 4",
        "wattbook_fanout_requests_total{outcome=\"too_old\"} 1",
        "wattbook_fanout_requests_total{outcome=\"too_new\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    node.stop();
    node.join().unwrap();
}

/// What the node's own book of the contract shows, as of the end of its ledger.
fn own_book(dir: &Path) -> Vec<(u64, u8, i64, u64)> {
    let reader = Reader::open(dir).unwrap();
    let (mut executor, _) = Executor::start(&std::fs::read(dir.join(GENESIS_FILE)).unwrap()).unwrap();
    let chain = executor.chain();
    for block in reader.blocks() {
        let block = block.unwrap();
        if block.header.height == 0 {
            continue;
        }
        let mut last = 0;
        for record in &block.records {
            let command = decode_record(chain, record.kind, record.version, record.payload).unwrap();
            executor.apply(record.seq, &command).unwrap();
            last = record.seq;
        }
        executor.end_block(block.header.height, last);
    }
    let alias = Alias::new(keys::read_named(dir, keys::ALIAS_KEY).unwrap(), chain);
    let contract = executor
        .market()
        .state()
        .contracts
        .get(&CONTRACT)
        .expect("an open contract");
    let shown = |order: wattbook_market::book::Order| {
        let reference = alias.order_reference(CONTRACT, order.id);
        (
            reference,
            order.side as u8,
            i64::from(order.price.get()),
            order.shown.get(),
        )
    };
    [Side::Buy, Side::Sell]
        .into_iter()
        .flat_map(|side| contract.book.side(side).map(shown))
        .collect()
}

/// Follows a session of the books until it has told of a block at this time or later; the books then, and what came.
fn joined(addr: SocketAddr, until: TimeNs) -> (Books, u64) {
    let mut client = Client::connect(addr, StreamKind::Book, 0).unwrap();
    let first = client.next_seq();
    let (mut books, mut whole) = (Books::new(), false);
    loop {
        let (number, message) = client.next(WAIT).unwrap().expect("a message");
        assert_eq!(number.is_some(), whole, "increments come behind the snapshot");
        books.take(&message).unwrap();
        match message {
            Outbound::SnapshotEnd(end) => {
                assert_eq!(end.next, first);
                whole = true;
            }
            Outbound::BlockSealed(block) if block.time_ns >= until.get() => return (books, first),
            _ => {}
        }
    }
}

#[test]
fn a_late_joiner_shows_the_nodes_own_book() {
    let dir = tempfile::tempdir().unwrap();
    let config = lockstep();
    let mut town = open(dir.path(), &config);
    let mut dice = Dice(3);
    let mut all = Client::connect(town.node.addr, StreamKind::Public, 1).unwrap();
    let addr = town.node.addr;
    trade(&mut town, &mut dice, 4);
    let end = town.now.plus_secs(8);
    let (early, late) = std::thread::scope(|scope| {
        let early = scope.spawn(|| joined(addr, end));
        trade(&mut town, &mut dice, 4);
        let late = scope.spawn(|| joined(addr, end));
        trade(&mut town, &mut dice, 4);
        (early.join().unwrap(), late.join().unwrap())
    });
    let (mut whole, mut changes) = (Books::new(), 0);
    loop {
        let (_, message) = all.next(WAIT).unwrap().expect("a message");
        changes += u64::from(whole.take(&message).unwrap());
        if matches!(message, Outbound::BlockSealed(block) if block.time_ns >= end.get()) {
            break;
        }
    }
    assert!(changes > 20, "{changes} records changed the books");
    assert!(early.0 == whole, "joined at {}", early.1);
    assert!(late.0 == whole, "joined at {}", late.1);
    assert!(late.1 > 1);
    let shown = |books: &Books| -> Vec<(u64, u8, i64, u64)> {
        let of = |order: wattbook_feed::sbe::session::SnapshotOrder| {
            (order.reference, order.side, order.price, order.leaves_wh)
        };
        books.snapshot().map(of).collect()
    };
    town.stop();
    let own = own_book(dir.path());
    assert!(own.len() > 20);
    assert_eq!(shown(&whole), own);
    // The node comes back from a snapshot of its own, and so do its books.
    let node = Node::start(dir.path(), &config, Arc::default()).unwrap();
    let mut client = Client::connect(node.addr, StreamKind::Book, 0).unwrap();
    let mut books = Books::new();
    while !matches!(client.next(WAIT).unwrap().expect("a message").1, ref message if books.take(message).unwrap()) {}
    assert!(books == whole);
    node.stop();
    node.join().unwrap();
}

/// The first packet that answers a request.
fn ask(server: SocketAddr, sequence: u64, count: u16) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let session = public_session();
    socket
        .send_to(
            &Request {
                session,
                sequence,
                count,
            }
            .encode(),
            server,
        )
        .unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let mut datagram = vec![0; 2_000];
    let len = socket.recv(&mut datagram).unwrap();
    datagram.truncate(len);
    datagram
}
