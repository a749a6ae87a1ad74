//! Registration, parameters, and the regulator's orders (MARKET 2.7, 7.1; PROTOCOL 8; DETAILS 2).

use crate::account::Account;
use crate::accounts::Party;
use crate::market::{Market, Refusal};
use crate::state::{MeterState, MintAccount};
use std::collections::BTreeSet;
use wattbook_types::command::{Configure, MarketAction, MarketOrder};
use wattbook_types::{
    CloseReason, ContractId, Energy, Event, Meter, Money, Param, Params, Registration, Reject, Roles,
};

impl Market {
    pub(crate) fn register(&mut self, registration: &Registration) -> Result<(), Refusal> {
        self.open_account(registration, false)?;
        Ok(())
    }

    /// Opens an account and mints what it is due.
    pub(crate) fn open_account(&mut self, registration: &Registration, genesis: bool) -> Result<(), Reject> {
        self.check_registration(registration, genesis)?;
        let id = registration.participant;
        for meter in &registration.meters {
            self.state.meters.add(MeterState {
                owner: id,
                meter: *meter,
                frozen: false,
            });
        }
        self.state.keys.insert(registration.public_key);
        if self.state.grid.is_none() && registration.roles.contains(Roles::GRID) {
            self.state.grid = Some(id);
        }
        let group = self.state.groups.number(registration.group);
        let minted = self.mint_on_opening(registration, group, genesis);
        let at = self
            .state
            .accounts
            .open(id, Account::new(registration, group, self.seq));
        let account = self.state.accounts.at_mut(at);
        account.free = minted;
        if !genesis {
            self.state.accounts.profile_mut(at).locked = minted;
        }
        self.out.push(Event::Registered {
            participant: id,
            roles: registration.roles,
            minted,
        });
        Ok(())
    }

    /// Whether an account can be opened by this registration.
    pub(crate) fn check_registration(&self, registration: &Registration, genesis: bool) -> Result<(), Reject> {
        let id = registration.participant;
        if !meters_stand_together(&registration.meters) {
            return Err(Reject::BadMeters);
        }
        if self.state.accounts.get(id).is_some() {
            return Err(Reject::AlreadyRegistered);
        }
        let dpos = self.state.dpos.as_deref();
        let is_ballot_key = dpos.is_some_and(|dpos| dpos.has_ballot_key(&registration.public_key));
        if is_ballot_key || self.state.keys.contains(&registration.public_key) {
            return Err(Reject::KeyTaken);
        }
        if (registration.meters.iter()).any(|meter| self.state.meters.get(meter.meter).is_some()) {
            return Err(Reject::MeterTaken);
        }
        if !genesis && registration.not_after < self.state.time {
            return Err(Reject::AdmissionExpired);
        }
        if id.get() == 0 || registration.roles.bits() & !Roles::ALL_BITS != 0 || registration.flags != 0 {
            return Err(Reject::BadRoles);
        }
        Ok(())
    }

    fn mint_on_opening(&mut self, registration: &Registration, group: u32, genesis: bool) -> Money {
        let params = &self.state.params;
        let money = |param| Money::new(params.get(param));
        if genesis {
            let wanted = if registration.roles.contains(Roles::GRID) {
                money(Param::GridMint)
            } else {
                Money::ZERO
            };
            return self.state.supply.mint(MintAccount::Grid, wanted, None);
        }
        let (wanted, cap) = (money(Param::RegistrationMint), money(Param::RegistrationMintCap));
        if !registration.roles.trades() || !self.state.groups.take_mint(group) {
            return Money::ZERO;
        }
        self.state.supply.mint(MintAccount::Registration, wanted, Some(cap))
    }

    /// Whether `who` holds a role.
    pub(crate) fn require(&self, who: Party, role: Roles) -> Result<(), Reject> {
        if self.state.accounts.at(who.at).roles.contains(role) {
            Ok(())
        } else {
            Err(Reject::RoleMissing)
        }
    }

    pub(crate) fn configure(&mut self, who: Party, configure: &Configure) -> Result<(), Reject> {
        self.require(who, Roles::REGULATOR)?;
        let param = Param::from_id(configure.param).ok_or(Reject::UnknownParam)?;
        let mut pending = self.state.pending_params.clone();
        pending.insert(param, configure.value);
        let candidate = with_pending(&self.state.params, &pending).ok_or(Reject::ParamOutOfBounds)?;
        candidate.check().map_err(|_| Reject::ParamOutOfBounds)?;
        if param.is_fixed() {
            return Err(Reject::ParamFixed);
        }
        self.state.pending_params = pending;
        self.out.push(Event::Configured {
            param,
            value: configure.value,
        });
        Ok(())
    }

    /// Puts pending parameters in force.
    pub(crate) fn adopt_params(&mut self) {
        let pending = core::mem::take(&mut self.state.pending_params);
        if pending.is_empty() {
            return;
        }
        // INVARIANT: `configure` checked every pending set as a whole.
        if let Some(params) = with_pending(&self.state.params, &pending) {
            self.state.params = params;
        }
        self.out.push(Event::ParamsInForce {
            params_hash: self.state.params.digest(self.state.chain),
        });
    }

    pub(crate) fn market_order(&mut self, who: Party, order: &MarketOrder) -> Result<(), Reject> {
        self.require(who, Roles::REGULATOR)?;
        match order.action {
            MarketAction::Halt | MarketAction::Resume => {
                let halted = order.action == MarketAction::Halt;
                match order.contract {
                    None => self.state.halted = halted,
                    Some(id) => {
                        self.state.contracts.get_mut(id).ok_or(Reject::UnknownContract)?.halted = halted;
                    }
                }
                let contract = order.contract;
                self.out.push(if halted {
                    Event::MarketHalted {
                        contract,
                        reason: order.reason,
                    }
                } else {
                    Event::MarketResumed { contract }
                });
            }
            MarketAction::Suspend | MarketAction::Reinstate => {
                let suspended = order.action == MarketAction::Suspend;
                let participant = order.participant;
                let accounts = &mut self.state.accounts;
                let at = accounts.index(participant).ok_or(Reject::UnknownParticipant)?;
                accounts.at_mut(at).suspended = suspended;
                self.out.push(Event::Suspension {
                    participant,
                    suspended,
                    reason: order.reason,
                });
                if suspended {
                    let ids: Vec<ContractId> = self.state.contracts.keys().copied().collect();
                    for id in ids {
                        self.close_all(id, Party { id: participant, at }, CloseReason::Suspended);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether no meter is named twice and the capacities have a sum.
fn meters_stand_together(meters: &[Meter]) -> bool {
    let numbers: BTreeSet<u64> = meters.iter().map(|meter| meter.meter).collect();
    let sum =
        |cap: fn(&Meter) -> Energy| (meters.iter()).try_fold(Energy::ZERO, |sum, meter| sum.checked_add(cap(meter)));
    numbers.len() == meters.len() && sum(|meter| meter.import_cap).is_some() && sum(|meter| meter.export_cap).is_some()
}

/// The parameters with pending ones set; `None` where one lies beyond its bounds.
fn with_pending(params: &Params, pending: &std::collections::BTreeMap<Param, i64>) -> Option<Params> {
    let mut candidate = params.clone();
    pending
        .iter()
        .all(|(param, value)| candidate.set(*param, *value))
        .then_some(candidate)
}
