//! A ledger of its own with an open book, and nodes on it.

use super::process::Running;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use wattbook_node::chain::{self, Secrets, Spec};
use wattbook_node::config::CONFIG_FILE;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{ChainId, ContractId, Param, TimeNs};

/// Longest wait for a process to come up, to answer or to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long the book stays open at least, s.
const OPEN_S: u64 = 7_200;
/// Small segments, so that kills meet their borders.
const SEGMENT_SIZE: u64 = 64 << 10;
/// Snapshots often, so that restarts begin at one.
const CONFIGURATION: &str =
    "[verify]\npolicy = \"batch\"\n\n[seal]\nsnapshot_records = 60\nsnapshots_kept = 2\nblock_ms = 5\n";

/// A ledger whose book is open.
pub(super) struct Ground {
    pub(super) ledger: PathBuf,
    pub(super) chain: ChainId,
    pub(super) contract: ContractId,
    pub(super) secrets: Secrets,
    _folder: TempDir,
}

/// A node of ours.
pub(super) struct Node {
    pub(super) process: Running,
    errors: PathBuf,
}

impl Node {
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Where it listens, once it does.
    pub(super) fn addr(&mut self) -> Result<SocketAddr, String> {
        let line = self.process.line("listening ", Instant::now() + PATIENCE);
        let addr = line.and_then(|line| line.parse().ok());
        addr.ok_or_else(|| format!("the node does not come up: {}", self.said()))
    }
}

impl Ground {
    /// A fresh chain.
    ///
    /// # Errors
    /// It cannot be made; no finding.
    pub(super) fn new(network: &str) -> Result<Self, String> {
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
            network: network.to_owned(),
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
        Ok(Self {
            ledger,
            chain,
            contract,
            secrets,
            _folder: folder,
        })
    }

    pub(super) fn command(&self, program: &Path, name: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg(name)
            .arg(&self.ledger)
            .env("WATTBOOK_LOG", "info")
            .stdin(Stdio::null());
        command
    }

    /// Starts a node on it.
    pub(super) fn start(&self, program: &Path) -> Result<Node, String> {
        let errors = self.ledger.with_extension("said");
        let file = File::create(&errors).map_err(|error| error.to_string())?;
        let mut command = self.command(program, "run");
        command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(file);
        let process = Running::start(&mut command).map_err(|error| error.to_string())?;
        Ok(Node { process, errors })
    }

    /// What `wattbook verify` says of it.
    pub(super) fn verify(&self, program: &Path) -> Result<(), String> {
        let verdict = self
            .command(program, "verify")
            .output()
            .map_err(|error| error.to_string())?;
        if verdict.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&verdict.stderr).into_owned();
        Err(format!("`verify` refuses the recovered ledger: {said}"))
    }
}
