//! `wattbook export`: a ledger as a table.

use super::verify::emit;
use crate::export::{Format, What, export};
use crate::selection::Selection;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use wattbook_ledger::Reader;
use wattbook_types::TimeNs;

/// Writes trades, items or records as a table, beside a running node or offline.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the ledger.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder of the segments that `wattbook retain` moved off.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Which rows.
    #[arg(long, value_enum, default_value = "trades")]
    what: What,
    /// How to write them.
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Blocks from this time on, nanoseconds since 1970.
    #[arg(long, value_name = "NS", default_value_t = 0)]
    from_ns: u64,
    /// Blocks before this time, nanoseconds since 1970.
    #[arg(long, value_name = "NS", default_value_t = u64::MAX)]
    to_ns: u64,
    /// Only rows of these records; a trade is both sides' and its contract's.
    #[command(flatten)]
    selection: Selection,
    /// File to write (default: stdout); replaced only when the table is whole.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print what was written to the file as JSON.
    #[arg(long, requires = "out")]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    match written(args) {
        Ok(text) => emit(&text),
        Err(error) => super::fail(&error),
    }
}

fn written(args: &Args) -> Result<String, Box<dyn std::error::Error>> {
    let reader = Reader::open_in(&args.dir, args.archive.as_deref())?;
    super::say_left_over(&reader);
    let times = (TimeNs::new(args.from_ns), TimeNs::new(args.to_ns));
    let Some(path) = &args.out else {
        return match export(
            &reader,
            args.what,
            args.format,
            times,
            args.selection,
            BufWriter::new(io::stdout()),
        ) {
            Err(crate::export::ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(String::new()),
            outcome => Ok(outcome.map(|_| String::new())?),
        };
    };
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".part");
    let fresh = PathBuf::from(fresh);
    let place = |error: io::Error| format!("{}: {error}", fresh.display());
    let file = BufWriter::new(File::create(&fresh).map_err(place)?);
    let count = match export(&reader, args.what, args.format, times, args.selection, file) {
        Ok(count) => count,
        Err(error) => {
            // What was begun is of no use to anybody.
            let _ = std::fs::remove_file(&fresh);
            return Err(error.into());
        }
    };
    std::fs::rename(&fresh, path).map_err(place)?;
    Ok(if args.json {
        format!(
            "{}\n",
            serde_json::json!({ "rows": count, "file": path.display().to_string() })
        )
    } else {
        format!("{count} rows in {}\n", path.display())
    })
}
