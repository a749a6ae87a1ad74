//! What the rows of each table are.

use super::sink::{Format, Sink};
use super::table::{Cell, Field, Kind, Table};
use crate::execute::ahead::{Ahead, DecodedBlock, DecodedRecord, Signatures, Stopped, read_ahead};
use crate::execute::{Executor, StartError};
use crate::present::record_name;
use crate::selection::Selection;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use thiserror::Error;
use wattbook_feed::signed::leaf::{
    CANCEL, CancelLeaf, LAYOUTS, ORDER, OrderLeaf, QUOTE, QuoteLeaf, REPLACE, ReplaceLeaf, SEAL, SealLeaf,
};
use wattbook_feed::signed::{EnvelopeHeader, LeafBytes, RevealRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{Block, BlockHeader, Fault, HeaderIndex, Reader};
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

/// Writes a table of what is selected in the committed blocks whose time is in `from..to`; the number of rows.
///
/// Rows are read, or executed, on this thread and written on another.
///
/// # Errors
/// [`ExportError`].
pub fn export<W: Write + Send>(
    reader: &Reader,
    what: What,
    format: Format,
    (from, to): (TimeNs, TimeNs),
    selection: Selection,
    out: W,
) -> Result<u64, ExportError> {
    let fields = match what {
        What::Records => RECORDS,
        What::Items => ITEMS,
        What::Trades => TRADES,
    };
    let mut sink = Sink::open(format, fields, out)?;
    thread::scope(|scope| {
        let (full_in, full) = sync_channel::<Table>(1);
        let (empty_in, empty) = channel();
        let writing = scope.spawn(move || {
            for mut table in full {
                sink.write(&table)?;
                table.clear();
                // Nobody fills it any more after the last row.
                let _ = empty_in.send(table);
            }
            // An output that ends without its last part is none: whoever reads the ledger says whether it is whole.
            Ok::<_, io::Error>(sink)
        });
        let mut rows = Rows {
            table: Table::new(fields),
            count: 0,
            full: full_in,
            empty,
        };
        let wanted = |header: &BlockHeader| (from..to).contains(&header.time);
        let read = match what {
            What::Trades => rows.fill_trades(reader, wanted, selection),
            What::Records | What::Items => rows.fill(reader, what, wanted, selection),
        };
        let read = read.and_then(|()| rows.hand_on());
        let count = rows.count;
        drop(rows);
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (read, written) {
            (Err(Stop::Export(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Err(Stop::Sink), Ok(_)) => unreachable!("rows are taken as long as the sink writes"),
            (Ok(()), Ok(sink)) => {
                sink.close()?;
                Ok(count)
            }
        }
    })
}

/// Why no more rows are read.
enum Stop {
    /// The ledger.
    Export(ExportError),
    /// Nobody takes them: the sink says why.
    Sink,
}

impl<E: Into<ExportError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Export(error.into())
    }
}

/// Rows on their way to the sink.
struct Rows {
    table: Table,
    count: u64,
    full: SyncSender<Table>,
    empty: Receiver<Table>,
}

impl Rows {
    /// Hands on what there is.
    fn hand_on(&mut self) -> Result<(), Stop> {
        if self.table.len == 0 {
            return Ok(());
        }
        self.count += self.table.len as u64;
        let next = self.empty.try_recv().unwrap_or_else(|_| Table::new(self.table.fields));
        let table = core::mem::replace(&mut self.table, next);
        self.full.send(table).map_err(|_| Stop::Sink)
    }

    fn turn(&mut self) -> Result<(), Stop> {
        if self.table.len < GROUP_LEN {
            return Ok(());
        }
        self.hand_on()
    }

    fn fill(
        &mut self,
        reader: &Reader,
        what: What,
        wanted: impl Fn(&BlockHeader) -> bool,
        selection: Selection,
    ) -> Result<(), Stop> {
        let blocks = match selection.first() {
            // Whoever wants everything waits for no index.
            0..=1 => reader.blocks(),
            seq => HeaderIndex::open(reader)?.blocks_with(reader, seq)?,
        };
        for block in blocks {
            let block = block.map_err(wattbook_ledger::Error::Damaged)?;
            if !wanted(&block.header) {
                continue;
            }
            if what == What::Records {
                records(&block, selection, &mut self.table);
            } else {
                items(&block, selection, &mut self.table);
            }
            self.turn()?;
        }
        Ok(())
    }

    fn fill_trades(
        &mut self,
        reader: &Reader,
        wanted: impl Fn(&BlockHeader) -> bool,
        selection: Selection,
    ) -> Result<(), Stop> {
        let (mut market, _) = Executor::start(reader.genesis())?;
        let read = |ahead: &mut Ahead| {
            for block in reader.blocks() {
                if ahead.push(&block?) == Err(Stopped) {
                    break;
                }
            }
            Ok::<(), Fault>(())
        };
        let (executed, outcome) = read_ahead(market.chain(), Signatures::Drop, read, |block| {
            if block.header.height > 0 {
                let events = execute(&mut market, block)?;
                if wanted(&block.header) {
                    trades(&block.header, &events, selection, &mut self.table);
                }
            }
            self.turn()
        });
        executed?;
        Ok(outcome.map_err(wattbook_ledger::Error::Damaged)?)
    }
}

/// Executes a block; its events.
fn execute(market: &mut Executor, block: &DecodedBlock) -> Result<Vec<Sequenced>, ExportError> {
    let height = block.header.height;
    let mut events = Vec::new();
    for DecodedRecord { seq, command, .. } in &block.records {
        let seq = *seq;
        let refused = || ExportError::Refused { seq, height };
        let command = command.as_ref().map_err(|_| refused())?;
        events.extend(market.apply(seq, command).map_err(|_| refused())?);
    }
    let last = (block.header.first_seq + block.header.record_count).saturating_sub(1);
    let refused = |_| ExportError::Refused { seq: last, height };
    events.extend(market.end_block_of(&block.header, last).map_err(refused)?.events);
    Ok(events)
}

fn trades(header: &BlockHeader, events: &[Sequenced], selection: Selection, table: &mut Table) {
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
        let sides = [deal.buyer.participant, deal.seller.participant];
        let is_wanted = *seq >= selection.first()
            && selection.participant.is_none_or(|who| sides.contains(&who))
            && selection.contract.is_none_or(|contract| contract == deal.contract);
        if !is_wanted {
            continue;
        }
        let id = deal_id.to_string();
        let side = aggressor.map(|side| match side {
            Side::Buy => Cell::text("buy"),
            Side::Sell => Cell::text("sell"),
        });
        table.push(&[
            Cell::Number(*seq),
            Cell::Number(header.height),
            Cell::Number(header.time.get()),
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

fn records(block: &Block<'_>, selection: Selection, table: &mut Table) {
    for record in block.records.iter().filter(|record| selection.has(record)) {
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
            record_kind::EVIDENCE => (number(0), None, None),
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

fn items(block: &Block<'_>, selection: Selection, table: &mut Table) {
    let about = selection.contract.map(ContractId::get);
    for record in block.records.iter().filter(|record| selection.has(record)) {
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
            if about.is_some() && item.contract != about {
                continue;
            }
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
