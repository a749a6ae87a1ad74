//! The backend that asks which sockets are ready, on any system: mio.

use super::SessionId;
use super::seats::{Numbers, Seats};
use super::transport::{Bell, Chunk, Happened, Transport};
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

const LISTENER: Token = Token(usize::MAX);
const BELL: Token = Token(usize::MAX - 1);
/// Bytes read from one socket before the next gets its turn.
const READ_SIZE: usize = 256 << 10;
/// A connection's queue that was longer is given back to the system once it is empty.
const QUEUE_KEPT: usize = 16 << 10;

/// The backend.
#[derive(Debug)]
pub(super) struct Ready {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    bell: Arc<Bell>,
    numbers: Numbers,
    connections: Seats<Connection>,
    open: usize,
    connections_max: usize,
    happened: VecDeque<Happened>,
    /// Connections that may have more to read.
    readable: VecDeque<SessionId>,
    /// Connections with something to send that have not been tried.
    writable: Vec<SessionId>,
    buffer: Vec<u8>,
    is_lent: bool,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    is_readable: bool,
    is_writable: bool,
    is_closing: bool,
    /// The peer has been told that nothing more comes.
    is_finished: bool,
}

impl Ready {
    /// Takes over a bound listener.
    pub(super) fn open(listener: std::net::TcpListener, bell: Arc<Bell>, connections_max: usize) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let event = bell.as_fd().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&event), BELL, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1_024),
            listener,
            bell,
            numbers: Numbers::default(),
            connections: Seats::default(),
            open: 0,
            connections_max,
            happened: VecDeque::new(),
            readable: VecDeque::new(),
            writable: Vec::new(),
            buffer: vec![0; READ_SIZE],
            is_lent: false,
        })
    }

    fn accept(&mut self) {
        loop {
            let (mut stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    return;
                }
            };
            if self.open >= self.connections_max {
                continue;
            }
            let Some(id) = self.numbers.take() else { continue };
            let _ = stream.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut stream, Token(id as usize), interest) {
                tracing::warn!(%error, "a connection could not be registered");
                self.numbers.free(id);
                continue;
            }
            let connection = Connection {
                stream,
                out: Vec::new(),
                sent: 0,
                is_readable: true,
                is_writable: false,
                is_closing: false,
                is_finished: false,
            };
            self.connections.put(id, connection);
            self.open += 1;
            self.readable.push_back(id);
            self.happened.push_back(Happened::Opened(id, peer.ip()));
        }
    }

    /// Writes what a connection has queued, as far as its socket takes it.
    fn write(&mut self, id: SessionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.is_writable = false;
        let is_over = loop {
            if connection.sent == connection.out.len() {
                connection.sent = 0;
                connection.out.clear();
                connection.out.shrink_to(QUEUE_KEPT);
                if connection.is_closing && !connection.is_finished {
                    connection.is_finished = true;
                    // What was sent would be lost if the connection closed with bytes unread.
                    break connection.stream.shutdown(Shutdown::Write).is_err();
                }
                break false;
            }
            match connection.stream.write(&connection.out[connection.sent..]) {
                Ok(0) => break true,
                Ok(written) => connection.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if connection.sent > 1 << 20 {
                        connection.out.drain(..connection.sent);
                        connection.sent = 0;
                    }
                    break false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        if is_over {
            self.end(id);
        }
    }

    /// A connection is over by itself.
    fn end(&mut self, id: SessionId) {
        if self.connections.get(id).is_some() {
            self.close(id);
            self.happened.push_back(Happened::Closed(id));
        }
    }

    /// Reads the next socket that may have something.
    fn read(&mut self) -> Option<Happened> {
        while let Some(id) = self.readable.pop_front() {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            connection.is_readable = false;
            let read = loop {
                match connection.stream.read(&mut self.buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            match read {
                Ok(0) => {
                    self.close(id);
                    return Some(Happened::Closed(id));
                }
                Ok(len) => {
                    // A read that did not fill the buffer has emptied the socket: what comes later is told anew.
                    if len == self.buffer.len() {
                        connection.is_readable = true;
                        self.readable.push_back(id);
                    }
                    self.is_lent = true;
                    let (buffer, start) = (0, 0);
                    return Some(Happened::Received(
                        id,
                        Chunk {
                            buffer,
                            start,
                            end: len,
                        },
                    ));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.close(id);
                    return Some(Happened::Closed(id));
                }
            }
        }
        None
    }
}

impl Transport for Ready {
    fn name(&self) -> &'static str {
        "mio"
    }

    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        let mut writable = std::mem::take(&mut self.writable);
        let before = self.happened.len();
        for id in writable.drain(..) {
            self.write(id);
        }
        self.writable = writable;
        let is_news = self.happened.len() > before;
        let timeout = if is_news { Duration::ZERO } else { timeout };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                LISTENER => self.accept(),
                BELL => self.bell.drain(),
                Token(id) => {
                    let id = id as SessionId;
                    let Some(connection) = self.connections.get_mut(id) else {
                        continue;
                    };
                    let may_read = event.is_readable() || event.is_read_closed() || event.is_error();
                    if may_read && !connection.is_readable {
                        connection.is_readable = true;
                        self.readable.push_back(id);
                    }
                    if event.is_writable() && !connection.out.is_empty() {
                        self.write(id);
                    }
                }
            }
        }
        self.events = events;
        Ok(())
    }

    fn next(&mut self) -> Option<Happened> {
        if let Some(happened) = self.happened.pop_front() {
            return Some(happened);
        }
        if self.is_lent { None } else { self.read() }
    }

    fn has_more(&self) -> bool {
        !self.happened.is_empty() || (!self.is_lent && !self.readable.is_empty())
    }

    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        &self.buffer[chunk.start..chunk.end]
    }

    fn give_back(&mut self, _: Chunk) {
        self.is_lent = false;
    }

    fn send(&mut self, id: SessionId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| !connection.is_closing) {
            connection.out.extend_from_slice(bytes);
            if !connection.is_writable {
                connection.is_writable = true;
                self.writable.push(id);
            }
        }
    }

    fn unsent(&self, id: SessionId) -> usize {
        let connection = self.connections.get(id);
        connection.map_or(0, |connection| connection.out.len() - connection.sent)
    }

    fn is_sent(&self) -> bool {
        self.connections.iter().all(|(id, _)| self.unsent(id) == 0)
    }

    fn close_when_sent(&mut self, id: SessionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_closing = true;
            if !connection.is_writable {
                connection.is_writable = true;
                self.writable.push(id);
            }
        }
    }

    fn close(&mut self, id: SessionId) {
        if let Some(mut connection) = self.connections.remove(id) {
            let _ = self.poll.registry().deregister(&mut connection.stream);
            let _ = connection.stream.shutdown(Shutdown::Write);
            self.numbers.free(id);
            self.open -= 1;
        }
    }
}
