//! `docs/configuration.md` says what `config.rs` says: every key, its default, its meaning. `WATTBOOK_BLESS=1` writes it.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use wattbook_node::config::{CONFIG_FILE, Config};

/// A field of a configuration structure.
struct Key {
    name: String,
    of: String,
    doc: String,
}

/// The public structures of the source with their fields, by name.
fn structures(source: &str) -> BTreeMap<String, Vec<Key>> {
    let (mut structures, mut current, mut doc) = (BTreeMap::<String, Vec<Key>>::new(), None, String::new());
    for line in source.lines() {
        let trimmed = line.trim();
        if let Some(text) = trimmed.strip_prefix("/// ") {
            doc = format!("{doc} {text}").trim().to_owned();
        } else if let Some(name) = line
            .strip_prefix("pub struct ")
            .and_then(|rest| rest.strip_suffix(" {"))
        {
            current = Some(name.to_owned());
            structures.entry(name.to_owned()).or_default();
            doc.clear();
        } else if line == "}" {
            current = None;
            doc.clear();
        } else if let (Some(name), Some(field)) = (&current, trimmed.strip_prefix("pub "))
            && let Some((key, of)) = field.trim_end_matches(',').split_once(": ")
        {
            structures.get_mut(name).unwrap().push(Key {
                name: key.to_owned(),
                of: of.to_owned(),
                doc: core::mem::take(&mut doc),
            });
        } else if !trimmed.starts_with("#[") {
            doc.clear();
        }
    }
    structures
}

/// Defaults by path of the key, as `Debug` shows them.
fn defaults() -> BTreeMap<String, String> {
    let (mut defaults, mut path) = (BTreeMap::new(), Vec::<String>::new());
    let shown = format!("{:#?}", Config::default());
    for line in shown.lines() {
        let line = line.trim().trim_end_matches(',');
        let named = line.split_once(": ");
        match named {
            Some((key, value))
                if value.ends_with('{') || value.ends_with('[') && value != "[]" || value.ends_with('(') =>
            {
                path.push(key.to_owned());
            }
            Some((key, value)) => {
                let full = [path.as_slice(), &[key.to_owned()]].concat().join(".");
                defaults.insert(full, value.to_owned());
            }
            None if line.ends_with('{') => path.clear(),
            None if line == "}" || line == "]" || line == ")" => {
                path.pop();
            }
            None => {
                defaults.insert(path.join("."), line.to_owned());
            }
        }
    }
    defaults
}

fn page() -> String {
    let structures = structures(include_str!("../src/config.rs"));
    let defaults = defaults();
    let mut page = format!(
        "# Configuration\n\nMade from `engine/node/src/config.rs`; `WATTBOOK_BLESS=1 cargo test -p wattbook-node --test \
         config_page` writes it again.\n\nA node reads `{CONFIG_FILE}` in its directory, or the file of `--config`. Every key \
         may be left out; one that is not known is refused by name. Nothing here can change a verdict of the market: what \
         can is a parameter of its state.\n"
    );
    let mut sections = vec![(String::new(), "Config".to_owned())];
    let mut at = 0;
    while at < sections.len() {
        let (prefix, structure) = sections[at].clone();
        let heading = if prefix.is_empty() {
            "The node".to_owned()
        } else {
            format!("`[{prefix}]`")
        };
        let _ = write!(page, "\n## {heading}\n\n| key | default | meaning |\n|---|---|---|\n");
        for key in &structures[&structure] {
            let path = if prefix.is_empty() {
                key.name.clone()
            } else {
                format!("{prefix}.{}", key.name)
            };
            if structures.contains_key(&key.of) {
                sections.push((path, key.of.clone()));
                continue;
            }
            assert!(!key.doc.is_empty(), "{path} says nothing");
            let default = defaults.get(&path).map_or("none", String::as_str).to_lowercase();
            let _ = writeln!(
                page,
                "| `{}` | `{}` | {} |",
                key.name,
                default,
                key.doc.replace('|', "\\|")
            );
        }
        at += 1;
    }
    page
}

#[test]
fn the_page_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = page();
    if std::env::var_os("WATTBOOK_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is not what config.rs says: WATTBOOK_BLESS=1 writes it"
    );
}
