//! A record's path to its block, and the block's path to a checkpoint.
//!
//! # Format
//! c2sp.org/tlog-proof: `c2sp.org/tlog-proof@v1`, `extra <base64>`, `index <height>`, the header's path one hash a line,
//! an empty line, the checkpoint. The logged entry is the block header B. `extra` holds what leads from B to the record:
//! ```text
//! version u16 = 1 | zero u16 | leaf_len u32 | place u64 | B 352 | record leaf [leaf_len] | record path, 32 bytes a hash
//! ```
//! `place` is the record's place in its block, from 0.
//!
//! # Invariants
//! * A proof holds for exactly one record: every byte of it is either checked or has one legal value.

use core::mem::offset_of;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytemuck::{Pod, Zeroable};
use thiserror::Error as ThisError;
use wattbook_types::tree::{inclusion_proof, leaf_hash, verify_consistency, verify_inclusion};
use wattbook_types::{ChainId, Hash};

use crate::block::{BlockHeader, HEADER_SIZE, RawBlockHeader};
use crate::error::{Error, FaultKind};
use crate::index::HeaderIndex;
use crate::note::{Checkpoint, NOTE_SIZE_MAX, Note, NoteError, NoteKey};
use crate::read::Reader;
use crate::segment::SEGMENT_SIZE_MAX;

const HEAD_LINE: &str = "c2sp.org/tlog-proof@v1";
const VERSION: u16 = 1;
/// Most hashes a path can have.
const PATH_LEN_MAX: usize = 64;
/// Largest proof that is looked at, bytes.
const PROOF_SIZE_MAX: usize = 2 * SEGMENT_SIZE_MAX as usize + NOTE_SIZE_MAX;

/// The fixed part of `extra`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct RawExtra {
    version: u16,
    zero: u16,
    leaf_len: u32,
    place: u64,
    header: [u8; HEADER_SIZE],
}

const _: () = {
    assert!(size_of::<RawExtra>() == 368);
    assert!(offset_of!(RawExtra, leaf_len) == 4);
    assert!(offset_of!(RawExtra, place) == 8);
    assert!(offset_of!(RawExtra, header) == 16);
};

/// The fixed part of a record's leaf.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct RawLeaf {
    kind: u16,
    version: u16,
    len: u32,
    seq: u64,
}

const _: () = assert!(size_of::<RawLeaf>() == 16);

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ProofError {
    /// The text is no proof.
    #[error("line {line}: not {expected}")]
    Form {
        /// Which line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// `extra` does not decode.
    #[error("the extra line holds no record and header: {0}")]
    Extra(&'static str),
    /// The checkpoint.
    #[error("the checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The header is of another chain than the checkpoint's origin names.
    #[error("the header belongs to chain {}, the checkpoint to {origin}", found.0)]
    Chain {
        /// Chain of the header.
        found: ChainId,
        /// The checkpoint's origin.
        origin: String,
    },
    /// The index is not the header's height.
    #[error("the proof is of entry {index}, the header of block {height}")]
    Height {
        /// Index of the entry.
        index: u64,
        /// Height in the header.
        height: u64,
    },
    /// The record's number is not the one its place gives it.
    #[error("record {seq} cannot stand at place {place} of its block")]
    Place {
        /// The record.
        seq: u64,
        /// Its place.
        place: u64,
    },
    /// The record's path does not lead to the header's record root.
    #[error("record {seq} is not in block {height}")]
    Record {
        /// The record.
        seq: u64,
        /// The block.
        height: u64,
    },
    /// The header's path does not lead to the checkpoint's root.
    #[error("block {height} is not in the checkpoint of size {size}")]
    Header {
        /// The block.
        height: u64,
        /// Size of the checkpoint.
        size: u64,
    },
    /// Two checkpoints are not of one log.
    #[error("the checkpoints of sizes {first} and {second} are not of one log")]
    Consistency {
        /// The smaller size.
        first: u64,
        /// The greater size.
        second: u64,
    },
}

/// A record, the header of its block, the paths, the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    /// Index of the header in the log of headers.
    pub index: u64,
    /// The header's bytes B.
    pub header: RawBlockHeader,
    /// Place of the record in its block, from 0.
    pub place: u64,
    /// The record's log leaf.
    pub leaf: Vec<u8>,
    /// From the leaf to the header's record root.
    pub record_path: Vec<Hash>,
    /// From the header to the checkpoint's root.
    pub header_path: Vec<Hash>,
    /// The checkpoint.
    pub note: Note,
}

/// What a proof shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven<'a> {
    /// The block.
    pub header: BlockHeader,
    /// Sequence number of the record.
    pub seq: u64,
    /// Its kind.
    pub kind: u16,
    /// Version of its format.
    pub version: u16,
    /// Its payload.
    pub payload: &'a [u8],
    /// The checkpoint it was proved against.
    pub checkpoint: &'a Checkpoint,
}

impl HeaderIndex {
    /// Proves record `seq` under a checkpoint, which must be this log's.
    ///
    /// # Errors
    /// [`Error::NoRecord`], [`Error::NoBlock`] if the checkpoint does not cover it, [`Error::Note`] if the checkpoint is
    /// another log's, [`Error::Damaged`], [`Error::Io`].
    pub fn prove(&mut self, reader: &Reader, seq: u64, note: &Note) -> Result<RecordProof, Error> {
        self.sound(reader, |index| index.try_prove(reader, seq, note))
    }

    fn try_prove(&self, reader: &Reader, seq: u64, note: &Note) -> Result<RecordProof, Error> {
        let checkpoint = note.checkpoint();
        self.want_inclusion(reader, self.height_of(seq)?, checkpoint.size)?;
        self.owns(reader, checkpoint, reader.dir())?;
        let block = self.find(reader, seq)?;
        let (height, place) = (block.header.height, seq - block.header.first_seq);
        let fault = |kind| Error::Damaged(reader.fault(kind, block.offset, height));
        let leaves: Vec<Hash> = block.records.iter().map(|record| leaf_hash(record.leaf)).collect();
        let proof = RecordProof {
            index: height,
            header: block.header.to_raw(),
            place,
            leaf: block.records[place as usize].leaf.to_vec(),
            record_path: inclusion_proof(&leaves, place as usize).ok_or_else(|| fault(FaultKind::RecordCount))?,
            header_path: self.inclusion(height, checkpoint.size)?,
            note: note.clone(),
        };
        // What is given out holds, whatever the index says.
        match proof.check() {
            Ok(_) => Ok(proof),
            Err(ProofError::Chain { found, origin }) => Err(Error::Note {
                path: reader.dir().to_owned(),
                source: NoteError::Origin {
                    found: origin,
                    expected: found.0.to_string(),
                },
            }),
            Err(_) => Err(fault(FaultKind::LogRoot)),
        }
    }
}

impl RecordProof {
    /// Checks everything but signatures: the proof agrees with itself.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check(&self) -> Result<Proven<'_>, ProofError> {
        let header = BlockHeader::from_raw(&self.header).map_err(|_| ProofError::Extra("an unknown header version"))?;
        let checkpoint = self.note.checkpoint();
        if !checkpoint.origin.ends_with(&format!("/{}", header.chain.0)) {
            return Err(ProofError::Chain {
                found: header.chain,
                origin: checkpoint.origin.clone(),
            });
        }
        let (index, height) = (self.index, header.height);
        if index != height {
            return Err(ProofError::Height { index, height });
        }
        let (head, payload) = self
            .leaf
            .split_at_checked(size_of::<RawLeaf>())
            .ok_or(ProofError::Extra("a record too short"))?;
        let head: RawLeaf = bytemuck::pod_read_unaligned(head);
        if head.len as usize != payload.len() {
            return Err(ProofError::Extra("a record of another length"));
        }
        let (seq, place) = (head.seq, self.place);
        if header.first_seq.checked_add(place) != Some(seq) {
            return Err(ProofError::Place { seq, place });
        }
        let leaf = leaf_hash(&self.leaf);
        if !verify_inclusion(leaf, place, header.record_count, &self.record_path, &header.record_root) {
            return Err(ProofError::Record { seq, height });
        }
        let entry = leaf_hash(self.header.as_bytes());
        let size = checkpoint.size;
        if !verify_inclusion(entry, index, size, &self.header_path, &checkpoint.root) {
            return Err(ProofError::Header { height, size });
        }
        Ok(Proven {
            header,
            seq,
            kind: head.kind,
            version: head.version,
            payload,
            checkpoint,
        })
    }

    /// Checks everything, the checkpoint under the log's key.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, key: &NoteKey) -> Result<Proven<'_>, ProofError> {
        self.note.verify(key)?;
        self.check()
    }

    /// Reads a proof; nothing is checked but its form.
    ///
    /// # Errors
    /// [`ProofError::Form`], [`ProofError::Extra`], [`ProofError::Note`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let form = |line, expected| ProofError::Form { line, expected };
        if text.len() > PROOF_SIZE_MAX {
            return Err(form(1, "of a size that any record has"));
        }
        let mut rest = text;
        let mut next = || {
            let (line, tail) = rest.split_once('\n')?;
            rest = tail;
            Some(line)
        };
        if next() != Some(HEAD_LINE) {
            return Err(form(1, HEAD_LINE));
        }
        let extra = next()
            .and_then(|line| line.strip_prefix("extra "))
            .and_then(|text| BASE64_STANDARD.decode(text).ok())
            .ok_or_else(|| form(2, "`extra` and base64"))?;
        let index = next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(|number| number.parse::<u64>().ok().filter(|index| index.to_string() == number))
            .ok_or_else(|| form(3, "`index` and a number"))?;
        let mut header_path = Vec::new();
        loop {
            let line = next().ok_or_else(|| form(4 + header_path.len(), "a hash or an empty line"))?;
            if line.is_empty() {
                break;
            }
            let hash = BASE64_STANDARD
                .decode(line)
                .ok()
                .and_then(|bytes| bytes.try_into().ok());
            let hash = hash
                .filter(|_| header_path.len() < PATH_LEN_MAX)
                .ok_or_else(|| form(4 + header_path.len(), "a hash in base64"))?;
            header_path.push(Hash(hash));
        }
        let note = Note::parse(rest)?;
        let (head, tail) = extra
            .split_at_checked(size_of::<RawExtra>())
            .ok_or(ProofError::Extra("too short"))?;
        let head: RawExtra = bytemuck::pod_read_unaligned(head);
        if head.version != VERSION || head.zero != 0 {
            return Err(ProofError::Extra("an unknown version"));
        }
        let (leaf, path) = tail
            .split_at_checked(head.leaf_len as usize)
            .ok_or(ProofError::Extra("too short for its record"))?;
        let (path, odd) = path.as_chunks::<32>();
        if !odd.is_empty() || path.len() > PATH_LEN_MAX {
            return Err(ProofError::Extra("a path of odd length"));
        }
        Ok(Self {
            index,
            header: bytemuck::cast(head.header),
            place: head.place,
            leaf: leaf.to_vec(),
            record_path: path.iter().copied().map(Hash).collect(),
            header_path,
            note,
        })
    }
}

impl fmt::Display for RecordProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = RawExtra {
            version: VERSION,
            zero: 0,
            // BOUND: a record lies in one segment, at most 2^30 bytes.
            leaf_len: self.leaf.len() as u32,
            place: self.place,
            header: bytemuck::cast(self.header),
        };
        let mut extra = bytemuck::bytes_of(&head).to_vec();
        extra.extend_from_slice(&self.leaf);
        self.record_path
            .iter()
            .for_each(|hash| extra.extend_from_slice(&hash.0));
        writeln!(
            f,
            "{HEAD_LINE}\nextra {}\nindex {}",
            BASE64_STANDARD.encode(extra),
            self.index
        )?;
        for hash in &self.header_path {
            writeln!(f, "{}", BASE64_STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.note)
    }
}

/// Checks that two checkpoints are of one log that only grew.
///
/// # Errors
/// [`ProofError::Consistency`].
pub fn check_consistency(first: &Checkpoint, second: &Checkpoint, path: &[Hash]) -> Result<(), ProofError> {
    let one =
        first.origin == second.origin && verify_consistency(first.size, &first.root, second.size, &second.root, path);
    if one {
        Ok(())
    } else {
        Err(ProofError::Consistency {
            first: first.size,
            second: second.size,
        })
    }
}
