// The field of p elements, in Montgomery form with R = 2^390.
//
// Elements are below 2p, and so are all results. A product is below 2p for factors whose product is below 629 p^2:
// (a b + m p) / R with m < R and R / p > 629.

// a b / R
fn fp_mul(a: Fp, b: Fp) -> Fp {
    var c: u64;
    var m: u64;
//% for j in 0..13
    var t{j} = 0lu;
//% end
// BOUND: a row adds less than 2 * 2^60 to an accumulator and 2^35 by carries; seven rows fit 64 bits.
//% for i in 0..7
//% for j in 0..13
    t{j} += u64(a.v{j}) * u64(b.v{i});
//% end
    m = u64((u32(t0) * NEGATIVE_INVERSE) & MASK);
    c = (t0 + m * u64(P0)) >> LIMB;
    t0 = t1 + m * u64(P1) + c;
//% for j in 2..13
    t{j-1} = t{j} + m * u64(P{j});
//% end
    t12 = 0lu;
//% end
    c = 0lu;
//% for j in 0..12
    t{j} += c;
    c = t{j} >> LIMB;
    t{j} &= u64(MASK);
//% end
    t12 += c;
//% for i in 7..13
//% for j in 0..13
    t{j} += u64(a.v{j}) * u64(b.v{i});
//% end
    m = u64((u32(t0) * NEGATIVE_INVERSE) & MASK);
    c = (t0 + m * u64(P0)) >> LIMB;
    t0 = t1 + m * u64(P1) + c;
//% for j in 2..13
    t{j-1} = t{j} + m * u64(P{j});
//% end
    t12 = 0lu;
//% end
    var r: Fp;
    c = 0lu;
//% for j in 0..12
    t{j} += c;
    c = t{j} >> LIMB;
    r.v{j} = u32(t{j}) & MASK;
//% end
    r.v12 = u32(t12 + c);
    return r;
}

// a a / R
fn fp_sqr(a: Fp) -> Fp {
    var c: u64;
    var m: u64;
//% for j in 0..13
    let d{j} = u64(a.v{j} << 1u);
    let s{j} = u64(a.v{j});
//% end
//% for j in 0..26
    var t{j} = 0lu;
//% end
// BOUND: column j has min(j + 1, 25 - j) products below 2^60.
//% for i in 0..13
    t{i+i} += s{i} * s{i};
//% for j in i+1..13
    t{i+j} += d{i} * s{j};
//% end
//% end
// BOUND: a column gets as many terms m p below 2^60 as it has products. That fits below column 8 and from 18 on;
// between them the products carry first.
    c = 0lu;
//% for j in 8..18
    t{j} += c;
    c = t{j} >> LIMB;
    t{j} &= u64(MASK);
//% end
    t18 += c;
// Row i makes column i a multiple of 2^30 and carries it on.
//% for i in 0..13
    m = u64((u32(t{i}) * NEGATIVE_INVERSE) & MASK);
    t{i+1} += (t{i} + m * u64(P0)) >> LIMB;
//% for j in 1..13
    t{i+j} += m * u64(P{j});
//% end
//% end
    var r: Fp;
    c = 0lu;
//% for j in 0..12
    t{j+13} += c;
    c = t{j+13} >> LIMB;
    r.v{j} = u32(t{j+13}) & MASK;
//% end
    r.v12 = u32(t25 + c);
    return r;
}

// a + b
fn fp_add(a: Fp, b: Fp) -> Fp {
    return fp_lift(a, b, true);
}

// a - b
fn fp_sub(a: Fp, b: Fp) -> Fp {
    return fp_lift(a, b, false);
}

// a + b - 2p or a - b, and 2p more where that is negative.
fn fp_lift(a: Fp, b: Fp, plus: bool) -> Fp {
    var d: Fp;
    // The carry is -1, 0 or 1: what a limb adds lies between -2^30 and 2^31 - 2.
    var c = 0i;
    var x: i32;
//% for j in 0..13
    x = i32(a.v{j}) + select(-i32(b.v{j}), i32(b.v{j}) - i32(D{j}), plus) + c;
    d.v{j} = u32(x) & MASK;
    c = x >> LIMB;
//% end
    let more = u32(c);
    var carry = 0u;
    var y: u32;
//% for j in 0..13
    y = d.v{j} + (D{j} & more) + carry;
    d.v{j} = y & MASK;
    carry = y >> LIMB;
//% end
    return d;
}

// Whether a is zero in the field.
fn fp_is_zero(a: Fp) -> bool {
    return limbs_are_zero(fp_reduce(a));
}
