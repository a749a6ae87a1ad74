//! The arithmetic of blst that its safe interface lacks, or offers only on its global thread pool.
//!
//! # Invariants
//! * Everything runs on the calling thread.
//! * Every [`blst_p2_affine`] that comes in is in its subgroup of order r. A point of the curve of G1 need not be: every
//!   formula used here holds on a curve of odd order, and a component outside the subgroup is invisible to the pairing.
#![allow(unsafe_code)]

use blst::{blst_p1, blst_p1_affine, blst_p2, blst_p2_affine};
use core::ptr;

/// Size of a scalar of [`msm`].
pub(crate) const SCALAR_SIZE: usize = 18;
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

/// `a + b`, as [`add`] does it.
pub(crate) fn add_affine(a: &blst_p1, b: &blst_p1_affine) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: as in `add`.
    unsafe { blst::blst_p1_add_or_double_affine(&mut out, a, b) };
    out
}

/// `2 * a`.
pub(crate) fn double(a: &blst_p1) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: the pointers are those of live values.
    unsafe { blst::blst_p1_double(&mut out, a) };
    out
}

/// Sign and magnitude of a two's complement number, least significant limb first.
#[cfg(test)]
pub(crate) fn magnitude(value: [u64; 3]) -> (bool, [u64; 3]) {
    let is_negative = (value[2] as i64) < 0;
    let mut carry = is_negative;
    let magnitude = value.map(|limb| {
        let (limb, overflow) = (limb ^ u64::from(is_negative).wrapping_neg()).overflowing_add(u64::from(carry));
        carry = overflow;
        limb
    });
    (is_negative, magnitude)
}

/// The low bytes of a number below 2^144.
#[cfg(test)]
pub(crate) fn scalar_bytes(magnitude: [u64; 3]) -> [u8; SCALAR_SIZE] {
    let bytes = magnitude.map(u64::to_le_bytes);
    core::array::from_fn(|at| bytes[at / 8][at % 8])
}

/// The inverse modulo r of the effective cofactor h = 0xd201000000010001 of RFC 9380 8.8.1, little-endian.
const COFACTOR_INVERSE: [u8; 32] = [
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0xfd, 0x89, 0x01, 0x48, 0x00, 0x14, 0x35, 0xd3, 0x9e,
    0x93, 0x39, 0x0b, 0xe8, 0xa5, 0x47, 0x7d, 0x9d, 0x29, 0x53, 0xa7, 0xed, 0x73,
];

/// `h^-1 * a` for a point of the subgroup.
pub(crate) fn divide_by_cofactor(a: &blst_p1) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: the pointers are those of live values; 255 bits are read of 256.
    unsafe { blst::blst_p1_mult(&mut out, a, COFACTOR_INVERSE.as_ptr(), 255) };
    out
}

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

/// `h^-1` times the generator of G2: who pairs with it need not divide the other point.
pub(crate) fn g2_generator_by_cofactor() -> blst_p2_affine {
    let (mut point, mut product, mut out) = (blst_p2::default(), blst_p2::default(), blst_p2_affine::default());
    // SAFETY: the pointers are those of live values; 255 bits are read of 256.
    unsafe {
        blst::blst_p2_from_affine(&mut point, &g2_generator());
        blst::blst_p2_mult(&mut product, &point, COFACTOR_INVERSE.as_ptr(), 255);
        blst::blst_p2_to_affine(&mut out, &product);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(value: u128) -> [u8; SCALAR_SIZE] {
        scalar_bytes([value as u64, (value >> 64) as u64, 0])
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
}
