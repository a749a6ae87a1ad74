//! Other processes read the ledger of a running node under load: `tail`, `inspect`, `export`, `prove`, with the node's log
//! key and without; and the tiles that it keeps, by crates that nobody here wrote. Nothing here sleeps: the reading goes on
//! once new records are durable.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../../ledger/tests/foreign/tiles.rs"]
mod tiles;
mod wire;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tiles::audit;
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::{LeafBytes, encode_cancel, encode_quote};
use wattbook_ledger::{HeaderIndex, Reader, checkpoints};
use wattbook_types::command::{ALL_INDEXES, Cancel};
use wattbook_types::{
    ContractId, Energy, Param, ParticipantId, Price, Quote, Roles, SelfTrade, Side, TimeInForce, TimeNs,
};
use wire::{Desk, Town, WAIT, lockstep, registration};

const TRADERS: [ParticipantId; 2] = [ParticipantId::new(4), ParticipantId::new(5)];
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);
/// Rounds of reading.
const ROUNDS: u64 = 5;

/// `seconds` after delivery start.
fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

fn quote(side: Side, price: i32) -> LeafBytes {
    let quote = Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force: TimeInForce::Gate,
        price: Price::new(price),
        charge_cap: -1,
        energy: Energy::new(100),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    };
    encode_quote(0, &quote).unwrap()
}

/// Quotes of both traders and cancels of everything, block by block; the last durable record goes to `fresh`.
fn load(town: &mut Town, fresh: &AtomicU64, stop: &AtomicBool) {
    let cancel = Cancel {
        contract: None,
        target_nonce: 0,
        target_index: ALL_INDEXES,
    };
    while !stop.load(Ordering::Relaxed) {
        for (who, side, price) in [(TRADERS[0], Side::Sell, 30_000), (TRADERS[1], Side::Buy, 20_000)] {
            for step in 0..5 {
                town.post(who, vec![quote(side, price + step)]);
            }
            town.post(who, vec![encode_cancel(0, &cancel)]);
        }
        // The gate stays open for as many milliseconds as this takes.
        let time = TimeNs::new(town.now.get() + 1_000_000);
        town.step_to(time);
        let heard = TRADERS.map(|who| town.desk(who).heard.clone()).concat();
        let seqs = heard.iter().filter_map(|message| match message {
            Outbound::Accepted(answer) => Some(answer.seq),
            _ => None,
        });
        fresh.fetch_max(seqs.max().unwrap(), Ordering::Release);
    }
}

/// Says stop when it goes, however the reading ends.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wattbook(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(arguments)
        .output()
        .unwrap()
}

fn said(arguments: &[&str]) -> String {
    let out = wattbook(arguments);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{arguments:?}: {error}");
    assert!(!error.contains("stands behind"), "{arguments:?}: {error}");
    String::from_utf8(out.stdout).unwrap()
}

/// A value that comes with the load.
fn awaited<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "the load stands still");
        std::thread::yield_now();
    }
}

/// Links to everything in a ledger but its keys.
fn keyless(dir: &Path, view: &Path) {
    for item in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let link = view.join(item.file_name());
        if item.file_name() != "keys" && !link.exists() {
            std::os::unix::fs::symlink(item.path(), link).unwrap();
        }
    }
}

/// One round of every command that reads, up to a record that is durable.
fn read(dir: &Path, view: &Path, key: &str, seq: u64) {
    let (at, text) = (dir.to_str().unwrap(), seq.to_string());
    let from = seq - 5;
    let tail = said(&["tail", at, "--json", "--from", &from.to_string()]);
    let seqs = tail
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap());
    let seqs: Vec<u64> = seqs.collect();
    assert!(seqs.len() > 5 && seqs.iter().copied().eq((from..).take(seqs.len())));
    let inspected: Value = serde_json::from_str(&said(&["inspect", at, "--json"])).unwrap();
    assert_eq!(
        (&inspected["ok"], &inspected["left_over"]),
        (&true.into(), &Value::Null)
    );
    let rows = said(&["export", at, "--what", "records", "--format", "jsonl"]);
    assert!(rows.lines().count() as u64 >= seq);
    let theirs = said(&[
        "export",
        at,
        "--what",
        "items",
        "--format",
        "jsonl",
        "--participant",
        "4",
    ]);
    assert!(theirs.lines().count() as u64 >= seq / 4, "of {seq}");

    let proof = view.join("record.tlog-proof");
    let holds = |text: String| {
        std::fs::write(&proof, text).unwrap();
        let shown = said(&["verify-proof", proof.to_str().unwrap(), "--key", key, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["trust"], &shown["seq"]), (&"anchored".into(), &seq.into()));
    };
    holds(said(&["prove", at, "--record", &text]));
    // Without the key the node's own checkpoints serve, as soon as one covers the record.
    let height = Reader::open(dir).unwrap().committed().unwrap().height;
    awaited(|| {
        checkpoints::newest(dir)
            .unwrap()
            .filter(|note| note.checkpoint().size > height)
    });
    keyless(dir, view);
    holds(said(&["prove", view.to_str().unwrap(), "--record", &text]));
}

#[test]
fn other_processes_read_what_the_node_writes() {
    let (dir, view, out) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let mut config = lockstep();
    // A checkpoint as often as there is something to sign.
    config.seal.checkpoint_ms = 1;
    config.tiles.dir = Some(out.path().join("tiles"));
    let folder = config.tiles.dir.clone().unwrap();
    let params = vec![(Param::Rounds, 1), (Param::Range, 0), (Param::Concession, 0)];
    let mut town = Town::start(dir.path(), at(-1_300), params, &config);
    let mut door = Desk::open(town.node.addr, 1);
    for who in TRADERS {
        let record = registration(town.chain, who, Roles::BUYER.union(Roles::SELLER));
        town.register(&mut door, &record);
    }
    town.witnessed_step_to(at(-1_200));
    town.witnessed_step_to(at(-990));
    drop(door);
    for who in TRADERS {
        town.log_on(who);
    }

    let at = dir.path().to_str().unwrap();
    let key = said(&["checkpoint", at, "--key"]);
    let (fresh, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut tips = Vec::new();
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(&mut town, &fresh, &stop));
        let ending = Ending(&stop);
        let mut before = 5;
        for _ in 0..ROUNDS {
            // The load goes on between the rounds.
            before = awaited(|| Some(fresh.load(Ordering::Acquire)).filter(|seq| *seq > before + 20));
            assert!(!loading.is_finished());
            read(dir.path(), view.path(), key.trim(), before);
            let some = |size| vec![0, size / 3, size - 1];
            tips.push(audit(&folder, key.trim(), some).unwrap().pop());
        }
        drop(ending);
    });
    tips.dedup();
    assert!(tips.len() > 1, "the tiles follow the log while it grows");
    drop(town.stop());

    let reader = Reader::open(dir.path()).unwrap();
    let size = reader.committed().unwrap().height + 1;
    let newest = checkpoints::newest(dir.path()).unwrap().unwrap();
    assert_eq!(newest.checkpoint().size, size, "a node that stops signs what it leaves");
    assert_eq!(HeaderIndex::begin(&reader).size(), size, "and keeps its index");
    let headers = audit(&folder, key.trim(), |size| (0..size).collect()).unwrap();
    let log = reader.blocks().map(|block| block.unwrap().raw.to_vec());
    assert!(headers.into_iter().eq(log), "the tiles are the log");
    said(&["verify", at]);
}
