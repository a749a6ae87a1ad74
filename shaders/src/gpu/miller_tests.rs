//! The kernels of Miller loops one by one, beside the curve's own slopes and blst's products.

use super::field::{Fp, LIMBS, from_slot, slot};
use super::miller::{LINES, LINES_LEN, LOOP, MILLER, PRODUCT, Programs, STEPS, Z, product};
use super::tower::FP12_LEN;
use super::{Buffer, Device, Dispatch, Error, test_device};
use crate::cpu::field::Fp as Number;
use blst::{blst_fp12, blst_p2_affine, min_sig::SecretKey};

/// Elements of Fp2 by the schoolbook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fp2(Number, Number);

impl Fp2 {
    fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0 - other.0, self.1 - other.1)
    }

    fn times(self, other: Self) -> Self {
        Self(self.0 * other.0 - self.1 * other.1, self.0 * other.1 + self.1 * other.0)
    }

    fn over(self, other: Self) -> Self {
        let norm = (other.0.square() + other.1.square()).inverse();
        self.times(Self(other.0 * norm, Number::ZERO - other.1 * norm))
    }

    fn twice(self) -> Self {
        self.plus(self)
    }
}

fn number(element: Fp) -> Number {
    Number::of(element.to_blst().l)
}

/// Elements that no formula makes special.
fn element(seed: u32) -> Fp {
    Fp::small(seed.wrapping_mul(0x9e37_79b9) | 1).doubled(200 + seed as usize % 97)
}

/// An element of Fp12, from its twelve coefficients in blst's order.
fn fp12(coefficients: &[Fp]) -> blst_fp12 {
    let mut out = blst_fp12::default();
    for (at, coefficient) in coefficients.iter().enumerate() {
        out.fp6[at / 6].fp2[at / 2 % 3].fp[at % 2] = coefficient.to_blst();
    }
    out
}

/// What lies in a buffer of `len` elements a slot, element by element.
fn elements_of(words: &[u32], len: usize) -> Vec<Vec<Fp>> {
    let slots: Vec<Vec<Fp>> = words.chunks(len * LIMBS).map(from_slot).collect();
    (0..len).map(|i| slots.iter().map(|slot| slot[i]).collect()).collect()
}

/// Elements of several slots as a buffer.
fn upload(device: &Device, elements: &[Vec<Fp>]) -> Buffer {
    let slots = 0..elements[0].len();
    let words = slots.flat_map(|at| slot(&elements.iter().map(|slots| slots[at]).collect::<Vec<_>>()));
    device.upload("elements", &words.collect::<Vec<_>>())
}

fn program(device: &Device, programs: &Programs) -> Buffer {
    device.upload("programs", &programs.words)
}

/// Every line of every step has the slope of its tangent or chord, and goes through the multiple.
#[test]
pub(super) fn lines_are_tangents_and_chords() -> Result<(), Error> {
    let device = test_device();
    let keys: Vec<blst_p2_affine> = (1..=3u8)
        .map(|serial| {
            let secret = SecretKey::key_gen(&[serial; 32], &[]).unwrap();
            *<&blst_p2_affine>::from(&secret.sk_to_pk())
        })
        .collect();
    let coordinates = |key: &blst_p2_affine| [key.x.fp[0], key.x.fp[1], key.y.fp[0], key.y.fp[1]];
    let affine: Vec<Vec<Fp>> = keys
        .iter()
        .map(|key| coordinates(key).iter().map(Fp::from_blst).collect())
        .collect();
    let (lines_len, into) = (5, 1);
    let lines = device.buffer("lines", LINES_LEN * 6 * LIMBS * lines_len);
    let head = [
        keys.len() as u32,
        lines_len as u32,
        into as u32,
        STEPS.first_end,
        STEPS.end(),
    ];
    let mut commands = device.commands();
    commands.run(&Dispatch {
        kernel: &LINES,
        buffers: &[&program(device, &STEPS), &upload(device, &affine), &lines],
        params: &[&head[..], &Fp::small(1).to_montgomery().0].concat(),
        items: keys.len(),
        work: 1,
    });
    let download = commands.download(&lines, 0, lines.len());
    let found = elements_of(&commands.submit().wait()?.take(download), lines_len);
    for untouched in [&found[0], &found[4]] {
        assert!(untouched.iter().all(|element| *element == Fp::default()));
    }
    for (key, found) in keys.iter().zip(&found[into..]) {
        let [x0, x1, y0, y1] = coordinates(key).map(|coordinate| Number::of(coordinate.l));
        let key = (Fp2(x0, x1), Fp2(y0, y1));
        let mut multiple = key;
        let mut lines = found.chunks(6);
        let mut step = |at: &mut (Fp2, Fp2), slope: Fp2, other: Fp2, through: (Fp2, Fp2)| {
            let line: Vec<Number> = lines.next().unwrap().iter().map(|element| number(*element)).collect();
            let [l0, l1, l2] = [0, 2, 4].map(|i| Fp2(line[i], line[i + 1]));
            assert_ne!(l2, Fp2(Number::ZERO, Number::ZERO));
            // Up to one factor, l0 + l1 (-2x) + l2 (2y) is y less the line's y at x, twice.
            assert_eq!(l1, slope.times(l2));
            assert_eq!(l0, slope.times(through.0).minus(through.1).twice().times(l2));
            let x = slope.times(slope).minus(at.0).minus(other);
            *at = (x, slope.times(at.0.minus(x)).minus(at.1));
        };
        for bit in (0..63).rev() {
            let (x, y) = multiple;
            let square = x.times(x);
            step(&mut multiple, square.twice().plus(square).over(y.twice()), x, (x, y));
            if Z >> bit & 1 == 1 {
                let (x, y) = multiple;
                step(&mut multiple, y.minus(key.1).over(x.minus(key.0)), key.0, key);
            }
        }
        assert!(lines.next().is_none());
    }
    Ok(())
}

/// Three steps of a loop, one of them with an addition, by lanes of several pairs: products of blst with whatever lines
/// are given; and the same without squarings, as further keys have it.
#[test]
pub(super) fn loops_multiply_lines_at_points() -> Result<(), Error> {
    let device = test_device();
    let (lanes, first_line, lines_len, keys_len) = (2, 2, 4, 3);
    let elements = |seed: u32, len: u32| (0..len).map(|i| element(seed + i)).collect::<Vec<_>>();
    let state: Vec<Vec<Fp>> = (0..lanes).map(|lane| elements(1_000 * lane, 12)).collect();
    let lines: Vec<Vec<Fp>> = (0..keys_len)
        .map(|key| elements(5_000 + 100 * key, 6 * (first_line + lines_len)))
        .collect();
    let mut points: Vec<Vec<Fp>> = (0..7).map(|point| elements(9_000 + 10 * point, 3)).collect();
    points[3][2] = Fp::default();
    // Of a key and a point each; the first is none of this dispatch's, one point is infinity.
    let pairs = [(0, 0), (0, 6), (0, 1), (1, 3), (2, 2), (2, 5)];
    let pairs_first = 1;
    let pair_words: Vec<u32> = pairs.iter().flat_map(|(key, point)| [*key, *point]).collect();
    for squares in [true, false] {
        let accumulators = upload(device, &state);
        let mut commands = device.commands();
        commands.run(&Dispatch {
            kernel: &MILLER,
            buffers: &[
                &program(device, &LOOP),
                &upload(device, &lines),
                &upload(device, &points),
                &device.upload("pairs", &pair_words),
                &accumulators,
            ],
            params: &[
                lanes,
                pairs_first,
                pairs.len() as u32,
                points.len() as u32,
                keys_len,
                17,
                15,
                u32::from(squares),
                LOOP.first_end,
                LOOP.end(),
                first_line,
            ],
            items: lanes as usize,
            work: 1,
        });
        let download = commands.download(&accumulators, 0, accumulators.len());
        let found = elements_of(&commands.submit().wait()?.take(download), lanes as usize);
        for (lane, found) in found.iter().enumerate() {
            let mut expected = fp12(&state[lane]);
            let mine = || pairs[pairs_first as usize..].iter().skip(lane).step_by(lanes as usize);
            // Bit 16 of the loop's number is set: two lines.
            for (step, is_doubling) in [(0, true), (1, true), (2, false), (3, true)] {
                if is_doubling && squares {
                    expected = expected * expected;
                }
                for (key, point) in mine().filter(|(_, point)| *point != 3) {
                    let at = 6 * (first_line as usize + step);
                    let line = &lines[*key as usize][at..at + 6];
                    let [x, y, z] = points[*point as usize][..] else {
                        unreachable!("three coordinates")
                    };
                    let [line, x, y, z] = [line.to_vec(), vec![x], vec![y], vec![z]]
                        .map(|elements| elements.into_iter().map(number).collect::<Vec<_>>());
                    let (minus_2x, twice_y) = (Number::ZERO - x[0].double(), y[0].double());
                    // (l0 Z) + (l1 (-2X)) v + (l2 2Y) v w.
                    let by = [z[0], z[0], minus_2x, minus_2x, twice_y, twice_y];
                    let at_point: Vec<_> = line
                        .iter()
                        .zip(by)
                        .map(|(part, by)| blst::blst_fp { l: (*part * by).0 })
                        .collect();
                    let mut sparse = blst_fp12::default();
                    sparse.fp6[0].fp2[0].fp = [at_point[0], at_point[1]];
                    sparse.fp6[0].fp2[1].fp = [at_point[2], at_point[3]];
                    sparse.fp6[1].fp2[1].fp = [at_point[4], at_point[5]];
                    expected *= sparse;
                }
            }
            assert_eq!(fp12(found), expected, "lane {lane}, squares: {squares}");
        }
    }
    Ok(())
}

/// Elements i and half + i are multiplied in place; those without a partner stay.
#[test]
pub(super) fn products_are_those_of_blst() -> Result<(), Error> {
    let device = test_device();
    let (len, half) = (7, 4);
    let factors: Vec<Vec<Fp>> = (0..len)
        .map(|i| (0..FP12_LEN as u32).map(|at| element(77 * i + at)).collect())
        .collect();
    let state = upload(device, &factors);
    let words: Vec<u32> = product().ops.iter().map(|op| op.word()).collect();
    let mut commands = device.commands();
    commands.run(&Dispatch {
        kernel: &PRODUCT,
        buffers: &[&device.upload("a product", &words), &state],
        params: &[len, half, words.len() as u32],
        items: (len - half) as usize,
        work: 1,
    });
    let download = commands.download(&state, 0, state.len());
    let found = elements_of(&commands.submit().wait()?.take(download), len as usize);
    for i in 0..len as usize {
        let (one, partner) = (
            fp12(&factors[i]),
            factors.get(i + half as usize).filter(|_| i < half as usize),
        );
        let expected = partner.map_or(one, |other| one * fp12(other));
        assert_eq!(fp12(&found[i]), expected, "element {i}");
    }
    Ok(())
}
