//! Receipts: the order in which a leader takes commands, signed and told before it matches them (PROTOCOL 7).
//!
//! Whoever leads says, as commands come, in which order it takes them: one signature by the key of its links for what came
//! since the last. Every block of the term holds them in that order. Voters keep what they are told, and refuse a block that
//! has two of them the other way round. Two receipts of one term that tell of two orders are evidence.
//!
//! # Format
//! ```text
//! receipt  epoch u64 | term u64 | seq u64 | before 32 | signature 64 | name 32 x n
//!          run = before, then SHA-256(run || name) for every name; signature = ED(D("receipt", epoch, term, seq, run))
//! ```
//! `seq` counts what the leader has taken in its term, up to the last one named here; the first receipt begins with a run of
//! zero. A name is D("envelope", H), or the digest of a reveal's record. Registrations and evidence have no place in the order.
//!
//! # Invariants
//! * An honest leader signs one run for a number: what it took it takes once, and a node that starts again leads in no term
//!   in which it may have signed ([`Promise`]).
//! * What is kept is bounded; what is not kept binds nobody.

use super::pool::digest_of;
use crate::evidence::receipts::{Contradiction, Half, NAMES_MAX, run_of};
use ed25519_dalek::{SigningKey, VerifyingKey};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use wattbook_feed::keys::{sign_ed25519, verify_ed25519};
use wattbook_feed::signed::{receipt_digest, record_kind};
use wattbook_types::{ChainId, Hash, digest};

/// Most commands that one receipt names.
pub(crate) const RECEIPT_LEN_MAX: usize = NAMES_MAX;
/// Bytes of an envelope's header.
const HEADER: usize = 72;

/// What receipts call a command; `None`: it has no place in the order.
pub(crate) fn name_of(chain: ChainId, kind: u16, payload: &[u8]) -> Option<Hash> {
    match kind {
        record_kind::ENVELOPE => Some(digest(chain, "envelope", &[payload.get(..HEADER)?])),
        record_kind::REVEAL => Some(digest_of(kind, payload)),
        _ => None,
    }
}

/// A leader has taken commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Receipt {
    pub(crate) epoch: u64,
    pub(crate) term: u64,
    /// Number of the last one.
    pub(crate) seq: u64,
    /// The run before the first one.
    pub(crate) before: Hash,
    pub(crate) signature: [u8; 64],
    /// What names the commands.
    pub(crate) names: Vec<Hash>,
}

impl Receipt {
    /// The number before its first.
    fn after(&self) -> u64 {
        self.seq - self.names.len() as u64
    }

    /// Whether the delegate with this key said so.
    pub(crate) fn is_of(&self, chain: ChainId, key: &[u8; 32]) -> bool {
        let run = run_of(self.before, &self.names);
        let signed = receipt_digest(chain, self.epoch, self.term, self.seq, &run);
        VerifyingKey::from_bytes(key).is_ok_and(|key| verify_ed25519(&key, &signed, &self.signature))
    }

    /// The same commands in another order, under the same numbers.
    #[cfg(test)]
    pub(crate) fn reversed(&self, chain: ChainId, key: &SigningKey) -> Option<Self> {
        let mut other = self.clone();
        other.names.reverse();
        let run = run_of(other.before, &other.names);
        let signed = receipt_digest(chain, self.epoch, self.term, self.seq, &run);
        other.signature = sign_ed25519(key, &signed);
        (other.names != self.names).then_some(other)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        for number in [self.epoch, self.term, self.seq] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.before.0);
        out.extend_from_slice(&self.signature);
        self.names.iter().for_each(|name| out.extend_from_slice(&name.0));
    }

    /// Reads one of `n` commands off the front; `None`: none is there, or it is of none, of too many, or of more than it counts.
    pub(crate) fn read(bytes: &[u8], n: u16) -> Option<(Self, &[u8])> {
        let len = usize::from(n);
        let (numbers, rest) = bytes.split_first_chunk::<24>()?;
        let number = |at: usize| Some(u64::from_le_bytes(numbers[at..at + 8].try_into().ok()?));
        let (before, rest) = rest.split_first_chunk::<32>()?;
        let (signature, rest) = rest.split_first_chunk::<64>()?;
        let (names, rest) = rest.split_at_checked(len * 32)?;
        let receipt = Self {
            epoch: number(0)?,
            term: number(8)?,
            seq: number(16)?,
            before: Hash(*before),
            signature: *signature,
            names: names.as_chunks::<32>().0.iter().copied().map(Hash).collect(),
        };
        let counts = (1..=RECEIPT_LEN_MAX).contains(&len) && receipt.seq >= u64::from(n);
        counts.then_some((receipt, rest))
    }

    /// What this receipt says of the run at a number that it covers, or that it begins behind; and the names from there on.
    fn at(&self, seq: u64) -> Option<(Half, &[Hash])> {
        let known = usize::try_from(seq.checked_sub(self.after())?).ok()?;
        let (names, rest) = self.names.split_at_checked(known)?;
        let half = Half {
            run: run_of(self.before, names),
            signature: self.signature,
        };
        Some((half, rest))
    }

    /// What shows that this receipt and one that ends no sooner tell of two orders.
    fn contradicts(&self, later: &Self) -> Option<Contradiction> {
        let (first, _) = self.at(self.seq)?;
        let (second, names) = later.at(self.seq)?;
        let mut halves = [first, second];
        if names.is_empty() {
            halves.sort();
        }
        (first.run != second.run).then(|| Contradiction {
            rank: 0,
            epoch: self.epoch,
            term: self.term,
            seq: self.seq,
            halves,
            names: names.to_vec(),
        })
    }
}

/// What this node has taken in the term that it leads.
#[derive(Debug)]
pub(crate) struct Taking {
    epoch: u64,
    term: u64,
    seq: u64,
    run: Hash,
    /// Taken, and not signed for yet.
    pub(crate) untold: Vec<Hash>,
}

impl Taking {
    pub(crate) const fn new(epoch: u64, term: u64) -> Self {
        Self {
            epoch,
            term,
            seq: 0,
            run: Hash::ZERO,
            untold: Vec::new(),
        }
    }

    /// Its epoch and term.
    pub(crate) const fn of(&self) -> (u64, u64) {
        (self.epoch, self.term)
    }

    /// Signs for everything that was taken.
    pub(crate) fn sign(&mut self, chain: ChainId, key: &SigningKey) -> Vec<Receipt> {
        let untold = core::mem::take(&mut self.untold);
        let receipt = |names: &[Hash]| {
            let before = self.run;
            self.seq += names.len() as u64;
            self.run = run_of(before, names);
            Receipt {
                epoch: self.epoch,
                term: self.term,
                seq: self.seq,
                before,
                signature: sign_ed25519(key, &receipt_digest(chain, self.epoch, self.term, self.seq, &self.run)),
                names: names.to_vec(),
            }
        };
        untold.chunks(RECEIPT_LEN_MAX).map(receipt).collect()
    }
}

/// What the leader of a term has told of its order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By number of the last one named.
    receipts: BTreeMap<u64, Receipt>,
    /// Places of what is in no final block.
    places: HashMap<Hash, u64>,
    /// Names in the receipts kept.
    held: usize,
    /// The last place that a final block has.
    packed: u64,
    /// Whether the leader has told of two orders; what it tells then is not heard.
    is_twofold: bool,
}

impl Order {
    /// Takes a receipt of the term, whoever hands it on; what is known is not checked again.
    ///
    /// # Errors
    /// One that the leader did not sign.
    pub(crate) fn hear(
        &mut self,
        chain: ChainId,
        key: &[u8; 32],
        receipt: Receipt,
        len_max: usize,
    ) -> Result<Option<Contradiction>, NotSigned> {
        if self.is_twofold || self.receipts.get(&receipt.seq) == Some(&receipt) {
            return Ok(None);
        }
        if !receipt.is_of(chain, key) {
            return Err(NotSigned);
        }
        let before = self.receipts.range(receipt.after()..=receipt.seq);
        let behind = self.receipts.range(receipt.seq..).take(2);
        let found = (before.filter_map(|(_, other)| other.contradicts(&receipt)))
            .chain(behind.filter_map(|(_, other)| receipt.contradicts(other)))
            .next();
        if found.is_some() {
            self.is_twofold = true;
            return Ok(found);
        }
        let packed = self.packed;
        if self.places.len() + receipt.names.len() > len_max {
            self.places.retain(|_, place| *place > packed);
        }
        for (place, name) in (receipt.after() + 1..).zip(&receipt.names) {
            if self.places.len() < len_max && place > packed {
                self.places.entry(*name).or_insert(place);
            }
        }
        self.held += receipt.names.len();
        let replaced = self.receipts.insert(receipt.seq, receipt);
        self.held -= replaced.map_or(0, |receipt| receipt.names.len());
        while self.held > len_max
            && let Some((_, oldest)) = self.receipts.pop_first()
        {
            self.held -= oldest.names.len();
        }
        Ok(None)
    }

    /// The last place that these have, if it is after `last`.
    pub(crate) fn last_of(&self, names: &[Hash], last: u64) -> u64 {
        names
            .iter()
            .filter_map(|name| self.places.get(name))
            .fold(last, |last, at| last.max(*at))
    }

    /// The last place that final blocks have.
    pub(crate) const fn packed(&self) -> u64 {
        self.packed
    }

    /// Whether these come in the leader's order, the first of them after `last`.
    ///
    /// # Errors
    /// Places of two that come the other way round.
    pub(crate) fn check(&self, names: &[Hash], mut last: u64) -> Result<(), [u64; 2]> {
        for place in names.iter().filter_map(|name| self.places.get(name)) {
            if *place <= last {
                return Err([last, *place]);
            }
            last = *place;
        }
        Ok(())
    }

    /// How many of these it says nothing of.
    pub(crate) fn unknown(&self, names: &[Hash]) -> usize {
        names.iter().filter(|name| !self.places.contains_key(name)).count()
    }

    /// A final block has these.
    pub(crate) fn pack(&mut self, names: &[Hash]) {
        self.packed = self.last_of(names, self.packed);
        names.iter().for_each(|name| self.forget(name));
    }

    /// The leader will not record this one.
    pub(crate) fn forget(&mut self, name: &Hash) {
        self.places.remove(name);
    }

    /// The receipt that names what has this place.
    pub(crate) fn receipt_of(&self, place: u64) -> Option<&Receipt> {
        let (_, receipt) = self.receipts.range(place..).next()?;
        (receipt.after() < place).then_some(receipt)
    }
}

/// The last term in which this node may have signed receipts, on disk.
///
/// # Format
/// ```text
/// epoch u64 | term u64, little-endian
/// ```
#[derive(Debug)]
pub(crate) struct Promise {
    path: PathBuf,
    /// Terms up to this one are not led by this process.
    before: Option<(u64, u64)>,
    /// What this process leads.
    own: Option<(u64, u64)>,
}

impl Promise {
    /// Reads what earlier processes promised.
    ///
    /// # Errors
    /// The disk's, or a file that is none.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let before = match std::fs::read(&path) {
            Ok(bytes) => {
                let (epoch, term) = bytes.split_first_chunk::<8>().ok_or(io::ErrorKind::InvalidData)?;
                let term = term.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
                Some((u64::from_le_bytes(*epoch), u64::from_le_bytes(term)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let own = None;
        Ok(Self { path, before, own })
    }

    /// Whether this process may sign receipts in a term; durable on return.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn make(&mut self, epoch: u64, term: u64) -> io::Result<bool> {
        let of = (epoch, term);
        if self.own == Some(of) {
            return Ok(true);
        }
        if self.before.is_some_and(|before| of <= before) || self.own.is_some_and(|own| of < own) {
            return Ok(false);
        }
        let bytes = [epoch.to_le_bytes(), term.to_le_bytes()];
        replace(&self.path, bytes.as_flattened())?;
        self.own = Some(of);
        Ok(true)
    }
}

/// Replaces a file in one step; durable on return.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let fresh = path.with_extension("tmp");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// A receipt that is not signed as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotSigned;

#[cfg(test)]
#[path = "tests/receipts.rs"]
mod tests;
