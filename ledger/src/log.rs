//! The segments as one address space: placing frames, reading them, and what a byte must be.
//!
//! # Format
//! Log offset `o` is byte `o mod S` of segment `o div S`, S the segment size. Every segment starts with its header. A
//! frame lies in one segment: one that does not fit in what is left starts the next segment, and what is left is zero.
//!
//! # Invariants
//! * The place of a frame follows from the sizes of the frames before it, so every byte of a log is determined.
//! * In a store, every byte from the end of the log to the end of the last segment is zero.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wattbook_types::ChainId;

use crate::ahead::{Ahead, SPARE_FILE, TELL_SIZE};
use crate::disk::{NO_WATCH, SyncRange, Watch, sync_dir};
use crate::error::{Error, Fault, FaultKind};
use crate::files::{GENESIS_FILE, segment_path};
use crate::frame::{CRC_OF_ZERO, FRAME_HEADER_SIZE, LEAF_OFFSET, RawFrameHeader, frame_size};
use crate::retention::Retained;
use crate::segment::{RawSegmentHeader, SEGMENT_HEADER_SIZE, Segment, preallocate};

/// Where the log's first frame stands.
pub(crate) const LOG_START: u64 = SEGMENT_HEADER_SIZE;

/// How far a reading goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// To this length, where a block ends.
    Published(u64),
    /// To wherever the frames end.
    Open,
}

/// One frame, checksum and padding checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) version: u16,
    pub(crate) seq: u64,
    pub(crate) leaf: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) end: u64,
}

/// The segments of one ledger, each mapped when it is first needed.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    /// Where segments that are not in the directory may be.
    archive: Option<PathBuf>,
    chain: ChainId,
    segment_size: u64,
    segments: Vec<OnceLock<Segment>>,
    watch: Watch,
    ahead: Option<Ahead>,
    /// Log offset from which the helper is told that the writer has moved on.
    tell_at: u64,
    /// The segment that was written last.
    tail: Tail,
    /// Whether a segment has a name that is not yet durable.
    renamed: bool,
}

/// Log offsets of one segment; empty before the first write.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    index: usize,
    start: u64,
    end: u64,
}

/// Segment size of the ledger in `dir`, after checking that its genesis is the one given.
pub(crate) fn recorded_segment_size(dir: &Path, chain: ChainId) -> Result<u64, Fault> {
    let first = segment_path(dir, 0);
    let header = match RawSegmentHeader::read(&first) {
        Err(fault) if fault.kind == FaultKind::Missing => {
            RawSegmentHeader::read(&segment_path(dir, Retained::read(dir)?.first()))
        }
        found => found,
    }?;
    if header.chain_id != chain.0.0 {
        return Err(Fault::new(FaultKind::Genesis, dir.join(GENESIS_FILE), 0));
    }
    Ok(header.segment_size)
}

impl Log {
    /// A log without segments.
    pub(crate) fn new(dir: &Path, chain: ChainId, segment_size: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            archive: None,
            chain,
            segment_size,
            segments: Vec::new(),
            watch: NO_WATCH,
            ahead: None,
            tell_at: u64::MAX,
            tail: Tail::default(),
            renamed: false,
        }
    }

    /// Names the folder of segments that were moved off.
    pub(crate) fn archive(&mut self, archive: Option<&Path>) {
        self.archive = archive.map(Path::to_owned);
    }

    /// Maps segments until there are `count`.
    pub(crate) fn map(&mut self, count: u64, writable: bool) -> Result<(), Fault> {
        for index in self.segments.len() as u64..count {
            let segment = self.open(index, writable)?;
            self.segments.push(OnceLock::from(segment));
        }
        Ok(())
    }

    /// Opens a segment, for reading also from the archive.
    fn open(&self, index: u64, writable: bool) -> Result<Segment, Fault> {
        let path = segment_path(&self.dir, index);
        let open = |path: &Path| Segment::open(path, index, self.segment_size, self.chain, writable);
        match (open(&path), &self.archive) {
            (Err(fault), Some(archive)) if fault.kind == FaultKind::Missing && !writable => {
                open(&segment_path(archive, index))
            }
            (Err(fault), _) if fault.kind == FaultKind::Missing => {
                Err(Retained::read(&self.dir)?.fault(index).unwrap_or(fault))
            }
            (opened, _) => opened,
        }
    }

    /// Stands a segment file that was cut short in for its whole, filled up with zeros in memory; the file stays as it is.
    pub(crate) fn map_short(&mut self) -> Result<(), Fault> {
        let path = segment_path(&self.dir, self.segment_count());
        self.segments
            .push(OnceLock::from(Segment::padded(&path, self.segment_size)?));
        Ok(())
    }

    /// Gives the file of the last segment, which was cut short, its size back, and maps it.
    pub(crate) fn restore_last(&mut self) -> Result<(), Error> {
        let count = self.segment_count();
        self.segments.pop();
        restore_size(&segment_path(&self.dir, count - 1), self.segment_size)?;
        Ok(self.map(count, true)?)
    }

    /// Promises `count` segments for reading; a frame's segment is opened, and checked, when the frame is read.
    ///
    /// The last one must be there, so a wrong count is found before room is made for it.
    pub(crate) fn promise(&mut self, count: u64) -> Result<(), Fault> {
        let known = self.segments.len() as u64;
        if count <= known {
            return Ok(());
        }
        let is_there = |index: &u64| segment_path(&self.dir, *index).exists();
        if !is_there(&(count - 1)) && count > Retained::read(&self.dir)?.first() {
            let missing = (known..count).find(|index| !is_there(index)).unwrap_or(count - 1);
            return Err(Fault::new(FaultKind::Missing, segment_path(&self.dir, missing), 0));
        }
        self.segments.resize_with(count as usize, OnceLock::new);
        Ok(())
    }

    /// Promises `count` segments whether they are there or not: a frame of one that is not is a fault of that frame.
    pub(crate) fn promise_any(&mut self, count: u64) {
        self.segments.resize_with(count as usize, OnceLock::new);
    }

    /// Opens the promised segment that holds a log offset.
    fn reach(&self, at: u64) -> Result<(), Fault> {
        let index = at / self.segment_size;
        let Some(slot) = self.segments.get(index as usize) else {
            return Ok(());
        };
        if slot.get().is_none() {
            let segment = self.open(index, false)?;
            // Another thread may have been first; both mappings show the same bytes.
            let _ = slot.set(segment);
        }
        Ok(())
    }

    /// Says that the bytes `from..end` will be read; advice only, and only in the segment where they begin.
    pub(crate) fn want(&self, from: u64, end: u64) {
        let room = self.left(from).min(end.saturating_sub(from));
        if room > 0 && from < self.capacity() && self.reach(from).is_ok() {
            self.segment(from).want(from % self.segment_size, room);
        }
    }

    /// The segment that holds a log offset, which has been reached.
    fn segment(&self, at: u64) -> &Segment {
        match self.segments[(at / self.segment_size) as usize].get() {
            Some(segment) => segment,
            None => unreachable!("a segment is reached before it is read"),
        }
    }

    /// The segment that holds a log offset, to be written.
    fn segment_mut(&mut self, at: u64) -> &mut Segment {
        match self.segments[(at / self.segment_size) as usize].get_mut() {
            Some(segment) => segment,
            None => unreachable!("a store maps every segment"),
        }
    }

    /// Number of mapped segments.
    pub(crate) fn segment_count(&self) -> u64 {
        self.segments.len() as u64
    }

    /// Size of a segment, bytes.
    pub(crate) const fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// Bytes of every mapped segment together.
    pub(crate) fn capacity(&self) -> u64 {
        self.segment_count() * self.segment_size
    }

    /// Number of segments a log of this length has.
    pub(crate) const fn segments_of(&self, length: u64) -> u64 {
        length.div_ceil(self.segment_size)
    }

    /// Largest payload of a record, bytes.
    pub(crate) const fn payload_max(&self) -> u64 {
        self.segment_size - SEGMENT_HEADER_SIZE - FRAME_HEADER_SIZE
    }

    /// Segment and offset in its file of a log offset.
    pub(crate) fn locate(&self, at: u64) -> (PathBuf, u64) {
        let (index, offset) = (at / self.segment_size, at % self.segment_size);
        if offset == 0 && index > 0 && index >= self.segment_count() {
            return (segment_path(&self.dir, index - 1), self.segment_size);
        }
        let path = segment_path(&self.dir, index);
        match &self.archive {
            Some(archive) if !path.exists() => (segment_path(archive, index), offset),
            _ => (path, offset),
        }
    }

    /// A fault at a log offset.
    pub(crate) fn fault(&self, kind: FaultKind, at: u64, height: u64) -> Fault {
        let (file, offset) = self.locate(at);
        Fault::new(kind, file, offset).at_height(height)
    }

    /// `len` bytes at a log offset; they must lie in one mapped segment.
    pub(crate) fn bytes(&self, at: u64, len: u64) -> &[u8] {
        self.segment(at).bytes(at % self.segment_size, len as usize)
    }

    /// Bytes left in the segment where a log of length `at` ends.
    pub(crate) const fn left(&self, at: u64) -> u64 {
        at.next_multiple_of(self.segment_size) - at
    }

    /// Where a frame of `size` bytes stands when the log's length is `at`.
    #[inline]
    pub(crate) const fn place(&self, at: u64, size: u64) -> u64 {
        if self.tail.start < at && at <= self.tail.end && size <= self.tail.end - at {
            return at;
        }
        let left = self.left(at);
        if size <= left {
            at
        } else {
            at + left + SEGMENT_HEADER_SIZE
        }
    }

    /// The first byte of a range in one segment that is not zero.
    pub(crate) fn first_nonzero(&self, at: u64, len: u64) -> Option<u64> {
        if len == 0 {
            return None;
        }
        let bytes = self.bytes(at, len);
        let chunk = bytes
            .chunks(4096)
            .position(|chunk| chunk.iter().fold(0, |any, byte| any | byte) != 0)?;
        let start = chunk * 4096;
        bytes[start..]
            .iter()
            .position(|byte| *byte != 0)
            .map(|found| at + (start + found) as u64)
    }

    /// The frame that follows a log of length `from`; `None` at the end of the log.
    pub(crate) fn frame_at(&self, from: u64, end: End, height: u64) -> Result<Option<Frame<'_>>, Fault> {
        let fault = |kind, at| self.fault(kind, at, height);
        let limit = match end {
            End::Published(length) => length,
            End::Open => self.capacity(),
        };
        let left = self.left(from);
        if from >= limit {
            return Ok(None);
        }
        if from >= self.capacity() {
            return Err(fault(FaultKind::Truncated, from));
        }
        self.reach(from)?;
        let (mut at, mut skipped) = (from, None);
        if left >= FRAME_HEADER_SIZE && limit - from < FRAME_HEADER_SIZE {
            return Err(fault(FaultKind::FrameLength, from));
        }
        if left < FRAME_HEADER_SIZE || self.is_blank(from) {
            if let Some(bad) = self.first_nonzero(from, left.min(limit - from)) {
                return Err(fault(FaultKind::Padding, bad));
            }
            (at, skipped) = (from + left + SEGMENT_HEADER_SIZE, Some(left));
            if at >= limit {
                return Ok(None);
            }
            if at >= self.capacity() {
                return Err(fault(FaultKind::Truncated, from + left));
            }
            if limit - at < FRAME_HEADER_SIZE {
                return Err(fault(FaultKind::FrameLength, at));
            }
            self.reach(at)?;
            if self.is_blank(at) {
                return match self.first_nonzero(at, self.left(at).min(limit - at)) {
                    Some(bad) => Err(fault(FaultKind::Padding, bad)),
                    None => Ok(None),
                };
            }
        }
        let room = self.left(at).min(limit - at);
        debug_assert!(room >= FRAME_HEADER_SIZE, "the fixed part lies below the limit");
        let head: RawFrameHeader = bytemuck::pod_read_unaligned(self.bytes(at, FRAME_HEADER_SIZE));
        let size = frame_size(u64::from(head.len));
        if size > room {
            return Err(fault(FaultKind::FrameLength, at));
        }
        let bytes = self.bytes(at, size);
        let (content, padding) = bytes.split_at((FRAME_HEADER_SIZE + u64::from(head.len)) as usize);
        if crc32c::crc32c(&content[crate::frame::CRC_START..]) != head.crc32c {
            return Err(fault(FaultKind::FrameChecksum, at));
        }
        if head.zero != 0 || padding.iter().any(|byte| *byte != 0) {
            return Err(fault(FaultKind::Padding, at));
        }
        if skipped.is_some_and(|left| size <= left) {
            return Err(fault(FaultKind::Layout, from));
        }
        Ok(Some(Frame {
            kind: head.kind,
            version: head.version,
            seq: head.seq,
            leaf: &content[LEAF_OFFSET..],
            payload: &content[FRAME_HEADER_SIZE as usize..],
            offset: at,
            end: at + size,
        }))
    }

    /// Whether a frame's fixed part is all zero.
    fn is_blank(&self, at: u64) -> bool {
        self.bytes(at, FRAME_HEADER_SIZE).iter().all(|byte| *byte == 0)
    }

    /// Puts a watch between the log and the disk.
    pub(crate) const fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    /// Starts the helper that prepares segments and pages ahead of a writer that stands at `length`.
    pub(crate) fn start_ahead(&mut self, length: u64) -> Result<(), Error> {
        let ahead = Ahead::start(&self.dir, self.segment_size, self.chain, self.watch)
            .map_err(Error::io("start the helper of", &self.dir))?;
        ahead.prepare(self.segment_count());
        self.ahead = Some(ahead);
        self.tell(length.min(self.capacity().saturating_sub(1)));
        Ok(())
    }

    /// How many bytes behind `at` are writable pages, as far as the helper saw to it.
    pub(crate) fn ready_ahead(&self, at: u64) -> u64 {
        let ahead = self.ahead.as_ref().filter(|_| at < self.capacity());
        ahead.map_or(0, |ahead| {
            ahead
                .ready(&self.segment(at).map())
                .saturating_sub(at % self.segment_size)
        })
    }

    /// Tells the helper where the writer stands.
    #[cold]
    fn tell(&mut self, at: u64) {
        let Some(ahead) = &self.ahead else {
            self.tell_at = u64::MAX;
            return;
        };
        ahead.follow(self.segment(at).map(), at % self.segment_size);
        self.tell_at = (at + TELL_SIZE).min(at - at % self.segment_size + self.segment_size);
    }

    /// Creates segments until a log of this length fits.
    pub(crate) fn grow(&mut self, length: u64) -> Result<(), Error> {
        while self.capacity() < length {
            let index = self.segment_count();
            let path = segment_path(&self.dir, index);
            // Names become durable in order, so no crash leaves a gap.
            self.sync_names()?;
            let spare = self.ahead.as_ref().and_then(|ahead| ahead.take(index, &path));
            let segment = match spare {
                Some(segment) => {
                    self.renamed = true;
                    segment
                }
                None => {
                    let segment = Segment::create(&path, index, self.segment_size, self.chain, self.watch)?;
                    sync_dir(&self.dir, self.watch)?;
                    segment
                }
            };
            self.segments.push(OnceLock::from(segment));
            if let Some(ahead) = &self.ahead {
                ahead.prepare(index + 1);
            }
        }
        Ok(())
    }

    fn sync_names(&mut self) -> Result<(), Error> {
        if self.renamed {
            sync_dir(&self.dir, self.watch)?;
            self.renamed = false;
        }
        Ok(())
    }

    /// Whether the directory must be synced before what was appended is durable; the caller sees to it.
    pub(crate) const fn take_renamed(&mut self) -> bool {
        core::mem::replace(&mut self.renamed, false)
    }

    /// Makes the segment that holds a log offset the one that is written.
    #[cold]
    fn enter(&mut self, at: u64) {
        let start = at - at % self.segment_size;
        self.tail = Tail {
            index: (start / self.segment_size) as usize,
            start,
            end: start + self.segment_size,
        };
    }

    /// Writes a frame where `place` put it, checksum included; the bytes there must be zero.
    #[inline]
    pub(crate) fn write_frame(&mut self, at: u64, head: RawFrameHeader, payload: &[u8]) {
        if at < self.tail.start || at >= self.tail.end {
            self.enter(at);
        }
        let Some(segment) = self.segments[self.tail.index].get_mut() else {
            unreachable!("a store maps every segment");
        };
        let offset = at - self.tail.start;
        let crc32c = segment.write_summed(offset + LEAF_OFFSET as u64, &head.leaf_head(), payload, CRC_OF_ZERO);
        segment.write(offset, &u64::from(crc32c).to_le_bytes());
        if at >= self.tell_at {
            self.tell(at);
        }
    }

    /// Zeroes from a log offset to the end of its segment, durably.
    pub(crate) fn zero_rest(&mut self, at: u64) -> Result<(), Error> {
        let (left, offset) = (self.left(at), at % self.segment_size);
        if left > 0 {
            let segment = self.segment_mut(at);
            segment.zero(offset, left as usize);
            segment.range(offset, left).sync(self.watch)?;
        }
        Ok(())
    }

    /// The bytes between two lengths, by file.
    pub(crate) fn ranges(&self, from: u64, to: u64) -> Vec<SyncRange> {
        let (mut at, mut ranges) = (from, Vec::new());
        while at < to {
            let offset = at % self.segment_size;
            let len = (self.segment_size - offset).min(to - at);
            ranges.push(self.segment(at).range(offset, len));
            at += len;
        }
        ranges
    }

    /// Makes the log durable between two lengths.
    pub(crate) fn sync(&self, from: u64, to: u64) -> Result<(), Error> {
        self.ranges(from, to)
            .iter()
            .try_for_each(|range| range.sync(self.watch))
    }

    /// Removes the segments beyond the first `count`, last first.
    pub(crate) fn remove_beyond(&mut self, count: u64, on_disk: u64) -> Result<(), Error> {
        self.segments.truncate(count as usize);
        for index in (count..on_disk).rev() {
            let path = segment_path(&self.dir, index);
            std::fs::remove_file(&path).map_err(Error::io("remove the torn segment", &path))?;
        }
        let spare = std::fs::remove_file(self.dir.join(SPARE_FILE)).is_ok();
        if on_disk > count || spare {
            sync_dir(&self.dir, self.watch)
        } else {
            Ok(())
        }
    }
}

/// Gives a segment file that was cut short its size back; the new bytes are zero.
fn restore_size(path: &Path, size: u64) -> Result<(), Error> {
    let restored = File::options().write(true).open(path).and_then(|file| {
        preallocate(&file, size)?;
        file.sync_all()
    });
    restored.map_err(Error::io("restore the segment", path))
}
