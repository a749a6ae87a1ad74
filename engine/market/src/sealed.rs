//! Sealed rounds: seals and bonds, reveals and what they are judged by, places, matching (MARKET 2.1, 3; PROTOCOL 4).

use crate::accounts::{Accounts, Party};
use crate::book::{Order, Standing};
use crate::contract::{Contract, SealState};
use crate::market::{Market, Refusal};
use crate::round::{self, Owner, Place, RoundOrder, Rules};
use crate::snapshot::RoundSnapshot;
use crate::trade::{Match, Taken, above_floor, check_terms, reservation, role_of, spread_min, within_capacity};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use wattbook_book::Handle;
use wattbook_types::command::Seal;
use wattbook_types::digest::Prefix;
use wattbook_types::ids::REVEALED_INDEX;
use wattbook_types::units::{NANO_PER_TICK_WH, PPM_ONE};
use wattbook_types::{
    CloseReason, DealPriceRule, Energy, Event, Hash, Money, OrderId, Param, ParticipantId, Phase, Ppm, Quote, Reject,
    Reveal, Side, TimeInForce, TimeNs,
};

impl Market {
    pub(crate) fn seal(&mut self, who: Party, nonce: u64, seal: &Seal) -> Result<(), Reject> {
        if !self.state.accounts.at(who.at).roles.trades() {
            return Err(Reject::RoleMissing);
        }
        let halted = self.state.halted;
        self.on_contract(seal.contract, |_, contract| {
            if contract.phase >= Phase::GateClosed {
                return Err(Reject::GateClosed);
            }
            if halted || contract.halted {
                return Err(Reject::Halted);
            }
            if contract.phase != Phase::Seal {
                return Err(Reject::NotInPhase);
            }
            if seal.round != contract.round {
                return Err(Reject::WrongRound);
            }
            if contract.seals.contains_key(&who.id) {
                return Err(Reject::AlreadySealed);
            }
            let p = |param| contract.params.get(param);
            let class = i64::from(seal.bond_class);
            if class < p(Param::BondClassMin) || class > p(Param::BondClassMax) {
                return Err(Reject::BondClassOutOfRange);
            }
            let bond = Money::new(
                p(Param::BondUnit)
                    .checked_mul(1 << class)
                    .ok_or(Reject::BondClassOutOfRange)?,
            );
            let state = SealState {
                nonce,
                commitment: seal.commitment,
                bond,
                locked: false,
                reveal: None,
            };
            contract.seals.insert(who.id, state);
            contract.changed.seals = true;
            Ok(())
        })
    }

    /// SEAL closes: bonds are locked, in order of participants (each has one seal).
    pub(crate) fn lock_bonds(&mut self, contract: &mut Contract) {
        let (id, round) = (contract.id, contract.round);
        contract.changed.seals = true;
        contract.seals.retain(|&participant, seal| {
            seal.locked = self.state.accounts.known_mut(participant).lock_bond(seal.bond);
            self.out.push(if seal.locked {
                Event::Sealed {
                    participant,
                    contract: id,
                    round,
                    bond: seal.bond,
                }
            } else {
                Event::SealVoided {
                    participant,
                    contract: id,
                    round,
                    reject: Reject::NoBalance,
                }
            });
            seal.locked
        });
    }

    /// Records a reveal that matches its seal; it takes effect when REVEAL closes.
    pub(crate) fn reveal(&mut self, reveal: &Reveal) -> Result<(), Refusal> {
        let participant = reveal.participant;
        self.check_reveal(reveal)?;
        let recorded = self.on_contract(reveal.contract, |market, contract| {
            let seal = contract.seals.get_mut(&participant).ok_or(Reject::NoSeal)?;
            seal.reveal = Some(reveal.clone());
            contract.changed.seals = true;
            market.out.push(Event::RevealAccepted {
                participant,
                contract: contract.id,
                round: contract.round,
            });
            Ok(())
        });
        recorded.map_err(Refusal::from)
    }

    /// Whether a reveal would be recorded.
    pub(crate) fn check_reveal(&self, reveal: &Reveal) -> Result<(), Reject> {
        let participant = reveal.participant;
        if self.state.accounts.get(participant).is_none() {
            return Err(Reject::UnknownParticipant);
        }
        let contract = self
            .state
            .contracts
            .get(&reveal.contract)
            .ok_or(Reject::UnknownContract)?;
        let round = u32::from(contract.round);
        if reveal.round == 0 || reveal.round > round {
            return Err(Reject::WrongRound);
        }
        match contract.phase {
            Phase::Seal if reveal.round == round => return Err(Reject::RevealEarly),
            Phase::Reveal if reveal.round == round => {}
            _ => return Err(Reject::RevealLate),
        }
        let seal = contract.seals.get(&participant).ok_or(Reject::NoSeal)?;
        if seal.commitment != reveal.commitment {
            return Err(Reject::RevealMismatch);
        }
        match seal.reveal {
            Some(_) => Err(Reject::AlreadyRevealed),
            None => Ok(()),
        }
    }

    /// REVEAL closes: judges the reveals, rests their quotes, fixes places and ranges.
    pub(crate) fn rank(&mut self, contract: &mut Contract) {
        let seals = core::mem::take(&mut contract.seals);
        (contract.changed.seals, contract.changed.places) = (true, true);
        let salts = seals
            .values()
            .filter_map(|seal| seal.reveal.as_ref())
            .flat_map(|reveal| reveal.salt.0);
        contract.salts = salts.collect();
        let mut entering: Vec<Order> = Vec::new();
        for (participant, seal) in &seals {
            let who = self.state.accounts.party(*participant);
            match self.judge(contract, who, seal) {
                Ok(orders) => {
                    self.state.accounts.at_mut(who.at).release_bond(seal.bond);
                    self.out.push(Event::BondReleased {
                        participant: *participant,
                        contract: contract.id,
                        round: contract.round,
                        bond: seal.bond,
                    });
                    entering.extend(orders);
                }
                Err(reject) => self.burn_bond(contract, who, seal.bond, reject),
            }
        }
        // Revealed orders queue behind each other by the ties of the round.
        let priorities = priorities(contract, entering.iter().map(|order| order.id.participant));
        entering.sort_by_cached_key(|order| (priorities[&order.id.participant], order.id.index));
        for order in &entering {
            let owner = self.state.accounts.party(order.id.participant).at;
            self.rest(contract, owner, order);
        }
        self.place(contract);
        let p = |param| contract.params.get(param) as i32;
        let charges = [Param::C1, Param::C2, Param::C3, Param::Congestion].map(p);
        self.out.push(Event::Charges {
            contract: contract.id,
            charges,
        });
    }

    fn burn_bond(&mut self, contract: &mut Contract, who: Party, bond: Money, reject: Reject) {
        let account = self.state.accounts.at_mut(who.at);
        account.release_bond(bond);
        account.free = account.free.minus(bond);
        let left = Money::new(i64::try_from(account.total()).unwrap_or(i64::MAX));
        let profile = self.state.accounts.profile_mut(who.at);
        profile.locked = profile.locked.min(left);
        self.state.supply.burned += i128::from(bond.get());
        contract.position_mut(who.at).declined = true;
        self.out.push(Event::BondBurned {
            participant: who.id,
            contract: contract.id,
            round: contract.round,
            bond,
            reject,
        });
    }

    /// The orders of a reveal, their money reserved; `Err`: the whole reveal is void and its bond burns.
    fn judge(&mut self, c: &mut Contract, who: Party, seal: &SealState) -> Result<Vec<Order>, Reject> {
        let reveal = seal.reveal.as_ref().ok_or(Reject::NotRevealed)?;
        let now = self.state.time;
        let admitted = self.state.accounts.at(who.at).is_admitted(now);
        let mut orders: Vec<Order> = Vec::new();
        let mut notional = 0i128;
        let covered = i128::from(seal.bond.get()) * i128::from(PPM_ONE);
        let alpha = i128::from(c.params.get(Param::Alpha));
        for (index, quote) in reveal.quotes.iter().enumerate() {
            let id = OrderId {
                participant: who.id,
                nonce: seal.nonce,
                index: REVEALED_INDEX | index as u32,
            };
            if let Ok(quote) = quote {
                let value = i128::from(quote.price.get().unsigned_abs()) * i128::from(quote.energy.get());
                notional += value * i128::from(NANO_PER_TICK_WH);
            }
            let within_bond = notional * alpha <= covered;
            let judged = quote.and_then(|quote| {
                if !admitted {
                    return Err(Reject::Suspended);
                }
                self.judge_quote(c, who, id, &quote, &orders, within_bond)
            });
            match judged {
                Ok(order) => orders.push(order),
                Err(reject) => self.out.push(Event::QuoteVoided {
                    order: id,
                    contract: c.id,
                    reject,
                }),
            }
        }

        let seq = self.seq;
        let concession = c.params.on(Param::Concession);
        if concession
            && orders
                .iter()
                .any(|order| !c.concedes(who.at, order.side, order.price, seq))
        {
            return Err(Reject::RevealNotConceding);
        }
        let amount = |order: &Order| reservation(&c.params, order.side, order.price, order.charge_cap, order.leaves);
        let sides = [Side::Buy, Side::Sell].map(|side| orders.iter().any(|order| order.side == side));
        let owned = c.book.owned_by(who.at).into_iter();
        let (handles, replaced): (Vec<Handle>, Vec<Order>) = owned
            .map(|handle| (handle, c.book.order(handle)))
            .filter(|(_, order)| sides[order.side.index()])
            .unzip();
        let total = |list: &[Order]| list.iter().map(|order| i128::from(amount(order).get())).sum::<i128>();
        let free = i128::from(self.state.accounts.at(who.at).free.get());
        if total(&orders) > free + total(&replaced) {
            return Err(Reject::RevealUnfunded);
        }
        for handle in handles {
            self.close_order(c, who.at, handle, CloseReason::Revealed);
        }
        for order in &orders {
            let needed = reservation(&c.params, order.side, order.price, order.charge_cap, order.leaves);
            let reserved = self.state.accounts.at_mut(who.at).reserve(needed);
            assert!(reserved, "INVARIANT: the reveal's total was covered");
            self.count_entry(c, who.at, order, seq);
        }
        Ok(orders)
    }

    fn judge_quote(
        &self,
        c: &Contract,
        who: Party,
        id: OrderId,
        quote: &Quote,
        earlier: &[Order],
        within_bond: bool,
    ) -> Result<Order, Reject> {
        self.require(who, role_of(quote.side))?;
        let charge_cap = check_terms(
            &c.params,
            quote.side,
            quote.price,
            quote.charge_cap,
            quote.energy,
            quote.min_fill,
            Energy::ZERO,
        )?;
        if !above_floor(c, quote.side, quote.price) {
            return Err(Reject::BidBelowFloor);
        }
        if quote.side == Side::Sell {
            let asks = earlier
                .iter()
                .filter(|order| order.side == Side::Sell)
                .map(|order| order.leaves.get())
                .sum::<u64>();
            // The resting asks go when this reveal takes effect.
            let resting = c.position(who.at).open_asks;
            let more = Energy::new(asks).plus(quote.energy);
            if !within_capacity(c, self.state.accounts.at(who.at), who.at, more, resting) {
                return Err(Reject::CapacityExceeded);
            }
        }
        let valid_until = TimeNs::from_secs(quote.valid_until_s.into());
        if quote.time_in_force == TimeInForce::Until && valid_until < self.state.time {
            return Err(Reject::ValidUntilPast);
        }
        if !within_bond {
            return Err(Reject::BondExceeded);
        }
        let unsealed = matches!(quote.time_in_force, TimeInForce::Fok | TimeInForce::PostOnly);
        if unsealed || quote.market_to_limit || !quote.display.is_zero() {
            return Err(Reject::TimeInForceNotSealed);
        }
        Ok(Order {
            id,
            side: quote.side,
            price: quote.price,
            charge_cap,
            leaves: quote.energy,
            shown: quote.energy,
            display: Energy::ZERO,
            min_fill: quote.min_fill,
            time_in_force: quote.time_in_force,
            self_trade: quote.self_trade,
            valid_until,
            client_order_id: quote.client_order_id,
            stamp: 0,
        })
    }

    /// Fixes places and ranges for the round.
    fn place(&mut self, contract: &mut Contract) {
        let field = Field::new(contract, &self.state.accounts);
        let places = round::rank(&field.owners, &field.orders);
        contract.places = [BTreeMap::new(), BTreeMap::new()];
        for side in [Side::Buy, Side::Sell] {
            let mut by_pos: Vec<(Place, ParticipantId)> = (field.participants.iter().zip(&places))
                .filter_map(|(who, places)| places[side.index()].map(|place| (place, *who)))
                .collect();
            by_pos.sort_unstable_by_key(|(place, _)| place.pos);
            for (place, participant) in by_pos {
                contract.places[side.index()].insert(participant, place);
                let (id, round, Place { pos, range }) = (contract.id, contract.round, place);
                self.out.push(Event::Range {
                    contract: id,
                    round,
                    participant,
                    side,
                    pos,
                    range,
                });
            }
        }
    }

    /// MATCH: clears the round and books its deals.
    pub(crate) fn match_round(&mut self, contract: &mut Contract) {
        if self.state.halted || contract.halted {
            // No round, no rest: what was to be immediate does not stay for the book.
            self.cancel_immediate(contract);
            return;
        }
        let mut field = Field::new(contract, &self.state.accounts);
        let handles = core::mem::take(&mut field.handles);
        let RoundSnapshot {
            orders,
            owners,
            places,
            rules,
            ..
        } = field.into_snapshot(contract);
        let cleared = round::clear(&owners, &orders, &places, rules);
        for made in &cleared.deals {
            let energy = made.energy;
            let [bid, ask] = [made.buy, made.sell].map(|i| self.take(contract, handles[i], energy));
            self.deal(
                contract,
                &Match {
                    bid,
                    ask,
                    price: made.price,
                    energy,
                    aggressor: None,
                },
            );
            for taken in [bid, ask] {
                let (shown, hidden) = taken.after;
                if shown.is_zero() && !hidden.is_zero() {
                    let next = contract.book.get(&taken.order.id);
                    next.inspect(|order| self.open(contract, order));
                }
            }
        }
        for left in &cleared.unmatched {
            let side = orders[left.order].side;
            // What is hidden stays so.
            let order = contract.book.order(handles[left.order]);
            self.out.push(Event::Unmatched {
                order: order.id,
                contract: contract.id,
                side,
                leaves: left.energy.min(order.shown),
                reason: left.reason,
            });
        }
        self.cancel_immediate(contract);
        if let (DealPriceRule::Uniform, Some(price)) = (rules.deal_price, cleared.price) {
            let dealt = Energy::new(cleared.deals.iter().map(|deal| deal.energy.get()).sum());
            let (id, round, volume) = (contract.id, contract.round, cleared.uniform_volume);
            let lost = volume.saturating_sub(dealt);
            self.out.push(Event::UniformPrice {
                contract: id,
                round,
                price,
                volume,
                lost,
            });
        }
    }

    /// Takes energy of a round's deal from a resting order; a slice used up shows nothing until the next is opened.
    fn take(&mut self, contract: &mut Contract, handle: Handle, energy: Energy) -> Taken {
        let order = contract.book.order(handle);
        let at = self.state.accounts.party(order.id.participant).at;
        let (shown, hidden) = contract.book.take(handle, energy);
        if shown.is_zero() {
            contract.expiries.remove(&(order.valid_until, order.id));
        }
        let after = if energy < order.shown {
            (shown, hidden)
        } else {
            (Energy::ZERO, shown.plus(hidden))
        };
        Taken { at, order, after }
    }

    /// Takes out what is left of immediate-or-cancel orders of the round.
    pub(crate) fn cancel_immediate(&mut self, contract: &mut Contract) {
        let resting = contract
            .book
            .handles(Side::Buy)
            .chain(contract.book.handles(Side::Sell));
        let is_immediate = |(handle, _): &(Handle, _)| contract.book.row(*handle).time_in_force == TimeInForce::Ioc;
        let immediate: Vec<_> = resting.filter(is_immediate).collect();
        for (handle, owner) in immediate {
            self.close_order(contract, owner, handle, CloseReason::ImmediateOrCancel);
        }
    }
}

/// Unique ranks that break ties of a round: R, then SHA-256(salts || participant) (PROTOCOL 1.3).
fn priorities(contract: &Contract, participants: impl Iterator<Item = ParticipantId>) -> BTreeMap<ParticipantId, u32> {
    let mut prefix = Prefix::default();
    prefix.update(&contract.salts);
    let mut participants: Vec<ParticipantId> = participants.collect();
    participants.sort_unstable();
    participants.dedup();
    let mut keyed: Vec<(Reverse<Ppm>, Hash, ParticipantId)> = participants
        .into_iter()
        .map(|who| {
            let standing = contract.standing.get(&who).copied().unwrap_or(Standing::UNRANKED);
            let tie = prefix.finish_with(&who.get().to_le_bytes());
            (Reverse(standing.reputation), tie, who)
        })
        .collect();
    keyed.sort_unstable();
    keyed
        .into_iter()
        .zip(0..)
        .map(|((_, _, who), rank)| (who, rank))
        .collect()
}

/// The book of a contract as the owners and orders of a round.
pub(crate) struct Field {
    participants: Vec<ParticipantId>,
    owners: Vec<Owner>,
    orders: Vec<RoundOrder>,
    ids: Vec<OrderId>,
    handles: Vec<Handle>,
}

impl Field {
    pub(crate) fn new(contract: &Contract, accounts: &Accounts) -> Self {
        let sides = contract
            .book
            .handles(Side::Buy)
            .chain(contract.book.handles(Side::Sell));
        let (handles, resting): (Vec<Handle>, Vec<Order>) =
            sides.map(|(handle, _)| (handle, contract.book.order(handle))).unzip();
        let priorities = priorities(contract, resting.iter().map(|order| order.id.participant));
        let participants: Vec<ParticipantId> = priorities.keys().copied().collect();
        // Owners by order: the participants are its distinct owners, ascending.
        let mut by_owner: Vec<(ParticipantId, u32)> =
            resting.iter().map(|order| order.id.participant).zip(0..).collect();
        by_owner.sort_unstable();
        let mut owner_of = vec![0; resting.len()];
        for (owner, orders) in (0u32..).zip(by_owner.chunk_by(|a, b| a.0 == b.0)) {
            for &(_, i) in orders {
                owner_of[i as usize] = owner;
            }
        }
        let mut owners: Vec<Owner> = Vec::with_capacity(participants.len());
        let groups = contract.params.on(Param::Affiliation);
        let mut first_of_group: BTreeMap<Hash, u32> = BTreeMap::new();
        for (i, who) in participants.iter().enumerate() {
            let standing = contract.standing.get(who).copied().unwrap_or(Standing::UNRANKED);
            let group = match accounts.get(*who).map(|account| account.profile().group) {
                Some(group) if groups && group != Hash::ZERO => *first_of_group.entry(group).or_insert(i as u32),
                _ => i as u32,
            };
            owners.push(Owner {
                priority: priorities[who],
                percentile: standing.percentile,
                group,
            });
        }
        let charge = contract.params.charge_ticks();
        let mut ranked: Vec<(u32, u32, u64, usize)> = (resting.iter().zip(&owner_of).enumerate())
            .map(|(i, (order, &owner))| {
                let priority = owners[owner as usize].priority;
                (priority, order.id.index, order.stamp, i)
            })
            .collect();
        ranked.sort_unstable();
        let mut spare_rank = vec![0; resting.len()];
        for (rank, (_, _, _, i)) in (0u32..).zip(ranked) {
            spare_rank[i] = rank;
        }
        let as_round_order = |(i, order): (usize, &Order)| RoundOrder {
            owner: owner_of[i],
            side: order.side,
            price: order.price,
            energy: order.leaves,
            min_fill: order.min_fill,
            index: spare_rank[i],
            spare_rank: spare_rank[i],
            charge_covered: order.side == Side::Sell || i64::from(order.charge_cap) >= charge,
        };
        let orders = resting.iter().enumerate().map(as_round_order).collect();
        Self {
            orders,
            owners,
            participants,
            ids: resting.iter().map(|order| order.id).collect(),
            handles,
        }
    }

    /// With the places fixed at RANK and the rules in force.
    pub(crate) fn into_snapshot(self, contract: &Contract) -> RoundSnapshot {
        let place_of = |who: &ParticipantId| [0, 1].map(|side: usize| contract.places[side].get(who).copied());
        RoundSnapshot {
            contract: contract.id,
            round: contract.round,
            places: self.participants.iter().map(place_of).collect(),
            participants: self.participants,
            owners: self.owners,
            orders: self.orders,
            ids: self.ids,
            rules: Rules {
                range: contract.params.range(),
                deal_price: contract.params.deal_price(),
                reference: contract.cep.or(contract.previous_cep),
                spread_min: spread_min(&contract.params),
            },
        }
    }
}
