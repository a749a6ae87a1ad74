// Numbers of 13 limbs of 30 bits, little-endian, and what carries between limbs.

// BOUND: limbs are below 2^30 between functions; so is the top one, whose number is below 2^390.
struct Fp {
//% for j in 0..13
    v{j}: u32,
//% end
}

const LIMB: u32 = 30u;
const MASK: u32 = 0x3fffffffu;

// The modulus p of BLS12-381, 2p, and -1/p mod 2^30.
const P0: u32 = 0x3fffaaabu; const P1: u32 = 0x27fbffffu; const P2: u32 = 0x153ffffbu; const P3: u32 = 0x2affffacu;
const P4: u32 = 0x30f6241eu; const P5: u32 = 0x034a83dau; const P6: u32 = 0x112bf673u; const P7: u32 = 0x12e13ce1u;
const P8: u32 = 0x2cd76477u; const P9: u32 = 0x1ed90d2eu; const P10: u32 = 0x29a4b1bau; const P11: u32 = 0x3a8e5ff9u;
const P12: u32 = 0x001a0111u;
const D0: u32 = 0x3fff5556u; const D1: u32 = 0x0ff7ffffu; const D2: u32 = 0x2a7ffff7u; const D3: u32 = 0x15ffff58u;
const D4: u32 = 0x21ec483du; const D5: u32 = 0x069507b5u; const D6: u32 = 0x2257ece6u; const D7: u32 = 0x25c279c2u;
const D8: u32 = 0x19aec8eeu; const D9: u32 = 0x3db21a5du; const D10: u32 = 0x13496374u; const D11: u32 = 0x351cbff3u;
const D12: u32 = 0x00340223u;
const NEGATIVE_INVERSE: u32 = 0x3ffcfffdu;

// flag ? a : b
fn fp_select(a: Fp, b: Fp, flag: bool) -> Fp {
    var r: Fp;
//% for j in 0..13
    r.v{j} = select(b.v{j}, a.v{j}, flag);
//% end
    return r;
}

// Whether every limb is zero.
fn limbs_are_zero(a: Fp) -> bool {
    var any = 0u;
//% for j in 0..13
    any |= a.v{j};
//% end
    return any == 0u;
}

// a for a < p, a - p for p <= a < 2p.
fn fp_reduce(a: Fp) -> Fp {
    var r: Fp;
    // The carry is 0 or -1.
    var c = 0i;
    var x: i32;
//% for j in 0..13
    x = i32(a.v{j}) - i32(P{j}) + c;
    r.v{j} = u32(x) & MASK;
    c = x >> LIMB;
//% end
    return fp_select(a, r, c < 0i);
}
