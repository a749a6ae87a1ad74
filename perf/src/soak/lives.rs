//! Part 5: a client that dies again and again, beside a node that goes on.
//!
//! # Contract
//! One life: the client logs on with its stream from where its notes end, sends again what was not answered and one
//! envelope more, and dies: its connection ends after a random number of bytes of either side, which is all that a node
//! sees of a killed client. What outlives it are its notes: envelopes, written before they are sent, and messages, written
//! as they come. In the end
//! * every quote of every life was accepted and opened once, and every envelope stands in the ledger once;
//! * the messages of all lives together are the stream from its beginning, without a gap or a repetition;
//! * an execution from genesis agrees, and `wattbook verify` finds nothing.

use super::audit;
use super::dice::Dice;
use super::ground::{Ground, Node, PATIENCE};
use super::registration::registration;
use super::{Finding, Findings};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::BlsSecret;
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{Grade, SealedEnvelope, encode_quote};
use wattbook_node::chain::{self, FIRST_SERIAL};
use wattbook_types::{ContractId, Energy, ParticipantId, Price, Quote, Reject, SelfTrade, Side, TimeInForce, TimeNs};

/// The part's name in findings.
const PART: &str = "lives";
/// Lives beside one node.
const LIVES_PER_NODE: u64 = 200;
/// Quotes of an envelope.
const QUOTES: u32 = 3;
/// The client.
const WHO: ParticipantId = ParticipantId::new(FIRST_SERIAL);
/// Most bytes of a life, up and down: about twice what it says and hears.
const UP_MAX: u64 = 900;
const DOWN_MAX: u64 = 1_100;

/// Lives until `until`; how many there were.
pub(crate) fn run(seed: u64, until: Instant, program: &Path, findings: &mut Findings) -> u64 {
    let (mut lives, mut dice) = (0, Dice::new(seed ^ 0x6c69_7665));
    while Instant::now() < until {
        let seed = dice.any();
        let mut client = match Mortal::new(seed, program) {
            Ok(client) => client,
            Err(why) => {
                eprintln!("lives: {why}");
                break;
            }
        };
        let mut what = None;
        while client.lives < LIVES_PER_NODE && what.is_none() && Instant::now() < until {
            what = client.live().err();
        }
        lives += client.lives;
        let (count, ledger) = (client.lives, client.ground.ledger.clone());
        match what.map_or_else(|| client.check(), Err) {
            Ok(cut) => eprintln!("lives: {count} beside one node, {cut} of them cut off"),
            Err(what) => {
                if findings.is_new(PART, &what) {
                    findings.add(Finding {
                        part: PART.into(),
                        what,
                        reproducer: format!("life {count} of the client of seed {seed}\n").into_bytes(),
                        text: true,
                    });
                    findings.keep_files(PART, &ledger);
                }
            }
        }
    }
    lives
}

/// A client with its notes, and its node.
pub(crate) struct Mortal {
    program: PathBuf,
    ground: Ground,
    node: Node,
    addr: SocketAddr,
    /// Where connections are cut.
    cutter: SocketAddr,
    notes: Notes,
    lives: u64,
    /// Lives that were cut off.
    cut: u64,
}

impl Mortal {
    /// A node on a fresh chain, and the client registered.
    ///
    /// # Errors
    /// They cannot be had; no finding.
    pub(crate) fn new(seed: u64, program: &Path) -> Result<Self, String> {
        let ground = Ground::new("lives")?;
        let mut node = ground.start(program)?;
        let addr = node.addr()?;
        let secret = chain::participant_key(&[5; 32], WHO);
        let client = Client::connect(addr, StreamKind::Private, 1);
        let record = registration(ground.chain, WHO, &secret, &ground.secrets.registrar());
        let said = |error: ClientError| error.to_string();
        client.and_then(|mut door| door.send_register(&record)).map_err(said)?;
        let cutter = cutter(addr, seed).map_err(|error| error.to_string())?;
        let mut mortal = Self {
            program: program.to_owned(),
            notes: Notes::new(secret),
            ground,
            node,
            addr,
            cutter,
            lives: 0,
            cut: 0,
        };
        mortal.await_registration()?;
        Ok(mortal)
    }

    /// Logs on until the registration, of another session, has come into force.
    fn await_registration(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.notes.live(self.addr, &[]) {
                Ok(()) => return Ok(()),
                Err(Ended::Unknown) => thread::sleep(Duration::from_millis(5)),
                Err(ended) => return Err(ended.to_string()),
            }
        }
        Err("the client is not registered".into())
    }

    /// One life.
    ///
    /// # Errors
    /// What no client should see.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        self.lives += 1;
        let envelope = self.notes.envelope(self.lives, &self.ground)?;
        let again = self.notes.unanswered();
        self.notes.sent.insert(self.lives, envelope.clone());
        match self.notes.live(self.cutter, &[again, vec![envelope]].concat()) {
            Ok(()) => Ok(()),
            Err(Ended::Cut) => {
                self.cut += 1;
                Ok(())
            }
            Err(ended) => Err(ended.to_string()),
        }
    }

    /// Ends the client well, then the node, and holds everything against the notes; how many lives were cut off.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn check(mut self) -> Result<u64, String> {
        let again = self.notes.unanswered();
        let ended = self.notes.live(self.addr, &again);
        ended.map_err(|ended| format!("the last life: {ended}"))?;
        let nonces: BTreeSet<u64> = (1..=self.lives).collect();
        if self.notes.accepted.keys().copied().collect::<BTreeSet<u64>>() != nonces {
            return Err("an envelope that was sent was never answered, or another was".into());
        }
        let quotes = self.lives * u64::from(QUOTES);
        // The stream once more, from its beginning.
        let mut whole = Notes::new(chain::participant_key(&[5; 32], WHO));
        whole.sent.clone_from(&self.notes.sent);
        let ended = whole.live(self.addr, &[]);
        ended.map_err(|ended| format!("the stream from its beginning: {ended}"))?;
        let (told, again) = (&self.notes.told, &whole.told);
        let common = told.len().min(again.len());
        if told[..common] != again[..common] || whole.accepted != self.notes.accepted {
            return Err("the stream from its beginning is another than all lives together heard".into());
        }
        if whole.opened.max(self.notes.opened) != quotes {
            let opened = whole.opened.max(self.notes.opened);
            return Err(format!("{quotes} quotes were sent, {opened} were opened"));
        }
        self.node.process.terminate();
        let status = self.node.process.wait(Instant::now() + PATIENCE);
        if !status.is_some_and(|status| status.success()) {
            return Err(format!("the node does not end well: {}", self.node.said()));
        }
        self.ground.verify(&self.program)?;
        let audited = audit::execute(&self.ground.ledger)?;
        let recorded = audited.envelopes.keys().filter(|(who, _)| *who == WHO);
        if !recorded.map(|(_, nonce)| *nonce).eq(nonces) {
            return Err("the ledger does not have every envelope".into());
        }
        Ok(self.cut)
    }
}

/// Why a life ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// Its connection did.
    #[error("the connection ended")]
    Cut,
    /// Its registration is not in force.
    #[error("the participant is unknown")]
    Unknown,
    /// What no client should see.
    #[error("{0}")]
    Wrong(String),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Io(_) | ClientError::EndOfSession | ClientError::Disconnected => Self::Cut,
            other => Self::Wrong(other.to_string()),
        }
    }
}

/// What outlives a client.
struct Notes {
    secret: BlsSecret,
    sent: BTreeMap<u64, SealedEnvelope>,
    /// Sequenced messages as they came.
    told: Vec<Vec<u8>>,
    /// Accepted quotes of an envelope.
    accepted: BTreeMap<u64, BTreeSet<u32>>,
    opened: u64,
}

impl Notes {
    const fn new(secret: BlsSecret) -> Self {
        Self {
            secret,
            sent: BTreeMap::new(),
            told: Vec::new(),
            accepted: BTreeMap::new(),
            opened: 0,
        }
    }

    fn unanswered(&self) -> Vec<SealedEnvelope> {
        let is_open = |nonce: &u64| {
            self.accepted
                .get(nonce)
                .is_none_or(|quotes| quotes.len() < QUOTES as usize)
        };
        let unanswered = self.sent.iter().filter(|(nonce, _)| is_open(nonce));
        unanswered.map(|(_, envelope)| envelope.clone()).collect()
    }

    fn envelope(&self, nonce: u64, ground: &Ground) -> Result<SealedEnvelope, String> {
        let leaves = (0..QUOTES).map(|index| encode_quote(index, &quote(ground.contract, nonce, index)));
        let leaves = leaves.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let not_after = TimeNs::from_secs(now.as_secs() + 3_600);
        Ok(SealedEnvelope::sign(
            ground.chain,
            &self.secret,
            WHO,
            1,
            nonce,
            not_after,
            leaves,
        ))
    }

    /// One connection: these are sent, and what comes is noted, until nothing is unanswered.
    fn live(&mut self, addr: SocketAddr, send: &[SealedEnvelope]) -> Result<(), Ended> {
        let mut client = Client::connect(addr, StreamKind::Private, self.told.len() as u64 + 1)?;
        client.logon(WHO, &self.secret, Grade::Durable)?;
        for envelope in send {
            client.send_envelope(envelope)?;
        }
        let mut is_on = false;
        let quotes = |notes: &Self| notes.sent.len() as u64 * u64::from(QUOTES);
        while !is_on || !self.unanswered().is_empty() || self.opened < quotes(self) {
            let Some((number, bytes)) = client.next_raw(PATIENCE)? else {
                return Err(Ended::Wrong("no answer comes".into()));
            };
            let message = decode_outbound(&bytes).map_err(|error| Ended::Wrong(error.to_string()))?;
            is_on |= matches!(message, Outbound::LoggedOn(_));
            self.take(number, bytes, &message)?;
        }
        Ok(())
    }

    fn take(&mut self, number: Option<u64>, bytes: Vec<u8>, message: &Outbound) -> Result<(), Ended> {
        if let Some(number) = number {
            self.told.push(bytes);
            if number != self.told.len() as u64 {
                return Err(Ended::Wrong(format!(
                    "message {number} where {} was due",
                    self.told.len()
                )));
            }
        }
        match message {
            Outbound::Accepted(answer) => {
                let quotes = self.accepted.entry(answer.nonce).or_default();
                if !quotes.insert(answer.index) {
                    return Err(Ended::Wrong(format!("quote {} is accepted twice", answer.index)));
                }
            }
            Outbound::Opened(_) => self.opened += 1,
            Outbound::RejectedMessage(refused) => match Reject::from_code(refused.code) {
                Some(Reject::Duplicate) => {}
                Some(Reject::UnknownParticipant) if self.told.is_empty() => return Err(Ended::Unknown),
                reject => return Err(Ended::Wrong(format!("refused: {reject:?}"))),
            },
            Outbound::Rejected(_) | Outbound::Closed(_) => return Err(Ended::Wrong(format!("{message:?}"))),
            _ => {}
        }
        Ok(())
    }
}

/// An ask that nothing meets.
fn quote(contract: ContractId, nonce: u64, index: u32) -> Quote {
    Quote {
        contract,
        client_order_id: nonce * 100 + u64::from(index),
        round: 0,
        side: Side::Sell,
        time_in_force: TimeInForce::Gate,
        price: Price::new(30_000),
        charge_cap: -1,
        energy: Energy::new(100),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}

/// Stands before a node and ends each connection after so many bytes of either side; ends with the process.
fn cutter(node: SocketAddr, seed: u64) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let mut dice = Dice::new(seed);
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(node) else { return };
            let (up, down) = (dice.below(UP_MAX), dice.below(DOWN_MAX));
            thread::scope(|scope| {
                scope.spawn(|| carry(&client, &server, up));
                carry(&server, &client, down);
            });
        }
    });
    Ok(addr)
}

/// Carries so many bytes, then ends both connections.
fn carry(mut from: &TcpStream, mut to: &TcpStream, mut left: u64) {
    let mut buffer = [0; 512];
    while left > 0 {
        // BOUND: at most the buffer's length.
        let room = left.min(buffer.len() as u64) as usize;
        match from.read(&mut buffer[..room]) {
            Ok(len) if len > 0 && to.write_all(&buffer[..len]).is_ok() => left -= len as u64,
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
