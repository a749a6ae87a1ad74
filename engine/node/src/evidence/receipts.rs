//! Two receipts of one delegate that tell of two orders of one term, as bytes that anybody can check (PROTOCOL 7).
//!
//! # Format
//! ```text
//! W, little-endian
//!   0   2  version     2: beside the two votes of wattbook_agreement::evidence, whose version is 1
//!   2   1  kind        4
//!   3   1  rank        of the delegate in its epoch's committee
//!   4   4  n           names behind the second run
//!   8   8  epoch
//!  16   8  term
//!  24   8  seq         the number at which the two runs differ
//!  32  96  first       run 32, signature 64 of D("receipt", epoch, term, seq, run)
//! 128  96  second      run 32, signature 64 of D("receipt", epoch, term, seq + n, run over the names)
//! 224      names       32 x n, what the second receipt names behind that number
//! ```
//!
//! # Invariants
//! * The runs differ; with n = 0 the first is the lesser, so that one offence has one encoding for two signatures.
//! * An honest leader takes in one order, signs one run for a number, and leads in no term that it led before it started again:
//!   no two of its receipts make evidence.

use ed25519_dalek::VerifyingKey;
use wattbook_feed::keys::verify_ed25519;
use wattbook_feed::signed::{receipt_digest, receipt_run};
use wattbook_types::{ChainId, Hash, Reject};

/// Most names behind the second run: those of one receipt.
pub const NAMES_MAX: usize = 256;
const VERSION: u16 = 2;
const KIND: u8 = 4;
/// Bytes before the names.
const FIXED: usize = 224;

/// One of two contradicting receipts: a run and a signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Half {
    /// The run at the number where they differ.
    pub run: Hash,
    /// The receipt's signature.
    pub signature: [u8; 64],
}

/// Two receipts that contradict each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Contradiction {
    /// The delegate's rank in the committee of the epoch.
    pub rank: u8,
    /// The epoch.
    pub epoch: u64,
    /// The term.
    pub term: u64,
    /// The number at which the runs differ.
    pub seq: u64,
    /// The two receipts.
    pub halves: [Half; 2],
    /// What the second one names behind that number.
    pub names: Vec<Hash>,
}

/// The run behind these names.
pub fn run_of(before: Hash, names: &[Hash]) -> Hash {
    names.iter().fold(before, |run, name| receipt_run(&run, name))
}

impl Contradiction {
    /// Whether these bytes say that they are this, rather than two votes.
    pub(crate) fn is_named_by(bytes: &[u8]) -> bool {
        bytes.starts_with(&VERSION.to_le_bytes())
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.names.len() * 32);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[KIND, self.rank]);
        // BOUND: at most NAMES_MAX.
        bytes.extend_from_slice(&(self.names.len() as u32).to_le_bytes());
        for number in [self.epoch, self.term, self.seq] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for half in &self.halves {
            bytes.extend_from_slice(&half.run.0);
            bytes.extend_from_slice(&half.signature);
        }
        self.names.iter().for_each(|name| bytes.extend_from_slice(&name.0));
        bytes
    }

    /// Reads the bytes; nothing is believed yet.
    ///
    /// # Errors
    /// `ShortFrame`; `MalformedMessage` for another version or kind, too many names, or runs that do not contradict.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let (fixed, names) = bytes.split_first_chunk::<FIXED>().ok_or(Reject::ShortFrame)?;
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&fixed[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let half = |at: usize| {
            let (mut run, mut signature) = ([0; 32], [0; 64]);
            run.copy_from_slice(&fixed[at..at + 32]);
            signature.copy_from_slice(&fixed[at + 32..at + 96]);
            Half {
                run: Hash(run),
                signature,
            }
        };
        let n = u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]) as usize;
        if fixed[..2] != VERSION.to_le_bytes() || fixed[2] != KIND || n > NAMES_MAX {
            return Err(Reject::MalformedMessage);
        }
        if names.len() < n * 32 {
            return Err(Reject::ShortFrame);
        }
        let found = Self {
            rank: fixed[3],
            epoch: number(8),
            term: number(16),
            seq: number(24),
            halves: [half(32), half(128)],
            names: names.as_chunks::<32>().0.iter().copied().map(Hash).collect(),
        };
        if names.len() != n * 32 || !found.contradicts() {
            return Err(Reject::MalformedMessage);
        }
        Ok(found)
    }

    /// Whether the runs contradict each other and stand in their order.
    fn contradicts(&self) -> bool {
        let [first, second] = &self.halves;
        match self.names.is_empty() {
            true => first.run < second.run,
            false => first.run != second.run && self.seq.checked_add(self.names.len() as u64).is_some(),
        }
    }

    /// Whether the delegate with this key signed both, on this chain.
    pub fn is_of(&self, chain: ChainId, key: &[u8; 32]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(key) else {
            return false;
        };
        let [first, second] = &self.halves;
        let last = self.seq.saturating_add(self.names.len() as u64);
        let signed = [
            (self.seq, first.run, &first.signature),
            (last, run_of(second.run, &self.names), &second.signature),
        ];
        self.contradicts()
            && signed.iter().all(|(seq, run, signature)| {
                verify_ed25519(
                    &key,
                    &receipt_digest(chain, self.epoch, self.term, *seq, run),
                    signature,
                )
            })
    }
}
