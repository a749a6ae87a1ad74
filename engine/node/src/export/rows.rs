//! What the rows of each table are.

use super::sink::{Format, Sink};
use super::table::{Cell, Field, Kind, Table};
use crate::execute::{Executor, StartError, decode_record};
use crate::present::record_name;
use std::io::{self, Write};
use thiserror::Error;
use wattbook_feed::signed::leaf::{
    CANCEL, CancelLeaf, LAYOUTS, ORDER, OrderLeaf, QUOTE, QuoteLeaf, REPLACE, ReplaceLeaf, SEAL, SealLeaf,
};
use wattbook_feed::signed::{EnvelopeHeader, LeafBytes, RevealRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{Block, Reader};
use wattbook_types::{ContractId, Event, Sequenced, Side, TimeNs};

/// Rows handed to a sink at once.
const GROUP_LEN: usize = 1 << 17;

/// Which table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum What {
    /// One row a deal.
    Trades,
    /// One row an item of an envelope or a revealed quote.
    Items,
    /// One row a record, payload and all.
    Records,
}

/// What stopped an export.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    /// Its genesis.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A record that the market refuses.
    #[error("record {seq} in block {height} cannot be executed; `wattbook verify` says why")]
    Refused {
        /// The record.
        seq: u64,
        /// Its block.
        height: u64,
    },
    /// The output.
    #[error("the output cannot be written: {0}")]
    Write(#[from] io::Error),
}

const fn column(name: &'static str, kind: Kind) -> Field {
    let optional = false;
    Field { name, kind, optional }
}

const fn maybe(name: &'static str, kind: Kind) -> Field {
    let optional = true;
    Field { name, kind, optional }
}

const RECORDS: &[Field] = &[
    column("seq", Kind::Unsigned),
    column("height", Kind::Unsigned),
    column("block_time", Kind::Time),
    column("kind", Kind::Text),
    column("version", Kind::Unsigned),
    maybe("participant", Kind::Unsigned),
    maybe("nonce", Kind::Unsigned),
    maybe("leaves", Kind::Unsigned),
    column("payload", Kind::Bytes),
];

const ITEMS: &[Field] = &[
    column("seq", Kind::Unsigned),
    column("height", Kind::Unsigned),
    column("block_time", Kind::Time),
    column("participant", Kind::Unsigned),
    maybe("nonce", Kind::Unsigned),
    column("index", Kind::Unsigned),
    column("kind", Kind::Text),
    column("round", Kind::Unsigned),
    maybe("contract", Kind::Unsigned),
    maybe("delivery_start", Kind::Time),
    maybe("side", Kind::Text),
    maybe("price_ticks", Kind::Signed),
    maybe("energy_wh", Kind::Unsigned),
];

const TRADES: &[Field] = &[
    column("seq", Kind::Unsigned),
    column("height", Kind::Unsigned),
    column("block_time", Kind::Time),
    column("contract", Kind::Unsigned),
    column("delivery_start", Kind::Time),
    column("ordinal", Kind::Unsigned),
    column("deal_id", Kind::Text),
    column("buyer", Kind::Unsigned),
    column("buyer_nonce", Kind::Unsigned),
    column("buyer_index", Kind::Unsigned),
    column("seller", Kind::Unsigned),
    column("seller_nonce", Kind::Unsigned),
    column("seller_index", Kind::Unsigned),
    column("price_half_ticks", Kind::Signed),
    column("energy_wh", Kind::Unsigned),
    column("charge_ticks", Kind::Signed),
    maybe("aggressor", Kind::Text),
];

/// Writes a table of the committed blocks whose time is in `from..to`; the number of rows.
///
/// # Errors
/// [`ExportError`].
pub fn export<W: Write + Send>(
    reader: &Reader,
    what: What,
    format: Format,
    (from, to): (TimeNs, TimeNs),
    out: W,
) -> Result<u64, ExportError> {
    let fields = match what {
        What::Records => RECORDS,
        What::Items => ITEMS,
        What::Trades => TRADES,
    };
    let mut sink = Sink::open(format, fields, out)?;
    let mut table = Table::new(fields);
    let mut market = match what {
        What::Trades => Some(Executor::start(reader.genesis())?.0),
        _ => None,
    };
    let mut count = 0;
    for block in reader.blocks() {
        let block = block.map_err(wattbook_ledger::Error::Damaged)?;
        let wanted = (from..to).contains(&block.header.time);
        match &mut market {
            Some(market) if block.header.height > 0 => {
                let events = execute(market, &block)?;
                if wanted {
                    trades(&block, &events, &mut table);
                }
            }
            None if wanted && what == What::Records => records(&block, &mut table),
            None if wanted => items(&block, &mut table),
            _ => {}
        }
        if table.len >= GROUP_LEN {
            count += table.len as u64;
            sink.write(&table)?;
            table.clear();
        }
    }
    if table.len > 0 {
        count += table.len as u64;
        sink.write(&table)?;
    }
    sink.close()?;
    Ok(count)
}

/// Executes a block; its events.
fn execute(market: &mut Executor, block: &Block<'_>) -> Result<Vec<Sequenced>, ExportError> {
    let (height, chain) = (block.header.height, market.chain());
    let mut events = Vec::new();
    for record in &block.records {
        let seq = record.seq;
        let refused = || ExportError::Refused { seq, height };
        let command = decode_record(chain, record.kind, record.version, record.payload);
        let command = command.map_err(|_| refused())?;
        events.extend(market.apply(seq, &command).map_err(|_| refused())?);
    }
    let last = (block.header.first_seq + block.header.record_count).saturating_sub(1);
    events.extend(market.end_block(height, last).events);
    Ok(events)
}

fn trades(block: &Block<'_>, events: &[Sequenced], table: &mut Table) {
    for Sequenced { seq, event } in events {
        let Event::Executed {
            deal,
            deal_id,
            aggressor,
            ..
        } = event
        else {
            continue;
        };
        let id = deal_id.to_string();
        let side = aggressor.map(|side| match side {
            Side::Buy => Cell::text("buy"),
            Side::Sell => Cell::text("sell"),
        });
        table.push(&[
            Cell::Number(*seq),
            Cell::Number(block.header.height),
            Cell::Number(block.header.time.get()),
            Cell::Number(deal.contract.get()),
            Cell::Number(deal.contract.delivery_start().get()),
            Cell::Number(deal.ordinal),
            Cell::text(&id),
            Cell::Number(deal.buyer.participant.get()),
            Cell::Number(deal.buyer.nonce),
            Cell::Number(deal.buyer.index.into()),
            Cell::Number(deal.seller.participant.get()),
            Cell::Number(deal.seller.nonce),
            Cell::Number(deal.seller.index.into()),
            Cell::signed(deal.price.get()),
            Cell::Number(deal.energy.get()),
            Cell::signed(deal.charge_ticks()),
            side.unwrap_or(Cell::Empty),
        ]);
    }
}

fn records(block: &Block<'_>, table: &mut Table) {
    for record in &block.records {
        let payload = record.payload;
        let number = |at: usize| {
            let bytes = payload.get(at..at + 8)?;
            bytes.try_into().ok().map(u64::from_le_bytes)
        };
        let (participant, nonce, leaves) = match record.kind {
            record_kind::ENVELOPE => match payload.get(..size_of::<EnvelopeHeader>()) {
                Some(bytes) => {
                    let header: EnvelopeHeader = bytemuck::pod_read_unaligned(bytes);
                    (Some(header.participant), Some(header.nonce), Some(header.count.into()))
                }
                None => (None, None, None),
            },
            record_kind::REVEAL => (number(0), None, None),
            // Behind roles and flags.
            record_kind::REGISTER => (number(8), None, None),
            _ => (None, None, None),
        };
        table.push(&[
            Cell::Number(record.seq),
            Cell::Number(block.header.height),
            Cell::Number(block.header.time.get()),
            Cell::text(record_name(record.kind)),
            Cell::Number(record.version.into()),
            Cell::maybe(participant),
            Cell::maybe(nonce),
            Cell::maybe(leaves),
            Cell::Bytes(payload),
        ]);
    }
}

fn items(block: &Block<'_>, table: &mut Table) {
    for record in &block.records {
        let (participant, nonce, leaves) = match record.kind {
            record_kind::ENVELOPE => match SealedEnvelope::decode(record.payload) {
                Ok(envelope) => (
                    envelope.header.participant,
                    Some(envelope.header.nonce),
                    envelope.leaves,
                ),
                Err(_) => continue,
            },
            record_kind::REVEAL => match RevealRecord::decode(record.payload) {
                Ok(reveal) => (reveal.participant.get(), None, reveal.leaves),
                Err(_) => continue,
            },
            _ => continue,
        };
        for (index, leaf) in (0..).zip(&leaves) {
            let item = Item::of(leaf);
            let start = item
                .contract
                .map(|contract| ContractId::from_raw(contract).delivery_start().get());
            table.push(&[
                Cell::Number(record.seq),
                Cell::Number(block.header.height),
                Cell::Number(block.header.time.get()),
                Cell::Number(participant),
                Cell::maybe(nonce),
                Cell::Number(index),
                Cell::text(item.kind),
                Cell::Number(item.round.into()),
                Cell::maybe(item.contract),
                Cell::maybe(start),
                item.side.map_or(Cell::Empty, Cell::text),
                item.price.map_or(Cell::Empty, |price| Cell::signed(price.into())),
                Cell::maybe(item.energy_wh.map(u64::from)),
            ]);
        }
    }
}

/// What a leaf says about an order.
#[derive(Default)]
struct Item {
    kind: &'static str,
    round: u16,
    contract: Option<u64>,
    side: Option<&'static str>,
    price: Option<i32>,
    energy_wh: Option<u32>,
}

impl Item {
    fn of(leaf: &LeafBytes) -> Self {
        let name = LAYOUTS.iter().find(|(kind, _, _)| *kind == leaf[0]);
        let kind = name.map_or("", |(_, name, _)| name.trim_end_matches("Leaf"));
        let item = Self {
            kind,
            ..Self::default()
        };
        match leaf[0] {
            QUOTE => {
                let quote: QuoteLeaf = bytemuck::pod_read_unaligned(leaf);
                Self {
                    round: quote.round,
                    contract: Some(quote.contract),
                    side: match quote.flags & 3 {
                        1 => Some("buy"),
                        2 => Some("sell"),
                        _ => None,
                    },
                    price: Some(quote.price),
                    energy_wh: Some(quote.energy_wh),
                    ..item
                }
            }
            REPLACE => {
                let replace: ReplaceLeaf = bytemuck::pod_read_unaligned(leaf);
                Self {
                    contract: Some(replace.contract),
                    price: Some(replace.price),
                    energy_wh: Some(replace.energy_wh),
                    ..item
                }
            }
            CANCEL => {
                let contract = bytemuck::pod_read_unaligned::<CancelLeaf>(leaf).contract;
                let contract = Some(contract).filter(|contract| *contract != 0);
                Self { contract, ..item }
            }
            SEAL => {
                let seal: SealLeaf = bytemuck::pod_read_unaligned(leaf);
                Self {
                    round: seal.round,
                    contract: Some(seal.contract),
                    ..item
                }
            }
            ORDER => {
                let contract = bytemuck::pod_read_unaligned::<OrderLeaf>(leaf).contract;
                let contract = Some(contract).filter(|contract| *contract != 0);
                Self { contract, ..item }
            }
            _ => item,
        }
    }
}
