//! `ledger/proof`: any record of a big ledger, from opening the ledger to the proof's text, nothing of it in memory.

use crate::Args;
use crate::day;
use crate::report::Figure;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::Path;
use std::time::Instant;
use wattbook_ledger::{HeaderIndex, INDEX_DIR, Reader, checkpoints::CHECKPOINTS_DIR};
use wattbook_node::notary;

const ROUNDS: u64 = 100;
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

pub(crate) fn run(args: &Args, dir: &Path) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    day::ensure(dir, args, day::records_of(args.restart_mib))?;
    // A node keeps the index and signs checkpoints while it runs.
    let records = {
        let reader = Reader::open(dir)?;
        let mut index = HeaderIndex::open(&reader)?;
        notary::publish(&reader, &mut index, 0)?;
        day::last_seq(&reader)?
    };
    // Gigabytes on their way to the disk would be in the way of what is read from it.
    rustix::fs::sync();
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let mut how = "";
    for round in 0..ROUNDS {
        // Spread over the ledger: multiples of the golden section.
        let seq = 1 + (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % records;
        how = drop_pages(dir)?;
        cold.push(prove(dir, seq)?);
        warm.push(prove(dir, seq)?);
    }
    let row = |metric: String, value| Figure {
        bench: "ledger/proof",
        metric,
        value,
        unit: "ms",
        ratio: None,
        samples: ROUNDS,
    };
    let of = |times: &mut Vec<f64>, part: usize| {
        times.sort_by(f64::total_cmp);
        times[(times.len() * part / 100).min(times.len() - 1)]
    };
    Ok(vec![
        row(format!("cold ({how}), median"), of(&mut cold, 50)),
        row(format!("cold ({how}), 99 %"), of(&mut cold, 99)),
        row("in memory, median".to_owned(), of(&mut warm, 50)),
        Figure {
            bench: "ledger/proof",
            metric: "records to choose from".to_owned(),
            value: records as f64,
            unit: "records",
            ratio: None,
            samples: 1,
        },
    ])
}

/// Milliseconds from opening the ledger to the proof's text, which then holds.
fn prove(dir: &Path, seq: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let since = Instant::now();
    let reader = Reader::open(dir)?;
    let mut index = HeaderIndex::open(&reader)?;
    let height = index.block_with(&reader, seq)?.header.height;
    let note = notary::covering(&reader, &mut index, height)?;
    let proof = index.prove(&reader, seq, &note)?;
    let text = proof.to_string();
    let seconds = since.elapsed().as_secs_f64();
    assert!(text.len() > 352);
    let proven = proof.verify(&notary::log_key(reader.genesis())?)?;
    assert_eq!(proven.seq, seq);
    Ok(1e3 * seconds)
}

/// Takes the ledger's pages out of memory; how.
fn drop_pages(dir: &Path) -> std::io::Result<&'static str> {
    if std::fs::write(DROP_CACHES, "3").is_ok() {
        return Ok("drop_caches");
    }
    for folder in [dir.to_owned(), dir.join(INDEX_DIR), dir.join(CHECKPOINTS_DIR)] {
        for item in std::fs::read_dir(folder)? {
            let file = File::open(item?.path())?;
            if file.metadata()?.is_file() {
                // Only what is on the disk already goes.
                file.sync_all()?;
                fadvise(&file, 0, None, Advice::DontNeed)?;
            }
        }
    }
    Ok("POSIX_FADV_DONTNEED")
}
