//! What the benches share: settings, names, and the standard flow of orders.
//!
//! # Names
//! A row is `room/what/case`; case `base` is what the harness, the memory or the disk takes for the same bytes.

use criterion::Criterion;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;
use wattbook_types::{Energy, OrderId, ParticipantId, Price, Side};

/// Short runs: all benches together take less than three minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// The name of a row within its room.
pub fn row(what: &str, case: &str) -> String {
    format!("{what}/{case}")
}

/// First account of the flow: genesis has the ones before.
pub const FIRST_OWNER: u64 = 4;
/// Middle of the book, ticks.
const MID: i32 = 20_000;
/// Greatest distance of a passive order from the middle, ticks.
const DEPTH: u64 = 50;

/// An operation of the flow.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// Who, in which envelope, at which index.
    pub id: OrderId,
    /// What.
    pub kind: OpKind,
}

/// What an operation does.
#[derive(Clone, Copy, Debug)]
pub enum OpKind {
    /// Rests, unless it meets an aggressive remainder.
    Passive(Side, Price, Energy),
    /// Takes what it can and leaves nothing.
    Aggressive(Side, Price, Energy),
    /// Takes an earlier passive order out, which may have been filled.
    Cancel(OrderId),
}

/// The standard flow: 55 % passive, 35 % cancels, 10 % aggressive; envelopes of `leaves` operations, owners in turn.
pub fn flow(seed: u64, owners: u64, leaves: u32, len: usize) -> Vec<Op> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |bound: u64| rng.next_u64() % bound;
    let mut open: Vec<Vec<OrderId>> = vec![Vec::new(); owners as usize];
    let mut ops = Vec::with_capacity(len);
    for i in 0..len as u64 {
        let envelope = i / u64::from(leaves);
        let owner = envelope % owners;
        let participant = ParticipantId::new(FIRST_OWNER + owner);
        // BOUND: less than `leaves`.
        let id = OrderId {
            participant,
            nonce: envelope / owners + 1,
            index: (i % u64::from(leaves)) as u32,
        };
        let mine = &mut open[owner as usize];
        let draw = below(100);
        if (55..90).contains(&draw) && !mine.is_empty() {
            let victim = below(mine.len() as u64) as usize;
            ops.push(Op {
                id,
                kind: OpKind::Cancel(mine.swap_remove(victim)),
            });
            continue;
        }
        let side = if below(2) == 0 { Side::Buy } else { Side::Sell };
        let (away, energy) = (1 + below(DEPTH) as i32, Energy::new(100 + below(900)));
        let outward = if side == Side::Sell { away } else { -away };
        let kind = if draw < 90 {
            mine.push(id);
            OpKind::Passive(side, Price::new(MID + outward), energy)
        } else {
            OpKind::Aggressive(side, Price::new(MID - outward), energy)
        };
        ops.push(Op { id, kind });
    }
    ops
}
