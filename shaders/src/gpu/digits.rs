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

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Error, test_device};
    use super::*;
    use crate::rlc::Coefficients;
    use wattbook_types::sha256;

    /// Both passes of the sort alone, the bounds between them made here.
    #[test]
    pub(in super::super) fn digits_are_counted_and_placed() -> Result<(), Error> {
        let (device, len, slots) = (test_device(), 23, 2);
        let coefficients = Coefficients::draw(&sha256(&[b"digits"]), 0..len).unwrap();
        let slot_of: Vec<u32> = (0..len as u32)
            .map(|item| if item == 9 { NO_SLOT } else { item % 3 % 2 })
            .collect();
        for width in [Width::Two, Width::Five] {
            let buckets = slots * width.windows() * width.half();
            let mut expected: Vec<Vec<u32>> = vec![Vec::new(); buckets];
            for (item, slot) in slot_of.iter().enumerate().filter(|(_, slot)| **slot != NO_SLOT) {
                for window in 0..width.windows() {
                    let digit = coefficients.digit(item, window, width);
                    if digit != 0 {
                        let bucket = (*slot as usize * width.windows() + window) * width.half();
                        expected[bucket + digit.unsigned_abs() as usize - 1]
                            .push(item as u32 | u32::from(digit < 0) << 31);
                    }
                }
            }
            let mut offsets = vec![0];
            for bucket in &expected {
                offsets.push(offsets[offsets.len() - 1] + bucket.len() as u32);
            }
            let (counts, list) = (
                device.buffer("counts", buckets),
                device.buffer("list", len * width.windows()),
            );
            let mut commands = device.commands();
            let [wide, slot_of, offsets_there] =
                [&coefficients.words(), &slot_of, &offsets].map(|words| device.upload("input", words));
            let mut downloads = Vec::new();
            for places in [0, 1] {
                commands.run(&Dispatch {
                    kernel: &DIGITS,
                    buffers: &[&wide, &slot_of, &offsets_there, &counts, &list],
                    params: &[
                        len as u32,
                        width.windows() as u32,
                        (10 / width.trits()) as u32,
                        3u32.pow(width.trits() as u32),
                        width.half() as u32,
                        places,
                    ],
                    items: len * width.windows(),
                    work: 1,
                });
                downloads.push(commands.download(&counts, 0, counts.len()));
            }
            let list = commands.download(&list, 0, list.len());
            let mut outcome = commands.submit().wait()?;
            let [counted, left] = [downloads[0], downloads[1]].map(|download| outcome.take(download));
            let lens: Vec<u32> = expected.iter().map(|bucket| bucket.len() as u32).collect();
            assert_eq!(counted, lens, "{width:?}");
            assert_eq!(left, vec![0; buckets], "{width:?}: counts go back to zero");
            let list = outcome.take(list);
            for (bucket, (expected, bounds)) in expected.iter_mut().zip(offsets.windows(2)).enumerate() {
                let mut found = list[bounds[0] as usize..bounds[1] as usize].to_vec();
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(&found, expected, "bucket {bucket}, {width:?}");
            }
        }
        Ok(())
    }

    /// One step up the tree and one down, and the whole tree of several levels.
    #[test]
    pub(in super::super) fn sums_are_prefix_sums() -> Result<(), Error> {
        let device = test_device();
        let numbers: Vec<u32> = (0..150u32).map(|i| i.wrapping_mul(0x9e37_79b9) >> 20).collect();
        let bases = [5u32, 1_000_000, 7];
        let [values, bases_there] = [&numbers[..], &bases].map(|words| device.upload("input", words));
        let (sums, prefixes) = (device.buffer("sums", 3), device.buffer("prefix sums", numbers.len()));
        let mut commands = device.commands();
        for (out, up, has_bases) in [(&sums, 1, 0), (&prefixes, 0, 1)] {
            commands.run(&Dispatch {
                kernel: &SCAN,
                buffers: &[&values, &bases_there, out],
                params: &[numbers.len() as u32, up, has_bases],
                items: numbers.len().div_ceil(FAN),
                work: 1,
            });
        }
        let many: Vec<u32> = numbers.iter().cycle().take(FAN * FAN + 70).copied().collect();
        let whole = prefix_sums(
            device,
            &mut commands,
            &device.upload("many", &many),
            &device.buffer("nothing", 1),
        );
        let downloads = [&sums, &prefixes, &whole].map(|buffer| commands.download(buffer, 0, buffer.len()));
        let mut outcome = commands.submit().wait()?;
        let [sums, prefixes, whole] = downloads.map(|download| outcome.take(download));
        let prefix = |numbers: &[u32], base: u32| -> Vec<u32> {
            let running = numbers.iter().scan(base, |sum, number| {
                let before = *sum;
                *sum += number;
                Some(before)
            });
            running.collect()
        };
        let runs = || numbers.chunks(FAN);
        assert_eq!(sums, runs().map(|run| run.iter().sum::<u32>()).collect::<Vec<_>>());
        let expected = runs().zip(bases).map(|(run, base)| prefix(run, base));
        assert_eq!(prefixes, expected.collect::<Vec<_>>().concat());
        assert_eq!(whole, prefix(&many, 0));
        Ok(())
    }
}
