//! How messages have been coming lately, and so how long company for those that wait is worth waiting for.
//!
//! # Method
//! Whoever waits for another message makes everybody wait who is there already, and spares the fixed cost of one more
//! check. So it is worth it while the gap to the next message, times those who wait, is less than that cost. Where checks
//! follow each other without a rest, batches form by themselves and nothing waits.

use std::time::{Duration, Instant};

/// The mean gap between messages, the last batches counting most.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    /// When the last batch was gathered.
    last: Option<Instant>,
}

/// A gap beyond which nobody waits for anything.
const GAP_MAX: Duration = Duration::from_millis(20);

impl Default for Pace {
    fn default() -> Self {
        Self {
            gap: GAP_MAX,
            last: None,
        }
    }
}

impl Pace {
    /// So many messages were gathered by now, since the last time.
    pub(super) fn see(&mut self, now: Instant, messages: usize) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX).max(1);
        if let Some(last) = self.last.replace(now) {
            let gap = now.saturating_duration_since(last).min(GAP_MAX) / messages;
            self.gap = (self.gap * 7 + gap) / 8;
        }
    }

    /// How long the next message is worth waiting for where so many wait and a check shared with it spares `gain`; zero if
    /// it is not expected in that time.
    pub(super) fn patience(&self, waiting: usize, gain: Duration) -> Duration {
        let share = gain / u32::try_from(waiting).unwrap_or(u32::MAX).max(1);
        if self.gap < share { share } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// A pace that saw fifty batches of so many messages, one every `every`.
    fn pace(every: Duration, messages: usize) -> Pace {
        let mut pace = Pace::default();
        let start = Instant::now();
        (0..50).for_each(|at| pace.see(start + every * at, messages));
        pace
    }

    #[test]
    fn nobody_waits_for_what_does_not_come() {
        assert_eq!(Pace::default().patience(1, us(1_000)), Duration::ZERO);
        assert_eq!(pace(us(10_000), 1).patience(1, us(1_000)), Duration::ZERO);
        assert_eq!(
            pace(us(100), 1).patience(1, Duration::ZERO),
            Duration::ZERO,
            "nothing to be gained"
        );
    }

    #[test]
    fn the_more_wait_the_less_patience_there_is() {
        let found = [1, 2, 3, 4, 1_000].map(|waiting| pace(us(300), 1).patience(waiting, us(1_000)));
        assert_eq!(
            found,
            [us(1_000), us(500), us(1_000) / 3, Duration::ZERO, Duration::ZERO]
        );
        assert_eq!(
            pace(us(3_000), 10).patience(3, us(1_000)),
            us(1_000) / 3,
            "ten every 3 ms are 0.3 ms apart"
        );
    }

    #[test]
    fn a_rest_is_forgotten() {
        let mut pace = pace(us(300), 1);
        let start = Instant::now();
        pace.see(start + Duration::from_secs(3_600), 1);
        assert_eq!(pace.patience(1, us(1_000)), Duration::ZERO);
        (1..100).for_each(|at| pace.see(start + Duration::from_secs(3_600) + us(300) * at, 1));
        assert_eq!(pace.patience(1, us(1_000)), us(1_000));
    }
}
