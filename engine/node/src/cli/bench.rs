//! `wattbook bench verify`: the batch verifier by itself, for people who only want that.

use serde_json::json;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wattbook_shaders::gpu::tree::{Forest, LeafKind};
use wattbook_shaders::gpu::{Choice, Device, Error, KERNELS};
use wattbook_shaders::measure::{Inputs, sha256_blocks};
use wattbook_shaders::{DEVICE_KEYS_MAX, Policy, Route, Verifier};
use wattbook_types::tree;

/// What is measured.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Signatures and trees of envelopes in a batch.
    Verify(VerifyArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum, Debug)]
enum PathArg {
    OneByOne,
    Cpu,
    Gpu,
}

/// Prints one JSON line a figure.
#[derive(clap::Args, Debug)]
struct VerifyArgs {
    /// Envelopes in the batch.
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(1..=1 << 21))]
    n: u32,
    /// Keys that signed them, in turn.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1 << 21))]
    keys: u32,
    /// Leaves of each envelope's tree.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    leaves: u32,
    /// Which path.
    #[arg(long, value_enum, default_value_t = PathArg::Cpu)]
    path: PathArg,
    /// Threads of the CPU's part.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    threads: u32,
    /// Runs after the first, which is reported apart; the fastest counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Measure blst one by one, grouped and in its own batch call beside it.
    #[arg(long)]
    rivals: bool,
    /// Measure a batch with one bad signature in so many, too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attack: Option<u32>,
    /// Measure one tree of so many leaves of 32 bytes instead of envelopes.
    #[arg(long, value_name = "LEAVES", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    tree: Option<u32>,
    /// Folder of the device's pipeline cache.
    #[arg(long, value_name = "DIR")]
    cache: Option<std::path::PathBuf>,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Device(#[from] Error),
    #[error("{0} gave a wrong answer or left its path")]
    Refused(&'static str),
    #[error("stdout: {0}")]
    Write(#[from] io::Error),
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let What::Verify(args) = &args.what;
    let done = match args.tree {
        Some(leaves) => trees(args, leaves),
        None => envelopes(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

/// One figure, with the rival it is held against: a ratio above 1 says that ours is better.
fn figure(
    bench: &str,
    metric: &str,
    value: f64,
    unit: &str,
    ratio: Option<(f64, &str)>,
    samples: u32,
) -> Result<(), BenchError> {
    let line = json!({
        "bench": bench, "metric": metric, "value": value, "unit": unit,
        "ratio": ratio.map(|(ratio, _)| ratio), "ratio_to": ratio.map(|(_, to)| to), "samples": samples,
    });
    Ok(writeln!(io::stdout(), "{line}")?)
}

#[allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]
fn per(time: Duration, count: usize, unit_ns: f64) -> f64 {
    time.as_nanos() as f64 / count.max(1) as f64 / unit_ns
}

#[allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]
fn ratio(rival: f64, ours: f64) -> f64 {
    rival / ours
}

/// Opens a device and builds its kernels, which is a figure of its own.
fn device(args: &VerifyArgs) -> Result<Arc<Device>, BenchError> {
    let device = Device::open(&Choice {
        checked: false,
        cache: args.cache.clone(),
        timed: true,
        ..Choice::default()
    })?;
    eprintln!("device: {}", device.name());
    let warm = device.warm_up(KERNELS, |ready, all, name, elapsed| {
        eprintln!("{ready}/{all} {name} after {} ms", elapsed.as_millis());
    })?;
    let metric = if warm.cached { "cached" } else { "cold" };
    figure("gpu/warmup", metric, per(warm.elapsed, 1, 1e9), "s", None, 1)?;
    Ok(Arc::new(device))
}

#[allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]
fn envelopes(args: &VerifyArgs) -> Result<(), BenchError> {
    let (n, keys) = (args.n as usize, args.keys as usize);
    let (policy, route, name) = match args.path {
        PathArg::OneByOne => (Policy::OneByOne, Route::OneByOne, "one-by-one"),
        PathArg::Cpu => (Policy::Batch, Route::Batch, "cpu"),
        PathArg::Gpu => (Policy::Gpu, Route::Gpu, "gpu"),
    };
    let mut verifier = Verifier::with_threads(policy, args.threads as usize);
    if args.path == PathArg::Gpu {
        let device = device(args)?;
        // As many keys as the bench has, on a device that is worth it.
        let keys_max = if device.is_software() {
            0
        } else {
            keys.max(DEVICE_KEYS_MAX)
        };
        verifier = verifier.with_device_keys(device, keys_max);
    }
    eprintln!("signing {n} envelopes of {} leaves by {keys} keys", args.leaves);
    let inputs = Inputs::new(n, keys, args.leaves).ok_or(BenchError::Refused("signing"))?;
    let bench = match args.leaves {
        1 => format!("verify/{name}/n{n}/k{keys}"),
        leaves => format!("verify/{name}/n{n}/k{keys}/t{leaves}"),
    };
    let us = |time| per(time, n, 1e3);
    let refused = BenchError::Refused(name);
    let cold = inputs.ours(&mut verifier, route).ok_or(refused)?;
    figure(&bench, "cold", us(cold), "us/signature", None, 1)?;
    // Rivals and ours in turn, so that a slow moment of the machine falls on all; the fastest of each counts.
    let one_len = n.min(64);
    let mut best: [Option<f64>; 4] = [None; 4];
    for _ in 0..args.runs {
        let ours = inputs.ours(&mut verifier, route).ok_or(BenchError::Refused(name))?;
        let mut times = [Some(us(ours)), None, None, None];
        if args.rivals {
            let one = inputs.blst_one(one_len).ok_or(BenchError::Refused("blst-one"))?;
            let grouped = inputs.blst_grouped().ok_or(BenchError::Refused("blst-grouped"))?;
            let batch = inputs.blst_batch().ok_or(BenchError::Refused("blst-batch"))?;
            times = [
                Some(us(ours)),
                Some(per(one, one_len, 1e3)),
                Some(us(grouped)),
                Some(us(batch)),
            ];
        }
        for (best, time) in best.iter_mut().zip(times) {
            *best = match (*best, time) {
                (Some(before), Some(now)) => Some(before.min(now)),
                (before, now) => before.or(now),
            };
        }
    }
    let ours = best[0].unwrap_or(us(cold));
    figure(&bench, "warm", ours, "us/signature", None, args.runs)?;
    for (rival, name) in best[1..].iter().zip(["blst-one", "blst-grouped", "blst-batch"]) {
        if let Some(rival) = rival {
            let beside = Some((ratio(*rival, ours), name));
            figure(&bench, "warm", ours, "us/signature", beside, args.runs)?;
        }
    }
    if let Some(every) = args.attack {
        let (time, bad) = inputs.attacked(&mut verifier, every as usize);
        figure(&bench, "attacked", us(time), "us/signature", None, 1)?;
        // What the bad ones add to a batch that would have been good.
        let more = (us(time) - ours) * f64::from(args.n) / bad.max(1) as f64;
        figure(&bench, "attack_cost", more, "us/bad signature", None, 1)?;
    }
    Ok(())
}

fn trees(args: &VerifyArgs, leaves: u32) -> Result<(), BenchError> {
    let count = leaves as usize;
    let bytes: Vec<u8> = (0..leaves).flat_map(|i| [i.to_le_bytes(); 8]).flatten().collect();
    let expected = tree::root(bytes.as_chunks::<32>().0);
    // A leaf is one block, a node two.
    let blocks = count + 2 * (count - 1);
    let mut best = [Duration::MAX; 4];
    let device = match args.path {
        PathArg::Gpu => Some(device(args)?),
        PathArg::Cpu | PathArg::OneByOne => None,
    };
    for _ in 0..=args.runs {
        let start = Instant::now();
        let root = tree::root(bytes.as_chunks::<32>().0);
        best[0] = best[0].min(start.elapsed());
        if root != expected {
            return Err(BenchError::Refused("the tree"));
        }
        best[1] = best[1].min(sha256_blocks(blocks.max(64)));
        if let Some(device) = &device {
            let start = Instant::now();
            let roots = wattbook_shaders::gpu::tree::roots(device, &bytes, LeafKind::Short, &[leaves])?;
            best[2] = best[2].min(start.elapsed());
            let (resident, root) = resident(device, &bytes, leaves)?;
            best[3] = best[3].min(resident);
            if roots != [expected] || root != expected {
                return Err(BenchError::Refused("the device"));
            }
        }
    }
    let bare = per(best[1], blocks.max(64), 1.0);
    let beside = Some((ratio(bare, per(best[0], blocks, 1.0)), "sha-ni"));
    figure(
        "merkle/cpu",
        &format!("t{leaves}"),
        per(best[0], count, 1.0),
        "ns/leaf",
        beside,
        args.runs,
    )?;
    if device.is_some() {
        for (bench, time) in [("merkle/gpu/host", best[2]), ("merkle/gpu/resident", best[3])] {
            let beside = Some((ratio(per(best[0], count, 1.0), per(time, count, 1.0)), "merkle/cpu"));
            figure(
                bench,
                &format!("t{leaves}"),
                per(time, count, 1.0),
                "ns/leaf",
                beside,
                args.runs,
            )?;
        }
    }
    Ok(())
}

/// A tree whose leaves lie on the device already.
fn resident(device: &Device, bytes: &[u8], leaves: u32) -> Result<(Duration, wattbook_types::Hash), BenchError> {
    let words: Vec<u32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    let (buffer, forest) = (device.upload("leaves", &words), Forest::new(&[leaves]));
    let placed = forest.place(device);
    device.commands().submit().wait()?;
    let start = Instant::now();
    let mut commands = device.commands();
    let download = forest.run(&mut commands, &placed, &buffer, LeafKind::Short);
    let mut outcome = commands.submit().wait()?;
    let elapsed = start.elapsed();
    let mut roots = forest.roots(&mut outcome, download);
    Ok((elapsed, roots.pop().unwrap_or_default()))
}
