//! Appending a block of records, and making it durable, against copying and syncing the same bytes.
//!
//! The ledger lies in the system's temporary folder; `TMPDIR` puts it on another disk.

#![allow(missing_docs, reason = "a bench has no public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use wattbook_benches::{criterion, row};
use wattbook_feed::keys::log_key;
use wattbook_ledger::{BlockDraft, GenesisRoots, Options, Record, Store};
use wattbook_types::{Hash, TimeNs};

/// Records of a block, and the size of one's payload, bytes.
const RECORDS: usize = 256;
const PAYLOAD: usize = 128;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("the temporary folder can be written");
    let time_ns = TimeNs::new(1);
    let (zero, key) = (Hash::ZERO, log_key(&[1; 32]));
    let roots = GenesisRoots {
        time_ns,
        state_root: zero,
        event_root: zero,
        params_hash: zero,
        dpos_hash: zero,
    };
    let store =
        Store::create(dir.path(), b"a bench", &key, Options::default(), roots).expect("a ledger can be created");
    (dir, store)
}

fn append(store: &mut Store, payloads: &[[u8; PAYLOAD]]) {
    let records: Vec<Record<'_>> = (store.next_seq()..)
        .zip(payloads)
        .map(|(seq, payload)| Record {
            kind: 1,
            version: 1,
            seq,
            payload,
        })
        .collect();
    let draft = BlockDraft {
        time_ns: TimeNs::new(1),
        records: &records,
        event_count: 0,
        event_root: Hash::ZERO,
        state_root: Hash::ZERO,
        params_hash: Hash::ZERO,
        dpos_hash: Hash::ZERO,
        lead: None,
    };
    store.append_block(&draft).expect("a block can be appended");
}

fn ledger(c: &mut Criterion) {
    let payloads = vec![[7u8; PAYLOAD]; RECORDS];
    let bytes = payloads.as_flattened();
    let mut group = c.benchmark_group("ledger");
    group.throughput(Throughput::Bytes(bytes.len() as u64));

    // Every iteration grows the ledger, so this row runs a short while.
    group.measurement_time(Duration::from_millis(500));
    let (_dir, mut open) = store();
    group.bench_function(row("append", &format!("n={RECORDS} size={PAYLOAD}")), |b| {
        b.iter(|| append(&mut open, black_box(&payloads)));
    });
    drop(open);
    let mut copy = vec![0; bytes.len()];
    group.bench_function(row("append", "base"), |b| {
        b.iter(|| black_box(&mut copy).copy_from_slice(black_box(bytes)));
    });

    group.measurement_time(Duration::from_secs(2));
    let (_dir, mut open) = store();
    group.bench_function(row("append_commit", &format!("n={RECORDS} size={PAYLOAD}")), |b| {
        b.iter(|| {
            append(&mut open, black_box(&payloads));
            open.commit().expect("a commit")
        });
    });
    let file = tempfile::tempfile().expect("the temporary folder can be written");
    let mut at = 0;
    group.bench_function(row("append_commit", "base"), |b| {
        b.iter(|| {
            file.write_all_at(black_box(bytes), at)
                .and_then(|()| file.sync_data())
                .expect("the disk takes it");
            at += bytes.len() as u64;
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = ledger }
criterion_main!(benches);
