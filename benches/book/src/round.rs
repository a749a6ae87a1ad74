//! One sealed round of many quotes, ranges on: `round/200k`, `round/2m`.

#![expect(clippy::float_arithmetic, reason = "figures of a measurement, not state")]

use crate::flow::{OWNERS, Rng};
use crate::measure::timed;
use crate::report::Figure;
use std::time::Duration;
use wattbook_market::round::{self, Owner, RoundOrder, Rules};
use wattbook_types::{DealPriceRule, Energy, Ppm, Price, RangeMode, Side};

/// Names and lengths, ascending.
const ROWS: [(&str, u32); 2] = [("round/200k", 200_000), ("round/2m", 2_000_000)];
/// A row is left out where the one before took longer than this for its tenth.
const BEFORE_MAX: Duration = Duration::from_secs(10);
const MID: i32 = 50_000;
/// Bids and asks both spread this far about the middle, ticks.
const SPREAD: u32 = 1_000;

fn orders(len: u32, seed: u64) -> Vec<RoundOrder> {
    let mut rng = Rng::new(seed);
    (0..len)
        .map(|i| RoundOrder {
            owner: rng.below(OWNERS.into()),
            side: if rng.below(2) == 0 { Side::Buy } else { Side::Sell },
            price: Price::new(MID - SPREAD as i32 / 2 + rng.below(SPREAD) as i32),
            energy: Energy::new(1 + u64::from(rng.below(1_000))),
            min_fill: Energy::ZERO,
            index: i,
            spare_rank: i,
            charge_covered: true,
        })
        .collect()
}

/// Figures of the rounds, at most `runs` each, and a note on each row that had to be left out.
pub(crate) fn figures(percentiles: &[u32], runs: usize) -> (Vec<Figure>, Vec<String>) {
    let owners: Vec<Owner> = (0..)
        .zip(percentiles)
        .map(|(i, percentile)| Owner {
            priority: i,
            percentile: Ppm::new(*percentile),
            group: i,
        })
        .collect();
    let rules = Rules {
        range: RangeMode::Either,
        deal_price: DealPriceRule::Midpoint,
        reference: None,
        spread_min: 0,
    };
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    let mut before = Duration::ZERO;
    for (bench, len) in ROWS {
        if before > BEFORE_MAX {
            notes.push(format!("{bench} left out: a tenth of it took {} s", before.as_secs()));
            continue;
        }
        let orders = orders(len, len.into());
        let mut deals = 0;
        let mut elapsed: Vec<[Duration; 2]> = Vec::new();
        for _ in 0..runs {
            let mut places = Vec::new();
            let ranked = timed(|| places = round::rank(&owners, &orders));
            let cleared = timed(|| deals = round::clear(&owners, &orders, &places, rules).deals.len());
            elapsed.push([ranked, cleared]);
            if ranked + cleared > BEFORE_MAX {
                break;
            }
        }
        let median = |of: fn(&[Duration; 2]) -> Duration| {
            let mut samples: Vec<Duration> = elapsed.iter().map(of).collect();
            samples.sort_unstable();
            samples[samples.len() / 2]
        };
        before = median(|[ranked, cleared]| *ranked + *cleared);
        let mut put = |metric: &str, value: f64, unit| {
            figures.push(Figure {
                bench: bench.to_owned(),
                metric: metric.to_owned(),
                value,
                unit,
                ratio: None,
                samples: elapsed.len(),
            });
        };
        put("quotes", f64::from(len) / before.as_secs_f64(), "1/s");
        put("rank", median(|[ranked, _]| *ranked).as_secs_f64() * 1e3, "ms");
        put("clear", median(|[_, cleared]| *cleared).as_secs_f64() * 1e3, "ms");
        put("deals", deals as f64, "1");
    }
    (figures, notes)
}
