//! What a leader may not do with its turn: quote openly for itself or for its group (PROTOCOL 7).
//!
//! Whoever orders a block sees what others quote before it is matched. While a delegate leads, its account and those of
//! its affiliation group cancel and trade sealed, where the order of records decides nothing; what they quote openly
//! waits for another's turn.

use super::Dpos;
use crate::accounts::AccountIndex;
use crate::market::Market;
use wattbook_types::{Command, Envelope, Item, ParticipantId};

/// Whether an envelope quotes in the book: a quote, or a change of one.
fn quotes(envelope: &Envelope) -> bool {
    envelope
        .items
        .iter()
        .any(|item| matches!(item, Item::Quote(_) | Item::Replace(_)))
}

impl Market {
    /// Whether a block of this delegate may hold the command. One that it may not hold makes the block's turn a bad one.
    pub fn may_pack(&self, leader: ParticipantId, command: &Command) -> bool {
        let Command::Envelope(envelope) = command else {
            return true;
        };
        let accounts = &self.state.accounts;
        match (accounts.index(envelope.participant), accounts.index(leader)) {
            (Some(sender), Some(leader)) => !accounts.same_group(sender, leader) || !quotes(envelope),
            _ => true,
        }
    }

    /// Keeps who quoted openly in the block under way, where somebody leads.
    pub(crate) fn note_quoter(&mut self, at: AccountIndex, envelope: &Envelope) {
        let sits = self
            .state
            .dpos
            .as_deref()
            .is_some_and(|dpos: &Dpos| dpos.sitting.is_some());
        // BOUND: one place for each envelope of a block.
        if sits && self.quoters.last() != Some(&at) && quotes(envelope) {
            self.quoters.push(at);
        }
    }

    /// Who of the leader's group quoted openly in the block under way.
    pub(crate) fn quoter_of(&self, leader: ParticipantId) -> Option<ParticipantId> {
        let accounts = &self.state.accounts;
        let leader = accounts.index(leader)?;
        let own = self.quoters.iter().find(|at| accounts.same_group(**at, leader))?;
        Some(accounts.id(*own))
    }
}
