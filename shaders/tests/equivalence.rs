//! Every policy gives what blst gives one by one, on random batches with random faults and on random bytes.
#![allow(clippy::unwrap_used)]

mod signers;

use blst::min_sig::Signature;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use signers::{Envelope, Signer, add, negate, of_order_three, verify, verify_every_way};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use wattbook_feed::signed::EnvelopeHeader;
use wattbook_shaders::{Policy, SignatureError, Verdict};

const SIGNERS: usize = 8;
const NONCES: usize = 24;

/// Valid envelopes by signer and nonce, signed once for all cases.
static POOL: LazyLock<Vec<Vec<Envelope>>> = LazyLock::new(|| {
    let of = |signer: Signer| {
        (0..NONCES as u64)
            .map(|n| signer.envelope(n, n as u32 % 5 + 1, 0))
            .collect()
    };
    (0..SIGNERS as u64).map(|id| of(Signer::new(id))).collect()
});

/// What is done to an envelope of a batch.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// One bit of the signature.
    SignatureBit(usize),
    /// One bit of the header.
    HeaderBit(usize),
    /// One bit of a leaf.
    LeafBit(usize),
    /// The leaves cut at a byte.
    Cut(usize),
    /// Another envelope's signature.
    Swap(usize),
    /// The key of another signer.
    Key(usize),
    /// A point of order three added here, and taken away there.
    Torsion(usize),
    /// Another envelope's signature added here, and taken away there.
    Shift(usize),
    /// Infinity.
    Infinity,
    /// Another signature with the same x coordinate.
    Negated,
}

fn fault() -> impl Strategy<Value = Fault> {
    let at = || 0..1usize << 12;
    prop_oneof![
        40 => Just(Fault::None),
        1 => at().prop_map(Fault::SignatureBit),
        1 => at().prop_map(Fault::HeaderBit),
        1 => at().prop_map(Fault::LeafBit),
        1 => at().prop_map(Fault::Cut),
        1 => at().prop_map(Fault::Swap),
        1 => at().prop_map(Fault::Key),
        1 => at().prop_map(Fault::Torsion),
        1 => at().prop_map(Fault::Shift),
        1 => Just(Fault::Infinity),
        1 => Just(Fault::Negated),
    ]
}

type Plan = Vec<(usize, usize, u64, Fault)>;

fn plan() -> impl Strategy<Value = Plan> {
    (1..=SIGNERS, 1..=64usize, 1..6u64)
        .prop_flat_map(|(keys, len, sources)| prop::collection::vec((0..keys, 0..NONCES, 0..sources, fault()), len))
}

/// The signature of an envelope as a point, if it still is one.
fn point(envelope: &Envelope) -> Option<Signature> {
    Signature::uncompress(&envelope.signature).ok()
}

fn shift(envelopes: &mut [Envelope], here: usize, there: usize, by: &Signature) {
    if let (Some(a), Some(b)) = (point(&envelopes[here]), point(&envelopes[there])) {
        envelopes[here].signature = add(&a, by).to_bytes();
        envelopes[there].signature = add(&b, &negate(by)).to_bytes();
    }
}

fn build(plan: &Plan) -> Vec<Envelope> {
    let take = |(signer, nonce, source, _): &(usize, usize, u64, Fault)| Envelope {
        source: *source,
        ..POOL[*signer][*nonce].clone()
    };
    let mut envelopes: Vec<Envelope> = plan.iter().map(take).collect();
    let len = envelopes.len();
    for (here, (.., fault)) in plan.iter().enumerate() {
        match *fault {
            Fault::None => {}
            Fault::SignatureBit(bit) => envelopes[here].signature[bit / 8 % 48] ^= 1 << (bit % 8),
            Fault::HeaderBit(bit) => {
                let mut bytes: [u8; 72] = bytemuck::cast(envelopes[here].header);
                bytes[bit / 8 % 72] ^= 1 << (bit % 8);
                envelopes[here].header = bytemuck::pod_read_unaligned(&bytes);
            }
            Fault::LeafBit(bit) => {
                let at = bit / 8 % envelopes[here].leaves.len().max(1);
                envelopes[here]
                    .leaves
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << (bit % 8));
            }
            Fault::Cut(at) => {
                let at = at % envelopes[here].leaves.len().max(1);
                envelopes[here].leaves.truncate(at);
            }
            Fault::Swap(there) => {
                let there = there % len;
                let signature = envelopes[here].signature;
                envelopes[here].signature = envelopes[there].signature;
                envelopes[there].signature = signature;
            }
            Fault::Key(signer) => envelopes[here].key = POOL[signer % SIGNERS][0].key,
            Fault::Torsion(there) => shift(&mut envelopes, here, there % len, &of_order_three()),
            Fault::Shift(there) => {
                if let Some(by) = point(&envelopes[(there + 1) % len]) {
                    shift(&mut envelopes, here, there % len, &by);
                }
            }
            Fault::Infinity => {
                envelopes[here].signature = [0; 48];
                envelopes[here].signature[0] = 0xc0;
            }
            Fault::Negated => envelopes[here].signature[0] ^= 0x20,
        }
    }
    envelopes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn batches_get_the_verdicts_of_their_envelopes(plan in plan()) {
        let envelopes = build(&plan);
        let alone = verify(Policy::OneByOne, &envelopes);
        prop_assert_eq!(&verify(Policy::Batch, &envelopes), &alone);
        prop_assert_eq!(&verify(Policy::Gpu, &envelopes), &alone);
        // Beyond two envelopes this is the batch again.
        if envelopes.len() <= 3 {
            prop_assert_eq!(&verify(Policy::Auto, &envelopes), &alone);
        }
        // Every eighth by blst's public interface too.
        for (envelope, verdict) in envelopes.iter().zip(&alone).step_by(8) {
            prop_assert_eq!(envelope.oracle(), *verdict);
        }
    }
}

/// Ten thousand envelopes in batches of thousands, from few faults to many; every envelope's verdict is blst's.
#[test]
fn ten_thousand_envelopes() {
    let mut rng = ChaCha8Rng::seed_from_u64(10_000);
    let mut known: HashMap<Vec<u8>, Verdict> = HashMap::new();
    let mut faulty = 0;
    // Envelopes, and of how many one has a fault.
    for (len, one_in) in [(5_000, 2_000), (3_500, 250), (1_500, 5)] {
        let at = |rng: &mut ChaCha8Rng| rng.next_u64() as usize % (1 << 12);
        let plan: Plan = (0..len)
            .map(|_| {
                let fault = match (rng.next_u64() % one_in, rng.next_u64() % 10) {
                    (1.., _) => Fault::None,
                    (0, 0) => Fault::SignatureBit(at(&mut rng)),
                    (0, 1) => Fault::HeaderBit(at(&mut rng)),
                    (0, 2) => Fault::LeafBit(at(&mut rng)),
                    (0, 3) => Fault::Cut(at(&mut rng)),
                    (0, 4) => Fault::Swap(at(&mut rng)),
                    (0, 5) => Fault::Key(at(&mut rng)),
                    (0, 6) => Fault::Torsion(at(&mut rng)),
                    (0, 7) => Fault::Shift(at(&mut rng)),
                    (0, 8) => Fault::Infinity,
                    _ => Fault::Negated,
                };
                (
                    at(&mut rng) % SIGNERS,
                    at(&mut rng) % NONCES,
                    at(&mut rng) as u64 % 16,
                    fault,
                )
            })
            .collect();
        let envelopes = build(&plan);
        let verdicts = verify(Policy::Batch, &envelopes);
        assert!(verify(Policy::Gpu, &envelopes) == verdicts, "on the device");
        for (envelope, verdict) in envelopes.iter().zip(verdicts) {
            let parts = [
                envelope.key.as_bytes(),
                bytemuck::bytes_of(&envelope.header),
                &envelope.signature,
            ];
            let whole = [&parts.concat()[..], &envelope.leaves].concat();
            let expected = *known.entry(whole).or_insert_with(|| envelope.oracle());
            assert_eq!(verdict, expected);
            faulty += usize::from(expected != Verdict::Valid);
        }
    }
    assert!((250..1_000).contains(&faulty), "{faulty} faults");
}

#[test]
fn random_bytes_are_refused_alike() {
    let mut rng = ChaCha8Rng::seed_from_u64(0x5eed);
    let mut kinds = HashSet::new();
    for len in [1usize, 2, 3, 17, 64] {
        let mut envelopes: Vec<Envelope> = Vec::new();
        for i in 0..len {
            let mut envelope = POOL[i % SIGNERS][i % NONCES].clone();
            rng.fill_bytes(&mut envelope.signature);
            if i % 2 == 0 {
                // Compressed flag set, x below 2^376: half of these are on the curve.
                (envelope.signature[0], envelope.signature[1]) = (0x80 | envelope.signature[0] & 0x20, 0);
            }
            if i % 3 == 0 {
                let mut header = [0u8; 72];
                rng.fill_bytes(&mut header);
                envelope.header = bytemuck::pod_read_unaligned::<EnvelopeHeader>(&header);
                if i % 2 == 0 {
                    // The tree agrees, so that the signature is reached.
                    let leaves: Vec<&[u8]> = envelope.leaves.chunks(48).collect();
                    envelope.header.count = leaves.len() as u32;
                    envelope.header.root = wattbook_types::tree::root(&leaves).0;
                }
            }
            envelope.source = rng.next_u64() % 3;
            envelopes.push(envelope);
        }
        let verdicts = verify_every_way(&envelopes);
        kinds.extend(verdicts);
    }
    // Random points are off the curve or off the group; no check is left out but infinity and the pairing.
    use SignatureError::{BadEncoding, NotInGroup, NotOnCurve};
    let signatures = [BadEncoding, NotInGroup, NotOnCurve].map(Verdict::BadSignature);
    let expected = signatures.into_iter().chain([Verdict::BadCount]);
    assert_eq!(kinds, expected.collect());
}
