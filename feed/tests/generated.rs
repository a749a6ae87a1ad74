//! Files for readers of the feed, written from the same tables as the structs, are what the tables give.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

mod generated {
    pub(crate) mod lua;
    pub(crate) mod page;
    pub(crate) mod python;
}

use std::path::{Path, PathBuf};
use wattbook_feed::layout::{EnumValue, Field, Kind};
use wattbook_feed::sbe::{inbound, outbound};

/// A file of the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Holds the part of a file between two lines to `text`; with WATTBOOK_BLESS=1 writes it.
fn current(name: &str, text: &str, borders: Option<(&str, &str)>) {
    let path = path(name);
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    let whole = match borders {
        None => text.to_owned(),
        Some((first, last)) => {
            let (before, rest) = file
                .split_once(first)
                .unwrap_or_else(|| panic!("{name} has no line {first:?}"));
            let (_, after) = rest
                .split_once(last)
                .unwrap_or_else(|| panic!("{name} has no line {last:?}"));
            format!("{before}{first}\n{text}{last}{after}")
        }
    };
    if std::env::var_os("WATTBOOK_BLESS").is_some() && file != whole {
        std::fs::write(&path, &whole).unwrap();
        return;
    }
    assert!(
        file == whole,
        "{name} is not what the layouts give: run `WATTBOOK_BLESS=1 cargo test -p wattbook-feed` and review the change"
    );
}

type Composite = (&'static str, &'static [Field]);
type Enumeration = (&'static str, &'static str, &'static [EnumValue]);

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |raw, byte| raw << 8 | u64::from(*byte))
}

/// Composites and enumerations that the messages use, by name.
fn named_types() -> (Vec<Composite>, Vec<Enumeration>) {
    let (mut composites, mut enums) = (Vec::new(), Vec::new());
    let groups = inbound::MESSAGES
        .iter()
        .filter_map(|message| message.group)
        .map(|group| group.fields);
    let blocks = inbound::MESSAGES
        .iter()
        .chain(outbound::MESSAGES)
        .map(|message| message.fields);
    let leaves = wattbook_feed::signed::leaf::LAYOUTS.iter().map(|leaf| leaf.2);
    let mut layouts: Vec<&'static [Field]> = blocks.chain(groups).chain(leaves).collect();
    while let Some(fields) = layouts.pop() {
        for field in fields {
            match field.ty.kind {
                Kind::Composite(inner) => {
                    composites.push((field.ty.name, inner));
                    layouts.push(inner);
                }
                Kind::Enum(primitive, values) => enums.push((field.ty.name, primitive, values)),
                _ => {}
            }
        }
    }
    composites.sort_by_key(|composite| composite.0);
    composites.dedup_by_key(|composite| composite.0);
    enums.sort_by_key(|entry| entry.0);
    enums.dedup_by_key(|entry| entry.0);
    (composites, enums)
}

/// Short name of an integer type.
fn integer(primitive: &str) -> &'static str {
    match primitive {
        "uint8" => "u8",
        "uint16" => "u16",
        "uint32" => "u32",
        "uint64" => "u64",
        "int32" => "i32",
        "int64" => "i64",
        other => panic!("{other} is no integer"),
    }
}

/// A description as plain text on one line.
fn plain(description: &str) -> String {
    description.trim().replace(['`', '[', ']'], "")
}

#[test]
fn lua_is_current() {
    let borders = ("by the test `lua_is_current`; do not edit.", "-- End of tables.");
    current("feed/wireshark/wattbook.lua", &generated::lua::tables(), Some(borders));
}

#[test]
fn page_is_current() {
    current("docs/schema.md", &generated::page::page(), None);
}

#[test]
fn python_is_current() {
    current(
        "feed/python/src/wattbook/messages.py",
        &generated::python::module(),
        None,
    );
}
