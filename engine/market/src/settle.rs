//! Countersignature, meters, settlement, ratings (MARKET 6, 3.1, 7.1; DETAILS 5).

use crate::accounts::{AccountIndex, Party};
use crate::contract::{Contract, DealState, DealStatus};
use crate::market::Market;
use crate::reputation::{CycleRecord, Traded, reputation};
use crate::state::MintAccount;
use crate::trade::{buyer_holds, half_ticks, penalty, seller_pays};
use std::collections::BTreeMap;
use wattbook_types::command::{GridSignature, Rate, Reading};
use wattbook_types::units::{NANO_PER_TICK_WH, PPM_ONE};
use wattbook_types::{
    ContractId, Energy, Event, MeterKind, Money, Param, Params, ParticipantId, Phase, Reject, Roles, Side, TimeNs,
};

/// Metered energy of a participant that its deals may still use, and what is left of its clean part.
#[derive(Clone, Copy, Debug, Default)]
struct Metered {
    import: Energy,
    export: Energy,
    clean: Energy,
    /// The grid company is the balancing party: it delivers and takes whatever its deals say.
    balancing: bool,
}

impl Market {
    /// The grid company signs the deals of a contract in a block: they become contracts.
    pub(crate) fn countersign(&mut self, who: Party, grid: &GridSignature) -> Result<(), Reject> {
        self.require(who, Roles::GRID)?;
        let waits = |c: &Contract| c.batches.contains_key(&grid.height);
        let signed = |c: &Contract| {
            c.batches
                .get(&grid.height)
                .is_some_and(|batch| batch.digest == grid.deals_digest)
        };
        let found = self.state.contracts.iter().find(|(_, c)| signed(c)).map(|(id, _)| *id);
        let Some(id) = found else {
            let any = self.state.contracts.values().any(waits);
            return Err(if any {
                Reject::DealsDigestMismatch
            } else {
                Reject::UnknownDeal
            });
        };
        self.on_contract(id, |market, contract| {
            let batch = contract.batches[&grid.height];
            if batch.deadline < market.state.time {
                return Err(Reject::CountersignLate);
            }
            contract.batches.remove(&grid.height);
            for ordinal in batch.first..batch.first + batch.count {
                contract.deal_mut(ordinal as usize).status = DealStatus::Contracted;
            }
            let (height, first, count) = (grid.height, batch.first, batch.count);
            market.out.push(Event::Contracted {
                contract: id,
                height,
                first,
                count,
            });
            Ok(())
        })
    }

    /// Voids the deals of a block that were not countersigned in time.
    pub(crate) fn void_batch(&mut self, id: ContractId, height: u64) {
        let done = self.on_contract(id, |market, contract| {
            if let Some(batch) = contract.batches.remove(&height) {
                for ordinal in batch.first..batch.first + batch.count {
                    market.void_deal(contract, ordinal as usize);
                }
            }
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    fn void_deal(&mut self, contract: &mut Contract, ordinal: usize) {
        let state = contract.deal_mut(ordinal);
        state.status = DealStatus::Voided;
        let (buyer, seller, energy) = (
            state.deal.buyer.participant,
            state.deal.seller.participant,
            state.deal.energy,
        );
        let accounts = &mut self.state.accounts;
        let [to, from] = [buyer, seller].map(|who| accounts.party(who).at);
        accounts.at_mut(to).release_escrow(state.buyer_escrow);
        accounts.at_mut(from).release_escrow(state.seller_escrow);
        (state.buyer_escrow, state.seller_escrow) = (Money::ZERO, Money::ZERO);
        let position = contract.position_mut(to);
        position.bought = position.bought.minus(energy);
        let position = contract.position_mut(from);
        position.sold = position.sold.minus(energy);
        self.out.push(Event::DealVoided {
            contract: contract.id,
            ordinal: ordinal as u64,
            buyer,
            seller,
        });
    }

    pub(crate) fn read_meter(&mut self, who: Party, reading: &Reading) -> Result<(), Reject> {
        self.require(who, Roles::METER)?;
        let id = ContractId::new(reading.period, ContractId::PRODUCT_QUARTER_HOUR, self.state.area);
        if !self.state.contracts.contains_key(&id) {
            return Err(Reject::UnknownContract);
        }
        let meter = *self.state.meters.get(reading.meter).ok_or(Reject::UnknownMeter)?;
        let conflict = self.on_contract(id, |market, contract| {
            if contract.phase != Phase::Metering {
                return Err(Reject::MeterNotInPeriod);
            }
            if reading.import > meter.meter.import_cap || reading.export > meter.meter.export_cap {
                return Err(Reject::ReadingOutOfBounds);
            }
            let old = contract.readings.get(&reading.meter);
            if old.is_some_and(|old| old.revision > reading.revision || old == reading) {
                return Err(Reject::StaleRevision);
            }
            if meter.frozen {
                return Err(Reject::MeterFrozen);
            }
            if old.is_some_and(|old| old.revision == reading.revision) {
                return Ok(true);
            }
            contract.readings.insert(reading.meter, *reading);
            contract.changed.readings = true;
            market.out.push(Event::Metered {
                participant: meter.owner,
                meter: reading.meter,
                contract: id,
                import: reading.import,
                export: reading.export,
            });
            Ok(false)
        })?;
        if conflict {
            self.state.meters.freeze(reading.meter);
            self.out.push(Event::MeterFrozen {
                participant: meter.owner,
                meter: reading.meter,
            });
        }
        Ok(())
    }

    /// Metered energy by participant; a missing reading is zero.
    fn metered(&self, contract: &Contract) -> BTreeMap<ParticipantId, Metered> {
        let mut metered: BTreeMap<ParticipantId, Metered> = BTreeMap::new();
        for reading in contract.readings.values() {
            let Some(meter) = self.state.meters.get(reading.meter) else {
                continue;
            };
            let of_owner = metered.entry(meter.owner).or_default();
            of_owner.import = of_owner.import.plus(reading.import);
            of_owner.export = of_owner.export.plus(reading.export);
            if meter.meter.kind == MeterKind::CleanGeneration && !meter.frozen {
                of_owner.clean = of_owner.clean.plus(reading.export);
            }
        }
        for (who, _) in self
            .state
            .accounts
            .iter()
            .filter(|(_, a)| a.roles.contains(Roles::GRID))
        {
            metered.entry(who).or_default().balancing = true;
        }
        metered
    }

    /// Settles a contract by meter: each side's energy goes to its deals in order, a deal settles the lesser.
    pub(crate) fn settle(&mut self, contract: &mut Contract) {
        let mut metered = self.metered(contract);
        for ordinal in 0..contract.deals.len() {
            match contract.deals[ordinal].status {
                DealStatus::Contracted => self.settle_deal(contract, ordinal, &mut metered),
                // The timetable lets settlement come before a deadline only by configuration.
                DealStatus::Made => self.void_deal(contract, ordinal),
                DealStatus::Voided | DealStatus::Settled => {}
            }
        }
        contract.batches.clear();
        // Deals that the same Tick made and voided are not sealed for the grid company any more.
        contract.unsealed_from = contract.deals.len();
        contract.unsealed_since = TimeNs::ZERO;
        let Some(grid) = self.state.grid else { return };
        for (who, left) in metered {
            if !left.balancing {
                self.balance(contract, grid, who, Side::Sell, left.export);
                self.balance(contract, grid, who, Side::Buy, left.import);
            }
        }
    }

    fn settle_deal(&mut self, c: &mut Contract, ordinal: usize, metered: &mut BTreeMap<ParticipantId, Metered>) {
        let deal = c.deals[ordinal].deal;
        let (buyer, seller) = (deal.buyer.participant, deal.seller.participant);
        let mut allocate = |who: ParticipantId, side: Side| {
            let of = metered.entry(who).or_default();
            if of.balancing {
                return deal.energy;
            }
            let pool = if side == Side::Buy {
                &mut of.import
            } else {
                &mut of.export
            };
            let taken = deal.energy.min(*pool);
            *pool = pool.minus(taken);
            taken
        };
        let (taken, delivered) = (allocate(buyer, Side::Buy), allocate(seller, Side::Sell));
        let settled = taken.min(delivered);

        // Money: the buyer pays price and charge, the seller pays where the price is negative, the grid company gets
        // the charge, and what is left over of a negative price reaches the buyer.
        let charge = half_ticks(2 * deal.charge_ticks(), settled);
        let (from_buyer, from_seller) = (buyer_holds(&deal, settled), seller_pays(&deal, settled));
        let to_seller = half_ticks(deal.price.get().max(0), settled);
        let to_buyer = from_buyer.plus(from_seller).minus(charge).minus(to_seller);
        let short = Energy::new(taken.get().abs_diff(delivered.get()));
        let full_penalty = penalty(&c.params, short);
        let (buyer_penalty, seller_penalty) = if taken < delivered {
            (full_penalty.min(buyer_holds(&deal, short)), Money::ZERO)
        } else {
            (Money::ZERO, full_penalty)
        };

        let state = c.deal_mut(ordinal);
        let (buyer_escrow, seller_escrow) = (state.buyer_escrow, state.seller_escrow);
        (state.buyer_escrow, state.seller_escrow) = (Money::ZERO, Money::ZERO);
        (state.buyer_delivered, state.seller_delivered) = (taken, delivered);
        state.status = DealStatus::Settled;
        assert!(
            from_buyer.plus(buyer_penalty) <= buyer_escrow,
            "INVARIANT: the buyer's escrow covers deal and penalty"
        );
        assert!(
            from_seller.plus(seller_penalty) <= seller_escrow,
            "INVARIANT: the seller's escrow covers both"
        );

        let accounts = &mut self.state.accounts;
        let account = accounts.known_mut(buyer);
        account.release_escrow(buyer_escrow);
        account.free = account
            .free
            .minus(from_buyer)
            .minus(buyer_penalty)
            .plus(to_buyer)
            .plus(seller_penalty);
        let account = accounts.known_mut(seller);
        account.release_escrow(seller_escrow);
        account.free = account
            .free
            .minus(from_seller)
            .minus(seller_penalty)
            .plus(to_seller)
            .plus(buyer_penalty);
        if charge > Money::ZERO {
            // INVARIANT: without a grid company nothing is countersigned, so no deal settles.
            let grid = self
                .state
                .grid
                .expect("INVARIANT: a settled deal was countersigned by a grid company");
            let account = accounts.known_mut(grid);
            account.free = account.free.plus(charge);
        }
        if !settled.is_zero() {
            for who in [buyer, seller] {
                let at = accounts.party(who).at;
                if accounts.at(at).profile().locked > Money::ZERO {
                    accounts.profile_mut(at).locked = Money::ZERO;
                }
            }
        }
        self.out.push(Event::Settled {
            contract: c.id,
            ordinal: ordinal as u64,
            buyer,
            seller,
            contracted: deal.energy,
            settled,
            energy_paid: to_seller.minus(from_seller),
            charge_paid: charge,
            buyer_penalty,
            seller_penalty,
        });
        let clean = metered.entry(seller).or_default();
        let tagged = settled.min(clean.clean);
        clean.clean = clean.clean.minus(tagged);
        if !tagged.is_zero() && !self.state.accounts.affiliated(buyer, seller, true) {
            self.mint_clean(c, seller, tagged);
        }
    }

    fn mint_clean(&mut self, contract: &Contract, seller: ParticipantId, energy: Energy) {
        let per_wh = contract.params.get(Param::CleanMint);
        let wanted = i128::from(per_wh) * i128::from(energy.get());
        let wanted = Money::new(i64::try_from(wanted).unwrap_or(i64::MAX));
        let cap = Money::new(contract.params.get(Param::CleanMintCap));
        let minted = self.state.supply.mint(MintAccount::Clean, wanted, Some(cap));
        if minted > Money::ZERO {
            let account = self.state.accounts.known_mut(seller);
            account.free = account.free.plus(minted);
            self.out.push(Event::CleanMinted {
                contract: contract.id,
                participant: seller,
                energy,
                minted,
            });
        }
    }

    /// Metered energy outside any deal: surplus export is bought by the grid company at the feed-in price, import beyond
    /// deals is sold by it at retail, as far as the payer's free balance goes.
    fn balance(&mut self, c: &Contract, grid: ParticipantId, who: ParticipantId, side: Side, energy: Energy) {
        if energy.is_zero() {
            return;
        }
        let price = c.params.get(if side == Side::Sell {
            Param::FeedIn
        } else {
            Param::Retail
        });
        let nano = i128::from(price) * i128::from(NANO_PER_TICK_WH) * i128::from(energy.get());
        // Positive: the participant pays.
        let due = if side == Side::Sell { -nano } else { nano };
        let (payer, payee) = if due >= 0 { (who, grid) } else { (grid, who) };
        let owed = Money::new(i64::try_from(due.abs()).unwrap_or(i64::MAX));
        let accounts = &mut self.state.accounts;
        let paid = owed.min(accounts.known_mut(payer).payable());
        let account = accounts.known_mut(payer);
        account.free = account.free.minus(paid);
        let account = accounts.known_mut(payee);
        account.free = account.free.plus(paid);
        let signed = if payer == who { paid } else { Money::ZERO.minus(paid) };
        let unpaid = owed.minus(paid);
        self.out.push(Event::Balanced {
            contract: c.id,
            participant: who,
            side,
            energy,
            paid: signed,
            unpaid,
        });
    }

    pub(crate) fn rate(&mut self, who: Party, rate: &Rate) -> Result<(), Reject> {
        let who = who.id;
        let found = |c: &mut Contract| {
            c.index_deals();
            Some((c.id, c.ordinal(&rate.deal_id)?))
        };
        let (id, ordinal) = (self.state.contracts.iter_mut())
            .find_map(found)
            .ok_or(Reject::UnknownDeal)?;
        self.on_contract(id, |market, contract| {
            let state = &contract.deals[ordinal];
            let (buyer, seller) = (state.deal.buyer.participant, state.deal.seller.participant);
            // Slot 0 rates the buyer, slot 1 the seller.
            let (slot, rated) = if who == buyer {
                (1, seller)
            } else if who == seller {
                (0, buyer)
            } else {
                return Err(Reject::NotCounterparty);
            };
            if state.ratings[slot].is_some() {
                return Err(Reject::AlreadyRated);
            }
            contract.deal_mut(ordinal).ratings[slot] = Some(rate.good);
            market.out.push(Event::DealRated {
                contract: id,
                ordinal: ordinal as u64,
                participant: rated,
                good: rate.good,
            });
            Ok(())
        })
    }

    /// CLOSE: the cycle enters the reputation windows (MARKET 3.1, DETAILS 5).
    pub(crate) fn close_cycle(&mut self, contract: &mut Contract) {
        let cycle = self.state.closed_cycles;
        self.state.closed_cycles += 1;
        let p = |param| contract.params.get(param);
        let (window, min_lot) = (p(Param::Window) as u64, p(Param::MinLot) as u64);
        let share_rule = contract.params.on(Param::CounterpartyShare);
        let penalty = p(Param::DeclinePenalty) as u32;
        let tallies = self.tallies(contract, min_lot);
        let mut present: Vec<Party> = Vec::new();
        for at in (0..self.state.accounts.len() as u32).map(AccountIndex::new) {
            if contract.position_of(at).is_some() {
                let id = self.state.accounts.id(at);
                present.push(Party { id, at });
            } else if self.state.accounts.at(at).profile().window.expires(cycle, window) {
                self.state.accounts.profile_mut(at).window.expire(cycle, window);
            }
        }
        present.sort_unstable_by_key(|who| who.id);
        for who in present {
            let position = contract.position(who.at);
            let sides = [Side::Buy, Side::Sell];
            let entered = sides.iter().filter(|side| position.entered[side.index()]);
            let tally = |side: &Side| tallies.get(who.at.slot()).map(|tally| tally[side.index()]);
            let traded = entered
                .clone()
                .filter_map(tally)
                .filter_map(|t| t.traded(&contract.params));
            let record = CycleRecord {
                cycle,
                entered: entered.clone().count() as u32,
                traded: traded.collect(),
                declined: position.declined,
            };
            let profile = self.state.accounts.profile_mut(who.at);
            profile.window.push(record, window);
            let counts = profile.window.counts(share_rule);
            self.out.push(Event::Rated {
                contract: contract.id,
                participant: who.id,
                reputation: reputation(counts, penalty),
                entered: counts.entered,
                traded: counts.traded,
                good: counts.good,
                declined: counts.declined,
            });
        }
    }

    /// What the settled deals of a contract say of every account and side, out-of-group deals only.
    fn tallies(&self, c: &Contract, min_lot: u64) -> Vec<[Tally; 2]> {
        let accounts = &self.state.accounts;
        let mut tallies = vec![[Tally::default(); 2]; accounts.len()];
        for state in c.deals.iter().filter(|state| state.status == DealStatus::Settled) {
            let [buyer, seller] = [state.deal.buyer, state.deal.seller].map(|order| accounts.party(order.participant));
            if accounts.same_group(buyer.at, seller.at) {
                continue;
            }
            for (mine, other, side) in [(buyer, seller, Side::Buy), (seller, buyer, Side::Sell)] {
                let counts = state.deal.energy.get() >= min_lot;
                let tag = counts.then(|| accounts.at(other.at).group_tag(other.id));
                tallies[mine.at.slot()][side.index()].add(state, side, tag);
            }
        }
        tallies
    }
}

/// The contracts of one side of an account.
#[derive(Clone, Copy, Default)]
struct Tally {
    contracted: u128,
    delivered: u128,
    rated_bad: bool,
    /// The only counterparty of at least the minimum lot by its tag, or 0 if there were several.
    counterparty: Option<u64>,
}

impl Tally {
    /// Adds a deal; `tag` names the counterparty where the deal counts.
    fn add(&mut self, state: &DealState, side: Side, tag: Option<u64>) {
        self.contracted += u128::from(state.deal.energy.get());
        let metered = match side {
            Side::Buy => state.buyer_delivered,
            Side::Sell => state.seller_delivered,
        };
        self.delivered += u128::from(metered.get());
        self.rated_bad |= state.ratings[side.index()] == Some(false);
        if let Some(tag) = tag {
            self.counterparty = Some(match self.counterparty {
                None => tag,
                Some(same) if same == tag => tag,
                Some(_) => 0,
            });
        }
    }

    /// Whether there was a contract that counts, with whom, and how it was rated.
    fn traded(&self, params: &Params) -> Option<Traded> {
        let good = match params.get(Param::Rating) {
            1 => !self.rated_bad,
            _ => self.delivered * u128::from(PPM_ONE) >= self.contracted * params.get(Param::GoodDelivery) as u128,
        };
        let counterparty = self.counterparty?;
        Some(Traded { counterparty, good })
    }
}
