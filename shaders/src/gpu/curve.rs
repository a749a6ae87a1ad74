//! The two curves on the device, and points on their way to and from it.
//!
//! `E1` is y^2 = x^3 + 4. `E1'` of RFC 9380 8.8.1, y^2 = x^3 + A' x + B', enters as y^2 = x^3 + x + B' u^6 with
//! u^4 = 1 / A': coordinates are (u^2 x, u^3 y), and additions have no product by A'.
//!
//! A buffer of N points holds the elements X, Y, Z of homogeneous coordinates, `buf[(element * 13 + limb) * N + i]`, in
//! the device's Montgomery form and below 2p; infinity has Z = 0.

use super::field::{self, LIMBS};
use crate::cpu::Affine;
use crate::cpu::field::{Fp, invert_all};

/// Words of a point.
pub(super) const POINT_LEN: usize = 3 * LIMBS;

/// A curve y^2 = x^3 + a x + b.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    /// 3b.
    pub(super) b3: [u32; LIMBS],
    /// Whether a is one; else it is zero.
    pub(super) has_a: bool,
    /// What x and y are multiplied by on the way to the device, and by on the way back.
    scales: [(Fp, Fp); 2],
}

impl Curve {
    /// What x and y are multiplied by on the way back from the device.
    pub(super) const fn scales_back(&self) -> (Fp, Fp) {
        self.scales[1]
    }
}

/// E1.
pub(super) const E1: Curve = Curve {
    b3: [
        0x09d7_f628,
        0x3620_0000,
        0x3600_8134,
        0x2809_a6d1,
        0x1b25_5638,
        0x0f7a_2b98,
        0x25ba_0a63,
        0x3472_238b,
        0x0731_1d11,
        0x0632_b4df,
        0x385f_74f4,
        0x037d_bb80,
        0x0010_66f3,
    ],
    has_a: false,
    scales: [(Fp::ONE, Fp::ONE); 2],
};

/// E1', scaled.
pub(super) const ISOGENOUS: Curve = Curve {
    b3: [
        0x019e_fad4,
        0x2d7b_082f,
        0x297b_c05e,
        0x3672_35a7,
        0x17eb_f90a,
        0x3aa8_1fa4,
        0x11c1_c576,
        0x0f14_cdc3,
        0x3e29_dbc4,
        0x2db3_6dc9,
        0x0307_679c,
        0x2977_469f,
        0x0009_5ffb,
    ],
    has_a: true,
    scales: [
        (
            Fp::of([
                0xbb46_d387_a595_3e8a,
                0xab44_5372_cf41_c1ac,
                0xc0d8_8402_4f25_6363,
                0x2e52_6b6c_c3c9_8740,
                0xd4ed_97bc_28a9_8fc5,
                0x0793_1f82_a277_4e65,
            ]),
            Fp::of([
                0x6607_b5b2_ec22_c2c0,
                0x2d41_743c_3e66_7492,
                0x3f0e_3aca_d38f_9adc,
                0x456e_bcc6_782b_3ef6,
                0x18e9_c8cd_d983_048b,
                0x0a20_619a_36b4_3491,
            ]),
        ),
        (
            Fp::of([
                0x84fb_872c_a418_25cd,
                0x9bd5_3c28_e2da_78ab,
                0xe7b1_aeec_f3ed_9fef,
                0xf2c6_ea4a_46b7_a5ce,
                0x9c6d_257d_8f5f_773e,
                0x0466_78d2_46cb_2262,
            ]),
            Fp::of([
                0x1f4c_876d_2ac2_7f61,
                0x2f70_c34a_06f2_b097,
                0x444c_5fcb_a462_6c35,
                0x4c7f_6986_bc3b_ccfc,
                0x6e00_0d56_8ad0_f3b8,
                0x0661_9dee_4bf4_cb87,
            ]),
        ),
    ],
};

impl Curve {
    /// What x and y are multiplied by on the way to the device.
    pub(super) fn scale(&self) -> (field::Fp, field::Fp) {
        let (x, y) = self.scales[0];
        (field::Fp::from_blst(&x.into()), field::Fp::from_blst(&y.into()))
    }
}

/// The words of a buffer of points.
#[cfg(test)]
pub(super) fn words_of(curve: &Curve, points: &[Affine]) -> Vec<u32> {
    let mut out = vec![0; points.len() * POINT_LEN];
    let (x_scale, y_scale) = curve.scales[0];
    for (i, point) in points.iter().enumerate() {
        let elements = if point.is_infinity() {
            [Fp::ZERO, Fp::ONE, Fp::ZERO]
        } else {
            [point.x * x_scale, point.y * y_scale, Fp::ONE]
        };
        for (element, value) in elements.into_iter().enumerate() {
            for (limb, word) in field::Fp::from_blst(&value.into()).0.into_iter().enumerate() {
                out[(element * LIMBS + limb) * points.len() + i] = word;
            }
        }
    }
    out
}

/// The points of a buffer.
pub(super) fn points_of(curve: &Curve, words: &[u32]) -> Vec<Affine> {
    let len = words.len() / POINT_LEN;
    let element = |element: usize, i: usize| {
        let limbs = core::array::from_fn(|limb| words[(element * LIMBS + limb) * len + i]);
        Fp::of(field::Fp(limbs).reduced().to_blst().l)
    };
    let mut inverses: Vec<Fp> = (0..len).map(|i| element(2, i)).collect();
    let is_infinity: Vec<bool> = inverses.iter().map(Fp::is_zero).collect();
    for (z, _) in inverses
        .iter_mut()
        .zip(&is_infinity)
        .filter(|(_, is_infinity)| **is_infinity)
    {
        *z = Fp::ONE;
    }
    invert_all(&mut inverses);
    let (x_scale, y_scale) = curve.scales[1];
    let affine = |(i, inverse): (usize, &Fp)| {
        if is_infinity[i] {
            return Affine::INFINITY;
        }
        Affine {
            x: element(0, i) * *inverse * x_scale,
            y: element(1, i) * *inverse * y_scale,
        }
    };
    inverses.iter().enumerate().map(affine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::sswu;

    /// The constants are those of the curves they are said to be.
    #[test]
    fn constants_follow_from_the_curves() {
        let device = |value: Fp| field::Fp::from_blst(&value.into()).0;
        let small = |n: u32| (0..n).fold(Fp::ZERO, |sum, _| sum + Fp::ONE);
        assert_eq!(E1.b3, device(small(12)));
        let [(square, cube), (over_square, over_cube)] = ISOGENOUS.scales;
        assert_eq!(square.square() * sswu::A, Fp::ONE, "u^4 A' = 1");
        assert_eq!(cube.square(), square * square.square());
        assert_eq!(square * over_square, Fp::ONE);
        assert_eq!(cube * over_cube, Fp::ONE);
        assert_eq!(ISOGENOUS.b3, device(small(3) * sswu::B * cube.square()));
    }
}
