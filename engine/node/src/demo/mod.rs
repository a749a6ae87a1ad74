//! The demonstration: one real day, every load, plant and battery a client of its own, in lockstep (DETAILS 1, 4, 7).
//!
//! The driver is one thread that speaks for everybody over as many real connections; the node is a process of its own.
//! Nothing here touches the market but through the feed.

pub mod cluster;
pub mod participant;
pub mod report;
pub mod world;

use crate::chain::{self, FIRST_SERIAL, GRID_COMPANY, METER_AUTHORITY, REGULATOR, Secrets, Spec};
use participant::{Account, Outlook, Participant, TalkError, Tariffs, quote};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::{BlsSecret, KeyRole, derive, sign_ed25519};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::{
    Grade, MeterEntry, Register, RegisterRecord, deals_digest, encode_grid, encode_quote, encode_reading, meters_root,
};
use wattbook_types::command::{GridSignature, Reading};
use wattbook_types::{
    ChainId, ContractId, Energy, Hash, Meter, MeterKind, Param, Params, ParticipantId, Price, Roles, Side, TimeNs,
    sha256,
};
use world::{Device, FIRST_PERIOD, PERIODS, World, delivery_start};

/// Segment size of a demonstration's ledger, bytes.
const SEGMENT_SIZE: u64 = 1 << 20;
/// The delivery area of the demonstration.
const AREA: u16 = 1;

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the ledger.
    pub ledger: PathBuf,
    /// Seed of every secret and every factor.
    pub seed: u64,
    /// Delivery periods, from the first.
    pub periods: usize,
}

/// Why the demonstration failed.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The directory holds something else.
    #[error("{} holds something that is no demonstration's ledger; remove it or choose another with --dir", .0.display())]
    NotOurs(PathBuf),
    /// A node runs on the directory.
    #[error("a node is running on {}; stop it first, or choose another directory with --dir", .0.display())]
    InUse(PathBuf),
    /// The file system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The chain.
    #[error(transparent)]
    Init(#[from] chain::InitError),
    /// The node did not come up.
    #[error("the node did not start; run with WATTBOOK_LOG=debug to see why")]
    NoNode,
    /// A client and the node.
    #[error("at simulated time {time_s} s: {source} (newest durable block acknowledged: {durable})")]
    Talk {
        /// Simulated time, s since the epoch.
        time_s: u64,
        /// The newest durable block any client has been told of.
        durable: u64,
        /// What happened.
        source: TalkError,
    },
    /// A block that does not execute to what it says.
    #[error("block {0} of the ledger does not follow from the one before it")]
    Unlike(u64),
    /// A ledger that does not hold.
    #[error(transparent)]
    Verify(#[from] crate::audit::Finding),
    /// The report.
    #[error(transparent)]
    Report(#[from] report::ReportError),
}

/// The node's process; it does not outlive the driver.
#[derive(Debug)]
struct NodeProcess {
    child: Child,
    addr: SocketAddr,
}

impl NodeProcess {
    /// Starts a node on a ledger; it listens where its configuration says, or at `listen`, and logs here, or to a file.
    fn start(ledger: &Path, listen: Option<&str>, log_file: Option<&Path>) -> Result<Self, DemoError> {
        let io = |action, source| DemoError::Io {
            action,
            path: ledger.to_owned(),
            source,
        };
        let program = std::env::current_exe().map_err(|source| io("find this program beside", source))?;
        // The node's log would tear the progress bar; what matters to the operator is asked for by name.
        let log = std::env::var("WATTBOOK_LOG").unwrap_or_else(|_| "warn".into());
        let stderr = match log_file {
            None => Stdio::inherit(),
            Some(path) => std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|source| io("write the log of", source))?
                .into(),
        };
        let mut child = Command::new(program)
            .stderr(stderr)
            .env("WATTBOOK_LOG", log)
            .args(["run", "--lockstep"])
            .args(listen.map(|addr| ["--listen", addr]).into_iter().flatten())
            .arg(ledger)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .map_err(|source| io("start a node on", source))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        match line
            .trim()
            .strip_prefix("listening ")
            .and_then(|addr| addr.parse().ok())
        {
            Some(addr) => Ok(Self { child, addr }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(DemoError::NoNode)
            }
        }
    }

    /// Kills it, as a loss of power would.
    fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop and waits; kills it after ten seconds.
    fn stop(mut self) {
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the driver counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Driven {
    /// Participants, the grid company and the authorities included.
    pub accounts: usize,
    /// Steps of time.
    pub steps: u64,
    /// Wall time of the trading, ms.
    pub wall_ms: u64,
}

/// Runs the day; `progress(period)` is called as each period's trading begins.
///
/// # Errors
/// [`DemoError`].
pub fn run(options: &Options, mut progress: impl FnMut(usize)) -> Result<Driven, DemoError> {
    clear_old(&options.ledger)?;
    let seed = sha256(&[b"wattbook demo", &options.seed.to_le_bytes()]).0;
    let secrets = Secrets::of_demo(seed);
    let spec = Spec {
        network: "wattbook demo".into(),
        eic: "10YDE-DEMO-----W".into(),
        area: AREA,
        demo: true,
        time: delivery_start(0).plus_secs(-1_800),
        params: vec![(Param::CounterpartyShare, 0)],
        segment_size: SEGMENT_SIZE,
    };
    let chain = chain::create(&options.ledger, &spec, &secrets)?;
    let started = Instant::now();
    let node = NodeProcess::start(&options.ledger, Some("127.0.0.1:0"), None)?;
    let mut driver = Driver {
        addr: node.addr,
        chain,
        seed,
        secrets,
        first_site: FIRST_SERIAL,
        grade: Grade::Matched,
        now: spec.time,
        steps: 0,
        desks: None,
    };
    let driven = driver.day(options.periods.min(PERIODS), &mut |period, _| {
        progress(period);
        Ok(())
    });
    let (time_s, durable) = (driver.now.get() / 1_000_000_000, driver.durable());
    let accounts = driven.map_err(|source| DemoError::Talk {
        time_s,
        durable,
        source,
    })?;
    node.stop();
    let wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Driven {
        accounts,
        steps: driver.steps,
        wall_ms,
    })
}

/// Removes an earlier demonstration; anything else stays.
fn clear_old(ledger: &Path) -> Result<(), DemoError> {
    if !ledger.exists() {
        return Ok(());
    }
    let genesis = std::fs::read(ledger.join(wattbook_ledger::GENESIS_FILE)).ok();
    let ours = genesis
        .and_then(|bytes| wattbook_feed::signed::Genesis::decode(&bytes).ok())
        .is_some_and(|g| g.is_demo());
    let empty = std::fs::read_dir(ledger).is_ok_and(|mut entries| entries.next().is_none());
    if !ours && !empty {
        return Err(DemoError::NotOurs(ledger.to_owned()));
    }
    let lock = std::fs::File::open(ledger.join(wattbook_ledger::LOCK_FILE));
    if lock.is_ok_and(|file| file.try_lock().is_err()) {
        return Err(DemoError::InUse(ledger.to_owned()));
    }
    std::fs::remove_dir_all(ledger).map_err(|source| DemoError::Io {
        action: "remove",
        path: ledger.to_owned(),
        source,
    })
}

struct Driver {
    addr: SocketAddr,
    chain: ChainId,
    seed: [u8; 32],
    secrets: Secrets,
    /// Serial of the first site's account.
    first_site: u64,
    /// Grade of everybody's answers.
    grade: Grade,
    now: TimeNs,
    steps: u64,
    desks: Option<Desks>,
}

/// Called as each period's trading begins, with the time.
type Progress<'a> = dyn FnMut(usize, TimeNs) -> Result<(), TalkError> + 'a;

/// Everybody's connections.
struct Desks {
    regulator: Account,
    grid: GridDesk,
    meters: Account,
    sites: Vec<Participant>,
}

/// The grid company: quotes tariffs, countersigns deals it has recomputed.
struct GridDesk {
    account: Account,
    /// Ids of the deals made, by contract and block.
    deals: std::collections::BTreeMap<(u64, ContractId), Vec<Hash>>,
    /// Digests to be countersigned.
    waiting: Vec<(u64, ContractId, Hash)>,
}

impl GridDesk {
    fn take(&mut self, message: &Outbound) {
        match message {
            Outbound::DealRecord(record) => {
                let contract = ContractId::from_raw(record.record.contract);
                let id = wattbook_types::digest(self.account.chain, "deal", &[bytemuck::bytes_of(&record.record)]);
                self.deals.entry((record.height, contract)).or_default().push(id);
            }
            Outbound::DealsSealed(sealed) => {
                self.waiting.push((
                    sealed.height,
                    ContractId::from_raw(sealed.contract),
                    Hash(sealed.deals_digest),
                ));
            }
            _ => {}
        }
    }

    /// Countersigns what its own computation confirms.
    fn countersign(&mut self, now: TimeNs) -> Result<(), TalkError> {
        let mut leaves = Vec::new();
        for (height, contract, told) in core::mem::take(&mut self.waiting) {
            let ids = self.deals.remove(&(height, contract)).unwrap_or_default();
            let computed = deals_digest(self.account.chain, height, contract, &ids);
            if computed == told {
                leaves.push(encode_grid(
                    leaves.len() as u32,
                    &GridSignature {
                        height,
                        deals_digest: computed,
                    },
                ));
            } else {
                tracing::error!(height, contract = %contract, "deals do not add up to their digest; not signed");
            }
        }
        if !leaves.is_empty() {
            self.account.send(leaves, now)?;
        }
        Ok(())
    }
}

impl Driver {
    fn durable(&self) -> u64 {
        let Some(desks) = &self.desks else { return 0 };
        let sites = desks.sites.iter().map(|site| site.account.durable.0);
        sites
            .chain([desks.regulator.durable.0, desks.grid.account.durable.0])
            .max()
            .unwrap_or(0)
    }

    fn day(&mut self, periods: usize, progress: &mut Progress<'_>) -> Result<usize, TalkError> {
        let world = World::load();
        self.open_desks(&world)?;
        let params = Params::default();
        let tariffs = Tariffs {
            retail: params.get(Param::Retail),
            feed_in: params.get(Param::FeedIn),
        };
        let peak = world.peak_periods();
        // Two more openings pass before the last period is closed.
        for (period, peak) in peak.into_iter().enumerate().take(periods) {
            self.step_to(opening_of(period))?;
            progress(period, self.now)?;
            self.trade(&world, period, tariffs, peak)?;
        }
        for period in periods..periods + 4 {
            let opening = opening_of(period);
            self.step_to(opening)?;
            self.step_to(opening.plus_secs(300))?;
            self.read_meters(period, periods)?;
            self.step_to(opening.plus_secs(390))?;
        }
        Ok(self.desks.as_ref().map_or(0, |desks| desks.sites.len() + 3))
    }

    /// One cycle: three sealed rounds, the book between and after them, countersignatures, the readings of an earlier
    /// period.
    fn trade(&mut self, world: &World, period: usize, tariffs: Tariffs, peak: bool) -> Result<(), TalkError> {
        let opening = opening_of(period);
        let contract = contract_of(period);
        let (load, generation) = (world.total_load(period), world.total_generation(period));
        let outlook = Outlook {
            surplus: generation.saturating_sub(load),
            shortage: load.saturating_sub(generation),
            peak,
            battery_rating: world.battery_rating(),
        };
        let seed = self.seed;
        for site in &mut self.sites()?.sites {
            site.begin(&seed, period, &outlook);
        }
        for round in 1..=3u16 {
            let start = opening.plus_secs(300 * (i64::from(round) - 1));
            let now = self.now;
            for site in &mut self.sites()?.sites {
                site.seal(contract, round, tariffs, now)?;
            }
            if round == 2 {
                self.read_meters(period, usize::MAX)?;
            }
            self.step_to(start.plus_secs(90))?;
            for site in &mut self.sites()?.sites {
                site.reveal(contract)?;
            }
            self.step_to(start.plus_secs(150))?;
            self.step_to(start.plus_secs(180))?;
            self.countersign()?;
            self.step_to(start.plus_secs(210))?;
            if round == 1 {
                self.quote_tariffs(world, period, tariffs)?;
            }
            if round < 3 {
                self.step_to(start.plus_secs(300))?;
            }
        }
        let now = self.now;
        for site in &mut self.sites()?.sites {
            site.concede(contract, tariffs, now)?;
        }
        self.step_to(opening.plus_secs(840))?;
        self.countersign()?;
        self.step_to(opening.plus_secs(870))?;
        for site in &mut self.sites()?.sites {
            site.finish(contract);
        }
        Ok(())
    }

    fn sites(&mut self) -> Result<&mut Desks, TalkError> {
        self.desks.as_mut().ok_or(TalkError::Client(ClientError::Disconnected))
    }

    fn countersign(&mut self) -> Result<(), TalkError> {
        let now = self.now;
        self.sites()?.grid.countersign(now)
    }

    /// The grid company's residual offers: an ask at retail and a bid at feed-in, for the whole period.
    fn quote_tariffs(&mut self, world: &World, period: usize, tariffs: Tariffs) -> Result<(), TalkError> {
        let (now, contract) = (self.now, contract_of(period));
        let battery = world.battery_rating();
        let ask = world.total_load(period).plus(battery);
        let bid = world.total_generation(period).plus(battery);
        let leaves = vec![
            encode_quote(
                0,
                &quote(contract, 0, Side::Sell, Price::new(tariffs.retail as i32), ask),
            )?,
            encode_quote(
                1,
                &quote(contract, 0, Side::Buy, Price::new(tariffs.feed_in as i32), bid),
            )?,
        ];
        self.sites()?.grid.account.send(leaves, now)?;
        Ok(())
    }

    /// Readings of the period two openings back: its delivery is over, its settlement to come.
    fn read_meters(&mut self, opened: usize, periods: usize) -> Result<(), TalkError> {
        let Some(period) = opened.checked_sub(2).filter(|period| *period < periods) else {
            return Ok(());
        };
        let (now, contract) = (self.now, contract_of(period));
        let desks = self.sites()?;
        let mut leaves = Vec::new();
        for site in &desks.sites {
            let (import, export) = site.reading(contract, period);
            let meter = meter_of(site.account.id);
            let reading = Reading {
                meter,
                period: contract.period(),
                revision: 1,
                import,
                export,
            };
            leaves.push(encode_reading(leaves.len() as u32, &reading)?);
        }
        desks.meters.send(leaves, now)?;
        Ok(())
    }

    /// Waits until the node holds everything, moves time on, and lets everyone read what came of it.
    fn step_to(&mut self, time: TimeNs) -> Result<(), TalkError> {
        if time <= self.now {
            return Ok(());
        }
        let desks = self
            .desks
            .as_mut()
            .ok_or(TalkError::Client(ClientError::Disconnected))?;
        for site in &mut desks.sites {
            site.account.settle()?;
        }
        for account in [&mut desks.grid.account, &mut desks.meters, &mut desks.regulator] {
            account.settle()?;
        }
        desks.regulator.client.send_step(time)?;
        let until = |account: &mut Account, take: &mut dyn FnMut(&Outbound)| -> Result<(), TalkError> {
            loop {
                match account.receive()? {
                    Outbound::Stepped(stepped) if stepped.time_ns >= time.get() => return Ok(()),
                    Outbound::RejectedMessage(message) => return Err(account.refused(message.code)),
                    // A well-behaved client is refused nothing.
                    Outbound::Rejected(rejected) => return Err(account.refused(rejected.code)),
                    message => take(&message),
                }
            }
        };
        until(&mut desks.regulator, &mut |_| {})?;
        until(&mut desks.meters, &mut |_| {})?;
        let mut heard = Vec::new();
        until(&mut desks.grid.account, &mut |message| heard.push(*message))?;
        for message in &heard {
            desks.grid.take(message);
        }
        for site in &mut desks.sites {
            let mut heard = Vec::new();
            until(&mut site.account, &mut |message| heard.push(*message))?;
            for message in &heard {
                site.take(message);
            }
        }
        self.now = time;
        self.steps += 1;
        Ok(())
    }

    /// Registers every site, then logs everybody on.
    fn open_desks(&mut self, world: &World) -> Result<(), TalkError> {
        let regulator = self.log_on(REGULATOR, "regulator")?;
        let registrar = self.secrets.registrar();
        let mut waiting = Vec::new();
        for (serial, site) in (self.first_site..).zip(&world.sites) {
            let id = ParticipantId::new(serial);
            let record = self.registration(id, site, &registrar);
            let mut client = Client::connect(self.addr, StreamKind::Private, 1)?;
            client.expect_chain(self.chain)?;
            client.send_register(&record)?;
            waiting.push((id, client, site.clone()));
        }
        for (_, client, site) in &mut waiting {
            loop {
                match client.next(Duration::from_secs(60))? {
                    Some((_, Outbound::Held(_))) => break,
                    Some((_, Outbound::RejectedMessage(message))) => {
                        let reject = wattbook_types::Reject::from_code(message.code);
                        let reject = reject.unwrap_or(wattbook_types::Reject::UnknownMessage);
                        return Err(TalkError::Refused {
                            who: site.name.clone(),
                            reject,
                        });
                    }
                    Some(_) => {}
                    None => return Err(TalkError::Silent { who: site.name.clone() }),
                }
            }
        }
        // The registrations take effect at the next Step, before anyone but the regulator has logged on.
        let mut regulator = regulator;
        let admitted = delivery_start(0).plus_secs(-1_500);
        regulator.client.send_step(admitted)?;
        loop {
            match regulator.receive()? {
                Outbound::Stepped(_) => break,
                Outbound::RejectedMessage(message) => return Err(regulator.refused(message.code)),
                _ => {}
            }
        }
        self.now = admitted;
        self.steps += 1;
        let mut sites = Vec::new();
        for (id, client, site) in waiting {
            let account = Account::finish_log_on(client, self.chain, &self.seed, self.grade, id, &site.name)?;
            let secret = derive(&self.seed, KeyRole::Client, id.get());
            sites.push(Participant::new(account, site, secret));
        }
        let grid = GridDesk {
            account: self.log_on(GRID_COMPANY, "grid company")?,
            deals: Default::default(),
            waiting: Vec::new(),
        };
        let meters = self.log_on(METER_AUTHORITY, "meter authority")?;
        self.desks = Some(Desks {
            regulator,
            grid,
            meters,
            sites,
        });
        Ok(())
    }

    fn log_on(&self, id: ParticipantId, name: &str) -> Result<Account, TalkError> {
        Account::log_on(self.addr, self.chain, &self.seed, self.grade, id, name)
    }

    fn registration(
        &self,
        id: ParticipantId,
        site: &world::Site,
        registrar: &wattbook_feed::keys::SigningKey,
    ) -> RegisterRecord {
        let (roles, kind, import_cap, export_cap) = match site.device {
            Device::Load(_) => (Roles::BUYER, MeterKind::Load, site.rating, Energy::ZERO),
            Device::Plant(_) => (Roles::SELLER, MeterKind::CleanGeneration, Energy::ZERO, site.rating),
            Device::Battery { .. } => (
                Roles::BUYER.union(Roles::SELLER),
                MeterKind::Storage,
                site.rating,
                site.rating,
            ),
        };
        let meters = vec![MeterEntry::new(&Meter {
            meter: meter_of(id),
            import_cap,
            export_cap,
            kind,
        })];
        let key = BlsSecret::derive(&self.seed, KeyRole::Participant, id.get());
        registration(self.chain, id, roles, &key, meters, registrar)
    }
}

/// A registration that the registrar has admitted.
fn registration(
    chain: ChainId,
    id: ParticipantId,
    roles: Roles,
    secret: &BlsSecret,
    meters: Vec<MeterEntry>,
    registrar: &wattbook_feed::keys::SigningKey,
) -> RegisterRecord {
    let register = Register {
        roles: roles.bits(),
        flags: 0,
        admit_serial: id.get(),
        not_after_ns: delivery_start(0).plus_secs(365 * 86_400).get(),
        public_key: secret.public_key(),
        session_spki: Hash::ZERO.0,
        group: Hash::ZERO.0,
        meters_root: meters_root(&meters).0,
    };
    RegisterRecord {
        register,
        admit: sign_ed25519(registrar, &register.admit_digest(chain)),
        possession: secret.prove_possession(&register.digest(chain)),
        meters,
    }
}

/// The contract of a period, counted from the first.
pub fn contract_of(period: usize) -> ContractId {
    ContractId::new(FIRST_PERIOD + period as u32, ContractId::PRODUCT_QUARTER_HOUR, AREA)
}

/// Gate opening of a period, by the default timetable.
fn opening_of(period: usize) -> TimeNs {
    delivery_start(period).plus_secs(-1_200)
}

/// The metering point of a site.
const fn meter_of(id: ParticipantId) -> u64 {
    1_000 + id.get()
}
