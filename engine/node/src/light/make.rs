//! Bundles from a ledger: executes it to know who sat, and takes the certificates that lie beside it.

use super::HEADERS_MAX;
use super::bundle::{Border, Bundle, Member, RecordPath};
use crate::execute::{Executor, StartError, decode_record};
use std::path::Path;
use thiserror::Error;
use wattbook_ledger::{Block, CertificateReader, HEADER_SIZE, Reader};
use wattbook_types::tree;

/// Why a bundle cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    /// Its genesis.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A chain without delegates.
    #[error(
        "the chain has no delegates, so its blocks have no certificates; `wattbook prove` proves its records by checkpoints"
    )]
    NoDelegates,
    /// A block that does not follow.
    #[error("block {0} does not follow from the one before it: verify the ledger")]
    Unlike(u64),
    /// No such record.
    #[error("the ledger has no record {0}")]
    NoRecord(u64),
    /// The certificate that is needed is not here.
    #[error("no certificate of block {0} lies beside the ledger; another node may have it")]
    NoCertificate(u64),
}

impl Bundle {
    /// What proves a record of a ledger, beside a running node or offline. The ledger is executed up to the record.
    ///
    /// # Errors
    /// [`MakeError`].
    pub fn of_record(dir: &Path, archive: Option<&Path>, seq: u64) -> Result<Self, MakeError> {
        let reader = Reader::open_in(dir, archive)?;
        let certificates = CertificateReader::open(dir)?;
        let (mut executor, _) = Executor::start(reader.genesis())?;
        if executor.market().committee().is_none() {
            return Err(MakeError::NoDelegates);
        }
        let chain = executor.chain();
        let (mut borders, mut headers) = (Vec::new(), Vec::new());
        let mut found: Option<(RecordPath, u64, [u8; 120])> = None;
        for block in reader.blocks() {
            let block = block.map_err(wattbook_ledger::Error::from)?;
            let height = block.header.height;
            if height == 0 {
                continue;
            }
            if let Some(record) = record_of(&block, seq) {
                let (certified, certificate) = certificates
                    .at_or_above(height)
                    .filter(|(certified, _)| certified - height < HEADERS_MAX as u64)
                    .ok_or(MakeError::NoCertificate(height))?;
                found = Some((record, certified, *certificate));
            }
            if found.is_some() {
                headers.push(raw(&block));
            }
            if let Some((record, _, certificate)) = found.take_if(|(_, certified, _)| *certified == height) {
                return Ok(Self {
                    chain,
                    borders,
                    headers,
                    certificate,
                    record,
                });
            }
            // Whoever sits next is what execution says.
            let unlike = MakeError::Unlike(height);
            let mut last = block.header.first_seq.saturating_sub(1);
            for record in &block.records {
                let command = decode_record(chain, record.kind, record.version, record.payload);
                let applied = command.map(|command| executor.apply(record.seq, &command));
                if !applied.is_ok_and(|applied| applied.is_ok()) {
                    return Err(unlike);
                }
                last = record.seq;
            }
            let ended = executor
                .end_block_of(&block.header, last)
                .map_err(|_| MakeError::Unlike(height))?;
            if ended.next_committee != block.header.next_committee {
                return Err(unlike);
            }
            if ended.next_committee != wattbook_types::Hash::ZERO {
                let committee = executor.market().committee();
                let seats = committee.map_or(&[][..], |committee| committee.seats());
                borders.push(Border {
                    header: raw(&block),
                    certificate: *certificates.of(height).ok_or(MakeError::NoCertificate(height))?,
                    committee: seats.iter().map(Member::from).collect(),
                });
            }
        }
        Err(MakeError::NoRecord(seq))
    }
}

fn raw(block: &Block<'_>) -> [u8; HEADER_SIZE] {
    // INVARIANT: a block's raw bytes are a header's.
    block.raw.try_into().expect("INVARIANT: a header's size")
}

/// The record of this number, if it is in the block, with its path.
fn record_of(block: &Block<'_>, seq: u64) -> Option<RecordPath> {
    let index = block.records.iter().position(|record| record.seq == seq)?;
    let leaves: Vec<_> = block
        .records
        .iter()
        .map(|record| tree::leaf_hash(record.leaf))
        .collect();
    let record = &block.records[index];
    Some(RecordPath {
        kind: record.kind,
        version: record.version,
        seq,
        payload: record.payload.to_vec(),
        path: tree::inclusion_proof(&leaves, index)?,
    })
}
