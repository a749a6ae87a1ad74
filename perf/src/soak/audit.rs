//! An execution of a ledger from genesis by nothing but its records: no snapshot, no index, no kept hash.

use std::collections::BTreeMap;
use std::path::Path;
use wattbook_ledger::Reader;
use wattbook_node::execute::{Executor, decode_record};
use wattbook_types::{Command, Hash, ParticipantId};

/// What a ledger holds.
#[derive(Debug, Default)]
pub(super) struct Audited {
    /// Digests of its blocks by height.
    pub(super) blocks: BTreeMap<u64, Hash>,
    /// Numbers of the recorded envelopes.
    pub(super) envelopes: BTreeMap<(ParticipantId, u64), u64>,
}

impl Audited {
    pub(super) fn height(&self) -> u64 {
        self.blocks.keys().next_back().copied().unwrap_or_default()
    }
}

/// Executes the ledger in `dir`.
///
/// # Errors
/// What does not hold.
pub(super) fn execute(dir: &Path) -> Result<Audited, String> {
    let reader = Reader::open(dir).map_err(|error| error.to_string())?;
    let (mut executor, roots) = Executor::start(reader.genesis()).map_err(|error| error.to_string())?;
    let (mut audited, mut root) = (Audited::default(), roots.state_root);
    for block in reader.blocks() {
        let block = block.map_err(|fault| fault.to_string())?;
        let height = block.header.height;
        audited.blocks.insert(height, block.digest);
        if height == 0 {
            continue;
        }
        for record in &block.records {
            let seq = record.seq;
            let command = decode_record(executor.chain(), record.kind, record.version, record.payload)
                .map_err(|reject| format!("record {seq} cannot be read: {reject}"))?;
            if let Command::Envelope(envelope) = &command {
                let name = (envelope.participant, envelope.nonce);
                if let Some(before) = audited.envelopes.insert(name, seq) {
                    return Err(format!("records {before} and {seq} are the same envelope"));
                }
            }
            executor
                .apply(seq, &command)
                .map_err(|refusal| format!("record {seq} is refused: {}", refusal.reject))?;
        }
        let last = block.records.last().map_or(0, |record| record.seq);
        let ended = executor.end_block_of(&block.header, last);
        root = ended.map_err(|why| format!("block {height}: {why}"))?.state_root;
        if root != block.header.state_root {
            return Err(format!("block {height} does not have the root of its execution"));
        }
    }
    if executor.market().state().root_from_scratch() != root {
        return Err("the root kept from block to block is not the one from scratch".into());
    }
    Ok(audited)
}
