//! Who leads when: the terms of an epoch, and how many of them were lost.
//!
//! An epoch is a fixed number of blocks; its views count from 1 and are grouped in terms of equal length, which count
//! from 1 too. Term k is led by the delegate of rank (k - 1) mod n, so every epoch starts with the least emission. A term
//! ends early only by a nullification: the views of two blocks in a row tell how many terms were lost between them.
//!
//! # Invariants
//! * Pure functions of the numbers in headers: whoever reads the headers computes the same.
//! * A parent in the last view of its term served it out; that term is not lost.

use core::num::NonZeroU32;

/// Lengths of epochs and terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// Views in a term; so many that no term ends but by its leader's failure.
    pub term_views: NonZeroU32,
}

impl Schedule {
    /// The epoch of a height from 1; genesis precedes epoch 0.
    pub const fn epoch_of(&self, height: u64) -> u64 {
        height.saturating_sub(1) / self.epoch_blocks
    }

    /// Whether `height` is the last of its epoch.
    pub const fn is_border(&self, height: u64) -> bool {
        height != 0 && height.is_multiple_of(self.epoch_blocks)
    }

    /// The term of a view; 0 before the epoch's first.
    pub const fn term_of(&self, view: u64) -> u64 {
        view.div_ceil(self.term_views.get() as u64)
    }

    /// The rank that leads a view of an epoch with `seats` seats.
    pub const fn leader_of(&self, view: u64, seats: usize) -> usize {
        (self.term_of(view).saturating_sub(1) % seats as u64) as usize
    }

    /// Terms lost between a parent in `parent_view` (0: before the epoch's first block) and a block in `view`, by rank.
    pub fn lost(&self, seats: usize, parent_view: u64, view: u64) -> Vec<u64> {
        let seats = seats as u64;
        let first = self.term_of(parent_view.saturating_add(1)).max(1);
        let lost = self.term_of(view).saturating_sub(first);
        (0..seats)
            .map(|rank| {
                let after = (rank + seats - (first - 1) % seats) % seats;
                lost / seats + u64::from(after < lost % seats)
            })
            .collect()
    }

    /// `missed`, by rank, with the terms lost between a parent in `parent_view` (0: the epoch's first block) and a
    /// block in `view`.
    pub fn advance(&self, missed: &mut [u32], parent_view: u64, view: u64) {
        let lost = self.lost(missed.len(), parent_view, view);
        for (count, lost) in missed.iter_mut().zip(lost) {
            *count = count.saturating_add(u32::try_from(lost).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

    use super::*;
    use proptest::prelude::*;

    fn schedule(epoch_blocks: u64, term_views: u32) -> Schedule {
        Schedule {
            epoch_blocks,
            term_views: NonZeroU32::new(term_views).unwrap(),
        }
    }

    #[test]
    fn epochs_begin_after_their_border() {
        let schedule = schedule(10, 100);
        assert_eq!([0, 1, 10, 11, 20, 21].map(|h| schedule.epoch_of(h)), [0, 0, 0, 1, 1, 2]);
        assert_eq!(
            [0, 1, 9, 10, 11, 20].map(|h| schedule.is_border(h)),
            [false, false, false, true, false, true]
        );
        assert_eq!(
            [0, 1, 100, 101, 200, 201].map(|v| schedule.term_of(v)),
            [0, 1, 1, 2, 2, 3]
        );
        assert_eq!(
            [1, 100, 101, 401, 501].map(|v| schedule.leader_of(v, 5)),
            [0, 0, 1, 4, 0]
        );
    }

    #[test]
    fn a_served_term_is_not_lost() {
        let schedule = schedule(10, 100);
        let missed = |parent, view| {
            let mut missed = [0; 4];
            schedule.advance(&mut missed, parent, view);
            missed
        };
        assert_eq!(missed(0, 1), [0, 0, 0, 0]);
        assert_eq!(missed(7, 8), [0, 0, 0, 0]);
        assert_eq!(missed(0, 101), [1, 0, 0, 0], "the first leader never proposed");
        assert_eq!(missed(7, 101), [1, 0, 0, 0], "the first leader stopped within its term");
        assert_eq!(missed(100, 101), [0, 0, 0, 0], "the first leader served its term out");
        assert_eq!(missed(7, 601), [2, 2, 1, 1], "six terms from the first on");
        assert_eq!(missed(u64::MAX, u64::MAX), [0; 4], "no view follows");
        assert_eq!(missed(0, 0), [0; 4]);
    }

    proptest! {
        #[test]
        fn advance_counts_term_by_term(seats in 1usize..9, length in 2u32..9, parent in 0u64..200, jump in 1u64..200) {
            let schedule = schedule(10, length);
            let view = parent + jump;
            let mut expected = vec![0u32; seats];
            // The obvious way: walk the views from the parent's on, and charge every term left without a block.
            let mut terms: Vec<u64> = (parent + 1..=view).map(|view| schedule.term_of(view)).collect();
            terms.dedup();
            terms.pop();
            for term in terms {
                expected[((term - 1) % seats as u64) as usize] += 1;
            }
            let mut missed = vec![0u32; seats];
            schedule.advance(&mut missed, parent, view);
            prop_assert_eq!(missed, expected);
        }
    }
}
