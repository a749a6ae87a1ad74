//! `ledger/replay`: blocks checked, records decoded and executed, every root held against its header; signatures apart.

use crate::Args;
use crate::day;
use crate::report::Figure;
use std::path::Path;
use std::time::Instant;
use wattbook_ledger::Reader;
use wattbook_node::audit;
use wattbook_node::execute::{Executor, decode_record};

const ROUNDS: u64 = 3;

pub(crate) fn run(args: &Args, dir: &Path) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    day::ensure(dir, args, args.replay_records)?;
    let (mut ours, mut core) = (f64::INFINITY, f64::INFINITY);
    let mut records = 0;
    // In turn, so that both see the same machine.
    for _ in 0..ROUNDS {
        let since = Instant::now();
        let replayed = audit::replay(dir, |_| ())?;
        ours = ours.min(since.elapsed().as_secs_f64());
        records = replayed.totals.records;
        core = core.min(core_alone(dir)?);
    }
    let rate = |seconds: f64| records as f64 / seconds;
    let reading = reading_alone(dir)?;
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
        Figure {
            bench: "ledger/replay",
            metric: "reading ahead: checks, decode".to_owned(),
            value: rate(reading),
            unit: "records/s",
            ratio: None,
            samples: ROUNDS,
        },
    ])
}

/// Seconds that the thread which reads ahead takes for the same blocks.
fn reading_alone(dir: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let reader = Reader::open(dir)?;
        let since = Instant::now();
        for block in reader.blocks() {
            for record in &block?.records {
                let command = decode_record(reader.chain(), record.kind, record.version, record.payload);
                std::hint::black_box(command).map_err(|reject| reject.to_string())?;
            }
        }
        best = best.min(since.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Seconds that the market takes for the same commands, decoded before.
fn core_alone(dir: &Path) -> Result<f64, Box<dyn std::error::Error>> {
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
