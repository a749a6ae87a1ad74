//! The schema as SBE 1.0 XML, written from the same tables as the structs.
//!
//! # Invariants
//! * A composite consists of integers, a message of named types, and reserved bytes are no array of integers: decoders
//!   that know neither `ref` nor arrays nor bare primitives as fields take the right number of bytes.
//! * What came after the first version says so in `sinceVersion`.

use super::{GroupHeader, MessageHeader, SCHEMA_ID, SCHEMA_VERSION, inbound, outbound};
use crate::layout::{Field, GroupSpec, Kind, Layout, MessageSpec, Type};
use crate::signed::leaf;
use core::fmt::Write;
use std::collections::BTreeMap;

/// Field id of a group; its entries' fields follow.
const GROUP_ID: u16 = 1_000;

/// The contents of feed/schema/wattbook.xml.
pub fn schema_xml() -> String {
    let mut xml = String::new();
    // Writing to a String cannot fail.
    let _ = write_schema(&mut xml);
    xml
}

/// `snake_case` as `camelCase`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            _ if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            _ => out.push(c),
        }
    }
    out
}

/// A description as the value of an attribute.
fn text(description: &str) -> String {
    let plain = description.trim().replace(['`', '[', ']'], "");
    plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

type Types = BTreeMap<&'static str, Type>;

/// The attribute of what came after the first version.
fn since(version: u16) -> String {
    if version == 0 {
        String::new()
    } else {
        format!(r#" sinceVersion="{version}""#)
    }
}

/// An integer of a composite.
struct Part {
    name: String,
    primitive: &'static str,
    offset: usize,
    description: String,
}

/// A field of a composite as integers, each aligned as far as its bytes allow.
fn parts(prefix: &str, base: usize, field: &Field) -> Vec<Part> {
    let name = match prefix {
        "" => camel(field.name),
        _ => camel(&format!("{prefix}_{}", field.name)),
    };
    let (start, description) = (base + field.offset, text(field.description));
    let primitive = match field.ty.kind {
        Kind::Composite(fields) => return fields.iter().flat_map(|inner| parts(&name, start, inner)).collect(),
        Kind::Int(primitive) => Some((primitive, description.clone())),
        Kind::Enum(primitive, _) => Some((primitive, format!("{description} As {}.", field.ty.name))),
        Kind::Bytes | Kind::Zero | Kind::Hash => None,
    };
    if let Some((primitive, description)) = primitive {
        return vec![Part {
            name,
            primitive,
            offset: start,
            description,
        }];
    }
    let mut cut = Vec::new();
    let mut offset = start;
    while offset < start + field.ty.size {
        let left = start + field.ty.size - offset;
        let (primitive, size) = [("uint64", 8), ("uint32", 4), ("uint16", 2), ("uint8", 1)]
            .into_iter()
            .find(|(_, size)| *size <= left && offset.is_multiple_of(*size))
            .unwrap_or(("uint8", 1));
        cut.push((primitive, offset));
        offset += size;
    }
    let whole = cut.len() == 1;
    (0usize..)
        .zip(cut)
        .map(|(word, (primitive, offset))| Part {
            name: if whole { name.clone() } else { format!("{name}W{word}") },
            primitive,
            offset,
            description: if whole {
                description.clone()
            } else {
                format!("{description} Word {word}.")
            },
        })
        .collect()
}

/// Name of a field's type: integers have named types of their own.
fn type_name(ty: &Type) -> &'static str {
    match ty.kind {
        Kind::Int("uint8") => "u8",
        Kind::Int("uint16") => "u16",
        Kind::Int("uint32") => "u32",
        Kind::Int("int32") => "i32",
        Kind::Int("int64") => "i64",
        Kind::Int(_) => "u64",
        _ => ty.name,
    }
}

/// Every type that these fields are made of, but for what stands in composites.
fn collect(fields: &[Field], types: &mut Types) {
    for field in fields {
        types.insert(type_name(field.ty), *field.ty);
    }
}

fn write_schema(xml: &mut String) -> core::fmt::Result {
    writeln!(xml, r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#)?;
    writeln!(
        xml,
        "<!-- Written from feed/src by the test `schema_is_current`; do not edit. -->"
    )?;
    writeln!(
        xml,
        r#"<sbe:messageSchema xmlns:sbe="http://fixprotocol.io/2016/sbe" package="wattbook" id="{SCHEMA_ID}" version="{SCHEMA_VERSION}" semanticVersion="1" byteOrder="littleEndian" headerType="messageHeader" description="Messages of the Wattbook feed.">"#
    )?;
    write_types(xml)?;
    for message in inbound::MESSAGES.iter().chain(outbound::MESSAGES) {
        write_message(xml, message)?;
    }
    writeln!(xml, "</sbe:messageSchema>")
}

fn write_types(xml: &mut String) -> core::fmt::Result {
    let mut types = Types::new();
    for message in inbound::MESSAGES.iter().chain(outbound::MESSAGES) {
        collect(message.fields, &mut types);
        if let Some(group) = message.group {
            collect(group.fields, &mut types);
        }
    }
    for (_, _, fields) in leaf::LAYOUTS {
        // The enumerations that their integers stand for.
        for field in *fields {
            if matches!(field.ty.kind, Kind::Enum(..)) {
                types.insert(field.ty.name, *field.ty);
            }
        }
    }
    // A type stands before its use.
    let (composites, plain): (Vec<&Type>, Vec<&Type>) =
        types.values().partition(|ty| matches!(ty.kind, Kind::Composite(_)));
    writeln!(xml, "  <types>")?;
    write_composite(xml, "messageHeader", MessageHeader::DESCRIPTION, MessageHeader::FIELDS)?;
    write_composite(xml, "groupSizeEncoding", GroupHeader::DESCRIPTION, GroupHeader::FIELDS)?;
    for ty in plain {
        write_plain(xml, ty)?;
    }
    for ty in composites {
        if let Kind::Composite(fields) = ty.kind {
            write_composite(xml, ty.name, ty.description, fields)?;
        }
    }
    for (_, name, fields) in leaf::LAYOUTS {
        write_composite(xml, name, "A leaf, 48 bytes.", fields)?;
    }
    writeln!(xml, "  </types>")
}

fn write_plain(xml: &mut String, ty: &Type) -> core::fmt::Result {
    let (name, size, description) = (type_name(ty), ty.size, text(ty.description));
    match ty.kind {
        Kind::Bytes | Kind::Zero => writeln!(
            xml,
            r#"    <type name="{name}" primitiveType="char" length="{size}" description="{description}"/>"#
        ),
        Kind::Hash => {
            writeln!(xml, r#"    <composite name="{name}" description="{description}">"#)?;
            for word in 0..4 {
                let offset = 8 * word;
                writeln!(
                    xml,
                    r#"      <type name="w{word}" primitiveType="uint64" offset="{offset}" description="Bytes {offset} to {}, little-endian."/>"#,
                    offset + 7
                )?;
            }
            writeln!(xml, "    </composite>")
        }
        Kind::Enum(encoding, values) => {
            writeln!(
                xml,
                r#"    <enum name="{name}" encodingType="{encoding}" description="{description}">"#
            )?;
            for value in values {
                writeln!(
                    xml,
                    r#"      <validValue name="{}" description="{}"{}>{}</validValue>"#,
                    value.name,
                    text(value.description),
                    since(value.since),
                    value.value
                )?;
            }
            writeln!(xml, "    </enum>")
        }
        Kind::Int(primitive) => writeln!(
            xml,
            r#"    <type name="{name}" primitiveType="{primitive}" description="{description}"/>"#
        ),
        Kind::Composite(_) => Ok(()),
    }
}

fn write_composite(xml: &mut String, name: &str, description: &str, fields: &[Field]) -> core::fmt::Result {
    writeln!(
        xml,
        r#"    <composite name="{name}" description="{}">"#,
        text(description)
    )?;
    for Part {
        name,
        primitive,
        offset,
        description,
    } in fields.iter().flat_map(|field| parts("", 0, field))
    {
        writeln!(
            xml,
            r#"      <type name="{name}" primitiveType="{primitive}" offset="{offset}" description="{description}"/>"#
        )?;
    }
    writeln!(xml, "    </composite>")
}

fn write_fields(xml: &mut String, indent: &str, first: u16, fields: &[Field]) -> core::fmt::Result {
    for (id, field) in (first..).zip(fields) {
        writeln!(
            xml,
            r#"{indent}<field name="{}" id="{id}" type="{}" offset="{}" description="{}"{}/>"#,
            camel(field.name),
            type_name(field.ty),
            field.offset,
            text(field.description),
            since(field.since)
        )?;
    }
    Ok(())
}

fn write_message(xml: &mut String, message: &MessageSpec) -> core::fmt::Result {
    let MessageSpec {
        id,
        name,
        description,
        block_length,
        fields,
        group,
        since: version,
    } = message;
    writeln!(
        xml,
        r#"  <sbe:message name="{name}" id="{id}" blockLength="{block_length}" description="{}"{}>"#,
        text(description),
        since(*version)
    )?;
    write_fields(xml, "    ", 1, fields)?;
    if let Some(GroupSpec {
        name,
        description,
        block_length,
        fields,
    }) = group
    {
        writeln!(
            xml,
            r#"    <group name="{name}" id="{GROUP_ID}" dimensionType="groupSizeEncoding" blockLength="{block_length}" description="{description}">"#
        )?;
        write_fields(xml, "      ", GROUP_ID + 1, fields)?;
        writeln!(xml, "    </group>")?;
    }
    writeln!(xml, "  </sbe:message>")
}
