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

/// Items of the short and of the long measurement: beyond what a batch does one by one, few enough for a start.
const fn lens(route: Route) -> (usize, usize) {
    match route {
        Route::OneByOne => (1, 3),
        Route::Batch => (128, 384),
        Route::Gpu => (512, 4_096),
    }
}

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
    route: Route,
) -> Option<Cost> {
    let signed = signatures()?;
    let mut time = |len: usize, keys: usize| -> Option<Duration> {
        let signed = &signed[..keys * MESSAGES];
        let items: Vec<Item<'_>> = signed
            .iter()
            .cycle()
            .take(len)
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
    let (short, long) = lens(route);
    // Whatever is compiled, allocated or cached once is no part of the cost.
    time(short, 1)?;
    Some(Cost::fit(
        (short, time(short, 1)?),
        (long, time(long, 1)?),
        (long, KEYS.min(long), time(long, KEYS.min(long))?),
    ))
}
