//! A second process reads while the writer writes: what it sees is whole, right, and never goes back.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use wattbook_ledger::{HeaderIndex, KeyIndex, Note, Reader, RecordProof, origin};

use support::{append, build, create, key, payloads};

const BLOCKS: u64 = 150;
const ENTRY: &str = "WATTBOOK_TEST_READ";

/// The reader's process: reads, proves and files until the writer has written all.
#[test]
fn reader_process() {
    let Some(dir) = std::env::var_os(ENTRY) else { return };
    let dir = Path::new(&dir);
    let mut reader = Reader::open(dir).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let (mut height, mut looks) = (0, 0u64);
    while height < BLOCKS {
        reader.refresh().unwrap();
        index.extend(&reader).unwrap();
        let seen = reader.committed().unwrap().height;
        assert!(seen >= height && index.size() == seen + 1);
        let mut blocks = index.blocks(&reader, height).unwrap();
        for (expected, block) in (height..=seen).zip(&mut blocks) {
            let block = block.unwrap();
            assert_eq!(block.header.height, expected);
            for (record, payload) in block.records.iter().zip(payloads(expected)) {
                assert!(expected == 0 || record.payload == payload);
            }
        }
        assert!(blocks.next().is_none());
        let last = index.header(&reader, seen).unwrap().0.next_seq().unwrap() - 1;
        if last > 0 {
            let origin = origin("10YTEST", reader.chain());
            let checkpoint = index.checkpoint(&reader, seen + 1, origin).unwrap();
            let note = Note::sign(checkpoint, &key());
            let proof = index.prove(&reader, 1 + looks % last, &note).unwrap();
            RecordProof::parse(&proof.to_string()).unwrap().check().unwrap();
        }
        height = seen;
        looks += 1;
    }
    println!("looked {looks} times");
}

#[test]
fn a_second_process_reads_while_the_writer_writes() {
    let dir = TempDir::new().unwrap();
    let mut store = create(dir.path());
    let reader = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reader_process", "--nocapture"])
        .env(ENTRY, dir.path())
        .spawn()
        .unwrap();
    for height in 1..=BLOCKS {
        append(&mut store, &payloads(height));
        if height % 3 == 0 || height == BLOCKS {
            store.commit().unwrap();
        }
    }
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success());
}

#[test]
fn an_index_that_is_ahead_of_a_reader_is_used_up_to_what_it_reads() {
    let dir = TempDir::new().unwrap();
    let mut store = build(dir.path(), 20);
    let before = Reader::open(dir.path()).unwrap();
    for height in 21..=40 {
        append(&mut store, &payloads(height));
    }
    store.commit().unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let ahead = HeaderIndex::open(&reader).unwrap();
    assert!(ahead.is_writer() && ahead.size() == 41);
    assert_eq!(ahead.length().unwrap(), reader.committed().unwrap().length);
    let mut index = HeaderIndex::begin(&before);
    assert!(!index.is_writer() && index.size() == 21);
    assert!(!index.extend(&before).unwrap(), "nothing is missing");
    assert_eq!(index.blocks(&before, 0).unwrap().count(), 21);
    // Whoever came second writes once the first has gone.
    drop(ahead);
    assert!(HeaderIndex::begin(&reader).is_writer());
}

#[test]
fn records_are_found_by_sequence_and_by_key() {
    let dir = TempDir::new().unwrap();
    drop(build(dir.path(), 60));
    let reader = Reader::open(dir.path()).unwrap();
    let mut index = HeaderIndex::open(&reader).unwrap();
    let mut by_len = KeyIndex::new(|record, keys| keys.push(record.payload.len() % 7));
    let mut all = Vec::new();
    for block in reader.blocks().map(Result::unwrap) {
        by_len.add(&block);
        all.extend(block.records.clone());
    }
    for record in &all {
        let block = index.block_with(&reader, record.seq).unwrap();
        let found = &block.records[(record.seq - block.header.first_seq) as usize];
        assert_eq!(found.leaf, record.leaf);
        // Zero-copy: the very bytes of the mapping.
        assert_eq!(found.payload.as_ptr(), record.payload.as_ptr());
    }
    let mut count = 0;
    for (key, records) in by_len.keys() {
        let expected: Vec<&[u8]> = (all.iter())
            .filter(|record| record.payload.len() % 7 == key)
            .map(|record| record.leaf)
            .collect();
        let found = by_len.records(&reader, key).map(|found| found.unwrap().1.leaf);
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(records, expected.len());
        count += records;
    }
    assert_eq!(count, all.len());
    assert_eq!(by_len.records(&reader, 99).count(), 0);
}
