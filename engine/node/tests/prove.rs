//! Records and contracts proved to third parties; nothing that was changed proves anything.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

#[path = "../../../ledger/tests/python/mod.rs"]
mod python;
mod support;

use std::path::Path;
use std::process::Command;

use support::Town;
use tempfile::TempDir;
use wattbook_ledger::{HeaderIndex, Reader, RecordProof};
use wattbook_node::deal_proof::{DealError, DealProof};
use wattbook_node::notary;
use wattbook_types::{Deal, Event, Hash};

/// A cycle's ledger, its contracts, and its deals that never became one.
fn town() -> (TempDir, Vec<Hash>, Vec<Hash>) {
    let dir = TempDir::new().unwrap();
    let mut town = Town::found(dir.path(), &[]);
    town.run_cycle();
    let is_signed = |deal: &Deal| {
        town.seen.iter().any(|event| match event {
            Event::Contracted {
                contract, first, count, ..
            } => *contract == deal.contract && (*first..first + count).contains(&deal.ordinal),
            _ => false,
        })
    };
    let (mut signed, mut unsigned) = (Vec::new(), Vec::new());
    for event in &town.seen {
        if let Event::Executed { deal, deal_id, .. } = event {
            let kind = if is_signed(deal) { &mut signed } else { &mut unsigned };
            kind.push(*deal_id);
        }
    }
    (dir, signed, unsigned)
}

fn wattbook(args: &[&str]) -> (bool, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.success(), text(run.stdout), text(run.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_contract_proves_and_a_changed_one_does_not() {
    let (dir, deals, unsigned) = town();
    assert!(deals.len() >= 2, "{} deals", deals.len());
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let key = notary::log_key(reader.genesis()).unwrap();
    let (mut revealed, mut places) = (0, 0);
    for id in &deals {
        let proof = DealProof::find(&reader, &mut index, *id).unwrap();
        let text = proof.to_json();
        revealed += u32::from(text.contains("buyer_reveal"));
        places += u32::from(!text.contains("\"place\": 0"));
        let shown = DealProof::parse(&text).unwrap().verify(Some(&key)).unwrap();
        assert_eq!(shown.id, *id);
        DealProof::parse(&text).unwrap().verify(None).unwrap();
    }
    assert!(
        revealed > 0 && places > 0,
        "sealed deals and deals signed together are among them"
    );

    for id in unsigned {
        let error = DealProof::find(&reader, &mut index, id).unwrap_err();
        assert!(matches!(error, DealError::NotSigned(_)), "{error}");
    }
    let unknown = DealProof::find(&reader, &mut index, Hash([7; 32])).unwrap_err();
    assert!(matches!(unknown, DealError::Unknown(_)), "{unknown}");

    let text = DealProof::find(&reader, &mut index, deals[1]).unwrap().to_json();
    let holds = |text: &str| DealProof::parse(text).and_then(|proof| proof.verify(Some(&key)).map(drop));
    // The fields outside the records, digit by digit; the records are checked bit by bit where they are made.
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for name in ["deal", "height", "count", "place", "path", "genesis"] {
        let mut changed = value.clone();
        match &mut changed[name] {
            serde_json::Value::String(hex) => {
                for at in (0..hex.len()).step_by(7) {
                    let mut bytes = hex.clone().into_bytes();
                    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                    let mut one = value.clone();
                    one[name] = String::from_utf8(bytes).unwrap().into();
                    assert!(holds(&one.to_string()).is_err(), "{name}, digit {at}");
                }
                *hex = String::new();
            }
            serde_json::Value::Array(hashes) => hashes.push(Hash::ZERO.to_string().into()),
            number => *number = (number.as_u64().unwrap() + 1).into(),
        }
        assert!(holds(&changed.to_string()).is_err(), "{name}");
    }
    let roles: Vec<String> = value["records"].as_object().unwrap().keys().cloned().collect();
    for role in &roles {
        let mut without = value.clone();
        without["records"].as_object_mut().unwrap().remove(role);
        assert!(holds(&without.to_string()).is_err(), "without {role}");
        for other in roles.iter().filter(|other| *other != role) {
            let mut swapped = value.clone();
            swapped["records"][role] = value["records"][other].clone();
            assert!(holds(&swapped.to_string()).is_err(), "{other} as {role}");
        }
    }
}

#[test]
fn the_commands_prove_check_cosign_and_export() {
    let (dir, deals, _) = town();
    let at = text(dir.path());
    let out = TempDir::new().unwrap();
    let (ok, key, _) = wattbook(&["checkpoint", at, "--key"]);
    assert!(ok && key.starts_with("wattbook/10YTEST/"), "{key}");
    let key = key.trim();

    let (ok, proof, error) = wattbook(&["prove", at, "--record", "9"]);
    assert!(ok, "{error}");
    RecordProof::parse(&proof).unwrap();
    let path = out.path().join("record.tlog-proof");
    std::fs::write(&path, &proof).unwrap();
    let (ok, said, _) = wattbook(&["verify-proof", text(&path), "--key", key]);
    assert!(
        ok && said.contains("anchored") && !said.contains("self-consistent"),
        "{said}"
    );
    let (ok, said, _) = wattbook(&["verify-proof", text(&path)]);
    assert!(ok && said.contains("self-consistent only"), "{said}");
    std::fs::write(&path, proof.replacen("index ", "index 1", 1)).unwrap();
    let (ok, said, error) = wattbook(&["verify-proof", text(&path), "--json"]);
    assert!(!ok && said.contains("\"ok\":false") && !error.is_empty(), "{said}");
    let (ok, _, error) = wattbook(&["prove", at, "--record", "999999"]);
    assert!(!ok && error.contains("there is no record 999999"), "{error}");

    let (ok, proof, error) = wattbook(&["prove", at, "--deal", &deals[0].to_string()]);
    assert!(ok, "{error}");
    let path = out.path().join("deal.json");
    std::fs::write(&path, &proof).unwrap();
    let (ok, said, error) = wattbook(&["verify-proof", text(&path), "--key", key, "--json"]);
    assert!(ok && said.contains(&deals[0].to_string()), "{said}{error}");

    let tiles = out.path().join("tiles");
    let (ok, said, error) = wattbook(&["tiles", at, "--out", text(&tiles), "--json"]);
    assert!(ok && said.contains("\"from\":0"), "{said}{error}");
    let (ok, again, _) = wattbook(&["tiles", at, "--out", text(&tiles), "--json"]);
    assert!(ok && again.contains("\"files\":0"), "{again}");
    let (ok, said, error) = wattbook(&["checkpoint", at, "--since", "3", "--json"]);
    assert!(ok && said.contains("consistency"), "{said}{error}");

    // A damaged ledger: the error names the place.
    let segment = dir.path().join("00000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let _ = std::fs::remove_dir_all(dir.path().join("index"));
    for args in [
        vec!["prove", at, "--record", "9"],
        vec!["tiles", at, "--out", text(&tiles)],
        vec!["inspect", at],
        vec!["tail", at],
        vec![
            "export",
            at,
            "--what",
            "records",
            "--format",
            "csv",
            "--out",
            text(&path),
        ],
    ] {
        let (ok, _, error) = wattbook(&args);
        assert!(!ok && error.contains("00000000.seg, offset"), "{args:?}: {error}");
    }
}

#[test]
fn the_page_for_outsiders_runs_as_it_stands() {
    let python = match python::with(&["tlog-scales==0.0.3"]) {
        Ok(python) => python,
        Err(why) => {
            python::skip("docs/proofs.md is not run", &why);
            return;
        }
    };
    let (dir, ..) = town();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/proofs.md")).unwrap();
    let blocks = page
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let script: String = blocks.collect();
    assert!(script.lines().count() > 12);
    let place = TempDir::new().unwrap();
    std::os::unix::fs::symlink(dir.path(), place.path().join("market")).unwrap();
    std::os::unix::fs::symlink(root.canonicalize().unwrap().join("ledger"), place.path().join("ledger")).unwrap();
    let folders = [
        Path::new(env!("CARGO_BIN_EXE_wattbook")).parent(),
        python.parent(),
        Some(Path::new("/usr/bin")),
        Some(Path::new("/bin")),
    ];
    let run = Command::new("sh")
        .args(["-euc", &script])
        .current_dir(place.path())
        .env("PATH", std::env::join_paths(folders.into_iter().flatten()).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    for expected in [
        "the proof holds, anchored",
        "headers, record 9",
        "rows in trades.parquet",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("self-consistent"), "{said}");
}
