//! The node under load: a process of our own on a fresh chain, or one that runs already; and its accounts.

use crate::flow::Orders;
use crate::registration::registration;
use crate::{Error, Place};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::keys::{BlsSecret, SigningKey};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::Grade;
use wattbook_ledger::GENESIS_FILE;
use wattbook_node::chain::{self, CommitteeSpec, FIRST_SERIAL, Member, Secrets, Spec};
use wattbook_node::config::CONFIG_FILE;
use wattbook_node::execute::Executor;
use wattbook_node::keys;
use wattbook_types::committee::Seat;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{ChainId, ContractId, Param, ParticipantId, Phase, Reject, TimeNs};

/// CONTRACT after gate opening on a fresh chain, s.
const CONTRACT_S: i64 = 4;
/// Time the book of a fresh chain stays open beyond the load, s.
const SPARE_S: u64 = 600;
/// Points minted for a client of a fresh chain: a million.
const MINT: i64 = 1_000_000 * 1_000_000_000;
/// Longest wait for a registration or for the book to open.
const WAIT: Duration = Duration::from_secs(60);

/// The node and what the load needs to know of it.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// Its chain.
    pub(crate) chain: ChainId,
    /// The contract traded.
    pub(crate) contract: ContractId,
    /// The clients' accounts.
    pub(crate) accounts: Vec<Account>,
    /// Directory of the fresh chain.
    pub(crate) dir: Option<PathBuf>,
    book_open: bool,
    // Dropped in this order: the node ends before its directory goes.
    node: Option<Process>,
    _dir: Option<TempDir>,
}

/// A client's account.
#[derive(Debug)]
pub(crate) struct Account {
    /// Its id.
    pub(crate) id: ParticipantId,
    /// Its key.
    pub(crate) secret: BlsSecret,
    /// Its next nonce.
    pub(crate) nonce: u64,
    /// What it sends.
    pub(crate) orders: Orders,
}

/// What a load needs of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// Accounts, each with a session of its own.
    pub(crate) clients: u32,
    /// Sessions beside theirs.
    pub(crate) idle: u32,
    /// Time the book of a fresh chain must stay open, s.
    pub(crate) open_s: u64,
    /// Seed of the orders.
    pub(crate) seed: u64,
}

/// A process that is told to stop, and waited for, when dropped.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM first: the node seals what it has. Nothing can be done about a failure here.
        let told = Command::new("kill").arg(self.0.id().to_string()).status();
        if !told.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

impl Site {
    /// Starts or finds the node and registers the clients.
    pub(crate) fn open(place: &Place, needs: Needs) -> Result<Self, Error> {
        match (place.addr, &place.registrar_key, place.contract, place.first_serial) {
            (Some(addr), Some(key), Some(period), Some(first)) => {
                let registrar = SigningKey::from_bytes(&keys::read(key)?);
                let contract = ContractId::new(period, ContractId::PRODUCT_QUARTER_HOUR, place.area);
                let (chain, accounts) = register(needs, contract, addr, &registrar, first)?;
                Ok(Self {
                    addr,
                    chain,
                    contract,
                    accounts,
                    dir: None,
                    book_open: false,
                    node: None,
                    _dir: None,
                })
            }
            _ => Self::fresh(place, needs),
        }
    }

    fn fresh(place: &Place, needs: Needs) -> Result<Self, Error> {
        let folder = match &place.dir {
            Some(dir) => tempfile::Builder::new().prefix("wattbook-perf-").tempdir_in(dir),
            None => tempfile::Builder::new().prefix("wattbook-perf-").tempdir(),
        };
        let folder = folder.map_err(Error::io("temporary folder"))?;
        let dir = folder.path().join("node");
        let secrets = Secrets::random()?;
        let (spec, contract) = spec(needs);
        chain::create(&dir, &spec, &secrets)?;
        std::fs::write(dir.join(CONFIG_FILE), configuration(needs)).map_err(Error::io("configuration"))?;
        let (node, addr) = start(place, &dir)?;
        let (chain, accounts) = register(needs, contract, addr, &secrets.registrar(), FIRST_SERIAL)?;
        let site = Self {
            addr,
            chain,
            contract,
            accounts,
            dir: Some(dir),
            book_open: false,
            node: Some(node),
            _dir: Some(folder),
        };
        Ok(site)
    }

    /// The node's process, if it is ours.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.node.as_ref().map(|node| node.0.id())
    }

    /// Waits until the book of a fresh chain's contract trades.
    pub(crate) fn await_book(&mut self) -> Result<(), Error> {
        // Once it trades it goes on, and the node forgets how the stream began.
        if self.dir.is_none() || self.book_open {
            return Ok(());
        }
        let mut public = Client::connect(self.addr, StreamKind::Public, 1)?;
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match public.next(left)? {
                Some((_, Outbound::PhaseChanged(event)))
                    if event.contract == self.contract.get() && event.phase == Phase::Continuous as u8 =>
                {
                    self.book_open = true;
                    return Ok(());
                }
                Some(_) => {}
                None => return Err(Error::BookClosed(self.contract)),
            }
        }
    }
}

/// Nodes of a chain with delegates, each a process of its own.
#[derive(Debug)]
pub(crate) struct Committee {
    /// What the load speaks with: the last delegate.
    pub(crate) site: Site,
    /// Delegates, then observers.
    pub(crate) members: Vec<Member>,
    nodes: Vec<Option<Process>>,
    place: Place,
}

impl Committee {
    /// Makes a chain and starts its delegates; observers are not started. `timing` is added to each node's `[replicate]`.
    pub(crate) fn open(
        place: &Place,
        needs: Needs,
        delegates: usize,
        observers: usize,
        timing: &str,
    ) -> Result<Self, Error> {
        let folder = match &place.dir {
            Some(dir) => tempfile::Builder::new().prefix("wattbook-perf-").tempdir_in(dir),
            None => tempfile::Builder::new().prefix("wattbook-perf-").tempdir(),
        };
        let folder = folder.map_err(Error::io("temporary folder"))?;
        let secrets = Secrets::random()?;
        let (spec, contract) = spec(needs);
        let committee = CommitteeSpec {
            delegates,
            observers,
            port: free_port(delegates + observers),
        };
        let (_, members) = chain::create_committee(folder.path(), &spec, &secrets, committee)?;
        for member in &members {
            let path = member.dir.join(CONFIG_FILE);
            let text = std::fs::read_to_string(&path).map_err(Error::io("configuration"))?;
            let text = text.replace("[replicate]\n", &format!("[replicate]\n{timing}"));
            let verify = "[verify]\nbatch_deadline_us = 2000\nbatch_len_max = 4096\nthreads = 1\n";
            let text = text + "\n" + &configuration(needs).replace(VERIFY, verify);
            std::fs::write(&path, text).map_err(Error::io("configuration"))?;
        }
        let mut nodes = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let node = if at < delegates {
                Some(start_where_it_says(place, &member.dir)?.0)
            } else {
                None
            };
            nodes.push(node);
        }
        let addr = members[delegates - 1].listen;
        let first = FIRST_SERIAL + members.len() as u64;
        let (chain, accounts) = register(needs, contract, addr, &secrets.registrar(), first)?;
        let site = Site {
            addr,
            chain,
            contract,
            accounts,
            dir: Some(members[delegates - 1].dir.clone()),
            book_open: false,
            node: None,
            _dir: Some(folder),
        };
        Ok(Self {
            site,
            members,
            nodes,
            place: place.clone(),
        })
    }

    /// Processes of the nodes that run.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.nodes.iter().flatten().map(|node| node.0.id())
    }

    /// Starts a node that does not run.
    pub(crate) fn start(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node] = Some(start_where_it_says(&self.place, &self.members[node].dir)?.0);
        Ok(())
    }

    /// Kills a node, as a loss of power would.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut node) = self.nodes[node].take() {
            // Nothing can be done about a failure; what drops it waits for its end.
            let _ = node.0.kill();
            let _ = node.0.wait();
        }
    }
}

/// The directories of a committee that is not started, its seats, and the blocks of its epochs.
pub(crate) fn made(folder: &Path, needs: Needs, delegates: usize) -> Result<(Vec<Member>, Vec<Seat>, u64), Error> {
    let committee = CommitteeSpec {
        delegates,
        observers: 0,
        port: 9_000,
    };
    let (spec, _) = spec(needs);
    let (_, members) = chain::create_committee(folder, &spec, &Secrets::random()?, committee)?;
    let bytes = std::fs::read(members[0].dir.join(GENESIS_FILE)).map_err(Error::io("genesis"))?;
    let (executor, _) = Executor::start(&bytes).map_err(chain::InitError::from)?;
    let market = executor.market();
    let seats = market.committee().map(|committee| committee.seats().to_vec());
    let epoch_blocks = market.state().params.schedule().epoch_blocks;
    Ok((members, seats.unwrap_or_default(), epoch_blocks))
}

/// A base port whose nodes' ports are free now.
fn free_port(nodes: usize) -> u16 {
    // BOUND: a few dozen nodes.
    let nodes = nodes as u16;
    let is_free = |port: u16| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok();
    let free = |port: &u16| (0..nodes).all(|at| [0, 100, 200].iter().all(|above| is_free(port + above + at)));
    (9_000..30_000).step_by(32).find(free).unwrap_or(9_000)
}

/// A chain whose first contract trades soon after genesis and until the load is over (see the head of this program).
fn spec(needs: Needs) -> (Spec, ContractId) {
    let genesis_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    // Clients are registered before the gate opens, so that they are ranked: some milliseconds each.
    let gate_s = genesis_s + 2 + u64::from(needs.clients) / 50;
    let period = (gate_s + CONTRACT_S.unsigned_abs() + needs.open_s + SPARE_S).div_ceil(PERIOD_S);
    // BOUND: a load of hours, in seconds; a quarter hour's number until the year 100,000.
    let (gate_open, period) = ((period * PERIOD_S - gate_s) as i64, period as u32);
    let params = vec![
        (Param::GateOpenS, gate_open),
        (Param::GateCloseS, 0),
        (Param::Rounds, 1),
        (Param::SealS, 1),
        (Param::RevealS, 2),
        (Param::MatchS, 3),
        (Param::ContractS, CONTRACT_S),
        (Param::RoundS, CONTRACT_S + 1),
        (Param::Concession, 0),
        (Param::Floor, 0),
        (Param::CountersignS, 86_400),
        (Param::RegistrationMint, MINT),
        (Param::RegistrationMintCap, Param::RegistrationMintCap.bounds().1),
    ];
    let spec = Spec {
        network: "wattbook-perf".to_owned(),
        eic: String::new(),
        area: 1,
        demo: false,
        time: TimeNs::from_secs(genesis_s),
        params,
        segment_size: 64 << 20,
    };
    (spec, ContractId::new(period, ContractId::PRODUCT_QUARTER_HOUR, 1))
}

/// What the verify stage is set to.
const VERIFY: &str = "[verify]\nbatch_deadline_us = 2000\nbatch_len_max = 4096\n";

/// Room for every client, and the defaults that a figure depends on, spelled out.
fn configuration(needs: Needs) -> String {
    let mut text = String::new();
    // The sessions of one load may still be closing while the next one's log on.
    let sessions_max = 2 * needs.clients + needs.idle + 64;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "[ingest]\nsessions_max = {sessions_max}\n\n[ingest.limits]\nsessions_per_address_max = {sessions_max}\n\n{VERIFY}"
    );
    text
}

/// The node's program: as given, or beside this one.
fn program(place: &Place) -> PathBuf {
    let beside = || std::env::current_exe().ok().map(|path| path.with_file_name("wattbook"));
    place
        .node
        .clone()
        .or_else(beside)
        .unwrap_or_else(|| PathBuf::from("wattbook"))
}

fn start(place: &Place, dir: &Path) -> Result<(Process, SocketAddr), Error> {
    start_at(place, dir, &["--listen", "127.0.0.1:0"])
}

fn start_where_it_says(place: &Place, dir: &Path) -> Result<(Process, SocketAddr), Error> {
    start_at(place, dir, &[])
}

fn start_at(place: &Place, dir: &Path, listen: &[&str]) -> Result<(Process, SocketAddr), Error> {
    let path = program(place);
    let child = Command::new(&path)
        .arg("run")
        .arg(dir)
        .args(listen)
        .env("WATTBOOK_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut node = Process(child.map_err(|source| Error::Node { path, source })?);
    let stdout = node.0.stdout.take().ok_or(Error::NodeSilent)?;
    let mut line = String::new();
    BufReader::new(stdout)
        .read_line(&mut line)
        .map_err(Error::io("output of the node"))?;
    let addr = line
        .trim()
        .strip_prefix("listening ")
        .and_then(|addr| addr.parse().ok())
        .ok_or(Error::NodeSilent)?;
    Ok((node, addr))
}

/// Registers the clients and waits until the last one can log on.
fn register(
    needs: Needs,
    contract: ContractId,
    addr: SocketAddr,
    registrar: &SigningKey,
    first: u64,
) -> Result<(ChainId, Vec<Account>), Error> {
    let mut client = Client::connect(addr, StreamKind::Private, 0)?;
    let chain = client.chain().ok_or(wattbook_feed::client::ClientError::NoChallenge)?;
    let seed = Secrets::random()?.seed;
    let mut accounts = Vec::new();
    for (at, id) in (0..needs.clients).zip((first..).map(ParticipantId::new)) {
        let account = Account {
            id,
            secret: chain::participant_key(&seed, id),
            // A fresh account's first nonce.
            nonce: 1,
            orders: Orders::new(needs.seed, at.into(), contract),
        };
        client.send_register(&registration(chain, account.id, &account.secret, registrar))?;
        accounts.push(account);
    }
    // A registration has no answer of its own on a session that is not logged on: the last account logs on.
    let deadline = Instant::now() + WAIT;
    if let Some(last) = accounts.last() {
        client.logon(last.id, &last.secret, Grade::Matched)?;
        loop {
            match client.next(deadline.saturating_duration_since(Instant::now()))? {
                Some((_, Outbound::LoggedOn(_))) => break,
                Some((_, Outbound::RejectedMessage(refused))) => {
                    let reject = Reject::from_code(refused.code).unwrap_or(Reject::LogonRefused);
                    if reject != Reject::UnknownParticipant || Instant::now() >= deadline {
                        return Err(crate::session::SessionError::Refused(reject).into());
                    }
                    client.logon(last.id, &last.secret, Grade::Matched)?;
                }
                Some(_) => {}
                None => return Err(crate::session::SessionError::Silent.into()),
            }
        }
    }
    Ok((chain, accounts))
}
