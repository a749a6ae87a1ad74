//! Batches of bytes as envelopes, on every path of the verifier: the verdicts must be the same, and so must they be for
//! the batch upside down and twice over. It needs a Vulkan adapter, for which Mesa's software one does.
//!
//! # Format
//! An envelope is a choice (bits 0-1 the key, 2-3 the source, 4-6 the number of leaves), the 72 bytes of a header, the
//! 48 of a signature, and leaves of 48 bytes; what is cut short is filled with zeros. Bit 7 of the choice puts the right
//! count and root in the header, so that the signature is reached, if only to be refused.

use super::dice::Dice;
use super::targets::Class;
use std::sync::{Arc, LazyLock};
use wattbook_feed::keys::{BlsSecret, KeyRole};
use wattbook_feed::signed::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
use wattbook_shaders::gpu::{Choice, Device};
use wattbook_shaders::{Candidate, Policy, PublicKey, Rates, Verdict, Verifier};
use wattbook_types::{ChainId, Hash, tree};

/// Longest input, bytes: a dozen envelopes of a leaf or two.
pub(crate) const SIZE_MAX: usize = 2_048;
/// Most envelopes of a batch.
const LEN_MAX: usize = 16;

const HEADER_SIZE: usize = size_of::<EnvelopeHeader>();
const CHAIN: ChainId = ChainId(Hash([7; 32]));

fn secret(at: u64) -> BlsSecret {
    BlsSecret::derive(&[7; 32], KeyRole::Participant, at)
}

static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
    (0..4)
        .filter_map(|at| PublicKey::new(&secret(at).public_key()).ok())
        .collect()
});

struct Envelope {
    key: &'static PublicKey,
    source: u64,
    header: EnvelopeHeader,
    signature: [u8; SIGNATURE_SIZE],
    leaves: Vec<u8>,
}

impl Envelope {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            header: &self.header,
            signature: &self.signature,
            leaves: &self.leaves,
            key: self.key,
            source: self.source,
        }
    }
}

/// The next `N` bytes, zeros behind the end.
fn take<const N: usize>(input: &mut &[u8]) -> [u8; N] {
    let (head, rest) = input.split_at(N.min(input.len()));
    *input = rest;
    let mut out = [0; N];
    out[..head.len()].copy_from_slice(head);
    out
}

fn decode(mut input: &[u8]) -> Vec<Envelope> {
    let mut out = Vec::new();
    while !input.is_empty() && out.len() < LEN_MAX {
        let [choice] = take(&mut input);
        let mut header: EnvelopeHeader = bytemuck::pod_read_unaligned(&take::<HEADER_SIZE>(&mut input));
        let signature = take(&mut input);
        let leaves: Vec<[u8; LEAF_SIZE]> = (0..choice >> 4 & 7).map(|_| take(&mut input)).collect();
        if choice >> 7 == 1 {
            (header.count, header.root) = (leaves.len() as u32, tree::root(&leaves).0);
        }
        out.push(Envelope {
            key: &KEYS[usize::from(choice & 3)],
            source: u64::from(choice >> 2 & 3),
            header,
            signature,
            leaves: leaves.concat(),
        });
    }
    out
}

static DEVICE: LazyLock<Result<Arc<Device>, String>> = LazyLock::new(|| {
    let device = Device::open(&Choice::default()).map_err(|error| error.to_string())?;
    Ok(Arc::new(device))
});

/// The verdicts on the device, which must not be lost.
fn on_device(batch: &[Candidate<'_>]) -> Result<Vec<Verdict>, String> {
    let mut verifier = Verifier::new(Policy::Gpu).with_device(Arc::clone(DEVICE.as_ref()?));
    let verdicts = verifier.verify(CHAIN, batch);
    match verifier.stats().devices_lost {
        0 => Ok(verdicts),
        _ => Err("the device was lost".into()),
    }
}

fn verdicts(policy: Policy, batch: &[Candidate<'_>]) -> Vec<Verdict> {
    Verifier::new(policy).verify(CHAIN, batch)
}

/// Compares the paths; the class is which verdicts there are.
pub(crate) fn run(input: &[u8]) -> Result<Class, String> {
    let envelopes = decode(input);
    let batch: Vec<Candidate<'_>> = envelopes.iter().map(Envelope::candidate).collect();
    let alone = verdicts(Policy::OneByOne, &batch);
    let compare = |what: &str, found: Vec<Verdict>| {
        if found == alone {
            Ok(())
        } else {
            Err(format!("{what}: {found:?}, one by one {alone:?}"))
        }
    };
    compare("in a batch", verdicts(Policy::Batch, &batch))?;
    compare("on a device", on_device(&batch)?)?;
    compare("by choice", verdicts(Policy::Auto, &batch))?;
    let upside_down: Vec<Candidate<'_>> = batch.iter().rev().copied().collect();
    compare(
        "upside down",
        verdicts(Policy::Batch, &upside_down).into_iter().rev().collect(),
    )?;
    // As long as a batch may be whose signatures are tested one by one, and long enough for the combinations to stand in
    // for these tests; on two threads, which test elsewhere than one does.
    let len = batch.len().max(1);
    for copies in [Rates::SHORT_MAX / len, Rates::SHORT_MAX / len + 1] {
        let long = batch.repeat(copies);
        let mut found = Verifier::with_threads(Policy::Batch, 2).verify(CHAIN, &long);
        if found.chunks(len).any(|chunk| chunk != alone) {
            found.truncate(batch.len());
            return Err(format!("{copies} times over: {found:?}, one by one {alone:?}"));
        }
    }
    let kind = |verdict: &Verdict| match verdict {
        Verdict::Valid => 0,
        Verdict::BadCount => 1,
        Verdict::BadRoot => 2,
        Verdict::BadSignature(error) => 3 + *error as u32,
    };
    Ok(alone.iter().fold(0, |class, verdict| class | 1 << kind(verdict)))
}

/// Valid batches: of one, of several under some keys.
pub(crate) fn seeds(_: &mut Dice) -> Vec<Vec<u8>> {
    let envelope = |nonce: u64, key: u8, leaves: u8| {
        let leaves: Vec<[u8; LEAF_SIZE]> = (0..leaves).map(|at| [at; LEAF_SIZE]).collect();
        let header = EnvelopeHeader {
            version: ENVELOPE_VERSION,
            reserved0: 0,
            count: leaves.len() as u32,
            participant: u64::from(key),
            key_version: 1,
            reserved1: 0,
            nonce,
            not_after_ns: 1,
            root: tree::root(&leaves).0,
        };
        let choice = key | (key & 3) << 2 | (leaves.len() as u8) << 4;
        let signature = secret(u64::from(key)).sign(&header.digest(CHAIN));
        [
            &[choice][..],
            bytemuck::bytes_of(&header),
            &signature,
            leaves.as_flattened(),
        ]
        .concat()
    };
    let several = |len: u64, keys: u8| {
        (0..len)
            .flat_map(|nonce| envelope(nonce, nonce as u8 % keys, 1 + nonce as u8 % 2))
            .collect()
    };
    vec![envelope(0, 0, 1), envelope(1, 3, 7), several(3, 1), several(8, 4)]
}
