//! The backend that is told what has been done: io_uring, with multishot accept and receive into buffers of a ring that
//! the kernel takes from, and one system call a turn for everything that is to be sent. The only room of this crate with
//! `unsafe`.
//!
//! # Invariants
//! * The kernel writes to a buffer only between its being put on the buffer ring and the completion that names it; bytes are
//!   looked at only from that completion until the buffer is put back.
//! * What is being sent stays unchanged and in place until its completion; a connection is freed once none of its requests
//!   is under way.
//! * A ring that cannot be drained when it is dropped leaks its memory.

#![allow(unsafe_code)]

use super::SessionId;
use super::seats::{ID_BITS, Numbers, Seats};
use super::transport::{Bell, Chunk, Happened, Transport};
use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use memmap2::MmapMut;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Requests that one system call takes; more are handed over in several.
const SUBMISSIONS: u32 = 1_024;
/// Completions the kernel has room for before it keeps them elsewhere.
const COMPLETIONS: u32 = 8_192;
/// Buffers to receive into; a power of two.
const BUFFERS: u16 = 128;
/// Size of each, bytes.
const BUFFER_SIZE: usize = 32 << 10;
/// Name of the group of buffers.
const GROUP: u16 = 0;
/// A connection's queue that was longer is given back to the system once it is empty.
const QUEUE_KEPT: usize = 16 << 10;
/// `POLLIN` of poll(2).
const POLL_IN: u32 = 1;
/// `MSG_NOSIGNAL` of send(2).
const NO_SIGNAL: i32 = 0x4000;
/// `SOCK_CLOEXEC` of accept4(2).
const CLOSE_ON_EXEC: i32 = 0o2_000_000;

/// What a completion is of; its session is in the lower bits.
mod request {
    pub(super) const ACCEPT: u64 = 1;
    pub(super) const BELL: u64 = 2;
    pub(super) const RECEIVE: u64 = 3;
    pub(super) const SEND: u64 = 4;
}

/// The backend.
pub(super) struct Uring {
    ring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<Buffers>,
    connections: ManuallyDrop<Seats<Connection>>,
    listener: TcpListener,
    bell: Arc<Bell>,
    numbers: Numbers,
    open: usize,
    connections_max: usize,
    happened: VecDeque<Happened>,
    /// Connections whose receive ended for want of buffers.
    starved: VecDeque<SessionId>,
    /// Connections with something queued and nothing on its way.
    writable: Vec<SessionId>,
    is_accepting: bool,
    is_listening_to_bell: bool,
    completed: Vec<cqueue::Entry>,
}

struct Connection {
    stream: TcpStream,
    /// On its way to the kernel, from `sent` on.
    going: Vec<u8>,
    sent: usize,
    queued: Vec<u8>,
    is_receiving: bool,
    is_sending: bool,
    is_writable: bool,
    is_closing: bool,
    /// The peer has been told that nothing more comes.
    is_finished: bool,
    /// Over for the session; it waits for its last completions.
    is_over: bool,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// Buffers, and the ring that the kernel takes them from.
struct Buffers {
    entries: MmapMut,
    bytes: MmapMut,
    tail: u16,
    /// Buffers that the kernel does not have.
    out: u16,
}

impl Buffers {
    fn new() -> io::Result<Self> {
        // Anonymous maps begin on a page, as the kernel asks of the entries.
        let entries = MmapMut::map_anon(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        let bytes = MmapMut::map_anon(usize::from(BUFFERS) * BUFFER_SIZE)?;
        let (tail, out) = (0, BUFFERS);
        Ok(Self {
            entries,
            bytes,
            tail,
            out,
        })
    }

    fn bytes(&self, buffer: u16, start: usize, end: usize) -> &[u8] {
        assert!(buffer < BUFFERS && start <= end && end <= BUFFER_SIZE);
        let offset = usize::from(buffer) * BUFFER_SIZE + start;
        // SAFETY: the range lies within the map, which lives as long as `self`. A completion has named this buffer and it has
        // not been put back, for that consumes the chunk that leads here, so the kernel does not write to it.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().add(offset), end - start) }
    }

    /// Gives a buffer to the kernel.
    fn put(&mut self, buffer: u16) {
        assert!(buffer < BUFFERS && self.out > 0);
        let at = usize::from(self.tail & (BUFFERS - 1));
        let base = self.entries.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `at` is below the number of entries that the map has room for; the kernel reads entries below the tail only,
        // and this one is at it. Any bytes are a valid entry. The tail lies in a reserved field of the first entry, which
        // setting address, length and id of an entry does not touch.
        unsafe {
            let entry = &mut *base.add(at);
            entry.set_addr(self.bytes.as_ptr().add(usize::from(buffer) * BUFFER_SIZE) as u64);
            entry.set_len(BUFFER_SIZE as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
        self.out -= 1;
    }
}

impl Uring {
    /// Takes over a bound listener, if the kernel can do all of it.
    pub(super) fn open(listener: TcpListener, bell: Arc<Bell>, connections_max: usize) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_clamp()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(SUBMISSIONS)?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut buffers = Buffers::new()?;
        let entries = buffers.entries.as_ptr() as u64;
        // SAFETY: the entries' map lives until the ring is dropped, or is leaked with it.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(entries, BUFFERS, GROUP, 0)?;
        }
        for buffer in 0..BUFFERS {
            buffers.put(buffer);
        }
        Ok(Self {
            ring: ManuallyDrop::new(ring),
            buffers: ManuallyDrop::new(buffers),
            connections: ManuallyDrop::new(Seats::default()),
            listener,
            bell,
            numbers: Numbers::default(),
            open: 0,
            connections_max,
            happened: VecDeque::new(),
            starved: VecDeque::new(),
            writable: Vec::new(),
            is_accepting: false,
            is_listening_to_bell: false,
            completed: Vec::with_capacity(COMPLETIONS as usize),
        })
    }

    /// Hands a request to the kernel with the next system call, or with one now where there is no room.
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: every request names a descriptor that this backend owns until the request has completed. Receives write
            // to buffers of the group; a send reads `going` of its connection, which is not touched until it has completed.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            match self.ring.submit() {
                Err(error) if !passes(&error) => return Err(error),
                _ => {}
            }
        }
    }

    fn receive(&mut self, id: SessionId) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        connection.is_receiving = true;
        let fd = Fd(connection.stream.as_raw_fd());
        let entry = opcode::RecvMulti::new(fd, GROUP).build();
        self.push(&entry.user_data(request::RECEIVE << ID_BITS | id))
    }

    /// Sends what a connection has queued, unless something is on its way.
    fn write(&mut self, id: SessionId) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        connection.is_writable = false;
        if connection.is_sending || connection.is_over {
            return Ok(());
        }
        if connection.sent == connection.going.len() {
            connection.sent = 0;
            connection.going.clear();
            connection.going.shrink_to(QUEUE_KEPT);
            std::mem::swap(&mut connection.going, &mut connection.queued);
            if connection.going.is_empty() {
                if connection.is_closing && !connection.is_finished {
                    connection.is_finished = true;
                    // What was sent would be lost if the connection closed with bytes unread.
                    let _ = connection.stream.shutdown(Shutdown::Write);
                }
                return Ok(());
            }
        }
        connection.is_sending = true;
        let rest = &connection.going[connection.sent..];
        let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let fd = Fd(connection.stream.as_raw_fd());
        let entry = opcode::Send::new(fd, rest.as_ptr(), len).flags(NO_SIGNAL).build();
        self.push(&entry.user_data(request::SEND << ID_BITS | id))
    }

    /// A connection is over by itself.
    fn end(&mut self, id: SessionId) {
        if self.connections.get(id).is_some_and(|connection| !connection.is_over) {
            self.close(id);
            self.happened.push_back(Happened::Closed(id));
        }
    }

    /// Frees a connection that is over once nothing of it is under way.
    fn free(&mut self, id: SessionId) {
        let is_idle =
            |connection: &Connection| connection.is_over && !connection.is_receiving && !connection.is_sending;
        if self.connections.get(id).is_some_and(is_idle) {
            self.connections.remove(id);
            self.numbers.free(id);
        }
    }

    fn accepted(&mut self, result: i32) -> io::Result<()> {
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            tracing::warn!(%error, "a connection could not be accepted");
            return Ok(());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let stream = unsafe { TcpStream::from_raw_fd(result) };
        let (true, Ok(peer)) = (self.open < self.connections_max, stream.peer_addr()) else {
            return Ok(());
        };
        let Some(id) = self.numbers.take() else { return Ok(()) };
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            stream,
            going: Vec::new(),
            sent: 0,
            queued: Vec::new(),
            is_receiving: false,
            is_sending: false,
            is_writable: false,
            is_closing: false,
            is_finished: false,
            is_over: false,
        };
        self.connections.put(id, connection);
        self.open += 1;
        self.happened.push_back(Happened::Opened(id, peer.ip()));
        self.receive(id)
    }

    fn received(&mut self, id: SessionId, result: i32, flags: u32) -> io::Result<()> {
        let buffer = cqueue::buffer_select(flags);
        if buffer.is_some() {
            self.buffers.out += 1;
        }
        let more = cqueue::more(flags);
        let Some(connection) = self.connections.get_mut(id) else {
            if let Some(buffer) = buffer {
                self.buffers.put(buffer);
            }
            return Ok(());
        };
        connection.is_receiving = more;
        let is_over = connection.is_over;
        match (usize::try_from(result), buffer) {
            (Ok(len), Some(buffer)) if len > 0 && !is_over => {
                let (start, end) = (0, len);
                self.happened
                    .push_back(Happened::Received(id, Chunk { buffer, start, end }));
            }
            (_, Some(buffer)) => self.buffers.put(buffer),
            _ => {}
        }
        if is_over {
            self.free(id);
        } else if result == -Errno::NOBUFS.raw_os_error() {
            self.starved.push_back(id);
        } else if result <= 0 {
            self.end(id);
        } else if !more {
            self.receive(id)?;
        }
        Ok(())
    }

    fn sent(&mut self, id: SessionId, result: i32) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        connection.is_sending = false;
        if connection.is_over {
            self.free(id);
        } else if result > 0 {
            connection.sent += result.unsigned_abs() as usize;
            self.write(id)?;
        } else if result == -Errno::INTR.raw_os_error() || result == -Errno::AGAIN.raw_os_error() {
            self.write(id)?;
        } else {
            self.end(id);
        }
        Ok(())
    }

    /// Whether enough buffers are back to receive into.
    fn has_buffers(&self) -> bool {
        self.buffers.out <= BUFFERS / 2
    }

    /// Takes the completions so far.
    fn take_completed(&mut self) -> io::Result<()> {
        let mut completed = std::mem::take(&mut self.completed);
        completed.extend(self.ring.completion());
        for entry in completed.drain(..) {
            let (user_data, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            let id = user_data & ((1 << ID_BITS) - 1);
            match user_data >> ID_BITS {
                request::ACCEPT => {
                    self.is_accepting = cqueue::more(flags);
                    self.accepted(result)?;
                }
                request::BELL => {
                    self.is_listening_to_bell = cqueue::more(flags);
                    self.bell.drain();
                }
                request::RECEIVE => self.received(id, result, flags)?,
                request::SEND => self.sent(id, result)?,
                _ => {}
            }
        }
        self.completed = completed;
        Ok(())
    }

    /// One system call: everything that waits goes, and what is done comes.
    fn enter(&mut self, timeout: Duration) -> io::Result<()> {
        let timespec = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&timespec);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Err(error) if !passes(&error) => Err(error),
            _ => self.take_completed(),
        }
    }
}

/// Whether a system call that failed so is tried again.
fn passes(error: &io::Error) -> bool {
    // ETIME: the wait is over. EBUSY: completions must be taken first.
    let passing = [Errno::TIME, Errno::INTR, Errno::BUSY, Errno::AGAIN];
    error
        .raw_os_error()
        .is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}

impl Transport for Uring {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        if !self.is_accepting {
            self.is_accepting = true;
            let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).flags(CLOSE_ON_EXEC);
            self.push(&entry.build().user_data(request::ACCEPT << ID_BITS))?;
        }
        if !self.is_listening_to_bell {
            self.is_listening_to_bell = true;
            let fd = Fd(self.bell.as_fd().as_raw_fd());
            let entry = opcode::PollAdd::new(fd, POLL_IN).multi(true);
            self.push(&entry.build().user_data(request::BELL << ID_BITS))?;
        }
        while self.has_buffers()
            && let Some(id) = self.starved.pop_front()
        {
            if self.connections.get(id).is_some_and(|connection| !connection.is_over) {
                self.receive(id)?;
            }
        }
        let mut writable = std::mem::take(&mut self.writable);
        let before = self.happened.len();
        for id in writable.drain(..) {
            self.write(id)?;
        }
        self.writable = writable;
        let is_news = self.happened.len() > before;
        let timeout = if is_news { Duration::ZERO } else { timeout };
        self.enter(timeout)
    }

    fn next(&mut self) -> Option<Happened> {
        self.happened.pop_front()
    }

    fn has_more(&self) -> bool {
        !self.happened.is_empty()
    }

    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.buffers.bytes(chunk.buffer, chunk.start, chunk.end)
    }

    fn give_back(&mut self, chunk: Chunk) {
        self.buffers.put(chunk.buffer);
    }

    fn send(&mut self, id: SessionId, bytes: &[u8]) {
        let is_open = |connection: &&mut Connection| !connection.is_closing && !connection.is_over;
        if let Some(connection) = self.connections.get_mut(id).filter(is_open) {
            connection.queued.extend_from_slice(bytes);
            if !connection.is_writable && !connection.is_sending {
                connection.is_writable = true;
                self.writable.push(id);
            }
        }
    }

    fn unsent(&self, id: SessionId) -> usize {
        let unsent = |connection: &Connection| connection.queued.len() + connection.going.len() - connection.sent;
        self.connections.get(id).map_or(0, unsent)
    }

    fn is_sent(&self) -> bool {
        let mut open = self.connections.iter().filter(|(_, connection)| !connection.is_over);
        open.all(|(id, _)| self.unsent(id) == 0)
    }

    fn close_when_sent(&mut self, id: SessionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_closing = true;
            if !connection.is_writable && !connection.is_sending {
                connection.is_writable = true;
                self.writable.push(id);
            }
        }
    }

    fn close(&mut self, id: SessionId) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| !connection.is_over) {
            connection.is_over = true;
            connection.queued = Vec::new();
            // Ends what is under way on this socket.
            let _ = connection.stream.shutdown(Shutdown::Both);
            self.open -= 1;
            self.free(id);
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let ids: Vec<SessionId> = self.connections.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.close(id);
        }
        for _ in 0..100 {
            if self.connections.iter().next().is_none() || self.enter(Duration::from_millis(10)).is_err() {
                break;
            }
            while let Some(happened) = self.happened.pop_front() {
                if let Happened::Received(_, chunk) = happened {
                    self.give_back(chunk);
                }
            }
        }
        if self.connections.iter().next().is_none() {
            // SAFETY: none of these is used after this. With no connection left no request names their memory, but for the
            // buffers' ring, which the kernel lets go of with the ring, dropped first.
            unsafe {
                ManuallyDrop::drop(&mut self.ring);
                ManuallyDrop::drop(&mut self.connections);
                ManuallyDrop::drop(&mut self.buffers);
            }
        }
    }
}
