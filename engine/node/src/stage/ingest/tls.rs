//! TLS 1.3 between the sockets and a session, without I/O, so that it is the same on both backends.

use crate::config;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Most bytes of plain text taken at a time; the rest stays in the connection.
const PLAIN_SIZE: usize = 64 << 10;

/// Why a node cannot speak TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("cannot use {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The key does not belong to the certificate, or neither can be used.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// What the node shows to those who connect.
///
/// # Errors
/// [`TlsError`].
pub fn server(settings: &config::Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::File { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&settings.certificate)
        .map_err(file(&settings.certificate))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(file(&settings.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(file(&settings.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(server))
}

/// One connection's end of TLS.
#[derive(Debug)]
pub(super) struct Channel {
    connection: ServerConnection,
    plain: Vec<u8>,
    at: usize,
}

impl Channel {
    /// A connection that has not greeted yet.
    pub(super) fn new(server: &Arc<ServerConfig>) -> Result<Box<Self>, rustls::Error> {
        Ok(Box::new(Self {
            connection: ServerConnection::new(Arc::clone(server))?,
            plain: Vec::new(),
            at: 0,
        }))
    }

    /// Takes bytes off `input` while no plain text waits; what must be answered is appended to `answers`, also with an error.
    ///
    /// # Errors
    /// What the peer did wrong; the connection is over.
    pub(super) fn take(&mut self, input: &mut &[u8], answers: &mut Vec<u8>) -> Result<(), rustls::Error> {
        self.plain.clear();
        self.at = 0;
        while self.plain.is_empty() {
            if self.read_plain() {
                break;
            }
            // Reading from memory fails only where the connection's buffer is full, which taking its text prevents.
            if input.is_empty() || !matches!(self.connection.read_tls(input), Ok(1..)) {
                break;
            }
            let processed = self.connection.process_new_packets();
            self.write_out(answers);
            processed?;
        }
        Ok(())
    }

    /// Plain text that has not been taken.
    pub(super) fn plain(&self) -> &[u8] {
        &self.plain[self.at..]
    }

    /// `len` bytes of it have been taken.
    pub(super) const fn taken(&mut self, len: usize) {
        self.at += len;
    }

    /// Gives back memory that an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if self.plain().is_empty() {
            self.plain = Vec::new();
            self.at = 0;
        }
    }

    /// Encrypts what is said; what goes on the wire is appended to `out`.
    pub(super) fn say(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        // The connection's own buffer is bounded, so it is emptied as it fills.
        while !bytes.is_empty() {
            match self.connection.writer().write(bytes) {
                Ok(0) | Err(_) => return,
                Ok(len) => bytes = &bytes[len..],
            }
            self.write_out(out);
        }
    }

    /// Says that nothing more will be said.
    pub(super) fn say_goodbye(&mut self, out: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.write_out(out);
    }

    fn read_plain(&mut self) -> bool {
        self.plain.resize(PLAIN_SIZE, 0);
        let len = match self.connection.reader().read(&mut self.plain) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => 0,
        };
        self.plain.truncate(len);
        len > 0
    }

    fn write_out(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing to memory does not fail.
            let _ = self.connection.write_tls(out);
        }
    }
}
