//! Layouts as data: one table per struct gives the struct, its size and offset proofs, the check of a stranger's bytes,
//! and its lines in the schema.
//!
//! # Invariants
//! * A field's offset is written once, by hand, and proven against the compiler's.
//! * No padding: every reserved byte is a field of type [`Kind::Zero`].

use bytemuck::Pod;
use wattbook_types::Reject;

/// A named value of an enumeration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnumValue {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub value: u64,
    /// What it means.
    pub description: &'static str,
    /// First version of the schema that has it; 0 from the beginning.
    pub since: u16,
}

/// What the bytes of a type are.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A little-endian integer, by its SBE primitive.
    Int(&'static str),
    /// Bytes, as they are.
    Bytes,
    /// Reserved bytes, zero.
    Zero,
    /// Four little-endian words of eight bytes: a byte copy of a hash.
    Hash,
    /// An enumeration over an SBE primitive.
    Enum(&'static str, &'static [EnumValue]),
    /// A struct.
    Composite(&'static [Field]),
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// Name in the schema.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// What the bytes are.
    pub kind: Kind,
    /// What it stands for.
    pub description: &'static str,
}

/// A field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name of the struct's field.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: usize,
    /// Its type.
    pub ty: &'static Type,
    /// What it holds.
    pub description: &'static str,
    /// First version of the schema that has it; 0 from the beginning.
    pub since: u16,
}

/// A message of the schema.
#[derive(Clone, Copy, Debug)]
pub struct MessageSpec {
    /// Template id.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Size of its block in bytes.
    pub block_length: usize,
    /// Fields of its block.
    pub fields: &'static [Field],
    /// Its repeating group.
    pub group: Option<GroupSpec>,
    /// First version of the schema that has it; 0 from the beginning.
    pub since: u16,
}

/// A repeating group of a message.
#[derive(Clone, Copy, Debug)]
pub struct GroupSpec {
    /// Its name.
    pub name: &'static str,
    /// What it lists.
    pub description: &'static str,
    /// Size of an entry in bytes.
    pub block_length: usize,
    /// Fields of an entry.
    pub fields: &'static [Field],
}

impl MessageSpec {
    /// The message whose block is `T`.
    pub const fn of<T: Layout>(id: u16, name: &'static str, group: Option<GroupSpec>) -> Self {
        Self {
            id,
            name,
            description: T::DESCRIPTION,
            block_length: size_of::<T>(),
            fields: T::FIELDS,
            group,
            since: 0,
        }
    }

    /// The same, from this version of the schema on.
    pub const fn since(mut self, version: u16) -> Self {
        self.since = version;
        self
    }
}

impl GroupSpec {
    /// The group whose entries are `T`.
    pub const fn of<T: Layout>(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            description,
            block_length: size_of::<T>(),
            fields: T::FIELDS,
        }
    }
}

/// A struct of fixed size whose bytes travel.
pub trait Layout: Pod {
    /// Name in the schema.
    const NAME: &'static str;
    /// What it is.
    const DESCRIPTION: &'static str;
    /// Its fields, without gaps.
    const FIELDS: &'static [Field];

    /// The struct in these bytes, which it fills exactly; `None` on another length, a reserved byte that is not zero,
    /// or a number that its enumeration does not name.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() || !fields_valid(Self::FIELDS, bytes) {
            return None;
        }
        Some(bytemuck::pod_read_unaligned(bytes))
    }

    /// Its bytes.
    fn bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}

fn fields_valid(fields: &[Field], bytes: &[u8]) -> bool {
    fields.iter().all(|field| {
        bytes
            .get(field.offset..field.offset + field.ty.size)
            .is_some_and(|value| field.ty.admits(value))
    })
}

impl Type {
    /// An integer type.
    pub const fn int(primitive: &'static str, size: usize, description: &'static str) -> Self {
        Self {
            name: primitive,
            size,
            kind: Kind::Int(primitive),
            description,
        }
    }

    /// A fixed run of bytes.
    pub const fn array(name: &'static str, size: usize, description: &'static str) -> Self {
        Self {
            name,
            size,
            kind: Kind::Bytes,
            description,
        }
    }

    /// Reserved bytes.
    pub const fn zero(name: &'static str, size: usize) -> Self {
        Self {
            name,
            size,
            kind: Kind::Zero,
            description: "Reserved, zero.",
        }
    }

    /// An enumeration of one byte.
    pub const fn enum8(name: &'static str, values: &'static [EnumValue], description: &'static str) -> Self {
        Self {
            name,
            size: 1,
            kind: Kind::Enum("uint8", values),
            description,
        }
    }

    /// A struct as the type of a field.
    pub const fn composite<T: Layout>() -> Self {
        Self {
            name: T::NAME,
            size: size_of::<T>(),
            kind: Kind::Composite(T::FIELDS),
            description: T::DESCRIPTION,
        }
    }

    /// Whether a value of this type may have these bytes, `size` of them.
    pub fn admits(&self, bytes: &[u8]) -> bool {
        match self.kind {
            Kind::Int(_) | Kind::Bytes | Kind::Hash => true,
            Kind::Zero => bytes.iter().all(|byte| *byte == 0),
            Kind::Enum(_, values) => {
                let raw = bytes.iter().rev().fold(0u64, |raw, byte| raw << 8 | u64::from(*byte));
                values.iter().any(|value| value.value == raw)
            }
            Kind::Composite(fields) => fields_valid(fields, bytes),
        }
    }
}

/// Size of these fields as of a version of the schema: later ones were appended.
pub fn size_at(fields: &[Field], version: u16) -> usize {
    let known = fields.iter().filter(|field| field.since <= version);
    known.map(|field| field.offset + field.ty.size).max().unwrap_or(0)
}

/// Defines a [`Layout`] with its proofs: `struct Name[size] { /// doc  field @ offset: rust type, TYPE; }`; a field that
/// came later ends in `TYPE, since version;`.
macro_rules! wire {
    ($($(#[doc = $doc:literal])+ struct $name:ident[$size:literal] {
        $($(#[doc = $fdoc:literal])+ $field:ident @ $offset:literal: $rust:ty, $ty:path $(, since $since:literal)?;)*
    })*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub struct $name {
            $($(#[doc = $fdoc])+ pub $field: $rust,)*
        }

        describe! {
            concat!($($doc),+), $name[$size] { $(concat!($($fdoc),+), $field @ $offset: $rust, $ty $(, since $since)?;)* }
        }
    )*};
}

/// Implements [`Layout`] for a struct that stands elsewhere, with its proofs.
macro_rules! describe {
    ($doc:expr, $name:ident[$size:literal] {
        $($fdoc:expr, $field:ident @ $offset:literal: $rust:ty, $ty:path $(, since $since:literal)?;)*
    }) => {
        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(
                assert!(core::mem::offset_of!($name, $field) == $offset);
                assert!(size_of::<$rust>() == $ty.size);
            )*
            assert!(0 $(+ size_of::<$rust>())* == $size);
        };

        impl $crate::layout::Layout for $name {
            const NAME: &'static str = stringify!($name);
            const DESCRIPTION: &'static str = $doc;
            const FIELDS: &'static [$crate::layout::Field] = &[$(
                $crate::layout::Field {
                    name: stringify!($field),
                    offset: $offset,
                    ty: &$ty,
                    description: $fdoc,
                    since: 0 $(+ $since)?,
                },
            )*];
        }
    };
}

/// Shorthand of a table of named numbers; one that came later ends in `since version;`.
macro_rules! values {
    ($($value:literal $name:ident $description:literal $(since $since:literal)?;)*) => {
        &[$(EnumValue {
            name: stringify!($name),
            value: $value,
            description: $description,
            since: 0 $(+ $since)?,
        },)*]
    };
}

/// Refusals that are younger than version 2 of the schema, with the version that brought them.
const YOUNGER_REJECTS: &[(Reject, u16)] = &[
    (Reject::TooManyFromAddress, 3),
    (Reject::TooManyOfParticipant, 3),
    (Reject::MessageRate, 3),
    (Reject::ByteRate, 3),
    (Reject::NodeRate, 3),
    (Reject::LogonsExhausted, 3),
    (Reject::TimedOut, 3),
    (Reject::SlowConsumer, 3),
    (Reject::HeldTooMany, 3),
    (Reject::ParamFixed, 5),
    (Reject::WrongEpoch, 5),
    (Reject::UnknownCandidate, 5),
    (Reject::StakeForfeited, 5),
    (Reject::StaleEmission, 5),
    (Reject::BadCandidacy, 6),
    (Reject::OtherChain, 5),
    (Reject::EvidenceOutOfTime, 5),
    (Reject::NotSeated, 5),
    (Reject::AlreadyJudged, 5),
];

const fn since_of(reject: Reject) -> u16 {
    let mut i = 0;
    while i < YOUNGER_REJECTS.len() {
        if YOUNGER_REJECTS[i].0 as u16 == reject as u16 {
            return YOUNGER_REJECTS[i].1;
        }
        i += 1;
    }
    0
}

const REJECTS: [EnumValue; Reject::ALL.len()] = {
    let mut table = [EnumValue {
        name: "",
        value: 0,
        description: "",
        since: 0,
    }; Reject::ALL.len()];
    let mut i = 0;
    while i < table.len() {
        let reject = Reject::ALL[i];
        table[i] = EnumValue {
            name: reject.name(),
            value: reject.code() as u64,
            description: reject.text(),
            since: since_of(reject),
        };
        i += 1;
    }
    table
};

/// The types fields are made of.
pub mod types {
    use super::{EnumValue, Kind, REJECTS, Type};

    /// Unsigned byte.
    pub const U8: Type = Type::int("uint8", 1, "Unsigned, 8 bits.");
    /// Unsigned, two bytes.
    pub const U16: Type = Type::int("uint16", 2, "Unsigned, 16 bits.");
    /// Unsigned, four bytes.
    pub const U32: Type = Type::int("uint32", 4, "Unsigned, 32 bits.");
    /// Unsigned, eight bytes.
    pub const U64: Type = Type::int("uint64", 8, "Unsigned, 64 bits.");
    /// Signed, four bytes.
    pub const I32: Type = Type::int("int32", 4, "Signed, 32 bits.");
    /// Signed, eight bytes.
    pub const I64: Type = Type::int("int64", 8, "Signed, 64 bits.");
    /// A SHA-256 digest.
    pub const HASH: Type = Type {
        name: "Hash",
        size: 32,
        kind: Kind::Hash,
        description: "A SHA-256 digest: a byte copy, as four words.",
    };
    /// BLS public key.
    pub const KEY96: Type = Type::array("PublicKey", 96, "BLS12-381 public key, compressed G2.");
    /// BLS signature.
    pub const SIG48: Type = Type::array(
        "Signature",
        48,
        "BLS12-381 signature or proof of possession, compressed G1.",
    );
    /// Ed25519 signature.
    pub const SIG64: Type = Type::array("AdmitSignature", 64, "Ed25519 signature of the registrar.");
    /// Body of a leaf.
    pub const BODY40: Type = Type::array("LeafBody", 40, "Body of a leaf; its layout depends on the leaf's kind.");
    /// Memo of a transfer.
    pub const MEMO24: Type = Type::array("Memo", 24, "Free bytes of the sender.");
    /// One reserved byte.
    pub const ZERO1: Type = Type::zero("Zero1", 1);
    /// Two reserved bytes.
    pub const ZERO2: Type = Type::zero("Zero2", 2);
    /// Three reserved bytes.
    pub const ZERO3: Type = Type::zero("Zero3", 3);
    /// Four reserved bytes.
    pub const ZERO4: Type = Type::zero("Zero4", 4);
    /// Five reserved bytes.
    pub const ZERO5: Type = Type::zero("Zero5", 5);
    /// Six reserved bytes.
    pub const ZERO6: Type = Type::zero("Zero6", 6);
    /// Seven reserved bytes.
    pub const ZERO7: Type = Type::zero("Zero7", 7);
    /// Eight reserved bytes.
    pub const ZERO8: Type = Type::zero("Zero8", 8);
    /// Twelve reserved bytes.
    pub const ZERO12: Type = Type::zero("Zero12", 12);
    /// Sixteen reserved bytes.
    pub const ZERO16: Type = Type::zero("Zero16", 16);
    /// Twenty reserved bytes.
    pub const ZERO20: Type = Type::zero("Zero20", 20);
    /// Twenty-four reserved bytes.
    pub const ZERO24: Type = Type::zero("Zero24", 24);

    /// Yes or no.
    pub const BOOL: Type = Type::enum8(
        "Boolean",
        values! { 0 No "It does not hold."; 1 Yes "It holds."; },
        "Yes or no.",
    );
    /// Side of an order.
    pub const SIDE: Type = Type::enum8(
        "Side",
        values! { 1 Buy "A bid."; 2 Sell "An ask."; },
        "Side of an order.",
    );
    /// Side that took.
    pub const AGGRESSOR: Type = Type::enum8(
        "Aggressor",
        values! { 0 None "A deal of a round: nobody took."; 1 Buy "The bid took."; 2 Sell "The ask took."; },
        "Side that took.",
    );
    /// Grade of an acknowledgement.
    pub const GRADE: Type = Type::enum8(
        "Grade",
        values! {
            1 Matched "Executed on this node, revocable.";
            2 Durable "On this node's disk.";
            3 Final "Certified by the committee.";
        },
        "How much an answer promises.",
    );
    /// What is held.
    pub const HELD: Type = Type::enum8(
        "HeldKind",
        values! {
            1 Register "A registration, until the next Step.";
            2 Envelope "An envelope, until the next Step.";
            3 Reveal "A reveal, until the next Step.";
            4 OnDisconnect "Cancels, until the session ends; with nonce 0 none any more.";
        },
        "What is held, and until when.",
    );
    /// Why the node stops.
    pub const HALT: Type = Type::enum8(
        "HaltReason",
        values! {
            1 EndOfDay "The day is over: everything that was to come has come.";
            2 Stopping "The operator stops the node.";
            3 LedgerFailed "The ledger cannot be written.";
            4 DiskFull "The disk is full; the node resumes when there is room.";
        },
        "Why the node takes nothing more.",
    );
    /// Phase of a cycle.
    pub const PHASE: Type = Type::enum8(
        "Phase",
        values! {
            1 Seal "Seals are taken.";
            2 Reveal "Reveals are taken.";
            3 Ranked "Places and ranges are fixed; the book takes only cancels.";
            4 Matched "The round has been matched; the book takes only cancels.";
            5 Continuous "The book trades.";
            6 GateClosed "The gate has closed.";
            7 Delivering "Energy flows.";
            8 Metering "Readings are taken.";
            9 Settled "Deals are settled, ratings are taken.";
            10 Closed "The cycle is over.";
        },
        "Phase of a cycle.",
    );
    /// Why an order left the book or was not matched.
    pub const CLOSE_REASON: Type = Type::enum8(
        "CloseReason",
        values! {
            1 Filled "Filled whole.";
            2 Cancelled "Cancelled by its owner.";
            3 Replaced "Replaced by its owner.";
            4 Revealed "Replaced by a reveal of its owner.";
            5 ImmediateOrCancel "Immediate-or-cancel: the remainder is gone.";
            6 FillOrKill "Fill-or-kill: not all of it could be filled in range.";
            7 SelfTrade "The next order to fill belongs to the same group.";
            8 Expired "valid_until_s has passed.";
            9 GateClosed "The gate has closed.";
            10 Suspended "Its owner was suspended.";
            11 NoCounterparty "No opposite order.";
            12 PriceNotMet "No opposite order at a price that closes.";
            13 OutOfRange "Eligible opposite energy is left, none of it in range.";
            14 Exhausted "Every eligible opposite order has been used up.";
            15 ChargeCap "The network charge exceeds the buyer's cap.";
            16 NoMarket "A market-to-limit order found nothing to execute against.";
        },
        "Why an order left the book, or a quantity was not matched.",
    );
    /// A refusal.
    pub const REJECT: Type = Type {
        name: "Reject",
        size: 2,
        kind: Kind::Enum("uint16", &REJECTS),
        description: "Why something was refused, in order of precedence.",
    };
}
