//! The two curves on the device, and points on their way to and from it.
//!
//! `E1` is y^2 = x^3 + 4. `E1'` of RFC 9380 8.8.1 enters as `y^2 = x^3 + x + B' u^6` with u^4 = 1 / A': coordinates are
//! (u^2 x, u^3 y), and additions have no product by A'.

use super::field::{LIMBS, from_limbs, to_limbs};
use crate::curve;
use blst::{blst_fp, blst_p1, blst_p1_affine};

/// One in blst's Montgomery form, R = 2^384.
pub(super) const ONE: [u64; 6] = [
    0x7609_0000_0002_fffd,
    0xebf4_000b_c40c_0002,
    0x5f48_9857_53c7_58ba,
    0x77ce_5853_7052_5745,
    0x5c07_1a97_a256_ec6d,
    0x15f6_5ec3_fa80_e493,
];

/// A curve y^2 = x^3 + a x + b.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    /// 3b.
    pub(super) b3: [u32; LIMBS],
    /// Whether a is one; else it is zero.
    pub(super) has_a: bool,
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
};

/// E1', scaled.
pub(super) const TWIST: Curve = Curve {
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
};

/// Words of a buffer of points of E1; z is one, or zero at infinity.
pub(super) fn words_of(points: &[blst_p1_affine]) -> Vec<u32> {
    let mut out = vec![0; points.len() * 3 * LIMBS];
    for (i, point) in points.iter().enumerate() {
        let elements = if *point == blst_p1_affine::default() {
            [[0; 6], ONE, [0; 6]]
        } else {
            [point.x.l, point.y.l, ONE]
        };
        for (element, value) in elements.into_iter().enumerate() {
            for (limb, word) in to_limbs(value).into_iter().enumerate() {
                out[(element * LIMBS + limb) * points.len() + i] = word;
            }
        }
    }
    out
}

/// The points of a buffer, in blst's coordinates: from X/Z, Y/Z to X/Z^2, Y/Z^3.
pub(super) fn points_of(words: &[u32]) -> Vec<blst_p1> {
    let len = words.len() / (3 * LIMBS);
    let element = |element: usize, i: usize| blst_fp {
        l: from_limbs(core::array::from_fn(|limb| words[(element * LIMBS + limb) * len + i])),
    };
    (0..len)
        .map(|i| {
            let (x, y, z) = (element(0, i), element(1, i), element(2, i));
            curve::from_homogeneous(&x, &y, &z)
        })
        .collect()
}
