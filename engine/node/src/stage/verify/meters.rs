//! What verify counts for its operator.

use crate::metrics::{Counter, Gauge, Metrics};
use crate::stage::{Checked, Outcome};
use wattbook_shaders::{Route, Stats, Verdict};
use wattbook_types::Reject;

/// The stage's metrics.
#[derive(Debug)]
pub(super) struct Meters {
    batches: Vec<Counter>,
    signatures: Vec<Counter>,
    refused: Vec<Counter>,
    envelopes: Vec<Counter>,
    pairings: Vec<Counter>,
    bisections: Counter,
    overlapped: Counter,
    devices_lost: Counter,
    suspended: Counter,
    suspects: Gauge,
    costs: [Gauge; 4],
    /// What was counted so far: of everybody's envelopes, and of suspects'.
    seen: [Stats; 2],
}

impl Meters {
    /// Registers them.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let paths = [Route::OneByOne, Route::Batch, Route::Gpu].map(Route::name);
        let lanes = ["shared", "suspect"];
        let cost = |path: &str| {
            metrics.gauge(
                &format!("wattbook_verify_{path}_cost_ns"),
                "What a signature of a full batch of 16 keys cost on this path when the node started; 0: not measured",
            )
        };
        let short_cost = metrics.gauge(
            "wattbook_verify_short_batch_cost_ns",
            "What a signature of a batch of 16 by as many keys cost on the CPU when the node started; 0: not measured",
        );
        let [one_by_one, batch, gpu] = paths.map(cost);
        let costs = [one_by_one, batch, gpu, short_cost];
        Self {
            batches: metrics.counters("wattbook_verify_batches", "Batches with signatures", "path", &paths),
            signatures: metrics.counters("wattbook_verify_signatures", "Signatures checked", "path", &paths),
            refused: metrics.counters(
                "wattbook_verify_refused",
                "Envelopes refused",
                "why",
                &Verdict::REFUSALS,
            ),
            envelopes: metrics.counters("wattbook_verify_envelopes", "Envelopes judged", "lane", &lanes),
            pairings: metrics.counters("wattbook_verify_pairings", "Miller loops", "lane", &lanes),
            bisections: metrics.counter("wattbook_verify_bisections", "Splits of batches that failed"),
            overlapped: metrics.counter(
                "wattbook_verify_overlapped",
                "Batches that a device began while it had another",
            ),
            devices_lost: metrics.counter("wattbook_verify_devices_lost", "Devices lost"),
            suspended: metrics.counter(
                "wattbook_verify_suspended",
                "Envelopes answered SessionSuspended: over the budget of bad signatures, or too many of suspects",
            ),
            suspects: metrics.gauge(
                "wattbook_verify_suspect_sessions",
                "Sessions verified apart from the others",
            ),
            costs,
            seen: [Stats::default(); 2],
        }
    }

    /// Shows what paths cost, ns a signature: the three of a full batch, then the CPU's of a short one.
    pub(super) fn show_costs(&self, costs: [Option<u64>; 4]) {
        for (gauge, cost) in self.costs.iter().zip(costs) {
            gauge.set(cost.and_then(|ns| i64::try_from(ns).ok()).unwrap_or(0));
        }
    }

    /// Counts what was done since the last time, with everybody's envelopes and with suspects'.
    pub(super) fn take(&mut self, shared: &Stats, suspect: &Stats) {
        for (lane, now) in [*shared, *suspect].into_iter().enumerate() {
            let seen = core::mem::replace(&mut self.seen[lane], now);
            let add = |counters: &[Counter], now: &[u64], seen: &[u64]| {
                for ((counter, now), seen) in counters.iter().zip(now).zip(seen) {
                    counter.inc_by(now - seen);
                }
            };
            add(&self.batches, &now.batches_routed, &seen.batches_routed);
            add(&self.signatures, &now.routed, &seen.routed);
            add(&self.refused, &now.refused, &seen.refused);
            self.envelopes[lane].inc_by(now.envelopes - seen.envelopes);
            self.pairings[lane].inc_by(now.pairings - seen.pairings);
            self.bisections.inc_by(now.bisections - seen.bisections);
            self.overlapped.inc_by(now.overlapped - seen.overlapped);
            self.devices_lost.inc_by(now.devices_lost - seen.devices_lost);
        }
    }

    /// Counts what sessions are told.
    pub(super) fn see(&self, outcomes: &[Checked], suspects: usize) {
        let is_suspended = |checked: &&Checked| {
            matches!(
                checked.outcome,
                Outcome::Refused {
                    reject: Reject::SessionSuspended,
                    ..
                }
            )
        };
        self.suspended
            .inc_by(outcomes.iter().filter(is_suspended).count() as u64);
        self.suspects.set(i64::try_from(suspects).unwrap_or(i64::MAX));
    }
}
