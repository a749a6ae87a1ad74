//! What agreement sees of a block: its head, and bytes it does not look into.

use crate::error::Error;
use std::sync::Arc;
use wattbook_types::{Hash, ParticipantId, TimeNs};

/// The fields of a block that agreement checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The block's digest, which covers every byte of it.
    pub digest: Hash,
    /// Digest of the parent.
    pub parent: Hash,
    /// The parent's height and one.
    pub height: u64,
    /// The epoch that the height lies in.
    pub epoch: u64,
    /// The view it was proposed in; a border block keeps it when it is proposed again.
    pub view: u64,
    /// The producer's clock, later than the parent's.
    pub time: TimeNs,
    /// The delegate that leads the view; `None` where only execution can tell.
    pub producer: Option<ParticipantId>,
    /// Terms lost in this epoch up to this block, by rank, empty at genesis; `None` where only execution can tell.
    pub missed: Option<Vec<u32>>,
}

/// How the application's bytes are read: a pure function, called on any thread and on anybody's bytes.
pub trait Format: Send + Sync + 'static {
    /// The head of a well-formed block; `None` where `bytes` are none.
    ///
    /// The digest must cover all of `bytes`, records included: whatever is read under a digest that a quorum signed
    /// is stored as that block.
    fn head(&self, bytes: &[u8]) -> Option<Head>;
}

/// A well-formed block; cheap to clone.
#[derive(Clone, Debug)]
pub struct Candidate(Arc<(Head, Vec<u8>)>);

impl Candidate {
    /// Reads a block of at most `max` bytes.
    ///
    /// # Errors
    /// Longer, or not a block of this format.
    pub fn read(format: &dyn Format, bytes: Vec<u8>, max: usize) -> Result<Self, Error> {
        if bytes.len() > max {
            return Err(Error::TooLong { got: bytes.len(), max });
        }
        let head = format.head(&bytes).ok_or(Error::Malformed)?;
        Ok(Self(Arc::new((head, bytes))))
    }

    /// The fields that agreement checks.
    pub fn head(&self) -> &Head {
        &self.0.0
    }

    /// All bytes of the block.
    pub fn bytes(&self) -> &[u8] {
        &self.0.1
    }
}
