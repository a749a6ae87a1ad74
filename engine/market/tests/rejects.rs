//! Every answer the core can give, by name, with nothing else changed by what it answers. The last test holds the list to
//! `Reject::ALL`, so that a new code without a test fails.

mod support;

use std::collections::BTreeSet;
use support::{
    AMPLE, BUYER, GRID, METERS, POINT, REGULATOR, Rig, SELLER, TRADER, account, ask, at, bid, cancel, cancel_all,
    contract, id, order_of, reading, replace, reveal, seal, time,
};
use wattbook_market::{Genesis, Market};
use wattbook_types::command::{Configure, GridSignature, MarketAction, Rate, Replace, Seal};
use wattbook_types::delegate::{Candidacy, DelegateKeys, EmissionStatement, Evidence, Offence, Vote};
use wattbook_types::{
    ChainId, Command, ContractId, Energy, Envelope, Event, Hash, Item, Meter, MeterKind, Param, ParticipantId, Price,
    Quote, Registration, Reject, Reveal, Roles, Side, TimeInForce, TimeNs, Turn,
};

/// Answers the core never gives: of sessions, codecs and signatures, or of features that are not there yet.
const NOT_OF_THE_CORE: &[Reject] = &[
    Reject::Garbage,
    Reject::OversizeFrame,
    Reject::ShortFrame,
    Reject::UnknownMessage,
    Reject::MalformedMessage,
    Reject::NotLoggedOn,
    Reject::LogonRefused,
    Reject::NotThisParticipant,
    Reject::TooManySessions,
    Reject::SessionSuspended,
    Reject::NotAccepting,
    Reject::TooManyFromAddress,
    Reject::TooManyOfParticipant,
    Reject::MessageRate,
    Reject::ByteRate,
    Reject::NodeRate,
    Reject::LogonsExhausted,
    Reject::TimedOut,
    Reject::SlowConsumer,
    Reject::HeldTooMany,
    Reject::BadAdmission,
    Reject::BadKey,
    Reject::BadProofOfPossession,
    Reject::BadRoot,
    Reject::BadSignature,
    Reject::UnknownItem,
    Reject::UnknownAction,
    Reject::BadCandidacy,
];

/// The answers a test below reaches.
const REACHED: &[Reject] = &[
    Reject::StepRefused,
    Reject::BadMeters,
    Reject::AlreadyRegistered,
    Reject::KeyTaken,
    Reject::MeterTaken,
    Reject::AdmissionExpired,
    Reject::BadRoles,
    Reject::UnknownParticipant,
    Reject::BadCount,
    Reject::WrongKeyVersion,
    Reject::Expired,
    Reject::TtlTooLong,
    Reject::NonceOutOfWindow,
    Reject::Duplicate,
    Reject::Suspended,
    Reject::Quota,
    Reject::MalformedItem,
    Reject::RoleMissing,
    Reject::NotEnabled,
    Reject::UnknownContract,
    Reject::GateClosed,
    Reject::Halted,
    Reject::NotInPhase,
    Reject::WrongRound,
    Reject::AlreadySealed,
    Reject::BondClassOutOfRange,
    Reject::PriceOutOfBounds,
    Reject::EnergyZero,
    Reject::EnergyOutOfBounds,
    Reject::ChargeCapOutOfBounds,
    Reject::MinFillOutOfBounds,
    Reject::NotionalTooLarge,
    Reject::ConcessionViolated,
    Reject::BidBelowFloor,
    Reject::CapacityExceeded,
    Reject::NoBalance,
    Reject::UnknownOrder,
    Reject::WouldCross,
    Reject::ValidUntilPast,
    Reject::ClientOrderIdUsed,
    Reject::DisplayOutOfBounds,
    Reject::NoSeal,
    Reject::RevealMismatch,
    Reject::RevealEarly,
    Reject::RevealLate,
    Reject::AlreadyRevealed,
    Reject::NotRevealed,
    Reject::RevealUnfunded,
    Reject::RevealNotConceding,
    Reject::BondExceeded,
    Reject::TimeInForceNotSealed,
    Reject::UnknownDeal,
    Reject::NotCounterparty,
    Reject::AlreadyRated,
    Reject::DealsDigestMismatch,
    Reject::CountersignLate,
    Reject::UnknownMeter,
    Reject::MeterNotInPeriod,
    Reject::ReadingOutOfBounds,
    Reject::StaleRevision,
    Reject::MeterFrozen,
    Reject::UnknownParam,
    Reject::ParamOutOfBounds,
    Reject::ParamFixed,
    Reject::WrongEpoch,
    Reject::UnknownCandidate,
    Reject::StakeForfeited,
    Reject::StaleEmission,
    Reject::OtherChain,
    Reject::EvidenceOutOfTime,
    Reject::NotSeated,
    Reject::AlreadyJudged,
];

#[test]
fn every_answer_is_the_core_s_or_not() {
    let all: BTreeSet<Reject> = Reject::ALL.iter().copied().collect();
    let reached: BTreeSet<Reject> = REACHED.iter().copied().collect();
    let others: BTreeSet<Reject> = NOT_OF_THE_CORE.iter().copied().collect();
    assert!(reached.is_disjoint(&others));
    let known: BTreeSet<Reject> = reached.union(&others).copied().collect();
    let missing: Vec<_> = all.difference(&known).collect();
    assert!(missing.is_empty(), "answers without a test: {missing:?}");
    // A name in the list above is in a test below as well: once there, once here at least.
    let text = include_str!("rejects.rs");
    for reject in REACHED {
        let name = format!("Reject::{}", reject.name());
        let uses = text.match_indices(&name).filter(|(at, _)| {
            let next = text[at + name.len()..].chars().next();
            next.is_none_or(|c| !c.is_ascii_alphanumeric())
        });
        assert!(uses.count() > 1, "{name} is listed and not tested");
    }
}

/// Trading: the first contract's book is open, nothing has been quoted.
fn open() -> Rig {
    open_with(&[])
}

fn open_with(set: &[(Param, i64)]) -> Rig {
    let mut rig = Rig::new(set, 4);
    rig.run_to(0, at::CONTRACT, true);
    rig
}

fn q(quote: Quote) -> Item {
    Item::Quote(quote)
}

fn second(s: i64) -> u32 {
    (time(s).get() / 1_000_000_000) as u32
}

// The record.

#[test]
fn ticks() {
    let mut rig = open();
    let now = rig.market.state().time;
    for time in [now, TimeNs::new(now.get() - 1), TimeNs::ZERO, TimeNs::new(u64::MAX)] {
        rig.refuse_command(Command::Tick(time), Reject::StepRefused);
    }
}

#[test]
fn registrations() {
    let mut rig = open();
    let good = account(50, TRADER, 1_000);
    let with = |change: &dyn Fn(&mut Registration)| {
        let mut registration = good.clone();
        change(&mut registration);
        Command::Register(registration)
    };
    rig.refuse_command(with(&|r| r.meters[1].meter = r.meters[0].meter), Reject::BadMeters);
    let endless = |r: &mut Registration| r.meters.iter_mut().for_each(|m| m.export_cap = Energy::new(u64::MAX));
    rig.refuse_command(with(&endless), Reject::BadMeters);
    rig.refuse_command(with(&|r| r.participant = id(11)), Reject::AlreadyRegistered);
    let key_of_11 = account(11, 3, 1).public_key;
    rig.refuse_command(with(&|r| r.public_key = key_of_11), Reject::KeyTaken);
    rig.refuse_command(with(&|r| r.meters[0].meter = 110), Reject::MeterTaken);
    let now = rig.market.state().time;
    rig.refuse_command(
        with(&|r| r.not_after = TimeNs::new(now.get() - 1)),
        Reject::AdmissionExpired,
    );
    rig.refuse_command(with(&|r| r.participant = id(0)), Reject::BadRoles);
    rig.refuse_command(with(&|r| r.roles = Roles::from_bits(0x80)), Reject::BadRoles);
    rig.refuse_command(with(&|r| r.flags = 1), Reject::BadRoles);
    // The first that holds is given.
    let everything = |r: &mut Registration| {
        r.meters[1].meter = r.meters[0].meter;
        r.participant = id(11);
        r.flags = 1;
        r.not_after = TimeNs::ZERO;
    };
    rig.refuse_command(with(&everything), Reject::BadMeters);
    rig.refuse_command(
        with(&|r| {
            r.flags = 1;
            r.not_after = TimeNs::ZERO;
        }),
        Reject::AdmissionExpired,
    );
    rig.refuse_command(
        with(&|r| {
            r.not_after = TimeNs::ZERO;
            r.meters[0].meter = 110;
        }),
        Reject::MeterTaken,
    );
    let last = |r: &mut Registration| r.not_after = now;
    rig.apply(with(&last)).expect("good to this very instant");
}

#[test]
fn genesis_is_checked_like_everything_else() {
    let rig = Rig::new(&[], 0);
    let twice = Genesis {
        accounts: vec![account(1, 3, 1), account(1, 3, 1)],
        ..rig.genesis.clone()
    };
    assert_eq!(Market::new(twice).err(), Some(Reject::AlreadyRegistered));
    let mut genesis = rig.genesis;
    assert!(genesis.params.set(Param::SealS, 86_400));
    assert_eq!(Market::new(genesis).err(), Some(Reject::MalformedItem));
}

#[test]
fn headers() {
    let mut rig = open();
    let good = rig.envelope(11, vec![q(ask(0, 9_000, 1))]);
    let with = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = good.clone();
        change(&mut envelope);
        Command::Envelope(envelope)
    };
    let now = rig.market.state().time;
    rig.refuse_command(with(&|e| e.participant = id(99)), Reject::UnknownParticipant);
    rig.refuse_command(with(&|e| e.items.clear()), Reject::BadCount);
    rig.refuse_command(with(&|e| e.items = vec![cancel_all(None); 1_025]), Reject::BadCount);
    rig.refuse_command(with(&|e| e.key_version = 0), Reject::WrongKeyVersion);
    rig.refuse_command(with(&|e| e.key_version = 2), Reject::WrongKeyVersion);
    rig.refuse_command(with(&|e| e.not_after = TimeNs::new(now.get() - 1)), Reject::Expired);
    let latest = now.plus_secs(86_400);
    rig.refuse_command(
        with(&|e| e.not_after = TimeNs::new(latest.get() + 1)),
        Reject::TtlTooLong,
    );
    rig.refuse_command(with(&|e| e.nonce = 0), Reject::NonceOutOfWindow);
    rig.refuse_command(with(&|e| e.nonce = 1_025), Reject::NonceOutOfWindow);
    rig.refuse_command(with(&|e| e.nonce = u64::MAX), Reject::NonceOutOfWindow);
    rig.apply(with(&|e| e.not_after = latest)).expect("good to the ttl");
    let seq = rig.seq;
    assert_eq!(
        rig.refuse_command(with(&|_| ()), Reject::Duplicate),
        seq,
        "the answer names the record"
    );
    // The far end of the window, then one beyond it.
    rig.apply(with(&|e| (e.nonce, e.not_after) = (1_025, now)))
        .expect("good to this very instant");
    rig.refuse_command(with(&|e| e.nonce = 1_026), Reject::NonceOutOfWindow);

    rig.ok(REGULATOR, order_of(MarketAction::Suspend, None, 11));
    rig.refuse_command(with(&|e| e.nonce = 2), Reject::Suspended);
    rig.ok(REGULATOR, order_of(MarketAction::Reinstate, None, 11));
    rig.apply(with(&|e| e.nonce = 2)).expect("reinstated");

    let mut leaver = account(60, TRADER, 10);
    leaver.not_after = time(at::CONTRACT + 1);
    rig.register(leaver);
    rig.ok(60, q(ask(0, 9_000, 1)));
    rig.tick(at::CONTRACT + 2);
    let late = rig.envelope(60, vec![cancel_all(None)]);
    rig.refuse_command(Command::Envelope(late), Reject::Suspended);
}

#[test]
fn quota() {
    let mut rig = open_with(&[(Param::ItemsPerBlock, 5)]);
    rig.end_block();
    rig.send(11, vec![cancel_all(None); 3]);
    let three = rig.envelope(11, vec![cancel_all(None); 3]);
    rig.refuse_command(Command::Envelope(three.clone()), Reject::Quota);
    rig.send(12, vec![cancel_all(None); 5]);
    let two = Envelope {
        items: three.items[..2].to_vec(),
        ..three
    };
    rig.apply(Command::Envelope(two)).expect("five in all");
    rig.end_block();
    rig.send(11, vec![cancel_all(None); 5]);
}

// Items.

#[test]
fn what_the_decoder_refused_stays_refused() {
    let mut rig = open();
    for reject in [
        Reject::NotEnabled,
        Reject::MalformedItem,
        Reject::UnknownItem,
        Reject::UnknownAction,
    ] {
        rig.refuse(11, Item::Refused(reject), reject);
    }
}

#[test]
fn roles() {
    let mut rig = open();
    rig.register(account(20, BUYER, 100));
    rig.register(account(21, SELLER, 100));
    rig.refuse(20, q(ask(0, 9_000, 1)), Reject::RoleMissing);
    rig.refuse(21, q(bid(0, 9_000, 1)), Reject::RoleMissing);
    let sealed = reveal(METERS, 0, 1, 1, &[]);
    rig.refuse(METERS, seal(&sealed, 0), Reject::RoleMissing);
    let signature = Item::Grid(GridSignature {
        height: 1,
        deals_digest: Hash::ZERO,
    });
    let configure = Item::Configure(Configure { param: 1, value: 1 });
    for item in [
        signature,
        configure,
        reading(0, 110, 0, 1, 1),
        order_of(MarketAction::Halt, None, 0),
    ] {
        rig.refuse(11, item, Reject::RoleMissing);
    }
    // A role is asked for before the contract.
    rig.refuse(20, q(ask(9, 9_000, 1)), Reject::RoleMissing);
}

#[test]
fn contracts_and_gates() {
    let mut rig = open();
    let unknown = [
        contract(1),
        ContractId::new(support::PERIOD - 1, 1, 1),
        ContractId::new(support::PERIOD, 2, 1),
        ContractId::new(support::PERIOD, 1, 2),
        ContractId::from_raw(u64::MAX),
    ];
    let nonce = rig.ok(11, q(ask(0, 9_000, 10))).0;
    for other in unknown {
        rig.refuse(
            11,
            q(support::quote(other, Side::Sell, 9_000, 1)),
            Reject::UnknownContract,
        );
        rig.refuse(11, cancel_all(Some(other)), Reject::UnknownContract);
        let foreign = Seal {
            contract: other,
            round: 1,
            bond_class: 0,
            commitment: Hash::ZERO,
        };
        rig.refuse(11, Item::Seal(foreign), Reject::UnknownContract);
        rig.refuse(
            REGULATOR,
            order_of(MarketAction::Halt, Some(other), 0),
            Reject::UnknownContract,
        );
    }
    rig.refuse(11, replace(1, nonce, 0, 9_000, 1), Reject::UnknownContract);
    rig.refuse(METERS, reading(7, 1, 0, 0, 0), Reject::UnknownContract);
    rig.refuse(
        REGULATOR,
        order_of(MarketAction::Suspend, None, 99),
        Reject::UnknownParticipant,
    );

    rig.run_to(0, at::GATE_CLOSES, true);
    rig.refuse(11, q(ask(0, 9_000, 1)), Reject::GateClosed);
    rig.refuse(11, cancel(0, nonce, 0), Reject::GateClosed);
    rig.refuse(11, replace(0, nonce, 0, 9_000, 1), Reject::GateClosed);
    rig.refuse(11, seal(&reveal(11, 0, 3, 1, &[]), 0), Reject::GateClosed);
    rig.run_to(0, at::CLOSE, true);
    rig.refuse(11, q(ask(0, 9_000, 1)), Reject::UnknownContract);
}

#[test]
fn phases_and_halts() {
    let mut rig = Rig::new(&[], 2);
    for s in [at::GATE_OPENS, at::REVEAL, at::RANK, at::MATCH] {
        rig.run_to(0, s, true);
        rig.refuse(11, q(ask(0, 9_000, 1)), Reject::NotInPhase);
        rig.refuse(11, replace(0, 1, 0, 9_000, 1), Reject::NotInPhase);
        if s > at::GATE_OPENS {
            rig.refuse(11, seal(&reveal(11, 0, 1, 1, &[]), 0), Reject::NotInPhase);
        }
    }
    rig.run_to(0, at::CONTRACT, true);
    rig.refuse(11, seal(&reveal(11, 0, 2, 1, &[]), 0), Reject::NotInPhase);
    rig.refuse(
        11,
        q(Quote {
            round: 1,
            ..ask(0, 9_000, 1)
        }),
        Reject::WrongRound,
    );
    rig.ok(11, q(ask(0, 9_000, 1)));
    rig.run_to(0, at::GATE_OPENS + at::ROUND, true);
    for area in [false, true] {
        let halted = (!area).then_some(contract(0));
        rig.ok(REGULATOR, order_of(MarketAction::Halt, halted, 0));
        rig.refuse(11, q(ask(0, 9_000, 1)), Reject::Halted);
        rig.refuse(11, replace(0, 1, 0, 9_000, 1), Reject::Halted);
        rig.refuse(11, seal(&reveal(11, 0, 2, 1, &[]), 0), Reject::Halted);
        rig.ok(REGULATOR, order_of(MarketAction::Resume, halted, 0));
    }
}

#[test]
fn seals() {
    let mut rig = Rig::new(&[(Param::BondClassMin, 2), (Param::BondClassMax, 4)], 2);
    rig.run_to(0, at::GATE_OPENS, true);
    let first = reveal(11, 0, 1, 1, &[]);
    rig.refuse(11, seal(&reveal(11, 0, 2, 1, &[]), 2), Reject::WrongRound);
    rig.refuse(11, seal(&reveal(11, 0, 0, 1, &[]), 2), Reject::WrongRound);
    rig.refuse(11, seal(&first, 1), Reject::BondClassOutOfRange);
    rig.refuse(11, seal(&first, 5), Reject::BondClassOutOfRange);
    rig.refuse(11, seal(&first, 255), Reject::BondClassOutOfRange);
    rig.ok(11, seal(&first, 2));
    rig.refuse(11, seal(&first, 2), Reject::AlreadySealed);
    rig.refuse(11, seal(&reveal(11, 0, 1, 9, &[]), 255), Reject::AlreadySealed);
    // A bond nobody can pay locks nothing; its reveal finds no seal.
    let mut rig = Rig::new(&[(Param::RegistrationMint, POINT)], 2);
    rig.run_to(0, at::GATE_OPENS, true);
    let reveals = rig.seal(0, 1, 1, &[(11, &[])]);
    let events = rig.tick(at::REVEAL);
    let voided = |e: &Event| {
        matches!(
            e,
            Event::SealVoided {
                reject: Reject::NoBalance,
                ..
            }
        )
    };
    assert!(events.iter().any(voided));
    rig.refuse_command(Command::Reveal(reveals[0].clone()), Reject::NoSeal);
}

#[test]
fn terms() {
    let mut rig = open_with(&[(Param::EnergyMin, 5), (Param::PriceBound, 999_900)]);
    let good = ask(0, 9_000, 100);
    let nonce = rig.ok(11, q(good)).0;
    let wrong = [
        (
            Quote {
                price: Price::new(999_901),
                ..good
            },
            Reject::PriceOutOfBounds,
        ),
        (
            Quote {
                price: Price::new(-999_901),
                ..good
            },
            Reject::PriceOutOfBounds,
        ),
        (
            Quote {
                price: Price::new(i32::MIN),
                ..good
            },
            Reject::PriceOutOfBounds,
        ),
        (
            Quote {
                energy: Energy::ZERO,
                ..good
            },
            Reject::EnergyZero,
        ),
        (
            Quote {
                energy: Energy::new(4),
                ..good
            },
            Reject::EnergyOutOfBounds,
        ),
        (
            Quote {
                energy: Energy::new(4_000_000_001),
                ..good
            },
            Reject::EnergyOutOfBounds,
        ),
        (
            Quote {
                energy: Energy::new(u64::MAX),
                ..good
            },
            Reject::EnergyOutOfBounds,
        ),
        (
            Quote {
                min_fill: Energy::new(101),
                ..good
            },
            Reject::MinFillOutOfBounds,
        ),
    ];
    for (quote, reject) in wrong {
        rig.refuse(11, q(quote), reject);
        let same = Item::Replace(Replace {
            contract: quote.contract,
            target_nonce: nonce,
            target_index: 0,
            price: quote.price,
            charge_cap: quote.charge_cap,
            energy: quote.energy,
            min_fill: quote.min_fill,
            display: Energy::ZERO,
        });
        rig.refuse(11, same.clone(), reject);
        // Terms no order may have come before the order nobody has.
        let Item::Replace(same) = same else { unreachable!() };
        let nobody = Replace {
            target_nonce: 77,
            ..same
        };
        rig.refuse(11, Item::Replace(nobody), reject);
    }
    let cap = |charge_cap| {
        q(Quote {
            charge_cap,
            ..bid(0, 9_000, 100)
        })
    };
    rig.refuse(12, cap(-2), Reject::ChargeCapOutOfBounds);
    rig.refuse(12, cap(i32::MIN), Reject::ChargeCapOutOfBounds);
    rig.ok(12, cap(0));
    rig.ok(
        11,
        q(Quote {
            charge_cap: i32::MIN,
            ..good
        }),
    );
    // 2^62 nano-points at 4e9 Wh are 115,292,150.46 ticks.
    let mut rig = open_with(&[(Param::PriceBound, 2_147_483_647), (Param::Concession, 0)]);
    let dear = |side, price, charge_cap| {
        q(Quote {
            charge_cap,
            ..support::quote(contract(0), side, price, 4_000_000_000)
        })
    };
    rig.refuse(12, dear(Side::Buy, 115_292_151, 0), Reject::NotionalTooLarge);
    rig.refuse(12, dear(Side::Buy, 115_292_150, 1), Reject::NotionalTooLarge);
    rig.refuse(12, dear(Side::Buy, 115_292_150, 0), Reject::NoBalance);
    rig.refuse(12, dear(Side::Buy, 0, i32::MAX), Reject::NotionalTooLarge);
    rig.refuse(12, dear(Side::Buy, -115_292_151, 0), Reject::NotionalTooLarge);
    rig.refuse(11, dear(Side::Sell, -115_287_151, 0), Reject::NotionalTooLarge);
    rig.refuse(11, dear(Side::Sell, i32::MIN + 1, 0), Reject::NotionalTooLarge);
    rig.refuse(11, dear(Side::Sell, -115_287_150, 0), Reject::NoBalance);
    rig.refuse(11, dear(Side::Sell, 115_292_151, 0), Reject::NotionalTooLarge);
}

#[test]
fn client_order_ids_ascend_over_contracts() {
    let mut rig = open_with(&[(Param::Concession, 0)]);
    let named = |client_order_id, quote| {
        q(Quote {
            client_order_id,
            ..quote
        })
    };
    rig.ok(11, named(5, ask(0, 9_000, 10)));
    rig.refuse(11, named(5, ask(0, 9_000, 10)), Reject::ClientOrderIdUsed);
    rig.refuse(11, named(4, bid(0, 10, 10)), Reject::ClientOrderIdUsed);
    rig.ok(11, named(0, ask(0, 9_000, 10)));
    // A refused quote leaves the mark; one closed at once moves it.
    rig.refuse(11, named(9, ask(0, 9_000, 0)), Reject::EnergyZero);
    rig.ok(
        11,
        named(
            7,
            Quote {
                time_in_force: TimeInForce::Ioc,
                ..ask(0, 9_500, 10)
            },
        ),
    );
    rig.refuse(11, named(7, ask(0, 9_000, 10)), Reject::ClientOrderIdUsed);
    // Every other check comes first, the sweep's among them.
    let post = |price| Quote {
        time_in_force: TimeInForce::PostOnly,
        ..bid(0, price, 10)
    };
    rig.ok(12, named(3, bid(0, 100, 10)));
    rig.refuse(12, named(3, post(9_000)), Reject::WouldCross);
    rig.refuse(12, named(3, post(101)), Reject::ClientOrderIdUsed);
    // Ids are the account's, in whatever contract.
    rig.run_to(1, at::CONTRACT, true);
    rig.refuse(11, named(7, ask(1, 9_000, 10)), Reject::ClientOrderIdUsed);
    rig.ok(11, named(8, ask(1, 9_000, 10)));
}

#[test]
fn an_iceberg_shows_a_hundredth() {
    let mut rig = open_with(&[(Param::Concession, 0)]);
    let shows = |display, energy| Quote {
        display: Energy::new(display),
        ..ask(0, 9_000, energy)
    };
    rig.refuse(11, q(shows(9, 901)), Reject::DisplayOutOfBounds);
    let nonce = rig.ok(11, q(shows(9, 900))).0;
    let thin = Replace {
        contract: contract(0),
        target_nonce: nonce,
        target_index: 0,
        price: Price::new(9_000),
        charge_cap: -1,
        energy: Energy::new(801),
        min_fill: Energy::ZERO,
        display: Energy::new(8),
    };
    rig.refuse(11, Item::Replace(thin), Reject::DisplayOutOfBounds);
    let dearer = Replace {
        price: Price::new(9_100),
        ..thin
    };
    rig.refuse(11, Item::Replace(dearer), Reject::DisplayOutOfBounds);
    rig.ok(
        11,
        Item::Replace(Replace {
            energy: Energy::new(800),
            ..thin
        }),
    );
    // What never rests shows nothing, so it may say what it likes.
    rig.ok(
        11,
        q(Quote {
            time_in_force: TimeInForce::Ioc,
            ..shows(1, 10_000)
        }),
    );
    // A least execution fits the slice.
    rig.refuse(
        11,
        q(Quote {
            min_fill: Energy::new(11),
            ..shows(10, 100)
        }),
        Reject::MinFillOutOfBounds,
    );
}

#[test]
fn concession() {
    let mut rig = open();
    // Three steps in one envelope do not bind one another; the worst of them is the mark.
    let (_, events) = rig.send(11, vec![q(ask(0, 9_000, 1)), q(ask(0, 9_400, 1)), q(ask(0, 9_200, 1))]);
    assert_eq!(support::verdicts(&events), [Ok(()); 3]);
    rig.refuse(11, q(ask(0, 9_401, 1)), Reject::ConcessionViolated);
    let nonce = rig.ok(11, q(ask(0, 9_400, 1))).0;
    // The latest envelope alone decides: 9,300 and then 9,100 lower the mark to 9,100.
    rig.ok(11, q(ask(0, 9_300, 1)));
    rig.refuse(11, q(ask(0, 9_301, 1)), Reject::ConcessionViolated);
    rig.ok(11, q(ask(0, 9_100, 1)));
    // Neither a cancel, nor a fill, nor a refusal moves it.
    rig.ok(11, cancel_all(Some(contract(0))));
    rig.refuse(11, q(ask(0, 9_101, 1)), Reject::ConcessionViolated);
    rig.ok(11, q(ask(0, 9_100, 5)));
    rig.ok(12, q(bid(0, 9_100, 5)));
    rig.refuse(11, q(ask(0, 8_000, AMPLE)), Reject::EnergyOutOfBounds);
    rig.ok(11, q(ask(0, 9_100, 1)));
    // An envelope whose first step is refused is still one envelope.
    let (_, events) = rig.send(11, vec![q(ask(0, 9_200, 1)), q(ask(0, 9_050, 1)), q(ask(0, 9_100, 1))]);
    assert_eq!(
        support::verdicts(&events),
        [Err(Reject::ConcessionViolated), Ok(()), Ok(())]
    );
    rig.ok(11, q(ask(0, 9_100, 1)));
    // Replaces are quotes.
    rig.refuse(11, replace(0, nonce, 0, 9_101, 1), Reject::UnknownOrder);
    let nonce = rig.ok(11, q(ask(0, 9_000, 1))).0;
    rig.refuse(11, replace(0, nonce, 0, 9_001, 1), Reject::ConcessionViolated);
    rig.ok(11, replace(0, nonce, 0, 8_999, 1));
    rig.refuse(11, q(ask(0, 9_000, 1)), Reject::ConcessionViolated);
    // Sides, participants and contracts have marks of their own.
    rig.ok(14, q(bid(0, 8_000, 1)));
    rig.refuse(14, q(bid(0, 7_999, 1)), Reject::ConcessionViolated);
    rig.ok(11, q(bid(0, 1, 1)));
    rig.ok(13, q(ask(0, 12_000, 1)));
    rig.sign_block();
    rig.run_to(1, at::CONTRACT, true);
    rig.ok(11, q(ask(1, 12_000, 1)));
    let mut free = open_with(&[(Param::Concession, 0)]);
    free.quotes(11, &[ask(0, 9_000, 1), ask(0, 9_500, 1)]);
}

#[test]
fn concession_in_rounds() {
    let mut rig = Rig::new(&[], 2);
    rig.round(0, 1, 4, &[(11, &[ask(0, 9_000, 10), ask(0, 9_500, 10)])]);
    rig.refuse(11, q(ask(0, 9_501, 1)), Reject::ConcessionViolated);
    rig.ok(11, q(ask(0, 9_200, 1)));
    let events = rig.round(0, 2, 4, &[(11, &[ask(0, 9_200, 10), ask(0, 9_201, 10)])]);
    let burned = |e: &Event| {
        matches!(
            e,
            Event::BondBurned {
                reject: Reject::RevealNotConceding,
                bond,
                ..
            } if bond.get() == 16 * POINT
        )
    };
    assert!(events.iter().any(burned));
    let asks: Vec<i32> = rig.contract(0).book.side(Side::Sell).map(|o| o.price.get()).collect();
    assert_eq!(
        asks,
        [9_000, 9_200, 9_500],
        "the whole reveal is void and replaces nothing"
    );
    assert_eq!(rig.market.state().supply.burned, i128::from(16 * POINT));
    assert!(rig.position(0, 11).declined);
    // A void quote violates nothing.
    let reveals: &[(u64, &[Quote])] = &[(11, &[ask(0, 9_199, 10), ask(0, 1_000_000, 10)])];
    let events = rig.round(0, 3, 4, reveals);
    assert!(!events.iter().any(|e| matches!(e, Event::BondBurned { .. })));
    assert_eq!(voids(&events), [Reject::PriceOutOfBounds]);
    rig.refuse(11, q(ask(0, 9_200, 1)), Reject::ConcessionViolated);
}

/// A deal of `price` in contract `n`'s book.
fn deal_at(rig: &mut Rig, n: u32, price: i32) {
    rig.run_to(n, at::CONTRACT, true);
    rig.ok(11, q(ask(n, price, 100)));
    rig.ok(12, q(bid(n, price, 100)));
    rig.sign_block();
}

#[test]
fn floor_of_the_previous_period() {
    let mut rig = open_with(&[(Param::Floor, 2)]);
    rig.ok(12, q(bid(0, -999, 1)));
    deal_at(&mut rig, 0, 9_000);
    rig.run_to(1, at::CONTRACT, true);
    rig.refuse(12, q(bid(1, 8_999, 1)), Reject::BidBelowFloor);
    rig.refuse(12, q(bid(1, 9_000, 1)), Reject::BidBelowFloor);
    rig.ok(12, q(bid(1, 9_001, 1)));
    rig.ok(11, q(ask(1, 9_100, 1)));
    rig.run_to(2, at::GATE_OPENS, true);
    // Nothing was dealt in the second period: the third has no floor.
    rig.run_to(2, at::CONTRACT, true);
    rig.ok(12, q(bid(2, -5_000, 1)));
    // In a round, a bid below it is void by itself.
    let mut rig = open_with(&[(Param::Floor, 2)]);
    deal_at(&mut rig, 0, 9_000);
    rig.run_to(0, at::GATE_CLOSES - 1, true);
    let events = rig.round(1, 1, 4, &[(12, &[bid(1, 9_000, 1), bid(1, 9_001, 1)])]);
    assert_eq!(voids(&events), [Reject::BidBelowFloor]);
    assert_eq!(rig.contract(1).book.len(), 1);
}

#[test]
fn floor_of_the_day_before() {
    let mut rig = open();
    deal_at(&mut rig, 0, 9_000);
    deal_at(&mut rig, 1, 7_000);
    rig.run_to(95, at::CONTRACT, true);
    rig.ok(12, q(bid(95, -5_000, 1)));
    rig.run_to(96, at::CONTRACT, true);
    rig.refuse(12, q(bid(96, 9_000, 1)), Reject::BidBelowFloor);
    rig.ok(12, q(bid(96, 9_001, 1)));
    rig.run_to(97, at::CONTRACT, true);
    rig.refuse(12, q(bid(97, 7_000, 1)), Reject::BidBelowFloor);
    rig.ok(12, q(bid(97, 7_001, 1)));
    rig.run_to(98, at::CONTRACT, true);
    rig.ok(12, q(bid(98, -5_000, 1)));
}

#[test]
fn capacity() {
    let mut rig = Rig::new(&[], 2);
    rig.register(account(20, TRADER, 1_000));
    rig.run_to(0, at::CONTRACT, true);
    rig.refuse(20, q(ask(0, 9_000, 1_001)), Reject::CapacityExceeded);
    let nonce = rig.ok(20, q(ask(0, 9_000, 600))).0;
    rig.refuse(20, q(ask(0, 9_000, 401)), Reject::CapacityExceeded);
    // A replace gives back what it replaces; a sale stays used; a purchase counts against sales.
    rig.refuse(20, replace(0, nonce, 0, 9_000, 1_001), Reject::CapacityExceeded);
    let nonce = rig.ok(20, replace(0, nonce, 0, 9_000, 1_000)).0;
    rig.ok(12, q(bid(0, 9_000, 300)));
    rig.refuse(20, replace(0, nonce, 0, 9_000, 701), Reject::CapacityExceeded);
    rig.ok(20, cancel(0, nonce, 0));
    rig.refuse(20, q(ask(0, 9_000, 701)), Reject::CapacityExceeded);
    rig.ok(11, q(ask(0, 9_500, 50)));
    rig.ok(20, q(bid(0, 9_500, 50)));
    rig.refuse(20, q(ask(0, 9_000, 751)), Reject::CapacityExceeded);
    rig.ok(20, q(ask(0, 9_000, 750)));
    rig.sign_block();
    // A reveal replaces the open asks; what exceeds the capacity is void by itself.
    let events = rig.round(
        0,
        2,
        4,
        &[(20, &[ask(0, 9_000, 700), ask(0, 9_000, 51), ask(0, 9_000, 50)])],
    );
    assert_eq!(voids(&events), [Reject::CapacityExceeded]);
    assert_eq!(rig.position(0, 20).open_asks.get(), 750);
}

#[test]
fn balance() {
    // 0.103 points: 1,000 Wh at 10,000 ticks and a cap of 300.
    let mut rig = open_with(&[(Param::RegistrationMint, 103_000_000)]);
    rig.refuse(12, q(bid(0, 10_001, 1_000)), Reject::NoBalance);
    let nonce = rig.ok(12, q(bid(0, 10_000, 1_000))).0;
    rig.refuse(12, q(bid(0, 10_000, 1)), Reject::NoBalance);
    rig.refuse(12, replace(0, nonce, 0, 10_001, 1_000), Reject::NoBalance);
    let nonce = rig.ok(12, replace(0, nonce, 0, 10_001, 999)).0;
    rig.refuse(12, replace(0, nonce, 0, 10_001, 1_000), Reject::NoBalance);
    // A seller holds its penalty, and a negative price.
    rig.refuse(11, q(ask(0, 10_002, 2_061)), Reject::NoBalance);
    rig.ok(11, q(ask(0, 10_002, 2_060)));
    rig.refuse(13, q(ask(0, -5_301, 1_000)), Reject::NoBalance);
    rig.ok(13, q(ask(0, -5_300, 1)));
}

#[test]
fn orders_and_burned_targets() {
    let mut rig = open();
    let nonce = rig.ok(11, q(ask(0, 9_000, 10))).0;
    rig.refuse(11, cancel(0, nonce, 1), Reject::UnknownOrder);
    rig.refuse(11, replace(0, nonce, 1, 9_000, 1), Reject::UnknownOrder);
    rig.refuse(12, cancel(0, 2_000, 0), Reject::UnknownOrder);
    rig.refuse(12, replace(0, nonce, 0, 9_000, 1), Reject::UnknownOrder);
    rig.ok(11, cancel(0, nonce, 0));
    rig.refuse(11, cancel(0, nonce, 0), Reject::UnknownOrder);
    rig.ok(11, cancel_all(Some(contract(0))));
    rig.ok(11, cancel_all(None));
    // An unseen target is burned: the late original finds its nonce used, at the record of the cancel.
    let late = rig.envelope(12, vec![q(bid(0, 9_000, 10))]);
    rig.ok(12, cancel(0, late.nonce, 0));
    let seq = rig.seq;
    assert_eq!(rig.refuse_command(Command::Envelope(late), Reject::Duplicate), seq);
    // Contract 0 and an envelope's nonce: all of its orders in every contract.
    rig.run_to(1, at::CONTRACT, true);
    let (nonce, _) = rig.send(11, vec![q(ask(1, 9_000, 1)), q(ask(1, 9_000, 2)), q(ask(1, 9_000, 3))]);
    let all = wattbook_types::command::Cancel {
        contract: None,
        target_nonce: nonce,
        target_index: wattbook_types::command::ALL_INDEXES,
    };
    rig.ok(11, cancel(1, nonce, 1));
    assert_eq!(rig.contract(1).book.len(), 2);
    rig.ok(11, Item::Cancel(all));
    assert!(rig.contract(1).book.is_empty());
    rig.refuse(11, Item::Cancel(all), Reject::UnknownOrder);
}

#[test]
fn post_only() {
    let mut rig = open_with(&[(Param::Concession, 0)]);
    let post = |quote: Quote| {
        q(Quote {
            time_in_force: TimeInForce::PostOnly,
            ..quote
        })
    };
    rig.ok(11, q(ask(0, 9_000, 10)));
    rig.refuse(12, post(bid(0, 9_000, 10)), Reject::WouldCross);
    let nonce = rig.ok(12, post(bid(0, 8_999, 10))).0;
    rig.refuse(12, replace(0, nonce, 0, 9_000, 10), Reject::WouldCross);
    assert_eq!(rig.contract(0).book.len(), 2);
    rig.ok(12, replace(0, nonce, 0, 8_998, 10));
}

/// `counterparty` lets only the first bidder have the ask of the last in reputation. The old order stands first; the one that
/// replaces it stands second, so it crosses nothing.
#[test]
fn post_only_replace_is_judged_without_its_old_order() {
    let mut rig = open_with(&[(Param::Range, 2), (Param::Concession, 0)]);
    let uncovered = |price| Quote {
        charge_cap: 0,
        ..bid(0, price, 10)
    };
    rig.ok(13, q(uncovered(8_700)));
    let post = Quote {
        time_in_force: TimeInForce::PostOnly,
        ..uncovered(8_800)
    };
    let nonce = rig.ok(12, q(post)).0;
    rig.ok(14, q(ask(0, 8_600, 10)));
    let nonce = rig.ok(12, replace(0, nonce, 0, 8_650, 10)).0;
    let bids: Vec<i32> = rig.contract(0).book.side(Side::Buy).map(|o| o.price.get()).collect();
    assert_eq!(bids, [8_700, 8_650]);
    // In front of the other it would trade; refused, the old order keeps its place.
    rig.refuse(12, replace(0, nonce, 0, 8_701, 10), Reject::WouldCross);
}

#[test]
fn valid_until() {
    let mut rig = open();
    let until = |s| {
        q(Quote {
            time_in_force: TimeInForce::Until,
            valid_until_s: second(s),
            ..ask(0, 9_000, 1)
        })
    };
    rig.refuse(11, until(at::CONTRACT - 1), Reject::ValidUntilPast);
    rig.ok(11, until(at::CONTRACT));
    // It counts with that time in force only.
    rig.ok(
        11,
        q(Quote {
            valid_until_s: 1,
            ..ask(0, 9_000, 1)
        }),
    );
}

// Reveals.

/// Why quotes were void.
fn voids(events: &[Event]) -> Vec<Reject> {
    let reject = |event: &Event| match event {
        Event::QuoteVoided { reject, .. } => Some(*reject),
        _ => None,
    };
    events.iter().filter_map(reject).collect()
}

#[test]
fn reveals() {
    let mut rig = Rig::new(&[], 3);
    let send = |reveal: &Reveal| Command::Reveal(reveal.clone());
    let early = reveal(11, 0, 1, 1, &[ask(0, 9_000, 10)]);
    rig.refuse_command(send(&early), Reject::UnknownContract);
    rig.run_to(0, at::GATE_OPENS, true);
    let good = rig.seal(0, 1, 4, &[(11, &[ask(0, 9_000, 10)])]).remove(0);
    rig.refuse_command(send(&good), Reject::RevealEarly);
    rig.run_to(0, at::REVEAL, true);
    let with = |change: &dyn Fn(&mut Reveal)| {
        let mut reveal = good.clone();
        change(&mut reveal);
        Command::Reveal(reveal)
    };
    let round = |n: u32| with(&|r| r.round = n);
    rig.refuse_command(
        with(&|r| r.participant = ParticipantId::new(99)),
        Reject::UnknownParticipant,
    );
    rig.refuse_command(with(&|r| r.contract = contract(1)), Reject::UnknownContract);
    for n in [0, 2, 65_537, u32::MAX] {
        rig.refuse_command(round(n), Reject::WrongRound);
    }
    rig.refuse_command(with(&|r| r.participant = id(12)), Reject::NoSeal);
    rig.refuse_command(with(&|r| r.commitment = Hash([1; 32])), Reject::RevealMismatch);
    rig.apply(send(&good)).expect("a wrong one may be tried again");
    rig.refuse_command(send(&good), Reject::AlreadyRevealed);
    rig.run_to(0, at::RANK, true);
    rig.refuse_command(send(&good), Reject::RevealLate);
    rig.run_to(0, at::GATE_OPENS + at::ROUND, true);
    rig.refuse_command(send(&good), Reject::RevealLate);
    rig.run_to(0, at::GATE_CLOSES, true);
    rig.refuse_command(send(&good), Reject::RevealLate);
    rig.run_to(0, at::CLOSE, true);
    rig.refuse_command(send(&good), Reject::UnknownContract);
}

fn burns(events: &[Event]) -> Vec<(u64, i64, Reject)> {
    let burn = |event: &Event| match event {
        Event::BondBurned {
            participant,
            bond,
            reject,
            ..
        } => Some((participant.get(), bond.get(), *reject)),
        _ => None,
    };
    events.iter().filter_map(burn).collect()
}

#[test]
fn bonds_burn_for_silence_and_want_of_money() {
    let mut rig = Rig::new(&[(Param::RegistrationMint, 18 * POINT)], 3);
    rig.run_to(0, at::GATE_OPENS, true);
    // 18 points: a bond of 16 leaves 2; 2,000 Wh at 99,700 + 300 ticks hold exactly 2 points.
    let reveals = rig.seal(
        0,
        1,
        4,
        &[
            (11, &[bid(0, 99_700, 2_000)]),
            (12, &[bid(0, 99_700, 2_001)]),
            (13, &[]),
        ],
    );
    rig.run_to(0, at::REVEAL, true);
    assert_eq!(rig.pockets(11), [2 * POINT, 0, 0, 16 * POINT]);
    rig.reveal(&reveals[..2]);
    let events = rig.tick(at::RANK);
    rig.end_block();
    let bond = 16 * POINT;
    assert_eq!(
        burns(&events),
        [(12, bond, Reject::RevealUnfunded), (13, bond, Reject::NotRevealed)]
    );
    assert_eq!(rig.pockets(11), [bond, 2 * POINT, 0, 0]);
    assert_eq!(rig.pockets(12), [2 * POINT, 0, 0, 0]);
    assert_eq!(rig.market.state().supply.burned, 2 * i128::from(bond));
    assert_eq!(rig.account(13).profile().locked.get(), 2 * POINT);
    let declined = [11, 12, 13].map(|serial| rig.position(0, serial).declined);
    assert_eq!(declined, [false, true, true]);
}

#[test]
fn a_reveal_may_spend_what_the_orders_it_replaces_hold() {
    // 120,000,000: the resting bid holds 103,000,000, the bond 16,000,000, which leaves 104,000,000 with the bid's own.
    for (price, burned) in [(10_100, false), (10_101, true)] {
        let mut rig = Rig::new(
            &[(Param::RegistrationMint, 120_000_000), (Param::BondUnit, 1_000_000)],
            2,
        );
        rig.run_to(0, at::CONTRACT, true);
        rig.ok(12, q(bid(0, 10_000, 1_000)));
        let events = rig.round(0, 2, 4, &[(12, &[bid(0, price, 1_000)])]);
        assert_eq!(burns(&events).len(), usize::from(burned));
        let book: Vec<i32> = rig.contract(0).book.side(Side::Buy).map(|o| o.price.get()).collect();
        assert_eq!(book, [if burned { 10_000 } else { price }]);
    }
}

#[test]
fn a_burned_bond_unlocks_nothing() {
    let mut rig = Rig::new(&[], 2);
    rig.run_to(0, at::CONTRACT, true);
    // All but the bond is reserved while the bond burns.
    rig.ok(12, q(bid(0, 999_700, 99_000)));
    rig.run_to(0, at::GATE_OPENS + at::ROUND, true);
    rig.seal(0, 2, 3, &[(12, &[])]);
    rig.run_to(0, at::RANK + at::ROUND, true);
    rig.ok(12, cancel_all(None));
    assert_eq!((rig.free(12), rig.account(12).payable().get()), (992 * POINT, 0));
}

#[test]
fn quotes_of_a_reveal_are_void_one_by_one() {
    // Bond 1 point: alpha 10 % allows 10 points: 1,000 Wh at 500,000 ticks are 5.
    let mut rig = Rig::new(&[], 3);
    let other = |quote: Quote, time_in_force| Quote { time_in_force, ..quote };
    let five = ask(0, 500_000, 1_000);
    let exact: &[Quote] = &[five, five, ask(0, 1, 1), ask(0, 0, 1)];
    let tifs: &[Quote] = &[
        other(bid(0, 9_000, 1), TimeInForce::Fok),
        other(bid(0, 9_000, 1), TimeInForce::PostOnly),
        other(bid(0, 9_000, 1), TimeInForce::Ioc),
        Quote {
            valid_until_s: second(at::RANK - 1),
            ..other(bid(0, 9_000, 1), TimeInForce::Until)
        },
        Quote {
            charge_cap: -2,
            ..bid(0, 9_000, 1)
        },
        bid(0, 9_000, 0),
        Quote {
            min_fill: Energy::new(2),
            ..bid(0, 9_000, 1)
        },
    ];
    // A void quote still counts against the bond, and precedence holds: its price is named before its bond.
    let beyond: &[Quote] = &[bid(0, 1_000_001, 1_000), bid(0, 1, 1)];
    let events = rig.round(0, 1, 0, &[(11, exact), (12, tifs), (13, beyond)]);
    let want = [
        Reject::BondExceeded,
        Reject::BondExceeded,
        Reject::TimeInForceNotSealed,
        Reject::TimeInForceNotSealed,
        Reject::ValidUntilPast,
        Reject::ChargeCapOutOfBounds,
        Reject::EnergyZero,
        Reject::MinFillOutOfBounds,
        Reject::PriceOutOfBounds,
        Reject::BondExceeded,
    ];
    assert_eq!(voids(&events), want);
    assert!(burns(&events).is_empty());
    assert_eq!(rig.contract(0).book.side(Side::Sell).count(), 2);
    // A leaf the decoder voided, and a role.
    let mut rig = Rig::new(&[], 1);
    rig.register(account(20, BUYER, 10));
    rig.run_to(0, at::GATE_OPENS, true);
    let mut opened = reveal(20, 0, 1, 1, &[bid(0, 9_000, 1), ask(0, 9_000, 1)]);
    opened.quotes.push(Err(Reject::NotEnabled));
    rig.ok(20, seal(&opened, 0));
    rig.run_to(0, at::REVEAL, true);
    rig.reveal(&[opened]);
    assert_eq!(voids(&rig.tick(at::RANK)), [Reject::RoleMissing, Reject::NotEnabled]);
}

// Everybody else's leaves.

#[test]
fn countersignatures() {
    let mut rig = open();
    rig.ok(11, q(ask(0, 9_000, 10)));
    rig.ok(12, q(bid(0, 9_000, 10)));
    let signature = |height, deals_digest| Item::Grid(GridSignature { height, deals_digest });
    let height = rig.height + 1;
    rig.refuse(GRID, signature(height, Hash::ZERO), Reject::UnknownDeal);
    let sealed = rig.end_block();
    let Event::DealsSealed { deals_digest, .. } = sealed[0] else {
        panic!("{sealed:?}");
    };
    rig.refuse(GRID, signature(height, Hash::ZERO), Reject::DealsDigestMismatch);
    rig.refuse(GRID, signature(height + 1, deals_digest), Reject::UnknownDeal);
    rig.tick(at::CONTRACT + 60);
    rig.ok(GRID, signature(height, deals_digest));
    rig.refuse(GRID, signature(height, deals_digest), Reject::UnknownDeal);
    // Made and overdue within one block: named, and late at once; void at the next Tick.
    rig.ok(12, q(bid(0, 9_000, 10)));
    rig.ok(11, q(ask(0, 9_000, 10)));
    rig.tick(at::CONTRACT + 121);
    let sealed = rig.end_block();
    let Event::DealsSealed {
        height, deals_digest, ..
    } = sealed[0]
    else {
        panic!("{sealed:?}");
    };
    rig.refuse(GRID, signature(height, deals_digest), Reject::CountersignLate);
    rig.tick(at::CONTRACT + 122);
    rig.refuse(GRID, signature(height, deals_digest), Reject::UnknownDeal);
}

#[test]
fn ratings() {
    let mut rig = open();
    rig.ok(11, q(ask(0, 9_000, 10)));
    let (_, events) = rig.ok(12, q(bid(0, 9_000, 10)));
    let Some(Event::Executed { deal_id, .. }) = events.iter().find(|e| matches!(e, Event::Executed { .. })) else {
        panic!("{events:?}");
    };
    let rate = |deal_id, good| Item::Rate(Rate { deal_id, good });
    let deal_id = *deal_id;
    rig.refuse(11, rate(Hash::ZERO, true), Reject::UnknownDeal);
    rig.refuse(13, rate(deal_id, true), Reject::NotCounterparty);
    rig.ok(11, rate(deal_id, true));
    rig.refuse(11, rate(deal_id, false), Reject::AlreadyRated);
    rig.ok(12, rate(deal_id, false));
    rig.refuse(12, rate(deal_id, false), Reject::AlreadyRated);
    rig.sign_block();
    rig.run_to(0, at::CLOSE, true);
    rig.refuse(13, rate(deal_id, true), Reject::UnknownDeal);
}

#[test]
fn meters() {
    let mut rig = Rig::new(&[], 1);
    let mut small = account(20, TRADER, 1_000);
    small.meters.push(Meter {
        meter: 999,
        import_cap: Energy::new(5),
        export_cap: Energy::new(6),
        kind: MeterKind::Storage,
    });
    rig.register(small);
    rig.run_to(0, at::DELIVERY, true);
    rig.refuse(METERS, reading(0, 12_345, 0, 0, 0), Reject::UnknownMeter);
    rig.refuse(METERS, reading(0, 999, 0, 1, 1), Reject::MeterNotInPeriod);
    rig.run_to(0, at::METERING, true);
    rig.refuse(METERS, reading(1, 999, 0, 1, 1), Reject::MeterNotInPeriod);
    rig.refuse(METERS, reading(0, 999, 0, 6, 0), Reject::ReadingOutOfBounds);
    rig.refuse(METERS, reading(0, 999, 0, 0, 7), Reject::ReadingOutOfBounds);
    rig.ok(METERS, reading(0, 999, 3, 5, 6));
    rig.refuse(METERS, reading(0, 999, 3, 5, 6), Reject::StaleRevision);
    rig.refuse(METERS, reading(0, 999, 2, 0, 0), Reject::StaleRevision);
    rig.ok(METERS, reading(0, 999, 4, 1, 1));
    let (_, events) = rig.ok(METERS, reading(0, 999, 4, 1, 2));
    assert!(matches!(events[1], Event::MeterFrozen { meter: 999, .. }));
    rig.refuse(METERS, reading(0, 999, 5, 1, 2), Reject::MeterFrozen);
    rig.refuse(METERS, reading(0, 999, 4, 2, 2), Reject::MeterFrozen);
    assert_eq!(
        rig.contract(0).readings[&999].export,
        Energy::new(1),
        "the first of the conflict stands"
    );
    rig.run_to(1, at::METERING, true);
    rig.refuse(METERS, reading(1, 999, 0, 1, 1), Reject::MeterFrozen);
    rig.run_to(1, at::SETTLE, true);
    rig.refuse(METERS, reading(1, 200, 0, 1, 1), Reject::MeterNotInPeriod);
}

#[test]
fn parameters() {
    let mut rig = open();
    let set = |param, value| Item::Configure(Configure { param, value });
    rig.refuse(REGULATOR, set(0, 1), Reject::UnknownParam);
    rig.refuse(REGULATOR, set(Param::ALL.len() as u32 + 1, 1), Reject::UnknownParam);
    for param in Param::ALL {
        let (min, max) = param.bounds();
        let beyond = [min.checked_sub(1), max.checked_add(1), Some(i64::MIN), Some(i64::MAX)];
        for value in beyond.into_iter().flatten() {
            rig.refuse(REGULATOR, set(*param as u32, value), Reject::ParamOutOfBounds);
        }
    }
    // Within its bounds, against its neighbours; what is pending counts.
    rig.refuse(REGULATOR, set(Param::SealS as u32, 150), Reject::ParamOutOfBounds);
    rig.ok(REGULATOR, set(Param::RevealS as u32, 160));
    rig.ok(REGULATOR, set(Param::SealS as u32, 150));
    rig.refuse(REGULATOR, set(Param::RevealS as u32, 150), Reject::ParamOutOfBounds);
    rig.refuse(REGULATOR, set(Param::Rounds as u32, 4), Reject::ParamOutOfBounds);
    rig.refuse(REGULATOR, set(Param::SuspectTerms as u32, 4), Reject::ParamOutOfBounds);
    for param in [Param::EpochBlocks, Param::TermViews] {
        let (min, max) = param.bounds();
        for value in [param.default_value(), min, max] {
            rig.refuse(REGULATOR, set(param as u32, value), Reject::ParamFixed);
        }
    }
}

/// Keys of a delegate, by number.
fn delegate_keys(number: u8) -> DelegateKeys {
    DelegateKeys {
        peer_key: [number; 32],
        ballot_key: [number; 96],
    }
}

fn stands(number: u8) -> Item {
    Item::Candidacy(Candidacy {
        epoch: 1,
        keys: Some(delegate_keys(number)),
    })
}

fn votes(epoch: u64, candidate: Option<u64>) -> Item {
    Item::Vote(Vote {
        epoch,
        candidate: candidate.map(id),
    })
}

/// Five delegates, 21 to 25, of whom the first four sit.
fn committee(set: &[(Param, i64)]) -> Rig {
    let accounts = (21..26).map(|serial| account(serial, 64, 0));
    let seats = (21..25).map(|serial| (id(serial), delegate_keys(serial as u8)));
    Rig::new(set, 0).with_committee(accounts.collect(), seats.collect())
}

#[test]
fn votes_and_candidacies() {
    let mut rig = open();
    let mut alone = rig.clone();
    // Alone there is no candidate until one stands, and the next epoch is the first.
    rig.refuse(11, votes(1, Some(12)), Reject::UnknownCandidate);
    rig.refuse(11, votes(1, Some(999)), Reject::UnknownCandidate);
    for epoch in [0, 2, u64::MAX] {
        rig.refuse(11, votes(epoch, Some(12)), Reject::WrongEpoch);
    }
    rig.refuse(11, stands(1), Reject::RoleMissing);
    rig.ok(11, votes(1, None));

    rig.register(account(21, 64, 0));
    rig.register(account(22, 64, 0));
    let withdraws = Item::Candidacy(Candidacy { epoch: 1, keys: None });
    rig.refuse(21, withdraws.clone(), Reject::UnknownCandidate);
    rig.ok(21, stands(1));
    rig.refuse(22, stands(1), Reject::KeyTaken);
    let only = |peer: u8, ballot: u8| {
        let keys = DelegateKeys {
            peer_key: [peer; 32],
            ballot_key: [ballot; 96],
        };
        Item::Candidacy(Candidacy {
            epoch: 1,
            keys: Some(keys),
        })
    };
    rig.refuse(22, only(1, 2), Reject::KeyTaken);
    rig.refuse(22, only(2, 1), Reject::KeyTaken);
    let mut of_account = delegate_keys(2);
    of_account.ballot_key = account(11, 0, 0).public_key;
    let taken = Item::Candidacy(Candidacy {
        epoch: 1,
        keys: Some(of_account),
    });
    rig.refuse(22, taken, Reject::KeyTaken);
    let mut with_ballot_key = account(30, 1, 10);
    with_ballot_key.public_key = [1; 96];
    rig.refuse_command(Command::Register(with_ballot_key), Reject::KeyTaken);
    rig.ok(11, votes(1, Some(21)));
    rig.ok(21, withdraws.clone());
    rig.refuse(21, withdraws, Reject::UnknownCandidate);
    rig.refuse(12, votes(1, Some(21)), Reject::UnknownCandidate);
    rig.end_block();

    // Who is refused leaves no trace: the chain has no page of delegates.
    alone.refuse(11, votes(1, Some(12)), Reject::UnknownCandidate);
    alone.refuse(11, stands(1), Reject::RoleMissing);
    assert!(alone.market.state().dpos.is_none());
}

#[test]
fn emissions() {
    let mut rig = open();
    let states = |participant, period| {
        Item::Emission(EmissionStatement {
            participant: id(participant),
            period,
            grams: 5,
        })
    };
    let now = contract(0).period() - 2;
    rig.refuse(11, states(11, now), Reject::RoleMissing);
    rig.refuse(REGULATOR, states(999, now), Reject::UnknownParticipant);
    rig.refuse(REGULATOR, states(11, now + 1), Reject::StaleEmission);
    rig.refuse(REGULATOR, states(11, u32::MAX), Reject::StaleEmission);
    rig.ok(REGULATOR, states(11, now - 1));
    rig.ok(REGULATOR, states(11, now));
    rig.ok(REGULATOR, states(11, now));
    rig.refuse(REGULATOR, states(11, now - 1), Reject::StaleEmission);
}

#[test]
fn evidence() {
    let mut rig = committee(&[(Param::EpochBlocks, 1), (Param::EvidenceEpochs, 2)]);
    let chain = rig.genesis.chain;
    let found = |epoch, rank, offender, offence| {
        Command::Evidence(Evidence {
            chain,
            epoch,
            view: 1,
            rank,
            offender: id(offender),
            offence,
        })
    };
    let (twice, invalid) = (Offence::Equivocation, Offence::InvalidBlock);
    let Command::Evidence(of_another) = found(0, 0, 21, twice) else {
        unreachable!("evidence");
    };
    let of_another = Command::Evidence(Evidence {
        chain: ChainId::default(),
        ..of_another
    });
    rig.refuse_command(of_another, Reject::OtherChain);
    rig.refuse_command(found(1, 0, 21, twice), Reject::EvidenceOutOfTime);
    rig.refuse_command(found(u64::MAX, 0, 21, twice), Reject::EvidenceOutOfTime);
    for (rank, offender) in [(1, 21), (0, 22), (4, 25), (u32::MAX, 21), (0, 999), (0, 11)] {
        rig.refuse_command(found(0, rank, offender, twice), Reject::NotSeated);
    }
    rig.apply(found(0, 1, 22, invalid)).expect("the first time");
    rig.refuse_command(found(0, 1, 22, invalid), Reject::AlreadyJudged);
    rig.apply(found(0, 0, 21, twice)).expect("the first time");
    rig.refuse_command(found(0, 0, 21, twice), Reject::AlreadyJudged);
    rig.refuse_command(found(0, 0, 21, invalid), Reject::AlreadyJudged);
    // Its stake is gone: it neither votes nor stands, and nobody votes for it.
    rig.refuse(21, votes(1, Some(22)), Reject::StakeForfeited);
    rig.refuse(21, stands(90), Reject::StakeForfeited);
    rig.refuse(22, votes(1, Some(21)), Reject::UnknownCandidate);
    // Nobody has a stated emission, so the committee stays; evidence against epoch 0 holds until epoch 2 is over.
    for height in 1..=3 {
        let turn = Turn {
            height,
            epoch: height - 1,
            view: 1,
            producer: id(21),
        };
        rig.apply(found(0, 3, 24, invalid)).map_or_else(
            |refusal| assert_eq!((height > 1, refusal.reject), (true, Reject::AlreadyJudged)),
            |_| assert_eq!(height, 1),
        );
        rig.end_turn(&turn).expect("the first rank's turn");
    }
    rig.refuse_command(found(0, 2, 23, twice), Reject::EvidenceOutOfTime);
    rig.apply(found(1, 2, 23, twice)).expect("epoch 1 still answers");

    let mut alone = open();
    alone.refuse_command(found(0, 0, 21, twice), Reject::NotSeated);
}

#[test]
fn committees_of_genesis() {
    let rig = committee(&[]);
    let (genesis, seats) = (rig.genesis.clone(), rig.seats.clone());
    type Seats = Vec<(ParticipantId, DelegateKeys)>;
    let start = |change: &dyn Fn(&mut Genesis, &mut Seats)| {
        let (mut genesis, mut seats) = (genesis.clone(), seats.clone());
        change(&mut genesis, &mut seats);
        Market::with_committee(genesis, &seats).err()
    };
    assert_eq!(start(&|_, _| ()), None);
    assert_eq!(start(&|_, seats| seats.truncate(3)), Some(Reject::BadCount));
    assert_eq!(
        start(&|_, seats| seats[0].0 = id(999)),
        Some(Reject::UnknownParticipant)
    );
    assert_eq!(start(&|_, seats| seats[0].0 = id(GRID)), Some(Reject::RoleMissing));
    assert_eq!(start(&|_, seats| seats[0].0 = id(22)), Some(Reject::BadRoles));
    assert_eq!(start(&|_, seats| seats[0].1 = seats[1].1), Some(Reject::KeyTaken));
    let group = |genesis: &mut Genesis, from: usize| {
        (genesis.accounts.iter_mut().skip(from)).for_each(|account| account.group = Hash([7; 32]));
    };
    assert_eq!(start(&|genesis, _| group(genesis, 5)), Some(Reject::BadRoles));
    assert_eq!(start(&|genesis, _| group(genesis, 6)), None);
}
