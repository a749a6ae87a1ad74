//! How a command reaches a node: in the clear, or under TLS 1.3.

use std::io;
use std::path::PathBuf;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::tls::{TlsError, Trust};

/// Whether and whom to trust.
#[derive(clap::Args, Debug)]
pub(super) struct TlsArgs {
    /// Speak TLS 1.3 with the node; its certificate is one of those in this PEM file, or signed by one.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Name that the node's certificate carries; default: the host of its address.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
}

impl TlsArgs {
    /// A session of the node at `host:port`, from a message on.
    pub(super) fn connect(&self, addr: &str, kind: StreamKind, next_seq: u64) -> Result<Client, ClientError> {
        let Some(trust) = self.trust().map_err(io::Error::other)? else {
            return Client::connect(addr, kind, next_seq);
        };
        Client::connect_tls(addr, &trust, self.tls_name.as_deref(), kind, next_seq)
    }

    /// Whom to trust; `None` in the clear.
    pub(super) fn trust(&self) -> Result<Option<Trust>, TlsError> {
        self.tls_ca.as_deref().map(Trust::from_file).transpose()
    }

    /// Name that the certificate of the node at `host:port` carries.
    pub(super) fn name(&self, addr: &str) -> Option<String> {
        let host = || addr.rsplit_once(':').map(|(host, _)| host);
        let name = self.tls_name.as_deref().or_else(host);
        name.map(|name| name.trim_matches(['[', ']']).to_owned())
    }
}
