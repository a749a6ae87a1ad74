//! Inclusion: what delegates say of commands that wait too long, and what follows for whoever leaves them out (PROTOCOL 7).
//!
//! A delegate that has had a command for a while, block after block without it, says so to everybody: `seen`, signed with
//! the key of its links, one signature for as many commands as there are. The words of f + 1 delegates on one command make
//! a certificate, of which at least one word is honest. Whoever has it tells it to all, the leader among them, with the
//! command. A voter that told it long enough ago refuses a block that leaves the command out.
//!
//! Nothing is said of commands that are recorded in time: with honest leaders none of this costs anything. The key of the
//! links signs, since its signature takes a thirtieth of a ballot's time, and a ballot key signs ballots and nothing else.
//!
//! # Format
//! ```text
//! seen         epoch u64 | time_ns u64 | signature 64 | digest 32 x n
//!              signature = ED(D("seen", epoch, time_ns, root)), root = RFC 9162 over the digests, each a leaf
//! certificate  epoch u64 | digest 32 | entry x n, ranks ascending
//!   entry      rank u16 | index u16 | size u16 | len u16 | time_ns u64 | signature 64 | sibling 32 x len
//! ```
//!
//! # Invariants
//! * f delegates certify nothing: forged, foreign or repeated words count for nothing.
//! * Claims are kept for commands that wait here, and at most as many as are set.

use ed25519_dalek::{SigningKey, VerifyingKey};
use std::collections::BTreeMap;
use wattbook_feed::keys::{sign_ed25519, verify_ed25519};
use wattbook_feed::signed::seen_digest;
use wattbook_types::committee::{Committee, SEATS_MAX};
use wattbook_types::tree::{inclusion_proof, leaf_hash, root_by_inclusion, root_of_hashes};
use wattbook_types::{ChainId, Hash, TimeNs};

/// Most commands that one signature stands for.
pub(crate) const SEEN_LEN_MAX: usize = 1 << 10;
/// Longest path in a tree of so many.
const PATH_MAX: usize = 10;
const ENTRY_HEAD: usize = 80;

/// Words that make a certificate: more than can be wrong.
pub(crate) fn words_needed(seats: usize) -> usize {
    seats.saturating_sub(1) / 3 + 1
}

/// A delegate has seen commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) epoch: u64,
    /// When it says so, by its clock.
    pub(crate) time: TimeNs,
    pub(crate) signature: [u8; 64],
    /// What names the commands.
    pub(crate) digests: Vec<Hash>,
}

fn leaves(digests: &[Hash]) -> Vec<Hash> {
    digests.iter().map(|digest| leaf_hash(&digest.0)).collect()
}

impl Seen {
    /// Says that these commands were seen.
    pub(crate) fn sign(chain: ChainId, key: &SigningKey, epoch: u64, time: TimeNs, digests: Vec<Hash>) -> Self {
        let root = root_of_hashes(leaves(&digests));
        Self {
            epoch,
            time,
            signature: sign_ed25519(key, &seen_digest(chain, epoch, time, &root)),
            digests,
        }
    }

    /// Whether the delegate with this key said so.
    pub(crate) fn is_of(&self, chain: ChainId, key: &[u8; 32]) -> bool {
        let root = root_of_hashes(leaves(&self.digests));
        holds(chain, key, self.epoch, self.time, &root, &self.signature)
    }

    /// Its word on one of its commands.
    fn entry(&self, rank: u16, index: usize) -> Option<Entry> {
        Some(Entry {
            rank,
            index: u16::try_from(index).ok()?,
            size: u16::try_from(self.digests.len()).ok()?,
            time: self.time,
            signature: self.signature,
            path: inclusion_proof(&leaves(&self.digests), index)?,
        })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.time.get().to_le_bytes());
        out.extend_from_slice(&self.signature);
        self.digests.iter().for_each(|digest| out.extend_from_slice(&digest.0));
    }

    /// Reads one of `n` commands off the front; `None`: none is there, or it is of none or too many.
    pub(crate) fn read(bytes: &[u8], n: u16) -> Option<(Self, &[u8])> {
        let len = usize::from(n);
        if !(1..=SEEN_LEN_MAX).contains(&len) {
            return None;
        }
        let (epoch, rest) = bytes.split_first_chunk::<8>()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (signature, rest) = rest.split_first_chunk::<64>()?;
        let (digests, rest) = rest.split_at_checked(len * 32)?;
        let seen = Self {
            epoch: u64::from_le_bytes(*epoch),
            time: TimeNs::new(u64::from_le_bytes(*time)),
            signature: *signature,
            digests: digests.as_chunks::<32>().0.iter().copied().map(Hash).collect(),
        };
        Some((seen, rest))
    }
}

fn holds(chain: ChainId, key: &[u8; 32], epoch: u64, time: TimeNs, root: &Hash, signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| verify_ed25519(&key, &seen_digest(chain, epoch, time, root), signature))
}

/// One delegate's word on one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    rank: u16,
    index: u16,
    size: u16,
    time: TimeNs,
    signature: [u8; 64],
    path: Vec<Hash>,
}

impl Entry {
    fn is_of(&self, chain: ChainId, key: &[u8; 32], epoch: u64, digest: &Hash) -> bool {
        let (leaf, index, size) = (leaf_hash(&digest.0), u64::from(self.index), u64::from(self.size));
        let Some(root) = root_by_inclusion(leaf, index, size, &self.path) else {
            return false;
        };
        holds(chain, key, epoch, self.time, &root, &self.signature)
    }
}

/// Words of more than f delegates on one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Certificate {
    pub(crate) epoch: u64,
    /// What names the command.
    pub(crate) digest: Hash,
    /// By rank.
    pub(crate) entries: Vec<Entry>,
}

impl Certificate {
    /// Whether more than f delegates of this committee have said that they saw the command.
    pub(crate) fn holds(&self, chain: ChainId, committee: &Committee) -> bool {
        let seats = committee.seats();
        let enough = self.epoch == committee.epoch() && self.entries.len() >= words_needed(seats.len());
        enough
            && self.entries.is_sorted_by(|a, b| a.rank < b.rank)
            && self.entries.iter().all(|entry| {
                seats
                    .get(usize::from(entry.rank))
                    .is_some_and(|seat| entry.is_of(chain, &seat.peer_key, self.epoch, &self.digest))
            })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.digest.0);
        for entry in &self.entries {
            // BOUND: a path of at most PATH_MAX.
            let head = [entry.rank, entry.index, entry.size, entry.path.len() as u16];
            head.iter()
                .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
            out.extend_from_slice(&entry.time.get().to_le_bytes());
            out.extend_from_slice(&entry.signature);
            entry.path.iter().for_each(|sibling| out.extend_from_slice(&sibling.0));
        }
    }

    /// Reads one of `n` words off the front; nothing is believed yet.
    pub(crate) fn read(bytes: &[u8], n: u16) -> Option<(Self, &[u8])> {
        if !(1..=SEATS_MAX).contains(&usize::from(n)) {
            return None;
        }
        let (epoch, rest) = bytes.split_first_chunk::<8>()?;
        let (digest, mut rest) = rest.split_first_chunk::<32>()?;
        let mut entries = Vec::new();
        for _ in 0..n {
            let (head, after) = rest.split_first_chunk::<ENTRY_HEAD>()?;
            let number = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
            let len = usize::from(number(6));
            if len > PATH_MAX {
                return None;
            }
            let (path, after) = after.split_at_checked(len * 32)?;
            entries.push(Entry {
                rank: number(0),
                index: number(2),
                size: number(4),
                time: TimeNs::new(u64::from_le_bytes(head[8..16].try_into().ok()?)),
                signature: head[16..].try_into().ok()?,
                path: path.as_chunks::<32>().0.iter().copied().map(Hash).collect(),
            });
            rest = after;
        }
        let certificate = Self {
            epoch: u64::from_le_bytes(*epoch),
            digest: Hash(*digest),
            entries,
        };
        Some((certificate, rest))
    }
}

/// What is known of one command that waits.
#[derive(Debug, Default)]
struct Claim {
    /// Words by rank.
    entries: BTreeMap<u16, Entry>,
    /// The last final height when its certificate was told.
    told: Option<u64>,
}

/// What delegates say of commands that wait here.
#[derive(Debug)]
pub(crate) struct Claims {
    chain: ChainId,
    epoch: u64,
    claims: BTreeMap<Hash, Claim>,
    len_max: usize,
}

impl Claims {
    pub(crate) fn new(chain: ChainId, len_max: usize) -> Self {
        Self {
            chain,
            epoch: 0,
            claims: BTreeMap::new(),
            len_max,
        }
    }

    /// Begins an epoch, whose words alone count, if it is another.
    pub(crate) fn begin(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.claims.clear();
        }
    }

    /// Whether the delegate of this rank has had its say on a command, or there is no room for it.
    pub(crate) fn has_said(&self, rank: u16, digest: &Hash) -> bool {
        match self.claims.get(digest) {
            Some(claim) => claim.entries.contains_key(&rank),
            None => self.claims.len() >= self.len_max,
        }
    }

    /// Takes a word on the commands that `waits` here.
    ///
    /// # Errors
    /// A signature that is not that seat's.
    pub(crate) fn hear(
        &mut self,
        committee: &Committee,
        rank: u16,
        seen: &Seen,
        waits: impl Fn(&Hash) -> bool,
    ) -> Result<(), NotSigned> {
        if seen.epoch != self.epoch || committee.epoch() != self.epoch {
            return Ok(());
        }
        let is_new = |digest: &Hash| waits(digest) && !self.has_said(rank, digest);
        if !seen.digests.iter().any(is_new) {
            return Ok(());
        }
        let seat = committee.seats().get(usize::from(rank)).ok_or(NotSigned)?;
        if !seen.is_of(self.chain, &seat.peer_key) {
            return Err(NotSigned);
        }
        for (index, digest) in seen.digests.iter().enumerate() {
            if waits(digest)
                && !self.has_said(rank, digest)
                && let Some(entry) = seen.entry(rank, index)
            {
                self.claims.entry(*digest).or_default().entries.insert(rank, entry);
            }
        }
        Ok(())
    }

    /// Takes a certificate on a command that waits here.
    ///
    /// # Errors
    /// One that is none.
    pub(crate) fn hear_certificate(
        &mut self,
        committee: &Committee,
        certificate: Certificate,
    ) -> Result<(), NotSigned> {
        let Certificate { epoch, digest, .. } = certificate;
        let known = self.claims.get(&digest);
        let is_full = known.is_none() && self.claims.len() >= self.len_max;
        let is_certified = known.is_some_and(|claim| claim.entries.len() >= words_needed(committee.seats().len()));
        if epoch != self.epoch || committee.epoch() != self.epoch || is_full || is_certified {
            return Ok(());
        }
        if !certificate.holds(self.chain, committee) {
            return Err(NotSigned);
        }
        let claim = self.claims.entry(digest).or_default();
        for entry in certificate.entries {
            claim.entries.insert(entry.rank, entry);
        }
        Ok(())
    }

    /// Certificates that were not told yet; they count as told at this final height.
    pub(crate) fn untold(&mut self, seats: usize, height: u64) -> Vec<Certificate> {
        let needed = words_needed(seats);
        let mut untold = Vec::new();
        for (digest, claim) in &mut self.claims {
            if claim.entries.len() >= needed && claim.told.is_none() {
                claim.told = Some(height);
                untold.push(Certificate {
                    epoch: self.epoch,
                    digest: *digest,
                    entries: claim.entries.values().take(needed).cloned().collect(),
                });
            }
        }
        untold
    }

    /// Everything certified is told again, to a leader that may not have heard of it; it has as long as the first one had.
    pub(crate) fn tell_again(&mut self) {
        self.claims.values_mut().for_each(|claim| claim.told = None);
    }

    /// Commands whose certificates were told at this final height or before.
    pub(crate) fn told_by(&self, height: u64) -> impl Iterator<Item = &Hash> {
        let due = move |claim: &Claim| claim.told.is_some_and(|told| told <= height);
        self.claims
            .iter()
            .filter(move |(_, claim)| due(claim))
            .map(|(digest, _)| digest)
    }

    /// Lets go of commands that wait no more.
    pub(crate) fn keep(&mut self, waits: impl Fn(&Hash) -> bool) {
        self.claims.retain(|digest, _| waits(digest));
    }

    /// How many commands are claimed.
    pub(crate) fn len(&self) -> usize {
        self.claims.len()
    }
}

/// A word that is not signed as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotSigned;

#[cfg(test)]
#[path = "tests/inclusion.rs"]
mod tests;
