//! A node with real sockets and files, on threads of its own.

use super::{
    PeerKey,
    archive::Shared,
    door::{Door, Request},
    epochs::{self, CHANNELS, Mailbox, Network, Parts, REPAIR},
    repair,
    seats::Committees,
    wire::Shape,
};
use crate::{
    ballot::Namespace,
    block::Format,
    proof::FinalityProof,
    seam::{Agreement, Application, Genesis, Mendable, Peer, Role, Settings, Status, Store},
};
use commonware_codec::{Copying, DecodeExt};
use commonware_consensus::types::Height;
use commonware_cryptography::{ChaCha20Poly1305, Signer as _, ed25519};
use commonware_macros::select;
use commonware_p2p::{Address, AddressableManager, Receiver as _, Recipients, Sender as _, authenticated::lookup};
use commonware_runtime::{Quota, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZUsize, ordered::Map};
use core::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};
use futures::{StreamExt, channel::mpsc};
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc as blocking,
    },
    thread,
};
use wattbook_types::{ChainId, committee::SEATS_MAX};

/// What this node is to its peers, and where it keeps the engine's files.
#[derive(Clone)]
pub struct Keys {
    /// Secret of the Ed25519 key of its connections.
    pub peer: [u8; 32],
    /// Where it listens.
    pub listen: SocketAddr,
    /// Folder of the engine's votes and certificates, nobody else's.
    pub folder: PathBuf,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, {})", self.listen, self.folder.display())
    }
}

impl Keys {
    fn signer(&self) -> Option<ed25519::PrivateKey> {
        ed25519::PrivateKey::decode(Copying(&self.peer[..])).ok()
    }

    /// The public key of the connections: what peers and committees list.
    ///
    /// # Errors
    /// The secret is no key.
    pub fn public(&self) -> Result<[u8; 32], crate::error::Error> {
        let signer = self.signer().ok_or(crate::error::Error::Secret)?;
        let mut key = [0; 32];
        key.copy_from_slice(signer.public_key().as_ref());
        Ok(key)
    }
}

/// Most nodes that may connect: committee, standbys and observers.
const PEERS_MAX: NonZeroUsize = NZUsize!(128);

/// The channel of what nodes tell each other beside agreement, and its messages a second from each.
pub(super) const WORDS: (u64, u32) = (6, 256);

/// What the running engine is asked from outside.
enum Call {
    Proof(u64, blocking::Sender<Option<FinalityProof>>),
    Track(Vec<Peer>),
    Tell(Option<[u8; 32]>, Vec<u8>),
    Stop,
}

/// A node that takes part, from [`start`] until it is stopped or dropped.
pub struct Node {
    calls: mpsc::UnboundedSender<Call>,
    status: Arc<Mutex<Status>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.status()).finish()
    }
}

/// Starts a node: the engine and the application each get a thread of their own, the engine's runtime two more.
///
/// # Errors
/// A secret that is no key, or no threads.
pub fn start(
    settings: Settings,
    keys: Keys,
    peers: &[Peer],
    genesis: Genesis,
    store: impl Store,
    application: impl Application,
) -> io::Result<Node> {
    // Behind pointers, so that the engine is compiled here and not once more by whoever starts it.
    begin(settings, keys, peers, genesis, Box::new(store), Box::new(application))
}

fn begin(
    settings: Settings,
    keys: Keys,
    peers: &[Peer],
    genesis: Genesis,
    store: Box<dyn Store>,
    application: Box<dyn Application>,
) -> io::Result<Node> {
    let signer = keys
        .signer()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let (door, application) = Door::threaded(application)?;
    let (calls, asked) = mpsc::unbounded();
    let status = Arc::new(Mutex::new(Status {
        epoch: 0,
        role: Role::Observer,
        delivered: 0,
    }));
    let shared = status.clone();
    let peers = peers.to_vec();
    let engine = thread::Builder::new().name("agreement".into()).spawn(move || {
        let config = tokio::Config::new()
            .with_storage_directory(&keys.folder)
            .with_worker_threads(2);
        tokio::Runner::new(config).start(|context| {
            let settings = Arc::new(settings);
            let parts = Parts {
                me: signer.public_key(),
                prefix: "engine".into(),
                settings,
                genesis,
                door,
                store: Arc::new(Mutex::new(store)),
                committees: Committees::default(),
                status: shared,
                mailbox: Arc::default(),
                clock_error_ns: 0,
            };
            run(context, signer, keys.listen, peers, parts, asked)
        });
    })?;
    Ok(Node {
        calls,
        status,
        threads: vec![engine, application],
    })
}

/// Peers as the network lists them; whoever has no valid key is nobody's peer.
fn listed(peers: &[Peer]) -> Map<PeerKey, Address> {
    let listed = |peer: &Peer| {
        let key = PeerKey::decode(Copying(&peer.key[..])).ok()?;
        Some((key, Address::from(peer.address)))
    };
    Map::from_iter_dedup(peers.iter().filter_map(listed))
}

/// How nodes prove who they are to each other, and encrypt.
type Handshake = Cups<Sake<ed25519::PrivateKey>, ChaCha20Poly1305>;
/// The network of a node.
type Wire = lookup::Network<tokio::Context, Handshake>;

/// A network that listens, without channels yet.
fn connect(
    context: &tokio::Context,
    signer: ed25519::PrivateKey,
    listen: SocketAddr,
    peers: &[Peer],
    chain: ChainId,
    shape: &Shape,
) -> (Wire, lookup::Oracle<PeerKey>) {
    let handshake = Handshake::new(
        Sake {
            signer,
            synchrony_bound: Duration::from_secs(5),
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let mut config = lookup::Config::local(
        handshake,
        Namespace::of(chain).as_bytes(),
        listen,
        PEERS_MAX,
        epochs::message_size_max(shape, SEATS_MAX as u32),
        NZUsize!(1024),
    );
    // The peers of now and those of the set before, while connections to them end.
    config.tracked_peer_sets = NZUsize!(2);
    config.dial_frequency = Duration::from_millis(100);
    config.peer_connection_cooldown = Duration::from_millis(100);
    let (network, mut oracle) = lookup::Network::new(context.child("network"), config);
    oracle.track(0, listed(peers));
    (network, oracle)
}

/// Registers a channel: one of [`CHANNELS`], or that of words.
fn register(network: &mut Wire, place: usize) -> (lookup::Sender<PeerKey, tokio::Context>, lookup::Receiver<PeerKey>) {
    let (number, rate) = CHANNELS.get(place).copied().unwrap_or(WORDS);
    network.register(
        number,
        Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN)),
    )
}

/// Fetches what is damaged in a store from peers, and serves theirs, before a node can start: until nothing is damaged, or
/// `stop` is raised. Nothing else that peers say is heard meanwhile.
///
/// # Errors
/// A secret that is no key, or no thread.
pub fn mend(
    chain: ChainId,
    format: Arc<dyn Format>,
    block_size_max: usize,
    keys: &Keys,
    peers: &[Peer],
    store: impl Mendable,
    stop: &AtomicBool,
) -> io::Result<()> {
    let signer = keys
        .signer()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let shape = Shape {
        format,
        size_max: block_size_max,
    };
    let me = signer.public_key();
    let others = || {
        listed(peers)
            .keys()
            .iter()
            .filter(|peer| **peer != me)
            .cloned()
            .collect()
    };
    let config = tokio::Config::new()
        .with_storage_directory(&keys.folder)
        .with_worker_threads(1);
    tokio::Runner::new(config).start(|context| async move {
        let (mut network, _oracle) = connect(&context, signer, keys.listen, peers, chain, &shape);
        // A peer that speaks on a channel which nobody has is hung up on.
        let mut channels: Vec<_> = (0..=CHANNELS.len())
            .map(|place| register(&mut network, place))
            .collect();
        let repair = channels.swap_remove(REPAIR);
        network.start();
        let is_over = |store: &_| Mendable::damaged(store).is_empty() || stop.load(Ordering::Relaxed);
        let store = Shared::new(Arc::new(Mutex::new(store)));
        repair::run(context.child("repair"), store, shape, others, is_over, repair).await;
        drop(channels);
    });
    Ok(())
}

async fn run(
    context: tokio::Context,
    signer: ed25519::PrivateKey,
    listen: SocketAddr,
    peers: Vec<Peer>,
    parts: Parts<Box<dyn Store>>,
    asked: mpsc::UnboundedReceiver<Call>,
) {
    let settings = parts.settings.clone();
    let shape = Shape {
        format: parts.genesis.format.clone(),
        size_max: settings.block_size_max,
    };
    let (mut network, oracle) = connect(&context, signer, listen, &peers, settings.chain, &shape);
    let mut channel = |place: usize| register(&mut network, place);
    let channels = Network {
        votes: channel(0),
        certificates: channel(1),
        resolver: channel(2),
        backfill: channel(3),
        blocks: channel(4),
        repair: channel(REPAIR),
    };
    let (mut words, mut heard) = channel(CHANNELS.len());
    network.start();
    let (mailbox, committees) = (parts.mailbox.clone(), parts.committees.clone());
    let door = parts.door.clone();
    context.child("words").spawn(move |_| async move {
        while let Ok((peer, bytes)) = heard.recv().await {
            let mut from = [0; 32];
            from.copy_from_slice(peer.as_ref());
            let bytes = bytes.into();
            door.tell(Request::Heard { from, bytes });
        }
    });
    let tell = move |to: Option<[u8; 32]>, bytes: Vec<u8>| {
        let to = match to {
            None => Recipients::All,
            Some(key) => match PeerKey::decode(Copying(&key[..])) {
                Ok(key) => Recipients::One(key),
                // Nobody has such a key.
                Err(_) => return,
            },
        };
        words.send(to, bytes, false);
    };
    let agreement = epochs::run(context.child("node"), parts, oracle.clone(), oracle.clone(), channels);
    select! {
        () = agreement => {},
        () = serve(asked, mailbox, committees, oracle, tell) => {},
    }
}

/// Answers calls from outside until the node is to stop.
async fn serve(
    mut asked: mpsc::UnboundedReceiver<Call>,
    mailbox: Arc<Mutex<Option<Mailbox>>>,
    committees: Committees,
    mut oracle: lookup::Oracle<PeerKey>,
    mut tell: impl FnMut(Option<[u8; 32]>, Vec<u8>),
) {
    let mut generation = 0;
    while let Some(call) = asked.next().await {
        match call {
            Call::Proof(height, answer) => {
                let engine = mailbox.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let certificate = match engine {
                    Some(engine) => engine.get_finalization(Height::new(height)).await,
                    None => None,
                };
                let proof = certificate.and_then(|certificate| {
                    committees
                        .get(certificate.proposal.round.epoch().get())?
                        .proof(&certificate)
                });
                // Whoever asked may have gone.
                let _ = answer.send(proof);
            }
            Call::Track(peers) => {
                generation += 1;
                oracle.track(generation, listed(&peers));
            }
            Call::Tell(to, bytes) => tell(to, bytes),
            Call::Stop => return,
        }
    }
}

impl Agreement for Node {
    fn status(&self) -> Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proof(&self, height: u64) -> Option<FinalityProof> {
        let (answer, heard) = blocking::channel();
        self.calls.unbounded_send(Call::Proof(height, answer)).ok()?;
        heard.recv().ok().flatten()
    }

    fn tell(&self, to: Option<[u8; 32]>, bytes: Vec<u8>) {
        // An engine that ended tells nobody.
        let _ = self.calls.unbounded_send(Call::Tell(to, bytes));
    }

    fn track(&self, peers: &[Peer]) {
        // An engine that ended has no peers.
        let _ = self.calls.unbounded_send(Call::Track(peers.to_vec()));
    }

    fn stop(&mut self) {
        let _ = self.calls.unbounded_send(Call::Stop);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}
