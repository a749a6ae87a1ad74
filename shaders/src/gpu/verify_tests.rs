//! Whole batches on the device beside blst's verdicts: valid, hostile, of many shapes.

use super::curve::{E1, points_of, words_of};
use super::pairing::Pairings;
use super::sums::Batch;
use super::verify::{Begun, Engine, Resident, check_items};
use super::{Error, test_device};
use crate::batch::Item;
use crate::cpu::field::Fp;
use crate::cpu::{Affine, Path, Pool};
use crate::key::{PublicKey, SIGNATURE_DST, verify_one};
use crate::numbering::Numbering;
use crate::rlc::{self, Coefficients, TRITS, Width};
use crate::{SignatureError, Stats, curve};
use blst::min_sig::{SecretKey, Signature};
use blst::{blst_p1, blst_p1_affine};
use num_bigint::BigUint;
use rayon::prelude::*;
use std::sync::{Arc, LazyLock};
use wattbook_types::{Hash, sha256};

/// One for all tests, so that batches find what others left in its room.
fn engine() -> &'static Engine {
    static ENGINE: LazyLock<Engine> =
        LazyLock::new(|| Engine::new(Arc::clone(test_device()), SIGNATURE_DST).expect("a tag that the device hashes"));
    &ENGINE
}

type Verdicts = Vec<Result<(), SignatureError>>;

/// A signed message and the session it came over.
#[derive(Clone)]
struct Signed {
    key: usize,
    message: Hash,
    signature: [u8; 48],
    source: u64,
}

/// Signers and what they signed.
struct Scene {
    secrets: Vec<SecretKey>,
    keys: Vec<PublicKey>,
    signed: Vec<Signed>,
}

impl Scene {
    /// So many messages of each signer, a session each.
    fn new(counts: &[usize]) -> Self {
        let secret = |i: usize| SecretKey::key_gen(&sha256(&[b"signer", &i.to_le_bytes()]).0, &[]).unwrap();
        let secrets: Vec<SecretKey> = (0..counts.len()).map(secret).collect();
        let keys = secrets
            .par_iter()
            .map(|secret| PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap());
        let jobs: Vec<(usize, usize)> = counts
            .iter()
            .enumerate()
            .flat_map(|(key, count)| (0..*count).map(move |i| (key, i)))
            .collect();
        let signed = jobs.par_iter().map(|(key, i)| {
            let message = sha256(&[&key.to_le_bytes(), &i.to_le_bytes()]);
            Signed {
                key: *key,
                message,
                signature: secrets[*key].sign(&message.0, SIGNATURE_DST, &[]).to_bytes(),
                source: *key as u64,
            }
        });
        Self {
            signed: signed.collect(),
            keys: keys.collect(),
            secrets,
        }
    }

    fn items(&self) -> Vec<Item<'_>> {
        self.signed
            .iter()
            .map(|signed| Item {
                key: &self.keys[signed.key],
                message: &signed.message.0,
                signature: &signed.signature,
                source: signed.source,
            })
            .collect()
    }

    fn on_device(&self) -> Result<(Verdicts, Stats), Error> {
        self.paired(None)
    }

    fn paired(&self, pairings: Option<&mut Pairings>) -> Result<(Verdicts, Stats), Error> {
        let mut stats = Stats::default();
        let path = &mut Path::new(2);
        let verdicts = check_items(engine(), &self.items(), SIGNATURE_DST, path, pairings, &mut stats)?;
        Ok((verdicts, stats))
    }

    fn blst(&self, at: usize) -> Result<(), SignatureError> {
        let signed = &self.signed[at];
        verify_one(&self.keys[signed.key], &signed.message, &signed.signature)
    }

    /// The verdicts are blst's on the items of `faults`, none of which holds, and `Ok` on all others.
    fn assert_faults(&self, faults: &[usize]) -> Result<(), Error> {
        self.assert_verdicts(&self.on_device()?.0, faults);
        Ok(())
    }

    fn assert_verdicts(&self, verdicts: &Verdicts, faults: &[usize]) {
        for (at, verdict) in verdicts.iter().enumerate() {
            let expected = if faults.contains(&at) { self.blst(at) } else { Ok(()) };
            assert_eq!(expected.is_err(), faults.contains(&at), "item {at}");
            assert_eq!(*verdict, expected, "item {at}");
        }
    }

    /// Adds a point to a signature.
    fn shift(&mut self, at: usize, by: &blst_p1) {
        let signature = &mut self.signed[at].signature;
        *signature = compressed(&curve::add(&point_of(signature), by));
    }
}

fn point_of(signature: &[u8; 48]) -> blst_p1 {
    let signature = Signature::from_bytes(signature).unwrap();
    let point: &blst_p1_affine = (&signature).into();
    Affine::from(*point).into()
}

fn compressed(point: &blst_p1) -> [u8; 48] {
    Signature::from(curve::to_affine(&[*point])[0]).to_bytes()
}

/// The order of G1.
fn order() -> BigUint {
    "52435875175126190479447740508185965837690552500527637822603658699938581184513"
        .parse()
        .unwrap()
}

fn times(point: &blst_p1, factor: &BigUint) -> blst_p1 {
    (0..factor.bits()).rev().fold(blst_p1::default(), |sum, bit| {
        let twice = curve::add(&sum, &sum);
        if factor.bit(bit) {
            curve::add(&twice, point)
        } else {
            twice
        }
    })
}

/// Points outside the subgroup: of order three, of order eleven, and of others that divide the cofactor.
fn outside() -> Vec<blst_p1> {
    let cofactor: BigUint = "76329603384216526031706109802092473003".parse().unwrap();
    let mut encoding = [0u8; 48];
    encoding[0] = 0x80;
    let two = Fp::ONE + Fp::ONE;
    let mut points = vec![blst_p1::from(Affine { x: Fp::ZERO, y: two })];
    let factors = [order(), order(), order() * &cofactor / 121u32];
    let mut candidates = (1u8..).filter_map(|x| {
        encoding[47] = x;
        Signature::from_bytes(&encoding).ok()
    });
    for factor in factors {
        let point = candidates
            .by_ref()
            .map(|signature| times(&point_of(&signature.to_bytes()), &factor))
            .find(|point| *point != blst_p1::default());
        points.extend(point);
    }
    assert_eq!(points.len(), 4);
    assert_eq!(times(&points[0], &BigUint::from(3u32)), blst_p1::default());
    assert_eq!(times(&points[3], &BigUint::from(11u32)), blst_p1::default());
    assert!(points.iter().all(|point| !curve::is_in_g1(point)));
    points
}

#[test]
fn empty_single_and_pair() -> Result<(), Error> {
    Scene::new(&[]).assert_faults(&[])?;
    Scene::new(&[1]).assert_faults(&[])?;
    let mut pair = Scene::new(&[1, 1]);
    pair.assert_faults(&[])?;
    let (first, second) = (pair.signed[0].signature, pair.signed[1].signature);
    pair.signed[0].signature = second;
    pair.assert_faults(&[0])?;
    pair.signed[1].signature = first;
    pair.assert_faults(&[0, 1])?;
    pair.signed.truncate(1);
    pair.assert_faults(&[0])
}

/// A batch in several chunks, keys across their borders, is one equation; when it fails, the points of all are there.
#[test]
fn chunks_make_one_batch() -> Result<(), Error> {
    let mut scene = Scene::new(&[90, 20, 1, 1, 60]);
    let in_chunks = |scene: &Scene| {
        let mut stats = Stats::default();
        let mut path = Path::new(1);
        let (items, engine) = (scene.items(), engine());
        let numbering = Numbering::new(path.pool(), &items);
        let begun = Begun::in_chunks(engine, &items, numbering, path.pool(), None, 50)?;
        let verdicts = begun.finish(engine, &items, SIGNATURE_DST, &mut path, None, &mut stats)?;
        Ok::<_, Error>((verdicts, stats))
    };
    let (verdicts, stats) = in_chunks(&scene)?;
    assert!(verdicts.iter().all(Result::is_ok));
    assert_eq!((stats.bisections, stats.pairings), (0, 6), "one equation");
    let swapped = scene.signed[49].signature;
    scene.signed[49].signature = scene.signed[50].signature;
    scene.signed[50].signature = swapped;
    scene.signed[120].signature[0] &= 0x7f;
    let (verdicts, _) = in_chunks(&scene)?;
    for (at, verdict) in verdicts.iter().enumerate() {
        let expected = if [49, 50, 120].contains(&at) {
            scene.blst(at)
        } else {
            Ok(())
        };
        assert_eq!(expected.is_err(), [49, 50, 120].contains(&at), "item {at}");
        assert_eq!(*verdict, expected, "item {at}");
    }
    Ok(())
}

/// Inputs that lie on the device, in several chunks: the verdicts are those of the same from the host, each time anew.
#[test]
fn resident_batches_have_the_same_verdicts() -> Result<(), Error> {
    let mut scene = Scene::new(&[90, 20, 1, 1, 60]);
    let check = |scene: &Scene, times: usize| {
        let (items, engine, mut path) = (scene.items(), engine(), Path::new(2));
        let resident = Resident::in_chunks(engine, &items, &path, 50)?.expect("messages are digests");
        let mut stats = Stats::default();
        let mut pairings = Pairings::new(test_device(), 8);
        for turn in 0..times {
            let pairings = (turn == 0).then_some(&mut pairings);
            let verdicts = resident.check(engine, &items, SIGNATURE_DST, &mut path, pairings, &mut stats)?;
            scene.assert_verdicts(&verdicts, if times == 1 { &[49, 50, 120] } else { &[] });
        }
        Ok::<_, Error>(stats)
    };
    let stats = check(&scene, 2)?;
    assert_eq!((stats.bisections, stats.batches, stats.pairings), (0, 2, 2 * 6));
    let swapped = scene.signed[49].signature;
    scene.signed[49].signature = scene.signed[50].signature;
    scene.signed[50].signature = swapped;
    scene.signed[120].signature[0] &= 0x7f;
    assert!(check(&scene, 1)?.bisections > 0);
    // A message that is no digest stays on the host.
    let mut items = scene.items();
    items[7].message = b"a message";
    assert!(Resident::new(engine(), &items, &Path::new(1))?.is_none());
    Ok(())
}

/// More keys of some messages each than combinations fit one binding: several parts, one equation.
#[test]
fn slots_of_several_bindings_make_one_batch() -> Result<(), Error> {
    let mut scene = Scene::new(&[13; 80]);
    let (verdicts, stats) = scene.on_device()?;
    scene.assert_verdicts(&verdicts, &[]);
    assert_eq!((stats.bisections, stats.pairings), (0, 81), "one equation");
    let (first, last) = (scene.signed[0].signature, scene.signed[1_039].signature);
    (scene.signed[0].signature, scene.signed[1_039].signature) = (last, first);
    scene.assert_faults(&[0, 1_039])
}

/// Several batches on the device at once, finished in whatever order: each keeps its own.
#[test]
fn batches_overlap() -> Result<(), Error> {
    let mut scenes = [&[40, 3][..], &[7; 9], &[1; 30], &[120]].map(Scene::new);
    for at in [5, 17] {
        scenes[2].signed[at].signature = scenes[2].signed[at + 1].signature;
    }
    let items = [0, 1, 2, 3].map(|at: usize| scenes[at].items());
    let mut begun = Vec::new();
    for items in &items {
        let (pool, engine) = (Pool::new(2), engine());
        let numbering = Numbering::new(&pool, items);
        begun.push(Some(Begun::in_chunks(engine, items, numbering, &pool, None, 25)?));
    }
    for at in [2, 0, 3, 1] {
        let (begun, stats) = (begun[at].take().unwrap(), &mut Stats::default());
        let verdicts = begun.finish(engine(), &items[at], SIGNATURE_DST, &mut Path::new(1), None, stats)?;
        scenes[at].assert_verdicts(&verdicts, if at == 2 { &[5, 17] } else { &[] });
    }
    Ok(())
}

/// Ten thousand signatures of signers with many, some and few messages, repeated ones among them, all of which hold; then
/// every kind of fault at once.
#[test]
fn ten_thousand_and_every_fault_among_them() -> Result<(), Error> {
    let mut counts = vec![5_000, 4_100, 400, 100];
    counts.extend([13, 12, 5, 2]);
    counts.extend([1; 360]);
    let mut scene = Scene::new(&counts);
    // The same signature again, and the same message under another key.
    for i in 0..4 {
        scene.signed.push(scene.signed[i * 2_600].clone());
        let mut again = scene.signed[i].clone();
        again.key = 8 + i;
        again.source = again.key as u64;
        again.signature = scene.secrets[again.key]
            .sign(&again.message.0, SIGNATURE_DST, &[])
            .to_bytes();
        scene.signed.push(again);
    }
    assert_eq!(scene.signed.len(), 10_000);
    let (verdicts, stats) = scene.on_device()?;
    assert!(verdicts.iter().all(Result::is_ok));
    assert_eq!(
        (stats.bisections, stats.pairings),
        (0, 1 + counts.len() as u64),
        "one equation"
    );

    // Faults come over a few sessions only, so that the search for them stays short.
    let few = 9_500..9_600;
    let mut at = few.clone();
    let mut next = || at.next().unwrap();
    let mut faults = Vec::new();
    let edits: [fn(&mut [u8; 48]); 9] = [
        |s| s[0] &= 0x7f,
        |s| s[0] |= 0x40,
        |s| *s = [0; 48],
        |s| *s = [0xff; 48],
        |s| s[0] ^= 0x20,
        // Infinity, infinity with a sign, x off the curve, x = 0.
        |s| (*s = [0; 48], s[0] = 0xc0).1,
        |s| (*s = [0; 48], s[0] = 0xe0).1,
        |s| (*s = [0; 48], s[0] = 0x80, s[47] = 1).2,
        |s| (*s = [0; 48], s[0] = 0x80).1,
    ];
    for edit in edits {
        let i = next();
        edit(&mut scene.signed[i].signature);
        faults.push(i);
    }
    // p, p + 1, p - 1 and the largest number as x.
    for (delta, mask) in [(0u32, 0u8), (1, 0), (0, 0x1f)] {
        let i = next();
        let p = order_of_the_field() + delta;
        let bytes: [u8; 48] = p.to_bytes_be().try_into().unwrap();
        scene.signed[i].signature = bytes;
        scene.signed[i].signature[0] |= 0x80 | mask;
        faults.push(i);
    }
    for point in outside() {
        // T and -T in one batch.
        let (one, other) = (next(), next());
        scene.shift(one, &point);
        scene.shift(other, &curve::negate(point));
        faults.extend([one, other]);
    }
    let (one, other) = (next(), next());
    let swapped = scene.signed[one].signature;
    scene.signed[one].signature = scene.signed[other].signature;
    scene.signed[other].signature = swapped;
    faults.extend([one, other]);
    // A point of the subgroup and its negative: the sum is right, neither signature is.
    let (one, other) = (next(), next());
    let point = curve::hash_to_g1(b"shift", SIGNATURE_DST);
    scene.shift(one, &point);
    scene.shift(other, &curve::negate(point));
    faults.extend([one, other]);
    assert!(faults.iter().all(|fault| few.contains(fault)));
    scene.assert_faults(&faults)
}

fn order_of_the_field() -> BigUint {
    let hex = b"1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
    BigUint::parse_bytes(hex, 16).unwrap()
}

/// Two hundred batches, each with one signature that has a component of order three: the ninety combinations find every
/// one; a subgroup test of the one sum `sum r_i S_i` would let a third of them through.
#[test]
fn two_hundred_batches_with_a_cofactor_fault() -> Result<(), Error> {
    const BATCHES: usize = 200;
    const EACH: usize = 6;
    let device = test_device();
    let torsion = outside()[0];
    let points: Vec<blst_p1> = (0..BATCHES * EACH)
        .map(|i| {
            let point = curve::hash_to_g1(&i.to_le_bytes(), SIGNATURE_DST);
            if i % EACH == i / EACH % EACH {
                curve::add(&point, &torsion)
            } else {
                point
            }
        })
        .collect();
    let points: Vec<Affine> = curve::to_affine(&points).into_iter().map(Affine::from).collect();
    let coefficients = Coefficients::draw(&Hash::ZERO, 0..points.len()).unwrap();
    let batch = Batch {
        device,
        curve: E1,
        points: &device.upload("points", &words_of(&E1, &points)),
        wide: &device.upload("coefficients", &coefficients.words()),
        len: points.len(),
        slots: BATCHES,
    };
    let slot_of: Vec<u32> = (0..points.len()).map(|i| (i / EACH) as u32).collect();
    let mut commands = device.commands();
    let combinations = batch.combinations(&mut commands, &device.upload("slots", &slot_of), Width::Two);
    let download = commands.download(&combinations, 0, combinations.len());
    let words = commands.submit().wait()?.take(download);
    let combinations: Vec<blst_p1> = points_of(&E1, &words).into_iter().map(blst_p1::from).collect();
    let found: Vec<(bool, bool)> = combinations
        .par_chunks(TRITS)
        .map(|all| {
            (
                all.iter().any(|sum| !curve::is_in_g1(sum)),
                !curve::is_in_g1(&rlc::total(all)),
            )
        })
        .collect();
    let by_trits = found.iter().filter(|(by_trits, _)| *by_trits).count();
    let by_one_sum = found.iter().filter(|(_, by_one_sum)| *by_one_sum).count();
    println!("of {BATCHES} batches with a cofactor fault: {by_trits} found by trits, {by_one_sum} by one sum");
    assert_eq!(by_trits, BATCHES);
    // One sum finds 133 on average; a fair source goes beyond these bounds less than once in 10^9.
    assert!((85..175).contains(&by_one_sum));
    Ok(())
}

#[test]
fn pairings_of_many_keys_stay_on_the_device() -> Result<(), Error> {
    let mut counts = vec![1; 50];
    counts.extend([2, 3, 40]);
    let mut scene = Scene::new(&counts);
    let mut pairings = Pairings::new(test_device(), 60);
    for _ in 0..2 {
        let (verdicts, stats) = scene.paired(Some(&mut pairings))?;
        scene.assert_verdicts(&verdicts, &[]);
        assert_eq!(
            (pairings.len(), stats.bisections),
            (53, 0),
            "keys stay, and the equation held"
        );
    }
    // A faulty signature of a lone key and of the key of many, and one outside the subgroup.
    let (first, second) = (scene.signed[3].signature, scene.signed[80].signature);
    (scene.signed[3].signature, scene.signed[80].signature) = (second, first);
    scene.shift(20, &outside()[0]);
    let (verdicts, _) = scene.paired(Some(&mut pairings))?;
    scene.assert_verdicts(&verdicts, &[3, 20, 80]);
    // More keys than fit: the CPU pairs.
    let mut few = Pairings::new(test_device(), 52);
    let (verdicts, _) = scene.paired(Some(&mut few))?;
    scene.assert_verdicts(&verdicts, &[3, 20, 80]);
    assert_eq!(few.len(), 0);
    Ok(())
}
