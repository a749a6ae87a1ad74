//! Damaged blocks below the tip, fetched from peers by height: the engine itself looks only above it.
//!
//! # Format
//! ```text
//! ask     0 u8, height u64 little-endian
//! answer  1 u8, height u64 little-endian, the block's bytes
//! ```
//! An answer counts only if its digest is the parent of the block above, so a damaged run is mended from its upper end down.

use super::{PeerKey, archive::Shared, seats::Committees, wire::Shape};
use crate::seam::Store;
use commonware_macros::select;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::Clock;
use core::time::Duration;
use std::collections::BTreeSet;
use tracing::{info, warn};

/// How long a peer has before another is asked.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes before a block's own.
const PREFIX: usize = 9;
const ASK: u8 = 0;
const ANSWER: u8 = 1;

/// Serves peers' questions for ever, and asks for what is damaged here until nothing is.
pub(super) async fn run<E, S, Tx, Rx>(
    clock: E,
    me: PeerKey,
    store: Shared<S>,
    shape: Shape,
    committees: Committees,
    (mut sender, mut receiver): (Tx, Rx),
) where
    E: Clock,
    S: Store,
    Tx: Sender<PublicKey = PeerKey>,
    Rx: Receiver<PublicKey = PeerKey>,
{
    let mut damaged: BTreeSet<u64> = store.lock().damaged().into_iter().collect();
    let mut asked = 0usize;
    loop {
        if let Some(&height) = damaged.last() {
            let peers: Vec<PeerKey> = committees.latest().into_iter().filter(|peer| *peer != me).collect();
            if !peers.is_empty() {
                let mut question = vec![ASK];
                question.extend_from_slice(&height.to_le_bytes());
                sender.send(Recipients::One(peers[asked % peers.len()].clone()), question, false);
                asked += 1;
            }
        }
        let deadline = clock.current() + PATIENCE;
        loop {
            let (peer, message) = select! {
                message = receiver.recv() => match message {
                    Ok(message) => message,
                    Err(_) => return,
                },
                () = clock.sleep_until(deadline) => break,
            };
            let message: Vec<u8> = message.into();
            if message.len() < PREFIX {
                continue;
            }
            let height = u64::from_le_bytes(crate::proof::array_at(&message, 1));
            match message[0] {
                ASK if message.len() == PREFIX => {
                    let held = store.lock().by_height(height);
                    if let Ok(Some(bytes)) = held {
                        let mut answer = vec![ANSWER];
                        answer.extend_from_slice(&height.to_le_bytes());
                        answer.extend_from_slice(&bytes);
                        sender.send(Recipients::One(peer), answer, false);
                    }
                }
                ANSWER if damaged.last() == Some(&height) => {
                    if mend(&store, &shape, height, message[PREFIX..].to_vec()) {
                        info!(height, "a damaged block was mended");
                        damaged.remove(&height);
                        break;
                    }
                    warn!(height, "a peer's block is not the damaged one");
                }
                _ => {}
            }
        }
    }
}

/// Writes `bytes` at `height` if they are what the block above names as its parent.
///
/// # Panics
/// If the store fails.
fn mend<S: Store>(store: &Shared<S>, shape: &Shape, height: u64, bytes: Vec<u8>) -> bool {
    let Ok(block) = shape.read(bytes) else { return false };
    let mut store = store.lock();
    let child = store
        .by_height(height + 1)
        .ok()
        .flatten()
        .and_then(|bytes| shape.read(bytes).ok());
    if child.is_none_or(|child| child.head().parent != block.head().digest) {
        return false;
    }
    store.repair(&block).expect("the store takes a mended block");
    true
}
