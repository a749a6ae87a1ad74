//! Batch verification of envelopes: Merkle roots and BLS12-381 min-sig signatures.
//!
//! # Contract
//! [`Verifier::verify`] gives every [`Candidate`] the verdict it would get by itself, for every input, whatever stands
//! beside it in the batch and whichever path it takes:
//! 1. `count` is the number of leaves, at least one; else [`Verdict::BadCount`]. The bound `leaves_max` is a parameter
//!    of the state and the caller's to apply, and so are version and reserved fields of the header.
//! 2. The RFC 9162 root over the leaves is the header's; else [`Verdict::BadRoot`].
//! 3. The signature over `D("envelope", H)` holds as blst decides it: canonical encoding, on the curve, not infinity, in
//!    the subgroup, pairing; else [`Verdict::BadSignature`] with the first that fails.
//!
//! Keys come as [`PublicKey`], checked once, when they are registered together with [`verify_possession`]. Envelopes of
//! one batch may repeat, share keys and share messages.
//!
//! # Paths
//! * *One by one*: blst's verification of each signature.
//! * *Batch*: per signature decompression, subgroup check, hash to G1 and two additions into sums; per key one Miller
//!   loop; per batch one final exponentiation. When the equation fails the batch is split, between sources first, and
//!   checked again over the points already computed, down to single signatures, which blst decides. A fault costs a few
//!   checks of parts; what a sender of faults pays for them is the session layer's matter.
//!
//! Everything runs on the calling thread. A node that has cores to spare gives each a `Verifier`.
//!
//! # Invariants
//! * [`PublicKey`] is never outside G2 and never infinity; no signature reaches the equation outside G1.
//! * Scalars are fresh for every check and secret until it is over; nothing but the operating system chooses them. When
//!   it gives none, every signature is checked by itself.
//! * Verdicts are a function of the input. Scalars and, with faults, the counters of [`Stats`] need not repeat.
//! * Only `curve` (blst's C interface) and `gpu/trusted.rs` (unchecked shaders) hold unsafe code.
//!
//! # Error bound
//! A valid signature is never refused. With `d_i` the discrete logarithm of `e(S_i, g2) / e(H(m_i), pk_i)`, which is zero
//! exactly for valid items, the equation is `sum r_i d_i = 0` in the field of r elements; one `d_i` that is not zero
//! leaves at most one `r_i` of 2^128 that satisfies it. Each check therefore accepts an invalid signature with
//! probability at most 2^-128. A batch of n makes fewer than 2n checks, each over fresh scalars.
//!
//! # Another path
//! A path on other hardware takes a batch's items, returns the same verdicts, and keeps four things: either each
//! signature is tested for its subgroup or the batch is (the trits of PROTOCOL 5, error 3^-90); scalars are drawn here,
//! after the batch is fixed, by no device and no driver; an item is refused by blst alone, on the CPU; and a device that
//! fails leaves the batch to the paths above. Its arithmetic is trusted as the CPU's is, so its sums are tested against
//! those of this crate.

mod batch;
mod curve;
pub mod gpu;
mod key;
#[allow(dead_code, reason = "the paths that draw trits come after it")]
mod rlc;
mod scalars;
mod stats;
#[cfg(test)]
mod suites;
mod verifier;

pub use key::{
    KeyError, POSSESSION_DST, PUBLIC_KEY_SIZE, PublicKey, SIGNATURE_DST, SignatureError, verify_one, verify_possession,
};
pub use stats::Stats;
pub use verifier::{Candidate, Policy, Verdict, Verifier};
