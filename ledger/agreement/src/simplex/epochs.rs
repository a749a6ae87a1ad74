//! One node of a committee, epoch after epoch: generic over runtime, network and store, so that a simulation runs the same.

use super::{
    Digest, PeerKey, Scheme,
    application::Hosted,
    archive::{Archive, Shared},
    door::{Door, Request},
    journal::Place,
    repair,
    seats::{Committees, Seats},
    watch::Watch,
    wire::{Carried, Shape, digest},
};
use crate::{
    ballot::Namespace,
    seam::{Answer, Final, Genesis, Settings, Status, Store},
};
use commonware_actor::Feedback;
use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{
        self, Start, Update,
        core::Actor as Marshal,
        standard::{Inline, Standard},
    },
    simplex::{
        self, Floor,
        config::{ForwardPolicy, SkipBudget, SkipPolicy},
    },
    types::{Epoch, EpochInfo, Epocher, Height, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible};
use commonware_macros::select;
use commonware_p2p::{
    Blocker, Provider, Receiver, Sender,
    utils::mux::{Builder as _, Muxer},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Metrics, Spawner, Storage, buffer::paged::CacheRef};
use commonware_storage::{archive::prunable, translator::EightCap};
use commonware_utils::{
    NZDuration, NZU16, NZU64, NZUsize,
    acknowledgement::{Acknowledgement as _, Exact},
    vec::NonEmptyVec,
};
use core::time::Duration;
use futures::{StreamExt, channel::mpsc};
use rand_core::CryptoRng;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tracing::info;
use wattbook_types::schedule::Schedule;

/// Where epochs begin and end. Genesis is counted to epoch 0, which it precedes.
#[derive(Clone)]
struct Epochs(Schedule);

impl Epocher for Epochs {
    fn containing(&self, height: Height) -> Option<EpochInfo> {
        let epoch = Epoch::new(self.0.epoch_of(height.get()));
        Some(EpochInfo::new(epoch, height, self.first(epoch)?, self.last(epoch)?))
    }

    fn first(&self, epoch: Epoch) -> Option<Height> {
        match epoch.get() {
            0 => Some(Height::zero()),
            epoch => Some(Height::new(epoch.checked_mul(self.0.epoch_blocks)?.checked_add(1)?)),
        }
    }

    fn last(&self, epoch: Epoch) -> Option<Height> {
        Some(Height::new(
            epoch.get().checked_add(1)?.checked_mul(self.0.epoch_blocks)?,
        ))
    }
}

/// How to ask the engine for blocks and certificates.
pub(super) type Mailbox = marshal::core::Mailbox<Scheme, Standard<Carried>>;

/// The network's channels, by number, and how many messages a peer may send on each in a second.
///
/// Votes come three a view, so 128 a second are ten times what blocks of 100 ms need. The network sets memory aside for a
/// second of messages from every peer there may be.
pub(super) const CHANNELS: [(u64, u32); 6] = [(0, 128), (1, 128), (2, 128), (3, 256), (4, 32), (5, 16)];

/// The place of repair's channel in [`CHANNELS`].
pub(super) const REPAIR: usize = 5;

/// Largest message of a committee of at most `seats` seats.
pub(super) fn message_size_max(shape: &Shape, seats: u32) -> u32 {
    let engine = commonware_p2p::max_message_size(&[
        commonware_p2p::utils::mux::prefixed(simplex::max_payload_size::<Scheme, Digest>(seats)),
        marshal::max_payload_size::<Standard<Carried>, Scheme>(seats, shape),
    ]);
    // A repaired block comes with its kind and height.
    engine.max(u32::try_from(shape.size_max + 64).unwrap_or(u32::MAX))
}

/// A sender and receiver for each of [`CHANNELS`].
pub(super) struct Network<Tx, Rx> {
    pub(super) votes: (Tx, Rx),
    pub(super) certificates: (Tx, Rx),
    pub(super) resolver: (Tx, Rx),
    pub(super) backfill: (Tx, Rx),
    pub(super) blocks: (Tx, Rx),
    pub(super) repair: (Tx, Rx),
}

/// What a node is made of.
pub(super) struct Parts<S> {
    pub(super) me: PeerKey,
    /// Begins the name of every file of the engine.
    pub(super) prefix: String,
    pub(super) settings: Arc<Settings>,
    pub(super) genesis: Genesis,
    pub(super) door: Door,
    pub(super) store: Arc<Mutex<S>>,
    pub(super) committees: Committees,
    pub(super) status: Arc<Mutex<Status>>,
    /// Where the engine's mailbox is left for whoever serves certificates.
    pub(super) mailbox: Arc<Mutex<Option<Mailbox>>>,
    /// What its clock is wrong by, ns; simulations set it.
    pub(super) clock_error_ns: i64,
}

/// Final blocks on their way to the application.
#[derive(Clone)]
struct Delivery(mpsc::UnboundedSender<(Digested<Carried>, Exact)>);

impl Reporter for Delivery {
    type Activity = Update<Carried>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        if let Update::Block(block, ack) = update {
            // Only a node that ends stops listening.
            let _ = self.0.unbounded_send((block, ack));
        }
        Feedback::Ok
    }
}

/// Runs a node until its runtime ends.
///
/// # Panics
/// If the storage fails, or the application has no committee for the epoch that its blocks lead to.
pub(super) async fn run<E, S, B, M, Tx, Rx>(context: E, parts: Parts<S>, blocker: B, peers: M, network: Network<Tx, Rx>)
where
    E: Spawner + Metrics + Clock + Storage + CryptoRng,
    S: Store,
    B: Blocker<PublicKey = PeerKey> + Sync,
    M: Provider<PublicKey = PeerKey> + Sync,
    Tx: Sender<PublicKey = PeerKey>,
    Rx: Receiver<PublicKey = PeerKey>,
{
    let Parts {
        me,
        prefix,
        settings,
        genesis,
        door,
        store,
        committees,
        status,
        mailbox,
        clock_error_ns,
    } = parts;
    let schedule = settings.schedule;
    let namespace = Namespace::of(settings.chain);
    let shape = Shape {
        format: genesis.format.clone(),
        size_max: settings.block_size_max,
    };
    let store = Shared::new(store);
    let page_cache = CacheRef::new(NZU16!(4084), NZUsize!(1024));
    let place = Place {
        prefix: prefix.clone(),
        page_cache: page_cache.clone(),
        buffer: NZUsize!(1 << 20),
    };
    let epocher = Epochs(schedule);

    let certificates = prunable::Archive::init(
        context.child("certificates"),
        prunable::Config {
            translator: EightCap,
            metadata_partition: format!("{prefix}-certificates-meta"),
            key_partition: format!("{prefix}-certificates-key"),
            value_partition: format!("{prefix}-certificates-value"),
            key_page_cache: page_cache.clone(),
            compression: None,
            codec_config: wattbook_types::committee::SEATS_MAX,
            items_per_section: NZU64!(4096),
            key_write_buffer: NZUsize!(1 << 16),
            value_write_buffer: NZUsize!(1 << 16),
            replay_buffer: NZUsize!(1 << 20),
        },
    )
    .await
    .expect("the store of certificates opens");

    // The engine must know the committee of every epoch it may still be asked to check certificates of.
    let tip_epoch = schedule.epoch_of(store.lock().tip() + 1);
    for epoch in 0..=tip_epoch {
        let seating = door.ask(|answer| Request::Seating { epoch, answer }).await.flatten();
        if let Some(seating) = seating {
            // Whether it may vote is decided when the epoch's engine starts.
            let seats = Seats::new(seating, &namespace, false).expect("a committee has valid keys");
            committees.put(epoch, Arc::new(seats));
        }
    }

    let archive = Archive {
        store: store.clone(),
        shape: shape.clone(),
        genesis: genesis.block.clone(),
        ahead: BTreeMap::new(),
    };
    let anchor = Digested::precomputed(Carried(genesis.block.clone()), digest(genesis.block.head().digest));
    let (actor, marshal, floor) = Marshal::init(
        context.child("marshal"),
        certificates,
        archive,
        marshal::Config {
            provider: committees.clone(),
            epocher: epocher.clone(),
            start: Start::Genesis(anchor),
            partition_prefix: format!("{prefix}-marshal"),
            mailbox_size: NZUsize!(1024),
            view_retention: ViewDelta::new(64),
            prunable_items_per_section: NZU64!(1024),
            page_cache: page_cache.clone(),
            replay_buffer: NZUsize!(1 << 20),
            key_write_buffer: NZUsize!(1 << 16),
            value_write_buffer: NZUsize!(1 << 20),
            block_codec_config: shape.clone(),
            max_repair: NZUsize!(64),
            max_pending_acks: NZUsize!(16),
            strategy: Sequential,
        },
    )
    .await;
    *mailbox.lock().unwrap_or_else(PoisonError::into_inner) = Some(marshal.clone());
    let processed = floor.processed().map_or(0, |processed| processed.height().get());
    let delivered = Arc::new(AtomicU64::new(processed));
    info!(tip = store.lock().tip(), processed, "agreement starts");

    let backfill = marshal::resolver::p2p::init(
        context.child("backfill"),
        marshal::resolver::p2p::Config {
            public_key: me.clone(),
            peer_provider: peers.clone(),
            blocker: blocker.clone(),
            mailbox_size: NZUsize!(1024),
            fetch_timeout: NZDuration!(Duration::from_secs(1)),
            fetch_retry_delay: Duration::from_millis(50),
            priority_requests: false,
            priority_responses: false,
        },
        network.backfill,
    );
    let (buffer_engine, buffer) = buffered::Engine::new(
        context.child("buffer"),
        buffered::Config {
            public_key: me.clone(),
            mailbox_size: NZUsize!(1024),
            deque_size: 32,
            priority: false,
            codec_config: shape.clone(),
            peer_provider: peers.clone(),
            strategy: Sequential,
        },
    );
    buffer_engine.start(network.blocks);
    let (sender, mut finals) = mpsc::unbounded();
    actor.start(Delivery(sender), buffer, backfill);

    let hosted = Hosted {
        door: door.clone(),
        settings: settings.clone(),
        shape: shape.clone(),
        committees: committees.clone(),
        delivered: delivered.clone(),
        clock_error_ns,
    };
    let automaton = Inline::new(context.child("inline"), hosted, marshal.clone(), epocher.clone());
    {
        let (store, shape, committees) = (store.clone(), shape.clone(), committees.clone());
        let others = move || committees.latest().into_iter().filter(|peer| *peer != me).collect();
        context
            .child("repair")
            .spawn(move |context| repair::run(context, store, shape, others, |_| false, network.repair));
    }

    let (mux, mut votes, mut later_votes) =
        Muxer::builder(context.child("votes_mux"), network.votes.0, network.votes.1)
            .with_backup()
            .build();
    mux.start();
    let (mux, mut certificates, mut later_certificates) = Muxer::builder(
        context.child("certificates_mux"),
        network.certificates.0,
        network.certificates.1,
    )
    .with_backup()
    .build();
    mux.start();
    let (mux, mut resolver) = Muxer::new(context.child("resolver_mux"), network.resolver.0, network.resolver.1);
    mux.start();

    let mut epoch = schedule.epoch_of(processed + 1);
    let mut boundary = match epoch {
        0 => digest(genesis.block.head().digest),
        _ => {
            let height = Height::new(epoch * schedule.epoch_blocks);
            marshal
                .get_block(height)
                .await
                .expect("the border block that was delivered is stored")
                .digest()
        }
    };
    loop {
        let seating = door.ask(|answer| Request::Seating { epoch, answer }).await.flatten();
        let seating = seating.expect("the application knows the committee of the epoch that follows its last block");
        let mut seats = Seats::new(seating.clone(), &namespace, true).expect("a committee has valid keys");
        if !place.may_vote(&context, epoch, &seats).await {
            seats = Seats::new(seating, &namespace, false).expect("a committee has valid keys");
        }
        let seats = Arc::new(seats);
        committees.put(epoch, seats.clone());
        {
            let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
            (status.epoch, status.role) = (epoch, seats.role);
        }
        door.tell(Request::Seated {
            epoch,
            role: seats.role,
        });
        let patience = settings.leader_timeout;
        let watch = Watch::new(door.clone(), schedule, namespace, epoch, seats.clone());
        let engine = simplex::Engine::new(
            context.child("consensus").with_attribute("epoch", epoch),
            simplex::Config {
                scheme: seats.scheme.as_ref().clone(),
                elector: seats.leaders(&schedule, patience * 6),
                blocker: blocker.clone(),
                automaton: automaton.clone(),
                relay: automaton.clone(),
                reporter: Reporters::from((automaton.clone(), watch)),
                track_historical_votes: true,
                strategy: Sequential,
                partition: place.partition(epoch),
                mailbox_size: NZUsize!(1024),
                epoch: Epoch::new(epoch),
                floor: Floor::Genesis(boundary),
                replay_buffer: NZUsize!(1 << 20),
                write_buffer: place.buffer,
                page_cache: page_cache.clone(),
                leader_timeout: patience,
                certification_timeout: patience * 2,
                timeout_retry: patience * 2,
                view_retention: ViewDelta::new(64),
                skip: SkipPolicy::Enabled {
                    timeout: patience * 4,
                    budget: SkipBudget::Participants,
                },
                fetch_timeout: NZDuration!(Duration::from_millis(500)),
                fetch_retry_delay: Duration::from_millis(50),
                forward: ForwardPolicy::SilentVoters,
            },
        );
        let handle = engine.start(
            votes
                .register(epoch)
                .await
                .expect("an epoch's channel is registered once"),
            certificates
                .register(epoch)
                .await
                .expect("an epoch's channel is registered once"),
            resolver
                .register(epoch)
                .await
                .expect("an epoch's channel is registered once"),
        );
        let last = Height::new((epoch + 1) * schedule.epoch_blocks);
        // Whoever speaks on a later epoch's channel has this epoch's border block and its certificate.
        let behind = |message: Option<(u64, PeerKey)>| {
            if let Some((theirs, peer)) = message
                && theirs > epoch
            {
                marshal.hint_finalized(last, NonEmptyVec::new(peer));
            }
        };
        loop {
            let (block, ack) = select! {
                block = finals.next() => match block {
                    Some(block) => block,
                    None => return,
                },
                message = later_votes.recv() => {
                    behind(message.map(|(theirs, (peer, _))| (theirs, peer)));
                    continue;
                },
                message = later_certificates.recv() => {
                    behind(message.map(|(theirs, (peer, _))| (theirs, peer)));
                    continue;
                },
            };
            let height = block.inner().0.head().height;
            if height == 0 {
                // Genesis is where the application begins.
                ack.acknowledge();
                continue;
            }
            let proof = marshal
                .get_finalization(Height::new(height))
                .await
                .and_then(|certificate| {
                    committees
                        .get(certificate.proposal.round.epoch().get())?
                        .proof(&certificate)
                });
            let digest_of = block.digest();
            let (heard, delivery) = (delivered.clone(), status.clone());
            let (border, crossed) = futures::channel::oneshot::channel();
            let done = Answer::new(move |()| {
                heard.fetch_max(height, Ordering::AcqRel);
                delivery.lock().unwrap_or_else(PoisonError::into_inner).delivered = heard.load(Ordering::Acquire);
                ack.acknowledge();
                // Only the border block is waited for.
                let _ = border.send(());
            });
            door.tell(Request::Deliver {
                block: Final {
                    block: block.inner().0.clone(),
                    proof,
                },
                done,
            });
            if height == last.get() {
                if crossed.await.is_err() {
                    return;
                }
                boundary = digest_of;
                handle.abort();
                if epoch > 0 {
                    place.forget(&context, epoch - 1).await;
                }
                epoch += 1;
                break;
            }
        }
    }
}
