//! Good and hostile signatures, judged by two implementations that are not blst: every path says what they say.
//!
//! `oracles/verdicts.jsonl` is the sample of `examples/oracle_sample.rs` after two of the scripts beside it. Two that come
//! from PyPI judge a fresh sample each time.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod signers;

use serde_json::Value;
use signers::sample::{Judged, sample};
use signers::{Envelope, POLICIES, verify};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wattbook_shaders::{PublicKey, Verdict};

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

#[test]
fn noble_and_arkworks_agree_with_every_path() {
    let (mut envelopes, mut expected) = (Vec::new(), Vec::new());
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in include_str!("oracles/verdicts.jsonl").lines() {
        let item: Value = serde_json::from_str(line).unwrap();
        let (noble, arkworks) = (item["noble"].as_bool().unwrap(), item["arkworks"].as_bool().unwrap());
        assert_eq!(noble, arkworks, "{line}");
        *kinds.entry(item["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        assert_eq!(noble, item["kind"] == "good", "{line}");
        let Ok(key) = PublicKey::new(&bytes(&item["key"])) else {
            assert!(!noble, "{line}");
            continue;
        };
        envelopes.push(Envelope {
            header: bytemuck::pod_read_unaligned(&bytes::<72>(&item["header"])),
            signature: bytes(&item["signature"]),
            leaves: hex::decode(item["leaf"].as_str().unwrap()).unwrap(),
            key,
            source: envelopes.len() as u64 % 4,
        });
        expected.push(noble);
    }
    assert_eq!((kinds.len(), kinds["good"]), (14, 12), "{kinds:?}");
    for policy in POLICIES {
        let valid = |verdict: Verdict| verdict == Verdict::Valid;
        let verdicts: Vec<bool> = verify(policy, &envelopes).into_iter().map(valid).collect();
        assert_eq!(verdicts, expected, "{policy:?}");
        // Long enough for the combinations.
        let twice: Vec<Envelope> = envelopes.iter().chain(&envelopes).cloned().collect();
        let verdicts: Vec<bool> = verify(policy, &twice).into_iter().map(valid).collect();
        assert_eq!(verdicts, expected.repeat(2), "{policy:?}, twice");
    }
}

/// A Python with the packages that the scripts need, if it can be had.
fn python() -> Option<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/oracles");
    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/oracles");
    let made = Command::new("bash").args([script, folder]).output().unwrap();
    if made.status.success() {
        return Some(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()));
    }
    let why = String::from_utf8_lossy(&made.stderr);
    let why = why.lines().last().unwrap_or("no reason given");
    // Past the capture of a passing test's output.
    writeln!(
        std::io::stderr(),
        "\nSKIPPED: Python and packages from PyPI are not to be had: {why}"
    )
    .expect("stderr");
    None
}

/// What a script says of every line, under the name of its implementation.
fn judged_by(python: &Path, script: &str, name: &str, lines: &str) -> Vec<bool> {
    let mut child = Command::new(python)
        .arg(format!("{}/tests/oracles/{script}", env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{script}");
    let lines = out.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let judged = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    judged.map(|line| line[name].as_bool().unwrap()).collect()
}

/// Two of each kind, of signers and nonces that nobody saw before.
#[test]
fn py_ecc_and_arkworks_agree_on_a_fresh_sample() {
    let Some(python) = python() else {
        return;
    };
    let fresh = getrandom::u64().unwrap();
    let mut all = sample(fresh >> 1);
    let turn = fresh as usize % all.len();
    all.rotate_left(turn);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut is_wanted = |judged: &Judged| {
        let count = kinds.entry(judged.kind).or_default();
        *count += 1;
        *count <= 2
    };
    let judged: Vec<Judged> = all.into_iter().filter(|judged| is_wanted(judged)).collect();
    assert_eq!((kinds.len(), judged.len()), (14, 28));
    let lines: String = judged.iter().map(|judged| format!("{}\n", judged.json())).collect();
    let good: Vec<bool> = judged.iter().map(|judged| judged.kind == "good").collect();
    for (script, name) in [("arkworks.py", "arkworks"), ("pyecc.py", "py_ecc")] {
        assert_eq!(
            judged_by(&python, script, name, &lines),
            good,
            "{name}, sample {fresh}: {lines}"
        );
    }
    let with_keys = judged.iter().zip(good).filter_map(|(judged, is_good)| {
        let bytes = judged.key.as_slice().try_into().unwrap();
        let key = PublicKey::new(&bytes);
        assert!(key.is_ok() || !is_good, "{}, sample {fresh}", judged.kind);
        let envelope = Envelope {
            key: key.ok()?,
            ..judged.envelope.clone()
        };
        Some((envelope, is_good))
    });
    let (envelopes, good): (Vec<Envelope>, Vec<bool>) = with_keys.unzip();
    for policy in POLICIES {
        let verdicts = verify(policy, &envelopes).into_iter();
        let valid: Vec<bool> = verdicts.map(|verdict| verdict == Verdict::Valid).collect();
        assert_eq!(valid, good, "{policy:?}, sample {fresh}: {lines}");
    }
}
