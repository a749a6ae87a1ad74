//! The steps of a Miller loop over E2: the multiple of the key, and the line through it (Costello, Lange and Naehrig,
//! eprint 2010/354, in Jacobian coordinates), as formulas.
//!
//! A line is three elements of Fp2; at a point (x, y) of E1 it is `l0 + l1 (-2x) v + l2 (2y) v w`. Up to factors that
//! the final exponentiation takes away; blst's lines are the same.

use super::formula::{Formula, Program, Value};
use super::tower::{Fp2, add2, mul2, sqr2, sub2};

/// Registers of a step: the multiple (x, y, z), the key (x, y), the line.
const MULTIPLE: u16 = 0;
const KEY: u16 = 6;
const LINE: u16 = 10;
const INPUTS: u16 = 10;

fn pairs(values: &[Value]) -> Vec<Fp2> {
    values.as_chunks::<2>().0.to_vec()
}

fn twice(f: &mut Formula, x: Fp2) -> Fp2 {
    add2(f, x, x)
}

/// The key stays where it is.
fn finish(f: &Formula, inputs: &[Value], multiple: [Fp2; 3], line: [Fp2; 3]) -> Program {
    let key = usize::from(KEY)..usize::from(LINE);
    let outputs: Vec<(Value, u16)> = (multiple.as_flattened().iter().copied().zip(MULTIPLE..))
        .chain(inputs[key].iter().copied().zip(KEY..))
        .chain(line.as_flattened().iter().copied().zip(LINE..))
        .collect();
    f.compile(&outputs)
}

/// The multiple is doubled; the line is the tangent.
pub(super) fn doubling() -> Program {
    let (mut formula, inputs) = Formula::new(INPUTS);
    let f = &mut formula;
    let [x, y, z, ..] = pairs(&inputs)[..] else {
        unreachable!("five pairs of inputs")
    };
    let (a, b, zz) = (sqr2(f, x), sqr2(f, y), sqr2(f, z));
    let c = sqr2(f, b);
    let d = add2(f, x, b);
    let d = sqr2(f, d);
    let d = sub2(f, d, a);
    let d = sub2(f, d, c);
    let d = twice(f, d);
    let e = twice(f, a);
    let e = add2(f, e, a);
    let ee = sqr2(f, e);
    let x3 = sub2(f, ee, d);
    let x3 = sub2(f, x3, d);
    let z3 = add2(f, y, z);
    let z3 = sqr2(f, z3);
    let z3 = sub2(f, z3, b);
    let z3 = sub2(f, z3, zz);
    let c8 = twice(f, c);
    let c8 = twice(f, c8);
    let c8 = twice(f, c8);
    let y3 = sub2(f, d, x3);
    let y3 = mul2(f, y3, e);
    let y3 = sub2(f, y3, c8);
    let l0 = add2(f, e, x);
    let l0 = sqr2(f, l0);
    let l0 = sub2(f, l0, a);
    let l0 = sub2(f, l0, ee);
    let b4 = twice(f, b);
    let b4 = twice(f, b4);
    let l0 = sub2(f, l0, b4);
    let (l1, l2) = (mul2(f, e, zz), mul2(f, z3, zz));
    finish(&formula, &inputs, [x3, y3, z3], [l0, l1, l2])
}

/// The key is added to the multiple; the line goes through both.
pub(super) fn addition() -> Program {
    let (mut formula, inputs) = Formula::new(INPUTS);
    let f = &mut formula;
    let [x, y, z, qx, qy] = pairs(&inputs)[..] else {
        unreachable!("five pairs of inputs")
    };
    let zz = sqr2(f, z);
    let u = mul2(f, qx, zz);
    let s = mul2(f, qy, z);
    let s = mul2(f, s, zz);
    let h = sub2(f, u, x);
    let hh = sqr2(f, h);
    let i = twice(f, hh);
    let i = twice(f, i);
    let j = mul2(f, h, i);
    let r = sub2(f, s, y);
    let r = twice(f, r);
    let v = mul2(f, x, i);
    let x3 = sqr2(f, r);
    let x3 = sub2(f, x3, j);
    let x3 = sub2(f, x3, v);
    let x3 = sub2(f, x3, v);
    let yj = mul2(f, j, y);
    let y3 = sub2(f, v, x3);
    let y3 = mul2(f, y3, r);
    let y3 = sub2(f, y3, yj);
    let y3 = sub2(f, y3, yj);
    let z3 = add2(f, z, h);
    let z3 = sqr2(f, z3);
    let z3 = sub2(f, z3, zz);
    let z3 = sub2(f, z3, hh);
    let rx = mul2(f, r, qx);
    let yz = mul2(f, qy, z3);
    let l0 = sub2(f, rx, yz);
    let l0 = twice(f, l0);
    finish(&formula, &inputs, [x3, y3, z3], [l0, r, z3])
}
