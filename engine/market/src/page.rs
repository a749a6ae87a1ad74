//! Encoding of state pages. Every field of the state that can change a later verdict is in one.

use crate::account::Account;
use crate::contract::{Contract, DealState};
use crate::state::{DEALS_PER_PAGE, PageKey, State};
use wattbook_types::{ContractId, Hash, Money, OrderId, Param, Price, Side};

/// Appends little-endian fields.
struct Page(Vec<u8>);

impl Page {
    fn new(tag: u8, key: u64, key2: u32) -> Self {
        let mut page = Self(Vec::with_capacity(256));
        page.u8(tag).u64(key).u32(key2);
        page
    }
    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }
    fn flag(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }
    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn i128(&mut self, value: i128) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn hash(&mut self, value: &Hash) -> &mut Self {
        self.bytes(&value.0)
    }
    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }
    fn len(&mut self, len: usize) -> &mut Self {
        self.u64(len as u64)
    }
    fn money(&mut self, value: Money) -> &mut Self {
        self.i64(value.get())
    }
    fn price(&mut self, value: Price) -> &mut Self {
        self.bytes(&value.get().to_le_bytes())
    }
    fn option(&mut self, value: Option<i64>) -> &mut Self {
        self.flag(value.is_some()).i64(value.unwrap_or(0))
    }
    fn order_id(&mut self, id: OrderId) -> &mut Self {
        self.u64(id.participant.get()).u64(id.nonce).u32(id.index)
    }
}

impl State {
    /// The bytes of a page; `None` where the thing is gone.
    pub(crate) fn encode_page(&self, key: PageKey) -> Option<Vec<u8>> {
        Some(match key {
            PageKey::Globals => self.globals_page(),
            PageKey::Params => self.params_page(),
            PageKey::Account(id) => account_page(id.get(), self.accounts.get(id)?),
            PageKey::Meter(number) => {
                let state = self.meters.get(&number)?;
                let mut page = Page::new(4, number, 0);
                page.u64(state.owner.get())
                    .u64(state.meter.import_cap.get())
                    .u64(state.meter.export_cap.get());
                page.u32(state.meter.kind as u32).flag(state.frozen);
                page.0
            }
            PageKey::Contract(id) => contract_page(id, self.contracts.get(&id)?),
            PageKey::Book(id) => book_page(id, self.contracts.get(&id)?),
            PageKey::Deals(id, page) => {
                let deals = &self.contracts.get(&id)?.deals;
                let from = page as usize * DEALS_PER_PAGE;
                deals_page(id, page, deals.get(from..deals.len().min(from + DEALS_PER_PAGE))?)
            }
            PageKey::Low(id) => {
                let mut page = Page::new(8, id.get(), 0);
                page.i64(self.lows.get(&id)?.get());
                page.0
            }
            PageKey::Group(group) => {
                let mut page = Page::new(9, group.prefix_u64(), 0);
                page.hash(self.minted_groups.get(&group)?);
                page.0
            }
        })
    }

    fn globals_page(&self) -> Vec<u8> {
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
        for minted in supply.minted.iter().chain(&supply.minted_in_epoch) {
            page.i128(*minted);
        }
        page.i128(supply.burned).u64(supply.epoch);
        page.0
    }

    fn params_page(&self) -> Vec<u8> {
        let mut page = Page::new(2, 0, 0);
        for param in Param::ALL {
            page.u32(*param as u32).i64(self.params.get(*param));
        }
        page.len(self.pending_params.len());
        for (param, value) in &self.pending_params {
            page.u32(*param as u32).i64(*value);
        }
        page.0
    }
}

fn account_page(id: u64, account: &Account) -> Vec<u8> {
    let mut page = Page::new(3, id, 0);
    page.u32(account.roles.bits())
        .u64(account.not_after.get())
        .bytes(&account.public_key);
    page.u32(account.key_version)
        .hash(&account.group)
        .u64(account.registered)
        .flag(account.suspended);
    page.money(account.free)
        .money(account.reserved)
        .money(account.escrow)
        .money(account.bonds)
        .money(account.locked);
    page.u32(account.items_in_block).u64(account.nonces.base());
    page.len(account.nonces.used().count());
    for (nonce, seq) in account.nonces.used() {
        page.u64(nonce).u64(seq);
    }
    page.len(account.meters.len());
    for meter in &account.meters {
        page.u64(meter.meter);
    }
    page.len(account.window.records().count());
    for record in account.window.records() {
        page.u64(record.cycle)
            .u32(record.entered)
            .flag(record.declined)
            .len(record.traded.len());
        for traded in &record.traded {
            page.u64(traded.counterparty).flag(traded.good);
        }
    }
    page.0
}

fn contract_page(id: ContractId, c: &Contract) -> Vec<u8> {
    let mut page = Page::new(5, id.get(), 0);
    page.u8(c.phase as u8).u16(c.round).flag(c.halted);
    for param in Param::ALL {
        page.i64(c.params.get(*param));
    }
    page.option(c.floor.map(|p| p.get()))
        .option(c.previous_cep.map(|p| p.get()))
        .option(c.cep.map(|p| p.get()));
    page.option(c.low.map(|p| p.get()))
        .option(c.highest_quote.map(|p| p.get().into()));
    page.len(c.standing.len());
    for (who, standing) in &c.standing {
        page.u64(who.get())
            .u32(standing.reputation.get())
            .u32(standing.percentile.get());
    }
    page.len(c.seals.len());
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
    page.len(c.salts.len()).bytes(&c.salts);
    for places in &c.places {
        page.len(places.len());
        for (who, place) in places {
            page.u64(who.get()).u32(place.pos).u32(place.range);
        }
    }
    page.len(c.marks.len());
    for ((who, side), mark) in &c.marks {
        page.u64(who.get())
            .u8(*side as u8)
            .option(mark.before.map(|p| p.get().into()))
            .price(mark.now)
            .u64(mark.seq);
    }
    page.len(c.positions.len());
    for (who, p) in &c.positions {
        page.u64(who.get())
            .u64(p.sold.get())
            .u64(p.bought.get())
            .u64(p.open_asks.get());
        page.flag(p.entered[0]).flag(p.entered[1]).flag(p.declined);
    }
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
    page.len(c.readings.len());
    for (meter, reading) in &c.readings {
        page.u64(*meter)
            .u32(reading.revision)
            .u64(reading.import.get())
            .u64(reading.export.get());
    }
    page.0
}

fn book_page(id: ContractId, c: &Contract) -> Vec<u8> {
    let mut page = Page::new(6, id.get(), 0);
    page.len(c.book.len());
    for order in c.book.side(Side::Buy).chain(c.book.side(Side::Sell)) {
        page.order_id(order.id)
            .u8(order.side as u8)
            .price(order.price)
            .i64(order.charge_cap.into());
        page.u64(order.leaves.get())
            .u64(order.min_fill.get())
            .u8(order.time_in_force as u8);
        page.u64(order.valid_until.get())
            .u64(order.client_order_id)
            .u64(order.arrival.seq)
            .u32(order.arrival.rank);
    }
    page.0
}

fn deals_page(id: ContractId, number: u32, deals: &[DealState]) -> Vec<u8> {
    let mut page = Page::new(7, id.get(), number);
    for state in deals {
        page.bytes(&state.deal.to_bytes()).u8(state.status as u8);
        page.money(state.buyer_escrow).money(state.seller_escrow);
        page.u64(state.buyer_delivered.get()).u64(state.seller_delivered.get());
        for rating in state.ratings {
            page.u8(rating.map_or(0, |good| 1 + u8::from(good)));
        }
    }
    page.0
}
