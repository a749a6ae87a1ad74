//! Delegates whose ledgers are damaged take the blocks back from the others, and vote when everything holds.

use super::*;
use std::thread;

/// Flips a bit in the middle of each of these blocks.
fn flip(dir: &Path, heights: &[u64]) {
    let reader = Reader::open(dir).unwrap();
    let spots: Vec<(PathBuf, u64)> = reader
        .blocks()
        .map(Result::unwrap)
        .filter(|block| heights.contains(&block.header.height))
        .map(|block| reader.locate(block.end - (block.end - block.offset) / 2))
        .collect();
    assert_eq!(spots.len(), heights.len());
    drop(reader);
    for (path, at) in spots {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 4;
        std::fs::write(path, bytes).unwrap();
    }
}

/// Waits until `holds`: what it asks is not told in any message.
fn wait(holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < WAIT, "it does not come about");
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn metric(town: &Town, rank: usize, name: &str) -> u64 {
    let text = town.nodes[&rank].metrics.render();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn await_height(town: &Town, rank: usize, height: u64) {
    until(&mut town.log_on(rank), |message| match message {
        Outbound::Watermark(mark) if mark.height >= height => Some(()),
        _ => None,
    });
}

fn tip(dir: &Path) -> u64 {
    Reader::open(dir).unwrap().committed().unwrap().height
}

/// Two ledgers are the same bytes up to the end of the shorter.
fn assert_same(town: &Town, one: usize, other: usize) {
    let dirs = [one, other].map(|rank| &town.dirs[rank]);
    let ends = dirs.map(|dir| Reader::open(dir).unwrap().committed().unwrap());
    let end = ends.iter().min_by_key(|commit| commit.height).unwrap();
    let [a, b] = dirs.map(|dir| {
        let mut log = std::fs::read(dir.join("00000000.seg")).unwrap();
        log.truncate(usize::try_from(end.length).unwrap());
        let mut entries = std::fs::read(dir.join("commits.log")).unwrap();
        entries.truncate(usize::try_from((end.height + 1) * wattbook_ledger::COMMIT_SIZE).unwrap());
        (log, entries)
    });
    assert!(a == b, "ledgers {one} and {other} differ below block {}", end.height);
}

fn stop_all(town: &mut Town) {
    let running: Vec<usize> = town.nodes.keys().copied().collect();
    running.into_iter().for_each(|rank| town.stop(rank));
}

#[test]
fn a_damaged_ledger_comes_back_from_peers() {
    let mut town = Town::make();
    (0..SEATS).for_each(|rank| town.start(rank));
    let border = 2 * EPOCH_BLOCKS as u64;
    let envelope = town.envelope(3);
    town.log_on(3).send_envelope(&envelope).unwrap();
    await_height(&town, 3, border + 15);
    town.stop(3);
    assert!(std::fs::read_dir(town.dirs[3].join("snapshots")).unwrap().count() > 0);

    // Below the snapshot it starts from: found by the scrubber while it follows.
    flip(&town.dirs[3], &[10, 11, 30]);
    town.start(3);
    let node = &town.nodes[&3];
    wait(|| node.scrubbed.get() >= node.height);
    wait(|| metric(&town, 3, "wattbook_replica_mended_blocks_total ") == 3);
    assert_eq!(metric(&town, 3, "wattbook_replica_damaged_blocks "), 0);
    let height = town.nodes[&3].height;
    await_height(&town, 3, height + 5);
    town.stop(3);
    assert_same(&town, 3, 0);

    // What it cannot open without: genesis, the block that the epoch begins from, the last one.
    let last = tip(&town.dirs[3]);
    let epoch = (last / EPOCH_BLOCKS as u64) * EPOCH_BLOCKS as u64;
    let mut flipped = vec![0, 20, epoch, last];
    // The last block may be the one that the epoch begins from.
    flipped.dedup();
    flip(&town.dirs[3], &flipped);
    town.start(3);
    assert!(town.nodes[&3].height >= last);
    wait(|| metric(&town, 3, "wattbook_replica_mended_blocks_total ") == flipped.len() as u64);
    await_height(&town, 3, last + 5);
    town.stop(3);
    assert_same(&town, 3, 0);
    // Without a snapshot everything is read at the start.
    flip(&town.dirs[3], &[1, 50]);
    std::fs::remove_dir_all(town.dirs[3].join("snapshots")).unwrap();
    town.start(3);
    await_height(&town, 3, last + 10);
    for height in [0, 1, 10, 11, 20, 30, 50, epoch, last] {
        let kept = town.dirs[3].join(wattbook_ledger::DAMAGED_DIR);
        assert!(kept.join(format!("{height:020}.block")).exists(), "block {height}");
    }
    stop_all(&mut town);
    assert_same(&town, 3, 0);
    for dir in &town.dirs[..SEATS] {
        wattbook_node::audit::verify(dir, Some(town.chain), |_| ()).unwrap();
    }
}

#[test]
fn a_delegate_does_not_vote_before_its_ledger_holds() {
    let mut town = Town::make();
    (0..SEATS).for_each(|rank| town.start(rank));
    for rank in 0..SEATS {
        await_height(&town, rank, EPOCH_BLOCKS as u64 + 20);
    }
    stop_all(&mut town);
    let before = (0..SEATS).map(|rank| tip(&town.dirs[rank])).max().unwrap();
    // Three make a quorum, and none of them has the block whole.
    let stopped = now();
    let broken = [0, 1, 3];
    for rank in broken {
        flip(&town.dirs[rank], &[10]);
        town.start(rank);
    }
    wait(|| {
        let damaged = |rank: &usize| metric(&town, *rank, "wattbook_replica_damaged_blocks ") == 1;
        broken.iter().all(damaged)
    });
    // Terms go by, and nobody leads.
    wait(|| metric(&town, 0, "wattbook_replica_lost_terms_total ") >= 3);
    let since = now();
    town.start(2);
    for rank in 0..SEATS {
        await_height(&town, rank, before + 5);
    }
    stop_all(&mut town);
    // What was voted for before the stop may have become final since.
    let packed = headers(&town.dirs[0]);
    let meanwhile = packed.iter().find(|header| (stopped..since).contains(&header.time));
    assert_eq!(meanwhile.map(|header| header.height), None);
    for rank in broken {
        assert_same(&town, rank, 2);
        wattbook_node::audit::verify(&town.dirs[rank], Some(town.chain), |_| ()).unwrap();
    }
}

#[test]
fn a_delegate_whose_votes_are_damaged_observes_until_the_next_epoch() {
    let mut town = Town::make();
    (0..SEATS).for_each(|rank| town.start(rank));
    // In the first vote, and in what stands before it.
    for (at, height) in [(4096 + 12, 5), (20, EPOCH_BLOCKS as u64 + 10)] {
        spoil_votes(&mut town, at, height);
    }
    stop_all(&mut town);
    assert_same(&town, 3, 0);
}

/// Damages a byte of rank 3's votes of the epoch: it follows, and its seat stays empty until the next one.
fn spoil_votes(town: &mut Town, at: usize, height: u64) {
    await_height(town, 3, height);
    town.stop(3);
    let newest = *headers(&town.dirs[3]).last().unwrap();
    let votes = town.dirs[3]
        .join("agreement")
        .join(format!("engine-votes-{}", newest.epoch));
    let files = std::fs::read_dir(&votes).unwrap().map(|file| file.unwrap().path());
    let largest = files.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    town.start(3);
    await_height(town, 3, newest.height + 3);
    let is_delegate = || metric(town, 3, "wattbook_replica_delegate ");
    assert_eq!(is_delegate(), 0, "byte {at}");
    wait(|| metric(town, 3, "wattbook_replica_epoch ") > newest.epoch);
    wait(|| is_delegate() == 1);
}
