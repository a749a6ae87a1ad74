//! The batch path on the CPU: own arithmetic where blst keeps its internals to itself, blst's pairing at the end.
//!
//! # Method
//! * [`Path::prepare`]: per signature one decompression without subgroup check and the two SWU maps of its message to
//!   E1', whose powers are taken together.
//! * [`Path::holds`]: for signatures `S_i` and mapped messages `P_i = Q0_i + Q1_i` the ninety combinations of the `S_i`
//!   and their total `R = sum r_i S_i`, and for each key k the sum `R_k = sum_{i in k} r_i P_i` on E1'. The equation is
//!   `e(h^-1 R, g2) = prod_k e(iso(R_k), pk_k)`, h being the effective cofactor.
//!
//! Deferral is exact: `h iso(sum r_i P_i) = sum r_i H(m_i)`, since isogeny and multiplication are homomorphisms. What h
//! would clear is invisible to the reduced pairing, so the generator g2 takes h^-1 modulo r for all keys, once for ever.
//!
//! A short part is spared the combinations: each signature is tested, and every sum is taken of few points at a time on
//! E1 ([`few`]), the messages' too, whose isogeny then comes first.
//!
//! # Invariants
//! * Short parts test each signature for its subgroup, long ones the ninety combinations, one by one.
//! * The answer is a function of the points and the coefficients, whatever the number of threads.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod combine;
mod decompress;
mod exponent;
mod few;
pub(crate) mod field;
#[cfg(target_arch = "x86_64")]
mod ifma;
pub(crate) mod isogeny;
mod lanes;
mod lines;
mod msm;
mod point;
pub(crate) mod pool;
#[cfg(target_arch = "x86_64")]
mod sha;
pub(crate) mod sswu;
pub(crate) mod tree;

use crate::batch::Item;
use crate::curve;
use crate::key::PublicKey;
use crate::rlc::{self, Coefficients, Factor};
use blst::{blst_fp12, blst_p1};
use core::ops::Range;
use decompress::Compressed;
pub(crate) use exponent::way as instructions;
use field::Fp;
use lines::LineCache;
pub(crate) use point::Affine;
use point::{Adder, Curve, Step};
pub(crate) use pool::Pool;
use sswu::Map;
use std::sync::Arc;
use wattbook_feed::signed::LEAF_SIZE;
use wattbook_types::Hash;

/// Up to so many signatures each is tested for its subgroup: the combinations are ninety tests.
const TESTED_EACH_MAX: usize = rlc::TRITS;
/// Most items prepared together.
const RUN_MAX: usize = 128;
/// Fewest leaves that a thread is woken for.
const LEAVES_MIN: usize = 1 << 9;
/// Points of a short part that a thread adds up together.
const SHORT_RUN: usize = 16;
/// Keys whose lines are kept: about 80 MB.
const CACHED_KEYS: usize = 4_096;

/// The points of an item whose signature is a point of the curve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points {
    /// The signature, on E1, perhaps outside the subgroup.
    pub(crate) signature: Affine,
    /// The message on E1', before isogeny and cofactor.
    pub(crate) message: Affine,
}

/// What a check of a part finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Every item holds.
    Holds,
    /// Every signature is in the subgroup, and some item does not hold.
    Fails,
    /// Some signature is not in the subgroup.
    Outside,
}

/// Threads and what is kept between batches.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pool: Pool,
    lines: LineCache,
}

impl Default for Path {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Path {
    /// A path on so many threads; one is the calling thread.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            pool: Pool::new(threads),
            lines: LineCache::new(CACHED_KEYS),
        }
    }

    /// The threads.
    pub(crate) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The RFC 9162 root over the leaves of each tree.
    pub(crate) fn roots(&self, trees: &[&[[u8; LEAF_SIZE]]]) -> Vec<Hash> {
        // A batch of small trees is shared out by trees, a few large ones by their parts.
        match trees {
            [] => Vec::new(),
            few if few.len() < self.pool.threads() => few.iter().map(|leaves| tree::root(leaves, &self.pool)).collect(),
            many => {
                let alone = Pool::default();
                let leaves: usize = many.iter().map(|leaves| leaves.len()).sum();
                let least = LEAVES_MIN * many.len() / leaves.max(1);
                let run = |run: Range<usize>| -> Vec<Hash> {
                    many[run].iter().map(|leaves| tree::root(leaves, &alone)).collect()
                };
                self.pool.map_runs(many.len(), (least, RUN_MAX), run).concat()
            }
        }
    }

    /// The points of every item; `None` where the signature is no encoding of a point other than infinity.
    pub(crate) fn prepare(&self, items: &[Item<'_>], dst: &[u8]) -> Vec<Option<Points>> {
        self.pool
            .map_runs(items.len(), (1, RUN_MAX), |run| prepare(&items[run], dst))
            .concat()
    }

    /// A message on E1'.
    #[cfg(test)]
    pub(crate) fn mapped(message: &[u8], dst: &[u8]) -> Affine {
        let mut points = sswu::hash_to_field(message, dst).map(|u| {
            let (map, base) = Map::new(u);
            let mut powers = [base];
            exponent::raise_all(&mut powers);
            let (x_num, x_den, y) = map.finish(powers[0]);
            Affine {
                x: x_num * x_den.inverse(),
                y,
            }
        });
        Adder::default().add(Curve::ISOGENOUS, &mut points, &[Step { a: 0, b: 1, to: 0 }]);
        points[0]
    }

    /// Whether every item of a part holds, but for the error of the coefficients; the part lies key by key, in `groups`.
    /// `are_in_g1`: whether its signatures are known to be in the subgroup, which spares testing them.
    pub(crate) fn holds(
        &mut self,
        points: &[Points],
        are_in_g1: bool,
        coefficients: &Coefficients,
        groups: &[Range<usize>],
        keys: &[&PublicKey],
    ) -> Found {
        assert_eq!(points.len(), coefficients.len(), "a coefficient per item");
        assert_eq!(groups.len(), keys.len(), "a group per key");
        if points.len() <= TESTED_EACH_MAX {
            return self.short_holds(points, are_in_g1, coefficients, groups, keys);
        }
        let signatures: Vec<Affine> = points.iter().map(|points| points.signature).collect();
        let Some(total) = self.total(&signatures, are_in_g1, coefficients) else {
            return Found::Outside;
        };
        let messages: Vec<Affine> = points.iter().map(|points| points.message).collect();
        let scalars: Vec<[u64; 3]> = (0..points.len()).map(|item| coefficients.scalar(item)).collect();
        let sums = msm::sums(&messages, &scalars, groups, &self.pool);
        let images = self.pool.map(sums.len(), |at| isogeny::image(&sums[at]));
        if self.pairing_holds(total, images, keys) {
            Found::Holds
        } else {
            Found::Fails
        }
    }

    /// Whether every point is of the subgroup.
    pub(crate) fn are_in_g1(&self, points: &[blst_p1]) -> bool {
        let tests = self.pool.map(points.len(), |at| curve::is_in_g1(&points[at]));
        tests.into_iter().all(|is_in| is_in)
    }

    /// `sum r_i S_i`, unless something is found outside the subgroup; `are_in_g1` spares looking.
    fn total(&self, signatures: &[Affine], are_in_g1: bool, coefficients: &Coefficients) -> Option<blst_p1> {
        let combinations = combine::combinations(signatures, coefficients, &self.pool);
        (are_in_g1 || self.are_in_g1(&combinations)).then(|| rlc::total(&combinations))
    }

    /// [`Self::holds`] of a short part, whose signatures are tested one by one: where there are threads, while the final
    /// exponentiation runs.
    fn short_holds(
        &mut self,
        points: &[Points],
        are_in_g1: bool,
        coefficients: &Coefficients,
        groups: &[Range<usize>],
        keys: &[&PublicKey],
    ) -> Found {
        let signatures: Vec<blst_p1> = points.iter().map(|points| points.signature.into()).collect();
        let is_alone = self.pool.threads() == 1;
        if is_alone && !are_in_g1 && !self.are_in_g1(&signatures) {
            return Found::Outside;
        }
        // By the error bound's argument one coefficient needs no drawing.
        let factor = |item| match item {
            0 => Factor::ONE,
            _ => coefficients.factor(item),
        };
        let factors: Vec<Factor> = (0..points.len()).map(factor).collect();
        // The sums, that of the signatures behind those of the keys, in runs that threads share.
        let whole = 0..points.len();
        let run_len = if is_alone { points.len() } else { SHORT_RUN };
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        for (sum, range) in groups.iter().chain([&whole]).enumerate() {
            let starts = range.clone().step_by(run_len);
            runs.extend(starts.map(|start| (sum, start..range.end.min(start + run_len))));
        }
        let parts = self.pool.map(runs.len(), |at| {
            let (sum, range) = &runs[at];
            let factors = &factors[range.clone()];
            if *sum == groups.len() {
                return few::sum(&signatures[range.clone()], factors);
            }
            let messages = points[range.clone()]
                .iter()
                .map(|points| isogeny::image(&points.message));
            few::sum(&messages.collect::<Vec<_>>(), factors)
        });
        let mut sums = vec![blst_p1::default(); groups.len() + 1];
        for ((sum, _), part) in runs.iter().zip(&parts) {
            sums[*sum] = curve::add(&sums[*sum], part);
        }
        let total = sums.pop().unwrap_or_default();
        let product = self.product(total, sums, keys);
        let are_tested = are_in_g1 || is_alone;
        let (is_one, are_in_g1) = self
            .pool
            .join(|| lines::is_one(&product), || are_tested || self.are_in_g1(&signatures));
        match (are_in_g1, is_one) {
            (false, _) => Found::Outside,
            (true, true) => Found::Holds,
            (true, false) => Found::Fails,
        }
    }

    /// `e(h^-1 total, g2) = prod_k e(images[k], keys[k])`.
    pub(crate) fn pairing_holds(&mut self, total: blst_p1, images: Vec<blst_p1>, keys: &[&PublicKey]) -> bool {
        lines::is_one(&self.product(total, images, keys))
    }

    /// The Miller loops of that equation.
    fn product(&mut self, total: blst_p1, mut images: Vec<blst_p1>, keys: &[&PublicKey]) -> blst_fp12 {
        let mut lines = self.lines.of(keys, &self.pool);
        images.push(curve::negate(total));
        lines.push(Arc::clone(&lines::GENERATOR));
        let pairs: Vec<_> = curve::to_affine(&images).into_iter().zip(lines).collect();
        lines::product(&pairs, &self.pool)
    }
}

fn prepare(items: &[Item<'_>], dst: &[u8]) -> Vec<Option<Points>> {
    let mut powers = Vec::with_capacity(3 * items.len());
    let begun: Vec<(Option<Compressed>, [Map; 2])> = items
        .iter()
        .map(|item| {
            let compressed = Compressed::read(item.signature);
            powers.push(compressed.as_ref().map_or(Fp::ONE, Compressed::base));
            let maps = sswu::hash_to_field(item.message, dst).map(|u| {
                let (map, base) = Map::new(u);
                powers.push(base);
                map
            });
            (compressed, maps)
        })
        .collect();
    exponent::raise_all(&mut powers);

    let mut denominators = Vec::with_capacity(2 * items.len());
    let mut mapped = Vec::with_capacity(2 * items.len());
    let mut signatures = Vec::with_capacity(items.len());
    for ((compressed, maps), powers) in begun.iter().zip(powers.as_chunks::<3>().0) {
        signatures.push(compressed.as_ref().and_then(|compressed| compressed.finish(powers[0])));
        for (map, power) in maps.iter().zip(&powers[1..]) {
            let (x_num, x_den, y) = map.finish(*power);
            denominators.push(x_den);
            mapped.push(Affine { x: x_num, y });
        }
    }
    field::invert_all(&mut denominators);
    for (point, inverse) in mapped.iter_mut().zip(&denominators) {
        point.x *= *inverse;
    }
    let plan: Vec<Step> = (0..items.len() as u32)
        .map(|at| Step {
            a: 2 * at,
            b: 2 * at + 1,
            to: at,
        })
        .collect();
    Adder::default().add(Curve::ISOGENOUS, &mut mapped, &plan);
    let points = |(signature, message): (Option<Affine>, &Affine)| {
        signature.map(|signature| Points {
            signature,
            message: *message,
        })
    };
    signatures.into_iter().zip(&mapped).map(points).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_types::sha256;

    /// RFC 9380 J.9.1 with its intermediates: the field elements, both mapped points, and the cofactor cleared at last.
    #[test]
    fn maps_of_rfc_9380() {
        let text = include_str!("../../tests/vectors/rfc9380/BLS12381G1_XMD_SHA-256_SSWU_RO_.json");
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        let element = |value: &serde_json::Value| {
            let digits = value.as_str().unwrap().trim_start_matches("0x");
            Fp::from_be_bytes(&hex::decode(format!("{digits:0>96}")).unwrap().try_into().unwrap()).unwrap()
        };
        let point = |value: &serde_json::Value| Affine {
            x: element(&value["x"]),
            y: element(&value["y"]),
        };
        let affine = |point: blst_p1| Affine::from(curve::to_affine(&[point])[0]);
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let message = vector["msg"].as_str().unwrap().as_bytes();
            let u = sswu::hash_to_field(message, file["dst"].as_str().unwrap().as_bytes());
            assert_eq!(u, [element(&vector["u"][0]), element(&vector["u"][1])]);
            let mapped = u.map(|u| {
                let (map, base) = Map::new(u);
                let (x_num, x_den, y) = map.finish(exponent::raise(base));
                Affine {
                    x: x_num * x_den.inverse(),
                    y,
                }
            });
            assert_eq!(
                mapped.map(|q| affine(isogeny::image(&q))),
                [point(&vector["Q0"]), point(&vector["Q1"])]
            );
            let mut sum = mapped.to_vec();
            Adder::default().add(Curve::ISOGENOUS, &mut sum, &[Step { a: 0, b: 1, to: 0 }]);
            // Of a point of the subgroup, to go through the inverse.
            let hash = blst_p1::from(point(&vector["P"]));
            let cleared = curve::divide_by_cofactor(&hash);
            let image = isogeny::image(&sum[0]);
            let times = |p: &blst_p1| {
                let h = 0xd201_0000_0001_0001u64;
                (0..64).rev().fold(blst_p1::default(), |sum, bit| {
                    let twice = curve::double(&sum);
                    if h >> bit & 1 == 1 {
                        curve::add(&twice, p)
                    } else {
                        twice
                    }
                })
            };
            assert_eq!(
                (affine(times(&image)), affine(times(&cleared))),
                (point(&vector["P"]), point(&vector["P"]))
            );
        }
    }

    /// Two hundred sums with one signature of a cofactor component of order three: the total of all by itself is in the
    /// subgroup for a third of them, and what lets those through is that its lowest trit is zero.
    #[test]
    fn combinations_catch_what_a_single_sum_lets_through() {
        let len = TESTED_EACH_MAX + 6;
        let points: Vec<blst_p1> = (0..len)
            .map(|i| curve::hash_to_g1(&i.to_le_bytes(), b"WATTBOOK-TEST"))
            .collect();
        let points: Vec<Affine> = curve::to_affine(&points).into_iter().map(Affine::from).collect();
        // (0, 2) has order three.
        let of_order_three = Affine {
            x: Fp::ZERO,
            y: Fp::ONE.double(),
        };
        let path = Path::new(2);
        let (mut let_through, mut by_one_sum) = (0, 0);
        for round in 0..200 {
            let mut points = points.clone();
            let faulty = curve::add(&points[round % len].into(), &of_order_three.into());
            points[round % len] = curve::to_affine(&[faulty])[0].into();
            let coefficients = Coefficients::draw(&sha256(&[b"one sum"]), 0..len).unwrap();
            let combinations = combine::combinations(&points, &coefficients, &path.pool);
            by_one_sum += usize::from(curve::is_in_g1(&rlc::total(&combinations)));
            let_through += usize::from(path.total(&points, false, &coefficients).is_some());
        }
        println!("of 200 batches a single sum lets {by_one_sum} through, ninety combinations {let_through}");
        assert_eq!(let_through, 0);
        // BOUND: 200 fair thirds leave this range once in 10^8.
        assert!((30..=110).contains(&by_one_sum), "{by_one_sum}");
    }
}
