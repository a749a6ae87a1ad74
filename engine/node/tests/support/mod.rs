//! A small town with a ledger: real keys, real signatures, one market executed as a node executes it, and hooks to write
//! what no honest node would write.
#![allow(dead_code, reason = "every test file uses its own part of the town")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wattbook_feed::keys::{self, BlsSecret, sign_ed25519};
use wattbook_feed::signed::{
    Alias, LeafBytes, MeterEntry, Register, RegisterRecord, RevealRecord, SealedEnvelope, encode_item, meters_root,
    record_kind, seal_commitment, tick_payload,
};
use wattbook_ledger::{Appended, BlockDraft, Options, Record, Store};
use wattbook_node::chain::{self, Secrets, Spec, participant_key};
use wattbook_node::execute::{EventTree, Executor, decode_record, dpos_hash};
use wattbook_types::command::{GridSignature, Rate, Reading, Seal};
use wattbook_types::tree::{Frontier, leaf_hash};
use wattbook_types::{
    ChainId, ContractId, Energy, Event, Hash, Item, Meter, MeterKind, Param, ParticipantId, Price, Quote, Roles,
    SelfTrade, Sequenced, Side, TimeInForce, TimeNs,
};

/// Seed of every secret of the town.
pub(crate) const SEED: [u8; 32] = [7; 32];
/// Small segments, so that a few blocks cross them.
pub(crate) const SEGMENT_SIZE: u64 = 4096;
/// The first delivery period traded.
pub(crate) const PERIOD: u32 = 1_628_736;
/// Buyer or seller.
pub(crate) const TRADER: u32 = 3;

/// The contract delivered in [`PERIOD`].
pub(crate) const CONTRACT: ContractId = ContractId::new(PERIOD, ContractId::PRODUCT_QUARTER_HOUR, 1);

/// `seconds` after the delivery start of [`CONTRACT`].
pub(crate) const fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

pub(crate) const fn id(serial: u64) -> ParticipantId {
    ParticipantId::new(serial)
}

/// A record of the block under way.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

/// What a block says, before it is sealed; a forger changes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims {
    pub(crate) time: TimeNs,
    pub(crate) event_count: u64,
    pub(crate) event_root: Hash,
    pub(crate) state_root: Hash,
    pub(crate) params_hash: Hash,
    pub(crate) dpos_hash: Hash,
}

/// The town: its ledger open for writing, and its market.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) dir: PathBuf,
    pub(crate) executor: Executor,
    pub(crate) chain: ChainId,
    store: Store,
    alias: Alias,
    nonces: BTreeMap<u64, u64>,
    next_seq: u64,
    block: Vec<Written>,
    events: Vec<Sequenced>,
    headers: Frontier,
    /// Every event so far.
    pub(crate) seen: Vec<Event>,
    /// State root after the last block.
    pub(crate) state_root: Hash,
    pub(crate) record_count: u64,
}

impl Town {
    /// A chain in `dir` that begins 100 s before the first gate opens.
    pub(crate) fn found(dir: &Path, params: &[(Param, i64)]) -> Self {
        let spec = Spec {
            network: "town".to_owned(),
            eic: "10YTEST".to_owned(),
            area: 1,
            demo: true,
            time: at(-1_300),
            params: params.to_vec(),
            segment_size: SEGMENT_SIZE,
        };
        chain::create(dir, &spec, &Secrets::of_demo(SEED)).expect("a chain");
        let options = Options {
            segment_size: SEGMENT_SIZE,
        };
        let (store, _) = Store::open(dir, &keys::log_key(&SEED), options).expect("the ledger just made");
        let (executor, roots) = Executor::start(store.genesis()).expect("the genesis just made");
        let chain = executor.chain();
        let mut headers = Frontier::new();
        headers.push(leaf_hash(store.tip().to_raw().as_bytes()));
        Self {
            dir: dir.to_owned(),
            alias: Alias::new(keys::alias_key(&SEED), chain),
            next_seq: store.next_seq(),
            executor,
            chain,
            store,
            nonces: BTreeMap::new(),
            block: Vec::new(),
            events: Vec::new(),
            headers,
            seen: Vec::new(),
            state_root: roots.state_root,
            record_count: 0,
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.store.tip().height
    }

    /// RFC 9162 root over every header.
    pub(crate) fn ledger_root(&self) -> Hash {
        self.headers.root()
    }

    pub(crate) fn secret(who: u64) -> BlsSecret {
        participant_key(&SEED, id(who))
    }

    /// Applies a record and writes it into the block under way.
    pub(crate) fn record(&mut self, kind: u16, payload: Vec<u8>) -> Vec<Event> {
        let command = decode_record(self.chain, kind, record_kind::VERSION, &payload).expect("a record");
        let events = self
            .executor
            .apply(self.next_seq, &command)
            .expect("a record the market takes");
        self.events.extend(events.iter().cloned());
        self.smuggle(kind, payload);
        events.into_iter().map(|sequenced| sequenced.event).collect()
    }

    /// Writes a record that nobody has applied.
    pub(crate) fn smuggle(&mut self, kind: u16, payload: Vec<u8>) {
        self.block.push(Written { kind, payload });
        self.next_seq += 1;
    }

    /// A registration as the registrar signs it: a load and a clean generator of 10 kWh a quarter hour.
    pub(crate) fn registration(&self, serial: u64, roles: u32) -> RegisterRecord {
        let meter = |meter, import, export, kind| {
            MeterEntry::new(&Meter {
                meter,
                import_cap: Energy::new(import),
                export_cap: Energy::new(export),
                kind,
            })
        };
        let meters = vec![
            meter(10 * serial, 10_000, 0, MeterKind::Load),
            meter(10 * serial + 1, 0, 10_000, MeterKind::CleanGeneration),
        ];
        let secret = Self::secret(serial);
        let register = Register {
            roles: Roles::from_bits(roles).bits(),
            flags: 0,
            admit_serial: serial,
            not_after_ns: u64::MAX,
            public_key: secret.public_key(),
            session_spki: Hash::ZERO.0,
            group: Hash::ZERO.0,
            meters_root: meters_root(&meters).0,
        };
        RegisterRecord {
            register,
            admit: sign_ed25519(&keys::registrar_key(&SEED), &register.admit_digest(self.chain)),
            possession: secret.prove_possession(&register.digest(self.chain)),
            meters,
        }
    }

    pub(crate) fn register(&mut self, serial: u64) {
        let record = self.registration(serial, TRADER);
        self.record(record_kind::REGISTER, record.to_payload());
    }

    /// An envelope of `who` over these leaves, with its next nonce.
    pub(crate) fn envelope(&mut self, who: u64, leaves: Vec<LeafBytes>) -> SealedEnvelope {
        let nonce = self.nonces.entry(who).or_default();
        *nonce += 1;
        let not_after = self.executor.market().state().time.plus_secs(600);
        SealedEnvelope::sign(self.chain, &Self::secret(who), id(who), 1, *nonce, not_after, leaves)
    }

    /// Sends items in one envelope.
    pub(crate) fn send(&mut self, who: u64, items: &[Item]) -> Vec<Event> {
        let envelope = self.envelope(who, leaves(items));
        self.record(record_kind::ENVELOPE, envelope.to_payload())
    }

    pub(crate) fn reveal(&mut self, reveal: &RevealRecord) -> Vec<Event> {
        self.record(record_kind::REVEAL, reveal.to_payload())
    }

    /// Ticks to `seconds` after delivery start.
    pub(crate) fn tick(&mut self, seconds: i64) -> Vec<Event> {
        self.record(record_kind::TICK, tick_payload(at(seconds)).to_vec())
    }

    /// Ends the block under way; events of its end.
    pub(crate) fn seal_block(&mut self) -> Vec<Event> {
        self.forge_block(|_| {})
    }

    /// Ends the block under way with changed claims.
    pub(crate) fn forge_block(&mut self, forge: impl FnOnce(&mut Claims)) -> Vec<Event> {
        let ended = self.executor.end_block(self.height() + 1, self.next_seq - 1);
        let mut tree = EventTree::new();
        for event in self.events.drain(..).chain(ended.events.iter().cloned()) {
            tree.push(&event, &self.alias);
            self.seen.push(event.event);
        }
        let mut claims = Claims {
            time: self.executor.market().state().time,
            event_count: tree.count(),
            event_root: tree.root(),
            state_root: ended.state_root,
            params_hash: ended.params_hash,
            dpos_hash: dpos_hash(self.chain),
        };
        forge(&mut claims);
        let block = core::mem::take(&mut self.block);
        let first = self.store.next_seq();
        let records: Vec<Record<'_>> = (first..)
            .zip(&block)
            .map(|(seq, r)| Record {
                kind: r.kind,
                version: record_kind::VERSION,
                seq,
                payload: &r.payload,
            })
            .collect();
        let draft = BlockDraft {
            time_ns: claims.time,
            records: &records,
            event_count: claims.event_count,
            event_root: claims.event_root,
            state_root: claims.state_root,
            params_hash: claims.params_hash,
            dpos_hash: claims.dpos_hash,
            lead: None,
        };
        let Appended { header, .. } = self.store.append_block(&draft).expect("a block the ledger takes");
        self.store.commit().expect("a disk that works");
        self.headers.push(leaf_hash(header.to_raw().as_bytes()));
        self.state_root = claims.state_root;
        self.record_count += records.len() as u64;
        ended.events.into_iter().map(|sequenced| sequenced.event).collect()
    }

    /// Ends the block and lets the grid company sign its deals in the next.
    pub(crate) fn seal_and_countersign(&mut self) {
        let items: Vec<Item> = self
            .seal_block()
            .into_iter()
            .filter_map(|event| match event {
                Event::DealsSealed {
                    height, deals_digest, ..
                } => Some(Item::Grid(GridSignature { height, deals_digest })),
                _ => None,
            })
            .collect();
        if !items.is_empty() {
            self.send(chain::GRID_COMPANY.get(), &items);
        }
    }

    /// Registers traders 4 to 7 and opens the first gate, in two blocks.
    pub(crate) fn settle_in(&mut self) {
        (4..8).for_each(|serial| self.register(serial));
        self.tick(-1_250);
        self.seal_block();
        self.tick(-1_200);
        self.seal_block();
    }

    /// One cycle from seal to close, with items that are refused among those that are taken. The grid company signs,
    /// meters are read, deals settle.
    pub(crate) fn run_cycle(&mut self) {
        self.settle_in();
        let reveals: Vec<RevealRecord> = [
            (4, Side::Sell, 14_000, 800),
            (5, Side::Sell, 16_000, 600),
            (6, Side::Buy, 25_000, 700),
            (7, Side::Buy, 22_000, 500),
        ]
        .into_iter()
        .map(|(who, side, price, wh)| {
            self.sealed(
                who,
                1,
                &[Quote {
                    round: 1,
                    ..quote(side, price, wh)
                }],
            )
        })
        .collect();
        for reveal in &reveals {
            self.send(reveal.participant.get(), &[seal_of(self.chain, reveal)]);
        }
        // Before the first CONTRACT the book takes no quotes; an unknown contract never does.
        let elsewhere = ContractId::new(1, 1, 1);
        let refused = [
            Item::Quote(quote(Side::Buy, 20_000, 100)),
            Item::Quote(Quote {
                contract: elsewhere,
                ..quote(Side::Buy, 1, 100)
            }),
        ];
        self.send(6, &refused);
        self.tick(-1_110);
        self.seal_block();
        reveals.iter().for_each(|reveal| {
            self.reveal(reveal);
        });
        self.tick(-1_050);
        self.seal_block();
        self.tick(-1_020);
        self.seal_and_countersign();
        self.tick(-990);
        self.seal_block();
        let mut unknown_leaf = leaves(&[Item::Quote(quote(Side::Sell, 13_000, 300))]);
        unknown_leaf.push([0; 48]);
        unknown_leaf[1][4] = 1;
        let envelope = self.envelope(4, unknown_leaf);
        self.record(record_kind::ENVELOPE, envelope.to_payload());
        self.send(7, &[Item::Quote(quote(Side::Buy, 25_000, 200))]);
        self.tick(-960);
        self.seal_and_countersign();
        for seconds in [-300, 0, 900] {
            self.tick(seconds);
            self.seal_block();
        }
        let read = |meter, import, export| {
            let (import, export) = (Energy::new(import), Energy::new(export));
            Item::Meter(Reading {
                meter,
                period: PERIOD,
                revision: 1,
                import,
                export,
            })
        };
        self.send(
            3,
            &[
                read(41, 0, 900),
                read(51, 0, 100),
                read(60, 900, 0),
                read(70, 400, 0),
                read(99, 1, 1),
            ],
        );
        self.tick(1_800);
        self.seal_block();
        self.send(
            6,
            &[Item::Rate(Rate {
                deal_id: Hash([1; 32]),
                good: true,
            })],
        );
        self.tick(2_100);
        self.seal_block();
    }

    /// The reveal of sealed quotes.
    pub(crate) fn sealed(&self, who: u64, round: u32, quotes: &[Quote]) -> RevealRecord {
        let items: Vec<Item> = quotes.iter().copied().map(Item::Quote).collect();
        let secret = keys::derive(&SEED, keys::KeyRole::Client, who);
        let salt = keys::reveal_salt(&secret, self.chain, CONTRACT, round);
        RevealRecord {
            participant: id(who),
            contract: CONTRACT,
            round,
            salt,
            leaves: leaves(&items),
        }
    }
}

/// The seal that a reveal opens, with a bond of 4 points.
pub(crate) fn seal_of(chain: ChainId, reveal: &RevealRecord) -> Item {
    let RevealRecord {
        participant,
        contract,
        round,
        salt,
        leaves,
    } = reveal;
    Item::Seal(Seal {
        contract: *contract,
        round: *round as u16,
        bond_class: 2,
        commitment: seal_commitment(chain, *participant, *contract, *round, salt, leaves),
    })
}

/// The leaves of items, in order.
pub(crate) fn leaves(items: &[Item]) -> Vec<LeafBytes> {
    (0..)
        .zip(items)
        .map(|(index, item)| encode_item(index, item).expect("an item with a leaf"))
        .collect()
}

/// A quote on [`CONTRACT`], price in ticks.
pub(crate) fn quote(side: Side, price: i32, wh: u64) -> Quote {
    Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force: TimeInForce::Gate,
        price: Price::new(price),
        charge_cap: -1,
        energy: Energy::new(wh),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}

/// Copies a ledger and its keys, without its lock file.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a ledger") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else if target.file_name().is_some_and(|name| name != "lock") {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}
