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
    index: Lookup,
    /// Accounts the command under way has touched, with the money they had before.
    touched: Vec<(AccountIndex, i128)>,
    /// Accounts whose pages changed.
    pub(crate) changed: Marks,
    /// Accounts whose profiles changed.
    pub(crate) profiles: Marks,
    /// Accounts whose nonce windows changed.
    pub(crate) nonces: Marks,
}

impl Accounts {
    /// Where an account stands.
    #[inline]
    pub fn index(&self, id: ParticipantId) -> Option<AccountIndex> {
        let found = self.index.find(id.get(), |_| true);
        found.map(AccountIndex)
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
            self.changed.mark(at.slot());
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
        self.nonces.mark(at.slot());
        self.list[at.slot()].nonces.mark(nonce, seq);
    }

    /// Hashes the chunks of nonces that changed.
    pub(crate) fn hash_nonces(&mut self) {
        for &at in self.nonces.list() {
            self.list[at as usize].nonces.hash_chunks(u64::from(at));
        }
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
        let at = AccountIndex(u32::try_from(self.list.len()).expect("INVARIANT: fewer than 2^32 accounts"));
        self.index.insert(id.get(), at.0);
        self.ids.push(id);
        self.list.push(account);
        self.profiles.mark(at.slot());
        self.nonces.mark(at.slot());
        self.at_mut(at);
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
