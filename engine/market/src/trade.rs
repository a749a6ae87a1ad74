//! Quotes, replaces, cancels and deals in the continuous book (MARKET 2, 4.2, 6.2; DETAILS 3, 5).

use crate::account::Account;
use crate::accounts::{AccountIndex, Party};
use crate::book::Order;
use crate::contract::{Contract, DealState, DealStatus};
use crate::market::Market;
use wattbook_book::{Handle, Kind, Outcome, Reason, Record, Rest};
use wattbook_types::command::{ALL_INDEXES, Cancel, Replace};
use wattbook_types::units::NANO_PER_TICK_WH;
use wattbook_types::{
    CloseReason, ContractId, Deal, DealPrice, DealPriceRule, Energy, Event, Money, OrderId, Param, Params, Phase,
    Price, Quote, Reject, Roles, Side, TimeInForce, TimeNs,
};

/// Greatest notional of an order, nano-points (MARKET 1).
const NOTIONAL_MAX: i128 = 1 << 62;
/// Most slices of an iceberg.
const SLICES_MAX: u128 = 100;

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
    display: Energy,
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
    if min_fill > energy || (!display.is_zero() && display < energy && min_fill > display) {
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

/// Least bid - ask.
pub(crate) fn spread_min(params: &Params) -> i64 {
    if params.on(Param::AllInBids) {
        2 * params.charge_ticks()
    } else {
        0
    }
}

/// One side of a deal about to be made.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    /// Whose.
    pub(crate) at: AccountIndex,
    /// The order as it stood before the deal.
    pub(crate) order: Order,
    /// Shown and hidden quantity afterwards.
    pub(crate) after: (Energy, Energy),
}

/// A deal about to be made.
pub(crate) struct Match {
    pub(crate) bid: Taken,
    pub(crate) ask: Taken,
    pub(crate) price: DealPrice,
    pub(crate) energy: Energy,
    /// Who took; `None` in a round.
    pub(crate) aggressor: Option<Side>,
}

/// What an incoming order would show of its open quantity.
fn shows(order: &Order, leaves: Energy) -> (Energy, Energy) {
    let never_rests = matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
    let shown = if order.display.is_zero() || never_rests {
        leaves
    } else {
        leaves.min(order.display)
    };
    (shown, leaves.minus(shown))
}

/// The resting order that a record is about: what it has open is in its row, `shown` of it is shown. Terms that only the hot
/// book had may be gone with it.
fn resting(contract: &Contract, record: &Record, shown: u32) -> Taken {
    let party = record.subject();
    let row = contract.book.row(party.handle);
    let leaves = Energy::new(row.open.into());
    let order = Order {
        id: row.id,
        side: record.side(),
        price: Price::new(record.price()),
        charge_cap: row.charge_cap,
        leaves,
        shown: Energy::new(shown.into()).min(leaves),
        display: Energy::ZERO,
        min_fill: Energy::ZERO,
        time_in_force: row.time_in_force,
        self_trade: row.self_trade,
        valid_until: row.valid_until,
        client_order_id: row.client_order_id,
        stamp: 0,
    };
    Taken {
        at: AccountIndex::new(party.owner.get()),
        order,
        after: (order.shown, order.hidden()),
    }
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
            let display = match quote.time_in_force {
                TimeInForce::Ioc | TimeInForce::Fok => Energy::ZERO,
                _ => quote.display,
            };
            let cap = check_terms(
                &contract.params,
                side,
                price,
                quote.charge_cap,
                quote.energy,
                quote.min_fill,
                display,
            )?;
            let order = Order {
                id: name,
                side,
                price,
                charge_cap: cap,
                leaves: quote.energy,
                shown: quote.energy,
                display,
                min_fill: quote.min_fill,
                time_in_force: quote.time_in_force,
                self_trade: quote.self_trade,
                valid_until: TimeNs::from_secs(quote.valid_until_s.into()),
                client_order_id: quote.client_order_id,
                stamp: 0,
            };
            market.check_entry(contract, who.at, &order, Energy::ZERO, Money::ZERO)?;
            let late = market.check_late(who.at, &order);
            if let Err(reject) = late {
                let crosses = order.time_in_force == TimeInForce::PostOnly
                    && contract
                        .book_for(who.at, &market.state.accounts)
                        .would_cross(who.at, &order, None);
                return Err(if crosses { Reject::WouldCross } else { reject });
            }
            market.enter(contract, who.at, order, quote.market_to_limit)?;
            if order.client_order_id != 0 {
                market.state.accounts.at_mut(who.at).profile.client_high = order.client_order_id;
            }
            Ok(())
        })
    }

    /// The checks that come after every other, the sweep's among them.
    fn check_late(&self, who: AccountIndex, order: &Order) -> Result<(), Reject> {
        let id = order.client_order_id;
        if id != 0 && id <= self.state.accounts.at(who).profile().client_high {
            return Err(Reject::ClientOrderIdUsed);
        }
        check_display(order)
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
    fn enter(
        &mut self,
        contract: &mut Contract,
        who: AccountIndex,
        order: Order,
        market_to_limit: bool,
    ) -> Result<(), Reject> {
        let mut records = core::mem::take(&mut self.records);
        let book = contract.book_for(who, &self.state.accounts);
        let outcome = book.submit(who, &order, market_to_limit, &mut records);
        if outcome.taken {
            self.entered(contract, who, order, &outcome, &records);
        }
        records.clear();
        self.records = records;
        if outcome.taken { Ok(()) } else { Err(Reject::WouldCross) }
    }

    /// Carries out what the book said of an incoming order.
    fn entered(
        &mut self,
        contract: &mut Contract,
        who: AccountIndex,
        mut order: Order,
        outcome: &Outcome,
        records: &[Record],
    ) {
        let needed = reservation(
            &contract.params,
            order.side,
            order.price,
            order.charge_cap,
            order.leaves,
        );
        let reserved = self.state.accounts.at_mut(who).reserve(needed);
        assert!(reserved, "INVARIANT: check_entry counted the free balance");
        self.count_entry(contract, who, &order, self.seq);
        let mine = records[0].subject().handle;
        for record in records {
            let met = record.subject().handle;
            contract.book.mark(met);
            match record.kind() {
                Some(Kind::Deal) => self.deal_of(contract, who, &mut order, outcome, record),
                Some(Kind::Dropped) => self.drop_energy(contract, who, &mut order, record),
                Some(Kind::Closed) if met == mine => {
                    self.explain_rest(contract, &order, outcome.rest);
                    let reason = match record.reason() {
                        Reason::FillOrKill => CloseReason::FillOrKill,
                        Reason::SelfTrade => CloseReason::SelfTrade,
                        Reason::NoMarket => CloseReason::NoMarket,
                        // An incoming order closes for no other reason.
                        _ => CloseReason::ImmediateOrCancel,
                    };
                    (order.shown, _) = shows(&order, order.leaves);
                    self.drop_order(contract, who, &order, reason, false);
                }
                Some(Kind::Closed) => {
                    let gone = resting(contract, record, record.energy());
                    self.leave(contract, met, gone.order.valid_until);
                    self.drop_order(contract, gone.at, &gone.order, CloseReason::SelfTrade, true);
                }
                Some(Kind::Shown) if met != mine => {
                    let slice = resting(contract, record, record.subject().leaves);
                    self.open(contract, &slice.order);
                }
                Some(Kind::Reduced) => {
                    let Taken { order, .. } = resting(contract, record, record.subject().leaves);
                    self.reduced(contract, &order, order.id);
                }
                _ => {}
            }
        }
        if let Some(handle) = outcome.rests {
            (order.shown, _) = shows(&order, order.leaves);
            contract.book.name(handle, &order);
            self.rested(contract, &order);
        }
    }

    /// A deal of an incoming order.
    fn deal_of(
        &mut self,
        contract: &mut Contract,
        who: AccountIndex,
        order: &mut Order,
        outcome: &Outcome,
        record: &Record,
    ) {
        let energy = Energy::new(record.energy().into());
        let limit = Price::new(outcome.limit);
        if limit != order.price {
            // A market-to-limit order has found its limit; what the worse price held beyond it is free.
            let held = |price| reservation(&contract.params, order.side, price, order.charge_cap, order.leaves);
            let account = self.state.accounts.at_mut(who);
            account.release(held(order.price).minus(held(limit)));
            order.price = limit;
        }
        let mut resting = resting(contract, record, record.subject().leaves);
        let row = contract.book.row_mut(record.subject().handle);
        row.open -= record.energy();
        let open = Energy::new(row.open.into());
        let shown = Energy::new(record.subject().leaves.into());
        resting.after = (shown, open.minus(shown));
        if open.is_zero() {
            self.leave(contract, record.subject().handle, resting.order.valid_until);
        }
        let left = order.leaves.minus(energy);
        let taking = Taken {
            at: who,
            order: *order,
            after: shows(order, left),
        };
        order.leaves = left;
        let (bid, ask) = if order.side == Side::Buy {
            (taking, resting)
        } else {
            (resting, taking)
        };
        let price = match contract.params.deal_price() {
            DealPriceRule::Midpoint => DealPrice::midpoint(bid.order.price, ask.order.price),
            DealPriceRule::PayAsBid => bid.order.price.to_deal_price(),
            DealPriceRule::PayAsAsk => ask.order.price.to_deal_price(),
            DealPriceRule::Uniform => resting.order.price.to_deal_price(),
        };
        let aggressor = Some(order.side);
        self.deal(
            contract,
            &Match {
                bid,
                ask,
                price,
                energy,
                aggressor,
            },
        );
    }

    /// Energy that an incoming order and one of its own group lose to each other without a deal.
    fn drop_energy(&mut self, contract: &mut Contract, who: AccountIndex, order: &mut Order, record: &Record) {
        let energy = Energy::new(record.energy().into());
        let met = record.other();
        let row = contract.book.row_mut(met.handle);
        row.open -= record.energy();
        let charge_cap = row.charge_cap;
        contract.book.mark(met.handle);
        let other_side = order.side.opposite();
        let mine = (who, order.side, order.price, order.charge_cap);
        let theirs = (
            AccountIndex::new(met.owner.get()),
            other_side,
            Price::new(record.price()),
            charge_cap,
        );
        for (at, side, price, cap) in [mine, theirs] {
            let held = reservation(&contract.params, side, price, cap, energy);
            self.state.accounts.at_mut(at).release(held);
            if side == Side::Sell {
                let position = contract.position_mut(at);
                position.open_asks = position.open_asks.minus(energy);
            }
        }
        order.leaves = order.leaves.minus(energy);
        self.out.push(Event::Unmatched {
            order: order.id,
            contract: contract.id,
            side: order.side,
            leaves: energy,
            reason: CloseReason::SelfTrade,
        });
        if order.leaves.is_zero() {
            order.shown = Energy::ZERO;
            self.drop_order(contract, who, order, CloseReason::SelfTrade, false);
        }
    }

    /// Forgets a resting order that left the book within a sweep.
    fn leave(&mut self, contract: &mut Contract, handle: Handle, valid_until: TimeNs) {
        let row = contract.book.row(handle);
        if row.time_in_force == TimeInForce::Until {
            contract.expiries.remove(&(valid_until, row.id));
        }
        contract.book.forget(handle);
    }

    /// Says why a remainder that cannot rest was not matched.
    fn explain_rest(&mut self, contract: &Contract, order: &Order, rest: Rest) {
        let reason = match rest {
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
            leaves: shows(order, order.leaves).0,
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

    /// Rests an order whose money is reserved, without matching.
    pub(crate) fn rest(&mut self, contract: &mut Contract, who: AccountIndex, order: &Order) {
        contract.book_for(who, &self.state.accounts).rest(who, order);
        self.rested(contract, order);
    }

    /// Says that an order has come to rest, and remembers when it expires.
    fn rested(&mut self, contract: &mut Contract, order: &Order) {
        if order.time_in_force == TimeInForce::Until {
            contract.expiries.insert((order.valid_until, order.id));
        }
        self.open(contract, order);
    }

    /// Says what a resting order shows at the end of its queue.
    pub(crate) fn open(&mut self, contract: &Contract, order: &Order) {
        self.out.push(Event::Opened {
            order: order.id,
            contract: contract.id,
            side: order.side,
            price: order.price,
            leaves: order.shown,
            hidden: order.hidden(),
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
            leaves: order.shown,
            hidden: order.hidden(),
            reason,
            resting,
        });
    }

    /// Takes a resting order of `owner` out.
    pub(crate) fn close_order(
        &mut self,
        contract: &mut Contract,
        owner: AccountIndex,
        handle: Handle,
        reason: CloseReason,
    ) {
        let order = contract.book.remove(handle);
        if order.time_in_force == TimeInForce::Until {
            contract.expiries.remove(&(order.valid_until, order.id));
        }
        self.drop_order(contract, owner, &order, reason, true);
    }

    /// Takes every resting order of a participant out of a contract.
    pub(crate) fn close_all(&mut self, id: ContractId, who: Party, reason: CloseReason) -> usize {
        let closed = self.on_contract(id, |market, contract| {
            let orders = contract.book.owned_by(who.at);
            for &order in &orders {
                market.close_order(contract, who.at, order, reason);
            }
            Ok(orders.len())
        });
        closed.unwrap_or(0)
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
            buyer: m.bid.order.id,
            seller: m.ask.order.id,
            price: m.price,
            energy: m.energy,
            charges,
        };
        let deal_id = self.state.deal_prefix.finish_with(&deal.to_bytes());
        let buyer_escrow = buyer_holds(&deal, m.energy);
        let seller_escrow = seller_pays(&deal, m.energy).plus(penalty(params, m.energy));
        for (Taken { at, order, .. }, escrow) in [(m.bid, buyer_escrow), (m.ask, seller_escrow)] {
            let reserved = reservation(params, order.side, order.price, order.charge_cap, m.energy);
            self.state.accounts.at_mut(at).reservation_to_escrow(reserved, escrow);
        }
        let min_lot = params.get(Param::MinLot) as u64;
        let buyer = contract.position_mut(m.bid.at);
        buyer.bought = buyer.bought.plus(m.energy);
        let seller = contract.position_mut(m.ask.at);
        seller.sold = seller.sold.plus(m.energy);
        seller.open_asks = seller.open_asks.minus(m.energy);
        let outside = !self.state.accounts.same_group(m.bid.at, m.ask.at);
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
            bid: m.bid.order.price,
            ask: m.ask.order.price,
            buyer_leaves: m.bid.after.0,
            seller_leaves: m.ask.after.0,
            buyer_hidden: m.bid.after.1,
            seller_hidden: m.ask.after.1,
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
        let targets: Vec<Handle> = match (nonce, index) {
            (0, _) => contract.book.owned_by(who.at),
            (_, ALL_INDEXES) => {
                let mut owned = contract.book.owned_by(who.at);
                owned.retain(|&handle| contract.book.row(handle).id.nonce == nonce);
                owned
            }
            _ => {
                let target = OrderId {
                    participant,
                    nonce,
                    index,
                };
                let found = contract.book.find(&target);
                if let Some(handle) = found {
                    self.close_order(contract, who.at, handle, CloseReason::Cancelled);
                }
                return found.is_some().into();
            }
        };
        for &target in &targets {
            self.close_order(contract, who.at, target, CloseReason::Cancelled);
        }
        targets.len()
    }

    pub(crate) fn replace(&mut self, who: Party, name: OrderId, replace: &Replace) -> Result<(), Reject> {
        let target = OrderId {
            nonce: replace.target_nonce,
            index: replace.target_index,
            ..name
        };
        self.on_contract(replace.contract, |market, contract| {
            market.check_open(contract)?;
            let found = contract.book.find(&target);
            let old = found.map(|handle| contract.book.order(handle));
            let params = &contract.params;
            // Terms that no order could have are refused before the order is looked for.
            let cap = check_terms(
                params,
                old.map_or(Side::Sell, |old| old.side),
                replace.price,
                replace.charge_cap,
                replace.energy,
                replace.min_fill,
                replace.display,
            )?;
            let (Some(handle), Some(old)) = (found, old) else {
                return Err(Reject::UnknownOrder);
            };
            let held = reservation(params, old.side, old.price, old.charge_cap, old.leaves);
            let order = Order {
                id: name,
                price: replace.price,
                charge_cap: cap,
                leaves: replace.energy,
                shown: replace.energy,
                display: replace.display,
                min_fill: replace.min_fill,
                ..old
            };
            let credit = if old.side == Side::Sell {
                old.leaves
            } else {
                Energy::ZERO
            };
            market.check_entry(contract, who.at, &order, credit, held)?;
            let shows_no_more = !order.display.is_zero() || order.leaves <= old.shown;
            if order.price == old.price && order.leaves <= old.leaves && shows_no_more {
                check_display(&order)?;
                market.reduce(contract, who.at, handle, &old, order, held);
                return Ok(());
            }
            // As `enter` will find the book: without the order that goes.
            if order.time_in_force == TimeInForce::PostOnly && contract.book.would_cross(who.at, &order, Some(handle)) {
                return Err(Reject::WouldCross);
            }
            check_display(&order)?;
            market.close_order(contract, who.at, handle, CloseReason::Replaced);
            market.enter(contract, who.at, order, false)
        })
    }

    /// Reduces an order where it stands; it keeps its place in the queue.
    fn reduce(
        &mut self,
        contract: &mut Contract,
        who: AccountIndex,
        handle: Handle,
        old: &Order,
        mut new: Order,
        held: Money,
    ) {
        let needed = reservation(&contract.params, new.side, new.price, new.charge_cap, new.leaves);
        let account = self.state.accounts.at_mut(who);
        account.release(held);
        let covered = account.reserve(needed);
        assert!(covered, "INVARIANT: check_entry counted the freed reservation");
        if old.side == Side::Sell {
            let position = contract.position_mut(who);
            position.open_asks = position.open_asks.minus(old.leaves).plus(new.leaves);
        }
        new.shown = old.shown.min(shows(&new, new.leaves).0);
        contract.book.amend(handle, &new);
        if contract.expiries.remove(&(old.valid_until, old.id)) {
            contract.expiries.insert((old.valid_until, new.id));
        }
        if contract.params.on(Param::Concession) {
            contract.mark(who, new.side, new.price, self.seq);
        }
        self.reduced(contract, &new, old.id);
    }

    /// Says what a resting order shows where it stands.
    fn reduced(&mut self, contract: &Contract, order: &Order, was: OrderId) {
        self.out.push(Event::Reduced {
            order: order.id,
            was,
            contract: contract.id,
            side: order.side,
            price: order.price,
            leaves: order.shown,
            hidden: order.hidden(),
        });
    }
}

/// Whether an iceberg shows enough at a time.
// BOUND: an order is dealt in at most a hundred slices, and one command in as many per order it meets.
fn check_display(order: &Order) -> Result<(), Reject> {
    let shown = u128::from(order.display.get()) * SLICES_MAX;
    if shown == 0 || shown >= u128::from(order.leaves.get()) {
        Ok(())
    } else {
        Err(Reject::DisplayOutOfBounds)
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
