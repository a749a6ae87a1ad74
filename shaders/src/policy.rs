//! Which path the signatures of a batch take. Verdicts do not depend on it, only time does.
//!
//! # Method
//! A path costs a fixed time, a time per signature and a time per key ([`Cost`]), a short batch on the CPU others than a
//! long one; [`Verifier::calibrate`](crate::Verifier::calibrate) finds them out in a moment, and every batch corrects them
//! by how long it took. The cheapest path by these figures is taken, at any length.

use crate::batch::ALONE_MAX;
use crate::rlc;
use core::fmt;
use core::time::Duration;

/// Which path signatures take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Policy {
    /// The cheapest by measured rates; where nothing was measured, one by one up to two signatures and else in a batch.
    #[default]
    Auto,
    /// Always one by one.
    OneByOne,
    /// Always in a batch on the CPU, be it of one.
    Batch,
    /// Always in a batch on the device, be it of one; on the CPU if there is no device or it was lost.
    Gpu,
}

/// A way to check signatures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Route {
    /// blst, one by one.
    OneByOne,
    /// In a batch on the CPU.
    Batch,
    /// In a batch on the device.
    Gpu,
}

impl Route {
    /// Its name in logs and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneByOne => "one_by_one",
            Self::Batch => "batch",
            Self::Gpu => "gpu",
        }
    }
}

/// What a path costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Of any batch, ns.
    pub fixed_ns: u64,
    /// Of each signature, ns.
    pub signature_ns: u64,
    /// Of each key, ns.
    pub key_ns: u64,
}

/// Shares of a correction, so that it needs no fractions.
const SCALE_ONE: u64 = 1 << 10;
/// A correction stays within a factor of 64.
const SCALES: (u64, u64) = (SCALE_ONE >> 6, SCALE_ONE << 6);

impl Cost {
    /// The cost of `len` signatures of `keys` keys.
    pub const fn of(&self, len: usize, keys: usize) -> u64 {
        self.fixed_ns
            .saturating_add(self.signature_ns.saturating_mul(len as u64))
            .saturating_add(self.key_ns.saturating_mul(keys as u64))
    }

    /// The cost that explains three measured times: of a short batch, a long one, and a long one of several keys.
    pub fn fit(short: (usize, Duration), long: (usize, Duration), many: (usize, usize, Duration)) -> Self {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (short_ns, long_ns, many_ns) = (ns(short.1), ns(long.1), ns(many.2));
        let more = long.0.saturating_sub(short.0).max(1) as u64;
        // A noisy machine may find more signatures faster; the mean bounds the slope from below by nothing.
        let signature_ns = (long_ns.saturating_sub(short_ns) / more).max(1);
        let at_many =
            long_ns.saturating_add(signature_ns.saturating_mul((many.0 as u64).saturating_sub(long.0 as u64)));
        let key_ns = many_ns.saturating_sub(at_many) / (many.1.saturating_sub(1)).max(1) as u64;
        let fixed_ns = short_ns.saturating_sub(signature_ns.saturating_mul(short.0 as u64) + key_ns);
        Self {
            fixed_ns,
            signature_ns,
            key_ns,
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| (ns / 1_000, ns % 1_000 / 100);
        let ((a, b), (c, d), (e, g)) = (us(self.fixed_ns), us(self.signature_ns), us(self.key_ns));
        write!(f, "{a}.{b} us + {c}.{d} us/signature + {e}.{g} us/key")
    }
}

/// What every path costs here; `None` where it is not known or there is no such path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// One by one.
    pub one_by_one: Option<Cost>,
    /// In a batch on the CPU.
    pub batch: Option<Cost>,
    /// In a batch on the device.
    pub gpu: Option<Cost>,
    /// In a batch on the CPU of at most [`Self::SHORT_MAX`] signatures; as a longer one where it is not known.
    pub short: Option<Cost>,
    /// Corrections by what batches took, in the order of the paths, then of short batches; zero stands for none.
    scales: [u64; 4],
}

impl Rates {
    /// Signatures of a short batch at most: each is tested for its subgroup by itself.
    pub const SHORT_MAX: usize = rlc::TRITS;

    /// Rates without corrections.
    pub const fn new(one_by_one: Option<Cost>, batch: Option<Cost>, gpu: Option<Cost>) -> Self {
        Self {
            one_by_one,
            batch,
            gpu,
            short: None,
            scales: [0; 4],
        }
    }

    /// What a path costs for `len` signatures, and the place of its correction.
    const fn cost(&self, route: Route, len: usize) -> (Option<Cost>, usize) {
        match route {
            Route::Batch if len <= Self::SHORT_MAX && self.short.is_some() => (self.short, 3),
            Route::OneByOne => (self.one_by_one, 0),
            Route::Batch => (self.batch, 1),
            Route::Gpu => (self.gpu, 2),
        }
    }

    const fn scale(&self, place: usize) -> u64 {
        match self.scales[place] {
            0 => SCALE_ONE,
            scale => scale,
        }
    }

    /// The time that `len` signatures of `keys` keys are expected to take, ns.
    pub fn expect_ns(&self, route: Route, len: usize, keys: usize) -> Option<u64> {
        let (cost, place) = self.cost(route, len);
        Some(cost?.of(len, keys).saturating_mul(self.scale(place)) / SCALE_ONE)
    }

    /// The cheapest path; if nothing is known one by one up to two signatures, else in a batch on the CPU.
    pub fn cheapest(&self, len: usize, keys: usize) -> Route {
        let known = |route| Some((self.expect_ns(route, len, keys)?, route));
        let routes = [Route::Batch, Route::Gpu, Route::OneByOne];
        let best = routes
            .into_iter()
            .filter_map(known)
            .min_by_key(|(expected, _)| *expected);
        match best {
            Some((_, route)) => route,
            None if len <= ALONE_MAX => Route::OneByOne,
            None => Route::Batch,
        }
    }

    /// Learns from a batch that took `time`; what is not taken for long is slowly believed again.
    pub fn learn(&mut self, route: Route, len: usize, keys: usize, time: Duration) {
        for place in 0..self.scales.len() {
            self.scales[place] = (self.scale(place) * 63 + SCALE_ONE) / 64;
        }
        let (Some(cost), place) = self.cost(route, len) else {
            return;
        };
        let expected = cost.of(len, keys).max(1);
        let found = time.as_nanos().saturating_mul(u128::from(SCALE_ONE)) / u128::from(expected);
        let found = u64::try_from(found).unwrap_or(u64::MAX).clamp(SCALES.0, SCALES.1);
        self.scales[place] = (self.scale(place) * 7 + found) / 8;
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for (name, cost) in [
            (Route::OneByOne.name(), self.one_by_one),
            ("short batch", self.short),
            (Route::Batch.name(), self.batch),
            (Route::Gpu.name(), self.gpu),
        ] {
            if let Some(cost) = cost {
                write!(f, "{before}{name}: {cost}")?;
                before = "; ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    const fn cost(fixed_us: u64, signature_us: u64, key_us: u64) -> Cost {
        Cost {
            fixed_ns: fixed_us * US,
            signature_ns: signature_us * US,
            key_ns: key_us * US,
        }
    }
    const RATES: Rates = Rates::new(
        Some(cost(0, 850, 0)),
        Some(cost(4_000, 60, 145)),
        Some(cost(40_000, 1, 150)),
    );

    #[test]
    fn size_and_keys_decide() {
        let routes = [(3, 1), (100, 10), (4_096, 16), (4_096, 4_096)].map(|(len, keys)| RATES.cheapest(len, keys));
        assert_eq!(routes, [Route::OneByOne, Route::Batch, Route::Gpu, Route::Gpu]);
        // Without a device, and where a device is slow.
        let cpu = Rates::new(RATES.one_by_one, RATES.batch, None);
        assert_eq!(cpu.cheapest(4_096, 16), Route::Batch);
        let slow = Rates::new(RATES.one_by_one, RATES.batch, Some(cost(40_000, 500, 150)));
        assert_eq!(slow.cheapest(1 << 20, 1), Route::Batch);
        let unknown = [1, 2, 3, 1 << 20].map(|len| Rates::default().cheapest(len, 1));
        assert_eq!(unknown, [Route::OneByOne, Route::OneByOne, Route::Batch, Route::Batch]);
    }

    /// A short batch has a cost of its own, learned apart from that of a long one.
    #[test]
    fn short_batches_have_their_own_cost() {
        let mut rates = RATES;
        rates.short = Some(cost(600, 80, 60));
        let routes = [1, 2, 90, 91].map(|len| rates.cheapest(len, len));
        assert_eq!(routes, [Route::Batch; 4]);
        for _ in 0..40 {
            rates.learn(Route::Batch, 2, 2, Duration::from_millis(4));
        }
        assert_eq!(
            (rates.cheapest(2, 2), rates.cheapest(91, 91)),
            (Route::OneByOne, Route::Batch)
        );
        assert_eq!(
            rates.expect_ns(Route::Batch, 91, 1),
            RATES.expect_ns(Route::Batch, 91, 1)
        );
    }

    #[test]
    fn a_fit_finds_the_cost_again() {
        let cost = cost(500, 60, 145);
        let time = |len, keys| Duration::from_nanos(cost.of(len, keys));
        assert_eq!(
            Cost::fit((128, time(128, 1)), (384, time(384, 1)), (384, 16, time(384, 16))),
            cost
        );
        // Nonsense gives a cost all the same.
        let odd = Cost::fit((128, Duration::MAX), (384, Duration::ZERO), (384, 16, Duration::ZERO));
        assert_eq!((odd.signature_ns, odd.key_ns), (1, 0));
    }

    #[test]
    fn a_path_that_became_slow_is_left_and_tried_again() {
        let mut rates = RATES;
        let (len, keys) = (4_096, 16);
        for _ in 0..40 {
            rates.learn(Route::Gpu, len, keys, Duration::from_secs(2));
        }
        assert_eq!(rates.cheapest(len, keys), Route::Batch);
        let batch = Duration::from_nanos(RATES.expect_ns(Route::Batch, len, keys).unwrap());
        let again = (0..400).position(|_| {
            rates.learn(Route::Batch, len, keys, batch);
            rates.cheapest(len, keys) == Route::Gpu
        });
        assert!(again.is_some());
        rates.learn(Route::Gpu, 0, 0, Duration::MAX);
        rates.learn(Route::Gpu, usize::MAX, 1, Duration::ZERO);
    }
}
