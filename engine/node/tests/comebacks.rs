//! A participant whose connection is cut at random bytes, both ways, again and again: no quote is lost, none is processed
//! twice, and its stream is whole. `WATTBOOK_LIVES` says how often; 20 times where it says nothing.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod wire;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{Grade, SealedEnvelope, encode_quote};
use wattbook_node::chain::{self, Secrets, Spec};
use wattbook_node::config::{Clock, Config};
use wattbook_node::topology::Node;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{
    ChainId, ContractId, Energy, Param, ParticipantId, Phase, Price, Quote, Reject, Roles, SelfTrade, Side,
    TimeInForce, TimeNs,
};
use wire::{SEED, WAIT, key, registration};

const SELLER: ParticipantId = ParticipantId::new(4);
const QUOTES: u32 = 3;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound).unwrap()
    }
}

/// Stands before the node and cuts each connection after so many bytes of either side.
fn cutter(node: SocketAddr, seed: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut dice = Dice(seed);
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(node) else { return };
            let (up, down) = (dice.below(700), dice.below(900));
            std::thread::scope(|scope| {
                scope.spawn(|| carry(&client, &server, up));
                carry(&server, &client, down);
            });
        }
    });
    addr
}

/// Carries so many bytes, then ends both connections.
fn carry(mut from: &TcpStream, mut to: &TcpStream, mut left: usize) {
    let mut buffer = [0; 512];
    while left > 0 {
        let room = left.min(buffer.len());
        match from.read(&mut buffer[..room]) {
            Ok(len) if len > 0 && to.write_all(&buffer[..len]).is_ok() => left -= len,
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A node on the live clock whose first contract trades within seconds, for minutes.
fn start(dir: &std::path::Path) -> (Node, ChainId, ContractId) {
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
        (Param::Concession, 0),
    ];
    let spec = Spec {
        network: "comebacks".to_owned(),
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
    config.ingest.idle_timeout_ms = 600_000;
    let contract = ContractId::new(u32::try_from(period).unwrap(), ContractId::PRODUCT_QUARTER_HOUR, 1);
    (Node::start(dir, &config, Arc::default()).unwrap(), chain, contract)
}

fn envelope(chain: ChainId, contract: ContractId, nonce: u64) -> SealedEnvelope {
    let leaf = |index| {
        let quote = Quote {
            contract,
            client_order_id: nonce * 100 + u64::from(index),
            round: 0,
            side: Side::Sell,
            time_in_force: TimeInForce::Gate,
            price: Price::new(30_000),
            charge_cap: -1,
            energy: Energy::new(1),
            min_fill: Energy::ZERO,
            valid_until_s: 0,
            display: Energy::ZERO,
            market_to_limit: false,
            self_trade: SelfTrade::CancelNewest,
        };
        encode_quote(index, &quote).unwrap()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let not_after = TimeNs::from_secs(now + 300);
    let leaves = (0..QUOTES).map(leaf).collect();
    SealedEnvelope::sign(chain, &key(SELLER), SELLER, 1, nonce, not_after, leaves)
}

/// The participant: what it has sent and what it has been told, which outlive its connections.
#[derive(Default)]
struct Seller {
    sent: BTreeMap<u64, SealedEnvelope>,
    /// Sequenced messages as they came.
    told: Vec<Vec<u8>>,
    /// Accepted quotes of an envelope.
    accepted: BTreeMap<u64, u32>,
    duplicates: u64,
}

impl Seller {
    fn take(&mut self, (number, bytes): (Option<u64>, Vec<u8>)) -> Option<Outbound> {
        let message = decode_outbound(&bytes).unwrap();
        if let Some(number) = number {
            self.told.push(bytes);
            assert_eq!(number, self.told.len() as u64, "a message is missing or repeated");
        }
        match message {
            Outbound::Accepted(accepted) => *self.accepted.entry(accepted.nonce).or_default() += 1,
            Outbound::Rejected(_) => panic!("{message:?}"),
            Outbound::RejectedMessage(refused) => match Reject::from_code(refused.code) {
                Some(Reject::Duplicate) => self.duplicates += 1,
                reject => panic!("{reject:?}"),
            },
            _ => {}
        }
        Some(message)
    }

    fn unanswered(&self) -> Vec<SealedEnvelope> {
        let open = |nonce: &u64| self.accepted.get(nonce).is_none_or(|count| *count < QUOTES);
        let unanswered = self.sent.iter().filter(|(nonce, _)| open(nonce));
        unanswered.map(|(_, envelope)| envelope.clone()).collect()
    }

    /// One connection: what was not answered is sent again, then this; until all is answered or it is cut.
    fn live(&mut self, addr: SocketAddr, next: Option<SealedEnvelope>) -> Result<(), ClientError> {
        let again = self.unanswered();
        // Sent or not, from here on it counts as sent.
        self.sent
            .extend(next.clone().map(|envelope| (envelope.header.nonce, envelope)));
        let mut client = Client::connect(addr, StreamKind::Private, self.told.len() as u64 + 1)?;
        client.logon(SELLER, &key(SELLER), Grade::Durable)?;
        for envelope in again.iter().chain(&next) {
            client.send_envelope(envelope)?;
        }
        while !self.unanswered().is_empty() {
            let message = client.next_raw(WAIT)?.expect("an answer");
            self.take(message);
        }
        // Dropped without a word.
        Ok(())
    }
}

#[test]
fn no_quote_is_lost_and_none_is_processed_twice() {
    let lives: u64 = std::env::var("WATTBOOK_LIVES").map_or(20, |lives| lives.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (node, chain, contract) = start(dir.path());
    let mut door = Client::connect(node.addr, StreamKind::Private, 1).unwrap();
    door.send_register(&registration(chain, SELLER, Roles::SELLER)).unwrap();
    let mut public = Client::connect(node.addr, StreamKind::Public, 1).unwrap();
    loop {
        let (_, message) = public.next(WAIT).unwrap().expect("a message");
        if matches!(message, Outbound::PhaseChanged(event) if event.phase == Phase::Continuous as u8) {
            break;
        }
    }
    let mut seller = Seller::default();
    let cut = cutter(node.addr, 1);
    let mut cuts = 0;
    for nonce in 1..=lives {
        cuts += u64::from(seller.live(cut, Some(envelope(chain, contract, nonce))).is_err());
    }
    // At last over a connection that holds.
    seller.live(node.addr, None).unwrap();
    assert!(cuts > lives / 4, "{cuts} of {lives} connections were cut");
    assert_eq!(seller.accepted.len() as u64, lives);
    assert!(seller.accepted.values().all(|count| *count == QUOTES));
    // A stream from the beginning says the same and no more of these quotes.
    let mut whole = Seller::default();
    let mut client = Client::connect(node.addr, StreamKind::Private, 1).unwrap();
    client.logon(SELLER, &key(SELLER), Grade::Durable).unwrap();
    let mut opened = 0;
    while (whole.told.len() < seller.told.len()) || opened < lives * u64::from(QUOTES) {
        let message = client.next_raw(WAIT).unwrap().expect("a message");
        opened += u64::from(matches!(whole.take(message), Some(Outbound::Opened(_))));
    }
    assert!(whole.told[..seller.told.len()] == seller.told);
    assert_eq!((&whole.accepted, opened), (&seller.accepted, lives * u64::from(QUOTES)));
    assert!(
        client
            .next_raw(std::time::Duration::ZERO)
            .unwrap()
            .is_none_or(|(number, _)| number.is_none())
    );
    node.stop();
    node.join().unwrap();
}
