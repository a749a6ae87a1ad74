//! Deals after they were made, the regulator's events, and time.

use super::{Lens, View, raw};
use crate::sbe::event as m;
use crate::sbe::outbound::encode_outbound;
use wattbook_types::{Event, ParticipantId};

impl Lens<'_> {
    /// `false` for an event of another kind.
    pub(super) fn encode_rest(&self, seq: u64, event: &Event, out: &mut Vec<u8>) -> bool {
        let in_contract = event.contract();
        let who = |participant: &ParticipantId| self.party(in_contract, *participant);
        match event {
            Event::DealsSealed {
                contract,
                height,
                count,
                deals_digest,
            } => {
                let told = matches!(self.view, View::Reader);
                let message = m::DealsSealed {
                    seq,
                    contract: contract.get(),
                    height: *height,
                    count: *count,
                    deals_digest: if told { deals_digest.0 } else { [0; 32] },
                };
                encode_outbound(&message, out);
            }
            Event::Contracted {
                contract,
                height,
                first,
                count,
            } => {
                let (contract, height, first, count) = (contract.get(), *height, *first, *count);
                encode_outbound(
                    &m::Contracted {
                        seq,
                        contract,
                        height,
                        first,
                        count,
                    },
                    out,
                );
            }
            Event::DealVoided {
                contract,
                ordinal,
                buyer,
                seller,
            } => {
                let (buyer, seller) = (who(buyer), who(seller));
                let message = m::DealVoided {
                    seq,
                    contract: contract.get(),
                    ordinal: *ordinal,
                    buyer,
                    seller,
                };
                encode_outbound(&message, out);
            }
            Event::Metered {
                participant,
                meter,
                contract,
                import,
                export,
            } => {
                let message = m::Metered {
                    seq,
                    participant: who(participant),
                    meter: *meter,
                    contract: contract.get(),
                    import_wh: import.get(),
                    export_wh: export.get(),
                };
                encode_outbound(&message, out);
            }
            Event::MeterFrozen { participant, meter } => {
                let participant = who(participant);
                let meter = if participant.named != 0 { *meter } else { 0 };
                encode_outbound(
                    &m::MeterFrozen {
                        seq,
                        participant,
                        meter,
                    },
                    out,
                );
            }
            Event::Settled {
                contract,
                ordinal,
                buyer,
                seller,
                contracted,
                settled,
                energy_paid,
                charge_paid,
                buyer_penalty,
                seller_penalty,
            } => {
                let message = m::Settled {
                    seq,
                    contract: contract.get(),
                    ordinal: *ordinal,
                    buyer: who(buyer),
                    seller: who(seller),
                    contracted_wh: contracted.get(),
                    settled_wh: settled.get(),
                    energy_paid: energy_paid.get(),
                    charge_paid: charge_paid.get(),
                    buyer_penalty: buyer_penalty.get(),
                    seller_penalty: seller_penalty.get(),
                };
                encode_outbound(&message, out);
            }
            Event::Balanced {
                contract,
                participant,
                side,
                energy,
                paid,
                unpaid,
            } => {
                let message = m::Balanced {
                    seq,
                    contract: contract.get(),
                    participant: who(participant),
                    energy_wh: energy.get(),
                    paid: paid.get(),
                    unpaid: unpaid.get(),
                    side: *side as u8,
                    reserved: [0; 7],
                };
                encode_outbound(&message, out);
            }
            Event::CleanMinted {
                contract,
                participant,
                energy,
                minted,
            } => {
                let message = m::CleanMinted {
                    seq,
                    contract: contract.get(),
                    participant: who(participant),
                    energy_wh: energy.get(),
                    minted: minted.get(),
                };
                encode_outbound(&message, out);
            }
            Event::DealRated {
                contract,
                ordinal,
                participant,
                good,
            } => {
                let message = m::DealRated {
                    seq,
                    contract: contract.get(),
                    ordinal: *ordinal,
                    participant: who(participant),
                    good: (*good).into(),
                    reserved: [0; 7],
                };
                encode_outbound(&message, out);
            }
            Event::Rated {
                contract,
                participant,
                reputation,
                entered,
                traded,
                good,
                declined,
            } => {
                let message = m::Rated {
                    seq,
                    contract: contract.get(),
                    participant: who(participant),
                    reputation: reputation.get(),
                    entered: *entered,
                    traded: *traded,
                    good: *good,
                    declined: *declined,
                    reserved: [0; 4],
                };
                encode_outbound(&message, out);
            }
            Event::Configured { param, value } => {
                let message = m::Configured {
                    seq,
                    value: *value,
                    param: *param as u32,
                    reserved: [0; 4],
                };
                encode_outbound(&message, out);
            }
            Event::ParamsInForce { params_hash } => {
                encode_outbound(
                    &m::ParamsInForce {
                        seq,
                        params_hash: params_hash.0,
                    },
                    out,
                );
            }
            Event::MarketHalted { contract, reason } => {
                let contract = raw(contract);
                encode_outbound(
                    &m::MarketHalted {
                        seq,
                        contract,
                        reason: *reason,
                        reserved: [0; 4],
                    },
                    out,
                );
            }
            Event::MarketResumed { contract } => {
                encode_outbound(
                    &m::MarketResumed {
                        seq,
                        contract: raw(contract),
                    },
                    out,
                );
            }
            Event::Suspension {
                participant,
                suspended,
                reason,
            } => {
                let message = m::Suspension {
                    seq,
                    participant: who(participant),
                    reason: *reason,
                    suspended: (*suspended).into(),
                    reserved: [0; 3],
                };
                encode_outbound(&message, out);
            }
            Event::Ticked { time } => encode_outbound(
                &m::Ticked {
                    seq,
                    time_ns: time.get(),
                },
                out,
            ),
            _ => return false,
        }
        true
    }
}
