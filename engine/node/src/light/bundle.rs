//! What is handed to a light client, as JSON.

use super::{LightClient, LightError, Proven};
use serde_json::{Map, Value, json};
use wattbook_agreement::proof::PROOF_SIZE;
use wattbook_ledger::HEADER_SIZE;
use wattbook_types::committee::Seat;
use wattbook_types::{ChainId, Hash, ParticipantId};

/// The one version there is.
const VERSION: u64 = 1;

/// A delegate as a committee's digest names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its account.
    pub participant: ParticipantId,
    /// Ed25519 key of its links.
    pub peer_key: [u8; 32],
    /// BLS key of its ballots.
    pub ballot_key: [u8; 96],
}

impl Member {
    pub(super) const fn seat(&self) -> Seat {
        Seat {
            participant: self.participant,
            peer_key: self.peer_key,
            ballot_key: self.ballot_key,
            emission: 0,
            stake: 0,
        }
    }
}

impl From<&Seat> for Member {
    fn from(seat: &Seat) -> Self {
        Self {
            participant: seat.participant,
            peer_key: seat.peer_key,
            ballot_key: seat.ballot_key,
        }
    }
}

/// The last block of an epoch: who sits in the next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Border {
    /// Its header B.
    pub header: [u8; HEADER_SIZE],
    /// Its certificate.
    pub certificate: [u8; PROOF_SIZE],
    /// The committee of the next epoch, in rank order.
    pub committee: Vec<Member>,
}

/// A record and its way to the record root of its block (RFC 9162 2.1.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordPath {
    /// Kind.
    pub kind: u16,
    /// Version of the kind.
    pub version: u16,
    /// Sequence number.
    pub seq: u64,
    /// Payload.
    pub payload: Vec<u8>,
    /// The path.
    pub path: Vec<Hash>,
}

/// Everything that proves a record to whoever has the genesis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// The chain.
    pub chain: ChainId,
    /// The epochs before the certificate's.
    pub borders: Vec<Border>,
    /// The record's block, its child, and so on up to the one that is certified.
    pub headers: Vec<[u8; HEADER_SIZE]>,
    /// Certificate of the last of them.
    pub certificate: [u8; PROOF_SIZE],
    /// The record.
    pub record: RecordPath,
}

impl Bundle {
    /// Checks all of it.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, genesis: &[u8]) -> Result<Proven, LightError> {
        self.check_from(&mut LightClient::new(genesis)?)
    }

    /// Checks all of it that is not behind a client, which follows to the certificate's epoch.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_from(&self, client: &mut LightClient) -> Result<Proven, LightError> {
        if self.chain != client.chain() {
            return Err(LightError::OtherChain);
        }
        let mut borders = &self.borders[..];
        while let [first, rest @ ..] = borders
            && client.is_behind(first)?
        {
            borders = rest;
        }
        client.follow(borders)?;
        let proven = client.check_block(&self.headers, &self.certificate)?;
        LightClient::check_record(&proven, &self.record)?;
        Ok(proven)
    }

    /// Leaves out what a client that begins in this epoch does not need.
    pub fn keep_since(&mut self, epoch: u64) {
        let before = usize::try_from(epoch).unwrap_or(usize::MAX).min(self.borders.len());
        self.borders.drain(..before);
    }

    /// Its JSON.
    pub fn to_json(&self) -> String {
        let borders = self.borders.iter().map(|border| {
            json!({
                "header": hex::encode(border.header),
                "certificate": hex::encode(border.certificate),
                "committee": border.committee.iter().map(member).collect::<Vec<_>>(),
            })
        });
        let record = json!({
            "kind": self.record.kind,
            "version": self.record.version,
            "seq": self.record.seq,
            "payload": hex::encode(&self.record.payload),
            "path": self.record.path.iter().map(|hash| hex::encode(hash.0)).collect::<Vec<_>>(),
        });
        let bundle = json!({
            "version": VERSION,
            "chain": hex::encode(self.chain.0.0),
            "borders": borders.collect::<Vec<_>>(),
            "headers": self.headers.iter().map(hex::encode).collect::<Vec<_>>(),
            "certificate": hex::encode(self.certificate),
            "record": record,
        });
        format!("{bundle}\n")
    }

    /// The bundle of a JSON text; nothing is believed yet.
    ///
    /// # Errors
    /// [`LightError::Bundle`], with the field.
    pub fn parse(text: &str) -> Result<Self, LightError> {
        let value: Value = serde_json::from_str(text).map_err(|error| LightError::Bundle(error.to_string()))?;
        let top = fields(&value, "the bundle", 6)?;
        if number(top, "version")? != VERSION {
            return Err(wrong("version"));
        }
        let border = |value: &Value| {
            let border = fields(value, "borders", 3)?;
            Ok(Border {
                header: bytes(border, "header")?,
                certificate: bytes(border, "certificate")?,
                committee: list(border, "committee", member_of)?,
            })
        };
        let record = top.get("record").ok_or_else(|| wrong("record"))?;
        let record = fields(record, "record", 5)?;
        let small = |name| u16::try_from(number(record, name)?).map_err(|_| wrong(name));
        let payload = record.get("payload").and_then(Value::as_str).map(hex::decode);
        Ok(Self {
            chain: ChainId(Hash(bytes(top, "chain")?)),
            borders: list(top, "borders", border)?,
            headers: list(top, "headers", |value| decoded(value, "headers"))?,
            certificate: bytes(top, "certificate")?,
            record: RecordPath {
                kind: small("kind")?,
                version: small("version")?,
                seq: number(record, "seq")?,
                payload: payload.and_then(Result::ok).ok_or_else(|| wrong("payload"))?,
                path: list(record, "path", |value| decoded(value, "path").map(Hash))?,
            },
        })
    }
}

/// A delegate's JSON.
pub(super) fn member(member: &Member) -> Value {
    json!({
        "participant": member.participant.get(),
        "peer_key": hex::encode(member.peer_key),
        "ballot_key": hex::encode(member.ballot_key),
    })
}

/// A delegate as its JSON says.
pub(super) fn member_of(value: &Value) -> Result<Member, LightError> {
    let member = fields(value, "committee", 3)?;
    Ok(Member {
        participant: ParticipantId::new(number(member, "participant")?),
        peer_key: bytes(member, "peer_key")?,
        ballot_key: bytes(member, "ballot_key")?,
    })
}

pub(super) fn wrong(what: &str) -> LightError {
    LightError::Bundle(format!("`{what}` is missing or not what it should be"))
}

/// An object with so many fields: none is there for nothing.
pub(super) fn fields<'a>(value: &'a Value, what: &str, len: usize) -> Result<&'a Map<String, Value>, LightError> {
    value
        .as_object()
        .filter(|map| map.len() == len)
        .ok_or_else(|| wrong(what))
}

pub(super) fn number(map: &Map<String, Value>, name: &str) -> Result<u64, LightError> {
    map.get(name).and_then(Value::as_u64).ok_or_else(|| wrong(name))
}

pub(super) fn bytes<const N: usize>(map: &Map<String, Value>, name: &str) -> Result<[u8; N], LightError> {
    decoded(map.get(name).ok_or_else(|| wrong(name))?, name)
}

fn decoded<const N: usize>(value: &Value, name: &str) -> Result<[u8; N], LightError> {
    let mut bytes = [0; N];
    let text = value.as_str().ok_or_else(|| wrong(name))?;
    hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong(name))?;
    Ok(bytes)
}

pub(super) fn list<T>(
    map: &Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Result<T, LightError>,
) -> Result<Vec<T>, LightError> {
    let values = map.get(name).and_then(Value::as_array).ok_or_else(|| wrong(name))?;
    values.iter().map(read).collect()
}
