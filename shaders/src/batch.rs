//! Signatures of many envelopes at once: one equation over the batch, and bisection when it does not hold.
//!
//! `e(sum r_i S_i, g2) = prod_k e(sum_{i in k} r_i H(m_i), pk_k)`: per signature work in G1 only, per key one Miller
//! loop, per check one final exponentiation.
//!
//! # Invariants
//! * No signature enters the equation before blst has decompressed it and found it in G1: the pairing cannot see
//!   components outside the subgroup.
//! * An item is called valid by an equation over fresh scalars that holds, or by blst alone; it is called invalid by
//!   blst alone.

use crate::curve;
use crate::key::{PublicKey, decompress, verify_alone};
use crate::scalars;
use crate::{Policy, SignatureError, Stats};
use blst::{blst_p1, blst_p1_affine, blst_p2_affine};
use core::ops::Range;
use wattbook_feed::signed::SIGNATURE_SIZE;
use wattbook_types::Hash;

/// Up to this many signatures go one by one, in a batch as in the parts of a failed one.
const ALONE_MAX: usize = 2;

/// One signature to check.
pub(crate) struct Item<'a> {
    /// Whose signature.
    pub(crate) key: &'a PublicKey,
    /// What is signed.
    pub(crate) message: &'a [u8],
    /// The signature as received.
    pub(crate) signature: &'a [u8; SIGNATURE_SIZE],
    /// The session it came over.
    pub(crate) source: u64,
}

/// blst's verdict on every item, in order.
pub(crate) fn check_items(
    items: &[Item<'_>],
    dst: &[u8],
    policy: Policy,
    stats: &mut Stats,
) -> Vec<Result<(), SignatureError>> {
    stats.signatures_checked += items.len() as u64;
    let alone = match policy {
        Policy::OneByOne => true,
        Policy::Auto => items.len() <= ALONE_MAX,
        Policy::Batch => false,
    };
    if !alone {
        return check_batch(items, dst, stats);
    }
    let check = |item: &Item<'_>| {
        let point = decompress(item.signature)?;
        stats.pairings += 2;
        verify_alone(item.key, item.message, &point, dst)
    };
    items.iter().map(check).collect()
}

/// An item whose signature is a point of G1.
struct Prepared {
    /// Position in the batch.
    index: usize,
    /// Position of its key among the batch's keys, ascending by encoding.
    key: usize,
    source: u64,
    signature: blst_p1_affine,
    hash: blst_p1_affine,
}

/// What every check of one batch shares.
struct Batch<'a> {
    items: &'a [Item<'a>],
    dst: &'a [u8],
    keys: Vec<&'a PublicKey>,
    transcript: Hash,
}

fn check_batch(items: &[Item<'_>], dst: &[u8], stats: &mut Stats) -> Vec<Result<(), SignatureError>> {
    // An item nobody calls valid is refused.
    let mut verdicts = vec![Err(SignatureError::Mismatch); items.len()];
    let mut keys: Vec<&PublicKey> = items.iter().map(|item| item.key).collect();
    keys.sort_unstable_by_key(|key| key.as_bytes());
    keys.dedup();

    let (mut prepared, mut hashes) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for (index, item) in items.iter().enumerate() {
        match decompress(item.signature) {
            Err(error) => verdicts[index] = Err(error),
            Ok(signature) => {
                let key = keys.partition_point(|key| key.as_bytes() < item.key.as_bytes());
                let hash = blst_p1_affine::default();
                prepared.push(Prepared {
                    index,
                    key,
                    source: item.source,
                    signature,
                    hash,
                });
                hashes.push(curve::hash_to_g1(item.message, dst));
            }
        }
    }
    for (item, hash) in prepared.iter_mut().zip(curve::to_affine(&hashes)) {
        item.hash = hash;
    }
    if prepared.is_empty() {
        return verdicts;
    }
    stats.batches += 1;
    let transcript = scalars::transcript(items.iter().map(|i| (i.key.as_bytes(), i.message, i.signature)));
    let batch = Batch {
        items,
        dst,
        keys,
        transcript,
    };
    prepared.sort_by_key(|item| item.source);
    batch.resolve(&prepared, &mut verdicts, stats);
    verdicts
}

/// What is known of a part of a batch.
enum Suspicion {
    /// Nothing yet.
    Open,
    /// It holds an invalid signature.
    Certain,
}

impl Batch<'_> {
    /// Gives every item of `prepared`, ordered by source, its verdict.
    fn resolve(&self, prepared: &[Prepared], verdicts: &mut [Result<(), SignatureError>], stats: &mut Stats) {
        // BOUND: a part is at most split at every second level off the middle, so the stack stays logarithmic.
        let mut parts: Vec<(Range<usize>, Suspicion)> = vec![(0..prepared.len(), Suspicion::Open)];
        while let Some((range, suspicion)) = parts.pop() {
            let part = &prepared[range.clone()];
            // A whole batch is tried at any length; a short part is not worth an equation.
            let is_tried =
                matches!(suspicion, Suspicion::Open) && (part.len() > ALONE_MAX || part.len() == prepared.len());
            if is_tried && self.holds(part, stats) {
                part.iter().for_each(|item| verdicts[item.index] = Ok(()));
                continue;
            }
            if part.len() <= ALONE_MAX {
                self.one_by_one(part, verdicts, stats);
                continue;
            }
            stats.bisections += 1;
            let middle = range.start + split(part);
            let left = &prepared[range.start..middle];
            if left.len() > ALONE_MAX && self.holds(left, stats) {
                left.iter().for_each(|item| verdicts[item.index] = Ok(()));
                parts.push((middle..range.end, Suspicion::Certain));
            } else {
                parts.push((middle..range.end, Suspicion::Open));
                parts.push((range.start..middle, Suspicion::Certain));
            }
        }
    }

    fn one_by_one(&self, part: &[Prepared], verdicts: &mut [Result<(), SignatureError>], stats: &mut Stats) {
        for item in part {
            let Item { key, message, .. } = self.items[item.index];
            stats.pairings += 2;
            verdicts[item.index] = verify_alone(key, message, &item.signature, self.dst);
        }
    }

    /// Whether the equation over `part` holds under fresh scalars. Without randomness nothing holds, so that every
    /// item ends at blst alone.
    fn holds(&self, part: &[Prepared], stats: &mut Stats) -> bool {
        let mut grouped: Vec<&Prepared> = part.iter().collect();
        grouped.sort_by_key(|item| item.key);
        let Some(scalars) = scalars::draw(&self.transcript, grouped.iter().map(|item| item.index)) else {
            return false;
        };
        self.equation_holds(&grouped, &scalars, stats)
    }

    /// The equation of the module documentation; `grouped` is ordered by key.
    fn equation_holds(&self, grouped: &[&Prepared], scalars: &[[u8; curve::SCALAR_SIZE]], stats: &mut Stats) -> bool {
        let signatures: Vec<blst_p1_affine> = grouped.iter().map(|item| item.signature).collect();
        let hashes: Vec<blst_p1_affine> = grouped.iter().map(|item| item.hash).collect();
        let mut left: Vec<blst_p1> = vec![curve::negate(curve::msm(&signatures, scalars))];
        let mut right: Vec<blst_p2_affine> = vec![curve::g2_generator()];
        let mut start = 0;
        for group in grouped.chunk_by(|a, b| a.key == b.key) {
            let end = start + group.len();
            left.push(curve::msm(&hashes[start..end], &scalars[start..end]));
            right.push(*self.keys[group[0].key].point());
            start = end;
        }
        stats.pairings += left.len() as u64;
        curve::pairing_product_is_one(&left, &right)
    }
}

/// Where to split a part of at least two items, ordered by source: at the change of source nearest its middle, so that
/// one sender's fault does not keep others waiting; a single source is halved.
fn split(part: &[Prepared]) -> usize {
    let middle = part.len() / 2;
    let changes = |at: &usize| part[at - 1].source != part[*at].source;
    let before = (1..=middle).rev().find(changes);
    let after = (middle + 1..part.len()).find(changes);
    match (before, after) {
        (Some(before), Some(after)) if after - middle < middle - before => after,
        (Some(before), _) => before,
        (None, Some(after)) => after,
        (None, None) => middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SIGNATURE_DST;
    use blst::min_sig::SecretKey;

    fn sources(list: &[u64]) -> Vec<Prepared> {
        let point = blst_p1_affine::default();
        let item = |(index, source): (usize, &u64)| Prepared {
            index,
            key: 0,
            source: *source,
            signature: point,
            hash: point,
        };
        list.iter().enumerate().map(item).collect()
    }

    #[test]
    fn splits_between_sources_nearest_the_middle() {
        assert_eq!(split(&sources(&[7, 7, 7, 7, 7])), 2);
        assert_eq!(split(&sources(&[1, 7, 7, 7, 7, 7])), 1);
        assert_eq!(split(&sources(&[7, 7, 7, 7, 7, 9])), 5);
        assert_eq!(split(&sources(&[1, 2, 2, 2, 2, 3])), 1);
        assert_eq!(split(&sources(&[1, 1, 1, 2, 2, 2])), 3);
        assert_eq!(split(&sources(&[1, 2, 2, 2, 3, 3])), 4);
        assert_eq!(split(&sources(&[1, 2])), 1);
    }

    /// With equal scalars exchanged signatures cancel: what keeps them out is that the scalars are unknown.
    #[test]
    fn exchanged_signatures_cancel_under_equal_scalars_only() {
        let secret = SecretKey::key_gen(&[1; 32], &[]).unwrap();
        let key = PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap();
        let messages = [[1u8; 32], [2; 32]];
        let signatures = messages.map(|message| secret.sign(&message, SIGNATURE_DST, &[]).to_bytes());
        let hashes = curve::to_affine(&messages.map(|message| curve::hash_to_g1(&message, SIGNATURE_DST)));
        let prepared = |index: usize, of: usize| Prepared {
            index,
            key: 0,
            source: 0,
            signature: decompress(&signatures[of]).unwrap(),
            hash: hashes[index],
        };
        let items = [0, 1].map(|i| Item {
            key: &key,
            message: &messages[i],
            signature: &signatures[1 - i],
            source: 0,
        });
        let batch = Batch {
            items: &items,
            dst: SIGNATURE_DST,
            keys: vec![&key],
            transcript: Hash::ZERO,
        };
        let (good, exchanged) = ([prepared(0, 0), prepared(1, 1)], [prepared(0, 1), prepared(1, 0)]);
        let holds = |part: &[Prepared; 2], scalars: [u128; 2]| {
            let part: Vec<&Prepared> = part.iter().collect();
            batch.equation_holds(&part, &scalars.map(u128::to_le_bytes), &mut Stats::default())
        };
        assert!(holds(&good, [3, 3]) && holds(&good, [3, 4]) && holds(&good, [0, u128::MAX]));
        assert!(holds(&exchanged, [3, 3]));
        assert!(!holds(&exchanged, [3, 4]) && !holds(&exchanged, [0, 1]));
        assert!(!batch.holds(&exchanged, &mut Stats::default()));
        assert!(batch.holds(&good, &mut Stats::default()));
    }
}
