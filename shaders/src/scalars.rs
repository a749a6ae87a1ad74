//! The secret scalars of a batch equation: `r_i = PRF(fresh OS key || transcript, i)` (PROTOCOL 5).
//!
//! # Invariants
//! * A key is drawn from the operating system for every single check and dropped with it; no scalar serves twice.
//! * The transcript fixes every key, message and signature before the scalars are known, so a sender cannot choose
//!   them to fit. It also keeps two checks apart if the operating system ever returns a key twice.
//!
//! BOUND: r_i is uniform over the 2^128 integers below 2^128 < r; zero is one of them and is within the error bound.

use crate::curve::SCALAR_SIZE;
use crate::key::PUBLIC_KEY_SIZE;
use wattbook_feed::signed::SIGNATURE_SIZE;
use wattbook_types::{Hash, sha256};

/// Hash of all (pk, M, S) of a batch in order.
pub(crate) fn transcript<'a>(
    items: impl Iterator<Item = (&'a [u8; PUBLIC_KEY_SIZE], &'a [u8], &'a [u8; SIGNATURE_SIZE])>,
) -> Hash {
    let mut bytes = Vec::with_capacity(items.size_hint().0 * (PUBLIC_KEY_SIZE + 40 + SIGNATURE_SIZE));
    for (key, message, signature) in items {
        bytes.extend_from_slice(key);
        // The length keeps the encoding injective where tests sign messages that are no digests.
        bytes.extend_from_slice(&(message.len() as u64).to_le_bytes());
        bytes.extend_from_slice(message);
        bytes.extend_from_slice(signature);
    }
    sha256(&[&bytes])
}

/// Scalars of the items at `indices` for one check; `None` if the operating system gives no randomness.
pub(crate) fn draw(transcript: &Hash, indices: impl Iterator<Item = usize>) -> Option<Vec<[u8; SCALAR_SIZE]>> {
    let mut key = [0u8; 32];
    getrandom::fill(&mut key).ok()?;
    Some(indices.map(|index| prf(&key, transcript, index)).collect())
}

/// The first 128 bits of SHA-256(key || transcript || index): a PRF on inputs of one fixed size.
fn prf(key: &[u8; 32], transcript: &Hash, index: usize) -> [u8; SCALAR_SIZE] {
    let Hash([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..]) =
        sha256(&[key, &transcript.0, &(index as u64).to_le_bytes()]);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_differ_by_key_transcript_and_index() {
        let (one, two) = (sha256(&[b"1"]), sha256(&[b"2"]));
        let base = prf(&[1; 32], &one, 0);
        assert_eq!(base, prf(&[1; 32], &one, 0));
        assert_ne!(base, prf(&[2; 32], &one, 0));
        assert_ne!(base, prf(&[1; 32], &two, 0));
        assert_ne!(base, prf(&[1; 32], &one, 1));
        assert_ne!(draw(&one, 0..4), draw(&one, 0..4), "a fresh key for every check");
    }

    #[test]
    fn transcript_tells_items_apart() {
        let (key, other, signature) = ([1; PUBLIC_KEY_SIZE], [2; PUBLIC_KEY_SIZE], [3; SIGNATURE_SIZE]);
        let base = transcript([(&key, &b"ab"[..], &signature), (&key, b"c", &signature)].into_iter());
        let moved = transcript([(&key, &b"a"[..], &signature), (&key, b"bc", &signature)].into_iter());
        let swapped = transcript([(&other, &b"ab"[..], &signature), (&key, b"c", &signature)].into_iter());
        assert_ne!(base, moved);
        assert_ne!(base, swapped);
    }
}
