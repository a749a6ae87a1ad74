//! Signatures from their 48 bytes to points of E1, as `blst_p1_uncompress` reads them.

use super::field::Fp;
use super::point::Affine;
use wattbook_feed::signed::SIGNATURE_SIZE;

/// The coefficient b of E1.
const FOUR: Fp = Fp::of([
    0xaa27_0000_000c_fff3,
    0x53cc_0032_fc34_000a,
    0x478f_e97a_6b0a_807f,
    0xb1d3_7ebe_e6ba_24d7,
    0x8ec9_733b_bf78_ab2f,
    0x09d6_4551_3d83_de7e,
]);

/// A decompression under way.
pub(crate) struct Compressed {
    x: Fp,
    y_squared: Fp,
    is_largest: bool,
}

impl Compressed {
    /// Reads the encoding of a point other than infinity; `None` for any other.
    pub(crate) fn read(bytes: &[u8; SIGNATURE_SIZE]) -> Option<Self> {
        // Compressed, and not infinity.
        if bytes[0] & 0xc0 != 0x80 {
            return None;
        }
        let mut x = *bytes;
        x[0] &= 0x1f;
        let x = Fp::from_be_bytes(&x)?;
        let y_squared = x.square() * x + FOUR;
        Some(Self {
            x,
            y_squared,
            is_largest: bytes[0] & 0x20 != 0,
        })
    }

    /// The element whose power (p - 3) / 4 it needs.
    pub(crate) const fn base(&self) -> Fp {
        self.y_squared
    }

    /// With the power: the point, unless x is no x of the curve.
    pub(crate) fn finish(&self, power: Fp) -> Option<Affine> {
        let y = power * self.y_squared;
        (y.square() == self.y_squared).then(|| {
            let point = Affine { x: self.x, y };
            point.negated_if(y.is_lexicographically_largest() != self.is_largest)
        })
    }
}
