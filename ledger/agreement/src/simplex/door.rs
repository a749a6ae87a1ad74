//! The way from the engine's tasks to the application: in order, without waiting.

use crate::{
    block::Candidate,
    evidence::Evidence,
    seam::{Answer, Application, Final, LostTerm, Role, Seating, Slot},
};
use futures::channel::oneshot;
use std::{
    sync::{Arc, mpsc},
    thread,
};

/// One call of [`Application`].
pub(super) enum Request {
    Seating {
        epoch: u64,
        answer: Answer<Option<Seating>>,
    },
    Seated {
        epoch: u64,
        role: Role,
    },
    Propose {
        slot: Slot,
        chain: Vec<Candidate>,
        answer: Answer<Option<Vec<u8>>>,
    },
    Verify {
        slot: Slot,
        chain: Vec<Candidate>,
        block: Candidate,
        answer: Answer<bool>,
    },
    Deliver {
        block: Final,
        done: Answer<()>,
    },
    Lost(LostTerm),
    Accuse(Evidence),
    Heard {
        from: [u8; 32],
        bytes: Vec<u8>,
    },
}

/// Hands requests on; cheap to clone.
#[derive(Clone)]
pub(super) struct Door(Arc<dyn Fn(Request) + Send + Sync>);

impl Door {
    /// A door to an application on a thread of its own, which ends with the last clone of the door.
    ///
    /// # Errors
    /// The operating system has no thread.
    pub(super) fn threaded(mut application: Box<dyn Application>) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (sender, receiver) = mpsc::channel::<Request>();
        let worker = thread::Builder::new().name("application".into()).spawn(move || {
            for request in receiver {
                serve(&mut *application, request);
            }
        })?;
        // After the application's thread ended nobody answers, and nothing goes on.
        Ok((Self(Arc::new(move |request| drop(sender.send(request)))), worker))
    }

    /// A door that calls at once, on the caller's thread: what a deterministic run needs.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn inline(application: impl Application) -> Self {
        let application = std::sync::Mutex::new(application);
        Self(Arc::new(move |request| {
            let mut application = application.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            serve(&mut *application, request);
        }))
    }

    /// Tells the application something.
    pub(super) fn tell(&self, request: Request) {
        (self.0)(request);
    }

    /// Asks it something; `None` where it dropped the question.
    pub(super) async fn ask<T: Send + 'static>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Option<T> {
        let (answer, heard) = oneshot::channel();
        // Whoever asked may be gone by the time of the answer.
        self.tell(request(Answer::new(move |value| drop(answer.send(value)))));
        heard.await.ok()
    }
}

/// One request, one call.
fn serve(application: &mut dyn Application, request: Request) {
    match request {
        Request::Seating { epoch, answer } => answer.give(application.seating(epoch)),
        Request::Seated { epoch, role } => application.seated(epoch, role),
        Request::Propose { slot, chain, answer } => application.propose(slot, chain, answer),
        Request::Verify {
            slot,
            chain,
            block,
            answer,
        } => application.verify(slot, chain, block, answer),
        Request::Deliver { block, done } => application.deliver(block, done),
        Request::Lost(term) => application.lost(term),
        Request::Accuse(evidence) => application.accuse(evidence),
        Request::Heard { from, bytes } => application.heard(from, bytes),
    }
}
