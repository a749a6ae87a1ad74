//! The binary feed: what is signed, how it is framed, and how a client speaks it.
//!
//! # Contents
//! * [`signed`]: every byte layout a participant or genesis signs or hashes (PROTOCOL 3), and the records of the log.
//! * [`keys`]: derivation of secrets, BLS and Ed25519 signing and checking of single signatures.
//! * [`sbe`]: the SBE schema and codec of the messages, inbound and outbound.
//! * [`soupbin`]: SoupBinTCP 3.0 framing, without I/O.
//! * [`moldudp`]: MoldUDP64 framing, without I/O.
//! * [`arbiter`]: one stream out of lossy lines, without I/O; [`subscriber`]: the public stream over UDP.
//! * [`book`]: the books that the public stream tells, from the beginning or from a snapshot.
//! * [`client`]: a blocking client over TCP, with the feature `tls` under TLS 1.3 too (`tls`); [`recording`]: a session in a file.
//! * [`layout`]: the tables from which structs, size proofs, checks and the schema are made.
//!
//! # Invariants
//! * Decoders take bytes of strangers: they never panic, allocate at most what the input's length justifies, and
//!   accept exactly one encoding of a value.
//! * Only this room knows pseudonyms; nothing outside the tables knows an offset.

#[cfg(target_endian = "big")]
compile_error!("layouts are little-endian casts; a big-endian port needs conversions");

pub mod arbiter;
pub mod book;
pub mod client;
mod connection;
pub mod keys;
#[macro_use]
pub mod layout;
pub mod moldudp;
pub mod recording;
pub mod sbe;
pub mod signed;
pub mod soupbin;
pub mod subscriber;
#[cfg(feature = "tls")]
pub mod tls;
