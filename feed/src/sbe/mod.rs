//! Messages of the feed: SBE 1.0, little-endian, schema 1 version [`SCHEMA_VERSION`] (feed/schema/wattbook.xml).
//!
//! # Format
//! `header[8] = blockLength u16, templateId u16, schemaId u16, version u16`, then the block, then at most one repeating
//! group: `blockLength u16, numInGroup u16` and its entries.
//!
//! # Invariants
//! * Inbound messages have exactly the lengths of the schema and nothing after them.
//! * Outbound messages have no groups and at most [`OUTBOUND_MAX`] bytes; a later version may only append fields to
//!   the block, which this decoder skips, and what an earlier version lacks reads as zero.
//! * A public event message names nobody: participants are pseudonyms, orders are references.

mod encode;
pub mod event;
pub mod inbound;
pub mod outbound;
mod schema;
pub mod session;

pub use encode::{encode_private, encode_private_beside, encode_public, encode_reader, is_public, parties};
pub use inbound::{
    EnvelopeRef, Inbound, LogonMessage, RevealRef, StepMessage, decode_inbound, encode_envelope, encode_logon,
    encode_on_disconnect, encode_register, encode_reveal, encode_step,
};
pub use outbound::{DecodeError, Message, Outbound, decode_outbound, encode_outbound};
pub use schema::schema_xml;

use crate::layout::types::*;
use wattbook_types::{CloseReason, Phase};

/// Id of the schema.
pub const SCHEMA_ID: u16 = 1;
/// Version of the schema.
pub const SCHEMA_VERSION: u16 = 6;
/// Earliest version that is understood; what later ones appended reads as zero there.
pub const SCHEMA_VERSION_FIRST: u16 = 2;
/// Greatest size of an outbound message with its header, in bytes.
pub const OUTBOUND_MAX: usize = 1_400;
/// Size of the message header.
pub const HEADER_SIZE: usize = 8;

wire! {
    /// Header of every message.
    struct MessageHeader[8] {
        /// Size of the block that follows, without groups.
        block_length @ 0: u16, U16;
        /// Which message.
        template_id @ 2: u16, U16;
        /// Which schema.
        schema_id @ 4: u16, U16;
        /// Version of the schema it was encoded with.
        version @ 6: u16, U16;
    }

    /// Header of a repeating group.
    struct GroupHeader[4] {
        /// Size of an entry.
        block_length @ 0: u16, U16;
        /// Number of entries.
        num_in_group @ 2: u16, U16;
    }
}

/// The phase of a wire value.
pub fn phase(raw: u8) -> Option<Phase> {
    use Phase::*;
    [
        Seal, Reveal, Ranked, Matched, Continuous, GateClosed, Delivering, Metering, Settled, Closed,
    ]
    .into_iter()
    .find(|phase| *phase as u8 == raw)
}

/// The close reason of a wire value.
pub fn close_reason(raw: u8) -> Option<CloseReason> {
    use CloseReason::*;
    [
        Filled,
        Cancelled,
        Replaced,
        Revealed,
        ImmediateOrCancel,
        FillOrKill,
        SelfTrade,
        Expired,
        GateClosed,
        Suspended,
        NoCounterparty,
        PriceNotMet,
        OutOfRange,
        Exhausted,
        ChargeCap,
        NoMarket,
    ]
    .into_iter()
    .find(|reason| *reason as u8 == raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Kind, Type};

    fn values(ty: &Type) -> &'static [crate::layout::EnumValue] {
        match ty.kind {
            Kind::Enum(_, values) => values,
            _ => panic!("{} is no enumeration", ty.name),
        }
    }

    #[test]
    fn enumerations_name_what_the_types_name() {
        for value in values(&CLOSE_REASON) {
            assert_eq!(close_reason(value.value as u8).unwrap().name(), value.name);
        }
        assert_eq!(close_reason(values(&CLOSE_REASON).len() as u8 + 1), None);
        for value in values(&PHASE) {
            assert_eq!(format!("{:?}", phase(value.value as u8).unwrap()), value.name);
        }
        assert_eq!(phase(values(&PHASE).len() as u8 + 1), None);
    }
}
