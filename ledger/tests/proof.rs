//! Proofs, checkpoints and tiles: every record proves, nothing else does, and tools that others wrote agree.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;
#[path = "foreign/tiles.rs"]
mod tiles;

use std::ops::ControlFlow;

use ed25519_dalek::SigningKey;
use tempfile::TempDir;
use wattbook_ledger::{
    COMMIT_SIZE, COMMITS_FILE, Error, FaultKind, HeaderIndex, INDEX_DIR, KeyIndex, KeyKind, Note, NoteError, NoteKey,
    Reader, RecordProof, Store, check_consistency, checkpoints, export_tiles, export_tiles_paced, origin,
};
use wattbook_types::tree::leaf_hash;

use support::{append, build, key, payloads};
use tiles::audit;

fn log_key(reader: &Reader) -> NoteKey {
    NoteKey::log(origin("10YTEST", reader.chain()), key().verifying_key())
}

fn checkpoint(index: &mut HeaderIndex, reader: &Reader, size: u64) -> Note {
    let origin = origin("10YTEST", reader.chain());
    Note::sign(index.checkpoint(reader, size, origin).unwrap(), &key())
}

fn grow(store: &mut Store, blocks: u64) {
    for _ in 0..blocks {
        let height = store.next_height();
        append(store, &payloads(height));
    }
    store.commit().unwrap();
}

#[test]
fn every_record_proves_under_every_checkpoint_that_covers_it() {
    let dir = TempDir::new().unwrap();
    let mut store = build(dir.path(), 20);
    let last = store.next_seq() - 1;
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    assert_eq!(index.size(), 21);
    let key = log_key(&reader);
    for size in [21, 15] {
        let note = checkpoint(&mut index, &reader, size);
        for block in reader.blocks().map(Result::unwrap) {
            for record in &block.records {
                let proof = match index.prove(&reader, record.seq, &note) {
                    Ok(proof) => proof,
                    Err(error) => {
                        assert!(
                            matches!(error, Error::NoBlock { .. }) && block.header.height >= size,
                            "{error}"
                        );
                        continue;
                    }
                };
                let text = proof.to_string();
                let parsed = RecordProof::parse(&text).unwrap();
                assert_eq!(parsed, proof);
                let proven = parsed.verify(&key).unwrap();
                assert_eq!((proven.seq, proven.kind), (record.seq, record.kind));
                assert_eq!((proven.payload, proven.header), (record.payload, block.header));
            }
        }
    }
    let note = checkpoint(&mut index, &reader, 21);
    for seq in [0, last + 1, u64::MAX] {
        let error = index.prove(&reader, seq, &note).unwrap_err();
        assert!(matches!(error, Error::NoRecord { .. }), "{seq}: {error}");
    }
    // What a writer adds is found without starting over.
    grow(&mut store, 10);
    let mut reader = reader;
    assert!(reader.refresh().unwrap());
    assert!(index.extend(&reader).unwrap());
    let newer = checkpoint(&mut index, &reader, 31);
    assert!(index.prove(&reader, last + 1, &newer).is_ok());
    let path = index.consistency(&reader, 21, 31).unwrap();
    check_consistency(note.checkpoint(), newer.checkpoint(), &path).unwrap();
    assert!(check_consistency(newer.checkpoint(), note.checkpoint(), &path).is_err());
    assert!(check_consistency(note.checkpoint(), newer.checkpoint(), &path[1..]).is_err());
}

#[test]
fn no_flipped_bit_of_a_proof_holds() {
    let dir = TempDir::new().unwrap();
    drop(build(dir.path(), 9));
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let note = checkpoint(&mut index, &reader, 10);
    let text = index.prove(&reader, 6, &note).unwrap().to_string();
    let key = log_key(&reader);
    for bit in 0..text.len() * 8 {
        let mut bytes = text.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(flipped) = String::from_utf8(bytes) else {
            continue;
        };
        let holds = RecordProof::parse(&flipped).is_ok_and(|proof| proof.verify(&key).is_ok());
        assert!(!holds, "bit {bit}");
    }
    for len in 0..text.len() {
        if let Some(cut) = text.get(..len) {
            assert!(
                RecordProof::parse(cut)
                    .and_then(|proof| proof.verify(&key).map(drop))
                    .is_err()
            );
        }
    }
}

#[test]
fn a_wrong_index_is_made_again_from_the_log() {
    let dir = TempDir::new().unwrap();
    drop(build(dir.path(), 40));
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let note = checkpoint(&mut index, &reader, 41);
    let right: Vec<RecordProof> = (1..60).map(|seq| index.prove(&reader, seq, &note).unwrap()).collect();
    drop(index);
    let folder = dir.path().join(INDEX_DIR);
    for name in ["blocks.idx", "nodes.idx"] {
        let path = folder.join(name);
        let sound = std::fs::read(&path).unwrap();
        for at in (0..sound.len()).step_by(13) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            let mut index = HeaderIndex::open(&reader).unwrap();
            let seq = 1 + at as u64 % 59;
            let proof = index.prove(&reader, seq, &note).unwrap();
            assert_eq!(proof, right[seq as usize - 1], "{name}, byte {at}");
            drop(index);
            std::fs::write(&path, &sound[..at]).unwrap();
            let mut index = HeaderIndex::open(&reader).unwrap();
            assert_eq!(index.prove(&reader, seq, &note).unwrap(), right[seq as usize - 1]);
            drop(index);
            std::fs::write(&path, &sound).unwrap();
        }
    }
    // Two at once, one of which cannot write.
    let mut first = HeaderIndex::open(&reader).unwrap();
    let mut second = HeaderIndex::open(&reader).unwrap();
    assert_eq!(
        first.prove(&reader, 7, &note).unwrap(),
        second.prove(&reader, 7, &note).unwrap()
    );
}

#[test]
fn a_damaged_log_proves_nothing_wrong() {
    let dir = TempDir::new().unwrap();
    drop(build(dir.path(), 12));
    let sound = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&sound).unwrap();
    let note = checkpoint(&mut index, &sound, 13);
    let right = index.prove(&sound, 9, &note).unwrap();
    drop((index, sound));
    let path = dir.path().join("00000000.seg");
    let bytes = std::fs::read(&path).unwrap();
    let (mut found, mut untouched) = (0, 0);
    for at in (0..bytes.len()).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let proved = Reader::open(dir.path()).and_then(|reader| {
            let mut index = HeaderIndex::open(&reader)?;
            index.prove(&reader, 9, &note)
        });
        match proved {
            // The damage lies elsewhere: what is proved is right all the same.
            Ok(proof) => {
                assert_eq!(proof, right);
                untouched += 1;
            }
            Err(Error::Damaged(fault)) => {
                assert_ne!(fault.kind, FaultKind::Unreadable, "{fault}");
                found += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(found > 20 && untouched > 20, "{found} found, {untouched} elsewhere");
}

#[test]
fn cosignatures_are_checked_and_kept() {
    let dir = TempDir::new().unwrap();
    drop(build(dir.path(), 5));
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let note = checkpoint(&mut index, &reader, 6);
    assert!(checkpoints::newest(dir.path()).unwrap().is_none());
    checkpoints::keep(dir.path(), &checkpoint(&mut index, &reader, 3)).unwrap();
    checkpoints::keep(dir.path(), &note).unwrap();
    let secret = SigningKey::from_bytes(&[3; 32]);
    let witness = NoteKey::witness("witness.example/w1".to_owned(), secret.verifying_key());
    assert_eq!(witness.kind(), KeyKind::Witness);
    let line = Note::cosign(note.checkpoint(), 1_760_000_000, witness.name(), &secret);
    let wrong = Note::cosign(
        checkpoint(&mut index, &reader, 5).checkpoint(),
        1,
        witness.name(),
        &secret,
    );
    let refused = checkpoints::cosign(dir.path(), 6, wrong, &witness).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Note {
                source: NoteError::Signature { .. },
                ..
            }
        ),
        "{refused}"
    );
    let missing = checkpoints::cosign(dir.path(), 4, line.clone(), &witness).unwrap_err();
    assert!(matches!(missing, Error::NoCheckpoint { size: 4 }), "{missing}");
    checkpoints::cosign(dir.path(), 6, line, &witness).unwrap();
    // Signing again does not lose the witness.
    checkpoints::keep(dir.path(), &note).unwrap();
    let kept = checkpoints::newest(dir.path()).unwrap().unwrap();
    assert_eq!(kept.checkpoint(), note.checkpoint());
    assert_eq!(kept.verify(&witness), Ok(Some(1_760_000_000)));
    assert_eq!(kept.verify(&log_key(&reader)), Ok(None));
    // Another tree of that size is not kept over it.
    let mut split = note.checkpoint().clone();
    split.root.0[0] ^= 1;
    let refused = checkpoints::keep(dir.path(), &Note::sign(split, &key())).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Note {
                source: NoteError::Split { .. },
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn foreign_crates_verify_tiles_as_they_grow_and_refuse_a_flipped_byte() {
    let dir = TempDir::new().unwrap();
    let out = TempDir::new().unwrap();
    let mut store = build(dir.path(), 1);
    let mut reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let vkey = log_key(&reader).to_string();
    let mut exported = 0;
    for blocks in [3, 250, 1, 1, 300, 0] {
        grow(&mut store, blocks);
        reader.refresh().unwrap();
        index.extend(&reader).unwrap();
        let size = index.size();
        let note = checkpoint(&mut index, &reader, size);
        let done = export_tiles(&mut index, &reader, &note, out.path()).unwrap();
        assert_eq!((done.from, done.to), (exported, size));
        assert_eq!(done.files == 0, blocks == 0);
        exported = size;
        let some = [0, 1, size / 2, size - 1];
        let entries = audit(out.path(), &vkey, |_| some.to_vec()).unwrap();
        for (height, entry) in some.into_iter().zip(entries) {
            assert_eq!(index.header(&reader, height).unwrap().1, entry);
        }
        // A proof of ours, by foreign rules.
        let proof = index.prove(&reader, 3, &note).unwrap();
        let path: Vec<_> = proof.header_path.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
        let root = tlog_tiles::Hash(note.checkpoint().root.0);
        let entry = tlog_tiles::Hash(leaf_hash(proof.header.as_bytes()).0);
        tlog_tiles::check_record(&path, size, root, proof.index, entry).unwrap();
        let older = index.checkpoint(&reader, size / 2 + 1, String::new()).unwrap();
        let path: Vec<_> = index.consistency(&reader, older.size, size).unwrap();
        let path: Vec<_> = path.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
        tlog_tiles::check_tree(&path, size, root, older.size, tlog_tiles::Hash(older.root.0)).unwrap();
    }
    assert!(out.path().join("tile/0/000").exists() && !out.path().join("tile/0/000.p").exists());
    // An older checkpoint, or one of another log, is refused.
    let older = checkpoint(&mut index, &reader, exported - 1);
    assert!(export_tiles(&mut index, &reader, &older, out.path()).is_err());
    for name in ["checkpoint", "tile/0/000", "tile/1/000.p/2", "tile/entries/000"] {
        let path = out.path().join(name);
        let sound = std::fs::read(&path).unwrap();
        for at in [0, sound.len() / 3, sound.len() - 2] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let every: Vec<u64> = (0..256)
                .step_by(if name == "tile/entries/000" { 1 } else { 51 })
                .collect();
            assert!(
                audit(out.path(), &vkey, |_| every.clone()).is_err(),
                "{name}, byte {at}"
            );
        }
        std::fs::write(&path, &sound).unwrap();
    }
}

#[test]
fn a_run_of_tiles_that_was_ended_is_gone_on_with() {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = build(dir.path(), 1);
    grow(&mut store, 100);
    let mut reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let vkey = log_key(&reader).to_string();
    let first = checkpoint(&mut index, &reader, 102);
    export_tiles(&mut index, &reader, &first, out.path()).unwrap();
    grow(&mut store, 500);
    reader.refresh().unwrap();
    index.extend(&reader).unwrap();
    let second = checkpoint(&mut index, &reader, 602);
    let every = |size| (0..size).collect();
    for steps in 1.. {
        let mut left = steps;
        let done = export_tiles_paced(&mut index, &reader, &second, out.path(), |size| {
            assert!(size > 0 && size <= 1 << 20);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        // What is served is what was, until all is there.
        let size = if let Some(done) = done.unwrap() {
            assert_eq!((done.from, done.to), (102, 602));
            assert!(steps > 5, "{steps}");
            602
        } else {
            102
        };
        assert_eq!(audit(out.path(), &vkey, every).unwrap().len(), size);
        if size == 602 {
            return;
        }
    }
}

#[test]
fn a_block_other_than_the_committed_one_proves_nothing() {
    let dir = TempDir::new().unwrap();
    drop(build(dir.path(), 12));
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let note = checkpoint(&mut index, &reader, 13);
    let last_of_5 = index.header(&reader, 5).unwrap().0.next_seq().unwrap() - 1;
    index.prove(&reader, last_of_5, &note).unwrap();
    let path = dir.path().join(COMMITS_FILE);
    let sound = std::fs::read(&path).unwrap();
    // Length and digest of the entry; its signature is for `verify`.
    for at in [8, 16, 47] {
        let mut bytes = sound.clone();
        bytes[5 * COMMIT_SIZE as usize + at] ^= 1;
        // Where an index does not hold it is made again, as far as the ledger does.
        std::fs::write(&path, &sound).unwrap();
        let mut index = HeaderIndex::open(&reader).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        for refused in [
            index.header(&reader, 5).map(drop).unwrap_err(),
            index.prove(&reader, last_of_5, &note).map(drop).unwrap_err(),
        ] {
            let Error::Damaged(fault) = refused else {
                panic!("{refused}")
            };
            assert_eq!((fault.kind, fault.height), (FaultKind::CommitMismatch, Some(5)));
        }
    }
    std::fs::write(&path, &sound).unwrap();
    index.prove(&reader, last_of_5, &note).unwrap();
}

#[test]
fn no_line_is_lost_between_witnesses_and_nothing_is_left_behind() {
    let dir = TempDir::new().unwrap();
    drop(build(dir.path(), 5));
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let note = checkpoint(&mut index, &reader, 6);
    // What a crash left of a write.
    let folder = dir.path().join(checkpoints::CHECKPOINTS_DIR);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("00000000000000000006.note.tmp"), "torn").unwrap();
    checkpoints::keep(dir.path(), &note).unwrap();
    let witnesses: Vec<(NoteKey, SigningKey)> = (0..8)
        .map(|number| {
            let secret = SigningKey::from_bytes(&[100 + number; 32]);
            let name = format!("witness.example/{number}");
            (NoteKey::witness(name, secret.verifying_key()), secret)
        })
        .collect();
    std::thread::scope(|scope| {
        for (witness, secret) in &witnesses {
            let (dir, note) = (dir.path(), &note);
            scope.spawn(move || {
                let line = Note::cosign(note.checkpoint(), 7, witness.name(), secret);
                checkpoints::cosign(dir, 6, line, witness).unwrap();
                checkpoints::keep(dir, note).unwrap();
            });
        }
    });
    let kept = checkpoints::newest(dir.path()).unwrap().unwrap();
    for (witness, _) in &witnesses {
        assert_eq!(kept.verify(witness), Ok(Some(7)));
    }
    let tiles = dir.path().join("tiles");
    export_tiles(&mut index, &reader, &kept, &tiles).unwrap();
    let mut folders = vec![folder, tiles];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            assert!(
                path.extension().is_none_or(|ending| ending != "tmp"),
                "{}",
                path.display()
            );
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
}

#[test]
fn records_follow_from_any_number_on() {
    let dir = TempDir::new().unwrap();
    let mut store = build(dir.path(), 20);
    let mut reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let mut by_kind = KeyIndex::new(|record, keys| keys.push(record.kind));
    by_kind.extend(&reader, &index).unwrap();
    assert!(!by_kind.extend(&reader, &index).unwrap());
    grow(&mut store, 20);
    reader.refresh().unwrap();
    while index.extend_by(&reader, 700).unwrap() {}
    assert!(by_kind.extend(&reader, &index).unwrap());
    let last = store.next_seq() - 1;
    let all: Vec<_> = (reader.blocks().map(Result::unwrap).flat_map(|block| block.records)).collect();
    assert_eq!(all.len() as u64, last);
    for from in [0, 1, 2, last / 2, last, last + 1, u64::MAX] {
        let found = index.records(&reader, from).unwrap().map(Result::unwrap);
        let found = found.map(|(header, record)| {
            assert!((header.first_seq..header.first_seq + header.record_count).contains(&record.seq));
            record
        });
        let expected: Vec<_> = all.iter().filter(|record| record.seq >= from).copied().collect();
        assert_eq!(found.collect::<Vec<_>>(), expected, "from {from}");
    }
    for kind in 1..=4 {
        let found = by_kind.records(&reader, kind).map(|found| found.unwrap().1);
        assert!(found.eq(all.iter().filter(|record| record.kind == kind).copied()));
    }
}
