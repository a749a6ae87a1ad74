//! Events to messages, for each kind of reader.
//!
//! # Invariants
//! * The public form is a function of the event and the alias key alone: its bytes are leaves of the event root.
//! * What a reader is not told is zero, never left out: one template per event.

mod book;
mod rest;
mod round;

use super::event::{OrderView, Party};
use crate::signed::Alias;
use wattbook_types::{ContractId, Event, OrderId, ParticipantId, Sequenced};

/// Who reads.
#[derive(Clone, Copy)]
enum View {
    Public,
    Owner(ParticipantId),
    Reader,
}

impl View {
    fn names(self, participant: ParticipantId) -> bool {
        match self {
            Self::Public => false,
            Self::Owner(owner) => owner == participant,
            Self::Reader => true,
        }
    }
}

/// Appends the public form; `false`, and nothing appended, for a private event.
pub fn encode_public(sequenced: &Sequenced, alias: &Alias, out: &mut Vec<u8>) -> bool {
    let public = is_public(&sequenced.event);
    if public {
        Lens {
            view: View::Public,
            alias,
            known: None,
        }
        .encode(sequenced, out);
    }
    public
}

/// Appends the execution report for a party of the event; `false`, and nothing appended, if the recipient is none.
pub fn encode_private(sequenced: &Sequenced, recipient: ParticipantId, alias: &Alias, out: &mut Vec<u8>) -> bool {
    encode_private_beside(sequenced, None, recipient, alias, out)
}

/// As [`encode_private`], where the event's public form is at hand: the name of an order is read there, not hashed again.
///
/// # Panics
/// In builds with assertions, if that is another event's.
pub fn encode_private_beside(
    sequenced: &Sequenced,
    public: Option<&[u8]>,
    recipient: ParticipantId,
    alias: &Alias,
    out: &mut Vec<u8>,
) -> bool {
    let party = parties(&sequenced.event).contains(&Some(recipient));
    if party {
        Lens {
            view: View::Owner(recipient),
            alias,
            known: public.and_then(|public| book::reference(&sequenced.event, public)),
        }
        .encode(sequenced, out);
    }
    party
}

/// Appends the form for readers of the ledger, who see every account id: regulator, auditors, delegates.
pub fn encode_reader(sequenced: &Sequenced, alias: &Alias, out: &mut Vec<u8>) {
    Lens {
        view: View::Reader,
        alias,
        known: None,
    }
    .encode(sequenced, out);
}

/// Who receives an execution report of an event, buyers before sellers. A private event has one party.
pub fn parties(event: &Event) -> [Option<ParticipantId>; 2] {
    match event {
        Event::Registered { participant, .. }
        | Event::Accepted { participant, .. }
        | Event::Rejected { participant, .. }
        | Event::RevealAccepted { participant, .. }
        | Event::Sealed { participant, .. }
        | Event::SealVoided { participant, .. }
        | Event::BondReleased { participant, .. }
        | Event::BondBurned { participant, .. }
        | Event::Ranked { participant, .. }
        | Event::Range { participant, .. }
        | Event::Metered { participant, .. }
        | Event::MeterFrozen { participant, .. }
        | Event::Balanced { participant, .. }
        | Event::CleanMinted { participant, .. }
        | Event::DealRated { participant, .. }
        | Event::Rated { participant, .. }
        | Event::Suspension { participant, .. } => [Some(*participant), None],
        Event::QuoteVoided { order, .. }
        | Event::Opened { order, .. }
        | Event::Reduced { order, .. }
        | Event::Closed { order, .. }
        | Event::Unmatched { order, .. } => [Some(order.participant), None],
        Event::Executed { deal, .. } => pair(deal.buyer.participant, deal.seller.participant),
        Event::DealVoided { buyer, seller, .. } | Event::Settled { buyer, seller, .. } => pair(*buyer, *seller),
        Event::PhaseChanged { .. }
        | Event::Charges { .. }
        | Event::Cep { .. }
        | Event::VolatilityAlarm { .. }
        | Event::UniformPrice { .. }
        | Event::DealsSealed { .. }
        | Event::Contracted { .. }
        | Event::Configured { .. }
        | Event::ParamsInForce { .. }
        | Event::MarketHalted { .. }
        | Event::MarketResumed { .. }
        | Event::Ticked { .. }
        | Event::Delegates(_) => [None, None],
    }
}

/// Whether an event has a public form.
pub fn is_public(event: &Event) -> bool {
    has_template(event) && event.private_to().is_none()
}

/// Whether the schema has a message for the event: what becomes of delegates is derived from the ledger.
const fn has_template(event: &Event) -> bool {
    !matches!(event, Event::Delegates(_))
}

/// Both parties, once each.
fn pair(buyer: ParticipantId, seller: ParticipantId) -> [Option<ParticipantId>; 2] {
    [Some(buyer), Some(seller).filter(|seller| *seller != buyer)]
}

/// The wire form of a contract or the area.
const fn raw(contract: &Option<ContractId>) -> u64 {
    match contract {
        Some(contract) => contract.get(),
        None => 0,
    }
}

/// How one reader sees an event.
struct Lens<'a> {
    view: View,
    alias: &'a Alias,
    /// An order of the event's contract whose reference is known.
    known: Option<(OrderId, u64)>,
}

impl Lens<'_> {
    fn party(&self, contract: Option<ContractId>, participant: ParticipantId) -> Party {
        let named = self.view.names(participant);
        let id = if named {
            participant.get()
        } else {
            self.alias.pseudonym(contract, participant)
        };
        Party {
            id,
            named: named.into(),
            reserved: [0; 7],
        }
    }

    fn order(&self, contract: ContractId, order: OrderId) -> OrderView {
        let Party { id, named, .. } = self.party(Some(contract), order.participant);
        let (nonce, index) = if named != 0 { (order.nonce, order.index) } else { (0, 0) };
        let reference = match self.known {
            Some((known, reference)) if known == order => {
                debug_assert_eq!(reference, self.alias.order_reference(contract, order));
                reference
            }
            _ => self.alias.order_reference(contract, order),
        };
        OrderView {
            participant: id,
            nonce,
            index,
            named,
            reserved: [0; 3],
            reference,
        }
    }

    fn encode(&self, Sequenced { seq, event }: &Sequenced, out: &mut Vec<u8>) {
        let encoded = self.encode_round(*seq, event, out)
            || self.encode_book(*seq, event, out)
            || self.encode_rest(*seq, event, out);
        assert!(encoded, "every event has a template");
    }
}
