//! Other people's code reads our bytes: decoders from PyPI follow the schema file, tshark follows the framing.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::samples;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use wattbook_feed::layout::{Field, Kind};
use wattbook_feed::sbe::HEADER_SIZE;
use wattbook_feed::sbe::outbound::MESSAGES;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The Python of an environment with the decoders, made if it can be.
fn python() -> Option<PathBuf> {
    let made = Command::new("bash")
        .arg(format!("{ROOT}/../.ci/readers"))
        .arg(format!("{}/readers", env!("CARGO_TARGET_TMPDIR")))
        .output()
        .unwrap();
    if made.status.success() {
        return Some(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()));
    }
    let why = String::from_utf8_lossy(&made.stderr);
    println!(
        "SKIPPED: the decoders from PyPI cannot be installed: {}",
        why.lines().last().unwrap_or("no reason given")
    );
    None
}

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
    let Some(python) = python() else { return };
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
