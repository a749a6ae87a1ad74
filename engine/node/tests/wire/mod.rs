//! A node on loopback and everybody who speaks to it over real connections, in lockstep.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub(crate) mod trading;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::keys::{BlsSecret, SigningKey, sign_ed25519};
use wattbook_feed::sbe::session::RejectedMessage;
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{
    Grade, LeafBytes, MeterEntry, Register, RegisterRecord, RevealRecord, SealedEnvelope, encode_configure, meters_root,
};
use wattbook_feed::soupbin::{self, Decoder, LoginRequest, PACKET_MAX, Packet, Peer};
use wattbook_node::chain::{self, REGULATOR, Secrets, Spec};
use wattbook_node::config::{Clock, Config};
use wattbook_node::topology::Node;
use wattbook_types::command::Configure;
use wattbook_types::{ChainId, Hash, Param, ParticipantId, Reject, Roles, TimeNs};

/// Longest wait for a message: only a broken node takes so long.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// Seed of every secret.
pub(crate) const SEED: [u8; 32] = [11; 32];

/// A participant's key.
pub(crate) fn key(participant: ParticipantId) -> BlsSecret {
    chain::participant_key(&SEED, participant)
}

/// The registrar's key.
pub(crate) fn registrar() -> SigningKey {
    wattbook_feed::keys::registrar_key(&SEED)
}

/// A registration that holds; the meter carries the participant's number.
pub(crate) fn registration(chain: ChainId, who: ParticipantId, roles: Roles) -> RegisterRecord {
    let meters = vec![MeterEntry {
        meter: who.get(),
        import_cap_wh: 1_000_000,
        export_cap_wh: 1_000_000,
        kind: 1,
        reserved: 0,
    }];
    let secret = key(who);
    let register = Register {
        roles: roles.bits(),
        flags: 0,
        admit_serial: who.get(),
        not_after_ns: u64::MAX,
        public_key: secret.public_key(),
        session_spki: [0; 32],
        group: [0; 32],
        meters_root: meters_root(&meters).0,
    };
    let unsigned = RegisterRecord {
        register,
        admit: [0; 64],
        possession: [0; 48],
        meters,
    };
    admitted(chain, unsigned, &secret)
}

/// The record with both signatures made anew.
pub(crate) fn admitted(chain: ChainId, mut record: RegisterRecord, secret: &BlsSecret) -> RegisterRecord {
    record.admit = sign_ed25519(&registrar(), &record.register.admit_digest(chain));
    record.possession = secret.prove_possession(&record.register.digest(chain));
    record
}

/// The refusal of a code on the wire.
pub(crate) fn reject(code: u16) -> Reject {
    Reject::from_code(code).unwrap_or_else(|| panic!("code {code} is not in the table"))
}

/// A private session.
pub(crate) struct Desk {
    pub(crate) client: Client,
    /// Nonce of the next envelope.
    pub(crate) nonce: u64,
    /// Every sequenced message, as it came.
    pub(crate) told: Vec<Vec<u8>>,
    /// What came with the last Step, the answers to earlier messages aside.
    pub(crate) heard: Vec<Outbound>,
}

impl Desk {
    /// A session that has not logged on.
    pub(crate) fn open(addr: SocketAddr, from: u64) -> Self {
        Self::over(Client::connect(addr, StreamKind::Private, from).unwrap())
    }

    /// A session that stands.
    pub(crate) fn over(client: Client) -> Self {
        Self {
            client,
            nonce: 1,
            told: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// The next message but watermarks.
    pub(crate) fn hear(&mut self) -> Outbound {
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (seq, bytes) = self.client.next_raw(left).unwrap().expect("an answer");
            let message = decode_outbound(&bytes).unwrap();
            if let Some(seq) = seq {
                self.told.push(bytes);
                assert_eq!(seq, self.told.len() as u64, "a message is missing or repeated");
            }
            if !matches!(message, Outbound::Watermark(_)) {
                return message;
            }
        }
    }

    /// The answer to a message: held, or refused. Reports of what happened before are passed over.
    pub(crate) fn answer(&mut self) -> Result<(), RejectedMessage> {
        loop {
            match self.hear() {
                Outbound::Held(_) | Outbound::LoggedOn(_) => return Ok(()),
                Outbound::RejectedMessage(refused) => return Err(refused),
                Outbound::Stepped(_) => panic!("a Step where an answer was due"),
                _ => {}
            }
        }
    }

    /// The refusal at once.
    pub(crate) fn refusal(&mut self, case: &str) -> RejectedMessage {
        self.answer().expect_err(case)
    }

    /// Verdicts of the items of an envelope of the last Step, by index.
    pub(crate) fn verdicts(&self, nonce: u64) -> Vec<Option<Reject>> {
        let mut verdicts = BTreeMap::new();
        for message in &self.heard {
            let (index, verdict) = match message {
                Outbound::Accepted(answer) if answer.nonce == nonce => (answer.index, None),
                Outbound::Rejected(answer) if answer.nonce == nonce => (answer.index, Some(reject(answer.code))),
                _ => continue,
            };
            assert!(verdicts.insert(index, verdict).is_none(), "two verdicts of one item");
        }
        assert!(
            verdicts.keys().copied().eq(0..verdicts.len() as u32),
            "a verdict is missing"
        );
        verdicts.into_values().collect()
    }

    /// Messages refused by the last Step.
    pub(crate) fn refused_at_step(&self) -> Vec<RejectedMessage> {
        let refused = |message: &Outbound| match message {
            Outbound::RejectedMessage(refused) => Some(*refused),
            _ => None,
        };
        self.heard.iter().filter_map(refused).collect()
    }
}

/// A node and its sessions.
pub(crate) struct Town {
    pub(crate) node: Node,
    pub(crate) chain: ChainId,
    pub(crate) now: TimeNs,
    /// Payloads that must be in the ledger, and no others.
    pub(crate) recorded: BTreeSet<Vec<u8>>,
    desks: BTreeMap<ParticipantId, Desk>,
    witnesses: i64,
}

impl Town {
    /// A demo chain with these parameters, its node, and the regulator logged on.
    pub(crate) fn start(dir: &Path, time: TimeNs, params: Vec<(Param, i64)>, config: &Config) -> Self {
        let (network, eic) = ("wire".to_owned(), String::new());
        let spec = Spec {
            network,
            eic,
            area: 1,
            demo: true,
            time,
            params,
            segment_size: 1 << 20,
        };
        let chain = chain::create(dir, &spec, &Secrets::of_demo(SEED)).unwrap();
        let node = Node::start(dir, config, Arc::default()).unwrap();
        let (recorded, desks) = (BTreeSet::new(), BTreeMap::new());
        let mut town = Self {
            node,
            chain,
            now: time,
            recorded,
            desks,
            witnesses: 0,
        };
        town.log_on(REGULATOR);
        town
    }

    /// Logs a participant on, from the first message.
    pub(crate) fn log_on(&mut self, who: ParticipantId) {
        let client = Client::connect(self.node.addr, StreamKind::Private, 1).unwrap();
        self.log_on_with(who, client);
    }

    /// Logs a participant on over a session that begins with the first message.
    pub(crate) fn log_on_with(&mut self, who: ParticipantId, client: Client) {
        let mut desk = Desk::over(client);
        desk.client.expect_chain(self.chain).unwrap();
        desk.client.logon(who, &key(who), Grade::Matched).unwrap();
        desk.answer().unwrap();
        self.desks.insert(who, desk);
    }

    /// A participant's session.
    pub(crate) fn desk(&mut self, who: ParticipantId) -> &mut Desk {
        self.desks.get_mut(&who).expect("a session")
    }

    /// Takes a session out of those that hear every Step.
    pub(crate) fn leave(&mut self, who: ParticipantId) -> Desk {
        self.desks.remove(&who).expect("a session")
    }

    /// Signs leaves under the next nonce, which is not counted up.
    pub(crate) fn envelope(&mut self, who: ParticipantId, leaves: Vec<LeafBytes>) -> SealedEnvelope {
        let nonce = self.desk(who).nonce;
        let not_after = self.now.plus_secs(600);
        SealedEnvelope::sign(self.chain, &key(who), who, 1, nonce, not_after, leaves)
    }

    /// Sends leaves that will be recorded, whatever their verdicts; the nonce comes back.
    pub(crate) fn post(&mut self, who: ParticipantId, leaves: Vec<LeafBytes>) -> u64 {
        let envelope = self.envelope(who, leaves);
        self.post_as_it_is(who, &envelope)
    }

    /// Sends an envelope that will be recorded; its nonce.
    pub(crate) fn post_as_it_is(&mut self, who: ParticipantId, envelope: &SealedEnvelope) -> u64 {
        assert!(self.recorded.insert(envelope.to_payload()));
        let desk = self.desk(who);
        desk.nonce += 1;
        desk.client.send_envelope(envelope).unwrap();
        desk.answer().unwrap();
        envelope.header.nonce
    }

    /// Sends a reveal that will be recorded.
    pub(crate) fn reveal(&mut self, who: ParticipantId, reveal: &RevealRecord) {
        assert!(self.recorded.insert(reveal.to_payload()));
        let desk = self.desk(who);
        desk.client.send_reveal(reveal).unwrap();
        desk.answer().unwrap();
    }

    /// Sends a registration that will be recorded.
    pub(crate) fn register(&mut self, door: &mut Desk, record: &RegisterRecord) {
        assert!(self.recorded.insert(record.to_payload()));
        door.client.send_register(record).unwrap();
        door.answer().unwrap();
    }

    /// Moves time on and lets everyone hear what came of it.
    pub(crate) fn step_to(&mut self, time: TimeNs) {
        self.desk(REGULATOR).client.send_step(time).unwrap();
        for desk in self.desks.values_mut() {
            desk.heard.clear();
            loop {
                match desk.hear() {
                    Outbound::Stepped(stepped) => {
                        assert_eq!(stepped.time_ns, time.get());
                        break;
                    }
                    message => desk.heard.push(message),
                }
            }
        }
        self.now = time;
    }

    /// A second passes, in which the regulator's own envelope is executed whatever else was sent.
    pub(crate) fn witnessed_step(&mut self) {
        let time = self.now.plus_secs(1);
        self.witnessed_step_to(time);
    }

    /// Time moves on, and the regulator's own envelope is executed whatever else was sent.
    pub(crate) fn witnessed_step_to(&mut self, time: TimeNs) {
        self.witnesses += 1;
        let configure = Configure {
            param: Param::VolatilityAlarm as u32,
            value: self.witnesses,
        };
        let nonce = self.post(REGULATOR, vec![encode_configure(0, &configure)]);
        self.step_to(time);
        assert_eq!(self.desk(REGULATOR).verdicts(nonce), [None], "the witness at {time:?}");
    }

    /// Stops the node; the sessions come back.
    pub(crate) fn stop(self) -> (BTreeMap<ParticipantId, Desk>, BTreeSet<Vec<u8>>) {
        self.node.stop();
        self.node.join().unwrap();
        (self.desks, self.recorded)
    }
}

/// Settings of a node in lockstep on a free port.
pub(crate) fn lockstep() -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        clock: Clock::Lockstep,
        ..Config::default()
    };
    // A test on a busy machine may leave a session silent for long.
    config.ingest.idle_timeout_ms = 600_000;
    config.seal.snapshot_records = 7;
    config
}

/// Reads a session's sequenced messages up to number `last`, from number `from` on.
pub(crate) fn transcript(desk: &mut Desk, from: u64, last: u64) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while messages.len() as u64 + from <= last {
        let (seq, bytes) = desk.client.next_raw(WAIT).unwrap().expect("a message");
        if let Some(seq) = seq {
            assert_eq!(seq, from + messages.len() as u64);
            messages.push(bytes);
        }
    }
    messages
}

/// A connection without any manners.
pub(crate) struct Wire(TcpStream);

/// What a [`Wire`] heard until the node closed it.
#[derive(Debug, Default)]
pub(crate) struct Overheard {
    pub(crate) messages: Vec<Outbound>,
    pub(crate) logged_in: bool,
}

impl Overheard {
    /// Codes of the refusals.
    pub(crate) fn rejects(&self) -> Vec<Reject> {
        let code = |message: &Outbound| match message {
            Outbound::RejectedMessage(refused) => Some(reject(refused.code)),
            _ => None,
        };
        self.messages.iter().filter_map(code).collect()
    }
}

impl Wire {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        Self(stream)
    }

    /// The node may have closed the connection already, so that not every byte arrives.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// The connection itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0
    }

    pub(crate) fn log_in(&mut self, session: &str) {
        let login = LoginRequest {
            username: String::new(),
            password: String::new(),
            session: session.to_owned(),
            sequence: 1,
        };
        let mut bytes = Vec::new();
        soupbin::put_login_request(&login, &mut bytes);
        self.send(&bytes);
    }

    /// Reads until `enough`, or until the node closes the connection.
    pub(crate) fn read_until(&mut self, enough: impl Fn(&Overheard) -> bool) -> (Overheard, bool) {
        let mut decoder = Decoder::new(Peer::Server, PACKET_MAX);
        let mut heard = Overheard::default();
        loop {
            while let Some(packet) = decoder.next_packet().unwrap() {
                match packet {
                    Packet::Unsequenced(message) => heard.messages.push(decode_outbound(message).unwrap()),
                    Packet::LoginAccepted(_) => heard.logged_in = true,
                    _ => {}
                }
            }
            if enough(&heard) {
                return (heard, false);
            }
            match self.0.read(decoder.spare()) {
                Ok(0) => return (heard, true),
                Ok(len) => decoder.filled(len),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return (heard, true),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Everything until the node closes the connection.
    pub(crate) fn read_to_end(&mut self) -> Overheard {
        let (heard, closed) = self.read_until(|_| false);
        assert!(closed);
        heard
    }
}

/// The chain of a directory, from its genesis.
pub(crate) fn chain_of(dir: &Path) -> ChainId {
    let bytes = std::fs::read(dir.join(wattbook_ledger::GENESIS_FILE)).unwrap();
    ChainId(Hash(wattbook_types::sha256(&[&bytes]).0))
}
