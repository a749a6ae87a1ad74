//! What outlives a client: notes in files, and what follows from them.
//!
//! # Format
//! ```text
//! sent = (len u32 | envelope) x n      told = (len u32 | number u64, 0 for none | message) x n
//! ```
//! Little-endian. A note that a kill has cut off is none, and goes when the notes are opened.

use super::{PATIENCE, QUOTES, SEED, WHO};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::BlsSecret;
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{Grade, SealedEnvelope, encode_quote};
use wattbook_node::chain;
use wattbook_types::{ChainId, ContractId, Energy, Price, Quote, Reject, SelfTrade, Side, TimeInForce, TimeNs};

/// Why a life ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// Its registration is not in force.
    #[error("the participant is unknown")]
    Unknown,
    /// What no client should see.
    #[error("{0}")]
    Wrong(String),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// What outlives a client.
pub(super) struct Notes {
    secret: BlsSecret,
    files: Option<Files>,
    pub(super) sent: BTreeMap<u64, SealedEnvelope>,
    /// Sequenced messages as they came.
    pub(super) told: Vec<Vec<u8>>,
    /// Accepted quotes of an envelope.
    pub(super) accepted: BTreeMap<u64, BTreeSet<u32>>,
    pub(super) opened: u64,
}

/// Open at their ends.
struct Files {
    sent: File,
    told: File,
}

/// The whole notes of a file, which is cut behind the last of them.
fn read(path: &Path) -> Result<(File, Vec<Vec<u8>>), String> {
    let io = |error: std::io::Error| format!("the harness: notes: {error}");
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let (mut notes, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((len, behind)) = rest.split_first_chunk() {
        let Some((note, behind)) = behind.split_at_checked(u32::from_le_bytes(*len) as usize) else {
            break;
        };
        notes.push(note.to_vec());
        rest = behind;
    }
    file.set_len((bytes.len() - rest.len()) as u64).map_err(io)?;
    Ok((file, notes))
}

/// Writes a note in one piece.
fn write(file: &mut File, parts: &[&[u8]]) -> Result<(), String> {
    let note = parts.concat();
    // BOUND: a message of the feed, or an envelope of a few quotes.
    let len = (note.len() as u32).to_le_bytes();
    let written = file.write_all(&[&len[..], &note].concat());
    written.map_err(|error| format!("the harness: notes: {error}"))
}

impl Notes {
    /// Of a client that has none, and keeps none.
    pub(super) fn in_memory() -> Self {
        Self {
            secret: chain::participant_key(&SEED, WHO),
            files: None,
            sent: BTreeMap::new(),
            told: Vec::new(),
            accepted: BTreeMap::new(),
            opened: 0,
        }
    }

    /// Those of the lives before.
    pub(super) fn open(dir: &Path) -> Result<Self, String> {
        let mut notes = Self::in_memory();
        let (sent, envelopes) = read(&dir.join("sent"))?;
        for envelope in envelopes {
            let envelope = SealedEnvelope::decode(&envelope).map_err(|reject| format!("a note of {reject:?}"))?;
            notes.sent.insert(envelope.header.nonce, envelope);
        }
        let (told, messages) = read(&dir.join("told"))?;
        for note in messages {
            let (number, bytes) = note.split_first_chunk().ok_or("a note without a number")?;
            let number = Some(u64::from_le_bytes(*number)).filter(|number| *number > 0);
            let message = decode_outbound(bytes).map_err(|error| error.to_string())?;
            notes
                .take(number, bytes.to_vec(), &message)
                .map_err(|ended| ended.to_string())?;
        }
        notes.files = Some(Files { sent, told });
        Ok(notes)
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

    /// Notes one envelope more, which the life will send.
    pub(super) fn send_another(&mut self, addr: SocketAddr, contract: ContractId) -> Result<(), String> {
        let client = Client::connect(addr, StreamKind::Private, 0).map_err(|error| error.to_string())?;
        let chain = client.chain().ok_or("no chain")?;
        let nonce = self.sent.len() as u64 + 1;
        let envelope = self.envelope(nonce, chain, contract)?;
        if let Some(files) = &mut self.files {
            write(&mut files.sent, &[&envelope.to_payload()])?;
        }
        self.sent.insert(nonce, envelope);
        Ok(())
    }

    fn envelope(&self, nonce: u64, chain: ChainId, contract: ContractId) -> Result<SealedEnvelope, String> {
        let leaves = (0..QUOTES).map(|index| encode_quote(index, &quote(contract, nonce, index)));
        let leaves = leaves.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let not_after = TimeNs::from_secs(now.as_secs() + 3_600);
        Ok(SealedEnvelope::sign(
            chain,
            &self.secret,
            WHO,
            1,
            nonce,
            not_after,
            leaves,
        ))
    }

    /// One connection: what is unanswered is sent, and what comes is noted, until nothing is; `step` hears of each.
    pub(super) fn live(&mut self, addr: SocketAddr, step: impl Fn()) -> Result<(), Ended> {
        let mut client = Client::connect(addr, StreamKind::Private, self.told.len() as u64 + 1)?;
        client.logon(WHO, &self.secret, Grade::Durable)?;
        step();
        for envelope in self.unanswered() {
            client.send_envelope(&envelope)?;
            step();
        }
        let mut is_on = false;
        let quotes = |notes: &Self| notes.sent.len() as u64 * u64::from(QUOTES);
        while !is_on || !self.unanswered().is_empty() || self.opened < quotes(self) {
            let Some((number, bytes)) = client.next_raw(PATIENCE)? else {
                return Err(Ended::Wrong("no answer comes".into()));
            };
            let message = decode_outbound(&bytes).map_err(|error| Ended::Wrong(error.to_string()))?;
            is_on |= matches!(message, Outbound::LoggedOn(_));
            if let Some(files) = &mut self.files {
                let number = number.unwrap_or(0).to_le_bytes();
                write(&mut files.told, &[&number, &bytes]).map_err(Ended::Wrong)?;
            }
            self.take(number, bytes, &message)?;
            step();
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
