//! Hashing on the device: `D("envelope", H)` and the uniform bytes of hash_to_field.
//!
//! Digests and headers lie in buffers as their bytes, eight and eighteen words each; what a message expands to lies word
//! by word, `buf[w * N + i]`, the highest byte of each word first.

use super::device::{Buffer, Commands, Device, Dispatch};
use super::kernel::{Kernel, Layer};
use sha2::block_api::compress256;
use wattbook_types::ChainId;
use wattbook_types::digest::domain_tag;

pub(super) static SHA256: Layer = Layer {
    name: "sha256",
    text: include_str!("../../wgsl/sha256.wgsl"),
    needs: &[],
};
static ENVELOPE_LAYER: Layer = Layer {
    name: "envelope",
    text: include_str!("../../wgsl/envelope.wgsl"),
    needs: &[&SHA256],
};
static BLOCKS_LAYER: Layer = Layer {
    name: "blocks",
    text: include_str!("../../wgsl/blocks.wgsl"),
    needs: &[&SHA256],
};
static EXPAND_LAYER: Layer = Layer {
    name: "expand",
    text: include_str!("../../wgsl/expand.wgsl"),
    needs: &[&SHA256],
};

/// Digests of envelope headers.
pub static ENVELOPE: Kernel = Kernel {
    name: "envelope",
    layer: &ENVELOPE_LAYER,
    group: 64,
};
/// Digests of padded messages.
pub static BLOCKS: Kernel = Kernel {
    name: "blocks",
    layer: &BLOCKS_LAYER,
    group: 64,
};
/// `expand_message_xmd` to 128 bytes.
pub static EXPAND: Kernel = Kernel {
    name: "expand",
    layer: &EXPAND_LAYER,
    group: 64,
};

/// Words of a digest.
pub const DIGEST_LEN: usize = 8;
/// Words of a header `H`.
pub const HEADER_LEN: usize = 18;
/// Words a message expands to: two elements of 64 bytes.
pub const EXPANDED_LEN: usize = 32;
/// Sizes of domain separation tags that fill two blocks beside a digest, no fewer and no more.
pub const DST_SIZES: core::ops::RangeInclusive<usize> = 22..=83;

const BLOCK_SIZE: usize = 64;
/// FIPS 180-4 5.3.3.
const IV: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The bytes of `words`, as a download brings them.
pub fn digests_of(words: &[u32]) -> impl Iterator<Item = wattbook_types::Hash> {
    let (digests, _) = words.as_chunks::<DIGEST_LEN>();
    digests.iter().map(|words| wattbook_types::Hash(bytemuck::cast(*words)))
}

/// `tail` behind `size` bytes already hashed, padded to whole blocks.
fn pad(tail: &[u8], size: usize) -> Vec<[u8; BLOCK_SIZE]> {
    let mut bytes = tail.to_vec();
    bytes.push(0x80);
    let padded = (bytes.len() + 8).next_multiple_of(BLOCK_SIZE);
    bytes.resize(padded - 8, 0);
    bytes.extend_from_slice(&(8 * (size + tail.len()) as u64).to_be_bytes());
    bytes.as_chunks().0.to_vec()
}

/// Appends the digests of `headers` to `commands`: [`HEADER_LEN`] words in, [`DIGEST_LEN`] out, for `n` headers.
pub fn envelope_digests(commands: &mut Commands<'_>, chain: ChainId, headers: &Buffer, digests: &Buffer, n: usize) {
    let mut block = [0; BLOCK_SIZE];
    block[..32].copy_from_slice(&domain_tag("envelope"));
    block[32..].copy_from_slice(&chain.0.0);
    let mut state = IV;
    compress256(&mut state, &[block]);
    commands.run(&Dispatch {
        kernel: &ENVELOPE,
        buffers: &[headers, digests],
        params: &state,
        items: n,
        work: 4,
    });
}

/// A domain separation tag, ready to be hashed behind messages.
#[derive(Clone, Debug)]
pub struct Suite {
    blocks: Buffer,
    tail: Vec<u8>,
}

impl Suite {
    /// The suite of `dst`; none for a tag of a size outside [`DST_SIZES`].
    pub fn new(device: &Device, dst: &[u8]) -> Option<Self> {
        let size = u8::try_from(dst.len())
            .ok()
            .filter(|_| DST_SIZES.contains(&dst.len()))?;
        // DST_prime = DST || I2OSP(len(DST), 1); l_i_b_str = I2OSP(128, 2).
        let prime = [dst, &[size]].concat();
        let tail = [&[0, 128, 0], prime.as_slice()].concat();
        let two = |bytes: &[u8], before: usize| <[[u8; BLOCK_SIZE]; 2]>::try_from(pad(bytes, before)).ok();
        let first = two(&[&[0; 32], tail.as_slice()].concat(), BLOCK_SIZE)?;
        let others = two(&[&[0; 33], prime.as_slice()].concat(), 0)?;
        let mut state = IV;
        compress256(&mut state, &[[0; BLOCK_SIZE]]);
        let mut words: Vec<u32> = first
            .iter()
            .chain(&others)
            .flat_map(|block| block.as_chunks::<4>().0)
            .map(|word| u32::from_be_bytes(*word))
            .collect();
        words.extend(state);
        words.resize(5 * BLOCK_SIZE / 4, 0);
        let blocks = device.upload("suite", &words);
        Some(Self { blocks, tail })
    }

    /// Appends the expansion of `n` messages of 32 bytes to `commands`: [`DIGEST_LEN`] words in, [`EXPANDED_LEN`] out;
    /// `expanded` is no larger than `n` messages need.
    ///
    /// # Panics
    /// If it is, since its size is the stride.
    pub fn expand(&self, commands: &mut Commands<'_>, messages: &Buffer, expanded: &Buffer, n: usize) {
        self.run(commands, messages, expanded, n, 0);
    }

    /// As [`Suite::expand`] for messages of any length: theirs is the first hash, and then the same kernel goes on.
    pub fn expand_any(&self, device: &Device, commands: &mut Commands<'_>, messages: &[&[u8]], expanded: &Buffer) {
        let (mut blocks, mut starts) = (Vec::new(), vec![0]);
        for message in messages {
            blocks.extend(pad(&[*message, &self.tail].concat(), BLOCK_SIZE));
            starts.push(blocks.len() as u32);
        }
        let mut state = IV;
        compress256(&mut state, &[[0; BLOCK_SIZE]]);
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(blocks.as_flattened());
        let firsts = device.buffer("b_0", messages.len() * DIGEST_LEN);
        commands.run(&Dispatch {
            kernel: &BLOCKS,
            buffers: &[
                &device.upload("blocks", &words),
                &device.upload("starts", &starts),
                &firsts,
            ],
            params: &state,
            items: messages.len(),
            work: 2 * (1 + blocks.len() / messages.len().max(1)) as u64,
        });
        self.run(commands, &firsts, expanded, messages.len(), 1);
    }

    fn run(&self, commands: &mut Commands<'_>, from: &Buffer, expanded: &Buffer, n: usize, first: u32) {
        assert_eq!(expanded.len(), n * EXPANDED_LEN, "the size of the buffer is the stride");
        commands.run(&Dispatch {
            kernel: &EXPAND,
            buffers: &[from, &self.blocks, expanded],
            params: &[first],
            items: n,
            work: 20,
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Error, test_device};
    use super::*;
    use crate::SIGNATURE_DST;
    use serde_json::Value;
    use wattbook_feed::signed::EnvelopeHeader;
    use wattbook_types::sha256;

    /// RFC 9380 5.3.1, as it stands there.
    fn expand_message_xmd(message: &[u8], dst: &[u8]) -> Vec<u8> {
        let prime = [dst, &[dst.len() as u8]].concat();
        let b0 = sha256(&[&[0; 64], message, &[0, 128, 0], &prime]).0;
        let mut last = sha256(&[&b0, &[1], &prime]).0;
        let mut out = last.to_vec();
        for i in 2..=4 {
            let mixed: Vec<u8> = b0.iter().zip(&last).map(|(a, b)| a ^ b).collect();
            last = sha256(&[&mixed, &[i], &prime]).0;
            out.extend(last);
        }
        out
    }

    fn message_of(words: &[u32], i: usize, n: usize) -> Vec<u8> {
        (0..EXPANDED_LEN).flat_map(|w| words[w * n + i].to_be_bytes()).collect()
    }

    fn expand(dst: &[u8], messages: &[&[u8]]) -> Result<Vec<Vec<u8>>, Error> {
        let (device, n) = (test_device(), messages.len());
        let suite = Suite::new(device, dst).unwrap();
        let expanded = device.buffer("expanded", n * EXPANDED_LEN);
        let mut commands = device.commands();
        suite.expand_any(device, &mut commands, messages, &expanded);
        let download = commands.download(&expanded, 0, expanded.len());
        let words = commands.submit().wait()?.take(download);
        Ok((0..n).map(|i| message_of(&words, i, n)).collect())
    }

    #[test]
    pub(in super::super) fn digests_and_uniform_bytes_equal_those_of_the_cpu() -> Result<(), Error> {
        let (device, n) = (test_device(), 500);
        let chain = ChainId(sha256(&[b"chain"]));
        let headers: Vec<EnvelopeHeader> = (0..n as u64)
            .map(|i| EnvelopeHeader {
                version: 1,
                reserved0: 0,
                count: i as u32,
                participant: i * i,
                key_version: !(i as u32),
                reserved1: 0,
                nonce: i << 40,
                not_after_ns: u64::MAX - i,
                root: sha256(&[&i.to_le_bytes()]).0,
            })
            .collect();
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&headers);
        let headers_on_device = device.upload("headers", &words);
        let digests = device.buffer("digests", n * DIGEST_LEN);
        let expanded = device.buffer("expanded", n * EXPANDED_LEN);
        let suite = Suite::new(device, SIGNATURE_DST).unwrap();
        let mut commands = device.commands();
        envelope_digests(&mut commands, chain, &headers_on_device, &digests, n);
        suite.expand(&mut commands, &digests, &expanded, n);
        let (digests, expanded) = (
            commands.download(&digests, 0, digests.len()),
            commands.download(&expanded, 0, expanded.len()),
        );
        let mut outcome = commands.submit().wait()?;
        let expanded = outcome.take(expanded);
        for (i, (digest, header)) in digests_of(&outcome.take(digests)).zip(&headers).enumerate() {
            assert_eq!(digest, header.digest(chain), "header {i}");
            let expected = expand_message_xmd(&digest.0, SIGNATURE_DST);
            assert_eq!(message_of(&expanded, i, n), expected, "message {i}");
        }
        Ok(())
    }

    #[test]
    fn expand_message_of_rfc_9380() -> Result<(), Error> {
        let file: Value = serde_json::from_str(include_str!(
            "../../tests/vectors/rfc9380/expand_message_xmd_SHA256_38.json"
        ))
        .unwrap();
        let dst = file["DST"].as_str().unwrap().as_bytes();
        let vectors: Vec<(&str, Vec<u8>)> = file["tests"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|test| test["len_in_bytes"] == "0x80")
            .map(|test| {
                let text = |key: &str| test[key].as_str().unwrap();
                (text("msg"), hex::decode(text("uniform_bytes")).unwrap())
            })
            .collect();
        assert_eq!(vectors.len(), 5);
        let messages: Vec<&[u8]> = vectors.iter().map(|(message, _)| message.as_bytes()).collect();
        let found = expand(dst, &messages)?;
        for ((message, expected), found) in vectors.iter().zip(found) {
            assert_eq!(&found, expected, "{message}");
            assert_eq!(&expand_message_xmd(message.as_bytes(), dst), expected, "{message}");
        }
        Ok(())
    }

    /// Padded messages alone, without what is expanded from them.
    #[test]
    pub(in super::super) fn digests_of_padded_messages() -> Result<(), Error> {
        let device = test_device();
        let bytes: Vec<u8> = (0..=255).rev().collect();
        let messages: Vec<&[u8]> = [0, 1, 55, 56, 63, 64, 119, 120, 200, 256]
            .map(|len| &bytes[..len])
            .into();
        let (mut blocks, mut starts) = (Vec::new(), vec![0]);
        for message in &messages {
            blocks.extend(pad(message, 0));
            starts.push(blocks.len() as u32);
        }
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(blocks.as_flattened());
        let digests = device.buffer("digests", messages.len() * DIGEST_LEN);
        let mut commands = device.commands();
        commands.run(&Dispatch {
            kernel: &BLOCKS,
            buffers: &[
                &device.upload("blocks", &words),
                &device.upload("starts", &starts),
                &digests,
            ],
            params: &IV,
            items: messages.len(),
            work: 2,
        });
        let download = commands.download(&digests, 0, digests.len());
        let words = commands.submit().wait()?.take(download);
        for (digest, message) in digests_of(&words).zip(&messages) {
            assert_eq!(digest, sha256(&[message]), "{} bytes", message.len());
        }
        Ok(())
    }

    /// Every length of the last block, and as many blocks.
    #[test]
    fn messages_of_every_length() -> Result<(), Error> {
        let bytes: Vec<u8> = (0..=255).collect();
        let messages: Vec<&[u8]> = (0..200).map(|len| &bytes[..len]).collect();
        for (found, message) in expand(SIGNATURE_DST, &messages)?.iter().zip(&messages) {
            assert_eq!(
                found,
                &expand_message_xmd(message, SIGNATURE_DST),
                "{} bytes",
                message.len()
            );
        }
        Ok(())
    }

    #[test]
    fn tags_that_do_not_fit_two_blocks() {
        let device = test_device();
        for size in 0..300 {
            let suite = Suite::new(device, &vec![b'x'; size]);
            assert_eq!(suite.is_some(), DST_SIZES.contains(&size), "{size} bytes");
        }
    }
}
