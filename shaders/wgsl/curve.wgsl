// Points of y^2 = x^3 + a x + b with a in {0, 1}, homogeneous: x = X/Z, y = Y/Z, infinity is (0 : 1 : 0).
//
// SPEC: complete addition of Renes, Costello and Batina (2016), algorithm 1, for curves without points of order two: one
// formula for sums, doublings, opposites and infinity. Twelve products and two by 3b, whose two layers of six each pass
// through one multiplication in a loop: operands move up a queue, products enter it at its end.

struct Point { x: Fp, y: Fp, z: Fp }

struct Curve {
  // 3b.
  b3: Fp,
  // Whether a is one; else it is zero.
  has_a: bool,
  // Six, unknown to the compiler, so that it does not unroll.
  six: u32,
}

// One, in Montgomery form.
fn one() -> Fp {
  return Fp(
    0x00d1ff2eu, 0x19d80000u, 0x34800ac4u, 0x2e00cde6u, 0x02431c84u, 0x269f83a2u, 0x3dcf80ddu, 0x09b42da0u,
    0x25eec26cu, 0x15d98f12u, 0x04b29f14u, 0x259fcfa0u, 0x00015de9u
  );
}

fn infinity() -> Point {
  return Point(Fp(), one(), Fp());
}

fn point_add(p: Point, q: Point, curve: Curve) -> Point {
  var a0 = p.x; var a1 = p.y; var a2 = p.z;
  var a3 = fp_add(p.x, p.y); var a4 = fp_add(p.x, p.z); var a5 = fp_add(p.y, p.z);
  var b0 = q.x; var b1 = q.y; var b2 = q.z;
  var b3 = fp_add(q.x, q.y); var b4 = fp_add(q.x, q.z); var b5 = fp_add(q.y, q.z);
  for (var k = 0u; k < curve.six; k++) {
    let product = fp_mul(a0, b0);
    a0 = a1; a1 = a2; a2 = a3; a3 = a4; a4 = a5; a5 = product;
    b0 = b1; b1 = b2; b2 = b3; b3 = b4; b4 = b5;
  }
  // a0 = X X', a1 = Y Y', a2 = Z Z'.
  let xy = fp_sub(fp_sub(a3, a0), a1);
  let xz = fp_sub(fp_sub(a4, a0), a2);
  let yz = fp_sub(fp_sub(a5, a1), a2);
  b0 = a2;
  b1 = xz;
  for (var k = 0u; k < curve.six; k += 3u) {
    let product = fp_mul(b0, curve.b3);
    b0 = b1;
    b1 = product;
  }
  var low = b0;
  var slope = fp_add(fp_add(a0, a0), a0);
  var cross = b1;
  if curve.has_a {
    low = fp_add(low, xz);
    slope = fp_add(slope, a2);
    cross = fp_add(cross, fp_sub(a0, a2));
  }
  let minus = fp_sub(a1, low);
  let plus = fp_add(a1, low);
  a0 = xy; a1 = yz; a2 = minus; a3 = slope; a4 = yz; a5 = xy;
  b0 = minus; b1 = cross; b2 = plus; b3 = cross; b4 = plus; b5 = slope;
  for (var k = 0u; k < curve.six; k++) {
    let product = fp_mul(a0, b0);
    a0 = a1; a1 = a2; a2 = a3; a3 = a4; a4 = a5; a5 = product;
    b0 = b1; b1 = b2; b2 = b3; b3 = b4; b4 = b5;
  }
  return Point(fp_sub(a0, a1), fp_add(a2, a3), fp_add(a4, a5));
}
