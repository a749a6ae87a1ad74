//! How the items of a chunk lie on the device: in slots of one key, which need sums of the same kind next to each other.

use super::sums::{SCALED_LEN_MAX, SLOT_LEN_MAX};
use crate::rlc::Width;
use core::ops::Range;

/// Points of a slot from which five trits a window make fewer additions than two.
pub(super) const FIVE_FROM: usize = 512;

/// How the items of a chunk lie: kind by kind, key by key, slot by slot.
#[derive(Clone)]
pub(super) struct Layout {
    /// Item of every position.
    pub(super) order: Vec<usize>,
    pub(super) kinds: Vec<Kind>,
}

/// Slots whose sums are found the same way.
#[derive(Clone)]
pub(super) struct Kind {
    /// Trits of a window; none where points are multiplied one by one.
    pub(super) width: Option<Width>,
    pub(super) slots: Vec<Slot>,
}

/// Positions with one key.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) key: usize,
    pub(super) positions: Range<usize>,
}

impl Layout {
    pub(super) fn new(items: Range<usize>, slots_max: usize, key_of: impl Fn(usize) -> usize) -> Self {
        let mut by_key: Vec<(usize, usize)> = items.map(|item| (key_of(item), item)).collect();
        by_key.sort_unstable();
        let slots = by_key
            .chunk_by(|a, b| a.0 == b.0)
            .flat_map(|items| items.chunks(SLOT_LEN_MAX));
        let (mut order, mut kinds) = (Vec::with_capacity(by_key.len()), Vec::new());
        let lens = [
            (None, 0..=SCALED_LEN_MAX),
            (Some(Width::Two), SCALED_LEN_MAX + 1..=FIVE_FROM - 1),
            (Some(Width::Five), FIVE_FROM..=SLOT_LEN_MAX),
        ];
        for (width, lens) in lens {
            let mut of_kind = Vec::new();
            for slot in slots.clone().filter(|slot| lens.contains(&slot.len())) {
                let start = order.len();
                order.extend(slot.iter().map(|(_, item)| item));
                of_kind.push(Slot {
                    key: slot[0].0,
                    positions: start..order.len(),
                });
            }
            while !of_kind.is_empty() {
                let slots = of_kind.drain(..of_kind.len().min(slots_max)).collect();
                kinds.push(Kind { width, slots });
            }
        }
        Self { order, kinds }
    }
}
