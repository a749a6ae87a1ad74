//! Other people's code reads our bytes: decoders from PyPI follow the schema file, tshark follows the framing.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

mod foreign {
    pub(crate) mod environment;
    pub(crate) mod pcap;
}

use common::samples;
use foreign::environment;
use foreign::pcap::Capture;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use wattbook_feed::layout::{Field, Kind};
use wattbook_feed::moldudp::{self, Writer};
use wattbook_feed::sbe::outbound::MESSAGES;
use wattbook_feed::sbe::{HEADER_SIZE, inbound};
use wattbook_feed::signed::leaf::LAYOUTS;
use wattbook_feed::soupbin::{self, LoginAccepted, LoginRequest, SESSION_PRIVATE};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |raw, byte| raw << 8 | u64::from(*byte))
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |out, word| out + &word[..1].to_uppercase() + &word[1..])
}

/// Integers of a composite, cut as the schema cuts reserved bytes: by alignment.
fn members(fields: &[Field], bytes: &[u8]) -> Map<String, Value> {
    let mut members = Map::new();
    for field in fields {
        let (name, end) = (camel(field.name), field.offset + field.ty.size);
        if let Kind::Int(primitive) = field.ty.kind {
            members.insert(name, integer(primitive, &bytes[field.offset..end]));
            continue;
        }
        let mut words = Vec::new();
        let mut at = field.offset;
        while at < end {
            let size = [8, 4, 2, 1]
                .into_iter()
                .find(|size| at + size <= end && at % size == 0)
                .unwrap();
            words.push(json!(little_endian(&bytes[at..at + size])));
            at += size;
        }
        match <[Value; 1]>::try_from(words) {
            Ok([word]) => {
                members.insert(name, word);
            }
            Err(words) => {
                members.extend(
                    words
                        .into_iter()
                        .enumerate()
                        .map(|(i, word)| (format!("{name}W{i}"), word)),
                );
            }
        }
    }
    members
}

fn integer(primitive: &str, bytes: &[u8]) -> Value {
    match primitive {
        "int32" => json!(i32::from_le_bytes(bytes.try_into().unwrap())),
        "int64" => json!(i64::from_le_bytes(bytes.try_into().unwrap())),
        _ => json!(little_endian(bytes)),
    }
}

/// What a decoder that follows the schema says about a message.
fn expected(message: &[u8]) -> Value {
    let spec = MESSAGES
        .iter()
        .find(|spec| spec.id == samples::template(message))
        .unwrap();
    let block = &message[HEADER_SIZE..];
    let mut fields = Map::new();
    for field in spec.fields {
        let bytes = &block[field.offset..field.offset + field.ty.size];
        let value = match field.ty.kind {
            Kind::Int(primitive) => integer(primitive, bytes),
            // Text that ends with its first zero.
            Kind::Zero => json!(""),
            Kind::Bytes => panic!("{}: no decoder shows bytes as they are", spec.name),
            Kind::Hash => {
                let words = bytes.as_chunks::<8>().0.iter().enumerate();
                words
                    .map(|(i, word)| (format!("w{i}"), json!(u64::from_le_bytes(*word))))
                    .collect()
            }
            Kind::Enum(_, values) => {
                let raw = little_endian(bytes);
                json!(values.iter().find(|value| value.value == raw).unwrap().name)
            }
            Kind::Composite(inner) => Value::Object(members(inner, bytes)),
        };
        fields.insert(camel(field.name), value);
    }
    json!({ "name": spec.name, "fields": fields })
}

fn decoded_by(decoder: &str) {
    let Some(python) = environment::python(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let messages = samples::outbound();
    let mut child = Command::new(python)
        .args([
            &format!("{ROOT}/tests/foreign/decode.py"),
            decoder,
            &format!("{ROOT}/schema/wattbook.xml"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = messages.iter().map(|message| hex::encode(message) + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    let answers: Vec<Value> = out
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(answers.len(), MESSAGES.len());
    for (message, answer) in messages.iter().zip(answers) {
        assert_eq!(answer, expected(message));
    }
}

#[test]
fn pypi_sbe_decodes_every_outbound_message() {
    decoded_by("sbe");
}

#[test]
fn pypi_sbedecoder_decodes_every_outbound_message() {
    decoded_by("sbedecoder");
}

/// Whether tshark is there.
fn tshark() -> bool {
    let there = Command::new("tshark")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success());
    if !there {
        // Past the capture of a passing test's output.
        let why = "tshark is not installed (apt-get install tshark)";
        writeln!(std::io::stderr(), "\nSKIPPED: {why}").expect("stderr");
    }
    there
}

/// Where a capture is written.
fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// What tshark says of a capture: an array of packets, each with its layers.
fn dissected(name: &str, capture: &Capture, options: &[&str]) -> Vec<Value> {
    let path = scratch(name);
    std::fs::write(&path, capture.file()).unwrap();
    let out = Command::new("tshark")
        .args(["-n", "-T", "json", "--no-duplicate-keys", "-r"])
        .arg(&path)
        .args(options)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && !complaints.contains("Lua"), "{complaints}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Every value of a key, in order, however deep.
fn values<'a>(node: &'a Value, key: &str, out: &mut Vec<&'a Value>) {
    match node {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::Array(list) if name == key => out.extend(list),
                    _ if name == key => out.push(value),
                    _ => values(value, key, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| values(value, key, out)),
        _ => {}
    }
}

fn texts(packets: &[Value], key: &str) -> Vec<String> {
    let mut found = Vec::new();
    packets.iter().for_each(|packet| values(packet, key, &mut found));
    found
        .into_iter()
        .map(|value| value.as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Bytes as tshark writes them.
fn colons(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// A session with every message of the schema: one packet a segment, then packets that share and straddle segments.
fn session() -> Capture {
    let mut capture = Capture::new();
    let login = LoginRequest {
        username: "user".to_owned(),
        password: String::new(),
        session: SESSION_PRIVATE.to_owned(),
        sequence: 1,
    };
    let mut packet = Vec::new();
    soupbin::put_login_request(&login, &mut packet);
    capture.tcp(false, &packet);
    packet.clear();
    let accepted = LoginAccepted {
        session: SESSION_PRIVATE.to_owned(),
        sequence: 1,
    };
    soupbin::put_login_accepted(&accepted, &mut packet);
    capture.tcp(true, &packet);
    for message in samples::inbound() {
        packet.clear();
        soupbin::put_unsequenced(&message, &mut packet);
        capture.tcp(false, &packet);
    }
    packet.clear();
    soupbin::put_client_heartbeat(&mut packet);
    capture.tcp(false, &packet);
    packet.clear();
    for message in samples::outbound() {
        soupbin::put_sequenced(&message, &mut packet);
    }
    soupbin::put_server_heartbeat(&mut packet);
    soupbin::put_end_of_session(&mut packet);
    for segment in packet.chunks(700) {
        capture.tcp(true, segment);
    }
    packet.clear();
    soupbin::put_logout(&mut packet);
    capture.tcp(false, &packet);
    capture
}

const SOUP: [&str; 2] = ["-d", "tcp.port==7411,soupbintcp"];
const MOLD: [&str; 2] = ["-d", "udp.port==7411,moldudp64"];

#[test]
fn tshark_follows_a_soupbintcp_session() {
    if !tshark() {
        return;
    }
    let packets = dissected("soup.pcap", &session(), &SOUP);
    let (inbound, outbound) = (samples::inbound(), samples::outbound());
    let kinds = texts(&packets, "soupbintcp.packet_type");
    let expected = "LA".chars().chain(inbound.iter().map(|_| 'U')).chain(['R']);
    let expected = expected.chain(outbound.iter().map(|_| 'S')).chain("HZO".chars());
    assert!(
        kinds
            .iter()
            .map(String::as_str)
            .eq(expected.map(|kind| format!("'{kind}'")).collect::<Vec<_>>())
    );
    let messages: Vec<String> = inbound.iter().chain(&outbound).map(|message| colons(message)).collect();
    assert_eq!(texts(&packets, "soupbintcp.message"), messages);
    // The numbers it counts itself are in its text only.
    let text = Command::new("tshark")
        .args(["-n", "-V", "-r"])
        .arg(scratch("soup.pcap"))
        .args(SOUP)
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let told: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Sequence number: "))
        .collect();
    let numbers: Vec<String> = (1..=outbound.len())
        .map(|number| format!("{number} (Calculated)"))
        .collect();
    assert_eq!(told, numbers);
    let sessions = texts(&packets, "soupbintcp.session");
    assert!(sessions.len() == 2 && sessions.iter().all(|session| session.trim() == SESSION_PRIVATE));
    assert!(!format!("{packets:?}").contains("malformed"));
}

/// Packets of the public stream: messages, a heartbeat, the end.
fn fan_out() -> (Capture, Vec<Vec<u8>>) {
    let mut capture = Capture::new();
    let mut writer = Writer::new(moldudp::session("PUBLIC").unwrap(), moldudp::PACKET_MAX);
    let outbound = samples::outbound();
    let mut sequence = 1;
    writer.begin(sequence);
    for message in &outbound {
        if !writer.push(message) {
            sequence += u64::from(writer.count());
            capture.udp(writer.packet());
            writer.begin(sequence);
            assert!(writer.push(message));
        }
    }
    capture.udp(writer.packet());
    sequence += u64::from(writer.count());
    writer.begin(sequence);
    capture.udp(writer.packet());
    capture.udp(writer.end_of_session(sequence));
    (capture, outbound)
}

#[test]
fn tshark_follows_a_moldudp64_stream() {
    if !tshark() {
        return;
    }
    let (capture, outbound) = fan_out();
    let packets = dissected("mold.pcap", &capture, &MOLD);
    let messages: Vec<String> = outbound.iter().map(|message| colons(message)).collect();
    assert_eq!(texts(&packets, "moldudp64.msgdata"), messages);
    let numbers: Vec<String> = (1..=outbound.len()).map(|number| number.to_string()).collect();
    assert_eq!(texts(&packets, "moldudp64.msgseq"), numbers);
    assert!(
        texts(&packets, "moldudp64.session")
            .iter()
            .all(|session| session.trim() == "PUBLIC")
    );
    let counts = texts(&packets, "moldudp64.count");
    assert_eq!(&counts[counts.len() - 2..], ["0", "65535"]);
    let heartbeat = texts(&packets, "moldudp64.sequence").pop();
    assert_eq!(heartbeat, Some((outbound.len() + 1).to_string()));
    let all = format!("{packets:?}");
    assert!(!all.contains("invalid") && !all.contains("end_of_session_extra") && !all.contains("malformed"));
}

/// Every value of a block that our dissector names, by filter name.
fn named(prefix: &str, fields: &[Field], block: &[u8], out: &mut Vec<(String, String)>) {
    for field in fields {
        let bytes = &block[field.offset..field.offset + field.ty.size];
        let name = format!("{prefix}.{}", field.name);
        match field.ty.kind {
            Kind::Int(primitive) => out.push((name, integer(primitive, bytes).to_string())),
            Kind::Bytes | Kind::Hash => out.push((name, colons(bytes))),
            Kind::Enum(..) => out.push((name, little_endian(bytes).to_string())),
            Kind::Zero => {}
            Kind::Composite(inner) => named(&name, inner, bytes, out),
        }
    }
}

/// What our dissector should find in messages, in order.
fn all_named(messages: &[Vec<u8>]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for message in messages {
        let mut specs = inbound::MESSAGES.iter().chain(MESSAGES);
        let spec = specs.find(|spec| spec.id == samples::template(message)).unwrap();
        let prefix = format!("wattbook.{}", spec.name.to_lowercase());
        let (block, rest) = message[HEADER_SIZE..].split_at(spec.block_length);
        named(&prefix, spec.fields, block, &mut out);
        let Some(group) = spec.group else { continue };
        for entry in rest[4..].chunks(group.block_length) {
            let leaf = LAYOUTS.iter().find(|leaf| group.name == "leaves" && leaf.0 == entry[0]);
            match leaf {
                Some((_, name, fields)) => {
                    let name = name.strip_suffix("Leaf").unwrap().to_lowercase();
                    named(&format!("wattbook.leaf.{name}"), fields, entry, &mut out);
                }
                None => named(&format!("{prefix}.{}", group.name), group.fields, entry, &mut out),
            }
        }
    }
    out
}

fn our_dissector_shows(packets: &[Value], messages: &[Vec<u8>]) {
    let names: Vec<String> = messages
        .iter()
        .map(|message| {
            let mut specs = inbound::MESSAGES.iter().chain(MESSAGES);
            specs
                .find(|spec| spec.id == samples::template(message))
                .unwrap()
                .name
                .to_owned()
        })
        .collect();
    assert_eq!(texts(packets, "wattbook.message"), names);
    let expected = all_named(messages);
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &expected {
        by_name.entry(name).or_default().push(value);
    }
    assert!(by_name.len() > 100);
    for (name, values) in by_name {
        let shown = texts(packets, name);
        assert_eq!(shown, values, "{name}");
    }
    let all = format!("{packets:?}");
    assert!(!all.contains("wattbook.short") && !all.contains("wattbook.nonzero") && !all.contains("wattbook.unknown"));
}

#[test]
fn our_dissector_shows_every_field_in_tshark() {
    if !tshark() {
        return;
    }
    let lua = format!("lua_script:{ROOT}/wireshark/wattbook.lua");
    let mut messages = samples::inbound();
    messages.extend(samples::outbound());
    let packets = dissected("soup-lua.pcap", &session(), &[&["-X", &lua], &SOUP[..]].concat());
    our_dissector_shows(&packets, &messages);
    let (capture, messages) = fan_out();
    let options = ["-X", &lua, "-d", "moldudp64.payload,wattbook"];
    let packets = dissected("mold-lua.pcap", &capture, &[&options[..], &MOLD[..]].concat());
    our_dissector_shows(&packets, &messages);
}

/// Every cut of a message is shown as cut, and no byte stops the dissector.
#[test]
fn our_dissector_says_what_is_short_or_unknown() {
    if !tshark() {
        return;
    }
    let lua = format!("lua_script:{ROOT}/wireshark/wattbook.lua");
    let mut capture = Capture::new();
    let mut writer = Writer::new(moldudp::session("PUBLIC").unwrap(), moldudp::PACKET_MAX);
    let [_, register, envelope, ..] = <[Vec<u8>; 6]>::try_from(samples::inbound()).unwrap();
    let mut cut = 0;
    for message in [&register, &envelope] {
        for len in (8..message.len()).step_by(37) {
            writer.begin(cut + 1);
            assert!(writer.push(&message[..len]));
            capture.udp(writer.packet());
            cut += 1;
        }
    }
    let mut unknown = samples::outbound()[0].clone();
    unknown[2] = 0xff;
    writer.begin(cut + 1);
    assert!(writer.push(&unknown));
    capture.udp(writer.packet());
    let mut reserved = samples::outbound()[1].clone();
    *reserved.last_mut().unwrap() = 1;
    writer.begin(cut + 2);
    assert!(writer.push(&reserved));
    capture.udp(writer.packet());
    let options = ["-X", &lua, "-d", "moldudp64.payload,wattbook"];
    let packets = dissected("cut.pcap", &capture, &[&options[..], &MOLD[..]].concat());
    assert_eq!(texts(&packets, "wattbook.short").len() as u64, cut);
    assert_eq!(texts(&packets, "wattbook.unknown").len(), 1);
    assert_eq!(texts(&packets, "wattbook.nonzero").len(), 1);
    assert!(!format!("{packets:?}").contains("Lua Error"));
}
