//! What a dispatch more costs within one submission, and what the roots of trees of several sizes take beside it: why the
//! roots of many trees are one submission of as many dispatches as they have stages. Sizes take turns, medians count.
//!
//! `cargo run --release -p wattbook-shaders --example dispatch_cost [rounds]`
#![allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]

use std::time::{Duration, Instant};
use wattbook_shaders::gpu::tree::{Forest, LEAVES, LeafKind};
use wattbook_shaders::gpu::{Choice, Device, Dispatch, Error, KERNELS};

/// Dispatches of a submission.
const COUNTS: [usize; 5] = [1, 2, 3, 101, 1_001];

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / 1e3
}

fn main() -> Result<(), Error> {
    let rounds = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(51);
    let device = Device::open(&Choice {
        checked: false,
        ..Choice::default()
    })?;
    device.warm_up(KERNELS, |_, _, _, _| ())?;
    println!("{}", device.name());

    // A tree of one leaf, again and again.
    let [leaf, cohorts, starts] =
        [&[0; 8][..], &[0, 1, 1, 0, 0, 0, 0, 0], &[0]].map(|words| device.upload("input", words));
    let [nodes, roots] = [device.buffer("nodes", 8), device.buffer("roots", 8)];
    let mut times = COUNTS.map(|_| Vec::new());
    for _ in 0..rounds {
        for (count, times) in COUNTS.into_iter().zip(&mut times) {
            let start = Instant::now();
            let mut commands = device.commands();
            for _ in 0..count {
                commands.run(&Dispatch {
                    kernel: &LEAVES,
                    buffers: &[&leaf, &cohorts, &starts, &nodes, &roots],
                    params: &[0, 1, 2, 1],
                    items: 1,
                    work: 1,
                });
            }
            let download = commands.download(&roots, 0, 8);
            commands.submit().wait()?.take(download);
            times.push(start.elapsed());
        }
    }
    println!("| dispatches | us a submission | us a dispatch more |\n|---|---|---|");
    let first = median(times[0].clone());
    for (count, times) in COUNTS.into_iter().zip(times) {
        let time = median(times);
        let more = (time - first) / (count - 1).max(1) as f64;
        println!("| {count} | {time:.0} | {more:.2} |");
    }

    println!("| trees | leaves each | dispatches | us |\n|---|---|---|---|");
    let forests: [(usize, u32); 6] = [(1, 4), (256, 4), (1, 1_024), (256, 4_096), (1, 1 << 16), (1, 1 << 20)];
    for (trees, leaves) in forests {
        let forest = Forest::new(&vec![leaves; trees]);
        let bytes = device.buffer("leaves", forest.leaves() * 8);
        let placed = forest.place(&device);
        let mut times = Vec::new();
        for _ in 0..rounds.min(11) {
            let start = Instant::now();
            let mut commands = device.commands();
            let download = forest.run(&mut commands, &placed, &bytes, LeafKind::Short);
            forest.roots(&mut commands.submit().wait()?, download);
            times.push(start.elapsed());
        }
        println!("| {trees} | {leaves} | {} | {:.0} |", forest.stages(), median(times));
    }
    Ok(())
}
