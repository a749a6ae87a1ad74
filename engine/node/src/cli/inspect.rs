//! `wattbook inspect`: what a ledger holds, without executing it.
//!
//! # Contract
//! Nothing is verified but what reading needs: checksums, framing and the chain of blocks, not signatures or roots. A
//! damaged ledger is shown as far as it reads, then named with its place, exit code 1. What a crash may have left behind the
//! last committed block is named where no node runs; the blocks before it are sound, so that is no failure.

use super::verify::{emit, fault_json, rows};
use crate::audit::Finding;
use crate::evidence::EvidenceRecord;
use crate::selection::{Selection, contract_of};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wattbook_feed::signed::leaf::LAYOUTS;
use wattbook_feed::signed::{Genesis, RegisterRecord, RevealRecord, SealedEnvelope, record_kind};
use wattbook_ledger::{Block, Commit, Error, Fault, GENESIS_FILE, Reader};
use wattbook_types::units::NS_PER_S;
use wattbook_types::{ChainId, ContractId, Hash, Param, ParticipantId, Roles, TimeNs, sha256};

/// Shows what a ledger holds, beside a running node or offline.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the ledger.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Count these records only.
    #[command(flatten)]
    selection: Selection,
    /// Folder of the segments that `wattbook retain` moved off.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let contents = Contents::read(&args.dir, args.archive.as_deref(), args.selection);
    let printed = emit(&if args.json {
        format!("{}\n", contents.to_json())
    } else {
        rows(&contents.rows())
    });
    contents.fault.as_ref().map_or(printed, |fault| super::fail(fault))
}

/// What stopped the reading.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Finding(#[from] Finding),
    #[error("{}: {source}", .path.display())]
    Genesis {
        path: PathBuf,
        source: wattbook_feed::signed::GenesisError,
    },
    #[error("cannot read {}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Ledger(Error),
}

/// What was found.
#[derive(Debug, Default)]
struct Contents {
    /// Which records are counted.
    selection: Selection,
    chain: Option<ChainId>,
    genesis: Option<Genesis>,
    /// Height, digest and time of the last block read.
    tip: Option<(u64, Hash, TimeNs)>,
    /// Length of what was read, bytes.
    bytes: u64,
    segment_size: Option<u64>,
    commit: Option<Commit>,
    /// What stands behind the last commit although no node is running.
    left_over: Option<Fault>,
    records: BTreeMap<u16, u64>,
    leaves: BTreeMap<u8, u64>,
    revealed_quotes: u64,
    /// Records whose payload does not decode.
    undecoded: u64,
    registered: BTreeSet<ParticipantId>,
    contracts: BTreeSet<ContractId>,
    fault: Option<Stop>,
}

impl Contents {
    fn read(dir: &Path, archive: Option<&Path>, selection: Selection) -> Self {
        let mut contents = Self {
            selection,
            ..Self::default()
        };
        contents.fault = contents.fill(dir, archive).err();
        contents
    }

    fn fill(&mut self, dir: &Path, archive: Option<&Path>) -> Result<(), Stop> {
        let path = dir.join(GENESIS_FILE);
        let bytes = std::fs::read(&path).map_err(|source| Stop::Io {
            path: path.clone(),
            source,
        })?;
        self.chain = Some(ChainId(sha256(&[&bytes])));
        let decoded = Genesis::decode(&bytes).map_err(|source| Stop::Genesis { path, source });
        self.genesis = decoded.as_ref().ok().cloned();
        let reader = Reader::open_in(dir, archive).map_err(|error| match error {
            Error::Damaged(fault) => Stop::Finding(fault.into()),
            other => Stop::Ledger(other),
        })?;
        self.segment_size = Some(reader.segment_size());
        self.commit = reader.committed();
        for block in reader.blocks() {
            self.take(&block.map_err(Finding::from)?);
        }
        self.left_over = reader.left_over().map_err(Finding::from)?;
        decoded.map(drop)
    }

    fn take(&mut self, block: &Block<'_>) {
        self.tip = Some((block.header.height, block.digest, block.header.time));
        self.bytes = block.end;
        let selection = self.selection;
        for record in block.records.iter().filter(|record| selection.has(record)) {
            *self.records.entry(record.kind).or_default() += 1;
            if self.take_record(record.kind, record.payload).is_none() {
                self.undecoded += 1;
            }
        }
    }

    /// Counts what a record holds; `None` if it does not decode.
    fn take_record(&mut self, kind: u16, payload: &[u8]) -> Option<()> {
        match kind {
            record_kind::REGISTER => {
                let record = RegisterRecord::decode(payload).ok()?;
                self.registered.insert(ParticipantId::new(record.register.admit_serial));
            }
            record_kind::ENVELOPE => {
                for leaf in &SealedEnvelope::decode(payload).ok()?.leaves {
                    *self.leaves.entry(leaf[0]).or_default() += 1;
                    self.contracts.extend(contract_of(leaf));
                }
            }
            record_kind::REVEAL => {
                let record = RevealRecord::decode(payload).ok()?;
                self.revealed_quotes += record.leaves.len() as u64;
                self.contracts.insert(record.contract);
            }
            record_kind::TICK => {}
            record_kind::EVIDENCE => {
                EvidenceRecord::decode(payload).ok()?;
            }
            _ => return None,
        }
        Some(())
    }

    fn segments(&self) -> Option<u64> {
        Some(self.bytes.div_ceil(self.segment_size?))
    }

    fn participants(&self) -> u64 {
        self.genesis.as_ref().map_or(0, |genesis| genesis.accounts.len() as u64) + self.registered.len() as u64
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let Some(chain) = self.chain {
            rows.push(("chain id", chain.0.to_string()));
        }
        if let Some(genesis) = &self.genesis {
            rows.push(("network", text(&genesis.network)));
            rows.push((
                "area",
                format!("{} {}", genesis.area, text(&genesis.eic)).trim_end().to_owned(),
            ));
            rows.push(("demo", if genesis.is_demo() { "yes" } else { "no" }.to_owned()));
            rows.push(("genesis", utc(genesis.time)));
            let params: Vec<String> = changed(genesis)
                .map(|(param, value)| format!("{}={value}", param.key()))
                .collect();
            rows.push((
                "parameters",
                if params.is_empty() {
                    "defaults".to_owned()
                } else {
                    params.join(" ")
                },
            ));
            for account in &genesis.accounts {
                let register = &account.register;
                rows.push((
                    "account",
                    format!("{} {}", register.admit_serial, roles(register.roles).join(" ")),
                ));
            }
        }
        if let Some((height, digest, time)) = self.tip {
            let from = self
                .genesis
                .as_ref()
                .map(|genesis| utc(genesis.time))
                .unwrap_or_default();
            rows.push(("height", format!("{height} ({} blocks)", height + 1)));
            rows.push(("time", format!("{from} to {}", utc(time))));
            rows.push((
                "records",
                counts(self.records.iter().map(|(kind, count)| (record_name(*kind), *count))),
            ));
            rows.push((
                "leaves",
                counts(self.leaves.iter().map(|(kind, count)| (leaf_name(*kind), *count))),
            ));
            rows.push(("revealed", format!("{} quotes", self.revealed_quotes)));
            if self.undecoded > 0 {
                rows.push((
                    "undecoded",
                    format!("{} records; run `wattbook verify`", self.undecoded),
                ));
            }
            rows.push(("participants", self.participants().to_string()));
            let range = match (self.contracts.first(), self.contracts.last()) {
                (Some(first), Some(last)) => format!(" ({first} to {last})"),
                _ => String::new(),
            };
            rows.push(("contracts", format!("{}{range}", self.contracts.len())));
            let segments = self.segments().unwrap_or_default();
            let size = self.segment_size.unwrap_or_default();
            rows.push(("bytes", format!("{} in {segments} segments of {size}", self.bytes)));
            rows.push(("tip digest", digest.to_string()));
        }
        if let Some(commit) = self.commit {
            let Commit { height, length, digest } = commit;
            rows.push(("last commit", format!("height {height}, {length} bytes, {digest}")));
        }
        if let Some(fault) = &self.left_over {
            rows.push((
                "left over",
                format!("{fault}; a crash leaves such, and `wattbook run` recovers it; `wattbook verify` refuses it"),
            ));
        }
        rows
    }

    fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("ok".into(), self.fault.is_none().into());
        out.insert("chain_id".into(), json!(self.chain.map(|chain| chain.0.to_string())));
        if let Some(genesis) = &self.genesis {
            let params: Map<String, Value> = changed(genesis)
                .map(|(p, value)| (p.key().into(), value.into()))
                .collect();
            let accounts = genesis.accounts.iter().map(|account| {
                let register = &account.register;
                json!({ "participant": register.admit_serial, "roles": roles(register.roles) })
            });
            out.insert("network".into(), text(&genesis.network).into());
            out.insert("eic".into(), text(&genesis.eic).into());
            out.insert("area".into(), genesis.area.into());
            out.insert("demo".into(), genesis.is_demo().into());
            out.insert("genesis_time".into(), utc(genesis.time).into());
            out.insert("params".into(), params.into());
            out.insert("accounts".into(), accounts.collect());
        }
        if let Some((height, digest, time)) = self.tip {
            let named = |counts: Vec<(String, u64)>| -> Map<String, Value> {
                counts.into_iter().map(|(name, count)| (name, count.into())).collect()
            };
            let records = self
                .records
                .iter()
                .map(|(kind, count)| (record_name(*kind), *count))
                .collect();
            let leaves = self
                .leaves
                .iter()
                .map(|(kind, count)| (leaf_name(*kind), *count))
                .collect();
            out.insert("height".into(), height.into());
            out.insert("blocks".into(), (height + 1).into());
            out.insert("time".into(), utc(time).into());
            out.insert("records".into(), named(records).into());
            out.insert("leaves".into(), named(leaves).into());
            out.insert("revealed_quotes".into(), self.revealed_quotes.into());
            out.insert("undecoded".into(), self.undecoded.into());
            out.insert("participants".into(), self.participants().into());
            out.insert("contracts".into(), self.contracts.len().into());
            out.insert("bytes".into(), self.bytes.into());
            out.insert("segments".into(), json!(self.segments()));
            out.insert("segment_size".into(), json!(self.segment_size));
            out.insert("tip_digest".into(), digest.to_string().into());
        }
        if let Some(commit) = self.commit {
            let Commit { height, length, digest } = commit;
            out.insert(
                "commit".into(),
                json!({ "height": height, "length": length, "digest": digest.to_string() }),
            );
        }
        let left_over = self.left_over.clone().map(|fault| fault_json(&fault.into()));
        out.insert("left_over".into(), json!(left_over));
        match &self.fault {
            None => {}
            Some(Stop::Finding(finding)) => {
                out.insert("fault".into(), fault_json(finding));
            }
            Some(other) => {
                out.insert("fault".into(), json!({ "message": other.to_string() }));
            }
        }
        out.into()
    }
}

/// Parameters that differ from their defaults.
fn changed(genesis: &Genesis) -> impl Iterator<Item = (Param, i64)> {
    genesis
        .params
        .iter()
        .copied()
        .filter(|(param, value)| param.default_value() != *value)
}

/// A zero-padded field as text, control characters escaped.
fn text(field: &[u8]) -> String {
    let end = field.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&field[..end]).escape_debug().to_string()
}

/// Names of the roles held.
fn roles(bits: u32) -> Vec<&'static str> {
    let held = Roles::from_bits(bits);
    let names = [
        (Roles::BUYER, "buyer"),
        (Roles::SELLER, "seller"),
        (Roles::AGGREGATOR, "aggregator"),
        (Roles::GRID, "grid"),
        (Roles::METER, "meter"),
        (Roles::REGULATOR, "regulator"),
        (Roles::DELEGATE, "delegate"),
    ];
    names
        .into_iter()
        .filter(|(role, _)| held.contains(*role))
        .map(|(_, name)| name)
        .collect()
}

fn record_name(kind: u16) -> String {
    match kind {
        record_kind::REGISTER => "register".to_owned(),
        record_kind::ENVELOPE => "envelope".to_owned(),
        record_kind::REVEAL => "reveal".to_owned(),
        record_kind::TICK => "tick".to_owned(),
        record_kind::EVIDENCE => "evidence".to_owned(),
        other => format!("kind {other}"),
    }
}

/// A leaf's kind by the name of its layout.
fn leaf_name(kind: u8) -> String {
    let known = LAYOUTS.iter().find(|(known, _, _)| *known == kind);
    known.map_or_else(
        || format!("kind {kind}"),
        |(_, name, _)| name.trim_end_matches("Leaf").to_lowercase(),
    )
}

fn counts(counted: impl Iterator<Item = (String, u64)>) -> String {
    let (mut total, mut parts) = (0, Vec::new());
    for (name, count) in counted {
        total += count;
        parts.push(format!("{name} {count}"));
    }
    if parts.is_empty() {
        "0".to_owned()
    } else {
        format!("{total} ({})", parts.join(", "))
    }
}

/// An instant in UTC, RFC 3339, without its zero fraction.
fn utc(time: TimeNs) -> String {
    let (seconds, nanos) = (time.get() / NS_PER_S, time.get() % NS_PER_S);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that a leap day ends its year (H. Hinnant, chrono-compatible date algorithms).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let fraction = if nanos == 0 {
        String::new()
    } else {
        format!(".{nanos:09}").trim_end_matches('0').to_owned()
    };
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_500_000_000, "2000-02-28T23:59:59.5Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_465_861_200_000_000_000, "2016-06-13T23:40:00Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(utc(TimeNs::new(nanos)), expected);
        }
    }

    #[test]
    fn names_come_from_layouts() {
        assert_eq!(
            (leaf_name(1), leaf_name(10), leaf_name(99)),
            ("quote".into(), "grid".into(), "kind 99".into())
        );
        assert_eq!(text(b"a\x07b\0\0"), "a\\u{7}b");
        assert_eq!(text(&[0; 16]), "");
    }
}
