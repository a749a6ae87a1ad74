//! The order in which a leader takes commands: signed and told where this node leads, held against its blocks where another
//! does (module `receipts`).
//!
//! # Invariants
//! * What this node proposes in a term it has taken in that order, and told before.
//! * A voter refuses a block that has two commands the other way round than their receipts, and one of a leader whose last
//!   blocks held what it gave no receipt for. What it was not told, or has no room for, is in no order.
//! * On simulated time none of this is: a Step says in which order commands stand.

use super::line::{Executed, Misfit};
use super::receipts::{NotSigned, Receipt, Taking, name_of};
use super::words::Word;
use super::{Replica, WORDS_DELAY, WORDS_SIZE_MAX};
use crate::ring::Gone;
use crate::stage::VerifiedCommand;
use std::time::Instant;
use wattbook_agreement::seam::Slot;
use wattbook_ledger::BlockHeader;
use wattbook_types::{Hash, ParticipantId};

/// What this node leads, and what it has taken.
#[derive(Debug)]
pub(super) struct Lead {
    leader: ParticipantId,
    taking: Taking,
}

/// Final blocks in a row of one term with commands that no receipt names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unreceipted {
    of: (u64, u64),
    blocks: u64,
}

impl Replica {
    /// This node leads: what waits is taken in the order in which it came, and told. `false`: an earlier process may have
    /// signed for another order in this term.
    pub(super) fn lead(&mut self, slot: &Slot) -> Result<bool, Gone> {
        if self.set.is_lockstep {
            return Ok(true);
        }
        let of = (slot.epoch, slot.term);
        if self.lead.as_ref().is_none_or(|lead| lead.taking.of() != of) {
            match self.promise.make(slot.epoch, slot.term) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(
                        epoch = of.0,
                        term = of.1,
                        "this term was led before this node started: it is passed on"
                    );
                    return Ok(false);
                }
                Err(error) => {
                    tracing::error!(%error, "what was promised cannot be written");
                    return Err(Gone);
                }
            }
            let mut lead = Lead {
                leader: slot.leader,
                taking: Taking::new(slot.epoch, slot.term),
            };
            let names = self
                .pool
                .iter()
                .filter_map(|waiting| self.name_for(slot.leader, &waiting.command));
            lead.taking.untold = names.collect();
            self.lead = Some(lead);
        }
        self.tell();
        Ok(true)
    }

    /// This node leads no term up to this one any more.
    pub(super) fn lead_no_more(&mut self, epoch: u64, term: u64) {
        drop(self.lead.take_if(|lead| lead.taking.of() <= (epoch, term)));
    }

    fn name_for(&self, leader: ParticipantId, command: &VerifiedCommand) -> Option<Hash> {
        let market = self.settled.executor().market();
        let name = name_of(self.settled.executor().chain(), command.kind, &command.payload)?;
        market.may_pack(leader, &command.command).then_some(name)
    }

    /// The name under which a command that comes now is taken; `None`: this node does not lead, or may not pack it.
    pub(super) fn name_to_take(&self, command: &VerifiedCommand) -> Option<Hash> {
        self.name_for(self.lead.as_ref()?.leader, command)
    }

    /// Takes a command that came.
    pub(super) fn take_in(&mut self, name: Hash) {
        if let Some(lead) = &mut self.lead {
            lead.taking.untold.push(name);
            self.words_due.get_or_insert_with(|| Instant::now() + WORDS_DELAY);
        }
    }

    /// Signs for what was taken since the last time.
    pub(super) fn put_receipts(&mut self) {
        let Some(lead) = &mut self.lead else { return };
        let chain = self.settled.executor().chain();
        #[cfg(test)]
        let leader = lead.leader;
        for receipt in lead.taking.sign(chain, &self.peer) {
            #[cfg(test)]
            if let Some(other) = receipt.reversed(chain, &self.peer)
                && super::tests::scenes::tells_two_orders(chain, leader)
            {
                // Everybody is told of one order, and before that one node of another.
                use wattbook_agreement::seam::Agreement as _;
                let own = self.peer.verifying_key().to_bytes();
                let mut words = Vec::new();
                Word::Receipt(other).put(&mut words);
                let link = self.links.iter().find(|link| **link != own);
                self.agreement.tell(link.copied(), words);
            }
            Word::Receipt(receipt).put(&mut self.words);
            if self.words.len() >= WORDS_SIZE_MAX {
                self.send_words();
            }
        }
    }

    /// Epoch and term of a block.
    pub(super) fn term_of(&self, header: &BlockHeader) -> (u64, u64) {
        let schedule = self.settled.executor().market().state().params.schedule();
        (header.epoch, schedule.term_of(header.view))
    }

    /// Epoch and term that the next block may be of, at the earliest.
    fn term_now(&self) -> Option<(u64, u64)> {
        let state = self.settled.executor().market().state();
        let sitting = state.dpos.as_deref()?.sitting()?;
        let of = (
            sitting.committee.epoch(),
            state.params.schedule().term_of(sitting.view).max(1),
        );
        Some(of.max(self.lost))
    }

    /// A leader, or somebody in its place, tells in which order it takes commands.
    pub(super) fn hear_receipt(&mut self, from: [u8; 32], receipt: Receipt) {
        let market = self.settled.executor().market();
        let (Some((epoch, term)), Some(committee)) = (self.term_now(), market.committee()) else {
            return;
        };
        let near = receipt.epoch == epoch && (term..=term.saturating_add(1)).contains(&receipt.term);
        if self.set.is_lockstep || !near || self.forgers.contains(&from) {
            return;
        }
        let seats = committee.seats();
        let Ok(rank) = usize::try_from((receipt.term - 1) % seats.len() as u64) else {
            return;
        };
        let (key, chain) = (seats[rank].peer_key, market.state().chain);
        if key == self.peer.verifying_key().to_bytes() {
            return;
        }
        let order = self.orders.entry((receipt.epoch, receipt.term)).or_default();
        match order.hear(chain, &key, receipt, self.set.replicate.receipts_max) {
            Ok(None) => {}
            Ok(Some(found)) => self.accuse_of_two_orders(rank, found),
            Err(NotSigned) => {
                tracing::warn!("a node tells a receipt that its leader did not sign");
                self.forgers.insert(from);
            }
        }
    }

    /// Holds a block that is to be voted for against what its leader told.
    pub(super) fn check_order(&self, block: &Executed) -> Result<(), Misfit> {
        let of = self.term_of(&block.header);
        let Unreceipted { of: counted, blocks } = self.unreceipted;
        if !block.names.is_empty() && counted == of && blocks >= self.set.replicate.unreceipted_blocks {
            return Err(Misfit::Unreceipted);
        }
        let Some(order) = self.orders.get(&of) else {
            return Ok(());
        };
        let before = self.ahead.iter().filter(|block| self.term_of(&block.header) == of);
        let last = before.fold(order.packed(), |last, block| order.last_of(&block.names, last));
        let checked = order.check(&block.names, last);
        checked.map_err(|places| Misfit::Order { of, places })
    }

    /// Tells everybody the receipts that a block contradicts: who was told another order has the leader convicted.
    pub(super) fn tell_order(&mut self, of: (u64, u64), places: [u64; 2]) {
        let told: Vec<Receipt> = (self.orders.get(&of).into_iter())
            .flat_map(|order| places.iter().filter_map(|place| order.receipt_of(*place)))
            .cloned()
            .collect();
        for receipt in told {
            self.say(&Word::Receipt(receipt));
        }
    }

    /// A final block: what it has is behind us in its leader's order.
    pub(super) fn pack_order(&mut self, header: &BlockHeader, names: &[Hash]) {
        let of = self.term_of(header);
        self.orders = self.orders.split_off(&of);
        if names.is_empty() {
            return;
        }
        let order = self.orders.get_mut(&of);
        let is_unreceipted = order.as_ref().is_none_or(|order| order.unknown(names) != 0);
        let before = if self.unreceipted.of == of {
            self.unreceipted.blocks
        } else {
            0
        };
        self.unreceipted = Unreceipted {
            of,
            blocks: if is_unreceipted { before + 1 } else { 0 },
        };
        if let Some(order) = order {
            order.pack(names);
        }
    }

    /// A leader's refusal is believed: it may take the command again, if it comes again.
    pub(super) fn forget_place(&mut self, command: &VerifiedCommand) {
        let name = name_of(self.settled.executor().chain(), command.kind, &command.payload);
        if let Some(name) = name {
            self.orders.values_mut().for_each(|order| order.forget(&name));
        }
    }
}
