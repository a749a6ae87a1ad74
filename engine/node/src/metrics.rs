//! Metrics: counters and gauges of a running node, in the OpenMetrics text format that Prometheus reads, over HTTP/1.0 on
//! an address of the configuration.
//!
//! # Invariants
//! * Counting is one relaxed atomic operation on a handle; nothing is looked up, locked or allocated for it.
//! * Reading never waits for a stage, nor a stage for a reader.
//! * One request is answered at a time, within [`REQUEST_SIZE_MAX`] bytes and [`REQUEST_TIMEOUT`]; the connection ends with
//!   the answer.

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What only grows.
pub type Counter = prometheus_client::metrics::counter::Counter<u64>;
/// What comes and goes.
pub type Gauge = prometheus_client::metrics::gauge::Gauge<i64>;

/// Longest request read, bytes.
pub const REQUEST_SIZE_MAX: usize = 4_096;
/// Longest time from accepting a reader to being done with it.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// The metrics of one node; clones are handles of the same.
///
/// Names are registered once, before a stage runs: `wattbook_STAGE_WHAT`, without the `_total` that the format adds to
/// counters.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Registers a counter; `help` is a sentence without its full stop.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.registry(|registry| registry.register(name, help, counter.clone()));
        counter
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.registry(|registry| registry.register(name, help, gauge.clone()));
        gauge
    }

    /// Registers one counter for each value of a label.
    pub fn counters(&self, name: &str, help: &str, label: &'static str, values: &[&str]) -> Vec<Counter> {
        let family = prometheus_client::metrics::family::Family::<[(&'static str, String); 1], Counter>::default();
        let counters = values.iter().map(|value| {
            let labels = [(label, (*value).to_owned())];
            family.get_or_create(&labels).clone()
        });
        let counters = counters.collect();
        self.registry(|registry| registry.register(name, help, family.clone()));
        counters
    }

    /// Everything registered, as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.registry(|registry| encode(&mut text, registry));
        text
    }

    fn registry<R>(&self, then: impl FnOnce(&mut Registry) -> R) -> R {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A running endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Serves these metrics at `addr` until dropped.
    ///
    /// # Errors
    /// The system's answer to binding or to starting a thread.
    pub fn start(metrics: Metrics, addr: SocketAddr) -> io::Result<Self> {
        let mut listener = TcpListener::bind(addr)?;
        let addr = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let run = move || serve(poll, &listener, &metrics);
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(run)?;
        Ok(Self {
            addr,
            waker,
            thread: Some(thread),
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn serve(mut poll: Poll, listener: &TcpListener, metrics: &Metrics) {
    let mut events = Events::with_capacity(8);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                tracing::warn!(%error, "metrics are no longer served");
                return;
            }
            _ => {}
        }
        if events.iter().any(|event| event.token() == WAKER) {
            return;
        }
        while let Ok((stream, _)) = listener.accept() {
            // A reader that fails only loses its answer.
            let _ = answer(stream.into(), metrics);
        }
    }
}

/// Reads one request and answers it.
fn answer(mut stream: TcpStream, metrics: &Metrics) -> io::Result<()> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let (mut request, mut len) = ([0; REQUEST_SIZE_MAX], 0);
    let head = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || len == request.len() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut request[len..])? {
            0 => return Ok(()),
            read => len += read,
        }
        if let Some(end) = request[..len].windows(4).position(|four| four == b"\r\n\r\n") {
            break &request[..end];
        }
    };
    let (status, body) = match head.split(|byte| *byte == b'\r').next() {
        Some(line) if line.starts_with(b"GET /metrics ") || line.starts_with(b"GET / ") => ("200 OK", metrics.render()),
        Some(line) if line.starts_with(b"GET ") => ("404 Not Found", "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let kind = match status {
        "200 OK" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Reads the metrics of a node as text.
///
/// # Errors
/// The system's answer, or [`ErrorKind::InvalidData`] where something else answers.
pub fn fetch(addr: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, REQUEST_TIMEOUT)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {addr}\r\n\r\n")?;
    let mut answer = String::new();
    // BOUND: no registry of ours comes near this.
    stream.take(1 << 24).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.0 200 ") => Ok(body.to_owned()),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> (Metrics, Endpoint) {
        let metrics = Metrics::default();
        let endpoint = Endpoint::start(metrics.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        (metrics, endpoint)
    }

    #[test]
    fn what_was_counted_is_served() {
        let (metrics, endpoint) = endpoint();
        let taken = metrics.counter("wattbook_test_taken", "Messages taken");
        let open = metrics.gauge("wattbook_test_open", "Sessions now");
        let refused = metrics.counters("wattbook_test_refused", "Refusals", "why", &["late", "early"]);
        taken.inc_by(3);
        open.set(-2);
        refused[1].inc();
        let text = fetch(endpoint.addr).unwrap();
        for line in [
            "# HELP wattbook_test_taken Messages taken.",
            "# TYPE wattbook_test_taken counter",
            "wattbook_test_taken_total 3",
            "wattbook_test_open -2",
            "wattbook_test_refused_total{why=\"late\"} 0",
            "wattbook_test_refused_total{why=\"early\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn bad_requests_end_and_the_next_is_served() {
        let (_, endpoint) = endpoint();
        let ask = |request: &[u8]| {
            let mut stream = TcpStream::connect(endpoint.addr).unwrap();
            // The endpoint may have answered and closed before everything is written.
            let _ = stream.write_all(request);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        };
        assert!(ask(b"POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405 "));
        assert!(ask(b"GET /etc/passwd HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404 "));
        assert_eq!(ask(&[b'x'; REQUEST_SIZE_MAX]), "");
        assert!(fetch(endpoint.addr).unwrap().ends_with("# EOF\n"));
    }
}
