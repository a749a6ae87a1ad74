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

use super::field::{self, FP_WORDS};
use super::formula::{Formula, Program, Value};
use super::tower::{self, FP12_LEN};
use super::{Buffer, Commands, Device, Dispatch, Download, Kernel, Layer, lines};
use crate::cpu::field::Fp;
use crate::cpu::lines::Fp12;
use std::sync::LazyLock;

static FORMULA: Layer = Layer {
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
const Z: u64 = 0xd201_0000_0001_0000;
/// Lines of a loop: a doubling a bit, an addition a set bit.
const LINES_LEN: usize = 68;
/// Words of a key's lines.
const KEY_WORDS: usize = LINES_LEN * 6 * FP_WORDS;
/// Keys of one buffer of lines at most.
const CHUNK_MAX: usize = 1 << 17;
/// Multiplications of one line of one pair, and of one squaring.
const LINE_WORK: u64 = 45;
const SQUARE_WORK: u64 = 36;
/// Accumulators left to the CPU.
const LEFT_MAX: usize = 16;

/// Two programs, one behind the other.
struct Programs {
    words: Vec<u32>,
    first_end: u32,
}

impl Programs {
    fn new(first: &Program, second: &Program) -> Self {
        let words = first.ops.iter().chain(&second.ops).map(|op| op.word()).collect();
        Self {
            words,
            first_end: first.ops.len() as u32,
        }
    }

    fn end(&self) -> u32 {
        self.words.len() as u32
    }
}

/// A doubling and an addition.
static STEPS: LazyLock<Programs> = LazyLock::new(|| Programs::new(&lines::doubling(), &lines::addition()));
/// A squaring and the product with a line.
static LOOP: LazyLock<Programs> = LazyLock::new(|| Programs::new(&squaring(), &by_line()));

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
fn product() -> Program {
    let (mut f, inputs) = Formula::new(2 * FP12_LEN as u16);
    let (x, y): (&[Value], &[Value]) = inputs.split_at(FP12_LEN);
    let product = tower::mul12(&mut f, tower::fp12(x), tower::fp12(y));
    f.compile(&tower::fp12_at(product, 0))
}

/// Keys whose lines stand on the device, numbered as they came.
#[derive(Debug)]
pub(crate) struct KeyTable {
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
    pub(crate) fn new(device: &Device, chunk_len_max: usize) -> Self {
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
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds affine points of G2, none infinity, as coordinates x, y of two coefficients each.
    pub(crate) fn push(&mut self, device: &Device, keys: &[[Fp; 4]]) -> Result<(), super::Error> {
        let mut rest = keys;
        while !rest.is_empty() {
            let at = self.len % self.chunk_len;
            if at == 0 {
                self.chunks
                    .push(device.buffer("lines of keys", self.chunk_len * KEY_WORDS));
            }
            let (now, later) = rest.split_at(rest.len().min(self.chunk_len - at));
            rest = later;
            let Some(chunk) = self.chunks.last() else { unreachable!("a chunk was pushed") };
            let mut words = vec![0; now.len() * 4 * FP_WORDS];
            for (i, key) in now.iter().enumerate() {
                for (slot, coordinate) in key.iter().enumerate() {
                    field::put(&mut words, now.len(), slot, i, coordinate);
                }
            }
            let points = device.upload("keys", &words);
            let mut commands = device.commands();
            commands.run(&Dispatch {
                kernel: &LINES,
                buffers: &[&self.steps, &points, chunk],
                params: &[
                    now.len() as u32,
                    self.chunk_len as u32,
                    at as u32,
                    STEPS.first_end,
                    STEPS.end(),
                ],
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
pub(crate) struct Pairs<'a> {
    /// Homogeneous points of E1: slots X, Y, Z.
    pub(crate) points: &'a Buffer,
    /// Elements of `points`.
    pub(crate) points_len: usize,
    /// The number of each pair's key, ascending: pair i has point i.
    pub(crate) keys: &'a [u32],
}

/// A product on its way back.
#[derive(Debug)]
pub(crate) struct Accumulators {
    download: Option<Download>,
    lanes: usize,
    left: usize,
}

/// Enqueues the loops of `pairs`; [`finish`] gives their product.
pub(crate) fn enqueue(
    device: &Device,
    commands: &mut Commands<'_>,
    table: &KeyTable,
    pairs: Pairs<'_>,
    lanes_max: usize,
) -> Accumulators {
    let pairs_len = pairs.keys.len();
    debug_assert!(pairs.keys.is_sorted() && pairs.keys.last().is_none_or(|key| (*key as usize) < table.len));
    if pairs_len == 0 {
        return Accumulators {
            download: None,
            lanes: 0,
            left: 0,
        };
    }
    let lanes = pairs_len.min(lanes_max).max(1);
    let mut words = vec![0; lanes * FP12_LEN * FP_WORDS];
    (0..lanes).for_each(|lane| field::put(&mut words, lanes, 0, lane, &Fp::ONE));
    let state = device.upload("accumulators", &words);
    let in_chunk: Vec<u32> = pairs.keys.iter().map(|key| key % table.chunk_len as u32).collect();
    let keys = device.upload("key numbers", &in_chunk);
    let mut parts = Vec::new();
    let mut from = 0;
    for part in pairs.keys.chunk_by(|a, b| a / table.chunk_len as u32 == b / table.chunk_len as u32) {
        parts.push((part[0] as usize / table.chunk_len, from, from + part.len()));
        from += part.len();
    }
    // One chunk of keys: all steps at once. Several share the squarings of each step.
    let spans: Vec<(u32, u32)> = match parts.len() {
        1 => vec![(BITS - 1, 0)],
        _ => (0..BITS).rev().map(|bit| (bit, bit)).collect(),
    };
    let mut line = 0;
    for (from, to) in spans {
        let lines_len = (to..=from).map(|bit| 1 + (Z >> bit & 1) as u32).sum::<u32>();
        for (at, &(chunk, pair_first, pair_end)) in parts.iter().enumerate() {
            let pairs_a_lane = (pair_end - pair_first).div_ceil(lanes) as u64;
            commands.run(&Dispatch {
                kernel: &MILLER,
                buffers: &[&table.loops, &table.chunks[chunk], pairs.points, &keys, &state],
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
        download: Some(commands.download(&state, 0, lanes * FP12_LEN * FP_WORDS)),
        lanes,
        left,
    }
}

/// The product of the loops, conjugated as z is negative; before the final exponentiation.
pub(crate) fn finish(accumulators: Accumulators, outcome: &mut super::Outcome) -> Fp12 {
    let Some(download) = accumulators.download else { return Fp12::ONE };
    let words = outcome.take(download);
    let element = |lane: usize| {
        Fp12::of(core::array::from_fn(|slot| {
            field::get(&words, accumulators.lanes, slot, lane)
        }))
    };
    (0..accumulators.left)
        .map(element)
        .fold(Fp12::ONE, |product, next| product * next)
        .conjugate()
}
