//! `ledger/replay`: blocks checked, records decoded and executed, every root held against its header; signatures apart.

use crate::Args;
use crate::day::{BLOCK_RECORDS, Day};
use crate::report::Figure;
use std::time::Instant;
use wattbook_ledger::Reader;
use wattbook_node::audit;
use wattbook_node::execute::{Executor, decode_record};

const ROUNDS: u64 = 3;

pub(crate) fn run(args: &Args) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::tempdir_in(parent)?;
    let mut day = Day::begin(dir.path(), args.accounts)?;
    for _ in 0..args.replay_records / BLOCK_RECORDS {
        day.block()?;
    }
    day.store.commit()?;
    drop(day);
    let (mut ours, mut core) = (f64::INFINITY, f64::INFINITY);
    let mut records = 0;
    // In turn, so that both see the same machine.
    for _ in 0..ROUNDS {
        let since = Instant::now();
        let replayed = audit::replay(dir.path(), |_| ())?;
        ours = ours.min(since.elapsed().as_secs_f64());
        records = replayed.totals.records;
        core = core.min(core_alone(dir.path())?);
    }
    let rate = |seconds: f64| records as f64 / seconds;
    Ok(vec![
        Figure {
            bench: "ledger/replay",
            metric: "decode, execute, roots".to_owned(),
            value: rate(ours),
            unit: "records/s",
            ratio: Some((core / ours, "the market core")),
            samples: ROUNDS,
        },
        Figure {
            bench: "ledger/replay",
            metric: "the market core: execute, roots".to_owned(),
            value: rate(core),
            unit: "records/s",
            ratio: None,
            samples: ROUNDS,
        },
    ])
}

/// Seconds that the market takes for the same commands, decoded before.
fn core_alone(dir: &std::path::Path) -> Result<f64, Box<dyn std::error::Error>> {
    let reader = Reader::open(dir)?;
    let (mut executor, _) = Executor::start(reader.genesis())?;
    let mut seconds = 0.0;
    for block in reader.blocks().skip(1) {
        let block = block?;
        let commands = block
            .records
            .iter()
            .map(|record| {
                let command = decode_record(executor.chain(), record.kind, record.version, record.payload);
                command.map(|command| (record.seq, command))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|reject| reject.to_string())?;
        let since = Instant::now();
        for (seq, command) in &commands {
            executor
                .apply(*seq, command)
                .map_err(|refusal| refusal.reject.to_string())?;
        }
        let last = block.records.last().map_or(0, |record| record.seq);
        let ended = executor.end_block(block.header.height, last);
        seconds += since.elapsed().as_secs_f64();
        assert_eq!(ended.state_root, block.header.state_root);
    }
    Ok(seconds)
}
