//! Part 2, days: nodes killed in the middle of the demonstration day.
//!
//! # Contract
//! One kill: `wattbook demo` in a fresh directory, SIGKILL to its node at a random moment, `wattbook run` on what is
//! left. Every block that had a commit entry before the kill, and every block that a client had been told is durable,
//! is still there; the node comes up, stops when asked, and leaves a ledger that `ledger::check` and `wattbook verify`
//! accept.

use super::dice::Dice;
use super::panics::caught;
use super::process::{Running, signal};
use super::{Finding, Findings};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use wattbook_feed::keys::VerifyingKey;
use wattbook_feed::signed::Genesis;
use wattbook_ledger::{Commit, GENESIS_FILE, Reader, check_with};
use wattbook_types::Hash;

/// The part's name in findings.
const PART: &str = "kills";
/// The ledger inside a try's directory.
const LEDGER: &str = "ledger";
/// Longest wait for a process to come up or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Latest kill after the node's start, until a whole day has been seen.
const WINDOW: Duration = Duration::from_secs(8);

/// Why a try is no kill.
enum Stop {
    /// Time is over.
    Deadline,
    /// The day was over before the kill.
    Late,
    /// Something broke.
    Broken(String),
}

/// The machine's refusals stop a try as a finding does, and say so.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(format!("the harness: {error}"))
    }
}

/// Kills until `until`; how many nodes were killed and recovered.
pub(crate) fn run(seed: u64, until: Instant, program: &Path, findings: &mut Findings) -> u64 {
    let mut dice = Dice::new(seed ^ 0x6461_7973);
    let verify = has_verify(program);
    if !verify {
        eprintln!("kills: this program has no `verify`; the ledger's own check stands alone");
    }
    let (mut kills, mut window) = (0, WINDOW);
    while Instant::now() < until {
        let shot = Shot {
            program: program.to_owned(),
            demo_seed: dice.below(1_000),
            verify,
            until,
        };
        // A quarter of the kills meet a node that starts.
        let latest = if dice.once_in(4) {
            Duration::from_millis(300)
        } else {
            window
        };
        let delay = Duration::from_micros(dice.below(latest.as_micros().max(1) as u64));
        let started = Instant::now();
        let Ok(dir) = tempfile::tempdir() else {
            eprintln!("kills: there is no room for temporary files");
            break;
        };
        match shot.fire(dir.path(), delay) {
            Ok(()) => kills += 1,
            Err(Stop::Deadline) => break,
            Err(Stop::Late) => window = started.elapsed().min(window) * 3 / 4,
            Err(Stop::Broken(what)) => {
                let how = format!(
                    "SIGKILL to the node of `wattbook demo --periods 96 --seed {}` {} us after its start\n",
                    shot.demo_seed,
                    delay.as_micros()
                );
                if findings.is_new(PART, &what) {
                    findings.add(Finding {
                        part: PART.into(),
                        what,
                        reproducer: how.into_bytes(),
                        text: true,
                    });
                    // When a process is killed cannot be repeated; what it left can be looked at.
                    findings.keep_files(PART, &dir.path().join(LEDGER));
                }
            }
        }
    }
    kills
}

/// Whether the program can verify a ledger.
fn has_verify(program: &Path) -> bool {
    let status = Command::new(program)
        .args(["verify", "--help"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// One kill.
struct Shot {
    program: PathBuf,
    demo_seed: u64,
    verify: bool,
    until: Instant,
}

impl Shot {
    /// The later of a process that never answers and the end of the run.
    fn patience(&self) -> Instant {
        self.until.min(Instant::now() + PATIENCE)
    }

    /// What a wait that came to nothing means.
    fn waited(&self, what: &str) -> Stop {
        if Instant::now() >= self.until {
            Stop::Deadline
        } else {
            Stop::Broken(what.into())
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("WATTBOOK_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn fire(&self, dir: &Path, delay: Duration) -> Result<(), Stop> {
        let (ledger, said) = (dir.join(LEDGER), dir.join("said"));
        let mut demo = Running::start(
            self.command()
                .args([
                    "demo",
                    "--periods",
                    "96",
                    "--seed",
                    &self.demo_seed.to_string(),
                    "--dir",
                ])
                .arg(&ledger)
                .stderr(File::create(&said)?),
        )?;
        let said = || fs::read_to_string(&said).unwrap_or_default();
        let node = demo.wait_for_child("--lockstep", self.patience());
        let node = node.ok_or_else(|| self.waited(&format!("the demonstration started no node: {}", said())))?;
        let moment = Instant::now() + delay;
        if let Some(status) = demo.wait(moment.min(self.until)) {
            let failed = || Stop::Broken(format!("the demonstration failed by itself: {}", said()));
            return Err(if status.success() { Stop::Late } else { failed() });
        }
        if Instant::now() >= self.until {
            return Err(Stop::Deadline);
        }
        let before = newest(&ledger)?;
        signal("-KILL", node);
        if demo.wait(self.patience()).is_none() {
            return Err(self.waited("the driver does not notice that its node died"));
        }
        // Nothing writes any more: the later of both is what a crash left.
        let left = newest(&ledger)?;
        let acknowledged = acknowledged(&said());

        self.restart(&ledger)?;
        let digests = digests(&ledger)?;
        for commit in [before, left].into_iter().flatten() {
            if digests.get(&commit.height) != Some(&commit.digest) {
                return Err(Stop::Broken(format!(
                    "block {} was durable and is gone or another",
                    commit.height
                )));
            }
        }
        match acknowledged {
            Some(height) if !digests.contains_key(&height) => Err(Stop::Broken(format!(
                "block {height} was acknowledged as durable and is gone"
            ))),
            _ => Ok(()),
        }
    }

    /// Starts the node again, stops it, and audits what it leaves.
    fn restart(&self, ledger: &Path) -> Result<(), Stop> {
        let errors = ledger.with_extension("restart");
        let mut node = Running::start(
            self.command()
                .args(["run", "--lockstep", "--listen", "127.0.0.1:0"])
                .arg(ledger)
                .stdout(Stdio::piped())
                .stderr(File::create(&errors)?),
        )?;
        let said = || fs::read_to_string(&errors).unwrap_or_default();
        if !node.says("listening", self.patience()) {
            return Err(self.waited(&format!("the node does not come up again: {}", said())));
        }
        node.terminate();
        let status = node
            .wait(self.patience())
            .ok_or_else(|| self.waited("the node does not stop when asked"))?;
        if !status.success() {
            return Err(Stop::Broken(format!(
                "the recovered node ends with {status}: {}",
                said()
            )));
        }
        if self.verify {
            let mut audit = Running::start(self.command().arg("verify").arg(ledger).stderr(File::create(&errors)?))?;
            let status = audit
                .wait(self.patience())
                .ok_or_else(|| self.waited("`verify` does not end"))?;
            if !status.success() {
                return Err(Stop::Broken(format!(
                    "`verify` refuses the recovered ledger: {}",
                    said()
                )));
            }
        }
        Ok(())
    }
}

/// The newest commit entry; `None` before block 0 has one.
fn newest(ledger: &Path) -> Result<Option<Commit>, Stop> {
    match Reader::open(ledger) {
        Ok(reader) => Ok(reader.committed()),
        Err(error) => {
            // A moment ago the node may have been half way through an entry: look again, once.
            thread::sleep(Duration::from_millis(5));
            match Reader::open(ledger) {
                Ok(reader) => Ok(reader.committed()),
                Err(_) => Err(Stop::Broken(format!(
                    "the ledger cannot be read beside its writer: {error}"
                ))),
            }
        }
    }
}

/// Height of the newest block that a client of the demonstration was told is durable.
fn acknowledged(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("newest durable block acknowledged: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The public log key of a ledger's genesis.
pub(crate) fn log_key(ledger: &Path) -> Result<VerifyingKey, String> {
    let bytes = fs::read(ledger.join(GENESIS_FILE)).map_err(|error| error.to_string())?;
    let genesis = Genesis::decode(&bytes).map_err(|error| error.to_string())?;
    VerifyingKey::from_bytes(&genesis.log_key).map_err(|error| error.to_string())
}

/// Digests by height of a ledger that passes the check.
fn digests(ledger: &Path) -> Result<BTreeMap<u64, Hash>, Stop> {
    let key = log_key(ledger).map_err(Stop::Broken)?;
    let mut digests = BTreeMap::new();
    let checked = caught(|| {
        check_with(ledger, &key, |block| {
            digests.insert(block.header.height, block.digest);
            Ok::<(), Infallible>(())
        })
    });
    match checked {
        Ok(Ok(_)) => Ok(digests),
        Ok(Err(fault)) => Err(Stop::Broken(format!("the recovered ledger is damaged: {fault}"))),
        Err(panic) => Err(Stop::Broken(format!("the check panics: {panic}"))),
    }
}
