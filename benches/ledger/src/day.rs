//! A ledger written as a node writes it, but for signatures and event roots, which neither replay nor restart looks at.
//!
//! Accounts in turn rest a quote and cancel it again; one record in a thousand takes what it finds. A record is an
//! envelope of one leaf: 192 bytes of log.

use ed25519_dalek::SigningKey;
use std::path::Path;
use wattbook_feed::keys::{BlsSecret, KeyRole, log_key};
use wattbook_feed::signed::{
    EnvelopeHeader, LeafBytes, Register, RegisterRecord, SealedEnvelope, encode_item, meters_root, record_kind,
    tick_payload,
};
use wattbook_ledger::{Appended, BlockDraft, GENESIS_FILE, HeaderIndex, Options, Reader, Record, Store};
use wattbook_node::chain::{self, FIRST_SERIAL, Secrets, Spec};
use wattbook_node::execute::{Executor, decode_record, dpos_hash};
use wattbook_types::command::Cancel;
use wattbook_types::{
    ContractId, Energy, Hash, Item, Param, ParticipantId, Price, Quote, Roles, SelfTrade, Sequenced, Side, TimeInForce,
    TimeNs,
};

/// Records of a block.
pub(crate) const BLOCK_RECORDS: u64 = 1_000;
/// Blocks of a commit.
const COMMIT_BLOCKS: u64 = 64;
const SEED: [u8; 32] = [7; 32];
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

/// Bytes of log that a record takes, about.
const RECORD_SIZE: u64 = 192;

/// Records of a log of so many mebibytes, about.
pub(crate) const fn records_of(mib: u64) -> u64 {
    (mib << 20) / RECORD_SIZE
}

/// Writes a ledger of so many records into `dir`, unless a figure before has.
pub(crate) fn ensure(dir: &Path, args: &crate::Args, records: u64) -> Result<(), Box<dyn std::error::Error>> {
    if dir.join(GENESIS_FILE).exists() {
        return Ok(());
    }
    eprintln!("bench-ledger: writing {records} records");
    let mut day = Day::begin(dir, args.accounts)?;
    for _ in 0..records / BLOCK_RECORDS {
        day.block()?;
    }
    day.store.commit()?;
    Ok(())
}

/// Number of the last committed record.
pub(crate) fn last_seq(reader: &Reader) -> Result<u64, Box<dyn std::error::Error>> {
    let index = HeaderIndex::open(reader)?;
    let tip = index.size().checked_sub(1).ok_or("the ledger is empty")?;
    let (header, _) = index.header(reader, tip)?;
    Ok(header.first_seq + header.record_count - 1)
}

/// A ledger under way.
pub(crate) struct Day {
    pub(crate) store: Store,
    pub(crate) executor: Executor,
    pub(crate) log_key: SigningKey,
    accounts: u64,
    sent: u64,
}

/// A block that was written.
pub(crate) struct Written {
    pub(crate) appended: Appended,
    pub(crate) events: Vec<Sequenced>,
}

type Payload = (u16, Vec<u8>);

impl Day {
    /// A chain in `dir` whose book is open, with so many accounts.
    pub(crate) fn begin(dir: &Path, accounts: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let opens = CONTRACT.delivery_start().plus_secs(-86_400);
        let spec = Spec {
            network: "bench".to_owned(),
            eic: String::new(),
            area: 1,
            demo: true,
            time: opens.plus_secs(-1),
            params: vec![
                (Param::Concession, 0),
                (Param::Floor, 0),
                (Param::Rounds, 1),
                (Param::GateOpenS, 86_400),
            ],
            segment_size: 64 << 20,
        };
        chain::create(dir, &spec, &Secrets::of_demo(SEED))?;
        let key: SigningKey = log_key(&SEED);
        let (store, _) = Store::open(dir, &key, Options::default())?;
        let (executor, _) = Executor::start(store.genesis())?;
        let mut day = Self {
            store,
            executor,
            log_key: key,
            accounts,
            sent: 0,
        };
        let mut payloads: Vec<Payload> = (FIRST_SERIAL..FIRST_SERIAL + accounts)
            .map(|serial| (record_kind::REGISTER, registration(serial)))
            .collect();
        for time in [opens, opens.plus_secs(1_000)] {
            payloads.push((record_kind::TICK, tick_payload(time).to_vec()));
        }
        day.write(&payloads)?;
        Ok(day)
    }

    /// Writes a block of the flow.
    pub(crate) fn block(&mut self) -> Result<Written, Box<dyn std::error::Error>> {
        let payloads: Vec<Payload> = (0..BLOCK_RECORDS)
            .map(|_| {
                self.sent += 1;
                (record_kind::ENVELOPE, envelope(self.sent - 1, self.accounts))
            })
            .collect();
        self.write(&payloads)
    }

    fn write(&mut self, payloads: &[Payload]) -> Result<Written, Box<dyn std::error::Error>> {
        let chain = self.executor.chain();
        let first = self.store.next_seq();
        let mut events = Vec::new();
        for (seq, (kind, payload)) in (first..).zip(payloads) {
            let command = decode_record(chain, *kind, record_kind::VERSION, payload).map_err(|r| r.to_string())?;
            let applied = self.executor.apply(seq, &command);
            events.extend(applied.map_err(|refusal| refusal.reject.to_string())?);
        }
        let height = self.store.next_height();
        let ended = self.executor.end_block(height, first + payloads.len() as u64 - 1);
        events.extend(ended.events);
        let records: Vec<Record<'_>> = (first..)
            .zip(payloads)
            .map(|(seq, (kind, payload))| Record {
                kind: *kind,
                version: record_kind::VERSION,
                seq,
                payload,
            })
            .collect();
        let appended = self.store.append_block(&BlockDraft {
            time_ns: self.executor.market().state().time,
            records: &records,
            event_count: 0,
            event_root: wattbook_types::tree::empty_root(),
            state_root: ended.state_root,
            params_hash: ended.params_hash,
            dpos_hash: dpos_hash(chain),
            lead: None,
        })?;
        if height.is_multiple_of(COMMIT_BLOCKS) {
            self.store.commit()?;
        }
        Ok(Written { appended, events })
    }
}

fn registration(serial: u64) -> Vec<u8> {
    let participant = ParticipantId::new(serial);
    let secret = BlsSecret::derive(&SEED, KeyRole::Participant, serial);
    let meter = wattbook_feed::signed::MeterEntry {
        meter: serial,
        import_cap_wh: 1 << 40,
        export_cap_wh: 1 << 40,
        kind: 2,
        reserved: 0,
    };
    let register = Register {
        roles: Roles::BUYER.union(Roles::SELLER).bits(),
        flags: 0,
        admit_serial: participant.get(),
        not_after_ns: u64::MAX,
        public_key: secret.public_key(),
        session_spki: Hash::ZERO.0,
        group: Hash::ZERO.0,
        meters_root: meters_root(&[meter]).0,
    };
    let record = RegisterRecord {
        register,
        admit: [0; 64],
        possession: [0; 48],
        meters: vec![meter],
    };
    record.to_payload()
}

/// The `n`th envelope of the flow.
fn envelope(n: u64, accounts: u64) -> Vec<u8> {
    let (turn, owner) = (n / accounts, n % accounts);
    let (nonce, participant) = (turn + 1, ParticipantId::new(FIRST_SERIAL + owner));
    let side = if owner % 2 == 0 { Side::Buy } else { Side::Sell };
    let away = 1 + (n % 50) as i32;
    let takes = n % 1_000 == 999;
    let price = match (side, takes) {
        (Side::Buy, false) | (Side::Sell, true) => 20_000 - away,
        _ => 20_000 + away,
    };
    let item = if turn % 2 == 1 && !takes {
        Item::Cancel(Cancel {
            contract: Some(CONTRACT),
            target_nonce: nonce - 1,
            target_index: 0,
        })
    } else {
        Item::Quote(Quote {
            contract: CONTRACT,
            client_order_id: 0,
            round: 0,
            side,
            time_in_force: if takes { TimeInForce::Ioc } else { TimeInForce::Gate },
            price: Price::new(price),
            charge_cap: -1,
            energy: Energy::new(100 + n % 900),
            min_fill: Energy::ZERO,
            valid_until_s: 0,
            display: Energy::ZERO,
            market_to_limit: false,
            self_trade: SelfTrade::CancelNewest,
        })
    };
    let leaves: Vec<LeafBytes> = encode_item(0, &item).into_iter().collect();
    let not_after: TimeNs = CONTRACT.delivery_start().plus_secs(-3_600);
    let envelope = SealedEnvelope {
        attached: None,
        header: EnvelopeHeader::new(participant, 1, nonce, not_after, &leaves),
        signature: [0; 48],
        leaves,
    };
    envelope.to_payload()
}
