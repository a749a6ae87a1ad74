//! The first half of a batch's way: encodings and messages to the device, their points on it.
//!
//! # Invariants
//! * The device runs commands in order and each writes what it reads, so chunks and batches share one room.

use crate::batch::Item;
use crate::gpu::curve::ISOGENOUS;
use crate::gpu::hash::{EXPANDED_LEN, Suite};
use crate::gpu::points::{Mode, Sums};
use crate::gpu::roots::{self, POINT_FLAGS, POINT_LEN, Roots, SIGNATURE_LEN};
use crate::gpu::{Buffer, Commands, Device};
use std::sync::{Arc, Mutex, PoisonError};

/// What batches need of a device: programs that stay there, and room that one batch after the other works in.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(super) device: Arc<Device>,
    suite: Suite,
    roots: Roots,
    room: Mutex<Room>,
}

/// Room for the longest chunk so far. The device runs commands in order, each writes what it reads, so chunks share it.
#[derive(Debug, Default)]
struct Room {
    uniform: Option<Buffer>,
    roots: Option<Buffer>,
    mapped: Option<Buffer>,
}

impl Room {
    /// `len` words of `slot`.
    fn words(slot: &mut Option<Buffer>, device: &Device, label: &str, len: usize) -> Buffer {
        match slot.as_ref().and_then(|buffer| buffer.first(len)) {
            Some(words) => words,
            None => slot.insert(device.buffer(label, len)).clone(),
        }
    }
}

impl Engine {
    /// Puts the programs for messages under the tag `dst` on the device; none for a tag of a size that the device does not
    /// hash.
    pub(crate) fn new(device: Arc<Device>, dst: &[u8]) -> Option<Self> {
        Some(Self {
            suite: Suite::new(&device, dst)?,
            roots: Roots::new(&device, ISOGENOUS.scale()),
            room: Mutex::default(),
            device,
        })
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Brings the items in `order` to the device.
    pub(super) fn place<'a>(&self, items: &[Item<'a>], order: &[usize]) -> Placed<'a> {
        let mut signatures = Vec::with_capacity(order.len() * SIGNATURE_LEN);
        let mut messages = Vec::with_capacity(order.len());
        for at in order {
            let item = &items[*at];
            signatures.extend(
                item.signature
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|word| u32::from_le_bytes(*word)),
            );
            messages.push(item.message);
        }
        let digests = messages.iter().map(|message| <&[u8; 32]>::try_from(*message).ok());
        let messages = match digests.collect::<Option<Vec<_>>>() {
            Some(digests) => {
                let words: Vec<u32> = digests
                    .iter()
                    .flat_map(|digest| digest.as_chunks::<4>().0)
                    .map(|word| u32::from_le_bytes(*word))
                    .collect();
                Messages::Digests(self.device.upload("messages", &words))
            }
            None => Messages::Any(messages),
        };
        Placed {
            n: order.len(),
            encodings: self.device.upload("encodings", &signatures),
            messages,
        }
    }

    /// The points of the items: signatures on E1, messages on E1', infinity both where a signature is none.
    pub(super) fn front(&self, commands: &mut Commands<'_>, placed: &Placed<'_>) -> Front {
        let (device, n) = (self.device(), placed.n);
        let [uniform, working, mapped] = {
            let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
            let Room { uniform, roots, mapped } = &mut *room;
            [
                Room::words(uniform, device, "uniform bytes", n * EXPANDED_LEN),
                Room::words(roots, device, "roots", Roots::working_len(n)),
                Room::words(mapped, device, "mapped messages", 2 * n * POINT_LEN),
            ]
        };
        match &placed.messages {
            Messages::Digests(digests) => self.suite.expand(commands, digests, &uniform, n),
            Messages::Any(messages) => self.suite.expand_any(device, commands, messages, &uniform),
        }
        let front = Front {
            signatures: device.buffer("signatures", n * POINT_LEN),
            messages: device.buffer("messages", n * POINT_LEN),
            flags: device.buffer("flags", n),
        };
        self.roots.run(
            commands,
            &roots::Batch {
                n,
                signatures: &placed.encodings,
                uniform: &uniform,
                working: &working,
                points: &front.signatures,
                flags: &front.flags,
                mapped: &mapped,
            },
        );
        let (mask, wanted) = POINT_FLAGS;
        Sums {
            curve: ISOGENOUS,
            mode: Mode::Paired {
                distance: n,
                mask,
                wanted,
            },
            source: &mapped,
            bounds: &front.flags,
            list: &front.flags,
            sums: &front.messages,
            into: 0,
            stride: 1,
            groups: n,
            places: 1,
            additions: 2,
        }
        .run(commands);
        front
    }
}

/// The inputs of a chunk on the device, in the order of its positions.
pub(super) struct Placed<'a> {
    pub(super) n: usize,
    pub(super) encodings: Buffer,
    pub(super) messages: Messages<'a>,
}

/// Messages of a chunk: digests go to the device as they are, others are hashed in blocks that the host lays out.
pub(super) enum Messages<'a> {
    Digests(Buffer),
    Any(Vec<&'a [u8]>),
}

/// Points of a chunk in the order of its positions.
pub(super) struct Front {
    pub(super) signatures: Buffer,
    pub(super) messages: Buffer,
    /// What the encodings are, for [`Class::from_flags`].
    pub(super) flags: Buffer,
}
