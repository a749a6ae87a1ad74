//! A flipped bit never passes, and wrong registrations and geneses are named.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use wattbook_feed::keys::{self, BlsSecret, KeyRole};
use wattbook_feed::layout::Layout;
use wattbook_feed::signed::{
    EnvelopeHeader, Genesis, GenesisAccount, GenesisError, LeafBytes, MeterEntry, Register, RegisterRecord,
    RevealRecord, SealedEnvelope, genesis, meters_root,
};
use wattbook_types::{ChainId, Energy, Hash, Item, Meter, MeterKind, ParticipantId, Reject, TimeNs, tree};

const CHAIN: ChainId = ChainId(Hash([3; 32]));

fn rows() -> serde_json::Value {
    serde_json::from_str(include_str!("golden/rows.json")).unwrap()
}

fn sealed() -> SealedEnvelope {
    SealedEnvelope::decode(&hex::decode(rows()["envelope_payload"].as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn every_bit_of_the_header_is_signed() {
    let header = sealed().header;
    let digest = header.digest(CHAIN);
    for bit in 0..8 * 72 {
        let mut bytes: [u8; 72] = bytemuck::cast(header);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let flipped: EnvelopeHeader = bytemuck::cast(bytes);
        assert_ne!(flipped.digest(CHAIN), digest, "bit {bit}");
        let reserved = [0, 1, 2, 3, 20, 21, 22, 23].contains(&(bit / 8));
        assert_eq!(flipped.well_formed(), !reserved, "bit {bit}");
    }
}

#[test]
fn every_bit_of_every_leaf_is_under_the_root() {
    let SealedEnvelope { header, leaves, .. } = sealed();
    for (position, leaf) in leaves.iter().enumerate() {
        let item = header.to_command(&leaves).items.swap_remove(position);
        for bit in 0..8 * 48 {
            let mut tampered: Vec<LeafBytes> = leaves.clone();
            tampered[position][bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                header.check_leaves(&tampered, 1_024),
                Err(Reject::BadRoot),
                "leaf {position} bit {bit}"
            );
            // The decoder is injective: no other bytes mean the same item.
            let other = header.to_command(&tampered).items.swap_remove(position);
            assert!(
                matches!(other, Item::Refused(_)) || other != item,
                "leaf {position} bit {bit} of {leaf:?}"
            );
        }
    }
}

#[test]
fn a_tampered_reveal_is_malformed_or_another_commitment() {
    let payload = hex::decode(rows()["reveal_payload"].as_str().unwrap()).unwrap();
    let commitment = RevealRecord::decode(&payload).unwrap().commitment(CHAIN);
    for bit in 0..8 * payload.len() {
        let mut bytes = payload.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(reveal) = RevealRecord::decode(&bytes) {
            assert_ne!(reveal.commitment(CHAIN), commitment, "bit {bit}");
            match reveal.to_command(CHAIN) {
                Ok(command) => assert_eq!(command.commitment, reveal.commitment(CHAIN)),
                Err(reject) => assert_eq!(reject, Reject::MalformedMessage, "bit {bit}"),
            }
        }
    }
    // A malformed leaf voids its quote only; options that no round takes are for the market to void.
    let mut reveal = RevealRecord::decode(&payload).unwrap();
    reveal.leaves[1][1] |= 1 << 5;
    reveal.leaves[2][1] = 0;
    let quotes = reveal.to_command(CHAIN).unwrap().quotes;
    assert!(quotes[0].is_ok_and(|quote| !quote.market_to_limit));
    assert!(quotes[1].is_ok_and(|quote| quote.market_to_limit));
    assert_eq!(quotes[2], Err(Reject::MalformedItem));
}

fn register(secret: &BlsSecret, serial: u64, meters: &[MeterEntry]) -> Register {
    Register {
        roles: 3,
        flags: 0,
        admit_serial: serial,
        not_after_ns: u64::MAX,
        public_key: secret.public_key(),
        session_spki: [0; 32],
        group: [0; 32],
        meters_root: meters_root(meters).0,
    }
}

#[test]
fn registrations_are_refused_in_order_of_precedence() {
    let seed = [5; 32];
    let registrar = keys::registrar_key(&seed);
    let secret = BlsSecret::derive(&seed, KeyRole::Participant, 9);
    let meter = Meter {
        meter: 1,
        import_cap: Energy::new(4),
        export_cap: Energy::new(2),
        kind: MeterKind::Storage,
    };
    let meters = vec![MeterEntry::new(&meter)];
    let admitted = |register: Register, meters: Vec<MeterEntry>| RegisterRecord {
        register,
        admit: keys::sign_ed25519(&registrar, &register.admit_digest(CHAIN)),
        possession: secret.prove_possession(&register.digest(CHAIN)),
        meters,
    };
    let verify = |record: &RegisterRecord| record.verify(CHAIN, &registrar.verifying_key());
    let good = admitted(register(&secret, 9, &meters), meters.clone());
    assert_eq!(verify(&good), Ok(()));
    assert_eq!(good.to_registration().unwrap().meters, [meter]);

    for bit in 0..8 * 216 {
        let mut bad = good.clone();
        let mut bytes: [u8; 216] = bytemuck::cast(bad.register);
        bytes[bit / 8] ^= 1 << (bit % 8);
        bad.register = bytemuck::cast(bytes);
        assert_eq!(verify(&bad), Err(Reject::BadAdmission), "bit {bit}");
    }
    let mut infinity = good.register;
    infinity.public_key = [0; 96];
    infinity.public_key[0] = 0xc0;
    assert_eq!(verify(&admitted(infinity, meters.clone())), Err(Reject::BadKey));
    let mut stolen = good.clone();
    stolen.possession = secret.sign(&stolen.register.digest(CHAIN));
    assert_eq!(verify(&stolen), Err(Reject::BadProofOfPossession));
    assert_eq!(verify(&admitted(good.register, Vec::new())), Err(Reject::BadMeters));
    let mut odd = meters.clone();
    odd[0].kind = 5;
    assert_eq!(
        verify(&admitted(register(&secret, 9, &odd), odd)),
        Err(Reject::BadMeters)
    );
}

#[test]
fn wrong_geneses_are_named() {
    let seed = [5; 32];
    let secret = BlsSecret::derive(&seed, KeyRole::Participant, 1);
    let account = register(&secret, 1, &[]);
    let good = Genesis {
        network: genesis::padded("test").unwrap(),
        eic: *b"10YDEMO-AREA---X",
        area: 1,
        flags: genesis::FLAG_DEMO,
        time: TimeNs::from_secs(1),
        registrar: keys::registrar_key(&seed).verifying_key().to_bytes(),
        log_key: keys::log_key(&seed).verifying_key().to_bytes(),
        alias_commitment: Hash([1; 32]),
        accounts: vec![GenesisAccount {
            register: account,
            possession: secret.prove_possession(&account.digest(ChainId::default())),
        }],
        params: vec![(wattbook_types::Param::C1, 5)],
        delegates: Vec::new(),
    };
    let decoded = Genesis::decode(&good.encode()).unwrap();
    assert_eq!(decoded, good);
    assert_eq!(decoded.verify(), Ok(()));

    let with = |change: fn(&mut Genesis)| {
        let mut bad = good.clone();
        change(&mut bad);
        Genesis::decode(&bad.encode()).and_then(|genesis| genesis.verify())
    };
    assert_eq!(with(|g| g.flags = 2), Err(GenesisError::Flags(2)));
    assert_eq!(
        with(|g| g.accounts.push(g.accounts[0])),
        Err(GenesisError::AccountOrder(1))
    );
    assert_eq!(
        with(|g| g.accounts[0].register.admit_serial = 0),
        Err(GenesisError::AccountOrder(0))
    );
    assert_eq!(
        with(|g| g.accounts[0].register.meters_root = [0; 32]),
        Err(GenesisError::Meters(1))
    );
    assert_eq!(with(|g| g.params.push(g.params[0])), Err(GenesisError::Param(3)));
    assert_eq!(with(|g| g.params[0].1 = -1), Err(GenesisError::ParamValue(3, -1)));
    assert!(matches!(
        with(|g| g.params[0] = (wattbook_types::Param::RoundS, 5)),
        Err(GenesisError::Params(_))
    ));
    assert_eq!(
        with(|g| g.accounts[0].possession = [0; 48]),
        Err(GenesisError::Key(1, Reject::BadProofOfPossession))
    );
    let mut other = good.encode();
    other[17] = b'2';
    assert_eq!(Genesis::decode(&other), Err(GenesisError::Magic));
    for bit in 0..8 * good.encode().len() {
        let mut bytes = good.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(genesis::chain_id(&bytes), good.chain_id());
        if let Ok(other) = Genesis::decode(&bytes) {
            assert_eq!(other.encode(), bytes, "one encoding per genesis, bit {bit}");
        }
    }
}

#[test]
fn an_envelope_of_no_leaves_is_a_bad_count() {
    let header = EnvelopeHeader::new(ParticipantId::new(1), 1, 1, TimeNs::ZERO, &[]);
    assert_eq!(header.check_leaves(&[], 10), Err(Reject::BadCount));
    assert_eq!(Hash(header.root), tree::empty_root());
    assert_eq!(EnvelopeHeader::read(bytemuck::bytes_of(&header)), Some(header));
}
