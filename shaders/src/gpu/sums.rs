//! The sums of a batch on the device: combinations of trits by slot, and sums of coefficient times point by slot.
//!
//! A *slot* is a run of neighbouring points: a part of a key's, or of the whole batch. Digits are sorted by slot, window
//! and magnitude, buckets are summed, a thread each, and folded trit by trit until only the combinations are left
//! ([`crate::rlc::combinations`] says how). Short slots are multiplied point by point instead.
//!
//! # Guarantees
//! How long a thread's sum gets is decided by secret digits and by [`SLOT_LEN_MAX`], never by a sender.

use super::curve::{Curve, POINT_LEN};
use super::digits::{self, Sorted};
use super::points::{Mode, Sums};
use super::{Buffer, Commands, Device};
use crate::rlc::{TRITS, Width};

/// Points of a slot at most: what keeps a bucket of five trits near 34 additions.
pub(super) const SLOT_LEN_MAX: usize = 4096;
/// Points of a slot at most that is multiplied point by point.
///
/// BOUND: llvmpipe ends a thread's loops, without a word, after 65,535 rounds of them all together; an addition takes 15,
/// a trit up to nine, and such a slot has 90 (2 + 12) additions.
pub(super) const SCALED_LEN_MAX: usize = 12;
/// Words of scratch at most: a binding that every device offers; in tests so few that slots go in several passes.
const SCRATCH_LEN_MAX: usize = if cfg!(test) { 1 << 18 } else { (128 << 20) / 4 };
/// Operands of a thread where sums are by strides.
const RUN: usize = 81;

/// Points of one curve with the slots and the coefficients of their batch.
pub(super) struct Batch<'a> {
    pub(super) device: &'a Device,
    pub(super) curve: Curve,
    pub(super) points: &'a Buffer,
    /// Digits base 3^10 as [`crate::rlc::Coefficients::words`] gives them.
    pub(super) wide: &'a Buffer,
    pub(super) len: usize,
    pub(super) slots: usize,
}

impl Batch<'_> {
    /// The combinations of every slot, `TRITS` points each, the least trit first. `slot_of` has a word an item.
    pub(super) fn combinations(&self, commands: &mut Commands<'_>, slot_of: &Buffer, width: Width) -> Buffer {
        let sorted = digits::sort(self.device, commands, (self.wide, slot_of, self.len), self.slots, width);
        let out = self.buffer("combinations", self.slots * TRITS);
        let buckets = width.windows() * width.half();
        let slots_max = (SCRATCH_LEN_MAX / (buckets * POINT_LEN)).max(1);
        let scratch = Scratch::new(self, width, slots_max.min(self.slots));
        for from in (0..self.slots).step_by(slots_max) {
            let slots = slots_max.min(self.slots - from);
            self.fold(commands, &sorted, &scratch, (from, slots), width, &out);
        }
        out
    }

    /// Combinations of the slots from `from` on.
    fn fold(
        &self,
        commands: &mut Commands<'_>,
        sorted: &Sorted,
        scratch: &Scratch,
        (from, slots): (usize, usize),
        width: Width,
        out: &Buffer,
    ) {
        let groups = slots * width.windows();
        let mut run = |mode, source: &Buffer, (sums, into, stride): (&Buffer, usize, usize), places, additions| {
            let (curve, bounds, list) = (self.curve, &sorted.bounds, &sorted.list);
            Sums {
                curve,
                mode,
                source,
                bounds,
                list,
                sums,
                into,
                stride,
                groups,
                places,
                additions,
            }
            .run(commands);
        };
        let half = width.half();
        let mean = 2 * self.len / self.slots.max(1) / (2 * half + 1);
        let mode = Mode::Listed {
            skip: from * width.windows() * half,
        };
        run(mode, self.points, (&scratch.even, 0, half), half, mean as u64);
        let (mut sums, mut spare) = (&scratch.even, &scratch.odd);
        for trits in (1..=width.trits()).rev() {
            let half = (3usize.pow(trits as u32) - 1) / 2;
            let below = half / 3;
            // The combination of the top trit: all sums whose top trit is one, by runs of runs.
            let (mut source, mut group, mut span) = (sums, half, below..half);
            let mut runs = [&scratch.runs, &scratch.more_runs].into_iter().cycle();
            while let Some(next) = runs.next().filter(|_| span.len() > RUN) {
                let places = span.len().div_ceil(RUN);
                let mode = Mode::Strided {
                    group,
                    from: span.start,
                    to: span.end,
                    run: RUN,
                };
                run(mode, source, (next, 0, places), places, RUN as u64);
                (source, group, span) = (next, places, 0..places);
            }
            let mode = Mode::Strided {
                group,
                from: span.start,
                to: span.end,
                run: RUN,
            };
            let into = from * TRITS + trits - 1;
            run(mode, source, (out, into, width.trits()), 1, span.len() as u64);
            if below > 0 {
                run(Mode::Folded { trits: trits as u32 }, sums, (spare, 0, below), below, 3);
                (sums, spare) = (spare, sums);
            }
        }
    }

    /// Per slot the sum of coefficient times point, from its combinations.
    pub(super) fn totals(&self, commands: &mut Commands<'_>, combinations: &Buffer) -> Buffer {
        let out = self.buffer("totals", self.slots);
        let mode = Mode::Ternary { trits: TRITS as u32 };
        self.one_each(
            commands,
            mode,
            combinations,
            combinations,
            combinations,
            &out,
            3 * TRITS as u64,
        );
        out
    }

    /// Per slot the sum of coefficient times point, point by point; slot s has the points `bounds[s]..bounds[s + 1]`.
    pub(super) fn scaled(&self, commands: &mut Commands<'_>, bounds: &Buffer) -> Buffer {
        let out = self.buffer("totals", self.slots);
        let mode = Mode::Scaled { trits: TRITS as u32 };
        let additions = (TRITS * (2 + self.len.div_ceil(self.slots.max(1)))) as u64;
        self.one_each(commands, mode, self.points, bounds, self.wide, &out, additions);
        out
    }

    #[allow(clippy::too_many_arguments, reason = "the bindings of one dispatch")]
    fn one_each(
        &self,
        commands: &mut Commands<'_>,
        mode: Mode,
        source: &Buffer,
        bounds: &Buffer,
        list: &Buffer,
        sums: &Buffer,
        additions: u64,
    ) {
        Sums {
            curve: self.curve,
            mode,
            source,
            bounds,
            list,
            sums,
            into: 0,
            stride: 1,
            groups: self.slots,
            places: 1,
            additions,
        }
        .run(commands);
    }

    fn buffer(&self, label: &str, points: usize) -> Buffer {
        self.device.buffer(label, (points * POINT_LEN).max(1))
    }
}

/// Where sums of one width wait for the next step.
struct Scratch {
    even: Buffer,
    odd: Buffer,
    runs: Buffer,
    more_runs: Buffer,
}

impl Scratch {
    fn new(batch: &Batch<'_>, width: Width, slots: usize) -> Self {
        let groups = slots * width.windows();
        let below = width.half() / 3;
        let runs = (width.half() - below).div_ceil(RUN);
        Self {
            even: batch.buffer("buckets", groups * width.half()),
            odd: batch.buffer("folded buckets", groups * below),
            runs: batch.buffer("runs", groups * runs),
            more_runs: batch.buffer("runs of runs", groups * runs.div_ceil(RUN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::curve::{E1, ISOGENOUS, points_of, words_of};
    use super::super::{Error, test_device};
    use super::*;
    use crate::SIGNATURE_DST;
    use crate::cpu::{Affine, Path, isogeny};
    use crate::curve;
    use crate::rlc::{self, Coefficients};
    use blst::blst_p1;
    use wattbook_types::sha256;

    /// Points with repetitions, opposites and infinities among them, and their images on E1.
    fn points(len: usize, on: &Curve) -> (Vec<Affine>, Vec<blst_p1>) {
        let points = (0..len).map(|i| {
            if i % 11 == 7 {
                return Affine::INFINITY;
            }
            let message = (i as u32 % 37).to_le_bytes();
            let point = if on.has_a {
                Path::mapped(&message, SIGNATURE_DST)
            } else {
                Affine::from(curve::to_affine(&[curve::hash_to_g1(&message, SIGNATURE_DST)])[0])
            };
            point.negated_if(i % 5 == 3)
        });
        let points: Vec<Affine> = points.collect();
        (points.clone(), images(&points, on))
    }

    /// Points of E1 as they are, points of E1' under the isogeny: sums go to sums.
    fn images(points: &[Affine], on: &Curve) -> Vec<blst_p1> {
        let image = |point: &Affine| {
            if on.has_a {
                isogeny::image(point)
            } else {
                blst_p1::from(*point)
            }
        };
        points.iter().map(image).collect()
    }

    /// Combinations of a slot on the CPU.
    fn combinations(points: &[blst_p1], first: usize, coefficients: &Coefficients) -> Vec<blst_p1> {
        let width = Width::Two;
        let window = |window: usize| {
            let mut sums = vec![blst_p1::default(); width.half()];
            for (item, point) in points.iter().enumerate() {
                let digit = coefficients.digit(first + item, window, width);
                if digit != 0 {
                    let point = if digit < 0 { curve::negate(*point) } else { *point };
                    let sum = &mut sums[digit.unsigned_abs() as usize - 1];
                    *sum = curve::add(sum, &point);
                }
            }
            rlc::combinations(width, sums)
        };
        (0..width.windows()).flat_map(window).collect()
    }

    fn are_those_of_the_cpu(on: Curve, lens: &[usize]) -> Result<(), Error> {
        let device = test_device();
        let len = lens.iter().sum();
        let (points, images_of_points) = points(len, &on);
        let coefficients = Coefficients::draw(&sha256(&[b"sums"]), 0..len).unwrap();
        let mut bounds = vec![0];
        for len in lens {
            bounds.push(bounds[bounds.len() - 1] + len);
        }
        let expected: Vec<Vec<blst_p1>> = bounds
            .windows(2)
            .map(|pair| combinations(&images_of_points[pair[0]..pair[1]], pair[0], &coefficients))
            .collect();
        let totals: Vec<blst_p1> = expected.iter().map(|all| rlc::total(all)).collect();

        let slot_of = lens.iter().zip(0u32..).flat_map(|(len, slot)| vec![slot; *len]);
        let source = device.upload("points", &words_of(&on, &points));
        let wide = device.upload("wide", &coefficients.words());
        let slot_of = device.upload("slots", &slot_of.collect::<Vec<_>>());
        let bounds = device.upload("bounds", &bounds.iter().map(|at| *at as u32).collect::<Vec<_>>());
        let batch = Batch {
            device,
            curve: on,
            points: &source,
            wide: &wide,
            len,
            slots: lens.len(),
        };
        let mut commands = device.commands();
        let whole = |commands: &mut Commands<'_>, buffer: &Buffer| commands.download(buffer, 0, buffer.len());
        let downloads = [Width::Two, Width::Five].map(|width| {
            let combinations = batch.combinations(&mut commands, &slot_of, width);
            let totals = batch.totals(&mut commands, &combinations);
            [combinations, totals].map(|buffer| whole(&mut commands, &buffer))
        });
        let is_short = lens.iter().all(|len| *len <= SCALED_LEN_MAX);
        let scaled = is_short.then(|| {
            let scaled = batch.scaled(&mut commands, &bounds);
            whole(&mut commands, &scaled)
        });
        let mut outcome = commands.submit().wait()?;
        let mut sums = |download| images(&points_of(&on, &outcome.take(download)), &on);
        for [some, all] in downloads {
            assert_eq!(sums(some), expected.concat(), "combinations of {lens:?}");
            assert_eq!(sums(all), totals, "totals of {lens:?}");
        }
        if let Some(scaled) = scaled {
            assert_eq!(sums(scaled), totals, "points of {lens:?} one by one");
        }
        Ok(())
    }

    #[test]
    fn sums_are_those_of_the_cpu() -> Result<(), Error> {
        for on in [E1, ISOGENOUS] {
            are_those_of_the_cpu(on, &[1])?;
            are_those_of_the_cpu(on, &[3, 0, 1, 8, 2])?;
            are_those_of_the_cpu(on, &[300, 5, 139])?;
        }
        Ok(())
    }
}
