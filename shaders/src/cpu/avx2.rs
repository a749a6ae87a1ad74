//! Four lanes of AVX2.
#![allow(unsafe_code)]

use super::field::Fp;
use super::lanes::{Vector, raise_all};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_mul_epu32, _mm256_set1_epi64x,
    _mm256_srli_epi64, _mm256_storeu_si256,
};

/// A register. INVARIANT: made and used under [`raise`] alone, which runs where AVX2 was found.
#[derive(Clone, Copy)]
struct Register(__m256i);

impl Vector for Register {
    const LANES: usize = 4;
    #[inline(always)]
    fn from_lanes(lane: impl Fn(usize) -> u64) -> Self {
        let lanes: [u64; 4] = core::array::from_fn(lane);
        // SAFETY: 32 bytes are read from 32, at any alignment; AVX2 is there by the invariant.
        Self(unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) })
    }
    #[inline(always)]
    fn lane(&self, at: usize) -> u64 {
        let mut lanes = [0u64; 4];
        // SAFETY: 32 bytes are written to 32, at any alignment; AVX2 is there by the invariant.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), self.0) };
        lanes[at]
    }
    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: AVX2 is there by the invariant.
        Self(unsafe { _mm256_set1_epi64x(value.cast_signed()) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: AVX2 is there by the invariant.
        Self(unsafe { _mm256_mul_epu32(self.0, other.0) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: AVX2 is there by the invariant.
        Self(unsafe { _mm256_add_epi64(self.0, other.0) })
    }
    #[inline(always)]
    fn carry(self) -> Self {
        // SAFETY: AVX2 is there by the invariant.
        Self(unsafe { _mm256_srli_epi64::<30>(self.0) })
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: AVX2 is there by the invariant.
        Self(unsafe { _mm256_and_si256(self.0, other.0) })
    }
}

/// Raises every element to the power (p - 3) / 4; `None` where the processor has no AVX2.
pub(crate) fn raise() -> Option<fn(&mut [Fp])> {
    #[target_feature(enable = "avx2")]
    fn inner(elements: &mut [Fp]) {
        raise_all::<Register>(elements);
    }
    fn outer(elements: &mut [Fp]) {
        // SAFETY: this function is given out only where AVX2 was found.
        unsafe { inner(elements) }
    }
    std::arch::is_x86_feature_detected!("avx2").then_some(outer as fn(&mut [Fp]))
}
