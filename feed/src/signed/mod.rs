//! Byte layouts of everything that is signed (PROTOCOL 3). Little-endian, reserved bytes zero.

mod envelope;

pub use envelope::{ENVELOPE_VERSION, EnvelopeHeader, LEAF_SIZE, SIGNATURE_SIZE};
