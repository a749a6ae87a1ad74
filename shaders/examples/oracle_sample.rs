//! Prints good and hostile signatures, one JSON object a line, for implementations that are not blst to judge: the
//! scripts in `tests/oracles` do, and `tests/oracles.rs` holds every path against what they said.
//!
//! `cargo run -p wattbook-shaders --example oracle_sample | node noble.mjs | python3 arkworks.py > verdicts.jsonl`
#![allow(clippy::unwrap_used, reason = "an example ends where it has nothing to unwrap")]

#[path = "../tests/signers/mod.rs"]
mod signers;

use blst::min_sig::Signature;
use serde_json::json;
use signers::{Envelope, Signer, add, chain, negate, of_cofactor_order, of_order_eleven, of_order_three};

fn main() {
    let signers = [1, 2, 3].map(Signer::new);
    let good = |n: u64| signers[n as usize % 3].envelope(n, 1, 0);
    let point = |envelope: &Envelope| Signature::from_bytes(&envelope.signature).unwrap();
    let key = |envelope: &Envelope| envelope.key.as_bytes().to_vec();
    let print = |kind: &str, envelope: &Envelope, key: &[u8]| {
        let line = json!({
            "kind": kind,
            "key": hex::encode(key),
            "header": hex::encode(bytemuck::bytes_of(&envelope.header)),
            "leaf": hex::encode(&envelope.leaves),
            "digest": hex::encode(envelope.header.digest(chain()).0),
            "signature": hex::encode(envelope.signature),
        });
        println!("{line}");
    };
    for n in 0..12 {
        print("good", &good(n), &key(&good(n)));
    }
    let with = |n: u64, kind: &str, signature: [u8; 48]| {
        let envelope = Envelope { signature, ..good(n) };
        print(kind, &envelope, &key(&envelope));
    };
    let torsion = [
        of_order_three(),
        of_order_eleven(0),
        of_cofactor_order(0),
        of_cofactor_order(1),
    ];
    for (n, t) in torsion.iter().enumerate() {
        let n = n as u64;
        with(n, "component outside the subgroup", add(&point(&good(n)), t).to_bytes());
        with(
            n + 1,
            "its opposite in the same batch",
            add(&point(&good(n + 1)), &negate(t)).to_bytes(),
        );
        with(n, "nothing but the component", t.to_bytes());
    }
    for n in 0..3 {
        with(n, "negative", negate(&point(&good(n))).to_bytes());
        with(n, "of another message", good(n + 3).signature);
        with(n, "of another key", good(n + 1).signature);
        let flagged = |flags: u8| {
            let mut signature = good(n).signature;
            signature[0] = signature[0] & 0x1f | flags;
            signature
        };
        with(n, "no flag", flagged(0));
        with(n, "flag of infinity", flagged(0xc0));
        with(n, "not below the modulus", [0x9f; 48]);
        let mut small = [0u8; 48];
        (small[0], small[47]) = (0x80, 1 + n as u8);
        with(n, "small x", small);
        let mut infinity = [0u8; 48];
        infinity[0] = 0xc0;
        with(n, "infinity", infinity);
        // A point of the twist with a small x is outside its subgroup.
        let mut off = [0u8; 96];
        (off[0], off[95]) = (0x80, [2, 3, 5][n as usize]);
        print("key off the curve or its subgroup", &good(n), &off);
        let mut none = [0u8; 96];
        none[0] = 0xc0;
        print("key at infinity", &good(n), &none);
    }
}
