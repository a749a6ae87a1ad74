//! A new chain: its keys, its genesis, its empty ledger.

use crate::execute::{Executor, StartError};
use crate::keys::{self, KeyFileError};
use ed25519_dalek::SigningKey;
use std::path::Path;
use thiserror::Error;
use wattbook_feed::keys::{BlsSecret, KeyRole};
use wattbook_feed::signed::genesis::{FLAG_DEMO, padded};
use wattbook_feed::signed::{Alias, Genesis, GenesisAccount, Register, meters_root};
use wattbook_ledger::{Options, Store};
use wattbook_types::{ChainId, Hash, Param, ParticipantId, Roles, TimeNs};

/// The regulator's account.
pub const REGULATOR: ParticipantId = ParticipantId::new(1);
/// The grid company's account.
pub const GRID_COMPANY: ParticipantId = ParticipantId::new(2);
/// The meter authority's account.
pub const METER_AUTHORITY: ParticipantId = ParticipantId::new(3);
/// The first serial the registrar hands out.
pub const FIRST_SERIAL: u64 = 4;

/// What a chain is made from.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name of the network, at most 32 bytes.
    pub network: String,
    /// Energy Identification Code of the delivery area, at most 16 bytes.
    pub eic: String,
    /// Number of the delivery area in contracts.
    pub area: u16,
    /// A demonstration: loopback only, every secret derived from the seed.
    pub demo: bool,
    /// Genesis time.
    pub time: TimeNs,
    /// Parameters that differ from their defaults.
    pub params: Vec<(Param, i64)>,
    /// Size of a ledger segment, bytes.
    pub segment_size: u64,
}

/// Where the secrets of a chain come from.
#[derive(Clone)]
pub struct Secrets {
    /// Log, alias and registrar keys; in a demo, everybody's.
    pub seed: [u8; 32],
    /// Seeds of the three genesis accounts.
    pub accounts: [[u8; 32]; 3],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Why a chain cannot be made.
#[derive(Debug, Error)]
pub enum InitError {
    /// The operating system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Random(getrandom::Error),
    /// A name is too long for its field.
    #[error("{what} `{value}` is longer than {max} bytes")]
    TooLong {
        /// Which.
        what: &'static str,
        /// What was given.
        value: String,
        /// What fits.
        max: usize,
    },
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    /// The genesis made cannot start a market: a parameter contradicts another.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Secrets {
    /// Fresh secrets from the operating system.
    ///
    /// # Errors
    /// [`InitError::Random`].
    pub fn random() -> Result<Self, InitError> {
        let fresh = || {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map(|()| secret).map_err(InitError::Random)
        };
        Ok(Self {
            seed: fresh()?,
            accounts: [fresh()?, fresh()?, fresh()?],
        })
    }

    /// A demonstration's: everything from one seed.
    pub const fn of_demo(seed: [u8; 32]) -> Self {
        Self {
            seed,
            accounts: [seed; 3],
        }
    }

    /// The registrar's key.
    pub fn registrar(&self) -> SigningKey {
        wattbook_feed::keys::registrar_key(&self.seed)
    }
}

/// A participant's signing key from its seed.
pub fn participant_key(seed: &[u8; 32], participant: ParticipantId) -> BlsSecret {
    BlsSecret::derive(seed, KeyRole::Participant, participant.get())
}

/// Name of a participant's key file.
pub fn participant_key_file(participant: ParticipantId) -> String {
    format!("participant-{participant}.key")
}

/// Makes genesis, writes keys and ledger into `dir`, and returns the chain.
///
/// # Errors
/// [`InitError`]; a directory that holds a ledger is never touched.
pub fn create(dir: &Path, spec: &Spec, secrets: &Secrets) -> Result<ChainId, InitError> {
    let genesis = genesis(spec, secrets)?;
    let bytes = genesis.encode();
    let (_, roots) = Executor::start(&bytes)?;
    let log_key = wattbook_feed::keys::log_key(&secrets.seed);
    let store = Store::create(
        dir,
        &bytes,
        &log_key,
        Options {
            segment_size: spec.segment_size,
        },
        roots,
    )?;
    keys::write(dir, keys::LOG_KEY, log_key.as_bytes())?;
    keys::write(dir, keys::ALIAS_KEY, &wattbook_feed::keys::alias_key(&secrets.seed))?;
    keys::write(dir, keys::REGISTRAR_KEY, secrets.registrar().as_bytes())?;
    for (serial, seed) in (1..).zip(&secrets.accounts) {
        keys::write(dir, &participant_key_file(ParticipantId::new(serial)), seed)?;
    }
    Ok(store.chain())
}

fn genesis(spec: &Spec, secrets: &Secrets) -> Result<Genesis, InitError> {
    let too_long = |what, value: &str, max| InitError::TooLong {
        what,
        value: value.to_owned(),
        max,
    };
    let roles = [
        (REGULATOR, Roles::REGULATOR),
        (GRID_COMPANY, Roles::BUYER.union(Roles::SELLER).union(Roles::GRID)),
        (METER_AUTHORITY, Roles::METER),
    ];
    let accounts = roles.iter().zip(&secrets.accounts).map(|((participant, roles), seed)| {
        let secret = participant_key(seed, *participant);
        let register = Register {
            roles: roles.bits(),
            flags: 0,
            admit_serial: participant.get(),
            not_after_ns: u64::MAX,
            public_key: secret.public_key(),
            session_spki: Hash::ZERO.0,
            group: Hash::ZERO.0,
            meters_root: meters_root(&[]).0,
        };
        // Inside genesis the chain id is zero: it is the digest of these very bytes.
        GenesisAccount {
            register,
            possession: secret.prove_possession(&register.digest(ChainId::default())),
        }
    });
    let mut params = spec.params.clone();
    params.sort_unstable_by_key(|(param, _)| *param);
    Ok(Genesis {
        network: padded(&spec.network).ok_or_else(|| too_long("network", &spec.network, 32))?,
        eic: padded(&spec.eic).ok_or_else(|| too_long("eic", &spec.eic, 16))?,
        area: spec.area,
        flags: if spec.demo { FLAG_DEMO } else { 0 },
        time: spec.time,
        registrar: secrets.registrar().verifying_key().to_bytes(),
        log_key: wattbook_feed::keys::log_key(&secrets.seed).verifying_key().to_bytes(),
        alias_commitment: Alias::commitment(&wattbook_feed::keys::alias_key(&secrets.seed)),
        accounts: accounts.collect(),
        params,
        delegates: Vec::new(),
    })
}
