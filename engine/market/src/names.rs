//! Where a book's orders rest, by name: an open-addressed table that nothing iterates.
//!
//! # Contract
//! * Names are hashed under a secret of the process, so that nobody can choose names that collide; neither it nor the
//!   order of the table reaches an event or a root.
//! * The table keeps 32 bits of a name's hash and a handle; the caller knows the name behind a handle.
//!
//! # Invariants
//! * At least a quarter of the slots is vacant, and none between an order's slot and the one its hash asks for.

use std::hash::{BuildHasher, RandomState};
use wattbook_book::Handle;
use wattbook_types::OrderId;

/// Slots of the first table.
const SLOTS_MIN: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// [`Slot::VACANT`]: none.
    handle: u32,
}

impl Slot {
    const VACANT: Self = Self {
        hash: 0,
        handle: u32::MAX,
    };

    const fn is_vacant(self) -> bool {
        self.handle == u32::MAX
    }
}

/// Handles by name.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    secret: [u64; 3],
    /// A power of two of them.
    slots: Vec<Slot>,
    len: usize,
}

impl Names {
    /// An empty table under a fresh secret.
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self {
            secret: [0, 1, 2].map(|number: u64| random.hash_one(number)),
            slots: vec![Slot::VACANT; SLOTS_MIN],
            len: 0,
        }
    }

    /// Both halves of a product of two secret factors.
    #[inline]
    fn hash(&self, name: &OrderId) -> u32 {
        let [a, b, c] = self.secret;
        let fold = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            product as u64 ^ (product >> 64) as u64
        };
        let owner = name.participant.get() ^ u64::from(name.index).rotate_left(32);
        fold(fold(owner ^ a, name.nonce ^ b), c) as u32
    }

    /// Slot of a name, or the vacant one where it would go; `is_meant` tells whether a handle goes by this name.
    #[inline]
    fn slot(&self, hash: u32, is_meant: impl Fn(Handle) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.is_vacant() || (slot.hash == hash && is_meant(Handle::new(slot.handle))) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    /// The handle of a name.
    #[inline]
    pub(crate) fn find(&self, name: &OrderId, is_meant: impl Fn(Handle) -> bool) -> Option<Handle> {
        let slot = self.slots[self.slot(self.hash(name), is_meant)];
        (!slot.is_vacant()).then(|| Handle::new(slot.handle))
    }

    /// The handle of a name if it stands where its hash asks for: one read, which may be wrong.
    #[inline]
    pub(crate) fn glance(&self, name: &OrderId) -> Option<Handle> {
        let hash = self.hash(name);
        let slot = self.slots[hash as usize & (self.slots.len() - 1)];
        (slot.hash == hash && !slot.is_vacant()).then(|| Handle::new(slot.handle))
    }

    /// Adds a name that is not there.
    #[inline]
    pub(crate) fn insert(&mut self, name: &OrderId, handle: Handle) {
        if 3 * self.slots.len() < 4 * (self.len + 1) {
            self.grow();
        }
        self.put(Slot {
            hash: self.hash(name),
            handle: handle.get(),
        });
        self.len += 1;
    }

    fn put(&mut self, slot: Slot) {
        let at = self.slot(slot.hash, |_| false);
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let slots = vec![Slot::VACANT; 2 * self.slots.len()];
        for slot in core::mem::replace(&mut self.slots, slots) {
            if !slot.is_vacant() {
                self.put(slot);
            }
        }
    }

    /// Takes the name of `handle` out.
    ///
    /// # Panics
    /// If the handle does not go by it.
    #[inline]
    pub(crate) fn remove(&mut self, name: &OrderId, handle: Handle) {
        let mask = self.slots.len() - 1;
        let mut hole = self.slot(self.hash(name), |found| found == handle);
        assert!(!self.slots[hole].is_vacant(), "INVARIANT: a resting order has its name");
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.is_vacant() {
                break;
            }
            // It moves back into the hole unless its own place lies behind that.
            let displaced = at.wrapping_sub(slot.hash as usize) & mask;
            if displaced >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = Slot::VACANT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use wattbook_types::ParticipantId;

    #[test]
    fn names_come_and_go_as_in_a_map() {
        let name = |n: u64| OrderId {
            participant: ParticipantId::new(n % 7),
            nonce: n / 7,
            index: (n % 3) as u32,
        };
        let (mut names, mut model) = (Names::new(), BTreeMap::new());
        // All in one slot, then spread: whatever the secret, displaced ones move back.
        for secret in [[0; 3], names.secret] {
            names.secret = secret;
            for step in 0..4_000u64 {
                let n = step * step % 389;
                match model.remove(&n) {
                    Some(handle) => names.remove(&name(n), handle),
                    None => {
                        let handle = Handle::new(step as u32);
                        names.insert(&name(n), handle);
                        model.insert(n, handle);
                    }
                }
                if step % 16 == 0 {
                    for n in 0..389 {
                        let handle = model.get(&n).copied();
                        assert_eq!(names.find(&name(n), |found| Some(found) == handle), handle);
                    }
                }
            }
            for (n, handle) in core::mem::take(&mut model) {
                names.remove(&name(n), handle);
            }
            assert_eq!(names.len, 0);
            assert!(names.slots.iter().all(|slot| slot.is_vacant()));
        }
    }
}
