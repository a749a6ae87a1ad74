//! Prints good and hostile signatures, one JSON object a line, for implementations that are not blst to judge: the
//! scripts in `tests/oracles` do, and `tests/oracles.rs` holds every path against what they said.
//!
//! `cargo run -p wattbook-shaders --example oracle_sample | node noble.mjs | python3 arkworks.py > verdicts.jsonl`
#![allow(clippy::unwrap_used, reason = "an example ends where it has nothing to unwrap")]

#[path = "../tests/signers/mod.rs"]
mod signers;

fn main() {
    for judged in signers::sample::sample(0) {
        println!("{}", judged.json());
    }
}
