//! Good and hostile signatures, judged by two implementations that are not blst: every path says what they say.
//!
//! `oracles/verdicts.jsonl` is the sample of `examples/oracle_sample.rs` after the two scripts beside it.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod signers;

use serde_json::Value;
use signers::{Envelope, POLICIES, verify};
use std::collections::BTreeMap;
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
