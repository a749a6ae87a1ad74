//! Which of our crates may know which, read from `cargo metadata` (DESIGN, "Rooms").

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};

/// Prefix of our crates' names.
const OURS: &str = "wattbook-";
/// Every room, and the rooms it may depend on outside tests.
const ALLOWED: [(&str, &[&str]); 13] = [
    ("types", &[]),
    ("book", &["types"]),
    ("market", &["types", "book"]),
    ("feed", &["types"]),
    ("ledger", &["types"]),
    ("agreement", &["types"]),
    // Reads the envelope's layout, and nothing else, from the feed.
    ("shaders", &["types", "feed"]),
    ("node", &["types", "market", "feed", "ledger", "agreement", "shaders"]),
    (
        "perf",
        &[
            "types",
            "book",
            "market",
            "feed",
            "ledger",
            "agreement",
            "shaders",
            "node",
        ],
    ),
    ("benches", &["types", "market", "feed", "ledger", "shaders", "node"]),
    ("bench-book", &["types", "book", "market"]),
    ("bench-abi", &["types", "book"]),
    ("bench-ledger", &["types", "market", "feed", "ledger", "node"]),
];
/// Rooms with a module that holds unsafe code; they deny it everywhere else. All others forbid it.
const WITH_UNSAFE: [&str; 4] = ["ledger", "node", "shaders", "bench-abi"];

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

fn room(package: &Package) -> String {
    package
        .name
        .strip_prefix(OURS)
        .unwrap_or_else(|| panic!("{} does not begin with {OURS}", package.name))
        .to_owned()
}

#[test]
fn rooms_know_only_their_neighbours() {
    let allowed = BTreeMap::from(ALLOWED);
    let metadata = metadata();
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        let from = room(package);
        let may = allowed
            .get(from.as_str())
            .unwrap_or_else(|| panic!("{from} is a new room: say here whom it may know"));
        for dependency in &package.dependencies {
            // What tests use is their own affair.
            let Some(to) = dependency
                .name
                .strip_prefix(OURS)
                .filter(|_| dependency.kind != DependencyKind::Development)
            else {
                continue;
            };
            assert!(may.contains(&to), "{from} must not depend on {to}");
        }
        seen.insert(from);
    }
    let rooms: BTreeSet<String> = allowed.keys().map(|room| (*room).to_owned()).collect();
    assert_eq!(seen, rooms);
}

#[test]
fn unsafe_code_is_forbidden_outside_its_rooms() {
    let metadata = metadata();
    let read = |path: &cargo_metadata::camino::Utf8Path| -> toml::Table {
        std::fs::read_to_string(path).unwrap().parse().unwrap()
    };
    let level = |lints: &toml::Value| lints["rust"]["unsafe_code"].as_str().unwrap().to_owned();
    let workspace = read(&metadata.workspace_root.join("Cargo.toml"));
    assert_eq!(level(&workspace["workspace"]["lints"]), "forbid");
    for package in &metadata.packages {
        let (room, manifest) = (room(package), read(&package.manifest_path));
        let lints = manifest.get("lints").unwrap_or_else(|| panic!("{room} has no lints"));
        if WITH_UNSAFE.contains(&room.as_str()) {
            assert_eq!(level(lints), "deny", "{room}");
        } else {
            let inherited = lints.get("workspace").and_then(toml::Value::as_bool);
            assert_eq!(
                inherited,
                Some(true),
                "{room} does not take the workspace's lints, which forbid unsafe code"
            );
        }
    }
}
