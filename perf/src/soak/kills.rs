//! Part 2: nodes killed under load, again and again on one ledger.
//!
//! # Contract
//! One kill: `wattbook run` on the ledger that the kill before left, clients that log on with the grade durable, send
//! again what was not answered and go on, SIGKILL at a random moment, or while the node still starts. The node then
//! recovers, stops when asked, and leaves a ledger in which
//! * every block that had a commit entry when the node died is still there, and every block that an audit has seen;
//! * every envelope that a client was told is durable stands under the number it was told, and none stands there twice;
//! * `wattbook verify` finds nothing, and an execution from genesis that knows no snapshot has the root of every block,
//!   the last one computed from scratch.
//!
//! In the end old segments are moved off, and what is left must start, prove and say what is missing.

mod audit;
mod clients;
mod retain;

use super::dice::Dice;
use super::process::Running;
use super::{Finding, Findings};
use clients::{Load, Trader};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use wattbook_ledger::{Commit, Reader};
use wattbook_node::chain::{self, FIRST_SERIAL, Secrets, Spec};
use wattbook_node::config::CONFIG_FILE;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{ChainId, ContractId, Hash, Param, ParticipantId, TimeNs};

/// The part's name in findings.
const PART: &str = "kills";
/// Kills of one ledger before the next one is made.
const KILLS_PER_LEDGER: u64 = 40;
/// Clients of a ledger.
const CLIENTS: u64 = 3;
/// Longest wait for a process to come up, to answer or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Latest kill after the first answer.
const WINDOW: Duration = Duration::from_millis(400);
/// Latest kill of a node that starts.
const START: Duration = Duration::from_millis(150);
/// How long the book stays open at least, s.
const OPEN_S: u64 = 7_200;
/// Small segments, so that kills meet their borders.
const SEGMENT_SIZE: u64 = 64 << 10;
/// Snapshots often, so that restarts begin at one.
const CONFIGURATION: &str =
    "[verify]\npolicy = \"batch\"\n\n[seal]\nsnapshot_records = 60\nsnapshots_kept = 2\nblock_ms = 5\n";

/// Kills until `until`; how many nodes were killed and recovered.
pub(crate) fn run(seed: u64, until: Instant, program: &Path, findings: &mut Findings) -> u64 {
    let (mut kills, mut dice) = (0, Dice::new(seed ^ 0x6b69_6c6c));
    while Instant::now() < until {
        let mut victim = match Victim::new(dice.any(), program) {
            Ok(victim) => victim,
            Err(why) => {
                eprintln!("kills: {why}");
                break;
            }
        };
        let (mut last, mut from_snapshot) = (None, 0);
        for _ in 0..KILLS_PER_LEDGER {
            if Instant::now() >= until {
                break;
            }
            match victim.kill() {
                Ok(killed) => {
                    kills += 1;
                    from_snapshot += u64::from(killed.from_snapshot);
                    last = Some(killed);
                }
                Err(what) => {
                    if findings.is_new(PART, &what) {
                        findings.add(Finding {
                            part: PART.into(),
                            what,
                            reproducer: format!("SIGKILL number {} of a node under load\n", victim.kills).into_bytes(),
                            text: true,
                        });
                        // When a process is killed cannot be repeated; what it left can be looked at.
                        findings.keep_files(PART, &victim.ledger);
                    }
                    break;
                }
            }
        }
        if let Some(Killed { height, promised, .. }) = last {
            if let Err(what) = victim.retain() {
                findings.add_new(Finding {
                    part: PART.into(),
                    what,
                    reproducer: b"`wattbook retain` after kills\n".to_vec(),
                    text: true,
                });
            }
            eprintln!(
                "kills: {} of one ledger, {height} blocks, {promised} envelopes promised, {from_snapshot} restarts from \
                 a snapshot",
                victim.kills
            );
        }
    }
    kills
}

/// What a kill met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed {
    /// Height of the ledger after recovery.
    pub(crate) height: u64,
    /// Envelopes promised so far, by all clients.
    pub(crate) promised: u64,
    /// Whether the recovering node began at a snapshot.
    pub(crate) from_snapshot: bool,
}

/// A ledger, its clients, and what must be true of it.
pub(crate) struct Victim {
    program: PathBuf,
    dice: Dice,
    ledger: PathBuf,
    chain: ChainId,
    traders: Vec<Trader>,
    /// Digests of the blocks that an audit has seen.
    known: BTreeMap<u64, Hash>,
    kills: u64,
    _folder: TempDir,
}

/// A node of ours.
struct Node {
    process: Running,
    errors: PathBuf,
}

impl Node {
    fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Where it listens, once it does.
    fn addr(&mut self) -> Result<SocketAddr, String> {
        let line = self.process.line("listening ", Instant::now() + PATIENCE);
        let addr = line.and_then(|line| line.parse().ok());
        addr.ok_or_else(|| format!("the node does not come up: {}", self.said()))
    }
}

impl Victim {
    /// A fresh chain whose book is open, with its clients.
    ///
    /// # Errors
    /// The chain cannot be made; no finding.
    pub(crate) fn new(seed: u64, program: &Path) -> Result<Self, String> {
        let io = |error: io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(io)?;
        let ledger = folder.path().join("ledger");
        let genesis_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
            - 60;
        let gate_s = genesis_s + 10;
        let period = (gate_s + OPEN_S).div_ceil(PERIOD_S);
        let params = vec![
            // BOUND: hours, in seconds.
            (Param::GateOpenS, (period * PERIOD_S - gate_s) as i64),
            (Param::GateCloseS, 0),
            (Param::Rounds, 1),
            (Param::SealS, 1),
            (Param::RevealS, 2),
            (Param::MatchS, 3),
            (Param::ContractS, 4),
            (Param::RoundS, 5),
            (Param::Concession, 0),
            (Param::Floor, 0),
            (Param::CountersignS, 86_400),
            (Param::RegistrationMint, 1_000_000 * 1_000_000_000),
            (Param::RegistrationMintCap, Param::RegistrationMintCap.bounds().1),
        ];
        let spec = Spec {
            network: "kills".to_owned(),
            eic: String::new(),
            area: 1,
            demo: false,
            time: TimeNs::from_secs(genesis_s),
            params,
            segment_size: SEGMENT_SIZE,
        };
        let secrets = Secrets {
            seed: [1; 32],
            accounts: [[2; 32]; 3],
        };
        let chain = chain::create(&ledger, &spec, &secrets).map_err(|error| error.to_string())?;
        fs::write(ledger.join(CONFIG_FILE), CONFIGURATION).map_err(io)?;
        // BOUND: a quarter hour's number until the year 100,000.
        let contract = ContractId::new(period as u32, ContractId::PRODUCT_QUARTER_HOUR, 1);
        let ids = (FIRST_SERIAL..FIRST_SERIAL + CLIENTS).map(ParticipantId::new);
        Ok(Self {
            program: program.to_owned(),
            dice: Dice::new(seed),
            ledger,
            chain,
            traders: ids
                .map(|id| Trader::new(seed, id, contract, &secrets.registrar()))
                .collect(),
            known: BTreeMap::new(),
            kills: 0,
            _folder: folder,
        })
    }

    /// Kills a node under load, lets another recover, and audits what is there.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn kill(&mut self) -> Result<Killed, String> {
        self.kills += 1;
        let mut node = self.start()?;
        if self.dice.once_in(5) {
            thread::sleep(self.moment(START));
        } else {
            let addr = node.addr()?;
            let load = Load::start(addr, self.chain, &mut self.traders);
            if !load.is_answered(Instant::now() + PATIENCE) {
                node.process.kill();
                let ends = load.end(&mut self.traders);
                return Err(format!("no client is answered ({ends}): {}", node.said()));
            }
            thread::sleep(self.moment(WINDOW));
            node.process.kill();
            let ends = load.end(&mut self.traders);
            if !ends.is_empty() {
                return Err(format!("a client before the kill: {ends}"));
            }
        }
        node.process.kill();
        drop(node);
        // Nothing writes any more.
        let left = newest(&self.ledger)?;

        let mut node = self.start()?;
        node.addr()?;
        node.process.terminate();
        let status = node.process.wait(Instant::now() + PATIENCE);
        let status = status.ok_or("the node does not stop when asked")?;
        let said = node.said();
        if !status.success() {
            return Err(format!("the recovered node ends with {status}: {said}"));
        }
        self.verify()?;
        let audited = audit::execute(&self.ledger)?;
        self.known.extend(left.map(|left| (left.height, left.digest)));
        for (height, digest) in &self.known {
            if audited.blocks.get(height) != Some(digest) {
                return Err(format!("block {height} was durable and is gone or another"));
            }
        }
        for trader in &self.traders {
            trader.check(&audited)?;
        }
        let height = audited.height();
        self.known = audited.blocks;
        Ok(Killed {
            height,
            promised: self.traders.iter().map(Trader::promised).sum(),
            from_snapshot: said.contains("read from block"),
        })
    }

    fn moment(&mut self, latest: Duration) -> Duration {
        // BOUND: less than a second.
        Duration::from_micros(self.dice.below(latest.as_micros() as u64))
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(name)
            .arg(&self.ledger)
            .env("WATTBOOK_LOG", "info")
            .stdin(Stdio::null());
        command
    }

    fn start(&self) -> Result<Node, String> {
        let errors = self.ledger.with_extension("said");
        let file = File::create(&errors).map_err(|error| error.to_string())?;
        let mut command = self.command("run");
        command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(file);
        let process = Running::start(&mut command).map_err(|error| error.to_string())?;
        Ok(Node { process, errors })
    }

    fn verify(&self) -> Result<(), String> {
        let verdict = self.command("verify").output().map_err(|error| error.to_string())?;
        if verdict.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&verdict.stderr).into_owned();
        Err(format!("`verify` refuses the recovered ledger: {said}"))
    }
}

/// The newest commit entry that a dead node left; `None` where that one is torn.
fn newest(ledger: &Path) -> Result<Option<Commit>, String> {
    match Reader::open(ledger) {
        Ok(reader) => Ok(reader.committed()),
        Err(wattbook_ledger::Error::Damaged(fault)) if fault.kind == wattbook_ledger::FaultKind::CommitEntry => {
            Ok(None)
        }
        Err(error) => Err(format!("the ledger that a dead node left cannot be read: {error}")),
    }
}
