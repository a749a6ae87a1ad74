//! A file of items of one size, and behind them in memory those that are not written yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Advice, fadvise};

use crate::error::Error;

/// Largest file that is asked for whole when it is opened, bytes.
const WANTED_SIZE_MAX: u64 = 16 << 20;

/// Items of one size: on disk, and behind them in memory.
#[derive(Debug)]
pub(crate) struct Column<const N: usize> {
    path: PathBuf,
    file: Option<File>,
    start: u64,
    kept: u64,
    tail: Vec<[u8; N]>,
}

impl<const N: usize> Column<N> {
    pub(crate) fn open(path: PathBuf, file: Option<File>, start: u64) -> Self {
        let len = file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len());
        if let Some(file) = file.as_ref().filter(|_| len <= WANTED_SIZE_MAX) {
            // Advice only: one reading of a whole file costs a disk less than a search through it.
            let _ = fadvise(file, 0, None, Advice::WillNeed);
        }
        Self {
            path,
            file,
            start,
            kept: len.saturating_sub(start) / N as u64,
            tail: Vec::new(),
        }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.kept + self.tail.len() as u64
    }

    pub(crate) fn get(&self, at: u64) -> Result<[u8; N], Error> {
        let mut item = [0; N];
        match &self.file {
            Some(file) if at < self.kept => file
                .read_exact_at(&mut item, self.start + at * N as u64)
                .map_err(Error::io("read", &self.path))?,
            _ => item = self.tail[(at - self.kept) as usize],
        }
        Ok(item)
    }

    pub(crate) fn truncate(&mut self, len: u64) {
        self.tail.truncate(len.saturating_sub(self.kept) as usize);
        self.kept = self.kept.min(len);
    }

    /// Adds an item, in memory.
    pub(crate) fn push(&mut self, item: [u8; N]) {
        self.tail.push(item);
    }

    /// Bytes that are in memory only.
    pub(crate) const fn tail_size(&self) -> usize {
        self.tail.len() * N
    }

    /// Writes what is in memory behind what is on disk.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.write_all_at(self.tail.as_flattened(), self.start + self.kept * N as u64)?;
            self.kept += self.tail.len() as u64;
            self.tail.clear();
        }
        Ok(())
    }
}
