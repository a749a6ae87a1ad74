//! The inbound messages: what participants send.

use super::{GroupHeader, HEADER_SIZE, MessageHeader, SCHEMA_ID, SCHEMA_VERSION, SCHEMA_VERSION_FIRST};
use crate::layout::types::*;
use crate::layout::{GroupSpec, Layout, MessageSpec, Type};
use crate::signed::candidacy::{Attachment, KEYS_SIZE};
use crate::signed::leaf::AnyLeaf;
use crate::signed::{
    EnvelopeHeader, LEAF_SIZE, LeafBytes, MeterEntry, Register, RegisterRecord, RevealRecord, SealedEnvelope,
};
use wattbook_types::{ContractId, Hash, ParticipantId, Reject};

/// [`Register`] as a field.
pub const REGISTER: Type = Type::composite::<Register>();
/// [`EnvelopeHeader`] as a field.
pub const ENVELOPE_HEADER: Type = Type::composite::<EnvelopeHeader>();

wire! {
    /// Logs a participant on: first message of a private session, unless it registers.
    struct LogonMessage[64] {
        /// The account.
        participant @ 0: u64, U64;
        /// Grade of the acknowledgements it wants: 1 matched, 2 durable, 3 final.
        grade @ 8: u8, U8;
        /// Zero.
        reserved @ 9: [u8; 7], ZERO7;
        /// SIG(D("logon", challenge 32, participant u64, grade u8, zero 7)).
        signature @ 16: [u8; 48], SIG48;
    }

    /// Registers an account; the meters follow as a group.
    struct RegisterMessage[328] {
        /// R.
        register @ 0: Register, REGISTER;
        /// The registrar's signature over D("admit", R).
        admit @ 216: [u8; 64], SIG64;
        /// Proof of possession over D("register", R).
        possession @ 280: [u8; 48], SIG48;
    }

    /// An envelope; the leaves follow as a group.
    struct EnvelopeMessage[120] {
        /// H.
        header @ 0: EnvelopeHeader, ENVELOPE_HEADER;
        /// SIG(D("envelope", H)).
        signature @ 72: [u8; 48], SIG48;
    }

    /// Opens a seal; the quote leaves follow as a group.
    struct RevealMessage[56] {
        /// Who sealed.
        participant @ 0: u64, U64;
        /// Contract.
        contract @ 8: u64, U64;
        /// Round, from 1.
        round @ 16: u32, U32;
        /// Zero; the record has its count of leaves here.
        reserved @ 20: u32, ZERO4;
        /// Salt of the commitment.
        salt @ 24: [u8; 32], HASH;
    }

    /// An envelope of cancels that is held until the session ends; all zero and without leaves, it withdraws the last one.
    struct OnDisconnectMessage[120] {
        /// H.
        header @ 0: EnvelopeHeader, ENVELOPE_HEADER;
        /// SIG(D("envelope", H)).
        signature @ 72: [u8; 48], SIG48;
    }

    /// An envelope with the keys of a candidate; the leaves follow as a group.
    struct CandidacyMessage[304] {
        /// H.
        header @ 0: EnvelopeHeader, ENVELOPE_HEADER;
        /// SIG(D("envelope", H)).
        signature @ 72: [u8; 48], SIG48;
        /// Place of the leaf that names the keys.
        index @ 120: u32, U32;
        /// Zero.
        reserved @ 124: u32, ZERO4;
        /// Ed25519 key of its links.
        peer_key @ 128: [u8; 32], HASH;
        /// Key of its ballots.
        ballot_key @ 160: [u8; 96], KEY96;
        /// Proof of possession over the ballot key's bytes.
        possession @ 256: [u8; 48], SIG48;
    }

    /// Moves time on (regulator's session of a demo node in lockstep).
    struct StepMessage[8] {
        /// The time of the Tick, ns since the epoch.
        time_ns @ 0: u64, U64;
    }
}

/// Template of [`LogonMessage`].
pub const LOGON: u16 = 1;
/// Template of [`RegisterMessage`].
pub const REGISTER_ID: u16 = 2;
/// Template of [`EnvelopeMessage`].
pub const ENVELOPE: u16 = 3;
/// Template of [`RevealMessage`].
pub const REVEAL: u16 = 4;
/// Template of [`StepMessage`].
pub const STEP: u16 = 5;
/// Template of [`OnDisconnectMessage`].
pub const ON_DISCONNECT: u16 = 6;

/// Template of [`CandidacyMessage`].
pub const CANDIDACY: u16 = 7;

const LEAVES: GroupSpec = GroupSpec::of::<AnyLeaf>("leaves", "The leaves, in order.");
const METERS: GroupSpec = GroupSpec::of::<MeterEntry>("meters", "The metering points, in order.");

/// Every inbound message.
pub const MESSAGES: &[MessageSpec] = &[
    MessageSpec::of::<LogonMessage>(LOGON, "Logon", None),
    MessageSpec::of::<RegisterMessage>(REGISTER_ID, "RegisterAccount", Some(METERS)),
    MessageSpec::of::<EnvelopeMessage>(ENVELOPE, "Envelope", Some(LEAVES)),
    MessageSpec::of::<RevealMessage>(REVEAL, "Reveal", Some(LEAVES)),
    MessageSpec::of::<StepMessage>(STEP, "Step", None),
    MessageSpec::of::<OnDisconnectMessage>(ON_DISCONNECT, "OnDisconnect", Some(LEAVES)),
    MessageSpec::of::<CandidacyMessage>(CANDIDACY, "Candidacy", Some(LEAVES)).since(6),
];

/// An inbound message; leaves are borrowed from its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inbound<'a> {
    /// Logs on.
    Logon(LogonMessage),
    /// Registers an account; nothing is checked yet.
    Register(Box<RegisterRecord>),
    /// An envelope; its header is well formed and counts these leaves.
    Envelope(EnvelopeRef<'a>),
    /// Opens a seal.
    Reveal(RevealRef<'a>),
    /// Moves time on.
    Step(StepMessage),
    /// An envelope for the end of the session, well formed as any; `None` withdraws the last one.
    OnDisconnect(Option<EnvelopeRef<'a>>),
}

/// An envelope in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnvelopeRef<'a> {
    /// H.
    pub header: EnvelopeHeader,
    /// SIG(D("envelope", H)).
    pub signature: [u8; 48],
    /// The leaves, in order.
    pub leaves: &'a [LeafBytes],
    /// What is attached to one of them.
    pub attached: Option<&'a AttachedKeys>,
}

/// [`Attachment`] as it lies in a message: index u32, zero u32, keys.
pub type AttachedKeys = [u8; 8 + KEYS_SIZE];

impl EnvelopeRef<'_> {
    /// A copy that outlives the message.
    pub fn to_sealed(&self) -> SealedEnvelope {
        SealedEnvelope {
            header: self.header,
            signature: self.signature,
            leaves: self.leaves.to_vec(),
            attached: self.attachment().map(Box::new),
        }
    }

    fn attachment(&self) -> Option<Attachment> {
        let (index, keys) = self.attached?.split_first_chunk::<8>()?;
        let [i0, i1, i2, i3, ..] = *index;
        Some(Attachment {
            index: u32::from_le_bytes([i0, i1, i2, i3]),
            keys: bytemuck::pod_read_unaligned(keys),
        })
    }

    /// The same into an envelope that is no longer needed, whose memory is used again.
    pub fn copy_to(&self, used: &mut SealedEnvelope) {
        used.header = self.header;
        used.signature = self.signature;
        used.leaves.clear();
        used.leaves.extend_from_slice(self.leaves);
        used.attached = self.attachment().map(Box::new);
    }
}

/// A reveal in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RevealRef<'a> {
    /// Who sealed.
    pub participant: ParticipantId,
    /// Contract.
    pub contract: ContractId,
    /// Round, from 1.
    pub round: u32,
    /// Salt of the commitment.
    pub salt: Hash,
    /// Quote leaves, in order.
    pub leaves: &'a [LeafBytes],
}

impl RevealRef<'_> {
    /// A copy that outlives the message.
    pub fn to_record(&self) -> RevealRecord {
        RevealRecord {
            participant: self.participant,
            contract: self.contract,
            round: self.round,
            salt: self.salt,
            leaves: self.leaves.to_vec(),
        }
    }
}

/// Decodes one message, which the bytes fill exactly.
pub fn decode_inbound(bytes: &[u8]) -> Result<Inbound<'_>, Reject> {
    let (header, rest) = bytes.split_at_checked(HEADER_SIZE).ok_or(Reject::ShortFrame)?;
    let header: MessageHeader = bytemuck::pod_read_unaligned(header);
    if header.schema_id != SCHEMA_ID || !(SCHEMA_VERSION_FIRST..=SCHEMA_VERSION).contains(&header.version) {
        return Err(Reject::UnknownMessage);
    }
    match header.template_id {
        LOGON => Ok(Inbound::Logon(alone(&header, rest)?)),
        STEP => Ok(Inbound::Step(alone(&header, rest)?)),
        REGISTER_ID => {
            let (block, rest) = block::<RegisterMessage>(&header, rest)?;
            let meters = group::<32>(rest)?
                .iter()
                .map(|meter| bytemuck::pod_read_unaligned(meter))
                .collect();
            let RegisterMessage {
                register,
                admit,
                possession,
            } = block;
            Ok(Inbound::Register(Box::new(RegisterRecord {
                register,
                admit,
                possession,
                meters,
            })))
        }
        ENVELOPE => {
            let (EnvelopeMessage { header, signature }, rest) = block::<EnvelopeMessage>(&header, rest)?;
            envelope(header, signature, group::<LEAF_SIZE>(rest)?).map(Inbound::Envelope)
        }
        CANDIDACY => {
            let at = size_of::<EnvelopeMessage>();
            let attached = rest.get(at..).and_then(|rest| rest.first_chunk());
            let (message, rest) = block::<CandidacyMessage>(&header, rest)?;
            let attached = attached.ok_or(Reject::ShortFrame)?;
            let envelope = envelope(message.header, message.signature, group::<LEAF_SIZE>(rest)?)?;
            let envelope = EnvelopeRef {
                attached: Some(attached),
                ..envelope
            };
            match envelope.attachment().filter(|attached| attached.fits(envelope.leaves)) {
                Some(_) => Ok(Inbound::Envelope(envelope)),
                None => Err(Reject::MalformedMessage),
            }
        }
        ON_DISCONNECT => {
            let (message, rest) = block::<OnDisconnectMessage>(&header, rest)?;
            let leaves = group::<LEAF_SIZE>(rest)?;
            if leaves.is_empty() && message.bytes().iter().all(|byte| *byte == 0) {
                return Ok(Inbound::OnDisconnect(None));
            }
            envelope(message.header, message.signature, leaves).map(|held| Inbound::OnDisconnect(Some(held)))
        }
        REVEAL => {
            let (reveal, rest) = block::<RevealMessage>(&header, rest)?;
            Ok(Inbound::Reveal(RevealRef {
                participant: ParticipantId::new(reveal.participant),
                contract: ContractId::from_raw(reveal.contract),
                round: reveal.round,
                salt: Hash(reveal.salt),
                leaves: group::<LEAF_SIZE>(rest)?,
            }))
        }
        _ => Err(Reject::UnknownMessage),
    }
}

/// An envelope whose header is well formed and counts its leaves.
fn envelope(header: EnvelopeHeader, signature: [u8; 48], leaves: &[LeafBytes]) -> Result<EnvelopeRef<'_>, Reject> {
    if !header.well_formed() || header.count as usize != leaves.len() {
        return Err(Reject::MalformedMessage);
    }
    Ok(EnvelopeRef {
        header,
        signature,
        leaves,
        attached: None,
    })
}

fn block<'a, T: Layout>(header: &MessageHeader, bytes: &'a [u8]) -> Result<(T, &'a [u8]), Reject> {
    if usize::from(header.block_length) != size_of::<T>() {
        return Err(Reject::MalformedMessage);
    }
    let (block, rest) = bytes.split_at_checked(size_of::<T>()).ok_or(Reject::ShortFrame)?;
    Ok((T::read(block).ok_or(Reject::MalformedMessage)?, rest))
}

fn alone<T: Layout>(header: &MessageHeader, bytes: &[u8]) -> Result<T, Reject> {
    let (message, rest) = block(header, bytes)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(Reject::MalformedMessage)
    }
}

/// The entries of the last group.
fn group<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], Reject> {
    let (header, rest) = bytes
        .split_at_checked(size_of::<GroupHeader>())
        .ok_or(Reject::ShortFrame)?;
    let header: GroupHeader = bytemuck::pod_read_unaligned(header);
    if usize::from(header.block_length) != N {
        return Err(Reject::MalformedMessage);
    }
    let size = N * usize::from(header.num_in_group);
    match rest.len().cmp(&size) {
        core::cmp::Ordering::Less => Err(Reject::ShortFrame),
        core::cmp::Ordering::Equal => Ok(rest.as_chunks::<N>().0),
        core::cmp::Ordering::Greater => Err(Reject::MalformedMessage),
    }
}

fn put_block<T: Layout>(template: u16, block: &T, out: &mut Vec<u8>) {
    let header = MessageHeader {
        block_length: size_of::<T>() as u16,
        template_id: template,
        schema_id: SCHEMA_ID,
        version: SCHEMA_VERSION,
    };
    out.extend_from_slice(header.bytes());
    out.extend_from_slice(block.bytes());
}

/// # Panics
/// With more than 65,535 entries.
fn put_group<const N: usize>(len: usize, entries: &[u8], out: &mut Vec<u8>) {
    let num_in_group = u16::try_from(len).expect("a group holds at most 65,535 entries");
    out.extend_from_slice(
        GroupHeader {
            block_length: N as u16,
            num_in_group,
        }
        .bytes(),
    );
    out.extend_from_slice(entries);
}

/// Appends a Logon.
pub fn encode_logon(logon: &LogonMessage, out: &mut Vec<u8>) {
    put_block(LOGON, logon, out);
}

/// Appends a Register.
///
/// # Panics
/// With more than 65,535 meters.
pub fn encode_register(record: &RegisterRecord, out: &mut Vec<u8>) {
    let RegisterRecord {
        register,
        admit,
        possession,
        meters,
    } = record;
    put_block(
        REGISTER_ID,
        &RegisterMessage {
            register: *register,
            admit: *admit,
            possession: *possession,
        },
        out,
    );
    put_group::<32>(meters.len(), bytemuck::cast_slice(meters), out);
}

/// Appends an Envelope.
///
/// # Panics
/// With more than 65,535 leaves.
pub fn encode_envelope(envelope: &SealedEnvelope, out: &mut Vec<u8>) {
    let SealedEnvelope {
        header,
        signature,
        ref attached,
        ..
    } = *envelope;
    match attached.as_deref() {
        None => put_block(ENVELOPE, &EnvelopeMessage { header, signature }, out),
        Some(&Attachment { index, keys }) => {
            let message = CandidacyMessage {
                header,
                signature,
                index,
                reserved: 0,
                peer_key: keys.peer_key,
                ballot_key: keys.ballot_key,
                possession: keys.possession,
            };
            put_block(CANDIDACY, &message, out);
        }
    }
    put_group::<LEAF_SIZE>(envelope.leaves.len(), envelope.leaves.as_flattened(), out);
}

/// Appends an OnDisconnect; `None` withdraws the last one.
///
/// # Panics
/// With more than 65,535 leaves.
pub fn encode_on_disconnect(envelope: Option<&SealedEnvelope>, out: &mut Vec<u8>) {
    let Some(SealedEnvelope {
        header,
        signature,
        leaves,
        // Cancels take none.
        attached: _,
    }) = envelope
    else {
        put_block::<OnDisconnectMessage>(ON_DISCONNECT, &bytemuck::Zeroable::zeroed(), out);
        return put_group::<LEAF_SIZE>(0, &[], out);
    };
    let block = OnDisconnectMessage {
        header: *header,
        signature: *signature,
    };
    put_block(ON_DISCONNECT, &block, out);
    put_group::<LEAF_SIZE>(leaves.len(), leaves.as_flattened(), out);
}

/// Appends a Reveal.
///
/// # Panics
/// With more than 65,535 leaves.
pub fn encode_reveal(reveal: &RevealRecord, out: &mut Vec<u8>) {
    let block = RevealMessage {
        participant: reveal.participant.get(),
        contract: reveal.contract.get(),
        round: reveal.round,
        reserved: 0,
        salt: reveal.salt.0,
    };
    put_block(REVEAL, &block, out);
    put_group::<LEAF_SIZE>(reveal.leaves.len(), reveal.leaves.as_flattened(), out);
}

/// Appends a Step.
pub fn encode_step(time: wattbook_types::TimeNs, out: &mut Vec<u8>) {
    put_block(STEP, &StepMessage { time_ns: time.get() }, out);
}
