//! A ledger as tables for analysts: records, items of envelopes, trades; as CSV, JSON lines or Parquet.
//!
//! # Contract
//! * One row a record, an item or a trade, in the ledger's order; the committed blocks, beside a live node or offline.
//! * Units stand in the names of columns. Times are nanoseconds since 1970, UTC; in Parquet they are timestamps.
//! * Trades are what executing the ledger gives; records and items are read, not executed.

mod rows;
mod sink;
mod table;

pub use rows::{ExportError, What, export};
pub use sink::Format;
