//! What an append costs: frame, checksum and copy; the record tree is its own row, for it is hashed when the block ends.

use std::time::Instant;

use wattbook_ledger::Record;

use crate::{Figure, draft, folder, store};

/// Records of a burst, and of a block: less than the helper makes writable ahead.
const BURST: usize = 24_000;
const BURSTS: usize = 48;
const RUNS: usize = 5;
const SEGMENT: u64 = 256 << 20;

/// Nanoseconds a record of appending, and of the record tree. Warm: every burst finds its pages writable, as after a
/// pause that let the helper do its work; cold: the writer meets every page for the first time.
fn append(warm: bool) -> (f64, f64) {
    let dir = folder();
    let mut store = store(&dir, SEGMENT);
    if warm {
        store.start_ahead().unwrap();
    }
    let payloads: Vec<u8> = (0..1u32 << 16)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (mut appended, mut rooted) = (0, 0);
    for burst in 0..BURSTS {
        // A frame of 128 bytes is 152 long.
        while warm && store.ready_ahead() < BURST as u64 * 152 {
            std::thread::yield_now();
        }
        let started = Instant::now();
        for i in burst * BURST..(burst + 1) * BURST {
            let (from, len) = ((i * 61) & 0x7fff, 64 + (i * 29) % 65);
            let record = Record {
                kind: 1,
                version: 1,
                seq: 1 + i as u64,
                payload: &payloads[from..from + len],
            };
            store.append_record(&record).unwrap();
        }
        appended += started.elapsed().as_nanos();
        let started = Instant::now();
        store.append_block(&draft(&[])).unwrap();
        rooted += started.elapsed().as_nanos();
    }
    let records = (BURST * BURSTS) as f64;
    (appended as f64 / records, rooted as f64 / records)
}

pub(crate) fn figures(figures: &mut Vec<Figure>) {
    for (bench, warm) in [("ledger/append/cold", false), ("ledger/append/warm", true)] {
        let mut runs: Vec<(f64, f64)> = (0..RUNS).map(|_| append(warm)).collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (appended, rooted) = runs[RUNS / 2];
        for (metric, ns) in [
            ("records", appended),
            ("records_best_run", runs[0].0),
            ("records_with_record_root", appended + rooted),
        ] {
            figures.push(Figure::new(bench, metric, 1e9 / ns, "1/s", RUNS));
        }
    }
}
