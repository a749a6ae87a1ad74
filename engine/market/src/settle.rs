//! Countersignature, meters, settlement, ratings (MARKET 6, 3.1, 7.1; DETAILS 5).

use crate::contract::{Contract, DealStatus};
use crate::market::Market;
use crate::reputation::{CycleRecord, Traded, reputation};
use crate::state::{MintAccount, PageKey};
use crate::trade::{buyer_holds, half_ticks, penalty, seller_pays};
use std::collections::BTreeMap;
use wattbook_types::command::{GridSignature, Rate, Reading};
use wattbook_types::units::{NANO_PER_TICK_WH, PPM_ONE};
use wattbook_types::{
    ContractId, Energy, Event, MeterKind, Money, Param, ParticipantId, Phase, Reject, Roles, Side, TimeNs,
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
    pub(crate) fn countersign(&mut self, who: ParticipantId, grid: &GridSignature) -> Result<(), Reject> {
        self.require(who, Roles::GRID)?;
        let waits = |c: &Contract| c.batches.contains_key(&grid.height);
        let signed = |c: &Contract| {
            c.batches
                .get(&grid.height)
                .is_some_and(|batch| batch.digest == grid.deals_digest)
        };
        let found = self.state.contracts.iter().find(|(_, c)| signed(c)).map(|(id, _)| *id);
        let Some(id) = found else {
            let any = self.state.contracts.values().any(|c| waits(c));
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
                contract.deals[ordinal as usize].status = DealStatus::Contracted;
                market.state.touch_deal(id, ordinal as usize);
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
        let state = &mut contract.deals[ordinal];
        state.status = DealStatus::Voided;
        let (buyer, seller, energy) = (
            state.deal.buyer.participant,
            state.deal.seller.participant,
            state.deal.energy,
        );
        self.state.accounts.known_mut(buyer).release_escrow(state.buyer_escrow);
        self.state
            .accounts
            .known_mut(seller)
            .release_escrow(state.seller_escrow);
        (state.buyer_escrow, state.seller_escrow) = (Money::ZERO, Money::ZERO);
        let position = contract.position_mut(buyer);
        position.bought = position.bought.minus(energy);
        let position = contract.position_mut(seller);
        position.sold = position.sold.minus(energy);
        self.state.touch_deal(contract.id, ordinal);
        self.out.push(Event::DealVoided {
            contract: contract.id,
            ordinal: ordinal as u64,
            buyer,
            seller,
        });
    }

    pub(crate) fn read_meter(&mut self, who: ParticipantId, reading: &Reading) -> Result<(), Reject> {
        self.require(who, Roles::METER)?;
        let id = ContractId::new(reading.period, ContractId::PRODUCT_QUARTER_HOUR, self.state.area);
        if !self.state.contracts.contains_key(&id) {
            return Err(Reject::UnknownContract);
        }
        let meter = *self.state.meters.get(&reading.meter).ok_or(Reject::UnknownMeter)?;
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
            if let Some(meter) = self.state.meters.get_mut(&reading.meter) {
                meter.frozen = true;
            }
            self.touch(PageKey::Meter(reading.meter));
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
            let Some(meter) = self.state.meters.get(&reading.meter) else {
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

        let state = &mut c.deals[ordinal];
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
                accounts.known_mut(who).locked = Money::ZERO;
            }
        }
        self.state.touch_deal(c.id, ordinal);
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

    pub(crate) fn rate(&mut self, who: ParticipantId, rate: &Rate) -> Result<(), Reject> {
        let (id, ordinal) = *self.state.deal_index.get(&rate.deal_id).ok_or(Reject::UnknownDeal)?;
        self.on_contract(id, |market, contract| {
            let state = &mut contract.deals[ordinal as usize];
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
            state.ratings[slot] = Some(rate.good);
            market.state.touch_deal(id, ordinal as usize);
            market.out.push(Event::DealRated {
                contract: id,
                ordinal,
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
        let absent: Vec<ParticipantId> = self
            .state
            .accounts
            .iter()
            .map(|(id, _)| id)
            .filter(|id| !contract.positions.contains_key(id))
            .collect();
        for id in absent {
            let expired = {
                let account = self.state.accounts.get(id);
                account.is_some_and(|a| a.window.clone().expire(cycle, window))
            };
            if expired {
                self.state.accounts.known_mut(id).window.expire(cycle, window);
            }
        }
        for (&who, position) in &contract.positions {
            let sides = [Side::Buy, Side::Sell];
            let entered = sides.iter().filter(|side| position.entered[side.index()]);
            let traded = entered
                .clone()
                .filter_map(|&side| self.traded(contract, who, side, min_lot));
            let record = CycleRecord {
                cycle,
                entered: entered.clone().count() as u32,
                traded: traded.collect(),
                declined: position.declined,
            };
            let account = self.state.accounts.known_mut(who);
            account.window.push(record, window);
            let counts = account.window.counts(share_rule);
            self.out.push(Event::Rated {
                contract: contract.id,
                participant: who,
                reputation: reputation(counts, penalty),
                entered: counts.entered,
                traded: counts.traded,
                good: counts.good,
                declined: counts.declined,
            });
        }
    }

    /// Whether a participant's side had a contract that counts, with whom, and how it was rated.
    fn traded(&self, c: &Contract, who: ParticipantId, side: Side, min_lot: u64) -> Option<Traded> {
        let (mut contracted, mut delivered) = (0u128, 0u128);
        let mut rated_bad = false;
        let mut counterparty: Option<u64> = None;
        for state in c.deals.iter().filter(|state| state.status == DealStatus::Settled) {
            let deal = &state.deal;
            let (mine, other) = match side {
                Side::Buy => (deal.buyer.participant, deal.seller.participant),
                Side::Sell => (deal.seller.participant, deal.buyer.participant),
            };
            if mine != who || self.state.accounts.affiliated(mine, other, true) {
                continue;
            }
            contracted += u128::from(deal.energy.get());
            let metered = if side == Side::Buy {
                state.buyer_delivered
            } else {
                state.seller_delivered
            };
            delivered += u128::from(metered.get());
            rated_bad |= state.ratings[side.index()] == Some(false);
            if deal.energy.get() >= min_lot {
                let tag = self
                    .state
                    .accounts
                    .get(other)
                    .map_or(1, |account| account.group_tag(other));
                counterparty = Some(match counterparty {
                    None => tag,
                    Some(same) if same == tag => tag,
                    Some(_) => 0,
                });
            }
        }
        let good = match c.params.get(Param::Rating) {
            1 => !rated_bad,
            _ => delivered * u128::from(PPM_ONE) >= contracted * c.params.get(Param::GoodDelivery) as u128,
        };
        counterparty.map(|counterparty| Traded { counterparty, good })
    }
}
