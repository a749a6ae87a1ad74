//! `ledger/restart`: from the call that starts a node to its open port, with a snapshot 100,000 records old.

use crate::Args;
use crate::day::{BLOCK_RECORDS, Day, records_of};
use crate::report::Figure;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use wattbook_feed::keys::alias_key;
use wattbook_feed::signed::Alias;
use wattbook_ledger::Snapshot;
use wattbook_node::chain::GRID_COMPANY;
use wattbook_node::config::{Clock, Config, VerifyPolicy};
use wattbook_node::ring::ring;
use wattbook_node::stage::publish::Publish;
use wattbook_node::topology::Node;

/// Records after the snapshot.
const TAIL_RECORDS: u64 = 100_000;
/// Records before it from which the streams are filled.
const STREAM_RECORDS: u64 = 200_000;
const ROUNDS: u64 = 5;

pub(crate) fn run(args: &Args, dir: &Path) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    let records = records_of(args.restart_mib);
    eprintln!("bench-ledger: writing {records} records");
    let mut day = Day::begin(dir, args.accounts)?;
    let config = {
        let mut config = Config {
            listen: "127.0.0.1:0".parse()?,
            clock: Clock::Lockstep,
            ..Config::default()
        };
        config.seal.snapshot_records = 0;
        // No device is looked for: its loader is slow and talks to stderr.
        config.verify.policy = VerifyPolicy::Batch;
        config
    };
    let (_, publications) = ring(1, config.wait);
    let (sockets, _) = ring(1, config.wait);
    let alias = Alias::new(alias_key(&[7; 32]), day.executor.chain());
    let readers = BTreeSet::from([GRID_COMPANY]);
    let mut publish = Publish::new(publications, sockets, Box::new(|| ()), alias, &config.publish, readers);
    let mut anchor = day.store.anchor();
    let blocks = records / BLOCK_RECORDS;
    let snapshot_at = blocks.saturating_sub(TAIL_RECORDS / BLOCK_RECORDS).max(1);
    let mut snapshot_size = 0;
    for block in 1..=blocks {
        if block == snapshot_at {
            day.executor.begin_image();
        }
        let written = day.block()?;
        let (header, digest) = (&written.appended.header, written.appended.digest);
        let claim = anchor.advance(header, digest, written.appended.length);
        if block + STREAM_RECORDS / BLOCK_RECORDS > snapshot_at && block <= snapshot_at {
            publish.replay(header, digest, &written.events);
        }
        if let Some(image) = day.executor.take_image() {
            day.store.commit()?;
            let streams = publish
                .streams(header.height, config.publish.snapshot_history_len)
                .encode();
            let sections = [image.parts().collect(), vec![streams.as_slice()]];
            snapshot_size = Snapshot::write(dir, &day.log_key, day.executor.chain(), &claim, &sections)?;
        }
    }
    let length = day.store.commit()?.length;
    drop(day);
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let since = Instant::now();
        let node = Node::start(dir, &config, Arc::new(AtomicBool::new(false)))?;
        seconds.push(since.elapsed().as_secs_f64());
        assert!(node.recovery.from.is_some(), "the node came back from genesis");
        node.stop();
        node.join()?;
    }
    seconds.sort_by(f64::total_cmp);
    let row = |metric: &str, value, unit, samples| Figure {
        bench: "ledger/restart",
        metric: metric.to_owned(),
        value,
        unit,
        ratio: None,
        samples,
    };
    Ok(vec![
        row("to accepting orders, median", seconds[seconds.len() / 2], "s", ROUNDS),
        row("to accepting orders, slowest", seconds[seconds.len() - 1], "s", ROUNDS),
        row("log", length as f64 / f64::from(1 << 30), "GiB", 1),
        row("snapshot", snapshot_size as f64 / f64::from(1 << 20), "MiB", 1),
    ])
}
