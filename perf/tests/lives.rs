//! A client is killed twenty times beside a node: no quote is lost and none is processed twice. `make soak` goes on.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

#[allow(dead_code, reason = "the soak's other parts have their own program")]
#[path = "../src/soak/mod.rs"]
mod soak;

use soak::lives::Mortal;
use std::path::Path;

const LIVES: u64 = 20;

#[test]
fn twenty_lives_of_a_client() {
    // Beside the folder of this test, where the workspace's tests have it built.
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("wattbook");
    assert!(
        program.exists(),
        "{} is missing: cargo build -p wattbook-node",
        program.display()
    );
    let mut client = Mortal::new(20, &program, Path::new(env!("CARGO_BIN_EXE_wattbook-soak"))).unwrap();
    for life in 1..=LIVES {
        client.live().unwrap_or_else(|what| panic!("life {life}: {what}"));
    }
    let killed = client.check().unwrap();
    assert!(killed > LIVES / 4, "{killed} of {LIVES} lives were killed");
}
