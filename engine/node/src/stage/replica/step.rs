//! Simulated time (lockstep, on demo chains): time moves when a regulator's Step says so, after what its session's node holds.
//!
//! The node of that session tells the others the Step and the commands that come before it. Whoever leads makes a block of
//! these commands in the order of a lone node ([`order_in_step`]) that ends with the Step's Tick; where not all of them fit,
//! blocks before it hold the first ones. Between Steps a block holds a Tick of one nanosecond, so that the chain lives.
//!
//! # Invariants
//! * A Step is carried out when the block with its Tick is final, on every node that knows it, and then said to its sessions.
//! * No two Steps are under way.

use super::pool::Waiting;
use super::words::Word;
use super::{Replica, SessionId};
use crate::ring::Gone;
use crate::stage::matching::order_in_step;
use crate::stage::{About, Publication};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use wattbook_types::{Hash, ParticipantId, Reject, Roles, TimeNs};

/// A Step under way.
#[derive(Clone, Debug)]
pub(super) struct Step {
    time: TimeNs,
    /// What comes before it and is not final.
    commands: Vec<Hash>,
    /// Whether a session of this node asked for it.
    is_own: bool,
}

/// What a block holds on simulated time.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) commands: Vec<&'a Waiting>,
    /// Its Tick if everything fits, and if it does not.
    pub(super) whole: TimeNs,
    pub(super) short: TimeNs,
}

impl Replica {
    /// A session asks that time moves on.
    pub(super) fn take_step(
        &mut self,
        session: SessionId,
        who: Option<ParticipantId>,
        time: TimeNs,
    ) -> Result<(), Gone> {
        let market = self.settled.executor().market();
        let account = who.and_then(|id| market.state().accounts.get(id));
        let may = account.is_some_and(|account| account.roles.contains(Roles::REGULATOR)) && market.takes_tick(time);
        if !self.set.is_lockstep || !may || self.step.is_some() {
            return self.wiring.publish.send(Publication::Refused {
                session,
                about: About::default(),
                reject: Reject::StepRefused,
                original_seq: 0,
                close: false,
            });
        }
        self.step = Some(Step {
            time,
            commands: Vec::new(),
            is_own: true,
        });
        self.tell_step();
        Ok(())
    }

    /// Tells the others the Step that a session here asked for, with what waits here before it.
    pub(super) fn tell_step(&mut self) {
        let Some(step) = self.step.as_mut().filter(|step| step.is_own) else {
            return;
        };
        step.commands = self.pool.iter().map(|waiting| waiting.digest).collect();
        let (time, commands) = (step.time, step.commands.clone());
        // What comes before it has to be told before it.
        self.tell();
        self.say(&Word::Step {
            time,
            commands: commands.into(),
        });
        self.tell();
    }

    /// Another node tells a Step; the last word on what comes before it counts.
    pub(super) fn hear_step(&mut self, time: TimeNs, commands: &[Hash]) {
        let market = self.settled.executor().market();
        if self.set.is_lockstep && market.takes_tick(time) && self.step.as_ref().is_none_or(|step| !step.is_own) {
            self.step = Some(Step {
                time,
                commands: commands.to_vec(),
                is_own: false,
            });
        }
    }

    /// These will be in no further block.
    pub(super) fn forget_before_step(&mut self, commands: &[Hash]) {
        if let Some(step) = &mut self.step {
            let gone: HashSet<&Hash> = commands.iter().collect();
            step.commands.retain(|command| !gone.contains(command));
        }
    }

    /// Says that a Step is carried out, if it is.
    pub(super) fn end_step(&mut self) -> Result<(), Gone> {
        let state = self.settled.executor().market().state();
        match &self.step {
            Some(step) if state.time >= step.time => {
                let (time, height) = (step.time, self.settled.height());
                self.step = None;
                let seq = self.settled.next_seq() - 1;
                self.wiring.publish.send(Publication::Stepped { time, height, seq })
            }
            _ => Ok(()),
        }
    }

    /// Until when a leader waits for a Step before it makes a block without one.
    pub(super) fn patience(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.set.replicate.block_ms)
    }

    /// What the next block on the head holds; `None`: nothing yet, before `due`.
    pub(super) fn part(&self, due: Instant) -> Option<Part<'_>> {
        let before = self.head.executor().market().state().time;
        let short = TimeNs::new(before.get() + 1);
        let proposed = self.proposed();
        let step = self.step.as_ref().filter(|step| step.time > before);
        let here = |digest: &Hash| self.pool.has(digest) || proposed.contains(digest);
        match step.filter(|step| step.commands.iter().all(here)) {
            Some(step) => {
                let left = step.commands.iter().filter(|digest| !proposed.contains(digest));
                let mut commands: Vec<&Waiting> = left.filter_map(|digest| self.pool.get(digest)).collect();
                commands.sort_by_key(|waiting| order_in_step(&waiting.command.command));
                Some(Part {
                    commands,
                    whole: step.time,
                    short,
                })
            }
            None if Instant::now() < due => None,
            None => Some(Part {
                commands: Vec::new(),
                whole: short,
                short,
            }),
        }
    }
}
