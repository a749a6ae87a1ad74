//! The one writer: create, open, append, commit.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use wattbook_types::tree::{Frontier, leaf_hash};
use wattbook_types::{ChainId, Hash, TimeNs, sha256};

use crate::anchor::Anchor;
use crate::block::BlockHeader;
use crate::commits::{COMMIT_SIZE, Commit, RawCommit};
use crate::error::Error;
use crate::files::{COMMITS_FILE, GENESIS_FILE, lock_exclusive, segment_path, sync_dir};
use crate::frame::{FRAME_HEADER_SIZE, KIND_BLOCK, KIND_NONE, LEAF_OFFSET, RawFrameHeader, Record, frame_size};
use crate::log::{LOG_START, Log};
use crate::recover::{Recovery, recover};
use crate::scan::{BLOCK_FRAME_VERSION, Head};
use crate::segment::is_segment_size;

/// How a ledger is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment file, bytes: a multiple of 4096 up to 2^30. An existing ledger keeps the size it records.
    pub segment_size: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_size: 64 << 20 }
    }
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let size = self.segment_size;
        if is_segment_size(size) {
            Ok(())
        } else {
            Err(Error::SegmentSize { size })
        }
    }
}

/// What block 0 says beside the genesis bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenesisRoots {
    /// Genesis time.
    pub time_ns: TimeNs,
    /// State root after genesis.
    pub state_root: Hash,
    /// Root over genesis' public events.
    pub event_root: Hash,
    /// Digest of the parameters in force.
    pub params_hash: Hash,
    /// Digest of the delegates' state.
    pub dpos_hash: Hash,
}

/// A block to be appended: what the market says; the ledger adds the rest of the header.
#[derive(Clone, Copy, Debug)]
pub struct BlockDraft<'a> {
    /// Time of the block's last Tick; not before the parent's.
    pub time_ns: TimeNs,
    /// The records, with consecutive sequence numbers from [`Store::next_seq`].
    pub records: &'a [Record<'a>],
    /// Number of public events.
    pub event_count: u64,
    /// Root over the public events.
    pub event_root: Hash,
    /// State root after the block.
    pub state_root: Hash,
    /// Digest of the parameters in force.
    pub params_hash: Hash,
    /// Digest of the delegates' state.
    pub dpos_hash: Hash,
}

/// A block that stands in the log, durable only after [`Store::commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its header.
    pub header: BlockHeader,
    /// Its digest.
    pub digest: Hash,
    /// Length of the log after it, bytes.
    pub length: u64,
}

/// An open ledger, held exclusively.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    genesis: Vec<u8>,
    log: Log,
    head: Head,
    tip: BlockHeader,
    commits: File,
    committed: Commit,
    pending: Vec<Commit>,
    key: SigningKey,
    poisoned: bool,
    /// Held, never read: the exclusive lock ends with the store.
    _lock: File,
}

impl Store {
    /// Creates a ledger in `dir` with a durable block 0, and the directory if there is none.
    ///
    /// # Errors
    /// [`Error::Exists`] if a ledger is there, [`Error::Locked`], [`Error::SegmentSize`], [`Error::Io`].
    pub fn create(
        dir: &Path,
        genesis: &[u8],
        log_key: &SigningKey,
        options: Options,
        roots: GenesisRoots,
    ) -> Result<Self, Error> {
        options.check()?;
        std::fs::create_dir_all(dir).map_err(Error::io("create the directory", dir))?;
        let lock = lock_exclusive(dir)?;
        let (genesis_path, commits_path) = (dir.join(GENESIS_FILE), dir.join(COMMITS_FILE));
        for path in [&genesis_path, &commits_path, &segment_path(dir, 0)] {
            if path.try_exists().map_err(Error::io("look for", path))? {
                return Err(Error::Exists { path: path.clone() });
            }
        }
        File::create_new(&genesis_path)
            .and_then(|file| {
                file.write_all_at(genesis, 0)?;
                file.sync_all()
            })
            .map_err(Error::io("write", &genesis_path))?;
        let commits = File::create_new(&commits_path).map_err(Error::io("create", &commits_path))?;
        let chain = ChainId(sha256(&[genesis]));
        let mut log = Log::new(dir, chain, options.segment_size);
        let mut head = Head::new(chain);
        let first = append(&mut log, &mut head, &genesis_draft(&roots))?;
        let pending = vec![Commit {
            height: 0,
            length: first.length,
            digest: first.digest,
        }];
        let mut store = Self {
            dir: dir.to_owned(),
            genesis: genesis.to_owned(),
            log,
            head,
            tip: first.header,
            commits,
            committed: Commit {
                height: 0,
                length: LOG_START,
                digest: Hash::ZERO,
            },
            pending,
            key: log_key.clone(),
            poisoned: false,
            _lock: lock,
        };
        store.commit()?;
        sync_dir(dir)?;
        Ok(store)
    }

    /// Opens the ledger in `dir`, recovering what a crash left; its recorded segment size wins over `options`.
    ///
    /// # Errors
    /// [`Error::Locked`] while another holds it, [`Error::Damaged`] with nothing changed, [`Error::Io`].
    pub fn open(dir: &Path, log_key: &SigningKey, options: Options) -> Result<(Self, Recovery), Error> {
        Self::open_from(dir, log_key, options, None)
    }

    /// Opens as [`Self::open`] does, but reads from an anchor on, if there is one: what lies before it is taken as it
    /// stands until a [`Scrub`](crate::Scrub) has read it. The anchor's commit entry must be signed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_from(
        dir: &Path,
        log_key: &SigningKey,
        options: Options,
        anchor: Option<&Anchor>,
    ) -> Result<(Self, Recovery), Error> {
        options.check()?;
        let lock = lock_exclusive(dir)?;
        let found = recover(dir, log_key, anchor)?;
        let store = Self {
            dir: dir.to_owned(),
            genesis: found.genesis,
            log: found.log,
            head: found.head,
            tip: found.tip,
            commits: found.commits,
            committed: found.committed,
            pending: Vec::new(),
            key: log_key.clone(),
            poisoned: false,
            _lock: lock,
        };
        Ok((store, found.recovery))
    }

    /// Appends a block; readers see it after [`Store::commit`].
    ///
    /// # Errors
    /// The draft is refused and nothing is appended: [`Error::Time`], [`Error::Sequence`], [`Error::RecordKind`],
    /// [`Error::RecordSize`]; a segment cannot be created: [`Error::Io`]; [`Error::Poisoned`].
    pub fn append_block(&mut self, draft: &BlockDraft<'_>) -> Result<Appended, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let block = append(&mut self.log, &mut self.head, draft)?;
        self.pending.push(Commit {
            height: block.header.height,
            length: block.length,
            digest: block.digest,
        });
        self.tip = block.header;
        Ok(block)
    }

    /// Makes every appended block durable, then publishes each by a signed entry in the commit file.
    ///
    /// # Errors
    /// [`Error::Io`], after which the store answers only [`Error::Poisoned`]: a failed sync cannot be repeated.
    pub fn commit(&mut self) -> Result<Commit, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let Some(last) = self.pending.last().copied() else {
            return Ok(self.committed);
        };
        self.poisoned = true;
        self.log.sync(self.committed.length, last.length)?;
        for commit in &self.pending {
            let entry = RawCommit::sign(commit, self.head.chain, &self.key);
            write_entry(&self.commits, &self.dir, &entry)?;
        }
        self.pending.clear();
        self.committed = last;
        self.poisoned = false;
        Ok(last)
    }

    /// The chain.
    pub const fn chain(&self) -> ChainId {
        self.head.chain
    }

    /// The genesis bytes.
    pub fn genesis(&self) -> &[u8] {
        &self.genesis
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last block, committed or not, to follow the log from.
    pub fn anchor(&self) -> Anchor {
        Anchor::new(self.head.clone(), self.tip)
    }

    /// Header of the last block, committed or not.
    pub const fn tip(&self) -> &BlockHeader {
        &self.tip
    }

    /// Digest of the last block, committed or not.
    pub const fn tip_digest(&self) -> Hash {
        self.head.parent
    }

    /// The newest durable block.
    pub const fn committed(&self) -> Commit {
        self.committed
    }

    /// Sequence number of the next record.
    pub const fn next_seq(&self) -> u64 {
        self.head.seq_next
    }

    /// Height of the next block.
    pub const fn next_height(&self) -> u64 {
        self.head.height_next
    }

    /// Largest payload of a record, bytes.
    pub const fn payload_size_max(&self) -> u64 {
        self.log.payload_max()
    }
}

/// Writes one commit entry and makes it durable. Entries are synced one by one, so at most one is ever torn.
pub(crate) fn write_entry(commits: &File, dir: &Path, entry: &RawCommit) -> Result<(), Error> {
    commits
        .write_all_at(bytemuck::bytes_of(entry), entry.height * COMMIT_SIZE)
        .and_then(|()| commits.sync_data())
        .map_err(Error::io("write", dir.join(COMMITS_FILE)))
}

fn genesis_draft(roots: &GenesisRoots) -> BlockDraft<'static> {
    BlockDraft {
        time_ns: roots.time_ns,
        records: &[],
        event_count: 0,
        event_root: roots.event_root,
        state_root: roots.state_root,
        params_hash: roots.params_hash,
        dpos_hash: roots.dpos_hash,
    }
}

/// Refuses a draft that would break the log; otherwise gives the log's length with it.
fn plan(log: &Log, head: &Head, draft: &BlockDraft<'_>) -> Result<u64, Error> {
    if draft.time_ns < head.time_min {
        return Err(Error::Time {
            parent: head.time_min.get(),
            found: draft.time_ns.get(),
        });
    }
    let (mut length, mut expected) = (head.length, head.seq_next);
    for record in draft.records {
        let (seq, size) = (record.seq, record.payload.len());
        if seq != expected || seq == u64::MAX {
            return Err(Error::Sequence { expected, found: seq });
        }
        if record.kind == KIND_NONE || record.kind == KIND_BLOCK {
            return Err(Error::RecordKind { seq, kind: record.kind });
        }
        if size as u64 > log.payload_max() {
            return Err(Error::RecordSize {
                seq,
                size,
                size_max: log.payload_max() as usize,
            });
        }
        let frame = frame_size(size as u64);
        length = log.place(length, frame) + frame;
        expected += 1;
    }
    let frame = frame_size(crate::block::HEADER_SIZE as u64);
    Ok(log.place(length, frame) + frame)
}

/// Writes one frame behind `length`; gives its place and the new length.
fn put(log: &mut Log, length: u64, kind: u16, version: u16, seq: u64, payload: &[u8]) -> (u64, u64) {
    let size = frame_size(payload.len() as u64);
    let at = log.place(length, size);
    let Some(head) = RawFrameHeader::seal(kind, version, seq, payload) else {
        unreachable!("`plan` refused payloads beyond a segment");
    };
    log.write_frame(at, &head, payload);
    (at, at + size)
}

/// Appends a block to the log and moves the head behind it.
fn append(log: &mut Log, head: &mut Head, draft: &BlockDraft<'_>) -> Result<Appended, Error> {
    let planned = plan(log, head, draft)?;
    log.grow(planned)?;
    // From here on nothing can fail, so no half-written block is ever left behind a living store.
    let (mut length, mut records) = (head.length, Frontier::new());
    for record in draft.records {
        let (at, end) = put(log, length, record.kind, record.version, record.seq, record.payload);
        let leaf_size = FRAME_HEADER_SIZE - LEAF_OFFSET as u64 + record.payload.len() as u64;
        records.push(leaf_hash(log.bytes(at + LEAF_OFFSET as u64, leaf_size)));
        length = end;
    }
    let header = BlockHeader {
        flags: 0,
        producer: 0,
        height: head.height_next,
        epoch: 0,
        view: head.height_next,
        time: draft.time_ns,
        record_count: records.size(),
        event_count: draft.event_count,
        first_seq: head.seq_next,
        chain: head.chain,
        parent: head.parent,
        record_root: records.root(),
        event_root: draft.event_root,
        state_root: draft.state_root,
        log_root: head.headers.root(),
        params_hash: draft.params_hash,
        dpos_hash: draft.dpos_hash,
        next_committee: Hash::ZERO,
    };
    let raw = header.to_raw();
    let digest = raw.digest(head.chain);
    let (_, end) = put(
        log,
        length,
        KIND_BLOCK,
        BLOCK_FRAME_VERSION,
        header.height,
        raw.as_bytes(),
    );
    assert!(end == planned, "the log grew as planned");
    head.advance(&header, raw.as_bytes(), digest, end);
    Ok(Appended {
        header,
        digest,
        length: end,
    })
}
