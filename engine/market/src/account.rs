//! An account: money in its four pockets, what every envelope is checked against, and what is seldom looked at.

use crate::nonce::Nonces;
use crate::reputation::Window;
use wattbook_types::{Energy, Hash, Meter, Money, ParticipantId, Registration, Roles, TimeNs};

/// The part of an account that is seldom looked at.
#[derive(Clone, Debug)]
pub struct Profile {
    /// BLS public key.
    pub public_key: [u8; 96],
    /// Affiliation group; zero: none.
    pub group: Hash,
    /// Sequence number of its registration; genesis accounts stand before all others.
    pub registered: u64,
    /// Metering points, in order of registration.
    pub meters: Vec<Meter>,
    /// Part of the registration mint that serves bonds and escrow only, until the first settled energy.
    pub locked: Money,
    /// Closed cycles.
    pub window: Window,
    /// Highest client order id accepted; part of the account's page.
    pub client_high: u64,
}

/// Items sent in one block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Number of the block under way when they came.
    // BOUND: numbers come again after 2^32 blocks, 13 years of one every 100 ms without a single envelope.
    pub(crate) block: u32,
    /// How many.
    pub(crate) items: u32,
}

/// An account: two cache lines, the rest behind them.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Account {
    /// Money free to use.
    pub free: Money,
    /// Reserved for open orders.
    pub reserved: Money,
    /// Held for deals.
    pub escrow: Money,
    /// Locked for seals.
    pub bonds: Money,
    /// Export capacity per period over all meters.
    pub export_capacity: Energy,
    /// When its admission expires.
    pub not_after: TimeNs,
    /// Its roles.
    pub roles: Roles,
    /// Version of its key.
    pub key_version: u32,
    /// Number of its affiliation group, from 1; 0: none.
    pub(crate) group: u32,
    /// Whether a regulator has shut it out.
    pub suspended: bool,
    /// Whether the command under way has touched it.
    pub(crate) touched: bool,
    pub(crate) sent: Sent,
    /// Nonces.
    pub nonces: Nonces,
    pub(crate) profile: Box<Profile>,
}

const _: () = assert!(size_of::<Account>() == 128);

impl Account {
    /// An account that holds nothing yet.
    pub(crate) fn new(registration: &Registration, group: u32, seq: u64) -> Self {
        let export = registration.meters.iter().map(|meter| meter.export_cap.get()).sum();
        let mut account = Self::bare(registration.roles, registration.not_after, 1);
        account.export_capacity = Energy::new(export);
        account.group = group;
        *account.profile = Profile {
            public_key: registration.public_key,
            group: registration.group,
            registered: seq,
            meters: registration.meters.clone(),
            locked: Money::ZERO,
            window: Window::default(),
            client_high: 0,
        };
        account
    }

    /// An account of nobody yet, to be filled.
    pub(crate) fn bare(roles: Roles, not_after: TimeNs, key_version: u32) -> Self {
        let profile = Profile {
            public_key: [0; 96],
            group: Hash::ZERO,
            registered: 0,
            meters: Vec::new(),
            locked: Money::ZERO,
            window: Window::default(),
            client_high: 0,
        };
        Self {
            free: Money::ZERO,
            reserved: Money::ZERO,
            escrow: Money::ZERO,
            bonds: Money::ZERO,
            export_capacity: Energy::ZERO,
            not_after,
            roles,
            key_version,
            group: 0,
            suspended: false,
            touched: false,
            sent: Sent::default(),
            nonces: Nonces::default(),
            profile: Box::new(profile),
        }
    }

    /// All the money it has.
    pub fn total(&self) -> i128 {
        [self.free, self.reserved, self.escrow, self.bonds]
            .iter()
            .map(|m| i128::from(m.get()))
            .sum()
    }

    /// What it may pay for anything but bonds and escrow.
    pub fn payable(&self) -> Money {
        self.free.minus(self.profile.locked).max(Money::ZERO)
    }

    /// Whether it may trade now.
    pub fn is_admitted(&self, now: TimeNs) -> bool {
        !self.suspended && now <= self.not_after
    }

    /// Items sent in the block under way, the `block`th.
    pub(crate) const fn sent_in(&self, block: u32) -> u32 {
        if self.sent.block == block { self.sent.items } else { 0 }
    }

    /// What is seldom looked at.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The tag under which it counts as a counterparty: its group, or itself.
    pub fn group_tag(&self, id: ParticipantId) -> u64 {
        let group = self.profile.group;
        let tag = if group == Hash::ZERO {
            id.get()
        } else {
            group.prefix_u64()
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
