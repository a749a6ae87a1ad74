//! The ledger as agreement's store of final blocks, sound or damaged.

use super::form::{self, Form};
use crate::restart::Damages;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use wattbook_agreement::block::Candidate;
use wattbook_agreement::seam::Mendable;
use wattbook_ledger::{BlockDraft, Error, HeaderIndex, Lead, Mender, Reader, Record, RecordRef, Store};
use wattbook_types::Hash;

/// Blocks kept in memory: those that peers ask for while they are new.
const RECENT_LEN: usize = 256;

/// Final blocks, in the ledger.
pub(crate) struct FinalBlocks {
    store: Store,
    form: Form,
    /// Bytes of the newest blocks, by height.
    recent: BTreeMap<u64, Vec<u8>>,
    /// Heights by the first bytes of a digest.
    // BOUND: 16 bytes and overhead a block, 32 MB a day at ten blocks a second.
    heights: HashMap<u64, u64>,
    /// What reads older ones, once one was asked for.
    reading: Mutex<Option<(Reader, HeaderIndex)>>,
    lengths: Lengths,
    damages: Damages,
}

/// Lengths of the log after the blocks appended, by height, for whoever takes them.
pub(crate) type Lengths = Arc<Mutex<BTreeMap<u64, u64>>>;

fn prefix(digest: &Hash) -> u64 {
    u64::from_le_bytes(digest.0[..8].try_into().unwrap_or_default())
}

fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}

fn borrowed<'a>(records: &[RecordRef<'a>]) -> Vec<Record<'a>> {
    let records = records.iter().map(|record| Record {
        kind: record.kind,
        version: record.version,
        seq: record.seq,
        payload: record.payload,
    });
    records.collect()
}

impl FinalBlocks {
    pub(crate) fn new(store: Store, form: Form, lengths: Lengths, damages: Damages) -> Result<Self, Error> {
        let commits = Reader::open(store.dir())?.commits_from(1)?;
        let heights = commits.iter().map(|commit| (prefix(&commit.digest), commit.height));
        Ok(Self {
            heights: heights.collect(),
            store,
            form,
            recent: BTreeMap::new(),
            reading: Mutex::default(),
            lengths,
            damages,
        })
    }

    /// The bytes of a block as the log has it.
    fn read(&self, height: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, index) = match &mut *reading {
            Some(reading) => reading,
            none => {
                let reader = Reader::open(self.store.dir())?;
                let index = HeaderIndex::open(&reader)?;
                none.insert((reader, index))
            }
        };
        if reader.committed().is_none_or(|newest| newest.height < height) {
            reader.refresh()?;
            index.extend(reader)?;
        }
        let Some(block) = index.blocks(reader, height)?.next() else {
            return Ok(None);
        };
        let block = block.map_err(Error::Damaged)?;
        Ok(Some(form::encode(&block.header, &borrowed(&block.records))))
    }

    /// A block could not be read: if it is damaged, peers are asked for it.
    fn report(&self, height: u64) {
        let found = self.store.mender().map_err(failed).map(|mender| {
            let fault = mender.block(height).err();
            fault.filter(|fault| mender.can_mend(fault))
        });
        if let Ok(Some(_)) = found {
            self.damages.report(height);
        }
    }
}

impl wattbook_agreement::seam::Store for FinalBlocks {
    fn tip(&self) -> u64 {
        self.store.tip().height
    }

    fn append(&mut self, block: &Candidate) -> io::Result<()> {
        let (header, records) = form::parts(block.bytes()).ok_or(io::ErrorKind::InvalidData)?;
        let draft = BlockDraft {
            time_ns: header.time,
            records: &records,
            event_count: header.event_count,
            event_root: header.event_root,
            state_root: header.state_root,
            params_hash: header.params_hash,
            dpos_hash: header.dpos_hash,
            lead: Some(Lead {
                producer: header.producer,
                epoch: header.epoch,
                view: header.view,
                next_committee: header.next_committee,
            }),
        };
        // A header that would not come out as it was certified belongs to another chain of blocks.
        if self.store.anchor().seal(&draft) != header {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the certified block {} does not follow from the ledger", header.height),
            ));
        }
        let appended = self.store.append_block(&draft).map_err(failed)?;
        let height = appended.header.height;
        self.heights.insert(prefix(&appended.digest), height);
        let mut lengths = self.lengths.lock().unwrap_or_else(PoisonError::into_inner);
        lengths.insert(height, appended.length);
        drop(lengths);
        self.recent.insert(height, block.bytes().to_vec());
        if self.recent.len() > RECENT_LEN {
            self.recent.pop_first();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.store.commit().map(drop).map_err(failed)
    }

    fn by_digest(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
        let Some(height) = self.heights.get(&prefix(digest)) else {
            return Ok(None);
        };
        let bytes = self.by_height(*height)?;
        let is_it = |bytes: &Vec<u8>| {
            Candidate::read(&self.form, bytes.clone(), usize::MAX).is_ok_and(|block| block.head().digest == *digest)
        };
        Ok(bytes.filter(is_it))
    }
}

impl Mendable for FinalBlocks {
    fn by_height(&self, height: u64) -> io::Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.recent.get(&height) {
            return Ok(Some(bytes.clone()));
        }
        if height > self.store.committed().height {
            return Ok(None);
        }
        match self.read(height) {
            Ok(bytes) => Ok(bytes),
            // As good as absent: peers have it.
            Err(Error::Damaged(fault)) => {
                tracing::error!(height, %fault, "a block of the ledger cannot be read");
                self.report(height);
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn damaged(&self) -> Vec<u64> {
        self.damages.list()
    }

    fn mend(&mut self, block: &Candidate) -> io::Result<bool> {
        let mended = mend(&self.store.mender().map_err(failed)?, block)?;
        if mended {
            self.damages.mended(block.head().height);
        }
        Ok(mended)
    }
}

/// Puts a block back where it stood, if it is the one.
fn mend(mender: &Mender, block: &Candidate) -> io::Result<bool> {
    let (header, records) = form::parts(block.bytes()).ok_or(io::ErrorKind::InvalidData)?;
    match mender.mend(&header, &records) {
        Ok(mended) => Ok(mended),
        // No block can be told for the right one without its entry.
        Err(Error::Damaged(fault)) => {
            tracing::error!(height = header.height, %fault, "a block cannot be mended");
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A ledger that cannot be opened for blocks that are damaged in it.
pub(crate) struct DamagedBlocks {
    pub(crate) mender: Mender,
    pub(crate) damages: Damages,
}

impl Mendable for DamagedBlocks {
    fn by_height(&self, height: u64) -> io::Result<Option<Vec<u8>>> {
        let block = self.mender.block(height).ok();
        Ok(block.map(|(header, records)| form::encode(&header, &borrowed(&records))))
    }

    fn damaged(&self) -> Vec<u64> {
        let mut damaged = self.damages.list();
        // What a file without its header hid is there again with it.
        while let Some(last) = damaged.pop_if(|height| self.mender.block(*height).is_ok()) {
            self.damages.mended(last);
        }
        damaged
    }

    fn mend(&mut self, block: &Candidate) -> io::Result<bool> {
        mend(&self.mender, block)
    }
}
