//! `verify`, `replay` and `inspect` against ledgers that are right, damaged and forged.

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use support::{SEGMENT_SIZE, Town, at, copy, leaves, quote};
use tempfile::TempDir;
use wattbook_feed::signed::{Genesis, RegisterRecord, SealedEnvelope, record_kind, tick_payload};
use wattbook_ledger::{COMMIT_SIZE, COMMITS_FILE, FaultKind, GENESIS_FILE, Reader, Store};
use wattbook_node::audit::{self, ChainFault, Detail, EventRoots, Finding, FindingKind, Trust};
use wattbook_node::execute::Executor;
use wattbook_types::{ChainId, Command, Event, Hash, Item, Reject, Side, TimeNs, sha256};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn verify(dir: &Path) -> Result<audit::Verified, Finding> {
    audit::verify(dir, None, |_| {})
}

/// A ledger of one whole cycle, closed, and what its writer knew.
struct Cycle {
    dir: TempDir,
    chain: ChainId,
    height: u64,
    records: u64,
    state_root: Hash,
    ledger_root: Hash,
}

fn cycle() -> Cycle {
    let dir = folder();
    let mut town = Town::found(dir.path(), &[]);
    town.run_cycle();
    let (chain, height, records) = (town.chain, town.height(), town.record_count);
    let (state_root, ledger_root) = (town.state_root, town.ledger_root());
    drop(town);
    Cycle {
        dir,
        chain,
        height,
        records,
        state_root,
        ledger_root,
    }
}

#[test]
fn the_cycle_holds_what_a_ledger_can_hold() {
    let dir = folder();
    let mut town = Town::found(dir.path(), &[]);
    town.run_cycle();
    let saw = |is: fn(&Event) -> bool| town.seen.iter().filter(|event| is(event)).count();
    assert_eq!(saw(|event| matches!(event, Event::Sealed { .. })), 4);
    assert_eq!(saw(|event| matches!(event, Event::BondReleased { .. })), 4);
    assert_eq!(saw(|event| matches!(event, Event::Metered { .. })), 4);
    assert!(
        saw(|event| matches!(event, Event::Contracted { .. })) >= 2,
        "{:?}",
        town.seen
    );
    assert!(saw(|event| matches!(event, Event::Settled { .. })) >= 2);
    for expected in [
        Reject::NotInPhase,
        Reject::UnknownContract,
        Reject::UnknownItem,
        Reject::UnknownMeter,
    ] {
        let is = |event: &&Event| matches!(event, Event::Rejected { reject, .. } if *reject == expected);
        assert!(town.seen.iter().any(|event| is(&event)), "{expected:?}");
    }
    let reader = Reader::open(dir.path()).expect("a reader");
    let mut kinds = BTreeMap::new();
    for block in reader.blocks() {
        for record in block.expect("a block").records {
            *kinds.entry(record.kind).or_insert(0) += 1;
        }
    }
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        [(1, 4), (2, 11), (3, 4), (4, 12)]
    );
    assert!(dir.path().join("00000002.seg").exists(), "the ledger crosses segments");
}

#[test]
fn a_sound_ledger_verifies_with_and_without_an_anchor() {
    let cycle = cycle();
    let dir = cycle.dir.path();
    let alone = verify(dir).expect("a sound ledger");
    assert_eq!(
        (alone.trust, alone.event_roots),
        (Trust::SelfConsistent, EventRoots::Checked)
    );
    assert_eq!(
        (alone.end.height, alone.end.totals.records),
        (cycle.height, cycle.records)
    );
    assert_eq!(
        (alone.end.state_root, alone.end.ledger_root),
        (cycle.state_root, cycle.ledger_root)
    );
    // Three possessions in genesis, two signatures a registration, one an envelope, one a block.
    assert_eq!(alone.signatures, 3 + 2 * 4 + 11 + cycle.height + 1);

    let mut heights = Vec::new();
    let anchored = audit::verify(dir, Some(cycle.chain), |height| heights.push(height)).expect("the anchor");
    assert_eq!(anchored.trust, Trust::Anchored);
    assert_eq!(heights, (0..=cycle.height).collect::<Vec<_>>());

    let finding = audit::verify(dir, Some(ChainId(Hash([9; 32]))), |_| {}).expect_err("another chain");
    assert_eq!(
        (finding.kind, finding.file),
        (ChainFault::Anchor.into(), dir.join(GENESIS_FILE))
    );
}

#[test]
fn replay_gives_the_writers_roots_beside_a_live_writer() {
    let dir = folder();
    let mut town = Town::found(dir.path(), &[]);
    town.run_cycle();
    let end = audit::replay(dir.path(), |_| {}).expect("a replay beside the writer");
    assert_eq!((end.height, end.totals.records), (town.height(), town.record_count));
    assert_eq!((end.state_root, end.ledger_root), (town.state_root, town.ledger_root()));

    let finding = verify(dir.path()).expect_err("a live writer");
    assert_eq!(finding.kind, FaultKind::Locked.into());
    assert!(
        finding
            .to_string()
            .contains("a node is running on this directory; stop it first, or verify a copy")
    );
    let copied = folder();
    copy(dir.path(), copied.path());
    verify(copied.path()).expect("a copy verifies");
}

#[test]
fn without_the_alias_key_event_roots_are_not_checked() {
    let cycle = cycle();
    let key = cycle.dir.path().join("keys/alias.key");
    let text = fs::read_to_string(&key).expect("the key");
    fs::write(
        &key,
        text.replace(&text[..2], if text.starts_with("00") { "11" } else { "00" }),
    )
    .expect("another key");
    assert_eq!(
        verify(cycle.dir.path()).expect("sound").event_roots,
        EventRoots::OtherKey
    );
    fs::write(&key, "no key").expect("no key");
    assert_eq!(
        verify(cycle.dir.path()).expect("sound").event_roots,
        EventRoots::Unreadable
    );
    fs::remove_file(&key).expect("a key");
    assert_eq!(verify(cycle.dir.path()).expect("sound").event_roots, EventRoots::NoKey);
}

/// The files of a ledger that `verify` answers for.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("a ledger")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "lock"))
        .collect();
    files.sort();
    files
}

/// Positions of bytes to change, by file name: those that always must be found, and a seeded choice.
fn positions(dir: &Path, count: usize) -> Vec<(String, u64)> {
    let reader = Reader::open(dir).expect("a reader");
    let blocks: Vec<_> = reader.blocks().map(|block| block.expect("a block")).collect();
    let last = blocks
        .iter()
        .rev()
        .find_map(|block| block.records.last())
        .expect("a record");
    let end = blocks.last().expect("a block").end;
    let name = |path: PathBuf| path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let locate = |offset| {
        let (path, at) = reader.locate(offset);
        (name(path), at)
    };
    // The last record, zeros behind the end and at the end of the first segment, the last commit entry.
    let mut chosen: BTreeSet<_> = (0..24 + last.payload.len() as u64)
        .map(|byte| locate(last.offset + byte))
        .collect();
    chosen.extend([locate(end), locate(end + 100), locate(SEGMENT_SIZE - 1)]);
    let sizes: Vec<(String, u64)> = files(dir)
        .into_iter()
        .map(|path| (name(path.clone()), fs::metadata(path).expect("a file").len()))
        .collect();
    for (name, size) in &sizes {
        match name.as_str() {
            COMMITS_FILE => chosen.extend((size - COMMIT_SIZE..*size).map(|at| (name.clone(), at))),
            // Genesis is short: every eighth byte of it.
            GENESIS_FILE => chosen.extend((0..*size).step_by(8).map(|at| (name.clone(), at))),
            _ => {}
        }
    }
    let total: u64 = sizes.iter().map(|(_, size)| size).sum();
    let mut draw = 0u64;
    while chosen.len() < count.min(total as usize) {
        let mut at = sha256(&[b"changed bytes", &draw.to_le_bytes()]).prefix_u64() % total;
        draw += 1;
        for (name, size) in &sizes {
            if at < *size {
                chosen.insert((name.clone(), at));
                break;
            }
            at -= size;
        }
    }
    chosen.into_iter().collect()
}

/// Changes one bit at each position in turn; how many findings of each kind.
fn change(dir: &Path, positions: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u32> {
    let mut kinds = BTreeMap::new();
    for (name, at) in positions {
        let path = dir.join(name);
        let sound = fs::read(&path).expect("a file");
        let mut bytes = sound.clone();
        bytes[at as usize] ^= 1 << (at % 8);
        fs::write(&path, &bytes).expect("a changed file");
        let finding = verify(dir).expect_err(&format!("{} byte {at}", path.display()));
        assert!(finding.file.starts_with(dir), "{finding}");
        *kinds.entry(finding.kind.name()).or_default() += 1;
        fs::write(&path, sound).expect("the file as it was");
    }
    verify(dir).expect("as it was");
    kinds
}

#[test]
fn every_changed_byte_is_found() {
    let cycle = cycle();
    let chosen = positions(cycle.dir.path(), 2_000);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let found = thread::scope(|scope| {
        let work = (0..threads).map(|first| {
            let (cycle, chosen) = (&cycle, &chosen);
            scope.spawn(move || {
                let own = folder();
                copy(cycle.dir.path(), own.path());
                change(own.path(), chosen.iter().skip(first).step_by(threads).cloned())
            })
        });
        let work: Vec<_> = work.collect();
        work.into_iter()
            .flat_map(|part| part.join().expect("a thread"))
            .collect::<Vec<_>>()
    });
    assert_eq!(
        found.iter().map(|(_, count)| *count as usize).sum::<usize>(),
        chosen.len()
    );
    println!("{} changed bytes: {found:?}", chosen.len());
}

#[test]
fn the_last_record_cannot_be_cut_off() {
    let cycle = cycle();
    let dir = cycle.dir.path();
    let last = files(dir)
        .into_iter()
        .rfind(|path| path.extension().is_some_and(|e| e == "seg"))
        .expect("a segment");
    let segment = fs::read(&last).expect("a segment");
    let commits = fs::read(dir.join(COMMITS_FILE)).expect("commits");
    let end = segment.iter().rposition(|byte| *byte != 0).expect("content");

    // Zeroed from the last block's frame on: the commit entry is there, the block is not.
    let mut torn = segment.clone();
    torn[end - 100..].fill(0);
    fs::write(&last, &torn).expect("a torn segment");
    let finding = verify(dir).expect_err("a torn block");
    assert_eq!(finding.height, Some(cycle.height));
    // Cut short.
    fs::write(&last, &segment[..end - 100]).expect("a short segment");
    assert_eq!(verify(dir).expect_err("a short file").kind, FaultKind::FileSize.into());
    fs::remove_file(&last).expect("a segment");
    verify(dir).expect_err("a missing segment");
    fs::write(&last, &segment).expect("the segment");

    // Without its entry, the last block is more than was committed.
    fs::write(dir.join(COMMITS_FILE), &commits[..commits.len() - COMMIT_SIZE as usize]).expect("fewer entries");
    assert_eq!(verify(dir).expect_err("a block beyond").kind, FaultKind::Beyond.into());
    fs::write(dir.join(COMMITS_FILE), &commits[..commits.len() - 1]).expect("a torn entry");
    verify(dir).expect_err("a torn entry");
    fs::write(dir.join(COMMITS_FILE), &commits).expect("the entries");
    verify(dir).expect("as it was");
}

#[test]
fn swapped_segments_are_found() {
    let cycle = cycle();
    let dir = cycle.dir.path();
    let (first, second) = (dir.join("00000001.seg"), dir.join("00000002.seg"));
    let bytes = fs::read(&first).expect("a segment");
    fs::copy(&second, &first).expect("a copy");
    fs::write(&second, bytes).expect("a segment");
    let finding = verify(dir).expect_err("swapped");
    assert_eq!((finding.kind, finding.file), (FaultKind::SegmentHeader.into(), first));
}

/// Forges the block after the town has settled in, puts an honest one on top, and gives what `verify` says.
fn forged(forge: impl FnOnce(&mut Town)) -> Finding {
    let dir = folder();
    let mut town = Town::found(dir.path(), &[]);
    town.settle_in();
    forge(&mut town);
    town.tick(-1_100);
    town.seal_block();
    drop(town);
    let finding = verify(dir.path()).expect_err("a forgery");
    assert!(
        finding.file.starts_with(dir.path()) && finding.offset < SEGMENT_SIZE,
        "{finding}"
    );
    println!("{finding}");
    finding
}

/// Kind, block and record of a finding.
fn place(finding: &Finding) -> (FindingKind, Option<u64>, Option<u64>) {
    (finding.kind, finding.height, finding.seq)
}

/// What settling in leaves: two blocks, four registrations, two Ticks.
const FORGED_BLOCK: Option<u64> = Some(3);
const FIRST_SEQ: u64 = 7;

#[test]
fn an_envelope_signed_by_another_is_found() {
    let sign = |town: &mut Town, secret: u64| {
        let honest = town.envelope(4, leaves(&[Item::Quote(quote(Side::Sell, 1, 100))]));
        let header = honest.header;
        SealedEnvelope {
            attached: None,
            signature: Town::secret(secret).sign(&header.digest(town.chain)),
            ..honest
        }
    };
    let finding = forged(|town| {
        town.send(5, &[Item::Quote(quote(Side::Sell, 1, 100))]);
        let envelope = sign(town, 5);
        town.record(record_kind::ENVELOPE, envelope.to_payload());
        town.send(6, &[Item::Quote(quote(Side::Sell, 1, 100))]);
        town.tick(-1_150);
        town.seal_block();
    });
    assert_eq!(
        place(&finding),
        (ChainFault::Signature.into(), FORGED_BLOCK, Some(FIRST_SEQ + 1))
    );

    // An execution fault behind it, in the same block and in later ones, does not hide it.
    let finding = forged(|town| {
        let envelope = sign(town, 5);
        town.record(record_kind::ENVELOPE, envelope.to_payload());
        town.tick(-1_150);
        town.forge_block(|claims| claims.state_root = Hash([1; 32]));
    });
    assert_eq!(
        place(&finding),
        (ChainFault::Signature.into(), FORGED_BLOCK, Some(FIRST_SEQ))
    );
}

#[test]
fn leaves_that_were_not_signed_are_found() {
    let finding = forged(|town| {
        let mut envelope = town.envelope(4, leaves(&[Item::Quote(quote(Side::Sell, 1, 100))]));
        envelope.leaves = leaves(&[Item::Quote(quote(Side::Sell, 2, 100))]);
        town.record(record_kind::ENVELOPE, envelope.to_payload());
        town.seal_block();
    });
    assert_eq!(
        place(&finding),
        (ChainFault::LeafRoot.into(), FORGED_BLOCK, Some(FIRST_SEQ))
    );
}

#[test]
fn wrong_roots_are_found() {
    type Claim = fn(&mut support::Claims, Hash);
    let wrong = Hash([1; 32]);
    let claims: [(ChainFault, Claim); 6] = [
        (ChainFault::StateRoot, |claims, wrong| claims.state_root = wrong),
        (ChainFault::ParamsHash, |claims, wrong| claims.params_hash = wrong),
        (ChainFault::DposHash, |claims, wrong| claims.dpos_hash = wrong),
        (ChainFault::EventRoot, |claims, wrong| claims.event_root = wrong),
        (ChainFault::EventCount, |claims, _| claims.event_count += 1),
        (ChainFault::BlockTime, |claims, _| claims.time = at(-1_149)),
    ];
    for (fault, claim) in claims {
        let finding = forged(|town| {
            town.tick(-1_150);
            town.forge_block(|claims| claim(claims, wrong));
        });
        assert_eq!(place(&finding), (fault.into(), FORGED_BLOCK, None));
    }
}

#[test]
fn a_refused_record_is_found() {
    let finding = forged(|town| {
        let envelope = town.envelope(4, leaves(&[Item::Quote(quote(Side::Sell, 1, 100))]));
        town.record(record_kind::ENVELOPE, envelope.to_payload());
        town.smuggle(record_kind::ENVELOPE, envelope.to_payload());
        town.seal_block();
    });
    assert_eq!(
        place(&finding),
        (ChainFault::Refused.into(), FORGED_BLOCK, Some(FIRST_SEQ + 1))
    );
    assert_eq!(finding.detail, Some(Detail::Reject(Reject::Duplicate)));

    let finding = forged(|town| {
        let stranger = SealedEnvelope::sign(
            town.chain,
            &Town::secret(77),
            support::id(77),
            1,
            1,
            at(0),
            leaves(&[Item::Quote(quote(Side::Sell, 1, 100))]),
        );
        town.smuggle(record_kind::ENVELOPE, stranger.to_payload());
        town.seal_block();
    });
    assert_eq!(finding.detail, Some(Detail::Reject(Reject::UnknownParticipant)));
}

#[test]
fn ticks_out_of_time_are_found() {
    let smuggle = |town: &mut Town, seconds| town.smuggle(record_kind::TICK, tick_payload(at(seconds)).to_vec());
    for seconds in [-1_201, -1_200] {
        let finding = forged(|town| {
            smuggle(town, seconds);
            town.seal_block();
        });
        assert_eq!(
            place(&finding),
            (ChainFault::TickOrder.into(), FORGED_BLOCK, Some(FIRST_SEQ))
        );
    }
    let finding = forged(|town| {
        smuggle(town, -1_150);
        town.seal_block();
    });
    assert_eq!(
        place(&finding),
        (ChainFault::TickBeyond.into(), FORGED_BLOCK, Some(FIRST_SEQ))
    );
}

#[test]
fn bad_registrations_are_found() {
    type Forge = fn(&mut RegisterRecord);
    let faults: [(ChainFault, Forge); 4] = [
        (ChainFault::Admission, |record| record.admit[0] ^= 1),
        (ChainFault::Admission, |record| record.register.roles ^= 1),
        (ChainFault::Possession, |record| record.possession = [0xff; 48]),
        (ChainFault::Meters, |record| record.meters[0].import_cap_wh += 1),
    ];
    for (fault, forge) in faults {
        let finding = forged(|town| {
            let mut record = town.registration(8, support::TRADER);
            forge(&mut record);
            town.smuggle(record_kind::REGISTER, record.to_payload());
            town.seal_block();
        });
        assert_eq!(place(&finding), (fault.into(), FORGED_BLOCK, Some(FIRST_SEQ)));
    }
}

#[test]
fn records_that_do_not_decode_are_found() {
    for (kind, payload) in [
        (record_kind::TICK, vec![0; 7]),
        (9, vec![]),
        (record_kind::ENVELOPE, vec![1; 130]),
    ] {
        let finding = forged(|town| {
            town.smuggle(kind, payload);
            town.seal_block();
        });
        assert_eq!(
            place(&finding),
            (ChainFault::Record.into(), FORGED_BLOCK, Some(FIRST_SEQ))
        );
    }
}

#[test]
fn a_first_block_that_is_not_genesis_is_found() {
    let honest = folder();
    let town = Town::found(honest.path(), &[]);
    let genesis = fs::read(honest.path().join(GENESIS_FILE)).expect("genesis");
    let (_, roots) = wattbook_node::execute::Executor::start(&genesis).expect("genesis");
    drop(town);
    let dir = folder();
    let key = wattbook_feed::keys::log_key(&support::SEED);
    let options = wattbook_ledger::Options {
        segment_size: SEGMENT_SIZE,
    };
    let wrong = wattbook_ledger::GenesisRoots {
        state_root: Hash([1; 32]),
        ..roots
    };
    drop(Store::create(dir.path(), &genesis, &key, options, wrong).expect("a ledger"));
    let finding = verify(dir.path()).expect_err("a forgery");
    assert_eq!(place(&finding), (ChainFault::StateRoot.into(), Some(0), None));
    assert_eq!((finding.file, finding.offset), (dir.path().join("00000000.seg"), 64));
}

fn wattbook(args: &[&str]) -> (bool, String, String) {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(args)
        .output()
        .expect("the binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (out.status.success(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_commands_answer_in_json_and_exit_codes() {
    let cycle = cycle();
    let dir = cycle.dir.path().to_str().expect("UTF-8");
    let anchor = cycle.chain.0.to_string();
    let json = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };

    let (ok, out, _) = wattbook(&["verify", dir, "--genesis", &anchor, "--json"]);
    let verified = json(&out);
    assert!(ok && verified["ok"] == true && verified["trust"] == "anchored", "{out}");
    assert_eq!(verified["event_roots"], "checked");
    assert_eq!(verified["height"], cycle.height);
    let (ok, out, _) = wattbook(&["verify", dir]);
    assert!(
        ok && out.contains("self-consistent only") && out.contains(&cycle.ledger_root.to_string()),
        "{out}"
    );
    let (ok, out, _) = wattbook(&["verify", dir, "--genesis", &"00".repeat(32), "--json"]);
    let refused = json(&out);
    assert!(!ok && refused["ok"] == false, "{out}");
    assert_eq!(
        (&refused["fault"]["kind"], &refused["fault"]["code"]),
        (&"Anchor".into(), &101.into())
    );
    assert!(!wattbook(&["verify", dir, "--genesis", "beef"]).0);

    let (ok, out, _) = wattbook(&["replay", dir, "--json"]);
    let replayed = json(&out);
    assert!(ok, "{out}");
    assert_eq!(replayed["records"], cycle.records);
    assert_eq!(replayed["state_root"], cycle.state_root.to_string());
    assert_eq!(replayed["ledger_root"], verified["ledger_root"]);
    assert!(wattbook(&["replay", dir]).1.contains(&cycle.state_root.to_string()));

    let (ok, out, _) = wattbook(&["inspect", dir, "--json"]);
    let seen = json(&out);
    assert!(ok && seen["ok"] == true, "{out}");
    assert_eq!(
        (&seen["network"], &seen["eic"], &seen["demo"]),
        (&"town".into(), &"10YTEST".into(), &true.into())
    );
    assert_eq!(
        seen["records"],
        serde_json::json!({ "register": 4, "envelope": 11, "reveal": 4, "tick": 12 })
    );
    assert_eq!(
        (&seen["leaves"]["seal"], &seen["leaves"]["meter"]),
        (&4.into(), &5.into())
    );
    assert_eq!(
        (&seen["participants"], &seen["commit"]["height"]),
        (&7.into(), &cycle.height.into())
    );
    let (ok, out, _) = wattbook(&["inspect", dir]);
    assert!(ok && out.contains("2016-06-13T23:38:20Z"), "{out}");

    // Damage in the middle: each says where, inspect shows what stands before it.
    let segment = cycle.dir.path().join("00000001.seg");
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[2_000] ^= 1;
    fs::write(&segment, bytes).expect("damage");
    for command in ["verify", "replay", "inspect"] {
        let (ok, out, error) = wattbook(&[command, dir, "--json"]);
        let answer = json(&out);
        assert!(!ok && answer["ok"] == false, "{command}: {out}");
        assert_eq!(answer["fault"]["file"], segment.display().to_string(), "{command}");
        assert!(
            answer["fault"]["offset"].as_u64().is_some_and(|at| at <= 2_000),
            "{command}: {out}"
        );
        assert!(
            answer["fault"]["block"].is_u64() && error.contains("00000001.seg, offset"),
            "{command}: {error}"
        );
    }
    let (_, out, _) = wattbook(&["inspect", dir]);
    assert!(out.contains(&anchor) && out.contains("height"), "{out}");

    let (ok, out, error) = wattbook(&["verify", "no-such-directory", "--json"]);
    assert!(
        !ok && json(&out)["fault"]["kind"] == "Missing" && error.contains("genesis.bin"),
        "{out}{error}"
    );
    for command in ["replay", "inspect"] {
        assert!(!wattbook(&[command, "no-such-directory"]).0);
    }
}

#[test]
fn the_end_of_time_is_refused() {
    let dir = folder();
    let town = Town::found(dir.path(), &[]);
    let tick = Command::Tick(TimeNs::new(u64::MAX));
    for before in [0, 1, 900_000_000_000, 86_400_000_000_000] {
        let time = TimeNs::new(u64::MAX - before);
        let genesis = Genesis {
            time,
            ..town.executor.genesis().clone()
        };
        let (mut executor, _) = Executor::start(&genesis.encode()).expect("a genesis");
        assert_eq!(
            executor.apply(1, &tick).expect_err("the end of time").reject,
            Reject::StepRefused
        );
        executor.end_block(1, 1);
    }
}

#[test]
fn hostile_payloads_are_findings() {
    let draw = |i: u32, n: u8| sha256(&[b"hostile", &i.to_le_bytes(), &[n]]).prefix_u64() as usize;
    for i in 0..60 {
        let dir = folder();
        let mut town = Town::found(dir.path(), &[]);
        town.settle_in();
        let quotes = [quote(Side::Sell, 14_000, 800), quote(Side::Buy, 15_000, 800)];
        let (kind, mut payload) = match i % 4 {
            0 => (
                record_kind::REGISTER,
                town.registration(8, support::TRADER).to_payload(),
            ),
            1 => (
                record_kind::ENVELOPE,
                town.envelope(4, leaves(&quotes.map(Item::Quote))).to_payload(),
            ),
            2 => (record_kind::REVEAL, town.sealed(4, 1, &quotes).to_payload()),
            _ => (record_kind::TICK, tick_payload(at(-1_100)).to_vec()),
        };
        for n in 0..=(i / 4 % 3) as u8 {
            let place = draw(i, 2 * n) % payload.len();
            payload[place] ^= draw(i, 2 * n + 1) as u8 | 1;
        }
        payload.truncate(if i % 5 == 4 {
            draw(i, 9) % payload.len()
        } else {
            payload.len()
        });
        town.smuggle(kind, payload);
        town.seal_block();
        drop(town);
        let finding = verify(dir.path()).expect_err("nothing here is honest");
        assert_eq!(
            (finding.height, finding.seq),
            (FORGED_BLOCK, Some(FIRST_SEQ)),
            "{finding}"
        );
    }
}
