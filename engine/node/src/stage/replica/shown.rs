//! Answers of grade `matched`: what the head says is shown, and taken back where another block takes its place.

use super::Replica;
use super::line::Executed;
use crate::stage::Publication;
use std::sync::Arc;
use wattbook_types::Hash;

/// A block that sessions were shown, and that is not final.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) height: u64,
    first_seq: u64,
    pub(super) digest: Hash,
}

impl Replica {
    /// Shows what the newest block of the head says, in place of what was shown of another one there.
    pub(super) fn show(&mut self) {
        let Some(Executed {
            header, digest, events, ..
        }) = self.ahead.back()
        else {
            return;
        };
        let (height, first_seq, digest) = (header.height, header.first_seq, *digest);
        let events = Arc::clone(events);
        let before = self.shown.iter().find(|shown| shown.height == height);
        if before.is_some_and(|shown| shown.digest == digest) {
            return;
        }
        self.revoke(height);
        debug_assert_eq!(
            self.shown.back().map_or(self.settled.height(), |shown| shown.height) + 1,
            height
        );
        self.shown.push_back(Shown {
            height,
            first_seq,
            digest,
        });
        // A publish that is gone is noticed where something final is told.
        let _ = self.wiring.publish.send(Publication::Matched { height, events });
    }

    /// Takes back what was shown of this block and of those behind it.
    pub(super) fn revoke(&mut self, height: u64) {
        let Some(at) = self.shown.iter().position(|shown| shown.height >= height) else {
            return;
        };
        let Shown { height, first_seq, .. } = self.shown[at];
        self.shown.truncate(at);
        self.meters.revoked.inc();
        let seq = first_seq;
        let _ = self.wiring.publish.send(Publication::Revoked { height, seq });
    }
}
