//! `wattbook clear`: one sealed round from a CSV file (MARKET 3 and 4, DETAILS 8).
//!
//! # Contract
//! * Orders are `id,side,price,quantity`, ranks `id,percentile`, under a header that names these columns in any order. An
//!   id stands for one participant with one order. Blank lines, a byte order mark and CRLF are passed over.
//! * The percentile stands for reputation, the order of the file for time. Floor, concession, charge, groups and balance do
//!   not apply: the file alone decides.
//! * The same files give the same bytes on stdout. Whatever is wrong with them is said on stderr with file, line and
//!   column, and nothing is cleared: exit code 1 and an empty stdout.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wattbook_market::round::{self, Cleared, Owner, RoundOrder, Rules};
use wattbook_types::units::{DecimalError, PPM_ONE, decimal, parse_decimal};
use wattbook_types::{CloseReason, DealPriceRule, Energy, MicroPrice, Ppm, Price, RangeMode, Side};

/// Columns of an order file.
const ORDER_COLUMNS: [&str; 4] = ["id", "side", "price", "quantity"];
/// Columns of a rank file.
const RANK_COLUMNS: [&str; 2] = ["id", "percentile"];
/// Decimals of a limit price, points/MWh.
const PRICE_DECIMALS: u32 = 2;
/// Decimals of a quantity, MWh.
const QUANTITY_DECIMALS: u32 = 6;
/// Decimals of a percentile and of a reference price.
const MICRO_DECIMALS: u32 = 6;
/// Decimals of welfare in points: one tick-Wh is 1e-8 point.
const WELFARE_DECIMALS: u32 = 8;
/// Most characters of a cell an error repeats.
const QUOTED_MAX: usize = 40;

/// What to clear, and by which rules.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// CSV file of orders: id,side,price,quantity (side B or S, points/MWh, MWh), earliest first.
    #[arg(long, value_name = "FILE")]
    pub orders: PathBuf,
    /// CSV file of reputation ranks: id,percentile (0 to 1, 0 is best); without it every percentile is 0.
    #[arg(long, value_name = "FILE")]
    pub ranks: Option<PathBuf>,
    /// Price the uniform rule prefers among equals, points/MWh with up to 6 decimals.
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true, value_parser = parse_reference)]
    pub reference: Option<MicroPrice>,
    /// Who may trade with whom by reputation.
    #[arg(long, value_name = "MODE", default_value = RangeMode::Either.name(), value_parser = range_parser())]
    pub range: RangeMode,
    /// How a deal is priced.
    #[arg(long, value_name = "RULE", default_value = DealPriceRule::Midpoint.name(), value_parser = deal_price_parser())]
    pub deal_price: DealPriceRule,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Clears the round and prints what came of it.
pub fn run(args: &Args) -> ExitCode {
    match clear(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A message that cannot be written has nowhere else to go.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn clear(args: &Args) -> Result<(), ClearError> {
    let input = Input::read(&args.orders, args.ranks.as_deref())?;
    let rules = Rules {
        range: args.range,
        deal_price: args.deal_price,
        reference: args.reference,
        spread_min: 0,
    };
    let places = round::rank(&input.owners, &input.orders);
    let cleared = round::clear(&input.owners, &input.orders, &places, rules);
    let report = Report::new(&input, &cleared);
    let text = if args.json {
        serde_json::to_string(&report).map_err(|source| ClearError::Write(source.into()))? + "\n"
    } else {
        report.table(cleared.uniform_volume)
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ClearError::Write(error)),
        _ => Ok(()),
    }
}

fn range_parser() -> impl TypedValueParser<Value = RangeMode> {
    named(RangeMode::ALL, RangeMode::name)
}

fn deal_price_parser() -> impl TypedValueParser<Value = DealPriceRule> {
    named(DealPriceRule::ALL, DealPriceRule::name)
}

/// Parses one of `all` by its name; clap refuses any other and lists the names.
fn named<T, const N: usize>(all: [T; N], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.map(name)).try_map(move |given| {
        all.into_iter()
            .find(|&value| name(value) == given)
            .ok_or("no such value")
    })
}

fn parse_reference(text: &str) -> Result<MicroPrice, String> {
    parse_decimal(text, MICRO_DECIMALS)
        .and_then(|raw| i64::try_from(raw).map_err(|_| DecimalError::Overflow))
        .map(MicroPrice::new)
        .map_err(|error| match error {
            DecimalError::Syntax => "write points/MWh as a plain decimal, like -12.5".to_owned(),
            DecimalError::TooManyDecimals => format!("at most {MICRO_DECIMALS} decimals are compared"),
            DecimalError::Overflow => "no price is that large".to_owned(),
        })
}

/// Why a round was not cleared.
#[derive(Debug, thiserror::Error)]
enum ClearError {
    /// A file could not be read.
    #[error("{}: cannot be read: {source}; check the path", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A line as a whole is wrong.
    #[error("{}:{line}: {fault}", .path.display())]
    Line {
        path: PathBuf,
        line: u64,
        fault: Box<Fault>,
    },
    /// A cell is wrong.
    #[error("{}:{line}: column {column} ({name}): {fault}", .path.display())]
    Cell {
        path: PathBuf,
        line: u64,
        column: usize,
        name: String,
        fault: Box<Fault>,
    },
    /// Ranks are given, but not for this order.
    #[error("{}: no percentile for id {id:?} of {}:{line}; add a row for it or leave out --ranks",
        .ranks.display(), .orders.display())]
    Unranked {
        ranks: PathBuf,
        orders: PathBuf,
        line: u64,
        id: String,
    },
    /// The result could not be written.
    #[error("stdout: cannot be written: {0}")]
    Write(io::Error),
}

/// What is wrong with a line or a cell, and what to do about it.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the file is empty; its first line names the columns {}", .columns.join(","))]
    EmptyFile { columns: &'static [&'static str] },
    #[error("there is no column {name:?}; the columns are {}", .columns.join(","))]
    ColumnMissing {
        name: &'static str,
        columns: &'static [&'static str],
    },
    #[error("no such column; the columns are {}", .columns.join(","))]
    ColumnUnknown { columns: &'static [&'static str] },
    #[error("the column is named twice; keep one")]
    ColumnTwice,
    #[error("expected {expected} fields, found {found}; check commas and quotes")]
    FieldCount { found: usize, expected: usize },
    #[error("not UTF-8; save the file as UTF-8")]
    NotUtf8,
    #[error("the id is empty; every order needs one")]
    IdEmpty,
    #[error("{0} contains a control character; use plain text")]
    IdControl(Quoted),
    #[error("{id} is taken by line {line}; ids are unique, one participant each")]
    IdTwice { id: Quoted, line: u64 },
    #[error("{0} has no order in the order file; remove the row or correct the id")]
    IdUnknown(Quoted),
    #[error("{0} is neither B nor S; write B for a bid, S for an ask")]
    Side(Quoted),
    #[error("{0} is no plain decimal number; write it like 12.5")]
    Number(Quoted),
    #[error("{value} has more than {decimals} decimals; round it")]
    Decimals { value: Quoted, decimals: u32 },
    #[error("{value} is out of range; write a value from {least} to {greatest}")]
    Range {
        value: Quoted,
        least: String,
        greatest: String,
    },
    #[error("the quantities of this side add up to more than {greatest} MWh here; split the round")]
    Total { greatest: String },
}

/// A cell as an error repeats it: quoted, escaped, cut to [`QUOTED_MAX`] characters.
#[derive(Debug)]
struct Quoted(String);

impl Quoted {
    fn new(text: &str) -> Self {
        match text.char_indices().nth(QUOTED_MAX) {
            Some((end, _)) => Self(format!("{}...", &text[..end])),
            None => Self(text.to_owned()),
        }
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A CSV file under a header of exactly `N` named columns.
struct Table<'a, const N: usize> {
    path: &'a Path,
    names: &'static [&'static str; N],
    /// Where each named column stands in the file, from 0.
    at: [usize; N],
    rows: Vec<Row<N>>,
}

/// A row: its line and its cells in the order of the names, surrounding spaces removed.
struct Row<const N: usize> {
    line: u64,
    cells: [String; N],
}

impl<'a, const N: usize> Table<'a, N> {
    fn read(path: &'a Path, names: &'static [&'static str; N]) -> Result<Self, ClearError> {
        let bytes = std::fs::read(path).map_err(|source| ClearError::Read {
            path: path.into(),
            source,
        })?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text);
        let mut lines = Lines { text, at: 0, line: 1 };
        let mut record = csv::ByteRecord::new();
        let mut at: Option<[usize; N]> = None;
        let mut rows = Vec::new();
        while reader.read_byte_record(&mut record).map_err(|error| ClearError::Read {
            path: path.into(),
            source: error.into(),
        })? {
            let line = lines.of_record(record.position().map_or(0, csv::Position::byte));
            let Some(at) = &at else {
                at = Some(columns(path, line, names, &record)?);
                continue;
            };
            if record.len() != N {
                let fault = Fault::FieldCount {
                    found: record.len(),
                    expected: N,
                };
                return Err(line_error(path, line, fault));
            }
            let mut cells = names.map(|_| String::new());
            for (i, cell) in cells.iter_mut().enumerate() {
                match core::str::from_utf8(&record[at[i]]) {
                    Ok(text) => *cell = text.trim().to_owned(),
                    Err(_) => return Err(cell_error(path, line, at[i], names[i], Fault::NotUtf8)),
                }
            }
            rows.push(Row { line, cells });
        }
        match at {
            Some(at) => Ok(Self { path, names, at, rows }),
            None => Err(line_error(path, 1, Fault::EmptyFile { columns: names })),
        }
    }

    /// The error of cell `i` of a row.
    fn error(&self, row: &Row<N>, i: usize, fault: Fault) -> ClearError {
        cell_error(self.path, row.line, self.at[i], self.names[i], fault)
    }

    /// The id of a row, unique so far; `seen` keeps the row it stands in.
    fn id<'t>(&'t self, number: usize, seen: &mut BTreeMap<&'t str, usize>) -> Result<&'t str, ClearError> {
        let row = &self.rows[number];
        let id = row.cells[0].as_str();
        if id.is_empty() {
            return Err(self.error(row, 0, Fault::IdEmpty));
        }
        if id.chars().any(char::is_control) {
            return Err(self.error(row, 0, Fault::IdControl(Quoted::new(id))));
        }
        match seen.insert(id, number) {
            None => Ok(id),
            Some(first) => {
                let fault = Fault::IdTwice {
                    id: Quoted::new(id),
                    line: self.rows[first].line,
                };
                Err(self.error(row, 0, fault))
            }
        }
    }

    /// Cell `i` of a row as a count of `10^-decimals`, within `least..=greatest`.
    fn number(
        &self,
        row: &Row<N>,
        i: usize,
        decimals: u32,
        (least, greatest): (i128, i128),
    ) -> Result<i128, ClearError> {
        let value = || Quoted::new(&row.cells[i]);
        let range = || Fault::Range {
            value: value(),
            least: decimal(least, decimals),
            greatest: decimal(greatest, decimals),
        };
        match parse_decimal(&row.cells[i], decimals) {
            Ok(raw) if (least..=greatest).contains(&raw) => Ok(raw),
            Ok(_) | Err(DecimalError::Overflow) => Err(self.error(row, i, range())),
            Err(DecimalError::Syntax) => Err(self.error(row, i, Fault::Number(value()))),
            Err(DecimalError::TooManyDecimals) => {
                let fault = Fault::Decimals {
                    value: value(),
                    decimals,
                };
                Err(self.error(row, i, fault))
            }
        }
    }
}

fn line_error(path: &Path, line: u64, fault: Fault) -> ClearError {
    ClearError::Line {
        path: path.into(),
        line,
        fault: fault.into(),
    }
}

fn cell_error(path: &Path, line: u64, at: usize, name: &str, fault: Fault) -> ClearError {
    ClearError::Cell {
        path: path.into(),
        line,
        column: at + 1,
        name: name.to_owned(),
        fault: fault.into(),
    }
}

/// Where each of `names` stands in a header, which holds nothing else.
fn columns<const N: usize>(
    path: &Path,
    line: u64,
    names: &'static [&'static str; N],
    header: &csv::ByteRecord,
) -> Result<[usize; N], ClearError> {
    let mut at = [None; N];
    for (i, cell) in header.iter().enumerate() {
        let Ok(text) = core::str::from_utf8(cell) else {
            return Err(cell_error(path, line, i, "header", Fault::NotUtf8));
        };
        let given = text.trim();
        let fault = match names.iter().position(|name| *name == given) {
            Some(known) if at[known].is_none() => {
                at[known] = Some(i);
                continue;
            }
            Some(_) => Fault::ColumnTwice,
            None => Fault::ColumnUnknown { columns: names },
        };
        let name = Quoted::new(given).0.escape_debug().to_string();
        return Err(cell_error(path, line, i, &name, fault));
    }
    let mut found = [0; N];
    for (i, slot) in at.into_iter().enumerate() {
        match slot {
            Some(column) => found[i] = column,
            None => {
                let fault = Fault::ColumnMissing {
                    name: names[i],
                    columns: names,
                };
                return Err(line_error(path, line, fault));
            }
        }
    }
    Ok(found)
}

/// Counts lines up to a byte; `csv` counts them too, but not past blank lines and CRLF.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// Line on which the record starts that was read from byte `start`; called with ascending bytes.
    fn of_record(&mut self, start: u64) -> u64 {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        while let Some(&byte) = self.text.get(self.at) {
            if self.at >= start && byte != b'\n' && byte != b'\r' {
                break;
            }
            self.at += 1;
            self.line += u64::from(byte == b'\n');
        }
        self.line
    }
}

/// A round as the files give it; order `i` belongs to owner `i`.
struct Input {
    ids: Vec<String>,
    owners: Vec<Owner>,
    orders: Vec<RoundOrder>,
}

impl Input {
    fn read(orders_path: &Path, ranks_path: Option<&Path>) -> Result<Self, ClearError> {
        let table = Table::read(orders_path, &ORDER_COLUMNS)?;
        let mut by_id: BTreeMap<&str, usize> = BTreeMap::new();
        let mut orders = Vec::with_capacity(table.rows.len());
        let mut totals = [0u64; 2];
        for (i, row) in table.rows.iter().enumerate() {
            table.id(i, &mut by_id)?;
            let side = match row.cells[1].as_str() {
                "B" => Side::Buy,
                "S" => Side::Sell,
                other => return Err(table.error(row, 1, Fault::Side(Quoted::new(other)))),
            };
            let price = table.number(row, 2, PRICE_DECIMALS, (i32::MIN.into(), i32::MAX.into()))?;
            let energy = table.number(row, 3, QUANTITY_DECIMALS, (1, u64::MAX.into()))?;
            // BOUND: both casts stay within the ranges just checked, and no file holds 2^32 lines of orders.
            let (price, energy, serial) = (price as i32, energy as u64, i as u32);
            match totals[side.index()].checked_add(energy) {
                Some(total) => totals[side.index()] = total,
                None => {
                    let greatest = Energy::new(u64::MAX).to_string();
                    return Err(table.error(row, 3, Fault::Total { greatest }));
                }
            }
            orders.push(RoundOrder {
                owner: serial,
                side,
                price: Price::new(price),
                energy: Energy::new(energy),
                min_fill: Energy::ZERO,
                index: 0,
                spare_rank: serial,
                charge_covered: true,
            });
        }
        let percentiles = match ranks_path {
            None => vec![Ppm::ZERO; orders.len()],
            Some(path) => percentiles(path, &table, &by_id)?,
        };
        let mut best_first: Vec<usize> = (0..orders.len()).collect();
        best_first.sort_by_key(|&i| percentiles[i]);
        let mut owners: Vec<Owner> = percentiles
            .iter()
            .enumerate()
            .map(|(i, &percentile)| Owner {
                priority: 0,
                percentile,
                group: i as u32,
            })
            .collect();
        for (priority, &i) in best_first.iter().enumerate() {
            owners[i].priority = priority as u32;
        }
        Ok(Self {
            ids: table.rows.iter().map(|row| row.cells[0].clone()).collect(),
            owners,
            orders,
        })
    }
}

/// The percentile of every order.
fn percentiles(path: &Path, orders: &Table<'_, 4>, by_id: &BTreeMap<&str, usize>) -> Result<Vec<Ppm>, ClearError> {
    let table = Table::read(path, &RANK_COLUMNS)?;
    let mut seen = BTreeMap::new();
    let mut found = vec![None; orders.rows.len()];
    for (number, row) in table.rows.iter().enumerate() {
        let id = table.id(number, &mut seen)?;
        let ppm = table.number(row, 1, MICRO_DECIMALS, (0, PPM_ONE.into()))?;
        match by_id.get(id) {
            // BOUND: at most 1e6.
            Some(&order) => found[order] = Some(Ppm::new(ppm as u32)),
            None => return Err(table.error(row, 0, Fault::IdUnknown(Quoted::new(id)))),
        }
    }
    found
        .into_iter()
        .zip(&orders.rows)
        .map(|(ppm, row)| {
            ppm.ok_or_else(|| ClearError::Unranked {
                ranks: path.into(),
                orders: orders.path.into(),
                line: row.line,
                id: row.cells[0].clone(),
            })
        })
        .collect()
}

/// What `--json` prints; numbers are decimal strings in points/MWh, MWh and points.
#[derive(Serialize)]
struct Report<'a> {
    deals: Vec<DealRow<'a>>,
    unmatched: Vec<UnmatchedRow<'a>>,
    price: Option<String>,
    volume: String,
    welfare: String,
    welfare_max: String,
}

#[derive(Serialize)]
struct DealRow<'a> {
    buyer: &'a str,
    seller: &'a str,
    bid: String,
    ask: String,
    price: String,
    quantity: String,
}

#[derive(Serialize)]
struct UnmatchedRow<'a> {
    id: &'a str,
    side: &'static str,
    quantity: String,
    reason: &'static str,
}

impl<'a> Report<'a> {
    fn new(input: &'a Input, cleared: &Cleared) -> Self {
        let orders = &input.orders;
        let deals = cleared.deals.iter().map(|deal| DealRow {
            buyer: &input.ids[deal.buy],
            seller: &input.ids[deal.sell],
            bid: orders[deal.buy].price.to_string(),
            ask: orders[deal.sell].price.to_string(),
            price: deal.price.to_string(),
            quantity: deal.energy.to_string(),
        });
        let unmatched = cleared.unmatched.iter().map(|left| UnmatchedRow {
            id: &input.ids[left.order],
            side: match orders[left.order].side {
                Side::Buy => "B",
                Side::Sell => "S",
            },
            quantity: left.energy.to_string(),
            reason: left.reason.name(),
        });
        let volume: i128 = cleared.deals.iter().map(|deal| i128::from(deal.energy.get())).sum();
        Self {
            deals: deals.collect(),
            unmatched: unmatched.collect(),
            price: cleared.price.map(|price| price.to_string()),
            volume: decimal(volume, QUANTITY_DECIMALS),
            welfare: decimal(round::welfare(orders, &cleared.deals), WELFARE_DECIMALS),
            welfare_max: decimal(round::welfare_max(orders), WELFARE_DECIMALS),
        }
    }

    /// What is printed without `--json`; `uniform_volume` clears at the uniform price before ranges.
    fn table(&self, uniform_volume: Energy) -> String {
        let mut text = String::from("Deals, points/MWh and MWh\n");
        let mut rows: Vec<[&str; 6]> = vec![["buyer", "seller", "bid", "ask", "price", "quantity"]];
        rows.extend(
            self.deals
                .iter()
                .map(|d| [d.buyer, d.seller, &d.bid, &d.ask, &d.price, &d.quantity]),
        );
        align(&mut text, &rows, [false, false, true, true, true, true]);
        text += "\nUnmatched, MWh\n";
        let mut rows: Vec<[&str; 5]> = vec![["id", "side", "quantity", "reason", ""]];
        rows.extend(
            self.unmatched
                .iter()
                .map(|u| [u.id, u.side, &u.quantity, u.reason, meaning(u.reason)]),
        );
        align(&mut text, &rows, [false, false, true, false, false]);
        text += "\nTotals\n";
        let volume = format!("{} MWh", self.volume);
        let welfare = format!("{} points of at most {}", self.welfare, self.welfare_max);
        let price = self
            .price
            .as_ref()
            .map(|price| format!("{price} points/MWh, {uniform_volume} MWh before ranges"));
        let mut rows = vec![["volume", &volume], ["welfare", &welfare]];
        if let Some(price) = &price {
            rows.insert(0, ["uniform price", price]);
        }
        align(&mut text, &rows, [false, false]);
        text
    }
}

/// What a reason means, for readers of the table.
fn meaning(reason: &str) -> &'static str {
    [
        (CloseReason::NoCounterparty, "no order on the other side"),
        (CloseReason::PriceNotMet, "no opposite price closes with this limit"),
        (
            CloseReason::OutOfRange,
            "what is left opposite is outside the matchable range",
        ),
        (CloseReason::Exhausted, "nothing it could trade with is left"),
    ]
    .into_iter()
    .find_map(|(known, text)| (known.name() == reason).then_some(text))
    .unwrap_or_default()
}

/// Appends `rows`, the first of them a heading, in columns; the flagged ones stand to the right.
fn align<const N: usize>(text: &mut String, rows: &[[&str; N]], right: [bool; N]) {
    if rows.len() < 2 {
        text.push_str("  none\n");
        return;
    }
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(widths).zip(right) {
            let padding = " ".repeat(width - cell.chars().count());
            line += "  ";
            line += &if right {
                padding + cell
            } else {
                (*cell).to_owned() + &padding
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
