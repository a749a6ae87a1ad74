//! The tally: stake and votes to seats (MARKET 8.1, 8.2; PROTOCOL 8). Free of accounts and time.
//!
//! # Invariants
//! * The result does not depend on the order of runners or ballots.
//! * A group counts for at most its share of the stake voted, and has at most one seat and one standby's place.

use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::ParticipantId;
use wattbook_types::committee::Seat;
use wattbook_types::units::PPM_ONE;

/// Who counts as one: an affiliation group, or an account that has none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Tag {
    Group(u32),
    Alone(u32),
}

/// Who may be elected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runner {
    pub(crate) seat: Seat,
    pub(crate) tag: Tag,
    /// It sits out, and is seated only where the others are too few.
    pub(crate) sits_out: bool,
}

/// One account's vote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ballot {
    pub(crate) tag: Tag,
    pub(crate) stake: u64,
    pub(crate) candidate: ParticipantId,
}

/// Who was elected, by votes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Seats with their votes.
    pub(crate) seated: Vec<(Seat, u128)>,
    /// Who would be next.
    pub(crate) standbys: Vec<ParticipantId>,
}

/// Seats the runners with most votes, those who sit out after all others; ties by rank (least emission, most stake, key).
pub(crate) fn elect(runners: &[Runner], ballots: &[Ballot], seats: usize, share_ppm: u64) -> Outcome {
    let votes = count(runners, ballots, share_ppm);
    let votes_of = |runner: &Runner| votes.get(&runner.seat.participant).copied().unwrap_or(0);
    let mut order: Vec<&Runner> = runners.iter().collect();
    order.sort_by(|a, b| {
        let first = a.sits_out.cmp(&b.sits_out).then(votes_of(b).cmp(&votes_of(a)));
        first.then_with(|| a.seat.before(&b.seat))
    });
    let mut outcome = Outcome::default();
    let mut tags = BTreeSet::new();
    for runner in order {
        if !tags.insert(runner.tag) {
            continue;
        }
        if outcome.seated.len() < seats {
            outcome.seated.push((runner.seat, votes_of(runner)));
        } else if outcome.standbys.len() < seats {
            outcome.standbys.push(runner.seat.participant);
        }
    }
    outcome
}

/// Votes by candidate: a group beyond its share is scaled down to it, each ballot floored.
fn count(runners: &[Runner], ballots: &[Ballot], share_ppm: u64) -> BTreeMap<ParticipantId, u128> {
    let known: BTreeSet<ParticipantId> = runners.iter().map(|runner| runner.seat.participant).collect();
    let cast = || ballots.iter().filter(|ballot| known.contains(&ballot.candidate));
    let mut of_tag: BTreeMap<Tag, u128> = BTreeMap::new();
    for ballot in cast() {
        *of_tag.entry(ballot.tag).or_default() += u128::from(ballot.stake);
    }
    // BOUND: a stake is at most 2^40, there are fewer than 2^32 accounts, a million is below 2^20: products stay below 2^128.
    let cap = of_tag.values().sum::<u128>() * u128::from(share_ppm) / u128::from(PPM_ONE);
    let mut votes = BTreeMap::new();
    for ballot in cast() {
        let sum = of_tag[&ballot.tag];
        let stake = u128::from(ballot.stake);
        let counted = if sum > cap { stake * cap / sum } else { stake };
        *votes.entry(ballot.candidate).or_default() += counted;
    }
    votes
}
