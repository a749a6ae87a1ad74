//! What the stage shows of itself.

use crate::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::time::Instant;

/// What the stage shows of itself.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) height: Gauge,
    pub(super) epoch: Gauge,
    pub(super) is_delegate: Gauge,
    pub(super) waiting: Gauge,
    pub(super) ahead: Gauge,
    pub(super) proposed: Counter,
    pub(super) verified: Counter,
    pub(super) executed_us: Counter,
    pub(super) refused: Counter,
    pub(super) rollbacks: Counter,
    pub(super) revoked: Counter,
    pub(super) lost_terms: Counter,
    pub(super) offences: Counter,
    pub(super) damaged: Gauge,
    pub(super) mended: Counter,
    pub(super) claimed: Gauge,
    pub(super) certified: Counter,
    pub(super) overruled: Counter,
    pub(super) last: Option<Instant>,
    pub(super) interval_ms: Gauge,
    pub(super) finality_us: Gauge,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let gauge = |name: &str, help: &str| metrics.gauge(&format!("wattbook_replica_{name}"), help);
        let counter = |name: &str, help: &str| metrics.counter(&format!("wattbook_replica_{name}"), help);
        Self {
            height: gauge("final_height", "Last final block"),
            epoch: gauge("epoch", "Epoch under way"),
            is_delegate: gauge("delegate", "Whether this node votes in the epoch"),
            waiting: gauge("waiting", "Commands that no final block has yet"),
            ahead: gauge("ahead", "Blocks executed that are not final"),
            proposed: counter("proposed", "Blocks proposed here"),
            executed_us: counter(
                "executed_us",
                "Microseconds spent on checking and executing blocks of others",
            ),
            verified: counter("verified", "Blocks of others that were voted for"),
            refused: counter("refused", "Blocks of others that do not stand"),
            rollbacks: counter(
                "rollbacks",
                "Times that blocks were given up after they were executed here",
            ),
            revoked: counter("revoked", "Times that answers of grade matched were taken back"),
            lost_terms: counter("lost_terms", "Terms that were given up"),
            offences: counter("offences", "Delegates seen to break the rule of voting"),
            damaged: gauge(
                "damaged_blocks",
                "Blocks of the ledger that are damaged and wanted from peers",
            ),
            mended: counter(
                "mended_blocks",
                "Damaged blocks of the ledger that came back from peers",
            ),
            claimed: gauge("claimed", "Commands that wait and that delegates say they have seen"),
            certified: counter(
                "certified",
                "Commands that no block had, told to everybody with what shows that delegates have seen them",
            ),
            overruled: counter("overruled", "Refusals by leaders of what the market here takes"),
            last: None,
            interval_ms: gauge("interval_ms", "Milliseconds between the last two final blocks"),
            finality_us: gauge(
                "finality_us",
                "Microseconds from the time of the last final block to its delivery here",
            ),
        }
    }
}
