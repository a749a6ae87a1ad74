//! The sums of a batch on the device: combinations of trits by slot, and sums of coefficient times point by slot.
//!
//! A *slot* is a run of neighbouring points: a part of a key's, or of the whole batch. Digits are sorted by slot, window
//! and magnitude, buckets are summed, a thread each, and folded trit by trit until only the combinations are left
//! ([`crate::rlc::combinations`] says how). Short slots are multiplied point by point instead.
//!
//! # Guarantees
//! How long a thread's sum gets is decided by secret digits and by [`SLOT_LEN_MAX`], never by a sender.

use super::curve::Curve;
use super::digits::{self, Sorted};
use super::points::{Mode, POINT_LEN, Sums};
use super::{Buffer, Commands, Device};
use crate::rlc::{TRITS, Width};

/// Points of a slot at most: what keeps a bucket of five trits near 34 additions.
pub(super) const SLOT_LEN_MAX: usize = 4096;
/// Words of scratch at most: a binding that every device offers.
const SCRATCH_LEN_MAX: usize = (128 << 20) / 4;
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
    use super::super::curve::{E1, points_of, words_of};
    use super::super::test_device;
    use super::*;
    use crate::curve;
    use crate::rlc::{self, Coefficients};
    use blst::{blst_p1, blst_p1_affine};
    use wattbook_types::sha256;

    /// Points with repetitions, opposites and infinities among them.
    fn points(len: usize) -> Vec<blst_p1_affine> {
        let mut points: Vec<blst_p1> = (0..len)
            .map(|i| curve::hash_to_g1(&(i as u32 % 97).to_le_bytes(), b"WATTBOOK-TEST"))
            .collect();
        for (i, point) in points.iter_mut().enumerate() {
            if i % 5 == 3 {
                *point = curve::negate(*point);
            }
            if i % 11 == 7 {
                *point = blst_p1::default();
            }
        }
        curve::to_affine(&points)
    }

    fn jacobian(point: &blst_p1_affine) -> blst_p1 {
        let mut out = blst_p1::default();
        if *point != blst_p1_affine::default() {
            out = blst_p1 {
                x: point.x,
                y: point.y,
                z: blst::blst_fp {
                    l: super::super::curve::ONE,
                },
            };
        }
        out
    }

    /// Combinations and totals per slot on the CPU.
    fn expected(
        points: &[blst_p1_affine],
        slot_of: &[u32],
        slots: usize,
        coefficients: &Coefficients,
    ) -> Vec<Vec<blst_p1>> {
        let width = Width::Two;
        let mut out = Vec::new();
        for slot in 0..slots {
            let mut all = Vec::new();
            for window in 0..width.windows() {
                let mut sums = vec![blst_p1::default(); width.half()];
                for (item, point) in points
                    .iter()
                    .enumerate()
                    .filter(|(item, _)| slot_of[*item] == slot as u32)
                {
                    let digit = coefficients.digit(item, window, width);
                    if digit != 0 {
                        let point = jacobian(point);
                        let point = if digit < 0 { curve::negate(point) } else { point };
                        let sum = &mut sums[digit.unsigned_abs() as usize - 1];
                        *sum = curve::add(sum, &point);
                    }
                }
                all.extend(rlc::combinations(width, sums));
            }
            out.push(all);
        }
        out
    }

    #[test]
    fn combinations_and_totals_are_those_of_the_cpu() -> Result<(), super::super::Error> {
        let device = test_device();
        for (len, lens) in [
            (1usize, vec![1usize]),
            (40, vec![1, 0, 7, 32]),
            (700, vec![300, 5, 395]),
        ] {
            let points = points(len);
            let coefficients = Coefficients::draw(&sha256(&[b"sums"]), 0..len).unwrap();
            let slot_of: Vec<u32> = lens
                .iter()
                .enumerate()
                .flat_map(|(slot, len)| vec![slot as u32; *len])
                .collect();
            let bounds: Vec<u32> = lens
                .iter()
                .scan(0, |at, len| {
                    *at += *len as u32;
                    Some(*at)
                })
                .collect();
            let bounds = [vec![0], bounds].concat();
            let expected = expected(&points, &slot_of, lens.len(), &coefficients);
            let totals: Vec<blst_p1> = expected.iter().map(|all| rlc::total(all)).collect();
            let (source, wide) = (
                device.upload("points", &words_of(&points)),
                device.upload("wide", &coefficients.words()),
            );
            let (slot_of, bounds) = (device.upload("slots", &slot_of), device.upload("bounds", &bounds));
            let batch = Batch {
                device,
                curve: E1,
                points: &source,
                wide: &wide,
                len,
                slots: lens.len(),
            };
            let mut commands = device.commands();
            let mut downloads = Vec::new();
            for width in [Width::Two, Width::Five] {
                let combinations = batch.combinations(&mut commands, &slot_of, width);
                let sums = batch.totals(&mut commands, &combinations);
                downloads.push((
                    commands.download(&combinations, 0, combinations.len()),
                    commands.download(&sums, 0, sums.len()),
                ));
            }
            let scaled = batch.scaled(&mut commands, &bounds);
            let scaled = commands.download(&scaled, 0, scaled.len());
            let t = std::time::Instant::now();
            let mut outcome = commands.submit().wait()?;
            eprintln!("{len} {:?}", t.elapsed());
            assert_eq!(points_of(&outcome.take(scaled)), totals, "{len} points one by one");
            for (combinations, sums) in downloads {
                assert_eq!(
                    points_of(&outcome.take(combinations)),
                    expected.concat(),
                    "{len} points"
                );
                assert_eq!(points_of(&outcome.take(sums)), totals, "{len} points");
            }
        }
        Ok(())
    }

    #[test]
    #[ignore = "scratch"]
    fn speed() {
        for checked in [true, false] {
            let device = Device::open(&super::super::Choice { checked, timed: true, ..Default::default() }).unwrap();
            let device = &device;
            let len = 4096;
            let points = points(len);
            let coefficients = Coefficients::draw(&sha256(&[b"sums"]), 0..len).unwrap();
            let (source, wide) = (device.upload("points", &words_of(&points)), device.upload("wide", &coefficients.words()));
            for slots in [1usize, 16] {
                let slot_of: Vec<u32> = (0..len).map(|i| (i * slots / len) as u32).collect();
                let slot_of = device.upload("slots", &slot_of);
                let batch = Batch { device, curve: E1, points: &source, wide: &wide, len, slots };
                for width in [Width::Five, Width::Five, Width::Two] {
                    let t = std::time::Instant::now();
                    let mut commands = device.commands();
                    let combinations = batch.combinations(&mut commands, &slot_of, width);
                    let sums = batch.totals(&mut commands, &combinations);
                    let d = commands.download(&sums, 0, sums.len());
                    let mut outcome = commands.submit().wait().unwrap();
                    eprintln!("checked {checked} slots {slots} {width:?} {:?}", t.elapsed());
                    eprintln!("{:?}", outcome.times().iter().map(|t| (t.name, t.time_ns / 1000)).collect::<Vec<_>>());
                    outcome.take(d);
                }
            }
        }
    }
}
