//! Decoding an envelope and encoding an execution report, against copying the same bytes.

#![allow(missing_docs, reason = "a bench has no public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wattbook_benches::{FIRST_OWNER, criterion, row};
use wattbook_feed::keys::{BlsSecret, KeyRole};
use wattbook_feed::sbe::{Inbound, decode_inbound, encode_envelope, encode_private, encode_public};
use wattbook_feed::signed::{Alias, SealedEnvelope, encode_quote};
use wattbook_types::{
    ChainId, ContractId, Deal, DealPrice, Energy, Event, Hash, OrderId, ParticipantId, Price, Quote, SelfTrade,
    Sequenced, Side, TimeInForce, TimeNs,
};

const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

fn message(leaves: u32) -> Vec<u8> {
    let quote = Quote {
        contract: CONTRACT,
        client_order_id: 0,
        round: 0,
        side: Side::Buy,
        time_in_force: TimeInForce::Gate,
        price: Price::new(20_000),
        charge_cap: -1,
        energy: Energy::new(1_000),
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    };
    let leaves = (0..leaves)
        .map(|i| encode_quote(i, &quote).expect("1,000 Wh fit a leaf"))
        .collect();
    let secret = BlsSecret::derive(&[1; 32], KeyRole::Participant, 1);
    let who = ParticipantId::new(FIRST_OWNER);
    let envelope = SealedEnvelope::sign(ChainId::default(), &secret, who, 1, 1, TimeNs::new(1), leaves);
    let mut message = Vec::new();
    encode_envelope(&envelope, &mut message);
    message
}

fn executed() -> Sequenced {
    let order = |serial| OrderId {
        participant: ParticipantId::new(serial),
        nonce: 7,
        index: 1,
    };
    let deal = Deal {
        contract: CONTRACT,
        ordinal: 4,
        buyer: order(FIRST_OWNER),
        seller: order(FIRST_OWNER + 1),
        price: DealPrice::new(40_000),
        energy: Energy::new(250),
        charges: [100, 100, 50, 0],
    };
    let (bid, ask) = (Price::new(20_010), Price::new(19_990));
    let (deal_id, buyer_leaves, seller_leaves) = (Hash([9; 32]), Energy::ZERO, Energy::new(10));
    let event = Event::Executed {
        deal,
        deal_id,
        bid,
        ask,
        buyer_leaves,
        seller_leaves,
        buyer_hidden: Energy::ZERO,
        seller_hidden: Energy::ZERO,
        aggressor: Some(Side::Buy),
    };
    Sequenced { seq: 9, event }
}

fn feed(c: &mut Criterion) {
    let mut group = c.benchmark_group("feed");
    for leaves in [1, 16] {
        let message = message(leaves);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(row("decode_envelope", &format!("leaves={leaves}")), |b| {
            b.iter(|| match decode_inbound(black_box(&message)) {
                Ok(Inbound::Envelope(envelope)) => envelope.header.to_command(envelope.leaves),
                other => panic!("{other:?} is no envelope"),
            });
        });
        group.bench_function(row("decode_envelope", &format!("base leaves={leaves}")), |b| {
            b.iter(|| black_box(&message).clone());
        });
    }
    let (event, alias) = (executed(), Alias::new([7; 32], ChainId::default()));
    let mut out = Vec::with_capacity(1_024);
    assert!(
        encode_private(&event, ParticipantId::new(FIRST_OWNER), &alias, &mut out),
        "the buyer is a party"
    );
    let report = out.clone();
    group.throughput(Throughput::Bytes(report.len() as u64));
    group.bench_function(row("encode_report", "executed private"), |b| {
        b.iter(|| {
            out.clear();
            encode_private(black_box(&event), ParticipantId::new(FIRST_OWNER), &alias, &mut out)
        });
    });
    group.bench_function(row("encode_report", "executed public"), |b| {
        b.iter(|| {
            out.clear();
            encode_public(black_box(&event), &alias, &mut out)
        });
    });
    group.bench_function(row("encode_report", "base"), |b| {
        b.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&report));
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = feed }
criterion_main!(benches);
