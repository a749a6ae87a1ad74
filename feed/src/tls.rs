//! TLS 1.3 for a client: which certificates it trusts, and the handshake.
//!
//! # Invariants
//! * Nothing is sent to a node whose certificate does not lead to a trusted one, or carries another name.
//! * TLS 1.3 and nothing earlier.

use crate::connection::Connection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a client and a node do not come together under TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates cannot be read, or is not what it should be.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A file of certificates holds none.
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// A certificate or a connection of which no use can be made; a node's certificate that is not trusted.
    #[error("TLS: {0}")]
    Refused(#[from] rustls::Error),
    /// What should be a node's name is none.
    #[error("{0:?} is no name that a certificate could carry")]
    Name(String),
}

/// Which certificates a client trusts to name a node.
#[derive(Clone, Debug)]
pub struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts the certificates of a PEM file: the node's own, or those of whoever signs it.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_file(path: &Path) -> Result<Self, TlsError> {
        let failed = |source| TlsError::File {
            path: path.to_owned(),
            source,
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
            roots.add(certificate.map_err(failed)?)?;
        }
        if roots.is_empty() {
            return Err(TlsError::Empty(path.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Shakes hands with the node of this name, until `deadline`.
    pub(crate) fn greet(&self, mut socket: TcpStream, name: &str, deadline: Instant) -> io::Result<Connection> {
        let refused = |error: TlsError| io::Error::new(ErrorKind::InvalidData, error);
        let server = ServerName::try_from(name.to_owned()).map_err(|_| refused(TlsError::Name(name.to_owned())))?;
        let mut connection =
            ClientConnection::new(Arc::clone(&self.config), server).map_err(|error| refused(error.into()))?;
        while connection.is_handshaking() {
            while connection.wants_write() {
                connection.write_tls(&mut socket)?;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            match connection.read_tls(&mut socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
            if let Err(error) = connection.process_new_packets() {
                // The node is told why; that it may not hear it changes nothing.
                let _ = connection.write_tls(&mut socket);
                return Err(refused(error.into()));
            }
            if Instant::now() >= deadline && connection.is_handshaking() {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(Connection::Tls(Box::new(StreamOwned::new(connection, socket))))
    }
}

/// The host of `host:port`.
pub(crate) fn host_of(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        for (addr, host) in [
            ("node.example:7411", "node.example"),
            ("[::1]:7411", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(host_of(addr), host);
        }
    }

    #[test]
    fn files_that_hold_no_certificate_are_named() {
        let missing = Path::new("no/such/file.pem");
        assert!(matches!(Trust::from_file(missing), Err(TlsError::File { .. })));
        let empty = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(matches!(Trust::from_file(empty), Err(TlsError::Empty(_))));
    }
}
