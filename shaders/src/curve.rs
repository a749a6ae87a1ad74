//! The G1 arithmetic and the pairing product of blst that its safe interface offers only on its global thread pool.
//!
//! # Invariants
//! * Only this file calls blst's C interface; everything runs on the calling thread.
//! * Every [`blst_p2_affine`] that comes in is in its subgroup of order r. A point of the curve of G1 need not be: every
//!   formula used here holds on a curve of odd order, and a component outside the subgroup is invisible to the pairing.
#![allow(unsafe_code)]

use blst::{blst_fp12, blst_p1, blst_p1_affine, blst_p2_affine};
use core::ptr;

/// Size of a scalar of [`msm`].
pub(crate) const SCALAR_SIZE: usize = 16;
/// Width of a scalar of [`msm`].
const SCALAR_BITS: usize = SCALAR_SIZE * 8;

/// `hash_to_curve` of RFC 9380 into G1 for the suite of `dst`.
pub(crate) fn hash_to_g1(message: &[u8], dst: &[u8]) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: pointer and length pairs come from live slices; the augmentation is empty, so its pointer is not read;
    // `out` is written before it is read.
    unsafe {
        blst::blst_hash_to_g1(
            &mut out,
            message.as_ptr(),
            message.len(),
            dst.as_ptr(),
            dst.len(),
            ptr::null(),
            0,
        );
    }
    out
}

/// Affine forms, with one field inversion for up to 1,536 points.
pub(crate) fn to_affine(points: &[blst_p1]) -> Vec<blst_p1_affine> {
    let mut out = vec![blst_p1_affine::default(); points.len()];
    if points.is_empty() {
        return out;
    }
    // A null second entry tells blst that the points lie one behind the other.
    let inputs = [points.as_ptr(), ptr::null()];
    // SAFETY: `points` and `out` both hold `points.len()` initialised elements, and at least one.
    unsafe { blst::blst_p1s_to_affine(out.as_mut_ptr(), inputs.as_ptr(), points.len()) };
    out
}

/// `sum scalars[i] * points[i]`, scalars little-endian.
///
/// # Panics
/// If there is not exactly one scalar per point.
pub(crate) fn msm(points: &[blst_p1_affine], scalars: &[[u8; SCALAR_SIZE]]) -> blst_p1 {
    assert_eq!(points.len(), scalars.len(), "one scalar per point");
    let mut out = blst_p1::default();
    if points.is_empty() {
        return out;
    }
    // SAFETY: takes a number and returns a size.
    let scratch_size = unsafe { blst::blst_p1s_mult_pippenger_scratch_sizeof(points.len()) };
    let mut scratch = vec![0u64; scratch_size.div_ceil(size_of::<u64>())];
    let inputs = [points.as_ptr(), ptr::null()];
    let factors = [scalars.as_ptr().cast::<u8>(), ptr::null()];
    // SAFETY: `points` and `scalars` hold `points.len()` elements each, scalars of exactly SCALAR_BITS bits packed one
    // behind the other; `scratch` has the size asked for that many points and the alignment of a limb. Points are in
    // G1 (module invariant), where blst's formulas treat equal, opposite and infinite points as the group does.
    unsafe {
        blst::blst_p1s_mult_pippenger(
            &mut out,
            inputs.as_ptr(),
            points.len(),
            factors.as_ptr(),
            SCALAR_BITS,
            scratch.as_mut_ptr(),
        );
    }
    out
}

/// `-point`.
pub(crate) fn negate(mut point: blst_p1) -> blst_p1 {
    // SAFETY: the pointer is that of a live local.
    unsafe { blst::blst_p1_cneg(&mut point, true) };
    point
}

/// `a + b` for any points of the curve, equal, opposite and infinite ones among them.
pub(crate) fn add(a: &blst_p1, b: &blst_p1) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: the pointers are those of live values; the formulas need no subgroup, only that no point has order two,
    // and the order of the curve is odd.
    unsafe { blst::blst_p1_add_or_double(&mut out, a, b) };
    out
}

/// `2 * a`.
pub(crate) fn double(a: &blst_p1) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: the pointers are those of live values.
    unsafe { blst::blst_p1_double(&mut out, a) };
    out
}

/// `factor * a` for any point of the curve; the factor is in two's complement, least significant limb first.
#[cfg(test)]
pub(crate) fn times(a: &blst_p1, factor: [u64; 3]) -> blst_p1 {
    let is_negative = (factor[2] as i64) < 0;
    let mut carry = is_negative;
    let magnitude = factor.map(|limb| {
        let (limb, overflow) = (limb ^ (is_negative as u64).wrapping_neg()).overflowing_add(u64::from(carry));
        carry = overflow;
        limb
    });
    let bits = (0..3)
        .rev()
        .flat_map(|limb| (0..64).rev().map(move |bit| magnitude[limb] >> bit & 1 == 1));
    let product = bits.fold(blst_p1::default(), |sum, bit| {
        let twice = double(&sum);
        if bit { add(&twice, a) } else { twice }
    });
    if is_negative { negate(product) } else { product }
}

#[allow(dead_code, reason = "the paths that test combinations come after it")]
/// Whether a point of the curve is of the subgroup of order r; infinity is.
pub(crate) fn is_in_g1(a: &blst_p1) -> bool {
    // SAFETY: the pointer is that of a live value.
    unsafe { blst::blst_p1_in_g1(a) }
}

/// The generator of G2.
pub(crate) fn g2_generator() -> blst_p2_affine {
    // SAFETY: blst returns the address of a constant that lives as long as the program.
    unsafe { *blst::blst_p2_affine_generator() }
}

/// Whether `prod e(p[i], q[i]) = 1`; pairs with `p[i]` at infinity count as one.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn pairing_product_is_one(p: &[blst_p1], q: &[blst_p2_affine]) -> bool {
    assert_eq!(p.len(), q.len(), "points pair up");
    // blst's loop over several pairs does not treat infinity.
    let (mut left, mut right) = (Vec::with_capacity(p.len()), Vec::with_capacity(q.len()));
    for (p, q) in to_affine(p).into_iter().zip(q) {
        if p != blst_p1_affine::default() {
            left.push(p);
            right.push(*q);
        }
    }
    if left.is_empty() {
        return true;
    }
    let lefts = [left.as_ptr(), ptr::null()];
    let rights = [right.as_ptr(), ptr::null()];
    let mut product = blst_fp12::default();
    // SAFETY: `left` and `right` hold `left.len()` elements each, one behind the other, and at least one.
    unsafe { blst::blst_miller_loop_n(&mut product, rights.as_ptr(), lefts.as_ptr(), left.len()) };
    product.final_exp() == blst_fp12::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(value: u128) -> [u8; SCALAR_SIZE] {
        value.to_le_bytes()
    }

    #[test]
    fn sums_take_equal_opposite_and_infinite_points() {
        let h = hash_to_g1(b"a point", b"WATTBOOK-TEST");
        let pair = to_affine(&[h, negate(h)]);
        for n in [1usize, 2, 3, 31, 32, 33, 300] {
            let equal = vec![pair[0]; n];
            let ones = vec![scalar(1); n];
            assert_eq!(
                msm(&equal, &ones),
                msm(&pair[..1], &[scalar(n as u128)]),
                "{n} equal points"
            );
            let opposite: Vec<_> = (0..2 * n).map(|i| pair[i % 2]).collect();
            let same = vec![scalar(u128::MAX - 7); 2 * n];
            assert_eq!(msm(&opposite, &same), blst_p1::default(), "{n} opposite pairs");
            let mut infinite = equal;
            infinite.push(blst_p1_affine::default());
            let mut factors = ones;
            factors.push(scalar(u128::MAX));
            assert_eq!(
                msm(&infinite, &factors),
                msm(&pair[..1], &[scalar(n as u128)]),
                "infinity among {n}"
            );
        }
        assert_eq!(msm(&[], &[]), blst_p1::default());
        assert_eq!(msm(&pair[..1], &[scalar(0)]), blst_p1::default());
    }

    #[test]
    fn products_of_pairings() {
        let h = hash_to_g1(b"a point", b"WATTBOOK-TEST");
        let g2 = g2_generator();
        assert!(pairing_product_is_one(&[], &[]));
        assert!(pairing_product_is_one(&[blst_p1::default()], &[g2]));
        assert!(!pairing_product_is_one(&[h], &[g2]));
        assert!(pairing_product_is_one(
            &[h, blst_p1::default(), negate(h)],
            &[g2, g2, g2]
        ));
        // Longer than one inner run of blst's loop.
        for n in [15usize, 16, 17, 33, 48] {
            let points: Vec<_> = (0..2 * n).map(|i| if i % 2 == 0 { h } else { negate(h) }).collect();
            assert!(pairing_product_is_one(&points, &vec![g2; 2 * n]));
            assert!(!pairing_product_is_one(&points[1..], &vec![g2; 2 * n - 1]));
        }
    }
}
