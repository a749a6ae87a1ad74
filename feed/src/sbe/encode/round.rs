//! Accounts, answers, and the sealed rounds.

use super::Lens;
use crate::sbe::event as m;
use crate::sbe::outbound::encode_outbound;
use wattbook_types::{Event, ParticipantId};

impl Lens<'_> {
    /// `false` for an event of another kind.
    pub(super) fn encode_round(&self, seq: u64, event: &Event, out: &mut Vec<u8>) -> bool {
        let in_contract = event.contract();
        let who = |participant: &ParticipantId| self.party(in_contract, *participant);
        match event {
            Event::Registered {
                participant,
                roles,
                minted,
            } => {
                let message = m::Registered {
                    seq,
                    participant: who(participant),
                    minted: minted.get(),
                    roles: roles.bits(),
                    reserved: [0; 4],
                };
                encode_outbound(&message, out);
            }
            Event::Accepted {
                participant,
                nonce,
                index,
            } => {
                let participant = who(participant);
                let message = m::Accepted {
                    seq,
                    participant,
                    nonce: *nonce,
                    index: *index,
                    reserved: [0; 4],
                };
                encode_outbound(&message, out);
            }
            Event::Rejected {
                participant,
                nonce,
                index,
                reject,
            } => {
                let message = m::Rejected {
                    seq,
                    participant: who(participant),
                    nonce: *nonce,
                    index: *index,
                    code: reject.code(),
                    reserved: [0; 2],
                };
                encode_outbound(&message, out);
            }
            Event::RevealAccepted {
                participant,
                contract,
                round,
            } => {
                let (participant, contract) = (who(participant), contract.get());
                encode_outbound(
                    &m::RevealAccepted {
                        seq,
                        participant,
                        contract,
                        round: *round,
                        reserved: [0; 6],
                    },
                    out,
                );
            }
            Event::Sealed {
                participant,
                contract,
                round,
                bond,
            } => {
                let message = m::Sealed {
                    seq,
                    participant: who(participant),
                    contract: contract.get(),
                    bond: bond.get(),
                    round: *round,
                    reserved: [0; 6],
                };
                encode_outbound(&message, out);
            }
            Event::SealVoided {
                participant,
                contract,
                round,
                reject,
            } => {
                let message = m::SealVoided {
                    seq,
                    participant: who(participant),
                    contract: contract.get(),
                    round: *round,
                    code: reject.code(),
                    reserved: [0; 4],
                };
                encode_outbound(&message, out);
            }
            Event::BondReleased {
                participant,
                contract,
                round,
                bond,
            } => {
                let message = m::BondReleased {
                    seq,
                    participant: who(participant),
                    contract: contract.get(),
                    bond: bond.get(),
                    round: *round,
                    reserved: [0; 6],
                };
                encode_outbound(&message, out);
            }
            Event::BondBurned {
                participant,
                contract,
                round,
                bond,
                reject,
            } => {
                let message = m::BondBurned {
                    seq,
                    participant: who(participant),
                    contract: contract.get(),
                    bond: bond.get(),
                    round: *round,
                    code: reject.code(),
                    reserved: [0; 4],
                };
                encode_outbound(&message, out);
            }
            Event::QuoteVoided {
                order,
                contract,
                reject,
            } => {
                let message = m::QuoteVoided {
                    seq,
                    order: self.order(*contract, *order),
                    contract: contract.get(),
                    code: reject.code(),
                    reserved: [0; 6],
                };
                encode_outbound(&message, out);
            }
            Event::PhaseChanged {
                contract,
                phase,
                round,
                time,
            } => {
                let message = m::PhaseChanged {
                    seq,
                    contract: contract.get(),
                    time_ns: time.get(),
                    round: *round,
                    phase: *phase as u8,
                    reserved: [0; 5],
                };
                encode_outbound(&message, out);
            }
            Event::Ranked {
                contract,
                participant,
                reputation,
                percentile,
            } => {
                let message = m::Ranked {
                    seq,
                    contract: contract.get(),
                    participant: who(participant),
                    reputation: reputation.get(),
                    percentile: percentile.get(),
                };
                encode_outbound(&message, out);
            }
            Event::Range {
                contract,
                round,
                participant,
                side,
                pos,
                range,
            } => {
                let message = m::Range {
                    seq,
                    contract: contract.get(),
                    participant: who(participant),
                    pos: *pos,
                    range: *range,
                    round: *round,
                    side: *side as u8,
                    reserved: [0; 5],
                };
                encode_outbound(&message, out);
            }
            Event::Charges {
                contract,
                charges: [c1, c2, c3, congestion],
            } => {
                let (contract, c1, c2, c3, congestion) = (contract.get(), *c1, *c2, *c3, *congestion);
                encode_outbound(
                    &m::Charges {
                        seq,
                        contract,
                        c1,
                        c2,
                        c3,
                        congestion,
                    },
                    out,
                );
            }
            Event::Cep {
                contract,
                cep,
                volume_weighted,
                deals,
            } => {
                let message = m::Cep {
                    seq,
                    contract: contract.get(),
                    cep: cep.get(),
                    volume_weighted: volume_weighted.get(),
                    deals: *deals,
                    reserved: [0; 4],
                };
                encode_outbound(&message, out);
            }
            Event::VolatilityAlarm {
                contract,
                previous,
                cep,
            } => {
                let (contract, previous, cep) = (contract.get(), previous.get(), cep.get());
                encode_outbound(
                    &m::VolatilityAlarm {
                        seq,
                        contract,
                        previous,
                        cep,
                    },
                    out,
                );
            }
            Event::UniformPrice {
                contract,
                round,
                price,
                volume,
                lost,
            } => {
                let message = m::UniformPrice {
                    seq,
                    contract: contract.get(),
                    price: price.get().into(),
                    volume_wh: volume.get(),
                    lost_wh: lost.get(),
                    round: *round,
                    reserved: [0; 6],
                };
                encode_outbound(&message, out);
            }
            _ => return false,
        }
        true
    }
}
