//! How many packets the re-request server answers with, by address and in total.
//!
//! # Invariants
//! * Integers only; a bucket holds at most a second's packets.
//! * At most [`ADDRESSES_MAX`] addresses are remembered: one that would be full again is forgotten first, and while none
//!   is, a new address gets nothing.

use crate::config;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

/// Most addresses remembered.
const ADDRESSES_MAX: usize = 4_096;
const NS: u64 = 1_000_000_000;

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Answered,
    Malformed,
    TooOld,
    TooNew,
    Limited,
}

impl Verdict {
    /// By their order.
    pub(super) const NAMES: [&str; 5] = ["answered", "malformed", "too_old", "too_new", "limited"];
}

/// A token bucket of billionths.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: u64,
    at: Instant,
}

impl Bucket {
    const fn full(per_s: u64, at: Instant) -> Self {
        Self {
            level: per_s.saturating_mul(NS),
            at,
        }
    }

    fn fill(&mut self, per_s: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.level = self
            .level
            .saturating_add(passed.saturating_mul(per_s))
            .min(per_s.saturating_mul(NS));
        self.at = self.at.max(now);
    }
}

/// What may still be sent.
#[derive(Debug)]
pub(super) struct Allowance {
    per_address: u64,
    per_s: u64,
    total: Option<Bucket>,
    addresses: BTreeMap<IpAddr, Bucket>,
}

impl Allowance {
    pub(super) const fn new(settings: &config::Fanout) -> Self {
        Self {
            per_address: settings.answer_packets_per_s,
            per_s: settings.total_answer_packets_per_s,
            total: None,
            addresses: BTreeMap::new(),
        }
    }

    /// Takes leave to send one packet.
    pub(super) fn take(&mut self, to: IpAddr, now: Instant) -> bool {
        let (per_address, per_s) = (self.per_address, self.per_s);
        if !self.addresses.contains_key(&to) && self.addresses.len() == ADDRESSES_MAX {
            self.addresses.retain(|_, bucket| {
                bucket.fill(per_address, now);
                bucket.level < per_address.saturating_mul(NS)
            });
            if self.addresses.len() == ADDRESSES_MAX {
                return false;
            }
        }
        let total = self.total.get_or_insert(Bucket::full(per_s, now));
        let own = self.addresses.entry(to).or_insert(Bucket::full(per_address, now));
        total.fill(per_s, now);
        own.fill(per_address, now);
        if total.level < NS || own.level < NS {
            return false;
        }
        total.level -= NS;
        own.level -= NS;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_address_has_its_rate_and_all_have_theirs() {
        let mut allowance = Allowance::new(&config::Fanout {
            answer_packets_per_s: 10,
            total_answer_packets_per_s: 25,
            ..config::Fanout::default()
        });
        let mut now = Instant::now();
        let of = |n: u32| IpAddr::from(n.to_be_bytes());
        let taken = |allowance: &mut Allowance, n, now| (0..100).filter(|_| allowance.take(of(n), now)).count();
        assert_eq!([1, 1, 2, 3].map(|n| taken(&mut allowance, n, now)), [10, 0, 10, 5]);
        now += Duration::from_millis(500);
        assert_eq!([1, 2, 3].map(|n| taken(&mut allowance, n, now)), [5, 5, 2]);
        // Once all would be full again, others come in their place; a crowd gets no more than the total.
        now += Duration::from_secs(10);
        let crowd = (0..10_000).filter(|n| allowance.take(of(*n), now)).count();
        assert_eq!(crowd, 25);
        assert!(allowance.addresses.len() <= ADDRESSES_MAX);
    }
}
