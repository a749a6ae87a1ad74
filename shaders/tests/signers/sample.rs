//! Good and hostile signatures for implementations that are not blst to judge.

use super::{Envelope, Signer, add, chain, negate, of_cofactor_order, of_order_eleven, of_order_three};
use blst::min_sig::Signature;
use serde_json::{Value, json};

/// A signature and the bytes that are said to be its key.
pub(crate) struct Judged {
    pub(crate) kind: &'static str,
    pub(crate) envelope: Envelope,
    pub(crate) key: Vec<u8>,
}

impl Judged {
    /// What the scripts in `tests/oracles` read.
    pub(crate) fn json(&self) -> Value {
        json!({
            "kind": self.kind,
            "key": hex::encode(&self.key),
            "header": hex::encode(bytemuck::bytes_of(&self.envelope.header)),
            "leaf": hex::encode(&self.envelope.leaves),
            "digest": hex::encode(self.envelope.header.digest(chain()).0),
            "signature": hex::encode(self.envelope.signature),
        })
    }
}

/// A sample of fourteen kinds, its signers and nonces numbered from `first` on.
pub(crate) fn sample(first: u64) -> Vec<Judged> {
    let signers = [1, 2, 3].map(|n| Signer::new(first + n));
    let good = |n: u64| signers[n as usize % 3].envelope(first + n, 1, 0);
    let mut sample = Vec::new();
    let point = |envelope: &Envelope| Signature::from_bytes(&envelope.signature).unwrap();
    let key = |envelope: &Envelope| envelope.key.as_bytes().to_vec();
    let mut print = |kind, envelope: &Envelope, key: &[u8]| {
        let (envelope, key) = (envelope.clone(), key.to_vec());
        sample.push(Judged { kind, envelope, key });
    };
    for n in 0..12 {
        print("good", &good(n), &key(&good(n)));
    }
    let mut with = |n: u64, kind, signature: [u8; 48]| {
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
    }
    for n in 0..3 {
        // A point of the twist with a small x is outside its subgroup.
        let mut off = [0u8; 96];
        (off[0], off[95]) = (0x80, [2, 3, 5][n as usize]);
        print("key off the curve or its subgroup", &good(n), &off);
        let mut none = [0u8; 96];
        none[0] = 0xc0;
        print("key at infinity", &good(n), &none);
    }
    sample
}
