//! Participants that sign envelopes, and blst's public interface as the oracle of their verdicts.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod sample;

use blst::min_sig::{AggregateSignature, SecretKey, Signature};
use blst::{BLST_ERROR, blst_fp12, blst_p1_affine, blst_p2_affine};
use std::sync::{Arc, LazyLock};
use wattbook_feed::signed::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
use wattbook_shaders::gpu::{Choice, Device};
use wattbook_shaders::{Candidate, Policy, PublicKey, SIGNATURE_DST, SignatureError, Verdict, Verifier};
use wattbook_types::{ChainId, sha256, tree};

/// The chain of every test.
pub(crate) fn chain() -> ChainId {
    ChainId(sha256(&[b"chain of the tests"]))
}

/// A registered participant.
pub(crate) struct Signer {
    pub(crate) secret: SecretKey,
    pub(crate) key: PublicKey,
    pub(crate) participant: u64,
}

impl Signer {
    pub(crate) fn new(participant: u64) -> Self {
        let seed = sha256(&[b"signer", &participant.to_le_bytes()]);
        let secret = SecretKey::key_gen(&seed.0, &[]).unwrap();
        let key = PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap();
        Self {
            secret,
            key,
            participant,
        }
    }

    /// A valid envelope of `count` leaves that `nonce` decides.
    pub(crate) fn envelope(&self, nonce: u64, count: u32, source: u64) -> Envelope {
        let leaf = |i: u32| {
            let mut leaf = [0u8; LEAF_SIZE];
            leaf[..32].copy_from_slice(&sha256(&[&nonce.to_le_bytes(), &i.to_le_bytes()]).0);
            leaf
        };
        let leaves: Vec<[u8; LEAF_SIZE]> = (0..count).map(leaf).collect();
        let header = EnvelopeHeader {
            version: ENVELOPE_VERSION,
            reserved0: 0,
            count,
            participant: self.participant,
            key_version: 1,
            reserved1: 0,
            nonce,
            not_after_ns: 1,
            root: tree::root(&leaves).0,
        };
        let mut envelope = Envelope {
            header,
            signature: [0; SIGNATURE_SIZE],
            leaves: leaves.concat(),
            key: self.key,
            source,
        };
        envelope.signature = self.sign(&envelope.header);
        envelope
    }

    pub(crate) fn sign(&self, header: &EnvelopeHeader) -> [u8; SIGNATURE_SIZE] {
        self.secret
            .sign(&header.digest(chain()).0, SIGNATURE_DST, &[])
            .to_bytes()
    }
}

/// An envelope as it came over a session.
#[derive(Clone)]
pub(crate) struct Envelope {
    pub(crate) header: EnvelopeHeader,
    pub(crate) signature: [u8; SIGNATURE_SIZE],
    pub(crate) leaves: Vec<u8>,
    pub(crate) key: PublicKey,
    pub(crate) source: u64,
}

impl Envelope {
    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            header: &self.header,
            signature: &self.signature,
            leaves: &self.leaves,
            key: &self.key,
            source: self.source,
        }
    }

    /// What the definitions and blst say, by its public interface only.
    pub(crate) fn oracle(&self) -> Verdict {
        let count = self.header.count as usize;
        if count == 0 || self.leaves.len() != count * LEAF_SIZE {
            return Verdict::BadCount;
        }
        let leaves: Vec<&[u8]> = self.leaves.chunks(LEAF_SIZE).collect();
        if tree::root(&leaves).0 != self.header.root {
            return Verdict::BadRoot;
        }
        let error = match Signature::sig_validate(&self.signature, true) {
            Ok(signature) => {
                let key = blst::min_sig::PublicKey::from_bytes(self.key.as_bytes()).unwrap();
                let message = self.header.digest(chain());
                match signature.verify(true, &message.0, SIGNATURE_DST, &[], &key, true) {
                    BLST_ERROR::BLST_SUCCESS => return Verdict::Valid,
                    BLST_ERROR::BLST_VERIFY_FAIL => SignatureError::Mismatch,
                    other => panic!("{other:?}"),
                }
            }
            Err(BLST_ERROR::BLST_BAD_ENCODING) => SignatureError::BadEncoding,
            Err(BLST_ERROR::BLST_POINT_NOT_ON_CURVE) => SignatureError::NotOnCurve,
            Err(BLST_ERROR::BLST_POINT_NOT_IN_GROUP) => SignatureError::NotInGroup,
            Err(BLST_ERROR::BLST_PK_IS_INFINITY) => SignatureError::Infinity,
            Err(other) => panic!("{other:?}"),
        };
        Verdict::BadSignature(error)
    }
}

/// The device of a file's tests, opened once.
pub(crate) fn device() -> Arc<Device> {
    static DEVICE: LazyLock<Arc<Device>> = LazyLock::new(|| match Device::open(&Choice::default()) {
        Ok(device) => Arc::new(device),
        Err(error) => panic!("tests need a Vulkan adapter (`make setup` installs one on Debian): {error}"),
    });
    Arc::clone(&DEVICE)
}

/// Every policy.
pub(crate) const POLICIES: [Policy; 4] = [Policy::Auto, Policy::OneByOne, Policy::Batch, Policy::Gpu];

/// A verifier on two threads, where the policy asks for it with the device of [`device`], which must stay.
pub(crate) fn verifier(policy: Policy) -> Verifier {
    let verifier = Verifier::with_threads(policy, 2);
    match policy {
        Policy::Gpu => verifier.with_device(device()),
        _ => verifier,
    }
}

/// The verdicts of `policy`.
pub(crate) fn verify(policy: Policy, envelopes: &[Envelope]) -> Vec<Verdict> {
    let candidates: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
    let mut verifier = verifier(policy);
    let verdicts = verifier.verify(chain(), &candidates);
    let stats = verifier.stats();
    assert_eq!(stats.devices_lost, 0);
    if policy == Policy::Gpu {
        assert_eq!(stats.routed, [0, 0, stats.signatures_checked], "all on the device");
    }
    verdicts
}

/// The verdicts every policy gives, which must be the oracle's.
pub(crate) fn verify_every_way(envelopes: &[Envelope]) -> Vec<Verdict> {
    let expected: Vec<Verdict> = envelopes.iter().map(Envelope::oracle).collect();
    for policy in POLICIES {
        assert_eq!(verify(policy, envelopes), expected, "{policy:?}");
    }
    expected
}

/// `a + b`, whether or not they are in the subgroup.
pub(crate) fn add(a: &Signature, b: &Signature) -> Signature {
    let mut sum = AggregateSignature::from_signature(a);
    sum.add_aggregate(&AggregateSignature::from_signature(b));
    sum.to_signature()
}

/// `-a`, whether or not it is in the subgroup.
pub(crate) fn negate(a: &Signature) -> Signature {
    /// The modulus, least significant limb first.
    const MODULUS: [u64; 6] = [
        0xb9fe_ffff_ffff_aaab,
        0x1eab_fffe_b153_ffff,
        0x6730_d2a0_f6b0_f624,
        0x6477_4b84_f385_12bf,
        0x4b1b_a7b6_434b_acd7,
        0x1a01_11ea_397f_e69a,
    ];
    let mut point: blst_p1_affine = (*a).into();
    let mut borrow = false;
    for (limb, modulus) in point.y.l.iter_mut().zip(MODULUS) {
        let (once, first) = modulus.overflowing_sub(*limb);
        let (twice, second) = once.overflowing_sub(u64::from(borrow));
        (*limb, borrow) = (twice, first || second);
    }
    point.into()
}

/// (0, 2): a point of order three.
pub(crate) fn of_order_three() -> Signature {
    let mut point = blst_p1_affine::default();
    // 2 in Montgomery form.
    point.y.l = [
        0x3213_0000_0006_554f,
        0xb93c_0018_d6c4_0005,
        0x5760_5e0d_b0dd_bb51,
        0x8b25_6521_ed1f_9bcb,
        0x6cf2_8d79_0162_2c03,
        0x11eb_ab9d_bb81_e28c,
    ];
    point.into()
}

/// A point whose order divides the cofactor: r times a point of the curve found from `seed`.
pub(crate) fn of_cofactor_order(seed: u64) -> Signature {
    let order = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";
    point_of_curve(seed, |point| times(point, order)).unwrap()
}

/// A point of order eleven: the order of the curve less its two factors of eleven, times a point of the curve; and
/// eleven times that, should its order be 121.
pub(crate) fn of_order_eleven(seed: u64) -> Signature {
    let order = "3704612471307385e8f4b11c0f6f71e98ebcebf11641bde11e05f8de12635b461258dc05b269c8ff0a941963702343";
    let point = point_of_curve(seed, |point| times(point, order)).unwrap();
    times(&point, "0b").unwrap_or(point)
}

/// What `map` makes of the first point of the curve, outside the subgroup, for which it is not infinity.
fn point_of_curve(seed: u64, map: impl Fn(&Signature) -> Option<Signature>) -> Option<Signature> {
    (0u32..).find_map(|i| {
        let mut bytes = [0u8; SIGNATURE_SIZE];
        bytes[16..].copy_from_slice(&sha256(&[&seed.to_le_bytes(), &i.to_le_bytes()]).0);
        bytes[0] = 0x80;
        let point = Signature::uncompress(&bytes)
            .ok()
            .filter(|point| !point.subgroup_check())?;
        map(&point)
    })
}

/// `factor * point` by doubling and adding, the factor in hexadecimal; `None` is infinity.
pub(crate) fn times(point: &Signature, factor: &str) -> Option<Signature> {
    let bytes = hex::decode(factor).unwrap();
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    let sum = |a: Option<Signature>, b: Option<Signature>| match (a, b) {
        (Some(a), Some(b)) => Some(add(&a, &b)).filter(|sum| sum.to_bytes()[0] & 0x40 == 0),
        (a, b) => a.or(b),
    };
    bits.fold(None, |product, bit| {
        let twice = sum(product, product);
        if bit { sum(twice, Some(*point)) } else { twice }
    })
}

/// Whether the pairing tells `point` from infinity.
pub(crate) fn is_seen_by_pairing(point: &Signature) -> bool {
    let mut one = [0u8; 32];
    one[31] = 1;
    let g2: blst_p2_affine = SecretKey::from_bytes(&one).unwrap().sk_to_pk().into();
    let point: &blst_p1_affine = point.into();
    blst_fp12::miller_loop(&g2, point).final_exp() != blst_fp12::default()
}
