//! What a verifier has done.

use crate::policy::Route;
use crate::verifier::Verdict;

/// Counters, never reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Candidates given a verdict.
    pub envelopes: u64,
    /// Signatures given a verdict; fewer than envelopes by those with a bad count or root.
    pub signatures_checked: u64,
    /// Leaves hashed to compare roots.
    pub leaves_hashed: u64,
    /// Batches checked by the equation, parts of failed ones not counted.
    pub batches: u64,
    /// Miller loops: two for a signature by itself, one per key and one more for an equation.
    pub pairings: u64,
    /// Splits of batches that failed and of their parts.
    pub bisections: u64,
    /// Signatures checked one by one, in batches on the CPU, and in batches on the device.
    pub routed: [u64; 3],
    /// Batches that took those paths, whatever their equations came to.
    pub batches_routed: [u64; 3],
    /// Batches that a device began while it had another.
    pub overlapped: u64,
    /// Candidates refused, by [`Verdict::refusal`].
    pub refused: [u64; Verdict::REFUSALS.len()],
    /// Devices lost; the batch under way went on on the CPU.
    pub devices_lost: u64,
}

impl Stats {
    /// Counts a batch of `len` signatures that went this way.
    pub(crate) const fn take_route(&mut self, route: Route, len: u64) {
        self.routed[route as usize] += len;
        self.batches_routed[route as usize] += (len > 0) as u64;
    }

    /// Counts a verdict.
    pub(crate) fn count(&mut self, verdict: Verdict) {
        if let Some(refusal) = verdict.refusal() {
            self.refused[refusal] += 1;
        }
    }
}
