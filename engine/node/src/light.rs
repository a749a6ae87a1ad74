//! A light client: checks a record of a chain with delegates from the chain's genesis alone, offline.
//!
//! It follows the committees. The last block of an epoch names the digest of the next committee; with that block's certificate
//! and the committee's keys the next epoch's certificates can be checked. A block is final by its own certificate, or by that
//! of a descendant, header by header; a record is in a block by its path to the block's record root.
//!
//! # Format
//! A bundle is JSON; bytes are hex, lower case:
//! ```text
//! { "version": 1, "chain": 32 bytes,
//!   "borders": [ { "header": 352 bytes, "certificate": 120 bytes,
//!                  "committee": [ { "participant": u64, "peer_key": 32 bytes, "ballot_key": 96 bytes } ... in rank order ] } ... ],
//!   "headers": [ 352 bytes ... ],             the record's block, its child, ... up to the one that is certified
//!   "certificate": 120 bytes,                 of the last of them
//!   "record": { "kind": u16, "version": u16, "seq": u64, "payload": bytes, "path": [ 32 bytes ... ] } }
//! ```
//! A checkpoint to begin at: `{ "version": 1, "chain", "header", "committee" }`, of a border and the epoch after it.
//! Header, certificate and record leaf are those of docs/ledger.md and `wattbook_agreement::proof`.
//!
//! # Invariants
//! * Nothing is believed but genesis, or the digest of one block that is pinned: every committee is named by a certified header, every key comes
//!   from it or genesis.
//! * Neither clock nor network decides anything. Whoever pins a checkpoint instead of genesis keeps to one that is younger
//!   than `evidence_epochs`, for which delegates still answer.

mod bundle;
mod make;
mod pin;

pub use self::bundle::{Border, Bundle, Member, RecordPath};
pub use self::make::MakeError;
pub use self::pin::Pinned;

use std::num::NonZero;
use std::thread;
use thiserror::Error;
use wattbook_agreement::ballot::{BallotKeys, Namespace};
use wattbook_agreement::error::Error as ProofError;
use wattbook_agreement::proof::{FinalityProof, PROOF_SIZE};
use wattbook_feed::signed::{Genesis, GenesisError};
use wattbook_ledger::{BlockHeader, HEADER_SIZE, Note, RawBlockHeader, Record, record_leaf_hash};
use wattbook_types::committee::{Committee, Seat};
use wattbook_types::schedule::Schedule;
use wattbook_types::{ChainId, Hash, tree};

/// Most headers between a block and the certificate that proves it.
pub const HEADERS_MAX: usize = 100_000;

/// Why something is not proven.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum LightError {
    /// The genesis.
    #[error("the genesis cannot be read: {0}")]
    Genesis(#[from] GenesisError),
    /// A genesis without delegates.
    #[error("the genesis names no delegates: its blocks have no certificates")]
    NoDelegates,
    /// A file that is no bundle.
    #[error("the bundle cannot be read: {0}")]
    Bundle(String),
    /// A bundle or block of another chain.
    #[error("it is of another chain than the genesis")]
    OtherChain,
    /// Another block than the one pinned.
    #[error("the checkpoint is of another block than the one that is pinned")]
    OtherPin,
    /// Bytes that are no header.
    #[error("header {at} is none")]
    Header {
        /// Its place.
        at: usize,
    },
    /// A header that ends no epoch, or another one than is due.
    #[error("block {height} does not end epoch {epoch}")]
    NoBorder {
        /// Its height.
        height: u64,
        /// The epoch that is followed.
        epoch: u64,
    },
    /// A certificate that does not hold.
    #[error("the certificate of block {height}: {why}")]
    Certificate {
        /// Height of the block.
        height: u64,
        /// What is wrong.
        why: ProofError,
    },
    /// Another committee than the header names.
    #[error("the committee of epoch {epoch} is not the one that the block before it names")]
    Committee {
        /// The epoch.
        epoch: u64,
    },
    /// A header that does not follow the one before it, or too many of them.
    #[error("header {at} does not follow the one before it")]
    Broken {
        /// Its place.
        at: usize,
    },
    /// A record that is not in the block.
    #[error("record {seq} is not in block {height}")]
    Record {
        /// Its number.
        seq: u64,
        /// Height of the block.
        height: u64,
    },
}

/// What has been proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proven {
    /// The block that the record is in.
    pub header: BlockHeader,
    /// Its digest.
    pub digest: Hash,
    /// Height of the block whose certificate proves it.
    pub certified: u64,
    /// Epoch of the committee that signed.
    pub epoch: u64,
    /// How many of its delegates did, and how many there are.
    pub signers: (u32, usize),
}

/// A border's header and certificate, and the committee that is to have signed.
type Due = (BlockHeader, [u8; PROOF_SIZE], Committee);

/// Follows a chain's committees.
#[derive(Clone, Debug)]
pub struct LightClient {
    chain: ChainId,
    namespace: Namespace,
    schedule: Schedule,
    committee: Committee,
    keys: BallotKeys,
    /// Header of the block that names the committee; `None` where genesis does.
    behind: Option<[u8; HEADER_SIZE]>,
}

impl LightClient {
    /// Begins at genesis.
    ///
    /// # Errors
    /// [`LightError::Genesis`], [`LightError::NoDelegates`], or [`LightError::Committee`] where its delegates cannot sit.
    pub fn new(genesis: &[u8]) -> Result<Self, LightError> {
        let chain = wattbook_feed::signed::genesis::chain_id(genesis);
        let genesis = Genesis::decode(genesis)?;
        let schedule = genesis.to_params()?.schedule();
        if genesis.delegates.is_empty() {
            return Err(LightError::NoDelegates);
        }
        let seats = genesis.delegates.iter().map(|delegate| Seat {
            participant: delegate.participant,
            peer_key: delegate.ed25519,
            ballot_key: delegate.bls,
            emission: 0,
            stake: 0,
        });
        let no_committee = LightError::Committee { epoch: 0 };
        let committee = Committee::new(0, seats.collect()).ok_or(no_committee.clone())?;
        Ok(Self {
            chain,
            namespace: Namespace::of(chain),
            schedule,
            keys: BallotKeys::of(&committee).map_err(|_| no_committee)?,
            committee,
            behind: None,
        })
    }

    /// The chain.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The epoch whose certificates can be checked now.
    pub const fn epoch(&self) -> u64 {
        self.committee.epoch()
    }

    /// Follows the committees over borders in a row; signatures are checked on all cores.
    ///
    /// # Errors
    /// The first that does not hold; the client stays where it was.
    pub fn follow(&mut self, borders: &[Border]) -> Result<(), LightError> {
        // Which committee comes next is cheap to say, and says with which keys each certificate is to be checked.
        let mut due = Vec::with_capacity(borders.len());
        let mut committee = self.committee.clone();
        for (at, border) in borders.iter().enumerate() {
            let header = self.header(&border.header, at)?;
            let (height, epoch) = (header.height, committee.epoch());
            let is_border = self.schedule.is_border(height) && self.schedule.epoch_of(height) == epoch;
            if !is_border || header.epoch != epoch {
                return Err(LightError::NoBorder { height, epoch });
            }
            let (next, other) = (epoch + 1, LightError::Committee { epoch: epoch + 1 });
            let seats = border.committee.iter().map(Member::seat).collect();
            let successor = Committee::new(next, seats).ok_or(other.clone())?;
            if successor.hash(self.chain) != header.next_committee {
                return Err(other);
            }
            due.push((
                header,
                border.certificate,
                core::mem::replace(&mut committee, successor),
            ));
        }
        self.check_on_all_cores(&due)?;
        self.keys = keys_of(&(&self.committee, self.keys.clone()), &committee)?;
        self.committee = committee;
        self.behind = borders.last().map(|border| border.header).or(self.behind);
        Ok(())
    }

    /// Whether a border is of an epoch before the one followed.
    fn is_behind(&self, border: &Border) -> Result<bool, LightError> {
        Ok(self.header(&border.header, 0)?.epoch < self.epoch())
    }

    fn check_on_all_cores(&self, due: &[Due]) -> Result<(), LightError> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let part = due.len().div_ceil(threads).max(1);
        // A thread costs a share of what one certificate does.
        if due.len() <= 1 {
            return self.check_all(due);
        }
        let parts = thread::scope(|scope| {
            let parts: Vec<_> = due
                .chunks(part)
                .map(|part| scope.spawn(|| self.check_all(part)))
                .collect();
            let join = |part: thread::ScopedJoinHandle<'_, _>| {
                part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            parts.into_iter().map(join).collect::<Vec<Result<(), LightError>>>()
        });
        parts.into_iter().collect()
    }

    fn check_all(&self, due: &[Due]) -> Result<(), LightError> {
        let mut known = (&self.committee, self.keys.clone());
        for (header, certificate, committee) in due {
            // Keys that sat in the epoch before have been checked.
            let keys = keys_of(&known, committee)?;
            self.certify(header, certificate, &keys)?;
            known = (committee, keys);
        }
        Ok(())
    }

    fn certify(
        &self,
        header: &BlockHeader,
        certificate: &[u8; PROOF_SIZE],
        keys: &BallotKeys,
    ) -> Result<FinalityProof, LightError> {
        let height = header.height;
        let proof = FinalityProof::decode(certificate);
        let checked = proof.and_then(|proof| proof.verify(keys, &self.namespace, header.digest()).map(|()| proof));
        checked.map_err(|why| LightError::Certificate { height, why })
    }

    /// A header of this chain.
    fn header(&self, bytes: &[u8; HEADER_SIZE], at: usize) -> Result<BlockHeader, LightError> {
        Self::header_of(self.chain, bytes, at)
    }

    fn header_of(chain: ChainId, bytes: &[u8; HEADER_SIZE], at: usize) -> Result<BlockHeader, LightError> {
        let raw = RawBlockHeader::read(bytes).ok_or(LightError::Header { at })?;
        let header = BlockHeader::from_raw(&raw).map_err(|_| LightError::Header { at })?;
        if header.chain != chain {
            return Err(LightError::OtherChain);
        }
        Ok(header)
    }

    /// Checks that a block is final: it, its child and so on up to the one that the certificate of the epoch followed is of.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_block(
        &self,
        headers: &[[u8; HEADER_SIZE]],
        certificate: &[u8; PROOF_SIZE],
    ) -> Result<Proven, LightError> {
        let first = self.header(headers.first().ok_or(LightError::Broken { at: 0 })?, 0)?;
        if headers.len() > HEADERS_MAX {
            return Err(LightError::Broken { at: HEADERS_MAX });
        }
        let mut last = first;
        for (at, bytes) in headers.iter().enumerate().skip(1) {
            let header = self.header(bytes, at)?;
            if header.parent != last.digest() || header.height != last.height + 1 {
                return Err(LightError::Broken { at });
            }
            last = header;
        }
        let proof = self.certify(&last, certificate, &self.keys)?;
        Ok(Proven {
            header: first,
            digest: first.digest(),
            certified: last.height,
            epoch: proof.round.epoch,
            signers: (proof.signers.count_ones(), self.keys.seats()),
        })
    }

    /// Checks the certificate that a checkpoint carries: its root is that of the header certified.
    ///
    /// # Errors
    /// What does not hold; [`LightError::Bundle`] without a certificate.
    pub fn check_checkpoint(&self, note: &Note) -> Result<Proven, LightError> {
        let certified = note.certified();
        let certified = certified.ok_or_else(|| LightError::Bundle("the checkpoint carries no certificate".into()))?;
        self.check_block(&[certified.header], &certified.certificate)
    }

    /// Checks that a record is in a block that has been proven.
    ///
    /// # Errors
    /// [`LightError::Record`].
    pub fn check_record(block: &Proven, record: &RecordPath) -> Result<(), LightError> {
        let (seq, height) = (record.seq, block.header.height);
        let leaf = record_leaf_hash(&Record {
            kind: record.kind,
            version: record.version,
            seq,
            payload: &record.payload,
        });
        let index = seq.checked_sub(block.header.first_seq);
        let BlockHeader {
            record_count,
            record_root,
            ..
        } = block.header;
        let is_in = |index| tree::verify_inclusion(leaf, index, record_count, &record.path, &record_root);
        match index.filter(|index| *index < record_count).is_some_and(is_in) {
            true => Ok(()),
            false => Err(LightError::Record { seq, height }),
        }
    }
}

/// The keys of a committee, checked unless they sat before.
fn keys_of((before, keys): &(&Committee, BallotKeys), committee: &Committee) -> Result<BallotKeys, LightError> {
    let epoch = committee.epoch();
    if has_same_keys(before, committee) {
        return Ok(keys.in_epoch(epoch));
    }
    BallotKeys::of(committee).map_err(|_| LightError::Committee { epoch })
}

fn has_same_keys(one: &Committee, other: &Committee) -> bool {
    let keys = |committee: &Committee| -> Vec<[u8; 96]> {
        let seats = committee.seats().iter();
        seats.map(|seat| seat.ballot_key).collect()
    };
    keys(one) == keys(other)
}
