//! The messages' side of a check: `sum_{i in k} r_i P_i` on E1' for every key k at once.
//!
//! # Method
//! Scalars are recoded to signed digits base 2^c. A key with many signatures has buckets for each window; keys with few
//! share the doublings of their signatures and take multiples from tables. Everything is affine, in steps that many keys
//! take together, so that an addition costs a share of one inversion.

use super::point::{Adder, Affine, Curve, Step};
use super::pool::Pool;
use core::ops::Range;

/// Bits of a scalar with its sign.
const SCALAR_BITS: usize = 144;
/// From so many signatures on a key has buckets.
const BUCKETS_FROM: usize = 48;
/// Digit width of the tables.
const TABLE_BITS: usize = 4;
const TABLE_LEN: usize = 1 << (TABLE_BITS - 1);
const TABLE_WINDOWS: usize = SCALAR_BITS / TABLE_BITS;
/// Most points in flight at once: a few megabytes.
const POINTS_MAX: usize = 1 << 15;
/// Most signatures whose tables are in flight at once.
const TABLES_MAX: usize = 1 << 10;

/// A scalar in two's complement, least significant limb first.
type Scalar = [u64; 3];

/// The digit base 2^c of a window, in `-2^(c-1)..=2^(c-1)`; all digits spell the scalar.
fn digit(scalar: &Scalar, window: usize, c: usize) -> i32 {
    let bits = |at: usize, len: usize| {
        let extended = |limb: usize| scalar.get(limb).copied().unwrap_or((scalar[2] as i64 >> 63) as u64);
        let (limb, shift) = (at / 64, at % 64);
        let wide = u128::from(extended(limb)) | (u128::from(extended(limb + 1)) << 64);
        (wide >> shift) as u64 & ((1 << len) - 1)
    };
    // A window borrows 2^c from the next if its top bit is set, so the carry in is the top bit of the window below.
    let carry = if window == 0 { 0 } else { bits(window * c - 1, 1) };
    let plain = bits(window * c, c);
    let top = plain >> (c - 1) & 1;
    (plain + carry) as i32 - ((top << c) as i32)
}

/// `sum scalars[i] * points[i]` on E1' over every group.
pub(crate) fn sums(points: &[Affine], scalars: &[Scalar], groups: &[Range<usize>], pool: &Pool) -> Vec<Affine> {
    let mut out = vec![Affine::INFINITY; groups.len()];
    let (many, few): (Vec<usize>, Vec<usize>) = (0..groups.len()).partition(|at| groups[*at].len() >= BUCKETS_FROM);
    for (at, sum) in many.iter().zip(by_buckets(points, scalars, &pick(groups, &many), pool)) {
        out[*at] = sum;
    }
    for (at, sum) in few.iter().zip(by_tables(points, scalars, &pick(groups, &few), pool)) {
        out[*at] = sum;
    }
    out
}

fn pick(groups: &[Range<usize>], at: &[usize]) -> Vec<Range<usize>> {
    at.iter().map(|at| groups[*at].clone()).collect()
}

/// Cuts `0..weights.len()` into runs whose weights add up to about `most`, fewer for a pool's sake.
fn runs(weights: &[usize], most: usize, pool: &Pool) -> Vec<Range<usize>> {
    let total: usize = weights.iter().sum();
    let most = if pool.threads() == 1 {
        most
    } else {
        most.min(total.div_ceil(2 * pool.threads())).max(1)
    };
    let (mut out, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, weight) in weights.iter().enumerate() {
        if sum > 0 && sum + weight > most {
            out.push(start..at);
            (start, sum) = (at, 0);
        }
        sum += weight;
    }
    if start < weights.len() {
        out.push(start..weights.len());
    }
    out
}

/// The digit width of a key's buckets that makes the fewest additions.
fn bucket_bits(len: usize) -> usize {
    (4..=13)
        .min_by_key(|c| SCALAR_BITS.div_ceil(*c) * (len + 2 * (1 << (c - 1))))
        .unwrap_or(4)
}

/// One window of one group.
struct Task {
    group: usize,
    window: usize,
    c: usize,
}

fn by_buckets(points: &[Affine], scalars: &[Scalar], groups: &[Range<usize>], pool: &Pool) -> Vec<Affine> {
    let mut tasks = Vec::new();
    for (group, range) in groups.iter().enumerate() {
        let c = bucket_bits(range.len());
        tasks.extend((0..SCALAR_BITS.div_ceil(c)).map(|window| Task { group, window, c }));
    }
    let weights: Vec<usize> = tasks.iter().map(|task| groups[task.group].len()).collect();
    let runs = runs(&weights, POINTS_MAX, pool);
    let windows = pool
        .map(runs.len(), |at| {
            window_sums(points, scalars, groups, &tasks[runs[at].clone()])
        })
        .concat();

    // Horner over the windows, the groups in step.
    let mut state: Vec<Affine> = vec![Affine::INFINITY; groups.len()];
    state.extend(windows);
    let mut firsts = vec![0; groups.len()];
    for (at, task) in tasks.iter().enumerate().rev() {
        firsts[task.group] = groups.len() + at;
    }
    let mut adder = Adder::default();
    let bits: Vec<usize> = groups.iter().map(|range| bucket_bits(range.len())).collect();
    for bit in (0..SCALAR_BITS + 13).rev() {
        let doublings: Vec<Step> = (0..groups.len() as u32)
            .map(|at| Step { a: at, b: at, to: at })
            .collect();
        adder.add(Curve::ISOGENOUS, &mut state, &doublings);
        let due = |at: &usize| bit % bits[*at] == 0 && bit / bits[*at] < SCALAR_BITS.div_ceil(bits[*at]);
        let additions: Vec<Step> = (0..groups.len())
            .filter(due)
            .map(|at| Step {
                a: at as u32,
                b: (firsts[at] + bit / bits[at]) as u32,
                to: at as u32,
            })
            .collect();
        adder.add(Curve::ISOGENOUS, &mut state, &additions);
    }
    state.truncate(groups.len());
    state
}

/// `sum_m m * (sum of the points of digit m)` for each task.
fn window_sums(points: &[Affine], scalars: &[Scalar], groups: &[Range<usize>], tasks: &[Task]) -> Vec<Affine> {
    let mut adder = Adder::default();
    // Buckets of all tasks, one behind the other; those of a task start at its entry of `firsts`.
    let (mut starts, mut firsts, mut sorted) = (Vec::new(), Vec::new(), Vec::new());
    let mut digits = Vec::new();
    for task in tasks {
        let range = groups[task.group].clone();
        let half = 1usize << (task.c - 1);
        digits.clear();
        digits.extend(
            scalars[range.clone()]
                .iter()
                .map(|scalar| digit(scalar, task.window, task.c)),
        );
        let mut next = vec![0u32; half + 1];
        digits
            .iter()
            .filter(|digit| **digit != 0)
            .for_each(|digit| next[digit.unsigned_abs() as usize] += 1);
        firsts.push(starts.len());
        let mut sum = sorted.len() as u32;
        for slot in &mut next[1..] {
            starts.push(sum);
            (*slot, sum) = (sum, sum + *slot);
        }
        sorted.resize(sum as usize, Affine::INFINITY);
        for (point, digit) in points[range].iter().zip(&digits).filter(|(_, digit)| **digit != 0) {
            let slot = &mut next[digit.unsigned_abs() as usize];
            sorted[*slot as usize] = point.negated_if(*digit < 0);
            *slot += 1;
        }
    }
    starts.push(sorted.len() as u32);
    adder.sum_segments(Curve::ISOGENOUS, &mut sorted, &starts);
    // Running sums from the greatest magnitude down, the tasks in step: [running | total | buckets].
    let len = tasks.len();
    let mut state = vec![Affine::INFINITY; 2 * len];
    state.extend(starts.windows(2).map(|pair| {
        if pair[0] < pair[1] {
            sorted[pair[0] as usize]
        } else {
            Affine::INFINITY
        }
    }));
    let most = tasks.iter().map(|task| 1usize << (task.c - 1)).max().unwrap_or(0);
    let (mut running, mut total) = (Vec::new(), Vec::new());
    for m in (1..=most).rev() {
        running.clear();
        total.clear();
        for (at, task) in tasks.iter().enumerate().filter(|(_, task)| m <= 1 << (task.c - 1)) {
            debug_assert!(task.c < 32);
            let at = at as u32;
            let bucket = (2 * len + firsts[at as usize] + m - 1) as u32;
            running.push(Step {
                a: at,
                b: bucket,
                to: at,
            });
            total.push(Step {
                a: at + len as u32,
                b: at,
                to: at + len as u32,
            });
        }
        adder.add(Curve::ISOGENOUS, &mut state, &running);
        adder.add(Curve::ISOGENOUS, &mut state, &total);
    }
    state.truncate(2 * len);
    state.split_off(len)
}

fn by_tables(points: &[Affine], scalars: &[Scalar], groups: &[Range<usize>], pool: &Pool) -> Vec<Affine> {
    let weights: Vec<usize> = groups.iter().map(|range| range.len()).collect();
    let runs = runs(&weights, TABLES_MAX, pool);
    pool.map(runs.len(), |at| straus(points, scalars, &groups[runs[at].clone()]))
        .concat()
}

/// Straus over each group, all groups in step.
fn straus(points: &[Affine], scalars: &[Scalar], groups: &[Range<usize>]) -> Vec<Affine> {
    let items: Vec<usize> = groups.iter().flat_map(Clone::clone).collect();
    let len = items.len();
    let mut adder = Adder::default();
    // Tables: multiple m of item i at (m - 1) * len + i, then a place per item for what it adds, then the groups' sums.
    let addends = TABLE_LEN * len;
    let sums = addends + len;
    let mut state = vec![Affine::INFINITY; sums + groups.len()];
    for (slot, item) in state.iter_mut().zip(&items) {
        *slot = points[*item];
    }
    for m in 1..TABLE_LEN {
        let plan: Vec<Step> = (0..len)
            .map(|i| Step {
                a: ((m - 1) * len + i) as u32,
                b: i as u32,
                to: (m * len + i) as u32,
            })
            .collect();
        adder.add(Curve::ISOGENOUS, &mut state, &plan);
    }
    let doublings: Vec<Step> = (sums..sums + groups.len())
        .map(|at| Step {
            a: at as u32,
            b: at as u32,
            to: at as u32,
        })
        .collect();
    let mut starts: Vec<u32> = Vec::with_capacity(groups.len() + 1);
    let mut start = addends as u32;
    for range in groups {
        starts.push(start);
        start += range.len() as u32;
    }
    starts.push(start);
    let additions: Vec<Step> = (0..groups.len())
        .filter(|at| starts[*at] < starts[at + 1])
        .map(|at| Step {
            a: (sums + at) as u32,
            b: starts[at],
            to: (sums + at) as u32,
        })
        .collect();
    for window in (0..TABLE_WINDOWS).rev() {
        if window + 1 < TABLE_WINDOWS {
            (0..TABLE_BITS).for_each(|_| adder.add(Curve::ISOGENOUS, &mut state, &doublings));
        }
        for (i, item) in items.iter().enumerate() {
            let digit = digit(&scalars[*item], window, TABLE_BITS);
            state[addends + i] = match digit.unsigned_abs() as usize {
                0 => Affine::INFINITY,
                m => state[(m - 1) * len + i].negated_if(digit < 0),
            };
        }
        adder.sum_segments(Curve::ISOGENOUS, &mut state, &starts);
        adder.add(Curve::ISOGENOUS, &mut state, &additions);
    }
    state.split_off(sums)
}
