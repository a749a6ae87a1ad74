//! Reputation, ranking, range and the equilibrium price by their check values, and what a cycle does to a participant's
//! record (MARKET 3.1 to 3.3, 4.3; DETAILS 5).

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]
#![allow(clippy::float_arithmetic, reason = "real numbers are what the integers are held to")]

mod support;

use support::{AMPLE, Dice, GRID, METERS, Rig, TRADER, account, ask, at, bid, id, reading};
use wattbook_market::cep::{Ratio, by_recency, by_volume};
use wattbook_market::reputation::{Counts, CycleRecord, Traded, Window, eq4_ppm, percentiles, reputation};
use wattbook_market::round::matchable_range;
use wattbook_types::{DealPrice, Energy, Event, Hash, Item, MicroPrice, Param, ParticipantId, Ppm, Price, Quote};

#[test]
fn eq4_by_its_definition() {
    assert_eq!(eq4_ppm(8, 10, 16, 0), Ppm::new(712_500), "MARKET 3.1");
    assert_eq!(eq4_ppm(0, 0, 0, 1), Ppm::new(500_000), "a newcomer");
    // DETAILS 5: floor(1e6 ((G+1)(B+2) + (T+1)(T+2)) / (2 (T+2)(B+2))).
    for b in 0..=40u32 {
        for t in 0..=b {
            for g in 0..=t {
                let [g1, t1, t2, b2] = [g + 1, t + 1, t + 2, b + 2].map(u128::from);
                let want = 1_000_000 * (g1 * b2 + t1 * t2) / (2 * t2 * b2);
                let counts = Counts {
                    good: g,
                    traded: t,
                    entered: b,
                    declined: 0,
                };
                assert_eq!(u128::from(reputation(counts, 20_000).get()), want, "{counts:?}");
                assert!(want <= 1_000_000);
            }
        }
    }
    assert_eq!(
        eq4_ppm(u32::MAX - 2, u32::MAX - 2, u32::MAX - 2, 1).get(),
        999_999,
        "no count overflows"
    );
}

#[test]
fn declined_cycles_cost_and_never_below_zero() {
    let counts = |declined| Counts {
        declined,
        ..Counts::default()
    };
    assert_eq!(reputation(counts(1), 20_000), Ppm::new(480_000));
    assert_eq!(reputation(counts(24), 20_000), Ppm::new(20_000));
    assert_eq!(reputation(counts(25), 20_000), Ppm::ZERO);
    assert_eq!(reputation(counts(30), 20_000), Ppm::ZERO);
    assert_eq!(reputation(counts(u32::MAX), u32::MAX), Ppm::ZERO);
}

fn record(cycle: u64, counterparties: &[u64]) -> CycleRecord {
    let traded = |counterparty: &u64| Traded {
        counterparty: *counterparty,
        good: true,
    };
    CycleRecord {
        cycle,
        entered: counterparties.len() as u32,
        traded: counterparties.iter().map(traded).collect(),
        declined: false,
    }
}

#[test]
fn one_group_counts_for_a_fifth_and_at_least_one() {
    let t = |records: &[CycleRecord]| {
        let mut window = Window::default();
        for record in records {
            window.push(record.clone(), 30);
        }
        let counts = window.counts(true);
        assert_eq!(counts.good, counts.traded);
        assert_eq!(
            window.counts(false).traded as usize,
            records.iter().map(|r| r.traded.len()).sum::<usize>()
        );
        counts.traded
    };
    assert_eq!(t(&[record(1, &[7])]), 1);
    assert_eq!(t(&[record(1, &[7]), record(2, &[7])]), 1);
    // T = 10: at most 2 of one group; several at once (0) count whole.
    let mixed: Vec<CycleRecord> = (1..=10)
        .map(|n| record(n, &[if n <= 5 { 7 } else { [0, 1, 2, 3, 4][n as usize - 6] }]))
        .collect();
    assert_eq!(t(&mixed), 7);
    let both_sides: Vec<CycleRecord> = (1..=5).map(|n| record(n, &[7, 8])).collect();
    assert_eq!(t(&both_sides), 4);
}

#[test]
fn the_window_holds_w_cycles() {
    for w in [1u64, 2, 30] {
        let mut window = Window::default();
        for cycle in 0..50 {
            window.push(record(cycle, &[0]), w);
            assert_eq!(window.counts(false).entered as u64, w.min(cycle + 1));
        }
        // Cycles in which it did nothing leave nothing, and push the others out.
        window.push(record(50, &[]), w);
        assert_eq!(window.counts(false).entered as u64, w - 1);
        window.expire(50 + w, w);
        assert_eq!(window.records().count(), 0);
    }
}

#[test]
fn ranking_is_by_reputation_then_trades_then_registration() {
    type Row = (ParticipantId, Ppm, u32, u64);
    let mut dice = Dice::new(5);
    for people in 1..40u64 {
        let mut rows: Vec<Row> = (1..=people)
            .map(|n| {
                (
                    id(n),
                    Ppm::new(dice.below(3) as u32),
                    dice.below(3) as u32,
                    dice.below(4),
                )
            })
            .collect();
        let better = |a: &Row, b: &Row| {
            (a.1.get(), a.2) > (b.1.get(), b.2) || ((a.1, a.2) == (b.1, b.2) && (a.3, a.0) < (b.3, b.0))
        };
        let ranked = percentiles(rows.clone());
        for (who, r, percentile) in &ranked {
            let me = rows.iter().find(|row| row.0 == *who).unwrap();
            let ahead = rows.iter().filter(|other| better(other, me)).count() as u64;
            assert_eq!((percentile.get() as u64, *r), (1_000_000 * ahead / people, me.1));
        }
        // The order in which they come is nobody's advantage.
        rows.reverse();
        assert_eq!(percentiles(rows), ranked);
    }
    assert!(percentiles(Vec::new()).is_empty());
}

#[test]
fn range_is_eq5() {
    for n in 0..60u32 {
        for p in (0..=1_000_000)
            .step_by(12_345)
            .chain([1, 499_999, 500_000, 500_001, 999_999, 1_000_000])
        {
            // Rounded half up, within [1, N], and 1 where there is nobody.
            let exact = f64::from(n) * (1.0 - f64::from(p) / 1e6);
            let got = matchable_range(n, Ppm::new(p));
            assert!(
                (f64::from(got) - exact).abs() <= 0.5 || got == 1,
                "{n} {p}: {got} of {exact}"
            );
            assert!(got >= 1 && got <= n.max(1));
        }
    }
    assert_eq!(matchable_range(3, Ppm::new(500_000)), 2, "half up");
    assert_eq!(matchable_range(u32::MAX, Ppm::new(0)), u32::MAX);
    assert_eq!(matchable_range(u32::MAX, Ppm::new(u32::MAX)), 1);
}

#[test]
fn cep_check_values() {
    let points = |points: &[i32]| -> Vec<(DealPrice, Energy)> {
        points
            .iter()
            .map(|p| (Price::new(100 * p).to_deal_price(), Energy::new(1)))
            .collect()
    };
    let table = points(&[90, 95, 97, 100]);
    for (num, den, micro) in [(1, 1, 95_500_000), (5, 4, 96_368_564), (10, 9, 95_917_418)] {
        assert_eq!(by_recency(&table, Ratio { num, den }), Some(MicroPrice::new(micro)));
    }
    // By its definition in real numbers, over random trails, to a micro-point.
    let mut dice = Dice::new(9);
    for _ in 0..200 {
        let trail: Vec<(DealPrice, Energy)> = (0..1 + dice.below(50))
            .map(|_| {
                (
                    DealPrice::new(dice.below(4_000_000) as i64 - 2_000_000),
                    Energy::new(1 + dice.below(1_000)),
                )
            })
            .collect();
        let (mut weights, mut sum, mut weight) = (0.0, 0.0, 1.0);
        for (price, _) in trail.iter().rev() {
            weights += weight;
            sum += weight * price.get() as f64 * 5_000.0;
            weight *= 0.9;
        }
        let got = by_recency(&trail, Ratio { num: 10, den: 9 }).unwrap().get() as f64;
        assert!((got - sum / weights).abs() <= 1.0, "{got} {}", sum / weights);
        let energy: f64 = trail.iter().map(|(_, e)| e.get() as f64).sum();
        let volume = trail
            .iter()
            .map(|(p, e)| p.get() as f64 * 5_000.0 * e.get() as f64)
            .sum::<f64>()
            / energy;
        assert!((by_volume(&trail).unwrap().get() as f64 - volume).abs() <= 1.0);
    }
    // The ends of everything: a thousand deals at the greatest price, weights that do not fall.
    let most = vec![(DealPrice::new(2 * i64::from(i32::MAX)), Energy::new(4_294_967_295)); 1_000];
    for (num, den) in [(1, 1), (1_000_000, 1), (1, 1_000_000)] {
        assert_eq!(by_recency(&most, Ratio { num, den }), Some(most[0].0.to_micro()));
    }
    assert_eq!(by_volume(&most), Some(most[0].0.to_micro()));
}

/// Plays contract `n`: 11 sells to 12 in the book; `delivered` of the 1,000 Wh.
fn trade(rig: &mut Rig, n: u32, delivered: u64) {
    rig.run_to(n, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(n, 9_000, 1_000)));
    rig.ok(12, Item::Quote(bid(n, 9_000, 1_000)));
    rig.sign_block();
    rig.run_to(n, at::METERING, true);
    rig.ok(METERS, reading(n, 111, 0, 0, delivered));
    rig.ok(METERS, reading(n, 120, 0, 1_000, 0));
    rig.run_to(n, at::CLOSE, true);
}

/// (R, B, T, G, declined) of the latest rating of an account.
fn rated(rig: &Rig, serial: u64) -> Option<(u32, u32, u32, u32, u32)> {
    let of = |event: &Event| match event {
        Event::Rated {
            participant,
            reputation,
            entered,
            traded,
            good,
            declined,
            ..
        } if *participant == id(serial) => Some((reputation.get(), *entered, *traded, *good, *declined)),
        _ => None,
    };
    rig.events.iter().rev().find_map(of)
}

#[test]
fn a_delivery_of_95_percent_is_good() {
    for (delivered, good) in [(1_000, 1), (950, 1), (949, 0)] {
        let mut rig = Rig::new(&[], 3);
        trade(&mut rig, 0, delivered);
        // (1 + good) / 3 and 2 / 3, halved.
        let r = [500_000, 666_666][good as usize];
        assert_eq!(rated(&rig, 11), Some((r, 1, 1, good, 0)), "{delivered}");
        assert_eq!(rated(&rig, 12), Some((666_666, 1, 1, 1, 0)), "the buyer took it all");
        assert_eq!(rated(&rig, 13), None, "who did nothing is not rated");
    }
}

#[test]
fn the_counterparty_rates_once_the_market_says_so() {
    for vote in [None, Some(true), Some(false)] {
        let mut rig = Rig::new(&[(Param::Rating, 1)], 2);
        rig.run_to(0, at::CONTRACT, true);
        rig.ok(11, Item::Quote(ask(0, 9_000, 1_000)));
        let (_, events) = rig.ok(12, Item::Quote(bid(0, 9_000, 1_000)));
        let deal = events.iter().find_map(|event| match event {
            Event::Executed { deal_id, .. } => Some(*deal_id),
            _ => None,
        });
        rig.sign_block();
        rig.run_to(0, at::SETTLE, true);
        if let (Some(good), Some(deal_id)) = (vote, deal) {
            rig.ok(12, Item::Rate(wattbook_types::command::Rate { deal_id, good }));
        }
        rig.run_to(0, at::CLOSE, true);
        // Nothing was delivered; only a signed bad counts here.
        let good = u32::from(vote != Some(false));
        assert_eq!(rated(&rig, 11).map(|r| r.3), Some(good));
        assert_eq!(rated(&rig, 12).map(|r| r.3), Some(1));
    }
}

#[test]
fn what_does_not_count_does_not_count() {
    // Below the minimum lot; entered without a deal; a deal that was never countersigned.
    let mut rig = Rig::new(&[], 4);
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(0, 9_000, 99)));
    rig.ok(12, Item::Quote(bid(0, 9_000, 1_000)));
    rig.ok(13, Item::Quote(ask(0, 9_500, 100)));
    rig.sign_block();
    assert!(rig.contract(0).trail.is_empty() && rig.contract(0).low.is_none());
    rig.run_to(0, at::CLOSE, true);
    assert_eq!(rated(&rig, 11), Some((500_000, 0, 0, 0, 0)));
    // (0 + 1)(1 + 2) + (0 + 1)(0 + 2) = 5 over 2 x 2 x 3.
    assert_eq!(rated(&rig, 12), Some((416_666, 1, 0, 0, 0)));
    assert_eq!(rated(&rig, 13), Some((416_666, 1, 0, 0, 0)));

    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(0, 9_000, 1_000)));
    rig.ok(12, Item::Quote(bid(0, 9_000, 1_000)));
    rig.run_to(0, at::CLOSE, false);
    assert_eq!(rated(&rig, 11).map(|r| (r.1, r.2)), Some((1, 0)));
}

#[test]
fn affiliates_do_not_count() {
    let mut rig = Rig::new(&[(Param::Affiliation, 0), (Param::PenaltyRate, 0)], 0);
    for serial in [11, 12] {
        let mut member = account(serial, TRADER, AMPLE);
        member.group = Hash([5; 32]);
        rig.register(member);
    }
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(12, Item::Quote(ask(0, 9_000, 1_000)));
    rig.ok(11, Item::Quote(bid(0, 9_000, 1_000)));
    rig.sign_block();
    rig.run_to(0, at::METERING, true);
    rig.ok(METERS, reading(0, 121, 0, 0, 1_000));
    rig.ok(METERS, reading(0, 110, 0, 1_000, 0));
    rig.run_to(0, at::CLOSE, true);
    for serial in [11, 12] {
        assert_eq!(rated(&rig, serial).map(|r| (r.1, r.2, r.3)), Some((1, 0, 0)));
    }
}

#[test]
fn an_unrevealed_seal_costs_reputation_for_w_cycles() {
    let mut rig = Rig::new(&[(Param::Window, 2)], 2);
    rig.tick(at::GATE_OPENS);
    rig.seal(0, 1, 0, &[(11, &[])]);
    rig.run_to(0, at::CLOSE, true);
    assert_eq!(rated(&rig, 11), Some((480_000, 0, 0, 0, 1)));
    assert_eq!(rig.account(11).profile().window.records().count(), 1);
    rig.run_to(1, at::CLOSE, true);
    assert_eq!(rig.account(11).profile().window.records().count(), 1);
    rig.run_to(2, at::CLOSE, true);
    assert_eq!(rig.account(11).profile().window.records().count(), 0);
}

#[test]
fn standing_is_fixed_at_gate_opening() {
    let mut rig = Rig::new(&[], 3);
    trade(&mut rig, 0, 1_000);
    // The next gate after the close ranks 11 and 12 in front of the newcomers; nobody's standing changes within a cycle.
    rig.run_to(4, at::GATE_OPENS, true);
    let standing = |rig: &Rig, n: u32| -> Vec<(u64, u32, u32)> {
        let rows = rig.contract(n).standing.iter();
        rows.map(|(who, s)| (who.get(), s.reputation.get(), s.percentile.get()))
            .collect()
    };
    let want = [
        (GRID, 500_000, 500_000),
        (11, 666_666, 0),
        (12, 666_666, 250_000),
        (13, 500_000, 750_000),
    ];
    assert_eq!(standing(&rig, 4), want);
    assert_eq!(
        standing(&rig, 2).iter().map(|row| row.2).collect::<Vec<_>>(),
        [0, 250_000, 500_000, 750_000]
    );
    // Who comes later ranks behind everyone and still may trade.
    rig.register(account(30, TRADER, AMPLE));
    rig.run_to(4, at::CONTRACT, true);
    rig.ok(13, Item::Quote(ask(4, 9_000, 10)));
    rig.ok(30, Item::Quote(bid(4, 9_000, 10)));
    assert_eq!(standing(&rig, 4), want);
    assert_eq!(rig.contract(4).deals.len(), 1);
}

/// `own`: a buyer ranked last sees only the best seller; the round and the book agree on it.
#[test]
fn reputation_decides_who_may_be_matched() {
    for sealed in [true, false] {
        let mut rig = Rig::new(&[(Param::Range, 1)], 4);
        rig.run_to(0, at::GATE_OPENS, true);
        let asks = [
            (11, ask(0, 9_000, 100)),
            (12, ask(0, 9_100, 100)),
            (13, ask(0, 9_200, 100)),
        ];
        let buy: Quote = bid(0, 9_500, 300);
        if sealed {
            let quotes = asks.map(|(serial, quote)| (serial, [quote]));
            let mut all: Vec<(u64, &[Quote])> = quotes.iter().map(|(s, q)| (*s, &q[..])).collect();
            let mine = [buy];
            all.push((14, &mine));
            rig.round(0, 1, 4, &all);
        } else {
            rig.run_to(0, at::CONTRACT, true);
            for (serial, quote) in asks {
                rig.ok(serial, Item::Quote(quote));
            }
            rig.ok(14, Item::Quote(buy));
        }
        // Five are ranked; 14 is the last, at 800,000: round(3 x 0.2) = 1.
        let deals = Rig::deals(&rig.events);
        assert_eq!(deals.len(), 1, "sealed: {sealed}");
        assert_eq!(
            (deals[0].seller.participant, deals[0].price),
            (id(11), DealPrice::new(18_500))
        );
    }
}
