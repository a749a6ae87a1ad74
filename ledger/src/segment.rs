//! One segment file: preallocated, memory-mapped, made durable by range. The only room of this crate with `unsafe`.
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
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};
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

/// Writes zeros over what `preallocate` reserved.
fn write_zeros(file: &File, size: u64) -> io::Result<()> {
    let zeros = vec![0; (size as usize).min(1 << 20)];
    let mut at = 0;
    while at < size {
        let step = (size - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..step as usize], at)?;
        at += step;
    }
    Ok(())
}

impl Segment {
    /// Creates, preallocates and makes durable the segment file at `path`; leaves nothing behind on failure.
    pub(crate) fn create(path: &Path, index: u64, size: u64, chain: ChainId, watch: Watch) -> Result<Self, Error> {
        // The first one is made before there is a writer that could wait for it.
        Self::make(path, index, size, chain, watch, index == 0)
    }

    /// Creates a segment file as [`Self::create`] does, in place of any there, and writes its zeros, so that syncing a
    /// range of it later moves that range's bytes and no metadata.
    pub(crate) fn prepare(path: &Path, index: u64, size: u64, chain: ChainId, watch: Watch) -> Result<Self, Error> {
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(source)),
            _ => Self::make(path, index, size, chain, watch, true),
        }
    }

    fn make(path: &Path, index: u64, size: u64, chain: ChainId, watch: Watch, zeros: bool) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(Error::room("create the segment", path))?;
        let header = RawSegmentHeader::new(index, size, chain);
        let filled = watch(DiskCall::Allocate { path, size })
            .and_then(|()| preallocate(&file, size))
            .and_then(|()| if zeros { write_zeros(&file, size) } else { Ok(()) })
            .and_then(|()| file.write_all_at(bytemuck::bytes_of(&header), 0))
            .map_err(Error::room("preallocate the segment", path))
            .and_then(|()| {
                watch(DiskCall::SyncFile { path })
                    .and_then(|()| file.sync_all())
                    .and_then(|()| MmapOptions::new().map_raw(&file))
                    .map_err(Error::io("make the segment durable", path))
            });
        match filled {
            Ok(map) => Ok(Self {
                path: path.to_owned(),
                map: Arc::new(map),
            }),
            Err(error) => {
                // Best effort: the failure being reported matters more than what is left of the file.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
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
        // lock shared. A foreign process that shortens the file under us raises SIGBUS and ends this process.
        unsafe { core::slice::from_raw_parts(self.map.as_ptr().add(start), len) }
    }

    /// Writes `bytes` at `at`.
    ///
    /// # Panics
    /// If the range leaves the segment.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let start = self.bounds(at, bytes.len());
        // SAFETY: `bounds` proved the target lies in the mapping, which `create` or `open(writable)` made writable
        // (callers write only to the store's segments). `&mut self` excludes every slice given out by this mapping,
        // so `bytes` cannot overlap the target; the exclusive directory lock excludes every other writer. Others that
        // share the mapping (`range`, `map`) only sync it or advise on it and never look at its bytes.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(start), bytes.len()) }
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

    /// The mapping.
    pub(crate) fn map(&self) -> Arc<MmapRaw> {
        Arc::clone(&self.map)
    }
}
