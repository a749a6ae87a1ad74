//! Signatures against blst, messages against RFC 9380 and a plain reading of its map.

use super::field::{Fp, LIMBS, from_slot};
use super::roots::{Batch, Class, POINT_LEN, Roots, UNPACK};
use super::{Dispatch, Error, test_device};
use crate::cpu::{Affine, isogeny};
use blst::{BLST_ERROR, blst_fp, min_sig};
use num_bigint::BigUint;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

type Coordinates = (Fp, Fp, Fp);
type Found = (Vec<Class>, Vec<Coordinates>, Vec<Coordinates>);

/// Classes and points (Montgomery) of signatures, points of messages on E1', first and second.
fn run(signatures: &[[u8; 48]], uniform: &[[u8; 128]]) -> Result<Found, Error> {
    assert_eq!(signatures.len(), uniform.len());
    let (device, n) = (test_device(), signatures.len());
    let words: Vec<u32> = signatures
        .iter()
        .flat_map(|bytes| bytes.as_chunks::<4>().0.iter().map(|c| u32::from_le_bytes(*c)))
        .collect();
    let signatures = device.upload("signatures", &words);
    let word = |w: usize, bytes: &[u8; 128]| u32::from_be_bytes(bytes[4 * w..4 * w + 4].try_into().unwrap());
    let words: Vec<u32> = (0..32)
        .flat_map(|w| uniform.iter().map(move |bytes| word(w, bytes)))
        .collect();
    let uniform = device.upload("uniform", &words);
    let working = device.buffer("working", Roots::working_len(n));
    let points = device.buffer("points", n * POINT_LEN);
    let flags = device.buffer("flags", n);
    let mapped = device.buffer("mapped", 2 * n * POINT_LEN);
    let mut commands = device.commands();
    let batch = Batch {
        n,
        signatures: &signatures,
        uniform: &uniform,
        working: &working,
        points: &points,
        flags: &flags,
        mapped: &mapped,
    };
    Roots::new(device, Roots::unscaled()).run(&mut commands, &batch);
    let downloads = [&flags, &points, &mapped].map(|buffer| commands.download(buffer, 0, buffer.len()));
    let mut outcome = commands.submit().wait()?;
    let [flags, points, mapped] = downloads.map(|download| outcome.take(download));
    let classes = flags.into_iter().map(Class::from_flags).collect();
    Ok((classes, coordinates(&points), coordinates(&mapped)))
}

fn coordinates(words: &[u32]) -> Vec<Coordinates> {
    let slots: Vec<Vec<Fp>> = words.chunks_exact(words.len() / 3).map(from_slot).collect();
    assert_eq!(slots[0].len() * 3 * LIMBS, words.len());
    (0..slots[0].len())
        .map(|i| (slots[0][i], slots[1][i], slots[2][i]))
        .collect()
}

fn class_and_bytes(signature: &[u8; 48]) -> (Class, Option<[u8; 96]>) {
    match min_sig::Signature::uncompress(signature) {
        Err(BLST_ERROR::BLST_BAD_ENCODING) => (Class::BadEncoding, None),
        Err(BLST_ERROR::BLST_POINT_NOT_ON_CURVE) => (Class::NotOnCurve, None),
        Err(BLST_ERROR::BLST_POINT_NOT_IN_GROUP) => (Class::NotInGroup, None),
        Err(error) => panic!("blst says {error:?}"),
        Ok(point) => match point.serialize() {
            bytes if bytes[0] & 0x40 != 0 => (Class::Infinity, None),
            bytes => (Class::Point, Some(bytes)),
        },
    }
}

fn modulus() -> BigUint {
    let digits = b"1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
    BigUint::parse_bytes(digits, 16).unwrap()
}

fn padded<const N: usize>(number: &BigUint) -> [u8; N] {
    let (mut bytes, digits) = ([0; N], number.to_bytes_be());
    bytes[N - digits.len()..].copy_from_slice(&digits);
    bytes
}

/// Encodings around every flag and border, with x as given, and the deserialization vectors.
fn hostile() -> Vec<[u8; 48]> {
    let p = modulus();
    let one = BigUint::from(1u32);
    let mut numbers = vec![
        BigUint::default(),
        &p - 1u32,
        p.clone(),
        &p + 1u32,
        &p * 2u32,
        (&one << 381) - 1u32,
    ];
    numbers.extend((1..40u32).map(BigUint::from));
    numbers.extend((0..381).step_by(29).map(|shift| &one << shift));
    let mut encodings = Vec::new();
    for number in numbers {
        for flags in 0..8u8 {
            let mut bytes = padded::<48>(&number);
            bytes[0] = bytes[0] & 0x1f | flags << 5;
            encodings.push(bytes);
        }
    }
    let mut files = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/deserialization_G1")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let bytes = hex::decode(value["input"]["pubkey"].as_str().unwrap()).unwrap();
            encodings.extend(<[u8; 48]>::try_from(bytes));
            files += 1;
        }
    }
    assert_eq!(files, 13);
    encodings
}

#[test]
fn signatures_are_what_blst_says() -> Result<(), Error> {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let mut signatures = hostile();
    let hostile = signatures.len();
    for i in 0..1500u32 {
        let mut bytes = [0; 48];
        rng.fill_bytes(&mut bytes);
        if i % 8 != 0 {
            bytes[0] = (bytes[0] % 0x1a) | 0x80 | (i as u8 & 1) << 5;
        }
        signatures.push(bytes);
    }
    let (classes, points, _) = run(&signatures, &vec![[0; 128]; signatures.len()])?;
    let mut counts = [0; 5];
    for (i, signature) in signatures.iter().enumerate() {
        let (class, bytes) = class_and_bytes(signature);
        assert_eq!(classes[i], class, "{}", hex::encode(signature));
        counts[class as usize] += 1;
        let (x, y, z) = points[i];
        let found = (z != Fp::default()).then(|| {
            assert_eq!(z, Fp::small(1).to_montgomery());
            [x, y].map(|c| c.from_montgomery().to_be_bytes()).concat()
        });
        assert_eq!(found, bytes.map(Vec::from), "{}", hex::encode(signature));
        if z == Fp::default() {
            assert_eq!((x, y), (Fp::default(), Fp::small(1).to_montgomery()));
        }
    }
    println!("{hostile} hostile and 1500 random encodings, by class: {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    Ok(())
}

/// `map_to_curve_simple_swu` as RFC 9380 6.6.2 defines it, with divisions.
fn map(u: &BigUint) -> (BigUint, BigUint) {
    let p = modulus();
    let constant = |digits: &str| BigUint::parse_bytes(digits.as_bytes(), 16).unwrap();
    let a = constant("144698a3b8e9433d693a02c96d4982b0ea985383ee66a8d8e8981aefd881ac98936f8da0e0f97f5cf428082d584c1d");
    let b =
        constant("12e2908d11688030018b12e8753eee3b2016c1f0f24f4070a0b9c14fcef35ef55a23215a316ceaa5d1cc48e98e172be0");
    let z = BigUint::from(11u32);
    let inverse = |x: &BigUint| x.modpow(&(&p - 2u32), &p);
    let zu2 = &z * u * u % &p;
    let sum = (&zu2 * &zu2 + &zu2) % &p;
    let x1 = match sum.bits() {
        0 => &b * inverse(&(&z * &a % &p)) % &p,
        _ => (&p - &b) * inverse(&a) % &p * (inverse(&sum) + 1u32) % &p,
    };
    let value = |x: &BigUint| (x * x * x + &a * x + &b) % &p;
    let root = |square: BigUint| {
        let root = square.modpow(&((&p + 1u32) / 4u32), &p);
        (&root * &root % &p == square).then_some(root)
    };
    let x2 = zu2 * &x1 % &p;
    let (x, y) = match root(value(&x1)) {
        Some(y) => (x1, y),
        None => (x2.clone(), root(value(&x2)).unwrap()),
    };
    if u.bit(0) == y.bit(0) { (x, y) } else { (x, &p - y) }
}

#[test]
fn messages_map_as_the_rfc_defines() -> Result<(), Error> {
    let p = modulus();
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    // 1 / sqrt(-11) and zero meet the exceptional case.
    let root = (&p - 11u32).modpow(&((&p + 1u32) / 4u32), &p);
    let exceptional = root.modpow(&(&p - 2u32), &p);
    let mut numbers = vec![
        BigUint::default(),
        BigUint::from(1u32),
        exceptional.clone(),
        &p - &exceptional,
        &p - 1u32,
        p.clone(),
        (BigUint::from(1u32) << 384) - 1u32,
        BigUint::from(1u32) << 384,
        (BigUint::from(1u32) << 512) - 1u32,
        &p * &exceptional % (BigUint::from(1u32) << 100) * &p + &exceptional,
    ];
    while numbers.len() < 200 {
        let mut bytes = [0; 64];
        rng.fill_bytes(&mut bytes);
        numbers.push(BigUint::from_bytes_be(&bytes));
    }
    let uniform: Vec<[u8; 128]> = numbers
        .chunks_exact(2)
        .map(|pair| [padded::<64>(&pair[0]), padded(&pair[1])].concat().try_into().unwrap())
        .collect();
    let n = uniform.len();
    let (_, _, mapped) = run(&vec![[0; 48]; n], &uniform)?;
    let number = |fp: Fp| BigUint::from_bytes_be(&fp.from_montgomery().to_be_bytes());
    for (i, u) in numbers.iter().enumerate() {
        let (x, y, z) = mapped[i / 2 + i % 2 * n];
        let (expected_x, expected_y) = map(&(u % &p));
        let z = number(z);
        assert_ne!(z.bits(), 0);
        assert_eq!(
            (number(x), number(y)),
            (expected_x * &z % &p, expected_y * &z % &p),
            "u = {u:x}"
        );
    }
    Ok(())
}

#[test]
fn published_maps() -> Result<(), Error> {
    let text = include_str!("../../tests/vectors/rfc9380/BLS12381G1_XMD_SHA-256_SSWU_RO_.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let bytes = |value: &Value| hex::decode(&value.as_str().unwrap()[2..]).unwrap();
    let uniform: Vec<[u8; 128]> = vectors
        .iter()
        .map(|vector| {
            let element = |k: usize| [vec![0; 16], bytes(&vector["u"][k])].concat();
            [element(0), element(1)].concat().try_into().unwrap()
        })
        .collect();
    let n = uniform.len();
    assert_eq!(n, 5);
    let (_, _, mapped) = run(&vec![[0; 48]; n], &uniform)?;
    for (i, vector) in vectors.iter().enumerate() {
        for (k, name) in ["Q0", "Q1"].into_iter().enumerate() {
            let (x, y, z) = mapped[k * n + i];
            let affine = |fp: Fp| -> blst_fp {
                let (p, number) = (modulus(), |fp: Fp| {
                    BigUint::from_bytes_be(&fp.from_montgomery().to_be_bytes())
                });
                let quotient = number(fp) * number(z).modpow(&(&p - 2u32), &p) % &p;
                Fp::from_be_bytes(&padded(&quotient)).unwrap().to_montgomery().to_blst()
            };
            let point = blst::blst_p1_affine {
                x: affine(x),
                y: affine(y),
            };
            let image = crate::curve::to_affine(&[isogeny::image(&Affine::from(point))])[0];
            let expected = [bytes(&vector[name]["x"]), bytes(&vector[name]["y"])].concat();
            let found = [image.x, image.y]
                .map(|c| Fp::from_blst(&c).from_montgomery().to_be_bytes())
                .concat();
            assert_eq!(found, expected, "{name} of {}", vector["msg"]);
        }
    }
    Ok(())
}

/// Encodings and uniform bytes taken apart, and nothing made of them.
#[test]
pub(super) fn encodings_are_taken_apart() -> Result<(), Error> {
    let (device, p) = (test_device(), modulus());
    let encodings = hostile();
    let (n, messages, at) = (encodings.len(), 9, 4);
    let words: Vec<u32> = (encodings.iter().flat_map(|bytes| bytes.as_chunks::<4>().0))
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    let uniform: Vec<u32> = (0..32 * messages as u32)
        .map(|i| (i + 1).wrapping_mul(0x9e37_79b9))
        .collect();
    let (numbers, halves) = (
        device.buffer("numbers", (n + at) * LIMBS),
        device.buffer("halves", 4 * messages * LIMBS),
    );
    let flags = device.buffer("flags", n);
    let mut commands = device.commands();
    let bytes = [&words, &uniform].map(|words| device.upload("bytes", words));
    for (bytes, io, params, items) in [
        (&bytes[0], &numbers, [n + at, at, 0, 0], n),
        (&bytes[1], &halves, [2 * messages, 0, 1, messages], 2 * messages),
    ] {
        commands.run(&Dispatch {
            kernel: &UNPACK,
            buffers: &[bytes, io, &flags],
            params: &params.map(|param| param as u32),
            items,
            work: 2,
        });
    }
    let downloads = [&numbers, &halves, &flags].map(|buffer| commands.download(buffer, 0, buffer.len()));
    let mut outcome = commands.submit().wait()?;
    let [numbers, halves, flags] = downloads.map(|download| outcome.take(download));
    let number = |words: &[u32], len: usize, item: usize| {
        (0..LIMBS).rev().fold(BigUint::default(), |sum, limb| {
            (sum << 30u32) + words[limb * len + item]
        })
    };
    for (i, bytes) in encodings.iter().enumerate() {
        let mut plain = *bytes;
        plain[0] &= 0x1f;
        let x = BigUint::from_bytes_be(&plain);
        let [compressed, infinity, larger] = [7, 6, 5].map(|bit| bytes[0] >> bit & 1 == 1);
        let is_zero = x == BigUint::default();
        // Bits 0 to 2: refused, infinity, the larger of two roots.
        let expected = match () {
            () if !compressed || infinity && (larger || !is_zero) => 1,
            () if infinity => 2,
            () if x >= p => 1,
            () => u32::from(larger) << 2,
        };
        assert_eq!(flags[i], expected, "{}", hex::encode(bytes));
        let x = if x < p { x } else { BigUint::default() };
        assert_eq!(number(&numbers, n + at, at + i), x, "{}", hex::encode(bytes));
    }
    let (low, high) = halves.split_at(2 * messages * LIMBS);
    for item in 0..2 * messages {
        let (element, message) = (item / messages, item % messages);
        let whole = (0..16).fold(BigUint::default(), |sum, word| {
            (sum << 32u32) + uniform[(16 * element + word) * messages + message]
        });
        let [low, high] = [low, high].map(|words| number(words, 2 * messages, item));
        assert!(low.bits() <= 384 && high.bits() <= 128);
        assert_eq!((high << 384u32) + low, whole, "element {element} of message {message}");
    }
    Ok(())
}
