//! One segment file: preallocated, memory-mapped, made durable by range. A room of this crate with `unsafe`.
//!
//! # Format
//! ```text
//! magic 8 "wattseg1" | version u16 = 1 | zero u16 | crc32c u32 | index u64 | segment_size u64 | chain_id 32 | frames
//! ```
//! The checksum is CRC-32C over the header's other 60 bytes.
//!
//! # Invariants
//! * A mapping is exactly as long as its file was when it was mapped, and as its header says.
//! * Bytes below the published end never change; a writer changes only bytes beyond it, through `&mut`.
#![allow(unsafe_code)]

use core::mem::{offset_of, size_of};
use core::num::NonZeroU64;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use wattbook_types::ChainId;

use crate::disk::{DiskCall, SyncRange, Watch};
use crate::error::{Error, Fault, FaultKind};

const MAGIC: [u8; 8] = *b"wattseg1";
const VERSION: u16 = 1;

/// Smallest segment, bytes; also what every segment size is a multiple of.
pub const SEGMENT_SIZE_MIN: u64 = 4096;
/// Largest segment, bytes.
pub const SEGMENT_SIZE_MAX: u64 = 1 << 30;

/// The header of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RawSegmentHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u16,
    pub(crate) zero: u16,
    pub(crate) crc32c: u32,
    pub(crate) index: u64,
    pub(crate) segment_size: u64,
    pub(crate) chain_id: [u8; 32],
}

/// Size of a segment's header, bytes.
pub const SEGMENT_HEADER_SIZE: u64 = size_of::<RawSegmentHeader>() as u64;

const CRC_AT: Range<usize> = offset_of!(RawSegmentHeader, crc32c)..offset_of!(RawSegmentHeader, index);

const _: () = {
    assert!(size_of::<RawSegmentHeader>() == 64);
    assert!(offset_of!(RawSegmentHeader, version) == 8);
    assert!(offset_of!(RawSegmentHeader, zero) == 10);
    assert!(CRC_AT.start == 12 && CRC_AT.end == 16);
    assert!(offset_of!(RawSegmentHeader, segment_size) == 24);
    assert!(offset_of!(RawSegmentHeader, chain_id) == 32);
};

/// Whether segments may have this size.
pub(crate) const fn is_segment_size(size: u64) -> bool {
    size >= SEGMENT_SIZE_MIN && size <= SEGMENT_SIZE_MAX && size.is_multiple_of(SEGMENT_SIZE_MIN)
}

impl RawSegmentHeader {
    fn new(index: u64, segment_size: u64, chain: ChainId) -> Self {
        let mut header = Self {
            magic: MAGIC,
            version: VERSION,
            zero: 0,
            crc32c: 0,
            index,
            segment_size,
            chain_id: chain.0.0,
        };
        header.crc32c = header.checksum();
        header
    }

    fn checksum(&self) -> u32 {
        let bytes = bytemuck::bytes_of(self);
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT.start]), &bytes[CRC_AT.end..])
    }

    /// The bytes of a segment's header.
    pub(crate) fn of(index: u64, segment_size: u64, chain: ChainId) -> [u8; SEGMENT_HEADER_SIZE as usize] {
        bytemuck::cast(Self::new(index, segment_size, chain))
    }

    /// Reads the header of the segment file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let mut header = Self::zeroed();
        let file = File::open(path).map_err(|source| Fault::unreadable(path, &source))?;
        file.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0)
            .map_err(|source| {
                let kind = match source.kind() {
                    io::ErrorKind::UnexpectedEof => FaultKind::FileSize,
                    _ => FaultKind::Unreadable,
                };
                Fault::new(kind, path, 0)
            })?;
        let sound = header.magic == MAGIC
            && header.version == VERSION
            && header.zero == 0
            && header.crc32c == header.checksum()
            && is_segment_size(header.segment_size);
        if sound {
            Ok(header)
        } else {
            Err(Fault::new(FaultKind::SegmentHeader, path, 0))
        }
    }

    /// Reads the header of the segment file at `path` and compares it with what it must be.
    pub(crate) fn expect(path: &Path, index: u64, segment_size: u64, chain: ChainId) -> Result<(), Fault> {
        let header = Self::read(path)?;
        if header == Self::new(index, segment_size, chain) {
            Ok(())
        } else {
            Err(Fault::new(
                FaultKind::SegmentHeader,
                path,
                offset_of!(Self, index) as u64,
            ))
        }
    }
}

/// A segment file that is being made; removed if it is dropped before it is finished.
#[derive(Debug)]
pub(crate) struct Blank {
    path: PathBuf,
    file: File,
    header: RawSegmentHeader,
    filled: u64,
    watch: Watch,
    finished: bool,
}

impl Blank {
    /// Creates and preallocates the segment file at `path`.
    pub(crate) fn create(path: &Path, index: u64, size: u64, chain: ChainId, watch: Watch) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(Error::room("create the segment", path))?;
        let blank = Self {
            path: path.to_owned(),
            file,
            header: RawSegmentHeader::new(index, size, chain),
            filled: 0,
            watch,
            finished: false,
        };
        watch(DiskCall::Allocate { path, size })
            .and_then(|()| preallocate(&blank.file, size))
            .map_err(Error::room("preallocate the segment", path))?;
        Ok(blank)
    }

    /// How far zeros have been written, bytes.
    pub(crate) const fn filled(&self) -> u64 {
        self.filled
    }

    /// Writes zeros up to an offset, so that syncing a range of the segment later moves that range's bytes and no
    /// metadata; the kernel begins to move them to the disk at once.
    pub(crate) fn fill(&mut self, until: u64) -> Result<(), Error> {
        let until = until.min(self.header.segment_size);
        if let Some(len) = NonZeroU64::new(until.saturating_sub(self.filled)) {
            write_zeros(&self.file, self.filled, until).map_err(Error::room("write zeros to", &self.path))?;
            // Advice only: without it the bytes move when the segment is finished.
            let _ = fadvise(&self.file, self.filled, Some(len), Advice::DontNeed);
            self.filled = until;
        }
        Ok(())
    }

    /// Writes the header, makes the file durable and maps it.
    pub(crate) fn finish(mut self) -> Result<Segment, Error> {
        let path = self.path.as_path();
        (self.file.write_all_at(bytemuck::bytes_of(&self.header), 0))
            .map_err(Error::room("preallocate the segment", path))?;
        let map = (self.watch)(DiskCall::SyncFile { path })
            .and_then(|()| self.file.sync_all())
            .and_then(|()| MmapOptions::new().map_raw(&self.file))
            .map_err(Error::io("make the segment durable", path))?;
        self.finished = true;
        Ok(Segment {
            path: self.path.clone(),
            map: Arc::new(map),
        })
    }
}

impl Drop for Blank {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: whatever went wrong matters more than what is left of the file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A mapped segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    map: Arc<MmapRaw>,
}

/// Reserves `size` bytes of disk for `file`, reading as zero.
pub(crate) fn preallocate(file: &File, size: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            // A file system without fallocate: zeros written now take the same room.
            let from = file.metadata()?.len();
            let zeros = vec![0; SEGMENT_SIZE_MIN as usize];
            let mut at = from;
            while at < size {
                let step = (size - at).min(zeros.len() as u64);
                file.write_all_at(&zeros[..step as usize], at)?;
                at += step;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Reserves disk for a file up to `size` without changing its length, where the file system can.
pub(crate) fn reserve(file: &File, size: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

/// How many zeros are written at a time, bytes. The page cache keeps what is written together together, and writes back
/// whole pieces: larger ones make the sync of a small group move its neighbours as well, smaller ones make the first
/// write to each dearer.
pub(crate) const ZEROS_SIZE: u64 = 16 << 10;

/// Writes zeros over what `preallocate` reserved, from an offset on; the header is no zeros.
pub(crate) fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; ZEROS_SIZE as usize];
    let mut at = from;
    while at < to {
        let step = (to - at).min(ZEROS_SIZE);
        file.write_all_at(&zeros[..step as usize], at)?;
        at += step;
    }
    Ok(())
}

/// Copies `head` and `payload` to `target` and gives their CRC-32C in the same pass: the copy hides behind the latency of
/// the checksum instruction, and small frames need no second look.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn copy_summed(target: &mut [u8], head: &[u64; 2], payload: &[u8], crc: u32) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let mut sum = u64::from(!crc);
    let (front, body) = target.split_at_mut(size_of_val(head));
    front.copy_from_slice(bytemuck::bytes_of(head));
    for word in head {
        sum = _mm_crc32_u64(sum, *word);
    }
    let (words, rest) = payload.as_chunks::<8>();
    let (places, end) = body.as_chunks_mut::<8>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = *word;
        sum = _mm_crc32_u64(sum, u64::from_le_bytes(*word));
    }
    for (place, byte) in end.iter_mut().zip(rest) {
        *place = *byte;
        sum = u64::from(_mm_crc32_u8(sum as u32, *byte));
    }
    !(sum as u32)
}

impl Segment {
    /// Creates, preallocates and makes durable the segment file at `path`; leaves nothing behind on failure.
    pub(crate) fn create(path: &Path, index: u64, size: u64, chain: ChainId, watch: Watch) -> Result<Self, Error> {
        let mut blank = Blank::create(path, index, size, chain, watch)?;
        // The first one is made before there is a writer that could wait for it.
        if index == 0 {
            blank.fill(size)?;
        }
        blank.finish()
    }

    /// Gives the file another name.
    pub(crate) fn rename(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        Ok(())
    }

    /// Maps the segment file at `path` after comparing its size and header.
    pub(crate) fn open(path: &Path, index: u64, size: u64, chain: ChainId, writable: bool) -> Result<Self, Fault> {
        let unreadable = |source: io::Error| Fault::unreadable(path, &source);
        let file = OpenOptions::new()
            .read(true)
            .write(writable)
            .open(path)
            .map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?.len();
        if found != size {
            return Err(Fault::new(FaultKind::FileSize, path, found.min(size)));
        }
        RawSegmentHeader::expect(path, index, size, chain)?;
        let map = if writable {
            MmapOptions::new().map_raw(&file)
        } else {
            MmapOptions::new().map_raw_read_only(&file)
        };
        let map = map.map_err(unreadable)?;
        // The file may have changed size since it was asked; what is mapped decides.
        if map.len() as u64 != size {
            return Err(Fault::new(FaultKind::FileSize, path, (map.len() as u64).min(size)));
        }
        Ok(Self {
            path: path.to_owned(),
            map: Arc::new(map),
        })
    }

    /// A copy in memory of a segment file that was cut short, filled up with zeros.
    pub(crate) fn padded(path: &Path, size: u64) -> Result<Self, Fault> {
        let unreadable = |source: io::Error| Fault::unreadable(path, &source);
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let mut map = MmapOptions::new().len(size as usize).map_anon().map_err(unreadable)?;
        let kept = bytes.len().min(map.len());
        map[..kept].copy_from_slice(&bytes[..kept]);
        Ok(Self {
            path: path.to_owned(),
            map: Arc::new(map.into()),
        })
    }

    /// Checks a range against the mapping.
    #[inline]
    fn bounds(&self, at: u64, len: usize) -> usize {
        let fits = at
            .checked_add(len as u64)
            .is_some_and(|end| end <= self.map.len() as u64);
        assert!(fits, "{len} bytes at {at} leave a segment of {}", self.map.len());
        at as usize
    }

    /// `len` bytes at `at`.
    ///
    /// # Panics
    /// If the range leaves the segment.
    pub(crate) fn bytes(&self, at: u64, len: usize) -> &[u8] {
        let start = self.bounds(at, len);
        // SAFETY: `bounds` proved the range lies in the mapping, which lives as long as `self`. The bytes hold still
        // while the slice lives: through this mapping only `&mut self` writes; other mappings of the file belong to
        // readers, which never write, or to the one writer, which holds the exclusive lock and writes only beyond
        // the published end, while a reader beside it stays below that end, and one that reads everything holds the
        // lock shared. A foreign process that shortens the file under us raises SIGBUS, which never returns here (`sigbus.rs`).
        unsafe { core::slice::from_raw_parts(self.map.as_ptr().add(start), len) }
    }

    /// Writes `bytes` at `at`.
    ///
    /// # Panics
    /// If the range leaves the segment.
    #[inline]
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let start = self.bounds(at, bytes.len());
        // SAFETY: `bounds` proved the target lies in the mapping, which `create` or `open(writable)` made writable
        // (callers write only to the store's segments). `&mut self` excludes every slice given out by this mapping,
        // so `bytes` cannot overlap the target; the exclusive directory lock excludes every other writer. Others that
        // share the mapping (`range`, `map`) only sync it or advise on it and never look at its bytes.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(start), bytes.len()) }
    }

    /// Writes `head` and `payload` at `at`; gives their CRC-32C, which continues `crc`.
    ///
    /// # Panics
    /// If the range leaves the segment.
    #[inline]
    pub(crate) fn write_summed(&mut self, at: u64, head: &[u64; 2], payload: &[u8], crc: u32) -> u32 {
        let (head_size, len) = (size_of_val(head), size_of_val(head) + payload.len());
        let start = self.bounds(at, len);
        // SAFETY: as for `write`; `&mut self` makes this the only slice of the mapping while it lives.
        let target = unsafe { core::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(start), len) };
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("sse4.2") {
            // SAFETY: the processor has the one feature that the function needs.
            return unsafe { copy_summed(target, head, payload, crc) };
        }
        target[..head_size].copy_from_slice(bytemuck::bytes_of(head));
        target[head_size..].copy_from_slice(payload);
        crc32c::crc32c_append(crc, target)
    }

    /// Zeroes `len` bytes at `at`.
    ///
    /// # Panics
    /// If the range leaves the segment.
    pub(crate) fn zero(&mut self, at: u64, len: usize) {
        let start = self.bounds(at, len);
        // SAFETY: as for `write`.
        unsafe { core::ptr::write_bytes(self.map.as_mut_ptr().add(start), 0, len) }
    }

    /// `len` bytes at `at`, to be made durable by whoever holds them.
    ///
    /// # Panics
    /// If the range leaves the segment.
    pub(crate) fn range(&self, at: u64, len: u64) -> SyncRange {
        self.bounds(at, len as usize);
        SyncRange {
            path: self.path.clone(),
            map: Arc::clone(&self.map),
            at,
            len,
        }
    }

    /// Says that bytes will be read; advice only.
    pub(crate) fn want(&self, at: u64, len: u64) {
        let _ = (self.map).advise_range(memmap2::Advice::WillNeed, at as usize, len as usize);
    }

    /// The mapping.
    pub(crate) fn map(&self) -> Arc<MmapRaw> {
        Arc::clone(&self.map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_types::Hash;

    #[test]
    fn one_pass_is_copy_and_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let (path, chain) = (dir.path().join("segment"), ChainId(Hash([3; 32])));
        let mut segment = Segment::create(&path, 0, SEGMENT_SIZE_MIN, chain, crate::disk::NO_WATCH).unwrap();
        let bytes: Vec<u8> = (0..200_u8).map(|i| i.wrapping_mul(151)).collect();
        for len in 0..=bytes.len() {
            for crc in [0, 0x4867_4bc7] {
                let (head, payload) = ([len as u64, u64::MAX / 3], &bytes[bytes.len() - len..]);
                let sum = segment.write_summed(1_024, &head, payload, crc);
                let written = segment.bytes(1_024, 16 + len);
                assert_eq!(written[..16], *bytemuck::bytes_of(&head));
                assert_eq!(written[16..], *payload);
                assert_eq!(sum, crc32c::crc32c_append(crc, written));
            }
        }
    }
}
