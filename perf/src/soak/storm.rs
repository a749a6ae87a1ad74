//! Storms: random commands to a market, nonsense included, over several contracts and every mode.

use super::dice::Dice;
use super::seeds::within_bounds;
use std::collections::BTreeMap;
use wattbook_market::{Genesis, Market};
use wattbook_types::command::{
    ALL_INDEXES, Cancel, Configure, GridSignature, MarketAction, MarketOrder, Rate, Reading, Replace, Seal,
};
use wattbook_types::{
    ChainId, Command, ContractId, Deal, Energy, Envelope, Event, Hash, Item, Meter, MeterKind, OrderId, Param, Params,
    ParticipantId, Phase, Price, Quote, Registration, Reject, Reveal, Roles, SelfTrade, Side, TimeInForce, TimeNs,
    sha256,
};

const REGULATOR: u64 = 1;
const GRID: u64 = 2;
const METERS: u64 = 3;
/// The first trader.
const FIRST: u64 = 11;
/// First delivery period.
const PERIOD: u32 = 1_628_736;
/// Energy nobody runs out of, Wh.
const AMPLE: u64 = 1 << 40;
/// Orders, deals and reveals that a storm remembers.
const MEMORY: usize = 64;

const PRICES: [i32; 10] = [
    i32::MIN,
    -999_901,
    -999_900,
    -250,
    -1,
    0,
    12_310,
    999_900,
    999_901,
    i32::MAX,
];
const ENERGIES: [u64; 9] = [
    0,
    1,
    99,
    100,
    4_000_000_000,
    4_000_000_001,
    u32::MAX as u64,
    1 << 50,
    u64::MAX,
];

/// Parameters whose extremes would silence everybody; they stay.
const THROTTLES: [Param; 8] = [
    Param::BondClassMin,
    Param::RegistrationMintCap,
    Param::MinLot,
    Param::TtlS,
    Param::LeavesMax,
    Param::ItemsPerBlock,
    Param::EnergyMin,
    Param::EnergyMax,
];

/// Whether a storm may change a parameter: what would silence everybody stays, and so does the timetable, so that a
/// storm meets every phase.
fn may_change(param: Param) -> bool {
    (param as u32) < Param::GateOpenS as u32 && !THROTTLES.contains(&param)
}

/// One thing done to a market.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A command, taken or refused.
    Command(Box<Command>),
    /// The end of a block.
    EndBlock,
}

/// An order that stood in a book.
#[derive(Clone, Copy)]
struct Resting {
    contract: ContractId,
    id: OrderId,
    price: Price,
    leaves: Energy,
}

/// A storm as it blows.
struct Storm<'a> {
    market: Market,
    dice: Dice,
    steps: &'a mut Vec<Step>,
    seq: u64,
    height: u64,
    people: u64,
    nonces: BTreeMap<u64, u64>,
    orders: Vec<Resting>,
    reveals: Vec<Reveal>,
    deals: Vec<(Hash, Deal)>,
    sealed: Vec<GridSignature>,
}

const fn id(serial: u64) -> ParticipantId {
    ParticipantId::new(serial)
}

const fn contract(n: u32) -> ContractId {
    ContractId::new(PERIOD + n, ContractId::PRODUCT_QUARTER_HOUR, 1)
}

fn account(serial: u64, roles: u32, capacity: u64) -> Registration {
    let mut public_key = [0; 96];
    public_key[..8].copy_from_slice(&serial.to_le_bytes());
    let meter = |meter, import, export, kind| Meter {
        meter,
        import_cap: Energy::new(import),
        export_cap: Energy::new(export),
        kind,
    };
    let meters = match Roles::from_bits(roles).trades() {
        false => Vec::new(),
        true if serial == GRID => vec![meter(10 * serial, capacity, capacity, MeterKind::Grid)],
        true => vec![
            meter(10 * serial, capacity, 0, MeterKind::Load),
            meter(10 * serial + 1, 0, capacity, MeterKind::CleanGeneration),
        ],
    };
    Registration {
        roles: Roles::from_bits(roles),
        flags: 0,
        participant: id(serial),
        not_after: TimeNs::new(u64::MAX),
        public_key,
        session_spki: Hash::ZERO,
        group: Hash::ZERO,
        meters_root: Hash::ZERO,
        meters,
    }
}

/// The genesis of a storm; a wild one has parameters anywhere within their bounds.
pub(crate) fn genesis(dice: &mut Dice, wild: bool) -> Genesis {
    let mut params = Params::default();
    let modes = [
        (Param::Range, dice.below(5)),
        (Param::DealPrice, dice.below(4)),
        (Param::AllInBids, u64::from(dice.once_in(3))),
        (Param::Concession, dice.below(2)),
        (Param::Affiliation, dice.below(2)),
        (Param::Floor, dice.below(3)),
        (Param::Rating, dice.below(2)),
        (Param::CepAdaptive, dice.below(2)),
        (Param::CounterpartyShare, dice.below(2)),
        (Param::CepDeals, dice.pick(&[1, 2, 50, 1_000])),
        (Param::Window, dice.pick(&[1, 2, 30])),
        (Param::EpochCycles, dice.pick(&[1, 2, 96])),
        (
            Param::RegistrationMint,
            dice.pick(&[20_000_000, 20_000_000_000, 1_000_000_000_000_000]),
        ),
        (Param::BondUnit, dice.pick(&[0, 1_000_000, 1_000_000_000])),
        (Param::CountersignS, dice.pick(&[1, 60, 600])),
    ];
    for (param, value) in modes {
        let set = params.set(param, value as i64);
        assert!(set, "the storm's own values lie within bounds");
    }
    if wild {
        for param in Param::ALL.iter().filter(|param| may_change(**param)) {
            let sane = params.clone();
            if dice.once_in(6) && !(params.set(*param, within_bounds(*param, dice)) && params.check().is_ok()) {
                params = sane;
            }
        }
    }
    Genesis {
        chain: ChainId(sha256(&[b"storm"])),
        area: 1,
        time: contract(0).delivery_start().plus_secs(-1_300),
        params,
        accounts: vec![
            account(REGULATOR, 32, 0),
            account(GRID, 11, 1 << 50),
            account(METERS, 16, 0),
        ],
    }
}

/// Blows over the market of `genesis` for `len` steps and writes each step down before it is done.
///
/// # Panics
/// As the market does.
pub(crate) fn blow(genesis: &Genesis, dice: Dice, len: usize, steps: &mut Vec<Step>) {
    let market = match Market::new(genesis.clone()) {
        Ok(market) => market,
        Err(reject) => panic!("the storm's genesis cannot stand: {reject:?}"),
    };
    let mut storm = Storm {
        market,
        dice,
        steps,
        seq: 0,
        height: 0,
        people: 0,
        nonces: BTreeMap::new(),
        orders: Vec::new(),
        reveals: Vec::new(),
        deals: Vec::new(),
        sealed: Vec::new(),
    };
    storm.people = 3 + storm.dice.below(8);
    for serial in FIRST..FIRST + storm.people {
        storm.admit(serial);
    }
    while storm.steps.len() < len {
        let command = storm.command();
        storm.apply(command);
        if storm.dice.once_in(6) {
            storm.end_block();
        }
    }
    let end = storm.market.state().time.plus_secs(10_000);
    storm.apply(Command::Tick(end));
    storm.end_block();
}

fn remember<T>(memory: &mut Vec<T>, item: T) {
    if memory.len() == MEMORY {
        memory.remove(0);
    }
    memory.push(item);
}

impl Storm<'_> {
    fn admit(&mut self, serial: u64) {
        let (roles, capacity) = (
            self.dice.pick(&[1, 2, 3, 3, 3]),
            self.dice.pick(&[1_000, 100_000, AMPLE]),
        );
        let mut member = account(serial, roles, capacity);
        if self.dice.once_in(3) {
            member.group = Hash([self.dice.below(3) as u8; 32]);
        }
        if self.dice.once_in(6) {
            member.not_after = contract(0)
                .delivery_start()
                .plus_secs(self.dice.below(9_000) as i64 - 1_300);
        }
        self.apply(Command::Register(member));
    }

    fn apply(&mut self, command: Command) {
        self.steps.push(Step::Command(Box::new(command.clone())));
        if let Ok(events) = self.market.apply(self.seq + 1, &command) {
            self.seq += 1;
            self.note(&events);
        }
    }

    fn end_block(&mut self) {
        self.height += 1;
        self.steps.push(Step::EndBlock);
        let events = self.market.end_block(self.height);
        self.note(&events);
        // Most deals are signed.
        for signature in core::mem::take(&mut self.sealed) {
            if !self.dice.once_in(4) {
                let envelope = self.envelope_of(GRID, vec![Item::Grid(signature)]);
                self.apply(Command::Envelope(envelope));
            }
        }
    }

    fn note(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Opened {
                    order: id,
                    contract,
                    price,
                    leaves,
                    ..
                }
                | Event::Reduced {
                    order: id,
                    contract,
                    price,
                    leaves,
                    ..
                } => {
                    let resting = Resting {
                        contract: *contract,
                        id: *id,
                        price: *price,
                        leaves: *leaves,
                    };
                    remember(&mut self.orders, resting);
                }
                Event::Executed { deal_id, deal, .. } => remember(&mut self.deals, (*deal_id, *deal)),
                Event::DealsSealed {
                    height, deals_digest, ..
                } => {
                    self.sealed.push(GridSignature {
                        height: *height,
                        deals_digest: *deals_digest,
                    });
                }
                _ => {}
            }
        }
    }

    /// The next nonce of an account, in order.
    fn nonce(&mut self, serial: u64) -> u64 {
        let nonce = self.nonces.entry(serial).or_insert(0);
        *nonce += 1;
        *nonce
    }

    fn envelope_of(&mut self, serial: u64, items: Vec<Item>) -> Envelope {
        let not_after = self.market.state().time.plus_secs(60);
        Envelope {
            participant: id(serial),
            key_version: 1,
            nonce: self.nonce(serial),
            not_after,
            items,
        }
    }

    /// A contract, most often one that is open.
    fn some_contract(&mut self) -> ContractId {
        let open: Vec<ContractId> = self.market.state().contracts.keys().copied().collect();
        if open.is_empty() || self.dice.once_in(20) {
            return self
                .dice
                .pick(&[contract(0), contract(3), contract(900), ContractId::from_raw(0)]);
        }
        // The newest is the one that trades.
        let newest = open[open.len() - 1];
        if self.dice.once_in(8) {
            self.dice.pick(&open)
        } else {
            newest
        }
    }

    /// An order, mostly one of `serial` that may still rest.
    fn some_order(&mut self, serial: u64) -> Resting {
        let own = |order: &&Resting| order.id.participant == id(serial);
        let known: Vec<Resting> = match self.dice.below(10) {
            0 => Vec::new(),
            1 | 2 => self.orders.clone(),
            _ => self.orders.iter().filter(own).copied().collect(),
        };
        if known.is_empty() {
            let id = OrderId {
                participant: id(serial),
                nonce: self.dice.below(2_000),
                index: self.dice.below(3) as u32,
            };
            let (contract, price, leaves) = (self.some_contract(), Price::new(10_000), Energy::new(500));
            return Resting {
                contract,
                id,
                price,
                leaves,
            };
        }
        // The latest are the likeliest to live.
        known[known.len() - 1 - self.dice.index(known.len().min(6))]
    }

    fn quote(&mut self) -> Quote {
        let contract = self.some_contract();
        let dice = &mut self.dice;
        let near = 8_000 + dice.below(20_000) as i32;
        let price = if dice.once_in(12) { dice.pick(&PRICES) } else { near };
        let few = 1 + dice.below(3_000);
        let energy = if dice.once_in(12) { dice.pick(&ENERGIES) } else { few };
        let tifs = [
            TimeInForce::Ioc,
            TimeInForce::Fok,
            TimeInForce::PostOnly,
            TimeInForce::Until,
        ];
        let now = (self.market.state().time.get() / 1_000_000_000) as u32;
        Quote {
            contract,
            // Ascending, but for those drawn within the same few seconds.
            client_order_id: if dice.once_in(3) {
                u64::from(now) * 8 + dice.below(64)
            } else {
                0
            },
            round: u16::from(dice.once_in(50)),
            side: if dice.once_in(2) { Side::Buy } else { Side::Sell },
            time_in_force: if dice.once_in(2) {
                TimeInForce::Gate
            } else {
                dice.pick(&tifs)
            },
            price: Price::new(price),
            charge_cap: dice.pick(&[-1, -1, -1, 0, 250, 400, -2, i32::MAX]),
            energy: Energy::new(energy),
            min_fill: Energy::new(if dice.once_in(4) {
                dice.below(energy.clamp(1, 300))
            } else {
                0
            }),
            valid_until_s: now.saturating_add(dice.below(600) as u32).saturating_sub(20),
            display: Energy::new(if dice.once_in(4) {
                dice.below(energy.clamp(1, 120))
            } else {
                0
            }),
            market_to_limit: dice.once_in(8),
            self_trade: dice.pick(&SelfTrade::ALL),
        }
    }

    fn seal(&mut self, serial: u64) -> Item {
        let contract = self.some_contract();
        let round = self
            .market
            .state()
            .contracts
            .get(&contract)
            .map_or(1, |known| known.round);
        let round = round + u16::from(self.dice.once_in(20));
        let quotes = (0..self.dice.below(5)).map(|_| {
            let void = self.dice.once_in(20);
            if void {
                Err(Reject::NotEnabled)
            } else {
                let mut quote = self.quote();
                // Most are such as a round takes.
                if !self.dice.once_in(4) {
                    (quote.display, quote.market_to_limit) = (Energy::ZERO, false);
                }
                Ok(Quote {
                    contract,
                    round,
                    ..quote
                })
            }
        });
        let quotes: Vec<Result<Quote, Reject>> = quotes.collect();
        let salt = Hash([self.dice.below(256) as u8; 32]);
        let commitment = sha256(&[format!("{serial} {contract} {round} {salt} {quotes:?}").as_bytes()]);
        let reveal = Reveal {
            participant: id(serial),
            contract,
            round: round.into(),
            salt,
            commitment,
            quotes,
        };
        if !self.dice.once_in(6) {
            remember(&mut self.reveals, reveal);
        }
        let bond_class = self.dice.pick(&[0, 6, 10, 10, 13, 16, 17, 255]);
        let commitment = if self.dice.once_in(30) { Hash::ZERO } else { commitment };
        Item::Seal(Seal {
            contract,
            round,
            bond_class,
            commitment,
        })
    }

    /// Phase of the contract that trades.
    fn phase(&self) -> Option<Phase> {
        self.market
            .state()
            .contracts
            .values()
            .next_back()
            .map(|contract| contract.phase)
    }

    fn has_sealed(&self, serial: u64) -> bool {
        let contracts = &self.market.state().contracts;
        contracts
            .values()
            .next_back()
            .is_some_and(|contract| contract.seals.contains_key(&id(serial)))
    }

    /// A reveal, mostly one that its seal waits for.
    fn some_reveal(&mut self) -> Reveal {
        let contracts = &self.market.state().contracts;
        let waits = |reveal: &&Reveal| {
            let seals = contracts.get(&reveal.contract).map(|contract| &contract.seals);
            let seal = seals.and_then(|seals| seals.get(&reveal.participant));
            seal.is_some_and(|seal| seal.reveal.is_none() && seal.commitment == reveal.commitment)
        };
        let due = self.reveals.iter().find(waits).cloned();
        let any = self.reveals[self.dice.index(self.reveals.len())].clone();
        due.filter(|_| !self.dice.once_in(8)).unwrap_or(any)
    }

    fn item(&mut self, serial: u64) -> Item {
        if self.phase() == Some(Phase::Seal) && !self.has_sealed(serial) && !self.dice.once_in(3) {
            return self.seal(serial);
        }
        match self.dice.below(40) {
            0..=17 => Item::Quote(self.quote()),
            18..=20 => {
                let order = self.some_order(serial);
                Item::Cancel(Cancel {
                    contract: (!self.dice.once_in(4)).then_some(order.contract),
                    target_nonce: if self.dice.once_in(6) { 0 } else { order.id.nonce },
                    target_index: if self.dice.once_in(3) {
                        ALL_INDEXES
                    } else {
                        order.id.index
                    },
                })
            }
            21..=25 => {
                let (order, quote) = (self.some_order(serial), self.quote());
                // The same price and less energy keeps the place.
                let keeps = self.dice.once_in(2);
                let less = Energy::new(1 + self.dice.below(order.leaves.get().max(1)));
                Item::Replace(Replace {
                    contract: order.contract,
                    target_nonce: order.id.nonce,
                    target_index: order.id.index,
                    price: if keeps { order.price } else { quote.price },
                    charge_cap: quote.charge_cap,
                    energy: if keeps { less } else { quote.energy },
                    min_fill: if keeps { Energy::ZERO } else { quote.min_fill },
                    display: Energy::ZERO,
                })
            }
            26..=31 => self.seal(serial),
            32 | 33 => Item::Rate(Rate {
                deal_id: self.some_deal(Some(serial)).map_or(Hash::ZERO, |(deal_id, _)| deal_id),
                good: self.dice.once_in(2),
            }),
            34 => Item::Refused(Reject::NotEnabled),
            35 => Item::Grid(GridSignature {
                height: self.height,
                deals_digest: Hash::ZERO,
            }),
            36 | 37 => self.reading(),
            38 => self.configure(),
            _ => self.order(),
        }
    }

    /// A deal, mostly one of `serial`; sometimes none.
    fn some_deal(&mut self, serial: Option<u64>) -> Option<(Hash, Deal)> {
        let own = |(_, deal): &&(Hash, Deal)| {
            serial.is_none_or(|serial| [deal.buyer.participant, deal.seller.participant].contains(&id(serial)))
        };
        let any = self.dice.once_in(5);
        let known: Vec<(Hash, Deal)> = self.deals.iter().filter(|deal| any || own(deal)).copied().collect();
        (!known.is_empty() && !self.dice.once_in(8)).then(|| self.dice.pick(&known))
    }

    /// A reading, mostly of what somebody dealt.
    fn reading(&mut self) -> Item {
        let export = self.dice.once_in(2);
        let (serial, period, dealt) = match self.some_deal(None) {
            Some((_, deal)) => {
                let party = if export { deal.seller } else { deal.buyer };
                (party.participant.get(), deal.contract.period(), deal.energy.get())
            }
            None => {
                let oldest = self.market.state().contracts.keys().next();
                let period = oldest.map_or(0, |contract| contract.period());
                (FIRST + self.dice.below(self.people + 1), period, 100)
            }
        };
        let wh = self
            .dice
            .pick(&[0, 10, 400, 1_001, u64::MAX, dealt, dealt, dealt, dealt / 2]);
        Item::Meter(Reading {
            meter: 10 * serial + u64::from(export),
            period: if self.dice.once_in(20) { u32::MAX } else { period },
            revision: self.dice.below(3) as u32,
            import: Energy::new(if export { 0 } else { wh }),
            export: Energy::new(if export { wh } else { 0 }),
        })
    }

    fn configure(&mut self) -> Item {
        let param = self.dice.below(50) as u32;
        let value = match Param::from_id(param) {
            // Mostly back to what works.
            Some(known) if may_change(known) && !self.dice.once_in(3) => known.default_value(),
            Some(known) if may_change(known) => {
                let (min, max) = known.bounds();
                let values = [
                    known.default_value(),
                    known.default_value(),
                    min,
                    max.min(1_000_000_000_000),
                    max.saturating_add(1),
                ];
                self.dice.pick(&values)
            }
            _ => -1,
        };
        Item::Configure(Configure { param, value })
    }

    fn order(&mut self) -> Item {
        // Most orders undo one.
        let actions = match self.dice.below(12) {
            0 => [MarketAction::Halt, MarketAction::Suspend],
            _ => [MarketAction::Resume, MarketAction::Reinstate],
        };
        let action = self.dice.pick(&actions);
        let contract = self.some_contract();
        Item::Order(MarketOrder {
            action,
            contract: self.dice.once_in(2).then_some(contract),
            participant: id(FIRST + self.dice.below(self.people + 1)),
            reason: 0,
        })
    }

    fn envelope(&mut self) -> Envelope {
        let strangers = [0, REGULATOR, GRID, METERS, 99];
        let somebody = FIRST + self.dice.below(self.people);
        let mut serial = if self.dice.once_in(12) {
            self.dice.pick(&strangers)
        } else {
            somebody
        };
        let mut items = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            let item = self.item(serial);
            let whose = match &item {
                Item::Grid(_) => GRID,
                Item::Meter(_) => METERS,
                Item::Configure(_) | Item::Order(_) => REGULATOR,
                _ => serial,
            };
            // Whose leaf it is, mostly, and then alone.
            if whose != serial && !self.dice.once_in(10) {
                (serial, items) = (whose, vec![item]);
                break;
            }
            items.push(item);
        }
        let mut envelope = self.envelope_of(serial, items);
        match self.dice.below(120) {
            0..=3 => envelope.nonce = self.dice.below(2_000),
            4..=7 => envelope.nonce += 3,
            8 => envelope.nonce = u64::MAX,
            9 | 10 => envelope.key_version = 2,
            11 | 12 => envelope.not_after = TimeNs::ZERO,
            13 => envelope.not_after = TimeNs::new(u64::MAX),
            14 => envelope.items.clear(),
            _ => {}
        }
        envelope
    }

    fn command(&mut self) -> Command {
        let choice = match self.phase() {
            Some(Phase::Reveal) if self.dice.once_in(2) => 3,
            _ => self.dice.below(20),
        };
        match choice {
            0..=2 => {
                let seconds = match self.dice.below(12) {
                    0 => 0,
                    1 if self.dice.once_in(6) => self.dice.below(3_000),
                    _ => 1 + self.dice.below(40),
                };
                let now = self.market.state().time.get();
                Command::Tick(TimeNs::new(now + seconds * 1_000_000_000 + self.dice.below(2)))
            }
            3..=6 if !self.reveals.is_empty() => {
                let mut reveal = self.some_reveal();
                match self.dice.below(12) {
                    0 => reveal.commitment = Hash([9; 32]),
                    1 => reveal.round += 1,
                    2 => reveal.participant = id(FIRST + 1),
                    _ => {}
                }
                Command::Reveal(reveal)
            }
            7 if self.dice.once_in(4) => {
                let serial = FIRST + self.dice.below(40);
                let mut member = account(serial, self.dice.below(256) as u32, 1_000);
                if self.dice.once_in(3) {
                    let meter = self.dice.below(1_000);
                    let most = Energy::new(u64::MAX);
                    member.meters.push(Meter {
                        meter,
                        import_cap: most,
                        export_cap: most,
                        kind: MeterKind::Grid,
                    });
                }
                Command::Register(member)
            }
            _ => Command::Envelope(self.envelope()),
        }
    }
}
