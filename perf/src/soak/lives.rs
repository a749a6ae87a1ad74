//! Part 5: a client that is killed again and again, beside a node that goes on.
//!
//! # Contract
//! One life is a process: the client logs on with its stream from where its notes end, sends again what was not answered and
//! one envelope more, and is killed with SIGKILL after a random number of steps, wherever it stands then. What outlives it are
//! its notes, in files: envelopes, written before they are sent, and messages, written as they come; what a kill has cut off
//! within a note was not noted. In the end
//! * every quote of every life was accepted and opened once, and every envelope stands in the ledger once;
//! * the messages of all lives together are the stream from its beginning, without a gap or a repetition;
//! * an execution from genesis agrees, and `wattbook verify` finds nothing.

mod notes;

use super::audit;
use super::dice::Dice;
use super::ground::{Ground, Node, PATIENCE};
use super::process::Running;
use super::registration::registration;
use super::{Finding, Findings};
use notes::{Ended, Notes};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_node::chain::{self, FIRST_SERIAL};
use wattbook_types::{ContractId, ParticipantId};

/// The part's name in findings.
const PART: &str = "lives";
/// Lives beside one node.
const LIVES_PER_NODE: u64 = 200;
/// Quotes of an envelope.
const QUOTES: u32 = 3;
/// The client.
const WHO: ParticipantId = ParticipantId::new(FIRST_SERIAL);
/// Most steps of a life before it is killed: a few more than it has.
const STEPS_MAX: u64 = 16;
/// Seed of the client's key.
const SEED: [u8; 32] = [5; 32];

/// Lives until `until`; how many there were.
pub(crate) fn run(seed: u64, until: Instant, program: &Path, findings: &mut Findings) -> u64 {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(why) => {
            eprintln!("lives: {why}");
            return 0;
        }
    };
    let (mut lives, mut dice) = (0, Dice::new(seed ^ 0x6c69_7665));
    while Instant::now() < until {
        let seed = dice.any();
        let mut client = match Mortal::new(seed, program, &own) {
            Ok(client) => client,
            Err(why) => {
                eprintln!("lives: {why}");
                break;
            }
        };
        let mut what = None;
        while client.lives < LIVES_PER_NODE && what.is_none() && Instant::now() < until {
            what = client.live().err();
        }
        lives += client.lives;
        let (count, ledger) = (client.lives, client.ground.ledger.clone());
        match what.map_or_else(|| client.check(), Err) {
            Ok(killed) => eprintln!("lives: {count} beside one node, {killed} of them killed"),
            Err(what) => {
                if findings.is_new(PART, &what) {
                    findings.add(Finding {
                        part: PART.into(),
                        what,
                        reproducer: format!("life {count} of the client of seed {seed}\n").into_bytes(),
                        text: true,
                    });
                    findings.keep_files(PART, &ledger);
                }
            }
        }
    }
    lives
}

/// A client with its notes, and its node.
pub(crate) struct Mortal {
    program: PathBuf,
    /// The client's program: this one.
    own: PathBuf,
    ground: Ground,
    node: Node,
    addr: SocketAddr,
    /// Folder of the notes.
    dir: TempDir,
    dice: Dice,
    lives: u64,
    killed: u64,
}

impl Mortal {
    /// A node on a fresh chain, and the client registered.
    ///
    /// # Errors
    /// They cannot be had; no finding.
    pub(crate) fn new(seed: u64, program: &Path, own: &Path) -> Result<Self, String> {
        let ground = Ground::new("lives")?;
        let mut node = ground.start(program)?;
        let addr = node.addr()?;
        let secret = chain::participant_key(&SEED, WHO);
        let client = Client::connect(addr, StreamKind::Private, 1);
        let record = registration(ground.chain, WHO, &secret, &ground.secrets.registrar());
        let said = |error: ClientError| error.to_string();
        client.and_then(|mut door| door.send_register(&record)).map_err(said)?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mortal = Self {
            program: program.to_owned(),
            own: own.to_owned(),
            ground,
            node,
            addr,
            dir,
            dice: Dice::new(seed),
            lives: 0,
            killed: 0,
        };
        mortal.await_registration()?;
        Ok(mortal)
    }

    /// Logs on until the registration, of another session, has come into force.
    fn await_registration(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match Notes::in_memory().live(self.addr, || ()) {
                Ok(()) => return Ok(()),
                Err(Ended::Unknown) => thread::sleep(Duration::from_millis(5)),
                Err(ended) => return Err(ended.to_string()),
            }
        }
        Err("the client is not registered".into())
    }

    /// One life, of a process that is killed after so many steps; without a number it ends by itself.
    ///
    /// # Errors
    /// What no client should see.
    fn life_of(&mut self, steps: Option<u64>) -> Result<(), String> {
        self.lives += 1;
        let io = |error: std::io::Error| format!("the harness cannot run a client: {error}");
        let errors = self.dir.path().join("said");
        let mut command = Command::new(&self.own);
        command
            .args(["--life", &self.addr.to_string(), "--life-contract"])
            .arg(self.ground.contract.get().to_string())
            .arg("--life-notes")
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).map_err(io)?);
        let mut process = Running::start(&mut command).map_err(io)?;
        let said = process.stdout().into_iter().flat_map(|out| BufReader::new(out).lines());
        match steps {
            // Read as they come: the process goes on meanwhile, and dies wherever it stands.
            Some(steps) => {
                // BOUND: STEPS_MAX.
                said.take(steps as usize).for_each(drop);
                process.kill();
            }
            None => said.for_each(drop),
        }
        match process.wait(Instant::now() + PATIENCE) {
            Some(status) if status.success() => Ok(()),
            Some(status) if status.code().is_none() && steps.is_some() => {
                self.killed += 1;
                Ok(())
            }
            status => {
                let said = fs::read_to_string(errors).unwrap_or_default();
                Err(format!("a client ends with {status:?}: {said}"))
            }
        }
    }

    /// One life.
    ///
    /// # Errors
    /// What no client should see.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        let steps = self.dice.below(STEPS_MAX);
        self.life_of(Some(steps))
    }

    /// Lets the client end well, then the node, and holds everything against the notes; how many lives were killed.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn check(mut self) -> Result<u64, String> {
        self.life_of(None).map_err(|what| format!("the last life: {what}"))?;
        let notes = Notes::open(self.dir.path())?;
        let sent = notes.sent.len() as u64;
        let nonces: BTreeSet<u64> = (1..=sent).collect();
        if notes.accepted.keys().copied().collect::<BTreeSet<u64>>() != nonces {
            return Err("an envelope that was sent was never answered, or another was".into());
        }
        let quotes = sent * u64::from(QUOTES);
        // The stream once more, from its beginning.
        let mut whole = Notes::in_memory();
        whole.sent.clone_from(&notes.sent);
        let ended = whole.live(self.addr, || ());
        ended.map_err(|ended| format!("the stream from its beginning: {ended}"))?;
        let (told, again) = (&notes.told, &whole.told);
        let common = told.len().min(again.len());
        if told[..common] != again[..common] || whole.accepted != notes.accepted {
            return Err("the stream from its beginning is another than all lives together heard".into());
        }
        if whole.opened.max(notes.opened) != quotes {
            let opened = whole.opened.max(notes.opened);
            return Err(format!("{quotes} quotes were sent, {opened} were opened"));
        }
        self.node.process.terminate();
        let status = self.node.process.wait(Instant::now() + PATIENCE);
        if !status.is_some_and(|status| status.success()) {
            return Err(format!("the node does not end well: {}", self.node.said()));
        }
        self.ground.verify(&self.program)?;
        let audited = audit::execute(&self.ground.ledger)?;
        let recorded = audited.envelopes.keys().filter(|(who, _)| *who == WHO);
        if !recorded.map(|(_, nonce)| *nonce).eq(nonces) {
            return Err("the ledger does not have every envelope".into());
        }
        Ok(self.killed)
    }
}

/// A life, in this process: says each step on stdout. The notes hold what came of it.
pub(crate) fn live_here(addr: SocketAddr, contract: ContractId, dir: &Path) -> ExitCode {
    let said = || {
        // Whoever counts the steps kills after the last one it wants to hear.
        let _ = writeln!(std::io::stdout(), "step");
    };
    let life = || -> Result<(), String> {
        let mut notes = Notes::open(dir)?;
        said();
        notes.send_another(addr, contract)?;
        said();
        notes.live(addr, said).map_err(|ended| ended.to_string())
    };
    match life() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
