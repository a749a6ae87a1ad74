//! Where something stands, by a 64-bit key: an open-addressed table that nothing iterates, so its order reaches no event
//! and no root.
//!
//! # Contract
//! Keys need not be unique: [`Lookup::find`] asks the caller which of the places under a key is meant. Nothing is taken out.

/// A vacant slot's place.
const VACANT: u32 = u32::MAX;
/// Slots of the first table.
const SLOTS_MIN: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u64,
    place: u32,
}

/// Places by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookup {
    /// A power of two of them, at most half taken.
    slots: Vec<Slot>,
    len: usize,
}

/// Spreads a key over 64 bits: both halves of a 128-bit product.
const fn spread(key: u64) -> usize {
    let product = (key ^ 0x9e37_79b9_7f4a_7c15) as u128 * 0xd6e8_feb8_6659_fd93;
    (product as u64 ^ (product >> 64) as u64) as usize
}

impl Lookup {
    /// How many places were added.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The first place under `key` that is the one meant.
    pub(crate) fn find(&self, key: u64, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = spread(key) & mask;
        // BOUND: at least half of the slots are vacant.
        loop {
            let slot = self.slots[at];
            if slot.place == VACANT {
                return None;
            }
            if slot.key == key && is_meant(slot.place) {
                return Some(slot.place);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a place.
    ///
    /// # Panics
    /// With the place 2^32 - 1: the core opens no more accounts and makes no more deals of a contract.
    pub(crate) fn insert(&mut self, key: u64, place: u32) {
        assert!(place != VACANT, "INVARIANT: places stay below 2^32 - 1");
        if self.slots.len() < 2 * (self.len + 1) {
            self.grow();
        }
        self.put(Slot { key, place });
        self.len += 1;
    }

    fn put(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = spread(slot.key) & mask;
        while self.slots[at].place != VACANT {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let vacant = Slot { key: 0, place: VACANT };
        let slots = vec![vacant; (2 * self.slots.len()).max(SLOTS_MIN)];
        for slot in core::mem::replace(&mut self.slots, slots) {
            if slot.place != VACANT {
                self.put(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found_and_nothing_else() {
        let mut lookup = Lookup::default();
        assert_eq!(lookup.find(0, |_| true), None);
        for place in 0..3_000u32 {
            lookup.insert(u64::from(place / 2) << 20, place);
        }
        for place in 0..3_000u32 {
            let key = u64::from(place / 2) << 20;
            assert_eq!(lookup.find(key, |found| found == place), Some(place));
            assert_eq!(lookup.find(key + 1, |_| true), None);
        }
    }
}
