//! Time per signature of the batch, beside blst grouped by hand, blst's own batch and blst one by one; and of trees
//! beside bare compressions. One thread; contenders take turns, and the fastest turn of each counts.
//!
//! `cargo run --release -p wattbook-shaders --example verify_cost [envelopes] [keys] [rounds]`
#![allow(unsafe_code, reason = "blst's batch primitives stand behind its C interface")]

use blst::min_sig::{PublicKey as BlstKey, SecretKey, Signature};
use blst::{BLST_ERROR, Pairing, blst_fp12, blst_p1, blst_p1_affine, blst_p2_affine};
use std::ptr;
use std::time::Instant;
use wattbook_feed::signed::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE};
use wattbook_shaders::{Candidate, Policy, PublicKey, SIGNATURE_DST, Verdict, Verifier};
use wattbook_types::{ChainId, sha256, tree};

/// Signatures that go one by one.
const ALONE: usize = 32;

struct Contender<'a> {
    name: &'static str,
    signatures: usize,
    run: Box<dyn FnMut() -> bool + 'a>,
    best_ns: u128,
}

fn affine(points: &[blst_p1]) -> Vec<blst_p1_affine> {
    let mut out = vec![blst_p1_affine::default(); points.len()];
    let inputs = [points.as_ptr(), ptr::null()];
    // SAFETY: both slices hold as many elements, and at least one.
    unsafe { blst::blst_p1s_to_affine(out.as_mut_ptr(), inputs.as_ptr(), points.len()) };
    out
}

/// `sum scalars[i] * points[i]` over scalars of 128 bits.
fn msm(points: &[blst_p1_affine], scalars: &[[u8; 16]]) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: takes a number and returns a size.
    let size = unsafe { blst::blst_p1s_mult_pippenger_scratch_sizeof(points.len()) };
    let mut scratch = vec![0u64; size.div_ceil(8)];
    let (points_at, scalars_at) = (
        [points.as_ptr(), ptr::null()],
        [scalars.as_ptr().cast::<u8>(), ptr::null()],
    );
    // SAFETY: as many points as scalars of 128 bits, scratch of the size asked for.
    unsafe {
        blst::blst_p1s_mult_pippenger(
            &mut out,
            points_at.as_ptr(),
            points.len(),
            scalars_at.as_ptr(),
            128,
            scratch.as_mut_ptr(),
        );
    }
    out
}

/// The equation of the batch with blst's primitives only: every signature tested, messages hashed to G1, one
/// multiplication of many points per key, one Miller loop over all keys.
fn grouped_by_hand(
    signed: &[(EnvelopeHeader, [u8; 48])],
    digests: impl Fn(&EnvelopeHeader) -> [u8; 32],
    keys: &[BlstKey],
) -> bool {
    let mut order: Vec<usize> = (0..signed.len()).collect();
    order.sort_by_key(|i| i % keys.len());
    let (mut signatures, mut hashes, mut scalars) = (Vec::new(), Vec::new(), Vec::new());
    for i in &order {
        let Ok(signature) = Signature::sig_validate(&signed[*i].1, true) else {
            return false;
        };
        signatures.push(blst_p1_affine::from(signature));
        let (mut hash, message) = (blst_p1::default(), digests(&signed[*i].0));
        // SAFETY: pointer and length pairs come from live values; no augmentation.
        unsafe {
            blst::blst_hash_to_g1(
                &mut hash,
                message.as_ptr(),
                32,
                SIGNATURE_DST.as_ptr(),
                SIGNATURE_DST.len(),
                ptr::null(),
                0,
            );
        }
        hashes.push(hash);
        let bytes = sha256(&[&i.to_le_bytes()]).0;
        scalars.push(*bytes.first_chunk::<16>().expect("32 bytes"));
    }
    let hashes = affine(&hashes);
    let mut sum = msm(&signatures, &scalars);
    // SAFETY: the pointer is that of a live value.
    unsafe { blst::blst_p1_cneg(&mut sum, true) };
    // SAFETY: blst returns the address of a constant.
    let (mut left, mut right) = (vec![sum], vec![unsafe { *blst::blst_p2_affine_generator() }]);
    let mut start = 0;
    for (key, group) in keys.iter().zip(order.chunk_by(|a, b| a % keys.len() == b % keys.len())) {
        let end = start + group.len();
        left.push(msm(&hashes[start..end], &scalars[start..end]));
        right.push(blst_p2_affine::from(*key));
        start = end;
    }
    let left = affine(&left);
    let mut product = blst_fp12::default();
    let (lefts, rights) = ([left.as_ptr(), ptr::null()], [right.as_ptr(), ptr::null()]);
    // SAFETY: as many points on either side, and at least one.
    unsafe { blst::blst_miller_loop_n(&mut product, rights.as_ptr(), lefts.as_ptr(), left.len()) };
    product.final_exp() == blst_fp12::default()
}

fn main() {
    if cfg!(debug_assertions) {
        println!("warning: debug build, the figures are not those of a release");
    }
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut argument = |default| arguments.next().and_then(Result::ok).unwrap_or(default).max(1);
    let (envelopes, keys, rounds) = (argument(4_096), argument(16), argument(5));
    println!("{envelopes} envelopes of one leaf, {keys} keys, fastest of {rounds}");

    let chain = ChainId(sha256(&[b"verify_cost"]));
    let secrets: Vec<SecretKey> = (0..keys as u64)
        .map(|i| SecretKey::key_gen(&sha256(&[&i.to_le_bytes()]).0, &[]).expect("32 bytes of key material"))
        .collect();
    let blst_keys: Vec<BlstKey> = secrets.iter().map(SecretKey::sk_to_pk).collect();
    let public: Vec<PublicKey> = blst_keys
        .iter()
        .map(|key| PublicKey::new(&key.to_bytes()).expect("a key of blst"))
        .collect();
    let leaf = [1u8; LEAF_SIZE];
    let root = tree::root(&[leaf]).0;
    let sign = |i: usize| {
        let header = EnvelopeHeader {
            version: ENVELOPE_VERSION,
            reserved0: 0,
            count: 1,
            participant: (i % keys) as u64,
            key_version: 1,
            reserved1: 0,
            nonce: i as u64,
            not_after_ns: 1,
            root,
        };
        let signature = secrets[i % keys].sign(&header.digest(chain).0, SIGNATURE_DST, &[]);
        (header, signature.to_bytes())
    };
    let signed: Vec<(EnvelopeHeader, [u8; 48])> = (0..envelopes).map(sign).collect();
    let candidates: Vec<Candidate<'_>> = signed
        .iter()
        .enumerate()
        .map(|(i, (header, signature))| Candidate {
            header,
            signature,
            leaves: &leaf,
            key: &public[i % keys],
            source: (i % keys) as u64,
        })
        .collect();
    let few = &candidates[..envelopes.min(ALONE)];

    let all_valid = |verifier: &mut Verifier, batch: &[Candidate<'_>]| {
        let verdicts = verifier.verify(chain, batch);
        verdicts.iter().all(|verdict| *verdict == Verdict::Valid)
    };
    let (mut batch, mut alone) = (Verifier::new(Policy::Batch), Verifier::new(Policy::OneByOne));
    let mut contenders = [
        Contender {
            name: "batch",
            signatures: envelopes,
            run: Box::new(|| all_valid(&mut batch, &candidates)),
            best_ns: u128::MAX,
        },
        Contender {
            name: "blst, grouped by hand",
            signatures: envelopes,
            run: Box::new(|| grouped_by_hand(&signed, |header| header.digest(chain).0, &blst_keys)),
            best_ns: u128::MAX,
        },
        Contender {
            name: "blst, its own batch",
            signatures: envelopes,
            run: Box::new(|| {
                let mut pairing = Pairing::new(true, SIGNATURE_DST);
                for (i, (header, signature)) in signed.iter().enumerate() {
                    let scalar = sha256(&[&(i as u64).to_le_bytes()]).0;
                    let Ok(signature) = Signature::uncompress(signature) else {
                        return false;
                    };
                    let (key, point): (blst_p2_affine, blst_p1_affine) = (blst_keys[i % keys].into(), signature.into());
                    let message = header.digest(chain).0;
                    let added = pairing.mul_n_aggregate(&key, false, &point, true, &scalar, 128, &message, &[]);
                    if added != BLST_ERROR::BLST_SUCCESS {
                        return false;
                    }
                }
                pairing.commit();
                pairing.finalverify(None)
            }),
            best_ns: u128::MAX,
        },
        Contender {
            name: "blst, one by one",
            signatures: few.len(),
            run: Box::new(|| all_valid(&mut alone, few)),
            best_ns: u128::MAX,
        },
    ];
    for _ in 0..rounds {
        for Contender { name, run, best_ns, .. } in &mut contenders {
            let start = Instant::now();
            assert!(run(), "{name} refused a valid batch");
            *best_ns = (*best_ns).min(start.elapsed().as_nanos());
        }
    }
    let own = contenders[0].best_ns * 1_000 / contenders[0].signatures as u128;
    for Contender {
        name,
        signatures,
        best_ns,
        ..
    } in &contenders
    {
        let each = best_ns * 1_000 / *signatures as u128;
        let (us, rest, ratio) = (each / 1_000_000, each / 10_000 % 100, each * 100 / own);
        println!(
            "{name:24} {us:>6}.{rest:02} us/signature {:>4}.{:02} of batch",
            ratio / 100,
            ratio % 100
        );
    }
    trees(rounds, chain, &public[0]);
}

/// Roots over a large tree beside the compressions that it takes, over blocks that stand ready.
fn trees(rounds: usize, chain: ChainId, key: &PublicKey) {
    const LEAVES: usize = 1 << 17;
    // One per leaf, two per node above.
    const COMPRESSIONS: usize = 3 * LEAVES - 2;
    let leaves: Vec<u8> = (0..LEAVES * LEAF_SIZE).map(|at| ((at * 7) >> 3) as u8).collect();
    let header = EnvelopeHeader {
        version: ENVELOPE_VERSION,
        reserved0: 0,
        count: LEAVES as u32,
        participant: 0,
        key_version: 1,
        reserved1: 0,
        nonce: 0,
        not_after_ns: 1,
        root: tree::root(leaves.as_chunks::<LEAF_SIZE>().0).0,
    };
    // Without a signature that can be one, a verdict costs the tree.
    let candidate = Candidate {
        header: &header,
        signature: &[0; 48],
        leaves: &leaves,
        key,
        source: 0,
    };
    let mut verifier = Verifier::new(Policy::Batch);
    let blocks = vec![[7u8; 64]; 1 << 10];
    let (mut own, mut plain, mut bare) = (u128::MAX, u128::MAX, u128::MAX);
    for _ in 0..4 * rounds {
        let start = Instant::now();
        let verdict = verifier.verify(chain, &[candidate]);
        own = own.min(start.elapsed().as_nanos());
        assert_eq!(
            verdict,
            [Verdict::BadSignature(wattbook_shaders::SignatureError::BadEncoding)]
        );
        let start = Instant::now();
        assert_eq!(tree::root(leaves.as_chunks::<LEAF_SIZE>().0).0, header.root);
        plain = plain.min(start.elapsed().as_nanos());
        let start = Instant::now();
        let mut state = [0u32; 8];
        for _ in 0..COMPRESSIONS.div_ceil(blocks.len()) {
            sha2::block_api::compress256(&mut state, &blocks);
        }
        std::hint::black_box(state);
        bare = bare.min(start.elapsed().as_nanos());
    }
    let rate = |ns: u128| LEAVES as u128 * 100_000 / ns;
    for (name, ns) in [
        ("tree", own),
        ("tree, leaf by leaf", plain),
        ("bare compressions", bare),
    ] {
        let (rate, ratio) = (rate(ns), rate(ns) * 100 / rate(bare));
        println!(
            "{name:24} {:>6}.{:02} M leaves/s   {:>4}.{:02} of bare",
            rate / 100,
            rate % 100,
            ratio / 100,
            ratio % 100
        );
    }
}
