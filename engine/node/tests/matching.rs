//! What the continuous book does with every option of an order, as its owner and as the public hear it over a real socket.
//!
//! Deals are spelt `deal ENERGY at PRICE, BUYER/SELLER left`; everything else says what is open afterwards.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod wire;

use std::path::Path;
use wattbook_feed::client::{Client, StreamKind};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::{LeafBytes, encode_cancel, encode_quote};
use wattbook_types::command::{ALL_INDEXES, Cancel};
use wattbook_types::{
    CloseReason, ContractId, Energy, Param, ParticipantId, Price, Quote, Reject, Roles, SelfTrade, Side, TimeInForce,
    TimeNs,
};
use wire::{Desk, Town, lockstep, registration, reject};

const MAKER: ParticipantId = ParticipantId::new(4);
const TAKER: ParticipantId = ParticipantId::new(5);
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);
/// A mass cancel, as a nonce.
const EVERYTHING: u64 = 0;

/// `seconds` after delivery start.
fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

fn quote(side: Side, ticks: i32, wh: u64) -> Quote {
    Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force: TimeInForce::Gate,
        price: Price::new(ticks),
        charge_cap: -1,
        energy: Energy::new(wh),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}

fn cancel(index: u32, target_nonce: u64) -> LeafBytes {
    let cancel = Cancel {
        contract: None,
        target_nonce,
        target_index: ALL_INDEXES,
    };
    encode_cancel(index, &cancel)
}

/// A message about the book as a line; `None` for any other.
fn line(message: &Outbound) -> Option<String> {
    let reason = |code: u8| {
        let all = [
            CloseReason::Cancelled,
            CloseReason::SelfTrade,
            CloseReason::NoCounterparty,
            CloseReason::NoMarket,
        ];
        let found = all.into_iter().find(|reason| *reason as u8 == code);
        found.unwrap_or_else(|| panic!("reason {code}")).name()
    };
    Some(match message {
        Outbound::Opened(said) => format!("opened {} at {}", said.leaves_wh, said.price),
        Outbound::Reduced(said) => format!("reduced to {}", said.leaves_wh),
        Outbound::Closed(said) => format!("closed {} at {}: {}", said.leaves_wh, said.price, reason(said.reason)),
        Outbound::Unmatched(said) => format!("unmatched {}: {}", said.leaves_wh, reason(said.reason)),
        Outbound::Executed(said) => format!(
            "deal {} at {}, {}/{} left",
            said.energy_wh,
            said.price / 2,
            said.buyer_leaves_wh,
            said.seller_leaves_wh
        ),
        _ => return None,
    })
}

/// A town whose book is open, two traders logged on, and the public feed.
struct Scene {
    town: Town,
    public: Client,
    /// Lines of the last Step: the maker's, the taker's, the public's.
    heard: [Vec<String>; 3],
}

impl Scene {
    fn open(dir: &Path) -> Self {
        let params = vec![
            (Param::Rounds, 1),
            (Param::Range, 0),
            (Param::Concession, 0),
            (Param::Floor, 0),
        ];
        let mut town = Town::start(dir, at(-1_300), params, &lockstep());
        let mut door = Desk::open(town.node.addr, 1);
        for who in [MAKER, TAKER] {
            let record = registration(town.chain, who, Roles::BUYER.union(Roles::SELLER));
            town.register(&mut door, &record);
        }
        town.witnessed_step_to(at(-1_200));
        town.witnessed_step_to(at(-990));
        let public = Client::connect(town.node.addr, StreamKind::Public, 0).unwrap();
        [MAKER, TAKER].into_iter().for_each(|who| town.log_on(who));
        let heard = Default::default();
        Self { town, public, heard }
    }

    /// Lets a second pass and writes down what everybody hears.
    fn step(&mut self) {
        self.town.witnessed_step();
        let own = |desk: &Desk| desk.heard.iter().filter_map(line).collect();
        let (maker, taker) = (own(self.town.desk(MAKER)), own(self.town.desk(TAKER)));
        let (now, mut public) = (self.town.now.get(), Vec::new());
        loop {
            match self.public.next(wire::WAIT).unwrap().expect("a public message").1 {
                Outbound::Ticked(ticked) if ticked.time_ns == now => break,
                message => public.extend(line(&message)),
            }
        }
        self.heard = [maker, taker, public];
    }

    /// Sends a quote and lets a second pass: its verdict.
    fn send(&mut self, who: ParticipantId, quote: Quote) -> Option<Reject> {
        let nonce = self.town.post(who, vec![encode_quote(0, &quote).unwrap()]);
        self.step();
        let verdicts = self.town.desk(who).verdicts(nonce);
        assert_eq!(verdicts.len(), 1);
        verdicts[0]
    }

    /// Sends a quote that is taken.
    fn take(&mut self, who: ParticipantId, quote: Quote) {
        assert_eq!(self.send(who, quote), None, "{quote:?}");
    }

    /// Empties the book.
    fn clear(&mut self) {
        for who in [MAKER, TAKER] {
            self.town.post(who, vec![cancel(0, EVERYTHING)]);
        }
        self.step();
    }
}

#[test]
fn an_iceberg_shows_slices_and_its_owner_hears_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::open(dir.path());
    let iceberg = Quote {
        display: Energy::new(300),
        ..quote(Side::Sell, 20_000, 1_000)
    };
    scene.take(MAKER, iceberg);
    let [maker, _, public] = &scene.heard;
    assert_eq!(maker, &["opened 1000 at 20000"]);
    assert_eq!(public, &["opened 300 at 20000"]);

    // A part of a slice, then more than a slice: what is hidden comes up behind the other order of that price.
    scene.take(TAKER, quote(Side::Buy, 20_000, 100));
    let [maker, _, public] = &scene.heard;
    assert_eq!(maker, &["deal 100 at 20000, 0/900 left"]);
    assert_eq!(public, &["deal 100 at 20000, 0/200 left"]);
    scene.take(MAKER, quote(Side::Sell, 20_000, 150));
    scene.take(TAKER, quote(Side::Buy, 20_000, 700));
    let [maker, taker, public] = &scene.heard;
    assert_eq!(
        maker,
        &[
            "deal 200 at 20000, 500/700 left",
            "opened 700 at 20000",
            "deal 150 at 20000, 350/0 left",
            "deal 300 at 20000, 50/400 left",
            "opened 400 at 20000",
            "deal 50 at 20000, 0/350 left",
        ]
    );
    let shown = [
        "deal 200 at 20000, 500/0 left",
        "opened 300 at 20000",
        "deal 150 at 20000, 350/0 left",
        "deal 300 at 20000, 50/0 left",
        "opened 300 at 20000",
        "deal 50 at 20000, 0/250 left",
    ];
    assert_eq!(public, &shown);
    let deals: Vec<&str> = shown.into_iter().filter(|line| line.starts_with("deal")).collect();
    assert_eq!(taker, &deals);

    scene.clear();
    let [maker, _, public] = &scene.heard;
    assert_eq!(maker, &["closed 350 at 20000: Cancelled"]);
    assert_eq!(public, &["closed 250 at 20000: Cancelled"]);
    scene.town.stop();
}

#[test]
fn market_to_limit_rests_where_it_first_deals() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::open(dir.path());
    let at_market = |wh| Quote {
        market_to_limit: true,
        ..quote(Side::Buy, 25_000, wh)
    };
    scene.take(TAKER, at_market(500));
    assert_eq!(
        scene.heard[1],
        ["unmatched 500: NoCounterparty", "closed 500 at 25000: NoMarket"]
    );
    scene.take(MAKER, quote(Side::Sell, 20_000, 300));
    scene.take(MAKER, quote(Side::Sell, 20_100, 300));
    scene.take(TAKER, at_market(500));
    let [_, taker, public] = &scene.heard;
    let expected = ["deal 300 at 20000, 200/0 left", "opened 200 at 20000"];
    assert_eq!(taker, &expected);
    assert_eq!(public, &expected);
    scene.town.stop();
}

#[test]
fn each_self_trade_mode_cancels_whom_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::open(dir.path());
    // The taker's own ask of 400 comes first, the maker's of 300 after it; 500 come in.
    let cases: [(SelfTrade, &[&str]); 4] = [
        (
            SelfTrade::CancelNewest,
            &["unmatched 500: SelfTrade", "closed 500 at 21000: SelfTrade"],
        ),
        (
            SelfTrade::CancelOldest,
            &[
                "closed 400 at 20000: SelfTrade",
                "deal 300 at 20500, 200/0 left",
                "opened 200 at 21000",
            ],
        ),
        (
            SelfTrade::CancelBoth,
            &[
                "closed 400 at 20000: SelfTrade",
                "unmatched 500: SelfTrade",
                "closed 500 at 21000: SelfTrade",
            ],
        ),
        (
            SelfTrade::Decrement,
            &[
                "unmatched 400: SelfTrade",
                "closed 0 at 20000: SelfTrade",
                "deal 100 at 20500, 0/200 left",
            ],
        ),
    ];
    for (self_trade, expected) in cases {
        scene.take(TAKER, quote(Side::Sell, 20_000, 400));
        scene.take(MAKER, quote(Side::Sell, 20_500, 300));
        let bid = quote(Side::Buy, 21_000, 500);
        scene.take(TAKER, Quote { self_trade, ..bid });
        let [_, taker, public] = &scene.heard;
        // Midpoint of bid and ask.
        let expected: Vec<String> = expected
            .iter()
            .map(|line| line.replace("at 20500,", "at 20750,"))
            .collect();
        assert_eq!(taker, &expected, "{self_trade:?}");
        assert_eq!(public, &expected, "{self_trade:?}");
        scene.clear();
    }
    scene.town.stop();
}

#[test]
fn a_client_order_id_counts_once_whatever_its_nonce() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::open(dir.path());
    let named = |client_order_id| Quote {
        client_order_id,
        ..quote(Side::Sell, 20_000, 100)
    };
    let leaf = encode_quote(0, &named(7)).unwrap();
    let first = scene.town.envelope(MAKER, vec![leaf]);
    scene.take(MAKER, named(7));
    let again = |scene: &mut Scene| {
        scene.town.desk(MAKER).client.send_envelope(&first).unwrap();
        scene.town.desk(MAKER).answer().unwrap();
        scene.step();
        let refused = scene.town.desk(MAKER).refused_at_step();
        refused.iter().map(|refused| reject(refused.code)).collect::<Vec<_>>()
    };
    // Within the window its nonce tells; under a new one the id does, as do those below it.
    assert_eq!(again(&mut scene), [Reject::Duplicate]);
    for used in [7, 6] {
        assert_eq!(scene.send(MAKER, named(used)), Some(Reject::ClientOrderIdUsed));
    }
    // Beyond the window nobody remembers the nonce, and the id still does not count again.
    for _ in 0..17 {
        let next = scene.town.desk(MAKER).nonce;
        let burned = (0..64).map(|index| cancel(index, next + 1 + u64::from(index)));
        scene.town.post(MAKER, burned.collect());
        scene.town.desk(MAKER).nonce += 64;
        scene.step();
    }
    assert_eq!(again(&mut scene), [Reject::NonceOutOfWindow]);
    assert_eq!(scene.send(MAKER, named(7)), Some(Reject::ClientOrderIdUsed));
    // What is refused moves nothing; a name above is taken, and so is no name.
    let thin = Quote {
        display: Energy::new(1),
        ..quote(Side::Sell, 20_000, 101)
    };
    let refused = Quote {
        client_order_id: 9,
        ..thin
    };
    assert_eq!(scene.send(MAKER, refused), Some(Reject::DisplayOutOfBounds));
    for id in [0, 8, 0] {
        scene.take(MAKER, named(id));
    }
    scene.town.stop();
}

#[test]
fn a_hundredth_of_the_energy_shows_at_the_least() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::open(dir.path());
    let iceberg = |display, wh| Quote {
        display: Energy::new(display),
        ..quote(Side::Sell, 20_000, wh)
    };
    assert_eq!(scene.send(MAKER, iceberg(99, 9_901)), Some(Reject::DisplayOutOfBounds));
    assert_eq!(scene.heard, [Vec::<String>::new(), Vec::new(), Vec::new()]);
    scene.take(MAKER, iceberg(99, 9_900));
    scene.town.stop();
}
