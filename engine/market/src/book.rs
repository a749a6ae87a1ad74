//! The continuous book of one contract: price-time priority under matchable ranges (MARKET 2.2, 3.4, 3.5).
//!
//! # Contract
//! * Within a price, orders queue by arrival. An order reduced at its price keeps its place.
//! * An incoming order chooses. Places and counts are taken once, its own place as if inserted, and hold through its
//!   sweep. Resting orders that may not trade with it are passed over; a crossed book is legal then.
//! * [`Book::plan`] changes nothing; [`Book::fill`] and [`Book::insert`] carry a plan out. So fill-or-kill, post-only and
//!   the minimum fill see the same sweep that trades.

use crate::round::{Place, matchable_range};
use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::units::PPM_ONE;
use wattbook_types::{Energy, OrderId, ParticipantId, Ppm, Price, RangeMode, Side, TimeInForce, TimeNs};

/// When an order took its place: sequence number of its record, then its rank within that record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Arrival {
    /// Sequence number.
    pub seq: u64,
    /// Rank within the record.
    pub rank: u32,
}

/// Reputation of a participant in a contract, fixed at gate opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// R of Eq 4.
    pub reputation: Ppm,
    /// Percentile; 0 is best.
    pub percentile: Ppm,
}

impl Standing {
    /// Of a participant that was not active at gate opening: a newcomer, ranked behind everyone.
    pub const UNRANKED: Self = Self {
        reputation: Ppm::new(500_000),
        percentile: Ppm::new(PPM_ONE),
    };
}

/// An order, incoming or resting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// Bid or ask.
    pub side: Side,
    /// Limit.
    pub price: Price,
    /// Greatest charge the buyer bears, ticks, defaults resolved.
    pub charge_cap: i32,
    /// Open quantity.
    pub leaves: Energy,
    /// Least energy of an execution; a remainder below it is exempt.
    pub min_fill: Energy,
    /// Its life.
    pub time_in_force: TimeInForce,
    /// Last instant of validity, with [`TimeInForce::Until`].
    pub valid_until: TimeNs,
    /// The participant's own name for it.
    pub client_order_id: u64,
    /// Place in time.
    pub arrival: Arrival,
}

/// The rules of a sweep.
#[derive(Clone, Copy)]
pub struct SweepRules<'a> {
    /// Who may trade with whom.
    pub range: RangeMode,
    /// Least bid - ask, ticks.
    pub spread_min: i64,
    /// `P_T`, ticks.
    pub charge: i64,
    /// Reputations.
    pub standing: &'a BTreeMap<ParticipantId, Standing>,
    /// Whether two participants count as one.
    pub affiliated: &'a dyn Fn(ParticipantId, ParticipantId) -> bool,
}

impl SweepRules<'_> {
    fn standing(&self, participant: ParticipantId) -> Standing {
        self.standing.get(&participant).copied().unwrap_or(Standing::UNRANKED)
    }

    fn closes(&self, bid: Price, ask: Price) -> bool {
        i64::from(bid.get()) - i64::from(ask.get()) >= self.spread_min
    }
}

/// One execution of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Execution {
    /// The resting order.
    pub resting: OrderId,
    /// Its limit.
    pub price: Price,
    /// Energy taken.
    pub energy: Energy,
}

/// Why a sweep left energy over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing is left.
    None,
    /// No opposite order.
    NoCounterparty,
    /// The network charge exceeds the buyer's cap.
    ChargeCap,
    /// No opposite order at a price that closes.
    PriceNotMet,
    /// Eligible energy is left, none of it in range.
    OutOfRange,
    /// All eligible energy has been taken.
    Exhausted,
    /// The next order to take belongs to the same group.
    SelfTrade,
}

/// What an incoming order would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Executions, in order.
    pub executions: Vec<Execution>,
    /// Energy they take.
    pub filled: Energy,
    /// Why the rest is left.
    pub rest: Rest,
}

/// Ascending is best first.
type Key = (i64, Arrival);

const fn price_key(side: Side, price: Price) -> i64 {
    match side {
        Side::Buy => -(price.get() as i64),
        Side::Sell => price.get() as i64,
    }
}

/// Ascending is place order: price, then reputation, then arrival.
type PlaceKey = (i64, u32, Arrival, ParticipantId);

#[derive(Clone, Debug, Default)]
struct HalfBook {
    queue: BTreeMap<Key, Order>,
    /// Each owner's orders; the first is its best.
    owned: BTreeMap<ParticipantId, BTreeSet<Key>>,
    /// Each owner's best order, in place order.
    places: BTreeSet<PlaceKey>,
}

/// The resting orders of one contract.
#[derive(Clone, Debug, Default)]
pub struct Book {
    sides: [HalfBook; 2],
    by_id: BTreeMap<OrderId, (Side, Key)>,
}

impl HalfBook {
    fn place_key(&self, owner: ParticipantId, rules: &SweepRules<'_>) -> Option<PlaceKey> {
        let (price, arrival) = *self.owned.get(&owner)?.first()?;
        Some((price, u32::MAX - rules.standing(owner).reputation.get(), arrival, owner))
    }

    fn update_owner(&mut self, owner: ParticipantId, rules: &SweepRules<'_>, change: impl FnOnce(&mut BTreeSet<Key>)) {
        if let Some(old) = self.place_key(owner, rules) {
            self.places.remove(&old);
        }
        let owned = self.owned.entry(owner).or_default();
        change(owned);
        if owned.is_empty() {
            self.owned.remove(&owner);
        }
        if let Some(new) = self.place_key(owner, rules) {
            self.places.insert(new);
        }
    }
}

impl Book {
    /// Number of resting orders.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing rests.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A resting order.
    pub fn get(&self, id: &OrderId) -> Option<&Order> {
        let (side, key) = self.by_id.get(id)?;
        self.sides[side.index()].queue.get(key)
    }

    /// A side's orders, best first.
    pub fn side(&self, side: Side) -> impl Iterator<Item = &Order> {
        self.sides[side.index()].queue.values()
    }

    /// A participant's orders: bids, then asks, each best first.
    pub fn owned_by(&self, owner: ParticipantId) -> Vec<Order> {
        let mut orders = Vec::new();
        for half in &self.sides {
            if let Some(keys) = half.owned.get(&owner) {
                orders.extend(keys.iter().filter_map(|key| half.queue.get(key)).copied());
            }
        }
        orders
    }

    /// The open orders of one envelope: bids, then asks, each best first.
    pub fn of_envelope(&self, participant: ParticipantId, nonce: u64) -> Vec<OrderId> {
        let name = |index| OrderId {
            participant,
            nonce,
            index,
        };
        let found = self.by_id.range(name(0)..=name(u32::MAX));
        let mut orders: Vec<(Side, Key, OrderId)> = found.map(|(id, (side, key))| (*side, *key, *id)).collect();
        orders.sort_unstable();
        orders.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Participants with a live quote on a side.
    pub fn owners(&self, side: Side) -> u32 {
        self.sides[side.index()].owned.len() as u32
    }

    /// Rests an order behind the others of its price.
    ///
    /// # Panics
    /// If its name or arrival is taken, or it is empty: the core hands out both.
    pub fn insert(&mut self, order: Order, rules: &SweepRules<'_>) {
        assert!(!order.leaves.is_zero(), "an empty order cannot rest");
        let key = (price_key(order.side, order.price), order.arrival);
        let half = &mut self.sides[order.side.index()];
        assert!(half.queue.insert(key, order).is_none(), "arrival taken");
        assert!(
            self.by_id.insert(order.id, (order.side, key)).is_none(),
            "order name taken"
        );
        half.update_owner(order.id.participant, rules, |owned| {
            owned.insert(key);
        });
    }

    /// Takes an order out.
    pub fn remove(&mut self, id: &OrderId, rules: &SweepRules<'_>) -> Option<Order> {
        let (side, key) = self.by_id.remove(id)?;
        let half = &mut self.sides[side.index()];
        let order = half.queue.remove(&key)?;
        half.update_owner(id.participant, rules, |owned| {
            owned.remove(&key);
        });
        Some(order)
    }

    /// Takes energy from a resting order and returns it as it stands afterwards; an order filled whole leaves the book.
    ///
    /// # Panics
    /// If the order is not there or has less energy: a plan was carried out late.
    pub fn fill(&mut self, id: &OrderId, energy: Energy, rules: &SweepRules<'_>) -> Order {
        let found = self
            .by_id
            .get(id)
            .and_then(|(side, key)| self.sides[side.index()].queue.get_mut(key));
        let order = found.expect("INVARIANT: a planned order rests");
        order.leaves = order
            .leaves
            .checked_sub(energy)
            .expect("INVARIANT: a plan takes no more than rests");
        let after = *order;
        if after.leaves.is_zero() {
            self.remove(id, rules);
        }
        after
    }

    /// Reduces an order in place under a new name; it keeps its place in the queue.
    pub fn reduce(
        &mut self,
        id: &OrderId,
        name: OrderId,
        leaves: Energy,
        charge_cap: i32,
        min_fill: Energy,
    ) -> Option<Order> {
        let (side, key) = self.by_id.remove(id)?;
        self.by_id.insert(name, (side, key));
        let order = self.sides[side.index()].queue.get_mut(&key)?;
        *order = Order {
            id: name,
            leaves,
            charge_cap,
            min_fill,
            ..*order
        };
        Some(*order)
    }

    /// Place and range of every participant on a side (MARKET 3.4).
    pub fn places(&self, side: Side, rules: &SweepRules<'_>) -> BTreeMap<ParticipantId, Place> {
        let opposite = self.owners(side.opposite());
        let placed = self.sides[side.index()].places.iter().enumerate();
        placed
            .map(|(i, (_, _, _, owner))| {
                let range = matchable_range(opposite, rules.standing(*owner).percentile);
                (
                    *owner,
                    Place {
                        pos: i as u32 + 1,
                        range,
                    },
                )
            })
            .collect()
    }

    /// What `incoming` would do if it arrived now.
    pub fn plan(&self, incoming: &Order, rules: &SweepRules<'_>) -> Plan {
        let mut plan = Plan {
            executions: Vec::new(),
            filled: Energy::ZERO,
            rest: Rest::None,
        };
        let side = incoming.side;
        let other = &self.sides[side.opposite().index()];
        let covered = |order: &Order| order.side == Side::Sell || i64::from(order.charge_cap) >= rules.charge;
        let closes = |resting: &Order| match side {
            Side::Buy => rules.closes(incoming.price, resting.price),
            Side::Sell => rules.closes(resting.price, incoming.price),
        };
        let Some(best) = other.queue.values().next() else {
            plan.rest = Rest::NoCounterparty;
            return plan;
        };
        if !covered(incoming) {
            plan.rest = Rest::ChargeCap;
            return plan;
        }
        if !closes(best) {
            plan.rest = Rest::PriceNotMet;
            return plan;
        }
        let reach = (rules.range != RangeMode::Off).then(|| self.reach(incoming, rules));
        let mut passed_over = false;
        plan.rest = Rest::Exhausted;
        for resting in other.queue.values() {
            let left = incoming.leaves.saturating_sub(plan.filled);
            if left.is_zero() {
                plan.rest = Rest::None;
                break;
            }
            if !closes(resting) {
                break;
            }
            if !covered(resting) {
                continue;
            }
            let allowed = reach
                .as_ref()
                .is_none_or(|reach| reach.allows(rules.range, resting.id.participant));
            if !allowed {
                passed_over = true;
                continue;
            }
            let energy = left.min(resting.leaves);
            let enough = |min_fill: Energy, left: Energy| left < min_fill || energy >= min_fill;
            if !enough(incoming.min_fill, left) || !enough(resting.min_fill, resting.leaves) {
                continue;
            }
            if (rules.affiliated)(incoming.id.participant, resting.id.participant) {
                plan.rest = Rest::SelfTrade;
                break;
            }
            plan.executions.push(Execution {
                resting: resting.id,
                price: resting.price,
                energy,
            });
            plan.filled = Energy::new(plan.filled.get() + energy.get());
        }
        if plan.filled == incoming.leaves {
            plan.rest = Rest::None;
        } else if plan.rest == Rest::Exhausted && passed_over {
            plan.rest = Rest::OutOfRange;
        }
        plan
    }

    /// Places and ranges for one sweep, the incoming order's own place as if inserted.
    fn reach(&self, incoming: &Order, rules: &SweepRules<'_>) -> Reach {
        let me = incoming.id.participant;
        let own = &self.sides[incoming.side.index()];
        let other = &self.sides[incoming.side.opposite().index()];
        let standing = rules.standing(me);
        let mut key = (
            price_key(incoming.side, incoming.price),
            u32::MAX - standing.reputation.get(),
            incoming.arrival,
            me,
        );
        let mut own_count = own.owned.len() as u32;
        match own.place_key(me, rules) {
            // Its best quote decides; of equal prices the earlier one stands.
            Some(best) => key = key.min(best),
            None => own_count += 1,
        }
        let pos = own.places.range(..key).filter(|place| place.3 != me).count() as u32 + 1;
        let others = other
            .places
            .iter()
            .enumerate()
            .map(|(i, (_, _, _, owner))| {
                let range = matchable_range(own_count, rules.standing(*owner).percentile);
                (
                    *owner,
                    Place {
                        pos: i as u32 + 1,
                        range,
                    },
                )
            })
            .collect();
        Reach {
            pos,
            range: matchable_range(other.owned.len() as u32, standing.percentile),
            others,
        }
    }
}

struct Reach {
    pos: u32,
    range: u32,
    others: BTreeMap<ParticipantId, Place>,
}

impl Reach {
    fn allows(&self, mode: RangeMode, other: ParticipantId) -> bool {
        self.others
            .get(&other)
            .is_some_and(|place| mode.allows(place.pos <= self.range, self.pos <= place.range))
    }
}
