//! The obvious book: a list of orders, sorted whenever anybody asks. Slow, and meant to be read.

use wattbook_book::{Incoming, Kind, Reason, Rest, Rules, Standing, matchable_range};
use wattbook_types::{RangeMode, SelfTrade, Side, TimeInForce};

/// A resting order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resting {
    pub(crate) id: u32,
    pub(crate) owner: u32,
    pub(crate) side: Side,
    pub(crate) price: i32,
    pub(crate) shown: u32,
    pub(crate) hidden: u32,
    pub(crate) min_fill: u32,
    pub(crate) display: u32,
    pub(crate) covered: bool,
    /// Larger is later.
    pub(crate) time: u64,
}

impl Resting {
    /// What is said of it as it stands now.
    pub(crate) fn speak(&self, kind: Kind, reason: Reason, energy: u32) -> Said {
        Said {
            kind,
            reason,
            id: self.id,
            other: None,
            price: self.price,
            energy,
            leaves: self.shown,
            other_leaves: 0,
        }
    }
}

/// What the book is expected to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) kind: Kind,
    pub(crate) reason: Reason,
    pub(crate) id: u32,
    pub(crate) other: Option<u32>,
    pub(crate) price: i32,
    pub(crate) energy: u32,
    pub(crate) leaves: u32,
    pub(crate) other_leaves: u32,
}

#[derive(Clone)]
pub(crate) struct Model {
    rules: Rules,
    pub(crate) orders: Vec<Resting>,
    standing: Vec<Standing>,
    time: u64,
}

/// Ascending is best first.
fn best_first(side: Side, price: i32) -> i64 {
    match side {
        Side::Buy => -i64::from(price),
        Side::Sell => i64::from(price),
    }
}

impl Model {
    pub(crate) fn new(rules: Rules, standing: Vec<Standing>) -> Self {
        Self {
            rules,
            orders: Vec::new(),
            standing,
            time: 0,
        }
    }

    /// A side in price-time order.
    pub(crate) fn queue(&self, side: Side) -> Vec<Resting> {
        let mut queue: Vec<Resting> = self.orders.iter().filter(|o| o.side == side).copied().collect();
        queue.sort_by_key(|o| (best_first(side, o.price), o.time));
        queue
    }

    /// Owners of a side in place order; `extra` is an order that counts as if it stood.
    pub(crate) fn placed(&self, side: Side, extra: Option<(u32, i32)>) -> Vec<u32> {
        let mut best: Vec<(i64, u32, u64, u32)> = Vec::new();
        let standing = self.orders.iter().filter(|o| o.side == side);
        let mut all: Vec<(u32, i32, u64)> = standing.map(|o| (o.owner, o.price, o.time)).collect();
        all.extend(extra.map(|(owner, price)| (owner, price, self.time)));
        for (owner, price, time) in all {
            let behind = u32::MAX - self.standing[owner as usize].reputation.get();
            best.push((best_first(side, price), behind, time, owner));
        }
        // An owner's best is by price, then time; its reputation is the same in all.
        best.sort_unstable();
        let mut owners: Vec<u32> = Vec::new();
        for (_, _, _, owner) in best {
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        owners
    }

    fn same_group(&self, a: u32, b: u32) -> bool {
        let group = |owner: u32| self.standing[owner as usize].group;
        a == b || group(a) != Standing::ALONE && group(a) == group(b)
    }

    fn closes(&self, side: Side, price: i32, resting: i32) -> bool {
        let (bid, ask) = match side {
            Side::Buy => (price, resting),
            Side::Sell => (resting, price),
        };
        i64::from(bid) - i64::from(ask) >= self.rules.spread_min
    }

    pub(crate) fn cancel(&mut self, id: u32) -> Vec<Said> {
        let at = self.orders.iter().position(|o| o.id == id);
        let gone = at.map(|at| self.orders.remove(at));
        let said = gone.map(|o| o.speak(Kind::Closed, Reason::Cancelled, o.shown));
        said.into_iter().collect()
    }

    /// Takes energy from an order outside a sweep.
    pub(crate) fn take(&mut self, id: u32, energy: u32) -> Vec<Said> {
        let time = self.time;
        let at = self.orders.iter().position(|o| o.id == id).unwrap();
        let order = &mut self.orders[at];
        let open = order.shown + order.hidden - energy;
        order.shown = order.shown.saturating_sub(energy);
        let kind = if open == 0 { Kind::Closed } else { Kind::Reduced };
        let mut said = vec![order.speak(kind, Reason::Taken, energy)];
        if open == 0 {
            self.orders.remove(at);
        } else if order.shown == 0 {
            (order.shown, order.hidden) = (open.min(order.display), open - open.min(order.display));
            order.time = time;
            said.push(order.speak(Kind::Shown, Reason::None, order.shown));
            self.time += 1;
        }
        said
    }

    pub(crate) fn submit(&mut self, id: u32, order: &Incoming) -> (Vec<Said>, u32, Rest) {
        let before = (self.orders.clone(), self.time);
        let (said, left, rest, deals) = self.enter(id, order);
        let says = |kind, reason, left| Said {
            kind,
            reason,
            id,
            other: None,
            price: order.price,
            energy: order.energy,
            leaves: left,
            other_leaves: 0,
        };
        let dealt: u32 = deals.iter().sum();
        let refuse = order.time_in_force == TimeInForce::PostOnly && dealt > 0;
        let kill = order.time_in_force == TimeInForce::Fok && dealt < order.energy;
        if refuse || kill {
            (self.orders, self.time) = before;
        }
        if refuse {
            return (vec![says(Kind::Refused, Reason::None, 0)], order.energy, Rest::None);
        }
        if kill {
            let accepted = says(Kind::Accepted, Reason::None, order.energy);
            // Its own group stops a fill-or-kill order that would lose energy to it.
            let lost = said.iter().any(|s| s.kind == Kind::Dropped);
            let rest = if lost { Rest::SelfTrade } else { rest };
            return (
                vec![accepted, says(Kind::Closed, Reason::FillOrKill, order.energy)],
                order.energy,
                rest,
            );
        }
        (said, left, rest)
    }

    /// Sweeps and rests, whatever the order's life; says what happened, what is left, why, and the energies dealt.
    fn enter(&mut self, id: u32, order: &Incoming) -> (Vec<Said>, u32, Rest, Vec<u32>) {
        let (side, me) = (order.side, order.owner.get());
        let opposite = side.opposite();
        let mut left = order.energy;
        let mut limit = order.price;
        let mut deals: Vec<u32> = Vec::new();
        let accepted = Said {
            kind: Kind::Accepted,
            reason: Reason::None,
            id,
            other: None,
            price: order.price,
            energy: left,
            leaves: left,
            other_leaves: 0,
        };
        let mut said = vec![accepted];

        // Places and counts are taken once.
        let own = self.placed(side, Some((me, order.price)));
        let others = self.placed(opposite, None);
        let my_pos = own.iter().position(|o| *o == me).unwrap() as u32 + 1;
        let my_range = matchable_range(others.len() as u32, self.standing[me as usize].percentile);
        let in_range = |standing: &[Standing], owner: u32| {
            let pos = others.iter().position(|o| *o == owner).unwrap() as u32 + 1;
            let range = matchable_range(own.len() as u32, standing[owner as usize].percentile);
            self.rules.range == RangeMode::Off || self.rules.range.allows(pos <= my_range, my_pos <= range)
        };
        let allowed: Vec<u32> = others
            .iter()
            .copied()
            .filter(|o| in_range(&self.standing, *o))
            .collect();

        let start = self.queue(opposite);
        let mut rest = if start.is_empty() {
            Rest::NoCounterparty
        } else if !order.covered {
            Rest::ChargeCap
        } else if !self.closes(side, order.price, start[0].price) {
            Rest::PriceNotMet
        } else {
            Rest::Exhausted
        };
        let mut passed_over = false;
        let mut stopped = false;
        // Each resting order is looked at in turn; one that moved to the end of its queue is looked at again.
        let mut seen: Vec<u64> = Vec::new();
        while rest == Rest::Exhausted && left > 0 && !stopped {
            let queue = self.queue(opposite);
            let Some(met) = queue.iter().find(|o| !seen.contains(&o.time)).copied() else {
                break;
            };
            seen.push(met.time);
            let price_closes = if deals.is_empty() || !order.market_to_limit {
                self.closes(side, order.price, met.price)
            } else {
                met.price == limit
            };
            if !price_closes {
                break;
            }
            if !met.covered {
                continue;
            }
            if !allowed.contains(&met.owner) {
                passed_over = true;
                continue;
            }
            let energy = left.min(met.shown);
            let enough = |min_fill: u32, left: u32| left < min_fill || energy >= min_fill;
            if !enough(order.min_fill, left) || !enough(met.min_fill, met.shown) {
                continue;
            }
            let speak = |kind, reason, energy, leaves| Said {
                kind,
                reason,
                id: met.id,
                other: None,
                price: met.price,
                energy,
                leaves,
                other_leaves: 0,
            };
            let selfish = self.same_group(me, met.owner);
            if selfish {
                let mode = order.self_trade;
                if matches!(mode, SelfTrade::CancelOldest | SelfTrade::CancelBoth) {
                    self.orders.retain(|o| o.id != met.id);
                    said.push(speak(Kind::Closed, Reason::SelfTrade, met.shown, 0));
                }
                match mode {
                    SelfTrade::CancelOldest => continue,
                    SelfTrade::CancelNewest | SelfTrade::CancelBoth => {
                        stopped = true;
                        break;
                    }
                    SelfTrade::Decrement => {}
                }
            }
            left -= energy;
            let after = met.shown - energy;
            if selfish {
                said.push(Said {
                    kind: Kind::Dropped,
                    reason: Reason::SelfTrade,
                    id,
                    other: Some(met.id),
                    price: met.price,
                    energy,
                    leaves: left,
                    other_leaves: after,
                });
            } else {
                if deals.is_empty() && order.market_to_limit {
                    limit = met.price;
                }
                deals.push(energy);
                said.push(Said {
                    kind: Kind::Deal,
                    reason: Reason::None,
                    id: met.id,
                    other: Some(id),
                    price: met.price,
                    energy,
                    leaves: after,
                    other_leaves: left,
                });
            }
            let reason = Reason::SelfTrade;
            let at = self.orders.iter().position(|o| o.id == met.id).unwrap();
            if after > 0 {
                self.orders[at].shown = after;
                if selfish {
                    said.push(speak(Kind::Reduced, reason, energy, after));
                }
            } else if met.hidden == 0 {
                self.orders.remove(at);
                if selfish {
                    said.push(speak(Kind::Closed, reason, energy, 0));
                }
            } else {
                if selfish {
                    said.push(speak(Kind::Reduced, reason, energy, 0));
                }
                let shown = met.hidden.min(met.display);
                self.orders[at].shown = shown;
                self.orders[at].hidden -= shown;
                self.orders[at].time = self.time;
                self.time += 1;
                said.push(speak(Kind::Shown, Reason::None, shown, shown));
            }
        }
        if rest == Rest::Exhausted {
            rest = if left == 0 {
                Rest::None
            } else if stopped {
                Rest::SelfTrade
            } else if passed_over {
                Rest::OutOfRange
            } else {
                Rest::Exhausted
            };
        }
        if left == 0 {
            return (said, left, rest, deals);
        }
        let speak = |kind, reason, energy, leaves| Said {
            kind,
            reason,
            id,
            other: None,
            price: limit,
            energy,
            leaves,
            other_leaves: 0,
        };
        let reason = if rest == Rest::SelfTrade {
            Reason::SelfTrade
        } else if order.market_to_limit && deals.is_empty() {
            Reason::NoMarket
        } else if matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) {
            Reason::ImmediateOrCancel
        } else {
            self.rest(id, order, limit, left);
            let shown = self.orders.last().unwrap().shown;
            if shown != left || limit != order.price {
                said.push(speak(Kind::Shown, Reason::None, shown, shown));
            }
            return (said, left, rest, deals);
        };
        said.push(speak(Kind::Closed, reason, left, left));
        (said, left, rest, deals)
    }

    pub(crate) fn rest(&mut self, id: u32, order: &Incoming, price: i32, energy: u32) {
        let display = if order.display < order.energy { order.display } else { 0 };
        let shown = if display == 0 { energy } else { energy.min(display) };
        self.orders.push(Resting {
            id,
            owner: order.owner.get(),
            side: order.side,
            price,
            shown,
            hidden: energy - shown,
            min_fill: order.min_fill,
            display,
            covered: order.covered,
            time: self.time,
        });
        self.time += 1;
    }
}
