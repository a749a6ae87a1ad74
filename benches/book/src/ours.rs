//! Our rows: what stands beside the base and the rivals.
//!
//! # Rows
//! `book/standard/events`, `book/standard/silent`, `book/standard/range-either`, `book/standard/range-own`,
//! `book/deep/events`, `book/wide/events`, `book/jumps/events` on flows; `book/memory` alone. `core/commands` is in
//! [`market`](crate::market), `round/200k` and `round/2m` in [`round`](crate::round).

use crate::base;
use crate::flow::{Flow, Prices};
use crate::measure::Contender;
use crate::report::Figure;
#[cfg(feature = "rivals")]
use crate::rivals;

/// Everything that runs on a flow, the base first.
pub(crate) fn contenders<'a>(flow: &'a Flow, percentiles: &'a [u32]) -> Vec<Contender<'a>> {
    let mut contenders = Vec::new();
    if flow.shape.prices == Prices::Dense {
        contenders.push(base::contender::<true>(flow));
        contenders.push(base::contender::<false>(flow));
    }
    let of_flow = match flow.shape.name {
        "standard" => vec![
            book::standard_events(flow),
            book::standard_silent(flow),
            book::standard_range_either(flow, percentiles),
            book::standard_range_own(flow, percentiles),
        ],
        "deep" => vec![book::deep_events(flow)],
        "wide" => vec![book::wide_events(flow)],
        _ => vec![book::jumps_events(flow)],
    };
    contenders.extend(of_flow.into_iter().flatten());
    #[cfg(feature = "rivals")]
    contenders.extend(rivals::contenders(flow));
    contenders
}

/// Figures of the book that are no speed.
pub(crate) fn figures(flow: &Flow) -> Vec<Figure> {
    book::memory(flow)
}

/// The book of `wattbook-book`: each function is one row, `None` until that crate is here. A row that is `None` is neither
/// shown nor recorded.
mod book {
    use super::{Contender, Figure, Flow};

    /// `book/standard/events`: a record per acknowledgement and trade into a buffer of the caller.
    pub(super) fn standard_events(_flow: &Flow) -> Option<Contender<'_>> {
        None
    }

    /// `book/standard/silent`: the same without records.
    pub(super) fn standard_silent(_flow: &Flow) -> Option<Contender<'_>> {
        None
    }

    /// `book/standard/range-either`: owners' ranges by `percentiles`, one of the two must reach the other.
    pub(super) fn standard_range_either<'a>(_flow: &'a Flow, _percentiles: &'a [u32]) -> Option<Contender<'a>> {
        None
    }

    /// `book/standard/range-own`: the incoming order's owner must reach the other.
    pub(super) fn standard_range_own<'a>(_flow: &'a Flow, _percentiles: &'a [u32]) -> Option<Contender<'a>> {
        None
    }

    /// `book/deep/events`.
    pub(super) fn deep_events(_flow: &Flow) -> Option<Contender<'_>> {
        None
    }

    /// `book/wide/events`.
    pub(super) fn wide_events(_flow: &Flow) -> Option<Contender<'_>> {
        None
    }

    /// `book/jumps/events`.
    pub(super) fn jumps_events(_flow: &Flow) -> Option<Contender<'_>> {
        None
    }

    /// `book/memory`: bytes a resting order by the book's own account, and growth of the resident set over 10^8 operations:
    /// the standard flow again and again, [`Flow::resting`] cancelled in between.
    pub(super) fn memory(_flow: &Flow) -> Vec<Figure> {
        Vec::new()
    }
}
