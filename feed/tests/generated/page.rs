//! docs/schema.md: every message with its fields and a worked example.

use crate::common::samples;
use crate::{little_endian, named_types, plain};
use std::fmt::Write;
use wattbook_feed::layout::{Field, Kind, MessageSpec, Type};
use wattbook_feed::sbe::{HEADER_SIZE, SCHEMA_ID, SCHEMA_VERSION, inbound, outbound};
use wattbook_feed::signed::leaf;

/// Bytes that an example shows on a line; more of the same value continue below.
const LINE: usize = 16;

fn type_name(ty: &Type) -> String {
    match ty.kind {
        Kind::Zero => format!("zero {}", ty.size),
        Kind::Bytes => format!("{} bytes", ty.size),
        Kind::Hash | Kind::Int(_) => ty.name.to_owned(),
        Kind::Enum(..) | Kind::Composite(_) => format!("[{0}](#{1})", ty.name, ty.name.to_lowercase()),
    }
}

/// What bytes of a type say.
fn value(ty: &Type, bytes: &[u8]) -> String {
    let raw = little_endian(bytes);
    match ty.kind {
        Kind::Int("int32") => (raw as u32 as i32).to_string(),
        Kind::Int("int64") => (raw as i64).to_string(),
        Kind::Int(_) => raw.to_string(),
        Kind::Enum(_, values) => match values.iter().find(|value| value.value == raw) {
            Some(value) => format!("{raw} {}", value.name),
            None => raw.to_string(),
        },
        Kind::Zero => "zero".to_owned(),
        Kind::Bytes | Kind::Hash | Kind::Composite(_) => String::new(),
    }
}

fn table(out: &mut String, fields: &[Field]) {
    writeln!(
        out,
        "| offset | size | field | type | what it holds |\n|---|---|---|---|---|"
    )
    .unwrap();
    for field in fields {
        let since = match field.since {
            0 => String::new(),
            version => format!(" Since version {version}."),
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {}{since} |",
            field.offset,
            field.ty.size,
            field.name,
            type_name(field.ty),
            plain(field.description)
        )
        .unwrap();
    }
    writeln!(out).unwrap();
}

/// A line of an example: where, which bytes, what they say.
fn line(out: &mut String, at: usize, bytes: &[u8], says: &str) {
    for (i, chunk) in bytes.chunks(LINE).enumerate() {
        let says = if i == 0 { says } else { "" };
        let row = format!("{:4}  {:32}  {says}", at + i * LINE, hex::encode(chunk));
        writeln!(out, "{}", row.trim_end()).unwrap();
    }
}

fn example(out: &mut String, prefix: &str, base: usize, fields: &[Field], block: &[u8]) {
    for field in fields {
        let bytes = &block[field.offset..field.offset + field.ty.size];
        let (at, name) = (base + field.offset, format!("{prefix}{}", field.name));
        match field.ty.kind {
            Kind::Composite(inner) => example(out, &format!("{name}."), at, inner, bytes),
            Kind::Bytes | Kind::Hash => line(out, at, bytes, &name),
            _ => line(out, at, bytes, &format!("{name} = {}", value(field.ty, bytes))),
        }
    }
}

fn message(out: &mut String, spec: &MessageSpec, bytes: &[u8]) {
    writeln!(out, "### {} {}\n\n{}", spec.id, spec.name, plain(spec.description)).unwrap();
    if spec.since > 0 {
        writeln!(out, "Since version {}.", spec.since).unwrap();
    }
    writeln!(out, "Block of {} bytes.\n", spec.block_length).unwrap();
    table(out, spec.fields);
    if let Some(group) = spec.group {
        writeln!(
            out,
            "Group `{}`, {} bytes an entry: {}\n",
            group.name,
            group.block_length,
            plain(group.description)
        )
        .unwrap();
        table(out, group.fields);
    }
    writeln!(out, "```text").unwrap();
    let says = format!(
        "header: block {}, template {}, schema {SCHEMA_ID}, version {SCHEMA_VERSION}",
        spec.block_length, spec.id
    );
    line(out, 0, &bytes[..HEADER_SIZE], &says);
    let (block, rest) = bytes[HEADER_SIZE..].split_at(spec.block_length);
    example(out, "", HEADER_SIZE, spec.fields, block);
    if let Some(group) = spec.group {
        let at = HEADER_SIZE + spec.block_length;
        let count = little_endian(&rest[2..4]);
        line(
            out,
            at,
            &rest[..4],
            &format!("{}: {} bytes an entry, {count} entries", group.name, group.block_length),
        );
        let entry = &rest[4..4 + group.block_length];
        example(out, &format!("{}[0].", group.name), at + 4, group.fields, entry);
        if count > 1 {
            writeln!(out, "      ... and so on, to {} bytes in all", bytes.len()).unwrap();
        }
    }
    writeln!(out, "```\n").unwrap();
}

/// The whole page.
pub(crate) fn page() -> String {
    let mut out = String::new();
    write!(
        out,
        "# Schema {SCHEMA_ID}, version {SCHEMA_VERSION}\n\n\
         Every message of the feed, field by field, with the bytes of one. Written from the tables in `feed/src` by the test\n\
         `page_is_current`, as `feed/schema/wattbook.xml` is, which is the contract; do not edit. [feed.md](feed.md) says when\n\
         which message is sent, and to whom.\n\n\
         * Integers are little-endian. A hash is a byte copy, in the schema file four `uint64`. Reserved bytes are zero.\n\
         * Composites are cut into integers in the schema file, so that decoders without `ref` can follow it.\n\
         * There is no var-data; where there will be, its length is a `uint16`.\n\
         * Fields, values and messages are only ever added, with `sinceVersion`; a field goes behind all others of its block.\n\
         \x20 A reader takes the block length from the header, skips what it does not know, and takes what an older message lacks\n\
         \x20 as zero. `feed/schema/versions` has what each version said, and a test holds the schema to it.\n\n\
         In examples: offset in the message, bytes in hex, what they say.\n\n"
    )
    .unwrap();
    writeln!(out, "## What a client sends\n").unwrap();
    for (spec, bytes) in inbound::MESSAGES.iter().zip(samples::inbound()) {
        message(&mut out, spec, &bytes);
    }
    writeln!(out, "## What the node sends\n").unwrap();
    for (spec, bytes) in outbound::MESSAGES.iter().zip(samples::outbound()) {
        message(&mut out, spec, &bytes);
    }
    writeln!(
        out,
        "## Leaves\n\nEntries of the group `leaves`, by their kind; 48 bytes.\n"
    )
    .unwrap();
    for (kind, name, fields) in leaf::LAYOUTS {
        writeln!(out, "### Kind {kind}: {name}\n").unwrap();
        table(&mut out, fields);
    }
    let (composites, enums) = named_types();
    writeln!(out, "## Composites\n").unwrap();
    for (name, fields) in composites {
        writeln!(out, "### {name}\n").unwrap();
        table(&mut out, fields);
    }
    writeln!(out, "## Enumerations\n").unwrap();
    for (name, primitive, values) in enums {
        writeln!(
            out,
            "### {name}\n\nA `{primitive}`.\n\n| value | name | what it means |\n|---|---|---|"
        )
        .unwrap();
        for value in values {
            let since = match value.since {
                0 => String::new(),
                version => format!(" Since version {version}."),
            };
            writeln!(
                out,
                "| {} | {} | {}{since} |",
                value.value,
                value.name,
                plain(value.description)
            )
            .unwrap();
        }
        writeln!(out).unwrap();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
