//! A contract, proved to a third party: the buyer's envelope, the seller's, the grid company's signature, their paths.
//!
//! # Format
//! JSON: `format`, `deal` (the record of 96 bytes, hex), `height` (block of the deal), `count`, `place` and `path` (the
//! deal's id in the tree that the grid company signed), `genesis` (hex), and `records`: by role, tlog-proofs under one
//! checkpoint. Roles: `buyer`, `seller`, `grid` are the envelopes; `buyer_reveal`, `seller_reveal` the reveals of sealed
//! quotes; `buyer_register`, `seller_register`, `grid_register` the registrations of accounts that genesis does not hold.
//!
//! # What it shows
//! * Genesis is the chain's; registrations are signed by its registrar; the log's key and name are those of genesis.
//! * Both sides signed an order on this contract, on their side, for at least this energy, at a limit the price keeps.
//! * The grid company signed the deals of one block, this one among them.
//! * All of it stands in the log. It does not show that the deal was not voided later, which is for the state to say.

mod find;
mod terms;

use crate::notary::{self, NotaryError};
use ed25519_dalek::VerifyingKey;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use thiserror::Error;
use wattbook_feed::signed::leaf::GridLeaf;
use wattbook_feed::signed::{DealEntry, Genesis, GenesisError, RegisterRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{Checkpoint, Error as LedgerError, NoteKey, ProofError, Proven, RecordProof};
use wattbook_shaders::{PublicKey, verify_one};
use wattbook_types::tree::leaf_hash;
use wattbook_types::{ChainId, Hash, Roles, digest};

const FORMAT: &str = "wattbook/deal-proof/1";
const ROLES: [&str; 8] = [
    "buyer",
    "buyer_reveal",
    "buyer_register",
    "seller",
    "seller_reveal",
    "seller_register",
    "grid",
    "grid_register",
];

/// Why a deal is not proved.
#[derive(Debug, Error)]
pub enum DealError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A record that the market refuses: `verify` says more.
    #[error("record {seq} in block {height} cannot be executed; `wattbook verify` says why")]
    Refused {
        /// The record.
        seq: u64,
        /// Its block.
        height: u64,
    },
    /// The market cannot start.
    #[error(transparent)]
    Start(#[from] crate::execute::StartError),
    /// No checkpoint.
    #[error(transparent)]
    Notary(#[from] NotaryError),
    /// No such deal in the ledger.
    #[error("the ledger holds no deal {0}")]
    Unknown(Hash),
    /// The grid company has not signed it yet.
    #[error("the deal {0} is not countersigned: there is no contract to prove")]
    NotSigned(Hash),
    /// The text is no proof of a deal.
    #[error("the proof lacks a sound `{0}`")]
    Field(&'static str),
    /// The genesis in it.
    #[error("the genesis in the proof: {0}")]
    Genesis(#[from] GenesisError),
    /// One of its records.
    #[error("{role}: {source}")]
    Record {
        /// Which.
        role: &'static str,
        /// Why.
        source: ProofError,
    },
    /// One of its records does not say what it must.
    #[error("{role}: {what}")]
    Says {
        /// Which.
        role: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

/// A deal and everything that proves it.
#[derive(Clone, Debug)]
pub struct DealProof {
    deal: DealEntry,
    height: u64,
    count: u64,
    place: u64,
    path: Vec<Hash>,
    genesis: Vec<u8>,
    records: BTreeMap<&'static str, RecordProof>,
}

/// What a proof of a deal shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The deal's id.
    pub id: Hash,
    /// The deal.
    pub deal: DealEntry,
    /// Block in which it was made.
    pub height: u64,
    /// Record of the buyer's envelope.
    pub buyer: u64,
    /// Record of the seller's envelope.
    pub seller: u64,
    /// Record of the grid company's envelope.
    pub grid: u64,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
}

/// What every record is judged by.
struct Judge<'a> {
    proof: &'a DealProof,
    chain: ChainId,
    genesis: Genesis,
    key: NoteKey,
    anchored: bool,
}

impl DealProof {
    /// As JSON.
    pub fn to_json(&self) -> String {
        let records: Map<String, Value> = (self.records.iter())
            .map(|(role, proof)| ((*role).to_owned(), proof.to_string().into()))
            .collect();
        let out = json!({
            "format": FORMAT,
            "deal": hex::encode(bytemuck::bytes_of(&self.deal)),
            "height": self.height,
            "count": self.count,
            "place": self.place,
            "path": self.path.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "genesis": hex::encode(&self.genesis),
            "records": records,
        });
        format!("{out:#}\n")
    }

    /// Reads a proof; nothing is checked but its form.
    ///
    /// # Errors
    /// [`DealError::Field`], [`DealError::Record`].
    pub fn parse(text: &str) -> Result<Self, DealError> {
        let value: Value = serde_json::from_str(text).map_err(|_| DealError::Field("JSON"))?;
        let bytes = |name| hex::decode(value[name].as_str().unwrap_or("-")).map_err(|_| DealError::Field(name));
        let number = |name| value[name].as_u64().ok_or(DealError::Field(name));
        if value["format"] != FORMAT {
            return Err(DealError::Field("format"));
        }
        let deal = bytemuck::try_pod_read_unaligned(&bytes("deal")?).map_err(|_| DealError::Field("deal"))?;
        let hash = |item: &Value| {
            let bytes = hex::decode(item.as_str()?).ok()?;
            bytes.try_into().ok().map(Hash)
        };
        let path = value["path"].as_array().ok_or(DealError::Field("path"))?;
        let path = path
            .iter()
            .map(hash)
            .collect::<Option<_>>()
            .ok_or(DealError::Field("path"))?;
        let mut records = BTreeMap::new();
        for role in ROLES {
            if let Some(text) = value["records"][role].as_str() {
                let proof = RecordProof::parse(text).map_err(|source| DealError::Record { role, source })?;
                records.insert(role, proof);
            }
        }
        Ok(Self {
            deal,
            height: number("height")?,
            count: number("count")?,
            place: number("place")?,
            path,
            genesis: bytes("genesis")?,
            records,
        })
    }

    /// Checks everything; without the log's key, everything but the checkpoint's signature.
    ///
    /// # Errors
    /// [`DealError`].
    pub fn verify(&self, key: Option<&NoteKey>) -> Result<Shown, DealError> {
        let genesis = Genesis::decode(&self.genesis)?;
        genesis.verify()?;
        let own = notary::log_key(&self.genesis)?;
        if key.is_some_and(|key| *key != own) {
            return Err(DealError::Says {
                role: "genesis",
                what: "names another log key than the one given",
            });
        }
        let judge = Judge {
            proof: self,
            chain: genesis.chain_id(),
            genesis,
            key: own,
            anchored: key.is_some(),
        };
        let id = self.deal.id(judge.chain);
        let (buyer, seller) = (judge.side(terms::Side::Buyer)?, judge.side(terms::Side::Seller)?);
        let grid = judge.grid(id)?;
        let checkpoint = judge.record("grid")?.checkpoint.clone();
        Ok(Shown {
            id,
            deal: self.deal,
            height: self.height,
            buyer,
            seller,
            grid,
            checkpoint,
        })
    }
}

impl Judge<'_> {
    /// A record of the proof, its path checked.
    fn record(&self, role: &'static str) -> Result<Proven<'_>, DealError> {
        let proof = self.proof.records.get(role).ok_or(DealError::Field(role))?;
        let proven = if self.anchored {
            proof.verify(&self.key)
        } else {
            proof.check()
        };
        let proven = proven.map_err(|source| DealError::Record { role, source })?;
        let same = self.proof.records.values().all(|other| other.note == proof.note);
        if proven.checkpoint.origin != self.key.name() || !same {
            return Err(DealError::Says {
                role,
                what: "stands under another checkpoint or log",
            });
        }
        Ok(proven)
    }

    /// The key and roles of an account: genesis', or those of its registration.
    fn account(&self, participant: u64, register: &'static str) -> Result<(PublicKey, u32), DealError> {
        let says = |what| DealError::Says { role: register, what };
        let known = self
            .genesis
            .accounts
            .iter()
            .find(|known| known.register.admit_serial == participant);
        let (pk, roles) = match known {
            Some(account) => (account.register.public_key, account.register.roles),
            None => {
                let proven = self.record(register)?;
                if proven.kind != record_kind::REGISTER {
                    return Err(says("is no registration"));
                }
                let record = RegisterRecord::decode(proven.payload).map_err(|_| says("does not decode"))?;
                let registrar =
                    VerifyingKey::from_bytes(&self.genesis.registrar).map_err(|_| says("has no registrar"))?;
                record
                    .verify(self.chain, &registrar)
                    .map_err(|_| says("is not signed by the registrar"))?;
                if record.register.admit_serial != participant {
                    return Err(says("is of another account"));
                }
                (record.register.public_key, record.register.roles)
            }
        };
        let key = PublicKey::new(&pk).map_err(|_| says("holds no key"))?;
        Ok((key, roles))
    }

    /// An envelope of the proof, its leaves and signature checked under the sender's key.
    fn envelope(&self, role: &'static str, register: &'static str) -> Result<(u64, SealedEnvelope, u32), DealError> {
        let says = |what| DealError::Says { role, what };
        let proven = self.record(role)?;
        if proven.kind != record_kind::ENVELOPE {
            return Err(says("is no envelope"));
        }
        let envelope = SealedEnvelope::decode(proven.payload).map_err(|_| says("does not decode"))?;
        let (key, roles) = self.account(envelope.header.participant, register)?;
        let leaves_max = u32::MAX;
        envelope
            .header
            .check_leaves(&envelope.leaves, leaves_max)
            .map_err(|_| says("has other leaves than it signs"))?;
        verify_one(&key, &envelope.digest(self.chain), &envelope.signature)
            .map_err(|_| says("is not signed by its account"))?;
        Ok((proven.seq, envelope, roles))
    }

    /// The grid company's signature over the deals of the block.
    fn grid(&self, id: Hash) -> Result<u64, DealError> {
        let says = |what| DealError::Says { role: "grid", what };
        let (seq, envelope, roles) = self.envelope("grid", "grid_register")?;
        if !Roles::from_bits(roles).contains(Roles::GRID) {
            return Err(says("is of an account without that role"));
        }
        let proof = self.proof;
        let (height, contract, count) = (proof.height, proof.deal.contract, proof.count);
        let numbers = [height, contract, count].map(u64::to_le_bytes).concat();
        let leaf = leaf_hash(&id.0);
        let signed = (envelope.leaves.iter())
            .filter(|leaf| leaf[0] == wattbook_feed::signed::leaf::GRID)
            .map(|leaf| bytemuck::pod_read_unaligned::<GridLeaf>(leaf))
            .filter(|grid| grid.height == height);
        let root = terms::root_of(leaf, proof.place, count, &proof.path).ok_or_else(|| says("has no such path"))?;
        let expected = digest(self.chain, "deals", &[&numbers, &root.0]);
        if signed.into_iter().any(|grid| grid.deals_digest == expected.0) {
            Ok(seq)
        } else {
            Err(says("does not sign this deal"))
        }
    }
}
