//! The delegates' figures: `finality`, `throughput/final`, `takeover`, `catchup`, `light`.
//!
//! # Method
//! Every node is a process of its own, on loopback, with a ledger on the disk and real synchronisation; all share the machine's
//! cores with the generator. Finality is taken at a public session of a node: from the time that the leader gave the block,
//! when it began it, to the arrival of its `BlockSealed`; beside it stands what checking and executing a block took there.
//! Processor time is the kernel's account of all nodes. A takeover begins with the SIGKILL of the node that leads and ends with
//! the first block of a later time at a public session of another. A late node starts with nothing but genesis when the
//! throughput has been measured. Certificates for the light client are made here, of as many epochs as a quarter has.

use crate::load::{Latencies, Load, Pace, latencies, run as run_load};
use crate::report::{Figure, append, figures_of, share};
use crate::site::{Committee, Needs, Site};
use crate::{Error, Place, cpu, limits, nanos};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_agreement::ballot::{BallotKey, Namespace, Proposal, Round, Vote};
use wattbook_agreement::proof::FinalityProof;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::Outbound;
use wattbook_ledger::{BlockHeader, GENESIS_FILE, Reader};
use wattbook_node::light::{Border, LightClient, Member};
use wattbook_node::{keys, metrics};
use wattbook_types::committee::{Committee as Seats, quorum};
use wattbook_types::{Hash, TimeNs};

/// Bytes of an envelope's record beside its leaves, and of a leaf.
const RECORD: usize = 120;
const LEAF: usize = 48;
/// Leaves an envelope.
const LEAVES: u32 = 64;
/// Longest wait for a block.
const PATIENCE: Duration = Duration::from_secs(60);
/// Epochs of a quarter of a year in which one lasts ten minutes.
const QUARTER: u64 = 12_960;
/// Unanswered envelopes of all clients together where the rate is sought.
const OUTSTANDING: u64 = 2_048;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Sizes of the committee.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 7, 21])]
    delegates: Vec<usize>,
    /// Clients, each with a session and a key of its own.
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Blocks a second, and bytes of a block; larger committees than 7 are offered an eighth of that.
    #[arg(long, default_value_t = 10)]
    blocks: u32,
    #[arg(long, default_value_t = 64 << 10)]
    block_bytes: usize,
    /// Length of the load that finality is taken under, s.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Leaders killed.
    #[arg(long, default_value_t = 8)]
    takeovers: u32,
    /// Envelopes of the run that finds the rate.
    #[arg(long, default_value_t = 12_000)]
    envelopes: usize,
    #[command(flatten)]
    place: Place,
    /// File that the figures are appended to, one JSON line each.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the bench.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let mut figures = Vec::new();
    eprintln!("== a light client, {QUARTER} epochs");
    light(&mut figures)?;
    for (at, delegates) in args.delegates.iter().enumerate() {
        committee(args, *delegates, at == 0, &mut figures)?;
    }
    for figure in &figures {
        let ratio = figure.ratio.map(|(ratio, to)| format!("{ratio:>10.3} of {to}"));
        let (bench, metric, unit) = (&figure.bench, &figure.metric, figure.unit);
        println!(
            "{bench:<20} {metric:<24} {:>14} {unit:<9}{}",
            figure.value,
            ratio.unwrap_or_default()
        );
    }
    args.out.as_deref().map_or(Ok(()), |path| append(path, &figures))
}

fn figure(bench: &str, metric: &str, value: u64, unit: &'static str, samples: u64) -> Figure {
    Figure {
        bench: bench.to_owned(),
        metric: metric.to_owned(),
        value,
        unit,
        ratio: None,
        samples,
    }
}

fn now_ns() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// What a public session heard of blocks.
#[derive(Debug)]
struct Heard {
    /// From the block's time to its message.
    finality: Latencies,
    blocks: u64,
}

/// Listens to blocks that carry more than their Tick until told to stop.
fn listen(addr: SocketAddr, stop: &AtomicBool) -> Result<Heard, ClientError> {
    let mut client = Client::connect(addr, StreamKind::Public, 0)?;
    let mut heard = Heard {
        finality: latencies(),
        blocks: 0,
    };
    while !stop.load(Ordering::Relaxed) {
        if let Some((_, Outbound::BlockSealed(block))) = client.next(Duration::from_millis(50))?
            && block.record_count > 1
        {
            heard.finality.saturating_record(now_ns().saturating_sub(block.time_ns));
            heard.blocks += 1;
        }
    }
    Ok(heard)
}

/// A counter or gauge of a node.
fn metric(addr: SocketAddr, name: &str) -> Option<u64> {
    let text = metrics::fetch(addr).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && line.as_bytes().get(name.len()) == Some(&b' '))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn needs(args: &Args) -> Needs {
    Needs {
        clients: args.clients,
        idle: 0,
        open_s: 1_200,
        seed: 1,
    }
}

/// Everything of one size of committee; the first one is measured in full.
fn committee(args: &Args, delegates: usize, is_first: bool, figures: &mut Vec<Figure>) -> Result<(), Error> {
    let share_of = if delegates > 7 { 8 } else { 1 };
    let bytes = args.block_bytes / share_of;
    let per_block = (bytes / (RECORD + LEAF * LEAVES as usize)).max(1);
    let block_ms = 1_000 / args.blocks.max(1);
    eprintln!(
        "== {delegates} delegates: finality, {} blocks/s of {bytes} bytes",
        args.blocks
    );
    let timing = format!("block_ms = {block_ms}\nleader_timeout_ms = 2000\n");
    let mut town = Committee::open(&args.place, needs(args), delegates, usize::from(is_first), &timing)?;
    town.site.await_book()?;
    let stop = Arc::new(AtomicBool::new(false));
    let watched = town.members[delegates / 2].clone();
    let listening = {
        let (stop, addr) = (Arc::clone(&stop), watched.listen);
        thread::spawn(move || listen(addr, &stop))
    };
    let used = |town: &Committee| -> cpu::Used {
        let mut all = cpu::Used::new();
        for (name, time) in town.pids().flat_map(cpu::threads) {
            *all.entry(name).or_default() += time;
        }
        all
    };
    let (cpu_before, moved_before) = (used(&town), moved());
    let executed = |name: &str| metric(watched.metrics, name).unwrap_or(0);
    let before = ["wattbook_replica_executed_us_total", "wattbook_replica_verified_total"].map(executed);
    // BOUND: some hundreds a second for some seconds.
    let rate = args.blocks * per_block as u32;
    let gap = 1_000_000_000 / u64::from(rate);
    let instants = (0..u64::from(rate * args.seconds)).map(|i| i * gap).collect();
    let pace = Pace::Open(instants);
    let measured = run_load(&Load { pace, leaves: LEAVES }, &mut town.site)?;
    stop.store(true, Ordering::Relaxed);
    let heard = listening.join().map_err(|_| Error::Receiver)??;
    let after = ["wattbook_replica_executed_us_total", "wattbook_replica_verified_total"].map(executed);
    let blocks = heard.blocks.max(1);
    let bench = format!("finality/{delegates}");
    figures.extend(figures_of(&bench, "", &heard.finality));
    let took = (after[0] - before[0]) * 1_000 / (after[1] - before[1]).max(1);
    figures.push(figure(&bench, "execute", took, "ns", after[1] - before[1]));
    let used = cpu::between(&cpu_before, &used(&town));
    figures.push(figure(
        &bench,
        "cpu",
        used.values().sum::<u64>() / blocks,
        "ns/block",
        blocks,
    ));
    for (name, time) in used.iter().filter(|(_, time)| **time / blocks > 1_000_000) {
        figures.push(figure(
            &bench,
            &format!("cpu/{name}"),
            time / blocks,
            "ns/block",
            blocks,
        ));
    }
    let [sent, written] = [0, 1].map(|i| (moved()[i] - moved_before[i]) / blocks);
    figures.push(figure(&bench, "loopback", sent, "B/block", blocks));
    figures.push(figure(&bench, "written", written, "B/block", blocks));
    figures.push(figure(
        &bench,
        "answered",
        measured.per_second(measured.answered()),
        "1/s",
        measured.answered(),
    ));
    if is_first {
        throughput(args, delegates, &mut town, figures)?;
        catchup(args, delegates, &mut town, figures)?;
    }
    drop(town);
    if is_first {
        takeover(args, delegates, figures)?;
    }
    Ok(())
}

/// Bytes sent over loopback, and written to disks, by everybody on this machine.
fn moved() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let lo = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let sent = lo
        .and_then(|line| line.split_whitespace().nth(8)?.parse().ok())
        .unwrap_or(0);
    let text = std::fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let written = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        let is_whole = words
            .next()
            .is_some_and(|name| name.starts_with("vd") || name.starts_with("sd") || name.starts_with("nvme"));
        is_whole.then(|| words.nth(6)?.parse::<u64>().ok()).flatten()
    });
    // Sectors of 512 bytes; partitions count beside their disk, so the largest stands for all.
    [sent, written.max().unwrap_or(0) * 512]
}

/// The rate of one node, and of the committee, with a window of unanswered envelopes.
fn throughput(args: &Args, delegates: usize, town: &mut Committee, figures: &mut Vec<Figure>) -> Result<(), Error> {
    let load = || Load {
        pace: Pace::Window {
            outstanding: OUTSTANDING.div_ceil(args.clients.into()),
            envelopes: args.envelopes,
        },
        leaves: LEAVES,
    };
    eprintln!("== {delegates} delegates: the rate");
    let of_all = run_load(&load(), &mut town.site)?;
    let of_all = of_all.per_second(of_all.items());
    eprintln!("== one node: the rate");
    let mut alone = Site::open(&args.place, needs(args))?;
    alone.await_book()?;
    let one = run_load(&load(), &mut alone)?;
    let one = one.per_second(one.items());
    drop(alone);
    let bench = "throughput/final";
    let mut row = figure(bench, "quotes", of_all, "1/s", args.envelopes as u64);
    row.ratio = Some((share(of_all * delegates as u64, one), "one_node_by_nodes"));
    figures.push(row);
    figures.push(figure(bench, "one_node", one, "1/s", args.envelopes as u64));
    Ok(())
}

/// An observer that starts late.
fn catchup(args: &Args, delegates: usize, town: &mut Committee, figures: &mut Vec<Figure>) -> Result<(), Error> {
    eprintln!("== a late node catches up");
    let height = "wattbook_replica_final_height";
    let goal = metric(town.members[0].metrics, height).ok_or(Error::Stalled("a node shows no height"))?;
    let late = town.members[delegates].clone();
    let others = |town: &Committee| -> u64 {
        let pids = town.pids().take(delegates);
        pids.flat_map(cpu::threads).map(|(_, time)| time).sum()
    };
    let (since, busy) = (Instant::now(), others(town));
    town.start(delegates)?;
    while metric(late.metrics, height).unwrap_or(0) < goal {
        if since.elapsed() > 4 * PATIENCE {
            return Err(Error::Stalled("the late node does not catch up"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let took = nanos(since.elapsed());
    let busy = others(town) - busy;
    // The late node is the last one that was started.
    let used = town.pids().last().map(cpu::threads).unwrap_or_default();
    let envelopes = envelopes_of(&late.dir)?;
    let rate = |count: u64| u64::try_from(u128::from(count) * 1_000_000_000 / u128::from(took)).unwrap_or(u64::MAX);
    let verifier = limits::verifier(args.clients, LEAVES)?;
    let mut row = figure("catchup", "envelopes", rate(envelopes), "1/s", envelopes);
    row.ratio = Some((share(rate(envelopes), verifier), "verifier"));
    figures.push(row);
    figures.push(figure("catchup", "verifier", verifier, "1/s", envelopes));
    figures.push(figure("catchup", "took", took, "ns", 1));
    figures.push(figure("catchup", "blocks", goal, "blocks", 1));
    // What it took on processors, and what the others took of them meanwhile.
    figures.push(figure("catchup", "cpu", used.values().sum(), "ns", 1));
    for (name, time) in used.iter().filter(|(_, time)| **time > 50_000_000) {
        figures.push(figure("catchup", &format!("cpu/{name}"), *time, "ns", 1));
    }
    figures.push(figure("catchup", "cpu/others", busy, "ns", 1));
    Ok(())
}

fn envelopes_of(dir: &Path) -> Result<u64, Error> {
    let reader = Reader::open(dir)?;
    let mut envelopes = 0;
    for block in reader.blocks() {
        let block = block.map_err(wattbook_ledger::Error::from)?;
        let of = |kind: u16| kind == wattbook_feed::signed::record_kind::ENVELOPE;
        envelopes += block.records.iter().filter(|record| of(record.kind)).count() as u64;
    }
    Ok(envelopes)
}

/// Leaders that are killed one after the other, each started again before the next one is.
fn takeover(args: &Args, delegates: usize, figures: &mut Vec<Figure>) -> Result<(), Error> {
    eprintln!("== {delegates} delegates: {} leaders killed", args.takeovers);
    let timing = "block_ms = 100\nleader_timeout_ms = 250\n";
    let needs = Needs {
        clients: 1,
        ..needs(args)
    };
    let mut town = Committee::open(&args.place, needs, delegates, 0, timing)?;
    let mut taken = latencies();
    for _ in 0..args.takeovers {
        let leader = newest(&town.members[0].dir)?.producer as usize;
        let other = (leader + 2) % delegates;
        let mut client = Client::connect(town.members[other].listen, StreamKind::Public, 0)?;
        // A block more, so that it leads now.
        next_block(&mut client, 0)?;
        let killed = (Instant::now(), now_ns());
        town.kill(leader);
        next_block(&mut client, killed.1)?;
        taken.saturating_record(nanos(killed.0.elapsed()));
        town.start(leader)?;
        let (goal, since) = (newest(&town.members[other].dir)?.height, Instant::now());
        while newest(&town.members[leader].dir)?.height < goal {
            if since.elapsed() > PATIENCE {
                return Err(Error::Stalled("a node that was killed does not catch up"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    figures.extend(figures_of("takeover", "", &taken));
    Ok(())
}

/// Waits for a block of a later time than `after`.
fn next_block(client: &mut Client, after: u64) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.next(deadline.saturating_duration_since(Instant::now()))? {
            Some((_, Outbound::BlockSealed(block))) if block.time_ns > after => return Ok(()),
            Some(_) => {}
            None => return Err(Error::Stalled("no block becomes final")),
        }
    }
}

fn newest(dir: &Path) -> Result<BlockHeader, Error> {
    let reader = Reader::open(dir)?;
    let last = reader.blocks().last().ok_or(Error::Stalled("an empty ledger"))?;
    Ok(last.map_err(wattbook_ledger::Error::from)?.header)
}

/// One certificate, and the borders of a quarter, of four delegates that stay.
fn light(figures: &mut Vec<Figure>) -> Result<(), Error> {
    let needs = Needs {
        clients: 0,
        idle: 0,
        open_s: 0,
        seed: 1,
    };
    let folder = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let (members, seats, epoch_blocks) = crate::site::made(folder.path(), needs, 4)?;
    let genesis = std::fs::read(members[0].dir.join(GENESIS_FILE)).map_err(Error::io("genesis"))?;
    let mut client = LightClient::new(&genesis)?;
    let chain = client.chain();
    let secrets: Result<Vec<BallotKey>, Error> = members
        .iter()
        .map(|member| {
            let secret = keys::ballot_key(&member.dir)?.unwrap_or_default();
            BallotKey::from_bytes(&secret).map_err(|_| Error::Stalled("no ballot key"))
        })
        .collect();
    let secrets = secrets?;
    let namespace = Namespace::of(chain);
    let mut borders = Vec::new();
    for epoch in 0..QUARTER {
        let next = Seats::new(epoch + 1, seats.clone()).ok_or(Error::Stalled("no committee"))?;
        let header = BlockHeader {
            flags: 0,
            producer: 0,
            height: (epoch + 1) * epoch_blocks,
            epoch,
            view: epoch_blocks,
            time: TimeNs::from_secs(epoch),
            record_count: 1,
            event_count: 0,
            first_seq: epoch + 1,
            chain,
            parent: Hash::ZERO,
            record_root: Hash::ZERO,
            event_root: Hash::ZERO,
            state_root: Hash::ZERO,
            log_root: Hash::ZERO,
            params_hash: Hash::ZERO,
            dpos_hash: Hash::ZERO,
            next_committee: next.hash(chain),
        };
        let round = Round {
            epoch,
            view: epoch_blocks,
        };
        let proposal = Proposal {
            parent_view: epoch_blocks - 1,
            digest: header.digest(),
        };
        let vote = Vote::Finalize(proposal);
        let votes: Vec<_> = secrets
            .iter()
            .take(quorum(secrets.len()))
            .map(|key| key.sign(&namespace, round, &vote))
            .collect();
        let proof = FinalityProof::of_votes(secrets.len() as u16, round, proposal, &votes)
            .ok_or(Error::Stalled("votes do not add up"))?;
        borders.push(Border {
            header: header
                .to_raw()
                .as_bytes()
                .try_into()
                .map_err(|_| Error::Stalled("no header"))?,
            certificate: proof.encode(),
            committee: seats.iter().map(Member::from).collect(),
        });
    }
    let mut one = latencies();
    for border in &borders[..200] {
        let since = Instant::now();
        client.follow(std::slice::from_ref(border))?;
        one.saturating_record(nanos(since.elapsed()));
    }
    figures.extend(figures_of("light/certificate", "", &one));
    let mut client = LightClient::new(&genesis)?;
    let since = Instant::now();
    client.follow(&borders)?;
    figures.push(figure("light/quarter", "took", nanos(since.elapsed()), "ns", QUARTER));
    Ok(())
}
