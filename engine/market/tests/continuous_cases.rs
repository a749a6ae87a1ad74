//! The corners of docs/orders.md, one by one, on the flat model of the book.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]
#![allow(dead_code, reason = "the model is shared with the random streams")]

#[path = "model/continuous.rs"]
mod model;

use model::{Ask, Done, Fact, Model, Person, Rules, Told};
use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::command::Replace;
use wattbook_types::{
    CloseReason, ContractId, DealPriceRule, Energy, OrderId, ParticipantId, Price, Quote, RangeMode, Reject, SelfTrade,
    Side, TimeInForce,
};

const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);
/// Two strangers, and one of the first's group.
const ANN: u64 = 11;
const BOB: u64 = 12;
const TWIN: u64 = 13;

fn market(price: DealPriceRule) -> Model {
    let rules = Rules {
        range: RangeMode::Off,
        price,
        charge: 0,
        default_cap: 300,
        penalty: 5_000,
        all_in: false,
        concession: false,
        affiliation: true,
        floor: None,
        min_lot: 100,
        price_bound: 999_900,
        energy_max: 4_000_000_000,
    };
    let person = |group| Person {
        buys: true,
        sells: true,
        is_grid: false,
        group,
        reputation: 500_000,
        percentile: 0,
        capacity: 1_000_000,
        free: 1_000_000_000_000,
        escrow: 0,
        used_nonces: BTreeSet::new(),
        client_order_id: 0,
        suspended: false,
    };
    let people = BTreeMap::from([(ANN, person(1)), (BOB, person(0)), (TWIN, person(1))]);
    Model::new(rules, people, CONTRACT, 1_000, 0)
}

fn quote(side: Side, ticks: i32, wh: u64) -> Quote {
    Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force: TimeInForce::Gate,
        price: Price::new(ticks),
        charge_cap: -1,
        energy: Energy::new(wh),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}

fn order(who: u64, nonce: u64) -> OrderId {
    OrderId {
        participant: ParticipantId::new(who),
        nonce,
        index: 0,
    }
}

const fn told(leaves: i128, hidden: i128) -> Told {
    Told { leaves, hidden }
}

/// A model and the nonces used in it.
struct Case {
    model: Model,
    nonces: BTreeMap<u64, u64>,
}

impl Case {
    fn new() -> Self {
        Self::at(DealPriceRule::Midpoint)
    }

    fn at(price: DealPriceRule) -> Self {
        let nonces = BTreeMap::new();
        let model = market(price);
        Self { model, nonces }
    }

    /// What an item does once it is accepted, or why it is not.
    fn send(&mut self, who: u64, ask: Ask) -> Result<Vec<Fact>, Reject> {
        let nonce = self.nonces.entry(who).or_default();
        *nonce += 1;
        let mut facts = self.model.envelope(ParticipantId::new(who), *nonce, &[ask]).unwrap();
        match facts.remove(0) {
            Fact::Accepted(0) => Ok(facts),
            Fact::Rejected(0, reject) => Err(reject),
            other => panic!("{other:?}"),
        }
    }

    fn quote(&mut self, who: u64, quote: Quote) -> Result<Vec<Fact>, Reject> {
        self.send(who, Ask::Quote(quote))
    }

    /// An ask of 100 Wh that shows 30, Ann's first order, at 50 ticks.
    fn iceberg() -> Self {
        let mut case = Self::new();
        let ask = Quote {
            display: Energy::new(30),
            ..quote(Side::Sell, 50, 100)
        };
        let opened = vec![Fact::Opened(order(ANN, 1), Side::Sell, 50, told(30, 70))];
        assert_eq!(case.quote(ANN, ask), Ok(opened));
        case
    }

    /// Shown and hidden of each order of a side, in the order of the queue.
    fn queue(&self, side: Side) -> Vec<(OrderId, i128, i128)> {
        let queue = self.model.queue(side);
        queue.iter().map(|o| (o.id, o.shown, o.leaves - o.shown)).collect()
    }
}

/// A deal of Bob's bid with an ask, at one price.
fn deal(bid_nonce: u64, ask: OrderId, ticks: i128, wh: i128, leaves: [Told; 2]) -> Fact {
    let done = Done {
        buyer: order(BOB, bid_nonce),
        seller: ask,
        half_ticks: 2 * ticks,
        wh,
    };
    Fact::Deal(done, [ticks; 2], leaves, Side::Buy)
}

#[test]
fn the_next_slice_comes_last_at_its_price_and_is_reached_again() {
    let mut case = Case::iceberg();
    case.quote(TWIN, quote(Side::Sell, 50, 40)).unwrap();
    let (iceberg, plain) = (order(ANN, 1), order(TWIN, 1));
    let expected = vec![
        deal(1, iceberg, 50, 30, [told(55, 0), told(0, 70)]),
        Fact::Opened(iceberg, Side::Sell, 50, told(30, 40)),
        deal(1, plain, 50, 40, [told(15, 0), told(0, 0)]),
        deal(1, iceberg, 50, 15, [told(0, 0), told(15, 40)]),
    ];
    assert_eq!(case.quote(BOB, quote(Side::Buy, 50, 85)), Ok(expected));
    assert_eq!(case.queue(Side::Sell), [(iceberg, 15, 40)]);
    // The whole of it, slice by slice.
    let facts = case.quote(BOB, quote(Side::Buy, 50, 55)).unwrap();
    assert_eq!(facts.len(), 5);
    assert_eq!(case.queue(Side::Sell), []);
}

#[test]
fn an_iceberg_takes_with_all_of_it_and_rests_with_a_slice() {
    let mut case = Case::new();
    case.quote(ANN, quote(Side::Sell, 50, 60)).unwrap();
    let bid = Quote {
        display: Energy::new(25),
        ..quote(Side::Buy, 50, 100)
    };
    let expected = vec![
        deal(1, order(ANN, 1), 50, 60, [told(25, 15), told(0, 0)]),
        Fact::Opened(order(BOB, 1), Side::Buy, 50, told(25, 15)),
    ];
    assert_eq!(case.quote(BOB, bid), Ok(expected));
    // Hidden energy fills a fill-or-kill.
    let all = Quote {
        time_in_force: TimeInForce::Fok,
        display: Energy::new(1),
        ..quote(Side::Sell, 50, 40)
    };
    assert_eq!(case.quote(TWIN, all).unwrap().len(), 3);
    assert_eq!(case.queue(Side::Buy), []);
    // What is shown at a time covers the minimum fill; what never rests shows nothing at a time.
    let small = |time_in_force| Quote {
        min_fill: Energy::new(26),
        time_in_force,
        ..bid
    };
    assert_eq!(
        case.quote(BOB, small(TimeInForce::Gate)),
        Err(Reject::MinFillOutOfBounds)
    );
    assert!(case.quote(BOB, small(TimeInForce::Ioc)).is_ok());
}

#[test]
fn a_replaced_iceberg_keeps_its_place_while_it_shows_no_more() {
    let replace = |wh, display| {
        Ask::Replace(Replace {
            contract: CONTRACT,
            target_nonce: 1,
            target_index: 0,
            price: Price::new(50),
            charge_cap: -1,
            energy: Energy::new(wh),
            min_fill: Energy::ZERO,
            display: Energy::new(display),
        })
    };
    // Before it: 20 of the slice of 30 are left, 70 hidden. (energy, display, stays, shown, hidden)
    for (wh, display, stays, shown, hidden) in [
        (90, 30, true, 20, 70),
        (90, 10, true, 10, 80),
        (90, 500, true, 20, 70),
        (15, 30, true, 15, 0),
        (15, 0, true, 15, 0),
        (20, 0, true, 20, 0),
        (21, 0, false, 21, 0),
        (90, 0, false, 90, 0),
        (91, 30, false, 30, 61),
    ] {
        let mut case = Case::iceberg();
        case.quote(BOB, quote(Side::Buy, 50, 10)).unwrap();
        case.quote(TWIN, quote(Side::Sell, 50, 5)).unwrap();
        let (new, old) = (order(ANN, 2), order(ANN, 1));
        let expected = if stays {
            vec![Fact::Reduced(new, old, 50, told(shown, hidden))]
        } else {
            vec![
                Fact::Closed(old, 50, told(20, 70), CloseReason::Replaced, true),
                Fact::Opened(new, Side::Sell, 50, told(shown, hidden)),
            ]
        };
        assert_eq!(case.send(ANN, replace(wh, display)), Ok(expected), "{wh} {display}");
        let first = case.queue(Side::Sell)[0].0;
        assert_eq!(first == new, stays, "{wh} {display}");
    }
}

#[test]
fn a_market_to_limit_order_takes_one_price_and_rests_there() {
    for price in DealPriceRule::ALL {
        let mut case = Case::at(price);
        for (ticks, wh) in [(50, 30), (50, 20), (51, 40)] {
            case.quote(ANN, quote(Side::Sell, ticks, wh)).unwrap();
        }
        let bid = |life, wh| Quote {
            market_to_limit: true,
            time_in_force: life,
            ..quote(Side::Buy, 60, wh)
        };
        // All of it at one price, or nothing.
        let killed = vec![
            Fact::Unmatched(order(BOB, 1), Side::Buy, 60, CloseReason::Exhausted),
            Fact::Closed(order(BOB, 1), 60, told(60, 0), CloseReason::FillOrKill, false),
        ];
        assert_eq!(case.quote(BOB, bid(TimeInForce::Fok, 60)), Ok(killed));
        let expected = vec![
            deal(2, order(ANN, 1), 50, 30, [told(30, 0), told(0, 0)]),
            deal(2, order(ANN, 2), 50, 20, [told(10, 0), told(0, 0)]),
            Fact::Opened(order(BOB, 2), Side::Buy, 50, told(10, 0)),
        ];
        assert_eq!(case.quote(BOB, bid(TimeInForce::Gate, 60)), Ok(expected), "{price:?}");
        assert_eq!(case.queue(Side::Sell), [(order(ANN, 3), 40, 0)]);
        // 300 of cap beside the price, 10 Wh at rest; the protection limit holds nothing any more.
        assert_eq!(case.model.money(ParticipantId::new(BOB))[1], 10 * (50 + 300) * 10);
    }
}

#[test]
fn a_market_to_limit_order_without_a_market_is_closed() {
    let mut case = Case::new();
    let bid = |life, self_trade| Quote {
        market_to_limit: true,
        time_in_force: life,
        self_trade,
        ..quote(Side::Buy, 60, 10)
    };
    let gone = |nonce, why, reason| {
        Ok(vec![
            Fact::Unmatched(order(BOB, nonce), Side::Buy, 10, why),
            Fact::Closed(order(BOB, nonce), 60, told(10, 0), reason, false),
        ])
    };
    let newest = SelfTrade::CancelNewest;
    let none = CloseReason::NoCounterparty;
    let (gate, ioc, fok) = (TimeInForce::Gate, TimeInForce::Ioc, TimeInForce::Fok);
    assert_eq!(case.quote(BOB, bid(gate, newest)), gone(1, none, CloseReason::NoMarket));
    assert_eq!(case.quote(BOB, bid(ioc, newest)), gone(2, none, CloseReason::NoMarket));
    assert_eq!(
        case.quote(BOB, bid(fok, newest)),
        gone(3, none, CloseReason::FillOrKill)
    );
    case.quote(BOB, quote(Side::Sell, 50, 4)).unwrap();
    let own = CloseReason::SelfTrade;
    assert_eq!(case.quote(BOB, bid(gate, newest)), gone(5, own, own));
    // Neither a cancel nor a decrement is a deal.
    let facts = case.quote(BOB, bid(gate, SelfTrade::Decrement)).unwrap();
    let closed = Fact::Closed(order(BOB, 6), 60, told(6, 0), CloseReason::NoMarket, false);
    assert_eq!(facts.last(), Some(&closed));
    assert!(case.model.open.is_empty());
}

#[test]
fn self_trade_is_prevented_as_the_incoming_order_says() {
    let (first, second, mine) = (order(ANN, 1), order(BOB, 1), order(TWIN, 1));
    let own = CloseReason::SelfTrade;
    let done = |wh| Done {
        buyer: mine,
        seller: second,
        half_ticks: 100,
        wh,
    };
    let gone = |wh| {
        [
            Fact::Unmatched(mine, Side::Buy, wh, own),
            Fact::Closed(mine, 50, told(wh, 0), own, false),
        ]
    };
    let cancelled = Fact::Closed(first, 50, told(30, 70), own, true);
    // Ann's iceberg stands before 40 Wh of Bob's; her twin bids for 60.
    let sent = |self_trade, time_in_force| {
        let mut case = Case::iceberg();
        case.quote(BOB, quote(Side::Sell, 50, 40)).unwrap();
        let bid = Quote {
            self_trade,
            time_in_force,
            ..quote(Side::Buy, 50, 60)
        };
        (case.quote(TWIN, bid), case)
    };
    let gate = TimeInForce::Gate;
    let (facts, _) = sent(SelfTrade::CancelNewest, gate);
    assert_eq!(facts.unwrap(), gone(60));
    let (facts, _) = sent(SelfTrade::CancelBoth, gate);
    assert_eq!(facts.unwrap(), [std::slice::from_ref(&cancelled), &gone(60)].concat());
    let (facts, _) = sent(SelfTrade::CancelOldest, gate);
    let expected = [
        cancelled,
        Fact::Deal(done(40), [50; 2], [told(20, 0), told(0, 0)], Side::Buy),
        Fact::Opened(mine, Side::Buy, 50, told(20, 0)),
    ];
    assert_eq!(facts.unwrap(), expected);
    let (facts, case) = sent(SelfTrade::Decrement, gate);
    let expected = [
        Fact::Unmatched(mine, Side::Buy, 30, own),
        Fact::Reduced(first, first, 50, told(0, 70)),
        Fact::Opened(first, Side::Sell, 50, told(30, 40)),
        Fact::Deal(done(30), [50; 2], [told(0, 0), told(10, 0)], Side::Buy),
    ];
    assert_eq!(facts.unwrap(), expected);
    assert_eq!(case.queue(Side::Sell), [(second, 10, 0), (first, 30, 40)]);

    // Fill-or-kill: all of it with others, or nothing happens.
    for mode in SelfTrade::ALL {
        let (facts, case) = sent(mode, TimeInForce::Fok);
        let why = if mode == SelfTrade::CancelOldest {
            CloseReason::Exhausted
        } else {
            own
        };
        let killed = [
            Fact::Unmatched(mine, Side::Buy, 60, why),
            Fact::Closed(mine, 50, told(60, 0), CloseReason::FillOrKill, false),
        ];
        assert_eq!(facts.unwrap(), killed, "{mode:?}");
        assert_eq!(case.queue(Side::Sell), [(first, 30, 70), (second, 40, 0)]);
    }
    // Post-only: what stops at the own order does not cross.
    for (mode, crosses) in [
        (SelfTrade::CancelNewest, false),
        (SelfTrade::CancelOldest, true),
        (SelfTrade::CancelBoth, false),
        (SelfTrade::Decrement, true),
    ] {
        let (facts, _) = sent(mode, TimeInForce::PostOnly);
        assert_eq!(facts == Err(Reject::WouldCross), crosses, "{mode:?}: {facts:?}");
    }
}

#[test]
fn a_decrement_ends_with_the_smaller_order() {
    let own = CloseReason::SelfTrade;
    for (resting, incoming) in [(30, 30), (30, 20), (20, 30)] {
        let mut case = Case::new();
        case.quote(ANN, quote(Side::Sell, 50, resting)).unwrap();
        let bid = Quote {
            self_trade: SelfTrade::Decrement,
            ..quote(Side::Buy, 55, incoming)
        };
        let d = resting.min(incoming);
        let (old, new) = (order(ANN, 1), order(TWIN, 1));
        let mut expected = vec![Fact::Unmatched(new, Side::Buy, d.into(), own)];
        if incoming == d {
            expected.push(Fact::Closed(new, 55, told(0, 0), own, false));
        }
        expected.push(if resting == d {
            Fact::Closed(old, 50, told(0, 0), own, true)
        } else {
            Fact::Reduced(old, old, 50, told(10, 0))
        });
        if incoming > d {
            expected.push(Fact::Opened(new, Side::Buy, 55, told(10, 0)));
        }
        assert_eq!(case.quote(TWIN, bid), Ok(expected));
        assert_eq!(case.model.done, []);
    }
}

#[test]
fn client_order_ids_only_rise_with_what_is_accepted() {
    let mut case = Case::new();
    let named = |client_order_id, wh| Quote {
        client_order_id,
        ..quote(Side::Sell, 50, wh)
    };
    let used = Err(Reject::ClientOrderIdUsed);
    assert!(case.quote(ANN, named(7, 10)).is_ok());
    assert_eq!(case.quote(ANN, named(7, 10)), used);
    assert_eq!(case.quote(ANN, named(6, 10)), used);
    assert!(case.quote(ANN, named(0, 10)).is_ok());
    // Another reason comes first, and a refused quote does not move the mark.
    assert_eq!(case.quote(ANN, named(6, 0)), Err(Reject::EnergyZero));
    assert_eq!(case.quote(ANN, named(9, 0)), Err(Reject::EnergyZero));
    assert!(case.quote(ANN, named(8, 10)).is_ok());
    assert!(case.quote(BOB, named(1, 10)).is_ok(), "every account counts for itself");
    assert!(case.quote(ANN, named(u64::MAX, 10)).is_ok());
    assert_eq!(case.quote(ANN, named(u64::MAX, 10)), used);
}
