//! Writing, reopening, reading, refusing.
#![allow(clippy::unwrap_used)]

mod support;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use support::{GENESIS, SMALL, append, build, create, key, payloads, roots};
use wattbook_ledger::{
    BlockDraft, COMMIT_SIZE, CheckError, Error, FaultKind, Options, Reader, Record, Store, check, check_with,
    record_root,
};
use wattbook_types::{Hash, TimeNs, sha256, tree};

#[test]
fn round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    let mut headers = vec![*store.tip()];
    for height in 1..=40 {
        let block = append(&mut store, &payloads(height));
        assert_eq!(block.header, *store.tip());
        headers.push(block.header);
        assert_eq!(store.commit().unwrap().digest, block.digest);
    }
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.genesis(), GENESIS);
    assert_eq!(reader.chain().0, sha256(&[GENESIS]));
    let (mut leaves, mut parent, mut seq) = (Vec::new(), Hash::ZERO, 1);
    for (height, block) in (0u64..).zip(reader.blocks()) {
        let block = block.unwrap();
        assert_eq!(block.header, headers[height as usize]);
        assert_eq!(block.header.to_raw().as_bytes(), block.raw);
        assert_eq!(block.header.parent, parent);
        assert_eq!(block.header.log_root, tree::root(&leaves));
        assert_eq!(block.header.first_seq, seq);
        let expected = if height == 0 { Vec::new() } else { payloads(height) };
        assert_eq!(block.records.len(), expected.len());
        for (record, payload) in block.records.iter().zip(&expected) {
            assert_eq!((record.payload, record.seq), (payload.as_slice(), seq));
            seq += 1;
        }
        let records: Vec<Record<'_>> = block
            .records
            .iter()
            .map(|r| Record {
                kind: r.kind,
                version: r.version,
                seq: r.seq,
                payload: r.payload,
            })
            .collect();
        assert_eq!(block.header.record_root, record_root(&records));
        leaves.push(block.raw.to_vec());
        parent = block.digest;
    }
    assert_eq!(leaves.len(), 41);
    drop(store);
    let checked = check(dir.path(), &key().verifying_key()).unwrap();
    assert_eq!(
        (checked.tip.height, checked.tip_digest, checked.record_count),
        (40, parent, seq - 1)
    );
    assert!(checked.segment_count > 3);
}

#[test]
fn reopen_continues_the_same_log() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(whole.path(), 30));
    drop(create(parts.path()));
    for height in 1..=30 {
        let (mut store, recovery) = Store::open(parts.path(), &key(), Options::default()).unwrap();
        assert!(recovery.is_clean(), "{recovery}");
        assert_eq!(recovery.height, height - 1);
        append(&mut store, &payloads(height));
        store.commit().unwrap();
    }
    for (a, b) in support::files(whole.path()).iter().zip(support::files(parts.path())) {
        assert_eq!(a.file_name(), b.file_name());
        assert!(
            std::fs::read(a).unwrap() == std::fs::read(b).unwrap(),
            "{}",
            a.display()
        );
    }
}

#[test]
fn several_blocks_one_commit() {
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(build(one.path(), 12));
    let mut store = create(many.path());
    for height in 1..=12 {
        append(&mut store, &payloads(height));
    }
    assert_eq!(store.committed().height, 0);
    assert_eq!(store.commit().unwrap().height, 12);
    assert_eq!(store.commit().unwrap().height, 12);
    drop(store);
    for (a, b) in support::files(one.path()).iter().zip(support::files(many.path())) {
        assert!(
            std::fs::read(a).unwrap() == std::fs::read(b).unwrap(),
            "{}",
            a.display()
        );
    }
}

#[test]
fn a_live_reader_sees_only_what_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = build(dir.path(), 2);
    let mut reader = Reader::open(dir.path()).unwrap();
    append(&mut store, &payloads(3));
    assert!(!reader.refresh().unwrap());
    assert_eq!(reader.blocks().count(), 3);
    assert!(matches!(Reader::open_whole(dir.path()), Err(Error::Damaged(fault)) if fault.kind == FaultKind::Locked));
    assert_eq!(
        check(dir.path(), &key().verifying_key()).unwrap_err().kind,
        FaultKind::Locked
    );
    // An entry that is being written is not read yet.
    let commits = dir.path().join("commits.log");
    let bytes = std::fs::read(&commits).unwrap();
    std::fs::write(&commits, [&bytes[..], &[0; 50]].concat()).unwrap();
    assert!(!reader.refresh().unwrap());
    std::fs::write(&commits, &bytes).unwrap();
    for height in 4..=30 {
        append(&mut store, &payloads(height));
    }
    store.commit().unwrap();
    assert!(reader.refresh().unwrap());
    assert_eq!(reader.blocks().filter(Result::is_ok).count(), 31);
    append(&mut store, &payloads(31));
    drop(store);
    assert_eq!(Reader::open(dir.path()).unwrap().blocks().count(), 31);
    assert_eq!(
        Reader::open_whole(dir.path())
            .unwrap()
            .blocks()
            .filter(Result::is_ok)
            .count(),
        32
    );
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path());
    let second = Store::open(dir.path(), &key(), SMALL).unwrap_err();
    assert!(matches!(second, Error::Locked { .. }));
    assert!(second.to_string().contains("already open elsewhere"), "{second}");
    assert!(matches!(
        Store::create(dir.path(), GENESIS, &key(), SMALL, roots()),
        Err(Error::Locked { .. })
    ));
    drop(store);
    assert!(matches!(
        Store::create(dir.path(), GENESIS, &key(), SMALL, roots()),
        Err(Error::Exists { .. })
    ));
    assert!(Store::open(dir.path(), &key(), SMALL).is_ok());
}

#[test]
fn another_log_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    let other = SigningKey::from_bytes(&[43; 32]);
    let refused = Store::open(dir.path(), &other, SMALL).unwrap_err();
    assert!(matches!(refused, Error::Damaged(fault) if fault.kind == FaultKind::CommitSignature));
    assert_eq!(
        check(dir.path(), &other.verifying_key()).unwrap_err().kind,
        FaultKind::CommitSignature
    );
}

#[test]
fn bad_drafts_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = build(dir.path(), 3);
    let (tip, seq) = (*store.tip(), store.next_seq());
    let huge = vec![1; store.payload_size_max() as usize + 1];
    let record = |kind, seq, payload| Record {
        kind,
        version: 1,
        seq,
        payload,
    };
    let mut draft = |records: &[Record<'_>], time: u64| {
        let refused = store.append_block(&BlockDraft {
            time_ns: TimeNs::new(time),
            records,
            event_count: 0,
            event_root: Hash::ZERO,
            state_root: Hash::ZERO,
            params_hash: Hash::ZERO,
            dpos_hash: Hash::ZERO,
            lead: None,
        });
        assert_eq!(*store.tip(), tip);
        refused.unwrap_err()
    };
    let now = tip.time.get();
    assert!(matches!(draft(&[], now - 1), Error::Time { .. }));
    assert!(matches!(
        draft(&[record(0, seq, b"")], now),
        Error::RecordKind { kind: 0, .. }
    ));
    assert!(matches!(
        draft(&[record(u16::MAX, seq, b"")], now),
        Error::RecordKind { .. }
    ));
    assert!(matches!(draft(&[record(1, seq + 1, b"")], now), Error::Sequence { .. }));
    assert!(matches!(
        draft(&[record(1, seq, b"a"), record(1, seq, b"b")], now),
        Error::Sequence { .. }
    ));
    assert!(matches!(draft(&[record(1, seq, &huge)], now), Error::RecordSize { .. }));
    append(&mut store, &[huge[1..].to_vec()]);
    store.commit().unwrap();
    drop(store);
    assert!(check(dir.path(), &key().verifying_key()).is_ok());
}

#[test]
fn segment_sizes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 4095, 4097, 2048, (1 << 30) + 4096] {
        let refused = Store::create(dir.path(), GENESIS, &key(), Options { segment_size: size }, roots());
        assert!(matches!(refused, Err(Error::SegmentSize { size: found }) if found == size));
    }
}

#[test]
fn a_visitor_stops_the_check() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(dir.path(), 5));
    let mut seen = Vec::new();
    let stopped = check_with(dir.path(), &key().verifying_key(), |block| {
        seen.push(block.header.height);
        if block.header.height == 3 {
            Err("state root")
        } else {
            Ok(())
        }
    });
    assert_eq!(stopped, Err(CheckError::Visit("state root")));
    assert_eq!(seen, [0, 1, 2, 3]);
    let entries = std::fs::metadata(dir.path().join("commits.log")).unwrap().len() / COMMIT_SIZE;
    assert_eq!(entries, 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_records_round_trip(
        blocks in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 0..6), 0..8),
        reopen in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = create(dir.path());
        for block in &blocks {
            append(&mut store, block);
            store.commit().unwrap();
            if reopen {
                drop(store);
                store = Store::open(dir.path(), &key(), SMALL).unwrap().0;
            }
        }
        drop(store);
        let mut found = Vec::new();
        let checked = check_with(dir.path(), &key().verifying_key(), |block| {
            found.push(block.records.iter().map(|record| record.payload.to_vec()).collect::<Vec<_>>());
            Ok::<(), ()>(())
        });
        prop_assert_eq!(checked.unwrap().tip.height, blocks.len() as u64);
        prop_assert_eq!(&found[1..], &blocks[..]);
    }
}
