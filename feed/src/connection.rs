//! The bytes between a client and a node: in the clear, or under TLS 1.3 (feature `tls`).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection to a node.
#[derive(Debug)]
pub(crate) enum Connection {
    /// As they are.
    Clear(TcpStream),
    /// Under TLS, past its handshake.
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Connection {
    const fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// How long [`Self::read`] waits.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket().set_read_timeout(Some(timeout))
    }

    /// Reads what has come; 0 at the end.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(into),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => match stream.read(into) {
                // A peer that is gone says no goodbye.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }

    /// Sends all of it.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.write_all(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn say_goodbye(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(_) => Ok(()),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }
}
