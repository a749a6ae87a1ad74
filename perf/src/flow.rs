//! The load as data: what envelopes carry. Same seed, same orders.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wattbook_feed::signed::{EncodeError, LeafBytes, encode_cancel, encode_quote};
use wattbook_types::command::Cancel;
use wattbook_types::{ContractId, Energy, Price, Quote, SelfTrade, Side, TimeInForce};

/// Most leaves an envelope carries by the default parameters.
pub(crate) const LEAVES_MAX: u32 = 1_024;
/// Middle of the book, ticks.
const MID: i32 = 20_000;
/// Passive orders lie this far from the middle at most, ticks.
const DEPTH: u64 = 50;
/// Energy of an order: at least 100 Wh, less than 1,000 Wh more.
const ENERGY_MIN: u64 = 100;
const ENERGY_SPAN: u64 = 900;
/// Shares of the flow, percent: passive orders, cancels; the rest is aggressive.
const PASSIVE: u64 = 55;
const CANCEL: u64 = 35;

/// The orders of one client.
#[derive(Debug)]
pub(crate) struct Orders {
    rng: ChaCha8Rng,
    contract: ContractId,
    /// Passive orders sent and not cancelled; some will have been filled.
    open: Vec<(u64, u32)>,
}

impl Orders {
    pub(crate) fn new(seed: u64, client: u64, contract: ContractId) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(client + 1);
        Self {
            rng,
            contract,
            open: Vec::new(),
        }
    }

    /// The leaves of the envelope `nonce`.
    pub(crate) fn leaves(&mut self, nonce: u64, len: u32) -> Result<Vec<LeafBytes>, EncodeError> {
        (0..len).map(|index| self.leaf(nonce, index)).collect()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn leaf(&mut self, nonce: u64, index: u32) -> Result<LeafBytes, EncodeError> {
        let draw = self.below(100);
        if (PASSIVE..PASSIVE + CANCEL).contains(&draw) && !self.open.is_empty() {
            let victim = self.below(self.open.len() as u64) as usize;
            let (target_nonce, target_index) = self.open.swap_remove(victim);
            return Ok(encode_cancel(
                index,
                &Cancel {
                    contract: Some(self.contract),
                    target_nonce,
                    target_index,
                },
            ));
        }
        let aggressive = draw >= PASSIVE + CANCEL;
        let side = if self.below(2) == 0 { Side::Buy } else { Side::Sell };
        // BOUND: below 51.
        let away = 1 + self.below(DEPTH) as i32;
        let up = (side == Side::Sell) != aggressive;
        let quote = Quote {
            contract: self.contract,
            // Ascending within an envelope and from one to the next.
            client_order_id: nonce * u64::from(LEAVES_MAX) + u64::from(index),
            round: 0,
            side,
            time_in_force: if aggressive {
                TimeInForce::Ioc
            } else {
                TimeInForce::Gate
            },
            price: Price::new(if up { MID + away } else { MID - away }),
            charge_cap: -1,
            energy: Energy::new(ENERGY_MIN + self.below(ENERGY_SPAN)),
            min_fill: Energy::ZERO,
            valid_until_s: 0,
            display: Energy::ZERO,
            market_to_limit: false,
            self_trade: SelfTrade::CancelNewest,
        };
        if !aggressive {
            self.open.push((nonce, index));
        }
        encode_quote(index, &quote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancels_name_orders_sent_before() {
        let mut orders = Orders::new(1, 0, ContractId::new(5, 1, 1));
        let leaves = orders.leaves(1, 1_000).unwrap();
        let kinds = leaves.iter().filter(|leaf| leaf[0] == 2).count();
        assert!((300..400).contains(&kinds), "{kinds}");
        assert_eq!(
            leaves,
            Orders::new(1, 0, ContractId::new(5, 1, 1)).leaves(1, 1_000).unwrap()
        );
    }
}
