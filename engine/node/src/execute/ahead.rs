//! Reading ahead of execution: one thread checks blocks and decodes their records, another executes them.
//!
//! # Contract
//! * Blocks are executed in the log's order, each after it was read and everything before it was executed.
//! * What stops the reading is known only when everything read before it has been executed, so the first fault in the
//!   log is the one that is seen. When execution stops, reading stops soon after.
//! * Memory is bounded: a few batches of blocks are under way at a time.

use super::decode_record;
use crate::evidence::EvidenceRecord;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use wattbook_feed::signed::{RegisterRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{Block, BlockHeader};
use wattbook_types::tree::leaf_hash;
use wattbook_types::{ChainId, Command, Hash, Reject};

/// Records of a batch that is handed over, at least; the last one apart.
const BATCH_LEN: usize = 1_024;
/// Batches handed over and not executed yet.
const BATCHES: usize = 8;

/// A block whose bytes hold, its records decoded.
#[derive(Debug)]
pub struct DecodedBlock {
    /// Its header.
    pub header: BlockHeader,
    /// Leaf hash of the header's bytes.
    pub leaf: Hash,
    /// Digest of the block.
    pub digest: Hash,
    /// Length of the log after it, bytes.
    pub end: u64,
    /// Its records, in sequence.
    pub records: Vec<DecodedRecord>,
}

/// A record, decoded.
#[derive(Debug)]
pub struct DecodedRecord {
    /// Its sequence number.
    pub seq: u64,
    /// Offset of its frame in the log, bytes.
    pub offset: u64,
    /// What it commands, or why it commands nothing.
    pub command: Result<Command, Reject>,
    /// What somebody signed, if it was to be kept.
    pub signed: Option<Signed>,
}

/// What somebody signed.
#[derive(Debug)]
pub enum Signed {
    /// A registration: registrar and participant.
    Register(Box<RegisterRecord>),
    /// An envelope: its participant.
    Envelope(SealedEnvelope),
    /// Evidence: its offender, twice.
    Evidence(Box<EvidenceRecord>),
}

/// Whether what records have signed is handed on beside their commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signatures {
    /// It is.
    Keep,
    /// It is not.
    Drop,
}

/// Execution has stopped; nobody wants another block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

/// Takes blocks from the thread that reads them.
#[derive(Debug)]
pub struct Ahead {
    chain: ChainId,
    signatures: Signatures,
    batch: Vec<DecodedBlock>,
    batch_len: usize,
    batches: SyncSender<Vec<DecodedBlock>>,
    /// What was executed: it goes back to the thread, and so to the memory, that it came from.
    spent: Receiver<Vec<DecodedBlock>>,
}

impl Ahead {
    /// Decodes a block and hands it on.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn push(&mut self, block: &Block<'_>) -> Result<(), Stopped> {
        let records = block.records.iter().map(|record| {
            let signed = match self.signatures {
                Signatures::Drop => Ok(None),
                Signatures::Keep => signed(record.kind, record.payload),
            };
            let (command, signed) = match signed {
                Ok(signed) => {
                    let command = decode_record(self.chain, record.kind, record.version, record.payload);
                    (command, signed)
                }
                Err(reject) => (Err(reject), None),
            };
            DecodedRecord {
                seq: record.seq,
                offset: record.offset,
                command,
                signed,
            }
        });
        self.batch.push(DecodedBlock {
            header: block.header,
            leaf: leaf_hash(block.raw),
            digest: block.digest,
            end: block.end,
            records: records.collect(),
        });
        self.batch_len += block.records.len().max(1);
        if self.batch_len >= BATCH_LEN {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), Stopped> {
        self.spent.try_iter().for_each(drop);
        self.batch_len = 0;
        self.batches.send(core::mem::take(&mut self.batch)).map_err(|_| Stopped)
    }
}

/// What a record's participant signed.
fn signed(kind: u16, payload: &[u8]) -> Result<Option<Signed>, Reject> {
    Ok(match kind {
        record_kind::REGISTER => Some(Signed::Register(Box::new(RegisterRecord::decode(payload)?))),
        record_kind::ENVELOPE => Some(Signed::Envelope(SealedEnvelope::decode(payload)?)),
        record_kind::EVIDENCE => Some(Signed::Evidence(Box::new(EvidenceRecord::decode(payload)?))),
        _ => None,
    })
}

/// Reads on a thread of its own, executes on this one: what execution says, and what reading says.
///
/// Whoever reads returns as soon as [`Ahead::push`] says that execution has stopped.
pub fn read_ahead<R: Send, E>(
    chain: ChainId,
    signatures: Signatures,
    read: impl FnOnce(&mut Ahead) -> R + Send,
    mut execute: impl FnMut(&mut DecodedBlock) -> Result<(), E>,
) -> (Result<(), E>, R) {
    thread::scope(|scope| {
        let (batches, received) = sync_channel(BATCHES);
        let (back, spent): (Sender<Vec<DecodedBlock>>, _) = channel();
        let mut ahead = Ahead {
            chain,
            signatures,
            batch: Vec::new(),
            batch_len: 0,
            batches,
            spent,
        };
        let reading = scope.spawn(move || {
            let outcome = read(&mut ahead);
            // Nobody to take the rest is no failure: execution says why.
            let _ = ahead.hand_on();
            outcome
        });
        let executed = (|| {
            for mut batch in received {
                batch.iter_mut().try_for_each(&mut execute)?;
                // The reader may have ended; then it is dropped here.
                let _ = back.send(batch);
            }
            Ok(())
        })();
        let outcome = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (executed, outcome)
    })
}
