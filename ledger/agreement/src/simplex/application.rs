//! What the engine asks of an application, put to ours: heads are checked here, contents there.

use super::{
    Digest, PeerKey, Scheme,
    door::{Door, Request},
    seats::{Committees, Seats},
    wire::{Carried, Shape, digest},
};
use crate::{
    block::{Candidate, Head},
    seam::{Settings, Slot, Time},
};
use commonware_consensus::{Application, marshal::ancestry::Ancestry, simplex::types::Context};
use commonware_cryptography::Digested;
use commonware_runtime::Clock;
use core::{future::pending, time::Duration};
use futures::StreamExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};
use tracing::{error, warn};

/// How far a block's time may lie behind a voter's clock (PROTOCOL 7).
const PAST_NS: u64 = 2_000_000_000;
/// How far it may lie before it; later ones wait (PROTOCOL 7).
const FUTURE_NS: u64 = 500_000_000;

/// The node's application, as the engine sees it.
#[derive(Clone)]
pub(super) struct Hosted {
    pub(super) door: Door,
    pub(super) settings: Arc<Settings>,
    pub(super) shape: Shape,
    pub(super) committees: Committees,
    /// Height of the last block whose delivery was acknowledged.
    pub(super) delivered: Arc<AtomicU64>,
    /// What this node's clock is wrong by, ns; simulations set it.
    pub(super) clock_error_ns: i64,
}

/// The clock's nanoseconds since 1970.
pub(super) fn now_ns(clock: &impl Clock) -> u64 {
    let since = clock.current().duration_since(UNIX_EPOCH).unwrap_or_default();
    // BOUND: u64 nanoseconds last until 2554.
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What the head of a block in this view, on this parent, must say.
pub(super) fn slot(settings: &Settings, seats: &Seats, parent: &Head, epoch: u64, view: u64) -> Slot {
    let schedule = &settings.schedule;
    let height = parent.height + 1;
    let goes_on = parent.height != 0 && parent.epoch == epoch;
    let (mut missed, parent_view) = if goes_on {
        (parent.missed.clone().unwrap_or_default(), parent.view)
    } else {
        (Vec::new(), 0)
    };
    missed.resize(seats.peers.len(), 0);
    schedule.advance(&mut missed, parent_view, view);
    let rank = schedule.leader_of(view, seats.peers.len());
    Slot {
        height,
        epoch,
        view,
        term: schedule.term_of(view),
        leader: seats.committee.seats()[rank].participant,
        parent: parent.digest,
        missed,
        is_border: schedule.is_border(height),
    }
}

/// What of a head is not as its slot demands.
pub(super) fn misfit(slot: &Slot, parent: &Head, head: &Head) -> Option<&'static str> {
    let checks = [
        (head.parent == slot.parent, "parent"),
        (head.height == slot.height, "height"),
        (head.epoch == slot.epoch, "epoch"),
        (head.view == slot.view, "view"),
        (head.producer.is_none_or(|producer| producer == slot.leader), "producer"),
        (
            head.missed.as_ref().is_none_or(|missed| *missed == slot.missed),
            "missed terms",
        ),
        (head.time > parent.time, "time"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
}

impl Hosted {
    /// What this node takes for the time, ns since 1970.
    fn now(&self, clock: &impl Clock) -> u64 {
        now_ns(clock).saturating_add_signed(self.clock_error_ns)
    }

    /// Waits until it takes the time for `due`.
    async fn sleep_until(&self, clock: &impl Clock, due: u64) {
        let wait = due.saturating_sub(self.now(clock));
        if wait > 0 {
            clock.sleep(Duration::from_nanos(wait)).await;
        }
    }

    /// The blocks that the application may not have, oldest first, with at least the parent; `None` where an ancestor cannot
    /// be had.
    async fn chain(&self, mut ancestry: impl Ancestry<Carried>) -> Option<Vec<Candidate>> {
        let delivered = self.delivered.load(Ordering::Acquire);
        let mut chain = Vec::new();
        loop {
            let block = ancestry.next().await?.inner().0.clone();
            let height = block.head().height;
            chain.push(block);
            if height <= delivered + 1 {
                chain.reverse();
                return Some(chain);
            }
        }
    }

    fn slot(&self, context: &Context<Digest, PeerKey>, parent: &Head) -> Option<Slot> {
        let epoch = context.round.epoch().get();
        let seats = self.committees.get(epoch)?;
        Some(slot(&self.settings, &seats, parent, epoch, context.round.view().get()))
    }

    async fn build(
        &self,
        clock: &impl Clock,
        context: &Context<Digest, PeerKey>,
        ancestry: impl Ancestry<Carried>,
    ) -> Option<Digested<Carried>> {
        let chain = self.chain(ancestry).await?;
        let parent = chain.last()?.clone();
        let slot = self.slot(context, parent.head())?;
        let mut due = match self.settings.time {
            Time::Simulated => 0,
            Time::Real => (parent.head().time.get()).saturating_add(self.settings.pace.as_nanos() as u64),
        };
        if parent.head().height != 0 && parent.head().epoch != slot.epoch {
            due = due.max(
                self.now(clock)
                    .saturating_add(self.settings.border_pause.as_nanos() as u64),
            );
        }
        self.sleep_until(clock, due).await;
        let asked = slot.clone();
        let bytes = self
            .door
            .ask(|answer| Request::Propose {
                slot: asked,
                chain,
                answer,
            })
            .await??;
        let block = match self.shape.read(bytes) {
            Ok(block) => block,
            Err(reason) => {
                error!(height = slot.height, %reason, "the application proposed what is no block");
                return None;
            }
        };
        if let Some(what) = misfit(&slot, parent.head(), block.head()) {
            error!(
                height = slot.height,
                what, "the application proposed a block that nobody would take"
            );
            return None;
        }
        let digest = digest(block.head().digest);
        Some(Digested::precomputed(Carried(block), digest))
    }

    /// `None`: cannot be judged yet.
    async fn judge(
        &self,
        clock: &impl Clock,
        context: &Context<Digest, PeerKey>,
        mut ancestry: impl Ancestry<Carried>,
    ) -> Option<bool> {
        let block = ancestry.next().await?.inner().0.clone();
        let chain = self.chain(ancestry).await?;
        let parent = chain.last()?;
        let slot = self.slot(context, parent.head())?;
        if let Some(what) = misfit(&slot, parent.head(), block.head()) {
            warn!(
                height = slot.height,
                view = slot.view,
                what,
                "refused a block for its head"
            );
            return Some(false);
        }
        if self.settings.time == Time::Real {
            let time = block.head().time.get();
            if time.saturating_add(PAST_NS) < self.now(clock) {
                warn!(height = slot.height, view = slot.view, "refused a block for its age");
                return Some(false);
            }
            self.sleep_until(clock, time.saturating_sub(FUTURE_NS)).await;
        }
        self.door
            .ask(|answer| Request::Verify {
                slot,
                chain,
                block,
                answer,
            })
            .await
    }
}

impl<E: Clock + Send + Sync + 'static> Application<E> for Hosted {
    type SigningScheme = Scheme;
    type Context = Context<Digest, PeerKey>;
    type Block = Carried;
    type Input = ();

    async fn propose(
        &mut self,
        (clock, context): (E, Self::Context),
        ancestry: impl Ancestry<Carried>,
        (): (),
    ) -> Option<Digested<Carried>> {
        self.build(&clock, &context, ancestry).await
    }

    async fn verify(&mut self, (clock, context): (E, Self::Context), ancestry: impl Ancestry<Carried>) -> bool {
        match self.judge(&clock, &context, ancestry).await {
            Some(valid) => valid,
            // The engine drops the question when the view is over.
            None => pending().await,
        }
    }
}
