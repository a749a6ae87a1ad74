//! Seal: hashes a block's events, appends the block, makes it durable, says so.

use super::{Draft, DurableHeight, Publication};
use crate::execute::{EventTree, dpos_hash};
use crate::ring::{Receiver, Sender};
use std::sync::Arc;
use wattbook_feed::sbe::session::HaltReason;
use wattbook_feed::signed::{Alias, record_kind};
use wattbook_ledger::{BlockDraft, Error, Record, Store};

/// The stage.
#[derive(Debug)]
pub struct Seal {
    blocks: Receiver<Draft>,
    publish: Sender<Publication>,
    durable: Arc<DurableHeight>,
    store: Store,
    alias: Alias,
}

impl Seal {
    /// Wires the stage.
    pub fn new(
        blocks: Receiver<Draft>,
        publish: Sender<Publication>,
        durable: Arc<DurableHeight>,
        store: Store,
        alias: Alias,
    ) -> Self {
        Self {
            blocks,
            publish,
            durable,
            store,
            alias,
        }
    }

    /// Runs until matching is gone.
    ///
    /// # Errors
    /// What stopped the ledger; the sessions have been told, and a restart recovers.
    pub fn run(mut self) -> Result<(), Error> {
        while let Ok(draft) = self.blocks.recv() {
            let seq = draft.records.last().map_or(0, |record| record.seq);
            if let Err(error) = self.seal(&draft) {
                // A failed sync is never retried as if it had worked.
                tracing::error!(height = draft.height, %error, "the ledger cannot be written");
                let _ = self.publish.send(Publication::Halt {
                    reason: HaltReason::LedgerFailed,
                    seq,
                });
                self.durable.fail();
                return Err(error);
            }
        }
        Ok(())
    }

    fn seal(&mut self, draft: &Draft) -> Result<(), Error> {
        let mut events = EventTree::new();
        for event in draft.events.iter().flat_map(|batch| batch.iter()) {
            events.push(event, &self.alias);
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
        let appended = self.store.append_block(&BlockDraft {
            time_ns: draft.time,
            records: &records,
            event_count: events.count(),
            event_root: events.root(),
            state_root: draft.state_root,
            params_hash: draft.params_hash,
            dpos_hash: dpos_hash(self.store.chain()),
        })?;
        debug_assert_eq!(appended.header.height, draft.height);
        self.store.commit()?;
        let seq = records.last().map_or(0, |record| record.seq);
        let (header, digest, length) = (Box::new(appended.header), appended.digest, appended.length);
        // Publish is gone only when the node stops; the block is durable all the same.
        let _ = self.publish.send(Publication::Durable {
            header,
            digest,
            length,
            seq,
        });
        self.durable.set(draft.height);
        Ok(())
    }
}
