//! Miller loops over many keys: lines computed once per key, squarings shared by all.
//!
//! # Invariants
//! * [`LineCache`] holds at most its bound of keys, 19.6 kB each, and forgets those longest unused; what it holds bears
//!   on no verdict.
//! * Keys are in G2 and not infinity; points that come in are any of E1.
#![allow(unsafe_code)]

use super::pool::Pool;
use crate::key::{PUBLIC_KEY_SIZE, PublicKey};
use blst::{blst_fp, blst_fp2, blst_fp6, blst_fp12, blst_p1_affine, blst_p2_affine};
use core::fmt;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Lines of a Miller loop.
const LINES: usize = 68;
/// Doublings after each addition of the loop.
const DOUBLINGS: [usize; 5] = [2, 3, 9, 32, 16];
/// Keys whose lines pass through the cache of a core together.
const KEYS_AT_ONCE: usize = 16;

/// The lines of a key, independent of what it is paired with.
pub(crate) type Lines = [blst_fp6; LINES];

/// The lines of the generator of G2 divided by the cofactor h.
pub(crate) static GENERATOR: LazyLock<Arc<Lines>> =
    LazyLock::new(|| Arc::new(lines(&crate::curve::g2_generator_by_cofactor())));

fn lines(point: &blst_p2_affine) -> Lines {
    let mut out = [blst_fp6::default(); LINES];
    // SAFETY: 68 lines are written to 68; the point is a live value of G2.
    unsafe { blst::blst_precompute_lines(out.as_mut_ptr(), point) };
    out
}

/// Lines of the keys seen last.
#[derive(Clone, Default)]
pub(crate) struct LineCache {
    /// Keys used since the generations last changed.
    young: HashMap<[u8; PUBLIC_KEY_SIZE], Arc<Lines>>,
    /// Keys used in the generation before.
    old: HashMap<[u8; PUBLIC_KEY_SIZE], Arc<Lines>>,
    /// Most keys of a generation.
    generation_len_max: usize,
}

impl LineCache {
    /// A cache of at most `keys` keys.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            generation_len_max: keys / 2,
            ..Self::default()
        }
    }

    /// The lines of every key.
    pub(crate) fn of(&mut self, keys: &[&PublicKey], pool: &Pool) -> Vec<Arc<Lines>> {
        let known = |key: &&PublicKey| {
            self.young
                .get(key.as_bytes())
                .or_else(|| self.old.get(key.as_bytes()))
                .cloned()
        };
        let known: Vec<Option<Arc<Lines>>> = keys.iter().map(known).collect();
        let fresh: Vec<usize> = (0..keys.len()).filter(|at| known[*at].is_none()).collect();
        let computed = pool.map(fresh.len(), |at| Arc::new(lines(keys[fresh[at]].point())));
        let mut computed = computed.into_iter();
        let all: Vec<Arc<Lines>> = known
            .into_iter()
            .filter_map(|known| known.or_else(|| computed.next()))
            .collect();
        for (key, lines) in keys.iter().zip(&all) {
            if self.young.len() < self.generation_len_max {
                self.young.entry(*key.as_bytes()).or_insert_with(|| lines.clone());
            } else if !self.young.contains_key(key.as_bytes()) && self.generation_len_max > 0 {
                self.old = core::mem::take(&mut self.young);
                self.young.insert(*key.as_bytes(), lines.clone());
            }
        }
        all
    }
}

impl fmt::Debug for LineCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "LineCache({} of {})",
            self.young.len() + self.old.len(),
            2 * self.generation_len_max
        )
    }
}

/// The product of the Miller loops of points and the lines of keys; pairs at infinity count as one.
pub(crate) fn product(pairs: &[(blst_p1_affine, Arc<Lines>)], pool: &Pool) -> blst_fp12 {
    let pairs: Vec<&(blst_p1_affine, Arc<Lines>)> = pairs
        .iter()
        .filter(|(point, _)| *point != blst_p1_affine::default())
        .collect();
    let parts = pool.map_runs(pairs.len(), (1, 4 * KEYS_AT_ONCE), |run| miller_loops(&pairs[run]));
    parts.into_iter().reduce(|a, b| a * b).unwrap_or_default()
}

/// Whether a product of Miller loops is one of pairings that is one.
pub(crate) fn is_one(product: &blst_fp12) -> bool {
    product.final_exp() == blst_fp12::default()
}

/// The product of the Miller loops of at least one pair, none at infinity.
fn miller_loops(pairs: &[&(blst_p1_affine, Arc<Lines>)]) -> blst_fp12 {
    // The formulas of the lines leave factors -2x and 2y to the point.
    let factors: Vec<[blst_fp; 2]> = pairs
        .iter()
        .map(|(point, _)| {
            let (x, y) = (super::field::Fp::from(point.x), super::field::Fp::from(point.y));
            [(-x.double()).into(), y.double().into()]
        })
        .collect();
    let mut product = blst_fp12::default();
    for (pairs, factors) in pairs.chunks(KEYS_AT_ONCE).zip(factors.chunks(KEYS_AT_ONCE)) {
        let part = miller_loop(pairs, factors);
        product *= part;
    }
    product
}

fn miller_loop(pairs: &[&(blst_p1_affine, Arc<Lines>)], factors: &[[blst_fp; 2]]) -> blst_fp12 {
    let mut f = blst_fp12::default();
    let mut at = 0;
    let mut multiply = |f: &mut blst_fp12| {
        for ((_, lines), factors) in pairs.iter().zip(factors) {
            let line = through(&lines[at], factors);
            let from = *f;
            // SAFETY: the pointers are those of live values, the output apart from the inputs.
            unsafe { blst::blst_fp12_mul_by_xy00z0(f, &from, &line) };
        }
        at += 1;
    };
    multiply(&mut f);
    for doublings in DOUBLINGS {
        multiply(&mut f);
        for _ in 0..doublings {
            let from = f;
            // SAFETY: as above.
            unsafe { blst::blst_fp12_sqr(&mut f, &from) };
            multiply(&mut f);
        }
    }
    // The parameter of the curve is negative.
    // SAFETY: the pointer is that of a live value.
    unsafe { blst::blst_fp12_conjugate(&mut f) };
    f
}

/// A line through a point.
fn through(line: &blst_fp6, [x, y]: &[blst_fp; 2]) -> blst_fp6 {
    let times = |a: &blst_fp2, b: &blst_fp| {
        let mut out = blst_fp2::default();
        for (out, a) in out.fp.iter_mut().zip(&a.fp) {
            // SAFETY: the pointers are those of live values.
            unsafe { blst::blst_fp_mul(out, a, b) };
        }
        out
    };
    blst_fp6 {
        fp2: [line.fp2[0], times(&line.fp2[1], x), times(&line.fp2[2], y)],
    }
}
