//! A batch whose encodings and digests lie on the device before anybody asks what they are worth.
//!
//! # Guarantees
//! Coefficients are drawn for every check anew, after the inputs lie there.

use super::engine::{Engine, Messages, Placed};
use super::{Begun, CHUNK_LEN_MAX, Check, Verdicts};
use crate::Stats;
use crate::batch::Item;
use crate::cpu::Path;
use crate::gpu::Error;
use crate::gpu::layout::Layout;
use crate::gpu::pairing::Pairings;
use crate::numbering::Numbering;
use core::fmt;
use std::sync::Arc;

/// Chunks in order, with how their items lie.
pub(super) type Chunks = Arc<Vec<(Layout, Placed<'static>)>>;

/// The inputs of a batch, on the device.
#[derive(Clone)]
pub(crate) struct Resident {
    chunks: Chunks,
    chunk_len: usize,
}

impl Resident {
    /// Brings the items to the device and waits until they are there; `None` where a message is no digest.
    pub(crate) fn new(engine: &Engine, items: &[Item<'_>], path: &Path) -> Result<Option<Self>, Error> {
        Self::in_chunks(engine, items, path, CHUNK_LEN_MAX)
    }

    /// [`Self::new`] with so many items in a chunk.
    pub(in crate::gpu) fn in_chunks(
        engine: &Engine,
        items: &[Item<'_>],
        path: &Path,
        chunk_len: usize,
    ) -> Result<Option<Self>, Error> {
        let check = Check::new(items, Numbering::new(path.pool(), items), path.pool());
        let mut chunks = Vec::new();
        for start in (0..items.len()).step_by(chunk_len) {
            let layout = check.layout(engine, start..items.len().min(start + chunk_len));
            let Placed { n, encodings, messages } = engine.place(items, &layout.order);
            let Messages::Digests(digests) = messages else {
                return Ok(None);
            };
            let messages = Messages::Digests(digests);
            chunks.push((layout, Placed { n, encodings, messages }));
        }
        engine.device.commands().submit().wait()?;
        let chunks = Arc::new(chunks);
        Ok(Some(Self { chunks, chunk_len }))
    }

    /// blst's verdict on every item, which must be those that were brought, in order.
    pub(crate) fn check(
        &self,
        engine: &Engine,
        items: &[Item<'_>],
        dst: &[u8],
        path: &mut Path,
        mut pairings: Option<&mut Pairings>,
        stats: &mut Stats,
    ) -> Result<Verdicts, Error> {
        let numbering = Numbering::new(path.pool(), items);
        let chunks = (self.chunk_len, Arc::clone(&self.chunks));
        let begun = Begun::of(engine, items, numbering, path.pool(), pairings.as_deref_mut(), chunks)?;
        begun.finish(engine, items, dst, path, pairings.as_deref(), stats)
    }
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resident({} chunks)", self.chunks.len())
    }
}
