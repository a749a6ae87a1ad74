//! A secret under a passphrase: Argon2id (RFC 9106) makes a key of it, XChaCha20-Poly1305 seals the secret under that.
//!
//! # Format
//! One line of text, version 1:
//! ```text
//! wattbook-locked-key 1 argon2id m=<KiB> t=<passes> <salt, 16 bytes in hex> <nonce, 24 in hex> <sealed secret, 48 in hex>
//! ```
//! Lanes are one. Everything before the sealed secret is authenticated with it, so nothing of the line can be changed.
//!
//! # Invariants
//! * What a file asks for is bounded before any of it is spent: [`MEMORY_KIB_MAX`], [`PASSES_MAX`].
//! * A wrong passphrase and a changed file cannot be told apart, and neither gives a secret.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

/// Most memory that a locked key may ask for, KiB.
pub const MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most passes that a locked key may ask for.
pub const PASSES_MAX: u32 = 16;
const LABEL: &str = "wattbook-locked-key";
const VERSION: &str = "1";
const SALT_SIZE: usize = 16;
const NONCE_SIZE: usize = 24;
const SEALED_SIZE: usize = 32 + 16;

/// A passphrase; wiped from memory when it is dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// A passphrase of these bytes, a line's end at their end apart.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        Self(Zeroizing::new(bytes))
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

/// What a try of the passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for Cost {
    /// The second recommended option of RFC 9106 section 4, on one lane.
    fn default() -> Self {
        Self {
            memory_kib: 64 << 10,
            passes: 3,
        }
    }
}

/// Why a locked key gives no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LockedError {
    /// The text is not of the format.
    #[error("it is no locked key of version 1")]
    Format,
    /// It asks for more than is given.
    #[error("it asks for more than {MEMORY_KIB_MAX} KiB or {PASSES_MAX} passes, or for too little")]
    Cost,
    /// The passphrase does not open it.
    #[error("the passphrase is wrong, or the file was changed")]
    Passphrase,
}

/// Whether the text is a locked key's, of whatever version.
pub fn is_locked(text: &str) -> bool {
    text.starts_with(LABEL)
}

/// Locks a secret under a passphrase.
///
/// # Errors
/// [`LockedError::Cost`] if the cost is out of bounds.
pub fn lock(
    secret: &[u8; 32],
    passphrase: &Passphrase,
    cost: Cost,
    salt: &[u8; SALT_SIZE],
    nonce: &[u8; NONCE_SIZE],
) -> Result<String, LockedError> {
    let head = format!(
        "{LABEL} {VERSION} argon2id m={} t={} {} {}",
        cost.memory_kib,
        cost.passes,
        hex::encode(salt),
        hex::encode(nonce)
    );
    let payload = Payload {
        msg: secret,
        aad: head.as_bytes(),
    };
    let sealed = cipher(passphrase, cost, salt)?
        .encrypt(&XNonce::from(*nonce), payload)
        .map_err(|_| LockedError::Format)?;
    Ok(format!("{head} {}", hex::encode(sealed)))
}

/// Opens a locked secret.
///
/// # Errors
/// [`LockedError`].
pub fn unlock(text: &str, passphrase: &Passphrase) -> Result<[u8; 32], LockedError> {
    let (head, sealed) = text.rsplit_once(' ').ok_or(LockedError::Format)?;
    let fields: Vec<&str> = head.split(' ').collect();
    let [LABEL, VERSION, "argon2id", memory, passes, salt, nonce] = fields[..] else {
        return Err(LockedError::Format);
    };
    let cost = Cost {
        memory_kib: number(memory, "m=")?,
        passes: number(passes, "t=")?,
    };
    let (salt, nonce): ([u8; SALT_SIZE], [u8; NONCE_SIZE]) = (bytes(salt)?, bytes(nonce)?);
    let sealed: [u8; SEALED_SIZE] = bytes(sealed)?;
    let payload = Payload {
        msg: &sealed,
        aad: head.as_bytes(),
    };
    let secret = cipher(passphrase, cost, &salt)?
        .decrypt(&XNonce::from(nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| LockedError::Passphrase)?;
    secret.as_slice().try_into().map_err(|_| LockedError::Format)
}

fn cipher(passphrase: &Passphrase, cost: Cost, salt: &[u8; SALT_SIZE]) -> Result<XChaCha20Poly1305, LockedError> {
    if cost.memory_kib > MEMORY_KIB_MAX || cost.passes > PASSES_MAX {
        return Err(LockedError::Cost);
    }
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32)).map_err(|_| LockedError::Cost)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(&passphrase.0, salt, key.as_mut())
        .map_err(|_| LockedError::Cost)?;
    Ok(XChaCha20Poly1305::new(&Key::from(*key)))
}

fn number(field: &str, name: &str) -> Result<u32, LockedError> {
    let digits = field.strip_prefix(name).ok_or(LockedError::Format)?;
    let value: u32 = digits.parse().map_err(|_| LockedError::Format)?;
    // One text for one number: what is authenticated is the text.
    if value.to_string() == digits {
        Ok(value)
    } else {
        Err(LockedError::Format)
    }
}

fn bytes<const N: usize>(digits: &str) -> Result<[u8; N], LockedError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| LockedError::Format)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: Cost = Cost {
        memory_kib: 8,
        passes: 1,
    };

    fn phrase(text: &str) -> Passphrase {
        Passphrase::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_secret_comes_back_under_its_passphrase_only() {
        let secret = [0x5a; 32];
        let text = lock(&secret, &phrase("correct horse"), SMALL, &[1; 16], &[2; 24]).unwrap();
        assert!(is_locked(&text) && !text.contains(&hex::encode(secret)));
        assert_eq!(unlock(&text, &phrase("correct horse")), Ok(secret));
        assert_eq!(
            unlock(&text, &phrase("correct horse\r\n")),
            Ok(secret),
            "a line's end is no part of it"
        );
        for wrong in ["", "correct hors", "Correct horse", "correct horse "] {
            assert_eq!(unlock(&text, &phrase(wrong)), Err(LockedError::Passphrase));
        }
    }

    /// Written once with argon2-cffi's low-level call and PyNaCl's XChaCha20-Poly1305, other people's code.
    #[test]
    fn what_others_locked_opens() {
        let text = include_str!("locked.golden").trim_end();
        assert_eq!(
            unlock(text, &phrase("wattbook golden")),
            Ok(std::array::from_fn(|at| at as u8))
        );
    }

    #[test]
    fn no_character_can_be_changed() {
        let text = lock(&[7; 32], &phrase("a"), SMALL, &[3; 16], &[4; 24]).unwrap();
        for at in 0..text.len() {
            for to in ["0", "9", "f", " ", "=", "A"] {
                let mut other = text.clone();
                other.replace_range(at..=at, to);
                // Hex in capitals says the same bytes; in the head it is authenticated as text all the same.
                if other != text && !(at > text.len() - 2 * SEALED_SIZE && other.eq_ignore_ascii_case(&text)) {
                    assert!(unlock(&other, &phrase("a")).is_err(), "{other}");
                }
            }
        }
        for cut in 0..text.len() {
            assert!(unlock(&text[..cut], &phrase("a")).is_err());
        }
    }

    #[test]
    fn what_a_file_asks_for_is_bounded() {
        let text = lock(&[7; 32], &phrase("a"), SMALL, &[3; 16], &[4; 24]).unwrap();
        for (from, to) in [
            ("m=8", "m=4294967295"),
            ("m=8", "m=1048577"),
            ("m=8", "m=0"),
            ("t=1", "t=17"),
            ("t=1", "t=0"),
        ] {
            assert_eq!(
                unlock(&text.replacen(from, to, 1), &phrase("a")),
                Err(LockedError::Cost)
            );
        }
        for (from, to) in [
            ("m=8", "m=08"),
            ("m=8", "m=+8"),
            ("key 1", "key 2"),
            ("argon2id", "argon2i"),
        ] {
            assert_eq!(
                unlock(&text.replacen(from, to, 1), &phrase("a")),
                Err(LockedError::Format)
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(wattbook-locked-key 1 argon2id )?[ -~]{0,200}") {
            let _ = unlock(&text, &phrase("a"));
        }
    }
}
