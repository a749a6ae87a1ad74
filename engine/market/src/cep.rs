//! Competitive equilibrium price: deal prices weighted by recency (MARKET 4.3).

use wattbook_types::{DealPrice, Energy, MicroPrice, Param, Params, Price};

/// Weight of the newest deal; an older one weighs `floor(newer x den / num)`.
const NEWEST_WEIGHT: u64 = 1 << 62;

/// Ratio of a deal's weight to the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ratio {
    /// Numerator.
    pub num: u64,
    /// Denominator.
    pub den: u64,
}

/// Rounds `sum / weight` half up, towards positive infinity.
fn round_half_up(sum: i128, weight: i128) -> MicroPrice {
    let rounded = (2 * sum + weight).div_euclid(2 * weight);
    MicroPrice::new(i64::try_from(rounded).unwrap_or(i64::MAX))
}

/// `E = sum(w_i p_i)` over deals, oldest first; `None` without deals.
pub fn by_recency(deals: &[(DealPrice, Energy)], ratio: Ratio) -> Option<MicroPrice> {
    let (mut weight, mut weights, mut sum) = (NEWEST_WEIGHT, 0i128, 0i128);
    for (price, _) in deals.iter().rev() {
        // BOUND: |price| < 2^34 half ticks = 2^47 micro, weight <= 2^62, at most 1,000 deals (more weight with b < 1 is
        // capped): the sum stays below 2^120.
        weights += i128::from(weight);
        sum += i128::from(weight) * i128::from(price.to_micro().get());
        let older = u128::from(weight) * u128::from(ratio.den) / u128::from(ratio.num.max(1));
        weight = u64::try_from(older).unwrap_or(NEWEST_WEIGHT).min(NEWEST_WEIGHT);
    }
    (weights > 0).then(|| round_half_up(sum, weights))
}

/// The same deals weighted by energy; `None` without energy.
pub fn by_volume(deals: &[(DealPrice, Energy)]) -> Option<MicroPrice> {
    let energy: i128 = deals.iter().map(|(_, e)| i128::from(e.get())).sum();
    let sum: i128 = deals
        .iter()
        .map(|(p, e)| i128::from(p.to_micro().get()) * i128::from(e.get()))
        .sum();
    (energy > 0).then(|| round_half_up(sum, energy))
}

/// The weight ratio b in force.
///
/// With `cep_adaptive` it grows with the three factors the paper names, which gives no formula: `b = 1 + (activity +
/// surprise) / 8`, activity = this cycle's deals over n (at most 1), surprise = the distance of the highest quote from
/// last cycle's CEP, relative to that CEP (at most 1). A busy or jumpy market forgets faster.
pub fn ratio(params: &Params, deals: usize, highest_quote: Option<Price>, previous: Option<MicroPrice>) -> Ratio {
    if !params.on(Param::CepAdaptive) {
        return Ratio {
            num: params.get(Param::CepNum) as u64,
            den: params.get(Param::CepDen) as u64,
        };
    }
    const ONE: u64 = 1_000_000;
    let activity = (deals as u64 * ONE / params.get(Param::CepDeals) as u64).min(ONE);
    let surprise = match (highest_quote, previous) {
        (Some(highest), Some(previous)) if previous.get() != 0 => {
            let distance = highest.to_deal_price().to_micro().get().abs_diff(previous.get());
            (u128::from(distance) * u128::from(ONE) / u128::from(previous.get().unsigned_abs())).min(u128::from(ONE))
                as u64
        }
        _ => 0,
    };
    Ratio {
        num: ONE + (activity + surprise) / 8,
        den: ONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deals(points: &[i32]) -> Vec<(DealPrice, Energy)> {
        points
            .iter()
            .map(|p| (Price::new(p * 100).to_deal_price(), Energy::new(1)))
            .collect()
    }

    #[test]
    fn check_values() {
        let table = deals(&[90, 95, 97, 100]);
        for (num, den, micro) in [(1, 1, 95_500_000), (5, 4, 96_368_564), (10, 9, 95_917_418)] {
            assert_eq!(
                by_recency(&table, Ratio { num, den }),
                Some(MicroPrice::new(micro)),
                "b = {num}/{den}"
            );
        }
        assert_eq!(by_volume(&table), Some(MicroPrice::new(95_500_000)));
        assert_eq!(by_recency(&[], Ratio { num: 1, den: 1 }), None);
    }

    #[test]
    fn negative_prices_round_half_up() {
        let pair = [
            (DealPrice::new(-1), Energy::new(1)),
            (DealPrice::new(0), Energy::new(1)),
        ];
        assert_eq!(
            by_recency(&pair, Ratio { num: 1, den: 1 }),
            Some(MicroPrice::new(-2_500))
        );
        assert_eq!(round_half_up(-3, 2), MicroPrice::new(-1));
        assert_eq!(round_half_up(3, 2), MicroPrice::new(2));
    }

    #[test]
    fn adaptive_ratio_stays_within_its_bounds() {
        let mut params = Params::default();
        assert!(params.set(Param::CepAdaptive, 1));
        assert_eq!(
            ratio(&params, 0, None, None),
            Ratio {
                num: 1_000_000,
                den: 1_000_000
            }
        );
        let jumpy = ratio(&params, 500, Some(Price::new(99_999)), Some(MicroPrice::new(1)));
        assert_eq!(
            jumpy,
            Ratio {
                num: 1_250_000,
                den: 1_000_000
            }
        );
    }
}
