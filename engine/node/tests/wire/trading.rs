//! Two traders and an open book.

use super::{Desk, Town, registration};
use std::path::Path;
use wattbook_feed::signed::{LeafBytes, encode_cancel, encode_quote};
use wattbook_node::config::Config;
use wattbook_types::command::{ALL_INDEXES, Cancel};
use wattbook_types::{
    ContractId, Energy, Param, ParticipantId, Price, Quote, Roles, SelfTrade, Side, TimeInForce, TimeNs,
};

/// Who trades.
pub(crate) const TRADERS: [ParticipantId; 2] = [ParticipantId::new(4), ParticipantId::new(5)];
/// What is traded.
pub(crate) const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);
/// Quotes of an envelope.
pub(crate) const QUOTES: u32 = 30;

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// `seconds` after delivery start.
fn at(seconds: i64) -> TimeNs {
    CONTRACT.delivery_start().plus_secs(seconds)
}

/// A town whose book is open.
pub(crate) fn open(dir: &Path, config: &Config) -> Town {
    let params = vec![(Param::Rounds, 1), (Param::Range, 0), (Param::Concession, 0)];
    let mut town = Town::start(dir, at(-1_300), params, config);
    let mut door = Desk::open(town.node.addr, 1);
    for who in TRADERS {
        let record = registration(town.chain, who, Roles::BUYER.union(Roles::SELLER));
        town.register(&mut door, &record);
    }
    town.witnessed_step_to(at(-1_200));
    town.witnessed_step_to(at(-990));
    for who in TRADERS {
        town.log_on(who);
    }
    town
}

/// An envelope's worth of quotes around one price, after a cancel of the envelope before the last.
pub(crate) fn leaves(dice: &mut Dice, nonce: u64) -> Vec<LeafBytes> {
    let cancel = Cancel {
        contract: Some(CONTRACT),
        target_nonce: nonce.saturating_sub(2).max(1),
        target_index: ALL_INDEXES,
    };
    let mut leaves = vec![encode_cancel(0, &cancel)];
    for index in 1..=QUOTES {
        let quote = Quote {
            contract: CONTRACT,
            // Ascending within an envelope and from one to the next.
            client_order_id: nonce * 100 + u64::from(index),
            round: 0,
            side: if dice.below(2) == 0 { Side::Buy } else { Side::Sell },
            time_in_force: TimeInForce::Gate,
            price: Price::new(20_000 + i32::try_from(dice.below(9)).unwrap() * 100),
            charge_cap: -1,
            energy: Energy::new(1 + dice.below(20)),
            min_fill: Energy::ZERO,
            valid_until_s: 0,
            display: Energy::ZERO,
            market_to_limit: false,
            self_trade: SelfTrade::CancelNewest,
        };
        leaves.push(encode_quote(index, &quote).unwrap());
    }
    leaves
}

/// So many seconds of trading.
pub(crate) fn trade(town: &mut Town, dice: &mut Dice, seconds: u32) {
    for _ in 0..seconds {
        for who in TRADERS {
            let nonce = town.desk(who).nonce;
            town.post(who, leaves(dice, nonce));
        }
        town.witnessed_step();
    }
}
