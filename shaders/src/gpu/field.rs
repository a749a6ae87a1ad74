//! Field elements as the device holds them, and their way to and from bytes and blst.
//!
//! # Invariants
//! * [`Fp`] is canonical: below p, each limb below 2^30. What comes from a device is below 2p, which [`Fp::reduced`]
//!   brings below p.
//! * This is for constants, borders and tests: nothing here is fast or constant-time, and nothing here is secret.

use super::kernel::Layer;
use blst::blst_fp;

/// Limbs of an element.
pub const LIMBS: usize = 13;
/// Bits of a limb.
const LIMB_BITS: usize = 30;
const MASK: u32 = (1 << LIMB_BITS) - 1;
/// Bits of R of the Montgomery form.
const R_BITS: usize = LIMBS * LIMB_BITS;
/// Bits of R of blst's Montgomery form.
const BLST_R_BITS: usize = 384;

/// The modulus.
const P: [u32; LIMBS] = limbs_of(&[
    0xb9fe_ffff_ffff_aaab,
    0x1eab_fffe_b153_ffff,
    0x6730_d2a0_f6b0_f624,
    0x6477_4b84_f385_12bf,
    0x4b1b_a7b6_434b_acd7,
    0x1a01_11ea_397f_e69a,
]);

/// Limbs, constants, carries.
pub static LIMBS_LAYER: Layer = Layer {
    name: "limbs",
    text: include_str!("../../wgsl/limbs.wgsl"),
    needs: &[],
};
/// `fp_mul`, `fp_sqr`, `fp_add`, `fp_sub`, `fp_reduce`, `fp_is_zero`, `fp_select` on `struct Fp`.
pub static FIELD: Layer = Layer {
    name: "field",
    text: include_str!("../../wgsl/field.wgsl"),
    needs: &[&LIMBS_LAYER],
};

/// A canonical element: a number below p, as limbs. Which number stands for which element (itself, or in Montgomery
/// form) is the caller's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fp(pub [u32; LIMBS]);

impl Fp {
    /// The number of 48 big-endian bytes, where it is below p.
    pub fn from_be_bytes(bytes: &[u8; 48]) -> Option<Self> {
        let mut words = [0u64; 6];
        for (word, chunk) in words.iter_mut().rev().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*chunk);
        }
        let number = Self(limbs_of(&words));
        number.below_p().then_some(number)
    }

    /// 48 big-endian bytes of the number.
    pub fn to_be_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.words().iter().rev()) {
            *chunk = word.to_be_bytes();
        }
        bytes
    }

    /// A small number.
    pub const fn small(number: u32) -> Self {
        let mut limbs = [0; LIMBS];
        limbs[0] = number & MASK;
        limbs[1] = number >> LIMB_BITS;
        Self(limbs)
    }

    /// The number below p of limbs below 2p.
    pub fn reduced(self) -> Self {
        let mut less = [0; LIMBS];
        let mut carry = 0i64;
        for (out, (a, p)) in less.iter_mut().zip(self.0.iter().zip(P)) {
            carry += i64::from(*a) - i64::from(p);
            *out = (carry & i64::from(MASK)) as u32;
            carry >>= LIMB_BITS;
        }
        if carry < 0 { self } else { Self(less) }
    }

    fn below_p(self) -> bool {
        self.0.iter().rev().lt(P.iter().rev())
    }

    /// The sum modulo p.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut sum = [0; LIMBS];
        let mut carry = 0;
        for (out, (a, b)) in sum.iter_mut().zip(self.0.iter().zip(other.0)) {
            carry += a + b;
            *out = carry & MASK;
            carry >>= LIMB_BITS;
        }
        Self(sum).reduced()
    }

    /// The negative modulo p.
    #[must_use]
    pub fn negated(self) -> Self {
        if self == Self::default() {
            return self;
        }
        let mut borrow = 0;
        Self(std::array::from_fn(|i| {
            let difference = i64::from(P[i]) - i64::from(self.0[i]) - borrow;
            borrow = i64::from(difference < 0);
            (difference + (borrow << LIMB_BITS)) as u32
        }))
    }

    /// Half of the number modulo p.
    #[must_use]
    fn half(self) -> Self {
        let odd = self.0[0] & 1;
        let mut sum = [0; LIMBS + 1];
        let mut carry = 0;
        for (out, (a, p)) in sum.iter_mut().zip(self.0.iter().zip(P)) {
            carry += a + p * odd;
            *out = carry & MASK;
            carry >>= LIMB_BITS;
        }
        let mut half = [0; LIMBS];
        for (i, out) in half.iter_mut().enumerate() {
            *out = sum[i] >> 1 | (sum[i + 1] & 1) << (LIMB_BITS - 1);
        }
        Self(half)
    }

    /// The number times 2^bits modulo p.
    #[must_use]
    pub fn doubled(self, bits: usize) -> Self {
        (0..bits).fold(self, |x, _| x.plus(x))
    }

    /// The Montgomery form of a number.
    #[must_use]
    pub fn to_montgomery(self) -> Self {
        self.doubled(R_BITS)
    }

    /// The number of a Montgomery form.
    #[must_use]
    pub fn from_montgomery(self) -> Self {
        (0..R_BITS).fold(self, |x, _| x.half())
    }

    /// The device's Montgomery form of blst's.
    pub fn from_blst(fp: &blst_fp) -> Self {
        Self(limbs_of(&fp.l)).doubled(R_BITS - BLST_R_BITS)
    }

    /// blst's Montgomery form of the device's.
    pub fn to_blst(self) -> blst_fp {
        let halved = (0..R_BITS - BLST_R_BITS).fold(self, |x, _| x.half());
        blst_fp { l: halved.words() }
    }

    fn words(self) -> [u64; 6] {
        let mut words = [0u64; 6];
        for (i, limb) in self.0.iter().enumerate() {
            let (word, shift) = (i * LIMB_BITS / 64, i * LIMB_BITS % 64);
            if let Some(low) = words.get_mut(word) {
                *low |= u64::from(*limb) << shift;
            }
            if shift > 64 - LIMB_BITS
                && let Some(high) = words.get_mut(word + 1)
            {
                *high |= u64::from(*limb) >> (64 - shift);
            }
        }
        words
    }
}

/// 384 bits as limbs.
const fn limbs_of(words: &[u64; 6]) -> [u32; LIMBS] {
    let mut limbs = [0; LIMBS];
    let mut i = 0;
    while i < LIMBS {
        let (word, shift) = (i * LIMB_BITS / 64, i * LIMB_BITS % 64);
        let mut bits = words[word] >> shift;
        if shift > 64 - LIMB_BITS && word + 1 < 6 {
            bits |= words[word + 1] << (64 - shift);
        }
        limbs[i] = bits as u32 & MASK;
        i += 1;
    }
    limbs
}

/// Elements as a slot of a buffer: limb by limb.
pub fn slot(elements: &[Fp]) -> Vec<u32> {
    let limb = |j: usize| elements.iter().map(move |element| element.0[j]);
    (0..LIMBS).flat_map(limb).collect()
}

/// The elements of a slot, brought below p.
///
/// # Panics
/// If the words are not those of whole elements.
pub fn from_slot(words: &[u32]) -> Vec<Fp> {
    assert_eq!(words.len() % LIMBS, 0, "whole elements");
    let n = words.len() / LIMBS;
    let element = |i: usize| Fp(std::array::from_fn(|j| words[j * n + i])).reduced();
    (0..n).map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Dispatch, Error, Kernel, test_device};
    use super::*;
    use num_bigint::BigUint;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    static LAYER: Layer = Layer {
        name: "field_test",
        text: include_str!("../../wgsl/field_test.wgsl"),
        needs: &[&FIELD],
    };
    static KERNEL: Kernel = Kernel {
        name: "field_test",
        layer: &LAYER,
        group: 64,
    };

    fn number(limbs: &[u32; LIMBS]) -> BigUint {
        limbs
            .iter()
            .rev()
            .fold(BigUint::default(), |sum, limb| (sum << LIMB_BITS) + *limb)
    }

    fn limbs(number: &BigUint) -> [u32; LIMBS] {
        std::array::from_fn(|j| {
            let limb = (number >> (j * LIMB_BITS)) & BigUint::from(MASK);
            limb.to_u32_digits().first().copied().unwrap_or(0)
        })
    }

    /// Numbers below 2p: the borders, limbs of all ones, and random ones.
    fn operands(n: usize) -> Vec<BigUint> {
        let (p, one) = (number(&P), BigUint::from(1u32));
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let mut numbers = vec![
            BigUint::default(),
            one.clone(),
            &p - &one,
            p.clone(),
            &p + &one,
            &p * 2u32 - &one,
            (&one << 360) - &one,
            (&one << 381) - &one,
            ((&one << 381) - &one) ^ ((&one << 30) - &one),
        ];
        while numbers.len() < n {
            let mut bytes = [0; 48];
            rng.fill_bytes(&mut bytes);
            numbers.push(BigUint::from_bytes_be(&bytes) % (&p * 2u32));
        }
        numbers
    }

    #[test]
    fn the_device_computes_in_the_field() -> Result<(), Error> {
        let device = test_device();
        let operands = operands(64);
        let pairs: Vec<(&BigUint, &BigUint)> = operands
            .iter()
            .flat_map(|a| operands.iter().map(move |b| (a, b)))
            .collect();
        let n = pairs.len();
        let column = |values: &mut dyn Iterator<Item = &BigUint>| {
            let elements: Vec<Fp> = values.map(|value| Fp(limbs(value))).collect();
            device.upload("operands", &slot(&elements))
        };
        let a = column(&mut pairs.iter().map(|(a, _)| *a));
        let b = column(&mut pairs.iter().map(|(_, b)| *b));
        let p = number(&P);
        let inverse = (BigUint::from(1u32) << R_BITS).modinv(&p).unwrap();
        type Expected<'a> = Box<dyn Fn(&BigUint, &BigUint) -> BigUint + 'a>;
        let operations: [(&str, Expected<'_>); 6] = [
            ("mul", Box::new(|a, b| a * b * &inverse)),
            ("sqr", Box::new(|a, _| a * a * &inverse)),
            ("add", Box::new(|a, b| a + b)),
            ("sub", Box::new(|a, b| a + &p * 2u32 - b)),
            ("reduce", Box::new(|a, _| a.clone())),
            (
                "is_zero",
                Box::new(|a, _| BigUint::from(u32::from((a % &p).bits() == 0))),
            ),
        ];
        let r = device.buffer("results", n * LIMBS);
        for (what, (name, expected)) in operations.iter().enumerate() {
            let mut commands = device.commands();
            commands.run(&Dispatch {
                kernel: &KERNEL,
                buffers: &[&a, &b, &r],
                params: &[n as u32, what as u32],
                items: n,
                work: 2,
            });
            let download = commands.download(&r, 0, n * LIMBS);
            let words = commands.submit().wait()?.take(download);
            for (i, (a, b)) in pairs.iter().enumerate() {
                let result: [u32; LIMBS] = std::array::from_fn(|j| words[j * n + i]);
                assert!(result.iter().all(|limb| *limb <= MASK), "{name}({a:x}, {b:x}): limbs");
                let result = number(&result);
                let bound = if *name == "reduce" { p.clone() } else { &p * 2u32 };
                assert!(result < bound, "{name}({a:x}, {b:x}) = {result:x}: bound");
                assert_eq!(result % &p, expected(a, b) % &p, "{name}({a:x}, {b:x})");
            }
        }
        Ok(())
    }

    #[test]
    fn forms_convert() {
        let p = number(&P);
        for x in operands(50).iter().map(|x| x % &p) {
            let fp = Fp(limbs(&x));
            assert_eq!(number(&fp.to_montgomery().0), (&x << R_BITS) % &p);
            assert_eq!(fp.to_montgomery().from_montgomery(), fp);
            let mut bytes = [0; 48];
            let digits = x.to_bytes_be();
            bytes[48 - digits.len()..].copy_from_slice(&digits);
            assert_eq!(Fp::from_be_bytes(&bytes), Some(fp));
            assert_eq!(fp.to_be_bytes(), bytes);
            let blst = fp.to_montgomery().to_blst();
            let expected = (&x << BLST_R_BITS) % &p;
            assert_eq!(
                BigUint::from_slice(&blst.l.map(|w| [w as u32, (w >> 32) as u32]).concat()),
                expected
            );
            assert_eq!(Fp::from_blst(&blst), fp.to_montgomery());
            assert_eq!(from_slot(&slot(&[fp, Fp::small(7)])), [fp, Fp::small(7)]);
            assert_eq!(Fp(limbs(&(&x + &p))).reduced(), fp);
        }
        let not_below = |x: &BigUint| Fp::from_be_bytes(&x.to_bytes_be().try_into().unwrap());
        assert_eq!(not_below(&p), None);
        assert_eq!(not_below(&((BigUint::from(1u32) << 384) - 1u32)), None);
        assert_eq!(Fp::small(u32::MAX), Fp(limbs(&BigUint::from(u32::MAX))));
    }
}
