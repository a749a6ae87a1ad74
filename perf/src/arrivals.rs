//! The load as data: when envelopes arrive. Every instant is fixed before the first is sent; same seed, same instants.
//!
//! # The peak
//! [`Arrivals::Peak`] takes its shape from recorded order flow where a file of it is given: a CSV, gzip or not, one event a
//! line with its time in a column `t_ms`. The busiest stretch of the file that has as many events as the load has envelopes
//! is stretched or squeezed to the length of the load, so gaps and bursts keep their proportions. A millisecond with more
//! than [`DUMP`] events is a book written out whole, not arrivals, and is left out; events of one millisecond are spread
//! over it evenly.
//!
//! Without a file the shape is made up: bursts whose sizes are geometric with mean [`BURST`] and whose members follow one
//! another within a millisecond on average, and which come three times as often near the end as at the beginning, as
//! before a gate closes.

use crate::Error;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::io::Read as _;
use std::path::Path;

/// Events of one millisecond that are no arrivals.
const DUMP: usize = 1_000;
/// Mean size of a made-up burst.
const BURST: u32 = 4;
/// Mean gap within a burst, as a rate.
const BURST_RATE: u32 = 1_000;

/// How envelopes arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// At random, independent of one another.
    Poisson,
    /// In the bursts and lulls of a peak hour.
    Peak,
}

impl Arrivals {
    /// Its name in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Peak => "peak",
        }
    }
}

/// Instants of recorded events, ns, ascending.
#[derive(Clone, Default, Debug)]
pub(crate) struct Recorded(Vec<u64>);

impl Recorded {
    /// Reads a file of events.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Record {
            path: path.to_owned(),
            source,
        };
        let bytes = std::fs::read(path).map_err(fail)?;
        let mut text = String::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            flate2::read::GzDecoder::new(bytes.as_slice())
                .read_to_string(&mut text)
                .map_err(fail)?;
        } else {
            text = String::from_utf8(bytes).map_err(|_| Error::Flow {
                path: path.to_owned(),
                line: 1,
            })?;
        }
        Self::parse(&text).map_err(|line| Error::Flow {
            path: path.to_owned(),
            line,
        })
    }

    /// The instants, or the number of the first line that has none.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut lines = text.lines();
        let column = lines
            .next()
            .unwrap_or_default()
            .split(',')
            .position(|name| name == "t_ms");
        let column = column.ok_or(1usize)?;
        let mut times = Vec::new();
        for (at, line) in lines.enumerate() {
            let word = line.split(',').nth(column).and_then(|word| word.parse::<u64>().ok());
            times.push(word.ok_or(at + 2)?);
        }
        times.sort_unstable();
        let mut instants = Vec::with_capacity(times.len());
        for events in times.chunk_by(|a, b| a == b).filter(|events| events.len() <= DUMP) {
            let gap = 1_000_000 / events.len() as u64;
            instants.extend((0..).zip(events).map(|(i, ms)| ms * 1_000_000 + i * gap));
        }
        Ok(Self(instants))
    }

    /// The busiest stretch of `len` events, as instants of a run of `span` ns; `None` if there are too few events.
    fn busiest(&self, len: usize, span: u64) -> Option<Vec<u64>> {
        if len < 2 || self.0.len() < len {
            return None;
        }
        let stretch = self.0.windows(len).min_by_key(|events| events[len - 1] - events[0])?;
        let (first, last) = (stretch[0], stretch[len - 1]);
        let scaled = |at: u64| u128::from(at - first) * u128::from(span) / u128::from((last - first).max(1));
        // BOUND: at most `span`.
        Some(stretch.iter().map(|at| scaled(*at) as u64).collect())
    }
}

/// Instants of arrival after the start, ns, ascending: `rate` a second on average.
pub(crate) fn schedule(arrivals: Arrivals, rate: u32, seconds: u32, seed: u64, recorded: &Recorded) -> Vec<u64> {
    let end = u64::from(seconds) * 1_000_000_000;
    let count = u64::from(rate) * u64::from(seconds);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    match arrivals {
        Arrivals::Constant => (0..count).map(|i| i * 1_000_000_000 / u64::from(rate)).collect(),
        Arrivals::Poisson => poisson(&mut rng, rate, end),
        Arrivals::Peak => recorded
            .busiest(usize::try_from(count).unwrap_or(usize::MAX), end)
            .unwrap_or_else(|| bursts(&mut rng, rate, end)),
    }
}

fn poisson(rng: &mut ChaCha8Rng, rate: u32, end: u64) -> Vec<u64> {
    let (mut at, mut instants) = (0, Vec::new());
    loop {
        at += exponential(rng.next_u64(), rate);
        if at >= end {
            return instants;
        }
        instants.push(at);
    }
}

/// Bursts whose frequency rises from half the mean to one and a half of it.
fn bursts(rng: &mut ChaCha8Rng, rate: u32, end: u64) -> Vec<u64> {
    let mut instants = Vec::new();
    // Thinning: candidates at the greatest frequency, kept with the share that their time has of it.
    let greatest = u64::from(rate) * 3 / 2;
    let candidates = poisson(
        rng,
        u32::try_from(greatest).unwrap_or(u32::MAX).div_ceil(BURST).max(1),
        end,
    );
    for start in candidates {
        let share = end / 3 + start / 3 * 2;
        if rng.next_u64() % end.max(1) >= share {
            continue;
        }
        let mut at = start;
        while at < end {
            instants.push(at);
            if rng.next_u64().is_multiple_of(u64::from(BURST)) {
                break;
            }
            at += exponential(rng.next_u64(), BURST_RATE);
        }
    }
    instants.sort_unstable();
    instants
}

/// An exponentially distributed gap with mean `1 / rate`, ns.
#[expect(clippy::float_arithmetic, reason = "a measurement's schedule, not state")]
fn exponential(random: u64, rate: u32) -> u64 {
    // Uniform in (0, 1]: 53 random bits.
    let uniform = ((random >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-uniform.ln() * 1e9 / f64::from(rate)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_keep_their_rate_and_repeat() {
        let none = Recorded::default();
        let even = schedule(Arrivals::Constant, 4, 2, 1, &none);
        assert_eq!(even, (0..8).map(|i| i * 250_000_000).collect::<Vec<u64>>());
        for (arrivals, spread) in [(Arrivals::Poisson, 500), (Arrivals::Peak, 1_500)] {
            let random = schedule(arrivals, 1_000, 10, 7, &none);
            assert_eq!(random, schedule(arrivals, 1_000, 10, 7, &none));
            assert_ne!(random, schedule(arrivals, 1_000, 10, 8, &none));
            assert!(random.windows(2).all(|w| w[0] <= w[1]));
            // Five standard deviations of the count of 10,000; a burst's members come together.
            assert!(random.len().abs_diff(10_000) < spread, "{}", random.len());
        }
    }

    #[test]
    fn the_made_up_peak_rises_and_bursts() {
        let peak = schedule(Arrivals::Peak, 1_000, 20, 3, &Recorded::default());
        let early = peak.iter().filter(|at| **at < 5_000_000_000).count();
        let late = peak.iter().filter(|at| **at >= 15_000_000_000).count();
        assert!(late > early * 3 / 2, "{early} {late}");
        let mut busy = vec![0u64; 20_000];
        peak.iter().for_each(|at| busy[(at / 1_000_000) as usize] += 1);
        // A Poisson process of one event a millisecond has as much variance as mean.
        let (n, sum) = (busy.len() as u64, busy.iter().sum::<u64>());
        let squares: u64 = busy.iter().map(|count| count * count).sum();
        assert!(squares - sum * sum / n > 3 * sum / 2, "{squares} {sum}");
    }

    #[test]
    fn recorded_flow_keeps_its_proportions() {
        let mut text = String::from("seq,t_ms,id\n");
        for (seq, ms) in [0, 100, 200, 300, 310, 310, 320, 1_000].iter().enumerate() {
            text += &format!("{seq},{ms},7\n");
        }
        // A book written out whole.
        for seq in 0..=DUMP {
            text += &format!("{seq},2000,7\n");
        }
        let recorded = Recorded::parse(&text).unwrap();
        assert_eq!(recorded.0.len(), 8);
        // Four events within 20 ms, stretched to two seconds.
        let peak = schedule(Arrivals::Peak, 2, 2, 1, &recorded);
        assert_eq!(peak, [0, 1_000_000_000, 1_050_000_000, 2_000_000_000]);
        assert_eq!(Recorded::parse("seq,t_ms\n0,1\n1,x\n").unwrap_err(), 3);
        assert_eq!(Recorded::parse("seq,t\n").unwrap_err(), 1);
    }
}
