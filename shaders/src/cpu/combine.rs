//! The signatures' side of a check: ninety combinations and their total, by buckets over the windows of the trits.

use super::point::{Adder, Affine, Curve};
use super::pool::Pool;
use crate::rlc::{self, Coefficients, Width};
use blst::blst_p1;

/// The ninety combinations `sum_i t_ij points[i]` on E1, trit 0 first.
pub(crate) fn combinations(points: &[Affine], coefficients: &Coefficients, pool: &Pool) -> Vec<blst_p1> {
    let width = Width::of_batch(points.len());
    let windows = pool.map(width.windows(), |window| {
        rlc::combinations(width, bucket_sums(points, coefficients, window, width))
    });
    windows.concat()
}

/// For every magnitude of the window's digits the sum of the points that have it, each with its digit's sign.
fn bucket_sums(points: &[Affine], coefficients: &Coefficients, window: usize, width: Width) -> Vec<blst_p1> {
    let half = width.half();
    let digits: Vec<i32> = (0..points.len())
        .map(|item| coefficients.digit(item, window, width))
        .collect();
    // Counting sort by magnitude; magnitude 0 has a bucket that nobody adds up.
    let mut starts = vec![0u32; half + 2];
    for digit in &digits {
        starts[digit.unsigned_abs() as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut sorted = vec![Affine::INFINITY; points.len()];
    let mut next = starts.clone();
    for (point, digit) in points.iter().zip(&digits) {
        let slot = &mut next[digit.unsigned_abs() as usize];
        sorted[*slot as usize] = point.negated_if(*digit < 0);
        *slot += 1;
    }
    Adder::default().sum_segments(Curve::E1, &mut sorted, &starts[1..]);
    let sum = |pair: &[u32]| match pair {
        [start, end] if start < end => sorted[*start as usize].into(),
        _ => blst_p1::default(),
    };
    starts[1..].windows(2).map(sum).collect()
}
