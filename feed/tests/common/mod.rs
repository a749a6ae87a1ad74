//! One sample of every event.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod samples;

use wattbook_feed::signed::Alias;
use wattbook_types::{
    ChainId, CloseReason, ContractId, Deal, DealPrice, Energy, Event, Hash, MicroPrice, Money, OrderId, Param,
    ParticipantId, Phase, Ppm, Price, Reject, Roles, Sequenced, Side, TimeNs,
};

pub(crate) const BUYER: ParticipantId = ParticipantId::new(0x1111_2222_3333_4444);
pub(crate) const SELLER: ParticipantId = ParticipantId::new(0x5555_6666_7777_8888);
pub(crate) const STRANGER: ParticipantId = ParticipantId::new(3);
/// Nonces, meters and digests that must not show in public.
pub(crate) const NONCE: u64 = 0x9999_aaaa_bbbb_cccc;
pub(crate) const METER: u64 = 0xdddd_eeee_ffff_0123;
/// Energy that an owner keeps hidden.
pub(crate) const HIDDEN: u64 = 0x0765_4321;
pub(crate) const SECRET_HASH: Hash = Hash([0xa7; 32]);

pub(crate) fn alias() -> Alias {
    Alias::new([7; 32], ChainId(Hash([9; 32])))
}

pub(crate) fn contract() -> ContractId {
    ContractId::new(1_628_736, 1, 1)
}

pub(crate) fn bid() -> OrderId {
    OrderId {
        participant: BUYER,
        nonce: NONCE,
        index: 1,
    }
}

pub(crate) fn ask() -> OrderId {
    OrderId {
        participant: SELLER,
        nonce: NONCE + 1,
        index: 0x8000_0002,
    }
}

pub(crate) fn events() -> Vec<Sequenced> {
    let (contract, participant) = (contract(), BUYER);
    let (round, bond, energy) = (2, Money::new(1_000_000_000), Energy::new(250));
    let (price, reject) = (Price::new(-550), Reject::RevealUnfunded);
    let hidden = Energy::new(HIDDEN);
    let deal = Deal {
        contract,
        ordinal: 4,
        buyer: bid(),
        seller: ask(),
        price: DealPrice::new(-1_101),
        energy,
        charges: [100, 101, 50, -1],
    };
    let list = vec![
        Event::Registered {
            participant,
            roles: Roles::BUYER,
            minted: Money::new(5),
        },
        Event::Accepted {
            participant,
            nonce: NONCE,
            index: 1,
        },
        Event::Rejected {
            participant,
            nonce: NONCE,
            index: 1,
            reject: Reject::NoBalance,
        },
        Event::RevealAccepted {
            participant,
            contract,
            round,
        },
        Event::Sealed {
            participant,
            contract,
            round,
            bond,
        },
        Event::SealVoided {
            participant,
            contract,
            round,
            reject,
        },
        Event::BondReleased {
            participant,
            contract,
            round,
            bond,
        },
        Event::BondBurned {
            participant,
            contract,
            round,
            bond,
            reject,
        },
        Event::QuoteVoided {
            order: bid(),
            contract,
            reject,
        },
        Event::PhaseChanged {
            contract,
            phase: Phase::Ranked,
            round,
            time: TimeNs::from_secs(7),
        },
        Event::Ranked {
            contract,
            participant,
            reputation: Ppm::new(712_500),
            percentile: Ppm::new(30),
        },
        Event::Range {
            contract,
            round,
            participant,
            side: Side::Buy,
            pos: 1,
            range: 17,
        },
        Event::Charges {
            contract,
            charges: [1, 2, 3, 4],
        },
        Event::Cep {
            contract,
            cep: MicroPrice::new(95),
            volume_weighted: MicroPrice::new(96),
            deals: 50,
        },
        Event::VolatilityAlarm {
            contract,
            previous: MicroPrice::new(1),
            cep: MicroPrice::new(-2),
        },
        Event::UniformPrice {
            contract,
            round,
            price,
            volume: energy,
            lost: Energy::new(1),
        },
        Event::Opened {
            order: bid(),
            contract,
            side: Side::Buy,
            price,
            leaves: energy,
            hidden,
        },
        Event::Reduced {
            order: bid(),
            was: bid(),
            contract,
            side: Side::Buy,
            price,
            leaves: energy,
            hidden,
        },
        Event::Closed {
            order: bid(),
            contract,
            side: Side::Buy,
            price,
            leaves: energy,
            hidden,
            reason: CloseReason::Expired,
            resting: true,
        },
        Event::Unmatched {
            order: bid(),
            contract,
            side: Side::Buy,
            leaves: energy,
            reason: CloseReason::OutOfRange,
        },
        Event::Executed {
            deal,
            deal_id: SECRET_HASH,
            bid: price,
            ask: price,
            buyer_leaves: energy,
            seller_leaves: Energy::ZERO,
            buyer_hidden: hidden,
            seller_hidden: hidden,
            aggressor: Some(Side::Sell),
        },
        Event::DealsSealed {
            contract,
            height: 77,
            count: 5,
            deals_digest: SECRET_HASH,
        },
        Event::Contracted {
            contract,
            height: 77,
            first: 4,
            count: 5,
        },
        Event::DealVoided {
            contract,
            ordinal: 4,
            buyer: BUYER,
            seller: SELLER,
        },
        Event::Metered {
            participant,
            meter: METER,
            contract,
            import: energy,
            export: Energy::ZERO,
        },
        Event::MeterFrozen {
            participant,
            meter: METER,
        },
        Event::Settled {
            contract,
            ordinal: 4,
            buyer: BUYER,
            seller: SELLER,
            contracted: energy,
            settled: Energy::new(240),
            energy_paid: Money::new(-7),
            charge_paid: Money::new(8),
            buyer_penalty: Money::new(9),
            seller_penalty: Money::new(10),
        },
        Event::Balanced {
            contract,
            participant,
            side: Side::Sell,
            energy,
            paid: Money::new(-11),
            unpaid: Money::new(12),
        },
        Event::CleanMinted {
            contract,
            participant: SELLER,
            energy,
            minted: Money::new(13),
        },
        Event::DealRated {
            contract,
            ordinal: 4,
            participant: SELLER,
            good: true,
        },
        Event::Rated {
            contract,
            participant,
            reputation: Ppm::new(1),
            entered: 4,
            traded: 3,
            good: 2,
            declined: 1,
        },
        Event::Configured {
            param: Param::Range,
            value: 2,
        },
        Event::ParamsInForce {
            params_hash: Hash([2; 32]),
        },
        Event::MarketHalted {
            contract: None,
            reason: 6,
        },
        Event::MarketResumed {
            contract: Some(contract),
        },
        Event::Suspension {
            participant,
            suspended: true,
            reason: 6,
        },
        Event::Ticked {
            time: TimeNs::from_secs(8),
        },
    ];
    (1..).zip(list).map(|(seq, event)| Sequenced { seq, event }).collect()
}
