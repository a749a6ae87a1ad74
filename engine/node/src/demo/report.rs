//! What the day came to, read off the ledger: its records are executed again, and every figure is a fold over the events.

use super::world::{FIRST_PERIOD, PERIODS};
use crate::chain::GRID_COMPANY;
use crate::execute::{Executor, StartError, decode_record};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use thiserror::Error;
use wattbook_feed::signed::record_kind;
use wattbook_ledger::{Fault, Reader};
use wattbook_market::round::{RoundOrder, welfare};
use wattbook_market::state::MINTS;
use wattbook_types::tree::{Frontier, leaf_hash};
use wattbook_types::units::{NANO_PER_TICK_WH, decimal};
use wattbook_types::{
    CloseReason, Command, ContractId, DealPrice, Event, Hash, Item, MicroPrice, ParticipantId, RangeMode, Reject, Side,
};

/// Why the ledger could not be read back.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] wattbook_ledger::Error),
    /// Damage.
    #[error(transparent)]
    Damaged(#[from] Fault),
    /// Genesis.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A record does not replay.
    #[error("record {seq} of block {height} does not replay: {reject}")]
    Record {
        /// The block.
        height: u64,
        /// The record.
        seq: u64,
        /// Why.
        reject: Reject,
    },
    /// A block names another root.
    #[error("block {height} does not replay to the state root it names")]
    StateRoot {
        /// The block.
        height: u64,
    },
}

/// Figures of one hour.
#[derive(Clone, Debug, Default)]
pub struct Hour {
    /// Energy participants offered.
    pub offered: u64,
    /// Energy participants asked for.
    pub asked: u64,
    /// Energy dealt between participants.
    pub traded: u64,
    /// Energy dealt with the grid company.
    pub with_grid: u64,
    /// Lowest and highest deal price.
    pub prices: Option<(DealPrice, DealPrice)>,
    /// Last CEP.
    pub cep: Option<MicroPrice>,
    /// Energy participants were left with after a round, by reason, summed over rounds.
    pub unmatched: BTreeMap<CloseReason, u64>,
    /// Energy participants still had in the book at gate closure.
    pub left: u64,
}

/// Welfare and fill of one range mode over all recorded rounds.
#[derive(Clone, Debug, Default)]
pub struct ModeFigures {
    /// Sum of (bid - ask) x energy, tick-Wh.
    pub welfare: i128,
    /// Energy dealt.
    pub traded: u64,
    /// Energy entered and filled by reputation quarter, best first, without the grid company.
    pub quarters: [(u64, u64); 4],
}

/// Everything the report prints.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By hour of delivery.
    pub hours: Vec<Hour>,
    /// By range mode.
    pub modes: Vec<(RangeMode, ModeFigures)>,
    /// Sealed rounds matched.
    pub rounds: u64,
    /// Deals made, countersigned, voided, settled.
    pub deals: [u64; 4],
    /// Energy settled by meter.
    pub settled: u64,
    /// Paid for settled energy and in charges to the grid company.
    pub paid: (i128, i128),
    /// Penalties paid.
    pub penalties: i128,
    /// Surplus bought and shortage sold by the grid company.
    pub balanced: (u64, u64),
    /// What it could not be paid.
    pub unpaid: i128,
    /// Registrations, envelopes, reveals, quotes in the ledger.
    pub counts: [u64; 4],
    /// Items refused.
    pub refused: u64,
    /// Last reputations.
    pub reputations: BTreeMap<ParticipantId, u32>,
    /// Height of the last block.
    pub height: u64,
    /// Records.
    pub records: u64,
    /// Root over all block headers.
    pub ledger_root: Hash,
    /// State root.
    pub state_root: Hash,
    /// Minted by account (grid company, registration, clean energy), burned, held; nano-points.
    pub minted: [i128; MINTS],
    /// Burned bonds.
    pub burned: i128,
    /// Money in all accounts.
    pub held: i128,
    /// Whether points and energy are conserved in the whole state.
    pub conserved: bool,
}

/// Reads the ledger of a demonstration back.
///
/// # Errors
/// [`ReportError`].
pub fn read(ledger: &Path) -> Result<Report, ReportError> {
    let reader = Reader::open(ledger)?;
    let (mut executor, roots) = Executor::start(reader.genesis())?;
    let mut fold = Fold::new();
    let mut headers = Frontier::new();
    fold.report.state_root = roots.state_root;
    for block in reader.blocks() {
        let block = block?;
        headers.push(leaf_hash(block.raw));
        let height = block.header.height;
        if height == 0 {
            continue;
        }
        for record in &block.records {
            let refused = |reject| ReportError::Record {
                height,
                seq: record.seq,
                reject,
            };
            let command =
                decode_record(executor.chain(), record.kind, record.version, record.payload).map_err(refused)?;
            fold.command(record.kind, &command);
            if let Command::Tick(time) = &command {
                for round in executor.market().rounds_due(*time) {
                    fold.round(&round);
                }
            }
            let events = executor
                .apply(record.seq, &command)
                .map_err(|refusal| refused(refusal.reject))?;
            for event in &events {
                fold.event(&event.event);
            }
        }
        let ended = executor.end_block(height, block.records.last().map_or(0, |record| record.seq));
        if ended.state_root != block.header.state_root {
            return Err(ReportError::StateRoot { height });
        }
        let report = &mut fold.report;
        (report.height, report.state_root) = (height, ended.state_root);
        report.records += block.records.len() as u64;
    }
    let state = executor.market().state();
    let mut report = fold.finish();
    report.ledger_root = headers.root();
    report.minted = state.supply.minted;
    report.burned = state.supply.burned;
    report.held = state.money_held();
    report.conserved = state.is_conserved();
    Ok(report)
}

struct Fold {
    report: Report,
    /// Energy dealt and greatest energy shown, by participant, contract and side.
    shown: BTreeMap<(ParticipantId, ContractId, Side), (u64, u64)>,
}

impl Fold {
    fn new() -> Self {
        let report = Report {
            hours: vec![Hour::default(); PERIODS / 4],
            modes: RangeMode::ALL
                .iter()
                .map(|mode| (*mode, ModeFigures::default()))
                .collect(),
            ..Report::default()
        };
        Self {
            report,
            shown: BTreeMap::new(),
        }
    }

    fn hour(&mut self, contract: ContractId) -> &mut Hour {
        let period = contract.period().saturating_sub(FIRST_PERIOD) as usize;
        let last = self.report.hours.len() - 1;
        &mut self.report.hours[(period / 4).min(last)]
    }

    fn command(&mut self, kind: u16, command: &Command) {
        let slot = match kind {
            record_kind::REGISTER => 0,
            record_kind::ENVELOPE => 1,
            record_kind::REVEAL => 2,
            _ => return,
        };
        self.report.counts[slot] += 1;
        self.report.counts[3] += match command {
            Command::Envelope(envelope) => {
                let quotes = envelope
                    .items
                    .iter()
                    .filter(|item| matches!(item, Item::Quote(_) | Item::Replace(_)));
                quotes.count() as u64
            }
            Command::Reveal(reveal) => reveal.quotes.len() as u64,
            _ => 0,
        };
    }

    fn round(&mut self, round: &wattbook_market::snapshot::RoundSnapshot) {
        self.report.rounds += 1;
        for (mode, figures) in &mut self.report.modes {
            let cleared = round.clear_under(*mode);
            figures.welfare += welfare(&round.orders, &cleared.deals);
            let mut filled = vec![0u64; round.orders.len()];
            for deal in &cleared.deals {
                figures.traded += deal.energy.get();
                filled[deal.buy] += deal.energy.get();
                filled[deal.sell] += deal.energy.get();
            }
            for (i, order) in round.orders.iter().enumerate() {
                let RoundOrder { owner, energy, .. } = *order;
                if round.participants[owner as usize] == GRID_COMPANY {
                    continue;
                }
                let quarter = (round.percentile(i).get() / 250_000).min(3) as usize;
                figures.quarters[quarter].0 += energy.get();
                figures.quarters[quarter].1 += filled[i];
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Opened {
                order,
                contract,
                side,
                leaves,
                ..
            } if order.participant != GRID_COMPANY => {
                let (dealt, most) = self.shown.entry((order.participant, *contract, *side)).or_default();
                *most = (*most).max(*dealt + leaves.get());
            }
            Event::Executed { deal, .. } => {
                self.report.deals[0] += 1;
                let energy = deal.energy.get();
                for (who, side) in [
                    (deal.buyer.participant, Side::Buy),
                    (deal.seller.participant, Side::Sell),
                ] {
                    if who != GRID_COMPANY {
                        let (dealt, most) = self.shown.entry((who, deal.contract, side)).or_default();
                        *dealt += energy;
                        *most = (*most).max(*dealt);
                    }
                }
                let grid = [deal.buyer.participant, deal.seller.participant].contains(&GRID_COMPANY);
                let hour = self.hour(deal.contract);
                *(if grid { &mut hour.with_grid } else { &mut hour.traded }) += energy;
                let (low, high) = hour.prices.unwrap_or((deal.price, deal.price));
                hour.prices = Some((low.min(deal.price), high.max(deal.price)));
            }
            Event::Unmatched {
                order,
                contract,
                leaves,
                reason,
                ..
            } if order.participant != GRID_COMPANY => {
                *self.hour(*contract).unmatched.entry(*reason).or_default() += leaves.get();
            }
            Event::Closed {
                order,
                contract,
                leaves,
                reason: CloseReason::GateClosed,
                ..
            } if order.participant != GRID_COMPANY => {
                self.hour(*contract).left += leaves.get();
            }
            Event::Cep { contract, cep, .. } => self.hour(*contract).cep = Some(*cep),
            Event::Contracted { count, .. } => self.report.deals[1] += count,
            Event::DealVoided { .. } => self.report.deals[2] += 1,
            Event::Settled {
                settled,
                energy_paid,
                charge_paid,
                buyer_penalty,
                seller_penalty,
                ..
            } => {
                self.report.deals[3] += 1;
                self.report.settled += settled.get();
                self.report.paid.0 += i128::from(energy_paid.get());
                self.report.paid.1 += i128::from(charge_paid.get());
                self.report.penalties += i128::from(buyer_penalty.get()) + i128::from(seller_penalty.get());
            }
            Event::Balanced {
                side, energy, unpaid, ..
            } => {
                let slot = if *side == Side::Sell {
                    &mut self.report.balanced.0
                } else {
                    &mut self.report.balanced.1
                };
                *slot += energy.get();
                self.report.unpaid += i128::from(unpaid.get());
            }
            Event::Rejected { .. }
            | Event::QuoteVoided { .. }
            | Event::SealVoided { .. }
            | Event::BondBurned { .. } => {
                self.report.refused += 1;
            }
            Event::Rated {
                participant,
                reputation,
                ..
            } => {
                self.report.reputations.insert(*participant, reputation.get());
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Report {
        for ((_, contract, side), (_, most)) in core::mem::take(&mut self.shown) {
            let hour = self.hour(contract);
            *(if side == Side::Sell {
                &mut hour.offered
            } else {
                &mut hour.asked
            }) += most;
        }
        self.report
    }
}

fn kwh(wh: u64) -> String {
    let tenths = (wh + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn points(nano: i128) -> String {
    let rounded = (2 * nano + 1_000_000).div_euclid(2_000_000);
    decimal(rounded, 3)
}

fn percent((entered, filled): (u64, u64)) -> String {
    match (u128::from(filled) * 1_000).checked_div(u128::from(entered)) {
        Some(permille) => format!("{}.{}", permille / 10, permille % 10),
        None => "-".into(),
    }
}

fn micro(price: MicroPrice) -> String {
    let cents = (i128::from(price.get()) + 5_000).div_euclid(10_000);
    decimal(cents, 2)
}

impl Report {
    /// The tables.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "Energy in kWh, prices in points/MWh. asked, offered: participants; grid: dealt with the grid company."
        )?;
        writeln!(out)?;
        writeln!(
            out,
            "hour    asked  offered   traded     grid        prices      CEP   left  unmatched per round, by reason"
        )?;
        for (i, hour) in self.hours.iter().enumerate() {
            let active = hour.asked + hour.offered + hour.with_grid > 0;
            if !active {
                continue;
            }
            let prices = hour.prices.map_or("-".into(), |(low, high)| format!("{low}-{high}"));
            let cep = hour.cep.map_or("-".into(), micro);
            let reasons: Vec<String> = hour
                .unmatched
                .iter()
                .map(|(reason, wh)| format!("{} {}", reason.name(), kwh(*wh)))
                .collect();
            writeln!(
                out,
                "{i:02}   {:>8} {:>8} {:>8} {:>8} {:>13} {:>8} {:>6}  {}",
                kwh(hour.asked),
                kwh(hour.offered),
                kwh(hour.traded),
                kwh(hour.with_grid),
                prices,
                cep,
                kwh(hour.left),
                reasons.join(", ")
            )?;
        }
        writeln!(out)?;
        writeln!(
            out,
            "The {} sealed rounds as recorded, cleared in each range mode. Fill of what participants entered, by",
            self.rounds
        )?;
        writeln!(out, "reputation quarter (best first), in percent.")?;
        writeln!(out)?;
        writeln!(out, "mode           welfare   traded     Q1     Q2     Q3     Q4")?;
        for (mode, figures) in &self.modes {
            let fill = figures.quarters.map(percent);
            writeln!(
                out,
                "{:<12} {:>9} {:>8} {:>6} {:>6} {:>6} {:>6}",
                mode.name(),
                points(figures.welfare * i128::from(NANO_PER_TICK_WH)),
                kwh(figures.traded),
                fill[0],
                fill[1],
                fill[2],
                fill[3]
            )?;
        }
        writeln!(out)?;
        let [made, contracted, voided, settled] = self.deals;
        let (surplus, shortage) = self.balanced;
        writeln!(
            out,
            "deals          {made} made, {contracted} countersigned, {voided} void, {settled} settled by meter: {} kWh",
            kwh(self.settled)
        )?;
        writeln!(
            out,
            "paid           {} points for energy, {} in charges, {} in penalties",
            points(self.paid.0),
            points(self.paid.1),
            points(self.penalties)
        )?;
        writeln!(
            out,
            "balancing      {} kWh surplus bought, {} kWh shortage sold, {} points unpaid",
            kwh(surplus),
            kwh(shortage),
            points(self.unpaid)
        )?;
        let reputations: Vec<u32> = self.reputations.values().copied().collect();
        if let (Some(low), Some(high)) = (reputations.iter().min(), reputations.iter().max()) {
            writeln!(
                out,
                "reputation     {} to {} over {} participants",
                decimal((*low).into(), 6),
                decimal((*high).into(), 6),
                reputations.len()
            )?;
        }
        let [grid, registration, clean, ..] = self.minted;
        writeln!(
            out,
            "points         minted {} (grid {}, registration {}, clean energy {}), burned {}, held {}",
            points(self.minted.iter().sum()),
            points(grid),
            points(registration),
            points(clean),
            points(self.burned),
            points(self.held)
        )?;
        let verdict = if self.conserved { "held" } else { "VIOLATED" };
        writeln!(
            out,
            "conservation   {verdict}: points = minted - burned, energy sold = energy bought ({} kWh)",
            kwh(self.settled)
        )?;
        writeln!(
            out,
            "ledger         {} blocks, {} records",
            self.height + 1,
            self.records
        )?;
        writeln!(out, "ledger root    {}", self.ledger_root)?;
        writeln!(out, "state root     {}", self.state_root)
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let hours: Vec<Value> = self
            .hours
            .iter()
            .enumerate()
            .map(|(hour, h)| {
                let price = |p: DealPrice| p.to_string();
                let unmatched: serde_json::Map<String, Value> = h
                    .unmatched
                    .iter()
                    .map(|(reason, wh)| (reason.name().into(), json!(wh)))
                    .collect();
                json!({
                    "hour": hour, "asked_wh": h.asked, "offered_wh": h.offered, "traded_wh": h.traded,
                    "with_grid_wh": h.with_grid, "price_low": h.prices.map(|p| price(p.0)),
                    "price_high": h.prices.map(|p| price(p.1)), "cep": h.cep.map(|c| c.to_string()),
                    "unmatched_wh": unmatched, "left_wh": h.left,
                })
            })
            .collect();
        let modes: Vec<Value> = self
            .modes
            .iter()
            .map(|(mode, f)| {
                let welfare = decimal(f.welfare * i128::from(NANO_PER_TICK_WH), 9);
                let fill: Vec<Value> = f
                    .quarters
                    .iter()
                    .map(|(e, d)| json!({"entered_wh": e, "filled_wh": d}))
                    .collect();
                json!({"mode": mode.name(), "welfare": welfare, "traded_wh": f.traded, "quarters": fill})
            })
            .collect();
        json!({
            "hours": hours, "modes": modes, "rounds": self.rounds, "deals": self.deals[0],
            "countersigned": self.deals[1], "voided": self.deals[2], "settled": self.deals[3],
            "settled_wh": self.settled, "registrations": self.counts[0], "envelopes": self.counts[1],
            "reveals": self.counts[2], "quotes": self.counts[3], "refused": self.refused,
            "blocks": self.height + 1, "records": self.records,
            "ledger_root": self.ledger_root.to_string(), "state_root": self.state_root.to_string(),
            "minted": decimal(self.minted.iter().sum(), 9), "burned": decimal(self.burned, 9),
            "held": decimal(self.held, 9), "conserved": self.conserved,
        })
    }
}
