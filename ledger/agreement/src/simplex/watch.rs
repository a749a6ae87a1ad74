//! What the engine reports of votes and certificates, told to the application: terms given up, rules broken.

use super::{
    Digest, Scheme,
    door::{Door, Request},
    seats::Seats,
};
use crate::{ballot::Namespace, seam::LostTerm};
use commonware_actor::Feedback;
use commonware_consensus::{Reporter, Viewable, simplex::types::Activity};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};
use wattbook_types::schedule::Schedule;

/// Watches one epoch.
#[derive(Clone)]
pub(super) struct Watch(Arc<Epoch>);

struct Epoch {
    door: Door,
    schedule: Schedule,
    namespace: Namespace,
    epoch: u64,
    seats: Arc<Seats>,
    told: Mutex<Told>,
}

/// What was said already, so that it is said once.
#[derive(Default)]
struct Told {
    lost: BTreeSet<u64>,
    accused: BTreeSet<u8>,
}

impl Watch {
    pub(super) fn new(door: Door, schedule: Schedule, namespace: Namespace, epoch: u64, seats: Arc<Seats>) -> Self {
        Self(Arc::new(Epoch {
            door,
            schedule,
            namespace,
            epoch,
            seats,
            told: Mutex::default(),
        }))
    }
}

impl Reporter for Watch {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let watch = &*self.0;
        let told = || watch.told.lock().unwrap_or_else(PoisonError::into_inner);
        match &activity {
            Activity::Nullification(given_up) => {
                let view = given_up.view().get();
                let term = watch.schedule.term_of(view);
                if told().lost.insert(term) {
                    let rank = watch.schedule.leader_of(view, watch.seats.peers.len());
                    let leader = watch.seats.committee.seats()[rank].participant;
                    watch.door.tell(Request::Lost(LostTerm {
                        epoch: watch.epoch,
                        term,
                        view,
                        leader,
                    }));
                }
            }
            Activity::ConflictingNotarize(_) | Activity::ConflictingFinalize(_) | Activity::NullifyFinalize(_) => {
                if let Some((epoch, evidence)) = watch.seats.evidence(&activity, &watch.namespace)
                    && epoch == watch.epoch
                    && told().accused.insert(evidence.rank)
                {
                    watch.door.tell(Request::Accuse(evidence));
                }
            }
            _ => {}
        }
        Feedback::Ok
    }
}
