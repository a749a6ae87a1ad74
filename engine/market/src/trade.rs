//! Quotes, replaces, cancels and deals in the continuous book (MARKET 2, 4.2, 6.2; DETAILS 3, 5).

use crate::account::Account;
use crate::accounts::{AccountIndex, Accounts, Party};
use crate::book::{Order, Plan, Rest, SweepRules};
use crate::contract::{Contract, DealState, DealStatus};
use crate::market::Market;
use wattbook_types::command::{ALL_INDEXES, Cancel, Replace};
use wattbook_types::units::NANO_PER_TICK_WH;
use wattbook_types::{
    CloseReason, ContractId, Deal, DealPrice, DealPriceRule, Energy, Event, Money, OrderId, Param, Params, Phase,
    Price, Quote, Reject, Roles, Side, TimeInForce, TimeNs,
};

/// Greatest notional of an order, nano-points (MARKET 1).
const NOTIONAL_MAX: i128 = 1 << 62;

/// Money per energy that an order may cost at worst, ticks (MARKET 6.2).
fn worst_case_ticks(params: &Params, side: Side, price: Price, charge_cap: i32) -> i64 {
    match side {
        Side::Buy => (i64::from(price.get()) + i64::from(charge_cap)).max(0),
        Side::Sell => (-i64::from(price.get())).max(0) + params.get(Param::PenaltyRate),
    }
}

/// What an order reserves for `energy` of it.
///
/// # Panics
/// On overflow, which [`check_terms`] rules out.
pub(crate) fn reservation(params: &Params, side: Side, price: Price, charge_cap: i32, energy: Energy) -> Money {
    Money::of_ticks(worst_case_ticks(params, side, price, charge_cap), energy)
        .expect("INVARIANT: accepted terms keep reservations in range")
}

/// The checks of a quote that need nothing but its own terms; the charge cap comes back with its default resolved.
pub(crate) fn check_terms(
    params: &Params,
    side: Side,
    price: Price,
    charge_cap: i32,
    energy: Energy,
    min_fill: Energy,
) -> Result<i32, Reject> {
    if !params.price_in_bounds(price) {
        return Err(Reject::PriceOutOfBounds);
    }
    if energy.is_zero() {
        return Err(Reject::EnergyZero);
    }
    let wh = i128::from(energy.get());
    if wh < i128::from(params.get(Param::EnergyMin)) || wh > i128::from(params.get(Param::EnergyMax)) {
        return Err(Reject::EnergyOutOfBounds);
    }
    let cap = match (side, charge_cap) {
        (Side::Sell, _) => 0,
        (Side::Buy, -1) => i32::try_from(params.get(Param::ChargeCap)).map_err(|_| Reject::ChargeCapOutOfBounds)?,
        (Side::Buy, cap) if cap >= 0 => cap,
        (Side::Buy, _) => return Err(Reject::ChargeCapOutOfBounds),
    };
    if min_fill > energy {
        return Err(Reject::MinFillOutOfBounds);
    }
    let nano = |ticks: i64| i128::from(ticks) * i128::from(NANO_PER_TICK_WH) * wh;
    let limit = i64::from(price.get()).abs();
    if nano(limit) > NOTIONAL_MAX || nano(worst_case_ticks(params, side, price, cap)) > NOTIONAL_MAX {
        return Err(Reject::NotionalTooLarge);
    }
    Ok(cap)
}

/// The role a side asks for.
pub(crate) const fn role_of(side: Side) -> Roles {
    match side {
        Side::Buy => Roles::BUYER,
        Side::Sell => Roles::SELLER,
    }
}

/// Whether a bid exceeds the floor; asks always do.
pub(crate) fn above_floor(contract: &Contract, side: Side, price: Price) -> bool {
    side == Side::Sell || contract.floor.is_none_or(|floor| price.to_deal_price() > floor)
}

/// Runs `f` with the contract's book and the rules of its sweeps.
pub(crate) fn with_book<R>(
    contract: &mut Contract,
    accounts: &Accounts,
    f: impl FnOnce(&mut crate::book::Book, &SweepRules<'_>) -> R,
) -> R {
    let Contract {
        params,
        standing,
        book,
        changed,
        ..
    } = contract;
    changed.book = true;
    let groups = params.on(Param::Affiliation);
    let rules = SweepRules {
        range: params.range(),
        spread_min: spread_min(params),
        charge: params.charge_ticks(),
        standing,
        affiliated: &|a, b| accounts.affiliated(a, b, groups),
    };
    f(book, &rules)
}

/// Least bid - ask.
pub(crate) fn spread_min(params: &Params) -> i64 {
    if params.on(Param::AllInBids) {
        2 * params.charge_ticks()
    } else {
        0
    }
}

/// The two sides of a deal about to be made.
pub(crate) struct Match {
    /// The bid as it stood before the deal.
    pub(crate) bid: Order,
    /// The ask as it stood before the deal.
    pub(crate) ask: Order,
    /// Account of the bid.
    pub(crate) buyer: AccountIndex,
    /// Account of the ask.
    pub(crate) seller: AccountIndex,
    /// Price.
    pub(crate) price: DealPrice,
    /// Energy.
    pub(crate) energy: Energy,
    /// Who took; `None` in a round.
    pub(crate) aggressor: Option<Side>,
}

impl Market {
    /// Runs `f` on a contract taken out of the state, so that accounts and events stay reachable.
    pub(crate) fn on_contract<R>(
        &mut self,
        id: ContractId,
        f: impl FnOnce(&mut Self, &mut Contract) -> Result<R, Reject>,
    ) -> Result<R, Reject> {
        let (slot, mut contract) = self.state.contracts.take(id).ok_or(Reject::UnknownContract)?;
        let result = f(self, &mut contract);
        self.state.contracts.put_back(slot, contract);
        result
    }

    /// Whether the contract's book takes quotes now.
    fn check_open(&self, contract: &Contract) -> Result<(), Reject> {
        if contract.phase >= Phase::GateClosed {
            return Err(Reject::GateClosed);
        }
        if self.state.halted || contract.halted {
            return Err(Reject::Halted);
        }
        if contract.book_is_open() {
            Ok(())
        } else {
            Err(Reject::NotInPhase)
        }
    }

    pub(crate) fn quote(&mut self, who: Party, name: OrderId, quote: &Quote) -> Result<(), Reject> {
        self.require(who, role_of(quote.side))?;
        self.on_contract(quote.contract, |market, contract| {
            market.check_open(contract)?;
            if quote.round != 0 {
                return Err(Reject::WrongRound);
            }
            let (side, price) = (quote.side, quote.price);
            let cap = check_terms(
                &contract.params,
                side,
                price,
                quote.charge_cap,
                quote.energy,
                quote.min_fill,
            )?;
            let order = Order {
                id: name,
                side,
                price,
                charge_cap: cap,
                leaves: quote.energy,
                min_fill: quote.min_fill,
                time_in_force: quote.time_in_force,
                valid_until: TimeNs::from_secs(quote.valid_until_s.into()),
                client_order_id: quote.client_order_id,
                arrival: market.arrival(),
            };
            market.check_entry(contract, who.at, &order, Energy::ZERO, Money::ZERO)?;
            market.enter(contract, who.at, order)
        })
    }

    /// The checks of an order that need the market: concession, floor, capacity, balance. `credit` and `freed` are what
    /// a replaced order gives back first.
    fn check_entry(
        &self,
        c: &Contract,
        who: AccountIndex,
        order: &Order,
        credit: Energy,
        freed: Money,
    ) -> Result<(), Reject> {
        if c.params.on(Param::Concession) && !c.concedes(who, order.side, order.price, self.seq) {
            return Err(Reject::ConcessionViolated);
        }
        if !above_floor(c, order.side, order.price) {
            return Err(Reject::BidBelowFloor);
        }
        let account = self.state.accounts.at(who);
        if order.side == Side::Sell && !within_capacity(c, account, who, order.leaves, credit) {
            return Err(Reject::CapacityExceeded);
        }
        let needed = reservation(&c.params, order.side, order.price, order.charge_cap, order.leaves);
        if account.free.plus(freed) < needed {
            return Err(Reject::NoBalance);
        }
        if order.time_in_force == TimeInForce::Until && order.valid_until < self.state.time {
            return Err(Reject::ValidUntilPast);
        }
        Ok(())
    }

    /// Takes a checked order into the market: mark, reservation, sweep, rest.
    fn enter(&mut self, contract: &mut Contract, who: AccountIndex, mut order: Order) -> Result<(), Reject> {
        let plan = with_book(contract, &self.state.accounts, |book, rules| book.plan(&order, rules));
        if order.time_in_force == TimeInForce::PostOnly && !plan.executions.is_empty() {
            return Err(Reject::WouldCross);
        }
        let needed = reservation(
            &contract.params,
            order.side,
            order.price,
            order.charge_cap,
            order.leaves,
        );
        if !self.state.accounts.at_mut(who).reserve(needed) {
            return Err(Reject::NoBalance);
        }
        self.count_entry(contract, who, &order, self.seq);
        let kill = order.time_in_force == TimeInForce::Fok && plan.filled < order.leaves;
        if !kill {
            self.execute(contract, who, &mut order, &plan);
        }
        if order.leaves.is_zero() {
            return Ok(());
        }
        let reason = match (order.time_in_force, plan.rest) {
            (TimeInForce::Fok, _) => Some(CloseReason::FillOrKill),
            (_, Rest::SelfTrade) => Some(CloseReason::SelfTrade),
            (TimeInForce::Ioc, _) => Some(CloseReason::ImmediateOrCancel),
            _ => None,
        };
        match reason {
            Some(reason) => {
                self.explain_rest(contract, &order, &plan);
                self.drop_order(contract, who, &order, reason, false);
            }
            None => self.rest(contract, order),
        }
        Ok(())
    }

    /// Says why a remainder that cannot rest was not matched.
    fn explain_rest(&mut self, contract: &Contract, order: &Order, plan: &Plan) {
        let reason = match plan.rest {
            Rest::NoCounterparty => CloseReason::NoCounterparty,
            Rest::ChargeCap => CloseReason::ChargeCap,
            Rest::PriceNotMet => CloseReason::PriceNotMet,
            Rest::OutOfRange => CloseReason::OutOfRange,
            Rest::SelfTrade => CloseReason::SelfTrade,
            Rest::Exhausted | Rest::None => CloseReason::Exhausted,
        };
        self.out.push(Event::Unmatched {
            order: order.id,
            contract: contract.id,
            side: order.side,
            leaves: order.leaves,
            reason,
        });
    }

    /// Lets an accepted order set the mark and count as entered; its energy counts against the capacity.
    pub(crate) fn count_entry(&mut self, contract: &mut Contract, who: AccountIndex, order: &Order, seq: u64) {
        if contract.params.on(Param::Concession) {
            contract.mark(who, order.side, order.price, seq);
        }
        contract.highest_quote = contract.highest_quote.max(Some(order.price));
        let min_lot = contract.params.get(Param::MinLot) as u64;
        let position = contract.position_mut(who);
        position.entered[order.side.index()] |= order.leaves.get() >= min_lot;
        if order.side == Side::Sell {
            position.open_asks = position.open_asks.plus(order.leaves);
        }
    }

    /// Rests an order whose money is reserved.
    pub(crate) fn rest(&mut self, contract: &mut Contract, order: Order) {
        with_book(contract, &self.state.accounts, |book, rules| book.insert(order, rules));
        if order.time_in_force == TimeInForce::Until {
            contract.expiries.insert((order.valid_until, order.id));
        }
        self.out.push(Event::Opened {
            order: order.id,
            contract: contract.id,
            side: order.side,
            price: order.price,
            leaves: order.leaves,
            hidden: Energy::ZERO,
        });
    }

    /// Gives back what an order holds, once it is out of the book, and says why it is gone.
    pub(crate) fn drop_order(
        &mut self,
        contract: &mut Contract,
        who: AccountIndex,
        order: &Order,
        reason: CloseReason,
        resting: bool,
    ) {
        let held = reservation(
            &contract.params,
            order.side,
            order.price,
            order.charge_cap,
            order.leaves,
        );
        self.state.accounts.at_mut(who).release(held);
        if order.side == Side::Sell {
            let position = contract.position_mut(who);
            position.open_asks = position.open_asks.minus(order.leaves);
        }
        self.out.push(Event::Closed {
            order: order.id,
            contract: contract.id,
            side: order.side,
            price: order.price,
            leaves: order.leaves,
            hidden: Energy::ZERO,
            reason,
            resting,
        });
    }

    /// Takes a resting order of `owner` out.
    pub(crate) fn close_order(
        &mut self,
        contract: &mut Contract,
        owner: AccountIndex,
        id: &OrderId,
        reason: CloseReason,
    ) -> bool {
        let removed = with_book(contract, &self.state.accounts, |book, rules| book.remove(id, rules));
        if let Some(order) = removed {
            contract.expiries.remove(&(order.valid_until, order.id));
            self.drop_order(contract, owner, &order, reason, true);
        }
        removed.is_some()
    }

    /// Takes every resting order of a participant out of a contract.
    pub(crate) fn close_all(&mut self, id: ContractId, who: Party, reason: CloseReason) -> usize {
        let closed = self.on_contract(id, |market, contract| {
            let orders = contract.book.owned_by(who.id);
            for order in &orders {
                market.close_order(contract, who.at, &order.id, reason);
            }
            Ok(orders.len())
        });
        closed.unwrap_or(0)
    }

    fn execute(&mut self, contract: &mut Contract, who: AccountIndex, order: &mut Order, plan: &Plan) {
        for execution in &plan.executions {
            let Some(resting) = contract.book.get(&execution.resting).copied() else {
                continue;
            };
            let other = self.state.accounts.party(resting.id.participant).at;
            let (bid, ask, buyer, seller) = if order.side == Side::Buy {
                (*order, resting, who, other)
            } else {
                (resting, *order, other, who)
            };
            let price = match contract.params.deal_price() {
                DealPriceRule::Midpoint => DealPrice::midpoint(bid.price, ask.price),
                DealPriceRule::PayAsBid => bid.price.to_deal_price(),
                DealPriceRule::PayAsAsk => ask.price.to_deal_price(),
                DealPriceRule::Uniform => resting.price.to_deal_price(),
            };
            let after = with_book(contract, &self.state.accounts, |book, rules| {
                book.fill(&execution.resting, execution.energy, rules)
            });
            if after.leaves.is_zero() {
                contract.expiries.remove(&(resting.valid_until, resting.id));
            }
            order.leaves = order.leaves.minus(execution.energy);
            let aggressor = Some(order.side);
            self.deal(
                contract,
                &Match {
                    bid,
                    ask,
                    buyer,
                    seller,
                    price,
                    energy: execution.energy,
                    aggressor,
                },
            );
        }
    }

    /// Makes a deal: escrow from both reservations, positions, CEP, floor, events. The book has been updated.
    pub(crate) fn deal(&mut self, contract: &mut Contract, m: &Match) {
        let params = &contract.params;
        let charge = |param| params.get(param) as i32;
        let charges = [Param::C1, Param::C2, Param::C3, Param::Congestion].map(charge);
        let ordinal = contract.deals.len() as u64;
        let deal = Deal {
            contract: contract.id,
            ordinal,
            buyer: m.bid.id,
            seller: m.ask.id,
            price: m.price,
            energy: m.energy,
            charges,
        };
        let deal_id = self.state.deal_prefix.finish_with(&deal.to_bytes());
        let buyer_escrow = buyer_holds(&deal, m.energy);
        let seller_escrow = seller_pays(&deal, m.energy).plus(penalty(params, m.energy));
        for (who, order, escrow) in [(m.buyer, &m.bid, buyer_escrow), (m.seller, &m.ask, seller_escrow)] {
            let reserved = reservation(params, order.side, order.price, order.charge_cap, m.energy);
            self.state.accounts.at_mut(who).reservation_to_escrow(reserved, escrow);
        }
        let min_lot = params.get(Param::MinLot) as u64;
        let buyer = contract.position_mut(m.buyer);
        buyer.bought = buyer.bought.plus(m.energy);
        let seller = contract.position_mut(m.seller);
        seller.sold = seller.sold.plus(m.energy);
        seller.open_asks = seller.open_asks.minus(m.energy);
        let outside = !self.state.accounts.same_group(m.buyer, m.seller);
        if m.energy.get() >= min_lot && outside {
            contract.count_deal(m.price, m.energy);
        }
        if contract.unsealed_from == contract.deals.len() {
            contract.unsealed_since = self.ticked;
        }
        contract.add_deal(DealState {
            deal,
            id: deal_id,
            status: DealStatus::Made,
            buyer_escrow,
            seller_escrow,
            buyer_delivered: Energy::ZERO,
            seller_delivered: Energy::ZERO,
            ratings: [None; 2],
        });
        self.out.push(Event::Executed {
            deal,
            deal_id,
            bid: m.bid.price,
            ask: m.ask.price,
            buyer_leaves: m.bid.leaves.minus(m.energy),
            seller_leaves: m.ask.leaves.minus(m.energy),
            buyer_hidden: Energy::ZERO,
            seller_hidden: Energy::ZERO,
            aggressor: m.aggressor,
        });
    }

    pub(crate) fn cancel(&mut self, who: Party, cancel: &Cancel) -> Result<(), Reject> {
        let closed = match cancel.contract {
            Some(id) => self.on_contract(id, |market, contract| {
                if contract.phase >= Phase::GateClosed {
                    return Err(Reject::GateClosed);
                }
                Ok(market.cancel_in(contract, who, cancel))
            })?,
            None => {
                let ids: Vec<ContractId> = self.state.contracts.keys().copied().collect();
                let mut closed = 0;
                for id in ids {
                    closed += self.on_contract(id, |market, contract| Ok(market.cancel_in(contract, who, cancel)))?;
                }
                closed
            }
        };
        if closed > 0 || cancel.target_nonce == 0 {
            return Ok(());
        }
        // An unseen target is burned, so that a late original does nothing.
        let accounts = &mut self.state.accounts;
        if accounts.at(who.at).nonces.check(cancel.target_nonce).is_ok() {
            accounts.use_nonce(who.at, cancel.target_nonce, self.seq);
            return Ok(());
        }
        Err(Reject::UnknownOrder)
    }

    /// Cancels in one contract; how many orders went.
    fn cancel_in(&mut self, contract: &mut Contract, who: Party, cancel: &Cancel) -> usize {
        let (participant, nonce, index) = (who.id, cancel.target_nonce, cancel.target_index);
        let targets = match (nonce, index) {
            (0, _) => contract.book.owned_by(who.id).iter().map(|order| order.id).collect(),
            (_, ALL_INDEXES) => contract.book.of_envelope(who.id, nonce),
            _ => {
                let target = OrderId {
                    participant,
                    nonce,
                    index,
                };
                return self
                    .close_order(contract, who.at, &target, CloseReason::Cancelled)
                    .into();
            }
        };
        let close = |target: &&OrderId| self.close_order(contract, who.at, target, CloseReason::Cancelled);
        targets.iter().filter(close).count()
    }

    pub(crate) fn replace(&mut self, who: Party, name: OrderId, replace: &Replace) -> Result<(), Reject> {
        let target = OrderId {
            nonce: replace.target_nonce,
            index: replace.target_index,
            ..name
        };
        self.on_contract(replace.contract, |market, contract| {
            market.check_open(contract)?;
            let old = contract.book.get(&target).copied();
            let params = &contract.params;
            // Terms that no order could have are refused before the order is looked for.
            let cap = check_terms(
                params,
                old.map_or(Side::Sell, |old| old.side),
                replace.price,
                replace.charge_cap,
                replace.energy,
                replace.min_fill,
            )?;
            let old = old.ok_or(Reject::UnknownOrder)?;
            let held = reservation(params, old.side, old.price, old.charge_cap, old.leaves);
            let order = Order {
                id: name,
                price: replace.price,
                charge_cap: cap,
                leaves: replace.energy,
                min_fill: replace.min_fill,
                arrival: market.arrival(),
                ..old
            };
            let credit = if old.side == Side::Sell {
                old.leaves
            } else {
                Energy::ZERO
            };
            market.check_entry(contract, who.at, &order, credit, held)?;
            if replace.price == old.price && replace.energy <= old.leaves {
                market.reduce(contract, who.at, &old, &order, held);
                return Ok(());
            }
            if order.time_in_force == TimeInForce::PostOnly {
                // As `enter` will find the book: without the order that goes. Put back, it has its place again.
                let plan = with_book(contract, &market.state.accounts, |book, rules| {
                    book.remove(&target, rules);
                    let plan = book.plan(&order, rules);
                    book.insert(old, rules);
                    plan
                });
                if !plan.executions.is_empty() {
                    return Err(Reject::WouldCross);
                }
            }
            market.close_order(contract, who.at, &target, CloseReason::Replaced);
            market.enter(contract, who.at, order)
        })
    }

    /// Reduces an order where it stands; it keeps its place in the queue.
    fn reduce(&mut self, contract: &mut Contract, who: AccountIndex, old: &Order, new: &Order, held: Money) {
        let needed = reservation(&contract.params, new.side, new.price, new.charge_cap, new.leaves);
        let account = self.state.accounts.at_mut(who);
        account.release(held);
        let covered = account.reserve(needed);
        assert!(covered, "INVARIANT: check_entry counted the freed reservation");
        if old.side == Side::Sell {
            let position = contract.position_mut(who);
            position.open_asks = position.open_asks.minus(old.leaves).plus(new.leaves);
        }
        contract.changed.book = true;
        contract
            .book
            .reduce(&old.id, new.id, new.leaves, new.charge_cap, new.min_fill);
        if contract.expiries.remove(&(old.valid_until, old.id)) {
            contract.expiries.insert((old.valid_until, new.id));
        }
        if contract.params.on(Param::Concession) {
            contract.mark(who, new.side, new.price, self.seq);
        }
        self.out.push(Event::Reduced {
            order: new.id,
            was: old.id,
            contract: contract.id,
            side: new.side,
            price: new.price,
            leaves: new.leaves,
            hidden: Energy::ZERO,
        });
    }
}

/// Whether open asks and sales stay within the registered export capacity, purchases counted against them.
pub(crate) fn within_capacity(
    contract: &Contract,
    account: &Account,
    who: AccountIndex,
    more: Energy,
    credit: Energy,
) -> bool {
    if account.roles.contains(Roles::GRID) {
        // The balancing party has no metering point of its own; its capacity is the upstream grid's.
        return true;
    }
    let position = contract.position(who);
    let sum = |parts: [Energy; 3]| parts.iter().map(|e| u128::from(e.get())).sum::<u128>();
    sum([position.sold, position.open_asks, more]) <= sum([account.export_capacity, position.bought, credit])
}

/// What the buyer of a deal pays at most for `energy`: price and charge, if positive.
pub(crate) fn buyer_holds(deal: &Deal, energy: Energy) -> Money {
    half_ticks((deal.price.get() + 2 * deal.charge_ticks()).max(0), energy)
}

/// What the seller of a deal pays for `energy` where the price is negative.
pub(crate) fn seller_pays(deal: &Deal, energy: Energy) -> Money {
    half_ticks((-deal.price.get()).max(0), energy)
}

/// The penalty for `energy` not delivered or not taken.
pub(crate) fn penalty(params: &Params, energy: Energy) -> Money {
    half_ticks(2 * params.get(Param::PenaltyRate), energy)
}

/// `price x energy`.
///
/// # Panics
/// On overflow, which the limits of orders rule out.
pub(crate) fn half_ticks(price: i64, energy: Energy) -> Money {
    Money::of_half_ticks(price, energy).expect("INVARIANT: order limits keep deals in range")
}
