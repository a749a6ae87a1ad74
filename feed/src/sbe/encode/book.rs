//! The book and its deals.

use super::Lens;
use crate::sbe::HEADER_SIZE;
use crate::sbe::event as m;
use crate::sbe::outbound::encode_outbound;
use core::mem::offset_of;
use wattbook_types::{Energy, Event, OrderId, Side};

/// Open quantity as a reader may know it, Wh: whoever is told the order's name is told what it hides.
fn open(order: &m::OrderView, leaves: Energy, hidden: Energy) -> u64 {
    if order.named != 0 {
        leaves.plus(hidden).get()
    } else {
        leaves.get()
    }
}

/// The order of an event that names one, and its reference, from the event's public form.
pub(super) fn reference(event: &Event, public: &[u8]) -> Option<(OrderId, u64)> {
    let (order, at) = match event {
        Event::Opened { order, .. } => (order, offset_of!(m::Opened, order)),
        Event::Closed { order, .. } => (order, offset_of!(m::Closed, order)),
        _ => return None,
    };
    let field = public.get(HEADER_SIZE + at + offset_of!(m::OrderView, reference)..)?;
    field
        .first_chunk()
        .map(|reference| (*order, u64::from_le_bytes(*reference)))
}

impl Lens<'_> {
    /// `false` for an event of another kind.
    pub(super) fn encode_book(&self, seq: u64, event: &Event, out: &mut Vec<u8>) -> bool {
        match event {
            Event::Opened {
                order,
                contract,
                side,
                price,
                leaves,
                hidden,
            } => {
                let order = self.order(*contract, *order);
                let message = m::Opened {
                    seq,
                    order,
                    contract: contract.get(),
                    price: price.get().into(),
                    leaves_wh: open(&order, *leaves, *hidden),
                    side: *side as u8,
                    reserved: [0; 7],
                };
                encode_outbound(&message, out);
            }
            Event::Reduced {
                order,
                was,
                contract,
                side,
                price,
                leaves,
                hidden,
            } => {
                let order = self.order(*contract, *order);
                let message = m::Reduced {
                    seq,
                    order,
                    was: self.order(*contract, *was),
                    contract: contract.get(),
                    price: price.get().into(),
                    leaves_wh: open(&order, *leaves, *hidden),
                    side: *side as u8,
                    reserved: [0; 7],
                };
                encode_outbound(&message, out);
            }
            Event::Closed {
                order,
                contract,
                side,
                price,
                leaves,
                hidden,
                reason,
                resting,
            } => {
                let order = self.order(*contract, *order);
                let message = m::Closed {
                    seq,
                    order,
                    contract: contract.get(),
                    price: price.get().into(),
                    leaves_wh: open(&order, *leaves, *hidden),
                    side: *side as u8,
                    reason: *reason as u8,
                    resting: (*resting).into(),
                    reserved: [0; 5],
                };
                encode_outbound(&message, out);
            }
            Event::Unmatched {
                order,
                contract,
                side,
                leaves,
                reason,
            } => {
                let message = m::Unmatched {
                    seq,
                    order: self.order(*contract, *order),
                    contract: contract.get(),
                    leaves_wh: leaves.get(),
                    side: *side as u8,
                    reason: *reason as u8,
                    reserved: [0; 6],
                };
                encode_outbound(&message, out);
            }
            Event::Executed {
                deal,
                deal_id,
                bid,
                ask,
                buyer_leaves,
                seller_leaves,
                buyer_hidden,
                seller_hidden,
                aggressor,
            } => {
                let buyer = self.order(deal.contract, deal.buyer);
                let seller = self.order(deal.contract, deal.seller);
                // The id hashes accounts and nonces, few enough to be searched for.
                let told = buyer.named != 0 || seller.named != 0;
                let [c1, c2, c3, congestion] = deal.charges;
                let message = m::Executed {
                    seq,
                    contract: deal.contract.get(),
                    ordinal: deal.ordinal,
                    buyer,
                    seller,
                    price: deal.price.get(),
                    energy_wh: deal.energy.get(),
                    bid: bid.get().into(),
                    ask: ask.get().into(),
                    buyer_leaves_wh: open(&buyer, *buyer_leaves, *buyer_hidden),
                    seller_leaves_wh: open(&seller, *seller_leaves, *seller_hidden),
                    deal_id: if told { deal_id.0 } else { [0; 32] },
                    c1,
                    c2,
                    c3,
                    congestion,
                    aggressor: aggressor.map_or(0, |side: Side| side as u8),
                    reserved: [0; 7],
                };
                encode_outbound(&message, out);
            }
            _ => return false,
        }
        true
    }
}
