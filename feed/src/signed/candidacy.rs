//! A candidacy: leaf 11 names the digest of a candidate's keys, which are attached to the envelope.
//!
//! # Format
//! ```text
//! behind an envelope's leaves      nothing, or  count u16 = 1 | zero u16 | index u32 | len u32 = 176 | keys [len]
//! keys                             peer key 32 (Ed25519) | ballot key 96 | its proof of possession 48
//! ```
//! Little-endian; `index` is the place of the leaf, which has `D("key", keys)`. With a digest of zero and nothing attached it
//! withdraws a candidacy; with another digest and nothing attached it will be the next key of the account.
//!
//! # Invariants
//! * One encoding: what is read gives its bytes back, and there is an attachment only for a leaf that takes one.
//! * What the keys are worth depends on the bytes alone, so that every reader comes to the same verdict.

use super::envelope::LEAF_SIZE;
use super::leaf::{KEY, KeyLeaf, LeafBytes};
use crate::keys;
use bytemuck::{Pod, Zeroable};
use ed25519_dalek::VerifyingKey;
use wattbook_types::delegate::{Candidacy, DelegateKeys};
use wattbook_types::{ChainId, Hash, Item, Reject, digest};

/// Bytes of a candidate's keys.
pub const KEYS_SIZE: usize = 176;
/// Bytes of an attachment.
pub const ATTACHMENT_SIZE: usize = 12 + KEYS_SIZE;

/// What a candidate stands with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct CandidateKeys {
    /// Ed25519 key of its links.
    pub peer_key: [u8; 32],
    /// BLS key of its ballots, compressed G2.
    pub ballot_key: [u8; 96],
    /// Proof that it holds the secret of the ballot key: a signature over the key's bytes.
    pub possession: [u8; 48],
}

const _: () = assert!(size_of::<CandidateKeys>() == KEYS_SIZE);

impl CandidateKeys {
    /// `D("key", keys)`.
    pub fn digest(&self, chain: ChainId) -> Hash {
        digest(chain, "key", &[bytemuck::bytes_of(self)])
    }

    /// Checks that both keys are keys, and that the ballot key's secret is held.
    ///
    /// # Errors
    /// `BadCandidacy`.
    pub fn check(&self) -> Result<DelegateKeys, Reject> {
        let peer = VerifyingKey::from_bytes(&self.peer_key);
        if peer.is_ok_and(|key| !key.is_weak()) && keys::holds_ballot_key(&self.ballot_key, &self.possession) {
            Ok(DelegateKeys {
                peer_key: self.peer_key,
                ballot_key: self.ballot_key,
            })
        } else {
            Err(Reject::BadCandidacy)
        }
    }
}

/// Keys attached to the leaf of this index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// Place of the leaf in the envelope.
    pub index: u32,
    /// The keys.
    pub keys: CandidateKeys,
}

impl Attachment {
    /// Whether there is a leaf at the index that takes it.
    pub fn fits(&self, leaves: &[LeafBytes]) -> bool {
        let leaf = usize::try_from(self.index).ok().and_then(|index| leaves.get(index));
        leaf.is_some_and(|leaf| leaf[0] == KEY)
    }

    /// Appends its bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&self.index.to_le_bytes());
        // BOUND: 176.
        out.extend_from_slice(&(KEYS_SIZE as u32).to_le_bytes());
        out.extend_from_slice(bytemuck::bytes_of(&self.keys));
    }

    /// Reads what follows an envelope's leaves.
    ///
    /// # Errors
    /// `ShortFrame` or `MalformedMessage`.
    pub fn read(bytes: &[u8], leaves: &[LeafBytes]) -> Result<Option<Self>, Reject> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let (attachment, rest) = bytes.split_first_chunk::<ATTACHMENT_SIZE>().ok_or(Reject::ShortFrame)?;
        let (head, keys) = attachment.split_at(12);
        let index = [head[4], head[5], head[6], head[7]];
        let read = Self {
            index: u32::from_le_bytes(index),
            keys: bytemuck::pod_read_unaligned(keys),
        };
        let size = (KEYS_SIZE as u32).to_le_bytes();
        if head[..4] != [1, 0, 0, 0] || head[8..] != size || !rest.is_empty() || !read.fits(leaves) {
            return Err(Reject::MalformedMessage);
        }
        Ok(Some(read))
    }

    /// The item of its leaf, as [`super::decode_leaf`] gives that of others.
    pub(super) fn item(&self, chain: ChainId, leaf: &LeafBytes) -> Item {
        let leaf: KeyLeaf = bytemuck::cast(*leaf);
        if Hash(leaf.key_digest) != self.keys.digest(chain) {
            return Item::Refused(Reject::BadCandidacy);
        }
        match self.keys.check() {
            Ok(keys) => Item::Candidacy(Candidacy {
                epoch: leaf.effective_epoch,
                keys: Some(keys),
            }),
            Err(reject) => Item::Refused(reject),
        }
    }
}

/// The item of a leaf 11 that nothing is attached to.
pub(super) fn without_keys(leaf: &KeyLeaf) -> Result<Item, Reject> {
    if Hash(leaf.key_digest) == Hash::ZERO {
        Ok(Item::Candidacy(Candidacy {
            epoch: leaf.effective_epoch,
            keys: None,
        }))
    } else {
        Err(Reject::NotEnabled)
    }
}

/// Leaf 11 that declares a candidacy with these keys from an epoch on, the keys to be attached; or that withdraws one.
pub fn encode_candidacy(index: u32, chain: ChainId, epoch: u64, keys: Option<&CandidateKeys>) -> LeafBytes {
    let mut leaf: KeyLeaf = bytemuck::cast(encode_withdrawal(index, epoch));
    leaf.key_digest = keys.map_or(Hash::ZERO, |keys| keys.digest(chain)).0;
    bytemuck::cast(leaf)
}

/// Leaf 11 that withdraws a candidacy: it says the same on every chain.
pub fn encode_withdrawal(index: u32, epoch: u64) -> LeafBytes {
    let mut leaf = bytemuck::cast::<LeafBytes, KeyLeaf>([0; LEAF_SIZE]);
    (leaf.kind, leaf.index, leaf.effective_epoch) = (KEY, index, epoch);
    bytemuck::cast(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{BlsSecret, KeyRole, SigningKey};
    use crate::signed::SealedEnvelope;
    use wattbook_types::{ParticipantId, TimeNs};

    const CHAIN: ChainId = ChainId(Hash([4; 32]));

    fn keys(at: u8) -> CandidateKeys {
        let ballot = BlsSecret::derive(&[at; 32], KeyRole::Ballot, 1);
        CandidateKeys {
            peer_key: SigningKey::from_bytes(&[at; 32]).verifying_key().to_bytes(),
            ballot_key: ballot.public_key(),
            possession: ballot.prove_ballot_key(),
        }
    }

    fn envelope(stands: Option<&CandidateKeys>, attached: Option<Attachment>) -> SealedEnvelope {
        let secret = BlsSecret::derive(&[1; 32], KeyRole::Participant, 9);
        let vote = super::super::encode_vote(
            0,
            &wattbook_types::delegate::Vote {
                epoch: 3,
                candidate: None,
            },
        );
        let leaves = vec![vote, encode_candidacy(1, CHAIN, 3, stands)];
        let who = ParticipantId::new(9);
        let mut envelope = SealedEnvelope::sign(CHAIN, &secret, who, 1, 1, TimeNs::from_secs(1), leaves);
        envelope.attached = attached.map(Box::new);
        envelope
    }

    #[test]
    fn keys_are_attached_and_proven() {
        let keys = keys(1);
        let attached = Some(Attachment { index: 1, keys });
        let sealed = envelope(Some(&keys), attached);
        let payload = sealed.to_payload();
        assert_eq!(payload.len(), 72 + 48 + 2 * LEAF_SIZE + ATTACHMENT_SIZE);
        assert_eq!(SealedEnvelope::decode(&payload).as_ref(), Ok(&sealed));
        let command = sealed.to_command(CHAIN);
        assert_eq!(SealedEnvelope::decode_command(CHAIN, &payload), Ok(command.clone()));
        let of = DelegateKeys {
            peer_key: keys.peer_key,
            ballot_key: keys.ballot_key,
        };
        let stands = Candidacy {
            epoch: 3,
            keys: Some(of),
        };
        assert_eq!(command.items[1], Item::Candidacy(stands));
        // On another chain the digest is another.
        let elsewhere = sealed.to_command(ChainId(Hash([5; 32])));
        assert_eq!(elsewhere.items[1], Item::Refused(Reject::BadCandidacy));
        assert_eq!(
            envelope(Some(&keys), None).to_command(CHAIN).items[1],
            Item::Refused(Reject::NotEnabled)
        );
        let withdraws = Candidacy { epoch: 3, keys: None };
        let item = Item::Candidacy(withdraws);
        let leaf = encode_candidacy(5, CHAIN, 3, None);
        assert_eq!(super::super::encode_item(5, &item), Ok(leaf));
        assert_eq!(super::super::decode_leaf(&leaf, 5), item);
        assert_eq!(
            envelope(None, None).to_command(CHAIN).items[1],
            Item::Candidacy(withdraws)
        );
        // Somebody else's proof.
        let stolen = CandidateKeys {
            possession: self::keys(2).possession,
            ..keys
        };
        let attached = Some(Attachment { index: 1, keys: stolen });
        assert_eq!(
            envelope(Some(&stolen), attached).to_command(CHAIN).items[1],
            Item::Refused(Reject::BadCandidacy)
        );
        let weak = CandidateKeys {
            peer_key: [0; 32],
            ..keys
        };
        assert_eq!(weak.check(), Err(Reject::BadCandidacy));
    }

    #[test]
    fn an_attachment_has_one_encoding_and_a_leaf_that_takes_it() {
        let keys = keys(1);
        let attached = Attachment { index: 1, keys };
        let sealed = envelope(Some(&keys), Some(attached));
        let payload = sealed.to_payload();
        let start = payload.len() - ATTACHMENT_SIZE;
        for len in start + 1..payload.len() {
            assert_eq!(SealedEnvelope::decode(&payload[..len]), Err(Reject::ShortFrame));
        }
        assert!(SealedEnvelope::decode(&payload[..start]).is_ok_and(|bare| bare.attached.is_none()));
        assert!(SealedEnvelope::decode(&[&payload[..], &[0]].concat()).is_err());
        for at in start..payload.len() {
            for bit in 0..8 {
                let mut flipped = payload.clone();
                flipped[at] ^= 1 << bit;
                match SealedEnvelope::decode(&flipped) {
                    Err(reject) => assert!(reject == Reject::MalformedMessage && at < start + 12, "byte {at}"),
                    Ok(other) => {
                        assert_eq!(other.to_payload(), flipped);
                        assert_eq!(other.to_command(CHAIN).items[1], Item::Refused(Reject::BadCandidacy));
                    }
                }
            }
        }
        for index in [0, 2, u32::MAX] {
            let payload = envelope(Some(&keys), Some(Attachment { index, keys })).to_payload();
            assert_eq!(SealedEnvelope::decode(&payload), Err(Reject::MalformedMessage));
        }
    }
}
