//! Placeholder.
pub mod round;
