//! Certificates beside the blocks: which of them a committee made final, in bytes that the ledger does not read.
//!
//! # Format
//! ```text
//! entry[128] = height u64, little-endian | certificate [120]      ascending by height
//! ```
//!
//! # Invariants
//! * Nothing hangs on this file: certificates stay outside every hash, whoever uses one checks it, and what is lost is asked
//!   for again. So no entry is waited for; a tail that a crash tore off is cut off when the file is opened to be written.
//! * A file that is damaged in the middle gives other entries or none, and never a panic.

use crate::error::Error;
use crate::files::CERTIFICATES_FILE;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a certificate.
pub const CERTIFICATE_SIZE: usize = 120;
/// Bytes of an entry.
pub const CERTIFICATE_ENTRY_SIZE: usize = 8 + CERTIFICATE_SIZE;
const ENTRY: u64 = CERTIFICATE_ENTRY_SIZE as u64;

/// The certificates of a ledger, for its one writer.
#[derive(Debug)]
pub struct Certificates {
    file: File,
    path: PathBuf,
    /// Height of the last entry; 0 without one.
    last: u64,
}

impl Certificates {
    /// Opens them, or begins them; entries above `tip` are of blocks that the ledger does not have, and are cut off.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(dir: &Path, tip: u64) -> Result<Self, Error> {
        let path = dir.join(CERTIFICATES_FILE);
        let failed = |action| Error::io(action, path.clone());
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(failed("open"))?;
        let mut count = file.metadata().map_err(failed("read"))?.len() / ENTRY;
        let mut last = 0;
        while count > 0 {
            last = height_at(&file, count - 1).map_err(failed("read"))?;
            if (1..=tip).contains(&last) {
                break;
            }
            (count, last) = (count - 1, 0);
        }
        file.set_len(count * ENTRY).map_err(failed("cut"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("read"))?;
        Ok(Self { file, path, last })
    }

    /// Height of the last one; 0 without one.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Adds that of a block above the last one; another is left out.
    ///
    /// # Errors
    /// The disk's.
    pub fn append(&mut self, height: u64, certificate: &[u8; CERTIFICATE_SIZE]) -> Result<(), Error> {
        if height <= self.last {
            return Ok(());
        }
        let mut entry = [0; CERTIFICATE_ENTRY_SIZE];
        entry[..8].copy_from_slice(&height.to_le_bytes());
        entry[8..].copy_from_slice(certificate);
        self.file
            .write_all(&entry)
            .map_err(Error::io("write", self.path.clone()))?;
        self.last = height;
        Ok(())
    }
}

fn height_at(file: &File, index: u64) -> io::Result<u64> {
    let mut height = [0; 8];
    file.read_exact_at(&mut height, index * ENTRY)?;
    Ok(u64::from_le_bytes(height))
}

/// The newest certificate of a block up to `height`, if there is one; only the end of the file is read.
///
/// # Errors
/// The disk's.
pub fn newest_certificate(dir: &Path, height: u64) -> Result<Option<(u64, [u8; CERTIFICATE_SIZE])>, Error> {
    let path = dir.join(CERTIFICATES_FILE);
    let read = || -> io::Result<Option<(u64, [u8; CERTIFICATE_SIZE])>> {
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut entry = [0; CERTIFICATE_ENTRY_SIZE];
        for index in (0..file.metadata()?.len() / ENTRY).rev() {
            file.read_exact_at(&mut entry, index * ENTRY)?;
            if (1..=height).contains(&height_of(&entry)) {
                return Ok(entry.last_chunk().map(|certificate| (height_of(&entry), *certificate)));
            }
        }
        Ok(None)
    };
    read().map_err(Error::io("read", path.clone()))
}

/// The certificates that a ledger has now, for anybody, beside a running node too.
#[derive(Debug)]
pub struct CertificateReader {
    entries: Vec<[u8; CERTIFICATE_ENTRY_SIZE]>,
}

impl CertificateReader {
    /// Reads them; a ledger without any has none.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(CERTIFICATES_FILE);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
        let (entries, _torn) = bytes.as_chunks::<CERTIFICATE_ENTRY_SIZE>();
        Ok(Self {
            entries: entries.to_vec(),
        })
    }

    /// That of a block.
    pub fn of(&self, height: u64) -> Option<&[u8; CERTIFICATE_SIZE]> {
        self.at_or_above(height)
            .filter(|(found, _)| *found == height)
            .map(|(_, certificate)| certificate)
    }

    /// The first at a height or above it: it proves the blocks below it, parent by parent.
    pub fn at_or_above(&self, height: u64) -> Option<(u64, &[u8; CERTIFICATE_SIZE])> {
        let at = self.entries.partition_point(|entry| height_of(entry) < height);
        let entry = self.entries.get(at)?;
        let found = height_of(entry);
        (found >= height).then_some((found, entry.last_chunk()?))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn height_of(entry: &[u8; CERTIFICATE_ENTRY_SIZE]) -> u64 {
    entry.first_chunk().map_or(0, |height| u64::from_le_bytes(*height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn certificate(height: u64) -> [u8; CERTIFICATE_SIZE] {
        [height as u8; CERTIFICATE_SIZE]
    }

    fn written(dir: &Path, heights: &[u64]) {
        let mut certificates = Certificates::open(dir, u64::MAX).unwrap();
        for height in heights {
            certificates.append(*height, &certificate(*height)).unwrap();
        }
    }

    #[test]
    fn what_was_appended_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(CertificateReader::open(dir.path()).unwrap().is_empty());
        written(dir.path(), &[1, 2, 4, 4, 3, 9]);
        let reader = CertificateReader::open(dir.path()).unwrap();
        assert_eq!(reader.len(), 4);
        for (height, newest) in [(0, None), (1, Some(1)), (3, Some(2)), (8, Some(4)), (99, Some(9))] {
            let expected = newest.map(|newest| (newest, certificate(newest)));
            assert_eq!(newest_certificate(dir.path(), height).unwrap(), expected);
        }
        for height in 0..12 {
            let is_there = [1, 2, 4, 9].contains(&height);
            assert_eq!(reader.of(height).is_some(), is_there, "{height}");
            let next = [1, 2, 4, 9].into_iter().find(|next| *next >= height);
            let expected = next.map(|next| (next, certificate(next)));
            assert_eq!(reader.at_or_above(height).map(|(at, bytes)| (at, *bytes)), expected);
        }
        // Cut at every byte: the whole entries stay, and appending goes on.
        let path = dir.path().join(CERTIFICATES_FILE);
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let count = len / CERTIFICATE_ENTRY_SIZE;
            assert_eq!(CertificateReader::open(dir.path()).unwrap().len(), count);
            let mut writer = Certificates::open(dir.path(), u64::MAX).unwrap();
            assert_eq!(writer.last(), [0, 1, 2, 4][count]);
            writer.append(20, &certificate(20)).unwrap();
            let reader = CertificateReader::open(dir.path()).unwrap();
            assert_eq!((reader.len(), reader.of(20)), (count + 1, Some(&certificate(20))));
        }
        // What the ledger does not have is not kept.
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Certificates::open(dir.path(), 8).unwrap().last(), 4);
        assert_eq!(Certificates::open(dir.path(), 0).unwrap().last(), 0);
        assert!(CertificateReader::open(dir.path()).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn damage_gives_no_panic_and_no_wrong_height(bytes in proptest::collection::vec(any::<u8>(), 0..900), height in any::<u64>()) {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(CERTIFICATES_FILE), &bytes).unwrap();
            let reader = CertificateReader::open(dir.path()).unwrap();
            for height in [height, height % 8] {
                prop_assert!(reader.at_or_above(height).is_none_or(|(found, _)| found >= height));
                let _ = reader.of(height);
            }
            let writer = Certificates::open(dir.path(), 1 << 40).unwrap();
            prop_assert!(writer.last() <= 1 << 40);
        }
    }
}
