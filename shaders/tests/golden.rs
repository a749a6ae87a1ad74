//! Six envelopes signed by an implementation of BLS12-381 that is not blst, and keys that are none.
#![allow(clippy::unwrap_used)]

mod signers;

use serde_json::Value;
use signers::Signer;
use wattbook_feed::signed::EnvelopeHeader;
use wattbook_shaders::{
    Candidate, KeyError, Policy, PublicKey, SignatureError, Verdict, Verifier, verify_one, verify_possession,
};
use wattbook_types::{ChainId, Hash};

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

struct Golden {
    chain: ChainId,
    header: EnvelopeHeader,
    leaves: Vec<u8>,
    signature: [u8; 48],
    key: PublicKey,
    possession: [u8; 48],
    register_digest: Hash,
}

fn golden() -> Vec<Golden> {
    let sets: Vec<Value> = serde_json::from_str(include_str!("vectors/golden_envelopes.json")).unwrap();
    assert_eq!(sets.len(), 6);
    let read = |set: &Value| Golden {
        chain: ChainId(Hash(bytes(&set["chain_id"]))),
        header: bytemuck::pod_read_unaligned(&bytes::<72>(&set["envelope"])),
        leaves: set["leaves"].as_array().unwrap().iter().flat_map(bytes::<48>).collect(),
        signature: bytes(&set["signature"]),
        key: PublicKey::new(&bytes(&set["pk"])).unwrap(),
        possession: bytes(&set["pop"]),
        register_digest: Hash(bytes(&set["register_digest"])),
    };
    sets.iter().map(read).collect()
}

#[test]
fn envelopes_and_possession_hold() {
    for set in golden() {
        assert_eq!(
            verify_possession(&set.key, &set.register_digest, &set.possession),
            Ok(())
        );
        let digest = set.header.digest(set.chain);
        assert_eq!(verify_one(&set.key, &digest, &set.signature), Ok(()));
        // Neither stands for the other: the suites differ.
        let mismatch = Err(SignatureError::Mismatch);
        assert_eq!(verify_one(&set.key, &set.register_digest, &set.possession), mismatch);
        assert_eq!(verify_possession(&set.key, &digest, &set.signature), mismatch);

        let (header, leaves) = (&set.header, set.leaves.as_slice());
        let candidate = Candidate {
            header,
            signature: &set.signature,
            leaves,
            key: &set.key,
            source: 0,
        };
        for policy in signers::POLICIES {
            assert_eq!(
                signers::verifier(policy).verify(set.chain, &[candidate; 3]),
                [Verdict::Valid; 3]
            );
            let other_chain = signers::verifier(policy).verify(ChainId::default(), &[candidate; 3]);
            assert_eq!(other_chain, [Verdict::BadSignature(SignatureError::Mismatch); 3]);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let set = &golden()[0];
    let mut altered = Vec::new();
    for bit in 0..72 * 8 {
        let mut header = bytes_of(&set.header);
        header[bit / 8] ^= 1 << (bit % 8);
        altered.push((
            bytemuck::pod_read_unaligned::<EnvelopeHeader>(&header),
            set.leaves.clone(),
        ));
    }
    for bit in 0..set.leaves.len() * 8 {
        let mut leaves = set.leaves.clone();
        leaves[bit / 8] ^= 1 << (bit % 8);
        altered.push((set.header, leaves));
    }
    let candidates: Vec<Candidate<'_>> = altered
        .iter()
        .map(|(header, leaves)| Candidate {
            header,
            signature: &set.signature,
            leaves,
            key: &set.key,
            source: 0,
        })
        .collect();
    let verdicts = Verifier::new(Policy::Batch).verify(set.chain, &candidates);
    for (bit, verdict) in verdicts.into_iter().enumerate() {
        let expected = match bit {
            32..64 => Verdict::BadCount,
            0..320 => Verdict::BadSignature(SignatureError::Mismatch),
            _ => Verdict::BadRoot,
        };
        assert_eq!(verdict, expected, "bit {bit}");
    }
}

fn bytes_of(header: &EnvelopeHeader) -> [u8; 72] {
    bytemuck::cast(*header)
}

#[test]
fn keys_that_are_none() {
    let good = *Signer::new(1).key.as_bytes();
    assert_eq!(PublicKey::new(&good).unwrap().as_bytes(), &good);

    let mut infinity = [0u8; 96];
    infinity[0] = 0xc0;
    assert_eq!(PublicKey::new(&infinity), Err(KeyError::Infinity));
    infinity[95] = 1;
    assert_eq!(PublicKey::new(&infinity), Err(KeyError::BadEncoding));
    for flags in [0x00, 0x40, 0xe0] {
        let mut bad = good;
        bad[0] = bad[0] & 0x1f | flags;
        assert_eq!(PublicKey::new(&bad), Err(KeyError::BadEncoding), "flags {flags:#x}");
    }
    assert_eq!(PublicKey::new(&[0xff; 96]), Err(KeyError::BadEncoding));
    assert_eq!(PublicKey::new(&[0x9f; 96]), Err(KeyError::BadEncoding));

    // Small x coordinates are almost never in the subgroup.
    let (mut off_curve, mut off_group) = (0, 0);
    for x in 1..=32u8 {
        let mut small = [0u8; 96];
        (small[0], small[95]) = (0x80, x);
        match PublicKey::new(&small) {
            Err(KeyError::NotOnCurve) => off_curve += 1,
            Err(KeyError::NotInGroup) => off_group += 1,
            other => panic!("x = {x}: {other:?}"),
        }
    }
    assert!(off_curve > 0 && off_group > 0);
    assert_eq!(off_curve + off_group, 32);
}
