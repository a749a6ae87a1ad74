//! The binary feed: what is signed, how it is framed, and how a client speaks it.

pub mod signed;
