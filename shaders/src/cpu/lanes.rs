//! The base field in several lanes at once: 13 limbs of 30 bits, each limb a vector of 64-bit lanes, R = 2^390.
//!
//! # Invariants
//! * A [`Residue`] is below twice the modulus, and every limb but the last below 2^30; the last is below 2^22.
//! * Products and squares take residues and give residues: `(4 p^2 + R p) / R < 2 p`.
//! * The arithmetic is the same for every [`Vector`]; the portable one is what tests hold the others against.

use super::exponent::{FIRST, NONE, STEPS, TABLE_LEN};
use super::field::Fp;

/// Limbs of a residue.
pub(crate) const LIMBS: usize = 13;
/// Bits of a limb.
const BITS: u32 = 30;
const MASK: u64 = (1 << BITS) - 1;

/// Lanes of 64 bits.
pub(crate) trait Vector: Copy {
    /// How many.
    const LANES: usize;
    /// A value for each lane.
    fn from_lanes(lane: impl Fn(usize) -> u64) -> Self;
    /// The value of a lane.
    fn lane(&self, at: usize) -> u64;
    /// The same value in every lane.
    fn splat(value: u64) -> Self;
    /// Lane by lane, the product of the low halves.
    fn mul(self, other: Self) -> Self;
    /// Lane by lane, modulo 2^64.
    fn add(self, other: Self) -> Self;
    /// Lane by lane, shifted right by the bits of a limb.
    fn carry(self) -> Self;
    /// Lane by lane.
    fn and(self, other: Self) -> Self;
}

/// Twice the lanes, for two chains of dependent instructions at once.
#[derive(Clone, Copy)]
pub(crate) struct Pair<V>(pub(crate) V, pub(crate) V);

impl<V: Vector> Vector for Pair<V> {
    const LANES: usize = 2 * V::LANES;
    #[inline(always)]
    fn from_lanes(lane: impl Fn(usize) -> u64) -> Self {
        Self(V::from_lanes(&lane), V::from_lanes(|at| lane(at + V::LANES)))
    }
    #[inline(always)]
    fn lane(&self, at: usize) -> u64 {
        if at < V::LANES {
            self.0.lane(at)
        } else {
            self.1.lane(at - V::LANES)
        }
    }
    #[inline(always)]
    fn splat(value: u64) -> Self {
        Self(V::splat(value), V::splat(value))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0.mul(other.0), self.1.mul(other.1))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0), self.1.add(other.1))
    }
    #[inline(always)]
    fn carry(self) -> Self {
        Self(self.0.carry(), self.1.carry())
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(self.0.and(other.0), self.1.and(other.1))
    }
}

impl Vector for u64 {
    const LANES: usize = 1;
    #[inline(always)]
    fn from_lanes(lane: impl Fn(usize) -> u64) -> Self {
        lane(0)
    }
    #[inline(always)]
    fn lane(&self, _: usize) -> u64 {
        *self
    }
    #[inline(always)]
    fn splat(value: u64) -> Self {
        value
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        u64::from(self as u32) * u64::from(other as u32)
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn carry(self) -> Self {
        self >> BITS
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
}

/// The limbs of an integer of 384 bits.
pub(crate) const fn limbs(integer: &[u64; 6]) -> [u64; LIMBS] {
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

/// The integer of limbs below 2^30, which must be below 2^384.
pub(crate) fn integer(limbs: &[u64; LIMBS]) -> [u64; 6] {
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
/// -1 / p modulo 2^30.
const INVERSE: u64 = {
    let mut inverse = 1u64;
    let mut bits = 1;
    while bits < BITS {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(MODULUS[0].wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse.wrapping_neg() & MASK
};

/// A residue modulo p in each lane.
pub(crate) type Residue<V> = [V; LIMBS];

/// Repeats a block for each limb, the number being a constant of it, so that limbs stay in registers.
macro_rules! for_each_limb {
    ($at:ident => $body:block) => {
        for_each_limb!(@ $at, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    (@ $at:ident, $body:block, $($n:literal)*) => {
        $({ const $at: usize = $n; $body })*
    };
}

/// Carries every limb but the last into the next.
#[inline(always)]
fn settle<V: Vector>(t: &mut Residue<V>) {
    let mask = V::splat(MASK);
    for j in 0..LIMBS - 1 {
        t[j + 1] = t[j + 1].add(t[j].carry());
        t[j] = t[j].and(mask);
    }
}

/// `a b / R`.
#[inline(always)]
pub(crate) fn mul<V: Vector>(a: &Residue<V>, b: &Residue<V>) -> Residue<V> {
    let (mask, inverse) = (V::splat(MASK), V::splat(INVERSE));
    let mut t = [V::splat(0); LIMBS];
    for_each_limb!(I => {
        let limb = a[I];
        for j in 0..LIMBS {
            t[j] = t[j].add(limb.mul(b[j]));
        }
        let m = t[0].mul(inverse).and(mask);
        let carry = t[0].add(m.mul(V::splat(MODULUS[0]))).carry();
        for j in 1..LIMBS {
            t[j - 1] = t[j].add(m.mul(V::splat(MODULUS[j])));
        }
        t[0] = t[0].add(carry);
        t[LIMBS - 1] = V::splat(0);
        // BOUND: a column takes two products below 2^60 per limb, so it would overflow at the eighth.
        if I == 6 {
            settle(&mut t);
        }
    });
    settle(&mut t);
    t
}

/// `a a / R`.
#[inline(always)]
pub(crate) fn square<V: Vector>(a: &Residue<V>) -> Residue<V> {
    let (mask, inverse) = (V::splat(MASK), V::splat(INVERSE));
    let twice: Residue<V> = core::array::from_fn(|i| a[i].add(a[i]));
    let mut columns = [V::splat(0); 2 * LIMBS];
    for_each_limb!(I => {
        // Columns 2 I and 2 I + 1.
        let mut even = a[I].mul(a[I]);
        let mut odd = V::splat(0);
        for i in (2 * I).saturating_sub(LIMBS - 1)..I {
            even = even.add(a[i].mul(twice[2 * I - i]));
        }
        for i in (2 * I + 1).saturating_sub(LIMBS - 1)..=I {
            if 2 * I + 1 - i < LIMBS {
                odd = odd.add(a[i].mul(twice[2 * I + 1 - i]));
            }
        }
        columns[2 * I] = even;
        columns[2 * I + 1] = odd;
    });
    // BOUND: a column takes up to 13 products below 2^60 here and as many again in the reduction.
    for k in 6..19 {
        columns[k + 1] = columns[k + 1].add(columns[k].carry());
        columns[k] = columns[k].and(mask);
    }
    let mut t: Residue<V> = core::array::from_fn(|j| columns[j]);
    for_each_limb!(I => {
        let m = t[0].mul(inverse).and(mask);
        let carry = t[0].add(m.mul(V::splat(MODULUS[0]))).carry();
        for j in 1..LIMBS {
            t[j - 1] = t[j].add(m.mul(V::splat(MODULUS[j])));
        }
        t[0] = t[0].add(carry);
        t[LIMBS - 1] = columns[I + LIMBS];
    });
    settle(&mut t);
    t
}

/// 2^396 and 2^384 modulo p: what turns Montgomery form with R = 2^384 into that with R = 2^390, and back.
const INTO: [u64; LIMBS] = limbs(&power_of_two(396));
const BACK: [u64; LIMBS] = limbs(&power_of_two(384));

/// 2^exponent modulo p.
pub(crate) const fn power_of_two(exponent: usize) -> [u64; 6] {
    let mut value = [1, 0, 0, 0, 0, 0];
    let mut doublings = 0;
    while doublings < exponent {
        let (mut twice, mut reduced) = ([0u64; 6], [0u64; 6]);
        let (mut at, mut borrow) = (0, false);
        while at < 6 {
            twice[at] = value[at] << 1 | if at > 0 { value[at - 1] >> 63 } else { 0 };
            let (difference, first) = twice[at].overflowing_sub(super::field::MODULUS[at]);
            let (difference, second) = difference.overflowing_sub(borrow as u64);
            reduced[at] = difference;
            borrow = first | second;
            at += 1;
        }
        value = if borrow { twice } else { reduced };
        doublings += 1;
    }
    value
}

/// `elements[at]`, or one beyond them, in every lane.
#[inline(always)]
fn load<V: Vector>(elements: &[Fp]) -> Residue<V> {
    let mut lanes = [[0; LIMBS]; LANES_MAX];
    for (lane, element) in lanes
        .iter_mut()
        .zip(elements.iter().chain(core::iter::repeat(&Fp::ONE)))
    {
        *lane = limbs(&element.0);
    }
    let residue: Residue<V> = core::array::from_fn(|j| V::from_lanes(|at| lanes[at][j]));
    mul(&residue, &INTO.map(V::splat))
}

/// Writes the lanes to as many elements as there are.
#[inline(always)]
fn store<V: Vector>(residue: &Residue<V>, elements: &mut [Fp]) {
    let back = mul(residue, &BACK.map(V::splat));
    for (at, element) in elements.iter_mut().enumerate() {
        // Below 2 p: at most one modulus too much.
        *element = Fp::reduced(integer(&core::array::from_fn(|j| back[j].lane(at))));
    }
}

/// Most lanes of a vector.
const LANES_MAX: usize = 16;

/// Raises every element to the power (p - 3) / 4, as many at once as there are lanes.
#[inline(always)]
pub(crate) fn raise_all<V: Vector>(elements: &mut [Fp]) {
    for elements in elements.chunks_mut(V::LANES) {
        let a: Residue<V> = load(elements);
        let twofold = square(&a);
        let mut table = [a; TABLE_LEN];
        for at in 1..TABLE_LEN {
            table[at] = mul(&table[at - 1], &twofold);
        }
        let mut power = table[FIRST];
        for step in STEPS {
            for _ in 0..step.squarings {
                power = square(&power);
            }
            if step.entry != NONE {
                power = mul(&power, &table[usize::from(step.entry)]);
            }
        }
        store(&power, elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element() -> impl Strategy<Value = Fp> {
        let limb = prop_oneof![3 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)];
        prop::array::uniform6(limb).prop_map(|mut limbs| {
            limbs[5] %= super::super::field::MODULUS[5];
            Fp::of(limbs)
        })
    }

    /// The greatest residue there is in every limb.
    fn greatest() -> Residue<u64> {
        let mut twice = MODULUS.map(|limb| 2 * limb);
        settle(&mut twice);
        twice[0] -= 1;
        twice
    }

    #[test]
    fn greatest_residues_neither_overflow_nor_grow() {
        let most = greatest();
        let product = mul(&most, &most);
        assert_eq!(product, square(&most));
        assert!(product.iter().rev().lt(most.iter().rev()));
        // (2p - 1)^2 = 1, so this is 2^-390.
        let mut doubled = Fp::reduced(integer(&product));
        (0..390).for_each(|_| doubled = doubled.double());
        assert_eq!(doubled, Fp::of([1, 0, 0, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn lanes_hold_what_the_field_holds(a in element(), b in element(), c in element()) {
            let elements = [a, b, c];
            let x: Residue<Pair<Pair<u64>>> = load(&elements);
            let y: Residue<Pair<Pair<u64>>> = load(&[b, c, a]);
            let mut out = [Fp::ZERO; 3];
            store(&x, &mut out);
            prop_assert_eq!(out, elements);
            store(&mul(&x, &y), &mut out);
            prop_assert_eq!(out, [a * b, b * c, c * a]);
            store(&square(&x), &mut out);
            prop_assert_eq!(out, elements.map(|element| element.square()));
        }
    }
}
