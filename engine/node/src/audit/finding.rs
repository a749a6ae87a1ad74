//! What an audit objects to, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use wattbook_feed::signed::GenesisError;
use wattbook_ledger::{Fault, FaultKind};
use wattbook_market::BadTurn;
use wattbook_shaders::SignatureError;
use wattbook_types::Reject;

/// What is wrong with what intact bytes say, numbered for ever; numbers below 100 are [`FaultKind`]'s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
#[repr(u8)]
#[non_exhaustive]
pub enum ChainFault {
    /// The genesis bytes do not hash to the chain id asked for.
    #[error("the chain id is not the one given with --genesis")]
    Anchor = 101,
    /// The genesis bytes are no genesis, or a key in them is not proven.
    #[error("the bytes are not a valid genesis")]
    Genesis = 102,
    /// An account or a parameter of genesis cannot stand.
    #[error("the genesis cannot start a market")]
    GenesisMarket = 103,
    /// The log key of genesis is no key.
    #[error("the log key of the genesis is not an Ed25519 key")]
    LogKey = 104,
    /// The registrar's key of genesis is no key.
    #[error("the registrar key of the genesis is not an Ed25519 key")]
    RegistrarKey = 105,
    /// A payload that does not decode.
    #[error("the record does not decode")]
    Record = 106,
    /// A registration that the registrar did not sign.
    #[error("the registrar's signature of the registration does not hold")]
    Admission = 107,
    /// A registration whose key is none, or not proven to be held.
    #[error("the registration does not prove possession of its key")]
    Possession = 108,
    /// A registration with malformed meters, or others than were signed.
    #[error("the registration's meters are not those that were signed")]
    Meters = 109,
    /// An envelope without leaves, or with another number of them.
    #[error("the envelope's number of leaves is wrong")]
    LeafCount = 110,
    /// An envelope with other leaves than were signed.
    #[error("the envelope's leaves are not those that were signed")]
    LeafRoot = 111,
    /// An envelope that its participant did not sign.
    #[error("the envelope's signature does not hold")]
    Signature = 112,
    /// A Tick that is not after the one before.
    #[error("the Tick does not move time on")]
    TickOrder = 113,
    /// A Tick after the time of its block.
    #[error("the Tick is past its block's time")]
    TickBeyond = 114,
    /// A record that the market refuses.
    #[error("the market refuses the record")]
    Refused = 115,
    /// A block whose time is not that of the last Tick.
    #[error("the block's time is not that of the last Tick")]
    BlockTime = 116,
    /// Execution gives another state.
    #[error("the state root does not follow from the records")]
    StateRoot = 117,
    /// Execution gives other parameters.
    #[error("the parameter digest does not follow from the records")]
    ParamsHash = 118,
    /// Execution gives other delegates, or others than nobody for a node alone.
    #[error("the delegates' digest is wrong")]
    DposHash = 119,
    /// Execution gives another number of public events.
    #[error("the event count does not follow from the records")]
    EventCount = 120,
    /// Execution gives other public events.
    #[error("the event root does not follow from the records")]
    EventRoot = 121,
    /// A block of an epoch, view or producer that it cannot be of.
    #[error("it was not this delegate's turn")]
    Turn = 122,
    /// Execution gives another next committee.
    #[error("the next committee does not follow from the records")]
    NextCommittee = 123,
    /// Evidence whose votes its offender did not cast.
    #[error("the evidence's signatures are not the offender's")]
    Evidence = 124,
}

/// What is wrong: with the bytes, or with what they say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FindingKind {
    /// The bytes.
    Stored(FaultKind),
    /// What they say.
    Chain(ChainFault),
}

impl FindingKind {
    /// The number of this kind.
    pub const fn code(self) -> u8 {
        match self {
            Self::Stored(kind) => kind.code(),
            Self::Chain(fault) => fault as u8,
        }
    }

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::Stored(kind) => format!("{kind:?}"),
            Self::Chain(fault) => format!("{fault:?}"),
        }
    }
}

impl From<FaultKind> for FindingKind {
    fn from(kind: FaultKind) -> Self {
        Self::Stored(kind)
    }
}

impl From<ChainFault> for FindingKind {
    fn from(fault: ChainFault) -> Self {
        Self::Chain(fault)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(FaultKind::Locked) => {
                f.write_str("a node is running on this directory; stop it first, or verify a copy")
            }
            Self::Stored(kind) => kind.fmt(f),
            Self::Chain(fault) => fault.fmt(f),
        }
    }
}

/// What the check that failed says by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// The genesis decoder.
    Genesis(GenesisError),
    /// A payload's decoder, a registration's check, or the market.
    Reject(Reject),
    /// A signature's check.
    Signature(SignatureError),
    /// The market, of a block's header.
    Turn(BadTurn),
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Genesis(error) => error.fmt(f),
            Self::Reject(reject) => write!(f, "{}: {}", reject.name(), reject.text()),
            Self::Signature(error) => error.fmt(f),
            Self::Turn(why) => why.fmt(f),
        }
    }
}

/// A fault of a ledger and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The file it stands in.
    pub file: PathBuf,
    /// Byte offset in that file; of a record or a header, its frame's.
    pub offset: u64,
    /// Height of the block, if it stands in one.
    pub height: Option<u64>,
    /// Sequence number of the record, if it is one.
    pub seq: Option<u64>,
    /// What the check that failed says.
    pub detail: Option<Detail>,
}

impl Finding {
    pub(super) fn new(kind: impl Into<FindingKind>, file: impl Into<PathBuf>, offset: u64) -> Self {
        Self {
            kind: kind.into(),
            file: file.into(),
            offset,
            height: None,
            seq: None,
            detail: None,
        }
    }

    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        let missing = error.kind() == io::ErrorKind::NotFound;
        Self::new(
            if missing {
                FaultKind::Missing
            } else {
                FaultKind::Unreadable
            },
            file,
            0,
        )
    }

    pub(super) fn at_height(self, height: u64) -> Self {
        Self {
            height: Some(height),
            ..self
        }
    }

    pub(super) fn in_record(self, seq: u64) -> Self {
        Self { seq: Some(seq), ..self }
    }

    pub(super) fn because(self, detail: Detail) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.kind),
            None => self.kind.to_string(),
        }
    }
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        Self {
            height: fault.height,
            ..Self::new(fault.kind, fault.file, fault.offset)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, offset {}", self.file.display(), self.offset)?;
        if let Some(height) = self.height {
            write!(f, ", block {height}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", record {seq}")?;
        }
        write!(f, ": {} (fault {})", self.message(), self.kind.code())
    }
}

impl std::error::Error for Finding {}
