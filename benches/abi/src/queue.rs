//! The queue that carries reports from the matching thread to the draining one.
//!
//! # Contract
//! * One producer, the [`Writer`]; one consumer, whoever calls [`Queue::drain`].
//! * At least as many reports as asked for fit. Blocks come back last-freed first, so that a consumer who keeps up leaves
//!   the traffic in a few blocks, in cache, however long the queue may get.
//! * Reports become visible in batches of [`BATCH`], and all of them at [`Writer::publish`].
//!
//! # Format
//! A report in the queue is four words:
//!
//! | word | content |
//! |---|---|
//! | 0 | kind << 61, side << 60, sequence number |
//! | 1 | order id |
//! | 2 | maker's order id; zero but in a trade |
//! | 3 | quantity << 32, price |
//!
//! # Invariants
//! * Slots below `published` are not written; a block is written again only after `finished` has passed it. Both counters
//!   are released by the side that owns them and acquired by the other: the words need no order of their own.

use crate::abi::{Report, ReportKind};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// Reports made visible at once.
const BATCH: u64 = 16;
/// Slots of a block.
const BLOCK: usize = 1_024;
/// Sequence numbers are below this.
const SEQUENCE_END: u64 = 1 << 60;

type Slot = [AtomicU64; 4];

/// A counter on a pair of cache lines of its own: neighbours are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// A queue of reports.
#[derive(Debug)]
pub(crate) struct Queue {
    slots: Box<[Slot]>,
    /// Which block the n-th block of the stream is, in a ring of a power of two.
    order: Box<[AtomicU32]>,
    /// Reports visible to the consumer.
    published: Counter,
    /// Blocks of the stream that the consumer is done with.
    finished: Counter,
    /// Reports drained; only the consumer looks.
    drained: Counter,
}

impl Queue {
    /// Room for `capacity` reports, in memory that has been touched.
    pub(crate) fn new(capacity: u32) -> Self {
        // One block is being written, one being read.
        let blocks = (capacity as usize).div_ceil(BLOCK) + 2;
        Self {
            slots: (0..blocks * BLOCK).map(|_| Slot::default()).collect(),
            order: (0..blocks.next_power_of_two()).map(|_| AtomicU32::default()).collect(),
            published: Counter::default(),
            finished: Counter::default(),
            drained: Counter::default(),
        }
    }

    fn order(&self, block: u64) -> &AtomicU32 {
        &self.order[block as usize & (self.order.len() - 1)]
    }

    /// Hands over up to `max` reports, and says how many.
    pub(crate) fn drain(&self, max: u32, mut take: impl FnMut(Report)) -> u32 {
        let from = self.drained.0.load(Ordering::Relaxed);
        let until = self.published.0.load(Ordering::Acquire).min(from + u64::from(max));
        let mut at = from;
        while at < until {
            let nth = at / BLOCK as u64;
            let end = until.min((nth + 1) * BLOCK as u64);
            let start = self.order(nth).load(Ordering::Relaxed) as usize * BLOCK;
            let slots = &self.slots[start + at as usize % BLOCK..][..(end - at) as usize];
            for slot in slots {
                take(unpack(slot));
            }
            at = end;
            if at.is_multiple_of(BLOCK as u64) {
                self.finished.0.store(nth + 1, Ordering::Release);
            }
        }
        self.drained.0.store(until, Ordering::Relaxed);
        (until - from) as u32
    }
}

fn unpack(slot: &Slot) -> Report {
    let [head, order_id, maker_order_id, figures] = [0, 1, 2, 3].map(|word| slot[word].load(Ordering::Relaxed));
    let kind = (head >> 61) as u8;
    Report {
        kind,
        side: (head >> 60) as u8 & 1,
        sequence_number: head & (SEQUENCE_END - 1),
        order_id,
        price_ticks: i64::from(figures as i32),
        quantity: (figures >> 32) as u32,
        maker_order_id,
        taker_order_id: if kind == ReportKind::Trade as u8 { order_id } else { 0 },
        ..Report::default()
    }
}

/// What a message of the stream and the side of its order say of every report about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) sequence_number: u64,
    pub(crate) order_id: u64,
    pub(crate) side: u8,
}

/// The producer of a queue.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue>,
    /// Slot of the next report.
    at: usize,
    /// Reports written.
    written: u64,
    /// Blocks of the stream that have come back.
    returned: u64,
    /// Blocks to be had, the last one freed on top.
    free: Vec<u32>,
}

impl Writer {
    /// The one producer of a new queue.
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        let blocks = (queue.slots.len() / BLOCK) as u32;
        // The stream begins in block 0, which `order` says already.
        let free = (1..blocks).rev().collect();
        Self {
            queue,
            at: 0,
            written: 0,
            returned: 0,
            free,
        }
    }

    /// Writes a report.
    #[inline]
    pub(crate) fn put(&mut self, kind: ReportKind, about: &About, maker: u64, price: i32, quantity: u32) {
        let slot = &self.queue.slots[self.at];
        let tag = (kind as u64) << 61 | u64::from(about.side) << 60;
        slot[0].store(tag | about.sequence_number, Ordering::Relaxed);
        slot[1].store(about.order_id, Ordering::Relaxed);
        slot[2].store(maker, Ordering::Relaxed);
        slot[3].store(u64::from(quantity) << 32 | u64::from(price as u32), Ordering::Relaxed);
        self.at += 1;
        self.written += 1;
        if self.written.is_multiple_of(BATCH) {
            self.publish();
            if self.at.is_multiple_of(BLOCK) {
                self.next_block();
            }
        }
    }

    /// Makes everything written visible.
    #[inline]
    pub(crate) fn publish(&self) {
        self.queue.published.0.store(self.written, Ordering::Release);
    }

    /// Goes on in a free block; waits for the consumer if there is none.
    #[cold]
    fn next_block(&mut self) {
        loop {
            let finished = self.queue.finished.0.load(Ordering::Acquire);
            for nth in self.returned..finished {
                self.free.push(self.queue.order(nth).load(Ordering::Relaxed));
            }
            self.returned = finished;
            if let Some(block) = self.free.pop() {
                let nth = self.written / BLOCK as u64;
                self.queue.order(nth).store(block, Ordering::Relaxed);
                self.at = block as usize * BLOCK;
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// Whether a sequence number fits into a report in the queue.
pub(crate) const fn fits(sequence_number: u64) -> bool {
    sequence_number < SEQUENCE_END
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(sequence_number: u64) -> About {
        About {
            sequence_number,
            order_id: !sequence_number,
            side: (sequence_number & 1) as u8,
        }
    }

    fn put(writer: &mut Writer, number: u64) {
        writer.put(
            ReportKind::Trade,
            &about(number),
            number << 32,
            -(number as i32),
            number as u32,
        );
    }

    fn expected(number: u64) -> Report {
        Report {
            kind: ReportKind::Trade as u8,
            side: (number & 1) as u8,
            sequence_number: number,
            order_id: !number,
            price_ticks: -i64::from(number as i32),
            quantity: number as u32,
            maker_order_id: number << 32,
            taker_order_id: !number,
            ..Report::default()
        }
    }

    #[test]
    fn holds_what_was_asked_for_before_anything_is_drained() {
        let queue = Arc::new(Queue::new(5_000));
        let mut writer = Writer::new(Arc::clone(&queue));
        (0..5_000).for_each(|number| put(&mut writer, number));
        writer.publish();
        let mut found = Vec::new();
        while queue.drain(300, |report| found.push(report)) != 0 {}
        assert_eq!(found, (0..5_000).map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn appears_in_batches_or_when_published() {
        let queue = Arc::new(Queue::new(1));
        let mut writer = Writer::new(Arc::clone(&queue));
        (0..BATCH - 1).for_each(|number| put(&mut writer, number));
        assert_eq!(queue.drain(u32::MAX, drop), 0);
        put(&mut writer, BATCH - 1);
        put(&mut writer, BATCH);
        assert_eq!(queue.drain(u32::MAX, drop), BATCH as u32);
        writer.publish();
        assert_eq!(queue.drain(u32::MAX, drop), 1);
    }

    /// Fewer blocks than the stream needs: the producer waits and blocks go round.
    #[test]
    fn a_long_stream_crosses_threads_in_order() {
        const LEN: u64 = 300_000;
        let queue = Arc::new(Queue::new(1));
        let mut writer = Writer::new(Arc::clone(&queue));
        let producer = std::thread::spawn(move || {
            (0..LEN).for_each(|number| put(&mut writer, number));
            writer.publish();
        });
        let mut next = 0;
        while next < LEN {
            let drained = queue.drain(256, |report| {
                assert_eq!(report, expected(next));
                next += 1;
            });
            if drained == 0 {
                std::thread::yield_now();
            }
        }
        producer.join().expect("the producer ends");
    }
}
