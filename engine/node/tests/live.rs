//! A node on the live clock: a deal from quote to contract over the feed, a stop, a restart, and what is refused.
//!
//! Nothing here sleeps: every wait is for a message. The timetable of the chain opens the book seconds after genesis.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::{BlsSecret, sign_ed25519};
use wattbook_feed::sbe::{Outbound, event, session};
use wattbook_feed::signed::{
    Grade, LeafBytes, MeterEntry, Register, RegisterRecord, SealedEnvelope, deals_digest, encode_cancel, encode_grid,
    encode_quote, meters_root,
};
use wattbook_node::chain::{self, GRID_COMPANY, Secrets, Spec};
use wattbook_node::config::{Clock, Config};
use wattbook_node::topology::{Node, NodeError};
use wattbook_types::command::{ALL_INDEXES, Cancel, GridSignature};
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{
    ChainId, CloseReason, ContractId, Energy, Hash, Param, ParticipantId, Phase, Price, Quote, Reject, Roles,
    SelfTrade, Side, TimeInForce, TimeNs,
};

/// Longest wait for a message.
const WAIT: Duration = Duration::from_secs(20);
const BUYER: ParticipantId = ParticipantId::new(4);
const SELLER: ParticipantId = ParticipantId::new(5);
const SEED: [u8; 32] = [9; 32];

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A chain whose first gate opens `after` seconds after genesis; the book follows 4 s later and stays open for minutes.
fn create(dir: &Path, after: u64) -> (ChainId, ContractId) {
    let genesis_s = now_s();
    let gate_s = genesis_s + after;
    // At least ten minutes of trading before the gate closes with delivery.
    let period = (gate_s + 600).div_ceil(PERIOD_S);
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
    ];
    let time = TimeNs::from_secs(genesis_s);
    let (network, eic) = ("live".to_owned(), String::new());
    let spec = Spec {
        network,
        eic,
        area: 1,
        demo: false,
        time,
        params,
        segment_size: 1 << 20,
    };
    let secrets = Secrets {
        seed: [1; 32],
        accounts: [[2; 32]; 3],
    };
    let chain = chain::create(dir, &spec, &secrets).unwrap();
    (
        chain,
        ContractId::new(u32::try_from(period).unwrap(), ContractId::PRODUCT_QUARTER_HOUR, 1),
    )
}

fn config() -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        clock: Clock::Live,
        ..Config::default()
    };
    // Small rings: a stage that waits for another while holding something would show.
    config.ingest.ring_len = 4;
    config.verify.ring_len = 4;
    config.publish.ring_len = 8;
    config
}

fn start(dir: &Path, config: &Config) -> Node {
    Node::start(dir, config, Arc::new(AtomicBool::new(false))).unwrap()
}

fn stop(node: Node) {
    node.stop();
    node.join().unwrap();
}

fn key(participant: ParticipantId) -> BlsSecret {
    let seed = if participant == GRID_COMPANY { [2; 32] } else { SEED };
    chain::participant_key(&seed, participant)
}

fn registration(chain: ChainId, participant: ParticipantId, export_cap_wh: u64) -> RegisterRecord {
    let meters = vec![MeterEntry {
        meter: participant.get(),
        import_cap_wh: 10_000,
        export_cap_wh,
        kind: 1,
        reserved: 0,
    }];
    let register = Register {
        roles: Roles::BUYER.union(Roles::SELLER).bits(),
        flags: 0,
        admit_serial: participant.get(),
        not_after_ns: u64::MAX,
        public_key: key(participant).public_key(),
        session_spki: [0; 32],
        group: [0; 32],
        meters_root: meters_root(&meters).0,
    };
    let registrar = wattbook_feed::keys::registrar_key(&[1; 32]);
    RegisterRecord {
        register,
        admit: sign_ed25519(&registrar, &register.admit_digest(chain)),
        possession: key(participant).prove_possession(&register.digest(chain)),
        meters,
    }
}

fn envelope(chain: ChainId, who: ParticipantId, nonce: u64, leaf: LeafBytes) -> SealedEnvelope {
    let not_after = TimeNs::from_secs(now_s() + 600);
    SealedEnvelope::sign(chain, &key(who), who, 1, nonce, not_after, vec![leaf])
}

fn quote(contract: ContractId, side: Side, ticks: i32) -> LeafBytes {
    let quote = Quote {
        contract,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force: TimeInForce::Gate,
        price: Price::new(ticks),
        charge_cap: -1,
        energy: Energy::new(1_000),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    };
    encode_quote(0, &quote).unwrap()
}

/// The first message that `find` takes.
fn until<T>(client: &mut Client, what: &str, mut find: impl FnMut(Option<u64>, &Outbound) -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (seq, message) = client
            .next(left)
            .unwrap()
            .unwrap_or_else(|| panic!("no {what} within {WAIT:?}"));
        if let Some(found) = find(seq, &message) {
            return found;
        }
    }
}

/// Logs on, again for as long as the registration is under way.
fn log_on(node: &Node, who: ParticipantId, grade: Grade, from: u64) -> (Client, session::LoggedOn) {
    let mut client = Client::connect(node.addr, StreamKind::Private, from).unwrap();
    for _ in 0..1_000 {
        client.logon(who, &key(who), grade).unwrap();
        let answer = until(&mut client, "answer to a logon", |_, message| match message {
            Outbound::LoggedOn(logged_on) => Some(Ok(*logged_on)),
            Outbound::RejectedMessage(refused) => Some(Err(refused.code)),
            _ => None,
        });
        match answer {
            Ok(logged_on) => return (client, logged_on),
            Err(code) => assert_eq!(Reject::from_code(code), Some(Reject::UnknownParticipant)),
        }
    }
    panic!("{who} was never registered");
}

/// Reads on to the end of the session; the reason of the halt, and the number of the next message.
fn ended(mut client: Client) -> (Option<u8>, u64) {
    let mut reason = None;
    loop {
        match client.next(WAIT) {
            Ok(Some((_, Outbound::Halted(halted)))) => reason = Some(halted.reason),
            Ok(Some(_)) => {}
            Ok(None) => panic!("the session did not end"),
            Err(ClientError::EndOfSession) => return (reason, client.next_seq()),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every sequenced message from 1 to `last`, as it came.
fn transcript(mut client: Client, last: u64) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while (messages.len() as u64) < last {
        let (seq, bytes) = client.next_raw(WAIT).unwrap().unwrap();
        if let Some(seq) = seq {
            messages.push(bytes);
            assert_eq!(seq, messages.len() as u64);
        }
    }
    messages
}

#[test]
fn a_deal_is_made_countersigned_and_remembered_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, contract) = create(dir.path(), 1);
    let node = start(dir.path(), &config());

    // Registered over one session, logged on over others.
    let mut registrar = Client::connect(node.addr, StreamKind::Private, 1).unwrap();
    registrar.expect_chain(chain).unwrap();
    assert_eq!(registrar.is_demo(), Some(false));
    registrar.send_register(&registration(chain, BUYER, 0)).unwrap();
    registrar.send_register(&registration(chain, SELLER, 10_000)).unwrap();
    let (mut buyer, logged_on) = log_on(&node, BUYER, Grade::Durable, 1);
    assert_eq!(logged_on.next_nonce, 1);
    let (mut seller, _) = log_on(&node, SELLER, Grade::Matched, 1);
    let (mut grid, _) = log_on(&node, GRID_COMPANY, Grade::Durable, 1);

    // A Step is not for a live clock.
    seller.send_step(TimeNs::from_secs(now_s() + 1_000)).unwrap();
    let refused = until(&mut seller, "refusal of the Step", |_, message| match message {
        Outbound::RejectedMessage(refused) => Some(refused.code),
        _ => None,
    });
    assert_eq!(Reject::from_code(refused), Some(Reject::StepRefused));

    // The clock carries the contract through its first round, by itself.
    let mut public = Client::connect(node.addr, StreamKind::Public, 1).unwrap();
    let mut phases = Vec::new();
    until(&mut public, "open book", |_, message| match message {
        Outbound::PhaseChanged(event) if event.contract == contract.get() => {
            phases.push(event.phase);
            (event.phase == Phase::Continuous as u8).then_some(())
        }
        _ => None,
    });
    let round = [
        Phase::Seal,
        Phase::Reveal,
        Phase::Ranked,
        Phase::Matched,
        Phase::Continuous,
    ];
    assert_eq!(phases, round.map(|phase| phase as u8));

    // An ask rests, a bid takes it.
    let ask = envelope(chain, SELLER, 1, quote(contract, Side::Sell, 20_000));
    seller.send_envelope(&ask).unwrap();
    let ask_seq = until(&mut seller, "accepted ask", |_, message| match message {
        Outbound::Accepted(answer) => Some(answer.seq),
        Outbound::Rejected(answer) => panic!("{answer:?}"),
        _ => None,
    });
    let bid = envelope(chain, BUYER, 1, quote(contract, Side::Buy, 20_000));
    buyer.send_envelope(&bid).unwrap();
    let mut accepted = None;
    let deal: event::Executed = until(&mut buyer, "deal", |_, message| match message {
        Outbound::Accepted(answer) => {
            accepted = Some(answer.seq);
            None
        }
        Outbound::Executed(deal) => Some(*deal),
        _ => None,
    });
    assert_eq!(accepted, Some(deal.seq));
    assert_eq!((deal.price, deal.energy_wh), (40_000, 1_000));
    // What was promised as durable is covered by the watermark that follows.
    let mark = until(&mut buyer, "watermark", |_, message| match message {
        Outbound::Watermark(mark) if mark.seq >= deal.seq => Some(*mark),
        _ => None,
    });
    assert_eq!(mark.grade, Grade::Durable as u8);

    // The grid company recomputes what it signs, and signs.
    let mut ids = Vec::new();
    let height = until(&mut grid, "sealed deals", |_, message| match message {
        Outbound::DealRecord(deal) => {
            assert_eq!(deal.record.id(chain), Hash(deal.deal_id));
            ids.push(Hash(deal.deal_id));
            None
        }
        Outbound::DealsSealed(sealed) => {
            assert_eq!(
                deals_digest(chain, sealed.height, contract, &ids),
                Hash(sealed.deals_digest)
            );
            Some(sealed.height)
        }
        _ => None,
    });
    let deals_digest = deals_digest(chain, height, contract, &ids);
    grid.send_envelope(&envelope(
        chain,
        GRID_COMPANY,
        1,
        encode_grid(0, &GridSignature { height, deals_digest }),
    ))
    .unwrap();
    let contracted = until(&mut public, "contract", |_, message| match message {
        Outbound::Contracted(contracted) => Some((contracted.first, contracted.count)),
        _ => None,
    });
    assert_eq!(contracted, (0, 1));

    // A second node is refused on the directory, and on the port.
    let error = Node::start(dir.path(), &config(), Arc::default()).unwrap_err();
    assert!(matches!(error, NodeError::Ledger(_)), "{error}");
    assert!(
        error.to_string().contains("another") || error.to_string().contains("lock"),
        "{error}"
    );
    let other = tempfile::tempdir().unwrap();
    create(other.path(), 1);
    let taken = Config {
        listen: node.addr,
        ..config()
    };
    let error = Node::start(other.path(), &taken, Arc::default()).unwrap_err();
    assert!(matches!(error, NodeError::Listen { .. }), "{error}");
    assert!(error.to_string().contains("--listen"), "{error}");

    // A stop tells every session why, and ends it.
    node.stop();
    let stopping = Some(session::HaltReason::Stopping as u8);
    let (reason, public_next) = ended(public);
    assert_eq!(reason, stopping);
    let (reason, buyer_next) = ended(buyer);
    assert_eq!(reason, stopping);
    let (reason, _) = ended(seller);
    assert_eq!(reason, stopping);
    node.join().unwrap();

    // Started again, the streams go on where they ended, and nonces are remembered.
    let node = start(dir.path(), &config());
    let (mut buyer, logged_on) = log_on(&node, BUYER, Grade::Durable, buyer_next);
    assert_eq!((logged_on.next_nonce, buyer.next_seq()), (2, buyer_next));
    let (mut seller, _) = log_on(&node, SELLER, Grade::Matched, 0);
    seller.send_envelope(&ask).unwrap();
    let duplicate = until(&mut seller, "duplicate", |_, message| match message {
        Outbound::RejectedMessage(refused) => Some(*refused),
        _ => None,
    });
    assert_eq!(Reject::from_code(duplicate.code), Some(Reject::Duplicate));
    assert_eq!(duplicate.original_seq, ask_seq);
    buyer
        .send_envelope(&envelope(chain, BUYER, 2, quote(contract, Side::Buy, 20_000)))
        .unwrap();
    let first = until(&mut buyer, "first message of the resumed stream", |seq, message| {
        seq.map(|seq| (seq, matches!(message, Outbound::Accepted(answer) if answer.nonce == 2)))
    });
    assert_eq!(first, (buyer_next, true));

    // Message by message, the replayed stream is the one that was told.
    let public = Client::connect(node.addr, StreamKind::Public, public_next).unwrap();
    assert_eq!(public.next_seq(), public_next);
    let told = transcript(
        Client::connect(node.addr, StreamKind::Public, 1).unwrap(),
        public_next + 1,
    );
    stop(node);
    let node = start(dir.path(), &config());
    let again = transcript(
        Client::connect(node.addr, StreamKind::Public, 1).unwrap(),
        public_next + 1,
    );
    assert!(told == again, "the public stream is numbered anew");
    let beyond = Client::connect(node.addr, StreamKind::Public, u64::MAX).unwrap_err();
    assert!(matches!(beyond, ClientError::LoginRefused(_)), "{beyond}");
    stop(node);
}

#[test]
fn records_wait_for_the_disk_and_not_for_a_clock() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, _) = create(dir.path(), 3_600);
    let mut config = config();
    // Nothing would be durable before this test gives up, were it for the clock.
    config.seal.block_ms = 3_600_000;
    let node = start(dir.path(), &config);
    let mut registrar = Client::connect(node.addr, StreamKind::Private, 0).unwrap();
    registrar.send_register(&registration(chain, BUYER, 0)).unwrap();
    let (mut buyer, _) = log_on(&node, BUYER, Grade::Matched, 0);
    registrar.send_register(&registration(chain, SELLER, 1_000)).unwrap();
    until(&mut buyer, "watermark", |_, message| match message {
        Outbound::Watermark(mark) => Some(mark.height),
        _ => None,
    });
    stop(node);
}

#[test]
fn a_dropped_connection_takes_its_orders_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, contract) = create(dir.path(), 1);
    let node = start(dir.path(), &config());
    let mut registrar = Client::connect(node.addr, StreamKind::Private, 1).unwrap();
    registrar.send_register(&registration(chain, SELLER, 10_000)).unwrap();
    let (mut seller, _) = log_on(&node, SELLER, Grade::Matched, 1);
    let all = Cancel {
        contract: None,
        target_nonce: 0,
        target_index: ALL_INDEXES,
    };
    let cancels = envelope(chain, SELLER, 1, encode_cancel(0, &all));
    seller.send_on_disconnect(Some(&cancels)).unwrap();
    let held = until(&mut seller, "held cancels", |_, message| match message {
        Outbound::Held(held) => Some(*held),
        Outbound::RejectedMessage(refused) => panic!("{refused:?}"),
        _ => None,
    });
    assert_eq!((held.kind, held.nonce), (session::HeldKind::OnDisconnect as u8, 1));
    let mut public = Client::connect(node.addr, StreamKind::Public, 1).unwrap();
    until(&mut public, "open book", |_, message| match message {
        Outbound::PhaseChanged(event) if event.contract == contract.get() => {
            (event.phase == Phase::Continuous as u8).then_some(())
        }
        _ => None,
    });
    let ask = envelope(chain, SELLER, 2, quote(contract, Side::Sell, 20_000));
    seller.send_envelope(&ask).unwrap();
    let reference = until(&mut seller, "resting ask", |_, message| match message {
        Outbound::Opened(opened) => Some(opened.order.reference),
        _ => None,
    });
    drop(seller);
    let closed = until(&mut public, "cancelled ask", |_, message| match message {
        Outbound::Closed(closed) => Some(*closed),
        _ => None,
    });
    assert_eq!(
        (closed.order.reference, closed.reason),
        (reference, CloseReason::Cancelled as u8)
    );
    // Whoever comes back reads what became of it.
    let (mut seller, logged_on) = log_on(&node, SELLER, Grade::Matched, 1);
    assert_eq!(logged_on.next_nonce, 3);
    let told = until(&mut seller, "accepted cancels", |_, message| match message {
        Outbound::Accepted(answer) if answer.nonce == 1 => Some(answer.seq),
        _ => None,
    });
    assert_eq!(told, closed.seq);
    stop(node);
}

#[test]
fn public_messages_of_a_busy_node_keep_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, _) = create(dir.path(), 600);
    // A block for every record: the next one's events are there before the last one is on disk.
    let mut config = config();
    config.seal.block_records_max = 1;
    config.publish.ring_len = 1_024;
    let node = start(dir.path(), &config);
    let mut public = Client::connect(node.addr, StreamKind::Public, 1).unwrap();
    let mut registrar = Client::connect(node.addr, StreamKind::Private, 1).unwrap();
    for serial in 4..24 {
        registrar
            .send_register(&registration(chain, ParticipantId::new(serial), 0))
            .unwrap();
    }
    let mut told = Vec::new();
    let mut registered = 0;
    let mut sealed = 0;
    while registered < 20 || sealed < 20 {
        let (seq, bytes) = public.next_raw(WAIT).unwrap().unwrap();
        told.push(bytes.clone());
        assert_eq!(seq, Some(told.len() as u64));
        match wattbook_feed::sbe::decode_outbound(&bytes).unwrap() {
            Outbound::Registered(_) => registered += 1,
            Outbound::BlockSealed(_) => sealed += 1,
            _ => {}
        }
    }
    stop(node);
    let node = start(dir.path(), &config);
    let replayed = transcript(
        Client::connect(node.addr, StreamKind::Public, 1).unwrap(),
        told.len() as u64,
    );
    assert!(told == replayed, "the public stream is numbered anew");
    stop(node);
}
