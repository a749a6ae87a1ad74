//! Messages of the Python client: a dataclass each.

use crate::{named_types, plain};
use std::fmt::Write;
use wattbook_feed::layout::{Field, Kind, Type};
use wattbook_feed::sbe::{SCHEMA_ID, SCHEMA_VERSION, SCHEMA_VERSION_FIRST, inbound, outbound};

/// `CamelCase` or `camelCase` as `UPPER_CASE`.
fn upper(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_uppercase());
    }
    out
}

/// The format of `struct` for a type.
fn format(ty: &Type) -> String {
    let primitive = |name| match name {
        "uint8" => "B",
        "uint16" => "H",
        "uint32" => "I",
        "uint64" => "Q",
        "int32" => "i",
        "int64" => "q",
        other => panic!("{other} is no integer"),
    };
    match ty.kind {
        Kind::Int(name) | Kind::Enum(name, _) => primitive(name).to_owned(),
        Kind::Bytes | Kind::Hash => format!("{}s", ty.size),
        Kind::Zero => format!("{}x", ty.size),
        Kind::Composite(inner) => inner.iter().map(|field| format(field.ty)).collect(),
    }
}

/// How many values that format gives.
fn width(ty: &Type) -> usize {
    match ty.kind {
        Kind::Zero => 0,
        Kind::Composite(inner) => inner.iter().map(|field| width(field.ty)).sum(),
        _ => 1,
    }
}

fn annotation(ty: &Type) -> &'static str {
    match ty.kind {
        Kind::Int(_) => "int",
        Kind::Bytes | Kind::Hash => "bytes",
        Kind::Enum(..) if ty.name == "Boolean" => "bool",
        Kind::Enum(..) | Kind::Composite(_) => ty.name,
        Kind::Zero => panic!("reserved bytes are no attribute"),
    }
}

fn class(out: &mut String, name: &str, base: &str, description: &str, constants: &str, fields: &[Field]) {
    let shown = || fields.iter().filter(|field| !matches!(field.ty.kind, Kind::Zero));
    write!(
        out,
        "\n\n@dataclass(frozen=True)\nclass {name}{base}:\n    \"\"\"{}\"\"\"\n\n",
        plain(description)
    )
    .unwrap();
    out.push_str(constants);
    for field in shown() {
        let Field { name, description, .. } = field;
        writeln!(
            out,
            "    {name}: {}\n    \"\"\"{}\"\"\"",
            annotation(field.ty),
            plain(description)
        )
        .unwrap();
    }
    write!(
        out,
        "\n    @classmethod\n    def of(cls, v: Sequence[Any]) -> {name}:\n"
    )
    .unwrap();
    writeln!(
        out,
        "        \"\"\"The values of its block, in order.\"\"\"\n        return cls("
    )
    .unwrap();
    let mut at = 0;
    for field in shown() {
        let (wide, ty) = (width(field.ty), annotation(field.ty));
        let value = match field.ty.kind {
            Kind::Composite(_) => format!("{ty}.of(v[{at}:{}])", at + wide),
            Kind::Enum(..) if ty == "bool" => format!("_boolean(v[{at}])"),
            Kind::Enum(..) => format!("{ty}(v[{at}])"),
            _ => format!("v[{at}]"),
        };
        writeln!(out, "            {}={value},", field.name).unwrap();
        at += wide;
    }
    writeln!(out, "        )").unwrap();
}

const HEAD: &str = r#""""Messages of the feed: a dataclass each, and their decoder. Written from feed/src by the test `python_is_current`; do not
edit.

Integers are as they travel: prices in ticks, half ticks or micro-points, energies in Wh, money in nano-points, as each field
says. A message of a later version is read as far as it is known; what an earlier one lacks is zero."""

from __future__ import annotations

import dataclasses
import enum
import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Optional, Sequence, Union

"#;

const TAIL: &str = r#"

class DecodeError(Exception):
    """The bytes are no outbound message of this schema; the next message can be read."""


def _boolean(raw: int) -> bool:
    if raw > 1:
        raise ValueError(f"{raw} is neither yes nor no")
    return raw == 1


def decode(message: bytes) -> Message:
    """The message in these bytes, which it fills exactly unless it is of a later version."""
    if len(message) < 8:
        raise DecodeError(f"{len(message)} bytes end before the message does")
    length, template, schema, version = struct.unpack_from("<HHHH", message)
    if schema != SCHEMA_ID or version < SCHEMA_VERSION_FIRST:
        raise DecodeError(f"schema {schema} version {version} is not schema {SCHEMA_ID}")
    known = _MESSAGES.get(template)
    if known is None:
        raise DecodeError(f"template {template} is unknown")
    kind, block, sizes = known
    if len(message) < 8 + length:
        raise DecodeError(f"{len(message)} bytes end before the message does")
    size = sizes.get(version, block.size)
    if length < size or version <= SCHEMA_VERSION and (length > size or len(message) > 8 + length):
        raise DecodeError(f"a block of {length} bytes is none of template {template}")
    try:
        return kind.of(block.unpack(message[8 : 8 + size].ljust(block.size, b"\0")))
    except ValueError as error:
        raise DecodeError(f"template {template}: {error}") from error


def _fields(value: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        member = getattr(value, field.name)
        if isinstance(member, enum.IntEnum):
            out[field.name] = int(member)
            out[f"{field.name}_name"] = _NAMES[type(member).__name__][int(member)]
        elif isinstance(member, bytes):
            out[field.name] = member.hex()
        elif dataclasses.is_dataclass(member):
            out[field.name] = _fields(member)
        else:
            out[field.name] = member
    return out


def to_json(message: Message, seq: Optional[int] = None) -> dict[str, Any]:
    """What `wattbook tail --json` says of a message: hashes in hex, enumerations by number and by name."""
    return {
        "seq": seq,
        "template": message.TEMPLATE,
        "name": type(message).__name__,
        "fields": _fields(message),
    }
"#;

/// The module `wattbook.messages`.
pub(crate) fn module() -> String {
    let mut out = HEAD.to_owned();
    let (composites, enums) = named_types();
    write!(
        out,
        "SCHEMA_ID = {SCHEMA_ID}\n\"\"\"Id of the schema.\"\"\"\nSCHEMA_VERSION = {SCHEMA_VERSION}\n\"\"\"Version of the schema.\"\"\"\n\
         SCHEMA_VERSION_FIRST = {SCHEMA_VERSION_FIRST}\n\"\"\"Earliest version that is understood.\"\"\"\n\n\n\
         class Templates(enum.IntEnum):\n    \"\"\"Template ids of what a client sends.\"\"\"\n\n"
    )
    .unwrap();
    for spec in inbound::MESSAGES {
        writeln!(out, "    {} = {}", upper(spec.name), spec.id).unwrap();
    }
    let enums: Vec<_> = enums.into_iter().filter(|entry| entry.0 != "Boolean").collect();
    for (name, _, values) in &enums {
        writeln!(out, "\n\nclass {name}(enum.IntEnum):").unwrap();
        writeln!(
            out,
            "    \"\"\"A number of the schema; `docs/schema.md` says what each means.\"\"\"\n"
        )
        .unwrap();
        for value in *values {
            writeln!(out, "    {} = {}", upper(value.name), value.value).unwrap();
        }
    }
    let used = |name: &str| {
        let mut fields = outbound::MESSAGES.iter().flat_map(|message| message.fields);
        fields.any(|field| field.ty.name == name)
    };
    let composites: Vec<_> = composites.iter().filter(|composite| used(composite.0)).collect();
    for (name, fields) in &composites {
        let description = outbound::MESSAGES
            .iter()
            .flat_map(|message| message.fields)
            .find(|field| field.ty.name == *name)
            .map_or("", |field| field.ty.description);
        class(&mut out, name, "", description, "", fields);
    }
    for spec in outbound::MESSAGES {
        let constants = format!("    TEMPLATE: ClassVar[int] = {}\n\n", spec.id);
        class(&mut out, spec.name, "", spec.description, &constants, spec.fields);
    }
    writeln!(out, "\n\nMessage = Union[").unwrap();
    for spec in outbound::MESSAGES {
        writeln!(out, "    {},", spec.name).unwrap();
    }
    writeln!(out, "]\n\"\"\"Any message of a node.\"\"\"").unwrap();
    out.push_str(TAIL);
    write!(
        out,
        "\n\n# Class, block, and the block's size in versions that had less of it.\n"
    )
    .unwrap();
    writeln!(
        out,
        "_MESSAGES: dict[int, tuple[type[Message], struct.Struct, dict[int, int]]] = {{"
    )
    .unwrap();
    for spec in outbound::MESSAGES {
        let layout: String = spec.fields.iter().map(|field| format(field.ty)).collect();
        let shorter: Vec<String> = (SCHEMA_VERSION_FIRST..SCHEMA_VERSION)
            .map(|version| (version, wattbook_feed::layout::size_at(spec.fields, version)))
            .filter(|(_, size)| *size < spec.block_length)
            .map(|(version, size)| format!("{version}: {size}"))
            .collect();
        writeln!(
            out,
            "    {}: ({}, struct.Struct(\"<{layout}\"), {{{}}}),",
            spec.id,
            spec.name,
            shorter.join(", ")
        )
        .unwrap();
    }
    writeln!(out, "}}\n\n_NAMES: dict[str, dict[int, str]] = {{").unwrap();
    for (name, _, values) in &enums {
        writeln!(out, "    \"{name}\": {{").unwrap();
        for value in *values {
            writeln!(out, "        {}: \"{}\",", value.value, value.name).unwrap();
        }
        writeln!(out, "    }},").unwrap();
    }
    writeln!(out, "}}\n\n__all__ = [").unwrap();
    let mut all = vec![
        "DecodeError",
        "Message",
        "SCHEMA_ID",
        "SCHEMA_VERSION",
        "decode",
        "to_json",
    ];
    all.extend(enums.iter().map(|entry| entry.0));
    all.extend(composites.iter().map(|composite| composite.0));
    all.extend(outbound::MESSAGES.iter().map(|message| message.name));
    all.sort_unstable();
    for name in all {
        writeln!(out, "    \"{name}\",").unwrap();
    }
    writeln!(out, "]").unwrap();
    out
}
