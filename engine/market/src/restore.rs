//! The state built again from an image (module `image`).
//!
//! # Contract
//! [`Market::restore`] never panics, whatever the bytes are, and reads every one of them. What it gives answers every later
//! command as the market the image was taken of, **if** [`Market::root`] equals that block's state root: the caller holds
//! them against each other. Deals are checked against their ids here; the quotes of recorded reveals and the numbers of
//! the records behind used nonces are bound by no root, so an image comes from one's own disk, under a checksum.

use crate::account::{Account, Profile};
use crate::accounts::{AccountIndex, Accounts};
use crate::book::{Order, Standing};
use crate::contract::{Batch, Contract, DealState, DealStatus, Mark, Position, SealState, Stake};
use crate::dpos;
use crate::image::{MAGIC, unzigzag};
use crate::market::Market;
use crate::nonce::{NONCE_WINDOW, Nonces};
use crate::page::{ACCOUNTS_PER_PAGE, ROWS_PER_PAGE};
use crate::reputation::{CycleRecord, Traded, Window};
use crate::round::Place;
use crate::state::{MINTS_ALWAYS, MeterState, State, Supply};
use core::fmt;
use std::collections::BTreeMap;
use wattbook_types::command::Reading;
use wattbook_types::units::PPM_ONE;
use wattbook_types::{
    ChainId, ContractId, Deal, DealPrice, Energy, Hash, Meter, MeterKind, MicroPrice, Money, OrderId, Param, Params,
    ParticipantId, Phase, Ppm, Price, Quote, Reject, Reveal, Roles, SelfTrade, Side, TimeInForce, TimeNs,
};

/// An image that no market has: where it stops making sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfit {
    /// Offset of the page, bytes.
    pub offset: usize,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the page at byte {} of the state's image makes no sense",
            self.offset
        )
    }
}

impl std::error::Error for Unfit {}

/// Takes little-endian fields off the front; `None` where the bytes run out or say what cannot be.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }
    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
    pub(crate) fn i128(&mut self) -> Option<i128> {
        self.array().map(i128::from_le_bytes)
    }
    fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash)
    }
    fn money(&mut self) -> Option<Money> {
        self.i64().map(Money::new)
    }
    fn energy(&mut self) -> Option<Energy> {
        self.u64().map(Energy::new)
    }
    fn time(&mut self) -> Option<TimeNs> {
        self.u64().map(TimeNs::new)
    }
    fn price(&mut self) -> Option<Price> {
        self.i32().map(Price::new)
    }
    pub(crate) fn participant(&mut self) -> Option<ParticipantId> {
        self.u64().map(ParticipantId::new)
    }
    fn option(&mut self) -> Option<Option<i64>> {
        let (is_some, value) = (self.flag()?, self.i64()?);
        Some(is_some.then_some(value))
    }
    /// A number of things that take at least `size` bytes each.
    pub(crate) fn len(&mut self, size: usize) -> Option<usize> {
        let len = usize::try_from(self.u64()?).ok()?;
        (len.checked_mul(size)? <= self.0.len()).then_some(len)
    }
    fn order_id(&mut self) -> Option<OrderId> {
        Some(OrderId {
            participant: self.participant()?,
            nonce: self.u64()?,
            index: self.u32()?,
        })
    }
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    fn side(&mut self) -> Option<Side> {
        side(self.u8()?)
    }
    fn self_trade(&mut self) -> Option<SelfTrade> {
        SelfTrade::ALL.get(usize::from(self.u8()?)).copied()
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// As many as there are, to the last byte.
    pub(crate) fn all<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        while !self.is_empty() {
            list.push(one(self)?);
        }
        Some(list)
    }
}

const fn side(raw: u8) -> Option<Side> {
    match raw {
        1 => Some(Side::Buy),
        2 => Some(Side::Sell),
        _ => None,
    }
}

const fn phase(raw: u8) -> Option<Phase> {
    Some(match raw {
        1 => Phase::Seal,
        2 => Phase::Reveal,
        3 => Phase::Ranked,
        4 => Phase::Matched,
        5 => Phase::Continuous,
        6 => Phase::GateClosed,
        7 => Phase::Delivering,
        8 => Phase::Metering,
        9 => Phase::Settled,
        10 => Phase::Closed,
        _ => return None,
    })
}

const fn deal_status(raw: u8) -> Option<DealStatus> {
    Some(match raw {
        1 => DealStatus::Made,
        2 => DealStatus::Contracted,
        3 => DealStatus::Voided,
        4 => DealStatus::Settled,
        _ => return None,
    })
}

/// A page as it stands in the image.
struct RawPage<'a> {
    key: u64,
    body: Fields<'a>,
    beside: Fields<'a>,
}

/// The pages of an image, in its order.
struct Pages<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the page last given stands.
    last: usize,
}

impl<'a> Pages<'a> {
    fn field(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    }

    /// Tag and key of the next page.
    fn peek(&self) -> Option<(u8, u64)> {
        let mut head = Fields(self.bytes.get(self.at + 8..)?);
        Some((head.u8()?, head.u64()?))
    }

    /// The next page, which must be the `number`th of the section `tag` under `key`.
    fn next(&mut self, tag: u8, key: u64, number: usize) -> Option<RawPage<'a>> {
        self.last = self.at;
        let (len, beside) = (self.field(self.at)?, self.field(self.at + 4)?);
        let mut rest = Fields(self.bytes.get(self.at + 8..)?);
        let (mut body, beside_bytes) = (Fields(rest.take(len)?), rest.take(beside)?);
        if (body.u8()?, body.u64()?, body.u64()?) != (tag, key, number as u64) {
            return None;
        }
        self.at += 8 + len + beside;
        Some(RawPage {
            key,
            body,
            beside: Fields(beside_bytes),
        })
    }

    /// Reads a page of its own.
    fn single<T>(&mut self, tag: u8, key: u64, read: impl FnOnce(&mut RawPage<'a>) -> Option<T>) -> Option<T> {
        let mut page = self.next(tag, key, 0)?;
        let value = read(&mut page)?;
        (page.body.is_empty() && page.beside.is_empty()).then_some(value)
    }

    /// Reads the pages of a section, each full but the last.
    fn section<T>(
        &mut self,
        tag: u8,
        key: u64,
        rows: usize,
        mut read: impl FnMut(&mut RawPage<'a>, usize) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (mut list, mut number) = (Vec::new(), 0);
        while self.peek() == Some((tag, key)) && list.len() == number * rows {
            let mut page = self.next(tag, key, number)?;
            while !page.body.is_empty() {
                list.push(read(&mut page, list.len())?);
            }
            number += 1;
            let fits = list.len() > (number - 1) * rows && list.len() <= number * rows;
            if !fits || !page.beside.is_empty() {
                return None;
            }
        }
        Some(list)
    }
}

impl Market {
    /// The market of an image.
    ///
    /// # Errors
    /// [`Unfit`], with the page that makes no sense.
    pub fn restore(image: &[u8]) -> Result<Self, Unfit> {
        let mut pages = Pages {
            bytes: image,
            at: MAGIC.len(),
            last: 0,
        };
        let whole = image.starts_with(&MAGIC);
        match whole.then(|| state(&mut pages)).flatten() {
            Some(state) if pages.at == image.len() && state.is_conserved() => Ok(Self::of_state(state)),
            _ => Err(Unfit { offset: pages.last }),
        }
    }
}

fn state(pages: &mut Pages<'_>) -> Option<State> {
    let mut state = pages.single(1, 0, |page| globals(&mut page.body))?;
    pages.single(2, 0, |page| {
        for param in &Param::ALL[..Param::LISTED_ALWAYS] {
            let (id, value) = (page.body.u32()?, page.body.i64()?);
            (id == *param as u32 && state.params.set(*param, value)).then_some(())?;
        }
        for _ in 0..page.body.len(12)? {
            let param = Param::from_id(page.body.u32()?)?;
            state.pending_params.insert(param, page.body.i64()?);
        }
        let mut last = Param::LISTED_ALWAYS as u32;
        while !page.body.is_empty() {
            let (id, value) = (page.body.u32()?, page.body.i64()?);
            let param = Param::from_id(id).filter(|param| id > last && param.default_value() != value)?;
            state.params.set(param, value).then_some(())?;
            last = id;
        }
        Some(())
    })?;
    state.params.check().ok()?;
    let mut profiles = Vec::new();
    while pages.peek().is_some_and(|(tag, _)| tag == 4) {
        let at = profiles.len() as u64;
        profiles.push(pages.single(4, at, |page| profile(&mut page.body))?);
    }
    let accounts = pages.section(3, 0, ACCOUNTS_PER_PAGE, |page, _| account(page))?;
    (accounts.len() == profiles.len()).then_some(())?;
    for (group, minted) in pages.section(8, 0, ROWS_PER_PAGE, |page, _| {
        Some((page.body.hash()?, page.body.flag()?))
    })? {
        (state.groups.number(group) as usize == state.groups.len()).then_some(())?;
        if minted {
            state.groups.take_mint(state.groups.len() as u32);
        }
    }
    for meter in pages.section(9, 0, ROWS_PER_PAGE, |page, _| meter(&mut page.body))? {
        state.meters.get(meter.meter.meter).is_none().then_some(())?;
        state.meters.add(meter);
    }
    for (mut account, (id, profile, meters)) in accounts.into_iter().zip(profiles) {
        // The group stands in its list before anybody belongs to it.
        let known = state.groups.len();
        account.group = state.groups.number(profile.group);
        (state.groups.len() == known).then_some(())?;
        let client_high = account.profile.client_high;
        *account.profile = Profile { client_high, ..profile };
        let mut export = Energy::ZERO;
        for number in meters {
            let meter = state.meters.get(number)?.meter;
            export = export.checked_add(meter.export_cap)?;
            account.profile.meters.push(meter);
        }
        account.export_capacity = export;
        state.keys.insert(account.profile.public_key);
        state.accounts.restore(id, account).then_some(())?;
    }
    pages.single(7, 0, |page| {
        for (id, low) in page.body.all(|body| Some((body.u64()?, body.i64()?)))? {
            state.lows.insert(ContractId::from_raw(id), DealPrice::new(low));
        }
        Some(())
    })?;
    if pages.peek() == Some((11, 0)) {
        let mut sums = [0; 4];
        let turns = pages.single(11, 0, |page| dpos::page::turns(&mut page.body, &mut sums))?;
        let [packing, verifying, packing_in_epoch, verifying_in_epoch] = sums;
        let (supply, work) = (&mut state.supply, MINTS_ALWAYS..);
        supply.minted[work.clone()].copy_from_slice(&[packing, verifying]);
        supply.minted_in_epoch[work].copy_from_slice(&[packing_in_epoch, verifying_in_epoch]);
        let accounts = &state.accounts;
        let mut dpos = pages.single(12, 0, |page| dpos::page::seats(&mut page.body, turns, accounts))?;
        dpos.electors = pages.section(13, 0, ROWS_PER_PAGE, |page, _| {
            dpos::page::elector(&mut page.body, accounts)
        })?;
        (dpos.electors.len() <= accounts.len()).then_some(())?;
        (0..dpos.electors.len()).for_each(|slot| dpos.changed.mark_row(slot));
        state.dpos = Some(Box::new(dpos));
    }
    while let Some((16, id)) = pages.peek() {
        let above = state.contracts.keys().next_back().is_none_or(|last| last.get() < id);
        above.then_some(())?;
        let contract = contract(pages, id, &state)?;
        state.contracts.open(Box::new(contract));
    }
    Some(state)
}

fn globals(body: &mut Fields<'_>) -> Option<State> {
    let (chain, area) = (ChainId(body.hash()?), body.u16()?);
    let mut state = State::new(chain, area, body.time()?, Params::default());
    state.time = body.time()?;
    (state.next_period, state.closed_cycles) = (body.u32()?, body.u64()?);
    (state.halted, state.height) = (body.flag()?, body.u64()?);
    let (has_grid, grid) = (body.flag()?, body.participant()?);
    state.grid = has_grid.then_some(grid);
    let mut supply = Supply::default();
    for sums in [&mut supply.minted, &mut supply.minted_in_epoch] {
        for minted in &mut sums[..MINTS_ALWAYS] {
            *minted = body.i128()?;
        }
    }
    (supply.burned, supply.epoch) = (body.i128()?, body.u64()?);
    state.supply = supply;
    Some(state)
}

/// A profile with its account's name and the numbers of its meters.
fn profile(body: &mut Fields<'_>) -> Option<(ParticipantId, Profile, Vec<u64>)> {
    let id = body.participant()?;
    let (public_key, group) = (body.array()?, body.hash()?);
    let (registered, locked) = (body.u64()?, body.money()?);
    let meters = (0..body.len(8)?).map(|_| body.u64()).collect::<Option<Vec<_>>>()?;
    let mut records = Vec::new();
    for _ in 0..body.len(21)? {
        let (cycle, entered, declined) = (body.u64()?, body.u32()?, body.flag()?);
        let traded = (0..body.len(9)?).map(|_| {
            Some(Traded {
                counterparty: body.u64()?,
                good: body.flag()?,
            })
        });
        let traded = traded.collect::<Option<Vec<_>>>()?;
        records.push(CycleRecord {
            cycle,
            entered,
            traded,
            declined,
        });
    }
    let profile = Profile {
        public_key,
        group,
        registered,
        meters: Vec::new(),
        locked,
        window: Window::restore(records),
        client_high: 0,
    };
    Some((id, profile, meters))
}

/// An account as far as its own page goes.
fn account(page: &mut RawPage<'_>) -> Option<Account> {
    let (body, beside) = (&mut page.body, &mut page.beside);
    let (roles, not_after) = (body.u32()?, body.time()?);
    let (key_version, suspended) = (body.u32()?, body.flag()?);
    let pockets = [body.money()?, body.money()?, body.money()?, body.money()?];
    let client_high = body.u64()?;
    let base = body.u64()?;
    // Which nonces above the base are used is known from their records.
    let words = body.len(8)?;
    body.take(8 * words)?;
    let mut remembered = Vec::new();
    let mut last = 0u64;
    let len = u64::from(beside.u16()?);
    (len <= 2 * NONCE_WINDOW).then_some(())?;
    for _ in 0..len {
        last = last.wrapping_add(unzigzag(beside.varint()?));
        remembered.push(last);
    }
    let mut account = Account::bare(Roles::from_bits(roles), not_after, key_version);
    account.suspended = suspended;
    [account.free, account.reserved, account.escrow, account.bonds] = pockets;
    account.nonces = Nonces::restore(base, &remembered)?;
    account.profile.client_high = client_high;
    Some(account)
}

fn meter(body: &mut Fields<'_>) -> Option<MeterState> {
    let (number, owner) = (body.u64()?, body.participant()?);
    let (import_cap, export_cap) = (body.energy()?, body.energy()?);
    let kind = MeterKind::from_raw(body.u32()?)?;
    Some(MeterState {
        owner,
        meter: Meter {
            meter: number,
            import_cap,
            export_cap,
            kind,
        },
        frozen: body.flag()?,
    })
}

fn contract(pages: &mut Pages<'_>, id: u64, state: &State) -> Option<Contract> {
    let (mut c, free, stamp, deals_len) = pages.single(16, id, header)?;
    let standing = pages.section(17, id, ROWS_PER_PAGE, |page, _| {
        Some(Standing {
            reputation: Ppm::new(page.body.u32()?),
            percentile: Ppm::new(page.body.u32()?),
        })
    })?;
    (standing.len() <= state.accounts.len()).then_some(())?;
    for (at, standing) in (0..).map(AccountIndex::new).zip(standing) {
        // Only the fill between the active has the last place of all.
        if standing.percentile.get() < PPM_ONE {
            c.rank_account(at, state.accounts.id(at), standing);
        } else {
            (standing == Standing::UNRANKED).then_some(())?;
        }
    }
    let stakes = pages.section(18, id, ROWS_PER_PAGE, |page, _| stake(&mut page.body))?;
    c.restore_stakes(stakes);
    pages.single(19, id, |page| seals(page, &mut c))?;
    pages.single(20, id, |page| places(&mut page.body, &mut c))?;
    let period = c.id.period();
    pages.single(21, id, |page| {
        while !page.body.is_empty() {
            let meter = page.body.u64()?;
            let reading = Reading {
                meter,
                period,
                revision: page.body.u32()?,
                import: page.body.energy()?,
                export: page.body.energy()?,
            };
            c.readings.insert(meter, reading);
        }
        Some(())
    })?;
    for deal in pages.section(23, id, ROWS_PER_PAGE, |page, ordinal| {
        let found = deal(page)?;
        let named = (found.deal.contract.get(), found.deal.ordinal) == (id, ordinal as u64);
        let bound = state.deal_prefix.finish_with(&found.deal.to_bytes()) == found.id;
        let parties = [found.deal.buyer, found.deal.seller].map(|order| state.accounts.index(order.participant));
        (named && bound && parties.iter().all(Option::is_some)).then_some(found)
    })? {
        c.add_deal(deal);
    }
    (c.deals.len() == deals_len && c.unsealed_from <= deals_len).then_some(())?;
    c.index_deals();
    let rows = pages.section(22, id, ROWS_PER_PAGE, |page, _| row(&mut page.body))?;
    let mut book = core::mem::replace(&mut c.book, crate::book::Book::new(&c.params));
    let until = rows.iter().filter_map(|row| row.as_ref().ok());
    for order in until.filter(|order| order.time_in_force == TimeInForce::Until) {
        c.expiries.insert((order.valid_until, order.id));
    }
    let restored = book.restore(rows, free, stamp, c.standing_by_account(), &state.accounts);
    c.book = book;
    restored.then_some(c)
}

/// A contract with its header's fields, the book's first free row and next stamp, and the number of deals.
fn header(page: &mut RawPage<'_>) -> Option<(Contract, Option<u32>, u64, usize)> {
    let body = &mut page.body;
    let (phase, round, halted) = (phase(body.u8()?)?, body.u16()?, body.flag()?);
    let mut params = Params::default();
    for param in &Param::ALL[..Param::LISTED_ALWAYS] {
        params.set(*param, body.i64()?).then_some(())?;
    }
    params.check().ok()?;
    let mut c = Contract::new(ContractId::from_raw(page.key), params);
    (c.phase, c.round, c.halted) = (phase, round, halted);
    c.floor = body.option()?.map(DealPrice::new);
    c.previous_cep = body.option()?.map(MicroPrice::new);
    c.cep = body.option()?.map(MicroPrice::new);
    c.low = body.option()?.map(DealPrice::new);
    c.highest_quote = match body.option()? {
        Some(price) => Some(Price::new(i32::try_from(price).ok()?)),
        None => None,
    };
    let (free, stamp) = (free_row(body)?, body.u64()?);
    let deals_len = usize::try_from(body.u64()?).ok()?;
    c.unsealed_from = usize::try_from(body.u64()?).ok()?;
    c.unsealed_since = body.time()?;
    for _ in 0..body.len(64)? {
        let height = body.u64()?;
        let batch = Batch {
            first: body.u64()?,
            count: body.u64()?,
            digest: body.hash()?,
            deadline: body.time()?,
        };
        let end = batch.first.checked_add(batch.count)?;
        (end <= deals_len as u64).then_some(())?;
        c.batches.insert(height, batch);
    }
    c.trail_own = usize::try_from(body.u64()?).ok()?;
    for _ in 0..body.len(16)? {
        let price = DealPrice::new(body.i64()?);
        c.trail.push_back((price, body.energy()?));
    }
    (c.trail_own <= c.trail.len()).then_some((c, free, stamp, deals_len))
}

fn free_row(body: &mut Fields<'_>) -> Option<Option<u32>> {
    let row = body.u32()?;
    Some((row != u32::MAX).then_some(row))
}

fn stake(body: &mut Fields<'_>) -> Option<Stake> {
    let mut stake = Stake::default();
    if body.flag()? {
        stake.position = Some(Position {
            sold: body.energy()?,
            bought: body.energy()?,
            open_asks: body.energy()?,
            entered: [body.flag()?, body.flag()?],
            declined: body.flag()?,
        });
    }
    for mark in &mut stake.marks {
        *mark = Mark {
            seq: body.u64()?,
            before: body.price()?,
            now: body.price()?,
        };
    }
    Some(stake)
}

fn seals(page: &mut RawPage<'_>, c: &mut Contract) -> Option<()> {
    let (body, beside) = (&mut page.body, &mut page.beside);
    while !body.is_empty() {
        let participant = body.participant()?;
        let (nonce, commitment) = (body.u64()?, body.hash()?);
        let (bond, locked) = (body.money()?, body.flag()?);
        let (revealed, salt) = (body.flag()?, body.hash()?);
        let reveal = if revealed {
            let round = beside.u32()?;
            let mut quotes = Vec::new();
            for _ in 0..beside.u32()? {
                quotes.push(match beside.u16()? {
                    0 => Ok(quote(beside)?),
                    code => Err(Reject::from_code(code)?),
                });
            }
            Some(Reveal {
                participant,
                contract: c.id,
                round,
                salt,
                commitment,
                quotes,
            })
        } else {
            None
        };
        let seal = SealState {
            nonce,
            commitment,
            bond,
            locked,
            reveal,
        };
        c.seals.insert(participant, seal);
    }
    Some(())
}

fn quote(body: &mut Fields<'_>) -> Option<Quote> {
    Some(Quote {
        contract: ContractId::from_raw(body.u64()?),
        client_order_id: body.u64()?,
        round: body.u16()?,
        side: body.side()?,
        time_in_force: TimeInForce::from_raw(body.u8()?)?,
        price: body.price()?,
        charge_cap: body.i32()?,
        energy: body.energy()?,
        min_fill: body.energy()?,
        valid_until_s: body.u32()?,
        display: body.energy()?,
        market_to_limit: body.flag()?,
        self_trade: body.self_trade()?,
    })
}

fn places(body: &mut Fields<'_>, c: &mut Contract) -> Option<()> {
    let salts = body.len(1)?;
    c.salts = body.take(salts)?.to_vec();
    for places in &mut c.places {
        for _ in 0..body.len(16)? {
            let who = body.participant()?;
            let (pos, range) = (body.u32()?, body.u32()?);
            places.insert(who, Place { pos, range });
        }
    }
    Some(())
}

fn deal(page: &mut RawPage<'_>) -> Option<DealState> {
    let (body, beside) = (&mut page.body, &mut page.beside);
    let (id, status) = (body.hash()?, deal_status(body.u8()?)?);
    let (buyer_escrow, seller_escrow) = (body.money()?, body.money()?);
    let (buyer_delivered, seller_delivered) = (body.energy()?, body.energy()?);
    let mut ratings = [None; 2];
    for rating in &mut ratings {
        *rating = match body.u8()? {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return None,
        };
    }
    let order = |deal: &mut Fields<'_>| {
        let id = deal.order_id()?;
        (deal.u32()? == 0).then_some(id)
    };
    let deal = Deal {
        contract: ContractId::from_raw(beside.u64()?),
        ordinal: beside.u64()?,
        buyer: order(beside)?,
        seller: order(beside)?,
        price: DealPrice::new(beside.i64()?),
        energy: beside.energy()?,
        charges: [beside.i32()?, beside.i32()?, beside.i32()?, beside.i32()?],
    };
    Some(DealState {
        deal,
        id,
        status,
        buyer_escrow,
        seller_escrow,
        buyer_delivered,
        seller_delivered,
        ratings,
    })
}

/// The order of a row, or if it is free the free row after it.
pub(crate) type BookRow = Result<Order, Option<u32>>;

fn row(body: &mut Fields<'_>) -> Option<BookRow> {
    let raw = body.u8()?;
    if raw == 0 {
        return free_row(body).map(Err);
    }
    let (side, has_rare, id) = (side(raw)?, body.flag()?, body.order_id()?);
    let (price, charge_cap) = (body.price()?, body.i32()?);
    let leaves = Energy::new(body.u32()?.into());
    let (time_in_force, self_trade) = (TimeInForce::from_raw(body.u8()?)?, body.self_trade()?);
    let (client_order_id, stamp) = (body.u64()?, body.u64()?);
    let rare = if has_rare {
        [body.u64()?, body.u64()?, body.u64()?, body.u64()?]
    } else {
        [0; 4]
    };
    let [hidden, display, min_fill, valid_until] = rare;
    let fit = |wh: u64| wh <= u64::from(u32::MAX);
    let fits = hidden < leaves.get() && fit(display) && fit(min_fill);
    fits.then_some(Ok(Order {
        id,
        side,
        price,
        charge_cap,
        leaves,
        shown: leaves.minus(Energy::new(hidden)),
        display: Energy::new(display),
        min_fill: Energy::new(min_fill),
        time_in_force,
        self_trade,
        valid_until: TimeNs::new(valid_until),
        client_order_id,
        stamp,
    }))
}

impl Accounts {
    /// Puts an account that stood behind those put before; `false` if its name is taken or none.
    #[must_use]
    fn restore(&mut self, id: ParticipantId, account: Account) -> bool {
        let is_new = id.get() != 0 && self.index(id).is_none();
        if is_new {
            self.put(id, account);
        }
        is_new
    }
}

/// Orders by row, to find who is behind the free list.
pub(crate) fn free_list(rows: &[BookRow], first: Option<u32>) -> Option<Vec<u32>> {
    let (mut list, mut next) = (Vec::new(), first);
    while let Some(row) = next {
        // BOUND: a list longer than the rows goes round.
        (list.len() < rows.len()).then_some(())?;
        list.push(row);
        next = match rows.get(row as usize)? {
            Ok(_) => return None,
            Err(next) => *next,
        };
    }
    Some(list)
}

/// Standing orders by participant: none twice under one name.
pub(crate) fn names_differ(rows: &[BookRow]) -> bool {
    let mut names = BTreeMap::new();
    let orders = rows.iter().filter_map(|row| row.as_ref().ok());
    orders.map(|order| order.id).all(|id| names.insert(id, ()).is_none())
}
