//! A node under load is killed twenty times and keeps every promise. `make soak` kills on.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

#[allow(dead_code, reason = "the soak's other parts have their own program")]
#[path = "../src/soak/mod.rs"]
mod soak;

use soak::kills::Victim;

const KILLS: u64 = 20;

#[test]
fn twenty_kills_under_load() {
    // Beside the folder of this test, where the workspace's tests have it built.
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("wattbook");
    assert!(
        program.exists(),
        "{} is missing: cargo build -p wattbook-node",
        program.display()
    );
    let mut victim = Victim::new(20, &program).unwrap();
    let (mut from_snapshot, mut last) = (0, None);
    for kill in 1..=KILLS {
        let killed = victim.kill().unwrap_or_else(|what| panic!("kill {kill}: {what}"));
        from_snapshot += u64::from(killed.from_snapshot);
        last = Some(killed);
    }
    let last = last.unwrap();
    eprintln!("{last:?}, {from_snapshot} restarts from a snapshot");
    // The load is one, and restarts meet snapshots.
    assert!(
        last.promised > 10 * KILLS && from_snapshot > 0,
        "{last:?} {from_snapshot}"
    );
}
