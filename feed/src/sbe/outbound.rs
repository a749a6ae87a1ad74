//! The outbound messages by template id, and their decoder.

use super::{
    HEADER_SIZE, MessageHeader, OUTBOUND_MAX, SCHEMA_ID, SCHEMA_VERSION, SCHEMA_VERSION_FIRST, event, session,
};
use crate::layout::{Layout, MessageSpec, size_at};

/// An outbound message: a block, no groups.
pub trait Message: Layout {
    /// Its template id.
    const TEMPLATE: u16;
}

/// Why bytes are no outbound message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// They end before the message does.
    #[error("{0} bytes end before the message does")]
    Short(usize),
    /// Bytes follow the message.
    #[error("bytes follow the message of template {0}")]
    Trailing(u16),
    /// Another schema, or a version before the first.
    #[error("schema {0} version {1} is not schema 1 version 2 or later")]
    Schema(u16, u16),
    /// An unknown template.
    #[error("template {0} is unknown")]
    Template(u16),
    /// A block length, reserved byte or enumeration that the template does not allow.
    #[error("a field of template {0} has a value it cannot have")]
    Malformed(u16),
}

/// Appends a message with its header.
pub fn encode_outbound<M: Message>(message: &M, out: &mut Vec<u8>) {
    const { assert!(HEADER_SIZE + size_of::<M>() <= OUTBOUND_MAX) };
    let header = MessageHeader {
        block_length: size_of::<M>() as u16,
        template_id: M::TEMPLATE,
        schema_id: SCHEMA_ID,
        version: SCHEMA_VERSION,
    };
    out.extend_from_slice(header.bytes());
    out.extend_from_slice(message.bytes());
}

fn read<M: Message>(header: &MessageHeader, block: &[u8]) -> Result<M, DecodeError> {
    let malformed = DecodeError::Malformed(M::TEMPLATE);
    let size = size_at(M::FIELDS, header.version);
    // Versions append fields: of a later one ours are the first ones, of an earlier one it has the first ones of ours.
    let fits = header.version > SCHEMA_VERSION || block.len() == size;
    let known = block.get(..size).filter(|_| fits).ok_or(malformed)?;
    let mut whole = M::zeroed();
    bytemuck::bytes_of_mut(&mut whole)[..size].copy_from_slice(known);
    M::read(whole.bytes()).ok_or(malformed)
}

macro_rules! outbound {
    ($($id:literal $module:ident::$layout:ident as $name:ident $(, since $since:literal)?;)*) => {
        $(impl Message for $module::$layout {
            const TEMPLATE: u16 = $id;
        })*

        /// An outbound message.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Outbound {
            $(#[doc = concat!("Template ", $id, ".")] $name($module::$layout),)*
        }

        /// Every outbound message.
        pub const MESSAGES: &[MessageSpec] =
            &[$(MessageSpec::of::<$module::$layout>($id, stringify!($name), None)$(.since($since))?,)*];

        /// Decodes one message, which the bytes fill exactly.
        pub fn decode_outbound(bytes: &[u8]) -> Result<Outbound, DecodeError> {
            let (header, rest) = bytes.split_at_checked(HEADER_SIZE).ok_or(DecodeError::Short(bytes.len()))?;
            let header: MessageHeader = bytemuck::pod_read_unaligned(header);
            if header.schema_id != SCHEMA_ID || header.version < SCHEMA_VERSION_FIRST {
                return Err(DecodeError::Schema(header.schema_id, header.version));
            }
            let length = usize::from(header.block_length);
            let block = rest.get(..length).ok_or(DecodeError::Short(bytes.len()))?;
            if rest.len() > length && header.version <= SCHEMA_VERSION {
                return Err(DecodeError::Trailing(header.template_id));
            }
            match header.template_id {
                $($id => read(&header, block).map(Outbound::$name),)*
                unknown => Err(DecodeError::Template(unknown)),
            }
        }

        impl Outbound {
            /// Its template id.
            pub const fn template(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $id,)*
                }
            }

            /// Its name.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            /// Appends it with its header.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(message) => encode_outbound(message, out),)*
                }
            }
        }
    };
}

outbound! {
    20 session::Challenge as Challenge;
    21 session::LoggedOn as LoggedOn;
    22 session::Held as Held;
    23 session::RejectedMessage as RejectedMessage;
    24 session::Watermark as Watermark;
    25 session::BlockSealed as BlockSealed;
    26 session::Stepped as Stepped;
    27 session::DealRecord as DealRecord;
    28 session::Halted as Halted;
    29 session::EventEnd as EventEnd, since 4;
    30 session::SnapshotOrder as SnapshotOrder, since 4;
    31 session::SnapshotEnd as SnapshotEnd, since 4;
    32 session::Revoked as Revoked, since 6;
    100 event::Registered as Registered;
    101 event::Accepted as Accepted;
    102 event::Rejected as Rejected;
    103 event::RevealAccepted as RevealAccepted;
    104 event::Sealed as Sealed;
    105 event::SealVoided as SealVoided;
    106 event::BondReleased as BondReleased;
    107 event::BondBurned as BondBurned;
    108 event::QuoteVoided as QuoteVoided;
    109 event::PhaseChanged as PhaseChanged;
    110 event::Ranked as Ranked;
    111 event::Range as Range;
    112 event::Charges as Charges;
    113 event::Cep as Cep;
    114 event::VolatilityAlarm as VolatilityAlarm;
    115 event::UniformPrice as UniformPrice;
    116 event::Opened as Opened;
    117 event::Reduced as Reduced;
    118 event::Closed as Closed;
    119 event::Unmatched as Unmatched;
    120 event::Executed as Executed;
    121 event::DealsSealed as DealsSealed;
    122 event::Contracted as Contracted;
    123 event::DealVoided as DealVoided;
    124 event::Metered as Metered;
    125 event::MeterFrozen as MeterFrozen;
    126 event::Settled as Settled;
    127 event::Balanced as Balanced;
    128 event::CleanMinted as CleanMinted;
    129 event::DealRated as DealRated;
    130 event::Rated as Rated;
    131 event::Configured as Configured;
    132 event::ParamsInForce as ParamsInForce;
    133 event::MarketHalted as MarketHalted;
    134 event::MarketResumed as MarketResumed;
    135 event::Suspension as Suspension;
    136 event::Ticked as Ticked;
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro's structs are public")]
mod tests {
    use super::*;
    use crate::layout::types::*;

    wire! {
        /// A message that grew in a later version.
        struct Grown[24] {
            /// There from the beginning.
            first @ 0: u64, U64;
            /// There from the beginning.
            side @ 8: u8, SIDE;
            /// Zero.
            reserved @ 9: [u8; 7], ZERO7;
            /// Appended.
            later @ 16: u64, U64, since 3;
        }
    }

    impl Message for Grown {
        const TEMPLATE: u16 = 999;
    }

    const fn header(version: u16) -> MessageHeader {
        MessageHeader {
            block_length: 0,
            template_id: Grown::TEMPLATE,
            schema_id: SCHEMA_ID,
            version,
        }
    }

    #[test]
    fn what_an_earlier_version_lacks_reads_as_zero_and_what_a_later_one_has_is_skipped() {
        let grown = Grown {
            first: 7,
            side: 2,
            reserved: [0; 7],
            later: 9,
        };
        assert_eq!(
            [1, 2, 3, 4].map(|version| size_at(Grown::FIELDS, version)),
            [16, 16, 24, 24]
        );
        let bytes = grown.bytes();
        assert_eq!(read::<Grown>(&header(2), &bytes[..16]), Ok(Grown { later: 0, ..grown }));
        assert_eq!(read::<Grown>(&header(3), bytes), Ok(grown));
        let later = header(SCHEMA_VERSION + 1);
        assert_eq!(read::<Grown>(&later, &[bytes, &[1; 8]].concat()), Ok(grown));
        // Neither more nor less than its version has.
        for (version, size) in [(2, 15), (2, 24), (3, 16), (4, 16)] {
            let block = &bytes[..size];
            assert_eq!(
                read::<Grown>(&header(version), block),
                Err(DecodeError::Malformed(999)),
                "{version} {size}"
            );
        }
    }
}
