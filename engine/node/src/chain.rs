//! A new chain: its keys, its genesis, its empty ledger.

use crate::config::{CONFIG_FILE, Peer};
use crate::execute::{Executor, StartError};
use crate::keys::{self, KeyFileError};
use ed25519_dalek::SigningKey;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use thiserror::Error;
use wattbook_agreement::ballot::BallotKey;
use wattbook_feed::keys::{BlsSecret, KeyRole};
use wattbook_feed::signed::genesis::{FLAG_DEMO, padded};
use wattbook_feed::signed::{Alias, Genesis, GenesisAccount, GenesisDelegate, Register, meters_root};
use wattbook_ledger::{Options, Store};
use wattbook_types::committee::{SEATS_MAX, SEATS_MIN};
use wattbook_types::{ChainId, Hash, Param, ParticipantId, Roles, TimeNs, sha256};

/// The regulator's account.
pub const REGULATOR: ParticipantId = ParticipantId::new(1);
/// The grid company's account.
pub const GRID_COMPANY: ParticipantId = ParticipantId::new(2);
/// The meter authority's account.
pub const METER_AUTHORITY: ParticipantId = ParticipantId::new(3);
/// The first serial the registrar hands out; with a committee its delegates have it and those after it.
pub const FIRST_SERIAL: u64 = 4;

/// Most nodes that a committee is made with.
const NODES_MAX: usize = 100;

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
    /// A committee that cannot be.
    #[error("a committee has 4 to 64 delegates, at most 100 nodes, and ports below 65,236")]
    Committee,
    /// A node's configuration cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
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

/// What a committee is made from.
#[derive(Clone, Copy, Debug)]
pub struct CommitteeSpec {
    /// Seats; at least four.
    pub delegates: usize,
    /// Nodes that follow without a seat.
    pub observers: usize,
    /// Sessions of node `i` are taken at this port + `i`, links of other nodes 100 above that, metrics 200 above that.
    pub port: u16,
}

/// A node of a committee, made but not started.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its directory: ledger, keys, configuration.
    pub dir: PathBuf,
    /// Its account, if it has a seat.
    pub participant: Option<ParticipantId>,
    /// Where it takes sessions.
    pub listen: SocketAddr,
    /// Its links.
    pub peer: Peer,
    /// Where its metrics are read.
    pub metrics: SocketAddr,
}

/// Makes a chain with a committee: a directory for each node inside `out`, all with the same genesis, log key and pseudonyms'
/// key, each with keys of its own for links and ballots. What the registrar and the first accounts sign with lies
/// in `out/keys`.
///
/// # Errors
/// [`InitError`]; a directory that holds a ledger is never touched.
pub fn create_committee(
    out: &Path,
    spec: &Spec,
    secrets: &Secrets,
    committee: CommitteeSpec,
) -> Result<(ChainId, Vec<Member>), InitError> {
    let CommitteeSpec {
        delegates,
        observers,
        port,
    } = committee;
    let count = delegates.saturating_add(observers);
    if !(SEATS_MIN..=SEATS_MAX).contains(&delegates) || count > NODES_MAX || port > u16::MAX - 300 {
        return Err(InitError::Committee);
    }
    let fresh = |what: &str, at: usize| -> Result<[u8; 32], InitError> {
        if spec.demo {
            return Ok(sha256(&[&secrets.seed, what.as_bytes(), &(at as u64).to_le_bytes()]).0);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(InitError::Random)?;
        Ok(secret)
    };
    let (mut members, mut own, mut seats, mut accounts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for at in 0..count {
        let address = |above: u16| {
            // BOUND: at most NODES_MAX nodes, checked above.
            SocketAddr::from(([127, 0, 0, 1], port + above + at as u16))
        };
        let peer_secret = fresh("peer", at)?;
        let peer_key = SigningKey::from_bytes(&peer_secret).verifying_key().to_bytes();
        let seat = if at < delegates {
            let participant = ParticipantId::new(FIRST_SERIAL + at as u64);
            let ballot = BallotKey::generate(&fresh("ballot", at)?).map_err(|_| InitError::Committee)?;
            let seed = if spec.demo {
                secrets.seed
            } else {
                fresh("participant", at)?
            };
            seats.push(GenesisDelegate {
                participant,
                ed25519: peer_key,
                bls: ballot.public(),
            });
            accounts.push((participant, Roles::DELEGATE, seed));
            Some((participant, ballot.to_bytes(), seed))
        } else {
            None
        };
        members.push(Member {
            dir: out.join(format!("node{at}")),
            participant: seat.map(|(participant, ..)| participant),
            listen: address(0),
            peer: Peer {
                key: peer_key,
                address: address(100),
            },
            metrics: address(200),
        });
        own.push((peer_secret, seat));
    }
    let mut spec = spec.clone();
    // As many are elected as sit at the beginning, unless somebody wants it otherwise.
    if !spec.params.iter().any(|(param, _)| *param == Param::Seats) {
        spec.params
            .push((Param::Seats, i64::try_from(delegates).unwrap_or(i64::MAX)));
    }
    let bytes = genesis(&spec, secrets, &accounts, &seats)?.encode();
    let (executor, roots) = Executor::start(&bytes)?;
    let log_key = wattbook_feed::keys::log_key(&secrets.seed);
    let peers: Vec<String> = members
        .iter()
        .map(|member| format!("    \"{}\",\n", member.peer))
        .collect();
    for (member, (peer_secret, seat)) in members.iter().zip(own) {
        let (dir, options) = (
            &member.dir,
            Options {
                segment_size: spec.segment_size,
            },
        );
        drop(Store::create(dir, &bytes, &log_key, options, roots)?);
        keys::write(dir, keys::LOG_KEY, log_key.as_bytes())?;
        keys::write(dir, keys::ALIAS_KEY, &wattbook_feed::keys::alias_key(&secrets.seed))?;
        keys::write(dir, keys::PEER_KEY, &peer_secret)?;
        if let Some((participant, ballot, seed)) = seat {
            keys::write(dir, keys::BALLOT_KEY, &ballot)?;
            keys::write(dir, &participant_key_file(participant), &seed)?;
        }
        let text = format!(
            "listen = \"{}\"\n\n[replicate]\nlisten = \"{}\"\npeers = [\n{}]\n\n[metrics]\nlisten = \"{}\"\n",
            member.listen,
            member.peer.address,
            peers.concat(),
            member.metrics
        );
        let path = dir.join(CONFIG_FILE);
        std::fs::write(&path, text).map_err(|source| InitError::Config { path, source })?;
    }
    keys::write(out, keys::REGISTRAR_KEY, secrets.registrar().as_bytes())?;
    for (serial, seed) in (1..).zip(&secrets.accounts) {
        keys::write(out, &participant_key_file(ParticipantId::new(serial)), seed)?;
    }
    Ok((executor.chain(), members))
}

/// Makes genesis, writes keys and ledger into `dir`, and returns the chain.
///
/// # Errors
/// [`InitError`]; a directory that holds a ledger is never touched.
pub fn create(dir: &Path, spec: &Spec, secrets: &Secrets) -> Result<ChainId, InitError> {
    let genesis = genesis(spec, secrets, &[], &[])?;
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

fn genesis(
    spec: &Spec,
    secrets: &Secrets,
    more: &[(ParticipantId, Roles, [u8; 32])],
    delegates: &[GenesisDelegate],
) -> Result<Genesis, InitError> {
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
    let own = roles.iter().zip(&secrets.accounts);
    let own = own.map(|((participant, roles), seed)| (*participant, *roles, *seed));
    let accounts = own.chain(more.iter().copied()).map(|(participant, roles, seed)| {
        let secret = participant_key(&seed, participant);
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
        delegates: delegates.to_vec(),
    })
}
