//! The tower Fp2 = Fp\[u\]/(u^2 + 1), Fp6 = Fp2\[v\]/(v^3 - (1 + u)), Fp12 = Fp6\[w\]/(w^2 - v), as formulas over Fp,
//! in blst's order of coefficients.

use super::formula::{Formula, Value};

/// `x[0] + x[1] u`.
pub(crate) type Fp2 = [Value; 2];
/// `x[0] + x[1] v + x[2] v^2`.
pub(crate) type Fp6 = [Fp2; 3];
/// `x[0] + x[1] w`.
pub(crate) type Fp12 = [Fp6; 2];

/// Coefficients of an element of Fp12 over Fp.
pub(crate) const FP12_LEN: usize = 12;

/// Twelve values in blst's order.
pub(crate) fn fp12(values: &[Value]) -> Fp12 {
    let fp2 = |at: usize| [values[2 * at], values[2 * at + 1]];
    [[fp2(0), fp2(1), fp2(2)], [fp2(3), fp2(4), fp2(5)]]
}

/// The twelve values of an element with the registers from `first` on.
pub(crate) fn fp12_at(x: Fp12, first: u16) -> Vec<(Value, u16)> {
    x.as_flattened().as_flattened().iter().copied().zip(first..).collect()
}

pub(super) fn add2(f: &mut Formula, x: Fp2, y: Fp2) -> Fp2 {
    [f.add(x[0], y[0]), f.add(x[1], y[1])]
}

pub(super) fn sub2(f: &mut Formula, x: Fp2, y: Fp2) -> Fp2 {
    [f.sub(x[0], y[0]), f.sub(x[1], y[1])]
}

/// Karatsuba: three multiplications.
pub(super) fn mul2(f: &mut Formula, x: Fp2, y: Fp2) -> Fp2 {
    let (low, high) = (f.mul(x[0], y[0]), f.mul(x[1], y[1]));
    let (x_sum, y_sum) = (f.add(x[0], x[1]), f.add(y[0], y[1]));
    let cross = f.mul(x_sum, y_sum);
    let real = f.sub(low, high);
    let cross = f.sub(cross, low);
    [real, f.sub(cross, high)]
}

/// `x^2`: two multiplications.
pub(super) fn sqr2(f: &mut Formula, x: Fp2) -> Fp2 {
    let (sum, difference) = (f.add(x[0], x[1]), f.sub(x[0], x[1]));
    let cross = f.mul(x[0], x[1]);
    [f.mul(sum, difference), f.add(cross, cross)]
}

/// `x (1 + u)`.
fn mul2_by_nonresidue(f: &mut Formula, x: Fp2) -> Fp2 {
    [f.sub(x[0], x[1]), f.add(x[0], x[1])]
}

fn add6(f: &mut Formula, x: Fp6, y: Fp6) -> Fp6 {
    [0, 1, 2].map(|i| add2(f, x[i], y[i]))
}

fn sub6(f: &mut Formula, x: Fp6, y: Fp6) -> Fp6 {
    [0, 1, 2].map(|i| sub2(f, x[i], y[i]))
}

/// `x v`.
fn mul6_by_v(f: &mut Formula, x: Fp6) -> Fp6 {
    [mul2_by_nonresidue(f, x[2]), x[0], x[1]]
}

/// `(x_i + x_j)(y_i + y_j) - x_i y_i - x_j y_j`, the two products given.
fn cross2(f: &mut Formula, x: [Fp2; 2], y: [Fp2; 2], products: [Fp2; 2]) -> Fp2 {
    let (x_sum, y_sum) = (add2(f, x[0], x[1]), add2(f, y[0], y[1]));
    let product = mul2(f, x_sum, y_sum);
    let rest = sub2(f, product, products[0]);
    sub2(f, rest, products[1])
}

/// Karatsuba: six multiplications in Fp2.
fn mul6(f: &mut Formula, x: Fp6, y: Fp6) -> Fp6 {
    let p = [0, 1, 2].map(|i| mul2(f, x[i], y[i]));
    let c12 = cross2(f, [x[1], x[2]], [y[1], y[2]], [p[1], p[2]]);
    let c12 = mul2_by_nonresidue(f, c12);
    let c0 = add2(f, p[0], c12);
    let c01 = cross2(f, [x[0], x[1]], [y[0], y[1]], [p[0], p[1]]);
    let p2 = mul2_by_nonresidue(f, p[2]);
    let c1 = add2(f, c01, p2);
    let c02 = cross2(f, [x[0], x[2]], [y[0], y[2]], [p[0], p[2]]);
    [c0, c1, add2(f, c02, p[1])]
}

/// `x (y[0] + y[1] v)`: five multiplications in Fp2.
fn mul6_by_xy0(f: &mut Formula, x: Fp6, y: [Fp2; 2]) -> Fp6 {
    let (p0, p1) = (mul2(f, x[0], y[0]), mul2(f, x[1], y[1]));
    let high = mul2(f, x[2], y[1]);
    let high = mul2_by_nonresidue(f, high);
    let c0 = add2(f, p0, high);
    let c1 = cross2(f, [x[0], x[1]], y, [p0, p1]);
    let c2 = mul2(f, x[2], y[0]);
    [c0, c1, add2(f, c2, p1)]
}

/// `x (y v)`: three multiplications in Fp2.
fn mul6_by_0y0(f: &mut Formula, x: Fp6, y: Fp2) -> Fp6 {
    let p = x.map(|part| mul2(f, part, y));
    [mul2_by_nonresidue(f, p[2]), p[0], p[1]]
}

/// `x y`: 54 multiplications.
pub(crate) fn mul12(f: &mut Formula, x: Fp12, y: Fp12) -> Fp12 {
    let (low, high) = (mul6(f, x[0], y[0]), mul6(f, x[1], y[1]));
    let (x_sum, y_sum) = (add6(f, x[0], x[1]), add6(f, y[0], y[1]));
    let cross = mul6(f, x_sum, y_sum);
    let cross = sub6(f, cross, low);
    let cross = sub6(f, cross, high);
    let high = mul6_by_v(f, high);
    [add6(f, low, high), cross]
}

/// `x^2`: 36 multiplications.
pub(crate) fn sqr12(f: &mut Formula, x: Fp12) -> Fp12 {
    let product = mul6(f, x[0], x[1]);
    let sum = add6(f, x[0], x[1]);
    let twisted = mul6_by_v(f, x[1]);
    let twisted = add6(f, x[0], twisted);
    let whole = mul6(f, sum, twisted);
    let rest = sub6(f, whole, product);
    let product_v = mul6_by_v(f, product);
    [sub6(f, rest, product_v), add6(f, product, product)]
}

/// `x ((y[0] + y[1] v) + y[2] v w)`, the shape of a line: 39 multiplications.
pub(crate) fn mul12_by_line(f: &mut Formula, x: Fp12, y: [Fp2; 3]) -> Fp12 {
    let low = mul6_by_xy0(f, x[0], [y[0], y[1]]);
    let high = mul6_by_0y0(f, x[1], y[2]);
    let sum = add6(f, x[0], x[1]);
    let y_sum = add2(f, y[1], y[2]);
    let cross = mul6_by_xy0(f, sum, [y[0], y_sum]);
    let cross = sub6(f, cross, low);
    let cross = sub6(f, cross, high);
    let high = mul6_by_v(f, high);
    [add6(f, low, high), cross]
}

/// A line at a homogeneous point of E1, times its Z, from `[-2X, 2Y, Z]`: six multiplications.
pub(crate) fn line_at(f: &mut Formula, line: [Fp2; 3], point: [Value; 3]) -> [Fp2; 3] {
    let [minus_2x, twice_y, z] = point;
    [(line[0], z), (line[1], minus_2x), (line[2], twice_y)].map(|(part, by)| [f.mul(part[0], by), f.mul(part[1], by)])
}
