//! Syncs by io_uring: one submission for every range of a group, so that a group that crosses segments waits once.
//!
//! # Contract
//! * [`UringSync::sync`] returns when every range is durable, or with the first error; none is in flight then.
//! * A kernel that has no io_uring, or forbids it, says so when the ring is made, never later.
//!
//! A room of this crate with `unsafe`.
#![allow(unsafe_code)]

use core::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode};

use crate::disk::{DiskCall, SyncRange, Watch};
use crate::error::Error;

/// Ranges in flight at once; a group has more only where its segments are tiny.
const ENTRIES: u32 = 8;

/// The ring, and the files that were synced last.
pub(crate) struct UringSync {
    ring: IoUring,
    files: Vec<(PathBuf, File)>,
}

impl fmt::Debug for UringSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringSync")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl UringSync {
    /// A ring that the kernel grants and that knows how to sync.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Fsync::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            ring,
            files: Vec::new(),
        })
    }

    /// Makes ranges durable.
    pub(crate) fn sync(&mut self, ranges: &[SyncRange], watch: Watch) -> Result<(), Error> {
        for some in ranges.chunks(ENTRIES as usize) {
            self.sync_some(some, watch)?;
        }
        Ok(())
    }

    fn sync_some(&mut self, ranges: &[SyncRange], watch: Watch) -> Result<(), Error> {
        let Some(first) = ranges.first() else { return Ok(()) };
        for range in ranges {
            let (path, at, len) = (range.path.as_path(), range.at, range.len);
            watch(DiskCall::SyncRange { path, at, len }).map_err(Error::io("sync the segment", path))?;
        }
        // What this group does not touch, no later one will.
        self.files
            .retain(|(path, _)| ranges.iter().any(|range| range.path == *path));
        for range in ranges {
            if self.files.iter().all(|(path, _)| range.path != *path) {
                let file = File::open(&range.path).map_err(Error::io("open the segment", &range.path))?;
                self.files.push((range.path.clone(), file));
            }
        }
        let failed = Error::io("sync the segment", &first.path);
        let mut queue = self.ring.submission();
        for range in ranges {
            let Some((_, file)) = self.files.iter().find(|(path, _)| range.path == *path) else {
                unreachable!("opened above");
            };
            // BOUND: a range lies in one segment, 2^30 bytes at most.
            let entry = opcode::Fsync::new(Fd(file.as_raw_fd()))
                .offset(range.at)
                .len(range.len as u32)
                .flags(FsyncFlags::DATASYNC)
                .build();
            // SAFETY: the request names no memory, and its file stays open until its completion is read below. Where the
            // kernel takes no submission at all the ring is never used again, and the kernel keeps the file of a request
            // that it took.
            let pushed = unsafe { queue.push(&entry) };
            assert!(pushed.is_ok(), "the ring has room for a chunk");
        }
        drop(queue);
        let (mut done, mut worst) = (0, Ok(()));
        while done < ranges.len() {
            match self.ring.submit_and_wait(ranges.len() - done) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(failed(error)),
                _ => {}
            }
            for completion in self.ring.completion() {
                done += 1;
                if completion.result() < 0 {
                    worst = Err(io::Error::from_raw_os_error(-completion.result()));
                }
            }
        }
        worst.map_err(failed)
    }
}
