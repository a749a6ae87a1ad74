//! The load as data: when envelopes arrive, and what they carry. Same seed, same load.

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

/// How envelopes arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// At random, independent of one another.
    Poisson,
}

/// Instants of arrival after the start, ns, ascending: `rate` a second on average.
pub(crate) fn schedule(arrivals: Arrivals, rate: u32, seconds: u32, seed: u64) -> Vec<u64> {
    let end = u64::from(seconds) * 1_000_000_000;
    match arrivals {
        Arrivals::Constant => {
            let count = u64::from(rate) * u64::from(seconds);
            (0..count).map(|i| i * 1_000_000_000 / u64::from(rate)).collect()
        }
        Arrivals::Poisson => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut at, mut instants) = (0, Vec::new());
            loop {
                at += exponential(rng.next_u64(), rate);
                if at >= end {
                    return instants;
                }
                instants.push(at);
            }
        }
    }
}

/// An exponentially distributed gap with mean `1 / rate`, ns.
#[expect(clippy::float_arithmetic, reason = "a measurement's schedule, not state")]
fn exponential(random: u64, rate: u32) -> u64 {
    // Uniform in (0, 1]: 53 random bits.
    let uniform = ((random >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-uniform.ln() * 1e9 / f64::from(rate)) as u64
}

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
    fn schedules_keep_their_rate_and_repeat() {
        let even = schedule(Arrivals::Constant, 4, 2, 1);
        assert_eq!(even, (0..8).map(|i| i * 250_000_000).collect::<Vec<u64>>());
        let random = schedule(Arrivals::Poisson, 1_000, 10, 7);
        assert_eq!(random, schedule(Arrivals::Poisson, 1_000, 10, 7));
        assert_ne!(random, schedule(Arrivals::Poisson, 1_000, 10, 8));
        assert!(random.windows(2).all(|w| w[0] <= w[1]));
        // Five standard deviations of a Poisson count of 10,000.
        assert!((9_500..10_500).contains(&random.len()), "{}", random.len());
    }

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
