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

/// Repeats a block for each limb, spelled out: a loop that the compiler left standing would keep the
/// limbs in memory and cost twice the time.
macro_rules! for_each_limb {
    ($at:ident => $body:block) => {
        for_each_limb!(@ $at, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    (@ $at:ident, $body:block, $($n:literal)*) => {
        $({ let $at: usize = $n; $body })*
    };
}
/// The same within a block for each limb.
macro_rules! for_each_other {
    ($at:ident => $body:block) => {
        for_each_limb!(@ $at, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12)
    };
}

/// The columns of a product of two residues, low ones first; the last stays empty.
type Columns<V> = [V; 2 * LIMBS];

/// `columns / R`.
#[inline(always)]
fn reduce<V: Vector>(mut columns: Columns<V>) -> Residue<V> {
    let (mask, inverse) = (V::splat(MASK), V::splat(INVERSE));
    // BOUND: a column takes up to 13 products below 2^60 before and as many again here; those of at most six need no carry.
    for_each_limb!(k => {
        columns[k + 7] = columns[k + 7].add(columns[k + 6].carry());
        columns[k + 6] = columns[k + 6].and(mask);
    });
    let mut t = [V::splat(0); LIMBS];
    for_each_limb!(j => { t[j] = columns[j]; });
    for_each_limb!(i => {
        let m = t[0].mul(inverse).and(mask);
        let carry = t[0].add(m.mul(V::splat(MODULUS[0]))).carry();
        for_each_other!(j => {
            if j > 0 {
                t[(j + LIMBS - 1) % LIMBS] = t[j].add(m.mul(V::splat(MODULUS[j])));
            }
        });
        t[0] = t[0].add(carry);
        t[LIMBS - 1] = columns[i + LIMBS];
    });
    for_each_limb!(j => {
        if j + 1 < LIMBS {
            t[(j + 1) % LIMBS] = t[(j + 1) % LIMBS].add(t[j].carry());
            t[j] = t[j].and(mask);
        }
    });
    t
}

/// `a b / R`.
#[inline(always)]
pub(crate) fn mul<V: Vector>(a: &Residue<V>, b: &Residue<V>) -> Residue<V> {
    let mut columns = [V::splat(0); 2 * LIMBS];
    for_each_limb!(i => {
        // Columns i and i + 13.
        let mut low = a[0].mul(b[i]);
        for_each_other!(j => {
            if j > 0 && j <= i {
                low = low.add(a[j].mul(b[(i + LIMBS - j) % LIMBS]));
            }
        });
        let mut high = V::splat(0);
        for_each_other!(j => {
            if j > i {
                high = high.add(a[j].mul(b[(i + LIMBS - j) % LIMBS]));
            }
        });
        columns[i] = low;
        columns[i + LIMBS] = high;
    });
    reduce(columns)
}

/// `a a / R`.
#[inline(always)]
pub(crate) fn square<V: Vector>(a: &Residue<V>) -> Residue<V> {
    let mut twice = *a;
    for_each_limb!(j => { twice[j] = a[j].add(a[j]); });
    let mut columns = [V::splat(0); 2 * LIMBS];
    for_each_limb!(i => {
        // Columns 2 i and 2 i + 1.
        let mut even = a[i].mul(a[i]);
        let mut odd = V::splat(0);
        for_each_other!(j => {
            if j < i && 2 * i - j < LIMBS {
                even = even.add(a[j].mul(twice[(2 * i - j) % LIMBS]));
            }
            if j <= i && 2 * i + 1 - j < LIMBS {
                odd = odd.add(a[j].mul(twice[(2 * i + 1 - j) % LIMBS]));
            }
        });
        columns[2 * i] = even;
        columns[2 * i + 1] = odd;
    });
    reduce(columns)
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
    let (mut residue, mut into) = ([V::splat(0); LIMBS], [V::splat(0); LIMBS]);
    for_each_limb!(j => {
        residue[j] = V::from_lanes(|at| lanes[at][j]);
        into[j] = V::splat(INTO[j]);
    });
    mul(&residue, &into)
}

/// Writes the lanes to as many elements as there are.
#[inline(always)]
fn store<V: Vector>(residue: &Residue<V>, elements: &mut [Fp]) {
    let mut back = [V::splat(0); LIMBS];
    for_each_limb!(j => { back[j] = V::splat(BACK[j]); });
    let back = mul(residue, &back);
    for (at, element) in elements.iter_mut().enumerate() {
        // Below 2 p: at most one modulus too much.
        let mut of_lane = [0; LIMBS];
        for_each_limb!(j => { of_lane[j] = back[j].lane(at); });
        *element = Fp::reduced(integer(&of_lane));
    }
}

/// Most lanes of a vector.
const LANES_MAX: usize = 8;
/// Residues in turn, so that one's chain of dependent instructions fills the gaps of the other's.
const IN_TURN: usize = 2;

/// Raises every element to the power (p - 3) / 4, as many at once as there are lanes.
#[inline(always)]
pub(crate) fn raise_all<V: Vector>(elements: &mut [Fp]) {
    for elements in elements.chunks_mut(IN_TURN * V::LANES) {
        let len = elements.len().div_ceil(V::LANES);
        let mut table = [[[V::splat(0); LIMBS]; IN_TURN]; TABLE_LEN];
        for (a, elements) in table[0].iter_mut().zip(elements.chunks(V::LANES)) {
            *a = load(elements);
        }
        let mut power = table[0];
        // No closures around arithmetic: the compiler would not give them the instructions of their caller.
        for a in &mut power[..len] {
            *a = square(a);
        }
        for at in 1..TABLE_LEN {
            for turn in 0..len {
                table[at][turn] = mul(&table[at - 1][turn], &power[turn]);
            }
        }
        power = table[FIRST];
        for step in STEPS {
            for _ in 0..step.squarings {
                for power in &mut power[..len] {
                    *power = square(power);
                }
            }
            if step.entry != NONE {
                for (power, factor) in power[..len].iter_mut().zip(&table[usize::from(step.entry)]) {
                    *power = mul(power, factor);
                }
            }
        }
        for (power, elements) in power.iter().zip(elements.chunks_mut(V::LANES)) {
            store(power, elements);
        }
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
        for at in 1..LIMBS {
            twice[at] += twice[at - 1] >> BITS;
            twice[at - 1] &= MASK;
        }
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
            for (a, b) in [(a, b), (b, c), (c, a)] {
                let (x, y): (Residue<u64>, Residue<u64>) = (load(&[a]), load(&[b]));
                let out = |residue: Residue<u64>| {
                    let mut out = [Fp::ZERO];
                    store(&residue, &mut out);
                    out[0]
                };
                prop_assert_eq!(out(x), a);
                prop_assert_eq!(out(mul(&x, &y)), a * b);
                prop_assert_eq!(out(square(&x)), a.square());
            }
        }
    }
}
