//! Bounded rings between stages: crossbeam channels behind the wait policy of the configuration.
//!
//! # Invariants
//! * Every ring is bounded. A stage that cannot hand on blocks, and so pushes back; the sockets' stage never blocks on
//!   another ([`Sender::try_send`]), which breaks the only cycle of the topology.

use crate::config::Wait;
use crossbeam::channel::{self, RecvTimeoutError, TryRecvError, TrySendError};
use std::time::Instant;

/// The far end is gone: the node is stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

/// Sending end.
#[derive(Debug)]
pub struct Sender<T>(channel::Sender<T>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Receiving end.
#[derive(Debug)]
pub struct Receiver<T> {
    channel: channel::Receiver<T>,
    wait: Wait,
}

/// A ring of `len` slots.
pub fn ring<T>(len: usize, wait: Wait) -> (Sender<T>, Receiver<T>) {
    let (sender, channel) = channel::bounded(len);
    (Sender(sender), Receiver { channel, wait })
}

impl<T> Sender<T> {
    /// Hands on, waiting for a free slot.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn send(&self, item: T) -> Result<(), Gone> {
        self.0.send(item).map_err(|_| Gone)
    }

    /// Hands on if there is a free slot; gives the item back otherwise.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn try_send(&self, item: T) -> Result<Option<T>, Gone> {
        match self.0.try_send(item) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(item)) => Ok(Some(item)),
            Err(TrySendError::Disconnected(_)) => Err(Gone),
        }
    }
}

impl<T> Receiver<T> {
    /// Whether nothing is there now.
    pub fn is_empty(&self) -> bool {
        self.channel.is_empty()
    }

    /// The next item, if one is there.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn try_recv(&self) -> Result<Option<T>, Gone> {
        match self.channel.try_recv() {
            Ok(item) => Ok(Some(item)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }

    /// The next item.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn recv(&self) -> Result<T, Gone> {
        if self.wait == Wait::Park {
            return self.channel.recv().map_err(|_| Gone);
        }
        loop {
            match self.try_recv()? {
                Some(item) => return Ok(item),
                None => self.idle(),
            }
        }
    }

    /// The next item until `deadline`.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Option<T>, Gone> {
        if self.wait == Wait::Park {
            return match self.channel.recv_deadline(deadline) {
                Ok(item) => Ok(Some(item)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(Gone),
            };
        }
        loop {
            match self.try_recv()? {
                Some(item) => return Ok(Some(item)),
                None if Instant::now() >= deadline => return Ok(None),
                None => self.idle(),
            }
        }
    }

    fn idle(&self) {
        if self.wait == Wait::Yield {
            std::thread::yield_now()
        } else {
            std::hint::spin_loop()
        }
    }
}
