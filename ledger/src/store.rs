//! The one writer: create, open, append, commit, or split into a writer and its committer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use wattbook_types::tree::{Frontier, leaf_hash};
use wattbook_types::{ChainId, Hash, TimeNs, sha256};

use crate::anchor::Anchor;
use crate::block::BlockHeader;
use crate::commits::{COMMIT_SIZE, Commit, RawCommit};
use crate::disk::{DiskCall, NO_WATCH, Watch};
use crate::error::Error;
use crate::files::{COMMITS_FILE, GENESIS_FILE, lock_exclusive, segment_path, sync_dir};
use crate::frame::{FRAME_HEADER_SIZE, KIND_BLOCK, KIND_NONE, LEAF_OFFSET, RawFrameHeader, Record, frame_size};
use crate::group::{Commits, Committer, ENTRIES_UNSYNCED_MAX, GroupPolicy, Pending, Queue};
use crate::log::{LOG_START, Log};
use crate::mend::Mender;
use crate::recover::{Recovery, recover};
use crate::scan::{BLOCK_FRAME_VERSION, Head};
use crate::segment::{is_segment_size, reserve};

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
    /// Whose block it is among delegates; `None` for a node alone.
    pub lead: Option<Lead>,
}

/// What a header says of the delegate who made the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Rank of the producer in its committee.
    pub producer: u32,
    /// The committee's epoch.
    pub epoch: u64,
    /// The view it was proposed in.
    pub view: u64,
    /// Digest of the next committee; zero off the border.
    pub next_committee: Hash,
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

impl Appended {
    /// What its commit entry says.
    pub const fn commit(&self) -> Commit {
        Commit {
            height: self.header.height,
            length: self.length,
            digest: self.digest,
        }
    }
}

/// Records that stand in the log without a block yet, each by the place and size of its leaf.
#[derive(Debug, Default)]
struct Open {
    leaves: Vec<(u64, u32)>,
    /// Length of the log with them, bytes.
    length: u64,
}

/// Where blocks go to become durable.
#[derive(Debug)]
enum Durability {
    /// [`Store::commit`] makes them so.
    Here(Box<Commits>, Vec<Pending>),
    /// A [`Committer`] does.
    Queue(Arc<Queue>),
}

/// Room reserved for commit entries at a time, bytes.
const ENTRIES_ROOM: u64 = 64 << 10;

/// An open ledger, held exclusively.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    genesis: Vec<u8>,
    log: Log,
    head: Head,
    tip: BlockHeader,
    open: Open,
    durability: Durability,
    key: SigningKey,
    /// The commit file, and the size up to which it has room.
    entries: (File, u64),
    watch: Watch,
    poisoned: bool,
    /// Held, never read: the exclusive lock ends with the store.
    _lock: Arc<File>,
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
        let lock = Arc::new(lock_exclusive(dir)?);
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
        let mut open = Open {
            length: LOG_START,
            ..Open::default()
        };
        let first = append(&mut log, &mut head, &mut open, &genesis_draft(&roots))?;
        let pending = Pending {
            ranges: log.ranges(LOG_START, first.length),
            block: first,
            renamed: false,
        };
        let committed = Commit {
            height: 0,
            length: LOG_START,
            digest: Hash::ZERO,
        };
        let durability = Durability::here(dir, (&commits, &lock), committed, vec![pending])?;
        let mut store = Self {
            dir: dir.to_owned(),
            genesis: genesis.to_owned(),
            log,
            head,
            tip: first.header,
            open,
            durability,
            key: log_key.clone(),
            entries: (commits, 0),
            watch: NO_WATCH,
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
        let lock = Arc::new(lock_exclusive(dir)?);
        let found = recover(dir, log_key, anchor)?;
        let store = Self {
            dir: dir.to_owned(),
            genesis: found.genesis,
            open: Open {
                length: found.head.length,
                ..Open::default()
            },
            durability: Durability::here(dir, (&found.commits, &lock), found.committed, Vec::new())?,
            log: found.log,
            head: found.head,
            tip: found.tip,
            key: log_key.clone(),
            entries: (found.commits, 0),
            watch: NO_WATCH,
            poisoned: false,
            _lock: lock,
        };
        Ok((store, found.recovery))
    }

    /// Puts a watch between the store and the disk; tests do.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = watch;
        self.log.watch(watch);
        if let Durability::Here(commits, _) = &mut self.durability {
            commits.watch = watch;
        }
    }

    /// Starts the helper thread that prepares segments and pages ahead of the writer.
    ///
    /// # Errors
    /// [`Error::Io`] if the system gives no thread.
    pub fn start_ahead(&mut self) -> Result<(), Error> {
        self.log.start_ahead(self.head.length)
    }

    /// How many bytes behind the end of the log the helper has made writable.
    pub fn ready_ahead(&self) -> u64 {
        self.log.ready_ahead(self.open.length)
    }

    /// Splits the store: this half goes on appending, the other makes blocks durable, on its own thread. What was
    /// appended before is in the committer's first group; dropping the store ends the committer.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if a commit failed before, or if the store is split already.
    pub fn split(&mut self, policy: GroupPolicy) -> Result<Committer, Error> {
        // Whatever the halves were, a second committer would write the same entries.
        let Durability::Here(..) = &self.durability else {
            return Err(Error::Poisoned);
        };
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let placeholder = Durability::Queue(Arc::new(Queue::new(self.committed(), 1)));
        let Durability::Here(commits, pending) = core::mem::replace(&mut self.durability, placeholder) else {
            unreachable!("asked above");
        };
        let (committer, queue) = Committer::new(*commits, policy);
        for pending in pending {
            let commit = pending.block.commit();
            queue.push(pending);
            queue.sign(RawCommit::sign(&commit, self.head.chain, &self.key));
        }
        self.durability = Durability::Queue(queue);
        Ok(committer)
    }

    /// Appends one record of the next block: frame, checksum, bytes. The block exists with [`Self::append_block`], whose
    /// draft names only the records that are not there yet.
    ///
    /// # Errors
    /// The record is refused and nothing is appended: [`Error::Sequence`], [`Error::RecordKind`],
    /// [`Error::RecordSize`], [`Error::Full`]. [`Error::Io`], after which the store answers only [`Error::Poisoned`].
    pub fn append_record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let end = plan_record(&self.log, self.open.length, self.next_seq(), record)?;
        if end > self.log.capacity() {
            let grown = self.log.grow(end);
            self.poisoning(grown)?;
        }
        self.open.put(&mut self.log, record);
        Ok(())
    }

    /// Passes a result on; after an error of the disk, full ones apart, neither half does anything any more.
    fn poisoning<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if matches!(result, Err(Error::Io { .. })) {
            self.poisoned = true;
            if let Durability::Queue(queue) = &self.durability {
                queue.fail();
            }
        }
        result
    }

    /// Appends a block; readers see it once it is durable. A split store waits while too many blocks are not.
    ///
    /// # Errors
    /// The draft is refused and nothing is appended: [`Error::Time`], [`Error::Sequence`], [`Error::RecordKind`],
    /// [`Error::RecordSize`]; there is no room for it, which a later call may find: [`Error::Full`]; a segment cannot be
    /// created or made durable: [`Error::Io`], after which both halves answer only [`Error::Poisoned`].
    pub fn append_block(&mut self, draft: &BlockDraft<'_>) -> Result<Appended, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        if let Durability::Queue(queue) = &self.durability {
            queue.admit()?;
        }
        let before = self.head.length;
        let reserved = self.reserve_entry();
        let appended = reserved.and_then(|()| append(&mut self.log, &mut self.head, &mut self.open, draft));
        let block = self.poisoning(appended)?;
        self.tip = block.header;
        let pending = Pending {
            ranges: self.log.ranges(before, block.length),
            renamed: self.log.take_renamed(),
            block,
        };
        match &mut self.durability {
            Durability::Here(_, waiting) => waiting.push(pending),
            Durability::Queue(queue) => {
                queue.push(pending);
                // The committer syncs the block meanwhile: signing takes as long as some disks need for that.
                queue.sign(RawCommit::sign(&block.commit(), self.head.chain, &self.key));
            }
        }
        Ok(block)
    }

    /// Sees to it that the next commit entry has room, so that no sync is the first to find that it has none.
    fn reserve_entry(&mut self) -> Result<(), Error> {
        let (file, room) = &mut self.entries;
        let needed = (self.head.height_next + 1) * COMMIT_SIZE;
        if needed > *room {
            let (path, size) = (self.dir.join(COMMITS_FILE), needed.next_multiple_of(ENTRIES_ROOM));
            (self.watch)(DiskCall::Allocate { path: &path, size })
                .and_then(|()| reserve(file, size))
                .map_err(Error::room("reserve room for entries in", &path))?;
            *room = size;
        }
        Ok(())
    }

    /// Makes every appended block durable, then publishes each by a signed entry in the commit file, durable too.
    ///
    /// # Errors
    /// [`Error::Io`], after which the store answers only [`Error::Poisoned`]: a failed sync cannot be repeated. A store
    /// that was split answers [`Error::Poisoned`] as well: its committer commits.
    pub fn commit(&mut self) -> Result<Commit, Error> {
        let Durability::Here(commits, pending) = &mut self.durability else {
            return Err(Error::Poisoned);
        };
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        self.poisoned = true;
        for group in pending.chunks(ENTRIES_UNSYNCED_MAX as usize) {
            commits.sync(group.iter())?;
            let (chain, key) = (self.head.chain, &self.key);
            let entries: Vec<RawCommit> = (group.iter())
                .map(|pending| RawCommit::sign(&pending.block.commit(), chain, key))
                .collect();
            commits.write(&entries)?;
            commits.sync_entries()?;
        }
        pending.clear();
        self.poisoned = false;
        Ok(commits.committed)
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

    /// What checks and mends single blocks below the newest committed one, beside this store.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`]: the commit file cannot be read.
    pub fn mender(&self) -> Result<Mender, Error> {
        Mender::beside(
            &self.dir,
            self.head.chain,
            self.key.verifying_key(),
            self.log.segment_size(),
        )
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
    pub fn committed(&self) -> Commit {
        match &self.durability {
            Durability::Here(commits, _) => commits.committed,
            Durability::Queue(queue) => queue.committed(),
        }
    }

    /// Sequence number of the next record.
    pub const fn next_seq(&self) -> u64 {
        self.head.seq_next + self.open.leaves.len() as u64
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

impl Drop for Store {
    fn drop(&mut self) {
        if let Durability::Queue(queue) = &self.durability {
            queue.close();
        }
    }
}

impl Durability {
    fn here(
        dir: &Path,
        (file, lock): (&File, &Arc<File>),
        committed: Commit,
        pending: Vec<Pending>,
    ) -> Result<Self, Error> {
        let commits = Commits {
            dir: dir.to_owned(),
            file: file
                .try_clone()
                .map_err(Error::io("open again", dir.join(COMMITS_FILE)))?,
            committed,
            uring: None,
            durable_entries: committed.height,
            written_entries: committed.height,
            watch: NO_WATCH,
            _lock: Arc::clone(lock),
        };
        Ok(Self::Here(Box::new(commits), pending))
    }
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
        lead: None,
    }
}

/// Refuses a record that would break the log; otherwise gives the log's length with it.
#[inline]
fn plan_record(log: &Log, length: u64, expected: u64, record: &Record<'_>) -> Result<u64, Error> {
    let (seq, kind, size) = (record.seq, record.kind, record.payload.len() as u64);
    let wrong_kind = kind == KIND_NONE || kind == KIND_BLOCK;
    if seq != expected || seq == u64::MAX || wrong_kind || size > log.payload_max() {
        return Err(refusal(log, expected, record));
    }
    let frame = frame_size(size);
    Ok(log.place(length, frame) + frame)
}

/// Why a record is refused.
#[cold]
fn refusal(log: &Log, expected: u64, record: &Record<'_>) -> Error {
    let (seq, size) = (record.seq, record.payload.len());
    if seq != expected || seq == u64::MAX {
        return Error::Sequence { expected, found: seq };
    }
    if record.kind == KIND_NONE || record.kind == KIND_BLOCK {
        return Error::RecordKind { seq, kind: record.kind };
    }
    Error::RecordSize {
        seq,
        size,
        size_max: log.payload_max() as usize,
    }
}

/// Refuses a draft that would break the log; otherwise gives the log's length with it.
fn plan(log: &Log, head: &Head, open: &Open, draft: &BlockDraft<'_>) -> Result<u64, Error> {
    if draft.time_ns < head.time_min {
        return Err(Error::Time {
            parent: head.time_min.get(),
            found: draft.time_ns.get(),
        });
    }
    let (mut length, mut expected) = (open.length, head.seq_next + open.leaves.len() as u64);
    for record in draft.records {
        length = plan_record(log, length, expected, record)?;
        expected += 1;
    }
    let frame = frame_size(crate::block::HEADER_SIZE as u64);
    Ok(log.place(length, frame) + frame)
}

/// Writes one frame behind `length`; gives its place and the new length.
#[inline]
fn put(log: &mut Log, length: u64, kind: u16, version: u16, seq: u64, payload: &[u8]) -> (u64, u64) {
    let size = frame_size(payload.len() as u64);
    let at = log.place(length, size);
    let Some(head) = RawFrameHeader::new(kind, version, seq, payload) else {
        unreachable!("`plan` refused payloads beyond a segment");
    };
    log.write_frame(at, head, payload);
    (at, at + size)
}

impl Open {
    /// Writes a planned record.
    #[inline]
    fn put(&mut self, log: &mut Log, record: &Record<'_>) {
        let (at, end) = put(
            log,
            self.length,
            record.kind,
            record.version,
            record.seq,
            record.payload,
        );
        // BOUND: a payload never exceeds a segment, 2^30 bytes.
        let leaf_size = FRAME_HEADER_SIZE as u32 - LEAF_OFFSET as u32 + record.payload.len() as u32;
        self.leaves.push((at + LEAF_OFFSET as u64, leaf_size));
        self.length = end;
    }
}

/// Appends a block to the log and moves the head behind it.
fn append(log: &mut Log, head: &mut Head, open: &mut Open, draft: &BlockDraft<'_>) -> Result<Appended, Error> {
    let planned = plan(log, head, open, draft)?;
    log.grow(planned)?;
    // From here on nothing can fail, so no half-written block is ever left behind a living store.
    for record in draft.records {
        open.put(log, record);
    }
    let mut records = Frontier::new();
    for (at, size) in open.leaves.drain(..) {
        records.push(leaf_hash(log.bytes(at, u64::from(size))));
    }
    let header = head.header_of(draft, records.size(), records.root());
    let raw = header.to_raw();
    let digest = raw.digest(head.chain);
    let (_, end) = put(
        log,
        open.length,
        KIND_BLOCK,
        BLOCK_FRAME_VERSION,
        header.height,
        raw.as_bytes(),
    );
    assert!(end == planned, "the log grew as planned");
    head.advance(&header, raw.as_bytes(), digest, end);
    open.length = end;
    Ok(Appended {
        header,
        digest,
        length: end,
    })
}
