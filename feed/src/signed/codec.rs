//! Leaves to items of the market core, and back.

use super::candidacy;
use super::envelope::LEAF_SIZE;
use super::leaf::*;
use core::num::TryFromIntError;
use wattbook_types::command::{
    Cancel, Configure, GridSignature, MarketAction, MarketOrder, Rate, Reading, Replace, Seal,
};
use wattbook_types::delegate::{Candidacy, EmissionStatement, Vote};
use wattbook_types::{
    ContractId, Energy, Hash, Item, ParticipantId, Price, Quote, Reject, SelfTrade, Side, TimeInForce,
};

const SIDE_BITS: u8 = 0b11;
const TIME_IN_FORCE_SHIFT: u32 = 2;
const TIME_IN_FORCE_BITS: u8 = 0b111;
const MARKET_TO_LIMIT: u8 = 1 << 5;
const SELF_TRADE_SHIFT: u8 = 6;

/// Why an item has no leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// An energy does not fit the leaf's 32 bits.
    #[error("an energy exceeds the 4,294,967,295 Wh of a leaf")]
    EnergyTooLarge,
    /// A refused leaf has lost its bytes.
    #[error("a refused leaf has no bytes")]
    Refused,
    /// A candidacy's leaf names the chain: [`super::encode_candidacy`].
    #[error("a candidacy's leaf is made for a chain")]
    NoLeaf,
}

impl From<TryFromIntError> for EncodeError {
    fn from(_: TryFromIntError) -> Self {
        Self::EnergyTooLarge
    }
}

/// The item of the leaf at `position`; what cannot be taken is [`Item::Refused`].
///
/// Precedence is that of [`Reject`]: malformed, unknown, not enabled, unknown action.
pub fn decode_leaf(bytes: &LeafBytes, position: u32) -> Item {
    item(bytes, position).unwrap_or_else(Item::Refused)
}

fn item(bytes: &LeafBytes, position: u32) -> Result<Item, Reject> {
    Ok(match Leaf::read(bytes, position)? {
        Leaf::Quote(leaf) => Item::Quote(quote(&leaf)?),
        Leaf::Cancel(leaf) => Item::Cancel(Cancel {
            contract: contract_or_all(leaf.contract),
            target_nonce: leaf.target_nonce,
            target_index: leaf.target_index,
        }),
        Leaf::Replace(leaf) => Item::Replace(Replace {
            contract: ContractId::from_raw(leaf.contract),
            target_nonce: leaf.target_nonce,
            target_index: leaf.target_index,
            price: Price::new(leaf.price),
            charge_cap: leaf.charge_cap,
            energy: energy(leaf.energy_wh),
            min_fill: energy(leaf.min_fill),
            display: energy(leaf.display),
        }),
        Leaf::Seal(leaf) => Item::Seal(Seal {
            contract: ContractId::from_raw(leaf.contract),
            round: leaf.round,
            bond_class: leaf.bond_class,
            commitment: Hash(leaf.commitment),
        }),
        Leaf::Rate(leaf) => Item::Rate(Rate {
            deal_id: Hash(leaf.deal_id),
            good: leaf.good != 0,
        }),
        Leaf::Grid(leaf) => Item::Grid(GridSignature {
            height: leaf.height,
            deals_digest: Hash(leaf.deals_digest),
        }),
        Leaf::Meter(leaf) => Item::Meter(Reading {
            meter: leaf.meter,
            period: leaf.period,
            revision: leaf.revision,
            import: energy(leaf.import_wh),
            export: energy(leaf.export_wh),
        }),
        Leaf::Configure(leaf) => Item::Configure(Configure {
            param: leaf.param,
            value: leaf.value,
        }),
        Leaf::Order(leaf) => Item::Order(MarketOrder {
            action: action(leaf.action).ok_or(Reject::UnknownAction)?,
            contract: contract_or_all(leaf.contract),
            participant: ParticipantId::new(leaf.participant),
            reason: leaf.reason,
        }),
        Leaf::Vote(leaf) => Item::Vote(Vote {
            epoch: leaf.epoch,
            candidate: (leaf.candidate != 0).then_some(ParticipantId::new(leaf.candidate)),
        }),
        Leaf::Emission(leaf) => Item::Emission(EmissionStatement {
            participant: ParticipantId::new(leaf.participant),
            period: leaf.period,
            grams: leaf.grams,
        }),
        Leaf::Transfer(leaf) if leaf.amount <= 0 => return Err(Reject::MalformedItem),
        Leaf::Key(leaf) => candidacy::without_keys(&leaf)?,
        Leaf::Confirm(_) | Leaf::Transfer(_) | Leaf::Redeem(_) | Leaf::Call(_) | Leaf::Dispute(_) => {
            return Err(Reject::NotEnabled);
        }
    })
}

/// The order of a quote leaf.
pub(super) fn quote(leaf: &QuoteLeaf) -> Result<Quote, Reject> {
    let side = match leaf.flags & SIDE_BITS {
        1 => Side::Buy,
        2 => Side::Sell,
        _ => return Err(Reject::MalformedItem),
    };
    let time_in_force =
        TimeInForce::from_raw(leaf.flags >> TIME_IN_FORCE_SHIFT & TIME_IN_FORCE_BITS).ok_or(Reject::MalformedItem)?;
    let market_to_limit = leaf.flags & MARKET_TO_LIMIT != 0;
    if market_to_limit && time_in_force == TimeInForce::PostOnly {
        return Err(Reject::MalformedItem);
    }
    Ok(Quote {
        contract: ContractId::from_raw(leaf.contract),
        client_order_id: leaf.client_order_id,
        round: leaf.round,
        side,
        time_in_force,
        price: Price::new(leaf.price),
        charge_cap: leaf.charge_cap,
        energy: energy(leaf.energy_wh),
        min_fill: energy(leaf.min_fill),
        valid_until_s: leaf.valid_until_s,
        display: energy(leaf.display),
        market_to_limit,
        self_trade: SelfTrade::ALL[usize::from(leaf.flags >> SELF_TRADE_SHIFT)],
    })
}

const fn energy(wh: u32) -> Energy {
    Energy::new(wh as u64)
}

const fn contract_or_all(raw: u64) -> Option<ContractId> {
    if raw == 0 {
        None
    } else {
        Some(ContractId::from_raw(raw))
    }
}

const fn action(raw: u8) -> Option<MarketAction> {
    match raw {
        1 => Some(MarketAction::Halt),
        2 => Some(MarketAction::Resume),
        3 => Some(MarketAction::Suspend),
        4 => Some(MarketAction::Reinstate),
        _ => None,
    }
}

/// The leaf of any item at `index`.
pub fn encode_item(index: u32, item: &Item) -> Result<LeafBytes, EncodeError> {
    match item {
        Item::Quote(quote) => encode_quote(index, quote),
        Item::Cancel(cancel) => Ok(encode_cancel(index, cancel)),
        Item::Replace(replace) => encode_replace(index, replace),
        Item::Seal(seal) => Ok(encode_seal(index, seal)),
        Item::Rate(rate) => Ok(encode_rate(index, rate)),
        Item::Grid(grid) => Ok(encode_grid(index, grid)),
        Item::Meter(reading) => encode_reading(index, reading),
        Item::Configure(configure) => Ok(encode_configure(index, configure)),
        Item::Order(order) => Ok(encode_market_order(index, order)),
        Item::Vote(vote) => Ok(encode_vote(index, vote)),
        Item::Emission(statement) => Ok(encode_emission(index, statement)),
        Item::Candidacy(Candidacy { epoch, keys: None }) => Ok(candidacy::encode_withdrawal(index, *epoch)),
        Item::Candidacy(_) => Err(EncodeError::NoLeaf),
        Item::Refused(_) => Err(EncodeError::Refused),
    }
}

/// Leaf 1.
pub fn encode_quote(index: u32, quote: &Quote) -> Result<LeafBytes, EncodeError> {
    Ok(bytemuck::cast(QuoteLeaf {
        kind: QUOTE,
        flags: quote.side as u8
            | (quote.time_in_force as u8) << TIME_IN_FORCE_SHIFT
            | if quote.market_to_limit { MARKET_TO_LIMIT } else { 0 }
            | (quote.self_trade as u8) << SELF_TRADE_SHIFT,
        round: quote.round,
        index,
        contract: quote.contract.get(),
        client_order_id: quote.client_order_id,
        price: quote.price.get(),
        charge_cap: quote.charge_cap,
        energy_wh: quote.energy.get().try_into()?,
        min_fill: quote.min_fill.get().try_into()?,
        display: quote.display.get().try_into()?,
        valid_until_s: quote.valid_until_s,
    }))
}

/// Leaf 2.
pub fn encode_cancel(index: u32, cancel: &Cancel) -> LeafBytes {
    bytemuck::cast(CancelLeaf {
        kind: CANCEL,
        flags: 0,
        round: 0,
        index,
        contract: cancel.contract.map_or(0, ContractId::get),
        target_nonce: cancel.target_nonce,
        target_index: cancel.target_index,
        reserved: [0; 20],
    })
}

/// Leaf 3.
pub fn encode_replace(index: u32, replace: &Replace) -> Result<LeafBytes, EncodeError> {
    Ok(bytemuck::cast(ReplaceLeaf {
        kind: REPLACE,
        flags: 0,
        round: 0,
        index,
        contract: replace.contract.get(),
        target_nonce: replace.target_nonce,
        target_index: replace.target_index,
        price: replace.price.get(),
        charge_cap: replace.charge_cap,
        energy_wh: replace.energy.get().try_into()?,
        min_fill: replace.min_fill.get().try_into()?,
        display: replace.display.get().try_into()?,
    }))
}

/// Leaf 4.
pub fn encode_seal(index: u32, seal: &Seal) -> LeafBytes {
    bytemuck::cast(SealLeaf {
        kind: SEAL,
        bond_class: seal.bond_class,
        round: seal.round,
        index,
        contract: seal.contract.get(),
        commitment: seal.commitment.0,
    })
}

/// Leaf 6.
pub fn encode_rate(index: u32, rate: &Rate) -> LeafBytes {
    bytemuck::cast(RateLeaf {
        kind: RATE,
        flags: 0,
        round: 0,
        index,
        deal_id: rate.deal_id.0,
        good: rate.good.into(),
        reserved: [0; 7],
    })
}

/// Leaf 10.
pub fn encode_grid(index: u32, grid: &GridSignature) -> LeafBytes {
    bytemuck::cast(GridLeaf {
        kind: GRID,
        flags: 0,
        round: 0,
        index,
        height: grid.height,
        deals_digest: grid.deals_digest.0,
    })
}

/// Leaf 12.
pub fn encode_reading(index: u32, reading: &Reading) -> Result<LeafBytes, EncodeError> {
    Ok(bytemuck::cast(MeterLeaf {
        kind: METER,
        flags: 0,
        round: 0,
        index,
        meter: reading.meter,
        period: reading.period,
        revision: reading.revision,
        import_wh: reading.import.get().try_into()?,
        export_wh: reading.export.get().try_into()?,
        reserved: [0; 16],
    }))
}

/// Leaf 14.
pub fn encode_configure(index: u32, configure: &Configure) -> LeafBytes {
    bytemuck::cast(ConfigureLeaf {
        kind: CONFIGURE,
        flags: 0,
        round: 0,
        index,
        param: configure.param,
        reserved0: 0,
        value: configure.value,
        reserved1: [0; 24],
    })
}

/// Leaf 15.
pub fn encode_market_order(index: u32, order: &MarketOrder) -> LeafBytes {
    bytemuck::cast(OrderLeaf {
        kind: ORDER,
        flags: 0,
        round: 0,
        index,
        action: order.action as u8,
        reserved0: [0; 7],
        contract: order.contract.map_or(0, ContractId::get),
        participant: order.participant.get(),
        reason: order.reason,
        reserved1: [0; 12],
    })
}

/// Leaf 9.
pub fn encode_vote(index: u32, vote: &Vote) -> LeafBytes {
    let mut leaf = bytemuck::cast::<LeafBytes, VoteLeaf>([0; LEAF_SIZE]);
    (leaf.kind, leaf.index, leaf.epoch) = (VOTE, index, vote.epoch);
    leaf.candidate = vote.candidate.map_or(0, ParticipantId::get);
    bytemuck::cast(leaf)
}

/// Leaf 16.
pub fn encode_emission(index: u32, statement: &EmissionStatement) -> LeafBytes {
    let mut leaf = bytemuck::cast::<LeafBytes, EmissionLeaf>([0; LEAF_SIZE]);
    (leaf.kind, leaf.index) = (EMISSION, index);
    (leaf.participant, leaf.period, leaf.grams) = (statement.participant.get(), statement.period, statement.grams);
    bytemuck::cast(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote_leaf(flags: u8, display: u32) -> LeafBytes {
        let mut leaf = bytemuck::cast::<LeafBytes, QuoteLeaf>([0; 48]);
        (leaf.kind, leaf.flags, leaf.display, leaf.index) = (QUOTE, flags, display, 3);
        bytemuck::cast(leaf)
    }

    #[test]
    fn quotes_are_refused_in_order_of_precedence() {
        for (flags, display, reject) in [
            (0, 0, Reject::MalformedItem),
            (3, 0, Reject::MalformedItem),
            (1 | 5 << 2, 0, Reject::MalformedItem),
            (MARKET_TO_LIMIT, 1, Reject::MalformedItem),
            (1 | 3 << 2 | MARKET_TO_LIMIT, 0, Reject::MalformedItem),
            (2 | 3 << 2 | MARKET_TO_LIMIT | 3 << 6, 5, Reject::MalformedItem),
        ] {
            assert_eq!(
                decode_leaf(&quote_leaf(flags, display), 3),
                Item::Refused(reject),
                "{flags:08b} {display}"
            );
        }
        assert!(matches!(decode_leaf(&quote_leaf(2 | 4 << 2, 0), 3), Item::Quote(_)));
        assert_eq!(decode_leaf(&quote_leaf(2, 0), 2), Item::Refused(Reject::MalformedItem));
    }

    #[test]
    fn every_combination_of_options_comes_back_with_its_bytes() {
        let mut decoded = 0;
        for (flags, display) in (0..=u8::MAX).flat_map(|flags| [(flags, 0), (flags, 7), (flags, u32::MAX)]) {
            let leaf = quote_leaf(flags, display);
            let Item::Quote(quote) = decode_leaf(&leaf, 3) else {
                continue;
            };
            decoded += 1;
            assert_eq!(encode_quote(3, &quote), Ok(leaf), "{flags:08b} {display}");
            assert_eq!(quote.display.get(), u64::from(display));
            assert_eq!(quote.market_to_limit, flags & 1 << 5 != 0);
            assert_eq!(quote.self_trade as u8, flags >> 6);
        }
        // 2 sides, 4 modes, 3 displays, 5 lives each with a limit or market-to-limit, but for post-only.
        assert_eq!(decoded, 2 * 4 * 3 * 9);
    }

    #[test]
    fn a_replace_says_what_is_shown() {
        let mut leaf = bytemuck::cast::<LeafBytes, ReplaceLeaf>([0; 48]);
        (leaf.kind, leaf.display) = (REPLACE, 9);
        let bytes = bytemuck::cast(leaf);
        let Item::Replace(replace) = decode_leaf(&bytes, 0) else {
            panic!("no replace");
        };
        assert_eq!(replace.display, Energy::new(9));
        assert_eq!(encode_replace(0, &replace), Ok(bytes));
    }

    #[test]
    fn votes_and_emissions_come_back_with_their_bytes() {
        let votes = [None, Some(ParticipantId::new(1)), Some(ParticipantId::new(u64::MAX))];
        for candidate in votes {
            let vote = Item::Vote(Vote { epoch: 9, candidate });
            let mut leaf = encode_item(2, &vote).expect("a vote has a leaf");
            assert_eq!(decode_leaf(&leaf, 2), vote);
            assert_eq!((leaf[0], leaf[8]), (9, 9));
            leaf[24] = 1;
            assert_eq!(decode_leaf(&leaf, 2), Item::Refused(Reject::MalformedItem));
        }
        let statement = Item::Emission(EmissionStatement {
            participant: ParticipantId::new(7),
            period: 1_628_736,
            grams: u64::MAX,
        });
        let mut leaf = encode_item(0, &statement).expect("a statement has a leaf");
        assert_eq!(decode_leaf(&leaf, 0), statement);
        assert_eq!(
            (leaf[0], leaf[8], &leaf[16..24]),
            (16, 7, &1_628_736u64.to_le_bytes()[..])
        );
        leaf[20] = 1;
        assert_eq!(decode_leaf(&leaf, 0), Item::Refused(Reject::MalformedItem));
    }

    #[test]
    fn unknown_kinds_and_actions_are_refused() {
        for kind in [0, 18, 255] {
            let mut leaf = [0; 48];
            leaf[0] = kind;
            assert_eq!(decode_leaf(&leaf, 0), Item::Refused(Reject::UnknownItem));
        }
        let mut leaf = [0; 48];
        (leaf[0], leaf[8]) = (ORDER, 5);
        assert_eq!(decode_leaf(&leaf, 0), Item::Refused(Reject::UnknownAction));
    }

    #[test]
    fn leaves_to_come_are_not_enabled_yet() {
        for kind in [CONFIRM, TRANSFER, REDEEM, KEY, CALL, DISPUTE] {
            let mut leaf = [0; 48];
            (leaf[0], leaf[16]) = (kind, 1);
            assert_eq!(decode_leaf(&leaf, 0), Item::Refused(Reject::NotEnabled), "{kind}");
            leaf[3] = 1;
            assert_eq!(decode_leaf(&leaf, 0), Item::Refused(Reject::MalformedItem), "{kind}");
        }
    }
}
