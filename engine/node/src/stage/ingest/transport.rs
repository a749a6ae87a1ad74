//! What a backend of the sockets does: connections open, bytes come, bytes go, connections close.
//!
//! # Invariants
//! * A connection opens once, then its bytes come in order, then it closes once: by itself, which is told, or by
//!   [`Transport::close`], which is not.
//! * Bytes that came stay where they were read until they are given back; while enough of them are out, no more are read.
//! * Nothing but [`Transport::turn`] makes a system call, except for a connection's end.

use super::SessionId;
use super::ready::Ready;
use super::uring::Uring;
use crate::config;
use rustix::event::{EventfdFlags, eventfd};
use std::fmt;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Connections taken from the kernel beyond the sessions configured, so that each can be told why it is refused.
pub(super) const SPARE_CONNECTIONS: usize = 256;

/// Bytes that were read, and stay where they are until given back.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The buffer.
    pub(super) buffer: u16,
    /// First byte not looked at yet.
    pub(super) start: usize,
    /// End of the bytes.
    pub(super) end: usize,
}

/// What happened to a connection.
#[derive(Debug)]
pub(super) enum Happened {
    /// It was accepted.
    Opened(SessionId, IpAddr),
    /// Bytes came.
    Received(SessionId, Chunk),
    /// It is over.
    Closed(SessionId),
}

/// A backend of the sockets.
pub(super) trait Transport: fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Sends what waits, and learns what happened; waits for that at most `timeout`.
    ///
    /// # Errors
    /// The system's answer; single connections only close.
    fn turn(&mut self, timeout: Duration) -> io::Result<()>;

    /// The next thing that happened.
    fn next(&mut self) -> Option<Happened>;

    /// Whether [`Self::next`] has more without another turn.
    fn has_more(&self) -> bool;

    /// Bytes not looked at yet.
    fn bytes(&self, chunk: &Chunk) -> &[u8];

    /// Bytes are no longer needed.
    fn give_back(&mut self, chunk: Chunk);

    /// Queues bytes to a connection; nothing where it is gone.
    fn send(&mut self, id: SessionId, bytes: &[u8]);

    /// Bytes that wait for a connection.
    fn unsent(&self, id: SessionId) -> usize;

    /// Whether no connection has bytes that wait.
    fn is_sent(&self) -> bool;

    /// Tells the peer that nothing comes after what is queued; what it still sends is received until it ends the connection
    /// too, or [`Self::close`] does.
    fn close_when_sent(&mut self, id: SessionId);

    /// Ends a connection.
    fn close(&mut self, id: SessionId);
}

/// Wakes the sockets' thread.
#[derive(Debug)]
pub struct Bell {
    event: OwnedFd,
    is_asleep: AtomicBool,
}

impl Bell {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    /// The system's answer.
    pub fn new() -> io::Result<Arc<Self>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let is_asleep = AtomicBool::new(false);
        Ok(Arc::new(Self { event, is_asleep }))
    }

    /// Wakes the thread if it sleeps or is about to; what was handed over before will be seen.
    pub fn ring(&self) {
        // Either the sleeper sees what was handed over, or this sees the sleeper.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            // A failed wake only delays the sockets until their next turn.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// The thread is about to sleep: it must look once more for what may have been handed over.
    pub(super) fn fall_asleep(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The thread is awake.
    pub(super) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Takes the rings so far.
    pub(super) fn drain(&self) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Opens the backend that is asked for; where the kernel refuses io_uring it is mio, with a line in the log.
///
/// # Errors
/// The system's answer.
pub(super) fn open(
    backend: config::Backend,
    listener: TcpListener,
    bell: Arc<Bell>,
    connections_max: usize,
) -> io::Result<Box<dyn Transport>> {
    let listener = match backend {
        config::Backend::Mio => listener,
        config::Backend::Auto | config::Backend::IoUring => {
            match Uring::open(listener.try_clone()?, Arc::clone(&bell), connections_max) {
                Ok(ring) => return Ok(Box::new(ring)),
                Err(error) => {
                    tracing::warn!(%error, "the kernel refuses io_uring: the sockets go on with mio");
                    listener
                }
            }
        }
    };
    Ok(Box::new(Ready::open(listener, bell, connections_max)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rings_once_for_each_sleep() {
        let bell = Bell::new().unwrap();
        let rung = || {
            let mut count = [0; 8];
            match rustix::io::read(&bell.event, &mut count) {
                Ok(_) => u64::from_ne_bytes(count),
                Err(_) => 0,
            }
        };
        bell.ring();
        assert_eq!(rung(), 0, "nobody sleeps");
        bell.fall_asleep();
        bell.ring();
        bell.ring();
        assert_eq!(rung(), 1);
        bell.fall_asleep();
        bell.wake_up();
        bell.ring();
        assert_eq!(rung(), 0);
    }
}
