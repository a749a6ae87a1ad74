//! From messages to E1' (RFC 9380 8.8.1): `hash_to_field`, then the simplified SWU map of both elements.
//!
//! Isogeny and cofactor come later, once per sum. [`Map`] stops where a power is needed, so that the powers of many
//! maps are taken together.
#![allow(unsafe_code)]

use super::field::Fp;

/// A' of E1'.
pub(crate) const A: Fp = Fp::of([
    0x2f65_aa0e_9af5_aa51,
    0x8646_4c2d_1e84_16c3,
    0xb85c_e591_b7bd_31e2,
    0x27e1_1c91_b5f2_4e7c,
    0x2837_6eda_6bfc_1835,
    0x1554_55c3_e507_1d85,
]);
const MINUS_A: Fp = Fp::of([
    0x8a99_55f1_650a_005a,
    0x9865_b3d1_92cf_e93c,
    0xaed3_ed0f_3ef3_c441,
    0x3c96_2ef3_3d92_c442,
    0x22e4_38db_d74f_94a2,
    0x04ac_bc26_5478_c915,
]);
pub(crate) const B: Fp = Fp::of([
    0xfb99_6971_fe22_a1e0,
    0x9aa9_3eb3_5b74_2d6f,
    0x8c47_6013_de99_c5c4,
    0x873e_27c3_a221_e571,
    0xca72_b5e4_5a52_d888,
    0x0682_4061_418a_386b,
]);
/// Z = 11.
const Z: Fp = Fp::of([
    0x886c_0000_0023_ffdc,
    0x0f70_008d_3090_001d,
    0x7767_2417_ed58_28c3,
    0x9dac_23e9_43dc_1740,
    0x5055_3f1b_9c13_1521,
    0x078c_712f_be0a_b6e8,
]);
const Z_TIMES_A: Fp = Fp::of([
    0x7f67_4ea0_a891_5178,
    0xb0f9_45fc_13b8_fa65,
    0x4b46_759a_38e8_7d76,
    0x2e7a_9296_41bb_b6a1,
    0x1668_ddfa_462b_f6b6,
    0x0096_0e2e_d1cf_294c,
]);
/// A square root of -Z^3.
const ROOT: Fp = Fp::of([
    0x43b5_71ca_d321_5f1f,
    0xccb4_60ef_1c70_2dc2,
    0x742d_884f_4f97_100b,
    0xdb2c_3e32_38a3_382b,
    0xe40f_3fa1_3fce_8f88,
    0x0073_a2af_9892_a2ff,
]);

/// `hash_to_field` with two elements for the suite of `dst`.
pub(crate) fn hash_to_field(message: &[u8], dst: &[u8]) -> [Fp; 2] {
    let mut uniform = [[0u8; 64]; 2];
    // SAFETY: pointer and length pairs come from live slices; 128 bytes are written to 128.
    unsafe {
        blst::blst_expand_message_xmd(
            uniform.as_mut_ptr().cast(),
            128,
            message.as_ptr(),
            message.len(),
            dst.as_ptr(),
            dst.len(),
        );
    }
    uniform.each_ref().map(Fp::from_uniform)
}

/// A map under way (RFC 9380 F.2).
pub(crate) struct Map {
    u: Fp,
    u_squared: Fp,
    x1_num: Fp,
    x2_num: Fp,
    x_den: Fp,
    gx_den: Fp,
    gx1_num: Fp,
    product: Fp,
}

impl Map {
    /// The map of `u` and the element whose power (p - 3) / 4 it needs.
    pub(crate) fn new(u: Fp) -> (Self, Fp) {
        let u_squared = u.square();
        let tv3 = Z * u_squared;
        let tv2 = tv3.square() + tv3;
        let x1_num = (tv2 + Fp::ONE) * B;
        let mut x_den = MINUS_A * tv2;
        if x_den.is_zero() {
            x_den = Z_TIMES_A;
        }
        let square = x_den.square();
        let gx_den = square * x_den;
        let gx1_num = (x1_num.square() + A * square) * x1_num + B * gx_den;
        let product = gx1_num * gx_den;
        let map = Self {
            u,
            u_squared,
            x1_num,
            x2_num: tv3 * x1_num,
            x_den,
            gx_den,
            gx1_num,
            product,
        };
        (map, gx_den.square() * product)
    }

    /// With the power: numerator and denominator of x, and y.
    pub(crate) fn finish(&self, power: Fp) -> (Fp, Fp, Fp) {
        let y1 = power * self.product;
        let (x_num, y) = if y1.square() * self.gx_den == self.gx1_num {
            (self.x1_num, y1)
        } else {
            (self.x2_num, y1 * ROOT * self.u_squared * self.u)
        };
        let y = if y.is_odd() == self.u.is_odd() { y } else { -y };
        (x_num, self.x_den, y)
    }
}
