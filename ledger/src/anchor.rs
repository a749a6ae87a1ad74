//! A block from which reading can begin: what its bytes cannot say without everything before it.
//!
//! # Contract
//! [`Anchor::find`] takes a claim (height, length of the log, block digest, headers so far) and holds it against the log:
//! the header that stands there has that digest and names these headers. Who says that the digest is the chain's is the
//! signed commit entry: [`Store::open_from`](crate::Store::open_from) checks it.

use wattbook_types::tree::{Frontier, leaf_hash};
use wattbook_types::{ChainId, Hash};

use crate::block::{BlockHeader, HEADER_SIZE, RawBlockHeader, block_digest};
use crate::error::{Fault, FaultKind};
use crate::frame::{KIND_BLOCK, frame_size};
use crate::log::{End, LOG_START, Log};
use crate::scan::{BLOCK_FRAME_VERSION, Head, has_no_delegates};
use crate::store::BlockDraft;

/// A block, and where the log stands after it.
#[derive(Clone, Debug)]
pub struct Anchor {
    pub(crate) head: Head,
    pub(crate) tip: BlockHeader,
}

/// What is said of a block; to be held against the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Height of the block.
    pub height: u64,
    /// Length of the log after it, bytes.
    pub length: u64,
    /// Its digest.
    pub digest: Hash,
    /// Roots of the complete subtrees over the headers before it, largest first.
    pub peaks: Vec<Hash>,
}

impl Anchor {
    pub(crate) const fn new(head: Head, tip: BlockHeader) -> Self {
        Self { head, tip }
    }

    /// Height of the block.
    pub const fn height(&self) -> u64 {
        self.tip.height
    }

    /// Its header.
    pub const fn header(&self) -> &BlockHeader {
        &self.tip
    }

    /// Its digest.
    pub const fn digest(&self) -> Hash {
        self.head.parent
    }

    /// Length of the log after it, bytes.
    pub const fn length(&self) -> u64 {
        self.head.length
    }

    /// The header of the block that would follow with this draft; nothing is written.
    pub fn seal(&self, draft: &BlockDraft<'_>) -> BlockHeader {
        let mut records = Frontier::new();
        for record in draft.records {
            records.push(leaf_hash(&record.leaf()));
        }
        self.head.header_of(draft, records.size(), records.root())
    }

    /// Moves to the block that follows (its header, its digest, the length of the log after it), and says what is to be
    /// known of that block to begin there.
    ///
    /// # Panics
    /// If it does not follow.
    pub fn advance(&mut self, header: &BlockHeader, digest: Hash, length: u64) -> Claim {
        let peaks = self.head.headers.peaks().to_vec();
        self.head.advance(header, header.to_raw().as_bytes(), digest, length);
        self.tip = *header;
        Claim {
            height: header.height,
            length,
            digest,
            peaks,
        }
    }

    /// The block of a claim, as it stands in the log.
    pub(crate) fn find(log: &Log, chain: ChainId, claim: &Claim) -> Result<Self, Fault> {
        let height = claim.height;
        let size = frame_size(HEADER_SIZE as u64);
        let fault = |kind, at| log.fault(kind, at, height);
        let at = claim.length.checked_sub(size).filter(|at| *at >= LOG_START);
        let at = at.ok_or_else(|| fault(FaultKind::CommitMismatch, LOG_START))?;
        if claim.length > log.capacity() || log.left(at) < size {
            return Err(fault(FaultKind::Truncated, at.min(log.capacity())));
        }
        let frame = log
            .frame_at(at, End::Published(claim.length), height)?
            .filter(|frame| frame.kind == KIND_BLOCK && frame.version == BLOCK_FRAME_VERSION && frame.offset == at)
            .ok_or_else(|| fault(FaultKind::HeaderVersion, at))?;
        let raw = RawBlockHeader::read(frame.payload).ok_or_else(|| fault(FaultKind::HeaderVersion, at))?;
        let tip = BlockHeader::from_raw(&raw).map_err(|kind| fault(kind, at))?;
        if block_digest(chain, frame.payload) != claim.digest {
            return Err(fault(FaultKind::Parent, at));
        }
        let seq_next = tip.next_seq().ok_or_else(|| fault(FaultKind::Sequence, at))?;
        // The header names the headers before it.
        let mut headers = Frontier::from_peaks(height, claim.peaks.clone())
            .filter(|before| before.root() == tip.log_root)
            .ok_or_else(|| fault(FaultKind::LogRoot, at))?;
        headers.push(leaf_hash(frame.payload));
        if tip.height != height || tip.chain != chain {
            return Err(fault(FaultKind::Height, at));
        }
        let head = Head {
            chain,
            length: claim.length,
            height_next: headers.size(),
            seq_next,
            time_min: tip.time,
            parent: claim.digest,
            headers,
            is_alone: has_no_delegates(chain, &tip),
        };
        Ok(Self { head, tip })
    }
}
