//! The application's side of agreement's seam: every call goes into the replica's ring, in order.

use crate::ring::Sender;
use crate::stage::{Checked, Outcome};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use wattbook_agreement::ballot::BallotKey;
use wattbook_agreement::block::Candidate;
use wattbook_agreement::evidence::Evidence;
use wattbook_agreement::seam::{Answer, Application, Final, LostTerm, Role, Seating, Slot};
use wattbook_types::committee::Committee;

/// What agreement asks or tells.
#[derive(Debug)]
pub enum Call {
    /// See [`Application::seated`].
    Seated {
        /// The epoch.
        epoch: u64,
        /// What this node is in it.
        role: Role,
    },
    /// See [`Application::propose`].
    Propose {
        /// The view, and what a head in it says.
        slot: Slot,
        /// Blocks that are not final, up to the parent.
        chain: Vec<Candidate>,
        /// Takes the block.
        answer: Answer<Option<Vec<u8>>>,
    },
    /// See [`Application::verify`].
    Verify {
        /// The view, and what a head in it says.
        slot: Slot,
        /// Blocks that are not final, up to the parent.
        chain: Vec<Candidate>,
        /// The block.
        block: Candidate,
        /// Takes the verdict.
        answer: Answer<bool>,
    },
    /// See [`Application::deliver`].
    Deliver {
        /// The block and its certificate.
        block: Final,
        /// Takes that it was taken.
        done: Answer<()>,
    },
    /// See [`Application::lost`].
    Lost(LostTerm),
    /// See [`Application::accuse`].
    Accuse(Evidence),
    /// See [`Application::heard`].
    Heard {
        /// Key of the node that speaks.
        from: [u8; 32],
        /// What it says.
        bytes: Vec<u8>,
    },
    /// Agreement has ended: nothing becomes final here any more.
    Over,
}

/// Committees by epoch, as far as the final state reaches.
pub(crate) type Committees = Arc<Mutex<BTreeMap<u64, Committee>>>;

/// Committees that are kept: whatever a late certificate may be of.
const COMMITTEES_KEPT: usize = 8;

/// Adds the committee of the next block's epoch.
pub(crate) fn learn(committees: &Committees, committee: Option<&Committee>) {
    let Some(committee) = committee else { return };
    let mut known = committees.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(committee.epoch()).or_insert_with(|| committee.clone());
    while known.len() > COMMITTEES_KEPT {
        known.pop_first();
    }
}

/// Hands agreement's calls to the replica.
pub(crate) struct Envoy {
    pub(crate) calls: Sender<Checked>,
    pub(crate) committees: Committees,
    pub(crate) ballot: Option<BallotKey>,
}

impl Envoy {
    fn call(&self, call: Call) {
        let (session, outcome) = (0, Outcome::Agreement(Box::new(call)));
        // A node that ends answers nothing more; agreement ends with it.
        let _ = self.calls.send(Checked { session, outcome });
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.call(Call::Over);
    }
}

impl Application for Envoy {
    fn seating(&mut self, epoch: u64) -> Option<Seating> {
        let known = self.committees.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Seating {
            committee: known.get(&epoch)?.clone(),
            ballot: self.ballot.clone(),
        })
    }

    fn seated(&mut self, epoch: u64, role: Role) {
        self.call(Call::Seated { epoch, role });
    }

    fn propose(&mut self, slot: Slot, chain: Vec<Candidate>, answer: Answer<Option<Vec<u8>>>) {
        self.call(Call::Propose { slot, chain, answer });
    }

    fn verify(&mut self, slot: Slot, chain: Vec<Candidate>, block: Candidate, answer: Answer<bool>) {
        self.call(Call::Verify {
            slot,
            chain,
            block,
            answer,
        });
    }

    fn deliver(&mut self, block: Final, done: Answer<()>) {
        self.call(Call::Deliver { block, done });
    }

    fn lost(&mut self, term: LostTerm) {
        self.call(Call::Lost(term));
    }

    fn accuse(&mut self, evidence: Evidence) {
        self.call(Call::Accuse(evidence));
    }

    fn heard(&mut self, from: [u8; 32], bytes: Vec<u8>) {
        self.call(Call::Heard { from, bytes });
    }
}
