//! A market on a bench: accounts, a clock that stands on the timetable of one delivery period, seals and reveals, and the
//! checks that hold after every step whatever the test is about.

#![allow(dead_code, reason = "every test file uses its own part of the bench")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use wattbook_market::account::Account;
use wattbook_market::contract::{Contract, Position};
use wattbook_market::{BadTurn, BlockEnd, Genesis, Market, Refusal};
use wattbook_types::command::{Cancel, GridSignature, MarketAction, MarketOrder, Reading, Replace, Seal};
use wattbook_types::delegate::DelegateKeys;
use wattbook_types::{
    ChainId, Command, ContractId, Deal, Energy, Envelope, Event, Hash, Item, Meter, MeterKind, Money, Param, Params,
    ParticipantId, Price, Quote, Registration, Reject, Reveal, Roles, SelfTrade, Side, TimeInForce, TimeNs, Turn,
    sha256,
};

/// First delivery period of the bench.
pub(crate) const PERIOD: u32 = 1_628_736;
/// The regulator, the grid company and the meter authority of genesis.
pub(crate) const REGULATOR: u64 = 1;
pub(crate) const GRID: u64 = 2;
pub(crate) const METERS: u64 = 3;
/// One point in nano-points.
pub(crate) const POINT: i64 = 1_000_000_000;

/// Offsets to the delivery start at which something of the default timetable falls, s.
pub(crate) mod at {
    pub(crate) const GATE_OPENS: i64 = -1_200;
    pub(crate) const REVEAL: i64 = -1_110;
    pub(crate) const RANK: i64 = -1_050;
    pub(crate) const MATCH: i64 = -1_020;
    pub(crate) const CONTRACT: i64 = -990;
    /// From one round's border to the same of the next.
    pub(crate) const ROUND: i64 = 300;
    pub(crate) const GATE_CLOSES: i64 = -300;
    pub(crate) const DELIVERY: i64 = 0;
    pub(crate) const METERING: i64 = 900;
    pub(crate) const SETTLE: i64 = 1_800;
    pub(crate) const CLOSE: i64 = 2_100;
    /// Every border of the default timetable.
    pub(crate) const BORDERS: [i64; 18] = [
        -1_200, -1_110, -1_050, -1_020, -990, -900, -810, -750, -720, -690, -600, -510, -450, -420, -390, -300, 0, 900,
    ];
}

/// The contract that delivers `n` periods after the first.
pub(crate) const fn contract(n: u32) -> ContractId {
    ContractId::new(PERIOD + n, ContractId::PRODUCT_QUARTER_HOUR, 1)
}

pub(crate) const fn id(serial: u64) -> ParticipantId {
    ParticipantId::new(serial)
}

/// `seconds` after delivery start of the first contract.
pub(crate) const fn time(seconds: i64) -> TimeNs {
    contract(0).delivery_start().plus_secs(seconds)
}

/// A registration of a trader with one clean generator and one load of the given capacity.
pub(crate) fn account(serial: u64, roles: u32, capacity: u64) -> Registration {
    let mut public_key = [0; 96];
    public_key[..8].copy_from_slice(&serial.to_le_bytes());
    let meter = |number, import, export, kind| Meter {
        meter: number,
        import_cap: Energy::new(import),
        export_cap: Energy::new(export),
        kind,
    };
    let meters = match roles & 3 {
        0 => Vec::new(),
        _ => vec![
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

/// Energy no trader of the bench runs out of.
pub(crate) const AMPLE: u64 = 1 << 40;

pub(crate) fn quote(contract: ContractId, side: Side, price: i32, wh: u64) -> Quote {
    Quote {
        contract,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force: TimeInForce::Gate,
        price: Price::new(price),
        charge_cap: -1,
        energy: Energy::new(wh),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}

pub(crate) fn bid(n: u32, price: i32, wh: u64) -> Quote {
    quote(contract(n), Side::Buy, price, wh)
}

pub(crate) fn ask(n: u32, price: i32, wh: u64) -> Quote {
    quote(contract(n), Side::Sell, price, wh)
}

pub(crate) fn cancel_all(contract: Option<ContractId>) -> Item {
    Item::Cancel(Cancel {
        contract,
        target_nonce: 0,
        target_index: 0,
    })
}

pub(crate) fn cancel(n: u32, target_nonce: u64, target_index: u32) -> Item {
    Item::Cancel(Cancel {
        contract: Some(contract(n)),
        target_nonce,
        target_index,
    })
}

pub(crate) fn replace(n: u32, target_nonce: u64, target_index: u32, price: i32, wh: u64) -> Item {
    Item::Replace(Replace {
        contract: contract(n),
        target_nonce,
        target_index,
        price: Price::new(price),
        charge_cap: -1,
        energy: Energy::new(wh),
        min_fill: Energy::ZERO,
        display: Energy::ZERO,
    })
}

pub(crate) fn reading(n: u32, meter: u64, revision: u32, import: u64, export: u64) -> Item {
    Item::Meter(Reading {
        meter,
        period: PERIOD + n,
        revision,
        import: Energy::new(import),
        export: Energy::new(export),
    })
}

pub(crate) fn order_of(action: MarketAction, contract: Option<ContractId>, participant: u64) -> Item {
    Item::Order(MarketOrder {
        action,
        contract,
        participant: id(participant),
        reason: 7,
    })
}

/// A reveal of `quotes`; its commitment is what the bench's seals carry.
pub(crate) fn reveal(serial: u64, n: u32, round: u16, salt: u8, quotes: &[Quote]) -> Reveal {
    let quotes: Vec<Result<Quote, Reject>> = quotes.iter().map(|quote| Ok(Quote { round, ..*quote })).collect();
    let salt = Hash([salt; 32]);
    let text = format!("{serial} {n} {round} {salt} {quotes:?}");
    Reveal {
        participant: id(serial),
        contract: contract(n),
        round: round.into(),
        salt,
        commitment: sha256(&[text.as_bytes()]),
        quotes,
    }
}

/// The seal that `reveal` opens.
pub(crate) fn seal(reveal: &Reveal, bond_class: u8) -> Item {
    Item::Seal(Seal {
        contract: reveal.contract,
        round: reveal.round as u16,
        bond_class,
        commitment: reveal.commitment,
    })
}

/// One entry of what a bench has done, to do it again.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Command(u64, Box<Command>),
    EndBlock(u64),
    Turn(Turn),
}

/// A market and who drives it.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) market: Market,
    pub(crate) genesis: Genesis,
    /// Committee 0; empty on a node that runs alone.
    pub(crate) seats: Vec<(ParticipantId, DelegateKeys)>,
    pub(crate) seq: u64,
    pub(crate) height: u64,
    /// Every event so far.
    pub(crate) events: Vec<Event>,
    pub(crate) journal: Vec<Done>,
    nonces: BTreeMap<u64, u64>,
}

pub(crate) const BUYER: u32 = 1;
pub(crate) const SELLER: u32 = 2;
pub(crate) const TRADER: u32 = 3;

impl Rig {
    /// A market 100 s before its first gate, with the parameters `set` and traders 11, 12, ... of ample capacity.
    pub(crate) fn new(set: &[(Param, i64)], traders: u64) -> Self {
        let mut params = Params::default();
        for (param, value) in set {
            assert!(params.set(*param, *value), "{param:?} = {value}");
        }
        let mut grid = account(GRID, 11, 1 << 50);
        grid.meters.truncate(1);
        grid.meters[0].export_cap = Energy::new(1 << 50);
        grid.meters[0].kind = MeterKind::Grid;
        let genesis = Genesis {
            chain: ChainId(sha256(&[b"bench"])),
            area: 1,
            time: time(-1_300),
            params,
            accounts: vec![account(REGULATOR, 32, 0), grid, account(METERS, 16, 0)],
        };
        let market = Market::new(genesis.clone()).expect("the bench's genesis stands");
        let mut rig = Self {
            market,
            genesis,
            seats: Vec::new(),
            seq: 0,
            height: 0,
            events: Vec::new(),
            journal: Vec::new(),
            nonces: BTreeMap::new(),
        };
        for serial in 11..11 + traders {
            rig.register(account(serial, TRADER, AMPLE));
        }
        rig
    }

    /// This rig's chain from genesis again, with `accounts` more in it and a committee of `seats`.
    pub(crate) fn with_committee(self, accounts: Vec<Registration>, seats: Vec<(ParticipantId, DelegateKeys)>) -> Self {
        let mut genesis = self.genesis;
        genesis.accounts.extend(accounts);
        Self {
            market: Market::with_committee(genesis.clone(), &seats).expect("the committee stands"),
            genesis,
            seats,
            ..Self::new(&[], 0)
        }
    }

    /// The market at genesis.
    pub(crate) fn start(&self) -> Market {
        if self.seats.is_empty() {
            Market::new(self.genesis.clone()).expect("the same genesis stands")
        } else {
            Market::with_committee(self.genesis.clone(), &self.seats).expect("the same genesis stands")
        }
    }

    /// Ends the block by a turn and checks the root's marks; a turn that is refused must change nothing.
    pub(crate) fn end_turn(&mut self, turn: &Turn) -> Result<BlockEnd, BadTurn> {
        let before = self.market.state().root_from_scratch();
        let checked = self.market.check_turn(turn);
        let ended = self.market.end_block_by(turn);
        assert_eq!(checked.err(), ended.as_ref().err().copied());
        let scratch = self.market.state().root_from_scratch();
        match &ended {
            Ok(ended) => {
                self.height = turn.height;
                self.events.extend(ended.events.iter().cloned());
                self.journal.push(Done::Turn(*turn));
                assert_eq!(
                    self.market.root(),
                    scratch,
                    "a page was changed without a mark: {turn:?}"
                );
            }
            Err(bad) => assert_eq!(before, scratch, "a refused turn changed the state: {bad}"),
        }
        ended
    }

    /// Applies a command as the next record; a refusal must change nothing.
    pub(crate) fn apply(&mut self, command: Command) -> Result<Vec<Event>, Refusal> {
        let before = self.market.state().root_from_scratch();
        let admitted = match &command {
            Command::Tick(_) | Command::Evidence(_) => None,
            sent => Some(self.market.admits(sent)),
        };
        let result = self.market.apply(self.seq + 1, &command);
        if let Some(admitted) = admitted {
            assert_eq!(admitted, result.as_ref().map(drop).map_err(|refusal| *refusal));
        }
        match &result {
            Ok(events) => {
                self.seq += 1;
                self.events.extend(events.iter().cloned());
                self.journal.push(Done::Command(self.seq, Box::new(command)));
            }
            Err(refusal) => {
                let after = self.market.state().root_from_scratch();
                assert_eq!(
                    before, after,
                    "a refused command changed the state: {refusal:?} to {command:?}"
                );
            }
        }
        result
    }

    /// Ends the block and checks the root's marks.
    pub(crate) fn end_block(&mut self) -> Vec<Event> {
        self.height += 1;
        let events = self.market.end_block(self.height);
        self.events.extend(events.iter().cloned());
        self.journal.push(Done::EndBlock(self.height));
        let scratch = self.market.state().root_from_scratch();
        assert_eq!(
            self.market.root(),
            scratch,
            "a page was changed without a mark at height {}",
            self.height
        );
        events
    }

    pub(crate) fn register(&mut self, registration: Registration) -> Money {
        let events = self.apply(Command::Register(registration)).expect("registered");
        let [Event::Registered { minted, .. }] = events.as_slice() else {
            panic!("one event of a registration: {events:?}");
        };
        *minted
    }

    /// Ticks to `seconds` after the first contract's delivery start.
    pub(crate) fn tick(&mut self, seconds: i64) -> Vec<Event> {
        self.apply(Command::Tick(time(seconds))).expect("time moves on")
    }

    /// Ticks to every border of contract `n` up to `seconds` after its own delivery start, each in a block of its own,
    /// signing deals when `sign` is set.
    pub(crate) fn run_to(&mut self, n: u32, seconds: i64, sign: bool) {
        let base = i64::from(n) * 900;
        let borders = at::BORDERS.into_iter().chain([at::SETTLE, at::CLOSE]);
        let times: Vec<i64> = borders.filter(|s| *s < seconds).chain([seconds]).collect();
        for s in times {
            if time(base + s) > self.market.state().time {
                self.tick(base + s);
                let sealed = self.end_block();
                if sign {
                    self.countersign(&sealed);
                }
            }
        }
    }

    /// The next nonce of an account.
    pub(crate) fn nonce(&mut self, serial: u64) -> u64 {
        let nonce = self.nonces.entry(serial).or_insert(0);
        *nonce += 1;
        *nonce
    }

    /// An envelope as it should be.
    pub(crate) fn envelope(&mut self, serial: u64, items: Vec<Item>) -> Envelope {
        Envelope {
            participant: id(serial),
            key_version: 1,
            nonce: self.nonce(serial),
            not_after: self.market.state().time.plus_secs(3_600),
            items,
        }
    }

    /// Sends items in one envelope: its nonce and its events.
    pub(crate) fn send(&mut self, serial: u64, items: Vec<Item>) -> (u64, Vec<Event>) {
        let envelope = self.envelope(serial, items);
        let nonce = envelope.nonce;
        let events = self.apply(Command::Envelope(envelope)).expect("a good header");
        (nonce, events)
    }

    /// Sends one item that must be accepted.
    pub(crate) fn ok(&mut self, serial: u64, item: Item) -> (u64, Vec<Event>) {
        let (nonce, events) = self.send(serial, vec![item.clone()]);
        assert_eq!(verdicts(&events), [Ok(())], "{serial} sent {item:?}");
        (nonce, events)
    }

    /// Sends quotes, one envelope each; all must be accepted.
    pub(crate) fn quotes(&mut self, serial: u64, quotes: &[Quote]) -> Vec<u64> {
        quotes
            .iter()
            .map(|quote| self.ok(serial, Item::Quote(*quote)).0)
            .collect()
    }

    /// Sends one item that must be refused as `reject` and change nothing that a leaf refused before the market would not.
    pub(crate) fn refuse(&mut self, serial: u64, item: Item, reject: Reject) {
        let mut bare = self.clone();
        let (_, events) = self.send(serial, vec![item.clone()]);
        assert_eq!(verdicts(&events), [Err(reject)], "{serial} sent {item:?}");
        let (_, bare_events) = bare.send(serial, vec![Item::Refused(reject)]);
        assert_eq!(events, bare_events, "{reject:?} came with events");
        let roots = [&self.market, &bare.market].map(|market| market.state().root_from_scratch());
        assert_eq!(roots[0], roots[1], "{reject:?} of {item:?} changed the state");
    }

    /// Sends a command that must be refused whole; [`Self::apply`] checks that it changed nothing.
    pub(crate) fn refuse_command(&mut self, command: Command, reject: Reject) -> u64 {
        let refusal = self.apply(command.clone()).expect_err("refused");
        assert_eq!(refusal.reject, reject, "{command:?}");
        refusal.original_seq
    }

    /// Seals `quotes` with bonds of `class`; the reveals that open them.
    pub(crate) fn seal(&mut self, n: u32, round: u16, class: u8, quotes: &[(u64, &[Quote])]) -> Vec<Reveal> {
        let seal_one = |(serial, quotes): &(u64, &[Quote])| {
            let reveal = reveal(*serial, n, round, *serial as u8, quotes);
            self.ok(*serial, seal(&reveal, class));
            reveal
        };
        quotes.iter().map(seal_one).collect()
    }

    /// Delivers reveals; all must be recorded.
    pub(crate) fn reveal(&mut self, reveals: &[Reveal]) {
        for reveal in reveals {
            let events = self.apply(Command::Reveal(reveal.clone())).expect("recorded");
            assert_eq!(events.len(), 1);
        }
    }

    /// Plays a whole round of contract `n` up to its CONTRACT, its deals countersigned.
    pub(crate) fn round(&mut self, n: u32, round: u16, class: u8, quotes: &[(u64, &[Quote])]) -> Vec<Event> {
        let from = self.events.len();
        let base = i64::from(n) * 900 + i64::from(round - 1) * at::ROUND;
        let goto = |rig: &mut Self, s: i64| {
            if time(base + s) > rig.market.state().time {
                rig.tick(base + s);
            }
            let sealed = rig.end_block();
            rig.countersign(&sealed);
        };
        goto(self, at::GATE_OPENS);
        let reveals = self.seal(n, round, class, quotes);
        goto(self, at::REVEAL);
        self.reveal(&reveals);
        goto(self, at::RANK);
        goto(self, at::MATCH);
        goto(self, at::CONTRACT);
        self.events[from..].to_vec()
    }

    /// The grid company signs what `sealed` asks it to.
    pub(crate) fn countersign(&mut self, sealed: &[Event]) {
        for event in sealed {
            if let Event::DealsSealed {
                height, deals_digest, ..
            } = event
            {
                let signature = GridSignature {
                    height: *height,
                    deals_digest: *deals_digest,
                };
                self.ok(GRID, Item::Grid(signature));
            }
        }
    }

    /// Ends the block and signs its deals.
    pub(crate) fn sign_block(&mut self) {
        let sealed = self.end_block();
        self.countersign(&sealed);
    }

    pub(crate) fn account(&self, serial: u64) -> &Account {
        self.market.state().accounts.get(id(serial)).expect("registered")
    }

    pub(crate) fn contract(&self, n: u32) -> &Contract {
        &self.market.state().contracts[&contract(n)]
    }

    pub(crate) fn position(&self, n: u32, serial: u64) -> Position {
        let at = self.market.state().accounts.index(id(serial)).expect("registered");
        self.contract(n).position(at)
    }

    pub(crate) fn is_known(&self, n: u32) -> bool {
        self.market.state().contracts.contains_key(&contract(n))
    }

    pub(crate) fn free(&self, serial: u64) -> i64 {
        self.account(serial).free.get()
    }

    /// Free, reserved, escrow and bonds.
    pub(crate) fn pockets(&self, serial: u64) -> [i64; 4] {
        let account = self.account(serial);
        [account.free, account.reserved, account.escrow, account.bonds].map(Money::get)
    }

    pub(crate) fn root(&self) -> Hash {
        self.market.state().root_from_scratch()
    }

    /// Deals among `events`.
    pub(crate) fn deals(events: &[Event]) -> Vec<Deal> {
        let deal = |event: &Event| match event {
            Event::Executed { deal, .. } => Some(*deal),
            _ => None,
        };
        events.iter().filter_map(deal).collect()
    }
}

/// Verdicts on the items of an envelope.
pub(crate) fn verdicts(events: &[Event]) -> Vec<Result<(), Reject>> {
    let verdict = |event: &Event| match event {
        Event::Accepted { .. } => Some(Ok(())),
        Event::Rejected { reject, .. } => Some(Err(*reject)),
        _ => None,
    };
    events.iter().filter_map(verdict).collect()
}

/// Does everything of a journal again; the events, and the root after every block.
pub(crate) fn replay(genesis: &Genesis, journal: &[Done]) -> (Vec<Event>, Vec<Hash>) {
    replay_on(Market::new(genesis.clone()).expect("the same genesis stands"), journal)
}

/// Does a journal on a market.
pub(crate) fn replay_on(mut market: Market, journal: &[Done]) -> (Vec<Event>, Vec<Hash>) {
    let (mut events, mut roots) = (Vec::new(), Vec::new());
    for done in journal {
        match done {
            Done::Command(seq, command) => events.extend(market.apply(*seq, command).expect("it was accepted before")),
            Done::EndBlock(height) => {
                events.extend(market.end_block(*height));
                roots.push(market.root());
            }
            Done::Turn(turn) => {
                events.extend(market.end_block_by(turn).expect("it was taken before").events);
                roots.push(market.root());
            }
        }
    }
    (events, roots)
}

/// Seeded dice.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    /// Once in `n`.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
