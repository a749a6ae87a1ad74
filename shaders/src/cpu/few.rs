//! Sums of few points on E1, with a factor each, by the curve's endomorphism.
//!
//! # Method
//! A factor is `a + b lambda`, `lambda` being what the endomorphism `(x, y) -> (beta x, y)` is on the subgroup. Straus
//! over the digits of `a` and `b`: half as many doublings as a factor of that size would need, and no inversions but one
//! for the tables.
//!
//! # Invariants
//! * Points are any of E1. The endomorphism commutes with addition, so on a component outside the subgroup it is some
//!   other endomorphism and the component stays outside.
//! * Additions are complete.

use super::field::Fp;
use super::point::Affine;
use crate::curve;
use crate::rlc::Factor;
use blst::{blst_p1, blst_p1_affine};

/// A primitive cube root of one.
const BETA: Fp = Fp::of([
    0xcd03_c9e4_8671_f071,
    0x5dab_2246_1fcd_a5d2,
    0x5870_42af_d385_1b95,
    0x8eb6_0ebe_01ba_cb9e,
    0x03f9_7d6e_83d0_50d2,
    0x18f0_2065_5463_8741,
]);
/// Width of a digit: odd ones from -7 to 7, and zero.
const DIGIT_BITS: u32 = 4;
/// Odd multiples in a table.
const TABLE_LEN: usize = 1 << (DIGIT_BITS - 2);
/// Digits of a half: one more than it has bits.
const DIGITS: usize = Factor::BITS + 1;

/// The image of a point under the endomorphism.
#[cfg(test)]
fn endomorphism(mut point: blst_p1) -> blst_p1 {
    point.x = (Fp::from(point.x) * BETA).into();
    point
}

/// The digits of a half, least significant first, any two that are not zero at least [`DIGIT_BITS`] apart.
fn digits(mut half: i128) -> [i8; DIGITS] {
    core::array::from_fn(|_| {
        let mut digit = 0;
        if half & 1 == 1 {
            let low = (half & ((1 << DIGIT_BITS) - 1)) as i8;
            digit = if low < 1 << (DIGIT_BITS - 1) {
                low
            } else {
                low - (1 << DIGIT_BITS)
            };
            half -= i128::from(digit);
        }
        half >>= 1;
        digit
    })
}

/// What a point adds to the sum, digit by digit.
struct Term {
    digits: [[i8; DIGITS]; 2],
    /// Odd multiples of the point, then their images.
    table: [[Affine; TABLE_LEN]; 2],
}

/// `sum factors[i] * points[i]`.
///
/// # Panics
/// If there is not one factor per point.
pub(super) fn sum(points: &[blst_p1], factors: &[Factor]) -> blst_p1 {
    assert_eq!(points.len(), factors.len(), "a factor per point");
    let (mut plain, mut multiples, mut halves) = (blst_p1::default(), Vec::new(), Vec::new());
    for (point, factor) in points.iter().zip(factors) {
        if *factor == Factor::ONE {
            plain = curve::add(&plain, point);
            continue;
        }
        let twice = curve::double(point);
        let mut multiple = *point;
        for _ in 0..TABLE_LEN {
            multiples.push(multiple);
            multiple = curve::add(&multiple, &twice);
        }
        halves.push(factor.halves());
    }
    if halves.is_empty() {
        return plain;
    }
    let terms: Vec<Term> = curve::to_affine(&multiples)
        .as_chunks::<TABLE_LEN>()
        .0
        .iter()
        .zip(&halves)
        .map(|(multiples, halves)| {
            let table = multiples.map(Affine::from);
            let image = |point: Affine| Affine {
                x: point.x * BETA,
                y: point.y,
            };
            Term {
                digits: halves.map(digits),
                table: [table, table.map(image)],
            }
        })
        .collect();
    let mut sum = blst_p1::default();
    for at in (0..DIGITS).rev() {
        if at + 1 < DIGITS {
            sum = curve::double(&sum);
        }
        for term in &terms {
            for (digits, table) in term.digits.iter().zip(&term.table) {
                let digit = digits[at];
                if digit != 0 {
                    let multiple = table[usize::from(digit.unsigned_abs() / 2)].negated_if(digit < 0);
                    sum = curve::add_affine(&sum, &blst_p1_affine::from(multiple));
                }
            }
        }
    }
    curve::add(&sum, &plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By doubling and complete additions alone: blst's own multiplication is for points of the subgroup.
    fn times(point: &blst_p1, half: i128) -> blst_p1 {
        let magnitude = half.unsigned_abs();
        let product = (0..u128::BITS).rev().fold(blst_p1::default(), |sum, bit| {
            let twice = curve::double(&sum);
            if magnitude >> bit & 1 == 1 {
                curve::add(&twice, point)
            } else {
                twice
            }
        });
        if half < 0 { curve::negate(product) } else { product }
    }

    fn affine(point: blst_p1) -> blst_p1_affine {
        curve::to_affine(&[point])[0]
    }

    /// On the subgroup the endomorphism is a multiplication by a number of 128 bits whose powers repeat after three, and
    /// on a point of order three outside it is no such thing.
    #[test]
    fn the_endomorphism_is_a_multiplication_on_the_subgroup() {
        /// -z^2 modulo r is one eigenvalue, z^2 - 1 the other.
        const Z: i128 = 0xd201_0000_0001_0000;
        let h = curve::hash_to_g1(b"a point", b"WATTBOOK-TEST");
        let image = endomorphism(h);
        let by_square = times(&times(&h, Z), Z);
        let candidates = [curve::negate(by_square), curve::add(&by_square, &curve::negate(h))];
        assert!(candidates.iter().any(|candidate| affine(*candidate) == affine(image)));
        assert_eq!(affine(endomorphism(endomorphism(image))), affine(h));
        assert_ne!(affine(image), affine(h));
    }

    fn half() -> impl Strategy<Value = i128> {
        let most = 3i128.pow(45) / 2;
        prop_oneof![-most..=most, Just(most), Just(-most), -20i128..=20]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn digits_spell_the_half(half in half()) {
            let value = digits(half).iter().rev().fold(0i128, |sum, digit| 2 * sum + i128::from(*digit));
            prop_assert_eq!(value, half);
        }

        /// Points of the subgroup, one of order three outside, the same twice, opposite ones and infinity.
        #[test]
        fn sums_are_the_sums_of_the_products(halves in prop::collection::vec([half(), half()], 1..7)) {
            let h = curve::hash_to_g1(b"a point", b"WATTBOOK-TEST");
            let of_order_three = blst_p1::from(Affine { x: Fp::ZERO, y: Fp::ONE.double() });
            let points = [h, of_order_three, h, curve::negate(h), blst_p1::default(), curve::add(&h, &of_order_three)];
            let factors: Vec<Factor> = halves.iter().map(|halves| Factor::of(*halves)).collect();
            let expected = points.iter().zip(&halves).fold(blst_p1::default(), |sum, (point, [a, b])| {
                curve::add(&sum, &curve::add(&times(point, *a), &times(&endomorphism(*point), *b)))
            });
            let len = factors.len();
            prop_assert_eq!(affine(sum(&points[..len], &factors)), affine(expected));
        }
    }
}
