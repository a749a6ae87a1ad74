//! Bytes and digests written by other hands: wire.json by the project's reference (signatures not by blst), rows.json by
//! tests/golden/rows.py.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::Value;
use wattbook_feed::keys::{self, BlsSecret, KeyRole};
use wattbook_feed::signed::{
    Alias, EnvelopeHeader, Genesis, GenesisDelegate, Leaf, LeafBytes, Register, RegisterRecord, RevealRecord,
    SealedEnvelope, ballot_namespace, committee_digest, deal_id, deals_digest, decode_leaf, decode_tick, encode_item,
    genesis, logon_digest, receipt_digest, receipt_run, seen_digest, tick_payload,
};
use wattbook_types::{
    ChainId, ContractId, Deal, DealPrice, Energy, Hash, Item, OrderId, ParticipantId, Reject, SelfTrade, TimeNs,
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn hash(value: &Value) -> Hash {
    Hash(array(value))
}

fn list<const N: usize>(value: &Value) -> Vec<[u8; N]> {
    value.as_array().unwrap().iter().map(array).collect()
}

/// `n, n + 1, ...`: the filler of rows.py.
fn fill<const N: usize>(n: u8) -> [u8; N] {
    core::array::from_fn(|i| n.wrapping_add(i as u8))
}

#[test]
fn reference_sets_are_ours_byte_for_byte() {
    let cases = json(include_str!("golden/wire.json"));
    assert_eq!(cases.as_array().unwrap().len(), 6);
    for case in cases.as_array().unwrap() {
        let chain = ChainId(hash(&case["chain_id"]));
        let participant = ParticipantId::new(case["participant"].as_u64().unwrap());
        let contract = ContractId::from_raw(case["contract"].as_u64().unwrap());
        let scalar = format!("{:0>64}", case["sk"].as_str().unwrap().trim_start_matches("0x"));
        let secret = BlsSecret::from_bytes(&hex::decode(scalar).unwrap().try_into().unwrap()).unwrap();
        let key = secret.public_key();
        assert_eq!(key, array(&case["pk"]));

        let register: Register = bytemuck::pod_read_unaligned(&bytes(&case["register"]));
        assert_eq!((register.public_key, register.flags, register.roles), (key, 0, 3));
        assert_eq!(register.digest(chain), hash(&case["register_digest"]));
        assert_eq!(register.admit_digest(chain), hash(&case["admit_digest"]));
        let possession = secret.prove_possession(&register.digest(chain));
        assert_eq!(possession, array(&case["pop"]));
        assert_eq!(
            keys::check_possession(&key, &register.digest(chain), &possession),
            Ok(())
        );

        let leaves: Vec<LeafBytes> = list(&case["leaves"]);
        for (position, leaf) in (0..).zip(&leaves) {
            let item = decode_leaf(leaf, position);
            assert_eq!(encode_item(position, &item), Ok(*leaf), "{item:?}");
        }
        let header: EnvelopeHeader = bytemuck::pod_read_unaligned(&bytes(&case["envelope"]));
        assert_eq!(Hash(header.root), hash(&case["root"]));
        let not_after = TimeNs::new(header.not_after_ns);
        let envelope = SealedEnvelope::sign(chain, &secret, participant, 1, header.nonce, not_after, leaves);
        assert_eq!(envelope.header, header);
        assert_eq!(envelope.digest(chain), hash(&case["envelope_digest"]));
        assert_eq!(envelope.signature, array(&case["signature"]));
        assert!(keys::verify_signature(
            &key,
            &envelope.digest(chain),
            &envelope.signature
        ));
        assert_eq!(header.check_leaves(&envelope.leaves, 1_024), Ok(()));

        let reveal = RevealRecord::decode(&bytes(&case["reveal"])).unwrap();
        assert_eq!(reveal.to_payload(), bytes(&case["reveal"]));
        assert_eq!(reveal.salt, hash(&case["salt"]));
        assert_eq!(reveal.commitment(chain), hash(&case["commitment"]));
        assert_eq!(reveal.digest(chain), hash(&case["reveal_digest"]));
        let command = reveal.to_command(chain).unwrap();
        assert_eq!(
            (command.participant, command.contract, command.round),
            (participant, contract, 2)
        );
        assert!(command.quotes.iter().all(Result::is_ok));
        let Item::Seal(seal) = decode_leaf(&array(&case["seal_leaf"]), 0) else {
            panic!("no seal")
        };
        assert_eq!(
            (seal.commitment, seal.contract, seal.round, seal.bond_class),
            (command.commitment, contract, 2, 1)
        );

        let ids: Vec<Hash> = list(&case["deal_ids"]).into_iter().map(Hash).collect();
        assert_eq!(deals_digest(chain, 77, contract, &ids), hash(&case["deals_digest"]));
    }
}

#[test]
fn every_leaf_kind_has_its_bytes() {
    let rows = json(include_str!("golden/rows.json"));
    let leaves: Vec<LeafBytes> = list(&rows["leaves"]);
    assert_eq!(leaves.len(), 17);
    for (position, bytes) in (0..).zip(&leaves) {
        let leaf = Leaf::read(bytes, position).unwrap();
        assert_eq!(leaf.bytes(), *bytes);
        assert_eq!(u32::from(bytes[0]), position + 1);
        match decode_leaf(bytes, position) {
            Item::Refused(reject) => {
                assert!([5, 7, 8, 9, 11, 13, 16, 17].contains(&bytes[0]), "{leaf:?}");
                assert_eq!(reject, Reject::NotEnabled);
            }
            item => assert_eq!(encode_item(position, &item), Ok(*bytes)),
        }
    }
    let Item::Quote(quote) = decode_leaf(&leaves[0], 0) else {
        panic!("no quote")
    };
    assert_eq!(
        (quote.round, quote.price.get(), quote.charge_cap, quote.valid_until_s),
        (3, -550, -1, 1_780_000_000)
    );
    let Item::Order(order) = decode_leaf(&leaves[14], 14) else {
        panic!("no order")
    };
    assert_eq!((order.contract, order.participant.get(), order.reason), (None, 42, 9));
}

#[test]
fn options_of_an_order_have_their_bytes() {
    let leaves: Vec<LeafBytes> = list(&json(include_str!("golden/rows.json"))["option_leaves"]);
    let mut options = Vec::new();
    for (position, bytes) in (0..).zip(&leaves) {
        let item = decode_leaf(bytes, position);
        assert_eq!(encode_item(position, &item), Ok(*bytes), "{item:?}");
        options.push(match item {
            Item::Quote(quote) => (quote.display.get(), quote.market_to_limit, Some(quote.self_trade)),
            Item::Replace(replace) => (replace.display.get(), false, None),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        options,
        [
            (20, false, Some(SelfTrade::CancelNewest)),
            (0, true, Some(SelfTrade::CancelOldest)),
            (30, false, Some(SelfTrade::CancelBoth)),
            (u64::from(u32::MAX), false, Some(SelfTrade::Decrement)),
            (7, false, None),
        ]
    );
}

#[test]
fn records_have_their_bytes() {
    let rows = json(include_str!("golden/rows.json"));
    let chain = ChainId(hash(&rows["chain"]));

    let payload = bytes(&rows["envelope_payload"]);
    let envelope = SealedEnvelope::decode(&payload).unwrap();
    assert_eq!(envelope.to_payload(), payload);
    assert_eq!(bytemuck::bytes_of(&envelope.header), bytes(&rows["header"]));
    assert_eq!(envelope.digest(chain), hash(&rows["envelope_digest"]));
    assert_eq!(envelope.signature, fill(21));
    assert_eq!(envelope.header.check_leaves(&envelope.leaves, 17), Ok(()));
    assert_eq!(
        envelope.header.check_leaves(&envelope.leaves, 16),
        Err(Reject::BadCount)
    );
    assert_eq!(envelope.to_command(chain).items.len(), 17);

    let payload = bytes(&rows["register_payload"]);
    let record = RegisterRecord::decode(&payload).unwrap();
    assert_eq!(record.to_payload(), payload);
    assert_eq!(record.register.digest(chain), hash(&rows["register_digest"]));
    assert_eq!(record.register.admit_digest(chain), hash(&rows["admit_digest"]));
    let registration = record.to_registration().unwrap();
    assert_eq!((registration.participant.get(), registration.meters.len()), (42, 4));
    assert_eq!(registration.meters[3].export_cap, Energy::new(1_500));

    let payload = bytes(&rows["reveal_payload"]);
    let reveal = RevealRecord::decode(&payload).unwrap();
    assert_eq!(reveal.to_payload(), payload);
    assert_eq!(reveal.commitment(chain), hash(&rows["commitment"]));

    let time = TimeNs::new(1_780_000_000_123_456_789);
    assert_eq!(tick_payload(time).to_vec(), bytes(&rows["tick_payload"]));
    assert_eq!(decode_tick(&tick_payload(time)), Ok(time));
    assert_eq!(
        logon_digest(chain, &fill(25), ParticipantId::new(42), 2),
        hash(&rows["logon_digest"])
    );

    for (payload, short) in [("envelope_payload", 1), ("register_payload", 2), ("reveal_payload", 3)] {
        let payload = bytes(&rows[payload]);
        let decode = |bytes: &[u8]| match short {
            1 => SealedEnvelope::decode(bytes).map(drop),
            2 => RegisterRecord::decode(bytes).map(drop),
            _ => RevealRecord::decode(bytes).map(drop),
        };
        for len in 0..payload.len() {
            assert_eq!(decode(&payload[..len]), Err(Reject::ShortFrame), "{len}");
        }
        let longer = [payload.as_slice(), &[0]].concat();
        // Behind an envelope's leaves comes what is attached to one of them.
        let expected = if short == 1 {
            Reject::ShortFrame
        } else {
            Reject::MalformedMessage
        };
        assert_eq!(decode(&longer), Err(expected));
    }
}

#[test]
fn genesis_has_its_bytes() {
    let rows = json(include_str!("golden/rows.json"));
    let payload = bytes(&rows["genesis"]);
    let decoded = Genesis::decode(&payload).unwrap();
    assert_eq!(decoded.encode(), payload);
    assert_eq!(decoded.chain_id().0, hash(&rows["chain_id"]));
    assert_eq!(decoded.network, genesis::padded("golden").unwrap());
    assert_eq!(decoded.alias_commitment, Alias::commitment(&fill(17)));
    assert!(decoded.is_demo());
    assert_eq!(
        (decoded.accounts.len(), decoded.params.len(), decoded.delegates.len()),
        (1, 3, 1)
    );
    assert_eq!(decoded.registrations()[0].participant.get(), 1);
    assert_eq!(decoded.to_params().unwrap().get(wattbook_types::Param::C2), 200);
    for len in 0..payload.len() {
        assert!(Genesis::decode(&payload[..len]).is_err(), "{len}");
    }
    let longer = [payload.as_slice(), &[0]].concat();
    assert_eq!(Genesis::decode(&longer), Err(genesis::GenesisError::Trailing(1)));
}

#[test]
fn deals_aliases_and_derivations_have_their_bytes() {
    let rows = json(include_str!("golden/rows.json"));
    let chain = ChainId(hash(&rows["chain"]));
    let contract = ContractId::new(1_980_000, 1, 7);
    let order = |participant, nonce, index| OrderId {
        participant: ParticipantId::new(participant),
        nonce,
        index,
    };
    let deal = Deal {
        contract,
        ordinal: 3,
        buyer: order(42, 9, 1),
        seller: order(43, 10, 0x8000_0002),
        price: DealPrice::new(-1_101),
        energy: Energy::new(250),
        charges: [100, 101, 50, -1],
    };
    assert_eq!(deal.to_bytes().to_vec(), bytes(&rows["deal"]));
    assert_eq!(deal_id(chain, &deal), hash(&rows["deal_id"]));

    let alias = Alias::new(fill(17), chain);
    let participant = ParticipantId::new(42);
    assert_eq!(rows["pseudonym"], alias.pseudonym(Some(contract), participant));
    assert_eq!(rows["pseudonym_outside"], alias.pseudonym(None, participant));
    assert_eq!(
        rows["order_reference"],
        alias.order_reference(contract, order(42, 9, 1))
    );
    assert!(!format!("{alias:?}").contains("17, 18"));

    assert_eq!(
        keys::derive(&fill(26), KeyRole::Participant, 42),
        array(&rows["derived"])
    );
    assert_eq!(
        keys::reveal_salt(&fill(27), chain, contract, 2),
        hash(&rows["reveal_salt"])
    );
}

#[test]
fn what_delegates_sign_has_its_digests() {
    for case in json(include_str!("golden/wire.json")).as_array().unwrap() {
        let chain = ChainId(hash(&case["chain_id"]));
        let run = receipt_run(&Hash::ZERO, &hash(&case["envelope_digest"]));
        assert_eq!(run, hash(&case["run"]));
        assert_eq!(receipt_digest(chain, 3, 1, 500, &run), hash(&case["receipt_digest"]));
    }
    let rows = json(include_str!("golden/rows.json"));
    let chain = ChainId(hash(&rows["chain"]));
    let time = TimeNs::new(1_780_000_000_123_456_789);
    assert_eq!(seen_digest(chain, 3, time, &Hash(fill(28))), hash(&rows["seen_digest"]));
    let member = |i: u8| GenesisDelegate {
        participant: ParticipantId::new(20 + u64::from(i)),
        ed25519: fill(29 + i),
        bls: fill(33 + i),
    };
    let members = [0, 1, 2, 3].map(member);
    assert_eq!(committee_digest(chain, 4, &members), hash(&rows["committee_digest"]));
    assert_eq!(ballot_namespace(chain), array(&rows["ballot_namespace"]));
}
