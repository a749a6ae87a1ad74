//! Interleaved runs, and latencies by class of operation.
//!
//! # Contract
//! * The contenders of a flow run in turn, A B A B, so that a slow moment of the machine falls on all of them; what is
//!   compared are medians.
//! * A contender sets up and prefills before it starts its clock; the flow was generated before all of them.
//! * Latencies come from a pass of their own, two clock readings an operation, the readings' own cost included and known.
//!   They are as fine as the processor's counter: on Zen it moves in steps of about 10 ns.

#![expect(clippy::float_arithmetic, reason = "figures of a measurement, not state")]

use crate::flow::{Op, Totals};
use quanta::Clock;
use std::time::{Duration, Instant};

/// Percentiles shown and recorded.
pub(crate) const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    /// Trades and volume, prefill included; the hash is not looked at.
    pub(crate) totals: Totals,
}

/// Times `work`.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// An engine on a flow.
pub(crate) struct Contender<'a> {
    /// Name of the row.
    pub(crate) row: &'static str,
    /// Operations under the clock.
    pub(crate) len: usize,
    /// Trades and volume of a right book; the run is compared with them.
    pub(crate) expected: Totals,
    pub(crate) run: Box<dyn FnMut() -> Run + 'a>,
    pub(crate) latencies: Box<dyn FnMut(&mut Latencies) + 'a>,
}

/// What came of a contender.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) row: &'static str,
    pub(crate) len: usize,
    /// Nanoseconds an operation, one a run, ascending.
    pub(crate) op_ns: Vec<f64>,
    /// Of the last run.
    pub(crate) totals: Totals,
    pub(crate) expected: Totals,
    /// By class; empty where nothing was measured.
    pub(crate) latency_ns: [Vec<u64>; 3],
}

impl Measured {
    /// Whether trades and volume are those of a right book.
    pub(crate) fn is_right(&self) -> bool {
        (self.totals.trades, self.totals.volume) == (self.expected.trades, self.expected.volume)
    }

    pub(crate) fn median_ns(&self) -> f64 {
        self.op_ns[self.op_ns.len() / 2]
    }

    pub(crate) fn least_ns(&self) -> f64 {
        self.op_ns[0]
    }

    pub(crate) fn greatest_ns(&self) -> f64 {
        self.op_ns[self.op_ns.len() - 1]
    }
}

/// Runs the contenders in turn, `runs` times after a first turn that only warms up.
pub(crate) fn interleaved(contenders: &mut [Contender<'_>], runs: usize, clock: &Clock) -> Vec<Measured> {
    let mut measured: Vec<Measured> = contenders
        .iter()
        .map(|contender| Measured {
            row: contender.row,
            len: contender.len,
            op_ns: Vec::new(),
            totals: contender.expected,
            expected: contender.expected,
            latency_ns: Default::default(),
        })
        .collect();
    for turn in 0..=runs {
        for (contender, measured) in contenders.iter_mut().zip(&mut measured) {
            let run = (contender.run)();
            measured.totals = run.totals;
            if turn > 0 {
                measured
                    .op_ns
                    .push(run.elapsed.as_nanos() as f64 / contender.len as f64);
            }
        }
    }
    for (contender, measured) in contenders.iter_mut().zip(&mut measured) {
        measured.op_ns.sort_unstable_by(f64::total_cmp);
        let mut latencies = Latencies::new(clock, contender.len);
        (contender.latencies)(&mut latencies);
        measured.latency_ns = latencies.nanos();
    }
    measured
}

/// Readings around every operation, by class.
pub(crate) struct Latencies {
    clock: Clock,
    /// Ticks of the clock.
    ticks: [Vec<u32>; 3],
}

impl Latencies {
    fn new(clock: &Clock, len: usize) -> Self {
        Self {
            clock: clock.clone(),
            ticks: [const { Vec::new() }; 3].map(|mut ticks: Vec<u32>| {
                ticks.reserve_exact(len);
                ticks
            }),
        }
    }

    /// Applies every operation between two readings.
    #[inline(always)]
    pub(crate) fn of(&mut self, ops: &[Op], mut apply: impl FnMut(&Op)) {
        for op in ops {
            let before = self.clock.raw();
            apply(op);
            let after = self.clock.raw();
            let ticks = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
            self.ticks[op.class as usize].push(ticks);
        }
    }

    /// Nanoseconds, ascending.
    fn nanos(self) -> [Vec<u64>; 3] {
        let clock = self.clock;
        self.ticks.map(|ticks| {
            let mut nanos: Vec<u64> = ticks
                .into_iter()
                .map(|ticks| clock.delta_as_nanos(0, u64::from(ticks)))
                .collect();
            nanos.sort_unstable();
            nanos
        })
    }
}

/// Readings behind [`reading_ns`].
pub(crate) const READINGS: usize = 100_000;

/// What two readings take with nothing between them, ns: the median.
pub(crate) fn reading_ns(clock: &Clock, op: &Op) -> u64 {
    let mut latencies = Latencies::new(clock, READINGS);
    latencies.of(&vec![*op; READINGS], |op| {
        std::hint::black_box(op);
    });
    quantile(&latencies.nanos()[op.class as usize], 0.5).unwrap_or_default()
}

/// A quantile of ascending samples.
pub(crate) fn quantile(ascending: &[u64], quantile: f64) -> Option<u64> {
    let rank = (ascending.len() as f64 * quantile) as usize;
    ascending.get(rank.min(ascending.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<u64> = (1..=1_000).collect();
        assert_eq!(quantile(&samples, 0.5), Some(501));
        assert_eq!(quantile(&samples, 0.999), Some(1_000));
        assert_eq!(quantile(&samples[..1], 0.99), Some(1));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
