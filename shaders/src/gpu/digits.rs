//! The digits of a batch's coefficients, sorted on the device by slot, window and magnitude.
//!
//! # Guarantees
//! * The items of a bucket are exactly those whose digit has its magnitude, the top bit set where the digit is negative.
//!   Their order is the device's.
//! * Nothing depends on the size of a subgroup.

use super::{Buffer, Commands, Device, Dispatch, Kernel, Layer};
use crate::rlc::Width;

/// Children of a node of the scan's tree.
const FAN: usize = 64;

static DIGITS_LAYER: Layer = Layer {
    name: "digits",
    text: include_str!("../../wgsl/digits.wgsl"),
    needs: &[],
};
static SCAN_LAYER: Layer = Layer {
    name: "scan",
    text: include_str!("../../wgsl/scan.wgsl"),
    needs: &[],
};
/// Counts and places digits.
pub(super) static DIGITS: Kernel = Kernel {
    name: "digits",
    layer: &DIGITS_LAYER,
    group: 64,
};
/// Exclusive prefix sums.
pub(super) static SCAN: Kernel = Kernel {
    name: "scan",
    layer: &SCAN_LAYER,
    group: 64,
};

/// Items by bucket: those of bucket b are `list[bounds[b]..bounds[b + 1]]`.
pub(super) struct Sorted {
    pub(super) bounds: Buffer,
    pub(super) list: Buffer,
}

/// Sorts the digits of `len` items: `wide` are their coefficients as [`crate::rlc::Coefficients::words`] gives them,
/// `slot_of` says whose they are, [`NO_SLOT`] nobody's.
pub(super) fn sort(
    device: &Device,
    commands: &mut Commands<'_>,
    (wide, slot_of, len): (&Buffer, &Buffer, usize),
    slots: usize,
    width: Width,
) -> Sorted {
    let buckets = slots * width.windows() * width.half();
    let counts = device.buffer("counts", buckets + 1);
    let list = device.buffer("list", (len * width.windows()).max(1));
    let nothing = device.buffer("nothing", 1);
    let pass = |commands: &mut Commands<'_>, offsets: &Buffer, places: bool| {
        let per_wide = 10 / width.trits();
        commands.run(&Dispatch {
            kernel: &DIGITS,
            buffers: &[wide, slot_of, offsets, &counts, &list],
            params: &[
                len as u32,
                width.windows() as u32,
                per_wide as u32,
                3u32.pow(width.trits() as u32),
                width.half() as u32,
                u32::from(places),
            ],
            items: len * width.windows(),
            work: 1,
        });
    };
    pass(commands, &nothing, false);
    let bounds = prefix_sums(device, commands, &counts, &nothing);
    pass(commands, &bounds, true);
    Sorted { bounds, list }
}

/// A slot nobody has: digits of its items are not sorted.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// Exclusive prefix sums of `values`.
fn prefix_sums(device: &Device, commands: &mut Commands<'_>, values: &Buffer, nothing: &Buffer) -> Buffer {
    let mut scan = |values: &Buffer, bases: Option<&Buffer>, out: &Buffer, up: bool| {
        commands.run(&Dispatch {
            kernel: &SCAN,
            buffers: &[values, bases.unwrap_or(nothing), out],
            params: &[values.len() as u32, u32::from(up), u32::from(bases.is_some())],
            items: values.len().div_ceil(FAN),
            work: 1,
        });
    };
    // Sums of 64, of 64 of those, and so on to at most 64 of them.
    let mut levels = vec![values.clone()];
    while levels[levels.len() - 1].len() > FAN {
        let below = &levels[levels.len() - 1];
        let sums = device.buffer("sums of counts", below.len().div_ceil(FAN));
        scan(below, None, &sums, true);
        levels.push(sums);
    }
    let mut bases: Option<Buffer> = None;
    for level in levels.iter().rev() {
        let out = device.buffer("prefix sums", level.len());
        scan(level, bases.as_ref(), &out, false);
        bases = Some(out);
    }
    bases.unwrap_or_else(|| device.buffer("prefix sums", 0))
}
