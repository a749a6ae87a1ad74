//! The schema file is what the structs say, read by an XML parser that knows neither.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use wattbook_feed::layout::{Field, Kind, MessageSpec, size_at};
use wattbook_feed::sbe::{SCHEMA_VERSION, SCHEMA_VERSION_FIRST, inbound, outbound, schema_xml};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/wattbook.xml");

fn file() -> String {
    std::fs::read_to_string(PATH).unwrap()
}

#[test]
fn schema_is_current() {
    if std::env::var_os("WATTBOOK_BLESS").is_some() {
        std::fs::write(PATH, schema_xml()).unwrap();
    }
    assert!(
        file() == schema_xml(),
        "{PATH} is not what the layouts give: run `WATTBOOK_BLESS=1 cargo test -p wattbook-feed` and review the change"
    );
}

type Node<'a> = roxmltree::Node<'a, 'a>;

fn attr<'a>(node: Node<'a>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_else(|| panic!("{node:?} has no {name}"))
}

fn number(node: Node<'_>, name: &str) -> usize {
    attr(node, name).parse().unwrap()
}

fn primitive(name: &str) -> Option<usize> {
    Some(match name {
        "uint8" | "char" => 1,
        "uint16" => 2,
        "uint32" | "int32" => 4,
        "uint64" | "int64" => 8,
        _ => return None,
    })
}

/// Size of every named type, computed from the XML alone.
fn sizes<'a>(types: Node<'a>) -> BTreeMap<&'a str, usize> {
    let mut sizes = BTreeMap::new();
    for ty in types.children().filter(Node::is_element) {
        let size = match ty.tag_name().name() {
            "type" => {
                let length = ty.attribute("length").map_or(1, |length| length.parse().unwrap());
                primitive(attr(ty, "primitiveType")).unwrap() * length
            }
            "enum" => primitive(attr(ty, "encodingType")).unwrap(),
            "composite" => ty.children().filter(Node::is_element).fold(0, |end, member| {
                assert_eq!(
                    number(member, "offset"),
                    end,
                    "{}.{}",
                    attr(ty, "name"),
                    attr(member, "name")
                );
                // Decoders know no other members, and no arrays among them.
                assert_eq!((member.tag_name().name(), member.attribute("length")), ("type", None));
                end + primitive(attr(member, "primitiveType")).unwrap()
            }),
            other => panic!("<{other}>"),
        };
        assert!(
            sizes.insert(attr(ty, "name"), size).is_none(),
            "{} twice",
            attr(ty, "name")
        );
    }
    sizes
}

fn compare(nodes: Vec<Node<'_>>, fields: &[Field], block_length: usize, sizes: &BTreeMap<&str, usize>) {
    assert_eq!(nodes.len(), fields.len());
    let mut end = 0;
    for (node, field) in nodes.iter().zip(fields) {
        let ty = attr(*node, "type");
        let size = sizes[ty];
        assert_eq!(attr(*node, "name").to_lowercase(), field.name.replace('_', ""));
        assert_eq!(
            (number(*node, "offset"), size),
            (field.offset, field.ty.size),
            "{}",
            field.name
        );
        assert_eq!(field.offset, end, "no gap before {}", field.name);
        end += size;
    }
    assert_eq!(end, block_length);
}

fn children<'a>(node: Node<'a>, name: &str) -> Vec<Node<'a>> {
    node.children()
        .filter(|child| child.tag_name().name() == name)
        .collect()
}

#[test]
fn every_message_of_the_file_has_the_size_and_offsets_of_its_struct() {
    let text = file();
    let document = roxmltree::Document::parse(&text).unwrap();
    let root = document.root_element();
    assert_eq!(
        (attr(root, "id"), attr(root, "version"), attr(root, "byteOrder")),
        ("1", SCHEMA_VERSION.to_string().as_str(), "littleEndian")
    );
    let sizes = sizes(children(root, "types")[0]);
    assert_eq!((sizes["messageHeader"], sizes["groupSizeEncoding"]), (8, 4));
    assert_eq!(
        (
            sizes["Register"],
            sizes["EnvelopeHeader"],
            sizes["DealEntry"],
            sizes["Hash"]
        ),
        (216, 72, 96, 32)
    );
    for leaf in wattbook_feed::signed::leaf::LAYOUTS {
        assert_eq!(sizes[leaf.1], 48);
    }
    let messages = children(root, "message");
    let specs: Vec<&MessageSpec> = inbound::MESSAGES.iter().chain(outbound::MESSAGES).collect();
    assert_eq!(messages.len(), specs.len());
    for (node, spec) in messages.iter().zip(specs) {
        assert_eq!(
            (number(*node, "id"), attr(*node, "name")),
            (usize::from(spec.id), spec.name)
        );
        assert_eq!(number(*node, "blockLength"), spec.block_length);
        assert!(
            !sizes.contains_key(spec.name),
            "generated code would have {} twice",
            spec.name
        );
        compare(children(*node, "field"), spec.fields, spec.block_length, &sizes);
        let groups = children(*node, "group");
        assert_eq!(groups.len(), usize::from(spec.group.is_some()));
        for (node, spec) in groups.iter().zip(spec.group) {
            assert_eq!(
                (attr(*node, "name"), number(*node, "blockLength")),
                (spec.name, spec.block_length)
            );
            compare(children(*node, "field"), spec.fields, spec.block_length, &sizes);
        }
    }
}

#[test]
fn everything_is_described_and_numbered_once() {
    let text = file();
    let document = roxmltree::Document::parse(&text).unwrap();
    for node in document.root_element().descendants().filter(Node::is_element) {
        if node.tag_name().name() != "types" {
            assert!(!attr(node, "description").is_empty(), "{node:?}");
        }
    }
    let mut ids: Vec<u16> = inbound::MESSAGES
        .iter()
        .chain(outbound::MESSAGES)
        .map(|message| message.id)
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    for message in inbound::MESSAGES.iter().chain(outbound::MESSAGES) {
        for field in message.fields {
            assert_eq!(
                matches!(field.ty.kind, Kind::Zero),
                field.name.starts_with("reserved"),
                "{}",
                message.name
            );
        }
    }
}

/// The schema as of a version, without descriptions: what code made from it depends on.
fn as_of(version: u16) -> String {
    let mut lines = Vec::new();
    let mut enums = BTreeMap::new();
    let mut note = |fields: &[Field], at: &str, lines: &mut Vec<String>| {
        for field in fields.iter().filter(|field| field.since <= version) {
            let Field { name, offset, ty, .. } = field;
            lines.push(format!("{at} {name} {} {offset} {}", ty.name, ty.size));
            if let Kind::Enum(primitive, values) = ty.kind {
                enums.insert(ty.name, (primitive, values));
            }
        }
    };
    let all = inbound::MESSAGES.iter().chain(outbound::MESSAGES);
    for message in all.filter(|message| message.since <= version) {
        let size = size_at(message.fields, version);
        lines.push(format!("message {} {} {size}", message.id, message.name));
        note(message.fields, "field", &mut lines);
        if let Some(group) = message.group {
            lines.push(format!("group {} {}", group.name, size_at(group.fields, version)));
            note(group.fields, "entry", &mut lines);
        }
    }
    let mut composites = BTreeMap::new();
    for message in inbound::MESSAGES.iter().chain(outbound::MESSAGES) {
        for field in message.fields {
            if let Kind::Composite(inner) = field.ty.kind {
                composites.insert(field.ty.name, inner);
            }
        }
    }
    composites.extend(wattbook_feed::signed::leaf::LAYOUTS.iter().map(|leaf| (leaf.1, leaf.2)));
    for (name, fields) in composites {
        lines.push(format!("composite {name} {}", size_at(fields, version)));
        note(fields, "member", &mut lines);
    }
    for (name, (primitive, values)) in enums {
        lines.push(format!("enum {name} {primitive}"));
        let known = values.iter().filter(|value| value.since <= version);
        lines.extend(known.map(|value| format!("value {} {}", value.value, value.name)));
    }
    lines.join("\n") + "\n"
}

/// What a version said it says for ever: a change takes a new SCHEMA_VERSION, and `since` on what is new.
#[test]
fn no_version_changes_once_it_is_written_down() {
    let path = |version| format!("{}/schema/versions/{version}.txt", env!("CARGO_MANIFEST_DIR"));
    for version in SCHEMA_VERSION_FIRST..=SCHEMA_VERSION {
        let path = path(version);
        if std::env::var_os("WATTBOOK_BLESS").is_some() && !std::path::Path::new(&path).exists() {
            std::fs::write(&path, as_of(version)).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == as_of(version),
            "{path} is not what version {version} is now. A change of the schema takes a new SCHEMA_VERSION in feed/src/sbe, \
             `since` on whatever is new, and WATTBOOK_BLESS=1 to write the new version down"
        );
    }
    assert!(!std::path::Path::new(&path(SCHEMA_VERSION + 1)).exists());
    // Everything is in the version written last.
    assert_eq!(as_of(SCHEMA_VERSION), as_of(u16::MAX));
}

/// Appended means behind everything older, in messages as in enumerations.
#[test]
fn fields_and_values_are_only_appended() {
    let ordered = |mut since: Vec<u16>, what: &str| {
        let before = since.clone();
        since.sort_unstable();
        assert_eq!(since, before, "{what}: what is younger stands behind what is older");
    };
    for message in inbound::MESSAGES.iter().chain(outbound::MESSAGES) {
        ordered(message.fields.iter().map(|field| field.since).collect(), message.name);
        if let Some(group) = message.group {
            // Entries of signed groups never grow.
            assert!(group.fields.iter().all(|field| field.since == 0), "{}", message.name);
        }
        for field in message.fields {
            if let Kind::Composite(inner) = field.ty.kind {
                assert!(inner.iter().all(|field| field.since == 0), "{}", field.ty.name);
            }
        }
    }
    for message in inbound::MESSAGES {
        assert!(message.fields.iter().all(|field| field.since == 0), "{}", message.name);
    }
}

#[test]
fn the_page_names_every_template() {
    let page = include_str!("../../docs/feed.md");
    for message in inbound::MESSAGES.iter().chain(outbound::MESSAGES) {
        let row = format!("| {} | {} | {} |", message.id, message.name, message.block_length);
        assert!(page.contains(&row), "docs/feed.md lacks {row:?}");
    }
}
