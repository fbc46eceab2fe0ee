//! TLS towards an endpoint.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::commands::Failure;

/// Where most systems keep whom they trust.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// `host`: without a port. `roots`: whom to trust, as PEM; if not given, whom the system trusts.
    pub(super) fn new(host: &str, roots: Option<&Path>) -> Result<Tls, Failure> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Failure::new(format!("{host} is no name that a certificate can have")))?;
        let system = || std::env::var_os("SSL_CERT_FILE").map_or_else(|| SYSTEM.into(), PathBuf::from);
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Failure::new)?
            .with_root_certificates(read(&roots.map_or_else(system, Path::to_owned))?)
            .with_no_client_auth();
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), name })
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// What of the file can be trusted: in the system's there may be certificates that we do not understand.
fn read(file: &Path) -> Result<RootCertStore, Failure> {
    let wrong = |why: &dyn fmt::Display| Failure::new(format!("{}: {why}", file.display()));
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(wrong(&"there is no certificate in it that can be trusted")) } else { Ok(roots) }
}
