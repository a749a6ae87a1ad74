//! The envelope with its signature, its leaves and what is attached to them: record 2.

use super::candidacy::{ATTACHMENT_SIZE, Attachment};
use super::codec::decode_leaf;
use super::envelope::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
use super::leaf::LeafBytes;
use crate::keys::BlsSecret;
use crate::layout::types::*;
use wattbook_types::{ChainId, Hash, Item, ParticipantId, Reject, TimeNs, tree};

describe! {
    "H[72]: what one signature admits.", EnvelopeHeader[72] {
        "1.", version @ 0: u16, U16;
        "Zero.", reserved0 @ 2: u16, ZERO2;
        "Number of leaves.", count @ 4: u32, U32;
        "Who signs.", participant @ 8: u64, U64;
        "Version of the signing key.", key_version @ 16: u32, U32;
        "Zero.", reserved1 @ 20: u32, ZERO4;
        "Unique within the participant's window, from 1.", nonce @ 24: u64, U64;
        "Last instant of validity, ns since the epoch.", not_after_ns @ 32: u64, U64;
        "RFC 9162 root over the leaves.", root @ 40: [u8; 32], HASH;
    }
}

impl EnvelopeHeader {
    /// The header over these leaves.
    ///
    /// # Panics
    /// With more than 2^32 - 1 leaves.
    pub fn new(
        participant: ParticipantId,
        key_version: u32,
        nonce: u64,
        not_after: TimeNs,
        leaves: &[LeafBytes],
    ) -> Self {
        Self {
            version: ENVELOPE_VERSION,
            reserved0: 0,
            count: u32::try_from(leaves.len()).expect("leaves are counted in 32 bits"),
            participant: participant.get(),
            key_version,
            reserved1: 0,
            nonce,
            not_after_ns: not_after.get(),
            root: tree::root(leaves).0,
        }
    }

    /// Whether version and reserved bytes are right; anything else is malformed.
    pub const fn well_formed(&self) -> bool {
        self.version == ENVELOPE_VERSION && self.reserved0 == 0 && self.reserved1 == 0
    }

    /// Checks the count, against the greatest allowed, and the root of these leaves.
    pub fn check_leaves(&self, leaves: &[LeafBytes], leaves_max: u32) -> Result<(), Reject> {
        if self.count == 0 || self.count > leaves_max || self.count as usize != leaves.len() {
            return Err(Reject::BadCount);
        }
        if tree::root(leaves) != Hash(self.root) {
            return Err(Reject::BadRoot);
        }
        Ok(())
    }

    /// The envelope for the market core, from leaves whose root has been checked.
    pub fn to_command(&self, leaves: &[LeafBytes]) -> wattbook_types::Envelope {
        wattbook_types::Envelope {
            participant: ParticipantId::new(self.participant),
            key_version: self.key_version,
            nonce: self.nonce,
            not_after: TimeNs::new(self.not_after_ns),
            items: (0..)
                .zip(leaves)
                .map(|(position, leaf)| decode_leaf(leaf, position))
                .collect(),
        }
    }
}

/// Record 2: H, signature 48, leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedEnvelope {
    /// What is signed.
    pub header: EnvelopeHeader,
    /// BLS signature over `D("envelope", H)`.
    pub signature: [u8; SIGNATURE_SIZE],
    /// The leaves, in order.
    pub leaves: Vec<LeafBytes>,
    /// What is attached to one of them.
    pub attached: Option<Box<Attachment>>,
}

/// Size of a record before its leaves.
const FIXED: usize = 72 + SIGNATURE_SIZE;

impl SealedEnvelope {
    /// Signs these leaves.
    pub fn sign(
        chain: ChainId,
        secret: &BlsSecret,
        participant: ParticipantId,
        key_version: u32,
        nonce: u64,
        not_after: TimeNs,
        leaves: Vec<LeafBytes>,
    ) -> Self {
        let header = EnvelopeHeader::new(participant, key_version, nonce, not_after, &leaves);
        Self {
            signature: secret.sign(&header.digest(chain)),
            header,
            leaves,
            attached: None,
        }
    }

    /// The payload of the log's record.
    pub fn to_payload(&self) -> Vec<u8> {
        let attached = self.attached.as_ref().map_or(0, |_| ATTACHMENT_SIZE);
        let mut out = Vec::with_capacity(FIXED + LEAF_SIZE * self.leaves.len() + attached);
        out.extend_from_slice(bytemuck::bytes_of(&self.header));
        out.extend_from_slice(&self.signature);
        out.extend_from_slice(self.leaves.as_flattened());
        if let Some(attached) = &self.attached {
            attached.put(&mut out);
        }
        out
    }

    /// The envelope of a payload: as many leaves as its header says, nothing after them but what is attached to one.
    /// Root and signature are not checked.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let (header, signature, leaves, attached) = Self::parts(payload)?;
        Ok(Self {
            header,
            signature: bytemuck::pod_read_unaligned(signature),
            leaves: leaves.to_vec(),
            attached: attached.map(Box::new),
        })
    }

    /// What [`Self::to_command`] makes of [`Self::decode`], without the copy in between.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_command(chain: ChainId, payload: &[u8]) -> Result<wattbook_types::Envelope, Reject> {
        let (header, _, leaves, attached) = Self::parts(payload)?;
        Ok(command(chain, &header, leaves, attached.as_ref()))
    }

    #[allow(
        clippy::type_complexity,
        reason = "the parts of one record, named where they are taken"
    )]
    fn parts(payload: &[u8]) -> Result<(EnvelopeHeader, &[u8], &[LeafBytes], Option<Attachment>), Reject> {
        let (fixed, leaves) = payload.split_at_checked(FIXED).ok_or(Reject::ShortFrame)?;
        let (header, signature) = fixed.split_at(72);
        let header: EnvelopeHeader = bytemuck::pod_read_unaligned(header);
        if !header.well_formed() {
            return Err(Reject::MalformedMessage);
        }
        let want = LEAF_SIZE.checked_mul(header.count as usize).ok_or(Reject::ShortFrame)?;
        let (leaves, rest) = leaves.split_at_checked(want).ok_or(Reject::ShortFrame)?;
        let leaves = leaves.as_chunks::<LEAF_SIZE>().0;
        Ok((header, signature, leaves, Attachment::read(rest, leaves)?))
    }

    /// `D("envelope", H)`.
    pub fn digest(&self, chain: ChainId) -> Hash {
        self.header.digest(chain)
    }

    /// The envelope for the market core, once root and signature have been checked.
    pub fn to_command(&self, chain: ChainId) -> wattbook_types::Envelope {
        command(chain, &self.header, &self.leaves, self.attached.as_deref())
    }
}

fn command(
    chain: ChainId,
    header: &EnvelopeHeader,
    leaves: &[LeafBytes],
    attached: Option<&Attachment>,
) -> wattbook_types::Envelope {
    let mut envelope = header.to_command(leaves);
    if let Some(attached) = attached {
        let index = attached.index as usize;
        if let (Some(item), Some(leaf)) = (envelope.items.get_mut(index), leaves.get(index)) {
            // A leaf that is malformed, or withdraws, stays so.
            if *item == Item::Refused(Reject::NotEnabled) {
                *item = attached.item(chain, leaf);
            }
        }
    }
    envelope
}
