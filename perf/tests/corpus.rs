//! Replays the small inputs of perf/corpus against the fuzz targets of `wattbook-soak`. A file is named for its target.

#[allow(dead_code, reason = "the soak's other parts have their own program")]
#[path = "../src/soak/mod.rs"]
mod soak;

use soak::targets::{CLEAR, targets};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn the_corpus_still_holds() {
    let all = targets(None);
    let mut replayed: BTreeMap<&str, u32> = all.iter().map(|target| (target.name, 0)).collect();
    let mut skipped = 0;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (name, _) = stem.rsplit_once('-').unwrap();
        if name == CLEAR {
            skipped += 1;
            continue;
        }
        let target = all.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("{} names no target", path.display()));
        let input = std::fs::read(&path).unwrap();
        if let Err(what) = target.run(&input) {
            panic!("{}: {what}", path.display());
        }
        *replayed.get_mut(target.name).unwrap() += 1;
    }
    eprintln!("replayed {replayed:?}, skipped {skipped} of {CLEAR}, which needs the program");
    assert!(
        replayed.values().all(|count| *count > 0),
        "a target has no corpus: {replayed:?}"
    );
}

/// What our own encoders make is taken, and nothing valid breaks a property.
#[test]
fn seeds_hold() {
    for target in targets(None) {
        let mut dice = soak::dice::Dice::new(1);
        for (n, seed) in (target.seeds)(&mut dice).iter().enumerate() {
            assert!(seed.len() <= target.size_max, "{} {n} is too long", target.name);
            if let Err(what) = target.run(seed) {
                panic!("{} {n}: {what}", target.name);
            }
        }
    }
}
