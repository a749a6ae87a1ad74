//! Clients that live through the death of their node: what they were told, and what they send again.

use crate::soak::audit::Audited;
use crate::soak::flow::Orders;
use crate::soak::registration::registration;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::{BlsSecret, SigningKey};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::{Grade, SealedEnvelope};
use wattbook_node::chain;
use wattbook_types::{ChainId, ContractId, ParticipantId, Reject, TimeNs};

/// Envelopes without an answer at once.
const WINDOW: usize = 6;
/// Orders of an envelope.
const LEAVES: u32 = 3;
/// How long an envelope is valid, s: longer than any run.
const VALID_S: u64 = 7_200;
/// Longest wait for one message before the end is looked for.
const WAIT: Duration = Duration::from_millis(20);

/// A client, whatever becomes of its node.
#[derive(Debug)]
pub(super) struct Trader {
    id: ParticipantId,
    secret: BlsSecret,
    registrar: SigningKey,
    orders: Orders,
    nonce: u64,
    /// Sent and not answered, oldest first.
    unanswered: VecDeque<SealedEnvelope>,
    /// Records of the envelopes that it was told are durable, by nonce.
    promised: BTreeMap<u64, u64>,
    /// Newest block that it was told is durable.
    height: u64,
}

impl Trader {
    pub(super) fn new(seed: u64, id: ParticipantId, contract: ContractId, registrar: &SigningKey) -> Self {
        Self {
            id,
            secret: chain::participant_key(&[5; 32], id),
            registrar: registrar.clone(),
            orders: Orders::new(seed, id.get(), contract),
            nonce: 0,
            unanswered: VecDeque::new(),
            promised: BTreeMap::new(),
            height: 0,
        }
    }

    /// Envelopes that it was told are durable.
    pub(super) fn promised(&self) -> u64 {
        self.promised.len() as u64
    }

    /// Holds a ledger against what it was told.
    ///
    /// # Errors
    /// What is missing or another.
    pub(super) fn check(&self, audited: &Audited) -> Result<(), String> {
        if self.height > audited.height() {
            return Err(format!("block {} was acknowledged as durable and is gone", self.height));
        }
        for (nonce, seq) in &self.promised {
            let found = audited.envelopes.get(&(self.id, *nonce));
            if found != Some(seq) {
                return Err(format!(
                    "envelope {nonce} of {} was acknowledged as durable in record {seq}; it is in {found:?}",
                    self.id
                ));
            }
        }
        Ok(())
    }

    /// Trades until the node is gone or `stop`.
    fn trade(&mut self, addr: SocketAddr, chain: ChainId, told: &Sender<()>, stop: &AtomicBool) -> Result<(), Ended> {
        let mut client = Client::connect(addr, StreamKind::Private, 0)?;
        if self.promised.is_empty() {
            client.send_register(&registration(chain, self.id, &self.secret, &self.registrar))?;
        }
        client.logon(self.id, &self.secret, Grade::Durable)?;
        let mut is_on = false;
        while !stop.load(Ordering::Relaxed) {
            if is_on {
                while self.unanswered.len() < WINDOW {
                    let envelope = self.envelope(chain)?;
                    client.send_envelope(&envelope)?;
                    self.unanswered.push_back(envelope);
                }
            }
            let Some((_, message)) = client.next(WAIT)? else {
                continue;
            };
            match message {
                Outbound::LoggedOn(_) => {
                    is_on = true;
                    // Whether these were recorded, nobody has said.
                    for envelope in &self.unanswered {
                        client.send_envelope(envelope)?;
                    }
                }
                Outbound::Accepted(answer) => self.take(answer.nonce, answer.seq, told)?,
                Outbound::Rejected(answer) => self.take(answer.nonce, answer.seq, told)?,
                Outbound::Watermark(mark) if mark.grade == Grade::Durable as u8 => {
                    self.height = self.height.max(mark.height);
                }
                Outbound::RejectedMessage(refused) => match Reject::from_code(refused.code) {
                    // The registration is under way.
                    Some(Reject::UnknownParticipant) if !is_on => {
                        client.logon(self.id, &self.secret, Grade::Durable)?;
                    }
                    // Registered before, by a session whose node died.
                    Some(_) if refused.nonce == 0 && !is_on => {}
                    Some(Reject::Duplicate) if refused.original_seq > 0 => {
                        self.take(refused.nonce, refused.original_seq, told)?;
                    }
                    reject => return Err(Ended::Wrong(format!("refused: {reject:?}, {refused:?}"))),
                },
                _ => {}
            }
        }
        Ok(())
    }

    /// An answer: the envelope stands in that record.
    fn take(&mut self, nonce: u64, seq: u64, told: &Sender<()>) -> Result<(), Ended> {
        self.unanswered.retain(|envelope| envelope.header.nonce != nonce);
        let before = *self.promised.entry(nonce).or_insert(seq);
        // Nobody listens any more once the node is to die.
        let _ = told.send(());
        if before == seq {
            Ok(())
        } else {
            Err(Ended::Wrong(format!(
                "envelope {nonce} is in record {seq}, and was said to be in {before}"
            )))
        }
    }

    fn envelope(&mut self, chain: ChainId) -> Result<SealedEnvelope, Ended> {
        self.nonce += 1;
        let leaves = self.orders.leaves(self.nonce, LEAVES);
        let leaves = leaves.map_err(|error| Ended::Wrong(error.to_string()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let not_after = TimeNs::from_secs(now.as_secs() + VALID_S);
        Ok(SealedEnvelope::sign(
            chain,
            &self.secret,
            self.id,
            1,
            self.nonce,
            not_after,
            leaves,
        ))
    }
}

/// Why a client stopped.
enum Ended {
    /// Its node is gone.
    Gone,
    /// What no client should see.
    Wrong(String),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Io(_) | ClientError::EndOfSession | ClientError::Disconnected => Self::Gone,
            other => Self::Wrong(other.to_string()),
        }
    }
}

/// Clients at work.
pub(super) struct Load {
    threads: Vec<JoinHandle<(Trader, Result<(), Ended>)>>,
    answered: Receiver<()>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Sets the traders to work on a node.
    pub(super) fn start(addr: SocketAddr, chain: ChainId, traders: &mut Vec<Trader>) -> Self {
        let (told, answered) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = traders.drain(..).map(|mut trader| {
            let (told, stop) = (told.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let ended = trader.trade(addr, chain, &told, &stop);
                (trader, ended)
            })
        });
        Self {
            threads: threads.collect(),
            answered,
            stop,
        }
    }

    /// Whether one of them is answered before `until`.
    pub(super) fn is_answered(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        self.answered.recv_timeout(left).is_ok()
    }

    /// Takes the traders back; what went wrong with them.
    pub(super) fn end(self, traders: &mut Vec<Trader>) -> String {
        self.stop.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for thread in self.threads {
            match thread.join() {
                Ok((trader, ended)) => {
                    if let Err(Ended::Wrong(what)) = ended {
                        wrong.push(format!("{}: {what}", trader.id));
                    }
                    traders.push(trader);
                }
                Err(_) => wrong.push("a client panics".to_owned()),
            }
        }
        wrong.join("; ")
    }
}
