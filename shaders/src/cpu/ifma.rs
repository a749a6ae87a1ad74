//! The base field with 52-bit products: 8 limbs of 52 bits, R = 2^416, for AVX-512 IFMA.
//!
//! # Invariants
//! * A [`Residue`] is below twice the modulus, every limb below 2^52. Products of residues are residues:
//!   `(4 p^2 + R p) / R < 2 p`.
//! * The formulas are the same for every [`Vector52`]; tests run them over the portable one, which is the definition of
//!   the instructions, and [`raise`] is given out only where the processor has them.
#![allow(unsafe_code)]

use super::exponent::{FIRST, NONE, STEPS, TABLE_LEN};
use super::field::Fp;
use super::lanes::power_of_two;
use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_set1_epi64, _mm512_srli_epi64, _mm512_storeu_si512,
};

/// Limbs of a residue.
const LIMBS: usize = 8;
const BITS: u32 = 52;
const MASK: u64 = (1 << BITS) - 1;

/// Lanes of 64 bits with products of 52.
trait Vector52: Copy {
    /// How many.
    const LANES: usize;
    /// A value for each lane.
    fn from_lanes(lane: impl Fn(usize) -> u64) -> Self;
    /// The value of a lane.
    fn lane(&self, at: usize) -> u64;
    /// The same value in every lane.
    fn splat(value: u64) -> Self;
    /// Plus the low 52 bits of the product of the low 52 bits of `a` and `b`.
    fn add_low(self, a: Self, b: Self) -> Self;
    /// Plus the high 52 bits of that product.
    fn add_high(self, a: Self, b: Self) -> Self;
    /// Lane by lane, modulo 2^64.
    fn add(self, other: Self) -> Self;
    /// Lane by lane, shifted right by the bits of a limb.
    fn carry(self) -> Self;
    /// Lane by lane.
    fn and(self, other: Self) -> Self;
}

type Residue<V> = [V; LIMBS];

const fn limbs(integer: &[u64; 6]) -> [u64; LIMBS] {
    let mut out = [0; LIMBS];
    let mut at = 0;
    while at < LIMBS {
        let (limb, shift) = (at * BITS as usize / 64, at * BITS as usize % 64);
        let low = integer[limb] >> shift;
        let high = if limb + 1 < 6 && shift > 64 - BITS as usize {
            integer[limb + 1] << (64 - shift)
        } else {
            0
        };
        out[at] = (low | high) & MASK;
        at += 1;
    }
    out
}

fn integer(limbs: &[u64; LIMBS]) -> [u64; 6] {
    let mut out = [0; 6];
    for (at, value) in limbs.iter().enumerate() {
        let (limb, shift) = (at * BITS as usize / 64, at * BITS as usize % 64);
        out[limb] |= value << shift;
        if shift > 64 - BITS as usize && limb + 1 < 6 {
            out[limb + 1] |= value >> (64 - shift);
        }
    }
    out
}

const MODULUS: [u64; LIMBS] = limbs(&super::field::MODULUS);
/// -1 / p modulo 2^52.
const INVERSE: u64 = {
    let mut inverse = 1u64;
    let mut bits = 1;
    while bits < BITS {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(MODULUS[0].wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse.wrapping_neg() & MASK
};
/// What turns Montgomery form with R = 2^384 into that with R = 2^416, and back.
const INTO: [u64; LIMBS] = limbs(&power_of_two(448));
const BACK: [u64; LIMBS] = limbs(&power_of_two(384));

/// `a b / R`.
#[inline(always)]
fn mul<V: Vector52>(a: &Residue<V>, b: &Residue<V>) -> Residue<V> {
    let (zero, mask, inverse) = (V::splat(0), V::splat(MASK), V::splat(INVERSE));
    let mut t = [zero; LIMBS + 1];
    for limb in a {
        for j in 0..LIMBS {
            t[j] = t[j].add_low(*limb, b[j]);
            t[j + 1] = t[j + 1].add_high(*limb, b[j]);
        }
        // add_low takes the low 52 bits of its factors, and m is that many bits of the product.
        let m = zero.add_low(t[0], inverse);
        for j in 0..LIMBS {
            let modulus = V::splat(MODULUS[j]);
            t[j] = t[j].add_low(m, modulus);
            t[j + 1] = t[j + 1].add_high(m, modulus);
        }
        // BOUND: a limb takes four terms below 2^52 in each of at most nine rounds, so 2^58 is never reached.
        let carry = t[0].carry();
        t.copy_within(1.., 0);
        t[LIMBS] = zero;
        t[0] = t[0].add(carry);
    }
    for j in 0..LIMBS - 1 {
        t[j + 1] = t[j + 1].add(t[j].carry());
        t[j] = t[j].and(mask);
    }
    core::array::from_fn(|j| t[j])
}

/// Raises every element to the power (p - 3) / 4, as many at once as there are lanes.
#[inline(always)]
fn raise_all<V: Vector52>(elements: &mut [Fp]) {
    for elements in elements.chunks_mut(V::LANES) {
        let lane = |at: usize| limbs(&elements.get(at).unwrap_or(&Fp::ONE).0);
        let loaded: Residue<V> = core::array::from_fn(|j| V::from_lanes(|at| lane(at)[j]));
        let a = mul(&loaded, &INTO.map(V::splat));
        let square = mul(&a, &a);
        let mut table = [a; TABLE_LEN];
        for at in 1..TABLE_LEN {
            table[at] = mul(&table[at - 1], &square);
        }
        let mut power = table[FIRST];
        for step in STEPS {
            for _ in 0..step.squarings {
                power = mul(&power, &power);
            }
            if step.entry != NONE {
                power = mul(&power, &table[usize::from(step.entry)]);
            }
        }
        let back = mul(&power, &BACK.map(V::splat));
        for (at, element) in elements.iter_mut().enumerate() {
            *element = Fp::reduced(integer(&core::array::from_fn(|j| back[j].lane(at))));
        }
    }
}

/// A register. INVARIANT: made and used under [`raise`] alone, which runs where AVX-512 IFMA was found.
#[derive(Clone, Copy)]
struct Register(__m512i);

impl Vector52 for Register {
    const LANES: usize = 8;
    #[inline(always)]
    fn from_lanes(lane: impl Fn(usize) -> u64) -> Self {
        let lanes: [u64; 8] = core::array::from_fn(lane);
        // SAFETY: 64 bytes are read from 64, at any alignment; AVX-512 is there by the invariant.
        Self(unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) })
    }
    #[inline(always)]
    fn lane(&self, at: usize) -> u64 {
        let mut lanes = [0u64; 8];
        // SAFETY: 64 bytes are written to 64, at any alignment; AVX-512 is there by the invariant.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), self.0) };
        lanes[at]
    }
    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: AVX-512 is there by the invariant.
        Self(unsafe { _mm512_set1_epi64(value.cast_signed()) })
    }
    #[inline(always)]
    fn add_low(self, a: Self, b: Self) -> Self {
        // SAFETY: AVX-512 IFMA is there by the invariant.
        Self(unsafe { _mm512_madd52lo_epu64(self.0, a.0, b.0) })
    }
    #[inline(always)]
    fn add_high(self, a: Self, b: Self) -> Self {
        // SAFETY: AVX-512 IFMA is there by the invariant.
        Self(unsafe { _mm512_madd52hi_epu64(self.0, a.0, b.0) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: AVX-512 is there by the invariant.
        Self(unsafe { _mm512_add_epi64(self.0, other.0) })
    }
    #[inline(always)]
    fn carry(self) -> Self {
        // SAFETY: AVX-512 is there by the invariant.
        Self(unsafe { _mm512_srli_epi64::<BITS>(self.0) })
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: AVX-512 is there by the invariant.
        Self(unsafe { _mm512_and_si512(self.0, other.0) })
    }
}

/// Raises every element to the power (p - 3) / 4; `None` where the processor has no AVX-512 IFMA.
pub(crate) fn raise() -> Option<fn(&mut [Fp])> {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inner(elements: &mut [Fp]) {
        raise_all::<Register>(elements);
    }
    fn outer(elements: &mut [Fp]) {
        // SAFETY: this function is given out only where AVX-512 IFMA was found.
        unsafe { inner(elements) }
    }
    let is_there = std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512ifma");
    is_there.then_some(outer as fn(&mut [Fp]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::exponent;
    use proptest::prelude::*;

    /// What the instructions are defined to do.
    impl Vector52 for u64 {
        const LANES: usize = 1;
        fn from_lanes(lane: impl Fn(usize) -> u64) -> Self {
            lane(0)
        }
        fn lane(&self, _: usize) -> u64 {
            *self
        }
        fn splat(value: u64) -> Self {
            value
        }
        fn add_low(self, a: Self, b: Self) -> Self {
            self.wrapping_add((u128::from(a & MASK) * u128::from(b & MASK)) as u64 & MASK)
        }
        fn add_high(self, a: Self, b: Self) -> Self {
            self.wrapping_add(((u128::from(a & MASK) * u128::from(b & MASK)) >> BITS) as u64)
        }
        fn add(self, other: Self) -> Self {
            self.checked_add(other).unwrap()
        }
        fn carry(self) -> Self {
            self >> BITS
        }
        fn and(self, other: Self) -> Self {
            self & other
        }
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_field(a in prop::array::uniform6(any::<u64>()), b in prop::array::uniform6(any::<u64>())) {
            let [a, b] = [a, b].map(|mut limbs| {
                limbs[5] %= crate::cpu::field::MODULUS[5];
                limbs
            });
            // a b / 2^416, against a b / 2^384.
            let mut product = Fp::reduced(integer(&mul::<u64>(&limbs(&a), &limbs(&b))));
            (0..32).for_each(|_| product = product.double());
            prop_assert_eq!(product, Fp::of(a) * Fp::of(b));
        }
    }

    #[test]
    fn powers_are_those_of_the_field() {
        for i in 0..8 {
            let element = Fp::from_uniform(&[i; 64]);
            let mut raised = [element];
            raise_all::<u64>(&mut raised);
            assert_eq!(raised, [exponent::raise(element)]);
        }
        // The greatest residue is 2p - 1, so its square is 2^-416.
        let mut twice = MODULUS.map(|limb| 2 * limb);
        for j in 0..LIMBS - 1 {
            twice[j + 1] += twice[j] >> BITS;
            twice[j] &= MASK;
        }
        twice[0] -= 1;
        let mut square = Fp::reduced(integer(&mul::<u64>(&twice, &twice)));
        (0..416).for_each(|_| square = square.double());
        assert_eq!(square, Fp::of([1, 0, 0, 0, 0, 0]));
    }
}
