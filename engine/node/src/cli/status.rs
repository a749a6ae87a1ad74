//! `wattbook status`: the metrics of a running node, for people.

use crate::metrics;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Prints the metrics of a running node.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The node's `metrics.listen`.
    #[arg(long, value_name = "ADDR")]
    addr: SocketAddr,
    /// Print them as the endpoint gives them.
    #[arg(long)]
    raw: bool,
    /// Only those whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    match metrics::fetch(args.addr) {
        Ok(text) if args.raw => super::verify::emit(&text),
        Ok(text) => super::verify::emit(&table(&text, &args.only)),
        Err(error) => super::fail(&format_args!(
            "no metrics at {}: {error}; is `metrics.listen` of the node's configuration this address?",
            args.addr
        )),
    }
}

/// One line a metric: name, value, what it is.
fn table(text: &str, only: &str) -> String {
    let mut help = BTreeMap::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        match line.strip_prefix('#') {
            Some(comment) => {
                if let Some((name, says)) = comment.strip_prefix(" HELP ").and_then(|rest| rest.split_once(' ')) {
                    help.insert(name, says);
                }
            }
            None => rows.extend(line.rsplit_once(' ')),
        }
    }
    rows.retain(|(name, _)| name.contains(only));
    let name_len = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let value_len = rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in rows {
        let family = name.split('{').next().unwrap_or(name);
        let says = help.get(family).or_else(|| help.get(family.trim_end_matches("_total")));
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:name_len$}  {value:>value_len$}  {}", says.unwrap_or(&""));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_metric() {
        let metrics = metrics::Metrics::default();
        metrics.counter("wattbook_a", "First").inc();
        metrics.gauge("wattbook_long", "Second").set(12);
        metrics.counters("wattbook_c", "Third", "why", &["x"])[0].inc();
        let lines = "wattbook_a_total            1  First.\n\
                     wattbook_long              12  Second.\n\
                     wattbook_c_total{why=\"x\"}   1  Third.\n";
        assert_eq!(table(&metrics.render(), ""), lines);
        assert_eq!(table(&metrics.render(), "long"), "wattbook_long  12  Second.\n");
    }
}
