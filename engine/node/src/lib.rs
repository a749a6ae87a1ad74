//! The process: the one place with threads, sockets, clocks and configuration.
//!
//! # Map
//! `topology` which stage runs where · `stage` the stages, one file each · `ring` what joins them · `execute` records to
//! state, the one path of node, `replay` and `verify` · `audit` those two · `restart` snapshots, and coming back from them · `mending` a damaged ledger, whole again from peers · `chain` a new one ·
//! `config`, `keys` what a node is given · `limits` what may come in · `metrics` what it counts · `cli` the commands ·
//! `notary` checkpoints and tiles · `pace` how fast that reads · `deal_proof` a contract for a third party ·
//! `selection` which records are asked for · `export` tables for analysts · `present` messages and records as lines of text or JSON.

pub mod audit;
pub mod chain;
pub mod cli;
pub mod config;
pub mod deal_proof;
pub mod demo;
pub mod evidence;
pub mod execute;
pub mod export;
pub mod keys;
pub mod light;
pub mod limits;
mod mending;
pub mod metrics;
pub mod notary;
pub mod pace;
pub mod present;
pub mod restart;
pub mod ring;
pub mod selection;
pub mod stage;
pub mod topology;
