//! Messages: every event has a template, the public form names nobody, decoders take anything.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::samples::{self, payload};
use common::{BUYER, HIDDEN, METER, NONCE, SECRET_HASH, SELLER, STRANGER, alias, ask, bid, contract, events};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use wattbook_feed::sbe::outbound::MESSAGES;
use wattbook_feed::sbe::{
    self, DecodeError, HEADER_SIZE, Inbound, OUTBOUND_MAX, Outbound, decode_inbound, decode_outbound, encode_private,
    encode_private_beside, encode_public, encode_reader, is_public, parties,
};
use wattbook_feed::signed::{RegisterRecord, RevealRecord, SealedEnvelope};
use wattbook_types::{Event, ParticipantId, Reject, Sequenced, TimeNs};

fn public(event: &Sequenced) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    encode_public(event, &alias(), &mut out).then_some(out)
}

fn private(event: &Sequenced, recipient: ParticipantId) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    encode_private(event, recipient, &alias(), &mut out).then_some(out)
}

fn reader(event: &Sequenced) -> Vec<u8> {
    let mut out = Vec::new();
    encode_reader(event, &alias(), &mut out);
    out
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

/// What is read in the public form is what would be hashed: with it at hand a report is the same bytes.
#[test]
fn a_report_beside_its_public_form_is_the_same() {
    let mut beside_public = 0;
    for event in events() {
        assert_eq!(is_public(&event.event), public(&event).is_some(), "{event:?}");
        let public = public(&event);
        for recipient in [BUYER, SELLER, STRANGER] {
            let mut out = Vec::new();
            let is_party = encode_private_beside(&event, public.as_deref(), recipient, &alias(), &mut out);
            assert_eq!(is_party.then_some(out), private(&event, recipient), "{event:?}");
            beside_public += u32::from(is_party && public.is_some());
        }
    }
    assert!(beside_public > 10, "{beside_public}");
}

#[test]
fn every_event_has_one_template() {
    let mut seen = BTreeSet::new();
    for event in events() {
        let bytes = reader(&event);
        let message = decode_outbound(&bytes).unwrap();
        assert!(seen.insert(message.template()), "{message:?}");
        assert!(format!("{:?}", event.event).starts_with(message.name()), "{message:?}");
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(again, bytes);
        assert_eq!(bytes[HEADER_SIZE..HEADER_SIZE + 8], event.seq.to_le_bytes());
    }
    let templates: BTreeSet<u16> = MESSAGES
        .iter()
        .map(|message| message.id)
        .filter(|id| *id >= 100)
        .collect();
    assert_eq!(seen, templates);
    assert!(
        MESSAGES
            .iter()
            .all(|message| HEADER_SIZE + message.block_length <= OUTBOUND_MAX)
    );
}

#[test]
fn the_public_form_names_nobody() {
    for event in events() {
        let Some(bytes) = public(&event) else {
            assert!(event.event.private_to().is_some());
            continue;
        };
        assert!(event.event.private_to().is_none());
        let mut secrets: Vec<Vec<u8>> = [BUYER.get(), SELLER.get(), NONCE, NONCE + 1, METER]
            .iter()
            .map(|s| s.to_le_bytes().to_vec())
            .collect();
        secrets.push(SECRET_HASH.0.to_vec());
        for secret in secrets {
            assert!(!holds(&bytes, &secret), "{event:?} shows {secret:x?}");
        }
    }
}

#[test]
fn reports_go_to_parties_and_name_only_them() {
    for event in events() {
        assert_eq!(private(&event, STRANGER), None, "{event:?}");
        for party in parties(&event.event).into_iter().flatten() {
            let bytes = private(&event, party).unwrap();
            assert!(holds(&bytes, &party.get().to_le_bytes()), "{event:?}");
            let other = if party == BUYER { SELLER } else { BUYER };
            assert!(!holds(&bytes, &other.get().to_le_bytes()), "{event:?}");
            if event.event.private_to().is_some() {
                assert_eq!(event.event.private_to(), Some(party));
            }
        }
        if let Some(only) = event.event.private_to() {
            assert_eq!(parties(&event.event), [Some(only), None]);
        }
    }
}

#[test]
fn a_deal_looks_different_to_each_reader() {
    let event = events()
        .into_iter()
        .find(|event| matches!(event.event, Event::Executed { .. }))
        .unwrap();
    let executed = |bytes: Vec<u8>| match decode_outbound(&bytes) {
        Ok(Outbound::Executed(executed)) => executed,
        other => panic!("{other:?}"),
    };
    let all = executed(public(&event).unwrap());
    let buyer = executed(private(&event, BUYER).unwrap());
    let seller = executed(private(&event, SELLER).unwrap());
    let full = executed(reader(&event));
    assert_eq!((all.buyer.named, all.buyer.nonce, all.buyer.index), (0, 0, 0));
    assert_eq!(all.buyer.participant, alias().pseudonym(Some(contract()), BUYER));
    assert_eq!(all.seller.reference, alias().order_reference(contract(), ask()));
    assert_eq!(
        (buyer.buyer.participant, buyer.buyer.nonce, buyer.buyer.index),
        (BUYER.get(), NONCE, 1)
    );
    assert_eq!((buyer.seller, seller.buyer), (all.seller, all.buyer));
    assert_eq!((full.buyer, full.seller), (buyer.buyer, seller.seller));
    assert_eq!(full.buyer.reference, alias().order_reference(contract(), bid()));
    for told in [buyer, seller, full] {
        assert_eq!((told.deal_id, told.price, told.ordinal), (SECRET_HASH.0, -1_101, 4));
    }
    assert_eq!(all.deal_id, [0; 32]);
}

/// A changed byte here changes event roots: bless it (WATTBOOK_BLESS=1) only with a new schema version.
#[test]
fn event_messages_keep_their_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events.json");
    let rows: BTreeMap<String, [Option<String>; 4]> = events()
        .iter()
        .map(|event| {
            let name = decode_outbound(&reader(event)).unwrap().name().to_owned();
            let forms = [
                public(event),
                private(event, BUYER),
                private(event, SELLER),
                Some(reader(event)),
            ];
            (name, forms.map(|form| form.map(hex::encode)))
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows).unwrap() + "\n";
    if std::env::var_os("WATTBOOK_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
}

#[test]
fn inbound_messages_come_back() {
    for (bytes, template) in samples::inbound().iter().zip(1u16..) {
        assert_eq!(bytes[2..4], template.to_le_bytes());
        match decode_inbound(bytes).unwrap() {
            Inbound::Logon(logon) => assert_eq!((logon.participant, logon.grade), (42, 9)),
            Inbound::Register(record) => assert_eq!(record.to_payload(), payload("register_payload")),
            Inbound::Envelope(envelope) => {
                assert_eq!(envelope.to_sealed().to_payload(), payload("envelope_payload"));
            }
            Inbound::Reveal(reveal) => assert_eq!(reveal.to_record().to_payload(), payload("reveal_payload")),
            Inbound::Step(step) => assert_eq!(step.time_ns, 99),
            Inbound::OnDisconnect(held) => {
                assert_eq!(held.unwrap().to_sealed().to_payload(), payload("envelope_payload"));
            }
        }
        for len in 0..bytes.len() {
            assert_eq!(
                decode_inbound(&bytes[..len]),
                Err(Reject::ShortFrame),
                "template {template}, {len} bytes"
            );
        }
        assert_eq!(
            decode_inbound(&[bytes.as_slice(), &[0]].concat()),
            Err(Reject::MalformedMessage)
        );
        for (at, reject) in [
            (0, Reject::MalformedMessage),
            (3, Reject::UnknownMessage),
            (4, Reject::UnknownMessage),
            (6, Reject::UnknownMessage),
        ] {
            let mut bad = bytes.clone();
            bad[at] ^= 0x40;
            assert_eq!(decode_inbound(&bad), Err(reject), "template {template}, byte {at}");
        }
    }
}

#[test]
fn reserved_fields_and_counts_of_inbound_messages_are_checked() {
    let [logon, _, envelope, reveal, _, on_disconnect] = <[Vec<u8>; 6]>::try_from(samples::inbound()).unwrap();
    let malformed = |bytes: &[u8], at: usize| {
        let mut bad = bytes.to_vec();
        bad[at] ^= 1;
        assert_eq!(decode_inbound(&bad), Err(Reject::MalformedMessage), "byte {at}");
    };
    malformed(&logon, HEADER_SIZE + 9);
    malformed(&reveal, HEADER_SIZE + 20);
    // Version, reserved bytes, count of the header; block length of the group.
    for at in [0, 2, 4, 20] {
        malformed(&envelope, HEADER_SIZE + at);
        malformed(&on_disconnect, HEADER_SIZE + at);
    }
    malformed(&envelope, HEADER_SIZE + 120);
    malformed(&on_disconnect, HEADER_SIZE + 120);
}

/// Withdrawing is all zero; anything between that and an envelope is neither.
#[test]
fn a_withdrawal_of_cancels_has_one_encoding() {
    let mut bytes = Vec::new();
    sbe::encode_on_disconnect(None, &mut bytes);
    assert_eq!(bytes.len(), HEADER_SIZE + 120 + 4);
    let version = hex::encode(sbe::SCHEMA_VERSION.to_le_bytes());
    assert_eq!(hex::encode(&bytes[..HEADER_SIZE]), format!("780006000100{version}"));
    assert_eq!(decode_inbound(&bytes), Ok(Inbound::OnDisconnect(None)));
    for bit in 0..8 * 120 {
        let mut bad = bytes.clone();
        bad[HEADER_SIZE + bit / 8] ^= 1 << (bit % 8);
        // With the version of an envelope it is one, of no leaves, which verify refuses.
        let refused = decode_inbound(&bad) == Err(Reject::MalformedMessage);
        assert_eq!(refused, bit != 0, "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert_eq!(decode_inbound(&bytes[..len]), Err(Reject::ShortFrame), "{len} bytes");
    }
}

/// Inbound messages as bytes: a deposit differs from its envelope in the template alone.
#[test]
fn a_deposit_of_cancels_is_an_envelope_under_another_template() {
    let samples = samples::inbound();
    let mut envelope = samples[2].clone();
    envelope[2] = 6;
    assert_eq!(samples[5], envelope);
}

#[test]
fn hidden_energy_is_told_to_owners_and_readers_only() {
    let hides = |event: &&Sequenced| {
        use Event::{Closed, Executed, Opened, Reduced};
        matches!(
            event.event,
            Opened { .. } | Reduced { .. } | Closed { .. } | Executed { .. }
        )
    };
    let all = events();
    assert_eq!(all.iter().filter(hides).count(), 4);
    let open = |bytes: Vec<u8>| match decode_outbound(&bytes).unwrap() {
        Outbound::Opened(m) => [m.leaves_wh, 0],
        Outbound::Reduced(m) => [m.leaves_wh, 0],
        Outbound::Closed(m) => [m.leaves_wh, 0],
        Outbound::Executed(m) => [m.buyer_leaves_wh, m.seller_leaves_wh],
        other => panic!("{other:?}"),
    };
    for event in all.iter().filter(hides) {
        let deal = matches!(event.event, Event::Executed { .. });
        let shown = [250, 0];
        assert_eq!(open(public(event).unwrap()), shown, "{event:?}");
        assert_eq!(open(private(event, BUYER).unwrap()), [250 + HIDDEN, 0], "{event:?}");
        let both = [250 + HIDDEN, if deal { HIDDEN } else { 0 }];
        assert_eq!(open(reader(event)), both, "{event:?}");
        if deal {
            assert_eq!(open(private(event, SELLER).unwrap()), [250, HIDDEN]);
        }
    }
}

#[test]
fn outbound_decoding_skips_appended_fields_and_names_what_is_wrong() {
    let bytes = public(&events()[0]).unwrap();
    let length = bytes.len() - HEADER_SIZE;
    let mut later = bytes.clone();
    later.extend_from_slice(&[1; 8]);
    assert_eq!(decode_outbound(&later), Err(DecodeError::Trailing(100)));
    later[0] = length as u8 + 8;
    assert_eq!(decode_outbound(&later), Err(DecodeError::Malformed(100)));
    later[6] = u8::try_from(sbe::SCHEMA_VERSION + 1).unwrap();
    assert_eq!(decode_outbound(&later), decode_outbound(&bytes));
    let mut other = bytes.clone();
    other[4] = 9;
    assert_eq!(
        decode_outbound(&other),
        Err(DecodeError::Schema(9, sbe::SCHEMA_VERSION))
    );
    let mut unknown = bytes.clone();
    unknown[2] = 0xff;
    assert_eq!(decode_outbound(&unknown), Err(DecodeError::Template(0xff)));
    // `named` is neither 0 nor 1.
    let mut odd = bytes.clone();
    odd[HEADER_SIZE + 16] = 2;
    assert_eq!(decode_outbound(&odd), Err(DecodeError::Malformed(100)));
}

fn every_message() -> Vec<Vec<u8>> {
    let mut all = samples::inbound();
    all.extend(events().iter().map(reader));
    all.extend(samples::outbound());
    all
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode_inbound(&bytes);
        let _ = decode_outbound(&bytes);
        let _ = SealedEnvelope::decode(&bytes);
        let _ = RegisterRecord::decode(&bytes).map(|record| record.to_registration());
        let _ = RevealRecord::decode(&bytes).map(|reveal| reveal.to_command(Default::default()));
        let _ = wattbook_feed::signed::Genesis::decode(&bytes);
    }

    #[test]
    fn mutated_messages_never_panic_and_have_one_encoding(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let all = every_message();
        let mut bytes = all[which.index(all.len())].clone();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let _ = decode_inbound(&bytes[..cut.index(bytes.len())]);
        if let Ok(message) = decode_outbound(&bytes) && bytes[6..8] == sbe::SCHEMA_VERSION.to_le_bytes() {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(&again, &bytes);
        }
        let mut again = Vec::new();
        match decode_inbound(&bytes) {
            Ok(Inbound::Logon(logon)) => sbe::encode_logon(&logon, &mut again),
            Ok(Inbound::Register(record)) => sbe::encode_register(&record, &mut again),
            Ok(Inbound::Envelope(envelope)) => sbe::encode_envelope(&envelope.to_sealed(), &mut again),
            Ok(Inbound::Reveal(reveal)) => sbe::encode_reveal(&reveal.to_record(), &mut again),
            Ok(Inbound::Step(step)) => sbe::encode_step(TimeNs::new(step.time_ns), &mut again),
            Ok(Inbound::OnDisconnect(held)) => {
                let held = held.map(|envelope| envelope.to_sealed());
                sbe::encode_on_disconnect(held.as_ref(), &mut again);
            }
            Err(_) => return Ok(()),
        }
        prop_assert_eq!(again, bytes);
    }
}
