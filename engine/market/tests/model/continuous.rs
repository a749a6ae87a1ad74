//! The continuous market of one contract written to be obviously right: flat lists of accepted prices, open orders and deals,
//! from which every question is answered anew (MARKET 2.2, 2.3, 2.5, 2.6, 3.3 to 3.5, 4.1, 6.2; DETAILS 3, 5; docs/orders.md),
//! in `i128`.
//!
//! An answer to an item is the least of all the codes that hold, since codes ascend in precedence. Money is never moved: it
//! is what a participant started with, less a sum over its open orders and its deals. Nothing is shared with
//! `wattbook_market` but the types of commands and reasons.

use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::command::{ALL_INDEXES, Cancel, Replace};
use wattbook_types::{
    CloseReason, ContractId, DealPriceRule, OrderId, ParticipantId, Quote, RangeMode, Reject, SelfTrade, Side,
    TimeInForce,
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
    /// Highest client order id accepted; 0: none.
    pub(crate) client_order_id: u64,
    pub(crate) suspended: bool,
}

/// An order in the book, or on its way in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Open {
    pub(crate) id: OrderId,
    pub(crate) side: Side,
    pub(crate) price: i128,
    pub(crate) cap: i128,
    /// Open quantity, shown and hidden.
    pub(crate) leaves: i128,
    /// What others can see and deal with while it rests.
    pub(crate) shown: i128,
    /// Shown at a time; 0: all of it.
    pub(crate) display: i128,
    pub(crate) self_trade: SelfTrade,
    pub(crate) min_fill: i128,
    pub(crate) life: TimeInForce,
    pub(crate) until_s: u32,
    /// Earlier is smaller.
    pub(crate) place: u64,
}

impl Open {
    /// What a new slice of it shows.
    fn slice(&self) -> i128 {
        if self.display == 0 {
            self.leaves
        } else {
            self.leaves.min(self.display)
        }
    }

    /// Shown and hidden: what events say of it.
    fn told(&self) -> Told {
        Told {
            leaves: self.shown,
            hidden: self.leaves - self.shown,
        }
    }

    /// A resting order loses some of its shown slice.
    fn lose(&mut self, wh: i128) {
        self.leaves -= wh;
        self.shown -= wh;
    }

    /// An incoming order loses some; it would show a full slice of the rest.
    fn spend(&mut self, wh: i128) {
        self.leaves -= wh;
        self.shown = self.slice();
    }
}

/// What events say of an open quantity: what all see, and what its owner sees besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) leaves: i128,
    pub(crate) hidden: i128,
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
    Deal(Done, [i128; 2], [Told; 2], Side),
    /// With price and leaves.
    Opened(OrderId, Side, i128, Told),
    /// New name, old name, price, leaves.
    Reduced(OrderId, OrderId, i128, Told),
    /// With price, leaves, and whether it rested.
    Closed(OrderId, i128, Told, CloseReason, bool),
    /// With leaves as far as shown.
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

/// One thing a sweep does to a resting order.
#[derive(Clone, Copy)]
enum Move {
    /// So much of it is dealt.
    Deal(OrderId, i128),
    /// All of it goes: it belongs to the taker's group.
    Cancel(OrderId),
    /// It and the taker lose so much: it belongs to the taker's group.
    Decrement(OrderId, i128),
}

/// What a sweep of the book would do, in order, and why something is left.
struct Sweep {
    moves: Vec<Move>,
    left: i128,
    why: Option<CloseReason>,
    passed_over: bool,
}

impl Sweep {
    fn deals(&self) -> bool {
        self.moves.iter().any(|m| matches!(m, Move::Deal(..)))
    }
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
    fn wrong_terms(
        &self,
        side: Side,
        price: i128,
        cap: i128,
        wh: i128,
        [min_fill, display]: [i128; 2],
    ) -> BTreeSet<Reject> {
        let slice = if display == 0 { wh } else { wh.min(display) };
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
            (Reject::MinFillOutOfBounds, min_fill > slice),
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
    fn wrong_entry(&self, order: &Open, to_limit: bool, old: Option<&Open>) -> BTreeSet<Reject> {
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
        let crosses = order.life == TimeInForce::PostOnly && without.sweep(order, to_limit).deals();
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

    /// What an order that is not in the book would do. `to_limit`: the price of its first deal becomes its limit.
    fn sweep(&self, order: &Open, to_limit: bool) -> Sweep {
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
            moves: Vec::new(),
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
        let mut first_price = None;
        let mut ahead: Vec<Open> = theirs.into_iter().filter(|o| closes(o) && pays(o)).collect();
        while sweep.left > 0 && !ahead.is_empty() {
            let mut other = ahead.remove(0);
            if to_limit && first_price.is_some_and(|first| other.price != first) {
                // Best first: any other price is worse.
                break;
            }
            if !may(other.id.participant) {
                why = CloseReason::OutOfRange;
                sweep.passed_over = true;
                continue;
            }
            let wh = sweep.left.min(other.shown);
            // Per execution; a remainder below the minimum is exempt from it.
            let enough = |min_fill: i128, left: i128| left < min_fill || wh >= min_fill;
            if !enough(order.min_fill, sweep.left) || !enough(other.min_fill, other.shown) {
                continue;
            }
            if self.affiliated(me, other.id.participant, self.rules.affiliation) {
                // What would stop a fill-or-kill from dealing all of it changes nothing.
                let whole = order.life == TimeInForce::Fok && order.self_trade != SelfTrade::CancelOldest;
                match order.self_trade {
                    SelfTrade::CancelOldest => {
                        sweep.moves.push(Move::Cancel(other.id));
                        continue;
                    }
                    SelfTrade::Decrement if !whole => sweep.moves.push(Move::Decrement(other.id, wh)),
                    mode => {
                        if mode == SelfTrade::CancelBoth && !whole {
                            sweep.moves.push(Move::Cancel(other.id));
                        }
                        why = CloseReason::SelfTrade;
                        break;
                    }
                }
            } else {
                sweep.moves.push(Move::Deal(other.id, wh));
                first_price.get_or_insert(other.price);
            }
            sweep.left -= wh;
            other.lose(wh);
            if other.shown == 0 && other.leaves > 0 {
                // The next slice comes last at its price.
                other.shown = other.slice();
                let worse = |o: &Open| badness(o.side, o.price) > badness(other.side, other.price);
                let at = ahead.iter().position(worse).unwrap_or(ahead.len());
                ahead.insert(at, other);
            }
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

    /// A resting order has lost some: it goes when nothing is left, or shows its next slice when this one is used up.
    fn renew(&mut self, id: OrderId) -> Option<Fact> {
        let at = self.open.iter().position(|o| o.id == id).unwrap();
        if self.open[at].leaves == 0 {
            self.open.remove(at);
            return None;
        }
        if self.open[at].shown > 0 {
            return None;
        }
        let place = self.next_place();
        let order = &mut self.open[at];
        order.place = place;
        order.shown = order.slice();
        Some(Fact::Opened(id, order.side, order.price, order.told()))
    }

    fn enter(&mut self, order: Open, to_limit: bool) -> Vec<Fact> {
        let sweep = self.sweep(&order, to_limit);
        let dealt = sweep.deals();
        self.accept(&order);
        self.passed_over += u64::from(sweep.passed_over);
        let mut facts = Vec::new();
        let kill = order.life == TimeInForce::Fok && sweep.left > 0;
        let mut mine = order;
        for step in if kill { Vec::new() } else { sweep.moves } {
            let (Move::Deal(id, _) | Move::Cancel(id) | Move::Decrement(id, _)) = step;
            let at = self.open.iter().position(|o| o.id == id).unwrap();
            match step {
                Move::Deal(_, wh) => {
                    if to_limit {
                        mine.price = self.open[at].price;
                    }
                    mine.spend(wh);
                    self.open[at].lose(wh);
                    let resting = &self.open[at];
                    let (bid, ask) = if mine.side == Side::Buy {
                        (&mine, resting)
                    } else {
                        (resting, &mine)
                    };
                    let deal = Done {
                        buyer: bid.id,
                        seller: ask.id,
                        half_ticks: match self.rules.price {
                            _ if to_limit => 2 * resting.price,
                            DealPriceRule::Midpoint => bid.price + ask.price,
                            DealPriceRule::PayAsBid => 2 * bid.price,
                            DealPriceRule::PayAsAsk => 2 * ask.price,
                            DealPriceRule::Uniform => 2 * resting.price,
                        },
                        wh,
                    };
                    let (limits, told) = ([bid.price, ask.price], [bid.told(), ask.told()]);
                    facts.push(Fact::Deal(deal.clone(), limits, told, mine.side));
                    self.done.push(deal);
                    facts.extend(self.renew(id));
                }
                Move::Cancel(_) => {
                    let oldest = self.open[at].clone();
                    facts.extend(self.close(&[oldest], CloseReason::SelfTrade));
                }
                Move::Decrement(_, wh) => {
                    mine.spend(wh);
                    facts.push(Fact::Unmatched(mine.id, mine.side, wh, CloseReason::SelfTrade));
                    if mine.leaves == 0 {
                        let told = mine.told();
                        facts.push(Fact::Closed(mine.id, mine.price, told, CloseReason::SelfTrade, false));
                    }
                    self.open[at].lose(wh);
                    let resting = &self.open[at];
                    let (price, told) = (resting.price, resting.told());
                    facts.push(if resting.leaves == 0 {
                        Fact::Closed(id, price, told, CloseReason::SelfTrade, true)
                    } else {
                        Fact::Reduced(id, id, price, told)
                    });
                    facts.extend(self.renew(id));
                }
            }
        }
        if mine.leaves == 0 {
            return facts;
        }
        let gone = match (mine.life, sweep.why) {
            (TimeInForce::Fok, _) => Some(CloseReason::FillOrKill),
            (_, Some(CloseReason::SelfTrade)) => Some(CloseReason::SelfTrade),
            _ if to_limit && !dealt => Some(CloseReason::NoMarket),
            (TimeInForce::Ioc, _) => Some(CloseReason::ImmediateOrCancel),
            _ => None,
        };
        let told = mine.told();
        if let Some(reason) = gone {
            facts.push(Fact::Unmatched(mine.id, mine.side, told.leaves, sweep.why.unwrap()));
            facts.push(Fact::Closed(mine.id, mine.price, told, reason, false));
        } else {
            facts.push(Fact::Opened(mine.id, mine.side, mine.price, told));
            self.open.push(mine);
        }
        facts
    }

    /// Takes resting orders out, in the order given.
    fn close(&mut self, which: &[Open], reason: CloseReason) -> Vec<Fact> {
        self.open.retain(|o| !which.contains(o));
        let closed = |o: &Open| Fact::Closed(o.id, o.price, o.told(), reason, true);
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
        // What never rests hides nothing.
        let display = match quote.time_in_force {
            TimeInForce::Ioc | TimeInForce::Fok => 0,
            _ => i128::from(quote.display.get()),
        };
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
        wrong.extend(self.wrong_terms(side, price, quote.charge_cap.into(), wh, [min_fill, display]));
        let mut order = Open {
            id,
            side,
            price,
            cap: self.resolved_cap(side, quote.charge_cap),
            leaves: wh,
            shown: 0,
            display,
            self_trade: quote.self_trade,
            min_fill,
            life: quote.time_in_force,
            until_s: quote.valid_until_s,
            place: self.next_place(),
        };
        order.shown = order.slice();
        if wrong.is_empty() {
            wrong = self.wrong_entry(&order, quote.market_to_limit, None);
            let highest = self.person(id.participant).client_order_id;
            if quote.client_order_id != 0 && quote.client_order_id <= highest {
                wrong.insert(Reject::ClientOrderIdUsed);
            }
        }
        if let Some(least) = wrong.first() {
            return Err(*least);
        }
        if quote.client_order_id != 0 {
            let person = self.people.get_mut(&id.participant.get()).unwrap();
            person.client_order_id = quote.client_order_id;
        }
        Ok(self.enter(order, quote.market_to_limit))
    }

    fn replace(&mut self, id: OrderId, replace: &Replace) -> Result<Vec<Fact>, Reject> {
        let target = OrderId {
            nonce: replace.target_nonce,
            index: replace.target_index,
            ..id
        };
        let (price, cap) = (i128::from(replace.price.get()), i128::from(replace.charge_cap));
        let (wh, min_fill) = (i128::from(replace.energy.get()), i128::from(replace.min_fill.get()));
        let display = i128::from(replace.display.get());
        let sizes = [min_fill, display];
        let mut wrong = self.wrong_time(replace.contract);
        let Some(old) = self.open.iter().find(|o| o.id == target).cloned() else {
            // Terms that no order of either side could have come first.
            let [bid, ask] = [Side::Buy, Side::Sell].map(|side| self.wrong_terms(side, price, cap, wh, sizes));
            wrong.extend(bid.intersection(&ask));
            wrong.insert(Reject::UnknownOrder);
            return Err(*wrong.first().unwrap());
        };
        wrong.extend(self.wrong_terms(old.side, price, cap, wh, sizes));
        // Showing more than it shows now is coming in anew.
        let stays = price == old.price && wh <= old.leaves && (display != 0 || wh <= old.shown);
        let mut order = Open {
            id,
            price,
            cap: self.resolved_cap(old.side, replace.charge_cap),
            leaves: wh,
            display,
            min_fill,
            place: if stays { old.place } else { self.next_place() },
            ..old.clone()
        };
        order.shown = order.slice();
        if stays {
            order.shown = order.shown.min(old.shown);
        }
        if wrong.is_empty() {
            // What rests has a limit, whatever it came in as.
            wrong = self.wrong_entry(&order, false, Some(&old));
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
            let told = order.told();
            self.open[at] = order;
            return Ok(vec![Fact::Reduced(id, target, price, told)]);
        }
        let mut facts = self.close(&[old], CloseReason::Replaced);
        facts.extend(self.enter(order, false));
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
