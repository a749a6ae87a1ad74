//! The process: the one place with threads, sockets, clocks and configuration.

pub mod cli;
