//! What a calibrated verifier takes for short batches, beside what every path takes. Paths take turns, and the fastest turn
//! of each counts.
//!
//! `cargo run --release -p wattbook-shaders --example verify_choice [threads] [rounds]`

use std::time::Duration;
use wattbook_shaders::measure::Inputs;
use wattbook_shaders::{Policy, Route, Verifier};

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let (threads, rounds) = (args.next().unwrap_or(1), args.next().unwrap_or(9));
    let mut auto = Verifier::with_threads(Policy::Auto, threads);
    println!("{threads} threads, {}: {}", Verifier::instructions(), auto.calibrate());
    println!("| signatures | keys | one by one, us | batch, us | chosen |\n|---|---|---|---|---|");
    let mut paths = [
        (Verifier::with_threads(Policy::OneByOne, threads), Route::OneByOne),
        (Verifier::with_threads(Policy::Batch, threads), Route::Batch),
    ];
    for len in [1, 2, 4, 8, 16, 32, 64] {
        for keys in if len == 1 { vec![1] } else { vec![1, len] } {
            let Some(inputs) = Inputs::new(len, keys, 1) else {
                continue;
            };
            let mut best = [Duration::MAX; 2];
            for _ in 0..rounds {
                for ((verifier, route), best) in paths.iter_mut().zip(&mut best) {
                    *best = inputs.ours(verifier, *route).unwrap_or(Duration::MAX).min(*best);
                }
            }
            let [alone, batch] = best.map(|time| time.as_micros());
            println!(
                "| {len} | {keys} | {alone} | {batch} | {} |",
                auto.route_of(len, keys).name()
            );
        }
    }
}
