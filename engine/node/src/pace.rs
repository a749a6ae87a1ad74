//! A limit on what a thread in the background reads and writes, so that it takes no disk from whoever trades.

use std::thread;
use std::time::{Duration, Instant};

/// Longest sleep before the thread looks whether it is still wanted.
const STEP: Duration = Duration::from_millis(100);

/// So many bytes a second, from the first on.
#[derive(Debug)]
pub struct Pace {
    rate: u64,
    since: Instant,
    size: u64,
}

impl Pace {
    /// `rate` bytes a second at most; zero: no limit.
    pub fn new(rate: u64) -> Self {
        Self {
            rate,
            since: Instant::now(),
            size: 0,
        }
    }

    /// Counts bytes that were moved.
    pub const fn took(&mut self, size: u64) {
        self.size = self.size.saturating_add(size);
    }

    /// Bytes so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// How long the bytes so far must take.
    fn due(&self) -> Duration {
        match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_millis(self.size.saturating_mul(1_000) / rate),
        }
    }

    /// Waits until the bytes so far are within the limit, or nobody wants more.
    pub fn wait(&self, is_over: impl Fn() -> bool) {
        loop {
            let left = self.due().saturating_sub(self.elapsed());
            if left.is_zero() || is_over() {
                return;
            }
            thread::park_timeout(left.min(STEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_none_without_a_limit() {
        let mut pace = Pace::new(1 << 20);
        pace.took(3 << 20);
        assert_eq!((pace.due(), pace.size()), (Duration::from_secs(3), 3 << 20));
        // Nobody waits for it.
        pace.wait(|| true);
        pace.took(u64::MAX);
        assert!(pace.due() > Duration::from_secs(1 << 30));
        let mut free = Pace::new(0);
        free.took(u64::MAX);
        free.wait(|| false);
        assert_eq!(free.due(), Duration::ZERO);
    }
}
