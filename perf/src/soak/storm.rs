//! Storms: random commands to a market, nonsense included, over several contracts and every mode.

use super::dice::Dice;
use super::seeds::within_bounds;
use std::collections::BTreeMap;
use wattbook_market::{Genesis, Market};
use wattbook_types::command::{
    ALL_INDEXES, Cancel, Configure, GridSignature, MarketAction, MarketOrder, Rate, Reading, Replace, Seal,
};
use wattbook_types::{
    ChainId, Command, ContractId, Energy, Envelope, Event, Hash, Item, Meter, MeterKind, Param, Params, ParticipantId,
    Price, Quote, Registration, Reject, Reveal, Roles, Side, TimeInForce, TimeNs, sha256,
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

/// One thing done to a market.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A command, taken or refused.
    Command(Command),
    /// The end of a block.
    EndBlock,
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
    orders: Vec<(ContractId, u64, u32)>,
    reveals: Vec<Reveal>,
    deals: Vec<Hash>,
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
        // The timetable stays, so that a storm meets every phase.
        for param in Param::ALL
            .iter()
            .filter(|param| (**param as u32) < Param::GateOpenS as u32)
        {
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
        self.steps.push(Step::Command(command.clone()));
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
                Event::Opened { order, contract, .. } | Event::Reduced { order, contract, .. } => {
                    remember(&mut self.orders, (*contract, order.nonce, order.index));
                }
                Event::Executed { deal_id, .. } => remember(&mut self.deals, *deal_id),
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
        self.dice.pick(&open)
    }

    fn some_order(&mut self) -> (ContractId, u64, u32) {
        if self.orders.is_empty() || self.dice.once_in(10) {
            return (self.some_contract(), self.dice.below(2_000), self.dice.below(3) as u32);
        }
        self.dice.pick(&self.orders)
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
            client_order_id: dice.below(100),
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
                Ok(Quote {
                    contract,
                    round,
                    ..self.quote()
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
        let bond_class = self.dice.pick(&[0, 0, 3, 6, 10, 16, 17, 255]);
        let commitment = if self.dice.once_in(30) { Hash::ZERO } else { commitment };
        Item::Seal(Seal {
            contract,
            round,
            bond_class,
            commitment,
        })
    }

    fn item(&mut self, serial: u64) -> Item {
        match self.dice.below(40) {
            0..=17 => Item::Quote(self.quote()),
            18..=20 => {
                let (contract, nonce, index) = self.some_order();
                Item::Cancel(Cancel {
                    contract: (!self.dice.once_in(4)).then_some(contract),
                    target_nonce: if self.dice.once_in(6) { 0 } else { nonce },
                    target_index: if self.dice.once_in(3) { ALL_INDEXES } else { index },
                })
            }
            21..=25 => {
                let ((contract, target_nonce, target_index), quote) = (self.some_order(), self.quote());
                let Quote {
                    price,
                    charge_cap,
                    energy,
                    min_fill,
                    ..
                } = quote;
                Item::Replace(Replace {
                    contract,
                    target_nonce,
                    target_index,
                    price,
                    charge_cap,
                    energy,
                    min_fill,
                })
            }
            26..=31 => self.seal(serial),
            32 | 33 => {
                let known = !self.deals.is_empty() && !self.dice.once_in(5);
                let deal_id = if known { self.dice.pick(&self.deals) } else { Hash::ZERO };
                Item::Rate(Rate {
                    deal_id,
                    good: self.dice.once_in(2),
                })
            }
            34 => Item::Refused(self.dice.pick(Reject::ALL)),
            35 => Item::Grid(GridSignature {
                height: self.height,
                deals_digest: Hash::ZERO,
            }),
            36 | 37 => self.reading(),
            38 => self.configure(),
            _ => self.order(),
        }
    }

    fn reading(&mut self) -> Item {
        let serial = FIRST + self.dice.below(self.people + 1);
        let period = self
            .market
            .state()
            .contracts
            .keys()
            .next()
            .map_or(0, |contract| contract.period());
        let (export, wh) = (
            self.dice.below(2),
            self.dice.pick(&[0, 10, 100, 400, 1_000, 1_001, u64::MAX]),
        );
        Item::Meter(Reading {
            meter: 10 * serial + export,
            period: if self.dice.once_in(20) { u32::MAX } else { period },
            revision: self.dice.below(3) as u32,
            import: Energy::new(if export == 0 { wh } else { 0 }),
            export: Energy::new(if export == 1 { wh } else { 0 }),
        })
    }

    fn configure(&mut self) -> Item {
        let param = self.dice.below(50) as u32;
        let value = match Param::from_id(param) {
            Some(known) if param < Param::GateOpenS as u32 => {
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
        let actions = [
            MarketAction::Halt,
            MarketAction::Resume,
            MarketAction::Suspend,
            MarketAction::Reinstate,
        ];
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
            // Whose leaf it is, mostly.
            if !self.dice.once_in(10) {
                match &item {
                    Item::Grid(_) => serial = GRID,
                    Item::Meter(_) => serial = METERS,
                    Item::Configure(_) | Item::Order(_) => serial = REGULATOR,
                    _ => {}
                }
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
        match self.dice.below(20) {
            0..=2 => {
                let seconds = match self.dice.below(12) {
                    0 => 0,
                    1 => self.dice.below(3_000),
                    _ => 1 + self.dice.below(40),
                };
                let now = self.market.state().time.get();
                Command::Tick(TimeNs::new(now + seconds * 1_000_000_000 + self.dice.below(2)))
            }
            3..=6 if !self.reveals.is_empty() => {
                let at = self.dice.index(self.reveals.len());
                let mut reveal = self.reveals[at].clone();
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
