//! Sums of points on the device: one kernel, whose modes say which operands a thread adds.
//!
//! # Guarantees
//! Additions are complete: equal, opposite and infinite points come out right on both curves.

use super::curve::{Curve, POINT_LEN};
use super::{Buffer, Commands, Dispatch, Kernel, Layer};

/// Multiplications of an addition and of the memory traffic around it.
const ADDITION_WORK: u64 = 20;

static CURVE: Layer = Layer {
    name: "curve",
    text: include_str!("../../wgsl/curve.wgsl"),
    needs: &[&super::field::FIELD],
};
static POINTS: Layer = Layer {
    name: "points",
    text: include_str!("../../wgsl/points.wgsl"),
    needs: &[&CURVE],
};
/// Sums of points.
pub(super) static SUMS: Kernel = Kernel {
    name: "points",
    layer: &POINTS,
    group: 64,
};

/// Which operands the threads add; the numbers are those of `points.wgsl`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// Sum i is that of the points `list[bounds[i]..bounds[i + 1]]`, the top bit negating, bounds from `skip` on.
    Listed { skip: usize },
    /// From every group of `(3^trits - 1) / 2` sums by magnitude, those by the magnitude of the lower trits.
    Folded { trits: u32 },
    /// From groups of `group` points, entries `from..to`: sums of `run` neighbours.
    Strided {
        group: usize,
        from: usize,
        to: usize,
        run: usize,
    },
    /// From every group of `trits` points c: the sum of 3^j c_j.
    Ternary { trits: u32 },
    /// Points i and `distance + i`, or none where word i of the list, as far as `mask` goes, is not `wanted`.
    Paired { distance: usize, mask: u32, wanted: u32 },
    /// The points `bounds[i]..bounds[i + 1]`, each times its coefficient of `trits` trits.
    Scaled { trits: u32 },
}

/// What one dispatch adds.
pub(super) struct Sums<'a> {
    pub(super) curve: Curve,
    pub(super) mode: Mode,
    /// The points.
    pub(super) source: &'a Buffer,
    /// Bounds and list of the modes that have them; else anything.
    pub(super) bounds: &'a Buffer,
    pub(super) list: &'a Buffer,
    /// Where the sums go: those of group g to `into + stride * g` and on.
    pub(super) sums: &'a Buffer,
    pub(super) into: usize,
    pub(super) stride: usize,
    /// Number of groups, and of sums a group.
    pub(super) groups: usize,
    pub(super) places: usize,
    /// Additions of a sum, about.
    pub(super) additions: u64,
}

impl Sums<'_> {
    /// Appends the dispatch to `commands`.
    pub(super) fn run(&self, commands: &mut Commands<'_>) {
        let (mode, rest) = match self.mode {
            Mode::Listed { skip } => (0, [skip as u32, 0, 0, 0]),
            Mode::Folded { trits } => (1, [(3u32.pow(trits) - 1) / 2, 3u32.pow(trits - 1), 0, 0]),
            Mode::Strided { group, from, to, run } => (2, [group as u32, from as u32, run as u32, to as u32]),
            Mode::Ternary { trits } => (3, [trits, 0, 0, 0]),
            Mode::Paired { distance, mask, wanted } => (5, [distance as u32, mask, wanted, 0]),
            Mode::Scaled { trits } => (4, [trits, 0, 0, 0]),
        };
        let (source_len, sums_len) = (self.source.len() / POINT_LEN, self.sums.len() / POINT_LEN);
        let mut params = vec![source_len as u32, sums_len as u32, mode, self.places as u32];
        params.extend(rest);
        params.extend([self.into as u32, self.stride as u32, u32::from(self.curve.has_a), 6]);
        params.extend(self.curve.b3);
        commands.run(&Dispatch {
            kernel: &SUMS,
            buffers: &[self.source, self.bounds, self.list, self.sums],
            params: &params,
            items: self.groups * self.places,
            work: self.additions.max(1) * ADDITION_WORK,
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::curve::{E1, points_of, words_of};
    use super::super::{Error, test_device};
    use super::*;
    use crate::cpu::Affine;
    use crate::curve;
    use crate::rlc::Coefficients;
    use blst::blst_p1;

    /// Multiples of one point from -20 to 20, infinity among them.
    const MULTIPLES: core::ops::RangeInclusive<i64> = -20..=20;

    /// `number` times the point.
    fn times(point: &blst_p1, number: i64) -> blst_p1 {
        let magnitude = (0..64).rev().fold(blst_p1::default(), |sum, bit| {
            let sum = curve::double(&sum);
            let is_set = number.unsigned_abs() >> bit & 1 == 1;
            if is_set { curve::add(&sum, point) } else { sum }
        });
        if number < 0 {
            curve::negate(magnitude)
        } else {
            magnitude
        }
    }

    /// Every mode adds what it says: sums of multiples of a point are multiples by sums of integers.
    #[test]
    pub(in super::super) fn every_mode_adds_its_operands() -> Result<(), Error> {
        let device = test_device();
        let point = curve::hash_to_g1(b"multiples", b"test");
        let numbers: Vec<i64> = MULTIPLES.collect();
        let affine = |number: &i64| Affine::from(curve::to_affine(&[times(&point, *number)])[0]);
        let multiples: Vec<Affine> = numbers.iter().map(affine).collect();
        let source = device.upload("multiples", &words_of(&E1, &multiples));
        let at = |index: usize| numbers[index];
        // Trits of two digits base 3^10 at least: places 0 to 11.
        let trit = |item: usize, place: usize| (item * 7 + place * 5) as i32 % 3 - 1;
        let scalar = |item: usize| {
            (0..12)
                .rev()
                .fold(0, |sum, place| 3 * sum + i64::from(trit(item, place)))
        };
        let wide = Coefficients::from_trits(
            numbers.len(),
            |item, place| if place < 12 { trit(item, place) } else { 0 },
        );
        let wide = wide.words();
        // Sums of 4 groups of 9, one place or more each: (mode, bounds, list, groups, places, expected).
        let negated = |entry: u32| entry | 1 << 31;
        let listed = vec![0u32, 5, negated(5), 39, 39, negated(3)];
        let flags: Vec<u32> = (0..20).map(|i| i % 4).collect();
        type Case = (Mode, Vec<u32>, Vec<u32>, usize, usize, Vec<i64>);
        let cases: Vec<Case> = vec![
            (
                Mode::Listed { skip: 1 },
                vec![99, 0, 3, 3, 5, 6],
                listed,
                4,
                1,
                vec![at(0), 0, 2 * at(39), -at(3)],
            ),
            (
                Mode::Folded { trits: 3 },
                vec![0],
                vec![0],
                3,
                4,
                (0..3)
                    .flat_map(|group| (0..4).map(move |place| (13 * group, place)))
                    .map(|(base, place)| at(base + place) + at(base + 9 + place) - at(base + 9 - place - 2))
                    .collect(),
            ),
            (
                Mode::Strided {
                    group: 10,
                    from: 1,
                    to: 8,
                    run: 3,
                },
                vec![0],
                vec![0],
                4,
                3,
                (0..4)
                    .flat_map(|group| [1..4, 4..7, 7..8].map(|run| run.map(|i| at(10 * group + i)).sum()))
                    .collect(),
            ),
            (
                Mode::Ternary { trits: 5 },
                vec![0],
                vec![0],
                8,
                1,
                (0..8)
                    .map(|group| (0..5).rev().fold(0, |sum, j| 3 * sum + at(5 * group + j)))
                    .collect(),
            ),
            (
                Mode::Paired {
                    distance: 20,
                    mask: 3,
                    wanted: 2,
                },
                vec![0],
                flags,
                20,
                1,
                (0..20)
                    .map(|i| if i % 4 == 2 { at(i) + at(20 + i) } else { 0 })
                    .collect(),
            ),
            (
                Mode::Scaled { trits: 12 },
                vec![0, 3, 3, 10, 11],
                wide,
                4,
                1,
                [0..3, 3..3, 3..10, 10..11]
                    .map(|items| items.map(|item| scalar(item) * at(item)).sum())
                    .into(),
            ),
        ];
        for (mode, bounds, list, groups, places, expected) in cases {
            let (bounds, list) = (device.upload("bounds", &bounds), device.upload("list", &list));
            // Two points before the sums and one behind each group stay as they are.
            let (into, stride) = (2, places + 1);
            let sums = device.buffer("sums", (into + stride * groups) * POINT_LEN);
            let mut commands = device.commands();
            Sums {
                curve: E1,
                mode,
                source: &source,
                bounds: &bounds,
                list: &list,
                sums: &sums,
                into,
                stride,
                groups,
                places,
                additions: 1,
            }
            .run(&mut commands);
            let download = commands.download(&sums, 0, sums.len());
            let found = points_of(&E1, &commands.submit().wait()?.take(download));
            assert_eq!(expected.len(), groups * places);
            for (i, found) in found.into_iter().enumerate() {
                let place = i.checked_sub(into).filter(|i| i % stride < places);
                let expected = place.map_or(0, |i| expected[i / stride * places + i % stride]);
                assert_eq!(blst_p1::from(found), times(&point, expected), "{mode:?}, place {i}");
            }
        }
        Ok(())
    }
}
