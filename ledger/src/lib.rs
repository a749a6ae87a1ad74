//! The ledger: an append-only, memory-mapped log of blocks that is its own proof.
//!
//! The ledger knows nothing of markets: a record is bytes with a kind, a version and a sequence number.
//!
//! # Format
//! * A directory: `genesis.bin`, segments `00000000.seg`, `00000001.seg`, ..., `commits.log`, `lock`; byte map in
//!   docs/ledger-format.md.
//! * A block is its record frames followed by one frame that holds its header B\[352\] ([`RawBlockHeader`]); block 0 is
//!   genesis. A header names its parent, its records (`record_root`) and every header before it (`log_root`).
//! * `commits.log` holds one entry a block, (height, length, block digest) signed with the log key, written after the
//!   block's bytes are durable, and durable itself soon after ([`Committer`]).
//!
//! # Invariants
//! * One writer: [`Store`] holds the directory's lock exclusively.
//! * Readers see only bytes below the published length, which never change.
//! * Every byte is determined by the genesis bytes, the log key, the segment size and the blocks; whatever is no
//!   content is zero. So [`check()`] finds any changed byte.
//! * A log shorter than its newest commit entry is damage, never a shorter log.
//! * After a failed write or sync the store refuses everything: what reached the disk is unknown until it is opened
//!   again. A full disk is no failure: the call that finds it changes nothing and can be made again.
//!
//! # Recovery
//! [`Store::open`] reads everything and keeps the longest valid prefix of complete blocks.
//! * Committed blocks (with an entry) must all be there and right; else [`Error::Damaged`] says which file, offset,
//!   block and kind, and nothing is changed.
//! * Complete blocks beyond the newest entry are kept and get their entries. A last segment cut short beyond the committed
//!   blocks is filled up with zeros.
//! * Other bytes beyond are torn, for no entry ever acknowledged them: zeroed in the last segment, whole files removed
//!   after it.
//! * Commit entries are torn only if they are among the last [`ENTRIES_UNSYNCED_MAX`], their blocks are there, and each
//!   of their bytes is zero or what the entry must say; they are then written again. Any other wrong entry is damage.
//! * [`Recovery`] says in one sentence what was done.
//! * [`retain`] moves sealed segments off; what needs one of them says which and where it lies, and reads it from an archive
//!   that is named ([`Reader::open_in`], [`check_in`]).
//! * [`Store::open_from`] does the same from an [`Anchor`] on, which a [`Snapshot`] gives: blocks below it are taken as they
//!   stand until a [`Scrub`] has read them. [`repair`] takes damaged blocks from a copy, by what the log key has signed.
//!
//! # Reading
//! By block ([`Reader::blocks`], [`HeaderIndex::blocks`]), by sequence number ([`HeaderIndex::records`]), and by whatever the
//! application reads out of a record ([`KeyIndex`]). Indexes are made from the log and never believed over it.
//! ```
//! # use ed25519_dalek::SigningKey;
//! # use wattbook_ledger::{BlockDraft, GenesisRoots, HeaderIndex, KeyIndex, Options, Reader, Record, Store};
//! # use wattbook_types::{Hash, TimeNs, tree};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path();
//! # let (key, zero) = (SigningKey::from_bytes(&[7; 32]), Hash::ZERO);
//! # let (time_ns, event_root) = (TimeNs::ZERO, tree::empty_root());
//! # let roots = GenesisRoots { time_ns, state_root: zero, event_root, params_hash: zero, dpos_hash: zero };
//! # let mut store = Store::create(dir, b"any genesis", &key, Options { segment_size: 1 << 20 }, roots)?;
//! # for (seq, payload) in [(1, b"wind"), (2, b"sun "), (3, b"wind")] {
//! #     let records = [Record { kind: 1, version: 1, seq, payload }];
//! #     store.append_block(&BlockDraft {
//! #         time_ns, records: &records, event_count: 0, event_root, state_root: zero, params_hash: zero, dpos_hash: zero, lead: None,
//! #     })?;
//! # }
//! # store.commit()?;
//! let reader = Reader::open(dir)?;
//! for block in reader.blocks() {
//!     let block = block?;
//!     println!("block {} has {} records", block.header.height, block.records.len());
//! }
//!
//! let mut index = HeaderIndex::open(&reader)?;
//! for record in index.records(&reader, 2)? {
//!     let (header, record) = record?;
//!     println!("record {} in block {}: {} bytes", record.seq, header.height, record.payload.len());
//! }
//!
//! // By the first byte of a payload; a market files records under participants and contracts.
//! let mut by_letter = KeyIndex::new(|record, keys| keys.extend(record.payload.first().copied()));
//! by_letter.extend(&reader, &index)?;
//! let windy: Vec<u64> = by_letter.records(&reader, b'w').map(|found| Ok(found?.1.seq)).collect::<Result<_, wattbook_ledger::Fault>>()?;
//! assert_eq!(windy, [1, 3]);
//! # assert_eq!(index.records(&reader, 2)?.count(), 2);
//! # Ok(())
//! # }
//! ```

mod ahead;
mod anchor;
mod block;
mod certificates;
mod check;
pub mod checkpoints;
mod commits;
mod disk;
mod error;
mod files;
#[cfg(test)]
mod format_doc;
mod frame;
mod group;
mod index;
mod keyed;
mod log;
mod mend;
mod note;
mod proof;
mod read;
mod recover;
mod repair;
mod retention;
mod scan;
mod scrub;
mod segment;
mod sigbus;
mod snapshot;
mod store;
mod tiles;
mod uring;

pub use anchor::{Anchor, Claim};
pub use block::{BlockHeader, FIRST_SEQ, HEADER_SIZE, HEADER_VERSION, RawBlockHeader};
pub use certificates::{CERTIFICATE_ENTRY_SIZE, CERTIFICATE_SIZE, CertificateReader, Certificates, newest_certificate};
pub use check::{CheckError, Checked, check, check_in, check_with};
pub use commits::{COMMIT_SIZE, Commit};
pub use disk::{DiskCall, NO_WATCH, Watch};
pub use error::{Error, Fault, FaultKind};
pub use files::{CERTIFICATES_FILE, COMMITS_FILE, GENESIS_FILE, LOCK_FILE};
pub use frame::{
    FRAME_ALIGN, FRAME_HEADER_SIZE, KIND_BLOCK, KIND_NONE, Record, RecordRef, frame_size, record_leaf_hash, record_root,
};
pub use group::{Committer, ENTRIES_UNSYNCED_MAX, GroupPolicy};
pub use index::{HeaderIndex, INDEX_DIR};
pub use keyed::KeyIndex;
pub use mend::Mender;
pub use note::{
    Certified, Checkpoint, KeyKind, NOTE_SIGNATURES_MAX, NOTE_SIZE_MAX, Note, NoteError, NoteKey, SignatureLine, origin,
};
pub use proof::{ProofError, Proven, RecordProof, check_consistency};
pub use read::{Blocks, Reader, Records};
pub use recover::Recovery;
pub use repair::{DAMAGED_DIR, RepairError, Repaired, genesis_of, recorded_chain, repair};
pub use retention::{HEADERS_FILE, Moved, RETAINED_FILE, RetainError, Retained, retain, retain_beside};
pub use scan::Block;
pub use scrub::{Scrub, Scrubbed};
pub use segment::{SEGMENT_HEADER_SIZE, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
pub use sigbus::{BusError, BusErrors};
pub use snapshot::{SNAPSHOTS_DIR, Snapshot};
pub use store::{Appended, BlockDraft, GenesisRoots, Lead, Options, Store};
pub use tiles::{TilesExported, export_tiles, export_tiles_paced};
