//! Sync: makes the blocks that seal appended durable, group by group, and says so.
//!
//! # Invariants
//! * A block is called durable only after its sync; the watermark never goes back.
//! * A failed sync is told to the sessions and ends the node; it is never tried again as if it had worked.

use super::{DurableHeight, Publication};
use crate::ring::Sender;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wattbook_feed::sbe::session::HaltReason;
use wattbook_feed::signed::Grade;
use wattbook_ledger::{Appended, Committer, Error};

/// The stage.
#[derive(Debug)]
pub struct Sync {
    committer: Committer,
    publish: Arc<Sender<Publication>>,
    durable: Arc<DurableHeight>,
    stop: Arc<AtomicBool>,
}

impl Sync {
    /// Wires the stage, which is the last to hold its end of the ring; it raises `stop` if it fails.
    pub const fn new(
        committer: Committer,
        publish: Arc<Sender<Publication>>,
        durable: Arc<DurableHeight>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            committer,
            publish,
            durable,
            stop,
        }
    }

    /// Runs until seal is gone and everything it appended is durable.
    ///
    /// # Errors
    /// What stopped the ledger; the sessions have been told, and a restart recovers.
    pub fn run(mut self) -> Result<(), Error> {
        loop {
            match self.committer.commit() {
                Ok(Some(group)) => group.iter().for_each(|block| self.announce(block)),
                Ok(None) => return Ok(()),
                // Whatever failed first has told the sessions.
                Err(Error::Poisoned) => return Err(Error::Poisoned),
                Err(error) => {
                    tracing::error!(%error, "the ledger cannot be made durable");
                    let seq = self.durable.seq();
                    let reason = HaltReason::LedgerFailed;
                    let _ = self.publish.send(Publication::Halt { reason, seq });
                    self.durable.fail();
                    // Nobody may send anything more that would find the ledger closed.
                    self.stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }

    fn announce(&self, block: &Appended) {
        let (header, digest, length) = (Box::new(block.header), block.digest, block.length);
        let seq = header.first_seq + header.record_count - 1;
        let height = header.height;
        // Publish is gone only when the node stops; the block is durable all the same.
        let _ = self.publish.send(Publication::Durable {
            header,
            digest,
            length,
            seq,
            grade: Grade::Durable,
        });
        self.durable.set(height, seq);
    }
}
