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
//! * *Batch*: per signature a decompression, two maps to the curve and its share of two sums; per key one Miller loop;
//!   per batch ninety subgroup tests and one final exponentiation. Isogeny and cofactor are deferred to the sums. When
//!   the check fails the batch is split, between sources first, and checked again over the points already computed,
//!   down to single signatures, which blst decides. A fault costs a few checks of parts; what a sender of faults pays
//!   for them is the session layer's matter.
//!
//! * *Device*: the batch path with everything but Miller loops, subgroup tests and bisection on a GPU ([`gpu`]), in
//!   chunks, so that the CPU adds up one while the device computes the next, and with batches that overlap
//!   ([`Verifier::begin`], [`Verifier::finish`]). A device that is lost gives its batches back whole; the CPU checks them,
//!   and all later ones.
//!
//! [`Policy`] says which; left to itself a verifier takes the cheapest by rates it measured ([`Verifier::calibrate`]).
//!
//! [`Verifier::new`] computes on the calling thread, [`Verifier::with_threads`] on a pool of its own.
//!
//! # Invariants
//! * [`PublicKey`] is never outside G2 and never infinity. A signature outside G1 reaches the equation only if all
//!   ninety combinations of its batch are in G1.
//! * Coefficients are fresh for every check and secret until it is over; nothing but the operating system chooses them.
//!   When it gives none, every signature is checked by itself.
//! * Verdicts are a function of the input. Coefficients and, with faults, the counters of [`Stats`] need not repeat.
//! * Unsafe code stands in `curve` and in `cpu`'s `field`, `sswu` and `lines`, which call blst's C interface, in its
//!   `avx2`, `ifma` and `sha`, and where `gpu` says so.
//!
//! # Error bound
//! A valid signature is never refused. A check accepts a batch that is not good with probability at most 3^-90, about
//! 2^-142: the module `rlc` has the argument. A batch of n makes fewer than 2n checks, each over fresh coefficients.
//!
//! # Another path
//! A path on other hardware takes a batch's items, returns the same verdicts, and keeps four things: either each
//! signature is tested for its subgroup or the batch is (the trits of PROTOCOL 5, error 3^-90); coefficients are drawn
//! here, after the batch is fixed, by no device and no driver; an item is refused by blst alone, on the CPU; and a
//! device that fails leaves the batch to the paths above. Its arithmetic is trusted as the CPU's is, so its sums are
//! tested against those of this crate.

mod batch;
mod calibration;
mod cpu;
mod curve;
pub mod gpu;
mod key;
pub mod measure;
mod numbering;
mod policy;
mod rlc;
mod stats;
#[cfg(test)]
mod suites;
mod verifier;

pub use key::{
    KeyError, POSSESSION_DST, PUBLIC_KEY_SIZE, PublicKey, SIGNATURE_DST, SignatureError, verify_one, verify_possession,
};
pub use policy::{Cost, Policy, Rates, Route};
pub use stats::Stats;
pub use verifier::{Candidate, DEVICE_KEYS_MAX, Pending, Placed, Submitted, Verdict, Verifier};
