//! Byte layouts of everything that is signed (PROTOCOL 3, DETAILS 1-2). Little-endian, reserved bytes zero.
//!
//! # Format
//! | layout | bytes | where |
//! |---|---|---|
//! | register R, meter M | 216, 32 | [`Register`], [`MeterEntry`] |
//! | envelope H | 72 | [`EnvelopeHeader`] |
//! | leaf L of kinds 1-17 | 48 | [`leaf`] |
//! | keys of a candidate, behind the leaves | 176 | [`candidacy`] |
//! | record payloads of kinds 1-4 | variable | [`RegisterRecord`], [`SealedEnvelope`], [`RevealRecord`], [`tick_payload`] |
//! | deal record | 96 | [`DealEntry`] |
//! | receipts, seen, committees, ballots | digests | [`receipt_digest`], [`seen_digest`], [`committee_digest`] |
//! | genesis.bin | variable | [`genesis`] |

mod alias;
pub mod candidacy;
mod codec;
mod deal;
mod delegate;
mod envelope;
pub mod genesis;
pub mod leaf;
mod logon;
mod register;
mod reveal;
mod sealed;

pub use alias::Alias;
pub use candidacy::{Attachment, CandidateKeys, encode_candidacy};
pub use codec::{
    EncodeError, decode_leaf, encode_cancel, encode_configure, encode_emission, encode_grid, encode_item,
    encode_market_order, encode_quote, encode_rate, encode_reading, encode_replace, encode_seal, encode_vote,
};
pub use deal::{DealEntry, deal_id, deals_digest};
pub use delegate::{ballot_namespace, committee_digest, receipt_digest, receipt_run, seen_digest};
pub use envelope::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
pub use genesis::{Genesis, GenesisAccount, GenesisDelegate, GenesisError};
pub use leaf::{Leaf, LeafBytes};
pub use logon::{Grade, logon_digest};
pub use register::{MeterEntry, Register, RegisterRecord, meters_root};
pub use reveal::{RevealRecord, seal_commitment};
pub use sealed::SealedEnvelope;

use wattbook_types::{Reject, TimeNs};

/// Kinds of the log's records, version 1.
pub mod record_kind {
    /// A registration: [`super::RegisterRecord`].
    pub const REGISTER: u16 = 1;
    /// An envelope: [`super::SealedEnvelope`].
    pub const ENVELOPE: u16 = 2;
    /// A reveal: [`super::RevealRecord`].
    pub const REVEAL: u16 = 3;
    /// Time: [`super::tick_payload`].
    pub const TICK: u16 = 4;
    /// Evidence against a delegate: whom it convicts, u64, and its two votes.
    pub const EVIDENCE: u16 = 5;
    /// Version of every kind above.
    pub const VERSION: u16 = 1;
}

/// Payload of a Tick: the time, u64.
pub const fn tick_payload(time: TimeNs) -> [u8; 8] {
    time.get().to_le_bytes()
}

/// The time of a Tick's payload.
pub fn decode_tick(payload: &[u8]) -> Result<TimeNs, Reject> {
    let bytes = payload.try_into().map_err(|_| length_reject(payload.len(), 8))?;
    Ok(TimeNs::new(u64::from_le_bytes(bytes)))
}

/// The answer to a payload of `len` bytes where `want` were due.
fn length_reject(len: usize, want: usize) -> Reject {
    if len < want {
        Reject::ShortFrame
    } else {
        Reject::MalformedMessage
    }
}
