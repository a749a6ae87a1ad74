//! What an event says to whom, apart from the public.

use super::sees_deals;
use std::collections::BTreeSet;
use wattbook_feed::sbe::session::DealRecord;
use wattbook_feed::sbe::{encode_outbound, encode_private_beside, encode_reader, parties};
use wattbook_feed::signed::{Alias, DealEntry};
use wattbook_types::{Event, ParticipantId, Sequenced};

/// The account that an event makes one that sees every deal.
pub(super) const fn new_reader(event: &Event) -> Option<ParticipantId> {
    match event {
        Event::Registered { participant, roles, .. } if sees_deals(*roles) => Some(*participant),
        _ => None,
    }
}

/// Puts the messages of an event of this block, which may come with its public form, for the parties first, then for the
/// readers; `message` is where they are encoded.
pub(super) fn messages(
    (event, public): (&Sequenced, Option<&[u8]>),
    height: u64,
    alias: &Alias,
    readers: &BTreeSet<ParticipantId>,
    message: &mut Vec<u8>,
    mut put: impl FnMut(ParticipantId, &[u8]),
) {
    for recipient in parties(&event.event).into_iter().flatten() {
        message.clear();
        if encode_private_beside(event, public, recipient, alias, message) {
            put(recipient, message);
        }
    }
    // Whoever signs or audits deals sees them with real accounts, and the digest they add up to.
    message.clear();
    match &event.event {
        Event::Executed { deal, deal_id, .. } => {
            let seq = event.seq;
            let (record, deal_id) = (DealEntry::new(deal), deal_id.0);
            let deal = DealRecord {
                seq,
                height,
                record,
                deal_id,
            };
            encode_outbound(&deal, message);
        }
        Event::DealsSealed { .. } => {
            encode_reader(event, alias, message);
        }
        _ => return,
    }
    for reader in readers {
        put(*reader, message);
    }
}
