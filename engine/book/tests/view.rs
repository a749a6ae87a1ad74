//! Views against the books they follow: after every command, from the middle of a stream, and from another thread.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod stream;

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use stream::{Draw, OWNERS, Op, op, standing};
use wattbook_book::{Amended, Book, Handle, Incoming, Owner, Publisher, Record, Resting, Rules, Standing, Tape, View};
use wattbook_types::{Ppm, RangeMode, SelfTrade, Side, TimeInForce};

/// What is shown: levels and orders of a side.
type Shown = (Vec<(i32, u64, u32)>, Vec<(u32, u32, i32, u32)>);

fn row(order: Resting) -> (u32, u32, i32, u32) {
    (order.handle.get(), order.owner.get(), order.price, order.leaves)
}

fn shown_by_view(view: &View) -> [Shown; 2] {
    [Side::Buy, Side::Sell].map(|side| {
        let levels = view.depth(side, usize::MAX).collect();
        (levels, view.orders(side).map(row).collect())
    })
}

fn shown_by_book<const RANGED: bool>(book: &Book<RANGED>) -> [Shown; 2] {
    [Side::Buy, Side::Sell].map(|side| {
        let orders = book.side(side).map(|(handle, order)| {
            let (owner, price, leaves) = (order.owner(), order.price(), order.leaves());
            row(Resting {
                handle,
                owner,
                price,
                leaves,
            })
        });
        (book.levels(side).collect(), orders.collect())
    })
}

fn digest(shown: &[Shown; 2]) -> u64 {
    let mut hasher = DefaultHasher::new();
    shown.hash(&mut hasher);
    hasher.finish()
}

/// Runs a command; orders are picked among those that stand.
fn run<const RANGED: bool, T: Tape>(book: &mut Book<RANGED>, op: &Op, tape: &mut T) {
    let pick = |at: usize| {
        let rows = book.rows();
        let from = at % rows.max(1);
        let mut all = (from..rows).chain(0..from).map(|row| Handle::new(row as u32));
        all.find(|handle| book.get(*handle).is_some())
    };
    match op {
        // Asking changes nothing that a view could show.
        Op::ProbeWithout(at, order) => {
            pick(*at).map(|gone| book.probe_without(gone, order));
        }
        Op::Submit(order) => {
            book.submit(order, tape);
        }
        Op::Rest(order) => {
            book.rest(order, tape);
        }
        Op::Cancel(at) => {
            pick(*at).and_then(|handle| book.cancel(handle, tape));
        }
        Op::Take(at, energy) => {
            let Some(handle) = pick(*at) else { return };
            let open = book.get(handle).unwrap().open();
            book.take(handle, u64::from(*energy).min(open) as u32, tape);
        }
        Op::Amend(at, energy) => {
            let Some(handle) = pick(*at) else { return };
            let order = book.get(handle).unwrap();
            let terms = Amended {
                leaves: *energy,
                hidden: order.hidden(),
                min_fill: 0,
                display: book.display(handle),
                covered: order.is_covered(),
            };
            book.amend(handle, &terms, tape);
        }
    }
}

/// Commands from a seed, with every option.
struct Flow {
    draw: Draw,
    prices: u64,
}

impl Flow {
    fn incoming(&mut self) -> Incoming {
        let mut draw = |end: u64| self.draw.below(end);
        let side = if draw(2) == 0 { Side::Buy } else { Side::Sell };
        // Bids mostly below, asks mostly above, overlapping by a quarter.
        let (price, up) = (draw(self.prices) as i32, self.prices as i32 * 3 / 4);
        let owner = Owner::new(draw(OWNERS.into()) as u32);
        let mut order = Incoming::limit(owner, side, price, 1 + draw(40) as u32);
        if side == Side::Sell {
            order.price += up;
        }
        match draw(12) {
            0 => order.time_in_force = TimeInForce::Ioc,
            1 => order.time_in_force = TimeInForce::Fok,
            2 => order.time_in_force = TimeInForce::PostOnly,
            3 => order.market_to_limit = true,
            4 | 5 => order.display = 1 + draw(9) as u32,
            6 => order.min_fill = 1 + draw(order.energy.into()) as u32,
            7 => order.covered = side == Side::Sell,
            _ => {}
        }
        order.self_trade = [
            SelfTrade::CancelNewest,
            SelfTrade::CancelOldest,
            SelfTrade::CancelBoth,
            SelfTrade::Decrement,
        ][draw(4) as usize];
        order
    }

    fn next(&mut self) -> Op {
        match self.draw.below(16) {
            0..10 => Op::Submit(self.incoming()),
            10..13 => Op::Cancel(self.draw.below(1 << 20) as usize),
            13 => Op::Take(self.draw.below(1 << 20) as usize, 1 + self.draw.below(40) as u32),
            14 => Op::Amend(self.draw.below(1 << 20) as usize, 1 + self.draw.below(40) as u32),
            _ => Op::Rest(self.incoming()),
        }
    }
}

fn ranged_book() -> Book<true> {
    let mut book = Book::new(Rules {
        range: RangeMode::ALL[1],
        spread_min: 1,
    });
    for owner in 0..OWNERS {
        let standing = Standing {
            reputation: Ppm::new(owner * 100_000),
            percentile: Ppm::new(owner * 100_000),
            group: if owner < 2 { 7 } else { Standing::ALONE },
        };
        book.set_standing(Owner::new(owner), standing);
    }
    book
}

fn follows<const RANGED: bool>(rules: Rules, standing: &[Standing], ops: &[Op]) {
    let mut book = Book::<RANGED>::new(rules);
    for (owner, standing) in (0..).zip(standing) {
        book.set_standing(Owner::new(owner), *standing);
    }
    let (mut view, mut said) = (View::new(), 0);
    for op in ops {
        let mut records: Vec<Record> = Vec::new();
        run(&mut book, op, &mut records);
        view.apply(&records);
        said += records.len() as u64;
        assert_eq!(view.seq(), said);
        assert_eq!(view.len(), book.len());
        assert_eq!(shown_by_view(&view), shown_by_book(&book), "{op:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_view_equals_its_book_after_every_command(
        mode in 0usize..5,
        spread in 0i64..3,
        standing in standing(),
        ops in proptest::collection::vec(op(4), 1..120),
    ) {
        follows::<true>(Rules { range: RangeMode::ALL[mode], spread_min: spread }, &standing, &ops);
        follows::<false>(Rules { range: RangeMode::Off, spread_min: spread }, &standing, &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two readers join at different moments of a stream, the second while the first is being told; the writer goes on.
    #[test]
    fn late_readers_become_exact(
        seed in any::<u64>(),
        before in 0usize..3_000,
        between in 0usize..60,
        prices in prop_oneof![Just(3u64), Just(40), Just(1_000)],
    ) {
        let mut flow = Flow { draw: Draw::new(seed), prices };
        let (mut book, mut publisher) = (ranged_book(), Publisher::new(12));
        let mut followers = Vec::new();
        let mut complete = [0; 2];
        for turn in 0..before + 1_000 {
            let joining = [before, before + between].iter().filter(|&&at| at == turn).count();
            followers.extend((0..joining).map(|_| publisher.follower()));
            run(&mut book, &flow.next(), &mut publisher);
            publisher.commit(&book);
            if turn % 3 == 0 {
                publisher.commit(&book);
            }
            for (follower, complete) in followers.iter_mut().zip(&mut complete) {
                let Some(view) = follower.follow() else {
                    prop_assert_eq!(*complete, 0, "once complete, always complete");
                    continue;
                };
                *complete += 1;
                prop_assert_eq!(view.seq(), publisher.said());
                prop_assert_eq!(shown_by_view(view), shown_by_book(&book));
            }
        }
        prop_assert!(complete.iter().all(|&complete| complete > 300), "{:?}", complete);
        prop_assert!(followers.iter().all(|follower| follower.joins() == 1));
    }
}

/// A reader that comes back after more records than the ring holds joins again.
#[test]
fn a_lapped_reader_recovers() {
    let mut flow = Flow {
        draw: Draw::new(11),
        prices: 40,
    };
    let (mut book, mut publisher) = (ranged_book(), Publisher::new(8));
    let mut follower = publisher.follower();
    for lap in 1..=20 {
        for _ in 0..400 {
            run(&mut book, &flow.next(), &mut publisher);
            publisher.commit(&book);
        }
        assert!(follower.follow().is_none(), "lapped or not yet told");
        let mut turns = 0;
        while follower.follow().is_none() {
            publisher.commit(&book);
            turns += 1;
            assert!(turns < 1_000, "an idle writer tells all");
        }
        let view = follower.follow().unwrap();
        assert_eq!(shown_by_view(view), shown_by_book(&book));
        assert_eq!(follower.joins(), if lap == 1 { 2 } else { lap + 1 });
    }
}

/// Half a command is never seen: what is put and not committed does not exist.
#[test]
fn only_what_is_committed_is_seen() {
    let (mut book, mut publisher) = (ranged_book(), Publisher::new(8));
    let mut follower = publisher.follower();
    publisher.commit(&book);
    assert_eq!(follower.follow().map(View::len), Some(0));
    let bid = Incoming::limit(Owner::new(1), Side::Buy, 5, 10);
    book.submit(&bid, &mut publisher);
    assert_eq!(follower.follow().map(View::len), Some(0));
    publisher.commit(&book);
    assert_eq!(follower.follow().map(View::len), Some(1));
}

/// A tape that counts.
struct Count(u64);

impl Tape for Count {
    fn put(&mut self, _: Record) {
        self.0 += 1;
    }
}

/// A reader on another thread, faster and slower than the writer by turns: whatever it sees at a sequence number is what
/// a book of its own thread shows there.
#[test]
fn snapshots_of_another_thread_are_states_of_the_book() {
    const COMMANDS: u64 = 60_000;
    const MEETINGS: u64 = 8;
    let flow = || Flow {
        draw: Draw::new(2_026),
        prices: 60,
    };
    let (mut book, mut publisher) = (ranged_book(), Publisher::new(11));
    let mut follower = publisher.follower();
    // What the reader has seen last; what it is to see before it ends.
    let (seen, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX));
    let snapshots = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut snapshots: BTreeMap<u64, u64> = BTreeMap::new();
            let mut seq = None;
            while seq != Some(last.load(Ordering::Acquire)) {
                let Some(view) = follower.follow() else {
                    thread::yield_now();
                    continue;
                };
                if seq != Some(view.seq()) {
                    seq = Some(view.seq());
                    let digest = digest(&shown_by_view(view));
                    let before = snapshots.insert(view.seq(), digest);
                    assert!(before.is_none_or(|before| before == digest), "one number, one state");
                    seen.store(view.seq(), Ordering::Release);
                }
            }
            snapshots
        });
        let mut flow = flow();
        for turn in 1..=COMMANDS {
            run(&mut book, &flow.next(), &mut publisher);
            if turn % 3 == 0 {
                publisher.commit(&book);
            }
            if turn % 64 == 0 {
                thread::yield_now();
            }
            if turn % (COMMANDS / MEETINGS) == 0 {
                if turn == COMMANDS {
                    last.store(publisher.said(), Ordering::Release);
                }
                while seen.load(Ordering::Acquire) != publisher.said() && !reader.is_finished() {
                    publisher.commit(&book);
                    thread::yield_now();
                }
            }
        }
        reader.join().unwrap()
    });
    let (mut book, mut flow, mut count) = (ranged_book(), flow(), Count(0));
    let mut unmatched = snapshots.clone();
    for _ in 0..=COMMANDS {
        if let Some(found) = unmatched.remove(&count.0) {
            assert_eq!(found, digest(&shown_by_book(&book)), "record {}", count.0);
        }
        run(&mut book, &flow.next(), &mut count);
    }
    assert!(unmatched.is_empty(), "not the end of a command: {unmatched:?}");
    assert!(snapshots.len() as u64 >= MEETINGS);
    println!("{} snapshots, joined {} times", snapshots.len(), follower.joins());
}
