//! What blocks say that are executed here and not final: shown to sessions of grade `matched`, taken back if the blocks are
//! given up.
//!
//! # Invariants
//! * A stream holds what is final and nothing else. What is not stands behind its end, under the numbers it will have.
//! * Blocks follow each other without a gap, from the one after the last that the streams hold.
//! * Nothing is encoded before there is somebody to show it to.

use super::private;
use crate::stage::Announced;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wattbook_feed::signed::Alias;
use wattbook_feed::soupbin;
use wattbook_types::ParticipantId;

/// Packets that stand behind a stream's end, with their heights.
pub(super) type Packets = VecDeque<(u64, Vec<u8>)>;

/// Of a stream behind whose end nothing ever stands.
pub(super) const NONE: &Packets = &VecDeque::new();

/// The blocks that are not final.
#[derive(Debug, Default)]
pub(super) struct Tail {
    blocks: VecDeque<(u64, Arc<Announced>)>,
    packets: BTreeMap<ParticipantId, Packets>,
    /// Accounts that see every deal once these blocks are final.
    readers: VecDeque<(u64, ParticipantId)>,
    is_shown: bool,
}

impl Tail {
    /// Takes in what a block says.
    pub(super) fn push(
        &mut self,
        height: u64,
        events: Arc<Announced>,
        alias: &Alias,
        readers: &BTreeSet<ParticipantId>,
    ) {
        if self.is_shown {
            self.encode(height, &events, alias, readers);
        }
        self.blocks.push_back((height, events));
    }

    /// From now on there is somebody to show it to.
    pub(super) fn show(&mut self, alias: &Alias, readers: &BTreeSet<ParticipantId>) {
        if core::mem::replace(&mut self.is_shown, true) {
            return;
        }
        let blocks = core::mem::take(&mut self.blocks);
        for (height, events) in &blocks {
            self.encode(*height, events, alias, readers);
        }
        self.blocks = blocks;
    }

    fn encode(&mut self, height: u64, events: &Announced, alias: &Alias, readers: &BTreeSet<ParticipantId>) {
        let mut all: BTreeSet<ParticipantId> = readers.clone();
        all.extend(self.readers.iter().map(|(_, reader)| reader));
        let mut message = Vec::new();
        for (event, public) in events.with_public(alias) {
            if let Some(reader) = private::new_reader(&event.event) {
                self.readers.push_back((height, reader));
                all.insert(reader);
            }
            private::messages((event, public), height, alias, &all, &mut message, |who, message| {
                let mut packet = Vec::with_capacity(message.len() + 3);
                soupbin::put_sequenced(message, &mut packet);
                self.packets.entry(who).or_default().push_back((height, packet));
            });
        }
    }

    /// The streams hold what this block says.
    pub(super) fn settle(&mut self, height: u64) {
        while self.blocks.pop_front_if(|(of, _)| *of <= height).is_some() {}
        while self.readers.pop_front_if(|(of, _)| *of <= height).is_some() {}
        self.packets.retain(|_, packets| {
            while packets.pop_front_if(|(of, _)| *of <= height).is_some() {}
            !packets.is_empty()
        });
    }

    /// This block and those behind it are given up.
    pub(super) fn revoke(&mut self, height: u64) {
        while self.blocks.pop_back_if(|(of, _)| *of >= height).is_some() {}
        while self.readers.pop_back_if(|(of, _)| *of >= height).is_some() {}
        self.packets.retain(|_, packets| {
            while packets.pop_back_if(|(of, _)| *of >= height).is_some() {}
            !packets.is_empty()
        });
    }

    /// What stands behind the end of a participant's stream.
    pub(super) fn of(&self, who: ParticipantId) -> &Packets {
        self.packets.get(&who).unwrap_or(NONE)
    }
}
