//! Snapshots: what somebody knew after a block, so that a restart need not begin at genesis.
//!
//! # Format
//! ```text
//! magic 8 "wattsnap" | version u16 = 2 | zero u16 | peaks u32 | chain_id 32 | height u64 | length u64 | block_digest 32
//! | peak 32 x peaks | sections u32 | zero u32 | (size u64) x sections | bytes of each section in turn | sha256 32
//! | signature 64
//! ```
//! File `snapshots/HEIGHT.snap`, HEIGHT in 20 digits; little-endian. `length` is the log's length after the block, the
//! peaks are of the headers before it. The digest is over everything before it, the signature Ed25519 by the log key on
//! `D("snapshot", sha256)`. What sections hold is the application's: the ledger knows nothing of markets.
//!
//! # Invariants
//! * A file under its name is whole: it is written under another, made durable, then renamed; the commit entries written
//!   before it are durable by then. A writing that fails leaves nothing.
//! * Every byte of it, what no root of the block binds too, is what the log key signed.
//! * A snapshot is a copy of what the log says. It is never evidence: nothing is lost with it, and whoever loads one
//!   holds it against the block it names.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use wattbook_types::{ChainId, Hash, digest};

use crate::anchor::{Anchor, Claim};
use crate::error::{Error, Fault, FaultKind};
use crate::files::{COMMITS_FILE, count_segments, sync_dir};
use crate::log::{Log, recorded_segment_size};

/// Folder of the snapshots in a ledger's directory.
pub const SNAPSHOTS_DIR: &str = "snapshots";
const SUFFIX: &str = "snap";
const MAGIC: [u8; 8] = *b"wattsnap";
const DRAFT_SUFFIX: &str = "tmp";
const VERSION: u16 = 2;
const DIGEST_SIZE: usize = 32;
const SIGNATURE_SIZE: usize = 64;

/// A snapshot as it was read: whole, but not yet held against the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    claim: Claim,
    bytes: Vec<u8>,
    /// Where each section lies in `bytes`.
    sections: Vec<(usize, usize)>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("claim", &self.claim)
            .field("size", &self.bytes.len())
            .finish()
    }
}

fn path_of(dir: &Path, height: u64) -> PathBuf {
    dir.join(SNAPSHOTS_DIR).join(format!("{height:020}.{SUFFIX}"))
}

/// What the log key signs of a snapshot.
fn signed(chain: ChainId, sha256: &[u8; DIGEST_SIZE]) -> Hash {
    digest(chain, "snapshot", &[sha256])
}

/// Makes the commit entries written so far durable: a snapshot whose block has lost its entry is of no use.
fn sync_entries(dir: &Path) -> Result<(), Error> {
    let path = dir.join(COMMITS_FILE);
    match File::open(&path).and_then(|file| file.sync_data()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("sync", path)(error)),
        _ => Ok(()),
    }
}

/// Writes and hashes.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Snapshot {
    /// Writes the snapshot of a block durably: each section in pieces, signed with the log key. Returns its size, bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; a snapshot that was there stays, and of this one nothing.
    pub fn write(
        dir: &Path,
        key: &SigningKey,
        chain: ChainId,
        claim: &Claim,
        sections: &[Vec<&[u8]>],
    ) -> Result<u64, Error> {
        let folder = dir.join(SNAPSHOTS_DIR);
        std::fs::create_dir_all(&folder).map_err(Error::io("create the directory", &folder))?;
        let path = path_of(dir, claim.height);
        let draft = path.with_extension(DRAFT_SUFFIX);
        let written = Self::put(&draft, key, chain, claim, sections).and_then(|size| {
            sync_entries(dir)?;
            std::fs::rename(&draft, &path).map_err(Error::io("name the snapshot", &path))?;
            sync_dir(&folder)?;
            Ok(size)
        });
        if written.is_err() {
            // Where even that fails, pruning removes it.
            let _ = std::fs::remove_file(&draft);
        }
        written
    }

    fn put(
        draft: &Path,
        key: &SigningKey,
        chain: ChainId,
        claim: &Claim,
        sections: &[Vec<&[u8]>],
    ) -> Result<u64, Error> {
        let written = File::create(draft).and_then(|file| {
            let mut out = Hashing {
                inner: BufWriter::with_capacity(1 << 20, file),
                hasher: Sha256::new(),
                size: 0,
            };
            out.write_all(&MAGIC)?;
            out.write_all(&u32::from(VERSION).to_le_bytes())?;
            out.write_all(&(claim.peaks.len() as u32).to_le_bytes())?;
            out.write_all(&chain.0.0)?;
            out.write_all(&claim.height.to_le_bytes())?;
            out.write_all(&claim.length.to_le_bytes())?;
            out.write_all(&claim.digest.0)?;
            for peak in &claim.peaks {
                out.write_all(&peak.0)?;
            }
            out.write_all(&(sections.len() as u64).to_le_bytes())?;
            for parts in sections {
                let size: usize = parts.iter().map(|part| part.len()).sum();
                out.write_all(&(size as u64).to_le_bytes())?;
            }
            for part in sections.iter().flatten() {
                out.write_all(part)?;
            }
            let digest: [u8; DIGEST_SIZE] = out.hasher.clone().finalize().into();
            out.write_all(&digest)?;
            out.write_all(&key.sign(&signed(chain, &digest).0).to_bytes())?;
            out.flush()?;
            out.inner.get_ref().sync_all()?;
            Ok(out.size)
        });
        written.map_err(Error::io("write the snapshot", draft))
    }

    /// Heights and files of the snapshots in `dir`, newest first. Names that no snapshot has are passed over.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
        let folder = dir.join(SNAPSHOTS_DIR);
        let items = match std::fs::read_dir(&folder) {
            Ok(items) => items,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &folder)(error)),
        };
        let mut found = Vec::new();
        for item in items {
            let path = item.map_err(Error::io("list", &folder))?.path();
            let height = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if let Some(height) = height.filter(|height| path == path_of(dir, *height)) {
                found.push((height, path));
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// What interrupted writings left.
    fn drafts(dir: &Path) -> Result<Vec<PathBuf>, Error> {
        let folder = dir.join(SNAPSHOTS_DIR);
        let Ok(items) = std::fs::read_dir(&folder) else {
            return Ok(Vec::new());
        };
        let paths = items.map(|item| item.map(|item| item.path()));
        let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(Error::io("list", &folder))?;
        let is_draft = |path: &PathBuf| {
            let height = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            height.is_some_and(|height| *path == path_of(dir, height).with_extension(DRAFT_SUFFIX))
        };
        Ok(paths.into_iter().filter(is_draft).collect())
    }

    /// Removes all but the newest `keep` snapshots, and what an interrupted writing left; how many files. Nobody may be
    /// writing one meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn prune(dir: &Path, keep: usize) -> Result<usize, Error> {
        let list = Self::list(dir)?;
        let old = list.into_iter().skip(keep).map(|(_, path)| path);
        let old: Vec<PathBuf> = old.chain(Self::drafts(dir)?).collect();
        let count = old.len();
        for path in old {
            std::fs::remove_file(&path).map_err(Error::io("remove the old snapshot", &path))?;
        }
        if count > 0 {
            sync_dir(&dir.join(SNAPSHOTS_DIR))?;
        }
        Ok(count)
    }

    /// Reads the snapshot file at `path` of a chain; every byte of it is checked, and the log key's signature.
    ///
    /// # Errors
    /// [`FaultKind::Snapshot`] where it is damaged, of another chain, or nobody's, or that it cannot be read.
    pub fn read(path: &Path, chain: ChainId, key: &VerifyingKey) -> Result<Self, Fault> {
        let bytes = std::fs::read(path).map_err(|source| Fault::unreadable(path, &source))?;
        Self::parse(bytes, chain, key).map_err(|at| Fault::new(FaultKind::Snapshot, path, at as u64))
    }

    /// The snapshot in these bytes, or the offset of the first field that is wrong.
    fn parse(bytes: Vec<u8>, chain: ChainId, key: &VerifyingKey) -> Result<Self, usize> {
        let end = bytes
            .len()
            .checked_sub(DIGEST_SIZE + SIGNATURE_SIZE)
            .ok_or(bytes.len())?;
        let mut at = 0;
        let mut take = |len: usize| -> Result<&[u8], usize> {
            let until = at + len;
            let field = bytes[..end].get(at..until).ok_or(at)?;
            at = until;
            Ok(field)
        };
        let number = |field: &[u8]| field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let hash = |field: &[u8]| Hash(field.try_into().unwrap_or_default());
        let head = take(16)?;
        let known = head[..8] == MAGIC && number(&head[8..12]) == u64::from(VERSION);
        if !known {
            return Err(0);
        }
        let peaks_len = number(&head[12..16]);
        if hash(take(32)?) != chain.0 {
            return Err(16);
        }
        let (height, length) = (number(take(8)?), number(take(8)?));
        let digest = hash(take(32)?);
        if peaks_len != u64::from(height.count_ones()) {
            return Err(12);
        }
        let peaks = (0..peaks_len)
            .map(|_| take(32).map(hash))
            .collect::<Result<Vec<_>, _>>()?;
        let count = number(take(8)?);
        let mut sizes = Vec::new();
        for _ in 0..count {
            sizes.push(usize::try_from(number(take(8)?)).unwrap_or(usize::MAX));
        }
        let mut sections = Vec::new();
        for size in sizes {
            let next = at.checked_add(size).filter(|next| *next <= end).ok_or(at)?;
            sections.push((at, next));
            at = next;
        }
        let (sha256, signature) = bytes[end..].split_at(DIGEST_SIZE);
        let found: [u8; DIGEST_SIZE] = Sha256::digest(&bytes[..end]).into();
        if at != end || *sha256 != found {
            return Err(at.min(end));
        }
        let signature = Signature::from_slice(signature).map_err(|_| end + DIGEST_SIZE)?;
        key.verify_strict(&signed(chain, &found).0, &signature)
            .map_err(|_| end + DIGEST_SIZE)?;
        let claim = Claim {
            height,
            length,
            digest,
            peaks,
        };
        Ok(Self { claim, bytes, sections })
    }

    /// Height of its block.
    pub const fn height(&self) -> u64 {
        self.claim.height
    }

    /// Number of sections.
    pub fn sections(&self) -> usize {
        self.sections.len()
    }

    /// The bytes of a section.
    pub fn section(&self, index: usize) -> Option<&[u8]> {
        let (from, to) = *self.sections.get(index)?;
        Some(&self.bytes[from..to])
    }

    /// Holds the snapshot against the block it names in the log of `dir`; the commit entries are not looked at.
    ///
    /// # Errors
    /// What is wrong with the claim, or with the bytes it is about.
    pub fn anchor(&self, dir: &Path, chain: ChainId) -> Result<Anchor, Fault> {
        let size = recorded_segment_size(dir, chain)?;
        let mut log = Log::new(dir, chain, size);
        // Only the segment of that one frame is opened.
        log.promise(count_segments(dir)?)?;
        Anchor::find(&log, chain, &self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_and_every_cut_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let chain = ChainId(Hash([5; 32]));
        let claim = Claim {
            height: 6,
            length: 9_000,
            digest: Hash([7; 32]),
            peaks: vec![Hash([1; 32]), Hash([2; 32])],
        };
        let sections = [vec![b"one".as_slice(), b"two"], vec![], vec![b"three".as_slice()]];
        let (key, other) = (SigningKey::from_bytes(&[3; 32]), SigningKey::from_bytes(&[4; 32]));
        let public = key.verifying_key();
        let size = Snapshot::write(dir.path(), &key, chain, &claim, &sections).unwrap();
        let (height, path) = Snapshot::list(dir.path()).unwrap().remove(0);
        let found = Snapshot::read(&path, chain, &public).unwrap();
        assert_eq!((height, found.height(), found.claim), (6, 6, claim.clone()));
        let again = Snapshot::read(&path, chain, &public).unwrap();
        assert_eq!(again.section(0), Some(b"onetwo".as_slice()));
        assert_eq!((again.section(1), again.section(3)), (Some([].as_slice()), None));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, size);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(Snapshot::parse(flipped, chain, &public).is_err(), "byte {at}");
            assert!(
                Snapshot::parse(bytes[..at].to_vec(), chain, &public).is_err(),
                "cut at {at}"
            );
        }
        assert!(Snapshot::parse([&bytes[..], &[0]].concat(), chain, &public).is_err());
        assert!(Snapshot::parse(bytes.clone(), ChainId::default(), &public).is_err());
        // Whole, but another's.
        assert!(Snapshot::parse(bytes, chain, &other.verifying_key()).is_err());
    }

    #[test]
    fn the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Snapshot::list(dir.path()).unwrap(), []);
        for height in [5, 100, 7] {
            let claim = Claim {
                height,
                length: 9_000,
                digest: Hash::ZERO,
                peaks: vec![Hash::ZERO; height.count_ones() as usize],
            };
            let key = SigningKey::from_bytes(&[3; 32]);
            Snapshot::write(dir.path(), &key, ChainId::default(), &claim, &[]).unwrap();
        }
        let folder = dir.path().join(SNAPSHOTS_DIR);
        let (mine, draft) = (
            folder.join("notes.txt"),
            path_of(dir.path(), 8).with_extension(DRAFT_SUFFIX),
        );
        std::fs::write(&mine, "mine").unwrap();
        std::fs::write(&draft, "half of one").unwrap();
        assert_eq!(Snapshot::prune(dir.path(), 2).unwrap(), 2);
        assert!(mine.exists() && !draft.exists());
        let heights: Vec<u64> = Snapshot::list(dir.path()).unwrap().iter().map(|(h, _)| *h).collect();
        assert_eq!(heights, [100, 7]);
    }

    #[test]
    fn a_writing_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim {
            height: 4,
            length: 9_000,
            digest: Hash::ZERO,
            peaks: vec![Hash::ZERO],
        };
        // A folder has the name.
        std::fs::create_dir_all(path_of(dir.path(), 4).join("not empty")).unwrap();
        let key = SigningKey::from_bytes(&[3; 32]);
        assert!(Snapshot::write(dir.path(), &key, ChainId::default(), &claim, &[]).is_err());
        assert_eq!(std::fs::read_dir(dir.path().join(SNAPSHOTS_DIR)).unwrap().count(), 1);
    }
}
