//! The report as one self-contained page: no script, no font, no image from elsewhere.
#![expect(clippy::float_arithmetic, reason = "a measurement's presentation, not state")]

use crate::arrivals::Arrivals;
use crate::cpu;
use crate::feed::{Capacity, Report, Run};
use crate::load::Latencies;
use crate::receive::Interval;
use crate::report::{Figure, PERCENTILES};
use std::fmt::Write as _;

const STYLE: &str = include_str!("report.css");
/// Colours of the rates, cool to hot.
const HEAT: [&str; 6] = ["#2b83ba", "#4fa9a4", "#8cc06b", "#e0b13c", "#ec7a3c", "#d7304f"];
/// Colours of the stages.
const STAGES: [&str; 10] = [
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#9c755f", "#ff9da7", "#bab0ac",
];

/// The page.
pub(crate) fn page(report: &Report, figures: &[Figure]) -> String {
    let (commit, machine, when) = report.made();
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Wattbook: the feed, measured</title><style>{STYLE}</style><main>\
         <header><h1>The feed, measured</h1><p>commit <code>{}</code> &middot; {} &middot; {} &middot; {} clients</p></header>",
        text(&commit),
        text(&machine),
        text(&when),
        report.clients
    );
    tiles(&mut page, report, figures);
    if !report.warnings.is_empty() {
        page += "<section class=warn><h2>Read this first</h2><ul>";
        for warning in &report.warnings {
            let _ = write!(page, "<li>{}</li>", text(warning));
        }
        page += "</ul></section>";
    }
    for capacity in &report.capacities {
        let runs: Vec<&Run> = report.runs.iter().filter(|run| run.leaves == capacity.leaves).collect();
        let _ = write!(
            page,
            "<section><h2>Envelopes of {}</h2><p>{} envelopes/s, {} quotes/s with a window; the verifier by itself does \
             {} envelopes/s.</p>",
            quotes(capacity.leaves),
            grouped(capacity.rate()),
            grouped(capacity.measured.per_second(capacity.measured.items())),
            grouped(capacity.verifier)
        );
        rates(&mut page, &runs);
        page += "<div class=pair>";
        curves(&mut page, "matched", &runs, |interval| &interval.matched);
        curves(&mut page, "durable", &runs, |interval| &interval.durable);
        page += "</div>";
        for run in runs.iter().filter(|run| run.arrivals == Arrivals::Peak) {
            over_time(&mut page, run, report.recorded_flow);
        }
        stages(&mut page, capacity);
        page += "</section>";
    }
    method(&mut page, report);
    page += "</main></html>\n";
    page
}

/// The figures one looks for first.
fn tiles(page: &mut String, report: &Report, figures: &[Figure]) {
    let find = |bench: &str, metric: &str| figures.iter().find(|f| f.bench == bench && f.metric == metric);
    page.push_str("<section class=tiles>");
    let mut tile = |name: &str, value: String, note: String| {
        let _ = write!(
            page,
            "<div><b>{value}</b><span>{name}</span><small>{note}</small></div>"
        );
    };
    for capacity in &report.capacities {
        let bench = format!("node/{}", capacity.leaves);
        if let Some(figure) = find(&bench, "quotes") {
            let share = find(&bench, "envelopes").and_then(|f| f.ratio);
            let note = share.map_or(String::new(), |(share, _)| {
                format!("{:.0} % of what the verifier does alone", share * 100.0)
            });
            tile(
                &format!("quotes/s, envelopes of {}", capacity.leaves),
                grouped(figure.value),
                note,
            );
        }
    }
    if let Some(figure) = find("latency/matched", "p99.9") {
        tile(
            "matched, p99.9 at half load",
            time(figure.value),
            "from the scheduled instant".to_owned(),
        );
    }
    if let Some(figure) = find("latency/durable", "added_p99") {
        let note = figure.ratio.map_or(String::new(), |(ratio, _)| {
            format!("{ratio:.2} times a bare fdatasync's")
        });
        tile("durable adds, p99", time(figure.value), note);
    }
    if let Some(figure) = find("node/64", "cpu_but_verification") {
        tile(
            "CPU a quote but verification",
            format!("{} ns", figure.value),
            "envelopes of 64".to_owned(),
        );
    }
    if let Some(ppm) = report.idle_ppm {
        tile(
            "of a core, idle",
            format!("{:.2} %", ppm as f64 / 1e4),
            "nobody connected".to_owned(),
        );
    }
    page.push_str("</section>");
}

/// Rate by percentile, shaded by magnitude.
fn rates(page: &mut String, runs: &[&Run]) {
    page.push_str("<table><thead><tr><th>offered<th>arrivals");
    for latency in ["matched", "durable"] {
        for (name, _) in PERCENTILES {
            let _ = write!(page, "<th>{latency}<br>{name}");
        }
    }
    page.push_str("<th>sent late<br>p99</thead><tbody>");
    for run in runs {
        let whole = &run.measured.taken.whole;
        let _ = write!(
            page,
            "<tr><th>{}/s<small>{} %</small><td>{}",
            grouped(run.rate.into()),
            run.percent,
            run.arrivals.name()
        );
        for latencies in [&whole.matched, &whole.durable] {
            for (_, quantile) in PERCENTILES {
                let value = latencies.value_at_quantile(quantile);
                let _ = write!(page, "<td class=n style='--h:{:.0}'>{}", heat(value), time(value));
            }
        }
        let _ = write!(page, "<td class=n>{}", time(run.measured.late.value_at_quantile(0.99)));
    }
    page.push_str("</tbody></table>");
}

/// Magnitude of a latency: 0 at 100 us, 100 at 10 s.
fn heat(nanos: u64) -> f64 {
    ((nanos.max(1) as f64).log10() - 5.0).clamp(0.0, 5.0) * 20.0
}

/// A plane with a logarithmic latency axis.
struct Plane {
    top: f64,
    bottom: f64,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 548.0;
const UPPER: f64 = 12.0;
const LOWER: f64 = 262.0;

impl Plane {
    fn over(values: impl Iterator<Item = u64> + Clone) -> Self {
        let least = values.clone().filter(|v| *v > 0).min().unwrap_or(1_000) as f64;
        let most = values.max().unwrap_or(1_000_000) as f64;
        let (bottom, top) = (least.log10().floor(), most.log10().ceil());
        Self {
            top: if top > bottom { top } else { bottom + 1.0 },
            bottom,
        }
    }

    fn y(&self, nanos: u64) -> f64 {
        let share = ((nanos.max(1) as f64).log10() - self.bottom) / (self.top - self.bottom);
        LOWER - share.clamp(0.0, 1.0) * (LOWER - UPPER)
    }

    fn begin(&self, page: &mut String, title: &str) {
        let _ = write!(
            page,
            "<figure><figcaption>{title}</figcaption><svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{title}'>"
        );
        let mut decade = self.bottom;
        while decade <= self.top {
            let nanos = 10f64.powf(decade) as u64;
            let y = self.y(nanos);
            let _ = write!(
                page,
                "<line class=grid x1={LEFT} x2={RIGHT} y1={y:.1} y2={y:.1} /><text x={:.1} y={:.1} text-anchor=end>{}</text>",
                LEFT - 6.0,
                y + 4.0,
                time(nanos)
            );
            decade += 1.0;
        }
    }
}

/// Latency by percentile, a line a rate; the axis gives each further nine as much room.
fn curves(page: &mut String, name: &str, runs: &[&Run], pick: fn(&Interval) -> &Latencies) {
    const NINES: f64 = 4.0;
    const TICKS: [(&str, f64); 6] = [
        ("50 %", 0.5),
        ("90 %", 0.9),
        ("99 %", 0.99),
        ("99.9 %", 0.999),
        ("99.99 %", 0.9999),
        ("0", 0.0),
    ];
    let x = |quantile: f64| {
        let nines = -(1.0 - quantile).max(1e-9).log10();
        LEFT + (nines / NINES).clamp(0.0, 1.0) * (RIGHT - LEFT)
    };
    let steps: Vec<f64> = (0..=120)
        .map(|i| 1.0 - 10f64.powf(-f64::from(i) * NINES / 120.0))
        .collect();
    let values = runs.iter().flat_map(|run| {
        let latencies = pick(&run.measured.taken.whole);
        [latencies.value_at_quantile(0.0), latencies.value_at_quantile(0.9999)]
    });
    let plane = Plane::over(values);
    plane.begin(page, &format!("{name}, by percentile"));
    for (label, quantile) in TICKS {
        let x = x(quantile);
        let _ = write!(
            page,
            "<line class=grid x1={x:.1} x2={x:.1} y1={UPPER} y2={LOWER} /><text x={x:.1} y={:.1} text-anchor=middle>{label}</text>",
            LOWER + 18.0
        );
    }
    for (i, run) in runs.iter().enumerate() {
        let latencies = pick(&run.measured.taken.whole);
        if latencies.is_empty() {
            continue;
        }
        let (colour, dash) = match run.arrivals {
            Arrivals::Peak => ("currentColor", " stroke-dasharray='5 4'"),
            _ => (HEAT[i.min(HEAT.len() - 1)], ""),
        };
        let _ = write!(
            page,
            "<polyline fill=none stroke='{colour}' stroke-width=2{dash} points='"
        );
        for quantile in &steps {
            let _ = write!(
                page,
                "{:.1},{:.1} ",
                x(*quantile),
                plane.y(latencies.value_at_quantile(*quantile))
            );
        }
        let _ = write!(
            page,
            "'><title>{}/s, {}: p99 {}</title></polyline>",
            grouped(run.rate.into()),
            run.arrivals.name(),
            time(latencies.value_at_quantile(0.99))
        );
    }
    page.push_str("</svg><p class=key>");
    for (i, run) in runs.iter().enumerate() {
        let colour = match run.arrivals {
            Arrivals::Peak => "currentColor",
            _ => HEAT[i.min(HEAT.len() - 1)],
        };
        let _ = write!(
            page,
            "<span><i style='background:{colour}'></i>{} % {}</span>",
            run.percent,
            match run.arrivals {
                Arrivals::Peak => "peak",
                _ => "",
            }
        );
    }
    page.push_str("</p></figure>");
}

/// A run by the second: answers as bars, p99 of matched and durable as lines.
fn over_time(page: &mut String, run: &Run, recorded: bool) {
    let intervals = &run.measured.taken.intervals;
    let values = intervals
        .iter()
        .flat_map(|interval| [&interval.matched, &interval.durable])
        .filter(|latencies| !latencies.is_empty())
        .flat_map(|latencies| [latencies.value_at_quantile(0.5), latencies.value_at_quantile(0.99)]);
    let plane = Plane::over(values);
    let shape = if recorded {
        "recorded order flow"
    } else {
        "a made-up gate closure"
    };
    plane.begin(
        page,
        &format!("A peak hour of {shape} at {} %, second by second", run.percent),
    );
    let most = intervals
        .iter()
        .map(|interval| interval.matched.len())
        .max()
        .unwrap_or(1)
        .max(1) as f64;
    let step = (RIGHT - LEFT) / intervals.len().max(1) as f64;
    for (i, interval) in intervals.iter().enumerate() {
        let height = interval.matched.len() as f64 / most * (LOWER - UPPER) * 0.9;
        let _ = write!(
            page,
            "<rect class=bar x={:.1} y={:.1} width={:.1} height={height:.1}><title>second {i}: {} envelopes</title></rect>",
            LEFT + step * i as f64 + step * 0.1,
            LOWER - height,
            step * 0.8,
            interval.matched.len()
        );
    }
    let mut line = |pick: fn(&Interval) -> &Latencies, colour: &str| {
        let _ = write!(page, "<polyline fill=none stroke='{colour}' stroke-width=2 points='");
        for (i, interval) in intervals.iter().enumerate() {
            let latencies = pick(interval);
            if !latencies.is_empty() {
                let x = LEFT + step * (i as f64 + 0.5);
                let _ = write!(page, "{x:.1},{:.1} ", plane.y(latencies.value_at_quantile(0.99)));
            }
        }
        page.push_str("'/>");
    };
    line(|interval| &interval.matched, HEAT[0]);
    line(|interval| &interval.durable, HEAT[4]);
    let _ = write!(
        page,
        "</svg><p class=key><span><i style='background:{}'></i>matched p99</span><span><i style='background:{}'></i>durable \
         p99</span><span><i class=bar></i>envelopes answered</span></p></figure>",
        HEAT[0], HEAT[4]
    );
}

/// Processor time a quote, by thread of the node.
fn stages(page: &mut String, capacity: &Capacity) {
    let mut stages = capacity.stages();
    let total: u64 = stages.iter().map(|(_, time)| time).sum();
    if total == 0 {
        return;
    }
    stages.sort_by_key(|(name, time)| (cpu::is_verification(name), u64::MAX - time));
    let _ = write!(
        page,
        "<h3>Where {total} ns of processor time a quote go</h3><p>{} ns of them are not verification. Threads of the node, \
         by the kernel's account.</p><div class=stack>",
        capacity.but_verification()
    );
    for (i, (name, time)) in stages.iter().enumerate() {
        let share = *time as f64 / total as f64 * 100.0;
        let _ = write!(
            page,
            "<i style='flex:{share:.2};background:{}' title='{}: {time} ns'></i>",
            STAGES[i % STAGES.len()],
            text(name)
        );
    }
    page.push_str("</div><p class=key>");
    for (i, (name, time)) in stages.iter().enumerate() {
        let colour = STAGES[i % STAGES.len()];
        let _ = write!(
            page,
            "<span><i style='background:{colour}'></i>{} {time} ns</span>",
            text(name)
        );
    }
    page.push_str("</p>");
}

fn method(page: &mut String, report: &Report) {
    let bare = &report.bare;
    let _ = write!(
        page,
        "<section><h2>How</h2><p>Instants of sending are fixed before each run; a latency begins at the scheduled instant, so \
         whoever falls behind is charged for it. Envelopes are signed ahead, by {} keys. <b>Matched</b> is the last verdict of \
         an envelope, <b>durable</b> the watermark that covers its record. The capacity is found with a window of unanswered \
         envelopes a client and gives no latencies. Generator and node share this machine. Each open loop lasts {} s.</p>",
        report.clients, report.seconds
    );
    if !bare.is_empty() {
        let _ = write!(
            page,
            "<p>Bare <code>fdatasync</code> of {} bytes on the same disk, before and after: p50 {}, p99 {}.</p>",
            grouped(report.bare_len),
            time(bare.value_at_quantile(0.5)),
            time(bare.value_at_quantile(0.99))
        );
    }
    page.push_str(
        "<p>The node runs with its default configuration: batches of at most 4,096 envelopes or 2 ms. HdrHistogram logs \
         (<code>.hlog</code>) and percentile tables (<code>.hgrm</code>) of every run lie beside this page. Made by \
         <code>make bench-feed</code>.</p></section>",
    );
}

/// "64 quotes", "1 quote".
fn quotes(leaves: u32) -> String {
    if leaves == 1 {
        "1 quote".to_owned()
    } else {
        format!("{leaves} quotes")
    }
}

/// A time with three digits and its unit.
fn time(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "&micro;s"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    let number = format!("{value:.digits$}");
    let short = number.trim_end_matches('0').trim_end_matches('.');
    let number = if number.contains('.') { short } else { &number };
    format!("{number} {unit}")
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text in a page.
fn text(raw: &str) -> String {
    raw.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(1_000), "1 &micro;s");
        assert_eq!(time(1_500_000), "1.5 ms");
        assert_eq!(time(100_000_000), "100 ms");
        assert_eq!(time(2_340_000_000), "2.34 s");
        assert_eq!(text("<a & 'b'>"), "&lt;a &amp; &#39;b&#39;&gt;");
    }

    #[test]
    fn the_axis_holds_every_value() {
        let plane = Plane::over([40_000, 3_000_000].into_iter());
        assert!(plane.y(40_000) <= LOWER && plane.y(3_000_000) >= UPPER);
        assert!(plane.y(40_000) > plane.y(3_000_000));
        assert!(plane.y(0) <= LOWER);
    }
}
