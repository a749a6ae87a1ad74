//! The engine behind the seam: commonware's simplex, its peers, its storage, and the epochs around it.
//!
//! An epoch is a fixed number of blocks. Each has an engine of its own, that starts from the border block before it
//! (`Floor::Genesis`), with its own journal and its own subchannel of every network channel; its leaders are the committee
//! in rank order, a term each. Final blocks go to the node's [`Store`](crate::seam::Store), certificates and votes to files
//! of the engine.
//!
//! # What goes wrong with it, and what stands against that
//! 1. A vote sent before a peer registered the epoch's channel is dropped, and one late view costs a leader its term: the
//!    first block of an epoch waits ([`Settings::border_pause`](crate::seam::Settings)). One lost term is no verdict on a
//!    delegate; the state flags after several.
//! 2. A leader rule that always names rank 0 never recovers: term k is led by rank (k - 1) mod n, a pure function of the
//!    view.
//! 3. The engine fetches only above what was delivered: a block below that is found damaged comes through a channel of
//!    its own (`repair`), by height, checked against the digest that the store knows was certified there; so does one that
//!    keeps a node from starting ([`mend`]).
//! 4. The engine truncates a damaged journal of its votes with a warning and goes on signing: `journal` reads it first,
//!    and a delegate whose votes were damaged or lost is barred until the next epoch, across restarts.
//! 5. A certificate holds a quorum only: absence from it is no evidence ([`crate::proof`]); lost terms are counted from
//!    views ([`wattbook_types::schedule`]).
//! 6. Certificates do not check proofs of possession: registration does ([`crate::ballot::check_possession`]).
//! 7. No view is entered before the one below it is certified (`optimistic_views = 0`), and a peer that was lost is dialled again soon.
//! 8. A lost term skips all its views, so nothing here counts views to measure progress; heights do.

mod application;
mod archive;
mod door;
mod epochs;
mod journal;
mod node;
mod repair;
mod seats;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

pub use node::{Keys, Node, mend, start};

use commonware_consensus::simplex::scheme::bls12381_multisig;
use commonware_cryptography::{bls12381::primitives::variant::MinSig, ed25519, sha256};

/// A peer's identity.
type PeerKey = ed25519::PublicKey;
/// How votes are signed and counted.
type Scheme = bls12381_multisig::Scheme<PeerKey, MinSig>;
/// A block's digest.
type Digest = sha256::Digest;
