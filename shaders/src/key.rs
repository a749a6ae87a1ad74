//! Keys, and signatures checked one at a time: blst's verdict, which every other path must reproduce.

use blst::min_sig;
use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine};
use core::fmt;
use thiserror::Error;
use wattbook_feed::signed::SIGNATURE_SIZE;
use wattbook_types::Hash;

/// Size of a compressed G2 public key.
pub const PUBLIC_KEY_SIZE: usize = 96;
/// Domain separation tag of every signature but the proof of possession (PROTOCOL 3).
pub const SIGNATURE_DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// Domain separation tag of the proof of possession (PROTOCOL 3).
pub const POSSESSION_DST: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Why bytes are no public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum KeyError {
    /// Wrong flag bits, or a coordinate that is not below the modulus.
    #[error("the bytes are no compressed point of G2")]
    BadEncoding,
    /// No point has this x coordinate.
    #[error("the key is not on the curve")]
    NotOnCurve,
    /// The point lies outside the subgroup of order r.
    #[error("the key is not in the subgroup")]
    NotInGroup,
    /// The point at infinity.
    #[error("the key is the point at infinity")]
    Infinity,
}

/// Why a signature does not hold, in the order in which it is found out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum SignatureError {
    /// Wrong flag bits, or a coordinate that is not below the modulus.
    #[error("the bytes are no compressed point of G1")]
    BadEncoding,
    /// No point has this x coordinate.
    #[error("the signature is not on the curve")]
    NotOnCurve,
    /// The point at infinity.
    #[error("the signature is the point at infinity")]
    Infinity,
    /// The point lies outside the subgroup of order r.
    #[error("the signature is not in the subgroup")]
    NotInGroup,
    /// A point of the subgroup that is not this key's signature over this message.
    #[error("the signature does not hold for this key and message")]
    Mismatch,
}

/// A public key that has been decompressed and is a point of the subgroup other than infinity.
#[derive(Clone, Copy)]
pub struct PublicKey {
    /// Compressed form; blst takes one encoding per point only, so equal keys have equal bytes.
    bytes: [u8; PUBLIC_KEY_SIZE],
    point: blst_p2_affine,
}

impl PublicKey {
    /// Decompresses and checks a key; about 0.2 ms, once per registration.
    ///
    /// # Errors
    /// The first of encoding, curve, infinity and subgroup that does not hold.
    pub fn new(bytes: &[u8; PUBLIC_KEY_SIZE]) -> Result<Self, KeyError> {
        let key = min_sig::PublicKey::key_validate(bytes).map_err(|error| match error {
            BLST_ERROR::BLST_POINT_NOT_ON_CURVE => KeyError::NotOnCurve,
            BLST_ERROR::BLST_POINT_NOT_IN_GROUP => KeyError::NotInGroup,
            BLST_ERROR::BLST_PK_IS_INFINITY => KeyError::Infinity,
            _ => KeyError::BadEncoding,
        })?;
        Ok(Self {
            bytes: *bytes,
            point: key.into(),
        })
    }

    /// The compressed form.
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_SIZE] {
        &self.bytes
    }

    /// The affine point.
    pub(crate) const fn point(&self) -> &blst_p2_affine {
        &self.point
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Checks a signature over `digest` by itself; about 0.85 ms.
///
/// # Errors
/// The first of encoding, curve, infinity, subgroup and pairing that does not hold.
pub fn verify_one(key: &PublicKey, digest: &Hash, signature: &[u8; SIGNATURE_SIZE]) -> Result<(), SignatureError> {
    verify_alone(key, &digest.0, &decompress(signature)?, SIGNATURE_DST)
}

/// Checks the proof that whoever registers `key` holds its secret; `digest` is `D("register", R)`.
///
/// # Errors
/// As [`verify_one`].
pub fn verify_possession(
    key: &PublicKey,
    digest: &Hash,
    possession: &[u8; SIGNATURE_SIZE],
) -> Result<(), SignatureError> {
    verify_alone(key, &digest.0, &decompress(possession)?, POSSESSION_DST)
}

/// A point of G1 other than infinity, by blst's own decompression and subgroup check.
pub(crate) fn decompress(signature: &[u8; SIGNATURE_SIZE]) -> Result<blst_p1_affine, SignatureError> {
    match min_sig::Signature::sig_validate(signature, true) {
        Ok(point) => Ok(point.into()),
        Err(BLST_ERROR::BLST_POINT_NOT_ON_CURVE) => Err(SignatureError::NotOnCurve),
        Err(BLST_ERROR::BLST_PK_IS_INFINITY) => Err(SignatureError::Infinity),
        Err(BLST_ERROR::BLST_POINT_NOT_IN_GROUP) => Err(SignatureError::NotInGroup),
        Err(_) => Err(SignatureError::BadEncoding),
    }
}

/// blst's verification of one decompressed signature; the steps of `blst_core_verify_pk_in_g2`, on this thread.
pub(crate) fn verify_alone(
    key: &PublicKey,
    message: &[u8],
    signature: &blst_p1_affine,
    dst: &[u8],
) -> Result<(), SignatureError> {
    let mut pairing = Pairing::new(true, dst);
    // The key was checked when it was made, the signature when it was decompressed.
    let aggregated = pairing.aggregate(key.point(), false, signature, false, message, &[]);
    if aggregated != BLST_ERROR::BLST_SUCCESS {
        return Err(SignatureError::Mismatch);
    }
    pairing.commit();
    if pairing.finalverify(None) {
        Ok(())
    } else {
        Err(SignatureError::Mismatch)
    }
}
