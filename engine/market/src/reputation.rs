//! Reputation (Eq 4, pooled over a window) and the ranking at gate opening (MARKET 3.1, 3.2; DETAILS 5).

use std::collections::{BTreeMap, VecDeque};
use wattbook_types::units::PPM_ONE;
use wattbook_types::{ParticipantId, Ppm};

/// What one closed cycle adds to a participant's record, both sides together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CycleRecord {
    /// Ordinal of the closed cycle.
    pub cycle: u64,
    /// Sides on which an order of at least the minimum lot was accepted: B.
    pub entered: u32,
    /// Sides on which such an order had an out-of-group contract: T, by counterparty group (0: several).
    pub traded: Vec<Traded>,
    /// Whether a sealed commitment was declined.
    pub declined: bool,
}

/// One side of one cycle that had a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traded {
    /// The only counterparty group, or 0 if there were several.
    pub counterparty: u64,
    /// Whether it was rated good.
    pub good: bool,
}

/// G, T, B and declined cycles over the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Rated good.
    pub good: u32,
    /// Had a fill.
    pub traded: u32,
    /// Entered.
    pub entered: u32,
    /// Declined cycles.
    pub declined: u32,
}

/// The last W closed cycles of a participant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Window {
    records: VecDeque<CycleRecord>,
}

impl Window {
    /// Adds a closed cycle and drops what lies `window` cycles or more behind it.
    pub fn push(&mut self, record: CycleRecord, window: u64) {
        let cycle = record.cycle;
        if record.entered > 0 || record.declined {
            self.records.push_back(record);
        }
        self.expire(cycle, window);
    }

    /// The window of these records, oldest first.
    pub(crate) fn restore(records: Vec<CycleRecord>) -> Self {
        Self {
            records: records.into(),
        }
    }

    /// Whether something lies outside the window that ends at `cycle`.
    pub fn expires(&self, cycle: u64, window: u64) -> bool {
        self.records.front().is_some_and(|r| r.cycle + window <= cycle)
    }

    /// Drops what lies outside the window that ends at `cycle`.
    pub fn expire(&mut self, cycle: u64, window: u64) {
        while self.expires(cycle, window) {
            self.records.pop_front();
        }
    }

    /// The records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &CycleRecord> {
        self.records.iter()
    }

    /// Pools the window. With `share_rule` one counterparty group counts for at most a fifth of T (at least one), with
    /// its G; the newest beyond that are dropped.
    pub fn counts(&self, share_rule: bool) -> Counts {
        let mut counts = Counts::default();
        let all = self.records.iter().map(|r| r.traded.len() as u32).sum::<u32>();
        let most = (all / 5).max(1);
        let mut by_group: BTreeMap<u64, u32> = BTreeMap::new();
        for record in &self.records {
            counts.entered += record.entered;
            counts.declined += u32::from(record.declined);
            for traded in &record.traded {
                if share_rule && traded.counterparty != 0 {
                    let seen = by_group.entry(traded.counterparty).or_insert(0);
                    *seen += 1;
                    if *seen > most {
                        continue;
                    }
                }
                counts.traded += 1;
                counts.good += u32::from(traded.good);
            }
        }
        counts
    }
}

/// Eq 4 with pseudo-counts: `1/2 ((G+a)/(T+2a) + (T+a)/(B+2a))` in ppm, floored; `a = 1` is the Laplace prior.
///
/// Returns 0 where a denominator is zero, which `a = 1` rules out.
pub fn eq4_ppm(good: u32, traded: u32, entered: u32, prior: u32) -> Ppm {
    let widened = |count: u32, priors: u32| u128::from(count) + u128::from(priors) * u128::from(prior);
    let (g, t, b) = (widened(good, 1), widened(traded, 2), widened(entered, 2));
    let u = widened(traded, 1);
    match (u128::from(PPM_ONE) * (g * b + u * t)).checked_div(2 * t * b) {
        // BOUND: G <= T <= B, so R <= 1.
        Some(ppm) => Ppm::new(ppm as u32),
        None => Ppm::ZERO,
    }
}

/// R of a window: Eq 4 with the prior, less the penalty of declined cycles, at least zero.
pub fn reputation(counts: Counts, decline_penalty: u32) -> Ppm {
    let base = eq4_ppm(counts.good, counts.traded, counts.entered, 1);
    Ppm::new(
        base.get()
            .saturating_sub(decline_penalty.saturating_mul(counts.declined)),
    )
}

/// Percentiles by descending R (ties: larger T, then earlier registration, then the lower serial, which tells genesis
/// accounts apart): `floor(1e6 (rank - 1) / P)`.
///
/// `active` is `(participant, R, T, registration sequence)`.
pub fn percentiles(mut active: Vec<(ParticipantId, Ppm, u32, u64)>) -> Vec<(ParticipantId, Ppm, Ppm)> {
    active.sort_unstable_by_key(|&(who, r, t, registered)| {
        (core::cmp::Reverse(r), core::cmp::Reverse(t), registered, who)
    });
    let p = active.len() as u64;
    let place = |i: usize| Ppm::new((u64::from(PPM_ONE) * i as u64 / p.max(1)) as u32);
    active
        .iter()
        .enumerate()
        .map(|(i, &(participant, r, _, _))| (participant, r, place(i)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eq4_check_values() {
        assert_eq!(eq4_ppm(8, 10, 16, 0), Ppm::new(712_500));
        assert_eq!(eq4_ppm(0, 0, 0, 1), Ppm::new(500_000));
        assert_eq!(eq4_ppm(30, 30, 30, 1), Ppm::new(968_750));
    }

    #[test]
    fn window_forgets_and_one_group_counts_for_a_fifth() {
        let mut window = Window::default();
        for cycle in 0..40 {
            let traded = vec![Traded {
                counterparty: 7,
                good: true,
            }];
            window.push(
                CycleRecord {
                    cycle,
                    entered: 1,
                    traded,
                    declined: cycle % 2 == 0,
                },
                30,
            );
        }
        let all = window.counts(false);
        assert_eq!(
            all,
            Counts {
                good: 30,
                traded: 30,
                entered: 30,
                declined: 15
            }
        );
        assert_eq!(
            window.counts(true),
            Counts {
                good: 6,
                traded: 6,
                ..all
            }
        );
        assert_eq!(reputation(all, 20_000), Ppm::new(968_750 - 300_000));
    }

    #[test]
    fn ranking_breaks_ties_by_trades_then_registration() {
        let id = ParticipantId::new;
        let r = Ppm::new;
        let ranked = percentiles(vec![
            (id(1), r(5), 1, 9),
            (id(2), r(5), 1, 8),
            (id(3), r(5), 2, 10),
            (id(4), r(9), 0, 11),
        ]);
        let order: Vec<(u64, u32)> = ranked
            .iter()
            .map(|(p, _, percentile)| (p.get(), percentile.get()))
            .collect();
        assert_eq!(order, [(4, 0), (3, 250_000), (2, 500_000), (1, 750_000)]);
    }
}
