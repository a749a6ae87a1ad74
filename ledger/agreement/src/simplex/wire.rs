//! A block as the engine sends and stores it: its length as `u32`, big-endian, then its bytes.

use super::Digest;
use crate::block::{Candidate, Format};
use bytes::BufMut;
use commonware_codec::{Buf, EncodeSize, Error, Read, Write};
use commonware_consensus::{Block, BoundedBlock, Heightable, types::Height};
use commonware_cryptography::Digestible;
use std::sync::Arc;
use wattbook_types::Hash;

/// Bytes before a block's own.
const PREFIX: usize = 4;

/// How blocks are read, and how long they may be.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) format: Arc<dyn Format>,
    pub(super) size_max: usize,
}

impl Shape {
    pub(super) fn read(&self, bytes: Vec<u8>) -> Result<Candidate, crate::error::Error> {
        Candidate::read(self.format.as_ref(), bytes, self.size_max)
    }
}

/// A block in the engine's hands.
#[derive(Clone, Debug)]
pub(super) struct Carried(pub(super) Candidate);

/// Our digest as the engine's.
pub(super) const fn digest(hash: Hash) -> Digest {
    commonware_cryptography::sha256::Digest(hash.0)
}

/// The engine's digest as ours.
pub(super) const fn hash(digest: &Digest) -> Hash {
    Hash(digest.0)
}

impl Write for Carried {
    fn write(&self, out: &mut impl BufMut) {
        // BOUND: at most `size_max`, which is a message's size and below 4 GiB.
        out.put_u32(self.0.bytes().len() as u32);
        out.put_slice(self.0.bytes());
    }
}

impl EncodeSize for Carried {
    fn encode_size(&self) -> usize {
        PREFIX + self.0.bytes().len()
    }
}

impl Read for Carried {
    type Cfg = Shape;

    fn read_cfg(from: &mut impl Buf, shape: &Shape) -> Result<Self, Error> {
        if from.remaining() < PREFIX {
            return Err(Error::EndOfBuffer);
        }
        let len = from.get_u32() as usize;
        if len > shape.size_max {
            return Err(Error::InvalidLength(len));
        }
        if from.remaining() < len {
            return Err(Error::EndOfBuffer);
        }
        let mut bytes = vec![0; len];
        from.copy_to_slice(&mut bytes);
        shape
            .read(bytes)
            .map(Self)
            .map_err(|_| Error::Invalid("block", "not a well-formed block"))
    }
}

impl Digestible for Carried {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        digest(self.0.head().digest)
    }
}

impl Heightable for Carried {
    fn height(&self) -> Height {
        Height::new(self.0.head().height)
    }
}

impl Block for Carried {
    fn parent(&self) -> Digest {
        digest(self.0.head().parent)
    }
}

impl BoundedBlock for Carried {
    fn max_encode_size(shape: &Shape) -> usize {
        PREFIX + shape.size_max
    }
}
