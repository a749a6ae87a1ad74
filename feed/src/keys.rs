//! Secrets: derivation, single signatures, single checks. Batches are verified elsewhere.
//!
//! # Invariants
//! * No secret is printed: `Debug` shows public keys only.
//! * One derivation: HKDF-SHA256, salt `wattbook/1/keys`, input the seed, info = role, a zero byte, serial u64.

use blst::BLST_ERROR;
use blst::min_sig::{PublicKey, SecretKey, Signature};
use core::fmt;
use ed25519_dalek::Signer;
use hkdf::Hkdf;
use sha2::Sha256;
use wattbook_types::{ChainId, ContractId, Hash, Reject};

pub use ed25519_dalek::{SigningKey, VerifyingKey};

/// Domain of signatures over digests.
pub const SIGNATURE_DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// Domain of proofs of possession.
pub const POSSESSION_DST: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// Salt of every derivation from a seed.
const DERIVATION_SALT: &[u8] = b"wattbook/1/keys";

/// What a derived secret is for; different roles never share one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyRole {
    /// Signs a participant's logons and envelopes.
    Participant,
    /// Salts a participant's seals.
    Client,
    /// Admits participants.
    Registrar,
    /// Signs checkpoints.
    Log,
    /// Makes pseudonyms.
    Alias,
    /// Identifies a delegate to its peers.
    Peer,
    /// Signs a delegate's ballots.
    Ballot,
}

impl KeyRole {
    /// The name that enters the derivation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Participant => "participant",
            Self::Client => "client",
            Self::Registrar => "registrar",
            Self::Log => "log",
            Self::Alias => "alias",
            Self::Peer => "peer",
            Self::Ballot => "ballot",
        }
    }
}

fn expand(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand_multi_info(info, &mut out)
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
    out
}

/// The secret of a role and serial under a seed.
pub fn derive(seed: &[u8; 32], role: KeyRole, serial: u64) -> [u8; 32] {
    expand(
        DERIVATION_SALT,
        seed,
        &[role.name().as_bytes(), &[0], &serial.to_le_bytes()],
    )
}

/// The registrar's key under a seed.
pub fn registrar_key(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(&derive(seed, KeyRole::Registrar, 0))
}

/// The log key under a seed.
pub fn log_key(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(&derive(seed, KeyRole::Log, 0))
}

/// The alias key under a seed.
pub fn alias_key(seed: &[u8; 32]) -> [u8; 32] {
    derive(seed, KeyRole::Alias, 0)
}

/// The salt of a seal: a client that lost everything but its secret can still reveal.
/// HKDF-SHA256, salt = chain id, input the client secret, info = "seal", a zero byte, contract u64, round u32.
pub fn reveal_salt(client_secret: &[u8; 32], chain: ChainId, contract: ContractId, round: u32) -> Hash {
    let info = [&b"seal\0"[..], &contract.get().to_le_bytes(), &round.to_le_bytes()];
    Hash(expand(&chain.0.0, client_secret, &info))
}

/// A BLS secret key (min-sig: signatures in G1).
pub struct BlsSecret(SecretKey);

impl fmt::Debug for BlsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlsSecret").finish_non_exhaustive()
    }
}

impl BlsSecret {
    /// The key of a role and serial under a seed: BLS KeyGen over [`derive()`].
    pub fn derive(seed: &[u8; 32], role: KeyRole, serial: u64) -> Self {
        let secret = SecretKey::key_gen(&derive(seed, role, serial), &[]);
        Self(secret.expect("32 bytes are enough for KeyGen"))
    }

    /// The key of a scalar, big-endian; `None` for 0 or beyond the group's order.
    pub fn from_bytes(scalar: &[u8; 32]) -> Option<Self> {
        SecretKey::from_bytes(scalar).ok().map(Self)
    }

    /// The public key, compressed G2.
    pub fn public_key(&self) -> [u8; 96] {
        self.0.sk_to_pk().compress()
    }

    /// `SIG(digest)`.
    pub fn sign(&self, digest: &Hash) -> [u8; 48] {
        self.0.sign(&digest.0, SIGNATURE_DST, &[]).compress()
    }

    /// Proof of possession of a ballot key: over the key's own bytes, as consensus engines make it.
    pub fn prove_ballot_key(&self) -> [u8; 48] {
        self.0.sign(&self.public_key(), POSSESSION_DST, &[]).compress()
    }

    /// The proof of possession over `D("register", R)`.
    pub fn prove_possession(&self, digest: &Hash) -> [u8; 48] {
        self.0.sign(&digest.0, POSSESSION_DST, &[]).compress()
    }
}

/// Whether this is a point of the subgroup other than infinity.
pub fn check_key(public_key: &[u8; 96]) -> Result<(), Reject> {
    PublicKey::key_validate(public_key)
        .map(drop)
        .map_err(|_| Reject::BadKey)
}

fn verify(key: &PublicKey, digest: &Hash, signature: &[u8; 48], domain: &[u8]) -> bool {
    Signature::sig_validate(signature, true)
        .is_ok_and(|signature| signature.verify(false, &digest.0, domain, &[], key, false) == BLST_ERROR::BLST_SUCCESS)
}

/// Whether `SIG(digest)` holds, the key and the signature checked in full.
pub fn verify_signature(public_key: &[u8; 96], digest: &Hash, signature: &[u8; 48]) -> bool {
    PublicKey::key_validate(public_key).is_ok_and(|key| verify(&key, digest, signature, SIGNATURE_DST))
}

/// Checks a key and its proof of possession over `D("register", R)`.
pub fn check_possession(public_key: &[u8; 96], digest: &Hash, possession: &[u8; 48]) -> Result<(), Reject> {
    let key = PublicKey::key_validate(public_key).map_err(|_| Reject::BadKey)?;
    if verify(&key, digest, possession, POSSESSION_DST) {
        Ok(())
    } else {
        Err(Reject::BadProofOfPossession)
    }
}

/// Whether a ballot key is one, and its proof of possession over its own bytes holds.
pub fn holds_ballot_key(ballot_key: &[u8; 96], possession: &[u8; 48]) -> bool {
    PublicKey::key_validate(ballot_key).is_ok_and(|key| {
        Signature::sig_validate(possession, true).is_ok_and(|signature| {
            signature.verify(false, ballot_key, POSSESSION_DST, &[], &key, false) == BLST_ERROR::BLST_SUCCESS
        })
    })
}

/// `ED(digest)`.
pub fn sign_ed25519(key: &SigningKey, digest: &Hash) -> [u8; 64] {
    key.sign(&digest.0).to_bytes()
}

/// Whether `ED(digest)` holds; keys of small order are refused.
pub fn verify_ed25519(key: &VerifyingKey, digest: &Hash, signature: &[u8; 64]) -> bool {
    key.verify_strict(&digest.0, &ed25519_dalek::Signature::from_bytes(signature))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivations_differ_and_repeat() {
        let seed = [7; 32];
        let one = derive(&seed, KeyRole::Participant, 1);
        assert_eq!(one, derive(&seed, KeyRole::Participant, 1));
        assert_ne!(one, derive(&seed, KeyRole::Participant, 2));
        assert_ne!(one, derive(&seed, KeyRole::Client, 1));
        assert_ne!(one, derive(&[8; 32], KeyRole::Participant, 1));
        let (chain, contract) = (ChainId(Hash([1; 32])), ContractId::new(5, 1, 1));
        let salt = reveal_salt(&one, chain, contract, 1);
        assert_ne!(salt, reveal_salt(&one, chain, contract, 2));
        assert_ne!(salt, reveal_salt(&one, ChainId::default(), contract, 1));
    }

    #[test]
    fn signatures_hold_in_their_own_domain_only() {
        let secret = BlsSecret::derive(&[7; 32], KeyRole::Participant, 1);
        let (key, digest) = (secret.public_key(), Hash([9; 32]));
        assert!(verify_signature(&key, &digest, &secret.sign(&digest)));
        assert!(!verify_signature(&key, &Hash([8; 32]), &secret.sign(&digest)));
        assert!(!verify_signature(&key, &digest, &secret.prove_possession(&digest)));
        assert_eq!(
            check_possession(&key, &digest, &secret.prove_possession(&digest)),
            Ok(())
        );
        assert_eq!(
            check_possession(&key, &digest, &secret.sign(&digest)),
            Err(Reject::BadProofOfPossession)
        );
        let mut infinity = [0; 96];
        infinity[0] = 0xc0;
        assert_eq!(
            check_possession(&infinity, &digest, &secret.sign(&digest)),
            Err(Reject::BadKey)
        );
        assert_eq!(check_key(&infinity), Err(Reject::BadKey));
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = BlsSecret::from_bytes(&[1; 32]).unwrap();
        assert_eq!(format!("{secret:?}"), "BlsSecret { .. }");
        let key = registrar_key(&[7; 32]);
        let bytes = key.to_bytes();
        let printed = format!("{key:?}");
        assert!(!printed.contains(&hex::encode(bytes)) && !printed.contains(&format!("{bytes:?}")));
    }
}
