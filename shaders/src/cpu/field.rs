//! The base field of BLS12-381 in Montgomery form, R = 2^384, over blst's assembly.
//!
//! # Invariants
//! * Every [`Fp`] is below the modulus, so equal elements have equal limbs.
//! * Nothing here is constant-time: a verifier holds no secret but the coefficients of a check, which are gone when an
//!   answer can be seen.
#![allow(unsafe_code)]

use blst::blst_fp;
use core::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub};

/// The modulus, least significant limb first.
pub(crate) const MODULUS: [u64; 6] = [
    0xb9fe_ffff_ffff_aaab,
    0x1eab_fffe_b153_ffff,
    0x6730_d2a0_f6b0_f624,
    0x6477_4b84_f385_12bf,
    0x4b1b_a7b6_434b_acd7,
    0x1a01_11ea_397f_e69a,
];

/// An element, in Montgomery form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub(crate) struct Fp(pub(crate) [u64; 6]);

/// Whether `a >= b`, least significant limb first.
fn is_at_least(a: &[u64; 6], b: &[u64; 6]) -> bool {
    a.iter().rev().ge(b.iter().rev())
}

#[inline(always)]
fn add_limbs(a: &[u64; 6], b: &[u64; 6]) -> [u64; 6] {
    let mut carry = false;
    core::array::from_fn(|i| {
        let (sum, first) = a[i].overflowing_add(b[i]);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        carry = first | second;
        sum
    })
}

#[inline(always)]
fn sub_limbs(a: &[u64; 6], b: &[u64; 6]) -> ([u64; 6], bool) {
    let mut borrow = false;
    let limbs = core::array::from_fn(|i| {
        let (difference, first) = a[i].overflowing_sub(b[i]);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        borrow = first | second;
        difference
    });
    (limbs, borrow)
}

impl Fp {
    /// Zero.
    pub(crate) const ZERO: Self = Self([0; 6]);
    /// One.
    pub(crate) const ONE: Self = Self([
        0x7609_0000_0002_fffd,
        0xebf4_000b_c40c_0002,
        0x5f48_9857_53c7_58ba,
        0x77ce_5853_7052_5745,
        0x5c07_1a97_a256_ec6d,
        0x15f6_5ec3_fa80_e493,
    ]);

    /// The element of these limbs of its Montgomery form.
    pub(crate) const fn of(limbs: [u64; 6]) -> Self {
        Self(limbs)
    }

    /// The element of limbs below twice the modulus.
    pub(crate) fn reduced(limbs: [u64; 6]) -> Self {
        let (reduced, borrow) = sub_limbs(&limbs, &MODULUS);
        Self(if borrow { limbs } else { reduced })
    }

    /// Whether it is zero.
    #[inline]
    pub(crate) fn is_zero(&self) -> bool {
        self.0 == [0; 6]
    }

    /// The element of 48 big-endian bytes; `None` if they are not below the modulus.
    pub(crate) fn from_be_bytes(bytes: &[u8; 48]) -> Option<Self> {
        let mut limbs = [0u64; 6];
        for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.as_chunks::<8>().0) {
            *limb = u64::from_be_bytes(*chunk);
        }
        (!is_at_least(&limbs, &MODULUS)).then(|| Self(limbs) * Self::R2)
    }

    /// 2^768 modulo the modulus: what turns an integer into Montgomery form.
    const R2: Self = Self([
        0xf4df_1f34_1c34_1746,
        0x0a76_e6a6_09d1_04f1,
        0x8de5_476c_4c95_b6d5,
        0x67eb_88a9_939d_83c0,
        0x9a79_3e85_b519_952d,
        0x1198_8fe5_92ca_e3aa,
    ]);

    /// 64 big-endian bytes modulo the modulus.
    pub(crate) fn from_uniform(bytes: &[u8; 64]) -> Self {
        let mut out = blst_fp::default();
        // SAFETY: the pointers are those of live values, the length is that of the bytes.
        unsafe { blst::blst_fp_from_be_bytes(&mut out, bytes.as_ptr(), bytes.len()) };
        Self(out.l)
    }

    /// The integer it stands for, least significant limb first.
    pub(crate) fn integer(&self) -> [u64; 6] {
        (*self * Self([1, 0, 0, 0, 0, 0])).0
    }

    /// `sgn0` of RFC 9380: whether the integer is odd.
    pub(crate) fn is_odd(&self) -> bool {
        self.integer()[0] & 1 == 1
    }

    /// Whether the integer is greater than that of the negative.
    pub(crate) fn is_lexicographically_largest(&self) -> bool {
        /// (p - 1) / 2 + 1.
        const HALF: [u64; 6] = [
            0xdcff_7fff_ffff_d556,
            0x0f55_ffff_58a9_ffff,
            0xb398_6950_7b58_7b12,
            0xb23b_a5c2_79c2_895f,
            0x258d_d3db_21a5_d66b,
            0x0d00_88f5_1cbf_f34d,
        ];
        is_at_least(&self.integer(), &HALF)
    }

    /// Its square.
    #[inline]
    pub(crate) fn square(&self) -> Self {
        let mut out = Self::ZERO;
        // SAFETY: `Fp` is `[u64; 6]`, as `blst_fp` is; the pointers are those of live values.
        unsafe { blst::blst_fp_sqr((&raw mut out).cast(), (&raw const *self).cast()) };
        out
    }

    /// Its inverse; zero for zero.
    pub(crate) fn inverse(&self) -> Self {
        let mut out = Self::ZERO;
        // SAFETY: as in `square`.
        unsafe { blst::blst_fp_eucl_inverse((&raw mut out).cast(), (&raw const *self).cast()) };
        out
    }

    /// Twice itself.
    #[inline]
    pub(crate) fn double(&self) -> Self {
        *self + *self
    }
}

/// Replaces every element by its inverse, zero by zero, with one inversion.
pub(crate) fn invert_all(elements: &mut [Fp]) {
    let mut product = Fp::ONE;
    let mut before = Vec::with_capacity(elements.len());
    for element in elements.iter() {
        before.push(product);
        if !element.is_zero() {
            product *= *element;
        }
    }
    let mut inverse = product.inverse();
    for (element, before) in elements.iter_mut().zip(before).rev() {
        if !element.is_zero() {
            let of_this = inverse * before;
            inverse *= *element;
            *element = of_this;
        }
    }
}

impl Add for Fp {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // BOUND: both are below p < 2^381, so the sum does not overflow.
        let sum = add_limbs(&self.0, &other.0);
        let (reduced, borrow) = sub_limbs(&sum, &MODULUS);
        Self(core::array::from_fn(|i| if borrow { sum[i] } else { reduced[i] }))
    }
}

impl AddAssign for Fp {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Fp {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let (difference, borrow) = sub_limbs(&self.0, &other.0);
        let mask = u64::from(borrow).wrapping_neg();
        Self(add_limbs(&difference, &MODULUS.map(|limb| limb & mask)))
    }
}

impl Neg for Fp {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl Mul for Fp {
    type Output = Self;
    #[inline]
    fn mul(self, other: Self) -> Self {
        let mut out = Self::ZERO;
        // SAFETY: as in `square`.
        unsafe {
            blst::blst_fp_mul(
                (&raw mut out).cast(),
                (&raw const self).cast(),
                (&raw const other).cast(),
            )
        };
        out
    }
}

impl MulAssign for Fp {
    #[inline]
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl From<Fp> for blst_fp {
    fn from(element: Fp) -> Self {
        Self { l: element.0 }
    }
}

impl From<blst_fp> for Fp {
    fn from(element: blst_fp) -> Self {
        Self(element.l)
    }
}
