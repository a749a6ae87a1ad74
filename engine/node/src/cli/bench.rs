//! `wattbook bench verify`: the batch verifier by itself, for people who only want that.

use serde_json::json;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wattbook_shaders::gpu::tree::{Forest, LeafKind};
use wattbook_shaders::gpu::{Choice, Device, Error, KERNELS};
use wattbook_shaders::measure::{Fault, Inputs, Tree, sha256_chain};
use wattbook_shaders::{DEVICE_KEYS_MAX, Policy, Route, Verifier};

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

/// Prints one JSON line a figure. A metric says what is warm, where the input lies and how many threads the CPU's part
/// has; rivals have as many.
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
    /// Threads of the CPU's part, and of every rival.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    threads: u32,
    /// Rounds after the first run, which is reported apart; in each, rivals and ours take turns, and medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Measure blst one by one, grouped and in its own batch call beside it.
    #[arg(long)]
    rivals: bool,
    /// Measure a batch with one bad signature in so many, too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attack: Option<u32>,
    /// Measure the time of each kernel, on a device opened apart, which its clock slows down.
    #[arg(long)]
    kernels: bool,
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

/// The middle of some times, or ratios; the mean of two that share it.
#[allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len => (values[(len - 1) / 2] + values[len / 2]) / 2.0,
    }
}

/// How much faster ours was than a rival: the median over the rounds, each of which a slow moment falls on as a whole.
#[allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]
fn ratio(rival: &[f64], ours: &[f64]) -> f64 {
    median(rival.iter().zip(ours).map(|(rival, ours)| rival / ours))
}

/// A rate from the ns, or us, that one item takes: 10^9, or 10^6, of them a second.
#[allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]
fn rate(time: f64) -> f64 {
    1.0 / time
}

/// Opens a device and builds its kernels; how long that took is a figure of its own unless it is `timed`.
fn device(args: &VerifyArgs, timed: bool) -> Result<Arc<Device>, BenchError> {
    let device = Device::open(&Choice {
        checked: false,
        cache: args.cache.clone(),
        timed,
        ..Choice::default()
    })?;
    eprintln!("device: {}", device.name());
    let warm = device.warm_up(KERNELS, |ready, all, name, elapsed| {
        eprintln!("{ready}/{all} {name} after {} ms", elapsed.as_millis());
    })?;
    if !timed {
        let metric = if warm.cached { "cached" } else { "cold" };
        figure("gpu/warmup", metric, per(warm.elapsed, 1, 1e9), "s", None, 1)?;
    }
    Ok(Arc::new(device))
}

/// A figure for each kernel that ran on `device` since it was last asked: its time by the device's own clock.
fn kernels(bench: &str, device: &Device) -> Result<(), BenchError> {
    for (name, (dispatches, sum_ns)) in device.take_kernel_times() {
        let bench = format!("{bench}/kernel/{name}");
        let dispatches = u32::try_from(dispatches).unwrap_or(u32::MAX);
        figure(
            &bench,
            "warm",
            per(Duration::from_nanos(sum_ns), 1, 1e6),
            "ms/batch",
            None,
            dispatches,
        )?;
    }
    Ok(())
}

/// The verifier of a path on a device, if it takes one.
fn verifier(args: &VerifyArgs, policy: Policy, device: Option<&Arc<Device>>) -> Verifier {
    let verifier = Verifier::with_threads(policy, args.threads as usize);
    match device {
        Some(device) => {
            // As many keys as the bench has, on a device that is worth it.
            let keys_max = if device.is_software() {
                0
            } else {
                DEVICE_KEYS_MAX.max(args.keys as usize)
            };
            verifier.with_device_keys(Arc::clone(device), keys_max)
        }
        None => verifier,
    }
}

fn envelopes(args: &VerifyArgs) -> Result<(), BenchError> {
    let (n, keys, threads) = (args.n as usize, args.keys as usize, args.threads as usize);
    let (policy, route, name) = match args.path {
        PathArg::OneByOne => (Policy::OneByOne, Route::OneByOne, "one-by-one"),
        PathArg::Cpu => (Policy::Batch, Route::Batch, "cpu"),
        PathArg::Gpu => (Policy::Gpu, Route::Gpu, "gpu"),
    };
    let is_gpu = args.path == PathArg::Gpu;
    let opened = is_gpu.then(|| device(args, false)).transpose()?;
    let mut ours = verifier(args, policy, opened.as_ref());
    eprintln!("signing {n} envelopes of {} leaves by {keys} keys", args.leaves);
    let inputs = Inputs::new(n, keys, args.leaves).ok_or(BenchError::Refused("signing"))?;
    let bench = match args.leaves {
        1 => format!("verify/{name}/n{n}/k{keys}"),
        leaves => format!("verify/{name}/n{n}/k{keys}/t{leaves}"),
    };
    let us = |time| per(time, n, 1e3);
    let written = |metric: &str, us: f64, beside: Option<(f64, &str)>, samples: u32| {
        let metric = format!("{metric}/threads{threads}");
        match is_gpu {
            true => figure(&bench, &metric, rate(us), "M signatures/s", beside, samples),
            false => figure(&bench, &metric, us, "us/signature", beside, samples),
        }
    };
    let cold = inputs.ours(&mut ours, route).ok_or(BenchError::Refused(name))?;
    written("cold/host", us(cold), None, 1)?;
    // The same inputs on the device before the clock starts.
    let placed = is_gpu.then(|| inputs.placed(&mut ours).ok_or(BenchError::Refused("the device")));
    let placed = placed.transpose()?;
    let rivals = args.rivals.then(|| inputs.rivals(threads));
    let one_len = n.min(64 * threads);
    const RIVALS: [&str; 3] = ["blst-one", "blst-grouped", "blst-batch"];
    let (mut times, mut from_device) = (Vec::new(), Vec::new());
    let mut of_rivals = [const { Vec::new() }; RIVALS.len()];
    for _ in 0..args.runs {
        times.push(us(inputs.ours(&mut ours, route).ok_or(BenchError::Refused(name))?));
        if let Some(placed) = &placed {
            let time = Inputs::resident(&mut ours, placed).ok_or(BenchError::Refused(name))?;
            from_device.push(us(time));
        }
        if let Some(rivals) = &rivals {
            let found = [
                rivals.one(one_len).map(|time| per(time, one_len, 1e3)),
                rivals.grouped().map(us),
                rivals.batch().map(us),
            ];
            for ((times, found), name) in of_rivals.iter_mut().zip(found).zip(RIVALS) {
                times.push(found.ok_or(BenchError::Refused(name))?);
            }
        }
    }
    let warm = median(times.iter().copied());
    let resident = (!from_device.is_empty()).then(|| median(from_device.iter().copied()));
    if rivals.is_none() {
        written("warm/host", warm, None, args.runs)?;
        if let Some(resident) = resident {
            written("warm/resident", resident, None, args.runs)?;
        }
    }
    for (rival, name) in of_rivals.iter().zip(RIVALS).filter(|(rival, _)| !rival.is_empty()) {
        written("warm/host", warm, Some((ratio(rival, &times), name)), args.runs)?;
        if let Some(resident) = resident {
            written(
                "warm/resident",
                resident,
                Some((ratio(rival, &from_device), name)),
                args.runs,
            )?;
        }
        eprintln!("{name}: {:.1} us/signature", median(rival.iter().copied()));
    }
    if let Some(every) = args.attack {
        for (fault, name) in [(Fault::Mismatch, "mismatch"), (Fault::Outside, "outside")] {
            attack(&inputs, &mut ours, (every as usize, fault, name), &bench, warm)?;
        }
    }
    if let Some(device) = is_gpu.then_some(args).filter(|args| args.kernels) {
        drop((ours, opened, placed));
        let timed = self::device(device, true)?;
        let mut verifier = verifier(args, policy, Some(&timed));
        // Keys go to the device with the first batch.
        inputs.ours(&mut verifier, route).ok_or(BenchError::Refused(name))?;
        timed.take_kernel_times();
        inputs.ours(&mut verifier, route).ok_or(BenchError::Refused(name))?;
        kernels(&bench, &timed)?;
    }
    Ok(())
}

/// What bad signatures cost: a batch with one in so many, and what each adds to a batch that would have been good.
#[allow(
    clippy::float_arithmetic,
    reason = "figures for people; nothing is computed from them"
)]
fn attack(
    inputs: &Inputs,
    verifier: &mut Verifier,
    (every, fault, name): (usize, Fault, &str),
    bench: &str,
    good: f64,
) -> Result<(), BenchError> {
    let (time, bad) = inputs.attacked(verifier, every, fault);
    let len = inputs.candidates().len();
    let attacked = per(time, len, 1e3);
    let metric = format!("attacked/{name}/1in{every}");
    figure(bench, &metric, attacked, "us/signature", None, 1)?;
    let more = (attacked - good) * len as f64 / bad.max(1) as f64;
    let metric = format!("attack_cost/{name}/1in{every}");
    figure(bench, &metric, more, "us/bad signature", None, 1)
}

fn trees(args: &VerifyArgs, leaves: u32) -> Result<(), BenchError> {
    /// Compressions that a rate is measured over at least.
    const BLOCKS_MIN: usize = 1 << 14;
    let (count, threads) = (leaves as usize, args.threads as usize);
    let tree = Tree::new(leaves, threads);
    let expected = tree.expected();
    let device = (args.path == PathArg::Gpu).then(|| device(args, false)).transpose()?;
    // Short trees many times over, so that the clock sees them.
    let repeats = (BLOCKS_MIN / tree.blocks()).max(1);
    let [mut ours, mut bare, mut chain, mut host, mut placed] = [const { Vec::new() }; 5];
    for _ in 0..args.runs.max(2) {
        let mut sum = Duration::ZERO;
        for _ in 0..repeats {
            let (root, time) = tree.ours();
            sum += time;
            if root != expected {
                return Err(BenchError::Refused("the tree"));
            }
        }
        ours.push(per(sum, repeats * count, 1.0));
        // What as many compressions take by themselves.
        let scale = |(blocks, time): (usize, Duration)| per(time * tree.blocks() as u32, blocks * count, 1.0);
        bare.push(scale(tree.bare(BLOCKS_MIN)));
        if threads == 1 {
            chain.push(scale((BLOCKS_MIN, sha256_chain(BLOCKS_MIN))));
        }
        if let Some(device) = &device {
            let start = Instant::now();
            let roots = wattbook_shaders::gpu::tree::roots(device, tree.bytes(), LeafKind::Short, &[leaves])?;
            host.push(per(start.elapsed(), count, 1.0));
            let (time, root) = resident(device, tree.bytes(), leaves)?;
            placed.push(per(time, count, 1.0));
            if roots != [expected] || root != expected {
                return Err(BenchError::Refused("the device"));
            }
        }
    }
    let row = |bench: &str, metric: &str, times: &[f64], beside: Option<(&[f64], &str)>| {
        let beside = beside.map(|(rival, to)| (ratio(rival, times), to));
        let (value, samples) = (rate(median(times.iter().copied())), times.len() as u32);
        figure(bench, metric, value, "G leaves/s", beside, samples)
    };
    let metric = format!("t{leaves}/threads{threads}");
    row("merkle/cpu", &metric, &ours, Some((&bare, "sha-ni")))?;
    if threads == 1 {
        // What the instructions give to one message after the other.
        row("merkle/cpu", &metric, &ours, Some((&chain, "sha-ni-one-chain")))?;
    }
    if device.is_some() {
        for (bench, times) in [("merkle/gpu/host", &host), ("merkle/gpu/resident", &placed)] {
            row(bench, &format!("t{leaves}/cold"), &times[..1], None)?;
            row(
                bench,
                &format!("t{leaves}/warm"),
                &times[1..],
                Some((&bare[1..], "sha-ni")),
            )?;
        }
    }
    if device.is_some() && args.kernels {
        drop(device);
        let timed = self::device(args, true)?;
        resident(&timed, tree.bytes(), leaves)?;
        timed.take_kernel_times();
        resident(&timed, tree.bytes(), leaves)?;
        kernels(&format!("merkle/gpu/resident/t{leaves}"), &timed)?;
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
