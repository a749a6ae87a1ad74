//! Signatures of many envelopes at once: one check over the batch, and bisection when it does not hold.
//!
//! # Invariants
//! * An item is called valid by a check over fresh coefficients that holds, or by blst alone; it is called invalid by
//!   blst alone.
//! * Bisection works on points already computed, ordered by source, so that the first split isolates a sender. What a
//!   check found in the subgroup is not tested for it again in its parts.

use crate::cpu::{Found, Path, Points};
use crate::key::{PublicKey, decompress, verify_alone};
use crate::rlc::{self, Coefficients};
use crate::{Policy, SignatureError, Stats};
use core::ops::Range;
use wattbook_feed::signed::SIGNATURE_SIZE;
use wattbook_types::Hash;

/// Up to this many signatures go one by one, in a batch as in the parts of a failed one.
pub(crate) const ALONE_MAX: usize = 2;

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
    path: &mut Path,
    stats: &mut Stats,
) -> Vec<Result<(), SignatureError>> {
    stats.signatures_checked += items.len() as u64;
    let alone = match policy {
        Policy::OneByOne => true,
        Policy::Auto => items.len() <= ALONE_MAX,
        Policy::Batch | Policy::Gpu => false,
    };
    if !alone {
        return check_batch(items, dst, path, stats);
    }
    items.iter().map(|item| check_alone(item, dst, stats)).collect()
}

/// An item whose signature is a point of the curve.
struct Prepared {
    /// Position in the batch.
    index: usize,
    /// Position of its key among the batch's keys, ascending by encoding.
    key: usize,
    source: u64,
    points: Points,
}

/// What every check of one batch shares.
struct Batch<'a> {
    items: &'a [Item<'a>],
    dst: &'a [u8],
    keys: Vec<&'a PublicKey>,
    transcript: Hash,
    path: &'a mut Path,
}

/// blst's verdict on one item.
pub(crate) fn check_alone(item: &Item<'_>, dst: &[u8], stats: &mut Stats) -> Result<(), SignatureError> {
    let point = decompress(item.signature)?;
    stats.pairings += 2;
    verify_alone(item.key, item.message, &point, dst)
}

fn check_batch(items: &[Item<'_>], dst: &[u8], path: &mut Path, stats: &mut Stats) -> Vec<Result<(), SignatureError>> {
    let pool = path.pool().clone();
    pool.run(|| {
        let points = path.prepare(items, dst);
        check_points(items, dst, points, None, path, stats)
    })
}

/// blst's verdict on every item, whose points are known as far as their signatures have any; what a check of all points
/// has found, where there was one that does not hold.
pub(crate) fn check_points(
    items: &[Item<'_>],
    dst: &[u8],
    points: Vec<Option<Points>>,
    found: Option<Found>,
    path: &mut Path,
    stats: &mut Stats,
) -> Vec<Result<(), SignatureError>> {
    // An item nobody calls valid is refused.
    let mut verdicts = vec![Err(SignatureError::Mismatch); items.len()];
    let mut keys: Vec<&PublicKey> = items.iter().map(|item| item.key).collect();
    keys.sort_unstable_by_key(|key| key.as_bytes());
    keys.dedup();

    let mut prepared = Vec::with_capacity(items.len());
    for (index, (item, points)) in items.iter().zip(points).enumerate() {
        match points {
            None => verdicts[index] = check_alone(item, dst, stats),
            Some(points) => {
                let key = keys.partition_point(|key| key.as_bytes() < item.key.as_bytes());
                prepared.push(Prepared {
                    index,
                    key,
                    source: item.source,
                    points,
                });
            }
        }
    }
    if prepared.is_empty() {
        return verdicts;
    }
    stats.batches += 1;
    let transcript = rlc::transcript(path.pool(), items);
    let mut batch = Batch {
        items,
        dst,
        keys,
        transcript,
        path,
    };
    prepared.sort_by_key(|item| item.source);
    batch.resolve(&prepared, found, &mut verdicts, stats);
    verdicts
}

/// A part of a batch and what is known of it.
struct Part {
    range: Range<usize>,
    /// It holds an invalid signature.
    is_suspect: bool,
    /// Its signatures are in the subgroup, as a check of all of them or of more found.
    are_in_g1: bool,
}

impl Batch<'_> {
    /// Gives every item of `prepared`, ordered by source, its verdict.
    fn resolve(
        &mut self,
        prepared: &[Prepared],
        found: Option<Found>,
        verdicts: &mut [Result<(), SignatureError>],
        stats: &mut Stats,
    ) {
        // BOUND: a part is at most split at every second level off the middle, so the stack stays logarithmic.
        let mut parts = vec![Part {
            range: 0..prepared.len(),
            is_suspect: found.is_some(),
            are_in_g1: found == Some(Found::Fails),
        }];
        while let Some(Part {
            range,
            is_suspect,
            mut are_in_g1,
        }) = parts.pop()
        {
            let part = &prepared[range.clone()];
            // A whole batch is tried at any length; a short part is not worth an equation.
            if !is_suspect && (part.len() > ALONE_MAX || part.len() == prepared.len()) {
                let found = self.holds(part, are_in_g1, stats);
                if found == Found::Holds {
                    part.iter().for_each(|item| verdicts[item.index] = Ok(()));
                    continue;
                }
                are_in_g1 |= found == Found::Fails;
            }
            if part.len() <= ALONE_MAX {
                self.one_by_one(part, verdicts, stats);
                continue;
            }
            stats.bisections += 1;
            let middle = range.start + split(part);
            let left = &prepared[range.start..middle];
            let found = if left.len() > ALONE_MAX {
                self.holds(left, are_in_g1, stats)
            } else {
                Found::Outside
            };
            let right = Part {
                range: middle..range.end,
                is_suspect: found == Found::Holds,
                are_in_g1,
            };
            parts.push(right);
            if found == Found::Holds {
                left.iter().for_each(|item| verdicts[item.index] = Ok(()));
            } else {
                parts.push(Part {
                    range: range.start..middle,
                    is_suspect: true,
                    are_in_g1: are_in_g1 || found == Found::Fails,
                });
            }
        }
    }

    fn one_by_one(&self, part: &[Prepared], verdicts: &mut [Result<(), SignatureError>], stats: &mut Stats) {
        for item in part {
            verdicts[item.index] = check_alone(&self.items[item.index], self.dst, stats);
        }
    }

    /// What a check of `part` under fresh coefficients finds. Without randomness nothing is known, so that every item ends
    /// at blst alone.
    fn holds(&mut self, part: &[Prepared], are_in_g1: bool, stats: &mut Stats) -> Found {
        let mut grouped: Vec<&Prepared> = part.iter().collect();
        grouped.sort_by_key(|item| item.key);
        match Coefficients::draw(&self.transcript, grouped.iter().map(|item| item.index)) {
            Some(coefficients) => self.holds_under(&grouped, are_in_g1, &coefficients, stats),
            None => Found::Outside,
        }
    }

    /// What a check of `grouped`, ordered by key, finds under these coefficients.
    fn holds_under(
        &mut self,
        grouped: &[&Prepared],
        are_in_g1: bool,
        coefficients: &Coefficients,
        stats: &mut Stats,
    ) -> Found {
        let points: Vec<Points> = grouped.iter().map(|item| item.points).collect();
        let (mut groups, mut keys, mut start) = (Vec::new(), Vec::new(), 0);
        for group in grouped.chunk_by(|a, b| a.key == b.key) {
            groups.push(start..start + group.len());
            keys.push(self.keys[group[0].key]);
            start += group.len();
        }
        stats.pairings += 1 + keys.len() as u64;
        self.path.holds(&points, are_in_g1, coefficients, &groups, &keys)
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
    use crate::cpu::Affine;
    use blst::min_sig::SecretKey;

    fn sources(list: &[u64]) -> Vec<Prepared> {
        let points = Points {
            signature: Affine::INFINITY,
            message: Affine::INFINITY,
        };
        let item = |(index, source): (usize, &u64)| Prepared {
            index,
            key: 0,
            source: *source,
            points,
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

    /// With equal coefficients exchanged signatures cancel: what keeps them out is that coefficients are unknown.
    #[test]
    fn exchanged_signatures_cancel_under_equal_coefficients_only() {
        let secret = SecretKey::key_gen(&[1; 32], &[]).unwrap();
        let key = PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap();
        let messages = [[1u8; 32], [2; 32]];
        let signatures = messages.map(|message| secret.sign(&message, SIGNATURE_DST, &[]).to_bytes());
        let items = |swap: usize| {
            [0, 1].map(|i| Item {
                key: &key,
                message: &messages[i],
                signature: &signatures[i ^ swap],
                source: 0,
            })
        };
        let mut path = Path::new(1);
        let prepared = [0, 1].map(|swap| {
            let points = path.prepare(&items(swap), SIGNATURE_DST);
            let prepared = |(index, points): (usize, Option<Points>)| Prepared {
                index,
                key: 0,
                source: 0,
                points: points.unwrap(),
            };
            points.into_iter().enumerate().map(prepared).collect::<Vec<_>>()
        });
        let items = items(0);
        let mut batch = Batch {
            items: &items,
            dst: SIGNATURE_DST,
            keys: vec![&key],
            transcript: Hash::ZERO,
            path: &mut path,
        };
        let [good, exchanged] = prepared;
        let mut holds = |part: &[Prepared], second: [i32; 2]| {
            let part: Vec<&Prepared> = part.iter().collect();
            let trit = |item: usize, j: usize| match j {
                0 => second[0] * item as i32,
                89 => second[1] * item as i32,
                _ => 0,
            };
            let coefficients = Coefficients::from_trits(2, trit);
            batch.holds_under(&part, false, &coefficients, &mut Stats::default()) == Found::Holds
        };
        // The first item's coefficient is one; the second's is this, or has lambda 3^44 beside it.
        assert!(holds(&good, [1, 0]) && holds(&good, [1, -1]) && holds(&good, [0, 0]) && holds(&good, [-1, 1]));
        assert!(holds(&exchanged, [1, 0]));
        assert!(!holds(&exchanged, [0, 0]) && !holds(&exchanged, [-1, 0]) && !holds(&exchanged, [1, 1]));
        for are_in_g1 in [false, true] {
            let mut found = |part: &[Prepared]| batch.holds(part, are_in_g1, &mut Stats::default());
            assert_eq!((found(&exchanged), found(&good)), (Found::Fails, Found::Holds));
        }
    }
}
