//! The continuous market of one contract written to be obviously right: flat lists of accepted prices, open orders and deals,
//! from which every question is answered anew (MARKET 2.2, 2.3, 2.5, 2.6, 3.3 to 3.5, 4.1, 6.2; DETAILS 3, 5), in `i128`.
//!
//! An answer to an item is the least of all the codes that hold, since codes ascend in precedence. Money is never moved: it
//! is what a participant started with, less a sum over its open orders and its deals. Nothing is shared with
//! `wattbook_market` but the types of commands and reasons.

use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::command::{ALL_INDEXES, Cancel, Replace};
use wattbook_types::{
    CloseReason, ContractId, DealPriceRule, OrderId, ParticipantId, Quote, RangeMode, Reject, Side, TimeInForce,
};

/// The parameters that matter here.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) range: RangeMode,
    pub(crate) price: DealPriceRule,
    /// `P_T`, ticks.
    pub(crate) charge: i128,
    /// Cap of a bid that names none, ticks.
    pub(crate) default_cap: i128,
    /// Penalty rate, ticks.
    pub(crate) penalty: i128,
    pub(crate) all_in: bool,
    pub(crate) concession: bool,
    pub(crate) affiliation: bool,
    /// What a bid must exceed, half ticks.
    pub(crate) floor: Option<i128>,
    pub(crate) min_lot: i128,
    pub(crate) price_bound: i128,
    pub(crate) energy_max: i128,
}

/// Who takes part.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) buys: bool,
    pub(crate) sells: bool,
    /// Its sales are not bounded by a meter.
    pub(crate) is_grid: bool,
    /// 0: none.
    pub(crate) group: u8,
    pub(crate) reputation: i128,
    pub(crate) percentile: i128,
    pub(crate) capacity: i128,
    /// Free and escrowed money before the first item.
    pub(crate) free: i128,
    pub(crate) escrow: i128,
    pub(crate) used_nonces: BTreeSet<u64>,
    pub(crate) suspended: bool,
}

/// An order in the book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Open {
    pub(crate) id: OrderId,
    pub(crate) side: Side,
    pub(crate) price: i128,
    pub(crate) cap: i128,
    pub(crate) leaves: i128,
    pub(crate) min_fill: i128,
    pub(crate) life: TimeInForce,
    pub(crate) until_s: u32,
    /// Earlier is smaller.
    pub(crate) place: u64,
}

/// A deal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Done {
    pub(crate) buyer: OrderId,
    pub(crate) seller: OrderId,
    pub(crate) half_ticks: i128,
    pub(crate) wh: i128,
}

/// What an item does, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fact {
    Accepted(u32),
    Rejected(u32, Reject),
    /// Then the limits and the leaves of bid and ask, and who took.
    Deal(Done, [i128; 2], [i128; 2], Side),
    /// With price and leaves.
    Opened(OrderId, Side, i128, i128),
    /// New name, old name, price, leaves.
    Reduced(OrderId, OrderId, i128, i128),
    /// With price, leaves, and whether it rested.
    Closed(OrderId, i128, i128, CloseReason, bool),
    /// With leaves.
    Unmatched(OrderId, Side, i128, CloseReason),
    /// Something the model never predicts.
    Else(String),
}

/// An item as the model takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Quote(Quote),
    Replace(Replace),
    Cancel(Cancel),
    /// Of the whole area or of the contract.
    Halt {
        area: bool,
        on: bool,
    },
    Suspend {
        serial: u64,
        on: bool,
    },
}

/// Where a contract stands for those who would trade it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stand {
    Unknown,
    GateClosed,
    /// Known, and its book has not opened yet.
    Sealing,
    Trading,
}

/// A price accepted on a side, by the record of its envelope.
#[derive(Clone, Debug)]
struct Accepted {
    record: u64,
    who: ParticipantId,
    side: Side,
    price: i128,
    wh: i128,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) people: BTreeMap<u64, Person>,
    /// The contract modelled.
    pub(crate) contract: ContractId,
    /// Gate closure of the contract, when the one after it opens its own; ns.
    pub(crate) gate_ns: u64,
    pub(crate) now_ns: u64,
    pub(crate) open: Vec<Open>,
    pub(crate) done: Vec<Done>,
    accepted: Vec<Accepted>,
    /// Entries that passed over an order for its range, to know that streams reach it.
    pub(crate) passed_over: u64,
    record: u64,
    places: u64,
    area_halted: bool,
    contract_halted: bool,
}

/// What a sweep of the book would do: (index among the open orders, Wh), and why something is left.
struct Sweep {
    takes: Vec<(usize, i128)>,
    left: i128,
    why: Option<CloseReason>,
    passed_over: bool,
}

/// Lower is better.
fn badness(side: Side, price: i128) -> i128 {
    match side {
        Side::Buy => -price,
        Side::Sell => price,
    }
}

/// Eq 5.
fn eq5(opposite: i128, percentile: i128) -> i128 {
    1.max(opposite.min((opposite * (1_000_000 - percentile) + 500_000).div_euclid(1_000_000)))
}

impl Model {
    pub(crate) fn new(
        rules: Rules,
        people: BTreeMap<u64, Person>,
        contract: ContractId,
        gate_ns: u64,
        now_ns: u64,
    ) -> Self {
        Self {
            rules,
            people,
            contract,
            gate_ns,
            now_ns,
            open: Vec::new(),
            done: Vec::new(),
            accepted: Vec::new(),
            passed_over: 0,
            record: 0,
            places: 0,
            area_halted: false,
            contract_halted: false,
        }
    }

    fn person(&self, who: ParticipantId) -> &Person {
        &self.people[&who.get()]
    }

    pub(crate) fn affiliated(&self, a: ParticipantId, b: ParticipantId, groups: bool) -> bool {
        let group = self.person(a).group;
        a == b || (groups && group != 0 && group == self.person(b).group)
    }

    /// Where a contract stands now. Those before the modelled one have closed their gate and are known for some time.
    pub(crate) fn stand(&self, contract: ContractId) -> Stand {
        let closed = self.now_ns >= self.gate_ns;
        match i64::from(contract.period()) - i64::from(self.contract.period()) {
            -2 | -1 => Stand::GateClosed,
            0 if closed => Stand::GateClosed,
            0 => Stand::Trading,
            1 if closed => Stand::Sealing,
            _ => Stand::Unknown,
        }
    }

    // What the lists say.

    /// Ticks per energy an order may cost at worst.
    fn worst(&self, side: Side, price: i128, cap: i128) -> i128 {
        match side {
            Side::Buy => 0.max(price + cap),
            Side::Sell => 0.max(-price) + self.rules.penalty,
        }
    }

    /// Free, reserved and escrowed money, nano-points.
    pub(crate) fn money(&self, who: ParticipantId) -> [i128; 3] {
        let start = self.person(who);
        let mine = self.open.iter().filter(|o| o.id.participant == who);
        let reserved: i128 = mine.map(|o| 10 * self.worst(o.side, o.price, o.cap) * o.leaves).sum();
        let mut escrow = start.escrow;
        for deal in &self.done {
            if deal.buyer.participant == who {
                escrow += 5 * 0.max(deal.half_ticks + 2 * self.rules.charge) * deal.wh;
            }
            if deal.seller.participant == who {
                escrow += 5 * (0.max(-deal.half_ticks) + 2 * self.rules.penalty) * deal.wh;
            }
        }
        [start.free + start.escrow - reserved - escrow, reserved, escrow]
    }

    /// Energy sold, bought and in open asks.
    pub(crate) fn energy(&self, who: ParticipantId) -> [i128; 3] {
        let sum = |of: fn(&Done) -> OrderId| -> i128 {
            let mine = self.done.iter().filter(|d| of(d).participant == who);
            mine.map(|d| d.wh).sum()
        };
        let asks = self
            .open
            .iter()
            .filter(|o| o.id.participant == who && o.side == Side::Sell);
        [sum(|d| d.seller), sum(|d| d.buyer), asks.map(|o| o.leaves).sum()]
    }

    /// Whether an order of at least the minimum lot was accepted on a side.
    pub(crate) fn entered(&self, who: ParticipantId, side: Side) -> bool {
        let mut of_side = self.accepted.iter().filter(|a| a.who == who && a.side == side);
        of_side.any(|a| a.wh >= self.rules.min_lot)
    }

    /// Lowest price of a deal that counts, half ticks.
    pub(crate) fn low(&self) -> Option<i128> {
        let counts =
            |d: &&Done| d.wh >= self.rules.min_lot && !self.affiliated(d.buyer.participant, d.seller.participant, true);
        self.done.iter().filter(counts).map(|d| d.half_ticks).min()
    }

    /// Orders of a side by price, then time.
    pub(crate) fn queue(&self, side: Side) -> Vec<Open> {
        let mut list: Vec<Open> = self.open.iter().filter(|o| o.side == side).cloned().collect();
        list.sort_by_key(|o| (badness(side, o.price), o.place));
        list
    }

    /// The worst price accepted in the latest envelope before the one under way.
    fn mark(&self, who: ParticipantId, side: Side) -> Option<i128> {
        let before = |a: &&Accepted| a.who == who && a.side == side && a.record < self.record;
        let latest = self.accepted.iter().filter(before).map(|a| a.record).max()?;
        let curve = self.accepted.iter().filter(|a| before(a) && a.record == latest);
        curve.map(|a| a.price).max_by_key(|price| badness(side, *price))
    }

    // Answers.

    /// What is wrong with terms on a side, whoever names them.
    fn wrong_terms(&self, side: Side, price: i128, cap: i128, wh: i128, min_fill: i128) -> BTreeSet<Reject> {
        let cap = match (side, cap) {
            (Side::Sell, _) => 0,
            (Side::Buy, -1) => self.rules.default_cap,
            (Side::Buy, cap) => cap,
        };
        let notional = |ticks: i128| 10 * ticks * wh > 1 << 62;
        let table = [
            (Reject::PriceOutOfBounds, price.abs() > self.rules.price_bound),
            (Reject::EnergyZero, wh == 0),
            (Reject::EnergyOutOfBounds, wh > self.rules.energy_max),
            (Reject::ChargeCapOutOfBounds, cap < -1),
            (Reject::MinFillOutOfBounds, min_fill > wh),
            (
                Reject::NotionalTooLarge,
                notional(price.abs()) || notional(self.worst(side, price, cap)),
            ),
        ];
        table.into_iter().filter(|row| row.1).map(|row| row.0).collect()
    }

    /// What keeps anybody from trading a contract now.
    fn wrong_time(&self, contract: ContractId) -> BTreeSet<Reject> {
        let stand = self.stand(contract);
        let halted = self.area_halted || (self.contract_halted && contract == self.contract);
        let table = [
            (Reject::UnknownContract, stand == Stand::Unknown),
            (Reject::GateClosed, stand == Stand::GateClosed),
            (Reject::Halted, halted),
            (Reject::NotInPhase, stand == Stand::Sealing),
        ];
        table.into_iter().filter(|row| row.1).map(|row| row.0).collect()
    }

    /// What keeps an order from entering now, `old` gone first.
    fn wrong_entry(&self, order: &Open, old: Option<&Open>) -> BTreeSet<Reject> {
        let (who, wh) = (order.id.participant, order.leaves);
        let mark = self.mark(who, order.side);
        let concedes = mark.is_none_or(|mark| badness(order.side, order.price) <= badness(order.side, mark));
        let above = self.rules.floor.is_none_or(|floor| 2 * order.price > floor);
        let copy;
        let without = match old {
            None => self,
            Some(old) => {
                let open = self.open.iter().filter(|o| *o != old).cloned().collect();
                copy = Self { open, ..self.clone() };
                &copy
            }
        };
        let [sold, bought, asked] = without.energy(who);
        let person = self.person(who);
        let too_much = order.side == Side::Sell && !person.is_grid && sold + asked + wh > person.capacity + bought;
        let needs = 10 * self.worst(order.side, order.price, order.cap) * wh;
        let crosses = order.life == TimeInForce::PostOnly && !without.sweep(order).takes.is_empty();
        let past =
            order.life == TimeInForce::Until && u128::from(order.until_s) * 1_000_000_000 < u128::from(self.now_ns);
        let table = [
            (Reject::ConcessionViolated, self.rules.concession && !concedes),
            (Reject::BidBelowFloor, order.side == Side::Buy && !above),
            (Reject::CapacityExceeded, too_much),
            (Reject::NoBalance, without.money(who)[0] < needs),
            (Reject::WouldCross, crosses),
            (Reject::ValidUntilPast, past),
        ];
        table.into_iter().filter(|row| row.1).map(|row| row.0).collect()
    }

    /// Participants by their best live quote: price, then R, then time.
    fn line(&self, orders: &[Open]) -> Vec<ParticipantId> {
        let who: BTreeSet<ParticipantId> = orders.iter().map(|o| o.id.participant).collect();
        let mut line: Vec<ParticipantId> = who.into_iter().collect();
        line.sort_by_key(|&who| {
            let mine = orders.iter().filter(|o| o.id.participant == who);
            let best = mine.map(|o| (badness(o.side, o.price), o.place)).min();
            best.map(|(price, place)| (price, -self.person(who).reputation, place))
        });
        line
    }

    /// What an order that is not in the book would do.
    fn sweep(&self, order: &Open) -> Sweep {
        let me = order.id.participant;
        let theirs = self.queue(order.side.opposite());
        let mut ours = self.queue(order.side);
        ours.push(order.clone());
        let (our_line, their_line) = (self.line(&ours), self.line(&theirs));
        let place = |line: &[ParticipantId], who| 1 + line.iter().position(|x| *x == who).unwrap() as i128;
        let may = |other: ParticipantId| {
            let own = place(&their_line, other) <= eq5(their_line.len() as i128, self.person(me).percentile);
            let counterparty = place(&our_line, me) <= eq5(our_line.len() as i128, self.person(other).percentile);
            match self.rules.range {
                RangeMode::Off => true,
                RangeMode::Own => own,
                RangeMode::Counterparty => counterparty,
                RangeMode::Mutual => own && counterparty,
                RangeMode::Either => own || counterparty,
            }
        };
        let spread = if self.rules.all_in { 2 * self.rules.charge } else { 0 };
        let closes = |other: &Open| match order.side {
            Side::Buy => order.price - other.price >= spread,
            Side::Sell => other.price - order.price >= spread,
        };
        let pays = |o: &Open| o.side == Side::Sell || o.cap >= self.rules.charge;
        let mut sweep = Sweep {
            takes: Vec::new(),
            left: order.leaves,
            why: None,
            passed_over: false,
        };
        if theirs.is_empty() {
            sweep.why = Some(CloseReason::NoCounterparty);
        } else if !pays(order) {
            sweep.why = Some(CloseReason::ChargeCap);
        } else if !theirs.iter().any(closes) {
            sweep.why = Some(CloseReason::PriceNotMet);
        }
        if sweep.why.is_some() {
            return sweep;
        }
        let mut why = CloseReason::Exhausted;
        for other in theirs.iter().filter(|o| closes(o) && pays(o)) {
            if sweep.left == 0 {
                break;
            }
            if !may(other.id.participant) {
                why = CloseReason::OutOfRange;
                sweep.passed_over = true;
                continue;
            }
            let wh = sweep.left.min(other.leaves);
            // Per execution; a remainder below the minimum is exempt from it.
            let enough = |min_fill: i128, left: i128| left < min_fill || wh >= min_fill;
            if !enough(order.min_fill, sweep.left) || !enough(other.min_fill, other.leaves) {
                continue;
            }
            if self.affiliated(me, other.id.participant, self.rules.affiliation) {
                why = CloseReason::SelfTrade;
                break;
            }
            let index = self.open.iter().position(|o| o.id == other.id).unwrap();
            sweep.takes.push((index, wh));
            sweep.left -= wh;
        }
        sweep.why = (sweep.left > 0).then_some(why);
        sweep
    }

    // What happens.

    fn accept(&mut self, order: &Open) {
        self.accepted.push(Accepted {
            record: self.record,
            who: order.id.participant,
            side: order.side,
            price: order.price,
            wh: order.leaves,
        });
    }

    fn enter(&mut self, order: Open) -> Vec<Fact> {
        let sweep = self.sweep(&order);
        self.accept(&order);
        self.passed_over += u64::from(sweep.passed_over);
        let mut facts = Vec::new();
        let kill = order.life == TimeInForce::Fok && sweep.left > 0;
        let mut left = order.leaves;
        for (index, wh) in if kill { Vec::new() } else { sweep.takes } {
            let (mut mine, resting) = (order.clone(), self.open[index].clone());
            mine.leaves = left;
            let (bid, ask) = if order.side == Side::Buy {
                (&mine, &resting)
            } else {
                (&resting, &mine)
            };
            let deal = Done {
                buyer: bid.id,
                seller: ask.id,
                half_ticks: match self.rules.price {
                    DealPriceRule::Midpoint => bid.price + ask.price,
                    DealPriceRule::PayAsBid => 2 * bid.price,
                    DealPriceRule::PayAsAsk => 2 * ask.price,
                    DealPriceRule::Uniform => 2 * resting.price,
                },
                wh,
            };
            let (limits, leaves) = ([bid.price, ask.price], [bid.leaves - wh, ask.leaves - wh]);
            facts.push(Fact::Deal(deal.clone(), limits, leaves, order.side));
            self.done.push(deal);
            self.open[index].leaves -= wh;
            left -= wh;
        }
        self.open.retain(|o| o.leaves > 0);
        if left == 0 {
            return facts;
        }
        let gone = match (order.life, sweep.why) {
            (TimeInForce::Fok, _) => Some(CloseReason::FillOrKill),
            (_, Some(CloseReason::SelfTrade)) => Some(CloseReason::SelfTrade),
            (TimeInForce::Ioc, _) => Some(CloseReason::ImmediateOrCancel),
            _ => None,
        };
        if let Some(reason) = gone {
            facts.push(Fact::Unmatched(order.id, order.side, left, sweep.why.unwrap()));
            facts.push(Fact::Closed(order.id, order.price, left, reason, false));
        } else {
            facts.push(Fact::Opened(order.id, order.side, order.price, left));
            self.open.push(Open { leaves: left, ..order });
        }
        facts
    }

    /// Takes resting orders out, in the order given.
    fn close(&mut self, which: &[Open], reason: CloseReason) -> Vec<Fact> {
        self.open.retain(|o| !which.contains(o));
        let closed = |o: &Open| Fact::Closed(o.id, o.price, o.leaves, reason, true);
        which.iter().map(closed).collect()
    }

    /// All resting orders: bids, then asks, each best first.
    fn resting(&self) -> Vec<Open> {
        [self.queue(Side::Buy), self.queue(Side::Sell)].concat()
    }

    fn next_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    fn resolved_cap(&self, side: Side, cap: i32) -> i128 {
        match (side, cap) {
            (Side::Sell, _) => 0,
            (Side::Buy, -1) => self.rules.default_cap,
            (Side::Buy, cap) => cap.into(),
        }
    }

    fn quote(&mut self, id: OrderId, quote: &Quote) -> Result<Vec<Fact>, Reject> {
        let (side, price) = (quote.side, i128::from(quote.price.get()));
        let (wh, min_fill) = (i128::from(quote.energy.get()), i128::from(quote.min_fill.get()));
        let person = self.person(id.participant);
        let mut wrong = self.wrong_time(quote.contract);
        let allowed = match side {
            Side::Buy => person.buys,
            Side::Sell => person.sells,
        };
        if !allowed {
            wrong.insert(Reject::RoleMissing);
        }
        if quote.round != 0 {
            wrong.insert(Reject::WrongRound);
        }
        wrong.extend(self.wrong_terms(side, price, quote.charge_cap.into(), wh, min_fill));
        let order = Open {
            id,
            side,
            price,
            cap: self.resolved_cap(side, quote.charge_cap),
            leaves: wh,
            min_fill,
            life: quote.time_in_force,
            until_s: quote.valid_until_s,
            place: self.next_place(),
        };
        if wrong.is_empty() {
            wrong = self.wrong_entry(&order, None);
        }
        match wrong.first() {
            Some(least) => Err(*least),
            None => Ok(self.enter(order)),
        }
    }

    fn replace(&mut self, id: OrderId, replace: &Replace) -> Result<Vec<Fact>, Reject> {
        let target = OrderId {
            nonce: replace.target_nonce,
            index: replace.target_index,
            ..id
        };
        let (price, cap) = (i128::from(replace.price.get()), i128::from(replace.charge_cap));
        let (wh, min_fill) = (i128::from(replace.energy.get()), i128::from(replace.min_fill.get()));
        let mut wrong = self.wrong_time(replace.contract);
        let Some(old) = self.open.iter().find(|o| o.id == target).cloned() else {
            // Terms that no order of either side could have come first.
            let [bid, ask] = [Side::Buy, Side::Sell].map(|side| self.wrong_terms(side, price, cap, wh, min_fill));
            wrong.extend(bid.intersection(&ask));
            wrong.insert(Reject::UnknownOrder);
            return Err(*wrong.first().unwrap());
        };
        wrong.extend(self.wrong_terms(old.side, price, cap, wh, min_fill));
        let stays = price == old.price && wh <= old.leaves;
        let order = Open {
            id,
            price,
            cap: self.resolved_cap(old.side, replace.charge_cap),
            leaves: wh,
            min_fill,
            place: if stays { old.place } else { self.next_place() },
            ..old.clone()
        };
        if wrong.is_empty() {
            wrong = self.wrong_entry(&order, Some(&old));
            if stays {
                // It does not come in, so it cannot cross.
                wrong.remove(&Reject::WouldCross);
            }
        }
        if let Some(least) = wrong.first() {
            return Err(*least);
        }
        if stays {
            self.accept(&order);
            let at = self.open.iter().position(|o| o.id == target).unwrap();
            self.open[at] = order;
            return Ok(vec![Fact::Reduced(id, target, price, wh)]);
        }
        let mut facts = self.close(&[old], CloseReason::Replaced);
        facts.extend(self.enter(order));
        Ok(facts)
    }

    fn cancel(&mut self, who: ParticipantId, cancel: &Cancel) -> Result<Vec<Fact>, Reject> {
        match cancel.contract.map(|id| self.stand(id)) {
            Some(Stand::Unknown) => return Err(Reject::UnknownContract),
            Some(Stand::GateClosed) => return Err(Reject::GateClosed),
            _ => {}
        }
        let mut targets = self.resting();
        targets.retain(|o| {
            let named = o.id.nonce == cancel.target_nonce
                && (cancel.target_index == ALL_INDEXES || cancel.target_index == o.id.index);
            o.id.participant == who
                && cancel.contract.is_none_or(|id| id == self.contract)
                && (cancel.target_nonce == 0 || named)
        });
        if targets.is_empty() && cancel.target_nonce != 0 {
            // An unseen target is burned.
            let person = self.people.get_mut(&who.get()).unwrap();
            let base = (0..)
                .take_while(|n| *n == 0 || person.used_nonces.contains(n))
                .last()
                .unwrap();
            if cancel.target_nonce > base + 1_024 || !person.used_nonces.insert(cancel.target_nonce) {
                return Err(Reject::UnknownOrder);
            }
        }
        Ok(self.close(&targets, CloseReason::Cancelled))
    }

    /// Applies an envelope: what it does, or why it is refused whole.
    pub(crate) fn envelope(&mut self, who: ParticipantId, nonce: u64, items: &[Ask]) -> Result<Vec<Fact>, Reject> {
        let person = self.person(who);
        let table = [
            (Reject::BadCount, items.is_empty()),
            (Reject::Duplicate, person.used_nonces.contains(&nonce)),
            (Reject::Suspended, person.suspended),
        ];
        if let Some((reject, _)) = table.into_iter().find(|row| row.1) {
            return Err(reject);
        }
        self.people.get_mut(&who.get()).unwrap().used_nonces.insert(nonce);
        self.record += 1;
        let mut facts = Vec::new();
        for (index, item) in (0..).zip(items) {
            let id = OrderId {
                participant: who,
                nonce,
                index,
            };
            let answer = match item {
                Ask::Quote(quote) => self.quote(id, quote),
                Ask::Replace(replace) => self.replace(id, replace),
                Ask::Cancel(cancel) => self.cancel(who, cancel),
                Ask::Halt { area: true, on } => {
                    self.area_halted = *on;
                    Ok(Vec::new())
                }
                Ask::Halt { area: false, on } => {
                    self.contract_halted = *on;
                    Ok(Vec::new())
                }
                Ask::Suspend { serial, on } => {
                    self.people.get_mut(serial).unwrap().suspended = *on;
                    let mut theirs = self.resting();
                    theirs.retain(|o| *on && o.id.participant.get() == *serial);
                    Ok(self.close(&theirs, CloseReason::Suspended))
                }
            };
            match answer {
                Ok(effects) => {
                    facts.push(Fact::Accepted(index));
                    facts.extend(effects);
                }
                Err(reject) => facts.push(Fact::Rejected(index, reject)),
            }
        }
        Ok(facts)
    }

    /// Moves time on: orders expire after their last second, the rest goes when the gate closes.
    pub(crate) fn tick(&mut self, now_ns: u64) -> Vec<Fact> {
        let last = now_ns.min(self.gate_ns);
        let ends = |o: &Open| u64::from(o.until_s) * 1_000_000_000;
        let mut expired = self.resting();
        expired.retain(|o| o.life == TimeInForce::Until && ends(o) < last);
        expired.sort_by_key(|o| (o.until_s, o.id));
        let mut facts = self.close(&expired, CloseReason::Expired);
        self.now_ns = now_ns;
        if now_ns >= self.gate_ns {
            facts.extend(self.close(&self.resting(), CloseReason::GateClosed));
        }
        facts
    }
}
