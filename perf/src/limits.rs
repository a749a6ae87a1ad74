//! What a node is held against, measured in the same run: bare synchronisation of the same disk, the verifier by itself.

use crate::load::{Latencies, latencies};
use crate::{Error, nanos};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;
use wattbook_shaders::measure::Inputs;
use wattbook_shaders::{Policy, Verdict, Verifier};

/// Synchronisations of one sample.
const SYNCS: u64 = 300;
/// Signatures of one batch: what the node's verify stage takes at most.
const BATCH: usize = 4_096;
/// Batches timed, after one that is not.
const BATCHES: usize = 4;

/// Latencies of `fdatasync` after a write of `len` bytes, on a file in `dir` whose blocks are there already.
pub(crate) fn fdatasync(dir: &Path, len: usize) -> Result<Latencies, Error> {
    let io = Error::io("bare fdatasync");
    let path = dir.join("bare");
    let measure = || -> std::io::Result<Latencies> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)?;
        let bytes = vec![7; len];
        for i in 0..SYNCS {
            file.write_all_at(&bytes, i * len as u64)?;
        }
        file.sync_all()?;
        let mut taken = latencies();
        for i in 0..SYNCS {
            file.write_all_at(&bytes, i * len as u64)?;
            let since = Instant::now();
            file.sync_data()?;
            taken.saturating_record(nanos(since.elapsed()));
        }
        std::fs::remove_file(&path)?;
        Ok(taken)
    };
    measure().map_err(io)
}

/// Envelopes a second that a verifier does by itself on all cores, in the node's batches, with signatures of `keys`
/// keys and `leaves` leaves each.
pub(crate) fn verifier(keys: u32, leaves: u32) -> Result<u64, Error> {
    let inputs = Inputs::new(BATCH, keys as usize, leaves).ok_or(Error::Inputs)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut verifier = Verifier::with_threads(Policy::Auto, cores);
    verifier.calibrate();
    let candidates = inputs.candidates();
    let mut taken = Vec::new();
    for _ in 0..=BATCHES {
        let since = Instant::now();
        let verdicts = verifier.verify(Inputs::chain(), &candidates);
        taken.push(since.elapsed());
        if verdicts.iter().any(|verdict| *verdict != Verdict::Valid) {
            return Err(Error::Inputs);
        }
    }
    let mut taken = taken.split_off(1);
    taken.sort_unstable();
    let median = nanos(taken[taken.len() / 2]).max(1);
    Ok(BATCH as u64 * 1_000_000_000 / median)
}
