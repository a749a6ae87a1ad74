//! Opening a ledger, and among delegates mending it first where damaged blocks keep it from opening.
//!
//! # Contract
//! * What is taken from peers is taken by the digest that the block's signed entry names, and opening checks all of it again.
//! * Nothing is voted on meanwhile; peers that mend their own ledgers are served.

use crate::config::Replicate;
use crate::restart::{self, Damages, Restored};
use crate::stage::replica::{DamagedBlocks, Form, Identity};
use crate::topology::NodeError;
use ed25519_dalek::{SigningKey, VerifyingKey};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wattbook_agreement::simplex;
use wattbook_feed::signed::genesis::chain_id;
use wattbook_ledger::{Error, Fault, Mender, Options, Recovery, Store};

/// A ledger, and what a snapshot of it says.
pub(crate) struct Opened {
    pub(crate) restored: Option<Restored>,
    pub(crate) store: Store,
    pub(crate) recovery: Recovery,
}

/// Opens the ledger in `dir` from its newest snapshot that holds and that the log follows from.
pub(crate) fn open(dir: &Path, genesis: &[u8], log_key: &SigningKey, options: Options) -> Result<Opened, Error> {
    let public = log_key.verifying_key();
    let mut snapshots = restart::snapshots(dir, genesis, &public);
    loop {
        let restored = snapshots.next();
        let anchor = restored.as_ref().map(|restored| &restored.anchor);
        match (Store::open_from(dir, log_key, options, anchor), anchor) {
            // What the log lacks for this snapshot may be there for the one before; the whole log tells in the end.
            (Err(Error::Damaged(fault)), Some(anchor)) => {
                tracing::warn!(height = anchor.height(), %fault, "the log does not follow from a snapshot");
            }
            (opened, _) => {
                let (store, recovery) = opened?;
                return Ok(Opened {
                    restored,
                    store,
                    recovery,
                });
            }
        }
    }
}

/// Opens as [`open`] does, for a delegate: what agreement begins with must hold, too, although a snapshot says what follows from it.
pub(crate) fn open_seated(dir: &Path, genesis: &[u8], log_key: &SigningKey, options: Options) -> Result<Opened, Error> {
    let opened = open(dir, genesis, log_key, options)?;
    if let Some(restored) = &opened.restored {
        let schedule = restored.executor.market().state().params.schedule();
        let mender = opened.store.mender()?;
        let epoch = schedule.epoch_of(opened.store.tip().height + 1);
        // The blocks that this epoch and the one before begin from.
        for height in [0, epoch.saturating_sub(1), epoch].map(|nth| nth * schedule.epoch_blocks) {
            if let Err(fault) = mender.block(height)
                && mender.can_mend(&fault)
            {
                return Err(fault.into());
            }
        }
    }
    Ok(opened)
}

/// Takes every damaged block of the ledger in `dir`, which `fault` keeps from opening, from peers; how many, it remembers.
pub(crate) fn from_peers(
    dir: &Path,
    genesis: &[u8],
    key: &VerifyingKey,
    identity: &Identity,
    replicate: &Replicate,
    fault: Fault,
    stop: &AtomicBool,
) -> Result<Damages, NodeError> {
    let chain = chain_id(genesis);
    let damages = Damages::default();
    // Whatever else is wrong with it, the first fault says it best.
    let Ok(mender) = Mender::open(dir, chain, key) else {
        return Err(Error::from(fault).into());
    };
    let damaged = mender.damaged().unwrap_or_default();
    if damaged.is_empty() || damaged.iter().any(|(_, fault)| !mender.can_mend(fault)) {
        return Err(Error::from(fault).into());
    }
    for (height, fault) in &damaged {
        tracing::error!(height, %fault, "a block is damaged; peers are asked for it");
        damages.report(*height);
    }
    let blocks = DamagedBlocks {
        mender,
        damages: damages.clone(),
    };
    let (form, keys) = (Arc::new(Form(chain)), identity.keys());
    let size_max = replicate.block_size_max;
    simplex::mend(chain, form, size_max, &keys, &identity.peers, blocks, stop)?;
    if stop.load(Ordering::Relaxed) {
        return Err(Error::from(fault).into());
    }
    let (first, taken) = (damaged.first().map_or(0, |(height, _)| *height), damages.counts().1);
    tracing::warn!(
        first,
        taken,
        "{taken} damaged blocks, the first of them block {first}, are whole again, from peers; what stood there is in `damaged`"
    );
    Ok(damages)
}
