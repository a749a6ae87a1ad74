//! Recordings: what was told comes back, torn ends are found and mended, anything else is refused.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use wattbook_feed::recording::{Recorder, Recording, RecordingError};
use wattbook_feed::soupbin;

type Told = Vec<(Option<u64>, Vec<u8>)>;

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path
}

/// Messages of a session that begins with 5, every third unsequenced.
fn told(count: usize) -> Told {
    let mut seq = 5;
    (0..count)
        .map(|i| {
            let message = vec![i as u8; i * 7 % 50];
            if i % 3 == 2 {
                return (None, message);
            }
            seq += 1;
            (Some(seq - 1), message)
        })
        .collect()
}

fn read(path: &Path) -> (Told, Result<bool, RecordingError>) {
    let mut recording = Recording::open(path).unwrap();
    assert_eq!(recording.session(), "PUBLIC");
    let mut heard = Vec::new();
    loop {
        match recording.next() {
            Ok(Some(message)) => heard.push(message),
            Ok(None) => return (heard, Ok(recording.is_ended())),
            Err(error) => return (heard, Err(error)),
        }
    }
}

#[test]
fn a_recording_cut_anywhere_goes_on_without_gap_or_repetition() {
    let path = scratch("cut.soup");
    let all = told(20);
    let mut recorder = Recorder::create(&path, "PUBLIC", 5).unwrap();
    for (seq, message) in &all {
        recorder.append(*seq, message).unwrap();
    }
    recorder.end().unwrap();
    let (heard, ended) = read(&path);
    assert_eq!((heard, ended.unwrap()), (all.clone(), true));
    assert!(matches!(
        Recorder::create(&path, "PUBLIC", 5),
        Err(RecordingError::Io { .. })
    ));

    let whole = std::fs::read(&path).unwrap();
    let mut whole_at = 0;
    for len in 33..=whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let (heard, ended) = read(&path);
        assert_eq!(heard, all[..heard.len()]);
        match ended {
            Ok(_) => whole_at = len,
            Err(RecordingError::Torn { offset, .. }) => assert_eq!(offset as usize, whole_at),
            Err(error) => panic!("{len}: {error}"),
        }
        let mut recorder = Recorder::resume(&path).unwrap();
        let next = heard
            .iter()
            .filter_map(|message| message.0)
            .next_back()
            .map_or(5, |seq| seq + 1);
        assert_eq!(recorder.next_seq(), next);
        for (seq, message) in &all[heard.len()..] {
            recorder.append(*seq, message).unwrap();
        }
        recorder.end().unwrap();
        assert!(std::fs::read(&path).unwrap() == whole, "cut at {len}");
    }
}

#[test]
fn a_message_out_of_order_and_a_foreign_file_are_refused() {
    let path = scratch("order.soup");
    let mut recorder = Recorder::create(&path, "PUBLIC", 5).unwrap();
    assert!(matches!(
        recorder.append(Some(7), b"late"),
        Err(RecordingError::Gap { came: 7, due: 5 })
    ));
    recorder.append(Some(5), b"due").unwrap();
    assert_eq!(read(&path).0, [(Some(5), b"due".to_vec())]);
    let mut bytes = Vec::new();
    soupbin::put_sequenced(b"without a login", &mut bytes);
    for foreign in [&b""[..], b"\0", b"no recording at all", &bytes] {
        std::fs::write(&path, foreign).unwrap();
        assert!(matches!(Recording::open(&path), Err(RecordingError::Foreign { .. })));
        assert!(matches!(Recorder::resume(&path), Err(RecordingError::Foreign { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), foreign, "a foreign file is left alone");
    }
    assert!(matches!(
        Recording::open(&scratch("none.soup")),
        Err(RecordingError::Io { .. })
    ));
}

proptest! {
    #[test]
    fn a_damaged_recording_never_panics(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let path = scratch("damaged.soup");
        let mut recorder = Recorder::create(&path, "PUBLIC", 5).unwrap();
        for (seq, message) in told(8) {
            recorder.append(seq, &message).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(mut recording) = Recording::open(&path) {
            while let Ok(Some(_)) = recording.next() {}
        }
    }
}
