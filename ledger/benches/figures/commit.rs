//! What a commit takes beside a bare sync of the same size, and a stream of blocks beside a bare stream of bytes.
//!
//! Blocks arrive at times fixed in advance, at a rate that one sync a block could not sustain: as many as two for every
//! bare sync, so that groups form. Bare syncs and commits take turns on the same disk, after the same preparation and a
//! quiet moment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wattbook_ledger::{Committer, GroupPolicy, Record, Store};

use crate::{Figure, draft, folder, store};

/// A commit's block, half of what the bare sync moves: an arrival shares its group with one other.
const BLOCK: usize = 8 << 10;
const COMMITS: usize = 200;
const RUNS: usize = 15;
const SEGMENT: u64 = 64 << 20;
/// Before the load comes, long enough for the helper to have the next segment ready.
const QUIET: Duration = Duration::from_secs(3);
/// The stream: blocks of this size, this many.
const STREAM_BLOCK: usize = 1 << 20;
const STREAM_BLOCKS: usize = 96;

/// A file whose blocks are written already, so that a sync moves no metadata.
fn written(dir: &tempfile::TempDir, size: usize) -> File {
    let path = dir.path().join("bare");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap();
    let zeros = vec![0; 1 << 20];
    for at in (0..size).step_by(zeros.len()) {
        file.write_all_at(&zeros[..zeros.len().min(size - at)], at as u64)
            .unwrap();
    }
    file.sync_all().unwrap();
    file
}

fn since(from: Instant) -> f64 {
    from.elapsed().as_nanos() as f64 / 1e3
}

/// Latencies of a bare sync, us.
fn bare(file: &File, at: &mut u64) -> Vec<f64> {
    let bytes = vec![7; 2 * BLOCK];
    (0..COMMITS)
        .map(|_| {
            file.write_all_at(&bytes, *at).unwrap();
            *at += bytes.len() as u64;
            let started = Instant::now();
            file.sync_data().unwrap();
            since(started)
        })
        .collect()
}

/// When each block of a committer was durable.
fn spawn(mut committer: Committer) -> mpsc::Receiver<Instant> {
    let (durable, times) = mpsc::channel();
    std::thread::spawn(move || {
        while let Some(group) = committer.commit().unwrap() {
            let now = Instant::now();
            group.iter().for_each(|_| durable.send(now).unwrap());
        }
    });
    times
}

/// Latencies from a block's arrival, fixed in advance, until it is durable, us.
fn committed(store: &mut Store, times: &mpsc::Receiver<Instant>, interval: Duration) -> Vec<f64> {
    let payload = vec![7; BLOCK];
    let begun = Instant::now() + Duration::from_millis(1);
    let due: Vec<Instant> = (0..COMMITS as u32).map(|i| begun + interval * i).collect();
    for arrival in &due {
        while Instant::now() < *arrival {
            std::thread::yield_now();
        }
        let record = Record {
            kind: 1,
            version: 1,
            seq: store.next_seq(),
            payload: &payload,
        };
        store.append_block(&draft(&[record])).unwrap();
    }
    due.iter()
        .map(|due| (times.recv().unwrap() - *due).as_nanos() as f64 / 1e3)
        .collect()
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// A store of its own and its committer's times; `None` where the kernel grants no io_uring.
fn opened(dir: &tempfile::TempDir, io_uring: bool) -> Option<(Store, mpsc::Receiver<Instant>)> {
    let mut store = store(dir, SEGMENT);
    store.start_ahead().unwrap();
    let policy = GroupPolicy {
        io_uring,
        ..GroupPolicy::default()
    };
    let committer = store.split(policy).unwrap();
    let granted = committer.io_uring_refused().is_none();
    granted.then(|| (store, spawn(committer)))
}

fn latencies(figures: &mut Vec<Figure>) {
    let (dir, uring_dir, bare_dir) = (folder(), folder(), folder());
    let file = written(&bare_dir, COMMITS * (RUNS + 1) * 2 * BLOCK);
    let (mut store, times) = opened(&dir, false).unwrap();
    let mut uring = opened(&uring_dir, true);
    std::thread::sleep(QUIET);
    let mut at = 0;
    let mut first = bare(&file, &mut at);
    first.sort_by(f64::total_cmp);
    let sync = percentile(&first, 50);
    let (mut base, mut full, mut half, mut by_uring) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        base.extend(bare(&file, &mut at));
        for (samples, share) in [(&mut full, 500.0), (&mut half, 1000.0)] {
            let interval = Duration::from_nanos((sync * share) as u64);
            samples.extend(committed(&mut store, &times, interval));
        }
        if let Some((store, times)) = &mut uring {
            let interval = Duration::from_nanos((sync * 500.0) as u64);
            by_uring.extend(committed(store, times, interval));
        }
    }
    for samples in [&mut base, &mut full, &mut half, &mut by_uring] {
        samples.sort_by(f64::total_cmp);
    }
    for (percent, metrics) in [
        (
            50,
            [
                "fdatasync_p50",
                "latency_p50",
                "latency_p50_at_one_a_sync",
                "latency_p50_io_uring",
            ],
        ),
        (
            99,
            [
                "fdatasync_p99",
                "latency_p99",
                "latency_p99_at_one_a_sync",
                "latency_p99_io_uring",
            ],
        ),
    ] {
        let limit = percentile(&base, percent);
        for (metric, samples) in metrics.into_iter().zip([&base, &full, &half, &by_uring]) {
            if samples.is_empty() {
                println!("ledger/commit {metric}: the kernel grants no io_uring");
                continue;
            }
            let value = percentile(samples, percent);
            let mut figure = Figure::new("ledger/commit", metric, value, "us", samples.len());
            figure.ratio = (metric != metrics[0]).then_some((value / limit, metrics[0]));
            figures.push(figure);
        }
    }
}

/// Bytes this process has sent towards the disk.
fn sent() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

fn stream(figures: &mut Vec<Figure>) {
    let (mut own, mut log, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let (dir, bare_dir) = (folder(), folder());
        let file = written(&bare_dir, STREAM_BLOCK * STREAM_BLOCKS);
        let bytes = vec![7; STREAM_BLOCK];
        let started = Instant::now();
        for i in 0..STREAM_BLOCKS {
            file.write_all_at(&bytes, (i * STREAM_BLOCK) as u64).unwrap();
            if i % 8 == 7 {
                file.sync_data().unwrap();
            }
        }
        own.push((STREAM_BLOCK * STREAM_BLOCKS) as f64 / since(started));

        let mut store = store(&dir, SEGMENT);
        store.start_ahead().unwrap();
        let before = (store.committed().length, sent());
        let times = spawn(store.split(GroupPolicy::default()).unwrap());
        let payload = &bytes[..4 << 10];
        let started = Instant::now();
        for _ in 0..STREAM_BLOCKS {
            let mut seq = store.next_seq();
            let records: Vec<Record<'_>> = (0..STREAM_BLOCK / payload.len())
                .map(|_| {
                    seq += 1;
                    Record {
                        kind: 1,
                        version: 1,
                        seq: seq - 1,
                        payload,
                    }
                })
                .collect();
            store.append_block(&draft(&records)).unwrap();
        }
        for _ in 0..STREAM_BLOCKS {
            times.recv().unwrap();
        }
        let us = since(started);
        log.push((store.committed().length - before.0) as f64 / us);
        all.push((sent() - before.1) / us);
    }
    let bench = "ledger/append/disk";
    let median = |mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    let own = median(own);
    figures.push(Figure::new(bench, "sequential_write", own, "MB/s", 3));
    for (metric, value) in [("log_bytes", median(log)), ("bytes_to_disk", median(all))] {
        let mut figure = Figure::new(bench, metric, value, "MB/s", 3);
        figure.ratio = Some((value / own, "sequential_write"));
        figures.push(figure);
    }
}

pub(crate) fn figures(figures: &mut Vec<Figure>) {
    latencies(figures);
    stream(figures);
}
