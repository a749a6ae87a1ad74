//! Damage through the command line: every command ends with an error that names the place, or says what it says of the
//! sound ledger; none panics, and recovery never gives a shorter log. A commit file that was cut is what a crash leaves as
//! well: `verify` refuses it, readers show the ledger before it and name the place where it ends.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{SEED, SEGMENT_SIZE, Town};
use tempfile::TempDir;
use wattbook_ledger::{COMMIT_SIZE, Error, Options, Reader, Store};
use wattbook_types::sha256;

/// Commands whose answer the whole log decides, with what follows the directory.
const COMMANDS: [&[&str]; 6] = [
    &["verify"],
    &["inspect"],
    &["replay"],
    &["tail"],
    &["export", "--what", "records", "--format", "jsonl"],
    &["prove", "--record", "RECORD"],
];

fn wattbook(dir: &Path, args: &[&str], record: u64) -> (bool, String, String) {
    let record = record.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattbook"));
    command.arg(args[0]).arg(dir);
    for arg in &args[1..] {
        command.arg(if *arg == "RECORD" { &record } else { *arg });
    }
    let run = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.success(), text(run.stdout), text(run.stderr))
}

/// The files of a ledger, with their bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let ours = paths.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".seg") || name == "commits.log" || name == "genesis.bin"
    });
    ours.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    })
    .collect()
}

const FILES: [&str; 3] = [".seg", "commits.log", "genesis.bin"];

/// Whether a damage leaves a commit file as a crash may leave it.
fn is_cut(name: &str) -> bool {
    name.starts_with("commits.log cut")
}

/// A damage: its name, and the files that it changes.
type Damage = (String, BTreeMap<String, Vec<u8>>);

fn damages(dir: &Path, older: &BTreeMap<String, Vec<u8>>) -> Vec<Damage> {
    let sound = files(dir);
    let reader = Reader::open(dir).unwrap();
    let blocks: Vec<_> = reader.blocks().map(Result::unwrap).collect();
    let committed = blocks.last().unwrap().end;
    let mut list: Vec<Damage> = Vec::new();
    let mut add = |name: String, file: &str, change: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut bytes = sound[file].clone();
        change(&mut bytes);
        if bytes != sound[file] {
            list.push((name, BTreeMap::from([(file.to_owned(), bytes)])));
        }
    };
    for (n, (file, bytes)) in (0u64..).zip(&sound) {
        let used = match file.strip_suffix(".seg") {
            Some(index) => committed.saturating_sub(index.parse::<u64>().unwrap() * SEGMENT_SIZE),
            None => bytes.len() as u64,
        };
        let used = used.min(bytes.len() as u64);
        for draw in 0..4 {
            let at = sha256(&[&n.to_le_bytes(), &[draw]]).prefix_u64() % used;
            add(format!("bit {at} of {file}"), file, &mut |bytes| {
                bytes[at as usize] ^= 1 << (at % 8);
            });
            if draw == 0 && n % 3 == 0 {
                add(format!("{file} cut at {at}"), file, &mut |bytes| {
                    bytes.truncate(at as usize)
                });
            }
        }
        if n % 4 == 0 {
            add(format!("a page of {file} zeroed"), file, &mut |bytes| {
                let from = bytes.len() / 2;
                let to = bytes.len().min(from + 512);
                bytes[from..to].fill(0);
            });
        }
    }
    // Within the last entry, between entries, within an entry in the middle, within the first.
    let entries = sound["commits.log"].len() as u64;
    for at in [entries - 1, entries - 50, entries - COMMIT_SIZE, entries / 2 + 3, 60, 0] {
        add(format!("commits.log cut at {at}"), "commits.log", &mut |bytes| {
            bytes.truncate(at as usize)
        });
    }
    // Two blocks in each other's place, where they have the same size and lie in one segment.
    let spans: Vec<(PathBuf, usize, usize)> = (blocks.iter())
        .map(|block| {
            let (path, at) = reader.locate(block.offset);
            (path, at as usize, (block.end - block.offset) as usize)
        })
        .collect();
    let pair = spans.windows(2).find(|pair| {
        let is_whole = pair.iter().all(|(_, at, size)| at + size <= SEGMENT_SIZE as usize);
        pair[0].0 == pair[1].0 && pair[0].2 == pair[1].2 && is_whole
    });
    let (path, at, size) = &pair.unwrap()[0];
    add(
        "blocks swapped".into(),
        path.file_name().unwrap().to_str().unwrap(),
        &mut |bytes| bytes[*at..at + 2 * size].rotate_left(*size),
    );
    // A record in the place of the one that follows it, where both have the same size.
    let twin = blocks
        .iter()
        .flat_map(|block| block.records.windows(2))
        .find_map(|pair| {
            let (first, second) = (&pair[0], &pair[1]);
            let size = second.offset.checked_sub(first.offset)?;
            let same = first.payload.len() == second.payload.len() && size < 1_000;
            let (path, at) = reader.locate(first.offset);
            let apart = reader.locate(second.offset).0 != path || first.payload == second.payload;
            (same && !apart).then(|| {
                (
                    path.file_name().unwrap().to_str().unwrap().to_owned(),
                    at as usize,
                    size as usize,
                )
            })
        });
    let (file, at, size) = twin.unwrap();
    add("a record twice".into(), &file, &mut |bytes| {
        bytes.copy_within(at..at + size, at + size)
    });
    // Two segments in each other's place, and one as it was some time ago.
    let mut swapped = BTreeMap::new();
    swapped.insert("00000001.seg".to_owned(), sound["00000002.seg"].clone());
    swapped.insert("00000002.seg".to_owned(), sound["00000001.seg"].clone());
    list.push(("segments swapped".into(), swapped));
    let past = older
        .iter()
        .find(|(name, bytes)| name.ends_with(".seg") && sound[*name] != **bytes);
    let (name, bytes) = past.unwrap();
    list.push((
        format!("an older {name}"),
        BTreeMap::from([(name.clone(), bytes.clone())]),
    ));
    let mut entries = sound["commits.log"].clone();
    let size = COMMIT_SIZE as usize;
    entries.copy_within(size..2 * size, 2 * size);
    list.push((
        "an entry twice".into(),
        BTreeMap::from([("commits.log".to_owned(), entries)]),
    ));
    list
}

#[test]
fn every_command_names_the_place_or_says_the_truth() {
    let (folder, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let dir: PathBuf = folder.path().join("ledger");
    let mut town = Town::found(&dir, &[]);
    town.run_cycle();
    let older = files(&dir);
    // Blocks of one size, some of them side by side in a segment.
    for seconds in 0..8 {
        town.tick(2_200 + seconds);
        town.seal_block();
    }
    let height = town.height();
    drop(town);
    let record = {
        let blocks: Vec<_> = Reader::open(&dir)
            .unwrap()
            .blocks()
            .map(|block| block.unwrap().header)
            .collect();
        blocks.last().unwrap().first_seq / 2
    };
    let sound: Vec<_> = COMMANDS.iter().map(|args| wattbook(&dir, args, record)).collect();
    for (args, (ok, _, error)) in COMMANDS.iter().zip(&sound) {
        assert!(ok, "{args:?}: {error}");
    }
    let all = damages(&dir, &older);
    assert!(all.len() >= 20, "{}", all.len());
    let (mut refused, mut same, mut shorter) = (0, 0, 0);
    for (name, changed) in &all {
        let at = work.path().join("ledger");
        let _ = fs::remove_dir_all(&at);
        support::copy(&dir, &at);
        let _ = fs::remove_dir_all(at.join("index"));
        for (file, bytes) in changed {
            fs::write(at.join(file), bytes).unwrap();
        }
        for (args, (_, said, _)) in COMMANDS.iter().zip(&sound) {
            let (ok, out, error) = wattbook(&at, args, record);
            assert!(!error.contains("panicked"), "{name}, {args:?}: {error}");
            let names = |text: &str| FILES.iter().any(|file| text.contains(file) && text.contains("offset "));
            if ok && out == *said {
                // A command that reads only what is sound says what it always says.
                assert!(args[0] != "verify", "{name}, {args:?}: {out}");
                same += 1;
            } else if ok {
                assert!(args[0] != "verify" && is_cut(name), "{name}, {args:?}: {out}");
                let told = if args[0] == "inspect" { &out } else { &error };
                assert!(names(told), "{name}, {args:?} does not say where it ends: {told}");
                match args[0] {
                    "inspect" => assert!(out.contains("left over  "), "{out}"),
                    "tail" | "export" => assert!(said.starts_with(&out), "{name}, {args:?}: {out}"),
                    _ => {}
                }
                shorter += 1;
            } else {
                assert!(names(&error), "{name}, {args:?} names no place: {error}");
                refused += 1;
            }
        }
        let key = wattbook_feed::keys::log_key(&SEED);
        let options = Options {
            segment_size: SEGMENT_SIZE,
        };
        let opened = catch_unwind(AssertUnwindSafe(|| Store::open(&at, &key, options)));
        match opened.unwrap_or_else(|_| panic!("{name}: recovery panics")) {
            Ok((store, _)) => assert_eq!(store.committed().height, height, "{name}"),
            Err(Error::Damaged(fault)) => assert!(fault.file.starts_with(&at), "{name}: {fault}"),
            Err(other) => panic!("{name}: {other}"),
        }
    }
    eprintln!(
        "{} damages: {refused} refusals, {same} answers as from the sound ledger, {shorter} of what stands before a cut",
        all.len()
    );
    assert!(shorter >= 3 * 4, "{shorter}");
    assert!(refused > 3 * all.len(), "{refused} of {}", COMMANDS.len() * all.len());
}
