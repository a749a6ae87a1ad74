//! The continuous book as `Market::apply` shows it, against a flat model (`model/continuous.rs`) on 10,000 seeded streams of
//! envelopes by few participants: verdicts, deals, reasons, queues, money and energy after every envelope and every Tick.
//!
//! Streams trade one contract from CONTRACT until after its gate has closed, under parameter sets that cross the five range
//! modes, the four deal prices and every switch. Prepared markets are cloned; a failing stream is shrunk before it is printed.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

#[path = "model/continuous.rs"]
mod model;
mod support;

use model::{Ask, Done, Fact, Model, Open, Person, Rules, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::{AMPLE, BUYER, Dice, GRID, METERS, REGULATOR, SELLER, TRADER, contract, id, time};
use wattbook_market::{Genesis, Market};
use wattbook_types::command::{ALL_INDEXES, Cancel, MarketAction, MarketOrder, Replace};
use wattbook_types::{
    ChainId, Command, ContractId, DealPriceRule, Energy, Envelope, Event, Hash, Item, OrderId, Param, Params,
    ParticipantId, Price, Quote, RangeMode, Registration, Reject, SelfTrade, Side, TimeInForce, TimeNs,
};

/// Streams, each once without and once with display, market-to-limit, self-trade modes and client order ids.
const STREAMS: u64 = 10_000;
/// Parameter sets; a multiple of 5 range modes x 4 deal prices.
const SETS: u64 = 100;

/// The contract traded, by offset from the bench's first: it opens after the first has closed, so that reputations differ.
const MAIN: u32 = 4;
/// Offsets of its borders from the first contract's delivery start, s, with one round.
const GATE_OPENS: i64 = 2_400;
const CONTRACT: i64 = 2_610;
const GATE_CLOSES: i64 = 3_300;
/// When the contract before it trades.
const BEFORE: i64 = 1_710;

/// A second balancing party, a trader that comes after gate opening, one that declined, one that entered in vain.
const GRID_TOO: u64 = 4;
const LATE: u64 = 17;
const DECLINED: u64 = 18;
const ENTERED: u64 = 19;
/// Who appears in streams, with roles and export capacity.
const CAST: [(u64, u32, u64); 11] = [
    (GRID, 11, 0),
    (GRID_TOO, 11, 0),
    (11, TRADER, AMPLE),
    (12, TRADER, AMPLE),
    (13, TRADER, 300),
    (14, TRADER, AMPLE),
    (15, BUYER, AMPLE),
    (16, SELLER, 5_000_000_000),
    (LATE, TRADER, AMPLE),
    (DECLINED, TRADER, AMPLE),
    (ENTERED, TRADER, 2_000),
];

fn group_of(serial: u64) -> u8 {
    match serial {
        GRID | 12 | 14 => 1,
        GRID_TOO | 16 => 2,
        _ => 0,
    }
}

/// First nonce of the streams; the preparation uses lower ones.
const FIRST_NONCE: u64 = 100;

// Prepared markets.

#[derive(Clone)]
struct Prepared {
    market: Market,
    model: Model,
    seq: u64,
    describe: String,
}

fn account(serial: u64, roles: u32, capacity: u64) -> Registration {
    let mut account = support::account(serial, roles, capacity);
    if group_of(serial) != 0 {
        account.group = Hash([group_of(serial); 32]);
    }
    account
}

/// Market, sequence number and last nonces while it is prepared.
struct Bench {
    market: Market,
    seq: u64,
    nonces: BTreeMap<u64, u64>,
}

impl Bench {
    fn apply(&mut self, command: &Command) -> Vec<Event> {
        self.seq += 1;
        self.market.apply(self.seq, command).unwrap()
    }

    fn send(&mut self, serial: u64, item: Item) -> Vec<Event> {
        let nonce = self.nonces.entry(serial).or_insert(0);
        *nonce += 1;
        let envelope = envelope_of(&self.market, id(serial), *nonce, vec![item]);
        let events = self.apply(&Command::Envelope(envelope));
        assert_eq!(support::verdicts(&events), [Ok(())], "{serial} while preparing");
        events
    }
}

fn envelope_of(market: &Market, participant: ParticipantId, nonce: u64, items: Vec<Item>) -> Envelope {
    Envelope {
        participant,
        key_version: 1,
        nonce,
        not_after: market.state().time.plus_secs(3_600),
        items,
    }
}

impl Prepared {
    fn new(set: u64) -> Self {
        let mut dice = Dice::new(1_000_000 + set);
        let (range, price) = (
            RangeMode::ALL[(set % 5) as usize],
            DealPriceRule::ALL[(set / 5 % 4) as usize],
        );
        let charge = dice.pick(&[0, 250, 250, 400]);
        let penalty = dice.pick(&[0, 5_000, 5_000]);
        let ample = 100_000_000_000_000_000;
        let mint = dice.pick(&[1_000_000_000, 100_000_000_000, ample, ample, ample, ample]);
        let [all_in, concession, affiliation, floored] = [
            dice.once_in(4),
            dice.once_in(3),
            !dice.once_in(3),
            set / 20 % 2 == 1 && dice.once_in(2),
        ];
        let values = [
            (Param::Range, range as i64),
            (Param::DealPrice, price as i64),
            (Param::C1, charge),
            (Param::C2, 0),
            (Param::C3, 0),
            (Param::PenaltyRate, penalty),
            (Param::AllInBids, all_in.into()),
            (Param::Concession, concession.into()),
            (Param::Affiliation, affiliation.into()),
            (Param::Floor, if floored { 2 } else { 0 }),
            (Param::RegistrationMint, mint),
            (Param::RegistrationMintCap, 1_000_000_000 * 1_000_000_000),
            (Param::GridMint, mint),
            (Param::Rounds, 1),
            (Param::BondUnit, 0),
            (Param::CountersignS, 86_400),
        ];
        let mut params = Params::default();
        for (param, value) in values {
            assert!(params.set(param, value), "{param:?} = {value}");
        }
        let genesis = Genesis {
            chain: ChainId(wattbook_types::sha256(&[b"continuous"])),
            area: 1,
            time: time(-1_300),
            params,
            accounts: vec![
                account(REGULATOR, 32, 0),
                account(GRID, 11, 0),
                account(METERS, 16, 0),
                account(GRID_TOO, 11, 0),
            ],
        };
        let mut bench = Bench {
            market: Market::new(genesis).unwrap(),
            seq: 0,
            nonces: BTreeMap::new(),
        };
        let mut coming: Vec<_> = CAST.into_iter().filter(|who| who.0 > 10 && who.0 != LATE).collect();
        let mut active = vec![GRID, GRID_TOO];
        while !coming.is_empty() {
            let (serial, roles, capacity) = coming.remove(dice.below(coming.len() as u64) as usize);
            bench.apply(&Command::Register(account(serial, roles, capacity)));
            active.push(serial);
        }
        // In the first cycle one declines what it sealed and one enters in vain.
        bench.apply(&Command::Tick(time(support::at::GATE_OPENS)));
        let unopened = support::reveal(DECLINED, 0, 1, 1, &[support::bid(0, 1, 1)]);
        bench.send(DECLINED, support::seal(&unopened, 0));
        bench.apply(&Command::Tick(time(support::at::CONTRACT)));
        bench.send(ENTERED, Item::Quote(support::bid(0, -999, 100)));
        // A deal before sets the floor.
        bench.apply(&Command::Tick(time(BEFORE)));
        let mut floor = None;
        if floored {
            bench.send(11, Item::Quote(support::ask(MAIN - 1, 9_999 - charge as i32, 100)));
            let bid = Quote {
                charge_cap: 1_000,
                ..support::bid(MAIN - 1, 9_999 + charge as i32, 100)
            };
            let events = bench.send(15, Item::Quote(bid));
            let [Event::Accepted { .. }, Event::Executed { deal, .. }] = events[..] else {
                panic!("one deal: {events:?}");
            };
            floor = Some(i128::from(deal.price.get()));
        }
        bench.apply(&Command::Tick(time(GATE_OPENS)));
        bench.apply(&Command::Register(account(LATE, TRADER, AMPLE)));
        bench.apply(&Command::Tick(time(CONTRACT)));
        let mut market = bench.market;
        market.end_block(1);
        market.root();

        // Eq 4 of a newcomer, of one decline, of B = 1.
        let reputation = |serial: u64| match serial {
            DECLINED => 480_000,
            ENTERED => 416_666,
            _ => 500_000,
        };
        // By R, then registration; nobody has traded.
        active.sort_by_key(|&serial| -reputation(serial));
        let percentile = |serial: u64| {
            let place = active.iter().position(|x| *x == serial);
            place.map_or(1_000_000, |place| 1_000_000 * place as i128 / active.len() as i128)
        };
        let state = market.state();
        for (who, standing) in &state.contracts[&contract(MAIN)].standing {
            let (r, p) = (standing.reputation.get().into(), standing.percentile.get().into());
            assert_eq!(
                (r, p),
                (reputation(who.get()), percentile(who.get())),
                "standing of {who}"
            );
        }
        let mut people = BTreeMap::new();
        for (serial, roles, capacity) in CAST.into_iter().chain([(REGULATOR, 32, 0), (METERS, 16, 0)]) {
            let account = state.accounts.get(id(serial)).unwrap();
            assert_eq!((account.reserved.get(), account.bonds.get()), (0, 0));
            let used = bench.nonces.get(&serial).copied().unwrap_or(0);
            let person = Person {
                buys: roles & BUYER != 0,
                sells: roles & SELLER != 0,
                is_grid: roles & 8 != 0,
                group: group_of(serial),
                reputation: reputation(serial),
                percentile: percentile(serial),
                capacity: capacity.into(),
                free: account.free.get().into(),
                escrow: account.escrow.get().into(),
                used_nonces: (1..=used).collect(),
                client_order_id: 0,
                suspended: false,
            };
            people.insert(serial, person);
        }
        let rules = Rules {
            range,
            price,
            charge: charge.into(),
            default_cap: 300,
            penalty: penalty.into(),
            all_in,
            concession,
            affiliation,
            floor,
            min_lot: 100,
            price_bound: 999_900,
            energy_max: 4_000_000_000,
        };
        let describe = format!("set {set}, mint {mint}: {rules:?}");
        let gate = time(GATE_CLOSES).get();
        let model = Model::new(rules, people, contract(MAIN), gate, time(CONTRACT).get());
        Self {
            market,
            model,
            seq: bench.seq,
            describe,
        }
    }
}

// Streams.

#[derive(Clone, Debug)]
enum Step {
    Envelope(u64, u64, Vec<Ask>),
    /// Moves time on by so many ns.
    Tick(u64),
}

const EDGE_PRICES: [i32; 6] = [-999_900, -1, 0, 0, 1, 999_900];
const ILLEGAL_PRICES: [i32; 4] = [i32::MIN, -999_901, 999_901, i32::MAX];
const EDGE_ENERGIES: [u64; 8] = [1, 1, 2, 99, 100, 101, 3_999_999_999, 4_000_000_000];
const ILLEGAL_ENERGIES: [u64; 4] = [0, 0, 4_000_000_001, u64::MAX];

/// What the streams of a seed draw from.
struct Style {
    cast: Vec<u64>,
    prices: u64,
    energies: u64,
    min_fills: bool,
    lives: bool,
    /// Icebergs, market-to-limit, self-trade modes, client order ids.
    options: bool,
    parity: u64,
    /// How far bids reach over asks, in steps.
    eager: i32,
}

struct Source {
    dice: Dice,
    style: Style,
    /// Names each participant has used so far.
    names: BTreeMap<u64, Vec<(u64, u32)>>,
    /// What has become of the stream so far, so that replaces and cancels find orders.
    model: Model,
}

impl Source {
    fn price(&mut self, side: Side) -> i32 {
        let eager = if side == Side::Buy { self.style.eager } else { 0 };
        let dice = &mut self.dice;
        if dice.once_in(60) {
            return dice.pick(&ILLEGAL_PRICES);
        }
        match self.style.prices {
            0 => 9_998 + eager + dice.below(5) as i32,
            1 => 9_400 + 100 * (eager + dice.below(12) as i32),
            2 => dice.below(5) as i32 + eager - 2,
            3 => dice.pick(&EDGE_PRICES),
            _ => dice.below(600) as i32 + 100 * eager - 300,
        }
    }

    fn energy(&mut self) -> u64 {
        let dice = &mut self.dice;
        if dice.once_in(60) {
            return dice.pick(&ILLEGAL_ENERGIES);
        }
        match self.style.energies {
            0 => dice.pick(&EDGE_ENERGIES),
            1 => 100 * (1 + dice.below(5)),
            2 => 1 + dice.below(4),
            3 => 1 + dice.below(4_000_000_000),
            _ => 1 + dice.below(1_000),
        }
    }

    fn min_fill(&mut self, energy: u64) -> u64 {
        let dice = &mut self.dice;
        if !self.style.min_fills || dice.once_in(2) {
            return if dice.once_in(100) { energy.saturating_add(1) } else { 0 };
        }
        match dice.below(3) {
            0 => energy,
            _ => 1 + dice.below(energy.max(1)),
        }
    }

    /// Energy shown at a time: mostly a few slices of it, at times as much or more.
    fn display(&mut self, energy: u64) -> u64 {
        let dice = &mut self.dice;
        if !self.style.options || dice.once_in(2) {
            return 0;
        }
        match dice.below(6) {
            0 => energy,
            1 => energy.saturating_add(1),
            parts => energy.min(4_000_000_000).div_ceil(parts).max(1),
        }
    }

    /// Mostly above those that were accepted.
    fn client_order_id(&mut self, serial: u64) -> u64 {
        if !self.style.options || self.dice.once_in(2) {
            return 0;
        }
        let highest = self.model.people[&serial].client_order_id;
        match self.dice.below(6) {
            0 => highest,
            1 => highest.saturating_sub(1).max(1),
            2 if self.dice.once_in(20) => u64::MAX,
            step => highest.saturating_add(step),
        }
    }

    fn cap(&mut self) -> i32 {
        let dice = &mut self.dice;
        if dice.once_in(40) {
            return dice.pick(&[-2, i32::MIN, i32::MAX]);
        }
        dice.pick(&[-1, -1, -1, 0, 249, 250, 251, 400, 400, 1_000])
    }

    fn contract(&mut self) -> ContractId {
        let dice = &mut self.dice;
        if !dice.once_in(40) {
            return contract(MAIN);
        }
        dice.pick(&[contract(0), contract(MAIN - 1), contract(MAIN + 1), contract(MAIN + 9)])
    }

    fn life(&mut self) -> TimeInForce {
        let dice = &mut self.dice;
        if !self.style.lives || dice.once_in(2) {
            return TimeInForce::Gate;
        }
        dice.pick(&[
            TimeInForce::Ioc,
            TimeInForce::Fok,
            TimeInForce::PostOnly,
            TimeInForce::Until,
            TimeInForce::Until,
        ])
    }

    /// An order of its owner, or a name it has used, or one it has not.
    fn target(&mut self, serial: u64, nonce: u64) -> (u64, u32) {
        let mine = self.model.open.iter().filter(|o| o.id.participant.get() == serial);
        let mine: Vec<OrderId> = mine.map(|o| o.id).collect();
        if !mine.is_empty() && !self.dice.once_in(5) {
            let order = self.dice.pick(&mine);
            return (order.nonce, order.index);
        }
        let names = self.names.entry(serial).or_default();
        let dice = &mut self.dice;
        if names.is_empty() || dice.once_in(12) {
            return dice.pick(&[(nonce + 1, 0), (nonce + 2, 0), (nonce, 0), (nonce + 5_000, 0), (1, 0)]);
        }
        let back = dice.below(names.len().min(8) as u64) as usize;
        names[names.len() - 1 - back]
    }

    fn item(&mut self, serial: u64, nonce: u64) -> Ask {
        let contract = self.contract();
        let mut rests = self.model.open.iter().map(|o| o.id.participant.get());
        let kinds = if rests.any(|who| who == serial) { 20 } else { 60 };
        match self.dice.below(kinds) {
            0..=3 => {
                let (target_nonce, target_index) = self.target(serial, nonce);
                let old =
                    self.model.open.iter().find(|o| {
                        (o.id.participant.get(), o.id.nonce, o.id.index) == (serial, target_nonce, target_index)
                    });
                let side = old.map_or(Side::Buy, |o| o.side);
                let old = old.map(|o| (o.price as i32, o.leaves as u64));
                let (price, energy) = match old {
                    // At its price, with about its energy.
                    Some((price, wh)) if self.dice.once_in(2) => (price, wh + 1 - self.dice.below(wh + 2)),
                    _ => (self.price(side), self.energy()),
                };
                Ask::Replace(Replace {
                    contract,
                    target_nonce,
                    target_index,
                    price: Price::new(price),
                    charge_cap: self.cap(),
                    energy: Energy::new(energy),
                    min_fill: Energy::new(self.min_fill(energy)),
                    display: Energy::new(self.display(energy)),
                })
            }
            4 => {
                let (nonce, index) = self.target(serial, nonce);
                let (target_nonce, target_index) = match self.dice.below(4) {
                    0 => (0, index),
                    1 => (nonce, ALL_INDEXES),
                    _ => (nonce, index),
                };
                Ask::Cancel(Cancel {
                    contract: (!self.dice.once_in(3)).then_some(contract),
                    target_nonce,
                    target_index,
                })
            }
            _ => {
                let energy = self.energy();
                let second = self.model.now_ns / 1_000_000_000 - 1 + self.dice.below(40);
                let (_, roles, _) = CAST.into_iter().find(|who| who.0 == serial).unwrap();
                // Mostly one side each.
                let side = match roles & TRADER {
                    _ if self.dice.once_in(6) => self.dice.pick(&[Side::Buy, Side::Sell]),
                    BUYER => Side::Buy,
                    SELLER => Side::Sell,
                    _ if (serial / 2 + self.style.parity).is_multiple_of(2) => Side::Buy,
                    _ => Side::Sell,
                };
                let time_in_force = self.life();
                let options = self.style.options;
                Ask::Quote(Quote {
                    contract,
                    client_order_id: self.client_order_id(serial),
                    round: u16::from(self.dice.once_in(100)),
                    side,
                    time_in_force,
                    price: Price::new(self.price(side)),
                    charge_cap: self.cap(),
                    energy: Energy::new(energy),
                    min_fill: Energy::new(self.min_fill(energy)),
                    valid_until_s: second as u32,
                    display: Energy::new(self.display(energy)),
                    // Together they are no leaf.
                    market_to_limit: options && time_in_force != TimeInForce::PostOnly && self.dice.once_in(4),
                    self_trade: if options {
                        self.dice.pick(&SelfTrade::ALL)
                    } else {
                        SelfTrade::CancelNewest
                    },
                })
            }
        }
    }

    fn order_of_regulator(&mut self) -> Ask {
        let (on, area) = (self.dice.once_in(3), self.dice.once_in(2));
        if self.dice.once_in(2) {
            return Ask::Halt { area, on };
        }
        let serial = self.dice.pick(&self.style.cast);
        Ask::Suspend { serial, on }
    }

    fn stream(seed: u64, model: &Model, options: bool) -> Vec<Step> {
        let mut dice = Dice::new(seed);
        let mut all: Vec<u64> = CAST.iter().map(|who| who.0).collect();
        let cast = (0..2 + dice.pick(&[0, 1, 2, 3, 6, 9, 9]))
            .map(|_| all.remove(dice.below(all.len() as u64) as usize))
            .collect();
        let style = Style {
            cast,
            prices: dice.below(5),
            energies: dice.below(5),
            min_fills: dice.once_in(3),
            lives: !dice.once_in(4),
            options: options && !dice.once_in(4),
            parity: dice.below(2),
            eager: dice.pick(&[0, 2, 5, 9]),
        };
        let regulated = dice.once_in(10);
        let mut source = Self {
            dice,
            style,
            names: BTreeMap::new(),
            model: model.clone(),
        };
        let (mut steps, mut items) = (Vec::new(), 0);
        let wanted = 15 + source.dice.below(16);
        while items < wanted {
            let nonce = FIRST_NONCE + steps.len() as u64;
            if source.dice.once_in(12) {
                let ns = source
                    .dice
                    .pick(&[1, 999_999_999, 1_000_000_000, 5_000_000_000, 20_000_000_000]);
                source.model.tick(source.model.now_ns + ns);
                steps.push(Step::Tick(ns));
                continue;
            }
            if regulated && source.dice.once_in(8) {
                let order = source.order_of_regulator();
                let _ = source.model.envelope(id(REGULATOR), nonce, &[order]);
                steps.push(Step::Envelope(REGULATOR, nonce, vec![order]));
                items += 1;
                continue;
            }
            let serial = source.dice.pick(&source.style.cast);
            let nonce = match source.names.get(&serial).and_then(|names| names.last()) {
                Some(last) if source.dice.once_in(60) => last.0,
                _ => nonce,
            };
            let count = match source.dice.below(40) {
                0 => 0,
                1..=25 => 1,
                26..=33 => 2,
                _ => 3 + source.dice.below(2),
            };
            let mut asks = Vec::new();
            for index in 0..count as u32 {
                asks.push(source.item(serial, nonce));
                source.names.entry(serial).or_default().push((nonce, index));
            }
            items += count.max(1);
            let _ = source.model.envelope(id(serial), nonce, &asks);
            steps.push(Step::Envelope(serial, nonce, asks));
        }
        // The gate closes, the next one opens, and somebody comes too late.
        steps.push(Step::Tick(700_000_000_000));
        let serial = source.dice.pick(&source.style.cast);
        let nonce = FIRST_NONCE + steps.len() as u64;
        let late = vec![source.item(serial, nonce), source.item(serial, nonce)];
        steps.push(Step::Envelope(serial, nonce, late));
        steps
    }
}

// Both side by side.

fn item_of(ask: &Ask) -> Item {
    let order = |action, contract, serial| {
        Item::Order(MarketOrder {
            action,
            contract,
            participant: id(serial),
            reason: 0,
        })
    };
    let halt = |on: bool| if on { MarketAction::Halt } else { MarketAction::Resume };
    match *ask {
        Ask::Quote(quote) => Item::Quote(quote),
        Ask::Replace(replace) => Item::Replace(replace),
        Ask::Cancel(cancel) => Item::Cancel(cancel),
        Ask::Halt { area: true, on } => order(halt(on), None, 0),
        Ask::Halt { area: false, on } => order(halt(on), Some(contract(MAIN)), 0),
        Ask::Suspend { serial, on: true } => order(MarketAction::Suspend, None, serial),
        Ask::Suspend { serial, on: false } => order(MarketAction::Reinstate, None, serial),
    }
}

fn wh(energy: Energy) -> i128 {
    energy.get().into()
}

fn told(leaves: Energy, hidden: Energy) -> Told {
    let (leaves, hidden) = (wh(leaves), wh(hidden));
    Told { leaves, hidden }
}

/// The model's view of an event; `None` for what is not about orders.
fn fact_of(event: &Event, charge: i128, ordinal: &mut u64) -> Option<Fact> {
    Some(match event {
        Event::Accepted { index, .. } => Fact::Accepted(*index),
        Event::Rejected { index, reject, .. } => Fact::Rejected(*index, *reject),
        Event::Executed {
            deal,
            bid,
            ask,
            buyer_leaves,
            seller_leaves,
            buyer_hidden,
            seller_hidden,
            aggressor: Some(aggressor),
            ..
        } if deal.contract == contract(MAIN)
            && deal.ordinal == *ordinal
            && i128::from(deal.charge_ticks()) == charge =>
        {
            *ordinal += 1;
            let done = Done {
                buyer: deal.buyer,
                seller: deal.seller,
                half_ticks: deal.price.get().into(),
                wh: wh(deal.energy),
            };
            let limits = [bid.get().into(), ask.get().into()];
            let told = [told(*buyer_leaves, *buyer_hidden), told(*seller_leaves, *seller_hidden)];
            Fact::Deal(done, limits, told, *aggressor)
        }
        Event::Opened {
            order,
            side,
            price,
            leaves,
            hidden,
            ..
        } => Fact::Opened(*order, *side, price.get().into(), told(*leaves, *hidden)),
        Event::Reduced {
            order,
            was,
            price,
            leaves,
            hidden,
            ..
        } => Fact::Reduced(*order, *was, price.get().into(), told(*leaves, *hidden)),
        Event::Closed {
            order,
            price,
            leaves,
            hidden,
            reason,
            resting,
            ..
        } => Fact::Closed(*order, price.get().into(), told(*leaves, *hidden), *reason, *resting),
        Event::Unmatched {
            order,
            side,
            leaves,
            reason,
            ..
        } => Fact::Unmatched(*order, *side, wh(*leaves), *reason),
        Event::Ticked { .. }
        | Event::PhaseChanged { .. }
        | Event::Ranked { .. }
        | Event::Cep { .. }
        | Event::VolatilityAlarm { .. }
        | Event::MarketHalted { .. }
        | Event::MarketResumed { .. }
        | Event::Suspension { .. } => return None,
        other => Fact::Else(format!("{other:?}")),
    })
}

/// How often each thing happened, so that the streams are known to reach it.
type Coverage = BTreeMap<String, u64>;

struct Pair {
    market: Market,
    model: Model,
    seq: u64,
    ordinal: u64,
}

impl Pair {
    fn new(prepared: &Prepared) -> Self {
        Self {
            market: prepared.market.clone(),
            model: prepared.model.clone(),
            seq: prepared.seq,
            ordinal: 0,
        }
    }

    fn step(&mut self, step: &Step) -> (Result<Vec<Fact>, Reject>, Result<Vec<Fact>, Reject>) {
        let (want, command) = match step {
            Step::Envelope(serial, nonce, asks) => {
                let want = self.model.envelope(id(*serial), *nonce, asks);
                let items = asks.iter().map(item_of).collect();
                let envelope = envelope_of(&self.market, id(*serial), *nonce, items);
                (want, Command::Envelope(envelope))
            }
            Step::Tick(ns) => {
                let now = self.model.now_ns + ns;
                (Ok(self.model.tick(now)), Command::Tick(TimeNs::new(now)))
            }
        };
        let got = self.market.apply(self.seq + 1, &command);
        self.seq += u64::from(got.is_ok());
        let charge = self.model.rules.charge;
        let ordinal = &mut self.ordinal;
        let facts = |events: Vec<Event>| events.iter().filter_map(|e| fact_of(e, charge, ordinal)).collect();
        (want, got.map(facts).map_err(|refusal| refusal.reject))
    }

    /// What the two hold must be the same.
    fn compare(&self) -> Result<(), String> {
        let state = self.market.state();
        let fast = &state.contracts[&contract(MAIN)];
        for side in [Side::Buy, Side::Sell] {
            let mut want = self.model.queue(side);
            // What an order shows at a time matters while it hides something.
            want.iter_mut()
                .filter(|o| o.shown == o.leaves)
                .for_each(|o| o.display = 0);
            let got: Vec<Open> = fast
                .book
                .side(side)
                .zip(want.iter().map(|o| o.place).chain(std::iter::repeat(0)))
                .map(|(o, place)| Open {
                    id: o.id,
                    side: o.side,
                    price: o.price.get().into(),
                    cap: o.charge_cap.into(),
                    leaves: wh(o.leaves),
                    shown: wh(o.shown),
                    display: if o.hidden().is_zero() { 0 } else { wh(o.display) },
                    self_trade: o.self_trade,
                    min_fill: wh(o.min_fill),
                    life: o.time_in_force,
                    until_s: (o.valid_until.get() / 1_000_000_000) as u32,
                    place,
                })
                .collect();
            if got != want {
                return Err(format!("{side:?} queue: the model has {want:?}\nthe market {got:?}"));
            }
        }
        let until = |o: &&Open| o.life == TimeInForce::Until;
        let ends = |o: &Open| (TimeNs::from_secs(o.until_s.into()), o.id);
        let want: BTreeSet<(TimeNs, OrderId)> = self.model.open.iter().filter(until).map(ends).collect();
        if fast.expiries != want {
            return Err(format!("expiries: {want:?}, in the market {:?}", fast.expiries));
        }
        for serial in self.model.people.keys() {
            let who = id(*serial);
            let account = state.accounts.get(who).unwrap();
            let got = [account.free, account.reserved, account.escrow].map(|m| i128::from(m.get()));
            let want = self.model.money(who);
            if got != want || account.bonds.get() != 0 {
                return Err(format!(
                    "free, reserved, escrow of {who}: {want:?}, in the market {got:?}"
                ));
            }
            let position = fast.position(state.accounts.index(who).unwrap());
            let got = [position.sold, position.bought, position.open_asks].map(wh);
            let want = self.model.energy(who);
            if got != want {
                return Err(format!("sold, bought, asked by {who}: {want:?}, in the market {got:?}"));
            }
            let want = [Side::Buy, Side::Sell].map(|side| self.model.entered(who, side));
            if position.entered != want {
                return Err(format!("entered by {who}: {want:?}"));
            }
        }
        let (want, got) = (self.model.low(), fast.low.map(|low| i128::from(low.get())));
        if got != want || fast.deals.len() != self.model.done.len() {
            return Err(format!("lowest price: {want:?}, in the market {got:?}"));
        }
        Ok(())
    }
}

/// Counts what a step did.
fn cover(model: &mut Model, facts: &Result<Vec<Fact>, Reject>, coverage: &mut Coverage) {
    let mut count = |what: String| *coverage.entry(what).or_default() += 1;
    let passed_over = core::mem::take(&mut model.passed_over);
    let rules = &model.rules;
    for _ in 0..passed_over {
        count(format!("passed over {:?}", rules.range));
    }
    let facts = match facts {
        Ok(facts) => facts,
        Err(reject) => return count(format!("refused {reject:?}")),
    };
    let mut swept = 0;
    let slices = |id: &OrderId| {
        facts
            .iter()
            .filter(|f| matches!(f, Fact::Opened(o, ..) if o == id))
            .count()
    };
    for (i, fact) in facts.iter().enumerate() {
        match fact {
            Fact::Accepted(_) => swept = 0,
            Fact::Rejected(_, reject) => count(format!("reject {reject:?}")),
            Fact::Deal(deal, limits, leaves, _) => {
                swept += 1;
                if swept == 2 {
                    count("sweep of several".into());
                }
                count(format!("deal {:?} {:?}", rules.range, rules.price));
                if rules.all_in && rules.charge > 0 {
                    count("deal all-in".into());
                }
                if deal.half_ticks < 0 {
                    count("deal below zero".into());
                }
                if deal.half_ticks % 2 != 0 {
                    count("deal at half a tick".into());
                }
                if leaves.iter().any(|told| told.leaves == 0 && told.hidden > 0) {
                    count("deal with the last of a slice".into());
                }
                if rules.price != DealPriceRule::Uniform && limits[0] == limits[1] {
                    count("deal at one price".into());
                }
                if deal.wh > 1_000_000_000 {
                    count("deal of GWh".into());
                }
                let (buyer, seller) = (deal.buyer.participant, deal.seller.participant);
                if model.affiliated(buyer, seller, true) {
                    count("deal in a group, affiliation off".into());
                }
            }
            Fact::Opened(id, _, _, told) => {
                count("opened".into());
                if told.hidden > 0 {
                    count("opened with more behind".into());
                }
                if slices(id) > 1 {
                    count("several slices by one record".into());
                }
            }
            Fact::Reduced(id, was, _, told) => {
                let what = if id == was { "decremented" } else { "reduced" };
                count(what.into());
                if told.hidden > 0 {
                    count(format!("{what} with more behind"));
                }
            }
            Fact::Closed(_, _, _, reason, rested) => {
                let where_ = if *rested { "book" } else { "hand" };
                count(format!("closed in {where_} {reason:?}"));
                if matches!(facts.get(i + 1), Some(Fact::Deal(..))) {
                    count("replaced and swept".into());
                }
            }
            Fact::Unmatched(_, _, _, reason) => {
                count(format!("unmatched {reason:?}"));
            }
            Fact::Else(_) => {}
        }
    }
}

/// Facts, one a line.
fn lines(facts: &Result<Vec<Fact>, Reject>) -> String {
    match facts {
        Ok(facts) => facts.iter().map(|fact| format!("\n    {fact:?}")).collect(),
        Err(reject) => format!(" refused {reject:?}"),
    }
}

/// A stream, one item a line.
fn script(steps: &[Step]) -> String {
    let mut text = String::new();
    for (i, step) in steps.iter().enumerate() {
        match step {
            Step::Tick(ns) => text += &format!("\nstep {i}: {ns} ns later"),
            Step::Envelope(serial, nonce, asks) => {
                text += &format!("\nstep {i}: participant {serial}, nonce {nonce}");
                for (index, ask) in asks.iter().enumerate() {
                    text += &format!("\n    {index} {ask:?}");
                }
            }
        }
    }
    text
}

fn run(prepared: &Prepared, steps: &[Step], coverage: &mut Coverage, roots: bool) -> Result<(), String> {
    let mut pair = Pair::new(prepared);
    for (i, step) in steps.iter().enumerate() {
        let (want, got) = pair.step(step);
        if want != got {
            return Err(format!(
                "step {i}\nthe model:{}\nthe market:{}",
                lines(&want),
                lines(&got)
            ));
        }
        pair.compare().map_err(|what| format!("step {i}\n{what}"))?;
        cover(&mut pair.model, &got, coverage);
    }
    // Money and energy over everything, and the marks of changed pages.
    pair.market.end_block(2);
    if roots && pair.market.root() != pair.market.state().root_from_scratch() {
        return Err("a page was changed without a mark".into());
    }
    Ok(())
}

/// Runs a stream; a panic of the core is a failure like any other.
fn check(prepared: &Prepared, steps: &[Step], coverage: &mut Coverage, roots: bool) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(prepared, steps, coverage, roots))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// The shortest stream found by leaving out steps, then items, that still fails.
fn shrunk(prepared: &Prepared, steps: &[Step]) -> (Vec<Step>, String) {
    let mut best = steps.to_vec();
    let fails = |steps: &[Step]| check(prepared, steps, &mut Coverage::new(), true).err();
    let mut why = fails(&best).expect("it failed before");
    let mut chunk = best.len();
    while chunk > 0 {
        let mut from = 0;
        while from < best.len() {
            let mut shorter = best.clone();
            shorter.drain(from..(from + chunk).min(best.len()));
            match fails(&shorter) {
                Some(what) => (best, why) = (shorter, what),
                None => from += chunk,
            }
        }
        chunk /= 2;
    }
    for step in 0..best.len() {
        let mut item = 0;
        loop {
            let mut shorter = best.clone();
            match &mut shorter[step] {
                Step::Envelope(_, _, asks) if item < asks.len() => asks.remove(item),
                _ => break,
            };
            match fails(&shorter) {
                Some(what) => (best, why) = (shorter, what),
                None => item += 1,
            }
        }
    }
    (best, why)
}

/// What the streams must reach, and how often at least.
const REACHED: [(&str, u64); 49] = [
    ("refused BadCount", 500),
    ("refused Duplicate", 500),
    ("refused Suspended", 200),
    ("reject RoleMissing", 500),
    ("reject UnknownContract", 500),
    ("reject GateClosed", 500),
    ("reject Halted", 200),
    ("reject NotInPhase", 50),
    ("reject WrongRound", 200),
    ("reject PriceOutOfBounds", 500),
    ("reject EnergyZero", 500),
    ("reject EnergyOutOfBounds", 500),
    ("reject ChargeCapOutOfBounds", 500),
    ("reject MinFillOutOfBounds", 200),
    ("reject NotionalTooLarge", 50),
    ("reject ConcessionViolated", 500),
    ("reject BidBelowFloor", 200),
    ("reject CapacityExceeded", 500),
    ("reject NoBalance", 500),
    ("reject UnknownOrder", 500),
    ("reject WouldCross", 500),
    ("reject ValidUntilPast", 200),
    ("closed in book Cancelled", 500),
    ("closed in book Replaced", 500),
    ("closed in book Expired", 200),
    ("closed in book GateClosed", 500),
    ("closed in book Suspended", 100),
    ("closed in hand ImmediateOrCancel", 500),
    ("closed in hand FillOrKill", 500),
    ("closed in hand SelfTrade", 500),
    ("unmatched NoCounterparty", 500),
    ("unmatched ChargeCap", 200),
    ("unmatched PriceNotMet", 500),
    ("unmatched OutOfRange", 200),
    ("unmatched SelfTrade", 500),
    ("unmatched Exhausted", 500),
    ("passed over Own", 200),
    ("passed over Counterparty", 200),
    ("passed over Mutual", 200),
    ("passed over Either", 50),
    ("opened", 5_000),
    ("reduced", 300),
    ("replaced and swept", 300),
    ("sweep of several", 500),
    ("deal all-in", 500),
    ("deal below zero", 500),
    ("deal at half a tick", 500),
    ("deal of GWh", 200),
    ("deal in a group, affiliation off", 100),
];

#[test]
fn the_market_trades_as_the_flat_model_does() {
    let prepared: Vec<Prepared> = (0..SETS).map(Prepared::new).collect();
    let mut coverage = Coverage::new();
    for (seed, options) in (0..STREAMS).flat_map(|seed| [(seed, false), (seed, true)]) {
        let prepared = &prepared[(seed % SETS) as usize];
        let steps = Source::stream(seed, &prepared.model, options);
        if check(prepared, &steps, &mut coverage, seed % 8 == 0).is_err() {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(|_| {}));
            let (steps, why) = shrunk(prepared, &steps);
            std::panic::set_hook(hook);
            panic!(
                "seed {seed}, options {options}, {}{}\n{why}",
                prepared.describe,
                script(&steps)
            );
        }
    }
    let of = |what: &str| coverage.get(what).copied().unwrap_or(0);
    let deals = RangeMode::ALL
        .iter()
        .flat_map(|range| DealPriceRule::ALL.map(|price| format!("deal {range:?} {price:?}")));
    let reached = REACHED
        .iter()
        .chain(&REACHED_WITH_OPTIONS)
        .map(|(what, least)| ((*what).to_owned(), *least))
        .chain(deals.map(|what| (what, 400)));
    let missed: Vec<_> = reached.filter(|(what, least)| of(what) < *least).collect();
    assert!(missed.is_empty(), "the streams miss {missed:?} of {coverage:#?}");
}

/// What streams with options must reach besides, and how often at least.
const REACHED_WITH_OPTIONS: [(&str, u64); 13] = [
    ("reject ClientOrderIdUsed", 500),
    ("reject WouldCross", 500),
    ("closed in book SelfTrade", 500),
    ("closed in hand SelfTrade", 500),
    ("closed in hand NoMarket", 500),
    ("closed in hand FillOrKill", 500),
    ("opened with more behind", 500),
    ("several slices by one record", 500),
    ("deal with the last of a slice", 500),
    ("decremented", 200),
    ("decremented with more behind", 200),
    ("reduced with more behind", 50),
    ("replaced and swept", 300),
];

/// The model alone, on what the streams draw with every option.
#[test]
fn streams_with_options_reach_every_corner() {
    let prepared: Vec<Prepared> = (0..SETS).map(Prepared::new).collect();
    let mut coverage = Coverage::new();
    for seed in 0..STREAMS {
        let prepared = &prepared[(seed % SETS) as usize];
        let mut model = prepared.model.clone();
        for step in Source::stream(seed, &prepared.model, true) {
            let facts = match &step {
                Step::Envelope(serial, nonce, asks) => model.envelope(id(*serial), *nonce, asks),
                Step::Tick(ns) => Ok(model.tick(model.now_ns + ns)),
            };
            cover(&mut model, &facts, &mut coverage);
            for order in &model.open {
                let slice = if order.display == 0 {
                    order.leaves
                } else {
                    order.display
                };
                assert!(0 < order.shown && order.shown <= order.leaves.min(slice), "{order:?}");
            }
            for serial in model.people.keys() {
                let [_, reserved, escrow] = model.money(id(*serial));
                assert!(reserved >= 0 && escrow >= 0, "{serial} after {step:?}");
            }
        }
    }
    let of = |what: &str| coverage.get(what).copied().unwrap_or(0);
    let missed: Vec<_> = REACHED_WITH_OPTIONS
        .iter()
        .filter(|(what, least)| of(what) < *least)
        .collect();
    assert!(missed.is_empty(), "the streams miss {missed:?} of {coverage:#?}");
}
