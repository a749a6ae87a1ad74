//! Limits of what comes in: sessions by address, by participant and in total; messages, bytes and logons in a time.
//!
//! # Invariants
//! * Integers only: a bucket fills by `rate` tokens a second up to a burst, to the nanosecond, and never holds more.
//! * What is refused spends nothing, so a flood does not keep its sender from the rate that it has.
//! * A participant's bucket outlives its sessions; an address's does until it would be full again.

use crate::config;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use wattbook_types::{ParticipantId, Reject};

const NS: u64 = 1_000_000_000;

/// A rate with its burst; 0 a second: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    per_s: u64,
    /// What a full bucket holds, billionths of a token.
    full: u64,
}

impl Rate {
    /// `per_s` tokens a second, of which as many come at once as do in `burst_ms`, and at least one.
    pub fn new(per_s: u64, burst_ms: u64) -> Self {
        let full = u128::from(per_s) * u128::from(burst_ms) * 1_000_000;
        let full = u64::try_from(full).unwrap_or(u64::MAX).max(NS);
        Self { per_s, full }
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: u64,
    at_ns: u64,
}

impl Bucket {
    const fn new(rate: Rate, now_ns: u64) -> Self {
        Self {
            level: rate.full,
            at_ns: now_ns,
        }
    }

    /// Whether it holds `tokens`, filled up to now.
    fn holds(&mut self, rate: Rate, tokens: u64, now_ns: u64) -> bool {
        if rate.per_s == 0 {
            return true;
        }
        let passed = now_ns.saturating_sub(self.at_ns);
        if passed > 0 {
            self.level = self
                .level
                .saturating_add(passed.saturating_mul(rate.per_s))
                .min(rate.full);
            self.at_ns = now_ns;
        }
        // More than a burst can never be saved up: a full bucket is enough for it.
        self.level >= tokens.saturating_mul(NS).min(rate.full)
    }

    const fn spend(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(tokens.saturating_mul(NS));
    }
}

/// Rates of one kind of sender.
#[derive(Clone, Copy, Debug)]
struct Rates {
    messages: Rate,
    bytes: Rate,
}

/// What one sender has left, and the sessions it has.
#[derive(Clone, Copy, Debug)]
struct Account {
    messages: Bucket,
    bytes: Bucket,
    logons: Bucket,
    sessions: usize,
}

impl Account {
    const fn new(rates: Rates, logons: Rate, now_ns: u64) -> Self {
        Self {
            messages: Bucket::new(rates.messages, now_ns),
            bytes: Bucket::new(rates.bytes, now_ns),
            logons: Bucket::new(logons, now_ns),
            sessions: 0,
        }
    }
}

/// Whose traffic a session's is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// Of its address, before its logon and on the public feed.
    Address(IpAddr),
    /// Of a participant that has signed a logon.
    Participant(ParticipantId),
}

/// Who has how much left.
#[derive(Debug)]
pub struct Limits {
    settings: config::Limits,
    sessions_max: usize,
    each: Rates,
    all: Rates,
    logons: Rate,
    sessions: usize,
    total: Account,
    addresses: BTreeMap<IpAddr, Account>,
    participants: BTreeMap<ParticipantId, Account>,
    /// Addresses without a session, and when their buckets are full again.
    left: VecDeque<(u64, IpAddr)>,
}

/// What one session may still send in this turn.
#[derive(Debug)]
pub struct Meter<'a> {
    each: Rates,
    all: Rates,
    logon_rate: Rate,
    own: &'a mut Account,
    total: &'a mut Account,
    now_ns: u64,
}

impl Meter<'_> {
    /// Takes one message of `size` bytes, or says what it exceeds.
    pub fn take(&mut self, size: usize) -> Result<(), Reject> {
        let (size, now) = (size as u64, self.now_ns);
        if !self.own.messages.holds(self.each.messages, 1, now) {
            return Err(Reject::MessageRate);
        }
        if !self.own.bytes.holds(self.each.bytes, size, now) {
            return Err(Reject::ByteRate);
        }
        if !self.total.messages.holds(self.all.messages, 1, now) || !self.total.bytes.holds(self.all.bytes, size, now) {
            return Err(Reject::NodeRate);
        }
        self.own.messages.spend(1);
        self.own.bytes.spend(size);
        self.total.messages.spend(1);
        self.total.bytes.spend(size);
        Ok(())
    }

    /// Takes one logon or registration, which costs a pairing each.
    pub fn take_logon(&mut self) -> Result<(), Reject> {
        if !self.own.logons.holds(self.logon_rate, 1, self.now_ns) {
            return Err(Reject::MessageRate);
        }
        self.own.logons.spend(1);
        Ok(())
    }
}

/// What counts as one address: of IPv6 a whole /64, which is what a subscriber is given.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Limits {
    /// Nobody is there yet.
    pub fn new(settings: config::Limits, sessions_max: usize) -> Self {
        let rate = |per_s| Rate::new(per_s, settings.burst_ms);
        let each = Rates {
            messages: rate(settings.messages_per_s),
            bytes: rate(settings.bytes_per_s),
        };
        let all = Rates {
            messages: rate(settings.total_messages_per_s),
            bytes: rate(settings.total_bytes_per_s),
        };
        let logons = rate(settings.logons_per_s);
        Self {
            sessions_max,
            each,
            all,
            logons,
            sessions: 0,
            total: Account::new(all, logons, 0),
            addresses: BTreeMap::new(),
            participants: BTreeMap::new(),
            left: VecDeque::new(),
            settings,
        }
    }

    /// Sessions now.
    pub const fn sessions(&self) -> usize {
        self.sessions
    }

    /// A connection from this address becomes a session, or why not.
    pub fn open(&mut self, address: IpAddr, now_ns: u64) -> Result<(), Reject> {
        self.forget(now_ns);
        if self.sessions >= self.sessions_max {
            return Err(Reject::TooManySessions);
        }
        let (each, logons) = (self.each, self.logons);
        let account = self
            .addresses
            .entry(network(address))
            .or_insert_with(|| Account::new(each, logons, now_ns));
        if account.sessions >= self.settings.sessions_per_address_max {
            return Err(Reject::TooManyFromAddress);
        }
        account.sessions += 1;
        self.sessions += 1;
        Ok(())
    }

    /// A session turns out to be a participant's, or is one too many of them.
    pub fn bind(&mut self, participant: ParticipantId, now_ns: u64) -> Result<(), Reject> {
        let (each, logons) = (self.each, self.logons);
        let account = self
            .participants
            .entry(participant)
            .or_insert_with(|| Account::new(each, logons, now_ns));
        if account.sessions >= self.settings.sessions_per_participant_max {
            return Err(Reject::TooManyOfParticipant);
        }
        account.sessions += 1;
        Ok(())
    }

    /// A session is no longer its participant's.
    pub fn unbind(&mut self, participant: ParticipantId) {
        if let Some(account) = self.participants.get_mut(&participant) {
            account.sessions = account.sessions.saturating_sub(1);
        }
    }

    /// A session from this address is over.
    pub fn close(&mut self, address: IpAddr, now_ns: u64) {
        self.sessions = self.sessions.saturating_sub(1);
        let address = network(address);
        if let Some(account) = self.addresses.get_mut(&address) {
            account.sessions = account.sessions.saturating_sub(1);
            if account.sessions == 0 {
                let full_again = now_ns + self.settings.burst_ms.saturating_mul(1_000_000);
                self.left.push_back((full_again, address));
            }
        }
    }

    /// What a session's sender may still send.
    pub fn meter(&mut self, source: Source, now_ns: u64) -> Meter<'_> {
        let (each, logons) = (self.each, self.logons);
        let new = || Account::new(each, logons, now_ns);
        let own = match source {
            Source::Address(address) => self.addresses.entry(network(address)).or_insert_with(new),
            Source::Participant(participant) => self.participants.entry(participant).or_insert_with(new),
        };
        Meter {
            each,
            all: self.all,
            logon_rate: logons,
            own,
            total: &mut self.total,
            now_ns,
        }
    }

    /// Drops addresses that have no session and a full bucket.
    fn forget(&mut self, now_ns: u64) {
        while let Some((_, address)) = self.left.pop_front_if(|(full_again, _)| *full_again <= now_ns) {
            if self
                .addresses
                .get(&address)
                .is_some_and(|account| account.sessions == 0)
            {
                self.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn settings() -> config::Limits {
        config::Limits {
            sessions_per_address_max: 3,
            sessions_per_participant_max: 2,
            messages_per_s: 10,
            bytes_per_s: 1_000,
            total_messages_per_s: 15,
            total_bytes_per_s: 0,
            logons_per_s: 2,
            burst_ms: 1_000,
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    const fn who(id: u64) -> Source {
        Source::Participant(ParticipantId::new(id))
    }

    #[test]
    fn a_burst_then_the_rate_and_refusals_cost_nothing() {
        let mut limits = Limits::new(settings(), 10);
        let mut taken = |from, until: u64| {
            (from..until)
                .filter(|ms| limits.meter(who(1), ms * MS).take(1).is_ok())
                .count()
        };
        assert_eq!(taken(0, 99), 10, "the burst");
        assert_eq!(taken(99, 1_100), 10, "ten a second under a flood of a thousand");
        assert_eq!(taken(100_000, 100_050), 10, "no more than a burst is saved up");
    }

    #[test]
    fn bytes_count_and_a_message_beyond_the_burst_passes_a_full_bucket_only() {
        let mut limits = Limits::new(settings(), 10);
        assert_eq!(limits.meter(who(1), 0).take(2_000), Ok(()));
        assert_eq!(limits.meter(who(1), 500 * MS).take(501), Err(Reject::ByteRate));
        assert_eq!(limits.meter(who(1), 500 * MS).take(500), Ok(()));
    }

    #[test]
    fn all_together_are_bounded_and_one_does_not_spend_what_another_has() {
        let mut limits = Limits::new(settings(), 10);
        for _ in 0..10 {
            limits.meter(who(1), 0).take(1).unwrap();
        }
        assert_eq!(limits.meter(who(1), 0).take(1), Err(Reject::MessageRate));
        for _ in 0..5 {
            limits.meter(who(2), 0).take(1).unwrap();
        }
        assert_eq!(limits.meter(who(2), 0).take(1), Err(Reject::NodeRate));
        assert_eq!(limits.meter(who(2), 1_000 * MS).take(1), Ok(()));
    }

    #[test]
    fn logons_have_their_own_bucket() {
        let mut limits = Limits::new(settings(), 10);
        let from = Source::Address(address(1));
        assert_eq!(limits.meter(from, 0).take_logon(), Ok(()));
        assert_eq!(limits.meter(from, 0).take_logon(), Ok(()));
        assert_eq!(limits.meter(from, 0).take_logon(), Err(Reject::MessageRate));
        assert_eq!(limits.meter(from, 500 * MS).take_logon(), Ok(()));
    }

    #[test]
    fn sessions_are_counted_by_address_by_participant_and_in_total() {
        let mut limits = Limits::new(settings(), 4);
        for _ in 0..3 {
            limits.open(address(1), 0).unwrap();
        }
        assert_eq!(limits.open(address(1), 0), Err(Reject::TooManyFromAddress));
        limits.open(address(2), 0).unwrap();
        assert_eq!(limits.open(address(3), 0), Err(Reject::TooManySessions));
        limits.close(address(1), 0);
        assert_eq!((limits.open(address(1), 0), limits.sessions()), (Ok(()), 4));
        let participant = ParticipantId::new(7);
        limits.bind(participant, 0).unwrap();
        limits.bind(participant, 0).unwrap();
        assert_eq!(limits.bind(participant, 0), Err(Reject::TooManyOfParticipant));
        limits.unbind(participant);
        assert_eq!(limits.bind(participant, 0), Ok(()));
    }

    #[test]
    fn coming_back_does_not_fill_a_bucket_and_strangers_are_forgotten() {
        let mut limits = Limits::new(settings(), 1_000_000);
        for last in 0..200 {
            limits.open(address(last), 0).unwrap();
            for _ in 0..2 {
                limits.meter(Source::Address(address(last)), 0).take_logon().unwrap();
            }
            limits.close(address(last), 0);
            limits.open(address(last), MS).unwrap();
            let again = limits.meter(Source::Address(address(last)), MS).take_logon();
            assert_eq!(again, Err(Reject::MessageRate));
            limits.close(address(last), MS);
        }
        limits.open(address(255), 5_000 * MS).unwrap();
        assert_eq!(limits.addresses.len(), 1);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let at = |text: &str| network(text.parse().unwrap());
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    }
}
