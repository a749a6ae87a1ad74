//! The 300 rounds of the reference implementation (`tests/golden/rounds.json`).

use serde::Deserialize;
use wattbook_market::round::{self, Owner, RoundOrder, Rules};
use wattbook_types::{DealPriceRule, Energy, MicroPrice, Ppm, Price, RangeMode, Side};

#[derive(Deserialize)]
struct Case {
    orders: Vec<(String, String, i32, u64, u32)>,
    mode: String,
    deal_price: String,
    reference: Option<i64>,
    result: Expected,
}

#[derive(Deserialize)]
struct Expected {
    deals: Vec<(String, String, i64, u64)>,
    price: Option<i32>,
    volume: u64,
}

#[test]
fn golden_rounds() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/rounds.json")).expect("golden file");
    assert_eq!(cases.len(), 300);
    for (number, case) in cases.iter().enumerate() {
        let mut by_rank: Vec<usize> = (0..case.orders.len()).collect();
        by_rank.sort_by_key(|&i| (case.orders[i].4, i));
        let mut owners = vec![
            Owner {
                priority: 0,
                percentile: Ppm::ZERO,
                group: 0
            };
            case.orders.len()
        ];
        for (priority, &i) in by_rank.iter().enumerate() {
            owners[i] = Owner {
                priority: priority as u32,
                percentile: Ppm::new(case.orders[i].4),
                group: i as u32,
            };
        }
        let orders: Vec<RoundOrder> = case
            .orders
            .iter()
            .enumerate()
            .map(|(i, o)| RoundOrder {
                owner: i as u32,
                side: if o.1 == "B" { Side::Buy } else { Side::Sell },
                price: Price::new(o.2),
                energy: Energy::new(o.3),
                min_fill: Energy::ZERO,
                index: 0,
                spare_rank: i as u32,
                charge_covered: true,
            })
            .collect();
        let rules = Rules {
            range: RangeMode::ALL
                .into_iter()
                .find(|m| m.name() == case.mode)
                .expect("mode"),
            deal_price: DealPriceRule::ALL
                .into_iter()
                .find(|m| m.name() == case.deal_price)
                .expect("rule"),
            reference: case.reference.map(|ticks| MicroPrice::new(ticks * 10_000)),
            spread_min: 0,
        };
        let places = round::rank(&owners, &orders);
        let got = round::clear(&owners, &orders, &places, rules);
        let deals: Vec<(String, String, i64, u64)> = got
            .deals
            .iter()
            .map(|d| {
                (
                    case.orders[d.buy].0.clone(),
                    case.orders[d.sell].0.clone(),
                    d.price.get(),
                    d.energy.get(),
                )
            })
            .collect();
        assert_eq!(deals, case.result.deals, "case {number}");
        assert_eq!(got.price.map(|p| p.get()), case.result.price, "case {number}");
        assert_eq!(
            got.deals.iter().map(|d| d.energy.get()).sum::<u64>(),
            case.result.volume,
            "case {number}"
        );
    }
}
