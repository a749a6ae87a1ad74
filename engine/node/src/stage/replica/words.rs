//! What nodes of a committee tell each other beside agreement: commands on their way to whoever leads, and its refusals.
//!
//! # Format
//! A message is any number of words, one behind the other, little-endian:
//! ```text
//! command    1 u8 | zero u8 | kind u16 | len u32 | payload [len]
//! refusal    2 u8 | zero u8 | reject u16 | zero u32 | digest 32 | original_seq u64
//! step       3 u8 | zero u8 | zero u16 | n u32 | time u64 | digest 32 x n
//! seen       4 u8 | zero u8 | n u16 | zero u32 | of n commands, as in super::inclusion
//! receipt    6 u8 | zero u8 | n u16 | zero u32 | of n commands, as in super::receipts
//! certified  5 u8 | zero u8 | n u16 | zero u32 | of n words, as in super::inclusion
//! ```
//! `kind` and `payload` are a record's; `digest` names the command ([`super::pool::digest_of`]).

use super::inclusion::{Certificate, Seen};
use super::receipts::Receipt;
use std::borrow::Cow;
use wattbook_types::{Hash, Reject, TimeNs};

const COMMAND: u8 = 1;
const REFUSAL: u8 = 2;
const STEP: u8 = 3;
const SEEN: u8 = 4;
const CERTIFIED: u8 = 5;
const RECEIPT: u8 = 6;
const REFUSAL_SIZE: usize = 48;

/// One thing told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Word<'a> {
    /// A command, as it would be recorded.
    Command {
        /// Kind of its record.
        kind: u16,
        /// Payload of its record.
        payload: &'a [u8],
    },
    /// The leader will not record a command.
    Refusal {
        /// Which.
        digest: Hash,
        /// Why.
        reject: Reject,
        /// With a duplicate, the record that used the nonce.
        original_seq: u64,
    },
    /// Simulated time is to move on, after these commands.
    Step {
        /// To when.
        time: TimeNs,
        /// What names the commands.
        commands: Cow<'a, [Hash]>,
    },
    /// The delegate that speaks has seen commands.
    Seen(Seen),
    /// More than f delegates have seen a command.
    Certified(Certificate),
    /// A leader has taken commands, in this order.
    Receipt(Receipt),
}

impl Word<'_> {
    /// Appends the word's bytes.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Command { kind, payload } => {
                out.extend_from_slice(&[COMMAND, 0]);
                out.extend_from_slice(&kind.to_le_bytes());
                // BOUND: a payload is a message's, at most 64 KiB, or a registration's of 65,535 meters.
                out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
                out.extend_from_slice(payload);
            }
            Self::Refusal {
                digest,
                reject,
                original_seq,
            } => {
                out.extend_from_slice(&[REFUSAL, 0]);
                out.extend_from_slice(&reject.code().to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&digest.0);
                out.extend_from_slice(&original_seq.to_le_bytes());
            }
            Self::Step { time, commands } => {
                out.extend_from_slice(&[STEP, 0, 0, 0]);
                // BOUND: what a pool holds, `seal.held_max`.
                out.extend_from_slice(&(commands.len() as u32).to_le_bytes());
                out.extend_from_slice(&time.get().to_le_bytes());
                commands.iter().for_each(|digest| out.extend_from_slice(&digest.0));
            }
            Self::Seen(seen) => {
                // BOUND: at most SEEN_LEN_MAX commands.
                put_head(out, SEEN, seen.digests.len() as u16);
                seen.put(out);
            }
            Self::Certified(certificate) => {
                // BOUND: at most SEATS_MAX words.
                put_head(out, CERTIFIED, certificate.entries.len() as u16);
                certificate.put(out);
            }
            Self::Receipt(receipt) => {
                // BOUND: at most RECEIPT_LEN_MAX commands.
                put_head(out, RECEIPT, receipt.names.len() as u16);
                receipt.put(out);
            }
        }
    }
}

fn put_head(out: &mut Vec<u8>, word: u8, n: u16) {
    out.extend_from_slice(&[word, 0]);
    out.extend_from_slice(&n.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// The words of a message, up to the first that is none.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = Word<'_>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (word, after) = first(rest)?;
        rest = after;
        Some(word)
    })
}

/// The words of a message said again: what is none, and what stands behind it, is left out.
pub fn again(bytes: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    words(bytes).for_each(|word| word.put(&mut said));
    said
}

fn first(bytes: &[u8]) -> Option<(Word<'_>, &[u8])> {
    match *bytes.first()? {
        COMMAND => {
            let (head, rest) = bytes.split_first_chunk::<8>()?;
            let [_, _, k0, k1, len @ ..] = *head;
            let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(len) as usize)?;
            let kind = u16::from_le_bytes([k0, k1]);
            Some((Word::Command { kind, payload }, rest))
        }
        REFUSAL => {
            let (word, rest) = bytes.split_first_chunk::<REFUSAL_SIZE>()?;
            let word = Word::Refusal {
                reject: Reject::from_code(u16::from_le_bytes([word[2], word[3]]))?,
                digest: Hash(word[8..40].try_into().ok()?),
                original_seq: u64::from_le_bytes(word[40..].try_into().ok()?),
            };
            Some((word, rest))
        }
        STEP => {
            let (head, rest) = bytes.split_first_chunk::<16>()?;
            let [_, _, _, _, n @ .., t0, t1, t2, t3, t4, t5, t6, t7] = *head;
            let len = (u32::from_le_bytes(n) as usize).checked_mul(32)?;
            let (digests, rest) = rest.split_at_checked(len)?;
            let word = Word::Step {
                time: TimeNs::new(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
                commands: digests.as_chunks::<32>().0.iter().copied().map(Hash).collect(),
            };
            Some((word, rest))
        }
        word @ (SEEN | CERTIFIED | RECEIPT) => {
            let (head, rest) = bytes.split_first_chunk::<8>()?;
            let n = u16::from_le_bytes([head[2], head[3]]);
            match word {
                RECEIPT => Receipt::read(rest, n).map(|(receipt, rest)| (Word::Receipt(receipt), rest)),
                SEEN => Seen::read(rest, n).map(|(seen, rest)| (Word::Seen(seen), rest)),
                _ => Certificate::read(rest, n).map(|(certificate, rest)| (Word::Certified(certificate), rest)),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_put() {
        let said = [
            Word::Command {
                kind: 2,
                payload: b"an envelope",
            },
            Word::Refusal {
                digest: Hash([7; 32]),
                reject: Reject::Duplicate,
                original_seq: 99,
            },
            Word::Step {
                time: TimeNs::new(5),
                commands: vec![Hash([1; 32]), Hash([2; 32])].into(),
            },
            Word::Seen(Seen {
                epoch: 6,
                time: TimeNs::new(7),
                signature: [8; 64],
                digests: vec![Hash([3; 32]); 3],
            }),
            Word::Receipt(Receipt {
                epoch: 6,
                term: 2,
                seq: 2,
                before: Hash([4; 32]),
                signature: [8; 64],
                names: vec![Hash([3; 32]); 2],
            }),
            Word::Command { kind: 3, payload: b"" },
        ];
        let mut bytes = Vec::new();
        said.iter().for_each(|word| word.put(&mut bytes));
        assert_eq!(words(&bytes).collect::<Vec<_>>(), said);
        for len in 0..bytes.len() {
            let read: Vec<_> = words(&bytes[..len]).collect();
            assert_eq!(read, said[..read.len()], "what is whole is read");
            assert!(read.len() < said.len());
        }
        assert_eq!(words(&[4; 64]).count(), 0);
    }
}
