//! Accounts: money in its four pockets, the nonce window, meters and the reputation window.

use crate::reputation::Window;
use std::collections::BTreeMap;
use wattbook_types::{Energy, Hash, Meter, Money, ParticipantId, Reject, Roles, TimeNs};

/// Nonces above the base that are taken.
pub const NONCE_WINDOW: u64 = 1_024;

/// Which nonces have been used, and by which record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nonces {
    /// Every nonce up to here has been used or burned.
    base: u64,
    /// Used nonces of the last and the next window, with the sequence number of their record.
    used: BTreeMap<u64, u64>,
}

impl Nonces {
    /// The base: the least nonce that can be used is one above.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Whether `nonce` may be used; else the refusal, with the original record where it is known.
    pub fn check(&self, nonce: u64) -> Result<(), (Reject, u64)> {
        if let Some(seq) = self.used.get(&nonce) {
            return Err((Reject::Duplicate, *seq));
        }
        if nonce <= self.base || nonce - self.base > NONCE_WINDOW {
            return Err((Reject::NonceOutOfWindow, 0));
        }
        Ok(())
    }

    /// Whether `nonce` has been used, as far as the window knows.
    pub fn is_used(&self, nonce: u64) -> bool {
        nonce <= self.base || self.used.contains_key(&nonce)
    }

    /// Marks a nonce that [`Self::check`] let pass.
    pub fn mark(&mut self, nonce: u64, seq: u64) {
        debug_assert!(self.check(nonce).is_ok());
        self.used.insert(nonce, seq);
        while self.used.contains_key(&(self.base + 1)) {
            self.base += 1;
        }
        let keep_from = self.base.saturating_sub(NONCE_WINDOW);
        while let Some(first) = self.used.first_entry() {
            if *first.key() > keep_from {
                break;
            }
            first.remove();
        }
    }

    /// The used nonces the window remembers.
    pub fn used(&self) -> impl Iterator<Item = (u64, u64)> {
        self.used.iter().map(|(nonce, seq)| (*nonce, *seq))
    }
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its roles.
    pub roles: Roles,
    /// When its admission expires.
    pub not_after: TimeNs,
    /// BLS public key.
    pub public_key: [u8; 96],
    /// Version of that key.
    pub key_version: u32,
    /// Affiliation group; zero: none.
    pub group: Hash,
    /// Sequence number of its registration; genesis accounts stand before all others.
    pub registered: u64,
    /// Whether a regulator has shut it out.
    pub suspended: bool,
    /// Money free to use.
    pub free: Money,
    /// Reserved for open orders.
    pub reserved: Money,
    /// Held for deals.
    pub escrow: Money,
    /// Locked for seals.
    pub bonds: Money,
    /// Part of the registration mint that serves bonds and escrow only, until the first settled energy.
    pub locked: Money,
    /// Nonces.
    pub nonces: Nonces,
    /// Metering points, in order of registration.
    pub meters: Vec<Meter>,
    /// Closed cycles.
    pub window: Window,
    /// Items sent in the block under way.
    pub items_in_block: u32,
}

impl Account {
    /// All the money it has.
    pub fn total(&self) -> i128 {
        [self.free, self.reserved, self.escrow, self.bonds]
            .iter()
            .map(|m| i128::from(m.get()))
            .sum()
    }

    /// What it may pay for anything but bonds and escrow.
    pub fn payable(&self) -> Money {
        self.free.minus(self.locked).max(Money::ZERO)
    }

    /// Export capacity per period over all meters.
    pub fn export_capacity(&self) -> Energy {
        Energy::new(self.meters.iter().map(|m| m.export_cap.get()).sum())
    }

    /// Whether it may trade now.
    pub fn is_admitted(&self, now: TimeNs) -> bool {
        !self.suspended && now <= self.not_after
    }

    /// The tag under which it counts as a counterparty: its group, or itself.
    pub fn group_tag(&self, id: ParticipantId) -> u64 {
        let tag = if self.group == Hash::ZERO {
            id.get()
        } else {
            self.group.prefix_u64()
        };
        tag.max(1)
    }

    /// Moves free money to reservations.
    pub fn reserve(&mut self, amount: Money) -> bool {
        let enough = self.free >= amount;
        if enough {
            self.free = self.free.minus(amount);
            self.reserved = self.reserved.plus(amount);
        }
        enough
    }

    /// Moves reserved money back.
    ///
    /// # Panics
    /// If it reserved less.
    pub fn release(&mut self, amount: Money) {
        assert!(self.reserved >= amount, "INVARIANT: more released than reserved");
        self.reserved = self.reserved.minus(amount);
        self.free = self.free.plus(amount);
    }

    /// Turns a reservation into escrow; the rest of it is free again.
    ///
    /// # Panics
    /// If the escrow exceeds the reservation: limits bound prices, caps bound charges.
    pub fn reservation_to_escrow(&mut self, reservation: Money, escrow: Money) {
        assert!(
            escrow <= reservation,
            "INVARIANT: escrow {escrow} above its reservation {reservation}"
        );
        self.release(reservation);
        self.free = self.free.minus(escrow);
        self.escrow = self.escrow.plus(escrow);
    }

    /// Moves escrow back to free.
    ///
    /// # Panics
    /// If it holds less.
    pub fn release_escrow(&mut self, amount: Money) {
        assert!(self.escrow >= amount, "INVARIANT: more released than held");
        self.escrow = self.escrow.minus(amount);
        self.free = self.free.plus(amount);
    }

    /// Locks a bond.
    pub fn lock_bond(&mut self, amount: Money) -> bool {
        let enough = self.free >= amount;
        if enough {
            self.free = self.free.minus(amount);
            self.bonds = self.bonds.plus(amount);
        }
        enough
    }

    /// Frees a bond.
    ///
    /// # Panics
    /// If it locked less.
    pub fn release_bond(&mut self, amount: Money) {
        assert!(self.bonds >= amount, "INVARIANT: more bond released than locked");
        self.bonds = self.bonds.minus(amount);
        self.free = self.free.plus(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_slide_and_remember() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.check(0), Err((Reject::NonceOutOfWindow, 0)));
        assert_eq!(nonces.check(1_025), Err((Reject::NonceOutOfWindow, 0)));
        nonces.mark(2, 70);
        assert_eq!((nonces.base(), nonces.check(2)), (0, Err((Reject::Duplicate, 70))));
        nonces.mark(1, 71);
        assert_eq!(nonces.base(), 2);
        assert_eq!(nonces.check(1), Err((Reject::Duplicate, 71)));
        for nonce in 3..=2_000 {
            nonces.mark(nonce, nonce);
        }
        assert_eq!(nonces.check(1), Err((Reject::NonceOutOfWindow, 0)));
        assert_eq!(nonces.check(1_999), Err((Reject::Duplicate, 1_999)));
        assert!(nonces.is_used(1) && !nonces.is_used(2_001));
    }
}
