//! Seal: hashes a block's events and appends the block; [`super::sync`] makes it durable meanwhile.
//!
//! # Invariants
//! * A full disk pauses the stage, and by the rings behind it everything up to the sockets; sessions are told, and the
//!   block goes in once there is room. Nothing that was answered is lost. They are told when every block before is
//!   durable, so the next one that is says that the node goes on.
//! * Any other failure of the ledger is told to the sessions and ends the node.

use super::{Draft, DurableHeight, Publication};
use crate::execute::{EventTree, dpos_hash};
use crate::ring::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wattbook_feed::sbe::session::HaltReason;
use wattbook_feed::signed::{Alias, record_kind};
use wattbook_ledger::{BlockDraft, Error, Record, Store};

/// How often a full disk is asked again.
const FULL_RETRY: Duration = Duration::from_millis(200);

/// The stage.
#[derive(Debug)]
pub struct Seal {
    blocks: Receiver<Draft>,
    publish: Sender<Publication>,
    durable: Arc<DurableHeight>,
    store: Store,
    alias: Alias,
    stop: Arc<AtomicBool>,
}

impl Seal {
    /// Wires the stage; `stop` ends the wait for room on a full disk, and is raised if the stage fails.
    pub fn new(
        blocks: Receiver<Draft>,
        publish: Sender<Publication>,
        durable: Arc<DurableHeight>,
        store: Store,
        alias: Alias,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            blocks,
            publish,
            durable,
            store,
            alias,
            stop,
        }
    }

    /// Runs until matching is gone.
    ///
    /// # Errors
    /// What stopped the ledger; the sessions have been told, and a restart recovers.
    pub fn run(mut self) -> Result<(), Error> {
        while let Ok(draft) = self.blocks.recv() {
            match self.seal(&draft) {
                Ok(()) => {}
                // A failed sync has been told by the stage that made it.
                Err(Error::Poisoned) => return Err(Error::Poisoned),
                Err(error) => {
                    tracing::error!(height = draft.height, %error, "the ledger cannot be written");
                    let (reason, seq) = (HaltReason::LedgerFailed, self.durable.seq());
                    let _ = self.publish.send(Publication::Halt { reason, seq });
                    self.durable.fail();
                    self.stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn seal(&mut self, draft: &Draft) -> Result<(), Error> {
        let mut events = EventTree::new();
        for announced in &draft.events {
            announced
                .public(&self.alias)
                .events()
                .for_each(|message| events.push_public(message));
        }
        let version = record_kind::VERSION;
        let records: Vec<Record<'_>> = (draft.records.iter())
            .map(|r| Record {
                kind: r.kind,
                version,
                seq: r.seq,
                payload: &r.payload,
            })
            .collect();
        let block = BlockDraft {
            time_ns: draft.time,
            records: &records,
            event_count: events.count(),
            event_root: events.root(),
            state_root: draft.state_root,
            params_hash: draft.params_hash,
            dpos_hash: dpos_hash(self.store.chain()),
            lead: None,
        };
        let appended = match self.store.append_block(&block) {
            Err(full @ Error::Full { .. }) => self.wait_for_room(&block, full)?,
            other => other?,
        };
        debug_assert_eq!(appended.header.height, draft.height);
        Ok(())
    }

    /// Tells the sessions once everything before is durable, so that the next block that is says that the node goes on;
    /// then tries until there is room or the node is stopped.
    fn wait_for_room(&mut self, block: &BlockDraft<'_>, full: Error) -> Result<wattbook_ledger::Appended, Error> {
        tracing::error!(error = %full, "paused; nothing is lost, and the node goes on when there is room");
        if !self.durable.wait(self.store.tip().height) {
            // The stage that failed has told the sessions.
            return Err(Error::Poisoned);
        }
        let seq = self.durable.seq();
        let _ = self.publish.send(Publication::Pause { seq });
        loop {
            std::thread::park_timeout(FULL_RETRY);
            match self.store.append_block(block) {
                Err(Error::Full { .. }) if !self.stop.load(Ordering::Relaxed) => {}
                Ok(appended) => {
                    tracing::warn!("there is room again; the node goes on");
                    return Ok(appended);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
