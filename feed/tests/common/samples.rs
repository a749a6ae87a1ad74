//! One message of every template, as bytes.

use super::{BUYER, NONCE, SELLER, alias, contract, events};
use wattbook_feed::sbe::outbound::MESSAGES;
use wattbook_feed::sbe::{self, LogonMessage, Outbound, encode_public, encode_reader, session};
use wattbook_feed::signed::{DealEntry, RegisterRecord, RevealRecord, SealedEnvelope};
use wattbook_types::{Reject, TimeNs};

/// When the samples were made, ns since the epoch.
const TIME_NS: u64 = 1_780_000_000_000_000_000;

fn rows() -> serde_json::Value {
    serde_json::from_str(include_str!("../golden/rows.json")).unwrap()
}

/// Bytes of a golden row.
pub(crate) fn payload(name: &str) -> Vec<u8> {
    hex::decode(rows()[name].as_str().unwrap()).unwrap()
}

/// A hash that shows the order of its bytes.
const fn hash(first: u8) -> [u8; 32] {
    let mut hash = [0; 32];
    let mut i = 0;
    while i < 32 {
        hash[i] = first + i as u8;
        i += 1;
    }
    hash
}

/// One of each inbound message, by template.
pub(crate) fn inbound() -> Vec<Vec<u8>> {
    let envelope = SealedEnvelope::decode(&payload("envelope_payload")).unwrap();
    let register = RegisterRecord::decode(&payload("register_payload")).unwrap();
    let reveal = RevealRecord::decode(&payload("reveal_payload")).unwrap();
    let logon = LogonMessage {
        participant: 42,
        grade: 9,
        reserved: [0; 7],
        signature: [6; 48],
    };
    let mut all = vec![Vec::new(); 6];
    sbe::encode_logon(&logon, &mut all[0]);
    sbe::encode_register(&register, &mut all[1]);
    sbe::encode_envelope(&envelope, &mut all[2]);
    sbe::encode_reveal(&reveal, &mut all[3]);
    sbe::encode_step(TimeNs::new(99), &mut all[4]);
    sbe::encode_on_disconnect(Some(&envelope), &mut all[5]);
    all
}

fn session() -> [Outbound; 13] {
    let deal = DealEntry {
        contract: contract().get(),
        ordinal: 4,
        buyer: BUYER.get(),
        buyer_nonce: NONCE,
        buyer_index: 1,
        reserved0: 0,
        seller: SELLER.get(),
        seller_nonce: NONCE + 1,
        seller_index: 0x8000_0002,
        reserved1: 0,
        price: -1_101,
        energy_wh: 250,
        c1: 100,
        c2: 101,
        c3: 50,
        congestion: -1,
    };
    [
        Outbound::Challenge(session::Challenge {
            challenge: hash(0xc0),
            chain_id: hash(9),
            demo: 1,
            reserved: [0; 7],
        }),
        Outbound::LoggedOn(session::LoggedOn {
            participant: 42,
            next_nonce: 10,
            grade: 2,
            reserved: [0; 7],
        }),
        Outbound::Held(session::Held {
            participant: 42,
            nonce: 9,
            kind: 2,
            reserved: [0; 7],
        }),
        Outbound::RejectedMessage(session::RejectedMessage {
            participant: 42,
            nonce: 9,
            contract: 0,
            code: Reject::Duplicate.code(),
            reserved: [0; 6],
            original_seq: 77,
        }),
        Outbound::Watermark(session::Watermark {
            grade: 2,
            reserved: [0; 7],
            height: 12,
            seq: 77,
        }),
        Outbound::BlockSealed(session::BlockSealed {
            height: 12,
            time_ns: TIME_NS,
            record_count: 3,
            event_count: 8,
            first_seq: 75,
            block_digest: hash(0x40),
            state_root: hash(0x80),
        }),
        Outbound::Stepped(session::Stepped {
            time_ns: TIME_NS,
            height: 12,
            seq: 77,
        }),
        Outbound::DealRecord(session::DealRecord {
            seq: 76,
            height: 12,
            record: deal,
            deal_id: hash(0x20),
        }),
        Outbound::Halted(session::Halted {
            reason: 1,
            reserved: [0; 7],
            seq: 77,
        }),
        Outbound::EventEnd(session::EventEnd { seq: 77, changes: 2 }),
        Outbound::SnapshotOrder(session::SnapshotOrder {
            contract: contract().get(),
            reference: 0x0102_0304_0506_0708,
            participant: 0x1112_1314_1516_1718,
            price: 24_000,
            leaves_wh: 1_500,
            side: 2,
            reserved: [0; 7],
        }),
        Outbound::SnapshotEnd(session::SnapshotEnd {
            next: 300,
            height: 12,
            seq: 77,
            orders: 1,
        }),
        Outbound::Revoked(session::Revoked {
            height: 12,
            seq: 75,
            next: 9,
        }),
    ]
}

/// One of each outbound message, in the schema's order: in its public form where there is one.
pub(crate) fn outbound() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = session()
        .iter()
        .map(|message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            bytes
        })
        .collect();
    for event in events() {
        let mut bytes = Vec::new();
        if !encode_public(&event, &alias(), &mut bytes) {
            bytes.clear();
            encode_reader(&event, &alias(), &mut bytes);
        }
        all.push(bytes);
    }
    all.sort_by_key(|bytes| template(bytes));
    assert!(
        all.iter()
            .map(|bytes| template(bytes))
            .eq(MESSAGES.iter().map(|message| message.id))
    );
    all
}

/// Template of a message.
pub(crate) fn template(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[2], bytes[3]])
}
