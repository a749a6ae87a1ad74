//! The timetable: time, gates, borders, and what happens at each (MARKET 2, DETAILS 4). Rounds are in `sealed`.

use crate::book::Standing;
use crate::cep;
use crate::contract::{Border, Contract};
use crate::market::{Market, Refusal};
use crate::reputation::{percentiles, reputation};
use crate::state::MINTS;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::params::FloorRule;
use wattbook_types::units::{NS_PER_S, PPM_ONE};
use wattbook_types::{CloseReason, ContractId, Event, OrderId, Param, Phase, Reject, Side, TimeNs};

/// Greatest step of time, 400 days: every gate on the way is opened and closed.
pub const TICK_MAX_NS: u64 = 400 * 86_400 * NS_PER_S;
/// No Tick goes beyond 2^63 ns (the year 2262).
// BOUND: delivery periods past the present are counted in 64-bit nanoseconds, so 2^64 itself must stay far away.
const TIME_END: TimeNs = TimeNs::new(1 << 63);
/// Lowest prices are kept for this many periods behind the newest.
const LOWS_KEPT: u32 = 200;

/// Something that falls due; earlier kinds come first at one instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// An order's last instant of validity has passed.
    Expiry(ContractId, OrderId),
    /// The grid company's deadline for a block's deals has passed.
    Countersign(ContractId, u64),
    /// A contract's next border.
    Border(ContractId, Border),
    /// A gate opens.
    Gate(ContractId),
}

impl Market {
    /// Moves time on and runs every border it passes, in order of time.
    pub(crate) fn tick(&mut self, time: TimeNs) -> Result<(), Refusal> {
        if !self.takes_tick(time) {
            return Err(Reject::StepRefused.into());
        }
        self.ticked = time;
        self.out.push(Event::Ticked { time });
        while let Some((at, due)) = self.next_due() {
            if at > time {
                break;
            }
            // What falls due together falls due as if it had been ticked one by one; changed parameters can put a border
            // into the past.
            self.reach(at.max(self.state.time));
            match due {
                Due::Expiry(contract, order) => self.expire(contract, order),
                Due::Countersign(contract, height) => self.void_batch(contract, height),
                Due::Border(contract, border) => self.cross(contract, border, at),
                Due::Gate(contract) => self.open_gate(contract, at),
            }
        }
        self.reach(time);
        Ok(())
    }

    /// Moves the state's time on and begins the epoch it lies in.
    fn reach(&mut self, time: TimeNs) {
        self.state.time = time;
        let epoch_ns = self.state.params.get(Param::EpochCycles) as u64 * PERIOD_S * NS_PER_S;
        let epoch = (time.get() - self.state.genesis_time.get()) / epoch_ns;
        if epoch != self.state.supply.epoch {
            self.state.supply.epoch = epoch;
            self.state.supply.minted_in_epoch = [0; MINTS];
        }
    }

    /// Whether a Tick at `time` is taken: forward, not too far at once, before the end of time.
    pub fn takes_tick(&self, time: TimeNs) -> bool {
        let ahead = time.get().saturating_sub(self.state.time.get());
        (1..=TICK_MAX_NS).contains(&ahead) && time <= TIME_END
    }

    /// When the next border falls due.
    pub fn next_due_time(&self) -> TimeNs {
        self.next_due().map_or(TimeNs::new(u64::MAX), |(at, _)| at)
    }

    /// Whether a Tick at `time` would close a SEAL and so open REVEAL.
    pub fn opens_reveal(&self, time: TimeNs) -> bool {
        let closes = |contract: &Contract| {
            contract
                .next_border()
                .is_some_and(|(at, b)| b == Border::SealCloses && at <= time)
        };
        self.state.contracts.values().any(closes)
    }

    fn next_due(&self) -> Option<(TimeNs, Due)> {
        let just_after = |time: TimeNs| TimeNs::new(time.get().saturating_add(1));
        let of_contract = |id: &ContractId, contract: &Contract| {
            let border = contract
                .next_border()
                .map(|(at, border)| (at, Due::Border(*id, border)));
            let expiry = contract
                .expiries
                .first()
                .map(|(at, order)| (just_after(*at), Due::Expiry(*id, *order)));
            let countersign = contract
                .first_batch()
                .map(|(height, deadline)| (just_after(deadline), Due::Countersign(*id, height)));
            [border, expiry, countersign].into_iter().flatten().min()
        };
        let (at, id) = self.next_gate();
        let due = self
            .state
            .contracts
            .iter()
            .filter_map(|(id, contract)| of_contract(id, contract));
        due.chain([(at, Due::Gate(id))]).min()
    }

    fn expire(&mut self, id: ContractId, order: OrderId) {
        let done = self.on_contract(id, |market, contract| {
            contract.expiries.pop_first();
            if let Some(handle) = contract.book.find(&order) {
                let owner = market.state.accounts.party(order.participant).at;
                market.close_order(contract, owner, handle, CloseReason::Expired);
            }
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    /// Gate opening: parameters, floor, reputations, places (MARKET 2.4, 3.1, 3.2).
    fn open_gate(&mut self, id: ContractId, at: TimeNs) {
        self.adopt_params();
        self.state.next_period += 1;
        // The opening may have moved with the parameters; this gate opens now all the same.
        let mut contract = Contract::new(id, self.state.params.clone());
        let preceding = id.offset(-1);
        let floor_of = match contract.params.floor() {
            FloorRule::Off => None,
            FloorRule::Day => Some(id.offset(-96)),
            FloorRule::Previous => Some(preceding),
        };
        contract.floor = floor_of.and_then(|other| self.low_of(other));
        if let Some(before) = self.state.contracts.get(&preceding) {
            contract.trail = before.own_trail();
            let n = contract.params.get(Param::CepDeals) as usize;
            contract.trail.drain(..contract.trail.len().saturating_sub(n));
            contract.previous_cep = before.cep;
        }
        let share_rule = contract.params.on(Param::CounterpartyShare);
        let penalty = contract.params.get(Param::DeclinePenalty) as u32;
        let now = self.state.time;
        let active = self
            .state
            .accounts
            .iter()
            .filter(|(_, a)| a.roles.trades() && a.is_admitted(now));
        let scored = active.map(|(who, account)| {
            let profile = account.profile();
            let counts = profile.window.counts(share_rule);
            (who, reputation(counts, penalty), counts.traded, profile.registered)
        });
        let ranked = percentiles(scored.collect());
        self.out.push(Event::PhaseChanged {
            contract: id,
            phase: Phase::Seal,
            round: 1,
            time: at,
        });
        for (participant, reputation, percentile) in ranked {
            let at = self.state.accounts.party(participant).at;
            contract.rank_account(at, participant, Standing { reputation, percentile });
            self.out.push(Event::Ranked {
                contract: id,
                participant,
                reputation,
                percentile,
            });
        }
        self.state.contracts.open(Box::new(contract));
        let stale: Vec<ContractId> = self
            .state
            .lows
            .keys()
            .filter(|low| low.period() + LOWS_KEPT < id.period())
            .copied()
            .collect();
        for low in stale {
            self.state.lows.remove(&low);
            self.state.lows_changed = true;
        }
    }

    /// Lowest deal price of a contract, open or past.
    fn low_of(&self, id: ContractId) -> Option<wattbook_types::DealPrice> {
        self.state
            .contracts
            .get(&id)
            .and_then(|contract| contract.low)
            .or_else(|| self.state.lows.get(&id).copied())
    }

    fn cross(&mut self, id: ContractId, border: Border, at: TimeNs) {
        let crossed = self.on_contract(id, |market, contract| {
            let phase = match border {
                Border::SealCloses => Phase::Reveal,
                Border::RevealCloses => Phase::Ranked,
                Border::Match => Phase::Matched,
                Border::Contract => Phase::Continuous,
                Border::SealOpens => {
                    contract.round += 1;
                    Phase::Seal
                }
                Border::GateCloses => Phase::GateClosed,
                Border::Delivery => Phase::Delivering,
                Border::Metering => Phase::Metering,
                Border::Settle => Phase::Settled,
                Border::Close => Phase::Closed,
            };
            contract.phase = phase;
            market.out.push(Event::PhaseChanged {
                contract: id,
                phase,
                round: contract.round,
                time: at,
            });
            match border {
                Border::SealCloses => market.lock_bonds(contract),
                Border::RevealCloses => market.rank(contract),
                Border::Match => market.match_round(contract),
                Border::Contract => market.publish_cep(contract),
                Border::GateCloses => market.close_gate(contract),
                Border::Settle => market.settle(contract),
                Border::Close => market.close_cycle(contract),
                Border::SealOpens | Border::Delivery | Border::Metering => {}
            }
            Ok(())
        });
        debug_assert!(crossed.is_ok());
        if border == Border::Close {
            self.forget(id);
        }
    }

    /// Takes a closed contract out of the state; its lowest price stays.
    fn forget(&mut self, id: ContractId) {
        let low = self.state.contracts.remove(id).and_then(|contract| contract.low);
        if let Some(low) = low {
            self.state.lows.insert(id, low);
            self.state.lows_changed = true;
        }
    }

    /// The CEP after a round and at gate closure.
    fn publish_cep(&mut self, contract: &mut Contract) {
        let deals: Vec<_> = contract.trail.iter().copied().collect();
        let ratio = cep::ratio(
            &contract.params,
            contract.trail_own,
            contract.highest_quote,
            contract.previous_cep,
        );
        let (Some(cep), Some(volume_weighted)) = (cep::by_recency(&deals, ratio), cep::by_volume(&deals)) else {
            return;
        };
        contract.cep = Some(cep);
        self.out.push(Event::Cep {
            contract: contract.id,
            cep,
            volume_weighted,
            deals: deals.len() as u32,
        });
    }

    /// Gate closure: the book empties, the CEP is final, a jump raises the alarm.
    fn close_gate(&mut self, contract: &mut Contract) {
        let sides = contract
            .book
            .handles(Side::Buy)
            .chain(contract.book.handles(Side::Sell));
        let orders: Vec<_> = sides.collect();
        for (order, owner) in orders {
            self.close_order(contract, owner, order, CloseReason::GateClosed);
        }
        self.publish_cep(contract);
        let alarm = i128::from(contract.params.get(Param::VolatilityAlarm));
        if let (Some(previous), Some(cep)) = (contract.previous_cep, contract.cep) {
            let moved = i128::from(cep.get().abs_diff(previous.get())) * i128::from(PPM_ONE);
            if alarm > 0 && moved > alarm * i128::from(previous.get().unsigned_abs()) {
                self.out.push(Event::VolatilityAlarm {
                    contract: contract.id,
                    previous,
                    cep,
                });
            }
        }
    }
}
