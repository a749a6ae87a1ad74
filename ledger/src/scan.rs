//! Walking a log block by block, checking everything that its bytes alone can show.

use wattbook_types::committee::dpos_hash_alone;
use wattbook_types::tree::{Frontier, leaf_hash};
use wattbook_types::{ChainId, Hash, TimeNs};

use crate::block::{BlockHeader, FIRST_SEQ, RawBlockHeader, block_digest};
use crate::error::{Fault, FaultKind};
use crate::frame::{KIND_BLOCK, KIND_NONE, RecordRef};
use crate::log::{End, Frame, LOG_START, Log};
use crate::store::{BlockDraft, Lead};

/// Version of the frame that closes a block.
pub(crate) const BLOCK_FRAME_VERSION: u16 = 1;

/// One block of the log, checked.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    /// Its header.
    pub header: BlockHeader,
    /// The header's bytes B.
    pub raw: &'a [u8],
    /// `D("block", B)`.
    pub digest: Hash,
    /// Offset of its first frame in the log, bytes.
    pub offset: u64,
    /// Length of the log after it, bytes.
    pub end: u64,
    /// Its records, in sequence.
    pub records: Vec<RecordRef<'a>>,
}

/// Where a log stands after its last block, and what the next one must say.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) chain: ChainId,
    /// Length of the log, bytes.
    pub(crate) length: u64,
    pub(crate) height_next: u64,
    pub(crate) seq_next: u64,
    pub(crate) time_min: TimeNs,
    /// Digest of the last block.
    pub(crate) parent: Hash,
    /// The headers so far.
    pub(crate) headers: Frontier,
    /// Whether genesis has no delegates, so that every header is that of a node alone.
    pub(crate) is_alone: bool,
}

/// Whether a header's delegates are nobody, as they are in every block of a chain without.
pub(crate) fn has_no_delegates(chain: ChainId, header: &BlockHeader) -> bool {
    header.dpos_hash == dpos_hash_alone(chain)
}

impl Head {
    /// Before genesis.
    pub(crate) const fn new(chain: ChainId) -> Self {
        Self {
            is_alone: true,
            chain,
            length: LOG_START,
            height_next: 0,
            seq_next: FIRST_SEQ,
            time_min: TimeNs::ZERO,
            parent: Hash::ZERO,
            headers: Frontier::new(),
        }
    }

    /// The header of the block that follows with these records.
    pub(crate) fn header_of(&self, draft: &BlockDraft<'_>, record_count: u64, record_root: Hash) -> BlockHeader {
        let lead = draft.lead.unwrap_or(Lead {
            producer: 0,
            epoch: 0,
            view: self.height_next,
            next_committee: Hash::ZERO,
        });
        BlockHeader {
            flags: 0,
            producer: lead.producer,
            height: self.height_next,
            epoch: lead.epoch,
            view: lead.view,
            time: draft.time_ns,
            record_count,
            event_count: draft.event_count,
            first_seq: self.seq_next,
            chain: self.chain,
            parent: self.parent,
            record_root,
            event_root: draft.event_root,
            state_root: draft.state_root,
            log_root: self.headers.root(),
            params_hash: draft.params_hash,
            dpos_hash: draft.dpos_hash,
            next_committee: lead.next_committee,
        }
    }

    /// Moves behind a block.
    pub(crate) fn advance(&mut self, header: &BlockHeader, raw: &[u8], digest: Hash, length: u64) {
        assert!(
            header.height == self.height_next && header.parent == self.parent,
            "a block follows its parent"
        );
        if header.height == 0 {
            self.is_alone = has_no_delegates(self.chain, header);
        }
        self.length = length;
        self.height_next += 1;
        self.seq_next += header.record_count;
        self.time_min = header.time;
        self.parent = digest;
        self.headers.push(leaf_hash(raw));
    }

    /// Reads and checks the next block, and moves behind it; `None` at the end of the log.
    pub(crate) fn next<'a>(&mut self, log: &'a Log, end: End) -> Result<Option<Block<'a>>, Fault> {
        let height = self.height_next;
        let (mut at, mut records, mut tree) = (self.length, Vec::new(), Frontier::new());
        loop {
            let Some(frame) = log.frame_at(at, end, height)? else {
                // The published length is a block's end, so frames may not run out below it.
                let clean = records.is_empty() && (end == End::Open || end == End::Published(at));
                return if clean {
                    Ok(None)
                } else {
                    Err(log.fault(FaultKind::Truncated, at, height))
                };
            };
            at = frame.end;
            if frame.kind == KIND_BLOCK {
                return self.close(log, frame, records, &tree).map(Some);
            }
            if frame.kind == KIND_NONE {
                return Err(log.fault(FaultKind::RecordKind, frame.offset, height));
            }
            if Some(frame.seq) != self.seq_next.checked_add(tree.size()) {
                return Err(log.fault(FaultKind::Sequence, frame.offset, height));
            }
            tree.push(leaf_hash(frame.leaf));
            records.push(RecordRef {
                kind: frame.kind,
                version: frame.version,
                seq: frame.seq,
                payload: frame.payload,
                leaf: frame.leaf,
                offset: frame.offset,
            });
        }
    }

    /// Checks the frame that closes a block against the records and the chain before it.
    fn close<'a>(
        &mut self,
        log: &'a Log,
        frame: Frame<'a>,
        records: Vec<RecordRef<'a>>,
        tree: &Frontier,
    ) -> Result<Block<'a>, Fault> {
        let fault = |kind| log.fault(kind, frame.offset, self.height_next);
        let raw = RawBlockHeader::read(frame.payload)
            .filter(|_| frame.version == BLOCK_FRAME_VERSION)
            .ok_or_else(|| fault(FaultKind::HeaderVersion))?;
        let header = BlockHeader::from_raw(&raw).map_err(fault)?;
        // Genesis has no records; its events, if any, are not records either.
        let count_max = if header.height == 0 { 0 } else { u64::MAX };
        let rules = [
            (FaultKind::Chain, header.chain == self.chain),
            (
                FaultKind::Height,
                header.height == self.height_next && frame.seq == header.height,
            ),
            (
                FaultKind::HeaderAlone,
                header.is_alone() || !self.is_alone && header.flags == 0,
            ),
            (FaultKind::Parent, header.parent == self.parent),
            (
                FaultKind::Sequence,
                header.first_seq == self.seq_next && header.next_seq().is_some(),
            ),
            (
                FaultKind::RecordCount,
                header.record_count == tree.size() && header.record_count <= count_max,
            ),
            (FaultKind::RecordRoot, header.record_root == tree.root()),
            (FaultKind::LogRoot, header.log_root == self.headers.root()),
            (FaultKind::Time, header.time >= self.time_min),
        ];
        if let Some((kind, _)) = rules.iter().find(|(_, holds)| !holds) {
            return Err(fault(*kind));
        }
        let digest = block_digest(self.chain, frame.payload);
        let offset = records.first().map_or(frame.offset, |record| record.offset);
        self.advance(&header, frame.payload, digest, frame.end);
        Ok(Block {
            header,
            raw: frame.payload,
            digest,
            offset,
            end: frame.end,
            records,
        })
    }
}
