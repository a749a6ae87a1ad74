//! Miller loops on the device, for batches of so many keys that the CPU's would be the bottleneck.
//!
//! The lines of registered keys are computed on the device and stay there ([`KeyTable`]), 21.2 kB each. A loop takes
//! pairs of a point of E1, homogeneous as it comes out of the sums, and a key's number; lanes multiply the lines of
//! several pairs into one accumulator, so that squarings are shared; the accumulators are multiplied together in a tree.
//! The product goes back to the CPU for its final exponentiation.
//!
//! # Invariants
//! * A pair whose point is infinity counts as one.
//! * The product differs from blst's by factors of subfields only, which the final exponentiation takes to one.

use super::field::{self, Fp, LIMBS};
use super::formula::{Formula, Program, Value};
use super::tower::{self, FP12_LEN};
use super::{Buffer, Commands, Device, Dispatch, Download, Kernel, Layer, lines};
use blst::{blst_fp12, blst_p2_affine};
use std::sync::LazyLock;

/// Programs over registers.
pub(super) static FORMULA: Layer = Layer {
    name: "formula",
    text: include_str!("../../wgsl/formula.wgsl"),
    needs: &[&field::FIELD],
};
/// Lines of keys.
pub(super) static LINES: Kernel = Kernel {
    name: "lines",
    layer: &Layer {
        name: "lines",
        text: include_str!("../../wgsl/lines.wgsl"),
        needs: &[&FORMULA],
    },
    group: 64,
};
/// Miller loops.
pub(super) static MILLER: Kernel = Kernel {
    name: "miller",
    layer: &Layer {
        name: "miller",
        text: include_str!("../../wgsl/miller.wgsl"),
        needs: &[&FORMULA],
    },
    group: 64,
};
/// Products in Fp12.
pub(super) static PRODUCT: Kernel = Kernel {
    name: "product",
    layer: &Layer {
        name: "product",
        text: include_str!("../../wgsl/product.wgsl"),
        needs: &[&FORMULA],
    },
    group: 64,
};

/// Bits of |z| below the highest.
const BITS: u32 = 63;
/// |z| of the curve.
pub(super) const Z: u64 = 0xd201_0000_0001_0000;
/// Lines of a loop: a doubling a bit, an addition a set bit.
pub(super) const LINES_LEN: usize = 68;
/// Words of a key's lines.
const KEY_WORDS: usize = LINES_LEN * 6 * LIMBS;
/// Keys of one buffer of lines at most.
const CHUNK_MAX: usize = 1 << 17;
/// Multiplications of one line of one pair, and of one squaring.
const LINE_WORK: u64 = 45;
const SQUARE_WORK: u64 = 36;
/// Accumulators left to the CPU.
const LEFT_MAX: usize = 16;
/// Registers of `formula.wgsl`.
const REGISTERS: usize = 48;

/// Two programs, one behind the other.
pub(super) struct Programs {
    pub(super) words: Vec<u32>,
    pub(super) first_end: u32,
}

impl Programs {
    fn new(first: &Program, second: &Program) -> Self {
        assert!(
            first.registers.max(second.registers) <= REGISTERS,
            "programs fit the shader's registers"
        );
        let words = first.ops.iter().chain(&second.ops).map(|op| op.word()).collect();
        Self {
            words,
            first_end: first.ops.len() as u32,
        }
    }

    pub(super) fn end(&self) -> u32 {
        self.words.len() as u32
    }
}

/// A doubling and an addition.
pub(super) static STEPS: LazyLock<Programs> = LazyLock::new(|| Programs::new(&lines::doubling(), &lines::addition()));
/// A squaring and the product with a line.
pub(super) static LOOP: LazyLock<Programs> = LazyLock::new(|| Programs::new(&squaring(), &by_line()));

/// Registers 0..12 squared.
fn squaring() -> Program {
    let (mut f, inputs) = Formula::new(FP12_LEN as u16);
    let square = tower::sqr12(&mut f, tower::fp12(&inputs));
    f.compile(&tower::fp12_at(square, 0))
}

/// Registers 0..12 times the line in 12..18 at the point -2X, 2Y, Z in 18..21.
fn by_line() -> Program {
    let (mut f, inputs) = Formula::new(FP12_LEN as u16 + 9);
    let line = [12, 14, 16].map(|at: usize| [inputs[at], inputs[at + 1]]);
    let line = tower::line_at(&mut f, line, [inputs[18], inputs[19], inputs[20]]);
    let product = tower::mul12_by_line(&mut f, tower::fp12(&inputs), line);
    f.compile(&tower::fp12_at(product, 0))
}

/// Registers 0..12 times registers 12..24.
pub(super) fn product() -> Program {
    let (mut f, inputs) = Formula::new(2 * FP12_LEN as u16);
    let (x, y): (&[Value], &[Value]) = inputs.split_at(FP12_LEN);
    let product = tower::mul12(&mut f, tower::fp12(x), tower::fp12(y));
    f.compile(&tower::fp12_at(product, 0))
}

/// Keys whose lines stand on the device, numbered as they came.
#[derive(Debug)]
pub struct KeyTable {
    chunks: Vec<Buffer>,
    /// Keys of a chunk.
    chunk_len: usize,
    len: usize,
    steps: Buffer,
    loops: Buffer,
    products: Buffer,
}

impl KeyTable {
    /// An empty table.
    pub fn new(device: &Device, chunk_len_max: usize) -> Self {
        let fits = device.buffer_len_max() / KEY_WORDS;
        let product: Vec<u32> = product().ops.iter().map(|op| op.word()).collect();
        Self {
            chunks: Vec::new(),
            chunk_len: fits.min(CHUNK_MAX).min(chunk_len_max).max(1),
            len: 0,
            steps: device.upload("steps of a Miller loop", &STEPS.words),
            loops: device.upload("a Miller loop", &LOOP.words),
            products: device.upload("a product", &product),
        }
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds points of G2, none infinity.
    ///
    /// # Errors
    /// The device's fault; the table is then of no use.
    pub fn push(&mut self, device: &Device, keys: &[blst_p2_affine]) -> Result<(), super::Error> {
        let one = Fp::small(1).to_montgomery().0;
        let mut rest = keys;
        while !rest.is_empty() {
            let at = self.len % self.chunk_len;
            if at == 0 {
                self.chunks
                    .push(device.buffer("lines of keys", self.chunk_len * KEY_WORDS));
            }
            let (now, later) = rest.split_at(rest.len().min(self.chunk_len - at));
            rest = later;
            let Some(chunk) = self.chunks.last() else {
                unreachable!("a chunk was pushed")
            };
            let coordinates = now
                .iter()
                .map(|key| [&key.x.fp[0], &key.x.fp[1], &key.y.fp[0], &key.y.fp[1]]);
            let coordinates: Vec<[Fp; 4]> = coordinates.map(|four| four.map(Fp::from_blst)).collect();
            let words: Vec<u32> = (0..4)
                .flat_map(|at| field::slot(&coordinates.iter().map(|four| four[at]).collect::<Vec<_>>()))
                .collect();
            let points = device.upload("keys", &words);
            let [len, lines_len, into] = [now.len(), self.chunk_len, at].map(|number| number as u32);
            let head = [len, lines_len, into, STEPS.first_end, STEPS.end()];
            let mut commands = device.commands();
            commands.run(&Dispatch {
                kernel: &LINES,
                buffers: &[&self.steps, &points, chunk],
                params: &[&head[..], &one[..]].concat(),
                items: now.len(),
                work: 68 * 30,
            });
            commands.submit().wait()?;
            self.len += now.len();
        }
        Ok(())
    }
}

/// Pairs of a loop on the device.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// Homogeneous points of E1: slots X, Y, Z.
    pub points: &'a Buffer,
    /// Elements of `points`.
    pub points_len: usize,
    /// The number of each pair's key, ascending, and the place of its point.
    pub pairs: &'a [(u32, u32)],
}

/// A product on its way back.
#[derive(Debug)]
pub struct Accumulators {
    download: Option<Download>,
    lanes: usize,
    left: usize,
}

/// Enqueues the loops of `pairs`; [`finish`] gives their product.
pub fn enqueue(
    device: &Device,
    commands: &mut Commands<'_>,
    table: &KeyTable,
    pairs: Pairs<'_>,
    lanes_max: usize,
) -> Accumulators {
    let pairs_len = pairs.pairs.len();
    debug_assert!(pairs.pairs.is_sorted() && pairs.pairs.last().is_none_or(|pair| (pair.0 as usize) < table.len));
    let chunk_len = table.chunk_len as u32;
    if pairs_len == 0 {
        return Accumulators {
            download: None,
            lanes: 0,
            left: 0,
        };
    }
    // BOUND: as below; a step over a pair has some 300 rounds.
    let pairs_a_lane_max = if device.is_software() { 64 } else { usize::MAX };
    let lanes = pairs_len
        .min(lanes_max.max(pairs_len.div_ceil(pairs_a_lane_max)))
        .max(1);
    let mut words = field::slot(&vec![Fp::small(1).to_montgomery(); lanes]);
    words.resize(lanes * FP12_LEN * LIMBS, 0);
    let state = device.upload("accumulators", &words);
    let words: Vec<u32> = (pairs.pairs.iter())
        .flat_map(|&(key, point)| [key % chunk_len, point])
        .collect();
    let in_chunk = device.upload("pairs", &words);
    let mut parts = Vec::new();
    let mut from = 0;
    for part in pairs.pairs.chunk_by(|a, b| a.0 / chunk_len == b.0 / chunk_len) {
        parts.push((part[0].0 as usize / table.chunk_len, from, from + part.len()));
        from += part.len();
    }
    // One chunk of keys: all steps at once. Several share the squarings of each step.
    // BOUND: llvmpipe ends the loops of a thread after some 65,535 rounds, and a loop over a pair has 16,000.
    let spans: Vec<(u32, u32)> = if parts.len() == 1 && !device.is_software() {
        vec![(BITS - 1, 0)]
    } else {
        (0..BITS).rev().map(|bit| (bit, bit)).collect()
    };
    let mut line = 0;
    for (from, to) in spans {
        let lines_len = (to..=from).map(|bit| 1 + (Z >> bit & 1) as u32).sum::<u32>();
        for (at, &(chunk, pair_first, pair_end)) in parts.iter().enumerate() {
            let pairs_a_lane = (pair_end - pair_first).div_ceil(lanes) as u64;
            commands.run(&Dispatch {
                kernel: &MILLER,
                buffers: &[&table.loops, &table.chunks[chunk], pairs.points, &in_chunk, &state],
                params: &[
                    lanes as u32,
                    pair_first as u32,
                    pair_end as u32,
                    pairs.points_len as u32,
                    table.chunk_len as u32,
                    from,
                    to,
                    u32::from(at == 0),
                    LOOP.first_end,
                    LOOP.end(),
                    line,
                ],
                items: lanes,
                work: u64::from(lines_len) * (pairs_a_lane * LINE_WORK + SQUARE_WORK),
            });
        }
        line += lines_len;
    }
    let mut left = lanes;
    while left > LEFT_MAX {
        let half = left.div_ceil(2);
        commands.run(&Dispatch {
            kernel: &PRODUCT,
            buffers: &[&table.products, &state],
            params: &[lanes as u32, half as u32, table.products.len() as u32],
            items: left - half,
            work: 54,
        });
        left = half;
    }
    Accumulators {
        download: Some(commands.download(&state, 0, lanes * FP12_LEN * LIMBS)),
        lanes,
        left,
    }
}

/// The product of the loops, conjugated as z is negative; before the final exponentiation.
pub fn finish(accumulators: Accumulators, outcome: &mut super::Outcome) -> blst_fp12 {
    let Some(download) = accumulators.download else {
        return blst_fp12::default();
    };
    let words = outcome.take(download);
    let slots: Vec<Vec<Fp>> = (words.chunks(accumulators.lanes * LIMBS))
        .map(field::from_slot)
        .collect();
    let element = |lane: usize| {
        let mut element = blst_fp12::default();
        for (at, slot) in slots.iter().enumerate() {
            // Conjugation turns the sign of the coefficient of w.
            let is_kept = at < FP12_LEN / 2;
            let coefficient = if is_kept { slot[lane] } else { slot[lane].negated() }.to_blst();
            element.fp6[at / 6].fp2[at / 2 % 3].fp[at % 2] = coefficient;
        }
        element
    };
    (0..accumulators.left).fold(blst_fp12::default(), |product, lane| product * element(lane))
}

#[cfg(test)]
mod tests {
    use super::super::{Error, test_device};
    use super::*;
    use blst::{blst_p1_affine, min_sig::SecretKey};

    fn key(serial: u8) -> blst_p2_affine {
        let secret = SecretKey::key_gen(&[serial; 32], &[]).unwrap();
        *<&blst_p2_affine>::from(&secret.sk_to_pk())
    }

    /// A point of G1, and its homogeneous form with this Z.
    fn point(serial: u8) -> (blst_p1_affine, [Fp; 3]) {
        let secret = SecretKey::key_gen(&[serial; 32], b"point").unwrap();
        let point: blst_p1_affine = *<&blst_p1_affine>::from(&secret.sign(&[serial], b"test", &[]));
        let (x, y) = (Fp::from_blst(&point.x), Fp::from_blst(&point.y));
        (point, [x.plus(x), y.plus(y), Fp::small(2).to_montgomery()])
    }

    /// Products of the loops of `pairs` (key, whether the point is infinity) on the device and with blst.
    fn both(keys: usize, chunk_len: usize, pairs: &[(u32, bool)], lanes_max: usize) -> Result<[blst_fp12; 2], Error> {
        let device = test_device();
        let all: Vec<blst_p2_affine> = (0..keys).map(|serial| key(serial as u8)).collect();
        let mut table = KeyTable::new(device, chunk_len);
        let (some, more) = all.split_at(keys / 3);
        table.push(device, some)?;
        table.push(device, more)?;
        assert_eq!(table.len(), keys);
        let mut expected = blst_fp12::default();
        let mut points = Vec::new();
        for (i, &(key, is_infinity)) in pairs.iter().enumerate() {
            let (point, homogeneous) = point(i as u8);
            if is_infinity {
                points.push([Fp::default(), Fp::small(1).to_montgomery(), Fp::default()]);
            } else {
                expected *= blst_fp12::miller_loop(&all[key as usize], &point);
                points.push(homogeneous);
            }
        }
        let words: Vec<u32> = (0..3)
            .flat_map(|at| field::slot(&points.iter().map(|point| point[at]).collect::<Vec<_>>()))
            .collect();
        let points = device.upload("points", &words);
        let numbered: Vec<(u32, u32)> = (0..).zip(pairs).map(|(at, (key, _))| (*key, at)).collect();
        let pairs = Pairs {
            points: &points,
            points_len: pairs.len(),
            pairs: &numbered,
        };
        let mut commands = device.commands();
        let accumulators = enqueue(device, &mut commands, &table, pairs, lanes_max);
        let product = finish(accumulators, &mut commands.submit().wait()?);
        Ok([product, expected].map(|product| product.final_exp()))
    }

    #[test]
    fn programs_make_the_multiplications_they_should() {
        let counts = [lines::doubling(), lines::addition(), squaring(), by_line(), product()]
            .map(|program| (program.multiplications(), program.registers <= REGISTERS));
        assert_eq!(counts, [(25, true), (35, true), (36, true), (45, true), (54, true)]);
    }

    #[test]
    fn products_are_those_of_blst() -> Result<(), Error> {
        // Several pairs a lane, keys twice, infinity first, last and in a lane of its own.
        let pairs = [
            (0, true),
            (1, false),
            (1, false),
            (2, false),
            (4, true),
            (5, false),
            (6, true),
        ];
        for lanes_max in [1, 3, 64] {
            let [product, expected] = both(7, 100, &pairs, lanes_max)?;
            assert_eq!(product, expected, "{lanes_max} lanes");
        }
        Ok(())
    }

    #[test]
    fn chunks_of_keys_share_their_squarings() -> Result<(), Error> {
        let pairs: Vec<(u32, bool)> = (0..40).map(|i| (i / 2, i == 7)).collect();
        let [product, expected] = both(20, 8, &pairs, 33)?;
        assert_eq!(product, expected);
        let [product, expected] = both(20, 8, &[], 33)?;
        assert_eq!(product, expected);
        Ok(())
    }
}
