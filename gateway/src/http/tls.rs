//! TLS towards clients, with certificates that can be renewed while the gateway runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The certificates with the key that they are for, as PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub certificates: PathBuf,
    pub key: PathBuf,
}

pub struct Tls {
    acceptor: TlsAcceptor,
}

/// The pair that is shown to whoever says hello now.
#[derive(Debug)]
struct Present(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Present {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Tls {
    /// Reads the files, and again whenever they change, for as long as the acceptor lives. Must be called
    /// in a runtime. A pair that does not fit is reported, and the one before stays in use.
    pub fn start(files: TlsFiles) -> Result<Tls, String> {
        let mut seen = files.changed();
        let present = Arc::new(Present(RwLock::new(files.read()?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(present.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let watched = Arc::downgrade(&present);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                let Some(present) = watched.upgrade() else { return };
                let changed = files.changed();
                if changed == seen {
                    continue;
                }
                match files.read() {
                    Ok(pair) => {
                        *present.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
                        seen = changed;
                        tracing::info!(certificates = %files.certificates.display(), "new certificate");
                    }
                    // Perhaps one file is written and the other not yet: looked at again.
                    Err(error) => tracing::warn!(%error, "the certificate is not replaced"),
                }
            }
        });
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        self.acceptor.accept(stream).await
    }
}

impl TlsFiles {
    fn changed(&self) -> [Option<SystemTime>; 2] {
        let changed = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
        [changed(&self.certificates), changed(&self.key)]
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, String> {
        let wrong = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let certificates = CertificateDer::pem_file_iter(&self.certificates)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&self.certificates, &error))?;
        if certificates.is_empty() {
            return Err(wrong(&self.certificates, &"there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, &error))?;
        let pair = CertifiedKey::from_der(certificates, key, &default_provider());
        pair.map(Arc::new).map_err(|error| wrong(&self.certificates, &error))
    }
}
