//! A storm of random commands, nonsense included, over several contracts, groups and parameters.

use crate::support::{self, AMPLE, Dice, GRID, METERS, REGULATOR, Rig, TRADER, account, contract, seal, time};
use std::collections::BTreeMap;
use wattbook_types::command::{
    ALL_INDEXES, Cancel, Configure, GridSignature, MarketAction, MarketOrder, Rate, Reading, Replace, Seal,
};
use wattbook_types::{
    Command, ContractId, Energy, Envelope, Event, Hash, Item, Meter, MeterKind, OrderId, Param, Price, Quote, Reject,
    Reveal, SelfTrade, Side, TimeInForce, TimeNs,
};

const STEPS: u64 = 700;

const PRICES: [i32; 14] = [
    i32::MIN,
    -999_901,
    -999_900,
    -12_310,
    -250,
    -1,
    0,
    1,
    250,
    12_310,
    28_800,
    999_900,
    999_901,
    i32::MAX,
];
const ENERGIES: [u64; 12] = [
    0,
    1,
    2,
    99,
    100,
    101,
    1_000,
    50_000,
    4_000_000_000,
    4_000_000_001,
    6_842_600_000,
    u64::MAX,
];

/// A market, and dice that say what happens to it.
pub(crate) struct Storm {
    pub(crate) rig: Rig,
    dice: Dice,
    /// Next nonce by account.
    nonces: BTreeMap<u64, u64>,
    orders: Vec<(ContractId, OrderId)>,
    reveals: Vec<Reveal>,
    deals: Vec<Hash>,
    sealed: Vec<GridSignature>,
    pub(crate) refused: BTreeMap<Reject, u64>,
    people: u64,
}

impl Storm {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let d = &mut dice;
        let mut set = vec![
            (Param::Range, d.below(5) as i64),
            (Param::DealPrice, d.below(4) as i64),
            (Param::AllInBids, i64::from(d.once_in(3))),
            (Param::Concession, i64::from(d.once_in(2))),
            (Param::Affiliation, i64::from(!d.once_in(3))),
            (Param::Floor, d.below(3) as i64),
            (Param::Rating, d.below(2) as i64),
            (Param::CepAdaptive, d.below(2) as i64),
            (Param::CounterpartyShare, d.below(2) as i64),
            (Param::CepDeals, d.pick(&[1, 2, 50, 1_000])),
            (Param::Window, d.pick(&[1, 2, 30])),
            (Param::EpochCycles, d.pick(&[1, 2, 96])),
            (Param::CleanMintCap, d.pick(&[0, 1_000_000, 100_000_000_000_000])),
            (Param::PenaltyRate, d.pick(&[0, 5_000, 5_000, 1_000_000])),
            (Param::Congestion, d.pick(&[0, 0, 50, 100])),
            (
                Param::RegistrationMint,
                d.pick(&[20_000_000, 20_000_000_000, 1_000_000_000_000_000]),
            ),
            (Param::BondUnit, d.pick(&[0, 1_000_000, 1_000_000_000])),
            (Param::CountersignS, d.pick(&[1, 60, 600])),
        ];
        if d.once_in(4) {
            set.extend([
                (Param::PriceBound, i64::from(i32::MAX)),
                (Param::EnergyMax, 4_294_967_295),
            ]);
        }
        if d.once_in(5) {
            set.extend([(Param::Retail, -1_000), (Param::FeedIn, -2_000)]);
        }
        let mut rig = Rig::new(&set, 0);
        let people = 3 + d.below(8);
        for serial in 11..11 + people {
            let mut member = account(serial, TRADER, d.pick(&[1_000, 100_000, AMPLE]));
            member.roles = wattbook_types::Roles::from_bits(d.pick(&[1, 2, 3, 3, 3, 3]));
            if d.once_in(3) {
                member.group = Hash([d.below(3) as u8; 32]);
            }
            if d.once_in(15) {
                member.not_after = time(d.below(4_000) as i64 - 1_300);
            }
            rig.register(member);
        }
        Self {
            rig,
            dice,
            nonces: BTreeMap::new(),
            orders: Vec::new(),
            reveals: Vec::new(),
            deals: Vec::new(),
            sealed: Vec::new(),
            refused: BTreeMap::new(),
            people,
        }
    }

    fn somebody(&mut self) -> u64 {
        if self.dice.once_in(12) {
            return self.dice.pick(&[0, REGULATOR, GRID, GRID, GRID, METERS, 99]);
        }
        11 + self.dice.below(self.people)
    }

    /// A contract, most often one that is open.
    fn some_contract(&mut self) -> ContractId {
        let open: Vec<ContractId> = self.rig.market.state().contracts.keys().copied().collect();
        if open.is_empty() || self.dice.once_in(20) {
            return self
                .dice
                .pick(&[contract(0), contract(3), contract(500), ContractId::from_raw(0)]);
        }
        if self.dice.once_in(8) {
            return open[self.dice.below(open.len() as u64) as usize];
        }
        open[open.len() - 1]
    }

    fn quote(&mut self) -> Quote {
        let d = &mut self.dice;
        let price = match d.below(5) {
            0 => d.pick(&PRICES),
            _ => 9_000 + 100 * d.below(12) as i32,
        };
        let energy = if d.once_in(5) {
            d.pick(&ENERGIES)
        } else {
            1 + d.below(400)
        };
        let tifs = [
            TimeInForce::Gate,
            TimeInForce::Ioc,
            TimeInForce::Fok,
            TimeInForce::PostOnly,
            TimeInForce::Until,
        ];
        let now = (self.rig.market.state().time.get() / 1_000_000_000) as u32;
        let mut quote = Quote {
            contract: ContractId::from_raw(0),
            // Ascending, but for those drawn within the same few seconds.
            client_order_id: if d.once_in(3) {
                u64::from(now) * 8 + d.below(64)
            } else {
                0
            },
            round: u16::from(d.once_in(50)),
            side: if d.once_in(2) { Side::Buy } else { Side::Sell },
            time_in_force: if d.once_in(2) { TimeInForce::Gate } else { d.pick(&tifs) },
            price: Price::new(price),
            charge_cap: d.pick(&[-1, -1, -1, 0, 250, 400, -2, i32::MAX]),
            energy: Energy::new(energy),
            min_fill: Energy::new(if d.once_in(4) { d.below(energy.clamp(1, 300)) } else { 0 }),
            valid_until_s: (now + d.below(600) as u32).saturating_sub(20),
            display: Energy::new(if d.once_in(4) { d.below(energy.clamp(1, 120)) } else { 0 }),
            market_to_limit: d.once_in(8),
            self_trade: d.pick(&SelfTrade::ALL),
        };
        quote.contract = self.some_contract();
        quote
    }

    fn some_order(&mut self) -> (ContractId, OrderId) {
        let n = self.orders.len() as u64;
        if n == 0 || self.dice.once_in(10) {
            let name = OrderId {
                participant: support::id(11),
                nonce: self.dice.below(2_000),
                index: self.dice.below(3) as u32,
            };
            return (self.some_contract(), name);
        }
        // The latest are the likeliest to live.
        let back = self.dice.below(n.min(12));
        self.orders[(n - 1 - back) as usize]
    }

    fn item(&mut self, serial: u64) -> Item {
        match self.dice.below(40) {
            0..=16 => Item::Quote(self.quote()),
            17..=20 => {
                let (contract, name) = self.some_order();
                Item::Cancel(Cancel {
                    contract: (!self.dice.once_in(4)).then_some(contract),
                    target_nonce: if self.dice.once_in(6) { 0 } else { name.nonce },
                    target_index: if self.dice.once_in(3) { ALL_INDEXES } else { name.index },
                })
            }
            21..=25 => {
                let ((contract, name), quote) = (self.some_order(), self.quote());
                Item::Replace(Replace {
                    contract,
                    target_nonce: name.nonce,
                    target_index: name.index,
                    price: quote.price,
                    charge_cap: quote.charge_cap,
                    energy: quote.energy,
                    min_fill: quote.min_fill,
                    display: Energy::ZERO,
                })
            }
            26..=31 => self.seal(serial),
            32 | 33 => Item::Rate(Rate {
                deal_id: if self.deals.is_empty() || self.dice.once_in(5) {
                    Hash::ZERO
                } else {
                    self.deals[self.dice.below(self.deals.len() as u64) as usize]
                },
                good: self.dice.once_in(2),
            }),
            34 => Item::Refused(Reject::NotEnabled),
            35 => Item::Grid(self.sealed.last().copied().unwrap_or(GridSignature {
                height: 0,
                deals_digest: Hash::ZERO,
            })),
            36 => self.reading(),
            37 if self.dice.once_in(3) => self.configure(),
            38 if self.dice.once_in(2) => self.order(),
            _ => Item::Quote(self.quote()),
        }
    }

    fn seal(&mut self, serial: u64) -> Item {
        let id = self.some_contract();
        let known = self.rig.market.state().contracts.get(&id);
        let round = known.map_or(1, |c| c.round) + u16::from(self.dice.once_in(20));
        let quotes: Vec<Quote> = (0..self.dice.below(5))
            .map(|_| Quote {
                contract: id,
                ..self.quote()
            })
            .collect();
        let n = id.period().saturating_sub(support::PERIOD);
        let reveal = support::reveal(serial, n, round, self.dice.below(256) as u8, &quotes);
        let reveal = Reveal { contract: id, ..reveal };
        let class = self.dice.pick(&[0, 0, 3, 6, 10, 16, 17, 255]);
        let item = seal(&reveal, class);
        if !self.dice.once_in(6) {
            self.reveals.push(reveal);
        }
        match item {
            Item::Seal(seal) if self.dice.once_in(30) => Item::Seal(Seal {
                commitment: Hash::ZERO,
                ..seal
            }),
            item => item,
        }
    }

    fn reading(&mut self) -> Item {
        let serial = 11 + self.dice.below(self.people + 1);
        let contracts = &self.rig.market.state().contracts;
        let period = contracts.keys().next().map_or(0, |id| id.period());
        let (side, wh) = (self.dice.below(2), self.dice.pick(&[0, 10, 100, 400, 1_000, 1_001]));
        Item::Meter(Reading {
            meter: 10 * serial + side,
            period: if self.dice.once_in(20) { u32::MAX } else { period },
            revision: self.dice.below(3) as u32,
            import: Energy::new(if side == 0 { wh } else { 0 }),
            export: Energy::new(if side == 1 { wh } else { 0 }),
        })
    }

    fn configure(&mut self) -> Item {
        // The timetable stays, so that a storm meets every phase; everything else may change.
        let param = self.dice.below(50) as u32;
        let value = match Param::from_id(param) {
            Some(p) if (p as u32) < Param::GateOpenS as u32 => {
                let (min, max) = p.bounds();
                self.dice.pick(&[
                    p.default_value(),
                    p.default_value(),
                    min,
                    max.min(1_000_000_000_000),
                    max + 1,
                ])
            }
            _ => -1,
        };
        Item::Configure(Configure { param, value })
    }

    fn order(&mut self) -> Item {
        let actions = [
            MarketAction::Halt,
            MarketAction::Resume,
            MarketAction::Suspend,
            MarketAction::Reinstate,
        ];
        let action = self.dice.pick(&actions);
        let id = self.some_contract();
        Item::Order(MarketOrder {
            action,
            contract: self.dice.once_in(2).then_some(id),
            participant: support::id(11 + self.dice.below(self.people + 1)),
            reason: 0,
        })
    }

    fn envelope(&mut self) -> Envelope {
        let mut serial = self.somebody();
        let items = (0..1 + self.dice.below(4))
            .map(|_| {
                let item = self.item(serial);
                // Whose leaf it is, mostly; what stands beside it is refused for its role.
                if !self.dice.once_in(10) {
                    match &item {
                        Item::Grid(_) => serial = GRID,
                        Item::Meter(_) => serial = METERS,
                        Item::Configure(_) | Item::Order(_) => serial = REGULATOR,
                        _ => {}
                    }
                }
                item
            })
            .collect();
        let next = self.nonces.entry(serial).or_insert(0);
        *next += 1;
        let nonce = match self.dice.below(30) {
            0 => self.dice.below(2_000),
            1 => *next + 3,
            _ => *next,
        };
        let now = self.rig.market.state().time;
        Envelope {
            participant: support::id(serial),
            key_version: if self.dice.once_in(60) { 2 } else { 1 },
            nonce,
            not_after: if self.dice.once_in(60) {
                TimeNs::ZERO
            } else {
                now.plus_secs(60)
            },
            items,
        }
    }

    fn command(&mut self) -> Command {
        match self.dice.below(20) {
            0..=2 => {
                let seconds = match self.dice.below(40) {
                    0 => 0,
                    1 => self.dice.below(3_000),
                    2..=6 => self.dice.below(300),
                    _ => 1 + self.dice.below(20),
                };
                let now = self.rig.market.state().time;
                Command::Tick(TimeNs::new(now.get() + seconds * 1_000_000_000 + self.dice.below(2)))
            }
            3..=5 if !self.reveals.is_empty() => {
                let latest = self.reveals.len().min(6) as u64;
                let at = self.reveals.len() - 1 - self.dice.below(latest) as usize;
                let mut reveal = self.reveals[at].clone();
                match self.dice.below(12) {
                    0 => reveal.commitment = Hash([9; 32]),
                    1 => reveal.round += 1,
                    2 => reveal.participant = support::id(12),
                    _ => {}
                }
                Command::Reveal(reveal)
            }
            7 if self.dice.once_in(4) => {
                let serial = 11 + self.dice.below(40);
                let mut member = account(serial, self.dice.below(256) as u32, 1_000);
                if self.dice.once_in(3) {
                    member.meters.push(Meter {
                        meter: self.dice.below(1_000),
                        import_cap: Energy::new(u64::MAX),
                        export_cap: Energy::new(u64::MAX),
                        kind: MeterKind::Grid,
                    });
                }
                Command::Register(member)
            }
            _ => Command::Envelope(self.envelope()),
        }
    }

    fn note(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Opened { order, contract, .. } | Event::Reduced { order, contract, .. } => {
                    self.orders.push((*contract, *order));
                }
                Event::Executed { deal_id, .. } => self.deals.push(*deal_id),
                Event::DealsSealed {
                    height, deals_digest, ..
                } => self.sealed.push(GridSignature {
                    height: *height,
                    deals_digest: *deals_digest,
                }),
                Event::Rejected { reject, .. } | Event::QuoteVoided { reject, .. } => {
                    *self.refused.entry(*reject).or_default() += 1;
                }
                _ => {}
            }
        }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..STEPS {
            let command = self.command();
            match self.rig.apply(command) {
                Ok(events) => self.note(&events),
                Err(refusal) => *self.refused.entry(refusal.reject).or_default() += 1,
            }
            if self.dice.once_in(6) {
                let events = self.rig.end_block();
                self.note(&events);
                // Most deals are signed.
                if !self.dice.once_in(4) {
                    for signature in core::mem::take(&mut self.sealed) {
                        let nonce = self.nonces.entry(GRID).or_insert(0);
                        *nonce += 1;
                        let envelope = Envelope {
                            participant: support::id(GRID),
                            key_version: 1,
                            nonce: *nonce,
                            not_after: self.rig.market.state().time,
                            items: vec![Item::Grid(signature)],
                        };
                        if let Ok(events) = self.rig.apply(Command::Envelope(envelope)) {
                            self.note(&events);
                        }
                    }
                }
            }
        }
        // Everything ends: every contract is closed and everything held is free again.
        let end = self.rig.market.state().time.plus_secs(10_000);
        self.rig.apply(Command::Tick(end)).expect("time moves on");
        self.rig.end_block();
        let state = self.rig.market.state();
        assert_eq!(state.money_held(), state.supply.outstanding());
        for contract in state.contracts.values() {
            self.check(contract);
        }
    }

    /// What holds of a contract between commands.
    fn check(&self, contract: &wattbook_market::contract::Contract) {
        let mut open: BTreeMap<u64, u64> = BTreeMap::new();
        for order in contract.book.side(Side::Sell) {
            *open.entry(order.id.participant.get()).or_default() += order.leaves.get();
        }
        let accounts = &self.rig.market.state().accounts;
        for (at, position) in contract.positions() {
            let who = accounts.id(at);
            assert_eq!(position.open_asks.get(), open.get(&who.get()).copied().unwrap_or(0));
        }
        for (_, name) in &contract.expiries {
            assert!(contract.book.get(name).is_some(), "an expiry of an order that is gone");
        }
    }
}
