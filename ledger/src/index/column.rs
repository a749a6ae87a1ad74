//! Items of one size, on disk and behind them in memory; rows of blocks, and the order of the tree's nodes.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Advice, fadvise};

use crate::error::Error;

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) first_seq: u64,
    pub(super) offset: u64,
    pub(super) end: u64,
}

pub(super) const ROW_SIZE: usize = 24;
/// Rows that one read brings while a row is searched for: less than a page.
pub(super) const WINDOW: u64 = 128;

impl Row {
    pub(super) fn to_bytes(self) -> [u8; ROW_SIZE] {
        bytemuck::cast([self.first_seq, self.offset, self.end])
    }

    pub(super) fn from_bytes(bytes: [u8; ROW_SIZE]) -> Self {
        let [first_seq, offset, end] = bytemuck::cast(bytes);
        Self { first_seq, offset, end }
    }
}

/// Items of one size: on disk, and behind them in memory.
#[derive(Debug)]
pub(super) struct Column<const N: usize> {
    path: PathBuf,
    file: Option<File>,
    start: u64,
    kept: u64,
    pub(super) tail: Vec<[u8; N]>,
}

impl<const N: usize> Column<N> {
    pub(super) fn open(path: PathBuf, file: Option<File>, start: u64) -> Self {
        let len = file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len());
        Self {
            path,
            file,
            start,
            kept: len.saturating_sub(start) / N as u64,
            tail: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> u64 {
        self.kept + self.tail.len() as u64
    }

    pub(super) fn get(&self, at: u64) -> Result<[u8; N], Error> {
        let mut item = [0; N];
        match &self.file {
            Some(file) if at < self.kept => file
                .read_exact_at(&mut item, self.start + at * N as u64)
                .map_err(Error::io("read", &self.path))?,
            _ => item = self.tail[(at - self.kept) as usize],
        }
        Ok(item)
    }

    /// `len` items from `at` on, which are there.
    pub(super) fn window(&self, at: u64, len: u64) -> Result<Vec<[u8; N]>, Error> {
        let mut items = vec![[0; N]; len as usize];
        let on_disk = self.kept.saturating_sub(at).min(len);
        let (disk, memory) = items.split_at_mut(on_disk as usize);
        if let Some(file) = self.file.as_ref().filter(|_| on_disk > 0) {
            file.read_exact_at(disk.as_flattened_mut(), self.start + at * N as u64)
                .map_err(Error::io("read", &self.path))?;
        }
        let from = (at + on_disk - self.kept.min(at + on_disk)) as usize;
        memory.copy_from_slice(&self.tail[from..from + memory.len()]);
        Ok(items)
    }

    /// Says that an item will be read, so that reads of several places run side by side; advice only.
    pub(super) fn want(&self, at: u64) {
        if let Some(file) = self.file.as_ref().filter(|_| at < self.kept) {
            let _ = fadvise(
                file,
                self.start + at * N as u64,
                NonZeroU64::new(N as u64),
                Advice::WillNeed,
            );
        }
    }

    pub(super) fn truncate(&mut self, len: u64) {
        self.tail.truncate(len.saturating_sub(self.kept) as usize);
        self.kept = self.kept.min(len);
    }

    /// Writes what is in memory behind what is on disk.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.write_all_at(self.tail.as_flattened(), self.start + self.kept * N as u64)?;
            self.kept += self.tail.len() as u64;
            self.tail.clear();
        }
        Ok(())
    }
}

/// Number of nodes before node `n` of level `level`, in the order in which they become complete.
pub(super) const fn node_place(level: u32, n: u64) -> u64 {
    // Leaf `n 2^level + 2^level - 1` completes it, `level` nodes after that leaf.
    let leaf = (n << level) + (1 << level) - 1;
    node_count(leaf) + level as u64
}

/// Number of complete nodes over `size` leaves.
pub(super) const fn node_count(size: u64) -> u64 {
    2 * size - size.count_ones() as u64
}
