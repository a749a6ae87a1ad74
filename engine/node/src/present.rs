//! Messages of the feed and records of the ledger as lines of text or JSON, rendered from the feed's own layout tables.
//!
//! # Format
//! Numbers are raw units as on the wire (ticks, Wh, nano-points, ns); hashes, keys and signatures are hex; an enumeration
//! is its number, with its name beside it as `<field>_name`; a yes or no is a boolean; reserved bytes are left out.

use crate::evidence::receipts::Contradiction;
use crate::evidence::{EvidenceRecord, Proof};
use serde_json::{Map, Value};
use std::fmt::Write;
use wattbook_agreement::evidence::Evidence;
use wattbook_feed::layout::{Field, Kind, Layout, MessageSpec, Type, types};
use wattbook_feed::sbe::inbound::RevealMessage;
use wattbook_feed::sbe::{DecodeError, HEADER_SIZE, decode_outbound, outbound};
use wattbook_feed::signed::leaf::LAYOUTS;
use wattbook_feed::signed::{
    EnvelopeHeader, LEAF_SIZE, MeterEntry, Register, SIGNATURE_SIZE, SealedEnvelope, record_kind,
};
use wattbook_types::TimeNs;
use wattbook_types::units::NS_PER_S;

/// Seconds in a day.
const DAY_S: u64 = 86_400;

/// An outbound message: which it is, and its fields.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its template id.
    pub template: u16,
    /// Its name.
    pub name: &'static str,
    /// Its fields, in the order of its layout.
    pub fields: Map<String, Value>,
}

impl Rendered {
    /// As JSON, numbered `seq` in its stream; `null` for an unsequenced message.
    pub fn to_json(&self, seq: Option<u64>) -> Value {
        serde_json::json!({ "seq": seq, "template": self.template, "name": self.name, "fields": self.fields })
    }

    /// As a line of text; `-` stands for the number of an unsequenced message.
    pub fn to_text(&self, seq: Option<u64>) -> String {
        let mut line = match seq {
            Some(seq) => format!("{seq} {}", self.name),
            None => format!("- {}", self.name),
        };
        put_fields(&mut line, "", &self.fields);
        line
    }
}

/// Renders an outbound message.
///
/// # Errors
/// What the feed's decoder says.
pub fn message(bytes: &[u8]) -> Result<Rendered, DecodeError> {
    let template = decode_outbound(bytes)?.template();
    let unknown = DecodeError::Template(template);
    let spec: &MessageSpec = outbound::MESSAGES
        .iter()
        .find(|spec| spec.id == template)
        .ok_or(unknown)?;
    // The decoder has seen a whole block.
    let block = bytes.get(HEADER_SIZE..).unwrap_or_default();
    Ok(Rendered {
        template,
        name: spec.name,
        fields: fields(spec.fields, block),
    })
}

/// The fields of a block by its layout; one that the bytes do not hold is left out.
pub fn fields(layout: &[Field], bytes: &[u8]) -> Map<String, Value> {
    let mut rendered = Map::new();
    for field in layout {
        let Some(bytes) = bytes.get(field.offset..field.offset + field.ty.size) else {
            continue;
        };
        if let Some(value) = value(field.ty, bytes) {
            rendered.insert(field.name.to_owned(), value);
        }
        if let Some(name) = enum_name(field.ty, bytes) {
            rendered.insert(format!("{}_name", field.name), name.into());
        }
    }
    rendered
}

fn value(ty: &Type, bytes: &[u8]) -> Option<Value> {
    let raw = little_endian(bytes);
    match ty.kind {
        Kind::Zero => None,
        Kind::Int(primitive) if primitive.starts_with("int") => Some(signed(raw, bytes.len()).into()),
        Kind::Int(_) => Some(raw.into()),
        Kind::Bytes | Kind::Hash => Some(hex::encode(bytes).into()),
        Kind::Enum(..) if ty.name == types::BOOL.name => Some((raw != 0).into()),
        Kind::Enum(..) => Some(raw.into()),
        Kind::Composite(layout) => Some(fields(layout, bytes).into()),
    }
}

fn enum_name(ty: &Type, bytes: &[u8]) -> Option<&'static str> {
    match ty.kind {
        Kind::Enum(_, values) if ty.name != types::BOOL.name => {
            let raw = little_endian(bytes);
            values.iter().find(|value| value.value == raw).map(|value| value.name)
        }
        _ => None,
    }
}

/// The number in at most eight bytes; longer ones are no integers and their value is not used.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |raw, byte| raw << 8 | u64::from(*byte))
}

/// Sign-extends a number of `size` bytes.
const fn signed(raw: u64, size: usize) -> i64 {
    let unused = 64 - 8 * size as u32;
    (raw << unused).cast_signed() >> unused
}

/// Name of a record's kind; empty for an unknown one.
pub const fn record_name(kind: u16) -> &'static str {
    match kind {
        record_kind::REGISTER => "Register",
        record_kind::ENVELOPE => "Envelope",
        record_kind::REVEAL => "Reveal",
        record_kind::TICK => "Tick",
        record_kind::EVIDENCE => "Evidence",
        _ => "",
    }
}

/// The fields of a ledger record; a payload that is none of its kind is shown as hex.
pub fn record(kind: u16, payload: &[u8]) -> Map<String, Value> {
    record_of(kind, payload).unwrap_or_else(|| Map::from_iter([("payload".to_owned(), hex::encode(payload).into())]))
}

fn record_of(kind: u16, payload: &[u8]) -> Option<Map<String, Value>> {
    let hex_at = |at: usize, size: usize| payload.get(at..at + size).map(|bytes| Value::from(hex::encode(bytes)));
    match kind {
        record_kind::REGISTER => {
            const SIZE: usize = size_of::<Register>();
            let mut map = fields(Register::FIELDS, payload.get(..SIZE)?);
            map.insert("admit".into(), hex_at(SIZE, 64)?);
            map.insert("possession".into(), hex_at(SIZE + 64, SIGNATURE_SIZE)?);
            let meters = payload
                .get(SIZE + 64 + SIGNATURE_SIZE + 8..)?
                .chunks(size_of::<MeterEntry>());
            map.insert(
                "meters".into(),
                meters
                    .map(|meter| Value::from(fields(MeterEntry::FIELDS, meter)))
                    .collect(),
            );
            Some(map)
        }
        record_kind::ENVELOPE => {
            const SIZE: usize = size_of::<EnvelopeHeader>();
            let mut map = fields(EnvelopeHeader::FIELDS, payload.get(..SIZE)?);
            map.insert("signature".into(), hex_at(SIZE, SIGNATURE_SIZE)?);
            let envelope = SealedEnvelope::decode(payload).ok()?;
            map.insert("leaves".into(), leaves(envelope.leaves.as_flattened()));
            if let Some(attached) = &envelope.attached {
                map.insert("keys_of".into(), attached.index.into());
                map.insert("keys".into(), hex::encode(bytemuck::bytes_of(&attached.keys)).into());
            }
            Some(map)
        }
        record_kind::REVEAL => {
            const SIZE: usize = size_of::<RevealMessage>();
            let mut map = fields(RevealMessage::FIELDS, payload.get(..SIZE)?);
            map.insert("leaves".into(), leaves(payload.get(SIZE..)?));
            Some(map)
        }
        record_kind::TICK => {
            let time = TimeNs::new(u64::from_le_bytes(payload.try_into().ok()?));
            Some(Map::from_iter([
                ("time_ns".to_owned(), time.get().into()),
                ("time".to_owned(), iso8601(time).into()),
            ]))
        }
        record_kind::EVIDENCE => {
            let EvidenceRecord { offender, proof } = EvidenceRecord::decode(payload).ok()?;
            let mut map = match proof {
                Proof::Ballots(evidence) => ballots(&evidence),
                Proof::Receipts(found) => receipts(&found),
            };
            map.insert("offender".to_owned(), offender.get().into());
            Some(map)
        }
        _ => None,
    }
}

fn ballots(evidence: &Evidence) -> Map<String, Value> {
    let votes = evidence.votes.map(|vote| {
        serde_json::json!({
            "parent_view": vote.proposal.parent_view,
            "digest": vote.proposal.digest.to_string(),
            "signature": hex::encode(vote.signature),
        })
    });
    Map::from_iter([
        ("offence".to_owned(), format!("{:?}", evidence.offence).into()),
        ("epoch".to_owned(), evidence.round.epoch.into()),
        ("view".to_owned(), evidence.round.view.into()),
        ("rank".to_owned(), evidence.rank.into()),
        ("votes".to_owned(), votes.to_vec().into()),
    ])
}

fn receipts(found: &Contradiction) -> Map<String, Value> {
    let halves = found.halves.map(|half| {
        serde_json::json!({
            "run": half.run.to_string(),
            "signature": hex::encode(half.signature),
        })
    });
    let names: Vec<Value> = found.names.iter().map(|name| name.to_string().into()).collect();
    Map::from_iter([
        ("offence".to_owned(), "TwoOrders".into()),
        ("epoch".to_owned(), found.epoch.into()),
        ("term".to_owned(), found.term.into()),
        ("rank".to_owned(), found.rank.into()),
        ("seq".to_owned(), found.seq.into()),
        ("receipts".to_owned(), halves.to_vec().into()),
        ("names".to_owned(), names.into()),
    ])
}

fn leaves(bytes: &[u8]) -> Value {
    let leaf = |bytes: &[u8]| {
        let known = LAYOUTS.iter().find(|(kind, ..)| bytes.first() == Some(kind));
        let Some((_, name, layout)) = known else {
            return Value::from(Map::from_iter([("bytes".to_owned(), hex::encode(bytes).into())]));
        };
        let mut map = Map::from_iter([("name".to_owned(), Value::from(name.trim_end_matches("Leaf")))]);
        map.extend(fields(layout, bytes));
        map.into()
    };
    bytes.chunks(LEAF_SIZE).map(leaf).collect()
}

/// Appends ` name=value` for every field, names of nested ones joined by dots.
pub fn put_fields(line: &mut String, prefix: &str, fields: &Map<String, Value>) {
    for (name, value) in fields {
        put_value(line, &format!("{prefix}{name}"), value);
    }
}

fn put_value(line: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(inner) => put_fields(line, &format!("{name}."), inner),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                put_value(line, &format!("{name}[{i}]"), item);
            }
        }
        Value::String(text) => {
            // Writing to a string cannot fail.
            let _ = write!(line, " {name}={text}");
        }
        other => {
            let _ = write!(line, " {name}={other}");
        }
    }
}

/// A time as `YYYY-MM-DDThh:mm:ssZ`, fractions of a second cut off.
pub fn iso8601(time: TimeNs) -> String {
    let seconds = time.get() / NS_PER_S;
    let (day, second) = (seconds / DAY_S, seconds % DAY_S);
    let (year, month, date) = date_of(day);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The time of `YYYY-MM-DDThh:mm[:ss]Z`; `None` for anything else, or before 1970.
pub fn parse_iso8601(text: &str) -> Option<TimeNs> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |part: &str, digits: usize| -> Option<u64> {
        (part.len() == digits && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let date: Vec<&str> = date.split('-').collect();
    let clock: Vec<&str> = clock.split(':').collect();
    let &[year, month, date] = date.as_slice() else {
        return None;
    };
    let (&[hour, minute], second) = match clock.as_slice() {
        [hour, minute] => (&[*hour, *minute], "00"),
        [hour, minute, second] => (&[*hour, *minute], *second),
        _ => return None,
    };
    let (year, month, date) = (number(year, 4)?, number(month, 2)?, number(date, 2)?);
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    if hour > 23 || minute > 59 || second > 59 || !(1..=12).contains(&month) || year < 1970 {
        return None;
    }
    let day = day_of(year, month, date);
    // A day that the month does not have comes back as one of the next.
    if date_of(day) != (year, month, date) {
        return None;
    }
    Some(TimeNs::from_secs(day * DAY_S + hour * 3_600 + minute * 60 + second))
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; years count from March, so that leap days come last.
const fn day_of(year: u64, month: u64, date: u64) -> u64 {
    let year = if month < 3 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + date.saturating_sub(1);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`day_of`].
const fn date_of(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era;
    (if month < 3 { year + 1 } else { year }, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_feed::sbe::event::{Closed, OrderView, Party, Rejected};
    use wattbook_feed::sbe::{encode_outbound, session::BlockSealed};

    #[test]
    fn times_read_back() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_465_862_400, "2016-06-14T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(iso8601(TimeNs::from_secs(seconds)), text);
            assert_eq!(parse_iso8601(text), Some(TimeNs::from_secs(seconds)));
        }
        assert_eq!(
            parse_iso8601("2016-06-14T00:00Z"),
            Some(TimeNs::from_secs(1_465_862_400))
        );
        for wrong in [
            "2015-02-29T00:00Z",
            "2016-06-14 00:00Z",
            "2016-06-14T24:00Z",
            "2016-13-01T00:00Z",
            "now",
            "2016-06-00T00:00Z",
        ] {
            assert_eq!(parse_iso8601(wrong), None, "{wrong}");
        }
        for day in (0..60_000).step_by(17) {
            let (year, month, date) = date_of(day);
            assert_eq!(day_of(year, month, date), day);
        }
    }

    #[test]
    fn messages_follow_their_layout() {
        let order = OrderView {
            participant: 7,
            nonce: 9,
            index: 1,
            named: 1,
            reserved: [0; 3],
            reference: 11,
        };
        let closed = Closed {
            seq: 5,
            order,
            contract: 12,
            price: -250,
            leaves_wh: 100,
            side: 2,
            reason: 5,
            resting: 0,
            reserved: [0; 5],
        };
        let mut bytes = Vec::new();
        encode_outbound(&closed, &mut bytes);
        let rendered = message(&bytes).unwrap();
        let json = r#"{"seq":3,"template":118,"name":"Closed","fields":{"seq":5,"order":{"participant":7,"nonce":9,"index":1,"named":true,"reference":11},"contract":12,"price":-250,"leaves_wh":100,"side":2,"side_name":"Sell","reason":5,"reason_name":"ImmediateOrCancel","resting":false}}"#;
        assert_eq!(rendered.to_json(Some(3)).to_string(), json);
        let text = rendered.to_text(None);
        assert!(
            text.starts_with("- Closed seq=5 order.participant=7 order.nonce=9"),
            "{text}"
        );
        assert!(
            text.contains(" price=-250 ") && text.ends_with(" resting=false"),
            "{text}"
        );
    }

    #[test]
    fn codes_have_names_and_hashes_are_hex() {
        let participant = Party {
            id: 4,
            named: 1,
            reserved: [0; 7],
        };
        let mut bytes = Vec::new();
        encode_outbound(
            &Rejected {
                seq: 1,
                participant,
                nonce: 2,
                index: 0,
                code: 77,
                reserved: [0; 2],
            },
            &mut bytes,
        );
        assert_eq!(message(&bytes).unwrap().fields["code_name"], "ConcessionViolated");
        let sealed = BlockSealed {
            height: 1,
            time_ns: 2,
            record_count: 3,
            event_count: 4,
            first_seq: 5,
            block_digest: [0xab; 32],
            state_root: [0; 32],
        };
        bytes.clear();
        encode_outbound(&sealed, &mut bytes);
        assert_eq!(message(&bytes).unwrap().fields["block_digest"], "ab".repeat(32));
        assert!(message(&bytes[..20]).is_err());
    }

    #[test]
    fn records_of_strange_bytes_are_hex() {
        assert_eq!(record(record_kind::TICK, &5u64.to_le_bytes())["time_ns"], 5);
        assert_eq!(record(record_kind::ENVELOPE, &[1, 2])["payload"], "0102");
        assert_eq!(record(99, &[3])["payload"], "03");
    }
}
