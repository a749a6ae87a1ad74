//! What a path costs on this machine, found out on signatures made for it.
//!
//! The signatures are few and repeated: no path gains by that, since each decompresses and maps every item.

use crate::batch::Item;
use crate::key::{PublicKey, SIGNATURE_DST};
use crate::policy::{Cost, Route};
use crate::{SignatureError, Stats};
use blst::min_sig::SecretKey;
use std::time::{Duration, Instant};
use wattbook_types::{Hash, sha256};

/// Keys of the longer measurement, and signatures of each.
const KEYS: usize = 16;
const MESSAGES: usize = 4;

/// The batches that a cost is fitted to.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Items of the short and of the long batch.
    lens: (usize, usize),
    /// Turns of each, of which the fastest counts: a short one is soon disturbed.
    turns: usize,
}

/// For a path whose cost is the same at any length, or for its long batches: few enough for a start.
pub(crate) const fn sizes(route: Route) -> Sizes {
    let (lens, turns) = match route {
        Route::OneByOne => ((1, 3), 3),
        Route::Batch => ((128, 384), 1),
        Route::Gpu => ((512, 4_096), 1),
    };
    Sizes { lens, turns }
}

/// For short batches on the CPU.
pub(crate) const SHORT: Sizes = Sizes {
    lens: (1, KEYS),
    turns: 3,
};

struct Signed {
    key: PublicKey,
    message: Hash,
    signature: [u8; 48],
}

fn signatures() -> Option<Vec<Signed>> {
    let mut signed = Vec::with_capacity(KEYS * MESSAGES);
    for i in 0..KEYS * MESSAGES {
        let seed = sha256(&[b"calibration", &(i / MESSAGES).to_le_bytes()]);
        let secret = SecretKey::key_gen(&seed.0, &[]).ok()?;
        let message = sha256(&[&i.to_le_bytes()]);
        signed.push(Signed {
            key: PublicKey::new(&secret.sk_to_pk().to_bytes()).ok()?,
            message,
            signature: secret.sign(&message.0, SIGNATURE_DST, &[]).to_bytes(),
        });
    }
    Some(signed)
}

/// The cost of `check`, which is `None` where the path is not there; so is a path that finds a good signature bad.
pub(crate) fn measure(
    mut check: impl FnMut(&[Item<'_>], &mut Stats) -> Option<Vec<Result<(), SignatureError>>>,
    sizes: Sizes,
) -> Option<Cost> {
    let signed = signatures()?;
    let mut time = |len: usize, keys: usize| -> Option<Duration> {
        let items: Vec<Item<'_>> = (0..len)
            .map(|at| &signed[at % keys * MESSAGES + at / keys % MESSAGES])
            .map(|signed| Item {
                key: &signed.key,
                message: &signed.message.0,
                signature: &signed.signature,
                source: 0,
            })
            .collect();
        let start = Instant::now();
        let verdicts = check(&items, &mut Stats::default())?;
        let elapsed = start.elapsed();
        (verdicts.len() == len && verdicts.iter().all(Result::is_ok)).then_some(elapsed)
    };
    let Sizes {
        lens: (short, long),
        turns,
    } = sizes;
    let mut fastest = |len, keys| -> Option<Duration> {
        let first = time(len, keys)?;
        (1..turns).try_fold(first, |best, _| Some(best.min(time(len, keys)?)))
    };
    // Whatever is compiled, allocated or cached once is no part of the cost.
    fastest(short, 1)?;
    let keys = KEYS.min(long);
    Some(Cost::fit(
        (short, fastest(short, 1)?),
        (long, fastest(long, 1)?),
        (long, keys, fastest(long, keys)?),
    ))
}
