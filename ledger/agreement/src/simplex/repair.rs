//! Damaged blocks below the tip, fetched from peers by height: the engine itself looks only above it.
//!
//! # Format
//! ```text
//! ask     0 u8, height u64 little-endian
//! answer  1 u8, height u64 little-endian, the block's bytes
//! ```
//! An answer counts only if the store takes its digest for the one certified at that height. The highest damaged block is asked
//! for first, of one peer after the other.

use super::{PeerKey, archive::Shared, wire::Shape};
use crate::seam::Mendable;
use commonware_macros::select;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::Clock;
use core::time::Duration;
use tracing::{info, warn};

/// How long a peer has before another is asked.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes before a block's own.
const PREFIX: usize = 9;
const ASK: u8 = 0;
const ANSWER: u8 = 1;

/// Fruitless questions after which it is said that nobody answers.
const SAID_AFTER: usize = 20;

/// Serves peers' questions, and asks `peers` for what is damaged here, until `is_over`, which is asked every half second, and
/// after each block that was mended.
pub(super) async fn run<E, S, Tx, Rx>(
    clock: E,
    store: Shared<S>,
    shape: Shape,
    peers: impl Fn() -> Vec<PeerKey>,
    is_over: impl Fn(&S) -> bool,
    (mut sender, mut receiver): (Tx, Rx),
) where
    E: Clock,
    S: Mendable,
    Tx: Sender<PublicKey = PeerKey>,
    Rx: Receiver<PublicKey = PeerKey>,
{
    let (mut asked, mut fruitless) = (0usize, 0);
    loop {
        let wanted = {
            let store = store.lock();
            if is_over(&store) {
                return;
            }
            store.damaged().into_iter().max()
        };
        if let Some(height) = wanted {
            let peers = peers();
            if !peers.is_empty() {
                let mut question = vec![ASK];
                question.extend_from_slice(&height.to_le_bytes());
                sender.send(Recipients::One(peers[asked % peers.len()].clone()), question, false);
                asked += 1;
            }
            fruitless += 1;
            if fruitless % SAID_AFTER == 0 {
                warn!(height, "no peer has answered with this damaged block yet");
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
                ANSWER if wanted == Some(height) => {
                    if mend(&store, &shape, height, message[PREFIX..].to_vec()) {
                        info!(height, "a damaged block was mended");
                        fruitless = 0;
                        break;
                    }
                    warn!(height, "a peer's block is not the damaged one");
                }
                _ => {}
            }
        }
    }
}

/// Writes `bytes` at `height` if the store takes them for the block that was certified there.
///
/// # Panics
/// If the store fails.
fn mend<S: Mendable>(store: &Shared<S>, shape: &Shape, height: u64, bytes: Vec<u8>) -> bool {
    let block = shape.read(bytes).ok().filter(|block| block.head().height == height);
    block.is_some_and(|block| store.lock().mend(&block).expect("the store takes a mended block"))
}
