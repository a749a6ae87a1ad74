//! Part 3: damaged ledgers.
//!
//! # Contract
//! A small ledger of the demonstration, one damage at a time, undone after each:
//! * a changed byte or a shorter file: `ledger::check` gives a fault;
//! * either of them, or newest entries cut off and their blocks torn: `Store::open` refuses and leaves the files as they
//!   were (a cut last segment may have its zeros back), or recovers every block up to the newest entry left, after which
//!   the check passes.
//!
//! Nothing panics.

use super::days::log_key;
use super::dice::Dice;
use super::panics::caught;
use super::{Finding, Findings};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use wattbook_feed::keys::{SigningKey, VerifyingKey};
use wattbook_ledger::{COMMIT_SIZE, COMMITS_FILE, GENESIS_FILE, Options, Reader, Store, check};
use wattbook_node::keys;

/// One file of the ledger, as it should be.
struct Original {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Bytes from the start in which most damage happens.
    used: usize,
}

impl Original {
    fn is_commits(&self) -> bool {
        self.path.ends_with(COMMITS_FILE)
    }
}

/// What is done to one file.
#[derive(Clone, Debug)]
enum Damage {
    /// This byte is XORed with this.
    Flip { file: usize, at: usize, with: u8 },
    /// The file ends here.
    Cut { file: usize, at: usize },
    /// These newest entries are cut off, and bytes of the blocks behind the last one left are XORed.
    Torn {
        entries: usize,
        flips: Vec<(usize, usize, u8)>,
    },
}

/// A ledger to damage, and what it was.
struct Bench {
    dir: PathBuf,
    files: Vec<Original>,
    public: VerifyingKey,
    secret: SigningKey,
    /// Height of the newest block.
    height: u64,
    /// Length of the log after each block.
    lengths: Vec<u64>,
    segment_size: u64,
}

/// Damages until `until`; how many damages were judged.
///
/// # Errors
/// The ledger cannot be made or put back; no finding.
pub(crate) fn run(seed: u64, until: Instant, program: &Path, findings: &mut Findings) -> Result<u64, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bench = Bench::new(program, dir.path(), seed)?;
    let mut dice = Dice::new(seed ^ 0x666c_6970);
    let mut flips = 0;
    while Instant::now() < until {
        let damage = bench.damage(&mut dice);
        // Recovery syncs and replays; checking is cheaper and meets more bytes.
        let recovers = matches!(damage, Damage::Torn { .. }) || dice.once_in(8);
        let judged = bench.judge(&damage, recovers);
        if let Err(what) = judged {
            let how = format!(
                "wattbook demo --periods 1 --seed {}, then {damage:?} of {:?}{}\n",
                demo_seed(seed),
                bench
                    .files
                    .iter()
                    .map(|file| file.path.file_name().unwrap_or_default())
                    .collect::<Vec<_>>(),
                if recovers { ", then Store::open" } else { "" }
            );
            findings.add_new(Finding {
                part: "flips".into(),
                what,
                reproducer: how.into_bytes(),
                text: true,
            });
        }
        bench.restore().map_err(|error| error.to_string())?;
        flips += 1;
    }
    Ok(flips)
}

const fn demo_seed(seed: u64) -> u64 {
    seed % 1_000
}

impl Bench {
    fn new(program: &Path, parent: &Path, seed: u64) -> Result<Self, String> {
        let dir = parent.join("ledger");
        let made = Command::new(program)
            .args([
                "demo",
                "--periods",
                "1",
                "--seed",
                &demo_seed(seed).to_string(),
                "--dir",
            ])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(format!(
                "the demonstration failed: {}",
                String::from_utf8_lossy(&made.stderr)
            ));
        }
        let (mut lengths, segment_size) = {
            let reader = Reader::open(&dir).map_err(|error| error.to_string())?;
            let ends: Result<Vec<u64>, _> = reader.blocks().map(|block| block.map(|block| block.end)).collect();
            (ends.map_err(|error| error.to_string())?, reader.segment_size())
        };
        lengths.insert(0, 0);
        let length = lengths.last().copied().unwrap_or_default();
        let mut files = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            let segment = path.extension().is_some_and(|found| found == "seg");
            if segment || path.ends_with(COMMITS_FILE) || path.ends_with(GENESIS_FILE) {
                let bytes = fs::read(&path).map_err(|error| error.to_string())?;
                files.push(Original {
                    used: bytes.len(),
                    path,
                    bytes,
                });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        for (index, file) in (0..).zip(&mut files) {
            // Segments sort first and by number.
            if file.path.extension().is_some_and(|found| found == "seg") {
                file.used = length.saturating_sub(index * segment_size).clamp(1, segment_size) as usize;
            }
        }
        let bench = Self {
            public: log_key(&dir)?,
            secret: keys::log_key(&dir).map_err(|error| error.to_string())?,
            height: lengths.len() as u64 - 2,
            dir,
            files,
            lengths,
            segment_size,
        };
        match check(&bench.dir, &bench.public) {
            Ok(_) => Ok(bench),
            Err(fault) => Err(format!("the sound ledger does not pass: {fault}")),
        }
    }

    fn damage(&self, dice: &mut Dice) -> Damage {
        let file = dice.index(self.files.len());
        let Original { bytes, used, .. } = &self.files[file];
        let reach = if dice.once_in(4) { bytes.len() } else { *used };
        let with = if dice.once_in(2) {
            1 << dice.below(8)
        } else {
            1 + dice.below(255) as u8
        };
        match dice.below(8) {
            0 => Damage::Cut {
                file,
                at: dice.index(reach),
            },
            1 => {
                // Block 0 keeps its entry: without one there is no ledger.
                let entries = 1 + dice.below(self.height.min(4)) as usize;
                let from = self.lengths[self.lengths.len() - 1 - entries];
                let span = self.lengths[self.lengths.len() - 1] - from + 64;
                let flips = (0..dice.below(4))
                    .map(|_| {
                        let at = from + dice.below(span);
                        let file = (at / self.segment_size) as usize;
                        (file, (at % self.segment_size) as usize, 1 + dice.below(255) as u8)
                    })
                    // Past the last segment there is nothing to tear.
                    .filter(|(file, _, _)| {
                        (*file as u64) < self.lengths[self.lengths.len() - 1].div_ceil(self.segment_size)
                    })
                    .collect();
                Damage::Torn { entries, flips }
            }
            _ => Damage::Flip {
                file,
                at: dice.index(reach),
                with,
            },
        }
    }

    /// The files with the damage done, by index.
    fn damaged(&self, damage: &Damage) -> Vec<(usize, Vec<u8>)> {
        let mut changed: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut flip = |file: usize, at: usize, with: u8| {
            let known = changed.iter().position(|(index, _)| *index == file);
            let place = known.unwrap_or_else(|| {
                changed.push((file, self.files[file].bytes.clone()));
                changed.len() - 1
            });
            changed[place].1[at] ^= with;
        };
        match damage {
            Damage::Flip { file, at, with } => flip(*file, *at, *with),
            Damage::Cut { file, at } => changed.push((*file, self.files[*file].bytes[..*at].to_vec())),
            Damage::Torn { entries, flips } => {
                flips.iter().for_each(|(file, at, with)| flip(*file, *at, *with));
                if let Some(file) = self.files.iter().position(Original::is_commits) {
                    let bytes = &self.files[file].bytes;
                    let kept = bytes.len() - entries * COMMIT_SIZE as usize;
                    changed.push((file, bytes[..kept].to_vec()));
                }
            }
        }
        changed
    }

    /// # Errors
    /// What does not hold.
    fn judge(&self, damage: &Damage, recovers: bool) -> Result<(), String> {
        let damaged = self.damaged(damage);
        for (file, bytes) in &damaged {
            fs::write(&self.files[*file].path, bytes).map_err(|error| format!("the harness: {error}"))?;
        }
        match caught(|| check(&self.dir, &self.public)) {
            Err(panic) => return Err(format!("the check panics: {panic}")),
            Ok(Ok(_)) => return Err("the check passes a damaged ledger".into()),
            Ok(Err(_)) => {}
        }
        if !recovers {
            return Ok(());
        }
        let opened = caught(|| {
            let options = Options {
                segment_size: self.segment_size,
            };
            Store::open(&self.dir, &self.secret, options).map(|(store, _)| store.committed())
        });
        match opened {
            Err(panic) => Err(format!("recovery panics: {panic}")),
            Ok(Ok(commit)) => {
                let least = match damage {
                    Damage::Torn { entries, .. } => self.height - *entries as u64,
                    _ => self.height,
                };
                if commit.height < least {
                    return Err(format!(
                        "recovery ends at block {}, the newest entry was {least}",
                        commit.height
                    ));
                }
                check(&self.dir, &self.public)
                    .map(drop)
                    .map_err(|fault| format!("recovery leaves damage: {fault}"))
            }
            Ok(Err(_)) if matches!(damage, Damage::Torn { .. }) => {
                Err("recovery refuses what a crash may leave behind the newest entry".into())
            }
            Ok(Err(_)) => self.left_alone(&damaged),
        }
    }

    /// A refusal changed nothing but zeros given back.
    fn left_alone(&self, damaged: &[(usize, Vec<u8>)]) -> Result<(), String> {
        for (index, file) in self.files.iter().enumerate() {
            let changed = damaged.iter().find(|(damaged, _)| *damaged == index);
            let expected = changed.map_or(&file.bytes, |(_, bytes)| bytes);
            let found = fs::read(&file.path).map_err(|error| format!("the harness: {error}"))?;
            let alone = found.starts_with(expected) && found[expected.len()..].iter().all(|byte| *byte == 0);
            if !alone {
                return Err(format!("a refused recovery changed {}", file.path.display()));
            }
        }
        Ok(())
    }

    fn restore(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| {
            // Unchanged files keep their pages.
            if fs::read(&file.path).is_ok_and(|found| found == file.bytes) {
                Ok(())
            } else {
                fs::write(&file.path, &file.bytes)
            }
        })
    }
}
