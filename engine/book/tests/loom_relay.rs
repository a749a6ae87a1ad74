//! The relay under every interleaving and every value that its relaxed loads may return.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p wattbook-book --test loom_relay --release`

#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use loom::thread;
use wattbook_book::{Reader, Record, Tape, Writer, relay};

/// A record whose words all say its number.
fn record(number: u64) -> Record {
    Record::from_words([number as u32 + 1; 8])
}

fn put(writer: &mut Writer, count: u64) {
    for _ in 0..count {
        writer.put(record(writer.len()));
    }
    writer.commit();
}

/// Reads what is published; every record that passes is whole and the right one. `false`: lapped.
fn read(reader: &mut Reader) -> bool {
    let mut batch = [Record::ZERO; 4];
    let (at, end) = (reader.at(), reader.published());
    let Ok(count) = reader.read(end, &mut batch) else {
        return false;
    };
    assert_eq!(at + count as u64, reader.at());
    for (number, found) in (at..).zip(&batch[..count]) {
        assert_eq!(*found, record(number), "record {number}");
    }
    true
}

/// Two records in a ring of four: whole, in order, and both or none.
#[test]
fn a_batch_is_seen_whole_or_not_at_all() {
    loom::model(|| {
        let mut writer = relay(2);
        let mut reader = writer.reader();
        let thread = thread::spawn(move || put(&mut writer, 2));
        assert!(read(&mut reader), "nobody is lapped by half a ring");
        assert!(reader.at() == 0 || reader.at() == 2);
        thread.join().unwrap();
        assert!(read(&mut reader));
        assert_eq!(reader.at(), 2);
    });
}

/// The writer overwrites what the reader is at: what passes is whole all the same.
#[test]
fn nothing_overwritten_passes() {
    loom::model(|| {
        let mut writer = relay(1);
        let mut reader = writer.reader();
        put(&mut writer, 1);
        let thread = thread::spawn(move || put(&mut writer, 2));
        read(&mut reader);
        thread.join().unwrap();
    });
}

/// A reader that was lapped goes on from what is published.
#[test]
fn a_lapped_reader_goes_on() {
    loom::model(|| {
        let mut writer = relay(1);
        let mut reader = writer.reader();
        put(&mut writer, 2);
        let thread = thread::spawn(move || {
            put(&mut writer, 1);
            writer
        });
        if !read(&mut reader) {
            reader.skip();
        }
        let mut writer = thread.join().unwrap();
        reader.skip();
        put(&mut writer, 1);
        assert!(read(&mut reader));
        assert_eq!(reader.at(), 4);
    });
}

/// Two readers and one writer: neither disturbs the other.
#[test]
fn readers_are_independent() {
    loom::model(|| {
        let mut writer = relay(1);
        let mut readers = [writer.reader(), writer.reader()];
        let [first, second] = &mut readers;
        put(&mut writer, 1);
        let mut first = first.clone();
        let thread = thread::spawn(move || {
            read(&mut first);
        });
        put(&mut writer, 1);
        read(second);
        thread.join().unwrap();
    });
}

/// What an asker saw published was put before the writer sees the ask.
#[test]
fn an_ask_reaches_back() {
    loom::model(|| {
        let mut writer = relay(1);
        let reader = writer.reader();
        let thread = thread::spawn(move || {
            let seen = reader.published();
            reader.ask();
            seen
        });
        put(&mut writer, 1);
        let began = (writer.asked() != 0).then(|| writer.len());
        let seen = thread.join().unwrap();
        assert!(began.is_none_or(|began| began >= seen));
    });
}
