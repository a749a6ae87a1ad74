//! A node in lockstep whose disk is about to fail, and one session that steps it and hears what happens.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::sbe::session::Halted;
use wattbook_feed::signed::Grade;
use wattbook_node::chain::{self, REGULATOR, Secrets, Spec};
use wattbook_node::config::{Clock, Config, VerifyPolicy};
use wattbook_types::{ChainId, TimeNs};

/// Longest wait for a message: only a broken node takes so long.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
const SEED: [u8; 32] = [23; 32];

/// A demo chain in `dir`.
pub(crate) fn found(dir: &Path, segment_size: u64) -> ChainId {
    let spec = Spec {
        network: "stand".to_owned(),
        eic: String::new(),
        area: 1,
        demo: true,
        time: TimeNs::from_secs(1_000_000_000),
        params: Vec::new(),
        segment_size,
    };
    chain::create(dir, &spec, &Secrets::of_demo(SEED)).unwrap()
}

pub(crate) fn config() -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        clock: Clock::Lockstep,
        ..Config::default()
    };
    config.verify.policy = VerifyPolicy::OneByOne;
    config.seal.snapshot_records = 0;
    config
}

/// Sequence number of the last durable record of a directory that nobody holds.
pub(crate) fn last_seq(dir: &Path) -> u64 {
    let key = wattbook_node::keys::log_key(dir).unwrap().verifying_key();
    wattbook_ledger::check(dir, &key).unwrap().tip.next_seq().unwrap() - 1
}

/// The regulator's session.
pub(crate) struct Stand {
    pub(crate) client: Client,
    now: TimeNs,
}

impl Stand {
    /// Logs on to a node whose market stands before `now`.
    pub(crate) fn log_on(addr: SocketAddr, step: u64) -> Self {
        let mut client = Client::connect(addr, StreamKind::Private, 1).unwrap();
        let key = chain::participant_key(&SEED, REGULATOR);
        client.logon(REGULATOR, &key, Grade::Durable).unwrap();
        let mut stand = Self {
            client,
            now: TimeNs::from_secs(1_000_000_000 + step),
        };
        while !matches!(stand.hear(), Outbound::LoggedOn(_)) {}
        stand
    }

    /// The next message.
    pub(crate) fn hear(&mut self) -> Outbound {
        let message = self.client.next(WAIT).unwrap();
        message.expect("a message").1
    }

    /// Asks for a block.
    pub(crate) fn ask(&mut self) {
        self.now = self.now.plus_secs(1);
        self.client.send_step(self.now).unwrap();
    }

    /// Last record of the block that was asked for once it is durable, or why the node stopped.
    pub(crate) fn answer(&mut self) -> Result<u64, Halted> {
        loop {
            match self.hear() {
                Outbound::Stepped(stepped) => {
                    assert_eq!(stepped.time_ns, self.now.get());
                    return Ok(stepped.seq);
                }
                Outbound::Halted(halted) => return Err(halted),
                Outbound::RejectedMessage(refused) => panic!("{refused:?}"),
                _ => {}
            }
        }
    }

    /// One block.
    pub(crate) fn step(&mut self) -> Result<u64, Halted> {
        self.ask();
        self.answer()
    }

    /// Blocks until the node says that it stops: the last record that was durable, and what it says.
    pub(crate) fn step_until_halted(&mut self, mut seq: u64) -> (u64, Halted) {
        for _ in 0..10_000 {
            match self.step() {
                Ok(durable) => {
                    assert!(durable > seq);
                    seq = durable;
                }
                Err(halted) => return (seq, halted),
            }
        }
        panic!("the node never stopped");
    }

    /// Reads on until the node ends the session.
    pub(crate) fn end(mut self) {
        let deadline = Instant::now() + WAIT;
        loop {
            match self.client.next(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the session did not end"),
                Err(ClientError::EndOfSession) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
