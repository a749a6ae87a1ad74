//! Batches that lie on the device before they are verified: what the way there costs is the difference to others.

use super::{Submitted, Verdict, Verifier, items, lock};
use crate::gpu::verify::Resident;
use crate::key::SIGNATURE_DST;
use crate::policy::Route;
use wattbook_types::{ChainId, Hash};

/// Envelopes with sound trees whose signatures and digests lie on a device.
#[derive(Debug)]
pub struct Placed<E> {
    batch: Vec<E>,
    digests: Vec<Hash>,
    resident: Resident,
}

impl Verifier {
    /// Hashes headers and trees of a batch, and brings its signatures and digests to the device; `None` where there is no
    /// device, it fails, or some tree is not what its header says.
    pub fn place<E: Submitted>(&mut self, chain: ChainId, batch: Vec<E>) -> Option<Placed<E>> {
        let faults = self.faults_of_trees(&batch);
        if faults.iter().any(Option::is_some) {
            return None;
        }
        let digests: Vec<Hash> = batch
            .iter()
            .map(|envelope| envelope.candidate().header.digest(chain))
            .collect();
        let engine = &self.gpu.as_ref()?.engine;
        let resident = Resident::new(engine, &items(&batch, &digests, &faults), &self.path).ok()??;
        Some(Placed {
            batch,
            digests,
            resident,
        })
    }

    /// The verdicts on a batch that lies on this verifier's device: the same as [`Verifier::verify`]'s. `None` if the
    /// device fails.
    pub fn verify_placed<E: Submitted>(&mut self, placed: &Placed<E>) -> Option<Vec<Verdict>> {
        let gpu = self.gpu.clone()?;
        let items = items(&placed.batch, &placed.digests, &vec![None; placed.batch.len()]);
        let mut stats = self.stats;
        let mut pairings = gpu.pairings.as_deref().map(lock);
        let found = placed.resident.check(
            &gpu.engine,
            &items,
            SIGNATURE_DST,
            &mut self.path,
            pairings.as_deref_mut(),
            &mut stats,
        );
        drop(pairings);
        let Ok(found) = found else {
            self.lose_device();
            return None;
        };
        stats.envelopes += placed.batch.len() as u64;
        stats.take_route(Route::Gpu, items.len() as u64);
        self.stats = stats;
        let verdict = |found: Result<(), _>| found.map_or_else(Verdict::BadSignature, |()| Verdict::Valid);
        let verdicts: Vec<Verdict> = found.into_iter().map(verdict).collect();
        verdicts.iter().for_each(|verdict| self.stats.count(*verdict));
        Some(verdicts)
    }
}
