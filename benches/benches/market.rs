//! A sealed round, and the whole core by envelopes of many leaves. The book alone, the core by single commands and rounds of
//! many quotes are rows of `make bench-book`.

#![allow(missing_docs, reason = "a bench has no public items")]

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wattbook_benches::{FIRST_OWNER, Op, OpKind, criterion, flow, row};
use wattbook_feed::keys::{BlsSecret, KeyRole};
use wattbook_feed::signed::{SealedEnvelope, encode_item};
use wattbook_market::round::{self, Owner, RoundOrder, Rules};
use wattbook_market::{Genesis, Market};
use wattbook_types::command::Cancel;
use wattbook_types::{
    ChainId, Command, ContractId, DealPriceRule, Energy, Hash, Item, Meter, MeterKind, Param, Params, ParticipantId,
    Ppm, Price, Quote, RangeMode, Registration, Roles, SelfTrade, Side, TimeInForce, TimeNs,
};

const OWNERS: u64 = 64;
const LEAVES: u32 = 16;
const ENVELOPES: usize = 512;
const QUOTES: usize = 2_000;
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

fn sealed_round(c: &mut Criterion) {
    let mut group = c.benchmark_group("market");
    group
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(QUOTES as u64));
    let ops = flow(2, QUOTES as u64, 1, QUOTES);
    // Bids and asks overlap by half their depth.
    let orders: Vec<RoundOrder> = (0u32..)
        .zip(&ops)
        .filter_map(|(i, op)| match op.kind {
            OpKind::Passive(side, price, energy) | OpKind::Aggressive(side, price, energy) => {
                Some((i, side, price, energy))
            }
            OpKind::Cancel(_) => None,
        })
        .map(|(i, side, price, energy)| RoundOrder {
            owner: i,
            side,
            price: Price::new(price.get() + if side == Side::Buy { 25 } else { -25 }),
            energy,
            min_fill: Energy::ZERO,
            index: 0,
            spare_rank: i,
            charge_covered: true,
        })
        .collect();
    assert_eq!(orders.len(), QUOTES, "every owner's first operation is a quote");
    let owners: Vec<Owner> = (0..QUOTES as u32)
        .map(|i| Owner {
            priority: i,
            percentile: Ppm::new(i * (1_000_000 / QUOTES as u32)),
            group: i,
        })
        .collect();
    for deal_price in [DealPriceRule::Midpoint, DealPriceRule::Uniform] {
        let rules = Rules {
            range: RangeMode::Either,
            deal_price,
            reference: None,
            spread_min: 0,
        };
        group.bench_function(row("sealed_round", &format!("{} n={QUOTES}", deal_price.name())), |b| {
            b.iter(|| {
                let places = round::rank(black_box(&owners), black_box(&orders));
                round::clear(&owners, &orders, &places, rules)
            });
        });
    }
    group.bench_function(row("sealed_round", "base"), |b| {
        b.iter_batched(
            || orders.clone(),
            |mut orders| {
                orders.sort_unstable_by_key(|order| (order.price, order.spare_rank));
                orders
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn registration(participant: u64) -> Registration {
    let mut public_key = [0; 96];
    public_key[..8].copy_from_slice(&participant.to_le_bytes());
    let capacity = Energy::new(1 << 40);
    let kind = MeterKind::CleanGeneration;
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
            kind,
        }],
    }
}

/// A market whose book is open, with its owners registered; and the number of its next record.
fn open_market(owners: u64) -> (Market, u64) {
    let mut params = Params::default();
    for (param, value) in [(Param::Concession, 0), (Param::Floor, 0), (Param::Rounds, 1)] {
        assert!(params.set(param, value), "{param:?}");
    }
    let (opens, trades) = (
        CONTRACT.delivery_start().plus_secs(-1_200),
        CONTRACT.delivery_start().plus_secs(-990),
    );
    let time = opens.plus_secs(-1);
    let genesis = Genesis {
        chain: ChainId::default(),
        area: 1,
        time,
        params,
        accounts: Vec::new(),
    };
    let mut market = Market::new(genesis).expect("genesis stands");
    let mut seq = 1;
    let mut apply = |command| {
        market.apply(seq, &command).expect("a command of the setup is accepted");
        seq += 1;
    };
    for owner in 0..owners {
        apply(Command::Register(registration(FIRST_OWNER + owner)));
    }
    apply(Command::Tick(opens));
    apply(Command::Tick(trades));
    market.end_block(1);
    (market, seq)
}

fn item(op: &Op) -> Item {
    let (side, price, energy, time_in_force) = match op.kind {
        OpKind::Cancel(target) => {
            let contract = Some(CONTRACT);
            return Item::Cancel(Cancel {
                contract,
                target_nonce: target.nonce,
                target_index: target.index,
            });
        }
        OpKind::Passive(side, price, energy) => (side, price, energy, TimeInForce::Gate),
        OpKind::Aggressive(side, price, energy) => (side, price, energy, TimeInForce::Ioc),
    };
    Item::Quote(Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side,
        time_in_force,
        price,
        charge_cap: -1,
        energy,
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    })
}

fn core(c: &mut Criterion) {
    // Few owners hold many orders each, many owners few.
    for owners in [8, OWNERS] {
        core_of(c, owners);
    }
}

fn core_of(c: &mut Criterion, owners: u64) {
    let mut group = c.benchmark_group("market");
    let items = ENVELOPES * LEAVES as usize;
    group
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(items as u64));
    let ops = flow(3, owners, LEAVES, items);
    let secret = BlsSecret::derive(&[1; 32], KeyRole::Participant, 1);
    let not_after = CONTRACT.delivery_start();
    let payloads: Vec<Vec<u8>> = ops
        .chunks(LEAVES as usize)
        .map(|ops| {
            let leaves = (0..)
                .zip(ops)
                .map(|(i, op)| encode_item(i, &item(op)).expect("an item of the flow has a leaf"));
            let id = ops[0].id;
            SealedEnvelope::sign(
                ChainId::default(),
                &secret,
                id.participant,
                1,
                id.nonce,
                not_after,
                leaves.collect(),
            )
            .to_payload()
        })
        .collect();
    let decode = |payload: &Vec<u8>| {
        Command::Envelope(
            SealedEnvelope::decode(payload)
                .expect("what was encoded decodes")
                .to_command(ChainId::default()),
        )
    };
    let commands: Vec<Command> = payloads.iter().map(decode).collect();
    let (market, first) = open_market(owners);
    let apply_all = |market: &mut Market| {
        let mut events = 0;
        for (seq, command) in (first..).zip(&commands) {
            events += market
                .apply(seq, command)
                .expect("an envelope of the flow is accepted")
                .len();
        }
        events
    };
    let case = format!("envelopes={ENVELOPES} leaves={LEAVES} owners={owners}");
    group.bench_function(row("apply", &case), |b| {
        b.iter_batched_ref(|| market.clone(), apply_all, BatchSize::LargeInput);
    });
    group.bench_function(row("apply_and_root", &case), |b| {
        b.iter_batched_ref(
            || market.clone(),
            |market| {
                let events = apply_all(market);
                market.end_block(2);
                (events, market.root())
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function(row("apply", &format!("base owners={owners}")), |b| {
        b.iter(|| {
            for payload in &payloads {
                black_box(decode(payload));
            }
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion().sample_size(10); targets = sealed_round, core }
criterion_main!(benches);
