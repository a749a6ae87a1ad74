//! Published vectors of the `NUL` suite through every path, and the equation with chosen scalars.

use crate::batch::{Item, check_items};
use crate::cpu::Path;
use crate::gpu::verify::Engine;
use crate::{Policy, PublicKey, SignatureError, Stats, gpu, verify_one};
use serde_json::Value;
use std::sync::Arc;
use wattbook_types::{Hash, sha256};

const NUL_DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Both paths' verdicts, which must be the same.
fn verdicts(items: &[Item<'_>]) -> Vec<Result<(), SignatureError>> {
    let mut stats = Stats::default();
    let alone = check_items(items, NUL_DST, Policy::OneByOne, &mut Path::new(1), &mut stats);
    for threads in [1, 2] {
        let mut path = Path::new(threads);
        assert_eq!(check_items(items, NUL_DST, Policy::Batch, &mut path, &mut stats), alone);
    }
    let engine = Engine::new(Arc::clone(gpu::test_device()), NUL_DST).unwrap();
    let on_device = gpu::verify::check_items(&engine, items, NUL_DST, &mut Path::new(2), None, &mut stats);
    assert_eq!(on_device.unwrap(), alone);
    alone
}

#[test]
fn noble_minsig_signatures_hold() {
    let text = include_str!("../tests/vectors/minsig/sk_msg_sig.txt");
    let lines: Vec<(PublicKey, Vec<u8>, [u8; 48])> = text
        .lines()
        .map(|line| {
            let mut fields = line.split(':');
            let mut field = || fields.next().unwrap();
            let secret = blst::min_sig::SecretKey::from_bytes(&bytes::<32>(field())).unwrap();
            let key = PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap();
            (key, hex::decode(field()).unwrap(), bytes(field()))
        })
        .collect();
    assert_eq!(lines.len(), 128);
    let item = |(key, message, signature)| Item {
        key,
        message,
        signature,
        source: 0,
    };
    let items: Vec<Item<'_>> = lines.iter().map(|(k, m, s)| item((k, m.as_slice(), s))).collect();
    assert!(verdicts(&items).iter().all(Result::is_ok));
    // Every signature under the next line's message and key.
    let shifted: Vec<Item<'_>> = lines
        .iter()
        .zip(lines.iter().cycle().skip(1))
        .map(|((_, _, s), (k, m, _))| item((k, m.as_slice(), s)))
        .collect();
    assert!(
        verdicts(&shifted[..8])
            .iter()
            .all(|verdict| *verdict == Err(SignatureError::Mismatch))
    );
}

#[test]
fn drand_quicknet_beacons() {
    let file: Value = serde_json::from_str(include_str!("../tests/vectors/drand/quicknet_minsig.json")).unwrap();
    let key = PublicKey::new(&bytes(file["public_key_g2_compressed"].as_str().unwrap())).unwrap();
    let read = |list: &str| -> Vec<(String, Hash, Vec<u8>)> {
        let entry = |v: &Value| {
            let round = v["round"].as_u64().unwrap();
            let name = v["id"].as_str().map_or_else(|| round.to_string(), str::to_owned);
            (
                name,
                sha256(&[&round.to_be_bytes()]),
                hex::decode(v["signature"].as_str().unwrap()).unwrap(),
            )
        };
        file[list].as_array().unwrap().iter().map(entry).collect()
    };
    let (positive, negative) = (read("positive"), read("negative"));
    assert_eq!((positive.len(), negative.len()), (15, 29));

    let (mut items, mut expected, mut wrong_size) = (Vec::new(), Vec::new(), 0);
    for (i, (name, message, signature)) in positive.iter().chain(&negative).enumerate() {
        let Ok(signature) = signature.as_slice().try_into() else {
            wrong_size += 1;
            continue;
        };
        items.push(Item {
            key: &key,
            message: &message.0,
            signature,
            source: i as u64 % 3,
        });
        expected.push(match name.as_str() {
            _ if i < positive.len() => Ok(()),
            "infinity-zero" => Err(SignatureError::Infinity),
            "order-three-sign-clear" | "order-three-sign-set" => Err(SignatureError::NotInGroup),
            "off-curve-sign-clear" | "off-curve-sign-set" => Err(SignatureError::NotOnCurve),
            "round-zero" | "uint64-max-round" | "sign-flip" | "unrelated-subgroup-generator" | "wrong-round" => {
                Err(SignatureError::Mismatch)
            }
            "first-x-bit-flip" | "last-x-bit-flip" | "x-p-minus-one" => match verify_one(&key, message, signature) {
                Err(error @ (SignatureError::NotOnCurve | SignatureError::NotInGroup)) => Err(error),
                other => panic!("{name}: {other:?}"),
            },
            _ => Err(SignatureError::BadEncoding),
        });
    }
    // What is not 48 bytes cannot be said to this interface.
    assert_eq!(wrong_size, 6);
    assert_eq!(verdicts(&items), expected);
}

#[test]
fn g1_encodings() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/deserialization_G1");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        seen += 1;
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let encoding = hex::decode(case["input"]["pubkey"].as_str().unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let Ok(encoding) = <&[u8; 48]>::try_from(encoding.as_slice()) else {
            assert!(name.ends_with("few_bytes") || name.ends_with("many_bytes"), "{name}");
            continue;
        };
        let expected = match name {
            "deserialization_succeeds_correct_point" => Ok(()),
            "deserialization_succeeds_infinity_with_true_b_flag" => Err(SignatureError::Infinity),
            "deserialization_fails_not_in_G1" => Err(SignatureError::NotInGroup),
            "deserialization_fails_not_in_curve" => Err(SignatureError::NotOnCurve),
            // The set means the flag, but x = 0 without it is the point (0, 2) of order three.
            "deserialization_fails_infinity_with_false_b_flag" => Err(SignatureError::NotInGroup),
            _ => Err(SignatureError::BadEncoding),
        };
        assert_eq!(crate::key::decompress(encoding).map(drop), expected, "{name}");
    }
    assert_eq!(seen, 13);
}
