//! Every account, densely, with what changed.
//!
//! # Invariants
//! * Accounts stand in order of registration; an [`AccountIndex`] is never reused.
//! * [`Accounts::at_mut`] is the only way to change one, so that every touched account is hashed and its money summed.

use crate::account::{Account, Profile, Sent};
use crate::lookup::Lookup;
use crate::page::Marks;
use wattbook_types::ParticipantId;

/// Place of an account: how many were registered before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountIndex(u32);

impl AccountIndex {
    /// Wraps a place.
    pub const fn new(place: u32) -> Self {
        Self(place)
    }

    /// The place.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The place in a table by account.
    pub const fn slot(self) -> usize {
        self.0 as usize
    }
}

/// Serials below this have a table of their own: 4 MiB at most.
const SERIALS_DIRECT: u64 = 1 << 20;

/// An account by its name and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) id: ParticipantId,
    pub(crate) at: AccountIndex,
}

/// The accounts, with what each command touched.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    list: Vec<Account>,
    ids: Vec<ParticipantId>,
    /// Place plus one by serial, below [`SERIALS_DIRECT`]; 0: none. Registrars count serials up, so this is most of them.
    direct: Vec<u32>,
    /// Places by all other serials.
    index: Lookup,
    /// Accounts the command under way has touched, with the money they had before.
    touched: Vec<(AccountIndex, i128)>,
    /// Pages of accounts that changed.
    pub(crate) changed: Marks,
    /// Accounts whose profiles changed.
    pub(crate) profiles: Marks,
}

impl Accounts {
    /// Where an account stands.
    #[inline]
    pub fn index(&self, id: ParticipantId) -> Option<AccountIndex> {
        if id.get() < SERIALS_DIRECT {
            let place = self.direct.get(id.get() as usize)?.checked_sub(1)?;
            return Some(AccountIndex(place));
        }
        self.index.find(id.get(), |_| true).map(AccountIndex)
    }

    /// Whose account stands at a place.
    ///
    /// # Panics
    /// Beyond the accounts.
    #[inline]
    pub fn id(&self, at: AccountIndex) -> ParticipantId {
        self.ids[at.slot()]
    }

    /// An account.
    pub fn get(&self, id: ParticipantId) -> Option<&Account> {
        self.index(id).map(|at| self.at(at))
    }

    /// An account by its place.
    ///
    /// # Panics
    /// Beyond the accounts.
    #[inline]
    pub fn at(&self, at: AccountIndex) -> &Account {
        &self.list[at.slot()]
    }

    /// An account by its place, to change.
    ///
    /// # Panics
    /// Beyond the accounts.
    #[inline]
    pub fn at_mut(&mut self, at: AccountIndex) -> &mut Account {
        let account = &mut self.list[at.slot()];
        if !account.touched {
            account.touched = true;
            self.touched.push((at, account.total()));
            self.changed.mark_account(at.slot());
        }
        account
    }

    /// The seldom used part of an account, to change.
    ///
    /// # Panics
    /// Beyond the accounts.
    pub(crate) fn profile_mut(&mut self, at: AccountIndex) -> &mut Profile {
        self.profiles.mark(at.slot());
        &mut self.list[at.slot()].profile
    }

    /// Lets an envelope pass: its nonce is used, and so many items have been sent in the block under way.
    pub(crate) fn admit(&mut self, at: AccountIndex, nonce: u64, seq: u64, block: u32, items: u32) {
        self.list[at.slot()].sent = Sent { block, items };
        self.use_nonce(at, nonce, seq);
    }

    /// Marks a nonce of an account that its window let pass.
    pub(crate) fn use_nonce(&mut self, at: AccountIndex, nonce: u64, seq: u64) {
        self.changed.mark_account(at.slot());
        self.list[at.slot()].nonces.mark(nonce, seq);
    }

    /// Name and place of an account that is known to exist.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn party(&self, id: ParticipantId) -> Party {
        let at = self
            .index(id)
            .expect("INVARIANT: owners of orders and deals have accounts");
        Party { id, at }
    }

    /// An account that is known to exist, to change.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn known_mut(&mut self, id: ParticipantId) -> &mut Account {
        let at = self.party(id).at;
        self.at_mut(at)
    }

    /// Opens an account that holds nothing yet.
    pub(crate) fn open(&mut self, id: ParticipantId, account: Account) -> AccountIndex {
        debug_assert!(account.total() == 0 && self.index(id).is_none());
        let at = self.put(id, account);
        self.at_mut(at);
        at
    }

    /// Puts an account behind all others; its pages are marked.
    pub(crate) fn put(&mut self, id: ParticipantId, account: Account) -> AccountIndex {
        let at = AccountIndex(u32::try_from(self.list.len()).expect("INVARIANT: fewer than 2^32 accounts"));
        if id.get() < SERIALS_DIRECT {
            let serial = id.get() as usize;
            self.direct.resize(self.direct.len().max(serial + 1), 0);
            self.direct[serial] = at.0 + 1;
        } else {
            self.index.insert(id.get(), at.0);
        }
        self.ids.push(id);
        self.list.push(account);
        self.profiles.mark(at.slot());
        self.changed.mark_account(at.slot());
        at
    }

    /// Number of accounts.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Every account, in order of registration.
    pub fn iter(&self) -> impl Iterator<Item = (ParticipantId, &Account)> {
        self.ids.iter().copied().zip(&self.list)
    }

    /// Whether two participants count as one.
    pub fn affiliated(&self, a: ParticipantId, b: ParticipantId, groups: bool) -> bool {
        let group = |id| self.get(id).map_or(0, |account| account.group);
        a == b || (groups && group(a) != 0 && group(a) == group(b))
    }

    /// Whether two accounts count as one.
    pub(crate) fn same_group(&self, a: AccountIndex, b: AccountIndex) -> bool {
        a == b || (self.at(a).group != 0 && self.at(a).group == self.at(b).group)
    }

    /// Change of all money since the last call, over the accounts touched.
    pub(crate) fn settle_touched(&mut self) -> i128 {
        let mut change = 0;
        for (at, before) in self.touched.drain(..) {
            let account = &mut self.list[at.slot()];
            account.touched = false;
            change += account.total() - before;
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_types::{Hash, Registration, Roles, TimeNs};

    #[test]
    fn every_serial_is_found_at_its_place() {
        let mut accounts = Accounts::default();
        let serials = [7, 1, SERIALS_DIRECT - 1, SERIALS_DIRECT, u64::MAX, 300];
        for serial in serials {
            let registration = Registration {
                roles: Roles::BUYER,
                flags: 0,
                participant: ParticipantId::new(serial),
                not_after: TimeNs::ZERO,
                public_key: [0; 96],
                session_spki: Hash::ZERO,
                group: Hash::ZERO,
                meters_root: Hash::ZERO,
                meters: Vec::new(),
            };
            accounts.open(registration.participant, Account::new(&registration, 0, 0));
        }
        for (place, serial) in (0..).zip(serials) {
            let id = ParticipantId::new(serial);
            assert_eq!(accounts.index(id), Some(AccountIndex::new(place)));
            assert_eq!(accounts.id(AccountIndex::new(place)), id);
        }
        for serial in [0, 2, 301, SERIALS_DIRECT + 1, u64::MAX - 1] {
            assert!(accounts.get(ParticipantId::new(serial)).is_none());
        }
    }
}
