//! Encoding of state pages, and the trees over them. Every field of the state that can change a later verdict is in a page.

use crate::accounts::{AccountIndex, Accounts};
use crate::book::{Book, Standing};
use crate::contract::{Contract, DealState, Stake};
use crate::dpos::page::{electors_page, seats_page as seats_page_of, turns_page};
use crate::state::{MINTS, MINTS_ALWAYS, MeterState, State};
use std::collections::BTreeMap;
use wattbook_book::Handle;
use wattbook_types::tree::{self, CachedTree};
use wattbook_types::{ContractId, Hash, Money, OrderId, Param, Price};

/// Rows of a page of every section but the accounts'.
pub(crate) const ROWS_PER_PAGE: usize = 64;
/// Accounts in a page: few, as most commands touch an account that no other of the block does.
pub(crate) const ACCOUNTS_PER_PAGE: usize = 16;

/// Which pages of a section changed since the last root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    marked: Vec<bool>,
    list: Vec<u32>,
}

impl Marks {
    /// Marks a page.
    #[inline]
    pub(crate) fn mark(&mut self, page: usize) {
        if page >= self.marked.len() {
            self.marked.resize(page + 1, false);
        }
        if !core::mem::replace(&mut self.marked[page], true) {
            self.list.push(page as u32);
        }
    }

    /// Marks the pages of rows from `from` to `last`.
    pub(crate) fn mark_rows(&mut self, from: usize, last: usize) {
        (from / ROWS_PER_PAGE..=last / ROWS_PER_PAGE).for_each(|page| self.mark(page));
    }

    /// Marks the page of a row.
    #[inline]
    pub(crate) fn mark_row(&mut self, row: usize) {
        self.mark(row / ROWS_PER_PAGE);
    }

    /// Marks the page of an account.
    #[inline]
    pub(crate) fn mark_account(&mut self, account: usize) {
        self.mark(account / ACCOUNTS_PER_PAGE);
    }

    /// The marked pages.
    pub(crate) fn list(&self) -> &[u32] {
        &self.list
    }

    /// Takes the marks off.
    pub(crate) fn clear(&mut self) {
        for page in self.list.drain(..) {
            self.marked[page as usize] = false;
        }
    }
}

/// The tree over the pages of a section; `None` makes every root anew from every page.
#[derive(Clone, Debug)]
struct Section(Option<CachedTree>);

impl Section {
    /// The root over `len` pages, of which those marked are written and hashed again.
    fn root(&mut self, len: usize, marks: &Marks, write: impl Fn(&mut Page, usize)) -> Hash {
        let mut page = Page(Vec::new());
        let mut leaf = |number| {
            page.0.clear();
            write(&mut page, number);
            page.leaf()
        };
        let Some(cached) = &mut self.0 else {
            return tree::root_of_hashes((0..len).map(leaf));
        };
        cached.truncate(len);
        while cached.len() < len {
            cached.push(Hash::ZERO);
        }
        for &page in marks.list() {
            if (page as usize) < len {
                cached.set(page as usize, leaf(page as usize));
            }
        }
        cached.root()
    }
}

/// The trees over the state's pages.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    accounts: Section,
    profiles: Section,
    meters: Section,
    groups: Section,
    lows: Option<Hash>,
    seats: Option<Hash>,
    electors: Section,
    contracts: BTreeMap<ContractId, ContractTrees>,
}

/// The trees over a contract's pages.
#[derive(Clone, Debug)]
struct ContractTrees {
    standing: Section,
    stakes: Section,
    deals: Section,
    seals: Option<Hash>,
    places: Option<Hash>,
    readings: Option<Hash>,
    book: Section,
}

impl Trees {
    /// Trees that keep their nodes, or that make every root anew.
    pub(crate) fn new(kept: bool) -> Self {
        let section = || Section(kept.then(CachedTree::new));
        Self {
            accounts: section(),
            profiles: section(),
            meters: section(),
            groups: section(),
            lows: None,
            seats: None,
            electors: section(),
            contracts: BTreeMap::new(),
        }
    }

    const fn are_kept(&self) -> bool {
        self.accounts.0.is_some()
    }
}

impl ContractTrees {
    fn new(kept: bool) -> Self {
        let section = || Section(kept.then(CachedTree::new));
        Self {
            standing: section(),
            stakes: section(),
            deals: section(),
            seals: None,
            places: None,
            readings: None,
            book: section(),
        }
    }
}

/// What of a contract changed since the last root, but its header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) standing: Marks,
    pub(crate) stakes: Marks,
    pub(crate) deals: Marks,
    pub(crate) seals: bool,
    pub(crate) places: bool,
    pub(crate) readings: bool,
}

impl Changed {
    fn clear(&mut self) {
        self.standing.clear();
        self.stakes.clear();
        self.deals.clear();
        (self.seals, self.places, self.readings) = (false, false, false);
    }
}

/// The hash of a page that stands alone: the kept one unless it changed.
fn alone(kept: &mut Option<Hash>, changed: bool, leaf: impl FnOnce() -> Hash) -> Hash {
    match kept {
        Some(hash) if !changed => *hash,
        _ => *kept.insert(leaf()),
    }
}

/// Appends little-endian fields.
#[derive(Debug)]
pub(crate) struct Page(pub(crate) Vec<u8>);

impl Page {
    pub(crate) fn new(tag: u8, key: u64, number: usize) -> Self {
        let mut page = Self(Vec::new());
        page.begin(tag, key, number);
        page
    }
    pub(crate) fn begin(&mut self, tag: u8, key: u64, number: usize) -> &mut Self {
        self.u8(tag).u64(key).len(number)
    }
    fn leaf(&self) -> Hash {
        tree::leaf_hash(&self.0)
    }
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }
    pub(crate) fn flag(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }
    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(crate) fn i128(&mut self, value: i128) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub(crate) fn hash(&mut self, value: &Hash) -> &mut Self {
        self.bytes(&value.0)
    }
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }
    pub(crate) fn len(&mut self, len: usize) -> &mut Self {
        self.u64(len as u64)
    }
    pub(crate) fn money(&mut self, value: Money) -> &mut Self {
        self.i64(value.get())
    }
    pub(crate) fn price(&mut self, value: Price) -> &mut Self {
        self.bytes(&value.get().to_le_bytes())
    }
    fn option(&mut self, value: Option<i64>) -> &mut Self {
        self.flag(value.is_some()).i64(value.unwrap_or(0))
    }
    fn row(&mut self, row: Option<Handle>) -> &mut Self {
        self.u32(row.map_or(u32::MAX, Handle::get))
    }
    fn order_id(&mut self, id: OrderId) -> &mut Self {
        self.u64(id.participant.get()).u64(id.nonce).u32(id.index)
    }
}

impl State {
    /// The root over the sections, in the order of the module `state`'s Format.
    pub(crate) fn root_over(&self, trees: &mut Trees) -> Hash {
        let kept = trees.are_kept();
        let accounts = &self.accounts;
        let of_accounts = |page: &mut Page, number| accounts_page(page, number, accounts);
        let of_profile = |page: &mut Page, at| profile_page(page, at, accounts);
        let of_meters = |page: &mut Page, number| meters_page(page, number, rows(self.meters.list(), number));
        let of_groups = |page: &mut Page, number| groups_page(page, number, rows(self.groups.list(), number));

        trees.contracts.retain(|id, _| self.contracts.contains_key(id));
        let contracts: Vec<Hash> = self
            .contracts
            .values()
            .map(|contract| {
                let trees = trees.contracts.entry(contract.id);
                contract_root(contract, trees.or_insert_with(|| ContractTrees::new(kept)))
            })
            .collect();
        let delegates = self.dpos.as_deref().map(|dpos| {
            let of_electors =
                |page: &mut Page, number| electors_page(page.begin(13, 0, number), rows(&dpos.electors, number));
            tree::root_of_hashes([
                turns_page(dpos, &self.supply).leaf(),
                alone(&mut trees.seats, dpos.seats_changed, || seats_page_of(dpos).leaf()),
                trees
                    .electors
                    .root(pages(dpos.electors.len()), &dpos.changed, of_electors),
            ])
        });
        let sections = [
            self.globals_page().leaf(),
            self.params_page().leaf(),
            trees.accounts.root(
                accounts.len().div_ceil(ACCOUNTS_PER_PAGE),
                &accounts.changed,
                of_accounts,
            ),
            trees.profiles.root(accounts.len(), &accounts.profiles, of_profile),
            trees
                .meters
                .root(pages(self.meters.list().len()), &self.meters.changed, of_meters),
            tree::root_of_hashes(contracts),
            alone(&mut trees.lows, self.lows_changed, || self.lows_page().leaf()),
            trees
                .groups
                .root(pages(self.groups.len()), &self.groups.changed, of_groups),
        ];
        tree::root_of_hashes(sections.into_iter().chain(delegates))
    }

    /// Takes every mark off.
    pub(crate) fn clear_marks(&mut self) {
        self.accounts.changed.clear();
        self.accounts.profiles.clear();
        self.meters.changed.clear();
        self.groups.changed.clear();
        self.lows_changed = false;
        if let Some(dpos) = self.dpos.as_deref_mut() {
            dpos.changed.clear();
            dpos.seats_changed = false;
        }
        for contract in self.contracts.iter_mut() {
            contract.changed.clear();
            contract.book.changed.clear();
        }
    }

    pub(crate) fn globals_page(&self) -> Page {
        let mut page = Page::new(1, 0, 0);
        page.hash(&self.chain.0)
            .u16(self.area)
            .u64(self.genesis_time.get())
            .u64(self.time.get());
        page.u32(self.next_period)
            .u64(self.closed_cycles)
            .flag(self.halted)
            .u64(self.height);
        page.flag(self.grid.is_some()).u64(self.grid.map_or(0, |id| id.get()));
        let supply = &self.supply;
        let always = |sums: &[i128; MINTS]| sums.iter().take(MINTS_ALWAYS).copied().collect::<Vec<_>>();
        for minted in &[always(&supply.minted), always(&supply.minted_in_epoch)].concat() {
            page.i128(*minted);
        }
        page.i128(supply.burned).u64(supply.epoch);
        page
    }

    pub(crate) fn params_page(&self) -> Page {
        let mut page = Page::new(2, 0, 0);
        let put = |page: &mut Page, (param, value)| _ = page.u32(param as u32).i64(value);
        let mut listed = self.params.listed();
        (listed.by_ref().take(Param::LISTED_ALWAYS)).for_each(|set| put(&mut page, set));
        page.len(self.pending_params.len());
        (self.pending_params.iter()).for_each(|(param, value)| put(&mut page, (*param, *value)));
        listed.for_each(|set| put(&mut page, set));
        page
    }

    pub(crate) fn lows_page(&self) -> Page {
        let mut page = Page::new(7, 0, 0);
        for (id, low) in &self.lows {
            page.u64(id.get()).i64(low.get());
        }
        page
    }
}

/// Pages that `len` rows take.
pub(crate) const fn pages(len: usize) -> usize {
    len.div_ceil(ROWS_PER_PAGE)
}

/// The rows of a page.
pub(crate) fn rows<T>(all: &[T], page: usize) -> &[T] {
    let from = page * ROWS_PER_PAGE;
    &all[from..all.len().min(from + ROWS_PER_PAGE)]
}

pub(crate) fn accounts_page(page: &mut Page, number: usize, accounts: &Accounts) {
    page.begin(3, 0, number);
    let from = number * ACCOUNTS_PER_PAGE;
    for at in from..accounts.len().min(from + ACCOUNTS_PER_PAGE) {
        let account = accounts.at(AccountIndex::new(at as u32));
        page.u32(account.roles.bits())
            .u64(account.not_after.get())
            .u32(account.key_version)
            .flag(account.suspended);
        page.money(account.free)
            .money(account.reserved)
            .money(account.escrow)
            .money(account.bonds)
            .u64(account.profile().client_high);
        let above = account.nonces.above();
        page.u64(account.nonces.base()).len(above.len());
        for word in above {
            page.u64(word);
        }
    }
}

pub(crate) fn profile_page(page: &mut Page, at: usize, accounts: &Accounts) {
    let at = AccountIndex::new(at as u32);
    let profile = accounts.at(at).profile();
    page.begin(4, at.get().into(), 0);
    page.u64(accounts.id(at).get())
        .bytes(&profile.public_key)
        .hash(&profile.group)
        .u64(profile.registered)
        .money(profile.locked);
    page.len(profile.meters.len());
    for meter in &profile.meters {
        page.u64(meter.meter);
    }
    page.len(profile.window.records().count());
    for record in profile.window.records() {
        page.u64(record.cycle)
            .u32(record.entered)
            .flag(record.declined)
            .len(record.traded.len());
        for traded in &record.traded {
            page.u64(traded.counterparty).flag(traded.good);
        }
    }
}

pub(crate) fn meters_page(page: &mut Page, number: usize, meters: &[MeterState]) {
    page.begin(9, 0, number);
    for state in meters {
        page.u64(state.meter.meter)
            .u64(state.owner.get())
            .u64(state.meter.import_cap.get())
            .u64(state.meter.export_cap.get());
        page.u32(state.meter.kind as u32).flag(state.frozen);
    }
}

pub(crate) fn groups_page(page: &mut Page, number: usize, groups: &[(Hash, bool)]) {
    page.begin(8, 0, number);
    for (group, minted) in groups {
        page.hash(group).flag(*minted);
    }
}

fn contract_root(c: &Contract, trees: &mut ContractTrees) -> Hash {
    let (id, changed) = (c.id.get(), &c.changed);
    let of_standing =
        |page: &mut Page, number| standing_page(page.begin(17, id, number), rows(c.standing_by_account(), number));
    let of_stakes = |page: &mut Page, number| stakes_page(page.begin(18, id, number), rows(c.stakes(), number));
    let of_book = |page: &mut Page, number| book_page(page.begin(22, id, number), number, &c.book);
    let of_deals = |page: &mut Page, number| deals_page(page.begin(23, id, number), rows(&c.deals, number));
    tree::root_of_hashes([
        header_page(c).leaf(),
        trees
            .standing
            .root(pages(c.standing_by_account().len()), &changed.standing, of_standing),
        trees.stakes.root(pages(c.stakes().len()), &changed.stakes, of_stakes),
        alone(&mut trees.seals, changed.seals, || seals_page(c).leaf()),
        alone(&mut trees.places, changed.places, || places_page(c).leaf()),
        alone(&mut trees.readings, changed.readings, || readings_page(c).leaf()),
        trees.book.root(pages(c.book.rows()), &c.book.changed, of_book),
        trees.deals.root(pages(c.deals.len()), &changed.deals, of_deals),
    ])
}

pub(crate) fn header_page(c: &Contract) -> Page {
    let mut page = Page::new(16, c.id.get(), 0);
    page.u8(c.phase as u8).u16(c.round).flag(c.halted);
    // What came later is no matter of a contract.
    for param in &Param::ALL[..Param::LISTED_ALWAYS] {
        page.i64(c.params.get(*param));
    }
    page.option(c.floor.map(|p| p.get()))
        .option(c.previous_cep.map(|p| p.get()))
        .option(c.cep.map(|p| p.get()));
    page.option(c.low.map(|p| p.get()))
        .option(c.highest_quote.map(|p| p.get().into()));
    let (free, stamp) = c.book.cursor();
    page.row(free).u64(stamp);
    page.len(c.deals.len())
        .len(c.unsealed_from)
        .u64(c.unsealed_since.get())
        .len(c.batches.len());
    for (height, batch) in &c.batches {
        page.u64(*height)
            .u64(batch.first)
            .u64(batch.count)
            .hash(&batch.digest)
            .u64(batch.deadline.get());
    }
    page.len(c.trail_own).len(c.trail.len());
    for (price, energy) in &c.trail {
        page.i64(price.get()).u64(energy.get());
    }
    page
}

pub(crate) fn standing_page(page: &mut Page, rows: &[Standing]) {
    for standing in rows {
        page.u32(standing.reputation.get()).u32(standing.percentile.get());
    }
}

pub(crate) fn stakes_page(page: &mut Page, rows: &[Stake]) {
    for stake in rows {
        page.flag(stake.position.is_some());
        if let Some(p) = &stake.position {
            page.u64(p.sold.get()).u64(p.bought.get()).u64(p.open_asks.get());
            page.flag(p.entered[0]).flag(p.entered[1]).flag(p.declined);
        }
        for mark in &stake.marks {
            page.u64(mark.seq).price(mark.before).price(mark.now);
        }
    }
}

pub(crate) fn seals_page(c: &Contract) -> Page {
    let mut page = Page::new(19, c.id.get(), 0);
    for (who, seal) in &c.seals {
        page.u64(who.get())
            .u64(seal.nonce)
            .hash(&seal.commitment)
            .money(seal.bond)
            .flag(seal.locked);
        // The commitment binds the quotes; that and the salt are all a recorded reveal adds.
        page.flag(seal.reveal.is_some())
            .hash(&seal.reveal.as_ref().map_or(Hash::ZERO, |reveal| reveal.salt));
    }
    page
}

pub(crate) fn places_page(c: &Contract) -> Page {
    let mut page = Page::new(20, c.id.get(), 0);
    page.len(c.salts.len()).bytes(&c.salts);
    for places in &c.places {
        page.len(places.len());
        for (who, place) in places {
            page.u64(who.get()).u32(place.pos).u32(place.range);
        }
    }
    page
}

pub(crate) fn readings_page(c: &Contract) -> Page {
    let mut page = Page::new(21, c.id.get(), 0);
    for (meter, reading) in &c.readings {
        page.u64(*meter)
            .u32(reading.revision)
            .u64(reading.import.get())
            .u64(reading.export.get());
    }
    page
}

/// 64 rows of a book; queue order follows from prices and stamps. A free row names the free row after it; the last four
/// fields stand only where one of them is not zero.
pub(crate) fn book_page(page: &mut Page, number: usize, book: &Book) {
    let from = number * ROWS_PER_PAGE;
    for row in from..book.rows().min(from + ROWS_PER_PAGE) {
        let order = match book.row_state(row) {
            Ok(order) => order,
            Err(next) => {
                page.u8(0).row(next);
                continue;
            }
        };
        let rare = [
            order.hidden().get(),
            order.display.get(),
            order.min_fill.get(),
            order.valid_until.get(),
        ];
        let has_rare = rare != [0; 4];
        page.u8(order.side as u8).flag(has_rare).order_id(order.id);
        page.price(order.price)
            .bytes(&order.charge_cap.to_le_bytes())
            .u32(order.leaves.get() as u32);
        page.u8(order.time_in_force as u8)
            .u8(order.self_trade as u8)
            .u64(order.client_order_id)
            .u64(order.stamp);
        if has_rare {
            rare.iter().for_each(|field| _ = page.u64(*field));
        }
    }
}

pub(crate) fn deals_page(page: &mut Page, deals: &[DealState]) {
    for state in deals {
        page.hash(&state.id).u8(state.status as u8);
        page.money(state.buyer_escrow).money(state.seller_escrow);
        page.u64(state.buyer_delivered.get()).u64(state.seller_delivered.get());
        for rating in state.ratings {
            page.u8(rating.map_or(0, |good| 1 + u8::from(good)));
        }
    }
}
