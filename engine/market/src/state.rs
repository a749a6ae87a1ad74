//! The state: everything the core knows, and its root (PROTOCOL 1.5).
//!
//! # Format
//! The root is the RFC 9162 root over pages in the order of [`PageKey`]. A page is `tag u8 || key u64 || key2 u32 || value`,
//! little-endian; [`PageKey`] lists the tags. Pages that changed since the last root are encoded and hashed again, once
//! per block.
//!
//! # Invariants
//! * [`Accounts::get_mut`] is the only way to an account, so that every touched account is hashed and its money summed.
//! * After every command the money of the touched accounts changed by exactly what was minted less burned; after every
//!   block the same holds for all of them.

use crate::account::Account;
use crate::contract::Contract;
use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::{ChainId, ContractId, DealPrice, Hash, Meter, Money, Param, Params, ParticipantId, TimeNs, tree};

/// Why money was minted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MintAccount {
    /// Genesis mint of grid companies.
    Grid = 0,
    /// Registration.
    Registration = 1,
    /// Settled clean energy.
    Clean = 2,
}

/// Supply of points.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Supply {
    /// Minted since genesis, by mint account.
    pub minted: [i128; 3],
    /// Burned bonds since genesis.
    pub burned: i128,
    /// The epoch under way.
    pub epoch: u64,
    /// Minted in it, by mint account.
    pub minted_in_epoch: [i128; 3],
}

impl Supply {
    /// Points in existence, nano.
    pub fn outstanding(&self) -> i128 {
        self.minted.iter().sum::<i128>() - self.burned
    }

    /// Takes up to `wanted` from a mint account, as far as its cap per epoch goes.
    pub fn mint(&mut self, account: MintAccount, wanted: Money, cap: Option<Money>) -> Money {
        let slot = account as usize;
        let room = cap.map_or(i128::MAX, |cap| {
            (i128::from(cap.get()) - self.minted_in_epoch[slot]).max(0)
        });
        let minted = i128::from(wanted.get()).min(room);
        self.minted[slot] += minted;
        self.minted_in_epoch[slot] += minted;
        Money::new(minted as i64)
    }
}

/// The accounts, with what each command touched.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    map: BTreeMap<ParticipantId, Account>,
    touched: BTreeMap<ParticipantId, i128>,
    dirty: BTreeSet<ParticipantId>,
}

impl Accounts {
    /// An account.
    pub fn get(&self, id: ParticipantId) -> Option<&Account> {
        self.map.get(&id)
    }

    /// An account, to change.
    pub fn get_mut(&mut self, id: ParticipantId) -> Option<&mut Account> {
        let account = self.map.get_mut(&id)?;
        self.touched.entry(id).or_insert_with(|| account.total());
        self.dirty.insert(id);
        Some(account)
    }

    /// An account that is known to exist.
    ///
    /// # Panics
    /// If it does not.
    pub fn known_mut(&mut self, id: ParticipantId) -> &mut Account {
        self.get_mut(id)
            .expect("INVARIANT: owners of orders and deals have accounts")
    }

    /// Opens an account that holds nothing yet.
    pub fn open(&mut self, id: ParticipantId, account: Account) {
        debug_assert_eq!(account.total(), 0);
        self.touched.entry(id).or_insert(0);
        self.dirty.insert(id);
        self.map.insert(id, account);
    }

    /// Every account.
    pub fn iter(&self) -> impl Iterator<Item = (ParticipantId, &Account)> {
        self.map.iter().map(|(id, account)| (*id, account))
    }

    /// Whether two participants count as one.
    pub fn affiliated(&self, a: ParticipantId, b: ParticipantId, groups: bool) -> bool {
        let group = |id| self.get(id).map_or(Hash::ZERO, |account| account.group);
        a == b || (groups && group(a) != Hash::ZERO && group(a) == group(b))
    }

    /// Change of all money since the last call, over the accounts touched.
    pub(crate) fn settle_touched(&mut self) -> i128 {
        let touched = core::mem::take(&mut self.touched);
        touched
            .iter()
            .map(|(id, before)| self.map.get(id).map_or(0, Account::total) - before)
            .sum()
    }
}

/// A registered metering point.
#[derive(Clone, Copy, Debug)]
pub struct MeterState {
    /// Its account.
    pub owner: ParticipantId,
    /// The point.
    pub meter: Meter,
    /// Conflicting readings have frozen it.
    pub frozen: bool,
}

/// Key of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum PageKey {
    /// Time, supply, halts, counters.
    Globals = 1,
    /// Parameters in force and pending.
    Params = 2,
    /// An account.
    Account(ParticipantId) = 3,
    /// A metering point.
    Meter(u64) = 4,
    /// A contract without its book and deals.
    Contract(ContractId) = 5,
    /// A contract's book, in queue order.
    Book(ContractId) = 6,
    /// 64 deals of a contract.
    Deals(ContractId, u32) = 7,
    /// Lowest price of a past contract.
    Low(ContractId) = 8,
    /// An affiliation group that has had its registration mint.
    Group(Hash) = 9,
}

/// Deals in a page.
pub const DEALS_PER_PAGE: usize = 64;

/// Everything the core knows.
#[derive(Clone, Debug)]
pub struct State {
    /// Chain the digests are bound to.
    pub chain: ChainId,
    /// The one delivery area of this chain.
    pub area: u16,
    /// Genesis time, from which epochs count.
    pub genesis_time: TimeNs,
    /// Time of the last Tick.
    pub time: TimeNs,
    /// Parameters in force.
    pub params: Params,
    /// Parameters that take force at the next gate opening.
    pub pending_params: BTreeMap<Param, i64>,
    /// Accounts.
    pub accounts: Accounts,
    /// Every key ever registered.
    pub keys: BTreeSet<[u8; 96]>,
    /// Metering points.
    pub meters: BTreeMap<u64, MeterState>,
    /// Groups that have had their registration mint.
    pub minted_groups: BTreeSet<Hash>,
    /// Contracts between gate opening and close.
    pub contracts: BTreeMap<ContractId, Box<Contract>>,
    /// Where a deal stands, by id.
    pub deal_index: BTreeMap<Hash, (ContractId, u64)>,
    /// The next period whose gate will open.
    pub next_period: u32,
    /// Lowest deal price of past contracts.
    pub lows: BTreeMap<ContractId, DealPrice>,
    /// Cycles closed so far.
    pub closed_cycles: u64,
    /// Whether the area is halted.
    pub halted: bool,
    /// Supply of points.
    pub supply: Supply,
    /// Height of the last ended block.
    pub height: u64,
    /// The grid company that balances: the first account with that role.
    pub grid: Option<ParticipantId>,
    pages: BTreeMap<PageKey, Hash>,
    dirty: BTreeSet<PageKey>,
}

impl State {
    /// An empty state at genesis time.
    pub(crate) fn new(chain: ChainId, area: u16, time: TimeNs, params: Params) -> Self {
        Self {
            chain,
            area,
            genesis_time: time,
            time,
            params,
            pending_params: BTreeMap::new(),
            accounts: Accounts::default(),
            keys: BTreeSet::new(),
            meters: BTreeMap::new(),
            minted_groups: BTreeSet::new(),
            contracts: BTreeMap::new(),
            deal_index: BTreeMap::new(),
            next_period: 0,
            lows: BTreeMap::new(),
            closed_cycles: 0,
            halted: false,
            supply: Supply::default(),
            height: 0,
            grid: None,
            pages: BTreeMap::new(),
            dirty: BTreeSet::from([PageKey::Globals, PageKey::Params]),
        }
    }

    /// Marks a page for the next root.
    pub(crate) fn touch(&mut self, page: PageKey) {
        self.dirty.insert(page);
    }

    /// Marks everything of a contract but its deals.
    pub(crate) fn touch_contract(&mut self, contract: ContractId) {
        self.dirty.insert(PageKey::Contract(contract));
        self.dirty.insert(PageKey::Book(contract));
    }

    /// Marks the page of a deal.
    pub(crate) fn touch_deal(&mut self, contract: ContractId, ordinal: usize) {
        self.dirty
            .insert(PageKey::Deals(contract, (ordinal / DEALS_PER_PAGE) as u32));
    }

    /// The state root: hashes the pages that changed and the tree over all of them.
    pub fn root(&mut self) -> Hash {
        self.dirty.insert(PageKey::Globals);
        for id in core::mem::take(&mut self.accounts.dirty) {
            self.dirty.insert(PageKey::Account(id));
        }
        for key in core::mem::take(&mut self.dirty) {
            match self.encode_page(key) {
                Some(page) => self.pages.insert(key, tree::leaf_hash(&page)),
                None => self.pages.remove(&key),
            };
        }
        tree::root_of_hashes(self.pages.values().copied())
    }

    /// The root computed anew from every page, as a check of the marks.
    pub fn root_from_scratch(&self) -> Hash {
        let mut keys = BTreeSet::from([PageKey::Globals, PageKey::Params]);
        keys.extend(self.accounts.iter().map(|(id, _)| PageKey::Account(id)));
        keys.extend(self.meters.keys().map(|meter| PageKey::Meter(*meter)));
        for (id, contract) in &self.contracts {
            keys.extend([PageKey::Contract(*id), PageKey::Book(*id)]);
            let pages = contract.deals.len().div_ceil(DEALS_PER_PAGE);
            keys.extend((0..pages as u32).map(|page| PageKey::Deals(*id, page)));
        }
        keys.extend(self.lows.keys().map(|id| PageKey::Low(*id)));
        keys.extend(self.minted_groups.iter().map(|group| PageKey::Group(*group)));
        tree::root_of_hashes(
            keys.into_iter()
                .filter_map(|key| self.encode_page(key))
                .map(|page| tree::leaf_hash(&page)),
        )
    }

    /// Money in all accounts, nano.
    pub fn money_held(&self) -> i128 {
        self.accounts.iter().map(|(_, account)| account.total()).sum()
    }

    /// Whether money and energy are conserved over the whole state.
    pub fn is_conserved(&self) -> bool {
        let energy = self.contracts.values().all(|contract| {
            let (mut sold, mut bought) = (0u128, 0u128);
            for position in contract.positions.values() {
                sold += u128::from(position.sold.get());
                bought += u128::from(position.bought.get());
            }
            sold == bought
        });
        energy && self.money_held() == self.supply.outstanding()
    }
}
