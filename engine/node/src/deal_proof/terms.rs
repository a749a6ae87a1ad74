//! Whether what a side signed allows the deal.

use super::{DealError, Judge};
use wattbook_feed::signed::leaf::{QUOTE, QuoteLeaf, REPLACE, ReplaceLeaf, SEAL, SealLeaf};
use wattbook_feed::signed::{LeafBytes, RevealRecord, SealedEnvelope, record_kind};
use wattbook_types::Hash;
use wattbook_types::ids::REVEALED_INDEX;
use wattbook_types::tree::node_hash;

/// Which side of a deal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// It pays.
    Buyer,
    /// It delivers.
    Seller,
}

/// Limit of a signed order, ticks; `None` where it takes the market's.
struct Order {
    contract: u64,
    price: Option<i32>,
    energy_wh: u32,
    /// 1 buy, 2 sell; a replacement inherits it.
    side: Option<u8>,
}

fn order_of(leaf: &LeafBytes) -> Option<Order> {
    match leaf[0] {
        QUOTE => {
            let quote: QuoteLeaf = bytemuck::pod_read_unaligned(leaf);
            let to_limit = quote.flags >> 5 & 1 == 1;
            Some(Order {
                contract: quote.contract,
                price: (!to_limit).then_some(quote.price),
                energy_wh: quote.energy_wh,
                side: Some(quote.flags & 3),
            })
        }
        REPLACE => {
            let replace: ReplaceLeaf = bytemuck::pod_read_unaligned(leaf);
            Some(Order {
                contract: replace.contract,
                price: Some(replace.price),
                energy_wh: replace.energy_wh,
                side: None,
            })
        }
        _ => None,
    }
}

/// The root to which an inclusion path leads; `None` for a path of the wrong length.
pub(super) fn root_of(leaf: Hash, place: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if place >= size {
        return None;
    }
    let (mut at, mut last, mut node, mut path) = (place, size - 1, leaf, path.iter());
    while last > 0 {
        if at & 1 == 1 {
            node = node_hash(path.next()?, &node);
        } else if at < last {
            node = node_hash(&node, path.next()?);
        }
        at >>= 1;
        last >>= 1;
    }
    path.next().is_none().then_some(node)
}

/// Whether an envelope commits to a reveal.
pub(super) fn seals(envelope: &SealedEnvelope, commitment: Hash) -> bool {
    let seals = envelope.leaves.iter().filter(|leaf| leaf[0] == SEAL);
    seals
        .map(|leaf| bytemuck::pod_read_unaligned::<SealLeaf>(leaf))
        .any(|seal| seal.commitment == commitment.0)
}

impl Judge<'_> {
    /// Holds a side's envelope, and its reveal if it was sealed, against the deal; the envelope's record.
    pub(super) fn side(&self, side: Side) -> Result<u64, DealError> {
        let deal = &self.proof.deal;
        let (role, reveal, register, bit, who, nonce, index) = match side {
            Side::Buyer => {
                let (who, nonce, index) = (deal.buyer, deal.buyer_nonce, deal.buyer_index);
                ("buyer", "buyer_reveal", "buyer_register", 1, who, nonce, index)
            }
            Side::Seller => {
                let (who, nonce, index) = (deal.seller, deal.seller_nonce, deal.seller_index);
                ("seller", "seller_reveal", "seller_register", 2, who, nonce, index)
            }
        };
        let says = |what| DealError::Says { role, what };
        let (seq, envelope, _) = self.envelope(role, register)?;
        if (envelope.header.participant, envelope.header.nonce) != (who, nonce) {
            return Err(says("is not the envelope that the deal names"));
        }
        let leaf = if index & REVEALED_INDEX == 0 {
            let leaf = envelope.leaves.get(index as usize);
            *leaf.ok_or_else(|| says("has no such leaf"))?
        } else {
            let proven = self.record(reveal)?;
            let record = (proven.kind == record_kind::REVEAL).then(|| RevealRecord::decode(proven.payload).ok());
            let record = record.flatten().ok_or_else(|| says("has no reveal that decodes"))?;
            let commitment = record.commitment(self.chain);
            if !seals(&envelope, commitment) || record.participant.get() != who {
                return Err(says("did not seal what was revealed"));
            }
            let at = (index & !REVEALED_INDEX) as usize;
            *record.leaves.get(at).ok_or_else(|| says("has no such leaf"))?
        };
        let order = order_of(&leaf).ok_or_else(|| says("signed no order there"))?;
        if order.contract != deal.contract || order.side.is_some_and(|side| side != bit) {
            return Err(says("signed an order of another contract or side"));
        }
        // A deal's price is in half ticks, a limit in ticks.
        let kept = order.price.is_none_or(|price| {
            let limit = 2 * i64::from(price);
            if side == Side::Buyer {
                deal.price <= limit
            } else {
                deal.price >= limit
            }
        });
        if !kept || u64::from(order.energy_wh) < deal.energy_wh {
            return Err(says("signed an order that does not allow this price or energy"));
        }
        Ok(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_types::tree::{inclusion_proof, leaf_hash, root_of_hashes};

    #[test]
    fn a_path_leads_to_the_root() {
        for size in 1..40u64 {
            let leaves: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let root = root_of_hashes(leaves.iter().copied());
            for (place, leaf) in (0..).zip(&leaves) {
                let mut path = inclusion_proof(&leaves, place as usize).unwrap_or_default();
                assert_eq!(root_of(*leaf, place, size, &path), Some(root));
                path.push(root);
                assert_eq!(root_of(*leaf, place, size, &path), None);
            }
            assert_eq!(root_of(root, size, size, &[]), None);
        }
    }
}
