//! Commands that wait too long: what this node says of them, tells of them, and holds against a leader (module `inclusion`).
//!
//! # Invariants
//! * A voter refuses a block for what it leaves out only by a certificate that it told everybody `replicate.omission_blocks`
//!   final blocks ago; not where the block is more than half full, nor where the market would refuse the command, or its
//!   account is over its quota, or the leader may not pack it.
//! * A leader's refusal of what the market here takes is not believed: the command waits on.
//! * On simulated time none of this is: a Step says what a block holds.

use super::inclusion::{Certificate, NotSigned, SEEN_LEN_MAX, Seen};
use super::words::Word;
use super::{Replica, Set};
use crate::ring::Gone;
use crate::stage::matching::now;
use std::time::Duration;
use wattbook_ledger::Record;
use wattbook_types::committee::Committee;
use wattbook_types::{Command, Hash, ParticipantId, Reject};

/// Final blocks after which a leader's refusal that the market does not bear out is forgotten.
const BORNE_OUT: u64 = 2;

/// A leader's refusal of a command that the market here takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contested {
    reject: Reject,
    /// The last final height when it came.
    at: u64,
}

/// Whether a block is so full that nobody asks what it leaves out: an honest leader stops at the first command that does
/// not fit, and waits for none that is larger than a quarter of a block.
pub(super) fn is_full(set: &Set, records: &[Record<'_>]) -> bool {
    let size: usize = records.iter().map(|record| record.payload.len()).sum();
    records.len() >= set.seal.block_records_max || size > set.replicate.block_size_max / 2
}

impl Replica {
    /// Says of commands that have waited too long that they were seen, after a final block that had room for them.
    pub(super) fn say_seen(&mut self, leader: Option<ParticipantId>, is_full: bool) {
        let market = self.settled.executor().market();
        let Some(committee) = market.committee().filter(|_| !self.set.is_lockstep).cloned() else {
            return;
        };
        self.claims.begin(committee.epoch());
        self.claims.keep(|digest| self.pool.has(digest));
        let public = self.peer.verifying_key().to_bytes();
        let rank = committee.seats().iter().position(|seat| seat.peer_key == public);
        if let Some(rank) = rank.and_then(|rank| u16::try_from(rank).ok())
            && !is_full
        {
            let age = Duration::from_millis(self.set.replicate.seen_after_ms);
            let proposed = self.proposed();
            let late = (self.pool.iter())
                .take_while(|waiting| waiting.since.elapsed() >= age)
                .filter(|waiting| !proposed.contains(&waiting.digest) && !self.claims.has_said(rank, &waiting.digest))
                .filter(|waiting| leader.is_none_or(|leader| market.may_pack(leader, &waiting.command.command)))
                .filter(|waiting| market.admits(&waiting.command.command).is_ok());
            let digests: Vec<Hash> = late.take(SEEN_LEN_MAX).map(|waiting| waiting.digest).collect();
            if !digests.is_empty() {
                let chain = self.settled.executor().chain();
                let seen = Seen::sign(chain, &self.peer, committee.epoch(), now(), digests);
                let heard = self.claims.hear(&committee, rank, &seen, |_| true);
                debug_assert_eq!(heard, Ok(()), "what is signed here is signed");
                self.say(&Word::Seen(seen));
            }
        }
        self.tell_certified(&committee);
    }

    /// Another delegate says what it has seen.
    pub(super) fn hear_seen(&mut self, from: [u8; 32], seen: &Seen) {
        let Some((committee, rank)) = self.judges_of_inclusion(from) else {
            return;
        };
        if let Some(rank) = rank {
            let heard = self.claims.hear(&committee, rank, seen, |digest| self.pool.has(digest));
            self.mind(from, heard, &committee);
        }
    }

    /// Another node tells a certificate.
    pub(super) fn hear_certificate(&mut self, from: [u8; 32], certificate: Certificate) {
        if let Some((committee, _)) = self.judges_of_inclusion(from)
            && self.pool.has(&certificate.digest)
        {
            let heard = self.claims.hear_certificate(&committee, certificate);
            self.mind(from, heard, &committee);
        }
    }

    /// The committee under way, and the rank in it of a node that may be listened to.
    fn judges_of_inclusion(&self, from: [u8; 32]) -> Option<(Committee, Option<u16>)> {
        if self.set.is_lockstep || self.forgers.contains(&from) {
            return None;
        }
        let committee = self.settled.executor().market().committee()?.clone();
        let rank = committee.seats().iter().position(|seat| seat.peer_key == from);
        let rank = rank.and_then(|rank| u16::try_from(rank).ok());
        Some((committee, rank))
    }

    /// One that hands on what is not signed is not listened to in this any more.
    fn mind(&mut self, from: [u8; 32], heard: Result<(), NotSigned>, committee: &Committee) {
        match heard {
            Ok(()) => self.tell_certified(committee),
            Err(NotSigned) => {
                tracing::warn!("a node says that commands were seen, and it is not signed as it says");
                self.forgers.insert(from);
            }
        }
    }

    /// Tells everybody the certificates that were not told, each behind its command.
    fn tell_certified(&mut self, committee: &Committee) {
        let certified = self.claims.untold(committee.seats().len(), self.settled.height());
        for certificate in certified {
            let Some(waiting) = self.pool.get(&certificate.digest) else {
                continue;
            };
            tracing::warn!(digest = %certificate.digest, "delegates have seen a command that no block has");
            self.meters.certified.inc();
            let (kind, payload) = (waiting.command.kind, waiting.command.payload.clone());
            let payload = &payload;
            self.say(&Word::Command { kind, payload });
            self.say(&Word::Certified(certificate));
        }
    }

    /// Another delegate leads, and may not have heard: it is told, and given as long as the one before.
    pub(super) fn tell_certified_again(&mut self) {
        self.claims.tell_again();
        if let Some(committee) = self.settled.executor().market().committee().cloned() {
            self.tell_certified(&committee);
        }
    }

    /// A leader will not record a command: believed where the market here bears it out, now or within two blocks.
    pub(super) fn hear_refusal(&mut self, digest: &Hash, reject: Reject, original_seq: u64) -> Result<(), Gone> {
        let line = if self.is_broken { &self.settled } else { &self.head };
        let takes = |command: &Command| line.executor().market().admits(command).is_ok();
        let waiting = self.pool.get(digest).filter(|_| !self.set.is_lockstep);
        if waiting.is_some_and(|waiting| takes(&waiting.command.command)) {
            let at = self.settled.height();
            // BOUND: as many as wait.
            self.contested.insert(*digest, Contested { reject, at });
            return Ok(());
        }
        self.refuse(digest, reject, original_seq)
    }

    /// Holds what leaders refused against the state after another final block.
    pub(super) fn settle_contested(&mut self) -> Result<(), Gone> {
        let height = self.settled.height();
        for (digest, Contested { reject, at }) in core::mem::take(&mut self.contested) {
            let Some(waiting) = self.pool.get(&digest) else {
                continue;
            };
            let (market, command) = (self.settled.executor().market(), &waiting.command.command);
            let quota = || match command {
                Command::Envelope(envelope) => reject == Reject::Quota && market.was_over_quota(envelope),
                _ => false,
            };
            match market.admits(command) {
                Err(refusal) => self.refuse(&digest, refusal.reject, refusal.original_seq)?,
                Ok(()) if quota() => self.refuse(&digest, reject, 0)?,
                Ok(()) if height < at + BORNE_OUT => {
                    self.contested.insert(digest, Contested { reject, at });
                }
                Ok(()) => {
                    tracing::warn!(%digest, %reject, "a leader refused what the market takes");
                    self.meters.overruled.inc();
                }
            }
        }
        Ok(())
    }
}
