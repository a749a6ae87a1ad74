//! What a reader that never stops costs the writer.
//!
//! `cargo run --release -p wattbook-book --example reader_cost [-- TURNS [RING_LOG2]]`
//!
//! One writer runs the same seeded flow through a publisher: alone, beside a thread that has nothing to do with it
//! (what two busy cores cost each other), and beside a reader that follows and takes ten levels of both sides without a
//! pause. The three take turns; the writer's time is that of its thread on a core, so that other processes count little.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use wattbook_book::{Book, Follower, Handle, Incoming, Owner, PlainBook, Publisher, Rules, View};
use wattbook_types::{RangeMode, Side, TimeInForce};

const COMMANDS: u64 = 8_000_000;
const RESTING: u64 = 20_000;

/// Who runs beside the writer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nobody,
    Bystander,
    Reader,
}

/// Numbers from a seed (xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// Rests, cancels and, in one of eight commands, crosses.
fn command(draw: &mut Draw, book: &mut PlainBook, tape: &mut Publisher) {
    let rows = book.rows() as u64;
    let many = book.len() as u64 >= RESTING;
    let choice = draw.below(8);
    if choice >= 4 && many {
        let from = draw.below(rows);
        let standing = (from..rows).map(|row| Handle::new(row as u32));
        if let Some(handle) = standing.take(16).find(|handle| book.get(*handle).is_some()) {
            book.cancel(handle, tape);
        }
        return;
    }
    let side = if draw.below(2) == 0 { Side::Buy } else { Side::Sell };
    let away = 1 + draw.below(400).min(draw.below(400)) as i32;
    let price = if side == Side::Buy { -away } else { away };
    let mut order = Incoming::limit(
        Owner::new(draw.below(500) as u32),
        side,
        price,
        1 + draw.below(90) as u32,
    );
    if choice == 0 {
        order.price = -order.price;
        order.energy *= 3;
        order.time_in_force = TimeInForce::Ioc;
    }
    book.submit(&order, tape);
}

/// Nanoseconds this thread has run.
fn ran_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or(0)
}

fn look(view: &View) -> u64 {
    let levels = [Side::Buy, Side::Sell].map(|side| view.depth(side, 10).map(|(_, energy, _)| energy).sum::<u64>());
    levels[0] ^ levels[1]
}

/// What a run took the writer, and what the other thread did.
struct Run {
    writer_ns: u64,
    records: u64,
    snapshots: u64,
    joins: u64,
}

/// Snapshots without a pause until `stop`.
fn read(mut follower: Follower, stop: &AtomicBool) -> (u64, u64) {
    let mut snapshots = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Some(view) = follower.follow() {
            black_box(look(view));
            snapshots += 1;
        }
    }
    (snapshots, follower.joins())
}

/// The same work on a view of its own that nobody writes to.
fn stand_by(mut follower: Follower, stop: &AtomicBool) -> (u64, u64) {
    let mut snapshots = 0;
    while !stop.load(Ordering::Relaxed) {
        black_box(follower.follow().map(look));
        snapshots += 1;
    }
    (snapshots, 0)
}

fn run(beside: Beside, batch: u64, ring_log2: u32) -> Run {
    let rules = Rules {
        range: RangeMode::Off,
        spread_min: 0,
    };
    let (mut book, mut publisher) = (Book::new(rules), Publisher::new(ring_log2));
    let mut draw = Draw(0x5eed);
    let warm = |book: &mut PlainBook, publisher: &mut Publisher, draw: &mut Draw| {
        while (book.len() as u64) < RESTING {
            command(draw, book, publisher);
            publisher.commit(book);
        }
    };
    warm(&mut book, &mut publisher, &mut draw);
    let mut follower = publisher.follower();
    while follower.follow().is_none() {
        publisher.commit(&book);
    }
    let (stop, started) = (AtomicBool::new(false), AtomicBool::new(beside == Beside::Nobody));
    thread::scope(|scope| {
        let other = (beside != Beside::Nobody).then(|| {
            scope.spawn(|| {
                let own = (beside == Beside::Bystander).then(|| {
                    let (mut book, mut publisher, mut draw) =
                        (Book::new(rules), Publisher::new(ring_log2), Draw(0x5eed));
                    warm(&mut book, &mut publisher, &mut draw);
                    let mut follower = publisher.follower();
                    while follower.follow().is_none() {
                        publisher.commit(&book);
                    }
                    follower
                });
                started.store(true, Ordering::Release);
                match own {
                    Some(own) => stand_by(own, &stop),
                    None => read(follower, &stop),
                }
            })
        });
        while !started.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let (before, said) = (ran_ns(), publisher.said());
        for turn in 0..COMMANDS {
            command(&mut draw, &mut book, &mut publisher);
            if turn % batch == 0 {
                publisher.commit(&book);
            }
        }
        let writer_ns = ran_ns() - before;
        stop.store(true, Ordering::Relaxed);
        let (snapshots, joins) = other.map_or((0, 0), |other| other.join().expect("the other thread ends"));
        Run {
            writer_ns,
            records: publisher.said() - said,
            snapshots,
            joins,
        }
    })
}

/// Ratio in hundredths of a per cent.
fn ratio(of: u64, to: u64) -> u64 {
    of * 10_000 / to.max(1)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn main() {
    if cfg!(debug_assertions) {
        println!("a debug build measures nothing of use");
    }
    let argument = |at: usize| std::env::args().nth(at).and_then(|given| given.parse::<u32>().ok());
    let (turns, ring_log2) = (argument(1).unwrap_or(11), argument(2).unwrap_or(18));
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load().trim());
    for batch in [1, 16] {
        let mut alone = Vec::new();
        let mut rows: [(&str, Beside, Vec<Run>); 2] = [
            ("bystander", Beside::Bystander, Vec::new()),
            ("reader", Beside::Reader, Vec::new()),
        ];
        for _ in 0..turns {
            alone.push(run(Beside::Nobody, batch, ring_log2));
            for (_, beside, runs) in &mut rows {
                runs.push(run(*beside, batch, ring_log2));
            }
        }
        let ns = |runs: &[Run]| runs.iter().map(|run| run.writer_ns).collect::<Vec<_>>();
        let least = |runs: &[Run]| ns(runs).into_iter().min().unwrap_or(0);
        let each = |ns: u64| ns * 10 / COMMANDS;
        println!(
            "a commit per {batch}: alone {} tenths of ns a command (median), {} (least), {} records",
            each(median(ns(&alone))),
            each(least(&alone)),
            alone[0].records,
        );
        for (name, _, runs) in &rows {
            let pairs = runs
                .iter()
                .zip(&alone)
                .map(|(run, alone)| ratio(run.writer_ns, alone.writer_ns));
            let snapshots = median(runs.iter().map(|run| run.snapshots).collect());
            println!(
                "  {name}: {} (median), {} (least) ten-thousandths of alone; {snapshots} snapshots, {} joins a run",
                median(pairs.collect()),
                ratio(least(runs), least(&alone)),
                median(runs.iter().map(|run| run.joins).collect()),
            );
        }
    }
    println!("load after: {}", load().trim());
}
