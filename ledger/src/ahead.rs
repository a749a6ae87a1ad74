//! The helper thread that keeps the writer from waiting: the next segment, made before it is needed, and pages of the
//! current one, made writable a little before they are written.
//!
//! # Contract
//! * The next segment is a file named [`SPARE_FILE`]: allocated, written with zeros so that a later sync of it moves
//!   bytes and no metadata, and durable. It becomes part of the log by its new name only.
//! * Nothing here changes a byte of the log. Without the helper the log is the same, only later.
//! * What the helper cannot do the writer tries itself, and so meets the error where it can be answered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;

use memmap2::{Advice, MmapRaw};
use wattbook_types::ChainId;

use crate::disk::Watch;
use crate::error::Error;
use crate::segment::Segment;

/// Name of the segment that is prepared.
pub(crate) const SPARE_FILE: &str = "spare.segment";
/// How far ahead of the writer pages are made writable, bytes.
pub(crate) const TOUCH_SIZE: u64 = 4 << 20;

/// What the helper is asked for.
#[derive(Debug)]
enum Request {
    /// The segment with this index.
    Prepare(u64),
    /// Writable pages.
    Touch(Arc<MmapRaw>, u64, u64),
}

/// The helper.
#[derive(Debug)]
pub(crate) struct Ahead {
    requests: Option<SyncSender<Request>>,
    spares: Receiver<Result<(u64, Segment), Error>>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
    /// Index of the segment that was asked for and not yet taken.
    asked: Option<u64>,
}

impl Ahead {
    /// Starts the helper of the ledger in `dir`.
    pub(crate) fn start(dir: &Path, segment_size: u64, chain: ChainId, watch: Watch) -> io::Result<Self> {
        let path = dir.join(SPARE_FILE);
        let (requests, asked) = mpsc::sync_channel(8);
        let (made, spares) = mpsc::channel();
        let spare = path.clone();
        let thread = std::thread::Builder::new().name("ahead".into()).spawn(move || {
            for request in asked {
                match request {
                    Request::Prepare(index) => {
                        let segment = Segment::prepare(&spare, index, segment_size, chain, watch);
                        if made.send(segment.map(|segment| (index, segment))).is_err() {
                            return;
                        }
                    }
                    Request::Touch(map, at, len) => {
                        // Advice only: a kernel that does not know it faults the pages in when they are written.
                        let _ = map.advise_range(Advice::PopulateWrite, at as usize, len as usize);
                    }
                }
            }
        })?;
        Ok(Self {
            requests: Some(requests),
            spares,
            path,
            thread: Some(thread),
            asked: None,
        })
    }

    fn ask(&self, request: Request) -> bool {
        let Some(requests) = &self.requests else { return false };
        // A busy helper is not waited for.
        !matches!(
            requests.try_send(request),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
        )
    }

    /// Asks for the segment with this index.
    pub(crate) fn prepare(&mut self, index: u64) {
        if self.asked.is_none() && self.ask(Request::Prepare(index)) {
            self.asked = Some(index);
        }
    }

    /// Asks for writable pages.
    pub(crate) fn touch(&self, map: Arc<MmapRaw>, at: u64, len: u64) {
        self.ask(Request::Touch(map, at, len));
    }

    /// The prepared segment with this index under its new name, waiting for it if it is being made; `None` if it was
    /// not asked for or could not be made.
    pub(crate) fn take(&mut self, index: u64, path: &Path) -> Option<Segment> {
        if self.asked.take()? != index {
            return None;
        }
        let (_, mut segment) = self.spares.recv().ok()?.ok()?;
        segment.rename(path).ok()?;
        Some(segment)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Not part of the ledger; the next store would remove it too.
        let _ = std::fs::remove_file(&self.path);
    }
}
