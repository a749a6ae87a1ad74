//! Whole cycles through the door of the core: timetable, sealed rounds, the book, contracts, meters, money. Every amount is
//! computed by hand beside its test; prices are in ticks (0.01 point/MWh), money in nano-points: 10 per tick and Wh.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod support;

use support::{
    AMPLE, GRID, METERS, POINT, REGULATOR, Rig, TRADER, account, ask, at, bid, cancel_all, contract, order_of, reading,
    replay, time,
};
use wattbook_market::state::MINTS;
use wattbook_types::command::MarketAction;
use wattbook_types::{
    CloseReason, Command, DealPrice, Energy, Event, Hash, Item, Param, Phase, Price, Quote, Side, TimeInForce, TimeNs,
};

/// Registration mint: 1,000 points.
const MINT: i64 = 1_000 * POINT;

/// Two traders, one countersigned deal of 11 (seller) and 12 (buyer) in the first contract's book, time at metering.
fn one_deal(set: &[(Param, i64)], ask_ticks: i32, bid_ticks: i32, wh: u64) -> Rig {
    let mut rig = Rig::new(set, 3);
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(0, ask_ticks, wh)));
    rig.ok(12, Item::Quote(bid(0, bid_ticks, wh)));
    rig.sign_block();
    rig.run_to(0, at::METERING, true);
    rig
}

fn read(rig: &mut Rig, serial: u64, import: u64, export: u64) {
    let items = vec![
        reading(0, 10 * serial, 0, import, 0),
        reading(0, 10 * serial + 1, 0, 0, export),
    ];
    let (_, events) = rig.send(METERS, items);
    assert!(support::verdicts(&events).iter().all(Result::is_ok), "{events:?}");
}

/// Change of each account's free money from `before` to after settlement.
fn settled(rig: &mut Rig) -> ([i64; 3], Vec<Event>) {
    let of = |rig: &Rig| [11, 12, GRID].map(|serial| rig.pockets(serial).iter().sum::<i64>());
    let before = of(rig);
    let events = rig.tick(at::SETTLE);
    rig.end_block();
    let after = of(rig);
    for serial in [11, 12, GRID] {
        assert_eq!(rig.pockets(serial)[1..], [0, 0, 0], "{serial} has everything back");
    }
    ([0, 1, 2].map(|i| after[i] - before[i]), events)
}

#[test]
fn positive_price_settles_whole() {
    // Midpoint 9,500 ticks, 1,000 Wh: 95,000,000; charge 250 ticks: 2,500,000; clean mint 10,000 a Wh.
    let mut rig = one_deal(&[], 9_000, 10_000, 1_000);
    assert_eq!(rig.pockets(12)[2], 97_500_000, "price and charge are held");
    assert_eq!(rig.pockets(11)[2], 50_000_000, "the penalty is held");
    read(&mut rig, 11, 0, 1_000);
    read(&mut rig, 12, 1_000, 0);
    assert_eq!(rig.account(12).payable().get(), 0, "the registration mint is locked");
    let (change, events) = settled(&mut rig);
    assert_eq!(change, [95_000_000 + 10_000_000, -97_500_000, 2_500_000]);
    assert_eq!(
        rig.account(12).payable().get(),
        MINT - 97_500_000,
        "the first settled Wh unlocks it"
    );
    assert!(!events.iter().any(|event| matches!(event, Event::Balanced { .. })));
}

#[test]
fn negative_price_is_paid_by_the_seller() {
    // Midpoint -2,000 ticks: the seller pays 20,000,000, of which the grid company gets 2,500,000 and the buyer the rest.
    let mut rig = one_deal(&[], -3_000, -1_000, 1_000);
    assert_eq!((rig.pockets(12)[2], rig.pockets(11)[2]), (0, 20_000_000 + 50_000_000));
    read(&mut rig, 11, 0, 1_000);
    read(&mut rig, 12, 1_000, 0);
    let (change, events) = settled(&mut rig);
    assert_eq!(change, [-20_000_000 + 10_000_000, 17_500_000, 2_500_000]);
    let paid = |event: &Event| match event {
        Event::Settled { energy_paid, .. } => Some(energy_paid.get()),
        _ => None,
    };
    assert_eq!(events.iter().find_map(paid), Some(-20_000_000));
}

#[test]
fn price_below_zero_by_less_than_the_charge_costs_both() {
    // Midpoint -100 ticks: the seller pays 1,000,000, the buyer 150 ticks = 1,500,000, the grid company gets both.
    let mut rig = one_deal(&[], -100, -100, 1_000);
    read(&mut rig, 11, 0, 1_000);
    read(&mut rig, 12, 1_000, 0);
    assert_eq!(settled(&mut rig).0, [-1_000_000 + 10_000_000, -1_500_000, 2_500_000]);
}

#[test]
fn half_ticks_are_exact() {
    // Midpoint of 9,000 and 9,001 is 18,001 half ticks at 5 nano-points: 7 Wh cost 630,035; charge 17,500; mint 70,000.
    let mut rig = one_deal(&[], 9_000, 9_001, 7);
    read(&mut rig, 11, 0, 7);
    read(&mut rig, 12, 7, 0);
    assert_eq!(settled(&mut rig).0, [630_035 + 70_000, -630_035 - 17_500, 17_500]);
}

#[test]
fn short_buyer_pays_the_penalty_to_the_seller() {
    // 600 Wh settle: 57,000,000 and 1,500,000; 400 Wh at 5,000 ticks: 20,000,000 to the seller.
    let mut rig = one_deal(&[], 9_000, 10_000, 1_000);
    read(&mut rig, 11, 0, 1_000);
    read(&mut rig, 12, 600, 0);
    let (change, _) = settled(&mut rig);
    assert_eq!(
        change,
        [57_000_000 + 20_000_000 + 6_000_000, -58_500_000 - 20_000_000, 1_500_000]
    );
}

#[test]
fn penalty_of_the_buyer_is_capped_by_what_its_energy_holds() {
    // Midpoint 1,000 ticks: 400 Wh hold 1,250 ticks each = 5,000,000, less than the 20,000,000 of the rate.
    let mut rig = one_deal(&[], 1_000, 1_000, 1_000);
    read(&mut rig, 11, 0, 1_000);
    read(&mut rig, 12, 600, 0);
    let (change, _) = settled(&mut rig);
    assert_eq!(
        change,
        [6_000_000 + 5_000_000 + 6_000_000, -7_500_000 - 5_000_000, 1_500_000]
    );
    // At a negative price nothing is held, so nothing is owed.
    let mut rig = one_deal(&[], -2_000, -2_000, 1_000);
    read(&mut rig, 11, 0, 1_000);
    let (change, _) = settled(&mut rig);
    assert_eq!(change, [0, 0, 0]);
}

#[test]
fn short_seller_pays_the_penalty_to_the_buyer() {
    let mut rig = one_deal(&[], 9_000, 10_000, 1_000);
    read(&mut rig, 11, 0, 600);
    read(&mut rig, 12, 1_000, 0);
    let (change, _) = settled(&mut rig);
    assert_eq!(
        change,
        [57_000_000 - 20_000_000 + 6_000_000, -58_500_000 + 20_000_000, 1_500_000]
    );
}

#[test]
fn of_two_short_sides_the_shorter_pays_the_difference() {
    // 500 Wh taken, 300 delivered: 300 settle (28,500,000 and 750,000), the seller owes 200 Wh = 10,000,000.
    let mut rig = one_deal(&[], 9_000, 10_000, 1_000);
    read(&mut rig, 11, 0, 300);
    read(&mut rig, 12, 500, 0);
    let (change, _) = settled(&mut rig);
    assert_eq!(
        change,
        [28_500_000 - 10_000_000 + 3_000_000, -29_250_000 + 10_000_000, 750_000]
    );
}

#[test]
fn missing_reading_counts_as_zero() {
    let mut rig = one_deal(&[], 9_000, 10_000, 1_000);
    read(&mut rig, 12, 1_000, 0);
    let (change, events) = settled(&mut rig);
    assert_eq!(change, [-50_000_000, 50_000_000, 0]);
    let whole = |event: &Event| matches!(event, Event::Settled { settled, .. } if settled.is_zero());
    assert!(events.iter().any(whole));
    assert_eq!(
        rig.account(11).profile().locked.get(),
        MINT,
        "nothing settled unlocks nothing"
    );
    // Without any reading both allocations are zero: nobody is short of the other.
    let mut rig = one_deal(&[], 9_000, 10_000, 1_000);
    assert_eq!(settled(&mut rig).0, [0, 0, 0]);
}

#[test]
fn surplus_is_bought_at_feed_in_and_import_sold_at_retail() {
    // Seller: 1,400 - 1,000 Wh at 12,310 ticks = 49,240,000. Buyer: 1,300 - 1,000 Wh at 28,800 ticks = 86,400,000.
    let mut rig = one_deal(&[], 9_000, 10_000, 1_000);
    read(&mut rig, 11, 0, 1_400);
    read(&mut rig, 12, 1_300, 0);
    let (change, events) = settled(&mut rig);
    let expected = [
        95_000_000 + 10_000_000 + 49_240_000,
        -97_500_000 - 86_400_000,
        2_500_000 - 49_240_000 + 86_400_000,
    ];
    assert_eq!(change, expected);
    let balanced = |event: &Event| match event {
        Event::Balanced {
            side,
            energy,
            paid,
            unpaid,
            ..
        } => Some((*side, energy.get(), paid.get(), unpaid.get())),
        _ => None,
    };
    let balanced: Vec<_> = events.iter().filter_map(balanced).collect();
    assert_eq!(
        balanced,
        [(Side::Sell, 400, -49_240_000, 0), (Side::Buy, 300, 86_400_000, 0)]
    );
}

#[test]
fn import_beyond_the_free_balance_is_unpaid() {
    // A mint of 200,000,000. The seller ends with 200 + 95 + 10 million, all unlocked, and owes 576,000,000 for 2,000 Wh.
    let mut rig = one_deal(&[(Param::RegistrationMint, 200_000_000)], 9_000, 10_000, 1_000);
    read(&mut rig, 11, 2_000, 1_000);
    read(&mut rig, 12, 1_000, 0);
    // Trader 13 never settled anything: its mint stays locked and pays for no import.
    read(&mut rig, 13, 1, 0);
    let (change, events) = settled(&mut rig);
    assert_eq!(change, [-200_000_000, -97_500_000, 2_500_000 + 305_000_000]);
    let unpaid = |event: &Event| match event {
        Event::Balanced { paid, unpaid, .. } => Some((paid.get(), unpaid.get())),
        _ => None,
    };
    let unpaid: Vec<_> = events.iter().filter_map(unpaid).collect();
    assert_eq!(unpaid, [(305_000_000, 271_000_000), (0, 288_000)]);
    assert_eq!(rig.free(13), 200_000_000);
}

#[test]
fn clean_mint_stops_at_its_cap_and_begins_again_with_the_epoch() {
    let set = [(Param::CleanMintCap, 14_000_000), (Param::EpochCycles, 1)];
    let mut rig = one_deal(&set, 9_000, 9_000, 1_000);
    read(&mut rig, 11, 0, 1_000);
    read(&mut rig, 12, 1_000, 0);
    assert_eq!(settled(&mut rig).0[0], 90_000_000 + 10_000_000);
    // Two deals of 500 and 1,000 Wh: the second would mint 10,000,000 and gets what is left of the cap.
    let mut rig = Rig::new(&set, 2);
    rig.run_to(0, at::CONTRACT, true);
    rig.quotes(11, &[ask(0, 9_000, 500), ask(0, 9_000, 1_000)]);
    rig.quotes(12, &[bid(0, 9_000, 1_500)]);
    rig.sign_block();
    rig.run_to(0, at::METERING, true);
    read(&mut rig, 11, 0, 1_500);
    read(&mut rig, 12, 1_500, 0);
    let (change, events) = settled(&mut rig);
    let minted = |event: &Event| match event {
        Event::CleanMinted { minted, .. } => Some(minted.get()),
        _ => None,
    };
    assert_eq!(
        events.iter().filter_map(minted).collect::<Vec<_>>(),
        [5_000_000, 9_000_000]
    );
    assert_eq!(change[0], 135_000_000 + 14_000_000);
    let minted_before = rig.market.state().supply.minted_in_epoch;
    assert_eq!(minted_before[2], 14_000_000);
    rig.tick(at::SETTLE + 900);
    assert_eq!(rig.market.state().supply.minted_in_epoch, [0; MINTS]);
}

#[test]
fn a_deal_within_a_group_counts_for_nothing_but_its_money() {
    // Without a penalty an ask of a positive price holds nothing, which is what the second of the group has.
    let mut rig = Rig::new(&[(Param::Affiliation, 0), (Param::PenaltyRate, 0)], 0);
    for serial in [11, 12] {
        let mut member = account(serial, TRADER, AMPLE);
        member.group = Hash([9; 32]);
        let minted = rig.register(member);
        assert_eq!(minted.get(), if serial == 11 { MINT } else { 0 }, "one mint a group");
    }
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(12, Item::Quote(ask(0, 9_000, 1_000)));
    rig.ok(11, Item::Quote(bid(0, 9_000, 1_000)));
    rig.sign_block();
    assert_eq!(
        (
            rig.contract(0).deals.len(),
            rig.contract(0).trail.len(),
            rig.contract(0).low
        ),
        (1, 0, None)
    );
    rig.run_to(0, at::METERING, true);
    read(&mut rig, 11, 1_000, 0);
    read(&mut rig, 12, 0, 1_000);
    let (change, _) = settled(&mut rig);
    assert_eq!(change, [-92_500_000, 90_000_000, 2_500_000], "no clean mint");
    let events = rig.tick(at::CLOSE);
    let trades = |event: &Event| match event {
        Event::Rated { entered, traded, .. } => Some((*entered, *traded)),
        _ => None,
    };
    assert_eq!(events.iter().filter_map(trades).collect::<Vec<_>>(), [(1, 0), (1, 0)]);
}

#[test]
fn uncountersigned_deals_are_void_and_everything_is_released() {
    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(0, 9_000, 1_000)));
    rig.ok(12, Item::Quote(bid(0, 10_000, 600)));
    assert_eq!(rig.end_block().len(), 1, "the deals of the block are named");
    // The deadline itself is in time; a nanosecond later is not.
    assert!(
        !rig.tick(at::CONTRACT + 60)
            .iter()
            .any(|e| matches!(e, Event::DealVoided { .. }))
    );
    let events = rig.tick(at::CONTRACT + 61);
    assert!(matches!(events[1], Event::DealVoided { ordinal: 0, .. }));
    rig.end_block();
    assert_eq!(rig.pockets(12), [MINT, 0, 0, 0]);
    // The 400 Wh that still rest keep (9,000 is positive) the penalty reserved: 5,000 ticks.
    assert_eq!(rig.pockets(11), [MINT - 20_000_000, 20_000_000, 0, 0]);
    let position = rig.position(0, 11);
    assert_eq!((position.sold.get(), position.open_asks.get()), (0, 400));
    rig.run_to(0, at::CLOSE, true);
    assert_eq!(rig.pockets(11), [MINT, 0, 0, 0]);
    assert!(!rig.is_known(0));
}

#[test]
fn one_tick_over_a_whole_cycle_leaves_no_deal_to_sign() {
    let mut rig = Rig::new(&[], 2);
    rig.tick(at::GATE_OPENS);
    let reveals = rig.seal(
        0,
        1,
        4,
        &[(11, &[ask(0, 9_000, 1_000)]), (12, &[bid(0, 10_000, 1_000)])],
    );
    rig.tick(at::REVEAL);
    rig.reveal(&reveals);
    rig.end_block();
    let events = rig.tick(at::SETTLE + 1);
    assert_eq!(Rig::deals(&events).len(), 1);
    assert!(rig.end_block().is_empty(), "a void deal is not named for a signature");
    rig.tick(at::SETTLE + 200);
    rig.end_block();
    assert_eq!((rig.pockets(11), rig.pockets(12)), ([MINT, 0, 0, 0], [MINT, 0, 0, 0]));
    rig.run_to(0, at::CLOSE, true);
}

#[test]
fn grid_company_balances_without_readings() {
    let mut rig = Rig::new(&[], 2);
    let grid = rig.free(GRID);
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(GRID, Item::Quote(ask(0, 28_800, 5_000)));
    rig.ok(GRID, Item::Quote(bid(0, 12_310, 5_000)));
    rig.ok(12, Item::Quote(bid(0, 28_800, 700)));
    rig.ok(11, Item::Quote(ask(0, 12_310, 300)));
    rig.sign_block();
    rig.run_to(0, at::METERING, true);
    read(&mut rig, 12, 700, 0);
    read(&mut rig, 11, 0, 300);
    let (change, events) = settled(&mut rig);
    // 28,800 x 10 x 700 = 201,600,000 with a charge of 1,750,000; 12,310 x 10 x 300 = 36,930,000 with 750,000 that the grid
    // company pays to itself.
    assert_eq!(change[..2], [36_930_000 + 3_000_000, -201_600_000 - 1_750_000]);
    assert_eq!(rig.free(GRID) - grid, 201_600_000 + 1_750_000 - 36_930_000);
    assert!(!events.iter().any(|event| matches!(event, Event::Balanced { .. })));
    let shorts = |event: &Event| match event {
        Event::Settled {
            buyer_penalty,
            seller_penalty,
            ..
        } => buyer_penalty.get() + seller_penalty.get(),
        _ => 0,
    };
    assert_eq!(events.iter().map(shorts).sum::<i64>(), 0);
}

#[test]
fn allocation_follows_deal_sequence() {
    let mut rig = Rig::new(&[], 3);
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(0, 9_000, 1_000)));
    rig.ok(12, Item::Quote(bid(0, 9_000, 400)));
    rig.ok(13, Item::Quote(bid(0, 9_000, 600)));
    rig.sign_block();
    rig.run_to(0, at::METERING, true);
    read(&mut rig, 11, 0, 500);
    read(&mut rig, 12, 400, 0);
    read(&mut rig, 13, 600, 0);
    let (_, events) = settled(&mut rig);
    let parts = |event: &Event| match event {
        Event::Settled {
            settled,
            seller_penalty,
            ..
        } => Some((settled.get(), seller_penalty.get())),
        _ => None,
    };
    assert_eq!(
        events.iter().filter_map(parts).collect::<Vec<_>>(),
        [(400, 0), (100, 25_000_000)]
    );
}

/// Three contracts in flight, rounds and book, a halt, a suspension, cancels: the whole journal.
fn busy() -> Rig {
    let mut rig = Rig::new(&[(Param::Floor, 0)], 6);
    for n in 0..3u32 {
        let lift = n as i32 * 10;
        rig.round(
            n,
            1,
            4,
            &[
                (11, &[ask(n, 9_000 + lift, 1_000), ask(n, 9_400, 500)]),
                (12, &[ask(n, 9_700, 800)]),
                (13, &[bid(n, 10_000, 700)]),
                (14, &[bid(n, 9_500, 900), bid(n, 9_100, 100)]),
            ],
        );
        rig.ok(15, Item::Quote(bid(n, 9_800, 300)));
        rig.ok(16, Item::Quote(ask(n, 9_900, 250)));
        rig.sign_block();
        rig.round(n, 2, 4, &[(12, &[ask(n, 9_600, 800)]), (14, &[bid(n, 9_600, 400)])]);
        if n == 1 {
            rig.ok(REGULATOR, order_of(MarketAction::Suspend, None, 16));
            rig.ok(REGULATOR, order_of(MarketAction::Halt, Some(contract(1)), 0));
            rig.ok(REGULATOR, order_of(MarketAction::Resume, Some(contract(1)), 0));
            rig.ok(REGULATOR, order_of(MarketAction::Reinstate, None, 16));
        }
        rig.ok(15, cancel_all(Some(contract(n))));
        rig.round(n, 3, 4, &[(13, &[bid(n, 10_001, 50)])]);
        rig.run_to(n, at::GATE_CLOSES, true);
    }
    rig.run_to(1, at::DELIVERY, true);
    for n in 0..3u32 {
        rig.run_to(n, at::METERING, true);
        let mut readings = Vec::new();
        for serial in 11..=16 {
            readings.push(reading(n, 10 * serial, 0, 300 * serial - 3_000, 0));
            readings.push(reading(n, 10 * serial + 1, 0, 0, 200 * serial - 2_000));
        }
        let (_, events) = rig.send(METERS, readings);
        assert!(support::verdicts(&events).iter().all(Result::is_ok), "{events:?}");
    }
    rig.run_to(2, at::CLOSE, true);
    rig
}

#[test]
fn a_busy_day_conserves_and_replays() {
    let rig = busy();
    let deals = Rig::deals(&rig.events);
    assert!(deals.len() > 12, "{}", deals.len());
    for n in 0..3 {
        assert!(!rig.is_known(n));
        assert!(deals.iter().any(|deal| deal.contract == contract(n)));
    }
    for serial in 11..=16 {
        assert_eq!(rig.pockets(serial)[1..], [0, 0, 0], "{serial}");
    }
    let state = rig.market.state();
    assert_eq!(state.money_held(), state.supply.outstanding());
    assert_eq!(state.supply.burned, 0);
    let (events, roots) = replay(&rig.genesis, &rig.journal);
    assert_eq!(events, rig.events);
    assert_eq!(*roots.last().unwrap(), rig.root());
    assert_eq!(replay(&rig.genesis, &rig.journal), (events, roots));
}

#[test]
fn phases_follow_the_timetable() {
    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CLOSE, true);
    let phase = |event: &Event| match event {
        Event::PhaseChanged {
            contract: c,
            phase,
            round,
            time,
        } if *c == contract(0) => Some((*phase, *round, *time)),
        _ => None,
    };
    let got: Vec<_> = rig.events.iter().filter_map(phase).collect();
    let mut want = Vec::new();
    for round in 1..=3u16 {
        let base = at::GATE_OPENS + i64::from(round - 1) * at::ROUND;
        let phases = [
            Phase::Seal,
            Phase::Reveal,
            Phase::Ranked,
            Phase::Matched,
            Phase::Continuous,
        ];
        want.extend(
            phases
                .into_iter()
                .zip([0, 90, 150, 180, 210])
                .map(|(p, s)| (p, round, time(base + s))),
        );
    }
    let rest = [
        Phase::GateClosed,
        Phase::Delivering,
        Phase::Metering,
        Phase::Settled,
        Phase::Closed,
    ];
    want.extend(
        rest.into_iter()
            .zip([-300, 0, 900, 1_800, 2_100])
            .map(|(p, s)| (p, 3, time(s))),
    );
    assert_eq!(got, want);
}

fn without_ticks(events: &[Event]) -> Vec<Event> {
    events
        .iter()
        .filter(|event| !matches!(event, Event::Ticked { .. }))
        .cloned()
        .collect()
}

/// Runs `rig` over `times` Tick by Tick, and a copy in one, with no command in between. Only the Ticks themselves differ:
/// what the deals wait for (the deadline counts from the Tick that made them) is signed before the roots are compared.
fn one_or_many(rig: &Rig, times: &[i64]) {
    let (mut many, mut one) = (rig.clone(), rig.clone());
    let from = rig.events.len();
    for s in times {
        many.tick(*s);
    }
    one.tick(*times.last().unwrap());
    one.seq = many.seq;
    for rig in [&mut many, &mut one] {
        rig.sign_block();
    }
    assert_eq!(without_ticks(&many.events[from..]), without_ticks(&one.events[from..]));
    assert_eq!(many.root(), one.root());
}

#[test]
fn one_tick_is_as_good_as_many() {
    let mut rig = Rig::new(&[(Param::EpochCycles, 1), (Param::CountersignS, 3_600)], 4);
    let mut leaver = account(17, TRADER, AMPLE);
    leaver.not_after = time(at::GATE_OPENS - 1);
    rig.register(leaver);
    let borders: Vec<i64> = at::BORDERS.into_iter().chain([at::SETTLE, at::CLOSE, 9_000]).collect();
    // Nobody trades: from before the gate to long after.
    one_or_many(&rig, &borders);

    rig.tick(at::GATE_OPENS);
    let second = |s: i64| (time(s).get() / 1_000_000_000) as u32;
    let until = |quote: Quote, s: i64| Quote {
        time_in_force: TimeInForce::Until,
        valid_until_s: second(s),
        ..quote
    };
    let reveals = rig.seal(
        0,
        1,
        4,
        &[
            (11, &[ask(0, 9_000, 1_000), until(ask(0, 9_800, 10), at::MATCH - 10)]),
            (12, &[until(ask(0, 9_900, 700), at::CONTRACT + 5)]),
            (13, &[bid(0, 9_500, 1_200)]),
        ],
    );
    rig.tick(at::REVEAL);
    rig.reveal(&reveals);
    rig.end_block();
    one_or_many(&rig, &[at::RANK, at::MATCH, at::CONTRACT]);
    one_or_many(&rig, &[at::RANK, at::MATCH, at::CONTRACT, -900, -810, -750, -720, -690]);
    // Past settlement, with deals nobody could sign.
    one_or_many(&rig, &borders[2..]);

    // Deals signed, orders resting, readings in: over settlement, close and several epochs.
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(14, Item::Quote(until(bid(0, 9_100, 100), -500)));
    rig.sign_block();
    one_or_many(&rig, &borders[5..]);
    rig.run_to(0, at::METERING, true);
    read(&mut rig, 11, 0, 900);
    read(&mut rig, 13, 900, 100);
    rig.sign_block();
    one_or_many(&rig, &[1_000, at::SETTLE, 1_900, at::CLOSE, 4_000]);
}

#[test]
fn expiry_is_the_nanosecond_after_the_last_second() {
    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CONTRACT, true);
    let order = Quote {
        time_in_force: TimeInForce::Until,
        valid_until_s: (time(-980).get() / 1_000_000_000) as u32,
        ..bid(0, 9_000, 100)
    };
    rig.ok(12, Item::Quote(order));
    rig.tick(-980);
    assert_eq!(rig.contract(0).book.len(), 1);
    let after = TimeNs::new(time(-980).get() + 1);
    let events = rig.apply(Command::Tick(after)).unwrap();
    let expired = |e: &Event| {
        matches!(
            e,
            Event::Closed {
                reason: CloseReason::Expired,
                resting: true,
                ..
            }
        )
    };
    assert!(events.iter().any(expired));
    assert_eq!(rig.pockets(12), [MINT, 0, 0, 0]);
}

#[test]
fn a_valid_reveal_replaces_its_sides_and_a_void_quote_rests_nowhere() {
    let mut rig = Rig::new(&[], 2);
    rig.round(0, 1, 4, &[(11, &[ask(0, 9_000, 100), bid(0, 1_000, 50)])]);
    assert_eq!(rig.contract(0).book.len(), 2);
    let events = rig.round(0, 2, 4, &[(11, &[ask(0, 8_900, 70)])]);
    let book: Vec<(Side, i32, u64)> = {
        let book = &rig.contract(0).book;
        book.side(Side::Buy)
            .chain(book.side(Side::Sell))
            .map(|o| (o.side, o.price.get(), o.leaves.get()))
            .collect()
    };
    assert_eq!(book, [(Side::Buy, 1_000, 50), (Side::Sell, 8_900, 70)]);
    let revealed = |e: &Event| {
        matches!(
            e,
            Event::Closed {
                reason: CloseReason::Revealed,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(|e| revealed(e)).count(), 1);
}

#[test]
fn immediate_orders_of_a_round_do_not_outlive_it() {
    let ioc = |quote: Quote| Quote {
        time_in_force: TimeInForce::Ioc,
        ..quote
    };
    for halted in [false, true] {
        let mut rig = Rig::new(&[], 2);
        rig.tick(at::GATE_OPENS);
        let reveals = rig.seal(0, 1, 4, &[(11, &[ask(0, 9_000, 60)]), (12, &[ioc(bid(0, 9_500, 100))])]);
        rig.tick(at::REVEAL);
        rig.reveal(&reveals);
        rig.tick(at::RANK);
        assert_eq!(rig.contract(0).book.len(), 2);
        if halted {
            rig.ok(REGULATOR, order_of(MarketAction::Halt, None, 0));
        }
        let events = rig.tick(at::MATCH);
        rig.sign_block();
        assert_eq!(Rig::deals(&events).len(), usize::from(!halted));
        assert_eq!(rig.contract(0).book.side(Side::Buy).count(), 0, "halted: {halted}");
        assert_eq!(rig.pockets(12)[1], 0);
    }
}

#[test]
fn the_book_rests_from_rank_to_match_and_reopens_at_contract() {
    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CONTRACT, true);
    let nonce = rig.ok(11, Item::Quote(ask(0, 9_000, 100))).0;
    // SEAL and REVEAL of round 2: the book trades on.
    rig.run_to(0, at::GATE_OPENS + at::ROUND, true);
    rig.ok(12, Item::Quote(bid(0, 9_000, 40)));
    rig.sign_block();
    assert_eq!(Rig::deals(&rig.events).len(), 1);
    rig.run_to(0, at::RANK + at::ROUND, true);
    rig.refuse(12, Item::Quote(bid(0, 9_000, 10)), wattbook_types::Reject::NotInPhase);
    rig.ok(11, support::cancel(0, nonce, 0));
    rig.run_to(0, at::CONTRACT + at::ROUND, true);
    rig.ok(12, Item::Quote(bid(0, 9_000, 10)));
}

#[test]
fn a_halt_lets_only_cancels_through() {
    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CONTRACT, true);
    let nonce = rig.ok(11, Item::Quote(ask(0, 9_000, 100))).0;
    rig.ok(REGULATOR, order_of(MarketAction::Halt, Some(contract(0)), 0));
    rig.refuse(12, Item::Quote(bid(0, 9_000, 10)), wattbook_types::Reject::Halted);
    rig.ok(11, support::cancel(0, nonce, 0));
    // Resuming the area does not resume the contract.
    rig.ok(REGULATOR, order_of(MarketAction::Resume, None, 0));
    rig.refuse(12, Item::Quote(bid(0, 9_000, 10)), wattbook_types::Reject::Halted);
    rig.ok(REGULATOR, order_of(MarketAction::Resume, Some(contract(0)), 0));
    rig.ok(12, Item::Quote(bid(0, 9_000, 10)));
}

#[test]
fn suspension_closes_orders_and_voids_the_reveal_without_burning() {
    let mut rig = Rig::new(&[], 2);
    rig.round(0, 1, 4, &[(11, &[ask(0, 9_000, 100)])]);
    rig.tick(at::GATE_OPENS + at::ROUND);
    let reveals = rig.seal(0, 2, 4, &[(11, &[ask(0, 8_900, 100)])]);
    let (_, events) = rig.ok(REGULATOR, order_of(MarketAction::Suspend, None, 11));
    let suspended = |e: &Event| {
        matches!(
            e,
            Event::Closed {
                reason: CloseReason::Suspended,
                ..
            }
        )
    };
    assert!(events.iter().any(suspended) && rig.contract(0).book.is_empty());
    rig.tick(at::REVEAL + at::ROUND);
    rig.reveal(&reveals);
    rig.tick(at::RANK + at::ROUND);
    rig.end_block();
    assert_eq!(rig.pockets(11), [MINT, 0, 0, 0]);
    assert!(rig.contract(0).book.is_empty() && rig.market.state().supply.burned == 0);
}

#[test]
fn a_replace_keeps_its_place_on_the_same_price_and_not_more_energy() {
    let mut rig = Rig::new(&[(Param::Concession, 0)], 3);
    rig.run_to(0, at::CONTRACT, true);
    let first = rig.ok(11, Item::Quote(ask(0, 9_000, 100))).0;
    rig.ok(12, Item::Quote(ask(0, 9_000, 100)));
    let (kept, events) = rig.ok(11, support::replace(0, first, 0, 9_000, 60));
    assert!(matches!(events[1], Event::Reduced { leaves, .. } if leaves == Energy::new(60)));
    let owners = |rig: &Rig| -> Vec<u64> {
        rig.contract(0)
            .book
            .side(Side::Sell)
            .map(|o| o.id.participant.get())
            .collect()
    };
    assert_eq!(owners(&rig), [11, 12]);
    assert_eq!(rig.pockets(11)[1], 60 * 5_000 * 10);
    let (lost, _) = rig.ok(11, support::replace(0, kept, 0, 9_000, 61));
    assert_eq!(owners(&rig), [12, 11]);
    rig.ok(11, support::replace(0, lost, 0, 8_999, 61));
    assert_eq!(owners(&rig), [11, 12]);
    assert_eq!(rig.position(0, 11).open_asks.get(), 61);
    // An order under its old name is gone.
    rig.refuse(
        11,
        support::replace(0, first, 0, 8_000, 1),
        wattbook_types::Reject::UnknownOrder,
    );
}

#[test]
fn parameters_change_at_the_next_gate_and_running_cycles_keep_theirs() {
    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CONTRACT, true);
    let set = |param: Param, value| {
        Item::Configure(wattbook_types::command::Configure {
            param: param as u32,
            value,
        })
    };
    let hash = rig.market.state().params.digest(rig.genesis.chain);
    rig.send(REGULATOR, vec![set(Param::C1, 400), set(Param::DealPrice, 1)]);
    assert_eq!(rig.market.state().params.digest(rig.genesis.chain), hash);
    rig.run_to(1, at::GATE_OPENS, true);
    assert!(
        rig.events
            .iter()
            .any(|e| matches!(e, Event::ParamsInForce { params_hash } if *params_hash != hash))
    );
    assert_eq!(rig.contract(0).params.get(Param::C1), 100);
    assert_eq!(rig.contract(1).params.get(Param::C1), 400);
    // A charge of 550 ticks exceeds the default cap of 300: unmatchable, yet it rests.
    rig.run_to(1, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(1, 9_000, 100)));
    rig.ok(12, Item::Quote(bid(1, 9_500, 100)));
    let generous = Quote {
        charge_cap: 550,
        ..bid(1, 9_500, 100)
    };
    let (_, events) = rig.ok(12, Item::Quote(generous));
    let [deal] = Rig::deals(&events)[..] else {
        panic!("one deal: {events:?}");
    };
    assert_eq!((deal.price, deal.charges), (DealPrice::new(19_000), [400, 100, 50, 0]));
}

#[test]
fn moved_gates_open_in_order_and_none_is_lost() {
    let configure = |param: Param, value| {
        Item::Configure(wattbook_types::command::Configure {
            param: param as u32,
            value,
        })
    };
    for opens in [1_200i64, 1_300, 2_400, 5_000, 86_400] {
        let mut rig = Rig::new(&[], 2);
        rig.run_to(0, at::CONTRACT, true);
        rig.ok(REGULATOR, configure(Param::GateOpenS, opens));
        for s in (-900..6_000).step_by(150) {
            rig.tick(s);
            rig.end_block();
        }
        let opened = |event: &Event| match event {
            Event::PhaseChanged {
                contract,
                phase: Phase::Seal,
                round: 1,
                ..
            } => Some(contract.period()),
            _ => None,
        };
        let opened: Vec<u32> = rig.events.iter().filter_map(opened).collect();
        assert!(opened.windows(2).all(|w| w[1] == w[0] + 1), "{opens}: {opened:?}");
        assert!(opened.len() >= 6);
    }
}

#[test]
fn all_in_bids_need_twice_the_charge() {
    let mut rig = Rig::new(&[(Param::AllInBids, 1)], 2);
    rig.run_to(0, at::CONTRACT, true);
    rig.ok(11, Item::Quote(ask(0, 9_000, 100)));
    rig.ok(12, Item::Quote(bid(0, 9_499, 10)));
    assert!(Rig::deals(&rig.events).is_empty());
    rig.ok(12, Item::Quote(bid(0, 9_500, 10)));
    assert_eq!(Rig::deals(&rig.events)[0].price, DealPrice::new(18_500));
}

#[test]
fn cep_tops_up_from_the_last_cycle_and_keeps_to_its_count() {
    let mut rig = Rig::new(&[(Param::CepDeals, 3), (Param::CepNum, 1), (Param::CepDen, 1)], 2);
    rig.run_to(0, at::CONTRACT, true);
    for price in [9_000, 9_100, 9_200, 9_300] {
        rig.ok(12, Item::Quote(bid(0, price, 100)));
        rig.ok(11, Item::Quote(ask(0, 9_000, 100)));
    }
    // Deals at 9,000, 9,050, 9,100, 9,150 ticks: the last three average 91 points.
    rig.sign_block();
    let set = |param: Param, value| {
        Item::Configure(wattbook_types::command::Configure {
            param: param as u32,
            value,
        })
    };
    rig.ok(REGULATOR, set(Param::CepDeals, 2));
    rig.run_to(1, at::GATE_OPENS, true);
    assert_eq!(rig.contract(0).cep.map(|p| p.get()), Some(91_000_000));
    assert_eq!(rig.contract(1).previous_cep.map(|p| p.get()), Some(91_000_000));
    // Two deals now: 9,100 and 9,150.
    rig.run_to(1, at::CONTRACT, true);
    assert_eq!(rig.contract(1).cep.map(|p| p.get()), Some(91_250_000));
    rig.ok(12, Item::Quote(bid(1, 9_500, 100)));
    rig.ok(11, Item::Quote(ask(1, 9_500, 100)));
    rig.sign_block();
    rig.run_to(1, at::GATE_CLOSES, true);
    // 9,150 topped up with 9,500.
    assert_eq!(rig.contract(1).cep.map(|p| p.get()), Some(93_250_000));
}

#[test]
fn price_type_ends_do_not_overflow() {
    let set = [
        (Param::PriceBound, 2_147_483_647),
        (Param::EnergyMax, 4_294_967_295),
        (Param::Range, 0),
    ];
    let mut rig = Rig::new(&set, 2);
    rig.run_to(0, at::CONTRACT, true);
    for price in [i32::MIN, i32::MIN + 1, -999_900, 0, 999_900, i32::MAX] {
        for wh in [1, 4_000_000_000, 4_294_967_295, u64::MAX] {
            for side in [Side::Buy, Side::Sell] {
                let quote = Quote {
                    price: Price::new(price),
                    charge_cap: i32::MAX,
                    ..support::quote(contract(0), side, 0, wh)
                };
                for serial in [11, 12, GRID] {
                    rig.send(serial, vec![Item::Quote(quote)]);
                }
            }
        }
    }
    rig.sign_block();
    rig.run_to(0, at::CLOSE, true);
    assert_eq!(rig.pockets(11)[1..], [0, 0, 0]);
}
