//! Square roots of a batch: signatures decompressed, messages mapped to E1' by the simplified SWU map.
//!
//! # Guarantees
//! * [`Class`] of a signature is what blst's `blst_p1_uncompress` says of the same 48 bytes, for all of them; where it
//!   is [`Class::Point`] the point is blst's, else the point on the device is infinity.
//! * Each element u of `hash_to_field` (RFC 9380 5.2: 64 uniform bytes modulo p) becomes its point of
//!   `map_to_curve_simple_swu` (6.6.2) on E1' (8.8.1), before the isogeny.
//!
//! Both want the same power of the field, one for a signature and two for a message: they stand side by side and one
//! dispatch raises them all.
//!
//! # Layout
//! Points come out as slots X, Y, Z of homogeneous coordinates (`x = X / Z`, infinity has Z = 0): those of n signatures
//! as slots of n; those of n messages as slots of 2n, message i's at `i` and `n + i`, to be added.

use super::exponent::Exponent;
use super::field::{Fp, LIMBS, LIMBS_LAYER};
use super::program::{At, Flag, Loaded, Port, Program, Reg, Run, Slots};
use super::{Buffer, Commands, Device, Dispatch, Kernel, Layer};

static LAYER: Layer = Layer {
    name: "unpack",
    text: include_str!("../../wgsl/unpack.wgsl"),
    needs: &[&LIMBS_LAYER],
};
/// Takes encodings apart.
pub static UNPACK: Kernel = Kernel {
    name: "unpack",
    layer: &LAYER,
    group: 64,
};

/// Words of a compressed point.
pub const SIGNATURE_LEN: usize = 12;
/// Words of a message's two elements of uniform bytes.
pub const UNIFORM_LEN: usize = 32;
/// Words of a point.
pub const POINT_LEN: usize = 3 * LIMBS;
/// Slots of the working buffer, of three elements an item.
const SLOTS: usize = 6;
const MAPS: usize = 3;

const BAD_ENCODING: Flag = Flag(0);
const INFINITY: Flag = Flag(1);
const LARGER: Flag = Flag(2);
const ON_CURVE: Flag = Flag(3);
const ZERO_X: Flag = Flag(4);
const SCRATCH: [Flag; 3] = [Flag(5), Flag(6), Flag(7)];

/// What 48 bytes are as a compressed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A point of E1, in its subgroup or not.
    Point,
    /// The canonical encoding of infinity.
    Infinity,
    /// Flags or a coordinate that no point has.
    BadEncoding,
    /// No point has this coordinate.
    NotOnCurve,
    /// A point with x = 0, which is outside the subgroup and which blst refuses first.
    NotInGroup,
}

/// The bits of a word of flags that decide its class, and what they are for [`Class::Point`].
pub(super) const POINT_FLAGS: (u32, u32) = {
    let decisive = 1 << BAD_ENCODING.0 | 1 << INFINITY.0 | 1 << ON_CURVE.0 | 1 << ZERO_X.0;
    (decisive, 1 << ON_CURVE.0)
};

impl Class {
    /// The class that a word of flags stands for.
    pub fn from_flags(flags: u32) -> Self {
        let has = |flag: Flag| flags >> flag.0 & 1 == 1;
        match () {
            () if has(BAD_ENCODING) => Self::BadEncoding,
            () if has(INFINITY) => Self::Infinity,
            () if !has(ON_CURVE) => Self::NotOnCurve,
            () if has(ZERO_X) => Self::NotInGroup,
            () => Self::Point,
        }
    }
}

/// The number of a hexadecimal constant.
fn hex_number(text: &str) -> Fp {
    let digit = |c: char| Fp::small(c.to_digit(16).unwrap_or(0));
    text.chars().fold(Fp::default(), |sum, c| sum.doubled(4).plus(digit(c)))
}

/// Constants of the programs, in Montgomery form.
struct Constants {
    one: Fp,
    /// R^2, which brings a number to Montgomery form, and what does that with a number of 2^384.
    convert: Fp,
    convert_high: Fp,
    four: Fp,
    a: Fp,
    b: Fp,
    z: Fp,
    /// A square root of -Z.
    root: Fp,
}

impl Constants {
    fn new() -> Self {
        let one = Fp::small(1).to_montgomery();
        Self {
            one,
            convert: one.to_montgomery(),
            convert_high: one.to_montgomery().doubled(384),
            four: one.doubled(2),
            a: hex_number(
                "144698a3b8e9433d693a02c96d4982b0ea985383ee66a8d8e8981aefd881ac98936f8da0e0f97f5cf428082d584c1d",
            )
            .to_montgomery(),
            b: hex_number(
                "12e2908d11688030018b12e8753eee3b2016c1f0f24f4070a0b9c14fcef35ef55a23215a316ceaa5d1cc48e98e172be0",
            )
            .to_montgomery(),
            z: Fp::small(11).to_montgomery(),
            root: hex_number(ROOT_OF_MINUS_Z).to_montgomery(),
        }
    }
}

/// A square root of -11.
const ROOT_OF_MINUS_Z: &str =
    "04610e003bd3ac94dfa9246c390d7a78942602029175a4ca366d601f33f3946e3ed39794735c38315d874bc1d70637c3";

// Slots of a signature's element: x, g = x^3 + 4 and its power. Slots of a message's elements: what was unpacked, then
// u and, by the names of RFC 9380 F.2, tv3 and tv4 of the map, u v and u v^3 of the root and the latter's power.
const X: u16 = 0;
const U: u16 = 0;
const TV3: u16 = 1;
const TV4: u16 = 2;
const UV: u16 = 3;
const BASE: u16 = 4;
const POWER: u16 = 5;

/// x to g.
fn before_signature(k: &Constants) -> Program {
    let [x, g, convert, four] = [0, 1, 2, 3].map(Reg);
    let mut p = Program::new();
    p.load(x, Port::C, X, At::Item)
        .constant(convert, k.convert)
        .constant(four, k.four);
    p.mul(x, x, convert).sqr(g, x).mul(g, g, x).add(g, g, four);
    p.store(x, X, At::Item).store(g, BASE, At::Item);
    p
}

/// The power of g to the point.
fn after_signature(k: &Constants) -> Program {
    let [x, y, g, zero, raw_one, one, t] = [0, 1, 2, 3, 4, 5, 6].map(Reg);
    let [larger, point, _] = SCRATCH;
    let mut p = Program::new();
    p.load(x, Port::A, X, At::Item)
        .load(g, Port::A, BASE, At::Item)
        .load(y, Port::A, POWER, At::Item);
    p.constant(zero, Fp::default())
        .constant(raw_one, Fp::small(1))
        .constant(one, k.one);
    p.mul(y, y, g)
        .sqr(t, y)
        .sub(t, t, g)
        .is_zero(ON_CURVE, t)
        .is_zero(ZERO_X, x);
    // Of y and p - y the larger is the one whose double, brought below p, is odd.
    p.add(t, y, y).mul(t, t, raw_one).is_odd(larger, t);
    p.logic(larger, larger, LARGER, |is, wanted| is != wanted);
    p.sub(t, zero, y).select(y, larger, t, y);
    p.logic(point, BAD_ENCODING, INFINITY, |bad, infinite| !bad && !infinite);
    p.logic(point, point, ON_CURVE, |well, on| well && on);
    p.logic(point, point, ZERO_X, |well, zero| well && !zero);
    p.select(x, point, x, zero)
        .select(y, point, y, one)
        .select(t, point, one, zero);
    p.store(x, 0, At::Item).store(y, 1, At::Item).store(t, 2, At::Item);
    p
}

/// Uniform bytes to u v^3: steps 1 to 18 of RFC 9380 F.2 and what F.2.1.2 needs of the fraction u / v.
fn before_message(k: &Constants) -> Program {
    let [
        u,
        high,
        tv1,
        tv2,
        tv3,
        tv4,
        tv5,
        tv6,
        a,
        b,
        z,
        one,
        zero,
        convert,
        convert_high,
    ] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14].map(Reg);
    let [nonzero, ..] = SCRATCH;
    let mut p = Program::new();
    p.load(u, Port::C, 0, At::Item).load(high, Port::C, 1, At::Item);
    p.constant(a, k.a)
        .constant(b, k.b)
        .constant(z, k.z)
        .constant(one, k.one)
        .constant(zero, Fp::default());
    p.constant(convert, k.convert).constant(convert_high, k.convert_high);
    p.mul(u, u, convert).mul(high, high, convert_high).add(u, u, high);
    p.sqr(tv1, u).mul(tv1, z, tv1).sqr(tv2, tv1).add(tv2, tv2, tv1);
    p.add(tv3, tv2, one).mul(tv3, b, tv3);
    p.is_zero(nonzero, tv2)
        .sub(tv4, zero, tv2)
        .select(tv4, nonzero, z, tv4)
        .mul(tv4, a, tv4);
    p.sqr(tv2, tv3)
        .sqr(tv6, tv4)
        .mul(tv5, a, tv6)
        .add(tv2, tv2, tv5)
        .mul(tv2, tv2, tv3);
    p.mul(tv6, tv6, tv4).mul(tv5, b, tv6).add(tv2, tv2, tv5);
    p.mul(tv2, tv2, tv6).sqr(tv6, tv6).mul(tv6, tv2, tv6);
    p.store(u, U, At::Item)
        .store(tv3, TV3, At::Item)
        .store(tv4, TV4, At::Item);
    p.store(tv2, UV, At::Item).store(tv6, BASE, At::Item);
    p
}

/// The power of u v^3 to the point: the rest of F.2.1.2 and of F.2, without the division.
fn after_message(k: &Constants, scale: (Fp, Fp)) -> Program {
    let [
        u,
        tv1,
        tv3,
        tv4,
        y1,
        base,
        power,
        y2,
        t,
        z,
        root,
        raw_one,
        one,
        zero,
        scale_x,
        scale_y,
    ] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map(Reg);
    let [square, odd_u, odd_y] = SCRATCH;
    let mut p = Program::new();
    for (register, slot) in [(u, U), (tv3, TV3), (tv4, TV4), (y1, UV), (base, BASE), (power, POWER)] {
        p.load(register, Port::A, slot, At::Item);
    }
    p.constant(z, k.z)
        .constant(root, k.root)
        .constant(raw_one, Fp::small(1))
        .constant(one, k.one);
    p.constant(zero, Fp::default())
        .constant(scale_x, scale.0)
        .constant(scale_y, scale.1);
    // The fraction is a square where (u v^3)^((p - 1) / 2) = 1.
    p.sqr(t, power).mul(t, t, base).sub(t, t, one).is_zero(square, t);
    p.mul(y1, y1, power).mul(y2, y1, root);
    p.sqr(tv1, u)
        .mul(tv1, z, tv1)
        .mul(y2, y2, u)
        .mul(y2, y2, tv1)
        .mul(t, tv1, tv3);
    p.select(tv3, square, tv3, t).select(y1, square, y1, y2);
    p.mul(t, u, raw_one)
        .is_odd(odd_u, t)
        .mul(t, y1, raw_one)
        .is_odd(odd_y, t);
    p.logic(odd_y, odd_u, odd_y, |u, y| u == y);
    p.sub(t, zero, y1).select(y1, odd_y, y1, t).mul(y1, y1, tv4);
    p.mul(tv3, tv3, scale_x).mul(y1, y1, scale_y);
    p.store(tv3, 0, At::Item).store(y1, 1, At::Item).store(tv4, 2, At::Item);
    p
}

/// The programs of this room on a device.
#[derive(Debug)]
pub struct Roots {
    exponent: Exponent,
    before_signature: Loaded,
    after_signature: Loaded,
    before_message: Loaded,
    after_message: Loaded,
}

/// A batch's buffers.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Signatures.
    pub n: usize,
    /// The signatures, [`SIGNATURE_LEN`] words each as their bytes lie.
    pub signatures: &'a Buffer,
    /// The uniform bytes of the messages: [`UNIFORM_LEN`] words, word w of message i at `w * n + i`, highest first.
    pub uniform: &'a Buffer,
    /// [`Roots::working_len`] words.
    pub working: &'a Buffer,
    /// Becomes the signatures' points, [`POINT_LEN`] words each.
    pub points: &'a Buffer,
    /// Becomes a word for each signature, which [`Class::from_flags`] reads.
    pub flags: &'a Buffer,
    /// Becomes the messages' points, twice [`POINT_LEN`] words each.
    pub mapped: &'a Buffer,
}

impl Roots {
    /// Uploads the programs. `scale` (in Montgomery form) multiplies x and y of the messages' points.
    pub fn new(device: &Device, scale: (Fp, Fp)) -> Self {
        let constants = Constants::new();
        Self {
            exponent: Exponent::new(device),
            before_signature: before_signature(&constants).upload(device),
            after_signature: after_signature(&constants).upload(device),
            before_message: before_message(&constants).upload(device),
            after_message: after_message(&constants, scale).upload(device),
        }
    }

    /// E1' as RFC 9380 has it.
    pub fn unscaled() -> (Fp, Fp) {
        let one = Fp::small(1).to_montgomery();
        (one, one)
    }

    /// Words that a batch of `n` works in.
    pub fn working_len(n: usize) -> usize {
        n * MAPS * SLOTS * LIMBS
    }

    /// Appends a batch to `commands`.
    pub fn run(&self, commands: &mut Commands<'_>, batch: &Batch<'_>) {
        let n = batch.n;
        for (bytes, kind, at, items) in [(batch.signatures, 0, 0, n), (batch.uniform, 1, n, 2 * n)] {
            commands.run(&Dispatch {
                kernel: &UNPACK,
                buffers: &[bytes, batch.working, batch.flags],
                params: &[(MAPS * n) as u32, at as u32, kind, n as u32],
                items,
                work: 2,
            });
        }
        let working = |at| {
            Some(Slots {
                buffer: batch.working,
                n: MAPS * n,
                at,
            })
        };
        let out = |buffer, n| Some(Slots { buffer, n, at: 0 });
        let before = |items, at| Run {
            items,
            c: working(at),
            ..Run::default()
        };
        let after = |items, at, c| Run {
            items,
            a: working(at),
            c,
            ..Run::default()
        };
        self.before_signature.run(commands, &before(n, 0));
        self.before_message.run(commands, &before(2 * n, n));
        self.exponent
            .run(commands, batch.working, MAPS * n, usize::from(BASE), usize::from(POWER));
        let flags = Some((batch.flags, 0));
        self.after_signature.run(
            commands,
            &Run {
                flags,
                ..after(n, 0, out(batch.points, n))
            },
        );
        self.after_message
            .run(commands, &after(2 * n, n, out(batch.mapped, 2 * n)));
    }
}
