//! Envelopes that are used again: verify gives back what ingest fills, so that a message costs no allocation.

use crossbeam::queue::ArrayQueue;
use std::fmt;
use std::sync::Arc;
use wattbook_feed::sbe::EnvelopeRef;
use wattbook_feed::signed::SealedEnvelope;

/// Envelopes with room for more leaves go back to the system.
// BOUND: with the pool's length, of what it keeps: 64 leaves are 3,072 bytes.
const LEAVES_KEPT: usize = 64;

/// A pool of envelopes; clones are handles of the same.
#[derive(Clone)]
pub struct Envelopes(Arc<ArrayQueue<Box<SealedEnvelope>>>);

impl fmt::Debug for Envelopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Envelopes").field(&self.0.len()).finish()
    }
}

impl Envelopes {
    /// A pool that keeps at most `len` of them.
    ///
    /// # Panics
    /// If that is none.
    pub fn new(len: usize) -> Self {
        Self(Arc::new(ArrayQueue::new(len)))
    }

    /// A copy of an envelope that outlives its message.
    pub fn copy(&self, envelope: &EnvelopeRef<'_>) -> Box<SealedEnvelope> {
        match self.0.pop() {
            Some(mut used) => {
                envelope.copy_to(&mut used);
                used
            }
            None => Box::new(envelope.to_sealed()),
        }
    }

    /// An envelope is no longer needed.
    pub fn give_back(&self, envelope: Box<SealedEnvelope>) {
        if envelope.leaves.capacity() <= LEAVES_KEPT {
            // A full pool drops it.
            let _ = self.0.push(envelope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_feed::signed::EnvelopeHeader;
    use wattbook_types::{ParticipantId, TimeNs};

    #[test]
    fn an_envelope_used_again_is_the_new_one() {
        let envelopes = Envelopes::new(1);
        let leaves: Vec<[u8; 48]> = (0..40).map(|i| [i; 48]).collect();
        let mut used = Vec::new();
        for len in [40, 3, 0, 17] {
            let leaves = &leaves[..len];
            let header = EnvelopeHeader::new(ParticipantId::new(len as u64), 1, 1, TimeNs::new(1), leaves);
            let envelope = EnvelopeRef {
                header,
                signature: [len as u8; 48],
                leaves,
                attached: None,
            };
            let copy = envelopes.copy(&envelope);
            assert_eq!(*copy, envelope.to_sealed());
            used.push(std::ptr::from_ref(&*copy).addr());
            envelopes.give_back(copy);
        }
        used.dedup();
        assert_eq!(used.len(), 1, "the same one every time");
    }
}
