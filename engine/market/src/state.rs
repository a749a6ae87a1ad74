//! The state: everything the core knows, and its root (PROTOCOL 1.5).
//!
//! # Format
//! The root is the RFC 9162 root over the roots of eight sections, in this order, and of a ninth from the first vote,
//! candidacy, emission or committee on; all but the first two and `lows` are trees of their own. A page is `tag u8 || key u64 || number u64 || value`, little-endian, hashed as a leaf.
//!
//! | section | tag | key, number | pages |
//! |---|---|---|---|
//! | globals | 1 | 0, 0 | one: time, supply, halts, counters |
//! | params | 2 | 0, 0 | one: parameters in force and pending |
//! | accounts | 3 | 0, page | 16 accounts: money, roles, admission, highest client order id, used nonces |
//! | profiles | 4 | account, 0 | its name, key, group, meters, locked mint, window |
//! | meters | 9 | 0, page | 64 metering points in order of registration |
//! | contracts | | | a tree over contracts by id, each the root over the eight below |
//! | lows | 7 | 0, 0 | one: lowest prices of past contracts |
//! | groups | 8 | 0, page | 64 affiliation groups in order of appearance |
//! | delegates | | | the root over the three below |
//!
//! | below delegates | tag | key, number | pages |
//! |---|---|---|---|
//! | turns | 11 | 0, 0 | one: view, terms missed and blocks packed by rank, mints for work |
//! | seats | 12 | 0, 0 | one: candidates, committee, standbys, past committees, offences |
//! | electors | 13 | 0, page | 64 accounts: stated emission, vote |
//!
//! `account` counts registrations from 0. Below a contract, with its id as key:
//!
//! | section | tag | number | pages |
//! |---|---|---|---|
//! | header | 16 | 0 | one: phase, parameters, prices, the book's first free row and next stamp, batches, trail |
//! | standing | 17 | page | 64 accounts at gate opening |
//! | stakes | 18 | page | 64 accounts: position and concession marks |
//! | seals | 19 | 0 | one: seals of the round under way |
//! | places | 20 | 0 | one: salts, places and ranges |
//! | readings | 21 | 0 | one: meter readings |
//! | book | 22 | page | 64 rows of the book: an order with its stamp, or the next free row |
//! | deals | 23 | page | 64 deals, each by its id |
//!
//! Pages that changed since the last root are encoded and hashed again, once per block, and with them the nodes above.
//! What one account has sent in a block is no part of it: it is nothing at a block's end, where a root stands.
//!
//! # Invariants
//! * After every command the money of the touched accounts changed by exactly what was minted less burned; after every
//!   block the same holds for all of them.

use crate::accounts::Accounts;
use crate::contracts::Contracts;
use crate::dpos::Dpos;
use crate::image::{Capture, Image};
use crate::page::{Marks, Trees};
use std::collections::{BTreeMap, BTreeSet};
use wattbook_types::digest::Prefix;
use wattbook_types::{ChainId, ContractId, DealPrice, Hash, Meter, Money, Param, Params, ParticipantId, TimeNs};

/// Why money was minted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MintAccount {
    /// Genesis mint of grid companies.
    Grid = 0,
    /// Registration.
    Registration = 1,
    /// Settled clean energy.
    Clean = 2,
    /// Blocks packed.
    Packing = 3,
    /// Blocks verified.
    Verifying = 4,
}

/// Mint accounts.
pub const MINTS: usize = 5;
/// Mint accounts whose sums stand in the page of globals; those of delegates stand in theirs.
pub(crate) const MINTS_ALWAYS: usize = 3;

/// Supply of points.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Supply {
    /// Minted since genesis, by mint account.
    pub minted: [i128; MINTS],
    /// Burned bonds since genesis.
    pub burned: i128,
    /// The epoch under way.
    pub epoch: u64,
    /// Minted in it, by mint account.
    pub minted_in_epoch: [i128; MINTS],
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

/// The metering points, in order of registration.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    list: Vec<MeterState>,
    by_number: BTreeMap<u64, u32>,
    /// Pages that changed.
    pub(crate) changed: Marks,
}

impl Meters {
    /// A metering point.
    pub fn get(&self, number: u64) -> Option<&MeterState> {
        self.by_number.get(&number).map(|at| &self.list[*at as usize])
    }

    /// Adds a metering point.
    pub(crate) fn add(&mut self, state: MeterState) {
        let at = self.list.len();
        self.by_number.insert(state.meter.meter, at as u32);
        self.list.push(state);
        self.changed.mark_row(at);
    }

    /// Freezes a metering point.
    pub(crate) fn freeze(&mut self, number: u64) {
        if let Some(&at) = self.by_number.get(&number) {
            self.list[at as usize].frozen = true;
            self.changed.mark_row(at as usize);
        }
    }

    pub(crate) fn list(&self) -> &[MeterState] {
        &self.list
    }
}

/// Affiliation groups in order of appearance; number `n` stands at `n - 1`.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// A group, and whether it has had its registration mint.
    list: Vec<(Hash, bool)>,
    numbers: BTreeMap<Hash, u32>,
    /// Pages that changed.
    pub(crate) changed: Marks,
}

impl Groups {
    /// Number of a group, given at its first appearance; 0: no group.
    pub(crate) fn number(&mut self, group: Hash) -> u32 {
        if group == Hash::ZERO {
            return 0;
        }
        let next = self.list.len() as u32 + 1;
        let number = *self.numbers.entry(group).or_insert(next);
        if number == next {
            self.changed.mark_row(self.list.len());
            self.list.push((group, false));
        }
        number
    }

    /// Whether a group may have its registration mint now, which it then has had; no group always may.
    pub(crate) fn take_mint(&mut self, number: u32) -> bool {
        let Some(at) = (number as usize).checked_sub(1) else {
            return true;
        };
        self.changed.mark_row(at);
        !core::mem::replace(&mut self.list[at].1, true)
    }

    pub(crate) fn list(&self) -> &[(Hash, bool)] {
        &self.list
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

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
    pub meters: Meters,
    /// Affiliation groups.
    pub groups: Groups,
    /// Contracts between gate opening and close.
    pub contracts: Contracts,
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
    /// Delegates, stake and votes; nothing until the first of them.
    pub dpos: Option<Box<Dpos>>,
    /// The grid company that balances: the first account with that role.
    pub grid: Option<ParticipantId>,
    /// What every deal's id begins with.
    pub(crate) deal_prefix: Prefix,
    /// Whether `lows` changed since the last root.
    pub(crate) lows_changed: bool,
    trees: Trees,
    /// An image under way, and one that is whole.
    pub(crate) capture: Option<Box<Capture>>,
    pub(crate) image: Option<Image>,
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
            meters: Meters::default(),
            groups: Groups::default(),
            contracts: Contracts::default(),
            next_period: 0,
            lows: BTreeMap::new(),
            closed_cycles: 0,
            halted: false,
            supply: Supply::default(),
            height: 0,
            dpos: None,
            grid: None,
            deal_prefix: Prefix::of_digest(chain, "deal"),
            lows_changed: false,
            trees: Trees::new(true),
            capture: None,
            image: None,
        }
    }

    /// The state root: hashes the pages that changed and the nodes above them.
    pub fn root(&mut self) -> Hash {
        let mut trees = core::mem::replace(&mut self.trees, Trees::new(true));
        let root = self.root_over(&mut trees);
        self.trees = trees;
        self.take_image_part();
        self.clear_marks();
        root
    }

    /// The root computed anew from every page, as a check of the marks.
    pub fn root_from_scratch(&self) -> Hash {
        self.root_over(&mut Trees::new(false))
    }

    /// Money in all accounts, nano.
    pub fn money_held(&self) -> i128 {
        self.accounts.iter().map(|(_, account)| account.total()).sum()
    }

    /// Whether money and energy are conserved over the whole state.
    pub fn is_conserved(&self) -> bool {
        let energy = self.contracts.values().all(|contract| {
            let (mut sold, mut bought) = (0u128, 0u128);
            for (_, position) in contract.positions() {
                sold += u128::from(position.sold.get());
                bought += u128::from(position.bought.get());
            }
            sold == bought
        });
        energy && self.money_held() == self.supply.outstanding()
    }
}
