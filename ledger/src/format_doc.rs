//! The byte maps in docs/ledger-format.md are those of the code.

use core::mem::{offset_of, size_of};

use crate::block::RawBlockHeader;
use crate::commits::RawCommit;
use crate::frame::RawFrameHeader;
use crate::segment::RawSegmentHeader;

const DOC: &str = include_str!("../../docs/ledger-format.md");

type Map = Vec<(usize, usize, &'static str)>;

/// Rows `| offset | size | field | ... |` of the section with this heading.
fn documented(heading: &str) -> Map {
    let section = DOC
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .expect("the section");
    section
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            let (offset, size) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
            Some((offset, size, cells.next()?.trim_matches('`')))
        })
        .collect()
}

/// Byte map of a struct: each field ends where the next begins.
macro_rules! map {
    ($raw:ty: $($field:ident)*) => {{
        let names = [$(stringify!($field)),*];
        let mut starts = vec![$(offset_of!($raw, $field)),*];
        starts.push(size_of::<$raw>());
        names.iter().enumerate().map(|(i, name)| (starts[i], starts[i + 1] - starts[i], *name)).collect::<Map>()
    }};
}

#[test]
fn byte_maps_are_documented() {
    let segment = map!(RawSegmentHeader: magic version zero crc32c index segment_size chain_id);
    assert_eq!(documented("Segment header"), segment);
    let frame = map!(RawFrameHeader: crc32c zero kind version len seq);
    assert_eq!(documented("Frame"), frame);
    let commit = map!(RawCommit: height length block_digest signature);
    assert_eq!(documented("Commit entry"), commit);
    let block = map!(RawBlockHeader: version flags producer height epoch view time_ns record_count event_count first_seq
        chain_id parent record_root event_root state_root log_root params_hash dpos_hash next_committee);
    assert_eq!(documented("Block header"), block);
}

#[test]
fn constants_are_documented() {
    for (name, value) in [
        ("SEGMENT_HEADER_SIZE", crate::SEGMENT_HEADER_SIZE),
        ("SEGMENT_SIZE_MIN", crate::SEGMENT_SIZE_MIN),
        ("SEGMENT_SIZE_MAX", crate::SEGMENT_SIZE_MAX),
        ("SEGMENT_SIZE default", crate::Options::default().segment_size),
        ("FRAME_HEADER_SIZE", crate::FRAME_HEADER_SIZE),
        ("FRAME_ALIGN", crate::FRAME_ALIGN),
        ("KIND_NONE", u64::from(crate::KIND_NONE)),
        ("KIND_BLOCK", u64::from(crate::KIND_BLOCK)),
        ("HEADER_SIZE", crate::HEADER_SIZE as u64),
        ("HEADER_VERSION", u64::from(crate::HEADER_VERSION)),
        ("COMMIT_SIZE", crate::COMMIT_SIZE),
        ("ENTRIES_UNSYNCED_MAX", crate::ENTRIES_UNSYNCED_MAX),
        ("FIRST_SEQ", crate::FIRST_SEQ),
    ] {
        let row = format!("| {name} | {value} |");
        assert!(DOC.contains(&row), "docs/ledger-format.md lacks: {row}");
    }
}
