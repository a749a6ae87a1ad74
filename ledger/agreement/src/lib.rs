//! Block agreement behind one seam.
//!
//! A committee of delegates agrees on one block a height; the least-carbon delegate leads, the next takes over. The protocol
//! is simplex of commonware, with BLS12-381 multisignatures; only [`simplex`] knows that.
//!
//! # Contents
//! * [`ballot`]: the bytes that delegates sign, their keys, and checks with a BLS library alone.
//! * [`proof`], [`evidence`]: certificates and equivocations as bytes that anybody can check.
//! * [`block`]: what agreement sees of a block. Epochs and terms are [`wattbook_types::schedule`]'s.
//! * [`seam`]: what a node implements ([`seam::Application`], [`seam::Store`]) and may call ([`seam::Agreement`]).
//! * [`simplex`]: the engine behind the seam.
//!
//! # Invariants
//! * What a light client needs ([`ballot`], [`proof`], [`evidence`]) knows neither network nor engine.
//! * No block is delivered that is not final and durable; delivery is by height, without a gap, at least once.
//! * Nobody's bytes end a process; a failed disk does.

pub mod ballot;
pub mod block;
pub mod error;
pub mod evidence;
pub mod proof;
pub mod seam;
pub mod simplex;
