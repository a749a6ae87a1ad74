//! The recent messages of a stream, as the bytes that sessions are sent.
//!
//! Messages stand framed, one behind the other, in pages of one size: taking one in writes its bytes once, and sending a run
//! of them copies the run. A page that is full never changes again, so a snapshot shares it.
//!
//! # Invariants
//! * Messages are numbered from 1 without a gap, and their heights do not descend.
//! * A page has room for all that it will hold before its first message comes. Only the first page of a stream grows, so that
//!   those who say little take little.

use std::collections::VecDeque;
use std::sync::Arc;
use wattbook_feed::sbe::OUTBOUND_MAX;
use wattbook_feed::soupbin;

/// Room of a page, bytes.
const PAGE: usize = 32 << 10;
/// Messages that a page has room for before it grows its index: they are seldom shorter than 45 bytes with their frames.
const PAGE_LEN: usize = PAGE / 45;
/// Length and kind of a SoupBinTCP packet, bytes.
const FRAME: usize = 3;
/// A page with more bytes than this is full: another message may not fit.
const FULL: usize = PAGE - FRAME - OUTBOUND_MAX;

/// Some messages in a row.
#[derive(Clone, Default, Debug)]
struct Page {
    /// Number of the first.
    first: u64,
    /// Where each packet ends.
    ends: Vec<u32>,
    /// Heights, each with the number of its first message here.
    heights: Vec<(u64, u64)>,
    bytes: Vec<u8>,
}

impl Page {
    fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Where the packet of a number starts, or the last one ends.
    fn start_of(&self, number: u64) -> usize {
        // BOUND: between first and end, so within `ends`.
        match (number - self.first) as usize {
            0 => 0,
            at => self.ends[at - 1] as usize,
        }
    }

    /// Number behind the messages that take so many bytes from that of a number on.
    fn fitting(&self, from: u64, room: usize) -> u64 {
        let most = self.start_of(from).saturating_add(room);
        let fitting = self.ends.partition_point(|end| *end as usize <= most) as u64;
        self.first + fitting
    }

    /// Number of the first message of a block above `height`.
    fn above(&self, height: u64) -> u64 {
        let at = self.heights.partition_point(|(of, _)| *of <= height);
        self.heights.get(at).map_or(self.end(), |(_, number)| *number)
    }
}

/// Pages that were let go and are used again.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Vec<Page>,
}

impl Pool {
    /// Keeps pages of at most so many bytes, and one in any case: the next that fills follows the one let go for it.
    pub(super) fn shrink_to(&mut self, size: usize) {
        self.free.truncate((size / PAGE).max(1));
    }

    /// An empty page whose first message has this number.
    fn take(&mut self, first: u64) -> Page {
        let mut page = self.free.pop().unwrap_or_else(|| Page {
            first,
            ends: Vec::with_capacity(PAGE_LEN),
            heights: Vec::new(),
            bytes: Vec::with_capacity(PAGE),
        });
        page.first = first;
        page
    }

    /// Takes a page back, unless a snapshot shares it or it is none of the common size.
    fn put(&mut self, page: Arc<Page>) {
        if let Some(mut page) = Arc::into_inner(page).filter(|page| page.bytes.capacity() == PAGE) {
            page.ends.clear();
            page.heights.clear();
            page.bytes.clear();
            self.free.push(page);
        }
    }
}

/// A stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Number of the first message that can still be had.
    first: u64,
    full: VecDeque<Arc<Page>>,
    last: Page,
}

/// What taking in a message did to the memory of the histories.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Change {
    /// The page that became full: number of its first message, bytes.
    pub(super) filled: Option<(u64, usize)>,
    /// Bytes of full pages let go.
    pub(super) freed: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Self::starting_at(1)
    }
}

impl Stream {
    /// The empty stream whose next message has this number.
    pub(super) fn starting_at(first: u64) -> Self {
        let last = Page {
            first,
            ..Page::default()
        };
        Self {
            first,
            full: VecDeque::new(),
            last,
        }
    }

    /// Number of the first message that can still be had.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// Number of the next message.
    pub(super) fn end(&self) -> u64 {
        self.last.end()
    }

    /// Its full pages: number of the first message, bytes.
    pub(super) fn full(&self) -> impl Iterator<Item = (u64, usize)> {
        self.full.iter().map(|page| (page.first, page.bytes.len()))
    }

    /// Takes in a message of a block; the last `keep` messages stay. Pages come from the pool and go back to it.
    pub(super) fn push(&mut self, height: u64, message: &[u8], keep: usize, pool: &mut Pool) -> Change {
        let number = self.end();
        if self.last.heights.last().is_none_or(|(of, _)| *of < height) {
            self.last.heights.push((height, number));
        }
        soupbin::put_sequenced(message, &mut self.last.bytes);
        // BOUND: a page and a packet.
        self.last.ends.push(self.last.bytes.len() as u32);
        let mut change = Change::default();
        if self.last.bytes.len() > FULL {
            let page = core::mem::replace(&mut self.last, pool.take(number + 1));
            change.filled = Some((page.first, page.bytes.len()));
            self.full.push_back(Arc::new(page));
        }
        self.first = self.first.max((number + 1).saturating_sub(keep as u64));
        while let Some(page) = self.full.pop_front_if(|page| page.end() <= self.first) {
            change.freed += page.bytes.len();
            pool.put(page);
        }
        change
    }

    /// Lets go of its oldest page, if that begins with message `first`; the bytes freed.
    pub(super) fn forget(&mut self, first: u64, pool: &mut Pool) -> usize {
        let Some(page) = self.full.pop_front_if(|page| page.first == first) else {
            return 0;
        };
        self.first = self.first.max(page.end());
        let freed = page.bytes.len();
        pool.put(page);
        freed
    }

    /// Number of the first message of a block above `height`, or of the next message.
    pub(super) fn above(&self, height: u64) -> u64 {
        let mut number = self.last.above(height);
        for page in self.full.iter().rev() {
            if number > page.end() || page.ends.is_empty() {
                break;
            }
            number = page.above(height);
        }
        number
    }

    /// Appends the packets of the messages `from..until` that it has, as many as take `room` bytes, and at least one; the
    /// number after the last.
    pub(super) fn copy(&self, from: u64, until: u64, room: usize, packets: &mut Vec<u8>) -> u64 {
        let (mut next, full) = (from, packets.len().saturating_add(room));
        let skipped = self.full.partition_point(|page| page.end() <= from);
        for page in self.full.range(skipped..).map(|page| &**page).chain([&self.last]) {
            let end = page.end().min(until);
            if next < end && next >= page.first && packets.len() < full {
                let fitting = page.fitting(next, full - packets.len());
                let end = end.min(fitting.max(from + 1));
                packets.extend_from_slice(&page.bytes[page.start_of(next)..page.start_of(end)]);
                next = end;
            }
        }
        next
    }

    /// The messages that it has, with their heights.
    pub(super) fn messages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let pages = self.full.iter().map(|page| &**page).chain([&self.last]);
        let all = pages.flat_map(|page| {
            let mut heights = page.heights.iter().peekable();
            let mut height = 0;
            (page.first..page.end()).map(move |number| {
                while let Some((of, _)) = heights.next_if(|(_, from)| *from <= number) {
                    height = *of;
                }
                let packet = &page.bytes[page.start_of(number)..page.start_of(number + 1)];
                (number, height, &packet[FRAME..])
            })
        });
        let first = self.first;
        all.filter_map(move |(number, height, message)| (number >= first).then_some((height, message)))
    }

    /// Its messages up to a block, at most the last `keep`; full pages are shared.
    pub(super) fn until(&self, height: u64, keep: usize) -> Self {
        let end = self.above(height).max(self.first);
        let first = self.first.max(end.saturating_sub(keep as u64));
        let mut stream = self.clone();
        stream.first = first;
        while stream.full.pop_front_if(|page| page.end() <= first).is_some() {}
        while stream.end() > end {
            let open = if stream.last.first >= end {
                stream.full.pop_back().map(Arc::unwrap_or_clone)
            } else {
                None
            };
            match open {
                Some(page) => stream.last = page,
                None => {
                    let page = &mut stream.last;
                    let len = page.start_of(end);
                    page.bytes.truncate(len);
                    // BOUND: the numbers of one page.
                    page.ends.truncate((end - page.first) as usize);
                    page.heights.retain(|(_, number)| *number < end);
                }
            }
        }
        stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    /// The obvious stream.
    #[derive(Default)]
    struct Model {
        first: u64,
        items: VecDeque<(u64, Vec<u8>)>,
    }

    impl Model {
        fn packets(&self, from: u64, until: u64) -> Vec<u8> {
            let mut packets = Vec::new();
            for ((_, message), number) in self.items.iter().zip(self.first..) {
                if (from..until).contains(&number) {
                    soupbin::put_sequenced(message, &mut packets);
                }
            }
            packets
        }
    }

    #[test]
    fn pages_hold_what_a_list_would() {
        for seed in 0..8 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let keep = [3, 500, 5_000][seed as usize % 3];
            let mut model = Model {
                first: 1,
                ..Model::default()
            };
            let (mut stream, mut height, mut filled) = (Stream::default(), 1, VecDeque::new());
            let mut pool = Pool::default();
            for i in 0..6_000u64 {
                height += u64::from(rng.next_u32() % 50 == 0);
                let message = vec![i as u8; (rng.next_u32() % 90) as usize];
                let change = stream.push(height, &message, keep, &mut pool);
                filled.extend(change.filled);
                model.items.push_back((height, message));
                if seed == 7 && filled.len() > 4 {
                    // What the budget of all streams together takes away.
                    let (first, len) = filled.pop_front().unwrap();
                    let freed = stream.forget(first, &mut pool);
                    assert!(freed == len || freed == 0);
                }
                while model.first < stream.first() {
                    model.items.pop_front();
                    model.first += 1;
                }
                assert!(model.items.len() <= keep);
                assert_eq!(model.first + model.items.len() as u64, stream.end());
                if i % 97 != 0 {
                    continue;
                }
                let span = model.items.len() as u64 + 1;
                let from = model.first + u64::from(rng.next_u32()) % span;
                let until = from + u64::from(rng.next_u32()) % span;
                let mut packets = Vec::new();
                let next = stream.copy(from, until, usize::MAX, &mut packets);
                assert_eq!(packets, model.packets(from, until));
                assert_eq!(next, until.min(stream.end()));
                let (whole, room) = (packets, (rng.next_u32() % 20_000) as usize + 1);
                let (mut pieces, mut at) = (Vec::new(), from);
                while at < next {
                    let before = pieces.len();
                    let after = stream.copy(at, until, room, &mut pieces);
                    assert!(pieces.len() - before <= room || after == at + 1);
                    assert!(after > at);
                    at = after;
                }
                assert_eq!(pieces, whole);
                let limit = height.saturating_sub(u64::from(rng.next_u32() % 4));
                let upto = model.items.partition_point(|(of, _)| *of <= limit) as u64;
                assert_eq!(stream.above(limit).max(model.first), model.first + upto);
                let held = stream.until(limit, 40);
                let listed: Vec<_> = held.messages().map(|(of, message)| (of, message.to_vec())).collect();
                let (end, first) = (upto as usize, (upto as usize).saturating_sub(40));
                let expected: Vec<_> = model.items.range(first..end).cloned().collect();
                assert_eq!(listed, expected, "seed {seed}, message {i}");
                assert_eq!(held.end(), stream.above(limit).max(model.first));
            }
            assert!(keep > 500 || filled.len() > 2);
        }
    }
}
