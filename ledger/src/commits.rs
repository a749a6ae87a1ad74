//! The second file: one signed entry a block, written after the block's bytes are durable.
//!
//! # Format
//! ```text
//! height u64 | length u64 | block_digest 32 | signature 64
//! ```
//! Entry `h` stands at byte `112 h` and is block `h`'s. `length` is the log's length after that block, bytes.
//! The signature is Ed25519 by the log key on `D("commit", height || length || block_digest)`.
//!
//! # Invariants
//! * Any byte of entry `h` on disk proves that block `h` was durable before.

use core::mem::{offset_of, size_of};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use bytemuck::{Pod, Zeroable};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use wattbook_types::{ChainId, Hash, digest};

use crate::error::FaultKind;

/// A block that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Height of the block.
    pub height: u64,
    /// Length of the log after the block, bytes.
    pub length: u64,
    /// Digest of the block.
    pub digest: Hash,
}

/// One entry of the commit file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RawCommit {
    pub(crate) height: u64,
    pub(crate) length: u64,
    pub(crate) block_digest: [u8; 32],
    pub(crate) signature: [u8; 64],
}

/// Size of a commit entry, bytes.
pub const COMMIT_SIZE: u64 = size_of::<RawCommit>() as u64;

const SIGNED: usize = offset_of!(RawCommit, signature);

const _: () = {
    assert!(size_of::<RawCommit>() == 112);
    assert!(offset_of!(RawCommit, length) == 8);
    assert!(offset_of!(RawCommit, block_digest) == 16);
    assert!(SIGNED == 48);
};

impl RawCommit {
    /// The entry of a durable block.
    pub(crate) fn sign(commit: &Commit, chain: ChainId, key: &SigningKey) -> Self {
        let mut entry = Self {
            height: commit.height,
            length: commit.length,
            block_digest: commit.digest.0,
            signature: [0; 64],
        };
        entry.signature = key.sign(&entry.message(chain).0).to_bytes();
        entry
    }

    fn message(&self, chain: ChainId) -> Hash {
        digest(chain, "commit", &[&bytemuck::bytes_of(self)[..SIGNED]])
    }

    /// What the entry says, signature aside.
    pub(crate) const fn commit(&self) -> Commit {
        Commit {
            height: self.height,
            length: self.length,
            digest: Hash(self.block_digest),
        }
    }

    /// Checks the entry at place `height` that follows one with length `before`.
    pub(crate) fn check(
        &self,
        height: u64,
        before: u64,
        chain: ChainId,
        key: &VerifyingKey,
    ) -> Result<Commit, FaultKind> {
        let signature = Signature::from_bytes(&self.signature);
        if key.verify_strict(&self.message(chain).0, &signature).is_err() {
            return Err(FaultKind::CommitSignature);
        }
        if self.height != height || self.length <= before {
            return Err(FaultKind::CommitEntry);
        }
        Ok(self.commit())
    }
}

/// Bytes of the commit file that are in memory at once.
const READ_SIZE: usize = 64 << 10;

/// The entries of a commit file from a height on, however many, read a piece at a time.
#[derive(Debug)]
pub(crate) struct Entries {
    file: BufReader<File>,
    entry: [u8; COMMIT_SIZE as usize],
}

impl Entries {
    pub(crate) fn open(path: &Path, height: u64) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(READ_SIZE, File::open(path)?);
        file.seek(SeekFrom::Start(height * COMMIT_SIZE))?;
        Ok(Self {
            file,
            entry: [0; COMMIT_SIZE as usize],
        })
    }

    /// The bytes of the next entry: fewer where the file ends within one, none at its end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        let mut len = 0;
        while len < self.entry.len() {
            match self.file.read(&mut self.entry[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.entry[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_from_any_height_to_a_part_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("entries");
        let bytes: Vec<u8> = (0..READ_SIZE + 5_000)
            .map(|at| (at / COMMIT_SIZE as usize) as u8)
            .collect();
        std::fs::write(&path, &bytes).unwrap();
        for height in [0, 1, 584, 585, 586, 629, 630, 700] {
            let from = bytes.len().min(height * COMMIT_SIZE as usize);
            let (mut entries, mut found) = (Entries::open(&path, height as u64).unwrap(), Vec::new());
            loop {
                let entry = entries.next().unwrap();
                found.extend_from_slice(entry);
                if entry.len() < COMMIT_SIZE as usize {
                    break;
                }
            }
            assert_eq!(found, bytes[from..], "from {height}");
        }
    }

    #[test]
    fn every_flipped_byte_fails() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let chain = ChainId(Hash([1; 32]));
        let commit = Commit {
            height: 3,
            length: 4096,
            digest: Hash([9; 32]),
        };
        let entry = RawCommit::sign(&commit, chain, &key);
        assert_eq!(entry.check(3, 4088, chain, &key.verifying_key()), Ok(commit));
        assert_eq!(
            entry.check(4, 4088, chain, &key.verifying_key()),
            Err(FaultKind::CommitEntry)
        );
        assert_eq!(
            entry.check(3, 4096, chain, &key.verifying_key()),
            Err(FaultKind::CommitEntry)
        );
        for at in 0..COMMIT_SIZE as usize {
            let mut flipped = entry;
            bytemuck::bytes_of_mut(&mut flipped)[at] ^= 0x80;
            assert_eq!(
                flipped.check(3, 4088, chain, &key.verifying_key()),
                Err(FaultKind::CommitSignature)
            );
        }
    }
}
