//! Sessions under the limits of their node, on both backends: whatever one does, it gets numbered answers, what the node
//! keeps for it is bounded, and the others trade on.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod wire;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::keys::sign_ed25519;
use wattbook_feed::sbe::session::RejectedMessage;
use wattbook_feed::sbe::{LogonMessage, Outbound, encode_envelope, encode_logon};
use wattbook_feed::signed::{Grade, encode_cancel, logon_digest};
use wattbook_feed::soupbin;
use wattbook_node::chain::GRID_COMPANY;
use wattbook_node::config::{Backend, Config, Tls};
use wattbook_types::command::Cancel;
use wattbook_types::{ContractId, Param, ParticipantId, Reject, Roles, TimeNs};
use wire::{Desk, Overheard, SEED, Town, WAIT, Wire, key, lockstep, registration, reject};

const MALLORY: ParticipantId = ParticipantId::new(6);
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

/// Every test below, on both backends.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mio {
            $(#[test]
            fn $name() {
                super::$name(super::Backend::Mio);
            })*
        }
        mod io_uring {
            $(#[test]
            fn $name() {
                super::$name(super::Backend::IoUring);
            })*
        }
    };
}

on_both! {
    a_session_resumes_exactly_where_it_was
    who_says_nothing_and_who_dribbles_is_timed_out
    an_idle_session_ends_and_its_cancels_come_into_force
    a_flood_is_refused_by_number_and_costs_the_others_nothing
    a_storm_of_logins_passes
    a_participant_has_so_many_sessions_and_no_more
    bad_logons_and_registrations_have_a_budget
    whoever_does_not_read_is_cut_off_with_a_reason
    a_stream_comes_as_fast_as_it_is_taken
    what_was_overheard_is_worth_nothing
    thousands_of_packets_in_pieces_are_each_answered_once
    sessions_over_tls
}

fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

fn config(backend: Backend) -> Config {
    let mut config = lockstep();
    config.ingest.backend = backend;
    config
}

fn town(dir: &Path, config: &Config) -> Town {
    Town::start(dir, at(-1_800), vec![(Param::Rounds, 1)], config)
}

/// A town in which Mallory is registered and logged on.
fn town_with_mallory(dir: &Path, config: &Config) -> Town {
    let mut town = town(dir, config);
    let mut door = Desk::open(town.node.addr, 1);
    let record = registration(town.chain, MALLORY, Roles::BUYER.union(Roles::SELLER));
    town.register(&mut door, &record);
    town.witnessed_step();
    town.log_on(MALLORY);
    town
}

fn any_cancel() -> [u8; 48] {
    let cancel = Cancel {
        contract: None,
        target_nonce: 1,
        target_index: 0,
    };
    encode_cancel(0, &cancel)
}

/// What the node has counted under a name.
fn counted(town: &Town, name: &str) -> u64 {
    let text = town.node.metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

fn refused(town: &Town, reject: Reject) -> u64 {
    counted(
        town,
        &format!("wattbook_ingest_refused_total{{reject=\"{}\"}}", reject.name()),
    )
}

/// Steps until the node has so many sessions: it learns of their ends in its own time. The steps are small: however many a
/// fast disk allows, what was signed before does not expire meanwhile.
fn await_sessions(town: &mut Town, sessions: u64) {
    let deadline = Instant::now() + WAIT;
    while counted(town, "wattbook_ingest_sessions") != sessions {
        assert!(Instant::now() < deadline, "the sessions do not end");
        let time = town.now.plus(TimeNs::new(1_000_000));
        town.witnessed_step_to(time);
    }
}

fn stop(town: Town, dir: &Path) {
    let (_, recorded) = town.stop();
    let reader = wattbook_ledger::Reader::open(dir).unwrap();
    let mut found = 0;
    for block in reader.blocks() {
        for record in &block.unwrap().records {
            found += usize::from(recorded.contains(record.payload));
        }
    }
    assert_eq!(found, recorded.len(), "not every record is there, once");
}

fn a_session_resumes_exactly_where_it_was(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut town = town_with_mallory(dir.path(), &config(backend));
    for _ in 0..5 {
        town.post(MALLORY, vec![any_cancel()]);
        town.witnessed_step();
    }
    let told = town.leave(MALLORY).told;
    assert!(told.len() > 5);
    for from in [1, 2, told.len() as u64] {
        let client = Client::connect(town.node.addr, StreamKind::Private, from).unwrap();
        let mut desk = Desk::over(client);
        desk.client.logon(MALLORY, &key(MALLORY), Grade::Matched).unwrap();
        let again = wire::transcript(&mut desk, from, told.len() as u64);
        assert!(again == told[from as usize - 1..], "from {from}");
        desk.client.logout().unwrap();
    }
    stop(town, dir.path());
}

fn who_says_nothing_and_who_dribbles_is_timed_out(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    config.ingest.login_timeout_ms = 100;
    let mut town = town(dir.path(), &config);
    // Nothing at all; half a packet; a packet that would be long in coming.
    for bytes in [&b""[..], b"\0", b"\0\x2fLabc", b"\xea\x60U"] {
        let mut wire = Wire::open(town.node.addr);
        wire.send(bytes);
        assert_eq!(wire.read_to_end().rejects(), [Reject::TimedOut], "{bytes:?}");
        town.witnessed_step();
    }
    assert_eq!(refused(&town, Reject::TimedOut), 4);
    assert_eq!(counted(&town, "wattbook_ingest_sessions"), 1);
    stop(town, dir.path());
}

fn an_idle_session_ends_and_its_cancels_come_into_force(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    config.ingest.idle_timeout_ms = 1_500;
    let mut town = town_with_mallory(dir.path(), &config);
    let deposit = town.envelope(MALLORY, vec![any_cancel()]);
    let mut idle = town.leave(MALLORY);
    idle.client.send_on_disconnect(Some(&deposit)).unwrap();
    idle.answer().unwrap();
    // Mallory neither sends nor reads any more, and does not close; the regulator goes on.
    await_sessions(&mut town, 1);
    assert_eq!(refused(&town, Reject::TimedOut), 1);
    town.witnessed_step();
    assert!(town.recorded.insert(deposit.to_payload()));
    stop(town, dir.path());
}

fn a_flood_is_refused_by_number_and_costs_the_others_nothing(backend: Backend) {
    const FLOOD: u64 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    config.ingest.limits.messages_per_s = 1;
    config.ingest.limits.burst_ms = 100_000;
    let mut town = town_with_mallory(dir.path(), &config);
    let envelope = town.envelope(MALLORY, vec![any_cancel()]);
    let mut message = Vec::new();
    encode_envelope(&envelope, &mut message);
    let mut answers: BTreeMap<Reject, u64> = BTreeMap::new();
    let mut desk = town.leave(MALLORY);
    for _ in 0..FLOOD {
        desk.client.send_raw(&message).unwrap();
    }
    let mut held = 0;
    for _ in 0..FLOOD {
        match desk.answer() {
            Ok(()) => held += 1,
            Err(RejectedMessage { code, nonce, .. }) => {
                assert_eq!(nonce, envelope.header.nonce);
                *answers.entry(reject(code)).or_default() += 1;
            }
        }
    }
    let over = answers.remove(&Reject::MessageRate).unwrap();
    assert!(answers.is_empty(), "{answers:?}");
    assert_eq!(held + over, FLOOD);
    assert!(
        (99..FLOOD / 2).contains(&held),
        "{held} within a burst of 100 and what the test takes"
    );
    assert_eq!(refused(&town, Reject::MessageRate), over);
    // Of the same envelope the first is taken; the others never were more than refused.
    assert!(town.recorded.insert(envelope.to_payload()));
    town.witnessed_step();
    stop(town, dir.path());
}

fn a_storm_of_logins_passes(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    config.ingest.sessions_max = 40;
    config.ingest.limits.sessions_per_address_max = 30;
    let mut town = town(dir.path(), &config);
    let mut storm: Vec<Wire> = (0..200).map(|_| Wire::open(town.node.addr)).collect();
    for wire in &mut storm {
        wire.log_in(soupbin::SESSION_PRIVATE);
    }
    let (mut logged_in, mut turned_away) = (0, 0);
    for wire in &mut storm {
        let (heard, closed) = wire.read_until(|heard| heard.logged_in);
        match closed {
            false => logged_in += 1,
            true => {
                // The node closes with the login unread, so that its answer may be lost on the way.
                assert!(
                    heard
                        .rejects()
                        .iter()
                        .all(|reject| *reject == Reject::TooManyFromAddress)
                );
                turned_away += 1;
            }
        }
    }
    assert_eq!((logged_in, turned_away), (29, 171));
    assert_eq!(refused(&town, Reject::TooManyFromAddress), 171);
    town.witnessed_step();
    drop(storm);
    await_sessions(&mut town, 1);
    town.log_on(GRID_COMPANY);
    town.witnessed_step();
    stop(town, dir.path());
}

fn a_participant_has_so_many_sessions_and_no_more(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    config.ingest.limits.sessions_per_participant_max = 2;
    let mut town = town_with_mallory(dir.path(), &config);
    let attempt = |town: &Town| {
        let mut desk = Desk::open(town.node.addr, 1);
        desk.client.logon(MALLORY, &key(MALLORY), Grade::Matched).unwrap();
        (desk.answer().map_err(|refused| reject(refused.code)), desk)
    };
    let (second, kept) = attempt(&town);
    assert_eq!(second, Ok(()));
    for _ in 0..3 {
        assert_eq!(attempt(&town).0, Err(Reject::TooManyOfParticipant));
    }
    // To log on twice over one session makes it no second one.
    town.desk(MALLORY)
        .client
        .logon(MALLORY, &key(MALLORY), Grade::Matched)
        .unwrap();
    town.desk(MALLORY).answer().unwrap();
    kept.client.logout().unwrap();
    await_sessions(&mut town, 2);
    assert_eq!(attempt(&town).0, Ok(()));
    stop(town, dir.path());
}

fn bad_logons_and_registrations_have_a_budget(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    config.verify.bad_logons_max = 3;
    let mut town = town_with_mallory(dir.path(), &config);
    let mut desk = Desk::open(town.node.addr, 1);
    let mut record = registration(town.chain, ParticipantId::new(77), Roles::BUYER);
    record.admit = sign_ed25519(
        &wattbook_feed::keys::registrar_key(&[1; 32]),
        &record.register.digest(town.chain),
    );
    desk.client.send_register(&record).unwrap();
    desk.client.logon(MALLORY, &key(GRID_COMPANY), Grade::Matched).unwrap();
    desk.client.logon(MALLORY, &key(GRID_COMPANY), Grade::Matched).unwrap();
    let answers: Vec<Reject> = (0..3).map(|_| reject(desk.refusal("a bad logon").code)).collect();
    let expected = [Reject::BadAdmission, Reject::LogonRefused, Reject::LogonsExhausted];
    assert_eq!(answers, expected);
    assert!(desk.client.next_raw(WAIT).is_err(), "the session is closed");
    town.witnessed_step();
    stop(town, dir.path());
}

fn whoever_does_not_read_is_cut_off_with_a_reason(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    config.ingest.session_buffer_max = 64 << 10;
    config.ingest.limits.messages_per_s = 1_000;
    let mut town = town(dir.path(), &config);
    let mut wire = Wire::open(town.node.addr);
    wire.log_in(soupbin::SESSION_PRIVATE);
    // Each of these is answered with more than sixty bytes, which nobody takes.
    let mut packets = Vec::new();
    for _ in 0..16_384 {
        soupbin::put_unsequenced(b"?", &mut packets);
    }
    let deadline = Instant::now() + WAIT;
    let mut writer = wire.stream().try_clone().unwrap();
    writer.set_nonblocking(true).unwrap();
    while refused(&town, Reject::SlowConsumer) == 0 {
        assert!(Instant::now() < deadline, "{}", town.node.metrics.render());
        match writer.write(&packets) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => break,
        }
    }
    wire.stream().set_nonblocking(false).unwrap();
    // What was said before is still to be had, and then why there is no more.
    let rejects = wire.read_to_end().rejects();
    let (last, before) = rejects.split_last().unwrap();
    assert_eq!(*last, Reject::SlowConsumer);
    let allowed = [Reject::MessageRate, Reject::NotLoggedOn, Reject::ShortFrame];
    assert!(before.len() > 1_000 && before.iter().all(|reject| allowed.contains(reject)));
    assert_eq!(refused(&town, Reject::SlowConsumer), 1);
    town.witnessed_step();
    drop(wire);
    await_sessions(&mut town, 1);
    stop(town, dir.path());
}

fn a_stream_comes_as_fast_as_it_is_taken(backend: Backend) {
    const CANCELS: u32 = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    // Far less than what a step says, or a session that comes back asks for.
    config.ingest.session_buffer_max = 4 << 10;
    let mut town = town_with_mallory(dir.path(), &config);
    let cancel = Cancel {
        contract: None,
        target_nonce: u64::MAX,
        target_index: 0,
    };
    let leaves: Vec<_> = (0..CANCELS).map(|index| encode_cancel(index, &cancel)).collect();
    for _ in 0..3 {
        town.post(MALLORY, leaves.clone());
        // Whoever hears of the step has heard every answer.
        town.witnessed_step();
    }
    let told = town.leave(MALLORY).told;
    assert!(told.len() > 3 * CANCELS as usize);
    for from in [1, 2, 1_500, told.len() as u64] {
        let mut desk = Desk::open(town.node.addr, from);
        desk.client.logon(MALLORY, &key(MALLORY), Grade::Matched).unwrap();
        let again = wire::transcript(&mut desk, from, told.len() as u64);
        assert!(again == told[from as usize - 1..], "from {from}");
    }
    assert_eq!(refused(&town, Reject::SlowConsumer), 0);
    stop(town, dir.path());
}

fn what_was_overheard_is_worth_nothing(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut town = town_with_mallory(dir.path(), &config(backend));
    // A whole session of Mallory's as somebody on the way has seen it, by its first challenge.
    let envelope = town.envelope(MALLORY, vec![any_cancel()]);
    let mut old = Wire::open(town.node.addr);
    old.log_in(soupbin::SESSION_PRIVATE);
    let (heard, _) = old.read_until(|heard| !heard.messages.is_empty());
    let Some(Outbound::Challenge(challenge)) = heard.messages.first() else {
        panic!("no challenge")
    };
    let digest = logon_digest(town.chain, &challenge.challenge, MALLORY, Grade::Matched as u8);
    let (mut logon, mut message, mut tape) = (Vec::new(), Vec::new(), Vec::new());
    let signed = LogonMessage {
        participant: MALLORY.get(),
        grade: Grade::Matched as u8,
        reserved: [0; 7],
        signature: key(MALLORY).sign(&digest),
    };
    encode_logon(&signed, &mut logon);
    encode_envelope(&envelope, &mut message);
    soupbin::put_unsequenced(&logon, &mut tape);
    soupbin::put_unsequenced(&message, &mut tape);
    old.send(&tape);
    let held = |heard: &Overheard| {
        heard
            .messages
            .iter()
            .any(|message| matches!(message, Outbound::Held(_)))
    };
    old.read_until(held);
    assert!(town.recorded.insert(envelope.to_payload()));
    town.desk(MALLORY).nonce += 1;
    town.witnessed_step();
    for _ in 0..3 {
        let mut replay = Wire::open(town.node.addr);
        replay.log_in(soupbin::SESSION_PRIVATE);
        replay.send(&tape);
        let (heard, _) = replay.read_until(|heard| heard.rejects().len() == 2);
        assert_eq!(heard.rejects(), [Reject::LogonRefused, Reject::NotLoggedOn]);
    }
    // The very session that said it may say it again, and is told so.
    old.send(&tape[tape.len() - message.len() - 3..]);
    old.read_until(held);
    town.witnessed_step();
    let (heard, _) = old.read_until(|heard| !heard.rejects().is_empty());
    assert_eq!(heard.rejects(), [Reject::Duplicate]);
    stop(town, dir.path());
}

fn thousands_of_packets_in_pieces_are_each_answered_once(backend: Backend) {
    const PACKETS: usize = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(backend);
    // A ring that is full most of the time.
    config.ingest.ring_len = 8;
    let mut town = town(dir.path(), &config);
    let mut wire = Wire::open(town.node.addr);
    wire.log_in(soupbin::SESSION_PRIVATE);
    let mut packets = Vec::new();
    for i in 0..PACKETS {
        soupbin::put_unsequenced(&vec![7; i % 300], &mut packets);
        soupbin::put_client_heartbeat(&mut packets);
    }
    let mut writer = wire.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut size = 1;
        let mut rest = &packets[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            writer.write_all(piece).unwrap();
            rest = later;
            size = size * 5 % 9_973 + 1;
        }
    });
    let (heard, closed) = wire.read_until(|heard| heard.rejects().len() == PACKETS);
    assert!(!closed);
    let short = heard
        .rejects()
        .iter()
        .filter(|reject| **reject == Reject::ShortFrame)
        .count();
    assert_eq!(short, (0..PACKETS).filter(|i| i % 300 < 8).count());
    sender.join().unwrap();
    town.witnessed_step();
    stop(town, dir.path());
}

/// A regulator's session whose bytes nobody else can read.
fn sessions_over_tls(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let tls = Tls {
        certificate: files.path().join("certificate.pem"),
        key: files.path().join("key.pem"),
    };
    std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let mut config = config(backend);
    config.ingest.tls = Some(tls);
    wattbook_node::chain::create(
        dir.path(),
        &wattbook_node::chain::Spec {
            network: "tls".to_owned(),
            eic: String::new(),
            area: 1,
            demo: true,
            time: at(-1_800),
            params: Vec::new(),
            segment_size: 1 << 20,
        },
        &wattbook_node::chain::Secrets::of_demo(SEED),
    )
    .unwrap();
    let node = wattbook_node::topology::Node::start(dir.path(), &config, Arc::default()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusting = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let trusting = Arc::new(trusting);
    let connect = || {
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(Arc::clone(&trusting), name).unwrap();
        let socket = std::net::TcpStream::connect(node.addr).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        rustls::StreamOwned::new(connection, socket)
    };
    // In the clear there is nothing to be had.
    let mut clear = Wire::open(node.addr);
    clear.log_in(soupbin::SESSION_PRIVATE);
    let mut heard = Vec::new();
    let _ = clear.stream().take(1 << 16).read_to_end(&mut heard);
    assert!(
        heard.len() <= 7 && heard.first() == Some(&21),
        "an alert of TLS, and no more: {heard:?}"
    );
    // Many packets in one record and one packet in many, both ways.
    let mut stream = connect();
    let login = soupbin::LoginRequest {
        username: String::new(),
        password: String::new(),
        session: soupbin::SESSION_PRIVATE.to_owned(),
        sequence: 1,
    };
    let mut bytes = Vec::new();
    soupbin::put_login_request(&login, &mut bytes);
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
    }
    let mut packets = Vec::new();
    for _ in 0..20_000 {
        soupbin::put_unsequenced(&[7; 60], &mut packets);
    }
    stream.write_all(&packets).unwrap();
    let mut decoder = soupbin::Decoder::new(soupbin::Peer::Server, soupbin::PACKET_MAX);
    let (mut logged_in, mut answers) = (0, 0);
    while answers < 20_001 {
        match decoder.next_packet().unwrap() {
            Some(soupbin::Packet::LoginAccepted(_)) => logged_in += 1,
            Some(soupbin::Packet::Unsequenced(_)) => answers += 1,
            Some(_) => {}
            None => {
                let len = stream.read(decoder.spare()).unwrap();
                assert!(len > 0, "the node has closed the connection");
                decoder.filled(len);
            }
        }
    }
    assert_eq!(logged_in, 1);
    let mut logout = Vec::new();
    soupbin::put_logout(&mut logout);
    stream.write_all(&logout).unwrap();
    node.stop();
    node.join().unwrap();
}
