//! The keys of a batch, numbered as they first come.
//!
//! Keys are told apart by all their bytes. Their hash takes the last sixteen: low bits of a coordinate that whoever proved
//! to know the secret did not choose.

use crate::batch::Item;
use crate::cpu::Pool;
use crate::key::{PUBLIC_KEY_SIZE, PublicKey};
use core::hash::{Hash, Hasher};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Items that one thread numbers before runs are joined.
const RUN_MAX: usize = 1 << 14;
/// Fewest items that a thread is woken for.
const RUN_MIN: usize = 1 << 9;

/// A batch's keys.
#[derive(Debug, Default)]
pub(crate) struct Numbering<'a> {
    /// The keys, each once.
    pub(crate) keys: Vec<&'a PublicKey>,
    /// The number of each item's key.
    pub(crate) of_item: Vec<u32>,
}

#[derive(PartialEq, Eq)]
struct Encoding<'a>(&'a [u8; PUBLIC_KEY_SIZE]);

impl Hash for Encoding<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0[PUBLIC_KEY_SIZE - 16..]);
    }
}

/// A numbering under way.
#[derive(Default)]
struct Numbers<'a> {
    keys: Vec<&'a PublicKey>,
    numbers: HashMap<Encoding<'a>, u32>,
}

impl<'a> Numbers<'a> {
    fn number(&mut self, key: &'a PublicKey) -> u32 {
        match self.numbers.entry(Encoding(key.as_bytes())) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                self.keys.push(key);
                *place.insert(self.keys.len() as u32 - 1)
            }
        }
    }
}

impl<'a> Numbering<'a> {
    /// The numbering of the items' keys.
    pub(crate) fn new(pool: &Pool, items: &[Item<'a>]) -> Self {
        let runs = pool.map_runs(items.len(), (RUN_MIN, RUN_MAX), |run| {
            let mut numbers = Numbers::default();
            let of_item: Vec<u32> = items[run].iter().map(|item| numbers.number(item.key)).collect();
            (numbers.keys, of_item)
        });
        let (mut numbers, mut of_item) = (Numbers::default(), Vec::with_capacity(items.len()));
        for (keys, of_run) in runs {
            let global: Vec<u32> = keys.into_iter().map(|key| numbers.number(key)).collect();
            of_item.extend(of_run.into_iter().map(|number| global[number as usize]));
        }
        Self {
            keys: numbers.keys,
            of_item,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SIGNATURE_DST;
    use blst::min_sig::SecretKey;

    #[test]
    fn keys_are_numbered_as_they_come_on_any_number_of_threads() {
        let keys: Vec<PublicKey> = (0..5u8)
            .map(|i| {
                let secret = SecretKey::key_gen(&[i; 32], SIGNATURE_DST).unwrap();
                PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap()
            })
            .collect();
        let which: Vec<usize> = (0..40_000).map(|i: usize| [3, 1, 3, 0, 4, 1][i * i % 6]).collect();
        let items: Vec<Item<'_>> = (which.iter())
            .map(|key| Item {
                key: &keys[*key],
                message: b"",
                signature: &[0; 48],
                source: 0,
            })
            .collect();
        for threads in [1, 3] {
            let numbering = Numbering::new(&Pool::new(threads), &items);
            let mut seen: Vec<usize> = Vec::new();
            for (at, key) in which.iter().enumerate() {
                if !seen.contains(key) {
                    seen.push(*key);
                }
                assert_eq!(seen[numbering.of_item[at] as usize], *key);
            }
            assert_eq!(numbering.keys.len(), seen.len());
            assert!(
                numbering
                    .keys
                    .iter()
                    .zip(&seen)
                    .all(|(key, at)| key.as_bytes() == keys[*at].as_bytes())
            );
        }
        assert!(Numbering::new(&Pool::default(), &[]).keys.is_empty());
    }
}
