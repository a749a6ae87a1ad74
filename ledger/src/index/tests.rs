use std::path::PathBuf;

use super::*;

#[test]
fn nodes_stand_in_the_order_they_become_complete() {
    let mut place = 0;
    for leaf in 0..1_000u64 {
        assert_eq!(node_count(leaf), place);
        for level in 0..=leaf.trailing_ones() {
            assert_eq!(node_place(level, leaf >> level), place);
            place += 1;
        }
    }
}

/// An index of these rows, the first `kept` of them on disk.
fn of_rows(first_seqs: &[u64], kept: usize) -> HeaderIndex {
    let row = |first_seq| {
        Row {
            first_seq,
            offset: 0,
            end: 0,
        }
        .to_bytes()
    };
    let rows: Vec<_> = first_seqs.iter().copied().map(row).collect();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(rows[..kept].as_flattened(), BLOCKS_HEADER_SIZE)
        .unwrap();
    let mut column = Column::open(PathBuf::new(), (kept > 0).then_some(file), BLOCKS_HEADER_SIZE);
    column.tail = rows[kept..].to_vec();
    HeaderIndex {
        chain: ChainId(Hash::ZERO),
        rows: column,
        nodes: Column::open(PathBuf::new(), None, 0),
        writer: false,
    }
}

#[test]
fn a_record_s_block_is_found_however_many_records_blocks_hold() {
    assert!(matches!(of_rows(&[], 0).height_of(1), Err(Error::NoRecord { .. })));
    let shapes: [fn(u64) -> u64; 6] = [
        |n| 1 + 1_000 * n,
        |n| 1 + n * n * n,
        |n| 1 + n / 7,
        |n| 1 + (1 << (n / 16).min(60)),
        |n| if n < 900 { 1 } else { n },
        |n| if n == 0 { 1 } else { u64::MAX - 2_000 + n },
    ];
    for shape in shapes {
        for (len, kept) in [
            (1, 0),
            (2, 1),
            (127, 127),
            (128, 5),
            (129, 64),
            (1_000, 0),
            (1_001, 1_001),
            (1_003, 700),
        ] {
            let first_seqs: Vec<u64> = (0..len).map(shape).collect();
            let index = of_rows(&first_seqs, kept);
            for seq in first_seqs
                .iter()
                .flat_map(|seq| [seq.saturating_sub(1), *seq, seq.saturating_add(1)])
            {
                let expected = first_seqs.iter().rposition(|first| *first <= seq);
                let found = index.height_of(seq).ok();
                assert_eq!(found, expected.map(|at| at as u64), "record {seq} of {len} blocks");
            }
        }
    }
}
