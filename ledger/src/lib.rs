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
//!   block and kind, and nothing is changed, except that a last segment cut short beyond them is filled up with
//!   zeros first.
//! * Complete blocks beyond the newest entry are kept and get their entries.
//! * Other bytes beyond are torn, for no entry ever acknowledged them: zeroed in the last segment, whole files removed
//!   after it.
//! * Commit entries are torn only if they are among the last [`ENTRIES_UNSYNCED_MAX`], their blocks are there, and each
//!   of their bytes is zero or what the entry must say; they are then written again. Any other wrong entry is damage.
//! * [`Recovery`] says in one sentence what was done.
//! * [`Store::open_from`] does the same from an [`Anchor`] on, which a [`Snapshot`] gives: blocks below it are taken as they
//!   stand until a [`Scrub`] has read them. [`repair`] takes damaged blocks from a copy, by what the log key has signed.

mod ahead;
mod anchor;
mod block;
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
mod note;
mod proof;
mod read;
mod recover;
mod repair;
mod scan;
mod scrub;
mod segment;
mod sigbus;
mod snapshot;
mod store;
mod tiles;

pub use anchor::{Anchor, Claim};
pub use block::{BlockHeader, FIRST_SEQ, HEADER_SIZE, HEADER_VERSION, RawBlockHeader};
pub use check::{CheckError, Checked, check, check_with};
pub use commits::{COMMIT_SIZE, Commit};
pub use disk::{DiskCall, NO_WATCH, Watch};
pub use error::{Error, Fault, FaultKind};
pub use files::{COMMITS_FILE, GENESIS_FILE, LOCK_FILE};
pub use frame::{
    FRAME_ALIGN, FRAME_HEADER_SIZE, KIND_BLOCK, KIND_NONE, Record, RecordRef, frame_size, record_leaf_hash, record_root,
};
pub use group::{Committer, ENTRIES_UNSYNCED_MAX, GroupPolicy};
pub use index::{HeaderIndex, INDEX_DIR};
pub use keyed::KeyIndex;
pub use note::{
    Checkpoint, KeyKind, NOTE_SIGNATURES_MAX, NOTE_SIZE_MAX, Note, NoteError, NoteKey, SignatureLine, origin,
};
pub use proof::{ProofError, Proven, RecordProof, check_consistency};
pub use read::{Blocks, Reader};
pub use recover::Recovery;
pub use repair::{DAMAGED_DIR, RepairError, Repaired, genesis_of, recorded_chain, repair};
pub use scan::Block;
pub use scrub::{Scrub, Scrubbed};
pub use segment::{SEGMENT_HEADER_SIZE, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
pub use sigbus::{BusError, BusErrors};
pub use snapshot::{SNAPSHOTS_DIR, Snapshot};
pub use store::{Appended, BlockDraft, GenesisRoots, Options, Store};
pub use tiles::{TilesExported, export_tiles};
