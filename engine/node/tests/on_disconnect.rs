//! Cancels deposited with a session: sequenced when it ends, however it ends; replaced, withdrawn, refused, too late; never
//! used when the node stops.
//!
//! The node takes three sessions: once the third is replaced by a new one, matching has heard of its end.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod wire;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::sbe::session::HeldKind;
use wattbook_feed::signed::{LeafBytes, SealedEnvelope, encode_cancel, encode_quote, record_kind};
use wattbook_node::topology::Node;
use wattbook_types::command::{ALL_INDEXES, Cancel};
use wattbook_types::{
    CloseReason, ContractId, Energy, Param, ParticipantId, Price, Quote, Reject, Roles, SelfTrade, Side, TimeInForce,
    TimeNs,
};
use wire::{Desk, Town, key, lockstep, registration, reject};

const OWNER: ParticipantId = ParticipantId::new(4);
const OTHER: ParticipantId = ParticipantId::new(5);
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

/// `seconds` after delivery start.
fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

fn ask() -> LeafBytes {
    let quote = Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side: Side::Sell,
        time_in_force: TimeInForce::Gate,
        price: Price::new(30_000),
        charge_cap: -1,
        energy: Energy::new(1_000),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    };
    encode_quote(0, &quote).unwrap()
}

/// A cancel of what an envelope brought; nonce 0: of everything.
fn cancel(index: u32, target_nonce: u64) -> LeafBytes {
    let cancel = Cancel {
        contract: None,
        target_nonce,
        target_index: ALL_INDEXES,
    };
    encode_cancel(index, &cancel)
}

/// A town whose book is open, its owner logged on, and the public feed.
struct Scene {
    town: Town,
    public: Client,
    /// Nonce of the owner's next envelope.
    nonce: u64,
}

impl Scene {
    fn open(dir: &Path) -> Self {
        let mut config = lockstep();
        config.ingest.sessions_max = 3;
        config.verify.bad_signatures_max = 2;
        let params = vec![(Param::Rounds, 1), (Param::Range, 0), (Param::Concession, 0)];
        let mut town = Town::start(dir, at(-1_300), params, &config);
        let mut door = Desk::open(town.node.addr, 1);
        for who in [OWNER, OTHER] {
            let record = registration(town.chain, who, Roles::BUYER.union(Roles::SELLER));
            town.register(&mut door, &record);
        }
        town.witnessed_step_to(at(-1_200));
        town.witnessed_step_to(at(-990));
        drop(door);
        let public = reached(&town.node, |addr| Client::connect(addr, StreamKind::Public, 0));
        let mut scene = Self { town, public, nonce: 1 };
        scene.log_on();
        scene
    }

    /// Logs the owner on, as soon as the node has let go of its last session.
    fn log_on(&mut self) {
        let client = reached(&self.town.node, |addr| Client::connect(addr, StreamKind::Private, 1));
        self.town.log_on_with(OWNER, client);
    }

    fn sealed(&mut self, leaves: Vec<LeafBytes>) -> SealedEnvelope {
        self.town.desk(OWNER).nonce = self.nonce;
        let envelope = self.town.envelope(OWNER, leaves);
        self.nonce += 1;
        envelope
    }

    /// An ask that rests: its nonce, and its reference in the public feed.
    fn rest(&mut self) -> (u64, u64) {
        self.town.desk(OWNER).nonce = self.nonce;
        let nonce = self.town.post(OWNER, vec![ask()]);
        self.nonce += 1;
        self.town.witnessed_step();
        let reference = |message: &Outbound| match message {
            Outbound::Opened(opened) if opened.order.nonce == nonce => Some(opened.order.reference),
            _ => None,
        };
        let heard = &self.town.desk(OWNER).heard;
        (nonce, heard.iter().find_map(reference).expect("an order"))
    }

    /// Deposits cancels, or withdraws them; the nonce of the answer comes back.
    fn deposit(&mut self, cancels: Option<&SealedEnvelope>) -> Result<u64, Reject> {
        let desk = self.town.desk(OWNER);
        desk.client.send_on_disconnect(cancels).unwrap();
        loop {
            match desk.hear() {
                Outbound::Held(held) => {
                    assert_eq!(
                        (held.participant, held.kind),
                        (OWNER.get(), HeldKind::OnDisconnect as u8)
                    );
                    return Ok(held.nonce);
                }
                Outbound::RejectedMessage(refused) => return Err(reject(refused.code)),
                _ => {}
            }
        }
    }

    /// Ends the owner's session, logs on again, moves time on by a second; the orders that were cancelled.
    fn after(&mut self, end: impl FnOnce(Desk)) -> BTreeSet<u64> {
        end(self.town.leave(OWNER));
        self.log_on();
        self.town.witnessed_step();
        let (now, mut cancelled) = (self.town.now.get(), BTreeSet::new());
        loop {
            match self.public.next(wire::WAIT).unwrap().expect("a public message").1 {
                Outbound::Closed(closed) => {
                    assert_eq!(closed.reason, CloseReason::Cancelled as u8);
                    assert!(cancelled.insert(closed.order.reference));
                }
                Outbound::Ticked(ticked) if ticked.time_ns == now => return cancelled,
                _ => {}
            }
        }
    }
}

/// A session, again for as long as the node holds as many as it takes.
fn reached(node: &Node, connect: impl Fn(std::net::SocketAddr) -> Result<Client, ClientError>) -> Client {
    let deadline = Instant::now() + wire::WAIT;
    while Instant::now() < deadline {
        match connect(node.addr) {
            Ok(client) => return client,
            Err(ClientError::Refused(Reject::TooManySessions)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the node never let go of a session");
}

/// Every record of a ledger but Ticks.
fn records(dir: &Path) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let log_key = wattbook_feed::keys::log_key(&wire::SEED).verifying_key();
    let visit = |block: &wattbook_ledger::Block<'_>| {
        let commands = block.records.iter().filter(|record| record.kind != record_kind::TICK);
        found.extend(commands.map(|record| record.payload.to_vec()));
        Ok::<(), Infallible>(())
    };
    wattbook_ledger::check_with(dir, &log_key, visit).unwrap();
    found
}

#[test]
fn cancels_are_sequenced_when_their_session_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::open(dir.path());

    // Dropped, logged out, cut off by the node: each ends the session.
    let secret = key(OWNER);
    // Its nonce is not counted up.
    let forged = |scene: &mut Scene| {
        let mut envelope = scene.sealed(vec![cancel(0, 0)]);
        scene.nonce -= 1;
        envelope.signature = secret.sign(&wattbook_types::Hash([1; 32]));
        envelope
    };
    for way in 0..3 {
        let (_, first) = scene.rest();
        let (_, second) = scene.rest();
        let cancels = scene.sealed(vec![cancel(0, 0)]);
        assert_eq!(scene.deposit(Some(&cancels)), Ok(cancels.header.nonce));
        // Nothing happens while the session stands.
        scene.town.witnessed_step();
        scene.town.recorded.insert(cancels.to_payload());
        let bad = forged(&mut scene);
        let cancelled = scene.after(|desk| match way {
            0 => drop(desk),
            1 => desk.client.logout().unwrap(),
            _ => {
                let mut desk = desk;
                assert_eq!(refusal_of(&mut desk, &bad), Reject::BadSignature);
                assert_eq!(refusal_of(&mut desk, &bad), Reject::SessionSuspended);
                while desk.client.next_raw(wire::WAIT).is_ok() {}
            }
        });
        assert_eq!(cancelled, BTreeSet::from([first, second]), "way {way}");
    }

    // A later deposit takes the place of the earlier one, whose nonce is free.
    let (kept_nonce, kept) = scene.rest();
    let (gone_nonce, gone) = scene.rest();
    let replaced = scene.sealed(vec![cancel(0, kept_nonce)]);
    let cancels = scene.sealed(vec![cancel(0, gone_nonce)]);
    assert_eq!(scene.deposit(Some(&replaced)), Ok(replaced.header.nonce));
    assert_eq!(scene.deposit(Some(&cancels)), Ok(cancels.header.nonce));
    scene.town.recorded.insert(cancels.to_payload());
    assert_eq!(scene.after(drop), BTreeSet::from([gone]));

    // Withdrawn, also where nothing is deposited.
    assert_eq!(scene.deposit(Some(&replaced)), Ok(replaced.header.nonce));
    assert_eq!(scene.deposit(None), Ok(0));
    assert_eq!(scene.deposit(None), Ok(0));
    assert_eq!(scene.after(drop), BTreeSet::new());

    // What is refused leaves the deposit as it is.
    assert_eq!(scene.deposit(Some(&replaced)), Ok(replaced.header.nonce));
    let mut others = scene.sealed(vec![cancel(0, 0)]);
    scene.nonce -= 1;
    others.header.participant = OTHER.get();
    let cases = [
        (forged(&mut scene), Reject::BadSignature),
        (others, Reject::NotThisParticipant),
    ];
    for (envelope, expected) in cases {
        assert_eq!(scene.deposit(Some(&envelope)), Err(expected));
    }
    let mut second = ask();
    second[4] = 1;
    let mut odd = cancel(0, 0);
    odd[47] = 1;
    for (leaves, expected) in [
        (vec![ask()], Reject::MalformedItem),
        (vec![cancel(0, 0), second], Reject::MalformedItem),
        (vec![odd], Reject::MalformedItem),
        (Vec::new(), Reject::BadCount),
        ((0..65).map(|index| cancel(index, 0)).collect(), Reject::BadCount),
    ] {
        let envelope = scene.sealed(leaves);
        scene.nonce -= 1;
        assert_eq!(scene.deposit(Some(&envelope)), Err(expected));
    }
    let mut tampered = scene.sealed(vec![cancel(0, 0)]);
    scene.nonce -= 1;
    tampered.leaves[0] = cancel(0, 1);
    assert_eq!(scene.deposit(Some(&tampered)), Err(Reject::BadRoot));
    scene.town.recorded.insert(replaced.to_payload());
    assert_eq!(scene.after(drop), BTreeSet::from([kept]));

    // Too late, or its nonce used by then: refused like any envelope, and nobody is told.
    scene.rest();
    let until = scene.town.now.plus_secs(1);
    let leaves = vec![cancel(0, 0)];
    let expired = SealedEnvelope::sign(scene.town.chain, &key(OWNER), OWNER, 1, scene.nonce, until, leaves);
    assert_eq!(scene.deposit(Some(&expired)), Ok(scene.nonce));
    let later = scene.town.now.plus_secs(3);
    scene.town.witnessed_step_to(later);
    assert_eq!(scene.after(drop), BTreeSet::new());
    assert_eq!(scene.deposit(Some(&replaced)), Ok(replaced.header.nonce));
    assert_eq!(scene.after(drop), BTreeSet::new());

    // A node that stops uses none: the ledger has exactly what was sequenced.
    let cancels = scene.sealed(vec![cancel(0, 0)]);
    assert_eq!(scene.deposit(Some(&cancels)), Ok(cancels.header.nonce));
    let (_, recorded) = scene.town.stop();
    assert!(records(dir.path()) == recorded);
}

#[test]
fn cancels_are_deposited_by_participants_only() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::start(dir.path(), at(-1_300), Vec::new(), &lockstep());
    let mut door = Desk::open(town.node.addr, 1);
    let leaves = vec![cancel(0, 0)];
    let envelope = SealedEnvelope::sign(town.chain, &key(OWNER), OWNER, 1, 1, at(0), leaves);
    for cancels in [Some(&envelope), None] {
        door.client.send_on_disconnect(cancels).unwrap();
        let refused = door.refusal("a deposit before Logon");
        assert_eq!(reject(refused.code), Reject::NotLoggedOn);
    }
    town.stop();
}

/// The refusal of an envelope.
fn refusal_of(desk: &mut Desk, envelope: &SealedEnvelope) -> Reject {
    desk.client.send_envelope(envelope).unwrap();
    reject(desk.refusal("a bad signature").code)
}
