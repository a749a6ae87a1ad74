//! A disk that reorders and tears writes between syncs, cut at every sync point of a run.
//!
//! Names and contents of files are durable as of their last sync; at a cut each name, each file's length and each sector
//! is as it was then, as it is now, or torn between the two. From every such image the ledger recovers: nothing
//! acknowledged is missing, nothing is another, the check passes, and the next opening finds nothing to do.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use support::{SMALL, append, create, key, payloads};
use wattbook_ledger::{DiskCall, GroupPolicy, Store, check_with};
use wattbook_types::Hash;

const SECTOR: usize = 512;
/// Images of each cut: everything old, everything new, and dice.
const IMAGES: u64 = 6;

#[derive(Default)]
struct Disk {
    dir: PathBuf,
    work: PathBuf,
    /// Names and contents as of their last sync, by inode.
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
    /// Digest of every block that was appended.
    history: Vec<Hash>,
    acknowledged: u64,
    dice: u64,
    cuts: u64,
    kept: u64,
    torn: u64,
    /// A store that appends while its committer syncs.
    writer: Option<Store>,
}

static DISK: Mutex<Option<Disk>> = Mutex::new(None);

fn disk() -> MutexGuard<'static, Option<Disk>> {
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(call: DiskCall<'_>) -> io::Result<()> {
    let mut guard = disk();
    let state = guard.as_mut().unwrap();
    match call {
        DiskCall::Allocate { .. } => return Ok(()),
        _ => state.cut(),
    }
    match call {
        DiskCall::SyncDir { .. } => state.names = names(&state.dir),
        DiskCall::SyncFile { path } => {
            let inode = std::fs::metadata(path).unwrap().ino();
            state.contents.insert(inode, std::fs::read(path).unwrap());
        }
        DiskCall::SyncRange { path, at, len } => {
            let inode = std::fs::metadata(path).unwrap().ino();
            let now = std::fs::read(path).unwrap();
            let range = at as usize..(at + len) as usize;
            let durable = state.contents.get_mut(&inode).unwrap();
            durable[range.clone()].copy_from_slice(&now[range]);
        }
        DiskCall::Allocate { .. } => {}
    }
    let (writer, roll) = (state.writer.take(), state.roll(2));
    drop(guard);
    if let Some(mut store) = writer {
        if roll == 0 {
            grow(&mut store);
        }
        disk().as_mut().unwrap().writer = Some(store);
    }
    Ok(())
}

fn names(dir: &Path) -> BTreeMap<String, u64> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap())
        .filter(|item| item.file_name() != "lock")
        .map(|item| (item.file_name().into_string().unwrap(), item.metadata().unwrap().ino()))
        .collect()
}

/// Appends a block and remembers its digest.
fn grow(store: &mut Store) {
    let block = append(store, &payloads(store.next_height()));
    disk().as_mut().unwrap().history.push(block.digest);
}

impl Disk {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// One file as a crash may leave it: lengths and sectors old (0), new (1), or by dice (2 and more).
    fn image(&mut self, old: &[u8], new: &[u8], mode: u64) -> Vec<u8> {
        let pick = |disk: &mut Self| if mode < 2 { mode } else { disk.roll(2) };
        let len = if pick(self) == 0 { old.len() } else { new.len() };
        let mut image = old.to_vec();
        image.resize(len, 0);
        for at in (0..len.min(new.len())).step_by(SECTOR) {
            let end = (at + SECTOR).min(len).min(new.len());
            if image[at..end] == new[at..end] || pick(self) == 0 {
                continue;
            }
            // A quarter of the sectors that are written are cut short.
            let until = if mode > 1 && self.roll(4) == 0 {
                at + self.roll((end - at) as u64) as usize
            } else {
                end
            };
            image[at..until].copy_from_slice(&new[at..until]);
        }
        image
    }

    fn cut(&mut self) {
        self.cuts += 1;
        let now = names(&self.dir);
        let paths: BTreeMap<u64, PathBuf> = (now.iter())
            .map(|(name, inode)| (*inode, self.dir.join(name)))
            .collect();
        for mode in 0..IMAGES {
            let _ = std::fs::remove_dir_all(&self.work);
            std::fs::create_dir_all(&self.work).unwrap();
            let all: Vec<String> = self.names.keys().chain(now.keys()).cloned().collect();
            for name in all {
                let newer = if mode < 2 { mode } else { self.roll(2) };
                let inode = if newer == 1 {
                    now.get(&name)
                } else {
                    self.names.get(&name)
                };
                let Some(inode) = inode.copied() else {
                    let _ = std::fs::remove_file(self.work.join(&name));
                    continue;
                };
                let old = self.contents.get(&inode).cloned().unwrap_or_default();
                let new = paths
                    .get(&inode)
                    .map_or_else(|| old.clone(), |path| std::fs::read(path).unwrap());
                let image = self.image(&old, &new, mode);
                std::fs::write(self.work.join(&name), image).unwrap();
            }
            self.recover();
        }
    }

    fn recover(&mut self) {
        let (store, recovery) = Store::open(&self.work, &key(), SMALL)
            .unwrap_or_else(|error| panic!("cut {}, {} acknowledged: {error}", self.cuts, self.acknowledged));
        drop(store);
        assert!(
            recovery.height >= self.acknowledged,
            "{recovery}: {} acknowledged",
            self.acknowledged
        );
        self.kept += recovery.blocks_kept;
        self.torn += u64::from(recovery.torn.is_some());
        let mut heights = 0;
        let checked = check_with(&self.work, &key().verifying_key(), |block| {
            assert_eq!(block.header.height, heights);
            assert_eq!(block.digest, self.history[heights as usize]);
            heights += 1;
            Ok::<(), ()>(())
        });
        assert_eq!(checked.unwrap().tip.height, recovery.height);
        let (_, again) = Store::open(&self.work, &key(), SMALL).unwrap();
        assert!(again.is_clean(), "{again}");
    }
}

/// A folder in memory where there is one: the disk is simulated, so the real one need not wait.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn begin(dir: &Path, work: &Path, seed: u64) -> Store {
    let store = create(dir);
    let names = names(dir);
    let contents = (names.iter())
        .map(|(name, inode)| (*inode, std::fs::read(dir.join(name)).unwrap()))
        .collect();
    *disk() = Some(Disk {
        dir: dir.to_owned(),
        work: work.join("image"),
        names,
        contents,
        history: vec![store.tip_digest()],
        dice: seed,
        ..Disk::default()
    });
    store
}

/// Both halves in one test: they share the disk.
#[test]
fn every_sync_point_of_a_run_recovers() {
    // One store commits by itself, several blocks at a time.
    let (dir, work) = (folder(), folder());
    let mut store = begin(dir.path(), work.path(), 1);
    store.watch(watch);
    for round in 0..10 {
        for _ in 0..=round % 3 {
            grow(&mut store);
        }
        let committed = store.commit().unwrap();
        disk().as_mut().unwrap().acknowledged = committed.height;
    }
    drop(store);
    let first = disk().take().unwrap();
    assert!(
        first.cuts >= 24 && first.torn > 0 && first.kept > 0,
        "{} cuts",
        first.cuts
    );

    for io_uring in [false, true] {
        split(io_uring);
    }
}

/// A split store appends while its committer syncs; entries are not durable for long.
fn split(io_uring: bool) {
    let (dir, work) = (folder(), folder());
    let mut store = begin(dir.path(), work.path(), 2);
    store.watch(watch);
    let policy = GroupPolicy {
        io_uring,
        ..GroupPolicy::default()
    };
    let mut committer = store.split(policy).unwrap();
    if let Some(why) = committer.io_uring_refused() {
        println!("SKIPPED: syncs by io_uring: the kernel grants none: {why}");
        return;
    }
    disk().as_mut().unwrap().writer = Some(store);
    for _ in 0..14 {
        let mut store = disk().as_mut().unwrap().writer.take().unwrap();
        grow(&mut store);
        disk().as_mut().unwrap().writer = Some(store);
        let group = committer.commit().unwrap().unwrap();
        disk().as_mut().unwrap().acknowledged = group.last().unwrap().header.height;
    }
    let store = disk().as_mut().unwrap().writer.take();
    drop(store);
    while let Some(group) = committer.commit().unwrap() {
        disk().as_mut().unwrap().acknowledged = group.last().unwrap().header.height;
    }
    drop(committer);
    let second = disk().take().unwrap();
    assert!(
        second.cuts >= 15 && second.torn > 0 && second.kept > 20,
        "{} cuts",
        second.cuts
    );
    assert_eq!(second.acknowledged + 1, second.history.len() as u64);
}
