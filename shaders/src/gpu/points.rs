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
