//! TLS for AMQP and for the management API: rustls with ring as an explicit provider, so that no
//! other crate in the same process can make the choice ambiguous.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::transport::TransportError;

/// Whose certificates to trust.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum TrustedRoots {
    /// Mozilla's list, compiled in.
    #[default]
    Mozilla,
    /// Only these certificates (DER), as behind a proxy that re-encrypts, or in a test.
    Only(Vec<Vec<u8>>),
}

/// Makes TLS connections; cheap to clone.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Fails if a given certificate cannot be read.
    pub(crate) fn new(roots: &TrustedRoots) -> Result<Self, rustls::Error> {
        let mut store = RootCertStore::empty();
        match roots {
            TrustedRoots::Mozilla => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            TrustedRoots::Only(certificates) => {
                for certificate in certificates {
                    store.add(CertificateDer::from(certificate.clone()))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Encrypts an open connection; TLS comes first, with no AMQP header before it.
    pub(crate) async fn encrypt(
        &self,
        stream: TcpStream,
        host: &str,
        port: u16,
    ) -> Result<TlsStream<TcpStream>, TransportError> {
        let failed = |source| TransportError::Tls { host: host.to_owned(), port, source };
        let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(Arc::new(e)))?;
        self.connector.connect(name, stream).await.map_err(|e| failed(Arc::new(e)))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}
