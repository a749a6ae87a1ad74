//! What a delegate signs when it votes, and how anybody checks it with a BLS library alone.
//!
//! # Format
//! ```text
//! namespace  N[64]  = "wattbook/1/ballot" zero-padded to 32 || chain_id
//! proposal          = uvarint(epoch) || uvarint(view) || uvarint(parent view) || block digest 32
//! nullified         = uvarint(epoch) || uvarint(view)
//! signed bytes      = uvarint(64 + len(suffix)) || N || suffix || body
//!   suffix, body      notarize "_NOTARIZE", proposal     finalize "_FINALIZE", proposal     nullify "_NULLIFY", nullified
//! signature         = BLS min-sig (48 bytes, G1) over the signed bytes, DST BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_
//! possession        = BLS min-sig over the 96-byte key, DST BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_
//! ```
//! `uvarint` is unsigned LEB128. These are the bytes that simplex signs; a test holds them against its own.
//!
//! # Invariants
//! * A ballot key signs ballots and its own possession, nothing else, and each under a tag of its own.
//! * Keys are checked once, when a committee's [`BallotKeys`] are made: in the subgroup, not infinity. What can be
//!   aggregated has proved possession at registration, else a rogue key could cancel the others.

use crate::error::Error;
use blst::{
    BLST_ERROR,
    min_sig::{AggregatePublicKey, AggregateSignature, PublicKey, SecretKey, Signature},
};
use core::fmt;
use wattbook_types::{
    ChainId, Hash,
    committee::{Committee, SEATS_MAX},
    digest::domain_tag,
};

/// Bytes of a compressed signature.
pub const SIGNATURE_SIZE: usize = 48;
/// Bytes of a compressed ballot key.
pub const KEY_SIZE: usize = 96;
/// Domain of ballots.
const DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// Domain of proofs of possession.
const DST_POP: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// Set in the first byte of a compressed point at infinity.
const INFINITY: u8 = 0x40;

/// The chain's prefix of everything a ballot key signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace([u8; 64]);

impl Namespace {
    /// The namespace of a chain.
    pub fn of(chain: ChainId) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&domain_tag("ballot"));
        bytes[32..].copy_from_slice(&chain.0.0);
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// Where in an epoch a vote was cast.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Round {
    /// The epoch.
    pub epoch: u64,
    /// The view, counted from 1 in every epoch.
    pub view: u64,
}

/// A block in a view, on the block of an earlier view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Proposal {
    /// View of the parent; 0 for the block that ends the epoch before.
    pub parent_view: u64,
    /// The block's digest.
    pub digest: Hash,
}

/// What a vote says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Vote {
    /// The block is valid.
    Notarize(Proposal),
    /// The view and the rest of its term are given up.
    Nullify,
    /// The block is notarized, durable here, and this voter did not give the view up.
    Finalize(Proposal),
}

impl Vote {
    /// The bytes that a voter signs.
    pub fn signed_bytes(&self, namespace: &Namespace, round: Round) -> Vec<u8> {
        let (suffix, proposal): (&[u8], _) = match self {
            Self::Notarize(proposal) => (b"_NOTARIZE", Some(proposal)),
            Self::Nullify => (b"_NULLIFY", None),
            Self::Finalize(proposal) => (b"_FINALIZE", Some(proposal)),
        };
        let mut bytes = Vec::with_capacity(144);
        put_uvarint(&mut bytes, (namespace.0.len() + suffix.len()) as u64);
        bytes.extend_from_slice(&namespace.0);
        bytes.extend_from_slice(suffix);
        put_uvarint(&mut bytes, round.epoch);
        put_uvarint(&mut bytes, round.view);
        if let Some(proposal) = proposal {
            put_uvarint(&mut bytes, proposal.parent_view);
            bytes.extend_from_slice(&proposal.digest.0);
        }
        bytes
    }
}

/// Appends an unsigned LEB128 number.
fn put_uvarint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A delegate's secret for the ballots of its committees; wiped when dropped.
#[derive(Clone)]
pub struct BallotKey(SecretKey);

impl fmt::Debug for BallotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BallotKey")
    }
}

impl BallotKey {
    /// Derives a key from at least 32 bytes of secret randomness (draft-irtf-cfrg-bls-signature, KeyGen).
    ///
    /// # Errors
    /// Fewer than 32 bytes.
    pub fn generate(secret: &[u8]) -> Result<Self, Error> {
        SecretKey::key_gen(secret, &[]).map(Self).map_err(|_| Error::Secret)
    }

    /// Reads a key: 32 bytes, big-endian, as BLS libraries write it.
    ///
    /// # Errors
    /// Not a number between 1 and the group's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        SecretKey::from_bytes(bytes).map(Self).map_err(|_| Error::Secret)
    }

    /// The key's 32 bytes, big-endian.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The 96 bytes that a committee lists.
    pub fn public(&self) -> [u8; KEY_SIZE] {
        self.0.sk_to_pk().compress()
    }

    /// Proves that whoever registers the public key holds the secret one.
    pub fn prove_possession(&self) -> [u8; SIGNATURE_SIZE] {
        self.0.sign(&self.public(), DST_POP, &[]).compress()
    }

    /// Signs a vote.
    pub fn sign(&self, namespace: &Namespace, round: Round, vote: &Vote) -> [u8; SIGNATURE_SIZE] {
        self.0.sign(&vote.signed_bytes(namespace, round), DST, &[]).compress()
    }
}

/// Checks a ballot key and its proof of possession, as registration must: certificates do not.
///
/// # Errors
/// The key is no point of the subgroup, or the proof is not the key's own.
pub fn check_possession(key: &[u8; KEY_SIZE], proof: &[u8; SIGNATURE_SIZE]) -> Result<(), Error> {
    let public = PublicKey::key_validate(key).map_err(|_| Error::Key { rank: 0 })?;
    match signature(proof)?.verify(true, key, DST_POP, &[], &public, false) {
        BLST_ERROR::BLST_SUCCESS => Ok(()),
        _ => Err(Error::Signature),
    }
}

/// Reads a compressed signature that is not the point at infinity; its subgroup is checked where it is verified.
fn signature(bytes: &[u8; SIGNATURE_SIZE]) -> Result<Signature, Error> {
    if bytes[0] & INFINITY != 0 {
        return Err(Error::Signature);
    }
    Signature::uncompress(bytes).map_err(|_| Error::Signature)
}

/// A committee's ballot keys, checked and ready: made once an epoch, used for every certificate of it.
#[derive(Clone)]
pub struct BallotKeys {
    epoch: u64,
    keys: Vec<PublicKey>,
    quorum: usize,
}

impl fmt::Debug for BallotKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BallotKeys({} of {})", self.quorum, self.keys.len())
    }
}

impl BallotKeys {
    /// Checks the keys of a committee.
    ///
    /// # Errors
    /// A key that is no point of the subgroup.
    pub fn of(committee: &Committee) -> Result<Self, Error> {
        let seats = committee.seats();
        let check =
            |(rank, key): (usize, &[u8; KEY_SIZE])| PublicKey::key_validate(key).map_err(|_| Error::Key { rank });
        Ok(Self {
            epoch: committee.epoch(),
            keys: seats
                .iter()
                .map(|seat| &seat.ballot_key)
                .enumerate()
                .map(check)
                .collect::<Result<_, _>>()?,
            quorum: committee.quorum(),
        })
    }

    /// The same keys for the ballots of another epoch.
    pub fn in_epoch(&self, epoch: u64) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The key of one seat, as rank 0, whose vote alone certifies nothing.
    pub(crate) fn of_one(epoch: u64, key: &[u8; KEY_SIZE]) -> Result<Self, Error> {
        let key = PublicKey::key_validate(key).map_err(|_| Error::Key { rank: 0 })?;
        Ok(Self {
            epoch,
            keys: vec![key],
            quorum: usize::MAX,
        })
    }

    /// The epoch whose ballots they check.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of seats.
    pub fn seats(&self) -> usize {
        self.keys.len()
    }

    /// Votes that make a certificate.
    pub const fn quorum(&self) -> usize {
        self.quorum
    }

    fn of_epoch(&self, round: Round) -> Result<(), Error> {
        if round.epoch == self.epoch {
            Ok(())
        } else {
            Err(Error::OtherEpoch {
                got: round.epoch,
                expected: self.epoch,
            })
        }
    }

    /// Checks one delegate's vote.
    ///
    /// # Errors
    /// Another epoch, no such seat, or not that seat's signature.
    pub fn check_vote(
        &self,
        rank: usize,
        namespace: &Namespace,
        round: Round,
        vote: &Vote,
        bytes: &[u8; SIGNATURE_SIZE],
    ) -> Result<(), Error> {
        self.of_epoch(round)?;
        let key = self.keys.get(rank).ok_or(Error::Seat { rank })?;
        check(key, &vote.signed_bytes(namespace, round), bytes)
    }

    /// Checks that every seat in `signers` (bit = rank) signed the vote, and that they are a quorum.
    ///
    /// # Errors
    /// Another epoch, a bit beyond the last seat, too few, or not their aggregate signature.
    pub fn check_quorum(
        &self,
        signers: u64,
        namespace: &Namespace,
        round: Round,
        vote: &Vote,
        bytes: &[u8; SIGNATURE_SIZE],
    ) -> Result<(), Error> {
        self.of_epoch(round)?;
        if self.keys.len() < SEATS_MAX && signers >> self.keys.len() != 0 {
            return Err(Error::Seat {
                rank: SEATS_MAX - 1 - signers.leading_zeros() as usize,
            });
        }
        let count = signers.count_ones() as usize;
        if count < self.quorum {
            return Err(Error::NoQuorum {
                got: count,
                quorum: self.quorum,
            });
        }
        let signed = |(rank, _): &(usize, &PublicKey)| signers >> rank & 1 == 1;
        let keys: Vec<&PublicKey> = self
            .keys
            .iter()
            .enumerate()
            .filter(signed)
            .map(|(_, key)| key)
            .collect();
        let sum = AggregatePublicKey::aggregate(&keys, false)
            .map_err(|_| Error::Signature)?
            .to_public_key();
        // Under a sum at infinity the empty signature would stand.
        if sum.compress()[0] & INFINITY != 0 {
            return Err(Error::Signature);
        }
        check(&sum, &vote.signed_bytes(namespace, round), bytes)
    }
}

/// Checks a signature over `message`; `key` is in the subgroup.
fn check(key: &PublicKey, message: &[u8], bytes: &[u8; SIGNATURE_SIZE]) -> Result<(), Error> {
    match signature(bytes)?.verify(true, message, DST, &[], key, false) {
        BLST_ERROR::BLST_SUCCESS => Ok(()),
        _ => Err(Error::Signature),
    }
}

/// The sum of signatures; `None` where one is none, or there is none.
pub(crate) fn aggregate(signatures: &[[u8; SIGNATURE_SIZE]]) -> Option<[u8; SIGNATURE_SIZE]> {
    let signatures: Option<Vec<Signature>> = signatures.iter().map(|bytes| signature(bytes).ok()).collect();
    let signatures = signatures?;
    let all: Vec<&Signature> = signatures.iter().collect();
    let sum = AggregateSignature::aggregate(&all, true).ok()?;
    Some(sum.to_signature().compress())
}
