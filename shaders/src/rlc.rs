//! The random linear combination of a batch: secret coefficients, their digits, and what follows from bucket sums.
//!
//! A coefficient is `r_i = sum_j 3^j t_ij` over ninety independent, uniform trits `t_ij` of {-1, 0, 1}. One drawing
//! serves two purposes: the *combinations* `C_j = sum_i t_ij S_i`, each tested for its subgroup, and the *total*
//! `sum_i r_i S_i = sum_j 3^j C_j`, which enters the pairing equation.
//!
//! A *short* part, whose signatures are tested one by one, needs no combinations. Its coefficients are
//! `s_i = sum_j<45 3^j (t_ij + lambda t_i(j+45))`, lambda being the eigenvalue of the curve's endomorphism, but for the
//! first item's, which is one ([`Coefficients::factor`]).
//!
//! # Layout
//! The trits of an item fall into [`Width::windows`] windows of [`Width::trits`] each. The digit of a window is the
//! integer its trits spell, `-half..=half`; of its value only the magnitude chooses a bucket, so a window has
//! [`Width::half`] buckets and an item of a negative digit enters with its point negated.
//!
//! # Invariants
//! * `r_i = PRF(fresh OS key || transcript, i)` (PROTOCOL 5). A key is drawn from the operating system for every single
//!   check and dropped with it; no coefficient serves twice.
//! * The transcript fixes every key, message and signature before the coefficients are known. It also keeps two checks
//!   apart if the operating system ever returns a key twice.
//! * Trits are unbiased: digits base 3^10 are the 16-bit strings of the PRF below 3^10, the others are thrown away.
//!
//! # Error bound
//! Let `T_i` be the component of `S_i` outside the subgroup of order r; its order divides the odd cofactor. If some `T_i`
//! is not zero, `-T_i`, `0` and `T_i` differ, so of the three values of `t_ij` at most one makes `sum_i t_ij T_i` vanish:
//! all ninety combinations are in the subgroup with probability at most 3^-90. If all `T_i` are zero and some item does
//! not hold, at most one value of its `r_i` modulo r satisfies the equation, and the 3^90 < r values of `r_i` differ
//! modulo r: again at most 3^-90. A batch that is not good has one of the two faults, so no independence is needed.
//!
//! In a short part all `T_i` are known to be zero. If an item but the first does not hold, at most one value of its `s_i`
//! satisfies the equation, and again the 3^90 values differ: from `a + b lambda = 0` modulo r follows
//! `a^2 - a b + b^2 = 0` modulo r, as `lambda^2 + lambda + 1 = 0`, and for differences of halves, below 2^72, it is an
//! equation of integers, which only a = b = 0 solves. If only the first does not hold, the equation never does.

use crate::batch::Item;
use crate::cpu::Pool;
use crate::curve;
use blst::blst_p1;
use sha2::{Digest, Sha256};
use wattbook_types::{Hash, sha256};

/// Items that a thread hashes at a time.
const RUN_MAX: usize = 1 << 12;
/// Fewest items that a thread is woken for.
const RUN_MIN: usize = 1 << 7;
/// Trits of a coefficient.
pub(crate) const TRITS: usize = 90;
/// Trits of a digit as drawn.
const WIDE_TRITS: usize = 10;
/// Digits of a coefficient as drawn.
const WIDE_DIGITS: usize = TRITS / WIDE_TRITS;
/// 3^10.
const WIDE_BASE: u16 = 59_049;

/// How many trits a window has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    /// 45 windows of 4 buckets.
    Two,
    /// 18 windows of 121 buckets.
    Five,
    /// 9 windows of 29,524 buckets.
    Ten,
}

impl Width {
    /// The width that makes the fewest additions for a batch of `len`.
    pub(crate) const fn of_batch(len: usize) -> Self {
        // Additions: windows x (len + 4 x half), an addition to a combination costing twice one to a bucket.
        match len {
            0..256 => Self::Two,
            256..131_072 => Self::Five,
            _ => Self::Ten,
        }
    }

    /// Trits of a window.
    pub(crate) const fn trits(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Five => 5,
            Self::Ten => 10,
        }
    }

    /// Number of windows.
    pub(crate) const fn windows(self) -> usize {
        TRITS / self.trits()
    }

    /// The largest digit, which is the number of buckets of a window.
    pub(crate) const fn half(self) -> usize {
        (3usize.pow(self.trits() as u32) - 1) / 2
    }
}

/// Whole digits in each half of a coefficient; the one between is shared.
const HALF_DIGITS: usize = WIDE_DIGITS / 2;

/// `a + b lambda`, lambda being what the endomorphism of E1 is on the subgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Factor([i128; 2]);

impl Factor {
    /// One.
    pub(crate) const ONE: Self = Self([1, 0]);
    /// Bits of a half's magnitude, which is at most `(3^45 - 1) / 2`.
    pub(crate) const BITS: usize = 71;

    /// `a` and `b`.
    pub(crate) const fn halves(&self) -> [i128; 2] {
        self.0
    }

    /// The factor of these halves.
    #[cfg(test)]
    pub(crate) const fn of(halves: [i128; 2]) -> Self {
        Self(halves)
    }
}

/// The coefficients of one check.
pub(crate) struct Coefficients {
    /// Digits base 3^10, the first the least, trits 0, 1, 2 for -1, 0, 1.
    wide: Vec<[u16; WIDE_DIGITS]>,
}

impl Coefficients {
    /// Coefficients of the items at `indices` of the batch; `None` if the operating system gives no randomness.
    pub(crate) fn draw(transcript: &Hash, indices: impl Iterator<Item = usize>) -> Option<Self> {
        Self::draw_on(&Pool::default(), transcript, &indices.collect::<Vec<_>>())
    }

    /// [`Self::draw`] on these threads.
    pub(crate) fn draw_on(pool: &Pool, transcript: &Hash, indices: &[usize]) -> Option<Self> {
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).ok()?;
        // Key and transcript fill a block of SHA-256, so each item starts from the same state.
        let keyed = Sha256::new().chain_update(key).chain_update(transcript.0);
        Some(Self {
            wide: pool
                .map_runs(indices.len(), (RUN_MIN, RUN_MAX), |run| {
                    indices[run].iter().map(|index| prf(&keyed, *index)).collect::<Vec<_>>()
                })
                .concat(),
        })
    }

    /// Number of coefficients.
    pub(crate) fn len(&self) -> usize {
        self.wide.len()
    }

    /// The digit of an item's window, `-half..=half`.
    #[inline]
    pub(crate) fn digit(&self, item: usize, window: usize, width: Width) -> i32 {
        let unsigned = match width {
            Width::Ten => u32::from(self.wide[item][window]),
            Width::Five => u32::from(self.wide[item][window / 2]) / [1, 243][window % 2] % 243,
            Width::Two => u32::from(self.wide[item][window / 5]) / [1, 9, 81, 729, 6561][window % 5] % 9,
        };
        unsigned as i32 - width.half() as i32
    }

    /// The halves of `s_i`, the coefficient of a short part.
    pub(crate) fn factor(&self, item: usize) -> Factor {
        let base = i128::from(WIDE_BASE);
        let (low, high) = self.wide[item].split_at(HALF_DIGITS);
        let spell = |digits: &[u16]| {
            let signed = digits
                .iter()
                .map(|digit| i128::from(*digit) - Width::Ten.half() as i128);
            signed.rev().fold(0, |value, digit| value * base + digit)
        };
        // The middle digit is shared: its five lower trits end the first half, the upper ones begin the second.
        let (split, half) = (Width::Five.half() as u16 * 2 + 1, Width::Five.half() as i128);
        let (middle, high) = (high[0], &high[1..]);
        let lower = i128::from(middle % split) - half;
        let upper = i128::from(middle / split) - half;
        Factor([
            spell(low) + lower * base.pow(HALF_DIGITS as u32),
            upper + i128::from(split) * spell(high),
        ])
    }

    /// `r_i`, two's complement, least significant limb first; its magnitude is below 2^142.
    pub(crate) fn scalar(&self, item: usize) -> [u64; 3] {
        let mut value = [0u64; 3];
        for digit in self.wide[item].iter().rev() {
            let signed = i64::from(*digit) - Width::Ten.half() as i64;
            let extension = (signed >> 63) as u64;
            let mut carry = 0u128;
            for (limb, addend) in value.iter_mut().zip([signed as u64, extension, extension]) {
                carry += u128::from(*limb) * u128::from(WIDE_BASE) + u128::from(addend);
                *limb = carry as u64;
                carry >>= 64;
            }
        }
        value
    }

    /// The digits base 3^10 as a device reads them: two a word, the lower first, five words an item; word w of item i
    /// is number `w * len + i`.
    pub(crate) fn words(&self) -> Vec<u32> {
        let word = |digits: &[u16; WIDE_DIGITS], at: usize| {
            let digit = |at: usize| u32::from(digits.get(at).copied().unwrap_or(0));
            digit(2 * at) | (digit(2 * at + 1) << 16)
        };
        (0..WIDE_DIGITS.div_ceil(2))
            .flat_map(|at| self.wide.iter().map(move |digits| word(digits, at)))
            .collect()
    }

    /// Coefficients whose trits, -1, 0 or 1, `trit(item, j)` gives.
    #[cfg(test)]
    pub(crate) fn from_trits(len: usize, trit: impl Fn(usize, usize) -> i32) -> Self {
        let digit = |item: usize, digit: usize| {
            (0..WIDE_TRITS).rev().fold(0, |value, j| {
                value * 3 + (trit(item, digit * WIDE_TRITS + j) + 1) as u16
            })
        };
        Self {
            wide: (0..len)
                .map(|item| core::array::from_fn(|at| digit(item, at)))
                .collect(),
        }
    }
}

/// Hash of all (pk, M, S) of a batch in order: of their number and the hashes of its runs of [`RUN_MAX`], so that many
/// threads make it.
pub(crate) fn transcript(pool: &Pool, items: &[Item<'_>]) -> Hash {
    let digest = |at: usize| {
        let run = items.chunks(RUN_MAX).nth(at).unwrap_or_default();
        let mut hash = Sha256::new();
        for item in run {
            hash.update(item.key.as_bytes());
            // The length keeps the encoding injective where tests sign messages that are no digests.
            hash.update((item.message.len() as u64).to_le_bytes());
            hash.update(item.message);
            hash.update(item.signature);
        }
        <[u8; 32]>::from(hash.finalize())
    };
    let digests = pool.map(items.len().div_ceil(RUN_MAX), digest);
    sha256(&[&(items.len() as u64).to_le_bytes(), digests.as_flattened()])
}

/// Nine digits base 3^10 from SHA-256(key || transcript || index || count), count going up until there are enough.
fn prf(keyed: &Sha256, index: usize) -> [u16; WIDE_DIGITS] {
    let mut digits = [0u16; WIDE_DIGITS];
    let mut len = 0;
    for count in 0u64.. {
        let block = keyed
            .clone()
            .chain_update((index as u64).to_le_bytes())
            .chain_update(count.to_le_bytes())
            .finalize();
        for pair in block.as_chunks::<2>().0 {
            let candidate = u16::from_le_bytes(*pair);
            if candidate < WIDE_BASE {
                digits[len] = candidate;
                len += 1;
                if len == WIDE_DIGITS {
                    return digits;
                }
            }
        }
    }
    digits
}

/// The combinations of one window's trits, the least significant first, from its bucket sums: `sums[m - 1]` is the sum
/// of the points of digit `m` less that of the points of digit `-m`.
///
/// # Panics
/// If there is not one sum per magnitude.
pub(crate) fn combinations(width: Width, mut sums: Vec<blst_p1>) -> Vec<blst_p1> {
    assert_eq!(sums.len(), width.half(), "one sum per magnitude");
    let mut out = vec![blst_p1::default(); width.trits()];
    for combination in out.iter_mut().rev() {
        // The top trit of m is 1 from `half / 3 + 1` on and 0 below: the digits of the other trits are -half/3..=half/3.
        let below = sums.len() / 3;
        let top = sums.split_off(below);
        let middle = 2 * below;
        for (at, sum) in top.iter().enumerate() {
            *combination = curve::add(combination, sum);
            // m = 3^k + rest, with 3^k = 2 * below + 1.
            let rest = (at + below) as isize - middle as isize;
            if rest > 0 {
                let slot = &mut sums[rest as usize - 1];
                *slot = curve::add(slot, sum);
            } else if rest < 0 {
                let slot = &mut sums[-rest as usize - 1];
                *slot = curve::add(slot, &curve::negate(*sum));
            }
        }
    }
    out
}

/// `sum_j 3^j combinations[j]`.
pub(crate) fn total(combinations: &[blst_p1]) -> blst_p1 {
    combinations
        .iter()
        .rev()
        .fold(blst_p1::default(), |total, combination| {
            curve::add(&curve::add(&curve::double(&total), &total), combination)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PublicKey;
    use proptest::prelude::*;

    const WIDTHS: [Width; 3] = [Width::Two, Width::Five, Width::Ten];

    fn keyed(key: u8, transcript: &Hash) -> Sha256 {
        Sha256::new().chain_update([key; 32]).chain_update(transcript.0)
    }

    #[test]
    fn coefficients_differ_by_key_transcript_and_index() {
        let (one, two) = (sha256(&[b"1"]), sha256(&[b"2"]));
        let base = prf(&keyed(1, &one), 0);
        assert_eq!(base, prf(&keyed(1, &one), 0));
        assert_ne!(base, prf(&keyed(2, &one), 0));
        assert_ne!(base, prf(&keyed(1, &two), 0));
        assert_ne!(base, prf(&keyed(1, &one), 1));
        let draw = || Coefficients::draw(&one, 0..4).unwrap().wide;
        assert_ne!(draw(), draw(), "a fresh key for every check");
    }

    /// Whatever differs: a key, a signature, where a message ends, how many items there are and in which run; threads do
    /// not matter.
    #[test]
    fn transcript_tells_items_apart() {
        let key = |seed: u8| {
            let secret = blst::min_sig::SecretKey::key_gen(&[seed; 32], &[]).unwrap();
            PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap()
        };
        let (keys, signatures) = ([key(1), key(2)], [[3; 48], [4; 48]]);
        let hash = |threads, items: &[(usize, &'static [u8], usize)]| {
            let items: Vec<Item<'_>> = (items.iter())
                .map(|(key, message, signature)| Item {
                    key: &keys[*key],
                    message,
                    signature: &signatures[*signature],
                    source: 0,
                })
                .collect();
            transcript(&Pool::new(threads), &items)
        };
        let base = hash(1, &[(0, b"ab", 0), (0, b"c", 0)]);
        for other in [
            &[(0, &b"a"[..], 0), (0, b"bc", 0)][..],
            &[(1, b"ab", 0), (0, b"c", 0)],
            &[(0, b"ab", 0), (0, b"c", 1)],
            &[(0, b"c", 0), (0, b"ab", 0)],
            &[(0, b"ab", 0)],
            &[],
        ] {
            assert_ne!(base, hash(1, other));
        }
        let long = vec![(0, &b"m"[..], 0); 2 * RUN_MAX + 3];
        assert_eq!(hash(1, &long), hash(3, &long));
        for at in [0, RUN_MAX - 1, RUN_MAX, 2 * RUN_MAX + 2] {
            let mut other = long.clone();
            other[at].2 = 1;
            assert_ne!(hash(2, &long), hash(2, &other), "item {at}");
        }
        assert_ne!(hash(1, &long[..RUN_MAX]), hash(1, &long[..RUN_MAX + 1]));
    }

    /// Every trit of every place takes its three values equally often, by a chi-squared test that a fair source fails
    /// once in 10^9; a modulus would put the top trit of a digit at 0.40, 0.30, 0.30.
    #[test]
    fn trits_are_unbiased() {
        let keyed = keyed(7, &sha256(&[b"trits"]));
        let len = 30_000;
        let coefficients = Coefficients {
            wide: (0..len).map(|index| prf(&keyed, index)).collect(),
        };
        let mut counts = [[0u32; 3]; TRITS];
        for digits in &coefficients.wide {
            for (window, digit) in digits.iter().enumerate() {
                assert!(*digit < WIDE_BASE);
                let mut rest = *digit;
                for trit in 0..WIDE_TRITS {
                    counts[window * WIDE_TRITS + trit][usize::from(rest % 3)] += 1;
                    rest /= 3;
                }
            }
        }
        let mean = len as u64 / 3;
        for (place, count) in counts.iter().enumerate() {
            let spread: u64 = count.iter().map(|c| u64::from(*c).abs_diff(mean).pow(2)).sum();
            assert!(spread < 42 * mean, "trit {place}: {count:?}");
        }
    }

    fn trits() -> impl Strategy<Value = Vec<Vec<i32>>> {
        prop::collection::vec(prop::collection::vec(-1..=1, TRITS), 1..5)
    }

    proptest! {
        #[test]
        fn digits_of_every_width_spell_the_scalar(trits in trits()) {
            let coefficients = Coefficients::from_trits(trits.len(), |item, j| trits[item][j]);
            prop_assert_eq!(coefficients.len(), trits.len());
            for (item, trits) in trits.iter().enumerate() {
                let spell = |trits: &[i32]| trits.iter().rev().fold(0i128, |value, trit| 3 * value + i128::from(*trit));
                let halves = coefficients.factor(item).halves();
                prop_assert_eq!(halves, [spell(&trits[..TRITS / 2]), spell(&trits[TRITS / 2..])]);
                prop_assert!(halves.iter().all(|half| half.unsigned_abs() < 1 << Factor::BITS));
            }
            // Modulo 2^128, by wrapping arithmetic.
            let spell = |digits: &mut dyn Iterator<Item = i32>, base: i128| {
                let digits: Vec<i32> = digits.collect();
                digits.iter().rev().fold(0i128, |value, digit| value.wrapping_mul(base).wrapping_add(i128::from(*digit)))
            };
            for (item, trits) in trits.iter().enumerate() {
                let expected = spell(&mut trits.iter().copied(), 3);
                let [low, high, top] = coefficients.scalar(item);
                prop_assert_eq!(i128::from(low) | (i128::from(high) << 64), expected);
                prop_assert!((top as i64) >> 14 == 0 || (top as i64) >> 14 == -1);
                let sign = trits.iter().rev().find(|trit| **trit != 0).copied().unwrap_or(0);
                prop_assert_eq!((top as i64) < 0, sign < 0);
                for width in WIDTHS {
                    let mut digits = (0..width.windows()).map(|window| coefficients.digit(item, window, width));
                    prop_assert_eq!(spell(&mut digits, 3i128.pow(width.trits() as u32)), expected);
                }
            }
        }
    }

    /// `factor * point` by adding.
    fn times(point: &blst_p1, factor: i32) -> blst_p1 {
        let sum = (0..factor.abs()).fold(blst_p1::default(), |sum, _| curve::add(&sum, point));
        if factor < 0 { curve::negate(sum) } else { sum }
    }

    #[test]
    fn combinations_and_total_follow_from_bucket_sums() {
        let points: Vec<blst_p1> = (0..12u8).map(|i| curve::hash_to_g1(&[i], b"WATTBOOK-TEST")).collect();
        let coefficients = Coefficients::draw(&sha256(&[b"sums"]), 0..points.len()).unwrap();
        for width in [Width::Two, Width::Five] {
            let half = width.half() as i32;
            let mut all = Vec::new();
            for window in 0..width.windows() {
                let mut unsigned = vec![blst_p1::default(); 2 * width.half() + 1];
                for (item, point) in points.iter().enumerate() {
                    let slot = &mut unsigned[(coefficients.digit(item, window, width) + half) as usize];
                    *slot = curve::add(slot, point);
                }
                let signed = (1..=half as usize).map(|m| {
                    let (plus, minus) = (unsigned[half as usize + m], unsigned[half as usize - m]);
                    curve::add(&plus, &curve::negate(minus))
                });
                let out = combinations(width, signed.collect());
                for (trit, combination) in out.iter().enumerate() {
                    let expected = points
                        .iter()
                        .enumerate()
                        .fold(blst_p1::default(), |sum, (item, point)| {
                            let digit = coefficients.digit(item, window, width) + half;
                            curve::add(&sum, &times(point, digit / 3i32.pow(trit as u32) % 3 - 1))
                        });
                    assert_eq!(*combination, expected, "window {window}, trit {trit}");
                }
                all.extend(out);
            }
            assert_eq!(all.len(), TRITS);
            let expected = points
                .iter()
                .enumerate()
                .fold(blst_p1::default(), |sum, (item, point)| {
                    let (is_negative, magnitude) = curve::magnitude(coefficients.scalar(item));
                    let product = curve::msm(&curve::to_affine(&[*point]), &[curve::scalar_bytes(magnitude)]);
                    curve::add(&sum, &if is_negative { curve::negate(product) } else { product })
                });
            assert_eq!(total(&all), expected);
        }
    }
}
