//! The nonce window of an account (PROTOCOL 3): which nonces have been used, and by which record.
//!
//! # Contract
//! The base is the highest nonce below which every one has been used or burned. A nonce can be used within
//! [`NONCE_WINDOW`] above it; of as many at and below it the record is remembered.
//!
//! # Format
//! Sequence numbers stand in chunks of `CHUNK_LEN` consecutive nonces, from the first that the window reaches to the last
//! that was used. An account that never sent anything has none. The state root covers which nonces have been used, by the
//! base and `Nonces::above`; their records are in the log.

use std::collections::VecDeque;
use wattbook_types::Reject;

/// Nonces above the base that are taken.
pub const NONCE_WINDOW: u64 = 1_024;
/// Sequence numbers in a chunk.
const CHUNK_LEN: usize = 64;

/// Which nonces have been used, and by which record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nonces {
    base: u64,
    /// The highest nonce that has been used; nothing above it needs a look.
    highest: u64,
    /// Sequence numbers plus one, 0 where unused, from the chunk of [`Self::remembered_from`] on.
    chunks: VecDeque<[u64; CHUNK_LEN]>,
}

const fn place(nonce: u64) -> (u64, usize) {
    (nonce / CHUNK_LEN as u64, nonce as usize % CHUNK_LEN)
}

impl Nonces {
    /// The base: the least nonce that can be used is one above.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// The first nonce whose record is remembered.
    const fn remembered_from(&self) -> u64 {
        self.base.saturating_sub(NONCE_WINDOW) + 1
    }

    /// Number of the first chunk.
    const fn first(&self) -> u64 {
        place(self.remembered_from()).0
    }

    /// The record of a nonce plus one; 0: unused, or not remembered.
    fn record(&self, nonce: u64) -> u64 {
        if nonce > self.highest {
            return 0;
        }
        let (chunk, slot) = place(nonce);
        let chunk = chunk
            .checked_sub(self.first())
            .and_then(|i| self.chunks.get(i as usize));
        chunk.map_or(0, |records| records[slot])
    }

    /// Reads what marking a nonce will need.
    #[inline]
    pub(crate) fn glance(&self, nonce: u64) {
        let (chunk, slot) = place(nonce);
        if let Some(records) = self.chunks.get(chunk.wrapping_sub(self.first()) as usize) {
            core::hint::black_box(records[slot]);
        }
    }

    /// Whether `nonce` may be used; else the refusal, with the original record where it is known.
    pub fn check(&self, nonce: u64) -> Result<(), (Reject, u64)> {
        let beyond = nonce > self.base && nonce - self.base > NONCE_WINDOW;
        let forgotten = nonce < self.remembered_from();
        if beyond || forgotten {
            return Err((Reject::NonceOutOfWindow, 0));
        }
        match self.record(nonce) {
            0 => Ok(()),
            record => Err((Reject::Duplicate, record - 1)),
        }
    }

    /// Whether `nonce` has been used, as far as the window knows.
    pub fn is_used(&self, nonce: u64) -> bool {
        nonce <= self.base || self.record(nonce) != 0
    }

    /// Marks a nonce that [`Self::check`] let pass.
    pub fn mark(&mut self, nonce: u64, seq: u64) {
        debug_assert!(self.check(nonce).is_ok());
        let (number, slot) = place(nonce);
        // BOUND: a nonce lies at most a window above the base, so at most 33 chunks are kept.
        let first = self.first();
        while first + self.chunks.len() as u64 <= number {
            self.chunks.reserve_exact(1);
            self.chunks.push_back([0; CHUNK_LEN]);
        }
        self.chunks[(number - first) as usize][slot] = seq + 1;
        self.highest = self.highest.max(nonce);
        if nonce == self.base + 1 {
            self.advance();
        }
    }

    /// Moves the base up over what has been used and lets go of what lies a window behind it.
    fn advance(&mut self) {
        let mut base = self.base + 1;
        while self.record(base + 1) != 0 {
            base += 1;
        }
        let first = self.first();
        self.base = base;
        for _ in first..self.first() {
            self.chunks.pop_front();
        }
    }

    /// The used nonces the window remembers.
    pub fn used(&self) -> impl Iterator<Item = (u64, u64)> {
        let keep_from = self.remembered_from();
        let chunks = (self.first()..).zip(&self.chunks);
        let all = chunks.flat_map(|(number, chunk)| (number * CHUNK_LEN as u64..).zip(*chunk));
        all.filter(move |(nonce, record)| *record != 0 && *nonce >= keep_from)
            .map(|(nonce, record)| (nonce, record - 1))
    }

    /// What it remembers of every nonce from the first of its memory to the highest used: the record plus one, or 0.
    pub(crate) fn remembered(&self) -> impl ExactSizeIterator<Item = u64> {
        let from = self.remembered_from();
        // BOUND: at most two windows.
        let len = (self.highest + 1).saturating_sub(from) as usize;
        (0..len).map(move |at| self.record(from + at as u64))
    }

    /// The window with this base that remembers these records; `None` if no window does.
    pub(crate) fn restore(base: u64, remembered: &[u64]) -> Option<Self> {
        let mut nonces = Self {
            base,
            ..Self::default()
        };
        let from = nonces.remembered_from();
        let highest = from.checked_add(remembered.len() as u64)?.checked_sub(1)?;
        let fits = base < u64::MAX >> 1 && (base..=base + NONCE_WINDOW).contains(&highest);
        // Everything up to the base is used, and so is the highest, but not the one above the base.
        let known = (base - base.saturating_sub(NONCE_WINDOW)) as usize;
        let below = remembered.iter().take(known).all(|record| *record != 0);
        let above = remembered.get(known).is_none_or(|record| *record == 0);
        let last = remembered.last().is_none_or(|record| *record != 0);
        if remembered.is_empty() && base == 0 {
            return Some(nonces);
        }
        if !(fits && below && above && last) {
            return None;
        }
        nonces.highest = highest;
        for (nonce, record) in (from..).zip(remembered) {
            let (number, slot) = place(nonce);
            while nonces.first() + (nonces.chunks.len() as u64) <= number {
                nonces.chunks.push_back([0; CHUNK_LEN]);
            }
            let first = nonces.first();
            nonces.chunks[(number - first) as usize][slot] = *record;
        }
        Some(nonces)
    }

    /// The highest nonce that has been used.
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Which nonces above the base have been used: 64 to a word, lowest bit first, up to the highest.
    pub(crate) fn above(&self) -> impl ExactSizeIterator<Item = u64> {
        let is_used = |nonce| u64::from(self.record(nonce) != 0);
        let words = (self.highest - self.base).div_ceil(64) as usize;
        (0..words).map(move |word| {
            let first = self.base + 1 + 64 * word as u64;
            (0..64).fold(0, |word, bit| word | is_used(first + bit) << bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    use std::collections::BTreeMap;

    #[test]
    fn nonces_slide_and_remember() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.check(0), Err((Reject::NonceOutOfWindow, 0)));
        assert_eq!(nonces.check(1_025), Err((Reject::NonceOutOfWindow, 0)));
        nonces.mark(2, 70);
        assert_eq!((nonces.base(), nonces.check(2)), (0, Err((Reject::Duplicate, 70))));
        nonces.mark(1, 71);
        assert_eq!(nonces.base(), 2);
        assert_eq!(nonces.check(1), Err((Reject::Duplicate, 71)));
        for nonce in 3..=2_000 {
            nonces.mark(nonce, nonce);
        }
        assert_eq!(nonces.check(1), Err((Reject::NonceOutOfWindow, 0)));
        assert_eq!(nonces.check(1_999), Err((Reject::Duplicate, 1_999)));
        assert!(nonces.is_used(1) && !nonces.is_used(2_001));
    }

    /// The window by its definition, over a map of everything ever used.
    struct Model {
        base: u64,
        used: BTreeMap<u64, u64>,
    }

    impl Model {
        fn check(&self, nonce: u64) -> Result<(), (Reject, u64)> {
            let remembered = nonce + NONCE_WINDOW > self.base;
            match self.used.get(&nonce) {
                Some(seq) if remembered => Err((Reject::Duplicate, *seq)),
                _ if nonce <= self.base || nonce > self.base + NONCE_WINDOW => Err((Reject::NonceOutOfWindow, 0)),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn the_window_is_that_of_the_model() {
        for seed in 0..20 {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let (mut nonces, mut model) = (
                Nonces::default(),
                Model {
                    base: 0,
                    used: BTreeMap::new(),
                },
            );
            for seq in 0..6_000 {
                let nonce = match dice.next_u64() % 8 {
                    0 => dice.next_u64() % (model.base + 2_500),
                    1 => model.base + 1 + dice.next_u64() % 1_100,
                    2 => model.base.saturating_sub(dice.next_u64() % 1_100),
                    n => model.base + n - 2,
                };
                let want = model.check(nonce);
                assert_eq!(
                    nonces.check(nonce),
                    want,
                    "seed {seed}, nonce {nonce}, base {}",
                    model.base
                );
                if want.is_ok() {
                    nonces.mark(nonce, seq);
                    model.used.insert(nonce, seq);
                    while model.used.contains_key(&(model.base + 1)) {
                        model.base += 1;
                    }
                }
                assert_eq!(nonces.base(), model.base);
                assert_eq!(
                    nonces.is_used(nonce),
                    nonce <= model.base || model.used.contains_key(&nonce)
                );
            }
            let from = (model.base + 1).saturating_sub(NONCE_WINDOW);
            let want: Vec<(u64, u64)> = model.used.range(from..).map(|(nonce, seq)| (*nonce, *seq)).collect();
            assert_eq!(nonces.used().collect::<Vec<_>>(), want);
            assert_eq!(nonces.highest(), want.last().map_or(0, |(nonce, _)| *nonce));
            let bits = |word: u64| (0..64).map(move |bit| word >> bit & 1 == 1);
            let above = (nonces.base() + 1..).zip(nonces.above().flat_map(bits));
            let used = above.filter_map(|(nonce, used)| used.then_some(nonce));
            assert!(used.eq(model.used.range(model.base + 1..).map(|(nonce, _)| *nonce)));
            let remembered: Vec<u64> = nonces.remembered().collect();
            let again = Nonces::restore(nonces.base(), &remembered).unwrap();
            assert!(again.used().eq(nonces.used()) && again.highest() == nonces.highest());
            for nonce in from.saturating_sub(70)..nonces.highest() + 1_100 {
                assert_eq!(again.check(nonce), nonces.check(nonce));
            }
        }
    }
}
