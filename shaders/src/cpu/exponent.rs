//! `a^((p - 3) / 4)` of many elements: with it come square roots, of a signature's y and of both maps to the curve.

use super::field::Fp;
use std::sync::LazyLock;

/// (p - 3) / 4, least significant limb first.
const EXPONENT: [u64; 6] = [
    0xee7f_bfff_ffff_eaaa,
    0x07aa_ffff_ac54_ffff,
    0xd9cc_34a8_3dac_3d89,
    0xd91d_d2e1_3ce1_44af,
    0x92c6_e9ed_90d2_eb35,
    0x0680_447a_8e5f_f9a6,
];

/// Bits of a window of the exponent.
const WINDOW: usize = 5;

/// What to do for the exponent after the first table entry: squarings, then a multiplication by `a^odd`, if any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Squarings.
    pub(crate) squarings: u8,
    /// The table entry `a^(2 entry + 1)` to multiply by, or `NONE`.
    pub(crate) entry: u8,
}

/// The entry of a step that only squares.
pub(crate) const NONE: u8 = u8::MAX;
/// Odd powers in the table.
pub(crate) const TABLE_LEN: usize = 1 << (WINDOW - 1);

const fn bit(at: usize) -> bool {
    EXPONENT[at / 64] >> (at % 64) & 1 == 1
}

/// Sliding windows over the exponent: the entry to start from, the steps, and how many there are.
const fn plan() -> (u8, [Step; 100], usize) {
    let (mut steps, mut len) = (
        [Step {
            squarings: 0,
            entry: NONE,
        }; 100],
        0,
    );
    let (mut first, mut squarings) = (NONE, 0);
    let mut top = 384;
    while top > 0 {
        if !bit(top - 1) {
            if first != NONE {
                squarings += 1;
            }
            top -= 1;
            continue;
        }
        let mut bottom = top.saturating_sub(WINDOW);
        while !bit(bottom) {
            bottom += 1;
        }
        let (mut value, mut at) = (0, top);
        while at > bottom {
            at -= 1;
            value = value << 1 | bit(at) as u8;
        }
        if first == NONE {
            first = value >> 1;
        } else {
            steps[len] = Step {
                squarings: squarings + (top - bottom) as u8,
                entry: value >> 1,
            };
            len += 1;
            squarings = 0;
        }
        top = bottom;
    }
    if squarings > 0 {
        steps[len] = Step { squarings, entry: NONE };
        len += 1;
    }
    (first, steps, len)
}

const PLAN: (u8, [Step; 100], usize) = plan();
/// The table entry the power starts from.
pub(crate) const FIRST: usize = PLAN.0 as usize;
/// The steps that follow.
pub(crate) static STEPS: &[Step] = PLAN.1.split_at(PLAN.2).0;

/// A way to raise elements, by name.
pub(crate) type Way = (&'static str, fn(&mut [Fp]));

/// Every way this processor has, the fastest first; the last runs everywhere.
pub(crate) fn ways() -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    ways.extend(super::ifma::raise().map(|raise| ("avx512ifma", raise)));
    #[cfg(target_arch = "x86_64")]
    ways.extend(super::avx2::raise().map(|raise| ("avx2", raise)));
    ways.push(("scalar", |elements| {
        elements.iter_mut().for_each(|element| *element = raise(*element))
    }));
    ways
}

/// The first way that raises some elements as the last one does.
static WAY: LazyLock<Way> = LazyLock::new(|| {
    let sample: Vec<Fp> = (0..33u64)
        .map(|i| {
            Fp::from_uniform(&core::array::from_fn(|at| {
                (i * 151 + at as u64 * 67 + i * at as u64) as u8
            }))
        })
        .chain([Fp::ZERO, Fp::ONE, -Fp::ONE])
        .collect();
    let expected: Vec<Fp> = sample.iter().map(|element| raise(*element)).collect();
    let is_right = |way: &Way| {
        let mut elements = sample.clone();
        (way.1)(&mut elements);
        elements == expected
    };
    let mut ways = ways();
    let at = ways.iter().position(is_right).unwrap_or(ways.len() - 1);
    ways.swap_remove(at)
});

/// The name of the way taken.
pub(crate) fn way() -> &'static str {
    WAY.0
}

/// Raises every element to the power (p - 3) / 4.
pub(crate) fn raise_all(elements: &mut [Fp]) {
    (WAY.1)(elements);
}

/// `a^((p - 3) / 4)`, one at a time.
pub(crate) fn raise(a: Fp) -> Fp {
    let square = a.square();
    let mut table = [a; TABLE_LEN];
    for at in 1..TABLE_LEN {
        table[at] = table[at - 1] * square;
    }
    let mut power = table[FIRST];
    for step in STEPS {
        for _ in 0..step.squarings {
            power = power.square();
        }
        if step.entry != NONE {
            power *= table[usize::from(step.entry)];
        }
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_spells_the_exponent() {
        let mut exponent = [0u64; 6];
        let mut push = |bit: u64| {
            let mut carry = bit;
            for limb in &mut exponent {
                (*limb, carry) = (*limb << 1 | carry, *limb >> 63);
            }
        };
        let width = |value: u64| u64::BITS - value.leading_zeros();
        let odd = |entry: usize| 2 * entry as u64 + 1;
        (0..width(odd(FIRST))).rev().for_each(|at| push(odd(FIRST) >> at & 1));
        for step in STEPS {
            let value = if step.entry == NONE {
                0
            } else {
                odd(usize::from(step.entry))
            };
            (0..u32::from(step.squarings))
                .rev()
                .for_each(|at| push(value >> at & 1));
        }
        assert_eq!(exponent, EXPONENT);
    }

    #[test]
    fn every_way_raises_alike() {
        for len in [0, 1, 7, 8, 9, 40] {
            let sample: Vec<Fp> = (0..len).map(|i| Fp::from_uniform(&[i as u8; 64])).collect();
            let expected: Vec<Fp> = sample.iter().map(|element| raise(*element)).collect();
            for (name, raise) in ways() {
                let mut elements = sample.clone();
                raise(&mut elements);
                assert_eq!(elements, expected, "{name}, {len}");
            }
        }
        // Of a square this is the inverse of a root.
        let root = Fp::from_uniform(&[5; 64]);
        let square = root.square();
        assert_eq!((raise(square) * square).square(), square);
        assert_eq!(way(), ways()[0].0, "the self-test agrees");
    }
}
