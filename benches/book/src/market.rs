//! The whole market core, one command at a time: `core/commands`.
//!
//! # Contract
//! * Commands are the operations of the standard flow, one an envelope, already verified: decoding and signatures are not
//!   part of it. Five thousand participants are registered, the book trades.
//! * Blocks of 10,000 commands. Ending the block and its root are timed apart from the commands.
//! * With concession on most quotes are refused, as they do not concede; the share that is accepted stands beside.

#![expect(clippy::float_arithmetic, reason = "figures of a measurement, not state")]

use crate::flow::{Class, Flow, OWNERS, Op, Side};
use crate::measure::timed;
use crate::report::Figure;
use std::time::{Duration, Instant};
use wattbook_market::{Genesis, Market};
use wattbook_types::command::Cancel;
use wattbook_types::{
    ChainId, Command, ContractId, Energy, Envelope, Event, Hash, Item, Meter, MeterKind, Param, Params, ParticipantId,
    Price, Quote, RangeMode, Registration, Roles, SelfTrade, TimeInForce, TimeNs,
};

/// Timed commands.
const LEN: usize = 100_000;
const BLOCK_LEN: usize = 10_000;
/// A case that has taken this long is not run again.
const CASE_MAX: Duration = Duration::from_secs(20);
/// First account of the flow: genesis has the ones before.
const FIRST_OWNER: u64 = 4;
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);
/// Seconds from delivery start to gate opening, and to the end of the first round.
const OPENS_S: i64 = -1_200;
const TRADES_S: i64 = -990;

fn registration(participant: u64) -> Registration {
    let mut public_key = [0; 96];
    public_key[..8].copy_from_slice(&participant.to_le_bytes());
    let capacity = Energy::new(1 << 40);
    Registration {
        roles: Roles::BUYER.union(Roles::SELLER),
        flags: 0,
        participant: ParticipantId::new(participant),
        not_after: TimeNs::new(u64::MAX),
        public_key,
        session_spki: Hash::ZERO,
        group: Hash::ZERO,
        meters_root: Hash::ZERO,
        meters: vec![Meter {
            meter: participant,
            import_cap: capacity,
            export_cap: capacity,
            kind: MeterKind::CleanGeneration,
        }],
    }
}

/// A market whose book trades, with its owners registered; and the number of its next record.
fn open(concession: bool, range: RangeMode) -> (Market, u64) {
    let mut params = Params::default();
    for (param, value) in [
        (Param::Concession, concession.into()),
        (Param::Range, range as i64),
        (Param::Floor, 0),
        (Param::Rounds, 1),
        // Every owner gets its points.
        (Param::RegistrationMintCap, Param::RegistrationMintCap.bounds().1),
    ] {
        assert!(params.set(param, value), "{param:?}");
    }
    let start = CONTRACT.delivery_start();
    let genesis = Genesis {
        chain: ChainId::default(),
        area: 1,
        time: start.plus_secs(OPENS_S - 1),
        params,
        accounts: Vec::new(),
    };
    let mut market = Market::new(genesis).expect("genesis stands");
    let registered = (0..u64::from(OWNERS)).map(|owner| Command::Register(registration(FIRST_OWNER + owner)));
    let ticks = [OPENS_S, TRADES_S].map(|seconds| Command::Tick(start.plus_secs(seconds)));
    let mut seq = 1;
    for command in registered.chain(ticks) {
        market.apply(seq, &command).expect("a command of the setup is accepted");
        seq += 1;
    }
    market.end_block(1);
    (market, seq)
}

fn quote(op: &Op) -> Item {
    Item::Quote(Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side: match op.side {
            Side::Buy => wattbook_types::Side::Buy,
            Side::Sell => wattbook_types::Side::Sell,
        },
        time_in_force: TimeInForce::Gate,
        price: Price::new(op.price),
        charge_cap: -1,
        energy: Energy::new(op.qty.into()),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    })
}

/// The operations as verified envelopes of their owners.
fn commands(ops: &[Op]) -> Vec<Command> {
    let mut nonces = vec![0; OWNERS.into()];
    // The nonce that an order went in with, by id.
    let mut entered: Vec<u64> = Vec::new();
    ops.iter()
        .map(|op| {
            let nonce: &mut u64 = &mut nonces[usize::from(op.owner)];
            *nonce += 1;
            let item = match op.class {
                Class::Cancel => Item::Cancel(Cancel {
                    contract: Some(CONTRACT),
                    target_nonce: entered[op.id as usize],
                    target_index: 0,
                }),
                Class::Passive | Class::Aggressive => {
                    entered.push(*nonce);
                    quote(op)
                }
            };
            Command::Envelope(Envelope {
                participant: ParticipantId::new(FIRST_OWNER + u64::from(op.owner)),
                key_version: 1,
                nonce: *nonce,
                not_after: CONTRACT.delivery_start(),
                items: vec![item],
            })
        })
        .collect()
}

/// What a run took, and what came of it.
#[derive(Default)]
struct Applied {
    commands: Duration,
    roots: Vec<Duration>,
    accepted: u64,
    deals: u64,
}

fn apply(market: &mut Market, first: u64, commands: &[Command]) -> Applied {
    let mut applied = Applied::default();
    let mut seq = first;
    let mut events = Vec::new();
    for block in commands.chunks(BLOCK_LEN) {
        applied.commands += timed(|| {
            for command in block {
                events.clear();
                market.apply_into(seq, command, &mut events).expect("a good header");
                seq += 1;
                for event in &events {
                    applied.accepted += u64::from(matches!(event, Event::Accepted { .. }));
                    applied.deals += u64::from(matches!(event, Event::Executed { .. }));
                }
            }
        });
        let height = market.state().height + 1;
        applied.roots.push(timed(|| {
            market.end_block(height);
            std::hint::black_box(market.root());
        }));
    }
    applied
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// Figures of `core/commands`: concession off and on, ranges off and either, at most `runs` each.
pub(crate) fn figures(flow: &Flow, runs: usize) -> Vec<Figure> {
    let prefill = flow.shape.prefill;
    let commands = commands(&flow.ops[..prefill + LEN]);
    let mut figures = Vec::new();
    for (concession, range) in [
        (false, RangeMode::Off),
        (false, RangeMode::Either),
        (true, RangeMode::Off),
        (true, RangeMode::Either),
    ] {
        let (mut filled, first) = open(concession, range);
        apply(&mut filled, first, &commands[..prefill]);
        let first = first + prefill as u64;
        let (mut applied, start) = (Vec::new(), Instant::now());
        while applied.is_empty() || applied.len() < runs && start.elapsed() < CASE_MAX {
            applied.push(apply(&mut filled.clone(), first, &commands[prefill..]));
        }
        let case = if concession { "on" } else { "off" };
        let bench = format!("core/commands/concession={case},range={}", range.name());
        let mut put = |metric: &str, value: f64, unit, samples| {
            figures.push(Figure {
                bench: bench.clone(),
                metric: metric.to_owned(),
                value,
                unit,
                ratio: None,
                samples,
            });
        };
        let speeds = applied.iter().map(|run| LEN as f64 / run.commands.as_secs_f64());
        put("commands", median(speeds.collect()), "1/s", applied.len());
        let roots: Vec<f64> = applied
            .iter()
            .flat_map(|run| run.roots.iter().map(|root| root.as_secs_f64() * 1e6))
            .collect();
        let samples = roots.len();
        put("root_per_10000", median(roots), "us", samples);
        put("accepted", applied[0].accepted as f64 * 100.0 / LEN as f64, "%", LEN);
        put("deals", applied[0].deals as f64, "1", LEN);
    }
    figures
}
